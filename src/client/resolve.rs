//! Names to addresses, looked up before the load and again while it runs.
//!
//! A pod replaced behind a name must get traffic: a thread asks anew every [`REFRESH`]; connections take
//! whatever the last good answer was. Addresses need no thread.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::clock;

/// Between two look-ups of a name.
pub const REFRESH: Duration = Duration::from_secs(5);

/// The current addresses of one host.
#[derive(Debug)]
pub struct Resolved {
    addresses: RwLock<Vec<SocketAddr>>,
    turn: AtomicUsize,
    gone: AtomicBool,
}

impl Resolved {
    /// Looks the host up once, and keeps looking when it is a name.
    ///
    /// # Errors
    /// When the name does not resolve.
    pub fn new(host: &str, port: u16) -> Result<Arc<Resolved>, String> {
        let addresses = look_up(host, port)?;
        let resolved = Arc::new(Resolved {
            addresses: RwLock::new(addresses),
            turn: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        });
        if host.parse::<IpAddr>().is_err() {
            let (weak, host) = (Arc::downgrade(&resolved), host.to_owned());
            let refresh = move || {
                loop {
                    clock::sleep(REFRESH);
                    let Some(resolved) = weak.upgrade() else { return };
                    let fresh = look_up(&host, port);
                    resolved.gone.store(fresh.is_err(), Ordering::Relaxed);
                    if let Ok(fresh) = fresh {
                        *resolved.addresses.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
                    }
                }
            };
            std::thread::Builder::new().name("resolver".into()).spawn(refresh).map_err(|e| e.to_string())?;
        }
        Ok(resolved)
    }

    /// The address for the next connection, in turn; none while the name does not resolve any more.
    pub fn next(&self) -> Option<SocketAddr> {
        if self.gone.load(Ordering::Relaxed) {
            return None;
        }
        let addresses = self.addresses.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn % addresses.len().max(1)).copied()
    }
}

/// The address for a single connection; unlike [`Resolved::new`] it leaves no thread behind.
///
/// # Errors
/// When the name does not resolve.
pub(super) fn first(host: &str, port: u16) -> Result<SocketAddr, String> {
    look_up(host, port).map(|addresses| addresses[0])
}

fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|e| format!("`{host}` does not resolve: {e}"))?.collect();
    // Loopback names give ::1 and 127.0.0.1 while servers often listen on one of the two: IPv4 first, as most do.
    let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
    let chosen = if v4.is_empty() { v6 } else { v4 };
    if chosen.is_empty() { Err(format!("`{host}` has no address")) } else { Ok(chosen) }
}
