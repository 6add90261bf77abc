//! Altered bodies, made before the run: each is the twin of a body that would have been sent.
//!
//! A payload fault changes the row (or the bytes), and the row is then encoded as every other one: so a fault means the same in each
//! protocol. Twins stand behind the bodies themselves, so that a request is a number and nothing is made while load runs. Owns
//! what an altered body is; leaves alone which arrivals get one (`alteration.rs`) and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;

use super::{BodyRows, Encoder, RequestBodies};
use crate::alteration::{self, Alterations};
use crate::plan::{Alter, Bodies, Dataset, Garbage, Load, Plan};
use crate::rng::{self, Stream};

/// Bytes that the bodies of one oversize fault may have together, beyond the first of them.
const OVERSIZE_BYTES: usize = 16 << 20;
/// Bodies of an oversize fault, at most.
const OVERSIZE_BODIES: usize = 64;

/// The twins of one payload fault.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Number of the first of them among all bodies.
    first: usize,
    count: usize,
    pick: Pick,
}

/// Which twin is sent.
#[derive(Clone, Debug)]
enum Pick {
    /// That of the body whose turn it is.
    OfRow,
    /// By the arrival's number, whichever body's turn it is; one may come again before all have gone out.
    Any,
    /// The one made for this very arrival, ascending by the arrivals' numbers; where fewer are made than go out, they go round.
    Own(Vec<u64>),
    /// The next that has not gone out yet, and around again: the requests of closed loops have no number beforehand.
    InTurn(Arc<AtomicU64>),
}

impl Block {
    /// The number of the body that goes out in place of `row`.
    pub(super) fn body(&self, index: u64, row: usize) -> usize {
        let nth = match &self.pick {
            Pick::OfRow => row,
            Pick::Any => (index % self.count as u64) as usize,
            // One that was not planned (its fault came late) takes a neighbour's.
            Pick::Own(arrivals) => arrivals.binary_search(&index).unwrap_or_else(|next| next),
            Pick::InTurn(turn) => (turn.fetch_add(1, Ordering::Relaxed) % self.count as u64) as usize,
        };
        self.first + nth % self.count
    }

    /// How many bodies.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// Appends the twins of every payload fault, in the order of [`Alterations::list`].
pub(super) fn append(plan: &Plan, alterations: &Alterations, all: &mut RequestBodies) {
    if alterations.list().is_empty() {
        return;
    }
    let planned = alteration::planned(plan);
    // A value that one fault has sent is none that was never seen in the next.
    let mut used = 0;
    for (alteration, arrivals) in alterations.list().iter().zip(planned) {
        let Some(payload) = plan.faults[alteration.fault].payload() else { continue };
        // A fault that repeats has the same twins each time.
        let same = plan.payloads().position(|(_, p)| p.alter == payload.alter).filter(|n| *n < all.blocks.len());
        if let (Some(same), false) = (same, matches!(payload.alter, Alter::CacheBust { .. })) {
            all.blocks.push(all.blocks[same].clone());
            continue;
        }
        let first = all.rows.len();
        let mut maker =
            Maker { plan, all, chance: rng::stream(plan.seed, &format!("bodies:{}", payload.alter.word())) };
        let pick = match (&payload.alter, &plan.traffic.bodies) {
            (Alter::Malformed, _) => {
                maker.malformed();
                Pick::OfRow
            }
            (Alter::Oversize { batch }, Bodies::Dataset(table)) => {
                maker.oversize(table, *batch);
                Pick::Any
            }
            (Alter::CacheBust { features, .. }, Bodies::Dataset(table)) => {
                let count = alteration::distinct(plan, alteration.fault, arrivals.len());
                maker.cache_bust(table, features, &arrivals, count, used);
                used += count;
                if closed(plan, alteration.fault) { Pick::InTurn(Arc::default()) } else { Pick::Own(arrivals) }
            }
            (alter, Bodies::Dataset(table)) => {
                maker.by_body(table, alter);
                Pick::OfRow
            }
            (_, Bodies::One(_) | Bodies::Lines(_)) => unreachable!("only rows of a dataset have features"),
        };
        let count = all.rows.len() - first;
        all.blocks.push(Block { first, count, pick });
    }
}

/// Does a closed loop run while this fault is in force, by the plan?
fn closed(plan: &Plan, fault: usize) -> bool {
    let from = plan.faults[fault].at;
    let until = plan.faults[fault].ends(plan.end()).unwrap_or(from);
    plan.phases.iter().any(|p| matches!(p.load, Load::Closed { .. }) && p.start < until && from < p.end())
}

struct Maker<'a> {
    plan: &'a Plan,
    all: &'a mut RequestBodies,
    chance: Stream,
}

impl Maker<'_> {
    /// A twin of these bytes, which are what the original's would be but for the fault; `json` is the length of its JSON, where
    /// bytes follow it.
    fn push(&mut self, body: &[u8], json: Option<usize>, original: usize) {
        self.all.push(body);
        self.note(self.all.held.get(original).copied(), json, original);
    }

    /// A twin of these rows, written as every other body is.
    fn write(&mut self, encoder: &Encoder<'_>, cells: &[Vec<String>], held: BodyRows, original: usize) {
        let rows: Vec<&[String]> = cells.iter().map(Vec::as_slice).collect();
        let json = encoder.write(&rows, self.all.rows.begin());
        self.all.rows.end();
        self.note(Some(held), json, original);
    }

    fn note(&mut self, held: Option<BodyRows>, json: Option<usize>, original: usize) {
        self.all.held.extend(held);
        self.all.json.extend(json);
        self.all.originals.push(original as u32);
    }

    fn malformed(&mut self) {
        for row in 0..self.all.len() {
            let json = self.all.json.get(row).copied();
            let body = self.all.get(row);
            // The bytes of tensors stay as they are: what is broken is the JSON that tells of them.
            let (text, bytes) = body.split_at(json.unwrap_or(body.len()));
            let mut body = broken(text, &mut self.chance);
            let json = json.map(|_| body.len());
            body.extend_from_slice(bytes);
            self.push(&body, json, row);
        }
    }

    fn oversize(&mut self, table: &Dataset, batch: usize) {
        let encoder = Encoder::new(self.plan, table);
        let (before, of) = (self.all.rows.bytes.len(), table.rows.len() as u32);
        let mut last = 0;
        for first in 0..table.rows.len().min(OVERSIZE_BODIES) {
            let rows: Vec<Vec<String>> = table.rows.iter().cycle().skip(first).take(batch).cloned().collect();
            // As large as the one before it: what would go beyond the limit is not made.
            if first > 0 && self.all.rows.bytes.len() - before + last > OVERSIZE_BYTES {
                return;
            }
            let start = self.all.rows.bytes.len();
            let held = BodyRows { start: first as u32, len: batch as u32, of };
            self.write(&encoder, &rows, held, first % self.all.len());
            last = self.all.rows.bytes.len() - start;
        }
    }

    /// One for each body, all of its rows altered.
    fn by_body(&mut self, table: &Dataset, alter: &Alter) {
        // A template has a hole for every column: what is dropped is left empty there.
        let emptied;
        let alter = match alter {
            Alter::Drop { features } if self.plan.traffic.template.is_some() => {
                emptied = Alter::Corrupt { features: features.clone(), garbage: Garbage::Null };
                &emptied
            }
            alter => alter,
        };
        let (head, kept) = head(table, alter);
        let whole = kept.iter().enumerate().map(|(place, c)| head.numeric[place] && table.whole(*c)).collect();
        let encoder = Encoder::with(self.plan, &head, whole);
        let columns: Vec<Column> = (0..table.columns.len()).map(|c| Column::of(table, c)).collect();
        for n in 0..self.all.len() {
            let held = self.all.rows(n);
            let row = |place: usize| &table.rows[held.row(place)];
            let rows: Vec<Vec<String>> =
                (0..held.len as usize).map(|place| altered(row(place), alter, &columns, &mut self.chance)).collect();
            self.write(&encoder, &rows, held, n);
        }
    }

    /// `count` bodies with values that are in no row; those of an arrival are made from the body whose turn it is, or from the next
    /// that has a cell to alter.
    fn cache_bust(&mut self, table: &Dataset, features: &[usize], arrivals: &[u64], count: usize, used: usize) {
        let encoder = Encoder::new(self.plan, table);
        let columns: Vec<Column> = (0..table.columns.len()).map(|c| Column::of(table, c)).collect();
        let can = |body: usize| {
            let held = self.all.rows(body);
            (0..held.len as usize).any(|place| {
                let row = &table.rows[held.row(place)];
                features.iter().any(|f| !table.numeric[*f] || !row[*f].trim().is_empty())
            })
        };
        let bodies = self.all.len();
        let (mut turns, mut next): (Vec<usize>, _) = ((0..bodies).collect(), None);
        // Twice: after the last comes the first.
        for body in (0..bodies).rev().chain((0..bodies).rev()) {
            next = if can(body) { Some(body) } else { next };
            turns[body] = next.unwrap_or(body);
        }
        for nth in 0..count {
            let turn = arrivals.get(nth).copied().unwrap_or(nth as u64);
            let original = turns[(turn % bodies as u64) as usize];
            let held = self.all.rows(original);
            let rows = (0..held.len as usize).map(|place| {
                let mut row = table.rows[held.row(place)].clone();
                for feature in features {
                    row[*feature] = columns[*feature].never_seen(&row[*feature], used + nth + 1);
                }
                row
            });
            let rows: Vec<Vec<String>> = rows.collect();
            self.write(&encoder, &rows, held, original);
        }
    }
}

/// The table without its rows, as the altered rows need it, and which of its columns are kept.
fn head(table: &Dataset, alter: &Alter) -> (Dataset, Vec<usize>) {
    let kept = |c: &usize| !matches!(alter, Alter::Drop { features } if features.contains(c));
    let text = |c: usize| matches!(alter, Alter::Corrupt { features, garbage: Garbage::Text } if features.contains(&c));
    let columns: Vec<usize> = (0..table.columns.len()).filter(kept).collect();
    let head = Dataset {
        columns: columns.iter().map(|c| table.columns[*c].clone()).collect(),
        numeric: columns.iter().map(|c| table.numeric[*c] && !text(*c)).collect(),
        ..Dataset::default()
    };
    (head, columns)
}

fn altered(row: &[String], alter: &Alter, columns: &[Column], chance: &mut Stream) -> Vec<String> {
    if let Alter::Drop { features } = alter {
        return row.iter().enumerate().filter(|(c, _)| !features.contains(c)).map(|(_, cell)| cell.clone()).collect();
    }
    let mut row = row.to_vec();
    for c in alter.features() {
        row[*c] = match alter {
            Alter::Drift { shift, .. } => columns[*c].shifted(&row[*c], *shift),
            Alter::Corrupt { garbage: Garbage::Null, .. } => String::new(),
            Alter::Corrupt { garbage: Garbage::Text, .. } => one_of(&WORDS, chance).to_owned(),
            Alter::Corrupt { garbage: Garbage::Huge, .. } => one_of(&HUGE, chance).to_owned(),
            Alter::Corrupt { garbage: Garbage::Noise, .. } => columns[*c].noise(chance),
            Alter::Drop { .. } | Alter::Malformed | Alter::Oversize { .. } | Alter::CacheBust { .. } => continue,
        };
    }
    row
}

/// Words that stand where numbers belong, as broken pipelines write them.
const WORDS: [&str; 6] = ["NaN", "not a number", "1,5", "0x1F", "12abc", "Infinity"];
/// Numbers that JSON allows and no feature has. None of them is infinite as a double.
const HUGE: [&str; 4] = ["1e308", "-1e308", "9223372036854775807", "-1e20"];

fn one_of<'a>(all: &[&'a str], chance: &mut Stream) -> &'a str {
    all[rng::below(chance, all.len())]
}

/// What has to be known of a column to alter it.
struct Column {
    numeric: bool,
    /// Every cell is a whole number, and stays one.
    whole: bool,
    /// Every cell that is not empty is a whole number.
    key: bool,
    /// The largest of them.
    top: i64,
    low: f64,
    high: f64,
    /// Standard deviation.
    sd: f64,
}

impl Column {
    fn of(table: &Dataset, column: usize) -> Column {
        if !table.numeric[column] {
            return Column { numeric: false, whole: false, key: false, top: 0, low: 0.0, high: 0.0, sd: 0.0 };
        }
        let (whole, sd) = (table.whole(column), table.deviation(column));
        let numbers = || table.rows.iter().filter_map(|r| r[column].trim().parse::<f64>().ok());
        let (low, high) = (numbers().fold(f64::INFINITY, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
        let top = table.rows.iter().filter_map(|r| r[column].trim().parse().ok()).max().unwrap_or(0);
        Column { numeric: true, whole, key: table.whole_or_empty(column), top, low, high, sd }
    }

    fn shifted(&self, cell: &str, shift: f64) -> String {
        // What is missing stays so.
        if cell.trim().is_empty() {
            return String::new();
        }
        self.cell(number(cell) + shift * self.sd)
    }

    /// Anywhere in a range ten times as wide as the column's own on each side.
    fn noise(&self, chance: &mut Stream) -> String {
        if !self.numeric {
            return (0..8).map(|_| char::from(b'a' + rng::below(chance, 26) as u8)).collect();
        }
        let width = if self.high > self.low { self.high - self.low } else { self.high.abs().max(1.0) };
        self.cell(self.low - 10.0 * width + 21.0 * width * rng::unit(chance))
    }

    /// The `nth` value (from 1) that is in no row: beyond the largest for whole numbers, which are keys more often than not; for
    /// others so near to the row's own that no prediction depends on it, and apart from every other one. A missing number stays so.
    fn never_seen(&self, cell: &str, nth: usize) -> String {
        match (self.numeric, self.key) {
            (false, _) => format!("{}~{nth}", cell.trim()),
            (true, _) if cell.trim().is_empty() => String::new(),
            (true, true) => self.top.max(0).saturating_add(nth as i64).to_string(),
            (true, false) => {
                let step = if self.sd > 0.0 { self.sd } else { number(cell).abs().max(1.0) };
                self.cell(number(cell) + step * 1e-9 * nth as f64)
            }
        }
    }

    fn cell(&self, number: f64) -> String {
        if self.whole { format!("{:.0}", number.round()) } else { number.to_string() }
    }
}

fn number(cell: &str) -> f64 {
    cell.trim().parse().unwrap_or(0.0)
}

/// Bytes that break JSON wherever they stand: control characters and what is no UTF-8, or what closes something too much.
const STRAY: [u8; 5] = [0x00, 0xff, b'}', b'"', b','];

/// The body cut short, or with a byte too many, so that it is no JSON.
fn broken(body: &[u8], chance: &mut Stream) -> Vec<u8> {
    for _ in 0..16 {
        let mut broken = body.to_vec();
        let at = rng::below(chance, body.len().max(1));
        if chance.next_u64() & 1 == 0 {
            broken.truncate(at.max(1));
        } else {
            broken.insert(at, STRAY[rng::below(chance, STRAY.len())]);
        }
        if serde_json::from_slice::<serde_json::Value>(&broken).is_err() {
            return broken;
        }
    }
    // What closes an object that was never opened is wrong after any document.
    [body, b"}"].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::{AnswerPaths, Datatype, Form, tests_support};
    use crate::plan::{Expect, FaultKind, FaultPlan, FaultTarget, Lasts, Payload, Phase, Protocol, Shape, Via};
    use crate::target::{Answer, Checker, Headers};
    use crate::units::{Offset, Rate, Ratio, Seed};

    fn table() -> Dataset {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows =
            (0..20).map(|i| row([&format!("{}", 100 + i), &format!("{}.5", i), "7", ["a", "b"][i % 2]])).collect();
        let labels = Some((0..20).map(|i| (i % 2).to_string()).collect());
        let columns = ["id", "x", "flat", "word"].map(str::to_owned).to_vec();
        Dataset { columns, rows, labels, numeric: vec![true, true, true, false] }
    }

    fn plan(protocol: Protocol, alters: Vec<Alter>) -> Plan {
        let load = Load::Open(Shape::Constant(Rate::per_second(100.0).unwrap()));
        let duration = std::time::Duration::from_secs(10);
        let phase = Phase { name: "all".into(), start: Offset::ZERO, duration, load, measured: true };
        let one = Ratio::new(1.0).unwrap();
        let fault = |(n, alter): (usize, Alter)| FaultPlan {
            name: format!("f{n}"),
            kind: FaultKind::Payload(Box::new(Payload {
                alter,
                share: Ratio::new(0.5).unwrap(),
                expect: Expect::Rejected,
                expect_share: one,
                include: false,
            })),
            target: FaultTarget::Requests,
            at: Offset::from_secs_f64(2.0),
            lasts: Some(Lasts::For(std::time::Duration::from_secs(4))),
            overlap: false,
            via: Via::Load,
        };
        let mut plan = tests_support::plan(vec![phase]);
        plan.target = tests_support::target(protocol, AnswerPaths::default());
        plan.traffic.bodies = Bodies::Dataset(Arc::new(table()));
        plan.faults = alters.into_iter().enumerate().map(fault).collect();
        plan
    }

    fn made(plan: &Plan) -> RequestBodies {
        RequestBodies::with_twins(plan, &Alterations::of(plan))
    }

    /// The twin of a row as JSON.
    fn twin(bodies: &RequestBodies, nth: usize, row: usize) -> Value {
        let body = bodies.get(bodies.twin(nth, row as u64, row));
        serde_json::from_slice(body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(body)))
    }

    #[test]
    fn rows_are_altered_and_then_encoded_by_the_protocol() {
        // Columns 0 to 2: whole numbers, others, always the same. 0..20 has a sample deviation of √35.
        let drift = |features: &[usize], shift| Alter::Drift { features: features.to_vec(), shift };
        let alters = vec![
            drift(&[0, 1], 2.0),
            Alter::Drop { features: vec![0, 3] },
            Alter::Corrupt { features: vec![1, 3], garbage: Garbage::Null },
            Alter::Corrupt { features: vec![0, 1], garbage: Garbage::Text },
            Alter::Corrupt { features: vec![1], garbage: Garbage::Huge },
            Alter::Corrupt { features: vec![0, 1, 3], garbage: Garbage::Noise },
        ];
        let sd = 35f64.sqrt();
        let mlflow = made(&plan(Protocol::Mlflow, alters.clone()));
        let http = made(&plan(Protocol::Http, alters));
        assert_eq!(mlflow.len(), 20, "twins are none of the bodies that are sent in turn");
        let row = |nth: usize| (twin(&mlflow, nth, 3)["dataframe_split"].clone(), twin(&http, nth, 3));
        for (nth, columns) in [(0, json!(["id", "x", "flat", "word"])), (1, json!(["x", "flat"]))] {
            assert_eq!(row(nth).0["columns"], columns);
        }
        let (split, flat) = row(0);
        assert_eq!(split["data"][0][0], json!((103.0 + 2.0 * sd).round() as i64), "whole numbers stay whole");
        assert!((split["data"][0][1].as_f64().unwrap() - (3.5 + 2.0 * sd)).abs() < 1e-9, "{split}");
        assert_eq!((&split["data"][0][2], &split["data"][0][3]), (&json!(7), &json!("b")), "the rest is as it was");
        assert_eq!(flat["id"], split["data"][0][0]);
        assert_eq!((row(1).0["data"].clone(), row(1).1), (json!([[3.5, 7]]), json!({"x": 3.5, "flat": 7})));
        assert_eq!(row(2).0["data"], json!([[103, null, 7, null]]));
        for n in 0..20 {
            let data = &twin(&mlflow, 3, n)["dataframe_split"]["data"][0];
            assert!(WORDS.contains(&data[0].as_str().unwrap()) && WORDS.contains(&data[1].as_str().unwrap()), "{data}");
            let huge = twin(&mlflow, 4, n)["dataframe_split"]["data"][0][1].as_f64().unwrap();
            assert!(huge.is_finite() && huge.abs() >= 1e18, "{huge}");
            let noise = &twin(&mlflow, 5, n)["dataframe_split"]["data"][0];
            assert!(noise[0].is_i64() && noise[1].is_number() && noise[3].as_str().unwrap().len() == 8, "{noise}");
        }
        // The same seed makes the same garbage, another one other garbage.
        let again = made(&plan(Protocol::Mlflow, vec![Alter::Corrupt { features: vec![1], garbage: Garbage::Noise }]));
        let mut other = plan(Protocol::Mlflow, vec![Alter::Corrupt { features: vec![1], garbage: Garbage::Noise }]);
        let bytes = |b: &RequestBodies| (0..20).map(|r| b.get(b.twin(0, 0, r)).to_vec()).collect::<Vec<_>>();
        assert_eq!(bytes(&again), bytes(&made(&other)));
        other.seed = Seed(other.seed.0 + 1);
        assert_ne!(bytes(&again), bytes(&made(&other)));
    }

    #[test]
    fn labels_are_those_of_the_original() {
        let all = made(&plan(Protocol::Mlflow, vec![Alter::Drift { features: vec![1], shift: 3.0 }]));
        let checker = Checker::new(&tests_support::target(Protocol::Mlflow, AnswerPaths::default()));
        for row in 0..20 {
            let answer = Answer { status: 200, headers: Headers::Fields(&[]), body: br#"{"predictions":[1]}"# };
            let correct = |row| checker.check(&answer, &all, row).map(|f| (f.labelled, f.correct)).unwrap();
            assert_eq!(correct(all.twin(0, 5, row)), correct(row));
            assert_eq!(correct(row), (1, u32::from(row % 2 == 1)));
        }
    }

    #[test]
    fn malformed_bodies_are_no_json_and_differ() {
        for protocol in [Protocol::Mlflow, Protocol::Http] {
            let all = made(&plan(protocol, vec![Alter::Malformed]));
            let bodies: Vec<&[u8]> = (0..20).map(|row| all.get(all.twin(0, row as u64, row))).collect();
            for body in &bodies {
                assert!(serde_json::from_slice::<Value>(body).is_err(), "{}", String::from_utf8_lossy(body));
            }
            let shorter = bodies.iter().enumerate().filter(|(row, b)| b.len() < all.get(*row).len()).count();
            assert!((1..20).contains(&shorter), "some are cut short, some have a byte too many: {shorter}");
        }
        let mut chance = rng::stream(Seed(1), "test");
        for body in ["{}", "1", "\"a\"", "[]", "12345", "null", "true"] {
            for _ in 0..50 {
                let bad = broken(body.as_bytes(), &mut chance);
                assert!(serde_json::from_slice::<Value>(&bad).is_err(), "{body} → {}", String::from_utf8_lossy(&bad));
            }
        }
    }

    #[test]
    fn an_oversize_body_has_its_rows_and_is_answered_by_as_many() {
        let fifty = plan(Protocol::Mlflow, vec![Alter::Oversize { batch: 50 }]);
        let all = made(&fifty);
        let row = all.twin(0, 3, 11);
        let body: Value = serde_json::from_slice(all.get(row)).unwrap();
        let data = body["dataframe_split"]["data"].as_array().unwrap();
        assert_eq!((data.len(), &data[0], &data[29]), (50, &data[20], &data[9]), "rows go round");
        let checker = Checker::new(&fifty.target);
        let says = |n: usize| format!("{{\"predictions\":[{}]}}", vec!["1"; n].join(","));
        for (row, n, good) in [(row, 50, true), (row, 1, false), (0, 1, true), (0, 50, false)] {
            let text = says(n);
            let answer = Answer { status: 200, headers: Headers::Fields(&[]), body: text.as_bytes() };
            assert_eq!(checker.check(&answer, &all, row).is_ok(), good, "{n} predictions for body {row}");
        }
        let http = made(&plan(Protocol::Http, vec![Alter::Oversize { batch: 3 }]));
        assert_eq!(twin(&http, 0, 0).as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_busts_a_cache_was_never_sent_before() {
        let bust = |features: &[usize]| Alter::CacheBust { features: features.to_vec(), distinct: 10_000 };
        let mut plan = plan(Protocol::Mlflow, vec![bust(&[0, 1, 3]), bust(&[1])]);
        let planned = alteration::planned(&plan);
        // 4 s at 100/s: the first takes about half of them, the second half of what is left.
        assert!(planned[0].len() > 150 && planned[1].len() > 60, "{planned:?}");
        let all = made(&plan);
        let mut seen: std::collections::BTreeSet<Vec<u8>> = (0..20).map(|row| all.get(row).to_vec()).collect();
        assert_eq!(seen.len(), 20);
        for (nth, arrivals) in planned.iter().enumerate() {
            assert_eq!(all.twins(nth), arrivals.len(), "one for each request");
            for index in arrivals {
                let row = (*index % 20) as usize;
                let at = all.twin(nth, *index, row);
                assert!(seen.insert(all.get(at).to_vec()), "sent before: {}", String::from_utf8_lossy(all.get(at)));
                assert_eq!(all.rows(at), all.rows(row), "made from the row whose turn it is");
                let body: Value = serde_json::from_slice(all.get(at)).unwrap();
                let cells = &body["dataframe_split"]["data"][0];
                let x = cells[1].as_f64().unwrap() - (row as f64 + 0.5);
                assert!(x > 0.0 && x < 1e-5, "too near to matter: {x}");
                assert!(nth == 1 || cells[0].as_i64().unwrap() > 119, "beyond every key of the data: {cells}");
            }
        }
        // With fewer bodies than requests they go round.
        plan.faults.truncate(1);
        let FaultKind::Payload(payload) = &mut plan.faults[0].kind else { panic!() };
        payload.alter = Alter::CacheBust { features: vec![1], distinct: 30 };
        let all = made(&plan);
        assert_eq!(all.twins(0), 30);
        let sent: Vec<usize> = planned[0].iter().map(|index| all.twin(0, *index, 0)).collect();
        assert_eq!(sent[..30], (20..50).collect::<Vec<_>>(), "none again before all have gone out");
        assert_eq!(sent[30..60], sent[..30]);
    }

    #[test]
    fn requests_of_closed_loops_take_the_next_body() {
        let mut plan = plan(Protocol::Mlflow, vec![Alter::CacheBust { features: vec![1], distinct: 30 }]);
        plan.phases[0].load = Load::Closed { concurrency: 1, max_rate: None };
        let all = made(&plan);
        // Whatever their numbers.
        let sent: Vec<usize> = (0..31).map(|n| all.twin(0, n * 30, 3)).collect();
        assert_eq!((&sent[..30], sent[30]), (&(20..50).collect::<Vec<_>>()[..], 20));
    }

    #[test]
    fn gaps_stay_gaps_and_leave_keys_whole() {
        let mut plan = plan(Protocol::Mlflow, vec![Alter::CacheBust { features: vec![0, 1], distinct: 10_000 }]);
        let mut gaps = table();
        // One gap among the keys, and a row that has nothing to alter.
        gaps.rows[4][0] = String::new();
        (gaps.rows[7][0], gaps.rows[7][1]) = (String::new(), String::new());
        assert_eq!((gaps.whole(0), gaps.whole_or_empty(0), gaps.whole_or_empty(1)), (false, true, false));
        plan.traffic.bodies = Bodies::Dataset(Arc::new(gaps));
        let all = made(&plan);
        let mut seen = std::collections::BTreeSet::new();
        for index in &alteration::planned(&plan)[0] {
            let row = (*index % 20) as usize;
            let at = all.twin(0, *index, row);
            assert!(seen.insert(all.get(at).to_vec()), "sent before: {}", String::from_utf8_lossy(all.get(at)));
            let body: Value = serde_json::from_slice(all.get(at)).unwrap();
            let cells = &body["dataframe_split"]["data"][0];
            assert_eq!(all.rows(at), all.rows(if row == 7 { 8 } else { row }));
            assert_eq!(cells[0].is_null(), row == 4, "{cells}");
            assert!(row == 4 || cells[0].as_i64().unwrap() > 119, "{cells}");
        }
    }

    #[test]
    fn words_stay_words_in_a_tensor_of_whole_numbers() {
        let mut plan =
            plan(Protocol::OpenInference, vec![Alter::Corrupt { features: vec![0], garbage: Garbage::Text }]);
        let mut table = table();
        (table.columns, table.numeric) = (vec!["id".into()], vec![true]);
        table.rows.iter_mut().for_each(|row| row.truncate(1));
        plan.traffic.bodies = Bodies::Dataset(Arc::new(table));
        plan.target.encoding.form = Form::Json;
        (plan.target.encoding.input, plan.target.encoding.datatype) = (Some("x".into()), Some(Datatype::Int64));
        let all = made(&plan);
        for row in 0..20 {
            let data = &twin(&all, 0, row)["inputs"][0]["data"];
            assert!(WORDS.contains(&data[0].as_str().unwrap_or_default()), "{data}");
        }
    }

    #[test]
    fn a_malformed_body_with_tensors_behind_it_keeps_their_bytes() {
        let mut plan = plan(Protocol::OpenInference, vec![Alter::Malformed]);
        plan.target.encoding.form = Form::Binary;
        let all = made(&plan);
        for row in 0..20 {
            let at = all.twin(0, row as u64, row);
            let split = |body: usize| all.get(body).split_at(all.header(body).unwrap().1);
            let ((json, bytes), (_, original)) = (split(at), split(row));
            assert!(serde_json::from_slice::<Value>(json).is_err(), "{}", String::from_utf8_lossy(json));
            assert_eq!(bytes, original);
        }
    }

    #[test]
    fn a_fault_that_repeats_has_its_twins_once() {
        let drop = || Alter::Drop { features: vec![0] };
        let all = made(&plan(Protocol::Mlflow, vec![drop(), Alter::Malformed, drop()]));
        assert_eq!(all.all(), 60);
        assert_eq!(all.twin(0, 9, 4), all.twin(2, 9, 4));
        assert_ne!(all.twin(0, 9, 4), all.twin(1, 9, 4));
    }
}
