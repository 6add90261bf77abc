//! `kind = "chaos-mesh"`: an experiment in the tool's own words, in the scenario or in a file of its own.
//!
//! Owns what can be wrong with one before any cluster is asked: above all a selector that says less than its author
//! meant, which the tool's own webhook lets through. Leaves the fields of each kind to the cluster's schema, which a dry
//! run asks.

use serde_json::{Map, Value};

use super::Context;
use super::platform::Known;
use crate::plan::{Chaos, ChaosMesh, Direction, Experiment, FaultKind, PROTECTED_NAMESPACES};
use crate::scenario::file::FaultWord;
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{data, file, words};
use crate::units::parse_duration;

/// What is wrong, and what to write instead.
type Wrong = (String, String);

/// Modes of the tool that take `value`.
const COUNTED: [&str; 3] = ["fixed", "fixed-percent", "random-max-percent"];

/// Criteria that choose among the pods of a namespace.
const CRITERIA: [&str; 7] = [
    "labelSelectors",
    "expressionSelectors",
    "annotationSelectors",
    "fieldSelectors",
    "pods",
    "nodes",
    "nodeSelectors",
];

/// An experiment as its author wrote it.
pub(in crate::scenario) struct Written {
    /// Its kind, where that is written.
    pub(in crate::scenario) chaos: Option<Chaos>,
    /// `metadata.name`.
    pub(in crate::scenario) name: Option<String>,
    /// `metadata.namespace`.
    pub(in crate::scenario) namespace: Option<String>,
    /// Its `spec`.
    pub(in crate::scenario) spec: Map<String, Value>,
}

/// Reads the experiment of a fault.
pub(super) fn compile(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<FaultKind> {
    let (place, mut written) = match (&f.spec, &f.file) {
        (Some(spec), None) => {
            let spec = spec.0.clone();
            (at.key("spec"), Written { chaos: None, name: None, namespace: None, spec })
        }
        (None, Some(name)) => (at.key("file"), cx.good(&at.key("file"), from_file(&cx.dir.join(name), name))?),
        (Some(_), Some(_)) => {
            cx.clash(at, "file", "`spec` and `file` exclude each other", "keep one of them");
            return None;
        }
        (None, None) => {
            let help = "add file = \"chaos/pod-kill.yaml\", or the tool's own keys under [fault.spec]";
            cx.clash(at, "", "`chaos-mesh` needs an experiment", help);
            return None;
        }
    };
    if written.spec.remove("scheduler").is_some() {
        let name = &f.name.0;
        cx.warn(format!("fault `{name}`: {OBSOLETE_SCHEDULER}"));
    }
    let chaos = chaos(cx, at, &place, f, &written)?;
    let has_home = written.namespace.is_some() || cx.root.at(&kubernetes()).is_some();
    let problems = problems(chaos, &written.spec, has_home);
    for (keys, (message, help)) in &problems {
        let below = keys.iter().fold(place.clone(), |p, key| p.key(key));
        let prefix = if f.file.is_some() { format!("spec.{}: ", keys.join(".")) } else { String::new() };
        cx.wrong(&below, format!("{prefix}{message}"), help);
    }
    if let Some(namespace) = written.namespace.as_ref().filter(|n| PROTECTED_NAMESPACES.contains(&n.as_str())) {
        cx.wrong(&place, format!("namespace `{namespace}` is never touched"), "name one of your own");
    }
    let proof = f.proof.as_ref().and_then(|p| super::fault::proof(cx, &at.key("proof"), p));
    if proof.is_none() && f.proof.is_some() || !problems.is_empty() {
        return None;
    }
    if proof.is_none() && chaos != Chaos::Pod {
        warn_unproven(cx, &f.name.0);
    }
    Some(FaultKind::ChaosMesh(Box::new(Experiment { chaos, namespace: written.namespace, spec: written.spec, proof })))
}

/// One warning for all of them.
fn warn_unproven(cx: &mut Context, name: &str) {
    match cx.warnings.iter_mut().find(|w| w.ends_with(UNPROVEN)) {
        Some(said) => said.insert_str("fault ".len(), &format!("`{name}`, ")),
        None => cx.warn(format!("fault `{name}`: {UNPROVEN}")),
    }
}

/// What a fault of ours has beside its kind when Chaos Mesh does it.
pub(super) fn via(cx: &mut Context, at: &Path, f: &file::Fault, platform: &Known) -> Option<ChaosMesh> {
    let Known::Kubernetes(kubernetes) = platform else { return None };
    let in_container = f.kind.is_io() || matches!(f.kind, FaultWord::CpuStress | FaultWord::MemoryStress);
    let container = f.container.clone().or_else(|| kubernetes.container.clone().filter(|_| in_container));
    if let Some(container) = f.container.as_ref().filter(|c| !file::Name::is_valid(c)) {
        cx.wrong(&at.key("container"), format!("`{}` is no name of a container", shortened(container)), "name one");
    }
    let names: Vec<&str> = kubernetes.dependencies.iter().map(|d| d.name.as_str()).collect();
    if let Some(file::To::Version(_)) = f.to {
        cx.wrong(&at.key("to"), "here `to` is a dependency, and this is a number", "write its name in quotes");
    }
    if let Some(to) = f.to.as_ref().and_then(file::To::name).filter(|to| !names.contains(to)) {
        let help = words::did_you_mean(to, &names, "dependencies");
        cx.wrong(&at.key("to"), format!("there is no dependency `{}`", shortened(to)), help);
        return None;
    }
    if f.to.is_some() && f.target.is_some() {
        cx.clash(at, "to", "`to` says whom the replicas speak to, so it does not go with `target`", "keep one of them");
        return None;
    }
    if f.kind.is_io() && kubernetes.volume.is_none() {
        let message = format!("`{}` acts on the volume, and nothing says where pods have it", f.kind.word());
        cx.wrong(&at.key("kind"), message, "add volume = \"/models\" to [platform.kubernetes]");
        return None;
    }
    let proof = f.proof.as_ref().map(|p| super::fault::proof(cx, &at.key("proof"), p));
    if proof.is_none() && !matches!(f.kind, FaultWord::PodKill | FaultWord::PodFailure) {
        warn_unproven(cx, &f.name.0);
    }
    let proof = proof.map_or(Some(None), |p| p.map(Some))?;
    Some(ChaosMesh {
        container,
        peer: f.to.as_ref().and_then(file::To::name).map(str::to_owned),
        volume: kubernetes.volume.clone().filter(|_| f.kind.is_io()),
        proof,
    })
}

/// Keys that only Chaos Mesh knows, on a fault that it does not do.
pub(super) fn not_via(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<()> {
    let has_own_proof = matches!(f.kind, FaultWord::Command | FaultWord::Http | FaultWord::ChaosMesh);
    let has_own_to = f.kind == FaultWord::RegistryAlias;
    let only = [
        ("container", f.container.is_some()),
        ("to", f.to.is_some() && !has_own_to),
        ("proof", f.proof.is_some() && !has_own_proof),
    ];
    let (key, _) = only.into_iter().find(|(_, given)| *given).map_or(("", false), |found| found);
    if !key.is_empty() {
        let message = format!("`{key}` is for faults that Chaos Mesh does, and here it does not");
        cx.clash(at, key, message, format!("remove `{key}`, or write via = \"chaos-mesh\" where it can do this"));
        return None;
    }
    Some(())
}

/// The kind as Chaos Mesh can do it.
pub(super) fn fits(cx: &mut Context, at: &Path, f: &file::Fault, kind: FaultKind) -> Option<FaultKind> {
    let direction = match &kind {
        FaultKind::NetworkDelay { direction, .. } | FaultKind::NetworkBandwidth { direction, .. } => *direction,
        _ => return Some(kind),
    };
    if f.to.is_some() || direction == Direction::From {
        return Some(kind);
    }
    if f.direction.is_some() {
        let help = "write direction = \"from\", or name a dependency with `to`";
        cx.clash(at, "direction", "without `to`, Chaos Mesh can hit only what leaves the pods", help);
        return None;
    }
    let direction = Direction::From;
    Some(match kind {
        FaultKind::NetworkDelay { latency, jitter, .. } => FaultKind::NetworkDelay { latency, jitter, direction },
        FaultKind::NetworkBandwidth { rate, .. } => FaultKind::NetworkBandwidth { rate, direction },
        other => other,
    })
}

/// What is said of a key that Chaos Mesh 1 had.
pub(in crate::scenario) const OBSOLETE_SCHEDULER: &str = "`scheduler` is obsolete and left out: Chaos Mesh 2 has objects of kind Schedule instead; here `every` and \
     `times` repeat a fault";

/// What is said of a fault that pods do not show.
pub(super) const UNPROVEN: &str = "nothing but Chaos Mesh's own word will show it unless its pods stop being ready, and \
                                   then the run is inconclusive: add proof = { probe = \"…\", becomes = \"failing\" }";

fn kubernetes() -> Path {
    Path::root().key("platform").key("kubernetes")
}

/// Its kind: as written, or told from its keys.
fn chaos(cx: &mut Context, at: &Path, place: &Path, f: &file::Fault, written: &Written) -> Option<Chaos> {
    let named = f.chaos.map(file::ChaosWord::chaos);
    if let (Some(named), Some(in_file)) = (named, written.chaos)
        && named != in_file
    {
        cx.clash(at, "chaos", format!("the file is a {}", in_file.word()), "remove `chaos`");
        return None;
    }
    let told = written.chaos.or(named).or_else(|| guess(&written.spec));
    if told.is_none() {
        let all = Chaos::ALL.map(Chaos::word);
        let help = format!("add chaos = \"PodChaos\", or one of {}", words::listed(&all));
        cx.wrong(place, "the experiment does not tell of what kind it is", help);
    }
    told
}

/// The kind that has such keys; none where several have.
pub(in crate::scenario) fn guess(spec: &Map<String, Value>) -> Option<Chaos> {
    let action = spec.get("action").and_then(Value::as_str).unwrap_or_default();
    match action {
        "pod-kill" | "pod-failure" | "container-kill" => Some(Chaos::Pod),
        "delay" | "loss" | "duplicate" | "corrupt" | "partition" | "bandwidth" | "netem" => Some(Chaos::Network),
        "latency" | "fault" | "attrOverride" | "mistake" if spec.contains_key("volumePath") => Some(Chaos::Io),
        "attrOverride" | "mistake" => Some(Chaos::Io),
        "" if spec.contains_key("stressors") || spec.contains_key("stressngStressors") => Some(Chaos::Stress),
        "" if spec.get("target").is_some_and(|t| t == "Request" || t == "Response") => Some(Chaos::Http),
        "" if spec.contains_key("timeOffset") => Some(Chaos::Time),
        _ => None,
    }
}

/// What the tool would let through and nobody wants, or would refuse only later; by the keys it stands under.
fn problems(chaos: Chaos, spec: &Map<String, Value>, has_home: bool) -> Vec<(Vec<&'static str>, Wrong)> {
    let mut found = Vec::new();
    let mut wrong = |keys: &[&'static str], message: String, help: &str| {
        found.push((keys.to_vec(), (message, help.to_owned())));
    };
    let mode = spec.get("mode").and_then(Value::as_str).unwrap_or_default();
    if mode.is_empty() {
        wrong(&["mode"], "`mode` is missing".into(), "add mode = \"one\"");
    }
    let value = spec.get("value");
    let number = value.and_then(Value::as_str).and_then(|v| v.parse::<u32>().ok());
    if COUNTED.contains(&mode) && number.is_none_or(|n| n == 0 || mode != "fixed" && n > 100) {
        let help = "write a text with a whole number in it, for example value = \"2\"";
        wrong(&["value"], format!("mode {mode} needs `value`"), help);
    }
    let everyone = mode == "all" || COUNTED[1..].contains(&mode) && number.is_some_and(|n| n >= 100);
    if let Err((message, help)) = selector(spec.get("selector"), everyone, has_home) {
        wrong(&["selector"], message, &help);
    }
    let target = spec.get("target");
    // Both ways, the fault is on the target's pods too; one way, they are named all the same.
    let far = target.and_then(|target| target.get("selector"));
    let near = spec.get("selector");
    for (keys, selector) in [(&["selector", "namespaces"][..], near), (&["target", "selector", "namespaces"][..], far)]
    {
        for namespace in namespaces(selector).filter(|n| PROTECTED_NAMESPACES.contains(n)) {
            wrong(keys, format!("`{}` is never touched", shortened(namespace)), "name your own");
        }
    }
    if let Some(target) = target.filter(|_| chaos == Chaos::Network)
        && let Err((message, help)) = selector(target.get("selector"), target["mode"] == "all", true)
    {
        wrong(&["target", "selector"], message, &help);
    }
    let partition = spec.get("action").is_some_and(|a| a == "partition");
    let direction = spec.get("direction").and_then(Value::as_str).unwrap_or("to");
    if chaos == Chaos::Network && direction != "to" && target.is_none() && !partition {
        let help = "add `target`, or remove `direction`: without a target only what leaves the pods can be hit";
        wrong(&["direction"], format!("direction {direction} needs a `target`"), help);
    }
    if chaos == Chaos::Io && !spec.get("volumePath").is_some_and(|p| p.as_str().is_some_and(|p| p.starts_with('/'))) {
        wrong(&["volumePath"], "`volumePath` is missing".into(), "add where the volume is mounted: \"/models\"");
    }
    if let Some(duration) = spec.get("duration")
        && let Err(why) = duration.as_str().ok_or_else(|| "not a text".to_owned()).and_then(parse_duration)
    {
        wrong(&["duration"], why, "write for example \"60s\"");
    }
    found
}

/// A selector that chooses: with `everyone`, among the pods of a namespace; without it, at least a namespace.
fn selector(selector: Option<&Value>, everyone: bool, has_home: bool) -> Result<(), Wrong> {
    let empty = |v: &Value| match v {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => other.is_null(),
    };
    let filled = |key: &str| selector.and_then(|s| s.get(key)).is_some_and(|v| !empty(v));
    let chooses = CRITERIA.iter().any(|key| filled(key));
    let labels = "add labelSelectors = { app = \"…\" }".to_owned();
    if !chooses && !filled("namespaces") {
        return Err(("an empty selector means every pod of the namespace".to_owned(), labels));
    }
    if !chooses && everyone {
        return Err(("without labels this hits every pod of the namespace".to_owned(), labels));
    }
    if !filled("namespaces") && !filled("pods") && !has_home {
        let help = "add namespaces = [\"…\"], or [platform.kubernetes]".to_owned();
        return Err(("nothing says in which namespace".to_owned(), help));
    }
    Ok(())
}

fn namespaces(selector: Option<&Value>) -> impl Iterator<Item = &str> {
    let listed = selector.and_then(|s| s["namespaces"].as_array()).into_iter().flatten().filter_map(Value::as_str);
    let of_pods = selector.and_then(|s| s["pods"].as_object()).into_iter().flat_map(|pods| pods.keys());
    listed.chain(of_pods.map(String::as_str))
}

/// A manifest in YAML or JSON, or a bare spec.
pub(in crate::scenario) fn from_file(path: &std::path::Path, shown: &str) -> Result<Written, Wrong> {
    let text = data::read(path, shown)?;
    let not_yaml = |e: serde_saphyr::Error| {
        let told = e.to_string();
        let first = told.lines().next().unwrap_or_default().to_owned();
        (format!("`{shown}` is not YAML: {first}"), "a manifest of Chaos Mesh is wanted".to_owned())
    };
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(not_yaml)?;
    documents.retain(|d| !d.is_null());
    match documents.as_mut_slice() {
        [Value::Object(one)] => from_document(std::mem::take(one), shown),
        [_] => Err((format!("`{shown}` is not a manifest"), "write apiVersion, kind, metadata and spec".to_owned())),
        [] => Err((format!("`{shown}` is empty"), "write apiVersion, kind, metadata and spec".to_owned())),
        many => {
            let message = format!("`{shown}` holds {} objects", many.len());
            Err((message, "write each into a file of its own: each becomes a fault of its own".to_owned()))
        }
    }
}

fn from_document(mut document: Map<String, Value>, shown: &str) -> Result<Written, Wrong> {
    let Some(kind) = document.get("kind").and_then(Value::as_str).map(str::to_owned) else {
        // A bare spec, as Azure Chaos Studio takes it.
        if document.contains_key("selector") || document.contains_key("action") {
            return Ok(Written { chaos: guess(&document), name: None, namespace: None, spec: document });
        }
        return Err((format!("`{shown}` has no `kind`"), "a manifest of Chaos Mesh is wanted".to_owned()));
    };
    let Some(chaos) = Chaos::ALL.into_iter().find(|c| c.word() == kind) else {
        return Err(match kind.as_str() {
            "Schedule" | "Workflow" => {
                let help = "take the experiment out of it; here `every` and `times`, or several faults, do the rest";
                (format!("`{shown}` is a {kind}, which repeats on a clock of its own"), help.to_owned())
            }
            _ => {
                let help = words::did_you_mean(&kind, &Chaos::ALL.map(Chaos::word), "there are");
                (format!("`{shown}` is a {}, which is no fault of Chaos Mesh on pods", shortened(&kind)), help)
            }
        });
    };
    let meta = |key: &str| document.get("metadata").and_then(|m| m[key].as_str()).map(str::to_owned);
    let (name, namespace) = (meta("name"), meta("namespace"));
    match document.remove("spec") {
        Some(Value::Object(spec)) => Ok(Written { chaos: Some(chaos), name, namespace, spec }),
        _ => Err((format!("`{shown}` has no `spec`"), "write what the fault is under `spec`".to_owned())),
    }
}

/// How long an experiment lasts by its own word.
pub(super) fn own_duration(experiment: &Experiment) -> Option<std::time::Duration> {
    let text = experiment.spec.get("duration")?.as_str()?;
    parse_duration(text).ok().filter(|d| !d.is_zero())
}

/// It happens once and is over.
pub(super) fn happens_once(experiment: &Experiment) -> bool {
    experiment.chaos.is_one_shot(experiment.spec.get("action").and_then(Value::as_str).unwrap_or_default())
}

/// A fault of ours for a file of Chaos Mesh, as TOML; and what should be known about it.
pub(in crate::scenario) fn import(path: &std::path::Path, shown: &str) -> Result<(String, Vec<String>), Wrong> {
    let mut written = from_file(path, shown)?;
    let mut notes = Vec::new();
    if written.spec.remove("scheduler").is_some() {
        notes.push(OBSOLETE_SCHEDULER.to_owned());
    }
    let chaos = written.chaos.ok_or_else(|| {
        (format!("`{shown}` does not tell of what kind it is"), "write `kind: PodChaos` into it".to_owned())
    })?;
    // The scenario that it goes into says in which namespace, where the file does not.
    if let Some((keys, (message, help))) = problems(chaos, &written.spec, true).into_iter().next() {
        return Err((format!("`{shown}`: spec.{}: {message}", keys.join(".")), help));
    }
    // The object's own namespace is where its selector looks by default; a spec alone must say so.
    if let (Some(namespace), Some(Value::Object(selector))) = (&written.namespace, written.spec.get_mut("selector")) {
        selector.entry("namespaces").or_insert_with(|| vec![namespace.clone()].into());
    }
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
    let name: String = written.name.unwrap_or(stem).to_lowercase().replace(['_', '.', ' '], "-");
    let name = if file::Name::is_valid(&name) { name } else { "chaos".to_owned() };
    let spec = toml::Value::try_from(without_null(Value::Object(written.spec)));
    let spec = spec.map_err(|e| (format!("`{shown}`: {e}"), "write plain values".to_owned()))?;
    let mut fault = toml::Table::new();
    for (key, value) in [("name", name.as_str()), ("kind", "chaos-mesh"), ("at", "0s"), ("chaos", chaos.word())] {
        fault.insert(key.to_owned(), value.into());
    }
    fault.insert("spec".to_owned(), spec);
    let mut file = toml::Table::new();
    file.insert("fault".to_owned(), toml::Value::Array(vec![fault.into()]));
    toml::to_string(&file).map(|text| (text, notes)).map_err(|e| (format!("`{shown}`: {e}"), String::new()))
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k, without_null(v)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().filter(|v| !v.is_null()).map(without_null).collect(),
        other => other,
    }
}
