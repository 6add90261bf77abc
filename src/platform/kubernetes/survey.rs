//! A look around before anything is done: who would be hit, which budgets stand in the way. Reads only.

use serde_json::Value;

use super::cluster::{Cluster, query};
use super::pod::Pod;
use super::{Found, pods_path};
use crate::plan::KubernetesPlatform;

/// Pods that are told one by one.
const TOLD: usize = 50;

/// What was found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The context's name.
    pub context: String,
    /// The API server and its version.
    pub server: String,
    /// Replicas that are ready.
    pub ready: usize,
    /// Replicas.
    pub replicas: usize,
    /// A line for each candidate.
    pub pods: Vec<String>,
    /// A line for each PodDisruptionBudget over them.
    pub budgets: Vec<String>,
    /// The Service's address.
    pub service: Option<String>,
    /// A line for each dependency.
    pub dependencies: Vec<String>,
}

/// Looks.
///
/// # Errors
/// As `Kubernetes::find`.
pub fn survey(plan: &KubernetesPlatform) -> Result<Survey, String> {
    let cluster = Cluster::connect(plan.context.as_deref())?;
    let version = cluster.version().map_err(|e| e.to_string())?;
    let found = Found::look(&cluster, plan)?;
    let items = found.pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pods: Vec<Pod> = items.iter().map(|o| Pod::read(o, plan.container.as_deref())).filter(Pod::lives).collect();
    let mut lines: Vec<String> = pods.iter().take(TOLD).map(line).collect();
    if pods.len() > TOLD {
        lines.push(format!("… and {} more", pods.len() - TOLD));
    }
    Ok(Survey {
        context: cluster.context().to_owned(),
        server: format!("{} ({version})", cluster.server()),
        ready: pods.iter().filter(|p| p.ready).count(),
        replicas: found.wanted.unwrap_or(pods.len()),
        pods: lines,
        budgets: budgets(&cluster, &plan.namespace, items),
        service: found.address.map(|a| a.to_string()),
        dependencies: plan.dependencies.iter().map(|d| dependency(&cluster, d)).collect(),
    })
}

fn line(pod: &Pod) -> String {
    let node = pod.node.as_deref().map(|n| format!(" on {n}")).unwrap_or_default();
    let state = match (pod.ready, pod.why.as_str()) {
        (true, _) => "ready".to_owned(),
        (false, "") => "not ready".to_owned(),
        (false, why) => format!("not ready: {why}"),
    };
    let restarts = if pod.restarts > 0 { format!(", {} restarts", pod.restarts) } else { String::new() };
    format!("{pod}{node}, {state}{restarts}")
}

fn dependency(cluster: &Cluster, d: &crate::plan::PodDependency) -> String {
    let labels = d.labels.to_string();
    let list = cluster.get(&format!("{}{}", pods_path(&d.namespace), query(&[("labelSelector", &labels)])));
    let names = |list: Value| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|o| Pod::read(o, None).to_string()).take(TOLD).collect::<Vec<_>>().join(", ")
    };
    format!("{}: {}", d.name, list.map_or_else(|e| e.to_string(), names))
}

/// Budgets of the namespace whose selector meets a pod.
fn budgets(cluster: &Cluster, namespace: &str, pods: &[Value]) -> Vec<String> {
    let list = match cluster.get(&format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets")) {
        Ok(list) => list,
        Err(e) => return vec![format!("not known: {e}")],
    };
    let all = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let over = |b: &&Value| pods.iter().any(|p| selects(&b["spec"]["selector"], &p["metadata"]["labels"]));
    all.iter().filter(over).map(budget).collect()
}

fn budget(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let rule = |key: &str| match &object["spec"][key] {
        Value::Null => None,
        Value::String(text) => Some(format!("{key} {text}")),
        other => Some(format!("{key} {other}")),
    };
    let rule = rule("minAvailable").or_else(|| rule("maxUnavailable")).unwrap_or_default();
    let allowed = object["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
    format!("{name}: {rule}, {allowed} may be evicted now")
}

/// Whether a label selector meets these labels. An empty one meets all.
fn selects(selector: &Value, labels: &Value) -> bool {
    let same = selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    same && selector["matchExpressions"].as_array().into_iter().flatten().all(|e| {
        let label = &labels[e["key"].as_str().unwrap_or_default()];
        let among = || e["values"].as_array().is_some_and(|values| values.contains(label));
        match e["operator"].as_str().unwrap_or_default() {
            "In" => among(),
            "NotIn" => !among(),
            "DoesNotExist" => label.is_null(),
            _ => !label.is_null(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_budget_is_over_the_pods_that_it_selects() {
        let labels = json!({"app": "web", "tier": "a"});
        for (selector, meets) in [
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "other"}}), false),
            (json!({}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}), false),
            (json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
        ] {
            assert_eq!(selects(&selector, &labels), meets, "{selector}");
        }
        let object =
            json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 2}, "status": {"disruptionsAllowed": 1}});
        assert_eq!(budget(&object), "web: minAvailable 2, 1 may be evicted now");
    }
}
