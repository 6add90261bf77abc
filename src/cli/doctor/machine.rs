//! What this machine itself can do: one small function for each line.

use rustix::process::{Resource, getrlimit};

use super::{Check, Missing, Outcome};
use crate::clock;
use crate::engine;
use crate::fault::journal;
use crate::platform::process::available_cpus;
use crate::platform::volume;
use crate::units::show_measured;

/// All of them, in the order in which they are shown.
pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("cpus", cpus()),
        Check::new("pacing", pacing()),
        Check::new("clock", clock()),
        Check::new("open files", files()),
        Check::new("ephemeral ports", ports()),
        Check::new("pidfd", pidfd()),
        Check::new("journal", journal()),
        Check::new("io faults (FUSE)", fuse()),
        Check::new("network-loss (nft)", nftables()),
    ]
}

fn cpus() -> Outcome {
    match available_cpus().len() {
        0 | 1 => Err(Missing::new(
            "one CPU: load and replicas share it, and each disturbs the other's numbers",
            "run on a machine with two or more, or allow them (taskset, cpuset)",
        )),
        n => Ok(format!("{n}: load and local replicas get their own")),
    }
}

fn pacing() -> Outcome {
    let told = || "waits are timed to the nanosecond".to_owned();
    engine::available().map(|()| told()).map_err(|why| Missing::new(why, "Linux 5.11 or later"))
}

/// Everything is timed by the monotonic clock; wall time is only noted once, beside it.
fn clock() -> Outcome {
    let step = clock::resolution();
    if step > std::time::Duration::from_micros(1) {
        let what = format!("the monotonic clock steps by {}", show_measured(step));
        return Err(Missing::new(what, "a kernel with high-resolution timers (CONFIG_HIGH_RES_TIMERS)"));
    }
    // Kept by systemd-timesyncd only; others say it nowhere that can be read without asking them.
    let synced = std::path::Path::new("/run/systemd/timesync/synchronized").exists();
    let wall =
        if synced { "wall time is synchronised (NTP)" } else { "whether wall time is synchronised is not told here" };
    Ok(format!("steps of {} ns; {wall}", step.as_nanos()))
}

fn files() -> Outcome {
    let limit = getrlimit(Resource::Nofile);
    match limit.maximum {
        Some(most) if most < 4096 => Err(Missing::new(format!("{most} at most"), "ulimit -Hn 65536")),
        most => Ok(most.map_or("no limit".to_owned(), |n| format!("{n} at most"))),
    }
}

fn ports() -> Outcome {
    let cure = "sysctl net.ipv4.ip_local_port_range='10240 65535'";
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let text = text.map_err(|e| Missing::new(e.to_string(), "mount /proc"))?;
    let bounds: Vec<u32> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match bounds[..] {
        [low, high] if high.saturating_sub(low) < 4096 => {
            Err(Missing::new(format!("{} per target address", high.saturating_sub(low) + 1), cure))
        }
        [low, high] => Ok(format!("{} per target address", high.saturating_sub(low) + 1)),
        _ => Err(Missing::new("unknown", cure)),
    }
}

fn pidfd() -> Outcome {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    let opened = pidfd_open(getpid(), PidfdFlags::empty());
    opened.map(|_| "yes".to_owned()).map_err(|e| Missing::new(e.to_string(), "Linux 5.3 or later"))
}

fn journal() -> Outcome {
    let dir = journal::state_dir().map_err(|why| Missing::new(why, "export XDG_STATE_HOME=/a/folder/of/yours"))?;
    let made = std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()));
    made.map(|()| dir.display().to_string()).map_err(|e| Missing::new(e, "set XDG_STATE_HOME to a folder of yours"))
}

fn fuse() -> Outcome {
    volume::available().map(|()| "can mount".to_owned()).map_err(Missing::told)
}

/// Packets are dropped by nftables, which takes its program and the right to use it.
fn nftables() -> Outcome {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let Some(program) = folders.map(|dir| dir.join("nft")).find(|file| file.is_file()) else {
        return Err(Missing::new("the program `nft` is not here", "apt-get install nftables"));
    };
    if !may(NET_ADMIN) {
        let cure = "run as root, or in a network of its own: unshare -rn sh -c 'ip link set lo up; resbench …'";
        return Err(Missing::new("rules may not be made (no CAP_NET_ADMIN)", cure));
    }
    Ok(program.display().to_string())
}

/// `CAP_NET_ADMIN` is bit 12 of the capability sets.
const NET_ADMIN: u64 = 1 << 12;

fn may(capability: u64) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|m| m & capability != 0)
}
