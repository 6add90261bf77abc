//! For tests only: a small plan, replicas that are real `sleep` processes, a link that only counts, and an injector
//! that writes down what is asked of it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::journal::{Header, Journal};
use super::runner::{FaultContext, FaultObserver, FaultRecord, FaultsOutcome, prepare, run_faults};
use super::stop::StopSignal;
use super::{InjectorContext, injector_for};
use crate::alteration::Alterations;
use crate::clock::Clock;
use crate::plan::*;
use crate::platform::process::{self, ProcessId, Signal};
use crate::platform::*;
use crate::units::{Offset, Rate};

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn fault(name: &str, kind: FaultKind, replica: u16, at_ms: u64, lasts: Option<Lasts>) -> FaultPlan {
    let target = FaultTarget::Replica(replica);
    FaultPlan {
        name: name.into(),
        kind,
        target,
        at: Offset::ZERO + ms(at_ms),
        lasts,
        overlap: false,
        via: Via::Platform,
    }
}

pub(super) fn plan(faults: Vec<FaultPlan>, end_ms: u64) -> Plan {
    let phase = Phase {
        name: "steady".into(),
        start: Offset::ZERO,
        duration: ms(end_ms),
        load: Load::Open(Shape::Constant(Rate::per_second(1.0).unwrap())),
        measured: true,
    };
    Plan { faults, ..tests_support::plan(vec![phase]) }
}

/// Replicas that are real processes, restarted at once by whoever killed them.
pub(super) struct Sleepers {
    clock: Clock,
    slots: Mutex<Vec<Slot>>,
    events: Mutex<Vec<PlatformEvent>>,
    /// Kills of this replica are carried out, are told as failed, and nobody starts it again.
    pub(super) unanswered: Mutex<Option<u16>>,
    pub(super) link: Arc<CountingLink>,
}

struct Slot {
    child: Child,
    process: ProcessId,
    down: bool,
    starts: u32,
}

impl Sleepers {
    pub(super) fn new(n: u16, clock: Clock) -> Sleepers {
        let slots = (0..n).map(|_| Slot::start(1)).collect();
        Sleepers {
            clock,
            slots: Mutex::new(slots),
            events: Mutex::default(),
            unanswered: Mutex::default(),
            link: Arc::default(),
        }
    }

    fn event(&self, replica: u16, kind: PlatformEventKind) {
        let event = PlatformEvent { at: self.clock.now(), replica: Some(replica), kind, text: String::new() };
        self.events.lock().unwrap().push(event);
    }

    fn take_down(&self, replica: u16, stays: bool) -> Result<(Instance, Offset), String> {
        let mut slots = self.slots.lock().unwrap();
        let slot = slots.get_mut(usize::from(replica)).ok_or("no such replica")?;
        let (victim, at) = (slot.process.clone(), self.clock.now());
        victim.end(ms(5000))?;
        slot.child.wait().unwrap();
        slot.down = stays;
        if !stays {
            *slot = Slot::start(slot.starts + 1);
            self.event(replica, PlatformEventKind::Ready);
        }
        Ok((victim.into(), at))
    }

    fn signal(&self, replica: u16, signal: Signal) -> Result<(Instance, Offset), String> {
        let slots = self.slots.lock().unwrap();
        let process = slots[usize::from(replica)].process.clone();
        process.signal_group(signal)?;
        Ok((process.into(), self.clock.now()))
    }
}

impl Slot {
    fn start(starts: u32) -> Slot {
        let child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let process = ProcessId::of(child.id() as i32).unwrap();
        Slot { child, process, down: false, starts }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for slot in self.slots.get_mut().unwrap() {
            slot.process.end(ms(5000)).unwrap();
            slot.child.wait().unwrap();
        }
    }
}

impl Replicas for Sleepers {
    fn word(&self) -> &'static str {
        "local"
    }

    fn how(&self, deed: Deed) -> Result<String, String> {
        if deed == Deed::RollOut { Err("no".to_owned()) } else { Ok(format!("{deed:?}")) }
    }

    fn is_gone(&self, instance: &Instance) -> bool {
        process::is_gone(instance)
    }

    fn is_paused(&self, instance: &Instance) -> bool {
        process::is_stopped(instance)
    }

    fn list(&self) -> Vec<ReplicaView> {
        let slots = self.slots.lock().unwrap();
        let view = |(i, s): (usize, &Slot)| ReplicaView {
            index: i as u16,
            instance: (!s.down).then(|| s.process.clone().into()),
            ready: !s.down,
            starts: s.starts,
        };
        slots.iter().enumerate().map(view).collect()
    }

    fn kill(&self, replica: u16, _how: Kill) -> Result<(Instance, Offset), String> {
        if *self.unanswered.lock().unwrap() == Some(replica) {
            self.take_down(replica, true)?;
            return Err("no answer in time".to_owned());
        }
        self.take_down(replica, false)
    }

    fn hold_down(&self, replica: u16) -> Result<(Instance, Offset), String> {
        self.take_down(replica, true)
    }

    fn release(&self, replica: u16) -> Result<(), String> {
        let slot = &mut self.slots.lock().unwrap()[usize::from(replica)];
        if slot.down {
            *slot = Slot::start(slot.starts + 1);
        }
        Ok(())
    }

    fn pause(&self, replica: u16) -> Result<(Instance, Offset), String> {
        self.signal(replica, Signal::STOP)
    }

    fn resume(&self, replica: u16) -> Result<(), String> {
        self.signal(replica, Signal::CONT).map(drop)
    }

    fn link(&self, dependency: Option<&str>) -> Option<Arc<dyn LinkControl>> {
        matches!(dependency, None | Some("registry")).then(|| self.link.clone() as Arc<dyn LinkControl>)
    }

    fn volume(&self, _replica: u16) -> Option<Arc<dyn VolumeControl>> {
        None
    }

    fn events(&self) -> Vec<PlatformEvent> {
        self.events.lock().unwrap().clone()
    }
}

/// Answers every effect with the same evidence.
#[derive(Default)]
pub(super) struct CountingLink {
    pub(super) added: Mutex<Vec<LinkFault>>,
    pub(super) on: Mutex<Vec<u64>>,
    pub(super) evidence: Mutex<LinkEvidence>,
}

impl LinkControl for CountingLink {
    fn add(&self, fault: LinkFault) -> u64 {
        let mut added = self.added.lock().unwrap();
        added.push(fault);
        self.on.lock().unwrap().push(added.len() as u64);
        added.len() as u64
    }

    fn remove(&self, id: u64) -> bool {
        let mut on = self.on.lock().unwrap();
        let before = on.len();
        on.retain(|i| *i != id);
        on.len() < before
    }

    fn evidence(&self, _id: u64) -> LinkEvidence {
        *self.evidence.lock().unwrap()
    }

    fn active(&self) -> usize {
        self.on.lock().unwrap().len()
    }
}

/// What a run's faults did, in order: "a applied", "a reverted" …
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn say(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn has(&self, line: &str) -> bool {
        self.lines().iter().any(|l| l == line)
    }
}

/// Does nothing but say so, and what it is told to.
pub(super) struct Scripted {
    pub(super) name: String,
    pub(super) clock: Clock,
    pub(super) log: Log,
    pub(super) on_apply: Box<dyn FnMut() -> Result<(), String> + Send>,
    pub(super) on_revert: Box<dyn FnMut() -> Result<(), String> + Send>,
    pub(super) on_observe: Box<dyn FnMut() -> bool + Send>,
}

impl Injector for Scripted {
    fn prepare(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        vec![Undo::InProcess { what: format!("undo of {}", self.name) }]
    }

    fn apply(&mut self, _targets: &[TargetRef]) -> Result<Offset, String> {
        self.log.say(format!("{} applied", self.name));
        (self.on_apply)()?;
        Ok(self.clock.now())
    }

    fn revert(&mut self) -> Result<(), String> {
        self.log.say(format!("{} reverted", self.name));
        (self.on_revert)()
    }

    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        (self.on_observe)()
    }

    fn residue(&self) -> Vec<String> {
        vec![]
    }

    fn proof(&self) -> Proof {
        Proof { level: ProofLevel::Effect, touched: 1, evidence: "seen".into() }
    }

    fn mechanism(&self) -> String {
        "script".into()
    }
}

/// Everything that faults need, around a journal in a folder of its own.
pub(super) struct Bench {
    pub(super) plan: Plan,
    pub(super) clock: Clock,
    pub(super) replicas: Arc<Sleepers>,
    pub(super) journal: Arc<Journal>,
    pub(super) stop: StopSignal,
    pub(super) log: Log,
    pub(super) steady: Result<(), String>,
    pub(super) guarded: Result<(), String>,
    pub(super) dir: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new(faults: Vec<FaultPlan>, end_ms: u64) -> Bench {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::starting_in(ms(20)));
        let journal = Journal::begin(&dir.path().join("state"), Header::new("r1", "test", vec![]), &[]).unwrap();
        Bench {
            plan: plan(faults, end_ms),
            clock,
            replicas: Arc::new(Sleepers::new(3, clock)),
            journal: Arc::new(journal),
            stop: StopSignal::new(),
            log: Log::default(),
            steady: Ok(()),
            guarded: Ok(()),
            dir,
        }
    }

    pub(super) fn journal_path(&self) -> PathBuf {
        self.journal.path().to_owned()
    }

    /// Why the real injectors do not even begin.
    pub(super) fn cannot_prepare(&self) -> String {
        let cx = self.context();
        prepare(&self.plan, |fault| injector_for(fault, &cx)).err().expect("they cannot be prepared").to_string()
    }

    /// Plays the real injectors; `probe` answers every probe.
    pub(super) fn play(&self, probe: &(dyn Fn(&str) -> bool + Sync)) -> Vec<FaultRecord> {
        let cx = self.context();
        self.play_with(|fault| injector_for(fault, &cx), probe).records
    }

    fn context(&self) -> InjectorContext {
        InjectorContext {
            seed: self.plan.seed,
            clock: self.clock,
            replicas: Some(self.replicas.clone()),
            stop: self.stop.clone(),
            ledger: self.journal.clone(),
            dir: self.dir.path().to_owned(),
            run: "r1".into(),
            plan: Arc::new(self.plan.clone()),
            alterations: Arc::new(Alterations::of(&self.plan)),
        }
    }

    /// Plays scripted injectors, changed by `script`.
    pub(super) fn play_scripts(&self, script: impl Fn(&mut Scripted)) -> FaultsOutcome {
        let make = |fault: &FaultPlan| {
            let mut scripted = Scripted {
                name: fault.name.clone(),
                clock: self.clock,
                log: self.log.clone(),
                on_apply: Box::new(|| Ok(())),
                on_revert: Box::new(|| Ok(())),
                on_observe: Box::new(|| false),
            };
            script(&mut scripted);
            Ok(Box::new(scripted) as Box<dyn Injector>)
        };
        self.play_with(make, &|_| true)
    }

    fn play_with(
        &self,
        make: impl FnMut(&FaultPlan) -> Result<Box<dyn Injector>, String>,
        probe: &(dyn Fn(&str) -> bool + Sync),
    ) -> FaultsOutcome {
        let prepared = prepare(&self.plan, make).unwrap();
        let cx = FaultContext {
            plan: &self.plan,
            clock: self.clock,
            replicas: Some(self.replicas.clone()),
            journal: &self.journal,
            stop: &self.stop,
            observer: self,
            guarded: &|| self.guarded.clone(),
            check_probe: probe,
            before_first: &|| self.steady.clone(),
        };
        run_faults(&cx, prepared)
    }
}

impl FaultObserver for Bench {
    fn applied(&self, fault: usize, _at: Offset, _targets: &[TargetRef]) {
        self.log.say(format!("told: {} on", self.plan.faults[fault].name));
    }

    fn reverted(&self, fault: usize, _at: Offset) {
        self.log.say(format!("told: {} off", self.plan.faults[fault].name));
    }

    fn not_applied(&self, fault: usize, _reason: &str) {
        self.log.say(format!("told: {} not", self.plan.faults[fault].name));
    }
}
