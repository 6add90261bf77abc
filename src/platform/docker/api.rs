//! What is asked of a Docker Engine, each question within a time.
//!
//! bollard speaks; a thread of its own drives it, so that callers may block and the load's threads know nothing of it.
//! Owns the connection, the words of its errors, and which answers mean "that is so already". Leaves alone whom to ask
//! about and why.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, EndpointIpamConfig, EndpointSettings,
    EventMessage, HealthStatusEnum, NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    EventsOptions, InspectContainerOptions, InspectNetworkOptions, KillContainerOptions, ListContainersOptions,
    StartContainerOptions, StopContainerOptions,
};
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::super::Attachment;

/// The socket of an engine on this machine, where nothing else is said.
pub(super) const SOCKET: &str = "unix:///var/run/docker.sock";
/// Limit on one answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Limit on the first one: an engine that is not there should be told of soon.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// An engine that answers.
pub(super) struct Api {
    pub(super) host: String,
    docker: Docker,
    runtime: Handle,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// What happened to a container that was to be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acted {
    /// It was done.
    Now,
    /// It was so already.
    Already,
    /// There is no such container, or network, (any more).
    Gone,
}

/// A container at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) running: bool,
    pub(super) paused: bool,
    /// Since when it runs, or ran last, as Docker says it.
    pub(super) started: String,
    pub(super) exit_code: i64,
    /// What its own health check says; none where it has none.
    pub(super) health: Option<Health>,
    /// Of its networks: name and IPv4 address, in order of name.
    pub(super) addresses: Vec<(String, String)>,
    /// Published TCP ports: the container's, and where it is published.
    pub(super) published: Vec<(u16, String, u16)>,
    /// It stands in its host's own network.
    pub(super) on_host: bool,
    /// Everything that is needed to put it back on its networks.
    pub(super) attachments: Vec<Attachment>,
}

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

impl Api {
    /// Connects to `host`, or to `DOCKER_HOST`, or to the socket of this machine.
    ///
    /// # Errors
    /// Why nobody answers there, and what to do.
    pub(super) fn connect(host: Option<&str>) -> Result<Api, String> {
        let host = host.map(str::to_owned).unwrap_or_else(default_host);
        let failed = |e: &dyn std::fmt::Display| no_engine(&host, &e.to_string());
        let docker = Docker::connect_with_host(&host).map_err(|e| failed(&e))?.with_timeout(LIMIT);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
        let (handle, stop) = (runtime.handle().clone(), Arc::new(Notify::new()));
        let of_thread = stop.clone();
        let thread = thread::Builder::new().name("docker".into()).spawn(move || {
            runtime.block_on(of_thread.notified());
        });
        let thread = Some(thread.map_err(|e| failed(&e))?);
        let mut api = Api { host, docker, runtime: handle, stop, thread };
        let docker = api.docker.clone();
        api.docker = api.within(CONNECT_LIMIT, docker.negotiate_version()).map_err(|e| no_engine(&api.host, &e))?;
        Ok(api)
    }

    /// Runs a task until it ends or this value goes.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    fn within<T>(&self, limit: Duration, question: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        let answer = self.runtime.block_on(async { timeout(limit, question).await });
        answer.map_err(|_| format!("no answer within {} s", limit.as_secs()))?.map_err(|e| plain(&e))
    }

    fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        self.within(LIMIT, question).map_err(|e| format!("the Docker engine at {}: {e}", self.host))
    }

    /// Does something to a container; "already so" and "no such container" are told apart from failures.
    fn act(&self, limit: Duration, deed: impl Future<Output = Result<(), Error>>) -> Result<Acted, String> {
        let answer = self.runtime.block_on(async { timeout(limit, deed).await });
        let failed = |e: String| format!("the Docker engine at {}: {e}", self.host);
        match answer {
            Err(_) => Err(failed(format!("no answer within {} s", limit.as_secs()))),
            Ok(Ok(())) => Ok(Acted::Now),
            Ok(Err(e)) => acted(&e).ok_or_else(|| failed(plain(&e))),
        }
    }

    /// Containers, running or not, that carry all of these labels (`key` or `key=value`).
    pub(super) fn containers(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, String> {
        self.ask(self.docker.list_containers(Some(with_labels(labels))))
    }

    /// A container as it is now; none when it is not there.
    pub(super) fn look(&self, id: &str) -> Result<Option<Seen>, String> {
        self.ask(look(&self.docker, &self.host, id))
    }

    /// The same, for tasks.
    pub(super) fn looker(&self) -> Looker {
        Looker { docker: self.docker.clone(), host: self.host.clone() }
    }

    /// SIGKILL.
    pub(super) fn kill(&self, id: &str) -> Result<Acted, String> {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        self.act(LIMIT, self.docker.kill_container(id, Some(options)))
    }

    /// SIGTERM, and SIGKILL after a grace, which Docker knows in whole seconds.
    pub(super) fn stop(&self, id: &str, grace: Duration) -> Result<Acted, String> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions { signal: None, t: Some(seconds as i32) };
        let docker = self.docker.clone().with_timeout(grace + LIMIT);
        self.act(grace + LIMIT, docker.stop_container(id, Some(options)))
    }

    pub(super) fn start(&self, id: &str) -> Result<Acted, String> {
        self.act(LIMIT, self.docker.start_container(id, None::<StartContainerOptions>))
    }

    pub(super) fn pause(&self, id: &str) -> Result<Acted, String> {
        self.act(LIMIT, self.docker.pause_container(id))
    }

    pub(super) fn unpause(&self, id: &str) -> Result<Acted, String> {
        self.act(LIMIT, self.docker.unpause_container(id))
    }

    /// Takes a container off a network.
    pub(super) fn disconnect(&self, network: &str, id: &str) -> Result<Acted, String> {
        let request = NetworkDisconnectRequest { container: id.to_owned(), force: Some(false) };
        self.act(LIMIT, self.docker.disconnect_network(network, request))
    }

    /// Puts it back as it was. Where the network does not take the address or the aliases (both need a network of
    /// one's own), it is put back without them.
    pub(super) fn reconnect(&self, attachment: &Attachment) -> Result<Acted, String> {
        let mut last = Ok(Acted::Gone);
        for (aliases, address) in [(true, true), (true, false), (false, false)] {
            let request = NetworkConnectRequest {
                container: attachment.id.clone(),
                endpoint_config: Some(endpoint(attachment, aliases, address)),
            };
            last = self.act(LIMIT, self.docker.connect_network(&attachment.network_id, request));
            if last.is_ok() {
                return last;
            }
        }
        last
    }

    /// The ids of the containers on a network, asked of the network; none when there is no such network.
    pub(super) fn members(&self, network: &str) -> Result<Vec<String>, String> {
        let found = self.ask(self.docker.inspect_network(network, None::<InspectNetworkOptions>))?;
        Ok(found.containers.unwrap_or_default().into_keys().collect())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Looks from inside tasks, where nothing may block.
#[derive(Clone)]
pub(super) struct Looker {
    docker: Docker,
    host: String,
}

impl Looker {
    pub(super) async fn look(&self, id: &str) -> Result<Option<Seen>, String> {
        match timeout(LIMIT, look(&self.docker, &self.host, id)).await {
            Ok(seen) => seen.map_err(|e| plain(&e)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// As [`Api::containers`].
    pub(super) async fn containers(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, String> {
        match timeout(LIMIT, self.docker.list_containers(Some(with_labels(labels)))).await {
            Ok(found) => found.map_err(|e| plain(&e)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    pub(super) async fn start(&self, id: &str) -> Result<(), String> {
        match timeout(LIMIT, self.docker.start_container(id, None::<StartContainerOptions>)).await {
            Err(_) => Err("no answer in time".to_owned()),
            Ok(Err(e)) if acted(&e).is_none_or(|a| a == Acted::Gone) => Err(plain(&e)),
            Ok(_) => Ok(()),
        }
    }

    /// What happens to containers from now on.
    pub(super) fn events(&self) -> impl Stream<Item = Result<EventMessage, Error>> + use<> {
        let filters = HashMap::from([("type".to_owned(), vec!["container".to_owned()])]);
        self.docker.events(Some(EventsOptions { filters: Some(filters), ..Default::default() }))
    }
}

/// Containers, running or not, with all of these labels.
fn with_labels(labels: &[String]) -> ListContainersOptions {
    let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
    ListContainersOptions { all: true, filters: Some(filters), ..Default::default() }
}

/// Where an engine is looked for when the scenario says nothing.
pub(super) fn default_host() -> String {
    std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty()).unwrap_or_else(|| SOCKET.to_owned())
}

/// The engine is on this machine, so that its containers' own addresses can be reached from here.
pub(super) fn is_here(host: &str) -> bool {
    if host.starts_with("unix://") {
        return true;
    }
    let name = host_name(host);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The name or address in `tcp://name:port`.
pub(super) fn host_name(host: &str) -> &str {
    let rest = host.split_once("://").map_or(host, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => rest.rsplit_once(':').map_or(rest, |(name, _)| name),
    }
}

fn no_engine(host: &str, why: &str) -> String {
    let socket = host.strip_prefix("unix://");
    let why = match socket {
        Some(path) if !std::path::Path::new(path).exists() => "there is no such socket".to_owned(),
        _ => why.to_owned(),
    };
    let cure = if socket.is_some() {
        "start Docker (Debian: sudo apt-get install docker.io), join the group `docker` or be root, or say where it is \
         with DOCKER_HOST or [platform.docker] host"
    } else {
        "look whether DOCKER_HOST or [platform.docker] host is right, and DOCKER_TLS_VERIFY and DOCKER_CERT_PATH where \
         it wants TLS"
    };
    format!("no Docker engine answers at {host}: {why}\nhint: {cure}")
}

/// An error in words, with what it came from.
fn plain(error: &Error) -> String {
    if let Error::DockerResponseServerError { status_code, message } = error {
        return format!("{message} (status {status_code})");
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// What an error of an engine means for a deed that may have been done before: engines of different age say it by
/// different statuses, so their words are looked at too.
fn acted(error: &Error) -> Option<Acted> {
    let Error::DockerResponseServerError { status_code, message } = error else { return None };
    let says = |words: &str| message.to_lowercase().contains(words);
    if *status_code == 404 {
        return Some(Acted::Gone);
    }
    let already = ["is not paused", "is already paused", "already exists in network", "is not connected to"];
    let already = *status_code == 304 || already.iter().any(|words| says(words));
    already.then_some(Acted::Already)
}

fn endpoint(attachment: &Attachment, aliases: bool, address: bool) -> EndpointSettings {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let ipv4 = given(&attachment.ipv4).filter(|_| address);
    let ipam = ipv4.map(|ip| EndpointIpamConfig { ipv4_address: Some(ip), ..Default::default() });
    EndpointSettings {
        ipam_config: ipam,
        aliases: (aliases && !attachment.aliases.is_empty()).then(|| attachment.aliases.clone()),
        links: (aliases && !attachment.links.is_empty()).then(|| attachment.links.clone()),
        ..Default::default()
    }
}

async fn look(docker: &Docker, host: &str, id: &str) -> Result<Option<Seen>, Error> {
    match docker.inspect_container(id, None::<InspectContainerOptions>).await {
        Ok(found) => Ok(Some(seen(host, found))),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

fn seen(host: &str, found: ContainerInspectResponse) -> Seen {
    let state = found.state.unwrap_or_default();
    let id = found.id.unwrap_or_default();
    let name = found.name.unwrap_or_default().trim_start_matches('/').to_owned();
    let settings = found.network_settings.unwrap_or_default();
    let mut networks: Vec<(String, EndpointSettings)> = settings.networks.unwrap_or_default().into_iter().collect();
    networks.sort_by(|a, b| a.0.cmp(&b.0));
    let mut published: Vec<(u16, String, u16)> = Vec::new();
    for (port, bindings) in settings.ports.unwrap_or_default() {
        let Some(port) = port.strip_suffix("/tcp").and_then(|p| p.parse().ok()) else { continue };
        for binding in bindings.unwrap_or_default() {
            let outside = binding.host_port.and_then(|p| p.parse().ok());
            published.extend(outside.map(|outside| (port, binding.host_ip.unwrap_or_default(), outside)));
        }
    }
    published.sort();
    let status = state.status.unwrap_or(ContainerStateStatusEnum::EMPTY);
    Seen {
        running: matches!(status, ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED),
        paused: status == ContainerStateStatusEnum::PAUSED,
        started: state.started_at.unwrap_or_default(),
        exit_code: state.exit_code.unwrap_or_default(),
        health: state.health.and_then(|h| h.status).and_then(health),
        addresses: networks
            .iter()
            .filter_map(|(name, n)| Some((name.clone(), n.ip_address.clone().filter(|ip| !ip.is_empty())?)))
            .collect(),
        published,
        on_host: networks.iter().any(|(name, _)| name == "host"),
        attachments: networks.into_iter().map(|(network, n)| attachment(host, &id, &name, network, n)).collect(),
        id,
        name,
    }
}

fn health(status: HealthStatusEnum) -> Option<Health> {
    match status {
        HealthStatusEnum::STARTING => Some(Health::Starting),
        HealthStatusEnum::HEALTHY => Some(Health::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
    }
}

fn attachment(host: &str, id: &str, name: &str, network: String, n: EndpointSettings) -> Attachment {
    Attachment {
        host: host.to_owned(),
        id: id.to_owned(),
        name: name.to_owned(),
        network,
        network_id: n.network_id.unwrap_or_default(),
        // Docker adds the short id by itself.
        aliases: n.aliases.unwrap_or_default().into_iter().filter(|a| !id.starts_with(a.as_str())).collect(),
        links: n.links.unwrap_or_default(),
        ipv4: n.ip_address.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status_code: u16, message: &str) -> Option<Acted> {
        acted(&Error::DockerResponseServerError { status_code, message: message.to_owned() })
    }

    #[test]
    fn what_is_so_already_is_no_failure() {
        assert_eq!(said(304, ""), Some(Acted::Already));
        assert_eq!(said(409, "Container 2325 is not paused"), Some(Acted::Already));
        assert_eq!(said(500, "Container 2325 is not paused"), Some(Acted::Already));
        assert_eq!(said(409, "Container 2325 is already paused"), Some(Acted::Already));
        assert_eq!(said(403, "endpoint with name db already exists in network shop"), Some(Acted::Already));
        assert_eq!(said(404, "No such container: 2325"), Some(Acted::Gone));
        assert_eq!(said(404, "network n1 not found"), Some(Acted::Gone));
        assert_eq!(said(500, "driver failed"), None);
        assert_eq!(said(409, "Container 2325 is not running"), None);
    }

    #[test]
    fn hosts() {
        for (host, name, here) in [
            ("unix:///var/run/docker.sock", "", true),
            ("tcp://127.0.0.1:2375", "127.0.0.1", true),
            ("tcp://[::1]:2375", "::1", true),
            ("https://build.example:2376", "build.example", false),
            ("tcp://10.0.0.7", "10.0.0.7", false),
        ] {
            assert_eq!((host_name(host), is_here(host)), (name, here), "{host}");
        }
    }

    #[test]
    fn a_container_as_docker_tells_it() {
        let told = serde_json::json!({
            "Id": "9c4220ee88b3dfcf", "Name": "/shop-model-1",
            "State": { "Status": "paused", "StartedAt": "2026-01-02T03:04:05.6Z", "Health": { "Status": "healthy" } },
            "NetworkSettings": {
                "Ports": { "8080/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "49153" }], "53/udp": null },
                "Networks": { "shop": { "IPAddress": "172.18.0.3", "NetworkID": "n1", "Aliases": ["model", "9c4220ee"] } }
            }
        });
        let seen = seen("tcp://h:1", serde_json::from_value(told).unwrap());
        assert!(seen.running && seen.paused && seen.health == Some(Health::Healthy) && !seen.on_host);
        assert_eq!(seen.addresses, [("shop".to_owned(), "172.18.0.3".to_owned())]);
        assert_eq!(seen.published, [(8080, "0.0.0.0".to_owned(), 49153)]);
        let [it] = &seen.attachments[..] else { panic!("{seen:?}") };
        assert_eq!((it.name.as_str(), it.ipv4.as_str(), it.network_id.as_str()), ("shop-model-1", "172.18.0.3", "n1"));
        assert_eq!(it.aliases, ["model"], "its own short id is Docker's business");
        let back = endpoint(it, true, false);
        assert_eq!((back.ipam_config, back.aliases), (None, Some(vec!["model".to_owned()])));
    }

    #[test]
    fn an_engine_that_is_not_there_is_one_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let host = format!("unix://{}/none.sock", dir.path().display());
        let why = Api::connect(Some(&host)).err().unwrap();
        assert!(why.contains(&host) && why.contains("there is no such socket") && why.contains("hint: "), "{why}");
        let why = Api::connect(Some("tcp://127.0.0.1:1")).err().unwrap();
        assert!(why.contains("no Docker engine answers at tcp://127.0.0.1:1"), "{why}");
        assert!(Api::connect(Some("carrier://pigeon")).is_err());
    }
}
