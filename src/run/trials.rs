//! Trials of a search for capacity: each one a whole run at one rate, with its own journal, report and end.
//!
//! Replicas are started anew for each trial: what a trial beyond the limit leaves in queues and caches must not be the next one's, and
//! a journal is open whenever anything of ours is up. That is also the drain between trials. Where starting takes long, trials should be long too.
//!
//! Owns how a plan becomes a trial, when one is broken off, and what was seen of it. Leaves alone which rate comes next
//! (`capacity/search.rs`) and what makes a trial pass (`capacity/trial.rs`).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::capacity::search::{Answer, Goal, Search, Step};
use crate::capacity::trial::{Look, Objectives, Seen, Verdict, hopeless, judge_lost, trend};
use crate::clock::{self, Clock};
use crate::compare::sizing::verdict_words;
use crate::fault::stop::StopSignal;
use crate::plan::{Capacity, FaultKind, Lasts, Load, Metric, Objective, Phase, Plan, Platform, Shape, SpanRef, Via};
use crate::report::model::{Ending, Report, VerdictWord};
use crate::report::sizing::model::TrialReport;
use crate::run::{LoadOptions, Observer, Progress, RunOptions, run};
use crate::units::{Offset, PhaseId, Rate, Seed};

/// Before a trial: connections are made, caches filled. Not measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// From the loss to the trial: rotation and retries settle. Not measured.
const SETTLE: Duration = Duration::from_secs(2);
/// Looks at the backlog before a trial may be broken off.
const LOOKS_LEAST: usize = 40;
/// How often the user's stop is looked for.
const FORWARD: Duration = Duration::from_millis(50);

/// Why a search ended before its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// By the user.
    Interrupted,
    /// Something is left broken.
    NotClean(Vec<String>),
    /// A trial could not be started.
    NotStarted(String),
}

/// A search that is about to be made.
pub struct Trials<'a> {
    /// The scenario.
    pub plan: &'a Plan,
    /// What is searched for.
    pub capacity: &'a Capacity,
    /// The fault that is held in every trial, by index.
    pub lose: Option<usize>,
    /// The folder; runs are kept in `runs/` in it.
    pub dir: &'a Path,
    /// Raised by Ctrl-C or SIGTERM.
    pub stop: StopSignal,
    /// The command that reproduces the search.
    pub reproduce: &'a str,
}

/// What a search brought.
#[derive(Debug)]
pub struct Searched {
    /// The answer; none when the search was halted.
    pub answer: Option<Answer>,
    /// Every trial, in order.
    pub trials: Vec<TrialReport>,
    /// Replicas at the start of a trial; 1 where only a URL is known.
    pub replicas: usize,
    /// Why it was halted.
    pub halt: Option<Halt>,
}

/// Can this plan be searched? Says what is missing.
///
/// # Errors
/// In words, with the cure.
pub fn searchable(plan: &Plan) -> Result<(), String> {
    let cure = "write an [[objective]] on latency.pNN or error_rate";
    if objectives(plan, PhaseId(0), false).is_empty() {
        return Err(format!("nothing says what `carried` means: {cure}"));
    }
    match left_out(plan) {
        Some(why) if objectives(plan, PhaseId(0), true).is_empty() => {
            Err(format!("nothing says what `carried` means under the fault: {why}; {cure}"))
        }
        _ => Ok(()),
    }
}

/// What the search under a fault does not ask, and why; none where it asks all.
pub fn left_out(plan: &Plan) -> Option<String> {
    let fault = &plan.faults[plan.capacity.as_ref()?.lose?];
    plan.objectives.iter().any(|o| o.metric == Metric::Agreement).then(|| {
        format!(
            "agreement is not asked while {} is held: nothing is measured before it, so that there is no answer to \
             compare with",
            fault.name
        )
    })
}

/// Searches.
///
/// # Errors
/// When the goal makes no sense.
pub fn search(trials: &Trials<'_>, on_trial: &dyn Fn(&TrialReport)) -> Result<Searched, String> {
    let capacity = trials.capacity;
    let mut search = Search::new(Goal::new(capacity.from.get(), capacity.precision, Rate::MAX / 10.0))?;
    let mut done = Searched { answer: None, trials: Vec::new(), replicas: 1, halt: None };
    loop {
        let (rate, confirm) = match search.next() {
            Step::Trial { rate } => (rate, false),
            Step::Confirm { rate } => (rate, true),
            Step::Done(answer) => {
                done.answer = Some(answer);
                return Ok(done);
            }
        };
        let before = done.trials.iter().filter(|t| t.rate_rps == rate).count();
        match one(trials, rate, confirm, before) {
            Err(halt) => {
                done.halt = Some(halt);
                return Ok(done);
            }
            Ok((verdict, trial, replicas)) => {
                done.replicas = replicas;
                on_trial(&trial);
                done.trials.push(trial);
                search.record(verdict);
            }
        }
    }
}

/// One trial. `before`: how many there were at this rate already.
fn one(trials: &Trials<'_>, rate: f64, confirm: bool, before: usize) -> Result<(Verdict, TrialReport, usize), Halt> {
    let length = if confirm { trials.capacity.confirm } else { trials.capacity.trial };
    let mut plan = trial_plan(trials.plan, rate, length, trials.lose).map_err(Halt::NotStarted)?;
    plan.seed = seed(plan.seed, before);
    let begins = plan.phases.last().map_or(Offset::ZERO, |p| p.start);
    let watch = Watch {
        begins,
        rate,
        // The tightest bound is what a mean latency may not reach; without one, the timeout.
        allowance_s: plan.tightest_latency_bound().unwrap_or(plan.traffic.timeout).as_secs_f64(),
        stop: StopSignal::new(),
        looks: Mutex::default(),
        broken_off: AtomicBool::new(false),
    };
    let options = RunOptions {
        reports: trials.dir.join("runs"),
        load: LoadOptions::default(),
        stop: watch.stop.clone(),
        reproduce: trials.reproduce.to_owned(),
    };
    let over = AtomicBool::new(false);
    let finished = std::thread::scope(|scope| {
        // The user's stop ends the trial too, also while replicas are starting.
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if trials.stop.stopped() {
                    watch.stop.stop();
                    return;
                }
                clock::sleep(FORWARD);
            }
        });
        let finished = run(&plan, &options, &watch);
        over.store(true, Ordering::Release);
        finished
    });
    let done = finished.map_err(|e| match e.exit_code() {
        4 => Halt::NotClean(vec![e.to_string()]),
        _ => Halt::NotStarted(e.to_string()),
    })?;
    let report = done.report;
    if !report.clean {
        return Err(Halt::NotClean(report.residue.clone()));
    }
    let broken_off = watch.broken_off.load(Ordering::Acquire);
    match report.ending {
        Ending::Interrupted if !broken_off => return Err(Halt::Interrupted),
        Ending::NotStarted => return Err(Halt::NotStarted(report.reasons.first().cloned().unwrap_or_default())),
        _ => {}
    }
    let looks = watch.looks.into_inner().unwrap_or_else(PoisonError::into_inner);
    let dir = done.dir.strip_prefix(trials.dir).unwrap_or(&done.dir).display().to_string();
    let (verdict, trial) = told(&report, &looks, rate, confirm, broken_off, dir);
    Ok((verdict, trial, report.environment.replicas.max(1)))
}

/// The seed of a trial at a rate that was tried `before` times. The very same arrivals would tell the same once more: that is no evidence.
fn seed(root: Seed, before: usize) -> Seed {
    Seed(root.0.wrapping_add(before as u64))
}

/// What a trial showed, from its report and the looks at its backlog.
fn told(
    report: &Report,
    looks: &[Look],
    rate: f64,
    confirm: bool,
    broken_off: bool,
    dir: String,
) -> (Verdict, TrialReport) {
    let Some(phase) = report.phases.last() else { return (Verdict::Inconclusive, TrialReport::default()) };
    let middle = phase.start_at_s + phase.duration_s / 2.0;
    let second_half = || report.windows.iter().filter(|w| w.phase == phase.name && w.start_at_s >= middle - 1e-6);
    // While the rest drains nothing is offered: the backlog shrinks however fast it grew.
    let late = phase.duration_s / 2.0..phase.duration_s;
    let late: Vec<Look> = looks.iter().copied().filter(|l| late.contains(&l.at_s)).collect();
    let seconds: f64 = second_half().map(|w| w.duration_s).sum();
    let completed: u64 = second_half().map(|w| w.done_ok).sum();
    let lost: u64 = second_half().map(|w| w.due_planned.saturating_sub(w.due_ok)).sum();
    let worst = report.objectives.iter().map(|o| match o.verdict {
        VerdictWord::Violated => Objectives::Violated,
        VerdictWord::Inconclusive => Objectives::Inconclusive,
        VerdictWord::Met => Objectives::Met,
    });
    let order = |o: &Objectives| match o {
        Objectives::Violated => 0,
        Objectives::Inconclusive => 1,
        Objectives::Met => 2,
    };
    let seen = Seen {
        objectives: worst.min_by_key(order).unwrap_or(Objectives::Inconclusive),
        offered: second_half().map(|w| w.due_planned).sum(),
        completed,
        backlog: trend(&late),
        broken_off,
        safety_stop: report.ending == Ending::SafetyStop,
        kept_up: phase.kept_up,
    };
    let unproven = report.faults.iter().find(|f| !f.proof.proven);
    // A pass without the loss would be the most dangerous answer.
    let verdict = if unproven.is_some() && !broken_off { Verdict::Inconclusive } else { judge_lost(&seen, lost) };
    let (word, mut why) = verdict_words(verdict);
    if let (Some(fault), Verdict::Inconclusive) = (unproven, verdict) {
        why = format!("fault {} is not proven: {}", fault.name, fault.proof.evidence);
    } else if verdict == Verdict::Failed(crate::capacity::trial::Cause::Objective) {
        let broken = report.objectives.iter().find(|o| o.verdict == VerdictWord::Violated);
        why = broken.map_or(why, |o| format!("{}: {}", o.metric, o.reason));
    }
    let trial = TrialReport {
        rate_rps: rate,
        confirm,
        verdict: word.to_owned(),
        why,
        good_rps: if seconds > 0.0 { completed as f64 / seconds } else { 0.0 },
        error_rate: phase.error_rate,
        p50_us: phase.latency_us.p50,
        p99_us: phase.latency_us.p99,
        in_flight_mean: late.iter().map(|l| l.in_flight as f64).sum::<f64>() / late.len().max(1) as f64,
        dir,
    };
    (verdict, trial)
}

/// The scenario at one rate: warm-up, with the loss and time to settle after it, then the trial.
fn trial_plan(plan: &Plan, rate: f64, length: Duration, lose: Option<usize>) -> Result<Plan, String> {
    let rate = Rate::per_second(rate)?;
    let mut phases: Vec<Phase> = Vec::new();
    let mut add = |name: &str, duration: Duration, measured: bool| {
        let start = phases.last().map_or(Offset::ZERO, Phase::end);
        let load = Load::Open(Shape::Constant(rate));
        phases.push(Phase { name: name.to_owned(), start, duration, load, measured });
    };
    add("warm-up", WARM_UP, false);
    if lose.is_some() {
        add("loss", SETTLE, false);
    }
    add("trial", length, true);
    let mut trial = plan.clone();
    trial.faults = match lose {
        None => Vec::new(),
        Some(i) => {
            let mut fault = plan.faults[i].clone();
            fault.at = phases[1].start;
            fault.lasts = Some(Lasts::UntilEnd);
            // A killed replica comes back; one that is to be missed has to stay away.
            let own = matches!(plan.platform, Some(Platform::Local(_) | Platform::Docker(_)));
            if matches!(fault.kind, FaultKind::PodKill { .. }) && (own || matches!(fault.via, Via::ChaosMesh(_))) {
                fault.kind = FaultKind::PodFailure;
                if let Via::ChaosMesh(mesh) = &mut fault.via {
                    // A failure is of the whole pod; only a kill can be of one container.
                    mesh.container = None;
                }
            }
            vec![fault]
        }
    };
    trial.objectives = objectives(plan, PhaseId(phases.len() as u16 - 1), lose.is_some());
    trial.phases = phases;
    trial.probes.retain_mut(|p| {
        (p.during, p.after) = (None, false);
        if let crate::plan::ProbeKind::Alert(alert) = &mut p.kind {
            // Of a trial's faults none is one that it should follow.
            alert.faults.clear();
        }
        p.before
    });
    (trial.gate, trial.capacity) = (None, None);
    trial.scrapes.clear();
    trial.variants.clear();
    trial.warnings.clear();
    Ok(trial)
}

/// What is promised of spans, each once, over the trial. `held`: a fault is on from before it.
fn objectives(plan: &Plan, trial: PhaseId, held: bool) -> Vec<Objective> {
    let mut all: Vec<Objective> = Vec::new();
    for o in &plan.objectives {
        let of_span = !o.metric.is_of_fault() && !matches!(o.metric, Metric::Probe(_));
        let counts = match o.metric {
            // What is searched for, not what is promised.
            Metric::Throughput => false,
            // Compared with what was measured before the first fault: there is nothing.
            Metric::Agreement => !held,
            _ => of_span,
        };
        let same = |have: &Objective| {
            have.metric == o.metric && have.op == o.op && have.bound == o.bound && have.within == o.within
        };
        if counts && !all.iter().any(same) {
            all.push(Objective { spans: vec![SpanRef::Phase(trial)], ..o.clone() });
        }
    }
    all
}

/// Looks at the backlog, and breaks a hopeless trial off.
struct Watch {
    begins: Offset,
    rate: f64,
    allowance_s: f64,
    stop: StopSignal,
    looks: Mutex<Vec<Look>>,
    broken_off: AtomicBool,
}

impl Observer for Watch {
    fn stage(&self, _text: &str) {}

    fn armed(&self, _clock: &Clock) {}

    fn progress(&self, p: &Progress) {
        if p.now < self.begins || self.broken_off.load(Ordering::Acquire) {
            return;
        }
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push(Look { at_s: p.now.since(self.begins).as_secs_f64(), in_flight: p.live.in_flight });
        if looks.len() >= LOOKS_LEAST && !self.stop.stopped() && hopeless(&looks, self.rate, self.allowance_s) {
            self.broken_off.store(true, Ordering::Release);
            self.stop.stop();
        }
    }

    fn event(&self, _at: Offset, _text: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::trial::Cause;
    use crate::plan::{ChaosMesh, FaultPlan, FaultTarget, KillMethod, Mode, Op, tests_support};
    use crate::report::model::{ObjectiveReport, SpanReport, WindowReport};

    /// One phase, and a replica that is killed in it.
    fn killing(via: Via) -> Plan {
        let mut plan = tests_support::plan(vec![Phase {
            name: "all".into(),
            start: Offset::ZERO,
            duration: Duration::from_secs(5),
            load: Load::Open(Shape::Constant(Rate::per_second(10.0).unwrap())),
            measured: true,
        }]);
        plan.faults = vec![FaultPlan {
            name: "kill".into(),
            kind: FaultKind::PodKill { grace: None, method: KillMethod::Delete },
            target: FaultTarget::Replicas(Mode::One),
            at: Offset::ZERO,
            lasts: None,
            overlap: false,
            via,
        }];
        plan
    }

    fn trial_of(plan: &Plan, lose: Option<usize>) -> Plan {
        trial_plan(plan, 10.0, Duration::from_secs(5), lose).unwrap()
    }

    /// What is killed comes back at once; in a trial it stays away, wherever somebody can hold it down.
    #[test]
    fn a_kill_is_held_as_a_failure() {
        let held = |via: Via| trial_of(&killing(via), Some(0)).faults.remove(0);
        let mesh = ChaosMesh { container: Some("model".into()), peer: None, volume: None, proof: None };
        let fault = held(Via::ChaosMesh(mesh));
        assert!(matches!(fault.kind, FaultKind::PodFailure) && fault.lasts == Some(Lasts::UntilEnd), "{fault:?}");
        assert!(matches!(fault.via, Via::ChaosMesh(ChaosMesh { container: None, .. })));
        // Nobody holds it where only the platform is there: such a scenario is refused before.
        assert!(matches!(held(Via::Platform).kind, FaultKind::PodKill { .. }));
    }

    fn asks(metric: Metric, within_ms: Option<u64>) -> Objective {
        Objective {
            metric,
            op: Op::Min,
            bound: 0.99,
            spans: vec![SpanRef::Phase(PhaseId(0))],
            fault: None,
            median_of: None,
            within: within_ms.map(Duration::from_millis),
            line: 1,
        }
    }

    #[test]
    fn a_trial_asks_each_promise_once() {
        let mut plan = killing(Via::Platform);
        let promises = [Some(100), Some(200), Some(100)].map(|within| asks(Metric::GoodRatio, within)).into_iter();
        plan.objectives = promises.chain([asks(Metric::Throughput, None), asks(Metric::RecoveryTime, None)]).collect();
        let asked: Vec<_> =
            trial_of(&plan, None).objectives.into_iter().map(|o| o.within.unwrap().as_millis()).collect();
        assert_eq!(asked, [100, 200]);
    }

    /// In a trial the fault comes before anything is measured.
    #[test]
    fn agreement_is_asked_only_where_there_is_something_to_agree_with() {
        let mut plan = killing(Via::Platform);
        plan.capacity = Some(Capacity {
            from: Rate::per_second(10.0).unwrap(),
            precision: 0.05,
            trial: Duration::from_secs(5),
            confirm: Duration::from_secs(5),
            lose: None,
            planning: None,
        });
        plan.objectives = vec![asks(Metric::Agreement, None), asks(Metric::Availability, None)];
        assert_eq!((left_out(&plan), searchable(&plan)), (None, Ok(())));
        plan.capacity.as_mut().unwrap().lose = Some(0);
        let metrics = |lose| trial_of(&plan, lose).objectives.into_iter().map(|o| o.metric).collect::<Vec<_>>();
        assert_eq!(metrics(None), [Metric::Agreement, Metric::Availability]);
        assert_eq!(metrics(Some(0)), [Metric::Availability]);
        assert!(left_out(&plan).unwrap().starts_with("agreement is not asked while kill is held"));
        assert_eq!(searchable(&plan), Ok(()));
        plan.objectives.truncate(1);
        let told = searchable(&plan).unwrap_err();
        assert!(told.contains("under the fault") && told.contains("latency.pNN"), "{told}");
    }

    /// What a trial of six seconds showed whose load ends at 8 s and whose last answer comes later; a look every 100 ms.
    fn seen(offered: u64, done: u64, lost: u64, in_flight: impl Fn(f64) -> u64) -> (Verdict, TrialReport) {
        let window = |start_at_s: u64| WindowReport {
            start_at_s: start_at_s as f64,
            duration_s: 1.0,
            phase: "trial".into(),
            due_planned: offered,
            due_ok: offered - lost,
            done_ok: done,
            ..WindowReport::default()
        };
        let phase = SpanReport {
            name: "trial".into(),
            start_at_s: 2.0,
            duration_s: 6.0,
            measured: true,
            kept_up: true,
            ..SpanReport::default()
        };
        let report = Report {
            phases: vec![phase],
            windows: (2..8).map(window).collect(),
            objectives: vec![ObjectiveReport { verdict: VerdictWord::Met, ..ObjectiveReport::default() }],
            ending: Ending::Completed,
            ..Report::default()
        };
        let look = |at_s: f64| Look { at_s, in_flight: in_flight(at_s) };
        let looks: Vec<Look> = (0..80).map(|i| look(f64::from(i) / 10.0)).collect();
        told(&report, &looks, offered as f64, false, false, String::new())
    }

    #[test]
    fn what_drains_after_the_load_is_no_part_of_a_trial() {
        // 20/s of 1.5 s each: Little's law says 30.
        let (verdict, trial) = seen(20, 20, 0, |t| if t < 6.0 { 30 } else { 30 - 20 * (t - 6.0).min(1.5) as u64 });
        assert_eq!((verdict, trial.in_flight_mean), (Verdict::Passed, 30.0));
        // One in a hundred stays behind.
        let (verdict, _) = seen(1000, 990, 0, |t| if t < 6.0 { (10.0 * t).round() as u64 } else { 0 });
        assert!(matches!(verdict, Verdict::Failed(Cause::Backlog(low)) if low > 9.0), "{verdict:?}");
    }

    /// 20 in flight: by chance 18 of 60 answers may come a little later, but none may stay away.
    #[test]
    fn answers_that_come_later_are_not_lost() {
        assert_eq!(seen(20, 17, 0, |_| 20).0, Verdict::Passed);
        assert_eq!(seen(20, 17, 3, |_| 20).0, Verdict::Failed(Cause::Completed(0.85)));
        assert_eq!(seen(20, 17, 0, |_| 1).0, Verdict::Failed(Cause::Completed(0.85)));
    }

    #[test]
    fn a_trial_at_the_same_rate_draws_other_arrivals() {
        let seeds = [0, 1, 2].map(|before| seed(Seed(u64::MAX), before).0);
        assert_eq!(seeds, [u64::MAX, 0, 1], "the first is the scenario's");
    }

    #[test]
    fn an_undecided_trial_without_a_fault_speaks_of_none() {
        let (verdict, trial) = seen(0, 0, 0, |_| 0);
        assert_eq!(verdict, Verdict::Inconclusive);
        assert!(!trial.why.contains("fault") && trial.why.contains("too few"), "{}", trial.why);
    }
}
