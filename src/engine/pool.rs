//! One worker's connections: which are open, which has room, which are too old.
//!
//! Owns their life; leaves what happens on them to the worker. Every connection gets its turn, so that load spreads
//! over whatever stands behind them.

use std::collections::VecDeque;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::client::Failure;
use crate::client::conn::Conn;
use crate::engine::{Job, Shared};
use crate::outcome::ErrorClass;
use crate::record::SlotKey;
use crate::rng::{self, Stream};
use crate::target::TokenStream;

/// Spare connections opened per tick.
const OPEN_PER_TICK: usize = 16;

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) row: usize,
    pub(super) slot: SlotKey,
    pub(super) due: u64,
    pub(super) sent: u64,
    pub(super) closed_loop: bool,
    /// Altered, and counted apart from everything else.
    pub(super) apart: bool,
}

/// The tokens of an answer, read while it comes in. Kept for the next answer in its slot.
#[derive(Default)]
pub(super) struct Reading {
    /// Bytes of the body that were looked at.
    fed: usize,
    pub(super) stream: TokenStream,
}

/// A connection and the requests on it.
pub(super) struct Line {
    pub(super) conn: Conn,
    pub(super) generation: u32,
    /// By their slot on the connection.
    pub(super) flights: Vec<Option<Flight>>,
    /// Likewise; empty where answers are not read by tokens.
    pub(super) readings: Vec<Reading>,
    pub(super) busy: u32,
    pub(super) opened: u64,
    /// How long connecting took: an upper estimate of the way there and back.
    pub(super) connect: u64,
    /// When TCP stood and the TLS handshake began.
    pub(super) handshake: Option<u64>,
    /// When something was last heard on it.
    pub(super) heard: u64,
    begun: u64,
    max_age: u64,
    /// Already in the queue of those with room.
    queued: bool,
    /// Takes no further request.
    retired: bool,
}

impl Line {
    /// The request in this slot, which it leaves.
    pub(super) fn land(&mut self, slot: u32) -> Option<Flight> {
        let flight = self.flights.get_mut(slot as usize)?.take()?;
        self.busy -= 1;
        Some(flight)
    }

    /// Takes what has newly come of every answer, read at this moment.
    pub(super) fn read_tokens(&mut self, at: u64) {
        let under_way =
            self.flights.iter().zip(&mut self.readings).enumerate().filter(|(_, (flight, _))| flight.is_some());
        for (slot, (_, reading)) in under_way {
            let body = self.conn.body_so_far(slot as u32);
            reading.stream.feed(body.get(reading.fed..).unwrap_or_default(), at);
            reading.fed = body.len();
        }
    }
}

/// The connections of one worker.
pub(super) struct Pool {
    pub(super) poller: OwnedFd,
    lines: Vec<Option<Line>>,
    free: Vec<u32>,
    /// (line, generation) of those with room, oldest first.
    idle: VecDeque<(u32, u32)>,
    open: usize,
    generation: u32,
    opened: usize,
    chance: Stream,
    /// Kept open, of all workers' connections.
    share: Option<usize>,
}

impl Pool {
    /// For worker `index` of so many.
    pub(super) fn new(job: &Job, index: usize, workers: usize) -> Pool {
        Pool {
            poller: epoll::create(CreateFlags::CLOEXEC).expect("an epoll descriptor can be made"),
            lines: Vec::new(),
            free: Vec::new(),
            idle: VecDeque::new(),
            open: 0,
            generation: 0,
            // Workers begin at different ones of our own addresses.
            opened: index,
            chance: rng::stream(job.plan.seed, &format!("connections:{index}")),
            share: job.plan.traffic.connections.map(|n| n / workers + usize::from(index < n % workers)),
        }
    }

    /// One past the highest number of a line.
    pub(super) fn len(&self) -> u32 {
        self.lines.len() as u32
    }

    pub(super) fn get(&self, index: u32) -> Option<&Line> {
        self.lines.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Line> {
        self.lines.get_mut(index as usize)?.as_mut()
    }

    /// The line that an event speaks of, unless it is gone and another has its place.
    pub(super) fn of_event(&mut self, data: u64) -> Option<(u32, &mut Line)> {
        let (generation, index) = ((data >> 32) as u32, data as u32);
        self.get_mut(index).filter(|l| l.generation == generation).map(|line| (index, line))
    }

    /// A connection with room, if there is one.
    pub(super) fn take(&mut self, now: u64, job: &Job) -> Option<u32> {
        while let Some((index, generation)) = self.idle.pop_front() {
            let Some(line) = self.get_mut(index).filter(|l| l.generation == generation) else { continue };
            line.queued = false;
            if is_spent(line, now, job) {
                self.retire(index);
            } else if line.conn.room() > 0 {
                return Some(index);
            }
        }
        None
    }

    /// A request was put on it: notes it, and offers what room is left.
    pub(super) fn board(&mut self, index: u32, slot: u32, flight: Flight, job: &Job) {
        let line = self.get_mut(index).expect("a request is put on an open line");
        let slot = slot as usize;
        if line.flights.len() <= slot {
            line.flights.resize(slot + 1, None);
        }
        line.flights[slot] = Some(flight);
        if job.checker.reads_tokens() {
            line.readings.resize_with(line.readings.len().max(slot + 1), Reading::default);
            line.readings[slot].fed = 0;
            line.readings[slot].stream.reset();
        }
        line.busy += 1;
        line.begun += 1;
        if job.plan.traffic.connection_max_requests.is_some_and(|max| line.begun >= max) {
            line.retired = true;
        } else if line.conn.room() > 0 {
            self.rest(index);
        }
    }

    /// Offers a connection with room.
    pub(super) fn rest(&mut self, index: u32) {
        let line = self.get_mut(index).expect("only open lines rest");
        if !line.queued && !line.retired {
            line.queued = true;
            let generation = line.generation;
            self.idle.push_back((index, generation));
        }
    }

    /// After a request on it has ended: goes on with it, or lets it go.
    pub(super) fn settle(&mut self, index: u32, reusable: bool, now: u64, job: &Job) {
        let Some(line) = self.get_mut(index) else { return };
        if !reusable || line.retired || is_spent(line, now, job) { self.retire(index) } else { self.rest(index) }
    }

    /// No further request goes on it; it ends with those that are on it.
    pub(super) fn retire(&mut self, index: u32) {
        let Some(line) = self.get_mut(index) else { return };
        line.retired = true;
        if line.busy == 0 {
            self.drop_line(index);
        }
    }

    /// Closes it.
    pub(super) fn drop_line(&mut self, index: u32) -> Option<Line> {
        let line = self.lines.get_mut(index as usize)?.take()?;
        self.free.push(index);
        self.open -= 1;
        Some(line)
    }

    /// Opens one more.
    pub(super) fn open(&mut self, now: u64, job: &Job, shared: &Shared) -> Result<u32, Failure> {
        let address = job.resolved.next().ok_or((ErrorClass::Dns, "the name does not resolve any more".to_owned()))?;
        let sources = &job.endpoint.sources;
        let source = (!sources.is_empty()).then(|| sources[self.opened % sources.len()]);
        self.opened += 1;
        let conn = Conn::open(&job.endpoint, &job.requests, address, source)?;
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
        let max_age = job.plan.traffic.connection_max_age.map_or(u64::MAX, age);
        self.lines[index as usize] = Some(Line {
            conn,
            generation: self.generation,
            flights: Vec::with_capacity(1),
            readings: Vec::new(),
            busy: 0,
            opened: now,
            connect: 0,
            handshake: None,
            heard: now,
            begun: 0,
            max_age,
            queued: false,
            retired: false,
        });
        self.open += 1;
        shared.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(index)
    }

    /// Keeps as many connections open as the scenario asks for; lets idle ones go that are too old, or that a
    /// connect without an answer left hanging.
    pub(super) fn keep(&mut self, now: u64, job: &Job, shared: &Shared) {
        let timeout = job.plan.traffic.timeout.as_nanos() as u64;
        for index in 0..self.len() {
            let over = |l: &Line| {
                let age = now.saturating_sub(l.opened);
                l.busy == 0 && if l.conn.is_connecting() { age >= timeout } else { age >= l.max_age }
            };
            if self.get(index).is_some_and(over) {
                self.drop_line(index);
            }
        }
        let missing = self.share.unwrap_or(0).saturating_sub(self.open).min(OPEN_PER_TICK);
        for _ in 0..missing {
            // A target that refuses is the requests' business; the pool tries again at the next tick.
            if self.open(now, job, shared).is_err() {
                return;
            }
        }
    }
}

fn is_spent(line: &Line, now: u64, job: &Job) -> bool {
    now.saturating_sub(line.opened) >= line.max_age
        || job.plan.traffic.connection_max_requests.is_some_and(|max| line.begun >= max)
}
