//! How much of each second was good, against what was promised: the missing part hangs from 100 %.
//!
//! Bars hang because the axis is zoomed: their length is the share that was missing, whatever the axis
//! begins with. Where seconds are joined, the worst of them is drawn.

use super::Chart;
use super::columns::{Column, join, width_s};
use super::frame::{
    LEFT, RIGHT, SMALL, Scale, TimeAxis, WIDTH, bound_words, ground, heading, lanes, marks, n_planned, width_of,
};
use super::ink::Ink;
use super::picture::{Align, Picture};
use super::timeline::COLUMNS;
use crate::report::format::{chosen_ms, percent, percent_bound};
use crate::report::model::Report;
use crate::report::story::{cut_off_note, good_share};

const TITLE: &str = "Share of good requests over time";

/// Draws it; none for a run without arrivals.
pub(super) fn draw(report: &Report) -> Option<Chart> {
    let columns = join(report, width_s(report, COLUMNS));
    let worst = columns.iter().filter_map(|c| c.worst_share).reduce(f64::min)?;
    let axis = TimeAxis::of(report);
    let top = lanes(&mut Picture::new(WIDTH, 1), report, axis, 54.0) + 6.0;
    let panel = (top, top + 200.0);
    let note = cut_off_note(report);
    let mut p = Picture::new(WIDTH, (panel.1 + if note.is_some() { 58.0 } else { 42.0 }) as u32);
    let within = format!("within {} ({})", chosen_ms(report.plan.within_ms), report.plan.within_source);
    heading(&mut p, TITLE, &format!("Good {within}; {}, by due", n_planned(report)));
    lanes(&mut p, report, axis, 54.0);
    ground(&mut p, report, axis, panel);
    let lowest = worst.min(report.plan.good_target.unwrap_or(1.0));
    let scale = Scale::linear((floor_of(lowest), 1.0), panel);
    scale.draw(&mut p, (LEFT, RIGHT), percent_bound);
    missing(&mut p, report, axis, &scale, &columns);
    marks(&mut p, report, axis, panel);
    if let Some(target) = report.plan.good_target {
        let y = scale.y(target);
        p.dashed(&[(LEFT, y), (RIGHT, y)], Ink::Bound, 1.5, (9.0, 4.0));
        bound_words(&mut p, panel.0, (RIGHT, y), &format!("objective {} good", percent_bound(target)));
    }
    phase_shares(&mut p, report, axis, &scale);
    axis.draw(&mut p, panel.1);
    if let Some(note) = note {
        p.text((LEFT, panel.1 + 49.0), &note, SMALL, Align::Left, Ink::Muted);
    }
    Some(Chart { name: "compliance", title: TITLE, description: describe(report, worst), picture: p })
}

fn describe(report: &Report, worst: f64) -> String {
    let phases = report
        .phases
        .iter()
        .filter_map(|phase| good_share(report, &phase.name).map(|share| format!("{} {}", phase.name, percent(share))));
    let phases: Vec<String> = phases.take(20).collect();
    format!(
        "For each second the share of planned requests that were answered well in time; the missing share hangs from \
         100 %. By phase: {}. The worst second: {}.",
        phases.join(", "),
        percent(worst)
    )
}

/// Where the axis begins: close enough to the worst value that small losses show.
fn floor_of(worst: f64) -> f64 {
    [0.99, 0.95, 0.9, 0.8, 0.7, 0.5].into_iter().find(|floor| worst >= floor + (1.0 - floor) * 0.1).unwrap_or(0.0)
}

fn missing(p: &mut Picture, report: &Report, axis: TimeAxis, scale: &Scale, columns: &[Column]) {
    let below = |share: f64| report.plan.good_target.is_some_and(|target| share < target);
    for (under, ink) in [(false, Ink::Slow), (true, Ink::Bad)] {
        let bars = columns.iter().filter_map(|c| c.worst_share.map(|share| (c, share)));
        let bars = bars.filter(|(_, share)| below(*share) == under);
        let corners = bars.map(|(c, share)| ((axis.x(c.start_s), scale.y(1.0)), (axis.x(c.end_s), scale.y(share))));
        let corners: Vec<_> = corners.collect();
        corners.iter().for_each(|(from, to)| p.rect(*from, *to, ink, 1.0));
        if under {
            corners.iter().for_each(|(from, to)| p.hatch(*from, *to, Ink::Paper, 4.0));
        }
    }
}

/// The share of each phase: a line at its height, and the number on it.
fn phase_shares(p: &mut Picture, report: &Report, axis: TimeAxis, scale: &Scale) {
    for phase in &report.phases {
        let Some(share) = good_share(report, &phase.name) else { continue };
        let (x0, x1) = (axis.x(phase.start_at_s), axis.x(phase.start_at_s + phase.duration_s));
        let y = scale.y(share);
        p.line(vec![(x0, y), (x1, y)], Ink::Text, 2.0);
        let words = percent(share);
        if width_of(&words, 13.0) < x1 - x0 {
            // At the foot, where neither bars nor the objective are in the way unless nearly nothing was good.
            p.bold(((x0 + x1) / 2.0, scale.y(0.0) - 9.0), &words, 13.0, Align::Center, Ink::Text);
        }
    }
    let words = "line and number at the foot: share over the phase · bar: missing in the worst second, hatched where below the objective";
    let words = if report.plan.good_target.is_some() {
        words
    } else {
        "line and number at the foot: share over the phase · bar: missing in the worst second"
    };
    p.text((LEFT, scale.y(0.0) + 33.0), words, SMALL, Align::Left, Ink::Muted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_leaves_room_below_the_worst_second() {
        for (worst, floor) in [(1.0, 0.99), (0.985, 0.95), (0.951, 0.9), (0.7, 0.5), (0.3, 0.0), (0.0, 0.0)] {
            assert_eq!(floor_of(worst), floor, "{worst}");
        }
    }
}
