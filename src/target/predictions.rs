//! Predictions as they are met in an answer: each held against its label, and kept as a print for later comparison.
//!
//! A print is 64 bits for each row: the number itself; of several numbers their weighted sum; of texts a hash, which stands inside
//! the NaNs that no good answer holds. So a table of one word for each row is enough to tell whether a row got the same answer as
//! before (`agreement.rs`), within a tolerance where the answer is a number. Where an answer mixes texts and numbers, its texts
//! are what is compared.
//!
//! Owns labels and prints; leaves alone where in an answer predictions stand (`walk.rs`, `open_inference.rs`).

use std::borrow::Cow;

use crate::plan::ROUNDING;

/// A value that is no container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leaf<'a> {
    Number(f64),
    Text(&'a str),
    Bool(bool),
    Null,
}

/// The answer that a row should get.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// Compared as a number.
    Number(f64),
    /// Compared as text.
    Text(String),
}

impl Label {
    /// None for an empty cell: a row without a label is in no accuracy.
    pub(super) fn of(text: &str) -> Option<Label> {
        let text = text.trim();
        (!text.is_empty()).then(|| text.parse().map_or_else(|_| Label::Text(text.to_owned()), Label::Number))
    }

    fn matches(&self, value: Leaf<'_>) -> bool {
        match (self, value) {
            // Whole numbers are classes and keys, whose neighbour is another one.
            (Label::Number(want), Leaf::Number(got)) if want.fract() == 0.0 && got.fract() == 0.0 => *want == got,
            (Label::Number(want), Leaf::Number(got)) => (want - got).abs() <= 1e-9 * want.abs().max(1.0),
            (Label::Number(want), Leaf::Text(got)) => got.trim().parse::<f64>().is_ok_and(|g| g == *want),
            (Label::Number(want), Leaf::Bool(got)) => *want == f64::from(u8::from(got)),
            (Label::Text(want), Leaf::Text(got)) => want == got.trim(),
            (Label::Text(want), Leaf::Bool(got)) => want.eq_ignore_ascii_case(if got { "true" } else { "false" }),
            _ => false,
        }
    }
}

/// One prediction in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Print {
    /// A finite number, or a NaN that holds the hash of a text. Never all ones.
    pub bits: u64,
    /// What a tolerance is a share of: the size of the numbers that went into it.
    pub scale: f64,
}

impl Print {
    fn of(leaf: Leaf<'_>) -> Print {
        match leaf {
            // One zero for both.
            Leaf::Number(x) => Print { bits: (x + 0.0).to_bits(), scale: x.abs() },
            Leaf::Text(text) => Print::hashed(hash(SEED, text.as_bytes())),
            Leaf::Bool(on) => Print::hashed(hash(SEED, if on { b"\x01true" } else { b"\x01false" })),
            Leaf::Null => Print::hashed(hash(SEED, b"\x01null")),
        }
    }

    fn hashed(hash: u64) -> Print {
        // The highest bit of the fraction is set in a quiet NaN; the lowest is left 0, so that all ones never occur.
        Print { bits: 0x7ff8_0000_0000_0000 | (hash >> 13 & !1), scale: 0.0 }
    }

    fn is_text(self) -> bool {
        f64::from_bits(self.bits).is_nan()
    }

    /// Several values of one row as one.
    fn fold(all: &[Print]) -> Print {
        match all {
            [one] => *one,
            all if all.iter().any(|p| p.is_text()) => {
                let texts = all.iter().filter(|p| p.is_text());
                Print::hashed(texts.fold(SEED, |sum, p| hash(sum, &p.bits.to_le_bytes())))
            }
            all => {
                let (mut sum, mut scale) = (0.0, 0.0);
                for (n, print) in all.iter().enumerate() {
                    // Weights that repeat in no pattern, so that values which change places are seen.
                    let weight = 1.0 + (n as f64 * 0.618_033_988_749_895).fract();
                    sum += weight * f64::from_bits(print.bits);
                    scale += weight * print.scale;
                }
                Print { bits: (sum + 0.0).to_bits(), scale }
            }
        }
    }

    /// Is this the answer that was kept as these bits? Numbers within `tolerance` of their size are the same; whole numbers
    /// only where that is more than [`ROUNDING`], since it is the author's own then.
    pub(super) fn agrees(self, kept: u64, tolerance: f64) -> bool {
        if self.bits == kept {
            return true;
        }
        let (now, then) = (f64::from_bits(self.bits), f64::from_bits(kept));
        let whole = now.fract() == 0.0 && then.fract() == 0.0 && self.scale == now.abs();
        if whole && tolerance <= ROUNDING {
            return false;
        }
        // NaN, a text, is within nothing.
        (now - then).abs() <= 1e-9 + tolerance * self.scale.max(then.abs())
    }
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, mixed at the end so that its high bits are good ones.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let sum = bytes.iter().fold(seed, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    (sum ^ sum >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Which rows of a dataset a body holds: so many from `start` on, around at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyRows {
    pub(super) start: u32,
    /// 0 for a body that was ready: nobody knows how many rows it holds, and all of its answer is one.
    pub(super) len: u32,
    /// Rows of the dataset, or bodies where there is none.
    pub(super) of: u32,
}

impl BodyRows {
    /// The number of the row that stands at this place of the body.
    pub(super) fn row(self, place: usize) -> usize {
        ((u64::from(self.start) + place as u64) % u64::from(self.of.max(1))) as usize
    }

    /// How many; none where nobody knows.
    pub fn known(self) -> Option<usize> {
        (self.len > 0).then_some(self.len as usize)
    }
}

/// Room for the prints of one answer, used again for the next.
#[derive(Debug, Default)]
pub struct Scratch {
    prints: Vec<Print>,
}

impl Scratch {
    /// One for each row of the body that was answered last.
    pub fn prints(&self) -> &[Print] {
        &self.prints
    }
}

/// Takes predictions, row by row.
pub(super) struct Sink<'s> {
    labels: Option<&'s [Option<Label>]>,
    rows: BodyRows,
    prints: &'s mut Vec<Print>,
    row_start: usize,
    matched: Option<bool>,
    /// Rows met.
    pub(super) count: usize,
    pub(super) labelled: u32,
    pub(super) correct: u32,
    wrong: Option<&'static str>,
}

impl<'s> Sink<'s> {
    pub(super) fn new(labels: Option<&'s [Option<Label>]>, rows: BodyRows, scratch: &'s mut Scratch) -> Sink<'s> {
        scratch.prints.clear();
        Sink {
            labels: labels.filter(|_| rows.len > 0),
            rows,
            prints: &mut scratch.prints,
            row_start: 0,
            matched: None,
            count: 0,
            labelled: 0,
            correct: 0,
            wrong: None,
        }
    }

    /// What comes next belongs to the next row.
    pub(super) fn begin_row(&mut self) {
        self.row_start = self.prints.len();
        self.matched = None;
    }

    /// A value of the row.
    pub(super) fn leaf(&mut self, leaf: Leaf<'_>) {
        match leaf {
            Leaf::Null => _ = self.wrong.get_or_insert("the prediction is null"),
            Leaf::Number(x) if !x.is_finite() => _ = self.wrong.get_or_insert("the prediction is not a finite number"),
            _ => {}
        }
        let label = self.labels.and_then(|all| all.get(self.rows.row(self.count))?.as_ref());
        // Of several values none is the prediction that a label speaks of.
        self.matched = if self.prints.len() == self.row_start { label.map(|label| label.matches(leaf)) } else { None };
        self.prints.push(Print::of(leaf));
    }

    /// The row is over.
    pub(super) fn end_row(&mut self) {
        if self.prints.len() == self.row_start {
            self.wrong.get_or_insert("the prediction of a row is empty");
        } else {
            let print = Print::fold(&self.prints[self.row_start..]);
            self.prints.truncate(self.row_start);
            self.prints.push(print);
        }
        self.count += 1;
        self.labelled += u32::from(self.matched.is_some());
        self.correct += u32::from(self.matched == Some(true));
    }

    /// A row of this one value.
    pub(super) fn value(&mut self, leaf: Leaf<'_>) {
        self.begin_row();
        self.leaf(leaf);
        self.end_row();
    }

    /// So many values came one by one, and belong to so many rows (0: all to one).
    pub(super) fn group(&mut self, rows: usize, values: usize) -> Result<(), Cow<'static, str>> {
        let rows = rows.max(1);
        if values == 0 || !values.is_multiple_of(rows) || self.prints.len() != values {
            return Err("the first output holds no values".into());
        }
        let each = values / rows;
        if each > 1 {
            for row in 0..rows {
                self.prints[row] = Print::fold(&self.prints[row * each..(row + 1) * each]);
            }
            self.prints.truncate(rows);
            (self.labelled, self.correct) = (0, 0);
        }
        self.count = rows;
        Ok(())
    }

    /// Nothing more comes: as many predictions as rows, all of them good?
    pub(super) fn finish(&mut self) -> Result<(), Cow<'static, str>> {
        if let Some(wrong) = self.wrong {
            return Err(wrong.into());
        }
        match self.rows.known() {
            Some(rows) if rows != self.count => Err(counted(self.count, rows)),
            None if self.count == 0 => Err("no prediction in the answer".into()),
            None => {
                let all = Print::fold(self.prints);
                self.prints.clear();
                self.prints.push(all);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }
}

/// A count that does not fit, in words.
pub(super) fn counted(predictions: usize, rows: usize) -> Cow<'static, str> {
    let s = |n: usize| if n == 1 { "" } else { "s" };
    format!("{predictions} prediction{} for {rows} row{}", s(predictions), s(rows)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(leaves: &[Leaf<'_>]) -> Print {
        let mut scratch = Scratch::default();
        let mut sink = Sink::new(None, BodyRows { start: 0, len: 1, of: 1 }, &mut scratch);
        sink.begin_row();
        leaves.iter().for_each(|leaf| sink.leaf(*leaf));
        sink.end_row();
        sink.finish().unwrap();
        scratch.prints()[0]
    }

    #[test]
    fn the_same_answer_within_a_tolerance() {
        use Leaf::{Bool, Number, Text};
        let same = |a: &[Leaf<'_>], b: &[Leaf<'_>]| print(a).agrees(print(b).bits, 1e-5);
        assert!(same(&[Number(0.0)], &[Number(-0.0)]));
        assert!(same(&[Number(1.0)], &[Number(1.000_001)]));
        assert!(!same(&[Number(1.0)], &[Number(1.001)]));
        assert!(!same(&[Number(4_000_000_001.0)], &[Number(4_000_000_002.0)]), "keys have no tolerance");
        assert!(same(&[Number(4_000_000_001.0)], &[Number(4_000_000_001.0)]));
        assert!(print(&[Number(100.0)]).agrees(print(&[Number(101.0)]).bits, 0.05), "but what the author says");
        assert!(!same(&[Number(1e-6)], &[Number(2e-6)]), "small numbers are told apart by their own size");
        assert!(same(&[Text("ok")], &[Text("ok")]) && !same(&[Text("ok")], &[Text("fraud")]));
        assert!(!same(&[Text("1")], &[Number(1.0)]) && !same(&[Bool(true)], &[Text("true")]));
        let vector = |a: f64, b: f64, c: f64| [Number(a), Number(b), Number(c)];
        assert!(same(&vector(0.2, 0.3, 0.5), &vector(0.2, 0.300_000_1, 0.5)));
        assert!(!same(&vector(0.2, 0.3, 0.5), &vector(0.3, 0.2, 0.5)), "order matters");
        assert!(!same(&vector(1.0, -1.0, 0.0), &vector(2.0, -2.0, 0.0)));
        assert!(same(&[Text("cat"), Number(0.9)], &[Text("cat"), Number(0.8)]), "with texts, the texts count");
        assert_ne!(print(&[Text("x")]).bits, u64::MAX);
    }

    #[test]
    fn a_label_that_is_a_whole_number_has_no_neighbours() {
        let label = Label::of("4000000001").unwrap();
        assert!(label.matches(Leaf::Number(4_000_000_001.0)) && !label.matches(Leaf::Number(4_000_000_002.0)));
        assert!(Label::of("0.3").unwrap().matches(Leaf::Number(0.1 + 0.2)));
    }

    #[test]
    fn labels_are_of_any_type_and_may_be_missing() {
        let labels: Vec<Option<Label>> = ["1", " fraud ", "", "0.5"].iter().map(|l| Label::of(l)).collect();
        let mut scratch = Scratch::default();
        let mut sink = Sink::new(Some(&labels), BodyRows { start: 3, len: 5, of: 4 }, &mut scratch);
        // Rows 3, 0, 1, 2, 3.
        for leaf in [Leaf::Number(0.5), Leaf::Text("1"), Leaf::Text("fraud"), Leaf::Number(7.0), Leaf::Bool(true)] {
            sink.value(leaf);
        }
        sink.finish().unwrap();
        assert_eq!((sink.count, sink.labelled, sink.correct), (5, 4, 3), "the row without a label is in no accuracy");
    }

    #[test]
    fn wrong_answers_are_told() {
        let judged = |rows: u32, leaves: &[Leaf<'_>]| {
            let mut scratch = Scratch::default();
            let mut sink = Sink::new(None, BodyRows { start: 0, len: rows, of: 9 }, &mut scratch);
            leaves.iter().for_each(|leaf| sink.value(*leaf));
            sink.finish().map_err(String::from)
        };
        assert_eq!(judged(1, &[]).unwrap_err(), "0 predictions for 1 row");
        assert_eq!(judged(2, &[Leaf::Number(1.0)]).unwrap_err(), "1 prediction for 2 rows");
        assert_eq!(judged(1, &[Leaf::Null]).unwrap_err(), "the prediction is null");
        assert_eq!(judged(1, &[Leaf::Number(f64::NAN)]).unwrap_err(), "the prediction is not a finite number");
        assert_eq!(judged(0, &[Leaf::Number(1.0), Leaf::Text("a")]), Ok(()), "of a ready body nobody knows the rows");
    }
}
