//! Any bytes as a stream of events, in pieces of any size: the same events as in one piece, judged alike, in bounded memory, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resbench::target::TokenStream;
use resbench::target::sse::{LINE_MAX, Parser};

type Seen = Vec<(Vec<u8>, Vec<u8>)>;

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Seen, Option<Vec<u8>>) {
    let (mut parser, mut seen) = (Parser::default(), Vec::new());
    for piece in pieces {
        let fed = parser.feed(piece, |e| seen.push((e.name.to_vec(), e.data.to_vec())));
        assert!(fed.is_ok(), "inputs are shorter than a line may be");
    }
    (seen, parser.pending().map(<[u8]>::to_vec))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = (usize::from(input.0) + 1, input.1);
    if bytes.len() > LINE_MAX {
        return;
    }
    let whole = events(std::iter::once(bytes));
    assert_eq!(events(bytes.chunks(piece)), whole, "in pieces of {piece}");
    let data: usize = whole.0.iter().map(|(_, data)| data.len()).sum();
    assert!(data <= bytes.len());

    let (mut at_once, mut in_pieces) = (TokenStream::default(), TokenStream::default());
    // A stream that was used before must not be told from a new one.
    in_pieces.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: half", 1);
    in_pieces.reset();
    at_once.feed(bytes, 7);
    bytes.chunks(piece).for_each(|p| in_pieces.feed(p, 7));
    assert_eq!(at_once.judge(), in_pieces.judge(), "in pieces of {piece}");
    if let Ok(tokens) = at_once.judge() {
        assert_eq!(tokens.gaps.len() as u64 + 1, at_once.tokens());
        assert_eq!((tokens.first, tokens.gaps_sum), (Some(7), 0));
    }
});
