//! `command`: a command of the author's breaks something, another one puts it back.
//!
//! In force once `run` came back with success. Proven by a probe that changes while the fault is on, or by the
//! author's word. What the commands print is kept for error messages only.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::InjectorContext;
use super::exec::{self, Watch};
use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::stop::StopSignal;
use super::undo::show_command;
use crate::clock::Clock;
use crate::plan::{FaultKind, ProofRule};
use crate::platform::Ledger;
use crate::units::{Offset, show_measured};

pub(super) struct CommandFault {
    run: Vec<String>,
    undo: Option<Vec<String>>,
    timeout: Duration,
    rule: ProofRule,
    run_text: Vec<String>,
    undo_text: Option<Vec<String>>,
    dir: PathBuf,
    clock: Clock,
    stop: StopSignal,
    ledger: Arc<dyn Ledger>,
    applied: Option<Offset>,
    /// `run` was started, and `undo` has not yet come back with success.
    undo_due: bool,
    looks: Looks,
}

/// What the probe of the proof showed.
#[derive(Default)]
struct Looks {
    /// Passing just before.
    before: Option<bool>,
    /// Looks since it was applied.
    count: u64,
    /// When it was first seen changed.
    changed: Option<Offset>,
}

impl CommandFault {
    pub(super) fn new(kind: &FaultKind, cx: &InjectorContext) -> Result<CommandFault, String> {
        let FaultKind::Command { run, undo, timeout, proof, run_text, undo_text } = kind.clone() else {
            return Err(format!("{} is no command", kind.word()));
        };
        Ok(CommandFault {
            run,
            undo,
            timeout,
            rule: proof,
            run_text,
            undo_text,
            dir: cx.dir.clone(),
            clock: cx.clock,
            stop: cx.stop.clone(),
            ledger: cx.ledger.clone(),
            applied: None,
            undo_due: false,
            looks: Looks::default(),
        })
    }

    fn by_probe(&self, probe: &str, becomes_failing: bool) -> Proof {
        let (state, Looks { before, count, changed }) = (state(!becomes_failing), &self.looks);
        let level = ProofLevel::Acknowledged;
        if *before != Some(becomes_failing) {
            let evidence = format!("exit status 0, but probe {probe} was {state} before already");
            return Proof { level, touched: 0, evidence };
        }
        match (changed, self.applied) {
            (Some(at), Some(applied)) => {
                let after = show_measured(at.since(applied));
                let evidence = format!("probe {probe} was {state} {after} after exit status 0");
                Proof { level: ProofLevel::Effect, touched: 1, evidence }
            }
            _ => {
                let evidence = format!("exit status 0, but probe {probe} did not become {state} in {count} looks");
                Proof { level, touched: 0, evidence }
            }
        }
    }
}

fn state(passing: bool) -> &'static str {
    if passing { "passing" } else { "failing" }
}

impl Injector for CommandFault {
    fn prepare(&mut self) -> Result<(), String> {
        if self.dir.is_dir() { Ok(()) } else { Err(format!("the folder {} is not there", self.dir.display())) }
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        let undo = |run: &Vec<String>| Undo::Command {
            run: run.clone(),
            dir: self.dir.clone(),
            timeout_ms: self.timeout.as_millis() as u64,
        };
        self.undo_text.iter().map(undo).collect()
    }

    fn apply(&mut self, _targets: &[TargetRef]) -> Result<Offset, String> {
        self.undo_due = true;
        let watch = Watch { stop: Some(&self.stop), ledger: Some(&*self.ledger) };
        let ran = exec::run(&self.run, &self.dir, self.timeout, watch);
        ran.map_err(|e| format!("`{}` {e}", show_command(&self.run_text)))?;
        Ok(*self.applied.insert(self.clock.now()))
    }

    fn revert(&mut self) -> Result<(), String> {
        let (Some(undo), Some(text), true) = (&self.undo, &self.undo_text, self.undo_due) else { return Ok(()) };
        let watch = Watch { stop: None, ledger: Some(&*self.ledger) };
        let cure = |e| format!("undo `{0}` {e}; run it by hand in {1}", show_command(text), self.dir.display());
        exec::run(undo, &self.dir, self.timeout, watch).map_err(cure)?;
        self.undo_due = false;
        Ok(())
    }

    fn observe(&mut self, probe: &dyn Fn(&str) -> bool) -> bool {
        let ProofRule::Probe { probe: name, becomes_failing } = &self.rule else { return false };
        let passing = probe(name);
        if self.applied.is_none() {
            self.looks.before = Some(passing);
            return true;
        }
        self.looks.count += 1;
        if passing != *becomes_failing {
            self.looks.changed = Some(self.clock.now());
        }
        self.looks.changed.is_none()
    }

    fn residue(&self) -> Vec<String> {
        // Whether the undo worked is what its exit status said; `revert` has reported a failure already.
        Vec::new()
    }

    fn proof(&self) -> Proof {
        match &self.rule {
            _ if self.applied.is_none() => Proof::none("it did not come back with success"),
            ProofRule::Trust => {
                let evidence = "exit status 0; the author vouches for its effect".to_owned();
                Proof { level: ProofLevel::Trusted, touched: 1, evidence }
            }
            ProofRule::Probe { probe, becomes_failing } => self.by_probe(probe, *becomes_failing),
        }
    }

    fn mechanism(&self) -> String {
        format!("command: {}", show_command(&self.run_text))
    }
}
