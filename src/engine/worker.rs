//! One worker: an epoll loop that sends what is due and takes what comes back.
//!
//! Each turn: arrivals that are due are sent (in bursts, so that answers are not starved), overdue requests time out, then
//! it waits, to the nanosecond, for the next of both or for a socket. No lock, no channel and no clock but the
//! run's own on this path.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, gettid, sched_setaffinity, set_current_timer_slack};

use crate::client::conn::{Conn, Event};
use crate::clock::{self, Clock};
use crate::engine::dispatch::{Dispatch, Step};
use crate::engine::{Counters, Job, Shared, WorkerReport, closed_phase};
use crate::outcome::ErrorClass;
use crate::plan::Load;
use crate::record::{Part, Sample, Shard, SlotKey};
use crate::rng::{self, Stream};
use crate::schedule::Arrivals;
use crate::target::Wrong;
use crate::units::Offset;

/// Sends in a row before sockets are looked at.
const BURST: usize = 32;
/// Events taken per wait.
const EVENTS: usize = 256;
/// Between two looks at pool, cuts and stop signal when nothing else wakes the worker.
const TICK_NS: u64 = 20_000_000;
/// Before users of a closed loop try again after a request that could not begin.
const PAUSE_NS: u64 = 1_000_000;
/// Spare connections opened per tick.
const OPEN_PER_TICK: usize = 16;

/// Which worker of how many, and on which CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) workers: usize,
    pub(super) cpu: Option<usize>,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: u64,
    row: usize,
    slot: SlotKey,
    due: u64,
    sent: u64,
    closed_loop: bool,
}

/// A connection and the request on it.
struct Line {
    conn: Conn,
    generation: u32,
    flight: Option<Flight>,
    opened: u64,
    max_age: u64,
    /// How long connecting took: an upper estimate of the way there and back.
    connect: u64,
    /// Already in the queue of idle connections.
    queued: bool,
}

struct Worker<'a> {
    job: &'a Job,
    shared: &'a Shared,
    counters: &'a Counters,
    clock: Clock,
    seat: Seat,
    shard: Shard,
    poller: OwnedFd,
    lines: Vec<Option<Line>>,
    free: Vec<u32>,
    /// Oldest first: every connection gets its turn, so that load spreads over whatever stands behind them.
    idle: VecDeque<(u32, u32)>,
    open_lines: usize,
    generation: u32,
    /// (deadline, line, flight id), ascending: the timeout is the same for all.
    deadlines: VecDeque<(u64, u32, u64)>,
    flights: u64,
    next_id: u64,
    chance: Stream,
    users_busy: usize,
    closed_sent: u64,
    closed_phase: usize,
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
        poller: epoll::create(CreateFlags::CLOEXEC).expect("an epoll descriptor can be made"),
        lines: Vec::new(),
        free: Vec::new(),
        idle: VecDeque::new(),
        open_lines: 0,
        generation: 0,
        deadlines: VecDeque::new(),
        flights: 0,
        next_id: 0,
        chance: rng::stream(job.plan.seed, &format!("connections:{}", seat.index)),
        users_busy: 0,
        closed_sent: 0,
        closed_phase: usize::MAX,
    };
    worker.turn_until_done();
    let report = worker.shard.finish();
    WorkerReport { errors: report.errors.into(), cpu: clock::thread_cpu() }
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
                self.keep_pool(now);
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
            }
            // After a stall of our own, answers may be waiting that came in time: they are taken before their deadlines are.
            while self.deadlines.front().is_some_and(|(deadline, ..)| *deadline <= now)
                && self.take_events(&mut events, 0)
            {}
            self.expire(now);
            if let Some((deadline, ..)) = self.deadlines.front() {
                wake = wake.min(*deadline);
            }
            let wait = if more { 0 } else { self.wait_for(wake, started) };
            self.take_events(&mut events, wait);
        }
        self.close(&mut dispatch);
    }

    fn timeout(&self) -> u64 {
        self.job.plan.traffic.timeout.as_nanos() as u64
    }

    fn wait_for(&self, wake: u64, started: bool) -> u64 {
        let wake = if started { wake } else { 0 };
        self.clock.until(Offset(wake)).as_nanos().min(u128::from(TICK_NS)) as u64
    }

    /// Sends a burst of what is due.
    fn send_due<I: Iterator<Item = crate::schedule::Arrival>>(&mut self, dispatch: &mut Dispatch<I>, now: u64) -> Due {
        for _ in 0..BURST {
            match dispatch.step(Offset(now), self.shared.in_flight.load(Ordering::Relaxed)) {
                Step::Send(a) => {
                    let slot = self.plan_one(a.due.0);
                    let row = (a.index % self.job.requests.len() as u64) as usize;
                    self.begin(slot, a.due.0, row, false);
                }
                Step::Shed(a) => {
                    let slot = self.plan_one(a.due.0);
                    self.shard.shed(slot);
                    add(&self.counters.shed);
                }
                Step::Wait(at) => return Due::At(at.0),
                Step::Done => return Due::Never,
            }
        }
        Due::More
    }

    fn plan_one(&mut self, due: u64) -> SlotKey {
        add(&self.counters.planned);
        self.shard.planned(due)
    }

    /// Lets users of a closed-loop phase send; says when to look again.
    fn feed_closed_loop(&mut self, now: u64, end: u64) -> Option<u64> {
        let phases = &self.job.plan.phases;
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
            let row = (self.closed_sent as usize * self.seat.workers + self.seat.index) % self.job.requests.len();
            self.closed_sent += 1;
            self.users_busy += 1;
            // Between dispatch and here time has passed: a user's request is due when it is sent.
            let due = self.clock.now().0.min(phase.end().0 - 1);
            let slot = self.plan_one(due);
            let busy = self.users_busy;
            self.begin(slot, due, row, true);
            if self.users_busy < busy {
                return Some(now + PAUSE_NS);
            }
        }
        (self.users_busy < share).then_some(now)
    }

    /// Puts a request on an idle connection, or on a new one.
    fn begin(&mut self, slot: SlotKey, due: u64, row: usize, closed_loop: bool) {
        let sent = self.clock.now().0;
        let in_flight = self.shared.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        if in_flight > self.shared.in_flight_max.load(Ordering::Relaxed) {
            self.shared.in_flight_max.fetch_max(in_flight, Ordering::Relaxed);
        }
        self.flights += 1;
        self.shard.sent(slot, due, sent, in_flight);
        self.next_id += 1;
        let flight = Flight { id: self.next_id, row, slot, due, sent, closed_loop };
        let line = match self.take_idle(sent) {
            Some(line) => line,
            None => match self.open(sent) {
                Ok(line) => line,
                Err((class, why)) => return self.end(flight, Err((class, why))),
            },
        };
        self.deadlines.push_back((sent + self.timeout(), line, flight.id));
        let held = self.lines[line as usize].as_mut().expect("taken or opened above");
        held.flight = Some(flight);
        if held.conn.is_idle() {
            let request = self.job.requests.get(row);
            if let Err(failure) = held.conn.send(request) {
                self.fail(line, failure);
            }
        }
    }

    fn take_idle(&mut self, now: u64) -> Option<u32> {
        while let Some((index, generation)) = self.idle.pop_front() {
            let Some(line) = self.lines[index as usize].as_mut().filter(|l| l.generation == generation) else {
                continue;
            };
            line.queued = false;
            if now - line.opened < line.max_age {
                return Some(index);
            }
            self.drop_line(index);
        }
        None
    }

    fn open(&mut self, now: u64) -> Result<u32, (ErrorClass, String)> {
        let address =
            self.job.resolved.next().ok_or((ErrorClass::Dns, "the name does not resolve any more".to_owned()))?;
        let traffic = &self.job.plan.traffic;
        let head_only = self.job.plan.target.method == "HEAD";
        let conn = Conn::open(address, self.job.tls.as_ref(), traffic.max_answer, head_only)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.lines.push(None);
            self.lines.len() as u32 - 1
        });
        self.generation = self.generation.wrapping_add(1);
        let data = EventData::new_u64(u64::from(self.generation) << 32 | u64::from(index));
        // Edge-triggered for both ways, once: no further call is needed for the life of the connection.
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(e) = epoll::add(&self.poller, conn.fd(), data, interest) {
            self.free.push(index);
            return Err((ErrorClass::Client, e.to_string()));
        }
        // Ages scatter by a quarter, so that connections opened together do not all end together.
        let age =
            |limit: std::time::Duration| (limit.as_nanos() as f64 * (0.75 + 0.5 * rng::unit(&mut self.chance))) as u64;
        let max_age = traffic.connection_max_age.map_or(u64::MAX, age);
        self.lines[index as usize] = Some(Line {
            conn,
            generation: self.generation,
            flight: None,
            opened: now,
            max_age,
            connect: 0,
            queued: false,
        });
        self.open_lines += 1;
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        Ok(index)
    }

    /// Keeps as many connections open as the scenario asks for, and lets old idle ones go.
    fn keep_pool(&mut self, now: u64) {
        let traffic = &self.job.plan.traffic;
        if traffic.connection_max_age.is_some() {
            for index in 0..self.lines.len() as u32 {
                let old = self.lines[index as usize].as_ref().is_some_and(|l| {
                    l.flight.is_none() && l.conn.is_idle() && now.saturating_sub(l.opened) >= l.max_age
                });
                if old {
                    self.drop_line(index);
                }
            }
        }
        let Some(total) = traffic.connections else { return };
        let share = total / self.seat.workers + usize::from(self.seat.index < total % self.seat.workers);
        let missing = share.saturating_sub(self.open_lines).min(OPEN_PER_TICK);
        for _ in 0..missing {
            // A target that refuses is the requests' business; the pool tries again at the next tick.
            if self.open(now).is_err() {
                return;
            }
        }
    }

    fn drop_line(&mut self, index: u32) {
        if self.lines[index as usize].take().is_some() {
            self.free.push(index);
            self.open_lines -= 1;
        }
    }

    fn expire(&mut self, now: u64) {
        while let Some((deadline, index, id)) = self.deadlines.front().copied() {
            let running = self.lines[index as usize].as_ref().filter(|l| l.flight.is_some_and(|f| f.id == id));
            match running {
                // Answered long ago: its deadline means nothing any more.
                None => drop(self.deadlines.pop_front()),
                Some(_) if deadline > now => return,
                Some(line) => {
                    self.deadlines.pop_front();
                    let limit = crate::units::show_duration(self.job.plan.traffic.timeout);
                    let failure = if line.conn.is_connecting() {
                        (ErrorClass::ConnectTimeout, format!("not connected within {limit}"))
                    } else {
                        (ErrorClass::Timeout, format!("no whole answer within {limit}"))
                    };
                    self.fail(index, failure);
                }
            }
        }
    }

    /// Waits, then handles what came; true when there may be more at once.
    fn take_events(&mut self, events: &mut Vec<epoll::Event>, wait_ns: u64) -> bool {
        events.clear();
        let wait = |ns: u64, events: &mut Vec<epoll::Event>| {
            epoll::wait(&self.poller, spare_capacity(events), Some(&clock::timespec(ns)))
        };
        match wait(wait_ns, events) {
            Ok(_) => {}
            // No `epoll_pwait2` here (Linux before 5.11, some sandboxes): whole milliseconds go by the older call, the
            // rest is spent looking, since late is worse than busy.
            Err(Errno::NOSYS | Errno::PERM) if wait(wait_ns / 1_000_000 * 1_000_000, events).is_ok() => {}
            Err(_) => return false,
        }
        for event in events.iter() {
            let data = event.data.u64();
            let (generation, index) = ((data >> 32) as u32, data as u32);
            let flags = event.flags;
            let current = self.lines.get_mut(index as usize).and_then(Option::as_mut);
            let Some(line) = current.filter(|l| l.generation == generation) else { continue };
            let hung_up = flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR);
            let event = line.conn.on_ready(hung_up);
            self.handle(index, event);
        }
        events.len() == EVENTS
    }

    fn handle(&mut self, index: u32, event: Event) {
        match event {
            Event::Pending => {}
            Event::Connected => self.connected(index),
            Event::Answered => self.answered(index),
            Event::Failed(class, why) => self.fail(index, (class, why)),
        }
    }

    fn connected(&mut self, index: u32) {
        let line = self.lines[index as usize].as_mut().expect("events come for open lines");
        line.connect = self.clock.now().0 - line.opened;
        let Some(flight) = line.flight else { return self.rest(index) };
        self.shard.connected(flight.slot, line.connect);
        if let Err(failure) = line.conn.send(self.job.requests.get(flight.row)) {
            self.fail(index, failure);
        }
    }

    fn answered(&mut self, index: u32) {
        let done = self.clock.now().0;
        let line = self.lines[index as usize].as_mut().expect("events come for open lines");
        let flight = line.flight.take().expect("an answer belongs to a request");
        let (job, shard) = (self.job, &mut self.shard);
        let good = line.conn.with_answer(|answer| {
            let outcome = job.checker.check(answer, &job.bodies, flight.row);
            let seen;
            let outcome = match outcome {
                Ok(facts) => Ok(facts),
                Err(wrong) => {
                    seen = describe(&wrong, answer.body);
                    Err((class_of(&wrong), seen.as_str()))
                }
            };
            let good = outcome.is_ok();
            shard.done(flight.slot, &Sample { due: flight.due, sent: flight.sent, done, outcome });
            good
        });
        let reusable = line.conn.recycle() && done - line.opened < line.max_age;
        self.count(flight, good);
        if reusable { self.rest(index) } else { self.drop_line(index) }
    }

    /// Puts a connection without a request into the queue of idle ones.
    fn rest(&mut self, index: u32) {
        let line = self.lines[index as usize].as_mut().expect("only open lines rest");
        if !line.queued {
            line.queued = true;
            self.idle.push_back((index, line.generation));
        }
    }

    /// A connection is of no more use; the request on it, if any, has failed.
    fn fail(&mut self, index: u32, mut failure: (ErrorClass, String)) {
        let line = self.lines[index as usize].as_mut();
        let flight = line.and_then(|line| {
            let flight = line.flight.take()?;
            let since = self.clock.now().0 - flight.sent;
            if matches!(failure.0, ErrorClass::Closed | ErrorClass::Reset)
                && line.conn.is_reused_and_silent()
                && since <= race(line.connect)
            {
                failure = (ErrorClass::IdleClosed, format!("{} {} us after it was reused", failure.1, since / 1_000));
            }
            Some(flight)
        });
        self.drop_line(index);
        if let Some(flight) = flight {
            self.end(flight, Err(failure));
        }
    }

    fn end(&mut self, flight: Flight, outcome: Result<(), (ErrorClass, String)>) {
        let done = self.clock.now().0;
        let outcome = match &outcome {
            Ok(()) => unreachable!("answers end in `answered`"),
            Err((class, why)) => Err((*class, why.as_str())),
        };
        self.shard.done(flight.slot, &Sample { due: flight.due, sent: flight.sent, done, outcome });
        self.count(flight, false);
    }

    fn count(&mut self, flight: Flight, good: bool) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.flights -= 1;
        self.users_busy -= usize::from(flight.closed_loop);
        add(if good { &self.counters.ok } else { &self.counters.failed });
    }

    /// Counts everything that did not end.
    fn close<I: Iterator<Item = crate::schedule::Arrival>>(&mut self, dispatch: &mut Dispatch<I>) {
        for index in 0..self.lines.len() as u32 {
            if self.lines[index as usize].is_some() {
                self.fail(index, (ErrorClass::Unfinished, "still unanswered when the run ended".into()));
            }
        }
        let now = self.clock.now().0;
        for arrival in dispatch.leftover(self.shared.load_end()) {
            add(&self.counters.planned);
            add(&self.counters.failed);
            let slot = self.shard.planned(arrival.due.0);
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
