//! Protocols: what a request body is and what an answer means.
//!
//! One file per protocol. Bodies are encoded before the run; an answer is checked where it arrives, without
//! keeping it. Owns meaning; leaves alone the wire (`client/`) and counting (`record/`).

mod extract;
mod http;
mod mlflow;
mod openai;
pub mod sse;
mod twins;

use std::borrow::Cow;

use crate::alteration::Alterations;
use crate::plan::{AnswerPaths, Bodies, Dataset, Place, Plan, Protocol, Target};

pub use extract::{Scalar, scalar_at};
pub use openai::{TokenStream, Tokens};

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
    labels: Option<Vec<Label>>,
    /// Which of them ask for a stream; empty for protocols without streams.
    streams: Vec<bool>,
    /// For each twin, which stand behind the bodies themselves: the body that it is the twin of.
    originals: Vec<u32>,
    /// The twins of each payload fault.
    blocks: Vec<twins::Block>,
    /// The `content-type` of every body.
    pub content_type: &'static str,
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
    fn of(text: &str) -> Label {
        text.trim().parse().map_or_else(|_| Label::Text(text.to_owned()), Label::Number)
    }

    fn matches(&self, value: &Scalar<'_>) -> bool {
        match (self, value) {
            (Label::Number(want), Scalar::Number(got)) => (want - got).abs() <= 1e-9 * want.abs().max(1.0),
            (Label::Number(want), Scalar::Text(got)) => got.parse::<f64>().is_ok_and(|g| g == *want),
            (Label::Number(want), Scalar::Bool(got)) => *want == f64::from(u8::from(*got)),
            (Label::Text(want), Scalar::Text(got)) => want == got,
            (Label::Text(want), Scalar::Bool(got)) => want.eq_ignore_ascii_case(if *got { "true" } else { "false" }),
            _ => false,
        }
    }
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
                let mut row_bytes = Vec::new();
                for row in &table.rows {
                    row_bytes.clear();
                    encode_rows(&plan.target, table, &[row], &mut row_bytes);
                    all.push(&row_bytes);
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

    /// Never: a plan has at least one body.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
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

    /// Rows in the body of this number: as many predictions make a good answer.
    fn batch(&self, row: usize) -> usize {
        if row < self.len() { 1 } else { self.blocks.iter().find_map(|b| b.batch_of(row)).unwrap_or(1) }
    }

    /// The body of this number.
    pub fn get(&self, row: usize) -> &[u8] {
        self.rows.get(row)
    }

    /// The body of this number asks for a stream of tokens.
    pub fn streams(&self, row: usize) -> bool {
        self.streams.get(self.original(row)) == Some(&true)
    }

    fn label(&self, row: usize) -> Option<&Label> {
        self.labels.as_ref()?.get(self.original(row))
    }
}

/// Appends a body with these rows, at least one of them.
fn encode_rows(target: &Target, table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    match target.protocol {
        Protocol::Mlflow => mlflow::encode(table, rows, out),
        Protocol::Http => http::encode(table, rows, out),
        Protocol::Openai => {
            let chat = target.chat.as_ref().expect("rows of this protocol come with a model");
            openai::encode(chat, table, rows[0], out);
        }
    }
}

/// Appends one cell as JSON: a number where the whole column is numeric, else a string; an empty cell is null.
fn json_cell(table: &Dataset, column: usize, cell: &str, out: &mut Vec<u8>) {
    let text = cell.trim();
    if text.is_empty() {
        out.extend_from_slice(b"null");
    } else if table.numeric.get(column) == Some(&true) {
        // A column is numeric when every cell parses as f64; JSON wants neither a leading `+` nor `.5`.
        match text.parse::<i64>() {
            Ok(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Err(_) => {
                serde_json::to_writer(&mut *out, &text.parse::<f64>().unwrap_or(f64::NAN)).expect("writing to memory")
            }
        }
    } else {
        serde_json::to_writer(&mut *out, cell).expect("writing to memory");
    }
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
    /// Prediction equal to the label; none without label or prediction.
    pub correct: Option<bool>,
    /// Fallback level above 0; none where none was looked for.
    pub fallback: Option<bool>,
    /// The model version that answered.
    pub version: Option<Cow<'a, str>>,
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
    paths: AnswerPaths,
}

impl Checker {
    /// For this target. MLflow's prediction is looked for at `/predictions/0` unless the scenario says otherwise.
    pub fn new(target: &Target) -> Checker {
        let mut paths = target.answer.clone();
        if target.protocol == Protocol::Mlflow && paths.prediction.is_none() {
            paths.prediction = Some(Place::Json("/predictions/0".into()));
        }
        Checker { protocol: target.protocol, expect_status: target.expect_status.clone(), paths }
    }

    /// Is this a good answer to that row, and what does it say?
    ///
    /// # Errors
    /// Why it is not good.
    pub fn check<'a>(&self, answer: &Answer<'a>, bodies: &RequestBodies, row: usize) -> Result<Facts<'a>, Wrong> {
        if !self.expect_status.contains(&answer.status) {
            return Err(Wrong::Status(answer.status));
        }
        match self.protocol {
            Protocol::Mlflow => mlflow::check(answer.body, bodies.batch(row)).map_err(Wrong::Content)?,
            Protocol::Http => {}
            Protocol::Openai => {
                let mut stream = TokenStream::default();
                stream.feed(answer.body, 0);
                said(answer, bodies.streams(row), &stream)?;
            }
        }
        Ok(self.facts(answer, bodies, row))
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
        Ok(Facts { tokens, ..self.facts(answer, bodies, row) })
    }

    /// Answers of this target are to be fed to a [`TokenStream`] as they come in.
    pub fn reads_tokens(&self) -> bool {
        self.protocol == Protocol::Openai
    }

    fn facts<'a>(&self, answer: &Answer<'a>, bodies: &RequestBodies, row: usize) -> Facts<'a> {
        let correct = match (bodies.label(row), &self.paths.prediction) {
            (Some(label), Some(place)) => find(place, answer).map(|value| label.matches(&value)),
            _ => None,
        };
        let fallback = self.paths.fallback.as_ref().map(|place| {
            find(place, answer).is_some_and(|v| match v {
                Scalar::Number(level) => level > 0.0,
                Scalar::Bool(on) => on,
                Scalar::Text(t) => !matches!(t.trim(), "" | "0" | "0.0" | "none" | "false"),
                Scalar::Null | Scalar::Other => false,
            })
        });
        let version = self.paths.version.as_ref().and_then(|place| find(place, answer)).and_then(|v| match v {
            Scalar::Text(t) => Some(t),
            Scalar::Number(n) => Some(Cow::Owned(n.to_string())),
            _ => None,
        });
        Facts { correct, fallback, version, tokens: None }
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

fn find<'a>(place: &Place, answer: &Answer<'a>) -> Option<Scalar<'a>> {
    match place {
        Place::Header(name) => answer.headers.get(name).map(|v| Scalar::Text(Cow::Borrowed(v))),
        Place::Json(pointer) => scalar_at(answer.body, pointer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker(protocol: Protocol, answer: AnswerPaths) -> Checker {
        let target = crate::plan::tests_support::target(protocol, answer);
        Checker::new(&target)
    }

    fn bodies(labels: &[&str]) -> RequestBodies {
        let mut b = RequestBodies::default();
        labels.iter().for_each(|_| b.push(b"{}"));
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
                prediction: None,
            },
        );
        let headers = Headers::Raw(b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nX-Model-Version: 7 \r\n\r\n");
        let b = bodies(&["1", "0"]);
        let answer = |body| Answer { status: 200, headers, body };
        let facts = c.check(&answer(br#"{"predictions": [1], "fallback": 0}"#), &b, 0).unwrap();
        assert_eq!(
            facts,
            Facts { correct: Some(true), fallback: Some(false), version: Some("7".into()), tokens: None }
        );
        assert_eq!(c.check(&answer(br#"{"predictions": [1], "fallback": 2}"#), &b, 1).unwrap().correct, Some(false));
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

    #[test]
    fn rows_become_json_with_numbers_and_text() {
        let table = Dataset {
            columns: vec!["amount".into(), "country".into()],
            rows: vec![vec!["12.50".into(), "a\"b".into()], vec!["3".into(), String::new()]],
            labels: None,
            numeric: vec![true, false],
        };
        let mut out = Vec::new();
        mlflow::encode(&table, &[&table.rows[0]], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"dataframe_split":{"columns":["amount","country"],"data":[[12.5,"a\"b"]]}}"#
        );
        let mut out = Vec::new();
        http::encode(&table, &[&table.rows[1]], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"amount":3,"country":null}"#);
    }
}
