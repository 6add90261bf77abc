//! One HTTP/2 connection as a client (RFC 9113): octets in, events and octets out.
//!
//! A state machine without socket, clock or runtime: its owner moves the octets and says when a request has waited long
//! enough. Total by design, as all of `client/`: whatever a peer sends becomes an answer or an [`ErrorClass`], in bounded
//! memory, and never a panic. Nothing is sent twice: a request that the peer refused is a failed request.
//!
//! | file | owns |
//! |---|---|
//! | `frame` | the layout of frames |
//! | `hpack`, `huffman` | header compression |
//! | `head` | what the fields of an answer say |
//! | `requests` | request heads, written before the run |
//! | `stream` | the slots of streams |
//! | `receive` | what a peer's frames do |
//! | `conn` | a session on a socket |
//! | this one | the owner's side: begin, send, answer, let go |

mod conn;
mod frame;
mod head;
mod hpack;
mod huffman;
mod receive;
mod requests;
mod stream;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::client::http1::HEAD_MAX;
use crate::outcome::ErrorClass;
use crate::target::{Answer, Headers};

pub(super) use conn::Http2;
use frame::{HEADER, MAX_31, PAYLOAD_MAX, WINDOW_DEFAULT, code, flag, kind, setting};
use head::LastHead;
use receive::{Block, Data, Violation};
use requests::PeerTable;
pub use requests::Requests;
use stream::{State, Stream, Streams};

/// What a peer is taken to allow before it has said so: the least that RFC 9113 asks of it.
const STREAMS_BEFORE_SETTINGS: usize = 100;
/// What the peer may send on a connection before we allow more; large, so that allowing more is rare.
const CONNECTION_WINDOW: i64 = 1 << 30;
/// Bodies wait their turn while so much waits for the socket already.
const BODIES_WAIT_ABOVE: usize = 64 << 10;
/// No request is begun while so much waits for the socket.
const FULL_ABOVE: usize = 256 << 10;
/// Replies to the peer's own frames that may wait for the socket: a peer that makes more and reads none means no good.
const REPLIES_MAX: usize = 128 << 10;

/// What came of the octets that were received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This slot has its whole answer: [`Session::with_answer`], then [`Session::release`].
    Answered(u32),
    /// This slot will get no answer. It is to be released.
    StreamFailed(u32, ErrorClass, Cow<'static, str>),
    /// The connection is of no more use; whatever was open has had its own event before. Nothing follows.
    Failed(ErrorClass, Cow<'static, str>),
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct Session {
    requests: Arc<Requests>,
    max_answer: usize,
    max_streams: usize,
    over: bool,

    streams: Streams,
    /// Streams without an end.
    open: usize,
    next_id: u32,
    /// Slots with a rest of their body to send, in turn.
    unsent_bodies: VecDeque<u32>,
    events: VecDeque<(u32, Event)>,

    /// For the socket, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Octets put into `out` in reply to the peer since it was empty.
    replies: usize,
    send_window: i64,
    peer_streams: usize,
    peer_window: i64,
    peer_table: PeerTable,

    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    /// A DATA frame whose payload is coming.
    data: Option<Data>,
    /// A header block whose end has not come.
    block: Option<Block>,
    block_octets: Vec<u8>,
    last_head: LastHead,
    last_trailers: LastHead,
    /// What the peer may still send: on the connection, and at first on each stream.
    receive_window: i64,
    stream_window: i64,
    /// The peer's first SETTINGS have come.
    greeted: bool,
    /// Highest stream that the peer will answer, and how it put its leaving.
    leaving: Option<(u32, Cow<'static, str>)>,
    /// Calls of `receive`.
    heard: u64,
}

impl Session {
    /// A connection on which requests can be begun at once. Answers may be `max_answer` octets long; `max_streams`, 1 to
    /// 65,536, are open at the same time at most, fewer where the peer wants fewer.
    pub fn new(requests: Arc<Requests>, max_answer: usize, max_streams: usize) -> Session {
        let max_streams = max_streams.clamp(1, 1 << 16);
        let stream_window = (max_answer as i64).clamp(WINDOW_DEFAULT, i64::from(MAX_31));
        let mut out = Vec::with_capacity(1 << 10);
        out.extend_from_slice(frame::PREFACE);
        let settings = [
            (setting::HEADER_TABLE_SIZE, 0),
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, stream_window as u32),
            (setting::MAX_HEADER_LIST_SIZE, HEAD_MAX as u32),
        ];
        frame::put_settings(&mut out, &settings);
        frame::put_number(&mut out, kind::WINDOW_UPDATE, 0, (CONNECTION_WINDOW - WINDOW_DEFAULT) as u32);
        Session {
            requests,
            max_answer,
            max_streams,
            over: false,
            streams: Streams::new(max_streams),
            open: 0,
            next_id: 1,
            unsent_bodies: VecDeque::new(),
            events: VecDeque::new(),
            out,
            written: 0,
            replies: 0,
            send_window: WINDOW_DEFAULT,
            peer_streams: STREAMS_BEFORE_SETTINGS,
            peer_window: WINDOW_DEFAULT,
            peer_table: PeerTable::new(),
            partial: Vec::new(),
            data: None,
            block: None,
            block_octets: Vec::new(),
            last_head: LastHead::default(),
            last_trailers: LastHead::default(),
            receive_window: CONNECTION_WINDOW,
            stream_window,
            greeted: false,
            leaving: None,
            heard: 0,
        }
    }

    /// How many requests can be begun now. Zero for good once [`is_over`](Session::is_over) or the peer is leaving.
    #[inline]
    pub fn room(&self) -> usize {
        if self.over || self.leaving.is_some() || self.unwritten() > FULL_ABOVE {
            return 0;
        }
        let most = self.max_streams.min(self.peer_streams);
        most.saturating_sub(self.streams.held()).min(self.ids_left())
    }

    /// Begins the request of this row, and gives its slot: a small number, used again after [`release`](Session::release).
    ///
    /// # Panics
    /// When there is no [`room`](Session::room), or no such row.
    #[inline]
    pub fn begin(&mut self, row: usize) -> u32 {
        assert!(self.room() > 0, "ask for room before a request is begun");
        let id = self.next_id;
        self.next_id += 2;
        let slot = self.streams.begin(id);
        self.open += 1;
        let stream = self.streams.get_mut(slot);
        (stream.row, stream.send_window, stream.receive_window) = (row, self.peer_window, self.stream_window);
        stream.began_at = self.heard;
        let has_body = !self.requests.body(row).is_empty();
        self.put_head(id, row, !has_body);
        if has_body {
            self.unsent_bodies.push_back(slot);
            self.put_bodies();
        }
        slot
    }

    /// What the socket shall take next.
    #[inline]
    pub fn outgoing(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// The socket took so many octets of [`outgoing`](Session::outgoing); there may be more to take now.
    #[inline]
    pub fn sent(&mut self, octets: usize) {
        self.written += octets;
        debug_assert!(self.written <= self.out.len(), "more was sent than there was");
        if self.written >= self.out.len() {
            self.out.clear();
            self.out.shrink_to(2 * BODIES_WAIT_ABOVE);
            (self.written, self.replies) = (0, 0);
        } else if self.written >= BODIES_WAIT_ABOVE {
            self.out.drain(..self.written);
            self.written = 0;
        }
        if !self.unsent_bodies.is_empty() && !self.over {
            self.put_bodies();
        }
    }

    /// Takes in what came from the peer, cut anywhere. Events and octets for the socket may have come of it.
    #[inline]
    pub fn receive(&mut self, octets: &[u8]) {
        if self.over || octets.is_empty() {
            return;
        }
        self.heard += 1;
        if let Err(violation) = self.take_in(octets) {
            self.violated(&violation);
        } else if self.replies > REPLIES_MAX {
            let why = "the peer makes us reply and does not read the replies";
            self.violated(&Violation { code: code::ENHANCE_YOUR_CALM, class: ErrorClass::BadAnswer, why });
        } else if !self.unsent_bodies.is_empty() {
            self.put_bodies();
        }
    }

    /// The peer closed.
    pub fn closed(&mut self) {
        let why = match &self.leaving {
            Some((_, words)) => format!("the peer closed after {words}").into(),
            None if self.open > 0 => "the peer closed before a whole answer".into(),
            None => "the peer closed".into(),
        };
        self.abandon(ErrorClass::Closed, why);
    }

    /// The connection broke, as the owner saw: what is open fails with this.
    pub fn abandon(&mut self, class: ErrorClass, why: Cow<'static, str>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let open: Vec<u32> = self.streams.open_mut().map(|(slot, _)| slot).collect();
        for slot in open {
            self.end(slot, Event::StreamFailed(slot, class, why.clone()));
        }
        self.unsent_bodies.clear();
        self.events.push_back((0, Event::Failed(class, why)));
    }

    /// What happened next; slots that were released meanwhile have no more events.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some((id, event)) = self.events.pop_front() {
            let slot = match event {
                Event::Failed(..) => return Some(event),
                Event::Answered(slot) | Event::StreamFailed(slot, ..) => slot,
            };
            if self.streams.get_mut(slot).id == id {
                return Some(event);
            }
        }
        None
    }

    /// Calls `f` with the answer of a slot, or with what there is of it: status 0 before its head has come.
    #[inline]
    pub fn with_answer<R>(&self, slot: u32, f: impl FnOnce(&Answer<'_>) -> R) -> R {
        let stream = self.streams.get(slot);
        let status = if stream.has_head { stream.head.status } else { 0 };
        stream.head.with_headers(|fields| f(&Answer { status, headers: Headers::Fields(fields), body: &stream.body }))
    }

    /// What there is of an answer's body.
    #[inline]
    pub fn body_so_far(&self, slot: u32) -> &[u8] {
        &self.streams.get(slot).body
    }

    /// Nothing at all has come from the peer since this slot was begun, though something had before: the connection
    /// may have been dead already.
    pub fn is_reused_and_silent(&self, slot: u32) -> bool {
        self.heard > 0 && self.streams.get(slot).began_at == self.heard
    }

    /// Lets go of a slot, whose number is free at once. One that still waits for its answer is cancelled: the peer is told,
    /// and what it still sends of it is ignored.
    #[inline]
    pub fn release(&mut self, slot: u32) {
        let stream = self.streams.get(slot);
        debug_assert!(stream.state != State::Free, "slot {slot} was released before");
        if stream.state == State::Open {
            let id = stream.id;
            self.open -= 1;
            self.forget_body(slot);
            if !self.over {
                frame::put_number(&mut self.out, kind::RST_STREAM, id, code::CANCEL);
            }
        }
        self.streams.release(slot);
    }

    /// Nothing is open, and nothing can be begun any more: the connection can be closed.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.over || self.open == 0 && (self.leaving.is_some() || self.ids_left() == 0)
    }

    /// The peer answers what it has, and takes nothing more.
    #[inline]
    pub fn is_leaving(&self) -> bool {
        self.over || self.leaving.is_some()
    }

    fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Identifiers are used once, and odd.
    fn ids_left(&self) -> usize {
        if self.next_id > MAX_31 { 0 } else { ((MAX_31 - self.next_id) / 2 + 1) as usize }
    }

    #[inline]
    fn put_head(&mut self, id: u32, row: usize, ends: bool) {
        let (update, fields) = self.peer_table.next(&self.requests);
        let length = self.requests.length(row);
        let octets = fields.len() + length.len();
        let end = if ends { flag::END_STREAM } else { 0 };
        if update.is_none() && octets <= PAYLOAD_MAX {
            frame::put_header(&mut self.out, kind::HEADERS, flag::END_HEADERS | end, id, octets);
            self.out.extend_from_slice(fields);
            self.out.extend_from_slice(length);
            return;
        }
        let mut block = Vec::new();
        if let Some(size) = update {
            hpack::put_size_update(&mut block, size);
        }
        block.extend_from_slice(fields);
        block.extend_from_slice(length);
        let last = (block.len() - 1) / PAYLOAD_MAX;
        for (at, part) in block.chunks(PAYLOAD_MAX).enumerate() {
            let (kind, end) = if at == 0 { (kind::HEADERS, end) } else { (kind::CONTINUATION, 0) };
            let end_headers = if at == last { flag::END_HEADERS } else { 0 };
            frame::put_header(&mut self.out, kind, end | end_headers, id, part.len());
            self.out.extend_from_slice(part);
        }
    }

    /// Sends of the bodies that wait what windows and socket allow, a frame of each in turn.
    #[inline]
    fn put_bodies(&mut self) {
        let mut blocked = 0;
        while blocked < self.unsent_bodies.len() && self.send_window > 0 && self.unwritten() < BODIES_WAIT_ABOVE {
            let Some(slot) = self.unsent_bodies.pop_front() else { return };
            let stream = self.streams.get_mut(slot);
            let rest = &self.requests.body(stream.row)[stream.body_sent..];
            let allowed = self.send_window.min(stream.send_window).clamp(0, PAYLOAD_MAX as i64) as usize;
            let part = &rest[..rest.len().min(allowed)];
            if part.is_empty() {
                blocked += 1;
                self.unsent_bodies.push_back(slot);
                continue;
            }
            blocked = 0;
            stream.body_sent += part.len();
            stream.send_window -= part.len() as i64;
            self.send_window -= part.len() as i64;
            let ends = part.len() == rest.len();
            let flags = if ends { flag::END_STREAM } else { 0 };
            frame::put_header(&mut self.out, kind::DATA, flags, stream.id, part.len());
            self.out.extend_from_slice(part);
            if !ends {
                self.unsent_bodies.push_back(slot);
            }
        }
    }

    /// Ends a stream with this event. A body that was not all sent is of no more use to the peer, which is told so.
    #[inline]
    fn end(&mut self, slot: u32, event: Event) {
        let stream = self.streams.get_mut(slot);
        stream.state = State::Ended;
        let id = stream.id;
        self.open -= 1;
        self.events.push_back((id, event));
        if self.forget_body(slot) && !self.over {
            self.reply_number(kind::RST_STREAM, id, code::CANCEL);
        }
    }

    /// Ends a stream whose answer is of no use, and tells the peer why.
    fn fail(&mut self, slot: u32, code: u32, class: ErrorClass, why: &'static str) {
        self.forget_body(slot);
        let id = self.streams.get(slot).id;
        self.reply_number(kind::RST_STREAM, id, code);
        self.end(slot, Event::StreamFailed(slot, class, why.into()));
    }

    /// True when there was a rest to send, which will not be sent.
    #[inline]
    fn forget_body(&mut self, slot: u32) -> bool {
        let before = self.unsent_bodies.len();
        if before > 0 {
            self.unsent_bodies.retain(|other| *other != slot);
        }
        self.unsent_bodies.len() < before
    }

    fn violated(&mut self, violation: &Violation) {
        frame::put_header(&mut self.out, kind::GOAWAY, 0, 0, 8);
        self.out.extend_from_slice(&0u32.to_be_bytes());
        self.out.extend_from_slice(&violation.code.to_be_bytes());
        self.abandon(violation.class, violation.why.into());
    }

    fn reply_number(&mut self, kind: u8, stream: u32, number: u32) {
        frame::put_number(&mut self.out, kind, stream, number);
        self.replies += HEADER + 4;
    }
}
