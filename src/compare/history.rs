//! Earlier nights: which of them count, tonight's runs against them, and where a metric changed.
//!
//! A baseline is the nights with the same scenario and the same fingerprint that were valid and passed, at most the last [`NIGHTS`]:
//! "the newest artifact" may be a partial run, or one of a faster machine. A comparison with them is *weak*: whatever else differs between
//! nights is taken for a difference of the service (Mann-Whitney, `statistics/rank_sum.rs`).

use super::{Asked, pairs, words};
use crate::report::comparison::model::{AnswerWord, ChangeReport, MetricReport, NightOf, Series, Value};
use crate::report::history::Night;
use crate::statistics::decision::{Answer, Decision, Scale, Why, Worse};
use crate::statistics::divisive::{Search, change_points};
use crate::statistics::{Interval, multiple, rank_sum};

/// Nights of a baseline, at most.
pub const NIGHTS: usize = 20;
/// Nights of a baseline, at least: with fewer than five no one-sided test at 0.025 could say anything against seven runs worth saying.
pub const NIGHTS_LEAST: usize = 5;
/// Nights before change points are looked for.
pub const CHANGES_LEAST: usize = 10;

/// Why a night does not count for this scenario here; none when it does.
pub fn ignored(night: &Night, scenario_sha256: &str, fingerprint: &str) -> Option<String> {
    if night.scenario.sha256 != scenario_sha256 {
        return Some("another scenario, or the same with other values".to_owned());
    }
    if night.fingerprint.id != fingerprint {
        return Some(format!("another machine or version: fingerprint {}", night.fingerprint.id));
    }
    if !night.valid {
        return Some("not valid: a partial night, or one whose runs could not be used".to_owned());
    }
    (!night.passed).then(|| "it did not pass".to_owned())
}

/// Tonight's values of each metric against the nights of the baseline, oldest first.
pub fn weigh(asked: &[Asked], nights: &[&Night], tonight: &[Vec<f64>], risk: f64) -> Vec<MetricReport> {
    let earlier: Vec<Vec<f64>> = asked.iter().map(|a| nights.iter().map(|n| n.value(&a.text)).collect()).collect();
    let found: Vec<Weak> = asked.iter().zip(&earlier).zip(tonight).map(|((a, e), t)| Weak::of(a, e, t, risk)).collect();
    let adjusted = multiple::holm(&found.iter().map(|f| f.p).collect::<Vec<_>>());
    let reports = asked.iter().zip(found.iter().zip(adjusted)).zip(earlier.iter().zip(tonight));
    reports
        .map(|((asked, (found, p)), (earlier, tonight))| {
            let decision = found.decision(asked, p, risk);
            let report = pairs::report(asked, &[], &decision, ["the earlier nights", "tonight"], "values");
            MetricReport {
                sentence: format!(
                    "{}: {}, {} (weak: {} runs of tonight against {} nights)",
                    words::compared(asked, ["the earlier nights", "tonight"], &decision),
                    report.answer.words(),
                    report.why,
                    found.tonight,
                    found.nights
                ),
                a: earlier.iter().map(|v| Value::of(*v)).collect(),
                b: tonight.iter().map(|v| Value::of(*v)).collect(),
                ..report
            }
        })
        .collect()
}

/// Mann-Whitney and the Hodges-Lehmann shift; turned, so that up is worse.
struct Weak {
    nights: usize,
    tonight: usize,
    silent: usize,
    shift: Option<f64>,
    interval: Interval,
    p: f64,
}

impl Weak {
    fn of(asked: &Asked, earlier: &[f64], tonight: &[f64], risk: f64) -> Weak {
        let floor = asked.question.floors().0;
        let scaled = |v: &f64| match asked.question.scale {
            // Zero is −∞ on this scale, as it is in pairs.
            Scale::Ratio => v.ln(),
            Scale::Difference => *v,
        };
        let turned = |v: f64| if asked.question.worse == Worse::Higher { v } else { -v };
        let of = |values: &[f64]| -> Vec<f64> {
            values.iter().filter(|v| !v.is_nan() && **v >= 0.0).map(scaled).map(turned).collect()
        };
        let (a, b) = (of(earlier), of(tonight));
        let enough = a.len() >= NIGHTS_LEAST && !b.is_empty();
        let beyond: Vec<f64> = a.iter().map(|v| v + floor).collect();
        Weak {
            nights: a.len(),
            tonight: b.len(),
            silent: earlier.len() + tonight.len() - a.len() - b.len(),
            shift: enough.then(|| rank_sum::shift(&a, &b)).flatten(),
            interval: if enough { rank_sum::interval(&a, &b, risk) } else { Interval::WHOLE },
            p: if enough { rank_sum::test(&beyond, &b).p_greater } else { 1.0 },
        }
    }

    fn decision(&self, asked: &Asked, p_adjusted: f64, risk: f64) -> Decision {
        let (floor, better) = asked.question.floors();
        let (answer, why) = match self.interval {
            _ if self.shift.is_none() => (Answer::Inconclusive, Why::TooFewPairs { least: NIGHTS_LEAST }),
            Interval { low, .. } if low > floor && p_adjusted <= risk => (Answer::Regressed, Why::Decided),
            Interval { low, .. } if low > floor => (Answer::Inconclusive, Why::Adjusted),
            Interval { high, .. } if high < -better => (Answer::Improved, Why::Decided),
            Interval { high, .. } if high < floor => (Answer::NoRegression, Why::Decided),
            _ => (Answer::Inconclusive, Why::Wide),
        };
        let turned = |v: f64| if asked.question.worse == Worse::Higher { v } else { -v };
        let shown = |v: f64| match asked.question.scale {
            Scale::Ratio => turned(v).exp_m1(),
            Scale::Difference => turned(v),
        };
        let (low, high) = (shown(self.interval.low), shown(self.interval.high));
        Decision {
            answer,
            why,
            estimate: self.shift.map(shown),
            interval: Interval { low: low.min(high), high: low.max(high), level: self.interval.level },
            p: self.p,
            p_adjusted,
            n: self.nights.min(self.tonight),
            silent: self.silent,
        }
    }
}

/// Every metric over the nights and tonight.
pub fn series(asked: &[Asked], nights: &[&Night], tonight: &Night) -> Vec<Series> {
    let of = |asked: &Asked| Series {
        metric: asked.text.clone(),
        unit: asked.unit.to_owned(),
        nights: nights
            .iter()
            .copied()
            .chain([tonight])
            .map(|n| NightOf { at: n.started_at.clone(), value: Value::of(n.value(&asked.text)) })
            .collect(),
    };
    asked.iter().map(of).collect()
}

/// Where a metric changed: E-divisive over at least [`CHANGES_LEAST`] nights with a finite value.
pub fn changes(series: &[Series]) -> Vec<ChangeReport> {
    let of = |series: &Series| {
        let finite: Vec<(&str, f64)> =
            series.nights.iter().filter_map(|n| n.value.value.map(|v| (n.at.as_str(), v))).collect();
        if finite.len() < CHANGES_LEAST {
            return Vec::new();
        }
        let values: Vec<f64> = finite.iter().map(|(_, v)| *v).collect();
        let found = change_points(&values, Search::default());
        let told = found.into_iter().filter(|c| c.index > 0).map(|c| ChangeReport {
            metric: series.metric.clone(),
            after: finite[c.index - 1].0.to_owned(),
            at: finite[c.index].0.to_owned(),
            before_mean: c.before,
            after_mean: c.after,
            p: c.p,
        });
        told.collect::<Vec<_>>()
    };
    series.iter().flat_map(of).collect()
}

/// A night passed when nothing regressed and no run broke an objective.
pub fn passed(answer: AnswerWord, any_violated: bool) -> bool {
    answer != AnswerWord::Regressed && !any_violated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fingerprint;
    use crate::plan::Metric;
    use crate::report::model::{Environment, ScenarioInfo};
    use crate::statistics::decision::LOOK_RISK;
    use crate::units::Quantile;

    fn asked(metric: Metric) -> Asked {
        Asked::new(&metric, "all".into(), Scale::Ratio, 0.05)
    }

    fn nights(metric: &Asked, values: &[f64]) -> Vec<Night> {
        let night = |v: &f64| Night { values: [(metric.text.clone(), vec![Value::of(*v)])].into(), ..Night::default() };
        values.iter().map(night).collect()
    }

    fn answer(metric: Metric, earlier: &[f64], tonight: &[f64]) -> AnswerWord {
        let asked = asked(metric);
        let nights = nights(&asked, earlier);
        weigh(&[asked], &nights.iter().collect::<Vec<_>>(), &[tonight.to_vec()], LOOK_RISK)[0].answer
    }

    const EARLIER: [f64; 7] = [100.0, 100.1, 99.9, 100.2, 99.8, 100.05, 99.95];

    fn times(factor: f64) -> Vec<f64> {
        [1.0, 1.0002, 0.9998, 1.0003, 0.9997, 1.0001, 0.9999].map(|f| 100.0 * factor * f).to_vec()
    }

    #[test]
    fn tonight_against_earlier_nights() {
        let p99 = || Metric::Latency(Quantile::P99);
        for (factor, expected) in
            [(1.0, AnswerWord::NoRegression), (1.2, AnswerWord::Regressed), (0.8, AnswerWord::Improved)]
        {
            assert_eq!(answer(p99(), &EARLIER, &times(factor)), expected, "{factor}");
        }
        assert_eq!(answer(p99(), &EARLIER[..NIGHTS_LEAST - 1], &times(1.2)), AnswerWord::Inconclusive);
        assert_eq!(answer(p99(), &EARLIER, &[]), AnswerWord::Inconclusive);
        assert_eq!(answer(p99(), &EARLIER, &[f64::INFINITY; 7]), AnswerWord::Regressed);
        assert_eq!(answer(p99(), &[f64::NAN; 7], &times(1.0)), AnswerWord::Inconclusive);
    }

    /// 5 % less is ln 0.95, not −ln 1.05: 4.95 % less lies between the two and is no regression.
    #[test]
    fn less_throughput_is_worse_by_its_own_floor() {
        let exact = [100.0; 7];
        assert_eq!(answer(Metric::Throughput, &exact, &[95.05; 7]), AnswerWord::NoRegression);
        assert_eq!(answer(Metric::Throughput, &exact, &[94.9; 7]), AnswerWord::Regressed);
        assert_eq!(answer(Metric::Throughput, &exact, &[105.1; 7]), AnswerWord::Improved);
        assert_eq!(answer(Metric::Throughput, &exact, &[104.9; 7]), AnswerWord::NoRegression);
    }

    #[test]
    fn nights_that_do_not_count_say_why() {
        let here = fingerprint(&Environment::default(), "1");
        let good = Night {
            scenario: ScenarioInfo { sha256: "s".into(), ..ScenarioInfo::default() },
            fingerprint: here.clone(),
            valid: true,
            passed: true,
            ..Night::default()
        };
        assert_eq!(ignored(&good, "s", &here.id), None);
        for (night, sha, id, words) in [
            (good.clone(), "t", here.id.as_str(), "another scenario"),
            (good.clone(), "s", "other", "another machine"),
            (Night { valid: false, ..good.clone() }, "s", here.id.as_str(), "not valid"),
            (Night { passed: false, ..good.clone() }, "s", here.id.as_str(), "did not pass"),
        ] {
            assert!(ignored(&night, sha, id).unwrap().contains(words), "{words}");
        }
    }

    #[test]
    fn a_step_in_a_history_is_found_and_a_short_one_is_not_searched() {
        let series = |values: Vec<f64>| Series {
            metric: "m".into(),
            unit: "s".into(),
            nights: values
                .into_iter()
                .enumerate()
                .map(|(n, v)| NightOf { at: format!("night {n}"), value: Value::of(v) })
                .collect(),
        };
        let step: Vec<f64> = times(1.0).into_iter().chain(times(1.3)).collect();
        let found = changes(&[series(step.clone())]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].after.as_str(), found[0].at.as_str()), ("night 6", "night 7"));
        assert!(changes(&[series(step[..CHANGES_LEAST - 1].to_vec())]).is_empty());
        assert!(changes(&[series(vec![f64::INFINITY; 20])]).is_empty());
    }
}
