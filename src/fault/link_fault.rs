//! What all faults on a link have in common: put on, taken off, and what the link says it did.
//!
//! Each kind says in a file of its own which effect it is and what counts as evidence.

use std::sync::Arc;

use super::injector::{Injector, Proof, TargetRef, Undo};
use super::select::replica_of;
use crate::clock::Clock;
use crate::plan::{Direction, FaultTarget};
use crate::platform::{LinkControl, LinkEffect, LinkEvidence, LinkFault, Replicas};
use crate::units::Offset;

/// A fault on one link: the one in front of the replicas, or a dependency's.
pub(super) struct OnLink {
    pub(super) replicas: Arc<dyn Replicas>,
    pub(super) clock: Clock,
    pub(super) dependency: Option<String>,
    pub(super) effect: LinkEffect,
    pub(super) direction: Direction,
    /// How it is done, in words.
    pub(super) mechanism: String,
    /// What the link's counts prove.
    pub(super) judge: fn(&LinkEffect, &LinkEvidence) -> Proof,
    /// Every time it was put on.
    pub(super) put_on: Vec<PutOn>,
}

pub(super) struct PutOn {
    link: Arc<dyn LinkControl>,
    id: u64,
    on: bool,
}

/// The dependency that a fault is aimed at.
pub(super) fn dependency(target: &FaultTarget) -> Option<String> {
    match target {
        FaultTarget::Dependency(name) => Some(name.clone()),
        FaultTarget::Replicas(_) | FaultTarget::Replica(_) | FaultTarget::Outside | FaultTarget::Requests => None,
    }
}

impl OnLink {
    fn link(&self) -> Result<Arc<dyn LinkControl>, String> {
        let missing = || match &self.dependency {
            Some(name) => format!("dependency {name} has no link"),
            None => "there is no link in front of the replicas".to_owned(),
        };
        self.replicas.link(self.dependency.as_deref()).ok_or_else(missing)
    }
}

impl Injector for OnLink {
    fn prepare(&mut self) -> Result<(), String> {
        self.link().map(drop)
    }

    fn undo(&self, targets: &[TargetRef]) -> Vec<Undo> {
        targets.iter().map(|t| Undo::InProcess { what: format!("effect on the link of {t}") }).collect()
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let link = self.link()?;
        let replicas = self.dependency.is_none().then(|| targets.iter().filter_map(replica_of).collect());
        let id = link.add(LinkFault { replicas, effect: self.effect, direction: self.direction });
        let at = self.clock.now();
        self.put_on.push(PutOn { link, id, on: true });
        Ok(at)
    }

    fn revert(&mut self) -> Result<(), String> {
        for put_on in self.put_on.iter_mut().filter(|p| p.on) {
            put_on.link.remove(put_on.id);
            put_on.on = false;
        }
        Ok(())
    }

    fn residue(&self) -> Vec<String> {
        // Taking it off once more tells whether it was still there.
        let still_on = |p: &&PutOn| p.on || p.link.remove(p.id);
        self.put_on.iter().filter(still_on).map(|_| format!("{} was still on", self.mechanism)).collect()
    }

    fn proof(&self) -> Proof {
        let evidence = self.put_on.iter().map(|p| p.link.evidence(p.id));
        let sum = evidence.fold(LinkEvidence::default(), |a, b| LinkEvidence {
            connections: a.connections + b.connections,
            bytes: a.bytes + b.bytes,
            chunks: a.chunks + b.chunks,
            held_ns: a.held_ns + b.held_ns,
            resets: a.resets + b.resets,
        });
        (self.judge)(&self.effect, &sum)
    }

    fn mechanism(&self) -> String {
        self.mechanism.clone()
    }
}

/// Which way, for mechanisms.
pub(super) fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::To => "requests",
        Direction::From => "answers",
        Direction::Both => "requests and answers",
    }
}
