//! From interleaved pairs of runs to answers: decisions, advice, time-lines, shift functions.

use std::collections::BTreeMap;

use super::{Asked, words};
use crate::report::comparison::model::{
    AnswerWord, End, MetricReport, SecondOf, ShiftPoint, ShiftReport, Timeline, Value,
};
use crate::report::model::Report;
use crate::statistics::decision::{self, Answer, Decision, Question, Rule, Scale, Worse};
use crate::statistics::multiple;
use crate::statistics::quantile::Bucket;
use crate::statistics::shift::shift_function;

/// One usable pair: the reference's run and the other's.
pub type Pair = (Report, Report);

/// Risk of calling advice a change, over all of it together.
const ADVICE_RISK: f64 = 0.05;

/// The gating metrics at one look, with what was decided about each.
pub fn decide(asked: &[Asked], pairs: &[Pair], arms: [&str; 2], risk: f64) -> (Vec<MetricReport>, Vec<Decision>) {
    let values: Vec<Vec<(f64, f64)>> = asked.iter().map(|a| values(a, pairs)).collect();
    let questions: Vec<(Question, &[(f64, f64)])> =
        asked.iter().zip(&values).map(|(a, v)| (a.question, v.as_slice())).collect();
    let decisions = decision::decide(&questions, Rule::Strict, risk);
    let reports = asked.iter().zip(&values).zip(&decisions).map(|((a, v), d)| report(a, v, d, arms, "pairs")).collect();
    (reports, decisions)
}

/// Half the width of the interval that the reference shows against itself, for each metric; none where pairs bound nothing.
pub fn noise(asked: &[Asked], pairs: &[Pair], risk: f64) -> Vec<Option<f64>> {
    asked.iter().map(|a| decision::noise_floor(a.question, &values(a, pairs), risk)).collect()
}

fn values(asked: &Asked, pairs: &[Pair]) -> Vec<(f64, f64)> {
    pairs.iter().map(|(a, b)| (asked.value(a), asked.value(b))).collect()
}

/// The metrics that do not decide, with q values: at most 5 % of those called changed are expected not to be.
pub fn advice(asked: &[Asked], pairs: &[Pair], arms: [&str; 2], risk: f64) -> Vec<MetricReport> {
    let values: Vec<Vec<(f64, f64)>> = asked.iter().map(|a| values(a, pairs)).collect();
    let one = |question, values: &Vec<(f64, f64)>| decision::decide(&[(question, values)], Rule::Lenient, risk)[0];
    let found: Vec<Decision> = asked.iter().zip(&values).map(|(a, v)| one(a.question, v)).collect();
    let other_way = |a: &Asked| Question {
        worse: if a.question.worse == Worse::Higher { Worse::Lower } else { Worse::Higher },
        ..a.question
    };
    let p: Vec<f64> = asked
        .iter()
        .zip(&values)
        .zip(&found)
        .map(|((a, v), d)| (2.0 * d.p.min(one(other_way(a), v).p)).min(1.0))
        .collect();
    let q = multiple::benjamini_hochberg(&p);
    let reports = asked.iter().zip(&values).zip(&found).zip(p.iter().zip(q));
    reports
        .map(|(((a, v), d), (p, q))| {
            let changed = q <= ADVICE_RISK;
            let worse = d.estimate.is_some_and(|e| (e > 0.0) == (a.question.worse == Worse::Higher));
            let (answer, why) = match (changed, worse) {
                (true, true) => (AnswerWord::Regressed, format!("worse: q = {q:.3}")),
                (true, false) => (AnswerWord::Improved, format!("better: q = {q:.3}")),
                (false, _) => (AnswerWord::Inconclusive, format!("no change shown: q = {q:.2}")),
            };
            MetricReport {
                answer,
                sentence: words::compared(a, arms, d),
                why,
                min_effect: None,
                p: *p,
                p_adjusted: q,
                ..report(a, v, d, arms, "pairs")
            }
        })
        .filter(|m| m.n > 0)
        .collect()
}

/// One decision as it stands in the file.
pub(super) fn report(
    asked: &Asked,
    values: &[(f64, f64)],
    found: &Decision,
    arms: [&str; 2],
    evidence: &str,
) -> MetricReport {
    let answer = word(found.answer);
    let why = words::why(asked, found, evidence);
    MetricReport {
        metric: asked.text.clone(),
        unit: asked.unit.to_owned(),
        relative: asked.question.scale == Scale::Ratio,
        worse_when_higher: asked.question.worse == Worse::Higher,
        min_effect: Some(asked.question.floor),
        answer,
        sentence: format!("{}: {}, {why}", words::compared(asked, arms, found), answer.words()),
        why,
        estimate: found.estimate.map(End::of),
        low: found.estimate.map(|_| End::of(found.interval.low)),
        high: found.estimate.map(|_| End::of(found.interval.high)),
        level: found.interval.level,
        p: found.p,
        p_adjusted: found.p_adjusted,
        n: found.n,
        silent: found.silent,
        a: values.iter().map(|(a, _)| Value::of(*a)).collect(),
        b: values.iter().map(|(_, b)| Value::of(*b)).collect(),
        noise_floor: None,
    }
}

fn word(answer: Answer) -> AnswerWord {
    match answer {
        Answer::Regressed => AnswerWord::Regressed,
        Answer::Improved => AnswerWord::Improved,
        Answer::NoRegression => AnswerWord::NoRegression,
        Answer::Inconclusive => AnswerWord::Inconclusive,
    }
}

/// One answer over all metrics: a regression anywhere, else doubt anywhere, else none; better only where nothing is worse or in doubt.
pub fn overall(metrics: &[MetricReport]) -> AnswerWord {
    let any = |answer| metrics.iter().any(|m| m.answer == answer);
    match () {
        () if any(AnswerWord::Regressed) => AnswerWord::Regressed,
        () if metrics.is_empty() || any(AnswerWord::Inconclusive) => AnswerWord::Inconclusive,
        () if any(AnswerWord::Improved) => AnswerWord::Improved,
        () => AnswerWord::NoRegression,
    }
}

/// Seconds of both arms, aligned on when the first fault was really applied in each run.
pub fn timelines(pairs: &[Pair], arms: [&str; 2]) -> Vec<Timeline> {
    let of = |arm: &str, runs: Vec<&Report>| {
        let fault = runs.first().and_then(|r| first_fault(r)).map_or(String::new(), |(name, _)| name.to_owned());
        let mut seconds: BTreeMap<i64, Second> = BTreeMap::new();
        for run in runs {
            let zero = first_fault(run).map_or(0.0, |(_, at)| at);
            for window in run.windows.iter().filter(|w| w.due_planned > 0) {
                // Windows begin on whole seconds of the run, faults a little after theirs.
                let second = seconds.entry((window.start_at_s - zero).round() as i64).or_default();
                second.p99.push(window.due_p99_us.unwrap_or(f64::INFINITY));
                second.planned += window.due_planned;
                second.ok += window.due_ok;
            }
        }
        let seconds = seconds.into_iter().map(|(at, s)| s.close(at)).collect();
        Timeline { arm: arm.to_owned(), fault, seconds }
    };
    vec![of(arms[0], pairs.iter().map(|p| &p.0).collect()), of(arms[1], pairs.iter().map(|p| &p.1).collect())]
}

fn first_fault(run: &Report) -> Option<(&str, f64)> {
    let applied = run.faults.iter().filter_map(|f| f.applied_at_s.map(|at| (f.name.as_str(), at)));
    applied.min_by(|a, b| a.1.total_cmp(&b.1))
}

#[derive(Default)]
struct Second {
    p99: Vec<f64>,
    planned: u64,
    ok: u64,
}

impl Second {
    fn close(mut self, at: i64) -> SecondOf {
        self.p99.sort_by(f64::total_cmp);
        // The lower of two middles: an infinite one is not averaged with a number.
        let median = self.p99[(self.p99.len() - 1) / 2];
        SecondOf {
            at_s: at as f64,
            p99_us: median.is_finite().then_some(median),
            ok_ratio: (self.planned > 0).then(|| self.ok as f64 / self.planned as f64),
        }
    }
}

/// The shift function of a phase from the histograms of good answers of each run, in order of pairs, ns.
pub fn shift(
    phase: &str,
    a: &[Vec<Bucket>],
    b: &[Vec<Bucket>],
    below: &mut dyn FnMut(usize) -> usize,
) -> Option<ShiftReport> {
    let us = |ns: f64| ns / 1e3;
    let points: Vec<ShiftPoint> = shift_function(a, b, true, below)
        .into_iter()
        .map(|s| ShiftPoint {
            quantile: s.q,
            a_us: us(s.a),
            b_us: us(s.b),
            low_us: s.low.map(us),
            high_us: s.high.map(us),
        })
        .collect();
    (!points.is_empty()).then(|| ShiftReport { phase: phase.to_owned(), runs: a.len().min(b.len()), points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Asked;
    use crate::plan::Metric;
    use crate::report::model::{FaultReport, MetricValue, SpanReport, WindowReport};
    use crate::statistics::decision::{LOOK_RISK, Test};
    use crate::units::Quantile;

    fn p99() -> Asked {
        Asked {
            text: "latency.p99@all".into(),
            metric: "latency.p99".into(),
            place: "all".into(),
            of_fault: false,
            unit: "s",
            question: Question { scale: Scale::Ratio, worse: Worse::Higher, floor: 0.05, test: Test::SignedRank },
        }
    }

    fn run(p99: f64) -> Report {
        let value = MetricValue { value: p99.is_finite().then_some(p99), n: 100, ..MetricValue::default() };
        let metrics = [(Metric::Latency(Quantile::P99).word(), value)].into();
        let span = SpanReport { name: "all".into(), planned: 100, metrics, ..SpanReport::default() };
        Report { phases: vec![span], ..Report::default() }
    }

    fn pairs(factors: &[f64]) -> Vec<Pair> {
        factors.iter().map(|f| (run(0.1), run(0.1 * f))).collect()
    }

    #[test]
    fn the_answer_over_all() {
        let with = |answer| MetricReport { answer, ..MetricReport::default() };
        use AnswerWord::{Improved, Inconclusive, NoRegression, Regressed};
        for (metrics, answer) in [
            (vec![], Inconclusive),
            (vec![NoRegression, Regressed, Inconclusive], Regressed),
            (vec![Improved, Inconclusive], Inconclusive),
            (vec![Improved, NoRegression], Improved),
            (vec![NoRegression, NoRegression], NoRegression),
        ] {
            assert_eq!(overall(&metrics.into_iter().map(with).collect::<Vec<_>>()), answer);
        }
    }

    #[test]
    fn a_slower_arm_is_seen_and_the_same_one_is_not() {
        let (found, _) = decide(&[p99()], &pairs(&[1.1, 1.12, 1.11, 1.13, 1.09, 1.12, 1.14]), ["a", "b"], LOOK_RISK);
        assert_eq!(found[0].answer, AnswerWord::Regressed);
        assert_eq!((found[0].n, found[0].a.len()), (7, 7));
        assert!(found[0].sentence.contains("11.5 % higher"), "{}", found[0].sentence);
        let (found, _) = decide(&[p99()], &pairs(&[1.0; 7]), ["a", "b"], LOOK_RISK);
        assert_eq!(found[0].answer, AnswerWord::NoRegression);
    }

    /// One arm without a single good answer, in every pair: regressed by more than any number, not a division by zero.
    #[test]
    fn an_arm_without_good_answers() {
        let (found, _) = decide(&[p99()], &pairs(&[f64::INFINITY; 7]), ["a", "b"], LOOK_RISK);
        assert_eq!(found[0].answer, AnswerWord::Regressed);
        assert_eq!(found[0].estimate, Some(End::of(f64::INFINITY)));
        let json = serde_json::to_string(&found[0]).unwrap();
        assert_eq!(serde_json::from_str::<MetricReport>(&json).unwrap(), found[0]);
    }

    #[test]
    fn advice_is_weighed_together() {
        let found = advice(&[p99(), p99()], &pairs(&[1.2, 1.21, 1.22, 1.23, 1.24, 1.25, 1.26]), ["a", "b"], LOOK_RISK);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].answer, found[0].min_effect), (AnswerWord::Regressed, None));
        assert!((found[0].p - 2.0 / 128.0).abs() < 1e-12);
        let found = advice(&[p99()], &pairs(&[1.0; 7]), ["a", "b"], LOOK_RISK);
        assert_eq!(found[0].answer, AnswerWord::Inconclusive);
        assert!(advice(&[p99()], &[], ["a", "b"], LOOK_RISK).is_empty());
    }

    #[test]
    fn seconds_are_counted_from_the_fault() {
        let with = |applied: f64| {
            let window = |start_at_s: f64, p99: Option<f64>| WindowReport {
                start_at_s,
                due_planned: 10,
                due_ok: 9,
                due_p99_us: p99,
                ..WindowReport::default()
            };
            let fault = FaultReport { name: "kill".into(), applied_at_s: Some(applied), ..FaultReport::default() };
            Report {
                faults: vec![fault],
                windows: vec![window(applied - 1.0, Some(5.0)), window(applied, None)],
                ..Report::default()
            }
        };
        let found = timelines(&[(with(3.0), with(4.0))], ["a", "b"]);
        assert_eq!(found[0].seconds, found[1].seconds);
        assert_eq!(found[0].fault, "kill");
        let seen: Vec<_> = found[0].seconds.iter().map(|s| (s.at_s, s.p99_us, s.ok_ratio)).collect();
        assert_eq!(seen, [(-1.0, Some(5.0), Some(0.9)), (0.0, None, Some(0.9))]);
    }
}
