//! Reports: one versioned model, rendered to files. Renderers see the model and nothing else.
//!
//! ```text
//! model ── story, findings, playbook, format ──→ text · markdown · html (charts) · junit · csv
//!   └──── store: run.json and back            hlog: written once, while the histograms are at hand
//! ```
//!
//! Every renderer is a pure function; the same report gives the same bytes. [`render`] lists the files of a run.

mod altered;
mod budget;
pub mod build;
mod charts;
pub mod comparison;
mod course;
mod csv;
pub mod findings;
pub mod format;
pub mod gameday;
pub mod history;
pub mod hlog;
mod html;
mod junit;
mod markdown;
pub mod model;
pub mod playbook;
mod png;
pub mod rates;
mod repeats;
pub mod result_file;
pub mod sizing;
pub mod store;
mod story;
pub mod text;

pub use markdown::markdown;
use model::Report;

/// Every file that is rendered from the report, as (path relative to the run's directory, bytes), `run.json` first.
pub fn render(report: &Report) -> Vec<(String, Vec<u8>)> {
    let charts = charts::all(report);
    let mut files = vec![
        ("run.json".to_owned(), json(report)),
        ("windows.csv".to_owned(), csv::windows(report)),
        ("phases.csv".to_owned(), csv::phases(report)),
        ("junit.xml".to_owned(), junit::junit(report).into_bytes()),
        ("summary.md".to_owned(), markdown(report).into_bytes()),
        ("report.html".to_owned(), html::html(report, &charts).into_bytes()),
    ];
    for chart in &charts {
        files.push((format!("charts/{}.svg", chart.name), html::svg_file(chart).into_bytes()));
        files.push((format!("charts/{}.png", chart.name), png::encode(&chart.picture)));
    }
    files
}

/// JSON Schema (draft 2020-12) of `run.json`, made from the types; `run.schema.json` beside this file is its text.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    schema["$id"] = model::SCHEMA.into();
    schema["title"] = "A run of resbench".into();
    schema
}

fn json(report: &Report) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(report).expect("the model has string keys only");
    bytes.push(b'\n');
    bytes
}
