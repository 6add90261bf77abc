//! A synthetic run to render: three replicas, 500 requests a second for 65 s, one killed at 27 s.
//!
//! Made from a seed, request by request, so that every number agrees with every other as in a real run.

use std::collections::BTreeMap;

use resbench::hist::{Hist, bucket_top, rank_of};
use resbench::report::findings;
use resbench::report::model::*;
use resbench::report::playbook::{self, PlaybookReport, Sign, StepReport};
use resbench::rng;
use resbench::units::Seed;

/// The bound of the objective, µs.
const WITHIN_US: f64 = 100_000.0;
const KILLED_S: f64 = 27.004;
const BACK_S: f64 = 31.4;

struct Request {
    due_s: f64,
    latency_us: f64,
    class: Option<&'static str>,
}

/// Name, start, length, rate, measured.
type Phase = (&'static str, f64, f64, f64, bool);
const PHASES: [Phase; 4] = [
    ("warm-up", 0.0, 5.0, 200.0, false),
    ("baseline", 5.0, 20.0, 500.0, true),
    ("fault", 25.0, 20.0, 500.0, true),
    ("recovery", 45.0, 20.0, 500.0, true),
];

/// The run.
pub(crate) fn pod_kill() -> Report {
    stretched(1.0)
}

/// The same with every phase this many times as long; the fault stays as short as it is.
pub(crate) fn stretched(times: f64) -> Report {
    let phases: Vec<Phase> =
        PHASES.iter().map(|(name, at, long, rate, m)| (*name, at * times, long * times, *rate, *m)).collect();
    let killed = 2.004 + phases[2].1;
    let back = killed + BACK_S - KILLED_S;
    let requests = requests(&phases, killed, back);
    let windows = windows(&phases, &requests, killed);
    let during = (format!("during:{}", "kill-one"), killed, back - killed, 500.0, true);
    let spans = vec![span(&during.0, during.1, during.2, true, &requests)];
    let phase_reports: Vec<SpanReport> =
        phases.iter().map(|(name, at, long, _, m)| span(name, *at, *long, *m, &requests)).collect();
    let mut report = Report {
        schema: SCHEMA.into(),
        id: "20261122-071749-k3f9".into(),
        tool_version: "0.1.0".into(),
        started_at: "2026-11-22T07:17:49.123Z".into(),
        scenario: ScenarioInfo {
            name: "pod-kill".into(),
            sha256: "5f1d3c6a0b7e49228d9f6f1f0c9a7be34d2a1c55e8b0f7a6937c21d4e5b6a789".into(),
            path: "scenarios/pod-kill.toml".into(),
            lesson: "Kill one of three replicas under steady traffic: stay under 1 % errors, be back inside the SLO \
                     within 10 s."
                .into(),
        },
        seed: 42,
        verdict: VerdictWord::Violated,
        ending: Ending::Completed,
        clean: true,
        exit_code: 1,
        faults: vec![fault(killed, back)],
        probes: probes(),
        heatmap: heatmap(&requests, phases[3].1 + phases[3].2),
        nines: phases
            .iter()
            .filter(|p| p.4)
            .map(|p| nines(p.0, p.1, p.2, &requests))
            .chain([nines(&during.0, during.1, during.2, &requests)])
            .collect(),
        platform_events: events(killed),
        error_samples: samples(&requests),
        reproduce: "resbench run scenarios/pod-kill.toml --seed 42".into(),
        warnings: vec!["max_in_flight 2048 is far above peak rate × timeout (500)".into()],
        plan: PlanInfo {
            duration_s: phases[3].1 + phases[3].2,
            within_ms: WITHIN_US / 1e3,
            within_source: "tightest latency bound".into(),
            good_target: Some(0.99),
            timeout_ms: 1_000.0,
            max_in_flight: 2_048,
            arrivals: "poisson".into(),
            latency_bound_us: Some(WITHIN_US),
            labelled_rows: None,
        },
        generator: GeneratorReport {
            lag_us: LagReport { p50: Some(31.0), p99: Some(212.0), max: Some(1_840.0) },
            cpu_s: 2.31,
            max_rss_bytes: 31_457_280,
            kept_up: true,
            workers: 1,
            late_limit_us: 5_000.0,
            note: String::new(),
            max_in_flight: 171,
            connections: 212,
            tls_handshakes: 0,
            tls_resumed: 0,
            dns_look_ups: 0,
            dns_slowest_us: 0.0,
        },
        environment: Environment {
            host: "bench-1".into(),
            kernel: "6.12.9".into(),
            cpu: "AMD EPYC 7763".into(),
            cpus: 2,
            memory_bytes: 8 << 30,
            platform: "local".into(),
            replicas: 3,
            target: "http://127.0.0.1:8080/invocations".into(),
            protocol: "mlflow".into(),
            link_us: Some(LinkTime { p50: 41.0, p99: 130.0 }),
            load_average: 0.42,
        },
        windows,
        spans,
        phases: phase_reports,
        ..Report::default()
    };
    crate::costs::add(&mut report);
    report.objectives = objectives(&report);
    report.reasons = report
        .objectives
        .iter()
        .filter(|o| o.verdict == VerdictWord::Violated)
        .map(|o| format!("{} in {}: {}", o.metric, o.span.as_deref().unwrap_or("run"), o.reason))
        .collect();
    report.findings = findings::find(&report);
    report.playbook = vec![playbook(&report)];
    report
}

fn playbook(report: &Report) -> PlaybookReport {
    let step = |by: &str, step: &str, sign: Option<(&str, Sign<'_>)>| {
        let plain = StepReport {
            by: by.into(),
            step: step.into(),
            seen_by: sign.map(|(word, _)| word.into()),
            ..StepReport::default()
        };
        playbook::observe(report, "kill-one", plain, sign.map(|(_, sign)| sign))
    };
    let paged = ("probe predicts becomes failing", Sign::Probe { name: "predicts", passes: false });
    let steps = vec![
        step("automatic", "The link drops the endpoint", Some(("out-of-rotation", Sign::OutOfRotation))),
        step("automatic", "The supervisor starts it again", Some(("replica-back", Sign::ReplicaBack))),
        step("automatic", "The prediction probe fails, and somebody is paged", Some(paged)),
        step("manual", "Read the log of the replica", None),
        step("escalation", "Call the platform team", None),
    ];
    PlaybookReport { fault: "kill-one".into(), steps }
}

/// Everything that can go wrong at once: lasting and repeated faults, one unproven, one never applied, shed requests, a generator
/// that fell behind, a safety stop, and something left broken.
pub(crate) fn troubled() -> Report {
    let mut report = pod_kill();
    let lasting = |name: &str, kind: &str, from: f64, to: f64| FaultReport {
        name: name.into(),
        kind: kind.into(),
        via: "local".into(),
        mechanism: "the link in front of the replica holds bytes back".into(),
        planned_at_s: from,
        planned_end_at_s: Some(to),
        applied_at_s: Some(from + 0.3),
        reverted_at_s: Some(to + 0.3),
        targets: vec!["replica 2".into()],
        proof: ProofReport {
            level: "effect".into(),
            proven: true,
            touched: 912,
            evidence: "the link held 912 answers back by 80 ms each".into(),
        },
        impact: ImpactReport {
            state: "none".into(),
            recovery_s: Some(0.0),
            failed: Some(0),
            slow: Some(0),
            within_ms: Some(WITHIN_US / 1e3),
            latency: Some(LatencyShift {
                before_p50_us: Some(430.0),
                before_p99_us: Some(861.0),
                during_p50_us: Some(50_500.0),
                during_p99_us: Some(60_000.0),
            }),
            ..ImpactReport::default()
        },
        ..FaultReport::default()
    };
    report.faults.push(lasting("slow-1", "network-delay", 12.0, 16.0));
    let hurt = ImpactReport {
        state: "not_recovered".into(),
        onset_s: Some(1.2),
        onset_at_s: Some(49.5),
        longest_outage_s: Some(1.7),
        lost_requests: Some(3_120.0),
        baseline_good_ratio: Some(0.9998),
        worst_good_ratio: Some(0.12),
        reason: "the run ended first".into(),
        ..ImpactReport::default()
    };
    report.faults.push(FaultReport {
        impact: hurt,
        reverted_at_s: None,
        errors: vec!["undo: no such process".into()],
        ..lasting("stuck", "pod-pause", 48.0, 55.0)
    });
    report.faults.push(FaultReport {
        proof: ProofReport {
            level: "none".into(),
            evidence: "no byte passed the delayed link".into(),
            ..ProofReport::default()
        },
        impact: ImpactReport {
            state: "unknown".into(),
            reason: "the fault is not proven".into(),
            ..ImpactReport::default()
        },
        ..lasting("slow-2", "network-delay", 13.0, 17.0)
    });
    report.faults.push(FaultReport {
        applied_at_s: None,
        reverted_at_s: None,
        proof: ProofReport {
            level: "none".into(),
            evidence: "the run was stopped before".into(),
            ..ProofReport::default()
        },
        impact: ImpactReport { state: "unknown".into(), reason: "never applied".into(), ..ImpactReport::default() },
        ..lasting("too-late", "disk-full", 60.0, 63.0)
    });
    for w in report.windows.iter_mut().filter(|w| w.start_at_s >= 49.5) {
        w.due_shed = w.due_ok / 3;
        w.due_ok -= w.due_shed;
        w.due_good = w.due_ok / 4;
        (w.due_p50_us, w.due_p95_us, w.due_p99_us) = (Some(180_000.0), None, None);
    }
    report.fault_groups = vec![crate::costs::group()];
    report.ending = Ending::SafetyStop;
    report.clean = false;
    report.exit_code = 4;
    report.probes.push(alerts());
    report.residue = vec!["stuck: process 41903 is still stopped: kill -CONT 41903".into()];
    report.reasons.insert(0, "good answers stayed below 10 % for 30 s: the safety stop ended the run at 58.0 s".into());
    report.generator.kept_up = false;
    report.generator.note = "fault: 410 of 10011 requests were not sent in time".into();
    report.findings = findings::find(&report);
    report
}

fn requests(phases: &[Phase], killed: f64, back: f64) -> Vec<Request> {
    let mut rng = rng::stream(Seed(42), "sample");
    let mut requests = vec![];
    for (_, start, long, rate, _) in phases {
        let mut due_s = *start;
        loop {
            due_s += -(1.0 - rng::unit(&mut rng)).ln() / rate;
            if due_s >= start + long {
                break;
            }
            let normal = |a: f64, b: f64| (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
            let spread = normal(rng::unit(&mut rng), rng::unit(&mut rng));
            // Cold caches at the start; two replicas carry the load of three while one is gone.
            let cold = 1.0 + 2.0 * (-due_s / 1.5).exp();
            let away = (killed..back).contains(&due_s);
            let crowd = if away { 2.2 + 1.6 * (-(due_s - killed) / 1.2).exp() } else { 1.0 };
            let mut latency_us = 7_500.0 * cold * crowd * (0.33 * spread).exp();
            if rng::unit(&mut rng) < 0.004 {
                latency_us *= 4.5;
            }
            let luck = rng::unit(&mut rng);
            let class = match due_s - killed {
                t if (0.0..0.35).contains(&t) && luck < 0.34 => Some("reset"),
                t if (0.35..1.6).contains(&t) && luck < 0.29 => Some("refused"),
                t if (0.0..2.4).contains(&t) && luck < 0.05 => Some("timeout"),
                _ => None,
            };
            latency_us = if class == Some("timeout") { 1_000_000.0 } else { latency_us };
            requests.push(Request { due_s, latency_us, class });
        }
    }
    requests
}

fn inside(requests: &[Request], from: f64, long: f64) -> impl Iterator<Item = &Request> + Clone {
    requests.iter().filter(move |r| r.due_s >= from && r.due_s < from + long)
}

fn hist<'a>(requests: impl Iterator<Item = &'a Request>) -> Hist {
    let mut hist = Hist::new();
    requests.for_each(|r| hist.record((r.latency_us * 1e3) as u64));
    hist
}

/// Nearest rank over `planned` values, the missing ones being infinite.
fn percentiles(hist: &Hist, planned: u64, scale: f64) -> Percentiles {
    let at = |q: f64| hist.value_at_rank(rank_of(q, planned)).map(|ns| ns as f64 / 1e3 * scale);
    Percentiles {
        n: planned,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p99_9: at(0.999),
        max: (hist.count() == planned && planned > 0).then(|| hist.max() as f64 / 1e3 * scale),
        mean: hist.mean().map(|ns| ns / 1e3 * scale),
        overflow: hist.overflow(),
    }
}

fn classes<'a>(requests: impl Iterator<Item = &'a Request>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    requests.filter_map(|r| r.class).for_each(|c| *counts.entry(c.to_owned()).or_default() += 1);
    counts
}

fn span(name: &str, at: f64, long: f64, measured: bool, all: &[Request]) -> SpanReport {
    let requests = inside(all, at, long);
    let planned = requests.clone().count() as u64;
    let good = hist(requests.clone().filter(|r| r.class.is_none()));
    let ok = good.count();
    SpanReport {
        name: name.into(),
        start_at_s: at,
        duration_s: long,
        measured,
        planned,
        sent: planned,
        ok,
        errors: classes(requests),
        offered_rps: planned as f64 / long,
        throughput_rps: ok as f64 / long,
        error_rate: Some(1.0 - ok as f64 / planned as f64),
        latency_us: percentiles(&good, planned, 1.0),
        latency_ok_us: percentiles(&good, ok, 1.0),
        service_us: percentiles(&good, ok, 0.985),
        handshake_us: None,
        connect_us: Percentiles { n: 71, p50: Some(210.0), p99: Some(940.0), ..Percentiles::default() },
        lag_us: Percentiles {
            n: planned,
            p50: Some(31.0),
            p99: Some(212.0),
            max: Some(1_840.0),
            ..Percentiles::default()
        },
        quality: QualityReport {
            accuracy: Some(0.9612),
            fallback_rate: Some(0.0),
            versions: BTreeMap::from([("fraud-v1".into(), ok)]),
            ..QualityReport::default()
        },
        kept_up: true,
        ..SpanReport::default()
    }
}

fn windows(phases: &[Phase], all: &[Request], killed: f64) -> Vec<WindowReport> {
    let mut windows = vec![];
    let mut rest = all;
    for (phase, start, long, ..) in phases {
        for second in 0..long.ceil() as usize {
            let at = start + second as f64;
            let (from, to) = (at, (at + 1.0).min(start + long));
            let end = rest.partition_point(|r| r.due_s < to);
            windows.push(window(phase, from, to - from, &rest[..end], killed));
            rest = &rest[end..];
        }
    }
    windows
}

fn window(phase: &str, at: f64, long: f64, requests: &[Request], killed: f64) -> WindowReport {
    let good: Vec<&Request> = requests.iter().filter(|r| r.class.is_none()).collect();
    let hist = hist(good.iter().copied());
    let planned = requests.len() as u64;
    let p = percentiles(&hist, planned, 1.0);
    let failed = planned - good.len() as u64;
    WindowReport {
        start_at_s: at,
        duration_s: long,
        phase: phase.into(),
        due_planned: planned,
        due_ok: good.len() as u64,
        due_good: good.iter().filter(|r| r.latency_us <= WITHIN_US).count() as u64,
        due_failed: failed,
        due_p50_us: p.p50,
        due_p95_us: p.p95,
        due_p99_us: p.p99,
        due_max_ok_us: (hist.count() > 0).then(|| hist.max() as f64 / 1e3),
        due_lag_p99_us: Some(190.0 + (at * 7.0) % 60.0),
        due_errors: classes(requests.iter()),
        done_ok: good.len() as u64,
        done_failed: failed,
        in_flight_max: (planned / 60 + failed / 2).max(1),
        replicas_ready: Some(if at + 1.0 > killed && at < killed + 3.0 { 2 } else { 3 }),
        ..WindowReport::default()
    }
}

fn fault(killed: f64, back: f64) -> FaultReport {
    FaultReport {
        name: "kill-one".into(),
        kind: "pod-kill".into(),
        via: "local".into(),
        mechanism: "SIGKILL to the process group; the supervisor restarts it after 1 s".into(),
        planned_at_s: killed - 0.004,
        applied_at_s: Some(killed),
        targets: vec!["replica 1 (pid 41877)".into()],
        replicas: vec![1],
        proof: ProofReport {
            level: "effect".into(),
            proven: true,
            touched: 1,
            evidence: "pidfd of 41877 reported its exit 0.6 ms after the signal".into(),
        },
        impact: ImpactReport {
            state: "recovered".into(),
            onset_s: Some(0.0),
            onset_at_s: Some(killed),
            recovery_s: Some(back - killed),
            recovered_at_s: Some(back),
            detection_s: Some(0.8),
            longest_outage_s: Some(0.1),
            lost_requests: Some(217.0),
            failed: Some(214),
            slow: Some(4),
            cut_off: Some(3),
            within_ms: Some(WITHIN_US / 1e3),
            baseline_good_ratio: Some(0.9998),
            worst_good_ratio: Some(0.664),
            ..ImpactReport::default()
        },
        ..FaultReport::default()
    }
}

fn probes() -> Vec<ProbeReport> {
    let result =
        |when: &str, at_s, detail: &str| ProbeResult { when: when.into(), at_s, ok: true, detail: detail.into() };
    vec![ProbeReport {
        name: "predicts".into(),
        kind: "prediction".into(),
        results: vec![
            result("before", -0.4, "row 17 answered 0 in 9.1 ms"),
            result("before_fault", 26.9, "row 17 answered 0 in 7.7 ms"),
            result("after", 66.1, "row 17 answered 0 in 8.0 ms"),
        ],
        asked: 3,
        failed: 0,
        alerts: vec![],
    }]
}

/// An alert that fired after one fault, and was firing already at another.
fn alerts() -> ProbeReport {
    let alert = |fault: &str, state: &str, text: &str| AlertReport {
        alert: "ManyErrors".into(),
        fault: fault.into(),
        state: state.into(),
        text: text.into(),
        ..AlertReport::default()
    };
    let fired = AlertReport {
        fired_at_s: Some(33.2),
        not_fired_at_s: Some(32.2),
        time_to_alert_s: Some(6.196),
        time_to_alert_low_s: Some(5.196),
        active_at_s: Some(30.1),
        resolved_at_s: Some(44.2),
        ..alert("kill-one", "fired", "ManyErrors fired after 5.2 to 6.2 s; active after 3.1 s by the server's clock")
    };
    let text = "ManyErrors was firing already when the fault was applied, since 33.2 s: it proves nothing";
    ProbeReport {
        name: "alerted".into(),
        kind: "alert".into(),
        results: vec![],
        asked: 4,
        failed: 0,
        alerts: vec![fired, alert("stuck", "unknown", text)],
    }
}

fn events(killed: f64) -> Vec<EventReport> {
    let event = |at_s, replica, kind: &str, text: &str| EventReport {
        at_s,
        replica: Some(replica),
        kind: kind.into(),
        text: text.into(),
    };
    vec![
        event(0.0, 0, "ready", "GET /ping answered 200"),
        event(0.0, 1, "ready", "GET /ping answered 200"),
        event(0.0, 2, "ready", "GET /ping answered 200"),
        event(killed + 0.001, 1, "exited", "signal 9"),
        event(killed + 0.8, 1, "not_ready", "connection refused"),
        event(killed + 1.0, 1, "started", "pid 41902"),
        event(killed + 3.1, 1, "ready", "GET /ping answered 200"),
    ]
}

fn heatmap(requests: &[Request], end_s: f64) -> Heatmap {
    let column_s = (end_s / 600.0).max(0.5);
    let edges_us: Vec<f64> = (0..=60).map(|n| 1_000.0 * 10f64.powf(f64::from(n) / 20.0)).collect();
    let columns = (end_s / column_s).ceil() as usize;
    let mut map = Heatmap { column_s, columns: vec![vec![0; 60]; columns], failed: vec![0; columns], edges_us };
    for r in requests {
        let column = (r.due_s / column_s) as usize;
        if r.class.is_some() {
            map.failed[column] += 1;
        } else {
            let row = map.edges_us.partition_point(|e| *e <= r.latency_us).clamp(1, 60) - 1;
            map.columns[column][row] += 1;
        }
    }
    map
}

fn nines(name: &str, at: f64, long: f64, all: &[Request]) -> NinesCurve {
    let requests = inside(all, at, long);
    let n = requests.clone().count() as u64;
    let good = hist(requests.filter(|r| r.class.is_none()));
    let mut points = vec![];
    let mut seen = 0;
    for (bucket, count) in good.buckets() {
        seen += count;
        points.push((seen as f64 / n as f64, bucket_top(bucket) as f64 / 1e3));
    }
    // Ten points a decade are as smooth as a line can be seen.
    let place = |q: f64| (-(1.0 - q).max(1e-9).log10() * 40.0) as i64;
    points.dedup_by(|b, a| place(b.0) == place(a.0));
    NinesCurve { span: name.into(), n, supported: 1.0 - 5.0 / n as f64, points }
}

fn samples(requests: &[Request]) -> Vec<ErrorSample> {
    let table = [
        ("timeout", "no whole answer within the timeout", "no byte of an answer after 1 s"),
        ("refused", "connection refused", "connect 127.0.0.1:8080: Connection refused (os error 111)"),
        ("reset", "connection reset by the peer", "read: Connection reset by peer (os error 104)"),
    ];
    let of = |(class, meaning, sample): &(&str, &str, &str)| {
        let times: Vec<f64> = requests.iter().filter(|r| r.class == Some(class)).map(|r| r.due_s).collect();
        ErrorSample {
            class: (*class).into(),
            meaning: (*meaning).into(),
            count: times.len() as u64,
            first_at_s: times.first().copied().unwrap_or(0.0),
            last_at_s: times.last().copied().unwrap_or(0.0),
            sample: (*sample).into(),
        }
    };
    table.iter().map(of).filter(|s| s.count > 0).collect()
}

fn objectives(report: &Report) -> Vec<ObjectiveReport> {
    let mut objectives = vec![];
    for (n, phase) in report.phases.iter().enumerate().filter(|(_, p)| p.measured) {
        if phase.name != "fault" {
            let value = phase.latency_us.p99.map(|us| us / 1e6);
            objectives.push(max("latency.p99", &phase.name, value, 0.1, "s", (phase.planned, 299), 42));
        }
        let close = n == 2;
        let rate = max("error_rate", &phase.name, phase.error_rate, 0.01, "ratio", (phase.planned, 300), 46);
        let around = |x: f64| rate.value.map(|v| v * x);
        let within_run = Some(Bounds { low: around(0.4), high: around(1.6) });
        objectives.push(ObjectiveReport { close, within_run, ..rate });
    }
    objectives.push(ObjectiveReport {
        span: None,
        fault: Some("kill-one".into()),
        ..max("recovery_time", "", report.faults[0].impact.recovery_s, 10.0, "s", (1, 1), 49)
    });
    objectives.push(ObjectiveReport {
        verdict: VerdictWord::Inconclusive,
        reason: "2,199 requests, 2,995 needed: 796 more".into(),
        ..max("latency.p99.9", "during:kill-one", None, 1.0, "s", (2_199, 2_995), 53)
    });
    objectives.push(ObjectiveReport {
        metric: "probe predicts".into(),
        op: "holds".into(),
        n: 3,
        needed: 1,
        verdict: VerdictWord::Met,
        line: 36,
        ..ObjectiveReport::default()
    });
    objectives
}

fn max(
    metric: &str,
    span: &str,
    value: Option<f64>,
    bound: f64,
    unit: &str,
    (n, needed): (u64, u64),
    line: usize,
) -> ObjectiveReport {
    let met = value.is_some_and(|v| v <= bound);
    ObjectiveReport {
        metric: metric.into(),
        span: Some(span.into()),
        op: "max".into(),
        value,
        bound,
        unit: unit.into(),
        n,
        needed,
        verdict: if met { VerdictWord::Met } else { VerdictWord::Violated },
        reason: if met { String::new() } else { format!("above the bound, n = {n}") },
        line,
        ..ObjectiveReport::default()
    }
}
