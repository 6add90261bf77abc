//! `pod-kill`: a replica's process group is killed; its supervisor starts it anew.
//!
//! One-shot: nothing is put back. Proven when the victim is gone, and told in full when another process answers in
//! its place.

use std::sync::Arc;
use std::time::Duration;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::select::replica_of;
use crate::clock::Clock;
use crate::platform::process::ProcessId;
use crate::platform::{PlatformEvent, PlatformEventKind, Replicas};
use crate::units::{Offset, show_duration, show_measured};

/// Victims that are told one by one in the evidence.
const TOLD: usize = 8;

pub(super) struct PodKill {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    grace: Option<Duration>,
    killed: Vec<Killed>,
    failed: Vec<String>,
}

struct Killed {
    replica: u16,
    process: ProcessId,
    at: Offset,
    gone_after: Duration,
}

impl PodKill {
    pub(super) fn new(replicas: Arc<dyn Replicas>, clock: Clock, grace: Option<Duration>) -> PodKill {
        PodKill { replicas, clock, grace, killed: Vec::new(), failed: Vec::new() }
    }

    fn kill(&self, replica: u16) -> Result<Killed, String> {
        let (process, at) = self.replicas.kill(replica, self.grace).map_err(|e| format!("replica {replica}: {e}"))?;
        Ok(Killed { replica, process, at, gone_after: self.clock.now().since(at) })
    }

    fn tell(&self, killed: &Killed) -> String {
        let Killed { replica, process, at, gone_after } = killed;
        let ready = self.ready_after(*replica, *at).map(|d| format!("ready again after {}", show_measured(d)));
        let views = self.replicas.list();
        let heir = views.iter().find(|r| r.index == *replica && r.ready && r.process.as_ref() != Some(process));
        let after = match (heir.and_then(|r| r.process.as_ref()), ready) {
            (Some(heir), ready) => format!("{}, as pid {}", ready.unwrap_or("ready again".to_owned()), heir.pid),
            (None, Some(ready)) => format!("{ready}, but not at the end of load"),
            (None, None) => "no other was ready in its place when load ended".to_owned(),
        };
        format!("replica {replica}: pid {} gone after {}, {after}", process.pid, show_measured(*gone_after))
    }

    fn ready_after(&self, replica: u16, at: Offset) -> Option<Duration> {
        let events = self.replicas.events();
        let ready = |e: &&PlatformEvent| e.replica == Some(replica) && e.kind == PlatformEventKind::Ready && e.at > at;
        events.iter().find(ready).map(|e| e.at.since(at))
    }
}

impl Injector for PodKill {
    fn prepare(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        Vec::new()
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let victims: Vec<u16> = targets.iter().filter_map(replica_of).collect();
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
        Ok(())
    }

    fn residue(&self) -> Vec<String> {
        Vec::new()
    }

    fn proof(&self) -> Proof {
        let gone: Vec<&Killed> = self.killed.iter().filter(|k| !k.process.is_alive()).collect();
        if gone.is_empty() {
            return Proof::none("no process is gone");
        }
        let told = gone.iter().take(TOLD).map(|k| self.tell(k)).chain(self.failed.iter().cloned());
        let evidence = told.collect::<Vec<_>>().join("; ");
        Proof { level: ProofLevel::Effect, touched: gone.len() as u64, evidence }
    }

    fn mechanism(&self) -> String {
        match self.grace {
            Some(grace) => format!("SIGTERM to the process group, SIGKILL after {}", show_duration(grace)),
            None => "SIGKILL to the process group".to_owned(),
        }
    }
}
