//! `pod-kill`: a replica is killed; its platform starts it, or another in its place.
//!
//! One-shot: nothing is put back, but where it is us who starts it again, that is seen to at the end. Proven when the victim is gone, and told in full when another process answers in
//! its place.

use std::sync::Arc;
use std::time::Duration;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::select::replica_of;
use crate::clock::Clock;
use crate::platform::{Deed, Instance, Kill, PlatformEvent, PlatformEventKind, Replicas};
use crate::units::{Offset, show_measured};

/// Victims that are told one by one in the evidence.
const TOLD: usize = 8;

pub(super) struct PodKill {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    how: Kill,
    /// Whom it was told to kill.
    hit: Vec<u16>,
    killed: Vec<Killed>,
    failed: Vec<String>,
}

struct Killed {
    replica: u16,
    instance: Instance,
    at: Offset,
    gone_after: Duration,
}

impl PodKill {
    pub(super) fn new(replicas: Arc<dyn Replicas>, clock: Clock, how: Kill) -> PodKill {
        PodKill { replicas, clock, how, hit: Vec::new(), killed: Vec::new(), failed: Vec::new() }
    }

    fn kill(&self, replica: u16) -> Result<Killed, String> {
        let (instance, at) = self.replicas.kill(replica, self.how).map_err(|e| format!("replica {replica}: {e}"))?;
        Ok(Killed { replica, instance, at, gone_after: self.clock.now().since(at) })
    }

    fn tell(&self, killed: &Killed) -> String {
        let Killed { replica, instance, at, gone_after } = killed;
        if let Some(told) = self.replicas.became(instance, *at) {
            return format!("replica {replica}: {told}");
        }
        let ready = self.ready_after(*replica, *at).map(|d| format!("ready again after {}", show_measured(d)));
        let views = self.replicas.list();
        let heir = views.iter().find(|r| r.index == *replica && r.ready && r.instance.as_ref() != Some(instance));
        let after = match (heir.and_then(|r| r.instance.as_ref()), ready) {
            (Some(heir), ready) => format!("{}, as {heir}", ready.unwrap_or("ready again".to_owned())),
            (None, Some(ready)) => format!("{ready}, but not at the end of load"),
            (None, None) => "no other was ready in its place when load ended".to_owned(),
        };
        format!("replica {replica}: {instance} gone after {}, {after}", show_measured(*gone_after))
    }

    /// It is gone, or, where going takes its time, out of rotation.
    fn took_effect(&self, killed: &Killed) -> bool {
        let instance = Some(&killed.instance);
        let serves = || self.replicas.list().iter().any(|r| r.ready && r.instance.as_ref() == instance);
        self.replicas.is_gone(&killed.instance)
            || self.replicas.became(&killed.instance, killed.at).is_some() && !serves()
    }

    fn ready_after(&self, replica: u16, at: Offset) -> Option<Duration> {
        let events = self.replicas.events();
        let ready = |e: &&PlatformEvent| e.replica == Some(replica) && e.kind == PlatformEventKind::Ready && e.at > at;
        events.iter().find(ready).map(|e| e.at.since(at))
    }
}

impl Injector for PodKill {
    fn prepare(&mut self) -> Result<(), String> {
        self.replicas.how(Deed::Kill(self.how)).map(drop)
    }

    fn undo(&self, targets: &[TargetRef]) -> Vec<Undo> {
        targets.iter().filter_map(Undo::restart).collect()
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let victims: Vec<u16> = targets.iter().filter_map(replica_of).collect();
        self.hit.extend(&victims);
        // At the same time: a grace of one must not delay the next.
        let results: Vec<Result<Killed, String>> = std::thread::scope(|scope| {
            let this = &*self;
            let kills: Vec<_> = victims.iter().map(|v| scope.spawn(move || this.kill(*v))).collect();
            kills.into_iter().map(|k| k.join().unwrap_or_else(|_| Err("the kill panicked".to_owned()))).collect()
        });
        for result in results {
            match result {
                Ok(killed) => self.killed.push(killed),
                Err(why) => self.failed.push(why),
            }
        }
        self.killed.iter().map(|k| k.at).min().ok_or_else(|| self.failed.join("; "))
    }

    fn revert(&mut self) -> Result<(), String> {
        let back = self.hit.iter().map(|r| self.replicas.release(*r).map_err(|e| format!("replica {r}: {e}")));
        let problems: Vec<String> = back.filter_map(Result::err).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    fn residue(&self) -> Vec<String> {
        Vec::new()
    }

    fn proof(&self) -> Proof {
        let gone: Vec<&Killed> = self.killed.iter().filter(|k| self.took_effect(k)).collect();
        if gone.is_empty() {
            return Proof::none("none is gone");
        }
        let told = gone.iter().take(TOLD).map(|k| self.tell(k)).chain(self.failed.iter().cloned());
        let evidence = told.collect::<Vec<_>>().join("; ");
        // As of a fault that lasts: the effect is that on all whom it was told to hit.
        let (level, evidence) = if gone.len() == self.hit.len() {
            (ProofLevel::Effect, evidence)
        } else {
            (ProofLevel::None, format!("{} of {} gone; {evidence}", gone.len(), self.hit.len()))
        };
        Proof { level, touched: gone.len() as u64, evidence }
    }

    fn mechanism(&self) -> String {
        self.replicas.how(Deed::Kill(self.how)).unwrap_or_default()
    }
}
