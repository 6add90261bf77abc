//! Where the latencies lie at each moment: two humps, slow drifts and queues that percentiles hide.

use super::Chart;
use super::frame::{
    LEFT, RIGHT, SMALL, Scale, TimeAxis, WIDTH, heading, lanes, marks, promise_lines, tick_us, width_of,
};
use super::ink::{HEAT, Ink};
use super::picture::{Align, Picture};
use crate::report::format::{count, time_s};
use crate::report::model::Report;

/// Columns at most; joined by adding counts.
const COLUMNS: usize = 240;

/// Draws it; none without counts.
pub(super) fn draw(report: &Report) -> Option<Chart> {
    let map = &report.heatmap;
    let joined = (map.columns.len().max(map.failed.len())).div_ceil(COLUMNS).max(1);
    let columns: Vec<Vec<u64>> = map.columns.chunks(joined).map(sum).collect();
    let failed: Vec<u64> = map.failed.chunks(joined).map(|c| c.iter().sum()).collect();
    let rows = map.edges_us.len().checked_sub(1)?;
    let most = columns.iter().flatten().copied().max().filter(|m| *m > 0)?;
    let used = |row: usize| columns.iter().any(|c| c.get(row).is_some_and(|n| *n > 0));
    let (first, last) = ((0..rows).find(|r| used(*r))?, (0..rows).rev().find(|r| used(*r))?);

    let axis = TimeAxis::of(report);
    let top = lanes(&mut Picture::new(WIDTH, 1), report, axis, 54.0) + 6.0;
    let strip = if failed.iter().any(|n| *n > 0) { 24.0 } else { 0.0 };
    let panel = (top + strip, top + strip + 250.0);
    let mut p = Picture::new(WIDTH, (panel.1 + 44.0) as u32);
    let width_s = map.column_s * joined as f64;
    let total = columns.iter().flatten().sum();
    let below = format!(
        "Good answers by latency (log axis) and time of being due; n = {}, {} a column",
        count(total),
        time_s(width_s)
    );
    heading(&mut p, "Latency heat map", &below);
    lanes(&mut p, report, axis, 54.0);
    let scale = Scale::log((map.edges_us[first].max(1.0), map.edges_us[last + 1]), panel);
    p.rect((LEFT, panel.0), (RIGHT, panel.1), Ink::Phase, 1.0);
    scale.draw(&mut p, (LEFT, RIGHT), tick_us);
    cells(&mut p, axis, &scale, &columns, (width_s, &map.edges_us, most));
    if strip > 0.0 {
        failures(&mut p, axis, &failed, (width_s, top));
    }
    marks(&mut p, report, axis, (top, panel.1));
    promise_lines(&mut p, report, axis, &scale);
    axis.draw(&mut p, panel.1);
    key(&mut p, most, panel.1 + 26.0);
    let description = format!(
        "Time from left to right, latency from bottom to top on a log axis, colour by how many of {} good answers fell \
         into a cell, at most {}. A strip above counts failed and shed requests.",
        count(total),
        count(most)
    );
    Some(Chart { name: "heatmap", title: "Latency heat map", description, picture: p })
}

fn sum(columns: &[Vec<u64>]) -> Vec<u64> {
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    (0..rows).map(|row| columns.iter().filter_map(|c| c.get(row)).sum()).collect()
}

/// Step on the colour scale: logarithmic, so that single answers show beside thousands.
fn heat(n: u64, most: u64) -> u8 {
    let share = (n as f64).ln() / (most.max(2) as f64).ln();
    ((share * f64::from(HEAT)) as u8).min(HEAT - 1)
}

fn cells(
    p: &mut Picture,
    axis: TimeAxis,
    scale: &Scale,
    columns: &[Vec<u64>],
    (width_s, edges, most): (f64, &[f64], u64),
) {
    // One colour after the other, so that each becomes a single path.
    for step in 0..HEAT {
        for (n, column) in columns.iter().enumerate() {
            let (x0, x1) = (axis.x(n as f64 * width_s), axis.x((n + 1) as f64 * width_s));
            let rows: Vec<usize> = (0..column.len().min(edges.len() - 1))
                .filter(|r| column[*r] > 0 && heat(column[*r], most) == step)
                .collect();
            for run in rows.chunk_by(|a, b| a + 1 == *b) {
                let (low, high) = (edges[run[0]], edges[run[run.len() - 1] + 1]);
                p.rect((x0, scale.y(high)), (x1, scale.y(low)), Ink::Heat(step), 1.0);
            }
        }
    }
}

fn failures(p: &mut Picture, axis: TimeAxis, failed: &[u64], (width_s, top): (f64, f64)) {
    let most = failed.iter().copied().max().unwrap_or(1).max(1) as f64;
    p.text((LEFT - 8.0, top + 15.0), "not good", SMALL, Align::Right, Ink::Muted);
    for (n, failed) in failed.iter().enumerate().filter(|(_, n)| **n > 0) {
        // At least three pixels high: one failure in a thousand must still be seen.
        let height = 3.0 + 15.0 * *failed as f64 / most;
        let x = |n: usize| axis.x(n as f64 * width_s);
        p.rect((x(n), top + 19.0 - height), (x(n + 1), top + 19.0), Ink::Bad, 1.0);
    }
}

fn key(p: &mut Picture, most: u64, y: f64) {
    let mut x = LEFT;
    p.text((x, y + 9.0), "1", SMALL, Align::Left, Ink::Muted);
    x += 12.0;
    for step in 0..HEAT {
        p.rect((x, y), (x + 14.0, y + 10.0), Ink::Heat(step), 1.0);
        x += 14.0;
    }
    let words = format!("{} answers in a cell, log", count(most));
    p.text((x + 6.0, y + 9.0), &words, SMALL, Align::Left, Ink::Muted);
    debug_assert!(x + width_of(&words, SMALL) < RIGHT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_runs_from_one_to_the_most() {
        assert_eq!((heat(1, 1000), heat(1000, 1000), heat(1, 1)), (0, HEAT - 1, 0));
        assert!((1..1000).all(|n| heat(n, 1000) <= heat(n + 1, 1000)));
    }

    #[test]
    fn joining_columns_adds_their_counts() {
        assert_eq!(sum(&[vec![1, 2], vec![3, 4, 5]]), [4, 6, 5]);
    }
}
