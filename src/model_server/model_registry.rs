//! Role `registry`: a small model registry that speaks the part of MLflow's REST that serving needs.
//!
//! Owns: registered versions (folders, never written to), aliases (in memory: they end with the process), and the answers
//! in MLflow's words, so that whatever speaks to a real MLflow server speaks to this one. An admin path makes it answer
//! errors, late, or broken-off artifacts, as a sick registry does. Without a version it answers 200 to every GET.
//!
//! Wire: MLflow REST API 2.0 (`registered-models/get`, `registered-models/alias`, `model-versions/get`,
//! `model-versions/get-download-uri`) and the artifact proxy `mlflow-artifacts/artifacts`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file of a version that is larger than this is not served.
const MAX_FILE: u64 = 256 << 20;

/// Longest delay that the admin path takes.
const MAX_DELAY_MS: u64 = 600_000;

/// What the registry is told on the command line.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Role registry: registers the folder as the next version (1, 2, …) of this model; may be given again and again
    #[arg(long, value_name = "MODEL=DIR")]
    pub register: Vec<Registered>,

    /// Role registry: an alias that is there from the start
    #[arg(long, value_name = "MODEL@ALIAS=VERSION")]
    pub alias: Vec<FirstAlias>,
}

/// `MODEL=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    model: String,
    dir: PathBuf,
}

/// `MODEL@ALIAS=VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstAlias {
    model: String,
    alias: String,
    version: u64,
}

impl FromStr for Registered {
    type Err = String;

    fn from_str(text: &str) -> Result<Registered, String> {
        let parts = text.split_once('=').filter(|(model, dir)| is_name(model) && !dir.is_empty());
        let (model, dir) =
            parts.ok_or_else(|| format!("`{text}`: write MODEL=DIR, for example fraud=models/fraud-v1"))?;
        Ok(Registered { model: model.to_owned(), dir: PathBuf::from(dir) })
    }
}

impl FromStr for FirstAlias {
    type Err = String;

    fn from_str(text: &str) -> Result<FirstAlias, String> {
        let wrong = || format!("`{text}`: write MODEL@ALIAS=VERSION, for example fraud@champion=1");
        let (name, version) = text.split_once('=').ok_or_else(wrong)?;
        let (model, alias) = name.split_once('@').filter(|(m, a)| is_name(m) && is_name(a)).ok_or_else(wrong)?;
        let version = version.parse().ok().filter(|v| *v > 0).ok_or_else(wrong)?;
        Ok(FirstAlias { model: model.to_owned(), alias: alias.to_owned(), version })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// All that the registry knows.
pub(super) struct Registry {
    models: BTreeMap<String, Vec<Version>>,
    state: Mutex<State>,
}

/// One version: where its files are, and what they were when it was registered.
struct Version {
    dir: PathBuf,
    /// Name of each file and its SHA-256, as tags `sha256.FILE`.
    sums: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    aliases: BTreeMap<(String, String), u64>,
    behaviour: Behaviour,
}

/// How it answers below `/api`: well, unless the admin path said otherwise.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Behaviour {
    /// Every answer has this status and an error for a body.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Every answer comes so much later.
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    /// Artifacts end after so many bytes, as if that were all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<usize>,
}

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) body: &'a [u8],
}

/// What is answered.
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    /// JSON, and not the bytes of a file.
    pub(super) json: bool,
}

impl Registry {
    /// Reads every folder that is registered.
    ///
    /// # Errors
    /// A folder that cannot be read, and an alias of what is not registered; in words, after the option's name.
    pub(super) fn new(options: &RegistryOptions) -> Result<Registry, String> {
        let mut models: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        for Registered { model, dir } in &options.register {
            let version = Version::read(dir).map_err(|e| format!("--register {model}={}: {e}", dir.display()))?;
            models.entry(model.clone()).or_default().push(version);
        }
        let mut aliases = BTreeMap::new();
        for FirstAlias { model, alias, version } in &options.alias {
            let registered = models.get(model).map_or(0, Vec::len) as u64;
            if *version > registered {
                return Err(format!(
                    "--alias {model}@{alias}={version}: {registered} versions of `{model}` are registered"
                ));
            }
            aliases.insert((model.clone(), alias.clone()), *version);
        }
        Ok(Registry { models, state: Mutex::new(State { aliases, behaviour: Behaviour::default() }) })
    }

    /// How long the answer to this is held back.
    pub(super) fn delay(&self, path: &str) -> Duration {
        let delay = if path.starts_with("/api/") { self.state().behaviour.delay_ms } else { None };
        Duration::from_millis(delay.unwrap_or(0))
    }

    /// The answer.
    pub(super) fn answer(&self, asked: &Asked<'_>) -> Told {
        if asked.path == "/admin/behaviour" {
            return self.admin(asked).unwrap_or_else(|told| told);
        }
        let Some(api) = asked.path.strip_prefix("/api/2.0/") else { return elsewhere(asked) };
        if let Some(status) = self.state().behaviour.status.and_then(|s| StatusCode::from_u16(s).ok()) {
            return problem(status, "INTERNAL_ERROR", "the registry was told to answer this (PUT /admin/behaviour)");
        }
        if self.models.is_empty() && asked.method == Method::GET {
            return elsewhere(asked);
        }
        let answered = match (asked.method, api) {
            (&Method::GET, "mlflow/registered-models/get") => self.model(asked),
            (&Method::GET, "mlflow/registered-models/alias") => self.by_alias(asked),
            (&Method::POST, "mlflow/registered-models/alias") => self.set_alias(asked),
            (&Method::DELETE, "mlflow/registered-models/alias") => self.delete_alias(asked),
            (&Method::GET, "mlflow/model-versions/get") => self.version(asked),
            (&Method::GET, "mlflow/model-versions/get-download-uri") => self.download_uri(asked),
            (&Method::GET, path) if path.starts_with("mlflow-artifacts/artifacts/") => {
                self.artifact(&path["mlflow-artifacts/artifacts/".len()..])
            }
            _ => Err(missing("ENDPOINT_NOT_FOUND", &format!("no {} {} here", asked.method, asked.path))),
        };
        answered.unwrap_or_else(|told| told)
    }

    fn admin(&self, asked: &Asked<'_>) -> Result<Told, Told> {
        let bad = |why: String| problem(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", &why);
        let behaviour = match *asked.method {
            Method::GET => self.state().behaviour,
            Method::DELETE => Behaviour::default(),
            Method::PUT | Method::POST => {
                let form = "write {\"status\": 500}, {\"delay_ms\": 5000} or {\"truncate\": 100}";
                serde_json::from_slice(asked.body).map_err(|e| bad(format!("{e}: {form}")))?
            }
            _ => return Err(problem(StatusCode::METHOD_NOT_ALLOWED, "BAD_REQUEST", "use GET, PUT or DELETE here")),
        };
        if behaviour.delay_ms.is_some_and(|d| d > MAX_DELAY_MS) {
            return Err(bad(format!("`delay_ms` is at most {MAX_DELAY_MS}")));
        }
        if behaviour.status.is_some_and(|s| !(400..600).contains(&s)) {
            return Err(bad("`status` is 400 to 599".to_owned()));
        }
        self.state().behaviour = behaviour;
        Ok(ok(&behaviour))
    }

    fn model(&self, asked: &Asked<'_>) -> Result<Told, Told> {
        let name = asked.parameter("name")?;
        let versions = self.versions(&name)?;
        let state = self.state();
        let aliases = state.aliases.iter().filter(|((model, _), _)| *model == name);
        let aliases: Vec<Value> =
            aliases.map(|((_, alias), v)| json!({ "alias": alias, "version": v.to_string() })).collect();
        let latest = self.describe(&name, versions.len() as u64, &state);
        Ok(ok(&json!({ "registered_model": { "name": name, "aliases": aliases, "latest_versions": [latest] } })))
    }

    fn by_alias(&self, asked: &Asked<'_>) -> Result<Told, Told> {
        let (name, alias) = (asked.parameter("name")?, asked.parameter("alias")?);
        let state = self.state();
        let version = state.aliases.get(&(name.clone(), alias.clone())).copied();
        let told = format!("Registered model alias {alias} not found.");
        let version = version.ok_or_else(|| problem(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", &told))?;
        Ok(ok(&json!({ "model_version": self.describe(&name, version, &state) })))
    }

    fn set_alias(&self, asked: &Asked<'_>) -> Result<Told, Told> {
        let (name, alias) = (asked.parameter("name")?, asked.parameter("alias")?);
        let version = self.known(&name, &asked.parameter("version")?)?;
        if !is_name(&alias) {
            return Err(problem(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", "not the name of an alias"));
        }
        self.state().aliases.insert((name, alias), version);
        Ok(ok(&json!({})))
    }

    fn delete_alias(&self, asked: &Asked<'_>) -> Result<Told, Told> {
        let (name, alias) = (asked.parameter("name")?, asked.parameter("alias")?);
        self.versions(&name)?;
        // As MLflow: an alias that is not there is no error.
        self.state().aliases.remove(&(name, alias));
        Ok(ok(&json!({})))
    }

    fn version(&self, asked: &Asked<'_>) -> Result<Told, Told> {
        let name = asked.parameter("name")?;
        let version = self.known(&name, &asked.parameter("version")?)?;
        Ok(ok(&json!({ "model_version": self.describe(&name, version, &self.state()) })))
    }

    fn download_uri(&self, asked: &Asked<'_>) -> Result<Told, Told> {
        let name = asked.parameter("name")?;
        let version = self.known(&name, &asked.parameter("version")?)?;
        Ok(ok(&json!({ "artifact_uri": format!("mlflow-artifacts:/{name}/{version}") })))
    }

    fn artifact(&self, path: &str) -> Result<Told, Told> {
        let none = || missing("RESOURCE_DOES_NOT_EXIST", &format!("no artifact {path}"));
        let decoded = decoded(path);
        let mut parts = decoded.splitn(3, '/');
        let (Some(name), Some(version), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(none());
        };
        let number = self.known(name, version)?;
        let version = &self.models[name][number as usize - 1];
        // Only what was there when it was registered: no path leads out of the folder.
        if !version.sums.contains_key(file) {
            return Err(none());
        }
        let read = std::fs::read(version.dir.join(file));
        let mut bytes =
            read.map_err(|e| problem(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", &e.to_string()))?;
        bytes.truncate(self.state().behaviour.truncate.unwrap_or(usize::MAX));
        Ok(Told { status: StatusCode::OK, body: bytes, json: false })
    }

    fn versions(&self, name: &str) -> Result<&[Version], Told> {
        let told = format!("Registered Model with name={name} not found");
        self.models.get(name).map(Vec::as_slice).ok_or_else(|| missing("RESOURCE_DOES_NOT_EXIST", &told))
    }

    /// The number of a version that is registered.
    fn known(&self, name: &str, version: &str) -> Result<u64, Told> {
        let told = format!("Model Version (name={name}, version={version}) not found");
        let count = self.versions(name)?.len() as u64;
        let number = version.parse().ok().filter(|v| (1..=count).contains(v));
        number.ok_or_else(|| missing("RESOURCE_DOES_NOT_EXIST", &told))
    }

    fn describe(&self, name: &str, number: u64, state: &State) -> Value {
        let version = &self.models[name][number as usize - 1];
        let aliases = state.aliases.iter().filter(|((model, _), v)| model == name && **v == number);
        let aliases: Vec<&str> = aliases.map(|((_, alias), _)| alias.as_str()).collect();
        let tag = |(file, sum): (&String, &String)| json!({ "key": format!("sha256.{file}"), "value": sum });
        let tags: Vec<Value> = version.sums.iter().map(tag).collect();
        json!({
            "name": name, "version": number.to_string(), "status": "READY", "current_stage": "None",
            "source": format!("mlflow-artifacts:/{name}/{number}"), "aliases": aliases, "tags": tags,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Version {
    fn read(dir: &Path) -> Result<Version, String> {
        let mut sums = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| e.to_string())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let info = std::fs::metadata(entry.path()).map_err(|e| format!("{name}: {e}"))?;
            if info.is_file() && info.len() <= MAX_FILE {
                let bytes = std::fs::read(entry.path()).map_err(|e| format!("{name}: {e}"))?;
                sums.insert(name, sha256(&bytes));
            }
        }
        if sums.is_empty() {
            return Err("the folder has no files".to_owned());
        }
        Ok(Version { dir: dir.to_owned(), sums })
    }
}

impl Asked<'_> {
    /// A parameter of the query, or of the JSON body where there is one.
    fn parameter(&self, key: &str) -> Result<String, Told> {
        let body: Option<Value> = serde_json::from_slice(self.body).ok();
        let of_body = body.as_ref().and_then(|b| b.get(key)).and_then(|v| match v {
            Value::String(text) => Some(text.clone()),
            Value::Number(n) => Some(n.to_string()),
            _ => None,
        });
        let of_query = || {
            let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(k, _)| *k == key).map(|(_, v)| decoded(&v.replace('+', " ")))
        };
        let told = format!("Missing value for required parameter '{key}'.");
        let found = of_body.or_else(of_query).filter(|v| !v.is_empty());
        found.ok_or_else(|| problem(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", &told))
    }
}

/// Beside the API: what health checks and people ask.
fn elsewhere(asked: &Asked<'_>) -> Told {
    if asked.method != Method::GET && asked.method != Method::HEAD {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "BAD_REQUEST", "use GET, HEAD here");
    }
    if asked.path == "/version" {
        let text = format!("{VERSION_WORD} {}", env!("CARGO_PKG_VERSION"));
        return Told { status: StatusCode::OK, body: text.into_bytes(), json: false };
    }
    ok(&json!({ "status": "ok" }))
}

/// What `/version` begins with: whoever asks learns that its aliases end with its process.
const VERSION_WORD: &str = "resbench-registry";

/// Lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// `%XX` undone; what is no such thing stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let hex =
            (bytes[i] == b'%').then(|| text.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok())).flatten();
        out.push(hex.unwrap_or(bytes[i]));
        i += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn ok(value: &impl Serialize) -> Told {
    Told { status: StatusCode::OK, body: serde_json::to_vec(value).unwrap_or_default(), json: true }
}

fn missing(code: &str, message: &str) -> Told {
    problem(StatusCode::NOT_FOUND, code, message)
}

fn problem(status: StatusCode, error_code: &str, message: &str) -> Told {
    Told { status, ..ok(&json!({ "error_code": error_code, "message": message })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> (tempfile::TempDir, Registry) {
        let dir = tempfile::tempdir().unwrap();
        let register = ["1", "2"].map(|v| {
            let folder = dir.path().join(v);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("model.json"), format!("{{\"version\": \"{v}\"}}")).unwrap();
            Registered { model: "fraud".into(), dir: folder }
        });
        let options = RegistryOptions { register: register.to_vec(), alias: vec!["fraud@champion=1".parse().unwrap()] };
        let registry = Registry::new(&options).unwrap();
        (dir, registry)
    }

    fn ask(registry: &Registry, method: Method, path: &str, body: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let told = registry.answer(&Asked { method: &method, path, query, body: body.as_bytes() });
        (told.status.as_u16(), serde_json::from_slice(&told.body).unwrap_or(Value::Null))
    }

    const ALIAS: &str = "/api/2.0/mlflow/registered-models/alias";

    #[test]
    fn an_alias_is_read_set_and_deleted_in_the_words_of_mlflow() {
        let (_dir, registry) = registry();
        let read = || ask(&registry, Method::GET, &format!("{ALIAS}?name=fraud&alias=champion"), "");
        let (status, told) = read();
        assert_eq!((status, &told["model_version"]["version"]), (200, &json!("1")));
        let tags = told["model_version"]["tags"].as_array().unwrap();
        assert_eq!(tags[0], json!({ "key": "sha256.model.json", "value": sha256(b"{\"version\": \"1\"}") }));
        let set = |v: &str| {
            ask(&registry, Method::POST, ALIAS, &format!(r#"{{"name":"fraud","alias":"champion","version":{v}}}"#))
        };
        assert_eq!(set("\"2\"").0, 200);
        assert_eq!(read().1["model_version"]["version"], "2");
        let model = ask(&registry, Method::GET, "/api/2.0/mlflow/registered-models/get?name=fraud", "").1;
        assert_eq!(model["registered_model"]["aliases"], json!([{ "alias": "champion", "version": "2" }]));
        let (status, told) = set("\"3\"");
        assert_eq!((status, &told["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")));
        assert_eq!(ask(&registry, Method::DELETE, ALIAS, r#"{"name":"fraud","alias":"champion"}"#).0, 200);
        let (status, told) = read();
        assert_eq!((status, &told["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")));
        assert_eq!(ask(&registry, Method::DELETE, ALIAS, r#"{"name":"nobody","alias":"champion"}"#).0, 404);
    }

    #[test]
    fn artifacts_are_served_from_their_folder_only() {
        let (dir, registry) = registry();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        let uri =
            ask(&registry, Method::GET, "/api/2.0/mlflow/model-versions/get-download-uri?name=fraud&version=2", "");
        assert_eq!(uri.1["artifact_uri"], "mlflow-artifacts:/fraud/2");
        let artifact =
            |path: &str| ask(&registry, Method::GET, &format!("/api/2.0/mlflow-artifacts/artifacts/{path}"), "");
        assert_eq!(artifact("fraud/2/model.json"), (200, json!({ "version": "2" })));
        for bad in
            ["fraud/2/../../secret", "fraud/2/%2e%2e/%2e%2e/secret", "fraud/3/model.json", "fraud/2", "x/1/model.json"]
        {
            assert_eq!(artifact(bad).0, 404, "{bad}");
        }
    }

    #[test]
    fn it_can_be_told_to_be_sick_and_well_again() {
        let (_dir, registry) = registry();
        let read = || ask(&registry, Method::GET, &format!("{ALIAS}?name=fraud&alias=champion"), "").0;
        let tell = |body: &str| ask(&registry, Method::PUT, "/admin/behaviour", body);
        assert_eq!(tell(r#"{"status": 500}"#).0, 200);
        assert_eq!(read(), 500);
        assert_eq!(ask(&registry, Method::GET, "/health", "").0, 200, "only the API is sick");
        for bad in [r#"{"status": 200}"#, r#"{"delay_ms": 600001}"#, r#"{"sleep": 1}"#, ""] {
            assert_eq!(tell(bad).0, 400, "{bad}");
        }
        assert_eq!(tell(r#"{"delay_ms": 20}"#).1, json!({ "delay_ms": 20 }));
        assert_eq!(
            (registry.delay("/api/2.0/x"), registry.delay("/health")),
            (Duration::from_millis(20), Duration::ZERO)
        );
        assert_eq!(tell(r#"{"truncate": 3}"#).0, 200);
        let path = "/api/2.0/mlflow-artifacts/artifacts/fraud/1/model.json";
        let told = registry.answer(&Asked { method: &Method::GET, path, query: "", body: b"" });
        assert_eq!(told.body, b"{\"v");
        assert_eq!(ask(&registry, Method::DELETE, "/admin/behaviour", ""), (200, json!({})));
        assert_eq!(read(), 200);
    }

    #[test]
    fn options() {
        assert!("fraud=models/v1".parse::<Registered>().is_ok());
        for bad in ["fraud", "=x", "a/b=x", "fraud="] {
            assert!(bad.parse::<Registered>().is_err(), "{bad}");
        }
        for bad in ["fraud=1", "fraud@x", "fraud@x=0", "fraud@x=a", "@x=1"] {
            assert!(bad.parse::<FirstAlias>().is_err(), "{bad}");
        }
        let options = RegistryOptions { register: vec![], alias: vec!["fraud@x=1".parse().unwrap()] };
        assert!(Registry::new(&options).err().unwrap().contains("0 versions"));
    }
}
