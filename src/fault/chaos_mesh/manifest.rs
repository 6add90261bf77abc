//! The custom resources of Chaos Mesh that we make: typed structs, and the JSON that they become.
//!
//! Pure. Owns which words of the tool a fault of ours turns into; leaves alone who is hit (the runner draws that) and
//! what becomes of an object (`status.rs`). Each object names the very pods that were drawn, so that the tool chooses
//! nothing, and has a `duration`, so that it ends even when nobody is left to delete it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::plan::{Chaos, ChaosMesh, Direction, Experiment, FaultKind, FaultPlan, IoMethod, IoScope, Lasts, Via};
use crate::units::{Offset, Ratio};

/// Group and version of every kind of Chaos Mesh.
pub const API_VERSION: &str = "chaos-mesh.org/v1alpha1";

/// What an object's own `duration` has beyond the planned time: the tool counts from its creation, cut to a whole
/// second, and we delete it long before unless we are dead.
pub const SLACK: Duration = Duration::from_secs(30);

/// A queue of this many bytes at least, so that a slow link holds back before it drops.
const QUEUE_MIN: u64 = 64 << 10;

/// The kernel hands packets of up to 64 KiB to the device; a bucket that holds few of them would make it slower than asked.
const BUCKET_MIN: u64 = 10_000;

/// Pods by namespace, as the tool's selector wants them.
pub type Pods = BTreeMap<String, Vec<String>>;

/// Whom an object is for, and what it is called.
#[derive(Clone, Debug)]
pub struct Marks<'a> {
    /// Id of the run.
    pub run: &'a str,
    /// Name of the fault.
    pub fault: &'a str,
    /// Where the object stands.
    pub namespace: &'a str,
    /// When it has ended by itself, RFC 3339.
    pub deadline: &'a str,
}

/// The kind of object that a fault becomes.
///
/// # Errors
/// When Chaos Mesh has nothing like it.
pub fn chaos_of(kind: &FaultKind) -> Result<Chaos, String> {
    match kind {
        FaultKind::PodKill { .. } | FaultKind::PodFailure => Ok(Chaos::Pod),
        FaultKind::NetworkDelay { .. }
        | FaultKind::NetworkLoss { .. }
        | FaultKind::NetworkPartition { .. }
        | FaultKind::NetworkBandwidth { .. } => Ok(Chaos::Network),
        FaultKind::CpuStress { .. } | FaultKind::MemoryStress { .. } => Ok(Chaos::Stress),
        FaultKind::IoLatency { .. } | FaultKind::IoError { .. } => Ok(Chaos::Io),
        FaultKind::ChaosMesh(experiment) => Ok(experiment.chaos),
        other => Err(format!("Chaos Mesh has no `{}`", other.word())),
    }
}

/// The action of the object that a fault becomes, in the tool's words; empty for kinds without actions.
pub fn action_of(fault: &FaultPlan) -> &str {
    let by_tool = ours(fault);
    match &fault.kind {
        FaultKind::PodKill { .. } if by_tool.is_some_and(|c| c.container.is_some()) => "container-kill",
        FaultKind::PodKill { .. } => "pod-kill",
        FaultKind::PodFailure => "pod-failure",
        FaultKind::NetworkDelay { .. } => "delay",
        FaultKind::NetworkLoss { .. } => "loss",
        FaultKind::NetworkPartition { .. } => "partition",
        FaultKind::NetworkBandwidth { .. } => "bandwidth",
        FaultKind::IoLatency { .. } => "latency",
        FaultKind::IoError { .. } => "fault",
        FaultKind::ChaosMesh(e) => e.spec.get("action").and_then(Value::as_str).unwrap_or_default(),
        _ => "",
    }
}

/// What a fault by Chaos Mesh has beside its kind; none for any other.
pub fn ours(fault: &FaultPlan) -> Option<&ChaosMesh> {
    if let Via::ChaosMesh(more) = &fault.via { Some(more) } else { None }
}

/// How long the object lasts by itself: the planned time and some slack. `end` is the end of load.
pub fn own_limit(fault: &FaultPlan, end: Offset) -> Duration {
    let planned = match fault.lasts {
        Some(Lasts::For(d)) => d,
        Some(Lasts::UntilEnd) => end.since(fault.at),
        None => Duration::ZERO,
    };
    planned + SLACK
}

/// The object's name: ours at a glance, unique in its run, and what Kubernetes takes for a name.
pub fn name(run: &str, fault: &str) -> String {
    let mut name = format!("resbench-{}-{fault}", run.to_lowercase());
    if name.ends_with('-') {
        name.push('0');
    }
    name
}

/// The whole object.
///
/// # Errors
/// When Chaos Mesh has nothing like this fault.
pub fn manifest(
    fault: &FaultPlan,
    marks: &Marks<'_>,
    pods: &Pods,
    peers: &Pods,
    limit: Duration,
) -> Result<Value, String> {
    let chaos = chaos_of(&fault.kind)?;
    let spec = match &fault.kind {
        FaultKind::ChaosMesh(experiment) => raw(experiment, fault.lasts.is_some(), limit),
        _ => value(spec(fault, pods, peers, limit)?),
    };
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": chaos.word(),
        "metadata": {
            "name": name(marks.run, marks.fault),
            "namespace": marks.namespace,
            "labels": { "app.kubernetes.io/managed-by": "resbench", "resbench.io/run": marks.run },
            "annotations": { "resbench.io/deadline": marks.deadline },
        },
        "spec": spec,
    }))
}

/// A duration as Go reads it. Whole microseconds: finer is below what the tool can do.
pub fn go_duration(d: Duration) -> String {
    match d.as_micros() {
        us if us % 1_000_000 == 0 => format!("{}s", us / 1_000_000),
        us if us % 1_000 == 0 => format!("{}ms", us / 1_000),
        us => format!("{us}us"),
    }
}

/// The author's spec, with what keeps it from running on for ever and from waiting for pods that have ended.
fn raw(experiment: &Experiment, is_lasting: bool, limit: Duration) -> Value {
    let mut spec = experiment.spec.clone();
    if is_lasting || !spec.contains_key("duration") {
        spec.insert("duration".to_owned(), go_duration(limit).into());
    }
    only_running(spec.get_mut("selector"));
    only_running(spec.get_mut("target").and_then(|target| target.get_mut("selector")));
    Value::Object(spec)
}

fn only_running(selector: Option<&mut Value>) {
    if let Some(Value::Object(selector)) = selector {
        selector.entry("podPhaseSelectors").or_insert_with(|| json!([RUNNING]));
    }
}

const RUNNING: &str = "Running";

#[derive(Serialize)]
#[serde(untagged)]
enum Spec {
    Pod(PodSpec),
    Network(Box<NetworkSpec>),
    Io(IoSpec),
    Stress(StressSpec),
}

/// What every kind has.
#[derive(Serialize)]
struct Common {
    selector: Selector,
    mode: &'static str,
    duration: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    pods: Pods,
    pod_phase_selectors: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(flatten)]
    common: Common,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_names: Option<[String; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkSpec {
    #[serde(flatten)]
    common: Common,
    action: &'static str,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Peers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<Delay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<Loss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth: Option<Bandwidth>,
}

#[derive(Serialize)]
struct Peers {
    selector: Selector,
    mode: &'static str,
}

#[derive(Serialize)]
struct Delay {
    latency: String,
    jitter: String,
    correlation: &'static str,
}

#[derive(Serialize)]
struct Loss {
    loss: String,
    correlation: &'static str,
}

#[derive(Serialize)]
struct Bandwidth {
    rate: String,
    limit: u64,
    buffer: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IoSpec {
    #[serde(flatten)]
    common: Common,
    action: &'static str,
    volume_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    methods: Vec<&'static str>,
    percent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_names: Option<[String; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StressSpec {
    #[serde(flatten)]
    common: Common,
    stressors: Stressors,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_names: Option<[String; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Stressors {
    Cpu { workers: u16, load: u64 },
    Memory { workers: u16, size: String },
}

fn value(spec: Spec) -> Value {
    serde_json::to_value(spec).expect("texts, numbers and maps with texts as keys are JSON")
}

fn spec(fault: &FaultPlan, pods: &Pods, peers: &Pods, limit: Duration) -> Result<Spec, String> {
    let common = Common { selector: these(pods), mode: "all", duration: go_duration(limit) };
    let more = ours(fault).cloned().unwrap_or_default();
    let container_names = more.container.map(|c| [c]);
    let action = match &fault.kind {
        FaultKind::PodKill { .. } if container_names.is_some() => "container-kill",
        FaultKind::PodKill { .. } => "pod-kill",
        FaultKind::PodFailure => "pod-failure",
        _ => "",
    };
    Ok(match &fault.kind {
        FaultKind::PodKill { grace, .. } => {
            // The tool counts in whole seconds; more warning than asked for is the smaller lie.
            let grace_period = grace.filter(|_| container_names.is_none()).map(|g| g.as_secs_f64().ceil() as u64);
            Spec::Pod(PodSpec { common, action, grace_period, container_names })
        }
        FaultKind::PodFailure => Spec::Pod(PodSpec { common, action, grace_period: None, container_names: None }),
        FaultKind::NetworkDelay { latency, jitter, direction } => {
            let delay = Delay { latency: go_duration(*latency), jitter: go_duration(*jitter), correlation: "0" };
            network(NetworkSpec { delay: Some(delay), ..on_network(common, "delay", *direction, peers) })
        }
        FaultKind::NetworkLoss { share } => {
            let loss = Loss { loss: percent(*share).to_string(), correlation: "0" };
            // What leaves the pods: without a peer the tool can lose nothing else.
            let direction = if peers.is_empty() { Direction::From } else { Direction::Both };
            network(NetworkSpec { loss: Some(loss), ..on_network(common, "loss", direction, peers) })
        }
        FaultKind::CpuStress { workers, load } => {
            let load = percent(*load).round().max(1.0) as u64;
            Spec::Stress(StressSpec { common, stressors: Stressors::Cpu { workers: *workers, load }, container_names })
        }
        FaultKind::MemoryStress { bytes } => {
            let stressors = Stressors::Memory { workers: 1, size: format!("{bytes}B") };
            Spec::Stress(StressSpec { common, stressors, container_names })
        }
        FaultKind::NetworkPartition { direction } => network(on_network(common, "partition", *direction, peers)),
        FaultKind::NetworkBandwidth { rate, direction } => {
            let bandwidth = Bandwidth {
                // To tc, "bps" are bytes.
                rate: format!("{rate}bps"),
                limit: (*rate).clamp(QUEUE_MIN, i32::MAX as u64),
                buffer: (rate / 100).clamp(BUCKET_MIN, i32::MAX as u64),
            };
            network(NetworkSpec { bandwidth: Some(bandwidth), ..on_network(common, "bandwidth", *direction, peers) })
        }
        FaultKind::IoLatency { delay, scope } => {
            let volume = more.volume.unwrap_or_default();
            let spec = on_volume(common, "latency", volume, scope, container_names);
            Spec::Io(IoSpec { delay: Some(go_duration(*delay)), ..spec })
        }
        FaultKind::IoError { errno, scope } => {
            let volume = more.volume.unwrap_or_default();
            let spec = on_volume(common, "fault", volume, scope, container_names);
            Spec::Io(IoSpec { errno: Some(*errno), ..spec })
        }
        other => return Err(format!("Chaos Mesh has no `{}`", other.word())),
    })
}

fn these(pods: &Pods) -> Selector {
    Selector { pods: pods.clone(), pod_phase_selectors: [RUNNING] }
}

fn network(spec: NetworkSpec) -> Spec {
    Spec::Network(Box::new(spec))
}

/// Directions are the tool's: seen from the pods that it selects. Ours are seen from whoever calls them; with a peer it
/// is the selected pods that call, and both agree.
fn on_network(common: Common, action: &'static str, direction: Direction, peers: &Pods) -> NetworkSpec {
    let direction = match (direction, peers.is_empty()) {
        (Direction::Both, _) => "both",
        (Direction::To, false) | (Direction::From, true) => "to",
        (Direction::From, false) | (Direction::To, true) => "from",
    };
    let target = (!peers.is_empty()).then(|| Peers { selector: these(peers), mode: "all" });
    NetworkSpec { common, action, direction, target, delay: None, loss: None, bandwidth: None }
}

fn on_volume(
    common: Common,
    action: &'static str,
    volume_path: String,
    scope: &IoScope,
    container_names: Option<[String; 1]>,
) -> IoSpec {
    let path = scope.path.as_ref().map(|p| format!("{}/{p}", volume_path.trim_end_matches('/')));
    let methods = scope.methods.iter().map(|m| method(*m)).collect();
    let percent = percent(scope.share).round().max(1.0) as u64;
    IoSpec { common, action, volume_path, path, delay: None, errno: None, methods, percent, container_names }
}

/// Without what floating point adds to it.
fn percent(share: Ratio) -> f64 {
    (share.get() * 1e8).round() / 1e6
}

fn method(method: IoMethod) -> &'static str {
    match method {
        IoMethod::Open => "open",
        IoMethod::Read => "read",
        IoMethod::Getattr => "getattr",
        IoMethod::Readdir => "readdir",
        IoMethod::Lookup => "lookup",
        IoMethod::Write => "write",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::doubles::{fault, ms};
    use crate::plan::KillMethod;
    use jsonschema::Validator;
    use std::path::Path;

    /// The schema of a kind as the real custom resource definition has it; unknown fields are refused, as a strict API
    /// server does.
    fn schema(chaos: Chaos) -> Value {
        let name = format!("tests/fixtures/chaos-mesh/chaos-mesh.org_{}.yaml", chaos.plural());
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            (&crd["spec"]["names"]["kind"], &crd["spec"]["versions"][0]["name"]),
            (&json!(chaos.word()), &json!("v1alpha1"))
        );
        let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        strict(&mut schema);
        schema
    }

    fn strict(schema: &mut Value) {
        if schema["properties"].is_object() && schema["additionalProperties"].is_null() {
            schema["additionalProperties"] = json!(false);
        }
        match schema {
            Value::Object(map) => map.values_mut().for_each(strict),
            Value::Array(items) => items.iter_mut().for_each(strict),
            _ => {}
        }
    }

    fn validator(chaos: Chaos) -> Validator {
        jsonschema::validator_for(&schema(chaos)).unwrap()
    }

    fn problems(object: &Value, chaos: Chaos) -> Vec<String> {
        validator(chaos).iter_errors(object).map(|e| format!("{}: {e}", e.instance_path())).collect()
    }

    fn by_tool(kind: FaultKind, lasts: Option<Lasts>, more: ChaosMesh) -> FaultPlan {
        FaultPlan { via: Via::ChaosMesh(more), ..fault("f", kind, 0, 1000, lasts) }
    }

    fn made(fault: &FaultPlan, peers: &[&str]) -> Value {
        let pods = |names: &[&str]| -> Pods {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            if names.is_empty() { Pods::new() } else { Pods::from([("ml".to_owned(), names)]) }
        };
        let marks = Marks {
            run: "20261122T231415Z-0a1b2c",
            fault: &fault.name,
            namespace: "ml",
            deadline: "2026-11-22T23:15:15Z",
        };
        manifest(fault, &marks, &pods(&["a", "b"]), &pods(peers), own_limit(fault, Offset::ZERO + ms(60_000))).unwrap()
    }

    fn ours_of_every_kind() -> Vec<(FaultPlan, &'static str)> {
        let lasting = Some(Lasts::For(ms(20_500)));
        let direction = |d: u8| [Direction::To, Direction::From, Direction::Both][usize::from(d)];
        let scope = |path: Option<&str>| IoScope {
            path: path.map(str::to_owned),
            methods: vec![IoMethod::Open, IoMethod::Read, IoMethod::Getattr, IoMethod::Readdir, IoMethod::Lookup],
            share: Ratio::new(0.5).unwrap(),
        };
        let none = ChaosMesh::default;
        let contained = || ChaosMesh { container: Some("server".into()), volume: Some("/models/".into()), ..none() };
        let kill = |grace: Option<u64>| FaultKind::PodKill { grace: grace.map(ms), method: KillMethod::Delete };
        let mut all = vec![
            (by_tool(kill(None), None, none()), "pod-kill"),
            (by_tool(kill(Some(1500)), None, none()), "pod-kill"),
            (by_tool(kill(None), None, contained()), "container-kill"),
            (by_tool(FaultKind::PodFailure, lasting, none()), "pod-failure"),
            (by_tool(FaultKind::PodFailure, Some(Lasts::UntilEnd), none()), "pod-failure"),
            (by_tool(FaultKind::IoLatency { delay: ms(500), scope: scope(None) }, lasting, contained()), "latency"),
            (by_tool(FaultKind::IoError { errno: 5, scope: scope(Some("*.bin")) }, lasting, contained()), "fault"),
            (by_tool(FaultKind::NetworkLoss { share: Ratio::new(0.07).unwrap() }, lasting, none()), "loss"),
            (by_tool(FaultKind::CpuStress { workers: 2, load: Ratio::new(0.5).unwrap() }, lasting, none()), ""),
            (by_tool(FaultKind::MemoryStress { bytes: 256 << 20 }, lasting, contained()), ""),
        ];
        for d in 0..3 {
            let direction = direction(d);
            let delay = FaultKind::NetworkDelay { latency: Duration::from_micros(1500), jitter: ms(1), direction };
            all.push((by_tool(delay, lasting, none()), "delay"));
            all.push((by_tool(FaultKind::NetworkPartition { direction }, lasting, none()), "partition"));
            for rate in [1, 1 << 20, u64::MAX / 2] {
                all.push((by_tool(FaultKind::NetworkBandwidth { rate, direction }, lasting, none()), "bandwidth"));
            }
        }
        all
    }

    #[test]
    fn every_kind_and_action_fits_the_real_definitions() {
        let mut actions = std::collections::BTreeSet::new();
        for (fault, action) in ours_of_every_kind() {
            let chaos = chaos_of(&fault.kind).unwrap();
            for peers in [&[][..], &["db"]] {
                let object = made(&fault, peers);
                assert_eq!(problems(&object, chaos), [""; 0], "{object:#}");
                assert_eq!(
                    (object["spec"]["action"].as_str().unwrap_or_default(), action_of(&fault)),
                    (action, action)
                );
                assert_eq!(object["spec"]["mode"], "all");
                assert_eq!(
                    object["spec"]["selector"],
                    json!({"pods": {"ml": ["a", "b"]}, "podPhaseSelectors": ["Running"]})
                );
                let lasts = parse(&object["spec"]["duration"]);
                assert!(
                    lasts > SLACK - ms(1) && (fault.lasts.is_none() || lasts > ms(20_500) + SLACK - ms(1)),
                    "{object:#}"
                );
            }
            actions.insert(action);
        }
        assert_eq!(actions.len(), 10, "{actions:?}");
    }

    fn parse(text: &Value) -> Duration {
        crate::units::parse_duration(text.as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_definitions_refuse_what_an_api_server_refuses() {
        let (fault, _) = ours_of_every_kind().pop().unwrap();
        let good = made(&fault, &[]);
        for (pointer, bad) in [
            ("/spec/surprise", json!(1)),
            ("/spec/selector/app", json!("web")),
            ("/spec/mode", json!("some")),
            ("/spec/bandwidth/limit", json!("1")),
            ("/spec/bandwidth/limit", json!(0)),
            ("/spec/direction", json!("up")),
        ] {
            let mut object = good.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[key] = bad.clone();
            assert!(!problems(&object, Chaos::Network).is_empty(), "{pointer} = {bad}");
        }
    }

    #[test]
    fn directions_are_those_of_whoever_is_selected() {
        let direction = |direction, peers: &[&str]| {
            let fault = by_tool(FaultKind::NetworkPartition { direction }, None, ChaosMesh::default());
            made(&fault, peers)["spec"]["direction"].as_str().unwrap().to_owned()
        };
        assert_eq!(direction(Direction::From, &[]), "to", "answers leave the pods");
        assert_eq!(direction(Direction::To, &[]), "from");
        assert_eq!(direction(Direction::To, &["db"]), "to", "requests of the pods to the peer");
        assert_eq!(direction(Direction::Both, &["db"]), "both");
    }

    #[test]
    fn what_a_fault_becomes() {
        let spec = |kind, more| made(&by_tool(kind, Some(Lasts::For(ms(1000))), more), &[])["spec"].clone();
        let kill = |grace: Option<u64>| FaultKind::PodKill { grace: grace.map(ms), method: KillMethod::Delete };
        assert_eq!(spec(kill(Some(1500)), ChaosMesh::default())["gracePeriod"], 2);
        let in_server =
            ChaosMesh { container: Some("server".into()), volume: Some("/models".into()), ..ChaosMesh::default() };
        assert_eq!(spec(kill(Some(1500)), in_server.clone())["gracePeriod"], Value::Null);
        assert_eq!(spec(kill(None), in_server.clone())["containerNames"], json!(["server"]));
        let scope =
            IoScope { path: Some("a/*.bin".into()), methods: vec![IoMethod::Read], share: Ratio::new(0.001).unwrap() };
        let io = spec(FaultKind::IoError { errno: 5, scope }, in_server);
        assert_eq!(
            (&io["path"], &io["percent"], &io["volumePath"]),
            (&json!("/models/a/*.bin"), &json!(1), &json!("/models"))
        );
        let slow =
            spec(FaultKind::NetworkBandwidth { rate: 1 << 20, direction: Direction::From }, ChaosMesh::default());
        assert_eq!(slow["bandwidth"], json!({"rate": "1048576bps", "limit": 1048576, "buffer": 10485}));
        assert!(chaos_of(&FaultKind::PodPause).unwrap_err().contains("pod-pause"));
    }

    #[test]
    fn names_are_names_and_tell_run_and_fault() {
        assert_eq!(name("20261122T231415Z-0a1b2c", "kill-one"), "resbench-20261122t231415z-0a1b2c-kill-one");
        assert_eq!(name("r", "odd-"), "resbench-r-odd-0");
        let object = made(&ours_of_every_kind()[0].0, &[]);
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "resbench");
        assert_eq!(object["metadata"]["labels"]["resbench.io/run"], "20261122T231415Z-0a1b2c");
        assert_eq!(object["metadata"]["annotations"]["resbench.io/deadline"], "2026-11-22T23:15:15Z");
    }

    #[test]
    fn an_authors_spec_keeps_its_words_and_gets_an_end() {
        let raw = |spec: Value, lasts| {
            let experiment =
                Experiment { chaos: Chaos::Pod, namespace: None, spec: spec.as_object().unwrap().clone(), proof: None };
            made(&fault("f", FaultKind::ChaosMesh(Box::new(experiment)), 0, 0, lasts), &[])["spec"].clone()
        };
        let selector = json!({"namespaces": ["ml"], "labelSelectors": {"app": "x"}});
        let kill = raw(json!({"action": "pod-kill", "mode": "one", "duration": "60s", "selector": selector}), None);
        let running = json!({"namespaces": ["ml"], "labelSelectors": {"app": "x"}, "podPhaseSelectors": ["Running"]});
        assert_eq!(kill, json!({"action": "pod-kill", "mode": "one", "duration": "60s", "selector": running}));
        let failure = raw(
            json!({"action": "pod-failure", "mode": "one", "duration": "30s", "selector": selector}),
            Some(Lasts::For(ms(30_000))),
        );
        assert_eq!(failure["duration"], "60s", "its own time, and ours to end it in good time");
        let pending = json!({"namespaces": ["ml"], "podPhaseSelectors": ["Pending"]});
        let chosen = raw(json!({"action": "pod-kill", "mode": "one", "selector": pending}), None);
        assert_eq!((&chosen["selector"], &chosen["duration"]), (&pending, &json!("30s")));
        let far =
            raw(json!({"mode": "one", "selector": pending, "target": {"mode": "all", "selector": selector}}), None);
        assert_eq!((&far["selector"], &far["target"]["selector"]), (&pending, &running));
    }

    #[test]
    fn durations_are_go_s() {
        let go = |us| go_duration(Duration::from_micros(us));
        assert_eq!([go(3_000_000), go(1_500_000), go(1_500), go(0)], ["3s", "1500ms", "1500us", "0s"]);
    }
}
