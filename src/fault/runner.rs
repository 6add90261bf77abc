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
use crate::plan::{FaultPlan, Plan, ProbePlan, ProofRule};
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
    /// Whether somebody would put everything back after a `kill -9`; else why not. Asked before each fault.
    pub guarded: &'a (dyn Fn() -> Result<(), String> + Sync),
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
    let platform = cx.plan.platform_word();
    let faults = cx.plan.faults.iter().zip(prepared.0).enumerate();
    let playing = faults.map(|(i, (plan, injector))| Playing::new(i, plan, platform, injector));
    let mut playing: Vec<Playing<'_>> = playing.collect();
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
    fn new(index: usize, plan: &'a FaultPlan, platform: &'static str, injector: Box<dyn Injector>) -> Playing<'a> {
        let record = FaultRecord {
            name: plan.name.clone(),
            kind: plan.kind.word(),
            via: plan.via.word(platform),
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
        let lead = match fault.proof() {
            Some(ProofRule::Probe { probe, .. }) => {
                LEAD + probe_time(self.cx.plan.probes.iter().filter(|p| p.name == *probe))
            }
            _ => LEAD,
        };
        before(fault.at, lead)
    }

    /// Draws targets and writes the intent, synced.
    fn choose(&self, p: &mut Playing<'_>) -> Result<Choice, String> {
        (self.cx.guarded)()?;
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
        let looks_end = end.min(self.looks_end(p.plan, load_end));
        while !stop.stopped() && p.injector.observe(self.cx.check_probe) {
            let next = clock.now() + OBSERVE;
            if next >= looks_end || stop.wait_until(clock, next) {
                break;
            }
        }
        // What lasts to the end of load is put back by the conductor, in reverse order.
        if end >= load_end || stop.wait_until(clock, end) { PutBack::AtTheEnd } else { PutBack::Now }
    }

    /// Until when what a probe shows is this fault's doing: what changes after the next fault has begun may be that one's.
    fn looks_end(&self, plan: &FaultPlan, load_end: Offset) -> Offset {
        if !matches!(plan.proof(), Some(ProofRule::Probe { .. })) {
            return load_end;
        }
        let later = self.cx.plan.faults.iter().map(|other| other.at).filter(|at| *at > plan.at);
        later.min().unwrap_or(load_end)
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
        let at = caught(|| p.injector.ended()).ok().flatten().unwrap_or_else(|| self.cx.clock.now());
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
        // What could not be put back is still under its fault: it counts against `max_targets` to the end of the run.
        if p.record.residue.is_empty() {
            self.claims().over(p.index);
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
        p.record.errors.extend(caught(|| p.injector.troubles()).unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::doubles::{Bench, fault, ms};
    use crate::plan::{FaultKind, KillMethod, Lasts};
    use crate::platform::Kill;

    const PAUSE: FaultKind = FaultKind::PodPause;
    const KILL: FaultKind = FaultKind::PodKill { grace: None, method: KillMethod::Delete };

    fn lasting(n: u64) -> Option<Lasts> {
        Some(Lasts::For(ms(n)))
    }

    fn pause(name: &str, replica: u16, at_ms: u64, lasts: Option<Lasts>) -> FaultPlan {
        fault(name, PAUSE, replica, at_ms, lasts)
    }

    #[test]
    fn the_intent_is_on_disk_before_the_deed() {
        let bench = Bench::new(vec![pause("a", 0, 150, lasting(50))], 400);
        let path = bench.journal_path();
        let outcome = bench.play_scripts(|s| {
            let path = path.clone();
            s.on_apply = Box::new(move || {
                let text = std::fs::read_to_string(&path).unwrap();
                let intended = text.contains(r#"{"record":"intent","fault":"a""#) && text.contains("undo of a");
                if intended { Ok(()) } else { Err(text) }
            });
        });
        assert_eq!(outcome.records[0].errors, [""; 0]);
        let text = std::fs::read_to_string(&path).unwrap();
        let records: Vec<_> = ["header", "intent", "applied", "reverted"].map(|r| text.find(r).unwrap()).to_vec();
        assert!(records.is_sorted(), "{text}");
        assert_eq!(bench.journal.finish(true, None), Ok(true));
    }

    #[test]
    fn fires_in_time_and_lasts_for_its_time() {
        let bench = Bench::new(vec![pause("b", 1, 300, lasting(200)), fault("a", KILL, 0, 150, None)], 700);
        let records = bench.play_scripts(|_| ()).records;
        let [b, a] = &records[..] else { panic!("{records:?}") };
        assert!(a.applied_at.unwrap() >= a.planned_at && b.applied_at.unwrap() >= b.planned_at);
        assert!(b.reverted_at.unwrap().since(b.applied_at.unwrap()) >= ms(200));
        assert_eq!((a.reverted_at, a.late().is_some()), (None, true));
        let lines = bench.log.lines();
        let expected =
            ["a applied", "told: a on", "b applied", "told: b on", "b reverted", "told: b off", "a reverted"];
        assert_eq!(lines, expected);
        assert!(bench.clock.now() >= bench.plan.end(), "one-shot faults are put back at the end");
    }

    #[test]
    fn what_lasts_to_the_end_is_put_back_in_reverse_order() {
        let until_end = Some(Lasts::UntilEnd);
        let faults =
            vec![pause("a", 0, 200, until_end), pause("b", 1, 1_000, until_end), pause("c", 2, 600, until_end)];
        let bench = Bench::new(faults, 1_500);
        bench.play_scripts(|_| ());
        let lines = bench.log.lines();
        let reverted: Vec<_> = lines.iter().filter(|l| l.ends_with("reverted")).collect();
        assert_eq!(reverted, ["b reverted", "c reverted", "a reverted"]);
    }

    #[test]
    fn a_stop_puts_everything_back() {
        let faults = vec![pause("a", 0, 120, lasting(500_000)), pause("b", 1, 400_000, lasting(1000))];
        let bench = Bench::new(faults, 600_000);
        let records = std::thread::scope(|s| {
            let play = s.spawn(|| bench.play_scripts(|_| ()).records);
            while !bench.log.has("told: a on") && !play.is_finished() {
                clock::sleep(ms(5));
            }
            bench.stop.stop();
            play.join().unwrap()
        });
        assert!(bench.clock.now() < Offset::ZERO + ms(300_000));
        assert!(records[0].reverted_at.is_some() && bench.log.has("a reverted"));
        assert_eq!(records[1].not_applied.as_deref(), Some("the run stopped before its time"));
        assert!(!records[1].proof.proven() && !bench.log.has("b reverted"));
        assert_eq!(bench.journal.finish(true, None), Ok(true));
    }

    #[test]
    fn a_panic_is_put_back() {
        let faults = vec![
            pause("in-apply", 0, 120, lasting(100)),
            pause("on", 1, 130, lasting(400_000)),
            pause("well", 2, 200, lasting(50)),
        ];
        let bench = Bench::new(faults, 500);
        let records = bench.play_scripts(|s| match s.name.as_str() {
            "in-apply" => s.on_apply = Box::new(|| panic!("first mistake")),
            "on" => {
                let mut calls = 0;
                s.on_observe = Box::new(move || {
                    calls += 1;
                    assert!(calls < 2, "second mistake");
                    true
                });
            }
            _ => {}
        });
        let [first, second, well] = &records.records[..] else { panic!("{records:?}") };
        assert!(first.not_applied.as_ref().unwrap().contains("first mistake"));
        assert!(second.errors[0].contains("second mistake") && second.reverted_at.is_some());
        assert!(well.errors.is_empty() && well.proof.proven());
        assert!(bench.log.has("in-apply reverted") && bench.log.has("on reverted"));
        assert_eq!(bench.journal.open_items(), [""; 0]);
    }

    #[test]
    fn a_failed_apply_is_put_back() {
        let bench = Bench::new(vec![pause("a", 0, 120, lasting(50))], 250);
        let records = bench.play_scripts(|s| s.on_apply = Box::new(|| Err("half done".into()))).records;
        assert_eq!(records[0].not_applied.as_deref(), Some("it could not be applied: half done"));
        assert_eq!(bench.log.lines(), ["a applied", "told: a not", "a reverted"]);
        assert!(records[0].reverted_at.is_none() && !records[0].proof.proven());
    }

    #[test]
    fn what_cannot_be_put_back_is_told_and_stays_in_the_journal() {
        let bench = Bench::new(vec![pause("a", 0, 120, lasting(50)), pause("b", 1, 130, lasting(50))], 400);
        let records = bench.play_scripts(|s| match s.name.as_str() {
            "a" => s.on_revert = Box::new(|| Err("stuck; do it by hand".into())),
            _ => {
                let mut failures = 1;
                s.on_revert = Box::new(move || {
                    failures -= 1;
                    if failures == 0 { Err("not yet".into()) } else { Ok(()) }
                });
            }
        });
        let [a, b] = &records.records[..] else { panic!("{records:?}") };
        assert_eq!((a.residue.as_slice(), a.reverted_at), (["stuck; do it by hand".to_owned()].as_slice(), None));
        assert!(b.residue.is_empty() && b.reverted_at.is_some(), "the second attempt counts");
        assert_eq!(bench.journal.open_items(), ["fault a"]);
        assert_eq!(bench.journal.finish(true, None), Ok(false));
    }

    #[test]
    fn what_could_not_be_put_back_counts_as_under_fault_to_the_end() {
        let later = pause("b", 1, 400, lasting(50));
        let mut bench = Bench::new(vec![pause("a", 0, 120, lasting(50)), later], 700);
        bench.plan.safety.max_targets = Some(1);
        let records = bench.play_scripts(|s| {
            if s.name == "a" {
                s.on_revert = Box::new(|| Err("stuck".into()));
            }
        });
        let [a, b] = &records.records[..] else { panic!("{records:?}") };
        assert_eq!(a.residue, ["stuck"]);
        assert!(b.not_applied.is_some() && !bench.log.has("b applied"), "{b:?}");
    }

    #[test]
    fn without_a_watchdog_nothing_is_broken() {
        let mut bench = Bench::new(vec![pause("a", 0, 150, lasting(50))], 400);
        bench.guarded = Err("the watchdog is gone".into());
        let records = bench.play_scripts(|_| ()).records;
        assert_eq!(records[0].not_applied.as_deref(), Some("the watchdog is gone"));
        assert_eq!(bench.log.lines(), ["told: a not"]);
    }

    #[test]
    fn without_a_steady_state_nothing_is_broken() {
        let mut bench = Bench::new(vec![pause("a", 0, 150, lasting(50))], 60_000);
        bench.steady = Err("probe predicts failed".into());
        let outcome = bench.play_scripts(|_| ());
        assert!(outcome.steady_state_lost.unwrap().contains("probe predicts failed"));
        assert!(outcome.records[0].not_applied.is_some());
        assert_eq!(bench.log.lines(), ["told: a not"]);
        assert!(bench.clock.now() < Offset::ZERO + ms(50_000), "the run is told at once");
    }

    #[test]
    fn limits_keep_a_fault_from_being_applied() {
        let faults = vec![pause("a", 0, 120, Some(Lasts::UntilEnd)), pause("b", 1, 120, lasting(50))];
        let mut bench = Bench::new(faults, 2500);
        bench.plan.safety.max_targets = Some(1);
        let records = bench.play_scripts(|_| ()).records;
        assert!(records[0].applied_at.is_some());
        assert!(records[1].not_applied.as_ref().unwrap().contains("max_targets = 1"), "{records:?}");
        assert!(!bench.log.has("b applied"));
        assert_eq!(bench.journal.finish(true, None), Ok(true));
    }

    #[test]
    fn the_next_fault_on_a_target_waits_for_the_one_before() {
        let bench = Bench::new(vec![pause("a", 0, 120, lasting(150)), pause("b", 0, 270, lasting(50))], 500);
        let records = bench.play_scripts(|_| ()).records;
        assert!(records[1].applied_at.unwrap() >= records[0].reverted_at.unwrap(), "{records:?}");
    }

    #[test]
    fn a_target_that_was_replaced_in_between_is_chosen_anew() {
        let second = FaultPlan { overlap: true, ..pause("b", 0, 300, lasting(50)) };
        let bench = Bench::new(vec![fault("a", KILL, 0, 250, None), second], 500);
        let victim = bench.replicas.list()[0].instance.clone();
        let replicas = bench.replicas.clone();
        let records = bench.play_scripts(|s| {
            let replicas = replicas.clone();
            if s.name == "a" {
                s.on_apply = Box::new(move || replicas.kill(0, Kill::NOW).map(drop));
            }
        });
        let hit = |i: usize| match &records.records[i].targets[..] {
            [TargetRef::Replica { instance, .. }] => instance.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(hit(0), victim);
        assert_eq!(hit(1), bench.replicas.list()[0].instance, "not the one that was chosen 100 ms before");
        assert_ne!(hit(1), victim);
    }

    #[test]
    fn every_fault_that_cannot_work_is_named() {
        let bench = Bench::new(vec![pause("a", 0, 0, None), pause("b", 0, 0, None)], 100);
        let error = prepare(&bench.plan, |_| Err("no replicas".into())).err().unwrap();
        assert_eq!(error, "fault a: no replicas\nfault b: no replicas");
    }
}
