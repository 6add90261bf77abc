//! The head of an answer: what its fields say about framing, and the fields themselves, kept in three buffers.
//!
//! Bounded: [`HEAD_MAX`] octets of names and values, [`FIELDS_MAX`] fields, whatever the peer sends.

use super::hpack::{self, Unreadable};
use crate::client::http1::HEAD_MAX;

/// Most fields of a head.
const FIELDS_MAX: usize = 128;
/// Up to so many, an answer is shown from a small array: filling a large one costs more than all else about it.
const FIELDS_FEW: usize = 16;

/// Why a head is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    /// The block is no block: the whole connection is in doubt.
    Unreadable(&'static str),
    /// Against the rules of HTTP.
    Malformed(&'static str),
    /// Beyond our limits.
    TooLarge(&'static str),
}

impl From<Unreadable> for BadHead {
    fn from(why: Unreadable) -> BadHead {
        BadHead::Unreadable(why.0)
    }
}

/// Status and fields of one answer.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Zero for trailers, and before anything was read.
    pub(super) status: u16,
    pub(super) content_length: Option<u64>,
    names: String,
    values: Vec<u8>,
    /// Where each field's name and value end.
    ends: Vec<(u32, u32)>,
}

impl Head {
    pub(super) fn clear(&mut self) {
        (self.status, self.content_length) = (0, None);
        self.names.clear();
        self.values.clear();
        self.ends.clear();
    }

    /// Becomes equal to `other`, in the memory that it has.
    pub(super) fn copy_from(&mut self, other: &Head) {
        (self.status, self.content_length) = (other.status, other.content_length);
        self.names.clone_from(&other.names);
        self.values.clone_from(&other.values);
        self.ends.clone_from(&other.ends);
    }

    /// A rare large head should not hold its memory for the rest of the run.
    pub(super) fn shrink(&mut self) {
        if self.names.capacity() + self.values.capacity() > 8 << 10 {
            *self = Head::default();
        }
    }

    /// Reads the head of an answer.
    ///
    /// # Errors
    /// Why it is of no use.
    pub(super) fn read(&mut self, block: &[u8], scratch: &mut Vec<u8>) -> Result<(), BadHead> {
        self.clear();
        hpack::decode(block, scratch, |name, value| match name {
            b":status" => self.take_status(value),
            _ => self.take(name, value),
        })?;
        if self.status == 0 {
            return Err(BadHead::Malformed("an answer without a status"));
        }
        Ok(())
    }

    /// Reads trailers: fields without a status.
    ///
    /// # Errors
    /// Why they are of no use.
    pub(super) fn read_trailers(&mut self, block: &[u8], scratch: &mut Vec<u8>) -> Result<(), BadHead> {
        self.clear();
        hpack::decode(block, scratch, |name, value| self.take(name, value))
    }

    fn take_status(&mut self, value: &[u8]) -> Result<(), BadHead> {
        if self.status != 0 || !self.ends.is_empty() {
            return Err(BadHead::Malformed("a status that is not the first field of its answer"));
        }
        let digits = value.len() == 3 && value.iter().all(u8::is_ascii_digit) && (b'1'..=b'9').contains(&value[0]);
        if !digits {
            return Err(BadHead::Malformed("a status that is not a number of three digits"));
        }
        self.status = value.iter().fold(0, |sum, d| sum * 10 + u16::from(d - b'0'));
        Ok(())
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadHead> {
        if self.ends.len() == FIELDS_MAX {
            return Err(BadHead::TooLarge("the answer has more than 128 headers"));
        }
        if self.names.len() + self.values.len() + name.len() + value.len() > HEAD_MAX {
            return Err(BadHead::TooLarge("the head of the answer is larger than 64 KiB"));
        }
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|n| !n.is_empty() && n.bytes().all(|b| IS_LOWER_TOKEN[usize::from(b)]));
        let name = name.ok_or(BadHead::Malformed("a header name that HTTP/2 does not allow"))?;
        if value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            return Err(BadHead::Malformed("a header value with a line end or a zero in it"));
        }
        match name {
            "content-length" => self.take_length(value)?,
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
                return Err(BadHead::Malformed("a header of HTTP/1 connections in an answer of HTTP/2"));
            }
            _ => {}
        }
        self.names.push_str(name);
        self.values.extend_from_slice(value);
        self.ends.push((self.names.len() as u32, self.values.len() as u32));
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), BadHead> {
        let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
        let length = digits.and_then(|v| v.parse().ok()).ok_or(BadHead::Malformed("content-length is not a number"))?;
        match self.content_length.replace(length) {
            Some(before) if before != length => Err(BadHead::Malformed("two different content-lengths")),
            _ => Ok(()),
        }
    }

    /// Calls `f` with the fields as the rest of the program knows them.
    pub(super) fn with_headers<R>(&self, f: impl FnOnce(&[httparse::Header<'_>]) -> R) -> R {
        if self.ends.len() <= FIELDS_FEW {
            self.fill(&mut [httparse::EMPTY_HEADER; FIELDS_FEW], f)
        } else {
            self.fill(&mut [httparse::EMPTY_HEADER; FIELDS_MAX], f)
        }
    }

    fn fill<'a, R>(&'a self, room: &mut [httparse::Header<'a>], f: impl FnOnce(&[httparse::Header<'_>]) -> R) -> R {
        let (mut name_from, mut value_from) = (0, 0);
        for (header, (name_to, value_to)) in room.iter_mut().zip(&self.ends) {
            let (name_to, value_to) = (*name_to as usize, *value_to as usize);
            header.name = &self.names[name_from..name_to];
            header.value = &self.values[value_from..value_to];
            (name_from, value_from) = (name_to, value_to);
        }
        f(&room[..self.ends.len()])
    }
}

/// What a field's name is made of, upper case aside, which HTTP/2 forbids; `:` is not of it.
static IS_LOWER_TOKEN: [bool; 256] = {
    let (mut table, allowed, mut at) = ([false; 256], b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz", 0);
    while at < allowed.len() {
        table[allowed[at] as usize] = true;
        at += 1;
    }
    table
};

/// The head that was read last, with the block that it was read from: most answers of a server begin alike to the
/// octet, and without a dynamic table equal blocks mean the same.
#[derive(Debug, Default)]
pub(super) struct LastHead {
    block: Vec<u8>,
    head: Head,
    scratch: Vec<u8>,
}

impl LastHead {
    /// The head of an answer that this block is, or the trailers; one `LastHead` is for one of the two.
    ///
    /// # Errors
    /// Why it is of no use.
    #[inline]
    pub(super) fn read(&mut self, block: &[u8], trailers: bool) -> Result<&Head, BadHead> {
        // An empty block is nothing that was read before: the memory is empty at first, and after a block that failed.
        if block.is_empty() || self.block != block {
            self.block.clear();
            self.head.shrink();
            if trailers {
                self.head.read_trailers(block, &mut self.scratch)?;
            } else {
                self.head.read(block, &mut self.scratch)?;
            }
            self.block.extend_from_slice(block);
        }
        Ok(&self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::{Literal, put_literal};
    use super::*;

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            put_literal(&mut block, Literal::Once, name, value.as_bytes());
        }
        block
    }

    #[test]
    fn fields_come_back_in_order_few_or_many() {
        for count in [0, 1, FIELDS_FEW, FIELDS_FEW + 1, FIELDS_MAX] {
            let names: Vec<String> = (0..count).map(|n| format!("x-{n}")).collect();
            let mut fields = vec![(":status", "200")];
            fields.extend(names.iter().map(|n| (n.as_str(), &n[2..])));
            let mut last = LastHead::default();
            let head = last.read(&block(&fields), false).unwrap();
            let mut copy = Head::default();
            copy.copy_from(head);
            copy.with_headers(|headers| {
                let seen: Vec<_> = headers.iter().map(|h| (h.name, std::str::from_utf8(h.value).unwrap())).collect();
                assert_eq!(seen, fields[1..]);
            });
        }
    }

    #[test]
    fn heads_against_the_rules_are_malformed() {
        let ok = (":status", "200");
        let cases: [&[(&str, &str)]; 17] = [
            &[],
            &[("x", "y")],
            &[ok, ok],
            &[("x", "y"), ok],
            &[(":status", "20")],
            &[(":status", "2000")],
            &[(":status", "0x1")],
            &[(":status", "099")],
            &[ok, ("X-Upper", "y")],
            &[ok, ("", "y")],
            &[ok, (":path", "/")],
            &[ok, ("x y", "z")],
            &[ok, ("x", "a\r\nb")],
            &[ok, ("transfer-encoding", "chunked")],
            &[ok, ("connection", "close")],
            &[ok, ("content-length", "+5")],
            &[ok, ("content-length", "5"), ("content-length", "6")],
        ];
        let mut last = LastHead::default();
        for fields in cases {
            assert!(matches!(last.read(&block(fields), false), Err(BadHead::Malformed(_))), "{fields:?}");
        }
        assert!(last.read(&block(&[ok, ("content-length", "5"), ("content-length", "5")]), false).is_ok());
    }

    #[test]
    fn a_head_that_failed_is_not_remembered_as_read() {
        let mut last = LastHead::default();
        let (good, bad) = (block(&[(":status", "200")]), block(&[(":status", "2")]));
        assert_eq!(last.read(&good, false).unwrap().status, 200);
        assert!(last.read(&bad, false).is_err());
        assert!(last.read(&bad, false).is_err());
        assert_eq!(last.read(&good, false).unwrap().status, 200);
    }
}
