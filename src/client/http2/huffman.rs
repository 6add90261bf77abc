//! The Huffman code of HPACK (RFC 7541, Appendix B), decoding only: what we send goes out as it is, and only once.
//!
//! The code is canonical, so the lengths say everything: codes of one length count upward in the order of their
//! symbols, and each length goes on where the one before it stopped. The tables are made from that by the compiler.

/// Bits of the code of every octet, and of the end-of-string symbol (256).
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const SYMBOLS: usize = 257;
const END: u16 = 256;
const LONGEST: usize = 30;

struct Tables {
    /// By the next eight bits: symbol and length, length 0 where the code is longer.
    short: [(u8, u8); 256],
    /// All symbols in the order of their codes.
    sorted: [u16; SYMBOLS],
    /// For every length: its first code, the code after its last, and where its symbols begin in `sorted`.
    ranges: [(u32, u32, u16); LONGEST + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables { short: [(0, 0); 256], sorted: [0; SYMBOLS], ranges: [(0, 0, 0); LONGEST + 1] };
    let (mut code, mut placed, mut length) = (0u32, 0usize, 1usize);
    while length <= LONGEST {
        let (first, begin) = (code, placed as u16);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                tables.sorted[placed] = symbol as u16;
                placed += 1;
                if length <= 8 {
                    let mut octet = (code as usize) << (8 - length);
                    let end = (code as usize + 1) << (8 - length);
                    while octet < end {
                        tables.short[octet] = (symbol as u8, length as u8);
                        octet += 1;
                    }
                }
                code += 1;
            }
            symbol += 1;
        }
        tables.ranges[length] = (first, code, begin);
        code <<= 1;
        length += 1;
    }
    tables
}

/// Appends what `coded` stands for; false when it is no such string (what was appended then means nothing).
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    // The next bits, the first of them topmost, zeros below the `have` that are real.
    let (mut bits, mut have) = (0u64, 0u32);
    let mut rest = coded.iter();
    loop {
        while have <= 56 {
            let Some(octet) = rest.next() else { break };
            bits |= u64::from(*octet) << (56 - have);
            have += 8;
        }
        let (symbol, length) = match TABLES.short[(bits >> 56) as usize] {
            (_, 0) => match long(bits) {
                Some(found) => found,
                None => return is_padding(bits, have),
            },
            (symbol, length) => (symbol, u32::from(length)),
        };
        if length > have {
            return is_padding(bits, have);
        }
        out.push(symbol);
        bits <<= length;
        have -= length;
    }
}

/// A code of more than eight bits; none where the end-of-string symbol stands, which no string may contain.
#[cold]
fn long(bits: u64) -> Option<(u8, u32)> {
    let top = (bits >> 32) as u32;
    let length = (9..=LONGEST).find(|&n| top >> (32 - n) < TABLES.ranges[n].1)?;
    let (first, _, begin) = TABLES.ranges[length];
    let symbol = TABLES.sorted[begin as usize + ((top >> (32 - length)) - first) as usize];
    (symbol != END).then_some((symbol as u8, length as u32))
}

/// Fewer than eight bits, all ones: the rest of the last octet.
fn is_padding(bits: u64, have: u32) -> bool {
    have < 8 && bits == !(u64::MAX >> have)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The inverse, bit by bit.
    pub(in super::super) fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for octet in text {
            let at = TABLES.sorted.iter().position(|s| *s == u16::from(*octet)).unwrap();
            let length = usize::from(LENGTHS[usize::from(*octet)]);
            let (first, _, begin) = TABLES.ranges[length];
            let code = first + (at - begin as usize) as u32;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|octet| octet.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))).collect()
    }

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).then_some(out)
    }

    #[test]
    fn the_code_is_complete_and_ends_where_the_rfc_says() {
        let (first, end, _) = TABLES.ranges[LONGEST];
        assert_eq!((first, end), (0x3fff_fffc, 0x4000_0000), "the last code of 30 bits is all ones");
        assert_eq!(TABLES.sorted[SYMBOLS - 1], END);
        // Three codes as Appendix B prints them.
        assert_eq!(encode(b"0"), [0b0000_0111]);
        assert_eq!(encode(b"Z"), [0b1111_1101]);
        assert_eq!(encode(b"\0"), [0xff, 0b1100_0111]);
    }

    #[test]
    fn a_string_must_end_in_less_than_an_octet_of_ones() {
        assert_eq!(decoded(&[]), Some(vec![]));
        assert_eq!(decoded(&[0b0001_1111]), Some(b"a".to_vec()));
        for wrong in
            [&[0b0001_1110][..], &[0b0001_1111, 0xff], &[0xff], &[0xff, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xfc]]
        {
            assert_eq!(decoded(wrong), None, "{wrong:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(decoded(&encode(&text)), Some(text));
        }

        #[test]
        fn what_is_decoded_has_one_spelling(coded in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
