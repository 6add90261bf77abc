//! Open Inference v2 over REST, as KServe, Triton and MLServer speak it: `POST /v2/models/NAME/infer`.
//!
//! Tensors stand in JSON, or as bytes behind it (Triton's binary tensor data extension, which KServe took over): the header
//! `Inference-Header-Content-Length` says how long the JSON is, `binary_data_size` how many bytes belong to a tensor, all numbers
//! little-endian, texts each with their length in four bytes before them.
//!
//! A good answer has outputs, each with one entry for each row asked, as much data as its shape says, and nothing but finite numbers.
//! The prediction is the first output; of a tensor of several numbers for each row, all of them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::plan::{Dataset, Datatype, Encoding, Form};
use crate::target::encode;
use crate::target::predictions::{Leaf, Sink};

/// The header that says how long the JSON before the bytes is.
pub const HEADER: &str = "inference-header-content-length";

/// Most dimensions of a tensor.
const DIMENSIONS: usize = 8;

/// Appends rows. For the binary form, says how long the JSON is.
pub(super) fn encode(
    encoding: &Encoding,
    table: &Dataset,
    whole: &[bool],
    rows: &[&[String]],
    out: &mut Vec<u8>,
) -> Option<usize> {
    let binary = encoding.form == Form::Binary;
    let start = out.len();
    let mut data = Vec::new();
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let tensors: Vec<Tensor<'_>> = match &encoding.input {
        Some(name) => vec![Tensor { name, columns: &all, kind: Some(encoding.datatype.unwrap_or(Datatype::Fp64)) }],
        None => {
            let kind = |column: usize| {
                let numeric = table.numeric.get(column) == Some(&true);
                let own = if whole.get(column) == Some(&true) { Datatype::Int64 } else { Datatype::Fp64 };
                numeric.then_some(encoding.datatype.unwrap_or(own))
            };
            let tensor = |c: usize| Tensor { name: &table.columns[c], columns: &all[c..=c], kind: kind(c) };
            all.iter().map(|c| tensor(*c)).collect()
        }
    };
    out.extend_from_slice(br#"{"inputs":["#);
    encode::list(&tensors, out, |tensor, out| tensor.write(table, rows, binary.then_some(&mut data), out));
    out.push(b']');
    if binary {
        out.extend_from_slice(br#","parameters":{"binary_data_output":true}"#);
    }
    out.push(b'}');
    let json = out.len() - start;
    out.extend_from_slice(&data);
    binary.then_some(json)
}

struct Tensor<'a> {
    name: &'a str,
    columns: &'a [usize],
    /// None: texts.
    kind: Option<Datatype>,
}

impl Tensor<'_> {
    fn write(&self, table: &Dataset, rows: &[&[String]], data: Option<&mut Vec<u8>>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"name":"#);
        encode::text(self.name, out);
        let (datatype, n, width) = (self.kind.map_or("BYTES", Datatype::word), rows.len(), self.columns.len());
        out.extend_from_slice(format!(r#","shape":[{n},{width}],"datatype":"{datatype}","#).as_bytes());
        let cells = rows.iter().flat_map(|row| self.columns.iter().map(move |c| (*c, row[*c].as_str())));
        match data {
            None => {
                out.extend_from_slice(br#""data":["#);
                encode::list(cells, out, |(column, cell), out| self.json(table, column, cell, out));
                out.extend_from_slice(b"]}");
            }
            Some(data) => {
                let before = data.len();
                cells.for_each(|(_, cell)| self.bytes(cell, data));
                let size = data.len() - before;
                out.extend_from_slice(format!(r#""parameters":{{"binary_data_size":{size}}}}}"#).as_bytes());
            }
        }
    }

    fn json(&self, table: &Dataset, column: usize, cell: &str, out: &mut Vec<u8>) {
        match self.kind {
            // A text is a text, even where it is empty: a tensor of texts has no null.
            None => encode::text(cell, out),
            Some(kind) if kind.is_whole() => match number(cell).filter(|x| x.is_finite()) {
                Some(x) => out.extend_from_slice(whole(cell, x).to_string().as_bytes()),
                None if cell.trim().is_empty() => out.extend_from_slice(b"null"),
                // Words where numbers belong: those that a float can be named by (`NaN`) are no whole number either.
                None => encode::text(cell, out),
            },
            Some(_) => encode::cell(table, column, cell, out),
        }
    }

    fn bytes(&self, cell: &str, data: &mut Vec<u8>) {
        let x = number(cell);
        match self.kind {
            None => {
                data.extend_from_slice(&(cell.len() as u32).to_le_bytes());
                data.extend_from_slice(cell.as_bytes());
            }
            // What is missing is no number: NaN, and the smallest where there is no NaN.
            Some(Datatype::Fp64) => data.extend_from_slice(&x.unwrap_or(f64::NAN).to_le_bytes()),
            Some(Datatype::Fp32) => data.extend_from_slice(&(x.unwrap_or(f64::NAN) as f32).to_le_bytes()),
            Some(Datatype::Int64) => {
                data.extend_from_slice(&x.map_or(i64::MIN, |x| whole(cell, x)).to_le_bytes());
            }
            Some(Datatype::Int32) => {
                data.extend_from_slice(&x.map_or(i32::MIN, |x| x.round() as i32).to_le_bytes());
            }
        }
    }
}

/// The whole number of a cell, all of its digits; `x` is what a float makes of it.
fn whole(cell: &str, x: f64) -> i64 {
    cell.trim().parse().unwrap_or(x.round() as i64)
}

fn number(cell: &str) -> Option<f64> {
    cell.trim().parse().ok()
}

/// What the JSON of an answer says beside its predictions.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) version: Option<Cow<'a, str>>,
}

/// Judges an answer of this many bytes of JSON, and hands the first output to the sink, value by value.
///
/// # Errors
/// Why it is not good.
pub(super) fn check<'a>(
    body: &'a [u8],
    json: usize,
    rows: usize,
    sink: &mut Sink<'_>,
) -> Result<Said<'a>, Cow<'static, str>> {
    if json > body.len() {
        return Err(format!("{HEADER} says {json}, and the answer has {} bytes", body.len()).into());
    }
    let (text, mut bytes) = body.split_at(json);
    let mut de = serde_json::Deserializer::from_slice(text);
    let mut answer = AnswerSeed { sink, rows }
        .deserialize(&mut de)
        .and_then(|answer| de.end().map(|()| answer))
        .map_err(|e| super::not_json(text, &e))?;
    if let Some(error) = answer.error {
        return Err(super::says_error(&error));
    }
    if answer.outputs == 0 {
        return Err("no `outputs` in the answer".into());
    }
    if let Some(wrong) = answer.wrong.take() {
        return Err(wrong);
    }
    for raw in &answer.raw {
        if raw.size > bytes.len() {
            return Err(format!("output {} says {} bytes, and {} are left", raw.place, raw.size, bytes.len()).into());
        }
        let (mine, rest) = bytes.split_at(raw.size);
        raw.read(mine, (raw.place == 0).then_some(&mut *sink))?;
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(format!("{} bytes behind the last output", bytes.len()).into());
    }
    sink.group(rows, answer.first_values)?;
    Ok(Said { version: answer.version })
}

/// What is kept of an answer while it is read.
#[derive(Default)]
struct AnswerParts<'a> {
    version: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    outputs: usize,
    /// Values of the first output.
    first_values: usize,
    /// Outputs whose data stands behind the JSON. Empty, and so without an allocation, for answers in JSON.
    raw: Vec<Raw>,
    wrong: Option<Cow<'static, str>>,
}

struct Raw {
    place: usize,
    size: usize,
    values: usize,
    kind: Kind,
}

/// Types of tensors, as far as their bytes matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Signed(usize),
    Unsigned(usize),
    Float(usize),
    Bf16,
    Bytes,
}

impl Kind {
    fn of(word: &str) -> Option<Kind> {
        Some(match word {
            "BOOL" => Kind::Bool,
            "INT8" => Kind::Signed(1),
            "INT16" => Kind::Signed(2),
            "INT32" => Kind::Signed(4),
            "INT64" => Kind::Signed(8),
            "UINT8" => Kind::Unsigned(1),
            "UINT16" => Kind::Unsigned(2),
            "UINT32" => Kind::Unsigned(4),
            "UINT64" => Kind::Unsigned(8),
            "FP16" => Kind::Float(2),
            "FP32" => Kind::Float(4),
            "FP64" => Kind::Float(8),
            "BF16" => Kind::Bf16,
            "BYTES" => Kind::Bytes,
            _ => return None,
        })
    }

    /// Bytes of a value; none where each has its own length.
    fn width(self) -> Option<usize> {
        match self {
            Kind::Bool => Some(1),
            Kind::Signed(n) | Kind::Unsigned(n) | Kind::Float(n) => Some(n),
            Kind::Bf16 => Some(2),
            Kind::Bytes => None,
        }
    }

    fn value(self, bytes: &[u8]) -> f64 {
        let mut wide = [0u8; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        match self {
            Kind::Float(8) => f64::from_bits(unsigned),
            Kind::Float(4) => f64::from(f32::from_bits(unsigned as u32)),
            Kind::Float(_) => half(unsigned as u16),
            Kind::Bf16 => f64::from(f32::from_bits((unsigned as u32) << 16)),
            Kind::Signed(n) => {
                let shift = 64 - 8 * n as u32;
                ((unsigned << shift) as i64 >> shift) as f64
            }
            _ => unsigned as f64,
        }
    }
}

/// An IEEE 754 half.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

impl Raw {
    fn read(&self, mut bytes: &[u8], mut sink: Option<&mut Sink<'_>>) -> Result<(), Cow<'static, str>> {
        let place = self.place;
        if let Some(width) = self.kind.width() {
            if self.values.checked_mul(width) != Some(self.size) {
                return Err(format!("output {place}: {} bytes are not its {} values", self.size, self.values).into());
            }
            for value in bytes.chunks_exact(width) {
                let x = self.kind.value(value);
                if !x.is_finite() {
                    return Err(format!("output {place} holds a value that is not a finite number").into());
                }
                if let Some(sink) = &mut sink {
                    sink.value(Leaf::Number(x));
                }
            }
            return Ok(());
        }
        let mut values = 0;
        while !bytes.is_empty() {
            let cut = || -> Cow<'static, str> { format!("output {place}: a text is cut off").into() };
            let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
            let length = u32::from_le_bytes(*length) as usize;
            if length > rest.len() {
                return Err(cut());
            }
            let text = std::str::from_utf8(&rest[..length]);
            let text = text.map_err(|_| Cow::from(format!("output {place}: a text is not UTF-8")))?;
            if let Some(sink) = &mut sink {
                sink.value(Leaf::Text(text));
            }
            (bytes, values) = (&rest[length..], values + 1);
        }
        if values != self.values {
            return Err(format!("output {place}: {values} texts are not its {} values", self.values).into());
        }
        Ok(())
    }
}

struct AnswerSeed<'x, 's> {
    sink: &'x mut Sink<'s>,
    rows: usize,
}

impl<'de> DeserializeSeed<'de> for AnswerSeed<'_, '_> {
    type Value = AnswerParts<'de>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<AnswerParts<'de>, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnswerSeed<'_, '_> {
    type Value = AnswerParts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `outputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnswerParts<'de>, A::Error> {
        let mut parts = AnswerParts::default();
        while let Some(key) = map.next_key::<Word<'de>>()? {
            match &*key.0 {
                "model_version" => parts.version = map.next_value::<Option<Word<'de>>>()?.map(|w| w.0),
                "error" => parts.error = map.next_value::<Loose<'de>>()?.0,
                "outputs" => {
                    map.next_value_seed(OutputsSeed { sink: &mut *self.sink, rows: self.rows, parts: &mut parts })?
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(parts)
    }
}

struct OutputsSeed<'x, 's, 'p, 'de> {
    sink: &'x mut Sink<'s>,
    rows: usize,
    parts: &'p mut AnswerParts<'de>,
}

impl<'de> DeserializeSeed<'de> for OutputsSeed<'_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OutputsSeed<'_, '_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let parts = self.parts;
        loop {
            let place = parts.outputs;
            let sink = (place == 0).then_some(&mut *self.sink);
            let Some(output) = list.next_element_seed(OutputSeed { sink })? else { return Ok(()) };
            parts.outputs += 1;
            let wrong = output.judge(place, self.rows, parts);
            if let Err(wrong) = wrong {
                parts.wrong.get_or_insert(wrong);
            }
        }
    }
}

#[derive(Default)]
struct Output {
    shape: [u64; DIMENSIONS],
    dimensions: usize,
    kind: Option<Kind>,
    /// Values in JSON.
    values: Option<usize>,
    /// Bytes behind it.
    size: Option<usize>,
    null: bool,
}

impl Output {
    fn judge(&self, place: usize, rows: usize, parts: &mut AnswerParts<'_>) -> Result<(), Cow<'static, str>> {
        if self.dimensions == 0 || self.dimensions > DIMENSIONS {
            return Err(format!("output {place} has no `shape` of 1 to {DIMENSIONS} dimensions").into());
        }
        let shape = &self.shape[..self.dimensions];
        let product = shape.iter().try_fold(1u64, |all, n| all.checked_mul(*n));
        let values = product.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        if rows > 0 && shape[0] != rows as u64 {
            return Err(format!("output {place} has {} predictions for {rows} row{}", shape[0], plural(rows)).into());
        }
        let Some(kind) = self.kind else { return Err(format!("output {place} has no known `datatype`").into()) };
        if self.null {
            return Err(format!("output {place} holds null").into());
        }
        match (self.values, self.size) {
            (Some(n), None) if n == values => {}
            (Some(n), None) => return Err(format!("output {place}: {n} values, and its shape has {values}").into()),
            (None, Some(size)) => parts.raw.push(Raw { place, size, values, kind }),
            _ => return Err(format!("output {place} has no data").into()),
        }
        if place == 0 {
            parts.first_values = values;
        }
        Ok(())
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

struct OutputSeed<'x, 's> {
    sink: Option<&'x mut Sink<'s>>,
}

impl<'de> DeserializeSeed<'de> for OutputSeed<'_, '_> {
    type Value = Output;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Output, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OutputSeed<'_, '_> {
    type Value = Output;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Output, A::Error> {
        let mut output = Output::default();
        while let Some(key) = map.next_key::<Word<'de>>()? {
            match &*key.0 {
                "shape" => map.next_value_seed(ShapeSeed(&mut output))?,
                "datatype" => output.kind = Kind::of(&map.next_value::<Word<'de>>()?.0),
                "parameters" => {
                    output.size = map.next_value::<Option<Parameters>>()?.unwrap_or_default().binary_data_size
                }
                "data" => {
                    let mut data = Data { sink: self.sink.as_deref_mut(), values: 0, null: false };
                    map.next_value_seed(DataSeed(&mut data))?;
                    (output.values, output.null) = (Some(data.values), data.null);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(output)
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Parameters {
    binary_data_size: Option<usize>,
}

struct ShapeSeed<'o>(&'o mut Output);

impl<'de> DeserializeSeed<'de> for ShapeSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.dimensions = 0;
        while let Some(n) = list.next_element::<u64>()? {
            if let Some(place) = self.0.shape.get_mut(self.0.dimensions) {
                *place = n;
            }
            self.0.dimensions += 1;
        }
        Ok(())
    }
}

/// Values of one tensor, flat or nested.
struct Data<'x, 's> {
    sink: Option<&'x mut Sink<'s>>,
    values: usize,
    null: bool,
}

impl Data<'_, '_> {
    fn value(&mut self, leaf: Leaf<'_>) {
        self.values += 1;
        self.null |= matches!(leaf, Leaf::Null);
        if let Some(sink) = &mut self.sink {
            sink.value(leaf);
        }
    }
}

struct DataSeed<'d, 'x, 's>(&'d mut Data<'x, 's>);

impl<'de> DeserializeSeed<'de> for DataSeed<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DataSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values of a tensor")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<(), E> {
        self.0.value(Leaf::Bool(v));
        Ok(())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<(), E> {
        self.0.value(Leaf::Number(v as f64));
        Ok(())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<(), E> {
        self.0.value(Leaf::Number(v as f64));
        Ok(())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<(), E> {
        self.0.value(Leaf::Number(v));
        Ok(())
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<(), E> {
        self.0.value(Leaf::Text(v));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.value(Leaf::Null);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(DataSeed(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

/// A text that is borrowed unless it holds escapes.
#[derive(serde::Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

/// A text where there is one; something in words where there is something else; none for null.
struct Loose<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Loose<'de>, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Loose<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error")
            }
            fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Borrowed(v))))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Owned(v.to_owned()))))
            }
            fn visit_unit<E: Error>(self) -> Result<Loose<'de>, E> {
                Ok(Loose(None))
            }
            fn visit_bool<E: Error>(self, v: bool) -> Result<Loose<'de>, E> {
                Ok(Loose(v.then_some("true".into())))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(v.to_string().into())))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(v.to_string().into())))
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(v.to_string().into())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
                let mut message = None;
                while let Some(key) = map.next_key::<Word<'de>>()? {
                    if key.0 == "message" {
                        message = map.next_value::<Loose<'de>>()?.0;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Loose(Some(message.unwrap_or("no message".into()))))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose<'de>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose(Some("a list".into())))
            }
        }
        d.deserialize_any(Seen)
    }
}
