//! Where a worker has stored features from: the volume, or a feature store over HTTP.
//!
//! Owns the choice, and the blocking client of a feature store: one connection per worker, kept alive, each lookup within
//! its own limit of time, tried again as often as the options say. Leaves alone who tries (`breaker.rs`) and what is
//! answered when it fails (`ladder.rs`).
//!
//! Wire: `GET /features/KEY` → `{"key": 7, "values": [7, 1.5], "age_s": 3.2}`, 404 for a key that nobody knows.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Deserialize;

use super::registry::RegistryUrl;
use super::store::FeatureStore;
use crate::clock;

/// Longest answer of a feature store, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;

/// How a feature store is asked.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) url: RegistryUrl,
    /// Limit on each try.
    pub(super) timeout: Duration,
    /// Tries after the first one.
    pub(super) retries: u32,
    /// How many of those there were, of all workers.
    pub(super) retried: Arc<AtomicU64>,
}

/// One worker's source of stored features.
pub(super) enum Features {
    /// A file of the volume.
    Volume(FeatureStore),
    /// A server.
    Remote(RemoteStore),
}

/// What is known of one key.
pub(super) struct Stored<'a> {
    /// The columns; none for a key that nobody knows.
    pub(super) values: Option<&'a [f64]>,
    /// How old they are, where their keeper says it.
    pub(super) age: Option<Duration>,
}

impl Features {
    /// The stored columns of this key.
    ///
    /// # Errors
    /// Why they cannot be had, in words.
    pub(super) fn fetch(&mut self, key: u64) -> Result<Stored<'_>, String> {
        match self {
            Features::Volume(store) => Ok(Stored { values: store.fetch(key)?, age: None }),
            Features::Remote(store) => store.fetch(key),
        }
    }
}

/// A feature store as one worker knows it.
pub(super) struct RemoteStore {
    lookup: Lookup,
    columns: usize,
    connection: Option<TcpStream>,
    row: Vec<f64>,
}

#[derive(Deserialize)]
struct FeatureAnswer {
    key: u64,
    values: Vec<f64>,
    #[serde(default)]
    age_s: Option<f64>,
}

/// A connection that its peer had closed while it was idle: nothing was lost, and another one is opened.
struct WasIdle;

impl RemoteStore {
    /// Connects to nothing yet.
    pub(super) fn new(lookup: Lookup, columns: usize) -> RemoteStore {
        RemoteStore { lookup, columns, connection: None, row: Vec::with_capacity(columns) }
    }

    fn fetch(&mut self, key: u64) -> Result<Stored<'_>, String> {
        let mut tries = 0;
        let answer = loop {
            match self.ask(key) {
                Ok(answer) => break answer,
                Err(_) if tries < self.lookup.retries => {
                    tries += 1;
                    self.lookup.retried.fetch_add(1, Relaxed);
                }
                Err(why) => return Err(format!("the feature store at {}: {why}", self.lookup.url.authority)),
            }
        };
        let Some(answer) = answer else { return Ok(Stored { values: None, age: None }) };
        if answer.key != key || answer.values.len() != self.columns {
            return Err(format!(
                "the feature store at {}: the features of {key} are damaged",
                self.lookup.url.authority
            ));
        }
        self.row = answer.values;
        let age = answer.age_s.filter(|s| s.is_finite() && *s >= 0.0).map(Duration::from_secs_f64);
        Ok(Stored { values: Some(&self.row), age })
    }

    /// One try, on the connection that is there or a new one.
    fn ask(&mut self, key: u64) -> Result<Option<FeatureAnswer>, String> {
        let deadline = clock::monotonic_nanos() + self.lookup.timeout.as_nanos() as u64;
        if let Some(kept) = self.connection.take()
            && let Ok(answer) = self.on(kept, key, deadline, true)
        {
            return answer;
        }
        let new = connect(&self.lookup.url.authority, deadline)?;
        self.on(new, key, deadline, false).unwrap_or_else(|WasIdle| Err("it closed the connection".to_owned()))
    }

    fn on(
        &mut self,
        mut stream: TcpStream,
        key: u64,
        deadline: u64,
        kept: bool,
    ) -> Result<Result<Option<FeatureAnswer>, String>, WasIdle> {
        let (base, authority) = (self.lookup.url.path.trim_end_matches('/'), &self.lookup.url.authority);
        let request = format!("GET {base}/features/{key} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        if let Err(e) = stream.write_all(request.as_bytes()) {
            return if kept { Err(WasIdle) } else { Ok(Err(e.to_string())) };
        }
        let mut answer = Vec::with_capacity(512);
        loop {
            match whole(&answer) {
                Ok(Some((status, body, keeps))) => {
                    let read = read_answer(status, body);
                    if keeps && read.is_ok() {
                        self.connection = Some(stream);
                    }
                    return Ok(read);
                }
                Ok(None) => {}
                Err(why) => return Ok(Err(why)),
            }
            let left = deadline.saturating_sub(clock::monotonic_nanos());
            if left == 0 {
                return Ok(Err("no answer in time".to_owned()));
            }
            let mut chunk = [0; 4096];
            // A timeout of zero would be none at all.
            let read = stream.set_read_timeout(Some(Duration::from_nanos(left))).and_then(|()| stream.read(&mut chunk));
            match read {
                Ok(0) if answer.is_empty() && kept => return Err(WasIdle),
                Ok(0) => return Ok(Err("it closed the connection".to_owned())),
                Ok(n) => answer.extend_from_slice(&chunk[..n]),
                Err(e) if is_timeout(&e) => return Ok(Err("no answer in time".to_owned())),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) if answer.is_empty() && kept => return Err(WasIdle),
                Err(e) => return Ok(Err(e.to_string())),
            }
            if answer.len() > LONGEST_ANSWER {
                return Ok(Err("its answer does not end".to_owned()));
            }
        }
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn connect(authority: &str, deadline: u64) -> Result<TcpStream, String> {
    let address = authority.to_socket_addrs().map_err(|e| e.to_string())?.next().ok_or("it has no address")?;
    let left = Duration::from_nanos(deadline.saturating_sub(clock::monotonic_nanos()).max(1));
    let stream = TcpStream::connect_timeout(&address, left)
        .map_err(|e| if is_timeout(&e) { "no connection in time".to_owned() } else { e.to_string() })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn read_answer(status: u16, body: &[u8]) -> Result<Option<FeatureAnswer>, String> {
    match status {
        200 => serde_json::from_slice(body).map(Some).map_err(|e| format!("its answer cannot be read: {e}")),
        404 => Ok(None),
        status => Err(format!("status {status}")),
    }
}

/// A whole answer: its status, its body, and whether the connection may be kept.
type Whole<'a> = (u16, &'a [u8], bool);

/// None while some of it is missing.
fn whole(bytes: &[u8]) -> Result<Option<Whole<'_>>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(|_| "it does not speak HTTP".to_owned())?
    else {
        return Ok(None);
    };
    let header = |name: &str| response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let length = header("content-length").and_then(|v| std::str::from_utf8(v).ok()?.trim().parse::<usize>().ok());
    let length = length.filter(|l| *l <= LONGEST_ANSWER).ok_or("its answer has no length")?;
    let keeps = !header("connection").is_some_and(|v| v.eq_ignore_ascii_case(b"close"));
    let end = head + length;
    Ok((bytes.len() >= end).then(|| (response.code.unwrap_or(0), &bytes[head..end], keeps)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const GOOD: &str = r#"{"key":7,"values":[7,1.5],"age_s":3.25}"#;

    /// Answers on as many connections as there are lists, one after another, each of them as often as it has texts.
    fn serving(connections: Vec<Vec<String>>) -> (RemoteStore, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/fs", listener.local_addr().unwrap()).parse().unwrap();
        let serve = move || {
            for answers in connections {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let mut buffer = [0; 1024];
                    let n = stream.read(&mut buffer).unwrap();
                    assert!(buffer[..n].starts_with(b"GET /fs/features/7 HTTP/1.1\r\n"));
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        };
        let lookup = Lookup { url, timeout: Duration::from_secs(20), retries: 0, retried: Arc::default() };
        (RemoteStore::new(lookup, 2), std::thread::spawn(serve))
    }

    fn answer(status: u16, body: &str) -> String {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_connection_is_kept_and_one_that_was_closed_in_between_costs_nothing() {
        let good = || answer(200, GOOD);
        let (mut store, server) = serving(vec![vec![good(), good()], vec![good()]]);
        for _ in 0..3 {
            let stored = store.fetch(7).unwrap();
            assert_eq!(stored.values, Some(&[7.0, 1.5][..]));
            assert_eq!(stored.age, Some(Duration::from_millis(3250)));
        }
        server.join().unwrap();
    }

    #[test]
    fn every_other_answer_is_an_error_in_words() {
        let one = |body: &str| vec![answer(200, body)];
        let (mut store, server) = serving(vec![
            vec![answer(404, "{}")],
            vec![answer(500, "{}")],
            one("<html>"),
            one(r#"{"key":8,"values":[8,1]}"#),
            one(r#"{"key":7,"values":[7]}"#),
            vec!["HTTP/1.1 200 OK\r\n\r\n".to_owned()],
        ]);
        assert!(store.fetch(7).unwrap().values.is_none(), "nobody knows this key");
        store.connection = None;
        for expected in ["status 500", "cannot be read", "are damaged", "are damaged", "no length"] {
            let why = store.fetch(7).err().unwrap();
            assert!(why.starts_with("the feature store at 127.0.0.1:") && why.contains(expected), "{expected}: {why}");
            store.connection = None;
        }
        server.join().unwrap();
        let why = store.fetch(7).err().unwrap();
        assert!(why.contains("refused"), "{why}");
    }

    #[test]
    fn retries_are_what_they_are_told_to_be() {
        let (mut store, server) = serving(vec![vec![answer(500, "")], vec![answer(503, "")], vec![answer(200, GOOD)]]);
        store.lookup.retries = 2;
        assert!(store.fetch(7).is_ok());
        assert_eq!(store.lookup.retried.load(Relaxed), 2, "tries after the first one are counted");
        server.join().unwrap();
    }

    #[test]
    fn nobody_is_waited_for_longer_than_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let lookup = Lookup { url, timeout: Duration::from_millis(50), retries: 1, retried: Arc::default() };
        let began = clock::monotonic_nanos();
        let why = RemoteStore::new(lookup, 2).fetch(7).err().unwrap();
        assert!(why.contains("no answer in time"), "{why}");
        assert!(clock::monotonic_nanos() - began >= 100_000_000, "two tries");
    }
}
