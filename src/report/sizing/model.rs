//! What `capacity.json` holds (schema `resbench.capacity/1`). Rates are requests per second (`_rps`), times end in their unit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::model::{Ending, ScenarioInfo};

/// The value of [`Sizing::schema`].
pub const SCHEMA: &str = "resbench.capacity/1";

/// One search for capacity, or two: as it is, and while a fault is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sizing {
    /// `resbench.capacity/1`.
    pub schema: String,
    /// Unique id.
    pub id: String,
    /// Version of the tool that measured.
    pub tool_version: String,
    /// How long all of it took, seconds.
    pub duration_s: f64,
    /// What was run.
    pub scenario: ScenarioInfo,
    /// Root of every random choice.
    pub seed: u64,
    /// The answer in one sentence.
    pub sentence: String,
    /// How it ended.
    pub ending: Ending,
    /// Nothing was left broken.
    pub clean: bool,
    /// What the process exits with.
    pub exit_code: u8,
    /// What stood in the way, most important first.
    pub reasons: Vec<String>,
    /// Replicas at the start of a trial; 1 where only a URL is known.
    pub replicas: usize,
    /// The search, then the one under the fault, if there was one.
    pub searches: Vec<SearchReport>,
    /// How many replicas are needed.
    pub need: Option<NeedReport>,
    /// The Universal Scalability Law through the trials of the first search; absent with fewer than six different loads.
    pub usl: Option<UslReport>,
    /// The command that reproduces it.
    pub reproduce: String,
    /// What a careful reader should know.
    pub warnings: Vec<String>,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FoundWord {
    /// A rate is carried, one little above it is not.
    Carried,
    /// The highest rate that may be tried is carried.
    AtLeast,
    /// Not even the lowest rate is carried.
    Below,
    /// It cannot be said, or only that it is more than the load engine could offer or than trials without a verdict show.
    #[default]
    Undecided,
}

/// One search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchReport {
    /// The fault that was held in every trial; null for none.
    pub under: Option<String>,
    /// Replicas that it held down.
    pub dead: usize,
    /// How it ended.
    pub found: FoundWord,
    /// The same in words.
    pub words: String,
    /// The highest rate that a long trial confirmed; null where the search is undecided.
    pub carried_rps: Option<f64>,
    /// The lowest above it that failed.
    pub breaks_at_rps: Option<f64>,
    /// `carried_rps` over the replicas that were alive.
    pub per_replica_rps: Option<f64>,
    /// Trials contradict each other.
    pub noisy: bool,
    /// Where passes turn into failures by isotonic regression over all trials: best guess, 95 % interval.
    pub crossing_rps: Option<[f64; 3]>,
    /// Where latency starts to climb, if both ways to see it agree within 15 %.
    pub knee_rps: Option<f64>,
    /// Every trial, in order.
    pub trials: Vec<TrialReport>,
}

/// One trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialReport {
    /// Offered.
    pub rate_rps: f64,
    /// The long kind.
    pub confirm: bool,
    /// `passed`, `failed`, `generator_bound` or `inconclusive`.
    pub verdict: String,
    /// Why.
    pub why: String,
    /// Good answers per second in the second half.
    pub good_rps: f64,
    /// 1 − ok/planned.
    pub error_rate: Option<f64>,
    /// Over every planned request, µs; null where infinite.
    pub p50_us: Option<f64>,
    /// Likewise.
    pub p99_us: Option<f64>,
    /// Mean requests in flight in the second half.
    pub in_flight_mean: f64,
    /// Its run's folder, relative to this one's.
    pub dir: String,
}

/// How many replicas carry the peak, grown, after the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NeedReport {
    /// What was asked.
    pub peak_rps: f64,
    /// As a share.
    pub growth: f64,
    /// Replicas whose loss is survived.
    pub survive: u32,
    /// How full a replica may be while all live.
    pub utilisation: f64,
    /// `peak_rps` × (1 + `growth`).
    pub demand_rps: f64,
    /// Per replica while all live.
    pub capacity_rps: f64,
    /// Per replica while `survive` are dead, as measured; null: arithmetic.
    pub capacity_after_loss_rps: Option<f64>,
    /// The answer.
    pub replicas: u32,
    /// What the utilisation alone asks for.
    pub for_utilisation: u32,
    /// What the loss alone asks for.
    pub for_loss: u32,
    /// Capacity after the loss was measured.
    pub measured: bool,
    /// What each number of replicas means.
    pub table: Vec<NeedRow>,
}

/// One number of replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NeedRow {
    /// How many.
    pub replicas: u32,
    /// Load over capacity while all live.
    pub utilisation: f64,
    /// After the loss; null when nobody is left.
    pub utilisation_after_loss: Option<f64>,
    /// p99 after the loss, as trials under it showed at the rate that falls to each; null beyond what was measured.
    pub p99_after_loss_us: Option<f64>,
    /// Enough.
    pub enough: bool,
}

/// The law X(N) = λN / (1 + α(N − 1) + βN(N − 1)), each number with its 95 % interval (low, value, high).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UslReport {
    /// λ, per second.
    pub lambda: [f64; 3],
    /// α, contention.
    pub alpha: [f64; 3],
    /// β, coherency.
    pub beta: [f64; 3],
    /// In words: where more load yields less, or that no such region was seen.
    pub words: String,
}
