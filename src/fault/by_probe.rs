//! Proof by the author's rule: a probe that changes while the fault is on, or their word.
//!
//! For faults whose effect this program cannot see itself (`command`, `http`) or that have a rule of their own.

use super::injector::{Proof, ProofLevel};
use crate::clock::Clock;
use crate::plan::ProofRule;
use crate::units::{Offset, show_measured};

/// What the probe of a rule showed so far.
pub(super) struct ByRule {
    rule: ProofRule,
    clock: Clock,
    /// Passing just before.
    before: Option<bool>,
    /// Looks since it was applied.
    count: u64,
    /// When it was first seen changed.
    changed: Option<Offset>,
}

impl ByRule {
    pub(super) fn new(rule: ProofRule, clock: Clock) -> ByRule {
        ByRule { rule, clock, before: None, count: 0, changed: None }
    }

    /// Asks once; `is_on` says whether the fault is. Returns whether to be called again.
    pub(super) fn look(&mut self, is_on: bool, probe: &dyn Fn(&str) -> bool) -> bool {
        let ProofRule::Probe { probe: name, becomes_failing } = &self.rule else { return false };
        let passing = probe(name);
        if !is_on {
            self.before = Some(passing);
            return true;
        }
        self.count += 1;
        if passing != *becomes_failing {
            self.changed = Some(self.clock.now());
        }
        self.changed.is_none()
    }

    /// The evidence of a fault in force since `applied`; `success` is what the tool answered.
    pub(super) fn proof(&self, applied: Offset, success: &str) -> Proof {
        let ProofRule::Probe { probe, becomes_failing } = &self.rule else {
            let evidence = format!("{success}; the author vouches for its effect");
            return Proof { level: ProofLevel::Trusted, touched: 1, evidence };
        };
        let (level, state, count) = (ProofLevel::Acknowledged, state(!becomes_failing), self.count);
        if self.before != Some(*becomes_failing) {
            let evidence = format!("{success}, but probe {probe} was {state} before already");
            return Proof { level, touched: 0, evidence };
        }
        match self.changed {
            Some(at) => {
                let after = show_measured(at.since(applied));
                let evidence = format!("probe {probe} was {state} {after} after {success}");
                Proof { level: ProofLevel::Effect, touched: 1, evidence }
            }
            None => {
                let evidence = format!("{success}, but probe {probe} did not become {state} in {count} looks");
                Proof { level, touched: 0, evidence }
            }
        }
    }
}

fn state(passing: bool) -> &'static str {
    if passing { "passing" } else { "failing" }
}
