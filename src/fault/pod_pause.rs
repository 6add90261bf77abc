//! `pod-pause`: a replica is frozen for the time; connections to it hang.
//!
//! Proven when the platform shows it as frozen: locally the kernel, by the process's state `T`.

use std::sync::Arc;
use std::time::Duration;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::select::replica_of;
use crate::clock;
use crate::platform::{Deed, Instance, Replicas};
use crate::units::Offset;

/// How long SIGCONT may take to show.
const RESUME_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct PodPause {
    replicas: Arc<dyn Replicas>,
    paused: Vec<Paused>,
    /// Stopped, or half-stopped, and not resumed.
    held: Vec<u16>,
}

struct Paused {
    replica: u16,
    instance: Instance,
    looks: u64,
    stopped: u64,
}

impl PodPause {
    pub(super) fn new(replicas: Arc<dyn Replicas>) -> PodPause {
        PodPause { replicas, paused: Vec::new(), held: Vec::new() }
    }

    fn look(&mut self) {
        for paused in &mut self.paused {
            paused.looks += 1;
            paused.stopped += u64::from(self.replicas.is_paused(&paused.instance));
        }
    }
}

impl Injector for PodPause {
    fn prepare(&mut self) -> Result<(), String> {
        self.replicas.how(Deed::Pause).map(drop)
    }

    fn undo(&self, targets: &[TargetRef]) -> Vec<Undo> {
        targets.iter().map(Undo::resume).collect()
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let mut first = None;
        for replica in targets.iter().filter_map(replica_of) {
            self.held.push(replica);
            let (instance, at) = self.replicas.pause(replica).map_err(|e| format!("replica {replica}: {e}"))?;
            self.paused.push(Paused { replica, instance, looks: 0, stopped: 0 });
            first.get_or_insert(at);
        }
        first.ok_or_else(|| "it acts on replicas".to_owned())
    }

    fn revert(&mut self) -> Result<(), String> {
        if !self.held.is_empty() {
            self.look();
        }
        let mut problems = Vec::new();
        self.held.retain(|replica| match self.replicas.resume(*replica) {
            Ok(()) => false,
            Err(e) => {
                problems.push(format!("replica {replica} could not be resumed: {e}"));
                true
            }
        });
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        self.look();
        true
    }

    fn residue(&self) -> Vec<String> {
        let give_up = clock::monotonic_nanos() + RESUME_TIMEOUT.as_nanos() as u64;
        let stopped = |p: &&Paused| self.replicas.is_paused(&p.instance);
        while self.paused.iter().any(|p| stopped(&p)) && clock::monotonic_nanos() < give_up {
            clock::sleep(Duration::from_millis(2));
        }
        let cure = |p: &Paused| {
            let by_hand = match &p.instance {
                Instance::Process(process) => format!("kill -CONT -- -{}", process.pid),
                Instance::Container { host, name, .. } => format!("docker -H {host} unpause {name}"),
                Instance::Pod { .. } => "let its node go on".to_owned(),
            };
            format!("replica {} is still stopped; resume it: {by_hand}", p.replica)
        };
        self.paused.iter().filter(stopped).map(cure).collect()
    }

    fn proof(&self) -> Proof {
        let tell = |p: &Paused| {
            let Paused { replica, instance, stopped, looks } = p;
            format!("replica {replica}: {instance} frozen in {stopped} of {looks} looks")
        };
        let evidence = self.paused.iter().map(tell).collect::<Vec<_>>().join("; ");
        // Half, because the kernel takes a moment to show it, and a restarted victim is not stopped.
        let was_stopped = |p: &&Paused| p.stopped > 0 && p.stopped * 2 >= p.looks;
        let touched = self.paused.iter().filter(was_stopped).count();
        let level = if touched > 0 && touched == self.paused.len() { ProofLevel::Effect } else { ProofLevel::None };
        Proof { level, touched: touched as u64, evidence }
    }

    fn mechanism(&self) -> String {
        self.replicas.how(Deed::Pause).unwrap_or_default()
    }
}
