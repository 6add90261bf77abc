//! The same answer as at baseline for the same row.
//!
//! One word for each row of the dataset (at most a million: 8 MB), shared by all workers and made before the run. The first
//! good answer to a row that was due in a measured phase and done before the first fault is planned (without faults: before the end of
//! the first measured phase) is written into it, by whichever worker has it, and is never changed again. From then on it is only
//! read, so that its cache lines stay shared between CPUs: no lock, no allocation and no write in the steady state. Answers
//! that are the reference themselves are compared with nothing, and neither are answers to rows that have none yet.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::Plan;
use crate::target::predictions::{BodyRows, Print};

/// No answer yet. No [`Print`] has these bits.
const NONE: u64 = u64::MAX;

/// What each row was answered first.
#[derive(Debug)]
pub struct Agreement {
    reference: Box<[AtomicU64]>,
    /// Measured phases: first instant, first instant after it.
    measured: Vec<(u64, u64)>,
    /// The first fault, ns.
    until: u64,
    tolerance: f64,
}

impl Agreement {
    /// For so many rows; 0 where answers have no predictions.
    pub fn new(plan: &Plan, rows: usize) -> Agreement {
        let measured: Vec<(u64, u64)> =
            plan.phases.iter().filter(|p| p.measured).map(|p| (p.start.0, p.end().0)).collect();
        let fault = plan.faults.iter().map(|f| f.at.0).min();
        Agreement {
            reference: (0..rows).map(|_| AtomicU64::new(NONE)).collect(),
            until: fault.or_else(|| measured.first().map(|(_, end)| *end)).unwrap_or(0),
            measured,
            tolerance: plan.target.answer.tolerance,
        }
    }

    /// Holds the predictions of a good answer against what was answered first: how many could be, and how many are the same.
    pub fn judge(&self, rows: BodyRows, prints: &[Print], due: u64, done: u64) -> (u32, u32) {
        let (mut compared, mut agreed) = (0, 0);
        for (place, print) in prints.iter().enumerate() {
            let Some(word) = self.reference.get(rows.row(place)) else { break };
            let mut kept = word.load(Ordering::Relaxed);
            if kept == NONE {
                if done >= self.until || !self.measured.iter().any(|(start, end)| (*start..*end).contains(&due)) {
                    continue;
                }
                match word.compare_exchange(NONE, print.bits, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => continue,
                    // Another worker was first.
                    Err(first) => kept = first,
                }
            }
            compared += 1;
            agreed += u32::from(print.agrees(kept, self.tolerance));
        }
        (compared, agreed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Load, Phase, Shape};
    use crate::units::{Offset, Rate};
    use std::time::Duration;

    fn table(rows: usize) -> Agreement {
        let phase = |name: &str, start_s: u64, measured| Phase {
            name: name.into(),
            start: Offset(start_s * 1_000_000_000),
            duration: Duration::from_secs(1),
            load: Load::Open(Shape::Constant(Rate::per_second(1.0).unwrap())),
            measured,
        };
        let mut plan = crate::plan::tests_support::plan(vec![phase("warm", 0, false), phase("base", 1, true)]);
        plan.target.answer.tolerance = 1e-3;
        Agreement::new(&plan, rows)
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn the_first_measured_answer_before_any_fault_is_the_reference() {
        let (all, row) = (table(2), BodyRows { start: 0, len: 1, of: 2 });
        let is = |x: f64| [Print { bits: x.to_bits(), scale: x }];
        assert_eq!(all.judge(row, &is(9.0), S / 2, S / 2 + 5), (0, 0), "warm-up is in no denominator");
        assert_eq!(all.judge(row, &is(1.0), S + 1, S + 2), (0, 0), "this is the reference");
        assert_eq!(all.judge(row, &is(1.0005), S + 3, S + 4), (1, 1));
        assert_eq!(all.judge(row, &is(1.1), 2 * S, 2 * S), (1, 0), "it stays what it was");
        assert_eq!(all.judge(row, &is(1.0), 2 * S, 2 * S), (1, 1));
        let late = BodyRows { start: 1, len: 1, of: 2 };
        assert_eq!(all.judge(late, &is(1.0), S + 1, 2 * S), (0, 0), "done after the baseline");
        assert_eq!(all.judge(late, &is(1.0), 2 * S, 2 * S), (0, 0), "and so this row has no reference");
    }

    #[test]
    fn a_batch_is_compared_row_by_row_whatever_it_stands_in() {
        let all = table(3);
        let prints = |xs: &[f64]| xs.iter().map(|x| Print { bits: x.to_bits(), scale: *x }).collect::<Vec<_>>();
        assert_eq!(all.judge(BodyRows { start: 2, len: 2, of: 3 }, &prints(&[2.0, 0.0]), S, S), (0, 0));
        assert_eq!(all.judge(BodyRows { start: 0, len: 3, of: 3 }, &prints(&[0.0, 1.0, 5.0]), S, S), (2, 1));
    }

    #[test]
    fn workers_agree_on_one_reference() {
        let all = table(1);
        let row = BodyRows { start: 0, len: 1, of: 1 };
        let same: Vec<(u32, u32)> = std::thread::scope(|scope| {
            let judged = |x: u64| {
                let all = &all;
                scope.spawn(move || all.judge(row, &[Print { bits: (x as f64).to_bits(), scale: x as f64 }], S, S))
            };
            let threads: Vec<_> = (1..5).map(judged).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(same.iter().filter(|s| **s == (0, 0)).count(), 1, "one of them was first: {same:?}");
        assert_eq!(same.iter().filter(|s| **s == (1, 0)).count(), 3, "{same:?}");
    }
}
