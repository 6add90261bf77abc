//! `io-latency`, `io-error`, `disk-full` and `file-corrupt`: file calls of the hit replicas answered late, with an errno,
//! or with flipped bytes, by the FUSE view that each of them was started on.
//!
//! Owns what was put on which view, and the proof made of it. Leaves alone the views themselves
//! (`platform/volume/`): they are mounted before the first arrival and stand in every phase, so that a fault changes
//! nothing but the answers.

use std::sync::Arc;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use crate::clock::Clock;
use crate::plan::{IoMethod, IoScope};
use crate::platform::{Replicas, VolumeControl, VolumeEffect, VolumeEvidence, VolumeFault};
use crate::units::{Offset, show_duration};

/// One fault on the volumes of replicas: the effect and the scope say of which kind it is.
pub struct IoFault {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    effect: VolumeEffect,
    scope: IoScope,
    seed: u64,
    placed: Vec<Placed>,
}

/// The effect on one view. Stays after it was taken off, for its evidence.
struct Placed {
    replica: u16,
    view: Arc<dyn VolumeControl>,
    id: u64,
    on: bool,
}

impl IoFault {
    /// Nothing happens before `apply`. The seed decides which calls are hit when the scope's share is below 1.
    pub fn new(replicas: Arc<dyn Replicas>, clock: Clock, effect: VolumeEffect, scope: IoScope, seed: u64) -> IoFault {
        IoFault { replicas, clock, effect, scope, seed, placed: Vec::new() }
    }

    fn view_of(&self, replica: u16) -> Result<Arc<dyn VolumeControl>, String> {
        self.replicas.volume(replica).ok_or_else(|| {
            format!("replica {replica} does not run on a view of its volume: set `volume` in [platform.local] and use `{{volume}}` in its command")
        })
    }

    /// "50ms late", "with errno 5 (Input/output error)" or "with 1 byte of each file flipped".
    fn effect_text(&self) -> String {
        match self.effect {
            VolumeEffect::Delay(delay) => format!("{} late", show_duration(delay)),
            VolumeEffect::Errno(code) => {
                let text = std::io::Error::from_raw_os_error(code).to_string();
                let name = text.split(" (os error").next().unwrap_or_default();
                format!("with errno {code} ({name})")
            }
            VolumeEffect::Corrupt(1) => "with 1 byte of each file flipped".to_owned(),
            VolumeEffect::Corrupt(n) => format!("with {} bytes of each file flipped", thousands(u64::from(n))),
        }
    }

    /// "read or open of `*.bin`".
    fn scope_text(&self) -> String {
        let methods: Vec<&str> = self.scope.methods.iter().map(|m| word(*m)).collect();
        format!("{} of {}", methods.join(" or "), self.scope.path.as_deref().unwrap_or("any file"))
    }

    fn hit_replicas(&self) -> String {
        self.placed.iter().map(|p| p.replica.to_string()).collect::<Vec<_>>().join(", ")
    }

    fn evidence(&self) -> VolumeEvidence {
        self.placed.iter().map(|p| p.view.evidence(p.id)).fold(VolumeEvidence::default(), |a, b| VolumeEvidence {
            seen: a.seen + b.seen,
            hit: a.hit + b.hit,
            delayed_ns: a.delayed_ns + b.delayed_ns,
            flipped: a.flipped + b.flipped,
        })
    }
}

impl Injector for IoFault {
    fn prepare(&mut self) -> Result<(), String> {
        let replicas = self.replicas.list();
        if replicas.is_empty() {
            return Err("there is no replica whose volume could be hit".to_owned());
        }
        replicas.iter().try_for_each(|replica| self.view_of(replica.index).map(drop))
    }

    fn undo(&self, targets: &[TargetRef]) -> Vec<Undo> {
        let what =
            |t: &TargetRef| format!("{} answered {} on the volume of {t}", self.scope_text(), self.effect_text());
        targets.iter().map(|target| Undo::InProcess { what: what(target) }).collect()
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        for target in targets {
            let TargetRef::Replica { index, .. } = target else {
                return Err(format!("{target} has no volume: an IO fault hits replicas"));
            };
            let view = self.view_of(*index)?;
            let seed = match self.effect {
                // It is one volume: all see the same damage.
                VolumeEffect::Corrupt(_) => self.seed,
                // Each replica has draws of its own; neighbouring seeds give unrelated streams (see `rng`).
                _ => self.seed.wrapping_add(u64::from(*index)),
            };
            let id = view.add(VolumeFault { scope: self.scope.clone(), effect: self.effect, seed });
            self.placed.push(Placed { replica: *index, view, id, on: true });
        }
        Ok(self.clock.now())
    }

    fn revert(&mut self) -> Result<(), String> {
        for placed in self.placed.iter_mut().filter(|p| p.on) {
            // False means that it is gone already, as after an unmounting: nothing is left to put back.
            placed.view.remove(placed.id);
            placed.on = false;
        }
        Ok(())
    }

    fn residue(&self) -> Vec<String> {
        let left = self.placed.iter().filter(|p| p.on && p.view.active() > 0);
        left.map(|p| format!("{} is still answered {} on replica {}", self.scope_text(), self.effect_text(), p.replica))
            .collect()
    }

    fn proof(&self) -> Proof {
        if self.placed.is_empty() {
            return Proof::none("not applied");
        }
        let e = self.evidence();
        let on = self.hit_replicas();
        if e.seen == 0 {
            return Proof::none(format!("no {} came by on replica {on} while the fault was on", self.scope_text()));
        }
        let (hit, seen) = (calls(e.hit), thousands(e.seen));
        let share = self.scope.share.get() * 100.0;
        if e.hit == 0 && matches!(self.effect, VolumeEffect::Corrupt(_)) {
            return Proof::none(format!("none of {} in scope met a flipped byte on replica {on}", calls(e.seen)));
        }
        if e.hit == 0 {
            return Proof::none(format!(
                "none of {} in scope was hit on replica {on} (share {share} %)",
                calls(e.seen)
            ));
        }
        let told = format!("{hit} of {seen} in scope answered {}", self.effect_text());
        let evidence = match self.effect {
            VolumeEffect::Delay(_) if e.delayed_ns == 0 => {
                return Proof::none(format!(
                    "{hit} of {seen} in scope came by on replica {on}, and none was held back"
                ));
            }
            VolumeEffect::Delay(_) => format!("{told}, {:.1} s in total, on replica {on}", e.delayed_ns as f64 / 1e9),
            VolumeEffect::Errno(_) => format!("{told}, on replica {on}"),
            VolumeEffect::Corrupt(_) => {
                format!("{hit} of {seen} in scope brought {} flipped bytes, on replica {on}", thousands(e.flipped))
            }
        };
        Proof { level: ProofLevel::Effect, touched: e.hit, evidence }
    }

    fn mechanism(&self) -> String {
        "FUSE view of the volume".to_owned()
    }
}

fn word(method: IoMethod) -> &'static str {
    match method {
        IoMethod::Open => "open",
        IoMethod::Read => "read",
        IoMethod::Getattr => "getattr",
        IoMethod::Readdir => "readdir",
        IoMethod::Lookup => "lookup",
        IoMethod::Write => "write",
    }
}

fn calls(n: u64) -> String {
    format!("{} call{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// 1020 as `1,020`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::platform::{Deed, Instance, Kill, LinkControl, PlatformEvent, ReplicaView};
    use crate::units::Ratio;

    /// A view that counts what it is told.
    #[derive(Default)]
    struct Volume {
        on: Mutex<Vec<(u64, VolumeFault)>>,
        evidence: Mutex<VolumeEvidence>,
    }

    impl VolumeControl for Volume {
        fn add(&self, fault: VolumeFault) -> u64 {
            let mut on = self.on.lock().unwrap();
            let id = on.len() as u64 + 1;
            on.push((id, fault));
            id
        }

        fn remove(&self, id: u64) -> bool {
            let mut on = self.on.lock().unwrap();
            let before = on.len();
            on.retain(|(i, _)| *i != id);
            on.len() < before
        }

        fn evidence(&self, _: u64) -> VolumeEvidence {
            *self.evidence.lock().unwrap()
        }

        fn active(&self) -> usize {
            self.on.lock().unwrap().len()
        }
    }

    /// Replicas 0 and 1 have a view each, 2 has none.
    #[derive(Default)]
    struct Platform {
        views: [Arc<Volume>; 2],
        all: bool,
    }

    impl Replicas for Platform {
        fn word(&self) -> &'static str {
            "local"
        }

        fn how(&self, _: Deed) -> Result<String, String> {
            Err("not here".into())
        }

        fn is_gone(&self, _: &Instance) -> bool {
            false
        }

        fn is_paused(&self, _: &Instance) -> bool {
            false
        }

        fn list(&self) -> Vec<ReplicaView> {
            let count = if self.all { 3 } else { 2 };
            (0..count).map(|index| ReplicaView { index, instance: None, ready: true, starts: 1 }).collect()
        }

        fn kill(&self, _: u16, _: Kill) -> Result<(Instance, Offset), String> {
            Err("not here".into())
        }

        fn hold_down(&self, _: u16) -> Result<(Instance, Offset), String> {
            Err("not here".into())
        }

        fn release(&self, _: u16) -> Result<(), String> {
            Err("not here".into())
        }

        fn pause(&self, _: u16) -> Result<(Instance, Offset), String> {
            Err("not here".into())
        }

        fn resume(&self, _: u16) -> Result<(), String> {
            Err("not here".into())
        }

        fn link(&self, _: Option<&str>) -> Option<Arc<dyn LinkControl>> {
            None
        }

        fn volume(&self, replica: u16) -> Option<Arc<dyn VolumeControl>> {
            self.views.get(usize::from(replica)).map(|v| v.clone() as Arc<dyn VolumeControl>)
        }

        fn events(&self) -> Vec<PlatformEvent> {
            Vec::new()
        }
    }

    fn fault(platform: Arc<Platform>, effect: VolumeEffect) -> IoFault {
        let share = Ratio::new(0.5).unwrap();
        let scope = IoScope { path: Some("*.bin".into()), methods: vec![IoMethod::Read], share };
        IoFault::new(platform, Clock::starting_in(Duration::ZERO), effect, scope, 9)
    }

    fn replica(index: u16) -> TargetRef {
        TargetRef::Replica { index, instance: None }
    }

    const LATE: VolumeEffect = VolumeEffect::Delay(Duration::from_millis(50));

    #[test]
    fn it_is_put_on_the_chosen_replicas_and_taken_off_once() {
        let platform = Arc::new(Platform::default());
        let mut io = fault(platform.clone(), LATE);
        io.prepare().unwrap();
        assert_eq!(
            io.undo(&[replica(1)]),
            [Undo::InProcess { what: "read of *.bin answered 50ms late on the volume of replica 1".into() }]
        );
        io.apply(&[replica(0), replica(1)]).unwrap();
        let seed = |view: &Volume| view.on.lock().unwrap()[0].1.seed;
        assert_ne!(seed(&platform.views[0]), seed(&platform.views[1]));
        assert_eq!(io.residue().len(), 2);
        io.revert().unwrap();
        io.revert().unwrap();
        assert_eq!((io.residue(), platform.views[0].active() + platform.views[1].active()), (vec![], 0));
    }

    #[test]
    fn a_failing_apply_leaves_what_revert_takes_off() {
        let platform = Arc::new(Platform { all: true, ..Platform::default() });
        let mut io = fault(platform.clone(), LATE);
        assert!(io.prepare().unwrap_err().contains("replica 2"));
        assert!(io.apply(&[replica(0), replica(2)]).unwrap_err().contains("replica 2"));
        assert!(io.apply(&[TargetRef::Dependency("registry".into())]).is_err());
        assert_eq!(platform.views[0].active(), 1);
        io.revert().unwrap();
        assert_eq!(platform.views[0].active(), 0);
    }

    #[test]
    fn only_what_was_hit_is_proven() {
        let platform = Arc::new(Platform::default());
        let told = |effect, applied: bool, seen, hit, delayed_ns| {
            let mut io = fault(platform.clone(), effect);
            if applied {
                io.apply(&[replica(0), replica(1)]).unwrap();
            }
            *platform.views[0].evidence.lock().unwrap() = VolumeEvidence { seen, hit, delayed_ns, flipped: 3 * hit };
            io.revert().unwrap();
            let proof = io.proof();
            (proof.proven(), proof.touched, proof.evidence)
        };
        for (effect, applied, seen, hit, ns, expected) in [
            (LATE, false, 9, 9, 9, (false, 0, "not applied")),
            (LATE, true, 0, 0, 0, (false, 0, "no read of *.bin came by on replica 0, 1 while the fault was on")),
            (LATE, true, 7, 0, 0, (false, 0, "none of 7 calls in scope was hit on replica 0, 1 (share 50 %)")),
            (LATE, true, 7, 3, 0, (false, 0, "3 calls of 7 in scope came by on replica 0, 1, and none was held back")),
            (
                LATE,
                true,
                1020,
                412,
                20_600_000_000,
                (true, 412, "412 calls of 1,020 in scope answered 50ms late, 20.6 s in total, on replica 0, 1"),
            ),
            (
                VolumeEffect::Corrupt(3),
                true,
                7,
                0,
                0,
                (false, 0, "none of 7 calls in scope met a flipped byte on replica 0, 1"),
            ),
            (
                VolumeEffect::Corrupt(3),
                true,
                7,
                2,
                0,
                (true, 2, "2 calls of 7 in scope brought 6 flipped bytes, on replica 0, 1"),
            ),
            (
                VolumeEffect::Errno(5),
                true,
                2,
                1,
                0,
                (true, 1, "1 call of 2 in scope answered with errno 5 (Input/output error), on replica 0, 1"),
            ),
        ] {
            let (proven, touched, text) = told(effect, applied, seen, hit, ns);
            assert_eq!((proven, touched, text.as_str()), expected);
        }
    }
}
