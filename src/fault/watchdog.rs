//! A small process that outlives ours: when we die without a word (`kill -9`), it undoes what our journal holds.
//!
//! It is this very program, started before anything else is (`resbench watchdog-internal --journal FILE`), in a session
//! of its own, and waits at the end of a pipe that only we hold open. Owns its start, its wait and its end; what is
//! undone and how stands in `undo.rs`. It reads its commands' variables from the environment that it was started with.

use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::journal::OpenJournal;
use super::undo::{self, RevertOutcome};
use crate::clock;

/// The hidden subcommand that [`Watchdog::start`] calls, with `--journal FILE`; it must do nothing but [`run`].
pub const SUBCOMMAND: &str = "watchdog-internal";

/// What it says when it stands.
const READY: &str = "ready";

/// How long it may take to go once it is let go.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Our end of it. When this value goes, or our process does, it wakes.
#[derive(Debug)]
pub struct Watchdog {
    child: Mutex<Child>,
    /// Closed on exec (as all files of the standard library are), so that no child of ours holds it open after us.
    leash: Mutex<Option<PipeWriter>>,
}

impl Watchdog {
    /// Starts one over this journal, before anything is written into it but its header. Returns when it stands.
    ///
    /// # Errors
    /// When it could not be started; nothing should be broken then.
    pub fn start(journal: &Path) -> Result<Watchdog, String> {
        // The program that runs now, even when its file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("resbench").arg(SUBCOMMAND).arg("--journal").arg(journal);
        // It works in the root folder, where relative paths would lead elsewhere.
        if let Some(paths) = std::env::var_os("KUBECONFIG") {
            let whole = std::env::split_paths(&paths).map(|p| std::path::absolute(&p).unwrap_or(p));
            command.env("KUBECONFIG", std::env::join_paths(whole).unwrap_or(paths));
        }
        Watchdog::start_as(command)
    }

    fn start_as(mut command: Command) -> Result<Watchdog, String> {
        let problem = |e: &dyn std::fmt::Display| format!("the watchdog could not be started: {e}");
        let (held, leash) = std::io::pipe().map_err(|e| problem(&e))?;
        command.stdin(held).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
        let mut child = command.spawn().map_err(|e| problem(&e))?;
        let said = BufReader::new(child.stdout.take().ok_or("the watchdog has no output")?);
        let ready = said.lines().map_while(Result::ok).any(|line| line == READY);
        if !ready {
            let _ = child.kill();
            let status = child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
            return Err(problem(&format!("it ended at once ({status})")));
        }
        Ok(Watchdog { child: Mutex::new(child), leash: Mutex::new(Some(leash)) })
    }

    /// Sees to it that one stands over this journal, as the first did; true when another had to be started, because somebody had
    /// ended it.
    ///
    /// # Errors
    /// When none does; nothing more should be broken then.
    pub fn keep(&self, journal: &Path) -> Result<bool, String> {
        if self.is_alive() {
            return Ok(false);
        }
        let Watchdog { child, leash } = Watchdog::start(journal)
            .map_err(|why| format!("somebody has ended the watchdog, and no other stands: {why}"))?;
        *lock(&self.child) = child.into_inner().unwrap_or_else(PoisonError::into_inner);
        *lock(&self.leash) = leash.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(true)
    }

    /// It still stands.
    fn is_alive(&self) -> bool {
        let mut child = lock(&self.child);
        matches!(child.try_wait(), Ok(None))
    }

    /// Lets it go after `Journal::finish`, and waits until it went. `finished` says that the journal was brought to its end:
    /// then there is nothing that it could undo, and one that got no CPU for 5 s is killed.
    ///
    /// # Errors
    /// When it is still there after 5 s and may be undoing something.
    pub fn stop(mut self, finished: bool) -> Result<(), String> {
        drop(lock(&self.leash).take());
        let give_up = clock::monotonic_nanos() + STOP_TIMEOUT.as_nanos() as u64;
        while self.is_alive() {
            if clock::monotonic_nanos() > give_up {
                if finished {
                    let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
                    return child
                        .kill()
                        .and_then(|()| child.wait())
                        .map(drop)
                        .map_err(|e| format!("the watchdog: {e}"));
                }
                return Err("the watchdog does not end; it still waits for the journal to be let go".to_owned());
            }
            clock::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole life of the watchdog process. Returns what it undid; none when there was nothing to do.
///
/// # Errors
/// When it could not stand guard, or the journal could not be taken.
pub fn run(journal: &Path) -> Result<Option<RevertOutcome>, String> {
    detach()?;
    // On a line of its own, whatever stands before it.
    let mut stdout = std::io::stdout();
    let told = stdout.write_all(format!("\n{READY}\n").as_bytes()).and_then(|()| stdout.flush());
    told.map_err(|e| format!("stdout: {e}"))?;
    let mut leash = std::io::stdin();
    let _ = leash.read_to_end(&mut Vec::new());
    let journal = OpenJournal::wait_for(journal)?;
    Ok(journal.filter(|j| !j.finished).map(|journal| undo::revert_journal(journal, &mut |_| true)))
}

/// Away from the terminal, its signals, the parent's folder and files.
fn detach() -> Result<(), String> {
    for fd in inherited().map_err(|e| format!("/proc/self/fd: {e}"))? {
        #[expect(
            unsafe_code,
            reason = "files that we inherited have no owner in this program; only their number is known"
        )]
        // SAFETY: called before this process opened anything, so the number belongs to nobody else here, and the
        // value made of it is dropped at once.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    // Handled, not ignored: what is ignored stays so in the undo commands that are started from here.
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let never_read = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, never_read).map_err(|e| format!("signal {signal}: {e}"))?;
    }
    rustix::process::setsid().map_err(|e| format!("setsid: {e}"))?;
    std::env::set_current_dir("/").map_err(|e| format!("/: {e}"))
}

/// Open files beyond the standard three that an exec does not close: not opened by this program.
fn inherited() -> std::io::Result<Vec<RawFd>> {
    let is_ours = |fd: RawFd| {
        let info = std::fs::read_to_string(PathBuf::from(format!("/proc/self/fdinfo/{fd}"))).unwrap_or_default();
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
        let flags = flags.and_then(|f| u32::from_str_radix(f.trim(), 8).ok());
        flags.is_none_or(|f| f & rustix::fs::OFlags::CLOEXEC.bits() != 0)
    };
    let fds = std::fs::read_dir("/proc/self/fd")?.flatten();
    let fds = fds.filter_map(|e| e.file_name().to_str()?.parse().ok());
    Ok(fds.filter(|fd| *fd > 2 && !is_ours(*fd)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::injector::{TargetRef, Undo};
    use crate::fault::journal::{Header, Journal};
    use crate::platform::Ledger;
    use crate::platform::process::{ProcessId, Signal};
    use tempfile::tempdir;

    const JOURNAL: &str = "RESBENCH_TEST_JOURNAL";
    const DIR: &str = "RESBENCH_TEST_DIR";

    /// This test program again, as one of the roles below.
    fn role(name: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args([&format!("fault::watchdog::tests::{name}"), "--exact", "--ignored", "--nocapture"]);
        command
    }

    fn watchdog(journal: &Path) -> Watchdog {
        let mut command = role("role_watchdog");
        command.env(JOURNAL, journal);
        Watchdog::start_as(command).unwrap()
    }

    fn until(what: impl Fn() -> bool) {
        let give_up = clock::monotonic_nanos() + 30_000_000_000;
        while !what() {
            assert!(clock::monotonic_nanos() < give_up, "did not come true within 30 s");
            clock::sleep(Duration::from_millis(5));
        }
    }

    fn begin(dir: &Path) -> Journal {
        Journal::begin(dir, Header::new("r1", "test", vec![]), &[]).unwrap()
    }

    fn group_of_two() -> (Child, ProcessId) {
        let child = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000"]).process_group(0).spawn().unwrap();
        let process = ProcessId::of(child.id() as i32).unwrap();
        (child, process)
    }

    #[test]
    #[ignore = "a role in the tests below"]
    fn role_watchdog() {
        if let Some(journal) = std::env::var_os(JOURNAL) {
            run(Path::new(&journal)).unwrap();
        }
    }

    #[test]
    #[ignore = "a role in the tests below"]
    fn role_victim() {
        let Some(dir) = std::env::var_os(DIR) else { return };
        let journal = begin(Path::new(&dir));
        let watchdog = watchdog(journal.path());
        let (_child, process) = group_of_two();
        journal.process_started("replica 0", &process);
        let run = ["sh", "-c", "echo ${RESBENCH_TEST_DIR} >${RESBENCH_TEST_DIR}/undone"].map(str::to_owned).to_vec();
        let undo = Undo::Command { run, dir: dir.into(), timeout_ms: 10_000 };
        journal.intent("slow", &[undo], &[TargetRef::Outside]).unwrap();
        assert!(watchdog.is_alive());
        println!("\nup {} {}", process.pid, watchdog.child.lock().unwrap().id());
        clock::sleep(Duration::from_secs(600));
    }

    #[test]
    fn a_killed_run_is_undone() {
        let dir = tempdir().unwrap();
        let mut victim = role("role_victim").env(DIR, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = said.into_iter().find(|l| l.starts_with("up ")).unwrap();
        let pids: Vec<i32> = line.split(' ').skip(1).map(|p| p.parse().unwrap()).collect();
        let (replica, guard) = (ProcessId::of(pids[0]).unwrap(), ProcessId::of(pids[1]).unwrap());
        until(|| replica.group().len() >= 3);
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            guard.signal(signal);
        }
        clock::sleep(Duration::from_millis(50));
        assert!(guard.is_alive(), "Ctrl-C is not its business");

        victim.kill().unwrap();
        victim.wait().unwrap();
        until(|| replica.group().is_empty());
        until(|| !guard.is_alive());
        let undone = std::fs::read_to_string(dir.path().join("undone")).unwrap();
        assert_eq!(Path::new(undone.trim()), dir.path());
        assert!(!dir.path().join("r1.jsonl").exists(), "all is undone, so the journal went");
    }

    #[test]
    fn a_clean_end_lets_it_go() {
        let dir = tempdir().unwrap();
        let journal = begin(dir.path());
        let watchdog = watchdog(journal.path());
        assert!(watchdog.is_alive());
        journal.finish(true, None).unwrap();
        watchdog.stop(true).unwrap();
    }

    #[test]
    fn one_that_gets_no_cpu_is_killed_when_nothing_is_left_to_undo() {
        let dir = tempdir().unwrap();
        let journal = begin(dir.path());
        let watchdog = watchdog(journal.path());
        let guard = ProcessId::of(watchdog.child.lock().unwrap().id() as i32).unwrap();
        assert!(guard.signal(Signal::STOP));
        journal.finish(true, None).unwrap();
        watchdog.stop(true).unwrap();
        assert!(!guard.is_alive());
    }

    #[test]
    fn it_leaves_alone_what_a_run_itself_could_not_put_back() {
        let dir = tempdir().unwrap();
        let (mut child, process) = group_of_two();
        let journal = begin(dir.path());
        let watchdog = watchdog(journal.path());
        journal.process_started("replica 0", &process);
        assert_eq!(journal.finish(true, None), Ok(false));
        watchdog.stop(true).unwrap();
        assert!(process.is_alive(), "the run has told of it already; resbench revert ends it");
        process.end(Duration::from_secs(5)).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn one_that_cannot_start_is_told() {
        let error = Watchdog::start_as(Command::new("true")).unwrap_err();
        assert!(error.contains("ended at once"), "{error}");
    }
}
