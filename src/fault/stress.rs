//! Burners: child processes of this program that use up CPU time or memory beside a replica.
//!
//! Each is this very program (`resbench stress-internal …`) in the replica's own control group where it has one, on the
//! CPUs that it is given. The kernel ends it with us; its mark in the environment, which the journal holds before it is
//! started, finds it in any case. Owns its start, its work and its end; what it must use to count, its fault says
//! (`cpu_stress.rs`, `memory_stress.rs`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::injector::Undo;
use crate::clock;
use crate::platform::process::{self, ProcessId, Spawn};
use crate::platform::{Instance, Ledger, cgroup};

/// The hidden subcommand of a burner; it must do nothing but [`run`].
pub const SUBCOMMAND: &str = "stress-internal";

/// In the environment of every burner, with the run's id and the fault's name.
const MARK: &str = "RESBENCH_STRESS";

/// What one says when it begins.
const READY: &str = "ready";

/// How long one may take to begin, and to go.
const START_TIMEOUT: Duration = Duration::from_secs(5);
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// In each of these a burner works for its share, then sleeps: short enough that no request waits for its turn much
/// longer than beside a steady load.
const PERIOD: Duration = Duration::from_millis(50);

/// A burner that was kept from its CPU makes up for no more than this.
const MOST_OWED: Duration = Duration::from_millis(500);

/// Memory is taken in pieces of this size.
const PIECE: usize = 16 << 20;
const PATTERN: [u8; 4096] = [0xA5; 4096];

/// What a burner does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// Uses this share of one CPU: above 0, at most 1.
    Cpu(f64),
    /// Holds this many bytes.
    Memory(u64),
}

/// The whole life of a burner, which it never ends by itself.
///
/// # Errors
/// When it could not begin.
pub fn run(task: Task, cgroups: &[PathBuf]) -> Result<Infallible, String> {
    let _ = rustix::thread::set_name(c"resbench-stress");
    for group in cgroups {
        let file = group.join("cgroup.procs");
        // 0 is whoever writes it.
        std::fs::write(&file, "0").map_err(|e| format!("the replica's control group: {}: {e}", file.display()))?;
    }
    if matches!(task, Task::Memory(_)) {
        // Should memory run out it goes first, not the replica. More of it is always permitted.
        std::fs::write("/proc/self/oom_score_adj", "1000").map_err(|e| format!("/proc/self/oom_score_adj: {e}"))?;
    }
    let mut stdout = std::io::stdout();
    let told = stdout.write_all(format!("{READY}\n").as_bytes()).and_then(|()| stdout.flush());
    told.map_err(|e| format!("stdout: {e}"))?;
    match task {
        Task::Cpu(share) => {
            let mut owed = Duration::ZERO;
            loop {
                owed = burn(share, owed);
            }
        }
        Task::Memory(bytes) => hold(bytes),
    }
}

/// One period. Takes what earlier ones could not get, on a crowded CPU; gives what is owed after it.
fn burn(share: f64, owed: Duration) -> Duration {
    let until = clock::monotonic_nanos() + PERIOD.as_nanos() as u64;
    let enough = clock::thread_cpu() + PERIOD.mul_f64(share.clamp(0.0, 1.0)) + owed;
    let mut sum = 1u64;
    while clock::thread_cpu() < enough && clock::monotonic_nanos() < until {
        for n in 0..2_000u64 {
            sum = std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n));
        }
    }
    let owed = enough.saturating_sub(clock::thread_cpu()).min(MOST_OWED);
    clock::sleep(Duration::from_nanos(until.saturating_sub(clock::monotonic_nanos())));
    owed
}

fn hold(bytes: u64) -> Result<Infallible, String> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut left = usize::try_from(bytes).map_err(|e| format!("{bytes} bytes: {e}"))?;
    while left > 0 {
        let size = left.min(PIECE);
        let mut piece = Vec::new();
        piece.try_reserve_exact(size).map_err(|e| format!("{bytes} bytes: {e}"))?;
        // Written to, or the kernel would only promise it.
        while piece.len() < size {
            piece.extend_from_slice(&PATTERN[..PATTERN.len().min(size - piece.len())]);
        }
        held.push(piece);
        left -= size;
    }
    loop {
        std::hint::black_box(&held);
        clock::sleep(Duration::from_secs(3600));
    }
}

/// The burners of one fault.
pub(super) struct Burners {
    mark: String,
    ledger: Arc<dyn Ledger>,
    pub(super) all: Vec<Burner>,
    keeper: Option<Keeper>,
}

/// One of them.
pub(super) struct Burner {
    pub(super) replica: u16,
    pub(super) process: ProcessId,
    /// The most that was seen.
    pub(super) cpu: Duration,
    pub(super) resident: u64,
    child: Child,
}

/// Where one is to be started.
pub(super) struct Beside<'a> {
    pub(super) replica: u16,
    /// What plays it.
    pub(super) instance: Option<&'a Instance>,
    pub(super) cpus: &'a [usize],
}

/// The kernel ends children with the *thread* that started them, and a fault's own thread may end before the fault.
struct Keeper {
    /// It ends when this goes.
    hold: Sender<()>,
    thread: JoinHandle<()>,
}

struct ToStart {
    replica: u16,
    argv: Vec<String>,
    cpus: Vec<usize>,
}

type Started = Result<(u16, Child, ProcessId, PipeReader), String>;

impl Burners {
    /// None yet. `mark` tells them from those of every other fault of every run.
    pub(super) fn new(mark: String, ledger: Arc<dyn Ledger>) -> Burners {
        Burners { mark, ledger, all: Vec::new(), keeper: None }
    }

    /// What ends all of them, also for others.
    pub(super) fn undo(&self) -> Undo {
        Undo::EndMarked { key: MARK.to_owned(), value: self.mark.clone() }
    }

    /// Starts one for each; all have begun when it returns. What was started before an error is ended by [`Burners::end`].
    pub(super) fn start(&mut self, task: Task, places: &[Beside<'_>]) -> Result<(), String> {
        let begin = |place: &Beside<'_>| ToStart {
            replica: place.replica,
            // The program that runs now, even when its file has been replaced since.
            argv: arguments("/proc/self/exe", task, place.instance),
            cpus: place.cpus.to_vec(),
        };
        self.start_all(places.iter().map(begin).collect())
    }

    fn start_all(&mut self, what: Vec<ToStart>) -> Result<(), String> {
        let (hold, held) = channel();
        let (tell, told) = channel();
        let (mark, ledger, wanted) = (self.mark.clone(), self.ledger.clone(), what.len());
        let thread = std::thread::Builder::new().name("burners".to_owned());
        let keep = move || keeper(what, &mark, &*ledger, tell, &held);
        let thread = thread.spawn(keep).map_err(|e| format!("no thread for its processes: {e}"))?;
        self.keeper = Some(Keeper { hold, thread });
        let mut outputs = Vec::new();
        for started in told.iter().take(wanted) {
            let (replica, child, process, output) = started?;
            outputs.push(output);
            self.all.push(Burner { replica, process, cpu: Duration::ZERO, resident: 0, child });
        }
        let give_up = clock::monotonic_nanos() + START_TIMEOUT.as_nanos() as u64;
        outputs.iter_mut().try_for_each(|output| until_ready(output, give_up))
    }

    /// Looks at what they have used.
    pub(super) fn look(&mut self) {
        for burner in &mut self.all {
            burner.cpu = burner.cpu.max(burner.process.cpu_time().unwrap_or_default());
            burner.resident = burner.resident.max(burner.process.resident().unwrap_or_default());
        }
    }

    /// Ends them. Idempotent.
    pub(super) fn end(&mut self) -> Result<(), String> {
        let mut problems = Vec::new();
        for burner in &mut self.all {
            match burner.process.end(END_TIMEOUT) {
                Ok(()) => {
                    let _ = burner.child.wait();
                    self.ledger.process_ended(&burner.process);
                }
                Err(why) => problems.push(why),
            }
        }
        if let Some(Keeper { hold, thread }) = self.keeper.take() {
            drop(hold);
            let _ = thread.join();
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// Those that still run, with the cure.
    pub(super) fn residue(&self) -> Vec<String> {
        let alive = self.all.iter().filter(|b| b.process.is_alive());
        alive.map(|b| format!("process {0} still burns; end it: kill -9 {0}", b.process.pid)).collect()
    }

    /// "replica 0, 2".
    pub(super) fn replicas(&self) -> String {
        let mut replicas: Vec<u16> = self.all.iter().map(|b| b.replica).collect();
        replicas.dedup();
        format!("replica {}", replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        // Whoever forgot them could not be told either.
        let _ = self.end();
    }
}

fn arguments(program: &str, task: Task, instance: Option<&Instance>) -> Vec<String> {
    let (what, amount, controller) = match task {
        Task::Cpu(share) => ("--cpu", share.to_string(), "cpu"),
        Task::Memory(bytes) => ("--memory", bytes.to_string(), "memory"),
    };
    let group = instance.and_then(Instance::process).and_then(|process| cgroup::apart(process, controller));
    let mut args = [program, SUBCOMMAND, what, &amount].map(str::to_owned).to_vec();
    args.extend(group.into_iter().flat_map(|dir| ["--cgroup".to_owned(), dir.to_string_lossy().into_owned()]));
    args
}

fn keeper(what: Vec<ToStart>, mark: &str, ledger: &dyn Ledger, tell: Sender<Started>, held: &Receiver<()>) {
    let env = BTreeMap::from([(MARK.to_owned(), mark.to_owned())]);
    for ToStart { replica, argv, cpus } in &what {
        let started = start_one(argv, &env, cpus).map(|(child, process, output)| {
            ledger.process_started(&format!("burner beside replica {replica}"), &process);
            (*replica, child, process, output)
        });
        if tell.send(started).is_err() {
            return;
        }
    }
    drop(tell);
    // Until the other end goes.
    let _ = held.recv();
}

fn start_one(
    argv: &[String],
    env: &BTreeMap<String, String>,
    cpus: &[usize],
) -> Result<(Child, ProcessId, PipeReader), String> {
    let (reader, writer) = std::io::pipe().map_err(|e| format!("no pipe for its output: {e}"))?;
    let (child, process) = process::spawn(&Spawn { argv, env, dir: Path::new("/"), cpus, output: writer.into() })?;
    Ok((child, process, reader))
}

fn until_ready(output: &mut PipeReader, give_up: u64) -> Result<(), String> {
    let (mut said, mut chunk) = (Vec::new(), [0u8; 512]);
    loop {
        let left = give_up.saturating_sub(clock::monotonic_nanos());
        let text = String::from_utf8_lossy(&said);
        if text.lines().any(|line| line == READY) {
            return Ok(());
        }
        if left == 0 {
            return Err(format!("a process beside a replica did not begin within {} s", START_TIMEOUT.as_secs()));
        }
        if matches!(poll(&mut [PollFd::new(&*output, PollFlags::IN)], Some(&clock::timespec(left))), Ok(n) if n > 0) {
            match output.read(&mut chunk) {
                Ok(n @ 1..) => said.extend_from_slice(&chunk[..n]),
                _ => return Err(format!("a process beside a replica ended at once: {}", text.trim())),
            }
        }
    }
}

/// For tests: burners that are shells.
#[cfg(test)]
impl Burners {
    pub(super) fn start_shells(&mut self, scripts: &[&str]) -> Result<(), String> {
        let shell = |(n, script): (usize, &&str)| ToStart {
            replica: n as u16,
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            cpus: Vec::new(),
        };
        self.start_all(scripts.iter().enumerate().map(shell).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::doubles::Bench;
    use super::super::journal::Place;
    use super::super::undo::{UndoDone, perform};
    use super::*;

    fn burners(bench: &Bench) -> Burners {
        Burners::new(format!("test.{}", bench.dir.path().display()), bench.journal.clone())
    }

    #[test]
    fn they_stand_in_the_ledger_work_and_end() {
        let bench = Bench::new(vec![], 100);
        let mut burners = burners(&bench);
        burners.start_shells(&["echo ready; while :; do :; done", "echo ready; sleep 1000"]).unwrap();
        assert_eq!(bench.journal.open_items(), ["burner beside replica 0", "burner beside replica 1"]);
        assert_eq!(burners.residue().len(), 2);
        let give_up = clock::monotonic_nanos() + 60_000_000_000;
        while burners.all[0].cpu < Duration::from_millis(50) {
            assert!(clock::monotonic_nanos() < give_up, "it never got the CPU");
            clock::sleep(Duration::from_millis(5));
            burners.look();
        }
        assert!(burners.all.iter().all(|b| b.resident > 0));
        assert_eq!(burners.replicas(), "replica 0, 1");
        burners.end().unwrap();
        burners.end().unwrap();
        assert_eq!((burners.residue(), bench.journal.open_items()), (vec![], vec![]));
    }

    #[test]
    fn others_find_them_by_their_mark() {
        let bench = Bench::new(vec![], 100);
        let mut burners = burners(&bench);
        burners.start_shells(&["echo ready; exec sleep 1000"]).unwrap();
        assert_eq!(perform(&burners.undo(), Place::Here), Ok(UndoDone::Done));
        assert!(burners.residue().is_empty());
        burners.end().unwrap();
        assert_eq!(perform(&burners.undo(), Place::Here), Ok(UndoDone::GoneAlready));
    }

    #[test]
    fn one_that_cannot_begin_says_why_and_takes_the_others_with_it() {
        let bench = Bench::new(vec![], 100);
        let mut burners = burners(&bench);
        let why = burners.start_shells(&["echo ready; sleep 1000", "echo no room >&2; exit 1"]).unwrap_err();
        assert!(why.contains("ended at once: no room"), "{why}");
        let first = burners.all[0].process.clone();
        drop(burners);
        assert!(!first.is_alive());
        assert_eq!(bench.journal.open_items(), [""; 0]);
    }

    #[test]
    fn a_period_costs_its_share() {
        let before = clock::thread_cpu();
        let owed = (0..4).fold(Duration::ZERO, |owed, _| burn(0.2, owed));
        let (used, asked) = (clock::thread_cpu() - before, PERIOD * 4 / 5);
        assert!(used + owed >= asked, "used {used:?}, owes {owed:?}, of {asked:?}");
        assert!(used < PERIOD * 4 / 2, "asked for {asked:?}, used {used:?}");
        assert_eq!(burn(1.0, Duration::from_secs(60)), MOST_OWED, "what it makes up for has a limit");
    }
}
