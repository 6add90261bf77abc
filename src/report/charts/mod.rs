//! Charts: each is drawn once, as a [`Picture`], and then written as an SVG file, as a PNG and inside the HTML.
//!
//! A chart is a pure function from the report to shapes in CSS pixels. All of them share one time axis
//! (`frame.rs`), one list of inks (`ink.rs`) and one way to join windows (`columns.rs`).

pub(super) mod columns;
mod compliance;
pub(super) mod frame;
mod heatmap;
pub(super) mod ink;
mod nines;
mod picture;
mod quality;
mod scrapes;
mod svg;
pub(super) mod timeline;

pub(super) use picture::{Align, Picture, Point, TITLE};
pub(super) use svg::escape;

use crate::report::model::Report;

/// A chart with the words that stand beside it.
pub(super) struct Chart {
    /// File name without ending, and the id in the HTML.
    pub(super) name: &'static str,
    /// Heading.
    pub(super) title: &'static str,
    /// What one sees, for people who do not see it.
    pub(super) description: String,
    /// The shapes.
    pub(super) picture: Picture,
}

/// Every chart that has something to show.
pub(super) fn all(report: &Report) -> Vec<Chart> {
    [
        timeline::draw(report),
        scrapes::draw(report),
        quality::draw(report),
        compliance::draw(report),
        nines::draw(report),
        heatmap::draw(report),
    ]
    .into_iter()
    .flatten()
    .collect()
}
