//! The floor: about as little as a client on epoll can do per request, for `× floor` in `just bench-peers`.
//!
//! Owns a closed loop and an open loop at a uniform rate over kept connections: one prebuilt request, bytes counted by
//! `content-length`, an array of microseconds for latencies. Leaves alone everything that makes a client trustworthy:
//! timeouts, failures, other framings, what an answer says. Whatever it does not expect ends it. A bench, never in the product.
//!
//! usage: floor closed|open ADDRESS:PORT PATH CONNECTIONS SECONDS [RATE]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::num::NonZero;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::thread::set_current_timer_slack;
use rustix::time::{ClockId, Timespec, clock_gettime};

const BODY: &str = r#"{"dataframe_split":{"columns":["amount","country"],"data":[[14.05,4900]]}}"#;
/// Latencies are counted by the microsecond up to here; longer ones share the last place.
const LATENCY_MAX_US: usize = 1_000_000;
/// Events taken per wait, sends in a row before sockets are looked at.
const BATCH: usize = 256;

/// A connection, the bytes of its answer so far, and when its request was due.
struct Line {
    stream: TcpStream,
    buffer: [u8; 2048],
    filled: usize,
    due: u64,
}

struct Floor {
    poller: OwnedFd,
    lines: Vec<Line>,
    request: Vec<u8>,
    /// How many answers took so many microseconds.
    latencies: Vec<u32>,
    answers: u64,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (address, path, connections, seconds, rate) = match words[..] {
        ["closed", address, path, connections, seconds] => (address, path, connections, seconds, None),
        ["open", address, path, connections, seconds, rate] => (address, path, connections, seconds, Some(rate)),
        // `cargo bench` runs every bench without arguments; this one has nothing to say then.
        _ => return eprintln!("usage: floor closed|open ADDRESS:PORT PATH CONNECTIONS SECONDS [RATE]"),
    };
    // The kernel may delay a thread's timers by its slack, 50 µs by default.
    let _ = set_current_timer_slack(NonZero::new(1));
    let mut floor = Floor::connect(address, path, number(connections) as usize);
    let length = number(seconds) * 1e9;
    let (planned, took) = match rate {
        None => floor.closed(length as u64),
        Some(rate) => floor.open(length as u64, number(rate)),
    };
    floor.print(planned, took);
}

fn number(word: &str) -> f64 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Floor {
    fn connect(address: &str, path: &str, connections: usize) -> Floor {
        let poller = epoll::create(CreateFlags::CLOEXEC).expect("an epoll descriptor");
        let lines = (0..connections).map(|index| {
            let stream = TcpStream::connect(address).expect("the server accepts");
            stream.set_nodelay(true).expect("an option of TCP");
            stream.set_nonblocking(true).expect("a socket may be nonblocking");
            let interest = EventFlags::IN | EventFlags::ET;
            epoll::add(&poller, &stream, EventData::new_u64(index as u64), interest).expect("a socket can be watched");
            Line { stream, buffer: [0; 2048], filled: 0, due: 0 }
        });
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        Floor {
            lines: lines.collect(),
            poller,
            request: request.into_bytes(),
            latencies: vec![0; LATENCY_MAX_US + 1],
            answers: 0,
        }
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
                return (self.answers, took);
            }
        }
    }

    /// One request each `1/rate` seconds, on an idle connection or on the next that becomes idle.
    fn open(&mut self, length: u64, rate: f64) -> (u64, u64) {
        let start = now();
        let (planned, due) =
            ((length as f64 * rate / 1e9) as u64, |index: u64| start + (index as f64 * 1e9 / rate) as u64);
        let mut idle: VecDeque<usize> = (0..self.lines.len()).collect();
        let mut events = Vec::with_capacity(BATCH);
        let mut sent = 0;
        while self.answers < planned {
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
        let whole = answer_length(&line.buffer[..line.filled]).is_some_and(|length| length == line.filled);
        if whole {
            line.filled = 0;
            self.answers += 1;
            self.latencies[((now() - line.due) as usize / 1000).min(LATENCY_MAX_US)] += 1;
        }
        whole
    }

    /// Time from due (of a closed loop: from sent) within which this share of the answers came.
    fn quantile_us(&self, share: f64) -> usize {
        let wanted = (self.answers as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = self.latencies.iter().position(|&count| {
            seen += u64::from(count);
            seen >= wanted
        });
        reached.unwrap_or(LATENCY_MAX_US)
    }

    fn print(&self, planned: u64, took: u64) {
        println!(
            "{{\"requests\": {}, \"planned\": {planned}, \"rps\": {:.1}, \"p50_us\": {}, \"p99_us\": {}}}",
            self.answers,
            self.answers as f64 * 1e9 / took as f64,
            self.quantile_us(0.5),
            self.quantile_us(0.99)
        );
    }
}

/// Bytes of head and body together, once the head is whole. Only a good answer with a `content-length` will do.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    assert!(bytes.starts_with(b"HTTP/1.1 200"), "an answer other than 200");
    // nginx writes it so; a client for other servers would have to look closer.
    const NAME: &[u8] = b"\r\nContent-Length: ";
    let at = bytes[..head].windows(NAME.len()).position(|window| window == NAME).expect("nginx's content-length");
    let digits = bytes[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(head + digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}
