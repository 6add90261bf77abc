//! The report model: what `run.json` holds (schema `resbench.run/1`).
//!
//! Every file of a run is rendered from this and from `latency.hlog`, by `run` and by `resbench report`
//! alike. Keys are an interface (DESIGN section 4): names stay, unknown keys may appear beside them. Instants end in
//! `_at_s`: seconds since the start of the run. Every string that came from the target or from the
//! scenario is data: renderers escape it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::findings::Finding;
use super::playbook::PlaybookReport;

/// The value of [`Report::schema`].
pub const SCHEMA: &str = "resbench.run/1";

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// `resbench.run/1`.
    pub schema: String,
    /// Unique id of the run.
    pub id: String,
    /// Version of the tool that measured.
    pub tool_version: String,
    /// Wall-clock time at offset zero, RFC 3339, UTC.
    pub started_at: String,
    /// What was run.
    pub scenario: ScenarioInfo,
    /// Root of every random choice.
    pub seed: u64,
    /// `met`, `violated` or `inconclusive`.
    pub verdict: VerdictWord,
    /// How the run ended.
    pub ending: Ending,
    /// Nothing was left broken.
    pub clean: bool,
    /// What the process exits with.
    pub exit_code: u8,
    /// Why the verdict is what it is, most important first, one sentence each.
    pub reasons: Vec<String>,
    /// One per phase, in order.
    pub phases: Vec<SpanReport>,
    /// One per fault, in the order of the scenario.
    pub faults: Vec<FaultReport>,
    /// `during:NAME` and `after:NAME`.
    pub spans: Vec<SpanReport>,
    /// One per objective × span.
    pub objectives: Vec<ObjectiveReport>,
    /// One per probe.
    pub probes: Vec<ProbeReport>,
    /// One per page of metrics that was read while load ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scrapes: Vec<ScrapeReport>,
    /// Did the generator keep up?
    pub generator: GeneratorReport,
    /// Where it ran.
    pub environment: Environment,
    /// One-second windows, in order of time and phase.
    pub windows: Vec<WindowReport>,
    /// Latency against time, counts.
    pub heatmap: Heatmap,
    /// Latency by nines, one curve per measured phase and per fault span.
    pub nines: Vec<NinesCurve>,
    /// What happened on the platform.
    pub platform_events: Vec<EventReport>,
    /// One example for each error class that occurred.
    pub error_samples: Vec<ErrorSample>,
    /// The command that reproduces the run.
    pub reproduce: String,
    /// Warnings of the plan.
    pub warnings: Vec<String>,
    /// One per promise that faults are priced in; empty where no objective speaks of a share of good requests.
    #[serde(default)]
    pub budgets: Vec<BudgetReport>,
    /// One per fault that repeats.
    #[serde(default)]
    pub fault_groups: Vec<FaultGroup>,
    /// What the plan asked for, for the heads of charts.
    pub plan: PlanInfo,
    /// What is still broken, and how a person puts it back; empty when clean.
    pub residue: Vec<String>,
    /// Known patterns that were seen, the most serious first.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the scenario's playbooks say for its faults, and what was seen of it.
    #[serde(default)]
    pub playbook: Vec<PlaybookReport>,
}

/// What was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioInfo {
    /// Its name.
    pub name: String,
    /// SHA-256 over file and `--set`s.
    pub sha256: String,
    /// Its path as typed.
    pub path: String,
    /// Its first comment line: what it teaches.
    pub lesson: String,
}

/// One word for the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// Every objective is met and every fault is proven.
    Met,
    /// An objective is violated.
    Violated,
    /// It could not be decided.
    #[default]
    Inconclusive,
}

impl VerdictWord {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            VerdictWord::Met => "met",
            VerdictWord::Violated => "violated",
            VerdictWord::Inconclusive => "inconclusive",
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All phases ran.
    Completed,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// By the safety stop.
    SafetyStop,
    /// No load was sent, or no fault applied, because the steady state did not hold or something could not be reached.
    #[default]
    NotStarted,
}

impl Ending {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            Ending::Completed => "completed",
            Ending::Interrupted => "interrupted",
            Ending::SafetyStop => "safety_stop",
            Ending::NotStarted => "not_started",
        }
    }
}

/// A phase or a span. `planned = ok + Σ errors + shed`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpanReport {
    /// Phase name, `during:NAME` or `after:NAME`.
    pub name: String,
    /// First instant.
    pub start_at_s: f64,
    /// How long.
    pub duration_s: f64,
    /// False for warm-up: in no denominator.
    pub measured: bool,
    /// Closed loop: latency is not counted from a plan here (say so wherever it is shown).
    pub closed_loop: bool,
    /// Arrivals due.
    pub planned: u64,
    /// Put on the wire.
    pub sent: u64,
    /// Good answers.
    pub ok: u64,
    /// Never sent.
    pub shed: u64,
    /// Arrivals due that a payload fault altered, wherever they are counted.
    pub altered: u64,
    /// Of those, the ones that are in no other number here, `planned` included: they stand in `faults[].altered`.
    #[serde(default)]
    pub altered_apart: u64,
    /// Requests that were not good, by class; classes that did not occur are left out.
    pub errors: BTreeMap<String, u64>,
    /// Everything that was due, altered or not: (planned + altered_apart) / duration.
    pub offered_rps: f64,
    /// Good answers done per second.
    pub throughput_rps: f64,
    /// 1 − ok/planned; null without arrivals.
    pub error_rate: Option<f64>,
    /// done − due over every planned arrival; a percentile is null where it is infinite.
    pub latency_us: Percentiles,
    /// done − due over good answers.
    pub latency_ok_us: Percentiles,
    /// done − sent over good answers.
    pub service_us: Percentiles,
    /// Connecting, where a request waited for it.
    pub connect_us: Percentiles,
    /// Of that, the TLS handshake. Absent where no request waited for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_us: Option<Percentiles>,
    /// sent − due.
    pub lag_us: Percentiles,
    /// First token − due over every planned stream; a percentile is null where it is infinite. Absent without streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_us: Option<Percentiles>,
    /// From one token to the next in good streams, every gap one value; tokens read at once have a gap of 0. Absent without streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub itl_us: Option<Percentiles>,
    /// Output tokens of good answers, as the server counts them, else chunks. Absent without streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Output tokens per second of good answers done here; an answer counts whole when it is done. Absent without streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<f64>,
    /// Every metric that has a value here, with its within-run interval where one was made.
    pub metrics: BTreeMap<String, MetricValue>,
    /// What answers said.
    pub quality: QualityReport,
    /// The generator kept up in this stretch.
    pub kept_up: bool,
}

/// Percentiles in µs, nearest rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the percentile of its name")]
pub struct Percentiles {
    /// How many values.
    pub n: u64,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p99_9: Option<f64>,
    /// The largest, exact.
    pub max: Option<f64>,
    /// The mean of the finite ones, exact.
    pub mean: Option<f64>,
    /// Values above the histogram's range of an hour: a percentile that falls on them reads as an hour.
    #[serde(default)]
    pub overflow: u64,
}

/// A value with its interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricValue {
    /// Null where it is infinite or unknown.
    pub value: Option<f64>,
    /// Size of the sample.
    pub n: u64,
    /// Within-run 95 % interval (block bootstrap), a floor.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
}

/// What answers said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QualityReport {
    /// Share of labelled answers equal to their label.
    pub accuracy: Option<f64>,
    /// Share of answers from a fallback.
    pub fallback_rate: Option<f64>,
    /// Answers by model version.
    pub versions: BTreeMap<String, u64>,
    /// Share of predictions that are the same as at baseline for the same row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// The same shares with what they were taken from and Wilson's 95 % interval, by name: `accuracy`, `agreement`, `fallback_rate`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, MetricValue>,
    /// Share of each model version among the answers that named one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version_shares: BTreeMap<String, MetricValue>,
    /// Share of each fallback level among the answers in which one was looked for; `0` is a full answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback_levels: BTreeMap<String, MetricValue>,
    /// Age of the features behind good answers; absent where no answer told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness_s: Option<FreshnessReport>,
}

/// Ages of features, seconds; told apart from 1 ms to 1000 hours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreshnessReport {
    /// Good answers that told one.
    pub n: u64,
    /// Median, with the interval of the order statistics around it.
    pub p50: MetricValue,
    /// 99th percentile, likewise.
    pub p99: MetricValue,
    /// The oldest, exact to a µs.
    pub max: Option<f64>,
    /// The mean, exact to a µs.
    pub mean: Option<f64>,
    /// Older than 1000 hours.
    pub overflow: u64,
}

/// What the answers of one second said; a share is null where there was nothing to take it from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QualityWindow {
    /// Predictions with a label.
    pub labelled: u64,
    /// Of those, right.
    pub correct: u64,
    /// Predictions for rows with an answer at baseline.
    pub compared: u64,
    /// Of those, the same.
    pub agreed: u64,
    /// Answers in which a fallback level was looked for.
    pub fallback_known: u64,
    /// Of those, from a fallback.
    pub fallback: u64,
    /// Median age of features, s.
    pub freshness_p50_s: Option<f64>,
    /// 99th percentile, s.
    pub freshness_p99_s: Option<f64>,
    /// Answers by model version.
    pub versions: BTreeMap<String, u64>,
}

/// One fault: asked for, done, proven, and what it did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultReport {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its driver: `local`.
    pub via: String,
    /// How it was done.
    pub mechanism: String,
    /// When it should be applied.
    pub planned_at_s: f64,
    /// When it should end; null for one-shot faults.
    pub planned_end_at_s: Option<f64>,
    /// When it was in force; null if never.
    pub applied_at_s: Option<f64>,
    /// When it was gone again; null for one-shot faults.
    pub reverted_at_s: Option<f64>,
    /// What it hit, in words.
    pub targets: Vec<String>,
    /// Numbers of the replicas that it hit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<u16>,
    /// The dependency that it hit, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
    /// Evidence.
    pub proof: ProofReport,
    /// What the requests saw of it.
    pub impact: ImpactReport,
    /// What it costs, one per promise in the order of `budgets`; absent where nothing is promised of a share of good requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budget: Vec<FaultBudget>,
    /// What went wrong with it, if anything.
    pub errors: Vec<String>,
    /// What became of the requests that it altered; absent for other kinds than payload faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altered: Option<AlteredReport>,
}

/// What became of the requests that a payload fault altered. `planned = answered + Σ errors + shed`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlteredReport {
    /// Share of the arrivals due in its time that were to be altered.
    pub share: f64,
    /// They count in the numbers of phases and spans, too.
    pub include: bool,
    /// The good end of one: `rejected`, `answered` or `either`.
    pub expect: String,
    /// Share of those judged that must end like that.
    pub expect_share: f64,
    /// Arrivals that were altered.
    pub planned: u64,
    /// Of those, put on the wire.
    pub sent: u64,
    /// Of those, never sent: the in-flight limit was reached.
    pub shed: u64,
    /// Of those planned, the ones that say something about the service: not shed, no `client`, `idle_closed` or `unfinished`.
    pub judged: u64,
    /// Of those judged, the ones that ended as expected.
    pub as_expected: u64,
    /// Answered with a 4xx.
    pub rejected: u64,
    /// Answered well, by the protocol.
    pub answered: u64,
    /// Of those judged, neither rejected nor answered.
    pub failed: u64,
    /// Those that were not answered well, by class: rejections are `status_4xx`.
    pub errors: BTreeMap<String, u64>,
    /// Distinct bodies that were made for it.
    pub bodies: u64,
    /// done − due of everything that came to an end, however it did.
    pub ended_us: Percentiles,
    /// What good answers said; accuracy against the label of the row that was altered.
    pub quality: QualityReport,
    /// Requests due while it was in force that nobody altered.
    pub twins: TwinsReport,
    /// One example for each error class that occurred.
    pub samples: Vec<ErrorSample>,
}

/// Requests due while a payload fault was in force that nobody altered. `planned = ok + Σ errors + shed`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TwinsReport {
    /// Arrivals due.
    pub planned: u64,
    /// Good answers.
    pub ok: u64,
    /// Never sent.
    pub shed: u64,
    /// Requests that were not good, by class.
    pub errors: BTreeMap<String, u64>,
    /// done − due of everything that came to an end, however it did.
    pub ended_us: Percentiles,
    /// What good answers said.
    pub quality: QualityReport,
}

/// The least and the most of something; null where that is infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// It is this or more.
    pub low: Option<f64>,
    /// It is this or less.
    pub high: Option<f64>,
}

/// A promise about a share of good requests, as an error budget (`src/budget.rs` has the formulas).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetReport {
    /// `error_rate`, `availability` or `good_ratio` for an objective's, `budget` for `[budget] target`.
    pub promise: String,
    /// Good is answered well within this, ms; null: answered well at all.
    pub within_ms: Option<f64>,
    /// The share that is to be good.
    pub target: f64,
    /// Line of the scenario file; null for `[budget]`.
    pub line: Option<usize>,
    /// The time that the promise is kept over, seconds.
    pub window_s: f64,
    /// Planned requests per second of this run, assumed for the whole window; null when it cannot be told.
    pub assumed_rps: Option<f64>,
    /// Bad requests that the promise leaves over the window; null when it cannot be told.
    pub bad_allowed: Option<f64>,
    /// Share of bad requests before the first fault, assumed for the time before the run; null when it cannot be told.
    pub assumed_bad_ratio: Option<f64>,
    /// Planned requests in the measured time of this run.
    pub planned: u64,
    /// Of those, bad.
    pub bad: u64,
    /// `bad` over `bad_allowed`; null when it cannot be told.
    pub spent: Option<f64>,
    /// Alerts over the whole run, counted from its first measured second.
    pub alerts: Vec<BurnAlert>,
    /// Why nothing can be told; empty when it can.
    pub reason: String,
}

/// The price of a fault in one promise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultBudget {
    /// As in `budgets`.
    pub promise: String,
    /// As in `budgets`.
    pub within_ms: Option<f64>,
    /// From when its requests are counted; null when its price cannot be told, like all that follows.
    pub from_at_s: Option<f64>,
    /// Until when.
    pub until_at_s: Option<f64>,
    /// Requests planned in that time.
    pub planned: u64,
    /// Of those, bad.
    pub bad: u64,
    /// Of those, more than the share before the first fault.
    pub excess: Option<f64>,
    /// `excess` over the budget: 0.031 is 3.1 % of it.
    pub spent: Option<f64>,
    /// Its 95 % interval within this run; requests are taken for independent, so it is a floor.
    pub spent_within_run: Option<Bounds>,
    /// It was not over when watching ended: it costs this or more.
    pub at_least: bool,
    /// How many such faults the window can afford; null when it is more than can be told.
    pub affordable: Option<f64>,
    /// Alerts by this fault alone, counted from when it was applied.
    pub alerts: Vec<BurnAlert>,
    /// Why nothing can be told; empty when it can.
    pub reason: String,
}

/// An alert on how fast a budget burns, over two windows (The Site Reliability Workbook, table 5-8).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BurnAlert {
    /// How many times as fast as the budget allows.
    pub burn: f64,
    /// The long window, seconds.
    pub long_s: f64,
    /// The short window, seconds.
    pub short_s: f64,
    /// `page` or `ticket`.
    pub kind: String,
    /// `no`, `after`, or `before`: it fires at the share before the first fault already.
    pub fires: String,
    /// After how long, seconds, where it fires `after`.
    pub after_s: Option<f64>,
}

/// A fault with `every` and `times`, over its times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultGroup {
    /// Its name in the scenario; its times are the faults `NAME-1`, `NAME-2`, …
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How often it was planned.
    pub times: usize,
    /// What faults are measured by.
    pub metrics: Vec<GroupMetric>,
}

/// One metric over the times of a fault. A time that was not seen whole counts by the least and the most that it can be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupMetric {
    /// `recovery_time`, `detection_time`, `longest_outage` or `lost_requests`.
    pub metric: String,
    /// `s` or `count`.
    pub unit: String,
    /// Times that were seen whole.
    pub whole: usize,
    /// Times of which only a lower end is known: watching ended before it was over.
    pub cut_off: usize,
    /// Times of which nothing is known.
    pub unknown: usize,
    /// The median; `low` equals `high` where it is known.
    pub median: Bounds,
    /// The smallest.
    pub best: Bounds,
    /// The largest.
    pub worst: Bounds,
}

/// Evidence that a fault took effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofReport {
    /// `effect`, `trusted`, `acknowledged` or `none`.
    pub level: String,
    /// Counts as proven.
    pub proven: bool,
    /// Things touched.
    pub touched: u64,
    /// In words.
    pub evidence: String,
}

/// What the requests saw of a fault (DESIGN section 2, Recovery).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImpactReport {
    /// `none`, `recovered`, `not_recovered` or `unknown`.
    pub state: String,
    /// Applied → hurt, seconds.
    pub onset_s: Option<f64>,
    /// When it began to hurt.
    pub onset_at_s: Option<f64>,
    /// From applied (one-shot) or reverted (lasting) to recovered, seconds.
    pub recovery_s: Option<f64>,
    /// From reverted to recovered, seconds.
    pub recovery_after_revert_s: Option<f64>,
    /// When it was recovered.
    pub recovered_at_s: Option<f64>,
    /// Applied → the platform took the target out of rotation, seconds.
    pub detection_s: Option<f64>,
    /// The longest row of 100 ms slots without a good answer, seconds; null when it cannot be told.
    pub longest_outage_s: Option<f64>,
    /// Good answers missing against the baseline; null when it cannot be told.
    pub lost_requests: Option<f64>,
    /// Over the same time, requests that failed or were shed; null when it cannot be told.
    pub failed: Option<u64>,
    /// Over the same time, good answers that came later than W; null when it cannot be told.
    pub slow: Option<u64>,
    /// Latency before the first fault and in `during:NAME`; null without the one or the other.
    pub latency: Option<LatencyShift>,
    /// Requests due before it was applied and not done by then.
    pub in_flight_when_applied: Option<u64>,
    /// Of the requests due in the last `timeout` before it was applied, those that were not good: what it took with it. They
    /// belong to the span before the fault, and are in no other number here.
    pub cut_off: Option<u64>,
    /// W: good within this, ms.
    pub within_ms: Option<f64>,
    /// Share of good answers before the fault.
    pub baseline_good_ratio: Option<f64>,
    /// The lowest share of good answers in any second of the fault.
    pub worst_good_ratio: Option<f64>,
    /// Why the state is what it is.
    pub reason: String,
}

/// Latency over every planned arrival before the first fault and during this one, µs; null where it is infinite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyShift {
    /// Median before.
    pub before_p50_us: Option<f64>,
    /// 99th percentile before.
    pub before_p99_us: Option<f64>,
    /// Median during.
    pub during_p50_us: Option<f64>,
    /// 99th percentile during.
    pub during_p99_us: Option<f64>,
}

/// One objective in one span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveReport {
    /// For example `latency.p99`.
    pub metric: String,
    /// Phase or span; null for fault metrics and probes.
    pub span: Option<String>,
    /// The fault it speaks of.
    pub fault: Option<String>,
    /// `max`, `min` or `holds` (probes).
    pub op: String,
    /// Null where it is infinite or could not be measured.
    pub value: Option<f64>,
    /// The bound, in `unit`.
    pub bound: f64,
    /// `s`, `ratio`, `/s`, `count` or empty.
    pub unit: String,
    /// Size of the sample.
    pub n: u64,
    /// Sample needed to speak.
    pub needed: u64,
    /// The verdict.
    pub verdict: VerdictWord,
    /// The bound lies inside the within-run interval.
    pub close: bool,
    /// That interval (95 %, block bootstrap): a floor for what another run would show. Absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_run: Option<Bounds>,
    /// In words.
    pub reason: String,
    /// Line of the scenario file.
    pub line: usize,
}

/// One probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Every asking, in order (at most 1,000 kept; `asked` counts all).
    pub results: Vec<ProbeResult>,
    /// How often it was asked.
    pub asked: u64,
    /// How often it failed.
    pub failed: u64,
    /// Of an alert: what became of it after each fault that it has to follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertReport>,
}

/// An alert after one fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertReport {
    /// The alert's name.
    pub alert: String,
    /// The fault's name.
    pub fault: String,
    /// `fired`, `late` (fired, but not within what was promised), `not_fired`, `pending` (and never fired), `silenced`, `inhibited`, or
    /// `unknown`: for example because it was firing before the fault.
    pub state: String,
    /// When it was first seen firing, on the run's clock.
    pub fired_at_s: Option<f64>,
    /// The last look that saw it not firing.
    pub not_fired_at_s: Option<f64>,
    /// From applied until it was seen firing; null unless it fired after the fault.
    pub time_to_alert_s: Option<f64>,
    /// It was no sooner than this: from applied until the last look that saw it not firing.
    pub time_to_alert_low_s: Option<f64>,
    /// Since when it was active by the server's own clock (`activeAt`, `startsAt`), put on the run's axis by our wall clock.
    pub active_at_s: Option<f64>,
    /// When it was first seen not firing again.
    pub resolved_at_s: Option<f64>,
    /// In words.
    pub text: String,
}

/// One asking of a probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeResult {
    /// `before`, `before_fault`, `during` or `after`.
    pub when: String,
    /// When; negative before the start of load.
    pub at_s: f64,
    /// It held.
    pub ok: bool,
    /// What was seen, at most 300 characters.
    pub detail: String,
}

/// A page of metrics that was read while load ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScrapeReport {
    /// The scrape's name.
    pub name: String,
    /// Whose page: `replica 0`, `target`, or its URL.
    pub source: String,
    /// Between two readings.
    pub every_s: f64,
    /// Between two of the values kept here: at most 600 a series. `scrape.csv` has all.
    pub kept_every_s: f64,
    /// Readings.
    pub read: u64,
    /// Of those, failed: gaps, never zeros.
    pub failed: u64,
    /// When and why, the first 200.
    pub gaps: Vec<ScrapeGap>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// What was asked for.
    pub series: Vec<SeriesReport>,
}

/// A reading that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScrapeGap {
    /// When.
    pub at_s: f64,
    /// Why, at most 300 characters.
    pub why: String,
}

/// One series of a page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesReport {
    /// `name` or `name{labels}`.
    pub name: String,
    /// `counter` (also buckets, sums and counts), `gauge` or `untyped`.
    pub kind: String,
    /// How often a counter began anew.
    pub resets: u64,
    /// (seconds since the start of load, value as it was read); null for NaN and infinities. A reading that failed has none.
    pub points: Vec<(f64, Option<f64>)>,
}

/// Generator health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorReport {
    /// sent − due over the whole run.
    pub lag_us: LagReport,
    /// CPU time of the load workers.
    pub cpu_s: f64,
    /// Largest resident set of this process.
    pub max_rss_bytes: u64,
    /// In every measured span.
    pub kept_up: bool,
    /// Load workers.
    pub workers: usize,
    /// Sent later than this counts as late, µs.
    pub late_limit_us: f64,
    /// In words, when it did not keep up.
    pub note: String,
    /// Most requests in flight at once.
    pub max_in_flight: u64,
    /// Connections opened.
    pub connections: u64,
    /// TLS handshakes that came to their end.
    #[serde(default)]
    pub tls_handshakes: u64,
    /// Of those, that took up an earlier session.
    #[serde(default)]
    pub tls_resumed: u64,
    /// Look-ups of the target's name; 0 for an address.
    #[serde(default)]
    pub dns_look_ups: u64,
    /// The slowest of them.
    #[serde(default)]
    pub dns_slowest_us: f64,
}

/// Lag percentiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the percentile of its name")]
pub struct LagReport {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// Where it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// CPUs usable.
    pub cpus: usize,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// `local` or `url`.
    pub platform: String,
    /// Replicas at the start.
    pub replicas: usize,
    /// Where requests went, secrets masked.
    pub target: String,
    /// Protocol.
    pub protocol: String,
    /// Time that the link itself adds, median and p99, µs; null without a link.
    pub link_us: Option<LinkTime>,
    /// 1-minute load average at the start.
    pub load_average: f64,
}

/// What the service link itself adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the percentile of its name")]
pub struct LinkTime {
    pub p50: f64,
    pub p99: f64,
}

/// One second of one phase. Columns of `windows.csv`, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowReport {
    /// First instant.
    pub start_at_s: f64,
    /// Length (less than 1 at phase edges).
    pub duration_s: f64,
    /// Phase name.
    pub phase: String,
    /// Arrivals due in it.
    pub due_planned: u64,
    /// Of those, good.
    pub due_ok: u64,
    /// Of those, good within W of the compliance chart (`plan.within_ms`).
    pub due_good: u64,
    /// Of those, failed.
    pub due_failed: u64,
    /// Of those, shed.
    pub due_shed: u64,
    /// Latency of those, µs; null where infinite.
    pub due_p50_us: Option<f64>,
    /// Likewise.
    pub due_p95_us: Option<f64>,
    /// Likewise.
    pub due_p99_us: Option<f64>,
    /// Largest of the good answers, µs.
    pub due_max_ok_us: Option<f64>,
    /// p99 of lag, µs.
    pub due_lag_p99_us: Option<f64>,
    /// What streams say; absent without streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamWindow>,
    /// What answers said; absent where none said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityWindow>,
    /// Errors by class.
    pub due_errors: BTreeMap<String, u64>,
    /// Good answers done in it.
    pub done_ok: u64,
    /// Failures that ended in it.
    pub done_failed: u64,
    /// Most requests in flight.
    pub in_flight_max: u64,
    /// Replicas ready at its end; null without a platform.
    pub replicas_ready: Option<u64>,
}

/// What the streams of one second say. Further columns of `windows.csv`, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamWindow {
    /// Time to first token of what was due, µs; null where infinite.
    pub due_ttft_p50_us: Option<f64>,
    /// Likewise.
    pub due_ttft_p99_us: Option<f64>,
    /// From one token to the next in good answers of what was due, µs.
    pub due_itl_p50_us: Option<f64>,
    /// Likewise.
    pub due_itl_p99_us: Option<f64>,
    /// Output tokens of good answers done in it.
    pub done_tokens: u64,
}

/// Latency of good answers against time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heatmap {
    /// Width of a column, seconds (columns are joined so that there are at most 600).
    pub column_s: f64,
    /// Lower edges of the rows in µs, ascending, log-spaced; one more than there are rows.
    pub edges_us: Vec<f64>,
    /// Columns in order of time; each has one count per row.
    pub columns: Vec<Vec<u64>>,
    /// Failed or shed per column.
    pub failed: Vec<u64>,
}

/// Latency by nines over every planned arrival.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NinesCurve {
    /// Phase or span.
    pub span: String,
    /// Size of the sample.
    pub n: u64,
    /// The last quantile that the sample supports (5 or more values beyond it): 1 − 5/n.
    pub supported: f64,
    /// (quantile 0..1, latency in µs), ascending; ends before latency becomes infinite.
    pub points: Vec<(f64, f64)>,
}

/// Something that happened on the platform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventReport {
    /// When; 0 for everything before load.
    pub at_s: f64,
    /// Which replica.
    pub replica: Option<u16>,
    /// `started`, `exited`, `terminating`, `scheduled`, `gone`, `ready`, `not_ready` or `note`.
    pub kind: String,
    /// In words.
    pub text: String,
}

/// One example of an error class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorSample {
    /// The class.
    pub class: String,
    /// What it means.
    pub meaning: String,
    /// How many, warm-up included.
    pub count: u64,
    /// First seen (due).
    pub first_at_s: f64,
    /// Last seen (due).
    pub last_at_s: f64,
    /// What was seen, at most 300 characters: part of an answer, or the system's words.
    pub sample: String,
}

/// What the plan asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanInfo {
    /// Length of all phases, seconds.
    pub duration_s: f64,
    /// The limit that good answers are held against in the compliance chart, ms.
    pub within_ms: f64,
    /// Where it came from: `tightest latency bound`, or `2 × baseline p99`.
    pub within_source: String,
    /// The share of good answers that objectives ask for, if any (1 − the tightest error-rate bound, or the good_ratio bound).
    pub good_target: Option<f64>,
    /// Request timeout, ms.
    pub timeout_ms: f64,
    /// In-flight limit.
    pub max_in_flight: u64,
    /// `uniform`, `poisson`, `gamma`.
    pub arrivals: String,
    /// The tightest latency bound, µs, for SLO lines.
    pub latency_bound_us: Option<f64>,
    /// Rows of the dataset that have a label; they are sent in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelled_rows: Option<u64>,
}
