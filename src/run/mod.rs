//! The composition root: plan → platform → load with faults → records → verdicts → report.
//!
//! Wires parts together and decides nothing about the domain. Every road out of [`run`] ends the load, puts back every
//! fault, stops the platform, and leaves a report that says how it ended.

mod altered;
mod conclude;
pub mod game_day;
mod guard;
pub mod own_limit;
mod preflight;
mod scrapes;
pub mod series;
mod surroundings;
pub mod trials;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::alteration::Alterations;
use crate::client::resolve::{LookUps, Resolved};
use crate::client::tls;
use crate::clock::{self, Clock};
use crate::engine::{self, Connections, Engine, Job, Live, LoadResult, Shared};
use crate::fault::injector::TargetRef;
use crate::fault::journal::{self, BeginError, FinishError, Header, Journal};
use crate::fault::runner::{FaultContext, FaultObserver, FaultRecord, PreparedFaults, run_faults};
use crate::fault::stop::StopSignal;
use crate::fault::watchdog::Watchdog;
use crate::fault::{self, InjectorContext};
use crate::plan::{DockerPlatform, FaultKind, LocalPlatform, Plan, Platform, Pods, ProbeKind, Url, Via};
use crate::platform::docker::{self, Docker, DockerOptions};
use crate::platform::kubernetes::{Kubernetes, cluster};
use crate::platform::local::{Local, LocalOptions, MountedVolume};
use crate::platform::process::{available_cpus, split_cpus};
use crate::platform::volume::{VolumeView, Writes};
use crate::platform::{Endpoint, PlatformEvent, Replicas, Running, StartError};
use crate::probe::scrape::{ScrapeLog, Scraper};
use crate::probe::{ProbeLog, Prober, When};
use crate::record::LiveLatency;
use crate::report::model::{Ending, Report};
use crate::rng;
use crate::units::{Offset, Seed};

/// From "all is ready" to offset zero.
const LEAD: Duration = Duration::from_millis(200);
/// Between two looks at progress, stop signal and safety.
const LOOK: Duration = Duration::from_millis(50);
/// Replicas whose pages of metrics are read.
const SCRAPED_MAX: usize = 16;
/// Load workers at most, whatever the machine has.
const WORKERS_MAX: usize = 64;

/// How the load engine uses the machine. Changes no arrival.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Load threads; none: one for each CPU that is the load's.
    pub workers: Option<usize>,
    /// The last stretch before an arrival that is spent looking instead of sleeping.
    pub spin: Duration,
    /// CPUs to pin the load threads to, in turn; empty: the system's choice, or those that replicas do not run on.
    pub cpus: Vec<usize>,
}

/// What a caller may ask for beside the plan.
pub struct RunOptions {
    /// Where runs are kept; `<name>/<time>-<id>/` is made in it.
    pub reports: PathBuf,
    /// How the load engine uses the machine.
    pub load: LoadOptions,
    /// Raised by Ctrl-C or SIGTERM.
    pub stop: StopSignal,
    /// The command that reproduces the run.
    pub reproduce: String,
}

/// Told of the run as it goes. Called from several threads; must be quick.
pub trait Observer: Sync {
    /// Something began that may take a while.
    fn stage(&self, text: &str);
    /// Offset zero is near: load is about to start.
    fn armed(&self, clock: &Clock);
    /// Some 20 times a second while load runs.
    fn progress(&self, progress: &Progress);
    /// Something happened that is worth a line.
    fn event(&self, at: Offset, text: &str);
}

/// One look at a run.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// Now.
    pub now: Offset,
    /// Counts so far.
    pub live: Live,
    /// Latency of late. Putting it together takes a millisecond or two of the load's CPU: only who shows it asks.
    pub latency: &'a dyn Fn() -> LiveLatency,
}

/// A run that has ended and was saved.
#[derive(Debug)]
pub struct Finished {
    /// What it says.
    pub report: Report,
    /// Where it is.
    pub dir: PathBuf,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// The reports folder cannot be written (exit code 2).
    Usage(String),
    /// An unfinished journal stands in the way (exit code 4).
    NotClean(String),
    /// Something on this machine failed before anything was begun (exit code 5).
    NotStarted(String),
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunError::Usage(why) | RunError::NotClean(why) | RunError::NotStarted(why) => f.write_str(why),
        }
    }
}

impl RunError {
    /// DESIGN section 3.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Usage(_) => 2,
            RunError::NotClean(_) => 4,
            RunError::NotStarted(_) => 5,
        }
    }
}

/// Runs a plan and saves its report.
///
/// # Errors
/// When nothing was begun, or nothing can be kept; see [`RunError`].
pub fn run(plan: &Plan, options: &RunOptions, observer: &dyn Observer) -> Result<Finished, RunError> {
    let (id, dir) = make_dir(plan, &options.reports)?;
    let begun = Begun::begin(plan, &id).inspect_err(|_| remove_empty(&dir))?;
    let surroundings = surroundings::look(plan);
    let mut measured = Measured::nothing(plan);
    let mut stage = Stage { plan, options, observer, id: &id, dir: &dir, begun: &begun };
    // A panic anywhere below ends here, after every guard on its way has put its part back.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.play(&mut measured)));
    if let Err(panic) = &outcome {
        let text =
            panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        measured.ending = Ending::NotStarted;
        measured.why.push(format!("a mistake of resbench itself: panic: {}", text.unwrap_or_default()));
    }
    let clean = begun.finish(&measured, &dir, &|text| observer.event(measured.clock.now(), text));
    conclude::conclude(plan, options, &id, &dir, surroundings, measured, clean)
}

/// The journal and the watchdog: there before anything is started, gone after everything was put back.
struct Begun {
    journal: Arc<Journal>,
    watchdog: Watchdog,
}

impl Begun {
    fn begin(plan: &Plan, id: &str) -> Result<Begun, RunError> {
        let state = journal::state_dir().map_err(RunError::NotStarted)?;
        let header = Header::new(id, &plan.name, works_on(plan).map_err(RunError::NotStarted)?);
        let journal = Journal::begin(&state, header, &plan.secrets).map_err(|e| match e {
            BeginError::InTheWay(why) => RunError::NotClean(why),
            BeginError::Failed(why) => RunError::NotStarted(why),
        })?;
        let watchdog = Watchdog::start(journal.path()).map_err(|why| {
            // Nothing was begun, so nothing is left; a journal that cannot be removed will say so itself.
            let _ = journal.finish(true, None);
            RunError::NotStarted(why)
        })?;
        Ok(Begun { journal: Arc::new(journal), watchdog })
    }

    /// Closes the journal. Empty when everything is put back; else what is left, with the cure. `tell` hears what else went wrong.
    fn finish(self, measured: &Measured, dir: &Path, tell: &dyn Fn(&str)) -> Vec<String> {
        let mut left = measured.left.clone();
        left.extend(measured.faults.iter().flat_map(|f| f.residue.iter().map(|r| format!("fault {}: {r}", f.name))));
        let open = self.journal.open_items();
        for item in open {
            if !left.iter().any(|l| l.contains(&item)) {
                left.push(format!("still open: {item}"));
            }
        }
        let is_finished = match self.journal.finish(left.is_empty(), Some(dir)) {
            Ok(_) => true,
            // A report without its copy leaves nothing broken.
            Err(FinishError::NoCopy { why, .. }) => {
                tell(&format!("the report has no copy of the journal: {why}"));
                true
            }
            Err(FinishError::Open(why)) => {
                left.push(why);
                false
            }
        };
        if let Err(why) = self.watchdog.stop(is_finished) {
            left.push(why);
        }
        // From one that is gone nothing is put back.
        let path = self.journal.path();
        if !left.is_empty() && path.exists() {
            left.push(format!("to put it back: resbench revert --journal {}", path.display()));
        }
        left
    }
}

/// What a run works on, so that a second one does not start over an unfinished journal.
fn works_on(plan: &Plan) -> Result<Vec<String>, String> {
    let mut targets = Vec::new();
    if let Some(url) = &plan.target.url {
        targets.push(format!("url:{}:{}", url.host, url.port));
    }
    match &plan.platform {
        None => {}
        Some(Platform::Local(_)) => {
            let path = std::fs::canonicalize(&plan.source.path).unwrap_or_else(|_| plan.source.path.clone());
            targets.push(format!("local:{}", path.display()));
        }
        Some(Platform::Kubernetes(pods)) => {
            let server = cluster::server(pods.context.as_deref())?;
            let name = match &pods.pods {
                Pods::Deployment(name) => name.clone(),
                Pods::Labelled(labels) => labels.to_string(),
            };
            targets.push(format!("kubernetes:{server}/{}/{name}", pods.namespace));
        }
        Some(Platform::Docker(found)) => {
            let all = std::iter::once(&found.replicas).chain(found.dependencies.iter().map(|d| &d.containers));
            let host = docker::host_of(found);
            targets.extend(all.map(|c| format!("docker:{host}/{}", c.labels.join(","))));
        }
    }
    for fault in &plan.faults {
        if let Via::Toxiproxy(t) = &fault.via {
            targets.push(format!("toxiproxy:{}:{}/{}", t.url.host, t.url.port, t.proxy_text));
        }
        // A dependency's registry belongs to this run alone.
        if let FaultKind::RegistryAlias(r) = &fault.kind
            && r.registry.dependency().is_none()
        {
            let url = crate::scenario::url(&r.registry.url)?;
            targets.push(format!("registry:{}:{}/{}", url.host, url.port, r.registry_text));
        }
    }
    targets.dedup();
    Ok(targets)
}

/// Where a run of this plan would take place, as far as this machine knows.
pub fn environment(plan: &Plan) -> crate::report::model::Environment {
    surroundings::look(plan)
}

/// `<reports>/<name>/<time>-<id>/`, and the id.
///
/// # Errors
/// When it cannot be made.
pub fn make_dir(plan: &Plan, reports: &Path) -> Result<(String, PathBuf), RunError> {
    make_dir_named(&plan.name, reports)
}

/// As [`make_dir`], under another name than a scenario's.
///
/// # Errors
/// When it cannot be made.
pub fn make_dir_named(name: &str, reports: &Path) -> Result<(String, PathBuf), RunError> {
    let wall = clock::wall_nanos();
    let time = jiff::Timestamp::from_nanosecond(wall).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut chance = rng::stream(Seed(wall as u64 ^ u64::from(std::process::id())), "run id");
    let id = format!("{time}-{:06x}", rng::below(&mut chance, 1 << 24));
    let dir = reports.join(name).join(&id);
    std::fs::create_dir_all(&dir).map_err(|e| {
        RunError::Usage(format!("{}: {e}: give a folder that can be written with --reports DIR", dir.display()))
    })?;
    Ok((id, dir))
}

fn remove_empty(dir: &Path) {
    // Only empty folders go; anything else is none of ours.
    let _ = std::fs::remove_dir(dir);
    let _ = dir.parent().map(std::fs::remove_dir);
}

/// What a run brought, as far as it came.
pub(crate) struct Measured {
    pub(crate) clock: Clock,
    pub(crate) ending: Ending,
    pub(crate) why: Vec<String>,
    pub(crate) load: Option<LoadResult>,
    pub(crate) load_end: Offset,
    pub(crate) faults: Vec<FaultRecord>,
    pub(crate) probes: Vec<ProbeLog>,
    pub(crate) scrapes: Vec<ScrapeLog>,
    pub(crate) events: Vec<PlatformEvent>,
    pub(crate) replicas: usize,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) url: Option<Url>,
    pub(crate) left: Vec<String>,
    pub(crate) in_flight_when_applied: Vec<Option<u64>>,
    pub(crate) workers: usize,
    pub(crate) in_flight_max: u64,
    pub(crate) connections: Connections,
    /// Of the target's name.
    pub(crate) look_ups: LookUps,
}

impl Measured {
    fn nothing(plan: &Plan) -> Measured {
        Measured {
            clock: Clock::starting_in(Duration::ZERO),
            ending: Ending::NotStarted,
            why: Vec::new(),
            load: None,
            load_end: Offset::ZERO,
            faults: Vec::new(),
            probes: vec![ProbeLog::default(); plan.probes.len()],
            scrapes: Vec::new(),
            events: Vec::new(),
            replicas: 0,
            endpoint: None,
            url: plan.target.url.clone(),
            left: Vec::new(),
            in_flight_when_applied: vec![None; plan.faults.len()],
            workers: 0,
            in_flight_max: 0,
            connections: Connections::default(),
            look_ups: LookUps::default(),
        }
    }

    fn not_started(&mut self, why: impl Into<String>) {
        self.ending = Ending::NotStarted;
        self.why.push(why.into());
    }
}

struct Stage<'a> {
    plan: &'a Plan,
    options: &'a RunOptions,
    observer: &'a dyn Observer,
    id: &'a str,
    dir: &'a Path,
    begun: &'a Begun,
}

impl Stage<'_> {
    /// Platform up, load and faults, platform down.
    fn play(&mut self, measured: &mut Measured) {
        let (mut load_cpus, replica_cpus) = match self.plan.platform {
            Some(Platform::Local(_)) => split_cpus(&available_cpus()),
            _ => (available_cpus(), Vec::new()),
        };
        if !self.options.load.cpus.is_empty() {
            load_cpus.clone_from(&self.options.load.cpus);
        }
        let platform = match self.start_platform(&replica_cpus) {
            Ok(platform) => platform,
            Err(error) => {
                measured.left.extend(error.left);
                measured.ending = if error.interrupted { Ending::Interrupted } else { Ending::NotStarted };
                measured.why.push(error.message);
                return;
            }
        };
        let _down = guard::OnDrop(|| drop(platform.as_ref().map(|p| p.stop())));
        if let Some(endpoint) = platform.as_ref().and_then(|p| p.endpoint()) {
            measured.url = Some(Url {
                tls: false,
                host: endpoint.address.ip().to_string(),
                port: endpoint.address.port(),
                path: self.plan.target.path.clone(),
            });
            measured.endpoint = Some(endpoint);
        }
        measured.replicas = platform.as_ref().map_or(0, |p| p.list().len());
        self.load_and_faults(measured, platform.as_ref(), &load_cpus);
        if let Some(platform) = &platform {
            self.observer.stage("stopping replicas");
            // Taken first: what our own clearing up ends would look like replicas that died of the last fault.
            measured.events = platform.events();
            measured.left.extend(platform.stop());
        }
    }

    /// The platform, started or found; each kind of platform has a line here.
    fn start_platform(&self, replica_cpus: &[usize]) -> Result<Option<Arc<dyn Running>>, StartError> {
        match &self.plan.platform {
            None => Ok(None),
            Some(Platform::Local(local)) => Ok(Some(Arc::new(self.start_local(local, replica_cpus)?))),
            Some(Platform::Kubernetes(pods)) => {
                self.observer.stage("finding the pods");
                let clock = Clock::starting_in(Duration::ZERO);
                Ok(Some(Arc::new(Kubernetes::find(pods, self.id, self.dir, clock)?)))
            }
            Some(Platform::Docker(found)) => Ok(Some(Arc::new(self.find_containers(found)?))),
        }
    }

    fn find_containers(&self, platform: &DockerPlatform) -> Result<Docker, StartError> {
        self.observer.stage(&format!("finding {}", platform.replicas.what));
        Docker::start(DockerOptions {
            plan: platform,
            run_dir: self.dir.to_owned(),
            clock: Clock::starting_in(Duration::ZERO),
            seed: self.plan.seed,
            stop: &|| self.options.stop.stopped(),
        })
    }

    fn start_local(&self, platform: &LocalPlatform, replica_cpus: &[usize]) -> Result<Local, StartError> {
        let with_views = self.plan.faults.iter().any(|f| f.kind.needs_volume_view());
        let asked = self.plan.faults.iter().any(|f| matches!(f.kind, FaultKind::DiskFull { .. }));
        let mount = match (platform.writable, asked) {
            (true, _) => mount_view_of_copy,
            (false, true) => mount_view_asked_for_writes,
            (false, false) => mount_view,
        };
        self.observer.stage(&format!("starting {} replicas", platform.replicas));
        Local::start(LocalOptions {
            plan: platform,
            dir: &self.plan.source.dir,
            run_dir: self.dir,
            run_id: self.id,
            clock: Clock::starting_in(Duration::ZERO),
            seed: self.plan.seed,
            ledger: self.begun.journal.clone(),
            volume_views: with_views.then_some(mount),
            replica_cpus: replica_cpus.to_vec(),
            stop: &|| self.options.stop.stopped(),
        })
    }

    fn load_and_faults(&self, measured: &mut Measured, platform: Option<&Arc<dyn Running>>, load_cpus: &[usize]) {
        let Some(url) = measured.url.clone() else {
            return measured.not_started("there is neither a url nor a platform");
        };
        let prober = Prober::new(self.plan, url.clone(), self.options.stop.clone());
        let traffic = &self.plan.traffic;
        let resolved = match Resolved::new(&url.host, url.port, traffic.address_family, traffic.dns_refresh) {
            Ok(resolved) => resolved,
            Err(why) => return measured.not_started(why),
        };
        surroundings::raise_file_limit();
        let room = resolved.next().map(|address| preflight::Room::here(address.ip()));
        let ready = engine::available().and_then(|()| room.map_or(Ok(()), |room| preflight::check(self.plan, room)));
        if let Err(why) = ready {
            return measured.not_started(why);
        }
        let target = &self.plan.target;
        let session = url.tls.then(|| tls::client(&url.host, target.ca.as_deref(), target.http2)).transpose();
        let session = match session {
            Ok(session) => session,
            Err(why) => return measured.not_started(why),
        };
        self.observer.stage("checking the steady state");
        let before = prober.reachable().and_then(|()| prober.steady(When::Before, &measured.clock));
        measured.probes = prober.logs();
        if let Err(why) = before {
            return measured.not_started(format!("the steady state does not hold: {why}"));
        }
        let workers = self.options.load.workers.unwrap_or(load_cpus.len()).clamp(1, WORKERS_MAX);
        let look_ups = resolved.clone();
        let spin = self.options.load.spin;
        let job = Arc::new(Job::new(Arc::new(self.plan.clone()), &url, resolved, session, spin));
        let alterations = job.alterations.clone();
        let prepared = self.within_limits(platform).and_then(|()| self.prepare_faults(platform, &alterations));
        let (clock, faults) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return measured.not_started(why),
        };
        if let Some(platform) = platform {
            platform.set_clock(clock);
        }
        measured.clock = clock;
        measured.workers = workers;
        let shared = Arc::new(Shared::new(self.plan, workers));
        // Only on a platform of ours are CPUs set apart; elsewhere the system knows better.
        let apart = matches!(self.plan.platform, Some(Platform::Local(_))) && load_cpus.len() < available_cpus().len();
        let pinned = if apart || !self.options.load.cpus.is_empty() { load_cpus } else { &[] };
        let load = Engine::start(job, shared.clone(), clock, pinned, self.dir.join("slots.tmp"));
        self.observer.armed(&clock);
        let scraper = Scraper::new(self.plan, &url, &replica_addresses(platform));
        let ran = self.run_together(clock, &shared, load, faults, platform, (&prober, &scraper));
        measured.scrapes = scraper.logs();
        measured.scrapes.extend(platform.and_then(|p| p.usage()).map(scrapes::of_usage));
        measured.ending = ran.ending;
        measured.why.extend(ran.why);
        measured.faults = ran.faults;
        measured.in_flight_when_applied = ran.in_flight;
        measured.load_end = shared.load_end();
        measured.in_flight_max = shared.in_flight_max();
        measured.connections = shared.connections();
        measured.look_ups = look_ups.look_ups();
        match ran.load {
            Ok(load) => measured.load = Some(load),
            // Faults were applied all the same: what became of them is kept, and no number is claimed.
            Err(e) => measured.why.push(format!("the records of the load are lost: {e}")),
        }
        self.ask_after(&prober, &clock);
        if self.options.stop.stopped()
            && measured.ending == Ending::Completed
            && self.plan.probes.iter().any(|p| p.after)
        {
            measured.ending = Ending::Interrupted;
            measured.why.push("stopped by a signal before every probe was asked".to_owned());
        }
        measured.probes = prober.logs();
    }

    /// Replicas that were found, and not started, are counted only now.
    fn within_limits(&self, platform: Option<&Arc<dyn Running>>) -> Result<(), String> {
        let Some(replicas) = platform.map(|p| p.list().len()) else { return Ok(()) };
        let (most, rule) = self.plan.safety.most(replicas);
        let over = |f: &&crate::plan::FaultPlan| f.hits(replicas) > most;
        self.plan.faults.iter().find(over).map_or(Ok(()), |f| {
            let hits = f.hits(replicas);
            Err(format!(
                "fault {}: it hits {hits} of {replicas} replicas at the same time, but at most {most} may be: {rule}",
                f.name
            ))
        })
    }

    /// The faults, prepared, and the clock that they are on. A cluster takes its time over what it is asked: where zero
    /// came too near meanwhile, all is prepared once more for a later one.
    fn prepare_faults(
        &self,
        platform: Option<&Arc<dyn Running>>,
        alterations: &Arc<Alterations>,
    ) -> Result<(Clock, PreparedFaults), String> {
        let mut lead = LEAD + prepare_time(self.plan);
        for _ in 0..2 {
            let clock = Clock::starting_in(lead);
            let faults = self.prepare_on(clock, platform, alterations)?;
            if clock.until(Offset::ZERO) >= LEAD / 4 {
                return Ok((clock, faults));
            }
            let took = lead + Duration::from_nanos(clock.now().0);
            lead = LEAD + took * 2;
        }
        let clock = Clock::starting_in(lead);
        Ok((clock, self.prepare_on(clock, platform, alterations)?))
    }

    fn prepare_on(
        &self,
        clock: Clock,
        platform: Option<&Arc<dyn Running>>,
        alterations: &Arc<Alterations>,
    ) -> Result<PreparedFaults, String> {
        let cx = InjectorContext {
            seed: self.plan.seed,
            clock,
            replicas: platform.map(|p| p.clone() as Arc<dyn Replicas>),
            stop: self.options.stop.clone(),
            ledger: self.begun.journal.clone(),
            dir: self.plan.source.dir.clone(),
            run: self.id.to_owned(),
            plan: Arc::new(self.plan.clone()),
            alterations: alterations.clone(),
        };
        fault::prepare(self.plan, &cx)
    }

    /// Load, faults, probes and the watch over them, until all have ended.
    fn run_together(
        &self,
        clock: Clock,
        shared: &Shared,
        load: Engine,
        prepared: PreparedFaults,
        platform: Option<&Arc<dyn Running>>,
        (prober, scraper): (&Prober<'_>, &Scraper<'_>),
    ) -> Ran {
        let stop = &self.options.stop;
        let in_flight = self.plan.faults.iter().map(|_| AtomicU64::new(UNKNOWN)).collect();
        let observer = Watch { plan: self.plan, shared, observer: self.observer, in_flight };
        let unsteady = AtomicBool::new(false);
        let cx = FaultContext {
            plan: self.plan,
            clock,
            replicas: platform.map(|p| p.clone() as Arc<dyn Replicas>),
            journal: &self.begun.journal,
            stop,
            observer: &observer,
            guarded: &|| {
                if self.begun.watchdog.keep(self.begun.journal.path())? {
                    self.observer.event(clock.now(), "the watchdog was gone; another one stands");
                }
                Ok(())
            },
            check_probe: &|name| prober.passes(name),
            before_first: &|| {
                prober.steady(When::BeforeFault, &clock).inspect_err(|_| unsteady.store(true, Ordering::Release))
            },
        };
        std::thread::scope(|scope| {
            // Should this thread panic, the others must end, or the scope would wait for ever.
            let _end = guard::OnDrop(|| {
                stop_if_panicking(stop);
            });
            let faults = scope.spawn(|| run_faults(&cx, prepared));
            for (index, probe) in self.plan.probes.iter().enumerate() {
                if let Some(every) = probe.during {
                    scope.spawn(move || self.ask_during(prober, index, every, clock, shared));
                }
            }
            for source in 0..scraper.len() {
                scope.spawn(move || self.scrape_during(scraper, source, clock, shared));
            }
            let mut watch = guard::SafetyWatch::new(&self.plan.safety);
            let mut ending = Ending::Completed;
            let mut why = Vec::new();
            while !load.is_over() || !faults.is_finished() {
                let live = load.live();
                let now = clock.now();
                self.observer.progress(&Progress { now, live, latency: &|| load.latency() });
                if let Some(reason) = (ending == Ending::Completed).then(|| watch.look(now, &live)).flatten() {
                    ending = Ending::SafetyStop;
                    self.observer.event(now, &reason);
                    why.push(reason);
                    stop.stop();
                }
                if stop.stopped() && !shared.stopped() && !load.is_over() {
                    if ending == Ending::Completed {
                        ending = Ending::Interrupted;
                        why.push("stopped by a signal".to_owned());
                    }
                    shared.stop_load(now);
                }
                if unsteady.load(Ordering::Acquire) {
                    shared.stop_load(now);
                }
                clock::sleep(LOOK);
            }
            let outcome = faults.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if let Some(lost) = outcome.steady_state_lost {
                ending = Ending::NotStarted;
                why.push(lost);
            }
            let known = |n: &AtomicU64| Some(n.load(Ordering::Relaxed)).filter(|n| *n != UNKNOWN);
            let in_flight = observer.in_flight.iter().map(known).collect();
            Ran { ending, why, faults: outcome.records, in_flight, load: load.finish() }
        })
    }

    fn ask_during(&self, prober: &Prober<'_>, index: usize, every: Duration, clock: Clock, shared: &Shared) {
        // An alert is looked at from the very beginning: one that fires already is none of a fault.
        let at_once = matches!(self.plan.probes[index].kind, ProbeKind::Alert(_));
        let mut next = if at_once { Offset::ZERO } else { Offset::ZERO + every };
        let mut told_lost = false;
        while next < shared.load_end() {
            if self.options.stop.wait_until(&clock, next) || shared.stopped() {
                return;
            }
            let asked = prober.ask(index, When::During, &clock);
            let name = &self.plan.probes[index].name;
            match &self.plan.probes[index].kind {
                // An alert's looks say what changed; what that means is judged at the end.
                ProbeKind::Alert(_) => {
                    if !asked.detail.is_empty() && (asked.ok || !told_lost) {
                        self.observer.event(clock.now(), &format!("probe {name}: {}", asked.detail));
                    }
                    told_lost = !asked.ok;
                }
                _ if !asked.ok => self.observer.event(clock.now(), &format!("probe {name} fails: {}", asked.detail)),
                _ => {}
            }
            // From the grid, and never two at once after a slow answer.
            let behind = clock.now().since(next).as_nanos() / every.as_nanos().max(1);
            next = next + every * (behind as u32 + 1);
        }
    }

    /// Reads a page of metrics on its grid, away from the load's threads.
    fn scrape_during(&self, scraper: &Scraper<'_>, source: usize, clock: Clock, shared: &Shared) {
        let every = scraper.every(source);
        let (mut next, mut told) = (Offset::ZERO, false);
        while next < shared.load_end() {
            if self.options.stop.wait_until(&clock, next) || shared.stopped() {
                return;
            }
            let read = scraper.read(source, &clock);
            match &read {
                Err(why) if !told => self.observer.event(clock.now(), &self.plan.mask(&format!("scrape {why}"))),
                _ => {}
            }
            told = read.is_err();
            let behind = clock.now().since(next).as_nanos() / every.as_nanos().max(1);
            next = next + every * (behind as u32 + 1);
        }
    }

    fn ask_after(&self, prober: &Prober<'_>, clock: &Clock) {
        for (index, _) in self.plan.probes.iter().enumerate().filter(|(_, p)| p.after) {
            if self.options.stop.stopped() {
                return;
            }
            prober.ask(index, When::After, clock);
        }
    }
}

struct Ran {
    ending: Ending,
    why: Vec<String>,
    faults: Vec<FaultRecord>,
    in_flight: Vec<Option<u64>>,
    load: std::io::Result<LoadResult>,
}

/// Where each replica listens on this machine, at most a page for each of the first 16.
fn replica_addresses(platform: Option<&Arc<dyn Running>>) -> Vec<(u16, std::net::SocketAddr)> {
    let Some(platform) = platform else { return Vec::new() };
    let all = platform.list().into_iter().filter_map(|r| Some((r.index, platform.replica_address(r.index)?)));
    all.take(SCRAPED_MAX).collect()
}

fn stop_if_panicking(stop: &StopSignal) {
    if std::thread::panicking() {
        stop.stop();
    }
}

/// Room for probes that are asked just before a fault that comes early.
fn prepare_time(plan: &Plan) -> Duration {
    let early = plan.faults.iter().any(|f| {
        f.at < Offset::from(Duration::from_secs(1)) && matches!(f.kind, FaultKind::Command(_) | FaultKind::Http(_))
    });
    if early { Duration::from_secs(1) } else { Duration::ZERO }
}

fn mount_view(volume: &Path, on: &Path) -> Result<MountedVolume, String> {
    mounted(volume, on, Writes::RefusedByKernel)
}

/// For runs with a fault that answers writes.
fn mount_view_asked_for_writes(volume: &Path, on: &Path) -> Result<MountedVolume, String> {
    mounted(volume, on, Writes::RefusedByView)
}

/// For replicas that may write, each to its own copy.
fn mount_view_of_copy(copy: &Path, on: &Path) -> Result<MountedVolume, String> {
    mounted(copy, on, Writes::ToCopy)
}

fn mounted(volume: &Path, on: &Path, writes: Writes) -> Result<MountedVolume, String> {
    let view = VolumeView::mount(volume, on, writes)?;
    Ok(MountedVolume { control: view.control(), unmount: Box::new(move || view.unmount()) })
}

/// Cuts slots where faults begin and end, and tells the user.
struct Watch<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    observer: &'a dyn Observer,
    /// By fault: requests in flight when it was applied, or [`UNKNOWN`].
    in_flight: Vec<AtomicU64>,
}

/// Not applied.
const UNKNOWN: u64 = u64::MAX;

impl FaultObserver for Watch<'_> {
    fn applied(&self, fault: usize, at: Offset, targets: &[TargetRef]) {
        self.in_flight[fault].store(self.shared.live().in_flight, Ordering::Relaxed);
        self.shared.cuts.add(at);
        let fault = &self.plan.faults[fault];
        let hit: Vec<String> = targets.iter().map(ToString::to_string).collect();
        self.observer.event(at, &format!("fault {} ({}) is on: {}", fault.name, fault.kind.word(), hit.join(", ")));
    }

    fn reverted(&self, fault: usize, at: Offset) {
        self.shared.cuts.add(at);
        self.observer.event(at, &format!("fault {} is off", self.plan.faults[fault].name));
    }

    fn not_applied(&self, fault: usize, reason: &str) {
        let name = &self.plan.faults[fault].name;
        let text = self.plan.mask(&format!("fault {name} was not applied: {reason}"));
        self.observer.event(self.plan.faults[fault].at, &text);
    }
}
