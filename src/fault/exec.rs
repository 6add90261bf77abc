//! Runs one command of the author's to its end: own process group, a time limit, output kept within bounds.
//!
//! Owns nothing but that; `command.rs` and `undo.rs` say what is run and why.

use std::collections::BTreeMap;
use std::io::{PipeReader, Read};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::stop::StopSignal;
use crate::clock;
use crate::platform::Ledger;
use crate::platform::process::{self, ProcessId, Spawn};
use crate::units::show_duration;

/// The last bytes of a command's output that are kept, for its error message.
const OUTPUT_KEPT: usize = 2048;

/// The same of one whose output is the answer, and how long its end is waited for.
const ANSWER_KEPT: usize = 1 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a killed group may take to go.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Who is told, and who may end it early.
#[derive(Clone, Copy, Default)]
pub(super) struct Watch<'a> {
    /// Ends the command when raised.
    pub(super) stop: Option<&'a StopSignal>,
    /// Told of the process, so that it is ended should we die first.
    pub(super) ledger: Option<&'a dyn Ledger>,
}

/// Runs `args` in `dir`; success is exit status 0 within `timeout`. What it started in its background stays. Should
/// we die first, the kernel ends it.
///
/// # Errors
/// How it ended otherwise, with the end of its output. When it was out of time its process group is gone then, or the
/// error says that it could not be killed; the ledger keeps it in that case.
pub(super) fn run(args: &[String], dir: &Path, timeout: Duration, watch: Watch<'_>) -> Result<(), String> {
    let (status, output) = finish(args, dir, timeout, watch, OUTPUT_KEPT)?;
    if status.success() { Ok(()) } else { Err(failed(status, &output)) }
}

/// As [`run`], for a command that leaves nothing in its background: gives what it printed.
///
/// # Errors
/// As [`run`].
pub(super) fn answer(args: &[String], timeout: Duration) -> Result<String, String> {
    let (status, output) = finish(args, Path::new("/"), timeout, Watch::default(), ANSWER_KEPT)?;
    if status.success() { Ok(said(&output, ANSWER_TIMEOUT)) } else { Err(failed(status, &output)) }
}

/// The last bytes of an observed command's output that are kept.
const OBSERVED_KEPT: usize = 64 << 10;

/// As `run`, for one whose end is the question: how it ended, and the end of what it printed. `stop` ends it early.
///
/// # Errors
/// When it could not be started, or did not end in time; its process group is gone then, or could not be killed.
pub fn observe(
    args: &[String],
    dir: &Path,
    timeout: Duration,
    stop: &StopSignal,
) -> Result<(ExitStatus, String), String> {
    let watch = Watch { stop: Some(stop), ledger: None };
    let (status, output) = finish(args, dir, timeout, watch, OBSERVED_KEPT)?;
    Ok((status, said(&output, OBSERVED_PATIENCE)))
}

/// How long the end of its output is waited for: what it left in its background may hold it open.
const OBSERVED_PATIENCE: Duration = Duration::from_secs(1);

fn finish(
    args: &[String],
    dir: &Path,
    timeout: Duration,
    watch: Watch<'_>,
    keep: usize,
) -> Result<(ExitStatus, Receiver<Vec<u8>>), String> {
    finish_by(args, dir, timeout, watch, keep, &|process| process.end(END_TIMEOUT))
}

/// `end` kills the group of one that is out of time.
fn finish_by(
    args: &[String],
    dir: &Path,
    timeout: Duration,
    watch: Watch<'_>,
    keep: usize,
    end: &dyn Fn(&ProcessId) -> Result<(), String>,
) -> Result<(ExitStatus, Receiver<Vec<u8>>), String> {
    let (reader, writer) = std::io::pipe().map_err(|e| format!("no pipe for its output: {e}"))?;
    let what = Spawn { argv: args, env: &BTreeMap::new(), dir, cpus: &[], output: writer.into() };
    let (mut child, process) = process::spawn(&what)?;
    // Our end of the pipe goes with it, or the end of the output would never be seen.
    drop(what);
    let output = keep_output(reader, keep);
    if let Some(ledger) = watch.ledger {
        ledger.process_started(&format!("command {}", args[0]), &process);
    }
    let ended = wait(&mut child, timeout, watch.stop);
    if let Err(why) = &ended {
        // Not told to the ledger as ended: somebody has to end it, and what is still to be undone need not wait for that.
        put_away(&mut child, &process, end(&process))
            .map_err(|e| format!("{why}, and could not be killed: {e}; by hand: sudo kill -9 -- -{}", process.pid))?;
    }
    if let Some(ledger) = watch.ledger {
        ledger.process_ended(&process);
    }
    ended.map(|status| (status, output)).map_err(|why| format!("{why}; its process group was killed"))
}

/// Reaps what was to be killed. Never waits without end: a program that became root does not go when we say so.
fn put_away(child: &mut Child, process: &ProcessId, killed: Result<(), String>) -> Result<(), String> {
    if killed.is_ok() {
        // Should it have left its group.
        let _ = child.kill();
    }
    let give_up = clock::monotonic_nanos() + END_TIMEOUT.as_nanos() as u64;
    while matches!(child.try_wait(), Ok(None)) {
        if clock::monotonic_nanos() >= give_up {
            return Err(killed.err().unwrap_or_else(|| "it does not go".to_owned()));
        }
        clock::sleep(Duration::from_millis(5));
    }
    // It may have ended by itself meanwhile; what it started counts too.
    if process.group().is_empty() { Ok(()) } else { killed }
}

fn failed(status: ExitStatus, output: &Receiver<Vec<u8>>) -> String {
    match said(output, Duration::from_millis(200)) {
        nothing if nothing.is_empty() => format!("ended with {status}"),
        said => format!("ended with {status}; it said: {said}"),
    }
}

fn wait(child: &mut Child, timeout: Duration, stop: Option<&StopSignal>) -> Result<ExitStatus, String> {
    let pidfd = Pid::from_raw(child.id() as i32).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let give_up = clock::monotonic_nanos() + timeout.as_nanos() as u64;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(e) => return Err(format!("cannot be waited for: {e}")),
        }
        if stop.is_some_and(StopSignal::stopped) {
            return Err("had not ended when the run stopped".to_owned());
        }
        if clock::monotonic_nanos() >= give_up {
            return Err(format!("did not end within {}", show_duration(timeout)));
        }
        nap(pidfd.as_ref(), give_up);
    }
}

/// Until the process ends, or it is time to look at the stop signal again.
fn nap(pidfd: Option<&OwnedFd>, give_up: u64) {
    let left = give_up.saturating_sub(clock::monotonic_nanos()).clamp(1, 20_000_000);
    match pidfd {
        Some(fd) => {
            let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&clock::timespec(left)));
        }
        None => clock::sleep(Duration::from_nanos(left.min(5_000_000))),
    }
}

/// Reads to the end on a thread of its own, because what a command leaves in its background may hold the pipe open.
fn keep_output(mut reader: PipeReader, keep: usize) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let (mut kept, mut chunk) = (Vec::new(), [0u8; 4096]);
        while let Ok(n @ 1..) = reader.read(&mut chunk) {
            kept.extend_from_slice(&chunk[..n]);
            kept.drain(..kept.len().saturating_sub(keep));
        }
        let _ = send.send(kept);
    });
    receive
}

fn said(output: &Receiver<Vec<u8>>, patience: Duration) -> String {
    let kept = output.recv_timeout(patience).unwrap_or_default();
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::journal::{Header, Journal};
    use std::cell::RefCell;

    fn sh(script: &str, timeout_ms: u64) -> Result<(), String> {
        let args = ["sh", "-c", script].map(str::to_owned);
        run(&args, Path::new("/"), Duration::from_millis(timeout_ms), Watch::default())
    }

    #[test]
    fn success_is_exit_zero() {
        assert_eq!(sh("exit 0", 10_000), Ok(()));
        let error = sh("echo first; echo broken >&2; exit 3", 10_000).unwrap_err();
        assert!(error.contains("exit status: 3") && error.contains("broken"), "{error}");
        let missing = run(&["/no/such/program".to_owned()], Path::new("/"), Duration::from_secs(1), Watch::default());
        assert!(missing.unwrap_err().contains("was not found"));
    }

    #[test]
    fn much_output_is_bounded() {
        let error = sh("yes 0123456789 | head -c 1000000; echo last; exit 1", 20_000).unwrap_err();
        assert!(error.len() < OUTPUT_KEPT + 200 && error.ends_with("last"), "{}", error.len());
    }

    #[test]
    fn out_of_time_ends_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let error = sh(&format!("sleep 1000 & echo $! >{}; wait", file.display()), 400).unwrap_err();
        assert!(error.contains("did not end within 400ms; its process group was killed"), "{error}");
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(!ProcessId::of(pid).is_some_and(|p| p.is_alive()), "the grandchild too");
    }

    /// As a program that became root: the signal is refused, and it goes on.
    #[test]
    fn what_cannot_be_killed_is_said_and_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::begin(dir.path(), Header::new("r1", "test", vec![]), &[]).unwrap();
        let (args, victim) = (["sleep", "1000"].map(str::to_owned), RefCell::new(None));
        let refused = |process: &ProcessId| {
            *victim.borrow_mut() = Some(process.clone());
            Err::<(), _>("Operation not permitted".to_owned())
        };
        let watch = Watch { stop: None, ledger: Some(&journal) };
        let (start, timeout) = (clock::monotonic_nanos(), Duration::from_millis(100));
        let error = finish_by(&args, Path::new("/"), timeout, watch, OUTPUT_KEPT, &refused).unwrap_err();
        assert!(clock::monotonic_nanos() - start < 60_000_000_000, "it did not wait for the end of it");
        let victim = victim.into_inner().unwrap();
        let cure = format!("sudo kill -9 -- -{}", victim.pid);
        assert!(error.contains("could not be killed: Operation not permitted") && error.ends_with(&cure), "{error}");
        assert!(!error.contains("was killed"), "{error}");
        assert_eq!(journal.open_items(), ["command sleep"], "it is left, and somebody has to end it");
        assert!(victim.is_alive());
        victim.end(END_TIMEOUT).unwrap();
    }

    #[test]
    fn a_background_child_does_not_hold_it_up() {
        let start = clock::monotonic_nanos();
        let error = sh("sleep 20 & echo $!; exit 1", 60_000).unwrap_err();
        assert!(clock::monotonic_nanos() - start < 15_000_000_000);
        assert!(error.contains("exit status: 1"), "{error}");
    }

    #[test]
    fn a_stop_ends_it() {
        let stop = StopSignal::new();
        stop.stop();
        let args = ["sleep", "1000"].map(str::to_owned);
        let watch = Watch { stop: Some(&stop), ledger: None };
        assert!(run(&args, Path::new("/"), Duration::from_secs(600), watch).unwrap_err().contains("stopped"));
    }
}
