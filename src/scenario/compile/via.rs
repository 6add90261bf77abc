//! Who does which kind of fault where: the matrix of DESIGN section 2, in one place.
//!
//! Each kind is the same word on every platform that can do it. `via` chooses where there are several; what nobody there
//! can do is refused with the reason, never imitated.

use super::platform::Known;
use crate::scenario::file::{FaultWord, ViaWord};

/// Who does a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doer {
    /// The platform itself, or this program.
    Platform,
    /// Chaos Mesh.
    ChaosMesh,
    /// A Toxiproxy server.
    Toxiproxy,
}

/// Where replicas live, as far as this matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Only a `url` is given.
    Nowhere,
    /// Processes of this machine.
    Local,
    /// Containers.
    Docker,
    /// Pods.
    Kubernetes,
}

impl Place {
    pub(super) fn of(platform: &Known) -> Place {
        match platform {
            Known::Absent => Place::Nowhere,
            Known::Local(_) => Place::Local,
            Known::Docker(_) => Place::Docker,
            Known::Kubernetes(_) => Place::Kubernetes,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Place::Nowhere => "a bare url",
            Place::Local => "the local platform",
            Place::Docker => "Docker",
            Place::Kubernetes => "Kubernetes",
        }
    }
}

/// Who does this kind there; else what is wrong, and what to write.
///
/// # Errors
/// When nobody can, or whom `via` names cannot.
pub(super) fn doer(kind: FaultWord, place: Place, via: Option<ViaWord>) -> Result<Doer, (String, String)> {
    let can = doers(kind, place);
    let wanted = match via {
        None => return can.first().copied().ok_or_else(|| nobody(kind, place)),
        Some(ViaWord::ChaosMesh) => Doer::ChaosMesh,
        Some(ViaWord::Toxiproxy) => Doer::Toxiproxy,
        Some(ViaWord::Local) if place == Place::Local => Doer::Platform,
        Some(ViaWord::Docker) if place == Place::Docker => Doer::Platform,
        Some(ViaWord::Kubernetes) if place == Place::Kubernetes => Doer::Platform,
        Some(ViaWord::Local | ViaWord::Docker | ViaWord::Kubernetes) => {
            let message = format!("replicas do not live there, but on {}", place.words());
            return Err((message, "remove `via`: the platform itself is the default where it can".to_owned()));
        }
    };
    if can.contains(&wanted) {
        return Ok(wanted);
    }
    let (message, help) = match can.first() {
        None => nobody(kind, place),
        Some(_) => (
            format!("`{}` on {} is not done that way", kind.word(), place.words()),
            format!(
                "remove `via`, or write {}",
                can.iter().map(|d| written(*d, place)).collect::<Vec<_>>().join(" or ")
            ),
        ),
    };
    Err((message, help))
}

/// All who can, the default first.
fn doers(kind: FaultWord, place: Place) -> &'static [Doer] {
    use Doer::{ChaosMesh, Platform, Toxiproxy};
    use Place::{Docker, Kubernetes, Local, Nowhere};
    match (kind, place) {
        (
            FaultWord::PayloadDrift
            | FaultWord::PayloadDrop
            | FaultWord::PayloadCorrupt
            | FaultWord::PayloadMalformed
            | FaultWord::PayloadOversize
            | FaultWord::PayloadCacheBust,
            _,
        ) => &[Platform],
        (FaultWord::Command | FaultWord::Http | FaultWord::ChaosMesh | FaultWord::RegistryAlias, _) => &[Platform],
        (FaultWord::Toxiproxy, _) => &[Toxiproxy],
        (FaultWord::NetworkDelay | FaultWord::NetworkPartition | FaultWord::NetworkBandwidth, Kubernetes) => {
            &[ChaosMesh, Toxiproxy]
        }
        (
            FaultWord::NetworkDelay
            | FaultWord::NetworkPartition
            | FaultWord::NetworkBandwidth
            | FaultWord::NetworkReset,
            Local | Docker,
        ) => &[Platform, Toxiproxy],
        (
            FaultWord::NetworkDelay
            | FaultWord::NetworkPartition
            | FaultWord::NetworkBandwidth
            | FaultWord::NetworkReset,
            Nowhere | Kubernetes,
        ) => &[Toxiproxy],
        (_, Nowhere) => &[],
        (_, Local) => &[Platform],
        (FaultWord::PodKill, Kubernetes) => &[Platform, ChaosMesh],
        (FaultWord::PodFailure, Kubernetes) => &[ChaosMesh, Platform],
        (FaultWord::PodKill | FaultWord::PodFailure | FaultWord::RollingRestart, _) => &[Platform],
        (FaultWord::PodPause, Docker) => &[Platform],
        (
            FaultWord::IoLatency
            | FaultWord::IoError
            | FaultWord::NetworkLoss
            | FaultWord::CpuStress
            | FaultWord::MemoryStress,
            Kubernetes,
        ) => &[ChaosMesh],
        (
            FaultWord::PodPause
            | FaultWord::IoLatency
            | FaultWord::IoError
            | FaultWord::DiskFull
            | FaultWord::FileCorrupt
            | FaultWord::NetworkLoss
            | FaultWord::CpuStress
            | FaultWord::MemoryStress,
            _,
        ) => &[],
    }
}

fn written(doer: Doer, place: Place) -> String {
    let word = match (doer, place) {
        (Doer::ChaosMesh, _) => "chaos-mesh",
        (Doer::Toxiproxy, _) => "toxiproxy",
        (Doer::Platform, Place::Kubernetes) => "kubernetes",
        (Doer::Platform, Place::Docker) => "docker",
        (Doer::Platform, _) => "local",
    };
    format!("via = \"{word}\"")
}

/// Why nobody can.
fn nobody(kind: FaultWord, place: Place) -> (String, String) {
    let word = kind.word();
    let why = match (kind, place) {
        (_, Place::Nowhere) => {
            let message = format!("`{word}` needs a platform: without one there is nothing that it could act on");
            return (message, "add [platform.local], or write kind = \"command\"".to_owned());
        }
        (FaultWord::PodPause, _) => "nothing there stops a pod's processes and lets them go on",
        (FaultWord::IoLatency | FaultWord::IoError | FaultWord::DiskFull | FaultWord::FileCorrupt, Place::Docker) => {
            "a volume that a running container has mounted cannot be put behind a view"
        }
        (FaultWord::NetworkLoss, Place::Docker) => {
            "packets are dropped on loopback only, and a container's pass by its bridge; a byte stream cannot lose any"
        }
        (FaultWord::CpuStress | FaultWord::MemoryStress, Place::Docker) => {
            "burners would have to run inside the container's limits, and resbench puts no process into containers that are not its own"
        }
        _ => "only a view of our own can do that to a volume, and pods mount theirs without us",
    };
    (format!("{} cannot do `{word}`: {why}", place.words()), "write another kind, or kind = \"command\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_doer_where_somebody_can() {
        use Doer::{ChaosMesh, Platform, Toxiproxy};
        for (kind, place, via, who) in [
            (FaultWord::PodKill, Place::Kubernetes, None, Some(Platform)),
            (FaultWord::PodKill, Place::Kubernetes, Some(ViaWord::ChaosMesh), Some(ChaosMesh)),
            (FaultWord::PodKill, Place::Local, Some(ViaWord::ChaosMesh), None),
            (FaultWord::PodKill, Place::Kubernetes, Some(ViaWord::Local), None),
            (FaultWord::PodFailure, Place::Kubernetes, None, Some(ChaosMesh)),
            (FaultWord::PodFailure, Place::Kubernetes, Some(ViaWord::Kubernetes), Some(Platform)),
            (FaultWord::PodPause, Place::Kubernetes, None, None),
            (FaultWord::PodPause, Place::Docker, None, Some(Platform)),
            (FaultWord::NetworkDelay, Place::Local, None, Some(Platform)),
            (FaultWord::NetworkDelay, Place::Nowhere, None, Some(Toxiproxy)),
            (FaultWord::NetworkDelay, Place::Kubernetes, None, Some(ChaosMesh)),
            (FaultWord::NetworkReset, Place::Kubernetes, Some(ViaWord::ChaosMesh), None),
            (FaultWord::IoError, Place::Kubernetes, None, Some(ChaosMesh)),
            (FaultWord::DiskFull, Place::Kubernetes, None, None),
            (FaultWord::IoLatency, Place::Docker, None, None),
            (FaultWord::Command, Place::Nowhere, None, Some(Platform)),
        ] {
            assert_eq!(doer(kind, place, via).ok(), who, "{kind:?} on {place:?} via {via:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let refused = |kind, place, via| doer(kind, place, via).unwrap_err();
        let (message, _) = refused(FaultWord::PodPause, Place::Kubernetes, None);
        assert!(message.starts_with("Kubernetes cannot do `pod-pause`"), "{message}");
        let (_, help) = refused(FaultWord::NetworkReset, Place::Kubernetes, Some(ViaWord::ChaosMesh));
        assert!(help.contains("via = \"toxiproxy\""), "{help}");
    }
}
