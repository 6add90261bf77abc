//! The Docker platform: replicas are containers that are up already, found by compose project and service or by label,
//! behind a link of ours.
//!
//! [`Docker::start`] finds them, waits until all are ready, and from then on follows Docker's events and looks by
//! itself every second. What resbench kills it also starts again: Docker's restart policies leave alone what was killed
//! or stopped through it. [`Docker::stop`] starts and unpauses whatever is still down by our doing.
//!
//! `api.rs` speaks to the engine, `seats.rs` is who plays which replica, `cut.rs` takes a dependency off its networks;
//! readiness is `platform/poll.rs`. Creates and removes no container; leaves alone when faults come.

mod api;
mod cut;
mod seats;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until};

use self::api::{Acted, Api, Looker, Seen};
use self::cut::Networks;
use self::seats::Seats;
use super::link::Link;
use super::poll::{Pollers, measure_link};
use super::{
    Attachment, Cut, Deed, Endpoint, Instance, Kill, LinkControl, PlatformEvent, ReplicaView, Replicas, Running,
    StartError, VolumeControl,
};
use crate::clock::{Clock, monotonic_nanos};
use crate::plan::{ContainerSelector, DockerPlatform};
use crate::units::{Offset, Seed, show_duration};

/// A killed container must be gone by then.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at every container, whatever the events say.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at which containers are to be started again.
const DUE_EVERY: Duration = Duration::from_millis(20);
/// Before the stream of events is asked for again when it broke.
const STREAM_AGAIN: Duration = Duration::from_secs(1);
/// How long containers without a `ready` of their own may take to become healthy.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Replicas at most.
const REPLICAS_MAX: usize = 64;
/// Containers that an error names.
const TOLD: usize = 8;

/// What [`Docker::start`] needs.
pub struct DockerOptions<'a> {
    /// What to find.
    pub plan: &'a DockerPlatform,
    /// The run's folder.
    pub run_dir: PathBuf,
    /// The axis of events; see [`Running::set_clock`].
    pub clock: Clock,
    /// For the link's choices.
    pub seed: Seed,
    /// Asked while waiting: true ends the start.
    pub stop: &'a dyn Fn() -> bool,
}

/// Containers that were found.
pub struct Docker {
    api: Arc<Api>,
    seats: Arc<Seats>,
    restart_delay: Duration,
    dependencies: Vec<(String, Arc<Networks>)>,
    control: Arc<dyn LinkControl>,
    endpoint: Endpoint,
    /// What has to be put away, in this order; none once that was done.
    parts: Mutex<Option<(Pollers, Link)>>,
}

impl Docker {
    /// Finds the containers and waits until all are ready.
    ///
    /// # Errors
    /// No engine, no such container, or one that is not up or not ready in time; each with what to do.
    pub fn start(options: DockerOptions<'_>) -> Result<Docker, StartError> {
        let plan = options.plan;
        let api = Arc::new(Api::connect(plan.host.as_deref())?);
        let found = find(&api, &plan.replicas)?;
        let mut containers = Vec::new();
        for (id, name) in found {
            let seen = api.look(&id)?.ok_or_else(|| format!("container {name} was removed just now"))?;
            usable(&api, &seen, plan.port)?;
            containers.push((id, name));
        }
        let dependencies = dependencies(&api, plan)?;
        let link = Link::start("service", options.seed, &[])?;
        let ready = plan.ready.clone();
        let seats = Seats::new(&api.host, plan.port, ready, link.rotation(), options.clock, containers);
        let seats = Arc::new(seats);
        let pollers = Pollers::start(seats.clone(), &[])?;
        let endpoint = Endpoint {
            address: link.address(),
            link_us: None,
            replica_cpus: Vec::new(),
            logs: options.run_dir.join("logs"),
        };
        let mut docker = Docker {
            control: link.control(),
            dependencies: dependencies
                .into_iter()
                .map(|(name, list)| (name, Arc::new(Networks::new(api.clone(), seats.clone(), list))))
                .collect(),
            restart_delay: plan.restart_delay,
            parts: Mutex::new(Some((pollers, link))),
            api,
            seats,
            endpoint,
        };
        docker.follow(&plan.replicas);
        docker.until_ready(plan, options.stop)?;
        if let Some(path) = plan.ready.as_ref().and_then(|r| r.path.as_ref()) {
            let direct = docker.seats.lock().seats.first().and_then(|s| s.address);
            docker.endpoint.link_us = direct.and_then(|d| measure_link(d, docker.endpoint.address, path));
        }
        Ok(docker)
    }

    /// Events, looks and restarts, until the engine's connection is let go.
    fn follow(&self, wanted: &ContainerSelector) {
        let eyes = Eyes { looker: self.api.looker(), seats: self.seats.clone(), labels: wanted.labels.clone().into() };
        for index in 0..self.seats.lock().seats.len() {
            self.api.spawn(eyes.clone().watch(index));
        }
        self.api.spawn(eyes.clone().listen());
        self.api.spawn(eyes.start_again(self.restart_delay));
    }

    fn until_ready(&self, plan: &DockerPlatform, stop: &dyn Fn() -> bool) -> Result<(), StartError> {
        let limit = plan.ready.as_ref().map_or(READY_LIMIT, |r| r.timeout);
        let until = monotonic_nanos() + limit.as_nanos() as u64;
        loop {
            if stop() {
                let message = "stopped while waiting for containers to be ready".to_owned();
                return Err(StartError { message, interrupted: true, left: Vec::new() });
            }
            let all = |state: &seats::State| state.seats.iter().all(|s| s.ready).then_some(());
            if self.seats.wait(Duration::from_millis(50), all).is_some() {
                return Ok(());
            }
            if monotonic_nanos() > until {
                let state = self.seats.lock();
                let late: Vec<String> = state.seats.iter().filter(|s| !s.ready).map(late).collect();
                return Err(format!("not ready within {}: {}", show_duration(limit), late.join("; ")).into());
            }
        }
    }

    fn seat(&self, replica: u16) -> Result<(usize, String, String), String> {
        let state = self.seats.lock();
        let seat = state.seats.get(usize::from(replica)).ok_or_else(|| format!("there is no replica {replica}"))?;
        Ok((usize::from(replica), seat.id.clone(), seat.name.clone()))
    }

    /// Looks now, and tells the seats.
    fn look(&self, index: usize, id: &str) -> Result<Option<Seen>, String> {
        let began = monotonic_nanos();
        let seen = self.api.look(id)?;
        self.seats.saw(index, id, began, seen.clone());
        Ok(seen)
    }

    /// Ends a container, and has it started again after `again`; none: once it is released.
    fn end(
        &self,
        replica: u16,
        grace: Option<Duration>,
        again: Option<Duration>,
    ) -> Result<(Instance, Offset), String> {
        let (index, id, name) = self.seat(replica)?;
        let before = self.look(index, &id)?.filter(|s| s.running);
        let before = before.ok_or_else(|| format!("container {name} is not running"))?;
        let at = self.seats.told_to_end(index, grace.is_some());
        let ended = match grace {
            None => self.api.kill(&id),
            Some(grace) => self.api.stop(&id, grace),
        };
        let gone = ended.and_then(|_| self.wait_gone(index, &id, &before));
        if let Err(why) = gone {
            self.seats.not_leaving(index);
            return Err(why);
        }
        self.seats.due_after(index, again);
        Ok((self.seats.instance(&before), self.seats.offset(at)))
    }

    fn wait_gone(&self, index: usize, id: &str, before: &Seen) -> Result<(), String> {
        let until = monotonic_nanos() + KILL_LIMIT.as_nanos() as u64;
        loop {
            let still = self.look(index, id)?.is_some_and(|s| s.running && s.started == before.started);
            if !still {
                return Ok(());
            }
            if monotonic_nanos() > until {
                return Err(format!("container {} still runs 5 s after SIGKILL", before.name));
            }
            crate::clock::sleep(Duration::from_millis(5));
        }
    }

    /// Starts what we took down and unpauses what we froze.
    fn put_back(&self) -> Vec<String> {
        let replicas = 0..self.seats.lock().seats.len() as u16;
        let mut left = Vec::new();
        for replica in replicas {
            for (done, word) in [(self.release(replica), "start"), (self.resume(replica), "unpause")] {
                if let Err(why) = done {
                    let name = self.seat(replica).map(|(_, _, name)| name).unwrap_or_default();
                    left.push(format!("container {name}: {why}; by hand: docker -H {} {word} {name}", self.api.host));
                }
            }
        }
        left
    }

    fn fresh(&self, instance: &Instance) -> Option<Result<Option<Seen>, String>> {
        let Instance::Container { id, started, .. } = instance else { return None };
        Some(self.api.look(id).map(|seen| seen.filter(|s| s.running && s.started == *started)))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        Running::stop(self);
    }
}

impl Running for Docker {
    fn endpoint(&self) -> Option<Endpoint> {
        Some(self.endpoint.clone())
    }

    fn set_clock(&self, clock: Clock) {
        self.seats.set_clock(clock);
    }

    fn stop(&self) -> Vec<String> {
        let Some((pollers, link)) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Vec::new();
        };
        drop(pollers);
        drop(link);
        self.put_back()
    }
}

impl Replicas for Docker {
    fn word(&self) -> &'static str {
        "docker"
    }

    fn how(&self, deed: Deed) -> Result<String, String> {
        let again = show_duration(self.restart_delay);
        Ok(match deed {
            Deed::Kill(Kill { grace: Some(grace), .. }) => format!(
                "docker stop (SIGTERM, SIGKILL after {}); resbench starts the container again after {again}",
                show_duration(grace)
            ),
            Deed::Kill(_) => format!(
                "docker kill (SIGKILL); resbench starts the container again after {again}, as Docker's restart policies \
                 leave alone what was killed through it"
            ),
            Deed::HoldDown => "docker kill (SIGKILL), started again after the time".to_owned(),
            Deed::RollOut => return Err("containers are restarted one after another".to_owned()),
            Deed::Pause => "docker pause (the freezer of its cgroup), docker unpause after the time".to_owned(),
        })
    }

    fn list(&self) -> Vec<ReplicaView> {
        self.seats.list()
    }

    fn is_gone(&self, instance: &Instance) -> bool {
        // An engine that does not answer proves nothing.
        self.fresh(instance).is_some_and(|seen| matches!(seen, Ok(None)))
    }

    fn is_paused(&self, instance: &Instance) -> bool {
        self.fresh(instance).is_some_and(|seen| matches!(seen, Ok(Some(s)) if s.paused))
    }

    fn kill(&self, replica: u16, how: Kill) -> Result<(Instance, Offset), String> {
        self.end(replica, how.grace, Some(self.restart_delay))
    }

    fn hold_down(&self, replica: u16) -> Result<(Instance, Offset), String> {
        self.end(replica, None, None)
    }

    fn release(&self, replica: u16) -> Result<(), String> {
        let (index, id, name) = self.seat(replica)?;
        if !self.seats.lock().seats[index].down_by_us {
            return Ok(());
        }
        self.seats.due_after(index, None);
        match self.api.start(&id)? {
            Acted::Gone => self.seats.remark(index, "was removed while it was down; there is nothing to start"),
            Acted::Now | Acted::Already => drop(self.look(index, &id)?),
        }
        let is_up =
            |state: &seats::State| (state.seats[index].running() || state.seats[index].seen.is_none()).then_some(());
        let up = self.seats.wait(KILL_LIMIT, is_up);
        up.ok_or_else(|| format!("container {name} does not run 5 s after docker start"))?;
        self.seats.lock().seats[index].down_by_us = false;
        Ok(())
    }

    fn pause(&self, replica: u16) -> Result<(Instance, Offset), String> {
        let (index, id, name) = self.seat(replica)?;
        let before = self.look(index, &id)?.filter(|s| s.running);
        let before = before.ok_or_else(|| format!("container {name} is not running"))?;
        if before.paused {
            return Err(format!("container {name} is paused already, by somebody else"));
        }
        self.seats.lock().seats[index].paused_by_us = true;
        if self.api.pause(&id)? == Acted::Gone {
            return Err(format!("container {name} was removed just now"));
        }
        let at = monotonic_nanos();
        self.look(index, &id)?;
        Ok((self.seats.instance(&before), self.seats.offset(at)))
    }

    fn resume(&self, replica: u16) -> Result<(), String> {
        let (index, id, _) = self.seat(replica)?;
        if !self.seats.lock().seats[index].paused_by_us {
            return Ok(());
        }
        // One that was killed meanwhile is frozen no more.
        if self.look(index, &id)?.is_some_and(|s| s.paused) {
            self.api.unpause(&id)?;
            self.look(index, &id)?;
        }
        self.seats.lock().seats[index].paused_by_us = false;
        Ok(())
    }

    fn link(&self, dependency: Option<&str>) -> Option<Arc<dyn LinkControl>> {
        dependency.is_none().then(|| self.control.clone())
    }

    fn cut(&self, dependency: &str) -> Option<Arc<dyn Cut>> {
        let found = self.dependencies.iter().find(|(name, _)| name == dependency);
        found.map(|(_, networks)| networks.clone() as Arc<dyn Cut>)
    }

    fn volume(&self, _replica: u16) -> Option<Arc<dyn VolumeControl>> {
        None
    }

    fn events(&self) -> Vec<PlatformEvent> {
        self.seats.events()
    }
}

/// The containers of the plan as they are now: for people, before anything is done to them.
///
/// # Errors
/// As [`Docker::start`].
pub fn candidates(plan: &DockerPlatform) -> Result<Vec<String>, String> {
    let api = Api::connect(plan.host.as_deref())?;
    let mut told = Vec::new();
    for (id, name) in find(&api, &plan.replicas)? {
        let state = match api.look(&id)? {
            None => "removed just now".to_owned(),
            Some(seen) => in_words(&seen),
        };
        told.push(format!("container {name} ({}, {state})", short(&id)));
    }
    Ok(told)
}

/// The name of the engine's host as journals hold it.
pub fn host_of(plan: &DockerPlatform) -> String {
    plan.host.clone().unwrap_or_else(api::default_host)
}

/// The engine can be reached from other machines by this name.
pub fn is_anywhere(host: &str) -> bool {
    !api::is_here(host)
}

/// One step of putting back, by whoever finds it in a journal. True when there was something to do.
///
/// # Errors
/// Why not, and how a person does it.
pub fn put_back(host: &str, step: &PutBack<'_>) -> Result<bool, String> {
    let done = Api::connect(Some(host)).and_then(|api| match step {
        PutBack::Start { id, .. } => api.start(id),
        PutBack::Unpause { id, .. } => api.unpause(id),
        PutBack::Reconnect(attachment) => api.reconnect(attachment),
    });
    let by_hand = match step {
        PutBack::Start { name, .. } => format!("docker -H {host} start {name}"),
        PutBack::Unpause { name, .. } => format!("docker -H {host} unpause {name}"),
        PutBack::Reconnect(a) => format!("docker -H {host} network connect {} {}", a.network, a.name),
    };
    done.map(|acted| acted == Acted::Now).map_err(|e| format!("{e}; by hand: {by_hand}"))
}

/// What [`put_back`] does.
#[derive(Clone, Debug)]
pub enum PutBack<'a> {
    /// Start a container that we ended.
    Start {
        /// Its id.
        id: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// Let a frozen one go on.
    Unpause {
        /// Its id.
        id: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// Put it back on a network.
    Reconnect(&'a Attachment),
}

/// Ids and names of the containers that are meant, in the order of their numbers.
fn find(api: &Api, wanted: &ContainerSelector) -> Result<Vec<(String, String)>, String> {
    let found = api.containers(&wanted.labels)?;
    if found.is_empty() {
        return Err(none_found(api, wanted));
    }
    if found.len() > REPLICAS_MAX {
        return Err(format!("{} containers are {}: at most {REPLICAS_MAX} may be replicas", found.len(), wanted.what));
    }
    Ok(in_order(found))
}

/// Ids and names, in the order of their numbers. One that `docker compose run` made for a moment carries its service's labels, and
/// is nobody's replica.
fn in_order(mut found: Vec<ContainerSummary>) -> Vec<(String, String)> {
    found.retain(|c| label(c, "oneoff").is_none_or(|v| !v.eq_ignore_ascii_case("true")));
    found.sort_by_key(|c| (number(c), name_of(c)));
    found.into_iter().map(|c| (c.id.clone().unwrap_or_default(), name_of(&c))).collect()
}

fn dependencies(api: &Api, plan: &DockerPlatform) -> Result<Vec<(String, Vec<Attachment>)>, String> {
    let one = |d: &crate::plan::DockerDependency| {
        let mut attachments = Vec::new();
        for (id, name) in find(api, &d.containers).map_err(|e| format!("dependency {}: {e}", d.name))? {
            let seen = api.look(&id)?.filter(|s| s.running);
            let seen = seen.ok_or_else(|| format!("dependency {}: container {name} is not running", d.name))?;
            attachments.extend(seen.attachments);
        }
        Ok((d.name.clone(), attachments))
    };
    plan.dependencies.iter().map(one).collect()
}

/// A label of Docker Compose's.
fn label<'a>(container: &'a ContainerSummary, key: &str) -> Option<&'a str> {
    container.labels.as_ref()?.get(&format!("com.docker.compose.{key}")).map(String::as_str)
}

/// What Docker Compose numbers replicas by; others stand in order of name.
fn number(container: &ContainerSummary) -> u64 {
    label(container, "container-number").and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)
}

fn name_of(container: &ContainerSummary) -> String {
    let name = container.names.as_ref().and_then(|n| n.first()).map(|n| n.trim_start_matches('/').to_owned());
    name.unwrap_or_else(|| short(container.id.as_deref().unwrap_or_default()).to_owned())
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Why nothing was found, with what there is.
fn none_found(api: &Api, wanted: &ContainerSelector) -> String {
    let all = api.containers(&[]).unwrap_or_default();
    let there = what_there_is(&all);
    let there = if there.is_empty() { "there is no container at all".to_owned() } else { format!("there are {there}") };
    format!(
        "no container at {} is {}: {there}\nhint: start it (docker compose up -d), and look at [platform.docker]; the \
         project is what `docker compose ls` calls it",
        api.host, wanted.what
    )
}

fn what_there_is(all: &[ContainerSummary]) -> String {
    let told = |c: &ContainerSummary| match (label(c, "project"), label(c, "service")) {
        (Some(project), Some(service)) => format!("service `{service}` of project `{project}`"),
        _ => format!("`{}`", name_of(c)),
    };
    let mut told: Vec<String> = all.iter().map(told).collect();
    told.sort();
    told.dedup();
    let more = told.len().saturating_sub(TOLD);
    told.truncate(TOLD);
    if more > 0 {
        told.push(format!("{more} more"));
    }
    told.join(", ")
}

/// Nothing is started here that was not up: that is for whoever wrote the compose file.
fn usable(api: &Api, seen: &Seen, port: u16) -> Result<(), String> {
    let name = &seen.name;
    if !seen.running || seen.paused {
        let word = if seen.paused { "unpause" } else { "start" };
        return Err(format!(
            "container {name} is {}: nothing is started for a run; docker -H {} {word} {name}",
            in_words(seen),
            api.host
        ));
    }
    if seats::address(seen, port, &api.host).is_none() {
        return Err(format!(
            "container {name} cannot be reached from here: publish its port (ports: [\"{port}\"] in the compose file)"
        ));
    }
    Ok(())
}

fn in_words(seen: &Seen) -> String {
    let state = match (seen.running, seen.paused) {
        (true, true) => "paused".to_owned(),
        (true, false) => "running".to_owned(),
        (false, _) => format!("not running, ended with status {}", seen.exit_code),
    };
    let health = match seen.health.filter(|_| seen.running) {
        None => "",
        Some(api::Health::Starting) => ", health starting",
        Some(api::Health::Healthy) => ", healthy",
        Some(api::Health::Unhealthy) => ", unhealthy",
    };
    format!("{state}{health}")
}

fn late(seat: &seats::Seat) -> String {
    let why = if seat.last_poll.is_empty() {
        seat.seen.as_ref().map_or_else(|| "was removed".to_owned(), in_words)
    } else {
        seat.last_poll.clone()
    };
    format!("container {}: {why}", seat.name)
}

/// What the tasks look with, and whom they tell.
#[derive(Clone)]
struct Eyes {
    looker: Looker,
    seats: Arc<Seats>,
    /// Of the containers that may be replicas.
    labels: Arc<[String]>,
}

impl Eyes {
    /// Looks at one replica again and again.
    async fn watch(self, index: usize) {
        loop {
            let began = Instant::now();
            self.look(index).await;
            self.fill_vacancies().await;
            sleep_until(began + LOOK_EVERY).await;
        }
    }

    async fn look(&self, index: usize) {
        let (began, id) = (monotonic_nanos(), self.seats.id(index));
        // An engine that does not answer has told nothing: what was known stays.
        if let Ok(seen) = self.looker.look(&id).await {
            self.seats.saw(index, &id, began, seen);
        }
    }

    /// Where a replica's container was removed, looks for the one that was made in its place.
    async fn fill_vacancies(&self) {
        if !self.seats.vacant() {
            return;
        }
        let Ok(mut found) = self.looker.containers(&self.labels).await else { return };
        // What has ended is nobody's successor.
        found.retain(|c| !matches!(c.state, Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD)));
        for index in self.seats.adopt(&in_order(found)) {
            self.look(index).await;
        }
    }

    /// Follows Docker's events: whatever happens to one of ours is looked at, at once.
    async fn listen(self) {
        loop {
            let mut events = Box::pin(self.looker.events());
            while let Some(Ok(event)) = events.next().await {
                // A health check is an `exec` each time, and changes nothing by itself.
                if event.action.is_some_and(|action| action.starts_with("exec_")) {
                    continue;
                }
                let id = event.actor.and_then(|a| a.id).unwrap_or_default();
                if let Some(index) = self.seats.of(&id) {
                    self.look(index).await;
                }
                self.fill_vacancies().await;
            }
            sleep_until(Instant::now() + STREAM_AGAIN).await;
        }
    }

    /// Starts what was killed once its time has come: Docker does not.
    async fn start_again(self, delay: Duration) {
        loop {
            for (index, id) in self.seats.take_due() {
                match self.looker.start(&id).await {
                    Ok(()) => self.look(index).await,
                    Err(why) => {
                        self.seats.remark(index, &format!("could not be started again: {why}"));
                        self.seats.due_after(index, Some(delay.max(LOOK_EVERY)));
                    }
                }
            }
            sleep_until(Instant::now() + DUE_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, labels: &[(&str, &str)]) -> ContainerSummary {
        let labels = labels.iter().map(|(k, v)| (format!("com.docker.compose.{k}"), (*v).to_owned())).collect();
        ContainerSummary { names: Some(vec![format!("/{name}")]), labels: Some(labels), ..Default::default() }
    }

    #[test]
    fn replicas_stand_in_the_order_of_their_numbers() {
        let all = [
            container("shop-model-10", &[("container-number", "10")]),
            container("b", &[]),
            container("shop-model-2", &[("container-number", "2")]),
            container("a", &[]),
        ];
        let names: Vec<String> = in_order(all.to_vec()).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["shop-model-2", "shop-model-10", "a", "b"]);
    }

    #[test]
    fn what_compose_runs_for_a_moment_is_no_replica() {
        let service = container("shop-model-1", &[("container-number", "1"), ("oneoff", "False")]);
        let shell = container("shop-model-run-6f1c", &[("container-number", "1"), ("oneoff", "True")]);
        let names: Vec<String> = in_order(vec![shell, service]).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["shop-model-1"]);
    }

    #[test]
    fn what_there_is_instead_is_told_within_bounds() {
        let mut all: Vec<ContainerSummary> = (0..20).map(|n| container(&format!("c{n:02}"), &[])).collect();
        all.push(container("x", &[("project", "shop"), ("service", "model")]));
        all.push(container("y", &[("project", "shop"), ("service", "model")]));
        let told = what_there_is(&all);
        assert!(told.starts_with("`c00`, `c01`") && told.ends_with(", 13 more"), "{told}");
        assert_eq!(what_there_is(&all[20..]), "service `model` of project `shop`");
    }
}
