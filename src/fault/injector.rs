//! The seam between the runner and each kind of fault.
//!
//! A fault kind is one small file that implements [`Injector`]. The runner calls, in this order and from
//! one thread at a time: `prepare` (before the first arrival) · `undo` (what it returns is in the journal and synced
//! before `apply`) · `observe` once · `apply` · `observe` again and again while it says so, over the fault's time ·
//! `revert` (perhaps more than once, perhaps after a failed or half-done `apply`) · `residue` · `proof` (at the end of
//! the run).
//!
//! The smallest injector: `apply` remembers what it changed, `revert` puts that back and forgets it, `proof`
//! reads evidence that came from the outside world. "The call returned" is not evidence.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::{Registry, Request};
use crate::platform::kubernetes::Restore;
use crate::platform::process::ProcessId;
use crate::platform::{Attachment, Instance};
use crate::units::Offset;

/// How one fault of a kind is done and undone.
pub trait Injector: Send {
    /// Everything slow: resolving, dry runs. Before the first arrival.
    ///
    /// # Errors
    /// When the fault cannot work here; the run does not start.
    fn prepare(&mut self) -> Result<(), String>;

    /// What has to be done to put the world back after `apply` on these targets, in the order of undoing. Also what
    /// another process can do after our death. Empty when everything ends with this process.
    fn undo(&self, targets: &[TargetRef]) -> Vec<Undo>;

    /// Does it. Returns the moment from which it was in force.
    ///
    /// # Errors
    /// When it did not take; `revert` is still called.
    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String>;

    /// Puts everything back. Idempotent; what is gone already is success. For one-shot faults: nothing to do, or the undo at the end.
    ///
    /// # Errors
    /// What could not be put back, and how a person does it.
    fn revert(&mut self) -> Result<(), String>;

    /// Collects evidence: called once shortly before `apply`, then every 100 ms while the fault is on. `probe` asks the
    /// probe of that name; true is passing. Returns whether to be called again.
    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        false
    }

    /// When it ended, where that is known better than by when `revert` was called: by the schedule of the load.
    fn ended(&self) -> Option<Offset> {
        None
    }

    /// What went wrong while it was on and is nobody's to put back, for the record: it was taken off by somebody else …
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is still broken after `revert`, looked at freshly; empty when clean.
    fn residue(&self) -> Vec<String>;

    /// The evidence so far.
    fn proof(&self) -> Proof;

    /// How it is done here, for the record: "SIGKILL to the process group", "FUSE view of the volume" …
    fn mechanism(&self) -> String;
}

/// One thing that a fault hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetRef {
    /// A replica, and the process that played it when it was chosen.
    Replica {
        /// Its number.
        index: u16,
        /// What played it then.
        instance: Option<Instance>,
    },
    /// A dependency's link.
    Dependency(String),
    /// Whatever passes this proxy of a Toxiproxy server.
    Proxy(String),
    /// Whatever an experiment of this kind selects.
    Selected(String),
    /// An alias of a model registry, as `MODEL@ALIAS`.
    Alias(String),
    /// Whatever a command does.
    Outside,
    /// Requests of the load itself.
    Requests,
}

impl TargetRef {
    /// The replica's number, where it is one.
    pub fn replica(&self) -> Option<u16> {
        match self {
            TargetRef::Replica { index, .. } => Some(*index),
            _ => None,
        }
    }
}

impl std::fmt::Display for TargetRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TargetRef::Replica { index, instance: Some(instance) } => write!(f, "replica {index} ({instance})"),
            TargetRef::Replica { index, instance: None } => write!(f, "replica {index}"),
            TargetRef::Dependency(name) => write!(f, "dependency {name}"),
            TargetRef::Proxy(name) => write!(f, "proxy {name}"),
            TargetRef::Selected(kind) => write!(f, "what the {kind} selects"),
            TargetRef::Alias(name) => write!(f, "alias {name}"),
            TargetRef::Outside => f.write_str("command"),
            TargetRef::Requests => f.write_str("requests"),
        }
    }
}

/// One step that puts something back; what journals hold. Every step is idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Undo {
    /// End a process group that we started.
    EndProcess {
        /// Its leader.
        process: ProcessId,
        /// What it is, for people.
        what: String,
    },
    /// SIGCONT to a process group.
    Resume {
        /// Its leader.
        process: ProcessId,
    },
    /// End every process that was started with `KEY=VALUE` in its environment.
    EndMarked {
        /// The variable.
        key: String,
        /// Its value, which no other run has.
        value: String,
    },
    /// Unmount a view of ours, and remove the empty folder that it stood on.
    Unmount {
        /// Where it is mounted.
        path: PathBuf,
    },
    /// Remove an empty folder of ours.
    RemoveFolder {
        /// Where it is.
        path: PathBuf,
    },
    /// Remove a replica's copy of a volume, with what the replica wrote.
    RemoveCopy {
        /// Where it is, in the run's private folder.
        path: PathBuf,
    },
    /// Delete a table of ours from the packet filter nftables.
    NftTable {
        /// Its name, in the family `inet`.
        name: String,
    },
    /// Run the author's undo command.
    Command {
        /// Program and arguments, `${VAR}` unexpanded.
        run: Vec<String>,
        /// The folder it runs in.
        dir: PathBuf,
        /// Limit in milliseconds.
        timeout_ms: u64,
    },
    /// Send the author's undo request.
    Request {
        /// What is sent, `${VAR}` unexpanded.
        request: Request,
        /// Limit in milliseconds.
        timeout_ms: u64,
    },
    /// Give a Deployment back its replicas.
    Deployment {
        /// Which, and how many.
        restore: Restore,
    },
    /// Take a toxic of ours off a proxy.
    Toxic {
        /// The server's API, `${VAR}` unexpanded.
        url: String,
        /// The proxy, `${VAR}` unexpanded.
        proxy: String,
        /// The toxic.
        name: String,
        /// The server itself, where it was seen to run on the machine of the run: toxics end with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<ProcessId>,
    },
    /// Point an alias of a model registry where it pointed before, unless somebody else has moved it meanwhile.
    RegistryAlias {
        /// Which, `${VAR}` unexpanded.
        registry: Registry,
        /// The version before; none: the alias was not there.
        was: Option<String>,
        /// The version that the fault sets; none: it deletes the alias.
        set: Option<String>,
        /// Aliases of this registry end with its process: nobody listens any more, so nothing is left.
        #[serde(default)]
        forgets: bool,
        /// Limit on each request, in milliseconds.
        timeout_ms: u64,
    },
    /// Delete an object of Chaos Mesh, and wait until the tool has put everything back.
    ChaosMesh {
        /// The context of the kubeconfig that made it.
        context: String,
        /// The API server that it was made on: a context of that name may mean another cluster elsewhere.
        server: String,
        /// Its namespace.
        namespace: String,
        /// Its resource, as `podchaos`.
        plural: String,
        /// Its name, which no other run has.
        name: String,
    },
    /// Start a container that we ended.
    StartContainer {
        /// The Docker host, as in `DOCKER_HOST`.
        host: String,
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Let a frozen container go on.
    UnpauseContainer {
        /// The Docker host, as in `DOCKER_HOST`.
        host: String,
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Put a container back on a network.
    Reconnect {
        /// Which, where and how.
        attachment: Attachment,
    },
    /// Ends with the resbench process itself (a link's effect, a hold on restarts): nothing to do for others.
    InProcess {
        /// What it was.
        what: String,
    },
}

impl Undo {
    /// What lets a frozen target go on after our death.
    pub(super) fn resume(target: &TargetRef) -> Undo {
        match instance_of(target) {
            Some(Instance::Process(process)) => Undo::Resume { process: process.clone() },
            Some(Instance::Container { host, id, name, .. }) => {
                Undo::UnpauseContainer { host: host.clone(), id: id.clone(), name: name.clone() }
            }
            _ => Undo::InProcess { what: format!("keeping {target} frozen") },
        }
    }

    /// What lets a target that is kept down start again after our death.
    pub(super) fn release(target: &TargetRef) -> Undo {
        Undo::restart(target).unwrap_or_else(|| Undo::InProcess { what: format!("keeping {target} down") })
    }

    /// What starts a target that was killed, where it is us who starts it again.
    pub(super) fn restart(target: &TargetRef) -> Option<Undo> {
        let Some(Instance::Container { host, id, name, .. }) = instance_of(target) else { return None };
        Some(Undo::StartContainer { host: host.clone(), id: id.clone(), name: name.clone() })
    }
}

fn instance_of(target: &TargetRef) -> Option<&Instance> {
    if let TargetRef::Replica { instance, .. } = target { instance.as_ref() } else { None }
}

/// How sure we are that a fault took effect (DESIGN section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofLevel {
    /// Nothing shows it.
    None,
    /// The tool said yes.
    Acknowledged,
    /// The author vouches for it.
    Trusted,
    /// Seen from outside.
    Effect,
}

/// Evidence that a fault took effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// How sure.
    pub level: ProofLevel,
    /// Things touched (processes, chunks, calls): zero is never proven.
    pub touched: u64,
    /// In words: "pid 4711 gone after 3 ms, replica 1 answers again as pid 4820".
    pub evidence: String,
}

impl Proof {
    /// Nothing seen yet.
    pub fn none(evidence: impl Into<String>) -> Proof {
        Proof { level: ProofLevel::None, touched: 0, evidence: evidence.into() }
    }

    /// Counts as proven.
    pub fn proven(&self) -> bool {
        self.touched > 0 && matches!(self.level, ProofLevel::Effect | ProofLevel::Trusted)
    }
}
