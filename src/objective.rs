//! Judging: objectives against what was measured, the verdict of a run, its exit code. Pure.
//!
//! Owns DESIGN section 5, rule 9 (sample sizes) and the table of exit codes in section 3. Leaves alone how metrics
//! are defined (`summary.rs`, `impact.rs`) and how verdicts are shown (`report/`).
//!
//! There are three answers. What could not be measured well enough is *inconclusive*, with the reason: too few samples, a
//! generator that fell behind, a fault that nothing proves. A pass without evidence is never given.

use std::time::Duration;

use crate::bootstrap::{Interval, Statistic, block_bootstrap};
use crate::hist::{bucket_of, bucket_top};
use crate::impact::{self, FaultTimes, State};
use crate::plan::{FaultTarget, Metric, Objective, Op, Plan, ProbePlan, SpanRef};
use crate::statistics::censored::{self, Seen};
use crate::summary::{AGE_UNITS, Quality, RunSummary, SpanStats};
use crate::units::{PhaseId, Quantile, show_measured};

/// A claim is made when the chance of seeing this little against it by luck is at most this.
const RISK: f64 = 0.05;
/// A lasting fault applied later than this leaves the phases after its time without it.
const LATE: Duration = Duration::from_secs(2);

/// The whole reason of an objective whose span the generator could not keep up with: its numbers stand once, in the report's
/// `generator`, not in every line.
pub const GENERATOR_LATE: &str = "generator late";

/// The answer to one objective, or to the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The value keeps its bound.
    Met,
    /// It could not be decided.
    Inconclusive,
    /// The value breaks its bound.
    Violated,
}

impl Verdict {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Violated => "violated",
        }
    }
}

/// Everything that judging needs beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What was asked for.
    pub plan: &'a Plan,
    /// What was measured.
    pub summary: &'a RunSummary,
    /// One per fault of the plan, in its order.
    pub faults: &'a [FaultFacts],
    /// One per probe of the plan, in its order.
    pub probes: &'a [ProbeFacts],
}

/// What is known of one fault.
#[derive(Clone, Debug, Default)]
pub struct FaultFacts {
    /// When it was really there.
    pub times: FaultTimes,
    /// Its proof counts (DESIGN section 2, Proof).
    pub proven: bool,
    /// The evidence, or what is missing, in words.
    pub evidence: String,
    /// From *applied* until the platform took its target out of rotation; none when it never did.
    pub detection: Option<Duration>,
    /// How long that was looked for, from *applied*: until the next fault or the end.
    pub detection_watched: Duration,
}

/// What is known of one probe.
#[derive(Clone, Debug, Default)]
pub struct ProbeFacts {
    /// Askings before faults: the steady state. A run whose steady state does not hold is not started.
    pub asked_before: u64,
    /// Of those, failed.
    pub failed_before: u64,
    /// Askings during and after.
    pub asked: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Of an alert: what cannot be told, the first of it.
    pub unknown: Option<String>,
    /// What the first failure of any kind showed.
    pub first_failure: Option<String>,
}

/// One objective in one span, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Index into `Plan::objectives`; none for a probe that no objective names.
    pub objective: Option<usize>,
    /// What was judged.
    pub metric: Metric,
    /// Where; none for fault metrics and probes.
    pub span: Option<SpanRef>,
    /// The fault it speaks of, for fault metrics.
    pub fault: Option<usize>,
    /// In the metric's unit; none where it is infinite or could not be measured.
    pub value: Option<f64>,
    /// Size of the sample.
    pub n: u64,
    /// Sample needed to speak.
    pub needed: u64,
    /// The answer.
    pub verdict: Verdict,
    /// The within-run interval, where one can be made.
    pub interval: Option<Interval>,
    /// The bound lies inside that interval.
    pub close: bool,
    /// Why, in words.
    pub reason: String,
}

/// Judges every objective in each of its spans, in the order of the file. A probe that failed during or after is a
/// violated objective, so it stands here even when no objective names it.
pub fn judge_all(facts: &Facts) -> Vec<Judged> {
    let mut all = Vec::new();
    for (index, objective) in facts.plan.objectives.iter().enumerate() {
        let judged = match (&objective.metric, objective.median_of, objective.fault) {
            (Metric::Probe(name), ..) => vec![judge_probe(facts, name)],
            (_, Some(repeat), _) => vec![judge_median(facts, objective, repeat)],
            (Metric::AsExpected, None, Some(fault)) => vec![judge_altered(facts, objective, fault)],
            (metric, None, Some(fault)) if metric.is_of_fault() => vec![judge_fault(facts, objective, fault)],
            _ => objective.spans.iter().map(|span| judge_span(facts, objective, span)).collect(),
        };
        all.extend(judged.into_iter().map(|j| Judged { objective: Some(index), ..j }));
    }
    let named = |name: &str| facts.plan.objectives.iter().any(|o| matches!(&o.metric, Metric::Probe(n) if n == name));
    let speaks = |f: &ProbeFacts| f.failed > 0 || f.unknown.is_some();
    let unnamed = facts.plan.probes.iter().zip(facts.probes).filter(|(probe, f)| speaks(f) && !named(&probe.name));
    all.extend(unnamed.map(|(probe, _)| judge_probe(facts, &probe.name)));
    all
}

/// The run's verdict: violated if any objective is, else inconclusive if any objective is or a fault is not proven, else met.
pub fn overall(judged: &[Judged], faults: &[FaultFacts]) -> Verdict {
    let worst = judged.iter().map(|j| j.verdict).max().unwrap_or(Verdict::Met);
    let proof = if faults.iter().all(|f| f.proven) { Verdict::Met } else { Verdict::Inconclusive };
    worst.max(proof)
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All phases ran.
    Completed,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// By the safety stop; was a fault applied before it?
    SafetyStop {
        /// Some fault had been applied.
        after_fault: bool,
    },
    /// The steady state did not hold, or something could not be reached.
    NotStarted,
}

/// What the process exits with: the first row of DESIGN section 3's table that holds. Row 2 (usage, an invalid
/// scenario) is left before there is a run.
pub fn exit_code(clean: bool, ending: Ending, verdict: Verdict) -> u8 {
    match (ending, verdict) {
        _ if !clean => 4,
        (Ending::Interrupted, _) => 130,
        (Ending::NotStarted | Ending::SafetyStop { after_fault: false }, _) => 5,
        (Ending::SafetyStop { after_fault: true }, _) | (_, Verdict::Violated) => 1,
        (_, Verdict::Inconclusive) => 3,
        (_, Verdict::Met) => 0,
    }
}

/// Smallest sample that can support a bound: n with (1 − allowed)^n ≤ 0.05 for a quantile that leaves this share above
/// it, 3/allowed for a rate (the rule of three); 1 where nothing is allowed. p95 59, p99 299, p99.9 2,995.
pub fn sample_needed(metric: &Metric, op: Op, bound: f64) -> u64 {
    let Some(allowed) = allowed_share(metric, op, bound).filter(|a| *a > 0.0) else { return 1 };
    let exact = match metric {
        Metric::Latency(_) | Metric::LatencyOk(_) | Metric::Ttft(_) | Metric::Itl(_) | Metric::Freshness(_) => {
            RISK.ln() / (1.0 - allowed).ln()
        }
        _ => 3.0 / allowed,
    };
    // 3/(1 − 0.99) is a rounding error off 300.
    ((exact - 1e-6).ceil() as u64).max(1)
}

/// The share of the sample that may speak against the bound; none for metrics that are no quantile and no share.
fn allowed_share(metric: &Metric, op: Op, bound: f64) -> Option<f64> {
    use Metric::{Freshness, Itl, Latency, LatencyOk, Ttft};
    let allowed = match (metric, op) {
        (Freshness(q), Op::Max) => 1.0 - freshness_quantile(*q).share(),
        (Freshness(q), Op::Min) => freshness_quantile(*q).share(),
        (Latency(q) | LatencyOk(q) | Ttft(q) | Itl(q), Op::Max) => 1.0 - q.share(),
        (Latency(q) | LatencyOk(q) | Ttft(q) | Itl(q), Op::Min) => q.share(),
        (metric, Op::Max) if metric.unit() == "ratio" => bound,
        (metric, Op::Min) if metric.unit() == "ratio" => 1.0 - bound,
        _ => return None,
    };
    Some(allowed)
}

/// Plain `freshness` is what all but one in a hundred answers keep.
fn freshness_quantile(q: Option<Quantile>) -> Quantile {
    q.unwrap_or(Quantile::P99)
}

/// P[Bin(n, p) ≥ k].
fn binomial_tail(n: u64, p: f64, k: u64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    // Only asked for samples below the needed size, where (1 − p)^n > 0.03 for small p: no underflow. For large p it may
    // underflow, to a tail of 1, which excludes nothing: right, because such small samples cannot.
    let mut term = (n as f64 * (-p).ln_1p()).exp();
    let mut below = 0.0;
    for i in 0..k {
        below += term;
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
    }
    (1.0 - below).clamp(0.0, 1.0)
}

/// What a span says about a metric.
struct Reading {
    /// None: infinite.
    value: Option<f64>,
    n: u64,
    /// Of those, how many speak against the bound.
    against: u64,
}

/// Reads a metric from a span; an error when there is nothing to read.
fn read(objective: &Objective, span: &SpanStats) -> Result<Reading, &'static str> {
    let within = objective.within.unwrap_or_default();
    let bound_ns = (objective.bound * 1e9).round() as u64;
    let seconds = |ns: Option<u64>| ns.map(|ns| ns as f64 / 1e9);
    let over = |n: u64, at_or_below: u64| match objective.op {
        Op::Max => n.saturating_sub(at_or_below),
        Op::Min => at_or_below.min(n),
    };
    // For shares: `part` are the ones that the metric counts.
    let share = |part: u64, n: u64| {
        let against = if objective.op == Op::Max { part } else { n - part };
        Reading { value: Some(part as f64 / n as f64), n, against }
    };
    if span.planned == 0 {
        if span.altered_apart > 0 {
            return Err("every request here was altered, and those are judged apart");
        }
        return Err("no request was due here");
    }
    let planned = span.planned;
    Ok(match &objective.metric {
        Metric::Latency(q) => {
            let against = over(planned, span.latency_ok.count_at_or_below(bound_ns));
            Reading { value: seconds(span.latency(*q).flatten()), n: planned, against }
        }
        Metric::LatencyMax => Reading { value: seconds(span.latency_max().flatten()), n: planned, against: 0 },
        Metric::LatencyOk(q) => {
            let n = span.latency_ok.count();
            let value = span.latency_ok.quantile(q.share()).ok_or("no answer was good")?;
            let against = over(n, span.latency_ok.count_at_or_below(bound_ns));
            Reading { value: seconds(Some(value)), n, against }
        }
        Metric::Ttft(q) => {
            let n = span.streams_planned();
            let value = span.ttft(*q).ok_or("no stream was due here")?;
            let against = over(n, span.ttft.count_at_or_below(bound_ns));
            Reading { value: seconds(value), n, against }
        }
        Metric::Itl(q) => {
            let n = span.itl.count();
            let value = span.itl.quantile(q.share()).ok_or("no good answer had two tokens")?;
            let against = over(n, span.itl.count_at_or_below(bound_ns));
            Reading { value: seconds(Some(value)), n, against }
        }
        Metric::ErrorRate => share(planned.saturating_sub(span.ok), planned),
        Metric::Availability => share(span.ok, planned),
        Metric::ShedRate => share(span.shed, planned),
        Metric::GoodRatio => share(span.latency_ok.count_at_or_below(within.as_nanos() as u64), planned),
        Metric::Throughput => {
            let value = span.throughput().ok_or("it has no length")?;
            Reading { value: Some(value), n: planned, against: 0 }
        }
        Metric::FallbackRate => match span.quality.fallback_known {
            0 => return Err("no good answer told its fallback level"),
            n => share(span.quality.fallback, n),
        },
        Metric::Accuracy => match span.quality.labelled {
            0 => return Err("no good answer had a label and a prediction"),
            n => share(span.quality.correct, n),
        },
        Metric::Agreement => match span.quality.compared {
            0 => return Err("no good answer was to a row that had been answered before the first fault"),
            n => share(span.quality.agreed, n),
        },
        Metric::Freshness(q) => {
            let ages = &span.quality.ages;
            let value =
                ages.quantile(freshness_quantile(*q).share()).ok_or("no good answer told how old its features are")?;
            let against = over(ages.count(), ages.count_at_or_below((objective.bound * AGE_UNITS).round() as u64));
            Reading { value: Some(value as f64 / AGE_UNITS), n: ages.count(), against }
        }
        Metric::FreshnessMax => match span.quality.ages.count() {
            0 => return Err("no good answer told how old its features are"),
            n => Reading { value: Some(span.quality.ages.max() as f64 / AGE_UNITS), n, against: 0 },
        },
        Metric::RecoveryTime
        | Metric::DetectionTime
        | Metric::LongestOutage
        | Metric::LostRequests
        | Metric::AsExpected => {
            return Err("it belongs to a fault, not to a span");
        }
        Metric::Probe(_) => return Err("it belongs to a probe, not to a span"),
    })
}

fn statistic(objective: &Objective) -> Option<Statistic> {
    match objective.metric {
        Metric::Latency(q) => Some(Statistic::Latency(q)),
        Metric::LatencyOk(q) => Some(Statistic::LatencyOk(q)),
        Metric::ErrorRate => Some(Statistic::ErrorRate),
        Metric::Availability => Some(Statistic::Availability),
        Metric::GoodRatio => objective.within.map(Statistic::GoodRatio),
        _ => None,
    }
}

/// Wilson's interval of what answers said. Answers of one second are seldom independent, so it is a floor as the bootstrap's is.
fn share_of_answers(metric: &Metric, quality: &Quality) -> Option<Interval> {
    let (k, n) = match metric {
        Metric::Accuracy => (quality.correct, quality.labelled),
        Metric::Agreement => (quality.agreed, quality.compared),
        Metric::FallbackRate => (quality.fallback, quality.fallback_known),
        _ => return None,
    };
    let wilson = crate::statistics::share::wilson(crate::statistics::share::Share { k, n }, RISK / 2.0);
    (n > 0).then_some(Interval { low: wilson.low, high: wilson.high })
}

/// Does the value keep its bound? An infinite one (none) is above every bound. A percentile stands at the top of its bucket
/// (0.1 % wide), so it keeps a bound that lies in the same bucket, as `good_ratio` counts it.
fn keeps(metric: &Metric, op: Op, value: Option<f64>, bound: f64) -> bool {
    let bound = match metric {
        Metric::Latency(_) | Metric::LatencyOk(_) | Metric::Ttft(_) | Metric::Itl(_) => {
            let top = bucket_top(bucket_of((bound * 1e9) as u64)) as f64 / 1e9;
            if op == Op::Max { top.max(bound) } else { bound }
        }
        Metric::Freshness(_) if op == Op::Max => {
            (bucket_top(bucket_of((bound * AGE_UNITS) as u64)) as f64 / AGE_UNITS).max(bound)
        }
        _ => bound,
    };
    match op {
        Op::Max => value.is_some_and(|v| v <= bound),
        Op::Min => value.is_none_or(|v| v >= bound),
    }
}

fn judge_span(facts: &Facts, objective: &Objective, span: &SpanRef) -> Judged {
    let needed = sample_needed(&objective.metric, objective.op, objective.bound);
    let mut judged = Judged {
        objective: None,
        metric: objective.metric.clone(),
        span: Some(span.clone()),
        fault: None,
        value: None,
        n: 0,
        needed,
        verdict: Verdict::Inconclusive,
        interval: None,
        close: false,
        reason: String::new(),
    };
    let Some(stats) = facts.summary.span(span) else {
        judged.reason = "this span does not exist: its fault was never applied, or the run ended before".into();
        return judged;
    };
    let reading = match read(objective, stats) {
        Ok(reading) => reading,
        Err(why) => {
            judged.reason = format!("nothing to judge: {why}");
            return judged;
        }
    };
    (judged.value, judged.n) = (reading.value, reading.n);
    judged.interval = statistic(objective).and_then(|s| block_bootstrap(s, &stats.seconds, facts.plan.seed));
    judged.interval = judged.interval.or_else(|| share_of_answers(&objective.metric, &stats.quality));
    judged.close = judged.interval.is_some_and(|i| i.holds(objective.bound));
    (judged.verdict, judged.reason) = decide(objective, stats, &reading, needed);
    if let Some(doubt) = doubt(facts, span, stats, judged.verdict) {
        (judged.verdict, judged.reason) = (Verdict::Inconclusive, doubt);
    }
    judged
}

/// The verdict of the numbers alone.
fn decide(objective: &Objective, stats: &SpanStats, reading: &Reading, needed: u64) -> (Verdict, String) {
    let held = keeps(&objective.metric, objective.op, reading.value, objective.bound);
    let said = compare_in_words(objective, reading);
    if reading.n >= needed {
        return (if held { Verdict::Met } else { Verdict::Violated }, said);
    }
    let allowed = allowed_share(&objective.metric, objective.op, objective.bound).unwrap_or(0.0);
    let chance = binomial_tail(reading.n, allowed, reading.against);
    if !held && chance < RISK {
        let reason = format!(
            "{said}; {} of {} against it, which a service that keeps it shows in {:.1} % of cases",
            reading.against,
            reading.n,
            100.0 * chance
        );
        return (Verdict::Violated, reason);
    }
    let missing = needed - reading.n;
    let time = match (missing as f64 * stats.duration_s() / reading.n as f64).ceil() {
        seconds if seconds.is_finite() => format!(", about {seconds} s at this rate"),
        _ => String::new(),
    };
    (Verdict::Inconclusive, format!("{} samples are too few, {needed} needed: {missing} more{time}", reading.n))
}

fn compare_in_words(objective: &Objective, reading: &Reading) -> String {
    let unit = objective.metric.unit();
    let sign = match objective.op {
        Op::Max => "at most",
        Op::Min => "at least",
    };
    let bound = quantity(objective.bound, unit);
    match reading.value {
        Some(value) => format!("{}, {sign} {bound} asked", quantity(value, unit)),
        None => {
            format!("infinite, {sign} {bound} asked: too many of {} requests failed or were shed", reading.n)
        }
    }
}

/// A value with its unit, as people write it.
fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "s" if value == 0.0 => "0 s".to_owned(),
        "s" if (0.0..1e9).contains(&value) => show_measured(Duration::from_secs_f64((value * 1e6).round() / 1e6)),
        "ratio" => format!("{} %", trimmed(100.0 * value, 4)),
        "/s" => format!("{}/s", trimmed(value, 1)),
        _ => trimmed(value, 1),
    }
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Why the numbers of a span cannot be believed, if so.
fn doubt(facts: &Facts, span: &SpanRef, stats: &SpanStats, verdict: Verdict) -> Option<String> {
    if !stats.kept_up() {
        return Some(GENERATOR_LATE.into());
    }
    match span {
        SpanRef::Phase(phase) => late_fault(facts, *phase),
        // A broken bound is a fact whatever broke it; a kept one without the fault would be a pass for nothing.
        SpanRef::During(fault) | SpanRef::After(fault) if verdict == Verdict::Met => unproven(facts, *fault),
        SpanRef::During(_) | SpanRef::After(_) => None,
    }
}

/// A lasting fault that came too late for this phase: which part of the phase had it is not what was asked.
fn late_fault(facts: &Facts, phase: PhaseId) -> Option<String> {
    let end = facts.plan.phases.get(usize::from(phase.0))?.end();
    facts.plan.faults.iter().zip(facts.faults).find_map(|(planned, fault)| {
        let late = fault.times.applied?.since(planned.at);
        let hit = fault.times.lasting && late > LATE && planned.at < end;
        hit.then(|| format!("fault {} was applied {} late", planned.name, quantity(late.as_secs_f64(), "s")))
    })
}

fn unproven(facts: &Facts, fault: usize) -> Option<String> {
    let facts_of = facts.faults.get(fault)?;
    let name = facts.plan.faults.get(fault).map_or("", |f| f.name.as_str());
    (!facts_of.proven).then(|| format!("fault {name} is not proven: {}", facts_of.evidence))
}

fn judge_fault(facts: &Facts, objective: &Objective, fault: usize) -> Judged {
    let (value, verdict, reason) = fault_verdict(facts, objective, fault);
    Judged {
        objective: None,
        metric: objective.metric.clone(),
        span: None,
        fault: Some(fault),
        value,
        n: u64::from(value.is_some() || verdict != Verdict::Inconclusive),
        needed: 1,
        verdict,
        interval: None,
        close: false,
        reason,
    }
}

fn fault_verdict(facts: &Facts, objective: &Objective, fault: usize) -> (Option<f64>, Verdict, String) {
    let within = match objective.metric {
        Metric::RecoveryTime => objective.within,
        _ => None,
    };
    let is_time = matches!(objective.metric, Metric::RecoveryTime | Metric::DetectionTime);
    match seen(facts, &objective.metric, fault, within) {
        (Seen::Exact(value), why) => measured(objective, value, &why),
        (Seen::AtLeast(watched), why) if is_time => unfinished(objective, watched, &why),
        (Seen::AtLeast(value), why) => growing(objective, value, &why),
        (Seen::Unknown, why) => (None, Verdict::Inconclusive, why),
    }
}

/// What was seen of a fault by one of the metrics that belong to faults, and why. W is `within`, else what the plan gives.
pub fn seen(facts: &Facts, metric: &Metric, fault: usize, within: Option<Duration>) -> (Seen, String) {
    let Some(own) = facts.faults.get(fault) else { return (Seen::Unknown, "the fault was never applied".into()) };
    if let Some(reason) = unproven(facts, fault) {
        return (Seen::Unknown, reason);
    }
    let spans = [SpanRef::During(fault), SpanRef::After(fault)];
    if spans.iter().filter_map(|s| facts.summary.span(s)).any(|s| !s.kept_up()) {
        return (Seen::Unknown, GENERATOR_LATE.into());
    }
    let times: Vec<FaultTimes> = facts.faults.iter().map(|f| f.times.clone()).collect();
    // Outage and loss have no `within` of their own: they are those of the report's impact.
    let within = within.or_else(|| match metric {
        Metric::RecoveryTime => facts.plan.tightest_latency_bound(),
        _ => impact::planned_within(facts.plan, fault),
    });
    let impact = impact::measure(&facts.summary.slots, &times, fault, within);
    // Outage and loss of a fault that still hurts, or may, only grow.
    let is_final = matches!(impact.state, State::None | State::Recovered);
    let cost = |value: Option<f64>| match value {
        Some(value) if is_final => Seen::Exact(value),
        Some(value) => Seen::AtLeast(value),
        None => Seen::Unknown,
    };
    match metric {
        Metric::RecoveryTime => match impact.state {
            State::None => (Seen::Exact(0.0), "it never hurt".into()),
            State::Recovered => (Seen::Exact(impact.recovery_s.unwrap_or(0.0)), impact.reason),
            State::NotRecovered => (Seen::AtLeast(impact.watched_s), impact.reason),
            State::Unknown => (Seen::Unknown, impact.reason),
        },
        Metric::DetectionTime => match own.detection {
            Some(after) => (Seen::Exact(after.as_secs_f64()), "taken out of rotation".into()),
            None => {
                let watched = own.detection_watched.as_secs_f64();
                (Seen::AtLeast(watched), "the platform never took the target out of rotation".into())
            }
        },
        Metric::LongestOutage => (cost(impact.longest_outage_s), impact.reason),
        _ => (cost(impact.lost_requests), impact.reason),
    }
}

/// The metrics that faults have.
pub const OF_FAULTS: [Metric; 4] =
    [Metric::RecoveryTime, Metric::DetectionTime, Metric::LongestOutage, Metric::LostRequests];

/// What was seen of each time of a fault that repeats, by one of [`OF_FAULTS`]. Empty where no time can have it: whoever hits no replica
/// is never taken out of rotation.
pub fn seen_of_times(facts: &Facts, repeat: usize, metric: &Metric) -> Vec<Seen> {
    let Some(repeat) = facts.plan.repeats.get(repeat) else { return Vec::new() };
    let hits_replicas =
        |fault: usize| matches!(facts.plan.faults[fault].target, FaultTarget::Replicas(_) | FaultTarget::Replica(_));
    if *metric == Metric::DetectionTime && !repeat.faults.clone().any(hits_replicas) {
        return Vec::new();
    }
    let within = |fault: usize| impact::planned_within(facts.plan, fault);
    repeat.faults.clone().map(|fault| seen(facts, metric, fault, within(fault)).0).collect()
}

/// The median over the times of a fault. What was not seen whole counts by the least and the most that it can be, so that the verdict
/// is open only where they fall on both sides of the bound.
fn judge_median(facts: &Facts, objective: &Objective, repeat: usize) -> Judged {
    let times = facts.plan.repeats.get(repeat).map_or(0..0, |r| r.faults.clone());
    let within = objective.within.filter(|_| objective.metric == Metric::RecoveryTime);
    let seen: Vec<Seen> = times.clone().map(|fault| seen(facts, &objective.metric, fault, within).0).collect();
    let whole = seen.iter().filter(|s| matches!(s, Seen::Exact(_))).count();
    let unit = objective.metric.unit();
    let (value, verdict, reason) = match censored::median(&seen) {
        None => (None, Verdict::Inconclusive, "the fault was never applied".to_owned()),
        Some(middle) => {
            let kept = |v: f64| keeps(&objective.metric, objective.op, v.is_finite().then_some(v), objective.bound);
            let verdict = match (kept(middle.low), kept(middle.high)) {
                (true, true) => Verdict::Met,
                (false, false) => Verdict::Violated,
                _ => Verdict::Inconclusive,
            };
            let middle_of = match (middle.exact(), middle.high.is_finite()) {
                (None, false) if middle.low <= 0.0 => "unknown".to_owned(),
                (Some(value), _) => quantity(value, unit),
                (None, true) => format!("{} to {}", quantity(middle.low, unit), quantity(middle.high, unit)),
                (None, false) => format!("{} or more", quantity(middle.low, unit)),
            };
            let sign = if objective.op == Op::Max { "at most" } else { "at least" };
            let bound = quantity(objective.bound, unit);
            let reason =
                format!("median {middle_of}, {sign} {bound} asked: {whole} of {} times seen whole", seen.len());
            (middle.exact(), verdict, reason)
        }
    };
    Judged {
        objective: None,
        metric: objective.metric.clone(),
        span: None,
        fault: Some(times.start),
        value,
        n: whole as u64,
        needed: 1,
        verdict,
        interval: None,
        close: false,
        reason,
    }
}

/// Did the altered requests end as they should? Those that say nothing about the service are left out; see
/// [`Altered::judged`](crate::summary::Altered::judged). Whether the generator was late does not matter here.
fn judge_altered(facts: &Facts, objective: &Objective, fault: usize) -> Judged {
    let needed = sample_needed(&objective.metric, objective.op, objective.bound);
    let mut judged = Judged {
        objective: None,
        metric: objective.metric.clone(),
        span: None,
        fault: Some(fault),
        value: None,
        n: 0,
        needed,
        verdict: Verdict::Inconclusive,
        interval: None,
        close: false,
        reason: String::new(),
    };
    let seen = facts.summary.altered.get(&fault).filter(|a| a.judged() > 0);
    let payload = facts.plan.faults.get(fault).and_then(|f| f.payload());
    let (Some(seen), Some(payload)) = (seen, payload) else {
        judged.reason = unproven(facts, fault).unwrap_or_else(|| "no altered request came to an end".to_owned());
        return judged;
    };
    let (n, good) = (seen.judged(), seen.as_expected(payload.expect));
    let reading = Reading { value: Some(good as f64 / n as f64), n, against: n - good };
    let (verdict, said) = decide(objective, &seen.altered, &reading, needed);
    let [rejected, answered, failed] = [seen.rejected(), seen.answered(), seen.failed()];
    (judged.value, judged.n, judged.verdict) = (reading.value, n, verdict);
    judged.reason = format!("{said}: {rejected} rejected, {answered} answered, {failed} failed");
    if let Some(doubt) = unproven(facts, fault).filter(|_| verdict == Verdict::Met) {
        (judged.verdict, judged.reason) = (Verdict::Inconclusive, doubt);
    }
    judged
}

fn measured(objective: &Objective, value: f64, why: &str) -> (Option<f64>, Verdict, String) {
    let verdict = if keeps(&objective.metric, objective.op, Some(value), objective.bound) {
        Verdict::Met
    } else {
        Verdict::Violated
    };
    let said = compare_in_words(objective, &Reading { value: Some(value), n: 1, against: 0 });
    (Some(value), verdict, format!("{said}: {why}"))
}

/// Something that had not happened when watching ended: it takes longer than that. Enough to break a bound that lies
/// below, not one above.
fn unfinished(objective: &Objective, watched_s: f64, why: &str) -> (Option<f64>, Verdict, String) {
    let bound = quantity(objective.bound, "s");
    let watched = quantity(watched_s, "s");
    let long_enough = watched_s > 0.0 && watched_s >= objective.bound;
    match objective.op {
        Op::Max if long_enough => (None, Verdict::Violated, format!("> {watched}, at most {bound} asked: {why}")),
        Op::Min if long_enough => (None, Verdict::Met, format!("> {watched}, at least {bound} asked: {why}")),
        _ => (None, Verdict::Inconclusive, format!("> {watched}, not watched for the {bound} asked about: {why}")),
    }
}

/// Something that only grows and was not seen to its end: enough to break an upper bound, not to keep it.
fn growing(objective: &Objective, value: f64, why: &str) -> (Option<f64>, Verdict, String) {
    let judged = measured(objective, value, why);
    let holds_anyway = if objective.op == Op::Max { Verdict::Violated } else { Verdict::Met };
    if judged.1 == holds_anyway {
        return judged;
    }
    let so_far = quantity(value, objective.metric.unit());
    (Some(value), Verdict::Inconclusive, format!("at least {so_far}: {why}"))
}

fn judge_probe(facts: &Facts, name: &str) -> Judged {
    let found = facts.plan.probes.iter().zip(facts.probes).find(|(probe, _)| probe.name == name);
    let (verdict, reason) = found.map_or((Verdict::Inconclusive, "it was never asked".into()), probe_verdict);
    let (asked, failed) = found.map_or((0, 0), |(_, p)| (p.asked_before + p.asked, p.failed_before + p.failed));
    Judged {
        objective: None,
        metric: Metric::Probe(name.to_owned()),
        span: None,
        fault: None,
        value: (asked > 0).then(|| asked.saturating_sub(failed) as f64 / asked as f64),
        n: asked,
        needed: 1,
        verdict,
        interval: None,
        close: false,
        reason,
    }
}

fn probe_verdict((planned, probe): (&ProbePlan, &ProbeFacts)) -> (Verdict, String) {
    let first = probe.first_failure.as_ref().map_or(String::new(), |f| format!("; first: {f}"));
    let due_later = planned.during.is_some() || planned.after;
    if probe.failed > 0 {
        (Verdict::Violated, format!("failed {} of {} times during and after{first}", probe.failed, probe.asked))
    } else if probe.failed_before > 0 {
        (Verdict::Inconclusive, format!("it did not hold before any fault{first}"))
    } else if let Some(unknown) = &probe.unknown {
        (Verdict::Inconclusive, unknown.clone())
    } else if probe.asked == 0 && (due_later || probe.asked_before == 0) {
        (Verdict::Inconclusive, "it was never asked".into())
    } else {
        (Verdict::Met, format!("held all {} times", probe.asked_before + probe.asked))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hist::bucket_of;
    use crate::outcome::ErrorClass;
    use crate::plan::{
        Alter, Expect, FaultKind, FaultPlan, FaultTarget, Lasts, Load, Mode, Payload, Phase, ProbeKind, Shape, Via,
        tests_support,
    };
    use crate::summary::{Altered, SecondStats, Slot};
    use crate::units::{Offset, Quantile, Rate, Ratio};

    fn phase(index: u64) -> Phase {
        Phase {
            name: format!("phase-{index}"),
            start: Offset(index * 20_000_000_000),
            duration: Duration::from_secs(20),
            load: Load::Open(Shape::Constant(Rate::per_second(500.0).unwrap())),
            measured: true,
        }
    }

    /// Three phases of 20 s; a fault at 20 s.
    fn plan(objectives: Vec<Objective>) -> Plan {
        Plan {
            faults: vec![FaultPlan {
                name: "kill".into(),
                kind: FaultKind::PodPause,
                target: FaultTarget::Replicas(Mode::One),
                at: Offset::from_secs_f64(20.0),
                lasts: Some(Lasts::For(Duration::from_secs(5))),
                overlap: false,
                via: Via::Platform,
            }],
            probes: vec![ProbePlan {
                name: "predicts".into(),
                kind: ProbeKind::Prediction,
                timeout: Duration::from_secs(1),
                before: true,
                during: None,
                after: true,
            }],
            objectives,
            ..tests_support::plan((0..3).map(phase).collect())
        }
    }

    /// What is judged of so many altered requests, of which these failed and so many were answered.
    fn altered(
        planned: u64,
        errors: &[(ErrorClass, u64)],
        ok: u64,
        expect: Expect,
        share: f64,
        proven: bool,
    ) -> Judged {
        let objective = objective(Metric::AsExpected, Op::Min, share);
        let mut plan = plan(vec![objective]);
        let payload = Payload {
            alter: Alter::Malformed,
            share: Ratio::new(0.1).unwrap(),
            expect,
            expect_share: Ratio::new(share).unwrap(),
            include: false,
        };
        plan.faults[0].kind = FaultKind::Payload(Box::new(payload));
        let mut stats = SpanStats { planned, ok, ..SpanStats::default() };
        errors.iter().for_each(|(class, n)| stats.errors[*class as usize] = *n);
        let seen = Altered { altered: stats, ..Altered::default() };
        let summary = RunSummary { altered: [(0, seen)].into(), ..RunSummary::default() };
        let faults = [FaultFacts { proven, evidence: "none was sent".into(), ..FaultFacts::default() }];
        judge_all(&Facts { plan: &plan, summary: &summary, faults: &faults, probes: &[] }).remove(0)
    }

    #[test]
    fn altered_requests_end_as_they_should_or_break_a_promise() {
        use ErrorClass::{Client, IdleClosed, Status4xx, Status5xx, Timeout, Unfinished};
        use Expect::{Answered, Either, Rejected};
        type Case<'a> = (u64, &'a [(ErrorClass, u64)], u64, Expect, f64, Verdict, u64);
        let cases: [Case<'_>; 11] = [
            (100, &[(Status4xx, 100)], 0, Rejected, 1.0, Verdict::Met, 100),
            (100, &[(Status4xx, 99)], 1, Rejected, 1.0, Verdict::Violated, 100),
            (100, &[(Status4xx, 99), (Timeout, 1)], 0, Rejected, 1.0, Verdict::Violated, 100),
            (100, &[(Status5xx, 100)], 0, Rejected, 1.0, Verdict::Violated, 100),
            (100, &[(Status4xx, 60)], 40, Either, 1.0, Verdict::Met, 100),
            (100, &[(Status4xx, 60), (Status5xx, 1)], 39, Either, 1.0, Verdict::Violated, 100),
            (100, &[], 100, Answered, 1.0, Verdict::Met, 100),
            // What is no fault of the service says nothing about it.
            (
                100,
                &[(Status4xx, 90), (Client, 3), (IdleClosed, 3), (Unfinished, 4)],
                0,
                Rejected,
                1.0,
                Verdict::Met,
                90,
            ),
            // A share of 99 % needs 300 to be kept, and is broken by ten of a hundred.
            (100, &[(Status4xx, 99), (Status5xx, 1)], 0, Rejected, 0.99, Verdict::Inconclusive, 100),
            (100, &[(Status4xx, 90), (Status5xx, 10)], 0, Rejected, 0.99, Verdict::Violated, 100),
            (300, &[(Status4xx, 298), (Status5xx, 2)], 0, Rejected, 0.99, Verdict::Met, 300),
        ];
        for (planned, errors, ok, expect, share, verdict, n) in cases {
            let judged = altered(planned, errors, ok, expect, share, true);
            assert_eq!((judged.verdict, judged.n), (verdict, n), "{errors:?}: {judged:?}");
        }
        let words = altered(100, &[(Status4xx, 97), (Status5xx, 2)], 1, Rejected, 1.0, true).reason;
        assert_eq!(words, "97 %, at least 100 % asked: 97 rejected, 1 answered, 2 failed");
        let unproven = altered(100, &[(Status4xx, 100)], 0, Rejected, 1.0, false);
        assert_eq!(unproven.verdict, Verdict::Inconclusive);
        assert!(unproven.reason.contains("not proven: none was sent"), "{unproven:?}");
        assert_eq!(altered(0, &[], 0, Rejected, 1.0, true).verdict, Verdict::Inconclusive, "nothing ended");
    }

    fn objective(metric: Metric, op: Op, bound: f64) -> Objective {
        let (spans, fault) =
            if metric.is_of_fault() { (Vec::new(), Some(0)) } else { (vec![SpanRef::Phase(PhaseId(0))], None) };
        Objective {
            metric,
            op,
            bound,
            spans,
            fault,
            median_of: None,
            within: Some(Duration::from_millis(100)),
            line: 1,
        }
    }

    /// Twenty seconds with these latencies of good answers in ms, and this many failures.
    fn stats(latencies_ms: &[u64], failed: u64) -> SpanStats {
        let ok = latencies_ms.len() as u64;
        let mut s = SpanStats {
            end: Offset(20_000_000_000),
            planned: ok + failed,
            sent: ok + failed,
            ok,
            ..SpanStats::default()
        };
        s.errors[ErrorClass::Status5xx as usize] = failed;
        s.done_ok = ok;
        latencies_ms.iter().for_each(|ms| s.latency_ok.record(ms * 1_000_000));
        s
    }

    fn good(n: usize) -> SpanStats {
        stats(&vec![10; n], 0)
    }

    fn judge_with(
        objective: Objective,
        span: SpanStats,
        change: impl Fn(&mut Plan, &mut RunSummary, &mut FaultFacts),
    ) -> Judged {
        let mut plan = plan(vec![objective]);
        let mut summary = RunSummary { phases: vec![span.clone()], ..RunSummary::default() };
        summary.spans.insert(SpanRef::During(0), span);
        let times = FaultTimes { applied: Some(Offset(20_000_000_000)), ..FaultTimes::default() };
        let mut fault = FaultFacts { times, proven: true, evidence: "pid 7 gone".into(), ..FaultFacts::default() };
        change(&mut plan, &mut summary, &mut fault);
        let facts = Facts { plan: &plan, summary: &summary, faults: &[fault], probes: &[ProbeFacts::default()] };
        judge_all(&facts).remove(0)
    }

    fn judge(metric: Metric, op: Op, bound: f64, span: SpanStats) -> Judged {
        judge_with(objective(metric, op, bound), span, |_, _, _| {})
    }

    #[test]
    fn samples_needed() {
        let latency = |q| sample_needed(&Metric::Latency(q), Op::Max, 0.1);
        assert_eq!([Quantile::P95, Quantile::P99, Quantile::P99_9].map(latency), [59, 299, 2995]);
        for (metric, op, bound, needed) in [
            (Metric::LatencyOk(Quantile::P99), Op::Max, 0.1, 299),
            (Metric::LatencyMax, Op::Max, 0.1, 1),
            (Metric::ErrorRate, Op::Max, 0.01, 300),
            (Metric::ErrorRate, Op::Max, 0.001, 3000),
            (Metric::ErrorRate, Op::Max, 0.0, 1),
            (Metric::Availability, Op::Min, 0.99, 300),
            (Metric::Availability, Op::Min, 0.999, 3000),
            (Metric::Availability, Op::Min, 1.0, 1),
            (Metric::GoodRatio, Op::Min, 0.95, 60),
            (Metric::ShedRate, Op::Max, 0.0, 1),
            (Metric::Accuracy, Op::Min, 0.9, 30),
            (Metric::Throughput, Op::Min, 100.0, 1),
            (Metric::RecoveryTime, Op::Max, 10.0, 1),
            (Metric::LostRequests, Op::Max, 10.0, 1),
        ] {
            assert_eq!(sample_needed(&metric, op, bound), needed, "{metric:?} {bound}");
        }
    }

    #[test]
    fn binomial_tails() {
        for (n, p, k, tail) in [
            (10, 0.01, 0, 1.0),
            (10, 0.01, 1, 0.095_618),
            (10, 0.01, 2, 0.004_266),
            (298, 0.01, 7, 0.031_763),
            (10, 0.5, 10, 1.0 / 1024.0),
            (5, 0.0, 1, 0.0),
            (5, 1.0, 5, 1.0),
            (5, 0.5, 6, 0.0),
        ] {
            let ours = binomial_tail(n, p, k);
            assert!((ours - tail).abs() < 1e-5, "P[Bin({n}, {p}) >= {k}] = {ours}, not {tail}");
        }
    }

    #[test]
    fn numbers_against_bounds() {
        use Verdict::{Inconclusive, Met, Violated};
        let p99 = || Metric::Latency(Quantile::P99);
        let slow = |n: usize, of: usize| {
            let mut latencies = vec![10; of - n];
            latencies.extend(vec![500; n]);
            latencies
        };
        let with = |change: fn(&mut SpanStats)| {
            let mut s = good(1000);
            change(&mut s);
            s
        };
        let table = [
            (p99(), Op::Max, 0.1, good(299), Met, Some(0.010)),
            (p99(), Op::Max, 0.1, good(298), Inconclusive, Some(0.010)),
            (p99(), Op::Max, 0.1, stats(&slow(3, 300), 0), Met, Some(0.010)),
            (p99(), Op::Max, 0.1, stats(&slow(4, 300), 0), Violated, Some(0.5)),
            // Failed ones are infinite: four of 300 are more than one in a hundred.
            (p99(), Op::Max, 0.1, stats(&vec![10; 296], 4), Violated, None),
            (p99(), Op::Max, 0.1, stats(&vec![10; 297], 3), Met, Some(0.010)),
            (Metric::LatencyOk(Quantile::P99), Op::Max, 0.1, stats(&vec![10; 299], 400), Met, Some(0.010)),
            (Metric::LatencyMax, Op::Max, 0.1, good(1), Met, Some(0.010)),
            (Metric::LatencyMax, Op::Max, 0.1, stats(&[10, 10], 1), Violated, None),
            // Few samples, but already more against it than luck allows: one of ten is not (9.6 %), two are (0.4 %).
            (p99(), Op::Max, 0.1, stats(&slow(1, 10), 0), Inconclusive, Some(0.5)),
            (p99(), Op::Max, 0.1, stats(&slow(2, 10), 0), Violated, Some(0.5)),
            (p99(), Op::Max, 0.1, stats(&[10; 8], 2), Violated, None),
            (Metric::ErrorRate, Op::Max, 0.01, stats(&[10; 9], 1), Inconclusive, Some(0.1)),
            (Metric::ErrorRate, Op::Max, 0.01, stats(&[10; 8], 2), Violated, Some(0.2)),
            (Metric::ErrorRate, Op::Max, 0.01, good(299), Inconclusive, Some(0.0)),
            (Metric::ErrorRate, Op::Max, 0.01, stats(&vec![10; 297], 3), Met, Some(0.01)),
            (Metric::ErrorRate, Op::Max, 0.0, good(1), Met, Some(0.0)),
            (Metric::ErrorRate, Op::Max, 0.0, stats(&[10; 9], 1), Violated, Some(0.1)),
            (Metric::Availability, Op::Min, 0.99, stats(&vec![10; 297], 3), Met, Some(0.99)),
            (Metric::Availability, Op::Min, 0.99, stats(&vec![10; 296], 4), Violated, Some(296.0 / 300.0)),
            (Metric::GoodRatio, Op::Min, 0.95, stats(&slow(5, 100), 0), Met, Some(0.95)),
            (Metric::GoodRatio, Op::Min, 0.95, stats(&slow(5, 99), 1), Violated, Some(0.94)),
            (Metric::Throughput, Op::Min, 50.0, good(1000), Met, Some(50.0)),
            (Metric::Throughput, Op::Min, 51.0, good(1000), Violated, Some(50.0)),
            (Metric::Throughput, Op::Min, 50.0, stats(&[], 1000), Violated, Some(0.0)),
            (Metric::ShedRate, Op::Max, 0.0, with(|s| s.shed = 1), Violated, Some(0.001)),
            (Metric::FallbackRate, Op::Max, 0.01, good(1000), Inconclusive, None),
            (
                Metric::FallbackRate,
                Op::Max,
                0.01,
                with(|s| (s.quality.fallback_known, s.quality.fallback) = (400, 8)),
                Violated,
                Some(0.02),
            ),
            (
                Metric::Accuracy,
                Op::Min,
                0.9,
                with(|s| (s.quality.labelled, s.quality.correct) = (100, 92)),
                Met,
                Some(0.92),
            ),
        ];
        for (metric, op, bound, span, verdict, value) in table {
            let judged = judge(metric.clone(), op, bound, span);
            assert_eq!(judged.verdict, verdict, "{metric:?} {op:?} {bound}: {}", judged.reason);
            match (judged.value, value) {
                (Some(ours), Some(theirs)) => {
                    assert!((ours / theirs - 1.0).abs() < 1e-3 || ours == theirs, "{metric:?}: {ours}")
                }
                (ours, theirs) => assert_eq!(ours, theirs, "{metric:?}"),
            }
        }
    }

    #[test]
    fn reasons_say_what_is_missing() {
        let judged = judge(Metric::Latency(Quantile::P99), Op::Max, 0.1, good(100));
        assert_eq!(judged.reason, "100 samples are too few, 299 needed: 199 more, about 40 s at this rate");
        let judged = judge(Metric::Latency(Quantile::P99), Op::Max, 0.1, stats(&[10; 500], 100));
        assert_eq!(judged.reason, "infinite, at most 100 ms asked: too many of 600 requests failed or were shed");
        let judged = judge(Metric::ErrorRate, Op::Max, 0.01, stats(&[10; 500], 100));
        assert_eq!(judged.reason, "16.6667 %, at most 1 % asked");
    }

    #[test]
    fn trap_25_zero_samples_never_pass() {
        let every = [
            Metric::Latency(Quantile::P99),
            Metric::LatencyMax,
            Metric::LatencyOk(Quantile::P99),
            Metric::ErrorRate,
            Metric::Availability,
            Metric::Throughput,
            Metric::GoodRatio,
            Metric::FallbackRate,
            Metric::Accuracy,
            Metric::ShedRate,
            Metric::RecoveryTime,
            Metric::DetectionTime,
            Metric::LongestOutage,
            Metric::LostRequests,
            Metric::Probe("predicts".into()),
            Metric::Probe("unheard-of".into()),
        ];
        for metric in every {
            for op in [Op::Max, Op::Min] {
                for bound in [0.0, 0.5, 1.0, 1e9] {
                    let judged = judge(metric.clone(), op, bound, SpanStats::default());
                    assert_eq!(judged.verdict, Verdict::Inconclusive, "{metric:?} {op:?} {bound}: {}", judged.reason);
                    assert!(!judged.reason.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_generator_that_fell_behind_decides_nothing() {
        for client in [false, true] {
            let mut span = good(1000);
            if client {
                span.errors[ErrorClass::Client as usize] = 2;
            } else {
                span.late = 11;
            }
            for bound in [1e-6, 10.0] {
                let judged = judge(Metric::Latency(Quantile::P99), Op::Max, bound, span.clone());
                assert_eq!(judged.verdict, Verdict::Inconclusive);
                assert_eq!(judged.reason, GENERATOR_LATE);
            }
        }
    }

    #[test]
    fn a_late_lasting_fault_leaves_later_phases_open() {
        let of = |phase: u16, applied: f64, lasting: bool| {
            let mut o = objective(Metric::ErrorRate, Op::Max, 0.01);
            o.spans = vec![SpanRef::Phase(PhaseId(phase))];
            judge_with(o, good(1000), |_, summary, fault| {
                summary.phases = vec![good(1000); 3];
                fault.times =
                    FaultTimes { applied: Some(Offset::from_secs_f64(applied)), lasting, ..FaultTimes::default() };
            })
            .verdict
        };
        assert_eq!(of(0, 22.5, true), Verdict::Met, "before its time");
        assert_eq!(of(1, 22.5, true), Verdict::Inconclusive);
        assert_eq!(of(2, 22.5, true), Verdict::Inconclusive);
        assert_eq!(of(1, 21.9, true), Verdict::Met);
        assert_eq!(of(1, 22.5, false), Verdict::Met, "a one-shot fault has no time to be there");
    }

    #[test]
    fn spans_of_an_unproven_fault_cannot_pass() {
        let of = |proven: bool, failed: u64| {
            let mut o = objective(Metric::ErrorRate, Op::Max, 0.01);
            o.spans = vec![SpanRef::During(0)];
            judge_with(o, stats(&vec![10; 1000], failed), |_, _, fault| fault.proven = proven).verdict
        };
        assert_eq!([of(true, 0), of(true, 100)], [Verdict::Met, Verdict::Violated]);
        assert_eq!([of(false, 0), of(false, 100)], [Verdict::Inconclusive, Verdict::Violated]);
        let mut after = objective(Metric::ErrorRate, Op::Max, 0.01);
        after.spans = vec![SpanRef::After(0)];
        let judged = judge_with(after, good(1000), |_, _, _| {});
        assert_eq!((judged.verdict, judged.n), (Verdict::Inconclusive, 0), "a span that does not exist");
    }

    /// Sixty seconds at 500/s, bad in [20, until).
    fn slots(until: f64) -> Vec<Slot> {
        let slot = |i: u64| {
            let ok = if (20.0..until).contains(&(i as f64 / 10.0)) { 0 } else { 50 };
            let latency_ok = if ok > 0 { vec![(bucket_of(10_000_000), ok)] } else { Vec::new() };
            let (start, end) = (Offset(i * 100_000_000), Offset((i + 1) * 100_000_000));
            Slot {
                start,
                end,
                phase: PhaseId(0),
                measured: true,
                planned: 50,
                ok: u64::from(ok),
                latency_ok,
                ..Slot::default()
            }
        };
        (0..600).map(slot).collect()
    }

    #[test]
    fn faults_are_judged_by_their_impact() {
        use Verdict::{Inconclusive, Met, Violated};
        for (metric, bound, bad_until, verdict, value) in [
            (Metric::RecoveryTime, 10.0, 20.0, Met, Some(0.0)),
            (Metric::RecoveryTime, 0.0, 20.0, Met, Some(0.0)),
            (Metric::RecoveryTime, 10.0, 25.0, Met, Some(5.0)),
            (Metric::RecoveryTime, 4.9, 25.0, Violated, Some(5.0)),
            (Metric::RecoveryTime, 10.0, 60.0, Violated, None),
            // Watched for 40 s: whether it takes 60 is open.
            (Metric::RecoveryTime, 60.0, 60.0, Inconclusive, None),
            (Metric::RecoveryTime, 10.0, 58.0, Inconclusive, None),
            (Metric::LongestOutage, 5.0, 25.0, Met, Some(5.0)),
            (Metric::LongestOutage, 4.0, 25.0, Violated, Some(5.0)),
            (Metric::LongestOutage, 39.0, 60.0, Violated, Some(40.0)),
            (Metric::LongestOutage, 60.0, 60.0, Inconclusive, Some(40.0)),
            (Metric::LostRequests, 2500.0, 25.0, Met, Some(2500.0)),
            (Metric::LostRequests, 2499.0, 25.0, Violated, Some(2500.0)),
            (Metric::LostRequests, 1e6, 60.0, Inconclusive, Some(20_000.0)),
            (Metric::DetectionTime, 10.0, 25.0, Violated, None),
            (Metric::DetectionTime, 60.0, 25.0, Inconclusive, None),
        ] {
            let judged = judge_with(objective(metric.clone(), Op::Max, bound), good(1000), |_, summary, fault| {
                summary.slots = slots(bad_until);
                fault.detection_watched = Duration::from_secs(40);
            });
            assert_eq!((judged.verdict, judged.value), (verdict, value), "{metric:?} {bound}: {}", judged.reason);
        }
    }

    #[test]
    fn detection_is_what_the_platform_said() {
        let of = |bound: f64| {
            judge_with(objective(Metric::DetectionTime, Op::Max, bound), good(1000), |_, summary, fault| {
                summary.slots = slots(25.0);
                fault.detection = Some(Duration::from_millis(1500));
            })
        };
        assert_eq!((of(2.0).verdict, of(2.0).value), (Verdict::Met, Some(1.5)));
        assert_eq!(of(1.0).verdict, Verdict::Violated);
    }

    /// Three times of a fault, seen after 1 s, 2 s and never: the middle is known whatever the third would have been.
    #[test]
    fn the_median_over_the_times_of_a_fault() {
        use Verdict::{Inconclusive, Met, Violated};
        let median = |bound: f64, seen: [Option<u64>; 3]| {
            let asked = Objective { median_of: Some(0), ..objective(Metric::DetectionTime, Op::Max, bound) };
            let mut plan = plan(vec![asked]);
            plan.faults = vec![plan.faults[0].clone(); 3];
            plan.repeats = vec![crate::plan::Repeat { name: "kill".into(), faults: 0..3 }];
            let summary = RunSummary { slots: slots(20.0), ..RunSummary::default() };
            let times = FaultTimes { applied: Some(Offset::from_secs_f64(20.0)), ..FaultTimes::default() };
            let fact = |seconds: Option<u64>| FaultFacts {
                times: times.clone(),
                proven: true,
                detection: seconds.map(Duration::from_secs),
                detection_watched: Duration::from_secs(40),
                ..FaultFacts::default()
            };
            let faults = seen.map(fact);
            let facts = Facts { plan: &plan, summary: &summary, faults: &faults, probes: &[ProbeFacts::default()] };
            let judged = judge_all(&facts);
            assert_eq!(judged.len(), 1, "one answer for all its times");
            (judged[0].verdict, judged[0].value, judged[0].n)
        };
        assert_eq!(median(3.0, [Some(1), Some(2), None]), (Met, Some(2.0), 2));
        assert_eq!(median(1.5, [Some(1), Some(2), None]), (Violated, Some(2.0), 2));
        // Watched for 40 s: that is enough against a bound below, and not for one above.
        assert_eq!(median(39.0, [Some(1), None, None]), (Violated, None, 1));
        assert_eq!(median(41.0, [Some(1), None, None]), (Inconclusive, None, 1));
    }

    #[test]
    fn an_unproven_fault_has_no_recovery_time() {
        for until in [20.0, 25.0, 60.0] {
            let judged = judge_with(objective(Metric::RecoveryTime, Op::Max, 10.0), good(1000), |_, summary, fault| {
                summary.slots = slots(until);
                (fault.proven, fault.evidence) = (false, "no byte passed the link".into());
            });
            assert_eq!((judged.verdict, judged.value), (Verdict::Inconclusive, None));
            assert_eq!(judged.reason, "fault kill is not proven: no byte passed the link");
        }
    }

    #[test]
    fn probes() {
        let of = |probe: ProbeFacts, named: bool| {
            let metric = Metric::Probe("predicts".into());
            let plan = plan(if named { vec![objective(metric, Op::Min, 0.0)] } else { Vec::new() });
            let summary = RunSummary::default();
            judge_all(&Facts { plan: &plan, summary: &summary, faults: &[], probes: &[probe] })
        };
        let held = ProbeFacts { asked_before: 2, asked: 3, ..ProbeFacts::default() };
        let failed = ProbeFacts { failed: 1, first_failure: Some("HTTP 503".into()), ..held.clone() };
        let unknown = ProbeFacts { unknown: Some("it was firing before".into()), ..held.clone() };
        let told = of(unknown.clone(), false);
        assert_eq!(
            (told.len(), told[0].verdict, told[0].reason.as_str()),
            (1, Verdict::Inconclusive, "it was firing before")
        );
        assert_eq!(of(unknown, true)[0].verdict, Verdict::Inconclusive);
        let only_before = ProbeFacts { asked: 0, ..held.clone() };
        let not_steady = ProbeFacts { failed_before: 1, asked: 0, ..held.clone() };
        assert_eq!(of(held.clone(), true)[0].verdict, Verdict::Met);
        assert_eq!(of(failed.clone(), true)[0].verdict, Verdict::Violated);
        assert_eq!(of(failed.clone(), true)[0].reason, "failed 1 of 3 times during and after; first: HTTP 503");
        assert_eq!(of(only_before, true)[0].verdict, Verdict::Inconclusive, "`after` was never asked");
        assert_eq!(of(not_steady, true)[0].verdict, Verdict::Inconclusive);
        assert_eq!(of(held, false), []);
        let unnamed = of(failed, false);
        assert_eq!((unnamed[0].objective, unnamed[0].verdict), (None, Verdict::Violated));
    }

    #[test]
    fn close_marks_a_bound_inside_the_interval() {
        // Every second second has two failures of 100: about 1 %, a little more or less in each resample.
        let mut span = stats(&vec![10; 3960], 40);
        span.seconds = (0..40)
            .map(|i| {
                let bad = if i % 20 < 10 { 2 } else { 0 };
                let latency_ok = vec![(bucket_of(10_000_000), 100 - bad)];
                SecondStats { planned: 100, ok: u64::from(100 - bad), latency_ok, ..SecondStats::default() }
            })
            .collect();
        let at = |bound: f64| judge(Metric::ErrorRate, Op::Max, bound, span.clone());
        assert!(at(0.01).close && at(0.01).verdict == Verdict::Met, "{:?}", at(0.01).interval);
        assert!(!at(0.03).close && at(0.03).interval == at(0.01).interval);
    }

    #[test]
    fn the_run_is_as_good_as_its_worst() {
        let of = |verdicts: &[Verdict], proven: &[bool]| {
            let one = judge(Metric::ErrorRate, Op::Max, 0.01, good(1000));
            let judged: Vec<Judged> = verdicts.iter().map(|v| Judged { verdict: *v, ..one.clone() }).collect();
            let faults: Vec<FaultFacts> =
                proven.iter().map(|p| FaultFacts { proven: *p, ..FaultFacts::default() }).collect();
            overall(&judged, &faults)
        };
        use Verdict::{Inconclusive, Met, Violated};
        assert_eq!(of(&[Met, Met], &[true]), Met);
        assert_eq!(of(&[Met, Met], &[true, false]), Inconclusive);
        assert_eq!(of(&[Met, Inconclusive], &[true]), Inconclusive);
        assert_eq!(of(&[Inconclusive, Violated, Met], &[false]), Violated);
    }

    #[test]
    fn exit_codes_are_the_first_row_that_holds() {
        use Verdict::{Inconclusive, Met, Violated};
        let stop = |after_fault| Ending::SafetyStop { after_fault };
        for (clean, ending, verdict, code) in [
            (true, Ending::Completed, Met, 0),
            (true, Ending::Completed, Violated, 1),
            (true, Ending::Completed, Inconclusive, 3),
            (false, Ending::Completed, Met, 4),
            (false, Ending::Interrupted, Violated, 4),
            (false, Ending::NotStarted, Inconclusive, 4),
            (true, Ending::Interrupted, Violated, 130),
            (true, Ending::NotStarted, Inconclusive, 5),
            (true, stop(false), Violated, 5),
            (true, stop(true), Met, 1),
            (true, stop(true), Inconclusive, 1),
        ] {
            assert_eq!(exit_code(clean, ending, verdict), code, "{clean} {ending:?} {verdict:?}");
        }
    }

    fn latency_objectives() -> Vec<Objective> {
        let bounds = [0.02, 0.1, 0.3];
        let metrics = [
            Metric::Latency(Quantile::P50),
            Metric::Latency(Quantile::P95),
            Metric::Latency(Quantile::P99),
            Metric::LatencyOk(Quantile::P95),
            Metric::LatencyMax,
        ];
        let upper = metrics.iter().flat_map(|m| bounds.map(|b| objective(m.clone(), Op::Max, b)));
        upper.chain([0.5, 0.95].map(|b| objective(Metric::GoodRatio, Op::Min, b))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn raising_one_latency_rescues_no_objective(
            mut latencies in prop::collection::vec(1..400u64, 1..120),
            failed in 0..5u64,
            which in any::<prop::sample::Index>(),
            by in 1..1000u64,
        ) {
            let before = stats(&latencies, failed);
            let i = which.index(latencies.len());
            latencies[i] += by;
            let after = stats(&latencies, failed);
            for o in latency_objectives() {
                let (a, b) = (
                    judge_with(o.clone(), before.clone(), |_, _, _| {}),
                    judge_with(o.clone(), after.clone(), |_, _, _| {}),
                );
                prop_assert!(a.verdict <= b.verdict, "{:?}: {:?}, then {:?}", o, a, b);
            }
        }

        #[test]
        fn failing_instead_of_answering_rescues_no_objective(
            mut latencies in prop::collection::vec(1..400u64, 2..120),
            failed in 0..5u64,
        ) {
            let before = stats(&latencies, failed);
            latencies.pop();
            let after = stats(&latencies, failed + 1);
            let mut all = latency_objectives();
            // Over good answers only, a slow one that fails does rescue: `check` warns of that objective.
            all.retain(|o| !matches!(o.metric, Metric::LatencyOk(_)));
            all.push(objective(Metric::ErrorRate, Op::Max, 0.1));
            all.push(objective(Metric::Availability, Op::Min, 0.9));
            for o in all {
                let (a, b) = (
                    judge_with(o.clone(), before.clone(), |_, _, _| {}),
                    judge_with(o.clone(), after.clone(), |_, _, _| {}),
                );
                prop_assert!(a.verdict <= b.verdict, "{:?}: {:?}, then {:?}", o, a, b);
            }
        }

        #[test]
        fn merging_is_free_of_order(
            a in prop::collection::vec(1..400u64, 1..200),
            b in prop::collection::vec(1..400u64, 1..200),
        ) {
            let merged = |x: &[u64], y: &[u64]| {
                let mut s = stats(x, 0);
                s.latency_ok.merge(&stats(y, 0).latency_ok);
                (s.planned, s.ok, s.sent) = ((x.len() + y.len()) as u64, (x.len() + y.len()) as u64, 0);
                s.done_ok = s.ok;
                s
            };
            for o in latency_objectives() {
                prop_assert_eq!(
                    judge_with(o.clone(), merged(&a, &b), |_, _, _| {}),
                    judge_with(o.clone(), merged(&b, &a), |_, _, _| {})
                );
            }
        }

        #[test]
        fn with_enough_samples_the_verdict_is_the_comparison(
            latencies in prop::collection::vec(1..400u64, 299..600),
            failed in 0..5u64,
        ) {
            let span = stats(&latencies, failed);
            for o in latency_objectives() {
                let judged = judge_with(o.clone(), span.clone(), |_, _, _| {});
                if judged.n >= judged.needed {
                    let met = keeps(&o.metric, o.op, judged.value, o.bound);
                    prop_assert_eq!(judged.verdict, if met { Verdict::Met } else { Verdict::Violated });
                }
            }
        }
    }
}
