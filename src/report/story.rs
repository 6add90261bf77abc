//! The run told in a few sentences: what broke, when, how bad, back when, which promise failed and by how much.
//!
//! Terminal, Markdown and HTML show the same words. Pure; reads the numbers of the model and judges nothing anew.

use crate::report::format::{
    at_s, clean, count, maybe_count, maybe_s, objective_bound, objective_place, objective_value, percent, short, time_s,
};
use crate::report::model::{Ending, FaultReport, ObjectiveReport, Report, VerdictWord};

/// How many faults or objectives are told one by one.
const TOLD: usize = 5;

/// The run in words. Every string is cleaned of control characters and still has to be escaped.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Story {
    /// One sentence that begins with the verdict's meaning.
    pub(super) headline: String,
    /// Question and answers, in the order to read them.
    pub(super) facts: Vec<(&'static str, Vec<String>)>,
}

/// Tells it.
pub(super) fn tell(report: &Report) -> Story {
    let mut facts = vec![];
    let mut fact = |question, answers: Vec<String>| {
        if !answers.is_empty() {
            facts.push((question, answers));
        }
    };
    if !report.clean {
        let left = report.residue.iter().map(|r| short(r, 300));
        fact("Still broken", left.chain(["Put it back with: resbench revert".into()]).collect());
    }
    fact("What broke", told(&report.faults, what_broke));
    fact("How bad", told(&report.faults, how_bad));
    fact("Back when", told(&report.faults, back_when));
    // One alone stands in the headline already, unless the ending does.
    let broken = told_of(report, VerdictWord::Violated, by_how_much);
    fact("Promises broken", if broken.len() > 1 || report.ending == Ending::SafetyStop { broken } else { vec![] });
    fact("Not decided", undecided(report));
    Story { headline: headline(report), facts }
}

/// The first line of every summary: `VIOLATED  pod-kill: …`.
pub(super) fn headline(report: &Report) -> String {
    let held = report.objectives.iter().filter(|o| o.verdict == VerdictWord::Met).count();
    let first = |word| report.objectives.iter().filter(move |o: &&ObjectiveReport| o.verdict == word);
    let reason = report.reasons.first().map(|r| short(r, 300));
    match (report.ending, report.verdict) {
        (Ending::NotStarted, _) => {
            format!("The run did not start: {}", sentence(reason.unwrap_or("no reason is recorded".into())))
        }
        (Ending::SafetyStop, _) => {
            format!("The safety stop ended the run: {}", sentence(reason.unwrap_or("no reason is recorded".into())))
        }
        (_, VerdictWord::Violated) => {
            let broken: Vec<_> = first(VerdictWord::Violated).collect();
            match (broken.first(), broken.len()) {
                (Some(one), 1) => format!("A promise was broken: {}", by_how_much(one)),
                (Some(one), n) => format!("{n} promises were broken, first {}", by_how_much(one)),
                (None, _) => sentence(reason.unwrap_or("A promise was broken".into())),
            }
        }
        (_, VerdictWord::Inconclusive) => {
            let open = first(VerdictWord::Inconclusive).next().map(|o| clean(&o.reason));
            format!("Not decided: {}", sentence(reason.or(open).unwrap_or("no reason is recorded".into())))
        }
        (_, VerdictWord::Met) => {
            let proven = report.faults.iter().filter(|f| f.proof.proven).count();
            let under = match proven {
                0 => String::new(),
                1 => format!(" under {} proven fault", count(1)),
                n => format!(" under {} proven faults", count(n as u64)),
            };
            if held == 0 {
                return format!("Measured only: the scenario has no objectives, so no promise was judged{under}.");
            }
            format!("Every promise was kept: {held} of {held} objectives met{under}.")
        }
    }
}

fn told<T>(all: &[T], one: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = all.iter().take(TOLD).map(one).collect();
    if all.len() > TOLD {
        lines.push(format!("… and {} more, in the tables.", all.len() - TOLD));
    }
    lines
}

fn told_of(report: &Report, verdict: VerdictWord, one: impl Fn(&ObjectiveReport) -> String) -> Vec<String> {
    let some: Vec<_> = report.objectives.iter().filter(|o| o.verdict == verdict).collect();
    told(&some, |o| one(o))
}

fn what_broke(f: &FaultReport) -> String {
    let what = format!("{} ({})", clean(&f.name), clean(&f.kind));
    let Some(applied) = f.applied_at_s else {
        return format!("{what} was never applied; it was planned at {}.", at_s(f.planned_at_s));
    };
    let on = if f.targets.is_empty() { String::new() } else { format!(" on {}", short(&f.targets.join(", "), 120)) };
    let until = match (f.reverted_at_s, f.planned_end_at_s) {
        (Some(reverted), _) => format!("{} to {}", at_s(applied), at_s(reverted)),
        (None, Some(_)) => format!("from {} to the end", at_s(applied)),
        (None, None) => format!("at {}", at_s(applied)),
    };
    let proof = if f.proof.proven { "proven" } else { "NOT PROVEN" };
    format!("{what}{on}, {until}; {proof}: {}", sentence(short(&f.proof.evidence, 200)))
}

/// Of a fault that hurt no second after it: what it took with it all the same.
pub(super) fn unfelt(f: &FaultReport) -> String {
    match f.impact.cut_off {
        Some(n) if n > 0 => {
            let requests = if n == 1 { "request that was" } else { "requests that were" };
            format!("it took {} {requests} under way with it; those due after it did not feel it", count(n))
        }
        _ => "the requests did not feel it".to_owned(),
    }
}

fn how_bad(f: &FaultReport) -> String {
    let (name, i) = (clean(&f.name), &f.impact);
    match i.state.as_str() {
        "none" => format!("{name}: {}.", unfelt(f)),
        "unknown" => format!("{name}: unknown; {}", sentence(clean(&i.reason))),
        _ => {
            let worst = match (i.baseline_good_ratio, i.worst_good_ratio) {
                (Some(before), Some(worst)) => {
                    format!("good answers fell from {} to {} in the worst second, ", percent(before), percent(worst))
                }
                _ => String::new(),
            };
            let lost = i.lost_requests.map(|n| n.round().max(0.0) as u64);
            let answers = if lost == Some(1) { "answer" } else { "answers" };
            let lost = format!("{} good {answers} missing", maybe_count(i.lost_requests));
            format!("{name}: {worst}{lost}, longest outage {}.", maybe_s(i.longest_outage_s))
        }
    }
}

fn back_when(f: &FaultReport) -> String {
    let (name, i) = (clean(&f.name), &f.impact);
    let from = if f.planned_end_at_s.is_some() { "reverted" } else { "applied" };
    match (i.state.as_str(), i.recovery_s) {
        ("none", _) => format!("{name}: never away."),
        ("recovered", Some(s)) => {
            let at = i.recovered_at_s.map(|t| format!(" (at {})", at_s(t))).unwrap_or_default();
            format!("{name}: {} after it was {from}{at}.", time_s(s))
        }
        ("not_recovered", _) => {
            format!("{name}: not recovered: {}", sentence(clean(&i.reason)))
        }
        _ => format!("{name}: unknown."),
    }
}

/// `latency.p99 in fault was 1.23 s, promised ≤ 100 ms (12.3 × the bound).`
fn by_how_much(o: &ObjectiveReport) -> String {
    let head = format!("{} in {}", clean(&o.metric), objective_place(o));
    if o.op == "holds" {
        return format!("{head} did not hold: {}", sentence(short(&o.reason, 200)));
    }
    let times = match (o.op.as_str(), o.value) {
        ("max", Some(v)) if o.bound > 0.0 && v > o.bound * 1.05 => {
            format!(" ({} × the bound)", super::format::number(v / o.bound))
        }
        _ => String::new(),
    };
    format!("{head} was {}, promised {}{times}.", objective_value(o), objective_bound(o))
}

fn undecided(report: &Report) -> Vec<String> {
    let mut lines = told_of(report, VerdictWord::Inconclusive, |o| {
        format!("{} in {}: {}", clean(&o.metric), objective_place(o), sentence(short(&o.reason, 200)))
    });
    if !report.generator.kept_up && !report.phases.is_empty() {
        lines.push(format!("The load generator fell behind: {}", sentence(short(&report.generator.note, 200))));
    }
    lines
}

/// With a full stop at the end, unless there is one or nothing to end.
fn sentence(text: String) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', '!', '?', '…']) { text.to_owned() } else { format!("{text}.") }
}

/// Share of good answers of a phase within W, from its windows; none without arrivals.
pub(super) fn good_share(report: &Report, phase: &str) -> Option<f64> {
    let windows = report.windows.iter().filter(|w| w.phase == phase);
    let (good, planned) = windows.fold((0, 0), |(g, p), w| (g + w.due_good, p + w.due_planned));
    (planned > 0).then(|| good as f64 / planned as f64)
}

/// The objective line of good answers: `99 % good within 100 ms`.
pub(super) fn promise(report: &Report) -> String {
    let within = format!("within {}", time_s(report.plan.within_ms / 1e3));
    match report.plan.good_target {
        Some(target) => format!("{} good {within}", super::format::percent_bound(target)),
        None => format!("good {within}; no objective speaks of it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{ImpactReport, ProofReport};

    fn violated() -> ObjectiveReport {
        ObjectiveReport {
            metric: "latency.p99".into(),
            span: Some("fault".into()),
            op: "max".into(),
            value: Some(1.23),
            bound: 0.1,
            unit: "s".into(),
            n: 500,
            verdict: VerdictWord::Violated,
            ..ObjectiveReport::default()
        }
    }

    #[test]
    fn the_headline_says_which_promise_and_by_how_much() {
        let report = Report {
            verdict: VerdictWord::Violated,
            ending: Ending::Completed,
            objectives: vec![violated()],
            ..Report::default()
        };
        let text = headline(&report);
        assert_eq!(
            text,
            "A promise was broken: latency.p99 in fault was 1.23 s, promised ≤ 100 ms (12.3 × the bound)."
        );
        let endless = ObjectiveReport { value: None, ..violated() };
        assert_eq!(by_how_much(&endless), "latency.p99 in fault was ∞, promised ≤ 100 ms.");
    }

    #[test]
    fn a_run_that_did_not_start_says_why() {
        let report = Report { reasons: vec!["probe `predicts` failed".into()], ..Report::default() };
        assert_eq!(headline(&report), "The run did not start: probe `predicts` failed.");
    }

    #[test]
    fn an_unproven_fault_is_called_so() {
        let fault = FaultReport {
            name: "slow".into(),
            kind: "network-delay".into(),
            applied_at_s: Some(2.0),
            planned_end_at_s: Some(5.0),
            proof: ProofReport { evidence: "no byte passed".into(), ..ProofReport::default() },
            impact: ImpactReport { state: "none".into(), ..ImpactReport::default() },
            ..FaultReport::default()
        };
        assert_eq!(what_broke(&fault), "slow (network-delay), from 2.0 s to the end; NOT PROVEN: no byte passed.");
        assert_eq!(back_when(&fault), "slow: never away.");
    }
}
