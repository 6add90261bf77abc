//! Real processes: a small HTTP server in Python plays replicas and dependencies.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::plan::{Dependency, Direction};
use crate::platform::{LinkEffect, LinkEvidence, LinkFault, PlatformEventKind, VolumeEvidence, VolumeFault};

const LONG: Duration = Duration::from_secs(60);

/// Listens on argv[1]; `/ping` is 200 unless argv[2] says otherwise; every path answers "PID ARGS…".
const SERVER: &str = r#"
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_GET(self):
        body = " ".join([str(os.getpid())] + sys.argv[1:]).encode()
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True
host, port = sys.argv[1].split(":")
print("\x1b[32mserving\x1b[0m on", port, flush=True)
Server((host, int(port)), Handler).serve_forever()
"#;

#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl Ledger for Noted {
    fn process_started(&self, what: &str, process: &ProcessId) {
        self.0.lock().unwrap().push(format!("+{what} {}", process.pid));
    }
    fn process_ended(&self, process: &ProcessId) {
        self.0.lock().unwrap().push(format!("-{}", process.pid));
    }
    fn mount_planned(&self, path: &Path) {
        self.0.lock().unwrap().push(format!("+mount {}", path.display()));
    }
    fn mount_gone(&self, path: &Path) {
        self.0.lock().unwrap().push(format!("-mount {}", path.display()));
    }
    fn copy_planned(&self, path: &Path) {
        self.0.lock().unwrap().push(format!("+copy {}", path.display()));
    }
    fn copy_gone(&self, path: &Path) {
        self.0.lock().unwrap().push(format!("-copy {}", path.display()));
    }
    fn folder_planned(&self, path: &Path) {
        self.0.lock().unwrap().push(format!("+folder {}", path.display()));
    }
    fn folder_gone(&self, path: &Path) {
        self.0.lock().unwrap().push(format!("-folder {}", path.display()));
    }
    fn mark_planned(&self, key: &str, value: &str) {
        self.0.lock().unwrap().push(format!("+mark {key}={value}"));
    }
    fn mark_gone(&self, key: &str, value: &str) {
        self.0.lock().unwrap().push(format!("-mark {key}={value}"));
    }
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

fn ready(every_ms: u64) -> Ready {
    Ready { path: Some("/ping".into()), every: Duration::from_millis(every_ms), timeout: LONG }
}

fn plan(replicas: u16) -> LocalPlatform {
    LocalPlatform {
        replicas,
        command: words(&["python3", "-c", SERVER, "{address}", "{replica}"]),
        env: BTreeMap::new(),
        volume: None,
        writable: false,
        ready: ready(100),
        restart_delay: Duration::from_millis(200),
        dependencies: Vec::new(),
    }
}

/// A platform, the folder that its logs are in, and what its ledger heard.
struct Rig {
    local: Local,
    dir: tempfile::TempDir,
    noted: Arc<Noted>,
}

fn start_with(
    plan: &LocalPlatform,
    dir: &Path,
    volume_views: Option<MountVolume>,
    stop: &dyn Fn() -> bool,
) -> Result<Rig, StartError> {
    let run_dir = tempfile::tempdir().unwrap();
    let noted = Arc::new(Noted::default());
    let options = LocalOptions {
        plan,
        dir,
        run_dir: run_dir.path(),
        run_id: &format!("test-{}-{}", ProcessId::current().pid, monotonic_nanos()),
        clock: Clock::starting_in(Duration::ZERO),
        seed: Seed(1),
        ledger: noted.clone(),
        volume_views,
        replica_cpus: Vec::new(),
        stop,
    };
    Local::start(options).map(|local| Rig { local, dir: run_dir, noted })
}

fn try_start(plan: &LocalPlatform) -> Result<Rig, StartError> {
    start_with(plan, Path::new("/"), None, &|| false)
}

fn start(plan: &LocalPlatform) -> Rig {
    try_start(plan).unwrap_or_else(|e| panic!("{e}"))
}

impl Rig {
    fn pid(&self, replica: usize) -> Option<i32> {
        self.local.list()[replica].instance.as_ref().and_then(Instance::process).map(|p| p.pid)
    }

    /// What a new connection through the service's link is answered: "PID ARGS…".
    fn ask(&self) -> String {
        get(self.local.endpoint().address)
    }

    fn kinds(&self, replica: u16) -> Vec<PlatformEventKind> {
        self.local.events().iter().filter(|e| e.replica == Some(replica)).map(|e| e.kind).collect()
    }
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = monotonic_nanos() + LONG.as_nanos() as u64;
    while !done() {
        assert!(monotonic_nanos() < limit, "never: {what}");
        clock::sleep(Duration::from_millis(5));
    }
}

#[test]
fn starts_serves_and_stops_without_a_trace() {
    let rig = start(&plan(2));
    let mut seen: Vec<String> = (0..40).map(|_| rig.ask()).collect();
    seen.sort();
    seen.dedup();
    let expected = |n: usize| format!("{} {} {n}", rig.pid(n).unwrap(), rig.local.core.units[n].address);
    let mut both = [expected(0), expected(1)];
    both.sort();
    assert_eq!(seen, both);
    let (median, p99) = rig.local.endpoint().link_us.unwrap();
    assert!(median >= 0.0 && p99 >= 0.0);
    let log = fs::read_to_string(rig.dir.path().join("logs/replica-1.log")).unwrap();
    assert!(log.contains("serving"), "{log}");
    assert!(rig.local.list().iter().all(|r| r.ready && r.starts == 1));

    let processes: Vec<ProcessId> =
        rig.local.list().into_iter().filter_map(|r| r.instance?.process().cloned()).collect();
    assert_eq!(rig.local.stop(), Vec::<String>::new());
    assert!(processes.iter().all(|p| p.state().is_none()));
    assert!(TcpStream::connect(rig.local.endpoint().address).is_err());
    let noted = rig.noted.0.lock().unwrap().clone();
    let ended = processes.iter().filter(|p| noted.contains(&format!("-{}", p.pid))).count();
    assert_eq!((noted.len(), ended), (6, 2), "{noted:?}");
    assert!(noted[0].starts_with("+mark ") && noted[5].starts_with("-mark "), "{noted:?}");
    assert_eq!(rig.local.stop(), Vec::<String>::new(), "again, and nothing happens");
}

#[test]
fn a_killed_replica_leaves_the_rotation_and_comes_back_later_each_time() {
    use PlatformEventKind::{Exited, NotReady, Ready, Started};
    let rig = start(&plan(2));
    let mut down_ns = Vec::new();
    for round in 1..=3u32 {
        let before = rig.local.list()[0].instance.clone().unwrap();
        let (victim, at) = rig.local.kill(0, Kill::NOW).unwrap();
        assert_eq!(victim, before);
        assert!(rig.local.is_gone(&victim));
        assert!(!rig.local.list()[0].ready);
        let answers: Vec<String> = (0..5).map(|_| rig.ask()).collect();
        if rig.local.list()[0].starts == round {
            assert!(answers.iter().all(|a| a.ends_with(" 1")), "only the other one answers");
        }
        until("comes back", || rig.local.list()[0].ready);
        let starts: Vec<Offset> = rig
            .local
            .events()
            .iter()
            .filter(|e| e.replica == Some(0))
            .filter(|e| e.kind == Started)
            .map(|e| e.at)
            .collect();
        assert_eq!(starts.len() as u32, round + 1);
        down_ns.push(starts[round as usize].since(at));
        assert_eq!(rig.local.list()[0].starts, round + 1);
        assert_ne!(rig.pid(0), victim.process().map(|p| p.pid));
    }
    let least = [200, 400, 800].map(Duration::from_millis);
    assert!(down_ns.iter().zip(least).all(|(down, least)| *down >= least), "{down_ns:?}");
    assert_eq!(rig.kinds(0)[..6], [Started, Ready, NotReady, Exited, Started, Ready]);
    assert_eq!(rig.kinds(1), [Started, Ready]);
    let exited = rig.local.events().into_iter().find(|e| e.kind == Exited).unwrap();
    assert!(exited.text.contains("was ended by signal 9 (SIGKILL)"), "{}", exited.text);
}

#[test]
fn held_down_until_released() {
    let rig = start(&plan(1));
    let (victim, _) = rig.local.hold_down(0).unwrap();
    assert!(rig.local.is_gone(&victim));
    clock::sleep(Duration::from_millis(600));
    assert_eq!(rig.local.list()[0], ReplicaView { index: 0, instance: None, ready: false, starts: 1 });
    assert_eq!(rig.local.kill(0, Kill::NOW).unwrap_err(), "replica 0 is not running");
    rig.local.release(0).unwrap();
    assert_eq!(rig.local.list()[0].starts, 2);
    rig.local.release(0).unwrap();
    until("ready again", || rig.local.list()[0].ready);
    assert_eq!(rig.local.list()[0].starts, 2, "a second release does nothing");
    assert_eq!(rig.local.kill(7, Kill::NOW).unwrap_err(), "there is no replica 7");
}

#[test]
fn a_paused_replica_is_taken_out_of_rotation_and_comes_back_when_resumed() {
    let rig = start(&plan(2));
    let (paused, _) = rig.local.pause(1).unwrap();
    until("stopped", || rig.local.is_paused(&paused));
    until("out of rotation", || !rig.local.list()[1].ready);
    assert!(rig.local.list()[0].ready, "its neighbour is polled all the same");
    assert!((0..5).all(|_| rig.ask().ends_with(" 0")));
    rig.local.resume(1).unwrap();
    until("back", || rig.local.list()[1].ready);
    assert_eq!(rig.local.list()[1].instance, Some(paused));
    rig.local.resume(1).unwrap();
    // Paused again and then stopped: SIGTERM alone would not reach it.
    rig.local.pause(1).unwrap();
    assert_eq!(rig.local.stop(), Vec::<String>::new());
    rig.local.resume(1).unwrap();
}

#[test]
fn a_kill_with_a_grace_lets_the_replica_end_by_itself() {
    let mut plan = plan(1);
    let script = "trap 'echo bye; exit 7' TERM; python3 -c \"$0\" {address} & while :; do wait; done";
    plan.command = words(&["/bin/sh", "-c", script, SERVER]);
    let rig = start(&plan);
    rig.local.kill(0, Kill { grace: Some(LONG), ..Kill::NOW }).unwrap();
    let exited = rig.local.events().into_iter().find(|e| e.kind == PlatformEventKind::Exited).unwrap();
    assert!(exited.text.ends_with("exited with status 7"), "{}", exited.text);
    until("ready again, its port free", || rig.local.list()[0].ready);
    assert_eq!(rig.local.stop(), Vec::<String>::new());
}

#[test]
fn dependencies_come_first_with_their_init_and_a_link_of_their_own() {
    let mut plan = plan(1);
    plan.env.insert("REGISTRY".into(), "http://{dependency.registry}".into());
    let script = "exec python3 -c \"$0\" {address} \"$REGISTRY\"";
    plan.command = words(&["sh", "-c", script, SERVER]);
    plan.dependencies.push(Dependency {
        name: "registry".into(),
        command: words(&["python3", "-c", SERVER, "{host}:{port}", "registry"]),
        env: BTreeMap::new(),
        init: words(&["sh", "-c", "echo {address}; cat marker"]),
        ready: ready(100),
    });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("marker"), "relative paths are the scenario's\n").unwrap();
    let rig = start_with(&plan, dir.path(), None, &|| false).unwrap_or_else(|e| panic!("{e}"));
    let answer = rig.ask();
    let registry: SocketAddr = answer.rsplit("http://").next().unwrap().parse().unwrap();
    assert!(get(registry).ends_with("registry"));
    let init = fs::read_to_string(rig.dir.path().join("logs/init-of-registry.log")).unwrap();
    assert_eq!(init, format!("{registry}\nrelative paths are the scenario's\n"));
    let started = rig.noted.0.lock().unwrap().clone();
    let order: Vec<&str> =
        started.iter().filter_map(|l| l.strip_prefix('+')?.rsplit_once(' ')).map(|(what, _)| what).collect();
    assert_eq!(order, ["mark", "dependency registry", "init of registry", "replica 0"]);

    let link = rig.local.link(Some("registry")).unwrap();
    let id = link.add(LinkFault { replicas: None, effect: LinkEffect::Reset, direction: Direction::Both });
    assert!(TcpStream::connect(registry).and_then(|mut s| s.read(&mut [0; 8])).is_err());
    assert!(rig.ask().contains("http://"), "the service's own link is another one");
    assert_eq!(rig.local.link(None).unwrap().evidence(id), LinkEvidence::default());
    assert!(rig.local.link(Some("nothing")).is_none());
}

/// One that takes connections and speaks no HTTP, as a database does; it is up after half a second.
const DATABASE: &str = "import socket, sys, time; time.sleep(0.5); host, port = sys.argv[1].split(':')\n\
                        s = socket.create_server((host, int(port)))\nwhile True: s.accept()[0].close()";

#[test]
fn a_dependency_that_calls_another_comes_after_it_and_its_init() {
    let mut plan = plan(1);
    let dependency = |name: &str, command: &[&str], init: &[&str], ready: Ready| Dependency {
        name: name.into(),
        command: words(command),
        env: BTreeMap::new(),
        init: words(init),
        ready,
    };
    let connect = Ready { path: None, ..ready(50) };
    let made = ["sh", "-c", "touch made"];
    plan.dependencies.push(dependency("database", &["python3", "-c", DATABASE, "{address}"], &made, connect));
    // Without the database and its init this one ends at once, and the platform does not start.
    let script = "test -e made && exec python3 -c \"$0\" {address} {dependency.database}";
    plan.dependencies.push(dependency("registry", &["sh", "-c", script, SERVER], &[], ready(50)));
    let rig = start(&plan);
    let started = rig.noted.0.lock().unwrap().clone();
    let order: Vec<&str> =
        started.iter().filter_map(|l| l.strip_prefix('+')?.rsplit_once(' ')).map(|(what, _)| what).collect();
    assert_eq!(order, ["mark", "dependency database", "init of database", "dependency registry", "replica 0"]);
    assert!(rig.local.link(Some("database")).is_some() && rig.local.link(Some("registry")).is_some());
}

#[test]
fn says_why_it_did_not_start() {
    let failing = |change: fn(&mut LocalPlatform)| {
        let mut plan = plan(2);
        change(&mut plan);
        let error = try_start(&plan).err().expect("must not start");
        assert_eq!(error.left, Vec::<String>::new());
        assert!(!error.interrupted);
        error.message
    };
    let message = failing(|p| p.command = words(&["no-such-server", "{address}"]));
    assert!(
        message.ends_with("`no-such-server` was not found in PATH: install it, or write its whole path in `command`"),
        "{message}"
    );

    let message =
        failing(|p| p.command = words(&["sh", "-c", "echo loading; echo '\x1b[31mno model\x1b[0m' >&2; exit 3"]));
    assert!(message.contains("exited with status 3 before it was ready"), "{message}");
    assert!(message.ends_with("\n  | loading\n  | no model"), "{message}");

    let message = failing(|p| {
        p.command = words(&["sh", "-c", "echo waiting for what never comes; exec sleep 1000"]);
        p.ready.timeout = Duration::from_millis(1500);
    });
    assert!(
        message.starts_with("replica 0 (and 1 more) was not ready within 1.5s; last poll: GET http://127."),
        "{message}"
    );
    assert!(message.contains("hint: it must listen on {address}, here 127."), "{message}");
    assert!(message.ends_with("\n  | waiting for what never comes"), "{message}");

    let message = failing(|p| {
        p.env.insert("STATUS".into(), "503".into());
        p.ready.timeout = Duration::from_millis(2500);
    });
    assert!(message.contains("/ping: status 503") || message.contains("refused"), "{message}");

    let message = failing(|p| {
        p.dependencies.push(Dependency {
            name: "store".into(),
            command: p.command.clone(),
            env: BTreeMap::new(),
            init: words(&["sh", "-c", "echo no table; exit 1"]),
            ready: ready(100),
        })
    });
    assert!(
        message.starts_with("init of store exited with status 1\n") && message.ends_with("\n  | no table"),
        "{message}"
    );
}

#[test]
fn can_be_stopped_while_it_starts() {
    let mut plan = plan(1);
    plan.command = words(&["sleep", "1000"]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let started = scope.spawn(|| start_with(&plan, Path::new("/"), None, &|| stop.load(Ordering::Relaxed)).err());
        clock::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        let error = started.join().unwrap().expect("must not start");
        assert!(error.interrupted && error.left.is_empty(), "{error}");
    });
}

#[test]
fn a_port_that_somebody_else_took_is_named_and_the_replica_comes_back_when_it_is_free() {
    let rig = start(&plan(1));
    let address = rig.local.core.units[0].address;
    rig.local.hold_down(0).unwrap();
    // Until the connections of the dead process are gone for good, nobody can listen there without SO_REUSEADDR.
    let thief = std::net::TcpListener::bind(address).unwrap();
    assert!(rig.local.release(0).unwrap_err().contains("is taken by another program"));
    drop(thief);
    until("it comes back", || rig.local.list()[0].ready);
}

#[test]
fn ends_what_left_its_process_group() {
    let mut plan = plan(1);
    let script = "setsid sleep 1000 & echo $! > \"$1\"; exec python3 -c \"$0\" {address}";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    plan.command = words(&["sh", "-c", script, SERVER, file.to_str().unwrap()]);
    let rig = start(&plan);
    let escaped = ProcessId::of(fs::read_to_string(file).unwrap().trim().parse().unwrap()).unwrap();
    assert!(escaped.is_alive());
    assert_eq!(rig.local.stop(), Vec::<String>::new());
    assert!(!escaped.is_alive());
}

struct NoVolume;

impl VolumeControl for NoVolume {
    fn add(&self, _: VolumeFault) -> u64 {
        1
    }
    fn remove(&self, _: u64) -> bool {
        true
    }
    fn evidence(&self, _: u64) -> VolumeEvidence {
        VolumeEvidence::default()
    }
    fn active(&self) -> usize {
        0
    }
}

#[test]
fn a_replica_that_may_write_has_a_copy_that_goes_with_it() {
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("model.bin"), "weights").unwrap();
    let mut plan = plan(2);
    plan.volume = Some(volume.path().to_owned());
    plan.writable = true;
    plan.command.push("{volume}".into());
    let rig = start(&plan);
    let copy = PathBuf::from(rig.ask().rsplit(' ').next().unwrap());
    assert_eq!(fs::read_to_string(copy.join("model.bin")).unwrap(), "weights");
    fs::write(copy.join("model.bin"), "changed").unwrap();
    fs::write(copy.join("new"), "").unwrap();
    let private = copy.parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(&private).unwrap().count(), 2, "one for each");
    assert_eq!(rig.local.stop(), Vec::<String>::new());
    assert!(!private.exists());
    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(volume.path().join("model.bin")).unwrap(), "weights");
}

#[test]
fn each_replica_has_a_view_of_the_volume_and_the_ledger_knows_it() {
    let volume = tempfile::tempdir().unwrap();
    let mut plan = plan(2);
    plan.volume = Some(volume.path().to_owned());
    plan.command.push("{volume}".into());
    let original = start(&plan);
    assert!(original.ask().ends_with(volume.path().to_str().unwrap()), "without views: the volume itself");
    assert!(original.local.volume(0).is_none());

    let mount: MountVolume = |source, at| {
        assert!(source.is_dir() && fs::read_dir(at).unwrap().next().is_none());
        Ok(MountedVolume { control: Arc::new(NoVolume), unmount: Box::new(|| Ok(())) })
    };
    let rig = start_with(&plan, Path::new("/"), Some(mount), &|| false).unwrap_or_else(|e| panic!("{e}"));
    let answer = rig.ask();
    let view = PathBuf::from(answer.rsplit(' ').next().unwrap());
    assert!(view.is_dir() && view.parent().unwrap() != volume.path());
    assert!(rig.local.volume(1).is_some() && rig.local.volume(2).is_none());
    assert_eq!(rig.local.stop(), Vec::<String>::new());
    assert!(!view.parent().unwrap().exists() && volume.path().is_dir());
    let noted = rig.noted.0.lock().unwrap().clone();
    let mounts: Vec<&str> =
        noted.iter().filter(|l| l.contains("mount")).map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(mounts, ["+mount", "+mount", "-mount", "-mount"]);

    let broken: MountVolume = |_, _| Err("no /dev/fuse here".into());
    let error = start_with(&plan, Path::new("/"), Some(broken), &|| false).err().unwrap();
    assert!(error.message.ends_with("no /dev/fuse here") && error.left.is_empty(), "{error}");
}

/// Not a test by itself: the parent that `children_end_with_a_parent_that_is_killed` kills.
#[test]
fn a_parent_to_be_killed() {
    if std::env::var_os("RESBENCH_TEST_PARENT").is_none() {
        return;
    }
    let rig = start(&plan(2));
    let pids: Vec<String> = (0..2).map(|n| rig.pid(n).unwrap().to_string()).collect();
    // Not by a macro: the harness would keep it.
    writeln!(io::stderr(), "children {}", pids.join(" ")).unwrap();
    clock::sleep(LONG);
}

#[test]
fn children_end_with_a_parent_that_is_killed() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["platform::local::tests::a_parent_to_be_killed", "--exact", "--nocapture"])
        .env("RESBENCH_TEST_PARENT", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stderr.take().unwrap()).lines();
    let line = lines.find_map(|l| l.unwrap().strip_prefix("children ").map(str::to_owned)).unwrap();
    let children: Vec<ProcessId> = line.split(' ').map(|pid| ProcessId::of(pid.parse().unwrap()).unwrap()).collect();
    assert!(children.len() == 2 && children.iter().all(ProcessId::is_alive));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("both are gone", || !children.iter().any(ProcessId::is_alive));
}
