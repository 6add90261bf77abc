//! Faults: when they fire, what they do, how each is undone and proven.
//!
//! `runner` plays them on the run's clock; a kind is one file that implements [`injector::Injector`] and one line in
//! [`injector_for`]. `journal`, `undo` and `watchdog` put back what a run that died left behind.

mod command;
mod exec;
pub mod injector;
pub mod io;
pub mod journal;
mod link_fault;
mod network_delay;
mod network_partition;
mod network_reset;
mod pod_failure;
mod pod_kill;
mod pod_pause;
pub mod runner;
mod select;
pub mod stop;
pub mod timeline;
pub mod undo;
pub mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;

use rand::Rng;

use crate::clock::Clock;
use crate::plan::{FaultKind, FaultPlan, IoScope, Plan};
use crate::platform::{Ledger, Replicas, VolumeEffect};
use crate::rng;
use crate::units::Seed;
use injector::Injector;
use runner::PreparedFaults;
use stop::StopSignal;

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
    runner::prepare(plan, |fault| injector_for(fault, cx))
}

/// The injector of a fault: one line per kind.
///
/// # Errors
/// When the run has nothing that this kind could act on.
pub fn injector_for(fault: &FaultPlan, cx: &InjectorContext) -> Result<Box<dyn Injector>, String> {
    Ok(match &fault.kind {
        FaultKind::PodKill { grace } => Box::new(pod_kill::PodKill::new(cx.replicas()?, cx.clock, *grace)),
        FaultKind::PodFailure => Box::new(pod_failure::PodFailure::new(cx.replicas()?, cx.clock)),
        FaultKind::PodPause => Box::new(pod_pause::PodPause::new(cx.replicas()?)),
        FaultKind::NetworkDelay { latency, jitter, direction } => {
            Box::new(network_delay::new(cx.replicas()?, cx.clock, &fault.target, *latency, *jitter, *direction))
        }
        FaultKind::NetworkPartition { direction } => {
            Box::new(network_partition::new(cx.replicas()?, cx.clock, &fault.target, *direction))
        }
        FaultKind::NetworkReset => Box::new(network_reset::new(cx.replicas()?, cx.clock, &fault.target)),
        FaultKind::Command { .. } => Box::new(command::CommandFault::new(&fault.kind, cx)?),
        FaultKind::IoLatency { delay, scope } => Box::new(io_fault(fault, cx, VolumeEffect::Delay(*delay), scope)?),
        FaultKind::IoError { errno, scope } => Box::new(io_fault(fault, cx, VolumeEffect::Errno(*errno), scope)?),
    })
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
