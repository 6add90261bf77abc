//! `rolling-restart`: one replica after another is told to end; the next one's turn comes when the replacement is ready.
//!
//! Where the platform has a way of its own to replace all (a Deployment's rollout), that one is taken.
//! One-shot: nothing is put back, the platform starts each replica anew, at the end of load at the latest. The first one
//! is told by `apply`, the others
//! as `observe` goes along. Proven when every targeted replica was replaced by another process that became ready.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::select::replica_of;
use crate::clock::Clock;
use crate::platform::{Deed, Instance, Kill, Replicas};
use crate::units::{Offset, show_duration, show_measured};

/// Restarts that are told one by one in the evidence.
const TOLD: usize = 8;

pub(super) struct RollingRestart {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    how: Kill,
    pause: Duration,
    /// The platform's own way, all at once.
    rollout: bool,
    wanted: usize,
    waiting: VecDeque<u16>,
    /// Whom it was told to end, or tried to.
    hit: Vec<u16>,
    told: Vec<Told>,
    /// Why the one whose turn it is could not be told to end, the last time that was tried.
    problem: Option<String>,
}

/// A replica that was told to end.
struct Told {
    replica: u16,
    instance: Instance,
    at: Offset,
    heir: Option<Heir>,
}

#[derive(Clone)]
struct Heir {
    instance: Instance,
    seen_at: Offset,
}

impl RollingRestart {
    /// `of_all`: every replica is hit, so that the platform may do it in its own way.
    pub(super) fn new(
        replicas: Arc<dyn Replicas>,
        clock: Clock,
        how: Kill,
        pause: Duration,
        of_all: bool,
    ) -> RollingRestart {
        RollingRestart {
            rollout: of_all && replicas.how(Deed::RollOut).is_ok(),
            replicas,
            clock,
            how,
            pause,
            wanted: 0,
            waiting: VecDeque::new(),
            hit: Vec::new(),
            told: Vec::new(),
            problem: None,
        }
    }

    /// Tells the next one to end. One that is down at the moment keeps its turn.
    fn next(&mut self) {
        let Some(replica) = self.waiting.front().copied() else { return };
        // Before it is known what comes of it: an error, or no answer, may mean that it was carried out all the same.
        if !self.hit.contains(&replica) {
            self.hit.push(replica);
        }
        match self.replicas.kill(replica, self.how) {
            Ok((instance, at)) => {
                self.waiting.pop_front();
                self.problem = None;
                self.told.push(Told { replica, instance, at, heir: None });
            }
            Err(why) => self.problem = Some(format!("replica {replica}: {why}")),
        }
    }

    /// All of them, in the platform's own way.
    fn roll_out(&mut self) -> Result<Offset, String> {
        let views = self.replicas.list();
        self.hit.extend(&self.waiting);
        let at = self.replicas.roll_out()?;
        for replica in self.waiting.drain(..) {
            if let Some(instance) = views.iter().find(|v| v.index == replica).and_then(|v| v.instance.clone()) {
                self.told.push(Told { replica, instance, at, heir: None });
            }
        }
        Ok(at)
    }

    fn note_heirs(&mut self) {
        let heirs: Vec<Option<Heir>> = self.told.iter().map(|t| t.heir.clone().or_else(|| self.heir(t))).collect();
        for (told, heir) in self.told.iter_mut().zip(heirs) {
            told.heir = heir;
        }
    }

    /// The one that is ready in this one's place.
    fn heir(&self, told: &Told) -> Option<Heir> {
        let views = self.replicas.list();
        let view = views.iter().find(|r| r.index == told.replica && r.ready)?;
        let instance = view.instance.clone().filter(|i| *i != told.instance)?;
        Some(Heir { instance, seen_at: self.clock.now() })
    }

    fn tell(&self, told: &Told) -> String {
        let Told { replica, instance, at, .. } = told;
        match told.heir.clone().or_else(|| self.heir(told)) {
            Some(heir) => {
                let after = show_measured(heir.seen_at.since(*at));
                format!("replica {replica}: {instance} replaced by {}, ready after {after}", heir.instance)
            }
            None => format!("replica {replica}: no other was ready in place of {instance} when load ended"),
        }
    }
}

impl Injector for RollingRestart {
    fn prepare(&mut self) -> Result<(), String> {
        let deed = if self.rollout { Deed::RollOut } else { Deed::Kill(self.how) };
        self.replicas.how(deed).map(drop)
    }

    fn undo(&self, targets: &[TargetRef]) -> Vec<Undo> {
        targets.iter().filter_map(Undo::restart).collect()
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        self.waiting = targets.iter().filter_map(replica_of).collect();
        self.wanted = self.waiting.len();
        if self.rollout {
            return self.roll_out();
        }
        self.next();
        let problem = || self.problem.clone().unwrap_or_else(|| "there is no replica to restart".to_owned());
        self.told.first().map(|told| told.at).ok_or_else(problem)
    }

    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        if self.rollout {
            self.note_heirs();
            return self.told.iter().any(|t| t.heir.is_none());
        }
        let Some(last) = self.told.last() else { return false };
        match &last.heir {
            None => {
                let heir = self.heir(last);
                if let Some(last) = self.told.last_mut() {
                    last.heir = heir;
                }
            }
            Some(heir) if self.clock.now() >= heir.seen_at + self.pause => self.next(),
            Some(_) => {}
        }
        !self.waiting.is_empty() || self.told.last().is_some_and(|told| told.heir.is_none())
    }

    fn revert(&mut self) -> Result<(), String> {
        self.waiting.clear();
        let back = self.hit.iter().map(|r| (*r, self.replicas.release(*r)));
        let problems: Vec<String> = back.filter_map(|(r, b)| b.err().map(|e| format!("replica {r}: {e}"))).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    fn residue(&self) -> Vec<String> {
        Vec::new()
    }

    fn proof(&self) -> Proof {
        let replaced = self.told.iter().filter(|t| t.heir.is_some() || self.heir(t).is_some()).count();
        let wanted = self.wanted;
        let level = if replaced == wanted && wanted > 0 { ProofLevel::Effect } else { ProofLevel::None };
        let told = self.told.iter().take(TOLD).map(|t| self.tell(t)).chain(self.problem.clone());
        let evidence = format!("{replaced} of {wanted} restarted; {}", told.collect::<Vec<_>>().join("; "));
        Proof { level, touched: replaced as u64, evidence }
    }

    fn mechanism(&self) -> String {
        if self.rollout {
            return self.replicas.how(Deed::RollOut).unwrap_or_default();
        }
        let how = self.replicas.how(Deed::Kill(self.how)).unwrap_or_default();
        format!("one after another, {} between: {how}", show_duration(self.pause))
    }
}
