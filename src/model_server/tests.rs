//! The server as its clients meet it: real sockets, real files, the shipped models.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use tokio::sync::watch;

use super::model::Model;
use super::request::{Batch, Format};
use super::store::FeatureStore;
use super::{Options, ServerError, serve};
use crate::clock;

pub(super) const ROW: &str = r#"{"dataframe_split": {"columns": ["account_id", "amount", "hour", "merchant_risk", "distance_km", "is_foreign"],
                     "data": [[10409, 14.05, 18, 0.644, 44.5, 0]]}}"#;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

fn options(args: &[&str]) -> Options {
    options_at("127.0.0.1:0", args)
}

fn options_at(address: &str, args: &[&str]) -> Options {
    let fixed = ["model-server", "--listen", address];
    CommandLine::try_parse_from(fixed.iter().chain(args)).unwrap().options
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<(), ServerError>>,
}

impl Server {
    pub(super) fn start(args: &[&str]) -> Server {
        Server::start_at("127.0.0.1:0", args)
    }

    pub(super) fn start_at(address: &str, args: &[&str]) -> Server {
        let options = options_at(address, args);
        let (stop, stopped) = watch::channel(false);
        let (say, address) = mpsc::channel();
        let thread = std::thread::spawn(move || serve(options, |address| say.send(address).unwrap(), stopped));
        Server { address: address.recv().expect("the server starts"), stop, thread }
    }

    pub(super) fn ready(args: &[&str]) -> Server {
        let server = Server::start(args);
        server.until(|s| s.call("GET", "/ping", "", "").status == 200);
        server
    }

    fn connect(&self) -> Connection {
        Connection(BufReader::new(TcpStream::connect(self.address).unwrap()))
    }

    pub(super) fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut connection = self.connect();
        connection.send(method, path, headers, body);
        connection.receive()
    }

    pub(super) fn predict(&self, body: &str) -> Reply {
        self.call("POST", "/invocations", "content-type: application/json\r\n", body)
    }

    pub(super) fn metric(&self, line: &str) -> String {
        let text = self.call("GET", "/metrics", "", "").body;
        let found = text.lines().find_map(|l| l.strip_prefix(line).map(|v| v.trim().to_owned()));
        found.unwrap_or_else(|| panic!("no {line} in\n{text}"))
    }

    pub(super) fn until(&self, condition: impl Fn(&Server) -> bool) {
        for _ in 0..1000 {
            if condition(self) {
                return;
            }
            clock::sleep(Duration::from_millis(10));
        }
        panic!("it did not come to pass within ten seconds");
    }

    pub(super) fn end(self) {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let length = body.len();
        let text = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn receive(&mut self) -> Reply {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "closed after {head:?}");
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Reply { status: head[9..12].parse().unwrap(), body: String::from_utf8(body).unwrap(), head }
    }
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Status, error code and message of an error.
    pub(super) fn problem(&self) -> (u16, String, String) {
        let json = self.json();
        (self.status, json["error_code"].as_str().unwrap().to_owned(), json["message"].as_str().unwrap().to_owned())
    }
}

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

pub(super) fn volume(version: u8) -> String {
    scenarios().join(format!("models/fraud-v{version}")).to_str().unwrap().to_owned()
}

/// The prediction for each row of the shipped data, and the label.
fn score_all(version: u8) -> (Vec<bool>, Vec<bool>) {
    let csv = std::fs::read(scenarios().join("data/fraud.csv")).unwrap();
    let model = Model::load(Path::new(&volume(version))).unwrap();
    let mut store = FeatureStore::new(model.store.clone().unwrap());
    let batch = Batch::parse(Format::Csv, &csv, &model.inputs).unwrap();
    let predictions = batch.iter().map(|row| model.predict(row, store.fetch(row[0] as u64).unwrap())).collect();
    let labels = Batch::parse(Format::Csv, &csv, &["is_fraud".to_owned()]).unwrap();
    (predictions, labels.iter().map(|row| row[0] == 1.0).collect())
}

fn quality(version: u8) -> Value {
    let text = std::fs::read(Path::new(&volume(version)).join("model.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["quality"].take()
}

#[test]
fn accuracy_is_what_the_artifact_says() {
    for version in [1, 2] {
        let (predictions, labels) = score_all(version);
        let hits = predictions.iter().zip(&labels).filter(|(p, l)| p == l).count();
        let quality = quality(version);
        let accuracy = hits as f64 / labels.len() as f64;
        assert_eq!(quality["rows"].as_u64().unwrap() as usize, labels.len());
        assert!((quality["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-9, "v{version}: {accuracy}, {quality}");
        let honest = labels.iter().filter(|l| !**l).count() as f64 / labels.len() as f64;
        assert!(accuracy > honest, "v{version} is no better than always saying 0: {accuracy} against {honest}");
    }
}

#[test]
fn versions_differ_a_little() {
    let ((one, _), (two, _)) = (score_all(1), score_all(2));
    let different = one.iter().zip(&two).filter(|(a, b)| a != b).count();
    assert!((10..250).contains(&different), "{different} of {} answers differ", one.len());
}

#[test]
fn the_recipe_reproduces_what_is_shipped() {
    let out = tempfile::tempdir().unwrap();
    let script = scenarios().join("helpers/train_fraud.py");
    let made = match Command::new("python3").arg(script).arg("--out").arg(out.path()).output() {
        Ok(made) => made,
        Err(e) => return eprintln!("SKIPPED the_recipe_reproduces_what_is_shipped: python3 cannot be run: {e}"),
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for file in ["data/fraud.csv", "models/fraud-v1/model.json", "models/fraud-v2/model.json"]
        .into_iter()
        .chain(["models/fraud-v1/features.csv", "models/fraud-v2/features.csv"])
    {
        let (new, shipped) =
            (std::fs::read(out.path().join(file)).unwrap(), std::fs::read(scenarios().join(file)).unwrap());
        assert!(new == shipped, "{file} differs from what the recipe makes");
    }
}

#[test]
fn answers_in_every_form() {
    let server = Server::ready(&["--model", &volume(2)]);
    let cells = "10409, 14.05, 18, 0.644, 44.5, 0";
    let named = r#"{"account_id": 10409, "amount": 14.05, "hour": 18, "merchant_risk": 0.644, "distance_km": 44.5, "is_foreign": 0}"#;
    let columns = named.replace(", \"", "], \"").replace(": ", ": [").replace('}', "]}");
    let mut connection = server.connect();
    for body in [
        ROW.to_owned(),
        format!("{{\"dataframe_records\": [{named}]}}"),
        format!("{{\"instances\": [{named}]}}"),
        format!("{{\"instances\": [[{cells}]]}}"),
        format!("{{\"inputs\": {columns}}}"),
    ] {
        // All on one connection: it is kept alive.
        connection.send("POST", "/invocations", "content-type: application/json\r\n", &body);
        let reply = connection.receive();
        assert_eq!(reply.body, r#"{"predictions":[0],"model_version":"2","fallback":0}"#, "{body}");
        assert_eq!(reply.status, 200);
        assert!(reply.head.contains("\r\nx-model-version: 2\r\n"), "{}", reply.head);
        assert!(reply.head.contains("\r\ncontent-type: application/json\r\n"), "{}", reply.head);
    }
    server.end();
}

#[test]
fn answers_csv_as_the_scorer_does() {
    let server = Server::ready(&["--model", &volume(1)]);
    let csv = std::fs::read_to_string(scenarios().join("data/fraud.csv")).unwrap();
    let reply = server.call("POST", "/invocations", "content-type: text/csv\r\n", &csv);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer = reply.json();
    let expected: Vec<u64> = score_all(1).0.into_iter().map(u64::from).collect();
    let got: Vec<u64> = answer["predictions"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap()).collect();
    assert!(got == expected, "5,000 rows over the wire are answered as by the scorer");
    assert_eq!(answer["model_version"], "1");
    server.end();
}

#[test]
fn an_unknown_account_is_answered_with_a_fallback() {
    let server = Server::ready(&["--model", &volume(1)]);
    let reply = server.predict(&ROW.replace("10409", "9999"));
    assert_eq!((reply.status, &reply.json()["fallback"]), (200, &Value::from(2)), "the mean account stands in");
    for bad in ["10409.5", "-1", "1e300"] {
        let (status, code, message) = server.predict(&ROW.replace("10409", bad)).problem();
        assert_eq!((status, code.as_str()), (400, "BAD_REQUEST"));
        assert!(message.contains("`account_id` must be a whole number"), "{message}");
    }
    server.end();
}

#[test]
fn refuses_in_the_words_of_the_protocol() {
    let server = Server::ready(&["--model", &volume(1), "--max-body", "1000"]);
    let json = "content-type: application/json\r\n";
    let large = "x".repeat(1001);
    let cases = [
        ("POST", "/invocations", json, "{", 400, "BAD_REQUEST", "valid JSON"),
        ("POST", "/invocations", json, "{}", 400, "BAD_REQUEST", "exactly one of"),
        ("POST", "/invocations", json, r#"{"instances": [{"amount": 1}]}"#, 400, "BAD_REQUEST", "missing inputs"),
        ("POST", "/invocations", json, &large, 413, "BAD_REQUEST", "larger than 1000 bytes"),
        ("POST", "/invocations", "content-type: text/plain\r\n", "x", 415, "BAD_REQUEST", "text/csv"),
        ("GET", "/invocations", "", "", 405, "BAD_REQUEST", "use POST"),
        ("POST", "/ping", "", "", 405, "BAD_REQUEST", "use GET"),
        ("GET", "/predict", "", "", 404, "ENDPOINT_NOT_FOUND", "/invocations"),
    ];
    for (method, path, headers, body, status, code, words) in cases {
        let reply = server.call(method, path, headers, body);
        let (got, got_code, message) = reply.problem();
        assert_eq!((got, got_code.as_str()), (status, code), "{method} {path} {body}");
        assert!(message.contains(words), "{message}");
        assert!(reply.head.contains("x-model-version: 1"));
    }
    for (code, count) in [(200, "0"), (400, "3"), (405, "1"), (413, "1"), (415, "1")] {
        assert_eq!(server.metric(&format!("model_server_requests_total{{code=\"{code}\"}}")), count, "{code}");
    }
    server.end();
}

#[test]
fn a_body_of_unknown_length_is_limited_too() {
    let server = Server::ready(&["--max-body", "1000"]);
    let mut connection = server.connect();
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    let text = format!("POST /invocations HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    connection.0.get_mut().write_all(text.as_bytes()).unwrap();
    assert_eq!(connection.receive().status, 413);
    server.end();
}

#[test]
fn a_body_far_too_large_is_answered_not_reset() {
    let server = Server::ready(&[]);
    let mut connection = server.connect();
    connection.send("POST", "/invocations", "", &"x".repeat(8 << 20));
    assert_eq!(connection.receive().status, 413);
    connection.send("POST", "/invocations", "", ROW);
    assert_eq!(connection.receive().status, 200, "the connection is as good as before");
    server.end();
}

#[test]
fn says_what_it_is() {
    let server = Server::ready(&["--model", &volume(1)]);
    assert_eq!(server.call("GET", "/health", "", "").body, "\n");
    assert_eq!(
        server.call("GET", "/version", "", "").body,
        concat!("resbench ", env!("CARGO_PKG_VERSION"), " model v1")
    );
    server.predict(ROW);
    assert_eq!(server.metric("model_server_requests_total{code=\"200\"}"), "1");
    assert_eq!(server.metric("model_server_model_info{name=\"fraud\",version=\"1\"}"), "1");
    assert_eq!(server.metric("model_server_service_seconds_count"), "1");
    server.end();
}

#[test]
fn the_trivial_model_answers_anything() {
    let server = Server::ready(&[]);
    for (body, rows) in [(r#"{"instances": [1, 2, 3]}"#, 3), (r#"{"inputs": {"text": ["a", "b"]}}"#, 2), (ROW, 1)] {
        let answer = server.predict(body).json();
        assert_eq!(answer["predictions"], Value::from(vec![0; rows]), "{body}");
        assert_eq!(answer["model_version"], "0");
    }
    server.end();
}

#[test]
fn a_failing_volume_is_an_error_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["model.json", "features.csv"] {
        std::fs::copy(Path::new(&volume(1)).join(file), dir.path().join(file)).unwrap();
    }
    let features = dir.path().join("features.csv");
    let whole = std::fs::read(&features).unwrap();
    let server = Server::ready(&["--model", dir.path().to_str().unwrap(), "--workers", "1"]);
    let fails_with = |words: &str| {
        let (status, code, message) = server.predict(ROW).problem();
        assert_eq!((status, code.as_str()), (500, "INTERNAL_ERROR"));
        assert!(message.contains("account_id 10409 from features.csv") && message.contains(words), "{message}");
    };
    assert_eq!(server.predict(ROW).status, 200);
    std::fs::File::options().write(true).open(&features).unwrap().set_len(22).unwrap();
    fails_with("the file ends before the record");
    std::fs::remove_file(&features).unwrap();
    fails_with("No such file or directory (os error 2)");
    // A directory can be opened and not be read: the text of the errno comes through.
    std::fs::create_dir(&features).unwrap();
    fails_with("Is a directory (os error 21)");
    std::fs::remove_dir(&features).unwrap();
    std::fs::write(&features, whole).unwrap();
    assert_eq!(server.predict(ROW).status, 200);
    assert_eq!(server.metric("model_server_feature_read_errors_total"), "3");
    assert_eq!(server.call("GET", "/ping", "", "").status, 200);
    server.end();
}

#[test]
fn a_full_queue_refuses() {
    let server = Server::ready(&["--workers", "1", "--queue", "1", "--service-time", "constant:30s"]);
    let [mut first, mut second] = [server.connect(), server.connect()];
    first.send("POST", "/invocations", "", ROW);
    second.send("POST", "/invocations", "", ROW);
    server.until(|s| s.metric("model_server_queue_depth") == "1");
    let (status, code, message) = server.predict(ROW).problem();
    assert_eq!((status, code.as_str()), (503, "TEMPORARILY_UNAVAILABLE"));
    assert!(message.contains("queue is full"), "{message}");
    assert_eq!(server.metric("model_server_in_flight_requests"), "2");
    // What outlasts the grace is cut off: the server ends long before those 30 s.
    let stopped = clock::monotonic_nanos();
    server.end();
    assert!(clock::monotonic_nanos() - stopped < 25_000_000_000);
}

#[test]
fn requests_hold_their_worker() {
    let server = Server::ready(&["--workers", "1", "--queue", "4", "--service-time", "constant:100ms"]);
    let began = clock::monotonic_nanos();
    let mut connections = [(); 4].map(|()| server.connect());
    connections.iter_mut().for_each(|c| c.send("POST", "/invocations", "", ROW));
    assert!(connections.iter_mut().all(|c| c.receive().status == 200));
    let took = Duration::from_nanos(clock::monotonic_nanos() - began);
    assert!(took >= Duration::from_millis(400), "four at 100 ms, one after the other, took {took:?}");
    assert_eq!(server.metric("model_server_queue_depth"), "0");
    server.end();
}

#[test]
fn is_not_ready_before_its_time() {
    let began = clock::monotonic_nanos();
    let server = Server::start(&["--startup-delay", "400ms"]);
    // On a machine that is busy enough the time may be over already; then 200 is right.
    for reply in [server.call("GET", "/ping", "", ""), server.call("GET", "/health", "", ""), server.predict(ROW)] {
        let passed = Duration::from_nanos(clock::monotonic_nanos() - began);
        assert!(reply.status == 503 || passed >= Duration::from_millis(400), "{reply:?} after {passed:?}");
    }
    server.until(|s| s.call("GET", "/ping", "", "").status == 200);
    let took = Duration::from_nanos(clock::monotonic_nanos() - began);
    assert!(took >= Duration::from_millis(400), "ready after {took:?}");
    assert_eq!(server.predict(ROW).status, 200);
    server.end();
}

#[test]
fn waits_for_its_registry() {
    // A registry that is asked twice: first it is out of order, then it is well.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health", registry.local_addr().unwrap());
    let server = Server::start(&["--registry", &url]);
    let answer = |status: &str| {
        let mut peer = BufReader::new(registry.accept().unwrap().0);
        let mut line = String::new();
        peer.read_line(&mut line).unwrap();
        assert_eq!(line, "GET /health HTTP/1.1\r\n");
        while line != "\r\n" {
            line.clear();
            peer.read_line(&mut line).unwrap();
        }
        peer.get_mut().write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
    };
    assert_eq!(server.call("GET", "/ping", "", "").problem().2, "starting");
    answer("503 Service Unavailable");
    server.until(|s| {
        let (status, _, message) = s.call("GET", "/ping", "", "").problem();
        assert_eq!(status, 503);
        message.starts_with("waiting for the registry at 127.0.0.1:") && message.ends_with(": status 503")
    });
    assert_eq!(server.predict(ROW).status, 503);
    answer("200 OK");
    server.until(|s| s.call("GET", "/ping", "", "").status == 200);
    server.end();
}

#[test]
fn plays_a_registry() {
    let registry = Server::start(&["--role", "registry"]);
    let reply = registry.call("GET", "/api/2.0/mlflow/anything", "", "");
    assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("ok")));
    assert_eq!(registry.call("POST", "/", "", "").status, 405);
    Server::ready(&["--registry", &format!("http://{}/", registry.address)]).end();
    registry.end();
}

#[test]
fn a_stop_finishes_what_is_in_flight() {
    let server = Server::ready(&["--service-time", "constant:300ms"]);
    let (mut busy, mut idle) = (server.connect(), server.connect());
    idle.send("GET", "/ping", "", "");
    idle.receive();
    busy.send("POST", "/invocations", "", ROW);
    // In flight, or done already where this thread was kept waiting.
    let done = "model_server_requests_total{code=\"200\"}";
    server.until(|s| s.metric("model_server_in_flight_requests") == "1" || s.metric(done) == "1");
    server.stop.send(true).unwrap();
    let reply = busy.receive();
    assert_eq!(reply.status, 200);
    assert_eq!(idle.0.read(&mut [0]).unwrap(), 0, "idle connections are closed");
    let address = server.address;
    server.thread.join().unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn errors_name_the_place_and_the_cure() {
    let fails = |options: Options| {
        let (_stop, stopped) = watch::channel(false);
        serve(options, |_| panic!("it must not listen"), stopped).unwrap_err().to_string()
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut occupied = options(&[]);
    occupied.listen = taken.local_addr().unwrap().to_string();
    let text = fails(occupied);
    assert!(text.starts_with("--listen 127.0.0.1:") && text.contains("Address already in use"), "{text}");
    assert!(text.contains("choose a free host:port"), "{text}");

    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().to_str().unwrap();
    let text = fails(options(&["--model", model]));
    assert!(text.contains("model.json: No such file") && text.contains("--model takes a folder"), "{text}");
    std::fs::copy(Path::new(&volume(1)).join("model.json"), dir.path().join("model.json")).unwrap();
    std::fs::write(dir.path().join("features.csv"), "10000\n").unwrap();
    let text = fails(options(&["--model", model]));
    assert!(text.contains("features.csv: has 6 bytes, model.json promises 44000"), "{text}");
}

#[test]
fn refuses_options_that_make_no_sense() {
    for bad in [
        ["--workers", "0"],
        ["--queue", "0"],
        ["--service-time", "5ms"],
        ["--startup-delay", "5"],
        ["--registry", "registry"],
        ["--role", "teapot"],
    ] {
        assert!(CommandLine::try_parse_from(["model-server"].iter().chain(&bad)).is_err(), "{bad:?}");
    }
}

const CHAT: &str = r#"{"model":"any","messages":[{"role":"user","content":"say it in five words"}],"max_tokens":5"#;

/// Reads an answer in chunks until `[DONE]`: the events, and when each was there.
fn stream(connection: &mut Connection) -> (String, Vec<(Value, u64)>) {
    let (mut head, mut events) = (String::new(), Vec::new());
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(connection.0.read_line(&mut head).unwrap(), 0, "closed after {head:?}");
    }
    loop {
        let mut line = String::new();
        assert_ne!(connection.0.read_line(&mut line).unwrap(), 0, "closed after {events:?}");
        match line.trim().strip_prefix("data: ") {
            Some("[DONE]") => return (head.to_lowercase(), events),
            Some(json) => events.push((serde_json::from_str(json).unwrap(), clock::monotonic_nanos())),
            None => {}
        }
    }
}

#[test]
fn streams_tokens_on_an_absolute_grid() {
    let server = Server::ready(&["--tokens-per-second", "50", "--first-token", "100ms"]);
    let mut connection = server.connect();
    let began = clock::monotonic_nanos();
    connection.send(
        "POST",
        "/v1/chat/completions",
        "",
        &format!("{CHAT},\"stream\":true,\"stream_options\":{{\"include_usage\":true}}}}"),
    );
    let (head, events) = stream(&mut connection);
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    assert_eq!(events.len(), 1 + 5 + 1 + 1, "role, tokens, end, usage: {events:?}");
    let delta = |n: usize| &events[n].0["choices"][0]["delta"];
    assert_eq!((&delta(0)["role"], &delta(0)["content"]), (&Value::from("assistant"), &Value::from("")));
    for (token, (event, at)) in events[1..6].iter().enumerate() {
        let text = event["choices"][0]["delta"]["content"].as_str().unwrap();
        assert!(!text.is_empty() && event["choices"][0]["finish_reason"].is_null(), "{event}");
        // Never before its time; how late is the machine's business.
        let due = 100_000_000 + token as u64 * 20_000_000;
        assert!(at - began >= due, "token {token} came {} ns early", due - (at - began));
        assert_eq!(
            (&event["object"], &event["model"], &event["id"]),
            (&"chat.completion.chunk".into(), &"any".into(), &events[0].0["id"])
        );
    }
    assert_eq!(events[6].0["choices"][0]["finish_reason"], "length");
    assert_eq!(events[7].0["choices"], serde_json::json!([]));
    assert_eq!(
        events[7].0["usage"],
        serde_json::json!({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10})
    );
    server.until(|s| s.metric("model_server_in_flight_requests") == "0");
    assert_eq!(server.metric("model_server_output_tokens_total"), "5");
    assert_eq!(server.metric("model_server_requests_total{code=\"200\"}"), "1");
    server.end();
}

#[test]
fn many_streams_need_no_workers() {
    let server =
        Server::ready(&["--workers", "1", "--queue", "1", "--tokens-per-second", "1000", "--first-token", "300ms"]);
    let began = clock::monotonic_nanos();
    let mut connections: Vec<Connection> = (0..50).map(|_| server.connect()).collect();
    connections
        .iter_mut()
        .for_each(|c| c.send("POST", "/v1/chat/completions", "", &format!("{CHAT},\"stream\":true}}")));
    for connection in &mut connections {
        assert_eq!(stream(connection).1.len(), 7);
    }
    // One after another they would take 15 s.
    assert!(clock::monotonic_nanos() - began < 12_000_000_000);
    assert_eq!(server.metric("model_server_output_tokens_total"), "250");
    server.end();
}

#[test]
fn chats_without_a_stream_come_whole_at_the_end() {
    let server = Server::ready(&["--tokens-per-second", "100", "--first-token", "50ms", "--tokens", "6"]);
    let began = clock::monotonic_nanos();
    let reply =
        server.call("POST", "/v1/chat/completions", "", r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
    assert!(clock::monotonic_nanos() - began >= 100_000_000);
    let json = reply.json();
    assert_eq!((reply.status, &json["object"]), (200, &"chat.completion".into()));
    assert_eq!(json["choices"][0]["message"]["content"], " the service keeps its promise while");
    assert_eq!(
        (&json["choices"][0]["finish_reason"], &json["usage"]["completion_tokens"]),
        (&"stop".into(), &6.into())
    );
    let models = server.call("GET", "/v1/models", "", "").json();
    assert_eq!((&models["data"][0]["id"], &models["object"]), (&"constant".into(), &"list".into()));
    server.end();
}

#[test]
fn a_client_that_leaves_ends_its_stream() {
    let server = Server::ready(&["--tokens-per-second", "10", "--first-token", "0s"]);
    let mut connection = server.connect();
    connection.send("POST", "/v1/chat/completions", "", &format!("{}0,\"stream\":true}}", CHAT));
    server.until(|s| s.metric("model_server_output_tokens_total") != "0");
    drop(connection);
    server.until(|s| s.metric("model_server_in_flight_requests") == "0");
    server.end();
}

#[test]
fn chats_that_make_no_sense_are_refused_in_openais_words() {
    let server = Server::ready(&[]);
    for (body, words) in [
        ("{", "the body is no chat request"),
        (r#"{"model":"m"}"#, "missing field `messages`"),
        (r#"{"model":"m","messages":[]}"#, "`messages` is empty"),
        (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":2}"#, "`n` must be 1"),
        (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}"#, "from 1 to 1000000"),
    ] {
        let reply = server.call("POST", "/v1/chat/completions", "", body);
        let json = reply.json();
        assert_eq!((reply.status, &json["error"]["type"]), (400, &"invalid_request_error".into()), "{body}");
        assert!(json["error"]["message"].as_str().unwrap().contains(words), "{json}");
    }
    assert_eq!(server.call("GET", "/v1/chat/completions", "", "").status, 405);
    assert_eq!(server.call("POST", "/v1/models", "", "").status, 405);
    server.end();
}
