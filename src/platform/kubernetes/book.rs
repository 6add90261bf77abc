//! Which pod plays which replica, and what happened to each: kept from what watches bring. Pure; time is an argument.
//!
//! Replicas are numbered places. A pod that comes takes the place of the one that went (or is going) first; a surplus pod,
//! as a rollout makes before it ends an old one, waits for a place as long as the Deployment does not want more. So the
//! numbers stay, and "replica 1" can be followed through its pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cluster::WatchKind;
use super::pod::{Pod, endpoints};
use crate::platform::{Instance, PlatformEventKind, ReplicaView};
use crate::units::show_measured;

/// Events that are kept: a crash loop over hours must not fill the memory.
const EVENTS_MAX: usize = 20_000;
/// Places at most.
const PLACES_MAX: usize = 1_000;

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// How many the Deployment wants; none: as many as there are.
    wanted: Option<usize>,
    /// The container that serves the model.
    container: Option<String>,
    places: Vec<Place>,
    /// Pods without a place: too many, and not going.
    surplus: Vec<Pod>,
    /// Pods that are going and whose place another took, with its number.
    leaving: Vec<(Pod, u16)>,
    /// By slice: its endpoints by UID.
    slices: BTreeMap<String, BTreeMap<String, bool>>,
    /// A slice has listed one of our pods: from then on only slices say who is in rotation.
    has_endpoints: bool,
    /// By UID.
    lives: BTreeMap<String, Life>,
    events: Vec<Event>,
}

/// A replica's place.
#[derive(Debug, Default)]
struct Place {
    pod: Option<Pod>,
    ready: bool,
    /// Pods that played it.
    pods: u32,
    /// When it fell vacant.
    vacant_since: u64,
}

/// Something that happened, on the monotonic clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) replica: Option<u16>,
    pub(super) kind: PlatformEventKind,
    pub(super) text: String,
}

/// What became of a pod, in monotonic ns.
#[derive(Clone, Debug, Default)]
struct Life {
    name: String,
    told: Option<u64>,
    gone: Option<u64>,
    scheduled: Option<u64>,
    running: Option<u64>,
    ready: Option<u64>,
    heir: Option<String>,
}

impl Book {
    pub(super) fn new(container: Option<&str>, wanted: Option<usize>) -> Book {
        Book { container: container.map(str::to_owned), wanted, ..Book::default() }
    }

    /// A pod, or a list of them.
    pub(super) fn pods(&mut self, kind: WatchKind, object: &Value, at: u64) {
        match kind {
            WatchKind::Added | WatchKind::Modified => self.seen(Pod::read(object, self.container.as_deref()), at),
            WatchKind::Deleted => self.gone(object["metadata"]["uid"].as_str().unwrap_or_default(), at),
            WatchKind::Listed => {
                let items = object["items"].as_array().map(Vec::as_slice).unwrap_or_default();
                let all: Vec<Pod> = items.iter().map(|o| Pod::read(o, self.container.as_deref())).collect();
                let known: Vec<String> = self.all().map(|p| p.uid.clone()).collect();
                for uid in known.iter().filter(|uid| !all.iter().any(|p| p.uid == **uid)) {
                    self.gone(uid, at);
                }
                all.into_iter().for_each(|pod| self.seen(pod, at));
            }
        }
        self.settle(at);
    }

    /// An EndpointSlice, or a list of them.
    pub(super) fn slices(&mut self, kind: WatchKind, object: &Value, at: u64) {
        let name = |o: &Value| o["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let read = |o: &Value| endpoints(o).into_iter().collect::<BTreeMap<_, _>>();
        match kind {
            WatchKind::Added | WatchKind::Modified => drop(self.slices.insert(name(object), read(object))),
            WatchKind::Deleted => drop(self.slices.remove(&name(object))),
            WatchKind::Listed => {
                let items = object["items"].as_array().map(Vec::as_slice).unwrap_or_default();
                self.slices = items.iter().map(|o| (name(o), read(o))).collect();
            }
        }
        self.settle(at);
    }

    /// The Deployment.
    pub(super) fn deployment(&mut self, kind: WatchKind, object: &Value, at: u64) {
        match kind {
            WatchKind::Added | WatchKind::Modified => {
                self.wants(object["spec"]["replicas"].as_u64().unwrap_or(1) as usize, at);
            }
            WatchKind::Deleted => self.note(at, None, PlatformEventKind::Note, "the Deployment is deleted".to_owned()),
            WatchKind::Listed => {
                object["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|o| self.deployment(WatchKind::Modified, o, at));
            }
        }
    }

    /// The Deployment wants this many.
    pub(super) fn wants(&mut self, replicas: usize, at: u64) {
        if self.wanted.is_some_and(|w| w != replicas) {
            self.note(at, None, PlatformEventKind::Note, format!("the Deployment wants {replicas} replicas now"));
        }
        self.wanted = Some(replicas);
        self.settle(at);
    }

    pub(super) fn note(&mut self, at: u64, replica: Option<u16>, kind: PlatformEventKind, text: String) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(Event { at, replica, kind, text });
        }
    }

    pub(super) fn views(&self) -> Vec<ReplicaView> {
        let view = |(i, place): (usize, &Place)| ReplicaView {
            index: i as u16,
            instance: place.pod.as_ref().filter(|p| p.lives()).map(instance),
            ready: place.ready,
            starts: place.pods + place.pod.as_ref().map_or(0, |p| p.restarts.min(u64::from(u32::MAX / 2)) as u32),
        };
        self.places.iter().enumerate().map(view).collect()
    }

    /// The pod that plays a replica and is not going.
    pub(super) fn pod(&self, replica: u16) -> Option<&Pod> {
        self.places.get(usize::from(replica))?.pod.as_ref().filter(|p| p.lives())
    }

    pub(super) fn forget_events(&mut self) {
        self.events.clear();
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// What became of a pod and of its place since `at`, in words; none when it is not known.
    pub(super) fn told(&self, uid: &str, at: u64) -> Option<String> {
        let life = self.lives.get(uid)?;
        let after = |t: Option<u64>| t.map(|t| show_measured(std::time::Duration::from_nanos(t.saturating_sub(at))));
        let mut text = match (after(life.gone), life.told) {
            (Some(after), _) => format!("pod {} (uid {uid}) deleted, gone after {after}", life.name),
            (None, Some(_)) => format!("pod {} (uid {uid}) told to end and still ending", life.name),
            (None, None) => return None,
        };
        match life.heir.as_ref().and_then(|heir| self.lives.get(heir)) {
            None => text.push_str(", replaced by none before load ended"),
            Some(heir) => {
                let steps = [("scheduled", heir.scheduled), ("running", heir.running), ("in rotation", heir.ready)];
                let told: Vec<String> =
                    steps.iter().filter_map(|(step, t)| Some(format!("{step} after {}", after(*t)?))).collect();
                let told = if told.is_empty() { "not scheduled when load ended".to_owned() } else { told.join(", ") };
                let not_yet = if heir.ready.is_none() { ", not in rotation when load ended" } else { "" };
                text.push_str(&format!(", replaced by pod {}: {told}{not_yet}", heir.name));
            }
        }
        Some(text)
    }

    fn all(&self) -> impl Iterator<Item = &Pod> {
        let places = self.places.iter().filter_map(|p| p.pod.as_ref());
        places.chain(&self.surplus).chain(self.leaving.iter().map(|(pod, _)| pod))
    }

    /// Where a pod stands now.
    fn find(&mut self, uid: &str) -> Option<(&mut Pod, Option<u16>)> {
        let places = self.places.iter_mut().enumerate();
        let mut places = places.filter_map(|(i, p)| p.pod.as_mut().map(|pod| (pod, Some(i as u16))));
        places
            .find(|(pod, _)| pod.uid == uid)
            .or_else(|| self.surplus.iter_mut().find(|p| p.uid == uid).map(|p| (p, None)))
            .or_else(|| self.leaving.iter_mut().find(|(p, _)| p.uid == uid).map(|(p, i)| (p, Some(*i))))
    }

    fn seen(&mut self, pod: Pod, at: u64) {
        use PlatformEventKind::{Note, Scheduled, Started, Terminating};
        let (before, replica) = match self.find(&pod.uid) {
            Some((known, replica)) => (std::mem::replace(known, pod.clone()), replica),
            // What was going before we came is not ours to tell of.
            None if !pod.lives() => return,
            None => {
                self.surplus.push(pod.clone());
                (Pod { restarts: pod.restarts, ..Pod::default() }, None)
            }
        };
        let life = self.lives.entry(pod.uid.clone()).or_default();
        life.name = format!("{}/{}", pod.namespace, pod.name);
        let mut now = Vec::new();
        if before.node.is_none()
            && let Some(node) = &pod.node
        {
            life.scheduled = Some(at);
            now.push((Scheduled, format!("{pod} is scheduled to {node}")));
        }
        if pod.running && !before.running {
            life.running.get_or_insert(at);
            now.push((Started, format!("{pod} runs")));
        }
        if pod.restarts > before.restarts {
            let why = if pod.why.is_empty() { String::new() } else { format!(" ({})", pod.why) };
            now.push((Note, format!("{pod}: a container was restarted{why}, {} times so far", pod.restarts)));
        } else if !pod.running && pod.why != before.why && !pod.why.is_empty() && !pod.terminating {
            now.push((Note, format!("{pod}: {}", pod.why)));
        }
        if pod.terminating && !before.terminating {
            life.told = Some(at);
            now.push((Terminating, format!("{pod} is told to end")));
        }
        now.into_iter().for_each(|(kind, text)| self.note(at, replica, kind, text));
    }

    fn gone(&mut self, uid: &str, at: u64) {
        let Some((pod, replica)) = self.find(uid) else { return };
        let text = format!("{pod} is gone");
        self.note(at, replica, PlatformEventKind::Gone, text);
        let life = self.lives.entry(uid.to_owned()).or_default();
        life.told.get_or_insert(at);
        life.gone = Some(at);
        self.surplus.retain(|p| p.uid != uid);
        self.leaving.retain(|(p, _)| p.uid != uid);
        for place in self.places.iter_mut().filter(|p| p.pod.as_ref().is_some_and(|pod| pod.uid == uid)) {
            // Its place remembers who had it until another comes.
            if let Some(pod) = place.pod.as_mut() {
                pod.over = true;
            }
        }
    }

    /// Gives places to pods that have none, then tells who went into and out of rotation.
    fn settle(&mut self, at: u64) {
        for place in &mut self.places {
            let vacant = place.pod.as_ref().is_none_or(|p| !p.lives());
            place.vacant_since = if vacant { place.vacant_since.min(at) } else { u64::MAX };
        }
        self.tell_rotation(at);
        while let Some(pod) = self.surplus.iter().position(Pod::lives) {
            let vacant = self.places.iter().enumerate().filter(|(_, p)| p.vacant_since < u64::MAX);
            let first = vacant.min_by_key(|(_, p)| p.vacant_since).map(|(i, _)| i);
            let room = self.wanted.is_none_or(|wanted| self.places.len() < wanted) && self.places.len() < PLACES_MAX;
            let place = match first {
                Some(place) => place,
                None if room => {
                    self.places.push(Place::default());
                    self.places.len() - 1
                }
                None => break,
            };
            let pod = self.surplus.remove(pod);
            self.take(place, pod, at);
        }
        self.tell_rotation(at);
    }

    fn take(&mut self, index: usize, pod: Pod, at: u64) {
        let (uid, name) = (pod.uid.clone(), pod.to_string());
        let place = &mut self.places[index];
        (place.pods, place.vacant_since) = (place.pods.saturating_add(1), u64::MAX);
        let Some(before) = place.pod.replace(pod) else { return };
        self.lives.entry(before.uid.clone()).or_default().heir = Some(uid);
        let text = format!("{name} takes the place of {before}");
        if !before.over {
            self.leaving.push((before, index as u16));
        }
        self.note(at, Some(index as u16), PlatformEventKind::Note, text);
    }

    fn tell_rotation(&mut self, at: u64) {
        let ours = |uid: &String| self.places.iter().any(|p| p.pod.as_ref().is_some_and(|pod| pod.uid == *uid));
        self.has_endpoints = self.has_endpoints || self.slices.values().any(|s| s.keys().any(ours));
        for index in 0..self.places.len() {
            let place = &self.places[index];
            let Some(pod) = place.pod.clone() else { continue };
            let listed = !self.has_endpoints || self.slices.values().any(|s| s.get(&pod.uid) == Some(&true));
            let ready = pod.lives() && pod.ready && listed;
            if ready == place.ready {
                continue;
            }
            self.places[index].ready = ready;
            let (kind, text) = if ready {
                self.lives.entry(pod.uid.clone()).or_default().ready.get_or_insert(at);
                (PlatformEventKind::Ready, format!("{pod} is in rotation"))
            } else {
                let why = match (pod.lives(), pod.ready) {
                    (false, _) => "it is going",
                    (true, false) => "it is not ready",
                    (true, true) => "no EndpointSlice has it as ready",
                };
                (PlatformEventKind::NotReady, format!("{pod} is out of rotation: {why}"))
            };
            self.note(at, Some(index as u16), kind, text);
        }
    }
}

fn instance(pod: &Pod) -> Instance {
    Instance::Pod { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PlatformEventKind::{Gone, NotReady, Ready, Scheduled, Started, Terminating};
    use serde_json::json;

    /// `state`: new, scheduled, running, ready, ending.
    fn pod(name: &str, state: &str) -> Value {
        let step = ["new", "scheduled", "running", "ready", "ending"].iter().position(|s| *s == state).unwrap();
        let mut object = json!({"metadata": {"namespace": "ml", "name": name, "uid": format!("uid-{name}")},
            "spec": {"containers": [{"name": "web"}]}, "status": {"phase": "Running"}});
        if step >= 1 {
            object["spec"]["nodeName"] = json!("n1");
        }
        if step >= 2 {
            object["status"]["containerStatuses"] =
                json!([{"name": "web", "restartCount": 0, "state": {"running": {}}}]);
        }
        if step >= 3 {
            object["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        }
        if step >= 4 {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        object
    }

    fn list(names: &[&str]) -> Value {
        json!({"items": names.iter().map(|n| pod(n, "ready")).collect::<Vec<_>>()})
    }

    fn slice(ready: &[&str]) -> Value {
        let endpoints: Vec<Value> = ready.iter().map(|n| json!({"targetRef": {"uid": format!("uid-{n}")}})).collect();
        json!({"metadata": {"name": "s"}, "endpoints": endpoints})
    }

    fn playing(book: &Book) -> Vec<Option<String>> {
        let name = |v: ReplicaView| match v.instance {
            Some(Instance::Pod { name, .. }) => Some(name + if v.ready { "+" } else { "" }),
            _ => None,
        };
        book.views().into_iter().map(name).collect()
    }

    fn names(all: &[&str]) -> Vec<Option<String>> {
        all.iter().map(|n| (!n.is_empty()).then(|| (*n).to_owned())).collect()
    }

    fn kinds(book: &Book, replica: u16) -> Vec<PlatformEventKind> {
        let of = |e: &&Event| e.replica == Some(replica) && e.kind != PlatformEventKind::Note;
        book.events().iter().filter(of).map(|e| e.kind).collect()
    }

    #[test]
    fn a_replacement_takes_the_place_of_the_one_that_went() {
        let mut book = Book::new(None, Some(3));
        book.pods(WatchKind::Listed, &list(&["a", "b", "c"]), 0);
        assert_eq!(playing(&book), names(&["a+", "b+", "c+"]));
        book.events.clear();
        book.pods(WatchKind::Modified, &pod("b", "ending"), 1_000_000);
        assert_eq!(playing(&book), names(&["a+", "", "c+"]));
        for (at, state) in [(2, "new"), (3, "scheduled"), (4, "running"), (5, "ready")] {
            book.pods(WatchKind::Modified, &pod("d", state), at * 1_000_000);
        }
        assert_eq!(playing(&book), names(&["a+", "d+", "c+"]));
        book.pods(WatchKind::Deleted, &pod("b", "ending"), 9_000_000);
        assert_eq!(playing(&book), names(&["a+", "d+", "c+"]), "its end touches its heir's place no more");
        assert_eq!(kinds(&book, 1), [Terminating, NotReady, Scheduled, Started, Ready, Gone]);
        assert_eq!(book.views()[1].starts, 2);
        let told = book.told("uid-b", 1_000_000).unwrap();
        assert!(told.starts_with("pod ml/b (uid uid-b) deleted, gone after 8"), "{told}");
        assert!(told.contains("replaced by pod ml/d: scheduled after 2"), "{told}");
        assert!(told.contains("in rotation after 4"), "{told}");
        assert_eq!(book.told("uid-a", 0), None, "nothing became of it");
    }

    #[test]
    fn a_pod_that_is_deleted_at_once_is_out_of_rotation_first() {
        let mut book = Book::new(None, Some(1));
        book.pods(WatchKind::Listed, &list(&["a"]), 0);
        book.events.clear();
        book.pods(WatchKind::Deleted, &pod("a", "ready"), 5);
        assert_eq!(playing(&book), names(&[""]));
        assert_eq!(kinds(&book, 0), [Gone, NotReady]);
        book.pods(WatchKind::Added, &pod("b", "ready"), 7);
        assert_eq!(playing(&book), names(&["b+"]));
        assert!(book.told("uid-a", 5).unwrap().contains("replaced by pod ml/b"));
    }

    #[test]
    fn a_surplus_pod_of_a_rollout_waits_for_a_place() {
        let mut book = Book::new(None, Some(2));
        book.pods(WatchKind::Listed, &list(&["a", "b"]), 0);
        book.pods(WatchKind::Added, &pod("c", "ready"), 1);
        assert_eq!(playing(&book), names(&["a+", "b+"]));
        book.pods(WatchKind::Modified, &pod("a", "ending"), 2);
        assert_eq!(playing(&book), names(&["c+", "b+"]));
        book.pods(WatchKind::Added, &pod("d", "new"), 3);
        book.wants(3, 4);
        assert_eq!(playing(&book), names(&["c+", "b+", "d"]), "it was scaled up");
        let mut by_labels = Book::new(None, None);
        by_labels.pods(WatchKind::Listed, &list(&["a"]), 0);
        by_labels.pods(WatchKind::Added, &pod("b", "new"), 1);
        assert_eq!(playing(&by_labels), names(&["a+", "b"]), "nobody says how many: the next free number");
    }

    #[test]
    fn where_there_are_endpoints_they_say_who_is_in_rotation() {
        let mut book = Book::new(None, Some(2));
        book.pods(WatchKind::Listed, &list(&["a", "b"]), 0);
        book.slices(WatchKind::Added, &slice(&["other"]), 1);
        assert_eq!(playing(&book), names(&["a+", "b+"]), "a slice of somebody else");
        book.slices(WatchKind::Modified, &slice(&["a", "b"]), 2);
        book.slices(WatchKind::Modified, &slice(&["b"]), 3);
        assert_eq!(playing(&book), names(&["a", "b+"]));
        let last = book.events().last().unwrap();
        assert_eq!((last.kind, last.at, last.replica), (NotReady, 3, Some(0)));
    }

    #[test]
    fn after_a_gap_what_is_not_listed_is_gone() {
        let mut book = Book::new(None, Some(2));
        book.pods(WatchKind::Listed, &list(&["a", "b"]), 0);
        book.pods(WatchKind::Listed, &list(&["b", "c"]), 10);
        assert_eq!(playing(&book), names(&["c+", "b+"]));
        assert!(book.told("uid-a", 0).unwrap().contains("gone after"));
        let mut restarted = pod("b", "ready");
        restarted["status"]["containerStatuses"][0]["restartCount"] = json!(1);
        book.pods(WatchKind::Modified, &restarted, 11);
        assert!(book.events().last().unwrap().text.contains("1 times so far"));
        assert_eq!(book.views()[1].starts, 2);
    }
}
