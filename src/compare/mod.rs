//! Many runs: from their reports to an answer with its evidence, which side of a comparison is worse, what is carried. Pure.
//!
//! Owns what a metric's value of a run is, which runs may be used, and how pairs become decisions, advice, time-lines and shift functions.
//! Leaves alone how runs are made (`run/series.rs`), the statistics (`statistics/`) and every rendering (`report/comparison/`).

pub mod history;
pub mod pairs;
pub mod side;
pub mod sizing;
mod words;

pub use side::side_by_side;

use crate::plan::{Effect, GateMetric, Metric, Plan, Where};
use crate::report::build::span_name;
use crate::report::comparison::model::Fingerprint;
use crate::report::model::{Ending, Environment, Report};
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
        // Recoveries may be censored: ranks of differences would take "longer than we looked" for a length.
        let test = if *metric == Metric::RecoveryTime { Test::Sign } else { Test::SignedRank };
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

    /// Of a fault that repeats: the median over its times, where it is known; a recovery is infinite where nothing bounds it from above but
    /// its cut-off times. A cost that was cut off is not endless, only not known.
    fn median(&self, report: &Report) -> f64 {
        let group = report.fault_groups.iter().find(|g| g.name == self.place);
        let metric = group.and_then(|g| g.metrics.iter().find(|m| m.metric == self.metric));
        match metric.map(|m| (m.median.low, m.median.high, m.unknown)) {
            Some((Some(low), Some(high), _)) if low == high => low,
            Some((_, None, 0)) if self.metric == "recovery_time" => f64::INFINITY,
            _ => f64::NAN,
        }
    }

    fn fault_value(&self, report: &Report) -> f64 {
        let Some(fault) = report.faults.iter().find(|f| f.name == self.place) else { return self.median(report) };
        let impact = &fault.impact;
        let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
        match (self.metric.as_str(), impact.state.as_str()) {
            ("recovery_time", "none") => 0.0,
            ("recovery_time", "recovered") => known(impact.recovery_s),
            ("recovery_time", "not_recovered") => f64::INFINITY,
            ("detection_time", _) => known(impact.detection_s),
            // Of a fault that still hurts they only grow: what was seen until it was cut off is no value to compare.
            ("longest_outage", "none" | "recovered") => known(impact.longest_outage_s),
            ("lost_requests", "none" | "recovered") => known(impact.lost_requests),
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
        // The safety stop is the service's doing, but a run that ended early has no numbers to hold against another's.
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
    use crate::report::model::{FaultReport, ImpactReport, MetricValue, ProofReport, SpanReport};
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
