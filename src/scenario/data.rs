//! Files that a scenario names: datasets, bodies, traces.
//!
//! Owns reading them within the limits, and saying which line is wrong. Leaves alone what is sent of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::limits;
use super::words;
use crate::plan::Dataset;

/// What is wrong with a file, and what to write instead.
pub(super) type Wrong = (String, String);

/// A whole text file of at most [`limits::DATA_BYTES`].
pub(super) fn read(path: &Path, shown: &str) -> Result<String, Wrong> {
    let cannot = |e: std::io::Error| {
        let help = "paths are relative to the scenario file; check the name".to_owned();
        (format!("cannot read `{shown}`: {}", plain_error(&e)), help)
    };
    // Asked before opening: opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err((format!("`{shown}` is not a file"), "name a file".into()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(limits::DATA_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > limits::DATA_BYTES {
        let help = format!("use a sample of at most {} MB: it is held in memory", limits::DATA_BYTES / 1_000_000);
        return Err((format!("`{shown}` is too large"), help));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = line_of(e.as_bytes(), e.utf8_error().valid_up_to());
        (format!("`{shown}` line {line}: not UTF-8"), "save the file as UTF-8".into())
    })
}

/// Line of a byte, from 1.
pub(super) fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|b| **b == b'\n').count() + 1
}

/// An IO error without its number.
pub(super) fn plain_error(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => e.to_string(),
    }
}

/// Reads a CSV file with a header. Also returns what a careful reader should know.
///
/// Cells of numeric columns are rewritten as JSON numbers where they are not (`.5`, `+1`), so that they can be sent as
/// they stand. A leading zero, as in a postcode, makes a column text.
pub(super) fn dataset(path: &Path, shown: &str, label: Option<&str>) -> Result<(Dataset, Vec<String>), Wrong> {
    let text = read(path, shown)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let unreadable =
        |e: csv::Error| (format!("`{shown}` is not CSV: {e}"), "write a header line, then rows".to_owned());
    let mut columns: Vec<String> = reader.headers().map_err(unreadable)?.iter().map(|c| c.trim().to_owned()).collect();
    check_columns(&columns, shown)?;
    let label_at = label.map(|label| label_column(&columns, label, shown)).transpose()?;
    let width = columns.len();
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        if record.len() != width {
            let line = record.position().map_or(0, csv::Position::line);
            let message = format!("`{shown}` line {line}: {} cells, but the header has {width}", record.len());
            return Err((message, "give each row one cell per column; put cells with commas in quotes".into()));
        }
        if rows.len() >= limits::DATA_ROWS {
            return Err((format!("`{shown}` has too many rows"), format!("keep at most {}", limits::DATA_ROWS)));
        }
        let mut row: Vec<String> = record.iter().map(str::to_owned).collect();
        labels.extend(label_at.map(|at| row.remove(at)));
        rows.push(row);
    }
    if rows.is_empty() {
        return Err((format!("`{shown}` has no rows"), "add at least one row below the header".into()));
    }
    if let Some(at) = label_at {
        columns.remove(at);
    }
    let (numeric, mut notes) = numeric_columns(&columns, &mut rows, shown);
    if let Some(label) = label {
        let missing = labels.iter().filter(|l| l.trim().is_empty()).count();
        if missing == labels.len() {
            return Err((
                format!("`{shown}`: the column `{label}` is empty"),
                "name the column that holds the answers".into(),
            ));
        }
        if missing > 0 {
            let of = labels.len();
            notes.push(format!("{shown}: {missing} of {of} rows have no `{label}`; their answers are in no accuracy"));
        }
    }
    Ok((Dataset { columns, rows, labels: label.map(|_| labels), numeric }, notes))
}

fn check_columns(columns: &[String], shown: &str) -> Result<(), Wrong> {
    if columns.iter().all(String::is_empty) {
        return Err((format!("`{shown}` is empty"), "write a header line with column names, then rows".into()));
    }
    for (i, column) in columns.iter().enumerate() {
        if column.is_empty() {
            return Err((format!("`{shown}`: column {} has no name", i + 1), "name every column in the header".into()));
        }
        if columns[..i].contains(column) {
            return Err((format!("`{shown}`: two columns are called `{column}`"), "rename one of them".into()));
        }
    }
    Ok(())
}

fn label_column(columns: &[String], label: &str, shown: &str) -> Result<usize, Wrong> {
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let at = names.iter().position(|c| *c == label).ok_or_else(|| {
        (format!("`{shown}` has no column `{label}`"), words::did_you_mean(label, &names, "its columns"))
    })?;
    if columns.len() == 1 {
        return Err((format!("`{shown}` has only the label, nothing to send"), "add feature columns".into()));
    }
    Ok(at)
}

/// Which columns hold numbers, and nothing else but empty cells; their cells become JSON numbers. What keeps a column of numbers
/// from being one is told with its place.
fn numeric_columns(columns: &[String], rows: &mut [Vec<String>], shown: &str) -> (Vec<bool>, Vec<String>) {
    let mut notes = Vec::new();
    let numeric = columns.iter().enumerate().map(|(c, column)| {
        let empty = rows.iter().filter(|r| r[c].trim().is_empty()).count();
        let numbers = rows.iter().filter(|r| json_number(&r[c]).is_some()).count();
        let texts = rows.len() - empty - numbers;
        let cells = |n: usize| if n == 1 { "1 cell".to_owned() } else { format!("{n} cells") };
        if texts == 0 && empty > 0 && numbers > 0 {
            notes.push(format!(
                "{shown}: `{column}` has {} without a number; they are sent as null (in tensors of bytes as NaN)",
                cells(empty)
            ));
        }
        // A few among many are a mistake, not a column of texts.
        if texts > 0 && numbers > 9 * texts {
            let is_text = |r: &Vec<String>| !r[c].trim().is_empty() && json_number(&r[c]).is_none();
            let row = rows.iter().position(is_text).unwrap_or_default();
            let cell = super::tree::shortened(&rows[row][c]);
            notes.push(format!(
                "{shown}: `{column}` has {} of text among numbers (first in row {}: `{cell}`), so all of it is sent as text",
                cells(texts),
                row + 1
            ));
        }
        numbers > 0 && texts == 0
    });
    let numeric: Vec<bool> = numeric.collect();
    for row in rows {
        for (cell, _) in row.iter_mut().zip(&numeric).filter(|(_, n)| **n) {
            if let Some(number) = json_number(cell).filter(|n| n != cell) {
                *cell = number;
            }
        }
    }
    (numeric, notes)
}

/// A cell as a JSON number; none when it is no finite number, or has leading zeros as codes have.
fn json_number(cell: &str) -> Option<String> {
    let cell = cell.trim();
    let first = cell.trim_start_matches(['+', '-']);
    if !cell.ends_with(|c: char| c.is_ascii_digit() || c == '.')
        || !first.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return None;
    }
    if first.len() > 1 && first.starts_with('0') && first.as_bytes()[1].is_ascii_digit() {
        return None;
    }
    let value: f64 = cell.parse().ok().filter(|x: &f64| x.is_finite())?;
    let as_it_is = serde_json::from_str::<serde_json::Number>(cell).is_ok();
    Some(if as_it_is { cell.to_owned() } else { value.to_string() })
}

/// Reads a JSON Lines file; empty lines are left out.
pub(super) fn lines(path: &Path, shown: &str) -> Result<Vec<String>, Wrong> {
    let text = read(path, shown)?;
    let mut bodies = Vec::new();
    for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        if let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(line) {
            // The parser counts within its one line, which would be mistaken for the file's.
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            let message = format!("`{shown}` line {}: not JSON: {what}", n + 1);
            return Err((message, "write one JSON value a line".into()));
        }
        if bodies.len() >= limits::DATA_ROWS {
            return Err((format!("`{shown}` has too many lines"), format!("keep at most {}", limits::DATA_ROWS)));
        }
        bodies.push(line.to_owned());
    }
    if bodies.is_empty() {
        return Err((format!("`{shown}` is empty"), "write one JSON value a line".into()));
    }
    Ok(bodies)
}

/// Reads arrival times in seconds from the first column, divided by `scale`, as nanoseconds. Later ones than `end` are
/// left out and counted.
pub(super) fn trace(path: &Path, shown: &str, scale: f64, end: u64) -> Result<(Vec<u64>, usize), Wrong> {
    let text = read(path, shown)?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let (mut times, mut beyond, mut last) = (Vec::new(), 0, 0.0);
    for (n, record) in reader.records().enumerate() {
        let record = record.map_err(|e| (format!("`{shown}` is not CSV: {e}"), "write one time a line".into()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = record.get(0).unwrap_or_default().trim();
        let seconds = match cell.parse::<f64>() {
            Ok(x) if x.is_finite() && x >= 0.0 => x,
            // Words in the first line are its header.
            Err(_) if n == 0 => continue,
            _ => {
                let message = format!("`{shown}` line {line}: `{}` is not a time", super::tree::shortened(cell));
                return Err((message, "write seconds from the phase's start, 0 or more, for example 0.125".into()));
            }
        };
        if seconds < last {
            let message = format!("`{shown}` line {line}: {seconds} comes after {last}");
            return Err((message, "sort the times, earliest first".into()));
        }
        last = seconds;
        let nanos = seconds / scale * 1e9;
        if nanos >= end as f64 {
            beyond += 1;
        } else if times.len() >= limits::TRACE_ROWS {
            return Err((format!("`{shown}` has too many arrivals"), format!("keep at most {}", limits::TRACE_ROWS)));
        } else {
            times.push(nanos as u64);
        }
    }
    if times.is_empty() {
        let message = format!("`{shown}` has no arrivals within the phase");
        return Err((message, "write times in seconds from the phase's start, one a line".into()));
    }
    Ok((times, beyond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_json_numbers() {
        for (cell, wanted) in [
            ("1", Some("1")),
            ("-1.5e3", Some("-1.5e3")),
            (" 2 ", Some("2")),
            (".5", Some("0.5")),
            ("+1", Some("1")),
            ("3.", Some("3")),
            ("0", Some("0")),
            ("007", None),
            ("inf", None),
            ("nan", None),
            ("1e999", None),
            ("", None),
            ("x1", None),
        ] {
            assert_eq!(json_number(cell).as_deref(), wanted, "{cell:?}");
        }
    }
}
