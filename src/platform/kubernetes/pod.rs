//! What we read of a pod: the few fields that say who it is and how it does. Pure.

use serde_json::Value;

/// A pod at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// Told apart from another pod of the same name.
    pub(super) uid: String,
    /// The node it was scheduled to.
    pub(super) node: Option<String>,
    /// Its containers run (the one that serves the model, where that is named).
    pub(super) running: bool,
    /// Its condition `Ready`.
    pub(super) ready: bool,
    /// It was told to end.
    pub(super) terminating: bool,
    /// It has ended for good and stands there as a record.
    pub(super) over: bool,
    /// Restarts of its containers so far.
    pub(super) restarts: u64,
    /// Why a container does not run or last ended, as `OOMKilled`; empty when nothing is said.
    pub(super) why: String,
    /// Names of its containers.
    pub(super) containers: Vec<String>,
}

impl Pod {
    /// Reads an object of the API. `container` is the one that serves the model; none: all of them.
    pub(super) fn read(object: &Value, container: Option<&str>) -> Pod {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let meta = &object["metadata"];
        let all = object["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mine = |s: &&Value| container.is_none_or(|c| s["name"] == c);
        let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names = object["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        Pod {
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            uid: text(&meta["uid"]),
            node: object["spec"]["nodeName"].as_str().map(str::to_owned),
            running: all.iter().any(|s| mine(&s)) && all.iter().filter(mine).all(|s| s["state"]["running"].is_object()),
            ready: conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
            terminating: meta["deletionTimestamp"].is_string(),
            over: matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
            restarts: all.iter().filter(mine).filter_map(|s| s["restartCount"].as_u64()).sum(),
            why: all.iter().filter(mine).find_map(why).unwrap_or_default(),
            containers: names.iter().map(|c| text(&c["name"])).collect(),
        }
    }

    /// It may be hit, and take the place of another.
    pub(super) fn lives(&self) -> bool {
        !self.terminating && !self.over
    }
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pod {}/{}", self.namespace, self.name)
    }
}

fn why(status: &Value) -> Option<String> {
    let waiting = status["state"]["waiting"]["reason"].as_str().filter(|r| *r != "ContainerCreating");
    let ended = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
    let ended = ended.into_iter().find(|t| t.is_object()).map(|t| {
        let reason = t["reason"].as_str().unwrap_or("ended");
        t["exitCode"].as_i64().map_or_else(|| reason.to_owned(), |code| format!("{reason}, exit code {code}"))
    });
    let parts: Vec<String> = waiting.map(str::to_owned).into_iter().chain(ended).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The endpoints of an EndpointSlice that are pods: their UIDs, and whether they are in rotation.
pub(super) fn endpoints(slice: &Value) -> Vec<(String, bool)> {
    let all = slice["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let uid = |e: &Value| e["targetRef"]["uid"].as_str().map(str::to_owned);
    // A missing `ready` is to be read as true, says the API.
    let serves = |e: &Value| e["conditions"]["ready"].as_bool() != Some(false);
    all.iter().filter_map(|e| uid(e).map(|uid| (uid, serves(e)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_read_from_what_the_api_says() {
        let object = json!({
            "metadata": {"namespace": "ml", "name": "a", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n1", "containers": [{"name": "web"}, {"name": "side"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    {"name": "web", "restartCount": 2, "state": {"running": {"startedAt": "x"}},
                     "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}},
                    {"name": "side", "restartCount": 5, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        let pod = Pod::read(&object, Some("web"));
        assert_eq!((pod.to_string().as_str(), pod.uid.as_str(), pod.node.as_deref()), ("pod ml/a", "u", Some("n1")));
        assert!(pod.running && pod.ready && pod.terminating && !pod.over && !pod.lives());
        assert_eq!((pod.restarts, pod.why.as_str()), (2, "OOMKilled, exit code 137"));
        let all = Pod::read(&object, None);
        assert!(!all.running && all.restarts == 7, "{all:?}");
        assert_eq!(all.containers, ["web", "side"]);
        assert!(!Pod::read(&json!({}), None).running, "nothing is known of it yet");
    }

    #[test]
    fn endpoints_without_a_word_are_ready() {
        let slice = json!({"endpoints": [
            {"targetRef": {"kind": "Pod", "uid": "a"}, "conditions": {"ready": false}},
            {"targetRef": {"kind": "Pod", "uid": "b"}, "conditions": {}},
            {"addresses": ["10.0.0.1"]}]});
        assert_eq!(endpoints(&slice), [("a".to_owned(), false), ("b".to_owned(), true)]);
    }
}
