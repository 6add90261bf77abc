//! Charts of a comparison: forest, time-lines of both arms, shift functions, pairs.

use super::model::{AnswerWord, Comparison, Kind, MetricReport, ShiftReport, Timeline};
use super::nights::nights;
use super::text::{interval, value};
use crate::report::charts::Chart;
use crate::report::charts::frame::{LEFT, RIGHT, SMALL, Scale, WIDTH, heading, nice_step, tick_us};
use crate::report::charts::ink::Ink;
use crate::report::charts::{Align, Picture, Point};
use crate::report::format::{number, percent, short};

/// Every chart that has something to show.
pub(super) fn all(c: &Comparison) -> Vec<Chart> {
    // One of calm and one of trouble: where nothing breaks they differ least, and under a fault most.
    let calm = c.shifts.first().and_then(|s| shift(s, "shift", "Shift function"));
    let fault = c.shifts.iter().find(|s| s.phase.starts_with("during:"));
    let fault = fault.and_then(|s| shift(s, "shift-fault", "Shift function under a fault"));
    [forest(c), timelines(c), pairs(c), nights(c), calm, fault].into_iter().flatten().collect()
}

/// Each gating metric as its interval, in units of what matters: right is worse.
fn forest(c: &Comparison) -> Option<Chart> {
    if c.kind == Kind::Calibration {
        return None;
    }
    let rows: Vec<&MetricReport> = c.metrics.iter().collect();
    if rows.iter().all(|m| m.estimate.is_none()) {
        return None;
    }
    const ROW: f64 = 46.0;
    let (top, left, right) = (66.0, 330.0, 780.0);
    let height = top + ROW * rows.len() as f64 + 44.0;
    let mut p = Picture::new(WIDTH, height as u32);
    let below = "change in units of what matters (min_effect), turned so that right is worse; shaded: changes that do not matter";
    heading(&mut p, "What changed", below);
    let reach = reach(&rows);
    let x = |units: f64| left + (units.clamp(-reach, reach) + reach) / (2.0 * reach) * (right - left);
    let foot = top + ROW * rows.len() as f64;
    p.rect((x(-1.0), top - 8.0), (x(1.0), foot), Ink::Phase, 1.0);
    p.hatch((x(-1.0), top - 8.0), (x(1.0), foot), Ink::Grid, 9.0);
    let step = nice_step(reach / 4.0).max(1.0);
    for n in -(reach / step) as i32..=(reach / step) as i32 {
        let at = x(f64::from(n) * step);
        p.line(vec![(at, top - 8.0), (at, foot)], if n == 0 { Ink::Muted } else { Ink::Grid }, 1.0);
        p.text((at, foot + 17.0), &format!("{} ×", f64::from(n) * step), SMALL, Align::Center, Ink::Muted);
    }
    p.text((right, foot + 35.0), "worse →", SMALL, Align::Right, Ink::Muted);
    p.text((left, foot + 35.0), "← better", SMALL, Align::Left, Ink::Muted);
    for (n, m) in rows.iter().enumerate() {
        row(&mut p, m, top + ROW * n as f64 + 16.0, &x, (left, right));
    }
    let description = c.metrics.iter().map(|m| m.sentence.clone()).collect::<Vec<_>>().join(". ");
    Some(Chart { name: "forest", title: "What changed", description, picture: p })
}

fn row(p: &mut Picture, m: &MetricReport, y: f64, x: &impl Fn(f64) -> f64, (left, right): (f64, f64)) {
    let ink = match m.answer {
        AnswerWord::Regressed => Ink::Bad,
        AnswerWord::Inconclusive => Ink::Slow,
        _ => Ink::Back,
    };
    p.bold((left - 14.0, y + 1.0), &short(&m.metric, 44), 12.5, Align::Right, Ink::Text);
    p.text((left - 14.0, y + 16.0), m.answer.words(), SMALL, Align::Right, Ink::Muted);
    p.text((right + 14.0, y + 4.0), &interval(m), SMALL, Align::Left, Ink::Text);
    let (Some(low), Some(high), Some(estimate)) = (units(m, m.low), units(m, m.high), units(m, m.estimate)) else {
        return;
    };
    let (low, high) = (low.min(high), low.max(high));
    p.line(vec![(x(low), y), (x(high), y)], ink, 3.0);
    for (end, side) in [(low, -1.0), (high, 1.0)] {
        let at = x(end);
        if end.is_infinite() || at <= left || at >= right {
            // It goes on beyond the picture.
            p.area(vec![(at + side * 8.0, y), (at, y - 5.0), (at, y + 5.0)], ink, 1.0);
        } else {
            p.line(vec![(at, y - 6.0), (at, y + 6.0)], ink, 2.0);
        }
    }
    p.dot((x(estimate), y), 5.5, ink);
}

/// A change in units of the smallest that matters, turned so that up is worse.
fn units(m: &MetricReport, end: Option<super::model::End>) -> Option<f64> {
    let floor = m.min_effect.filter(|e| *e > 0.0)?;
    let turned = if m.worse_when_higher { 1.0 } else { -1.0 };
    end.map(|e| turned * e.get() / floor)
}

/// Half the width of the axis: all finite ends, within reason.
fn reach(rows: &[&MetricReport]) -> f64 {
    let ends = rows.iter().flat_map(|m| [m.low, m.high, m.estimate].map(|e| units(m, e)));
    let far = ends.flatten().map(f64::abs).filter(|u| u.is_finite()).fold(2.0, f64::max);
    (far * 1.1).min(12.0)
}

/// p99 and share of good answers of both arms, second by second.
fn timelines(c: &Comparison) -> Option<Chart> {
    let lines: Vec<&Timeline> = c.timelines.iter().filter(|t| !t.seconds.is_empty()).collect();
    if lines.is_empty() {
        return None;
    }
    let seconds = || lines.iter().flat_map(|t| &t.seconds);
    let (from, to) =
        seconds().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), s| (a.min(s.at_s), b.max(s.at_s + 1.0)));
    let p99 = || seconds().filter_map(|s| s.p99_us);
    let mut p = Picture::new(WIDTH, 470);
    let fault = lines[0].fault.as_str();
    let since = if fault.is_empty() { "since the start".to_owned() } else { format!("since {fault} was applied") };
    heading(
        &mut p,
        "Both arms over time",
        &format!("p99 of each second, median over runs; below: planned requests answered well; {since}"),
    );
    let (upper, lower) = ((58.0, 280.0), (316.0, 424.0));
    let x = |s: f64| LEFT + (s - from) / (to - from).max(1.0) * (RIGHT - LEFT);
    let (low, high) = (p99().fold(f64::INFINITY, f64::min), p99().fold(0.0, f64::max));
    let scale =
        if low.is_finite() { Scale::log((low * 0.9, high * 1.1), upper) } else { Scale::log((1e3, 1e6), upper) };
    let worst = seconds().filter_map(|s| s.ok_ratio).fold(1.0, f64::min);
    let share = Scale::linear(((worst - 0.02).max(0.0), 1.0), lower);
    scale.draw(&mut p, (LEFT, RIGHT), tick_us);
    share.draw(&mut p, (LEFT, RIGHT), percent);
    if !fault.is_empty() {
        p.line(vec![(x(0.0), upper.0), (x(0.0), lower.1)], Ink::Fault, 2.0);
        p.bold((x(0.0) + 5.0, upper.0 + 12.0), &short(fault, 40), SMALL, Align::Left, Ink::Fault);
    }
    let step = nice_step((to - from) / 14.0).max(1.0);
    p.line(vec![(LEFT, lower.1), (RIGHT, lower.1)], Ink::Muted, 1.0);
    for n in (from / step).ceil() as i64..=(to / step).floor() as i64 {
        let at = n as f64 * step;
        p.text((x(at), lower.1 + 17.0), &format!("{at} s"), SMALL, Align::Center, Ink::Muted);
    }
    for (n, line) in lines.iter().enumerate() {
        let ink = Ink::Series(n as u8);
        // An infinite second breaks the line and is marked at the top.
        for stretch in line.seconds.split(|s| s.p99_us.is_none()) {
            let points: Vec<Point> =
                stretch.iter().filter_map(|s| s.p99_us.map(|us| (x(s.at_s + 0.5), scale.y(us)))).collect();
            stroke(&mut p, &points, n, ink);
        }
        for s in line.seconds.iter().filter(|s| s.p99_us.is_none()) {
            p.triangle((x(s.at_s + 0.5), upper.0 - 4.0), 7.0, true, ink);
        }
        let points: Vec<Point> =
            line.seconds.iter().filter_map(|s| s.ok_ratio.map(|r| (x(s.at_s + 0.5), share.y(r)))).collect();
        stroke(&mut p, &points, n, ink);
        let legend = (LEFT + 180.0 * n as f64, 462.0);
        stroke(&mut p, &[(legend.0, legend.1 - 4.0), (legend.0 + 28.0, legend.1 - 4.0)], n, ink);
        p.text((legend.0 + 36.0, legend.1), &short(&line.arm, 22), 12.5, Align::Left, Ink::Text);
    }
    let description = format!(
        "p99 latency and share of good answers of {}, second by second, aligned on {}.",
        lines.iter().map(|l| l.arm.clone()).collect::<Vec<_>>().join(" and "),
        if fault.is_empty() { "the start" } else { fault }
    );
    Some(Chart { name: "arms", title: "Both arms over time", description, picture: p })
}

/// The first arm whole, the second broken: they differ without colour.
fn stroke(p: &mut Picture, points: &[Point], n: usize, ink: Ink) {
    match n {
        0 => p.line(points.to_vec(), ink, 2.2),
        _ => p.dashed(points, ink, 2.2, (8.0, 3.0)),
    }
}

/// A quantile, its relative change, and the band of that.
type Shifted = (f64, f64, Option<(f64, f64)>);

/// By how much each quantile of good answers differs.
fn shift(s: &ShiftReport, name: &'static str, title: &'static str) -> Option<Chart> {
    let relative = |from: f64, x: f64| if from > 0.0 { x / from } else { 0.0 };
    let points: Vec<Shifted> = s
        .points
        .iter()
        .map(|q| {
            let band = q.low_us.zip(q.high_us).map(|(l, h)| (relative(q.a_us, l), relative(q.a_us, h)));
            (q.quantile, relative(q.a_us, q.b_us - q.a_us), band)
        })
        .collect();
    let all = || points.iter().flat_map(|(_, d, band)| [Some(*d), band.map(|b| b.0), band.map(|b| b.1)]).flatten();
    let (low, high) = all().fold((-0.02f64, 0.02f64), |(a, b), x| (a.min(x), b.max(x)));
    if points.is_empty() || !low.is_finite() || !high.is_finite() {
        return None;
    }
    let panel = (58.0, 330.0);
    let mut p = Picture::new(WIDTH, 386);
    let below = format!(
        "{}: change of each quantile of good answers, with a 95 % band over {} runs of each arm",
        s.phase, s.runs
    );
    heading(&mut p, title, &short(&below, 118));
    let scale = Scale::linear((low * 1.1, high * 1.1), panel);
    scale.draw(&mut p, (LEFT, RIGHT), |x| format!("{} %", number((x * 1e3).round() / 10.0)));
    let x = |n: usize| LEFT + 20.0 + n as f64 / (points.len().max(2) - 1) as f64 * (RIGHT - LEFT - 40.0);
    p.line(vec![(LEFT, scale.y(0.0)), (RIGHT, scale.y(0.0))], Ink::Muted, 1.5);
    let banded: Vec<(usize, (f64, f64))> =
        points.iter().enumerate().filter_map(|(n, (_, _, band))| band.map(|b| (n, b))).collect();
    let upper = banded.iter().map(|(n, b)| (x(*n), scale.y(b.1)));
    let lower = banded.iter().rev().map(|(n, b)| (x(*n), scale.y(b.0)));
    p.area(upper.chain(lower).collect(), Ink::Series(0), 0.18);
    p.line(points.iter().enumerate().map(|(n, (_, d, _))| (x(n), scale.y(*d))).collect(), Ink::Series(0), 2.2);
    for (n, (q, d, _)) in points.iter().enumerate() {
        p.dot((x(n), scale.y(*d)), 3.0, Ink::Series(0));
        if n % 2 == 1 || *q > 0.95 {
            let label = format!("p{}", number((q * 1e3).round() / 10.0));
            p.text((x(n), panel.1 + 17.0), &label, SMALL, Align::Center, Ink::Muted);
        }
    }
    p.text((RIGHT, panel.1 + 36.0), "above zero: the second arm is slower there", SMALL, Align::Right, Ink::Muted);
    let description = format!("The change of each quantile of good answers in {}, second arm against first.", s.phase);
    Some(Chart { name, title, description, picture: p })
}

/// Every pair of every gating metric: where it was, where it came to.
fn pairs(c: &Comparison) -> Option<Chart> {
    let metrics: Vec<&MetricReport> =
        c.metrics.iter().filter(|m| m.a.len() == m.b.len() && !m.a.is_empty()).take(3).collect();
    if metrics.is_empty() || c.kind == Kind::History {
        return None;
    }
    let panel = (76.0, 300.0);
    let mut p = Picture::new(WIDTH, 346);
    heading(
        &mut p,
        "Pair by pair",
        "one line for each pair of runs, from the reference to the other arm; ∞ at the top",
    );
    let width = (RIGHT - 20.0) / metrics.len() as f64;
    for (n, m) in metrics.iter().enumerate() {
        let (left, right) = (20.0 + width * n as f64 + 92.0, 20.0 + width * (n + 1) as f64 - 40.0);
        let finite = || m.a.iter().chain(&m.b).filter_map(|v| v.value);
        let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        // Nothing finite, or nothing but zeros, has no scale of its own.
        let (low, high) = if low <= high && (low, high) != (0.0, 0.0) { (low, high) } else { (0.0, 1.0) };
        let margin = (high - low).max(high.abs() * 0.02).max(1e-9) * 0.12;
        let scale = Scale::linear((low - margin, high + margin), panel);
        p.bold((left - 84.0, panel.0 - 18.0), &short(&m.metric, 38), 12.5, Align::Left, Ink::Text);
        scale.draw(&mut p, (left, right), |x| value(super::model::Value::of(x), &m.unit));
        let y = |v: super::model::Value| if v.infinite { Some(panel.0 - 6.0) } else { v.value.map(|x| scale.y(x)) };
        for (a, b) in m.a.iter().zip(&m.b) {
            if let (Some(ya), Some(yb)) = (y(*a), y(*b)) {
                let worse = (b.get() > a.get()) == m.worse_when_higher;
                let ink = if a.get() == b.get() {
                    Ink::Muted
                } else if worse {
                    Ink::Bad
                } else {
                    Ink::Back
                };
                p.line(vec![(left + 12.0, ya), (right - 12.0, yb)], ink, 1.5);
                p.dot((left + 12.0, ya), 3.5, Ink::Series(0));
                p.dot((right - 12.0, yb), 3.5, Ink::Series(1));
            }
        }
        let name = |i: usize| c.arms.get(i).or(c.arms.first()).map_or(String::new(), |a| short(&a.name, 14));
        p.text((left + 12.0, panel.1 + 18.0), &name(0), SMALL, Align::Center, Ink::Muted);
        p.text((right - 12.0, panel.1 + 18.0), &name(1), SMALL, Align::Center, Ink::Muted);
    }
    let description =
        "For each gating metric, one line for each pair of runs, from the reference's value to the other arm's."
            .to_owned();
    Some(Chart { name: "pairs", title: "Pair by pair", description, picture: p })
}
