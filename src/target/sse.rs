//! Server-sent events (WHATWG HTML, section 9.2), taken apart as their bytes arrive.
//!
//! A pure state machine: bytes in any split go in, whole events come out, and nothing is known of time or of what events
//! mean. A line that stands whole in what was read is never copied; buffers are kept from one stream to the next, so that
//! a stream in steady state allocates nothing. Owns framing; leaves alone the tokens (`openai.rs`).

/// Longest line, and most data of one event, in bytes. A chunk of one token is some 200.
pub const LINE_MAX: usize = 256 << 10;

/// A byte order mark, which may stand before everything else.
const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// One event. Fields other than `event` and `data` say nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of `event:`, empty where there is none.
    pub name: &'a [u8],
    /// The values of all `data:` lines, joined by line feeds.
    pub data: &'a [u8],
}

/// A line, or the data of an event, is longer than [`LINE_MAX`]. Nothing more is read after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Parser {
    /// How much of the byte order mark was seen; 3 once its place is past.
    mark: usize,
    /// The last line ended with CR: a LF that comes next belongs to it.
    after_cr: bool,
    /// A line that is not whole yet.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    too_long: bool,
}

impl Parser {
    /// Ready for another stream, with the buffers of the last.
    pub fn reset(&mut self) {
        (self.mark, self.after_cr, self.has_data, self.too_long) = (0, false, false, false);
        self.line.clear();
        self.name.clear();
        self.data.clear();
    }

    /// Takes the next bytes; every event that they complete goes to `on`, in order.
    ///
    /// # Errors
    /// When a limit is exceeded, then and ever after.
    pub fn feed(&mut self, bytes: &[u8], mut on: impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        let mut left = self.past_mark(bytes)?;
        while let Some((first, rest)) = left.split_first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                left = rest;
                continue;
            }
            let Some(end) = left.iter().position(|b| matches!(b, b'\n' | b'\r')) else { return self.keep(left) };
            self.after_cr = left[end] == b'\r';
            self.line_ended(&left[..end], &mut on)?;
            left = &left[end + 1..];
        }
        Ok(())
    }

    /// Data in whole lines whose event was not ended by an empty line: all that a server has said which closes too early.
    pub fn pending(&self) -> Option<&[u8]> {
        (self.has_data && !self.too_long).then_some(&self.data)
    }

    /// What is left after a byte order mark, which may come in pieces.
    fn past_mark<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], TooLong> {
        if self.too_long {
            return Err(TooLong);
        }
        let mut left = bytes;
        while self.mark < MARK.len() {
            match left.split_first() {
                None => break,
                Some((byte, rest)) if *byte == MARK[self.mark] => {
                    self.mark += 1;
                    left = rest;
                }
                Some(_) => {
                    // It only looked like one.
                    let seen = std::mem::replace(&mut self.mark, MARK.len());
                    self.keep(&MARK[..seen])?;
                }
            }
        }
        Ok(left)
    }

    /// Keeps the beginning of a line.
    fn keep(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        self.fits(self.line.len() + piece.len())?;
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn fits(&mut self, length: usize) -> Result<(), TooLong> {
        self.too_long |= length > LINE_MAX;
        if self.too_long { Err(TooLong) } else { Ok(()) }
    }

    fn line_ended(&mut self, last_piece: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        if self.line.is_empty() {
            self.fits(last_piece.len())?;
            return self.field(last_piece, on);
        }
        self.keep(last_piece)?;
        let line = std::mem::take(&mut self.line);
        let result = self.field(&line, on);
        self.line = line;
        self.line.clear();
        result
    }

    fn field(&mut self, line: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                on(Event { name: &self.name, data: &self.data });
            }
            self.name.clear();
            self.data.clear();
            return Ok(());
        }
        // A line that begins with a colon is a comment: a field without a name.
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"data" => {
                self.fits(self.data.len() + 1 + value.len())?;
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = Vec<(String, String)>;

    fn feed(parser: &mut Parser, bytes: &[u8], seen: &mut Seen) -> Result<(), TooLong> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        parser.feed(bytes, |e| seen.push((text(e.name), text(e.data))))
    }

    fn events(pieces: &[&[u8]]) -> Seen {
        let (mut parser, mut seen) = (Parser::default(), Vec::new());
        for piece in pieces {
            let _ = feed(&mut parser, piece, &mut seen);
        }
        seen
    }

    fn data(text: &str) -> Vec<String> {
        events(&[text.as_bytes()]).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn events_are_what_the_standard_says() {
        for (stream, wanted) in [
            ("data: a\n\n", &["a"][..]),
            ("data:a\n\ndata: b\n\n", &["a", "b"]),
            ("data:  two spaces\n\n", &[" two spaces"]),
            ("data: a\rdata: b\r\r", &["a\nb"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
            ("data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"]),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
                &["first event", "second event"],
            ),
            ("data\n\ndata\ndata\n\ndata:", &["", "\n"]),
            ("\u{feff}data: marked\n\n", &["marked"]),
            ("\u{feff}\u{feff}data: twice\n\n", &[]),
            ("retry: 5\n\nother: x\n\n\n\n", &[]),
            ("Data: a\n\n data: b\n\n", &[]),
        ] {
            assert_eq!(data(stream), wanted, "{stream:?}");
        }
    }

    #[test]
    fn names_last_for_one_event() {
        let seen = events(&[b"event: error\ndata: x\n\ndata: y\n\nevent: lost\n\ndata: z\n\n"]);
        let wanted = [("error", "x"), ("", "y"), ("", "z")];
        assert_eq!(seen, wanted.map(|(name, data)| (name.to_owned(), data.to_owned())));
    }

    #[test]
    fn what_a_hasty_server_left_open_can_be_looked_at() {
        let mut parser = Parser::default();
        parser.feed(b"data: [DONE]\ndata: cut off he", |_| panic!("no event has ended")).unwrap();
        assert_eq!(parser.pending(), Some(&b"[DONE]"[..]));
        parser.reset();
        assert_eq!(parser.pending(), None);
    }

    #[test]
    fn a_line_without_an_end_is_refused_in_bounded_memory() {
        let (mut parser, piece) = (Parser::default(), [b'x'; 4096]);
        let fed = (0..100).map(|_| parser.feed(&piece, |_| ())).take_while(Result::is_ok).count();
        assert_eq!(fed, LINE_MAX / piece.len());
        assert!(parser.line.capacity() <= 2 * LINE_MAX);
        assert_eq!(parser.feed(b"\n\ndata: a\n\n", |_| panic!("nothing is read any more")), Err(TooLong));
        // So is an event that grows line by line.
        parser.reset();
        let fed = (0..1000).map(|_| parser.feed(b"data: 0123456789 0123456789 0123456789 0123456789\n", |_| ()));
        assert_eq!(fed.filter(Result::is_err).count(), 0);
        let line = [&b"data:"[..], &[b'y'; 200_000], b"\n"].concat();
        assert_eq!(parser.feed(&line, |_| ()).and_then(|()| parser.feed(&line, |_| ())), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            text in "(\u{feff})?((data|event|id|:)?:? ?[a-z\r\n:é]{0,6}(\r|\n|\r\n){1,2}){0,12}", cuts in prop::collection::vec(0usize..200, 0..9),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(events(&single), events(&[bytes]));
        }

        #[test]
        fn any_bytes_are_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let whole = pieces.concat();
            prop_assert_eq!(events(&pieces), events(&[&whole]));
        }
    }
}
