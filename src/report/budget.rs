//! Error budgets in words: what faults cost of them, and what that assumes (`crate::budget` has the formulas).

use super::format::{chosen_ms, clean, count, maybe_count, percent, percent_bound, rate};
use super::model::{Bounds, BudgetReport, BurnAlert, FaultBudget, FaultReport, Report};

/// `30-day`, `36-hour`.
fn window(seconds: f64) -> String {
    let days = seconds / 86_400.0;
    if days.fract() == 0.0 { format!("{days}-day") } else { format!("{:.0}-hour", seconds / 3600.0) }
}

/// `99.9 % answered well`, `99 % answered well within 100 ms`.
pub(super) fn promise(b: &BudgetReport) -> String {
    let within = b.within_ms.map_or(String::new(), |ms| format!(" within {}", chosen_ms(ms)));
    format!("{} answered well{within}", percent_bound(b.target))
}

/// `3.10 % [2.80 %, 3.40 %]`, `≥ 3.10 %`; none where it cannot be told.
pub(super) fn spent(b: &FaultBudget) -> Option<String> {
    let spent = b.spent?;
    let least = if b.at_least { "≥ " } else { "" };
    let interval = match b.spent_within_run {
        // Of a fault that was not over, nothing bounds the price from above.
        Some(Bounds { low: Some(low), high: Some(high) }) if !b.at_least => {
            format!(" [{}, {}]", percent(low), percent(high))
        }
        _ => String::new(),
    };
    Some(format!("{least}{}{interval}", percent(spent)))
}

/// `page after 52 s`, `no page`, `page at any time`.
pub(super) fn fires(a: &BurnAlert) -> String {
    match (a.fires.as_str(), a.after_s) {
        ("after", Some(s)) => format!("{} after {s} s", clean(&a.kind)),
        ("before", _) => format!("{} without any fault", clean(&a.kind)),
        _ => format!("no {}", clean(&a.kind)),
    }
}

/// `14.4 × over 1 h and 5 min`.
pub(super) fn policy(a: &BurnAlert) -> String {
    let length = |s: f64| match s {
        s if s >= 86_400.0 => format!("{} d", s / 86_400.0),
        s if s >= 3600.0 => format!("{} h", s / 3600.0),
        s => format!("{} min", s / 60.0),
    };
    format!("{} × over {} and {}", a.burn, length(a.long_s), length(a.short_s))
}

/// Those that fire, in words, each with its policy; else that none does, as far as was seen.
fn alarms(all: &[BurnAlert], at_least: bool) -> String {
    let firing: Vec<String> =
        all.iter().filter(|a| a.fires != "no").map(|a| format!("{} ({})", fires(a), policy(a))).collect();
    match firing.as_slice() {
        [] if at_least => "no burn-rate alert would have fired in the time that was seen".to_owned(),
        [] => "no burn-rate alert would have fired".to_owned(),
        some => format!("alerts: {}", some.join(", ")),
    }
}

/// What a fault costs in each promise: `spends 3.10 % [2.80 %, 3.40 %] of a 30-day budget (99.9 % answered well): …`.
pub(super) fn costs(report: &Report, fault: &FaultReport) -> Vec<String> {
    // What holds for all faults is told once, by `remarks`; that it was never applied, or why its impact is unknown, is told anyway.
    let told = report.budgets.iter().zip(&fault.budget).filter(|(head, _)| head.assumed_rps.is_some());
    let news = |price: &FaultBudget| price.reason.is_empty() || price.reason != fault.impact.reason;
    told.filter(|(_, price)| fault.applied_at_s.is_some() && news(price))
        .map(|(head, price)| cost(head, price))
        .collect()
}

fn cost(head: &BudgetReport, price: &FaultBudget) -> String {
    let of = format!("of a {} budget ({})", window(head.window_s), promise(head));
    let Some(spent) = spent(price) else {
        return format!("what it spends {of} cannot be told: {}", clean(&price.reason));
    };
    let bad = format!(
        "{} bad requests more than usual, {} are allowed",
        maybe_count(price.excess),
        maybe_count(head.bad_allowed)
    );
    let afford = match price.affordable {
        Some(n) if n < 1.0 => "; more than all of it".to_owned(),
        Some(n) if n < 1e6 => {
            let most = if price.at_least { "at most " } else { "" };
            format!("; {most}{} such faults would use it up", count(n.ceil() as u64))
        }
        _ => String::new(),
    };
    format!("spends {spent} {of}: {bad}{afford}; {}", alarms(&price.alerts, price.at_least))
}

/// What is true of all faults together: the whole run where it had several, why nothing can be told, what is assumed. Empty for a run that
/// measured nothing, and without faults.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    if report.faults.iter().all(|f| f.applied_at_s.is_none()) {
        return Vec::new();
    }
    let several = report.faults.len() > 1;
    let whole = report.budgets.iter().filter(|_| several).filter_map(whole_run);
    let told = report.budgets.iter().find(|b| b.assumed_rps.is_some());
    let open = report.budgets.iter().filter(|b| b.assumed_rps.is_none());
    whole.chain(open.chain(told).map(assumed)).collect()
}

/// What is assumed, once for a promise.
pub(super) fn assumed(b: &BudgetReport) -> String {
    let (Some(rps), Some(bad)) = (b.assumed_rps, b.assumed_bad_ratio) else {
        return format!("The budget of {} cannot be told: {}.", promise(b), clean(&b.reason));
    };
    let days = window(b.window_s).replace('-', " ");
    format!(
        "Assumed: this run's {} for {days}s, and {} bad requests, as before the first fault, in the three days before the run. Intervals are \
         within this run. Alerts as in the SRE workbook, looked at every second of this fault alone.",
        rate(rps),
        percent(bad)
    )
}

/// The whole run against a promise.
fn whole_run(b: &BudgetReport) -> Option<String> {
    let spent = b.spent?;
    Some(format!(
        "The whole run spends {} of a {} budget ({}): {} of {} requests were bad; {}.",
        percent(spent),
        window(b.window_s),
        promise(b),
        count(b.bad),
        count(b.planned),
        alarms(&b.alerts, false)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Fires;
    use crate::report::build::costs::alerts;

    fn head() -> BudgetReport {
        BudgetReport {
            promise: "error_rate".into(),
            target: 0.999,
            window_s: 30.0 * 86_400.0,
            assumed_rps: Some(100.0),
            bad_allowed: Some(259_200.0),
            assumed_bad_ratio: Some(0.0),
            ..BudgetReport::default()
        }
    }

    fn fault(price: FaultBudget) -> FaultReport {
        FaultReport { budget: vec![price], applied_at_s: Some(1.0), ..FaultReport::default() }
    }

    #[test]
    fn a_price_in_words() {
        let report = Report { budgets: vec![head()], ..Report::default() };
        let price = FaultBudget {
            excess: Some(8035.0),
            spent: Some(0.031),
            spent_within_run: Some(Bounds { low: Some(0.03), high: Some(0.032) }),
            affordable: Some(1.0 / 0.031),
            alerts: alerts(&[Fires::After(52), Fires::No, Fires::No]),
            ..FaultBudget::default()
        };
        assert_eq!(
            costs(&report, &fault(price.clone())),
            [
                "spends 3.10 % [3.00 %, 3.20 %] of a 30-day budget (99.9 % answered well): 8,035 bad requests more than usual, 259,200 \
              are allowed; 33 such faults would use it up; alerts: page after 52 s (14.4 × over 1 h and 5 min)"
            ]
        );
        let open = FaultBudget { at_least: true, spent_within_run: None, ..price.clone() };
        assert!(costs(&report, &fault(open))[0].starts_with("spends ≥ 3.10 % of"));
        let all = FaultBudget { spent: Some(2.0), affordable: Some(0.5), alerts: alerts(&[Fires::No; 3]), ..price };
        let told = &costs(&report, &fault(all))[0];
        assert!(told.contains("more than all of it; no burn-rate alert"), "{told}");
        let unknown = FaultBudget { reason: "the fault was never applied".into(), ..FaultBudget::default() };
        assert_eq!(
            costs(&report, &fault(unknown)),
            ["what it spends of a 30-day budget (99.9 % answered well) cannot be told: the fault was never applied"]
        );
    }

    #[test]
    fn the_assumption_in_words() {
        let told = assumed(&head());
        assert!(told.starts_with("Assumed: this run's 100/s for 30 days, and 0 % bad requests"), "{told}");
        let good_within = BudgetReport { within_ms: Some(100.0), target: 0.99, ..head() };
        assert_eq!(promise(&good_within), "99 % answered well within 100 ms");
        let unknown = BudgetReport { assumed_rps: None, reason: "nothing was measured".into(), ..head() };
        assert_eq!(assumed(&unknown), "The budget of 99.9 % answered well cannot be told: nothing was measured.");
    }
}
