//! Names to addresses, looked up before the load and again while it runs.
//!
//! A pod replaced behind a name must get traffic: a thread asks anew at an interval, and at once when a connection
//! fails. Connections take whatever the last good answer was. Addresses need no thread.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::Thread;
use std::time::Duration;

use crate::clock;
use crate::plan::AddressFamily;
use crate::units::show_duration;

/// Between two look-ups that failed connections ask for.
const SOONEST: Duration = Duration::from_millis(200);

/// The current addresses of one host.
#[derive(Debug)]
pub struct Resolved {
    addresses: RwLock<Vec<SocketAddr>>,
    turn: AtomicUsize,
    gone: AtomicBool,
    asked: AtomicBool,
    asker: OnceLock<Thread>,
    look_ups: AtomicU64,
    slowest_ns: AtomicU64,
}

/// What looking up cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookUps {
    /// How many.
    pub count: u64,
    /// The slowest.
    pub slowest: Duration,
}

impl Resolved {
    /// Looks the host up once, and keeps looking at this interval when it is a name.
    ///
    /// # Errors
    /// When the name does not resolve, or to no address of this family.
    pub fn new(host: &str, port: u16, family: Option<AddressFamily>, every: Duration) -> Result<Arc<Resolved>, String> {
        if host.parse::<IpAddr>().is_ok() {
            return look_up(host, port, family).map(|addresses| Arc::new(Resolved::of(addresses)));
        }
        let host = host.to_owned();
        Resolved::by(move || look_up(&host, port, family), every)
    }

    /// Looks up once by this, and keeps looking at this interval: [`Resolved::new`] for a name, by any way of asking.
    ///
    /// # Errors
    /// When the first look-up fails, or no thread can be started for the others.
    pub fn by(
        look_up: impl Fn() -> Result<Vec<SocketAddr>, String> + Send + 'static,
        every: Duration,
    ) -> Result<Arc<Resolved>, String> {
        let began = clock::monotonic_nanos();
        let resolved = Arc::new(Resolved::of(look_up()?));
        resolved.note(began);
        let weak = Arc::downgrade(&resolved);
        let refresh = move || {
            loop {
                clock::sleep(SOONEST);
                clock::park(every.saturating_sub(SOONEST));
                let Some(resolved) = weak.upgrade() else { return };
                resolved.asked.store(false, Ordering::Relaxed);
                resolved.refresh(&look_up);
            }
        };
        let thread = std::thread::Builder::new().name("resolver".into()).spawn(refresh);
        let _ = resolved.asker.set(thread.map_err(|e| e.to_string())?.thread().clone());
        Ok(resolved)
    }

    fn of(addresses: Vec<SocketAddr>) -> Resolved {
        Resolved {
            addresses: RwLock::new(addresses),
            turn: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            asker: OnceLock::new(),
            look_ups: AtomicU64::new(0),
            slowest_ns: AtomicU64::new(0),
        }
    }

    fn refresh(&self, look_up: &impl Fn() -> Result<Vec<SocketAddr>, String>) {
        let began = clock::monotonic_nanos();
        let fresh = look_up();
        self.note(began);
        self.gone.store(fresh.is_err(), Ordering::Relaxed);
        if let Ok(fresh) = fresh {
            *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    fn note(&self, began: u64) {
        self.look_ups.fetch_add(1, Ordering::Relaxed);
        self.slowest_ns.fetch_max(clock::monotonic_nanos() - began, Ordering::Relaxed);
    }

    /// Look-ups of a name so far; none for an address.
    pub fn look_ups(&self) -> LookUps {
        let slowest = Duration::from_nanos(self.slowest_ns.load(Ordering::Relaxed));
        LookUps { count: self.look_ups.load(Ordering::Relaxed), slowest }
    }

    /// A connection failed: the name is looked up soon, without anybody waiting for it.
    pub fn ask(&self) {
        if let Some(thread) = self.asker.get()
            && !self.asked.swap(true, Ordering::Relaxed)
        {
            thread.unpark();
        }
    }

    /// The address for the next connection, in turn; none while the name does not resolve any more.
    pub fn next(&self) -> Option<SocketAddr> {
        if self.gone.load(Ordering::Relaxed) {
            return None;
        }
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn % addresses.len().max(1)).copied()
    }
}

/// The address for a single connection, within this time. A name is looked up on a thread of its own, which outlives the call only
/// while the system's resolver holds it: that has no limit that could be set.
///
/// # Errors
/// When the name does not resolve, or not in time.
pub(crate) fn first(
    host: &str,
    port: u16,
    family: Option<AddressFamily>,
    limit: Duration,
) -> Result<SocketAddr, String> {
    if host.parse::<IpAddr>().is_ok() {
        return look_up(host, port, family).map(|addresses| addresses[0]);
    }
    let (told, answer) = sync_channel(1);
    let name = host.to_owned();
    let look = move || {
        // Nobody listens any more where the answer comes too late.
        let _ = told.send(look_up(&name, port, family));
    };
    std::thread::Builder::new().name("look-up".into()).spawn(look).map_err(|e| format!("thread for a look-up: {e}"))?;
    let late = |_| format!("`{host}`: the resolver did not answer within {}", show_duration(limit));
    answer.recv_timeout(limit).map_err(late)?.map(|addresses| addresses[0])
}

fn look_up(host: &str, port: u16, family: Option<AddressFamily>) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|e| format!("`{host}` does not resolve: {e}"))?.collect();
    let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
    let (chosen, what) = match family {
        Some(AddressFamily::Ipv4) => (v4, "IPv4 address"),
        Some(AddressFamily::Ipv6) => (v6, "IPv6 address"),
        // Loopback names give ::1 and 127.0.0.1 while servers often listen on one of the two: IPv4 first, as most do.
        None if v4.is_empty() => (v6, "address"),
        None => (v4, "address"),
    };
    if chosen.is_empty() { Err(format!("`{host}` has no {what}")) } else { Ok(chosen) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Script = Arc<Mutex<Result<Vec<SocketAddr>, String>>>;

    fn script(port: u16) -> Script {
        Arc::new(Mutex::new(says(port)))
    }

    fn says(port: u16) -> Result<Vec<SocketAddr>, String> {
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }

    fn resolved(script: &Script, every: Duration) -> Arc<Resolved> {
        let script = script.clone();
        Resolved::by(move || script.lock().unwrap().clone(), every).unwrap()
    }

    #[track_caller]
    fn becomes(resolved: &Resolved, port: Option<u16>) {
        let give_up = clock::monotonic_nanos() + 60_000_000_000;
        while resolved.next().map(|a| a.port()) != port {
            assert!(clock::monotonic_nanos() < give_up, "never {port:?}");
            clock::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn trap_12_a_failed_connection_has_the_name_looked_up_at_once() {
        let name = script(1);
        let resolved = resolved(&name, Duration::from_secs(3600));
        becomes(&resolved, Some(1));
        for (answer, port) in [(says(2), Some(2)), (Err("gone".into()), None), (says(3), Some(3))] {
            let before = resolved.next();
            *name.lock().unwrap() = answer;
            assert_eq!(resolved.next(), before, "nobody asked yet, and an hour has not passed");
            resolved.ask();
            becomes(&resolved, port);
        }
        assert_eq!(resolved.look_ups().count, 4, "one at the start, one for each time that somebody asked");
    }

    #[test]
    fn trap_12_a_name_is_looked_up_at_an_interval() {
        let name = script(1);
        let resolved = resolved(&name, Duration::from_millis(250));
        for (answer, port) in [(says(2), Some(2)), (Err("gone".into()), None), (says(1), Some(1))] {
            *name.lock().unwrap() = answer;
            becomes(&resolved, port);
        }
        assert!(Resolved::by(|| Err("never there".into()), Duration::from_secs(1)).is_err());
    }

    #[test]
    fn one_look_up_is_bounded() {
        let limit = Duration::from_secs(20);
        let v4 = Some(AddressFamily::Ipv4);
        assert_eq!(first("localhost", 7, v4, limit), Ok(SocketAddr::from(([127, 0, 0, 1], 7))));
        assert_eq!(
            first("127.0.0.2", 7, None, Duration::ZERO),
            Ok(SocketAddr::from(([127, 0, 0, 2], 7))),
            "an address takes no time"
        );
        let late = first("localhost", 7, v4, Duration::ZERO);
        assert!(late.is_ok() || late.unwrap_err().contains("did not answer within 0s"), "whichever comes first");
    }

    #[test]
    fn an_address_is_its_own_name_and_families_are_told_apart() {
        let every = Duration::from_secs(1);
        let four = Resolved::new("127.0.0.1", 80, None, every).unwrap();
        assert_eq!((four.next().unwrap().to_string().as_str(), four.look_ups().count), ("127.0.0.1:80", 0));
        let six = Resolved::new("::1", 80, Some(AddressFamily::Ipv6), every).unwrap();
        assert_eq!(six.next().unwrap().to_string(), "[::1]:80");
        for (host, family) in [("::1", AddressFamily::Ipv4), ("127.0.0.1", AddressFamily::Ipv6)] {
            let why = Resolved::new(host, 80, Some(family), every).unwrap_err();
            assert!(why.contains(host) && why.contains("has no IPv"), "{why}");
        }
        let name = Resolved::new("localhost", 80, Some(AddressFamily::Ipv4), every).unwrap();
        assert!(name.next().unwrap().is_ipv4() && name.look_ups().count >= 1);
    }
}
