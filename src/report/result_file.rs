//! What results of many runs have in common: one JSON file that everything else in their folder is rendered from.
//!
//! Owns saving, finding, reading and the schema of such a file. What is in it, and how it is shown, is the result's own.

use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::charts::Chart;
use super::store::write_whole;

/// A result of many runs.
pub trait ResultFile: Serialize + DeserializeOwned + JsonSchema {
    /// What it is, in words: `comparison`.
    const WHAT: &'static str;
    /// The schemas that it may have, each with the name of its file.
    const FILES: &'static [(&'static str, &'static str)];

    /// Its own schema, one of those.
    fn schema(&self) -> &str;

    /// Every file beside it, as (path relative to its folder, bytes), rendered from it alone.
    fn rendered(&self) -> Vec<(String, Vec<u8>)>;
}

/// Every file of a result, its own first.
pub fn render<R: ResultFile>(result: &R) -> Vec<(String, Vec<u8>)> {
    let own = R::FILES.iter().find(|(schema, _)| *schema == result.schema()).unwrap_or(&R::FILES[0]).1;
    let mut files = vec![(own.to_owned(), json(result).into_bytes())];
    files.extend(result.rendered());
    files
}

/// Writes every file into `dir`.
///
/// # Errors
/// Names the file that could not be written.
pub fn save<R: ResultFile>(dir: &Path, result: &R) -> io::Result<()> {
    render(result).iter().try_for_each(|(name, bytes)| write_whole(&dir.join(name), bytes))
}

/// The result file of a folder; none where it is not the folder of such a result.
pub fn find<R: ResultFile>(dir: &Path) -> Option<PathBuf> {
    R::FILES.iter().map(|(_, file)| dir.join(file)).find(|path| path.is_file())
}

/// Reads a saved result.
///
/// # Errors
/// In words: it cannot be read, has another schema, or lacks a key.
pub fn load<R: ResultFile>(path: &Path) -> Result<R, String> {
    let (shown, what) = (path.display(), R::WHAT);
    let bytes = std::fs::read(path).map_err(|e| format!("{shown}: {e}"))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| format!("{shown}: not a {what}: {e}"))?;
    let schema = value["schema"].as_str().unwrap_or_default();
    if !R::FILES.iter().any(|(known, _)| *known == schema) {
        let known: Vec<String> = R::FILES.iter().map(|(known, _)| format!("`{known}`")).collect();
        let (schema, known) = (super::format::short(schema, 60), known.join(" and "));
        return Err(format!("{shown}: has schema `{schema}`, this resbench reads {known}"));
    }
    serde_json::from_value(value).map_err(|e| format!("{shown}: not a whole {what}: {e}"))
}

/// The result file's text.
pub fn json<R: ResultFile>(result: &R) -> String {
    let mut text = serde_json::to_string_pretty(result).expect("the model has string keys only");
    text.push('\n');
    text
}

/// JSON Schema (draft 2020-12) of a result file.
pub fn schema<R: ResultFile>(id: &str, title: &str) -> serde_json::Value {
    let mut schema = schemars::schema_for!(R).to_value();
    schema["$id"] = id.into();
    schema["title"] = title.into();
    schema
}

/// Charts as files of their own.
pub(super) fn chart_files(charts: &[Chart]) -> impl Iterator<Item = (String, Vec<u8>)> {
    charts.iter().flat_map(|chart| {
        [
            (format!("charts/{}.svg", chart.name), super::html::svg_file(chart).into_bytes()),
            (format!("charts/{}.png", chart.name), super::png::encode(&chart.picture)),
        ]
    })
}
