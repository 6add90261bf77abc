//! What a fault costs of an error budget, and which alerts on its burning would have fired. Pure.
//!
//! A promise of T (say 99.9 % of requests good) over a window of D (30 days) leaves a budget of (1 − T) × N bad requests, N being the
//! requests of that window (Beyer et al., *The Site Reliability Workbook*, 2018, chapter 2). Owns the price of a fault in it and the
//! alerts of chapter 5. Leaves alone what a fault is and when it was over (`impact.rs`), and every word (`report/costs.rs`).
//!
//! One run knows neither the traffic of a month nor what comes before it, so this is assumed, and every report says it:
//!
//! - N is the run's own rate of planned requests over its measured time, held for the whole window. Time in which nothing was due is
//!   measured time, too.
//! - Before the run the service had the baseline's share of bad requests, e₀, for as long as the longest window of an alert.
//!
//! The price is the excess: bad requests from W before the fault was applied (what was in flight then was lost to it) until its impact
//! was over, less e₀ times those that were planned, over the budget. What a service loses at the best of times is not the fault's.

use std::time::Duration;

use crate::impact::{self, FaultTimes, Impact, State};
use crate::plan::{Metric, Op, Plan};
use crate::statistics::share::{Share, newcombe};
use crate::summary::{Slot, keeps_up};
use crate::units::Offset;

/// An alert on two windows: it fires while the share of bad requests over both is above `burn` × (1 − T).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How many times as fast as the budget allows.
    pub burn: f64,
    /// The long window, seconds: enough was lost to matter.
    pub long_s: u64,
    /// The short window, seconds: it is still being lost.
    pub short_s: u64,
    /// Wakes somebody up; else it is a ticket.
    pub pages: bool,
}

/// The alerts of the workbook's table 5-8, with its factors. They are rates, so that they do not depend on D; over 30 days they fire
/// after 2 %, 5 % and 10 % of the budget.
pub const POLICIES: [Policy; 3] = [
    Policy { burn: 14.4, long_s: 3600, short_s: 300, pages: true },
    Policy { burn: 6.0, long_s: 6 * 3600, short_s: 1800, pages: true },
    Policy { burn: 1.0, long_s: 3 * 86_400, short_s: 6 * 3600, pages: false },
];

/// When an alert fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fires {
    /// Not by then.
    No,
    /// After this many whole seconds.
    After(u64),
    /// It fires at the baseline's own share already, fault or not.
    Before,
}

/// A promise that is about good and bad requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// `error_rate`, `availability`, `good_ratio`, or `budget` for the scenario's own target.
    pub word: &'static str,
    /// Good is answered well within this; none: answered well at all.
    pub within: Option<Duration>,
    /// T: the share that is to be good, above 0; at 1 it leaves no budget.
    pub target: f64,
    /// Line of the scenario file that says so; none for `[budget]`.
    pub line: Option<usize>,
}

impl Promise {
    fn bad(&self, slot: &Slot) -> u64 {
        slot.planned - self.within.map_or(slot.ok, |within| slot.good(within))
    }
}

/// The promises that faults are priced in: `[budget] target` alone, else the tightest target that leaves a budget for each meaning of
/// good that an objective has (`error_rate` and `availability` have the same). Empty where nothing promises a share.
pub fn promises(plan: &Plan) -> Vec<Promise> {
    if let Some(target) = plan.budget.target {
        return vec![Promise { word: "budget", within: plan.budget.within, target, line: None }];
    }
    let of = |o: &crate::plan::Objective| {
        let (word, within, target) = match (&o.metric, o.op) {
            (Metric::ErrorRate, Op::Max) => ("error_rate", None, 1.0 - o.bound),
            (Metric::Availability, Op::Min) => ("availability", None, o.bound),
            (Metric::GoodRatio, Op::Min) => ("good_ratio", o.within, o.bound),
            _ => return None,
        };
        (target > 0.0).then_some(Promise { word, within, target, line: Some(o.line) })
    };
    let mut all: Vec<Promise> = Vec::new();
    for promise in plan.objectives.iter().filter_map(of) {
        // One without a budget prices nothing, so any other is better.
        let rank = |p: &Promise| if p.target < 1.0 { p.target } else { 0.0 };
        match all.iter_mut().find(|have| have.within == promise.within) {
            Some(have) if rank(&promise) > rank(have) => *have = promise,
            Some(_) => {}
            None => all.push(promise),
        }
    }
    all
}

/// What the whole run says about a promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Requests planned per second, over all measured time.
    pub rate: f64,
    /// Bad requests that the promise leaves over the window.
    pub budget: f64,
    /// Bad requests before the first fault.
    pub baseline: Share,
    /// Bad requests of all measured time.
    pub bad: Share,
    /// The alerts over the measured time of the run, in order of [`POLICIES`], counted from its first measured second.
    pub alerts: Vec<Fires>,
}

/// The price of one fault in one promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// From W before it was applied, but not before the fault before it was over.
    pub from: Offset,
    /// Until its impact was over, or nobody watched any more.
    pub until: Offset,
    /// Bad requests of that time.
    pub bad: Share,
    /// Of those, more than the baseline's share; never below 0.
    pub excess: f64,
    /// `excess` over the budget; none for a promise of 100 %.
    pub spent: Option<f64>,
    /// 95 % interval of it (Newcombe 1998, method 10). It takes requests for independent, which within one run they are not: a floor.
    pub interval: Option<(f64, f64)>,
    /// It was not over, so it costs at least this.
    pub at_least: bool,
    /// The alerts by this fault alone, in order of [`POLICIES`], counted from when it was applied.
    pub alerts: Vec<Fires>,
}

/// What is known of the run's faults.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The run, in order; where nothing was due or done there is no slot.
    pub slots: &'a [Slot],
    /// The measured stretches of its load, in order: first instant, first instant after it.
    pub measured: &'a [(Offset, Offset)],
    /// When each fault was there.
    pub times: &'a [FaultTimes],
    /// What requests saw of each.
    pub impacts: &'a [Impact],
    /// D.
    pub window: Duration,
}

impl Facts<'_> {
    /// Measured time before this instant.
    fn measured_before(&self, at: Offset) -> Duration {
        self.measured.iter().map(|(start, end)| at.min(*end).since(*start)).sum()
    }
}

/// The account of a promise over the run, and what each fault costs of it.
///
/// # Errors
/// In words: why nothing can be said of any fault; for one fault, why nothing can be said of it.
pub fn price(facts: &Facts, promise: &Promise) -> Result<(Account, Vec<Result<Price, String>>), String> {
    let impacts: Vec<Impact> = match promise.within {
        None => facts.impacts.to_vec(),
        // What is good in time is not what the report's W says.
        Some(within) => {
            (0..facts.times.len()).map(|i| impact::measure(facts.slots, facts.times, i, Some(within))).collect()
        }
    };
    let account = account(facts, promise, &impacts)?;
    // A fault's time ends where the next begins, so that no request is paid for twice: but for faults less than a second apart, of
    // which nobody can say whose a loss is.
    let mut order: Vec<usize> = (0..impacts.len()).collect();
    order.sort_by_key(|i| facts.times[*i].applied);
    let mut prices: Vec<Result<Price, String>> = vec![Err(String::new()); impacts.len()];
    let mut free_from = Offset::ZERO;
    for i in order {
        prices[i] = of_fault(facts, promise, &account, &impacts[i], &facts.times[i], free_from);
        if let Ok(price) = &prices[i] {
            free_from = free_from.max(price.until);
        }
    }
    Ok((account, prices))
}

fn account(facts: &Facts, promise: &Promise, impacts: &[Impact]) -> Result<Account, String> {
    let measured: Vec<&Slot> = facts.slots.iter().filter(|s| s.measured).collect();
    let length = facts.measured_before(Offset(u64::MAX));
    let bad = sum(promise, measured.iter().copied());
    if bad.n == 0 || length.is_zero() {
        return Err("nothing was measured".to_owned());
    }
    let margin = impacts.iter().find_map(|i| i.within).unwrap_or_default();
    let baseline = sum(promise, impact::baseline(facts.slots, facts.times, margin));
    if baseline.n < impact::MIN_ARRIVALS {
        return Err(format!(
            "only {} measured arrivals before the first fault to say what is lost without it, {} needed",
            baseline.n,
            impact::MIN_ARRIVALS
        ));
    }
    let rate = bad.n as f64 / length.as_secs_f64();
    let budget = (1.0 - promise.target) * rate * facts.window.as_secs_f64();
    let placed = measured.iter().map(|s| (facts.measured_before(s.start), *s));
    let alerts = alerts(promise, rate, baseline.value(), &per_second(promise, length, placed));
    Ok(Account { rate, budget, baseline, bad, alerts })
}

fn of_fault(
    facts: &Facts,
    promise: &Promise,
    account: &Account,
    impact: &Impact,
    times: &FaultTimes,
    free_from: Offset,
) -> Result<Price, String> {
    let applied = times.applied.ok_or("the fault was never applied")?;
    let until = impact.until.ok_or_else(|| impact.reason.clone())?;
    let margin = impact.within.unwrap_or_default();
    let from = Offset(applied.0.saturating_sub(margin.as_nanos() as u64)).max(free_from).min(applied);
    // By their start, as impacts are: a slot in which a fault came late belongs to the one before, and none is left out.
    let slots: Vec<&Slot> = facts.slots.iter().filter(|s| s.start >= from && s.start < until).collect();
    let (late, client) = slots.iter().fold((0, 0), |(late, client), s| (late + s.late, client + s.client));
    let bad = sum(promise, slots.iter().copied());
    if bad.n == 0 {
        return Err("no request was due in its time".to_owned());
    }
    if !keeps_up(bad.n, late, client) {
        return Err("the generator fell behind in its time".to_owned());
    }
    let usual = account.baseline.value();
    let excess = (bad.k as f64 - usual * bad.n as f64).max(0.0);
    let of_budget = |requests: f64| requests / account.budget;
    let has_budget = account.budget > 0.0 && promise.target < 1.0;
    let interval = newcombe(account.baseline, bad, 0.025);
    let scaled = |share: f64| of_budget(share.max(0.0) * bad.n as f64);
    let before = slots.iter().take_while(|s| s.start < applied).count();
    let lost_before = sum(promise, slots[..before].iter().copied());
    let placed = slots[before..].iter().map(|s| (s.start.since(applied), *s));
    let mut seconds = per_second(promise, until.since(applied), placed);
    // What was in flight is lost the moment it is applied: before that nobody knew.
    if let Some(first) = seconds.first_mut() {
        first.0 += lost_before.n as f64;
        first.1 += lost_before.k as f64;
    }
    Ok(Price {
        from,
        until,
        bad,
        excess,
        spent: has_budget.then(|| of_budget(excess)),
        interval: has_budget.then(|| (scaled(interval.low), scaled(interval.high))),
        at_least: matches!(impact.state, State::NotRecovered | State::Unknown),
        alerts: alerts(promise, account.rate, usual, &seconds),
    })
}

fn sum<'a>(promise: &Promise, slots: impl Iterator<Item = &'a Slot>) -> Share {
    slots.fold(Share { k: 0, n: 0 }, |sum, s| Share { k: sum.k + promise.bad(s), n: sum.n + s.planned })
}

/// Planned and bad requests by the whole seconds of a stretch this long, each slot where it lies in it. A second in which nothing was due
/// passes for an alert as any other does.
fn per_second<'a>(
    promise: &Promise,
    length: Duration,
    slots: impl Iterator<Item = (Duration, &'a Slot)>,
) -> Vec<(f64, f64)> {
    let mut seconds = vec![(0.0, 0.0); length.as_nanos().div_ceil(1_000_000_000) as usize];
    // What came due while a stop made its way to the workers belongs to the last.
    let last = seconds.len().saturating_sub(1);
    for (at, slot) in slots {
        if let Some((planned, bad)) = seconds.get_mut((at.as_secs() as usize).min(last)) {
            *planned += slot.planned as f64;
            *bad += promise.bad(slot) as f64;
        }
    }
    seconds
}

/// When each alert fires over these seconds, with `rate` requests and a share of `usual` bad ones in every second before them.
fn alerts(promise: &Promise, rate: f64, usual: f64, seconds: &[(f64, f64)]) -> Vec<Fires> {
    let mut before = vec![(0.0, 0.0)];
    for (planned, bad) in seconds {
        let (p, b) = before[before.len() - 1];
        before.push((p + planned, b + bad));
    }
    // The share of bad requests over the `window` seconds that end after second `now`.
    let share = |now: usize, window: u64| {
        let inside = now.min(window as usize);
        let outside = (window as usize - inside) as f64 * rate;
        let (planned, bad) = (before[now].0 - before[now - inside].0 + outside, before[now].1 - before[now - inside].1);
        if planned > 0.0 { (bad + usual * outside) / planned } else { 0.0 }
    };
    let allowed = 1.0 - promise.target;
    let fires = |policy: &Policy| {
        let limit = policy.burn * allowed;
        // A limit of 0 would be crossed by one bad request in three days, one of 1 and more never.
        if allowed <= 0.0 {
            return Fires::No;
        }
        if usual > limit {
            return Fires::Before;
        }
        let both = |now: &usize| share(*now, policy.long_s) > limit && share(*now, policy.short_s) > limit;
        (1..=seconds.len()).find(both).map_or(Fires::No, |now| Fires::After(now as u64))
    };
    POLICIES.iter().map(fires).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hist::bucket_of;
    use crate::plan::{Budget, Objective, SpanRef, tests_support};
    use crate::units::PhaseId;

    fn promise(target: f64) -> Promise {
        Promise { word: "error_rate", within: None, target, line: Some(1) }
    }

    /// Slots of 100 ms with ten arrivals each, from 0 s to `end_s`; `bad` says how many of a slot's are bad by its start.
    fn slots(end_s: u64, bad: impl Fn(f64) -> u64) -> Vec<Slot> {
        let slot = |i: u64| {
            let start = i as f64 / 10.0;
            let ok = 10 - bad(start);
            let at = |i: u64| Offset(i * 100_000_000);
            let latency_ok = if ok == 0 { vec![] } else { vec![(bucket_of(10_000_000), ok as u32)] };
            Slot { start: at(i), end: at(i + 1), measured: true, planned: 10, ok, latency_ok, ..Slot::default() }
        };
        (0..end_s * 10).map(slot).collect()
    }

    fn at(seconds: f64) -> Offset {
        Offset::from_secs_f64(seconds)
    }

    fn kill(applied: f64) -> FaultTimes {
        FaultTimes { name: "kill".into(), applied: Some(at(applied)), ..FaultTimes::default() }
    }

    const MONTH: Duration = Duration::from_secs(30 * 86_400);
    const W: Duration = Duration::from_millis(100);

    /// All of it is measured, up to the whole second that holds the last slot.
    fn priced(
        slots: &[Slot],
        times: &[FaultTimes],
        promise: &Promise,
    ) -> Result<(Account, Vec<Result<Price, String>>), String> {
        let impacts: Vec<Impact> = (0..times.len()).map(|i| impact::measure(slots, times, i, Some(W))).collect();
        let end = slots.last().map_or(0.0, |s| s.end.as_secs_f64().ceil());
        price(&Facts { slots, measured: &[(Offset::ZERO, at(end))], times, impacts: &impacts, window: MONTH }, promise)
    }

    #[test]
    fn the_price_by_hand() {
        // 100/s, all bad from 20 s to 30 s: 1,000 of a budget of 0.001 × 100/s × 30 d = 259,200.
        let slots = slots(60, |t| if (20.0..30.0).contains(&t) { 10 } else { 0 });
        let (account, prices) = priced(&slots, &[kill(20.0)], &promise(0.999)).unwrap();
        assert!((account.budget - 259_200.0).abs() < 1e-3, "{account:?}");
        assert_eq!((account.rate, account.bad, account.baseline.k), (100.0, Share { k: 1000, n: 6000 }, 0));
        let price = prices[0].as_ref().unwrap();
        assert_eq!((price.from, price.excess, price.at_least), (at(19.9), 1000.0, false));
        assert!((price.spent.unwrap() - 1000.0 / 259_200.0).abs() < 1e-12);
        let (low, high) = price.interval.unwrap();
        assert!(low < price.spent.unwrap() && price.spent.unwrap() < high, "{price:?}");
        // 10 s of an hour are 0.28 %, below 14.4 × 0.1 %.
        assert_eq!(price.alerts, [Fires::No; 3]);
    }

    /// Twenty arrivals at the beginning of every second, all bad from `bad_from` on. In the rest of a second nothing is due: no slot.
    fn bursts(end_s: u64, bad_from: u64) -> Vec<Slot> {
        let slot = |s: u64| {
            let ok = if s < bad_from { 20 } else { 0 };
            let latency_ok = if ok == 0 { vec![] } else { vec![(bucket_of(10_000_000), ok as u32)] };
            let start = at(s as f64);
            Slot { start, end: start + W, measured: true, planned: 20, ok, latency_ok, ..Slot::default() }
        };
        (0..end_s).map(slot).collect()
    }

    #[test]
    fn time_in_which_nothing_is_due_is_measured_time() {
        let (account, _) = priced(&bursts(38, 38), &[kill(30.0)], &promise(0.999)).unwrap();
        assert_eq!(account.rate, 20.0, "760 in 38 s");
        assert!((account.budget - 0.001 * 20.0 * MONTH.as_secs_f64()).abs() < 1e-6, "{account:?}");
        // A total outage of ten minutes against 99 %: 14.4 × 1 % of an hour are 518.4 s.
        let (account, prices) = priced(&bursts(660, 60), &[kill(60.0)], &promise(0.99)).unwrap();
        assert_eq!(prices[0].as_ref().unwrap().alerts, [Fires::After(519), Fires::No, Fires::No]);
        assert_eq!(account.alerts, [Fires::After(579), Fires::No, Fires::No], "from the first measured second");
    }

    #[test]
    fn what_is_not_measured_takes_no_time_of_an_account() {
        let slots = slots(40, |t| if t >= 20.0 { 10 } else { 0 });
        let slots: Vec<Slot> =
            slots.into_iter().map(|s| Slot { measured: !(at(5.0)..at(15.0)).contains(&s.start), ..s }).collect();
        let times = [kill(20.0)];
        let impacts = [impact::measure(&slots, &times, 0, Some(W))];
        let measured = [(Offset::ZERO, at(5.0)), (at(15.0), at(40.0))];
        let facts = Facts { slots: &slots, measured: &measured, times: &times, impacts: &impacts, window: MONTH };
        let before = |s| facts.measured_before(at(s)).as_secs_f64();
        assert_eq!([before(0.0), before(3.0), before(10.0), before(16.0), before(99.0)], [0.0, 3.0, 5.0, 6.0, 30.0]);
        let (account, _) = price(&facts, &promise(0.9997)).unwrap();
        assert_eq!((account.rate, account.bad), (100.0, Share { k: 2000, n: 3000 }));
        // Ten measured seconds are good; then 14.4 × 0.03 % of an hour are 15.552 s.
        assert_eq!(account.alerts[0], Fires::After(26));
    }

    #[test]
    fn what_is_lost_at_the_best_of_times_is_not_the_faults() {
        // One in a hundred is bad always; during the fault five in ten are.
        let slots = slots(60, |t| {
            if (20.0..30.0).contains(&t) { 5 } else { u64::from(((t * 10.0).round() as u64).is_multiple_of(10)) }
        });
        let (account, prices) = priced(&slots, &[kill(20.0)], &promise(0.9)).unwrap();
        assert!((account.baseline.value() - 0.01).abs() < 1e-3, "{account:?}");
        let price = prices[0].as_ref().unwrap();
        let usual = account.baseline.value() * price.bad.n as f64;
        assert!((price.excess - (price.bad.k as f64 - usual)).abs() < 1e-9 && price.excess < 500.0);
    }

    /// By hand: all bad from second 0 on, good before. Over L seconds the share after t is t / L.
    #[test]
    fn alerts_by_hand() {
        let all_bad = |seconds: usize| vec![(500.0, 500.0); seconds];
        let of = |target, usual, seconds| alerts(&promise(target), 500.0, usual, &all_bad(seconds));
        // 14.4 × 0.1 % of an hour: 51.84 s; 6 × 0.1 % of six hours: 129.6 s; 0.1 % of three days: 259.2 s.
        assert_eq!(of(0.999, 0.0, 300), [Fires::After(52), Fires::After(130), Fires::After(260)]);
        assert_eq!(of(0.999, 0.0, 60), [Fires::After(52), Fires::No, Fires::No]);
        assert_eq!(of(0.999, 0.0, 51), [Fires::No; 3]);
        // Half the budget's share was lost before: (t + 0.0005 × (L − t)) / L > 14.4 × 0.001 → t > 0.0139 × 3600 / 0.9995 = 50.07.
        assert_eq!(of(0.999, 0.0005, 60)[0], Fires::After(51));
        // 14.4 × 10 % is more than all.
        assert_eq!(of(0.9, 0.0, 4000), [Fires::No, Fires::No, Fires::No]);
        // Two bad in a thousand all the time burn twice as fast as is sustainable.
        assert_eq!(of(0.999, 0.002, 60)[2], Fires::Before);
        assert_eq!(of(1.0, 0.0, 60), [Fires::No; 3]);
    }

    /// The short window has to be bad too: what ended is no longer burning.
    #[test]
    fn the_short_window_forgets() {
        let mut seconds = vec![(100.0, 100.0); 50];
        seconds.extend(vec![(100.0, 0.0); 400]);
        // 50 s are below 51.84 s; the rest is good, so nothing ever fires.
        assert_eq!(alerts(&promise(0.999), 100.0, 0.0, &seconds), [Fires::No; 3]);
        // A second burst after the first has left the short window: 50 + 2 of the hour, and the five minutes are bad again.
        seconds.extend(vec![(100.0, 100.0); 10]);
        assert_eq!(alerts(&promise(0.999), 100.0, 0.0, &seconds)[0], Fires::After(455));
    }

    #[test]
    fn a_fault_that_was_not_over_costs_at_least_so_much() {
        let slots = slots(60, |t| if t >= 40.0 { 10 } else { 0 });
        let (_, prices) = priced(&slots, &[kill(40.0)], &promise(0.999)).unwrap();
        assert!(prices[0].as_ref().unwrap().at_least);
    }

    #[test]
    fn no_request_is_paid_for_twice() {
        let twice = slots(60, |t| if (20.0..22.0).contains(&t) || (30.0..32.0).contains(&t) { 10 } else { 0 });
        let times = [kill(20.0), kill(30.0)];
        let (account, prices) = priced(&twice, &times, &promise(0.999)).unwrap();
        let paid: f64 = prices.iter().map(|p| p.as_ref().unwrap().excess).sum();
        assert_eq!((paid, account.bad.k), (400.0, 400));
        // Nor is any left out where the second comes in the middle of a slot, before the first is over.
        let once = slots(60, |t| if (20.0..32.0).contains(&t) { 10 } else { 0 });
        let (account, prices) = priced(&once, &[kill(20.0), kill(30.05)], &promise(0.999)).unwrap();
        let paid: f64 = prices.iter().map(|p| p.as_ref().unwrap().excess).sum();
        assert_eq!((paid, account.bad.k), (1200.0, 1200));
    }

    #[test]
    fn what_cannot_be_said_is_not_a_number() {
        let good = slots(60, |_| 0);
        let never = FaultTimes { name: "kill".into(), ..FaultTimes::default() };
        let (_, prices) = priced(&good, &[never], &promise(0.999)).unwrap();
        assert!(prices[0].as_ref().unwrap_err().contains("never applied"));
        let told = priced(&good, &[kill(0.5)], &promise(0.999)).unwrap_err();
        assert!(told.contains("measured arrivals before the first fault"), "{told}");
        assert!(priced(&[], &[], &promise(0.999)).unwrap_err().contains("nothing was measured"));
        // A promise of 100 % has no budget, so nothing is a share of it.
        let (account, prices) = priced(&good, &[kill(30.0)], &promise(1.0)).unwrap();
        assert_eq!((account.budget, prices[0].as_ref().unwrap().spent), (0.0, None));
    }

    #[test]
    fn the_tightest_promise_of_each_meaning_of_good() {
        let objective = |metric, op, bound, within| Objective {
            metric,
            op,
            bound,
            spans: vec![SpanRef::Phase(PhaseId(0))],
            fault: None,
            median_of: None,
            within,
            line: 7,
        };
        let mut plan = tests_support::plan(Vec::new());
        plan.objectives = vec![
            objective(Metric::ErrorRate, Op::Max, 0.05, None),
            objective(Metric::ErrorRate, Op::Max, 0.0, None),
            objective(Metric::Availability, Op::Min, 0.99, None),
            objective(Metric::GoodRatio, Op::Min, 0.9, Some(W)),
            objective(Metric::Throughput, Op::Min, 10.0, None),
        ];
        let found = promises(&plan);
        let seen: Vec<_> = found.iter().map(|p| (p.word, p.within, p.target)).collect();
        assert_eq!(seen, [("availability", None, 0.99), ("good_ratio", Some(W), 0.9)]);
        plan.budget = Budget { target: Some(0.999), ..Budget::default() };
        assert_eq!(promises(&plan)[0].target, 0.999);
        assert_eq!(promises(&plan).len(), 1);
        plan.objectives.clear();
        plan.budget = Budget::default();
        assert!(promises(&plan).is_empty());
    }
}
