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

use super::result_file::{self, ResultFile, chart_files};

impl ResultFile for Comparison {
    const WHAT: &'static str = "comparison";
    const FILES: &'static [(&'static str, &'static str)] = &[(COMPARE, "compare.json"), (GATE, "gate.json")];

    fn schema(&self) -> &str {
        &self.schema
    }

    fn rendered(&self) -> Vec<(String, Vec<u8>)> {
        let charts = charts::all(self);
        let mut files = vec![
            ("junit.xml".to_owned(), junit::junit(self).into_bytes()),
            ("summary.md".to_owned(), markdown(self).into_bytes()),
            ("report.html".to_owned(), html::html(self, &charts).into_bytes()),
        ];
        files.extend(chart_files(&charts));
        files
    }
}

/// Writes every file into `dir`.
///
/// # Errors
/// Names the file that could not be written.
pub fn save(dir: &Path, comparison: &Comparison) -> io::Result<()> {
    result_file::save(dir, comparison)
}

/// The result file of a folder; none where it is not the folder of a comparison.
pub fn result_file(dir: &Path) -> Option<PathBuf> {
    result_file::find::<Comparison>(dir)
}

/// Reads a saved comparison.
///
/// # Errors
/// In words: it cannot be read, or has another schema.
pub fn load(path: &Path) -> Result<Comparison, String> {
    result_file::load(path)
}

/// The result file's text.
pub fn json(comparison: &Comparison) -> String {
    result_file::json(comparison)
}

/// JSON Schema (draft 2020-12) of `compare.json`; `gate.json` has the same keys.
pub fn schema(gate: bool) -> serde_json::Value {
    match gate {
        true => result_file::schema::<Comparison>(GATE, "A gate of resbench"),
        false => result_file::schema::<Comparison>(COMPARE, "A comparison of resbench"),
    }
}
