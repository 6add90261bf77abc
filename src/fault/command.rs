//! `command` and `http`: a command or a request of the author's breaks something, another one puts it back.
//!
//! In force once `run` came back with success (exit status 0, an expected status). Proven by a probe that changes while the fault is on, or by the
//! author's word. What the commands print is kept for error messages only.

use std::path::PathBuf;
use std::sync::Arc;

use super::InjectorContext;
use super::exec::Watch;
use super::hook::{Deed, Purpose};
use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::stop::StopSignal;
use crate::clock::Clock;
use crate::plan::{Hook, ProofRule};
use crate::platform::Ledger;
use crate::units::{Offset, show_measured};

pub(super) struct CommandFault {
    hook: Hook<Deed>,
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
    pub(super) fn new(hook: Hook<Deed>, cx: &InjectorContext) -> CommandFault {
        CommandFault {
            hook,
            dir: cx.dir.clone(),
            clock: cx.clock,
            stop: cx.stop.clone(),
            ledger: cx.ledger.clone(),
            applied: None,
            undo_due: false,
            looks: Looks::default(),
        }
    }

    fn by_probe(&self, probe: &str, becomes_failing: bool) -> Proof {
        let (state, Looks { before, count, changed }) = (state(!becomes_failing), &self.looks);
        let (level, success) = (ProofLevel::Acknowledged, self.hook.run.success());
        if *before != Some(becomes_failing) {
            let evidence = format!("{success}, but probe {probe} was {state} before already");
            return Proof { level, touched: 0, evidence };
        }
        match (changed, self.applied) {
            (Some(at), Some(applied)) => {
                let after = show_measured(at.since(applied));
                let evidence = format!("probe {probe} was {state} {after} after {success}");
                Proof { level: ProofLevel::Effect, touched: 1, evidence }
            }
            _ => {
                let evidence = format!("{success}, but probe {probe} did not become {state} in {count} looks");
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
        self.hook.undo_text.iter().map(|deed| deed.step(&self.dir, self.hook.timeout)).collect()
    }

    fn apply(&mut self, _targets: &[TargetRef]) -> Result<Offset, String> {
        self.undo_due = true;
        let watch = Watch { stop: Some(&self.stop), ledger: Some(&*self.ledger) };
        let ran = self.hook.run.act(&self.dir, self.hook.timeout, watch, Purpose::Break);
        ran.map_err(|e| format!("`{}` {e}", self.hook.run_text.show()))?;
        Ok(*self.applied.insert(self.clock.now()))
    }

    fn revert(&mut self) -> Result<(), String> {
        let (Some(undo), Some(text), true) = (&self.hook.undo, &self.hook.undo_text, self.undo_due) else {
            return Ok(());
        };
        let watch = Watch { stop: None, ledger: Some(&*self.ledger) };
        let cure = |e| format!("undo `{}` {e}; {}", text.show(), text.by_hand(&self.dir));
        undo.act(&self.dir, self.hook.timeout, watch, Purpose::PutBack).map_err(cure)?;
        self.undo_due = false;
        Ok(())
    }

    fn observe(&mut self, probe: &dyn Fn(&str) -> bool) -> bool {
        let ProofRule::Probe { probe: name, becomes_failing } = &self.hook.proof else { return false };
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
        match &self.hook.proof {
            _ if self.applied.is_none() => Proof::none("it did not come back with success"),
            ProofRule::Trust => {
                let evidence = format!("{}; the author vouches for its effect", self.hook.run.success());
                Proof { level: ProofLevel::Trusted, touched: 1, evidence }
            }
            ProofRule::Probe { probe, becomes_failing } => self.by_probe(probe, *becomes_failing),
        }
    }

    fn mechanism(&self) -> String {
        let run = &self.hook.run_text;
        match run {
            Deed::Command(_) => format!("command: {}", run.show()),
            Deed::Request(_) => format!("request: {}", run.show()),
        }
    }
}
