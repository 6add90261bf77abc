//! The floor: about as little as a client on epoll can do per request, for `× floor` in `just bench-peers`.
//!
//! Owns a closed loop and an open loop at a uniform rate over kept connections: one prebuilt request, bytes counted by
//! `content-length`, an array of microseconds for latencies. Leaves alone everything that makes a client trustworthy:
//! timeouts, failures, other framings, what an answer says. Whatever it does not expect ends it. A bench, never in the product.
//!
//! usage: floor closed|open ADDRESS:PORT PATH CONNECTIONS SECONDS [RATE]

mod common;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::Timespec;

use common::{ANSWER_MAX, Asked, BATCH, Latencies, is_whole, now};

/// A connection, the bytes of its answer so far, and when its request was due.
struct Line {
    stream: TcpStream,
    buffer: [u8; ANSWER_MAX],
    filled: usize,
    due: u64,
}

struct Floor {
    poller: OwnedFd,
    lines: Vec<Line>,
    request: Vec<u8>,
    latencies: Latencies,
}

fn main() {
    let Some(asked) = common::asked() else { return };
    let mut floor = Floor::connect(&asked);
    let (planned, took) = match asked.rate {
        None => floor.closed(asked.length_ns),
        Some(rate) => floor.open(asked.length_ns, asked.planned(rate), rate),
    };
    floor.latencies.print(planned, took);
}

impl Floor {
    fn connect(asked: &Asked) -> Floor {
        let poller = epoll::create(CreateFlags::CLOEXEC).expect("an epoll descriptor");
        let lines = (0..asked.connections).map(|index| {
            let stream = TcpStream::connect(&asked.address).expect("the server accepts");
            stream.set_nodelay(true).expect("an option of TCP");
            stream.set_nonblocking(true).expect("a socket may be nonblocking");
            let interest = EventFlags::IN | EventFlags::ET;
            epoll::add(&poller, &stream, EventData::new_u64(index as u64), interest).expect("a socket can be watched");
            Line { stream, buffer: [0; ANSWER_MAX], filled: 0, due: 0 }
        });
        Floor { lines: lines.collect(), poller, request: asked.request(), latencies: Latencies::new() }
    }

    /// Every connection sends again as soon as it is answered; requests planned and nanoseconds taken.
    fn closed(&mut self, length: u64) -> (u64, u64) {
        let start = now();
        let mut events = Vec::with_capacity(BATCH);
        for index in 0..self.lines.len() {
            self.send(index, now());
        }
        loop {
            self.wait(&mut events, length);
            for event in &events {
                let index = event.data.u64() as usize;
                if self.receive(index) {
                    self.send(index, now());
                }
            }
            let took = now() - start;
            if took >= length {
                return (self.latencies.answers, took);
            }
        }
    }

    /// One request each `1/rate` seconds, on an idle connection or on the next that becomes idle.
    fn open(&mut self, length: u64, planned: u64, rate: f64) -> (u64, u64) {
        let start = now();
        let due = |index: u64| start + (index as f64 * 1e9 / rate) as u64;
        let mut idle: VecDeque<usize> = (0..self.lines.len()).collect();
        let mut events = Vec::with_capacity(BATCH);
        let mut sent = 0;
        while self.latencies.answers < planned {
            let mut wait = length;
            for _ in 0..BATCH {
                if sent == planned || idle.is_empty() {
                    break;
                }
                wait = due(sent).saturating_sub(now());
                if wait > 0 {
                    break;
                }
                self.send(idle.pop_front().expect("looked at above"), due(sent));
                sent += 1;
            }
            self.wait(&mut events, wait);
            for event in &events {
                let index = event.data.u64() as usize;
                if self.receive(index) {
                    idle.push_back(index);
                }
            }
        }
        (planned, now() - start)
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, nanos: u64) {
        events.clear();
        let limit = Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 };
        epoll::wait(&self.poller, spare_capacity(events), Some(&limit)).expect("epoll_pwait2 (Linux 5.11)");
    }

    fn send(&mut self, index: usize, due: u64) {
        let line = &mut self.lines[index];
        line.due = due;
        // A request is smaller than any socket buffer, and nothing else is in it.
        line.stream.write_all(&self.request).expect("the server listens");
    }

    /// Takes what came; true when the answer is whole. Also called for edges that bring nothing.
    fn receive(&mut self, index: usize) -> bool {
        let line = &mut self.lines[index];
        match line.stream.read(&mut line.buffer[line.filled..]) {
            Ok(0) => panic!("the server closed, or its answer is longer than this client reads"),
            Ok(n) => line.filled += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
            Err(e) => panic!("reading: {e}"),
        }
        let whole = is_whole(&line.buffer[..line.filled]);
        if whole {
            line.filled = 0;
            self.latencies.count(line.due);
        }
        whole
    }
}
