//! What the requests saw of a fault: did it hurt, since when, until when, and what it cost. Pure.
//!
//! Owns the definitions of DESIGN section 2, *Recovery*, and section 4 (`longest_outage_s`, `lost_requests`).
//! Leaves alone bounds (`objective.rs`) and whether the fault was really there (its proof).
//!
//! Everything is read from slots of at most 100 ms, by *due*. Q is the share of arrivals good within W.
//! Where the design leaves a choice, this is what we chose:
//!
//! - The baseline is every measured slot that ends W or more before the *first* fault of the run, so that the damage of one fault
//!   never lowers the bar of the next: what was due later could still be hit by it. It needs 100 arrivals, a generator that
//!   kept up, and no second that is itself below the bar: else the fault would be blamed for what was there before it.
//! - A second with fewer than 100 arrivals is extended forward until it has them, to 10 s at most; with fewer
//!   than that nothing is said about it. Seconds begin at every slot, and lie wholly before the censor.
//! - Onset is the first slot of the first hurt second that is itself below the bar.
//! - When fewer than 10 s are left before the censor, the pooled window ends there; with fewer than 3 s left a good
//!   end is not called recovered but `unknown`. So is a fault that was watched for less than that and hurt nobody yet.
//! - A fault applied less than a second after this one is part of the same blow and does not censor it: no whole
//!   second lies between them.
//! - A lasting fault may recover while it is held (its target was taken out of rotation) and hurt again when it
//!   ends. Hurt that begins up to 10 s after *reverted* is followed too, so that such a recovery is not called free.

use std::time::Duration;

use crate::plan::Plan;
use crate::summary::{Slot, keeps_up, pooled_quantiles};
use crate::units::Offset;

/// Hurt and recovered are told apart at this share of the baseline's Q.
pub const BAR: f64 = 0.99;
/// Arrivals that a second needs before its Q is believed.
pub const MIN_ARRIVALS: u64 = 100;

const SECOND: Duration = Duration::from_secs(1);
const POOLED: Duration = Duration::from_secs(10);
const SHORTEST_POOLED: Duration = Duration::from_secs(3);

/// When a fault was really there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultTimes {
    /// Its name, for the words of a reason.
    pub name: String,
    /// First applied; none when it never was.
    pub applied: Option<Offset>,
    /// Last reverted; none for one-shot faults and those still held when load stopped.
    pub reverted: Option<Offset>,
    /// It lasts, so recovery counts from `reverted`.
    pub lasting: bool,
}

/// Did it hurt, and is that over?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never hurt.
    None,
    /// Hurt, and over.
    Recovered,
    /// Still hurt when the next fault or the end came.
    NotRecovered,
    /// Could not be told.
    Unknown,
}

impl State {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            State::None => "none",
            State::Recovered => "recovered",
            State::NotRecovered => "not_recovered",
            State::Unknown => "unknown",
        }
    }
}

/// What the requests saw of one fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Impact {
    /// Did it hurt, and is that over?
    pub state: State,
    /// When it began to hurt.
    pub onset: Option<Offset>,
    /// When it was over.
    pub recovered_at: Option<Offset>,
    /// Until recovered, seconds: from *applied* for a one-shot fault, from *reverted* for a lasting one (0 when that was over
    /// before). 0 when it never hurt; none when not recovered or unknown.
    pub recovery_s: Option<f64>,
    /// From *reverted* to recovered, seconds; none for a fault that was not reverted.
    pub recovery_after_revert_s: Option<f64>,
    /// How long recovery was watched for, seconds, counted like `recovery_s`: an unfinished recovery took longer than this.
    pub watched_s: f64,
    /// The longest row of slots that had arrivals and no good answer, seconds, from *applied* until recovery. Empty
    /// slots neither end a row nor begin one. None without W or arrivals.
    pub longest_outage_s: Option<f64>,
    /// Good answers missing against the baseline over the same time, never below 0; none without a baseline or arrivals.
    pub lost_requests: Option<f64>,
    /// The end of that time: recovery, or the censor; none when it cannot be told.
    pub until: Option<Offset>,
    /// Requests over that time that failed or were shed; none without arrivals.
    pub failed: Option<u64>,
    /// Good answers over that time that came later than W; none without arrivals.
    pub slow: Option<u64>,
    /// Latency over every planned arrival before the first fault, ns: p50 and p99; each is none where it is infinite, both
    /// are missing without a baseline.
    pub before: Option<[Option<u64>; 2]>,
    /// W; none when nothing gives it.
    pub within: Option<Duration>,
    /// Q before the first fault.
    pub baseline_q: Option<f64>,
    /// The lowest Q of any second from *applied* until recovery.
    pub worst_q: Option<f64>,
    /// Why the state is what it is.
    pub reason: String,
}

impl Impact {
    fn unknown(reason: impl Into<String>) -> Impact {
        Impact {
            state: State::Unknown,
            onset: None,
            recovered_at: None,
            recovery_s: None,
            recovery_after_revert_s: None,
            watched_s: 0.0,
            longest_outage_s: None,
            lost_requests: None,
            until: None,
            failed: None,
            slow: None,
            before: None,
            within: None,
            baseline_q: None,
            worst_q: None,
            reason: reason.into(),
        }
    }
}

/// W of a fault as the plan gives it: `within` of an objective on it, else the tightest latency bound; none means
/// [`default_within`].
pub fn planned_within(plan: &Plan, fault: usize) -> Option<Duration> {
    let median = |o: &crate::plan::Objective| o.median_of.is_some_and(|r| plan.repeats[r].faults.contains(&fault));
    let mut speaks = plan.objectives.iter().filter(|o| o.fault == Some(fault) || median(o));
    let own = speaks.find_map(|o| o.within);
    own.or_else(|| plan.tightest_latency_bound())
}

/// W where no objective gives one: 2 × the p99 of good answers before the first fault. None without good answers then.
pub fn default_within(slots: &[Slot], faults: &[FaultTimes]) -> Option<Duration> {
    let baseline: Vec<&Slot> = baseline(slots, faults, Duration::ZERO).collect();
    let parts: Vec<&[(u16, u32)]> = baseline.iter().map(|s| s.latency_ok.as_slice()).collect();
    let [p99] = pooled_quantiles(&parts, baseline.iter().map(|s| s.ok).sum(), [0.99]);
    Some(Duration::from_nanos(2 * p99?))
}

/// What the requests saw of `faults[which]`, given the slots of the whole run in order. `within` is W; none takes
/// [`default_within`].
pub fn measure(slots: &[Slot], faults: &[FaultTimes], which: usize, within: Option<Duration>) -> Impact {
    let fault = &faults[which];
    let Some(applied) = fault.applied else { return Impact::unknown("the fault was never applied") };
    let Some(within) = within.or_else(|| default_within(slots, faults)) else {
        return Impact::unknown(
            "no objective says what is good in time, and no good answer came before the first fault",
        );
    };
    let course = Course::new(slots.iter().collect(), within);
    let censor = censor(slots, faults, applied);
    let watch = Watch { course: &course, fault, applied, censor };
    match baseline_q(slots, faults, within) {
        Ok(q) => Impact { before: Some(baseline_latency(slots, faults, within)), ..watch.impact(q, within) },
        Err(reason) => Impact {
            within: Some(within),
            longest_outage_s: course.longest_outage(applied, censor.at),
            ..Impact::unknown(reason)
        },
    }
}

fn first_applied(faults: &[FaultTimes]) -> Option<Offset> {
    faults.iter().filter_map(|f| f.applied).min()
}

/// What the faults of a run are held against: measured slots that end `within` or more before the first of them.
pub(crate) fn baseline<'a>(
    slots: &'a [Slot],
    faults: &[FaultTimes],
    within: Duration,
) -> impl Iterator<Item = &'a Slot> {
    let until = first_applied(faults).unwrap_or(Offset(u64::MAX));
    slots.iter().filter(move |s| s.measured && s.end + within <= until)
}

/// Q of the baseline, or why it is no ground to judge by.
fn baseline_q(slots: &[Slot], faults: &[FaultTimes], within: Duration) -> Result<f64, String> {
    let course = Course::new(baseline(slots, faults, within).collect(), within);
    let Pool { planned, good, .. } = course.pool(0, course.slots.len());
    let (late, client) = course.slots.iter().fold((0, 0), |(late, client), s| (late + s.late, client + s.client));
    if planned < MIN_ARRIVALS {
        return Err(format!(
            "only {planned} measured arrivals before the first fault to compare with, {MIN_ARRIVALS} needed"
        ));
    }
    if !keeps_up(planned, late, client) {
        return Err(
            "the generator was late before the first fault, so that there is nothing sound to compare with".into()
        );
    }
    if good == 0 {
        return Err("no answer was good in time before the first fault, so nothing can get worse".into());
    }
    let q = good as f64 / planned as f64;
    match course.worst_second(Offset::ZERO, Offset(u64::MAX)) {
        Some(worst) if worst < BAR * q => Err(format!(
            "before the first fault a second was only {:.2} % good, already below the {:.2} % that counts as hurt",
            100.0 * worst,
            100.0 * BAR * q
        )),
        _ => Ok(q),
    }
}

fn baseline_latency(slots: &[Slot], faults: &[FaultTimes], within: Duration) -> [Option<u64>; 2] {
    let baseline = || baseline(slots, faults, within);
    let parts: Vec<&[(u16, u32)]> = baseline().map(|s| s.latency_ok.as_slice()).collect();
    let planned = baseline().map(|s| s.planned).sum();
    pooled_quantiles(&parts, planned, [0.5, 0.99])
}

/// Where the watching of a fault ends: at the next fault, or with the load.
#[derive(Clone, Copy, Debug)]
struct Censor<'a> {
    at: Offset,
    /// The next fault; none for the end of the load.
    next: Option<&'a str>,
}

impl Censor<'_> {
    /// `the next fault, kill-one, came 1.0 s after it was applied`.
    fn in_words(&self, applied: Offset) -> String {
        let after = format!("{:.1} s after it was applied", self.at.since(applied).as_secs_f64());
        match self.next {
            Some(name) => format!("the next fault, {name}, came {after}"),
            None => format!("the load ended {after}"),
        }
    }
}

fn censor<'a>(slots: &[Slot], faults: &'a [FaultTimes], applied: Offset) -> Censor<'a> {
    let end = slots.last().map_or(applied, |s| s.end);
    let later = faults.iter().filter_map(|f| f.applied.map(|at| (at, f.name.as_str())));
    match later.filter(|(at, _)| *at >= applied + SECOND && *at <= end).min() {
        Some((at, name)) => Censor { at, next: Some(name) },
        None => Censor { at: end, next: None },
    }
}

/// Arrivals, those answered well, and those answered well in time, pooled.
#[derive(Clone, Copy, Debug, Default)]
struct Pool {
    planned: u64,
    ok: u64,
    good: u64,
}

impl Pool {
    fn q(self) -> Option<f64> {
        (self.planned > 0).then(|| self.good as f64 / self.planned as f64)
    }
}

/// The slots of the run with running sums, so that any stretch is pooled by two look-ups.
struct Course<'a> {
    slots: Vec<&'a Slot>,
    /// Sums before each slot; one longer than the slots.
    before: Vec<Pool>,
}

impl Course<'_> {
    fn new(slots: Vec<&Slot>, within: Duration) -> Course<'_> {
        let mut sum = Pool::default();
        let mut before = vec![sum];
        for slot in &slots {
            sum =
                Pool { planned: sum.planned + slot.planned, ok: sum.ok + slot.ok, good: sum.good + slot.good(within) };
            before.push(sum);
        }
        Course { slots, before }
    }

    /// Index of the first slot that starts at or after this instant.
    fn from(&self, at: Offset) -> usize {
        self.slots.partition_point(|s| s.start < at)
    }

    fn pool(&self, from: usize, to: usize) -> Pool {
        let (a, b) = (self.before[from], self.before[to.max(from)]);
        Pool { planned: b.planned - a.planned, ok: b.ok - a.ok, good: b.good - a.good }
    }

    /// Q of the second that begins with slot `i`, extended to [`MIN_ARRIVALS`]; none when too few arrive.
    fn second(&self, i: usize, until: Offset) -> Option<f64> {
        let start = self.slots[i].start;
        let last = self.from((start + POOLED).min(until));
        let mut to = self.from(start + SECOND);
        while to < last && self.pool(i, to).planned < MIN_ARRIVALS {
            to += 1;
        }
        let pool = self.pool(i, to);
        if pool.planned < MIN_ARRIVALS { None } else { pool.q() }
    }

    /// Q over the 10 s that begin with slot `i`, or what is left of them.
    fn pooled(&self, i: usize, until: Offset) -> Option<f64> {
        self.pool(i, self.from((self.slots[i].start + POOLED).min(until))).q()
    }

    /// Slots at which a whole second begins within this time.
    fn seconds(&self, from: Offset, until: Offset) -> impl Iterator<Item = usize> + '_ {
        (self.from(from)..self.slots.len()).take_while(move |i| self.slots[*i].start + SECOND <= until)
    }

    /// The lowest Q of any second within this time; none when no second could be told.
    fn worst_second(&self, from: Offset, until: Offset) -> Option<f64> {
        let end = self.slots.last().map_or(until, |s| s.end.min(until));
        self.seconds(from, end).filter_map(|i| self.second(i, end)).min_by(f64::total_cmp)
    }

    /// None when nothing was due.
    fn longest_outage(&self, from: Offset, to: Offset) -> Option<f64> {
        if self.pool(self.from(from), self.from(to)).planned == 0 {
            return None;
        }
        let mut longest = Duration::ZERO;
        let mut row_start = None;
        for i in self.from(from)..self.from(to) {
            match self.pool(i, i + 1) {
                Pool { planned: 0, .. } => {}
                Pool { good: 0, .. } => {
                    let start = *row_start.get_or_insert(self.slots[i].start);
                    longest = longest.max(self.slots[i].end.since(start));
                }
                _ => row_start = None,
            }
        }
        Some(longest.as_secs_f64())
    }
}

/// How the search for a recovery ended.
enum Search {
    Recovered(usize),
    NotRecovered,
    Unknown(String),
}

/// One fault, watched from *applied* to the censor.
struct Watch<'a> {
    course: &'a Course<'a>,
    fault: &'a FaultTimes,
    applied: Offset,
    censor: Censor<'a>,
}

impl Watch<'_> {
    fn impact(&self, baseline_q: f64, within: Duration) -> Impact {
        let bar = BAR * baseline_q;
        let (state, onset, recovered_at, reason) = self.follow(bar);
        let until = self.cost_until(state, recovered_at);
        let reverted = self.fault.reverted;
        let since_base = |at: Offset| match (self.fault.lasting, reverted) {
            (false, _) => at.since(self.applied).as_secs_f64(),
            (true, Some(reverted)) => at.since(reverted).as_secs_f64(),
            // Held to the end: whatever is over is over before *reverted*.
            (true, None) => 0.0,
        };
        let pool = self.course.pool(self.course.from(self.applied), self.course.from(until));
        let seconds = self.course.seconds(self.applied, until.max(self.applied + SECOND).min(self.censor.at));
        let known = pool.planned > 0;
        Impact {
            state,
            onset,
            recovered_at,
            recovery_s: if state == State::None { Some(0.0) } else { recovered_at.map(since_base) },
            recovery_after_revert_s: recovered_at.zip(reverted).map(|(at, reverted)| at.since(reverted).as_secs_f64()),
            watched_s: since_base(self.censor.at),
            longest_outage_s: self.course.longest_outage(self.applied, until),
            lost_requests: known.then(|| (baseline_q * pool.planned as f64 - pool.good as f64).max(0.0)),
            until: Some(until),
            failed: known.then_some(pool.planned - pool.ok),
            slow: known.then_some(pool.ok - pool.good),
            before: None,
            within: Some(within),
            baseline_q: Some(baseline_q),
            worst_q: seconds.filter_map(|i| self.course.second(i, self.censor.at)).min_by(f64::total_cmp),
            reason,
        }
    }

    /// State, onset, end and reason. Follows a lasting fault through hurts that come back; see the top of the file.
    fn follow(&self, bar: f64) -> (State, Option<Offset>, Option<Offset>, String) {
        let first = match self.first_hurt(self.applied, self.censor.at, bar) {
            Ok(Some(slot)) => slot,
            Ok(None) => {
                let reason = format!("no second fell below {:.2} % good", 100.0 * bar);
                let short = self.censor.at < self.applied + SHORTEST_POOLED;
                return match short {
                    true => (State::Unknown, None, None, format!("{}; {reason} until then", self.ended())),
                    false => (State::None, None, None, reason),
                };
            }
            Err(reason) => return (State::Unknown, None, None, reason),
        };
        let onset = Some(self.course.slots[first].start);
        let mut hurt = first;
        loop {
            let recovered = match self.recovery(hurt, bar) {
                Search::Recovered(slot) => slot,
                Search::NotRecovered if self.ends_before_revert() => {
                    let reason = format!("{}, before it was reverted", self.ended());
                    return (State::Unknown, onset, None, reason);
                }
                Search::NotRecovered => {
                    let reason = format!("not back at {:.2} % good by {}", 100.0 * bar, self.censor.at);
                    return (State::NotRecovered, onset, None, reason);
                }
                Search::Unknown(reason) => return (State::Unknown, onset, None, reason),
            };
            let at = self.course.slots[recovered].start;
            match self.next_hurt(at, bar) {
                Some(again) if again > recovered => hurt = again,
                _ => {
                    let reason = format!("at least {:.2} % good from {at} on", 100.0 * bar);
                    return (State::Recovered, onset, Some(at), reason);
                }
            }
        }
    }

    /// The first slot that hurts, of the first hurt second in this time; an error when no second could be told.
    fn first_hurt(&self, from: Offset, until: Offset, bar: f64) -> Result<Option<usize>, String> {
        let mut told = false;
        for i in self.course.seconds(from, until) {
            let Some(q) = self.course.second(i, self.censor.at) else { continue };
            told = true;
            if q < bar {
                // The pool is below the bar, so one of its slots is.
                let below = |j: &usize| self.course.pool(*j, j + 1).q().is_some_and(|q| q < bar);
                return Ok((i..self.course.slots.len()).find(below));
            }
        }
        if told { Ok(None) } else { Err(self.untold(from)) }
    }

    /// Why no second after this could be told.
    fn untold(&self, from: Offset) -> String {
        let until = self.censor.at.min(from + POOLED);
        let arrivals = self.course.pool(self.course.from(from), self.course.from(until)).planned;
        match self.censor.at < from + POOLED {
            true if arrivals < MIN_ARRIVALS => format!("{}, with only {arrivals} arrivals until then", self.ended()),
            true => self.ended(),
            false => format!("fewer than {MIN_ARRIVALS} arrivals in every 10 s after it was applied"),
        }
    }

    /// What ended the watching, in words.
    fn ended(&self) -> String {
        self.censor.in_words(self.applied)
    }

    /// A hurt that a lasting fault brings back after it had recovered while it was held.
    fn next_hurt(&self, recovered: Offset, bar: f64) -> Option<usize> {
        let reverted = self.fault.reverted.filter(|r| self.fault.lasting && recovered < *r)?;
        let until = (reverted + POOLED + SECOND).min(self.censor.at);
        self.first_hurt(recovered, until, bar).ok().flatten()
    }

    fn recovery(&self, hurt: usize, bar: f64) -> Search {
        let mut told = false;
        // The earliest start of a good end that is too short to be called recovered.
        let mut good_end = None;
        for i in self.course.seconds(self.course.slots[hurt].end, self.censor.at) {
            let second = self.course.second(i, self.censor.at);
            let pooled_good = self.course.pooled(i, self.censor.at).is_some_and(|q| q >= bar);
            told |= second.is_some();
            let left = self.censor.at.since(self.course.slots[i].start);
            match second {
                Some(q) if q >= bar && pooled_good && left >= SHORTEST_POOLED => return Search::Recovered(i),
                Some(q) if q < bar => good_end = None,
                _ if pooled_good => good_end = good_end.or(Some(left)),
                _ => good_end = None,
            }
        }
        match good_end {
            Some(left) => Search::Unknown(format!(
                "good again for the last {:.1} s, too short to call it recovered: {}",
                left.as_secs_f64(),
                self.ended()
            )),
            None if told => Search::NotRecovered,
            None => Search::Unknown(format!("too little was seen after it began to hurt: {}", self.ended())),
        }
    }

    /// A lasting fault that was still held at the censor: its recovery could not even begin.
    fn ends_before_revert(&self) -> bool {
        self.fault.lasting && self.fault.reverted.is_none_or(|r| r >= self.censor.at)
    }

    /// Outage and lost requests are counted until recovery, and at least while the fault was held. For one that never hurt:
    /// until 10 s after it, because losing three requests is no hurt but is a loss.
    fn cost_until(&self, state: State, recovered_at: Option<Offset>) -> Offset {
        let held_until = self.fault.reverted.unwrap_or(self.applied);
        let until = match (state, recovered_at) {
            (State::None, _) if self.fault.lasting && self.fault.reverted.is_none() => self.censor.at,
            (State::None, _) => held_until + POOLED,
            (_, Some(at)) => at.max(held_until),
            (_, None) => self.censor.at,
        };
        until.min(self.censor.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hist::bucket_of;
    use crate::units::PhaseId;

    const W: Option<Duration> = Some(Duration::from_millis(100));

    fn at(seconds: f64) -> Offset {
        Offset::from_secs_f64(seconds)
    }

    fn one_shot(applied: f64) -> FaultTimes {
        FaultTimes { name: "kill-one".into(), applied: Some(at(applied)), ..FaultTimes::default() }
    }

    fn lasting(applied: f64, reverted: f64) -> FaultTimes {
        FaultTimes { reverted: Some(at(reverted)), lasting: true, ..one_shot(applied) }
    }

    /// Slots of 100 ms over this many seconds, `rate` arrivals a second spread evenly over them, of which the share
    /// that `good` gives for the middle of the slot answer in 10 ms.
    fn slots(seconds: f64, rate: f64, good: impl Fn(f64) -> f64) -> Vec<Slot> {
        let count = (seconds * 10.0).round() as u32;
        let due_before = |i: u32| (rate * f64::from(i) / 10.0).ceil() as u64;
        let slot = |i: u32| {
            let planned = due_before(i + 1) - due_before(i);
            let ok = (planned as f64 * good(f64::from(i) / 10.0 + 0.05)).round() as u64;
            let latency_ok = if ok > 0 { vec![(bucket_of(10_000_000), ok as u32)] } else { Vec::new() };
            let (start, end) = (at(f64::from(i) / 10.0), at(f64::from(i + 1) / 10.0));
            Slot { start, end, phase: PhaseId(0), measured: true, planned, ok, latency_ok, ..Slot::default() }
        };
        (0..count).map(slot).collect()
    }

    /// Good but within these stretches, where this share is.
    fn bad(stretches: &'static [(f64, f64, f64)]) -> impl Fn(f64) -> f64 {
        move |t| stretches.iter().find(|(from, to, _)| (*from..*to).contains(&t)).map_or(1.0, |(_, _, share)| *share)
    }

    #[test]
    fn an_outage_that_ends_is_recovered() {
        let slots = slots(60.0, 500.0, bad(&[(20.5, 23.5, 0.0)]));
        let impact = measure(&slots, &[one_shot(20.0)], 0, W);
        assert_eq!(
            (impact.state, impact.onset, impact.recovered_at),
            (State::Recovered, Some(at(20.5)), Some(at(23.5)))
        );
        assert_eq!((impact.recovery_s, impact.recovery_after_revert_s), (Some(3.5), None));
        assert_eq!((impact.longest_outage_s, impact.lost_requests), (Some(3.0), Some(1500.0)));
        assert_eq!((impact.baseline_q, impact.worst_q), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn a_loss_too_small_to_hurt_is_none_but_is_counted() {
        // Two of 500 in one second.
        let slots = slots(60.0, 500.0, bad(&[(20.0, 20.1, 0.96)]));
        let impact = measure(&slots, &[one_shot(20.0)], 0, W);
        assert_eq!((impact.state, impact.recovery_s, impact.recovered_at), (State::None, Some(0.0), None));
        assert_eq!((impact.lost_requests, impact.longest_outage_s), (Some(2.0), Some(0.0)));
    }

    #[test]
    fn slow_answers_hurt_as_failed_ones_do() {
        let mut slots = slots(60.0, 500.0, |_| 1.0);
        let slow = |s: &&mut Slot| s.start >= at(20.0) && s.start < at(25.0);
        slots.iter_mut().filter(slow).for_each(|s| s.latency_ok = vec![(bucket_of(300_000_000), s.ok as u32)]);
        let impact = measure(&slots, &[one_shot(20.0)], 0, W);
        assert_eq!(
            (impact.state, impact.recovery_s, impact.longest_outage_s),
            (State::Recovered, Some(5.0), Some(5.0))
        );
        let lenient = measure(&slots, &[one_shot(20.0)], 0, Some(Duration::from_secs(1)));
        assert_eq!(lenient.state, State::None);
    }

    #[test]
    fn what_never_comes_back_is_not_recovered() {
        let slots = slots(60.0, 500.0, bad(&[(20.0, 99.0, 0.7)]));
        let impact = measure(&slots, &[one_shot(20.0)], 0, W);
        assert_eq!((impact.state, impact.recovery_s, impact.watched_s), (State::NotRecovered, None, 40.0));
        assert!((impact.lost_requests.unwrap() - 0.3 * 500.0 * 40.0).abs() < 1e-6);
        assert_eq!(impact.longest_outage_s, Some(0.0), "some answers were good in every slot");
    }

    #[test]
    fn a_good_second_in_a_bad_stretch_is_no_recovery() {
        let slots = slots(60.0, 500.0, bad(&[(20.0, 25.0, 0.5), (27.0, 30.0, 0.5)]));
        let impact = measure(&slots, &[one_shot(20.0)], 0, W);
        assert_eq!(impact.recovered_at, Some(at(30.0)), "the 10 s from 25 s on are not good");
    }

    #[test]
    fn the_next_fault_censors() {
        let faults = [one_shot(20.0), one_shot(30.0)];
        let slots = slots(60.0, 500.0, bad(&[(20.0, 35.0, 0.5)]));
        let impact = measure(&slots, &faults, 0, W);
        assert_eq!((impact.state, impact.watched_s), (State::NotRecovered, 10.0));
        let second = measure(&slots, &faults, 1, W);
        assert_eq!((second.state, second.recovery_s), (State::Recovered, Some(5.0)));
        assert_eq!(second.baseline_q, Some(1.0), "the first fault does not lower the bar of the second");
    }

    #[test]
    fn a_next_fault_that_comes_soon_is_the_reason_by_its_name() {
        let soon = |second: f64| {
            let faults = [lasting(20.0, 40.0), FaultTimes { name: "kill-two".into(), ..one_shot(second) }];
            // No arrival in the first moments: the first slot begins after the fault.
            let slots: Vec<Slot> = slots(60.0, 500.0, |_| 1.0).into_iter().filter(|s| s.start != at(20.0)).collect();
            measure(&slots, &faults, 0, W)
        };
        for second in [21.0, 21.5] {
            let impact = soon(second);
            let words = format!("the next fault, kill-two, came {:.1} s after it was applied", second - 20.0);
            assert_eq!(impact.state, State::Unknown);
            assert!(impact.reason.contains(&words), "{}", impact.reason);
        }
        assert_eq!(soon(25.0).state, State::None, "five seconds were seen, and none hurt");
    }

    #[test]
    fn a_baseline_that_is_no_ground_to_judge_by_makes_it_unknown() {
        let noisy = slots(60.0, 500.0, bad(&[(10.0, 11.0, 0.9), (20.0, 23.0, 0.0)]));
        let mut late = slots(60.0, 500.0, bad(&[(20.0, 23.0, 0.0)]));
        late.iter_mut().filter(|s| s.end <= at(20.0)).for_each(|s| s.late = 1);
        let mut own = slots(60.0, 500.0, bad(&[(20.0, 23.0, 0.0)]));
        own[3].client = 11;
        for (slots, says) in [(&noisy, "a second was only 90.00 % good"), (&late, "generator"), (&own, "generator")] {
            let impact = measure(slots, &[one_shot(20.0)], 0, W);
            assert_eq!((impact.state, impact.recovery_s, impact.lost_requests), (State::Unknown, None, None), "{says}");
            assert_eq!(impact.longest_outage_s, Some(3.0), "an outage is one whatever was before");
            assert!(impact.reason.contains(says), "{}", impact.reason);
        }
        // Nine of fifty that were due just before it were lost by it: that is no noise of the baseline.
        let taken = slots(60.0, 500.0, bad(&[(19.9, 20.0, 0.8), (20.0, 23.0, 0.0)]));
        let impact = measure(&taken, &[one_shot(20.0)], 0, W);
        assert_eq!((impact.state, impact.baseline_q), (State::Recovered, Some(1.0)));
        late.iter_mut().for_each(|s| s.late = u64::from(s.start >= at(20.0)));
        assert_eq!(measure(&late, &[one_shot(20.0)], 0, W).state, State::Recovered, "late only after it");
    }

    #[test]
    fn what_failed_and_what_came_late_are_told_apart() {
        let mut slots = slots(60.0, 500.0, bad(&[(20.0, 22.0, 0.5)]));
        let slow = |s: &&mut Slot| s.start >= at(22.0) && s.start < at(23.0);
        slots.iter_mut().filter(slow).for_each(|s| s.latency_ok = vec![(bucket_of(300_000_000), s.ok as u32)]);
        let impact = measure(&slots, &[one_shot(20.0)], 0, W);
        assert_eq!((impact.lost_requests, impact.failed, impact.slow), (Some(1000.0), Some(500), Some(500)));
        let before = impact.before.unwrap().map(|ns| ns.unwrap() / 100_000);
        assert_eq!(before, [100, 100], "10 ms, in tenths");
    }

    #[test]
    fn faults_of_one_blow_do_not_censor_each_other() {
        let slots = slots(60.0, 500.0, bad(&[(20.0, 24.0, 0.5)]));
        for which in 0..2 {
            assert_eq!(measure(&slots, &[one_shot(20.0), one_shot(20.004)], which, W).state, State::Recovered);
        }
    }

    #[test]
    fn near_the_censor_a_good_end_needs_three_seconds() {
        let until = |end: f64| measure(&slots(end, 500.0, bad(&[(20.0, 25.0, 0.0)])), &[one_shot(20.0)], 0, W);
        assert_eq!(until(28.0).state, State::Recovered);
        assert_eq!(until(28.0).recovery_s, Some(5.0));
        assert_eq!(until(27.5).state, State::Unknown);
        assert!(until(27.5).reason.contains("last 2.5 s"), "{}", until(27.5).reason);
        assert_eq!(until(25.5).state, State::NotRecovered, "no whole good second was seen");
        assert_eq!(until(20.5).state, State::Unknown, "not even a second was left");
    }

    #[test]
    fn lasting_faults_count_from_reverted() {
        let slots = slots(80.0, 500.0, bad(&[(20.0, 43.0, 0.5)]));
        let impact = measure(&slots, &[lasting(20.0, 40.0)], 0, W);
        assert_eq!((impact.state, impact.recovery_s), (State::Recovered, Some(3.0)));
        assert_eq!((impact.recovery_after_revert_s, impact.recovered_at), (Some(3.0), Some(at(43.0))));
        let held_to_the_end = FaultTimes { reverted: None, ..lasting(20.0, 40.0) };
        assert_eq!(measure(&slots[..400], &[held_to_the_end], 0, W).state, State::Unknown);
    }

    #[test]
    fn recovery_while_held_is_free_unless_the_end_hurts_again() {
        let held = [lasting(20.0, 40.0)];
        let quick = measure(&slots(80.0, 500.0, bad(&[(20.0, 25.0, 0.5)])), &held, 0, W);
        assert_eq!((quick.state, quick.recovery_s, quick.recovered_at), (State::Recovered, Some(0.0), Some(at(25.0))));
        let again = measure(&slots(80.0, 500.0, bad(&[(20.0, 25.0, 0.5), (41.0, 44.0, 0.5)])), &held, 0, W);
        assert_eq!((again.onset, again.recovered_at, again.recovery_s), (Some(at(20.0)), Some(at(44.0)), Some(4.0)));
        let later = measure(&slots(80.0, 500.0, bad(&[(20.0, 25.0, 0.5), (60.0, 64.0, 0.5)])), &held, 0, W);
        assert_eq!(later.recovered_at, Some(at(25.0)), "20 s after the fault it is something else");
    }

    #[test]
    fn few_arrivals_are_pooled_or_unknown() {
        // 20 a second: a "second" is five long.
        let impact = measure(&slots(80.0, 20.0, bad(&[(20.0, 30.0, 0.0)])), &[one_shot(20.0)], 0, W);
        assert_eq!((impact.state, impact.recovered_at), (State::Recovered, Some(at(30.0))));
        // 5 a second: not even 10 s hold a hundred. Empty slots do not end the outage.
        let sparse = measure(&slots(80.0, 5.0, bad(&[(20.0, 30.0, 0.0)])), &[one_shot(20.0)], 0, W);
        assert_eq!((sparse.state, sparse.recovery_s), (State::Unknown, None));
        assert!(sparse.reason.contains("100 arrivals"), "{}", sparse.reason);
        assert!((sparse.longest_outage_s.unwrap() - 9.9).abs() < 1e-9);
        assert_eq!(sparse.lost_requests, Some(50.0));
    }

    #[test]
    fn nothing_to_compare_with_is_unknown() {
        let unmeasured = |mut slots: Vec<Slot>| {
            slots.iter_mut().for_each(|s| s.measured = false);
            slots
        };
        for (slots, fault, says) in [
            (slots(60.0, 500.0, |_| 1.0), FaultTimes::default(), "never applied"),
            (slots(60.0, 500.0, |_| 1.0), one_shot(0.2), "only 50 measured arrivals"),
            (slots(60.0, 500.0, |_| 0.0), one_shot(20.0), "no answer was good in time"),
            (slots(60.0, 0.0, |_| 1.0), one_shot(20.0), "only 0 measured arrivals"),
            (unmeasured(slots(60.0, 500.0, |_| 1.0)), one_shot(20.0), "only 0 measured arrivals"),
            (Vec::new(), one_shot(20.0), "only 0 measured arrivals"),
        ] {
            let impact = measure(&slots, &[fault], 0, W);
            assert_eq!((impact.state, impact.recovery_s, impact.lost_requests), (State::Unknown, None, None), "{says}");
            assert!(impact.reason.contains(says), "{} lacks {says}", impact.reason);
        }
        assert!(measure(&slots(60.0, 500.0, |_| 0.0), &[one_shot(20.0)], 0, None).reason.contains("no objective"));
    }

    #[test]
    fn load_that_stops_arriving_after_the_fault_is_unknown() {
        let mut slots = slots(60.0, 500.0, |_| 1.0);
        slots.iter_mut().filter(|s| s.start >= at(20.0)).for_each(|s| {
            (s.planned, s.ok) = (0, 0);
            s.latency_ok.clear();
        });
        assert_eq!(measure(&slots, &[one_shot(20.0)], 0, W).state, State::Unknown);
    }

    #[test]
    fn without_a_bound_good_is_twice_the_p99_before() {
        let slots = slots(60.0, 500.0, bad(&[(20.0, 22.0, 0.0)]));
        let within = default_within(&slots, &[one_shot(20.0)]).unwrap();
        assert!((within.as_secs_f64() / 0.020 - 1.0).abs() < 1e-3, "{within:?}");
        assert_eq!(measure(&slots, &[one_shot(20.0)], 0, None).within, Some(within));
    }
}
