//! Playbooks in a report: which steps were seen to happen, when, which were not, and which nobody but a person can see.
//!
//! Pure: reads what the report says of its faults, probes, replicas and answers; claims nothing for a step that names no sign.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::course::{Course, ENOUGH, fallbacks, more_fallbacks};
use super::format::{at_s, count, time_s};
use super::model::{FaultReport, Report};

/// What was to happen when a fault struck.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookReport {
    /// The fault.
    pub fault: String,
    /// In order: automatic, manual, escalation.
    pub steps: Vec<StepReport>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepReport {
    /// `automatic`, `manual` or `escalation`.
    pub by: String,
    /// What is done.
    pub step: String,
    /// What shows it: `out-of-rotation`, `replica-back`, `recovered`, `fallback`, `probe NAME becomes passing` (or `failing`); null
    /// where a run cannot see it.
    pub seen_by: Option<String>,
    /// What became of it.
    pub status: StepStatus,
    /// When it was seen.
    pub at_s: Option<f64>,
    /// From applied to seen, seconds.
    pub after_s: Option<f64>,
    /// In words: what was seen, or why not.
    pub detail: String,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It was seen to happen.
    Seen,
    /// It was looked for, and not seen.
    NotSeen,
    /// There was nothing for it to do.
    NotNeeded,
    /// It cannot be told: no sign is named, or the run did not come to it.
    #[default]
    NotObservable,
}

impl StepStatus {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            StepStatus::Seen => "seen",
            StepStatus::NotSeen => "not seen",
            StepStatus::NotNeeded => "not needed",
            StepStatus::NotObservable => "cannot be observed",
        }
    }
}

/// The sign of a step, as the report can look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign<'a> {
    /// A replica that was hit went out of rotation.
    OutOfRotation,
    /// The replicas that were hit are ready again.
    ReplicaBack,
    /// The requests are as good as before.
    Recovered,
    /// More answers than before came from a fallback.
    Fallback,
    /// A probe turned to this.
    Probe {
        /// Its name.
        name: &'a str,
        /// It passes.
        passes: bool,
    },
}

/// What was seen of a step.
pub(super) struct Seen {
    status: StepStatus,
    at_s: Option<f64>,
    detail: String,
}

fn seen(at_s: Option<f64>, detail: String) -> Seen {
    Seen { status: StepStatus::Seen, at_s, detail }
}

fn unseen(status: StepStatus, detail: impl Into<String>) -> Seen {
    Seen { status, at_s: None, detail: detail.into() }
}

/// Looks for the sign of a step after a fault, and notes what was found.
pub fn observe(report: &Report, fault: &str, step: StepReport, sign: Option<Sign<'_>>) -> StepReport {
    let Some(sign) = sign else { return step };
    let course = Course::new(report);
    let found = match report.faults.iter().find(|f| f.name == fault) {
        Some(f) => match f.applied_at_s {
            Some(applied) => look(&course, f, applied, sign),
            None => unseen(StepStatus::NotObservable, "the fault was never applied"),
        },
        None => unseen(StepStatus::NotObservable, "the run did not come to it"),
    };
    let applied = report.faults.iter().find(|f| f.name == fault).and_then(|f| f.applied_at_s);
    let after_s = found.at_s.zip(applied).map(|(at, from)| (at - from).max(0.0));
    StepReport { status: found.status, at_s: found.at_s, after_s, detail: found.detail, ..step }
}

fn look(c: &Course<'_>, f: &FaultReport, applied: f64, sign: Sign<'_>) -> Seen {
    match sign {
        Sign::OutOfRotation => match c.out_at_s(f) {
            Some(at) => seen(Some(at), format!("out of rotation at {}", at_s(at))),
            None => unseen(StepStatus::NotSeen, "what it hit stayed in rotation"),
        },
        Sign::ReplicaBack => match (c.back_at_s(f), c.out_at_s(f)) {
            (Some(at), _) if c.ready_at_s(f).is_none() => {
                seen(Some(at), format!("ready again at {}, while it was still on", at_s(at)))
            }
            (Some(at), _) => seen(Some(at), format!("ready again at {}", at_s(at))),
            (None, Some(out)) => unseen(
                StepStatus::NotSeen,
                format!("out since {}, not ready again before the end or the next fault", at_s(out)),
            ),
            (None, None) => unseen(StepStatus::NotNeeded, "what it hit stayed in rotation"),
        },
        Sign::Recovered => recovered(f),
        Sign::Fallback => fallback(c, f),
        Sign::Probe { name, passes } => probe(c, f, applied, name, passes),
    }
}

fn recovered(f: &FaultReport) -> Seen {
    let i = &f.impact;
    match (i.state.as_str(), i.recovered_at_s) {
        ("recovered", Some(at)) => seen(Some(at), format!("as good as before at {}", at_s(at))),
        ("none", _) => unseen(StepStatus::NotNeeded, "no second was hurt, so there was nothing to come back from"),
        ("not_recovered", _) => unseen(StepStatus::NotSeen, i.reason.clone()),
        _ => unseen(StepStatus::NotObservable, i.reason.clone()),
    }
}

/// Fallbacks that were there before the fault are no step of anybody's.
fn fallback(c: &Course<'_>, f: &FaultReport) -> Seen {
    let Some(during) = c.during(f) else {
        return unseen(StepStatus::NotObservable, "no request was due while it was on");
    };
    let failed = during.planned - during.ok;
    let Some((n, all)) = fallbacks(during).filter(|(n, _)| *n > 0) else {
        return match failed {
            0 => unseen(StepStatus::NotNeeded, format!("all {} requests were answered in full", count(during.planned))),
            _ => unseen(
                StepStatus::NotSeen,
                format!("none of {} good answers, while {} requests failed", count(during.ok), count(failed)),
            ),
        };
    };
    let told = format!("{} of {} good answers in during:{}", count(n), count(all), f.name);
    let Some((before, of)) = c.baseline().and_then(fallbacks).filter(|(_, of)| (*of).min(all) >= ENOUGH) else {
        return unseen(
            StepStatus::NotObservable,
            format!("{told}; too few were looked at, then or before the first fault, to tell whether that is more"),
        );
    };
    if more_fallbacks((before, of), (n, all)) {
        return seen(None, told);
    }
    let told = format!("{told}, no clear rise from {} of {} before the first fault", count(before), count(of));
    match failed {
        0 => unseen(StepStatus::NotNeeded, told),
        _ => unseen(StepStatus::NotSeen, format!("{told}, while {} requests failed", count(failed))),
    }
}

/// The first answer after the fault that is as wanted where the one before was not.
fn probe(c: &Course<'_>, f: &FaultReport, applied: f64, name: &str, passes: bool) -> Seen {
    let Some(probe) = c.report.probes.iter().find(|p| p.name == name) else {
        return unseen(StepStatus::NotObservable, "the probe is not in the report");
    };
    if let Some(alert) = probe.alerts.iter().find(|a| a.fault == f.name).filter(|_| passes) {
        return match (alert.state.as_str(), alert.fired_at_s) {
            ("fired" | "late", Some(at)) => seen(Some(at), alert.text.clone()),
            ("unknown", _) => unseen(StepStatus::NotObservable, alert.text.clone()),
            _ => unseen(StepStatus::NotSeen, alert.text.clone()),
        };
    }
    // What comes after the next fault is that one's doing; the last asking, after the load, is everybody's.
    let next = c.next_fault_s(f);
    let until = if next < c.end_s() { next } else { f64::INFINITY };
    let mut before: Option<bool> = None;
    let (mut asked, mut wanted, mut blind) = (0, 0, false);
    for r in &probe.results {
        if r.at_s >= applied && r.at_s < until {
            if r.ok == passes && before == Some(!passes) {
                return seen(Some(r.at_s), format!("{} at {}: {}", r.when.replace('_', " "), at_s(r.at_s), r.detail));
            }
            // As wanted when it was first asked: it may have been so all along.
            blind |= r.ok == passes && before.is_none();
            asked += 1;
            wanted += u64::from(r.ok == passes);
        }
        before = Some(r.ok);
    }
    let word = if passes { "passing" } else { "failing" };
    let times = if asked == 1 { "once".to_owned() } else { format!("{} times", count(asked)) };
    match asked {
        0 => unseen(StepStatus::NotObservable, "it was not asked after the fault"),
        _ if blind => unseen(StepStatus::NotObservable, "not asked before the fault, so that no turn can be told"),
        // It was so all the time: nothing turned.
        n if n == wanted => {
            unseen(StepStatus::NotNeeded, format!("asked {times} after the fault, {word} all the time"))
        }
        _ => unseen(StepStatus::NotSeen, format!("asked {times} after the fault, and never became {word}")),
    }
}

/// `seen after 3.12 s`, `not seen`, for tables.
pub(super) fn outcome(step: &StepReport) -> String {
    match (step.status, step.after_s) {
        (StepStatus::Seen, Some(s)) => format!("seen after {}", time_s(s)),
        (status, _) => status.words().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{
        AlertReport, EventReport, ImpactReport, MetricValue, ProbeReport, ProbeResult, SpanReport, WindowReport,
    };

    fn run() -> Report {
        let event = |at_s, kind: &str| EventReport { at_s, replica: Some(1), kind: kind.into(), text: String::new() };
        Report {
            faults: vec![FaultReport {
                name: "kill-one".into(),
                applied_at_s: Some(20.0),
                replicas: vec![1],
                impact: ImpactReport {
                    state: "recovered".into(),
                    recovered_at_s: Some(24.5),
                    detection_s: Some(0.5),
                    ..ImpactReport::default()
                },
                ..FaultReport::default()
            }],
            platform_events: vec![event(20.5, "exited"), event(24.0, "ready")],
            windows: vec![WindowReport { start_at_s: 59.0, duration_s: 1.0, ..WindowReport::default() }],
            ..Report::default()
        }
    }

    fn looked(report: &Report, sign: Sign<'_>) -> (StepStatus, Option<f64>, String) {
        let step = observe(report, "kill-one", StepReport::default(), Some(sign));
        (step.status, step.after_s, step.detail)
    }

    #[test]
    fn events_are_counted_from_applied() {
        let mut report = run();
        for (sign, after) in [(Sign::OutOfRotation, 0.5), (Sign::ReplicaBack, 4.0), (Sign::Recovered, 4.5)] {
            let (status, seen, detail) = looked(&report, sign);
            assert_eq!((status, seen), (StepStatus::Seen, Some(after)), "{sign:?}: {detail}");
        }
        report.platform_events.pop();
        assert_eq!(looked(&report, Sign::ReplicaBack).0, StepStatus::NotSeen);
        // Another that flaps is not the one that went.
        let other = |at_s, kind: &str| EventReport { at_s, replica: Some(2), kind: kind.into(), text: String::new() };
        report.environment.replicas = 3;
        report.platform_events.extend([other(22.0, "not_ready"), other(23.0, "ready")]);
        assert_eq!(looked(&report, Sign::ReplicaBack).0, StepStatus::NotSeen);
        report.faults[0].impact.detection_s = None;
        report.platform_events.clear();
        assert_eq!(looked(&report, Sign::OutOfRotation).0, StepStatus::NotSeen);
        assert_eq!(looked(&report, Sign::ReplicaBack).0, StepStatus::NotNeeded);
        for (state, status) in [
            ("none", StepStatus::NotNeeded),
            ("not_recovered", StepStatus::NotSeen),
            ("unknown", StepStatus::NotObservable),
        ] {
            (report.faults[0].impact.state, report.faults[0].impact.recovered_at_s) = (state.into(), None);
            assert_eq!(looked(&report, Sign::Recovered).0, status, "{state}");
        }
        report.faults[0].applied_at_s = None;
        assert_eq!(looked(&report, Sign::Recovered).2, "the fault was never applied");
    }

    #[test]
    fn what_came_back_while_it_was_on_is_told_as_that() {
        let mut report = run();
        let f = &mut report.faults[0];
        (f.planned_end_at_s, f.reverted_at_s) = (Some(40.0), Some(40.0));
        let back = looked(&report, Sign::ReplicaBack);
        assert_eq!(back, (StepStatus::Seen, Some(4.0), "ready again at 24.0 s, while it was still on".into()));
    }

    #[test]
    fn a_step_without_a_sign_is_for_people() {
        let step = StepReport { step: "Call them".into(), ..StepReport::default() };
        let same = observe(&run(), "kill-one", step.clone(), None);
        assert_eq!(same, step);
        assert_eq!(outcome(&same), "cannot be observed");
    }

    #[test]
    fn a_probe_has_to_turn_after_the_fault() {
        let mut report = run();
        let asked = |answers: &[(f64, bool)]| {
            let result = |(at_s, ok): &(f64, bool)| ProbeResult {
                when: "during".into(),
                at_s: *at_s,
                ok: *ok,
                detail: "x".into(),
            };
            vec![ProbeReport {
                name: "paged".into(),
                results: answers.iter().map(result).collect(),
                ..ProbeReport::default()
            }]
        };
        let passing = Sign::Probe { name: "paged", passes: true };
        let failing = Sign::Probe { name: "paged", passes: false };
        report.probes = asked(&[(10.0, false), (21.0, false), (31.0, true), (61.0, true)]);
        assert_eq!(looked(&report, passing), (StepStatus::Seen, Some(11.0), "during at 31.0 s: x".into()));
        assert_eq!(looked(&report, failing).0, StepStatus::NotSeen, "it failed before, and that is no turn");
        report.probes = asked(&[(10.0, true), (21.0, true)]);
        assert_eq!(looked(&report, passing).0, StepStatus::NotNeeded);
        report.probes = asked(&[(10.0, false), (62.0, true)]);
        assert_eq!(looked(&report, passing).1, Some(42.0), "asked once after it, after the load");
        let blind =
            (StepStatus::NotObservable, None, "not asked before the fault, so that no turn can be told".to_owned());
        for answers in [&[(62.0, true)][..], &[(21.0, true), (31.0, false)]] {
            report.probes = asked(answers);
            assert_eq!(looked(&report, passing), blind, "{answers:?}");
        }
        report.probes = asked(&[(21.0, false), (31.0, true)]);
        assert_eq!(looked(&report, passing).1, Some(11.0), "it turned before our eyes");
        report.probes = asked(&[(10.0, true)]);
        assert_eq!(looked(&report, passing).0, StepStatus::NotObservable);
        // The next fault's time is not this one's.
        report.faults.push(FaultReport { name: "next".into(), applied_at_s: Some(30.0), ..FaultReport::default() });
        report.probes = asked(&[(21.0, false), (31.0, true)]);
        assert_eq!(looked(&report, passing).0, StepStatus::NotSeen);
    }

    #[test]
    fn an_alert_is_seen_when_it_fires() {
        let mut report = run();
        let alert = |state: &str, fired_at_s| AlertReport {
            fault: "kill-one".into(),
            state: state.into(),
            fired_at_s,
            text: "Errors".into(),
            ..AlertReport::default()
        };
        let sign = Sign::Probe { name: "paged", passes: true };
        for (state, fired, status) in [
            ("fired", Some(33.0), StepStatus::Seen),
            ("late", Some(33.0), StepStatus::Seen),
            ("silenced", None, StepStatus::NotSeen),
            ("unknown", Some(3.0), StepStatus::NotObservable),
        ] {
            let alerts = vec![alert(state, fired)];
            report.probes = vec![ProbeReport { name: "paged".into(), alerts, ..ProbeReport::default() }];
            let after = (status == StepStatus::Seen).then_some(13.0);
            assert_eq!(looked(&report, sign), (status, after, "Errors".into()), "{state}");
        }
    }

    #[test]
    fn fallbacks_are_looked_for_among_the_answers() {
        let mut report = run();
        assert_eq!(looked(&report, Sign::Fallback).0, StepStatus::NotObservable);
        let mut span = SpanReport { name: "during:kill-one".into(), planned: 100, ok: 100, ..SpanReport::default() };
        span.metrics.insert("fallback_rate".into(), MetricValue { value: Some(0.0), n: 100, ..MetricValue::default() });
        report.spans.push(span);
        assert_eq!(looked(&report, Sign::Fallback).0, StepStatus::NotNeeded);
        report.spans[0].ok = 60;
        assert_eq!(looked(&report, Sign::Fallback).0, StepStatus::NotSeen);
        report.spans[0].metrics.get_mut("fallback_rate").unwrap().value = Some(0.25);
        assert_eq!(looked(&report, Sign::Fallback).0, StepStatus::NotObservable, "nobody looked before");
        let mut base =
            SpanReport { name: "baseline".into(), measured: true, duration_s: 20.0, ..report.spans[0].clone() };
        base.metrics.get_mut("fallback_rate").unwrap().value = Some(0.0);
        report.phases.push(base);
        assert_eq!(
            looked(&report, Sign::Fallback),
            (StepStatus::Seen, None, "25 of 100 good answers in during:kill-one".into())
        );
        // As many as ever.
        report.phases[0].metrics.get_mut("fallback_rate").unwrap().value = Some(0.2);
        let (status, _, detail) = looked(&report, Sign::Fallback);
        assert_eq!(status, StepStatus::NotSeen, "{detail}");
        assert!(
            detail.ends_with("no clear rise from 20 of 100 before the first fault, while 40 requests failed"),
            "{detail}"
        );
        report.spans[0].ok = 100;
        assert_eq!(looked(&report, Sign::Fallback).0, StepStatus::NotNeeded);
        report.phases[0].metrics.get_mut("fallback_rate").unwrap().n = 29;
        assert_eq!(looked(&report, Sign::Fallback).0, StepStatus::NotObservable, "too few to compare with");
    }
}
