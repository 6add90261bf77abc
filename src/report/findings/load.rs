//! Patterns of the load: a generator that was late, arrivals that found no place, a queue that grew, timeouts that held places.

use super::{Finding, Severity, finding};
use crate::report::course::{Course, errors, middle};
use crate::report::format::{chosen_ms, clean, count, latency_us, number, percent, rate, time_us};
use crate::report::model::{SpanReport, WindowReport};

/// Whole seconds of a phase that a trend needs.
const SECONDS: usize = 8;

/// Our own side was late: no number of those spans can be trusted.
pub(super) fn generator_late(c: &Course<'_>) -> Vec<Finding> {
    let g = &c.report.generator;
    if g.note.is_empty() || c.report.phases.is_empty() {
        return vec![];
    }
    let sentence =
        "The load generator fell behind its schedule: what it measured there is not the service alone.".to_owned();
    let lag = g.lag_us.p99.map_or(String::new(), |us| format!(", lag p99 {}", time_us(us)));
    // How many were late stands in the headline, and nowhere else.
    let evidence = vec![format!("late is beyond {}{lag}, workers: {}", time_us(g.late_limit_us), g.workers)];
    let hint = "Give the load CPUs of its own (`--cpus`, `--workers`), a quieter machine or one beside the service, or a lower rate; \
                `resbench doctor --self` measures what this machine can pace.";
    let severity = if g.kept_up { Severity::Warning } else { Severity::Serious };
    vec![finding("generator-late", severity, None, sentence, evidence, hint)]
}

fn measured<'a>(c: &Course<'a>) -> impl Iterator<Item = &'a SpanReport> {
    c.report.phases.iter().filter(|p| p.measured && p.planned > 0)
}

/// Arrivals that were never sent.
pub(super) fn in_flight_limit(c: &Course<'_>) -> Vec<Finding> {
    let (shed, planned) = measured(c).fold((0, 0), |(s, n), p| (s + p.shed, n + p.planned));
    if shed == 0 {
        return vec![];
    }
    let most = measured(c).map(|p| p.offered_rps).fold(0.0, f64::max);
    let timeout_s = c.report.plan.timeout_ms / 1e3;
    let limit = c.report.plan.max_in_flight;
    let sentence = format!("{} requests were never sent: {} were on their way already.", count(shed), count(limit));
    let evidence = vec![
        format!("shed: {} of {} planned ({})", count(shed), count(planned), percent(shed as f64 / planned as f64)),
        format!(
            "{} × a timeout of {} can have {} on their way; max_in_flight is {}",
            rate(most),
            chosen_ms(c.report.plan.timeout_ms),
            count((most * timeout_s).ceil() as u64),
            count(limit)
        ),
    ];
    let hint = "Real clients would have waited or given up here. A service that refuses early (429, 503) keeps its queue short; raise \
                max_in_flight only if there are that many clients.";
    vec![finding("in-flight-limit", Severity::Warning, None, sentence, evidence, hint)]
}

/// A timeout far beyond what was promised held places for nothing.
pub(super) fn timeout_too_long(c: &Course<'_>) -> Vec<Finding> {
    let Some(bound_us) = c.report.plan.latency_bound_us else { return vec![] };
    let timeout_us = c.report.plan.timeout_ms * 1e3;
    let (out, planned, shed) =
        measured(c).fold((0, 0, 0), |(t, n, s), p| (t + errors(p, "timeout"), n + p.planned, s + p.shed));
    if timeout_us < 5.0 * bound_us || out < 10 {
        return vec![];
    }
    let sentence = format!(
        "The timeout of {} is {} times the promised {}: {} requests held their place that long for nothing.",
        chosen_ms(timeout_us / 1e3),
        number(timeout_us / bound_us),
        chosen_ms(bound_us / 1e3),
        count(out)
    );
    let evidence =
        vec![format!("timed out: {} of {} planned; shed meanwhile: {}", count(out), count(planned), count(shed))];
    let hint = "After the bound an answer is of no use: a timeout of two or three times the bound frees the place, and leaves time for one \
                retry elsewhere. (It is the client's: [traffic] timeout here.)";
    let severity = if shed > 0 || out * 100 >= planned { Severity::Warning } else { Severity::Note };
    vec![finding("timeout-too-long", severity, None, sentence, evidence, hint)]
}

/// Latency and requests in flight grew through a phase at the same rate, before any fault: more came than was answered.
pub(super) fn saturation(c: &Course<'_>) -> Vec<Finding> {
    measured(c).filter(|p| !p.closed_loop && p.kept_up).find_map(|p| queue(c, p)).into_iter().collect()
}

fn queue(c: &Course<'_>, phase: &SpanReport) -> Option<Finding> {
    let whole = |w: &&WindowReport| w.phase == phase.name && w.duration_s > 0.99 && w.due_planned >= 20;
    // From the first fault on, a queue may be its doing, and may outlive it.
    let windows: Vec<&WindowReport> = c.windows(0.0, c.first_fault_s).filter(whole).collect();
    let n = windows.len();
    if n < SECONDS {
        return None;
    }
    let p50 = |w: &&WindowReport| w.due_p50_us.unwrap_or(f64::INFINITY);
    let third = n / 3;
    let (first, last) = (&windows[..third], &windows[n - third..]);
    let median = |part: &[&WindowReport]| middle(part.iter().map(p50).collect());
    let offered = |part: &[&WindowReport]| part.iter().map(|w| w.due_planned as f64).sum::<f64>() / part.len() as f64;
    let flight = |part: &[&WindowReport]| part.iter().map(|w| w.in_flight_max).max().unwrap_or(0);
    let (from, to) = (median(first)?, median(last)?);
    // Kendall's share of ascending pairs: a trend, not a hump.
    let (mut up, mut pairs) = (0, 0);
    for (i, a) in windows.iter().enumerate() {
        for b in &windows[i + 1..] {
            pairs += 1;
            up += usize::from(p50(b) > p50(a) || p50(b).is_infinite());
        }
    }
    let same_rate = (0.85..=1.15).contains(&(offered(last) / offered(first)));
    let grew = to >= 3.0 * from && flight(last) >= 2 * flight(first).max(1) && up * 10 >= pairs * 7;
    if !grew || !same_rate || from.is_infinite() {
        return None;
    }
    let shown = |us: f64| latency_us(Some(us).filter(|us| us.is_finite()), 1);
    let sentence = format!(
        "A queue built up in {} without any fault: at the same {} the median grew from {} to {}.",
        clean(&phase.name),
        rate(offered(first)),
        shown(from),
        shown(to)
    );
    let evidence = vec![
        format!("median of the first and the last {third} s: {} and {}", shown(from), shown(to)),
        format!("most in flight: {} and {}", count(flight(first)), count(flight(last))),
    ];
    let hint = "More arrives than is answered; every second makes it worse. `resbench capacity` finds the rate that is carried; more replicas, \
                batches or refusing early (429, 503) bound the queue.";
    Some(finding("saturation", Severity::Serious, None, sentence, evidence, hint))
}
