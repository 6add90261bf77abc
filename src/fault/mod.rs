//! Faults: when they fire, what they do, how each is undone and proven.
//!
//! `runner` plays them on the run's clock; a kind is one file that implements [`injector::Injector`] and one line in
//! [`injector_for`]. `journal`, `undo` and `watchdog` put back what a run that died left behind.

mod by_probe;
pub mod chaos_mesh;
mod command;
mod cpu_stress;
pub mod exec;
mod hook;
pub mod injector;
pub mod io;
pub mod journal;
mod link_fault;
pub mod marked;
mod memory_stress;
mod network_bandwidth;
mod network_cut;
mod network_delay;
mod network_loss;
mod network_partition;
mod network_reset;
pub mod nft;
mod payload;
mod pod_failure;
mod pod_kill;
mod pod_pause;
pub mod registry;
mod rolling_restart;
pub mod runner;
mod select;
pub mod stop;
pub mod stress;
pub mod timeline;
pub mod toxiproxy;
pub mod undo;
pub mod watchdog;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use crate::alteration::Alterations;
use crate::clock::Clock;
use crate::plan::{
    FaultKind, FaultPlan, FaultTarget, Hook, IoScope, KillMethod, Mode, Plan, Platform, PodDependency, Request, Via,
    at_dependency, dependency_of,
};
use crate::platform::kubernetes::Kubernetes;
use crate::platform::process::ProcessId;
use crate::platform::{Cut, Kill, Ledger, Replicas, VolumeEffect};
use crate::rng;
use crate::units::Seed;
use hook::Deed;
use injector::Injector;
use runner::PreparedFaults;
use stop::StopSignal;

/// "No space left on device".
const ENOSPC: i32 = 28;

/// What injectors are made with.
pub struct InjectorContext {
    /// Root of every random choice.
    pub seed: Seed,
    /// The run's clock.
    pub clock: Clock,
    /// Where replicas live; none when only a `url` is given.
    pub replicas: Option<Arc<dyn Replicas>>,
    /// Ends a command that is running when the run stops.
    pub stop: StopSignal,
    /// Told of the commands that are started.
    pub ledger: Arc<dyn Ledger>,
    /// The scenario's folder, which commands run in.
    pub dir: PathBuf,
    /// The whole plan.
    pub plan: Arc<Plan>,
    /// The run's id: what faults make on this machine carries it in its name.
    pub run: String,
    /// What the load alters, and when.
    pub alterations: Arc<Alterations>,
}

impl InjectorContext {
    fn replicas(&self) -> Result<Arc<dyn Replicas>, String> {
        self.replicas.clone().ok_or_else(|| "it needs replicas: add a [platform.local]".to_owned())
    }
}

/// Makes and prepares every fault of a plan.
///
/// # Errors
/// Every fault that cannot work here, one a line.
pub fn prepare(plan: &Plan, cx: &InjectorContext) -> Result<PreparedFaults, String> {
    alone(plan, cx)?;
    runner::prepare(plan, |fault| injector_for(fault, cx))
}

/// Nobody else breaks the pods that faults of the platform's own are about to hit. Chaos Mesh's ask that for themselves.
fn alone(plan: &Plan, cx: &InjectorContext) -> Result<(), String> {
    let own = |f: &FaultPlan| matches!(f.target, FaultTarget::Replica(_) | FaultTarget::Replicas(_));
    match (&plan.platform, &cx.replicas) {
        (Some(Platform::Kubernetes(_)), Some(replicas))
            if plan.faults.iter().any(|f| own(f) && f.via == Via::Platform) =>
        {
            chaos_mesh::nobody_else(&place(plan), &cx.run, &replicas.list())
        }
        _ => Ok(()),
    }
}

/// The injector of a fault: one line per kind.
///
/// # Errors
/// When the run has nothing that this kind could act on.
pub fn injector_for(fault: &FaultPlan, cx: &InjectorContext) -> Result<Box<dyn Injector>, String> {
    if let Via::Toxiproxy(via) = &fault.via {
        return Ok(Box::new(toxiproxy::ToxiproxyFault::new(fault, via, cx)?));
    }
    if matches!(fault.via, Via::ChaosMesh(_)) {
        return Ok(Box::new(chaos_mesh::ChaosMesh::new(fault, cx, place(&cx.plan))?));
    }
    Ok(match &fault.kind {
        FaultKind::ChaosMesh(_) => Box::new(chaos_mesh::ChaosMesh::new(fault, cx, place(&cx.plan))?),
        FaultKind::PodKill { grace, method } => {
            Box::new(pod_kill::PodKill::new(cx.replicas()?, cx.clock, Kill { grace: *grace, method: *method }))
        }
        FaultKind::RollingRestart { grace, pause } => {
            let how = Kill { grace: Some(*grace), method: KillMethod::Delete };
            let of_all = fault.target == FaultTarget::Replicas(Mode::All);
            Box::new(rolling_restart::RollingRestart::new(cx.replicas()?, cx.clock, how, *pause, of_all))
        }
        FaultKind::PodFailure => Box::new(pod_failure::PodFailure::new(cx.replicas()?, cx.clock)),
        FaultKind::PodPause => Box::new(pod_pause::PodPause::new(cx.replicas()?)),
        FaultKind::NetworkDelay { latency, jitter, direction } => {
            Box::new(network_delay::new(cx.replicas()?, cx.clock, &fault.target, *latency, *jitter, *direction))
        }
        FaultKind::NetworkBandwidth { rate, direction } => {
            Box::new(network_bandwidth::new(cx.replicas()?, cx.clock, &fault.target, *rate, *direction))
        }
        FaultKind::NetworkPartition { direction } => match cut(fault, cx)? {
            Some(cut) => Box::new(network_cut::NetworkCut::new(cut)),
            None => Box::new(network_partition::new(cx.replicas()?, cx.clock, &fault.target, *direction)),
        },
        FaultKind::NetworkReset => Box::new(network_reset::new(cx.replicas()?, cx.clock, &fault.target)),
        FaultKind::NetworkLoss { share } => Box::new(network_loss::NetworkLoss::new(fault, *share, cx)?),
        FaultKind::CpuStress { workers, load } => {
            Box::new(cpu_stress::CpuStress::new(cx.replicas()?, cx.clock, *workers, *load, burners(fault, cx)))
        }
        FaultKind::MemoryStress { bytes } => Box::new(memory_stress::MemoryStress::new(
            cx.replicas()?,
            cx.clock,
            *bytes,
            &fault.target,
            burners(fault, cx),
        )),
        FaultKind::Command(hook) => Box::new(command::CommandFault::new(hook.clone().map(Deed::Command), cx)),
        FaultKind::Http(hook) => {
            let hook = at_dependencies((**hook).clone(), cx)?;
            Box::new(command::CommandFault::new(hook.map(Deed::Request), cx))
        }
        FaultKind::IoLatency { delay, scope } => Box::new(io_fault(fault, cx, VolumeEffect::Delay(*delay), scope)?),
        FaultKind::IoError { errno, scope } => Box::new(io_fault(fault, cx, VolumeEffect::Errno(*errno), scope)?),
        FaultKind::DiskFull { scope } => Box::new(io_fault(fault, cx, VolumeEffect::Errno(ENOSPC), scope)?),
        FaultKind::FileCorrupt { bytes, scope } => Box::new(io_fault(fault, cx, VolumeEffect::Corrupt(*bytes), scope)?),
        FaultKind::RegistryAlias(alias) => Box::new(registry::RegistryFault::new(alias, cx)?),
        FaultKind::Toxiproxy { .. } => return Err("it names no Toxiproxy server".to_owned()),
        FaultKind::Payload(payload) => Box::new(payload::PayloadFault::new(fault, payload, cx)?),
    })
}

/// What is sent goes to the dependencies' own addresses; what is shown and journalled keeps their names.
fn at_dependencies(mut hook: Hook<Request>, cx: &InjectorContext) -> Result<Hook<Request>, String> {
    for request in std::iter::once(&mut hook.run).chain(&mut hook.undo) {
        if let Some(name) = dependency_of(&request.url) {
            let address = cx.replicas()?.dependency_address(name);
            let address = address.ok_or_else(|| format!("dependency {name} has no address on this machine"))?;
            request.url = at_dependency(&request.url, address);
        }
    }
    Ok(hook)
}

fn burners(fault: &FaultPlan, cx: &InjectorContext) -> stress::Burners {
    stress::Burners::new(format!("{}.{}", cx.run, fault.name), cx.ledger.clone())
}

/// The objects that the plan's faults would make in a cluster, asked of it by dry runs: for the pods that would be drawn
/// now, if every replica were ready.
///
/// # Errors
/// Every fault that cannot work there, one a line.
pub fn manifests(plan: &Plan) -> Result<Vec<serde_json::Value>, String> {
    let clock = Clock::starting_in(Duration::ZERO);
    let replicas = match &plan.platform {
        Some(Platform::Kubernetes(pods)) => {
            let found = Kubernetes::find(pods, "plan", Path::new(""), clock).map_err(|e| e.to_string())?;
            Some(Arc::new(found) as Arc<dyn Replicas>)
        }
        _ => None,
    };
    let cx = InjectorContext {
        seed: plan.seed,
        clock,
        replicas: replicas.clone(),
        stop: StopSignal::new(),
        ledger: Arc::new(Nobody),
        dir: plan.source.dir.clone(),
        run: "plan".to_owned(),
        plan: Arc::new(plan.clone()),
        alterations: Arc::default(),
    };
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    let by_mesh = |f: &&FaultPlan| matches!(f.via, Via::ChaosMesh(_)) || matches!(f.kind, FaultKind::ChaosMesh(_));
    for fault in plan.faults.iter().filter(by_mesh) {
        let made = chaos_mesh::ChaosMesh::new(fault, &cx, place(plan)).and_then(|mut injector| {
            let views = replicas.as_ref().map(|r| r.list()).unwrap_or_default();
            let choice = select::Claims::default().choose(0, fault, &plan.safety, plan.seed, &views)?;
            injector.dry_run(&choice.targets)
        });
        match made {
            Ok(object) => objects.push(object),
            Err(why) => problems.push(format!("fault {}: {why}", fault.name)),
        }
    }
    if problems.is_empty() { Ok(objects) } else { Err(problems.join("\n")) }
}

/// Keeps no books: nothing is started.
struct Nobody;

impl Ledger for Nobody {
    fn process_started(&self, _: &str, _: &ProcessId) {}
    fn process_ended(&self, _: &ProcessId) {}
    fn mount_planned(&self, _: &Path) {}
    fn mount_gone(&self, _: &Path) {}
    fn copy_planned(&self, _: &Path) {}
    fn copy_gone(&self, _: &Path) {}
    fn folder_planned(&self, _: &Path) {}
    fn folder_gone(&self, _: &Path) {}
    fn mark_planned(&self, _: &str, _: &str) {}
    fn mark_gone(&self, _: &str, _: &str) {}
}

/// Where faults of tools in the cluster find their pods.
fn place(plan: &Plan) -> chaos_mesh::Place {
    let Some(Platform::Kubernetes(kubernetes)) = &plan.platform else { return chaos_mesh::Place::default() };
    let dependency = |d: &PodDependency| (d.name.clone(), (d.namespace.clone(), d.labels.to_string()));
    chaos_mesh::Place {
        context: kubernetes.context.clone(),
        namespace: Some(kubernetes.namespace.clone()),
        dependencies: kubernetes.dependencies.iter().map(dependency).collect(),
    }
}

/// What takes the fault's dependency off its networks, where no link stands in front of it.
fn cut(fault: &FaultPlan, cx: &InjectorContext) -> Result<Option<Arc<dyn Cut>>, String> {
    let FaultTarget::Dependency(name) = &fault.target else { return Ok(None) };
    Ok(cx.replicas()?.cut(name))
}

fn io_fault(
    fault: &FaultPlan,
    cx: &InjectorContext,
    effect: VolumeEffect,
    scope: &IoScope,
) -> Result<io::IoFault, String> {
    let seed = rng::stream(cx.seed, &format!("io:{}", fault.name)).next_u64();
    Ok(io::IoFault::new(cx.replicas()?, cx.clock, effect, scope.clone(), seed))
}

#[cfg(test)]
mod doubles;

#[cfg(test)]
mod tests {
    use super::doubles::{Bench, fault, ms};
    use super::injector::{ProofLevel, TargetRef};
    use super::runner::FaultRecord;
    use crate::plan::{Direction, FaultKind, FaultPlan, FaultTarget, Hook, KillMethod, Lasts, Mode, ProofRule};
    use crate::platform::{LinkEvidence, Replicas};

    fn play_one(fault: FaultPlan) -> (FaultRecord, Bench) {
        let bench = Bench::new(vec![fault], 600);
        let records = bench.play(&|_| true);
        assert_eq!(bench.journal.finish(true, None), Ok(true), "{records:?}");
        (records.into_iter().next().unwrap(), bench)
    }

    fn short() -> Option<Lasts> {
        Some(Lasts::For(ms(250)))
    }

    #[test]
    fn pod_kill_is_proven_by_the_one_that_is_gone() {
        let (record, bench) =
            play_one(fault("f", FaultKind::PodKill { grace: None, method: KillMethod::Delete }, 1, 150, None));
        assert_eq!((record.proof.level, record.proof.touched), (ProofLevel::Effect, 1));
        let TargetRef::Replica { instance: Some(victim), .. } = &record.targets[0] else { panic!("{record:?}") };
        let heir = bench.replicas.list()[1].instance.clone().unwrap();
        let told = &record.proof.evidence;
        assert!(told.contains(&format!("{victim} gone after")), "{told}");
        assert!(told.contains("ready again after") && told.contains(&format!("as {heir}")), "{told}");
    }

    #[test]
    fn a_rolling_restart_is_proven_when_each_was_replaced_in_turn() {
        let kind = FaultKind::RollingRestart { grace: ms(100), pause: ms(50) };
        let all = FaultPlan { target: FaultTarget::Replicas(Mode::All), ..fault("f", kind.clone(), 0, 150, None) };
        let bench = Bench::new(vec![all.clone()], 3000);
        let records = bench.play(&|_| true);
        let (proof, count) = (&records[0].proof, bench.replicas.list().len());
        assert!(proof.proven() && proof.touched as usize == count, "{records:?}");
        assert!(bench.replicas.list().iter().all(|r| r.ready && r.starts == 2), "each once");
        assert!(proof.evidence.contains(&format!("{count} of {count} restarted; replica 0: pid ")), "{proof:?}");

        let bench = Bench::new(vec![all], 200);
        let records = bench.play(&|_| true);
        let proof = &records[0].proof;
        assert!(!proof.proven() && proof.evidence.contains(&format!("of {count} restarted")), "load ended: {proof:?}");
    }

    #[test]
    fn a_kill_without_an_answer_is_no_proof_and_its_victim_is_started_again() {
        let kill = FaultKind::PodKill { grace: None, method: KillMethod::Delete };
        let restart = FaultKind::RollingRestart { grace: ms(100), pause: ms(50) };
        for kind in [kill, restart] {
            let all = FaultPlan { target: FaultTarget::Replicas(Mode::All), ..fault("f", kind, 0, 150, None) };
            let bench = Bench::new(vec![all], 1500);
            *bench.replicas.unanswered.lock().unwrap() = Some(2);
            let records = bench.play(&|_| true);
            let record = &records[0];
            assert!(!record.proof.proven() && record.proof.evidence.contains("no answer in time"), "{record:?}");
            let views = bench.replicas.list();
            assert!(views.iter().all(|r| r.ready && r.starts == 2), "{views:?}");
            assert_eq!(bench.journal.finish(true, None), Ok(true));
        }
    }

    #[test]
    fn pod_failure_is_proven_by_a_replica_that_stays_away() {
        let (record, bench) = play_one(fault("f", FaultKind::PodFailure, 1, 150, short()));
        assert!(record.proof.proven(), "{record:?}");
        assert!(record.proof.evidence.contains("ready in 0 of"), "{record:?}");
        let view = &bench.replicas.list()[1];
        assert!(view.ready && view.starts == 2, "started again afterwards");
    }

    #[test]
    fn pod_pause_is_proven_by_the_state_of_the_process() {
        let (record, bench) = play_one(fault("f", FaultKind::PodPause, 1, 150, short()));
        assert!(record.proof.proven() && record.proof.evidence.contains("frozen in"), "{record:?}");
        let TargetRef::Replica { instance: Some(process), .. } = &record.targets[0] else { panic!("{record:?}") };
        assert!(!bench.replicas.is_gone(process) && !bench.replicas.is_paused(process));
        assert_eq!(bench.replicas.list()[1].starts, 1);
    }

    #[test]
    fn link_faults_are_proven_by_what_the_link_did() {
        let kind = FaultKind::NetworkDelay { latency: ms(10), jitter: ms(0), direction: Direction::From };
        let (record, bench) = play_one(fault("f", kind.clone(), 1, 150, short()));
        assert!(record.proof.evidence.contains("no byte passed the delayed link"), "{record:?}");
        assert!(!record.proof.proven());
        assert_eq!(bench.replicas.link.added.lock().unwrap()[0].replicas, Some(vec![1]));
        assert!(bench.replicas.link.on.lock().unwrap().is_empty(), "taken off");

        let target = FaultTarget::Dependency("registry".into());
        let bench = Bench::new(vec![FaultPlan { target, ..fault("f", kind, 0, 150, short()) }], 500);
        let seen = LinkEvidence { connections: 1, bytes: 100, chunks: 10, held_ns: 100_000_000, resets: 0 };
        *bench.replicas.link.evidence.lock().unwrap() = seen;
        let records = bench.play(&|_| true);
        assert!(records[0].proof.proven(), "{records:?}");
        assert_eq!(bench.replicas.link.added.lock().unwrap()[0].replicas, None, "all of a dependency's");
    }

    fn command(run: &str, undo: Option<&str>, proof: ProofRule) -> FaultPlan {
        let sh = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
        let (run, undo) = (sh(run), undo.map(sh));
        let (run_text, undo_text) = (run.clone(), undo.clone());
        let kind = FaultKind::Command(Hook { run, undo, timeout: ms(20_000), proof, run_text, undo_text });
        FaultPlan { target: FaultTarget::Outside, ..fault("f", kind, 0, 150, None) }
    }

    #[test]
    fn a_command_is_undone_and_proven_by_its_probe() {
        let rule = ProofRule::Probe { probe: "up".into(), becomes_failing: true };
        let run = |probe_sees: bool| {
            let plan = FaultPlan { lasts: short(), ..command("touch broken", Some("rm broken"), rule.clone()) };
            let bench = Bench::new(vec![plan], 700);
            let broken = bench.dir.path().join("broken");
            let records = bench.play(&|name| name != "up" || !probe_sees || !broken.exists());
            assert!(!broken.exists(), "undone");
            assert_eq!(bench.journal.finish(true, None), Ok(true));
            records.into_iter().next().unwrap()
        };
        let seen = run(true);
        assert!(seen.proof.proven() && seen.proof.evidence.contains("probe up was failing"), "{seen:?}");
        let unseen = run(false);
        assert_eq!((unseen.proof.level, unseen.proof.proven()), (ProofLevel::Acknowledged, false));
        assert!(unseen.proof.evidence.contains("did not become failing"), "{unseen:?}");
    }

    #[test]
    fn what_a_later_fault_did_is_no_proof_of_an_earlier_one() {
        let rule = ProofRule::Probe { probe: "up".into(), becomes_failing: true };
        for lasts in [None, Some(Lasts::UntilEnd)] {
            let nothing = FaultPlan { lasts, ..command("true", Some("true"), rule.clone()) };
            let real = command("touch broken", Some("rm broken"), rule.clone());
            let real = FaultPlan { name: "real".into(), at: real.at + ms(300), lasts: short(), ..real };
            let bench = Bench::new(vec![nothing, real], 900);
            let broken = bench.dir.path().join("broken");
            let records = bench.play(&|_| !broken.exists());
            let [nothing, real] = &records[..] else { panic!("{records:?}") };
            assert!(real.proof.proven(), "{real:?}");
            assert_eq!(nothing.proof.level, ProofLevel::Acknowledged, "{nothing:?}");
            assert!(nothing.proof.evidence.contains("did not become failing"), "{nothing:?}");
        }
    }

    #[test]
    fn an_undo_that_is_not_there_is_found_out_before_anything_is_broken() {
        let mut plan = command("touch broken", None, ProofRule::Trust);
        let FaultKind::Command(hook) = &mut plan.kind else { unreachable!() };
        for (undo, cure) in [("./restore-it", "looked at"), ("no-such-program-here", "PATH")] {
            (hook.undo, hook.undo_text) = (Some(vec![undo.into()]), Some(vec![undo.into()]));
            let bench = Bench::new(
                vec![FaultPlan {
                    kind: FaultKind::Command(hook.clone()),
                    ..fault("f", FaultKind::PodFailure, 0, 150, None)
                }],
                300,
            );
            let why = bench.cannot_prepare();
            assert!(why.contains("undo: ") && why.contains(undo) && why.contains(cure), "{why}");
            assert!(!bench.dir.path().join("broken").exists());
        }
    }

    #[test]
    fn a_command_that_fails_is_undone_and_not_applied() {
        let plan = command("touch half; echo no luck; exit 7", Some("rm half"), ProofRule::Trust);
        let (record, bench) = play_one(plan);
        let why = record.not_applied.unwrap();
        assert!(why.contains("exit status: 7") && why.contains("no luck"), "{why}");
        assert!(!bench.dir.path().join("half").exists());
    }

    #[test]
    fn trust_is_the_authors_word_and_a_failed_undo_is_residue() {
        let (record, bench) = play_one(command("touch it", None, ProofRule::Trust));
        assert_eq!((record.proof.level, record.proof.proven()), (ProofLevel::Trusted, true));
        assert!(bench.dir.path().join("it").exists(), "undo = none leaves it");

        let stuck = command("true", Some("echo stuck; false"), ProofRule::Trust);
        let bench = Bench::new(vec![stuck], 300);
        let records = bench.play(&|_| true);
        assert!(records[0].residue[0].contains("stuck") && records[0].residue[0].contains("by hand"), "{records:?}");
        assert_eq!(bench.journal.finish(true, None), Ok(false));
    }
}
