//! A Deployment that was scaled to zero, and how it gets its replica back: by this run, by the watchdog of a dead one, or by
//! `resbench revert` on any machine with the same credentials.
//!
//! The Deployment carries the run's mark for as long as it is down. Without that mark there is nothing of ours to put back:
//! somebody has done it, or has taken over.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::{MARK, deployment_path};
use crate::clock;

/// What the Deployment had, for whoever finds it without us.
const HAD: &str = "resbench.io/replicas";
/// Before a change that met another one is tried again.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
/// Changes that are tried: the controller writes to the same object.
const TRIES: usize = 10;

/// What has to be put back, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The kubeconfig's context.
    pub context: String,
    /// Its API server, so that a context of the same name elsewhere is not mistaken for it.
    pub server: String,
    /// Where the Deployment lives.
    pub namespace: String,
    /// Its name.
    pub deployment: String,
    /// What it had.
    pub replicas: u32,
    /// The run that took it down.
    pub run: String,
}

impl std::fmt::Display for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Restore { context, namespace, deployment, replicas, .. } = self;
        write!(f, "scaling Deployment {namespace}/{deployment} of context {context} back to {replicas}")
    }
}

impl Restore {
    /// What a Deployment that carries the mark of some run says of itself; none when it carries none.
    pub fn of_marked(cluster: &Cluster, object: &Value) -> Option<Restore> {
        let (meta, marks) = (&object["metadata"], &object["metadata"]["annotations"]);
        Some(Restore {
            context: cluster.context().to_owned(),
            server: cluster.server().to_owned(),
            namespace: meta["namespace"].as_str()?.to_owned(),
            deployment: meta["name"].as_str()?.to_owned(),
            replicas: marks[HAD].as_str()?.parse().ok()?,
            run: marks[MARK].as_str()?.to_owned(),
        })
    }

    /// Scales to zero, marked.
    pub(super) fn take_down(&self, cluster: &Cluster) -> Result<(), String> {
        self.change(cluster, |object| {
            let has = object["spec"]["replicas"].as_u64().unwrap_or(1);
            match object["metadata"]["annotations"][MARK].as_str() {
                Some(other) if other != self.run => Err(format!("it is under a fault of run {other}")),
                _ if has != u64::from(self.replicas) => {
                    Err(format!("it wants {has} replicas, and {} were expected", self.replicas))
                }
                _ => Ok(Some(json!({
                    "metadata": {"annotations": {MARK: self.run, HAD: self.replicas.to_string()}},
                    "spec": {"replicas": 0},
                }))),
            }
        })
        .map(drop)
    }

    /// Scales back. True when something was changed; without our mark nothing is.
    pub(super) fn put_back(&self, cluster: &Cluster) -> Result<bool, String> {
        let by_hand = format!(
            "by hand: kubectl --context {} -n {} scale deployment {} --replicas={}",
            self.context, self.namespace, self.deployment, self.replicas
        );
        self.change(cluster, |object| Ok(back(object, &self.run, self.replicas))).map_err(|e| format!("{e}; {by_hand}"))
    }

    /// The same with a connection of its own. True when something was changed.
    ///
    /// # Errors
    /// What could not be put back, and how a person does it.
    pub fn perform(&self) -> Result<bool, String> {
        let context = Some(self.context.as_str()).filter(|c| !c.is_empty());
        let cluster = Cluster::connect(context)?;
        if cluster.server() != self.server {
            return Err(format!(
                "context {} is {} here, and was {} in the run: use that cluster's kubeconfig",
                self.context,
                cluster.server(),
                self.server
            ));
        }
        self.put_back(&cluster)
    }

    /// Reads, decides, and writes on the condition that nobody else wrote in between.
    fn change(
        &self,
        cluster: &Cluster,
        decide: impl Fn(&Value) -> Result<Option<Value>, String>,
    ) -> Result<bool, String> {
        let who = format!("Deployment {}/{}", self.namespace, self.deployment);
        let path = deployment_path(&self.namespace, &self.deployment);
        let mut tries = 0;
        loop {
            let object = match cluster.get(&path) {
                Ok(object) => object,
                Err(e) if e.not_found() => return Ok(false),
                Err(e) => return Err(format!("{who}: {e}")),
            };
            let Some(mut patch) = decide(&object).map_err(|e| format!("{who}: {e}"))? else { return Ok(false) };
            patch["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
            match cluster.patch_merge(&path, &patch) {
                Ok(_) => return Ok(true),
                Err(e) if e.code == 409 && tries < TRIES => tries += 1,
                Err(e) => return Err(format!("{who}: {e}")),
            }
            clock::sleep(AGAIN);
        }
    }
}

/// What puts the Deployment back; none when it does not carry the run's mark. Replicas that somebody has given it meanwhile stay.
fn back(object: &Value, run: &str, replicas: u32) -> Option<Value> {
    if object["metadata"]["annotations"][MARK] != *run {
        return None;
    }
    let mut patch = json!({"metadata": {"annotations": {MARK: null, HAD: null}}});
    if object["spec"]["replicas"] == 0 {
        patch["spec"] = json!({"replicas": replicas});
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_carries_our_mark_is_put_back() {
        let deployment = |run: &str, replicas: u32| json!({"metadata": {"annotations": {MARK: run}}, "spec": {"replicas": replicas}});
        let patch = back(&deployment("r1", 0), "r1", 1).unwrap();
        assert_eq!(patch["spec"]["replicas"], 1);
        assert!(patch["metadata"]["annotations"][MARK].is_null());
        assert_eq!(back(&deployment("r2", 0), "r1", 1), None, "another run's");
        assert_eq!(back(&json!({"spec": {"replicas": 0}}), "r1", 1), None, "put back already");
        assert!(back(&deployment("r1", 4), "r1", 1).unwrap()["spec"].is_null(), "somebody scaled it up");
    }

    #[test]
    fn a_journal_keeps_all_that_another_machine_needs() {
        let restore = Restore {
            context: "prod".into(),
            server: "https://api:6443".into(),
            namespace: "ml".into(),
            deployment: "web".into(),
            replicas: 1,
            run: "r1".into(),
        };
        let text = serde_json::to_string(&restore).unwrap();
        assert_eq!(serde_json::from_str::<Restore>(&text).unwrap(), restore);
        assert_eq!(restore.to_string(), "scaling Deployment ml/web of context prod back to 1");
    }
}
