//! After the run: numbers, impacts, verdicts, report, files.

use std::path::Path;
use std::time::Duration;

use crate::fault::injector::TargetRef;
use crate::fault::runner::FaultRecord;
use crate::impact::{self, FaultTimes, Impact};
use crate::objective::{self, FaultFacts, ProbeFacts};
use crate::plan::{Plan, ProbeKind, SpanRef};
use crate::platform::{Instance, PlatformEvent, PlatformEventKind};
use crate::probe::alert::{self, Fired};
use crate::probe::{Asked, ProbeLog, When};
use crate::record::assemble::{Assembled, assemble, spans};
use crate::report::build;
use crate::report::format::count;
use crate::report::model::{
    Ending, Environment, GeneratorReport, LagReport, LinkTime, Report, ScenarioInfo, VerdictWord,
};
use crate::report::{hlog, store};
use crate::run::{Finished, Measured, RunError, RunOptions, altered, scrapes, surroundings};
use crate::summary::{RunSummary, SpanStats};
use crate::units::{Offset, show_measured};

/// Judges what was measured and saves it.
pub(super) fn conclude(
    plan: &Plan,
    options: &RunOptions,
    id: &str,
    dir: &Path,
    environment: Environment,
    mut measured: Measured,
    left: Vec<String>,
) -> Result<Finished, RunError> {
    if measured.faults.len() < plan.faults.len() {
        measured.faults = plan.faults.iter().map(|f| never(f, plan.platform_word())).collect();
    }
    // Whoever cannot have a report must still hear what is left broken.
    let broken = left.clone();
    let kept = |e: std::io::Error| match broken.as_slice() {
        [] => RunError::Usage(format!("the report could not be kept: {}: {e}", dir.display())),
        left => {
            RunError::NotClean(format!("{}\nand the report could not be kept: {}: {e}", left.join("\n"), dir.display()))
        }
    };
    let numbers = numbers(plan, &mut measured).map_err(kept)?;
    let impacts = impacts(plan, &numbers.assembled, &measured);
    let mut summary = with_spans(plan, numbers, &impacts, &mut measured).map_err(kept)?;
    summary.run.altered = altered::conclude(plan, &mut measured).map_err(kept)?;
    tell_recoveries(&summary.run, &impacts, &mut measured);
    let times = fault_times(plan, &measured.faults);
    let detections = detections(&measured);
    let faults: Vec<FaultFacts> = (0..plan.faults.len())
        .map(|i| FaultFacts {
            times: times[i].clone(),
            proven: measured.faults[i].proof.proven(),
            evidence: measured.faults[i].proof.evidence.clone(),
            detection: detections[i].map(Duration::from_secs_f64),
            detection_watched: watched(&measured, &measured.faults[i]),
        })
        .collect();
    judge_alerts(plan, &mut measured);
    let probes: Vec<ProbeFacts> = measured.probes.iter().map(probe_facts).collect();
    let judging = objective::Facts { plan, summary: &summary.run, faults: &faults, probes: &probes };
    let judged = objective::judge_all(&judging);
    let generator = generator(plan, &summary.run, &measured);
    let sound = measured.ending == Ending::Completed && generator.kept_up;
    let verdict = run_verdict(objective::overall(&judged, &faults), sound);
    let clean = left.is_empty();
    let exit_code = objective::exit_code(clean, ending_of(&measured), verdict);
    let verdict = build::verdict_word(verdict);
    let frame = Report {
        id: id.to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: surroundings::started_at(&measured.clock),
        scenario: ScenarioInfo {
            name: plan.name.clone(),
            sha256: plan.source.sha256.clone(),
            path: plan.source.path.display().to_string(),
            lesson: plan.lesson.clone(),
        },
        seed: plan.seed.0,
        verdict,
        ending: measured.ending,
        clean,
        exit_code,
        generator,
        environment: Environment {
            replicas: measured.replicas,
            target: measured.url.as_ref().map(ToString::to_string).unwrap_or_default(),
            link_us: measured.endpoint.as_ref().and_then(|e| e.link_us).map(|(p50, p99)| LinkTime { p50, p99 }),
            ..environment
        },
        reproduce: options.reproduce.clone(),
        residue: left,
        scrapes: scrapes::reports(&measured.scrapes),
        ..Report::default()
    };
    let no_errors = Vec::new();
    let mut report = build::build(&build::Facts {
        plan,
        frame,
        summary: &summary.run,
        windows: &summary.windows,
        faults: &measured.faults,
        impacts: &impacts,
        detections: &detections,
        in_flight: &measured.in_flight_when_applied,
        judged: &judged,
        probes: &measured.probes,
        events: &measured.events,
        replicas: measured.replicas,
        errors: measured.load.as_ref().map_or(&no_errors, |l| &l.errors),
        altered_errors: measured.load.as_ref().map_or(&[][..], |l| l.altered.as_slice()),
        within: within(plan, &summary.run, &times),
    });
    build::costs::add_budgets(&mut report, plan, &summary.run.slots, &times, &impacts);
    report.fault_groups = build::costs::groups(&judging);
    report.reasons = reasons(&report, &measured);
    mask(&mut report, &plan.secrets);
    check_sums(&report);
    write_hlog(dir, plan, &summary, &measured).map_err(kept)?;
    write_scrapes(dir, plan, &measured).map_err(kept)?;
    store::save(dir, &report).map_err(kept)?;
    Ok(Finished { report, dir: dir.to_owned() })
}

/// Adds to the evidence of pods that were killed what only the load could see: when predictions were good again. What the
/// cluster did until then stands there already.
fn tell_recoveries(summary: &RunSummary, impacts: &[Impact], measured: &mut Measured) {
    for (record, impact) in measured.faults.iter_mut().zip(impacts) {
        let pods = record.targets.iter().filter_map(|t| match t {
            TargetRef::Replica { index, instance: Some(Instance::Pod { .. }) } => Some(*index),
            _ => None,
        });
        let pods: Vec<u16> = pods.collect();
        let Some(applied) = record.applied_at.filter(|_| !pods.is_empty() && record.reverted_at.is_none()) else {
            continue;
        };
        let ready = |e: &&PlatformEvent| {
            e.kind == PlatformEventKind::Ready && e.at > applied && e.replica.is_some_and(|r| pods.contains(&r))
        };
        if record.kind == "pod-kill"
            && let Some(ready) = measured.events.iter().find(ready)
            && let Some(slot) = summary.slots.iter().find(|s| s.start >= ready.at && s.ok > 0)
        {
            let within = show_measured(slot.end.since(applied));
            record.proof.evidence.push_str(&format!("; first good answers after that within {within}"));
        }
        if let Some(took) = impact.recovery_s.filter(|_| impact.recovered_at.is_some()) {
            let took = show_measured(Duration::from_secs_f64(took));
            record.proof.evidence.push_str(&format!("; the service was as good as before after {took}"));
        }
    }
}

/// A run that measured nothing, not to its end, or with a generator that fell behind cannot have met anything, even where nothing
/// was promised.
fn run_verdict(judged: objective::Verdict, sound: bool) -> objective::Verdict {
    if sound { judged } else { judged.max(objective::Verdict::Inconclusive) }
}

/// The record of a fault that the run did not come to.
fn never(fault: &crate::plan::FaultPlan, platform: &'static str) -> FaultRecord {
    FaultRecord {
        name: fault.name.clone(),
        kind: fault.kind.word(),
        via: fault.via.word(platform),
        mechanism: String::new(),
        planned_at: fault.at,
        applied_at: None,
        reverted_at: None,
        targets: Vec::new(),
        proof: crate::fault::injector::Proof::none("the run did not come to it"),
        errors: Vec::new(),
        residue: Vec::new(),
        not_applied: Some("the run did not come to it".to_owned()),
    }
}

struct Numbers {
    assembled: Assembled,
}

struct Summed {
    run: RunSummary,
    windows: Vec<crate::record::assemble::Window>,
}

fn numbers(plan: &Plan, measured: &mut Measured) -> std::io::Result<Numbers> {
    let end = measured.load_end;
    let assembled = match &mut measured.load {
        Some(load) => assemble(plan, &mut load.collected, end)?,
        None => assemble(plan, &mut crate::record::Collected::default(), Offset::ZERO)?,
    };
    Ok(Numbers { assembled })
}

fn fault_times(plan: &Plan, records: &[FaultRecord]) -> Vec<FaultTimes> {
    let times = |(p, r): (&crate::plan::FaultPlan, &FaultRecord)| FaultTimes {
        name: p.name.clone(),
        applied: r.applied_at.map(|at| slot_edge(p, at)),
        reverted: r.reverted_at,
        lasting: p.lasts.is_some(),
    };
    plan.faults.iter().zip(records).map(times).collect()
}

fn impacts(plan: &Plan, assembled: &Assembled, measured: &Measured) -> Vec<Impact> {
    let times = fault_times(plan, &measured.faults);
    (0..plan.faults.len())
        .map(|i| impact::measure(&assembled.slots, &times, i, impact::planned_within(plan, i)))
        .collect()
}

/// `during:` and `after:` of every fault that was applied (DESIGN section 2, Spans).
fn with_spans(plan: &Plan, numbers: Numbers, impacts: &[Impact], measured: &mut Measured) -> std::io::Result<Summed> {
    let mut wanted = Vec::new();
    for (i, record) in measured.faults.iter().enumerate() {
        let Some(applied) = record.applied_at.filter(|at| *at < measured.load_end) else { continue };
        let applied = slot_edge(&plan.faults[i], applied);
        let phase_end = plan.phases[plan.phase_at(applied).0 as usize].end();
        let over = match plan.faults[i].lasts {
            Some(_) => record.reverted_at.unwrap_or(measured.load_end),
            None => impacts[i].recovered_at.unwrap_or(phase_end),
        }
        .min(measured.load_end);
        let over = measured_until(plan, applied, over);
        wanted.push((SpanRef::During(i), applied, over));
        let next = measured.faults.iter().filter_map(|f| f.applied_at).filter(|at| *at > over).min();
        let until = next.unwrap_or(measured.load_end).min(measured.load_end);
        let until = measured_until(plan, over, until);
        if until > over {
            wanted.push((SpanRef::After(i), over, until));
        }
    }
    let spans = match &mut measured.load {
        Some(load) => spans(plan, &mut load.collected, &wanted)?,
        None => Default::default(),
    };
    let Assembled { phases, windows, slots } = numbers.assembled;
    Ok(Summed { run: RunSummary { phases, spans, slots, ..RunSummary::default() }, windows })
}

/// Where the slots of a fault begin. Workers cut them at its planned time; a fault that was applied within its 5 ms begins there,
/// so that no request that it hit is left out.
fn slot_edge(fault: &crate::plan::FaultPlan, applied: Offset) -> Offset {
    if applied.since(fault.at) <= ON_TIME { fault.at } else { applied }
}

/// A fault applied this late at most is on time (DESIGN section 8).
const ON_TIME: Duration = Duration::from_millis(5);

/// Warm-ups and cool-downs are in no denominator: a span ends where the next one begins.
fn measured_until(plan: &Plan, from: Offset, until: Offset) -> Offset {
    let unmeasured = plan.phases.iter().filter(|p| !p.measured && p.end() > from).map(|p| p.start.max(from));
    unmeasured.min().map_or(until, |start| start.min(until))
}

fn hits(record: &FaultRecord, replica: u16) -> bool {
    record.targets.iter().any(|t| matches!(t, TargetRef::Replica { index, .. } if *index == replica))
}

/// Until when what happens to its targets is this fault's doing: the next fault on one of them, or any that comes once this one
/// is over; after the load, our own stopping.
fn own_until(measured: &Measured, record: &FaultRecord) -> Option<Offset> {
    let applied = record.applied_at?;
    let ends = |f: &&FaultRecord| {
        let Some(at) = f.applied_at.filter(|at| *at > applied) else { return false };
        let shared = f.targets.iter().any(|t| matches!(t, TargetRef::Replica { index, .. } if hits(record, *index)));
        shared || record.reverted_at.is_none_or(|over| at >= over)
    };
    let next = measured.faults.iter().filter(ends).filter_map(|f| f.applied_at).min();
    Some(next.map_or(measured.load_end, |at| at.min(measured.load_end)))
}

/// applied → the platform took a target out of rotation, seconds.
fn detections(measured: &Measured) -> Vec<Option<f64>> {
    let of = |record: &FaultRecord| {
        let applied = record.applied_at?;
        let out = |kind| matches!(kind, PlatformEventKind::NotReady | PlatformEventKind::Exited);
        // A kill is seen by the supervisor before its caller has noted that it was done.
        let from = Offset(applied.0.saturating_sub(50_000_000));
        let until = own_until(measured, record)?;
        let mine = |replica: u16, at: Offset| hits(record, replica) && at < until;
        let event = measured
            .events
            .iter()
            .find(|e| e.at >= from && out(e.kind) && e.replica.is_some_and(|replica| mine(replica, e.at)))?;
        Some(event.at.since(applied).as_secs_f64())
    };
    measured.faults.iter().map(of).collect()
}

/// How long a detection was looked for: one that never came took longer.
fn watched(measured: &Measured, record: &FaultRecord) -> Duration {
    own_until(measured, record).zip(record.applied_at).map_or(Duration::ZERO, |(until, applied)| until.since(applied))
}

/// The looks at each alert, judged: one asking for each fault that it has to follow.
fn judge_alerts(plan: &Plan, measured: &mut Measured) {
    let applied = |f: &FaultRecord| Some((f.planned_at.as_secs_f64(), f.applied_at?.as_secs_f64()));
    let applied_s: Vec<_> = measured.faults.iter().map(applied).collect();
    let end_s = measured.load_end.as_secs_f64();
    for (probe, log) in plan.probes.iter().zip(&mut measured.probes) {
        let (ProbeKind::Alert(wanted), Some(every)) = (&probe.kind, probe.during) else { continue };
        // A run that never began has not looked, and promised nothing.
        if measured.load.is_none() {
            continue;
        }
        let times = alert::Times { applied_s: &applied_s, every_s: every.as_secs_f64(), end_s };
        log.alerts = alert::judge(wanted, &log.alert, &times);
        for outcome in log.alerts.clone() {
            let detail = format!("after {}: {}", plan.faults[outcome.fault].name, outcome.text);
            let ok = outcome.fired == Fired::Fired;
            let asked = Asked { when: When::After, at_s: end_s, ok, detail };
            if outcome.fired == Fired::Unknown { log.keep(asked) } else { log.note(asked) }
        }
    }
}

fn probe_facts(log: &ProbeLog) -> ProbeFacts {
    let before = |a: &&Asked| matches!(a.when, When::Before | When::BeforeFault);
    let asked_before = log.kept.iter().filter(before).count() as u64;
    let failed_before = log.kept.iter().filter(before).filter(|a| !a.ok).count() as u64;
    ProbeFacts {
        asked_before,
        failed_before,
        asked: log.asked - asked_before,
        failed: log.failed - failed_before,
        unknown: log.alerts.iter().find(|a| a.fired == Fired::Unknown).map(|a| a.text.clone()),
        first_failure: log.kept.iter().find(|a| !a.ok).map(|a| {
            let when =
                if a.when == When::During { format!("at {:.1} s", a.at_s) } else { a.when.word().replace('_', " ") };
            format!("{when}: {}", a.detail)
        }),
    }
}

fn ending_of(measured: &Measured) -> objective::Ending {
    match measured.ending {
        Ending::Completed => objective::Ending::Completed,
        Ending::Interrupted => objective::Ending::Interrupted,
        Ending::SafetyStop => {
            objective::Ending::SafetyStop { after_fault: measured.faults.iter().any(|f| f.applied_at.is_some()) }
        }
        Ending::NotStarted => objective::Ending::NotStarted,
    }
}

/// The limit of the compliance chart, ns, and where it came from.
fn within(plan: &Plan, summary: &RunSummary, times: &[FaultTimes]) -> (u64, &'static str) {
    let own = plan.objectives.iter().find_map(|o| o.within);
    let nanos = |d: Duration| d.as_nanos() as u64;
    match (plan.tightest_latency_bound(), own, impact::default_within(&summary.slots, times)) {
        (Some(bound), ..) => (nanos(bound), "tightest latency bound"),
        (None, Some(own), _) => (nanos(own), "`within` of an objective"),
        (None, None, Some(default)) => (nanos(default), "2 × baseline p99"),
        (None, None, None) => (nanos(plan.traffic.timeout), "timeout"),
    }
}

fn generator(plan: &Plan, summary: &RunSummary, measured: &Measured) -> GeneratorReport {
    let mut lag = crate::hist::Hist::new();
    summary.phases.iter().for_each(|p| lag.merge(&p.lag));
    let us = |ns: Option<u64>| ns.map(|n| n as f64 / 1e3);
    let phases = plan.phases.iter().zip(&summary.phases).filter(|(p, _)| p.measured);
    let behind: Vec<String> = phases.filter_map(|(p, s)| lateness(&p.name, s)).collect();
    let kept_up = behind.is_empty();
    // A phase may keep up while a short span within it did not: its objectives are open, so its numbers are told.
    let spans = summary.spans.iter().filter_map(|(name, s)| lateness(&build::span_name(plan, name), s));
    let note = if kept_up { spans.collect() } else { behind };
    GeneratorReport {
        lag_us: LagReport {
            p50: us(lag.quantile(0.5)),
            p99: us(lag.quantile(0.99)),
            max: (lag.count() > 0).then(|| lag.max() as f64 / 1e3),
        },
        cpu_s: measured.load.as_ref().map_or(0.0, |l| l.cpu.as_secs_f64()),
        max_rss_bytes: surroundings::max_rss(),
        kept_up,
        workers: measured.workers,
        late_limit_us: crate::engine::late_limit(plan).as_secs_f64() * 1e6,
        note: note.join("; "),
        max_in_flight: measured.in_flight_max,
        connections: measured.connections.opened,
        tls_handshakes: measured.connections.handshakes,
        tls_resumed: measured.connections.resumed,
        dns_look_ups: measured.look_ups.count,
        dns_slowest_us: measured.look_ups.slowest.as_secs_f64() * 1e6,
    }
}

/// How the generator fell behind in a span, in numbers; none when it kept up.
fn lateness(name: &str, stats: &SpanStats) -> Option<String> {
    let client = stats.errors[crate::outcome::ErrorClass::Client as usize] + stats.client_apart;
    let (planned, late) = (count(stats.due()), stats.late + stats.late_apart);
    let late = (late > 0).then(|| format!("{} of {planned} requests were not sent in time", count(late)));
    let own = (client > 0).then(|| format!("{} of {planned} failed on our own side", count(client)));
    let all: Vec<String> = late.into_iter().chain(own).collect();
    (!stats.kept_up()).then(|| format!("{name}: {}", all.join(", ")))
}

/// Why the verdict is what it is, most important first.
fn reasons(report: &Report, measured: &Measured) -> Vec<String> {
    let mut reasons = report.residue.clone();
    reasons.extend(measured.why.iter().cloned());
    // What did not start has nothing else to say: that nothing was judged and proven follows from it.
    if report.ending == Ending::NotStarted && !measured.why.is_empty() {
        return reasons;
    }
    let objectives = |wanted: VerdictWord| report.objectives.iter().filter(move |o| o.verdict == wanted);
    let name = |o: &crate::report::model::ObjectiveReport| match (&o.span, &o.fault) {
        (Some(place), _) | (None, Some(place)) => format!("{} of {place}", o.metric),
        (None, None) => o.metric.clone(),
    };
    reasons.extend(objectives(VerdictWord::Violated).map(|o| format!("{}: {}", name(o), o.reason)));
    reasons.extend(
        report
            .faults
            .iter()
            .filter(|f| !f.proof.proven)
            .map(|f| format!("fault {} is not proven: {}", f.name, f.proof.evidence)),
    );
    if !report.generator.note.is_empty() {
        reasons.push(format!("the generator fell behind: {}", report.generator.note));
    }
    let open = objectives(VerdictWord::Inconclusive).filter(|o| o.reason != objective::GENERATOR_LATE);
    reasons.extend(open.map(|o| format!("{}: {}", name(o), o.reason)));
    reasons
}

/// No value of a `${VAR}` reaches a report.
fn mask(report: &mut Report, secrets: &[String]) {
    if secrets.is_empty() {
        return;
    }
    // Longest first: a short secret must not cut a longer one in two and leave its end.
    let mut longest_first: Vec<&str> = secrets.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
    longest_first.sort_by_key(|s| std::cmp::Reverse(s.len()));
    let mut value = serde_json::to_value(&*report).expect("the model is JSON");
    mask_value(&mut value, &longest_first);
    *report = serde_json::from_value(value).expect("masking changes free text only");
}

/// Keys whose values are words of ours and mean something to programs: a `${VAR}` that happens to be `met` hides nothing.
const OUR_WORDS: [&str; 12] = [
    "schema",
    "verdict",
    "ending",
    "tool_version",
    "started_at",
    "sha256",
    "kind",
    "op",
    "unit",
    "level",
    "state",
    "class",
];

fn mask_value(value: &mut serde_json::Value, secrets: &[&str]) {
    match value {
        serde_json::Value::String(text) => *text = masked(text, secrets),
        serde_json::Value::Array(list) => list.iter_mut().for_each(|v| mask_value(v, secrets)),
        serde_json::Value::Object(map) => {
            map.iter_mut().filter(|(key, _)| !OUR_WORDS.contains(&key.as_str())).for_each(|(key, v)| match v {
                // Keys of this map are what answers said; all others are our own.
                serde_json::Value::Object(versions) if key == "versions" => {
                    let whole = std::mem::take(versions);
                    versions.extend(whole.into_iter().map(|(name, n)| (masked(&name, secrets), n)));
                }
                _ => mask_value(v, secrets),
            });
        }
        _ => {}
    }
}

fn masked(text: &str, secrets: &[&str]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

/// A number that does not add up would be our bug, and must not be published.
fn check_sums(report: &Report) {
    for span in report.phases.iter().chain(&report.spans) {
        let ended = span.ok + span.errors.values().sum::<u64>() + span.shed;
        assert_eq!(span.planned, ended, "planned = ok + errors + shed in {}", span.name);
    }
    for (f, a) in report.faults.iter().filter_map(|f| f.altered.as_ref().map(|a| (f, a))) {
        let ended = a.answered + a.errors.values().sum::<u64>() + a.shed;
        assert_eq!(a.planned, ended, "planned = answered + errors + shed of what {} altered", f.name);
    }
}

fn write_hlog(dir: &Path, plan: &Plan, summary: &Summed, measured: &Measured) -> std::io::Result<()> {
    let head = hlog::Head {
        tool_version: env!("CARGO_PKG_VERSION"),
        scenario: &plan.name,
        run: dir.file_name().and_then(|n| n.to_str()).unwrap_or_default(),
        started_at: &surroundings::started_at(&measured.clock),
    };
    let hists = |times: &crate::record::Times| {
        let mut hist = crate::hist::Hist::new();
        times.add_to(&mut hist);
        hist
    };
    let intervals = summary.windows.iter().map(|window| hlog::Interval {
        start_s: window.start.as_secs_f64(),
        len_s: window.end.since(window.start).as_secs_f64(),
        phase: &plan.phases[window.phase.0 as usize].name,
        ok: hists(&window.latency_ok),
        failed: hists(&window.latency_failed),
        ttft: hists(&window.ttft),
        itl: hists(&window.itl),
    });
    let mut out = Vec::new();
    hlog::write(&mut out, &head, intervals)?;
    std::fs::write(dir.join("latency.hlog"), out)
}

/// Every value that was read; the report keeps as many as its charts show. Like the histograms, written once.
fn write_scrapes(dir: &Path, plan: &Plan, measured: &Measured) -> std::io::Result<()> {
    if measured.scrapes.is_empty() {
        return Ok(());
    }
    let bytes = scrapes::csv(&measured.scrapes, &|text| plan.mask(text));
    std::fs::write(dir.join("scrape.csv"), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::injector::Proof;
    use crate::plan::tests_support::plan;

    fn at(seconds: f64) -> Offset {
        Offset::from_secs_f64(seconds)
    }

    fn on_replica(index: u16, applied: f64) -> FaultRecord {
        FaultRecord {
            name: "fault".into(),
            kind: "network-delay",
            via: "local",
            mechanism: String::new(),
            planned_at: at(applied),
            applied_at: Some(at(applied)),
            reverted_at: None,
            targets: vec![TargetRef::Replica { index, instance: None }],
            proof: Proof::none(""),
            errors: Vec::new(),
            residue: Vec::new(),
            not_applied: None,
        }
    }

    fn out(replica: u16, seconds: f64) -> PlatformEvent {
        PlatformEvent { at: at(seconds), replica: Some(replica), kind: PlatformEventKind::Exited, text: String::new() }
    }

    #[test]
    fn a_detection_is_of_its_own_fault_and_never_our_stopping() {
        let mut measured = Measured::nothing(&plan(Vec::new()));
        measured.load_end = at(60.0);
        measured.faults = vec![on_replica(0, 10.0), on_replica(1, 20.0), on_replica(0, 30.0)];
        measured.events = vec![out(0, 30.0), out(0, 60.1), out(1, 60.1)];
        assert_eq!(detections(&measured), [None, None, Some(0.0)]);
        measured.events.insert(0, out(0, 12.0));
        assert_eq!(detections(&measured), [Some(2.0), None, Some(0.0)]);
        // The next fault is another one's doing, wherever it strikes; nobody looked longer than that.
        measured.events[0] = out(0, 25.0);
        assert_eq!(detections(&measured)[0], None);
        assert_eq!(watched(&measured, &measured.faults[0]), Duration::from_secs(10));
        assert_eq!(watched(&measured, &measured.faults[2]), Duration::from_secs(30));
    }

    #[test]
    fn a_run_without_objectives_whose_generator_fell_behind_is_not_met() {
        use objective::Verdict::{Inconclusive, Met, Violated};
        let phase = crate::plan::Phase {
            name: "only".into(),
            start: Offset::ZERO,
            duration: Duration::from_secs(10),
            load: crate::plan::Load::Open(crate::plan::Shape::Constant(crate::units::Rate::per_second(100.0).unwrap())),
            measured: true,
        };
        let plan = plan(vec![phase]);
        let measured = Measured::nothing(&plan);
        let of = |late| {
            let stats = SpanStats { planned: 1000, ok: 1000, late, ..SpanStats::default() };
            generator(&plan, &RunSummary { phases: vec![stats], ..RunSummary::default() }, &measured)
        };
        assert!(of(10).kept_up && of(10).note.is_empty());
        assert!(!of(11).kept_up);
        assert_eq!(of(11).note, "only: 11 of 1,000 requests were not sent in time");
        let judged = objective::overall(&[], &[]);
        assert_eq!((run_verdict(judged, true), run_verdict(judged, of(11).kept_up)), (Met, Inconclusive));
        assert_eq!(run_verdict(Violated, false), Violated);
    }

    #[test]
    fn secrets_are_masked_whole_and_our_own_words_stay() {
        let mut report = Report { verdict: VerdictWord::Met, ..Report::default() };
        report.reasons = vec!["header abcdef, then abc".into()];
        report.phases.push(crate::report::model::SpanReport::default());
        report.phases[0].quality.versions.insert("v-abcdef".into(), 3);
        mask(&mut report, &["abc".into(), "abcdef".into(), "met".into()]);
        assert_eq!(report.reasons, ["header ***, then ***"]);
        assert_eq!(report.phases[0].quality.versions.keys().collect::<Vec<_>>(), ["v-***"]);
        assert_eq!(report.verdict, VerdictWord::Met);
    }
}
