//! Whom an author's own experiment would select: the tool's selector, read as the tool reads it.
//!
//! Pure. Used to look before the tool does: an empty selection is an experiment that never starts, and one that is
//! larger than meant is an outage. Where a criterion is not followed (labels of nodes), more pods are named than the
//! tool would take, never fewer.

use serde_json::{Map, Value};

/// A selector of Chaos Mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selection {
    /// Where pods are looked for; never empty.
    pub(super) namespaces: Vec<String>,
    /// As the API takes it; empty for all.
    pub(super) labels: String,
    /// As the API takes it; empty for all.
    pub(super) fields: String,
    annotations: Vec<(String, String)>,
    nodes: Vec<String>,
    /// By name, and then nothing else counts.
    pods: Option<Vec<String>>,
}

impl Selection {
    /// Reads `spec.selector`; `home` is where the object stands, which the tool takes where no namespace is named.
    pub(super) fn of(spec: &Map<String, Value>, home: &str) -> Selection {
        let selector = spec.get("selector").unwrap_or(&Value::Null);
        if let Some(pods) = selector["pods"].as_object().filter(|p| !p.is_empty()) {
            let named = |(namespace, names): (&String, &Value)| {
                texts(names).into_iter().map(|name| format!("{namespace}/{name}")).collect::<Vec<_>>()
            };
            let namespaces = pods.keys().cloned().collect();
            return Selection { namespaces, pods: Some(pods.iter().flat_map(named).collect()), ..Selection::default() };
        }
        let mut namespaces = texts(&selector["namespaces"]);
        if namespaces.is_empty() {
            namespaces.push(home.to_owned());
        }
        let pairs = |key: &str| -> Vec<(String, String)> {
            let all = selector[key].as_object().into_iter().flatten();
            all.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
        };
        let equal = |key: &str| pairs(key).into_iter().map(|(k, v)| format!("{k}={v}"));
        let expressions = selector["expressionSelectors"].as_array().into_iter().flatten().map(expression);
        Selection {
            namespaces,
            labels: equal("labelSelectors").chain(expressions).collect::<Vec<_>>().join(","),
            fields: equal("fieldSelectors").collect::<Vec<_>>().join(","),
            annotations: pairs("annotationSelectors"),
            nodes: texts(&selector["nodes"]),
            pods: None,
        }
    }

    /// Whether a pod that labels and fields let through is meant: running, and so on.
    pub(super) fn takes(&self, pod: &Value) -> bool {
        let on_node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let noted = |(key, value): &(String, String)| pod["metadata"]["annotations"][key] == value.as_str();
        pod["status"]["phase"] == "Running"
            && self.pods.as_ref().is_none_or(|pods| pods.contains(&super::effect::id(pod)))
            && (self.nodes.is_empty() || self.nodes.iter().any(|n| n == on_node))
            && self.annotations.iter().all(noted)
    }
}

/// How many of `total` pods the tool's `mode` takes at most. It rounds a percentage up.
pub(super) fn at_most(spec: &Map<String, Value>, total: usize) -> usize {
    let text = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default();
    let value: usize = text("value").parse().unwrap_or(total);
    match text("mode") {
        "one" => total.min(1),
        "fixed" => value.min(total),
        "fixed-percent" | "random-max-percent" => (total * value.min(100)).div_ceil(100),
        _ => total,
    }
}

fn expression(e: &Value) -> String {
    let (key, values) = (e["key"].as_str().unwrap_or_default(), texts(&e["values"]).join(","));
    match e["operator"].as_str().unwrap_or_default() {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn labels_and_expressions_are_asked_of_the_api() {
        let selection = Selection::of(
            &spec(json!({"selector": {
                "labelSelectors": {"app": "web", "tier": "a"},
                "expressionSelectors": [{"key": "x", "operator": "In", "values": ["1", "2"]}, {"key": "y", "operator": "DoesNotExist"}],
                "fieldSelectors": {"spec.nodeName": "n1"},
            }})),
            "home",
        );
        assert_eq!(selection.labels, "app=web,tier=a,x in (1,2),!y");
        assert_eq!((selection.namespaces, selection.fields.as_str()), (vec!["home".to_owned()], "spec.nodeName=n1"));
    }

    #[test]
    fn only_running_pods_that_fit() {
        let pod = |name: &str, phase: &str| {
            json!({"metadata": {"namespace": "n", "name": name, "annotations": {"k": "v"}},
                "spec": {"nodeName": "n1"}, "status": {"phase": phase}})
        };
        let takes = |selector: Value, pod: &Value| Selection::of(&spec(json!({"selector": selector})), "n").takes(pod);
        let (a, done) = (pod("a", "Running"), pod("a", "Succeeded"));
        assert!(takes(json!({}), &a) && !takes(json!({}), &done));
        assert!(takes(json!({"nodes": ["n1"], "annotationSelectors": {"k": "v"}}), &a));
        assert!(!takes(json!({"nodes": ["n2"]}), &a) && !takes(json!({"annotationSelectors": {"k": "w"}}), &a));
        assert!(takes(json!({"pods": {"n": ["a"]}}), &a) && !takes(json!({"pods": {"n": ["b"]}}), &a));
    }

    #[test]
    fn modes_count_as_the_tool_does() {
        let count = |mode: &str, value: &str| at_most(&spec(json!({"mode": mode, "value": value})), 3);
        assert_eq!((count("one", ""), count("all", ""), count("fixed", "9")), (1, 3, 3));
        assert_eq!((count("fixed-percent", "34"), count("random-max-percent", "33")), (2, 1));
    }
}
