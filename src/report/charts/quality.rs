//! What the answers said, under the time-line and on its axis: right, the same as at baseline, from a fallback; by which model version; and
//! how old the features were. Only the panels that there is something for.

use std::collections::BTreeMap;

use super::Chart;
use super::columns::width_s;
use super::frame::{LEFT, RIGHT, Scale, TimeAxis, WIDTH, ground, heading, lanes, marks, n_planned, tick_us};
use super::ink::{Ink, SERIES};
use super::picture::{Picture, Point};
use super::timeline::{COLUMNS, Panel, Sign, panel_head};
use crate::report::format::{percent_bound, short};
use crate::report::model::{QualityWindow, Report};

const TITLE: &str = "What the answers said over time";
/// Versions told apart; the rest is one.
const VERSIONS: usize = SERIES as usize - 1;

/// Windows joined.
#[derive(Default)]
struct Column {
    start_s: f64,
    end_s: f64,
    said: QualityWindow,
}

fn join(report: &Report) -> Vec<Column> {
    let width = width_s(report, COLUMNS);
    let mut columns: Vec<Column> = vec![];
    for w in &report.windows {
        let start = ((w.start_at_s + w.duration_s / 2.0) / width).floor() * width;
        if columns.last().is_none_or(|c| c.start_s < start) {
            columns.push(Column { start_s: start, ..Column::default() });
        }
        let Some(column) = columns.last_mut() else { continue };
        column.end_s = w.start_at_s + w.duration_s;
        let Some(more) = &w.quality else { continue };
        let said = &mut column.said;
        said.labelled += more.labelled;
        said.correct += more.correct;
        said.compared += more.compared;
        said.agreed += more.agreed;
        said.fallback_known += more.fallback_known;
        said.fallback += more.fallback;
        // Percentiles cannot be added: the worst second speaks.
        let worst = |a: Option<f64>, b: Option<f64>| [a, b].into_iter().flatten().reduce(f64::max);
        said.freshness_p50_s = worst(said.freshness_p50_s, more.freshness_p50_s);
        said.freshness_p99_s = worst(said.freshness_p99_s, more.freshness_p99_s);
        more.versions.iter().for_each(|(name, n)| *said.versions.entry(name.clone()).or_default() += n);
    }
    columns
}

/// Draws it; none where answers said nothing.
pub(super) fn draw(report: &Report) -> Option<Chart> {
    let columns = join(report);
    let any = |f: fn(&QualityWindow) -> bool| columns.iter().any(|c| f(&c.said));
    let shares = any(|q| q.labelled + q.compared + q.fallback_known > 0);
    let versions = any(|q| !q.versions.is_empty());
    let ages = any(|q| q.freshness_p50_s.is_some());
    let count = [shares, versions, ages].into_iter().filter(|p| *p).count();
    if count == 0 {
        return None;
    }
    let axis = TimeAxis::of(report);
    let mut top = lanes(&mut Picture::new(WIDTH, 1), report, axis, 54.0) + 34.0;
    let end = top + count as f64 * 168.0 - 48.0;
    let mut p = Picture::new(WIDTH, (end + 42.0) as u32);
    heading(&mut p, TITLE, &format!("{}, good answers only, by due", n_planned(report)));
    lanes(&mut p, report, axis, 54.0);
    type Draw = fn(&mut Picture, TimeAxis, &[Column], Panel);
    let panels: [(bool, Draw); 3] = [(shares, shares_panel), (versions, versions_panel), (ages, ages_panel)];
    for (_, draw) in panels.into_iter().filter(|(shown, _)| *shown) {
        let panel = (top, top + 120.0);
        ground(&mut p, report, axis, panel);
        draw(&mut p, axis, &columns, panel);
        marks(&mut p, report, axis, panel);
        top += 168.0;
    }
    axis.draw(&mut p, end);
    Some(Chart { name: "quality", title: TITLE, description: describe(shares, versions, ages), picture: p })
}

fn describe(shares: bool, versions: bool, ages: bool) -> String {
    let parts = [
        (
            shares,
            "the share of predictions that are right, that are the same as at baseline, and that come from a fallback",
        ),
        (versions, "the share of answers by model version"),
        (ages, "the median and 99th percentile of the age of features on a log axis"),
    ];
    let parts: Vec<&str> = parts.into_iter().filter(|(shown, _)| *shown).map(|(_, words)| words).collect();
    format!("For each second of the run: {}. The same numbers are in run.json, by window.", parts.join("; "))
}

fn line(
    p: &mut Picture,
    axis: TimeAxis,
    scale: &Scale,
    columns: &[Column],
    sign: Sign,
    value: impl Fn(&QualityWindow) -> Option<f64>,
) {
    // A line is broken where a second has nothing to say.
    for run in columns.split(|c| value(&c.said).is_none()) {
        let at = |c: &Column| value(&c.said).map(|v| (axis.x((c.start_s + c.end_s) / 2.0), scale.y(v)));
        let points: Vec<Point> = run.iter().filter_map(at).collect();
        match points.as_slice() {
            [] => {}
            [only] => p.dot(*only, 2.0, sign.ink()),
            points => sign.trace(p, points),
        }
    }
}

type ShareOf = fn(&QualityWindow) -> Option<f64>;
const SHARES: [(ShareOf, Sign, &str); 3] = [
    (|q| part(q.fallback, q.fallback_known), Sign::Dashed(Ink::Slow, 1.8, (1.5, 2.5)), "from a fallback"),
    (|q| part(q.agreed, q.compared), Sign::Dashed(Ink::P50, 1.8, (6.0, 3.0)), "same as at baseline"),
    (|q| part(q.correct, q.labelled), Sign::Line(Ink::P99, 2.0), "right"),
];

fn part(k: u64, n: u64) -> Option<f64> {
    (n > 0).then(|| k as f64 / n as f64)
}

fn shares_panel(p: &mut Picture, axis: TimeAxis, columns: &[Column], panel: Panel) {
    let scale = Scale::linear((0.0, 1.0), panel);
    scale.draw(p, (LEFT, RIGHT), percent_bound);
    let shown = SHARES.iter().filter(|(of, ..)| columns.iter().any(|c| of(&c.said).is_some()));
    let mut signs = vec![];
    for (of, sign, name) in shown {
        line(p, axis, &scale, columns, *sign, of);
        signs.push((*sign, *name));
    }
    panel_head(p, panel.0, "Predictions", "share", &signs);
}

fn versions_panel(p: &mut Picture, axis: TimeAxis, columns: &[Column], panel: Panel) {
    let scale = Scale::linear((0.0, 1.0), panel);
    scale.draw(p, (LEFT, RIGHT), percent_bound);
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    let all = columns.iter().flat_map(|c| &c.said.versions);
    all.for_each(|(name, n)| *totals.entry(name).or_default() += n);
    let mut named: Vec<(&str, u64)> = totals.into_iter().collect();
    named.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
    named.truncate(VERSIONS);
    let ink = |place: usize| Ink::Series(place as u8);
    for c in columns {
        let n: u64 = c.said.versions.values().sum();
        if n == 0 {
            continue;
        }
        let mut below = 0.0;
        let mut draw = |k: u64, ink: Ink| {
            let next = below + k as f64 / n as f64;
            p.rect((axis.x(c.start_s), scale.y(next)), (axis.x(c.end_s), scale.y(below)), ink, 0.85);
            below = next;
        };
        let counts: Vec<u64> = named.iter().map(|(name, _)| c.said.versions.get(*name).copied().unwrap_or(0)).collect();
        counts.iter().enumerate().filter(|(_, k)| **k > 0).for_each(|(place, k)| draw(*k, ink(place)));
        let rest = n - counts.iter().sum::<u64>();
        if rest > 0 {
            draw(rest, Ink::Max);
        }
    }
    let names: Vec<String> = named.iter().map(|(name, _)| short(name, 18)).collect();
    let signs = names.iter().enumerate().map(|(place, name)| (Sign::Fill(ink(place)), name.as_str()));
    panel_head(p, panel.0, "Model versions", "share of answers", &signs.collect::<Vec<_>>());
}

fn ages_panel(p: &mut Picture, axis: TimeAxis, columns: &[Column], panel: Panel) {
    // The log scale and its labels are those of latency, in µs.
    let us = |s: Option<f64>| s.map(|s| (s * 1e6).max(1_000.0));
    let all = || columns.iter().flat_map(|c| [us(c.said.freshness_p50_s), us(c.said.freshness_p99_s)]).flatten();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let scale = Scale::log((low * 0.8, high * 1.2), panel);
    scale.draw(p, (LEFT, RIGHT), tick_us);
    let signs = [(Sign::Dashed(Ink::P50, 1.8, (6.0, 3.0)), "p50"), (Sign::Line(Ink::P99, 2.0), "p99")];
    line(p, axis, &scale, columns, signs[0].0, |q| us(q.freshness_p50_s));
    line(p, axis, &scale, columns, signs[1].0, |q| us(q.freshness_p99_s));
    panel_head(p, panel.0, "Age of features", "log axis", &signs);
}
