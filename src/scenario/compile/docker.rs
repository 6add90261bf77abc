//! `[platform.docker]`: which containers are the replicas, and which are what they call.

use super::Context;
use super::platform::{ready, restart_delay};
use crate::plan::{ContainerSelector, DockerDependency, DockerPlatform};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{data, file};

/// The labels that Docker Compose gives its containers.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The platform; none when it cannot be said which containers are meant.
pub(super) fn compile(cx: &mut Context, ready_path: &str) -> Option<DockerPlatform> {
    let at = Path::root().key("platform").key("docker");
    cx.unique(&at.key("dependency"), "dependency");
    let d: file::Docker = cx.section(&at)?;
    let project = d.compose.as_deref().and_then(|file| project(cx, &at.key("compose"), file));
    let replicas = match (&d.compose, &d.label) {
        (Some(_), Some(_)) => {
            cx.clash(&at, "label", "`compose` and `label` exclude each other", "keep one of them");
            None
        }
        (None, None) => {
            let help = "add compose = \"compose.yaml\" and service = \"…\", or label = \"key=value\"";
            cx.clash(&at, "", "nothing says which containers are the replicas", help);
            None
        }
        _ => selector(cx, &at, d.compose.is_some(), project.as_deref(), d.service.as_deref(), d.label.as_deref()),
    };
    let dependencies = d.dependency.unwrap_or_default();
    let dependencies: Vec<Option<DockerDependency>> = dependencies
        .into_iter()
        .enumerate()
        .map(|(i, one)| dependency(cx, &at.key("dependency").index(i), one, d.compose.is_some(), project.as_deref()))
        .collect();
    if d.ready.as_ref().is_some_and(|r| r.connect == Some(true)) {
        let help = "write `path`, or leave `ready` out: then the container's own health check says it";
        cx.wrong(
            &at.key("ready").key("connect"),
            "a published port takes connections whether or not anybody listens",
            help,
        );
    }
    let ready = d.ready.map(|r| ready(cx, &at.key("ready"), Some(r), ready_path));
    let restart_delay = restart_delay(cx, &at, d.restart_delay);
    if let Some(host) = &d.host {
        cx.good(&at.key("host"), check_host(host));
    }
    Some(DockerPlatform {
        host: d.host,
        replicas: replicas?,
        port: d.port,
        ready,
        restart_delay,
        dependencies: dependencies.into_iter().collect::<Option<_>>()?,
    })
}

fn dependency(
    cx: &mut Context,
    at: &Path,
    one: file::DockerDependency,
    compose: bool,
    project: Option<&str>,
) -> Option<DockerDependency> {
    let by_service = one.service.is_some();
    if by_service == one.label.is_some() {
        let message = "exactly one of `service` and `label` says which containers it is";
        cx.clash(at, "", message, "write service = \"…\" of the compose project, or label = \"key=value\"");
        return None;
    }
    if by_service && !compose {
        let message = "a `service` is one of a compose project, and there is none";
        cx.clash(at, "service", message, "add compose = \"compose.yaml\" to [platform.docker], or write label");
        return None;
    }
    let containers = selector(cx, at, by_service, project, one.service.as_deref(), one.label.as_deref())?;
    Some(DockerDependency { name: one.name.0, containers })
}

fn selector(
    cx: &mut Context,
    at: &Path,
    compose: bool,
    project: Option<&str>,
    service: Option<&str>,
    label: Option<&str>,
) -> Option<ContainerSelector> {
    if !compose {
        let label = label?;
        cx.good(&at.key("label"), check_label(label))?;
        let mut labels = vec![label.to_owned()];
        labels.extend(service.map(|s| format!("{SERVICE}={s}")));
        let of = service.map(|s| format!(", of service `{s}`")).unwrap_or_default();
        return Some(ContainerSelector { labels, what: format!("labelled `{label}`{of}") });
    }
    let Some(service) = service else {
        let help = "add service = \"…\": the service of the compose file whose containers receive predictions";
        cx.clash(at, "", "`compose` needs `service`", help);
        return None;
    };
    let project = project?;
    Some(ContainerSelector {
        labels: vec![format!("{PROJECT}={project}"), format!("{SERVICE}={service}")],
        what: format!("service `{service}` of project `{project}`"),
    })
}

fn check_label(label: &str) -> Result<(), (String, String)> {
    if label.starts_with('=') || label.trim().is_empty() || label.contains('\0') {
        return Err(("not a label".to_owned(), "write \"key=value\", or \"key\" for any value".to_owned()));
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), (String, String)> {
    let known = ["unix:///", "tcp://", "http://", "https://"];
    if known.iter().any(|scheme| host.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        return Ok(());
    }
    let help = "write \"unix:///var/run/docker.sock\" or \"tcp://host:2376\" (with DOCKER_TLS_VERIFY for TLS)";
    Err((format!("`{}` is no Docker host", shortened(host)), help.to_owned()))
}

/// The compose project of a file, as Docker Compose finds it: its `name:`, else the name of its folder.
fn project(cx: &mut Context, at: &Path, file: &str) -> Option<String> {
    let missing = |e: std::io::Error| {
        let help = "name the compose file, relative to the scenario file".to_owned();
        (format!("cannot use `{}`: {}", shortened(file), data::plain_error(&e)), help)
    };
    let path = cx.good(at, std::fs::canonicalize(cx.dir.join(file)).map_err(missing))?;
    let text = cx.good(at, std::fs::read_to_string(&path).map_err(missing))?;
    if let Some(name) = written_name(&text) {
        if name.contains('$') {
            let help = "write label = \"com.docker.compose.project=…\" and service = \"…\" instead of `compose`";
            cx.wrong(at, format!("its `name:` is put together from variables: `{}`", shortened(name)), help);
            return None;
        }
        return Some(name.to_owned());
    }
    let folder = path.parent().and_then(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned());
    let name = folder_name(&folder.unwrap_or_default());
    if name.is_empty() {
        cx.wrong(at, "its folder's name makes no project name", "write `name: …` into the compose file");
        return None;
    }
    Some(name)
}

/// The value of `name:` at the top of a compose file. Top-level keys of YAML stand at the start of a line.
fn written_name(text: &str) -> Option<&str> {
    let value = text.lines().find_map(|l| l.strip_prefix("name:"))?.trim();
    let quoted = |q: char| value.strip_prefix(q).and_then(|rest| rest.split(q).next());
    let plain = || value.split(" #").next().unwrap_or_default().trim();
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or_else(plain)).filter(|name| !name.is_empty())
}

/// A folder's name as Docker Compose makes a project of it.
fn folder_name(folder: &str) -> String {
    let lower = folder.to_lowercase();
    let kept = lower.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c));
    kept.collect::<String>().trim_start_matches(['-', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_of_a_compose_file() {
        for (text, name) in [
            ("name: shop\nservices: {}\n", Some("shop")),
            ("# a comment\nname: \"shop\"  # ours\n", Some("shop")),
            ("name: 'shop'\n", Some("shop")),
            ("name: shop # ours\n", Some("shop")),
            ("services:\n  a:\n    name: inner\n", None),
            ("name:\nservices: {}\n", None),
        ] {
            assert_eq!(written_name(text), name, "{text}");
        }
        for (folder, name) in [("Shop.v2", "shopv2"), ("_my-app_1", "my-app_1"), ("Ünï", "n"), ("...", "")] {
            assert_eq!(folder_name(folder), name, "{folder}");
        }
    }
}
