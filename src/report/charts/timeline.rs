//! The master time-line: what was offered and what became of it, how long it took, what was in flight.

use super::Chart;
use super::columns::{Column, Range, join, width_s};
use super::frame::{
    LEFT, RIGHT, SMALL, Scale, TimeAxis, WIDTH, ground, heading, lane_legend, lanes, marks, n_planned, nice_step,
    promise_lines, promises, tick_number, tick_us, width_of,
};
use super::ink::Ink;
use super::picture::{Align, Picture, Point};
use crate::report::format::chosen_ms;
use crate::report::model::Report;
use crate::report::story::cut_off_note;

/// Columns of the chart, and of the table behind the pointer.
pub(in crate::report) const COLUMNS: usize = 480;

/// Name of its files.
pub(in crate::report) const NAME: &str = "timeline";
const TITLE: &str = "Requests and latency over time";
/// Left and right edge of its panels.
pub(in crate::report) const EDGES: (f64, f64) = (LEFT, RIGHT);

/// Upper and lower edge of a panel.
pub(super) type Panel = (f64, f64);

/// Draws it; none for a run without windows.
pub(super) fn draw(report: &Report) -> Option<Chart> {
    let width = width_s(report, COLUMNS);
    let columns = join(report, width);
    if columns.is_empty() {
        return None;
    }
    let axis = TimeAxis::of(report);
    let replicas = columns.iter().any(|c| c.replicas.is_some());
    let requests = (top(report), top(report) + 140.0);
    let latency = (requests.1 + 48.0, requests.1 + 268.0);
    let load = (latency.1 + 48.0, latency.1 + 118.0);

    let mut p = Picture::new(WIDTH, (load.1 + 42.0) as u32);
    let each = if width > 1.0 {
        format!("{width} s a column; of percentiles the range over its seconds")
    } else {
        "1 s windows".into()
    };
    heading(&mut p, TITLE, &format!("{}, {each}", n_planned(report)));
    lane_legend(&mut p, report, (LEFT, 58.0));
    lanes(&mut p, report, axis, 72.0);
    for panel in [requests, latency, load] {
        ground(&mut p, report, axis, panel);
    }
    requests_panel(&mut p, report, axis, &columns, requests);
    latency_panel(&mut p, report, axis, &columns, latency);
    load_panel(&mut p, axis, &columns, load, replicas);
    for panel in [requests, latency, load] {
        marks(&mut p, report, axis, panel);
    }
    axis.draw(&mut p, load.1);
    if let Some(note) = cut_off_note(report) {
        p.text((LEFT, load.1 + 33.0), &note, SMALL, Align::Left, Ink::Muted);
    }
    Some(Chart { name: NAME, title: TITLE, description: describe(report), picture: p })
}

/// Where the panels begin. Lanes tell how high they are only when drawn: they are drawn on a scrap.
pub(in crate::report) fn top(report: &Report) -> f64 {
    lanes(&mut Picture::new(WIDTH, 1), report, TimeAxis::of(report), 72.0) + 34.0
}

fn describe(report: &Report) -> String {
    format!(
        "Three panels over the same {} of time, with phases, faults and replica events above them: requests per second \
         by outcome against the offered rate; median, 99th percentile and maximum of latency on a log axis; requests in \
         flight and replicas ready. The same numbers are in windows.csv.",
        crate::report::format::time_s(report.plan.duration_s)
    )
}

/// Name and unit at the left, signs and their meaning at the right.
pub(super) fn panel_head(p: &mut Picture, y: f64, name: &str, unit: &str, signs: &[(Sign, &str)]) {
    p.bold((LEFT, y - 10.0), name, 12.5, Align::Left, Ink::Text);
    p.text((LEFT + width_of(name, 13.5) + 8.0, y - 10.0), unit, SMALL, Align::Left, Ink::Muted);
    let mut x = RIGHT;
    for (sign, text) in signs.iter().rev() {
        x -= width_of(text, SMALL);
        p.text((x, y - 10.0), text, SMALL, Align::Left, Ink::Muted);
        x -= 22.0;
        sign.draw(p, (x, y - 14.0));
        x -= 14.0;
    }
}

/// How something is drawn.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    Fill(Ink),
    Hatched(Ink),
    Line(Ink, f64),
    Dashed(Ink, f64, (f64, f64)),
}

impl Sign {
    pub(super) fn ink(self) -> Ink {
        match self {
            Sign::Fill(ink) | Sign::Hatched(ink) | Sign::Line(ink, _) | Sign::Dashed(ink, ..) => ink,
        }
    }

    fn draw(self, p: &mut Picture, (x, y): Point) {
        match self {
            Sign::Fill(ink) => p.rect((x + 4.0, y - 5.0), (x + 16.0, y + 5.0), ink, 1.0),
            Sign::Hatched(ink) => {
                p.rect((x + 4.0, y - 5.0), (x + 16.0, y + 5.0), ink, 1.0);
                p.hatch((x + 4.0, y - 5.0), (x + 16.0, y + 5.0), Ink::Paper, 4.0);
            }
            _ => self.trace(p, &[(x, y), (x + 17.0, y)]),
        }
    }

    pub(super) fn trace(self, p: &mut Picture, points: &[Point]) {
        match self {
            Sign::Dashed(ink, width, rhythm) => p.dashed(points, ink, width, rhythm),
            Sign::Line(ink, width) => p.line(points.to_vec(), ink, width),
            Sign::Fill(ink) | Sign::Hatched(ink) => p.line(points.to_vec(), ink, 1.0),
        }
    }
}

/// A count of a column, how it is painted and what it is called.
type Layer = (fn(&Column) -> u64, Sign, &'static str);
const LAYERS: [Layer; 4] = [
    (|c| c.good, Sign::Fill(Ink::Good), "good"),
    (|c| c.slow, Sign::Fill(Ink::Slow), "answered, too slow"),
    (|c| c.failed, Sign::Hatched(Ink::Bad), "failed"),
    (|c| c.shed, Sign::Fill(Ink::Shed), "shed"),
];

fn requests_panel(p: &mut Picture, report: &Report, axis: TimeAxis, columns: &[Column], panel: Panel) {
    let peak = columns.iter().map(|c| c.rate(c.planned)).fold(1.0, f64::max);
    let step = nice_step(peak / 4.0);
    let scale = Scale::linear((0.0, (peak * 1.05 / step).ceil() * step), panel);
    scale.draw(p, (LEFT, RIGHT), tick_number);
    let shown: Vec<&Layer> =
        LAYERS.iter().filter(|(n, _, name)| *name == "good" || columns.iter().any(|c| n(c) > 0)).collect();
    let mut base = vec![0.0; columns.len()];
    // Layer by layer rather than column by column, so that neighbours of one colour become one path.
    for (n, sign, _) in &shown {
        for (c, base) in columns.iter().zip(&mut base) {
            let next = *base + c.rate(n(c));
            let corner = |s, v| (axis.x(s), scale.y(v));
            let (from, to) = (corner(c.start_s, next), corner(c.end_s, *base));
            p.rect(from, to, sign.ink(), 1.0);
            *base = next;
        }
    }
    hatch_failures(p, axis, &scale, columns);
    let offered = |c: &Column| {
        let y = scale.y(c.rate(c.planned));
        [(axis.x(c.start_s), y), (axis.x(c.end_s), y)]
    };
    p.line(columns.iter().flat_map(offered).collect(), Ink::Text, 1.2);
    let mut signs = vec![(Sign::Line(Ink::Text, 1.2), "offered")];
    signs.extend(shown.iter().map(|(_, sign, name)| (*sign, *name)));
    let within = chosen_ms(report.plan.within_ms);
    panel_head(p, panel.0, "Requests", &format!("per second, by due; good = answered well within {within}"), &signs);
}

/// White lines over the failed part: it shows without colour too.
fn hatch_failures(p: &mut Picture, axis: TimeAxis, scale: &Scale, columns: &[Column]) {
    for c in columns.iter().filter(|c| c.failed > 0) {
        let base = c.rate(c.good + c.slow);
        let (from, to) = ((axis.x(c.start_s), scale.y(base + c.rate(c.failed))), (axis.x(c.end_s), scale.y(base)));
        p.hatch(from, to, Ink::Paper, 4.0);
    }
}

/// The three curves of latency: which range, when infinite, how drawn.
type Curve = (fn(&Column) -> Option<Range>, fn(&Column) -> bool, Sign, &'static str);
const CURVES: [Curve; 3] = [
    (|c| c.max_us, |_| false, Sign::Dashed(Ink::Max, 1.2, (1.5, 2.5)), "max of good answers"),
    (|c| c.p50_us, |c| c.p50_infinite, Sign::Dashed(Ink::P50, 1.8, (6.0, 3.0)), "p50"),
    (|c| c.p99_us, |c| c.p99_infinite, Sign::Line(Ink::P99, 2.0), "p99"),
];

fn latency_panel(p: &mut Picture, report: &Report, axis: TimeAxis, columns: &[Column], panel: Panel) {
    let ranges = || columns.iter().flat_map(|c| [c.p50_us, c.p99_us, c.max_us]).flatten();
    let bounds = || promises(report).into_iter().map(|p| p.bound_us);
    let low = ranges().map(|r| r.low).chain(bounds()).fold(f64::INFINITY, f64::min);
    let high = ranges().map(|r| r.high).chain(bounds().map(|b| b * 1.2)).fold(0.0, f64::max);
    let (low, high) = if low < high { (low * 0.8, high) } else { (100.0, 1e6) };
    let endless = columns.iter().any(|c| c.p99_infinite || c.p50_infinite);
    // Infinite latencies get a strip of their own above every finite one.
    let strip = if endless { 22.0 } else { 0.0 };
    let scale = Scale::log((low, high), (panel.0 + strip, panel.1));
    scale.draw(p, (LEFT, RIGHT), tick_us);
    if endless {
        infinite_strip(p, axis, columns, panel.0);
    }
    for (range, infinite, sign, _) in CURVES {
        curve(p, axis, &scale, columns, range, infinite, sign);
    }
    promise_lines(p, report, axis, &scale);
    let mut signs: Vec<_> = CURVES.iter().rev().map(|(_, _, sign, name)| (*sign, *name)).collect();
    if !promises(report).is_empty() {
        signs.push((Sign::Dashed(Ink::Bound, 1.5, (9.0, 4.0)), "objective"));
    }
    panel_head(p, panel.0, "Latency", "done − due, log axis; failed and shed count as ∞", &signs);
}

fn infinite_strip(p: &mut Picture, axis: TimeAxis, columns: &[Column], top: f64) {
    p.text((LEFT - 8.0, top + 13.0), "∞", 14.0, Align::Right, Ink::Muted);
    p.line(vec![(LEFT, top + 20.0), (RIGHT, top + 20.0)], Ink::Grid, 1.0);
    let block = |p: &mut Picture, c: &Column, y: f64, ink| {
        p.rect((axis.x(c.start_s), top + y), (axis.x(c.end_s), top + y + 7.0), ink, 1.0);
    };
    columns.iter().filter(|c| c.p99_infinite).for_each(|c| block(p, c, 2.0, Ink::P99));
    columns.iter().filter(|c| c.p50_infinite).for_each(|c| block(p, c, 10.5, Ink::P50));
}

/// A line through the worst second of each column, shaded down to its best; broken where there is no value.
fn curve(
    p: &mut Picture,
    axis: TimeAxis,
    scale: &Scale,
    columns: &[Column],
    range: fn(&Column) -> Option<Range>,
    infinite: fn(&Column) -> bool,
    sign: Sign,
) {
    let ink = sign.ink();
    for run in columns.chunk_by(|a, b| joined(a, b) && usable(a, range, infinite) == usable(b, range, infinite)) {
        let points: Vec<(f64, Range)> = run
            .iter()
            .filter(|c| usable(c, range, infinite))
            .filter_map(|c| range(c).map(|r| (axis.x(c.middle_s()), r)))
            .collect();
        let upper: Vec<Point> = points.iter().map(|(x, r)| (*x, scale.y(r.high))).collect();
        if points.iter().any(|(_, r)| r.high > r.low) {
            let lower = points.iter().rev().map(|(x, r)| (*x, scale.y(r.low)));
            p.area(upper.iter().copied().chain(lower).collect(), ink, 0.22);
        }
        match upper.as_slice() {
            [only] => p.dot(*only, 2.0, ink),
            points => sign.trace(p, points),
        }
    }
}

fn usable(c: &Column, range: fn(&Column) -> Option<Range>, infinite: fn(&Column) -> bool) -> bool {
    range(c).is_some() && !infinite(c)
}

/// Without a hole in time between them.
fn joined(a: &Column, b: &Column) -> bool {
    b.start_s - a.end_s < 1e-6
}

fn load_panel(p: &mut Picture, axis: TimeAxis, columns: &[Column], panel: Panel, replicas: bool) {
    let peak = columns.iter().map(|c| c.in_flight).max().unwrap_or(0).max(1) as f64;
    let step = nice_step(peak / 2.0);
    let scale = Scale::linear((0.0, (peak / step).ceil() * step), panel);
    scale.draw(p, (LEFT, RIGHT), tick_number);
    for c in columns {
        p.rect((axis.x(c.start_s), scale.y(c.in_flight as f64)), (axis.x(c.end_s), panel.1), Ink::Max, 1.0);
    }
    let mut signs = vec![(Sign::Fill(Ink::Max), "in flight")];
    if replicas {
        replica_steps(p, axis, columns, panel);
        signs.push((Sign::Line(Ink::Back, 2.0), "replicas ready (number at each change)"));
    }
    panel_head(p, panel.0, "In flight", "most requests at once", &signs);
}

/// Replicas ready, as steps on a scale of their own: a number stands at each change.
fn replica_steps(p: &mut Picture, axis: TimeAxis, columns: &[Column], panel: Panel) {
    let most = columns.iter().filter_map(|c| c.replicas).max().unwrap_or(1).max(1) as f64;
    let scale = Scale::linear((0.0, most * 1.35), panel);
    let steps: Vec<(&Column, u64)> = columns.iter().filter_map(|c| c.replicas.map(|n| (c, n))).collect();
    let points = steps.iter().flat_map(|(c, n)| {
        let y = scale.y(*n as f64);
        [(axis.x(c.start_s), y), (axis.x(c.end_s), y)]
    });
    p.line(points.collect(), Ink::Back, 2.0);
    let mut last = None;
    let mut free = f64::MIN;
    for (c, n) in steps {
        let x = axis.x(c.start_s);
        if last != Some(n) && x > free {
            let (y, number) = (scale.y(n as f64), n.to_string());
            p.rect((x + 2.0, y - 15.0), (x + 6.0 + width_of(&number, SMALL), y - 2.0), Ink::Paper, 0.8);
            p.bold((x + 4.0, y - 4.0), &number, SMALL, Align::Left, Ink::Back);
            free = x + 14.0;
        }
        last = Some(n);
    }
}
