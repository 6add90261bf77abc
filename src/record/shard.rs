//! One worker's slots while they fill.
//!
//! A slot stays open until every request due in it has ended, then it is handed to the collector. Its edges are the
//! 100 ms grid, the phases' edges and the moments at which a fault was applied or reverted, so that a slot
//! belongs to exactly one stretch of time. Requests remember their slot, so that a cut made after they were
//! planned moves none of them.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::hist::{HIGHEST_NS, bucket_of};
use crate::outcome::ErrorClass;
use crate::plan::Plan;
use crate::record::part::Part;
use crate::record::said::{self, Names};
use crate::record::{Cuts, SLOT_NS};
use crate::target::{Age, Facts, Tokens};
use crate::units::{Offset, PhaseId};

/// Names a slot that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey(u32);

/// Where slots begin and end.
#[derive(Clone, Debug)]
pub struct Edges {
    phases: Vec<(u64, u64)>,
    cuts: Vec<u64>,
}

impl Edges {
    /// Of this plan, no cuts yet.
    pub fn new(plan: &Plan) -> Edges {
        Edges { phases: plan.phases.iter().map(|p| (p.start.0, p.end().0)).collect(), cuts: Vec::new() }
    }

    /// The slot that an instant falls into; none before the first phase or after the last.
    fn around(&self, at: u64) -> Option<(u64, u64, PhaseId)> {
        let phase = self.phases.partition_point(|(start, _)| *start <= at).checked_sub(1)?;
        let (phase_start, phase_end) = self.phases[phase];
        if at >= phase_end {
            return None;
        }
        let grid = at / SLOT_NS * SLOT_NS;
        let cut = self.cuts.partition_point(|c| *c <= at);
        let cut_before = if cut > 0 { self.cuts[cut - 1] } else { 0 };
        let cut_after = self.cuts.get(cut).copied().unwrap_or(u64::MAX);
        let start = grid.max(phase_start).max(cut_before);
        let end = (grid + SLOT_NS).min(phase_end).min(cut_after);
        Some((start, end, PhaseId(phase as u16)))
    }
}

/// How one sent request ended.
#[derive(Debug)]
pub struct Sample<'a> {
    /// When it should have started.
    pub due: u64,
    /// When it did.
    pub sent: u64,
    /// When it ended.
    pub done: u64,
    /// Good, and what it said; or why not, with a sample of what was seen.
    pub outcome: Result<Facts<'a>, (ErrorClass, &'a str)>,
}

/// First and last sight of an error class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorTrace {
    /// How many.
    pub count: u64,
    /// Due time of the first.
    pub first: Offset,
    /// Due time of the last.
    pub last: Offset,
    /// What was seen first.
    pub sample: String,
}

/// What a worker hands over when it ends.
#[derive(Debug, Default)]
pub struct ShardReport {
    /// By class, what is counted apart left out.
    pub errors: [ErrorTrace; ErrorClass::ALL.len()],
    /// Of what each payload fault altered, likewise.
    pub altered: Vec<[ErrorTrace; ErrorClass::ALL.len()]>,
}

#[derive(Debug, Default)]
struct OpenSlot {
    start: u64,
    end: u64,
    pending: u64,
    in_use: bool,
    stream: u16,
    part: Part,
    latency_ok: Vec<u16>,
    latency_failed: Vec<u16>,
    service: Vec<u16>,
    lag: Vec<u16>,
    connect: Vec<u16>,
    handshake: Vec<u16>,
    ttft: Vec<u16>,
    itl: Vec<u16>,
    ages: Vec<u16>,
    versions: Vec<u64>,
    levels: Vec<u64>,
}

impl OpenSlot {
    /// What a good answer said, names aside.
    fn said(&mut self, facts: &Facts<'_>) {
        let said = &mut self.part.said;
        said.labelled += u64::from(facts.labelled);
        said.correct += u64::from(facts.correct);
        said.compared += u64::from(facts.compared);
        said.agreed += u64::from(facts.agreed);
        said.fallback_known += u64::from(facts.fallback.is_some());
        said.fallback += u64::from(facts.fallback == Some(true));
        if let Some(Age::Micros(age)) = facts.age {
            // A microsecond here takes the place of a nanosecond, so that the histogram ends at 1000 hours.
            let age = age.min(u64::from(u32::MAX) << 16);
            self.ages.push(bucket_of(age));
            said.ages.note(age);
        }
    }

    /// What a good answer said in tokens.
    fn tokens(&mut self, tokens: &Tokens<'_>, due: u64) {
        self.part.output_tokens += tokens.count;
        if let Some(first) = tokens.first {
            let ttft = first.saturating_sub(due);
            self.ttft.push(bucket_of(ttft));
            self.part.ttft.note(ttft);
        }
        self.itl.extend_from_slice(tokens.gaps);
        self.part.itl.sum_ns += tokens.gaps_sum;
        self.part.itl.max_ns = self.part.itl.max_ns.max(tokens.gaps_max);
        self.part.itl.overflow += u64::from(tokens.gaps_max > HIGHEST_NS);
    }
}

/// One worker's records.
pub struct Shard {
    edges: Edges,
    cuts: Arc<Cuts>,
    seen_cuts: usize,
    slots: Vec<OpenSlot>,
    free: Vec<u32>,
    /// The newest slot of each stream: what nobody altered, and what each payload fault did.
    current: Vec<Option<SlotKey>>,
    /// By stream: counted apart from everything else.
    apart: Vec<bool>,
    versions: Names,
    levels: Names,
    late_limit: u64,
    /// Room to count in, see [`Times::pack`](super::part::Times::pack).
    counts: Vec<u32>,
    out: Sender<Part>,
    report: ShardReport,
}

impl Shard {
    /// An empty one. `late_limit` is the lag, in ns, above which an arrival counts as late.
    pub fn new(plan: &Plan, cuts: Arc<Cuts>, late_limit: u64, out: Sender<Part>) -> Shard {
        let apart: Vec<bool> = std::iter::once(false).chain(plan.payloads().map(|(_, p)| !p.include)).collect();
        Shard {
            edges: Edges::new(plan),
            cuts,
            seen_cuts: 0,
            slots: Vec::new(),
            free: Vec::new(),
            current: vec![None; apart.len()],
            versions: Names::default(),
            levels: Names::default(),
            late_limit,
            counts: Vec::new(),
            out,
            report: ShardReport {
                altered: apart[1..].iter().map(|_| Default::default()).collect(),
                ..ShardReport::default()
            },
            apart,
        }
    }

    /// Takes over new cuts. Once per loop turn.
    pub fn look_for_cuts(&mut self) {
        let generation = self.cuts.generation();
        if generation == self.seen_cuts {
            return;
        }
        self.seen_cuts = generation;
        self.edges.cuts = self.cuts.list();
        for SlotKey(key) in self.current.iter().flatten().copied() {
            let slot = &mut self.slots[key as usize];
            if let Some(cut) = self.edges.cuts.iter().find(|c| (slot.start + 1..slot.end).contains(c)) {
                slot.end = *cut;
            }
        }
    }

    /// An arrival came due. It must end in exactly one of `shed` and `done`.
    pub fn planned(&mut self, due: u64) -> SlotKey {
        self.planned_in(due, 0)
    }

    /// Likewise, in a stream of its own: 0, or the place of the payload fault that alters it, from 1.
    pub fn planned_in(&mut self, due: u64, stream: u16) -> SlotKey {
        let key = self.slot_at(due, stream).expect("arrivals are due inside a phase");
        let slot = &mut self.slots[key.0 as usize];
        slot.part.planned += 1;
        slot.pending += 1;
        key
    }

    /// It was not sent: the in-flight limit was reached when its turn came, at `now`. A generator that comes too late
    /// sheds what it should have sent one by one, so this may be late as a sent one may.
    pub fn shed(&mut self, key: SlotKey, due: u64, now: u64) {
        self.note_late(key, due, now);
        self.slots[key.0 as usize].part.shed += 1;
        self.ended(key);
    }

    /// Its turn had not come when the run ended, at `now`. `done` follows.
    pub fn unsent(&mut self, key: SlotKey, due: u64, now: u64) {
        self.note_late(key, due, now);
    }

    /// It was sent.
    pub fn sent(&mut self, key: SlotKey, due: u64, sent: u64, in_flight: u64) {
        let lag = sent.saturating_sub(due);
        let slot = &mut self.slots[key.0 as usize];
        slot.part.sent += 1;
        slot.part.in_flight_max = slot.part.in_flight_max.max(in_flight);
        slot.lag.push(bucket_of(lag));
        slot.part.lag.note(lag);
        self.note_late(key, due, sent);
    }

    fn note_late(&mut self, key: SlotKey, due: u64, now: u64) {
        self.slots[key.0 as usize].part.late += u64::from(now.saturating_sub(due) > self.late_limit);
    }

    /// It had to wait for a connection, this long; with TLS, so much of it for the handshake.
    pub fn connected(&mut self, key: SlotKey, took: u64, handshake: Option<u64>) {
        let slot = &mut self.slots[key.0 as usize];
        slot.connect.push(bucket_of(took));
        slot.part.connect.note(took);
        if let Some(took) = handshake {
            slot.handshake.push(bucket_of(took));
            slot.part.handshake.note(took);
        }
    }

    /// It ended.
    pub fn done(&mut self, key: SlotKey, sample: &Sample<'_>) {
        let stream = self.slots[key.0 as usize].stream;
        let now_slot = self.slot_at_now(sample.done, stream);
        let latency = sample.done.saturating_sub(sample.due);
        match &sample.outcome {
            Ok(facts) => {
                let version = facts.version.as_deref().map(|name| self.versions.of(name));
                let level = facts.level.as_deref().map(|name| self.levels.of(name));
                let slot = &mut self.slots[key.0 as usize];
                let service = sample.done.saturating_sub(sample.sent);
                slot.latency_ok.push(bucket_of(latency));
                slot.part.latency_ok.note(latency);
                slot.service.push(bucket_of(service));
                slot.part.service.note(service);
                slot.said(facts);
                version.into_iter().for_each(|version| said::count(&mut slot.versions, version));
                level.into_iter().for_each(|level| said::count(&mut slot.levels, level));
                let tokens = facts.tokens.unwrap_or_default();
                slot.tokens(&tokens, sample.due);
                if let Some(SlotKey(k)) = now_slot {
                    self.slots[k as usize].part.done_ok += 1;
                    self.slots[k as usize].part.done_tokens += tokens.count;
                }
            }
            Err((class, seen)) => {
                let slot = &mut self.slots[key.0 as usize];
                slot.part.errors[*class as usize] += 1;
                slot.latency_failed.push(bucket_of(latency));
                slot.part.latency_failed.note(latency);
                if let Some(SlotKey(k)) = now_slot {
                    self.slots[k as usize].part.done_failed += 1;
                }
                self.trace(stream, *class, sample.due, seen);
            }
        }
        self.ended(key);
    }

    /// Hands over everything, also slots with requests that never ended (there must be none).
    pub fn finish(mut self) -> ShardReport {
        for key in 0..self.slots.len() {
            if self.slots[key].in_use {
                assert_eq!(self.slots[key].pending, 0, "every planned request has ended before its shard is closed");
                self.flush(SlotKey(key as u32));
            }
        }
        self.report
    }

    fn trace(&mut self, stream: u16, class: ErrorClass, due: u64, seen: &str) {
        let stream = usize::from(stream);
        let own = stream.checked_sub(1).map(|nth| &mut self.report.altered[nth][class as usize]);
        let common = (!self.apart[stream]).then_some(&mut self.report.errors[class as usize]);
        for trace in own.into_iter().chain(common) {
            if trace.count == 0 {
                trace.first = Offset(due);
                trace.sample = seen.chars().take(300).collect();
            }
            trace.count += 1;
            trace.first = trace.first.min(Offset(due));
            trace.last = trace.last.max(Offset(due));
        }
    }

    /// The slot in which something that ends now is counted as *done*; none in the drain after the last phase.
    fn slot_at_now(&mut self, now: u64, stream: u16) -> Option<SlotKey> {
        self.slot_at(now, stream)
    }

    fn slot_at(&mut self, at: u64, stream: u16) -> Option<SlotKey> {
        if let Some(key) = self.current[usize::from(stream)]
            && self.covers(key, at, stream)
        {
            return Some(key);
        }
        let open = (0..self.slots.len() as u32).map(SlotKey).find(|k| self.covers(*k, at, stream));
        open.or_else(|| self.open(at, stream))
    }

    fn covers(&self, key: SlotKey, at: u64, stream: u16) -> bool {
        let slot = &self.slots[key.0 as usize];
        slot.in_use && slot.stream == stream && slot.start <= at && at < slot.end
    }

    fn open(&mut self, at: u64, stream: u16) -> Option<SlotKey> {
        let (start, end, phase) = self.edges.around(at)?;
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(OpenSlot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[key as usize];
        (slot.start, slot.end, slot.in_use, slot.pending) = (start, end, true, 0);
        slot.stream = stream;
        slot.part = Part { phase, altered_by: u64::from(stream), ..Part::default() };
        let key = SlotKey(key);
        let current = &mut self.current[usize::from(stream)];
        let newest = current.is_none_or(|SlotKey(c)| self.slots[c as usize].start < start);
        if newest && let Some(passed) = current.replace(key) {
            self.flush_if_over(passed);
        }
        Some(key)
    }

    fn ended(&mut self, key: SlotKey) {
        let slot = &mut self.slots[key.0 as usize];
        debug_assert!(slot.pending > 0, "a request ends once");
        slot.pending -= 1;
        self.flush_if_over(key);
    }

    fn flush_if_over(&mut self, key: SlotKey) {
        let slot = &self.slots[key.0 as usize];
        if slot.pending == 0 && self.current[usize::from(slot.stream)] != Some(key) {
            self.flush(key);
        }
    }

    fn flush(&mut self, key: SlotKey) {
        let slot = &mut self.slots[key.0 as usize];
        let mut part = std::mem::take(&mut slot.part);
        (part.start, part.end) = (Offset(slot.start), Offset(slot.end));
        for (times, indices) in [
            (&mut part.latency_ok, &mut slot.latency_ok),
            (&mut part.latency_failed, &mut slot.latency_failed),
            (&mut part.service, &mut slot.service),
            (&mut part.lag, &mut slot.lag),
            (&mut part.connect, &mut slot.connect),
            (&mut part.handshake, &mut slot.handshake),
            (&mut part.ttft, &mut slot.ttft),
            (&mut part.itl, &mut slot.itl),
            (&mut part.said.ages, &mut slot.ages),
        ] {
            *times = std::mem::take(times).pack(indices, &mut self.counts);
            indices.clear();
        }
        self.versions.take(&mut slot.versions, &mut part.said.versions);
        self.levels.take(&mut slot.levels, &mut part.said.levels);
        slot.in_use = false;
        self.free.push(key.0);
        // The collector only goes away when the run is being torn down; then nobody asks for numbers.
        let _ = self.out.send(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Load, Phase, Shape};
    use crate::units::Rate;
    use std::time::Duration;

    fn plan_of(phases: &[u64]) -> Plan {
        let mut start = Offset::ZERO;
        let phases = phases
            .iter()
            .map(|ms| {
                let duration = Duration::from_millis(*ms);
                let phase = Phase {
                    name: format!("p{ms}"),
                    start,
                    duration,
                    load: Load::Open(Shape::Constant(Rate::per_second(1.0).unwrap())),
                    measured: true,
                };
                start = phase.end();
                phase
            })
            .collect();
        crate::plan::tests_support::plan(phases)
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn slots_are_cut_at_grid_phase_and_fault() {
        let mut edges = Edges::new(&plan_of(&[250, 1000]));
        edges.cuts = vec![330 * MS];
        assert_eq!(edges.around(10 * MS), Some((0, 100 * MS, PhaseId(0))));
        assert_eq!(edges.around(240 * MS), Some((200 * MS, 250 * MS, PhaseId(0))));
        assert_eq!(edges.around(250 * MS), Some((250 * MS, 300 * MS, PhaseId(1))));
        assert_eq!(edges.around(329 * MS), Some((300 * MS, 330 * MS, PhaseId(1))));
        assert_eq!(edges.around(330 * MS), Some((330 * MS, 400 * MS, PhaseId(1))));
        assert_eq!(edges.around(1250 * MS), None);
    }

    #[test]
    fn every_planned_request_is_counted_once_whatever_the_order() {
        let (tx, rx) = std::sync::mpsc::channel();
        let cuts = Arc::new(Cuts::default());
        let mut shard = Shard::new(&plan_of(&[1000]), cuts.clone(), MS, tx);
        let mut open: Vec<(SlotKey, u64)> = (0..500).map(|i| (shard.planned(i * 2 * MS), i * 2 * MS)).collect();
        cuts.add(Offset(999 * MS));
        shard.look_for_cuts();
        // Late arrivals: due in slots that were handed over already.
        open.reverse();
        for (i, (key, due)) in open.into_iter().enumerate() {
            if i % 10 == 0 {
                shard.shed(key, due, due + 2 * MS);
                continue;
            }
            shard.sent(key, due, due + 2 * MS, 1);
            let outcome = if i % 10 == 1 { Err((ErrorClass::Timeout, "t")) } else { Ok(Facts::default()) };
            shard.done(key, &Sample { due, sent: due + 2 * MS, done: due + 3 * MS, outcome });
        }
        let late = shard.planned(50 * MS);
        shard.sent(late, 50 * MS, 900 * MS, 1);
        shard.done(late, &Sample { due: 50 * MS, sent: 900 * MS, done: 950 * MS, outcome: Ok(Facts::default()) });
        let report = shard.finish();
        let parts: Vec<Part> = rx.iter().collect();
        let sum = |f: fn(&Part) -> u64| parts.iter().map(f).sum::<u64>();
        assert_eq!(sum(|p| p.planned), 501);
        assert_eq!(sum(|p| p.shed), 50);
        assert_eq!(sum(|p| p.errors.iter().sum()), 50);
        assert_eq!(sum(Part::ok), 401);
        assert_eq!(sum(|p| p.sent), 451);
        assert_eq!(sum(|p| p.late), 501, "shed late is late too");
        assert_eq!(report.errors[ErrorClass::Timeout as usize].count, 50);
        assert_eq!(parts.iter().map(|p| p.latency_ok.max_ns).max(), Some(900 * MS));
    }

    #[test]
    fn tokens_are_kept_by_due_and_their_rate_by_done() {
        let (tx, rx) = std::sync::mpsc::channel();
        let mut shard = Shard::new(&plan_of(&[1000]), Arc::default(), MS, tx);
        let gaps = [20 * MS, 0, 30 * MS];
        let indices = gaps.map(bucket_of);
        let tokens = |first| Tokens { first, count: 5, gaps: &indices, gaps_sum: 50 * MS, gaps_max: 30 * MS };
        let failed = shard.planned(30 * MS);
        let good = [(10 * MS, Some(150 * MS)), (20 * MS, None)].map(|(due, first)| (shard.planned(due), due, first));
        for (key, due, first) in good {
            shard.sent(key, due, due, 1);
            let said = Tokens { gaps: if first.is_some() { &indices } else { &[] }, ..tokens(first) };
            let facts = Facts { tokens: Some(said), ..Facts::default() };
            shard.done(key, &Sample { due, sent: due, done: 450 * MS, outcome: Ok(facts) });
        }
        shard.sent(failed, 30 * MS, 30 * MS, 1);
        let outcome = Err((ErrorClass::BadAnswer, "cut"));
        shard.done(failed, &Sample { due: 30 * MS, sent: 30 * MS, done: 460 * MS, outcome });
        shard.finish();
        let parts: Vec<Part> = rx.iter().collect();
        let at = |start: u64| parts.iter().find(|p| p.start.0 == start).unwrap();
        let (due, done) = (at(0), at(400 * MS));
        assert_eq!((due.ttft.count(), due.ttft.max_ns, due.ttft.sum_ns), (1, 140 * MS, 140 * MS));
        assert_eq!((due.itl.count(), due.itl.max_ns, due.output_tokens, due.done_tokens), (3, 30 * MS, 10, 0));
        assert_eq!((done.output_tokens, done.done_tokens, done.done_ok), (0, 10, 2));
    }

    /// Nobody takes a single slot for ten minutes of load: every call still returns, and nothing is lost.
    #[test]
    fn trap_27_results_that_nobody_takes_hold_no_sender_up() {
        let (tx, rx) = std::sync::mpsc::channel();
        let mut shard = Shard::new(&plan_of(&[600_000]), Arc::default(), MS, tx);
        for due in (0..600_000 * MS).step_by(2_000_000) {
            let key = shard.planned(due);
            shard.sent(key, due, due, 1);
            shard.done(key, &Sample { due, sent: due, done: due + MS, outcome: Ok(Facts::default()) });
        }
        shard.finish();
        assert_eq!(rx.iter().map(|p| p.planned).sum::<u64>(), 300_000);
        // Nor does one who has gone away altogether.
        let (tx, rx) = std::sync::mpsc::channel();
        drop(rx);
        let mut shard = Shard::new(&plan_of(&[1_000]), Arc::default(), MS, tx);
        for due in (0..1_000 * MS).step_by(2_000_000) {
            let key = shard.planned(due);
            shard.shed(key, due, due);
        }
        shard.finish();
    }
}
