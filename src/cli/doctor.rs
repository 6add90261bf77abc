//! `resbench doctor`: what this machine can do, and how to get what is missing.

use rustix::process::{Resource, getrlimit};

use crate::cli::out;
use crate::engine;
use crate::fault::journal;
use crate::platform::process::available_cpus;
use crate::platform::volume;

pub(super) fn doctor() -> u8 {
    let checks: [(&str, Result<String, String>); 7] = [
        ("cpus", cpus()),
        ("pacing", engine::available().map(|()| "waits are timed to the nanosecond".to_owned())),
        ("io faults (FUSE)", volume::available().map(|()| "can mount".to_owned())),
        ("open files", files()),
        ("ephemeral ports", ports()),
        ("pidfd", pidfd()),
        ("journal", journal::state_dir().and_then(writable)),
    ];
    for (name, outcome) in checks {
        let line = match outcome {
            Ok(found) => format!("ok       {name:<18} {found}"),
            Err(missing) => format!("missing  {name:<18} {missing}"),
        };
        out::result(&format!("{line}\n"));
    }
    0
}

fn cpus() -> Result<String, String> {
    match available_cpus().len() {
        0 | 1 => Err("one CPU: load and replicas share it, and each disturbs the other's numbers".into()),
        n => Ok(format!("{n}: load and local replicas get their own")),
    }
}

fn files() -> Result<String, String> {
    let limit = getrlimit(Resource::Nofile);
    match limit.maximum {
        Some(most) if most < 4096 => Err(format!("{most} at most: raise it with `ulimit -Hn 65536`")),
        most => Ok(most.map_or("no limit".to_owned(), |n| format!("{n} at most"))),
    }
}

fn ports() -> Result<String, String> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").map_err(|e| e.to_string())?;
    let bounds: Vec<u32> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match bounds[..] {
        [low, high] => Ok(format!("{} per target address", high.saturating_sub(low) + 1)),
        _ => Err("unknown".into()),
    }
}

fn pidfd() -> Result<String, String> {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    pidfd_open(getpid(), PidfdFlags::empty())
        .map(|_| "yes".to_owned())
        .map_err(|e| format!("needs Linux 5.3 or later: {e}"))
}

fn writable(dir: std::path::PathBuf) -> Result<String, String> {
    std::fs::create_dir_all(&dir)
        .map_err(|e| format!("{}: {e}: set XDG_STATE_HOME to a folder of yours", dir.display()))?;
    Ok(dir.display().to_string())
}
