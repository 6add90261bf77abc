//! Whom an author's own experiment would select: the tool's selector, read as the tool reads it.
//!
//! Pure. Used to look before the tool does: an empty selection is an experiment that never starts, and one that is
//! larger than meant is an outage. Where a criterion is not followed (labels of nodes), more pods are named than the
//! tool would take, never fewer.

use serde_json::{Map, Value};

use crate::plan::Safety;

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
    /// Reads the `selector` of one end; `home` is where the object stands, which the tool takes where no namespace is named.
    pub(super) fn of(end: &Map<String, Value>, home: &str) -> Selection {
        let selector = end.get("selector").unwrap_or(&Value::Null);
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

/// What of a spec selects pods, each with `selector`, `mode` and `value`: the spec itself, and the `target` of a network
/// fault.
pub(super) fn ends(spec: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    // The `target` of an HTTP fault is a word.
    std::iter::once(spec).chain(spec.get("target").and_then(Value::as_object))
}

/// Those of the ends that the fault is put on: from the target, or both ways, it is put on the target's pods too.
pub(super) fn hit_ends(spec: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let one_way = spec.get("direction").is_none_or(|direction| direction == "to");
    ends(spec).take(if one_way { 1 } else { 2 })
}

/// One choice that the tool makes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    /// Those among whom it chooses, `namespace/name`.
    pub(super) among: Vec<String>,
    /// How many it takes at most.
    pub(super) most: usize,
}

/// Every pod that is among them, once.
pub(super) fn all(choices: &[Choice]) -> Vec<String> {
    let mut all: Vec<String> = choices.iter().flat_map(|c| c.among.iter().cloned()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What is hit at once is within the limits: of each choice, so that it leaves enough there, and of all of them together.
///
/// # Errors
/// How many are too many, and which limit says so.
pub(super) fn within(choices: &[Choice], safety: &Safety) -> Result<(), String> {
    let of = all(choices).len();
    let together = choices.iter().map(|c| c.most).sum::<usize>().min(of);
    for (most, of) in choices.iter().map(|c| (c.most, c.among.len())).chain([(together, of)]) {
        let (limit, why) = safety.most(of);
        if most > limit {
            return Err(format!("it would hit {most} of {of} pods at once, but at most {limit} may be: {why}"));
        }
    }
    Ok(())
}

/// How many of `total` pods the tool's `mode` takes at most. It rounds a percentage up.
pub(super) fn at_most(end: &Map<String, Value>, total: usize) -> usize {
    let text = |key: &str| end.get(key).and_then(Value::as_str).unwrap_or_default();
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
    fn a_network_fault_has_a_second_end_and_may_be_put_on_it() {
        let modes = |value: Value| {
            let spec = spec(value);
            let mode = |end: &Map<String, Value>| end["mode"].as_str().unwrap().to_owned();
            let named: Vec<String> = ends(&spec).map(mode).collect();
            let hit: Vec<String> = hit_ends(&spec).map(mode).collect();
            format!("{} / {}", named.join(" "), hit.join(" "))
        };
        let target = json!({"mode": "all", "selector": {"namespaces": ["db"]}});
        for (direction, told) in [("to", "one all / one"), ("from", "one all / one all"), ("both", "one all / one all")]
        {
            assert_eq!(modes(json!({"mode": "one", "direction": direction, "target": target})), told);
        }
        assert_eq!(modes(json!({"mode": "one", "target": target})), "one all / one", "`to` is the tool's default");
        assert_eq!(modes(json!({"mode": "one", "target": "Request"})), "one / one", "of an HTTP fault");
    }

    #[test]
    fn both_ends_count_against_the_limits() {
        let choice = |names: &[&str], most| Choice { among: names.iter().map(|n| (*n).to_owned()).collect(), most };
        let limit = |max_targets| Safety { max_targets, ..Safety::default() };
        let (web, db) = (choice(&["n/a", "n/b", "n/c"], 1), choice(&["db/x", "db/y"], 1));
        assert_eq!(within(std::slice::from_ref(&web), &limit(Some(1))), Ok(()));
        let why = within(&[web.clone(), db.clone()], &limit(Some(1))).unwrap_err();
        assert_eq!(why, "it would hit 2 of 5 pods at once, but at most 1 may be: [safety] max_targets = 1");
        assert_eq!(within(&[web.clone(), db.clone()], &limit(None)), Ok(()));
        let all_of_db = Choice { most: 2, ..db };
        let why = within(&[web.clone(), all_of_db], &limit(None)).unwrap_err();
        assert!(why.starts_with("it would hit 2 of 2 pods at once, but at most 1 may be: all but one"), "{why}");
        let twice = [web.clone(), Choice { most: 3, ..web }];
        assert_eq!(all(&twice), ["n/a", "n/b", "n/c"]);
        assert_eq!(within(&twice, &limit(Some(3))), Ok(()), "a pod of both ends is one pod");
    }

    #[test]
    fn modes_count_as_the_tool_does() {
        let count = |mode: &str, value: &str| at_most(&spec(json!({"mode": mode, "value": value})), 3);
        assert_eq!((count("one", ""), count("all", ""), count("fixed", "9")), (1, 3, 3));
        assert_eq!((count("fixed-percent", "34"), count("random-max-percent", "33")), (2, 1));
    }
}
