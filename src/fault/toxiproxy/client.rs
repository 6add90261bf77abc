//! The HTTP API of a Toxiproxy server, as far as faults need it.
//!
//! One request at a time, each with a limit of its own. Owns what the answers mean; leaves alone when what is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::blocking;
use crate::clock;
use crate::outcome::ErrorClass;
use crate::plan::{AnswerPaths, Protocol, Target, Toxic, Url};
use crate::platform::process::ProcessId;

/// Toxiproxy itself gives a request up after 25 s.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Between two tries to take a toxic off.
const AGAIN: Duration = Duration::from_millis(500);

/// So long nobody may listen on this machine while a server or a forwarder is started anew.
const BACK: Duration = Duration::from_secs(2);

/// What a refused connection to this machine means, and the cure.
const NOBODY_LISTENS: &str = "nobody listens there: if the server itself was stopped, its toxics went with it, and resbench \
                              revert sees that once it is started again; else restore the way there (kubectl \
                              port-forward, ssh -L) and run resbench revert";

/// Every name that this program gives begins so.
pub const PREFIX: &str = "resbench-";

/// A proxy as the server tells of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Proxy {
    /// The address that clients connect to.
    pub listen: String,
    /// A proxy that is not enabled refuses connections.
    pub enabled: bool,
    /// What is on, whoever put it there.
    #[serde(default)]
    pub toxics: Vec<ToxicView>,
}

/// A toxic as the server tells of it.
#[derive(Clone, Debug, Deserialize)]
pub struct ToxicView {
    /// Its name.
    pub name: String,
}

/// What became of a toxic that was to be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was there, and is not any more.
    Now,
    /// The proxy has no such toxic.
    ToxicGone,
    /// The server has no such proxy: it was started anew, or somebody removed the proxy.
    ProxyGone,
    /// Its process, which was seen to be a Toxiproxy, is gone, and toxics end with their server.
    ServerGone,
}

impl Removed {
    /// Why it was not there, in words; none when it was.
    pub fn absence(self) -> Option<&'static str> {
        match self {
            Removed::Now => None,
            Removed::ToxicGone => Some("somebody else took it off"),
            Removed::ProxyGone => Some("its proxy was gone: was the Toxiproxy server started anew?"),
            Removed::ServerGone => Some("the Toxiproxy server was gone"),
        }
    }
}

/// One server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address.
    pub url: Url,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// The server's own word for what is wrong.
    fn error(&self) -> String {
        let json = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let told = json.and_then(|v| v["error"].as_str().map(str::to_owned));
        let told = told.unwrap_or_else(|| String::from_utf8_lossy(&self.body).chars().take(120).collect());
        format!("status {}: {}", self.status, told.trim())
    }

    fn read<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Result<T, String> {
        if self.status != 200 {
            return Err(format!("{what} was answered with {}", self.error()));
        }
        serde_json::from_slice(&self.body).map_err(|e| format!("{what} was answered with something else: {e}"))
    }
}

#[derive(Serialize)]
struct NewToxic<'a> {
    name: &'a str,
    r#type: &'static str,
    stream: &'static str,
    toxicity: f64,
    attributes: BTreeMap<&'static str, u64>,
}

impl Server {
    /// Its version, as it says it.
    ///
    /// # Errors
    /// When it does not answer as a Toxiproxy server does.
    pub fn version(&self) -> Result<String, String> {
        let answer = self.call("GET", "/version", "", TIMEOUT)?;
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        let json = serde_json::from_str::<serde_json::Value>(&text).ok();
        let told = json.and_then(|v| v["version"].as_str().map(str::to_owned));
        // Older servers answer with the bare number.
        let version = told.or_else(|| text.starts_with(|c: char| c.is_ascii_digit()).then_some(text));
        if let Some(version) = version.filter(|_| answer.status == 200) {
            return Ok(version);
        }
        Err(format!("{} is no Toxiproxy server: /version was answered with {}", self.shown(), answer.error()))
    }

    /// Every proxy by name.
    ///
    /// # Errors
    /// When the server does not tell.
    pub fn proxies(&self) -> Result<BTreeMap<String, Proxy>, String> {
        self.call("GET", "/proxies", "", TIMEOUT)?.read("GET /proxies")
    }

    /// One proxy; none when there is no such.
    ///
    /// # Errors
    /// When the server does not tell within `timeout`.
    pub fn proxy(&self, name: &str, timeout: Duration) -> Result<Option<Proxy>, String> {
        let path = proxy_path(name);
        let answer = self.call("GET", &path, "", timeout)?;
        if answer.status == 404 { Ok(None) } else { answer.read(&format!("GET {path}")).map(Some) }
    }

    /// Puts a toxic on. One of the same name, which only a try of ours whose answer was lost can have left, is replaced.
    ///
    /// # Errors
    /// What the server said instead of yes.
    pub fn add(&self, proxy: &str, name: &str, toxic: &Toxic, toxicity: f64) -> Result<(), String> {
        let new = NewToxic {
            name,
            r#type: toxic.effect.word(),
            stream: toxic.stream.word(),
            toxicity,
            attributes: toxic.effect.attributes().into_iter().collect(),
        };
        let (path, body) = (format!("{}/toxics", proxy_path(proxy)), serde_json::to_string(&new).unwrap_or_default());
        let mut answer = self.call("POST", &path, &body, TIMEOUT)?;
        if answer.status == 409 {
            self.remove(proxy, name)?;
            answer = self.call("POST", &path, &body, TIMEOUT)?;
        }
        // 200, not 201: so say all versions.
        if answer.status == 200 { Ok(()) } else { Err(format!("POST {path} was answered with {}", answer.error())) }
    }

    /// Takes a toxic off; what is gone already is success. It may hang while traffic passes, so it is tried again
    /// within 30 s.
    ///
    /// # Errors
    /// The last answer, and what to type.
    pub fn remove(&self, proxy: &str, name: &str) -> Result<Removed, String> {
        self.remove_from(proxy, name, None)
    }

    /// As [`Server::remove`], from a server whose `process` was seen. Once that is gone, its toxics are. Of any other it is not
    /// known: whoever listened may have been on the way to it only.
    ///
    /// # Errors
    /// As [`Server::remove`].
    pub fn remove_from(&self, proxy: &str, name: &str, process: Option<&ProcessId>) -> Result<Removed, String> {
        let path = format!("{}/toxics/{}", proxy_path(proxy), encoded(name));
        let begun = clock::monotonic_nanos();
        let spent = || Duration::from_nanos(clock::monotonic_nanos() - begun);
        loop {
            let (why, patience) = match self.ask("DELETE", &path, "", TIMEOUT.saturating_sub(spent())) {
                Ok(Answer { status: 200..=299, .. }) => return Ok(Removed::Now),
                Ok(answer) if answer.status == 404 && answer.error().contains("proxy") => {
                    return Ok(Removed::ProxyGone);
                }
                Ok(answer) if answer.status == 404 => return Ok(Removed::ToxicGone),
                Ok(answer) => (format!("it was answered with {}", answer.error()), TIMEOUT),
                Err(_) if process.is_some_and(|process| !process.is_alive()) => return Ok(Removed::ServerGone),
                Err((class @ ErrorClass::Refused, why)) if is_loopback(&self.url.host) => {
                    (format!("{}: {why}; {NOBODY_LISTENS}", class.word()), BACK)
                }
                Err((class, why)) => (format!("{}: {why}", class.word()), TIMEOUT),
            };
            if spent() + AGAIN >= patience {
                return Err(format!("DELETE {path}: {why}; by hand: curl -X DELETE '{}{path}'", self.shown()));
            }
            clock::sleep(AGAIN);
        }
    }

    /// `http://host:port`.
    pub fn shown(&self) -> String {
        self.url.to_string().trim_end_matches('/').to_owned()
    }

    fn call(&self, method: &str, path: &str, body: &str, timeout: Duration) -> Result<Answer, String> {
        let failed = |(class, why): (ErrorClass, String)| format!("{}: {}: {why}", self.shown(), class.word());
        self.ask(method, path, body, timeout).map_err(failed)
    }

    fn ask(&self, method: &str, path: &str, body: &str, timeout: Duration) -> Result<Answer, (ErrorClass, String)> {
        let url = Url { path: path.to_owned(), ..self.url.clone() };
        let target = Target {
            protocol: Protocol::Http,
            url: None,
            path: path.to_owned(),
            headers: Vec::new(),
            ca: None,
            http2: false,
            method: method.to_owned(),
            expect_status: Vec::new(),
            answer: AnswerPaths::default(),
            chat: None,
            encoding: Default::default(),
        };
        blocking::call(&target, &url, method, body.as_bytes(), timeout, None, |answer| Answer {
            status: answer.status,
            body: answer.body.to_vec(),
        })
    }
}

/// On this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn proxy_path(name: &str) -> String {
    format!("/proxies/{}", encoded(name))
}

/// As one segment of a path.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Stream, ToxicEffect};
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that gives these answers, one connection each, and hands back what it was asked.
    fn scripted(answers: &'static [(u16, &'static str)]) -> (Server, std::thread::JoinHandle<Vec<String>>) {
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
        let url = Url { tls: false, host: "127.0.0.1".into(), port, path: "/".into() };
        (Server { url }, std::thread::spawn(serve))
    }

    const NO_PROXY: (u16, &str) = (404, r#"{"error":"proxy not found","status":404}"#);
    const NO_TOXIC: (u16, &str) = (404, r#"{"error":"toxic not found","status":404}"#);

    #[test]
    fn what_is_gone_is_gone_and_a_hanging_delete_is_tried_again() {
        let (server, asked) = scripted(&[(503, ""), (204, "")]);
        assert_eq!(server.remove("a b/c", "resbench-r-f"), Ok(Removed::Now));
        assert!(asked.join().unwrap()[1].starts_with("DELETE /proxies/a%20b%2Fc/toxics/resbench-r-f HTTP/1.1"));
        let (server, asked) = scripted(&[NO_PROXY, NO_TOXIC]);
        assert_eq!(server.remove("p", "t"), Ok(Removed::ProxyGone));
        assert_eq!(server.remove("p", "t"), Ok(Removed::ToxicGone));
        asked.join().unwrap();
    }

    #[test]
    fn a_refusal_is_no_proof_that_the_server_is_gone() {
        let (server, asked) = scripted(&[]);
        asked.join().unwrap();
        let here = ProcessId::current();
        let why = server.remove_from("p", "t", Some(&here)).unwrap_err();
        assert!(why.contains("restore the way there") && why.contains("run resbench revert"), "it lives: {why}");
        assert!(server.remove("p", "t").unwrap_err().contains("restore the way there"), "it was never seen");
        let dead = ProcessId { pid: i32::MAX, start_time: 1, ..here };
        assert_eq!(server.remove_from("p", "t", Some(&dead)), Ok(Removed::ServerGone));
    }

    #[test]
    fn a_toxic_of_our_name_is_replaced_and_a_no_is_told() {
        let toxic = Toxic { effect: ToxicEffect::Latency { latency: 500, jitter: 20 }, stream: Stream::Upstream };
        let (server, asked) = scripted(&[(409, "{}"), (204, ""), (200, "{}"), NO_PROXY]);
        assert_eq!(server.add("p", "t", &toxic, 0.5), Ok(()));
        assert!(server.add("p", "t", &toxic, 0.5).unwrap_err().contains("status 404: proxy not found"));
        let asked = asked.join().unwrap();
        assert!(asked.iter().all(|a| a.to_lowercase().contains("user-agent: resbench/")), "Mozilla gets a 403");
        let body = r#"{"name":"t","type":"latency","stream":"upstream","toxicity":0.5,"attributes":{"jitter":20,"latency":500}}"#;
        assert!(asked[0].starts_with("POST /proxies/p/toxics ") && asked[2].ends_with(body), "{asked:?}");
    }

    #[test]
    fn versions_are_json_or_text_and_strangers_are_told() {
        let (server, asked) = scripted(&[(200, r#"{"version":"git"}"#), (200, "2.1.4"), (404, "<html>")]);
        assert_eq!((server.version(), server.version()), (Ok("git".into()), Ok("2.1.4".into())));
        assert!(server.version().unwrap_err().contains("is no Toxiproxy server"));
        asked.join().unwrap();
    }
}
