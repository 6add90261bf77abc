//! One thread that starts, reaps and restarts children; and the state that everybody looks at.
//!
//! Every child is started by this one thread, because the kernel kills children when the *thread* that made them ends.
//! It sleeps on their pidfds, so that an exit is noticed at once and drops the replica from rotation first.
//! Signals are sent by whoever wants to, under the lock of the state: a child is only reaped under that lock, so its
//! number cannot belong to somebody else by then.
//!
//! Life of a child: *due* (a time to start is set) → *running* → (first good poll) *ready* → (exit) *down* → due
//! again after the back-off, unless it is held down, does not restart, or the platform stops.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::Notify;

use crate::clock::{Clock, monotonic_nanos, timespec};
use crate::plan::Ready;
use crate::platform::link::Rotation;
use crate::platform::logs::Log;
use crate::platform::poll::Polled;
use crate::platform::process::{self, ProcessId, Signal, Spawn};
use crate::platform::{Ledger, PlatformEvent, PlatformEventKind, ports};
use crate::units::Offset;

/// Longest restart delay, and the time up after which the delay is forgotten: those of Kubernetes' CrashLoopBackOff.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
const SHORTEST_DELAY: Duration = Duration::from_millis(10);
/// Between SIGTERM and SIGKILL at the end.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// A kill must have worked by then.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Events kept; further ones are counted.
const EVENT_LIMIT: usize = 10_000;

/// One child to be, fixed for the run.
#[derive(Debug)]
pub(super) struct Unit {
    /// "replica 0", "dependency registry", "init of registry".
    pub(super) name: String,
    /// Its number, for replicas.
    pub(super) replica: Option<u16>,
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) dir: PathBuf,
    pub(super) cpus: Vec<usize>,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// When it counts as ready; none for a command that runs once.
    pub(super) ready: Option<Ready>,
    /// First restart delay.
    pub(super) restart_delay: Duration,
    /// The link that it serves.
    pub(super) rotation: Option<Rotation>,
    pub(super) log: Arc<Log>,
}

impl Unit {
    /// The number that its link knows it by.
    fn backend(&self) -> u16 {
        self.replica.unwrap_or(0)
    }
}

/// What is known of one unit now.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// Running, and not reaped.
    pub(super) process: Option<ProcessId>,
    pub(super) ready: bool,
    pub(super) starts: u32,
    /// The process it had last, gone or not.
    pub(super) last_group: Option<ProcessId>,
    /// How its last process ended, in words, and whether it was a success.
    pub(super) exit: Option<(String, bool)>,
    /// Why it could not be started.
    pub(super) problem: Option<String>,
    /// What the last poll said.
    pub(super) last_poll: String,
    /// Not to be started until released.
    held: bool,
    /// Told to end: out of rotation for good.
    leaving: bool,
    start_at: Option<u64>,
    started_at: u64,
    delay: Duration,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) units: Vec<Status>,
    events: Vec<(u64, Option<u16>, PlatformEventKind, String)>,
    events_lost: usize,
    stopping: bool,
}

/// Shared by the supervisor, the pollers and whoever holds the platform.
pub(super) struct Core {
    pub(super) units: Vec<Unit>,
    /// Tells the poller of a unit that it was started.
    pub(super) started: Vec<Notify>,
    state: Mutex<State>,
    changed: Condvar,
    wake: OwnedFd,
    clock: Mutex<Clock>,
    ledger: Arc<dyn Ledger>,
}

/// A child, as the supervisor alone holds it.
struct Kept {
    child: Child,
    pidfd: OwnedFd,
}

impl Core {
    pub(super) fn new(units: Vec<Unit>, clock: Clock, ledger: Arc<dyn Ledger>) -> Result<Core, String> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| format!("eventfd: {e}"))?;
        let state = State {
            units: units.iter().map(|u| Status { delay: u.restart_delay, ..Status::default() }).collect(),
            ..State::default()
        };
        Ok(Core {
            started: units.iter().map(|_| Notify::new()).collect(),
            units,
            state: Mutex::new(state),
            changed: Condvar::new(),
            wake,
            clock: Mutex::new(clock),
            ledger,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_clock(&self, clock: Clock) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    fn offset(&self, at: u64) -> Offset {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).offset_of(at)
    }

    /// Waits until `done` gives something, the state having changed or not, at most this long.
    pub(super) fn wait<T>(&self, limit: Duration, mut done: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let until = monotonic_nanos() + limit.as_nanos() as u64;
        let mut state = self.lock();
        loop {
            if let Some(found) = done(&mut state) {
                return Some(found);
            }
            let left = until.checked_sub(monotonic_nanos()).filter(|left| *left > 0)?;
            let waited = self.changed.wait_timeout(state, Duration::from_nanos(left));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has a unit started as soon as the supervisor comes to it.
    pub(super) fn start(&self, unit: usize) {
        self.lock().units[unit].start_at = Some(monotonic_nanos());
        self.wake();
    }

    /// See `Replicas::kill` and `Replicas::hold_down`. With a grace the moment is that of SIGTERM, and the replica
    /// leaves the rotation then, as a terminating pod does.
    pub(super) fn kill(&self, unit: usize, grace: Option<Duration>, hold: bool) -> Result<(ProcessId, Offset), String> {
        let first = if grace.is_some() { Signal::TERM } else { Signal::KILL };
        let mut state = self.lock();
        let (victim, at) = self.signal_in(&state, unit, first)?;
        let status = &mut state.units[unit];
        status.held |= hold;
        status.leaving = true;
        if grace.is_some() {
            self.leave_rotation(&mut state, unit, at, "told to end");
        }
        drop(state);
        if let Some(grace) = grace
            && !self.wait_gone(unit, &victim, grace)
        {
            victim.signal_group(Signal::KILL)?;
        }
        if self.wait_gone(unit, &victim, KILL_LIMIT) {
            return Ok((victim, self.offset(at)));
        }
        Err(format!("{} (pid {}) is still there 5 s after SIGKILL", self.units[unit].name, victim.pid))
    }

    /// See `Replicas::release`.
    pub(super) fn release(&self, unit: usize) -> Result<(), String> {
        let mut state = self.lock();
        let stopping = state.stopping;
        let status = &mut state.units[unit];
        if !std::mem::take(&mut status.held) || status.process.is_some() || stopping {
            return Ok(());
        }
        let before = status.starts;
        status.problem = None;
        status.start_at = Some(monotonic_nanos());
        drop(state);
        self.wake();
        let started = self.wait(KILL_LIMIT, |state| match &state.units[unit] {
            Status { problem: Some(problem), .. } => Some(Err(problem.clone())),
            status => (status.starts > before).then_some(Ok(())),
        });
        started.unwrap_or_else(|| Err(format!("{} was not started within 5 s", self.units[unit].name)))
    }

    /// Sends a signal to the group of a unit's process.
    pub(super) fn signal(&self, unit: usize, signal: Signal) -> Result<(ProcessId, Offset), String> {
        let (process, at) = self.signal_in(&self.lock(), unit, signal)?;
        Ok((process, self.offset(at)))
    }

    /// SIGCONT; a unit that is not running needs none.
    pub(super) fn resume(&self, unit: usize) -> Result<(), String> {
        match &self.lock().units[unit].process {
            Some(process) => process.signal_group(Signal::CONT).map(drop),
            None => Ok(()),
        }
    }

    fn signal_in(&self, state: &State, unit: usize, signal: Signal) -> Result<(ProcessId, u64), String> {
        let not_running = || format!("{} is not running", self.units[unit].name);
        let process = state.units[unit].process.clone().ok_or_else(not_running)?;
        if !process.signal_group(signal)? {
            return Err(not_running());
        }
        Ok((process, monotonic_nanos()))
    }

    fn wait_gone(&self, unit: usize, process: &ProcessId, limit: Duration) -> bool {
        self.wait(limit, |state| (state.units[unit].process.as_ref() != Some(process)).then_some(())).is_some()
    }

    fn leave_rotation(&self, state: &mut State, unit: usize, at: u64, why: &str) {
        if !std::mem::take(&mut state.units[unit].ready) {
            return;
        }
        let it = &self.units[unit];
        it.rotation.iter().for_each(|r| r.take(it.backend()));
        self.note(state, at, unit, PlatformEventKind::NotReady, format!("{} left the rotation: {why}", it.name));
        self.changed.notify_all();
    }

    fn note(&self, state: &mut State, at: u64, unit: usize, kind: PlatformEventKind, text: String) {
        if state.events.len() < EVENT_LIMIT {
            state.events.push((at, self.units[unit].replica, kind, text));
        } else {
            state.events_lost += 1;
        }
    }

    /// Every event so far, in order.
    pub(super) fn events(&self) -> Vec<PlatformEvent> {
        let state = self.lock();
        let event = |(at, replica, kind, text): &(u64, Option<u16>, PlatformEventKind, String)| PlatformEvent {
            at: self.offset(*at),
            replica: *replica,
            kind: *kind,
            text: text.clone(),
        };
        let mut events: Vec<PlatformEvent> = state.events.iter().map(event).collect();
        if state.events_lost > 0 {
            let at = events.last().map_or(Offset::ZERO, |e| e.at);
            let text = format!("{} further events were not kept", state.events_lost);
            events.push(PlatformEvent { at, replica: None, kind: PlatformEventKind::Note, text });
        }
        events
    }

    /// Tells the supervisor to end every child and then itself.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.wake();
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// The supervisor's life. Ends when it was told to stop and no child is left.
    pub(super) fn supervise(&self) {
        let mut children: Vec<Option<Kept>> = self.units.iter().map(|_| None).collect();
        let mut kill_at = None;
        loop {
            let now = monotonic_nanos();
            let (due, stopping, mut next) = self.look(now);
            for unit in due {
                children[unit] = self.bring_up(unit);
                // One that could not be started is due again, at a time that `next` does not know.
                next = now;
            }
            if stopping {
                match kill_at {
                    None => self.signal_all(&[Signal::TERM, Signal::CONT]),
                    Some(at) if at <= now => self.signal_all(&[Signal::KILL]),
                    Some(_) => {}
                }
                next = *kill_at.get_or_insert(now + STOP_GRACE.as_nanos() as u64);
                if children.iter().all(Option::is_none) {
                    return;
                }
                if next <= now {
                    next = now + 100_000_000;
                }
            }
            for unit in self.sleep(&children, next) {
                if let Some(kept) = children[unit].take() {
                    self.reap(unit, kept);
                }
            }
        }
    }

    /// The units whose time to start has come, whether everything is to stop, and when to look again.
    fn look(&self, now: u64) -> (Vec<usize>, bool, u64) {
        let mut state = self.lock();
        let stopping = state.stopping;
        let mut next = u64::MAX;
        let mut due = Vec::new();
        for (unit, status) in state.units.iter_mut().enumerate() {
            match status.start_at {
                _ if stopping || status.held || status.process.is_some() => status.start_at = None,
                Some(at) if at <= now => {
                    status.start_at = None;
                    due.push(unit);
                }
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        (due, stopping, next)
    }

    /// Sleeps until a child ends, somebody wakes us, or that moment. Gives the units whose process ended.
    fn sleep(&self, children: &[Option<Kept>], until: u64) -> Vec<usize> {
        let running: Vec<(usize, &Kept)> =
            children.iter().enumerate().filter_map(|(unit, kept)| Some((unit, kept.as_ref()?))).collect();
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        fds.extend(running.iter().map(|(_, kept)| PollFd::new(&kept.pidfd, PollFlags::IN)));
        let left = (until < u64::MAX).then(|| timespec(until.saturating_sub(monotonic_nanos())));
        let _ = poll(&mut fds, left.as_ref());
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        let ended = running.iter().zip(&fds[1..]).filter(|(_, fd)| !fd.revents().is_empty());
        ended.map(|((unit, _), _)| *unit).collect()
    }

    /// Starts a unit; on failure it becomes due again as after a crash.
    fn bring_up(&self, unit: usize) -> Option<Kept> {
        let it = &self.units[unit];
        let started = self.spawn(unit);
        let now = monotonic_nanos();
        if let Ok((_, id)) = &started {
            self.ledger.process_started(&it.name, id);
        }
        let mut state = self.lock();
        let status = &mut state.units[unit];
        let (kind, text) = match &started {
            Ok((_, id)) => {
                status.process = Some(id.clone());
                status.last_group = Some(id.clone());
                status.starts += 1;
                status.started_at = now;
                status.leaving = false;
                status.problem = None;
                (PlatformEventKind::Started, format!("{} started as pid {}", it.name, id.pid))
            }
            Err(problem) => {
                status.problem = Some(problem.clone());
                status.again_after_delay(it, now);
                (PlatformEventKind::Note, format!("{} could not be started: {problem}", it.name))
            }
        };
        self.note(&mut state, now, unit, kind, text);
        self.changed.notify_all();
        self.started[unit].notify_one();
        started.ok().map(|(kept, _)| kept)
    }

    fn spawn(&self, unit: usize) -> Result<(Kept, ProcessId), String> {
        let it = &self.units[unit];
        if it.ready.is_some()
            && let Some(taken) = ports::taken(it.address)
        {
            return Err(taken);
        }
        let output = it.log.writer().map_err(|e| format!("log of {}: {e}", it.name))?;
        let what = Spawn { argv: &it.argv, env: &it.env, dir: &it.dir, cpus: &it.cpus, output };
        let (mut child, id) = process::spawn(&what)?;
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok((Kept { child, pidfd }, id)),
            Err(e) => {
                let _ = id.signal_group(Signal::KILL);
                let _ = child.wait();
                Err(format!("pidfd_open: {e}"))
            }
        }
    }

    fn reap(&self, unit: usize, mut kept: Kept) {
        let now = monotonic_nanos();
        let it = &self.units[unit];
        let mut state = self.lock();
        self.leave_rotation(&mut state, unit, now, "its process ended");
        let status = &mut state.units[unit];
        let process = status.process.take();
        // The leader is a zombie until the next line, so the group's number is still ours: end what is left of it.
        let _ = process.as_ref().map(|p| p.signal_group(Signal::KILL));
        let exit = kept.child.wait();
        let text = exit.as_ref().map_or_else(ToString::to_string, |exit| in_words(*exit));
        status.exit = Some((text.clone(), exit.is_ok_and(|e| e.success())));
        if it.ready.is_some() && !status.held {
            status.again_after_delay(it, now);
        }
        let pid = process.as_ref().map_or(0, |p| p.pid);
        self.note(&mut state, now, unit, PlatformEventKind::Exited, format!("{} (pid {pid}) {text}", it.name));
        self.changed.notify_all();
        drop(state);
        if let Some(process) = process {
            self.ledger.process_ended(&process);
        }
    }

    fn signal_all(&self, signals: &[Signal]) {
        let state = self.lock();
        for process in state.units.iter().filter_map(|status| status.process.as_ref()) {
            for signal in signals {
                let _ = process.signal_group(*signal);
            }
        }
    }
}

impl Polled for Core {
    fn polls(&self) -> Vec<Option<Ready>> {
        self.units.iter().map(|it| it.ready.clone()).collect()
    }

    fn running(&self, unit: usize) -> Option<(u32, SocketAddr)> {
        let state = self.lock();
        let status = &state.units[unit];
        status.process.is_some().then_some((status.starts, self.units[unit].address))
    }

    fn started(&self, unit: usize) -> &Notify {
        &self.started[unit]
    }

    fn polled(&self, unit: usize, starts: u32, result: Result<(), String>) {
        let now = monotonic_nanos();
        let mut state = self.lock();
        let status = &mut state.units[unit];
        // The process that was asked may be gone by now, and another one may stand in its place.
        if status.process.is_none() || status.starts != starts || status.leaving {
            return;
        }
        match result {
            Ok(()) if !status.ready => {
                status.ready = true;
                let it = &self.units[unit];
                it.rotation.iter().for_each(|r| r.put(it.backend(), it.address));
                let text = format!("{} is ready", it.name);
                self.note(&mut state, now, unit, PlatformEventKind::Ready, text);
                self.changed.notify_all();
            }
            Ok(()) => {}
            Err(why) => {
                status.last_poll.clone_from(&why);
                self.leave_rotation(&mut state, unit, now, &why);
            }
        }
    }
}

impl Status {
    /// Crash back-off as Kubernetes has it: doubled each time, forgotten after ten minutes up.
    fn again_after_delay(&mut self, unit: &Unit, now: u64) {
        if now.saturating_sub(self.started_at) >= FORGIVEN_AFTER.as_nanos() as u64 && self.starts > 0 {
            self.delay = unit.restart_delay;
        }
        // Without any delay a program that is missing would be looked for without end.
        self.start_at = Some(now + self.delay.max(SHORTEST_DELAY).as_nanos() as u64);
        self.delay = (self.delay * 2).min(LONGEST_DELAY.max(unit.restart_delay));
    }
}

/// "exited with status 1", "was ended by signal 9 (SIGKILL)".
fn in_words(exit: ExitStatus) -> String {
    match (exit.code(), exit.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(_)) => format!("was ended by {}", exit.to_string().replacen("signal: ", "signal ", 1)),
        (None, None) => format!("ended: {exit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::logs::Logs;

    #[test]
    fn the_delay_doubles_up_to_five_minutes_and_is_forgotten_after_ten_up() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::start(dir.path(), &[]).unwrap();
        let unit = Unit {
            name: "replica 0".into(),
            replica: Some(0),
            argv: Vec::new(),
            env: BTreeMap::new(),
            dir: "/".into(),
            cpus: Vec::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            ready: None,
            restart_delay: Duration::from_secs(10),
            rotation: None,
            log: logs.open("replica-0").unwrap(),
        };
        let mut status = Status { delay: unit.restart_delay, starts: 1, ..Status::default() };
        let mut waits = |now: u64| {
            status.again_after_delay(&unit, now);
            (status.start_at.unwrap() - now) / 1_000_000_000
        };
        let crash = 1_000_000_000;
        assert_eq!([0; 7].map(|_| waits(crash)), [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(waits(FORGIVEN_AFTER.as_nanos() as u64), 10);
    }
}
