//! From what was measured to the report model. Pure: the same facts give the same report.

pub mod costs;
mod quality;

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::injector::TargetRef;
use crate::fault::runner::FaultRecord;
use crate::hist::{Hist, bucket_top, rank_of};
use crate::impact::Impact;
use crate::objective::{Judged, Verdict};
use crate::outcome::ErrorClass;
use crate::plan::{
    FaultTarget, Lasts, Load, Metric, Op, Payload, Plan, Playbook, ProbeKind, Process, Sign, SpanRef, Step,
};
use crate::platform::{PlatformEvent, PlatformEventKind};
use crate::probe::ProbeLog;
use crate::probe::alert::AlertOutcome;
use crate::record::ErrorTrace;
use crate::record::assemble::Window;
use crate::report::model::*;
use crate::report::playbook::{PlaybookReport, StepReport};
use crate::report::{findings, playbook};
use crate::summary::{Altered, RunSummary, SpanStats};
use crate::units::{Offset, Quantile};

/// Everything that a report is made of.
pub struct Facts<'a> {
    /// What was asked for.
    pub plan: &'a Plan,
    /// Identity, outcome and surroundings, filled in by the caller.
    pub frame: Report,
    /// What was measured.
    pub summary: &'a RunSummary,
    /// By second.
    pub windows: &'a [Window],
    /// What became of each fault.
    pub faults: &'a [FaultRecord],
    /// What requests saw of each fault.
    pub impacts: &'a [Impact],
    /// applied → out of rotation, seconds, per fault.
    pub detections: &'a [Option<f64>],
    /// In flight when it was applied, per fault.
    pub in_flight: &'a [Option<u64>],
    /// Each objective in each span.
    pub judged: &'a [Judged],
    /// Each probe.
    pub probes: &'a [ProbeLog],
    /// What happened on the platform.
    pub events: &'a [PlatformEvent],
    /// Replicas at the start; 0 without a platform.
    pub replicas: usize,
    /// Examples of errors, by class.
    pub errors: &'a [ErrorTrace],
    /// Likewise of what payload faults altered, in the order of the plan.
    pub altered_errors: &'a [Vec<ErrorTrace>],
    /// The limit of the compliance chart, ns, and where it came from.
    pub within: (u64, &'static str),
}

/// The whole report.
pub fn build(facts: &Facts<'_>) -> Report {
    let plan = facts.plan;
    let mut report = facts.frame.clone();
    report.schema = SCHEMA.into();
    report.phases = plan
        .phases
        .iter()
        .zip(&facts.summary.phases)
        .map(|(phase, stats)| SpanReport {
            closed_loop: matches!(phase.load, Load::Closed { .. }),
            ..span(&phase.name, phase.measured, stats)
        })
        .collect();
    report.spans = facts.summary.spans.iter().map(|(name, stats)| span(&span_name(plan, name), true, stats)).collect();
    if plan.traffic.token_streams {
        report.phases.iter_mut().zip(&facts.summary.phases).for_each(|(span, stats)| add_tokens(span, stats));
        report.spans.iter_mut().zip(facts.summary.spans.values()).for_each(|(span, stats)| add_tokens(span, stats));
    }
    report.faults = (0..plan.faults.len()).map(|i| fault(facts, i)).collect();
    report.objectives = facts.judged.iter().map(|j| objective(plan, j)).collect();
    add_gate_metrics(&mut report, plan, facts.summary);
    add_intervals(&mut report, plan, facts.judged);
    report.probes = plan.probes.iter().zip(facts.probes).map(|(p, log)| probe(plan, &p.name, &p.kind, log)).collect();
    report.windows = windows(facts);
    report.heatmap = heatmap(plan, facts.windows);
    report.nines = nines(plan, facts.summary);
    report.platform_events = facts.events.iter().map(event).collect();
    report.error_samples = error_samples(facts.errors);
    report.warnings = plan.warnings.clone();
    report.plan = plan_info(plan, facts.within);
    report.findings = findings::find(&report);
    report.playbook = plan.playbooks.iter().map(|p| playbook_of(&report, plan, p)).collect();
    report
}

/// `baseline`, `during:kill-one`, `after:kill-one`.
pub fn span_name(plan: &Plan, span: &SpanRef) -> String {
    match span {
        SpanRef::Phase(id) => plan.phases[id.0 as usize].name.clone(),
        SpanRef::During(i) => format!("during:{}", plan.faults[*i].name),
        SpanRef::After(i) => format!("after:{}", plan.faults[*i].name),
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// By class; classes that did not occur are left out.
fn errors_of(stats: &SpanStats) -> BTreeMap<String, u64> {
    let all = ErrorClass::ALL.iter().map(|c| (c.word().to_owned(), stats.errors[*c as usize]));
    all.filter(|(_, n)| *n > 0).collect()
}

fn span(name: &str, measured: bool, stats: &SpanStats) -> SpanReport {
    let errors = errors_of(stats);
    let duration = stats.duration_s();
    SpanReport {
        name: name.to_owned(),
        start_at_s: stats.start.as_secs_f64(),
        duration_s: duration,
        measured,
        closed_loop: false,
        planned: stats.planned,
        sent: stats.sent,
        ok: stats.ok,
        shed: stats.shed,
        altered: stats.altered,
        altered_apart: stats.altered_apart,
        errors,
        offered_rps: if duration > 0.0 { stats.due() as f64 / duration } else { 0.0 },
        throughput_rps: stats.throughput().unwrap_or(0.0),
        error_rate: stats.error_rate(),
        latency_us: planned_percentiles(stats),
        latency_ok_us: percentiles(&stats.latency_ok),
        service_us: percentiles(&stats.service),
        connect_us: percentiles(&stats.connect),
        handshake_us: (stats.handshake.count() > 0).then(|| percentiles(&stats.handshake)),
        lag_us: percentiles(&stats.lag),
        ttft_us: None,
        itl_us: None,
        output_tokens: None,
        output_tokens_per_s: None,
        metrics: metrics(stats),
        quality: quality::report(&stats.quality),
        kept_up: stats.kept_up(),
    }
}

/// What only streams have.
fn add_tokens(span: &mut SpanReport, stats: &SpanStats) {
    span.ttft_us = Some(endless_percentiles(&stats.ttft, stats.streams_planned()));
    span.itl_us = Some(percentiles(&stats.itl));
    span.output_tokens = Some(stats.output_tokens);
    span.output_tokens_per_s = stats.token_rate();
    let seconds = |ns: u64| ns as f64 / 1e9;
    for q in QUANTILES {
        let ttft = MetricValue {
            value: stats.ttft(q).flatten().map(seconds),
            n: stats.streams_planned(),
            ..MetricValue::default()
        };
        let itl = MetricValue {
            value: stats.itl.quantile(q.share()).map(seconds),
            n: stats.itl.count(),
            ..MetricValue::default()
        };
        span.metrics.insert(Metric::Ttft(q).word(), ttft);
        span.metrics.insert(Metric::Itl(q).word(), itl);
    }
}

/// The percentiles that are listed among the metrics.
const QUANTILES: [Quantile; 6] =
    [Quantile::P50, Quantile::P90, Quantile::P95, Quantile::P99, Quantile::P99_9, Quantile::P99_99];

fn percentiles(hist: &Hist) -> Percentiles {
    let at = |share| hist.quantile(share).map(us);
    Percentiles {
        n: hist.count(),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p99_9: at(0.999),
        max: (hist.count() > 0).then(|| us(hist.max())),
        mean: hist.mean().map(|m| m / 1e3),
        overflow: hist.overflow(),
    }
}

/// Over every planned arrival, failed and shed ones being infinite.
fn planned_percentiles(stats: &SpanStats) -> Percentiles {
    endless_percentiles(&stats.latency_ok, stats.planned)
}

/// Over so many, of which those that are not in the histogram are infinite.
fn endless_percentiles(finite: &Hist, n: u64) -> Percentiles {
    let at = |share| finite.value_at_rank(rank_of(share, n)).map(us);
    Percentiles {
        n,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p99_9: at(0.999),
        max: (n > 0 && finite.count() == n).then(|| us(finite.max())),
        mean: finite.mean().map(|m| m / 1e3),
        overflow: finite.overflow(),
    }
}

fn metrics(stats: &SpanStats) -> BTreeMap<String, MetricValue> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let mut all = BTreeMap::new();
    let mut put = |metric: &Metric, value: Option<f64>, n: u64| {
        all.insert(metric.word(), MetricValue { value, n, low: None, high: None });
    };
    for q in QUANTILES {
        put(&Metric::Latency(q), stats.latency(q).flatten().map(seconds), stats.planned);
        put(&Metric::LatencyOk(q), stats.latency_ok.quantile(q.share()).map(seconds), stats.ok);
    }
    let planned = stats.planned;
    put(&Metric::LatencyMax, stats.latency_max().flatten().map(seconds), planned);
    put(&Metric::ErrorRate, stats.error_rate(), planned);
    put(&Metric::Availability, stats.error_rate().map(|r| 1.0 - r), planned);
    put(&Metric::Throughput, stats.throughput(), stats.done_ok);
    put(&Metric::ShedRate, (planned > 0).then(|| stats.shed as f64 / planned as f64), planned);
    all.extend(quality::metrics(&stats.quality));
    all
}

/// Percentiles that a gate asks for and that are not among the usual ones.
fn add_gate_metrics(report: &mut Report, plan: &Plan, summary: &RunSummary) {
    let seconds = |ns: u64| ns as f64 / 1e9;
    for metric in plan.gate.iter().flat_map(|g| &g.metrics) {
        let crate::plan::Where::Span(place) = &metric.place else { continue };
        let (Some(stats), name) = (summary.span(place), span_name(plan, place)) else { continue };
        let (value, n) = match &metric.metric {
            Metric::Latency(q) => (stats.latency(*q).flatten().map(seconds), stats.planned),
            Metric::LatencyOk(q) => (stats.latency_ok.quantile(q.share()).map(seconds), stats.ok),
            Metric::Ttft(q) => (stats.ttft(*q).flatten().map(seconds), stats.streams_planned()),
            Metric::Itl(q) => (stats.itl.quantile(q.share()).map(seconds), stats.itl.count()),
            Metric::Freshness(Some(q)) => (stats.quality.freshness(*q), stats.quality.ages.count()),
            _ => continue,
        };
        let span = report.phases.iter_mut().chain(report.spans.iter_mut()).find(|s| s.name == name);
        if let Some(span) = span {
            let made = || MetricValue { value, n, ..MetricValue::default() };
            span.metrics.entry(metric.metric.word()).or_insert_with(made);
        }
    }
}

/// Intervals were only made for what objectives ask about. Where several ask for one word, as `good_ratio` for each `within`, value and
/// interval are those of the first.
fn add_intervals(report: &mut Report, plan: &Plan, judged: &[Judged]) {
    let mut told = BTreeSet::new();
    for j in judged {
        let (Some(interval), Some(place)) = (&j.interval, &j.span) else { continue };
        if !told.insert((place, j.metric.word())) {
            continue;
        }
        let name = span_name(plan, place);
        let span = report.phases.iter_mut().chain(report.spans.iter_mut()).find(|s| s.name == name);
        let entry = span.map(|s| {
            s.metrics.entry(j.metric.word()).or_insert_with(|| MetricValue {
                value: j.value,
                n: j.n,
                low: None,
                high: None,
            })
        });
        if let Some(entry) = entry {
            (entry.low, entry.high) = (finite(interval.low), finite(interval.high));
        }
    }
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

fn fault(facts: &Facts<'_>, index: usize) -> FaultReport {
    let (plan, record) = (&facts.plan.faults[index], &facts.faults[index]);
    let planned_end = plan.lasts.map(|lasts| match lasts {
        Lasts::For(d) => plan.at + d,
        Lasts::UntilEnd => facts.plan.end(),
    });
    let mut errors = record.errors.clone();
    errors.extend(record.not_applied.iter().filter(|why| !record.errors.contains(why)).cloned());
    FaultReport {
        name: record.name.clone(),
        kind: record.kind.to_owned(),
        via: record.via.to_owned(),
        mechanism: record.mechanism.clone(),
        planned_at_s: record.planned_at.as_secs_f64(),
        planned_end_at_s: planned_end.map(Offset::as_secs_f64),
        applied_at_s: record.applied_at.map(Offset::as_secs_f64),
        reverted_at_s: record.reverted_at.map(Offset::as_secs_f64),
        targets: record.targets.iter().map(ToString::to_string).collect(),
        replicas: record.targets.iter().filter_map(TargetRef::replica).collect(),
        dependency: match &plan.target {
            FaultTarget::Dependency(name) => Some(name.clone()),
            _ => None,
        },
        proof: ProofReport {
            level: serde_json::to_value(record.proof.level)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default(),
            proven: record.proof.proven(),
            touched: record.proof.touched,
            evidence: record.proof.evidence.clone(),
        },
        impact: ImpactReport {
            cut_off: record.applied_at.map(|at| cut_off(facts, index, at)),
            latency: latency_shift(facts, index),
            ..impact(&facts.impacts[index], record.applied_at, facts.detections[index], facts.in_flight[index])
        },
        budget: Vec::new(),
        errors,
        altered: altered(facts, index),
    }
}

fn altered(facts: &Facts<'_>, index: usize) -> Option<AlteredReport> {
    let nth = facts.plan.payloads().position(|(fault, _)| fault == index)?;
    let (payload, seen) = (facts.plan.faults[index].payload()?, facts.summary.altered.get(&index)?);
    Some(altered_report(payload, seen, facts.altered_errors.get(nth).map_or(&[], Vec::as_slice)))
}

/// The part of `run.json`.
fn altered_report(payload: &Payload, seen: &Altered, samples: &[ErrorTrace]) -> AlteredReport {
    AlteredReport {
        share: payload.share.get(),
        include: payload.include,
        expect: payload.expect.word().to_owned(),
        expect_share: payload.expect_share.get(),
        planned: seen.altered.planned,
        sent: seen.altered.sent,
        shed: seen.altered.shed,
        judged: seen.judged(),
        as_expected: seen.as_expected(payload.expect),
        rejected: seen.rejected(),
        answered: seen.answered(),
        failed: seen.failed(),
        errors: errors_of(&seen.altered),
        bodies: seen.bodies as u64,
        ended_us: percentiles(&ended(&seen.altered)),
        quality: quality::report(&seen.altered.quality),
        twins: TwinsReport {
            planned: seen.twins.planned,
            ok: seen.twins.ok,
            shed: seen.twins.shed,
            errors: errors_of(&seen.twins),
            ended_us: percentiles(&ended(&seen.twins)),
            quality: quality::report(&seen.twins.quality),
        },
        samples: error_samples(samples),
    }
}

/// done − due of everything that came to an end, however it did: a rejection is an end as an answer is.
fn ended(stats: &SpanStats) -> Hist {
    let mut all = Hist::new();
    all.merge(&stats.latency_ok);
    all.merge(&stats.latency_failed);
    all
}

/// Requests due in the last `timeout` before a fault and not good: what it took with it. Its own span may begin a little before it
/// was applied, and nothing is counted twice.
fn cut_off(facts: &Facts<'_>, index: usize, applied: Offset) -> u64 {
    let applied = facts.summary.span(&SpanRef::During(index)).map_or(applied, |s| s.start.min(applied));
    let from = applied.0.saturating_sub(facts.plan.traffic.timeout.as_nanos() as u64);
    let before = facts.summary.slots.iter().filter(|s| s.start.0 >= from && s.end <= applied);
    before.map(|s| s.planned - s.ok).sum()
}

fn latency_shift(facts: &Facts<'_>, index: usize) -> Option<LatencyShift> {
    let [before_p50_us, before_p99_us] = facts.impacts[index].before?.map(|ns| ns.map(us));
    let during = facts.summary.span(&SpanRef::During(index))?;
    let [during_p50_us, during_p99_us] = [Quantile::P50, Quantile::P99].map(|q| during.latency(q));
    let (during_p50_us, during_p99_us) = (during_p50_us?.map(us), during_p99_us?.map(us));
    Some(LatencyShift { before_p50_us, before_p99_us, during_p50_us, during_p99_us })
}

fn impact(seen: &Impact, applied: Option<Offset>, detection_s: Option<f64>, in_flight: Option<u64>) -> ImpactReport {
    ImpactReport {
        state: seen.state.word().to_owned(),
        onset_s: seen.onset.zip(applied).map(|(onset, at)| onset.since(at).as_secs_f64()),
        onset_at_s: seen.onset.map(Offset::as_secs_f64),
        recovery_s: seen.recovery_s,
        recovery_after_revert_s: seen.recovery_after_revert_s,
        recovered_at_s: seen.recovered_at.map(Offset::as_secs_f64),
        detection_s,
        longest_outage_s: seen.longest_outage_s,
        lost_requests: seen.lost_requests,
        failed: seen.failed,
        slow: seen.slow,
        latency: None,
        in_flight_when_applied: in_flight,
        cut_off: None,
        within_ms: seen.within.map(|w| w.as_secs_f64() * 1e3),
        baseline_good_ratio: seen.baseline_q,
        worst_good_ratio: seen.worst_q,
        reason: seen.reason.clone(),
    }
}

/// As the model says it.
pub fn verdict_word(verdict: Verdict) -> VerdictWord {
    match verdict {
        Verdict::Met => VerdictWord::Met,
        Verdict::Violated => VerdictWord::Violated,
        Verdict::Inconclusive => VerdictWord::Inconclusive,
    }
}

fn objective(plan: &Plan, j: &Judged) -> ObjectiveReport {
    let source = j.objective.map(|i| &plan.objectives[i]);
    let op = match (&j.metric, source.map(|o| o.op)) {
        (Metric::Probe(_), _) | (_, None) => "holds",
        (_, Some(Op::Max)) => "max",
        (_, Some(Op::Min)) => "min",
    };
    ObjectiveReport {
        metric: j.metric.word(),
        span: j.span.as_ref().map(|s| span_name(plan, s)),
        fault: match source.and_then(|o| o.median_of) {
            Some(repeat) => Some(format!("{}.median", plan.repeats[repeat].name)),
            None => j.fault.map(|i| plan.faults[i].name.clone()),
        },
        op: op.to_owned(),
        value: j.value,
        bound: source.map_or(0.0, |o| o.bound),
        unit: j.metric.unit().to_owned(),
        n: j.n,
        needed: j.needed,
        verdict: verdict_word(j.verdict),
        close: j.close,
        within_run: j.interval.map(|i| Bounds { low: finite(i.low), high: finite(i.high) }),
        reason: j.reason.clone(),
        line: source.map_or(0, |o| o.line),
    }
}

fn probe(plan: &Plan, name: &str, kind: &ProbeKind, log: &ProbeLog) -> ProbeReport {
    let result = |a: &crate::probe::Asked| ProbeResult {
        when: a.when.word().to_owned(),
        at_s: a.at_s,
        ok: a.ok,
        detail: a.detail.clone(),
    };
    ProbeReport {
        name: name.to_owned(),
        kind: kind.word().to_owned(),
        results: log.kept.iter().map(result).collect(),
        asked: log.asked,
        failed: log.failed,
        alerts: match kind {
            ProbeKind::Alert(wanted) => log.alerts.iter().map(|a| alert(plan, &wanted.alert, a)).collect(),
            _ => Vec::new(),
        },
    }
}

fn alert(plan: &Plan, name: &str, seen: &AlertOutcome) -> AlertReport {
    AlertReport {
        alert: name.to_owned(),
        fault: plan.faults[seen.fault].name.clone(),
        state: seen.fired.word().to_owned(),
        fired_at_s: seen.fired_at_s,
        not_fired_at_s: seen.not_fired_at_s,
        time_to_alert_s: seen.time_to_alert_s,
        time_to_alert_low_s: seen.time_to_alert_s.and(seen.no_sooner_s),
        active_at_s: seen.active_at_s,
        resolved_at_s: seen.resolved_at_s,
        text: seen.text.clone(),
    }
}

fn playbook_of(report: &Report, plan: &Plan, playbook: &Playbook) -> PlaybookReport {
    let fault = &plan.faults[playbook.fault].name;
    let step = |s: &Step| {
        let sign = s.seen_by.as_ref().map(|sign| match sign {
            Sign::OutOfRotation => playbook::Sign::OutOfRotation,
            Sign::ReplicaBack => playbook::Sign::ReplicaBack,
            Sign::Recovered => playbook::Sign::Recovered,
            Sign::Fallback => playbook::Sign::Fallback,
            Sign::Probe { probe, becomes_failing } => playbook::Sign::Probe { name: probe, passes: !becomes_failing },
        });
        let seen_by = s.seen_by.as_ref().map(Sign::words);
        let step = StepReport { by: s.by.word().to_owned(), step: s.text.clone(), seen_by, ..StepReport::default() };
        playbook::observe(report, fault, step, sign)
    };
    PlaybookReport { fault: fault.clone(), steps: playbook.steps.iter().map(step).collect() }
}

fn windows(facts: &Facts<'_>) -> Vec<WindowReport> {
    let (within, _) = facts.within;
    let limit = crate::hist::bucket_of(within);
    let window = |w: &Window| {
        let ok = w.latency_ok.count();
        let at = |share: f64, planned: u64| quantile_of(&w.latency_ok.buckets, rank_of(share, planned)).map(us);
        WindowReport {
            start_at_s: w.start.as_secs_f64(),
            duration_s: w.end.since(w.start).as_secs_f64(),
            phase: facts.plan.phases[w.phase.0 as usize].name.clone(),
            due_planned: w.planned,
            due_ok: ok,
            due_good: w.latency_ok.buckets.iter().take_while(|(b, _)| *b <= limit).map(|(_, n)| u64::from(*n)).sum(),
            due_failed: w.errors.iter().sum(),
            due_shed: w.shed,
            due_p50_us: at(0.5, w.planned),
            due_p95_us: at(0.95, w.planned),
            due_p99_us: at(0.99, w.planned),
            due_max_ok_us: (ok > 0).then(|| us(w.latency_ok.max_ns)),
            due_lag_p99_us: quantile_of(&w.lag.buckets, rank_of(0.99, w.lag.count())).map(us),
            streams: facts.plan.traffic.token_streams.then(|| stream_window(w)),
            quality: quality::window(&w.said),
            due_errors: ErrorClass::ALL
                .iter()
                .map(|c| (c.word().to_owned(), w.errors[*c as usize]))
                .filter(|(_, n)| *n > 0)
                .collect(),
            done_ok: w.done_ok,
            done_failed: w.done_failed,
            in_flight_max: w.in_flight_max,
            replicas_ready: (facts.replicas > 0).then(|| ready_at(facts.events, facts.replicas, w.end)),
        }
    };
    facts.windows.iter().map(window).collect()
}

fn stream_window(w: &Window) -> StreamWindow {
    // All but good answers that were no stream.
    let planned = w.planned - (w.latency_ok.count() - w.ttft.count());
    let ttft = |share: f64| quantile_of(&w.ttft.buckets, rank_of(share, planned)).map(us);
    let itl = |share: f64| quantile_of(&w.itl.buckets, rank_of(share, w.itl.count())).map(us);
    StreamWindow {
        due_ttft_p50_us: ttft(0.5),
        due_ttft_p99_us: ttft(0.99),
        due_itl_p50_us: itl(0.5),
        due_itl_p99_us: itl(0.99),
        done_tokens: w.done_tokens,
    }
}

fn quantile_of(buckets: &[(u16, u32)], rank: u64) -> Option<u64> {
    let mut seen = 0;
    buckets
        .iter()
        .find(|(_, n)| {
            seen += u64::from(*n);
            seen >= rank && rank > 0
        })
        .map(|(b, _)| bucket_top(*b))
}

/// Replicas in rotation at an instant, from the events: all are ready when load starts.
fn ready_at(events: &[PlatformEvent], replicas: usize, at: Offset) -> u64 {
    let mut ready = vec![true; replicas];
    for event in events.iter().filter(|e| e.at > Offset::ZERO && e.at < at) {
        let Some(state) = event.replica.and_then(|r| ready.get_mut(r as usize)) else { continue };
        match event.kind {
            PlatformEventKind::Ready => *state = true,
            PlatformEventKind::NotReady | PlatformEventKind::Exited => *state = false,
            PlatformEventKind::Started
            | PlatformEventKind::Terminating
            | PlatformEventKind::Scheduled
            | PlatformEventKind::Gone
            | PlatformEventKind::Note => {}
        }
    }
    ready.iter().filter(|r| **r).count() as u64
}

/// Columns at most.
const COLUMNS_MAX: u64 = 600;
/// Rows per factor of ten.
const ROWS_PER_DECADE: i32 = 8;

fn heatmap(plan: &Plan, windows: &[Window]) -> Heatmap {
    let lists = || windows.iter().filter(|w| !w.latency_ok.buckets.is_empty());
    let (Some(low), Some(high)) = (
        lists().map(|w| w.latency_ok.buckets[0].0).min(),
        lists().filter_map(|w| w.latency_ok.buckets.last()).map(|b| b.0).max(),
    ) else {
        return Heatmap::default();
    };
    let row_of = |ns: u64| (us(ns).max(1.0).log10() * f64::from(ROWS_PER_DECADE)).floor() as i32;
    let (first, last) = (row_of(bucket_top(low)), row_of(bucket_top(high)));
    let seconds = plan.end().as_secs_f64().ceil().max(1.0) as u64;
    let column_s = seconds.div_ceil(COLUMNS_MAX);
    let columns = seconds.div_ceil(column_s) as usize;
    let mut map = Heatmap {
        column_s: column_s as f64,
        edges_us: (first..=last + 1).map(|r| 10f64.powf(f64::from(r) / f64::from(ROWS_PER_DECADE))).collect(),
        columns: vec![vec![0; (last - first + 1) as usize]; columns],
        failed: vec![0; columns],
    };
    for window in windows {
        let column = ((window.start.as_secs_f64() / column_s as f64) as usize).min(columns - 1);
        map.failed[column] += window.shed + window.errors.iter().sum::<u64>();
        for (bucket, n) in &window.latency_ok.buckets {
            map.columns[column][(row_of(bucket_top(*bucket)) - first) as usize] += u64::from(*n);
        }
    }
    map
}

fn nines(plan: &Plan, summary: &RunSummary) -> Vec<NinesCurve> {
    let phases = plan.phases.iter().zip(&summary.phases).filter(|(p, _)| p.measured).map(|(p, s)| (p.name.clone(), s));
    let spans = summary
        .spans
        .iter()
        .filter(|(name, _)| matches!(name, SpanRef::During(_)))
        .map(|(name, s)| (span_name(plan, name), s));
    phases.chain(spans).filter(|(_, s)| s.planned > 0).map(|(name, stats)| curve(name, stats)).collect()
}

/// Points at 1 − 10^(−x), x from 0 in steps of 0.05: even on the axis of nines.
fn curve(span: String, stats: &SpanStats) -> NinesCurve {
    let n = stats.planned;
    let steps = ((n as f64).log10() / 0.05).ceil() as i32;
    let mut points = Vec::new();
    // One walk over the buckets, since ranks ascend.
    let mut buckets = stats.latency_ok.buckets().peekable();
    let mut seen = 0;
    for step in 0..=steps {
        let quantile = 1.0 - 10f64.powf(-0.05 * f64::from(step));
        let rank = rank_of(quantile, n);
        if rank > stats.ok {
            break;
        }
        while let Some((_, count)) = buckets.peek() {
            if seen + count >= rank {
                break;
            }
            seen += count;
            buckets.next();
        }
        let Some((bucket, _)) = buckets.peek() else { break };
        points.push((quantile, us(bucket_top(*bucket).min(stats.latency_ok.max()))));
    }
    NinesCurve { span, n, supported: (1.0 - 5.0 / n as f64).max(0.0), points }
}

fn event(e: &PlatformEvent) -> EventReport {
    let kind = match e.kind {
        PlatformEventKind::Started => "started",
        PlatformEventKind::Exited => "exited",
        PlatformEventKind::Terminating => "terminating",
        PlatformEventKind::Scheduled => "scheduled",
        PlatformEventKind::Gone => "gone",
        PlatformEventKind::Ready => "ready",
        PlatformEventKind::NotReady => "not_ready",
        PlatformEventKind::Note => "note",
    };
    EventReport { at_s: e.at.as_secs_f64(), replica: e.replica, kind: kind.to_owned(), text: e.text.clone() }
}

fn error_samples(errors: &[ErrorTrace]) -> Vec<ErrorSample> {
    let sample = |(class, trace): (&ErrorClass, &ErrorTrace)| ErrorSample {
        class: class.word().to_owned(),
        meaning: class.meaning().to_owned(),
        count: trace.count,
        first_at_s: trace.first.as_secs_f64(),
        last_at_s: trace.last.as_secs_f64(),
        sample: trace.sample.clone(),
    };
    ErrorClass::ALL.iter().zip(errors).filter(|(_, t)| t.count > 0).map(sample).collect()
}

fn plan_info(plan: &Plan, (within, within_source): (u64, &'static str)) -> PlanInfo {
    let targets = plan.objectives.iter().filter_map(|o| match (&o.metric, o.op) {
        (Metric::ErrorRate, Op::Max) => Some(1.0 - o.bound),
        (Metric::Availability | Metric::GoodRatio, Op::Min) => Some(o.bound),
        _ => None,
    });
    PlanInfo {
        duration_s: plan.end().as_secs_f64(),
        within_ms: within as f64 / 1e6,
        within_source: within_source.to_owned(),
        good_target: targets.fold(None, |best: Option<f64>, t| Some(best.map_or(t, |b| b.max(t)))),
        timeout_ms: plan.traffic.timeout.as_secs_f64() * 1e3,
        max_in_flight: plan.traffic.max_in_flight as u64,
        arrivals: match plan.traffic.process {
            Process::Uniform => "uniform",
            Process::Poisson => "poisson",
            Process::Gamma { .. } => "gamma",
        }
        .to_owned(),
        latency_bound_us: plan.tightest_latency_bound().map(|d| d.as_secs_f64() * 1e6),
        labelled_rows: match &plan.traffic.bodies {
            crate::plan::Bodies::Dataset(table) => table
                .labels
                .as_ref()
                .map(|labels| labels.iter().filter(|label| !label.trim().is_empty()).count() as u64),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bootstrap::Interval;
    use crate::plan::{Phase, Shape, tests_support};
    use crate::units::{PhaseId, Rate};

    #[test]
    fn a_value_stands_beside_its_own_interval() {
        let plan = tests_support::plan(vec![Phase {
            name: "load".into(),
            start: Offset::ZERO,
            duration: Duration::from_secs(60),
            load: Load::Open(Shape::Constant(Rate::per_second(10.0).unwrap())),
            measured: true,
        }]);
        let judged = |metric, value, low, high| Judged {
            objective: None,
            metric,
            span: Some(SpanRef::Phase(PhaseId(0))),
            fault: None,
            value: Some(value),
            n: 600,
            needed: 0,
            verdict: Verdict::Met,
            interval: Some(Interval { low, high }),
            close: false,
            reason: String::new(),
        };
        // Nearly all within 100 ms, none within 5.5 ms.
        let all = [
            judged(Metric::GoodRatio, 0.98, 0.97, 0.99),
            judged(Metric::GoodRatio, 0.0, 0.0, 0.0),
            judged(Metric::ErrorRate, 0.01, 0.005, 0.02),
        ];
        let known = MetricValue { value: Some(0.01), n: 600, ..MetricValue::default() };
        let metrics = BTreeMap::from([("error_rate".to_owned(), known)]);
        let phase = SpanReport { name: "load".into(), metrics, ..SpanReport::default() };
        let mut report = Report { phases: vec![phase], ..Report::default() };
        add_intervals(&mut report, &plan, &all);
        let seen = |word: &str| {
            let m = &report.phases[0].metrics[word];
            (m.value, m.low, m.high)
        };
        assert_eq!(seen("good_ratio"), (Some(0.98), Some(0.97), Some(0.99)));
        assert_eq!(seen("error_rate"), (Some(0.01), Some(0.005), Some(0.02)));
    }
}
