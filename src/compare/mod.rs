//! Many runs: from their reports to an answer with its evidence, which side of a comparison is worse, what is carried. Pure.
//!
//! Owns what a metric's value of a run is, which runs may be used, what a run that the safety stop ended says, and how pairs become decisions,
//! advice, time-lines and shift functions.
//! Leaves alone how runs are made (`run/series.rs`), the statistics (`statistics/`) and every rendering (`report/comparison/`).

pub mod history;
pub mod noise;
pub mod pairs;
pub mod side;
pub mod sizing;
pub mod stops;
mod words;

pub use side::side_by_side;

use crate::plan::{Effect, GateMetric, Metric, Plan, Where};
use crate::report::build::span_name;
use crate::report::comparison::model::Fingerprint;
use crate::report::model::{Ending, Environment, FaultReport, Report};
use crate::statistics::censored::{self, Between, Seen};
use crate::statistics::decision::{Question, Scale, Test, Worse};

/// A metric that is compared, by the words of reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// `latency.p99@baseline`.
    pub text: String,
    /// `latency.p99`.
    pub metric: String,
    /// A span's or a fault's name.
    pub place: String,
    /// Of a fault, not of a span.
    pub of_fault: bool,
    /// `s`, `ratio`, `/s` or `count`.
    pub unit: &'static str,
    /// How its pairs are weighed.
    pub question: Question,
}

impl Asked {
    /// A gating metric of a plan.
    pub fn gating(plan: &Plan, metric: &GateMetric) -> Asked {
        let place = match &metric.place {
            Where::Span(span) => span_name(plan, span),
            Where::Fault(i) => plan.faults[*i].name.clone(),
            Where::Median(i) => plan.repeats[*i].name.clone(),
        };
        let (scale, floor) = match metric.min_effect {
            Effect::Relative(share) => (Scale::Ratio, share),
            Effect::Absolute(change) => (Scale::Difference, change),
        };
        Asked::new(&metric.metric, place, scale, floor)
    }

    fn new(metric: &Metric, place: String, scale: Scale, floor: f64) -> Asked {
        // What belongs to a fault may be censored: ranks of differences would take "longer than we looked" for a length.
        let test = if metric.is_of_fault() { Test::Sign } else { Test::SignedRank };
        let worse = match metric {
            Metric::Throughput | Metric::Availability | Metric::GoodRatio | Metric::Accuracy | Metric::Agreement => {
                Worse::Lower
            }
            _ => Worse::Higher,
        };
        Asked {
            text: format!("{}@{place}", metric.word()),
            metric: metric.word(),
            place,
            of_fault: metric.is_of_fault(),
            unit: metric.unit(),
            question: Question { scale, worse, floor, test },
        }
    }

    /// Its value of a run: infinite where failures or an endless recovery make it so, NaN where the run does not say.
    pub fn value(&self, report: &Report) -> f64 {
        if self.of_fault { self.fault_value(report) } else { self.span_value(report) }
    }

    fn span_value(&self, report: &Report) -> f64 {
        let span = report.phases.iter().chain(&report.spans).find(|s| s.name == self.place);
        let Some(span) = span else { return f64::NAN };
        match span.metrics.get(&self.metric) {
            Some(metric) => match metric.value {
                Some(value) => value,
                // A percentile without a value: failures reach it, or there was no good answer at all.
                None if span.planned > 0 && self.unit == "s" => f64::INFINITY,
                None => f64::NAN,
            },
            None => f64::NAN,
        }
    }

    /// Of a fault that repeats: the median over its times, where it is known. Times that were cut off count as they do by themselves
    /// ([`Asked::of_time`]).
    fn median(&self, report: &Report) -> f64 {
        let Some(group) = report.fault_groups.iter().find(|g| g.name == self.place) else { return f64::NAN };
        let Some(metric) = group.metrics.iter().find(|m| m.metric == self.metric) else { return f64::NAN };
        match (metric.median.low, metric.median.high) {
            (Some(low), Some(high)) if low == high => return low,
            _ if metric.unknown > 0 => return f64::NAN,
            _ => {}
        }
        let of_time = |n: usize| {
            let name = format!("{}-{n}", group.name);
            let value = report.faults.iter().find(|f| f.name == name).map_or(f64::NAN, |f| self.of_time(f));
            if value.is_nan() { Seen::Unknown } else { Seen::Exact(value) }
        };
        let times: Vec<Seen> = (1..=group.times).map(of_time).collect();
        censored::median(&times).and_then(Between::exact).unwrap_or(f64::NAN)
    }

    fn fault_value(&self, report: &Report) -> f64 {
        report.faults.iter().find(|f| f.name == self.place).map_or_else(|| self.median(report), |f| self.of_time(f))
    }

    /// Of a fault that was still hurting when it was cut off, all that grows with it is infinite, as a percentile is that failures reach: worse
    /// than whatever was seen to its end. So is a detection that never came. What could not be told is not infinite, only unknown.
    fn of_time(&self, fault: &FaultReport) -> f64 {
        let impact = &fault.impact;
        let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
        match (self.metric.as_str(), impact.state.as_str()) {
            ("recovery_time", "none") => 0.0,
            ("recovery_time", "recovered") => known(impact.recovery_s),
            ("longest_outage", "none" | "recovered") => known(impact.longest_outage_s),
            ("lost_requests", "none" | "recovered") => known(impact.lost_requests),
            ("recovery_time" | "longest_outage" | "lost_requests", "not_recovered") => f64::INFINITY,
            // Who hits no replica is never taken out of rotation, and what was never applied is not looked for.
            ("detection_time", _) if fault.applied_at_s.is_some() && !fault.replicas.is_empty() => {
                impact.detection_s.unwrap_or(f64::INFINITY)
            }
            ("detection_time", _) => known(impact.detection_s),
            _ => f64::NAN,
        }
    }
}

/// What is looked at beside the gating metrics, for advice: the usual numbers of every measured phase and fault.
pub fn advised(plan: &Plan, gating: &[Asked]) -> Vec<Asked> {
    use crate::units::Quantile;
    let phases = plan.phases.iter().filter(|p| p.measured).map(|p| p.name.clone());
    let faults = plan.faults.iter().map(|f| format!("during:{}", f.name));
    let ratio = [Metric::Latency(Quantile::P50), Metric::Latency(Quantile::P99), Metric::Throughput];
    let spans: Vec<String> = phases.chain(faults).collect();
    let of_span = spans.iter().flat_map(|span| {
        let relative = ratio.iter().map(|m| Asked::new(m, span.clone(), Scale::Ratio, 0.0));
        relative.chain([Asked::new(&Metric::ErrorRate, span.clone(), Scale::Difference, 0.0)]).collect::<Vec<_>>()
    });
    let per_fault = [Metric::RecoveryTime, Metric::LongestOutage, Metric::LostRequests];
    let of_fault = plan.faults.iter().flat_map(|fault| {
        per_fault.iter().map(|m| Asked::new(m, fault.name.clone(), Scale::Difference, 0.0)).collect::<Vec<_>>()
    });
    of_span.chain(of_fault).filter(|asked| gating.iter().all(|g| g.text != asked.text)).take(ADVICE).collect()
}

/// More would be noise by itself.
const ADVICE: usize = 40;

/// A run speaks of the service only when it was whole, its faults were there and its generator was in time.
///
/// # Errors
/// Why it cannot be used, in words.
pub fn usable(report: &Report) -> Result<(), String> {
    let because = || report.reasons.first().cloned().unwrap_or_default();
    if !report.clean {
        return Err(format!("something was left broken: {}", because()));
    }
    match report.ending {
        Ending::Completed => {}
        // The safety stop is the service's doing, but a run that ended early has no numbers to hold against another's: it is weighed by
        // itself (`stops.rs`).
        Ending::SafetyStop => return Err(format!("the safety stop ended it: {}", because())),
        Ending::Interrupted => return Err("it was interrupted".to_owned()),
        Ending::NotStarted => return Err(format!("it did not start: {}", because())),
    }
    if let Some(fault) = report.faults.iter().find(|f| !f.proof.proven) {
        return Err(format!("fault {} is not proven: {}", fault.name, fault.proof.evidence));
    }
    if !report.generator.kept_up {
        return Err(format!("the generator fell behind: {}", report.generator.note));
    }
    Ok(())
}

/// What has to be equal for two nights to be comparable: the machine, the tool, the target's kind. Not its load average or host
/// name: CI runners are called something else every night.
pub fn fingerprint(environment: &Environment, tool_version: &str) -> Fingerprint {
    use sha2::{Digest, Sha256};
    let e = environment;
    let gib = (e.memory_bytes as f64 / (1u64 << 30) as f64).round();
    let parts = vec![
        format!("cpu: {}", e.cpu),
        format!("cpus: {}", e.cpus),
        format!("memory: {gib} GiB"),
        format!("kernel: {}", e.kernel),
        format!("platform: {}", e.platform),
        format!("protocol: {}", e.protocol),
        format!("resbench: {tool_version}"),
    ];
    let hash = Sha256::digest(parts.join("\n").as_bytes());
    let id = hash.iter().take(6).map(|b| format!("{b:02x}")).collect();
    Fingerprint { id, parts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{Bounds, FaultGroup, GroupMetric, ImpactReport, MetricValue, ProofReport, SpanReport};
    use crate::units::Quantile;

    fn asked(metric: Metric, place: &str) -> Asked {
        Asked::new(&metric, place.to_owned(), Scale::Ratio, 0.05)
    }

    fn run(metric: &str, value: Option<f64>, planned: u64) -> Report {
        let value = MetricValue { value, n: planned, ..MetricValue::default() };
        let span = SpanReport {
            name: "baseline".into(),
            planned,
            metrics: [(metric.to_owned(), value)].into(),
            ..SpanReport::default()
        };
        Report { phases: vec![span], ..Report::default() }
    }

    #[test]
    fn a_percentile_that_failures_reach_is_infinite_and_a_missing_one_says_nothing() {
        let p99 = asked(Metric::Latency(Quantile::P99), "baseline");
        assert_eq!(p99.value(&run("latency.p99", Some(0.1), 10)), 0.1);
        assert_eq!(p99.value(&run("latency.p99", None, 10)), f64::INFINITY);
        assert!(p99.value(&run("latency.p99", None, 0)).is_nan());
        assert!(p99.value(&run("latency.p50", Some(0.1), 10)).is_nan());
        assert!(asked(Metric::Accuracy, "baseline").value(&run("accuracy", None, 10)).is_nan());
        // No good answer at all is worse than any.
        assert_eq!(
            asked(Metric::LatencyOk(Quantile::P50), "baseline").value(&run("latency.ok.p50", None, 10)),
            f64::INFINITY
        );
    }

    #[test]
    fn recoveries_are_zero_seen_endless_or_unknown() {
        let with = |state: &str, recovery_s| Report {
            faults: vec![FaultReport {
                name: "kill".into(),
                impact: ImpactReport { state: state.into(), recovery_s, ..ImpactReport::default() },
                ..FaultReport::default()
            }],
            ..Report::default()
        };
        let recovery = asked(Metric::RecoveryTime, "kill");
        assert_eq!(recovery.question.test, Test::Sign);
        assert_eq!(recovery.value(&with("none", None)), 0.0);
        assert_eq!(recovery.value(&with("recovered", Some(2.5))), 2.5);
        assert_eq!(recovery.value(&with("not_recovered", None)), f64::INFINITY);
        assert!(recovery.value(&with("unknown", None)).is_nan());
        assert!(asked(Metric::RecoveryTime, "other").value(&with("none", None)).is_nan());
    }

    fn fault(name: &str, impact: ImpactReport) -> FaultReport {
        let (applied_at_s, replicas) = (Some(5.0), vec![0]);
        FaultReport { name: name.into(), applied_at_s, replicas, impact, ..FaultReport::default() }
    }

    /// Dropped, they would leave those that went well to be compared.
    #[test]
    fn what_never_ended_is_worse_than_any_number() {
        let with = |fault: FaultReport| Report { faults: vec![fault], ..Report::default() };
        let costs = |state: &str| ImpactReport {
            state: state.into(),
            longest_outage_s: Some(2.0),
            lost_requests: Some(70.0),
            ..ImpactReport::default()
        };
        for (metric, seen) in [(Metric::LongestOutage, 2.0), (Metric::LostRequests, 70.0)] {
            let asked = asked(metric, "kill");
            assert_eq!(asked.question.test, Test::Sign);
            for (state, value) in [("none", seen), ("recovered", seen), ("not_recovered", f64::INFINITY)] {
                assert_eq!(asked.value(&with(fault("kill", costs(state)))), value, "{} {state}", asked.text);
            }
            assert!(asked.value(&with(fault("kill", costs("unknown")))).is_nan(), "{}", asked.text);
        }
        let detection = asked(Metric::DetectionTime, "kill");
        assert_eq!(detection.question.test, Test::Sign);
        let seen = |detection_s| fault("kill", ImpactReport { detection_s, ..costs("recovered") });
        assert_eq!(detection.value(&with(seen(Some(1.0)))), 1.0);
        assert_eq!(detection.value(&with(seen(None))), f64::INFINITY);
        assert!(detection.value(&with(FaultReport { replicas: vec![], ..seen(None) })).is_nan());
        assert!(detection.value(&with(FaultReport { applied_at_s: None, ..seen(None) })).is_nan());
    }

    #[test]
    fn the_median_over_times_counts_those_that_were_cut_off() {
        let bounds = |low, high| Bounds { low, high };
        let with = |states: &[&str], cut_off, median| {
            let metric = GroupMetric { metric: "lost_requests".into(), cut_off, median, ..GroupMetric::default() };
            let times = states.iter().enumerate().map(|(n, state)| {
                let impact =
                    ImpactReport { state: (*state).into(), lost_requests: Some(9.0), ..ImpactReport::default() };
                fault(&format!("kill-{}", n + 1), impact)
            });
            let group =
                FaultGroup { name: "kill".into(), times: states.len(), metrics: vec![metric], ..FaultGroup::default() };
            Report { faults: times.collect(), fault_groups: vec![group], ..Report::default() }
        };
        let lost = asked(Metric::LostRequests, "kill");
        let known = with(&["recovered", "recovered", "not_recovered"], 1, bounds(Some(9.0), Some(9.0)));
        assert_eq!(lost.value(&known), 9.0);
        let most = with(&["recovered", "not_recovered", "not_recovered"], 2, bounds(Some(9.0), None));
        assert_eq!(lost.value(&most), f64::INFINITY);
        let open = with(&["recovered", "unknown", "not_recovered"], 2, bounds(Some(9.0), None));
        assert!(lost.value(&open).is_nan());
        assert!(lost.value(&Report::default()).is_nan());
    }

    #[test]
    fn runs_that_say_nothing_about_the_service_are_not_used() {
        let good = || {
            let mut report = Report { clean: true, ending: Ending::Completed, ..Report::default() };
            report.generator.kept_up = true;
            report
        };
        assert_eq!(usable(&good()), Ok(()));
        let fault = FaultReport { name: "f".into(), proof: ProofReport::default(), ..FaultReport::default() };
        for (report, words) in [
            (Report { clean: false, ..good() }, "left broken"),
            (Report { ending: Ending::SafetyStop, ..good() }, "safety stop"),
            (Report { ending: Ending::Interrupted, ..good() }, "interrupted"),
            (Report { ending: Ending::NotStarted, ..good() }, "did not start"),
            (Report { faults: vec![fault], ..good() }, "not proven"),
            (Report { generator: Default::default(), ..good() }, "fell behind"),
        ] {
            assert!(usable(&report).unwrap_err().contains(words), "{words}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_what_matters() {
        let here = Environment { cpu: "x".into(), cpus: 2, host: "a".into(), ..Environment::default() };
        let same = Environment { host: "b".into(), load_average: 3.0, ..here.clone() };
        let other = Environment { cpus: 4, ..here.clone() };
        assert_eq!(fingerprint(&here, "1"), fingerprint(&same, "1"));
        assert_ne!(fingerprint(&here, "1").id, fingerprint(&other, "1").id);
        assert_ne!(fingerprint(&here, "1").id, fingerprint(&here, "2").id);
        assert_eq!(fingerprint(&here, "1").id.len(), 12);
    }
}
