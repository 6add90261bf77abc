//! Runs that the safety stop ended: something that the service did, not runs that failed to measure it.
//!
//! A stopped run has no numbers to hold against another's, so its pair is in no metric. Judged by the metrics alone, an arm that goes down would
//! be judged by the runs in which it stayed up. So stops are weighed by themselves:
//!
//! - Of a candidate that was stopped in any run nothing shows that it is no worse, or better: *inconclusive* at best.
//! - It has *regressed* where, were both arms alike, so many of the stops would fall on its side in one series of twenty at most: Fisher's exact
//!   test (Fisher 1935), one-sided, over the runs of both arms that ended by the stop or by themselves.
//!
//! It is one test for a series, made when that is over, so it has the risk of both looks together. Where the reference was never stopped, four
//! of four runs are enough (p = 1/70), three of ten are not (p = 0.11). The other run of a pair is made even when the first was stopped
//! (`run/series.rs`), so that both arms are asked equally often, and under the same arrivals. Earlier nights are no such arm: those with a
//! stop did not pass, and are not among them.

use crate::report::comparison::model::{AnswerWord, Comparison, Kind, PairReport};
use crate::report::model::Ending;
use crate::statistics::decision::LOOK_RISK;
use crate::statistics::share::Share;

/// What both looks may err together.
const RISK: f64 = 2.0 * LOOK_RISK;

/// How many runs of an arm the safety stop ended, of those that it or they themselves ended.
pub fn of(pairs: &[PairReport], arm: &str) -> Share {
    let runs = pairs.iter().flat_map(|p| &p.runs).filter(|r| r.arm == arm);
    runs.filter_map(|r| r.ending).fold(Share { k: 0, n: 0 }, |share, ending| match ending {
        Ending::SafetyStop => Share { k: share.k + 1, n: share.n + 1 },
        Ending::Completed => Share { n: share.n + 1, ..share },
        Ending::Interrupted | Ending::NotStarted => share,
    })
}

/// Puts the stops into the answer, and says so first of all reasons. The exit code follows from the answer and is left to the caller.
pub fn weigh(c: &mut Comparison) {
    let arms: Vec<(String, Share)> = c.arms.iter().map(|a| (a.name.clone(), of(&c.pairs, &a.name))).collect();
    let told = |(name, runs): &(String, Share)| format!("{} of {} runs of {name}", runs.k, runs.n);
    match (c.kind, arms.as_slice()) {
        (_, arms) if arms.iter().all(|(_, runs)| runs.k == 0) => {}
        (Kind::Calibration, [a, b]) => {
            c.warnings.push(format!(
                "the safety stop ended {} and {}: the noise is that of the others",
                told(a),
                told(b)
            ));
        }
        (Kind::History, [tonight]) => {
            let stopped = format!("the safety stop ended {} of tonight's {} runs", tonight.1.k, tonight.1.n);
            doubt(c, stopped, "");
        }
        (Kind::Pairs, [reference, candidate]) if candidate.1.k == 0 => {
            c.warnings.push(format!("the safety stop ended {}: these pairs are in no number", told(reference)));
        }
        (Kind::Pairs, [reference, candidate]) => {
            let p = fisher(reference.1, candidate.1);
            let stopped = format!("the safety stop ended {} and {}", told(candidate), told(reference));
            if p <= RISK {
                c.answer = AnswerWord::Regressed;
                reason(c, format!("{stopped}: more than chance would have it (Fisher's exact test, p = {p:.3})"));
            } else {
                doubt(c, stopped, &format!(", and chance alone may have stopped it more often (p = {p:.2})"));
            }
        }
        _ => {}
    }
}

/// At best inconclusive.
fn doubt(c: &mut Comparison, stopped: String, chance: &str) {
    if c.answer == AnswerWord::Regressed {
        return reason(c, stopped);
    }
    c.answer = AnswerWord::Inconclusive;
    reason(c, format!("{stopped}: the runs in which it stayed up do not show that it is no worse{chance}"));
}

/// What is still broken stays the first of all.
fn reason(c: &mut Comparison, words: String) {
    let at = if c.clean { 0 } else { c.reasons.len() };
    c.reasons.insert(at, words);
}

/// The chance that so many of all events, or more, fall on `b`, when each is as likely to be any one's (Fisher's exact test).
fn fisher(a: Share, b: Share) -> f64 {
    let ways =
        |n: u64, k: u64| if k > n { 0.0 } else { (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>() };
    let events = a.k + b.k;
    let tail: f64 = (b.k..=b.n.min(events)).map(|k| ways(b.n, k) * ways(a.n, events - k)).sum();
    (tail / ways(a.n + b.n, events)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::model::{Arm, MetricReport, RunOf};

    /// Runs of each arm, in their order, the first so many of them stopped; what is left of them shows no regression.
    fn comparison(kind: Kind, arms: &[(&str, usize, usize)]) -> Comparison {
        let runs = arms.iter().flat_map(|(arm, stopped, runs)| {
            (0..*runs).map(move |n| {
                let ending = if n < *stopped { Ending::SafetyStop } else { Ending::Completed };
                RunOf { arm: (*arm).into(), ending: Some(ending), ..RunOf::default() }
            })
        });
        Comparison {
            kind,
            arms: arms.iter().map(|(arm, ..)| Arm { name: (*arm).into(), sets: vec![] }).collect(),
            answer: AnswerWord::NoRegression,
            clean: true,
            pairs: vec![PairReport { runs: runs.collect(), ..PairReport::default() }],
            metrics: vec![MetricReport { answer: AnswerWord::NoRegression, n: 7, ..MetricReport::default() }],
            reasons: vec!["another".into()],
            ..Comparison::default()
        }
    }

    fn weighed(kind: Kind, arms: &[(&str, usize, usize)]) -> Comparison {
        let mut found = comparison(kind, arms);
        weigh(&mut found);
        found
    }

    #[test]
    fn a_candidate_that_went_down_is_not_judged_by_the_runs_in_which_it_stayed_up() {
        let found = weighed(Kind::Pairs, &[("release", 0, 10), ("candidate", 3, 10)]);
        assert_eq!(found.answer, AnswerWord::Inconclusive);
        for words in ["3 of 10 runs of candidate", "0 of 10 runs of release", "p = 0.11"] {
            assert!(found.reasons[0].contains(words), "{words}: {:?}", found.reasons);
        }
        // Often enough against none it is worse, and where both go down alike it is not.
        for (stops, answer) in [((0, 4), AnswerWord::Regressed), ((4, 4), AnswerWord::Inconclusive)] {
            let found = weighed(Kind::Pairs, &[("release", stops.0, 4), ("candidate", stops.1, 4)]);
            assert_eq!(found.answer, answer, "{stops:?}");
        }
        // What regressed by its numbers stays so.
        let mut worse = comparison(Kind::Pairs, &[("release", 0, 10), ("candidate", 1, 10)]);
        worse.answer = AnswerWord::Regressed;
        weigh(&mut worse);
        assert_eq!((worse.answer, worse.reasons.len()), (AnswerWord::Regressed, 2));
    }

    #[test]
    fn stops_of_others_are_told_and_no_stops_are_not() {
        let none = weighed(Kind::Pairs, &[("release", 0, 7), ("candidate", 0, 7)]);
        assert_eq!(none, comparison(Kind::Pairs, &[("release", 0, 7), ("candidate", 0, 7)]));
        for (kind, arms, words) in [
            (Kind::Pairs, &[("release", 2, 9), ("candidate", 0, 9)][..], "2 of 9 runs of release"),
            (Kind::Calibration, &[("release", 1, 9), ("release-again", 2, 9)], "2 of 9 runs of release-again"),
        ] {
            let found = weighed(kind, arms);
            assert_eq!((found.answer, found.reasons.len()), (AnswerWord::NoRegression, 1), "{words}");
            assert!(found.warnings[0].contains(words), "{:?}", found.warnings);
        }
        let tonight = weighed(Kind::History, &[("this", 1, 8)]);
        assert_eq!(tonight.answer, AnswerWord::Inconclusive);
        assert!(tonight.reasons[0].contains("1 of tonight's 8 runs"), "{:?}", tonight.reasons);
    }

    #[test]
    fn only_runs_that_ended_are_counted() {
        let run = |ending| RunOf { arm: "a".into(), ending, ..RunOf::default() };
        let endings = [Some(Ending::Completed), Some(Ending::SafetyStop), Some(Ending::NotStarted), None];
        let pairs = [PairReport { runs: endings.map(run).into(), ..PairReport::default() }];
        assert_eq!(of(&pairs, "a"), Share { k: 1, n: 2 });
        assert_eq!(of(&pairs, "b"), Share { k: 0, n: 0 });
    }

    /// Fisher's own: a lady who names three of four cups rightly, p = 17/70; all four, p = 1/70.
    #[test]
    fn the_lady_tasting_tea() {
        let cups = |k| Share { k, n: 4 };
        for (a, b, p) in [(1, 3, 17.0 / 70.0), (0, 4, 1.0 / 70.0), (4, 0, 1.0), (0, 0, 1.0)] {
            assert!((fisher(cups(a), cups(b)) - p).abs() < 1e-12, "{a} and {b}");
        }
        assert_eq!(fisher(Share { k: 0, n: 0 }, Share { k: 3, n: 3 }), 1.0);
    }
}
