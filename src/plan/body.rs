//! How rows become request bodies, and where an answer tells how old its features are.

use std::time::Duration;

use super::Place;

/// Which of the ways that a protocol knows of writing rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// MLflow: `{"dataframe_split":{"columns":[…],"data":[[…]]}}`. Also stands where a protocol has one way only.
    #[default]
    Split,
    /// MLflow: `{"dataframe_records":[{…}]}`.
    Records,
    /// MLflow and TF Serving (rows): `{"instances":[{…}]}`.
    Instances,
    /// MLflow and TF Serving (columns): `{"inputs":{"column":[…]}}`.
    Inputs,
    /// Open Inference: tensors in JSON.
    Json,
    /// Open Inference: tensors as bytes after the JSON (`Inference-Header-Content-Length`).
    Binary,
}

impl Form {
    /// The word of the language.
    pub fn word(self) -> &'static str {
        match self {
            Form::Split => "dataframe_split",
            Form::Records => "dataframe_records",
            Form::Instances => "instances",
            Form::Inputs => "inputs",
            Form::Json => "json",
            Form::Binary => "binary",
        }
    }
}

/// How rows are written, beside the protocol itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoding {
    /// Which way.
    pub form: Form,
    /// All columns as one tensor of this name, a row of numbers each; none: one tensor for each column, named by it.
    pub input: Option<String>,
    /// Numbers as this type; none: whole numbers as INT64, others as FP64, and one tensor as FP64.
    pub datatype: Option<Datatype>,
    /// TF Serving: the signature that is asked.
    pub signature: Option<String>,
}

/// Types of numbers in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the type of its name")]
pub enum Datatype {
    Fp32,
    Fp64,
    Int32,
    Int64,
}

impl Datatype {
    /// The word of the protocol, and of the language.
    pub fn word(self) -> &'static str {
        match self {
            Datatype::Fp32 => "FP32",
            Datatype::Fp64 => "FP64",
            Datatype::Int32 => "INT32",
            Datatype::Int64 => "INT64",
        }
    }

    /// Whole numbers only.
    pub fn is_whole(self) -> bool {
        matches!(self, Datatype::Int32 | Datatype::Int64)
    }
}

/// Rows in a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// How many, and the share of bodies that hold so many; never empty, shares add up to 1.
    pub sizes: Vec<(u32, f64)>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { sizes: vec![(1, 1.0)] }
    }
}

impl Batch {
    /// Every body holds one row.
    pub fn is_single(&self) -> bool {
        self.largest() == 1
    }

    /// Most rows in a body.
    pub fn largest(&self) -> u32 {
        self.sizes.iter().map(|(size, _)| *size).max().unwrap_or(1)
    }

    /// Rows in a body, on average.
    pub fn mean(&self) -> f64 {
        self.sizes.iter().map(|(size, share)| f64::from(*size) * share).sum()
    }

    /// How many bodies are made of so many rows: all rows once at least, and enough for shares of sizes to be met.
    pub fn bodies(&self, rows: usize) -> usize {
        let cover = (rows as f64 / self.mean()).ceil() as usize;
        if self.sizes.len() > 1 { cover.max(DRAWN) } else { cover.max(1) }
    }
}

/// Bodies that a distribution of sizes is met with, at least.
const DRAWN: usize = 1000;

/// A body with holes for columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// Before the part that stands once for each row; the whole template where there is no such part.
    pub before: Vec<Piece>,
    /// Once for each row, with commas between.
    pub each: Option<Vec<Piece>>,
    /// After it.
    pub after: Vec<Piece>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The cell of this column as a JSON value.
    Value(usize),
    /// The cell of this column inside a JSON string.
    Inside(usize),
}

/// Where an answer tells how old its features are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgePlace {
    /// Seconds.
    Age(Place),
    /// The moment at which they were made: Unix time in s, ms, µs or ns, RFC 3339, or a date as HTTP has it.
    Timestamp(Place),
}

/// The longest age that is told apart: 1000 hours, which is the top of the latency histograms in their own unit (see `hist`),
/// a thousandth of which an age has.
pub const AGE_MAX: Duration = Duration::from_secs(3600 * 1000);
