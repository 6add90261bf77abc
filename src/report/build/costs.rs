//! What faults cost and how they went over their times, for the report model. Pure.

use std::time::Duration;

use crate::budget::{self, Account, Fires, POLICIES, Price, Promise, price, promises};
use crate::impact::{FaultTimes, Impact};
use crate::objective::{self, OF_FAULTS, seen_of_times};
use crate::plan::Plan;
use crate::report::model::{Bounds, BudgetReport, BurnAlert, FaultBudget, FaultGroup, GroupMetric, Report, SpanReport};
use crate::statistics::censored::{Between, Seen, largest, median, smallest};
use crate::summary::Slot;
use crate::units::Offset;

/// Adds the budgets of a plan's promises, and to every fault its price in each.
pub fn add_budgets(report: &mut Report, plan: &Plan, slots: &[Slot], times: &[FaultTimes], impacts: &[Impact]) {
    // A phase ends with the load at the latest.
    let stretch = |p: &SpanReport| {
        let start = Offset::from_secs_f64(p.start_at_s);
        (start, start + Duration::from_secs_f64(p.duration_s))
    };
    let measured: Vec<(Offset, Offset)> = report.phases.iter().filter(|p| p.measured).map(stretch).collect();
    let facts = budget::Facts { slots, measured: &measured, times, impacts, window: plan.budget.window };
    for promise in promises(plan) {
        let (head, prices) = match price(&facts, &promise) {
            Ok((account, prices)) => (of_run(&promise, &facts, Ok(&account)), prices),
            Err(why) => (of_run(&promise, &facts, Err(&why)), vec![Err(why); times.len()]),
        };
        for (fault, price) in report.faults.iter_mut().zip(&prices) {
            fault.budget.push(of_fault(&promise, price.as_ref()));
        }
        report.budgets.push(head);
    }
}

fn of_run(promise: &Promise, facts: &budget::Facts, account: Result<&Account, &String>) -> BudgetReport {
    let head = BudgetReport {
        promise: promise.word.to_owned(),
        within_ms: promise.within.map(|w| w.as_secs_f64() * 1e3),
        target: promise.target,
        line: promise.line,
        window_s: facts.window.as_secs_f64(),
        ..BudgetReport::default()
    };
    match account {
        Err(why) => BudgetReport { reason: why.clone(), ..head },
        Ok(a) => BudgetReport {
            assumed_rps: Some(a.rate),
            bad_allowed: Some(a.budget),
            assumed_bad_ratio: Some(a.baseline.value()),
            planned: a.bad.n,
            bad: a.bad.k,
            spent: (promise.target < 1.0).then(|| a.bad.k as f64 / a.budget),
            alerts: alerts(&a.alerts),
            reason: no_budget(promise),
            ..head
        },
    }
}

fn no_budget(promise: &Promise) -> String {
    if promise.target < 1.0 { String::new() } else { "a promise of 100 % leaves no budget to spend".to_owned() }
}

fn of_fault(promise: &Promise, price: Result<&Price, &String>) -> FaultBudget {
    let head = FaultBudget {
        promise: promise.word.to_owned(),
        within_ms: promise.within.map(|w| w.as_secs_f64() * 1e3),
        ..FaultBudget::default()
    };
    match price {
        Err(why) => FaultBudget { reason: why.clone(), ..head },
        Ok(p) => FaultBudget {
            from_at_s: Some(p.from.as_secs_f64()),
            until_at_s: Some(p.until.as_secs_f64()),
            planned: p.bad.n,
            bad: p.bad.k,
            excess: Some(p.excess),
            spent: p.spent,
            spent_within_run: p
                .interval
                .map(|(low, high)| Bounds { low: Some(low), high: Some(high).filter(|_| !p.at_least) }),
            at_least: p.at_least,
            affordable: p.spent.filter(|s| *s > 0.0).map(|s| 1.0 / s),
            alerts: alerts(&p.alerts),
            reason: no_budget(promise),
            ..head
        },
    }
}

pub(crate) fn alerts(all: &[Fires]) -> Vec<BurnAlert> {
    let alert = |(policy, fires): (&budget::Policy, &Fires)| BurnAlert {
        burn: policy.burn,
        long_s: policy.long_s as f64,
        short_s: policy.short_s as f64,
        kind: if policy.pages { "page" } else { "ticket" }.to_owned(),
        fires: match fires {
            Fires::No => "no",
            Fires::After(_) => "after",
            Fires::Before => "before",
        }
        .to_owned(),
        after_s: if let Fires::After(s) = fires { Some(*s as f64) } else { None },
    };
    POLICIES.iter().zip(all).map(alert).collect()
}

/// One per fault that repeats.
pub fn groups(facts: &objective::Facts) -> Vec<FaultGroup> {
    let group = |(index, repeat): (usize, &crate::plan::Repeat)| FaultGroup {
        name: repeat.name.clone(),
        kind: facts.plan.faults.get(repeat.faults.start).map_or("", |f| f.kind.word()).to_owned(),
        times: repeat.faults.len(),
        metrics: OF_FAULTS
            .iter()
            .filter_map(|metric| of_metric(metric.word(), metric.unit(), &seen_of_times(facts, index, metric)))
            .collect(),
    };
    facts.plan.repeats.iter().enumerate().map(group).collect()
}

/// None of nothing.
pub(crate) fn of_metric(metric: String, unit: &str, seen: &[Seen]) -> Option<GroupMetric> {
    let count = |of: fn(&Seen) -> bool| seen.iter().filter(|s| of(s)).count();
    Some(GroupMetric {
        metric,
        unit: unit.to_owned(),
        whole: count(|s| matches!(s, Seen::Exact(_))),
        cut_off: count(|s| matches!(s, Seen::AtLeast(_))),
        unknown: count(|s| matches!(s, Seen::Unknown)),
        median: bounds(median(seen)?),
        best: bounds(smallest(seen)?),
        worst: bounds(largest(seen)?),
    })
}

fn bounds(between: Between) -> Bounds {
    let finite = |x: f64| x.is_finite().then_some(x);
    Bounds { low: finite(between.low), high: finite(between.high) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support;

    #[test]
    fn the_rate_is_that_of_the_measured_phases_however_few_slots_there_are() {
        let phase =
            |start_at_s, duration_s, measured| SpanReport { start_at_s, duration_s, measured, ..SpanReport::default() };
        let mut report = Report { phases: vec![phase(0.0, 5.0, false), phase(5.0, 38.0, true)], ..Report::default() };
        let mut plan = tests_support::plan(Vec::new());
        plan.budget.target = Some(0.999);
        // Four a second, each in a slot of its own.
        let slot = |n: u64| {
            let start = Offset(5_000_000_000 + n * 250_000_000);
            let end = start + Duration::from_millis(100);
            Slot { start, end, measured: true, planned: 1, ok: 1, ..Slot::default() }
        };
        let slots: Vec<Slot> = (0..152).map(slot).collect();
        add_budgets(&mut report, &plan, &slots, &[], &[]);
        assert_eq!(report.budgets[0].assumed_rps, Some(4.0));
    }

    #[test]
    fn a_promise_without_budget_has_a_reason() {
        let promise = Promise { word: "error_rate", within: None, target: 1.0, line: Some(3) };
        let price = Price {
            from: Offset::ZERO,
            until: Offset::ZERO,
            bad: crate::statistics::share::Share { k: 1, n: 2 },
            excess: 1.0,
            spent: None,
            interval: None,
            at_least: false,
            alerts: vec![Fires::No; 3],
        };
        let told = of_fault(&promise, Ok(&price));
        assert!(told.spent.is_none() && told.reason.contains("100 %"), "{told:?}");
    }
}
