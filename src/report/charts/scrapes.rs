//! What services told of themselves, on the time axis of the master time-line: a panel for each metric, counters as growth per second.
//!
//! A line is broken where a page was not read; it is never drawn down to zero for that.

use std::collections::BTreeMap;

use super::Chart;
use super::frame::{
    LEFT, RIGHT, SMALL, Scale, TimeAxis, WIDTH, ground, heading, marks, nice_step, tick_number, width_of,
};
use super::ink::{Ink, SERIES};
use super::picture::{Align, Picture, Point};
use crate::report::format::short;
use crate::report::model::{Report, ScrapeReport, SeriesReport};
use crate::report::rates::{APART, rates};

/// Metrics that get a panel; the rest is in `scrape.csv`.
const PANELS: usize = 6;
const HEIGHT: f64 = 110.0;
const ROW: f64 = 16.0;
const TITLE: &str = "What the services told of themselves";

/// One line of a panel.
struct Line {
    label: String,
    points: Vec<(f64, Option<f64>)>,
    /// Usual distance of two points, seconds.
    every_s: f64,
    top: f64,
}

struct Panel {
    metric: String,
    unit: &'static str,
    lines: Vec<Line>,
    /// Series that are not drawn.
    left_out: usize,
}

/// Draws it; none where nothing was read.
pub(super) fn draw(report: &Report) -> Option<Chart> {
    let (panels, left_out) = panels(report);
    if panels.is_empty() {
        return None;
    }
    let axis = TimeAxis::of(report);
    let legends: Vec<Vec<Vec<usize>>> = panels.iter().map(|p| rows(&p.lines)).collect();
    let height =
        60.0 + panels.iter().zip(&legends).map(|(_, rows)| 24.0 + rows.len() as f64 * ROW + HEIGHT + 26.0).sum::<f64>();
    let mut p = Picture::new(WIDTH, (height + 30.0) as u32);
    let more = if left_out > 0 { format!("; {left_out} more metrics in scrape.csv") } else { String::new() };
    heading(
        &mut p,
        TITLE,
        &format!("pages of metrics, read while load ran; a line is broken where none could be read{more}"),
    );
    let mut y = 60.0;
    for (panel, rows) in panels.iter().zip(&legends) {
        p.bold((LEFT, y + 12.0), &short(&panel.metric, 90), 12.5, Align::Left, Ink::Text);
        let unit = if panel.left_out > 0 {
            format!("{}; {} more series in scrape.csv", panel.unit, panel.left_out)
        } else {
            panel.unit.to_owned()
        };
        p.text(
            (LEFT + width_of(&short(&panel.metric, 90), 13.5) + 8.0, y + 12.0),
            &unit,
            SMALL,
            Align::Left,
            Ink::Muted,
        );
        y += 18.0;
        for row in rows {
            legend(&mut p, &panel.lines, row, y);
            y += ROW;
        }
        let plot = (y + 6.0, y + 6.0 + HEIGHT);
        draw_panel(&mut p, report, axis, panel, plot);
        y = plot.1 + 26.0;
    }
    axis.draw(&mut p, y - 26.0);
    Some(Chart { name: "scrapes", title: TITLE, description: describe(&panels), picture: p })
}

fn describe(panels: &[Panel]) -> String {
    let names: Vec<String> = panels.iter().map(|p| format!("{} ({})", short(&p.metric, 90), p.unit)).collect();
    format!(
        "Over the same time as the time-line of requests: {}. The same numbers are in scrape.csv.",
        names.join(", ")
    )
}

/// The metrics with a panel, in the order in which they were first read, and how many have none.
fn panels(report: &Report) -> (Vec<Panel>, usize) {
    let several = report.scrapes.len() > 1;
    let mut order: Vec<&str> = Vec::new();
    let mut all: BTreeMap<&str, Vec<(&ScrapeReport, &SeriesReport)>> = BTreeMap::new();
    for scrape in &report.scrapes {
        for series in scrape.series.iter().filter(|s| !s.points.is_empty()) {
            let metric = series.name.split('{').next().unwrap_or_default();
            if !order.contains(&metric) {
                order.push(metric);
            }
            all.entry(metric).or_default().push((scrape, series));
        }
    }
    let left_out = order.len().saturating_sub(PANELS);
    let panel = |metric: &&str| {
        let series = &all[metric];
        let counter = series.iter().any(|(_, s)| s.kind == "counter");
        let mut lines: Vec<Line> = series.iter().map(|(scrape, s)| line(scrape, s, several)).collect();
        // What stayed at zero shows nothing beside what did not.
        if lines.iter().any(|l| l.top > 0.0) {
            lines.retain(|l| l.top != 0.0);
        }
        // The lines that show most; equal ones keep their order.
        lines.sort_by(|a, b| b.top.total_cmp(&a.top));
        lines.truncate(usize::from(SERIES));
        lines.sort_by(|a, b| a.label.cmp(&b.label));
        let left_out = series.len() - lines.len();
        Panel {
            metric: (*metric).to_owned(),
            unit: if counter { "per second" } else { "as it was read" },
            lines,
            left_out,
        }
    };
    (order.iter().take(PANELS).map(panel).collect(), left_out)
}

fn line(scrape: &ScrapeReport, series: &SeriesReport, several: bool) -> Line {
    let every_s = scrape.kept_every_s;
    let points = if series.kind == "counter" { rates(&series.points, every_s) } else { series.points.clone() };
    let labels = series.name.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    let label = match (labels, several) {
        ("", _) => scrape.source.clone(),
        (labels, false) => labels.to_owned(),
        (labels, true) => format!("{labels} · {}", scrape.source),
    };
    let top = points.iter().filter_map(|(_, v)| *v).fold(f64::NEG_INFINITY, f64::max);
    Line { label: short(&label, 60), points, every_s, top }
}

/// Lines by row of the legend.
fn rows(lines: &[Line]) -> Vec<Vec<usize>> {
    let (mut rows, mut x): (Vec<Vec<usize>>, f64) = (vec![Vec::new()], LEFT);
    for (i, line) in lines.iter().enumerate() {
        let wide = wide(line);
        if x + wide > RIGHT && rows.last().is_some_and(|r| !r.is_empty()) {
            rows.push(Vec::new());
            x = LEFT;
        }
        rows.last_mut().expect("there is one from the start").push(i);
        x += wide;
    }
    rows
}

fn wide(line: &Line) -> f64 {
    22.0 + width_of(&line.label, SMALL) + 16.0
}

fn legend(p: &mut Picture, lines: &[Line], row: &[usize], y: f64) {
    let mut x = LEFT;
    for i in row {
        p.line(vec![(x, y + 7.0), (x + 16.0, y + 7.0)], Ink::Series(*i as u8), 2.0);
        p.text((x + 22.0, y + 11.0), &lines[*i].label, SMALL, Align::Left, Ink::Muted);
        x += wide(&lines[*i]);
    }
}

fn draw_panel(p: &mut Picture, report: &Report, axis: TimeAxis, panel: &Panel, plot: (f64, f64)) {
    let values = || panel.lines.iter().flat_map(|l| l.points.iter().filter_map(|(_, v)| *v));
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let high = if high > low { high } else { low + 1.0 };
    let step = nice_step((high - low) / 3.0);
    let scale = Scale::linear(((low / step).floor() * step, (high / step).ceil().max(1.0) * step), plot);
    ground(p, report, axis, plot);
    scale.draw(p, (LEFT, RIGHT), tick_number);
    for (i, line) in panel.lines.iter().enumerate() {
        for stretch in unbroken(line) {
            let points: Vec<Point> = stretch.iter().map(|(s, v)| (axis.x(*s), scale.y(*v))).collect();
            match points.as_slice() {
                [only] => p.dot(*only, 2.0, Ink::Series(i as u8)),
                _ => p.line(points, Ink::Series(i as u8), 1.6),
            }
        }
    }
    marks(p, report, axis, plot);
}

/// The stretches without a gap.
fn unbroken(line: &Line) -> Vec<Vec<(f64, f64)>> {
    let mut all: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut last: Option<f64> = None;
    for (at, value) in &line.points {
        let Some(value) = value else {
            last = None;
            continue;
        };
        match last {
            Some(before) if at - before <= APART * line.every_s => {
                all.last_mut().expect("it has begun").push((*at, *value))
            }
            _ => all.push(vec![(*at, *value)]),
        }
        last = Some(*at);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, kind: &str, values: &[(f64, f64)]) -> SeriesReport {
        SeriesReport {
            name: name.into(),
            kind: kind.into(),
            resets: 0,
            points: values.iter().map(|(at, v)| (*at, Some(*v))).collect(),
        }
    }

    #[test]
    fn a_page_that_was_not_read_breaks_the_line() {
        let points = [(1.0, 5.0), (2.0, 5.0), (5.0, 7.0), (6.0, 7.0)];
        let scrape =
            ScrapeReport { kept_every_s: 1.0, series: vec![series("q", "gauge", &points)], ..ScrapeReport::default() };
        let line = line(&scrape, &scrape.series[0], false);
        assert_eq!(unbroken(&line), [vec![(1.0, 5.0), (2.0, 5.0)], vec![(5.0, 7.0), (6.0, 7.0)]]);
    }

    #[test]
    fn metrics_share_a_panel_and_the_busiest_lines_are_drawn() {
        let codes: Vec<SeriesReport> = (0..20)
            .map(|i| series(&format!("r{{c=\"{i:02}\"}}"), "counter", &[(0.0, 0.0), (1.0, f64::from(i))]))
            .collect();
        let scrape =
            ScrapeReport { kept_every_s: 1.0, source: "replica 0".into(), series: codes, ..ScrapeReport::default() };
        let report = Report { scrapes: vec![scrape], ..Report::default() };
        let (panels, left_out) = panels(&report);
        assert_eq!((panels.len(), left_out, panels[0].left_out, panels[0].unit), (1, 0, 12, "per second"));
        assert!(panels[0].lines.iter().any(|l| l.label == "c=\"19\"") && panels[0].lines.iter().all(|l| l.top >= 12.0));
        assert!(draw(&report).is_some() && draw(&Report::default()).is_none());
    }
}
