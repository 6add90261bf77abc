//! Everything that is wanted of a JSON answer, in one pass, without a tree and without an allocation.
//!
//! Where `extract.rs` follows one pointer, this follows all of a target's at once: version, fallback level, age, error, the list of
//! predictions, the predictions themselves. What lies on none of them is skipped.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::target::extract::{Scalar, names};
use crate::target::predictions::{Leaf, Sink};

/// What stands at the end of a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Version,
    Fallback,
    Age,
    /// Anything but null here says that the answer is an error.
    Error,
    /// Says what the error was.
    Message,
    /// A list with an entry for each row.
    List,
    /// Such a list, or an object of such lists, of which the first one holds the predictions.
    Outputs,
    /// A prediction, or a list with one for each row.
    Predictions,
}

#[derive(Debug)]
struct Path {
    tokens: Vec<Token>,
    what: What,
}

#[derive(Debug)]
enum Token {
    /// `*`: every element of a list.
    Each,
    Name(String, Option<usize>),
}

/// Pointers to follow together.
#[derive(Debug, Default)]
pub(super) struct Paths {
    all: Vec<Path>,
}

impl Paths {
    /// Adds a pointer; at most 16 of them.
    pub(super) fn add(&mut self, what: What, pointer: &str) {
        let token = |t: &str| if t == "*" { Token::Each } else { Token::Name(t.to_owned(), t.parse().ok()) };
        self.all.push(Path { tokens: pointer.split('/').skip(1).map(token).collect(), what });
        assert!(self.all.len() <= 16, "a bit for each pointer");
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn has(&self, what: What) -> bool {
        self.all.iter().any(|p| p.what == what)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub(super) version: Option<Scalar<'a>>,
    pub(super) fallback: Option<Scalar<'a>>,
    pub(super) age: Option<Scalar<'a>>,
    pub(super) error: Option<Scalar<'a>>,
    pub(super) message: Option<Scalar<'a>>,
    /// Entries of the list.
    pub(super) list: Option<usize>,
    /// Lists that should be equally long are not.
    pub(super) uneven: bool,
    /// There is something else where the list should be.
    pub(super) not_list: bool,
    /// An entry of the list is null.
    pub(super) null: bool,
}

/// Walks a whole document.
///
/// # Errors
/// When it is not JSON.
pub(super) fn walk<'a>(body: &'a [u8], paths: &Paths, sink: &mut Sink<'_>) -> Result<Found<'a>, serde_json::Error> {
    let mut found = Found::default();
    let mut de = serde_json::Deserializer::from_slice(body);
    let mask = (1u32 << paths.all.len()) - 1;
    let mode = Mode::default();
    Node { paths: &paths.all, mask: mask as u16, depth: 0, mode, found: &mut found, sink }.deserialize(&mut de)?;
    de.end()?;
    Ok(found)
}

/// What a value is beside the pointers that lead through it.
#[derive(Clone, Copy, Debug, Default)]
struct Mode {
    /// A row was begun by a `*` above.
    open: bool,
    /// It lies inside a row: every value in it belongs to the prediction.
    row: bool,
    /// It should be a list with an entry for each row.
    counted: bool,
    /// And its entries are the predictions.
    rows: bool,
    /// It is an entry of such a list.
    entry: bool,
}

struct Node<'x, 's, 'de> {
    paths: &'x [Path],
    mask: u16,
    depth: usize,
    mode: Mode,
    found: &'x mut Found<'de>,
    sink: &'x mut Sink<'s>,
}

impl<'x> Node<'x, '_, '_> {
    /// Pointers that lead to here or on.
    fn alive(&self) -> impl Iterator<Item = (u16, &'x Path)> + use<'x> {
        let mask = self.mask;
        self.paths.iter().enumerate().map(|(n, path)| (1 << n, path)).filter(move |(bit, _)| mask & bit != 0)
    }

    fn ends_here(&self, what: What) -> bool {
        self.mask != 0 && self.alive().any(|(_, p)| p.what == what && p.tokens.len() == self.depth)
    }

    /// The mode of this value, once it is known to be a container.
    fn settled(&self) -> Mode {
        let mut mode = self.mode;
        mode.counted |= self.ends_here(What::List);
        if self.ends_here(What::Predictions) {
            if mode.open { mode.row = true } else { mode.rows = true }
        }
        mode
    }
}

impl<'de> Node<'_, '_, 'de> {
    fn scalar(self, scalar: Scalar<'de>) {
        let leaf = match &scalar {
            Scalar::Number(x) => Leaf::Number(*x),
            Scalar::Text(text) => Leaf::Text(text),
            Scalar::Bool(on) => Leaf::Bool(*on),
            Scalar::Null | Scalar::Other => Leaf::Null,
        };
        if self.mode.row {
            self.sink.leaf(leaf);
        } else if self.ends_here(What::Predictions) {
            if self.mode.open { self.sink.leaf(leaf) } else { self.sink.value(leaf) }
        }
        self.found.not_list |= self.mode.counted || self.mode.rows;
        self.found.null |= self.mode.entry && scalar == Scalar::Null;
        if self.mask == 0 {
            return;
        }
        for (_, path) in self.alive().filter(|(_, p)| p.tokens.len() == self.depth) {
            let place = match path.what {
                What::Version => &mut self.found.version,
                What::Fallback => &mut self.found.fallback,
                What::Age => &mut self.found.age,
                What::Error => &mut self.found.error,
                What::Message => &mut self.found.message,
                What::List | What::Outputs => {
                    self.found.not_list = true;
                    continue;
                }
                What::Predictions => continue,
            };
            *place = Some(scalar.clone());
        }
    }

    /// A container stands where a scalar may.
    fn other(&mut self) {
        if self.ends_here(What::Error) {
            self.found.error = Some(Scalar::Other);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(v));
        Ok(())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<(), E> {
        self.scalar(Scalar::Number(v as f64));
        Ok(())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<(), E> {
        self.scalar(Scalar::Number(v as f64));
        Ok(())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<(), E> {
        self.scalar(Scalar::Number(v));
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<(), E> {
        self.scalar(Scalar::Text(v.into()));
        Ok(())
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(v.to_owned().into()));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(Scalar::Null);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.other();
        let mode = self.settled();
        self.found.not_list |= mode.counted || (mode.rows && !self.ends_here(What::Predictions));
        // One object where a list of predictions may stand is one prediction.
        let single = mode.rows && !mode.counted;
        let outputs = self.ends_here(What::Outputs);
        let own_rows = outputs && !self.paths.iter().any(|p| p.what == What::Predictions);
        if single {
            self.sink.begin_row();
        }
        let mut first = true;
        while let Some(mask) = map.next_key_seed(Key { paths: self.paths, mask: self.mask, depth: self.depth })? {
            let row = mode.row || single;
            if mask == 0 && !row && !outputs {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let below =
                Mode { open: mode.open, row, counted: outputs, rows: outputs && own_rows && first, entry: false };
            first = false;
            map.next_value_seed(Node {
                paths: self.paths,
                mask,
                depth: self.depth + 1,
                mode: below,
                found: &mut *self.found,
                sink: &mut *self.sink,
            })?;
        }
        if single {
            self.sink.end_row();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.other();
        let mut mode = self.settled();
        if self.ends_here(What::Outputs) {
            mode.counted = true;
            mode.rows |= !mode.row && !self.paths.iter().any(|p| p.what == What::Predictions);
        }
        let at_each = |p: &Path| matches!(p.tokens.get(self.depth), Some(Token::Each));
        let each = self.mask != 0 && !mode.open && self.alive().any(|(_, p)| p.what == What::Predictions && at_each(p));
        let mut len = 0;
        loop {
            let mask = if self.mask == 0 {
                0
            } else {
                let on = |p: &Path| match p.tokens.get(self.depth) {
                    Some(Token::Each) => true,
                    Some(Token::Name(_, index)) => *index == Some(len),
                    None => false,
                };
                self.alive().filter(|(_, p)| on(p)).map(|(bit, _)| bit).sum()
            };
            if mode.rows || each {
                self.sink.begin_row();
            }
            let below = Mode {
                open: mode.open || each,
                row: mode.row || mode.rows,
                counted: false,
                rows: false,
                entry: mode.counted,
            };
            let element = if mask == 0 && !below.row && !below.entry {
                list.next_element::<IgnoredAny>()?.map(|_| ())
            } else {
                list.next_element_seed(Node {
                    paths: self.paths,
                    mask,
                    depth: self.depth + 1,
                    mode: below,
                    found: &mut *self.found,
                    sink: &mut *self.sink,
                })?
            };
            if element.is_none() {
                break;
            }
            if mode.rows || each {
                self.sink.end_row();
            }
            len += 1;
        }
        if mode.counted {
            self.found.uneven |= self.found.list.is_some_and(|n| n != len);
            self.found.list.get_or_insert(len);
        }
        Ok(())
    }
}

/// Reads a key and says which pointers it leads on.
struct Key<'x> {
    paths: &'x [Path],
    mask: u16,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = u16;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<u16, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = u16;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<u16, E> {
        let mut on = 0;
        for (n, path) in self.paths.iter().enumerate().filter(|(n, _)| self.mask & 1 << n != 0) {
            if matches!(path.tokens.get(self.depth), Some(Token::Name(token, _)) if names(token, key)) {
                on |= 1 << n;
            }
        }
        Ok(on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::predictions::{BodyRows, Scratch};
    use proptest::prelude::*;

    fn rows(pointer: &str, body: &str, rows: u32) -> Result<usize, String> {
        let mut paths = Paths::default();
        paths.add(What::Predictions, pointer);
        let mut scratch = Scratch::default();
        let mut sink = Sink::new(None, BodyRows { start: 0, len: rows, of: 100 }, &mut scratch);
        walk(body.as_bytes(), &paths, &mut sink).map_err(|e| e.to_string())?;
        sink.finish().map_err(String::from)?;
        Ok(scratch.prints().len())
    }

    #[test]
    fn predictions_stand_in_lists_and_below_their_elements() {
        assert_eq!(rows("/p", r#"{"p":[1,2,3]}"#, 3), Ok(3));
        assert_eq!(rows("/p", r#"{"p":[[1,2],[3,4]]}"#, 2), Ok(2), "a vector for each row");
        assert_eq!(rows("/p", r#"{"p":[{"a":1,"b":"x"},{"a":2,"b":"y"}]}"#, 2), Ok(2), "a record for each row");
        assert_eq!(rows("/p", r#"{"p":7}"#, 1), Ok(1));
        assert_eq!(rows("/p", r#"{"p":{"a":[1,2]}}"#, 1), Ok(1), "one object is one prediction");
        assert_eq!(rows("/p/0", r#"{"p":[7]}"#, 1), Ok(1));
        assert_eq!(rows("/p/*/score", r#"{"p":[{"score":1,"x":9},{"score":2}]}"#, 2), Ok(2));
        assert_eq!(rows("/p/*/s/*", r#"{"p":[{"s":[1]}]}"#, 1), Ok(1));
        assert_eq!(
            rows("/p/*/score", r#"{"p":[{"score":1},{"other":2}]}"#, 2).unwrap_err(),
            "the prediction of a row is empty"
        );
        assert_eq!(rows("/p", r#"{"q":[1]}"#, 1).unwrap_err(), "0 predictions for 1 row");
        assert_eq!(rows("/p", r#"{"p":[1,null]}"#, 2).unwrap_err(), "the prediction is null");
    }

    #[test]
    fn everything_comes_in_one_pass() {
        let mut paths = Paths::default();
        for (what, pointer) in [
            (What::List, "/predictions"),
            (What::Predictions, "/predictions/*/y"),
            (What::Version, "/meta/version"),
            (What::Fallback, "/meta/fall~1back"),
            (What::Age, "/meta/ages/1"),
            (What::Error, "/error"),
        ] {
            paths.add(what, pointer);
        }
        let body = r#"{"predictions":[{"y":1},{"y":2}],"meta":{"ages":[1,2.5],"version":"7\u0041","fall/back":2},"error":null}"#;
        let mut scratch = Scratch::default();
        let mut sink = Sink::new(None, BodyRows { start: 0, len: 2, of: 2 }, &mut scratch);
        let found = walk(body.as_bytes(), &paths, &mut sink).unwrap();
        sink.finish().unwrap();
        assert_eq!((found.list, found.not_list, found.null), (Some(2), false, false));
        assert_eq!(found.version, Some(Scalar::Text("7A".into())));
        assert_eq!((found.fallback, found.age), (Some(Scalar::Number(2.0)), Some(Scalar::Number(2.5))));
        assert_eq!(found.error, Some(Scalar::Null));
    }

    #[test]
    fn deep_nesting_is_refused_not_a_crash() {
        let deep = format!("{{\"p\":{}", "[".repeat(100_000));
        assert!(rows("/p", &deep, 1).unwrap_err().contains("recursion"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in "[\\[\\]{}\":,0-9a-e .*n-u]{0,80}", pointer in "(/[a-c0-2*]){0,4}") {
            let _ = rows(&pointer, &body, 2);
        }
    }
}
