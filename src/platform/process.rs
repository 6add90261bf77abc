//! Processes as something that cannot be mistaken: boot id + pid + start time, so that a pid used again by
//! somebody else is never hit; and how a child of ours is started so that it does not outlive us.
//!
//! Owns identity, signals to process groups and the spawning of children. Leaves alone when children are started,
//! restarted and reaped (`local/`), and what is written about them (the journal).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, getpid, getppid, kill_process_group, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

pub use rustix::process::Signal;

use super::Instance;
use crate::clock;

/// One process of one boot of this machine; by our convention the leader of its own process group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Its pid.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub start_time: u64,
}

/// The process of an instance is gone; an instance of another platform always is.
pub fn is_gone(instance: &Instance) -> bool {
    !instance.process().is_some_and(ProcessId::is_alive)
}

/// The process of an instance is stopped.
pub fn is_stopped(instance: &Instance) -> bool {
    instance.process().is_some_and(|p| p.state() == Some('T'))
}

impl ProcessId {
    /// The process that has this pid now; a zombie still counts.
    pub fn of(pid: i32) -> Option<ProcessId> {
        let start_time = stat(pid)?.start_time;
        Some(ProcessId { boot_id: boot_id().to_owned(), pid, start_time })
    }

    /// This very process.
    pub fn current() -> ProcessId {
        let pid = getpid().as_raw_nonzero().get();
        ProcessId::of(pid).expect("/proc shows this very process")
    }

    /// Its state letter in `/proc/PID/stat` (`R`, `S`, `D`, `T` stopped, `Z` …); none when it is gone.
    pub fn state(&self) -> Option<char> {
        self.stat().map(|s| s.state)
    }

    /// Still running (or stopped). A zombie is gone: it runs no code and holds no socket or file.
    pub fn is_alive(&self) -> bool {
        self.stat().is_some_and(|s| !s.is_dead())
    }

    /// CPU time that it used so far, all its threads; none when it is gone. Known to a hundredth of a second.
    pub fn cpu_time(&self) -> Option<Duration> {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        self.stat().map(|s| Duration::from_nanos(s.cpu_ticks.saturating_mul(1_000_000_000 / per_second)))
    }

    /// Its memory that is in RAM, in bytes; none when it is gone.
    pub fn resident(&self) -> Option<u64> {
        self.stat().map(|s| s.resident_pages.saturating_mul(rustix::param::page_size() as u64))
    }

    /// Sends a signal to the whole process group that this process leads. True when it was sent, false when the
    /// leader is gone. A zombie leader still marks its group.
    ///
    /// # Errors
    /// When the signal is not permitted.
    pub fn signal_group(&self, signal: Signal) -> Result<bool, String> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        // The pidfd is opened first and the identity checked second: from here on the descriptor stands for the
        // process that was checked. Linux before 6.9 has no call that signals a group through a pidfd, so the group
        // is signalled by number; a child of ours cannot give that number up before we reap it.
        let Ok(_pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        if self.stat().is_none() {
            return Ok(false);
        }
        match kill_process_group(pid, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(e) => Err(format!("signal {} to process group {}: {e}", signal.as_raw(), self.pid)),
        }
    }

    /// Processes of the group it leads (or led) that still run.
    pub fn group(&self) -> Vec<ProcessId> {
        members(std::slice::from_ref(self))
    }

    /// Sends a signal to this one process, through a pidfd. True when it was sent.
    pub fn signal(&self, signal: Signal) -> bool {
        let pidfd = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        pidfd.is_some_and(|fd| self.stat().is_some() && pidfd_send_signal(fd, signal).is_ok())
    }

    /// SIGKILL to every process of its group, also when the leader itself is gone, and waits until none is left.
    /// Idempotent: what is gone already is success.
    ///
    /// # Errors
    /// Says which processes are still there after `timeout`.
    pub fn end(&self, timeout: Duration) -> Result<(), String> {
        let until = clock::monotonic_nanos() + timeout.as_nanos() as u64;
        loop {
            self.signal_group(Signal::KILL)?;
            let left = self.group();
            if left.is_empty() {
                return Ok(());
            }
            // Members whose leader is gone, one by one.
            for process in &left {
                process.signal(Signal::KILL);
            }
            if clock::monotonic_nanos() >= until {
                let pids: Vec<String> = left.iter().map(|p| p.pid.to_string()).collect();
                return Err(format!("still running after SIGKILL: pid {}; end by hand: kill -9", pids.join(", ")));
            }
            clock::sleep(Duration::from_millis(2));
        }
    }

    fn stat(&self) -> Option<Stat> {
        if self.boot_id != boot_id() {
            return None;
        }
        stat(self.pid).filter(|s| s.start_time == self.start_time)
    }
}

/// Processes that still run in the groups that these lead (or led).
pub fn members(leaders: &[ProcessId]) -> Vec<ProcessId> {
    // A pid is not given out again while it names a group with members. So when another process carries a leader's
    // pid, the group is empty, and whoever has that number now is not ours.
    let ours = |p: &&ProcessId| p.boot_id == boot_id() && stat(p.pid).is_none_or(|s| s.start_time == p.start_time);
    let leaders: Vec<&ProcessId> = leaders.iter().filter(ours).collect();
    let member = |pid: i32| {
        let s = stat(pid).filter(|s| !s.is_dead())?;
        let leader = leaders.iter().find(|p| p.pid == s.group && p.start_time <= s.start_time)?;
        Some(ProcessId { boot_id: leader.boot_id.clone(), pid, start_time: s.start_time })
    };
    if leaders.is_empty() { Vec::new() } else { all_pids().into_iter().filter_map(member).collect() }
}

/// Running processes whose environment at their start held `KEY=VALUE`: finds what left its process group.
/// Processes that we may not look into are not found.
pub fn with_environment(key: &str, value: &str) -> Vec<ProcessId> {
    let entry = format!("{key}={value}").into_bytes();
    let carries = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|e| e == entry)
    };
    all_pids().into_iter().filter(carries).filter_map(ProcessId::of).filter(ProcessId::is_alive).collect()
}

/// What to start, and how.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Program and arguments. A program with a `/` in it is looked up from `dir`, another one in `PATH`.
    pub argv: &'a [String],
    /// Added to the environment.
    pub env: &'a BTreeMap<String, String>,
    /// The folder it runs in.
    pub dir: &'a Path,
    /// The CPUs it may use; empty for all.
    pub cpus: &'a [usize],
    /// Where stdout and stderr go.
    pub output: OwnedFd,
}

/// Starts a child as the leader of its own process group, with nothing on stdin. The kernel kills it (SIGKILL) when
/// the *thread* that called this ends: call it from a thread that lives as long as the child should.
///
/// # Errors
/// Says what could not be started, why, and what to do.
pub fn spawn(what: &Spawn<'_>) -> Result<(Child, ProcessId), String> {
    let (name, args) = what.argv.split_first().ok_or("an empty command")?;
    let program = locate(name, what.dir);
    let again = || what.output.try_clone().map(Stdio::from).map_err(|e| format!("`{name}`: {e}"));
    let mut command = Command::new(&program);
    command.args(args).envs(what.env).current_dir(what.dir).process_group(0);
    command.stdin(Stdio::null()).stdout(again()?).stderr(again()?);
    let parent = getpid();
    let cpus = cpu_set(what.cpus);
    let in_child = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above took effect; then nobody would send the signal.
        if getppid() != Some(parent) {
            return Err(io::Error::from(Errno::SRCH));
        }
        match &cpus {
            Some(set) => Ok(sched_setaffinity(None, set)?),
            None => Ok(()),
        }
    };
    #[expect(unsafe_code, reason = "the death signal of a child can only be set between fork and exec")]
    // SAFETY: the closure makes three plain system calls on values it owns: it neither allocates nor takes locks
    // (an error is an errno), which is all that may be done in a child of a process with several threads.
    unsafe {
        command.pre_exec(in_child);
    }
    let child = command.spawn().map_err(|e| cannot_start(name, &program, what.dir, &e))?;
    // Not reaped yet, so /proc has it even when it has ended already.
    let id = ProcessId::of(child.id() as i32).ok_or("/proc is not mounted: replicas cannot be watched")?;
    Ok((child, id))
}

/// The CPUs that this process may use.
pub fn available_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Parts CPUs between the load and the replicas (with their links): the first quarter, at least one, is the load's.
/// With one CPU everything shares it, and both lists are empty.
pub fn split_cpus(available: &[usize]) -> (Vec<usize>, Vec<usize>) {
    if available.len() < 2 {
        return (Vec::new(), Vec::new());
    }
    let (load, replicas) = available.split_at((available.len() / 4).max(1));
    (load.to_vec(), replicas.to_vec())
}

/// Keeps the calling thread on these CPUs; none means all. Where that is not permitted the thread stays where it is:
/// placement makes measurements quieter, it is no condition of them.
pub fn pin_thread(cpus: &[usize]) {
    if let Some(set) = cpu_set(cpus) {
        let _ = sched_setaffinity(None, &set);
    }
}

fn cpu_set(cpus: &[usize]) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(*cpu));
    (set.count() > 0).then_some(set)
}

fn locate(name: &str, dir: &Path) -> PathBuf {
    // Command leaves open whether a relative path counts from the parent's folder or the child's, and a scenario's folder may be
    // relative itself.
    let from_dir = || dir.join(name);
    if name.contains('/') {
        std::path::absolute(from_dir()).unwrap_or_else(|_| from_dir())
    } else {
        PathBuf::from(name)
    }
}

/// Whether such a program could be started from this folder now.
///
/// # Errors
/// Why not, and the cure.
pub fn look_for(name: &str, dir: &Path) -> Result<(), String> {
    let may_run = |path: &Path| {
        if !path.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(io::Error::from)
    };
    let program = locate(name, dir);
    if name.contains('/') {
        return may_run(&program).map_err(|e| cannot_start(name, &program, dir, &e));
    }
    // Without PATH the system has its own idea of it.
    let Some(paths) = std::env::var_os("PATH") else { return Ok(()) };
    let found = std::env::split_paths(&paths).any(|path| may_run(&dir.join(path).join(name)).is_ok());
    if found { Ok(()) } else { Err(cannot_start(name, &program, dir, &io::ErrorKind::NotFound.into())) }
}

fn cannot_start(name: &str, program: &Path, dir: &Path, error: &io::Error) -> String {
    match error.kind() {
        _ if !dir.is_dir() => format!("`{name}`: the folder {} is not there", dir.display()),
        io::ErrorKind::NotFound if name.contains('/') => {
            format!("`{name}` was not found (looked at {}): check the path in `command`", program.display())
        }
        io::ErrorKind::NotFound => {
            format!("`{name}` was not found in PATH: install it, or write its whole path in `command`")
        }
        io::ErrorKind::PermissionDenied => {
            format!("`{name}` may not be executed: chmod +x {}", program.display())
        }
        _ => format!("`{name}` could not be started: {error}"),
    }
}

/// The fields of `/proc/PID/stat` that we use; see proc_pid_stat(5).
struct Stat {
    state: char,
    group: i32,
    /// In user and kernel mode.
    cpu_ticks: u64,
    start_time: u64,
    resident_pages: u64,
}

impl Stat {
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

fn stat(pid: i32) -> Option<Stat> {
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The second field is the program's name in brackets and may itself hold blanks and brackets.
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Stat {
        state,
        group: fields.get(2)?.parse().ok()?,
        cpu_ticks: number(11)? + number(12)?,
        start_time: number(19)?,
        resident_pages: number(21)?,
    })
}

fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::io::{BufRead, BufReader};

    fn run(script: &str) -> (Child, ProcessId, BufReader<fs::File>) {
        let (reader, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let what = Spawn { argv: &argv, env: &BTreeMap::new(), dir: Path::new("/"), cpus: &available_cpus(), output };
        let (child, id) = spawn(&what).unwrap();
        (child, id, BufReader::new(fs::File::from(reader)))
    }

    fn line(reader: &mut BufReader<fs::File>) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    #[test]
    fn a_zombie_is_gone_and_a_reused_pid_is_somebody_else() {
        let (mut child, id, mut out) = run("echo up; read forever");
        assert_eq!(line(&mut out), "up");
        // Nothing on stdin: `read` ends at once, and so does the shell.
        while id.is_alive() {
            clock::sleep(Duration::from_millis(2));
        }
        assert_eq!(id.state(), Some('Z'));
        child.wait().unwrap();
        assert_eq!(id.state(), None);

        let me = ProcessId::current();
        assert!(me.is_alive());
        let somebody_else = ProcessId { start_time: me.start_time + 1, ..me.clone() };
        let other_boot = ProcessId { boot_id: "another".into(), ..me };
        for gone in [somebody_else, other_boot] {
            assert!(!gone.is_alive());
            assert_eq!(gone.signal_group(Signal::KILL), Ok(false), "this test would be dead");
            assert!(!gone.signal(Signal::KILL));
            assert_eq!(gone.end(Duration::ZERO), Ok(()));
        }
    }

    #[test]
    fn stops_goes_on_and_ends_with_its_whole_group() {
        let (mut child, id, mut out) = run("sleep 100 & echo $!; wait");
        let member = ProcessId::of(line(&mut out).parse().unwrap()).unwrap();
        assert_eq!(id.group().len(), 2);
        assert_eq!(id.signal_group(Signal::STOP), Ok(true));
        while id.state() != Some('T') {
            clock::sleep(Duration::from_millis(1));
        }
        assert_eq!(id.signal_group(Signal::CONT), Ok(true));
        id.end(Duration::from_secs(20)).unwrap();
        assert!(!id.is_alive() && !member.is_alive());
        child.wait().unwrap();
        id.end(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_group_without_its_leader_is_ended_too() {
        let (mut child, id, mut out) = run("sleep 100 & echo $!");
        let member = ProcessId::of(line(&mut out).parse().unwrap()).unwrap();
        child.wait().unwrap();
        assert!(!id.is_alive() && member.is_alive());
        id.end(Duration::from_secs(20)).unwrap();
        assert!(!member.is_alive());
    }

    #[test]
    fn what_left_its_group_is_found_by_its_environment() {
        let (reader, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let argv = ["/bin/sh", "-c", "setsid sleep 100 & echo $!"].map(str::to_owned);
        let mark = format!("{}-{}", getpid().as_raw_nonzero(), clock::monotonic_nanos());
        let env = BTreeMap::from([("RESBENCH_MARK".to_owned(), mark.clone())]);
        let what = Spawn { argv: &argv, env: &env, dir: Path::new("/"), cpus: &[], output };
        let (mut child, id) = spawn(&what).unwrap();
        line(&mut BufReader::new(fs::File::from(reader)));
        child.wait().unwrap();
        while !id.group().is_empty() {
            clock::sleep(Duration::from_millis(2));
        }
        // Between fork and exec a process shows no environment for a moment.
        let mut found = Vec::new();
        while found.is_empty() {
            clock::sleep(Duration::from_millis(2));
            found = with_environment("RESBENCH_MARK", &mark);
        }
        assert_eq!(found.len(), 1);
        assert!(found[0].signal(Signal::KILL));
    }

    #[test]
    fn a_program_beside_a_scenario_is_found_from_any_folder() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(locate("./serve.sh", Path::new("scenarios")), here.join("scenarios/serve.sh"));
        assert_eq!(locate("/bin/true", Path::new("scenarios")), Path::new("/bin/true"));
        assert_eq!(locate("true", Path::new("scenarios")), Path::new("true"), "by PATH");
    }

    #[test]
    fn says_what_to_do_when_a_program_cannot_be_started() {
        let (_reader, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let attempt = |name: &str, dir: &str| {
            let argv = [name.to_owned()];
            let output = output.try_clone().unwrap();
            let what = Spawn { argv: &argv, env: &BTreeMap::new(), dir: Path::new(dir), cpus: &[], output };
            spawn(&what).unwrap_err()
        };
        assert_eq!(
            attempt("no-such-program-here", "/"),
            "`no-such-program-here` was not found in PATH: install it, or write its whole path in `command`"
        );
        assert_eq!(
            attempt("bin/none", "/"),
            "`bin/none` was not found (looked at /bin/none): check the path in `command`"
        );
        let plain = tempfile::NamedTempFile::new().unwrap();
        let path = plain.path().to_str().unwrap();
        assert_eq!(attempt(path, "/"), format!("`{path}` may not be executed: chmod +x {path}"));
        assert_eq!(attempt("sh", "/no/such"), "`sh`: the folder /no/such is not there");
    }

    #[test]
    fn cpus_are_parted() {
        let parted = |n: usize| split_cpus(&(0..n).collect::<Vec<_>>());
        assert_eq!(parted(1), (vec![], vec![]));
        assert_eq!(parted(2), (vec![0], vec![1]));
        assert_eq!(parted(4), (vec![0], vec![1, 2, 3]));
        assert_eq!(parted(9), (vec![0, 1], (2..9).collect()));
        assert!(!available_cpus().is_empty());
    }
}
