//! A game day: the scenarios of a folder, one after another, in one report. One model, rendered to files; renderers see the model and
//! nothing else.

pub mod model;
pub mod of_run;
mod render;

use super::result_file::ResultFile;
use model::{GameDay, SCHEMA};
pub use render::{markdown, text};

impl ResultFile for GameDay {
    const WHAT: &'static str = "game day";
    const FILES: &'static [(&'static str, &'static str)] = &[(SCHEMA, "game-day.json")];

    fn schema(&self) -> &str {
        &self.schema
    }

    fn rendered(&self) -> Vec<(String, Vec<u8>)> {
        vec![
            ("junit.xml".to_owned(), render::junit(self).into_bytes()),
            ("summary.md".to_owned(), markdown(self).into_bytes()),
            ("report.html".to_owned(), render::html(self).into_bytes()),
        ]
    }
}
