//! The course of a run as findings and playbooks look at it: windows pooled, the baseline, when replicas went and came.

use std::collections::BTreeSet;

use crate::report::model::{EventReport, FaultReport, Report, SpanReport, WindowReport};

/// A replica's way out of rotation may be noted this long before its fault was, seconds: a kill is seen by the supervisor first.
const EARLY: f64 = 0.05;
/// Answers that a share needs before it is believed.
pub(super) const ENOUGH: u64 = 30;

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
    /// Went out on a connection that had died while it was idle.
    pub(super) idle_closed: u64,
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

    /// When what this fault hit was ready again, as [`Course::back_at_s`], and no earlier than a moment before the fault ended: what came
    /// back while a lasting fault was on did not wait for its end.
    pub(super) fn ready_at_s(&self, f: &FaultReport) -> Option<f64> {
        let ended = if f.planned_end_at_s.is_some() { f.reverted_at_s? } else { f.applied_at_s? };
        self.back_at_s(f).filter(|at| *at >= ended - EARLY)
    }

    /// When the last of the replicas that this fault hit and that went out of rotation came back for good: after it was last out before the
    /// next fault. None when one of them did not. What did not come back under its own number may be replaced by a replica whose number
    /// was first seen after the fault; each replaces one.
    pub(super) fn back_at_s(&self, f: &FaultReport) -> Option<f64> {
        let (from, until) = (f.applied_at_s? - EARLY, self.next_fault_s(f));
        let hit: BTreeSet<u16> = f.replicas.iter().copied().collect();
        let ways = hit.iter().map(|r| self.way(*r, from, until, false));
        let gone: Vec<Option<f64>> = ways.filter(|(out, _)| *out).map(|(_, back)| back).collect();
        let missing = gone.iter().filter(|back| back.is_none()).count();
        let mut heirs: Vec<f64> =
            self.newcomers(from).difference(&hit).filter_map(|r| self.way(*r, from, until, true).1).collect();
        heirs.sort_by(f64::total_cmp);
        if heirs.len() < missing {
            return None;
        }
        gone.into_iter().flatten().chain(heirs.into_iter().take(missing)).reduce(f64::max)
    }

    /// Whether a replica was out of rotation in this time, and when it came back for good; `out`: it was out before.
    fn way(&self, replica: u16, from: f64, until: f64, mut out: bool) -> (bool, Option<f64>) {
        let mut back = None;
        let own = |e: &&EventReport| e.replica == Some(replica) && (from..until).contains(&e.at_s);
        for e in self.report.platform_events.iter().filter(own) {
            match e.kind.as_str() {
                "exited" | "not_ready" => (out, back) = (true, None),
                // One that ends may be told of after another took its place; `gone` always is of what was out before.
                "terminating" => out = true,
                "ready" if out => back = back.or(Some(e.at_s)),
                _ => {}
            }
        }
        (out, back)
    }

    /// Numbers of replicas that were first seen from then on. A number is a place: whoever takes one that was there is no newcomer.
    fn newcomers(&self, from: f64) -> BTreeSet<u16> {
        let seen = |before: bool| {
            let then = self.report.platform_events.iter().filter(move |e| (e.at_s < from) == before);
            then.filter_map(|e| e.replica).collect::<BTreeSet<u16>>()
        };
        let there = |r: &u16| usize::from(*r) < self.report.environment.replicas;
        seen(false).difference(&seen(true)).copied().filter(|r| !there(r)).collect()
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
        pool.idle_closed += w.due_errors.get("idle_closed").copied().unwrap_or(0);
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

/// Two shares differ by more than chance would make them: three standard errors of the difference, and a point at least.
pub(super) fn fell((before, n): (f64, u64), (now, m): (f64, u64)) -> bool {
    let pooled = (before * n as f64 + now * m as f64) / (n + m) as f64;
    let error = (pooled * (1.0 - pooled) * (1.0 / n as f64 + 1.0 / m as f64)).sqrt();
    before - now >= 0.01 && before - now > 3.0 * error
}

/// Answers that said they were a fallback, of those that were asked for it.
pub(super) fn fallbacks(span: &SpanReport) -> Option<(u64, u64)> {
    let m = span.metrics.get("fallback_rate")?;
    Some(((m.value? * m.n as f64).round() as u64, m.n))
}

/// Fallbacks became more, each given with what it was taken from: the other answers became fewer, by enough of them to tell.
pub(super) fn more_fallbacks((before, n): (u64, u64), (now, m): (u64, u64)) -> bool {
    let others = |part: u64, all: u64| (1.0 - part as f64 / all as f64, all);
    n >= ENOUGH && m >= ENOUGH && fell(others(before, n), others(now, m))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Environment;

    type Event<'a> = (f64, u16, &'a str);

    /// Three replicas under a fault at 20 s; `to`: it lasts until then. The load ends at 60 s.
    fn report(hit: &[u16], to: Option<f64>, events: &[Event<'_>]) -> Report {
        let event = |(at_s, replica, kind): &Event<'_>| EventReport {
            at_s: *at_s,
            replica: Some(*replica),
            kind: (*kind).to_owned(),
            text: String::new(),
        };
        Report {
            environment: Environment { replicas: 3, ..Environment::default() },
            faults: vec![FaultReport {
                applied_at_s: Some(20.0),
                planned_end_at_s: to,
                reverted_at_s: to,
                replicas: hit.to_vec(),
                ..FaultReport::default()
            }],
            platform_events: events.iter().map(event).collect(),
            windows: vec![WindowReport { start_at_s: 59.0, duration_s: 1.0, ..WindowReport::default() }],
            ..Report::default()
        }
    }

    fn ready(hit: &[u16], to: Option<f64>, events: &[Event<'_>]) -> Option<f64> {
        let report = report(hit, to, events);
        Course::new(&report).ready_at_s(&report.faults[0])
    }

    #[test]
    fn nobody_comes_back_for_another() {
        let flap = [(22.0, 2, "not_ready"), (23.0, 2, "ready")];
        let killed = [(20.0, 1, "exited"), flap[0], flap[1]];
        assert_eq!(ready(&[1], None, &killed), None, "another that flapped");
        let seen_before = [(5.0, 7, "ready"), (20.0, 1, "exited"), (23.0, 7, "ready")];
        assert_eq!(ready(&[1], None, &seen_before), None, "another that was there before");
        let two = [(20.0, 0, "exited"), (20.1, 1, "exited"), (24.0, 3, "ready"), (26.0, 4, "ready")];
        assert_eq!(ready(&[0, 1], None, &two[..3]), None, "one replacement for two");
        assert_eq!(ready(&[0, 1], None, &two), Some(26.0));
        let own = [two[0], two[1], (23.0, 0, "ready"), two[2]];
        assert_eq!(ready(&[0, 1, 1], None, &own), Some(24.0), "one itself, one replaced");
        assert_eq!(ready(&[1], None, &[two[1], two[2], (25.0, 3, "exited")]), None, "a replacement that died");
    }

    #[test]
    fn back_is_what_stays_back() {
        let crash = [(20.0, 1, "exited"), (22.0, 1, "ready"), (23.0, 1, "exited"), (29.0, 1, "ready")];
        assert_eq!(ready(&[1], None, &crash[..3]), None, "a crash loop");
        assert_eq!(ready(&[1], None, &crash), Some(29.0));
        // What the next fault does is that one's doing.
        let mut next = report(&[1], None, &[crash[0], crash[1], (41.0, 1, "exited")]);
        next.faults.push(FaultReport { applied_at_s: Some(40.0), ..FaultReport::default() });
        assert_eq!(Course::new(&next).ready_at_s(&next.faults[0]), Some(22.0));
    }

    #[test]
    fn a_lasting_fault_is_not_over_when_its_replica_flaps() {
        let flaps = [(25.0, 1, "not_ready"), (28.0, 1, "ready"), (30.0, 1, "not_ready"), (42.0, 1, "ready")];
        assert_eq!(ready(&[1], Some(40.0), &flaps[..3]), None);
        assert_eq!(ready(&[1], Some(40.0), &flaps), Some(42.0));
        assert_eq!(ready(&[1], Some(42.04), &flaps), Some(42.0), "a moment before the end was noted");
        let early = report(&[1], Some(40.0), &flaps[..2]);
        let course = Course::new(&early);
        let f = &early.faults[0];
        assert_eq!((course.ready_at_s(f), course.back_at_s(f)), (None, Some(28.0)), "it did not wait for the end");
    }

    #[test]
    fn a_pod_that_takes_a_place_is_that_replica() {
        // As the book of Kubernetes tells it: the old one is gone long after its heir is in rotation, or both happen at once.
        let pod = [(20.0, 1, "terminating"), (20.0, 1, "not_ready"), (26.0, 1, "ready"), (50.0, 1, "gone")];
        assert_eq!(ready(&[1], None, &pod), Some(26.0));
        let rollout = [(24.0, 0, "terminating"), (24.0, 0, "not_ready"), (24.0, 0, "ready")];
        assert_eq!(ready(&[0], None, &rollout), Some(24.0));
        assert_eq!(ready(&[0], None, &[(24.0, 0, "gone")]), None, "what was out before has ended");
    }
}
