//! A search for capacity: one model, rendered to files. Renderers see the model and nothing else.

mod chart;
pub mod model;
mod render;

use std::io;
use std::path::{Path, PathBuf};

use model::{SCHEMA, Sizing};
pub use render::{markdown, text};

use super::result_file::{self, ResultFile, chart_files};

/// The result file's name.
pub const FILE: &str = "capacity.json";

impl ResultFile for Sizing {
    const WHAT: &'static str = "search for capacity";
    const FILES: &'static [(&'static str, &'static str)] = &[(SCHEMA, FILE)];

    fn schema(&self) -> &str {
        &self.schema
    }

    fn rendered(&self) -> Vec<(String, Vec<u8>)> {
        let charts: Vec<_> = chart::curve(self).into_iter().collect();
        let mut files = vec![
            ("junit.xml".to_owned(), render::junit(self).into_bytes()),
            ("summary.md".to_owned(), markdown(self).into_bytes()),
            ("report.html".to_owned(), render::html(self, &charts).into_bytes()),
        ];
        files.extend(chart_files(&charts));
        files
    }
}

/// Writes every file into `dir`.
///
/// # Errors
/// Names the file that could not be written.
pub fn save(dir: &Path, sizing: &Sizing) -> io::Result<()> {
    result_file::save(dir, sizing)
}

/// The result file of a folder; none where it is not that of a search.
pub fn result_file(dir: &Path) -> Option<PathBuf> {
    result_file::find::<Sizing>(dir)
}

/// Reads a saved search.
///
/// # Errors
/// In words: it cannot be read, or has another schema.
pub fn load(path: &Path) -> Result<Sizing, String> {
    result_file::load(path)
}

/// The result file's text.
pub fn json(sizing: &Sizing) -> String {
    result_file::json(sizing)
}

/// JSON Schema (draft 2020-12) of `capacity.json`.
pub fn schema() -> serde_json::Value {
    result_file::schema::<Sizing>(SCHEMA, "A search for capacity by resbench")
}
