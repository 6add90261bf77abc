//! The MLflow scoring protocol, inwards: a request body becomes rows of numbers.
//!
//! Owns: the four JSON forms (`dataframe_split`, `dataframe_records`, `instances`, `inputs`), `text/csv`, and
//! what is wrong with a body that is none of them. As in MLflow, columns that the model does not need are
//! dropped, a missing one is refused, and other top-level keys (`params`) are ignored. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What the content type promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
}

/// Rows of numbers, one after another, in the order of the model's inputs.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    /// How many rows.
    pub(super) rows: usize,
    values: Vec<f64>,
}

impl Format {
    /// `None` when the server does not speak it. A body without a type is taken for JSON.
    pub(super) fn of(content_type: Option<&str>) -> Option<Format> {
        let Some(text) = content_type else { return Some(Format::Json) };
        let (kind, parameters) = text.split_once(';').unwrap_or((text, "charset=utf-8"));
        if !parameters.trim().eq_ignore_ascii_case("charset=utf-8") {
            return None;
        }
        match kind.trim() {
            kind if kind.eq_ignore_ascii_case("application/json") => Some(Format::Json),
            kind if kind.eq_ignore_ascii_case("text/csv") => Some(Format::Csv),
            _ => None,
        }
    }
}

impl Batch {
    /// Reads a body into rows of these columns.
    ///
    /// # Errors
    /// Says what is wrong with the body, for its sender.
    pub(super) fn parse(format: Format, body: &[u8], columns: &[String]) -> Result<Batch, String> {
        let mut batch = Batch { rows: 0, values: Vec::with_capacity(columns.len()) };
        match format {
            Format::Json => batch.add_json(body, columns)?,
            Format::Csv => batch.add_csv(body, columns)?,
        }
        if batch.rows == 0 { Err("the input has no rows".to_owned()) } else { Ok(batch) }
    }

    /// The inputs of each row; empty slices where the model has no inputs.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[f64]> {
        let width = self.values.len() / self.rows;
        (0..self.rows).map(move |row| &self.values[row * width..(row + 1) * width])
    }

    /// What its numbers take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.values.len() * size_of::<f64>()
    }

    fn add_json(&mut self, body: &[u8], columns: &[String]) -> Result<(), String> {
        const FORMS: &str = "The input must be a JSON dictionary with exactly one of the input fields \
                             dataframe_split, dataframe_records, instances, inputs";
        // The derived reader would take an array for the fields in their order.
        if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
            return Err(format!("{FORMS}. Received a list."));
        }
        let envelope: Envelope<'_> = serde_json::from_slice(body)
            .map_err(|e| format!("Invalid input. Ensure that input is a valid JSON formatted string. Error: {e}"))?;
        match envelope {
            Envelope { dataframe_split: Some(split), dataframe_records: None, instances: None, inputs: None } => {
                self.add_split(&split, columns)
            }
            Envelope { dataframe_split: None, dataframe_records: Some(rows), instances: None, inputs: None } => {
                self.add_records(&rows, columns)
            }
            Envelope { dataframe_split: None, dataframe_records: None, instances: Some(rows), inputs: None } => {
                self.add_rows(&rows, columns)
            }
            Envelope { dataframe_split: None, dataframe_records: None, instances: None, inputs: Some(inputs) } => {
                match inputs {
                    Inputs::Rows(rows) => self.add_rows(&rows, columns),
                    Inputs::Columns(given) => self.add_columns(&given, columns),
                }
            }
            _ => Err(format!("{FORMS}.")),
        }
    }

    fn add_split(&mut self, split: &Split<'_>, columns: &[String]) -> Result<(), String> {
        let places = places(columns, |name| split.columns.iter().position(|c| c.0 == *name))?;
        for cells in &split.data {
            if cells.len() != split.columns.len() {
                let (columns, cells) = (split.columns.len(), cells.len());
                return Err(format!("row {}: {columns} columns are named, but it has {cells} values", self.rows));
            }
            self.add_row(columns, &places, |place| cells[place])?;
        }
        Ok(())
    }

    fn add_records(&mut self, rows: &[Row<'_>], columns: &[String]) -> Result<(), String> {
        match rows.iter().position(|row| matches!(row, Row::Plain(_))) {
            Some(index) => {
                Err(format!("dataframe_records: row {index} must be a dictionary of column names and values"))
            }
            None => self.add_rows(rows, columns),
        }
    }

    fn add_rows(&mut self, rows: &[Row<'_>], columns: &[String]) -> Result<(), String> {
        for row in rows {
            match row {
                Row::Named(cells) => {
                    let places = places(columns, |name| cells.iter().position(|(n, _)| n.0 == *name))?;
                    self.add_row(columns, &places, |place| cells[place].1)?;
                }
                Row::Plain(cells) => self.add_plain(cells, columns)?,
            }
        }
        Ok(())
    }

    /// A row without names: its values are the model's inputs in their order.
    fn add_plain(&mut self, cells: &[Cell], columns: &[String]) -> Result<(), String> {
        // A model without inputs takes any row.
        if !columns.is_empty() && cells.len() != columns.len() {
            let (row, got, names) = (self.rows, cells.len(), columns.join(", "));
            return Err(format!("row {row}: needs {} values ({names}), has {got}", columns.len()));
        }
        let places: Vec<usize> = (0..columns.len()).collect();
        self.add_row(columns, &places, |place| cells[place])
    }

    fn add_columns(&mut self, given: &[(Name<'_>, Row<'_>)], columns: &[String]) -> Result<(), String> {
        let mut lists = Vec::with_capacity(given.len());
        for (name, column) in given {
            match column {
                Row::Plain(cells) => lists.push(&cells[..]),
                Row::Named(_) => return Err(format!("inputs: column `{}` must be a list of values", name.0)),
            }
        }
        let rows = lists.first().map_or(0, |cells| cells.len());
        if lists.iter().any(|cells| cells.len() != rows) {
            return Err("inputs: all columns must have the same number of values".to_owned());
        }
        let places = places(columns, |name| given.iter().position(|(n, _)| n.0 == *name))?;
        (0..rows).try_for_each(|row| self.add_row(columns, &places, |place| lists[place][row]))
    }

    fn add_csv(&mut self, body: &[u8], columns: &[String]) -> Result<(), String> {
        let problem = |e: csv::Error| format!("Failed to parse input as CSV with a header line. Error: {e}");
        let mut reader = csv::Reader::from_reader(body);
        let header = reader.headers().map_err(problem)?;
        let places = places(columns, |name| header.iter().position(|c| c.trim() == name))?;
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(problem)? {
            self.add_row(columns, &places, |place| {
                Cell(record[place].trim().parse().ok().filter(|x: &f64| x.is_finite()))
            })?;
        }
        Ok(())
    }

    fn add_row(&mut self, columns: &[String], places: &[usize], cell: impl Fn(usize) -> Cell) -> Result<(), String> {
        for (column, place) in columns.iter().zip(places) {
            match cell(*place).0 {
                Some(value) => self.values.push(value),
                None => return Err(format!("row {}: column `{column}` is not a number", self.rows)),
            }
        }
        self.rows += 1;
        Ok(())
    }
}

/// Where each of the model's columns stands among the given ones.
fn places(columns: &[String], find: impl Fn(&str) -> Option<usize>) -> Result<Vec<usize>, String> {
    let places: Vec<usize> = columns.iter().filter_map(|name| find(name)).collect();
    if places.len() == columns.len() {
        return Ok(places);
    }
    let missing: Vec<&str> = columns.iter().map(String::as_str).filter(|name| find(name).is_none()).collect();
    Err(format!("Model is missing inputs {missing:?}."))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    dataframe_split: Option<Split<'a>>,
    #[serde(borrow)]
    dataframe_records: Option<Vec<Row<'a>>>,
    #[serde(borrow)]
    instances: Option<Vec<Row<'a>>>,
    #[serde(borrow)]
    inputs: Option<Inputs<'a>>,
}

#[derive(Deserialize)]
struct Split<'a> {
    #[serde(borrow)]
    columns: Vec<Name<'a>>,
    data: Vec<Vec<Cell>>,
}

/// A name that is borrowed from the body unless it has escapes in it.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// One row by name or by place. A lone value is a row of one.
enum Row<'a> {
    Named(Vec<(Name<'a>, Cell)>),
    Plain(Vec<Cell>),
}

enum Inputs<'a> {
    Columns(Vec<(Name<'a>, Row<'a>)>),
    Rows(Vec<Row<'a>>),
}

/// A number, or `None` for anything else: only a column that the model needs has to be a number.
#[derive(Clone, Copy)]
struct Cell(Option<f64>);

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E>(self, x: f64) -> Result<Cell, E> {
        Ok(Cell(Some(x)))
    }

    fn visit_u64<E>(self, x: u64) -> Result<Cell, E> {
        Ok(Cell(Some(x as f64)))
    }

    fn visit_i64<E>(self, x: i64) -> Result<Cell, E> {
        Ok(Cell(Some(x as f64)))
    }

    fn visit_bool<E>(self, x: bool) -> Result<Cell, E> {
        Ok(Cell(Some(f64::from(u8::from(x)))))
    }

    fn visit_str<E>(self, _: &str) -> Result<Cell, E> {
        Ok(Cell(None))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cell, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell(None))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Row<'a>, D::Error> {
        deserializer.deserialize_any(RowVisitor)
    }
}

struct RowVisitor;

/// A lone value where a row may stand.
fn lone<'de, E>(value: Option<f64>) -> Result<Row<'de>, E> {
    Ok(Row::Plain(vec![Cell(value)]))
}

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dictionary, a list or a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Row<'de>, A::Error> {
        entries(map).map(Row::Named)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Row<'de>, A::Error> {
        elements(list).map(Row::Plain)
    }

    fn visit_f64<E>(self, x: f64) -> Result<Row<'de>, E> {
        lone(Some(x))
    }

    fn visit_u64<E>(self, x: u64) -> Result<Row<'de>, E> {
        lone(Some(x as f64))
    }

    fn visit_i64<E>(self, x: i64) -> Result<Row<'de>, E> {
        lone(Some(x as f64))
    }

    fn visit_bool<E>(self, x: bool) -> Result<Row<'de>, E> {
        lone(Some(f64::from(u8::from(x))))
    }

    fn visit_str<E>(self, _: &str) -> Result<Row<'de>, E> {
        lone(None)
    }

    fn visit_unit<E>(self) -> Result<Row<'de>, E> {
        lone(None)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Inputs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inputs<'a>, D::Error> {
        deserializer.deserialize_any(InputsVisitor)
    }
}

struct InputsVisitor;

impl<'de> Visitor<'de> for InputsVisitor {
    type Value = Inputs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dictionary of columns or a list of rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Inputs<'de>, A::Error> {
        entries(map).map(Inputs::Columns)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Inputs<'de>, A::Error> {
        elements(list).map(Inputs::Rows)
    }
}

fn entries<'de, T: Deserialize<'de>, A: MapAccess<'de>>(mut map: A) -> Result<Vec<(Name<'de>, T)>, A::Error> {
    let mut entries = Vec::with_capacity(8);
    while let Some(entry) = map.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn elements<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<T>, A::Error> {
    let mut elements = Vec::with_capacity(8);
    while let Some(element) = list.next_element()? {
        elements.push(element);
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<String> {
        ["id", "x"].map(str::to_owned).to_vec()
    }

    fn json(body: &str) -> Result<Batch, String> {
        Batch::parse(Format::Json, body.as_bytes(), &columns())
    }

    #[test]
    fn all_forms_say_the_same() {
        let expected = Batch { rows: 2, values: vec![7.0, 1.5, 8.0, -2.0] };
        for body in [
            r#"{"dataframe_split": {"index": [0, 1], "columns": ["x", "name", "id"], "data": [[1.5, "a", 7], [-2, null, 8]]}}"#,
            r#"{"dataframe_records": [{"x": 1.5, "id": 7, "name": "a"}, {"id": 8, "x": -2}]}"#,
            r#"{"instances": [{"id": 7, "x": 1.5}, {"\u0069d": 8, "x": -2}]}"#,
            r#"{"instances": [[7, 1.5], [8, -2]], "params": {"a": [1]}}"#,
            r#"{"inputs": {"x": [1.5, -2], "id": [7, 8], "name": ["a", {}]}}"#,
            r#"{"inputs": [[7, 1.5], [8, -2]]}"#,
            r#"{"inputs": [{"id": 7, "x": 1.5}, {"id": 8, "x": -2.0}], "instances": null}"#,
        ] {
            assert_eq!(json(body).as_ref(), Ok(&expected), "{body}");
        }
        let csv = b",x,id\n0,1.5,7\n1, -2,8\n";
        assert_eq!(Batch::parse(Format::Csv, csv, &columns()), Ok(expected));
    }

    #[test]
    fn lone_values_and_truth() {
        assert_eq!(json(r#"{"inputs": {"id": 7, "x": true}}"#).unwrap().values, [7.0, 1.0]);
        let none: Vec<String> = Vec::new();
        let count = |body: &[u8]| Batch::parse(Format::Json, body, &none).unwrap().rows;
        assert_eq!(count(br#"{"instances": [1, 2.5, true, -1, [], {"a": 0}]}"#), 6);
        assert_eq!(count(br#"{"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}"#), 2);
    }

    #[test]
    fn says_what_is_wrong() {
        for (body, expected) in [
            ("", "EOF while parsing"),
            ("{", "EOF while parsing"),
            ("[1]", "Received a list"),
            ("7", "invalid type"),
            ("{}", "exactly one of"),
            (r#"{"instances": [[1, 2]], "inputs": [[1, 2]]}"#, "exactly one of"),
            (r#"{"instances": [[1, 2]]} x"#, "trailing characters"),
            (r#"{"instances": []}"#, "no rows"),
            (r#"{"inputs": {}}"#, "Model is missing inputs [\"id\", \"x\"]"),
            (r#"{"instances": [[1]]}"#, "row 0: needs 2 values (id, x), has 1"),
            (r#"{"instances": [[1, "a"]]}"#, "row 0: column `x` is not a number"),
            (r#"{"instances": [[1, 1e999]]}"#, "number out of range"),
            (r#"{"dataframe_records": [{"id": 1, "x": 2}, {"id": 1}]}"#, "Model is missing inputs [\"x\"]"),
            (r#"{"dataframe_records": [{"id": 1, "x": 2}, {"id": 1, "x": null}]}"#, "row 1: column `x` is not"),
            (r#"{"dataframe_records": [[1, 2]]}"#, "row 0 must be a dictionary"),
            (r#"{"dataframe_split": {"columns": ["id", "x"], "data": [[1]]}}"#, "row 0: 2 columns are named"),
            (r#"{"dataframe_split": {"data": [[1, 2]]}}"#, "missing field `columns`"),
            (r#"{"inputs": {"id": [1, 2], "x": [1]}}"#, "same number of values"),
            (r#"{"inputs": {"id": [1], "x": {"a": 1}}}"#, "column `x` must be a list"),
        ] {
            let problem = json(body).unwrap_err();
            assert!(problem.contains(expected), "{body}: {problem}");
        }
        for (body, expected) in [
            ("id,x\n", "no rows"),
            ("id\n1\n", "missing inputs"),
            ("id,x\n1,2,3\n", "Failed to parse input as CSV"),
            ("id,x\n1,nan\n", "row 0: column `x` is not a number"),
            ("", "missing inputs"),
        ] {
            let problem = Batch::parse(Format::Csv, body.as_bytes(), &columns()).unwrap_err();
            assert!(problem.contains(expected), "{body:?}: {problem}");
        }
    }

    #[test]
    fn content_types() {
        assert_eq!(Format::of(None), Some(Format::Json));
        assert_eq!(Format::of(Some("application/json; charset=UTF-8")), Some(Format::Json));
        assert_eq!(Format::of(Some("Text/CSV")), Some(Format::Csv));
        for other in ["text/plain", "application/json; charset=latin1", "application/jsonl", ""] {
            assert_eq!(Format::of(Some(other)), None, "{other}");
        }
    }
}
