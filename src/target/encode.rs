//! Rows into a body, in the target's protocol. All of it happens before the run.
//!
//! Owns the choice of the protocol's file, and how a cell becomes a JSON value; leaves alone which rows go together (`mod.rs`).

use std::sync::Arc;

use crate::plan::{Chat, Dataset, Encoding, Plan, Protocol, Template};
use crate::target::{http, mlflow, open_inference, openai, template, tf_serving};

/// Writes rows of one dataset.
#[derive(Debug)]
pub struct Encoder<'a> {
    protocol: Protocol,
    encoding: &'a Encoding,
    chat: Option<&'a Chat>,
    template: Option<&'a Arc<Template>>,
    table: &'a Dataset,
    /// Columns of whole numbers without a gap.
    whole: Vec<bool>,
}

impl<'a> Encoder<'a> {
    /// For this plan's target and that dataset.
    pub fn new(plan: &'a Plan, table: &'a Dataset) -> Encoder<'a> {
        let whole = (0..table.columns.len()).map(|c| table.numeric.get(c) == Some(&true) && table.whole(c)).collect();
        Encoder::with(plan, table, whole)
    }

    /// For a dataset whose rows are elsewhere; `whole` tells its columns of whole numbers.
    pub(super) fn with(plan: &'a Plan, table: &'a Dataset, whole: Vec<bool>) -> Encoder<'a> {
        Encoder {
            protocol: plan.target.protocol,
            encoding: &plan.target.encoding,
            chat: plan.target.chat.as_ref(),
            template: plan.traffic.template.as_ref(),
            table,
            whole,
        }
    }

    /// Appends a body of these rows, each as wide as the dataset. Where bytes follow the JSON, says how long the JSON is.
    pub fn write(&self, rows: &[&[String]], out: &mut Vec<u8>) -> Option<usize> {
        match self.protocol {
            Protocol::Mlflow => mlflow::encode(self.encoding.form, self.table, rows, out),
            Protocol::TfServing => tf_serving::encode(self.encoding, self.table, rows, out),
            Protocol::OpenInference => {
                return open_inference::encode(self.encoding, self.table, &self.whole, rows, out);
            }
            Protocol::Http => match self.template {
                Some(template) => template::fill(template, self.table, rows, out),
                None => http::encode(self.table, rows, out),
            },
            Protocol::Openai => {
                let chat = self.chat.expect("rows of this protocol come with a model");
                rows.iter().for_each(|row| openai::encode(chat, self.table, row, out));
            }
        }
        None
    }

    /// The `content-type` of what is written.
    pub fn content_type(&self) -> &'static str {
        content_type(self.protocol, self.encoding)
    }
}

/// The `content-type` of bodies in this protocol.
pub(super) fn content_type(protocol: Protocol, encoding: &Encoding) -> &'static str {
    let binary = protocol == Protocol::OpenInference && encoding.form == crate::plan::Form::Binary;
    if binary { "application/octet-stream" } else { "application/json" }
}

/// Appends one cell as JSON: a number where the column is numeric, else a string; an empty cell is null.
pub(super) fn cell(table: &Dataset, column: usize, cell: &str, out: &mut Vec<u8>) {
    let trimmed = cell.trim();
    if trimmed.is_empty() {
        out.extend_from_slice(b"null");
    } else if table.numeric.get(column) == Some(&true) {
        // A column is numeric when every cell parses as f64; JSON wants neither a leading `+` nor `.5`.
        // Whole numbers keep all of their digits: a key of 64 bits is not what a float makes of it.
        let whole =
            trimmed.parse::<i64>().map(|n| n.to_string()).or_else(|_| trimmed.parse::<u64>().map(|n| n.to_string()));
        match whole {
            Ok(n) => out.extend_from_slice(n.as_bytes()),
            Err(_) => {
                serde_json::to_writer(&mut *out, &trimmed.parse::<f64>().unwrap_or(f64::NAN))
                    .expect("writing to memory");
            }
        }
    } else {
        text(cell, out);
    }
}

/// Appends a text as a JSON string.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory");
}

/// Appends what `each` makes of every item, commas between.
pub(super) fn list<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, mut each: impl FnMut(T, &mut Vec<u8>)) {
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        each(item, out);
    }
}

/// Appends `{"column":cell,…}`.
pub(super) fn record(table: &Dataset, row: &[String], out: &mut Vec<u8>) {
    out.push(b'{');
    list(row.iter().enumerate(), out, |(column, value), out| {
        text(&table.columns[column], out);
        out.push(b':');
        cell(table, column, value, out);
    });
    out.push(b'}');
}

/// Appends `[cell,…]`.
pub(super) fn cells(table: &Dataset, row: &[String], out: &mut Vec<u8>) {
    out.push(b'[');
    list(row.iter().enumerate(), out, |(column, value), out| cell(table, column, value, out));
    out.push(b']');
}

/// Appends `{"column":[cell,…],…}`, one value of each list for each row.
pub(super) fn columns(table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    out.push(b'{');
    list(table.columns.iter().enumerate(), out, |(column, name), out| {
        text(name, out);
        out.extend_from_slice(b":[");
        list(rows, out, |row, out| cell(table, column, &row[column], out));
        out.push(b']');
    });
    out.push(b'}');
}
