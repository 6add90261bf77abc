//! `[platform.local]`: where replicas live, and what they call; and which platform it is at all.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, url};
use crate::plan::{Dependency, DockerPlatform, KubernetesPlatform, LocalPlatform, Platform, Protocol, Ready, Target};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{data, file, words};

/// The longest start that is waited for.
const LONGEST_START: Duration = Duration::from_secs(3600);
/// The shortest time between two polls or two starts: less is a busy loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// What is known about the platform; faults ask it.
pub(super) enum Known {
    /// The scenario has none.
    Absent,
    /// Replicas as processes.
    Local(LocalPlatform),
    /// Replicas as pods.
    Kubernetes(KubernetesPlatform),
    /// Replicas as containers.
    Docker(DockerPlatform),
}

impl Known {
    /// The local platform.
    pub(super) fn local(&self) -> Option<&LocalPlatform> {
        if let Known::Local(local) = self { Some(local) } else { None }
    }

    /// How many replicas there are, where the scenario says it.
    pub(super) fn replicas(&self) -> Option<usize> {
        match self {
            Known::Absent => Some(0),
            Known::Local(local) => Some(usize::from(local.replicas)),
            Known::Docker(_) | Known::Kubernetes(_) => None,
        }
    }

    /// As the plan holds it.
    pub(super) fn into_plan(self) -> Option<Platform> {
        match self {
            Known::Absent => None,
            Known::Local(local) => Some(Platform::Local(local)),
            Known::Kubernetes(kubernetes) => Some(Platform::Kubernetes(kubernetes)),
            Known::Docker(docker) => Some(Platform::Docker(docker)),
        }
    }
}

/// The words of the platforms.
const PLATFORMS: [&str; 3] = ["local", "docker", "kubernetes"];

/// Where the platform stands in the file; none where there is none.
pub(super) fn place(cx: &Context) -> Option<Path> {
    let table = Path::root().key("platform");
    PLATFORMS.iter().map(|word| table.key(word)).find(|at| cx.root.at(at).is_some())
}

/// The platform says where predictions go.
pub(super) fn gives_address(cx: &Context) -> bool {
    let platform = Path::root().key("platform");
    ["local", "docker"].iter().any(|word| cx.root.at(&platform.key(word)).is_some())
        || cx.root.at(&platform.key("kubernetes").key("service")).is_some()
}

/// The platform; none when the scenario has one that is broken.
pub(super) fn compile(cx: &mut Context, target: Option<&Target>) -> Option<Known> {
    let table = Path::root().key("platform");
    if cx.root.get("platform").is_none() {
        return Some(Known::Absent);
    }
    let given: Vec<&str> = PLATFORMS.into_iter().filter(|word| cx.root.at(&table.key(word)).is_some()).collect();
    match given[..] {
        ["local"] => local(cx, target),
        ["docker"] => super::docker::compile(cx, &ready_path(target)).map(Known::Docker),
        ["kubernetes"] => super::kubernetes::compile(cx, &table.key("kubernetes")).map(Known::Kubernetes),
        [] => {
            let help = "write [platform.local], [platform.docker] or [platform.kubernetes]";
            cx.clash(&table, "", "no platform is named", help);
            None
        }
        [.., last] => {
            let message = format!("replicas live in one place, and here are {}", words::listed(&given));
            cx.clash(&table, last, message, "keep one of them");
            None
        }
    }
}

/// Where a model server of this protocol answers when it is ready.
fn ready_path(target: Option<&Target>) -> String {
    let fixed = match target.map(|t| t.protocol) {
        Some(Protocol::Http) => "/",
        Some(Protocol::Openai) => "/health",
        Some(Protocol::OpenInference) => "/v2/health/ready",
        // The model's own state: it is 200 once a version can be served.
        Some(Protocol::TfServing) => {
            let path = target.map_or("/", |t| t.path.as_str());
            path.strip_suffix(":predict").unwrap_or(path)
        }
        Some(Protocol::Mlflow) | None => "/ping",
    };
    fixed.to_owned()
}

fn local(cx: &mut Context, target: Option<&Target>) -> Option<Known> {
    let at = Path::root().key("platform").key("local");
    let names = cx.names(&at.key("dependency"));
    cx.unique(&at.key("dependency"), "dependency");
    let local: file::Local = cx.section(&at)?;
    let env = local.env.unwrap_or_default();
    let known = Placeholders { volume: local.volume.is_some(), replica: true, dependencies: &names };
    known.check_command(cx, &at.key("command"), &local.command);
    check_env(cx, &at.key("env"), &env, &known);
    let restart_delay = restart_delay(cx, &at, local.restart_delay);
    let writable = local.writable.unwrap_or(false);
    if writable && local.volume.is_none() {
        cx.wrong(
            &at.key("writable"),
            "there is no volume that could be written to",
            "add volume = \"models/…\", or leave `writable` out",
        );
    }
    let dependencies = local.dependency.unwrap_or_default();
    Some(Known::Local(LocalPlatform {
        replicas: local.replicas.unwrap_or(1),
        command: local.command,
        env,
        volume: local.volume.and_then(|v| volume(cx, &at.key("volume"), &v)),
        writable,
        ready: ready(cx, &at.key("ready"), local.ready, &ready_path(target)),
        restart_delay,
        dependencies: dependencies
            .into_iter()
            .enumerate()
            .map(|(i, d)| dependency(cx, &at.key("dependency").index(i), d, names.get(..i).unwrap_or_default()))
            .collect(),
    }))
}

/// `before`: the names of those that stand before it, which it may call.
fn dependency(cx: &mut Context, at: &Path, d: file::Dependency, before: &[String]) -> Dependency {
    let known = Placeholders { volume: false, replica: false, dependencies: before };
    let (env, init) = (d.env.unwrap_or_default(), d.init.unwrap_or_default());
    known.check_command(cx, &at.key("command"), &d.command);
    known.check_command(cx, &at.key("init"), &init);
    check_env(cx, &at.key("env"), &env, &known);
    Dependency { name: d.name.0, command: d.command, env, init, ready: ready(cx, &at.key("ready"), d.ready, "/") }
}

/// From the end of a replica to its next start.
pub(super) fn restart_delay(cx: &mut Context, at: &Path, given: Option<file::Duration>) -> Duration {
    let delay = given.map_or(Duration::from_secs(1), |d| d.0);
    cx.within(&at.key("restart_delay"), delay, SHORTEST_PAUSE, Duration::from_secs(300));
    delay
}

pub(super) fn ready(cx: &mut Context, at: &Path, ready: Option<file::Ready>, default_path: &str) -> Ready {
    let (given, connect, every, timeout) =
        ready.map_or((None, None, None, None), |r| (r.path, r.connect, r.every, r.timeout));
    let connect = connect.unwrap_or(false);
    if connect && given.is_some() {
        let help = "keep `path` where it speaks HTTP, `connect` where it does not";
        cx.wrong(&at.key("connect"), "`connect` and `path` say two different things", help);
    }
    let path = given.unwrap_or_else(|| default_path.to_owned());
    let every = every.map_or(Duration::from_secs(1), |d| d.0);
    let timeout = timeout.map_or(Duration::from_secs(20), |d| d.0);
    cx.good(&at.key("path"), url::check_path(&path));
    cx.within(&at.key("every"), every, SHORTEST_PAUSE, Duration::from_secs(60));
    cx.within(&at.key("timeout"), timeout, SHORTEST_PAUSE, LONGEST_START);
    Ready { path: (!connect).then_some(path), every, timeout }
}

/// The volume as an absolute path.
fn volume(cx: &mut Context, at: &Path, text: &str) -> Option<std::path::PathBuf> {
    let missing = |e: std::io::Error| {
        let help = "name a folder, relative to the scenario file".to_owned();
        (format!("cannot use `{text}`: {}", data::plain_error(&e)), help)
    };
    let path = cx.good(at, std::fs::canonicalize(cx.dir.join(text)).map_err(missing))?;
    if !path.is_dir() {
        cx.wrong(at, format!("`{text}` is not a folder"), "name the folder that the files stand in");
        return None;
    }
    Some(path)
}

fn check_env(cx: &mut Context, at: &Path, env: &BTreeMap<String, String>, known: &Placeholders) {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            let help = "write a name without `=`, for example MODEL_THREADS";
            cx.wrong(&at.key(name), "not a name for an environment variable", help);
        }
        known.check(cx, &at.key(name), value);
    }
}

/// Which `{placeholders}` a text may have.
struct Placeholders<'a> {
    volume: bool,
    replica: bool,
    dependencies: &'a [String],
}

impl Placeholders<'_> {
    fn check_command(&self, cx: &mut Context, at: &Path, command: &[String]) {
        if command.first().is_some_and(|c| c.trim().is_empty()) {
            cx.wrong(&at.index(0), "the program has no name", "write the program first, then its arguments");
        }
        for (i, argument) in command.iter().enumerate() {
            self.check(cx, &at.index(i), argument);
        }
    }

    fn check(&self, cx: &mut Context, at: &Path, text: &str) {
        if text.contains('\0') {
            cx.wrong(at, "a zero byte cannot go to a program", "remove it");
        }
        for word in placeholders(text) {
            self.check_one(cx, at, word);
        }
    }

    fn check_one(&self, cx: &mut Context, at: &Path, word: &str) {
        let known = self.known();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        if known.contains(&word) {
            return;
        }
        let message = format!("unknown placeholder `{{{}}}`", shortened(word));
        if word == "volume" && self.replica {
            let help = "add volume = \"models/…\" to [platform.local]";
            cx.clash(
                &Path::root().key("platform").key("local"),
                "volume",
                "`{volume}` stands for nothing: there is no volume",
                help,
            );
        } else if word.starts_with("dependency.") || words::nearest(word, known.iter().copied()).is_some() {
            cx.wrong(at, message, words::did_you_mean(word, &known, "there are"));
        } else {
            // Braces are everyday text in shell, awk and JSON, so a word that resembles nothing of ours may stay.
            cx.warn(format!("{at}: `{{{word}}}` is no placeholder and is passed on as it is"));
        }
    }

    fn known(&self) -> Vec<String> {
        let mut known: Vec<String> = ["address", "host", "port"].map(str::to_owned).to_vec();
        known.extend(self.replica.then(|| "replica".to_owned()));
        known.extend(self.volume.then(|| "volume".to_owned()));
        known.extend(self.dependencies.iter().map(|d| format!("dependency.{d}")));
        known
    }
}

/// The words in braces that look like placeholders: a letter, then letters, digits, `.`, `_` and `-`.
fn placeholders(text: &str) -> Vec<&str> {
    let word = |s: &&str| {
        s.starts_with(|c: char| c.is_ascii_lowercase())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    text.match_indices('{').filter_map(|(at, _)| text[at + 1..].split_once('}').map(|(w, _)| w)).filter(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_that_look_like_placeholders() {
        assert_eq!(placeholders("http://{dependency.registry}/x{port}"), ["dependency.registry", "port"]);
        assert!(placeholders(r#"{"a": {"b": 1}} { x } {} {A} {1}"#).is_empty());
    }
}
