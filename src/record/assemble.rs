//! Slots into phases, spans and windows, after the run.

use std::collections::BTreeMap;
use std::io;

use crate::outcome::ErrorClass;
use crate::plan::{Payload, Plan, SpanRef};
use crate::record::collector::Collected;
use crate::record::part::{Part, Times, merge_buckets};
use crate::record::said::Said;
use crate::summary::{Altered, SecondStats, Slot, SpanStats};
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
    /// What good answers said.
    pub said: Said,
}

/// Everything by phase, by window, by slot.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// One per phase.
    pub phases: Vec<SpanStats>,
    /// In order of time.
    pub windows: Vec<Window>,
    /// In order of time. Where nothing was due or done there is none, so that their lengths add up to less than the run's.
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
        if !counts(plan, &mut all.phases[part.phase.0 as usize], &part) {
            return;
        }
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
    plan: &Plan,
    collected: &mut Collected,
    wanted: &[(SpanRef, Offset, Offset)],
) -> io::Result<BTreeMap<SpanRef, SpanStats>> {
    let empty = |(name, start, end): &(SpanRef, Offset, Offset)| {
        (name.clone(), SpanStats { start: *start, end: *end, ..SpanStats::default() })
    };
    let mut spans: BTreeMap<SpanRef, SpanStats> = wanted.iter().map(empty).collect();
    collected.for_each(|part| {
        for span in spans.values_mut().filter(|s| s.start <= part.start && part.start < s.end) {
            if counts(plan, span, &part) {
                add_to_span(span, &part);
            }
        }
    })?;
    Ok(spans)
}

/// What became of altered requests, per payload fault in the order of the plan. `windows` says when each was in force.
///
/// # Errors
/// When the spill file cannot be read.
pub fn altered(collected: &mut Collected, windows: &[(Offset, Offset)]) -> io::Result<Vec<Altered>> {
    let span = |start, end| SpanStats { start, end, ..SpanStats::default() };
    let empty = |(from, until): &(Offset, Offset)| Altered {
        altered: span(*from, *until),
        twins: span(*from, *until),
        ..Altered::default()
    };
    let mut all: Vec<Altered> = windows.iter().map(empty).collect();
    collected.for_each(|part| match part.altered_by.checked_sub(1) {
        Some(nth) => all.get_mut(nth as usize).into_iter().for_each(|a| add_to_span(&mut a.altered, &part)),
        None => {
            for a in all.iter_mut().filter(|a| a.twins.start <= part.start && part.start < a.twins.end) {
                add_to_span(&mut a.twins, &part);
            }
        }
    })?;
    Ok(all)
}

/// Notes what was altered in a span, and how the generator kept up with what counts apart. Does the part count in its other numbers?
fn counts(plan: &Plan, span: &mut SpanStats, part: &Part) -> bool {
    let Some(nth) = part.altered_by.checked_sub(1) else { return true };
    let (_, payload): (usize, &Payload) = plan.payloads().nth(nth as usize).expect("slots are made from the same plan");
    span.altered += part.planned;
    if !payload.include {
        span.altered_apart += part.planned;
        // Whether the generator kept up is asked of everything that it had to send.
        span.late_apart += part.late;
        span.client_apart += part.errors[ErrorClass::Client as usize];
        part.lag.add_to(&mut span.lag);
    }
    payload.include
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
    part.said.add_to(&mut span.quality);
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
    window.said.merge(&part.said);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::plan::{Alter, Expect, FaultKind, FaultPlan, FaultTarget, Lasts, Load, Phase, Shape, Via};
    use crate::record::collector::Collector;
    use crate::record::{Cuts, Sample, Shard};
    use crate::target::Facts;
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
            Part { said: Said { versions, ..Said::default() }, ..part(0, 0) }
        };
        let mut all = collected((0..4).map(named).collect());
        let versions =
            assemble(&one_phase(1000), &mut all, Offset(1000 * MS)).unwrap().phases.remove(0).quality.versions;
        assert_eq!(versions.len(), 33);
        assert_eq!((versions["other"], versions.values().sum::<u64>()), (96, 128));
    }

    const SECOND: u64 = 1_000 * MS;

    /// One arrival of the tests below: when it was due, when it was done, and whether it was good.
    type Ended = (u64, u64, bool);

    /// What workers' shards make of these, each worker having its own, over phases of so many seconds.
    fn measured(phases: &[(u64, bool)], workers: &[Vec<Ended>]) -> Assembled {
        let mut plan = one_phase(1000);
        let mut start = Offset::ZERO;
        plan.phases = phases
            .iter()
            .map(|(seconds, measured)| {
                let mut phase = plan.phases[0].clone();
                (phase.start, phase.duration, phase.measured) = (start, Duration::from_secs(*seconds), *measured);
                start = phase.end();
                phase
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let collector = Collector::start(dir.path().join("slots.tmp"));
        for worker in workers {
            let cuts = Arc::new(Cuts::default());
            let mut shard = Shard::new(&plan, cuts, MS, collector.sender());
            for (due, done, good) in worker.iter().copied() {
                let key = shard.planned(due);
                shard.sent(key, due, due, 1);
                let outcome = if good { Ok(Facts::default()) } else { Err((ErrorClass::Status5xx, "503")) };
                shard.done(key, &Sample { due, sent: due, done, outcome });
            }
            shard.finish();
        }
        assemble(&plan, &mut collector.finish().unwrap(), plan.end()).unwrap()
    }

    fn quantile(stats: &SpanStats, name: &str) -> Option<u64> {
        stats.latency(name.parse().unwrap()).unwrap()
    }

    fn payload_fault(name: &str, include: bool) -> FaultPlan {
        FaultPlan {
            name: name.into(),
            kind: FaultKind::Payload(Box::new(Payload {
                alter: Alter::Malformed,
                share: crate::units::Ratio::new(0.3).unwrap(),
                expect: Expect::Rejected,
                expect_share: crate::units::Ratio::new(1.0).unwrap(),
                include,
            })),
            target: FaultTarget::Requests,
            at: Offset::ZERO,
            lasts: Some(Lasts::UntilEnd),
            overlap: false,
            via: Via::Load,
        }
    }

    /// One phase of a second in which two payload faults alter every third request each: the first counts apart, the second does not.
    #[test]
    fn what_is_altered_is_counted_once_and_where_it_belongs() {
        let mut plan = one_phase(1000);
        plan.faults = vec![payload_fault("apart", false), payload_fault("beside", true)];
        let dir = tempfile::tempdir().unwrap();
        let collector = Collector::start(dir.path().join("slots.tmp"));
        let mut shard = Shard::new(&plan, Arc::new(Cuts::default()), MS, collector.sender());
        for i in 0..90u64 {
            let (due, stream) = (i * 10 * MS, (i % 3) as u16);
            let key = shard.planned_in(due, stream);
            if i >= 84 {
                shard.shed(key, due, due);
                continue;
            }
            shard.sent(key, due, due, 1);
            let outcome = if stream == 0 { Ok(Facts::default()) } else { Err((ErrorClass::Status4xx, "400")) };
            shard.done(key, &Sample { due, sent: due, done: due + (1 + u64::from(stream)) * MS, outcome });
        }
        let report = shard.finish();
        let rejected = |traces: &[crate::record::ErrorTrace]| traces[ErrorClass::Status4xx as usize].count;
        assert_eq!(
            (rejected(&report.errors), rejected(&report.altered[0])),
            (28, 28),
            "what is apart is no error of the run"
        );
        let mut all = collector.finish().unwrap();
        let assembled = assemble(&plan, &mut all, plan.end()).unwrap();
        let phase = &assembled.phases[0];
        assert_eq!((phase.planned, phase.altered, phase.altered_apart, phase.due()), (60, 60, 30, 90));
        assert_eq!((phase.ok, phase.failed(), phase.shed, phase.sent), (28, 28, 4, 56));
        assert_eq!(
            (phase.lag.count(), phase.late_apart, phase.kept_up()),
            (84, 0, true),
            "lag is of all that was sent"
        );
        assert_eq!(assembled.windows.iter().map(|w| w.planned).sum::<u64>(), 60);
        assert_eq!(
            assembled.slots.iter().map(|s| (s.planned, s.ok)).fold((0, 0), |a, s| (a.0 + s.0, a.1 + s.1)),
            (60, 28)
        );
        let span = (SpanRef::During(0), Offset::ZERO, Offset(500 * MS));
        let half = spans(&plan, &mut all, &[span]).unwrap().remove(&SpanRef::During(0)).unwrap();
        assert_eq!((half.planned, half.altered, half.altered_apart), (33, 33, 17));
        let window = (Offset::ZERO, plan.end());
        let seen = altered(&mut all, &[window, window]).unwrap();
        for a in &seen {
            assert_eq!((a.altered.planned, a.altered.shed, a.judged(), a.reached()), (30, 2, 28, 28));
            assert_eq!((a.rejected(), a.answered(), a.failed()), (28, 0, 0));
            assert_eq!((a.twins.planned, a.twins.ok, a.twins.shed), (30, 28, 2), "those that nobody altered");
        }
        assert_eq!(seen.iter().map(|a| a.altered.latency_failed.max()).collect::<Vec<_>>(), [2 * MS, 3 * MS]);
    }

    /// Everything is altered and counts apart, and the generator is two seconds late, or fails by itself.
    #[test]
    fn a_generator_that_falls_behind_with_what_is_counted_apart_is_seen() {
        let mut plan = one_phase(1000);
        plan.faults = vec![payload_fault("apart", false)];
        let altered = || Part { altered_by: 1, ..part(0, 10) };
        let span = |part: Part| {
            let mut all = collected(vec![part]);
            assemble(&plan, &mut all, plan.end()).unwrap().phases.remove(0)
        };
        let (good, late) = (span(altered()), span(Part { late: 10, ..altered() }));
        assert_eq!((good.planned, good.due(), good.kept_up()), (0, 10, true));
        assert_eq!((late.late, late.late_apart, late.kept_up()), (0, 10, false));
        let mut own = altered();
        (own.errors[ErrorClass::Timeout as usize], own.errors[ErrorClass::Client as usize]) = (0, 10);
        let own = span(own);
        assert_eq!((own.failed(), own.client_apart, own.kept_up()), (0, 10, false));
    }

    #[test]
    fn trap_15_answers_that_took_hours_are_counted_and_the_longest_is_shown_as_it_was() {
        let hours = |h: u64| (5 * MS, 5 * MS + h * 3600 * SECOND, true);
        let all = measured(&[(1, true)], &[vec![hours(2), hours(3), (6 * MS, 7 * MS, true)], vec![hours(10)]]);
        let (stats, window) = (&all.phases[0], &all.windows[0]);
        assert_eq!((stats.ok, stats.latency_ok.overflow(), window.latency_ok.overflow), (4, 3, 3));
        assert_eq!(stats.latency_max(), Some(Some(10 * 3600 * SECOND)));
        assert_eq!(window.latency_ok.max_ns, 10 * 3600 * SECOND);
        assert_eq!(stats.latency_ok.sum(), u128::from(15 * 3600 * SECOND + MS), "the mean is exact too");
        assert!(quantile(stats, "p50").unwrap() >= 3600 * SECOND);
    }

    #[test]
    fn trap_17_percentiles_of_unequal_workers_are_those_of_all_requests_together() {
        let mut chance = crate::rng::stream(crate::units::Seed(17), "workers");
        // One worker sees nine fast requests in ten, the other the slow tenth: their p99s have nothing to do with the whole's.
        let mut worker = |n: u64, from: f64, spread: f64| -> Vec<Ended> {
            let took = |chance: &mut _| (from * MS as f64 * (spread * crate::rng::unit(chance)).exp()) as u64;
            (0..n).map(|i| (i * 5 * SECOND / n, i * 5 * SECOND / n + took(&mut chance), true)).collect()
        };
        let workers = [worker(9_000, 1.0, 1.0), worker(1_000, 200.0, 2.0)];
        let all = measured(&[(5, true)], &workers);
        let sorted = |workers: &[Vec<Ended>]| {
            let mut raw: Vec<u64> = workers.iter().flatten().map(|(due, done, _)| done - due).collect();
            raw.sort_unstable();
            raw
        };
        let pooled = sorted(&workers);
        let at = |raw: &[u64], share: f64| raw[crate::hist::rank_of(share, raw.len() as u64) as usize - 1] as f64;
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            let (ours, truth) = (quantile(&all.phases[0], name).unwrap() as f64, at(&pooled, share));
            assert!((ours / truth - 1.0).abs() < 1e-3, "{name}: {ours} for {truth}");
        }
        let averaged = (at(&sorted(&workers[..1]), 0.99) + at(&sorted(&workers[1..]), 0.99)) / 2.0;
        assert!((averaged / at(&pooled, 0.99) - 1.0).abs() > 0.1, "here an average of percentiles would be wrong");
        // Windows come from the same slots.
        assert_eq!(all.windows.iter().map(|w| w.latency_ok.count()).sum::<u64>(), 10_000);
    }

    #[test]
    fn trap_18_fast_failures_do_not_improve_a_percentile() {
        let slow = |i: u64| (i * MS, i * MS + (100 + i) * MS, true);
        let fast_503 = |i: u64| (i * MS, i * MS + MS / 10, false);
        let p99 = |all: &Assembled| quantile(&all.phases[0], "p99");
        let clean = measured(&[(1, true)], &[(0..900).map(slow).collect()]);
        let few =
            measured(&[(1, true)], &[(0..900).map(|i| if i % 180 == 0 { fast_503(i) } else { slow(i) }).collect()]);
        let many =
            measured(&[(1, true)], &[(0..900).map(|i| if i % 9 == 0 { fast_503(i) } else { slow(i) }).collect()]);
        assert!(p99(&clean).is_some() && p99(&few) >= p99(&clean), "{:?} {:?}", p99(&few), p99(&clean));
        assert_eq!(p99(&many), None, "more than one in a hundred failed: the 99th percentile is infinite");
        // The other view, apart and named so: over good answers only, and over failures only.
        let stats = &many.phases[0];
        assert!(stats.latency_ok.quantile(0.5).unwrap() > 400 * MS);
        assert!(stats.latency_failed.max() < MS);
        assert_eq!((stats.planned, stats.ok, stats.failed()), (900, 800, 100));
    }

    #[test]
    fn trap_19_the_warm_up_is_in_no_denominator() {
        // A second of warm-up in which everything fails, then two good ones.
        let requests = (0..300).map(|i| (i * 10 * MS, i * 10 * MS + 5 * MS, i >= 100)).collect();
        let all = measured(&[(1, false), (2, true)], &[requests]);
        let [warm, load] = &all.phases[..] else { panic!("two phases") };
        assert_eq!((warm.planned, warm.ok, warm.failed()), (100, 0, 100), "counted, apart");
        assert_eq!((load.planned, load.ok, load.error_rate()), (200, 200, Some(0.0)));
        assert_eq!((warm.duration_s(), load.duration_s()), (1.0, 2.0), "each over its own length");
        assert!(all.slots.iter().all(|s| s.measured == (s.start.0 >= SECOND)), "recovery looks at measured slots only");
    }

    #[test]
    fn trap_20_a_request_belongs_to_the_phase_it_was_due_in_and_both_views_have_the_same_sum() {
        // Everything takes 400 ms: what is due in the last 400 ms of a phase is done in the next.
        let took = 400 * MS;
        let requests: Vec<Ended> = (0..160).map(|i| (i * 10 * MS, i * 10 * MS + took, i % 8 != 0)).collect();
        let all = measured(&[(1, true), (1, true)], &[requests]);
        let [first, second] = &all.phases[..] else { panic!("two phases") };
        assert_eq!((first.planned, second.planned), (100, 60));
        assert_eq!((first.ok + first.failed(), second.ok + second.failed()), (100, 60), "by due");
        let done = |from: u64, to: u64| -> u64 {
            let inside = |w: &&Window| from <= w.start.0 && w.start.0 < to;
            all.windows.iter().filter(inside).map(|w| w.done_ok + w.done_failed).sum()
        };
        assert_eq!((done(0, SECOND), done(SECOND, 2 * SECOND)), (60, 100), "by done");
        assert_eq!(first.ok + second.ok, first.done_ok + second.done_ok, "nothing is lost between the views");
    }
}
