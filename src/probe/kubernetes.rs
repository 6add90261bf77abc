//! Ready replicas of a workload, as its cluster counts them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::clock;
use crate::plan::{KubernetesProbe, Workload};
use crate::platform::kubernetes::cluster::{Cluster, query};
use crate::units::show_duration;

/// The connection, made when it is first needed and kept.
#[derive(Default)]
pub(super) struct Connection(Mutex<Option<Cluster>>);

/// Asks once.
pub(super) fn ask(probe: &KubernetesProbe, connection: &Connection, timeout: Duration) -> Result<String, String> {
    let began = clock::monotonic_nanos();
    let cluster = connected(probe, connection)?;
    let namespace = &probe.namespace;
    let (what, path) = match &probe.of {
        Workload::Deployment(name) => {
            (format!("Deployment {name}"), format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}"))
        }
        Workload::Labelled(labels) => {
            let selector = query(&[("labelSelector", &labels.to_string())]);
            (format!("pods {labels}"), format!("/api/v1/namespaces/{namespace}/pods{selector}"))
        }
    };
    let object = cluster.get(&path).map_err(|e| format!("{what}: {e}"))?;
    let took = Duration::from_nanos(clock::monotonic_nanos() - began);
    if took > timeout {
        return Err(format!("{what}: the cluster answered after {}, too late", show_duration(took)));
    }
    judge(probe, &what, &object)
}

fn connected(probe: &KubernetesProbe, connection: &Connection) -> Result<Cluster, String> {
    let mut kept = connection.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = &*kept {
        return Ok(cluster.clone());
    }
    let cluster = Cluster::connect(probe.context.as_deref())?;
    *kept = Some(cluster.clone());
    Ok(cluster)
}

fn judge(probe: &KubernetesProbe, what: &str, object: &Value) -> Result<String, String> {
    let (ready, of) = match &probe.of {
        // Left out by the API where it is 0.
        Workload::Deployment(_) => {
            (object["status"]["readyReplicas"].as_u64().unwrap_or(0), object["spec"]["replicas"].as_u64().unwrap_or(1))
        }
        Workload::Labelled(_) => {
            let pods = object["items"].as_array().ok_or("the answer is no list of pods")?;
            (pods.iter().filter(|p| is_ready(p)).count() as u64, pods.len() as u64)
        }
    };
    let (seen, wanted) = (format!("{what}: {ready} of {of} ready"), probe.ready);
    if ready >= u64::from(wanted) { Ok(seen) } else { Err(format!("{seen}, expected at least {wanted}")) }
}

/// Ready, and not about to go.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::plan::Labels;

    fn probe(of: Workload, ready: u32) -> KubernetesProbe {
        KubernetesProbe { context: None, namespace: "models".into(), of, ready }
    }

    #[test]
    fn a_deployment_counts_for_itself() {
        let p = probe(Workload::Deployment("m".into()), 2);
        let of = |status| judge(&p, "Deployment m", &json!({ "spec": { "replicas": 3 }, "status": status }));
        assert_eq!(of(json!({ "readyReplicas": 2 })), Ok("Deployment m: 2 of 3 ready".into()));
        let none = "Deployment m: 0 of 3 ready, expected at least 2";
        assert_eq!(of(json!({ "unavailableReplicas": 3 })), Err(none.into()));
    }

    #[test]
    fn pods_that_go_are_not_ready() {
        let p = probe(Workload::Labelled(Labels(BTreeMap::from([("app".into(), "m".into())]))), 2);
        let pod = |ready: &str, going: bool| {
            let going = if going { json!("2026-01-01T00:00:00Z") } else { Value::Null };
            let conditions = json!([{ "type": "Initialized", "status": "True" }, { "type": "Ready", "status": ready }]);
            json!({ "metadata": { "deletionTimestamp": going }, "status": { "conditions": conditions } })
        };
        let of = |pods: Vec<Value>| judge(&p, "pods app=m", &json!({ "items": pods }));
        assert!(of(vec![pod("True", false), pod("True", false), pod("False", false)]).is_ok());
        let why = of(vec![pod("True", false), pod("True", true), json!({})]).unwrap_err();
        assert_eq!(why, "pods app=m: 1 of 3 ready, expected at least 2");
        assert!(judge(&p, "pods", &json!({ "kind": "Status" })).is_err());
    }
}
