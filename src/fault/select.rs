//! Which targets a fault hits: drawn from the seed among what is ready and free, within the safety limits.
//!
//! Owns the book of targets that are under a fault; leaves alone when it is asked (the runner).

use crate::plan::{FaultKind, FaultPlan, FaultTarget, Safety, Via};
use crate::platform::ReplicaView;
use crate::rng;
use crate::units::Seed;

use super::injector::TargetRef;

/// Who is under which fault. A replica stays in the book after its fault until it is ready again.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<Claim>);

#[derive(Debug)]
struct Claim {
    fault: usize,
    target: TargetRef,
    /// The fault took the instance away: only another one ends the claim.
    replaced: bool,
    /// The fault hits its targets one after another.
    one_by_one: bool,
    over: bool,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) targets: Vec<TargetRef>,
    /// How many the scenario asks for: more than there are in `targets` when not enough were free.
    pub(super) wanted: usize,
}

impl Claims {
    /// Draws the targets of a fault and enters them. The same candidates give the same choice.
    ///
    /// # Errors
    /// Why nothing may be hit (now).
    pub(super) fn choose(
        &mut self,
        fault: usize,
        plan: &FaultPlan,
        safety: &Safety,
        seed: Seed,
        replicas: &[ReplicaView],
    ) -> Result<Choice, String> {
        self.0.retain(|claim| !claim.has_ended(replicas));
        let choice = match &plan.target {
            FaultTarget::Outside => Choice { targets: vec![outside(plan)], wanted: 1 },
            FaultTarget::Requests => Choice { targets: vec![TargetRef::Requests], wanted: 1 },
            FaultTarget::Dependency(name) => self.dependency(name, plan)?,
            FaultTarget::Replica(index) => self.draw(1, plan, seed, replicas, |r| r.index == *index)?,
            FaultTarget::Replicas(mode) => self.draw(mode.count(replicas.len()), plan, seed, replicas, |_| true)?,
        };
        let one_by_one = plan.kind.one_by_one();
        self.within_limits(&choice.targets, one_by_one, safety, replicas)?;
        let replaced = one_by_one
            || match (&plan.kind, &plan.via) {
                // A container that ends is started again in the same pod.
                (FaultKind::PodKill { .. }, Via::ChaosMesh(more)) => more.container.is_none(),
                // Chaos Mesh swaps the images of the same pod.
                (FaultKind::PodFailure, Via::ChaosMesh(_)) => false,
                (kind, _) => matches!(kind, FaultKind::PodKill { .. } | FaultKind::PodFailure),
            };
        let claim = |target: &TargetRef| Claim { fault, target: target.clone(), replaced, one_by_one, over: false };
        self.0.extend(choice.targets.iter().map(claim));
        Ok(choice)
    }

    /// The fault is over; its targets are free once they are ready again.
    pub(super) fn over(&mut self, fault: usize) {
        self.0.iter_mut().filter(|c| c.fault == fault).for_each(|c| c.over = true);
    }

    /// The fault was not applied: its targets are free at once.
    pub(super) fn withdraw(&mut self, fault: usize) {
        self.0.retain(|c| c.fault != fault);
    }

    fn dependency(&self, name: &str, plan: &FaultPlan) -> Result<Choice, String> {
        let target = TargetRef::Dependency(name.to_owned());
        if !plan.overlap && self.0.iter().any(|c| c.target == target) {
            return Err(format!("dependency {name} is under another fault (overlap = true allows it)"));
        }
        Ok(Choice { targets: vec![target], wanted: 1 })
    }

    fn draw(
        &self,
        wanted: usize,
        plan: &FaultPlan,
        seed: Seed,
        replicas: &[ReplicaView],
        among: impl Fn(&ReplicaView) -> bool,
    ) -> Result<Choice, String> {
        let ready = replicas.iter().filter(|r| r.ready && r.instance.is_some() && among(r));
        let mut free: Vec<&ReplicaView> = ready.filter(|r| plan.overlap || !self.holds(r.index)).collect();
        if free.is_empty() {
            return Err("no replica to hit: none is ready and free of other faults".to_owned());
        }
        free.sort_by_key(|r| r.index);
        let mut rng = rng::stream(seed, &format!("fault:{}", plan.name));
        let mut chosen: Vec<&ReplicaView> = Vec::new();
        while chosen.len() < wanted && !free.is_empty() {
            chosen.push(free.remove(rng::below(&mut rng, free.len())));
        }
        chosen.sort_by_key(|r| r.index);
        Ok(Choice { targets: chosen.into_iter().map(target_of).collect(), wanted })
    }

    fn holds(&self, replica: u16) -> bool {
        self.0.iter().any(|c| replica_of(&c.target) == Some(replica))
    }

    fn within_limits(
        &self,
        new: &[TargetRef],
        one_by_one: bool,
        safety: &Safety,
        replicas: &[ReplicaView],
    ) -> Result<(), String> {
        if !new.iter().any(|t| replica_of(t).is_some()) {
            return Ok(());
        }
        let held = self.0.iter().filter(|c| !c.one_by_one).map(|c| &c.target);
        let together = new.iter().filter(|_| !one_by_one);
        let mut hit: Vec<u16> = held.chain(together).filter_map(replica_of).collect();
        hit.sort_unstable();
        hit.dedup();
        // A fault that goes from one to the next hits one, whichever that is.
        let mut in_turn: Vec<usize> = self.0.iter().filter(|c| c.one_by_one).map(|c| c.fault).collect();
        in_turn.dedup();
        let n = hit.len() + in_turn.len() + usize::from(one_by_one);
        let (most, rule) = safety.most(replicas.len());
        if n > most {
            return Err(format!("{n} replicas would be under a fault at once; at most {most} may be: {rule}"));
        }
        // Those that are not ready by themselves are missing too.
        let free = replicas.iter().filter(|r| r.ready && !hit.contains(&r.index)).count();
        let left = free.saturating_sub(in_turn.len() + usize::from(one_by_one));
        if left < safety.min_ready {
            let least = safety.min_ready;
            return Err(format!(
                "{left} replicas would be left ready and free of faults; [safety] min_ready = {least}"
            ));
        }
        Ok(())
    }
}

impl Claim {
    fn has_ended(&self, replicas: &[ReplicaView]) -> bool {
        let TargetRef::Replica { index, instance } = &self.target else { return self.over };
        let back = |r: &ReplicaView| r.index == *index && r.ready && (!self.replaced || r.instance != *instance);
        self.over && replicas.iter().any(back)
    }
}

/// The targets are still what they were when they were chosen.
pub(super) fn still_there(targets: &[TargetRef], replicas: &[ReplicaView]) -> bool {
    targets.iter().all(|target| match target {
        TargetRef::Replica { .. } => replicas.iter().any(|r| r.ready && target_of(r) == *target),
        TargetRef::Dependency(_) | TargetRef::Proxy(_) | TargetRef::Selected(_) => true,
        TargetRef::Alias(_) | TargetRef::Outside | TargetRef::Requests => true,
    })
}

/// What is hit that is no part of the platform.
fn outside(plan: &FaultPlan) -> TargetRef {
    if let FaultKind::ChaosMesh(experiment) = &plan.kind {
        return TargetRef::Selected(experiment.chaos.word().to_owned());
    }
    if let FaultKind::RegistryAlias(alias) = &plan.kind {
        return TargetRef::Alias(alias.registry_text.to_string());
    }
    match &plan.via {
        Via::Toxiproxy(toxiproxy) => TargetRef::Proxy(toxiproxy.proxy_text.clone()),
        Via::Platform | Via::ChaosMesh(_) | Via::Load => TargetRef::Outside,
    }
}

fn target_of(replica: &ReplicaView) -> TargetRef {
    TargetRef::Replica { index: replica.index, instance: replica.instance.clone() }
}

/// The replica that this target is.
pub(super) fn replica_of(target: &TargetRef) -> Option<u16> {
    match target {
        TargetRef::Replica { index, .. } => Some(*index),
        TargetRef::Dependency(_) | TargetRef::Proxy(_) | TargetRef::Selected(_) => None,
        TargetRef::Alias(_) | TargetRef::Outside | TargetRef::Requests => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{KillMethod, Mode};
    use crate::platform::process::ProcessId;
    use crate::units::Offset;

    fn plan(name: &str, target: FaultTarget) -> FaultPlan {
        let kind = FaultKind::PodKill { grace: None, method: KillMethod::Delete };
        FaultPlan { name: name.into(), kind, target, at: Offset::ZERO, lasts: None, overlap: false, via: Via::Platform }
    }

    fn some(name: &str, mode: Mode) -> FaultPlan {
        plan(name, FaultTarget::Replicas(mode))
    }

    fn replica(index: u16, pid: i32, ready: bool) -> ReplicaView {
        let process = ProcessId { boot_id: "b".into(), pid, start_time: 1 };
        ReplicaView { index, instance: Some(process.into()), ready, starts: 1 }
    }

    fn replicas(n: u16) -> Vec<ReplicaView> {
        (0..n).map(|i| replica(i, 100 + i32::from(i), true)).collect()
    }

    fn anything() -> Safety {
        Safety { max_targets: Some(usize::MAX), ..Safety::default() }
    }

    fn indexes(choice: &Choice) -> Vec<u16> {
        choice.targets.iter().filter_map(replica_of).collect()
    }

    fn choose(claims: &mut Claims, i: usize, plan: &FaultPlan, replicas: &[ReplicaView]) -> Result<Vec<u16>, String> {
        claims.choose(i, plan, &anything(), Seed(7), replicas).map(|c| indexes(&c))
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed, name: &str| {
            let mut claims = Claims::default();
            let plan = some(name, Mode::Fixed(3));
            indexes(&claims.choose(0, &plan, &anything(), Seed(seed), &replicas(40)).unwrap())
        };
        assert_eq!(draw(7, "kill"), draw(7, "kill"));
        assert_eq!(draw(7, "kill").len(), 3);
        assert_ne!(draw(7, "kill"), draw(8, "kill"));
        assert_ne!(draw(7, "kill"), draw(7, "other"));
        let all: std::collections::BTreeSet<u16> = (0..60).flat_map(|s| draw(s, "kill")).collect();
        assert!(all.len() > 30, "everyone's turn comes: {all:?}");
    }

    #[test]
    fn never_one_that_is_under_a_fault_already() {
        let (mut claims, three) = (Claims::default(), replicas(3));
        let mut seen: Vec<u16> =
            (0..3).flat_map(|i| choose(&mut claims, i, &some(&format!("f{i}"), Mode::One), &three).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        assert!(choose(&mut claims, 3, &some("f3", Mode::One), &three).unwrap_err().contains("free"));
        let overlapping = FaultPlan { overlap: true, ..some("f4", Mode::All) };
        assert_eq!(choose(&mut claims, 4, &overlapping, &three).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn a_killed_replica_is_free_when_another_process_is_ready() {
        let mut claims = Claims::default();
        let this = plan("f", FaultTarget::Replica(0));
        assert_eq!(choose(&mut claims, 0, &this, &replicas(1)), Ok(vec![0]));
        claims.over(0);
        assert!(choose(&mut claims, 1, &this, &replicas(1)).is_err(), "the list may be older than the kill");
        assert!(choose(&mut claims, 1, &this, &[replica(0, 200, false)]).is_err());
        assert_eq!(choose(&mut claims, 1, &this, &[replica(0, 200, true)]), Ok(vec![0]));
        claims.withdraw(1);
        assert_eq!(choose(&mut claims, 2, &this, &[replica(0, 200, true)]), Ok(vec![0]));
    }

    #[test]
    fn only_ready_ones_and_as_many_as_there_are() {
        let mut claims = Claims::default();
        let some_ready = [replica(0, 1, false), replica(1, 2, true), replica(2, 3, true)];
        let choice = claims.choose(0, &some("f", Mode::All), &Safety::default(), Seed(1), &some_ready).unwrap();
        assert_eq!((indexes(&choice), choice.wanted), (vec![1, 2], 3));
        assert!(still_there(&choice.targets, &some_ready));
        assert!(!still_there(&choice.targets, &[replica(1, 2, true), replica(2, 4, true)]), "another process");
        assert!(!still_there(&choice.targets, &[replica(1, 2, true), replica(2, 3, false)]), "not ready");
    }

    #[test]
    fn limits_count_replicas_under_any_fault() {
        let safety = Safety { max_targets: Some(2), ..Safety::default() };
        let mut claims = Claims::default();
        let mut choose = |i, mode| claims.choose(i, &some(&format!("f{i}"), mode), &safety, Seed(1), &replicas(5));
        assert!(choose(0, Mode::Fixed(3)).unwrap_err().contains("at most 2 may be: [safety] max_targets = 2"));
        assert!(choose(1, Mode::One).is_ok());
        assert!(choose(2, Mode::One).is_ok());
        assert!(choose(3, Mode::One).is_err());
        let outside = plan("cmd", FaultTarget::Outside);
        assert!(claims.choose(4, &outside, &safety, Seed(1), &replicas(5)).is_ok(), "hits no replica");
    }

    #[test]
    fn shares_and_those_left_ready_are_limits_too() {
        let refused = |safety: Safety, mode, views: &[ReplicaView]| {
            Claims::default().choose(0, &some("f", mode), &safety, Seed(1), views).err().unwrap_or_default()
        };
        let tenth = Safety { max_percent: Some(10), ..anything() };
        assert_eq!(refused(tenth.clone(), Mode::Fixed(2), &replicas(20)), "");
        assert!(refused(tenth.clone(), Mode::Fixed(3), &replicas(20)).contains("max_percent = 10"));
        assert!(refused(tenth, Mode::One, &replicas(5)).contains("at most 0 may be"), "a tenth of five is none");
        let two_left = Safety { min_ready: 2, ..anything() };
        let mut views = replicas(4);
        assert_eq!(refused(two_left.clone(), Mode::Fixed(2), &views), "");
        views[3].ready = false;
        assert!(refused(two_left, Mode::Fixed(2), &views).contains("1 replicas would be left ready"));
        assert!(refused(Safety::default(), Mode::All, &replicas(3)).contains("all but one"));
        assert_eq!(refused(Safety::default(), Mode::All, &replicas(1)), "", "one where there is only one");
    }

    #[test]
    fn a_dependency_is_hit_by_one_fault_at_a_time() {
        let mut claims = Claims::default();
        let dependency = plan("f", FaultTarget::Dependency("registry".into()));
        assert!(choose(&mut claims, 0, &dependency, &[]).is_ok());
        assert!(choose(&mut claims, 1, &dependency, &[]).is_err());
        claims.over(0);
        assert!(choose(&mut claims, 1, &dependency, &[]).is_ok());
    }
}
