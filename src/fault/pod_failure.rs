//! `pod-failure`: a replica is killed and kept down for the time.
//!
//! Proven when its process is gone and it was not ready at any look in that time.

use std::sync::Arc;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::select::replica_of;
use crate::clock::Clock;
use crate::platform::{Deed, Instance, ReplicaView, Replicas};
use crate::units::{Offset, show_measured};

pub(super) struct PodFailure {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    down: Vec<Down>,
    /// Held, or half-held, and not released.
    held: Vec<u16>,
    released_at: Option<Offset>,
}

struct Down {
    replica: u16,
    instance: Instance,
    at: Offset,
    looks: u64,
    ready: u64,
}

impl PodFailure {
    pub(super) fn new(replicas: Arc<dyn Replicas>, clock: Clock) -> PodFailure {
        PodFailure { replicas, clock, down: Vec::new(), held: Vec::new(), released_at: None }
    }

    fn look(&mut self) {
        let views = self.replicas.list();
        for down in &mut self.down {
            down.looks += 1;
            // The list may lag a little behind the death of the process that it names.
            let lives = |r: &ReplicaView| r.ready && r.instance.as_ref().is_some_and(|i| !self.replicas.is_gone(i));
            down.ready += u64::from(views.iter().any(|r| r.index == down.replica && lives(r)));
        }
    }
}

impl Injector for PodFailure {
    fn prepare(&mut self) -> Result<(), String> {
        self.replicas.how(Deed::HoldDown).map(drop)
    }

    fn undo(&self, targets: &[TargetRef]) -> Vec<Undo> {
        match self.replicas.restore(Deed::HoldDown) {
            Some(restore) => vec![Undo::Deployment { restore }],
            None => targets.iter().map(Undo::release).collect(),
        }
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        for replica in targets.iter().filter_map(replica_of) {
            self.held.push(replica);
            let (instance, at) = self.replicas.hold_down(replica).map_err(|e| format!("replica {replica}: {e}"))?;
            self.down.push(Down { replica, instance, at, looks: 0, ready: 0 });
        }
        self.down.iter().map(|d| d.at).min().ok_or_else(|| "it acts on replicas".to_owned())
    }

    fn revert(&mut self) -> Result<(), String> {
        if !self.held.is_empty() {
            self.look();
            self.released_at.get_or_insert(self.clock.now());
        }
        let mut problems = Vec::new();
        self.held.retain(|replica| match self.replicas.release(*replica) {
            Ok(()) => false,
            Err(e) => {
                problems.push(format!("replica {replica} could not be started again: {e}"));
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
        self.held.iter().map(|replica| format!("replica {replica} is still kept down")).collect()
    }

    fn proof(&self) -> Proof {
        let was_down = |d: &&Down| self.replicas.is_gone(&d.instance) && d.looks > 0 && d.ready == 0;
        let end = self.released_at.unwrap_or_else(|| self.clock.now());
        let tell = |d: &Down| {
            let time = show_measured(end.since(d.at));
            let (replica, instance, looks) = (d.replica, &d.instance, d.looks);
            format!("replica {replica}: {instance} gone, ready in {} of {looks} looks over {time}", d.ready)
        };
        let evidence = self.down.iter().map(tell).collect::<Vec<_>>().join("; ");
        let touched = self.down.iter().filter(was_down).count();
        let level = if touched > 0 && touched == self.down.len() { ProofLevel::Effect } else { ProofLevel::None };
        Proof { level, touched: touched as u64, evidence }
    }

    fn mechanism(&self) -> String {
        self.replicas.how(Deed::HoldDown).unwrap_or_default()
    }
}
