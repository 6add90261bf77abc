//! From the report of a run to its line of the day, and to what is to be done.

use super::model::{ActionItem, DayFault, DayScenario, Outcome};
use crate::report::findings::Severity;
use crate::report::format::{clean, objective_bound, objective_place, objective_value, short};
use crate::report::model::{ObjectiveReport, Report, VerdictWord};
use crate::report::playbook::StepStatus;
use crate::report::story::headline;

/// What the run of a scenario says, in its line of the day.
pub fn told(line: DayScenario, run: &Report, dir: String) -> DayScenario {
    let met = run.objectives.iter().filter(|o| o.verdict == VerdictWord::Met).count();
    let fault = |f: &crate::report::model::FaultReport| DayFault {
        name: f.name.clone(),
        kind: f.kind.clone(),
        proven: f.proof.proven,
    };
    DayScenario {
        outcome: Outcome::of(run.exit_code),
        exit_code: Some(run.exit_code),
        sentence: headline(run),
        dir,
        objectives: [met, run.objectives.len()],
        faults: run.faults.iter().map(fault).collect(),
        findings: run.findings.clone(),
        ..line
    }
}

/// What is to be done about a run: broken promises first, then findings, then steps of its playbooks that were not seen.
pub fn actions(run: &Report) -> Vec<ActionItem> {
    let item = |severity, text: String, because: String| ActionItem {
        scenario: run.scenario.name.clone(),
        severity,
        text,
        because,
    };
    let mut all = Vec::new();
    if !run.clean {
        let left = run.residue.first().map_or(String::new(), |r| short(r, 300));
        all.push(item(Severity::Serious, "Put back what was left broken: resbench revert".to_owned(), left));
    }
    let broken = run.objectives.iter().filter(|o| o.verdict == VerdictWord::Violated);
    all.extend(broken.map(|o| item(Severity::Serious, promise(o), was(o))));
    let findings = run.findings.iter().filter(|f| f.severity != Severity::Note);
    all.extend(findings.map(|f| {
        let evidence: Vec<&str> =
            std::iter::once(f.sentence.as_str()).chain(f.evidence.iter().map(String::as_str)).collect();
        item(f.severity, f.hint.clone(), short(&evidence.join(" · "), 500))
    }));
    for p in &run.playbook {
        let missing = p.steps.iter().filter(|s| s.status == StepStatus::NotSeen);
        all.extend(missing.map(|s| {
            let text = format!(
                "Make this step of the playbook for {} happen, or take it out: {}",
                clean(&p.fault),
                short(&s.step, 200)
            );
            item(Severity::Warning, text, s.detail.clone())
        }));
    }
    all
}

fn promise(o: &ObjectiveReport) -> String {
    match o.op.as_str() {
        "holds" => format!("Make {} hold", clean(&o.metric)),
        _ => format!("Bring {} in {} to {}", clean(&o.metric), objective_place(o), objective_bound(o)),
    }
}

fn was(o: &ObjectiveReport) -> String {
    match o.op.as_str() {
        "holds" => short(&o.reason, 300),
        _ => format!("it was {}, n = {}", objective_value(o), o.n),
    }
}
