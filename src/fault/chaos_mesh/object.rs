//! One object of Chaos Mesh in a cluster: where it stands, and how it is taken away.
//!
//! Owns deletion with all its waiting, for a live fault and for a dead run's journal alike. The tool's finalizer is never
//! forced: it goes when the tool has put everything back, and whoever forces it leaves the fault behind unseen.

use std::time::Duration;

use serde_json::Value;

use super::manifest::API_VERSION;
use super::status::Status;
use crate::clock;
use crate::fault::undo::UndoDone;
use crate::platform::kubernetes::cluster::Cluster;

/// How long the tool may take to put everything back.
pub(super) const RECOVERY: Duration = Duration::from_secs(30);

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(50);

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fault) struct Object {
    pub(in crate::fault) namespace: String,
    pub(in crate::fault) plural: String,
    pub(in crate::fault) name: String,
}

impl Object {
    /// The collection it belongs to, as a path of the API.
    pub(super) fn collection(&self) -> String {
        collection(&self.plural, Some(&self.namespace))
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }

    /// How a person takes it away.
    pub(super) fn by_hand(&self, context: &str) -> String {
        let Object { namespace, plural, name } = self;
        format!("kubectl --context {context} -n {namespace} delete {plural} {name}")
    }

    /// Deletes it and waits until it is gone, which is when the tool has put everything back.
    ///
    /// # Errors
    /// When it is still there, with what the tool complains of and the command that a person needs.
    pub(in crate::fault) fn remove(&self, cluster: &Cluster) -> Result<UndoDone, String> {
        let (what, by_hand) = (self.to_string(), self.by_hand(cluster.context()));
        match cluster.delete(&self.path(), None) {
            Ok(_) => {}
            Err(e) if e.not_found() => return Ok(UndoDone::GoneAlready),
            Err(e) => return Err(format!("{what} could not be deleted: {e}; by hand: {by_hand}")),
        }
        let asked = clock::monotonic_nanos();
        loop {
            let since = Duration::from_nanos(clock::monotonic_nanos() - asked);
            let why = match cluster.get(&self.path()) {
                Err(e) if e.not_found() => return Ok(UndoDone::Done),
                Err(e) => (since > RECOVERY).then(|| e.to_string()),
                Ok(object) => self.stuck(&object, since),
            };
            if let Some(why) = why {
                return Err(format!("{what} does not go away: {why}; by hand, once its cause is cured: {by_hand}"));
            }
            clock::sleep(GLANCE);
        }
    }

    fn stuck(&self, object: &Value, since: Duration) -> Option<String> {
        let status = Status::of(object, false);
        status.stuck(since, RECOVERY).then(|| match status.complaints().as_slice() {
            [] => format!("its finalizer is still on it after {} s (is its controller up?)", since.as_secs()),
            complaints => complaints.join("; "),
        })
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.plural, self.namespace, self.name)
    }
}

/// All objects of a kind: of one namespace, or of every one.
pub(super) fn collection(plural: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("/apis/{API_VERSION}/namespaces/{namespace}/{plural}"),
        None => format!("/apis/{API_VERSION}/{plural}"),
    }
}
