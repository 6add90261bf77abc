//! `[platform.kubernetes]`: which pods, how they are reached, and what they call.
//!
//! An empty selector would be every pod of a namespace, and the cluster's own namespaces hold what everybody needs: both
//! are refused here, before anything is asked.

use std::collections::BTreeMap;

use super::Context;
use crate::plan::{KubernetesPlatform, Labels, PROTECTED_NAMESPACES, PodDependency, Pods};
use crate::scenario::file;
use crate::scenario::tree::{Path, shortened};

/// The platform, as far as it could be made.
pub(super) fn compile(cx: &mut Context, at: &Path) -> Option<KubernetesPlatform> {
    cx.unique(&at.key("dependency"), "dependency");
    let k: file::Kubernetes = cx.section(at)?;
    let namespace = cx.good(&at.key("namespace"), namespace(&k.namespace));
    let pods = pods(cx, at, &k);
    let service = k.service.as_deref().map(|text| cx.good(&at.key("service"), service(text)));
    if let Some(container) = &k.container {
        cx.good(&at.key("container"), dns_name(container, "a container"));
    }
    let dependencies: Vec<Option<PodDependency>> = k
        .dependency
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(i, d)| dependency(cx, &at.key("dependency").index(i), d, &k.namespace))
        .collect();
    Some(KubernetesPlatform {
        context: k.context.filter(|c| !c.is_empty()),
        namespace: namespace?,
        pods: pods?,
        // Outer none: not written; inner none: written, and wrong.
        service: match service {
            None => None,
            Some(read) => Some(read?),
        },
        container: k.container,
        volume: k.volume.map(|v| cx.good(&at.key("volume"), mount(v))).map_or(Some(None), |v| v.map(Some))?,
        dependencies: dependencies.into_iter().collect::<Option<_>>()?,
    })
}

fn pods(cx: &mut Context, at: &Path, k: &file::Kubernetes) -> Option<Pods> {
    match (&k.deployment, &k.selector) {
        (Some(name), None) => {
            cx.good(&at.key("deployment"), dns_name(name, "a Deployment")).map(|()| Pods::Deployment(name.clone()))
        }
        (None, Some(text)) => cx.good(&at.key("selector"), labels(text)).map(Pods::Labelled),
        (Some(_), Some(_)) => {
            cx.clash(at, "selector", "`deployment` and `selector` exclude each other", "keep one of them");
            None
        }
        (None, None) => {
            let help = "add deployment = \"model-server\", or selector = \"app=model-server\"";
            cx.clash(at, "", "nothing says which pods are the replicas", help);
            None
        }
    }
}

fn dependency(cx: &mut Context, at: &Path, d: file::KubernetesDependency, own: &str) -> Option<PodDependency> {
    let labels = cx.good(&at.key("selector"), labels(&d.selector));
    let own = d.namespace.is_none().then(|| own.to_owned());
    let namespace = match d.namespace {
        Some(name) => cx.good(&at.key("namespace"), namespace(&name)),
        None => own,
    };
    Some(PodDependency { name: d.name.0, namespace: namespace?, labels: labels? })
}

/// A path in a container.
fn mount(path: String) -> Result<String, (String, String)> {
    let is_path = path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..");
    let help = "write where the container has it mounted, for example \"/models\"".to_owned();
    if is_path { Ok(path) } else { Err(("not a folder of a container".to_owned(), help)) }
}

/// A namespace that may be touched.
fn namespace(text: &str) -> Result<String, (String, String)> {
    dns_name(text, "a namespace")?;
    if PROTECTED_NAMESPACES.contains(&text) {
        let message =
            format!("`{text}` is never touched: it holds what the cluster or a fault tool needs to put things back");
        return Err((message, "name the namespace that the model lives in".to_owned()));
    }
    Ok(text.to_owned())
}

/// `key=value,key=value`, at least one.
pub(super) fn labels(text: &str) -> Result<Labels, (String, String)> {
    let help = || "write for example \"app=model-server\", several with a comma: all of them must hold".to_owned();
    let mut labels = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| (format!("`{}` is no key=value", shortened(pair)), help()))?;
        let (key, value) = (key.trim().trim_end_matches('!'), value.trim_start_matches('=').trim());
        let is_key = !key.is_empty() && key.split('/').count() <= 2 && key.split('/').all(|part| is_word(part, 253));
        if !is_key || pair.contains("!=") || !(value.is_empty() || is_word(value, 63)) {
            return Err((format!("`{}` is no key=value of labels", shortened(pair)), help()));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    if labels.is_empty() {
        return Err(("an empty selector is every pod of the namespace".to_owned(), help()));
    }
    Ok(Labels(labels))
}

/// Letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit.
fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// A name of an object: small letters, digits, `-` and `.`.
pub(super) fn dns_name(text: &str, what: &str) -> Result<(), (String, String)> {
    if is_word(text, 253) && text.bytes().all(|b| !b.is_ascii_uppercase() && b != b'_') {
        return Ok(());
    }
    let help = "write small letters, digits and `-`, as `kubectl get` shows it";
    Err((format!("`{}` is no name of {what}", shortened(text)), help.to_owned()))
}

/// `name:port`.
fn service(text: &str) -> Result<(String, u16), (String, String)> {
    let help = || "write the Service and its port, for example \"model-server:8080\"".to_owned();
    let wrong = || (format!("`{}` is no name:port", shortened(text)), help());
    let (name, port) = text.split_once(':').ok_or_else(wrong)?;
    dns_name(name, "a Service").map_err(|(message, _)| (message, help()))?;
    let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(wrong)?;
    Ok((name.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_name_something() {
        let shown = |text| labels(text).map(|l| l.to_string());
        assert_eq!(shown("app=web, tier == a,x.io/y=").as_deref(), Ok("app=web,tier=a,x.io/y="));
        for wrong in ["", " , ", "app", "app!=web", "app in (a)", "=x", "a b=c", "app=-x", "a/b/c=d"] {
            assert!(labels(wrong).is_err(), "{wrong}");
        }
        assert!(labels("").unwrap_err().0.contains("every pod"));
    }

    #[test]
    fn protected_namespaces_are_refused() {
        assert!(namespace("ml-serving").is_ok());
        for protected in PROTECTED_NAMESPACES {
            assert!(namespace(protected).unwrap_err().0.contains("never touched"), "{protected}");
        }
        assert!(namespace("Ml").is_err() && namespace("").is_err());
    }

    #[test]
    fn a_service_is_a_name_and_a_port() {
        assert_eq!(service("web:8080"), Ok(("web".to_owned(), 8080)));
        for wrong in ["web", "web:", "web:0", "web:99999", ":80", "Web:80"] {
            assert!(service(wrong).is_err(), "{wrong}");
        }
    }
}
