//! Slots into phases, spans and windows, after the run.

use std::collections::BTreeMap;
use std::io;

use crate::outcome::ErrorClass;
use crate::plan::{Plan, SpanRef};
use crate::record::collector::Collected;
use crate::record::part::{Part, Times, merge_buckets};
use crate::summary::{SecondStats, Slot, SpanStats};
use crate::units::{Offset, PhaseId};

/// One second of one phase.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// First instant.
    pub start: Offset,
    /// First instant after it.
    pub end: Offset,
    /// Its phase.
    pub phase: PhaseId,
    /// Arrivals due in it.
    pub planned: u64,
    /// Of those, shed.
    pub shed: u64,
    /// Of those, not good, by class.
    pub errors: [u64; ErrorClass::ALL.len()],
    /// Of the good ones.
    pub latency_ok: Times,
    /// Of the failed ones.
    pub latency_failed: Times,
    /// sent − due.
    pub lag: Times,
    /// Good answers done in it.
    pub done_ok: u64,
    /// Failures that ended in it.
    pub done_failed: u64,
    /// Most requests in flight, over all workers.
    pub in_flight_max: u64,
}

/// Everything by phase, by window, by slot.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// One per phase.
    pub phases: Vec<SpanStats>,
    /// In order of time.
    pub windows: Vec<Window>,
    /// In order of time.
    pub slots: Vec<Slot>,
}

/// Merges everything that was collected. `load_end` is when load stopped: phases end there at the latest.
///
/// # Errors
/// When the spill file cannot be read.
pub fn assemble(plan: &Plan, collected: &mut Collected, load_end: Offset) -> io::Result<Assembled> {
    let phase = |p: &crate::plan::Phase| SpanStats {
        start: p.start.min(load_end),
        end: p.end().min(load_end),
        ..SpanStats::default()
    };
    let mut all = Assembled { phases: plan.phases.iter().map(phase).collect(), ..Assembled::default() };
    let mut slots: BTreeMap<(Offset, Offset), Slot> = BTreeMap::new();
    let mut windows: BTreeMap<(u64, PhaseId), Window> = BTreeMap::new();
    collected.for_each(|part| {
        add_to_span(&mut all.phases[part.phase.0 as usize], &part);
        let measured = plan.phases[part.phase.0 as usize].measured;
        add_to_slot(slots.entry((part.start, part.end)).or_default(), &part, measured);
        add_to_window(windows.entry((part.start.0 / SECOND_NS, part.phase)).or_default(), &part, load_end);
    })?;
    all.slots = slots.into_values().collect();
    all.windows = windows.into_values().collect();
    Ok(all)
}

/// The statistics of stretches of time that were only known afterwards.
///
/// # Errors
/// When the spill file cannot be read.
pub fn spans(
    collected: &mut Collected,
    wanted: &[(SpanRef, Offset, Offset)],
) -> io::Result<BTreeMap<SpanRef, SpanStats>> {
    let empty = |(name, start, end): &(SpanRef, Offset, Offset)| {
        (name.clone(), SpanStats { start: *start, end: *end, ..SpanStats::default() })
    };
    let mut spans: BTreeMap<SpanRef, SpanStats> = wanted.iter().map(empty).collect();
    collected.for_each(|part| {
        for span in spans.values_mut().filter(|s| s.start <= part.start && part.start < s.end) {
            add_to_span(span, &part);
        }
    })?;
    Ok(spans)
}

const SECOND_NS: u64 = 1_000_000_000;

fn add_to_span(span: &mut SpanStats, part: &Part) {
    span.planned += part.planned;
    span.sent += part.sent;
    span.ok += part.ok();
    span.shed += part.shed;
    span.late += part.late;
    span.done_ok += part.done_ok;
    span.errors.iter_mut().zip(part.errors).for_each(|(sum, n)| *sum += n);
    part.latency_ok.add_to(&mut span.latency_ok);
    part.latency_failed.add_to(&mut span.latency_failed);
    part.service.add_to(&mut span.service);
    part.lag.add_to(&mut span.lag);
    part.connect.add_to(&mut span.connect);
    span.quality.labelled += part.labelled;
    span.quality.correct += part.correct;
    span.quality.fallback_known += part.fallback_known;
    span.quality.fallback += part.fallback;
    for (name, n) in &part.versions {
        *span.quality.versions.entry(name.clone()).or_default() += n;
    }
    let second = part.start.0 / SECOND_NS;
    if span.seconds.last().is_none_or(|s| s.start.0 / SECOND_NS != second) {
        span.seconds.push(SecondStats { start: part.start, ..SecondStats::default() });
    }
    let last = span.seconds.last_mut().expect("pushed above");
    last.planned += part.planned;
    last.ok += part.ok();
    last.latency_ok = merge_buckets(&last.latency_ok, &part.latency_ok.buckets);
}

fn add_to_slot(slot: &mut Slot, part: &Part, measured: bool) {
    (slot.start, slot.end, slot.phase, slot.measured) = (part.start, part.end, part.phase, measured);
    slot.planned += part.planned;
    slot.ok += part.ok();
    slot.latency_ok = merge_buckets(&slot.latency_ok, &part.latency_ok.buckets);
}

fn add_to_window(window: &mut Window, part: &Part, load_end: Offset) {
    if window.end == Offset::ZERO {
        (window.start, window.phase) = (part.start, part.phase);
    }
    window.end = window.end.max(part.end.min(load_end));
    window.planned += part.planned;
    window.shed += part.shed;
    window.errors.iter_mut().zip(part.errors).for_each(|(sum, n)| *sum += n);
    window.latency_ok.merge(&part.latency_ok);
    window.latency_failed.merge(&part.latency_failed);
    window.lag.merge(&part.lag);
    window.done_ok += part.done_ok;
    window.done_failed += part.done_failed;
    window.in_flight_max = window.in_flight_max.max(part.in_flight_max);
}

#[cfg(test)]
pub(crate) mod tests_support {
    use crate::plan::*;
    use crate::units::Seed;
    use std::time::Duration;

    /// A plan of these phases and nothing else, for tests.
    pub(crate) fn plan(phases: Vec<Phase>) -> Plan {
        Plan {
            name: "test".into(),
            lesson: String::new(),
            source: Source::default(),
            seed: Seed(42),
            target: Target {
                protocol: Protocol::Http,
                url: None,
                path: "/".into(),
                headers: vec![],
                ca: None,
                method: "POST".into(),
                expect_status: vec![200],
                answer: AnswerPaths::default(),
            },
            platform: None,
            traffic: Traffic {
                bodies: Bodies::One("{}".into()),
                process: Process::Uniform,
                timeout: Duration::from_secs(1),
                max_in_flight: 2048,
                connections: None,
                connection_max_age: None,
                max_answer: 1 << 20,
            },
            phases,
            faults: vec![],
            probes: vec![],
            objectives: vec![],
            safety: Safety::default(),
            warnings: vec![],
            secrets: vec![],
        }
    }
}
