//! `memory-stress`: a process beside each hit replica holds memory, in the replica's control group where it has one.
//!
//! Should memory run out after all, that process is the kernel's first victim, not the replica. What would take more than
//! four fifths of the memory that is left is refused. Proven by the memory that the kernel says the process holds.

use std::sync::Arc;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::stress::{Beside, Burners, Task};
use crate::clock::Clock;
use crate::plan::FaultTarget;
use crate::platform::process::ProcessId;
use crate::platform::{Instance, Replicas, cgroup};
use crate::units::{Offset, show_bytes};

/// Of the memory that is left, at most this percentage is taken.
const MOST_PERCENT: u64 = 80;

pub(super) struct MemoryStress {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    bytes: u64,
    target: FaultTarget,
    burners: Burners,
    applied: bool,
}

impl MemoryStress {
    pub(super) fn new(
        replicas: Arc<dyn Replicas>,
        clock: Clock,
        bytes: u64,
        target: &FaultTarget,
        burners: Burners,
    ) -> MemoryStress {
        MemoryStress { replicas, clock, bytes, target: target.clone(), burners, applied: false }
    }

    /// There is room beside each of these, and for all of them together.
    fn room(&self, beside: &[Option<ProcessId>], count: usize) -> Result<(), String> {
        for process in beside {
            fits(self.bytes, count, cgroup::memory_left(process.as_ref())?)?;
        }
        Ok(())
    }
}

fn fits(bytes: u64, count: usize, left: u64) -> Result<(), String> {
    let most = left / 100 * MOST_PERCENT;
    let wanted = bytes.saturating_mul(count as u64);
    if wanted <= most {
        return Ok(());
    }
    Err(format!(
        "{} of memory for {count} replica{} is more than {MOST_PERCENT} % of the {} that are left: write a size of at most {}",
        show_bytes(wanted),
        if count == 1 { "" } else { "s" },
        show_bytes(left),
        show_bytes(most / count.max(1) as u64),
    ))
}

impl Injector for MemoryStress {
    fn prepare(&mut self) -> Result<(), String> {
        let replicas = self.replicas.list();
        if let Some(elsewhere) = replicas.iter().find(|r| self.replicas.cpus(r.index).is_none()) {
            return Err(format!("replica {} does not run in memory of this machine", elsewhere.index));
        }
        let count = match self.target {
            FaultTarget::Replicas(mode) => mode.count(replicas.len()),
            _ => 1,
        };
        let processes: Vec<_> = replicas.iter().map(|r| process_of(r.instance.as_ref())).collect();
        self.room(&processes, count)
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        vec![self.burners.undo()]
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let (mut beside, mut processes) = (Vec::new(), Vec::new());
        for target in targets {
            let TargetRef::Replica { index, instance } = target else {
                return Err(format!("{target} has no memory: it acts on replicas"));
            };
            processes.push(process_of(instance.as_ref()));
            beside.push((*index, instance.as_ref(), self.replicas.cpus(*index).unwrap_or_default()));
        }
        // Again: other faults may have taken some since.
        self.room(&processes, targets.len())?;
        let places: Vec<Beside<'_>> = beside
            .iter()
            .map(|(replica, instance, cpus)| Beside { replica: *replica, instance: *instance, cpus })
            .collect();
        self.burners.start(Task::Memory(self.bytes), &places)?;
        self.applied = true;
        Ok(self.clock.now())
    }

    fn revert(&mut self) -> Result<(), String> {
        self.burners.look();
        self.burners.end()
    }

    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        self.burners.look();
        true
    }

    fn residue(&self) -> Vec<String> {
        self.burners.residue()
    }

    fn proof(&self) -> Proof {
        if !self.applied {
            return Proof::none("not applied");
        }
        let held: Vec<(u16, i32, u64)> =
            self.burners.all.iter().map(|b| (b.replica, b.process.pid, b.resident)).collect();
        judge(&held, self.bytes)
    }

    fn mechanism(&self) -> String {
        format!("a process beside each replica holds {}", show_bytes(self.bytes))
    }
}

fn process_of(instance: Option<&Instance>) -> Option<ProcessId> {
    instance.and_then(Instance::process).cloned()
}

/// Replica, pid and what it was seen to hold.
fn judge(held: &[(u16, i32, u64)], wanted: u64) -> Proof {
    let tell = |(replica, pid, bytes): &(u16, i32, u64)| {
        format!("replica {replica}: pid {pid} beside it held {} in RAM, of {}", show_bytes(*bytes), show_bytes(wanted))
    };
    let evidence = held.iter().map(tell).collect::<Vec<_>>().join("; ");
    let reached = held.iter().filter(|(_, _, bytes)| *bytes >= wanted).count();
    let all = reached > 0 && reached == held.len();
    Proof { level: if all { ProofLevel::Effect } else { ProofLevel::None }, touched: reached as u64, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_must_hold_it() {
        assert_eq!(fits(400, 2, 1_000), Ok(()));
        let why = fits(256 << 20, 3, 512 << 20).unwrap_err();
        assert!(why.starts_with("768MiB of memory for 3 replicas is more than 80 % of the 512MiB"), "{why}");
        assert!(why.ends_with("a size of at most 136.5MiB"), "{why}");
        assert!(fits(u64::MAX, 64, u64::MAX).is_err());
    }

    #[test]
    fn every_one_must_have_reached_it() {
        let proof = judge(&[(0, 70, 300 << 20), (2, 71, 256 << 20)], 256 << 20);
        assert!(proof.proven() && proof.touched == 2, "{proof:?}");
        assert!(proof.evidence.starts_with("replica 0: pid 70 beside it held 300MiB in RAM, of 256MiB;"), "{proof:?}");
        let proof = judge(&[(0, 70, 300 << 20), (2, 71, 255 << 20)], 256 << 20);
        assert_eq!((proof.proven(), proof.touched), (false, 1));
        assert!(!judge(&[], 1).proven());
    }
}
