//! Protocols: what a request body is and what an answer means.
//!
//! One file per protocol. Bodies are encoded before the run; an answer is checked where it arrives, without
//! keeping it. Owns meaning; leaves alone the wire (`client/`) and counting (`record/`).
//!
//! - `twins`: bodies that a payload fault sends in place of others
//! - `encode`: rows → body, by `mlflow`, `open_inference`, `tf_serving`, `openai`, `http` and `template`
//! - `walk`, `extract`: values out of a JSON answer · `predictions`: held against labels · `agreement`: against the first answer
//! - `age`: how old the features are · `sse`: streams

mod age;
mod agreement;
mod encode;
mod extract;
mod http;
mod mlflow;
pub mod open_inference;
mod openai;
mod predictions;
pub mod sse;
mod template;
mod tf_serving;
mod twins;
mod walk;

use std::borrow::Cow;

use crate::alteration::Alterations;
use crate::plan::{AgePlace, AnswerPaths, Batch, Bodies, Form, Place, Plan, Protocol, Target};
use crate::rng;
use crate::units::Seed;

pub use age::Age;
pub use agreement::Agreement;
pub use encode::Encoder;
pub use extract::{Scalar, scalar_at};
pub use openai::{TokenStream, Tokens};
pub use predictions::{BodyRows, Label, Print, Scratch};

use predictions::{Leaf, Sink};
use walk::{Found, Paths, What};

/// Byte strings laid out one after another: two allocations for all of them, whatever their number.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    /// A single row.
    pub fn one(row: &[u8]) -> Rows {
        Rows { bytes: row.to_vec(), ends: vec![row.len()] }
    }

    /// Where the next row is written, by appending.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was appended since the last call is a row.
    pub fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The row of this number; panics when there is none.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

/// Request bodies, encoded before the run.
#[derive(Debug, Default)]
pub struct RequestBodies {
    rows: Rows,
    labels: Option<Vec<Option<Label>>>,
    /// Which of them ask for a stream; empty for protocols without streams.
    streams: Vec<bool>,
    /// Which rows of the dataset each holds, twins included; empty for bodies that were ready.
    held: Vec<BodyRows>,
    /// Length of the JSON of each, where bytes follow it, twins included; empty where none do.
    json: Vec<usize>,
    /// For each twin, which stand behind the bodies themselves: the body that it is the twin of.
    originals: Vec<u32>,
    /// The twins of each payload fault.
    blocks: Vec<twins::Block>,
    /// The `content-type` of every body.
    pub content_type: &'static str,
}

impl RequestBodies {
    /// Encodes everything that the plan sends, and behind it the altered twins that its payload faults send.
    pub fn with_twins(plan: &Plan, alterations: &Alterations) -> RequestBodies {
        let mut all = RequestBodies::encode(plan);
        twins::append(plan, alterations, &mut all);
        all
    }

    /// Encodes everything that the plan sends while no payload fault is in force.
    pub fn encode(plan: &Plan) -> RequestBodies {
        let mut all = RequestBodies { content_type: "application/json", ..RequestBodies::default() };
        match &plan.traffic.bodies {
            Bodies::One(body) => all.push(body.as_bytes()),
            Bodies::Lines(lines) => lines.iter().for_each(|l| all.push(l.as_bytes())),
            Bodies::Dataset(table) => {
                let encoder = Encoder::new(plan, table);
                all.content_type = encoder.content_type();
                let mut cells: Vec<&[String]> = Vec::new();
                for held in batches(&plan.traffic.batch, table.rows.len(), plan.seed) {
                    cells.clear();
                    cells.extend((0..held.len as usize).map(|place| &table.rows[held.row(place)][..]));
                    all.json.extend(encoder.write(&cells, all.rows.begin()));
                    all.rows.end();
                    all.held.push(held);
                }
                all.labels = table.labels.as_ref().map(|l| l.iter().map(|t| Label::of(t)).collect());
            }
        }
        if plan.target.protocol == Protocol::Openai {
            all.streams = (0..all.len()).map(|row| openai::asks_for_stream(all.get(row))).collect();
        }
        all
    }

    fn push(&mut self, body: &[u8]) {
        self.rows.begin().extend_from_slice(body);
        self.rows.end();
    }

    /// How many are sent in turn, twins left out; at least one.
    pub fn len(&self) -> usize {
        self.rows.len() - self.originals.len()
    }

    /// How many there are, twins included: what [`RequestBodies::get`] takes.
    pub fn all(&self) -> usize {
        self.rows.len()
    }

    /// The body that the payload fault of this place ([`Alterations::list`]) sends for the arrival of this number, in place of `row`.
    pub fn twin(&self, nth: usize, index: u64, row: usize) -> usize {
        self.blocks[nth].body(index, row)
    }

    /// Distinct bodies that this payload fault has.
    pub fn twins(&self, nth: usize) -> usize {
        self.blocks[nth].count()
    }

    /// The body that this one is the twin of, or itself.
    fn original(&self, row: usize) -> usize {
        row.checked_sub(self.len()).map_or(row, |twin| self.originals[twin] as usize)
    }

    /// Never: a plan has at least one body.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The body of this number.
    pub fn get(&self, row: usize) -> &[u8] {
        self.rows.get(row)
    }

    /// A header that only this body has, and its value.
    pub fn header(&self, row: usize) -> Option<(&'static str, usize)> {
        self.json.get(row).map(|length| (open_inference::HEADER, *length))
    }

    /// The target as a request of its own sees it: with the header that only this body has.
    pub fn target<'t>(&self, row: usize, target: &'t Target) -> Cow<'t, Target> {
        let Some((name, value)) = self.header(row) else { return Cow::Borrowed(target) };
        let mut own = target.clone();
        own.headers.push((name.to_owned(), value.to_string()));
        if !own.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")) {
            own.headers.push(("content-type".to_owned(), self.content_type.to_owned()));
        }
        Cow::Owned(own)
    }

    /// The body of this number asks for a stream of tokens.
    pub fn streams(&self, row: usize) -> bool {
        self.streams.get(self.original(row)) == Some(&true)
    }

    /// Which rows of the dataset the body of this number holds.
    pub fn rows(&self, body: usize) -> BodyRows {
        let ready = BodyRows { start: self.original(body) as u32, len: 0, of: self.len() as u32 };
        self.held.get(body).copied().unwrap_or(ready)
    }

    /// Things that an answer may be compared by: rows of the dataset, or bodies where there is none.
    pub fn comparable(&self) -> usize {
        self.held.first().map_or(self.len(), |held| held.of as usize)
    }
}

/// Which rows go together: one after another and around again, in sizes whose shares are met as exactly as whole bodies can, in an
/// order drawn from the seed.
fn batches(batch: &Batch, rows: usize, seed: Seed) -> Vec<BodyRows> {
    let bodies = batch.bodies(rows);
    let mut sizes: Vec<u32> = Vec::with_capacity(bodies);
    let mut share = 0.0;
    for (size, weight) in &batch.sizes {
        share += weight;
        sizes.resize((share * bodies as f64).round() as usize, *size);
    }
    sizes.resize(bodies, batch.sizes.last().map_or(1, |(size, _)| *size));
    if batch.sizes.len() > 1 {
        let mut chance = rng::stream(seed, "batch");
        for last in (1..sizes.len()).rev() {
            sizes.swap(last, rng::below(&mut chance, last + 1));
        }
    }
    let of = rows as u32;
    let mut next = 0u64;
    let held = |len: u32| {
        let start = (next % u64::from(of.max(1))) as u32;
        next += u64::from(len);
        BodyRows { start, len, of }
    };
    sizes.into_iter().map(held).collect()
}

/// An answer as it came off the wire, whole.
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Headers<'a>,
    /// The body, transfer coding removed.
    pub body: &'a [u8],
}

/// Headers in the form that they came in: most answers are judged without looking at them.
#[derive(Clone, Copy, Debug)]
pub enum Headers<'a> {
    /// HTTP/1.1: status line and header lines, well-formed.
    Raw(&'a [u8]),
    /// HTTP/2: names and values.
    Fields(&'a [httparse::Header<'a>]),
}

impl<'a> Headers<'a> {
    /// The first value of this name, whatever its case; none when it is missing or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let value = match self {
            Headers::Fields(fields) => fields.iter().find(|h| h.name.eq_ignore_ascii_case(name))?.value,
            Headers::Raw(head) => head.split(|b| *b == b'\n').skip(1).find_map(|line| {
                let colon = line.iter().position(|b| *b == b':')?;
                line[..colon].eq_ignore_ascii_case(name.as_bytes()).then_some(&line[colon + 1..])
            })?,
        };
        std::str::from_utf8(value).ok().map(str::trim)
    }
}

/// What a good answer said.
#[derive(Debug, Default, PartialEq)]
pub struct Facts<'a> {
    /// Predictions for rows with a label.
    pub labelled: u32,
    /// Of those, equal to it.
    pub correct: u32,
    /// Predictions for rows that have an answer to be held against, see [`Agreement`].
    pub compared: u32,
    /// Of those, the same.
    pub agreed: u32,
    /// Fallback level above 0; none where none was looked for.
    pub fallback: Option<bool>,
    /// The level itself; none where none was looked for.
    pub level: Option<Cow<'a, str>>,
    /// The model version that answered.
    pub version: Option<Cow<'a, str>>,
    /// How old the features behind it are.
    pub age: Option<Age>,
    /// Tokens and their times, from [`Checker::check_tokens`].
    pub tokens: Option<Tokens<'a>>,
}

/// Why an answer is not good.
#[derive(Debug, PartialEq)]
pub enum Wrong {
    /// An unexpected status.
    Status(u16),
    /// Not what the protocol promises, in words.
    Content(Cow<'static, str>),
}

/// Judges answers of one target.
#[derive(Debug)]
pub struct Checker {
    protocol: Protocol,
    expect_status: Vec<u16>,
    places: AnswerPaths,
    /// Everything that stands in JSON.
    paths: Paths,
    /// The prediction stands where the protocol has it, and is found there by its own file.
    by_protocol: bool,
}

impl Checker {
    /// For this target. Predictions are looked for where the protocol has them unless the scenario says otherwise.
    pub fn new(target: &Target) -> Checker {
        let places = target.answer.clone();
        let mut paths = Paths::default();
        let tensors = target.protocol == Protocol::OpenInference;
        let columns = target.protocol == Protocol::TfServing && target.encoding.form == Form::Inputs;
        match target.protocol {
            Protocol::Mlflow => {
                paths.add(What::Error, "/error_code");
                paths.add(What::Message, "/message");
                paths.add(What::List, "/predictions");
            }
            Protocol::TfServing => {
                paths.add(What::Error, "/error");
                if columns { paths.add(What::Outputs, "/outputs") } else { paths.add(What::List, "/predictions") }
            }
            _ => {}
        }
        let age = places.age.as_ref().map(|age| match age {
            AgePlace::Age(place) | AgePlace::Timestamp(place) => place.clone(),
        });
        for (what, place) in [(What::Version, &places.version), (What::Fallback, &places.fallback), (What::Age, &age)] {
            if let Some(Place::Json(pointer)) = place {
                paths.add(what, pointer);
            }
        }
        match &places.prediction {
            // The first of one row is the list of one row, and then that list is walked once.
            Some(Place::Json(pointer)) if target.protocol == Protocol::Mlflow && pointer == "/predictions/0" => {
                paths.add(What::Predictions, "/predictions");
            }
            Some(Place::Json(pointer)) => paths.add(What::Predictions, pointer),
            None if paths.has(What::List) => paths.add(What::Predictions, "/predictions"),
            _ => {}
        }
        Checker {
            protocol: target.protocol,
            expect_status: target.expect_status.clone(),
            by_protocol: tensors && places.prediction.is_none(),
            places,
            paths,
        }
    }

    /// Answers hold predictions that can be compared with others.
    pub fn reads_predictions(&self) -> bool {
        self.by_protocol || self.places.prediction.is_some() || self.protocol.has_predictions()
    }

    /// Is this a good answer to that body, and what does it say?
    ///
    /// # Errors
    /// Why it is not good.
    pub fn check<'a>(&self, answer: &Answer<'a>, bodies: &RequestBodies, row: usize) -> Result<Facts<'a>, Wrong> {
        self.check_with(answer, bodies, row, &mut Scratch::default())
    }

    /// As [`Checker::check`], leaving the prints of its predictions in `scratch`.
    ///
    /// # Errors
    /// Why it is not good.
    pub fn check_with<'a>(
        &self,
        answer: &Answer<'a>,
        bodies: &RequestBodies,
        row: usize,
        scratch: &mut Scratch,
    ) -> Result<Facts<'a>, Wrong> {
        if !self.expect_status.contains(&answer.status) {
            return Err(Wrong::Status(answer.status));
        }
        if self.protocol == Protocol::Openai {
            let mut stream = TokenStream::default();
            stream.feed(answer.body, 0);
            said(answer, bodies.streams(row), &stream)?;
            return Ok(self.facts(answer, Found::default()));
        }
        self.read(answer, bodies, row, scratch).map_err(Wrong::Content)
    }

    /// As [`Checker::check`], for the protocol `openai`: the body went through `stream` as it came in.
    ///
    /// # Errors
    /// Why it is not good.
    pub fn check_tokens<'a>(
        &self,
        answer: &Answer<'a>,
        bodies: &RequestBodies,
        row: usize,
        stream: &'a TokenStream,
    ) -> Result<Facts<'a>, Wrong> {
        if !self.expect_status.contains(&answer.status) {
            return Err(Wrong::Status(answer.status));
        }
        let tokens = Some(said(answer, bodies.streams(row), stream)?);
        Ok(Facts { tokens, ..self.facts(answer, Found::default()) })
    }

    /// Answers of this target are to be fed to a [`TokenStream`] as they come in.
    pub fn reads_tokens(&self) -> bool {
        self.protocol == Protocol::Openai
    }

    /// A whole answer with an expected status.
    fn read<'a>(
        &self,
        answer: &Answer<'a>,
        bodies: &RequestBodies,
        row: usize,
        scratch: &mut Scratch,
    ) -> Result<Facts<'a>, Cow<'static, str>> {
        let rows = bodies.rows(row);
        let mut sink = Sink::new(bodies.labels.as_deref(), rows, scratch);
        let (mut json, mut version) = (answer.body, None);
        if self.protocol == Protocol::OpenInference {
            let length = match answer.headers.get(open_inference::HEADER) {
                None => answer.body.len(),
                Some(text) => text.parse().map_err(|_| format!("{}: `{text}` is no length", open_inference::HEADER))?,
            };
            let mut quiet = Scratch::default();
            let said = if self.by_protocol {
                open_inference::check(answer.body, length, rows.known().unwrap_or(0), &mut sink)?
            } else {
                let mut unused = Sink::new(None, rows, &mut quiet);
                open_inference::check(answer.body, length, rows.known().unwrap_or(0), &mut unused)?
            };
            version = said.version;
            json = &answer.body[..length];
        }
        let mut found = Found::default();
        if !self.paths.is_empty() {
            match walk::walk(json, &self.paths, &mut sink) {
                Ok(seen) => found = seen,
                // Plain HTTP promises no JSON unless a prediction stands in it.
                Err(_) if self.protocol == Protocol::Http && !self.paths.has(What::Predictions) => {}
                Err(e) => return Err(not_json(json, &e)),
            }
        }
        self.structure(&found, rows)?;
        if let Some(Place::Header(name)) = &self.places.prediction {
            let value = answer.headers.get(name).ok_or_else(|| format!("no header `{name}` with a prediction"))?;
            sink.value(value.parse().map_or(Leaf::Text(value), Leaf::Number));
        }
        if self.reads_predictions() {
            sink.finish()?;
        }
        let (labelled, correct) = (sink.labelled, sink.correct);
        let mut facts = self.facts(answer, found);
        facts.version = facts.version.or(version);
        Ok(Facts { labelled, correct, ..facts })
    }

    /// What the protocol promises of the document as a whole.
    fn structure(&self, found: &Found<'_>, rows: BodyRows) -> Result<(), Cow<'static, str>> {
        let list = match self.protocol {
            Protocol::Mlflow => "predictions",
            Protocol::TfServing if self.paths.has(What::Outputs) => "outputs",
            Protocol::TfServing => "predictions",
            _ => return Ok(()),
        };
        if let Some(error) = found.error.as_ref().filter(|e| **e != Scalar::Null) {
            let text = |s: &Scalar<'_>| if let Scalar::Text(t) = s { Some(t.to_string()) } else { None };
            let words: Vec<String> =
                [Some(error), found.message.as_ref()].into_iter().flatten().filter_map(text).collect();
            return Err(says_error(&if words.is_empty() { "no message".to_owned() } else { words.join(": ") }));
        }
        if found.not_list {
            return Err(format!("`{list}` is not an array").into());
        }
        let Some(len) = found.list else { return Err(format!("no `{list}` in the answer").into()) };
        if found.uneven {
            return Err("the lists of `outputs` are not equally long".into());
        }
        if len == 0 || rows.known().is_some_and(|rows| rows != len) {
            return Err(predictions::counted(len, rows.known().unwrap_or(1)));
        }
        if found.null { Err("the prediction is null".into()) } else { Ok(()) }
    }

    fn facts<'a>(&self, answer: &Answer<'a>, found: Found<'a>) -> Facts<'a> {
        let look = |place: &Place, in_json: Option<Scalar<'a>>| match place {
            Place::Header(name) => answer.headers.get(name).map(|v| Scalar::Text(Cow::Borrowed(v))),
            Place::Json(_) => in_json,
        };
        let (mut fallback, mut level) = (None, None);
        if let Some(place) = &self.places.fallback {
            let named = level_of(look(place, found.fallback));
            (fallback, level) = (Some(named != "0"), Some(named));
        }
        let version = self.places.version.as_ref().and_then(|place| look(place, found.version)).and_then(|v| match v {
            Scalar::Text(t) => Some(t),
            Scalar::Number(n) => Some(Cow::Owned(n.to_string())),
            _ => None,
        });
        let age = self.places.age.as_ref().and_then(|age| match age {
            AgePlace::Age(place) => Age::of_seconds(&look(place, found.age)?),
            AgePlace::Timestamp(place) => Age::of_timestamp(&look(place, found.age)?),
        });
        Facts { fallback, level, version, age, ..Facts::default() }
    }
}

/// Names of fallback levels that need no allocation.
const LEVELS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// A fallback level as a name; `0` for a full answer, and where nothing is said.
fn level_of(said: Option<Scalar<'_>>) -> Cow<'_, str> {
    match said {
        Some(Scalar::Number(level)) if level <= 0.0 => Cow::Borrowed("0"),
        Some(Scalar::Number(level)) => {
            let known = (level.fract() == 0.0).then(|| LEVELS.get(level as usize)).flatten();
            known.map_or_else(|| Cow::Owned(level.to_string()), |name| Cow::Borrowed(*name))
        }
        Some(Scalar::Bool(true)) => Cow::Borrowed("1"),
        Some(Scalar::Text(text)) if !matches!(text.trim(), "" | "0" | "0.0" | "none" | "false") => text,
        _ => Cow::Borrowed("0"),
    }
}

/// An error object in an answer with a good status.
fn says_error(message: &str) -> Cow<'static, str> {
    let message: String = message.chars().take(200).collect();
    format!("the answer says error: {message}").into()
}

/// Why this is not JSON, as far as its beginning tells. Only asked for once it was found not to be.
fn not_json(body: &[u8], error: &serde_json::Error) -> Cow<'static, str> {
    let beginning = body.trim_ascii_start();
    let holds = |word: &[u8]| body.windows(word.len()).any(|w| w == word);
    match beginning {
        [] => "the answer is empty".into(),
        [b'<', ..] => "the answer is HTML or XML, not JSON".into(),
        [0x1f, 0x8b, ..] => "the answer is gzip, which was not asked for".into(),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..] => "the answer is UTF-16, not UTF-8".into(),
        [0xef, 0xbb, 0xbf, ..] => "the answer begins with a byte order mark, which JSON does not allow".into(),
        _ if std::str::from_utf8(body).is_err() => "the answer is not UTF-8".into(),
        _ if error.is_syntax() && error.to_string().starts_with("number out of range") => {
            "the answer holds a number too large for a double".into()
        }
        _ if error.is_syntax() && (holds(b"NaN") || holds(b"Infinity")) => {
            "the answer holds NaN or Infinity, which JSON does not have".into()
        }
        _ if error.is_eof() => "the answer is not JSON: it ends too early".into(),
        _ => {
            let why: String = error.to_string().chars().take(120).collect();
            format!("the answer is not JSON as promised: {why}").into()
        }
    }
}

/// The tokens of a good answer, streamed or whole.
fn said<'a>(answer: &Answer<'_>, asked_for_stream: bool, stream: &'a TokenStream) -> Result<Tokens<'a>, Wrong> {
    let kind = answer.headers.get("content-type").unwrap_or("without a content-type");
    let is_stream = kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("text/event-stream"));
    if is_stream {
        return stream.judge().map_err(Wrong::Content);
    }
    if asked_for_stream {
        let kind: String = kind.chars().take(80).collect();
        return Err(Wrong::Content(format!("a stream was asked for, and the answer is {kind}").into()));
    }
    openai::check_whole(answer.body).map_err(Wrong::Content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Dataset, Datatype, Encoding, Piece, Template};

    fn checker(protocol: Protocol, answer: AnswerPaths) -> Checker {
        let target = crate::plan::tests_support::target(protocol, answer);
        Checker::new(&target)
    }

    fn bodies(labels: &[&str]) -> RequestBodies {
        let mut b = RequestBodies::default();
        labels.iter().for_each(|_| b.push(b"{}"));
        b.held = (0..labels.len() as u32).map(|start| BodyRows { start, len: 1, of: labels.len() as u32 }).collect();
        b.labels = Some(labels.iter().map(|l| Label::of(l)).collect());
        b
    }

    #[test]
    fn mlflow_answers_are_judged_by_content() {
        let c = checker(
            Protocol::Mlflow,
            AnswerPaths {
                version: Some(Place::Header("x-model-version".into())),
                fallback: Some(Place::Json("/fallback".into())),
                ..AnswerPaths::default()
            },
        );
        let headers = Headers::Raw(b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nX-Model-Version: 7 \r\n\r\n");
        let b = bodies(&["1", "0"]);
        let answer = |body| Answer { status: 200, headers, body };
        let facts = c.check(&answer(br#"{"predictions": [1], "fallback": 0}"#), &b, 0).unwrap();
        assert_eq!(
            facts,
            Facts {
                labelled: 1,
                correct: 1,
                fallback: Some(false),
                level: Some("0".into()),
                version: Some("7".into()),
                ..Facts::default()
            }
        );
        let facts = c.check(&answer(br#"{"predictions": [1], "fallback": 2}"#), &b, 1).unwrap();
        assert_eq!((facts.labelled, facts.correct, facts.level.as_deref()), (1, 0, Some("2")));
        for bad in [
            &b"<html>"[..],
            b"{}",
            br#"{"predictions": []}"#,
            br#"{"predictions": 3}"#,
            br#"{"error_code":"X"}"#,
            br#"{"predictions":[NaN]}"#,
            b"",
            br#"{"predictions":[1]"#,
            br#"{"predictions":[1e999]}"#,
        ] {
            assert!(
                matches!(c.check(&answer(bad), &b, 0), Err(Wrong::Content(_))),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        assert_eq!(
            c.check(&Answer { status: 503, headers: Headers::Fields(&[]), body: b"" }, &b, 0),
            Err(Wrong::Status(503))
        );
    }

    #[test]
    fn chats_are_judged_by_what_was_asked_for() {
        let c = checker(Protocol::Openai, AnswerPaths::default());
        let b = RequestBodies { streams: vec![true, false], ..bodies(&["", ""]) };
        let stream =
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        let whole = "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}";
        let judged = |kind: &'static str, body: &'static str, row: usize| {
            let headers = [httparse::Header { name: "Content-Type", value: kind.as_bytes() }];
            let answer = Answer { status: 200, headers: Headers::Fields(&headers), body: body.as_bytes() };
            let mut tokens = TokenStream::default();
            tokens.feed(answer.body, 5);
            let once = c.check(&answer, &b, row).map(|_| ());
            let fed = c.check_tokens(&answer, &b, row, &tokens).map(|f| f.tokens.map(|t| (t.first, t.count)));
            assert_eq!(once.is_ok(), fed.is_ok());
            fed.map_err(|wrong| if let Wrong::Content(why) = wrong { why.into_owned() } else { panic!("{wrong:?}") })
        };
        assert_eq!(judged("text/event-stream; charset=utf-8", stream, 0), Ok(Some((Some(5), 1))));
        assert_eq!(judged("application/json", whole, 1), Ok(Some((None, 0))));
        assert_eq!(
            judged("application/json", whole, 0).unwrap_err(),
            "a stream was asked for, and the answer is application/json"
        );
        assert!(judged("text/event-stream", whole, 0).unwrap_err().contains("without [DONE]"));
        assert!(judged("text/html", "<html>", 1).unwrap_err().contains("not a JSON chat completion"));
    }

    fn table() -> Dataset {
        let rows = [["12.50", "a\"b", "1"], ["3", "", ""], ["-1", "é", "7"]];
        Dataset {
            columns: ["amount", "country", "n"].map(str::to_owned).to_vec(),
            rows: rows.iter().map(|r| r.map(str::to_owned).to_vec()).collect(),
            labels: None,
            numeric: vec![true, false, true],
        }
    }

    /// What is sent of the first rows of [`table`], the length of its JSON cut off.
    fn body(protocol: Protocol, encoding: Encoding, rows: usize) -> String {
        let mut plan = crate::plan::tests_support::plan(vec![]);
        (plan.target.protocol, plan.target.encoding) = (protocol, encoding);
        let table = table();
        let cells: Vec<&[String]> = table.rows[..rows].iter().map(|r| &r[..]).collect();
        let mut out = Vec::new();
        Encoder::new(&plan, &table).write(&cells, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_become_json_in_every_form() {
        let with = |form| Encoding { form, ..Encoding::default() };
        let one = |protocol, form| body(protocol, with(form), 1);
        let two = |protocol, form| body(protocol, with(form), 2);
        assert_eq!(
            one(Protocol::Mlflow, Form::Split),
            r#"{"dataframe_split":{"columns":["amount","country","n"],"data":[[12.5,"a\"b",1]]}}"#
        );
        assert_eq!(
            two(Protocol::Mlflow, Form::Split),
            r#"{"dataframe_split":{"columns":["amount","country","n"],"data":[[12.5,"a\"b",1],[3,null,null]]}}"#
        );
        assert_eq!(
            two(Protocol::Mlflow, Form::Records),
            r#"{"dataframe_records":[{"amount":12.5,"country":"a\"b","n":1},{"amount":3,"country":null,"n":null}]}"#
        );
        assert_eq!(one(Protocol::Mlflow, Form::Instances), r#"{"instances":[{"amount":12.5,"country":"a\"b","n":1}]}"#);
        let columns = r#"{"inputs":{"amount":[12.5,3],"country":["a\"b",null],"n":[1,null]}}"#;
        assert_eq!(two(Protocol::Mlflow, Form::Inputs), columns);
        assert_eq!(two(Protocol::TfServing, Form::Inputs), columns);
        assert_eq!(one(Protocol::Http, Form::Split), r#"{"amount":12.5,"country":"a\"b","n":1}"#);
        assert_eq!(
            two(Protocol::Http, Form::Split),
            r#"[{"amount":12.5,"country":"a\"b","n":1},{"amount":3,"country":null,"n":null}]"#
        );
        let named =
            |form| Encoding { input: Some("x".into()), signature: Some("serving_default".into()), ..with(form) };
        assert_eq!(
            body(Protocol::TfServing, named(Form::Instances), 1),
            r#"{"signature_name":"serving_default","instances":[{"x":[12.5,"a\"b",1]}]}"#
        );
        assert_eq!(
            body(Protocol::TfServing, named(Form::Inputs), 1),
            r#"{"signature_name":"serving_default","inputs":{"x":[[12.5,"a\"b",1]]}}"#
        );
    }

    #[test]
    fn rows_become_tensors() {
        let json = Encoding { form: Form::Json, ..Encoding::default() };
        let sent: serde_json::Value = serde_json::from_str(&body(Protocol::OpenInference, json.clone(), 2)).unwrap();
        assert_eq!(
            sent,
            serde_json::json!({"inputs": [
                {"name": "amount", "shape": [2, 1], "datatype": "FP64", "data": [12.5, 3]},
                {"name": "country", "shape": [2, 1], "datatype": "BYTES", "data": ["a\"b", ""]},
                {"name": "n", "shape": [2, 1], "datatype": "FP64", "data": [1, null]},
            ]}),
            "a column with a gap is not one of whole numbers"
        );
        let one = Encoding { input: Some("x".into()), datatype: Some(Datatype::Fp32), ..json };
        let sent = body(Protocol::OpenInference, one, 1);
        assert!(sent.starts_with(r#"{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[12.5,"#), "{sent}");
    }

    #[test]
    fn tensors_become_bytes_behind_their_json() {
        let mut plan = crate::plan::tests_support::plan(vec![]);
        plan.target.protocol = Protocol::OpenInference;
        plan.target.encoding.form = Form::Binary;
        plan.traffic.batch = Batch { sizes: vec![(3, 1.0)] };
        plan.traffic.bodies = Bodies::Dataset(std::sync::Arc::new(table()));
        let bodies = RequestBodies::encode(&plan);
        assert_eq!((bodies.len(), bodies.content_type), (1, "application/octet-stream"));
        let Some((name, length)) = bodies.header(0) else { panic!("bytes follow the JSON") };
        assert_eq!(name, "inference-header-content-length");
        let (json, bytes) = bodies.get(0).split_at(length);
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(json["parameters"]["binary_data_output"], true);
        assert_eq!(json["inputs"][0]["parameters"]["binary_data_size"], 24);
        assert_eq!(json["inputs"][1]["parameters"]["binary_data_size"], 3 * 4 + 3 + 2);
        let numbers: Vec<f64> = bytes[..24].chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(numbers, [12.5, 3.0, -1.0]);
        assert_eq!(&bytes[24..31], b"\x03\0\0\0a\"b");
        let gap = f64::from_le_bytes(bytes[41 + 8..41 + 16].try_into().unwrap());
        assert!(gap.is_nan(), "a missing number is NaN");
        let target = bodies.target(0, &plan.target);
        assert!(target.headers.iter().any(|(n, v)| n == name && *v == length.to_string()));
    }

    #[test]
    fn batches_take_every_row_and_meet_their_shares() {
        let plain = batches(&Batch::default(), 5, Seed(1));
        assert_eq!(
            plain.iter().map(|b| (b.start, b.len)).collect::<Vec<_>>(),
            [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]
        );
        let eights = batches(&Batch { sizes: vec![(8, 1.0)] }, 20, Seed(1));
        assert_eq!(eights.iter().map(|b| (b.start, b.len)).collect::<Vec<_>>(), [(0, 8), (8, 8), (16, 8)]);
        assert_eq!((eights[2].row(3), eights[2].row(4)), (19, 0), "around at the end");
        let mix = Batch { sizes: vec![(1, 0.7), (8, 0.2), (32, 0.1)] };
        let drawn = batches(&mix, 100, Seed(1));
        let count = |size: u32| drawn.iter().filter(|b| b.len == size).count();
        assert_eq!((count(1), count(8), count(32)), (700, 200, 100));
        assert_eq!(drawn, batches(&mix, 100, Seed(1)));
        assert_ne!(drawn, batches(&mix, 100, Seed(2)));
    }

    #[test]
    fn templates_are_filled_as_json() {
        let template = Template {
            before: vec![Piece::Text(r#"{"rows":["#.into())],
            each: Some(vec![
                Piece::Text(r#"{"id":"tx-"#.into()),
                Piece::Inside(1),
                Piece::Text(r#"","amount":"#.into()),
                Piece::Value(0),
                Piece::Text("}".into()),
            ]),
            after: vec![Piece::Text("]}".into())],
        };
        let table = table();
        let cells: Vec<&[String]> = table.rows.iter().map(|r| &r[..]).collect();
        let mut out = Vec::new();
        template::fill(&template, &table, &cells, &mut out);
        let filled: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            filled,
            serde_json::json!({"rows": [
                {"id": "tx-a\"b", "amount": 12.5}, {"id": "tx-", "amount": 3}, {"id": "tx-é", "amount": -1}
            ]})
        );
    }

    fn checked<'a>(checker: &Checker, body: &'a [u8], rows: u32) -> Result<Facts<'a>, String> {
        let mut bodies = bodies(&["1", "0", "x"]);
        bodies.held = vec![BodyRows { start: 0, len: rows, of: 3 }];
        let headers = Headers::Fields(&[]);
        checker.check(&Answer { status: 200, headers, body }, &bodies, 0).map_err(|wrong| match wrong {
            Wrong::Content(why) => why.into_owned(),
            Wrong::Status(status) => status.to_string(),
        })
    }

    #[test]
    fn tf_serving_answers_have_their_two_shapes() {
        let mut target = crate::plan::tests_support::target(Protocol::TfServing, AnswerPaths::default());
        let rows = Checker::new(&target);
        target.encoding.form = Form::Inputs;
        let columns = Checker::new(&target);
        let facts = checked(&rows, br#"{"predictions":[1,1,"x"]}"#, 3).unwrap();
        assert_eq!((facts.labelled, facts.correct), (3, 2));
        assert!(checked(&rows, br#"{"predictions":[[0.1,0.9],[0.3,0.7]]}"#, 2).is_ok());
        assert!(checked(&rows, br#"{"predictions":[{"class":"a","p":0.5}]}"#, 1).is_ok());
        assert_eq!(checked(&columns, br#"{"outputs":[1,0]}"#, 2).unwrap().correct, 2);
        let facts = checked(&columns, br#"{"outputs":{"class":[1,0],"p":[[0.1,0.9],[0.2,0.8]]}}"#, 2).unwrap();
        assert_eq!((facts.labelled, facts.correct), (2, 2), "the first output is the prediction");
        for (checker, body, rows, why) in [
            (&rows, r#"{"error":"Malformed request"}"#, 1, "the answer says error: Malformed request"),
            (&rows, r#"{"outputs":[1]}"#, 1, "no `predictions` in the answer"),
            (&rows, r#"{"predictions":[1,2]}"#, 1, "2 predictions for 1 row"),
            (&rows, r#"{"predictions":{"a":1}}"#, 1, "`predictions` is not an array"),
            (&columns, r#"{"outputs":{"a":[1,2],"b":[1]}}"#, 2, "the lists of `outputs` are not equally long"),
            (&columns, r#"{"outputs":{"a":1}}"#, 1, "`outputs` is not an array"),
            (&columns, r#"{"outputs":[1,null]}"#, 2, "the prediction is null"),
            (&columns, r#"{"predictions":[1]}"#, 1, "no `outputs` in the answer"),
        ] {
            assert_eq!(checked(checker, body.as_bytes(), rows).unwrap_err(), why, "{body}");
        }
    }

    #[test]
    fn tensors_are_judged_by_their_shape() {
        let c = checker(Protocol::OpenInference, AnswerPaths::default());
        let good = br#"{"model_name":"m","model_version":"3","id":"x","outputs":[
            {"name":"y","shape":[2,1],"datatype":"INT64","parameters":{"content_type":"np"},"data":[1,1]},
            {"name":"p","shape":[2,2],"datatype":"FP64","data":[[0.1,0.9],[0.2,0.8]]}]}"#;
        let facts = checked(&c, good, 2).unwrap();
        assert_eq!((facts.labelled, facts.correct, facts.version.as_deref()), (2, 1, Some("3")));
        let output = |shape: &str, kind: &str, data: &str| {
            format!(r#"{{"outputs":[{{"data":{data},"name":"y","shape":{shape},"datatype":"{kind}"}}]}}"#)
        };
        assert_eq!(checked(&c, output("[1]", "BYTES", r#"["x"]"#).as_bytes(), 1).unwrap().correct, 0);
        assert_eq!(checked(&c, output("[2,3]", "FP32", "[1,2,3,4,5,6]").as_bytes(), 2).unwrap().labelled, 0);
        for (body, why) in [
            (output("[1]", "FP64", "[1,2]"), "output 0: 2 values, and its shape has 1"),
            (output("[2]", "FP64", "[1,2]"), "output 0 has 2 predictions for 1 row"),
            (output("[1]", "FP64", "[null]"), "output 0 holds null"),
            (output("[1]", "FP65", "[1]"), "output 0 has no known `datatype`"),
            (output("[]", "FP64", "[1]"), "output 0 has no `shape` of 1 to 8 dimensions"),
            (
                output("[1,18446744073709551615,2]", "FP64", "[1]"),
                "output 0: 1 values, and its shape has 18446744073709551615",
            ),
            (r#"{"error":"model not found"}"#.into(), "the answer says error: model not found"),
            (r#"{"outputs":[]}"#.into(), "no `outputs` in the answer"),
            (r#"{"outputs":[{"shape":[1],"datatype":"FP64"}]}"#.into(), "output 0 has no data"),
            (
                r#"{"outputs":[{"shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}}]}"#.into(),
                "output 0 says 8 bytes, and 0 are left",
            ),
        ] {
            assert_eq!(checked(&c, body.as_bytes(), 1).unwrap_err(), why, "{body}");
        }
    }

    #[test]
    fn tensors_in_bytes_are_read_too() {
        let c = checker(Protocol::OpenInference, AnswerPaths::default());
        let b = RequestBodies { held: vec![BodyRows { start: 0, len: 2, of: 2 }], ..bodies(&["1", "0"]) };
        let judged = |kind: &str, data: &[u8]| {
            let size = data.len();
            let json = format!(
                r#"{{"outputs":[{{"name":"y","shape":[2],"datatype":"{kind}","parameters":{{"binary_data_size":{size}}}}}]}}"#
            );
            let length = json.len().to_string();
            let body = [json.as_bytes(), data].concat();
            let headers = [httparse::Header { name: "Inference-Header-Content-Length", value: length.as_bytes() }];
            let answer = Answer { status: 200, headers: Headers::Fields(&headers), body: &body };
            c.check(&answer, &b, 0).map(|f| f.correct).map_err(|wrong| format!("{wrong:?}"))
        };
        assert_eq!(judged("FP32", &[1f32.to_le_bytes(), 0f32.to_le_bytes()].concat()), Ok(2));
        assert_eq!(judged("INT64", &[1i64.to_le_bytes(), (-1i64).to_le_bytes()].concat()), Ok(1));
        assert_eq!(judged("FP16", &[0x00, 0x3c, 0, 0]), Ok(2), "0x3c00 is 1 as a half");
        assert_eq!(judged("BF16", &[0x80, 0x3f, 0, 0]), Ok(2));
        assert_eq!(judged("BOOL", &[1, 0]), Ok(2));
        assert_eq!(judged("BYTES", b"\x01\0\0\x001\x01\0\0\x000"), Ok(2));
        for (kind, data, why) in [
            ("FP64", &f64::NAN.to_le_bytes().repeat(2)[..], "not a finite number"),
            ("FP64", &[0; 8][..], "8 bytes are not its 2 values"),
            ("BYTES", b"\x09\0\0\x001", "a text is cut off"),
            ("BYTES", b"\x01\0\0\x001", "1 texts are not its 2 values"),
        ] {
            let wrong = judged(kind, data).unwrap_err();
            assert!(wrong.contains(why), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_by_its_kind() {
        let c = checker(Protocol::Mlflow, AnswerPaths::default());
        for (body, why) in [
            (&b"<!doctype html><p>Bad gateway"[..], "the answer is HTML or XML, not JSON"),
            (b"", "the answer is empty"),
            (b"\x1f\x8b\x08\0", "the answer is gzip, which was not asked for"),
            (b"{\0\"\0p\0", "the answer is UTF-16, not UTF-8"),
            (b"{\"predictions\":[\"caf\xe9\"]}", "the answer is not UTF-8"),
            (b"{\"predictions\":[NaN]}", "the answer holds NaN or Infinity, which JSON does not have"),
            (b"{\"predictions\":[-Infinity]}", "the answer holds NaN or Infinity, which JSON does not have"),
            (b"{\"predictions\":[1e999]}", "the answer holds a number too large for a double"),
            (b"{\"predictions\":[1", "the answer is not JSON: it ends too early"),
            (
                b"\xef\xbb\xbf{\"predictions\":[1]}",
                "the answer begins with a byte order mark, which JSON does not allow",
            ),
            (b"{\"error_code\":\"X\",\"message\":\"no such model\"}", "the answer says error: X: no such model"),
        ] {
            assert_eq!(checked(&c, body, 1).unwrap_err(), why);
        }
        assert!(checked(&c, b"{\"predictions\":[123456789012345678901234567890]}", 1).is_ok(), "large, and a number");
    }

    #[test]
    fn plain_http_is_judged_by_its_prediction_only_where_one_is_named() {
        let plain = checker(Protocol::Http, AnswerPaths::default());
        assert!(checked(&plain, b"<html>", 1).is_ok());
        let place =
            |pointer: &str| AnswerPaths { prediction: Some(Place::Json(pointer.into())), ..AnswerPaths::default() };
        let score = checker(Protocol::Http, place("/scores/*/value"));
        assert_eq!(checked(&score, br#"{"scores":[{"value":1},{"value":"0"}]}"#, 2).unwrap().correct, 2);
        assert_eq!(checked(&score, br#"{"error":"x"}"#, 1).unwrap_err(), "0 predictions for 1 row");
        assert_eq!(checked(&score, b"<html>", 1).unwrap_err(), "the answer is HTML or XML, not JSON");
        let header = AnswerPaths { prediction: Some(Place::Header("x-score".into())), ..AnswerPaths::default() };
        let header = checker(Protocol::Http, header);
        assert_eq!(checked(&header, b"", 1).unwrap_err(), "no header `x-score` with a prediction");
        let ready = RequestBodies { held: vec![], labels: None, ..bodies(&["1"]) };
        let answer =
            Answer { status: 200, headers: Headers::Raw(b"HTTP/1.1 200 OK\r\nx-score: 0.5\r\n\r\n"), body: b"" };
        assert!(header.check(&answer, &ready, 0).is_ok());
    }

    #[test]
    fn levels_and_ages_are_read_where_they_stand() {
        let answer = AnswerPaths {
            fallback: Some(Place::Json("/level".into())),
            age: Some(AgePlace::Age(Place::Json("/age".into()))),
            ..AnswerPaths::default()
        };
        let c = checker(Protocol::Mlflow, answer);
        let said = |more: &str| {
            let body = format!("{{\"predictions\":[1]{more}}}");
            let facts = checked(&c, body.as_bytes(), 1).unwrap();
            (facts.fallback, facts.level.map(|l| l.into_owned()), facts.age)
        };
        let level = |on, name: &str| (Some(on), Some(name.to_owned()), None);
        assert_eq!(said(""), level(false, "0"));
        assert_eq!(said(r#","level":3"#), level(true, "3"));
        assert_eq!(said(r#","level":"cached""#), level(true, "cached"));
        assert_eq!(said(r#","level":"none""#), level(false, "0"));
        assert_eq!(said(r#","level":true"#), level(true, "1"));
        assert_eq!(said(r#","age":1.5"#).2, Some(Age::Micros(1_500_000)));
        assert_eq!(said(r#","age":"soon""#).2, None);
    }
}
