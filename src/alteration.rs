//! Which requests a payload fault alters, and when.
//!
//! Each arrival is drawn for by itself, from a stream of the seed that is named after the fault and from the arrival's number
//! alone: whether it is altered depends neither on the number of workers nor on what happened before, and a fault that is added moves
//! no arrival and changes no other fault's draw. Owns the draw and the [`Gate`] by which the fault is in force; leaves alone what an
//! altered body is (`target/twins.rs`) and what becomes of it (`record/`).

use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;

use crate::plan::{Alter, Load, Payload, Plan};
use crate::rng;
use crate::schedule;
use crate::units::{Offset, Ratio, Seed};

/// The payload faults of a plan, in its order, while a run plays them.
#[derive(Debug, Default)]
pub struct Alterations(Vec<Alteration>);

/// One of them.
#[derive(Debug)]
pub struct Alteration {
    /// Index into `Plan::faults`.
    pub fault: usize,
    /// Altered requests count in the metrics of phases and spans, too.
    pub include: bool,
    /// When it is in force.
    pub gate: Gate,
    draw: Draw,
}

impl Alterations {
    /// Of this plan, none of them in force.
    pub fn of(plan: &Plan) -> Alterations {
        let one = |(fault, payload): (usize, &Payload)| Alteration {
            fault,
            include: payload.include,
            gate: Gate::default(),
            draw: Draw::new(plan.seed, &plan.faults[fault].name, payload.share),
        };
        Alterations(plan.payloads().map(one).collect())
    }

    /// Who alters this arrival, by its place among the payload faults: the first that is in force when it is due and that its draw
    /// falls to. What one has altered is left alone by those after it.
    #[inline]
    pub fn altered_by(&self, index: u64, due: u64) -> Option<usize> {
        self.0.iter().position(|a| a.gate.is_open_at(due) && a.draw.falls_to(index))
    }

    /// All of them, by that place.
    pub fn list(&self) -> &[Alteration] {
        &self.0
    }

    /// The gate of a fault; none when it is no payload fault.
    pub fn gate(&self, fault: usize) -> Option<&Gate> {
        self.0.iter().find(|a| a.fault == fault).map(|a| &a.gate)
    }
}

/// The stretch of *due* times in which a fault alters requests; shut at first. The fault opens and shuts it, the load looks.
#[derive(Debug)]
pub struct Gate {
    from: AtomicU64,
    until: AtomicU64,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { from: AtomicU64::new(u64::MAX), until: AtomicU64::new(u64::MAX) }
    }
}

impl Gate {
    /// Opens it for what is due in `[from, until)`. Once only.
    pub fn open(&self, from: Offset, until: Offset) {
        self.until.store(until.0, Ordering::Release);
        self.from.store(from.0, Ordering::Release);
    }

    /// Shuts it at this moment, unless it was to shut before.
    pub fn shut(&self, at: Offset) {
        self.until.fetch_min(at.0, Ordering::AcqRel);
    }

    /// What it is, or was, open for; none when it never was.
    pub fn window(&self) -> Option<(Offset, Offset)> {
        let (from, until) = (self.from.load(Ordering::Acquire), self.until.load(Ordering::Acquire));
        (from != u64::MAX).then(|| (Offset(from), Offset(until.max(from))))
    }

    #[inline]
    fn is_open_at(&self, due: u64) -> bool {
        self.from.load(Ordering::Acquire) <= due && due < self.until.load(Ordering::Acquire)
    }
}

/// One draw for each arrival, with this chance.
#[derive(Clone, Copy, Debug)]
struct Draw {
    key: u64,
    /// Drawn numbers below it hit; the largest: all of them do.
    threshold: u64,
}

impl Draw {
    fn new(seed: Seed, name: &str, share: Ratio) -> Draw {
        let key = rng::stream(seed, &format!("payload:{name}")).next_u64();
        // The cast saturates: a share of 1 is the largest number.
        Draw { key, threshold: (share.get() * 2f64.powi(64)) as u64 }
    }

    fn falls_to(&self, index: u64) -> bool {
        self.threshold == u64::MAX || mixed(self.key, index) < self.threshold
    }
}

/// The number of this place in a stream without a state: SplitMix64 (Steele, Lea, Flood 2014), asked for any place at once.
fn mixed(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The arrivals of the plan that each payload fault will alter, by their numbers, when everything goes by the plan; in the order of
/// [`Alterations::list`]. Requests of closed loops have no number beforehand and are left out.
pub fn planned(plan: &Plan) -> Vec<Vec<u64>> {
    let alterations = Alterations::of(plan);
    let mut all: Vec<Vec<u64>> = alterations.0.iter().map(|_| Vec::new()).collect();
    if all.is_empty() {
        return all;
    }
    let windows: Vec<(Offset, Offset)> = alterations.0.iter().map(|a| window(plan, a.fault)).collect();
    alterations.0.iter().zip(&windows).for_each(|(a, (from, until))| a.gate.open(*from, *until));
    let (first, last) = (windows.iter().map(|w| w.0).min(), windows.iter().map(|w| w.1).max());
    let (Some(first), Some(last)) = (first, last) else { return all };
    let inside = schedule::arrivals(plan).skip_while(|a| a.due < first).take_while(|a| a.due < last);
    for arrival in inside {
        if let Some(nth) = alterations.altered_by(arrival.index, arrival.due.0) {
            all[nth].push(arrival.index);
        }
    }
    all
}

/// Bodies that are made for a fault of cache-busting, of which so many requests are planned: one each, within its bound, since
/// nobody may ever see one twice. Where a closed loop runs nobody knows how many there will be, and the bound is the number.
pub fn distinct(plan: &Plan, fault: usize, planned: usize) -> usize {
    let Some(Payload { alter: Alter::CacheBust { distinct, .. }, .. }) = plan.faults[fault].payload() else { return 0 };
    let (from, until) = window(plan, fault);
    let closed = |p: &&crate::plan::Phase| matches!(p.load, Load::Closed { .. }) && p.start < until && from < p.end();
    if plan.phases.iter().any(|p| closed(&p)) { *distinct } else { planned.clamp(1, *distinct) }
}

/// When a fault is in force, by the plan.
fn window(plan: &Plan, fault: usize) -> (Offset, Offset) {
    let fault = &plan.faults[fault];
    (fault.at, fault.ends(plan.end()).unwrap_or(fault.at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{Expect, FaultKind, FaultPlan, FaultTarget, Lasts, Phase, Shape, Via, tests_support};
    use crate::schedule::Arrivals;
    use crate::units::Rate;

    fn fault(name: &str, at_s: f64, for_s: f64, share: f64) -> FaultPlan {
        let payload = Payload {
            alter: Alter::Malformed,
            share: Ratio::new(share).unwrap(),
            expect: Expect::Rejected,
            expect_share: Ratio::new(1.0).unwrap(),
            include: false,
        };
        FaultPlan {
            name: name.into(),
            kind: FaultKind::Payload(Box::new(payload)),
            target: FaultTarget::Requests,
            at: Offset::from_secs_f64(at_s),
            lasts: Some(Lasts::For(Duration::from_secs_f64(for_s))),
            overlap: false,
            via: Via::Load,
        }
    }

    fn plan(seed: u64, faults: Vec<FaultPlan>) -> Plan {
        let load = Load::Open(Shape::Constant(Rate::per_second(1000.0).unwrap()));
        let duration = Duration::from_secs(20);
        let phase = Phase { name: "all".into(), start: Offset::ZERO, duration, load, measured: true };
        Plan { seed: Seed(seed), faults, ..tests_support::plan(vec![phase]) }
    }

    #[test]
    fn exactly_what_is_due_in_its_time_and_about_its_share() {
        let p = plan(42, vec![fault("a", 5.0, 10.0, 0.1), fault("b", 2.0, 1.0, 1.0)]);
        let all = planned(&p);
        // Uniform arrivals, one a millisecond: 10,000 of them, each altered by chance; 4 standard deviations of the count.
        let n = all[0].len() as f64;
        assert!((n - 1000.0).abs() < 4.0 * (10_000.0f64 * 0.1 * 0.9).sqrt(), "{n}");
        assert!(all[0].iter().all(|i| (5_000..15_000).contains(i)));
        assert_eq!(all[1], (2_000..3_000).collect::<Vec<u64>>(), "a share of 1 leaves none out, and starts on time");
        assert_eq!(planned(&p), all, "the same seed draws the same");
        assert_ne!(planned(&plan(43, p.faults.clone()))[0], all[0]);
    }

    #[test]
    fn a_draw_falls_evenly_and_depends_on_no_neighbour() {
        let draw = Draw::new(Seed(7), "a", Ratio::new(0.25).unwrap());
        let hits: Vec<bool> = (0..400_000).map(|i| draw.falls_to(i)).collect();
        let share = |hits: &mut dyn Iterator<Item = &bool>| {
            let (n, all) = hits.fold((0.0, 0.0), |(n, all), h| (n + f64::from(u8::from(*h)), all + 1.0));
            n / all
        };
        // 4.5 standard deviations each.
        for part in hits.chunks(100_000) {
            assert!((share(&mut part.iter()) - 0.25).abs() < 0.0062, "{}", share(&mut part.iter()));
        }
        // Each worker takes every n-th: its share is the same. So is that of what follows a hit.
        for worker in 0..4 {
            assert!((share(&mut hits.iter().skip(worker).step_by(4)) - 0.25).abs() < 0.0062);
        }
        let after: Vec<bool> = hits.windows(2).filter(|w| w[0]).map(|w| w[1]).collect();
        assert!((share(&mut after.iter()) - 0.25).abs() < 0.0062, "{}", share(&mut after.iter()));
        let other = Draw::new(Seed(7), "b", Ratio::new(0.25).unwrap());
        let both = (0..400_000u64).filter(|i| draw.falls_to(*i) && other.falls_to(*i)).count() as f64 / 400_000.0;
        assert!((both - 0.0625).abs() < 0.0018, "faults draw apart: {both}");
    }

    #[test]
    fn workers_and_further_faults_change_nothing() {
        let alone = plan(42, vec![fault("a", 5.0, 10.0, 0.1)]);
        let beside = plan(42, vec![fault("a", 5.0, 10.0, 0.1), fault("b", 5.0, 10.0, 0.5)]);
        assert_eq!(planned(&alone)[0], planned(&beside)[0], "the first in the file comes first");
        let both = planned(&beside);
        assert!(both[1].iter().all(|i| both[0].binary_search(i).is_err()), "nothing is altered twice");
        let list: Vec<_> = schedule::arrivals(&alone).collect();
        assert_eq!(list, schedule::arrivals(&plan(42, vec![])).collect::<Vec<_>>(), "no arrival moves");
        for workers in 1..4 {
            let alterations = Alterations::of(&alone);
            alterations.list()[0].gate.open(Offset::from_secs_f64(5.0), Offset::from_secs_f64(15.0));
            let stripes = (0..workers).flat_map(|w| Arrivals::striped(&alone, w, workers));
            let mut hit: Vec<u64> =
                stripes.filter(|a| alterations.altered_by(a.index, a.due.0) == Some(0)).map(|a| a.index).collect();
            hit.sort_unstable();
            assert_eq!(hit, planned(&alone)[0], "{workers} workers");
        }
    }

    #[test]
    fn a_gate_is_shut_until_its_fault_opens_it_and_shuts_early_on_a_stop() {
        let gate = Gate::default();
        assert!(!gate.is_open_at(0) && !gate.is_open_at(u64::MAX - 1) && gate.window().is_none());
        gate.open(Offset(10), Offset(20));
        assert_eq!([9, 10, 19, 20].map(|due| gate.is_open_at(due)), [false, true, true, false]);
        gate.shut(Offset(30));
        assert_eq!(gate.window(), Some((Offset(10), Offset(20))), "shutting late makes it no longer");
        gate.shut(Offset(15));
        assert!(gate.is_open_at(14) && !gate.is_open_at(15));
        gate.shut(Offset(3));
        assert_eq!(gate.window(), Some((Offset(10), Offset(10))));
    }
}
