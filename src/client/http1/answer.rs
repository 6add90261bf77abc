//! HTTP/1.1 answers, read as they trickle in: a state machine over the bytes received so far.
//!
//! Bounded: at most [`HEAD_MAX`] bytes of head, `max_answer` bytes of body, and eight times that of chunks
//! are kept, whatever the peer promises or sends.

use std::mem::MaybeUninit;

use crate::outcome::ErrorClass;
use crate::target::{Answer, Headers};

/// Longest status line and headers, in bytes.
pub const HEAD_MAX: usize = 64 << 10;
/// Most header lines.
const HEADERS_MAX: usize = 128;
/// Longest line that opens a chunk, extensions included.
const CHUNK_LINE_MAX: usize = 4 << 10;

/// Bytes of chunks on the wire per byte of `max_answer`; chunks of one byte take six.
const FRAMING_MAX: usize = 8;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// A whole answer.
    Complete {
        /// Bytes of the buffer that it takes up; what lies beyond was not asked for.
        used: usize,
        /// The connection may carry another request.
        reusable: bool,
    },
    /// No answer will come of this.
    Failed(ErrorClass, &'static str),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Body of known length: ends at this place in the buffer.
    Length { end: usize },
    /// Chunked: the next chunk's line begins at this place in the buffer.
    ChunkLine { at: usize },
    /// Inside a chunk's data, `left` bytes of which are not decoded yet.
    ChunkData { at: usize, left: usize },
    /// After the last chunk: trailers.
    Trailers { at: usize },
    /// Until the peer closes.
    UntilClose,
}

/// Reads one answer at a time.
#[derive(Debug, Default)]
pub struct AnswerReader {
    state: State,
    head_start: usize,
    head_end: usize,
    status: u16,
    reusable: bool,
    chunked: bool,
    decoded: Vec<u8>,
}

impl AnswerReader {
    /// Ready for the next answer.
    pub fn reset(&mut self) {
        self.state = State::Head;
        (self.head_start, self.head_end, self.status, self.chunked) = (0, 0, 0, false);
        // A rare large answer should not hold its memory for the rest of the run.
        self.decoded.clear();
        self.decoded.shrink_to(HEAD_MAX);
    }

    /// Looks at everything received for this answer. `head_only` is true for answers to `HEAD`.
    pub fn advance(&mut self, bytes: &[u8], max_body: usize, head_only: bool) -> Progress {
        loop {
            let step = match self.state {
                State::Head => self.read_head(bytes, max_body, head_only),
                State::Length { end } if bytes.len() >= end => {
                    return Progress::Complete { used: end, reusable: self.reusable };
                }
                State::Length { .. } => return Progress::Partial,
                State::ChunkLine { at } => self.read_chunk_line(bytes, at, max_body),
                State::ChunkData { at, left } => self.read_chunk_data(bytes, at, left),
                State::Trailers { at } => return self.read_trailers(bytes, at),
                State::UntilClose if bytes.len() - self.head_end > max_body => {
                    return Progress::Failed(ErrorClass::TooLarge, "the answer is larger than max_answer");
                }
                State::UntilClose => return Progress::Partial,
            };
            match step {
                Ok(true) => {}
                Ok(false) => return Progress::Partial,
                Err((class, why)) => return Progress::Failed(class, why),
            }
        }
    }

    /// The peer closed. What came before may have been a whole answer.
    pub fn closed(&self, bytes: &[u8]) -> Progress {
        match self.state {
            State::UntilClose => Progress::Complete { used: bytes.len(), reusable: false },
            State::Head if bytes.is_empty() => {
                Progress::Failed(ErrorClass::Closed, "the peer closed without an answer")
            }
            _ => Progress::Failed(ErrorClass::Closed, "the peer closed in the middle of an answer"),
        }
    }

    /// Calls `f` with the answer that is complete now.
    pub fn with_answer<'a, R>(&'a self, bytes: &'a [u8], used: usize, f: impl FnOnce(&Answer<'_>) -> R) -> R {
        let headers = Headers::Raw(&bytes[self.head_start..self.head_end]);
        f(&Answer { status: self.status, headers, body: self.body_so_far(&bytes[..used]) })
    }

    /// What has come of the body of the answer that these bytes begin.
    pub fn body_so_far<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        match self.state {
            State::Head => &[],
            _ if self.chunked => &self.decoded,
            State::Length { end } => &bytes[self.head_end..end.min(bytes.len())],
            _ => &bytes[self.head_end..],
        }
    }

    fn read_head(&mut self, bytes: &[u8], max_body: usize, head_only: bool) -> Step {
        // Left as it is until it is filled: clearing 4 KiB for each answer would cost more than reading its head.
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut []);
        let from = self.head_start;
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut head,
            &bytes[from..],
            &mut headers,
        );
        let len = match parsed {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() - from > HEAD_MAX => {
                return Err((ErrorClass::TooLarge, "the head of the answer is larger than 64 KiB"));
            }
            Ok(httparse::Status::Partial) => return Ok(false),
            Err(httparse::Error::TooManyHeaders) => {
                return Err((ErrorClass::TooLarge, "the answer has more than 128 headers"));
            }
            Err(_) => return Err((ErrorClass::BadAnswer, "the answer is not HTTP/1.1")),
        };
        self.head_end = from + len;
        self.status = head.code.unwrap_or(0);
        if self.status == 101 {
            return Err((ErrorClass::BadAnswer, "the peer switched protocols"));
        }
        if (100..200).contains(&self.status) {
            self.head_start = self.head_end;
            return if self.head_start > HEAD_MAX {
                Err((ErrorClass::TooLarge, "endless interim answers"))
            } else {
                Ok(true)
            };
        }
        self.reusable = head.version == Some(1);
        let mut length: Option<usize> = None;
        for header in head.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or("").trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                let n = value.parse().map_err(|_| (ErrorClass::BadAnswer, "content-length is not a number"))?;
                if length.replace(n).is_some_and(|before| before != n) {
                    return Err((ErrorClass::BadAnswer, "two different content-lengths"));
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err((ErrorClass::BadAnswer, "a transfer-encoding other than chunked"));
                }
                self.chunked = true;
            } else if header.name.eq_ignore_ascii_case("connection") {
                let says = |word: &str| value.split(',').any(|w| w.trim().eq_ignore_ascii_case(word));
                self.reusable = !says("close") && (self.reusable || says("keep-alive"));
            }
        }
        let end = self.head_end;
        self.state = if head_only || self.status == 204 || self.status == 304 {
            self.chunked = false;
            State::Length { end }
        } else if self.chunked {
            State::ChunkLine { at: end }
        } else if let Some(n) = length {
            if n > max_body {
                return Err((ErrorClass::TooLarge, "the answer is larger than max_answer"));
            }
            State::Length { end: end + n }
        } else {
            self.reusable = false;
            State::UntilClose
        };
        Ok(true)
    }

    fn read_chunk_line(&mut self, bytes: &[u8], at: usize, max_body: usize) -> Step {
        if at - self.head_end > FRAMING_MAX * max_body + CHUNK_LINE_MAX {
            return Err((ErrorClass::TooLarge, "the answer is larger than max_answer, most of it chunk lines"));
        }
        match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((line, 0))) => self.state = State::Trailers { at: at + line },
            Ok(httparse::Status::Complete((line, size))) => {
                if size > (max_body - self.decoded.len().min(max_body)) as u64 {
                    return Err((ErrorClass::TooLarge, "the answer is larger than max_answer"));
                }
                self.state = State::ChunkData { at: at + line, left: size as usize };
            }
            Ok(httparse::Status::Partial) if bytes.len() - at > CHUNK_LINE_MAX => {
                return Err((ErrorClass::BadAnswer, "an endless chunk line"));
            }
            Ok(httparse::Status::Partial) => return Ok(false),
            Err(_) => return Err((ErrorClass::BadAnswer, "a chunk without a size")),
        }
        Ok(true)
    }

    fn read_chunk_data(&mut self, bytes: &[u8], at: usize, left: usize) -> Step {
        let here = left.min(bytes.len() - at);
        self.decoded.extend_from_slice(&bytes[at..at + here]);
        let (at, left) = (at + here, left - here);
        if left > 0 || bytes.len() < at + 2 {
            self.state = State::ChunkData { at, left };
            return Ok(false);
        }
        if &bytes[at..at + 2] != b"\r\n" {
            return Err((ErrorClass::BadAnswer, "a chunk longer than its size"));
        }
        self.state = State::ChunkLine { at: at + 2 };
        Ok(true)
    }

    fn read_trailers(&mut self, bytes: &[u8], at: usize) -> Progress {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"\r\n") {
            Some(2)
        } else {
            rest.windows(4).position(|w| w == b"\r\n\r\n").map(|p| p + 4)
        };
        match end {
            Some(end) => Progress::Complete { used: at + end, reusable: self.reusable },
            None if rest.len() > HEAD_MAX => Progress::Failed(ErrorClass::TooLarge, "endless trailers"),
            None => Progress::Partial,
        }
    }
}

/// True: another step at once. False: more bytes are needed.
type Step = Result<bool, (ErrorClass, &'static str)>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1 << 20;

    /// Feeds the bytes in pieces of this size, then closes; gives what came of it and the body.
    fn read(bytes: &[u8], piece: usize) -> (Progress, Option<(u16, Vec<u8>)>) {
        let mut reader = AnswerReader::default();
        let mut have = 0;
        while have < bytes.len() {
            have = (have + piece).min(bytes.len());
            let progress = reader.advance(&bytes[..have], MAX, false);
            if progress != Progress::Partial {
                let body = |used| reader.with_answer(&bytes[..have], used, |a| (a.status, a.body.to_vec()));
                let body = if let Progress::Complete { used, .. } = progress { Some(body(used)) } else { None };
                return (progress, body);
            }
        }
        let progress = reader.closed(bytes);
        let body = if let Progress::Complete { used, .. } = progress {
            Some(reader.with_answer(bytes, used, |a| (a.status, a.body.to_vec())))
        } else {
            None
        };
        (progress, body)
    }

    #[test]
    fn answers_are_read_whatever_the_pieces() {
        let cases: [(&str, u16, &str, bool); 8] = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
                200,
                "abcde",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n", 200, "a", true),
            ("HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", 503, "", false),
            ("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\nx", 200, "x", false),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end", false),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", 200, "x", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        ];
        for (text, status, body, reusable) in cases {
            for piece in [1, 2, 7, 10_000] {
                let (progress, answer) = read(text.as_bytes(), piece);
                assert!(
                    matches!(progress, Progress::Complete { reusable: r, used } if r == reusable && used == text.len()),
                    "{text:?} by {piece}: {progress:?}"
                );
                assert_eq!(answer, Some((status, body.as_bytes().to_vec())), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn a_second_answer_is_left_over() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n";
        assert!(matches!(read(text, 10_000).0, Progress::Complete { used, .. } if used == text.len() - 17));
    }

    #[test]
    fn what_no_client_can_use_has_a_class() {
        let endless_head = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_MAX + 1));
        let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
        let big_chunks = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", MAX + 1);
        let chunk_lines = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
            format!("1;{}\r\na\r\n", "x".repeat(4000)).repeat(9 * MAX / 4000)
        );
        let cases: [(&str, ErrorClass); 13] = [
            (&chunk_lines, ErrorClass::TooLarge),
            ("", ErrorClass::Closed),
            ("HTTP/1.1 200 OK\r\ncontent-le", ErrorClass::Closed),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", ErrorClass::Closed),
            ("PRI * HTTP/2.0\r\n\r\n", ErrorClass::BadAnswer),
            ("\0\0\u{12}\u{4}\0\0\0\0\0", ErrorClass::BadAnswer),
            ("SSH-2.0-OpenSSH\r\n", ErrorClass::BadAnswer),
            ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", ErrorClass::BadAnswer),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", ErrorClass::BadAnswer),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", ErrorClass::TooLarge),
            (&endless_head, ErrorClass::TooLarge),
            (&many_headers, ErrorClass::TooLarge),
            (&big_chunks, ErrorClass::TooLarge),
        ];
        for (text, class) in cases {
            let (progress, _) = read(text.as_bytes(), 10_000);
            assert!(
                matches!(progress, Progress::Failed(c, _) if c == class),
                "{:?}: {progress:?}",
                &text[..text.len().min(60)]
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..40) {
            let _ = read(&bytes, piece);
        }

        #[test]
        fn any_tail_is_survived(tail in "[ -~\r\n]{0,120}", piece in 1usize..40, chunked in any::<bool>()) {
            let framing = if chunked { "transfer-encoding: chunked" } else { "content-length: 20" };
            let _ = read(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{tail}").as_bytes(), piece);
        }
    }
}
