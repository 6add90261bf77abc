//! Faults by Chaos Mesh: an object is made in the cluster, its controller does the rest, and we look whether it did.
//!
//! `manifest` turns a fault of ours into the tool's words, `status` says what of the tool's answer may be believed,
//! `effect` watches the pods themselves. In force once every record says so (a kill: once a pod is gone, which comes
//! first). Proven by what pods show: gone, not ready, started again; where they show nothing (a delay, a slow disk, a busy
//! CPU) by the author's probe or word, else it is only acknowledged. What pods show counts while the fault is on, and until
//! another begins that may meet the same pods. The object always has an end of its own, so that a cluster that we lost is
//! not broken for ever.

mod effect;
pub mod manifest;
pub(super) mod object;
mod preflight;
mod selection;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::InjectorContext;
use super::by_probe::ByRule;
use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::stop::StopSignal;
use crate::clock::Clock;
use crate::plan::{Chaos, FaultKind, FaultPlan, FaultTarget, PROTECTED_NAMESPACES, Plan};
use crate::platform::kubernetes::cluster::{Cluster, Watch, query, version_of};
use crate::platform::{Instance, ReplicaView, Replicas};
use crate::units::{Offset, show_duration, show_measured};
use effect::{Book, Pod};
use manifest::{Marks, Pods};
use object::Object;
use selection::{Choice, Selection};
use status::{Record, Status};

/// How long the tool may take until a fault is in force everywhere.
const INJECTION: Duration = Duration::from_secs(15);

/// How long its controller may take to notice an object at all. It takes 10 ms; a machine may be busy.
const NOTICE: Duration = Duration::from_secs(5);

/// Between two looks at the object while it is not in force.
const GLANCE: Duration = Duration::from_millis(25);

/// Between two looks at the object while it is.
const LOOK: Duration = Duration::from_secs(1);

/// Where the pods are, as far as the plan says it.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Context of the kubeconfig; none: the current one.
    pub(super) context: Option<String>,
    /// Where replicas live.
    pub(super) namespace: Option<String>,
    /// Namespace and label selector of each dependency.
    pub(super) dependencies: BTreeMap<String, (String, String)>,
}

/// One fault by Chaos Mesh.
pub(super) struct ChaosMesh {
    fault: FaultPlan,
    chaos: Chaos,
    one_shot: bool,
    rule: Option<ByRule>,
    plan: Arc<Plan>,
    run: String,
    place: Place,
    replicas: Option<Arc<dyn Replicas>>,
    clock: Clock,
    stop: StopSignal,
    cluster: Option<Cluster>,
    object: Object,
    book: Book,
    watches: Vec<Watch>,
    /// The object may be there since.
    asked: Option<Offset>,
    applied: Option<Offset>,
    /// What pods show since is not its doing any more: it was to be put back, or was seen to be over.
    over: Option<Offset>,
    /// Who was to be hit.
    targets: Vec<TargetRef>,
    /// `namespace/name` of those hit.
    victims: Vec<String>,
    coverage: Vec<Coverage>,
    next_look: Offset,
    notes: Vec<String>,
}

/// How many serving pods were under the fault at one look.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Coverage {
    hit: usize,
    serving: usize,
}

impl ChaosMesh {
    pub(super) fn new(fault: &FaultPlan, cx: &InjectorContext, place: Place) -> Result<ChaosMesh, String> {
        let chaos = manifest::chaos_of(&fault.kind)?;
        let namespace = home(fault, &place).ok_or("nothing says in which namespace: add [platform.kubernetes]")?;
        let name = manifest::name(&cx.run, &fault.name);
        Ok(ChaosMesh {
            chaos,
            one_shot: chaos.is_one_shot(manifest::action_of(fault)),
            rule: fault.proof().map(|rule| ByRule::new(rule.clone(), cx.clock)),
            plan: cx.plan.clone(),
            run: cx.run.clone(),
            place,
            replicas: cx.replicas.clone(),
            clock: cx.clock,
            stop: cx.stop.clone(),
            cluster: None,
            object: Object { namespace, plural: chaos.plural(), name },
            book: Book::default(),
            watches: Vec::new(),
            asked: None,
            applied: None,
            over: None,
            targets: Vec::new(),
            victims: Vec::new(),
            coverage: Vec::new(),
            next_look: Offset::ZERO,
            notes: Vec::new(),
            fault: fault.clone(),
        })
    }

    /// The object that these targets would get, after the cluster was asked whether it would take it.
    pub(super) fn dry_run(&mut self, targets: &[TargetRef]) -> Result<Value, String> {
        self.prepare()?;
        let cluster = self.cluster()?;
        let pods = self.pods(&cluster, targets)?;
        self.manifest(&cluster, &pods)
    }

    fn cluster(&self) -> Result<Cluster, String> {
        self.cluster.clone().ok_or_else(|| "it is not prepared".to_owned())
    }

    /// Namespace and selectors of every pod that the fault may hit or that serves beside those.
    fn around(&self) -> Vec<Around> {
        match (&self.fault.kind, &self.fault.target) {
            (FaultKind::ChaosMesh(experiment), _) => {
                let mut around: Vec<Around> =
                    selection::hit_ends(&experiment.spec).flat_map(|end| places(&self.selection(end))).collect();
                around.sort_unstable();
                around.dedup();
                around
            }
            (_, FaultTarget::Dependency(name)) => {
                let (namespace, labels) = self.place.dependencies.get(name).cloned().unwrap_or_default();
                vec![(namespace, labels, String::new())]
            }
            _ => vec![(self.object.namespace.clone(), String::new(), String::new())],
        }
    }

    /// Whom an end of the author's own experiment selects.
    fn selection(&self, end: &Map<String, Value>) -> Selection {
        Selection::of(end, &self.object.namespace)
    }

    /// Namespaces of those that may be hit, and of everybody that is named: those too to whom the hit ones only speak.
    ///
    /// # Errors
    /// One that may not be touched, and so not be named.
    fn namespaces(&self) -> Result<(Vec<String>, Vec<String>), String> {
        let hit: BTreeSet<String> = self.around().into_iter().map(|(namespace, ..)| namespace).collect();
        let mut named = hit.clone();
        if let FaultKind::ChaosMesh(experiment) = &self.fault.kind {
            named.extend(selection::ends(&experiment.spec).flat_map(|end| self.selection(end).namespaces));
        }
        if let Some(bad) = named.iter().find(|n| PROTECTED_NAMESPACES.contains(&n.as_str())) {
            return Err(format!(
                "namespace {bad} is never touched: what runs there keeps the cluster or the tool alive"
            ));
        }
        let listed = self.plan.safety.namespaces.as_ref();
        if let Some(bad) = listed.and_then(|listed| named.iter().find(|n| !listed.contains(n))) {
            return Err(format!("namespace {bad} is not among the namespaces that [safety] allows"));
        }
        Ok((hit.into_iter().collect(), named.into_iter().collect()))
    }

    /// Those that may be hit as they are now: one choice, or one of each end of the author's own experiment.
    fn choices(&self, cluster: &Cluster) -> Result<Vec<Choice>, String> {
        if let FaultKind::ChaosMesh(experiment) = &self.fault.kind {
            return selection::hit_ends(&experiment.spec).map(|end| self.choice(cluster, end)).collect();
        }
        let among = match &self.fault.target {
            FaultTarget::Dependency(name) => self.dependency(cluster, name).map(ids)?,
            _ => self.replicas.iter().flat_map(|r| r.list()).filter_map(|r| pod_id(r.instance.as_ref())).collect(),
        };
        if among.is_empty() {
            return Err(format!("no running pod in {} is what it would hit", self.object.namespace));
        }
        Ok(vec![Choice { most: among.len(), among }])
    }

    /// The tool begins nothing where an end selects nobody.
    fn choice(&self, cluster: &Cluster, end: &Map<String, Value>) -> Result<Choice, String> {
        let (selection, mut among) = (self.selection(end), Vec::new());
        for (namespace, labels, fields) in places(&selection) {
            let list = cluster.get(&pods_path(&namespace, &labels, &fields)).map_err(|e| e.to_string())?;
            let pods = list["items"].as_array().into_iter().flatten();
            among.extend(pods.filter(|p| selection.takes(p)).map(effect::id));
        }
        if among.is_empty() {
            return Err(format!("no running pod in {} is what it would hit", selection.namespaces.join(", ")));
        }
        Ok(Choice { most: selection::at_most(end, among.len()), among })
    }

    fn dependency(&self, cluster: &Cluster, name: &str) -> Result<Pods, String> {
        let known = self.place.dependencies.get(name);
        let (namespace, labels) = known.ok_or_else(|| format!("there is no dependency {name}"))?;
        let list = cluster.get(&pods_path(namespace, labels, "")).map_err(|e| e.to_string())?;
        let running = list["items"].as_array().into_iter().flatten().filter(|p| p["status"]["phase"] == "Running");
        let names: Vec<String> = running.filter_map(|p| p["metadata"]["name"].as_str()).map(str::to_owned).collect();
        if names.is_empty() {
            return Err(format!("dependency {name}: no running pod in {namespace} has the labels {labels}"));
        }
        Ok(Pods::from([(namespace.clone(), names)]))
    }

    /// The pods that these targets are.
    fn pods(&self, cluster: &Cluster, targets: &[TargetRef]) -> Result<Pods, String> {
        let mut pods = Pods::new();
        for target in targets {
            match target {
                TargetRef::Replica { instance: Some(Instance::Pod { namespace, name, .. }), .. } => {
                    pods.entry(namespace.clone()).or_default().push(name.clone());
                }
                TargetRef::Dependency(name) => pods.extend(self.dependency(cluster, name)?),
                TargetRef::Selected(_) => {}
                other => return Err(format!("{other} is no pod")),
            }
        }
        Ok(pods)
    }

    fn manifest(&self, cluster: &Cluster, pods: &Pods) -> Result<Value, String> {
        let peer = manifest::ours(&self.fault).and_then(|more| more.peer.as_deref());
        let peers = peer.map(|name| self.dependency(cluster, name)).transpose()?.unwrap_or_default();
        let limit = manifest::own_limit(&self.fault, self.plan.end());
        let deadline = self.clock.wall_now() + limit.as_nanos() as i128;
        let marks = Marks {
            run: &self.run,
            fault: &self.fault.name,
            namespace: &self.object.namespace,
            deadline: &rfc3339(deadline),
        };
        manifest::manifest(&self.fault, &marks, pods, &peers, limit)
    }

    /// Opens the book of pods as they are just before, and follows what becomes of them.
    fn open_book(&mut self, cluster: &Cluster) {
        for (n, (namespace, labels, fields)) in self.around().into_iter().enumerate() {
            let path = pods_path(&namespace, &labels, &fields);
            let Ok(list) = cluster.get(&path) else { continue };
            let (book, clock) = (self.book.of_watch(n), self.clock);
            book.open(&list);
            let note = move |kind, object: Value| {
                book.note(kind, &object, clock.now());
                true
            };
            self.watches.push(cluster.watch(&path, version_of(&list), note));
        }
    }

    /// Waits until the tool's records say that it is in force. Returns since when.
    fn in_force(&mut self, cluster: &Cluster) -> Result<Offset, String> {
        let (begun, kind) = (self.clock.now(), self.chaos.word());
        loop {
            let object = match cluster.get(&self.object.path()) {
                Err(e) if e.not_found() => return Err("its object was deleted by somebody else".to_owned()),
                Err(e) => return Err(e.to_string()),
                Ok(object) => object,
            };
            let (status, now) = (Status::of(&object, self.one_shot), self.clock.now());
            if status.injected() {
                return Ok(self.begin(&status, now));
            }
            let waited = now.since(begun);
            if !status.taken_up && waited > NOTICE {
                let limit = show_duration(NOTICE);
                return Err(format!(
                    "Chaos Mesh did not take the {kind} up within {limit}: its controller is down, or of another version than its CRDs"
                ));
            }
            if status.taken_up && !status.selected() && waited > GLANCE * 20 {
                self.nothing_selected(cluster, waited)?;
            }
            if waited > INJECTION {
                let (complaints, limit) = (status.complaints().join("; "), show_duration(INJECTION));
                return Err(format!("the {kind} was not in force within {limit}: {complaints}"));
            }
            if self.stop.wait_until(&self.clock, now + GLANCE) {
                return Err("the run stopped before it was in force".to_owned());
            }
        }
    }

    /// An empty selection is said once, in an event, and never looked at again.
    fn nothing_selected(&self, cluster: &Cluster, waited: Duration) -> Result<(), String> {
        let object = format!("involvedObject.name={}", self.object.name);
        let path =
            format!("/api/v1/namespaces/{}/events{}", self.object.namespace, query(&[("fieldSelector", &object)]));
        let events = cluster.get(&path).unwrap_or_default();
        let failed = events["items"].as_array().into_iter().flatten().filter(|e| e["type"] == "Warning");
        match failed.filter_map(|e| e["message"].as_str()).next_back() {
            Some(said) => Err(format!("Chaos Mesh selected nothing: {said}")),
            None if waited > INJECTION / 2 => Err("Chaos Mesh selected nothing".to_owned()),
            None => Ok(()),
        }
    }

    /// It is in force: who is hit is known now. A kill is felt before its record says so.
    fn begin(&mut self, status: &Status, now: Offset) -> Offset {
        let mut hit: Vec<String> = status.records.iter().map(|r| r.pod().to_owned()).collect();
        hit.sort_unstable();
        hit.dedup();
        self.victims = hit;
        let first = self.seen().filter_map(|(_, at)| at).min();
        let at = first.filter(|_| self.one_shot).map_or(now, |first| first.min(now));
        self.note_coverage(status);
        self.next_look = now + LOOK;
        *self.applied.insert(at)
    }

    /// Each victim, and when the effect was seen on it.
    fn seen(&self) -> impl Iterator<Item = (&String, Option<Offset>)> {
        let (since, until) = (self.asked.unwrap_or_default(), self.until());
        let effect = move |pod: Pod| self.signs(&pod).into_iter().flatten().find(|at| (since..=until).contains(at));
        self.victims.iter().map(move |id| (id, self.book.pod(id).and_then(effect)))
    }

    /// Until when what pods show is this fault's doing.
    fn until(&self) -> Offset {
        let since = self.asked.unwrap_or_default();
        let later = self.plan.faults.iter().filter(|other| other.at > since && may_meet(&self.fault, other));
        later.map(|other| other.at).chain(self.over).min().unwrap_or(Offset(u64::MAX))
    }

    /// When the fault showed on a pod, the surest sign first.
    fn signs(&self, pod: &Pod) -> [Option<Offset>; 2] {
        // One that was told to go is not ready because of that: it shows nothing of any other fault.
        let stays = |at: &Offset| pod.gone.is_none_or(|gone| gone > *at);
        let (unready, restarted) = (pod.unready.filter(stays), pod.restarted.filter(stays));
        match manifest::action_of(&self.fault) {
            "pod-kill" if self.chaos == Chaos::Pod => [pod.gone, None],
            "container-kill" if self.chaos == Chaos::Pod => [restarted, unready],
            _ => [unready, None],
        }
    }

    fn shows(&self) -> &'static str {
        match manifest::action_of(&self.fault) {
            "pod-kill" if self.chaos == Chaos::Pod => "gone",
            "container-kill" if self.chaos == Chaos::Pod => "its container ended",
            _ => "not ready",
        }
    }

    fn note_coverage(&mut self, status: &Status) {
        let there = |r: &&Record| self.book.pod(r.pod()).is_some_and(|p| p.gone.is_none());
        let mut hit: Vec<&str> = status.in_force().filter(there).map(Record::pod).collect();
        hit.sort_unstable();
        hit.dedup();
        let serving = match &self.replicas {
            Some(replicas) if self.fault.target != FaultTarget::Outside => {
                replicas.list().iter().filter(|r| r.ready).count()
            }
            _ => self.book.serving(),
        };
        let coverage = Coverage { hit: hit.len(), serving };
        self.coverage.push(coverage);
        // The first and the last are told; those between only while they differ.
        if let [.., a, b, _] = self.coverage.as_slice()
            && a == b
        {
            self.coverage.remove(self.coverage.len() - 2);
        }
        self.coverage.truncate(1000);
    }

    /// A look at the object while it should be in force.
    fn watch_over(&mut self) {
        let (Ok(cluster), false) = (self.cluster(), self.one_shot) else { return };
        let note = match cluster.get(&self.object.path()) {
            Err(e) if e.not_found() => "its object was deleted by somebody else".to_owned(),
            Err(_) => return,
            Ok(object) => {
                let status = Status::of(&object, false);
                self.note_coverage(&status);
                match (status.finished(self.clock.wall_now()), status.stopping) {
                    (true, _) => "it ended by itself, before it was put back".to_owned(),
                    (_, true) => "somebody paused or deleted it in between".to_owned(),
                    _ => return,
                }
            }
        };
        self.over.get_or_insert(self.clock.now());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// One victim that shows it, and what came in its place where the platform saw that.
    fn tell(&self, id: &str, after: Duration) -> String {
        let after = show_measured(after);
        let instances = self.targets.iter().filter_map(|target| match target {
            TargetRef::Replica { instance, .. } => instance.as_ref(),
            _ => None,
        });
        let mut instance = instances.filter(|i| pod_id(Some(i)).as_deref() == Some(id));
        let became = match (&self.replicas, self.applied, instance.next()) {
            (Some(replicas), Some(at), Some(instance)) if self.one_shot => replicas.became(instance, at),
            _ => None,
        };
        let uid = self.book.pod(id).map(|p| p.uid).unwrap_or_default();
        became.map_or_else(
            || format!("pod {id} (uid {uid}) {} after {after}", self.shows()),
            |told| format!("{} after {after}: {told}", self.shows()),
        )
    }

    fn told(&self) -> String {
        let mut text = format!("the tool's records say injected on {}", self.victims.join(", "));
        if let (false, Some(first), Some(last)) = (self.one_shot, self.coverage.first(), self.coverage.last()) {
            text.push_str(&format!(
                "; {} of {} serving pods at first, {} of {} at last",
                first.hit, first.serving, last.hit, last.serving
            ));
        }
        text
    }
}

impl Injector for ChaosMesh {
    fn prepare(&mut self) -> Result<(), String> {
        let cluster = Cluster::connect(self.place.context.as_deref())?;
        preflight::served(&cluster, self.chaos)?;
        let (hit, named) = self.namespaces()?;
        preflight::allowed(&cluster, self.chaos, &self.object.namespace, &hit, &named)?;
        let choices = self.choices(&cluster)?;
        if let FaultKind::ChaosMesh(_) = &self.fault.kind {
            selection::within(&choices, &self.plan.safety)?;
        }
        let candidates = selection::all(&choices);
        preflight::alone(&cluster, &self.run, &named, &candidates)?;
        let object = self.manifest(&cluster, &by_namespace(&candidates))?;
        cluster
            .create(&self.object.collection(), &object, true)
            .map_err(|e| format!("the cluster would refuse its {}: {e}", self.chaos.word()))?;
        self.cluster = Some(cluster);
        Ok(())
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        let Object { namespace, plural, name } = self.object.clone();
        let step = |cluster: &Cluster| Undo::ChaosMesh {
            context: cluster.context().to_owned(),
            server: cluster.server().to_owned(),
            namespace,
            plural,
            name,
        };
        self.cluster.as_ref().map(step).into_iter().collect()
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let cluster = self.cluster()?;
        let pods = self.pods(&cluster, targets)?;
        let object = self.manifest(&cluster, &pods)?;
        self.targets = targets.to_vec();
        // Before the call: an answer that is lost may have been a yes.
        self.asked = Some(self.clock.now());
        cluster
            .create(&self.object.collection(), &object, false)
            .map_err(|e| format!("the cluster refused its {}: {e}", self.chaos.word()))?;
        self.in_force(&cluster)
    }

    fn revert(&mut self) -> Result<(), String> {
        if self.asked.is_none() {
            return Ok(());
        }
        self.over.get_or_insert(self.clock.now());
        self.object.remove(&self.cluster()?).map(drop)
    }

    fn observe(&mut self, probe: &dyn Fn(&str) -> bool) -> bool {
        let Some(applied) = self.applied else {
            if let (Ok(cluster), true) = (self.cluster(), self.watches.is_empty()) {
                self.open_book(&cluster);
            }
            if let Some(rule) = &mut self.rule {
                rule.look(false, probe);
            }
            return true;
        };
        if self.clock.now() >= self.next_look.max(applied) {
            self.watch_over();
            self.next_look = self.clock.now() + LOOK;
        }
        if let Some(rule) = &mut self.rule {
            rule.look(true, probe);
        }
        true
    }

    fn troubles(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn residue(&self) -> Vec<String> {
        let (Some(_), Ok(cluster)) = (self.asked, self.cluster()) else { return Vec::new() };
        let by_hand = self.object.by_hand(cluster.context());
        match cluster.get(&self.object.path()) {
            Err(e) if e.not_found() => Vec::new(),
            Err(e) => vec![format!("it is not known whether {} is gone: {e}; by hand: {by_hand}", self.object)],
            Ok(_) => vec![format!("{} is still there; by hand: {by_hand}", self.object)],
        }
    }

    fn proof(&self) -> Proof {
        let (Some(asked), Some(applied)) = (self.asked, self.applied) else {
            return Proof::none("it was never in force");
        };
        let seen: Vec<(&String, Option<Offset>)> = self.seen().collect();
        let told = |(id, at): &(&String, Option<Offset>)| at.map(|at| self.tell(id, at.since(asked)));
        let hit: Vec<String> = seen.iter().filter_map(told).collect();
        if !hit.is_empty() && hit.len() == seen.len() {
            let evidence = format!("{}; {}", hit.join(", "), self.told());
            return Proof { level: ProofLevel::Effect, touched: hit.len() as u64, evidence };
        }
        match &self.rule {
            Some(rule) => {
                let by_rule = rule.proof(applied, "injection");
                Proof { evidence: format!("{}; {}", by_rule.evidence, self.told()), ..by_rule }
            }
            None => {
                let shown =
                    if hit.is_empty() { "no pod shows it".to_owned() } else { format!("only {}", hit.join(", ")) };
                Proof { level: ProofLevel::Acknowledged, touched: 0, evidence: format!("{}, but {shown}", self.told()) }
            }
        }
    }

    fn mechanism(&self) -> String {
        format!("{} {}", self.chaos.word(), manifest::action_of(&self.fault)).trim_end().to_owned()
    }
}

/// Namespace, label selector and field selector of a list of pods.
type Around = (String, String, String);

/// The lists that a selection is made from.
fn places(selection: &Selection) -> Vec<Around> {
    let place = |namespace: &String| (namespace.clone(), selection.labels.clone(), selection.fields.clone());
    selection.namespaces.iter().map(place).collect()
}

/// Another fault that begins later may be put on the same pods. The runner gives a replica, or a dependency, to a second
/// fault only where that one allows it; whom the author of an experiment or a command hits, nobody keeps book of.
fn may_meet(ours: &FaultPlan, other: &FaultPlan) -> bool {
    use FaultTarget::{Dependency, Outside, Replica, Replicas, Requests};
    other.name != ours.name
        && match (&ours.target, &other.target) {
            (_, Requests) | (Requests, _) => false,
            (Outside, _) | (_, Outside) => true,
            (Replica(_) | Replicas(_), Replica(_) | Replicas(_)) => other.overlap,
            (Dependency(one), Dependency(another)) => one == another && other.overlap,
            (Dependency(_), Replica(_) | Replicas(_)) | (Replica(_) | Replicas(_), Dependency(_)) => false,
        }
}

/// Where the object of a fault stands; none when nothing says it.
pub(super) fn home(fault: &FaultPlan, place: &Place) -> Option<String> {
    if let FaultKind::ChaosMesh(experiment) = &fault.kind {
        let first = || Selection::of(&experiment.spec, "").namespaces.into_iter().next();
        let named = experiment.namespace.clone().or_else(|| place.namespace.clone()).or_else(first);
        return named.filter(|n| !n.is_empty());
    }
    place.namespace.clone()
}

fn pods_path(namespace: &str, labels: &str, fields: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods{}", query(&[("labelSelector", labels), ("fieldSelector", fields)]))
}

/// Nobody else's experiment is active on these replicas' pods. Where Chaos Mesh is not installed there is none.
///
/// # Errors
/// Whose it is, or that it cannot be found out.
pub(super) fn nobody_else(place: &Place, run: &str, replicas: &[ReplicaView]) -> Result<(), String> {
    let pods: Vec<String> = replicas.iter().filter_map(|r| pod_id(r.instance.as_ref())).collect();
    let namespaces: Vec<String> = place.namespace.iter().cloned().collect();
    preflight::alone(&Cluster::connect(place.context.as_deref())?, run, &namespaces, &pods)
}

fn pod_id(instance: Option<&Instance>) -> Option<String> {
    match instance {
        Some(Instance::Pod { namespace, name, .. }) => Some(format!("{namespace}/{name}")),
        _ => None,
    }
}

fn ids(pods: Pods) -> Vec<String> {
    pods.iter().flat_map(|(namespace, names)| names.iter().map(move |name| format!("{namespace}/{name}"))).collect()
}

fn by_namespace(ids: &[String]) -> Pods {
    let mut pods = Pods::new();
    for (namespace, name) in ids.iter().filter_map(|id| id.split_once('/')) {
        pods.entry(namespace.to_owned()).or_default().push(name.to_owned());
    }
    pods
}

fn rfc3339(wall_ns: i128) -> String {
    let at = jiff::Timestamp::from_nanosecond(wall_ns).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::doubles::{fault, ms, plan};
    use crate::plan::{Direction, Experiment, KillMethod, Lasts, Safety, Via};
    use crate::platform::kubernetes::cluster::WatchKind;
    use crate::platform::kubernetes::cluster::tests_support::scripted;
    use serde_json::json;

    /// The injector of a fault that stands in a plan beside others.
    fn injector(fault: &FaultPlan, others: &[FaultPlan], safety: Safety) -> ChaosMesh {
        let plan = Plan { safety, ..plan([others, std::slice::from_ref(fault)].concat(), 60_000) };
        let cx = InjectorContext {
            seed: plan.seed,
            clock: Clock::starting_in(Duration::ZERO),
            replicas: None,
            stop: StopSignal::new(),
            ledger: Arc::new(crate::fault::Nobody),
            dir: std::path::PathBuf::new(),
            plan: Arc::new(plan),
            run: "r1".into(),
            alterations: Arc::default(),
        };
        let place = Place { namespace: Some("ml".into()), ..Place::default() };
        ChaosMesh::new(fault, &cx, place).unwrap()
    }

    fn lasting() -> Option<Lasts> {
        Some(Lasts::For(ms(5000)))
    }

    /// A delay between pods of the author's choice and others in this namespace.
    fn between(direction: &str, namespace: &str) -> FaultPlan {
        let spec = json!({
            "action": "delay", "mode": "one", "direction": direction, "selector": {"labelSelectors": {"app": "web"}},
            "target": {"mode": "all", "selector": {"namespaces": [namespace], "labelSelectors": {"app": "db"}}},
        });
        let spec = spec.as_object().unwrap().clone();
        let experiment = Experiment { chaos: Chaos::Network, namespace: None, spec, proof: None };
        let kind = FaultKind::ChaosMesh(Box::new(experiment));
        FaultPlan { target: FaultTarget::Outside, ..fault("f", kind, 0, 1000, lasting()) }
    }

    fn limits() -> Safety {
        let namespaces = Some(vec!["ml".to_owned(), "db".to_owned(), "kube-system".to_owned()]);
        Safety { max_targets: Some(1), namespaces, ..Safety::default() }
    }

    #[test]
    fn nobody_is_named_who_may_not_be_touched() {
        for direction in ["to", "from", "both"] {
            let named = |namespace: &str| injector(&between(direction, namespace), &[], limits()).namespaces();
            let why = named("kube-system").unwrap_err();
            assert!(why.contains("namespace kube-system is never touched"), "{direction}: {why}");
            let why = named("other").unwrap_err();
            assert!(why.contains("namespace other is not among the namespaces that [safety]"), "{direction}: {why}");
            let (hit, named) = named("db").unwrap();
            assert_eq!(named, ["db", "ml"], "{direction}");
            assert_eq!(hit.contains(&"db".to_owned()), direction != "to", "{direction}");
        }
    }

    #[test]
    fn the_pods_of_a_target_that_is_hit_count() {
        let pods = |names: &[&str]| {
            let pod = |n: &&str| json!({"metadata": {"namespace": "n", "name": n}, "status": {"phase": "Running"}});
            (200, json!({"items": names.iter().map(pod).collect::<Vec<_>>()}))
        };
        let (cluster, asked) = scripted(vec![pods(&["a", "b"]), pods(&["x"])]);
        let choices = injector(&between("both", "db"), &[], limits()).choices(&cluster).unwrap();
        assert!(asked.lock().unwrap()[1].contains("/namespaces/db/pods?labelSelector=app%3Ddb"), "{asked:?}");
        assert_eq!(selection::all(&choices), ["n/a", "n/b", "n/x"]);
        let why = selection::within(&choices, &limits()).unwrap_err();
        assert!(why.starts_with("it would hit 2 of 3 pods at once, but at most 1 may be"), "{why}");

        let (cluster, _) = scripted(vec![pods(&["a", "b"])]);
        let choices = injector(&between("to", "db"), &[], limits()).choices(&cluster).unwrap();
        assert_eq!(selection::within(&choices, &limits()), Ok(()), "its target is only spoken to");
        let (cluster, _) = scripted(vec![pods(&["a"]), pods(&[])]);
        let why = injector(&between("from", "db"), &[], limits()).choices(&cluster).unwrap_err();
        assert_eq!(why, "no running pod in db is what it would hit");
    }

    fn by_tool(kind: FaultKind, lasts: Option<Lasts>) -> FaultPlan {
        FaultPlan { via: Via::ChaosMesh(Default::default()), ..fault("f", kind, 0, 1000, lasts) }
    }

    fn delay() -> FaultPlan {
        by_tool(FaultKind::NetworkDelay { latency: ms(500), jitter: ms(0), direction: Direction::From }, lasting())
    }

    /// Pod `ml/a`, in rotation or not, told to go or not.
    fn pod(ready: bool, going: bool) -> Value {
        let going = going.then_some("2026-01-01T00:00:00Z");
        json!({
            "metadata": {"namespace": "ml", "name": "a", "uid": "u", "deletionTimestamp": going},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        })
    }

    /// A fault that was put on `ml/a` a second after the start.
    fn on_one(fault: &FaultPlan, others: &[FaultPlan]) -> ChaosMesh {
        let mut on = injector(fault, others, Safety::default());
        on.book.open(&json!({"items": [pod(true, false)]}));
        (on.asked, on.applied) = (Some(Offset::ZERO + ms(1000)), Some(Offset::ZERO + ms(1000)));
        on.victims = vec!["ml/a".to_owned()];
        on
    }

    #[test]
    fn what_pods_show_is_counted_while_the_fault_is_on() {
        // What is seen, by milliseconds, proves this of a fault that is over after 6 s.
        let level = |fault: &FaultPlan, others: &[FaultPlan], seen: &[(u64, Value)]| {
            let mut on = on_one(fault, others);
            on.over = Some(Offset::ZERO + ms(6000));
            seen.iter().for_each(|(at, pod)| on.book.note(WatchKind::Modified, pod, Offset::ZERO + ms(*at)));
            on.proof().level
        };
        let (effect, only_told) = (ProofLevel::Effect, ProofLevel::Acknowledged);
        let out = || pod(false, false);
        assert_eq!(level(&delay(), &[], &[(3000, out())]), effect);
        assert_eq!(level(&delay(), &[], &[(6001, out())]), only_told, "after its end");
        let killed = [(3000_u64, pod(true, true)), (3500_u64, pod(false, true))];
        assert_eq!(level(&delay(), &[], &killed), only_told, "somebody killed it");
        assert_eq!(level(&delay(), &[], &[(3000, out()), (3500, pod(false, true))]), effect, "it was out before");
        let kill = FaultKind::PodKill { grace: None, method: KillMethod::Delete };
        assert_eq!(level(&by_tool(kill, None), &[], &killed), effect);

        let later = |at: u64, overlap: bool| [FaultPlan { overlap, ..fault("g", FaultKind::PodFailure, 0, at, None) }];
        assert_eq!(level(&delay(), &later(2000, true), &[(3000, out())]), only_told, "it may be that one's doing");
        assert_eq!(level(&delay(), &later(4000, true), &[(3000, out())]), effect, "it came before");
        assert_eq!(level(&delay(), &later(2000, false), &[(3000, out())]), effect, "that one takes another replica");
        let raw = |at: u64| [FaultPlan { name: "g".into(), at: Offset::ZERO + ms(at), ..between("to", "db") }];
        assert_eq!(level(&delay(), &raw(2000), &[(3000, out())]), only_told, "nobody knows whom the author hits");
        assert_eq!(level(&delay(), &raw(500), &[(3000, out())]), effect, "it was on before already");
    }

    #[test]
    fn a_fault_ends_when_it_is_to_be_put_back() {
        let mut on = on_one(&delay(), &[]);
        on.asked = Some(Offset::ZERO);
        assert!(on.revert().is_err(), "there is no cluster here");
        let over = on.over.unwrap();
        assert!(on.revert().is_err() && on.over == Some(over), "the first time counts");
        on.book.note(WatchKind::Modified, &pod(false, false), over + ms(1));
        assert_eq!(on.proof().level, ProofLevel::Acknowledged);
    }
}
