//! Header compression (RFC 7541): reading blocks that use no dynamic table, and writing the few fields of our requests.
//!
//! We announce a table of size 0, so what a block means depends on nothing but its bytes: a block may be skipped, and
//! equal blocks mean the same. Leaves alone what fields mean (`head`) and what is sent when (`requests`).

use super::huffman;

/// Why a block cannot be read: a connection error, since both sides must agree on the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

/// What an entry of a dynamic table counts beside its name and value (section 4.1).
pub(super) const ENTRY_OVERHEAD: usize = 32;
/// Size of a dynamic table until its reader says otherwise.
pub(super) const TABLE_DEFAULT: usize = 4096;
/// Entries of the static table; the first of the dynamic one has the next number.
pub(super) const STATIC_COUNT: usize = STATIC.len();

/// Appendix A; entry 1 stands first.
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""),
    ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""),
    ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
    ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

/// A string of a block: as it stands there, or decoded into the scratch buffer.
enum Text<'b> {
    Plain(&'b [u8]),
    Decoded { from: usize, to: usize },
}

impl<'b> Text<'b> {
    fn get<'a>(&self, scratch: &'a [u8]) -> &'a [u8]
    where
        'b: 'a,
    {
        match *self {
            Text::Plain(bytes) => bytes,
            Text::Decoded { from, to } => &scratch[from..to],
        }
    }
}

/// Calls `each` with name and value of every field, in order.
///
/// # Errors
/// When the block cannot be read, or `each` will have no more.
pub(super) fn decode<E: From<Unreadable>>(
    block: &[u8],
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = block;
    let mut fields_began = false;
    while let Some(&first) = rest.first() {
        if first & 0x80 != 0 {
            let (name, value) = entry(integer(&mut rest, 7)?)?;
            each(name.as_bytes(), value.as_bytes())?;
        } else if first & 0xe0 == 0x20 {
            // A peer with a table says at first that it has emptied it.
            if integer(&mut rest, 5)? != 0 {
                return Err(Unreadable("a header table larger than the size 0 that was announced").into());
            }
            if fields_began {
                return Err(Unreadable("a change of the header table amid a header block").into());
            }
            continue;
        } else {
            // With or without indexing: into a table of size 0, nothing goes.
            let index = integer(&mut rest, if first & 0x40 != 0 { 6 } else { 4 })?;
            scratch.clear();
            let name = if index == 0 { string(&mut rest, scratch)? } else { Text::Plain(entry(index)?.0.as_bytes()) };
            let value = string(&mut rest, scratch)?;
            each(name.get(scratch), value.get(scratch))?;
        }
        fields_began = true;
    }
    Ok(())
}

fn entry(index: usize) -> Result<(&'static str, &'static str), Unreadable> {
    match index {
        0 => Err(Unreadable("header index 0")),
        n if n <= STATIC_COUNT => Ok(STATIC[n - 1]),
        _ => Err(Unreadable("a header index into the dynamic table, whose announced size is 0")),
    }
}

/// An integer of the given prefix (section 5.1). Nothing in a block of bounded size needs more than 28 further bits.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Unreadable> {
    const CUT: Unreadable = Unreadable("a header block that ends amid a field");
    let (&first, mut tail) = rest.split_first().ok_or(CUT)?;
    let mask = (1usize << prefix) - 1;
    let mut value = usize::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&octet, after) = tail.split_first().ok_or(CUT)?;
            tail = after;
            if shift > 21 {
                return Err(Unreadable("an endless integer in a header block"));
            }
            value += usize::from(octet & 0x7f) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Ok(value)
}

fn string<'b>(rest: &mut &'b [u8], scratch: &mut Vec<u8>) -> Result<Text<'b>, Unreadable> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let Some((bytes, tail)) = rest.split_at_checked(length) else {
        return Err(Unreadable("a header block that ends amid a string"));
    };
    *rest = tail;
    if !coded {
        return Ok(Text::Plain(bytes));
    }
    let from = scratch.len();
    if !huffman::decode(bytes, scratch) {
        return Err(Unreadable("a string that is not of the Huffman code"));
    }
    Ok(Text::Decoded { from, to: scratch.len() })
}

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    /// And the reader shall keep it in its table.
    Kept,
    /// This once.
    Once,
}

/// The number of a field that the static table holds whole.
pub(super) fn static_field(name: &str, value: &str) -> Option<usize> {
    STATIC.iter().position(|(n, v)| *n == name && *v == value).map(|at| at + 1)
}

/// Writes the number of a whole field.
pub(super) fn put_indexed(out: &mut Vec<u8>, index: usize) {
    put_integer(out, 0x80, 7, index);
}

/// Writes a field, its name by number where the static table has it.
pub(super) fn put_literal(out: &mut Vec<u8>, how: Literal, name: &str, value: &[u8]) {
    let (pattern, prefix) = if how == Literal::Kept { (0x40, 6) } else { (0x00, 4) };
    let known = STATIC.iter().position(|(n, _)| *n == name).map_or(0, |at| at + 1);
    put_integer(out, pattern, prefix, known);
    if known == 0 {
        put_string(out, name.as_bytes());
    }
    put_string(out, value);
}

/// Writes that our side of the table is of this size from here on.
pub(super) fn put_size_update(out: &mut Vec<u8>, size: usize) {
    put_integer(out, 0x20, 5, size);
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_integer(out, 0x00, 7, text.len());
    out.extend_from_slice(text);
}

fn put_integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::super::huffman::tests::encode;
    use super::*;
    use proptest::prelude::*;

    pub(super) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    fn fields(block: &[u8]) -> Result<Vec<(String, String)>, Unreadable> {
        let mut all = Vec::new();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        decode(block, &mut Vec::new(), |name, value| {
            all.push((text(name), text(value)));
            Ok::<(), Unreadable>(())
        })?;
        Ok(all)
    }

    #[test]
    fn integers_of_appendix_c_1() {
        for (value, prefix, bytes) in [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a")] {
            let mut out = Vec::new();
            put_integer(&mut out, 0, prefix, value);
            assert_eq!(out, hex(bytes));
            assert_eq!(integer(&mut &out[..], prefix), Ok(value));
        }
    }

    /// Blocks of C.2 to C.6, those without references into a dynamic table.
    #[test]
    fn blocks_of_appendix_c() {
        let first_request = "GET http / www.example.com";
        let redirect = "302|private|Mon, 21 Oct 2013 20:13:21 GMT|https://www.example.com";
        let cases = [
            ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key", "custom-header"),
            ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path"),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret"),
            ("82", ":method", "GET"),
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", ":method :scheme :path :authority", first_request),
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", ":method :scheme :path :authority", first_request),
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
                 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                ":status|cache-control|date|location",
                redirect,
            ),
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
                 63c7 8f0b 97c8 e9ae 82ae 43d3",
                ":status|cache-control|date|location",
                redirect,
            ),
        ];
        for (block, names, values) in cases {
            let by = if names.contains('|') || !names.contains(' ') { '|' } else { ' ' };
            let want: Vec<_> = names.split(by).zip(values.split(by)).map(|(n, v)| (n.into(), v.into())).collect();
            assert_eq!(fields(&hex(block)), Ok(want), "{block}");
        }
        // The cookie of C.6.3.
        let cookie =
            "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5
                      b106 3d50 07";
        let mut out = Vec::new();
        assert!(huffman::decode(&hex(cookie), &mut out));
        assert_eq!(out, b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    }

    #[test]
    fn a_reference_to_the_dynamic_table_is_unreadable() {
        // C.3.2, whose fourth field is one.
        let block = hex("8286 84be 5808 6e6f 2d63 6163 6865");
        assert!(fields(&block).unwrap_err().0.contains("dynamic table"), "{:?}", fields(&block));
        assert!(fields(&hex("7e 01 61")).unwrap_err().0.contains("dynamic table"), "as the name of a literal");
    }

    #[test]
    fn the_table_may_be_emptied_at_the_start_and_never_grown() {
        assert_eq!(fields(&hex("20 88")).unwrap().len(), 1);
        assert_eq!(fields(&hex("20 20 88")).unwrap().len(), 1);
        assert!(fields(&hex("3fe11f 88")).is_err());
        assert!(fields(&hex("88 20")).is_err());
    }

    #[test]
    fn broken_blocks_are_unreadable() {
        for block in
            ["80", "40", "4003 6162", "ff", "ff ff ff ff ff ff 7f", "00 81 ff 00", "0f", "00 7f ff ff ff ff ff 01"]
        {
            assert!(fields(&hex(block)).is_err(), "{block}");
        }
    }

    proptest! {
        #[test]
        fn any_block_is_survived(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&block);
        }

        #[test]
        fn what_is_written_is_read(
            list in prop::collection::vec(("[a-z-]{1,300}", "[ -~]{0,300}", any::<bool>(), any::<bool>()), 0..6)
        ) {
            let mut block = Vec::new();
            for (name, value, kept, coded) in &list {
                if *coded {
                    block.push(0);
                    for text in [name, value] {
                        let text = encode(text.as_bytes());
                        put_integer(&mut block, 0x80, 7, text.len());
                        block.extend_from_slice(&text);
                    }
                } else {
                    put_literal(&mut block, if *kept { Literal::Kept } else { Literal::Once }, name, value.as_bytes());
                }
            }
            let want: Vec<_> = list.into_iter().map(|(name, value, ..)| (name, value)).collect();
            prop_assert_eq!(fields(&block), Ok(want));
        }
    }
}
