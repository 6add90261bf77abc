//! Slots into phases, spans and windows, after the run.

use std::collections::BTreeMap;
use std::io;

use crate::outcome::ErrorClass;
use crate::plan::{Plan, SpanRef};
use crate::record::collector::Collected;
use crate::record::part::{Part, Times, merge_buckets};
use crate::record::shard::VERSIONS_MAX;
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
    /// First token − due of good streams.
    pub ttft: Times,
    /// From one token to the next in good streams.
    pub itl: Times,
    /// Output tokens of good answers done in it.
    pub done_tokens: u64,
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
    let mut windows = empty_windows(plan, load_end);
    collected.for_each(|part| {
        add_to_span(&mut all.phases[part.phase.0 as usize], &part);
        let measured = plan.phases[part.phase.0 as usize].measured;
        add_to_slot(slots.entry((part.start, part.end)).or_default(), &part, measured);
        // One is missing for what came due while a stop made its way to the workers.
        let late = || Window { start: part.start, end: part.end, phase: part.phase, ..Window::default() };
        let window = windows.entry((part.start.0 / SECOND_NS, part.phase)).or_insert_with(late);
        add_to_window(window, &part);
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
    part.handshake.add_to(&mut span.handshake);
    part.ttft.add_to(&mut span.ttft);
    part.itl.add_to(&mut span.itl);
    span.output_tokens += part.output_tokens;
    span.done_tokens += part.done_tokens;
    span.quality.labelled += part.labelled;
    span.quality.correct += part.correct;
    span.quality.fallback_known += part.fallback_known;
    span.quality.fallback += part.fallback;
    for (name, n) in &part.versions {
        // Each worker keeps so many names of its own.
        let versions = &mut span.quality.versions;
        let name = if versions.len() < VERSIONS_MAX || versions.contains_key(name) { name } else { "other" };
        *versions.entry(name.to_owned()).or_default() += n;
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
    // What a stop cut off says nothing about the service.
    slot.planned += part.planned - part.errors[ErrorClass::Unfinished as usize];
    slot.ok += part.ok();
    slot.late += part.late;
    slot.client += part.errors[ErrorClass::Client as usize];
    slot.latency_ok = merge_buckets(&slot.latency_ok, &part.latency_ok.buckets);
}

/// One for every second of every phase until load stopped, so that a second in which nothing was due is seen as one.
fn empty_windows(plan: &Plan, load_end: Offset) -> BTreeMap<(u64, PhaseId), Window> {
    let mut windows = BTreeMap::new();
    for (index, phase) in plan.phases.iter().enumerate() {
        let (start, end, id) = (phase.start.0, phase.end().min(load_end).0, PhaseId(index as u16));
        for second in start / SECOND_NS..end.div_ceil(SECOND_NS) {
            let edges = (second * SECOND_NS).max(start)..((second + 1) * SECOND_NS).min(end);
            let window = Window { start: Offset(edges.start), end: Offset(edges.end), phase: id, ..Window::default() };
            if !edges.is_empty() {
                windows.insert((second, id), window);
            }
        }
    }
    windows
}

fn add_to_window(window: &mut Window, part: &Part) {
    window.planned += part.planned;
    window.shed += part.shed;
    window.errors.iter_mut().zip(part.errors).for_each(|(sum, n)| *sum += n);
    window.latency_ok.merge(&part.latency_ok);
    window.latency_failed.merge(&part.latency_failed);
    window.lag.merge(&part.lag);
    window.ttft.merge(&part.ttft);
    window.itl.merge(&part.itl);
    window.done_tokens += part.done_tokens;
    window.done_ok += part.done_ok;
    window.done_failed += part.done_failed;
    window.in_flight_max = window.in_flight_max.max(part.in_flight_max);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{Load, Phase, Shape};
    use crate::record::collector::Collector;
    use crate::units::Rate;

    const MS: u64 = 1_000_000;

    fn collected(parts: Vec<Part>) -> Collected {
        let dir = tempfile::tempdir().unwrap();
        let collector = Collector::start(dir.path().join("slots.tmp"));
        parts.into_iter().for_each(|part| collector.sender().send(part).unwrap());
        collector.finish().unwrap()
    }

    fn one_phase(ms: u64) -> Plan {
        let load = Load::Open(Shape::Constant(Rate::per_second(1.0).unwrap()));
        let duration = Duration::from_millis(ms);
        crate::plan::tests_support::plan(vec![Phase {
            name: "only".into(),
            start: Offset::ZERO,
            duration,
            load,
            measured: true,
        }])
    }

    fn part(start_ms: u64, planned: u64) -> Part {
        let (start, end) = (Offset(start_ms * MS), Offset((start_ms + 100) * MS));
        let mut part = Part { start, end, planned, sent: planned, ..Part::default() };
        part.errors[ErrorClass::Timeout as usize] = planned;
        part
    }

    #[test]
    fn a_window_is_its_whole_second_however_little_was_due() {
        let mut all = collected(vec![part(400, 1), part(2300, 1)]);
        let windows = assemble(&one_phase(2500), &mut all, Offset(2500 * MS)).unwrap().windows;
        let seen: Vec<_> = windows.iter().map(|w| (w.start.0 / MS, w.end.0 / MS, w.planned)).collect();
        assert_eq!(seen, [(0, 1000, 1), (1000, 2000, 0), (2000, 2500, 1)]);
    }

    #[test]
    fn what_a_stop_cut_off_is_counted_but_says_nothing_of_the_service() {
        let mut last = part(1000, 10);
        last.errors[ErrorClass::Timeout as usize] = 0;
        last.errors[ErrorClass::Unfinished as usize] = 10;
        let mut all = collected(vec![part(0, 5), last]);
        let assembled = assemble(&one_phase(9000), &mut all, Offset(1050 * MS)).unwrap();
        assert_eq!(assembled.phases[0].planned, 15);
        assert_eq!(assembled.slots.iter().map(|s| s.planned).collect::<Vec<_>>(), [5, 0]);
        assert_eq!(assembled.windows.iter().map(|w| w.planned).sum::<u64>(), 15);
    }

    #[test]
    fn version_names_are_bounded_over_all_workers() {
        let named = |worker: u64| {
            let versions = (0..32).map(|v| (format!("{worker}-{v}"), 1)).collect();
            Part { versions, ..part(0, 0) }
        };
        let mut all = collected((0..4).map(named).collect());
        let versions =
            assemble(&one_phase(1000), &mut all, Offset(1000 * MS)).unwrap().phases.remove(0).quality.versions;
        assert_eq!(versions.len(), 33);
        assert_eq!((versions["other"], versions.values().sum::<u64>()), (96, 128));
    }
}
