//! Findings: what happened in a run in words, and what to try, by rules over the report.
//!
//! A rule speaks only when its pattern is in the numbers, and it names the numbers; what was not measured is not claimed, and a
//! cause that is only likely is a hint, never a statement. One file per subject: the faults, the answers, the load. `story.rs` tells
//! what was measured; this tells what it looks like. Pure; judges no promise.

mod answers;
mod faults;
mod load;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::course::Course;
use super::model::{Ending, Report};

/// Shown to people; the rest is in `run.json`.
pub(super) const SHOWN: usize = 5;
/// Kept in `run.json`.
const KEPT: usize = 50;

/// A known pattern that was seen in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which pattern, for example `recovery-bound-by-readiness`.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// The fault that it speaks of, if it is one.
    pub fault: Option<String>,
    /// What happened.
    pub sentence: String,
    /// The numbers that it rests on.
    pub evidence: Vec<String>,
    /// What to try.
    pub hint: String,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Users were hurt, or the run cannot be trusted.
    Serious,
    /// It made things worse, or will.
    Warning,
    /// Good to know.
    #[default]
    Note,
}

impl Severity {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Serious => "serious",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// Every pattern, in the order in which equally serious ones are told.
const RULES: [fn(&Course<'_>) -> Vec<Finding>; 19] = [
    load::generator_late,
    faults::not_proven,
    faults::not_recovered,
    answers::wrong_answers,
    answers::no_fallback_seen,
    answers::alert_missing,
    answers::retries_amplified,
    faults::one_replica_too_few,
    load::saturation,
    faults::never_out_of_rotation,
    faults::detection_slow,
    faults::stuck_on_dead_connections,
    faults::slow_after_ready,
    faults::cold_start,
    faults::recovery_bound_by_readiness,
    load::in_flight_limit,
    load::timeout_too_long,
    answers::versions,
    answers::fallback_served,
];

/// What the rules find, the most serious first. A run that did not start has none: its reasons say all that is known.
pub fn find(report: &Report) -> Vec<Finding> {
    if report.ending == Ending::NotStarted {
        return Vec::new();
    }
    let course = Course::new(report);
    let mut found: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&course)).collect();
    // The sort is stable: within a severity the order is that of the rules.
    found.sort_by_key(|f| f.severity);
    found.truncate(KEPT);
    found
}

/// A finding about a fault, or about the run.
fn finding(
    id: &str,
    severity: Severity,
    fault: Option<&str>,
    sentence: String,
    evidence: Vec<String>,
    hint: &str,
) -> Finding {
    Finding { id: id.to_owned(), severity, fault: fault.map(str::to_owned), sentence, evidence, hint: hint.to_owned() }
}
