//! The local platform: replicas and what they call as child processes of this one, behind links.
//!
//! [`Local::start`] finds addresses, starts dependencies (each behind a link of its own, its `init` run once), gives
//! each replica its view of the volume, starts the replicas, and waits until all are ready. [`Local::stop`] ends
//! everything and says what it could not end. Children also end when this process is killed: the kernel sends them
//! SIGKILL. What *they* started is in their process group, which the ledger knows.
//!
//! `supervisor.rs` has the life of the children, `words.rs` placeholders; readiness is `platform/poll.rs`, the service in
//! front `platform/link.rs`. Leaves alone when faults come, and what is sent to the replicas.

mod supervisor;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::supervisor::{Core, Unit};
use self::words::Words;
use super::link::Link;
use super::logs::Logs;
use super::poll::{Pollers, measure_link};
use super::ports::Ports;
use super::process::{self, ProcessId, Signal};
use super::volume;
use super::{
    Deed, Endpoint, Instance, Kill, Ledger, LinkControl, PlatformEvent, ReplicaView, Replicas, Running, StartError,
    VolumeControl,
};
use crate::clock::{self, Clock, monotonic_nanos};
use crate::plan::{Dependency, LocalPlatform, Ready};
use crate::units::{Offset, Seed, show_duration};

/// In the environment of every child, with the run's id: finds what left its process group.
const MARK: &str = "RESBENCH_PLATFORM";
/// Lines of a log that an error shows.
const ERROR_LINES: usize = 12;

/// What [`Local::start`] needs.
pub struct LocalOptions<'a> {
    /// What to start.
    pub plan: &'a LocalPlatform,
    /// The scenario's folder: children run in it.
    pub dir: &'a Path,
    /// The run's folder; logs go to `logs/` in it.
    pub run_dir: &'a Path,
    /// The run's id, for names of folders.
    pub run_id: &'a str,
    /// The axis of events; see [`Local::set_clock`].
    pub clock: Clock,
    /// For the link's choices.
    pub seed: Seed,
    /// Told of processes and mounts.
    pub ledger: Arc<dyn Ledger>,
    /// How a view of the volume is mounted, when replicas are to run on views.
    pub volume_views: Option<MountVolume>,
    /// Where replicas, dependencies and links run, from [`process::split_cpus`]; empty for everywhere.
    pub replica_cpus: Vec<usize>,
    /// Asked while waiting: true ends the start.
    pub stop: &'a dyn Fn() -> bool,
}

/// Mounts a view of a folder (first) on an empty folder (second).
pub type MountVolume = fn(&Path, &Path) -> Result<MountedVolume, String>;

/// A view that is mounted.
pub struct MountedVolume {
    /// Its controls.
    pub control: Arc<dyn VolumeControl>,
    /// Unmounts it; says what a person has to do when that fails.
    pub unmount: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// A running local platform. Ends with [`Local::stop`], or when it is dropped.
pub struct Local {
    core: Arc<Core>,
    /// Which units are what; inits have the order of `dependencies`.
    dependencies: Range<usize>,
    inits: Range<usize>,
    replicas: Range<usize>,
    /// Links by dependency; none for the service.
    links: Vec<(Option<String>, Arc<dyn LinkControl>)>,
    volumes: Vec<Arc<dyn VolumeControl>>,
    endpoint: Endpoint,
    ledger: Arc<dyn Ledger>,
    mark: String,
    /// What has to be put away; none once that was done.
    parts: Mutex<Option<Parts>>,
}

/// In the order of putting away.
struct Parts {
    supervisor: JoinHandle<()>,
    pollers: Pollers,
    links: Vec<Link>,
    logs: Logs,
    mounts: Vec<Mount>,
    copies: Vec<PathBuf>,
    temp: Option<PathBuf>,
}

struct Mount {
    path: PathBuf,
    unmount: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

impl Local {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// What did not start, with the end of its log; what had been started is ended again.
    pub fn start(options: LocalOptions<'_>) -> Result<Local, StartError> {
        let mut local = Local::prepare(&options)?;
        local.ledger.mark_planned(MARK, &local.mark);
        local.noted()?;
        match local.bring_up(&options) {
            Ok(()) => Ok(local),
            Err(error) => Err(StartError { left: local.stop(), ..error }),
        }
    }

    /// Where predictions go, and what is known about it.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Ends every child (SIGTERM, up to two seconds, SIGKILL), unmounts, removes, and looks whether anything is
    /// left. Empty when clean. A second call does nothing.
    pub fn stop(&self) -> Vec<String> {
        let Some(parts) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Vec::new() };
        let mut left = Vec::new();
        self.core.stop();
        if parts.supervisor.join().is_err() {
            left.push("the supervisor failed; its children were killed with it".to_owned());
        }
        drop(parts.pollers);
        drop(parts.links);
        match self.end_stragglers() {
            none if none.is_empty() => self.ledger.mark_gone(MARK, &self.mark),
            some => left.extend(some),
        }
        drop(parts.logs);
        for Mount { path, unmount } in parts.mounts {
            match unmount() {
                // Never with what is in it: should it still be mounted, that is the user's volume.
                Ok(()) if fs::remove_dir(&path).is_ok() || !path.exists() => self.ledger.mount_gone(&path),
                Ok(()) => left.push(format!("the folder {}: remove it by hand", path.display())),
                Err(e) => left.push(format!("the mount {}: {e}", path.display())),
            }
        }
        for path in parts.copies {
            match volume::remove_copy(&path) {
                Ok(_) => self.ledger.copy_gone(&path),
                Err(e) => left.push(e),
            }
        }
        if let Some(temp) = parts.temp {
            match fs::remove_dir(&temp) {
                Ok(()) => self.ledger.folder_gone(&temp),
                Err(_) => left.push(format!("the folder {}: remove it by hand", temp.display())),
            }
        }
        left
    }

    /// Threads, links and addresses; no child yet.
    fn prepare(options: &LocalOptions<'_>) -> Result<Local, String> {
        raise_file_limit();
        let plan = options.plan;
        let (seed, cpus) = (options.seed, &options.replica_cpus);
        let logs = Logs::start(&options.run_dir.join("logs"), cpus)?;
        let service = Link::start("service", seed, cpus)?;
        let links = plan.dependencies.iter().map(|d| Link::start(&d.name, seed, cpus));
        let links: Vec<Link> = links.collect::<Result<_, _>>()?;
        let volume_of = |replica| {
            plan.volume.as_ref()?;
            let private = private_dir(options.run_id);
            let copy = plan.writable.then(|| volume::copy_of(&private, replica));
            options.volume_views.map(|_| view_of(&private, replica)).or(copy)
        };
        let endpoint = Endpoint {
            address: service.address(),
            link_us: None,
            replica_cpus: options.replica_cpus.clone(),
            logs: options.run_dir.join("logs"),
        };
        let mark = format!("{}.{}.{}", options.run_id, ProcessId::current().pid, endpoint.address.port());
        let units =
            Units { options, logs: &logs, service: &service, links: &links, volume_of: &volume_of, mark: &mark };
        let units = units.make()?;
        let (d, r) = (plan.dependencies.len(), plan.replicas as usize);
        let core = Arc::new(Core::new(units, options.clock, options.ledger.clone())?);
        let pollers = Pollers::start(core.clone(), cpus)?;
        let (of_thread, of_cpus) = (core.clone(), cpus.clone());
        let supervise = move || {
            process::pin_thread(&of_cpus);
            of_thread.supervise();
        };
        let supervisor = thread::Builder::new().name("supervisor".into()).spawn(supervise);
        let supervisor = supervisor.map_err(|e| format!("thread for the supervisor: {e}"))?;
        let names = plan.dependencies.iter().map(|d| Some(d.name.clone()));
        let controls = names.zip(links.iter().map(Link::control)).chain([(None, service.control())]).collect();
        let all_links = links.into_iter().chain([service]).collect();
        let parts =
            Parts { supervisor, pollers, links: all_links, logs, mounts: Vec::new(), copies: Vec::new(), temp: None };
        Ok(Local {
            core,
            dependencies: 0..d,
            inits: d..2 * d,
            replicas: 2 * d..2 * d + r,
            links: controls,
            volumes: Vec::new(),
            endpoint,
            ledger: options.ledger.clone(),
            mark,
            parts: Mutex::new(Some(parts)),
        })
    }

    fn bring_up(&mut self, options: &LocalOptions<'_>) -> Result<(), StartError> {
        let plan = options.plan;
        self.bring_up_dependencies(options)?;
        self.make_volumes(options)?;
        self.replicas.clone().for_each(|unit| self.core.start(unit));
        self.until_ready(self.replicas.clone(), &plan.ready, options.stop)?;
        if let (Some(first), Some(path)) = (self.replicas.clone().next(), &plan.ready.path) {
            let direct = self.core.units[first].address;
            self.endpoint.link_us = measure_link(direct, self.endpoint.address, path);
        }
        Ok(())
    }

    /// Starts dependencies, at the same time where they do not call each other, and runs their inits.
    fn bring_up_dependencies(&self, options: &LocalOptions<'_>) -> Result<(), StartError> {
        let all = &options.plan.dependencies;
        let mut standing = 0;
        for (n, dependency) in all.iter().enumerate() {
            if calls_another(dependency) {
                self.settle(standing..n, options)?;
                standing = n;
            }
            self.core.start(self.dependencies.start + n);
        }
        self.settle(standing..all.len(), options)
    }

    /// Waits until these dependencies, which were started, are ready, and runs their inits.
    fn settle(&self, which: Range<usize>, options: &LocalOptions<'_>) -> Result<(), StartError> {
        for n in which.clone() {
            let unit = self.dependencies.start + n;
            self.until_ready(unit..unit + 1, &options.plan.dependencies[n].ready, options.stop)?;
        }
        for n in which {
            let (unit, dependency) = (self.inits.start + n, &options.plan.dependencies[n]);
            if !dependency.init.is_empty() {
                self.core.start(unit);
                self.until_done(unit, dependency.ready.timeout, options.stop)?;
            }
        }
        Ok(())
    }

    /// What each replica finds as its volume: a copy where it may write, and a view in front where a fault may come.
    fn make_volumes(&mut self, options: &LocalOptions<'_>) -> Result<(), String> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(volume), Some(parts)) = (&options.plan.volume, parts.as_mut()) else { return Ok(()) };
        let writable = options.plan.writable;
        if !writable && options.volume_views.is_none() {
            return Ok(());
        }
        let temp = private_dir(options.run_id);
        if writable {
            fits(volume, options.plan.replicas, &temp)?;
        }
        self.ledger.folder_planned(&temp);
        if let Err(e) = DirBuilder::new().mode(0o700).create(&temp) {
            self.ledger.folder_gone(&temp);
            return Err(format!("folder {}: {e}", temp.display()));
        }
        parts.temp = Some(temp.clone());
        for replica in 0..options.plan.replicas {
            let copy = writable.then(|| volume::copy_of(&temp, replica));
            if let Some(copy) = &copy {
                self.ledger.copy_planned(copy);
                self.noted()?;
                parts.copies.push(copy.clone());
                volume::copy(volume, copy, options.stop)
                    .map_err(|e| format!("copy of the volume {}: {e}", volume.display()))?;
            }
            let Some(mount) = options.volume_views else { continue };
            let path = view_of(&temp, replica);
            self.ledger.mount_planned(&path);
            self.noted()?;
            if let Err(e) = fs::create_dir(&path) {
                self.ledger.mount_gone(&path);
                return Err(format!("folder {}: {e}", path.display()));
            }
            match mount(copy.as_ref().unwrap_or(volume), &path) {
                Ok(MountedVolume { control, unmount }) => {
                    parts.mounts.push(Mount { path, unmount });
                    self.volumes.push(control);
                }
                Err(e) => {
                    if fs::remove_dir(&path).is_ok() {
                        self.ledger.mount_gone(&path);
                    }
                    return Err(format!("view of the volume {}: {e}", volume.display()));
                }
            }
        }
        if writable {
            // Once more, so that a walk backwards ends those who write before it removes what they write to.
            self.ledger.mark_planned(MARK, &self.mark);
        }
        Ok(())
    }

    /// What was planned last is in the ledger; else it must not be done.
    fn noted(&self) -> Result<(), String> {
        self.ledger.trouble().map_or(Ok(()), |why| Err(format!("nothing is started without a journal of it: {why}")))
    }

    /// Waits until these units were ready once. A first start that ends is an error at once, not a crash loop.
    fn until_ready(&self, units: Range<usize>, ready: &Ready, stop: &dyn Fn() -> bool) -> Result<(), StartError> {
        let waited = self.wait(ready.timeout, stop, |state| {
            let mut all = units.clone().map(|unit| (unit, &state.units[unit]));
            if let Some((unit, _)) = all.clone().find(|(_, s)| s.problem.is_some() || s.exit.is_some()) {
                return Some(Err(unit));
            }
            all.all(|(_, s)| s.ready).then_some(Ok(()))
        })?;
        match waited {
            Some(Ok(())) => Ok(()),
            Some(Err(unit)) => Err(self.ended_early(unit).into()),
            None => Err(self.never_ready(units, ready).into()),
        }
    }

    /// Waits until a command that runs once has ended well.
    fn until_done(&self, unit: usize, limit: Duration, stop: &dyn Fn() -> bool) -> Result<(), StartError> {
        let waited = self.wait(limit, stop, |state| {
            let status = &state.units[unit];
            let exit = status.exit.as_ref().map(|(_, success)| *success);
            exit.or_else(|| status.problem.as_ref().map(|_| false))
        })?;
        let name = &self.core.units[unit].name;
        match waited {
            Some(true) => Ok(()),
            Some(false) => Err(self.ended_early(unit).into()),
            None => Err(self.with_log(unit, format!("{name} did not end within {}", show_duration(limit))).into()),
        }
    }

    fn wait<T>(
        &self,
        limit: Duration,
        stop: &dyn Fn() -> bool,
        mut done: impl FnMut(&mut supervisor::State) -> Option<T>,
    ) -> Result<Option<T>, StartError> {
        let until = monotonic_nanos() + limit.as_nanos() as u64;
        loop {
            if stop() {
                let message = "stopped while the platform was starting".to_owned();
                return Err(StartError { message, interrupted: true, left: Vec::new() });
            }
            let left = Duration::from_nanos(until.saturating_sub(monotonic_nanos()));
            let found = self.core.wait(left.min(Duration::from_millis(50)), &mut done);
            if found.is_some() || left.is_zero() {
                return Ok(found);
            }
        }
    }

    fn ended_early(&self, unit: usize) -> String {
        let name = &self.core.units[unit].name;
        let state = self.core.lock();
        let status = &state.units[unit];
        match (&status.problem, &status.exit) {
            (Some(problem), _) => format!("{name}: {problem}"),
            (None, exit) => {
                let how = exit.as_ref().map_or("ended", |(text, _)| text).to_owned();
                drop(state);
                let before = if self.core.units[unit].ready.is_some() { " before it was ready" } else { "" };
                self.with_log(unit, format!("{name} {how}{before}"))
            }
        }
    }

    fn never_ready(&self, units: Range<usize>, ready: &Ready) -> String {
        let state = self.core.lock();
        let late: Vec<usize> = units.filter(|unit| !state.units[*unit].ready).collect();
        let polls: Vec<String> = late.iter().map(|unit| state.units[*unit].last_poll.clone()).collect();
        drop(state);
        let Some((first, last_poll)) = late.first().zip(polls.first()) else { return "not ready in time".to_owned() };
        let it = &self.core.units[*first];
        let others = if late.len() > 1 { format!(" (and {} more)", late.len() - 1) } else { String::new() };
        let limit = show_duration(ready.timeout);
        let mut message = format!("{}{others} was not ready within {limit}; last poll: {last_poll}", it.name);
        if last_poll.contains("refused") {
            let address = it.address;
            let hint = format!(
                "\nhint: it must listen on {{address}}, here {address}; raise `ready.timeout` if it only starts slowly"
            );
            message += &hint;
        }
        self.with_log(*first, message)
    }

    fn with_log(&self, unit: usize, message: String) -> String {
        let log = &self.core.units[unit].log;
        let lines = log.last_lines(ERROR_LINES);
        if lines.is_empty() {
            return format!("{message}\nit printed nothing ({})", log.path().display());
        }
        let lines: String = lines.iter().map(|line| format!("\n  | {line}")).collect();
        format!("{message}\nthe end of its log ({}):{lines}", log.path().display())
    }

    /// Ends what is left of the children's groups, and what left those groups. Says what would not end.
    fn end_stragglers(&self) -> Vec<String> {
        let leaders: Vec<ProcessId> = self.core.lock().units.iter().filter_map(|s| s.last_group.clone()).collect();
        let until = monotonic_nanos() + 2_000_000_000;
        loop {
            let mut left = process::members(&leaders);
            left.extend(process::with_environment(MARK, &self.mark));
            for process in &left {
                process.signal(Signal::KILL);
            }
            if left.is_empty() || monotonic_nanos() > until {
                left.dedup();
                return left.iter().map(|p| format!("process {}: end it by hand (kill -9 {0})", p.pid)).collect();
            }
            clock::sleep(Duration::from_millis(5));
        }
    }

    fn unit(&self, replica: u16) -> Result<usize, String> {
        let unit = self.replicas.start + replica as usize;
        self.replicas.contains(&unit).then_some(unit).ok_or_else(|| format!("there is no replica {replica}"))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running for Local {
    fn endpoint(&self) -> Option<Endpoint> {
        Some(self.endpoint.clone())
    }

    fn set_clock(&self, clock: Clock) {
        self.core.set_clock(clock);
    }

    fn stop(&self) -> Vec<String> {
        Local::stop(self)
    }
}

impl Replicas for Local {
    fn word(&self) -> &'static str {
        "local"
    }

    fn how(&self, deed: Deed) -> Result<String, String> {
        Ok(match deed {
            Deed::Kill(Kill { grace: Some(grace), .. }) => {
                format!("SIGTERM to the process group, SIGKILL after {}", show_duration(grace))
            }
            Deed::Kill(_) => "SIGKILL to the process group".to_owned(),
            Deed::HoldDown => "SIGKILL to the process group, not restarted for the time".to_owned(),
            Deed::Pause => "SIGSTOP to the process group, SIGCONT after the time".to_owned(),
            Deed::RollOut => return Err("local replicas are restarted one after another".to_owned()),
        })
    }

    fn is_gone(&self, instance: &Instance) -> bool {
        process::is_gone(instance)
    }

    fn is_paused(&self, instance: &Instance) -> bool {
        process::is_stopped(instance)
    }

    fn list(&self) -> Vec<ReplicaView> {
        let state = self.core.lock();
        let view = |(index, unit): (usize, usize)| {
            let status = &state.units[unit];
            let (process, ready, starts) = (status.process.clone(), status.ready, status.starts);
            ReplicaView { index: index as u16, instance: process.map(Instance::Process), ready, starts }
        };
        self.replicas.clone().enumerate().map(view).collect()
    }

    fn kill(&self, replica: u16, how: Kill) -> Result<(Instance, Offset), String> {
        self.core.kill(self.unit(replica)?, how.grace, false).map(played)
    }

    fn hold_down(&self, replica: u16) -> Result<(Instance, Offset), String> {
        self.core.kill(self.unit(replica)?, None, true).map(played)
    }

    fn release(&self, replica: u16) -> Result<(), String> {
        self.core.release(self.unit(replica)?)
    }

    fn pause(&self, replica: u16) -> Result<(Instance, Offset), String> {
        self.core.signal(self.unit(replica)?, Signal::STOP).map(played)
    }

    fn resume(&self, replica: u16) -> Result<(), String> {
        self.core.resume(self.unit(replica)?)
    }

    fn link(&self, dependency: Option<&str>) -> Option<Arc<dyn LinkControl>> {
        let found = self.links.iter().find(|(name, _)| name.as_deref() == dependency);
        found.map(|(_, control)| control.clone())
    }

    fn replica_address(&self, replica: u16) -> Option<SocketAddr> {
        Some(self.core.units[self.unit(replica).ok()?].address)
    }

    fn dependency_address(&self, name: &str) -> Option<SocketAddr> {
        // Dependencies come first among the units and among the links, in the same order.
        let nth = self.links.iter().position(|(of, _)| of.as_deref() == Some(name))?;
        Some(self.core.units[nth].address)
    }

    fn cpus(&self, replica: u16) -> Option<Vec<usize>> {
        Some(self.core.units[self.unit(replica).ok()?].cpus.clone())
    }

    fn volume(&self, replica: u16) -> Option<Arc<dyn VolumeControl>> {
        self.volumes.get(replica as usize).cloned()
    }

    fn events(&self) -> Vec<PlatformEvent> {
        self.core.events()
    }
}

/// Its command needs the address of a dependency that stands before it.
fn calls_another(dependency: &Dependency) -> bool {
    dependency.command.iter().chain(dependency.env.values()).any(|word| word.contains("{dependency."))
}

fn played((process, at): (ProcessId, Offset)) -> (Instance, Offset) {
    (Instance::Process(process), at)
}

/// Makes the units of a plan: dependencies, their inits, replicas.
struct Units<'a> {
    options: &'a LocalOptions<'a>,
    logs: &'a Logs,
    service: &'a Link,
    links: &'a [Link],
    /// Which folder a replica finds as its volume; none: the original.
    volume_of: &'a dyn Fn(u16) -> Option<PathBuf>,
    mark: &'a str,
}

impl Units<'_> {
    fn make(&self) -> Result<Vec<Unit>, String> {
        let plan = self.options.plan;
        let mut ports = Ports::new();
        let names = plan.dependencies.iter().map(|d| d.name.clone());
        let linked: BTreeMap<String, SocketAddr> = names.zip(self.links.iter().map(Link::address)).collect();
        let mut units = Vec::new();
        for (d, link) in plan.dependencies.iter().zip(self.links) {
            let address = ports.find()?;
            let words = Words { address, replica: None, volume: None, dependencies: &linked };
            let unit = self.unit(&format!("dependency {}", d.name), &d.command, &d.env, &words)?;
            units.push(Unit { ready: Some(d.ready.clone()), rotation: Some(link.rotation()), ..unit });
        }
        for (d, link) in plan.dependencies.iter().zip(self.links) {
            // An init calls the dependency as replicas do: by its link.
            let words = Words { address: link.address(), replica: None, volume: None, dependencies: &linked };
            units.push(self.unit(&format!("init of {}", d.name), &d.init, &d.env, &words)?);
        }
        for replica in 0..plan.replicas {
            let address = ports.find()?;
            let own = (self.volume_of)(replica);
            let volume = own.as_ref().or(plan.volume.as_ref()).map(|path| path.to_string_lossy());
            let words = Words { address, replica: Some(replica), volume: volume.as_deref(), dependencies: &linked };
            let unit = self.unit(&format!("replica {replica}"), &plan.command, &plan.env, &words)?;
            let (ready, rotation) = (Some(plan.ready.clone()), Some(self.service.rotation()));
            units.push(Unit { replica: Some(replica), ready, rotation, ..unit });
        }
        Ok(units)
    }

    fn unit(
        &self,
        name: &str,
        argv: &[String],
        env: &BTreeMap<String, String>,
        words: &Words<'_>,
    ) -> Result<Unit, String> {
        let mut argv: Vec<String> = argv.iter().map(|word| words.fill(word)).collect();
        if let Some(first) = argv.first_mut().filter(|first| *first == "resbench") {
            let me = std::env::current_exe().map_err(|e| format!("the path of resbench itself: {e}"))?;
            *first = me.to_string_lossy().into_owned();
        }
        let mut env: BTreeMap<String, String> = env.iter().map(|(k, v)| (k.clone(), words.fill(v))).collect();
        env.insert(MARK.to_owned(), self.mark.to_owned());
        Ok(Unit {
            name: name.to_owned(),
            replica: None,
            argv,
            env,
            dir: self.options.dir.to_owned(),
            cpus: self.options.replica_cpus.clone(),
            address: words.address,
            ready: None,
            restart_delay: self.options.plan.restart_delay,
            rotation: None,
            log: self.logs.open(&name.replace(' ', "-"))?,
        })
    }
}

/// Copies stand where temporary files do, and must not fill that up.
fn fits(volume: &Path, replicas: u16, temp: &Path) -> Result<(), String> {
    let problem = |why: String| format!("copies of the volume {} for {replicas} replicas: {why}", volume.display());
    let bytes = volume::size_of(volume).map_err(problem)?.saturating_mul(u64::from(replicas));
    if bytes > volume::MAX_COPIED {
        let limit = volume::MAX_COPIED;
        return Err(problem(format!(
            "{bytes} bytes; {limit} are the most: name a smaller folder, or leave `writable` out"
        )));
    }
    let Some(place) = temp.parent() else { return Ok(()) };
    let room = rustix::fs::statvfs(place).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    match room {
        Ok(room) if bytes > room / 2 => Err(problem(format!(
            "{bytes} bytes, and {} has {room} left, of which half may be used: name a smaller folder, or give {} more room",
            place.display(),
            place.display()
        ))),
        _ => Ok(()),
    }
}

fn view_of(temp: &Path, replica: u16) -> PathBuf {
    temp.join(format!("volume-{replica}"))
}

/// The run's private folder for mounts; made only when it is needed.
fn private_dir(run_id: &str) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let dir = runtime.unwrap_or_else(std::env::temp_dir);
    // `TMPDIR` may be relative, and what a journal names is looked for from another folder.
    std::path::absolute(&dir).unwrap_or(dir).join(format!("resbench-{run_id}"))
}

/// Two descriptors per connection of each link: as many as the system lets us have without asking.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
