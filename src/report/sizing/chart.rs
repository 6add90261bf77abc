//! Latency over offered rate: every trial of every search, with the answer.

use super::model::{SearchReport, Sizing};
use crate::report::charts::frame::{LEFT, SMALL, Scale, WIDTH, heading, nice_step, tick_us};
use crate::report::charts::ink::Ink;
use crate::report::charts::{Align, Chart, Picture, Point};
use crate::report::format::{number, rate, short};

/// Draws it; none without a finite p99.
pub(super) fn curve(sizing: &Sizing) -> Option<Chart> {
    let trials = || sizing.searches.iter().flat_map(|s| &s.trials);
    let finite = || trials().filter_map(|t| t.p99_us).filter(|us| *us > 0.0);
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(0.0, f64::max));
    if !low.is_finite() {
        return None;
    }
    let most = trials().map(|t| t.rate_rps).fold(0.0, f64::max) * 1.05;
    let (panel, right) = ((62.0, 380.0), 840.0);
    let mut p = Picture::new(WIDTH, 432);
    heading(
        &mut p,
        "Latency over offered rate",
        "p99 of each trial, log axis; filled: passed, cross: failed; at the top: infinite",
    );
    let scale = Scale::log((low * 0.9, high * 1.1), panel);
    scale.draw(&mut p, (LEFT, right), tick_us);
    let x = |r: f64| LEFT + r / most * (right - LEFT);
    let step = nice_step(most / 10.0);
    p.line(vec![(LEFT, panel.1), (right, panel.1)], Ink::Muted, 1.0);
    for n in 0..=(most / step) as u32 {
        let at = f64::from(n) * step;
        p.text((x(at), panel.1 + 17.0), &number(at), SMALL, Align::Center, Ink::Muted);
    }
    p.text((right, panel.1 + 36.0), "offered, requests per second", SMALL, Align::Right, Ink::Muted);
    for (n, search) in sizing.searches.iter().enumerate() {
        draw(&mut p, search, n, &x, &scale, panel.0);
        legend(&mut p, search, n, (right + 26.0, panel.0 + 10.0 + 66.0 * n as f64));
    }
    let description = sizing.searches.iter().map(|s| s.words.clone()).collect::<Vec<_>>().join(". ");
    Some(Chart { name: "capacity", title: "Latency over offered rate", description, picture: p })
}

fn draw(p: &mut Picture, search: &SearchReport, n: usize, x: &impl Fn(f64) -> f64, scale: &Scale, top: f64) {
    let ink = Ink::Series(n as u8);
    if let Some(rps) = search.carried_rps {
        let upright = [(x(rps), top), (x(rps), scale.y(0.0))];
        p.dashed(&upright, ink, 1.8, if n == 0 { (9.0, 3.0) } else { (3.0, 3.0) });
    }
    let mut trials: Vec<_> = search.trials.iter().collect();
    trials.sort_by(|a, b| a.rate_rps.total_cmp(&b.rate_rps));
    let points: Vec<Point> = trials.iter().filter_map(|t| t.p99_us.map(|us| (x(t.rate_rps), scale.y(us)))).collect();
    p.faint_line(points, ink, 1.2, 0.5);
    for t in trials {
        let (px, py) = (x(t.rate_rps), t.p99_us.map_or(top - 6.0, |us| scale.y(us)));
        if t.verdict == "passed" {
            p.dot((px, py), if t.confirm { 6.5 } else { 4.5 }, ink);
        } else {
            let r = if t.confirm { 6.5 } else { 4.5 };
            p.line(vec![(px - r, py - r), (px + r, py + r)], ink, 2.0);
            p.line(vec![(px - r, py + r), (px + r, py - r)], ink, 2.0);
        }
    }
}

fn legend(p: &mut Picture, search: &SearchReport, n: usize, (x, y): Point) {
    let ink = Ink::Series(n as u8);
    p.dashed(&[(x, y - 4.0), (x + 26.0, y - 4.0)], ink, 1.8, if n == 0 { (9.0, 3.0) } else { (3.0, 3.0) });
    let name = search.under.as_ref().map_or("all alive".to_owned(), |f| format!("under {f}"));
    p.text((x + 34.0, y), &short(&name, 26), 12.5, Align::Left, Ink::Text);
    let carried = search.carried_rps.map_or("limit not found".to_owned(), |r| format!("carries {}", rate(r)));
    p.text((x + 34.0, y + 16.0), &carried, SMALL, Align::Left, Ink::Muted);
    if let Some(knee) = search.knee_rps {
        p.text((x + 34.0, y + 31.0), &format!("knee at {}", rate(knee)), SMALL, Align::Left, Ink::Muted);
    }
}
