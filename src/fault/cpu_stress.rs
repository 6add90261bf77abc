//! `cpu-stress`: processes beside each hit replica use up time of its CPUs, never of the load's own.
//!
//! Local replicas share their CPUs, so that all of them feel what is burnt beside one. Proven by the CPU time that
//! the kernel says was used: at least half of what was asked, as far as the CPUs can give it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::stress::{Beside, Burners, Task};
use crate::clock::Clock;
use crate::platform::Replicas;
use crate::units::{Offset, Ratio};

pub(super) struct CpuStress {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    workers: u16,
    load: Ratio,
    burners: Burners,
    /// CPUs that they run on.
    cpus: BTreeSet<usize>,
    applied: Option<Offset>,
    /// When they were looked at last.
    looked: Offset,
    ended: bool,
}

impl CpuStress {
    pub(super) fn new(
        replicas: Arc<dyn Replicas>,
        clock: Clock,
        workers: u16,
        load: Ratio,
        burners: Burners,
    ) -> CpuStress {
        let (cpus, looked) = (BTreeSet::new(), Offset::ZERO);
        CpuStress { replicas, clock, workers, load, burners, cpus, applied: None, looked, ended: false }
    }

    fn cpus_of(&self, replica: u16) -> Result<Vec<usize>, String> {
        match self.replicas.cpus(replica) {
            None => Err(format!("replica {replica} does not run on CPUs of this machine")),
            Some(none) if none.is_empty() => Err(format!(
                "replica {replica} has no CPU that the load does not use: what is burnt there would spoil the \
                 measurement; run it on a machine with two CPUs or more"
            )),
            Some(cpus) => Ok(cpus),
        }
    }

    fn look(&mut self) {
        self.burners.look();
        self.looked = self.clock.now();
    }
}

/// Half of what `burners` processes at this load can use in a time on so many CPUs, against what they used.
fn judge(used_s: f64, held_s: f64, burners: usize, load: Ratio, cpus: &BTreeSet<usize>, whom: &str) -> Proof {
    let asked_s = (burners as f64 * load.get()).min(cpus.len() as f64) * held_s;
    let list = cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let processes = if burners == 1 { "1 process".to_owned() } else { format!("{burners} processes") };
    let told = format!(
        "{processes} beside {whom} used {used_s:.1} s of CPU {list} in {held_s:.1} s, of {asked_s:.1} s asked for"
    );
    if asked_s > 0.0 && used_s * 2.0 >= asked_s {
        Proof { level: ProofLevel::Effect, touched: burners as u64, evidence: told }
    } else {
        Proof::none(format!("{told}: less than half"))
    }
}

impl Injector for CpuStress {
    fn prepare(&mut self) -> Result<(), String> {
        let replicas = self.replicas.list();
        if replicas.is_empty() {
            return Err("there is no replica beside which CPU time could be used up".to_owned());
        }
        replicas.iter().try_for_each(|r| self.cpus_of(r.index).map(drop))
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        vec![self.burners.undo()]
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let mut places = Vec::new();
        for target in targets {
            let TargetRef::Replica { index, instance } = target else {
                return Err(format!("{target} has no CPUs: it acts on replicas"));
            };
            places.push((*index, instance.as_ref(), self.cpus_of(*index)?));
        }
        self.cpus = places.iter().flat_map(|(_, _, cpus)| cpus.iter().copied()).collect();
        let beside: Vec<Beside<'_>> = places
            .iter()
            .flat_map(|(replica, instance, cpus)| {
                (0..self.workers).map(|_| Beside { replica: *replica, instance: *instance, cpus })
            })
            .collect();
        self.burners.start(Task::Cpu(self.load.get()), &beside)?;
        Ok(*self.applied.insert(self.clock.now()))
    }

    fn revert(&mut self) -> Result<(), String> {
        if self.applied.is_some() && !self.ended {
            self.look();
            self.ended = true;
        }
        self.burners.end()
    }

    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        if self.applied.is_some() {
            self.look();
        }
        true
    }

    fn residue(&self) -> Vec<String> {
        self.burners.residue()
    }

    fn proof(&self) -> Proof {
        let Some(applied) = self.applied else { return Proof::none("not applied") };
        let used: f64 = self.burners.all.iter().map(|b| b.cpu.as_secs_f64()).sum();
        let held = self.looked.since(applied).as_secs_f64();
        judge(used, held, self.burners.all.len(), self.load, &self.cpus, &self.burners.replicas())
    }

    fn mechanism(&self) -> String {
        let each = (self.load.get() * 1000.0).round() / 10.0;
        let processes = if self.workers == 1 { "a process".to_owned() } else { format!("{} processes", self.workers) };
        format!("{processes} beside each replica, on its CPUs, {each} % of one each")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_was_asked_proves_it() {
        let load = Ratio::new(0.5).unwrap();
        let told = |used, burners, cpus: &[usize]| {
            judge(used, 4.0, burners, load, &cpus.iter().copied().collect(), "replica 0")
        };
        let proof = told(1.9, 1, &[1, 3]);
        assert!(proof.proven(), "{proof:?}");
        let expected = "1 process beside replica 0 used 1.9 s of CPU 1, 3 in 4.0 s, of 2.0 s asked for";
        assert_eq!(proof.evidence, expected);
        assert!(told(1.0, 1, &[1]).proven() && !told(0.9, 1, &[1]).proven());
        assert!(told(2.0, 8, &[1]).proven(), "no more than there is can be used");
        assert!(!told(2.0, 8, &[1, 2]).proven());
        assert!(!judge(0.0, 0.0, 1, load, &BTreeSet::from([1]), "replica 0").proven(), "never looked at");
    }
}
