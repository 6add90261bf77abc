//! One slot of one worker, packed for keeping: run-length lists of bucket indices in variable-length integers.

use crate::hist::Hist;
use crate::outcome::ErrorClass;
use crate::record::said::Said;
use crate::units::{Offset, PhaseId};

/// Bucket indices with counts, ascending, and what buckets lose: exact sum and maximum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// (bucket, count), ascending by bucket.
    pub buckets: Vec<(u16, u32)>,
    /// Exact sum, ns.
    pub sum_ns: u64,
    /// Exact maximum, ns.
    pub max_ns: u64,
    /// Values above the histogram's range.
    pub overflow: u64,
}

impl Times {
    /// Counts one value in everything but its bucket.
    pub(super) fn note(&mut self, ns: u64) {
        self.sum_ns += ns;
        self.max_ns = self.max_ns.max(ns);
        self.overflow += u64::from(ns > crate::hist::HIGHEST_NS);
    }

    /// Adds the buckets of values that were noted, from unsorted indices. `counts` is room to count in, all zero before and
    /// after: counting is several times quicker than sorting, and this is on the sender's thread.
    pub(super) fn pack(self, indices: &[u16], counts: &mut Vec<u32>) -> Times {
        let mut buckets: Vec<(u16, u32)> = Vec::new();
        if let (Some(low), Some(high)) = (indices.iter().min(), indices.iter().max()) {
            if counts.len() <= usize::from(*high) {
                counts.resize(usize::from(*high) + 1, 0);
            }
            for index in indices {
                counts[usize::from(*index)] += 1;
            }
            for index in *low..=*high {
                let n = std::mem::take(&mut counts[usize::from(index)]);
                if n > 0 {
                    buckets.push((index, n));
                }
            }
        }
        Times { buckets, ..self }
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, n)| u64::from(*n)).sum()
    }

    /// Adds everything to a histogram.
    pub fn add_to(&self, hist: &mut Hist) {
        self.buckets.iter().for_each(|(b, n)| hist.record_bucket(*b, u64::from(*n)));
        hist.note(u128::from(self.sum_ns), self.max_ns, self.overflow);
    }

    /// Appends the packed form.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for n in [self.buckets.len() as u64, self.sum_ns, self.max_ns, self.overflow] {
            put(out, n);
        }
        let mut last = 0;
        for (bucket, n) in &self.buckets {
            put(out, u64::from(bucket - last));
            put(out, u64::from(*n));
            last = *bucket;
        }
    }

    /// Adds everything of the other.
    pub fn merge(&mut self, other: &Times) {
        self.buckets = merge_buckets(&self.buckets, &other.buckets);
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.overflow += other.overflow;
    }
}

/// The union of two ascending lists, counts added.
pub(super) fn merge_buckets(a: &[(u16, u32)], b: &[(u16, u32)]) -> Vec<(u16, u32)> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::with_capacity(a.len() + b.len());
    while i < a.len() || j < b.len() {
        let (left, right) = (a.get(i), b.get(j));
        match (left, right) {
            (Some(l), Some(r)) if l.0 == r.0 => {
                out.push((l.0, l.1 + r.1));
                (i, j) = (i + 1, j + 1);
            }
            (Some(l), r) if r.is_none_or(|r| l.0 < r.0) => {
                out.push(*l);
                i += 1;
            }
            (_, Some(r)) => {
                out.push(*r);
                j += 1;
            }
            _ => unreachable!("one of the lists has an element"),
        }
    }
    out
}

/// One slot of one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// First instant.
    pub start: Offset,
    /// First instant after it.
    pub end: Offset,
    /// Its phase.
    pub phase: PhaseId,
    /// Arrivals due in it.
    pub planned: u64,
    /// Of those, sent.
    pub sent: u64,
    /// Of those, shed.
    pub shed: u64,
    /// Sent later than the lag limit, or not sent by then.
    pub late: u64,
    /// Place of the payload fault that altered these requests, from 1; 0: nobody did.
    pub altered_by: u64,
    /// Of those, not good, by class.
    pub errors: [u64; ErrorClass::ALL.len()],
    /// done − due of good ones.
    pub latency_ok: Times,
    /// done − due of those that failed.
    pub latency_failed: Times,
    /// done − sent of good ones.
    pub service: Times,
    /// sent − due.
    pub lag: Times,
    /// Connecting.
    pub connect: Times,
    /// Of that, the TLS handshake.
    pub handshake: Times,
    /// First token − due of good streams.
    pub ttft: Times,
    /// From one token to the next in good streams.
    pub itl: Times,
    /// Output tokens of good answers.
    pub output_tokens: u64,
    /// Output tokens of good answers done in this slot.
    pub done_tokens: u64,
    /// Good answers done in this slot.
    pub done_ok: u64,
    /// Failures that ended in this slot.
    pub done_failed: u64,
    /// Most requests in flight, over all workers.
    pub in_flight_max: u64,
    /// What good answers said.
    pub said: Said,
}

impl Part {
    /// Good answers.
    pub fn ok(&self) -> u64 {
        self.latency_ok.count()
    }

    /// Appends the packed form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for n in [
            self.start.0,
            self.end.0 - self.start.0,
            u64::from(self.phase.0),
            self.planned,
            self.sent,
            self.shed,
            self.late,
            self.altered_by,
        ] {
            put(out, n);
        }
        put(out, self.errors.iter().filter(|n| **n > 0).count() as u64);
        for (class, n) in self.errors.iter().enumerate().filter(|(_, n)| **n > 0) {
            put(out, class as u64);
            put(out, *n);
        }
        for times in [
            &self.latency_ok,
            &self.latency_failed,
            &self.service,
            &self.lag,
            &self.connect,
            &self.handshake,
            &self.ttft,
            &self.itl,
        ] {
            times.encode(out);
        }
        for n in [self.output_tokens, self.done_tokens, self.done_ok, self.done_failed, self.in_flight_max] {
            put(out, n);
        }
        self.said.encode(out);
    }

    /// Reads what [`Part::encode`] wrote. The bytes are our own, so damage is our bug and panics.
    pub fn decode(bytes: &[u8]) -> Part {
        let mut r = Reader { bytes };
        let start = r.next();
        let mut part = Part {
            start: Offset(start),
            end: Offset(start + r.next()),
            phase: PhaseId(r.next() as u16),
            planned: r.next(),
            sent: r.next(),
            shed: r.next(),
            late: r.next(),
            altered_by: r.next(),
            ..Part::default()
        };
        for _ in 0..r.next() {
            let class = r.next() as usize;
            part.errors[class] = r.next();
        }
        part.latency_ok = r.times();
        part.latency_failed = r.times();
        part.service = r.times();
        part.lag = r.times();
        part.connect = r.times();
        part.handshake = r.times();
        part.ttft = r.times();
        part.itl = r.times();
        for field in [
            &mut part.output_tokens,
            &mut part.done_tokens,
            &mut part.done_ok,
            &mut part.done_failed,
            &mut part.in_flight_max,
        ] {
            *field = r.next();
        }
        part.said = Said::decode(&mut r);
        part
    }
}

pub(super) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads packed numbers.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    pub(super) fn next(&mut self) -> u64 {
        let mut n = 0;
        let mut shift = 0;
        loop {
            let (byte, rest) = self.bytes.split_first().expect("a packed slot is whole");
            self.bytes = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return n;
            }
            shift += 7;
        }
    }

    pub(super) fn text(&mut self) -> String {
        let len = self.next() as usize;
        let (text, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        String::from_utf8(text.to_vec()).expect("names were written as UTF-8")
    }

    pub(super) fn times(&mut self) -> Times {
        let len = self.next() as usize;
        let mut times =
            Times { sum_ns: self.next(), max_ns: self.next(), overflow: self.next(), buckets: Vec::with_capacity(len) };
        let mut bucket = 0;
        for _ in 0..len {
            bucket += self.next() as u16;
            let count = self.next() as u32;
            times.buckets.push((bucket, count));
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_loses_nothing(
            start in 0u64..1u64 << 50, length in 0u64..SLOT, planned in 0u64..100_000,
            latencies in prop::collection::vec(0u16..24_000, 0..200), errors in prop::array::uniform14(0u64..5),
            versions in prop::collection::btree_map("[a-zä]{0,6}", 0u64..9, 0..4),
        ) {
            let part = Part {
                start: Offset(start), end: Offset(start + length), phase: PhaseId(3), planned, errors, altered_by: planned % 3,
                latency_ok: Times { sum_ns: 12, max_ns: 99, overflow: 2, ..Times::default() }.pack(&latencies, &mut Vec::new()),
                lag: Times::default().pack(&[5, 1, 5], &mut Vec::new()), done_ok: 7,
                said: Said { agreed: 3, compared: 4, levels: versions.clone(), versions, ages: Times::default().pack(&[8], &mut Vec::new()), ..Said::default() },
                ttft: Times::default().pack(&[9, 2], &mut Vec::new()), itl: Times::default().pack(&[0, 0, 3], &mut Vec::new()), output_tokens: 300, done_tokens: 200,
                ..Part::default()
            };
            let mut bytes = Vec::new();
            part.encode(&mut bytes);
            prop_assert_eq!(Part::decode(&bytes), part);
        }

        #[test]
        fn merging_lists_adds_counts(a in prop::collection::btree_map(0u16..50, 1u32..9, 0..20), b in prop::collection::btree_map(0u16..50, 1u32..9, 0..20)) {
            let list = |m: &BTreeMap<u16, u32>| m.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>();
            let mut want = a.clone();
            b.iter().for_each(|(k, v)| *want.entry(*k).or_default() += v);
            prop_assert_eq!(merge_buckets(&list(&a), &list(&b)), list(&want));
        }
    }
    const SLOT: u64 = super::super::SLOT_NS;
}
