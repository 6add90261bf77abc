//! A Deployment that was scaled to zero, and how it gets its replica back: by this run, by the watchdog of a dead one, or by
//! `resbench revert` on any machine with the same credentials.
//!
//! The Deployment carries the run's mark for as long as it is down. Without that mark there is nothing of ours to put back:
//! somebody has done it, or has taken over, or the request that takes it down has not landed. That one is outdated first, so
//! that it cannot land once everybody believes that all is well.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change::{Outcome, Trouble, change, settle};
use super::cluster::Cluster;
use super::{MARK, deployment_path};

/// What the Deployment had, for whoever finds it without us.
const HAD: &str = "resbench.io/replicas";

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
    pub(super) fn take_down(&self, cluster: &Cluster) -> Result<(), Trouble> {
        let taken = change(cluster, &self.path(), |object| {
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
        });
        taken.map(drop).map_err(|trouble| Trouble { why: self.told(&trouble.why), ..trouble })
    }

    /// Scales back. True when something was changed; without our mark nothing is. `taken_down`: what is known of the request
    /// that scaled to zero.
    pub(super) fn put_back(&self, cluster: &Cluster, taken_down: Outcome) -> Result<bool, String> {
        let by_hand = format!(
            "by hand: kubectl --context {} -n {} scale deployment {} --replicas={}",
            self.context, self.namespace, self.deployment, self.replicas
        );
        self.try_put_back(cluster, taken_down).map_err(|e| format!("{}; {by_hand}", self.told(&e)))
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
        // The run may have died while the request that scales to zero was under way; nobody here knows how that came out.
        self.put_back(&cluster, Outcome::Unknown)
    }

    fn try_put_back(&self, cluster: &Cluster, taken_down: Outcome) -> Result<bool, String> {
        let path = self.path();
        if taken_down == Outcome::Unknown && settle(cluster, &path, |object| is_of(object, &self.run))? {
            return Ok(false);
        }
        change(cluster, &path, |object| Ok(back(object, &self.run, self.replicas))).map_err(|trouble| trouble.why)
    }

    fn path(&self) -> String {
        deployment_path(&self.namespace, &self.deployment)
    }

    fn told(&self, why: &str) -> String {
        format!("Deployment {}/{}: {why}", self.namespace, self.deployment)
    }
}

/// It carries this run's mark.
fn is_of(object: &Value, run: &str) -> bool {
    object["metadata"]["annotations"][MARK] == *run
}

/// What puts the Deployment back; none when it does not carry the run's mark. Replicas that somebody has given it meanwhile stay.
fn back(object: &Value, run: &str, replicas: u32) -> Option<Value> {
    if !is_of(object, run) {
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
    use super::super::cluster::tests_support::{LOST, scripted};
    use super::*;

    fn restore() -> Restore {
        Restore {
            context: "prod".into(),
            server: "https://api:6443".into(),
            namespace: "ml".into(),
            deployment: "web".into(),
            replicas: 1,
            run: "r1".into(),
        }
    }

    fn deployment(version: &str, run: Option<&str>, replicas: u32) -> (u16, Value) {
        let meta = json!({"resourceVersion": version, "annotations": {MARK: run}});
        (200, json!({"metadata": meta, "spec": {"replicas": replicas}}))
    }

    #[test]
    fn a_scaling_that_was_not_answered_cannot_land_after_its_undo() {
        let (cluster, asked) = scripted(vec![deployment("7", None, 1), (LOST, json!({}))]);
        let trouble = restore().take_down(&cluster).unwrap_err();
        assert_eq!(trouble.outcome, Outcome::Unknown);
        assert!(trouble.why.starts_with("Deployment ml/web: "), "{}", trouble.why);
        // What lands late holds for this version only.
        assert!(asked.lock().unwrap()[1].contains(r#""resourceVersion":"7""#), "{asked:?}");

        let (cluster, asked) = scripted(vec![deployment("7", None, 1), (200, json!({})), (200, json!({}))]);
        assert_eq!(restore().put_back(&cluster, Outcome::Unknown), Ok(false));
        let asked = asked.lock().unwrap();
        assert!(asked[1].starts_with("PATCH ") && asked[1].contains(r#""resourceVersion":"7""#), "{asked:?}");
        assert!(asked.iter().all(|a| !a.contains("replicas")), "no replica was touched: {asked:?}");
    }

    #[test]
    fn a_scaling_that_lands_while_it_is_undone_is_put_back() {
        let landed = || deployment("8", Some("r1"), 0);
        let answers = vec![deployment("7", None, 1), (409, json!({})), landed(), landed(), (200, json!({}))];
        let (cluster, asked) = scripted(answers);
        assert_eq!(restore().put_back(&cluster, Outcome::Unknown), Ok(true));
        let asked = asked.lock().unwrap();
        assert!(asked[4].contains(r#""replicas":1"#) && asked[4].contains(r#""resourceVersion":"8""#), "{asked:?}");
    }

    #[test]
    fn a_scaling_that_is_known_leaves_an_unmarked_deployment_alone() {
        let (cluster, asked) = scripted(vec![deployment("7", None, 1)]);
        assert_eq!(restore().put_back(&cluster, Outcome::Known), Ok(false));
        assert_eq!(asked.lock().unwrap().len(), 1);
        let (cluster, _) = scripted(vec![(503, json!({}))]);
        let why = restore().put_back(&cluster, Outcome::Known).unwrap_err();
        assert!(why.starts_with("Deployment ml/web: ") && why.contains("; by hand: kubectl --context prod"), "{why}");
    }

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
        let restore = restore();
        let text = serde_json::to_string(&restore).unwrap();
        assert_eq!(serde_json::from_str::<Restore>(&text).unwrap(), restore);
        assert_eq!(restore.to_string(), "scaling Deployment ml/web of context prod back to 1");
    }
}
