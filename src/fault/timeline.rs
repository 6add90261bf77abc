//! What is planned to happen when: pure, from the plan alone.
//!
//! Serves the `plan` command, the countdown to the next fault, and the runner's order. Owns the order of planned
//! moments; leaves alone what really happened (the runner's records).

use crate::plan::{FaultPlan, Lasts};
use crate::units::Offset;

/// One planned moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// When.
    pub at: Offset,
    /// What.
    pub what: What,
    /// Index into `Plan::faults`.
    pub fault: usize,
}

/// What is planned for a moment. At the same instant faults end before others begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is put back, when it was applied in time.
    Revert,
    /// It is applied.
    Apply,
}

/// Every planned moment, in order; load ends at `end`.
pub fn timeline(faults: &[FaultPlan], end: Offset) -> Vec<Moment> {
    let mut moments: Vec<Moment> = faults.iter().enumerate().flat_map(|(i, f)| moments_of(i, f, end)).collect();
    moments.sort_unstable();
    moments
}

/// When a fault that was applied at this moment is put back: never after the end of load. None for one-shot faults.
pub fn revert_at(fault: &FaultPlan, applied: Offset, end: Offset) -> Option<Offset> {
    fault.lasts.map(|lasts| match lasts {
        Lasts::For(time) => (applied + time).min(end),
        Lasts::UntilEnd => end,
    })
}

/// The next fault to come at or after `now`.
pub fn next_fault(timeline: &[Moment], now: Offset) -> Option<Moment> {
    timeline.iter().copied().find(|m| m.what == What::Apply && m.at >= now)
}

fn moments_of(fault: usize, plan: &FaultPlan, end: Offset) -> impl Iterator<Item = Moment> {
    let apply = Moment { at: plan.at, what: What::Apply, fault };
    let revert = revert_at(plan, plan.at, end).map(|at| Moment { at, what: What::Revert, fault });
    std::iter::once(apply).chain(revert)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FaultKind, FaultTarget, Mode, Via};
    use std::time::Duration;

    fn fault(at_s: f64, lasts: Option<Lasts>) -> FaultPlan {
        let at = Offset::from_secs_f64(at_s);
        let target = FaultTarget::Replicas(Mode::One);
        FaultPlan {
            name: format!("f{at_s}"),
            kind: FaultKind::PodPause,
            target,
            at,
            lasts,
            overlap: false,
            via: Via::Platform,
        }
    }

    #[test]
    fn moments_are_in_order() {
        let ten = Some(Lasts::For(Duration::from_secs(10)));
        let faults = [fault(20.0, Some(Lasts::UntilEnd)), fault(5.0, ten), fault(15.0, None), fault(25.0, ten)];
        let timeline = timeline(&faults, Offset::from_secs_f64(30.0));
        let seen: Vec<_> = timeline.iter().map(|m| (m.at.as_secs_f64(), m.what, m.fault)).collect();
        let (apply, revert) = (What::Apply, What::Revert);
        let expected = [
            (5.0, apply, 1),
            (15.0, revert, 1),
            (15.0, apply, 2),
            (20.0, apply, 0),
            (25.0, apply, 3),
            (30.0, revert, 0),
            (30.0, revert, 3),
        ];
        assert_eq!(seen, expected);
        assert_eq!(next_fault(&timeline, Offset::from_secs_f64(5.1)).unwrap().fault, 2);
        assert_eq!(next_fault(&timeline, Offset::from_secs_f64(25.1)), None);
    }
}
