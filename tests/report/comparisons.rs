//! Comparisons as files: how large the page of thirty runs is, and what a gate with its nights shows.
//!
//! Leaves both in the build directory (`tmp/compare-sample`, `tmp/gate-sample`) to be looked at.

use std::path::Path;
use std::time::Duration;

use resbench::clock::monotonic_nanos;
use resbench::compare::{Asked, advised, fingerprint, history, pairs};
use resbench::plan::{Effect, GateMetric, Metric, Plan, SpanRef, Where};
use resbench::report::comparison::{self, model::*};
use resbench::report::history::{NIGHT, Night};
use resbench::report::model::{Ending, MetricValue, Report};
use resbench::report::result_file;
use resbench::rng;
use resbench::scenario::{self, LoadOptions};
use resbench::statistics::decision::LOOK_RISK;
use resbench::units::{PhaseId, Quantile, Seed};

use crate::sample;

/// Bytes that the files of a comparison of 2 × 15 runs may take together.
const LIMIT: usize = 5_000_000;

fn plan() -> Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/pod-kill.toml");
    scenario::load(&file, &LoadOptions::default()).unwrap_or_else(|p| panic!("{p}"))
}

fn asked(plan: &Plan) -> Vec<Asked> {
    let metric = |text: &str, metric, place, min_effect| {
        Asked::gating(plan, &GateMetric { text: text.into(), metric, place, min_effect })
    };
    let p99 = Metric::Latency(Quantile::P99);
    vec![
        metric("latency.p99@baseline", p99, Where::Span(SpanRef::Phase(PhaseId(1))), Effect::Relative(0.05)),
        metric(
            "error_rate@during:kill-one",
            Metric::ErrorRate,
            Where::Span(SpanRef::During(0)),
            Effect::Absolute(0.02),
        ),
        metric("recovery_time@kill-one", Metric::RecoveryTime, Where::Fault(0), Effect::Absolute(0.5)),
    ]
}

/// The sample run with every latency this many times as long, and this recovery.
fn run(base: &Report, slower: f64, recovery_s: f64) -> Report {
    let mut run = base.clone();
    for span in run.phases.iter_mut().chain(&mut run.spans) {
        let seconds = |us: Option<f64>| us.map(|us| us * slower / 1e6);
        let values = [
            ("latency.p50", seconds(span.latency_us.p50)),
            ("latency.p99", seconds(span.latency_us.p99)),
            ("error_rate", span.error_rate.map(|e| e * (0.5 + slower / 2.0))),
            ("throughput", Some(span.throughput_rps)),
        ];
        for (metric, value) in values {
            let value = MetricValue { value, n: span.planned, ..MetricValue::default() };
            span.metrics.insert(metric.into(), value);
        }
    }
    run.windows.iter_mut().for_each(|w| w.due_p99_us = w.due_p99_us.map(|us| us * slower));
    run.faults[0].impact.recovery_s = Some(recovery_s);
    run
}

/// Good answers of a run, ns.
fn buckets(slower: f64) -> Vec<(f64, u64)> {
    (1..400u64).map(|i| (1e6 * (1.0 + i as f64 / 40.0) * slower, 1 + i * (400 - i) / 100)).collect()
}

fn frame(plan: &Plan, base: &Report, schema: &str, kind: Kind) -> Comparison {
    Comparison {
        schema: schema.into(),
        id: "20261122-031500-k3f9".into(),
        tool_version: "0.1.0".into(),
        started_at: "2026-11-22T03:15:00Z".into(),
        duration_s: 1990.0,
        scenario: base.scenario.clone(),
        seed: plan.seed.0,
        kind,
        ending: Ending::Completed,
        clean: true,
        risk: LOOK_RISK,
        fingerprint: fingerprint(&base.environment, "0.1.0"),
        reproduce: "resbench gate scenarios/nightly.toml --seed 42".into(),
        ..Comparison::default()
    }
}

fn pair_report(number: usize, arms: &[&str]) -> PairReport {
    let run = |(i, arm): (usize, &&str)| RunOf {
        arm: (*arm).into(),
        dir: format!("runs/20261122-{:06}-{i}a7c", 31_500 + number * 150),
        verdict: "met".into(),
        ..RunOf::default()
    };
    PairReport { number, seed: 1_000 + number as u64, runs: arms.iter().enumerate().map(run).collect(), usable: true }
}

fn save(name: &str, comparison: &Comparison) -> usize {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    comparison::save(&dir, comparison).unwrap();
    result_file::render(comparison).iter().map(|(_, bytes)| bytes.len()).sum()
}

#[test]
fn thirty_runs_make_a_small_page() {
    let (plan, base) = (plan(), sample::pod_kill());
    let (asked, arms) = (asked(&plan), ["v1", "v2"]);
    let mut chance = rng::stream(Seed(5), "noise");
    let mut noise = || 1.0 + 0.02 * (rng::unit(&mut chance) - 0.5);
    let runs: Vec<(Report, Report)> =
        (0..15).map(|_| (run(&base, noise(), 4.4 * noise()), run(&base, 1.12 * noise(), 4.5 * noise()))).collect();
    let logs: [Vec<_>; 2] = [1.0, 1.12].map(|slower| (0..15).map(|_| buckets(slower * noise())).collect());
    let mut chance = rng::stream(Seed(6), "shift");
    let mut below = |n: usize| rng::below(&mut chance, n);

    let began = monotonic_nanos();
    let (metrics, _) = pairs::decide(&asked, &runs, arms, LOOK_RISK);
    let spans = ["baseline", "fault", "recovery", "during:kill-one"];
    let comparison = Comparison {
        arms: arms.iter().map(|a| Arm { name: (*a).into(), sets: vec![] }).collect(),
        answer: pairs::overall(&metrics),
        exit_code: 1,
        pairs_planned: [7, 15],
        looks: vec![7, 15],
        pairs: (1..=15).map(|n| pair_report(n, &arms)).collect(),
        advice: pairs::advice(&advised(&plan, &asked), &runs, arms, LOOK_RISK),
        timelines: pairs::timelines(&runs, arms),
        shifts: spans.iter().filter_map(|s| pairs::shift(s, &logs[0], &logs[1], &mut below)).collect(),
        metrics,
        ..frame(&plan, &base, COMPARE, Kind::Pairs)
    };
    let bytes = save("compare-sample", &comparison);
    let took = Duration::from_nanos(monotonic_nanos() - began);
    println!("2 × 15 runs: {bytes} bytes in all files, weighed and rendered in {took:?}");
    assert!(bytes < LIMIT, "{bytes} bytes");
    assert_eq!(comparison.answer, AnswerWord::Regressed);
    assert_eq!(comparison.shifts.len(), 4);
    let names: Vec<String> = result_file::render(&comparison).into_iter().map(|(name, _)| name).collect();
    for chart in ["forest", "arms", "pairs", "shift", "shift-fault"] {
        assert!(names.contains(&format!("charts/{chart}.svg")), "{chart} is missing in {names:?}");
    }
}

/// Ten nights that count and three files that do not; tonight is slower, and recovery has been quicker since the sixth night.
#[test]
fn a_gate_shows_its_nights() {
    let (plan, base) = (plan(), sample::pod_kill());
    let asked = asked(&plan);
    let mut chance = rng::stream(Seed(7), "nights");
    let mut noise = |width: f64| 1.0 + width * (rng::unit(&mut chance) - 0.5);
    let mut night = |day: u32, slower: f64, recovery_s: f64| {
        let (weather, runs) = (noise(0.03), 7);
        let runs: Vec<Report> =
            (0..runs).map(|_| run(&base, slower * weather * noise(0.01), recovery_s * noise(0.06))).collect();
        let values: Vec<Vec<f64>> = asked.iter().map(|a| runs.iter().map(|r| a.value(r)).collect()).collect();
        let night = Night {
            schema: NIGHT.into(),
            started_at: format!("2026-11-{day:02}T03:15:00Z"),
            valid: true,
            passed: true,
            values: asked
                .iter()
                .zip(&values)
                .map(|(a, v)| (a.text.clone(), v.iter().map(|x| Value::of(*x)).collect()))
                .collect(),
            ..Night::default()
        };
        (night, values)
    };
    let earlier: Vec<Night> = (12..22).map(|day| night(day, 1.0, if day < 17 { 6.2 } else { 4.4 }).0).collect();
    let (tonight, values) = night(22, 1.16, 4.4);
    let good: Vec<&Night> = earlier.iter().collect();
    let metrics = history::weigh(&asked, &good, &values, LOOK_RISK);
    let series = history::series(&asked, &good, &tonight);
    let changes = history::changes(&series);
    let ignored = [
        ("20261110-031500-d41d.json", "not valid: a partial night, or one whose runs could not be used"),
        ("20261111-031500-9c0a.json", "another machine or version: fingerprint 51b29f6d0c3e"),
        ("notes.json", "not a night: missing field `schema`"),
    ]
    .map(|(file, why)| Ignored { file: file.into(), why: why.into() });
    let comparison = Comparison {
        arms: vec![Arm { name: "main".into(), sets: vec![] }],
        answer: pairs::overall(&metrics),
        exit_code: 1,
        pairs_planned: [7, 7],
        pairs: (1..=7).map(|n| pair_report(n, &["main"])).collect(),
        history: Some(HistoryReport {
            dir: "history".into(),
            nights: good.len(),
            ignored: ignored.to_vec(),
            changes,
            series,
        }),
        warnings: vec![
            "held against earlier nights: whatever else differs between nights is taken for the service's doing; two [[variant]]s \
             decide soundly"
                .into(),
        ],
        metrics,
        ..frame(&plan, &base, GATE, Kind::History)
    };
    save("gate-sample", &comparison);
    let history = comparison.history.as_ref().unwrap();
    assert_eq!(comparison.answer, AnswerWord::Regressed);
    let changed: Vec<(&str, &str)> = history.changes.iter().map(|c| (c.metric.as_str(), c.at.as_str())).collect();
    assert!(changed.contains(&("recovery_time@kill-one", "2026-11-17T03:15:00Z")), "{changed:?}");
    let files = result_file::render(&comparison);
    let of = |name: &str| {
        let found = files.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name} is missing"));
        String::from_utf8(found.1.clone()).unwrap()
    };
    let page = of("report.html");
    for words in ["Night by night", "Change points", "Ignored in the history", "another machine", "tonight"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(of("charts/nights.svg").contains("11-22"), "nights are named by their day");
}
