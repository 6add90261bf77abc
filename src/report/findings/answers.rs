//! Patterns of what answers said: wrong while well-formed, no fallback, an old version; and of alerts that did not come.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Severity, finding};
use crate::report::course::{Course, ENOUGH, fallbacks, fell, more_fallbacks};
use crate::report::format::{clean, count, number, percent, short, time_s};
use crate::report::model::{AlertReport, FaultReport, ProbeReport, ScrapeReport, SeriesReport, SpanReport};
use crate::report::rates::rates;

/// A share and what it was taken over.
fn share(span: &SpanReport, metric: &str) -> Option<(f64, u64)> {
    let m = span.metrics.get(metric)?;
    Some((m.value?, m.n)).filter(|(_, n)| *n >= ENOUGH)
}

/// Answers differ from the first ones where nobody measured how often they do anyway: a hundredth of them, and ten.
fn differ((same, n): (f64, u64)) -> bool {
    1.0 - same >= 0.01 && (1.0 - same) * n as f64 >= 10.0
}

/// Measured spans after the baseline, those of faults first.
fn later<'a>(c: &Course<'a>, base: &SpanReport) -> impl Iterator<Item = &'a SpanReport> {
    let end = base.start_at_s + base.duration_s;
    let spans = c.report.spans.iter().chain(c.report.phases.iter().filter(|p| p.measured));
    spans.filter(move |s| s.start_at_s >= end - 1e-9)
}

/// Accuracy or agreement fell while the answers counted as good. Agreement that nobody measured before is told, and not judged.
pub(super) fn wrong_answers(c: &Course<'_>) -> Vec<Finding> {
    let Some(base) = c.baseline().or_else(|| c.report.phases.iter().find(|p| p.measured && p.planned > 0)) else {
        return vec![];
    };
    let of = |metric: &str, what: &str| -> Option<Finding> {
        let before = share(base, metric);
        let worse = later(c, base).filter_map(|s| {
            let now = share(s, metric)?;
            let worse = before.map_or(metric == "agreement" && differ(now), |before| fell(before, now));
            worse.then_some((s, now))
        });
        // The first of the worst: a fault's own span stands before the phase around it.
        let (span, now) = worse.reduce(|a, b| if b.1.0 < a.1.0 { b } else { a })?;
        let fault = span.name.split_once(':').map(|(_, name)| name.to_owned());
        let there = format!("{}: {} of {} {what}", clean(&span.name), percent(now.0), count(now.1));
        let good = format!("good answers there: {} of {} planned", count(span.ok), count(span.planned));
        let Some(before) = before else {
            let sentence = format!(
                "Answers in {} differed from the first answers in {}, and how often they do so anyway was not measured.",
                clean(&span.name),
                percent(1.0 - now.0)
            );
            let hint = "Give the baseline more requests than there are rows, so that rows are asked again before the first fault: then it \
                        can be told whether that is new.";
            let (note, evidence) = (Severity::Note, vec![there, good]);
            return Some(finding("wrong-answers", note, fault.as_deref(), sentence, evidence, hint));
        };
        let sentence = format!(
            "Answers were wrong while they counted as good: {metric} fell from {} to {} in {}.",
            percent(before.0),
            percent(now.0),
            clean(&span.name)
        );
        let evidence =
            vec![format!("{}: {} of {} {what}", clean(&base.name), percent(before.0), count(before.1)), there, good];
        // Rows are sent in turn: before each was asked, two spans ask different ones, and some rows are harder than others.
        let rows = c.report.plan.labelled_rows.filter(|rows| metric == "accuracy" && before.1.min(now.1) < *rows);
        if let Some(rows) = rows {
            let sentence = format!(
                "Accuracy was {} in {} and {} in {}, but other rows were asked there: it is not told apart from that.",
                percent(before.0),
                clean(&base.name),
                percent(now.0),
                clean(&span.name)
            );
            let hint = format!(
                "Give each span more requests than there are rows with a label ({}), or shuffle the rows, so that the same is asked in each.",
                count(rows)
            );
            return Some(finding("wrong-answers", Severity::Note, fault.as_deref(), sentence, evidence, &hint));
        }
        let hint = "A status says nothing about a prediction: watch the answers themselves (labels that come later, agreement with a \
                    reference, the distribution of inputs and outputs), alert on that, and promise it with an objective.";
        let found = finding("wrong-answers", Severity::Serious, fault.as_deref(), sentence, evidence, hint);
        Some(found)
    };
    [of("accuracy", "labelled answers right"), of("agreement", "answers as the first ones")]
        .into_iter()
        .flatten()
        .collect()
}

/// Something that replicas call was broken, requests failed, and not one answer was a fallback.
pub(super) fn no_fallback_seen(c: &Course<'_>) -> Vec<Finding> {
    let Some(base) = c.baseline() else { return vec![] };
    // Where nobody says which answer is a fallback, none can be missed.
    if fallbacks(base).is_none() {
        return vec![];
    }
    let of = |f: &FaultReport| -> Option<Finding> {
        let dependency = f.dependency.as_ref()?;
        let during = c.during(f)?;
        let (served, looked) = fallbacks(during).unwrap_or((0, 0));
        let failed = during.planned - during.ok;
        let rates = during.error_rate? - base.error_rate?;
        if !f.proof.proven || served > 0 || rates < 0.01 || failed < 10 {
            return None;
        }
        let sentence = format!(
            "No answer came from a fallback while {} was broken: {} of the requests failed instead.",
            clean(dependency),
            percent(during.error_rate?)
        );
        let evidence = vec![
            format!(
                "{}: {} of {} requests failed or were shed",
                clean(&during.name),
                count(failed),
                count(during.planned)
            ),
            format!("fallbacks among the good answers: 0 of {}", count(looked)),
            format!("{}: {} failed", clean(&base.name), percent(base.error_rate?)),
        ];
        let hint = "Answer from a cache, a simpler model or a safe default when the dependency does not, with a timeout far below the \
                    client's and a circuit breaker, and say so in the answer.";
        Some(finding("no-fallback-seen", Severity::Serious, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}

/// Fallbacks answered while a fault was on: the service lived on them.
pub(super) fn fallback_served(c: &Course<'_>) -> Vec<Finding> {
    let Some(base) = c.baseline() else { return vec![] };
    let of = |f: &FaultReport| -> Option<Finding> {
        let during = c.during(f)?;
        let ((before, n), (served, looked)) = (fallbacks(base)?, fallbacks(during)?);
        if !more_fallbacks((before, n), (served, looked)) {
            return None;
        }
        let sentence = format!(
            "{} of the good answers during {} came from a fallback.",
            percent(served as f64 / looked as f64),
            clean(&f.name)
        );
        let evidence = vec![
            format!("{}: {} of {}", clean(&during.name), count(served), count(looked)),
            format!("{}: {} of {}", clean(&base.name), count(before), count(n)),
        ];
        let hint = "That kept answers coming. Decide how good they have to be, and promise it: accuracy or agreement, and fallback_rate in \
                    during: and after: spans.";
        Some(finding("fallback-served", Severity::Note, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}

/// How much a counter grew in this stretch, from reading to reading; none where nobody read it there.
fn grown(scrape: &ScrapeReport, series: &SeriesReport, from_s: f64, to_s: f64) -> Option<f64> {
    let growth = rates(&series.points, scrape.kept_every_s);
    let mut before = None;
    let mut sum = None;
    for (at, rate) in growth {
        if let (Some(before), Some(rate)) = (before, rate)
            && at > from_s
            && at <= to_s
        {
            *sum.get_or_insert(0.0) += rate * (at - before);
        }
        before = Some(at);
    }
    sum
}

/// A counter of retries, by its name. Of a histogram or summary only its `_count` counts: its other parts are sums, or the same again.
fn counts_retries(series: &SeriesReport) -> bool {
    let name = series.name.split('{').next().unwrap_or_default().to_ascii_lowercase();
    let part = ["_bucket", "_sum", "_created"].iter().any(|end| name.ends_with(end));
    series.kind == "counter" && !part && ["retry", "retries", "retried"].iter().any(|word| name.contains(word))
}

/// A scraped counter of retries grew with a fault: what was slow or broken got more work for it.
pub(super) fn retries_amplified(c: &Course<'_>) -> Vec<Finding> {
    let Some(base) = c.baseline() else { return vec![] };
    let of = |f: &FaultReport| -> Option<Finding> {
        let during = c.during(f)?;
        // What the service tried again, of all replicas and names; a page that is read twice counts once. A page that was read and has no
        // such counter yet has counted nothing: many libraries make one with its first retry.
        let tries = |span: &SpanReport| -> Option<f64> {
            let (from, to) = (span.start_at_s, span.start_at_s + span.duration_s);
            let mut seen = BTreeSet::new();
            let all = c.report.scrapes.iter().flat_map(|scrape| scrape.series.iter().map(move |s| (scrape, s)));
            let all: Vec<_> = all.filter(|(scrape, s)| seen.insert((&scrape.source, &s.name))).collect();
            let pages: BTreeSet<&String> =
                all.iter().filter(|(_, s)| counts_retries(s)).map(|(scrape, _)| &scrape.source).collect();
            let was_read = |page: &&String| {
                all.iter().any(|(scrape, s)| scrape.source == **page && grown(scrape, s, from, to).is_some())
            };
            // A baseline in which one of these pages was not read is no baseline.
            if pages.is_empty() || (span.name == base.name && !pages.iter().all(was_read)) {
                return None;
            }
            let tried = all.iter().filter(|(_, s)| counts_retries(s));
            tried.filter_map(|(scrape, s)| grown(scrape, s, from, to)).reduce(|a, b| a + b).or(Some(0.0))
        };
        let (before, now) = (tries(base)?, tries(during)?);
        let each = |n: f64, span: &SpanReport| n / span.planned.max(1) as f64;
        let (rate_before, rate_now) = (each(before, base), each(now, during));
        if now < 20.0 || rate_now < 0.1 || rate_now < 3.0 * rate_before {
            return None;
        }
        let sentence = format!(
            "Retries amplified the load while {} was on: the service tried again {} times for each request.",
            clean(&f.name),
            number(rate_now)
        );
        let tried = |span: &SpanReport, n: f64| {
            format!("{}: {} retries, {} requests", clean(&span.name), count(n.round() as u64), count(span.planned))
        };
        let evidence = vec![tried(during, now), tried(base, before)];
        let hint = "What is slow or down gets more work for it, and stays down when its fault is over. Give retries a budget (a tenth of \
                    the requests), wait longer each time with jitter, and open a circuit breaker.";
        Some(finding("retries-amplified", Severity::Warning, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}

/// Versions that answered a hundredth of a span at least, and ten times.
fn names_of(span: &SpanReport) -> BTreeMap<&str, u64> {
    let all: u64 = span.quality.versions.values().sum();
    let counts = span.quality.versions.iter().map(|(v, n)| (v.as_str(), *n));
    counts.filter(|(_, n)| *n >= 10 && *n * 100 >= all).collect()
}

/// Another version than before answered; at the end the old one still did.
fn versions_changed(c: &Course<'_>) -> Option<Finding> {
    let measured: Vec<&SpanReport> = c.report.phases.iter().filter(|p| p.measured && !names_of(p).is_empty()).collect();
    let (first, last) = (measured.first()?, measured.last()?);
    let before = names_of(first);
    let new = measured.iter().find(|p| names_of(p).keys().any(|v| !before.contains_key(v)))?;
    let names = |span: &SpanReport| -> String {
        let all = names_of(span).into_iter().map(|(v, n)| format!("{} × {}", short(v, 40), count(n)));
        all.collect::<Vec<_>>().join(", ")
    };
    let evidence = measured.iter().take(6).map(|p| format!("{}: {}", clean(&p.name), names(p))).collect();
    let new_there = names_of(last).keys().any(|v| !before.contains_key(v));
    let old_there: Vec<&str> = names_of(last).into_keys().filter(|v| before.contains_key(v)).collect();
    if new_there && !old_there.is_empty() {
        let sentence = format!(
            "The version of before ({}) still answered in {}, beside the new one.",
            short(&old_there.join(", "), 80),
            clean(&last.name)
        );
        let hint = "Replicas serve different versions: let each check at intervals which one it should serve, put the version into its \
                    readiness, and roll out before the traffic is switched.";
        return Some(finding("old-version-served", Severity::Warning, None, sentence, evidence, hint));
    }
    let sentence = format!("Another version than in {} answered from {} on.", clean(&first.name), clean(&new.name));
    let hint = "If nobody meant that, pin the version that is served, and promise it with a probe or an objective on agreement.";
    Some(finding("version-changed", Severity::Note, None, sentence, evidence, hint))
}

/// As a rule.
pub(super) fn versions(c: &Course<'_>) -> Vec<Finding> {
    versions_changed(c).into_iter().collect()
}

/// An alert that had to follow a fault did not, reached nobody, or came late.
pub(super) fn alert_missing(c: &Course<'_>) -> Vec<Finding> {
    let of = |p: &ProbeReport, a: &AlertReport| -> Option<Finding> {
        let (alert, fault) = (short(&a.alert, 80), clean(&a.fault));
        let looks = p.results.iter().filter(|r| r.at_s >= c.first_fault_s).count();
        let mut evidence =
            vec![short(&a.text, 250), format!("{} looks of {} after the fault", count(looks as u64), clean(&p.name))];
        let (id, severity, sentence) = match a.state.as_str() {
            "not_fired" => {
                ("alert-missing", Severity::Serious, format!("Nobody was alerted: {alert} did not fire after {fault}."))
            }
            "pending" => (
                "alert-missing",
                Severity::Serious,
                format!("Nobody was alerted: {alert} was pending after {fault} and never fired."),
            ),
            "silenced" | "inhibited" => (
                "alert-missing",
                Severity::Serious,
                format!("Nobody was alerted: {alert} was {} after {fault}.", clean(&a.state)),
            ),
            "late" => {
                let took = a.time_to_alert_s?;
                evidence.push(format!("time to alert {}", time_s(took)));
                (
                    "alert-late",
                    Severity::Warning,
                    format!("{alert} fired {} after {fault}, later than promised.", time_s(took)),
                )
            }
            // Fired; or unknown, which is no evidence of anything.
            _ => return None,
        };
        let hint = "Look whether the rule speaks of what users saw (errors, latency, drift of predictions), over a window that fits, and \
                    whether it is routed to somebody; then run this again: an alert that was never seen to fire does not exist.";
        Some(finding(id, severity, Some(&a.fault), sentence, evidence, hint))
    };
    c.report.probes.iter().flat_map(|p| p.alerts.iter().filter_map(move |a| of(p, a))).collect()
}
