//! `kind = "registry-alias"`: which registry, which alias of which model, and where it points while the fault is on.

use std::time::Duration;

use super::fault::{LONGEST_COMMAND, raw_at};
use super::platform::{self, Known};
use super::{Context, url};
use crate::plan::{FaultKind, Registry, RegistryAlias, at_dependency, dependency_of};
use crate::scenario::file::{self, To};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::words;

/// Longest name of a model or an alias.
const LONGEST_NAME: usize = 256;

/// The fault as the author wrote it.
pub(super) fn compile(cx: &mut Context, at: &Path, f: &file::Fault, platform: Option<&Known>) -> Option<FaultKind> {
    let timeout = f.timeout.map_or(Duration::from_secs(30), |d| d.0);
    cx.above_zero(&at.key("timeout"), timeout, LONGEST_COMMAND);
    // Looked at before anything may end it: all problems at once.
    let registry = registry(cx, at, f, platform);
    let to = match f.to.as_ref()? {
        To::Version(n) if *n > 0 => Some(Some(*n)),
        To::Name(word) if word == "missing" => Some(None),
        To::Name(word) => word.parse().ok().filter(|n| *n > 0).map(Some),
        To::Version(_) => None,
    };
    if to.is_none() {
        cx.wrong(
            &at.key("to"),
            "not the number of a version",
            "write to = 2, or to = \"missing\" for no version at all",
        );
    }
    if to == Some(None) && f.create == Some(true) {
        let message = "`create` makes an alias that is not there, and to = \"missing\" takes one away";
        cx.clash(at, "create", message, "remove `create`, or name a version");
    }
    let headers_text = f.headers.iter().flatten();
    let headers_text = headers_text.map(|(name, _)| (name.clone(), raw_at(cx, &at.key("headers").key(name)))).collect();
    let registry = registry?;
    let raw = |key: &str| raw_at(cx, &at.key(key));
    let registry_text = Registry {
        url: raw("url").trim_end_matches('/').to_owned(),
        headers: headers_text,
        ca: registry.ca.clone(),
        model: raw("model"),
        alias: raw("alias"),
    };
    let create = f.create.unwrap_or(false);
    Some(FaultKind::RegistryAlias(Box::new(RegistryAlias { registry, registry_text, to: to?, create, timeout })))
}

fn registry(cx: &mut Context, at: &Path, f: &file::Fault, platform: Option<&Known>) -> Option<Registry> {
    let model = name(cx, &at.key("model"), f.model.as_ref()?);
    let alias = name(cx, &at.key("alias"), f.alias.as_ref()?);
    let headers = super::target::headers(cx, at, f.headers.clone().unwrap_or_default());
    let tls = f.url.as_ref().is_none_or(|u| u.to_ascii_lowercase().starts_with("https:"));
    let ca = f.ca.as_deref().map(|ca| super::target::certificates(cx, at, ca, tls));
    let registry = Registry {
        url: f.url.as_ref()?.trim_end_matches('/').to_owned(),
        headers: headers.into_iter().collect(),
        // Whoever puts it back may stand in another folder.
        ca: ca.flatten().map(|path| std::path::absolute(&path).unwrap_or(path)),
        model: model?,
        alias: alias?,
    };
    check_url(cx, &at.key("url"), &registry, platform).then_some(registry)
}

fn name(cx: &mut Context, at: &Path, name: &str) -> Option<String> {
    let good = (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    if !good {
        cx.wrong(at, "not a name in a registry", format!("write 1 to {LONGEST_NAME} characters"));
    }
    good.then(|| name.to_owned())
}

fn check_url(cx: &mut Context, at: &Path, registry: &Registry, platform: Option<&Known>) -> bool {
    let Some(filled) = dependency_filled(cx, at, &registry.url, platform) else { return false };
    match url::parse(&filled) {
        Err((message, _)) => {
            let help = "write the registry up to /api/2.0/mlflow, for example \"http://127.0.0.1:5000\"";
            cx.wrong(at, message, help);
            false
        }
        Ok(url) if url.path.contains(['?', '&']) || url.path.contains("/api/2.0") => {
            cx.wrong(at, "the registry's URL ends before /api/2.0/mlflow", "write only http://host:port");
            false
        }
        Ok(_) => true,
    }
}

/// A URL with some address where it has `{dependency.NAME}`; none when there is no such dependency here.
pub(super) fn dependency_filled(cx: &mut Context, at: &Path, url: &str, platform: Option<&Known>) -> Option<String> {
    let Some(dependency) = dependency_of(url) else { return Some(url.to_owned()) };
    if platform.is_some_and(|p| p.local().is_none()) {
        let help = "write its own URL, as it is reached from here";
        cx.wrong(at, "only dependencies of [platform.local] have an address of their own here", help);
        return None;
    }
    let names = platform::place(cx).map(|p| cx.names(&p.key("dependency"))).unwrap_or_default();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if !names.contains(&dependency) {
        let message = format!("there is no dependency `{}`", shortened(dependency));
        cx.wrong(at, message, words::did_you_mean(dependency, &names, "dependencies"));
        return None;
    }
    Some(at_dependency(url, std::net::SocketAddr::from(([127, 0, 0, 1], 80))))
}
