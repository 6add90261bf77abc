//! What each class of faults does in a cluster, as RBAC has it: asked by `doctor`, printed by `doctor --rbac`.
//!
//! The one list of the verbs that the platform and Chaos Mesh drivers use. Discovery (which kinds are served) needs no
//! Role: every user that is logged in has it.

use std::fmt::Write;

/// Verbs on resources of one API group.
pub(super) struct Rule {
    pub(super) group: &'static str,
    /// `pods`, or `pods/eviction`.
    pub(super) resource: &'static str,
    pub(super) verbs: &'static [&'static str],
}

/// Faults that need the same.
pub(super) struct Class {
    /// The name of its Role, after `resbench-`.
    pub(super) name: &'static str,
    /// What it is for, in words of the language.
    pub(super) what: &'static str,
    /// Beside [`LOOK`].
    pub(super) rules: &'static [Rule],
}

const fn rule(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { group, resource, verbs }
}

const CHAOS: &str = "chaos-mesh.org";
const MAKE: &[&str] = &["create", "delete", "get", "list"];

/// What every run on `[platform.kubernetes]` reads: who is there, who is ready, what happens.
pub(super) const LOOK: &[Rule] = &[
    rule("", "pods", &["get", "list", "watch"]),
    rule("", "services", &["get"]),
    rule("", "events", &["list", "watch"]),
    rule("apps", "deployments", &["get", "list", "watch"]),
    rule("discovery.k8s.io", "endpointslices", &["list", "watch"]),
    rule("policy", "poddisruptionbudgets", &["list"]),
];

/// What runs read where the cluster measures it, and do without where they may not.
const USAGE: Rule = rule("metrics.k8s.io", "pods", &["list"]);

/// Every class, in the order in which it is shown.
pub(super) const CLASSES: [Class; 10] = [
    Class { name: "look", what: "traffic and readiness only, no fault", rules: &[] },
    Class { name: "pod-kill", what: "pod-kill", rules: &[rule("", "pods", &["delete"])] },
    Class {
        name: "pod-evict",
        what: "pod-kill with method = \"evict\"",
        rules: &[rule("", "pods/eviction", &["create"])],
    },
    Class {
        name: "rolling-restart",
        // A rollout where that takes one pod away at a time, else one deletion after another.
        what: "rolling-restart",
        rules: &[rule("apps", "deployments", &["patch"]), rule("", "pods", &["delete"])],
    },
    Class {
        name: "pod-failure",
        what: "pod-failure with via = \"kubernetes\"",
        rules: &[rule("apps", "deployments", &["patch"])],
    },
    Class {
        name: "chaos-pod",
        what: "Chaos Mesh: pod-kill, pod-failure, container-kill (dry run included)",
        rules: &[rule(CHAOS, "podchaos", MAKE)],
    },
    Class {
        name: "chaos-network",
        what: "Chaos Mesh: network-delay, -partition, -bandwidth, -loss (dry run included)",
        rules: &[rule(CHAOS, "networkchaos", MAKE)],
    },
    Class {
        name: "chaos-io",
        what: "Chaos Mesh: io-latency, io-error (dry run included)",
        rules: &[rule(CHAOS, "iochaos", MAKE)],
    },
    Class {
        name: "chaos-stress",
        what: "Chaos Mesh: cpu-stress, memory-stress (dry run included)",
        rules: &[rule(CHAOS, "stresschaos", MAKE)],
    },
    Class {
        name: "chaos-http",
        what: "Chaos Mesh: HTTPChaos (dry run included)",
        rules: &[rule(CHAOS, "httpchaos", MAKE)],
    },
];

/// Beyond one namespace, and never needed by a run: other people's experiments everywhere, what `revert --all` finds, and
/// whether Chaos Mesh is ready.
const EVERYWHERE: &[Rule] = &[
    rule("apps", "deployments", &["list"]),
    rule(CHAOS, "podchaos", &["list"]),
    rule(CHAOS, "networkchaos", &["list"]),
    rule(CHAOS, "iochaos", &["list"]),
    rule(CHAOS, "stresschaos", &["list"]),
    rule(CHAOS, "httpchaos", &["list"]),
    rule("apiextensions.k8s.io", "customresourcedefinitions", &["get", "list"]),
];

/// A Role for each class and one ClusterRole, as YAML.
pub(super) fn manifests(namespace: &str) -> String {
    let mut text = format!(
        "# What resbench must be allowed to do in namespace {namespace}, class by class: apply those that you want, and bind \
         them, for example\n#   kubectl -n {namespace} create rolebinding resbench-pod-kill --role=resbench-pod-kill \
         --serviceaccount={namespace}:resbench\n# A dependency in another namespace needs resbench-look there, and a Chaos Mesh \
         class its own Role.\n"
    );
    for class in &CLASSES {
        let _ = write!(text, "---\n# {}\n{}", class.what, head("Role", class.name, Some(namespace)));
        class.rules.iter().chain(LOOK).chain([&USAGE]).for_each(|rule| text.push_str(&yaml(rule)));
    }
    let what = "Optional: other people's experiments in every namespace, revert --all, the state of Chaos Mesh itself";
    let _ = write!(text, "---\n# {what}\n{}", head("ClusterRole", "look-around", None));
    EVERYWHERE.iter().for_each(|rule| text.push_str(&yaml(rule)));
    text
}

fn head(kind: &str, name: &str, namespace: Option<&str>) -> String {
    let namespace = namespace.map_or(String::new(), |n| format!("  namespace: {n}\n"));
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: resbench-{name}\n{namespace}  labels:\n    \
         app.kubernetes.io/managed-by: resbench\nrules:\n"
    )
}

fn yaml(rule: &Rule) -> String {
    let list = |words: &[&str]| words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
    let (group, resource, verbs) = (list(&[rule.group]), list(&[rule.resource]), list(rule.verbs));
    format!("  - apiGroups: [{group}]\n    resources: [{resource}]\n    verbs: [{verbs}]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roles_as_kubectl_applies_them() {
        insta::assert_snapshot!(manifests("ml-serving"));
    }
}
