//! The streams of a connection: a slot for each, found by its identifier without a search in the usual case.
//!
//! Slots are used again, with the memory that they have. Leaves alone what happens on a stream (`receive`).

use super::head::Head;

/// Memory of an answer that a slot keeps for the next one.
const BODY_KEPT: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Free,
    /// Begun; its answer is not whole yet.
    Open,
    /// Answered or failed; its owner has not let go of it yet.
    Ended,
}

/// One request and its answer.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) state: State,
    pub(super) row: usize,
    /// Octets of the request's body that are on their way.
    pub(super) body_sent: usize,
    /// Octets that the peer will take, below zero after it took an allowance back.
    pub(super) send_window: i64,
    /// Octets that the peer may send.
    pub(super) receive_window: i64,
    /// The status and fields of the final answer have come.
    pub(super) has_head: bool,
    /// Octets of header blocks so far.
    pub(super) head_octets: usize,
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    /// The connection's `heard` when it was begun.
    pub(super) began_at: u64,
}

/// All of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// By the low bits of the identifier: the slot that it had when it was begun. An old stream may have lost its place
    /// to a new one; then a search finds it.
    hints: Vec<u32>,
}

impl Streams {
    pub(super) fn new(most: usize) -> Streams {
        Streams { slots: Vec::new(), free: Vec::new(), hints: vec![0; (2 * most).next_power_of_two()] }
    }

    /// Slots that are not free.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    fn place(&self, id: u32) -> usize {
        (id >> 1) as usize & (self.hints.len() - 1)
    }

    /// A slot for a new stream, everything in it as at the start.
    #[inline]
    pub(super) fn begin(&mut self, id: u32) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::default());
            self.slots.len() as u32 - 1
        });
        let place = self.place(id);
        self.hints[place] = slot;
        let stream = &mut self.slots[slot as usize];
        (stream.id, stream.state) = (id, State::Open);
        slot
    }

    /// The open stream of this identifier.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<u32> {
        let is_it = |s: &Stream| s.id == id && s.state == State::Open;
        let hint = self.hints[self.place(id)];
        if self.slots.get(hint as usize).is_some_and(is_it) {
            return Some(hint);
        }
        self.slots.iter().position(is_it).map(|slot| slot as u32)
    }

    /// Frees a slot.
    #[inline]
    pub(super) fn release(&mut self, slot: u32) {
        let stream = &mut self.slots[slot as usize];
        (stream.id, stream.state) = (0, State::Free);
        (stream.has_head, stream.head_octets, stream.body_sent) = (false, 0, 0);
        stream.head.clear();
        stream.head.shrink();
        stream.body.clear();
        stream.body.shrink_to(BODY_KEPT);
        self.free.push(slot);
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Stream {
        &self.slots[slot as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Stream {
        &mut self.slots[slot as usize]
    }

    /// The open ones.
    pub(super) fn open_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream)> {
        self.slots.iter_mut().enumerate().filter(|(_, s)| s.state == State::Open).map(|(slot, s)| (slot as u32, s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_outlives_many_others_is_still_found() {
        let mut streams = Streams::new(4);
        let old = streams.begin(1);
        for id in (3..4001).step_by(2) {
            let slot = streams.begin(id);
            assert_eq!((streams.find(id), streams.find(1)), (Some(slot), Some(old)));
            streams.release(slot);
            assert_eq!(streams.find(id), None);
        }
        assert_eq!((streams.held(), streams.slots.len()), (1, 2));
    }
}
