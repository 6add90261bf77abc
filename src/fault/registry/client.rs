//! The REST of an MLflow model registry, as far as faults need it: one model's aliases and versions.
//!
//! One request at a time, each with a limit of its own. Owns what the answers mean; leaves alone when what is asked.
//! Wire: MLflow REST API 2.0, `registered-models/get`, `registered-models/alias` (POST sets, DELETE deletes, both with a
//! JSON body), `model-versions/get`. An alias is read from its model, which tells a missing alias from a missing model.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::blocking;
use crate::clock;
use crate::fault::toxiproxy::client::is_loopback;
use crate::outcome::ErrorClass;
use crate::plan::{AnswerPaths, Protocol, Registry, Target, Url};
use crate::scenario;

/// How long a registry that does not answer well is asked again to put an alias back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// How long an alias that is where it was before is watched when the request that moves it may still be on its way; at most
/// as long as that request may take.
const LANDING: Duration = Duration::from_secs(2);

/// Looks in that time, after the first.
const LANDING_LOOKS: u32 = 4;

/// What the embedded registry's `/version` begins with: its aliases end with its process.
const EMBEDDED: &str = "resbench-registry";

/// One registry, and the model and alias that are meant.
pub struct Server {
    url: Url,
    target: Target,
    model: String,
    alias: String,
    timeout: Duration,
}

/// Where an alias points: the version, or none when it is not there.
pub type Points = Option<String>;

/// What became of an alias that was to be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// It is put back now, and was read back.
    Now,
    /// It points where it pointed before already.
    Already,
    /// The model is gone, and its aliases with it.
    ModelGone,
    /// Nobody listens any more, and this registry's aliases end with it.
    RegistryGone,
    /// Somebody else has moved it to this since: it is theirs now, and left alone.
    Moved(Points),
}

/// What is known of the request by which a fault moved an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered: nothing of it is on its way any more.
    Known,
    /// Its answer did not come, or nobody knows of it: it may land later.
    Unknown,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct ModelAnswer {
    registered_model: ModelView,
}

#[derive(Deserialize)]
struct ModelView {
    /// Left out where there are none.
    #[serde(default)]
    aliases: Vec<AliasView>,
}

#[derive(Deserialize)]
struct AliasView {
    alias: String,
    version: String,
}

/// Why something was not answered well, and whether to ask again.
struct Trouble {
    why: String,
    passing: bool,
    refused: bool,
}

impl Server {
    /// Of a registry whose `${VAR}` are expanded and whose dependency is filled in.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(registry: &Registry, timeout: Duration) -> Result<Server, String> {
        let url = scenario::url(&registry.url)?;
        let target = Target {
            protocol: Protocol::Http,
            url: None,
            path: url.path.clone(),
            headers: registry.headers.clone().into_iter().collect(),
            ca: registry.ca.clone(),
            http2: false,
            method: "GET".to_owned(),
            expect_status: Vec::new(),
            answer: AnswerPaths::default(),
            chat: None,
            encoding: Default::default(),
        };
        Ok(Server { url, target, model: registry.model.clone(), alias: registry.alias.clone(), timeout })
    }

    /// The same with another limit on each request.
    pub fn within(&self, timeout: Duration) -> Server {
        let (url, target) = (self.url.clone(), self.target.clone());
        Server { url, target, model: self.model.clone(), alias: self.alias.clone(), timeout }
    }

    /// It listens on this machine, as far as its name says.
    pub fn is_here(&self) -> bool {
        is_loopback(&self.url.host)
    }

    /// Where the alias points; the outer none when the registry has no such model.
    ///
    /// # Errors
    /// What the registry said instead.
    pub fn alias(&self) -> Result<Option<Points>, String> {
        self.try_alias().map_err(|t| t.why)
    }

    /// Whether the model has this version.
    ///
    /// # Errors
    /// What the registry said instead.
    pub fn has_version(&self, version: u64) -> Result<bool, String> {
        let path = format!("model-versions/get?name={}&version={version}", encoded(&self.model));
        let answer = self.call("GET", &path, "").map_err(|t| t.why)?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.no(&path, &answer).why),
        }
    }

    /// What the registry says it is; empty when it does not say. Whether its aliases end with its process is part of it.
    pub fn version(&self) -> (String, bool) {
        let path = format!("{}version", self.base());
        let told = self.send("GET", &path, "").ok().filter(|a| a.status == 200);
        let told = told.map(|a| String::from_utf8_lossy(&a.body).trim().to_owned()).unwrap_or_default();
        let plain = told.len() <= 40 && told.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        let told = if plain { told } else { String::new() };
        let forgets = told.starts_with(EMBEDDED);
        (told, forgets)
    }

    /// Points the alias at a version, or deletes it, and reads it back.
    ///
    /// # Errors
    /// What the registry said instead of yes, or where the alias points in spite of it.
    pub fn point(&self, to: Option<&str>) -> Result<(), String> {
        self.try_point(to).map_err(|t| t.why)
    }

    /// Points the alias back to `was`, when it points at `set`. What is so already, or gone, is success; where `moving` is of
    /// unknown outcome, "already" is believed only when it stays so for 2 s. A registry that does not answer well is asked
    /// again for 10 s. `lasted` becomes true when the alias is seen at `set`; whoever tries again hands it in again.
    ///
    /// # Errors
    /// What the registry said at last.
    pub fn put_back(
        &self,
        was: Option<&str>,
        set: Option<&str>,
        forgets: bool,
        moving: Outcome,
        lasted: &mut bool,
    ) -> Result<Back, String> {
        let after = |d: Duration| clock::monotonic_nanos() + d.as_nanos() as u64;
        let (give_up, landing) = (after(PATIENCE), LANDING.min(self.timeout));
        let mut watched_until = None;
        loop {
            let back = self.try_back(was, set, lasted);
            if moving == Outcome::Unknown
                && matches!(back, Ok(Back::Already))
                && clock::monotonic_nanos() < *watched_until.get_or_insert_with(|| after(landing))
            {
                clock::sleep(landing / LANDING_LOOKS);
                continue;
            }
            match back {
                Ok(back) => return Ok(back),
                Err(t) if t.refused && forgets && self.is_here() => return Ok(Back::RegistryGone),
                Err(t) if t.passing && clock::monotonic_nanos() + (AGAIN.as_nanos() as u64) < give_up => {
                    clock::sleep(AGAIN);
                }
                Err(t) => return Err(t.why),
            }
        }
    }

    fn try_back(&self, was: Option<&str>, set: Option<&str>, lasted: &mut bool) -> Result<Back, Trouble> {
        match self.try_alias()? {
            None => Ok(Back::ModelGone),
            // It was seen at `set` before: put back by a request of ours that was not answered well.
            Some(now) if now.as_deref() == was && *lasted => Ok(Back::Now),
            Some(now) if now.as_deref() == was => Ok(Back::Already),
            Some(now) if now.as_deref() == set => {
                *lasted = true;
                self.try_point(was).map(|()| Back::Now)
            }
            Some(now) => Ok(Back::Moved(now)),
        }
    }

    fn try_alias(&self) -> Result<Option<Points>, Trouble> {
        let path = format!("registered-models/get?name={}", encoded(&self.model));
        let answer = self.call("GET", &path, "")?;
        // An answer of 404 that is not MLflow's comes from something else: a proxy, another server.
        if answer.status == 404 && answer.code() == "RESOURCE_DOES_NOT_EXIST" {
            return Ok(None);
        }
        if answer.status != 200 {
            return Err(self.no(&path, &answer));
        }
        let model: ModelAnswer = serde_json::from_slice(&answer.body).map_err(|e| {
            let why = format!("{}: GET {path} was answered with something else: {e}", self.shown());
            Trouble { why, passing: false, refused: false }
        })?;
        let alias = model.registered_model.aliases.into_iter().find(|a| a.alias == self.alias);
        Ok(Some(alias.map(|a| a.version)))
    }

    fn try_point(&self, to: Option<&str>) -> Result<(), Trouble> {
        let (method, body) = match to {
            Some(version) => ("POST", json!({ "name": self.model, "alias": self.alias, "version": version })),
            None => ("DELETE", json!({ "name": self.model, "alias": self.alias })),
        };
        let path = "registered-models/alias";
        let answer = self.call(method, path, &body.to_string())?;
        if answer.status != 200 {
            return Err(self.no(path, &answer));
        }
        match self.try_alias()? {
            Some(now) if now.as_deref() == to => Ok(()),
            now => {
                let now = shown(now.flatten().as_deref());
                let why = format!("alias {}@{} {now} in spite of the registry's yes", self.model, self.alias);
                Err(Trouble { why, passing: false, refused: false })
            }
        }
    }

    fn no(&self, path: &str, answer: &Answer) -> Trouble {
        let hint = match answer.status {
            401 | 403 => "; give credentials: headers = { Authorization = \"Bearer ${TOKEN}\" }",
            _ => "",
        };
        let path = path.split('?').next().unwrap_or(path);
        let why = format!("{}: {path} was answered with {}{hint}", self.shown(), answer.error());
        Trouble { why, passing: answer.status >= 500 || answer.status == 429, refused: false }
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Result<Answer, Trouble> {
        let path = format!("{}api/2.0/mlflow/{path}", self.base());
        self.send(method, &path, body).map_err(|(class, why)| Trouble {
            why: format!("{}: {}: {why}", self.shown(), class.word()),
            passing: class != ErrorClass::Tls,
            refused: class == ErrorClass::Refused,
        })
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<Answer, (ErrorClass, String)> {
        let url = Url { path: path.to_owned(), ..self.url.clone() };
        let target = Target { path: path.to_owned(), method: method.to_owned(), ..self.target.clone() };
        blocking::call(&target, &url, method, body.as_bytes(), self.timeout, None, |answer| Answer {
            status: answer.status,
            body: answer.body.to_vec(),
        })
    }

    /// The path before the API, ending in `/`.
    fn base(&self) -> String {
        format!("{}/", self.url.path.trim_end_matches('/'))
    }

    fn shown(&self) -> String {
        self.url.to_string().trim_end_matches('/').to_owned()
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn code(&self) -> String {
        self.json()["error_code"].as_str().unwrap_or_default().to_owned()
    }

    /// The registry's own word for what is wrong.
    fn error(&self) -> String {
        let told = self.json()["message"].as_str().map(str::to_owned);
        let told = told.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        let told: String = told.chars().filter(|c| !c.is_control()).take(160).collect();
        format!("status {}: {}", self.status, told.trim())
    }
}

/// `points at version 3`, `is not there`.
pub fn shown(points: Option<&str>) -> String {
    points.map_or("is not there".to_owned(), |version| format!("points at version {version}"))
}

/// What a person types to point an alias somewhere.
pub fn by_hand(registry: &Registry, to: Option<&str>) -> String {
    let (method, version) = match to {
        Some(version) => ("POST", format!(",\"version\":\"{version}\"")),
        None => ("DELETE", String::new()),
    };
    let headers: Vec<String> =
        registry.headers.iter().map(|(name, value)| format!(" -H \"{name}: {value}\"")).collect();
    format!(
        "curl -X {method} {}/api/2.0/mlflow/registered-models/alias -H 'content-type: application/json'{} \
         -d '{{\"name\":\"{}\",\"alias\":\"{}\"{version}}}'",
        registry.url.trim_end_matches('/'),
        headers.concat(),
        registry.model,
        registry.alias,
    )
}

/// As a value in a query.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    pub(in crate::fault) fn registry_at(port: u16) -> Registry {
        let headers = BTreeMap::from([("authorization".to_owned(), "Bearer t".to_owned())]);
        Registry {
            url: format!("http://127.0.0.1:{port}/ml"),
            headers,
            ca: None,
            model: "fraud model".into(),
            alias: "champion".into(),
        }
    }

    /// A registry that gives these answers, one connection each, and hands back what it was asked.
    pub(in crate::fault) fn scripted(answers: &'static [(u16, &'static str)]) -> (Registry, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = move || {
            let one = |(status, body): &(u16, &str)| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 4096];
                let n = stream.read(&mut buffer).unwrap();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(head.as_bytes()).unwrap();
                String::from_utf8_lossy(&buffer[..n]).into_owned()
            };
            answers.iter().map(one).collect()
        };
        (registry_at(port), std::thread::spawn(serve))
    }

    fn server(registry: &Registry) -> Server {
        Server::new(registry, Duration::from_secs(20)).unwrap()
    }

    /// What is put back of a fault whose request was answered.
    fn back(server: &Server, was: Option<&str>, set: Option<&str>, forgets: bool) -> Result<Back, String> {
        server.put_back(was, set, forgets, Outcome::Known, &mut false)
    }

    pub(in crate::fault) const AT_1: (u16, &str) =
        (200, r#"{"registered_model":{"name":"fraud model","aliases":[{"alias":"champion","version":"1"}]}}"#);
    pub(in crate::fault) const AT_2: (u16, &str) =
        (200, r#"{"registered_model":{"name":"fraud model","aliases":[{"alias":"champion","version":"2"}]}}"#);
    const NO_ALIAS: (u16, &str) = (200, r#"{"registered_model":{"name":"fraud model"}}"#);
    const NO_MODEL: (u16, &str) = (404, r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no such model"}"#);
    pub(in crate::fault) const YES: (u16, &str) = (200, "{}");

    #[test]
    fn an_alias_is_read_from_its_model() {
        let (registry, asked) = scripted(&[AT_1, NO_ALIAS, NO_MODEL, (404, "<html>"), (401, "who?"), (200, "[]")]);
        let server = server(&registry);
        assert_eq!(server.alias(), Ok(Some(Some("1".into()))));
        assert_eq!(server.alias(), Ok(Some(None)));
        assert_eq!(server.alias(), Ok(None));
        assert!(server.alias().unwrap_err().contains("status 404: <html>"), "not a registry's 404");
        let why = server.alias().unwrap_err();
        assert!(why.contains("status 401") && why.contains("Authorization"), "{why}");
        assert!(server.alias().unwrap_err().contains("something else"));
        let asked = asked.join().unwrap();
        let line = "GET /ml/api/2.0/mlflow/registered-models/get?name=fraud%20model HTTP/1.1\r\n";
        assert!(asked[0].starts_with(line) && asked[0].contains("authorization: Bearer t"), "{}", asked[0]);
    }

    #[test]
    fn it_is_put_back_only_where_the_fault_put_it() {
        let (registry, asked) = scripted(&[AT_2, YES, AT_1, AT_1, AT_2, NO_MODEL]);
        let server = server(&registry);
        assert_eq!(back(&server, Some("1"), Some("2"), false), Ok(Back::Now));
        assert_eq!(back(&server, Some("1"), Some("2"), false), Ok(Back::Already));
        assert_eq!(back(&server, Some("1"), Some("3"), false), Ok(Back::Moved(Some("2".into()))), "somebody else's");
        assert_eq!(back(&server, Some("1"), Some("2"), false), Ok(Back::ModelGone));
        let asked = asked.join().unwrap();
        assert!(asked[1].starts_with("POST /ml/api/2.0/mlflow/registered-models/alias "), "{}", asked[1]);
        let body = r#"{"alias":"champion","name":"fraud model","version":"1"}"#;
        assert!(asked[1].ends_with(body), "{}", asked[1]);
        assert_eq!(back(&server, Some("1"), Some("2"), true), Ok(Back::RegistryGone), "nobody listens any more");
    }

    #[test]
    fn an_alias_that_was_not_there_is_deleted_and_passing_troubles_are_outlasted() {
        let (registry, asked) = scripted(&[(503, "later"), AT_2, YES, NO_ALIAS]);
        assert_eq!(back(&server(&registry), None, Some("2"), false), Ok(Back::Now));
        let asked = asked.join().unwrap();
        assert!(asked[2].starts_with("DELETE ") && asked[2].ends_with(r#"{"alias":"champion","name":"fraud model"}"#));
    }

    #[test]
    fn a_request_that_lands_late_is_put_back() {
        let (registry, asked) = scripted(&[AT_1, AT_1, AT_2, YES, AT_1]);
        let mut lasted = false;
        let back = server(&registry).put_back(Some("1"), Some("2"), false, Outcome::Unknown, &mut lasted);
        assert_eq!((back, lasted), (Ok(Back::Now), true));
        let asked = asked.join().unwrap();
        assert!(asked[3].starts_with("POST ") && asked[3].ends_with(r#""version":"1"}"#), "{}", asked[3]);
    }

    #[test]
    fn one_that_does_not_land_is_believed_after_a_while() {
        // On a busy machine there are fewer looks than answers.
        let (registry, _asked) = scripted(&[AT_1, AT_1, AT_1, AT_1, AT_1]);
        let (began, mut lasted) = (clock::monotonic_nanos(), false);
        let back = server(&registry).put_back(Some("1"), Some("2"), false, Outcome::Unknown, &mut lasted);
        assert_eq!((back, lasted), (Ok(Back::Already), false));
        assert!(clock::monotonic_nanos() - began >= LANDING.as_nanos() as u64);
    }

    #[test]
    fn a_put_back_whose_answer_was_lost_is_ours() {
        let (registry, asked) = scripted(&[AT_2, (503, "later"), AT_1]);
        assert_eq!(back(&server(&registry), Some("1"), Some("2"), false), Ok(Back::Now));
        asked.join().unwrap();
    }

    #[test]
    fn a_yes_that_changes_nothing_is_no_yes() {
        let (registry, asked) = scripted(&[YES, AT_1]);
        let why = server(&registry).point(Some("2")).unwrap_err();
        assert!(why.contains("points at version 1 in spite of"), "{why}");
        asked.join().unwrap();
    }

    #[test]
    fn what_a_person_types() {
        let mut registry = registry_at(80);
        registry.headers = BTreeMap::from([("authorization".to_owned(), "Bearer ${TOKEN}".to_owned())]);
        assert_eq!(
            by_hand(&registry, Some("1")),
            "curl -X POST http://127.0.0.1:80/ml/api/2.0/mlflow/registered-models/alias -H 'content-type: \
             application/json' -H \"authorization: Bearer ${TOKEN}\" -d '{\"name\":\"fraud model\",\"alias\":\"champion\",\"version\":\"1\"}'"
        );
        assert!(by_hand(&registry, None).starts_with("curl -X DELETE "));
    }
}
