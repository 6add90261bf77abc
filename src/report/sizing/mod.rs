//! A search for capacity: one model, rendered to files. Renderers see the model and nothing else.

mod chart;
pub mod model;
mod render;

use std::io;
use std::path::{Path, PathBuf};

use model::{SCHEMA, Sizing};
pub use render::{markdown, text};

use super::store::write_whole;

/// The result file's name.
pub const FILE: &str = "capacity.json";

/// Every file as (path relative to its directory, bytes), the result file first.
pub fn render(sizing: &Sizing) -> Vec<(String, Vec<u8>)> {
    let charts: Vec<_> = chart::curve(sizing).into_iter().collect();
    let mut files = vec![
        (FILE.to_owned(), json(sizing).into_bytes()),
        ("junit.xml".to_owned(), render::junit(sizing).into_bytes()),
        ("summary.md".to_owned(), markdown(sizing).into_bytes()),
        ("report.html".to_owned(), render::html(sizing, &charts).into_bytes()),
    ];
    for chart in &charts {
        files.push((format!("charts/{}.svg", chart.name), super::html::svg_file(chart).into_bytes()));
        files.push((format!("charts/{}.png", chart.name), super::png::encode(&chart.picture)));
    }
    files
}

/// Writes every file into `dir`.
///
/// # Errors
/// Names the file that could not be written.
pub fn save(dir: &Path, sizing: &Sizing) -> io::Result<()> {
    render(sizing).iter().try_for_each(|(name, bytes)| write_whole(&dir.join(name), bytes))
}

/// The result file of a folder; none where it is not that of a search.
pub fn result_file(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(FILE)).filter(|path| path.is_file())
}

/// Reads a saved search.
///
/// # Errors
/// In words: it cannot be read, or has another schema.
pub fn load(path: &Path) -> Result<Sizing, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|e| format!("{shown}: {e}"))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| format!("{shown}: broken: {e}"))?;
    if value["schema"] != SCHEMA {
        return Err(format!("{shown}: not of schema `{SCHEMA}`"));
    }
    serde_json::from_value(value).map_err(|e| format!("{shown}: not whole: {e}"))
}

/// The result file's text.
pub fn json(sizing: &Sizing) -> String {
    let mut text = serde_json::to_string_pretty(sizing).expect("the model has string keys only");
    text.push('\n');
    text
}

/// JSON Schema (draft 2020-12) of `capacity.json`.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Sizing).to_value();
    schema["$id"] = SCHEMA.into();
    schema["title"] = "A search for capacity by resbench".into();
    schema
}
