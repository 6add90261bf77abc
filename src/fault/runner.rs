//! Plays all faults of a run on its clock: chooses, writes the undo, applies, waits, puts back, verifies, proves.
//!
//! One conductor (the calling thread) chooses targets and writes intents in the order of the plan, a little ahead of
//! time; one thread per fault then fires it at its instant. Every road out of a fault leads through its revert: its
//! time, the end of load, the stop signal, a failed apply, a panic. Owns that order and the records; leaves alone how
//! a fault is done (its injector), who is chosen (`select.rs`) and what is concluded from the records.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};
use std::time::Duration;

use serde::Serialize;

use super::injector::{Injector, Proof, TargetRef};
use super::journal::Journal;
use super::select::{Choice, Claims, still_there};
use super::stop::StopSignal;
use super::timeline::revert_at;
use crate::clock::{self, Clock};
use crate::plan::{FaultKind, FaultPlan, Plan, ProbePlan, ProofRule};
use crate::platform::{ReplicaView, Replicas};
use crate::units::Offset;

/// Targets are chosen and the undo is synced this long before a fault's time: a slow disk takes tens of milliseconds.
const LEAD: Duration = Duration::from_millis(100);

/// How long after its time a fault waits for a target that is ready and free.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks for a target.
const RETRY: Duration = Duration::from_millis(2);

/// Between two calls of [`Injector::observe`].
const OBSERVE: Duration = Duration::from_millis(100);

/// Probes get at most this long ahead of a fault.
const PROBE_LEAD_MAX: Duration = Duration::from_secs(10);

/// Before a failed revert is tried once more.
const REVERT_AGAIN: Duration = Duration::from_millis(100);

/// Told at once of what happened, from the threads of the faults.
pub trait FaultObserver: Sync {
    /// In force since `at`.
    fn applied(&self, fault: usize, at: Offset, targets: &[TargetRef]);

    /// A lasting fault was put back.
    fn reverted(&self, fault: usize, at: Offset);

    /// It was not applied, and will not be.
    fn not_applied(&self, _fault: usize, _reason: &str) {}
}

/// What faults are played with.
pub struct FaultContext<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The run's clock.
    pub clock: Clock,
    /// Where replicas live, if anywhere.
    pub replicas: Option<Arc<dyn Replicas>>,
    /// The run's journal.
    pub journal: &'a Journal,
    /// Ends everything early.
    pub stop: &'a StopSignal,
    /// Told of what happens.
    pub observer: &'a dyn FaultObserver,
    /// Asks the probe of this name now; true is passing. Bounded by the probe's own timeout.
    pub check_probe: &'a (dyn Fn(&str) -> bool + Sync),
    /// The steady state again, once, just before the first fault: when it does not hold, nothing is broken.
    pub before_first: &'a (dyn Fn() -> Result<(), String> + Sync),
}

/// Faults that are ready to be played.
pub struct PreparedFaults(Vec<Box<dyn Injector>>);

/// What became of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultRecord {
    /// Its name.
    pub name: String,
    /// Its kind, the word of the language.
    pub kind: &'static str,
    /// The platform or tool that did it.
    pub via: &'static str,
    /// How it was done.
    pub mechanism: String,
    /// Its time in the plan.
    pub planned_at: Offset,
    /// In force since; none when it was not applied.
    pub applied_at: Option<Offset>,
    /// Put back at; none for one-shot faults.
    pub reverted_at: Option<Offset>,
    /// What it hit.
    pub targets: Vec<TargetRef>,
    /// The evidence.
    pub proof: Proof,
    /// What went wrong on the way.
    pub errors: Vec<String>,
    /// What is still broken, with the cure: the run is not clean, and its journal stays.
    pub residue: Vec<String>,
    /// Why it was not applied.
    pub not_applied: Option<String>,
}

impl FaultRecord {
    /// How late it was applied.
    pub fn late(&self) -> Option<Duration> {
        self.applied_at.map(|at| at.since(self.planned_at))
    }
}

/// What became of all of them.
#[derive(Clone, Debug)]
pub struct FaultsOutcome {
    /// In the order of the plan.
    pub records: Vec<FaultRecord>,
    /// Why no fault was applied, when the steady state did not hold before the first.
    pub steady_state_lost: Option<String>,
}

/// Prepares every fault: before the first arrival, since it may be slow.
///
/// # Errors
/// Every fault that cannot work here, one a line.
pub fn prepare(
    plan: &Plan,
    mut make: impl FnMut(&FaultPlan) -> Result<Box<dyn Injector>, String>,
) -> Result<PreparedFaults, String> {
    let (mut injectors, mut problems) = (Vec::new(), Vec::new());
    for fault in &plan.faults {
        let prepared = caught(|| {
            let mut injector = make(fault)?;
            injector.prepare().map(|()| injector)
        });
        match prepared.and_then(|p| p) {
            Ok(injector) => injectors.push(injector),
            Err(why) => problems.push(format!("fault {}: {why}", fault.name)),
        }
    }
    if problems.is_empty() { Ok(PreparedFaults(injectors)) } else { Err(problems.join("\n")) }
}

/// Plays them all. Returns after the end of load or the stop, when everything is put back as far as it could be.
pub fn run_faults(cx: &FaultContext<'_>, prepared: PreparedFaults) -> FaultsOutcome {
    let stage = Stage { cx, claims: Mutex::default() };
    let faults = cx.plan.faults.iter().zip(prepared.0).enumerate();
    let mut playing: Vec<Playing<'_>> = faults.map(|(i, (plan, injector))| Playing::new(i, plan, injector)).collect();
    let lost = std::thread::scope(|scope| stage.conduct(scope, &mut playing));
    stage.put_all_back(&mut playing);
    let records = playing.into_iter().map(|p| stage.conclude(p)).collect();
    FaultsOutcome { records, steady_state_lost: lost }
}

/// One fault while it is played.
struct Playing<'a> {
    index: usize,
    plan: &'a FaultPlan,
    injector: Box<dyn Injector>,
    record: FaultRecord,
    wanted: usize,
    /// Its intent is in the journal.
    intended: bool,
    /// `apply` was called, so `revert` is due.
    touched: bool,
}

#[derive(PartialEq)]
enum PutBack {
    Now,
    /// With the others, in reverse order.
    AtTheEnd,
}

impl<'a> Playing<'a> {
    fn new(index: usize, plan: &'a FaultPlan, injector: Box<dyn Injector>) -> Playing<'a> {
        let record = FaultRecord {
            name: plan.name.clone(),
            kind: plan.kind.word(),
            via: "local",
            mechanism: injector.mechanism(),
            planned_at: plan.at,
            applied_at: None,
            reverted_at: None,
            targets: Vec::new(),
            proof: Proof::none("not applied"),
            errors: Vec::new(),
            residue: Vec::new(),
            not_applied: None,
        };
        Playing { index, plan, injector, record, wanted: 0, intended: false, touched: false }
    }
}

struct Stage<'a> {
    cx: &'a FaultContext<'a>,
    claims: Mutex<Claims>,
}

impl Stage<'_> {
    /// Chooses and starts the faults one after another; returns at the end of load, or why nothing was begun.
    fn conduct<'s>(&'s self, scope: &'s Scope<'s, '_>, playing: &'s mut [Playing<'_>]) -> Option<String> {
        let (clock, stop) = (&self.cx.clock, self.cx.stop);
        let mut by_time: Vec<&'s mut Playing<'_>> = playing.iter_mut().collect();
        by_time.sort_by_key(|p| (self.begins(p.plan), p.index));
        let first = self.begins(by_time.first()?.plan);
        if stop.wait_until(clock, before(first, probe_time(self.cx.plan.probes.iter().filter(|p| p.before)))) {
            return None;
        }
        if let Err(why) = caught(self.cx.before_first).and_then(|steady| steady) {
            let why = format!("the steady state did not hold before the first fault: {why}");
            by_time.into_iter().for_each(|p| self.refuse(p, why.clone()));
            return Some(why);
        }
        for fault in by_time {
            if stop.wait_until(clock, self.begins(fault.plan)) {
                break;
            }
            let early = self.choose(fault);
            let thread = Builder::new().name(format!("fault {}", fault.plan.name));
            // Without a thread it is not applied, which its record will say.
            let _ = thread.spawn_scoped(scope, move || self.play(fault, early));
        }
        stop.wait_until(clock, self.cx.plan.end());
        None
    }

    /// When work on a fault begins, so that it can fire in time.
    fn begins(&self, fault: &FaultPlan) -> Offset {
        let lead = match &fault.kind {
            FaultKind::Command { proof: ProofRule::Probe { probe, .. }, .. } => {
                LEAD + probe_time(self.cx.plan.probes.iter().filter(|p| p.name == *probe))
            }
            _ => LEAD,
        };
        before(fault.at, lead)
    }

    /// Draws targets and writes the intent, synced.
    fn choose(&self, p: &mut Playing<'_>) -> Result<Choice, String> {
        let plan = self.cx.plan;
        let choice = self.claims().choose(p.index, p.plan, &plan.safety, plan.seed, &self.replicas())?;
        self.cx.journal.intent(&p.plan.name, &p.injector.undo(&choice.targets), &choice.targets)?;
        p.intended = true;
        Ok(choice)
    }

    fn play(&self, p: &mut Playing<'_>, early: Result<Choice, String>) {
        let then = caught(|| self.act(p, early)).unwrap_or_else(|panic| {
            p.record.errors.push(panic);
            PutBack::Now
        });
        if then == PutBack::Now {
            self.put_back(p);
        }
    }

    fn act(&self, p: &mut Playing<'_>, early: Result<Choice, String>) -> PutBack {
        p.injector.observe(self.cx.check_probe);
        if self.cx.stop.wait_until(&self.cx.clock, p.plan.at) {
            return PutBack::AtTheEnd;
        }
        let choice = match self.settle(p, early) {
            Ok(choice) => choice,
            Err(why) => {
                self.claims().withdraw(p.index);
                self.refuse(p, why);
                return PutBack::AtTheEnd;
            }
        };
        (p.touched, p.wanted) = (true, choice.wanted);
        p.record.targets = choice.targets;
        match p.injector.apply(&p.record.targets) {
            Ok(at) => {
                p.record.applied_at = Some(at);
                self.cx.observer.applied(p.index, at, &p.record.targets);
                self.cx.journal.applied(&p.plan.name, at);
                self.hold(p, at)
            }
            Err(why) => {
                p.record.errors.push(why.clone());
                self.refuse(p, format!("it could not be applied: {why}"));
                PutBack::Now
            }
        }
    }

    /// Targets that are there at this moment, with their undo in the journal: those chosen early when they still are.
    fn settle(&self, p: &mut Playing<'_>, early: Result<Choice, String>) -> Result<Choice, String> {
        let (clock, stop, give_up) = (&self.cx.clock, self.cx.stop, p.plan.at + PATIENCE);
        let mut chosen = early;
        loop {
            let why = match chosen {
                Ok(choice) if still_there(&choice.targets, &self.replicas()) => return Ok(choice),
                Ok(_) => "its targets kept going away".to_owned(),
                Err(why) => why,
            };
            if clock.now() >= give_up || stop.stopped() {
                return Err(why);
            }
            self.claims().withdraw(p.index);
            chosen = self.choose(p);
            if chosen.is_err() {
                stop.wait_until(clock, clock.now() + RETRY);
            }
        }
    }

    /// Waits for the end of its time, and collects evidence.
    fn hold(&self, p: &mut Playing<'_>, applied: Offset) -> PutBack {
        let (clock, stop, load_end) = (&self.cx.clock, self.cx.stop, self.cx.plan.end());
        if p.plan.lasts.is_none() {
            self.claims().over(p.index);
        }
        let end = revert_at(p.plan, applied, load_end).unwrap_or(load_end);
        while !stop.stopped() && p.injector.observe(self.cx.check_probe) {
            let next = clock.now() + OBSERVE;
            if next >= end || stop.wait_until(clock, next) {
                break;
            }
        }
        // What lasts to the end of load is put back by the conductor, in reverse order.
        if end >= load_end || stop.wait_until(clock, end) { PutBack::AtTheEnd } else { PutBack::Now }
    }

    fn put_all_back(&self, playing: &mut [Playing<'_>]) {
        let mut last_first: Vec<&mut Playing<'_>> = playing.iter_mut().collect();
        last_first.sort_by_key(|p| std::cmp::Reverse((p.record.applied_at, p.index)));
        last_first.into_iter().for_each(|p| self.put_back(p));
    }

    fn put_back(&self, p: &mut Playing<'_>) {
        if !std::mem::take(&mut p.touched) {
            return;
        }
        let mut reverted = caught(|| p.injector.revert()).and_then(|r| r);
        if reverted.is_err() {
            clock::sleep(REVERT_AGAIN);
            reverted = caught(|| p.injector.revert()).and_then(|r| r);
        }
        let at = self.cx.clock.now();
        self.claims().over(p.index);
        match reverted {
            Ok(()) if p.plan.lasts.is_some() && p.record.applied_at.is_some() => {
                p.record.reverted_at = Some(at);
                self.cx.observer.reverted(p.index, at);
            }
            Ok(()) => {}
            Err(why) => p.record.residue.push(why),
        }
        match caught(|| p.injector.residue()) {
            Ok(residue) => p.record.residue.extend(residue),
            Err(panic) => p.record.residue.push(format!("it is not known whether all is put back: {panic}")),
        }
        if p.record.residue.is_empty() {
            self.cx.journal.reverted(&p.plan.name);
            p.intended = false;
        }
    }

    fn refuse(&self, p: &mut Playing<'_>, why: String) {
        self.cx.observer.not_applied(p.index, &why);
        p.record.not_applied = Some(why);
    }

    /// The record, with the proof as it stands at the end of the run.
    fn conclude(&self, mut p: Playing<'_>) -> FaultRecord {
        if p.intended && p.record.residue.is_empty() {
            self.cx.journal.reverted(&p.plan.name);
        }
        if p.record.applied_at.is_none() {
            if p.record.not_applied.is_none() {
                let why = p.record.errors.first().map(|e| format!("it could not be applied: {e}"));
                let stopped =
                    if self.cx.stop.stopped() { "the run stopped before its time" } else { "it got no thread" };
                self.refuse(&mut p, why.unwrap_or_else(|| stopped.to_owned()));
            }
            p.record.proof = Proof::none(p.record.not_applied.clone().unwrap_or_default());
            return p.record;
        }
        p.record.proof = caught(|| p.injector.proof()).unwrap_or_else(Proof::none);
        let hit = p.record.targets.len();
        if hit < p.wanted {
            let note = format!("; {hit} of the {} asked for: no more were ready and free", p.wanted);
            p.record.proof.evidence.push_str(&note);
        }
        p.record
    }

    fn replicas(&self) -> Vec<ReplicaView> {
        self.cx.replicas.as_ref().map(|r| r.list()).unwrap_or_default()
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic becomes an error, so that one fault's mistake does not keep others from being put back.
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        format!("a mistake of resbench itself: panic: {}", text.unwrap_or_default())
    })
}

fn probe_time<'p>(probes: impl Iterator<Item = &'p ProbePlan>) -> Duration {
    probes.map(|p| p.timeout).sum::<Duration>().min(PROBE_LEAD_MAX)
}

fn before(at: Offset, lead: Duration) -> Offset {
    Offset(at.0.saturating_sub(lead.as_nanos() as u64))
}
