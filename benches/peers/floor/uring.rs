//! The floor on io_uring: as `epoll.rs`, with what io_uring has to save system calls, for the question whether it pays.
//!
//! Requests are queued and leave with the wait for answers; receives are armed once per connection (multishot) and fill
//! buffers from a ring that the kernel takes them from; a send that succeeds makes no completion. The same loads, the same answers, the same
//! numbers as the other floor, and likewise whatever it does not expect ends it. A bench, never in the product.
//!
//! usage: floor-uring closed|open ADDRESS:PORT PATH CONNECTIONS SECONDS [RATE]

#![allow(unsafe_code, reason = "memory is handed to the kernel; the product has none of this")]

mod common;

use std::alloc::{Layout, alloc_zeroed};
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use common::{ANSWER_MAX, Asked, BATCH, Latencies, is_whole, now};

/// Receive buffers; a power of two, more than there may be answers between two waits.
const BUFFERS: u16 = 4096;
/// Queued requests; more than these are submitted early.
const QUEUE: u32 = 4096;
/// What a completion of a send, which only a failed one makes, carries beside its connection.
const SEND: u64 = 1 << 32;
const PAGE: usize = 4096;

/// A connection, the bytes of its answer so far, and when its request was due.
struct Line {
    _stream: TcpStream,
    buffer: [u8; ANSWER_MAX],
    filled: usize,
    due: u64,
}

/// The receive buffers, and the ring in which they are offered to the kernel. Both stand until the process ends.
struct Buffers {
    ring: *mut BufRingEntry,
    bytes: *mut u8,
    tail: u16,
}

impl Buffers {
    fn new() -> Buffers {
        let pages = |size| {
            let layout = Layout::from_size_align(size, PAGE).expect("a size of whole pages");
            // SAFETY: the size is not zero. Zeroed memory is a valid value of everything that is kept in it.
            let memory = unsafe { alloc_zeroed(layout) };
            assert!(!memory.is_null(), "no memory");
            memory
        };
        let ring = pages(usize::from(BUFFERS) * size_of::<BufRingEntry>()).cast();
        let mut buffers = Buffers { ring, bytes: pages(usize::from(BUFFERS) * ANSWER_MAX), tail: 0 };
        (0..BUFFERS).for_each(|buffer| buffers.give(buffer));
        buffers.publish();
        buffers
    }

    fn at(&self, buffer: u16) -> *mut u8 {
        // SAFETY: there are `BUFFERS` of this size.
        unsafe { self.bytes.add(usize::from(buffer) * ANSWER_MAX) }
    }

    /// Puts a buffer that was looked at back in the ring.
    fn give(&mut self, buffer: u16) {
        // SAFETY: the place lies within the ring, and beyond the tail that the kernel was told: it does not read it yet.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail % BUFFERS)) };
        entry.set_addr(self.at(buffer) as u64);
        entry.set_len(ANSWER_MAX as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel what was given back.
    fn publish(&self) {
        // SAFETY: the tail lies in the first entry, is aligned, and is only ever accessed as an atomic while the kernel reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

struct Floor {
    ring: IoUring,
    buffers: Buffers,
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
        let lines = (0..asked.connections).map(|_| {
            let stream = TcpStream::connect(&asked.address).expect("the server accepts");
            stream.set_nodelay(true).expect("an option of TCP");
            Line { _stream: stream, buffer: [0; ANSWER_MAX], filled: 0, due: 0 }
        });
        let lines: Vec<Line> = lines.collect();
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(2 * QUEUE);
        let ring = builder.build(QUEUE).expect("io_uring (Linux 6.1, and not forbidden here)");
        let descriptors: Vec<i32> = lines.iter().map(|line| line._stream.as_raw_fd()).collect();
        ring.submitter().register_files(&descriptors).expect("descriptors can be registered");
        let buffers = Buffers::new();
        // SAFETY: the ring of buffers is page-aligned, has so many entries, and outlives the io_uring: it is never freed.
        let registered = unsafe { ring.submitter().register_buf_ring_with_flags(buffers.ring as u64, BUFFERS, 0, 0) };
        registered.expect("a ring of buffers can be registered");
        let mut floor = Floor { ring, buffers, lines, request: asked.request(), latencies: Latencies::new() };
        (0..floor.lines.len()).for_each(|index| floor.arm(index));
        floor
    }

    fn closed(&mut self, length: u64) -> (u64, u64) {
        let start = now();
        for index in 0..self.lines.len() {
            self.send(index, now());
        }
        let mut whole = Vec::new();
        loop {
            self.wait(&mut whole, length);
            for index in whole.drain(..) {
                self.send(index, now());
            }
            let took = now() - start;
            if took >= length {
                return (self.latencies.answers, took);
            }
        }
    }

    fn open(&mut self, length: u64, planned: u64, rate: f64) -> (u64, u64) {
        let start = now();
        let due = |index: u64| start + (index as f64 * 1e9 / rate) as u64;
        let mut idle: VecDeque<usize> = (0..self.lines.len()).collect();
        let mut whole = Vec::new();
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
            self.wait(&mut whole, wait);
            idle.extend(whole.drain(..));
        }
        (planned, now() - start)
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what an entry points to, the request, stands until the process ends, and is not written to.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("io_uring takes what is queued");
        }
    }

    fn arm(&mut self, index: usize) {
        self.push(&opcode::RecvMulti::new(Fixed(index as u32), 0).build().user_data(index as u64));
    }

    fn send(&mut self, index: usize, due: u64) {
        self.lines[index].due = due;
        // A request is smaller than any socket buffer, and nothing else is in it: it is sent whole.
        let send = opcode::Send::new(Fixed(index as u32), self.request.as_ptr(), self.request.len() as u32);
        self.push(&send.build().flags(squeue::Flags::SKIP_SUCCESS).user_data(SEND | index as u64));
    }

    /// Sends what is queued, waits, and takes what came; adds the connections whose answers are whole.
    fn wait(&mut self, whole: &mut Vec<usize>, nanos: u64) {
        let limit = Timespec::new().sec(nanos / 1_000_000_000).nsec((nanos % 1_000_000_000) as u32);
        let waited = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit));
        if let Err(e) = waited {
            assert!(matches!(e.raw_os_error(), Some(ETIME | EINTR)), "waiting: {e}");
        }
        let mut ended = Vec::new();
        for completion in self.ring.completion() {
            let index = completion.user_data() as usize;
            assert!(completion.user_data() & SEND == 0, "sending: {}", error(completion.result()));
            let length =
                usize::try_from(completion.result()).unwrap_or_else(|_| panic!("{}", error(completion.result())));
            assert!(length > 0, "the server closed");
            let buffer = cqueue::buffer_select(completion.flags()).expect("bytes come in a buffer");
            // SAFETY: the kernel has filled so much of this buffer and gave it to us; it does not write to it until it is given back.
            let bytes = unsafe { std::slice::from_raw_parts(self.buffers.at(buffer), length) };
            let line = &mut self.lines[index];
            line.buffer[line.filled..line.filled + length].copy_from_slice(bytes);
            line.filled += length;
            self.buffers.give(buffer);
            if is_whole(&line.buffer[..line.filled]) {
                line.filled = 0;
                self.latencies.count(line.due);
                whole.push(index);
            }
            if !cqueue::more(completion.flags()) {
                ended.push(index);
            }
        }
        self.buffers.publish();
        // A multishot receive ends when it found no buffer, or the completion queue full.
        ended.into_iter().for_each(|index| self.arm(index));
    }
}

const ETIME: i32 = 62;
const EINTR: i32 = 4;

fn error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}
