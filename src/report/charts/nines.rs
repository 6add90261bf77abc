//! Latency by nines: one curve per phase and fault span, on an axis where each nine is as wide as the next.
//!
//! Beyond 1 − 5/n a sample has fewer than five values, and a quantile is a story about single requests: there the
//! curve is thin and broken, and the ground beyond the best sample is hatched.

use super::Chart;
use super::frame::{SMALL, Scale, WIDTH, bound_words, heading, promises, tick_us, width_of};
use super::ink::{Ink, SERIES};
use super::picture::{Align, Picture, Point};
use crate::report::format::{count, short};
use crate::report::model::{NinesCurve, Report};

const LEFT: f64 = 74.0;
const RIGHT: f64 = 800.0;
const PANEL: (f64, f64) = (62.0, 402.0);

/// Draws it; none without curves.
pub(super) fn draw(report: &Report) -> Option<Chart> {
    let curves: Vec<&NinesCurve> =
        report.nines.iter().filter(|c| !c.points.is_empty()).take(usize::from(SERIES)).collect();
    if curves.is_empty() {
        return None;
    }
    let left_out = report.nines.len() - curves.len();
    let mut p = Picture::new(WIDTH, 452);
    let axis = Nines::of(&curves);
    let latencies = || {
        curves
            .iter()
            .flat_map(|c| c.points.iter().map(|(_, us)| *us))
            .chain(promises(report).into_iter().filter(|p| p.quantile.is_some()).map(|p| p.bound_us))
    };
    let (low, high) = (latencies().fold(f64::INFINITY, f64::min), latencies().fold(0.0, f64::max));
    let scale = Scale::log((low * 0.9, high * 1.1), PANEL);
    heading(
        &mut p,
        "Latency by nines",
        "done − due over every planned request, log axis; failed and shed ones are infinite",
    );
    let supported = curves.iter().map(|c| c.supported).fold(0.0, f64::max);
    p.rect((axis.x(supported), PANEL.0), (RIGHT, PANEL.1), Ink::Phase, 1.0);
    p.hatch((axis.x(supported), PANEL.0), (RIGHT, PANEL.1), Ink::Grid, 9.0);
    scale.draw(&mut p, (LEFT, RIGHT), tick_us);
    axis.draw(&mut p);
    for (n, curve) in curves.iter().enumerate() {
        draw_curve(&mut p, &axis, &scale, curve, n as u8);
    }
    bounds(&mut p, report, &axis, &scale);
    legend(&mut p, &curves, left_out);
    Some(Chart { name: "nines", title: "Latency by nines", description: describe(&curves), picture: p })
}

fn describe(curves: &[&NinesCurve]) -> String {
    let names: Vec<String> = curves.iter().map(|c| format!("{} (n = {})", c.span, count(c.n))).collect();
    format!(
        "Latency against the share of requests that were faster, one curve each for {}. The table of phases has the \
         same quantiles as numbers.",
        names.join(", ")
    )
}

/// The axis of 1/(1 − q), log.
struct Nines {
    decades: f64,
}

impl Nines {
    fn of(curves: &[&NinesCurve]) -> Nines {
        let last =
            curves.iter().flat_map(|c| c.points.iter().map(|(q, _)| *q).filter(|q| *q < 1.0)).fold(0.99, f64::max);
        Nines { decades: (-(1.0 - last).log10()).clamp(2.0, 7.0) }
    }

    fn x(&self, q: f64) -> f64 {
        let nines = -(1.0 - q).max(1e-9).log10();
        LEFT + (nines / self.decades).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn draw(&self, p: &mut Picture) {
        p.line(vec![(LEFT, PANEL.1), (RIGHT, PANEL.1)], Ink::Muted, 1.0);
        let labels = ["all", "p90", "p99", "p99.9", "p99.99", "p99.999", "p99.9999", "p99.99999"];
        for (nines, label) in labels.iter().enumerate().take(self.decades as usize + 1) {
            let x = LEFT + nines as f64 / self.decades * (RIGHT - LEFT);
            p.line(vec![(x, PANEL.0), (x, PANEL.1)], Ink::Grid, 1.0);
            let label = if nines == 0 { "p0" } else { label };
            p.text((x, PANEL.1 + 17.0), label, SMALL, Align::Center, Ink::Muted);
        }
        let half = self.x(0.5);
        p.line(vec![(half, PANEL.1), (half, PANEL.1 + 4.0)], Ink::Muted, 1.0);
        p.text((half, PANEL.1 + 17.0), "p50", SMALL, Align::Center, Ink::Muted);
        let words = "share of requests at or below; hatched: beyond what the largest sample supports";
        p.text((RIGHT, PANEL.1 + 36.0), words, SMALL, Align::Right, Ink::Muted);
    }
}

/// How each curve is broken, so that they differ without colour: (drawn, left out), 0 for a whole line.
const RHYTHMS: [(f64, f64); 4] = [(0.0, 0.0), (9.0, 3.0), (4.0, 2.5), (1.5, 2.5)];

fn stroke(p: &mut Picture, points: &[Point], n: u8, width: f64) {
    match RHYTHMS[usize::from(n) % RHYTHMS.len()] {
        (0.0, _) => p.line(points.to_vec(), Ink::Series(n), width),
        rhythm => p.dashed(points, Ink::Series(n), width, rhythm),
    }
}

fn draw_curve(p: &mut Picture, axis: &Nines, scale: &Scale, curve: &NinesCurve, n: u8) {
    let place = |(q, us): &(f64, f64)| (axis.x(*q), scale.y(*us));
    let firm: Vec<Point> = curve.points.iter().filter(|(q, _)| *q <= curve.supported).map(place).collect();
    let mut loose: Vec<Point> = firm.last().copied().into_iter().collect();
    loose.extend(curve.points.iter().filter(|(q, _)| *q > curve.supported && *q < 1.0).map(place));
    stroke(p, &firm, n, 2.2);
    p.faint_line(loose.clone(), Ink::Series(n), 1.0, 0.55);
    if let Some(end) = firm.last() {
        p.dot(*end, 3.2, Ink::Series(n));
    }
    // The curve ends before the sample does: the rest never came back.
    let last = curve.points.last().map_or(0.0, |(q, _)| *q);
    if last + 1.5 / (curve.n.max(1) as f64) < 1.0
        && let Some((x, y)) = loose.last().or(firm.last()).copied()
    {
        p.dashed(&[(x, y), (x, PANEL.0 + 10.0)], Ink::Series(n), 1.2, (2.0, 3.0));
        p.triangle((x, PANEL.0 + 3.0), 9.0, true, Ink::Series(n));
        p.text((x + 7.0, PANEL.0 + 12.0), "∞", 13.0, Align::Left, Ink::Text);
    }
}

/// Objectives on percentiles as points on this plane.
fn bounds(p: &mut Picture, report: &Report, axis: &Nines, scale: &Scale) {
    for (promise, q) in promises(report).iter().filter_map(|p| p.quantile.map(|q| (p, q))) {
        let (x, y) = (axis.x(q), scale.y(promise.bound_us));
        diamond(p, (x, y));
        let words = width_of(&promise.label, SMALL) + 12.0;
        // On the side where there is room.
        let right = if x + words + 14.0 < RIGHT { x + words + 14.0 } else { x - 2.0 };
        bound_words(p, PANEL.0, (right, y), &promise.label);
    }
}

fn diamond(p: &mut Picture, (x, y): Point) {
    p.area(vec![(x - 6.0, y), (x, y - 6.0), (x + 6.0, y), (x, y + 6.0)], Ink::Bound, 1.0);
}

fn legend(p: &mut Picture, curves: &[&NinesCurve], left_out: usize) {
    let x = RIGHT + 26.0;
    let mut y = PANEL.0 + 8.0;
    for (n, curve) in curves.iter().enumerate() {
        stroke(p, &[(x, y), (x + 26.0, y)], n as u8, 2.2);
        let room = ((f64::from(WIDTH) - x - 34.0) / width_of("x", 12.5)) as usize;
        p.text((x + 34.0, y + 4.0), &short(&curve.span, room), 12.5, Align::Left, Ink::Text);
        p.text((x + 34.0, y + 19.0), &format!("n = {}", count(curve.n)), SMALL, Align::Left, Ink::Muted);
        y += 39.0;
    }
    if left_out > 0 {
        p.text((x, y + 4.0), &format!("{left_out} more not drawn"), SMALL, Align::Left, Ink::Muted);
    }
    // Signs are drawn, not written: fonts lack them.
    let y = PANEL.1 - 32.0;
    p.dot((x + 6.0, y - 4.0), 3.2, Ink::Muted);
    p.faint_line(vec![(x, y + 12.0), (x + 12.0, y + 12.0)], Ink::Muted, 1.0, 0.55);
    diamond(p, (x + 6.0, y + 28.0));
    let notes = ["last quantile the sample supports", "fewer than five values beyond", "objective"];
    for (n, note) in notes.iter().enumerate() {
        p.text((x + 18.0, y + 16.0 * n as f64), note, SMALL, Align::Left, Ink::Muted);
    }
}
