//! What `compare.json` and `gate.json` hold (schemas `resbench.compare/1`, `resbench.gate/1`).
//!
//! Times are seconds and end in `_s`. A value that is infinite (a percentile that failures reach, a recovery that never came) has `value` null and
//! `infinite` true; one that says nothing has neither.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::model::{Ending, ScenarioInfo};

/// Schema of a comparison of two variants.
pub const COMPARE: &str = "resbench.compare/1";
/// Schema of a gate, which may also compare with history or calibrate.
pub const GATE: &str = "resbench.gate/1";

/// One comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// `resbench.compare/1` or `resbench.gate/1`.
    pub schema: String,
    /// Unique id.
    pub id: String,
    /// Version of the tool that measured.
    pub tool_version: String,
    /// Wall-clock time of the beginning, RFC 3339, UTC.
    pub started_at: String,
    /// How long all of it took, seconds.
    pub duration_s: f64,
    /// What was run.
    pub scenario: ScenarioInfo,
    /// Root of every random choice.
    pub seed: u64,
    /// What was held against what.
    pub kind: Kind,
    /// The reference, then what is compared with it.
    pub arms: Vec<Arm>,
    /// The answer over all gating metrics.
    pub answer: AnswerWord,
    /// How it ended.
    pub ending: Ending,
    /// Nothing was left broken.
    pub clean: bool,
    /// What the process exits with.
    pub exit_code: u8,
    /// Why the answer is what it is, most important first.
    pub reasons: Vec<String>,
    /// Pairs asked for before the first and before the last look.
    pub pairs_planned: [usize; 2],
    /// Usable pairs at each look that was made.
    pub looks: Vec<usize>,
    /// One-sided risk of each look.
    pub risk: f64,
    /// Every pair that was run, also those that could not be used.
    pub pairs: Vec<PairReport>,
    /// Metrics that decide.
    pub metrics: Vec<MetricReport>,
    /// Further metrics, for advice only: `q` is Benjamini and Hochberg's, over all of them.
    pub advice: Vec<MetricReport>,
    /// Seconds of each arm, aligned on the first fault.
    pub timelines: Vec<Timeline>,
    /// By how much each quantile of good answers differs, per measured phase and fault.
    pub shifts: Vec<ShiftReport>,
    /// Where it ran: what has to be equal for two nights to be comparable.
    pub fingerprint: Fingerprint,
    /// Nights before this one, where there is a history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryReport>,
    /// The command that reproduces it.
    pub reproduce: String,
    /// What a careful reader should know.
    pub warnings: Vec<String>,
}

/// What is held against what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Two variants, in interleaved pairs.
    #[default]
    Pairs,
    /// One variant against itself, to measure the noise.
    Calibration,
    /// Tonight's runs against earlier nights: weak.
    History,
}

/// One side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Arm {
    /// Name of the variant.
    pub name: String,
    /// What it changes, `${VAR}` unexpanded.
    pub sets: Vec<String>,
}

/// The answer for one metric, or for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerWord {
    /// Worse by more than what matters.
    Regressed,
    /// Better by more than what matters.
    Improved,
    /// Not worse by more than what matters.
    NoRegression,
    /// Neither can be said.
    #[default]
    Inconclusive,
}

impl AnswerWord {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            AnswerWord::Regressed => "regressed",
            AnswerWord::Improved => "improved",
            AnswerWord::NoRegression => "no regression shown",
            AnswerWord::Inconclusive => "inconclusive",
        }
    }

    /// The word of the file.
    pub fn word(self) -> &'static str {
        match self {
            AnswerWord::Regressed => "regressed",
            AnswerWord::Improved => "improved",
            AnswerWord::NoRegression => "no_regression",
            AnswerWord::Inconclusive => "inconclusive",
        }
    }
}

/// Two runs, one of each arm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairReport {
    /// From 1.
    pub number: usize,
    /// Seed of both runs: the same arrivals and fault times in both.
    pub seed: u64,
    /// In the order in which they ran.
    pub runs: Vec<RunOf>,
    /// Both could be used.
    pub usable: bool,
}

/// One run of a pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunOf {
    /// The arm's name.
    pub arm: String,
    /// Its folder, relative to the comparison's.
    pub dir: String,
    /// Its verdict; empty when there is no report.
    pub verdict: String,
    /// Its exit code.
    pub exit_code: u8,
    /// How it ended; absent when there is no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Why it could not be used; empty when it could.
    pub why: String,
}

/// A value that may be infinite or say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Value {
    /// The number.
    pub value: Option<f64>,
    /// Worse than every number.
    #[serde(default)]
    pub infinite: bool,
}

impl Value {
    /// NaN says nothing.
    pub fn of(x: f64) -> Value {
        Value { value: x.is_finite().then_some(x), infinite: x.is_infinite() }
    }

    /// NaN where it says nothing.
    pub fn get(self) -> f64 {
        if self.infinite { f64::INFINITY } else { self.value.unwrap_or(f64::NAN) }
    }
}

/// A number that may be infinite on either side, as JSON can say it: `low` and `high` of intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum End {
    /// A number.
    Finite(f64),
    /// `"-inf"` or `"inf"`.
    Endless(Endless),
}

/// Beyond every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Endless {
    /// Below every number.
    #[serde(rename = "-inf")]
    Below,
    /// Above every number.
    #[serde(rename = "inf")]
    Above,
}

impl End {
    /// From a float that is not NaN.
    pub fn of(x: f64) -> End {
        match x {
            x if x == f64::INFINITY => End::Endless(Endless::Above),
            x if x == f64::NEG_INFINITY => End::Endless(Endless::Below),
            x => End::Finite(x),
        }
    }

    /// As a float.
    pub fn get(self) -> f64 {
        match self {
            End::Finite(x) => x,
            End::Endless(Endless::Above) => f64::INFINITY,
            End::Endless(Endless::Below) => f64::NEG_INFINITY,
        }
    }
}

/// One metric of both arms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricReport {
    /// `latency.p99@baseline`.
    pub metric: String,
    /// `s`, `ratio`, `/s` or `count`.
    pub unit: String,
    /// True: changes are shares of the reference (0.1 is 10 % more). False: in the unit.
    pub relative: bool,
    /// Worse when it is higher; else worse when it is lower.
    pub worse_when_higher: bool,
    /// The smallest change that matters, as changes are given; null for advice.
    pub min_effect: Option<f64>,
    /// The answer.
    pub answer: AnswerWord,
    /// Why, in words.
    pub why: String,
    /// One sentence with the interval.
    pub sentence: String,
    /// The change, second arm against first: Hodges-Lehmann estimate; of what belongs to a fault, the median.
    pub estimate: Option<End>,
    /// Its interval.
    pub low: Option<End>,
    /// Upper end.
    pub high: Option<End>,
    /// Two-sided level that the interval attains.
    pub level: f64,
    /// One-sided p of "worse by more than `min_effect`", against earlier nights never below the chance that a night without a change lies as
    /// far out; of advice: two-sided p of "changed".
    pub p: f64,
    /// After Holm over the gating metrics; of advice: Benjamini and Hochberg's q.
    pub p_adjusted: f64,
    /// Pairs that were weighed.
    pub n: usize,
    /// Pairs that say nothing (both infinite, or a value missing). A missing one that may be the worst rules out `no_regression` and `improved`.
    pub silent: usize,
    /// Values of the reference, in order of usable pairs (or of nights).
    pub a: Vec<Value>,
    /// Values of the other arm.
    pub b: Vec<Value>,
    /// Half the width of the interval of the reference against itself, from the last calibration here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<f64>,
}

/// Seconds of one arm: medians over its usable runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// The arm.
    pub arm: String,
    /// The fault that is second 0; empty where the run's start is.
    pub fault: String,
    /// In order.
    pub seconds: Vec<SecondOf>,
}

/// One second of an arm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecondOf {
    /// Seconds since the fault was applied (or since the start).
    pub at_s: f64,
    /// Median over runs of the second's p99, µs; null where infinite.
    pub p99_us: Option<f64>,
    /// Share of planned requests answered well, over all runs.
    pub ok_ratio: Option<f64>,
}

/// The shift function of one phase, or of the time of one fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShiftReport {
    /// The phase, or `during:FAULT`: whole seconds of which more than half lie in it.
    pub phase: String,
    /// Runs of each arm.
    pub runs: usize,
    /// By quantile, ascending.
    pub points: Vec<ShiftPoint>,
}

/// One quantile of good answers in both arms, µs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShiftPoint {
    /// 0 to 1.
    pub quantile: f64,
    /// Mean over the reference's runs.
    pub a_us: f64,
    /// Mean over the other arm's runs.
    pub b_us: f64,
    /// 95 % band of b − a, over whole runs.
    pub low_us: Option<f64>,
    /// Upper end.
    pub high_us: Option<f64>,
}

/// What has to be equal for two nights to be comparable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// SHA-256 over the parts, its first 12 hex digits.
    pub id: String,
    /// The parts, as `name: value`.
    pub parts: Vec<String>,
}

/// What earlier nights say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryReport {
    /// The folder.
    pub dir: String,
    /// Nights that count: the same scenario and fingerprint, valid and passed.
    pub nights: usize,
    /// Files that do not, with the reason.
    pub ignored: Vec<Ignored>,
    /// Where a metric changed, over all nights.
    pub changes: Vec<ChangeReport>,
    /// Of each gating metric, the nights in order, this one last.
    pub series: Vec<Series>,
}

/// A file of the history that does not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ignored {
    /// Its name.
    pub file: String,
    /// Why.
    pub why: String,
}

/// A change point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeReport {
    /// The metric.
    pub metric: String,
    /// The last night before it.
    pub after: String,
    /// The first night after it.
    pub at: String,
    /// Mean before.
    pub before_mean: f64,
    /// Mean after.
    pub after_mean: f64,
    /// Two-sided p of equal means.
    pub p: f64,
}

/// A metric over nights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// The metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Times and values.
    pub nights: Vec<NightOf>,
}

/// One night of a series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NightOf {
    /// When, RFC 3339.
    pub at: String,
    /// Median of the night's runs.
    pub value: Value,
}
