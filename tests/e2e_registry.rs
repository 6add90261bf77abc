//! A model registry from outside: the real binary moves an alias of a registry, proves it, and puts it back on every road
//! out, its own sudden death included. The registry is the embedded one, which speaks MLflow's words; `tests/real/32-registry.sh`
//! does the same with a real MLflow server.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use resbench::clock::sleep;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Ran, Room, Running, light, shipped, until};

const ALIAS: &str = "/api/2.0/mlflow/registered-models/alias";

/// A server of ours that ends with the test.
struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn start(room: &Room, args: &[&str]) -> Served {
        let mut command = room.command(&["model-server", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        Served { child, address }
    }

    /// Versions 1 and 2 of `fraud`; `champion` is 1.
    fn registry(room: &Room) -> Served {
        let models = [1, 2, 1].map(|v| format!("fraud={}", shipped(&format!("scenarios/models/fraud-v{v}"))));
        let [one, two, three] = models.each_ref().map(String::as_str);
        let register = ["--register", one, "--register", two, "--register", three, "--alias", "fraud@champion=1"];
        Served::start(room, &[&["--role", "registry"], &register[..]].concat())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        (head[9..12].parse().expect("a status"), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Where an alias points; none when it is not there.
    fn points(&self, alias: &str) -> Option<String> {
        let (status, told) = self.ask("GET", &format!("{ALIAS}?name=fraud&alias={alias}"), "");
        let version = told["model_version"]["version"].as_str().map(str::to_owned);
        assert_eq!(version.is_some(), status == 200, "{status} {told}");
        version
    }

    fn point(&self, alias: &str, version: &str) {
        let body = json!({ "name": "fraud", "alias": alias, "version": version }).to_string();
        assert_eq!(self.ask("POST", ALIAS, &body).0, 200);
    }
}

/// A little load at a replica, and this fault in it. The bound on latency is there for what it makes of "late": a
/// twentieth of it, which a busy machine keeps.
fn scenario(fault: &str) -> String {
    format!(
        "name = \"e2e\"\nseed = 7\n[target]\nprotocol = \"mlflow\"\n[platform.local]\nreplicas = 1\n\
         command = [\"resbench\", \"model-server\", \"--listen\", \"{{address}}\"]\n\
         ready = {{ path = \"/ping\", every = \"200ms\", timeout = \"60s\" }}\n\
         [traffic]\nbody = '{{\"inputs\": [1]}}'\ntimeout = \"1s\"\n\
         [[phase]]\nname = \"baseline\"\nduration = \"500ms\"\nrate = 50\n\
         [[phase]]\nname = \"fault\"\nduration = \"3s\"\nrate = 50\n\
         [[fault]]\nname = \"f\"\nat = \"fault\"\nkind = \"registry-alias\"\n{fault}\n\
         [[objective]]\nmetric = \"error_rate\"\nmax = 0.9\n\
         [[objective]]\nmetric = \"latency.p50\"\nmax = \"10s\"\n"
    )
}

fn moved(registry: &Served, lasting: &str, more: &str) -> String {
    scenario(&format!(
        "url = \"http://{}\"\nmodel = \"fraud\"\nfor = \"{lasting}\"\n\
         headers = {{ Authorization = \"Bearer ${{RESBENCH_E2E_TOKEN:-s3cret}}\" }}\n{more}",
        registry.address
    ))
}

fn applied(room: &Room, running: &mut Running) {
    until("the fault is in force", || {
        assert!(!running.is_over(), "the run ended before its fault");
        let text = std::fs::read_to_string(room.journals().first()?).ok()?;
        text.contains("\"record\":\"applied\"").then_some(())
    })
}

#[track_caller]
fn proven(ran: &Ran) -> String {
    let proof = &ran.fault("f")["proof"];
    assert_eq!((&proof["proven"], &proof["level"]), (&true.into(), &"effect".into()), "{ran}");
    proof["evidence"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_alias_is_moved_read_back_and_restored() {
    let _seat = light();
    let room = Room::new();
    let registry = Served::registry(&room);
    let mut running = room.start(&moved(&registry, "2s", "alias = \"champion\"\nto = 2"));
    applied(&room, &mut running);
    assert_eq!(registry.points("champion").as_deref(), Some("2"), "while the fault is on");
    let ran = running.wait();
    ran.ends(0);
    let evidence = proven(&ran);
    assert!(
        evidence.contains("points at version 1 before") && evidence.contains("it points at version 2"),
        "{evidence}"
    );
    assert_eq!(registry.points("champion").as_deref(), Some("1"), "{ran}");
    assert_eq!((&ran.json()["clean"], &ran.fault("f")["targets"][0]), (&true.into(), &"alias fraud@champion".into()));
    let journal = ran.file("journal.jsonl");
    assert!(journal.contains("Bearer ${RESBENCH_E2E_TOKEN:-s3cret}"), "unexpanded: {journal}");
    let whole = ran.json().to_string() + &ran.stdout;
    assert!(!whole.contains("s3cret"), "no credential in what a run shows");
}

#[test]
fn missing_is_no_alias_and_one_that_was_not_there_is_deleted_again() {
    let _seat = light();
    let room = Room::new();
    let registry = Served::registry(&room);
    let mut running = room.start(&moved(&registry, "1s", "alias = \"champion\"\nto = \"missing\""));
    applied(&room, &mut running);
    assert_eq!(registry.points("champion"), None, "while the fault is on");
    let ran = running.wait();
    ran.ends(0);
    proven(&ran);
    assert_eq!(registry.points("champion").as_deref(), Some("1"));

    let mut running = room.start(&moved(&registry, "1s", "alias = \"shadow\"\nto = 2\ncreate = true"));
    applied(&room, &mut running);
    assert_eq!(registry.points("shadow").as_deref(), Some("2"));
    running.wait().ends(0);
    assert_eq!(registry.points("shadow"), None, "it was not there before");
}

#[test]
fn what_somebody_else_sets_meanwhile_is_theirs() {
    let _seat = light();
    let room = Room::new();
    let registry = Served::registry(&room);
    let mut running = room.start(&moved(&registry, "2500ms", "alias = \"champion\"\nto = 2"));
    applied(&room, &mut running);
    registry.point("champion", "3");
    let ran = running.wait();
    // The fault did not last: what came after it was measured without.
    ran.ends(3);
    assert_eq!(ran.fault("f")["proof"]["proven"], false, "{ran}");
    assert_eq!(registry.points("champion").as_deref(), Some("3"), "left alone: {ran}");
    let told = ran.fault("f").to_string();
    assert!(told.contains("somebody else moved alias fraud@champion: it points at version 3 now"), "{told}");
}

#[test]
fn kill_9_in_mid_fault_puts_the_alias_back() {
    let _seat = light();
    let room = Room::new();
    let registry = Served::registry(&room);
    for (to, on) in [("2", Some("2")), ("\"missing\"", None)] {
        let mut running = room.start(&moved(&registry, "3s", &format!("alias = \"champion\"\nto = {to}")));
        applied(&room, &mut running);
        assert_eq!(registry.points("champion").as_deref(), on);
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, 128 + 9);
        until("the watchdog put the alias back", || {
            (registry.points("champion").as_deref() == Some("1")).then_some(())
        });
        until("its journal is gone", || room.journals().is_empty().then_some(()));
    }
}

#[test]
fn revert_puts_it_back_when_the_watchdog_died_too_and_a_new_run_waits_for_that() {
    let _seat = light();
    let room = Room::new();
    let registry = Served::registry(&room);
    let text = moved(&registry, "3s", "alias = \"champion\"\nto = 2");
    let mut running = room.start(&text);
    applied(&room, &mut running);
    let state = room.path("state").display().to_string();
    let watchdog = std::fs::read_dir("/proc").expect("procfs").flatten().find_map(|e| {
        let pid: i32 = e.file_name().to_str()?.parse().ok()?;
        let args = String::from_utf8_lossy(&std::fs::read(e.path().join("cmdline")).ok()?).into_owned();
        (args.contains("watchdog-internal") && args.contains(&state)).then_some(pid)
    });
    let watchdog = watchdog.and_then(rustix::process::Pid::from_raw).expect("a watchdog of this room");
    rustix::process::kill_process(watchdog, Signal::KILL).expect("ours to kill");
    running.signal(Signal::KILL);
    running.wait();
    sleep(Duration::from_millis(300));
    assert_eq!(registry.points("champion").as_deref(), Some("2"), "nobody is left to put it back");
    // Another scenario on the same alias must not begin: what it would take for the state before is the fault's.
    let other = room.write("other.toml", &text.replace("name = \"e2e\"", "name = \"other\""));
    let refused = room.call(&["run", &other.display().to_string()]);
    assert_eq!(refused.code, 4, "{refused}");
    let reverted = room.call(&["revert", "--yes"]);
    assert_eq!(reverted.code, 0, "{reverted}");
    assert!(reverted.stdout.contains("setting alias fraud@champion"), "{reverted}");
    assert_eq!(registry.points("champion").as_deref(), Some("1"));
    assert!(room.journals().is_empty());
}

#[test]
fn what_is_not_there_is_refused_before_anything_is_touched() {
    let _seat = light();
    let room = Room::new();
    let registry = Served::registry(&room);
    for (more, why) in [
        ("alias = \"champion\"\nto = 9", "has no version 9 of `fraud`"),
        ("alias = \"nobody\"\nto = 2", "has no alias fraud@nobody: correct `alias`, or write create = true"),
        ("alias = \"champion\"\nto = 1", "points at version 1 already"),
    ] {
        let ran = room.run(&moved(&registry, "1s", more));
        assert!(ran.code == 5 && ran.reasons().contains(why), "{why}: {ran}");
    }
    let text = moved(&registry, "1s", "alias = \"champion\"\nto = 2").replace("model = \"fraud\"", "model = \"fruad\"");
    let ran = room.run(&text);
    assert!(ran.code == 5 && ran.reasons().contains("has no registered model `fruad`"), "{ran}");
    assert_eq!(registry.points("champion").as_deref(), Some("1"));
}

/// A registry that the run itself starts: `{dependency.NAME}` is that process, behind its link.
#[test]
fn a_dependency_is_reached_behind_its_link() {
    let _seat = light();
    let room = Room::new();
    let (one, two) = (shipped("scenarios/models/fraud-v1"), shipped("scenarios/models/fraud-v2"));
    let dependency = format!(
        "[[platform.local.dependency]]\nname = \"registry\"\ncommand = [\"resbench\", \"model-server\", \"--role\", \"registry\", \
         \"--listen\", \"{{address}}\", \"--register\", \"fraud={one}\", \"--register\", \"fraud={two}\", \
         \"--alias\", \"fraud@champion=1\"]\n[traffic]"
    );
    let fault = "url = \"http://{dependency.registry}\"\nmodel = \"fraud\"\nalias = \"champion\"\nto = 2\nfor = \"1s\"";
    let text = scenario(fault).replace("[traffic]", &dependency);
    let ran = room.run(&text);
    ran.ends(0);
    proven(&ran);
    assert!(ran.fault("f")["mechanism"].as_str().is_some_and(|m| m.contains("(resbench-registry ")), "{ran}");

    let mut running = room.start(&text);
    applied(&room, &mut running);
    running.signal(Signal::KILL);
    running.wait();
    until("nothing is left: the registry ended with its aliases", || room.journals().is_empty().then_some(()));
}

/// An `http` fault reaches a dependency's admin path; what it did ends with the dependency, and so with the run.
#[test]
fn a_registry_is_told_to_answer_500_and_to_be_well_again() {
    let _seat = light();
    let room = Room::new();
    let one = shipped("scenarios/models/fraud-v1");
    let dependency = format!(
        "[[platform.local.dependency]]\nname = \"registry\"\ncommand = [\"resbench\", \"model-server\", \"--role\", \"registry\", \
         \"--listen\", \"{{address}}\", \"--register\", \"fraud={one}\", \"--alias\", \"fraud@champion=1\"]\n[traffic]"
    );
    let admin = "http://{dependency.registry}/admin/behaviour";
    let fault = format!(
        "run = {{ method = \"PUT\", url = \"{admin}\", body = '{{\"status\": 500}}' }}\n\
         undo = {{ method = \"DELETE\", url = \"{admin}\" }}\nproof = \"trust\"\nfor = \"1500ms\""
    );
    let follow = "\"{address}\", \"--registry\", \"http://{dependency.registry}\", \"--registry-model\", \
                  \"fraud@champion\", \"--reload-every\", \"100ms\"]";
    let text = scenario(&fault).replace("kind = \"registry-alias\"", "kind = \"http\"");
    let text = text.replace("[traffic]", &dependency).replacen("\"{address}\"]", follow, 1);
    let data = shipped("scenarios/data/fraud.csv");
    let text = text.replace("body = '{\"inputs\": [1]}'", &format!("dataset = \"{data}\"\nlabel = \"is_fraud\""));
    let ran = room.run(&text);
    ran.ends(0);
    assert_eq!(ran.json()["clean"], true, "{ran}");
    assert!(ran.fault("f")["mechanism"].as_str().is_some_and(|m| m.contains("{dependency.registry}")), "{ran}");
    assert_eq!(ran.phase("fault").n("ok"), ran.phase("fault").n("planned"), "who has a model needs no registry: {ran}");

    let mut running = room.start(&text);
    applied(&room, &mut running);
    running.signal(Signal::KILL);
    running.wait();
    until("nothing is left", || room.journals().is_empty().then_some(()));
}

/// What a batch beyond the memory does to a server that dies of it, as the kernel would have it.
#[test]
fn out_of_memory_ends_a_server_without_an_answer() {
    use std::os::unix::process::ExitStatusExt;
    let _seat = light();
    let room = Room::new();
    let more = ["--row-memory", "1MiB", "--memory-limit", "8MiB", "--on-oom", "exit"];
    let mut server = Served::start(&room, &more);
    until("it is ready", || (server.ask("GET", "/ping", "").0 == 200).then_some(()));
    assert_eq!(server.ask("POST", "/invocations", r#"{"inputs": [1, 2, 3]}"#).0, 200);
    let body = format!("{{\"inputs\": [{}]}}", vec!["1"; 20].join(","));
    let mut stream = TcpStream::connect(&server.address).expect("it listens");
    let head = format!("POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    let status = until("it is gone", || server.child.try_wait().expect("our own child"));
    assert_eq!(status.signal(), Some(9));
}
