//! What `game-day.json` holds (schema `resbench.game-day/1`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::findings::{Finding, Severity};
use crate::report::model::{Ending, ScenarioInfo, VerdictWord};

/// The value of [`GameDay::schema`].
pub const SCHEMA: &str = "resbench.game-day/1";

/// The scenarios of a folder, run from the smallest blast radius up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GameDay {
    /// `resbench.game-day/1`.
    pub schema: String,
    /// Unique id.
    pub id: String,
    /// Version of the tool that ran it.
    pub tool_version: String,
    /// Wall-clock time at the start, RFC 3339, UTC.
    pub started_at: String,
    /// How long all of it took, seconds.
    pub duration_s: f64,
    /// The folder's name.
    pub name: String,
    /// `met` when every scenario is, `violated` when one is, else `inconclusive`.
    pub verdict: VerdictWord,
    /// How it ended.
    pub ending: Ending,
    /// Nothing was left broken.
    pub clean: bool,
    /// What the process exits with.
    pub exit_code: u8,
    /// The day in one sentence.
    pub sentence: String,
    /// What stood in the way, most important first.
    pub reasons: Vec<String>,
    /// It went on after a scenario that failed.
    pub keep_going: bool,
    /// Every scenario, in the order of the day.
    pub scenarios: Vec<DayScenario>,
    /// What is to be done, most important first.
    pub actions: Vec<ActionItem>,
    /// The command that does it again.
    pub reproduce: String,
    /// What a careful reader should know.
    pub warnings: Vec<String>,
}

/// One scenario of the day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DayScenario {
    /// Its place in the order, from 1.
    pub number: usize,
    /// What was run.
    pub scenario: ScenarioInfo,
    /// How much of the service its faults hit, for how long.
    pub radius: RadiusReport,
    /// Length of its phases, seconds.
    pub planned_s: f64,
    /// What became of it.
    pub outcome: Outcome,
    /// What a run of it alone would have exited with; null when it was not run.
    pub exit_code: Option<u8>,
    /// What happened, in one sentence.
    pub sentence: String,
    /// Its run's folder, relative to this one's; empty when there is none.
    pub dir: String,
    /// Objectives that are met, and all of them.
    pub objectives: [usize; 2],
    /// Each fault, and whether it is proven.
    pub faults: Vec<DayFault>,
    /// Known patterns that were seen in it.
    pub findings: Vec<Finding>,
}

/// How much of the service the faults of a scenario hit: the larger, the later in the day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RadiusReport {
    /// Seconds of the whole service that could be lost at worst: over its faults, share hit × severity of the kind × time, added up.
    pub seconds: f64,
    /// How it was reckoned, one line for each fault.
    pub reasons: Vec<String>,
}

/// What became of a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every objective is met and every fault is proven.
    Met,
    /// A promise was broken, or the safety stop came after a fault.
    Violated,
    /// It could not be decided.
    Inconclusive,
    /// It could not start here.
    NotStarted,
    /// It was interrupted.
    Interrupted,
    /// It left something broken.
    NotClean,
    /// The day ended before its turn.
    #[default]
    NotRun,
}

impl Outcome {
    /// Of an exit code (DESIGN section 3).
    pub fn of(exit_code: u8) -> Outcome {
        match exit_code {
            0 => Outcome::Met,
            1 => Outcome::Violated,
            3 => Outcome::Inconclusive,
            4 => Outcome::NotClean,
            130 => Outcome::Interrupted,
            _ => Outcome::NotStarted,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Met => "met",
            Outcome::Violated => "violated",
            Outcome::Inconclusive => "inconclusive",
            Outcome::NotStarted => "not started",
            Outcome::Interrupted => "interrupted",
            Outcome::NotClean => "not clean",
            Outcome::NotRun => "not run",
        }
    }
}

/// A fault of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DayFault {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Counts as proven.
    pub proven: bool,
}

/// Something to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionItem {
    /// The scenario that asks for it.
    pub scenario: String,
    /// How much it matters.
    pub severity: Severity,
    /// What to do.
    pub text: String,
    /// What was seen.
    pub because: String,
}
