//! What the load would run out of on this machine, told before it does: descriptors and ports are ours, not the
//! target's, and a run without them measures nothing.

use std::net::IpAddr;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::plan::{Load, Plan};
use crate::schedule;

/// Descriptors for everything but the load's connections: logs, links, replicas, pollers.
const OTHER_FILES: u64 = 256;
/// How long Linux keeps a closed connection's port (TIME_WAIT), unless it may be used again.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// The same where `net.ipv4.tcp_tw_reuse` allows it.
const TIME_WAIT_REUSED: Duration = Duration::from_secs(1);

/// What this machine has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Room {
    files: Option<u64>,
    ports: u64,
    port_kept: Duration,
}

impl Room {
    /// Towards this address.
    pub(super) fn here(target: IpAddr) -> Room {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        let range: Vec<u64> = read("ip_local_port_range").split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let reused = match read("tcp_tw_reuse").trim() {
            "1" => true,
            "2" => target.is_loopback(),
            _ => false,
        };
        Room {
            files: getrlimit(Resource::Nofile).current,
            ports: if let [low, high] = range[..] { high.saturating_sub(low) + 1 } else { 28_232 },
            port_kept: if reused { TIME_WAIT_REUSED } else { TIME_WAIT },
        }
    }
}

/// Refuses a load that this machine cannot carry for want of descriptors or ports.
///
/// # Errors
/// What is missing, and the cure.
pub(super) fn check(plan: &Plan, room: Room) -> Result<(), String> {
    let traffic = &plan.traffic;
    let users = plan.phases.iter().map(|p| match p.load {
        Load::Closed { concurrency, .. } => concurrency.div_ceil(traffic.streams),
        Load::Open(_) => 0,
    });
    let connections = traffic.connections.unwrap_or(0).max(users.max().unwrap_or(0)) as u64;
    if let Some(files) = room.files
        && connections + OTHER_FILES > files
    {
        return Err(format!(
            "{connections} connections need {} open files, and {files} are allowed: raise the limit with \
             `ulimit -Hn {}`, or ask for fewer connections",
            connections + OTHER_FILES,
            (connections + OTHER_FILES).next_power_of_two()
        ));
    }
    let Some(requests) = traffic.connection_max_requests else { return Ok(()) };
    let ports = room.ports * traffic.source_addresses.len().max(1) as u64;
    for phase in &plan.phases {
        let Load::Open(shape) = &phase.load else { continue };
        let rate = schedule::peak_rate(shape) / requests as f64;
        let kept = room.port_kept.min(phase.duration).as_secs_f64();
        if rate * kept > ports as f64 {
            return Err(format!(
                "phase `{}` opens {rate:.0} connections per second, each of which keeps its port for {} s: {:.0} \
                 ports, and there are {ports}. Raise connection_max_requests, add source_addresses, widen \
                 net.ipv4.ip_local_port_range or set net.ipv4.tcp_tw_reuse=1",
                phase.name,
                room.port_kept.as_secs(),
                rate * kept
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Phase, Shape, tests_support};
    use crate::units::{Offset, Rate};

    fn phase(load: Load) -> Phase {
        Phase { name: "p".into(), start: Offset::ZERO, duration: Duration::from_secs(120), load, measured: true }
    }

    fn room() -> Room {
        Room { files: Some(1024), ports: 28_232, port_kept: TIME_WAIT }
    }

    #[test]
    fn trap_14_a_load_without_ports_or_descriptors_is_refused_before_it_begins() {
        let open = Load::Open(Shape::Constant(Rate::per_second(1000.0).unwrap()));
        let mut plan = tests_support::plan(vec![phase(open)]);
        assert_eq!(check(&plan, room()), Ok(()), "connections that are kept take no ports");
        plan.traffic.connection_max_requests = Some(1);
        let why = check(&plan, room()).unwrap_err();
        assert!(why.contains("60000 ports, and there are 28232"), "{why}");
        plan.traffic.source_addresses = (1..=3).map(|n| IpAddr::from([127, 0, 0, n])).collect();
        assert_eq!(check(&plan, room()), Ok(()), "three addresses of our own have three times the ports");
        plan.traffic.source_addresses.clear();
        assert_eq!(check(&plan, Room { port_kept: TIME_WAIT_REUSED, ..room() }), Ok(()));
        plan.traffic.connections = Some(2000);
        assert!(check(&plan, room()).unwrap_err().contains("2256 open files, and 1024 are allowed"));
    }
}
