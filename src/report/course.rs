//! The course of a run as findings and playbooks look at it: windows pooled, the baseline, when replicas went and came.

use crate::report::model::{FaultReport, Report, SpanReport, WindowReport};

/// A replica's way out of rotation may be noted this long before its fault was, seconds: a kill is seen by the supervisor first.
const EARLY: f64 = 0.05;

/// A report, with what several rules ask of it.
pub(super) struct Course<'a> {
    pub(super) report: &'a Report,
    /// When the first fault was applied; the end of time without one.
    pub(super) first_fault_s: f64,
}

/// Windows pooled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pool {
    pub(super) planned: u64,
    /// Answered well within W.
    pub(super) good: u64,
    /// Answered well, later than W.
    pub(super) slow: u64,
    /// Timed out.
    pub(super) timeouts: u64,
    pub(super) failed: u64,
    pub(super) shed: u64,
    pub(super) seconds: f64,
    /// The median of the windows' medians, µs; infinite where most answers were.
    pub(super) p50_us: Option<f64>,
}

impl Pool {
    /// Share that was late, failed or shed; none without arrivals.
    pub(super) fn bad(&self) -> Option<f64> {
        (self.planned > 0).then(|| 1.0 - self.good as f64 / self.planned as f64)
    }

    /// Arrivals per second.
    pub(super) fn offered(&self) -> f64 {
        if self.seconds > 0.0 { self.planned as f64 / self.seconds } else { 0.0 }
    }
}

impl<'a> Course<'a> {
    pub(super) fn new(report: &'a Report) -> Course<'a> {
        let first = report.faults.iter().filter_map(|f| f.applied_at_s);
        Course { report, first_fault_s: first.fold(f64::INFINITY, f64::min) }
    }

    /// The longest measured phase that was over when the first fault came.
    pub(super) fn baseline(&self) -> Option<&'a SpanReport> {
        let before = |p: &&SpanReport| p.measured && p.planned > 0 && p.start_at_s + p.duration_s <= self.first_fault_s;
        self.report.phases.iter().filter(before).max_by(|a, b| a.duration_s.total_cmp(&b.duration_s))
    }

    /// `during:NAME`.
    pub(super) fn during(&self, f: &FaultReport) -> Option<&'a SpanReport> {
        let name = format!("during:{}", f.name);
        self.report.spans.iter().find(|s| s.name == name && s.planned > 0)
    }

    /// Measured windows that lie wholly in this stretch.
    pub(super) fn windows(&self, from_s: f64, to_s: f64) -> impl Iterator<Item = &'a WindowReport> {
        let report = self.report;
        report.windows.iter().filter(move |w| {
            let measured = report.phases.iter().any(|p| p.measured && p.name == w.phase);
            measured && w.start_at_s >= from_s - 1e-9 && w.start_at_s + w.duration_s <= to_s + 1e-9
        })
    }

    /// Measured windows before the first fault.
    pub(super) fn before(&self) -> Pool {
        pool(self.windows(0.0, self.first_fault_s))
    }

    /// When the platform first took a replica of this fault out of rotation.
    pub(super) fn out_at_s(&self, f: &FaultReport) -> Option<f64> {
        Some(f.applied_at_s? + f.impact.detection_s?)
    }

    /// When the last of the replicas that this fault hit was ready again after it was out, and no earlier than the fault's end by more
    /// than a moment; none when one of them was not. Where replicas are replaced under new numbers, the first to become ready counts.
    pub(super) fn ready_at_s(&self, f: &FaultReport) -> Option<f64> {
        let applied = f.applied_at_s?;
        let until = self.next_fault_s(f);
        let events = || self.report.platform_events.iter().filter(move |e| e.at_s >= applied - EARLY && e.at_s < until);
        let out = |replica: u16| {
            let is_out = |kind: &str| matches!(kind, "exited" | "not_ready" | "gone" | "terminating");
            events().find(|e| e.replica == Some(replica) && is_out(&e.kind)).map(|e| e.at_s)
        };
        let gone: Vec<(u16, f64)> = f.replicas.iter().filter_map(|r| out(*r).map(|at| (*r, at))).collect();
        let mut last: Option<f64> = None;
        for (replica, out) in &gone {
            let back = |own: bool| {
                events().find(move |e| {
                    let same = e.replica == Some(*replica);
                    e.kind == "ready" && e.at_s > *out && (same || !own && e.replica.is_some())
                })
            };
            let at = back(true).or_else(|| back(false))?.at_s;
            last = Some(last.map_or(at, |l| l.max(at)));
        }
        last
    }

    /// When the next fault after this one was applied, or the load ended.
    pub(super) fn next_fault_s(&self, f: &FaultReport) -> f64 {
        let applied = f.applied_at_s.unwrap_or(f64::INFINITY);
        let later = self.report.faults.iter().filter_map(|g| g.applied_at_s).filter(|at| *at > applied + 1.0);
        later.fold(self.end_s(), f64::min)
    }

    /// When the load ended.
    pub(super) fn end_s(&self) -> f64 {
        self.report.windows.last().map_or(0.0, |w| w.start_at_s + w.duration_s)
    }

    /// An objective about this fault, or over its spans, is violated.
    pub(super) fn broke_a_promise(&self, f: &FaultReport) -> bool {
        let spans = [format!("during:{}", f.name), format!("after:{}", f.name)];
        self.report.objectives.iter().any(|o| {
            let about = o.fault.as_ref() == Some(&f.name) || o.span.as_ref().is_some_and(|s| spans.contains(s));
            about && o.verdict == crate::report::model::VerdictWord::Violated
        })
    }
}

/// Pools windows.
pub(super) fn pool<'w>(windows: impl Iterator<Item = &'w WindowReport>) -> Pool {
    let mut pool = Pool::default();
    let mut medians = Vec::new();
    for w in windows {
        pool.planned += w.due_planned;
        pool.good += w.due_good;
        pool.slow += w.due_ok.saturating_sub(w.due_good);
        pool.timeouts += ["timeout", "connect_timeout"].iter().filter_map(|c| w.due_errors.get(*c)).sum::<u64>();
        pool.failed += w.due_failed;
        pool.shed += w.due_shed;
        pool.seconds += w.duration_s;
        if w.due_planned > 0 {
            medians.push(w.due_p50_us.unwrap_or(f64::INFINITY));
        }
    }
    pool.p50_us = middle(medians);
    pool
}

/// The lower median; none of nothing.
pub(super) fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Errors of a class.
pub(super) fn errors(span: &SpanReport, class: &str) -> u64 {
    span.errors.get(class).copied().unwrap_or(0)
}
