//! What a peer's frames do to a connection.
//!
//! Frames are read where they lie; only the beginning of one whose rest has not come is kept, at most one frame of
//! 16 KiB. DATA goes to its answer as it comes, so that tokens are seen when they arrive and not when their frame ends.
//! A stream that is not open any more (cancelled, failed, answered) takes nothing: late frames of it only count against
//! the connection's window.

use std::borrow::Cow;

use super::frame::{self, HEADER, Header, MAX_31, PAYLOAD_MAX, code, flag, kind, setting};
use super::head::BadHead;
use super::{CONNECTION_WINDOW, Event, Session, Stream};
use crate::client::http1::HEAD_MAX;
use crate::outcome::ErrorClass;

/// Octets of one header block that are passed over, on a stream that failed for its length, before the connection fails too.
const BLOCK_MAX: usize = 16 * HEAD_MAX;
/// Words of a peer that leaves which are shown.
const WORDS_MAX: usize = 80;

/// Why the connection as a whole is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u32,
    pub(super) class: ErrorClass,
    pub(super) why: &'static str,
}

/// A DATA frame whose payload is coming.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    stream: u32,
    left: usize,
    padding: usize,
    ends: bool,
}

/// A header block whose end has not come. Its octets stand in the session, whose memory they use again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    stream: u32,
    ends: bool,
    /// Octets so far, frame headers among them: empty frames without end have a limit as well.
    octets: usize,
}

fn wrong(code: u32, why: &'static str) -> Violation {
    Violation { code, class: ErrorClass::BadAnswer, why }
}

fn protocol(why: &'static str) -> Violation {
    wrong(code::PROTOCOL_ERROR, why)
}

fn size(why: &'static str) -> Violation {
    wrong(code::FRAME_SIZE_ERROR, why)
}

impl Session {
    pub(super) fn take_in(&mut self, mut octets: &[u8]) -> Result<(), Violation> {
        while !octets.is_empty() {
            if let Some(data) = self.data.take() {
                octets = self.take_data(data, octets);
            } else if self.partial.is_empty() {
                let used = self.take_frame(octets)?;
                if used == 0 {
                    self.partial.extend_from_slice(octets);
                    return Ok(());
                }
                octets = &octets[used..];
            } else {
                let missing = decidable(&self.partial) - self.partial.len();
                let (now, later) = octets.split_at(missing.min(octets.len()));
                self.partial.extend_from_slice(now);
                octets = later;
                let partial = std::mem::take(&mut self.partial);
                let used = self.take_frame(&partial)?;
                self.partial = partial;
                if used > 0 {
                    self.partial.clear();
                }
            }
        }
        Ok(())
    }

    /// Takes a frame, or of a DATA frame what stands before its data; gives the octets it took, 0 when more are needed.
    #[inline]
    fn take_frame(&mut self, octets: &[u8]) -> Result<usize, Violation> {
        let Some(header) = Header::read(octets) else { return Ok(0) };
        self.check(&header, octets)?;
        if header.kind == kind::DATA {
            return self.begin_data(header, &octets[HEADER..]);
        }
        let Some(payload) = octets[HEADER..].get(..header.length) else { return Ok(0) };
        match header.kind {
            kind::HEADERS => self.on_headers(header, payload)?,
            kind::CONTINUATION => self.on_continuation(header, payload)?,
            kind::WINDOW_UPDATE => self.on_window_update(header, payload)?,
            kind::RST_STREAM => self.on_reset(header, payload)?,
            kind::SETTINGS => self.on_settings(header, payload)?,
            kind::PING => self.on_ping(header, payload)?,
            kind::GOAWAY => self.on_goaway(header, payload)?,
            kind::PRIORITY if header.stream == 0 => return Err(protocol("PRIORITY of no stream")),
            kind::PUSH_PROMISE => return Err(protocol("PUSH_PROMISE, which was not allowed")),
            // Advice on order, and kinds that we do not know, change nothing.
            _ => {}
        }
        Ok(HEADER + header.length)
    }

    /// What can be said of a frame from its header alone.
    #[inline]
    fn check(&mut self, header: &Header, octets: &[u8]) -> Result<(), Violation> {
        if !self.greeted {
            if octets.starts_with(b"HTTP/") {
                return Err(protocol("the peer speaks HTTP/1"));
            }
            if header.kind != kind::SETTINGS || header.has(flag::ACK) {
                return Err(protocol("the peer does not speak HTTP/2: its first frame is not SETTINGS"));
            }
        }
        if header.length > PAYLOAD_MAX {
            return Err(size("a frame larger than 16 KiB"));
        }
        match &self.block {
            None if header.kind == kind::CONTINUATION => Err(protocol("CONTINUATION of no header block")),
            Some(block) if header.kind != kind::CONTINUATION || header.stream != block.stream => {
                Err(protocol("another frame amid a header block"))
            }
            _ => Ok(()),
        }
    }

    /// The open stream of a frame; none when it was let go of.
    #[inline]
    fn stream_of(&self, id: u32) -> Result<Option<u32>, Violation> {
        if id == 0 {
            return Err(protocol("a frame of a stream on stream 0"));
        }
        if id.is_multiple_of(2) || id >= self.next_id {
            return Err(protocol("a frame for a stream that was never begun"));
        }
        Ok(self.streams.find(id))
    }

    #[inline]
    fn begin_data(&mut self, header: Header, rest: &[u8]) -> Result<usize, Violation> {
        let slot = self.stream_of(header.stream)?;
        let (padding, before) = match (header.has(flag::PADDED), rest.first()) {
            (false, _) => (0, 0),
            (true, _) if header.length == 0 => return Err(size("a padded frame without a padding length")),
            (true, Some(&padding)) => (usize::from(padding), 1),
            (true, None) => return Ok(0),
        };
        let left = (header.length - before).checked_sub(padding).ok_or(protocol("more padding than frame"))?;
        self.receive_window -= header.length as i64;
        // Half of either window holds any frame, so a peer has no way to send more than we allow.
        if self.receive_window < CONNECTION_WINDOW / 2 {
            self.reply_number(kind::WINDOW_UPDATE, 0, (CONNECTION_WINDOW - self.receive_window) as u32);
            self.receive_window = CONNECTION_WINDOW;
        }
        let data = Data { stream: header.stream, left, padding, ends: header.has(flag::END_STREAM) };
        if let Some(slot) = slot {
            self.admit(slot, header.length, &data);
        }
        if left + padding > 0 {
            self.data = Some(data);
        } else if data.ends {
            self.end_answer(header.stream);
        }
        Ok(HEADER + before)
    }

    /// Looks whether a stream can take this data, and fails it when not.
    #[inline]
    fn admit(&mut self, slot: u32, octets: usize, data: &Data) {
        let (max_answer, window) = (self.max_answer, self.stream_window);
        let head_only = self.requests.head_only;
        let stream = self.streams.get_mut(slot);
        stream.receive_window -= octets as i64;
        let length = stream.body.len() + data.left;
        if !stream.has_head {
            self.fail(slot, code::PROTOCOL_ERROR, ErrorClass::BadAnswer, "a body before its head");
        } else if is_bodiless(stream, head_only) && data.left > 0 {
            self.fail(slot, code::PROTOCOL_ERROR, ErrorClass::BadAnswer, "a body where none may be");
        } else if length > max_answer {
            self.fail(slot, code::CANCEL, ErrorClass::TooLarge, "the answer is larger than max_answer");
        } else if !is_bodiless(stream, head_only) && stream.head.content_length.is_some_and(|n| (length as u64) > n) {
            self.fail(slot, code::PROTOCOL_ERROR, ErrorClass::BadAnswer, "a body longer than its content-length");
        } else if !data.ends && stream.receive_window < window / 2 {
            let more = (window - stream.receive_window) as u32;
            stream.receive_window = window;
            self.reply_number(kind::WINDOW_UPDATE, data.stream, more);
        }
    }

    /// Takes what there is of a payload, and gives what lies beyond.
    #[inline]
    fn take_data<'a>(&mut self, mut data: Data, octets: &'a [u8]) -> &'a [u8] {
        let (body, rest) = octets.split_at(data.left.min(octets.len()));
        if let (Some(slot), false) = (self.streams.find(data.stream), body.is_empty()) {
            self.streams.get_mut(slot).body.extend_from_slice(body);
        }
        data.left -= body.len();
        let padding = data.padding.min(rest.len());
        data.padding -= padding;
        if data.left + data.padding > 0 {
            self.data = Some(data);
        } else if data.ends {
            self.end_answer(data.stream);
        }
        &rest[padding..]
    }

    /// The peer has said all of an answer.
    #[inline]
    fn end_answer(&mut self, id: u32) {
        let Some(slot) = self.streams.find(id) else { return };
        let stream = self.streams.get(slot);
        let whole = is_bodiless(stream, self.requests.head_only)
            || stream.head.content_length.is_none_or(|n| n == stream.body.len() as u64);
        if whole {
            self.end(slot, Event::Answered(slot));
        } else {
            self.fail(slot, code::PROTOCOL_ERROR, ErrorClass::BadAnswer, "a body shorter than its content-length");
        }
    }

    #[inline]
    fn on_headers(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        self.stream_of(header.stream)?;
        let mut fragment = payload;
        let mut padding = 0;
        if header.has(flag::PADDED) {
            let (&octets, rest) = fragment.split_first().ok_or(size("a padded frame without a padding length"))?;
            (padding, fragment) = (usize::from(octets), rest);
        }
        if header.has(flag::PRIORITY) {
            fragment = fragment.get(5..).ok_or(size("a frame that ends amid its priority"))?;
        }
        let length = fragment.len().checked_sub(padding).ok_or(protocol("more padding than frame"))?;
        let fragment = &fragment[..length];
        let block = Block { stream: header.stream, ends: header.has(flag::END_STREAM), octets: length + HEADER };
        if header.has(flag::END_HEADERS) {
            return self.on_block(block, fragment);
        }
        self.block = Some(block);
        self.block_octets.clear();
        self.block_octets.extend_from_slice(fragment);
        Ok(())
    }

    fn on_continuation(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let mut block = self.block.take().ok_or(protocol("CONTINUATION of no header block"))?;
        block.octets += payload.len() + HEADER;
        if block.octets > BLOCK_MAX {
            let why = "an endless header block";
            return Err(Violation { code: code::ENHANCE_YOUR_CALM, class: ErrorClass::TooLarge, why });
        }
        if block.octets <= HEAD_MAX {
            self.block_octets.extend_from_slice(payload);
        } else if let Some(slot) = self.streams.find(block.stream) {
            self.fail(slot, code::CANCEL, ErrorClass::TooLarge, "the head of the answer is larger than 64 KiB");
        }
        if !header.has(flag::END_HEADERS) {
            self.block = Some(block);
            return Ok(());
        }
        let octets = std::mem::take(&mut self.block_octets);
        let taken = self.on_block(block, &octets);
        self.block_octets = octets;
        taken
    }

    /// A whole header block. One for a stream that was let go of is passed over: no table depends on it.
    #[inline]
    fn on_block(&mut self, block: Block, octets: &[u8]) -> Result<(), Violation> {
        let Some(slot) = self.streams.find(block.stream) else { return Ok(()) };
        let stream = self.streams.get_mut(slot);
        stream.head_octets += block.octets;
        if stream.head_octets > HEAD_MAX {
            self.fail(slot, code::CANCEL, ErrorClass::TooLarge, "the head of the answer is larger than 64 KiB");
            return Ok(());
        }
        let read = if stream.has_head {
            self.last_trailers.read(octets, true).map(drop)
        } else {
            self.last_head.read(octets, false).map(|head| stream.head.copy_from(head))
        };
        match read {
            Ok(()) => self.on_head(slot, block),
            Err(BadHead::Unreadable(why)) => return Err(wrong(code::COMPRESSION_ERROR, why)),
            Err(BadHead::Malformed(why)) => self.fail(slot, code::PROTOCOL_ERROR, ErrorClass::BadAnswer, why),
            Err(BadHead::TooLarge(why)) => self.fail(slot, code::CANCEL, ErrorClass::TooLarge, why),
        }
        Ok(())
    }

    #[inline]
    fn on_head(&mut self, slot: u32, block: Block) {
        let (max_answer, head_only) = (self.max_answer as u64, self.requests.head_only);
        let stream = self.streams.get_mut(slot);
        let wrong = if stream.has_head {
            (!block.ends).then_some("a second head, which does not end its answer")
        } else if stream.head.status == 101 {
            Some("the peer switched protocols")
        } else if stream.head.status < 200 {
            stream.head.clear();
            block.ends.then_some("an interim answer that is the last")
        } else {
            stream.has_head = true;
            if !is_bodiless(stream, head_only) && stream.head.content_length.is_some_and(|n| n > max_answer) {
                self.fail(slot, code::CANCEL, ErrorClass::TooLarge, "the answer is larger than max_answer");
                return;
            }
            None
        };
        match wrong {
            Some(why) => self.fail(slot, code::PROTOCOL_ERROR, ErrorClass::BadAnswer, why),
            None if block.ends => self.end_answer(block.stream),
            None => {}
        }
    }

    fn on_window_update(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        if payload.len() != 4 {
            return Err(size("WINDOW_UPDATE that is not four octets long"));
        }
        let more = i64::from(frame::number(payload).unwrap_or(0) & MAX_31);
        if header.stream == 0 {
            self.send_window += more;
            return match () {
                () if more == 0 => Err(protocol("WINDOW_UPDATE by 0")),
                () if self.send_window > i64::from(MAX_31) => Err(wrong(code::FLOW_CONTROL_ERROR, WINDOW_TOO_LARGE)),
                () => Ok(()),
            };
        }
        if let Some(slot) = self.stream_of(header.stream)? {
            let stream = self.streams.get_mut(slot);
            stream.send_window += more;
            if more == 0 {
                self.fail(slot, code::PROTOCOL_ERROR, ErrorClass::BadAnswer, "WINDOW_UPDATE by 0");
            } else if stream.send_window > i64::from(MAX_31) {
                self.fail(slot, code::FLOW_CONTROL_ERROR, ErrorClass::BadAnswer, WINDOW_TOO_LARGE);
            }
        }
        Ok(())
    }

    fn on_reset(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let slot = self.stream_of(header.stream)?;
        let code = frame::number(payload).filter(|_| payload.len() == 4);
        let code = code.ok_or(size("RST_STREAM that is not four octets long"))?;
        // After a whole answer it only says that the rest of the request is not wanted.
        if let Some(slot) = slot {
            self.forget_body(slot);
            let why = format!("RST_STREAM ({})", frame::code_name(code)).into();
            self.end(slot, Event::StreamFailed(slot, ErrorClass::Reset, why));
        }
        Ok(())
    }

    fn on_settings(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        if header.stream != 0 {
            return Err(protocol("SETTINGS of a stream"));
        }
        if header.has(flag::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(size("SETTINGS with an acknowledgement")) };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(size("SETTINGS that end amid a setting"));
        }
        if !self.greeted {
            self.greeted = true;
            self.peer_streams = usize::MAX;
        }
        for (name, value) in frame::settings(payload) {
            match name {
                setting::HEADER_TABLE_SIZE => self.peer_table.allow(value, &self.requests),
                setting::ENABLE_PUSH if value != 0 => return Err(protocol("a server that would be pushed to")),
                setting::MAX_CONCURRENT_STREAMS => self.peer_streams = value as usize,
                setting::INITIAL_WINDOW_SIZE => self.on_initial_window(value)?,
                // Frames larger than 16 KiB gain nothing for requests, so we never send one.
                setting::MAX_FRAME_SIZE if !(PAYLOAD_MAX as u32..1 << 24).contains(&value) => {
                    return Err(protocol("a largest frame size that may not be"));
                }
                _ => {}
            }
        }
        frame::put_header(&mut self.out, kind::SETTINGS, flag::ACK, 0, 0);
        self.replies += HEADER;
        Ok(())
    }

    /// Every stream's window moves by as much as the first one of new streams does, below zero where it must.
    fn on_initial_window(&mut self, value: u32) -> Result<(), Violation> {
        const TOO_LARGE: Violation =
            Violation { code: code::FLOW_CONTROL_ERROR, class: ErrorClass::BadAnswer, why: WINDOW_TOO_LARGE };
        if value > MAX_31 {
            return Err(TOO_LARGE);
        }
        let change = i64::from(value) - self.peer_window;
        self.peer_window = i64::from(value);
        for (_, stream) in self.streams.open_mut() {
            stream.send_window += change;
            if stream.send_window > i64::from(MAX_31) {
                return Err(TOO_LARGE);
            }
        }
        Ok(())
    }

    fn on_ping(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        if header.stream != 0 {
            return Err(protocol("PING of a stream"));
        }
        if payload.len() != 8 {
            return Err(size("PING that is not eight octets long"));
        }
        if !header.has(flag::ACK) {
            frame::put_header(&mut self.out, kind::PING, flag::ACK, 0, 8);
            self.out.extend_from_slice(payload);
            self.replies += HEADER + 8;
        }
        Ok(())
    }

    fn on_goaway(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        if header.stream != 0 {
            return Err(protocol("GOAWAY of a stream"));
        }
        let (Some(last), Some(code)) = (frame::number(payload), payload.get(4..).and_then(frame::number)) else {
            return Err(size("GOAWAY shorter than eight octets"));
        };
        // A peer may leave in two steps; what it has given up stays given up.
        let last = self.leaving.as_ref().map_or(last & MAX_31, |(before, _)| (last & MAX_31).min(*before));
        let words = goaway_words(code, &payload[8..]);
        let never = self.streams.open_mut().filter(|(_, s)| s.id > last).map(|(slot, _)| slot);
        for slot in never.collect::<Vec<u32>>() {
            self.forget_body(slot);
            let why = format!("{words}: never processed").into();
            self.end(slot, Event::StreamFailed(slot, ErrorClass::Closed, why));
        }
        self.leaving = Some((last, words));
        Ok(())
    }
}

const WINDOW_TOO_LARGE: &str = "a window larger than 2 GiB";

/// `GOAWAY (NO_ERROR)`, and what the peer had to say about it.
fn goaway_words(code: u32, said: &[u8]) -> Cow<'static, str> {
    let said: String =
        said.iter().take(WORDS_MAX).map(|b| if b.is_ascii_graphic() { char::from(*b) } else { ' ' }).collect();
    match said.trim() {
        "" => format!("GOAWAY ({})", frame::code_name(code)).into(),
        said => format!("GOAWAY ({}, {said})", frame::code_name(code)).into(),
    }
}

/// Octets after which more can be said of a frame that begins so.
fn decidable(partial: &[u8]) -> usize {
    match Header::read(partial) {
        None => HEADER,
        Some(header) if header.kind == kind::DATA => HEADER + usize::from(header.has(flag::PADDED)),
        Some(header) => HEADER + header.length,
    }
}

/// Its answer has no body, whatever its content-length says (RFC 9110, section 6.4.1).
fn is_bodiless(stream: &Stream, head_only: bool) -> bool {
    head_only || matches!(stream.head.status, 204 | 304)
}
