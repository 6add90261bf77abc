//! `command` and `http`: a command or a request of the author's breaks something, another one puts it back.
//!
//! In force once `run` came back with success (exit status 0, an expected status). Proven by a probe that changes while the fault is on, or by the
//! author's word. What the commands print is kept for error messages only.

use std::path::PathBuf;
use std::sync::Arc;

use super::InjectorContext;
use super::by_probe::ByRule;
use super::exec::Watch;
use super::hook::{Deed, Purpose};
use super::injector::{Injector, Proof, TargetRef, Undo};
use super::stop::StopSignal;
use crate::clock::Clock;
use crate::plan::Hook;
use crate::platform::Ledger;
use crate::units::Offset;

pub(super) struct CommandFault {
    hook: Hook<Deed>,
    rule: ByRule,
    dir: PathBuf,
    clock: Clock,
    stop: StopSignal,
    ledger: Arc<dyn Ledger>,
    applied: Option<Offset>,
    /// `run` was started, and `undo` has not yet come back with success.
    undo_due: bool,
}

impl CommandFault {
    pub(super) fn new(hook: Hook<Deed>, cx: &InjectorContext) -> CommandFault {
        CommandFault {
            rule: ByRule::new(hook.proof.clone(), cx.clock),
            hook,
            dir: cx.dir.clone(),
            clock: cx.clock,
            stop: cx.stop.clone(),
            ledger: cx.ledger.clone(),
            applied: None,
            undo_due: false,
        }
    }
}

impl Injector for CommandFault {
    fn prepare(&mut self) -> Result<(), String> {
        if !self.dir.is_dir() {
            return Err(format!("the folder {} is not there", self.dir.display()));
        }
        self.hook.run.look(&self.dir).map_err(|e| format!("run: {e}"))?;
        // Found out now, not when something is broken already.
        self.hook.undo.as_ref().map_or(Ok(()), |undo| undo.look(&self.dir)).map_err(|e| format!("undo: {e}"))
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
        self.rule.look(self.applied.is_some(), probe)
    }

    fn residue(&self) -> Vec<String> {
        // Whether the undo worked is what its exit status said; `revert` has reported a failure already.
        Vec::new()
    }

    fn proof(&self) -> Proof {
        match self.applied {
            Some(at) => self.rule.proof(at, self.hook.run.success()),
            None => Proof::none("it did not come back with success"),
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
