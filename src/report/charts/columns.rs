//! Windows joined into at most as many columns as a chart has room for.
//!
//! Counts are added; of percentiles the smallest and the largest are kept, because the average of
//! percentiles is the percentile of nothing.

use crate::report::model::{Report, WindowReport};

/// The smallest and the largest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Range {
    pub(in crate::report) low: f64,
    pub(in crate::report) high: f64,
}

impl Range {
    fn join(range: Option<Range>, value: Option<f64>) -> Option<Range> {
        match (range, value) {
            (None, value) => value.map(|v| Range { low: v, high: v }),
            (range, None) => range,
            (Some(r), Some(v)) => Some(Range { low: r.low.min(v), high: r.high.max(v) }),
        }
    }
}

/// Some windows side by side.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Column {
    pub(in crate::report) start_s: f64,
    pub(in crate::report) end_s: f64,
    /// The time that windows really cover.
    pub(in crate::report) covered_s: f64,
    pub(in crate::report) phase: String,
    pub(in crate::report) planned: u64,
    pub(in crate::report) good: u64,
    pub(in crate::report) slow: u64,
    pub(in crate::report) failed: u64,
    pub(in crate::report) shed: u64,
    /// The lowest share of good requests in any window; a column that is one second wide is one window.
    pub(in crate::report) worst_share: Option<f64>,
    pub(in crate::report) p50_us: Option<Range>,
    pub(in crate::report) p99_us: Option<Range>,
    pub(in crate::report) max_us: Option<Range>,
    pub(in crate::report) lag_us: Option<Range>,
    /// A window in which the percentile is infinite.
    pub(in crate::report) p50_infinite: bool,
    pub(in crate::report) p99_infinite: bool,
    pub(in crate::report) in_flight: u64,
    /// The fewest.
    pub(in crate::report) replicas: Option<u64>,
}

impl Column {
    fn empty(start_s: f64, end_s: f64, phase: &str) -> Column {
        Column {
            start_s,
            end_s,
            covered_s: 0.0,
            phase: phase.to_owned(),
            planned: 0,
            good: 0,
            slow: 0,
            failed: 0,
            shed: 0,
            worst_share: None,
            p50_us: None,
            p99_us: None,
            max_us: None,
            lag_us: None,
            p50_infinite: false,
            p99_infinite: false,
            in_flight: 0,
            replicas: None,
        }
    }

    fn add(&mut self, w: &WindowReport) {
        self.covered_s += w.duration_s;
        self.planned += w.due_planned;
        self.good += w.due_good;
        self.slow += w.due_ok.saturating_sub(w.due_good);
        self.failed += w.due_failed;
        self.shed += w.due_shed;
        let share = (w.due_planned > 0).then(|| w.due_good as f64 / w.due_planned as f64);
        self.worst_share = [self.worst_share, share].into_iter().flatten().reduce(f64::min);
        self.p50_us = Range::join(self.p50_us, w.due_p50_us);
        self.p99_us = Range::join(self.p99_us, w.due_p99_us);
        self.max_us = Range::join(self.max_us, w.due_max_ok_us);
        self.lag_us = Range::join(self.lag_us, w.due_lag_p99_us);
        self.p50_infinite |= w.due_planned > 0 && w.due_p50_us.is_none();
        self.p99_infinite |= w.due_planned > 0 && w.due_p99_us.is_none();
        self.in_flight = self.in_flight.max(w.in_flight_max);
        self.replicas = match (self.replicas, w.replicas_ready) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Per second.
    pub(in crate::report) fn rate(&self, n: u64) -> f64 {
        if self.covered_s > 0.0 { n as f64 / self.covered_s } else { 0.0 }
    }

    /// Share of good answers; none without arrivals.
    pub(in crate::report) fn good_share(&self) -> Option<f64> {
        (self.planned > 0).then(|| self.good as f64 / self.planned as f64)
    }

    pub(in crate::report) fn middle_s(&self) -> f64 {
        (self.start_s + self.end_s) / 2.0
    }
}

/// Seconds per column so that the run fits: a whole number, at least one.
pub(in crate::report) fn width_s(report: &Report, limit: usize) -> f64 {
    (end_s(report) / limit as f64).ceil().max(1.0)
}

/// The end of the time axis: of the plan, or of the last window or phase, whichever is later.
pub(in crate::report) fn end_s(report: &Report) -> f64 {
    let windows = report.windows.iter().map(|w| w.start_at_s + w.duration_s);
    let phases = report.phases.iter().map(|p| p.start_at_s + p.duration_s);
    windows.chain(phases).fold(report.plan.duration_s, f64::max).max(1.0)
}

/// Joins windows on a grid of `width_s`.
pub(in crate::report) fn join(report: &Report, width_s: f64) -> Vec<Column> {
    let mut columns: Vec<Column> = vec![];
    let end = end_s(report);
    for w in &report.windows {
        // A window belongs where its middle lies; starts carry rounding.
        let start = ((w.start_at_s + w.duration_s / 2.0) / width_s).floor() * width_s;
        if columns.last().is_none_or(|c| c.start_s < start) {
            columns.push(Column::empty(start, (start + width_s).min(end), &w.phase));
        }
        if let Some(last) = columns.last_mut() {
            last.add(w);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start_at_s: f64, duration_s: f64, planned: u64, p99: Option<f64>) -> WindowReport {
        WindowReport {
            start_at_s,
            duration_s,
            due_planned: planned,
            due_ok: planned,
            due_good: planned,
            due_p50_us: Some(1.0),
            due_p99_us: p99,
            ..WindowReport::default()
        }
    }

    #[test]
    fn joining_adds_counts_and_keeps_the_extremes() {
        let windows = vec![
            window(0.0, 1.0, 10, Some(5.0)),
            window(1.0, 0.5, 4, None),
            window(1.5, 0.5, 0, None),
            window(2.0, 1.0, 7, Some(9.0)),
            window(3.0, 1.0, 7, Some(2.0)),
        ];
        let report = Report { windows, ..Report::default() };
        let columns = join(&report, 2.0);
        assert_eq!(columns.iter().map(|c| c.planned).collect::<Vec<_>>(), [14, 14]);
        assert!(columns[0].p99_infinite && !columns[1].p99_infinite);
        assert_eq!(columns[1].p99_us, Some(Range { low: 2.0, high: 9.0 }));
        assert_eq!(columns[0].rate(columns[0].planned), 7.0);
        assert_eq!(columns[0].worst_share, Some(1.0));
    }

    #[test]
    fn an_hour_fits_and_a_minute_keeps_its_seconds() {
        let of = |s: f64| Report { windows: vec![window(s - 1.0, 1.0, 1, None)], ..Report::default() };
        assert_eq!(width_s(&of(3600.0), 480), 8.0);
        assert_eq!(width_s(&of(65.0), 480), 1.0);
    }
}
