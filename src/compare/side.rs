//! Two saved runs side by side: advice. One run of each says nothing about the service that the machine could not have done.

use crate::report::comparison::side::{Side, SideRow};
use crate::report::model::{MetricValue, Report, SpanReport};
use crate::statistics::share::{Share, newcombe};

/// Two-sided 5 %.
const RISK: f64 = 0.025;
/// What is set side by side in each span.
const METRICS: [&str; 7] =
    ["latency.p50", "latency.p99", "latency.max", "error_rate", "throughput", "accuracy", "fallback_rate"];

/// Every span and fault that both runs have.
pub fn side_by_side(a: &Report, b: &Report) -> Side {
    let mut mind = vec![
        "one run of each: a difference may be the machine's as well as the service's; `compare FILE` with two variants decides".to_owned(),
        "intervals are within each run, a floor".to_owned(),
    ];
    let prints = [a, b].map(|r| super::fingerprint(&r.environment, &r.tool_version));
    if prints[0].id != prints[1].id {
        let other = prints[0].parts.iter().zip(&prints[1].parts).filter(|(a, b)| a != b);
        let differs: Vec<String> = other.map(|(a, b)| format!("{a} / {b}")).collect();
        mind.push(format!("not the same environment: {}", differs.join("; ")));
    }
    if a.scenario.sha256 != b.scenario.sha256 {
        mind.push("not the same scenario, or not with the same values".to_owned());
    }
    for (name, run) in [("first", a), ("second", b)] {
        if let Err(why) = super::usable(run) {
            mind.push(format!("the {name} run says little: {why}"));
        }
    }
    let spans = |run: &Report| run.phases.iter().chain(&run.spans).filter(|s| s.measured).cloned().collect::<Vec<_>>();
    let (of_a, of_b) = (spans(a), spans(b));
    let both = of_a.iter().filter_map(|x| of_b.iter().find(|y| y.name == x.name).map(|y| (x, y)));
    let mut rows: Vec<SideRow> = both.flat_map(|(x, y)| METRICS.iter().filter_map(|m| row(m, x, y))).collect();
    rows.extend(faults(a, b));
    Side { schema: "resbench.side/1".into(), a: a.id.clone(), b: b.id.clone(), rows, mind }
}

fn row(metric: &str, a: &SpanReport, b: &SpanReport) -> Option<SideRow> {
    let (x, y) = (a.metrics.get(metric)?, b.metrics.get(metric)?);
    let unit = match metric {
        m if m.starts_with("latency") => "s",
        "throughput" => "/s",
        _ => "ratio",
    };
    // A share of events has an interval of its difference; of requests that are not independent, so a floor.
    let share = |s: &SpanReport| (s.planned > 0).then(|| Share { k: s.planned - s.ok, n: s.planned });
    let shares = share(a).zip(share(b)).filter(|_| metric == "error_rate");
    let difference = shares.map(|(a, b)| newcombe(a, b, RISK));
    let known = |v: &MetricValue| (v.low, v.value, v.high);
    Some(SideRow {
        metric: format!("{metric}@{}", a.name),
        unit: unit.into(),
        a: known(x).1,
        b: known(y).1,
        a_interval: x.low.zip(x.high),
        b_interval: y.low.zip(y.high),
        difference: difference.map(|d| (d.low, d.high)),
        infinite: [
            unit == "s" && x.value.is_none() && a.planned > 0,
            unit == "s" && y.value.is_none() && b.planned > 0,
        ],
    })
}

fn faults(a: &Report, b: &Report) -> Vec<SideRow> {
    let both = a.faults.iter().filter_map(|x| b.faults.iter().find(|y| y.name == x.name).map(|y| (x, y)));
    both.map(|(x, y)| SideRow {
        metric: format!("recovery_time@{}", x.name),
        unit: "s".into(),
        a: if x.impact.state == "none" { Some(0.0) } else { x.impact.recovery_s },
        b: if y.impact.state == "none" { Some(0.0) } else { y.impact.recovery_s },
        infinite: [x.impact.state == "not_recovered", y.impact.state == "not_recovered"],
        ..SideRow::default()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(planned: u64, ok: u64) -> Report {
        let value = |value| MetricValue { value, n: planned, ..MetricValue::default() };
        let errors = (planned > 0).then(|| 1.0 - ok as f64 / planned as f64);
        let metrics = [("latency.p99".to_owned(), value(None)), ("error_rate".to_owned(), value(errors))].into();
        let span = SpanReport { name: "all".into(), measured: true, planned, ok, metrics, ..SpanReport::default() };
        Report { phases: vec![span], ..Report::default() }
    }

    #[test]
    fn what_cannot_be_said_is_said_first() {
        let found = side_by_side(&run(1_000, 990), &run(1_000, 0));
        assert!(found.mind[0].contains("one run of each"));
        let errors = found.rows.iter().find(|r| r.metric == "error_rate@all").unwrap();
        let (low, high) = errors.difference.unwrap();
        assert!(low > 0.97 && high < 1.0, "{low} {high}");
        let p99 = found.rows.iter().find(|r| r.metric == "latency.p99@all").unwrap();
        assert_eq!(p99.infinite, [true, true]);
        // Without a single request there is nothing to divide by.
        let none = side_by_side(&run(0, 0), &run(0, 0));
        assert!(none.rows.iter().all(|r| r.difference.is_none()));
    }

    #[test]
    fn other_machines_are_named() {
        let mut other = run(10, 10);
        other.environment.cpus = 64;
        let found = side_by_side(&run(10, 10), &other);
        assert!(found.mind.iter().any(|m| m.contains("cpus: 0 / cpus: 64")), "{:?}", found.mind);
    }
}
