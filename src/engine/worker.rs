//! One worker: an epoll loop that sends what is due and takes what comes back.
//!
//! Each turn: arrivals that are due are sent (in bursts, so that answers are not starved), overdue requests time out, then
//! it waits, to the nanosecond, for the next of both or for a socket. No lock, no channel and no clock but the
//! run's own on this path.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventFlags};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, gettid, sched_setaffinity, set_current_timer_slack};

use crate::client::Failure;
use crate::client::conn::Event;
use crate::clock::{self, Clock};
use crate::engine::dispatch::{Dispatch, Step};
use crate::engine::pool::{Flight, Pool};
use crate::engine::{Counters, Job, Shared, WorkerReport, closed_phase};
use crate::outcome::ErrorClass;
use crate::plan::Load;
use crate::record::{Part, Sample, Shard, SlotKey};
use crate::schedule::Arrivals;
use crate::target::{Age, Scratch, Wrong};
use crate::units::Offset;

/// Sends in a row before sockets are looked at.
const BURST: usize = 32;
/// Events taken per wait.
const EVENTS: usize = 256;
/// Between two looks at pool, cuts and stop signal when nothing else wakes the worker.
const TICK_NS: u64 = 20_000_000;
/// How long a closed loop looks for answers before it sleeps. Its users have nothing to do but wait for answers, which come
/// within tens of microseconds where load and target are fast; a target that has to wake us for each of them pays for
/// that with a system call's worth of its own CPU, and a comparison with tools that never sleep measures the waking.
const LOOK_NS: u64 = 30_000;
/// Before users of a closed loop try again after a request that could not begin.
const PAUSE_NS: u64 = 1_000_000;

/// Which worker of how many, and on which CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) workers: usize,
    pub(super) cpu: Option<usize>,
}

struct Worker<'a> {
    job: &'a Job,
    shared: &'a Shared,
    counters: &'a Counters,
    clock: Clock,
    seat: Seat,
    shard: Shard,
    pool: Pool,
    /// Predictions of the answer that is judged just now.
    scratch: Scratch,
    /// Ascending: the timeout is the same for all.
    deadlines: VecDeque<Deadline>,
    flights: u64,
    next_id: u64,
    /// Lines with requests that have not left yet.
    unflushed: Vec<(u32, u32)>,
    users_busy: usize,
    closed_sent: u64,
    closed_phase: usize,
    /// Users of the closed-loop phase that is on, and its end, when nothing but an answer holds them back.
    users: Option<(usize, u64)>,
}

/// An arrival that came due.
#[derive(Clone, Copy, Debug)]
struct Planned {
    slot: SlotKey,
    /// Its body.
    row: usize,
    /// Altered, and counted apart from everything else.
    apart: bool,
}

/// When a request on a connection has waited too long.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: u64,
    line: u32,
    slot: u32,
    id: u64,
}

/// Runs to the end of the load and the drain after it.
pub(super) fn run(job: &Job, shared: &Shared, clock: Clock, seat: Seat, out: Sender<Part>) -> WorkerReport {
    if let Some(cpu) = seat.cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        // A CPU that may not be used is no reason to stop: the lag will tell.
        let _ = sched_setaffinity(None, &set);
    }
    // A generator that waits for a CPU measures its own waiting. Where we may (root), it goes first; else the lag will tell.
    let _ = setpriority_process(Some(gettid()), -10);
    // The kernel may delay timers of a thread by its slack, 50 µs by default.
    let _ = set_current_timer_slack(std::num::NonZero::new(1));
    let mut worker = Worker {
        job,
        shared,
        counters: &shared.counters[seat.index],
        clock,
        seat,
        shard: Shard::new(&job.plan, shared.cuts.clone(), job.late_limit_ns, out),
        pool: Pool::new(job, seat.index, seat.workers),
        scratch: Scratch::default(),
        deadlines: VecDeque::new(),
        flights: 0,
        next_id: 0,
        unflushed: Vec::new(),
        users_busy: 0,
        closed_sent: 0,
        closed_phase: usize::MAX,
        users: None,
    };
    worker.turn_until_done();
    let report = worker.shard.finish();
    let altered = report.altered.into_iter().map(Vec::from).collect();
    WorkerReport { errors: report.errors.into(), altered, cpu: clock::thread_cpu() }
}

impl Worker<'_> {
    fn turn_until_done(&mut self) {
        let arrivals = Arrivals::striped(&self.job.plan, self.seat.index, self.seat.workers);
        let mut dispatch = Dispatch::new(arrivals, self.job.plan.traffic.max_in_flight as u64);
        let mut next_tick = 0;
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = self.clock.now().0;
            let started = self.clock.now_signed() >= 0;
            if now >= next_tick || !started {
                self.pool.keep(now, self.job, self.shared);
                next_tick = now + TICK_NS;
            }
            self.shard.look_for_cuts();
            let end = self.shared.load_end().0;
            // Backlog is still sent after the end of load, but nothing outlives end + timeout.
            let cut = if self.shared.stopped() { end } else { end + self.timeout() };
            if now >= cut {
                break;
            }
            let mut wake = cut.min(next_tick);
            let mut more = false;
            if started {
                match self.send_due(&mut dispatch, now) {
                    Due::More => more = true,
                    Due::At(at) => wake = wake.min(at),
                    Due::Never if now >= end && self.flights == 0 => break,
                    Due::Never => wake = if now < end { wake.min(end) } else { wake },
                }
                if let Some(at) = self.feed_closed_loop(now, end) {
                    wake = wake.min(at);
                }
                self.flush();
            }
            // After a stall of our own, answers may be waiting that came in time: they are taken before their deadlines are.
            while self.next_deadline().is_some_and(|at| at <= now) && self.take_events(&mut events, 0) == EVENTS {}
            self.expire(now);
            self.flush();
            if let Some(at) = self.next_deadline() {
                wake = wake.min(at);
            }
            let wait = if more { 0 } else { self.wait_for(wake, started) };
            if wait == 0 || !self.look(&mut events) {
                self.take_events(&mut events, wait);
            }
        }
        self.close(&mut dispatch);
    }

    fn timeout(&self) -> u64 {
        self.job.plan.traffic.timeout.as_nanos() as u64
    }

    fn wait_for(&self, wake: u64, started: bool) -> u64 {
        let wake = if started { wake } else { 0 };
        let left = self.clock.until(Offset(wake)).as_nanos().min(u128::from(TICK_NS)) as u64;
        // The last stretch is spent looking instead of sleeping, where the user wants that.
        left.saturating_sub(self.job.spin_ns)
    }

    /// Sends a burst of what is due.
    fn send_due<I: Iterator<Item = crate::schedule::Arrival>>(&mut self, dispatch: &mut Dispatch<I>, now: u64) -> Due {
        for _ in 0..BURST {
            match dispatch.step(Offset(now), self.shared.in_flight.load(Ordering::Relaxed)) {
                Step::Send(a) => {
                    let planned = self.plan_one(a.index, a.due.0);
                    self.begin(planned, a.due.0, self.clock.now().0, false);
                }
                Step::Shed(a) => {
                    let planned = self.plan_one(a.index, a.due.0);
                    self.shard.shed(planned.slot, a.due.0, now);
                    if !planned.apart {
                        add(&self.counters.shed);
                    }
                }
                Step::Wait(at) => return Due::At(at.0),
                Step::Done => return Due::Never,
            }
        }
        Due::More
    }

    /// Counts an arrival that came due, and says which body it gets: the one whose turn it is, or an altered one.
    #[inline]
    fn plan_one(&mut self, index: u64, due: u64) -> Planned {
        let row = (index % self.job.bodies.len() as u64) as usize;
        match self.job.alterations.altered_by(index, due) {
            None => {
                add(&self.counters.planned);
                Planned { slot: self.shard.planned(due), row, apart: false }
            }
            Some(nth) => self.plan_altered(nth, index, due, row),
        }
    }

    #[cold]
    fn plan_altered(&mut self, nth: usize, index: u64, due: u64, row: usize) -> Planned {
        let apart = !self.job.alterations.list()[nth].include;
        if !apart {
            add(&self.counters.planned);
        }
        let slot = self.shard.planned_in(due, nth as u16 + 1);
        Planned { slot, row: self.job.bodies.twin(nth, index, row), apart }
    }

    /// Lets users of a closed-loop phase send; says when to look again.
    fn feed_closed_loop(&mut self, now: u64, end: u64) -> Option<u64> {
        let phases = &self.job.plan.phases;
        self.users = None;
        if now >= end {
            return None;
        }
        let Some(phase) = closed_phase(phases, now) else {
            return phases
                .iter()
                .filter(|p| matches!(p.load, Load::Closed { .. }))
                .map(|p| p.start.0)
                .find(|s| *s > now);
        };
        let Load::Closed { concurrency, max_rate } = phase.load else { return None };
        if self.closed_phase != phase.start.0 as usize {
            (self.closed_phase, self.closed_sent) = (phase.start.0 as usize, 0);
        }
        let share = concurrency / self.seat.workers + usize::from(self.seat.index < concurrency % self.seat.workers);
        if max_rate.is_none() {
            self.users = Some((share, phase.end().0.min(end)));
        }
        // Each free user gets one try a turn. A request that cannot even begin (refused, no port) frees its user at
        // once: going on until all are busy would never end.
        for _ in 0..share.saturating_sub(self.users_busy).min(BURST) {
            // The ceiling is an even grid from the phase's start: no bursts after a slow stretch.
            if let Some(rate) = max_rate {
                let gap = 1e9 * self.seat.workers as f64 / rate.get();
                let at = phase.start.0 + (self.closed_sent as f64 * gap) as u64;
                if at > now {
                    return Some(at);
                }
                let skipped = ((now - phase.start.0) as f64 / gap) as u64;
                self.closed_sent = self.closed_sent.max(skipped);
            }
            let busy = self.users_busy + 1;
            self.begin_for_user(phase.end().0);
            if self.users_busy < busy {
                return Some(now + PAUSE_NS);
            }
        }
        (self.users_busy < share).then_some(now)
    }

    /// A user of a closed-loop phase sends: its request is due now, when it is sent.
    fn begin_for_user(&mut self, phase_end: u64) {
        let index = self.closed_sent * self.seat.workers as u64 + self.seat.index as u64;
        self.closed_sent += 1;
        self.users_busy += 1;
        let now = self.clock.now().0;
        let due = now.min(phase_end - 1);
        let planned = self.plan_one(index, due);
        self.begin(planned, due, now, true);
    }

    /// Puts a request on a connection with room, or on a new one.
    fn begin(&mut self, planned: Planned, due: u64, sent: u64, closed_loop: bool) {
        let Planned { slot, row, apart } = planned;
        let in_flight = self.shared.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        if in_flight > self.shared.in_flight_max.load(Ordering::Relaxed) {
            self.shared.in_flight_max.fetch_max(in_flight, Ordering::Relaxed);
        }
        self.flights += 1;
        self.shard.sent(slot, due, sent, in_flight);
        self.next_id += 1;
        let flight = Flight { id: self.next_id, row, slot, due, sent, closed_loop, apart };
        let line = match self.pool.take(sent, self.job) {
            Some(line) => Ok(line),
            None => self.pool.open(sent, self.job, self.shared),
        };
        let line = match line {
            Ok(line) => line,
            Err(failure) => return self.end(flight, &failure),
        };
        let at = sent + self.timeout();
        let held = self.pool.get_mut(line).expect("taken or opened above");
        match held.conn.send(&self.job.requests, row) {
            Ok(place) => {
                self.deadlines.push_back(Deadline { at, line, slot: place, id: flight.id });
                if held.conn.wants_flush() {
                    self.unflushed.push((line, held.generation));
                }
                self.pool.board(line, place, flight, self.job);
            }
            // The connection is dead, and this request is one of those that find out.
            Err(failure) => {
                held.flights.push(Some(flight));
                self.fail(line, failure);
            }
        }
    }

    /// What is due together leaves together.
    fn flush(&mut self) {
        while let Some((index, generation)) = self.unflushed.pop() {
            let line = self.pool.get_mut(index).filter(|l| l.generation == generation && l.conn.wants_flush());
            if let Some(Err(failure)) = line.map(|l| l.conn.flush()) {
                self.fail(index, failure);
            }
        }
    }

    /// When the oldest request that is still on its way has waited too long. Deadlines of those that were answered are
    /// forgotten here: to wake up for each of them would cost as much as another request.
    fn next_deadline(&mut self) -> Option<u64> {
        while let Some(Deadline { at, line, slot, id }) = self.deadlines.front() {
            let flight = self.pool.get(*line).and_then(|l| *l.flights.get(*slot as usize)?);
            if flight.is_some_and(|f| f.id == *id) {
                return Some(*at);
            }
            self.deadlines.pop_front();
        }
        None
    }

    fn expire(&mut self, now: u64) {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let Some(Deadline { line: index, slot, .. }) = self.deadlines.pop_front() else { return };
            let line = self.pool.get_mut(index).expect("a request on its way has a line");
            let limit = crate::units::show_duration(self.job.plan.traffic.timeout);
            let failure = if line.conn.is_connecting() {
                self.job.resolved.ask();
                (ErrorClass::ConnectTimeout, format!("not connected within {limit}"))
            } else {
                (ErrorClass::Timeout, format!("no whole answer within {limit}"))
            };
            // Over HTTP/2 those that began to wait for the connection later still have their own time.
            if !line.conn.cancel(slot) {
                self.fail(index, failure);
                continue;
            }
            let flight = line.land(slot).expect("it was running");
            self.unflushed.push((index, line.generation));
            // Where nothing at all came since it was sent, nothing more is sent either.
            let silent = line.heard <= flight.sent;
            self.pool.settle(index, !silent, now, self.job);
            self.end(flight, &failure);
        }
    }

    /// In a closed loop with users that wait for answers: looks for them for a moment without sleeping. True when some came.
    fn look(&mut self, events: &mut Vec<epoll::Event>) -> bool {
        if self.users.is_none() || self.flights == 0 {
            return false;
        }
        let until = self.clock.now().0 + LOOK_NS;
        while self.take_events(events, 0) == 0 {
            if self.clock.now().0 >= until {
                return false;
            }
        }
        true
    }

    /// Waits, then handles what came. Returns how many sockets had something; [`EVENTS`] when there may be more at once.
    fn take_events(&mut self, events: &mut Vec<epoll::Event>, wait_ns: u64) -> usize {
        events.clear();
        // Interrupted by a signal is as good as nothing happened: the loop comes round. What else may go wrong was tried before.
        if epoll::wait(&self.pool.poller, spare_capacity(events), Some(&clock::timespec(wait_ns))).is_err() {
            return 0;
        }
        if events.is_empty() {
            return 0;
        }
        let now = self.clock.now().0;
        for event in events.iter() {
            let Some((index, line)) = self.pool.of_event(event.data.u64()) else { continue };
            line.heard = now;
            let generation = line.generation;
            let flags = event.flags;
            let hung_up = flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR);
            let mut event = line.conn.on_ready(hung_up);
            // One look at the clock for all tokens that came with one readiness: they were read together.
            let read_at = self.job.checker.reads_tokens().then(|| self.clock.now().0);
            read_at.into_iter().for_each(|at| line.read_tokens(at));
            while let Some(happened) = event {
                self.handle(index, happened);
                let line = self.pool.get_mut(index).filter(|l| l.generation == generation);
                event = line.and_then(|line| {
                    let next = line.conn.next_event();
                    // A connection that came to stand may have read an answer only now.
                    read_at.into_iter().for_each(|at| line.read_tokens(at));
                    next
                });
            }
            self.flush();
        }
        events.len()
    }

    fn handle(&mut self, index: u32, event: Event) {
        match event {
            Event::Handshaking => {
                let now = self.clock.now().0;
                self.pool.get_mut(index).expect("events come for open lines").handshake = Some(now);
            }
            Event::Connected => self.connected(index),
            Event::Answered(slot) => self.answered(index, slot),
            Event::Dropped(slot, class, why) => self.dropped(index, slot, &(class, why)),
            Event::Failed(class, why) => self.fail(index, (class, why)),
        }
    }

    fn connected(&mut self, index: u32) {
        let now = self.clock.now().0;
        let line = self.pool.get_mut(index).expect("events come for open lines");
        line.connect = now - line.opened;
        let handshake = line.handshake.map(|began| now - began);
        for flight in line.flights.iter().flatten() {
            self.shard.connected(flight.slot, line.connect, handshake);
        }
        if handshake.is_some() {
            self.shared.handshakes.fetch_add(1, Ordering::Relaxed);
            self.shared.resumed.fetch_add(u64::from(line.conn.is_resumed()), Ordering::Relaxed);
        }
        if line.conn.room() > 0 {
            self.pool.rest(index);
        }
    }

    fn answered(&mut self, index: u32, slot: u32) {
        let done = self.clock.now().0;
        let line = self.pool.get_mut(index).expect("events come for open lines");
        let flight = line.land(slot).expect("an answer belongs to a request");
        let (job, shard, scratch, clock) = (self.job, &mut self.shard, &mut self.scratch, &self.clock);
        let good = line.conn.with_answer(slot, |answer| {
            let outcome = match line.readings.get(slot as usize) {
                Some(reading) => job.checker.check_tokens(answer, &job.bodies, flight.row, &reading.stream),
                None => job.checker.check_with(answer, &job.bodies, flight.row, scratch),
            };
            let seen;
            let outcome = match outcome {
                Ok(mut facts) => {
                    let rows = job.bodies.rows(flight.row);
                    (facts.compared, facts.agreed) = job.agreement.judge(rows, scratch.prints(), flight.due, done);
                    let wall = clock.wall_origin() + i128::from(done);
                    facts.age = facts.age.map(|age| Age::Micros(age.micros(wall)));
                    Ok(facts)
                }
                Err(wrong) => {
                    seen = describe(&wrong, answer.body);
                    Err((class_of(&wrong), seen.as_str()))
                }
            };
            let good = outcome.is_ok();
            shard.done(flight.slot, &Sample { due: flight.due, sent: flight.sent, done, outcome });
            good
        });
        let reusable = line.conn.release(slot);
        self.pool.settle(index, reusable, done, self.job);
        self.count(flight, good);
        // A user goes on at once: whatever waits for the end of this turn would idle the target for nothing.
        if let Some((users, end)) = self.users.filter(|_| flight.closed_loop)
            && done < end
            && self.users_busy < users
        {
            self.begin_for_user(end);
        }
    }

    /// One request has failed, the connection goes on.
    fn dropped(&mut self, index: u32, slot: u32, failure: &Failure) {
        let now = self.clock.now().0;
        let line = self.pool.get_mut(index).expect("events come for open lines");
        let flight = line.land(slot);
        self.pool.settle(index, true, now, self.job);
        if let Some(flight) = flight {
            self.end(flight, failure);
        }
    }

    /// A connection is of no more use; the requests on it have failed.
    fn fail(&mut self, index: u32, failure: Failure) {
        let Some(line) = self.pool.drop_line(index) else { return };
        self.job.resolved.ask();
        for flight in line.flights.iter().flatten() {
            let since = self.clock.now().0 - flight.sent;
            let raced = matches!(failure.0, ErrorClass::Closed | ErrorClass::Reset)
                && line.conn.is_reused_and_silent()
                && since <= race(line.connect);
            if raced {
                let why = format!("{} {} us after it was reused", failure.1, since / 1_000);
                self.end(*flight, &(ErrorClass::IdleClosed, why));
            } else {
                self.end(*flight, &failure);
            }
        }
    }

    fn end(&mut self, flight: Flight, failure: &Failure) {
        let done = self.clock.now().0;
        let outcome = Err((failure.0, failure.1.as_str()));
        self.shard.done(flight.slot, &Sample { due: flight.due, sent: flight.sent, done, outcome });
        self.count(flight, false);
    }

    fn count(&mut self, flight: Flight, good: bool) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.flights -= 1;
        self.users_busy -= usize::from(flight.closed_loop);
        if !flight.apart {
            add(if good { &self.counters.ok } else { &self.counters.failed });
        }
    }

    /// Counts everything that did not end.
    fn close<I: Iterator<Item = crate::schedule::Arrival>>(&mut self, dispatch: &mut Dispatch<I>) {
        for index in 0..self.pool.len() {
            if self.pool.get(index).is_some() {
                self.fail(index, (ErrorClass::Unfinished, "still unanswered when the run ended".into()));
            }
        }
        let now = self.clock.now().0;
        for arrival in dispatch.leftover(self.shared.load_end()) {
            let Planned { slot, apart, .. } = self.plan_one(arrival.index, arrival.due.0);
            if !apart {
                add(&self.counters.failed);
            }
            self.shard.unsent(slot, arrival.due.0, now);
            let outcome = Err((ErrorClass::Unfinished, "still unsent when the run ended"));
            self.shard.done(slot, &Sample { due: arrival.due.0, sent: now, done: now, outcome });
        }
    }
}

/// A close that comes this soon after a request was put on a used connection was on its way already: the peer had let the
/// connection go while it was idle. Twice the time of connecting, at least 1 ms. A peer that dies while it works on
/// the request is seen later than that, but for a small share.
fn race(connect: u64) -> u64 {
    (2 * connect).max(1_000_000)
}

/// What `send_due` found.
enum Due {
    /// More is due at once.
    More,
    /// Nothing before this.
    At(u64),
    /// Nothing any more.
    Never,
}

fn add(counter: &std::sync::atomic::AtomicU64) {
    // Only its own worker writes a counter, so a plain load and store is enough and needs no locked instruction.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn class_of(wrong: &Wrong) -> ErrorClass {
    match wrong {
        Wrong::Status(400..=499) => ErrorClass::Status4xx,
        Wrong::Status(500..=599) => ErrorClass::Status5xx,
        Wrong::Status(_) | Wrong::Content(_) => ErrorClass::BadAnswer,
    }
}

/// What was wrong, with the beginning of the answer.
fn describe(wrong: &Wrong, body: &[u8]) -> String {
    let beginning = String::from_utf8_lossy(&body[..body.len().min(200)]);
    match wrong {
        Wrong::Status(status) => format!("status {status}: {beginning}"),
        Wrong::Content(why) => format!("{why}: {beginning}"),
    }
}
