//! Where replicas live: find them, list them, know when they are ready, and act on them.
//!
//! Owns the seam between faults and the outside world ([`Replicas`], [`LinkControl`],
//! [`VolumeControl`]) and one folder or file per platform. Leaves alone when faults fire and how they are proven
//! (`fault/`), and what traffic is sent (`engine/`).

pub mod cgroup;
pub mod docker;
mod get;
pub mod kubernetes;
pub mod link;
pub mod local;
pub mod logs;
mod poll;
pub mod ports;
pub mod process;
pub mod volume;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::plan::{Direction, IoScope, KillMethod};
use crate::units::Offset;
use process::ProcessId;

/// What plays a replica now: told apart from whatever takes its place later.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instance {
    /// A process of this machine.
    Process(ProcessId),
    /// A run of a container: one that is started again is the same container and another run of it.
    Container {
        /// The Docker host that has it, as in `DOCKER_HOST`.
        host: String,
        /// The container's id.
        id: String,
        /// Its name.
        name: String,
        /// Since when it runs, as Docker says it.
        started: String,
    },
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Told apart from another pod of the same name.
        uid: String,
    },
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Instance::Process(process) => write!(f, "pid {}", process.pid),
            Instance::Container { name, .. } => write!(f, "container {name}"),
            Instance::Pod { namespace, name, .. } => write!(f, "pod {namespace}/{name}"),
        }
    }
}

impl Instance {
    /// The process, where it is one of this machine.
    pub fn process(&self) -> Option<&ProcessId> {
        if let Instance::Process(process) = self { Some(process) } else { None }
    }
}

impl From<ProcessId> for Instance {
    fn from(process: ProcessId) -> Instance {
        Instance::Process(process)
    }
}

/// One replica at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaView {
    /// Its number, from 0.
    pub index: u16,
    /// What plays it now; none while it is down.
    pub instance: Option<Instance>,
    /// In rotation: running and its last `ready` poll was good.
    pub ready: bool,
    /// How many times it was started, from 1.
    pub starts: u32,
}

/// Something that happened on the platform, on the run's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlatformEvent {
    /// When.
    pub at: Offset,
    /// Which replica; none for dependencies and the platform as a whole.
    pub replica: Option<u16>,
    /// What.
    pub kind: PlatformEventKind,
    /// In words, for the report.
    pub text: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformEventKind {
    /// A process was started.
    Started,
    /// A process ended.
    Exited,
    /// It was told to end.
    Terminating,
    /// It was given a node to run on.
    Scheduled,
    /// What had left the rotation before has ended.
    Gone,
    /// It went into rotation.
    Ready,
    /// It was taken out of rotation.
    NotReady,
    /// Something else worth a line.
    Note,
}

/// What can be done to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// [`Replicas::kill`].
    Kill(Kill),
    /// [`Replicas::hold_down`] and [`Replicas::release`].
    HoldDown,
    /// [`Replicas::pause`] and [`Replicas::resume`].
    Pause,
    /// [`Replicas::roll_out`].
    RollOut,
}

/// How a replica is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Between being told to end and being ended; none for no warning at all (on Kubernetes: the pod's own grace).
    pub grace: Option<Duration>,
    /// By which call, on platforms that have several.
    pub method: KillMethod,
}

impl Kill {
    /// Without warning, by the usual call.
    pub const NOW: Kill = Kill { grace: None, method: KillMethod::Delete };
}

/// A platform that was started, or found, for one run.
pub trait Running: Replicas {
    /// Where predictions go; none where the scenario's `url` says it.
    fn endpoint(&self) -> Option<Endpoint>;

    /// Moves the zero of events: a run begins once its platform is ready. What was before becomes zero.
    fn set_clock(&self, clock: Clock);

    /// Ends what was started for the run, and says what could not be ended. Empty when clean. A second call does nothing.
    fn stop(&self) -> Vec<String>;
}

/// Why the platform did not start. Everything that had been started is ended again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// What happened, and what to do; several lines when a log has something to say.
    pub message: String,
    /// It was stopped from outside.
    pub interrupted: bool,
    /// What could not be ended or put away.
    pub left: Vec<String>,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.left.iter().try_for_each(|left| write!(f, "\nleft behind: {left}"))
    }
}

impl std::error::Error for StartError {}

impl From<String> for StartError {
    fn from(message: String) -> StartError {
        StartError { message, interrupted: false, left: Vec::new() }
    }
}

/// What replicas used, as the platform measured it while load ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Between two readings.
    pub every: Duration,
    /// Readings.
    pub read: u64,
    /// Of those, failed.
    pub failed: u64,
    /// When (seconds since the start of load) and why, the first of them.
    pub gaps: Vec<(f64, String)>,
    /// In the order in which they were first seen.
    pub series: Vec<UsageSeries>,
    /// What a reader must know of the values.
    pub notes: Vec<String>,
}

/// One measured value of one replica over time.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageSeries {
    /// `cpu_cores{pod="NAME"}` or `memory_bytes{pod="NAME"}`.
    pub name: String,
    /// When it was read, seconds since the start of load, and its value.
    pub points: Vec<(f64, f64)>,
}

/// What faults may do to replicas. Every method is quick, except `kill` with a grace.
pub trait Replicas: Send + Sync {
    /// The platform's word in the language.
    fn word(&self) -> &'static str;

    /// All of them, by number.
    fn list(&self) -> Vec<ReplicaView>;

    /// How a deed is done here, in words: the mechanism of a fault.
    ///
    /// # Errors
    /// Why it cannot be done here, and what to write instead.
    fn how(&self, deed: Deed) -> Result<String, String>;

    /// It does not run any more, looked at freshly.
    fn is_gone(&self, instance: &Instance) -> bool;

    /// It is stopped by [`Replicas::pause`], looked at freshly.
    fn is_paused(&self, instance: &Instance) -> bool;

    /// Kills it: told to end and given up to `grace` first when there is one, then without mercy, and waits
    /// (at most 5 s longer) until it is gone; a pod leaves the rotation at once and is not waited for. The platform replaces or restarts it. Returns the
    /// victim and the moment at which it was first told (locally by SIGTERM); with a grace the replica leaves the
    /// rotation then.
    ///
    /// # Errors
    /// When the replica is not running, or the signal could not be sent.
    fn kill(&self, replica: u16, how: Kill) -> Result<(Instance, Offset), String>;

    /// As `kill`, and not restarted until [`Replicas::release`].
    ///
    /// # Errors
    /// As `kill`.
    fn hold_down(&self, replica: u16) -> Result<(Instance, Offset), String>;

    /// Ends a hold: starts the replica at once. Without a hold it does nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    fn release(&self, replica: u16) -> Result<(), String>;

    /// Freezes it: SIGSTOP to the process group, or what the platform has for that.
    ///
    /// # Errors
    /// When the replica is not running, or the signal could not be sent.
    fn pause(&self, replica: u16) -> Result<(Instance, Offset), String>;

    /// Lets it go on. Harmless when it is not stopped or is gone.
    ///
    /// # Errors
    /// When the signal could not be sent to a live process.
    fn resume(&self, replica: u16) -> Result<(), String>;

    /// Has the platform replace every replica in its own way, and returns when it was told to.
    ///
    /// # Errors
    /// When it cannot, or refused.
    fn roll_out(&self) -> Result<Offset, String> {
        self.how(Deed::RollOut).and(Err("it has no way of its own to replace all replicas".to_owned()))
    }

    /// What became of an instance that was killed at `at`, and who took its place, where the platform knows more of that
    /// than [`Replicas::events`] tell.
    fn became(&self, _instance: &Instance, _at: Offset) -> Option<String> {
        None
    }

    /// What puts a deed back after our death, where another machine can do it.
    fn restore(&self, _deed: Deed) -> Option<kubernetes::Restore> {
        None
    }

    /// The link in front of the replicas (`None`) or of a dependency.
    fn link(&self, dependency: Option<&str>) -> Option<Arc<dyn LinkControl>>;

    /// What replicas used of CPU and memory, where the platform measures it.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// What takes a dependency off its networks, where no link stands in front of it.
    fn cut(&self, _dependency: &str) -> Option<Arc<dyn Cut>> {
        None
    }

    /// Where a replica itself listens on this machine, behind every link; none where it listens elsewhere.
    fn replica_address(&self, _replica: u16) -> Option<SocketAddr> {
        None
    }

    /// As [`Replicas::replica_address`], of a dependency.
    fn dependency_address(&self, _name: &str) -> Option<SocketAddr> {
        None
    }

    /// The CPUs of this machine that a replica runs on and the load does not: empty where they share all, none where
    /// it runs elsewhere.
    fn cpus(&self, _replica: u16) -> Option<Vec<usize>> {
        None
    }

    /// The FUSE view that this replica was started on, when it was started on one.
    fn volume(&self, replica: u16) -> Option<Arc<dyn VolumeControl>>;

    /// Every event so far, in order.
    fn events(&self) -> Vec<PlatformEvent>;
}

/// A container on a network, with everything that is needed to put it back there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The Docker host, as in `DOCKER_HOST`.
    pub host: String,
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub network_id: String,
    /// Names that it has there, beside its own.
    pub aliases: Vec<String>,
    /// Links to others (of old), as `container:alias`.
    pub links: Vec<String>,
    /// Its address there; empty for none.
    pub ipv4: String,
}

/// Takes a dependency off its networks, and puts it back. Every method asks the platform and may take seconds.
pub trait Cut: Send + Sync {
    /// What is cut.
    fn attachments(&self) -> Vec<Attachment>;

    /// Takes it off; returns since when.
    ///
    /// # Errors
    /// When it could not be taken off every one of them; some may be cut then.
    fn cut(&self) -> Result<Offset, String>;

    /// Puts it back; harmless when nothing is cut.
    ///
    /// # Errors
    /// What is still off, and how a person puts it back.
    fn mend(&self) -> Result<(), String>;

    /// How many of the attachments are not there now, asked of the networks.
    ///
    /// # Errors
    /// When the platform does not answer.
    fn off(&self) -> Result<usize, String>;
}

/// What a link can do to the bytes that pass it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEffect {
    /// Hold each chunk back for latency ± jitter (uniform), order kept.
    Delay {
        /// Mean.
        latency: Duration,
        /// Half width of the uniform scatter, at most `latency`.
        jitter: Duration,
    },
    /// Pass at most this many bytes in a second, each way, all connections to a replica together; a hundredth of a
    /// second's worth may pass at once. What is over that waits its turn, order kept, and leaves at once when it ends.
    Bandwidth {
        /// Bytes per second, above zero.
        rate: u64,
    },
    /// Swallow: connections stay open, bytes are held and never forwarded while it lasts; new connections are
    /// accepted by the link and go nowhere (never refused). When it ends, held connections are reset, as a
    /// healed partition finds its peers gone.
    Blackhole,
    /// Reset (RST) open connections at once and new ones as they come. Both sides, whatever the direction says.
    Reset,
}

/// One effect on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFault {
    /// Only connections to these replicas; none for all.
    pub replicas: Option<Vec<u16>>,
    /// What happens.
    pub effect: LinkEffect,
    /// Which way.
    pub direction: Direction,
}

/// What a link did for one effect. Grows while the effect is on, stays after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkEvidence {
    /// Connections that were touched.
    pub connections: u64,
    /// Bytes held back or swallowed.
    pub bytes: u64,
    /// Chunks held back.
    pub chunks: u64,
    /// Sum of the time that chunks were really held, in ns.
    pub held_ns: u64,
    /// Connections reset.
    pub resets: u64,
}

/// The controls of a link.
pub trait LinkControl: Send + Sync {
    /// Puts an effect on; in force for bytes that arrive after the call returns. Several may be on at once (delays add).
    fn add(&self, fault: LinkFault) -> u64;

    /// Takes it off; false when it is not there (any more).
    fn remove(&self, id: u64) -> bool;

    /// What it did so far.
    fn evidence(&self, id: u64) -> LinkEvidence;

    /// Effects that are on now.
    fn active(&self) -> usize;
}

/// What the view of a volume can do to calls.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeFault {
    /// Which calls.
    pub scope: IoScope,
    /// What happens to them.
    pub effect: VolumeEffect,
    /// Seed of the draw when `scope.share` is below 1, and of the places that are corrupted.
    pub seed: u64,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeEffect {
    /// Answered late by this much.
    Delay(Duration),
    /// Answered with this errno.
    Errno(i32),
    /// Answered with this many bytes of each file flipped (every bit of them), at places drawn from the seed and the
    /// file's path: the same ones in every read. For reads only.
    Corrupt(u32),
}

/// What the view did for one fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeEvidence {
    /// Calls in scope that came by.
    pub seen: u64,
    /// Calls that were hit.
    pub hit: u64,
    /// Sum of the delay that was really added, in ns.
    pub delayed_ns: u64,
    /// Bytes that were answered flipped.
    pub flipped: u64,
}

/// The controls of a volume's view.
pub trait VolumeControl: Send + Sync {
    /// Puts a fault on.
    fn add(&self, fault: VolumeFault) -> u64;

    /// Takes it off (calls already being delayed are let go within 50 ms); false when it is not there.
    fn remove(&self, id: u64) -> bool;

    /// What it did so far.
    fn evidence(&self, id: u64) -> VolumeEvidence;

    /// Faults that are on now.
    fn active(&self) -> usize;
}

/// Told of everything that must be put away should this process die: kept by the journal.
pub trait Ledger: Send + Sync {
    /// A process (group leader) was started. Written before anyone relies on it.
    fn process_started(&self, what: &str, process: &ProcessId);

    /// It is gone, and reaped.
    fn process_ended(&self, process: &ProcessId);

    /// A mount is about to be made here.
    fn mount_planned(&self, path: &Path);

    /// It is gone, checked, and its folder with it.
    fn mount_gone(&self, path: &Path);

    /// Why what was told last may not have been noted: then it must not be done, since nobody could put it back after our death.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// A copy of the volume is about to be made here, for a replica that may write to it.
    fn copy_planned(&self, path: &Path);

    /// It is gone, checked, with what the replica wrote.
    fn copy_gone(&self, path: &Path);

    /// An empty folder is about to be made here.
    fn folder_planned(&self, path: &Path);

    /// It is gone, checked.
    fn folder_gone(&self, path: &Path);

    /// Processes are about to be started with `KEY=VALUE` in their environment; it finds those that left their group.
    fn mark_planned(&self, key: &str, value: &str);

    /// None of them runs any more.
    fn mark_gone(&self, key: &str, value: &str);
}

/// What a started platform tells the rest of the run.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where predictions go: the link's address.
    pub address: SocketAddr,
    /// Added by the link itself, median and p99 in µs, measured before the load.
    pub link_us: Option<(f64, f64)>,
    /// The CPUs that replicas run on; the load takes the others. Empty when the machine has one CPU.
    pub replica_cpus: Vec<usize>,
    /// Folder with the replicas' logs.
    pub logs: PathBuf,
}
