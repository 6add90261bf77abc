//! Each rule speaks on its pattern and is silent on one that only looks like it.

use std::collections::BTreeMap;

use super::*;
use crate::report::model::*;

const RATE: u64 = 500;

/// A quiet run: a baseline of 20 s, a fault phase of 20 s, 20 s to recover; three replicas, 500/s, answers in 10 ms, W 100 ms.
fn quiet() -> Report {
    let phases = ["baseline", "fault", "recovery"];
    let span = |name: &str, start_at_s: f64| SpanReport {
        name: name.into(),
        start_at_s,
        duration_s: 20.0,
        measured: true,
        planned: 20 * RATE,
        sent: 20 * RATE,
        ok: 20 * RATE,
        offered_rps: RATE as f64,
        error_rate: Some(0.0),
        latency_us: Percentiles {
            n: 20 * RATE,
            p50: Some(10e3),
            p95: Some(15e3),
            p99: Some(20e3),
            ..Percentiles::default()
        },
        metrics: BTreeMap::from([metric("accuracy", 0.97, 20 * RATE), metric("fallback_rate", 0.0, 20 * RATE)]),
        quality: QualityReport { versions: BTreeMap::from([("1".into(), 20 * RATE)]), ..QualityReport::default() },
        kept_up: true,
        ..SpanReport::default()
    };
    let window = |s: usize| WindowReport {
        start_at_s: s as f64,
        duration_s: 1.0,
        phase: phases[s / 20].into(),
        due_planned: RATE,
        due_ok: RATE,
        due_good: RATE,
        due_p50_us: Some(10e3),
        due_p95_us: Some(15e3),
        due_p99_us: Some(20e3),
        in_flight_max: 8,
        replicas_ready: Some(3),
        ..WindowReport::default()
    };
    Report {
        ending: Ending::Completed,
        verdict: VerdictWord::Met,
        clean: true,
        phases: phases.iter().enumerate().map(|(n, name)| span(name, n as f64 * 20.0)).collect(),
        windows: (0..60).map(window).collect(),
        environment: Environment { replicas: 3, ..Environment::default() },
        generator: GeneratorReport { kept_up: true, workers: 1, ..GeneratorReport::default() },
        plan: PlanInfo {
            within_ms: 100.0,
            latency_bound_us: Some(100e3),
            timeout_ms: 300.0,
            max_in_flight: 2048,
            ..PlanInfo::default()
        },
        ..Report::default()
    }
}

fn metric(name: &str, value: f64, n: u64) -> (String, MetricValue) {
    (name.into(), MetricValue { value: Some(value), n, ..MetricValue::default() })
}

fn event(at_s: f64, replica: u16, kind: &str) -> EventReport {
    EventReport { at_s, replica: Some(replica), kind: kind.into(), text: String::new() }
}

/// Replica 1 was killed at 22 s, seen out after `out` s, ready again after `ready` s, and the requests were well after `back` s.
fn killed(out: f64, ready: f64, back: f64) -> Report {
    let mut report = quiet();
    report.faults.push(FaultReport {
        name: "kill-one".into(),
        kind: "pod-kill".into(),
        applied_at_s: Some(22.0),
        targets: vec!["replica 1 (pid 7)".into()],
        replicas: vec![1],
        proof: ProofReport { proven: true, touched: 1, ..ProofReport::default() },
        impact: ImpactReport {
            state: "recovered".into(),
            onset_s: Some(0.0),
            onset_at_s: Some(22.0),
            recovery_s: Some(back),
            recovered_at_s: Some(22.0 + back),
            detection_s: Some(out),
            ..ImpactReport::default()
        },
        ..FaultReport::default()
    });
    report.platform_events = vec![
        event(0.0, 1, "ready"),
        event(22.0 + out, 1, "exited"),
        event(23.0 + out, 1, "started"),
        event(22.0 + ready, 1, "ready"),
    ];
    for w in windows(&mut report, 22.0 + out, 22.0 + ready) {
        w.replicas_ready = Some(2);
    }
    report
}

fn windows(report: &mut Report, from: f64, to: f64) -> impl Iterator<Item = &mut WindowReport> {
    report.windows.iter_mut().filter(move |w| w.start_at_s >= from && w.start_at_s < to)
}

/// So many of the requests of a second failed with this class.
fn fail(w: &mut WindowReport, class: &str, n: u64) {
    (w.due_ok, w.due_good, w.due_failed) = (RATE - n, RATE - n, n);
    w.due_errors = BTreeMap::from([(class.to_owned(), n)]);
}

fn ids(report: &Report) -> Vec<String> {
    find(report).into_iter().map(|f| f.id).collect()
}

fn one(report: &Report, id: &str) -> Finding {
    let found: Vec<Finding> = find(report).into_iter().filter(|f| f.id == id).collect();
    assert_eq!(found.len(), 1, "{id} in {:?}", ids(report));
    let f = found[0].clone();
    assert!(
        !f.evidence.is_empty() && f.evidence.iter().any(|e| e.chars().any(|c| c.is_ascii_digit())),
        "no number: {f:?}"
    );
    assert!(!f.hint.is_empty() && f.sentence.ends_with('.'), "{f:?}");
    f
}

#[test]
fn a_quiet_run_has_no_findings() {
    assert_eq!(ids(&quiet()), [""; 0]);
    let unfelt = killed(0.0, 0.5, 0.0);
    assert_eq!(ids(&unfelt), [""; 0], "a kill that nobody felt");
    let not_started = Report { ending: Ending::NotStarted, ..killed(3.0, 9.0, 9.0) };
    assert_eq!(ids(&not_started), [""; 0]);
}

#[test]
fn the_way_back_that_waits_for_readiness_is_told_with_its_times() {
    let report = killed(0.1, 4.4, 4.6);
    let f = one(&report, "recovery-bound-by-readiness");
    assert_eq!(f.severity, Severity::Note);
    assert_eq!(f.sentence, "The way back from kill-one waited for replica 1 to be ready again: 4.40 s of 4.60 s.");
    assert_eq!(
        f.evidence,
        ["applied at 22.0 s, out of rotation at 22.1 s, ready again at 26.4 s, recovered at 26.6 s"]
    );
    // Well long before the replica was ready: the survivors carried it.
    assert_eq!(ids(&killed(0.1, 9.0, 2.0)), [""; 0]);
    let mut broken = report;
    broken.objectives.push(ObjectiveReport {
        metric: "recovery_time".into(),
        fault: Some("kill-one".into()),
        verdict: VerdictWord::Violated,
        ..ObjectiveReport::default()
    });
    assert_eq!(one(&broken, "recovery-bound-by-readiness").severity, Severity::Warning);
}

/// The same as a fault that lasts, from 22 s to then.
fn lasting(mut report: Report, to: f64) -> Report {
    let f = &mut report.faults[0];
    (f.planned_end_at_s, f.reverted_at_s) = (Some(to), Some(to));
    f.impact.recovery_s = f.impact.recovered_at_s.map(|at| at - to);
    report
}

#[test]
fn the_time_that_a_fault_held_is_no_wait_for_readiness() {
    let f = one(&lasting(killed(1.0, 21.0, 21.5), 40.0), "recovery-bound-by-readiness");
    assert_eq!(
        f.sentence,
        "The way back from kill-one waited for replica 1 to be ready again: 3.00 s of 3.50 s after it was reverted."
    );
    assert!(f.evidence[0].contains("out of rotation at 23.0 s, reverted at 40.0 s, ready again at 43.0 s"), "{f:?}");
    assert_eq!(ids(&lasting(killed(1.0, 18.5, 19.0), 40.0)), [""; 0], "ready half a second after its end");
}

#[test]
fn the_replica_that_comes_back_is_the_one_that_went() {
    let mut report = killed(0.1, 4.4, 4.6);
    // Another replica became ready meanwhile: it says nothing about this one.
    report.platform_events.insert(2, event(23.0, 2, "ready"));
    assert!(one(&report, "recovery-bound-by-readiness").evidence[0].contains("ready again at 26.4 s"));
    // A pod is replaced under another number.
    report.platform_events.retain(|e| e.at_s != 26.4 && e.at_s != 23.0);
    report.platform_events.push(event(26.3, 3, "ready"));
    assert!(one(&report, "recovery-bound-by-readiness").evidence[0].contains("ready again at 26.3 s"));
}

#[test]
fn a_late_detection_needs_requests_that_failed_meanwhile() {
    let mut report = killed(3.0, 9.0, 3.0);
    assert_eq!(ids(&report), [""; 0], "nobody felt that it was late");
    windows(&mut report, 22.0, 25.0).for_each(|w| fail(w, "timeout", 160));
    let f = one(&report, "detection-slow");
    assert!(f.sentence.contains("3.00 s") && !f.sentence.contains("there"), "{f:?}");
    assert_eq!(
        f.evidence[1],
        "480 of 2,500 requests due about that time failed or were shed, 0 would have by the share before the first fault"
    );
    let mut ill = report.clone();
    windows(&mut ill, 0.0, 22.0).for_each(|w| fail(w, "timeout", 130));
    assert!(!ids(&ill).contains(&"detection-slow".to_owned()), "610 of 2,500, and 650 as before");
    let mut unhurt = report.clone();
    unhurt.faults[0].impact.state = "none".into();
    assert!(!ids(&unhurt).contains(&"detection-slow".to_owned()));
    report.faults[0].impact.detection_s = Some(0.3);
    assert!(!ids(&report).contains(&"detection-slow".to_owned()));
}

#[test]
fn a_frozen_replica_that_stays_in_rotation_is_told() {
    let mut report = killed(0.0, 0.5, 9.0);
    let f = &mut report.faults[0];
    (f.kind, f.reverted_at_s, f.planned_end_at_s) = ("pod-pause".into(), Some(30.0), Some(30.0));
    f.impact.detection_s = None;
    report.platform_events.clear();
    windows(&mut report, 22.0, 30.0).for_each(|w| fail(w, "timeout", 160));
    let f = one(&report, "never-out-of-rotation");
    assert_eq!(f.evidence[1], "1,280 of 4,000 requests failed or were shed meanwhile");
    report.faults[0].kind = "network-delay".into();
    assert_eq!(ids(&report), [""; 0], "a slow replica belongs in rotation");
}

/// Survivors that are late: everybody waits.
fn crowded(report: &mut Report) {
    for w in windows(report, 23.0, 31.0) {
        (w.due_good, w.due_p50_us) = (RATE * 7 / 10, Some(80e3));
    }
}

#[test]
fn one_replica_too_few_is_told_by_what_the_survivors_did() {
    let mut report = killed(0.1, 9.0, 9.5);
    crowded(&mut report);
    let f = one(&report, "one-replica-too-few");
    assert!(
        f.sentence.starts_with("The service is one replica too small for this load: with 2 of 3 ready, 30.0 %"),
        "{f:?}"
    );
    // Cut connections are no crowd: the median of the others stays.
    let mut cut = killed(0.1, 9.0, 9.5);
    windows(&mut cut, 23.0, 31.0).for_each(|w| fail(w, "reset", 150));
    assert!(!ids(&cut).contains(&"one-replica-too-few".to_owned()));
    // Something else was slow as well: it may be that.
    let mut both = report.clone();
    both.faults.push(FaultReport {
        name: "slow".into(),
        planned_end_at_s: Some(40.0),
        applied_at_s: Some(22.0),
        reverted_at_s: Some(40.0),
        proof: ProofReport { proven: true, ..ProofReport::default() },
        ..FaultReport::default()
    });
    assert!(!ids(&both).contains(&"one-replica-too-few".to_owned()));
    // Twice the rate is not the same load.
    windows(&mut report, 23.0, 31.0).for_each(|w| (w.due_planned, w.due_ok) = (2 * RATE, 2 * RATE));
    assert!(!ids(&report).contains(&"one-replica-too-few".to_owned()));
}

#[test]
fn clients_on_dead_connections_are_told_from_slow_survivors() {
    let mut report = killed(1.0, 9.0, 9.5);
    windows(&mut report, 24.0, 31.0).for_each(|w| fail(w, "timeout", 100));
    let f = one(&report, "stuck-on-dead-connections");
    assert_eq!(f.sentence, "After replica 1 was out of rotation requests still timed out, while the others were well.");
    assert!(f.evidence[1].starts_with("700 of 3,500 requests timed out, 0 would have by"), "{f:?}");
    let mut ill = report.clone();
    windows(&mut ill, 0.0, 22.0).for_each(|w| fail(w, "timeout", 95));
    assert!(!ids(&ill).contains(&"stuck-on-dead-connections".to_owned()), "700 of 3,500, and 665 as before");
    let mut unhurt = report.clone();
    unhurt.faults[0].impact.state = "none".into();
    assert!(!ids(&unhurt).contains(&"stuck-on-dead-connections".to_owned()));
    windows(&mut report, 24.0, 31.0).for_each(|w| w.due_p50_us = Some(200e3));
    assert!(!ids(&report).contains(&"stuck-on-dead-connections".to_owned()));
}

#[test]
fn connections_that_died_while_idle_need_a_share_that_is_new_or_without_any_fault() {
    let idle = |mut report: Report, at: f64, n: u64| {
        windows(&mut report, at, at + 1.0).for_each(|w| fail(w, "idle_closed", n));
        report
    };
    assert_eq!(ids(&idle(quiet(), 10.0, 29)), [""; 0], "29 of 30,000");
    let f = one(&idle(quiet(), 10.0, 31), "stuck-on-dead-connections");
    assert!(f.sentence.starts_with("31 requests"), "{f:?}");
    assert_eq!(f.evidence, ["idle_closed: 31 of 30,000, 0.10 %"]);
    // Under a fault: 22 s with 11,000 requests before it, 38 s with 19,000 since.
    let calm = || killed(0.1, 9.0, 2.0);
    let f = one(&idle(calm(), 30.0, 40), "stuck-on-dead-connections");
    assert_eq!(f.evidence, ["idle_closed since the first fault: 40 of 19,000, 0.21 %"]);
    assert_eq!(ids(&idle(calm(), 30.0, 18)), [""; 0], "18 of 19,000");
    assert_eq!(
        ids(&idle(idle(calm(), 10.0, 10), 30.0, 34)),
        [""; 0],
        "17 are as before, and the other 17 no share of 19,000"
    );
    let f = one(&idle(calm(), 10.0, 12), "stuck-on-dead-connections");
    assert_eq!(f.evidence, ["idle_closed before the first fault: 12 of 11,000, 0.11 %"]);
}

#[test]
fn slow_after_ready_is_not_the_wait_for_ready() {
    let report = killed(0.1, 4.0, 12.0);
    let f = one(&report, "slow-after-ready");
    assert!(f.sentence.contains("ready again at 26.0 s, but the requests were well only 8.00 s later"), "{f:?}");
    assert_eq!(f.evidence[0], "counted from 26.0 s, recovered at 34.0 s");
    let held = one(&lasting(killed(1.0, 18.5, 24.0), 40.0), "slow-after-ready");
    assert_eq!(
        held.sentence,
        "replica 1 was ready again at 40.5 s and kill-one over at 40.0 s, but the requests were well only 5.50 s after both."
    );
    assert!(!ids(&report).contains(&"recovery-bound-by-readiness".to_owned()));
}

#[test]
fn a_cold_start_is_slow_after_ready_and_not_before() {
    let mut report = killed(0.1, 4.0, 1.0);
    windows(&mut report, 26.0, 28.0).for_each(|w| w.due_p95_us = Some(90e3));
    let f = one(&report, "cold-start");
    assert!(f.sentence.contains("p95 was 90.0 ms") && f.sentence.ends_with("15.0 ms before."), "{f:?}");
    // Slow all the while it was away: not its coldness.
    windows(&mut report, 22.0, 26.0).for_each(|w| w.due_p95_us = Some(90e3));
    assert!(!ids(&report).contains(&"cold-start".to_owned()));
}

#[test]
fn what_did_not_come_back_is_serious() {
    let mut report = killed(0.1, 4.0, 0.0);
    let i = &mut report.faults[0].impact;
    (i.state, i.recovery_s, i.recovered_at_s, i.reason) =
        ("not_recovered".into(), None, None, "38.0 s were watched".into());
    windows(&mut report, 22.0, 60.0).for_each(|w| w.due_good = RATE / 2);
    let f = one(&report, "not-recovered");
    assert_eq!(f.severity, Severity::Serious);
    assert_eq!(f.sentence, "The service was not back from kill-one when the load ended, 38.0 s after it was applied.");
    assert!(f.evidence.contains(&"in the last 5.00 s 50.0 % were late, failed or shed".to_owned()), "{f:?}");
    assert!(f.hint.contains("connections"));
    // The next fault came before it could be: nothing of before this one is told.
    report.faults.push(FaultReport { name: "next".into(), applied_at_s: Some(24.0), ..FaultReport::default() });
    let f = one(&report, "not-recovered");
    assert!(f.sentence.ends_with("was not back from kill-one when the next fault came, 2.00 s after it was applied."));
    assert!(f.evidence.contains(&"in the last 2.00 s 50.0 % were late, failed or shed".to_owned()), "{f:?}");
    report.faults.pop();
    let f = one(&lasting(report, 30.0), "not-recovered");
    assert!(f.sentence.ends_with("when the load ended, 30.0 s after it was reverted."), "{f:?}");
}

#[test]
fn an_unproven_fault_comes_with_its_likely_cause() {
    let mut report = killed(0.1, 4.0, 0.0);
    let f = &mut report.faults[0];
    f.impact.state = "none".into();
    f.proof = ProofReport {
        level: "none".into(),
        evidence: "no byte passed the delayed link".into(),
        ..ProofReport::default()
    };
    f.kind = "network-delay".into();
    f.dependency = Some("registry".into());
    let found = one(&report, "fault-not-proven");
    assert!(found.hint.contains("ask it only when they start"), "{found:?}");
    report.faults[0].kind = "io-latency".into();
    report.faults[0].dependency = None;
    assert!(one(&report, "fault-not-proven").hint.contains("the model stands in memory"));
    report.faults[0].applied_at_s = None;
    report.faults[0].errors = vec!["2 of 3 would be hit, max_targets = 1".into()];
    let found = one(&report, "fault-not-proven");
    assert!(found.sentence.contains("never applied") && found.evidence[0].contains("max_targets"), "{found:?}");
    report.ending = Ending::Interrupted;
    assert_eq!(ids(&report), [""; 0], "who was interrupted knows why");
}

/// A dependency was broken from 22 s to 32 s; so many of 5,000 failed, and so many good answers were fallbacks.
fn broken_registry(failed: u64, fallbacks: u64) -> Report {
    let mut report = quiet();
    report.faults.push(FaultReport {
        name: "slow-registry".into(),
        kind: "network-delay".into(),
        applied_at_s: Some(22.0),
        reverted_at_s: Some(32.0),
        planned_end_at_s: Some(32.0),
        dependency: Some("registry".into()),
        proof: ProofReport { proven: true, touched: 9, ..ProofReport::default() },
        impact: ImpactReport { state: "none".into(), ..ImpactReport::default() },
        ..FaultReport::default()
    });
    let ok = 5_000 - failed;
    let mut span = report.phases[1].clone();
    span.name = "during:slow-registry".into();
    (span.start_at_s, span.duration_s, span.planned, span.ok) = (22.0, 10.0, 5_000, ok);
    span.error_rate = Some(failed as f64 / 5_000.0);
    span.metrics =
        BTreeMap::from([metric("fallback_rate", fallbacks as f64 / ok as f64, ok), metric("accuracy", 0.97, ok)]);
    report.spans.push(span);
    report
}

#[test]
fn a_missing_fallback_needs_failures_and_somebody_who_looks() {
    let report = broken_registry(2_000, 0);
    let f = one(&report, "no-fallback-seen");
    assert_eq!(
        f.evidence[..2],
        [
            "during:slow-registry: 2,000 of 5,000 requests failed or were shed",
            "fallbacks among the good answers: 0 of 3,000"
        ]
    );
    assert_eq!(ids(&broken_registry(0, 0)), [""; 0], "nobody needed one");
    assert!(!ids(&broken_registry(2_000, 40)).contains(&"no-fallback-seen".to_owned()));
    let mut blind = report.clone();
    blind.phases.iter_mut().chain(&mut blind.spans).for_each(|s| s.metrics.retain(|name, _| name != "fallback_rate"));
    assert_eq!(ids(&blind), [""; 0], "nobody says which answer is a fallback");
    let mut unproven = report;
    unproven.faults[0].proof.proven = false;
    assert_eq!(ids(&unproven), ["fault-not-proven"]);
}

/// One replica's page, read each second: its counter stands at `before` retries when the fault comes, and grows by so many a second while it is on.
fn retried(mut report: Report, name: &str, before: f64, per_second: f64) -> Report {
    let (from, to) = (report.spans[0].start_at_s, report.spans[0].start_at_s + report.spans[0].duration_s);
    let value = |at: f64| before + (at.clamp(from, to) - from) * per_second;
    report.scrapes.push(ScrapeReport {
        name: "pages".into(),
        source: "replica 0".into(),
        every_s: 1.0,
        kept_every_s: 1.0,
        series: vec![SeriesReport {
            name: name.into(),
            kind: "counter".into(),
            points: (0..60).map(|s| (f64::from(s), Some(value(f64::from(s))))).collect(),
            ..SeriesReport::default()
        }],
        ..ScrapeReport::default()
    });
    report
}

#[test]
fn retries_amplify_where_a_scraped_counter_says_so() {
    let slow = || broken_registry(0, 0);
    let f = one(&retried(slow(), "feature_retries_total{store=\"a\"}", 7.0, 600.0), "retries-amplified");
    assert_eq!((f.severity, f.fault.as_deref()), (Severity::Warning, Some("slow-registry")));
    assert!(f.sentence.contains("tried again 1.2 times for each request"), "{f:?}");
    assert_eq!(
        f.evidence,
        ["during:slow-registry: 6,000 retries, 5,000 requests", "baseline: 0 retries, 10,000 requests"]
    );
    let two = retried(retried(slow(), "retry_count", 0.0, 300.0), "x_retried_total", 0.0, 300.0);
    assert!(one(&two, "retries-amplified").evidence[0].contains("6,000"), "of all pages and names");
    for (name, per_second) in [("feature_reads_total", 600.0), ("feature_retries_total", 1.0)] {
        assert_eq!(ids(&retried(slow(), name, 0.0, per_second)), [""; 0], "{name} {per_second}");
    }
    let histogram = retried(slow(), "retry_delay_seconds_bucket{le=\"1\"}", 0.0, 600.0);
    assert_eq!(ids(&histogram), [""; 0], "parts of histograms count something else");
    let mut twice = retried(slow(), "retries_total", 0.0, 600.0);
    twice.scrapes.push(twice.scrapes[0].clone());
    assert!(one(&twice, "retries-amplified").evidence[0].contains("6,000"), "a page that is read twice counts once");
    // The counter is there from its first retry on; the page was read before that, too.
    let mut new = retried(slow(), "retries_total", 0.0, 600.0);
    new.scrapes[0].series[0].points.retain(|(at, _)| *at >= 22.0);
    let other = retried(slow(), "requests_total", 0.0, 1.0).scrapes.remove(0).series.remove(0);
    new.scrapes[0].series.push(other);
    assert!(one(&new, "retries-amplified").evidence[1].contains("baseline: 0 retries"));
    let mut elsewhere = new.clone();
    let other = elsewhere.scrapes[0].series.pop().expect("the series that was read all along");
    elsewhere.scrapes.push(ScrapeReport { source: "replica 1".into(), series: vec![other], ..new.scrapes[0].clone() });
    assert_eq!(ids(&elsewhere), [""; 0], "another page says nothing of what this one counted before");
    let mut gauge = retried(slow(), "retries", 0.0, 600.0);
    gauge.scrapes[0].series[0].kind = "gauge".into();
    assert_eq!(ids(&gauge), [""; 0], "what does not only grow counts nothing");
    let mut unread = retried(slow(), "retries_total", 0.0, 600.0);
    unread.scrapes[0].series[0].points.retain(|(at, _)| *at > 40.0);
    assert_eq!(ids(&unread), [""; 0], "where nobody read it nothing is claimed");
}

#[test]
fn fallbacks_that_kept_it_up_are_a_note() {
    let f = one(&broken_registry(0, 4_000), "fallback-served");
    assert_eq!(
        (f.severity, f.sentence.as_str()),
        (Severity::Note, "80.0 % of the good answers during slow-registry came from a fallback.")
    );
    assert_eq!(ids(&broken_registry(0, 3)), [""; 0], "three are no change");
}

#[test]
fn wrong_answers_need_more_than_chance() {
    let mut report = broken_registry(0, 0);
    report.spans[0].metrics.extend([metric("accuracy", 0.61, 5_000)]);
    let f = one(&report, "wrong-answers");
    assert_eq!(
        f.sentence,
        "Answers were wrong while they counted as good: accuracy fell from 97.00 % to 61.0 % in during:slow-registry."
    );
    assert_eq!(f.fault.as_deref(), Some("slow-registry"));
    // 5,000 of 6,000 rows were asked there, and before 10,000 times any.
    report.plan.labelled_rows = Some(6_000);
    let f = one(&report, "wrong-answers");
    assert!(f.severity == Severity::Note && f.sentence.contains("other rows were asked"), "{f:?}");
    report.plan.labelled_rows = Some(5_000);
    assert_eq!(one(&report, "wrong-answers").severity, Severity::Serious);
    report.spans[0].metrics.extend([metric("accuracy", 0.965, 5_000)]);
    assert_eq!(ids(&report), [""; 0], "half a point");
    report.spans[0].metrics.extend([metric("accuracy", 0.92, 40)]);
    assert_eq!(ids(&report), [""; 0], "forty answers say little");
    report.spans[0].metrics.extend([metric("accuracy", 0.97, 5_000), metric("agreement", 0.5, 5_000)]);
    report.phases[0].metrics.extend([metric("agreement", 1.0, 10_000)]);
    let f = one(&report, "wrong-answers");
    assert!(f.sentence.contains("agreement fell from 100 % to 50.0 %") && f.severity == Severity::Serious, "{f:?}");
}

#[test]
fn agreement_that_nobody_measured_before_is_a_note() {
    let mut report = broken_registry(0, 0);
    report.spans[0].metrics.extend([metric("agreement", 0.5, 5_000)]);
    // The baseline compared 29: no ground to say that anything fell.
    report.phases[0].metrics.extend([metric("agreement", 1.0, 29)]);
    let f = one(&report, "wrong-answers");
    assert_eq!(
        (f.severity, f.sentence.as_str()),
        (
            Severity::Note,
            "Answers in during:slow-registry differed from the first answers in 50.0 %, and how often they do so anyway was not measured."
        )
    );
    assert_eq!(
        f.evidence,
        [
            "during:slow-registry: 50.0 % of 5,000 answers as the first ones",
            "good answers there: 5,000 of 5,000 planned"
        ]
    );
    report.spans[0].metrics.extend([metric("agreement", 0.995, 5_000)]);
    assert_eq!(ids(&report), [""; 0], "half a point");
    report.spans[0].metrics.extend([metric("agreement", 0.9, 40)]);
    assert_eq!(ids(&report), [""; 0], "four answers");
}

#[test]
fn an_old_version_beside_the_new_one_is_told() {
    let mut report = quiet();
    report.phases[1].quality.versions = BTreeMap::from([("1".into(), 6_000), ("2".into(), 4_000)]);
    report.phases[2].quality.versions = BTreeMap::from([("2".into(), 10_000)]);
    assert_eq!(one(&report, "version-changed").severity, Severity::Note);
    report.phases[2].quality.versions.insert("1".into(), 900);
    let f = one(&report, "old-version-served");
    assert_eq!(f.sentence, "The version of before (1) still answered in recovery, beside the new one.");
    assert_eq!(f.evidence[2], "recovery: 1 × 900, 2 × 10,000");
    // One of a thousand is a straggler of the change.
    report.phases[2].quality.versions.insert("1".into(), 9);
    assert_eq!(ids(&report), ["version-changed"]);
}

#[test]
fn an_alert_that_never_came_is_told() {
    let mut report = killed(0.1, 4.0, 1.0);
    let result = |at_s| ProbeResult { when: "during".into(), at_s, detail: "x".into(), ..ProbeResult::default() };
    report.probes.push(ProbeReport {
        name: "paged".into(),
        kind: "alert".into(),
        results: [10.0, 40.0, 50.0].map(result).to_vec(),
        alerts: vec![AlertReport { alert: "Errors".into(), fault: "kill-one".into(), ..AlertReport::default() }],
        ..ProbeReport::default()
    });
    let state = |report: &mut Report, state: &str| report.probes[0].alerts[0].state = state.into();
    for (word, says) in [
        ("not_fired", "did not fire after kill-one"),
        ("pending", "never fired"),
        ("silenced", "was silenced after kill-one"),
    ] {
        state(&mut report, word);
        let f = one(&report, "alert-missing");
        assert!(f.sentence.contains(says) && f.evidence[1] == "2 looks of paged after the fault", "{f:?}");
    }
    for quiet in ["fired", "unknown"] {
        state(&mut report, quiet);
        assert_eq!(ids(&report), [""; 0], "{quiet}");
    }
    state(&mut report, "late");
    report.probes[0].alerts[0].time_to_alert_s = Some(31.0);
    assert_eq!(one(&report, "alert-late").sentence, "Errors fired 31.0 s after kill-one, later than promised.");
}

#[test]
fn a_queue_that_grows_without_a_fault_is_saturation() {
    let mut report = quiet();
    for (n, w) in windows(&mut report, 0.0, 20.0).enumerate() {
        (w.due_p50_us, w.in_flight_max) = (Some(10e3 * (1.0 + n as f64)), 8 + 30 * n as u64);
    }
    let f = one(&report, "saturation");
    assert!(f.sentence.starts_with("A queue built up in baseline without any fault: at the same 500/s"), "{f:?}");
    // The same under a fault is the fault's doing.
    let mut hurt = killed(0.1, 4.0, 38.0);
    for (n, w) in windows(&mut hurt, 23.0, 40.0).enumerate() {
        (w.due_p50_us, w.in_flight_max) = (Some(10e3 * (1.0 + n as f64)), 8 + 30 * n as u64);
    }
    assert!(!ids(&hurt).contains(&"saturation".to_owned()));
    // So may be what grows after it was over.
    let mut over = killed(0.1, 4.0, 4.5);
    for (n, w) in windows(&mut over, 40.0, 60.0).enumerate() {
        (w.due_p50_us, w.in_flight_max) = (Some(10e3 * (1.0 + n as f64)), 8 + 30 * n as u64);
    }
    assert!(!ids(&over).contains(&"saturation".to_owned()));
    // What grew before it is told all the same.
    for (n, w) in windows(&mut over, 0.0, 20.0).enumerate() {
        (w.due_p50_us, w.in_flight_max) = (Some(10e3 * (1.0 + n as f64)), 8 + 30 * n as u64);
    }
    assert!(one(&over, "saturation").sentence.contains("in baseline"));
    // More load, more latency: a ramp says nothing about a queue.
    for (n, w) in windows(&mut report, 0.0, 20.0).enumerate() {
        w.due_planned = RATE * (1 + n as u64);
    }
    assert_eq!(ids(&report), [""; 0]);
}

#[test]
fn a_late_generator_is_told_first() {
    let mut report = broken_registry(2_000, 0);
    report.generator.kept_up = false;
    report.generator.note = "fault: 410 of 10,011 requests were not sent in time".into();
    assert_eq!(ids(&report), ["generator-late", "no-fallback-seen"]);
    report.generator.note = String::new();
    assert_eq!(ids(&report), ["no-fallback-seen"]);
}

#[test]
fn shed_arrivals_and_long_timeouts_are_told_with_their_sums() {
    let mut report = quiet();
    report.phases[1].errors.insert("timeout".into(), 321);
    assert_eq!(ids(&report), [""; 0], "three times the bound is no long timeout");
    report.plan.timeout_ms = 5_000.0;
    let f = one(&report, "timeout-too-long");
    assert!(f.sentence.starts_with("The timeout of 5 s is 50 times the promised 100 ms: 321 requests"), "{f:?}");
    report.phases[1].shed = 60;
    let f = one(&report, "in-flight-limit");
    assert_eq!(f.evidence[0], "shed: 60 of 30,000 planned (0.20 %)");
    assert!(f.evidence[1].contains("2,500 on their way"), "{f:?}");
}

#[test]
fn the_most_serious_stands_first() {
    let mut report = killed(0.1, 9.0, 9.5);
    crowded(&mut report);
    report.phases[1].shed = 60;
    let found = find(&report);
    assert!(found.is_sorted_by_key(|f| f.severity), "{found:?}");
    assert_eq!(ids(&report), ["one-replica-too-few", "in-flight-limit", "recovery-bound-by-readiness"]);
}
