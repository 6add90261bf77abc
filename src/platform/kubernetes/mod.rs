//! Kubernetes: replicas that are pods of a cluster which is there already.
//!
//! Finds them, follows them by watches on the run's clock (`book.rs`), and does to them what faults ask. Starts nothing and
//! ends nothing of its own. `cluster.rs` speaks to the API server, `survey.rs` looks around before a run. Leaves alone what the
//! pods run, and every namespace that the scenario does not name.

mod book;
mod change;
pub mod cluster;
mod pod;
mod restore;
mod rollout;
mod survey;
mod usage;

pub use restore::Restore;
pub use survey::{Survey, survey};

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use self::book::Book;
use self::change::Outcome;
use self::cluster::{ApiError, Cluster, Watch, WatchKind, query, version_of};
use self::usage::UsageReader;
use super::{
    Deed, Endpoint, Instance, Kill, LinkControl, PlatformEvent, PlatformEventKind, ReplicaView, Replicas, Running,
    StartError, Usage, VolumeControl,
};
use crate::clock::{self, Clock, monotonic_nanos};
use crate::plan::{KillMethod, KubernetesPlatform, Pods};
use crate::units::{Offset, show_duration};

/// How long an eviction that a PodDisruptionBudget refuses is asked for again.
const EVICTION_PATIENCE: Duration = Duration::from_secs(10);
/// How long the pods of a Deployment that was scaled to zero may take to leave the rotation.
const SCALE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a deletion whose answer did not come is looked for: it may be on its way still.
const LANDING: Duration = Duration::from_secs(1);
/// Looks in that time, after the first.
const LANDING_LOOKS: u32 = 5;
/// Between two looks at our own book.
const LOOK: Duration = Duration::from_millis(5);

/// The mark of everything that we touch, with the run's id.
const MARK: &str = "resbench.io/run";

/// Pods as replicas. Ends with [`Running::stop`], which only ends the watches.
pub struct Kubernetes {
    cluster: Cluster,
    plan: KubernetesPlatform,
    run_id: String,
    endpoint: Option<Endpoint>,
    book: Arc<Mutex<Book>>,
    clock: Mutex<Clock>,
    watches: Mutex<Vec<Watch>>,
    usage: Mutex<Option<UsageReader>>,
    /// What is known of the last request that scaled the Deployment to zero.
    taken_down: Mutex<Outcome>,
}

impl Kubernetes {
    /// Finds the pods and begins to follow them.
    ///
    /// # Errors
    /// No cluster, no such Deployment or Service, no pod, none that is ready; with what to do.
    pub fn find(
        plan: &KubernetesPlatform,
        run_id: &str,
        run_dir: &Path,
        clock: Clock,
    ) -> Result<Kubernetes, StartError> {
        let cluster = Cluster::connect(plan.context.as_deref())?;
        let found = Found::look(&cluster, plan)?;
        let endpoint = found.address.map(|address| Endpoint {
            address,
            link_us: None,
            replica_cpus: Vec::new(),
            logs: run_dir.join("logs"),
        });
        let mut book = Book::new(plan.container.as_deref(), found.wanted);
        let now = monotonic_nanos();
        book.pods(WatchKind::Listed, &found.pods, now);
        if let Some(slices) = &found.slices {
            book.slices(WatchKind::Listed, slices, now);
        }
        // What was there before us is no event of the run.
        book.forget_events();
        if found.slices.is_none() {
            let text = "EndpointSlices may not be read: readiness is the pods' own word".to_owned();
            book.note(now, None, PlatformEventKind::Note, text);
        }
        let usage = UsageReader::start(&cluster, &plan.namespace, &found.selector).unwrap_or_else(|why| {
            book.note(now, None, PlatformEventKind::Note, format!("what pods use may not be read: {why}"));
            None
        });
        if !book.views().iter().any(|v| v.ready) {
            return Err(format!("{}: no pod is ready: {}", found.who, found.first_problem(plan)).into());
        }
        let book = Arc::new(Mutex::new(book));
        let watches = watches(&cluster, plan, &found, &book);
        Ok(Kubernetes {
            cluster,
            plan: plan.clone(),
            run_id: run_id.to_owned(),
            endpoint,
            book,
            clock: Mutex::new(clock),
            watches: Mutex::new(watches),
            usage: Mutex::new(usage),
            taken_down: Mutex::new(Outcome::Known),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> Clock {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken_down(&self) -> MutexGuard<'_, Outcome> {
        self.taken_down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pod(&self, replica: u16) -> Result<pod::Pod, String> {
        self.book().pod(replica).cloned().ok_or_else(|| format!("no pod plays replica {replica} now"))
    }

    fn deployment(&self) -> Option<&str> {
        if let Pods::Deployment(name) = &self.plan.pods { Some(name) } else { None }
    }

    fn may(&self, verb: &str, group: &str, resource: &str, subresource: &str) -> Result<(), String> {
        let namespace = &self.plan.namespace;
        if self.cluster.can(verb, group, resource, subresource, Some(namespace))? {
            return Ok(());
        }
        let of = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        Err(format!(
            "RBAC does not allow `{verb}` on `{of}` in namespace {namespace}: `resbench doctor --rbac` prints the Role to add"
        ))
    }

    fn how_hold_down(&self) -> Result<String, String> {
        let name = self.deployment().ok_or("it scales a Deployment to zero: name one with `deployment`")?;
        let wanted = self.book().views().len();
        if wanted != 1 {
            return Err(format!(
                "scaling Deployment {name} to zero takes all of its {wanted} replicas: only one with a single replica can be \
                 held down so; write via = \"chaos-mesh\""
            ));
        }
        self.may("patch", "apps", "deployments", "")?;
        Ok(format!("Deployment {name} scaled to zero for the time"))
    }

    /// One that takes more than one pod away at a time is refused: a fault that goes one by one counts as one.
    fn how_roll_out(&self) -> Result<String, String> {
        let name = self.deployment().ok_or("only a Deployment rolls out")?;
        self.may("patch", "apps", "deployments", "")?;
        let of = |why: String| format!("Deployment {name}: {why}");
        let object = self.cluster.get(&deployment_path(&self.plan.namespace, name)).map_err(|e| of(e.to_string()))?;
        rollout::one_at_a_time(&object).map_err(of)?;
        Ok(format!("rollout restart of Deployment {name}"))
    }

    /// Until this holds of our book; false when it did not come true in time.
    fn until(&self, limit: Duration, holds: impl Fn(&Book) -> bool) -> bool {
        let give_up = monotonic_nanos() + limit.as_nanos() as u64;
        loop {
            if holds(&self.book()) {
                return true;
            }
            if monotonic_nanos() >= give_up {
                return false;
            }
            clock::sleep(LOOK);
        }
    }
}

impl Running for Kubernetes {
    fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.clone()
    }

    fn set_clock(&self, clock: Clock) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    fn stop(&self) -> Vec<String> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Vec::new()
    }
}

impl Replicas for Kubernetes {
    fn word(&self) -> &'static str {
        "kubernetes"
    }

    fn list(&self) -> Vec<ReplicaView> {
        self.book().views()
    }

    fn how(&self, deed: Deed) -> Result<String, String> {
        let within = |grace: Option<Duration>| {
            grace.map_or("the pod's own grace".to_owned(), |g| format!("a grace of {}", show_duration(g)))
        };
        match deed {
            Deed::Kill(Kill { method: KillMethod::Delete, grace }) => {
                self.may("delete", "", "pods", "")?;
                Ok(format!("DELETE of the pod by its UID, with {}", within(grace)))
            }
            Deed::Kill(Kill { method: KillMethod::Force, .. }) => {
                self.may("delete", "", "pods", "")?;
                Ok("DELETE of the pod by its UID, without grace".to_owned())
            }
            Deed::Kill(Kill { method: KillMethod::Evict, grace }) => {
                self.may("create", "", "pods", "eviction")?;
                Ok(format!("eviction of the pod by its UID, with {}; PodDisruptionBudgets hold", within(grace)))
            }
            Deed::HoldDown => self.how_hold_down(),
            Deed::RollOut => self.how_roll_out(),
            Deed::Pause => Err("nothing here stops a pod's processes and lets them go on".to_owned()),
        }
    }

    fn is_gone(&self, instance: &Instance) -> bool {
        let Instance::Pod { namespace, name, uid } = instance else { return true };
        match self.cluster.get(&pod_path(namespace, name)) {
            Ok(pod) => pod["metadata"]["uid"] != *uid,
            Err(error) => error.not_found(),
        }
    }

    fn is_paused(&self, _instance: &Instance) -> bool {
        false
    }

    fn kill(&self, replica: u16, how: Kill) -> Result<(Instance, Offset), String> {
        let pod = self.pod(replica)?;
        let (at, path) = (self.clock().now(), pod_path(&pod.namespace, &pod.name));
        let options = delete_options(&pod.uid, how);
        match how.method {
            KillMethod::Delete | KillMethod::Force => {
                match self.cluster.delete(&path, Some(&options)) {
                    Ok(_) => {}
                    Err(error) if error.may_have_worked() => self.went(&pod, &path, &error)?,
                    Err(error) => return Err(refused(&pod, &error)),
                }
                Ok((instance_of(&pod), at))
            }
            KillMethod::Evict => {
                let at = self.evict(&pod, &path, &options)?;
                Ok((instance_of(&pod), at))
            }
        }
    }

    fn hold_down(&self, replica: u16) -> Result<(Instance, Offset), String> {
        let pod = self.pod(replica)?;
        let restore = self.restore(Deed::HoldDown).ok_or("only a Deployment can be scaled to zero")?;
        let at = self.clock().now();
        *self.taken_down() = Outcome::Unknown;
        let taken = restore.take_down(&self.cluster);
        *self.taken_down() = taken.as_ref().map_or_else(|trouble| trouble.outcome, |_| Outcome::Known);
        taken.map_err(|trouble| trouble.why)?;
        let out = |book: &Book| book.views().iter().all(|v| !v.ready);
        if !self.until(SCALE_PATIENCE, out) {
            return Err(format!(
                "{pod} was still in rotation {} after its Deployment was scaled to zero",
                show_duration(SCALE_PATIENCE)
            ));
        }
        Ok((instance_of(&pod), at))
    }

    fn release(&self, _replica: u16) -> Result<(), String> {
        let Some(restore) = self.restore(Deed::HoldDown) else { return Ok(()) };
        let taken_down = *self.taken_down();
        restore.put_back(&self.cluster, taken_down)?;
        *self.taken_down() = Outcome::Known;
        Ok(())
    }

    fn pause(&self, _replica: u16) -> Result<(Instance, Offset), String> {
        self.how(Deed::Pause).and(Err("a pod cannot be frozen".to_owned()))
    }

    fn resume(&self, _replica: u16) -> Result<(), String> {
        Ok(())
    }

    fn roll_out(&self) -> Result<Offset, String> {
        let name = self.deployment().ok_or("only a Deployment rolls out")?;
        let path = deployment_path(&self.plan.namespace, name);
        rollout::restart(&self.cluster, &path, &self.run_id, self.clock())
            .map_err(|e| format!("Deployment {name}: {e}"))
    }

    fn became(&self, instance: &Instance, at: Offset) -> Option<String> {
        let Instance::Pod { uid, .. } = instance else { return None };
        self.book().told(uid, self.clock().absolute(at))
    }

    fn restore(&self, deed: Deed) -> Option<Restore> {
        let deployment = self.deployment().filter(|_| deed == Deed::HoldDown)?;
        Some(Restore {
            context: self.cluster.context().to_owned(),
            server: self.cluster.server().to_owned(),
            namespace: self.plan.namespace.clone(),
            deployment: deployment.to_owned(),
            replicas: 1,
            run: self.run_id.clone(),
        })
    }

    fn link(&self, _dependency: Option<&str>) -> Option<Arc<dyn LinkControl>> {
        None
    }

    fn volume(&self, _replica: u16) -> Option<Arc<dyn VolumeControl>> {
        None
    }

    fn usage(&self) -> Option<Usage> {
        let reader = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        reader.as_ref().map(|reader| reader.usage(&self.clock()))
    }

    fn events(&self) -> Vec<PlatformEvent> {
        let clock = self.clock();
        let event = |e: &book::Event| PlatformEvent {
            at: clock.offset_of(e.at),
            replica: e.replica,
            kind: e.kind,
            text: e.text.clone(),
        };
        self.book().events().iter().map(event).collect()
    }
}

impl Kubernetes {
    /// Looks whether a pod went whose deletion was not answered: the request may have come through all the same.
    fn went(&self, pod: &pod::Pod, path: &str, lost: &ApiError) -> Result<(), String> {
        let give_up = monotonic_nanos() + LANDING.as_nanos() as u64;
        loop {
            if is_going(&self.cluster.get(path), &pod.uid) {
                return Ok(());
            }
            if monotonic_nanos() >= give_up {
                let after = show_duration(LANDING);
                return Err(format!(
                    "{pod}: its deletion was not answered, and it was not seen to go in {after}: {lost}"
                ));
            }
            clock::sleep(LANDING / LANDING_LOOKS);
        }
    }

    /// Asks again while a budget refuses. The moment is that of the request that was granted.
    fn evict(&self, pod: &pod::Pod, path: &str, options: &Value) -> Result<Offset, String> {
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"namespace": pod.namespace, "name": pod.name},
            "deleteOptions": options,
        });
        let give_up = monotonic_nanos() + EVICTION_PATIENCE.as_nanos() as u64;
        let mut pause = Duration::from_millis(100);
        loop {
            let at = self.clock().now();
            match self.cluster.create(&format!("{path}/eviction"), &eviction, false) {
                Ok(_) => return Ok(at),
                Err(error) if error.code == 429 && monotonic_nanos() < give_up => {
                    clock::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) if error.code == 429 => {
                    let patience = show_duration(EVICTION_PATIENCE);
                    return Err(format!("{pod} is blocked by a PodDisruptionBudget for {patience}: {}", error.message));
                }
                Err(error) if error.may_have_worked() => return self.went(pod, path, &error).map(|()| at),
                Err(error) => return Err(refused(pod, &error)),
            }
        }
    }
}

/// What a first look at the cluster finds.
struct Found {
    /// For messages: "Deployment ml/web".
    who: String,
    selector: String,
    wanted: Option<usize>,
    /// The list.
    pods: Value,
    /// The list; none where it may not be read.
    slices: Option<Value>,
    address: Option<SocketAddr>,
}

impl Found {
    fn look(cluster: &Cluster, plan: &KubernetesPlatform) -> Result<Found, String> {
        let namespace = &plan.namespace;
        let (who, selector, wanted) = match &plan.pods {
            Pods::Labelled(labels) => (format!("pods of {namespace} with {labels}"), labels.to_string(), None),
            Pods::Deployment(name) => {
                let who = format!("Deployment {namespace}/{name}");
                let object = cluster.get(&deployment_path(namespace, name)).map_err(|e| format!("{who}: {e}"))?;
                let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
                let selector = selector_of(&object["spec"]["selector"]);
                if selector.is_empty() {
                    return Err(format!(
                        "{who}: its selector is empty, so every pod of the namespace would be a replica"
                    ));
                }
                (who, selector, Some(wanted))
            }
        };
        let pods = cluster.get(&format!("{}{}", pods_path(namespace), query(&[("labelSelector", &selector)])));
        let pods = pods.map_err(|e| format!("{who}: {e}"))?;
        if pods["items"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("{who}: there is no pod ({selector}): check the namespace and the selector"));
        }
        if let Some(container) = &plan.container {
            let first = pod::Pod::read(&pods["items"][0], None);
            if !first.containers.contains(container) {
                return Err(format!("{who}: no container `{container}`: a pod has {}", first.containers.join(", ")));
            }
        }
        for dependency in &plan.dependencies {
            let text = dependency.labels.to_string();
            let path = format!("{}{}", pods_path(&dependency.namespace), query(&[("labelSelector", &text)]));
            let list = cluster.get(&path).map_err(|e| format!("dependency {}: {e}", dependency.name))?;
            if list["items"].as_array().is_none_or(Vec::is_empty) {
                return Err(format!(
                    "dependency {}: namespace {} has no pod with {text}",
                    dependency.name, dependency.namespace
                ));
            }
        }
        let address =
            plan.service.as_ref().map(|(name, port)| service_address(cluster, namespace, name, *port)).transpose()?;
        let slices = cluster.get(&slices_path(plan)).ok();
        Ok(Found { who, selector, wanted, pods, slices, address })
    }

    fn first_problem(&self, plan: &KubernetesPlatform) -> String {
        let items = self.pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let pods: Vec<pod::Pod> = items.iter().map(|o| pod::Pod::read(o, plan.container.as_deref())).collect();
        let why = |p: &pod::Pod| {
            let why = if p.why.is_empty() { "its readiness probe fails" } else { &p.why };
            format!("{p}: {why}")
        };
        pods.iter().find(|p| p.lives()).map_or("all are going".to_owned(), why)
    }
}

/// Follows the pods, their EndpointSlices and what the Deployment wants.
fn watches(cluster: &Cluster, plan: &KubernetesPlatform, found: &Found, book: &Arc<Mutex<Book>>) -> Vec<Watch> {
    let into = |f: fn(&mut Book, WatchKind, &Value, u64)| {
        let book = book.clone();
        move |kind: WatchKind, object: Value| {
            let at = monotonic_nanos();
            f(&mut book.lock().unwrap_or_else(PoisonError::into_inner), kind, &object, at);
            true
        }
    };
    let pods = format!("{}{}", pods_path(&plan.namespace), query(&[("labelSelector", &found.selector)]));
    let mut watches = vec![cluster.watch(&pods, version_of(&found.pods), into(Book::pods))];
    if let Some(slices) = &found.slices {
        watches.push(cluster.watch(&slices_path(plan), version_of(slices), into(Book::slices)));
    }
    if let Pods::Deployment(name) = &plan.pods {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", plan.namespace);
        let path = format!("{path}{}", query(&[("fieldSelector", &format!("metadata.name={name}"))]));
        // From "any version" on: the server begins with the object as it is.
        watches.push(cluster.watch(&path, "0", into(Book::deployment)));
    }
    watches
}

/// The ClusterIP and port of a Service. Asked of the API: the machine of the load need not use the cluster's DNS.
fn service_address(cluster: &Cluster, namespace: &str, name: &str, port: u16) -> Result<SocketAddr, String> {
    let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
    let service = cluster.get(&path).map_err(|e| format!("Service {namespace}/{name}: {e}"))?;
    let ports: Vec<u64> = service["spec"]["ports"]
        .as_array()
        .map(|all| all.iter().filter_map(|p| p["port"].as_u64()).collect())
        .unwrap_or_default();
    if !ports.contains(&u64::from(port)) {
        let has: Vec<String> = ports.iter().map(u64::to_string).collect();
        return Err(format!("Service {namespace}/{name} has no port {port}, but {}", has.join(", ")));
    }
    let ip = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    let ip: IpAddr = ip.parse().map_err(|_| {
        format!("Service {namespace}/{name} has no ClusterIP ({ip}): write target.url instead of `service`")
    })?;
    Ok(SocketAddr::new(ip, port))
}

fn pods_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

fn pod_path(namespace: &str, name: &str) -> String {
    format!("{}/{name}", pods_path(namespace))
}

fn deployment_path(namespace: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
}

/// Those of the Service where there is one, else all of the namespace.
fn slices_path(plan: &KubernetesPlatform) -> String {
    let of = plan.service.as_ref().map(|(name, _)| format!("kubernetes.io/service-name={name}")).unwrap_or_default();
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", plan.namespace);
    format!("{path}{}", query(&[("labelSelector", &of)]))
}

/// A label selector of an object as a query has it.
fn selector_of(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match expression["operator"].as_str().unwrap_or_default() {
            "In" => parts.push(format!("{key} in ({})", values.join(","))),
            "NotIn" => parts.push(format!("{key} notin ({})", values.join(","))),
            "DoesNotExist" => parts.push(format!("!{key}")),
            _ => parts.push(key.to_owned()),
        }
    }
    parts.join(",")
}

/// Exactly this pod, whoever has its name meanwhile.
fn delete_options(uid: &str, how: Kill) -> Value {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
    let grace = if how.method == KillMethod::Force { Some(Duration::ZERO) } else { how.grace };
    if let Some(grace) = grace {
        // Whole seconds is all that the API knows: up, so that nobody gets less than was promised.
        options["gracePeriodSeconds"] = json!(grace.as_secs() + u64::from(grace.subsec_nanos() > 0));
    }
    options
}

/// What stands at the pod's name shows that this one has gone, or is on its way.
fn is_going(look: &Result<Value, ApiError>, uid: &str) -> bool {
    match look {
        Ok(pod) => pod["metadata"]["uid"] != *uid || pod["metadata"]["deletionTimestamp"].is_string(),
        Err(error) => error.not_found(),
    }
}

fn refused(pod: &pod::Pod, error: &ApiError) -> String {
    match error.code {
        404 => format!("{pod} is gone already"),
        409 => format!("{pod} was replaced between choosing and killing it: another has its name ({})", error.message),
        _ => format!("{pod}: {error}"),
    }
}

fn instance_of(pod: &pod::Pod) -> Instance {
    Instance::Pod { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() }
}

#[cfg(test)]
mod tests {
    use super::cluster::tests_support::{Asked, LOST, scripted};
    use super::*;

    /// Pod `ml/a` of Deployment `ml/web`, in a cluster that answers so.
    fn playing(answers: Vec<(u16, Value)>) -> (Kubernetes, Asked) {
        let (cluster, asked) = scripted(answers);
        let mut book = Book::new(None, Some(1));
        book.pods(WatchKind::Listed, &json!({"items": [pod("a")]}), 0);
        let plan = KubernetesPlatform {
            context: None,
            namespace: "ml".into(),
            pods: Pods::Deployment("web".into()),
            service: None,
            container: None,
            volume: None,
            dependencies: Vec::new(),
        };
        let kubernetes = Kubernetes {
            cluster,
            plan,
            run_id: "r1".into(),
            endpoint: None,
            book: Arc::new(Mutex::new(book)),
            clock: Mutex::new(Clock::starting_in(Duration::ZERO)),
            watches: Mutex::default(),
            usage: Mutex::default(),
            taken_down: Mutex::new(Outcome::Known),
        };
        (kubernetes, asked)
    }

    fn pod(uid: &str) -> Value {
        json!({"metadata": {"namespace": "ml", "name": "a", "uid": uid}})
    }

    #[test]
    fn a_kill_whose_answer_is_lost_is_looked_for() {
        let mut going = pod("a");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for look in [(404, json!({})), (200, pod("b")), (200, going)] {
            let (kubernetes, asked) = playing(vec![(LOST, json!({})), look]);
            let (instance, _) = kubernetes.kill(0, Kill::NOW).unwrap();
            assert_eq!(instance.to_string(), "pod ml/a");
            assert_eq!(asked.lock().unwrap()[1], "GET /api/v1/namespaces/ml/pods/a ");
        }
        let (kubernetes, asked) = playing(vec![(LOST, json!({})), (200, pod("a")), (503, json!({})), (200, pod("a"))]);
        let why = kubernetes.kill(0, Kill::NOW).unwrap_err();
        assert!(why.contains("was not answered, and it was not seen to go"), "{why}");
        assert!(asked.lock().unwrap().len() > 1, "{asked:?}");
        let (kubernetes, asked) = playing(vec![(LOST, json!({})), (404, json!({}))]);
        assert!(kubernetes.kill(0, Kill { grace: None, method: KillMethod::Evict }).is_ok());
        assert!(asked.lock().unwrap()[0].contains("/pods/a/eviction?"), "{asked:?}");
        let (kubernetes, asked) = playing(vec![(409, json!({}))]);
        assert!(kubernetes.kill(0, Kill::NOW).unwrap_err().contains("was replaced"));
        assert_eq!(asked.lock().unwrap().len(), 1, "a refusal is sure");
    }

    #[test]
    fn a_scaling_whose_answer_is_lost_is_outdated_when_it_is_released() {
        let web = || (200, json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 1}}));
        let good = || (200, json!({}));
        let (kubernetes, asked) = playing(vec![web(), (LOST, json!({})), web(), good(), good(), web()]);
        assert!(kubernetes.hold_down(0).is_err());
        assert_eq!(kubernetes.release(0), Ok(()));
        let changes = |asked: &Asked| asked.lock().unwrap().iter().filter(|a| a.starts_with("PATCH ")).count();
        assert_eq!(changes(&asked), 3, "scaled, outdated, and that taken away: {asked:?}");
        assert_eq!((kubernetes.release(0), changes(&asked)), (Ok(()), 3), "it is known now");
    }

    #[test]
    fn a_rollout_that_takes_more_than_one_away_is_not_the_way() {
        let how = |strategy: Value| {
            let web = json!({"spec": {"replicas": 3, "strategy": strategy}});
            let (kubernetes, _) = playing(vec![(201, json!({"status": {"allowed": true}})), (200, web)]);
            kubernetes.how(Deed::RollOut)
        };
        assert_eq!(how(json!({"type": "RollingUpdate"})).as_deref(), Ok("rollout restart of Deployment web"));
        let why = how(json!({"type": "Recreate"})).unwrap_err();
        assert!(why.starts_with("Deployment web: its strategy is Recreate"), "{why}");
    }

    #[test]
    fn a_kill_names_the_very_pod() {
        let kill = |grace: Option<u64>, method| Kill { grace: grace.map(Duration::from_millis), method };
        let own = delete_options("u1", kill(None, KillMethod::Delete));
        assert_eq!(own, json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u1"}}));
        assert_eq!(delete_options("u", kill(Some(2500), KillMethod::Evict))["gracePeriodSeconds"], 3);
        assert_eq!(delete_options("u", kill(None, KillMethod::Force))["gracePeriodSeconds"], 0);
    }

    #[test]
    fn a_deployments_selector_becomes_a_query() {
        let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "Exists"},
            {"key": "y", "operator": "DoesNotExist"}, {"key": "z", "operator": "NotIn", "values": ["c"]}]});
        assert_eq!(selector_of(&selector), "app=web,tier in (a,b),x,!y,z notin (c)");
        assert_eq!(selector_of(&json!({})), "");
    }

    #[test]
    fn a_refused_kill_says_why() {
        let pod = pod::Pod { namespace: "ml".into(), name: "a".into(), ..pod::Pod::default() };
        let error = |code| ApiError { code, reason: "Conflict".into(), message: "uid".into() };
        assert_eq!(refused(&pod, &error(404)), "pod ml/a is gone already");
        assert!(refused(&pod, &error(409)).contains("was replaced between choosing and killing"));
        assert!(refused(&pod, &error(403)).contains("resbench doctor --rbac"));
    }
}
