//! The chart of a history: each metric over its nights, tonight last.

use super::model::{AnswerWord, ChangeReport, Comparison, MetricReport, NightOf, Series, Value};
use super::text::{middle, value};
use crate::report::charts::Chart;
use crate::report::charts::frame::{LEFT, RIGHT, SMALL, Scale, WIDTH, heading};
use crate::report::charts::ink::Ink;
use crate::report::charts::{Align, Picture};
use crate::report::format::{clean, short};

/// Nights drawn, at most: more would be dots upon dots.
const NIGHTS: usize = 90;
/// Height of a metric's part, and of its plot in it.
const PART: f64 = 196.0;
const PLOT: f64 = 128.0;

/// Every gating metric over the nights that count; none without an earlier night.
pub(super) fn nights(c: &Comparison) -> Option<Chart> {
    let history = c.history.as_ref()?;
    let told = |s: &Series| s.nights.iter().any(|n| n.value.infinite || n.value.value.is_some());
    let shown: Vec<&Series> = history.series.iter().filter(|s| s.nights.len() > 1 && told(s)).take(3).collect();
    if shown.is_empty() {
        return None;
    }
    let mut p = Picture::new(WIDTH, (74.0 + PART * shown.len() as f64) as u32);
    let below = "median of each night's runs, tonight last and larger; shaded: changes from the earlier nights' median that do not matter";
    heading(&mut p, "Night by night", below);
    for (n, series) in shown.iter().enumerate() {
        let metric = c.metrics.iter().find(|m| m.metric == series.metric);
        let changes: Vec<&ChangeReport> = history.changes.iter().filter(|x| x.metric == series.metric).collect();
        one(&mut p, series, metric, &changes, 88.0 + PART * n as f64);
    }
    let description = shown.iter().map(|s| described(s)).collect::<Vec<_>>().join(" ");
    Some(Chart { name: "nights", title: "Night by night", description, picture: p })
}

fn described(series: &Series) -> String {
    let last = series.nights.last().map_or(Value::default(), |n| n.value);
    let values: Vec<Value> = series.nights.iter().rev().skip(1).map(|n| n.value).collect();
    format!(
        "{}: tonight {}, median of {} earlier nights {}.",
        clean(&series.metric),
        value(last, &series.unit),
        values.len(),
        value(middle(&values), &series.unit)
    )
}

fn one(p: &mut Picture, series: &Series, metric: Option<&MetricReport>, changes: &[&ChangeReport], top: f64) {
    let nights = &series.nights[series.nights.len().saturating_sub(NIGHTS)..];
    let (tonight, earlier) = nights.split_last().map_or((None, nights), |(last, rest)| (Some(last), rest));
    let usual = middle(&earlier.iter().map(|n| n.value).collect::<Vec<_>>()).value;
    let zone = usual.zip(metric).and_then(|(usual, m)| zone(usual, m));
    let finite = nights.iter().filter_map(|n| n.value.value).chain(zone.into_iter().flat_map(|(a, b)| [a, b]));
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let margin = (high - low).max(high.abs() * 0.02).max(1e-9) * 0.12;
    let panel = (top, top + PLOT);
    let scale = Scale::linear((if low >= 0.0 { (low - margin).max(0.0) } else { low - margin }, high + margin), panel);
    let x = |n: usize| LEFT + 22.0 + n as f64 / (nights.len().max(2) - 1) as f64 * (RIGHT - LEFT - 44.0);
    p.bold((LEFT, top - 10.0), &short(&series.metric, 60), 12.5, Align::Left, Ink::Text);
    if let Some((from, to)) = zone {
        p.rect((LEFT, scale.y(to)), (RIGHT, scale.y(from)), Ink::Phase, 1.0);
    }
    scale.draw(p, (LEFT, RIGHT), |at| value(Value::of(at), &series.unit));
    if let Some(usual) = usual {
        p.dashed(&[(LEFT, scale.y(usual)), (RIGHT, scale.y(usual))], Ink::Muted, 1.2, (5.0, 4.0));
    }
    mark_changes(p, nights, changes, panel, x, &series.unit);
    let place = |night: &NightOf| match night.value {
        Value { infinite: true, .. } => Some(panel.0 - 3.0),
        Value { value, .. } => value.map(|v| scale.y(v)),
    };
    // A night that says nothing breaks the line.
    let known: Vec<Option<f64>> = nights.iter().map(place).collect();
    for (n, pair) in known.windows(2).enumerate() {
        if let [Some(a), Some(b)] = pair {
            p.faint_line(vec![(x(n), *a), (x(n + 1), *b)], Ink::Series(0), 1.6, 0.6);
        }
    }
    for (n, (night, y)) in earlier.iter().zip(&known).enumerate() {
        match y {
            Some(y) if night.value.infinite => p.triangle((x(n), *y), 8.0, true, Ink::Bad),
            Some(y) => p.dot((x(n), *y), 3.6, Ink::Series(0)),
            None => {}
        }
    }
    if let (Some(night), Some(Some(y))) = (tonight, known.last()) {
        let (at, ink) = (x(nights.len() - 1), ink(metric));
        match night.value.infinite {
            true => p.triangle((at, *y), 12.0, true, ink),
            false => p.dot((at, *y), 6.5, ink),
        }
        let words = metric.map_or("", |m| m.answer.words());
        let told = format!("tonight {}: {words}", value(night.value, &series.unit));
        p.bold((RIGHT, top - 10.0), told.trim_end_matches(": "), 12.5, Align::Right, ink);
    }
    dates(p, nights, panel.1 + 17.0, x);
}

/// Around what is usual, what does not matter.
fn zone(usual: f64, m: &MetricReport) -> Option<(f64, f64)> {
    let matters = m.min_effect?;
    Some(if m.relative {
        // The edges of the decision: ln(1 − f) and ln(1 + f).
        (usual * (1.0 - matters).max(0.0), usual * (1.0 + matters))
    } else {
        ((usual - matters).max(0.0), usual + matters)
    })
}

fn ink(metric: Option<&MetricReport>) -> Ink {
    match metric.map(|m| m.answer) {
        Some(AnswerWord::Regressed) => Ink::Bad,
        Some(AnswerWord::Inconclusive) => Ink::Slow,
        _ => Ink::Back,
    }
}

fn mark_changes(
    p: &mut Picture,
    nights: &[NightOf],
    changes: &[&ChangeReport],
    panel: (f64, f64),
    x: impl Fn(usize) -> f64,
    unit: &str,
) {
    for change in changes {
        let Some(n) = nights.iter().position(|n| n.at == change.at).filter(|n| *n > 0) else { continue };
        let at = (x(n - 1) + x(n)) / 2.0;
        p.dashed(&[(at, panel.0), (at, panel.1)], Ink::Fault, 2.0, (6.0, 4.0));
        let [before, after] = [change.before_mean, change.after_mean].map(|m| value(Value::of(m), unit));
        // Towards the middle, where there is room for it.
        let (side, align) = if at > (LEFT + RIGHT) / 2.0 { (-6.0, Align::Right) } else { (6.0, Align::Left) };
        p.text((at + side, panel.0 + 12.0), &format!("mean {before} → {after}"), SMALL, align, Ink::Fault);
    }
}

/// Month and day under as many nights as there is room for; the time of day where all are of one day.
fn dates(p: &mut Picture, nights: &[NightOf], y: f64, x: impl Fn(usize) -> f64) {
    let every = nights.len().div_ceil(14).max(1);
    let one_day = nights.windows(2).all(|w| w[0].at.get(..10) == w[1].at.get(..10));
    let part = if one_day { 11..16 } else { 5..10 };
    for (n, night) in nights.iter().enumerate().filter(|(n, _)| (nights.len() - 1 - n).is_multiple_of(every)) {
        let day = night.at.get(part.clone()).unwrap_or(&night.at);
        p.text((x(n), y), &short(day, 10), SMALL, Align::Center, Ink::Muted);
    }
}
