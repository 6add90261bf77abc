//! Finds whatever carries this program's mark, for `resbench revert --all`: what a lost journal knew of.
//!
//! A finder looks in one kind of place and says what it found there; each finding knows how it is put away. What can
//! be found further is one more file's function and one line in `FINDERS`. Nothing is put away here by itself: a
//! person is asked for each. A run of this machine that lives keeps everything of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::injector::Undo;
use super::journal::OpenJournal;
use super::toxiproxy::client::{PREFIX, Server};
use super::undo::UndoDone;
use crate::clock;
use crate::platform::kubernetes::Restore;
use crate::platform::kubernetes::cluster::{ApiError, Cluster, query};
use crate::platform::volume;
use crate::scenario;

/// The label on every object of ours, and its value.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "resbench");

/// Kinds of Chaos Mesh.
const CHAOS: &str = "/apis/chaos-mesh.org/v1alpha1";

/// How long an object may take to go: its finalizers end the fault first.
const GOING: Duration = Duration::from_secs(30);

/// Where to look.
#[derive(Debug, Default)]
pub struct Places {
    /// APIs of Toxiproxy servers.
    pub toxiproxies: BTreeSet<String>,
    /// A kubeconfig's context; none: its current one, if there is any.
    pub context: Option<String>,
}

impl Places {
    /// Adds what an unfinished journal names.
    pub fn add(&mut self, journal: &OpenJournal) {
        let steps = journal.left.iter().flat_map(|left| &left.steps);
        self.toxiproxies.extend(steps.filter_map(|(_, undo)| match undo {
            Undo::Toxic { url, .. } => Some(url.clone()),
            _ => None,
        }));
    }
}

/// One thing with our mark.
pub struct Marked {
    /// What it is and where.
    pub what: String,
    /// The run that made it, where the mark says it.
    pub run: Option<String>,
    remove: Box<dyn FnOnce() -> Result<UndoDone, String>>,
}

impl Marked {
    /// Puts it away. What is gone already is success.
    ///
    /// # Errors
    /// What is left, and how a person does it.
    pub fn remove(self) -> Result<UndoDone, String> {
        (self.remove)()
    }

    /// Made by one of these runs.
    pub fn is_of(&self, runs: &BTreeSet<String>) -> bool {
        self.run.as_ref().is_some_and(|run| runs.contains(run))
    }
}

/// What one finder found, and what it could not look at.
#[derive(Default)]
pub struct Found {
    /// What is there.
    pub things: Vec<Marked>,
    /// Where nobody looked, and why.
    pub unseen: Vec<String>,
}

type Finder = fn(&Places) -> Found;

/// All of them: what they look at, and how.
const FINDERS: [Finder; 4] = [toxics, chaos_objects, deployments, dead_views];

/// Looks everywhere.
pub fn find(places: &Places) -> Found {
    let mut all = Found::default();
    for found in FINDERS.map(|finder| finder(places)) {
        all.things.extend(found.things);
        // One cluster is asked by several.
        all.unseen.extend(found.unseen.into_iter().filter(|why| !all.unseen.contains(why)).collect::<Vec<_>>());
    }
    all
}

/// Toxics by the prefix of their name.
fn toxics(places: &Places) -> Found {
    let mut found = Found::default();
    for text in &places.toxiproxies {
        let proxies = scenario::url(text).and_then(|url| {
            let server = Server { url };
            server.proxies().map(|proxies| (server, proxies))
        });
        match proxies {
            Ok((server, proxies)) => {
                for (proxy, view) in proxies {
                    let ours = view.toxics.into_iter().filter(|t| t.name.starts_with(PREFIX));
                    found.things.extend(ours.map(|t| toxic(&server, &proxy, t.name)));
                }
            }
            Err(why) => found.unseen.push(format!("Toxiproxy {text}: {why}")),
        }
    }
    found
}

fn toxic(server: &Server, proxy: &str, name: String) -> Marked {
    let what = format!("toxic {name} on proxy {proxy} of {}", server.shown());
    let (server, proxy, run) = (server.clone(), proxy.to_owned(), run_of(&name));
    let remove = move || {
        let removed = server.remove(&proxy, &name)?;
        Ok(if removed.absence().is_none() { UndoDone::Done } else { UndoDone::GoneAlready })
    };
    Marked { what, run, remove: Box::new(remove) }
}

/// `resbench-TIME-ID-…` holds a run's id, `TIME-ID`.
fn run_of(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    Some(format!("{}-{}", parts.next()?, parts.next()?))
}

/// The cluster, where there is one. One that nobody named and that is not there is no news.
fn cluster(places: &Places, found: &mut Found) -> Option<Cluster> {
    let cluster = Cluster::connect(places.context.as_deref());
    cluster.map_err(|why| found.unseen.push(format!("Kubernetes: {why}"))).ok()
}

/// Objects of Chaos Mesh by their label.
fn chaos_objects(places: &Places) -> Found {
    let mut found = Found::default();
    let Some(cluster) = cluster(places, &mut found) else { return found };
    let kinds = match cluster.get(CHAOS) {
        Ok(resources) => plurals(&resources),
        Err(e) if e.not_found() => return found,
        Err(e) => {
            found.unseen.push(format!("Chaos Mesh: {e}"));
            return found;
        }
    };
    for kind in kinds {
        let label = format!("{}={}", LABEL.0, LABEL.1);
        match cluster.get(&format!("{CHAOS}/{kind}{}", query(&[("labelSelector", &label)]))) {
            Ok(list) => found.things.extend(items(&list).map(|object| chaos_object(&cluster, &kind, object))),
            Err(e) => found.unseen.push(format!("{kind}: {e}")),
        }
    }
    found
}

fn plurals(resources: &Value) -> Vec<String> {
    let all = resources["resources"].as_array().into_iter().flatten();
    let listable = all.filter(|r| r["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|v| v == "list")));
    listable.filter_map(|r| r["name"].as_str()).filter(|name| !name.contains('/')).map(str::to_owned).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn chaos_object(cluster: &Cluster, kind: &str, object: &Value) -> Marked {
    let meta = &object["metadata"];
    let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text("name"), text("namespace"));
    let run = meta["labels"]["resbench.io/run"].as_str().map(str::to_owned);
    let what = format!("{kind} {namespace}/{name} of context {}", cluster.context());
    let by_hand = format!("by hand: kubectl --context {} -n {namespace} delete {kind} {name}", cluster.context());
    let (cluster, path) = (cluster.clone(), format!("{CHAOS}/namespaces/{namespace}/{kind}/{name}"));
    Marked { what, run, remove: Box::new(move || delete(&cluster, &path).map_err(|e| format!("{e}; {by_hand}"))) }
}

/// Deletes an object and waits until it is gone.
fn delete(cluster: &Cluster, path: &str) -> Result<UndoDone, String> {
    let gone = |e: &ApiError| e.not_found();
    match cluster.delete(path, None) {
        Err(e) if gone(&e) => return Ok(UndoDone::GoneAlready),
        Err(e) => return Err(e.to_string()),
        Ok(_) => {}
    }
    let give_up = clock::monotonic_nanos() + GOING.as_nanos() as u64;
    loop {
        match cluster.get(path) {
            Err(e) if gone(&e) => return Ok(UndoDone::Done),
            Err(e) => return Err(e.to_string()),
            Ok(_) if clock::monotonic_nanos() > give_up => {
                return Err("it is told to go and stays: its finalizer waits for the tool's controller".to_owned());
            }
            Ok(_) => clock::sleep(Duration::from_millis(200)),
        }
    }
}

/// Deployments that a run scaled to zero, by the annotation that it left on them.
fn deployments(places: &Places) -> Found {
    let mut found = Found::default();
    let Some(cluster) = cluster(places, &mut found) else { return found };
    match cluster.get("/apis/apps/v1/deployments") {
        Ok(list) => {
            let held = items(&list).filter_map(|object| Restore::of_marked(&cluster, object));
            found.things.extend(held.map(|restore| Marked {
                what: restore.to_string(),
                run: Some(restore.run.clone()),
                remove: Box::new(move || {
                    restore.perform().map(|done| if done { UndoDone::Done } else { UndoDone::GoneAlready })
                }),
            }));
        }
        Err(e) => found.unseen.push(format!("Deployments: {e}")),
    }
    found
}

/// Views of volumes whose process is gone. One that answers belongs to somebody who lives.
fn dead_views(_: &Places) -> Found {
    let of = |path: &Path| {
        let (what, path) = (format!("the dead view mounted at {}", path.display()), path.to_owned());
        let remove = move || volume::unmount_path(&path).map(|()| UndoDone::Done);
        Marked { what, run: None, remove: Box::new(remove) }
    };
    match volume::dead_views() {
        Ok(paths) => Found { things: paths.iter().map(|p| of(p)).collect(), unseen: Vec::new() },
        Err(why) => Found { things: Vec::new(), unseen: vec![why] },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_run_stands_in_the_name_of_a_toxic() {
        let run = run_of("resbench-20261122T231500Z-00abcd-slow-answers-upstream");
        assert_eq!(run.as_deref(), Some("20261122T231500Z-00abcd"));
        assert_eq!((run_of("latency_downstream"), run_of("resbench-x")), (None, None));
        let made =
            |run: &str| Marked { what: String::new(), run: Some(run.into()), remove: Box::new(|| Err("no".into())) };
        let live = BTreeSet::from(["a-1".to_owned()]);
        assert!(made("a-1").is_of(&live) && !made("a-2").is_of(&live));
    }

    #[test]
    fn kinds_are_those_that_can_be_listed() {
        let list = json!(["get", "list"]);
        let served = json!({"resources": [
            {"name": "podchaos", "verbs": list}, {"name": "podchaos/status", "verbs": ["get"]}, {"name": "x", "verbs": ["create"]},
        ]});
        assert_eq!(plurals(&served), ["podchaos"]);
    }

    #[test]
    fn a_server_that_does_not_answer_is_told_of() {
        let places = Places { toxiproxies: BTreeSet::from(["http://127.0.0.1:1".into(), "x".into()]), context: None };
        let found = toxics(&places);
        assert!(found.things.is_empty());
        assert_eq!(found.unseen.len(), 2, "{:?}", found.unseen);
    }
}
