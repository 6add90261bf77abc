//! Addresses for children: found once, kept over restarts, never raced for.
//!
//! A port that was free a moment ago can be taken a moment later. So each child gets a loopback address of its own,
//! `127.a.b.n` with `a.b` drawn for this run, where nobody else binds; and a port below the range from which
//! the kernel gives out ports by itself, so that a program that listens on every address cannot get it by chance.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use super::process::ProcessId;

/// How many ports are tried per address.
const TRIES: u16 = 256;

/// Gives out addresses of one run.
#[derive(Debug)]
pub struct Ports {
    net: [u8; 2],
    first: u16,
    given: u8,
}

impl Ports {
    /// A range of addresses for the caller, different for every caller of this machine at one time.
    pub fn new() -> Ports {
        // Several platforms may live in one process, so the process alone is not enough to tell them apart.
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let me = ProcessId::current();
        let name = format!("{} {} {}", me.pid, me.start_time, COUNTER.fetch_add(1, Ordering::Relaxed));
        let digest = Sha256::digest(name.as_bytes());
        // 127.0.*.* is left to others: 127.0.0.1, 127.0.0.53, 127.0.1.1.
        let net = [digest[0] % 254 + 1, digest[1]];
        Ports { net, first: 10_000 + u16::from_le_bytes([digest[2], digest[3]]) % 10_000, given: 0 }
    }

    /// An address that nobody listens on, and that was not given out before.
    ///
    /// # Errors
    /// When no port could be found, or the machine has no loopback network.
    pub fn find(&mut self) -> Result<SocketAddr, String> {
        self.given = self.given.checked_add(1).filter(|n| *n < 255).ok_or("more than 254 local processes")?;
        let host = Ipv4Addr::new(127, self.net[0], self.net[1], self.given);
        free_port(host, self.first)
    }
}

impl Default for Ports {
    fn default() -> Ports {
        Ports::new()
    }
}

/// Says so when another program listens on this address.
pub fn taken(address: SocketAddr) -> Option<String> {
    match TcpListener::bind(address) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            Some(format!("{address} is taken by another program: `ss -ltnp` names it; end it, then run again"))
        }
        _ => None,
    }
}

fn free_port(host: Ipv4Addr, first: u16) -> Result<SocketAddr, String> {
    let top = given_out_from();
    let mut problem = String::new();
    for port in (0..TRIES).map(|n| first.wrapping_add(n)).filter(|port| *port < top) {
        match TcpListener::bind((host, port)) {
            Ok(_) => return Ok(SocketAddr::from((host, port))),
            Err(e) => problem = format!(": {e}"),
        }
    }
    Err(format!("no free port on {host} among {first} … {}{problem}", first.saturating_add(TRIES)))
}

/// The first port that the kernel gives out by itself; 32768 unless the machine is set up otherwise. Where the
/// range begins below ours there is nothing to gain, and every port will do.
fn given_out_from() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let low = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768);
    if low > 20_000 + TRIES { low } else { u16::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_another_one() {
        let (mut one, mut two) = (Ports::new(), Ports::new());
        let mut all: Vec<SocketAddr> = (0..5).flat_map(|_| [one.find().unwrap(), two.find().unwrap()]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 10);
        assert!(all.iter().all(|a| a.ip().is_loopback()));
    }

    #[test]
    fn passes_by_a_port_that_somebody_listens_on() {
        let address = Ports::new().find().unwrap();
        assert_eq!(taken(address), None);
        // On every address of the machine, as a careless program does.
        let _other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).unwrap();
        assert!(taken(address).unwrap().contains("taken by another program"));
        let SocketAddr::V4(v4) = address else { panic!("an IPv4 address") };
        let found = free_port(*v4.ip(), address.port()).unwrap();
        assert!(found.port() > address.port());
    }
}
