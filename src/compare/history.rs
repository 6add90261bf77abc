//! Earlier nights: which of them count, tonight's runs against them, and where a metric changed.
//!
//! A baseline is the nights with the same scenario and the same fingerprint that were valid and passed, at most the last [`NIGHTS`]:
//! "the newest artifact" may be a partial run, or one of a faster machine. A comparison with them is *weak*: whatever else differs between
//! nights is taken for a difference of the service (Mann-Whitney, `statistics/rank_sum.rs`).
//!
//! The runs of one night share what is the night's (Hurlbert 1984 calls it pseudo-replication): seven of tonight are one value of a night, not
//! seven, so that rank sums alone call a night without a change worse in 6 to 14 of 100, where 2.5 are meant. That tonight is worse, or better,
//! therefore needs more: tonight's median has to lie beyond the median of *every* night of the baseline, by more than what matters. Of n + 1
//! nights without a change each is as likely as any other to be the outermost, so one of them does so with a chance of 1 in n + 1 at most,
//! whatever their distribution is (prediction by order statistics: Hahn & Meeker 1991, Statistical Intervals, chapter 5). That chance is far
//! above the one of the rank sums, and is what is told as the risk.

use super::{Asked, pairs, words};
use crate::report::comparison::model::{AnswerWord, ChangeReport, MetricReport, NightOf, Series, Value};
use crate::report::history::{Night, middle};
use crate::statistics::decision::{Answer, Decision, Scale, Why, Worse};
use crate::statistics::divisive::{Search, change_points};
use crate::statistics::{Interval, multiple, rank_sum};

/// Nights of a baseline, at most.
pub const NIGHTS: usize = 20;
/// Nights of a baseline, at least: with fewer than five no one-sided test at 0.025 could say anything against seven runs worth saying, and
/// one night in five would be the outermost by chance.
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
    let told = multiple::holm(&found.iter().map(Weak::risk).collect::<Vec<_>>());
    let reports = asked.iter().zip(found.iter().zip(adjusted.into_iter().zip(told))).zip(earlier.iter().zip(tonight));
    reports
        .map(|((asked, (found, (adjusted, told))), (earlier, tonight))| {
            let decision = Decision { p_adjusted: told, ..found.decision(asked, adjusted, risk) };
            let report = pairs::report(asked, &[], &decision, ["the earlier nights", "tonight"], "values");
            let nights = found.nights.len();
            let why = match report.answer {
                AnswerWord::Regressed | AnswerWord::Improved => {
                    let once = nights + 1;
                    format!("{}, and beyond each of {nights} nights, as one in {once} without a change is", report.why)
                }
                _ => report.why.clone(),
            };
            MetricReport {
                sentence: format!(
                    "{}: {}, {why} (weak: {} runs of tonight against {nights} nights)",
                    words::compared(asked, ["the earlier nights", "tonight"], &decision),
                    report.answer.words(),
                    found.tonight,
                ),
                why,
                a: earlier.iter().map(|v| Value::of(*v)).collect(),
                b: tonight.iter().map(|v| Value::of(*v)).collect(),
                ..report
            }
        })
        .collect()
}

/// Mann-Whitney and the Hodges-Lehmann shift, and where tonight's median lies among the nights; turned, so that up is worse.
struct Weak {
    /// The nights that have a value.
    nights: Vec<f64>,
    /// Tonight's runs that have one.
    tonight: usize,
    /// The middle of those.
    median: f64,
    silent: usize,
    /// Of tonight's, where the nights are known: they may be the worst.
    missing: usize,
    shift: Option<f64>,
    interval: Interval,
    p: f64,
    /// Nights than which tonight's median is worse, and better, by more than what matters.
    beyond: [usize; 2],
}

impl Weak {
    fn of(asked: &Asked, earlier: &[f64], tonight: &[f64], risk: f64) -> Weak {
        let (floor, better) = asked.question.floors();
        let scaled = |v: f64| match asked.question.scale {
            // Zero is −∞ on this scale, as it is in pairs.
            Scale::Ratio => v.ln(),
            Scale::Difference => v,
        };
        let turned = |v: f64| if asked.question.worse == Worse::Higher { v } else { -v };
        let known = |values: &[f64]| values.iter().copied().filter(|v| !v.is_nan() && *v >= 0.0).collect::<Vec<f64>>();
        let of = |values: &[f64]| values.iter().map(|v| turned(scaled(*v))).collect::<Vec<f64>>();
        let of_tonight = known(tonight);
        let (a, b) = (of(&known(earlier)), of(&of_tonight));
        // Of the values as they are, as each night's is: of an even number it is the lower one.
        let median = turned(scaled(middle(of_tonight.into_iter())));
        let enough = a.len() >= NIGHTS_LEAST && !b.is_empty();
        let beyond: Vec<f64> = a.iter().map(|v| v + floor).collect();
        Weak {
            tonight: b.len(),
            median,
            silent: earlier.len() + tonight.len() - a.len() - b.len(),
            missing: if a.is_empty() { 0 } else { tonight.len() - b.len() },
            shift: enough.then(|| rank_sum::shift(&a, &b)).flatten(),
            interval: if enough { rank_sum::interval(&a, &b, risk) } else { Interval::WHOLE },
            p: if enough { rank_sum::test(&beyond, &b).p_greater } else { 1.0 },
            beyond: [
                beyond.iter().filter(|night| median > **night).count(),
                a.iter().filter(|night| median < **night - better).count(),
            ],
            nights: a,
        }
    }

    /// The chance to err of "worse by more than what matters": that of the rank sums, or that of a night without a change to lie as far out
    /// among the nights, which is the larger one.
    fn risk(&self) -> f64 {
        let nights = self.nights.len();
        self.p.max((1 + nights - self.beyond[0]) as f64 / (nights + 1) as f64)
    }

    /// How far tonight's median lies from the nights: from the outermost on the one side to the outermost on the other, each side with a
    /// chance of 1 in n + 1 to err. No narrower than what the rank sums say.
    fn among_nights(&self) -> Interval {
        // Two equal infinities may be any distance apart.
        let from = |night: f64, unknown: f64| {
            if night.is_infinite() && night == self.median { unknown } else { self.median - night }
        };
        let highest = self.nights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lowest = self.nights.iter().copied().fold(f64::INFINITY, f64::min);
        let outside = 2.0 / (self.nights.len() + 1) as f64;
        Interval {
            low: from(highest, f64::NEG_INFINITY).min(self.interval.low),
            high: from(lowest, f64::INFINITY).max(self.interval.high),
            level: (1.0 - outside).min(self.interval.level),
        }
    }

    fn decision(&self, asked: &Asked, p_adjusted: f64, risk: f64) -> Decision {
        let (floor, better) = asked.question.floors();
        let (nights, [worse_than, better_than]) = (self.nights.len(), self.beyond);
        let (answer, why) = match self.interval {
            _ if self.shift.is_none() => (Answer::Inconclusive, Why::TooFewPairs { least: NIGHTS_LEAST }),
            Interval { low, .. } if low > floor && worse_than < nights => {
                (Answer::Inconclusive, Why::Usual { within: nights - worse_than, of: nights })
            }
            Interval { low, .. } if low > floor && p_adjusted <= risk => (Answer::Regressed, Why::Decided),
            Interval { low, .. } if low > floor => (Answer::Inconclusive, Why::Adjusted),
            Interval { high, .. } if high < floor && self.missing > 0 => {
                (Answer::Inconclusive, Why::Missing { values: self.missing })
            }
            Interval { high, .. } if high < -better && better_than == nights => (Answer::Improved, Why::Decided),
            Interval { high, .. } if high < floor => (Answer::NoRegression, Why::Decided),
            _ => (Answer::Inconclusive, Why::Wide),
        };
        // What is claimed against each night by itself is shown against each.
        let interval = match (answer, why) {
            (Answer::Regressed | Answer::Improved, _) | (_, Why::Usual { .. } | Why::Adjusted) => self.among_nights(),
            _ => self.interval,
        };
        let turned = |v: f64| if asked.question.worse == Worse::Higher { v } else { -v };
        let shown = |v: f64| match asked.question.scale {
            Scale::Ratio => turned(v).exp_m1(),
            Scale::Difference => turned(v),
        };
        let (low, high) = (shown(interval.low), shown(interval.high));
        Decision {
            answer,
            why,
            estimate: self.shift.map(shown),
            interval: Interval { low: low.min(high), high: low.max(high), level: interval.level },
            p: self.risk(),
            p_adjusted,
            n: nights.min(self.tonight),
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

/// A night passed when nothing regressed, no run broke an objective and the safety stop ended none: those that it did not end would be a
/// baseline of good luck.
pub fn passed(answer: AnswerWord, any_violated: bool, any_stopped: bool) -> bool {
    answer != AnswerWord::Regressed && !any_violated && !any_stopped
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

    fn report(metric: Metric, earlier: &[f64], tonight: &[f64]) -> MetricReport {
        let asked = asked(metric);
        let nights = nights(&asked, earlier);
        weigh(&[asked], &nights.iter().collect::<Vec<_>>(), &[tonight.to_vec()], LOOK_RISK).remove(0)
    }

    fn answer(metric: Metric, earlier: &[f64], tonight: &[f64]) -> AnswerWord {
        report(metric, earlier, tonight).answer
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

    /// Seven runs of one night are one value of a night. Six nights lie near 100 and one at 112: a night of 110 is as good as that one.
    #[test]
    fn a_night_within_what_nights_show_has_not_regressed() {
        let p99 = || Metric::Latency(Quantile::P99);
        let uneven = [100.0, 101.0, 99.0, 112.0, 100.5, 99.5, 100.2];
        let found = report(p99(), &uneven, &times(1.10));
        assert_eq!(found.answer, AnswerWord::Inconclusive);
        assert!(found.why.contains("1 of 7 lie as far out"), "{}", found.why);
        // More than 5 % beyond that one too: worse, at the risk of being the outermost of eight nights.
        let found = report(p99(), &uneven, &times(1.18));
        assert_eq!(found.answer, AnswerWord::Regressed);
        assert_eq!((found.p, found.p_adjusted), (1.0 / 8.0, 1.0 / 8.0));
        assert!((found.level - 6.0 / 8.0).abs() < 1e-12, "{}", found.level);
        assert!(found.low.unwrap().get() > 0.05 && found.sentence.contains("one in 8"), "{}", found.sentence);
        // The other way: better than the nights together, but one night was as good.
        let uneven = [100.0, 101.0, 99.0, 88.0, 100.5, 99.5, 100.2];
        assert_eq!(answer(p99(), &uneven, &times(0.90)), AnswerWord::NoRegression);
        assert_eq!(answer(p99(), &uneven, &times(0.82)), AnswerWord::Improved);
        assert_eq!(answer(Metric::Throughput, &uneven, &times(0.90)), AnswerWord::Inconclusive);
        assert_eq!(answer(Metric::Throughput, &uneven, &times(0.82)), AnswerWord::Regressed);
    }

    #[test]
    fn runs_of_tonight_without_a_value_are_not_passed_over() {
        let p99 = || Metric::Latency(Quantile::P99);
        let with = |factor: f64| [times(factor), vec![f64::NAN; 2]].concat();
        let found = report(p99(), &EARLIER, &with(1.0));
        assert_eq!((found.answer, found.silent), (AnswerWord::Inconclusive, 2));
        assert!(found.why.contains("2 values are missing"), "{}", found.why);
        assert_eq!(answer(p99(), &EARLIER, &with(0.8)), AnswerWord::Inconclusive);
        assert_eq!(answer(p99(), &EARLIER, &with(1.2)), AnswerWord::Regressed);
    }

    #[test]
    fn what_a_night_that_passed_is() {
        assert!(passed(AnswerWord::NoRegression, false, false) && passed(AnswerWord::Inconclusive, false, false));
        for (answer, violated, stopped) in [
            (AnswerWord::Regressed, false, false),
            (AnswerWord::NoRegression, true, false),
            (AnswerWord::NoRegression, false, true),
        ] {
            assert!(!passed(answer, violated, stopped), "{answer:?} {violated} {stopped}");
        }
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
