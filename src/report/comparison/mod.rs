//! Comparisons and gates: one model, rendered to files. Renderers see the model and nothing else.

mod charts;
mod html;
mod junit;
mod markdown;
pub mod model;
mod nights;
pub mod side;
pub mod text;

use std::io;
use std::path::{Path, PathBuf};

pub use markdown::markdown;
use model::{COMPARE, Comparison, GATE};

use super::store::write_whole;

/// The name of the result file of a schema.
pub fn file_name(schema: &str) -> &'static str {
    if schema == GATE { "gate.json" } else { "compare.json" }
}

/// Every file of a comparison as (path relative to its directory, bytes), the result file first.
pub fn render(comparison: &Comparison) -> Vec<(String, Vec<u8>)> {
    let charts = charts::all(comparison);
    let mut files = vec![
        (file_name(&comparison.schema).to_owned(), json(comparison).into_bytes()),
        ("junit.xml".to_owned(), junit::junit(comparison).into_bytes()),
        ("summary.md".to_owned(), markdown(comparison).into_bytes()),
        ("report.html".to_owned(), html::html(comparison, &charts).into_bytes()),
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
pub fn save(dir: &Path, comparison: &Comparison) -> io::Result<()> {
    render(comparison).iter().try_for_each(|(name, bytes)| write_whole(&dir.join(name), bytes))
}

/// The result file of a folder; none where it is not the folder of a comparison.
pub fn result_file(dir: &Path) -> Option<PathBuf> {
    [COMPARE, GATE].map(|schema| dir.join(file_name(schema))).into_iter().find(|path| path.is_file())
}

/// Reads a saved comparison.
///
/// # Errors
/// In words: it cannot be read, or has another schema.
pub fn load(path: &Path) -> Result<Comparison, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: String,
    }
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|e| format!("{shown}: {e}"))?;
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| format!("{shown}: not a comparison: {e}"))?;
    if ![COMPARE, GATE].contains(&head.schema.as_str()) {
        let schema = super::format::short(&head.schema, 60);
        return Err(format!("{shown}: has schema `{schema}`, this resbench reads `{COMPARE}` and `{GATE}`"));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("{shown}: not a whole comparison: {e}"))
}

/// The result file's text.
pub fn json(comparison: &Comparison) -> String {
    let mut text = serde_json::to_string_pretty(comparison).expect("the model has string keys only");
    text.push('\n');
    text
}

/// JSON Schema (draft 2020-12) of `compare.json`; `gate.json` has the same keys.
pub fn schema(gate: bool) -> serde_json::Value {
    let mut schema = schemars::schema_for!(Comparison).to_value();
    schema["$id"] = if gate { GATE } else { COMPARE }.into();
    schema["title"] = if gate { "A gate of resbench" } else { "A comparison of resbench" }.into();
    schema
}
