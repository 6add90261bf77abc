//! What is asked of a cluster before a fault of Chaos Mesh may be planned on it: the kind is served, we may make it,
//! nobody else's experiment is on the same pods.
//!
//! Reads, and sends dry runs; changes nothing.

use serde_json::Value;

use super::manifest::API_VERSION;
use super::object::collection;
use super::status::Status;
use crate::plan::Chaos;
use crate::platform::kubernetes::cluster::{ApiError, Cluster};

const GROUP: &str = "chaos-mesh.org";

/// The kind is served in the version that we speak.
///
/// # Errors
/// What is missing, and how to get it.
pub(super) fn served(cluster: &Cluster, chaos: Chaos) -> Result<(), String> {
    let (context, kind) = (cluster.context(), chaos.word());
    let help = "install Chaos Mesh 2.x: https://chaos-mesh.org/docs/production-installation-using-helm";
    match cluster.get(&format!("/apis/{API_VERSION}")) {
        Ok(resources) if has(&resources, &chaos.plural()) => Ok(()),
        Ok(_) => Err(format!("context {context} serves {API_VERSION}, but not {kind}: {help}")),
        Err(e) if e.not_found() => {
            let other = cluster.get(&format!("/apis/{GROUP}")).ok();
            let versions: Vec<String> = other.iter().flat_map(versions).collect();
            Err(match versions.as_slice() {
                [] => format!("context {context} has no {kind} (Chaos Mesh is not installed there): {help}"),
                found => {
                    format!("context {context} serves {kind} as {}, not as {API_VERSION}: {help}", found.join(", "))
                }
            })
        }
        Err(e) => Err(format!("{GROUP} on context {context}: {e}")),
    }
}

fn has(resources: &Value, plural: &str) -> bool {
    resources["resources"].as_array().into_iter().flatten().any(|r| r["name"] == plural)
}

fn versions(group: &Value) -> Vec<String> {
    let all = group["versions"].as_array().into_iter().flatten();
    all.filter_map(|v| v["groupVersion"].as_str()).map(str::to_owned).collect()
}

/// We may do all that a fault needs: on the object where it stands, on the pods that are `hit`, and make that kind wherever
/// one is `named` (the tool's own webhook asks for that).
///
/// # Errors
/// Every verb that is missing.
pub(super) fn allowed(
    cluster: &Cluster,
    chaos: Chaos,
    home: &str,
    hit: &[String],
    named: &[String],
) -> Result<(), String> {
    let plural = chaos.plural();
    let mut needs: Vec<(&str, &str, &str, &str)> =
        ["create", "get", "list", "delete"].map(|verb| (verb, GROUP, plural.as_str(), home)).to_vec();
    for namespace in hit {
        needs.extend(["get", "list", "watch"].map(|verb| (verb, "", "pods", namespace.as_str())));
    }
    for namespace in named.iter().filter(|n| *n != home) {
        needs.push(("create", GROUP, &plural, namespace));
    }
    let mut missing = Vec::new();
    for (verb, group, resource, namespace) in needs {
        if !cluster.can(verb, group, resource, "", Some(namespace))? {
            let dot = if group.is_empty() { "" } else { "." };
            missing.push(format!("{verb} {resource}{dot}{group} in {namespace}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let context = cluster.context();
    Err(format!("context {context} may not {}: `resbench doctor --rbac` prints the Role to add", missing.join(", ")))
}

/// Nobody else's experiment is active on these pods (`namespace/name`).
///
/// # Errors
/// Whose it is, or that it cannot be found out.
pub(super) fn alone(cluster: &Cluster, run: &str, namespaces: &[String], pods: &[String]) -> Result<(), String> {
    let mut found = Vec::new();
    for chaos in Chaos::ALL {
        for list in lists(cluster, &chaos.plural(), namespaces)? {
            found.extend(strangers(&list, chaos, run, pods));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("somebody else's fault is on the same pods: {}: wait for its end, or delete it", found.join("; ")))
}

/// Of the whole cluster where we may see it, else of the namespaces where we may.
fn lists(cluster: &Cluster, plural: &str, namespaces: &[String]) -> Result<Vec<Value>, String> {
    let look = |namespace: Option<&str>| cluster.get(&collection(plural, namespace));
    let seen = match look(None) {
        Err(e) if e.code == 403 => {
            namespaces.iter().map(|n| seen(look(Some(n.as_str())))).collect::<Result<Vec<_>, _>>()
        }
        answer => seen(answer).map(|list| vec![list]),
    };
    let seen = seen.map_err(|e| {
        format!(
            "it is not known whether somebody else's fault is on the same pods: {plural}: {e}; start again once \
             `kubectl get {plural} -A` answers"
        )
    })?;
    Ok(seen.into_iter().flatten().collect())
}

/// A list; none of a kind that is not served, or where we may not see it. A server that is busy or ill has said neither.
fn seen(answer: Result<Value, ApiError>) -> Result<Option<Value>, ApiError> {
    match answer {
        Err(e) if e.not_found() || e.code == 403 => Ok(None),
        answer => answer.map(Some),
    }
}

fn strangers(list: &Value, chaos: Chaos, run: &str, pods: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for object in list["items"].as_array().into_iter().flatten() {
        let meta = &object["metadata"];
        let action = object["spec"]["action"].as_str().unwrap_or_default();
        let status = Status::of(object, chaos.is_one_shot(action));
        let is_over = status.one_shot && status.injected() || status.recovered();
        let hit = status.records.iter().find(|r| pods.iter().any(|p| p == r.pod()));
        if let Some(record) = hit.filter(|_| meta["labels"]["resbench.io/run"] != run && !is_over) {
            let text = |key: &str| meta[key].as_str().unwrap_or_default();
            found.push(format!("{} {}/{} on pod {}", chaos.word(), text("namespace"), text("name"), record.pod()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::kubernetes::cluster::tests_support::{LOST, scripted};
    use serde_json::json;

    fn object(run: Option<&str>, action: &str, desired: &str, phase: &str) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": "x", "labels": {"resbench.io/run": run}},
            "spec": {"action": action},
            "status": {"experiment": {"desiredPhase": desired, "containerRecords": [
                {"id": "n/a", "phase": phase, "injectedCount": 1, "recoveredCount": u64::from(phase != "Injected")},
            ]}},
        })
    }

    #[test]
    fn only_what_is_active_on_our_pods_and_not_ours() {
        let on = |object: Value, pod: &str| {
            strangers(&json!({"items": [object]}), Chaos::Pod, "r1", &[pod.to_owned()]).concat()
        };
        let theirs = || object(None, "pod-failure", "Run", "Injected");
        assert_eq!(on(theirs(), "n/a"), "PodChaos n/x on pod n/a");
        assert_eq!(on(theirs(), "n/b"), "");
        assert_eq!(on(object(Some("r1"), "pod-failure", "Run", "Injected"), "n/a"), "", "ours");
        assert_ne!(on(object(Some("r2"), "pod-failure", "Run", "Injected"), "n/a"), "", "of another run");
        assert_eq!(on(object(None, "pod-failure", "Stop", "Not Injected"), "n/a"), "", "over");
        assert_eq!(on(object(None, "pod-kill", "Run", "Injected"), "n/a"), "", "a kill that has happened");
        assert_ne!(on(object(None, "pod-failure", "Stop", "Injected"), "n/a"), "", "still on");
    }

    #[test]
    fn a_list_that_does_not_come_is_no_empty_one() {
        let list = || json!({"items": []});
        let seen = |answers: Vec<(u16, Value)>| {
            let (cluster, _) = scripted(answers);
            lists(&cluster, "podchaos", &["a".to_owned(), "b".to_owned()])
        };
        assert_eq!(seen(vec![(200, list())]), Ok(vec![list()]));
        assert_eq!(seen(vec![(404, json!({}))]), Ok(vec![]), "not installed");
        assert_eq!(seen(vec![(403, json!({})), (200, list()), (403, json!({}))]), Ok(vec![list()]), "as far as we may");
        for status in [429, 500, 503, 401, LOST] {
            for before in [vec![], vec![(403, json!({})), (200, list())]] {
                let mut answers = before;
                answers.push((status, json!({})));
                let why = seen(answers).unwrap_err();
                assert!(why.contains("not known") && why.contains("`kubectl get podchaos -A`"), "{status}: {why}");
            }
        }
    }

    #[test]
    fn what_a_cluster_serves() {
        let list = json!({"resources": [{"name": "podchaos"}, {"name": "schedules"}]});
        assert!(has(&list, "podchaos") && !has(&list, "iochaos"));
        assert_eq!(versions(&json!({"versions": [{"groupVersion": "chaos-mesh.org/v2"}]})), ["chaos-mesh.org/v2"]);
    }
}
