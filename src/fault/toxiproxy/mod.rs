//! Faults by a Toxiproxy server: toxics on one of its proxies.
//!
//! What it puts on is named `resbench-RUN-FAULT…` and nothing else is ever taken off. `client` speaks to the server's
//! API; `look` sees what the proxy's own clients see, and says what that proves; `owner` finds the server's process where it
//! runs here. A toxic has neither owner nor time limit: should this program die, the watchdog takes it off.

pub mod client;
mod look;
mod owner;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::InjectorContext;
use super::by_probe::ByRule;
use super::injector::{Injector, Proof, TargetRef, Undo};
use super::stop::StopSignal;
use crate::client::resolve;
use crate::clock::Clock;
use crate::plan::{Direction, FaultKind, FaultPlan, Stream, Toxic, ToxicEffect, Toxiproxy, Url};
use crate::platform::process::ProcessId;
use crate::units::{Offset, show_measured};
use client::{PREFIX, Proxy, Server, is_loopback};
use look::{Before, Connection, Look, judge, look};

/// Between two looks through the proxy.
const EVERY: Duration = Duration::from_millis(500);

/// Looks before the load begins.
const LOOKS_BEFORE: usize = 3;

/// What the look just before a fault may take: the fault must come in time.
const JUST_BEFORE: Duration = Duration::from_millis(50);

/// Between looks the server is asked whether our toxics are still there; that must not hold up the end of the fault.
const GLANCE: Duration = Duration::from_secs(2);

/// Looks kept, which is three hours of them.
const LOOKS_MAX: usize = 20_000;

pub(super) struct ToxiproxyFault {
    server: Server,
    via: Toxiproxy,
    /// Names and toxics.
    toxics: Vec<(String, Toxic)>,
    clock: Clock,
    rule: Option<ByRule>,
    /// What the server says it is.
    version: String,
    /// The server itself, where it was seen to run on this machine.
    process: Option<ProcessId>,
    /// Toxics of others on the same proxy.
    others: Vec<String>,
    address: Option<SocketAddr>,
    before: Before,
    applied: Option<Offset>,
    /// A POST was sent for so many of the toxics.
    sent: usize,
    watch: Option<Watch>,
    seen: Arc<Mutex<Seen>>,
    troubles: Vec<String>,
}

/// What the looks brought.
#[derive(Default)]
struct Seen {
    looks: Vec<Look>,
    /// Since when the server does not list a toxic of ours any more, and why.
    gone: Option<(Offset, &'static str)>,
}

struct Watch {
    stop: StopSignal,
    thread: JoinHandle<()>,
}

impl ToxiproxyFault {
    pub(super) fn new(fault: &FaultPlan, via: &Toxiproxy, cx: &InjectorContext) -> Result<ToxiproxyFault, String> {
        let toxics = toxics(&fault.kind).ok_or_else(|| format!("Toxiproxy cannot do {}", fault.kind.word()))?;
        let name = |toxic: &Toxic| match toxics.len() {
            1 => format!("{PREFIX}{}-{}", cx.run, fault.name),
            _ => format!("{PREFIX}{}-{}-{}", cx.run, fault.name, toxic.stream.word()),
        };
        Ok(ToxiproxyFault {
            server: Server { url: via.url.clone() },
            via: via.clone(),
            toxics: toxics.iter().map(|t| (name(t), *t)).collect(),
            clock: cx.clock,
            rule: via.proof.clone().map(|rule| ByRule::new(rule, cx.clock)),
            version: String::new(),
            process: None,
            others: Vec::new(),
            address: None,
            before: Before::default(),
            applied: None,
            sent: 0,
            watch: None,
            seen: Arc::default(),
            troubles: Vec::new(),
        })
    }

    fn proxy(&self) -> Result<Proxy, String> {
        let (name, shown) = (&self.via.proxy, self.server.shown());
        if let Some(proxy) = self.server.proxy(name, GLANCE * 5)? {
            return Ok(proxy);
        }
        let names: Vec<String> = self.server.proxies()?.into_keys().collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(format!("{shown} has no proxy `{name}`; it has: {there}"))
    }

    fn effects(&self) -> Vec<Toxic> {
        self.toxics.iter().map(|(_, toxic)| *toxic).collect()
    }

    /// The looks before the load; none when the author has a rule of their own.
    fn look_before(&mut self) {
        let Some(address) = self.address.filter(|_| self.rule.is_none()) else { return };
        for n in 0..LOOKS_BEFORE {
            // One that was not answered is not asked again.
            if n == 0 || self.before.is_blind().is_none() {
                self.before.add(look(address, Connection::Close, self.before.patience(&[]), &StopSignal::new()));
            }
        }
    }

    /// One more under load, in the moment that is left before the fault.
    fn look_just_before(&mut self) {
        if let Some(address) = self.address.filter(|_| self.before.is_blind().is_none()) {
            self.before.add_good(look(address, Connection::Close, JUST_BEFORE, &StopSignal::new()));
        }
    }

    /// Looks through the proxy until it is told to stop.
    fn watch(&self) -> Option<Watch> {
        let stop = StopSignal::new();
        let address = self.address.filter(|_| self.rule.is_none() && self.before.is_blind().is_none());
        let (patience, connection) = (self.before.patience(&self.effects()), Connection::of(&self.effects()));
        let (server, proxy) = (self.server.clone(), self.via.proxy.clone());
        let names: Vec<String> = self.toxics.iter().map(|(name, _)| name.clone()).collect();
        let (seen, clock, told) = (self.seen.clone(), self.clock, stop.clone());
        let watching = move || {
            loop {
                let next = clock.now() + EVERY;
                if let Some(address) = address {
                    let look = look(address, connection, patience, &told);
                    let mut seen = locked(&seen);
                    if seen.looks.len() < LOOKS_MAX {
                        seen.looks.push(look);
                    }
                }
                if told.stopped() {
                    return;
                }
                let gone = absence(&server, &proxy, &names);
                if let Some(why) = gone.filter(|_| !told.stopped()) {
                    locked(&seen).gone.get_or_insert((clock.now(), why));
                }
                if told.wait_until(&clock, next) {
                    return;
                }
            }
        };
        // Without a thread there are no looks, and so there is no proof.
        let thread = std::thread::Builder::new().name("toxiproxy looks".into()).spawn(watching).ok()?;
        Some(Watch { stop, thread })
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why one of these toxics is not there; none when all are, or the server does not say.
fn absence(server: &Server, proxy: &str, names: &[String]) -> Option<&'static str> {
    match server.proxy(proxy, GLANCE) {
        Ok(None) => client::Removed::ProxyGone.absence(),
        Ok(Some(view)) if names.iter().any(|n| view.toxics.iter().all(|t| t.name != *n)) => {
            client::Removed::ToxicGone.absence()
        }
        Ok(Some(_)) | Err(_) => None,
    }
}

/// What a fault is in Toxiproxy's words; none for what it cannot do.
fn toxics(kind: &FaultKind) -> Option<Vec<Toxic>> {
    let on = |effect, direction: &Direction| {
        let streams: &[Stream] = match direction {
            Direction::To => &[Stream::Upstream],
            Direction::From => &[Stream::Downstream],
            Direction::Both => &[Stream::Upstream, Stream::Downstream],
        };
        Some(streams.iter().map(|stream| Toxic { effect, stream: *stream }).collect())
    };
    match kind {
        FaultKind::NetworkDelay { latency, jitter, direction } => {
            let (latency, jitter) = (latency.as_millis() as u64, jitter.as_millis() as u64);
            on(ToxicEffect::Latency { latency, jitter }, direction)
        }
        FaultKind::NetworkBandwidth { rate, direction } => on(ToxicEffect::Bandwidth { rate: rate / 1000 }, direction),
        FaultKind::NetworkPartition { direction } => on(ToxicEffect::Timeout { timeout: 0 }, direction),
        // It acts on the first byte that comes by; upstream, that is the request's.
        FaultKind::NetworkReset => on(ToxicEffect::ResetPeer { timeout: 0 }, &Direction::To),
        FaultKind::Toxiproxy { toxic } => Some(vec![*toxic]),
        _ => None,
    }
}

/// Where a client of this machine connects to; none when it cannot.
fn address_of(listen: &str, server: &Server) -> Option<SocketAddr> {
    let address: SocketAddr = listen.parse().ok()?;
    if address.ip().is_unspecified() {
        return resolve::first(&server.url.host, address.port(), None, GLANCE).ok();
    }
    // Its loopback is ours only when it runs here.
    (!address.ip().is_loopback() || is_loopback(&server.url.host)).then_some(address)
}

impl Injector for ToxiproxyFault {
    fn prepare(&mut self) -> Result<(), String> {
        self.version = self.server.version()?;
        let Url { host, port, .. } = &self.server.url;
        self.process = if is_loopback(host) { owner::of(*port) } else { None };
        let proxy = self.proxy()?;
        if !proxy.enabled {
            let cure = format!("curl -X POST -d '{{\"enabled\":true}}' {}/proxies/…", self.server.shown());
            return Err(format!("proxy `{}` is not enabled: {cure}", self.via.proxy));
        }
        for toxic in proxy.toxics {
            if toxic.name.starts_with(PREFIX) {
                let cure = format!("resbench revert --all --toxiproxy {}", self.server.shown());
                return Err(format!("proxy `{}` carries `{}` of another run: {cure}", self.via.proxy, toxic.name));
            }
            self.others.push(toxic.name);
        }
        self.address = address_of(&proxy.listen, &self.server);
        self.look_before();
        Ok(())
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        let (url, proxy) = (self.via.url_text.clone(), self.via.proxy_text.clone());
        let undo = |(name, _): &(String, Toxic)| {
            let (url, proxy, name) = (url.clone(), proxy.clone(), name.clone());
            Undo::Toxic { url, proxy, name, server: self.process.clone() }
        };
        self.toxics.iter().rev().map(undo).collect()
    }

    fn apply(&mut self, _targets: &[TargetRef]) -> Result<Offset, String> {
        for (name, toxic) in &self.toxics {
            self.sent += 1;
            self.server.add(&self.via.proxy, name, toxic, self.via.toxicity.get())?;
        }
        let at = self.clock.now();
        self.applied = Some(at);
        self.watch = self.watch();
        Ok(at)
    }

    fn revert(&mut self) -> Result<(), String> {
        let watch = self.watch.take();
        if let Some(watch) = &watch {
            watch.stop.stop();
        }
        while self.sent > 0 {
            let (name, _) = &self.toxics[self.sent - 1];
            let removed = self.server.remove_from(&self.via.proxy, name, self.process.as_ref())?;
            self.sent -= 1;
            if let (Some(why), Some(applied)) = (removed.absence(), self.applied) {
                let since = locked(&self.seen).gone.map(|(at, _)| show_measured(at.since(applied)));
                let since = since.map_or(String::new(), |t| format!("; it was missed {t} after it was put on"));
                self.troubles.push(format!("toxic {name} was not there any more: {why}{since}"));
            }
        }
        // Its last look ends within a moment of the stop.
        watch.map_or(Ok(()), |w| w.thread.join().map_err(|_| "the looks through the proxy panicked".to_owned()))
    }

    fn observe(&mut self, probe: &dyn Fn(&str) -> bool) -> bool {
        let is_on = self.applied.is_some();
        match &mut self.rule {
            Some(rule) => rule.look(is_on, probe),
            None => {
                if !is_on {
                    self.look_just_before();
                }
                false
            }
        }
    }

    fn troubles(&self) -> Vec<String> {
        self.troubles.clone()
    }

    fn residue(&self) -> Vec<String> {
        let there = match self.server.proxy(&self.via.proxy, GLANCE * 5) {
            Ok(proxy) => proxy.map_or(Vec::new(), |p| p.toxics),
            // It was seen to be the server itself, and its toxics went with it. Who only listened here may have been on the
            // way to it.
            Err(_) if self.process.as_ref().is_some_and(|process| !process.is_alive()) => Vec::new(),
            Err(why) => return vec![format!("it is not known whether the toxics are gone: {why}")],
        };
        let ours = |name: &str| self.toxics.iter().any(|(own, _)| own == name);
        let left = there.iter().filter(|t| ours(&t.name));
        left.map(|t| format!("toxic {} is still on proxy {}", t.name, self.via.proxy_text)).collect()
    }

    fn proof(&self) -> Proof {
        let Some(applied) = self.applied else { return Proof::none("no toxic was put on") };
        match &self.rule {
            Some(rule) => rule.proof(applied, "the server's yes"),
            None => judge(&self.effects(), self.via.toxicity.get(), &self.before, &locked(&self.seen).looks),
        }
    }

    fn mechanism(&self) -> String {
        let toxics: Vec<String> = self.toxics.iter().map(|(_, t)| t.to_string()).collect();
        let share = match self.via.toxicity.get() {
            1.0 => String::new(),
            share => format!(", on {} % of connections, drawn once for each", share * 100.0),
        };
        let others = match self.others.as_slice() {
            [] => String::new(),
            others => format!("; toxics of others are there too and stay: {}", others.join(", ")),
        };
        let resets = self.toxics.iter().any(|(_, t)| matches!(t.effect, ToxicEffect::ResetPeer { .. }));
        let open = if resets { "; connections that were open before are closed, not reset" } else { "" };
        let (proxy, version) = (&self.via.proxy_text, &self.version);
        format!("toxic {} on proxy {proxy} of Toxiproxy {version}{share}{open}{others}", toxics.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Ratio;

    /// A fault whose toxic is on at a server that nobody reaches any more.
    fn unreachable(process: Option<ProcessId>) -> ToxiproxyFault {
        let url = Url { tls: false, host: "127.0.0.1".into(), port: 1, path: "/".into() };
        let server = Server { url: url.clone() };
        let toxic = Toxic { effect: ToxicEffect::Latency { latency: 500, jitter: 0 }, stream: Stream::Upstream };
        let via = Toxiproxy {
            url,
            proxy: "p".into(),
            url_text: server.shown(),
            proxy_text: "p".into(),
            toxicity: Ratio::new(1.0).unwrap(),
            proof: None,
        };
        ToxiproxyFault {
            server,
            via,
            toxics: vec![("resbench-r-f".into(), toxic)],
            clock: Clock::starting_in(Duration::ZERO),
            rule: None,
            version: String::new(),
            process,
            others: Vec::new(),
            address: None,
            before: Before::default(),
            applied: Some(Offset::ZERO),
            sent: 1,
            watch: None,
            seen: Arc::default(),
            troubles: Vec::new(),
        }
    }

    #[test]
    fn a_way_that_is_gone_leaves_the_toxics_on_and_a_server_that_is_gone_does_not() {
        let mut behind = unreachable(None);
        let why = behind.revert().unwrap_err();
        assert!(why.contains("restore the way there"), "{why}");
        assert!(behind.residue()[0].contains("not known whether the toxics are gone"), "{:?}", behind.residue());
        let lives = unreachable(Some(ProcessId::current()));
        assert_eq!(lives.residue().len(), 1);
        let dead = ProcessId { pid: i32::MAX, start_time: 1, ..ProcessId::current() };
        let mut gone = unreachable(Some(dead));
        assert_eq!((gone.revert(), gone.residue()), (Ok(()), Vec::new()));
        assert!(gone.troubles()[0].contains("the Toxiproxy server was gone"), "{:?}", gone.troubles());
    }

    #[test]
    fn our_kinds_in_its_words() {
        let told = |kind: FaultKind| toxics(&kind).unwrap().iter().map(Toxic::to_string).collect::<Vec<_>>();
        let (latency, jitter) = (Duration::from_millis(250), Duration::from_millis(20));
        let both = Direction::Both;
        assert_eq!(
            told(FaultKind::NetworkDelay { latency, jitter, direction: both }),
            ["latency latency=250 jitter=20 upstream", "latency latency=250 jitter=20 downstream"]
        );
        let rate = FaultKind::NetworkBandwidth { rate: 64_000, direction: Direction::From };
        assert_eq!(told(rate), ["bandwidth rate=64 downstream"]);
        assert_eq!(told(FaultKind::NetworkPartition { direction: Direction::To }), ["timeout upstream"]);
        assert_eq!(told(FaultKind::NetworkReset), ["reset_peer upstream"]);
        assert_eq!(toxics(&FaultKind::PodPause), None);
    }

    #[test]
    fn where_a_client_of_this_machine_finds_the_proxy() {
        let at = |host: &str, listen: &str| {
            let url = Url { tls: false, host: host.into(), port: 8474, path: "/".into() };
            address_of(listen, &Server { url }).map(|a| a.to_string())
        };
        assert_eq!(at("127.0.0.1", "127.0.0.1:9000").as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(at("192.0.2.7", "[::]:9000").as_deref(), Some("192.0.2.7:9000"));
        assert_eq!(at("192.0.2.7", "192.0.2.8:9000").as_deref(), Some("192.0.2.8:9000"));
        assert_eq!(at("192.0.2.7", "127.0.0.1:9000"), None, "that machine's loopback is not ours");
    }
}
