//! The run told in a few sentences: what broke, when, how bad, back when, which promise failed and by how much.
//!
//! Terminal, Markdown and HTML show the same words. Pure; reads the numbers of the model and judges nothing anew.

use crate::report::format::{
    INFINITE, at_s, chosen_ms, clean, count, maybe_count, maybe_s, objective_bound, objective_place, objective_value,
    percent, short, targets, time_s, time_us,
};
use crate::report::model::{
    AlertReport, Ending, FaultReport, ImpactReport, LatencyShift, ObjectiveReport, Report, VerdictWord,
};
use crate::report::{budget, repeats};

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
    fact("How bad", told(&report.faults, |f| of_fault(f, how_bad)));
    fact("Back when", told(&report.faults, |f| of_fault(f, back_when)));
    fact(ALERTED, told(&alerts(report), |a| alerted(a)));
    fact("Time and again", told(&report.fault_groups, repeats::sentence));
    fact("What it costs", costs(report));
    // One alone stands in the headline already, unless the ending does.
    let broken = told_of(report, VerdictWord::Violated, by_how_much);
    fact("Promises broken", if broken.len() > 1 || report.ending == Ending::SafetyStop { broken } else { vec![] });
    fact("Not decided", undecided(report));
    Story { headline: headline(report), facts }
}

/// The question that alerts answer.
pub(super) const ALERTED: &str = "Who was alerted";

/// What became of every alert after every fault.
pub(super) fn alerts(report: &Report) -> Vec<&AlertReport> {
    report.probes.iter().flat_map(|p| &p.alerts).collect()
}

fn alerted(a: &AlertReport) -> String {
    let sign = if a.state == "fired" { "" } else { "NOT AS EXPECTED: " };
    format!("{sign}after {}: {}", clean(&a.fault), sentence(short(&a.text, 300)))
}

/// The first line of every summary. A generator that fell behind is told here with its numbers, and nowhere else.
pub(super) fn headline(report: &Report) -> String {
    let verdict = verdict(report);
    let g = &report.generator;
    if g.kept_up || report.phases.is_empty() || verdict.contains(BEHIND) {
        return verdict;
    }
    format!("{verdict} The load {BEHIND}: {}", sentence(short(&g.note, 300)))
}

const BEHIND: &str = "generator fell behind";

fn verdict(report: &Report) -> String {
    let held = report.objectives.iter().filter(|o| o.verdict == VerdictWord::Met).count();
    let first = |word| report.objectives.iter().filter(move |o: &&ObjectiveReport| o.verdict == word);
    let reason = || sentence(report.reasons.first().map_or("no reason is recorded".into(), |r| short(r, 300)));
    match (report.ending, report.verdict) {
        (Ending::NotStarted, _) => format!("The run did not start: {}", reason()),
        (Ending::SafetyStop, _) => format!("The safety stop ended the run: {}", reason()),
        (_, VerdictWord::Violated) => {
            let broken: Vec<_> = first(VerdictWord::Violated).collect();
            match (broken.first(), broken.len()) {
                (Some(one), 1) => format!("A promise was broken: {}", by_how_much(one)),
                (Some(one), n) => format!("{n} promises were broken, first {}", by_how_much(one)),
                (None, _) => format!("A promise was broken: {}", reason()),
            }
        }
        (_, VerdictWord::Inconclusive) => {
            let open = first(VerdictWord::Inconclusive).next().map(|o| sentence(clean(&o.reason)));
            format!("Not decided: {}", open.filter(|_| report.reasons.is_empty()).unwrap_or_else(reason))
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

/// Prices of the faults, the whole run where it had several, and what all of it assumes.
fn costs(report: &Report) -> Vec<String> {
    let name = |f: &FaultReport, cost: String| format!("{}: {}", clean(&f.name), sentence(cost));
    let all: Vec<String> =
        report.faults.iter().flat_map(|f| budget::costs(report, f).into_iter().map(|c| name(f, c))).collect();
    let mut lines = told(&all, String::clone);
    lines.extend(budget::remarks(report));
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
    let on = if f.targets.is_empty() { String::new() } else { format!(" on {}", targets(&f.targets, 120)) };
    let until = match (f.reverted_at_s, f.planned_end_at_s) {
        (Some(reverted), _) => format!("{} to {}", at_s(applied), at_s(reverted)),
        (None, Some(_)) => format!("from {} to the end", at_s(applied)),
        (None, None) => format!("at {}", at_s(applied)),
    };
    let proof = if f.proof.proven { "proven" } else { "NOT PROVEN" };
    format!("{what}{on}, {until}; {proof}: {}", sentence(short(&f.proof.evidence, 200)))
}

/// What requests saw of a fault, without when: the share that was missing, and latency where it moved.
pub(super) fn how_bad(f: &FaultReport) -> String {
    let i = &f.impact;
    match i.state.as_str() {
        "none" => unhurt(f),
        "unknown" => format!("impact unknown: {}", clean(&i.reason)),
        _ => {
            let worst = match (i.baseline_good_ratio, i.worst_good_ratio) {
                (Some(before), Some(worst)) => {
                    format!("good answers fell from {} to {} in the worst second, ", percent(before), percent(worst))
                }
                _ => String::new(),
            };
            format!("{worst}{}, longest outage {}{}", missing(i), maybe_s(i.longest_outage_s), cut_off(f))
        }
    }
}

/// A fault that hurt no second: what is true of its requests all the same. Unfelt is only what moved neither share nor latency.
fn unhurt(f: &FaultReport) -> String {
    let i = &f.impact;
    let within = i.within_ms.map_or(String::new(), |ms| format!(" within {}", chosen_ms(ms)));
    let share = match (i.failed, i.slow) {
        (Some(0), Some(0)) if took_some(f) => format!("every request due after it stayed good{within}"),
        (Some(0), Some(0)) => format!("every request stayed good{within}"),
        (Some(failed), Some(slow)) => format!("no second was hurt, {}", failed_and_slow(i, failed, slow)),
        _ => format!("no second was hurt (good is answered well{within})"),
    };
    match i.latency.as_ref() {
        Some(shift) => match moved(shift) {
            Some(moved) => format!("{share}; {moved}{}", cut_off(f)),
            None if (i.failed, i.slow) == (Some(0), Some(0)) && !took_some(f) => {
                format!("the requests did not feel it: {share}")
            }
            None => format!("{share}; latency did not move{}", cut_off(f)),
        },
        None => format!("{share}{}", cut_off(f)),
    }
}

/// `369 good answers missing: 0 failed, 369 answered later than 50 ms`.
fn missing(i: &ImpactReport) -> String {
    let lost = i.lost_requests.map(|n| n.round().max(0.0) as u64);
    let answers = if lost == Some(1) { "answer" } else { "answers" };
    let text = format!("{} good {answers} missing", maybe_count(i.lost_requests));
    match (lost, i.failed, i.slow) {
        (Some(lost), Some(failed), Some(slow)) => {
            // Some are missing at the best of times; that share is taken off the sum, not off its parts.
            let against = if lost == failed + slow { "" } else { " against the baseline" };
            format!("{text}{against}: {}", failed_and_slow(i, failed, slow))
        }
        _ => text,
    }
}

fn failed_and_slow(i: &ImpactReport, failed: u64, slow: u64) -> String {
    let within = i.within_ms.map_or("in time".to_owned(), chosen_ms);
    format!("{} failed, {} answered later than {within}", count(failed), count(slow))
}

/// Requests that were due before it were lost by it: nobody may say then that it was not felt.
fn took_some(f: &FaultReport) -> bool {
    f.impact.cut_off.is_some_and(|n| n > 0)
}

/// Requests that were due before a fault and lost by it: charts draw them to its left.
fn cut_off(f: &FaultReport) -> String {
    match f.impact.cut_off {
        Some(n) if n > 0 => {
            format!("; {} due before it {} lost by it", requests(n), if n == 1 { "was" } else { "were" })
        }
        _ => String::new(),
    }
}

/// The same as a note under a chart; none when there were none.
pub(super) fn cut_off_note(report: &Report) -> Option<String> {
    let n: u64 = report.faults.iter().filter_map(|f| f.impact.cut_off).sum();
    let (were, they) =
        if n == 1 { ("was", "it is drawn where it was") } else { ("were", "they are drawn where they were") };
    let fault = if report.faults.len() == 1 { "the fault" } else { "a fault" };
    (n > 0).then(|| format!("{} due before {fault} {were} lost by it; {they} due", requests(n)))
}

fn requests(n: u64) -> String {
    format!("{} {}", count(n), if n == 1 { "request" } else { "requests" })
}

/// Latency changed by more than this share of what it was is told.
const MOVED: f64 = 0.2;

/// `p50 50.5 ms against 430 µs before, p99 60.0 ms against 861 µs`; none where nothing moved.
fn moved(l: &LatencyShift) -> Option<String> {
    let told = |before: Option<f64>, during: Option<f64>| match (before, during) {
        (Some(before), Some(during)) => (during - before).abs() > MOVED * before,
        (before, during) => before != during,
    };
    let words = |us: Option<f64>| us.map_or(INFINITE.to_owned(), time_us);
    let (p50, p99) = ((l.before_p50_us, l.during_p50_us), (l.before_p99_us, l.during_p99_us));
    (told(p50.0, p50.1) || told(p99.0, p99.1)).then(|| {
        let [a, b, c, d] = [p50.1, p50.0, p99.1, p99.0].map(words);
        format!("p50 {a} against {b} before, p99 {c} against {d}")
    })
}

/// When it began to hurt and when that was over.
pub(super) fn back_when(f: &FaultReport) -> String {
    let i = &f.impact;
    let late = i.onset_s.filter(|s| *s >= 0.1);
    let hurt = match (late, i.onset_s) {
        (Some(s), _) => format!("hurt from {} after it was applied, ", time_s(s)),
        (None, Some(_)) => "hurt at once, ".to_owned(),
        (None, None) => String::new(),
    };
    let at = i.recovered_at_s.map(|t| format!(" (at {})", at_s(t))).unwrap_or_default();
    match (i.state.as_str(), i.recovery_s) {
        ("none", _) => "never away".to_owned(),
        ("recovered", Some(_)) if recovered_in_force(f) => format!("{hurt}recovered while it was still in force{at}"),
        ("recovered", Some(s)) => {
            let from = match (f.planned_end_at_s, late) {
                (Some(_), _) => " it was reverted",
                (None, None) => " it was applied",
                // Said already.
                (None, Some(_)) => "",
            };
            format!("{hurt}recovered {} after{from}{at}", time_s(s))
        }
        ("not_recovered", _) => format!("{hurt}NOT recovered: {}", clean(&i.reason)),
        _ => format!("{hurt}recovery unknown"),
    }
}

/// A lasting fault that stopped hurting before it was reverted, by more than a slot.
pub(super) fn recovered_in_force(f: &FaultReport) -> bool {
    let ends = f.impact.recovered_at_s.zip(f.reverted_at_s).filter(|_| f.planned_end_at_s.is_some());
    ends.is_some_and(|(back, reverted)| back < reverted - 0.1)
}

fn of_fault(f: &FaultReport, what: impl Fn(&FaultReport) -> String) -> String {
    format!("{}: {}", clean(&f.name), sentence(what(f)))
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
    told_of(report, VerdictWord::Inconclusive, |o| {
        format!("{} in {}: {}", clean(&o.metric), objective_place(o), sentence(short(&o.reason, 200)))
    })
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
    let within = format!("within {}", chosen_ms(report.plan.within_ms));
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
        assert_eq!(back_when(&fault), "never away");
    }

    /// A fault of 10 s that hurt nobody, or so says its state.
    fn quiet(failed: u64, slow: u64, before: [f64; 2], during: [f64; 2]) -> FaultReport {
        let latency = LatencyShift {
            before_p50_us: Some(before[0]),
            before_p99_us: Some(before[1]),
            during_p50_us: Some(during[0]),
            during_p99_us: Some(during[1]),
        };
        let impact = ImpactReport {
            state: "none".into(),
            recovery_s: Some(0.0),
            failed: Some(failed),
            slow: Some(slow),
            within_ms: Some(100.0),
            latency: Some(latency),
            ..ImpactReport::default()
        };
        FaultReport { name: "slow".into(), impact, ..FaultReport::default() }
    }

    #[test]
    fn only_what_moved_neither_share_nor_latency_was_not_felt() {
        let words = |f| how_bad(&f);
        assert_eq!(
            words(quiet(0, 0, [430.0, 861.0], [50_500.0, 60_000.0])),
            "every request stayed good within 100 ms; p50 50.5 ms against 430 µs before, p99 60.0 ms against 861 µs"
        );
        assert_eq!(
            words(quiet(0, 0, [430.0, 861.0], [500.0, 860.0])),
            "the requests did not feel it: every request stayed good within 100 ms"
        );
        assert_eq!(
            words(quiet(2, 1, [430.0, 861.0], [430.0, 861.0])),
            "no second was hurt, 2 failed, 1 answered later than 100 ms; latency did not move"
        );
        let mut killed = quiet(0, 0, [430.0, 861.0], [430.0, 861.0]);
        killed.impact.cut_off = Some(9);
        assert_eq!(
            words(killed),
            "every request due after it stayed good within 100 ms; latency did not move; 9 requests due before it were lost by it"
        );
    }

    #[test]
    fn a_late_onset_is_told_beside_the_recovery() {
        let mut fault = quiet(0, 369, [1.0, 1.0], [1.0, 1.0]);
        let i = &mut fault.impact;
        (i.state, i.onset_s, i.recovery_s) = ("recovered".into(), Some(3.1), Some(12.9));
        (i.recovered_at_s, i.lost_requests, i.longest_outage_s) = (Some(39.9), Some(369.0), Some(0.0));
        let hurt = "hurt from 3.10 s after it was applied, ";
        assert_eq!(back_when(&fault), format!("{hurt}recovered 12.9 s after (at 39.9 s)"));
        assert_eq!(
            how_bad(&fault),
            "369 good answers missing: 0 failed, 369 answered later than 100 ms, longest outage 0 s"
        );
        (fault.planned_end_at_s, fault.reverted_at_s) = (Some(60.0), Some(60.0));
        assert_eq!(back_when(&fault), format!("{hurt}recovered while it was still in force (at 39.9 s)"));
        fault.reverted_at_s = Some(27.0);
        assert_eq!(back_when(&fault), format!("{hurt}recovered 12.9 s after it was reverted (at 39.9 s)"));
    }

    #[test]
    fn a_late_generator_is_told_once_with_its_numbers() {
        let mut report = Report {
            ending: Ending::Completed,
            phases: vec![crate::report::model::SpanReport::default()],
            reasons: vec!["the generator fell behind: baseline: 40 of 1000 requests were not sent in time".into()],
            ..Report::default()
        };
        report.generator.note = "baseline: 40 of 1000 requests were not sent in time".into();
        let numbers = |text: &str| text.matches("40 of 1000").count();
        for verdict in [VerdictWord::Inconclusive, VerdictWord::Violated] {
            report.verdict = verdict;
            report.objectives = if verdict == VerdictWord::Violated { vec![violated()] } else { vec![] };
            assert_eq!(numbers(&headline(&report)), 1, "{}", headline(&report));
            assert_eq!(numbers(&crate::report::text::summary(&report, 100, false)), 1);
        }
    }
}
