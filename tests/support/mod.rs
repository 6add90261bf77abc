//! For the end-to-end tests: the real binary in a room of its own (scenario, reports, state and runtime folders), how its
//! results are read, and how many runs may share this machine at once.

#![allow(dead_code, unreachable_pub, reason = "a module of several test binaries, each of which uses a part of it")]

pub mod command;
pub mod https;
pub mod load;
pub mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use resbench::clock::{monotonic_nanos, sleep};
use serde_json::Value;

/// The binary under test.
pub const RESBENCH: &str = env!("CARGO_BIN_EXE_resbench");

/// No single run of these tests takes longer, however busy the machine is; one that does hangs, and is killed.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// Seats for runs on this machine: light ones take one, heavy ones all.
const SEATS: usize = 3;
static TAKEN: Mutex<usize> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

/// Seats that are given back when this goes.
pub struct Seats(usize);

impl Drop for Seats {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        LEFT.notify_all();
    }
}

fn seats(n: usize) -> Seats {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = LEFT.wait_while(taken, |taken| *taken + n > SEATS).unwrap_or_else(PoisonError::into_inner);
    *taken += n;
    Seats(n)
}

/// Beside a few others.
pub fn light() -> Seats {
    seats(1)
}

/// With the machine to itself, as far as these tests go.
pub fn alone() -> Seats {
    seats(SEATS)
}

/// Seconds since some moment.
pub fn now() -> f64 {
    monotonic_nanos() as f64 / 1e9
}

/// Waits, at most a minute, until something is so; panics with its name otherwise.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = now() + 60.0;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < give_up, "not within 60 s: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// A file of this repository.
pub fn shipped(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// A place of its own for one test.
pub struct Room {
    /// Scenario and what it names; also the folder that `reports`, `state` and `runtime` stand in.
    pub dir: tempfile::TempDir,
}

/// How a run ended.
pub struct Ran {
    /// Exit code; 128 + signal when it was killed.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// Seconds.
    pub took: f64,
    /// Its `run.json`, and where it stands.
    pub report: Option<(Value, PathBuf)>,
    /// Where a helper keeps the room whose files are still to be looked at.
    pub room: Option<Room>,
}

/// A run that goes on.
pub struct Running {
    pub child: Child,
    started: f64,
    readers: Vec<std::thread::JoinHandle<String>>,
    before: Vec<PathBuf>,
    reports: PathBuf,
}

impl Room {
    pub fn new() -> Room {
        let dir = tempfile::Builder::new().prefix("resbench-e2e-").tempdir().expect("a temporary folder");
        for name in ["reports", "state", "runtime"] {
            fs::create_dir(dir.path().join(name)).expect("a folder");
        }
        Room { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// The binary, with everything that it keeps in this room.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_by(RESBENCH, args)
    }

    /// As `command`, started by another program (`taskset`).
    pub fn command_by(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.path("state")).env("XDG_RUNTIME_DIR", self.path("runtime"));
        command.env("HOME", self.dir.path()).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        command
    }

    /// `resbench run` of this scenario, to its end.
    pub fn run(&self, scenario: &str) -> Ran {
        self.start(scenario).wait()
    }

    /// `resbench run` of this scenario, named as people do: from the folder that it is in.
    pub fn start(&self, scenario: &str) -> Running {
        self.write("s.toml", scenario);
        self.spawn(self.command(&["run", "s.toml"]))
    }

    /// Any command of the binary, to its end.
    pub fn call(&self, args: &[&str]) -> Ran {
        self.spawn(self.command(args)).wait()
    }

    pub fn spawn(&self, mut command: Command) -> Running {
        let reports = self.path("reports");
        let before = runs_in(&reports);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("resbench starts");
        fn all(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
            let mut from = from.expect("a pipe");
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = from.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        }
        let readers = vec![all(child.stdout.take()), all(child.stderr.take())];
        Running { child, started: now(), readers, before, reports }
    }

    /// Live journals.
    pub fn journals(&self) -> Vec<PathBuf> {
        let dir = fs::read_dir(self.path("state/resbench")).into_iter().flatten().flatten();
        dir.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "jsonl")).collect()
    }
}

fn runs_in(reports: &Path) -> Vec<PathBuf> {
    let inside = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    inside(reports).iter().flat_map(|name| inside(name)).collect()
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("our own child takes signals");
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    pub fn wait(mut self) -> Ran {
        let give_up = now() + RUN_LIMIT.as_secs_f64();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            if now() > give_up {
                let _ = self.child.kill();
                panic!("resbench hangs: {:?}", self.child.wait());
            }
            sleep(Duration::from_millis(5));
        };
        let took = now() - self.started;
        let mut texts = self.readers.into_iter().map(|r| r.join().unwrap_or_default());
        let (stdout, stderr) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        let fresh = runs_in(&self.reports).into_iter().find(|run| !self.before.contains(run));
        let report = fresh.and_then(|dir| {
            let text = fs::read_to_string(dir.join("run.json")).ok()?;
            Some((serde_json::from_str(&text).expect("run.json is JSON"), dir))
        });
        use std::os::unix::process::ExitStatusExt;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let ran = Ran { code, stdout, stderr, took, report, room: None };
        ran.sums_are_equal();
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran
    }
}

impl Ran {
    pub fn json(&self) -> &Value {
        &self.report.as_ref().unwrap_or_else(|| panic!("no report: {self}")).0
    }

    pub fn dir(&self) -> &Path {
        &self.report.as_ref().unwrap_or_else(|| panic!("no report: {self}")).1
    }

    pub fn file(&self, name: &str) -> String {
        let path = self.dir().join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn phase(&self, name: &str) -> Span {
        Span(named(&self.json()["phases"], name).clone())
    }

    pub fn span(&self, name: &str) -> Span {
        Span(named(&self.json()["spans"], name).clone())
    }

    pub fn fault(&self, name: &str) -> &Value {
        named(&self.json()["faults"], name)
    }

    /// `reasons`, one a line.
    pub fn reasons(&self) -> String {
        let all = self.json()["reasons"].as_array().expect("reasons");
        all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The code, with everything that was said where it is another one.
    #[track_caller]
    pub fn ends(&self, code: i32) -> &Ran {
        assert_eq!(self.code, code, "{self}");
        if let Some((report, _)) = &self.report {
            assert_eq!(report["exit_code"], code, "run.json says another code than the shell got");
        }
        self
    }

    /// `planned = ok + Σ errors + shed`, of every phase and every span of every report of every test.
    fn sums_are_equal(&self) {
        let Some((report, _)) = &self.report else { return };
        for list in ["phases", "spans"] {
            for span in report[list].as_array().expect("a list").iter().cloned().map(Span) {
                let ended = span.n("ok") + span.errors().values().sum::<u64>() + span.n("shed");
                assert_eq!(span.n("planned"), ended, "{}", span.0);
            }
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "exit code {} after {:.1} s\nstdout: {}\nstderr: {}",
            self.code, self.took, self.stdout, self.stderr
        )?;
        let Some((report, _)) = &self.report else { return f.write_str("no report") };
        let list = |key: &str| serde_json::to_string_pretty(&report[key]).unwrap_or_default();
        writeln!(f, "reasons {}\nfaults {}", list("reasons"), list("faults"))?;
        for span in report["phases"].as_array().into_iter().flatten() {
            writeln!(
                f,
                "{}: planned {} ok {} shed {} errors {}",
                span["name"], span["planned"], span["ok"], span["shed"], span["errors"]
            )?;
        }
        Ok(())
    }
}

#[track_caller]
fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    let all = list.as_array().expect("a list");
    all.iter().find(|v| v["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {list}"))
}

/// One phase or span of a `run.json`.
pub struct Span(pub Value);

impl Span {
    #[track_caller]
    pub fn n(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("{key} of {}", self.0))
    }

    pub fn errors(&self) -> BTreeMap<String, u64> {
        let all = self.0["errors"].as_object().expect("errors");
        all.iter().map(|(class, n)| (class.clone(), n.as_u64().expect("a count"))).collect()
    }

    pub fn error(&self, class: &str) -> u64 {
        self.errors().get(class).copied().unwrap_or(0)
    }

    /// A percentile of a distribution in seconds; infinite where it is null.
    pub fn seconds(&self, of: &str, quantile: &str) -> f64 {
        self.0[of][quantile].as_f64().map_or(f64::INFINITY, |us| us / 1e6)
    }
}
