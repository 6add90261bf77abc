//! The model that an alias of a registry names: asked for at the start and again and again, verified, then put in place.
//!
//! Owns the order (alias → version → artifact → verification), and why a version is refused. What is refused never takes
//! the place of a model that works. The registry is asked in MLflow's words, so a real MLflow server serves as well as
//! role `registry`; artifacts come through its proxy (`mlflow-artifacts:/…`) or from a path of this machine.
//!
//! Verification: a file whose SHA-256 the version names in a tag (`sha256.FILE`) must have it, and `model.json` must name
//! the version's number as its own, or what the version's tag `artifact_version` says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::http::State;
use super::metrics::{head, label};
use super::model::Model;
use super::model_registry::sha256;
use super::registry::{RegistryUrl, get};
use crate::units::parse_duration;

/// Between two tries of a server that has no model yet.
const PAUSE: Duration = Duration::from_millis(200);

/// What an artifact's file may have, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// What the server is told of the model that it follows.
#[derive(clap::Args, Clone, Debug)]
pub struct ReloadOptions {
    /// Model and alias in the registry: the server takes the version that it names; --model is what it has until then
    #[arg(long, value_name = "MODEL@ALIAS", requires = "registry")]
    pub registry_model: Option<Followed>,

    /// How often the alias is asked for again; 0s: only at the start
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub reload_every: Duration,

    /// Not ready without a verified model from the registry, and while the version that it names is refused
    #[arg(long)]
    pub strict: bool,
}

/// A model by its alias: `MODEL@ALIAS` or `models:/MODEL@ALIAS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    model: String,
    alias: String,
}

impl FromStr for Followed {
    type Err = String;

    fn from_str(text: &str) -> Result<Followed, String> {
        let name = text.strip_prefix("models:/").unwrap_or(text);
        let parts = name.split_once('@').filter(|(m, a)| !m.is_empty() && !a.is_empty() && !a.contains('@'));
        let (model, alias) = parts.ok_or_else(|| format!("`{text}`: write MODEL@ALIAS, for example fraud@champion"))?;
        Ok(Followed { model: model.to_owned(), alias: alias.to_owned() })
    }
}

/// Why the version that the alias names is not taken; also the label `reason` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The registry did not answer, or not in time.
    Unreachable,
    /// The registry answered with an error.
    Status,
    /// The alias names no version.
    Alias,
    /// A file is missing, or is no model.
    Artifact,
    /// A file is not what was registered.
    Sha256,
    /// The artifact says that it is another version.
    Version,
}

const REASONS: [Reason; 6] =
    [Reason::Unreachable, Reason::Status, Reason::Alias, Reason::Artifact, Reason::Sha256, Reason::Version];

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Reason::Unreachable => "unreachable",
            Reason::Status => "status",
            Reason::Alias => "alias",
            Reason::Artifact => "artifact",
            Reason::Sha256 => "sha256",
            Reason::Version => "version",
        }
    }

    /// The registry has spoken, and what it names cannot be served.
    fn is_refusal(self) -> bool {
        !matches!(self, Reason::Unreachable | Reason::Status)
    }
}

#[derive(Debug)]
struct Refused {
    reason: Reason,
    /// The version that was named, where one was.
    version: String,
    text: String,
}

/// What became of it so far.
#[derive(Default)]
pub(super) struct Reloads {
    taken: AtomicU64,
    refused: [AtomicU64; REASONS.len()],
    /// The version that is served, where it came from the registry.
    version: Mutex<Option<String>>,
    /// The last look's problem.
    problem: Mutex<Option<Refused>>,
}

impl Reloads {
    /// Their Prometheus text.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        head(out, "reloads_total", "counter", "Models that were taken from the registry.")?;
        writeln!(out, "model_server_reloads_total {}", self.taken.load(Relaxed))?;
        head(out, "reload_failures_total", "counter", "Looks at the registry that brought no model, by reason.")?;
        for (reason, count) in REASONS.iter().zip(&self.refused) {
            writeln!(
                out,
                "model_server_reload_failures_total{{reason=\"{}\"}} {}",
                reason.word(),
                count.load(Relaxed)
            )?;
        }
        let version = self.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(version) = version {
            head(out, "registry_version", "gauge", "The version that is served, by the registry's number.")?;
            writeln!(out, "model_server_registry_version{{version=\"{}\"}} 1", label(&version))?;
        }
        if let Some(refused) = &*self.problem.lock().unwrap_or_else(PoisonError::into_inner) {
            head(out, "reload_problem", "gauge", "Why the last look at the registry brought no model.")?;
            let (reason, version) = (refused.reason.word(), label(&refused.version));
            writeln!(out, "model_server_reload_problem{{reason=\"{reason}\",version=\"{version}\"}} 1")?;
        }
        Ok(())
    }

    fn note(&self, refused: Option<Refused>) {
        if let Some(i) = refused.as_ref().and_then(|r| REASONS.iter().position(|x| *x == r.reason)) {
            self.refused[i].fetch_add(1, Relaxed);
        }
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}

/// Follows the alias for as long as the server lives. `has_model`: there is one to serve before the registry says anything.
pub(super) async fn follow(
    state: Arc<State>,
    url: &RegistryUrl,
    timeout: Duration,
    followed: &Followed,
    options: &ReloadOptions,
    has_model: bool,
) {
    let source = Source { url, timeout, followed };
    let mut served: Option<String> = None;
    loop {
        let reloads = state.reloads();
        match source.look(served.as_deref()).await {
            Ok(found) => {
                if let Some((version, model)) = found {
                    state.set_model(model);
                    reloads.taken.fetch_add(1, Relaxed);
                    *reloads.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.clone());
                    served = Some(version);
                }
                reloads.note(None);
                state.set_ready();
            }
            Err(refused) => {
                let blocks = if options.strict {
                    served.is_none() || refused.reason.is_refusal()
                } else {
                    served.is_none() && !has_model
                };
                if blocks {
                    state.set_waiting(&format!("waiting for {}@{}: {}", followed.model, followed.alias, refused.text));
                } else {
                    state.set_ready();
                }
                reloads.note(Some(refused));
            }
        }
        let again = if state.is_ready() { options.reload_every } else { PAUSE };
        if again.is_zero() {
            return;
        }
        tokio::time::sleep(again).await;
    }
}

struct Source<'a> {
    url: &'a RegistryUrl,
    timeout: Duration,
    followed: &'a Followed,
}

#[derive(Deserialize)]
struct VersionAnswer {
    model_version: VersionView,
}

#[derive(Deserialize)]
struct VersionView {
    version: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct UriAnswer {
    artifact_uri: String,
}

impl Source<'_> {
    /// The version that the alias names with its verified model; none when that is served already.
    async fn look(&self, served: Option<&str>) -> Result<Option<(String, Model)>, Refused> {
        let Followed { model, alias } = self.followed;
        let query = format!("registered-models/alias?name={}&alias={}", encoded(model), encoded(alias));
        let named = match self.api::<VersionAnswer>(&query).await {
            // So says MLflow of an alias that is not there, and of a model that is not there.
            Err((Reason::Status, text, Some(400 | 404))) => return Err(refused(Reason::Alias, "", text)),
            Err((reason, text, _)) => return Err(refused(reason, "", text)),
            Ok(answer) => answer.model_version,
        };
        if served == Some(named.version.as_str()) {
            return Ok(None);
        }
        self.fetch(&named).await.map(|model| Some((named.version, model)))
    }

    async fn fetch(&self, named: &VersionView) -> Result<Model, Refused> {
        let no = |reason: Reason, text: String| refused(reason, &named.version, text);
        let query = format!(
            "model-versions/get-download-uri?name={}&version={}",
            encoded(&self.followed.model),
            encoded(&named.version)
        );
        let uri = self.api::<UriAnswer>(&query).await.map_err(|(reason, text, _)| no(reason, text))?.artifact_uri;
        let tags: BTreeMap<&str, &str> = named.tags.iter().map(|t| (t.key.as_str(), t.value.as_str())).collect();
        let text = self.file(&uri, "model.json", &tags).await.map_err(|(r, t)| no(r, t))?;
        let model = Model::parse(&text, Path::new(&uri));
        let model = model.map_err(|e| no(Reason::Artifact, format!("model.json of version {}: {e}", named.version)))?;
        let expected = tags.get("artifact_version").copied().unwrap_or(&named.version);
        if *model.version != *expected {
            let told =
                format!("the registry names version {expected}, and the artifact says that it is {}", model.version);
            return Err(no(Reason::Version, told));
        }
        let Some(store) = &model.store else { return Ok(model) };
        let name = store.path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let features = self.file(&uri, &name, &tags).await.map_err(|(r, t)| no(r, t))?;
        model.with_store(&features).map_err(|e| no(Reason::Artifact, e))
    }

    /// One file of an artifact, as it was registered.
    async fn file(&self, uri: &str, name: &str, tags: &BTreeMap<&str, &str>) -> Result<Vec<u8>, (Reason, String)> {
        let bytes = match uri.split_once(":/") {
            Some(("mlflow-artifacts", path)) => {
                // `mlflow-artifacts://host/path` names its host; the one that is followed is asked.
                let path = path.strip_prefix('/').and_then(|rest| rest.split_once('/')).map_or(path, |(_, path)| path);
                let (path, base) = (path.trim_matches('/'), self.url.path.trim_end_matches('/'));
                let path =
                    format!("{base}/api/2.0/mlflow-artifacts/artifacts/{}/{}", encoded_path(path), encoded(name));
                match self.get(&path, MAX_FILE).await.map_err(|text| (Reason::Unreachable, text))? {
                    (200, bytes) => bytes,
                    (404, _) => return Err((Reason::Artifact, format!("there is no {name} at {uri}"))),
                    (status, _) => return Err((Reason::Status, format!("{name} was answered with status {status}"))),
                }
            }
            Some(("file", path)) => read(&path.replace("//", "/"), name).await?,
            None if uri.starts_with('/') => read(uri, name).await?,
            _ => return Err((Reason::Artifact, format!("artifacts are not fetched from {uri} here"))),
        };
        match tags.get(format!("sha256.{name}").as_str()) {
            Some(sum) if !sum.eq_ignore_ascii_case(&sha256(&bytes)) => {
                let told = format!("{name} ({} bytes) has not the SHA-256 that it was registered with", bytes.len());
                Err((Reason::Sha256, told))
            }
            _ => Ok(bytes),
        }
    }

    async fn api<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Result<T, (Reason, String, Option<u16>)> {
        let path = format!("{}/api/2.0/mlflow/{path}", self.url.path.trim_end_matches('/'));
        let (status, body) = self.get(&path, 1 << 20).await.map_err(|text| (Reason::Unreachable, text, None))?;
        if status != 200 {
            let told = serde_json::from_slice::<serde_json::Value>(&body).ok();
            let told = told.and_then(|v| v["message"].as_str().map(str::to_owned)).unwrap_or_default();
            return Err((Reason::Status, format!("the registry answers with status {status}: {told}"), Some(status)));
        }
        serde_json::from_slice(&body)
            .map_err(|e| (Reason::Status, format!("the registry answers with something else: {e}"), None))
    }

    async fn get(&self, path: &str, longest: u64) -> Result<(u16, Vec<u8>), String> {
        let problem = match tokio::time::timeout(self.timeout, get(self.url, path, longest)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(e)) => e.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(format!("the registry at {}: {problem}", self.url.authority))
    }
}

async fn read(dir: &str, name: &str) -> Result<Vec<u8>, (Reason, String)> {
    let path = Path::new(dir).join(name);
    // A slow disk must not hold up the answers.
    let read = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(&path)?;
        if bytes.len() as u64 > MAX_FILE { Err(io::Error::other("it is too large")) } else { Ok(bytes) }
    });
    let problem = |e: &dyn std::fmt::Display| (Reason::Artifact, format!("{name} at {dir}: {e}"));
    read.await.map_err(|e| problem(&e))?.map_err(|e| problem(&e))
}

fn refused(reason: Reason, version: &str, text: String) -> Refused {
    Refused { reason, version: version.to_owned(), text }
}

/// As a value in a query, or one segment of a path.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn encoded_path(path: &str) -> String {
    path.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed() {
        let is = |model: &str, alias: &str| Ok(Followed { model: model.into(), alias: alias.into() });
        assert_eq!("fraud@champion".parse(), is("fraud", "champion"));
        assert_eq!("models:/fraud@champion".parse(), is("fraud", "champion"));
        for bad in ["fraud", "@x", "fraud@", "models:/fraud/2", "a@b@c"] {
            assert!(bad.parse::<Followed>().is_err(), "{bad}");
        }
        assert_eq!(encoded_path("a b/c"), "a%20b/c");
    }

    #[test]
    fn problems_are_words_of_the_metrics() {
        let reloads = Reloads::default();
        reloads.note(Some(refused(Reason::Sha256, "3\"", "x".into())));
        let mut text = String::new();
        reloads.write(&mut text).unwrap();
        assert!(text.contains("model_server_reload_failures_total{reason=\"sha256\"} 1\n"), "{text}");
        assert!(text.contains("model_server_reload_problem{reason=\"sha256\",version=\"3\\\"\"} 1\n"), "{text}");
        reloads.note(None);
        let mut text = String::new();
        reloads.write(&mut text).unwrap();
        assert!(!text.contains("reload_problem{"), "{text}");
    }
}
