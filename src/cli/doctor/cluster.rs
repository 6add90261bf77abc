//! Kubernetes and Chaos Mesh: is there a cluster, what may we do there, what is installed. Reads only.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rbac::{CLASSES, Class, LOOK};
use super::{Check, Missing, Outcome};
use crate::platform::kubernetes::cluster::{Cluster, query};

/// The group and version that we speak.
const CHAOS: (&str, &str) = ("chaos-mesh.org", "v1alpha1");

const INSTALL: &str = "install Chaos Mesh 2.x: https://chaos-mesh.org/docs/production-installation-using-helm";

pub(super) fn checks(context: Option<&str>, namespace: &str) -> Vec<Check> {
    let cluster = match Cluster::connect(context) {
        Ok(cluster) => cluster,
        Err(why) => return vec![Check::new("kubernetes", Err(Missing::told(why)))],
    };
    let mut checks = vec![
        Check::new("kubernetes", api(&cluster)),
        Check::new("namespace", exists(&cluster, namespace)),
        Check::new("chaos-mesh", chaos_mesh(&cluster)),
        Check::new("chaos-mesh controller", controller(&cluster)),
        Check::new("chaos-mesh daemon", daemon(&cluster)),
    ];
    let mut asked = Asked { cluster: &cluster, namespace, answers: BTreeMap::new() };
    checks.extend(CLASSES.iter().map(|class| Check::new(format!("rbac {}", class.name), asked.class(class))));
    checks
}

fn api(cluster: &Cluster) -> Outcome {
    let version = cluster.version().map_err(|e| Missing::told(e.to_string()))?;
    Ok(format!("{version} at {}, context {}", cluster.server(), cluster.context()))
}

fn exists(cluster: &Cluster, namespace: &str) -> Outcome {
    match cluster.get(&format!("/api/v1/namespaces/{namespace}")) {
        Ok(_) => Ok(namespace.to_owned()),
        Err(e) if e.not_found() => Err(Missing::new(
            format!("there is no {namespace}"),
            format!("kubectl create namespace {namespace}, or say --namespace"),
        )),
        // Reading namespaces is nothing that a run needs.
        Err(e) if e.code == 403 => Ok(format!("{namespace} (whether it is there may not be asked)")),
        Err(e) => Err(Missing::told(e.to_string())),
    }
}

/// By discovery, which everybody may read.
fn chaos_mesh(cluster: &Cluster) -> Outcome {
    let (group, version) = CHAOS;
    let versions = match cluster.get(&format!("/apis/{group}")) {
        Ok(found) => words(&found["versions"], "version"),
        Err(e) if e.not_found() => return Err(Missing::new("its kinds are not served", INSTALL)),
        Err(e) => return Err(Missing::told(e.to_string())),
    };
    if !versions.iter().any(|v| v == version) {
        return Err(Missing::new(format!("served as {}, not as {version}", versions.join(", ")), INSTALL));
    }
    let resources = cluster.get(&format!("/apis/{group}/{version}")).map_err(|e| Missing::told(e.to_string()))?;
    let kinds = words(&resources["resources"], "name");
    let wanted = ["podchaos", "networkchaos", "iochaos", "stresschaos", "httpchaos"];
    let lacking: Vec<&str> = wanted.into_iter().filter(|kind| !kinds.iter().any(|k| k == kind)).collect();
    if lacking.is_empty() {
        return Ok(format!("{version}: {}", wanted.join(", ")));
    }
    Err(Missing::new(format!("{version} without {}", lacking.join(", ")), INSTALL))
}

fn words(list: &Value, key: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v[key].as_str()).map(str::to_owned).collect()
}

fn controller(cluster: &Cluster) -> Outcome {
    running(cluster, "deployments", "controller-manager", "readyReplicas", "replicas")
}

fn daemon(cluster: &Cluster) -> Outcome {
    running(cluster, "daemonsets", "chaos-daemon", "numberReady", "desiredNumberScheduled")
}

/// A workload of Chaos Mesh, wherever it is installed, by the labels of its chart.
fn running(cluster: &Cluster, kind: &str, component: &str, ready: &str, all: &str) -> Outcome {
    let labels = format!("app.kubernetes.io/name=chaos-mesh,app.kubernetes.io/component={component}");
    let list = match cluster.get(&format!("/apis/apps/v1/{kind}{}", query(&[("labelSelector", &labels)]))) {
        Ok(list) => list,
        Err(e) if e.code == 403 => {
            let what = "it may not be looked at in all namespaces";
            return Err(Missing::new(what, "the ClusterRole of `resbench doctor --rbac`; runs go without"));
        }
        Err(e) => return Err(Missing::told(e.to_string())),
    };
    let Some(found) = list["items"].get(0) else { return Err(Missing::new("not installed by its chart", INSTALL)) };
    let count = |key: &str| found["status"][key].as_u64().unwrap_or(0);
    let text = |key: &str| found["metadata"][key].as_str().unwrap_or_default();
    let told = format!("{}/{}: {} of {} ready", text("namespace"), text("name"), count(ready), count(all));
    if count(ready) > 0 {
        return Ok(told);
    }
    let cure = format!("kubectl -n {} describe {kind} {}", text("namespace"), text("name"));
    Err(Missing::new(told, cure))
}

/// What was asked already: classes share most of their rules.
struct Asked<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    answers: BTreeMap<(&'static str, &'static str, &'static str), Result<bool, String>>,
}

impl Asked<'_> {
    fn class(&mut self, class: &Class) -> Outcome {
        let mut missing = Vec::new();
        for rule in class.rules.iter().chain(LOOK) {
            for verb in rule.verbs {
                match self.may(rule.group, rule.resource, verb) {
                    Ok(true) => {}
                    Ok(false) => missing.push(format!("{verb} {}", rule.resource)),
                    Err(why) => return Err(Missing::told(why)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(format!("{} in {}", class.what, self.namespace));
        }
        let cure = format!("resbench doctor --rbac --namespace {} prints Role resbench-{}", self.namespace, class.name);
        Err(Missing::new(format!("may not {} in {}", missing.join(", "), self.namespace), cure))
    }

    fn may(&mut self, group: &'static str, resource: &'static str, verb: &'static str) -> Result<bool, String> {
        let ask = || {
            let (name, sub) = resource.split_once('/').unwrap_or((resource, ""));
            self.cluster.can(verb, group, name, sub, Some(self.namespace))
        };
        self.answers.entry((group, resource, verb)).or_insert_with(ask).clone()
    }
}
