//! What the faults of the sample cost, with numbers that agree with its other ones: 99 % over 30 days at its own rate.

use resbench::report::model::*;

const MONTH_S: f64 = 30.0 * 86_400.0;
const TARGET: f64 = 0.99;

fn alerts(page_after_s: Option<f64>) -> Vec<BurnAlert> {
    let alert = |burn, long_s, short_s, kind: &str, after_s: Option<f64>| BurnAlert {
        burn,
        long_s,
        short_s,
        kind: kind.into(),
        fires: if after_s.is_some() { "after" } else { "no" }.into(),
        after_s,
    };
    vec![
        alert(14.4, 3600.0, 300.0, "page", page_after_s),
        alert(6.0, 21_600.0, 1800.0, "page", None),
        alert(1.0, 259_200.0, 21_600.0, "ticket", None),
    ]
}

/// Prices the first fault over its span, and the whole run.
pub(crate) fn add(report: &mut Report) {
    let measured: Vec<&SpanReport> = report.phases.iter().filter(|p| p.measured).collect();
    let (planned, ok, seconds) =
        measured.iter().fold((0, 0, 0.0), |(planned, ok, s), p| (planned + p.planned, ok + p.ok, s + p.duration_s));
    let rate = planned as f64 / seconds;
    let allowed = (1.0 - TARGET) * rate * MONTH_S;
    let during = &report.spans[0];
    let bad = during.planned - during.ok;
    let spent = bad as f64 / allowed;
    let price = FaultBudget {
        promise: "error_rate".into(),
        from_at_s: Some(during.start_at_s),
        until_at_s: Some(during.start_at_s + during.duration_s),
        planned: during.planned,
        bad,
        excess: Some(bad as f64),
        spent: Some(spent),
        spent_within_run: Some(Bounds { low: Some(0.9 * spent), high: Some(1.1 * spent) }),
        affordable: Some(1.0 / spent),
        alerts: alerts(None),
        ..FaultBudget::default()
    };
    report.budgets = vec![BudgetReport {
        promise: "error_rate".into(),
        target: TARGET,
        line: Some(46),
        window_s: MONTH_S,
        assumed_rps: Some(rate),
        bad_allowed: Some(allowed),
        assumed_bad_ratio: Some(0.0),
        planned,
        bad: planned - ok,
        spent: Some((planned - ok) as f64 / allowed),
        alerts: alerts(Some(52.0)),
        ..BudgetReport::default()
    }];
    report.faults[0].budget = vec![price];
}

/// Five kills: four seen to their end, one cut off.
pub(crate) fn group() -> FaultGroup {
    let exact = |x: f64| Bounds { low: Some(x), high: Some(x) };
    let from = |x: f64| Bounds { low: Some(x), high: None };
    let metric = |metric: &str, unit: &str, median, best, worst| GroupMetric {
        metric: metric.into(),
        unit: unit.into(),
        whole: 4,
        cut_off: 1,
        unknown: 0,
        median,
        best,
        worst,
    };
    FaultGroup {
        name: "slow".into(),
        kind: "network-delay".into(),
        times: 5,
        metrics: vec![
            metric("recovery_time", "s", exact(4.2), exact(3.1), from(12.0)),
            metric("lost_requests", "count", exact(412.0), exact(390.0), from(1_204.0)),
        ],
    }
}
