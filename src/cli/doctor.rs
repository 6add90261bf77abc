//! `resbench doctor`: what this machine can do, and how to get what is missing.

use clap::Args;
use rustix::process::{Resource, getrlimit};

use crate::cli::out;
use crate::engine;
use crate::fault::{journal, nft};
use crate::platform::process::available_cpus;
use crate::platform::volume;
use crate::report::format::count;
use crate::run::own_limit::{Trial, own_limit};
use crate::units::show_measured as show;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Measure the highest rate that resbench itself can pace on this machine (half a minute; run it on a quiet one).
    #[arg(long = "self")]
    own_limit: bool,
}

pub(super) fn doctor(args: &DoctorArgs) -> u8 {
    if args.own_limit {
        return measure();
    }
    let checks: [(&str, Result<String, String>); 8] = [
        ("cpus", cpus()),
        ("pacing", engine::available().map(|()| "waits are timed to the nanosecond".to_owned())),
        ("io faults (FUSE)", volume::available().map(|()| "can mount".to_owned())),
        ("nftables", nft::available().map(|()| "can drop packets (network-loss)".to_owned())),
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

/// What this machine can pace, against a target of its own.
fn measure() -> u8 {
    let dir = std::env::temp_dir().join(format!("resbench-doctor-{}", std::process::id()));
    let found = std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display())).and_then(|()| {
        let tell = |t: &Trial| out::talk(&format!("{}\n", words(t)));
        own_limit(&dir, tell)
    });
    // Nothing of it is needed any more; the system clears what cannot be removed.
    let _ = std::fs::remove_dir_all(&dir);
    let found = match found {
        Ok(found) => found,
        Err(why) => {
            out::error(&why);
            return 5;
        }
    };
    let threads =
        if found.workers == 1 { "1 load thread".to_owned() } else { format!("{} load threads", found.workers) };
    let text = match (&found.best, &found.worst) {
        (None, _) => "This machine is too busy now to pace even 1,000/s. Try again when it is quiet.".to_owned(),
        (Some(best), None) => format!("resbench paces at least {}/s here, with {threads}.", count(best.rate.into())),
        (Some(best), Some(worst)) => format!(
            "resbench paces {}/s here, with {threads}: lag p50 {}, p99 {}, {} of CPU per request. At {}/s {}.",
            count(best.rate.into()),
            show(best.lag_p50),
            show(best.lag_p99),
            show(best.cpu_per_request),
            count(worst.rate.into()),
            if worst.target_gave_way {
                "its own target gave way first: the limit may be higher"
            } else {
                "it falls behind"
            }
        ),
    };
    out::result(&format!("{text}\n"));
    0
}

fn words(t: &Trial) -> String {
    let verdict = match (t.carried, t.target_gave_way) {
        (true, _) => "carried",
        (false, true) => "the target gave way",
        (false, false) => "fell behind",
    };
    format!("{:>9}/s  {verdict:<20} lag p50 {}, p99 {}", count(t.rate.into()), show(t.lag_p50), show(t.lag_p99))
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
