//! What charts over time share: the axis, the lanes of phases, faults and platform events above the panels,
//! and the shading behind them. Also the vertical scales, for every chart.

use super::columns::end_s;
use super::ink::Ink;
use super::picture::{Align, Picture, Point};
use crate::report::format::{INFINITE, count, number, objective_bound, short, time_s, time_us};
use crate::report::model::{AlertReport, EventReport, FaultReport, Report, SpanReport};

/// Width of every chart, CSS pixels.
pub(in crate::report) const WIDTH: u32 = 1100;
/// Left edge of the plots.
pub(in crate::report) const LEFT: f64 = 74.0;
/// Right edge of the plots.
pub(in crate::report) const RIGHT: f64 = 1084.0;
/// Size of most words.
pub(in crate::report) const SMALL: f64 = 11.5;

/// Lanes of faults that fit; the rest is counted in words.
const LANES: usize = 6;
const LANE: f64 = 23.0;
/// Platform events drawn; more would be a blot.
const EVENTS: usize = 200;

/// A vertical scale between two heights.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    top: f64,
    bottom: f64,
}

impl Scale {
    /// From `low` at the bottom to `high` at the top.
    pub(in crate::report) fn linear((low, high): (f64, f64), (top, bottom): (f64, f64)) -> Scale {
        Scale { low, high: if high > low { high } else { low + 1.0 }, log: false, top, bottom }
    }

    /// Times in µs, whole decades or their halves (1, 2, 5).
    pub(in crate::report) fn log((low, high): (f64, f64), (top, bottom): (f64, f64)) -> Scale {
        let (low, high) = (step_below(low.max(1e-3)), step_above(high.max(2e-3)));
        Scale { low, high: if high > low { high } else { low * 10.0 }, log: true, top, bottom }
    }

    /// Height of a value; values outside are put on the edge.
    pub(in crate::report) fn y(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// Does a value lie on it, or would it be put on the edge?
    pub(in crate::report) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Round values, at most about eight.
    pub(in crate::report) fn ticks(&self) -> Vec<f64> {
        if !self.log {
            let most = ((self.bottom - self.top) / 28.0).clamp(2.0, 5.0);
            let step = nice_step((self.high - self.low) / most);
            let first = (self.low / step).ceil() as i64;
            let last = (self.high / step + 1e-9).floor() as i64;
            return (first..=last).map(|n| n as f64 * step).collect();
        }
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let first = self.low.log10().floor() as i32;
        (first..=first + decades.ceil() as i32 + 1)
            .flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)))
            .filter(|v| *v >= self.low * 0.999 && *v <= self.high * 1.001)
            .collect()
    }

    /// Grid lines and labels from `left` to `right`.
    pub(in crate::report) fn draw(&self, p: &mut Picture, (left, right): (f64, f64), label: impl Fn(f64) -> String) {
        for value in self.ticks() {
            let y = self.y(value);
            p.line(vec![(left, y), (right, y)], Ink::Grid, 1.0);
            p.text((left - 8.0, y + 4.0), &label(value), SMALL, Align::Right, Ink::Muted);
        }
    }
}

/// Label of a round time: `5 ms`, not `5.00 ms`.
pub(in crate::report) fn tick_us(us: f64) -> String {
    let text = time_us(us);
    match text.split_once(' ') {
        Some((digits, unit)) if digits.contains('.') => {
            format!("{} {unit}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// 1, 2 or 5 times a power of ten, at least `x`.
pub(in crate::report) fn nice_step(x: f64) -> f64 {
    step_above(x.max(1e-12))
}

fn step_above(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|v| *v >= x * 0.999_999).unwrap_or(10.0 * power)
}

fn step_below(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|s| s * power).find(|v| *v <= x * 1.000_001).unwrap_or(power)
}

/// Seconds since the start, from left to right.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct TimeAxis {
    end_s: f64,
}

impl TimeAxis {
    pub(in crate::report) fn of(report: &Report) -> TimeAxis {
        TimeAxis { end_s: end_s(report) }
    }

    /// Place of an instant, held inside the plot.
    pub(in crate::report) fn x(&self, s: f64) -> f64 {
        LEFT + (s / self.end_s).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn step_s(&self) -> f64 {
        let steps = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];
        steps.into_iter().find(|s| self.end_s / s <= 14.0).unwrap_or_else(|| nice_step(self.end_s / 14.0))
    }

    /// Ticks and labels under a plot whose foot is at `y`.
    pub(in crate::report) fn draw(&self, p: &mut Picture, y: f64) {
        let step = self.step_s();
        p.line(vec![(LEFT, y), (RIGHT, y)], Ink::Muted, 1.0);
        for n in 0..=(self.end_s / step + 1e-9) as u32 {
            let s = f64::from(n) * step;
            let x = self.x(s);
            p.line(vec![(x, y), (x, y + 4.0)], Ink::Muted, 1.0);
            let label = if step >= 60.0 { format!("{} min", s / 60.0) } else { format!("{s} s") };
            let align = if x > RIGHT - 20.0 { Align::Right } else { Align::Center };
            p.text((x, y + 17.0), &label, SMALL, align, Ink::Muted);
        }
        p.text((RIGHT, y + 33.0), "time since the start, by due", SMALL, Align::Right, Ink::Muted);
    }
}

/// Title, and under it what is shown, in which unit, of how many.
pub(in crate::report) fn heading(p: &mut Picture, title: &str, below: &str) {
    p.title(title);
    p.text((8.0, 38.0), below, 12.5, Align::Left, Ink::Muted);
}

/// How wide words are about to be: good enough to keep labels apart.
pub(in crate::report) fn width_of(text: &str, size: f64) -> f64 {
    let em: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 't' | 'f' | 'r' | 'I' | ' ' | '.' | ',' | ':' | '(' | ')' | '-' => 0.36,
            'm' | 'w' | 'M' | 'W' | '%' => 0.9,
            'A'..='Z' => 0.68,
            _ => 0.6,
        })
        .sum();
    em * size
}

/// Phases, faults and platform events above the panels. Returns the height below them.
pub(in crate::report) fn lanes(p: &mut Picture, report: &Report, axis: TimeAxis, top: f64) -> f64 {
    phase_lane(p, report, axis, top);
    let mut y = top + 25.0;
    y = fault_lanes(p, report, axis, y);
    if events(report).next().is_some() {
        lane_name(p, y, "replicas");
        event_lane(p, report, axis, y);
        y += LANE;
    }
    if alerts(report).next().is_some() {
        lane_name(p, y, "alerts");
        alert_lane(p, report, axis, y);
        y += LANE;
    }
    y + 4.0
}

fn lane_name(p: &mut Picture, y: f64, name: &str) {
    p.text((LEFT - 8.0, y + 13.0), name, SMALL, Align::Right, Ink::Muted);
}

fn phase_lane(p: &mut Picture, report: &Report, axis: TimeAxis, y: f64) {
    lane_name(p, y, "phases");
    for phase in &report.phases {
        let (x0, x1) = (axis.x(phase.start_at_s), axis.x(phase.start_at_s + phase.duration_s));
        p.rect((x0, y), (x1 - 2.0, y + 19.0), Ink::Grid, 1.0);
        if !phase.measured {
            p.hatch((x0, y), (x1 - 2.0, y + 19.0), Ink::Paper, 6.0);
        }
        let room = x1 - x0 - 8.0;
        let long = if phase.measured { phase.name.clone() } else { format!("{} (not measured)", phase.name) };
        if let Some(name) = [long, phase.name.clone()].into_iter().find(|n| width_of(n, SMALL) < room) {
            p.text(((x0 + x1) / 2.0, y + 13.5), &name, SMALL, Align::Center, Ink::Text);
        }
    }
}

/// First and last instant of a fault on the chart: planned or real, then the trouble it made.
fn stretch(f: &FaultReport, end_s: f64) -> (f64, f64) {
    let ends =
        [f.planned_end_at_s, f.reverted_at_s, f.impact.recovered_at_s, f.applied_at_s, actual(f, end_s).map(|a| a.1)];
    let last = ends.into_iter().flatten().fold(f.planned_at_s, f64::max);
    (f.applied_at_s.unwrap_or(f.planned_at_s).min(f.planned_at_s), last)
}

/// When a fault was really there; a one-shot fault is an instant.
fn actual(f: &FaultReport, end_s: f64) -> Option<(f64, f64)> {
    let from = f.applied_at_s?;
    let to = match (f.reverted_at_s, f.planned_end_at_s) {
        (Some(to), _) => to,
        (None, Some(_)) => end_s,
        (None, None) => from,
    };
    Some((from, to.max(from)))
}

/// When requests suffered: onset to recovery, or to the end when it never came.
fn hurt(f: &FaultReport, end_s: f64) -> Option<(f64, f64)> {
    let from = f.impact.onset_at_s?;
    Some((from, f.impact.recovered_at_s.unwrap_or(end_s).max(from)))
}

fn fault_lanes(p: &mut Picture, report: &Report, axis: TimeAxis, top: f64) -> f64 {
    if report.faults.is_empty() {
        return top;
    }
    // Greedy packing: the first lane whose last word ends before this fault begins.
    let mut free: Vec<f64> = vec![];
    let mut left_out = 0;
    lane_name(p, top, "faults");
    for fault in &report.faults {
        let label = format!("{} ({})", fault.name, fault.kind);
        let (from, to) = stretch(fault, axis.end_s);
        let (x0, x1) = (axis.x(from), axis.x(to).max(axis.x(from) + 3.0));
        let words = width_of(&label, SMALL) + 12.0;
        let before = x1 + words > RIGHT;
        let (begin, end) = if before { (x0 - words, x1) } else { (x0, x1 + words) };
        let lane = match free.iter().position(|f| *f <= begin) {
            Some(lane) => lane,
            None if free.len() < LANES => {
                free.push(0.0);
                free.len() - 1
            }
            None => {
                left_out += 1;
                continue;
            }
        };
        free[lane] = end + 6.0;
        let y = top + lane as f64 * LANE;
        fault_band(p, fault, axis, y);
        let (x, align) = if before { (x0 - 6.0, Align::Right) } else { (x1 + 6.0, Align::Left) };
        p.text((x, y + 13.0), &label, SMALL, align, Ink::Text);
    }
    let mut y = top + free.len() as f64 * LANE;
    if left_out > 0 {
        p.text((LEFT, y + 11.0), &format!("and {left_out} more, in the table"), SMALL, Align::Left, Ink::Muted);
        y += LANE;
    }
    y
}

/// Planned: hatched. Actual: solid. Beneath: from onset to recovery, with a mark at each end.
fn fault_band(p: &mut Picture, fault: &FaultReport, axis: TimeAxis, y: f64) {
    let planned = (axis.x(fault.planned_at_s), axis.x(fault.planned_end_at_s.unwrap_or(fault.planned_at_s)));
    let planned = (planned.0, planned.1.max(planned.0 + 6.0));
    let (top, bottom) = (y + 1.0, y + 14.0);
    p.hatch((planned.0, top), (planned.1, bottom), Ink::Fault, 5.0);
    p.line(rectangle((planned.0, top), (planned.1, bottom)), Ink::Fault, 1.0);
    if let Some((from, to)) = actual(fault, axis.end_s) {
        let (x0, x1) = (axis.x(from), axis.x(to));
        p.rect((x0, top + 3.0), (x1.max(x0 + 3.0), bottom - 3.0), Ink::Fault, 1.0);
    }
    if let Some((from, to)) = hurt(fault, axis.end_s) {
        let (x0, x1, y) = (axis.x(from), axis.x(to), bottom + 2.0);
        p.line(vec![(x0, y), (x1.max(x0 + 1.0), y)], Ink::Bad, 2.0);
        p.triangle((x0, y + 2.0), 6.5, false, Ink::Bad);
        if fault.impact.recovered_at_s.is_some() {
            p.triangle((x1, y - 4.5), 6.5, true, Ink::Back);
        }
    }
}

fn rectangle(from: Point, to: Point) -> Vec<Point> {
    vec![from, (to.0, from.1), to, (from.0, to.1), from]
}

/// What happened on the platform while there was load; what came before stands in the table.
fn events(report: &Report) -> impl Iterator<Item = &EventReport> {
    report.platform_events.iter().filter(|e| e.at_s > 0.0)
}

fn event_lane(p: &mut Picture, report: &Report, axis: TimeAxis, y: f64) {
    let exited_at = |e: &EventReport| {
        let near =
            |other: &&EventReport| other.replica == e.replica && (axis.x(other.at_s) - axis.x(e.at_s)).abs() < 8.0;
        events(report).filter(near).any(|other| other.kind == "exited")
    };
    for event in events(report).take(EVENTS) {
        let x = axis.x(event.at_s);
        match event.kind.as_str() {
            "ready" => p.triangle((x, y + 5.0), 8.0, true, Ink::Back),
            // The cross of the exit that made it so stands there already.
            "not_ready" if exited_at(event) => {}
            "not_ready" => p.triangle((x, y + 14.0), 8.0, false, Ink::Bad),
            "exited" | "gone" => {
                p.line(vec![(x - 4.0, y + 5.0), (x + 4.0, y + 13.0)], Ink::Bad, 1.8);
                p.line(vec![(x - 4.0, y + 13.0), (x + 4.0, y + 5.0)], Ink::Bad, 1.8);
            }
            _ => p.line(vec![(x, y + 5.0), (x, y + 13.0)], Ink::Muted, 1.5),
        }
    }
}

/// Alerts that were seen firing, whether that proves anything or not.
fn alerts(report: &Report) -> impl Iterator<Item = (&AlertReport, f64)> {
    report.probes.iter().flat_map(|p| &p.alerts).filter_map(|a| a.fired_at_s.map(|at| (a, at)))
}

/// From the last look that saw it quiet: thin; from the first that saw it firing to the end of it: thick, with its name.
fn alert_lane(p: &mut Picture, report: &Report, axis: TimeAxis, y: f64) {
    let mut free = f64::MIN;
    for (alert, at) in alerts(report).take(EVENTS) {
        let (x0, x1) = (axis.x(at), axis.x(alert.resolved_at_s.unwrap_or(axis.end_s).max(at)));
        let quiet = axis.x(alert.not_fired_at_s.unwrap_or(at).min(at));
        p.line(vec![(quiet, y + 9.0), (x0, y + 9.0)], Ink::Bad, 1.0);
        p.rect((x0, y + 4.0), (x1.max(x0 + 3.0), y + 7.0), Ink::Bad, 1.0);
        p.triangle((x0, y + 9.0), 8.0, true, Ink::Bad);
        let label = match alert.time_to_alert_s {
            Some(took) => format!("{} after {}", short(&alert.alert, 40), time_s(took)),
            None => short(&alert.alert, 40),
        };
        let wide = width_of(&label, SMALL);
        let x = if x0 + wide + 8.0 > RIGHT { x0 - wide - 8.0 } else { x0 + 8.0 };
        if x > free {
            p.text((x, y + 18.0), &label, SMALL, Align::Left, Ink::Text);
            free = x + wide + 8.0;
        }
    }
}

/// What the signs of the lanes mean, beginning at `x`.
pub(in crate::report) fn lane_legend(p: &mut Picture, report: &Report, (mut x, y): Point) {
    let mut word = |p: &mut Picture, sign: &dyn Fn(&mut Picture, f64), text: &str| {
        sign(p, x);
        p.text((x + 16.0, y + 4.0), text, SMALL, Align::Left, Ink::Muted);
        x += 16.0 + width_of(text, SMALL) + 14.0;
    };
    if !report.faults.is_empty() {
        word(p, &|p, x| p.hatch((x, y - 6.0), (x + 12.0, y + 6.0), Ink::Fault, 4.0), "fault as planned");
        word(p, &|p, x| p.rect((x, y - 4.0), (x + 12.0, y + 4.0), Ink::Fault, 1.0), "fault in force");
        if report.faults.iter().any(|f| f.impact.onset_at_s.is_some()) {
            word(p, &|p, x| p.triangle((x + 6.0, y + 4.0), 8.0, false, Ink::Bad), "begins to hurt");
        }
        if report.faults.iter().any(|f| f.impact.recovered_at_s.is_some()) {
            word(p, &|p, x| p.triangle((x + 6.0, y - 4.0), 8.0, true, Ink::Back), "recovered");
        }
    }
    let cross = |p: &mut Picture, x: f64| {
        p.line(vec![(x + 2.0, y - 4.0), (x + 10.0, y + 4.0)], Ink::Bad, 1.8);
        p.line(vec![(x + 2.0, y + 4.0), (x + 10.0, y - 4.0)], Ink::Bad, 1.8);
    };
    let happened = |kind: &str| events(report).any(|e| e.kind == kind);
    if happened("exited") || happened("gone") {
        word(p, &cross, "replica exited");
    }
    if happened("not_ready") {
        word(p, &|p, x| p.triangle((x + 6.0, y + 4.0), 8.0, false, Ink::Bad), "replica not ready");
    }
    if happened("started") {
        word(p, &|p, x| p.line(vec![(x + 6.0, y - 4.0), (x + 6.0, y + 4.0)], Ink::Muted, 1.5), "replica started");
    }
    if happened("ready") {
        word(p, &|p, x| p.triangle((x + 6.0, y - 4.0), 8.0, true, Ink::Back), "replica ready");
    }
    if alerts(report).next().is_some() {
        word(p, &|p, x| p.triangle((x + 6.0, y - 4.0), 8.0, true, Ink::Bad), "alert fires");
    }
}

/// Behind a panel: every second phase, faults in force, the time that requests suffered.
pub(in crate::report) fn ground(p: &mut Picture, report: &Report, axis: TimeAxis, (top, bottom): (f64, f64)) {
    for (n, phase) in report.phases.iter().enumerate() {
        if n % 2 == 0 {
            let (x0, x1) = (axis.x(phase.start_at_s), axis.x(phase.start_at_s + phase.duration_s));
            p.rect((x0, top), (x1, bottom), Ink::Phase, 1.0);
        }
    }
    for fault in &report.faults {
        if let Some((from, to)) = actual(fault, axis.end_s).filter(|(from, to)| to > from) {
            p.rect((axis.x(from), top), (axis.x(to), bottom), Ink::Fault, 0.14);
        }
        if let Some((from, to)) = hurt(fault, axis.end_s) {
            p.rect((axis.x(from), top), (axis.x(to), bottom), Ink::Bad, 0.08);
        }
    }
}

/// Before a panel: when faults were applied and reverted, when they began to hurt, when that was over.
pub(in crate::report) fn marks(p: &mut Picture, report: &Report, axis: TimeAxis, (top, bottom): (f64, f64)) {
    let upright = |s: f64| [(axis.x(s), top), (axis.x(s), bottom)];
    for fault in &report.faults {
        if let Some((from, to)) = actual(fault, axis.end_s) {
            p.line(upright(from).to_vec(), Ink::Fault, 1.5);
            if to > from {
                p.line(upright(to).to_vec(), Ink::Fault, 1.0);
            }
        }
        if let Some(onset) = fault.impact.onset_at_s {
            p.dashed(&upright(onset), Ink::Bad, 1.0, (2.0, 3.0));
        }
        if let Some(back) = fault.impact.recovered_at_s {
            p.dashed(&upright(back), Ink::Back, 1.2, (6.0, 3.0));
        }
    }
    for (_, at) in alerts(report).take(EVENTS) {
        p.dashed(&upright(at), Ink::Text, 1.2, (1.5, 3.0));
    }
}

/// A promise about latency, and when it was made.
pub(in crate::report) struct Promise {
    /// `p99 ≤ 100 ms`.
    pub(super) label: String,
    /// The quantile, 0..1; none for the maximum.
    pub(super) quantile: Option<f64>,
    /// µs.
    pub(super) bound_us: f64,
    /// First and last instant of each stretch that it is judged over, seconds; those that touch are one.
    pub(super) over: Vec<(f64, f64)>,
}

/// Promises drawn; more would hide what they speak of.
const PROMISES: usize = 8;

/// The objectives that bound latency from above, each with every span it is judged over.
pub(in crate::report) fn promises(report: &Report) -> Vec<Promise> {
    let mut all: Vec<Promise> = vec![];
    for o in report.objectives.iter().filter(|o| o.unit == "s" && o.op == "max") {
        let Some(statistic) = o.metric.strip_prefix("latency.") else { continue };
        let named = |s: &&SpanReport| Some(&s.name) == o.span.as_ref();
        let Some(span) = report.phases.iter().chain(&report.spans).find(named) else { continue };
        let label = format!("{} {}", short(statistic, 12), objective_bound(o));
        let (from, to) = (span.start_at_s, span.start_at_s + span.duration_s);
        match all.iter_mut().find(|p| p.label == label) {
            Some(promise) => match promise.over.last_mut().filter(|(_, end)| (*end - from).abs() < 1e-3) {
                Some((_, end)) => *end = to,
                None => promise.over.push((from, to)),
            },
            None => all.push(Promise {
                label,
                quantile: statistic.strip_prefix('p').and_then(|q| q.parse::<f64>().ok()).map(|q| q / 100.0),
                bound_us: o.bound * 1e6,
                over: vec![(from, to)],
            }),
        }
    }
    all.truncate(PROMISES);
    all
}

/// Each promise as a dashed line over its own spans, with its words at the last of them.
pub(in crate::report) fn promise_lines(p: &mut Picture, report: &Report, axis: TimeAxis, scale: &Scale) {
    for promise in promises(report).iter().filter(|p| scale.holds(p.bound_us)) {
        let y = scale.y(promise.bound_us);
        for (from, to) in &promise.over {
            p.dashed(&[(axis.x(*from), y), (axis.x(*to), y)], Ink::Bound, 1.5, (9.0, 4.0));
        }
        let end = promise.over.last().map_or(RIGHT, |(_, to)| axis.x(*to));
        bound_words(p, scale.top, (end.max(LEFT + 90.0), y), &promise.label);
    }
}

/// Words above the right end of a dashed line, or below it near the top of a panel.
pub(in crate::report) fn bound_words(p: &mut Picture, top: f64, (x, y): Point, words: &str) {
    let wide = width_of(words, SMALL) + 12.0;
    let foot = if y - 18.0 < top { y + 18.0 } else { y - 3.0 };
    p.rect((x - 4.0 - wide, foot - 14.0), (x - 4.0, foot), Ink::Paper, 0.8);
    p.bold((x - 8.0, foot - 3.0), words, SMALL, Align::Right, Ink::Bound);
}

/// Planned arrivals, for the line under a title.
pub(in crate::report) fn n_planned(report: &Report) -> String {
    format!("n = {} planned requests", count(report.windows.iter().map(|w| w.due_planned).sum()))
}

/// A label for a number on an axis.
pub(in crate::report) fn tick_number(x: f64) -> String {
    if x.is_finite() { number(x) } else { INFINITE.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::ObjectiveReport;

    #[test]
    fn scales_end_on_round_values_and_hold_what_is_outside() {
        let scale = Scale::log((900.0, 130_000.0), (0.0, 100.0));
        assert_eq!((scale.low, scale.high), (500.0, 200_000.0));
        assert_eq!((scale.y(1.0), scale.y(1e9)), (100.0, 0.0));
        let ticks = scale.ticks();
        assert_eq!(ticks.len(), 9, "{ticks:?}");
        let linear = Scale::linear((0.0, 600.0), (0.0, 100.0));
        assert_eq!(linear.ticks(), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(linear.y(300.0), 50.0);
    }

    #[test]
    fn a_promise_is_one_line_over_spans_that_touch() {
        let phase = |name: &str, start_at_s| SpanReport {
            name: name.into(),
            start_at_s,
            duration_s: 10.0,
            ..SpanReport::default()
        };
        let promise = |metric: &str, span: &str| ObjectiveReport {
            metric: metric.into(),
            span: Some(span.into()),
            op: "max".into(),
            bound: 0.1,
            unit: "s".into(),
            ..ObjectiveReport::default()
        };
        let report = Report {
            phases: vec![phase("a", 0.0), phase("b", 10.0), phase("c", 20.0), phase("d", 30.0)],
            objectives: ["a", "b", "d", "gone"]
                .map(|span| promise("latency.p99", span))
                .into_iter()
                .chain([promise("latency.max", "c"), promise("recovery_time", "c")])
                .collect(),
            ..Report::default()
        };
        let seen: Vec<_> = promises(&report).into_iter().map(|p| (p.label, p.quantile, p.over)).collect();
        assert_eq!(
            seen,
            [
                ("p99 ≤ 100 ms".to_owned(), Some(0.99), vec![(0.0, 20.0), (30.0, 40.0)]),
                ("max ≤ 100 ms".to_owned(), None, vec![(20.0, 30.0)])
            ]
        );
    }

    #[test]
    fn labels_of_ticks_are_short() {
        assert_eq!(tick_us(5_000.0), "5 ms");
        assert_eq!(tick_us(1e6), "1 s");
        assert_eq!(tick_us(200.0), "200 µs");
    }

    #[test]
    fn a_fault_never_reverted_lasts_to_the_end() {
        let fault = FaultReport { applied_at_s: Some(3.0), planned_end_at_s: Some(5.0), ..FaultReport::default() };
        assert_eq!(actual(&fault, 60.0), Some((3.0, 60.0)));
        assert_eq!(actual(&FaultReport { planned_end_at_s: None, ..fault }, 60.0), Some((3.0, 3.0)));
    }
}
