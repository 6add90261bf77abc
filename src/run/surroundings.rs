//! Where a run takes place, for the record.

use crate::clock;
use crate::plan::Plan;
use crate::report::model::Environment;

/// What is known before the run.
pub(super) fn look(plan: &Plan) -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map(|v| v.trim_start_matches([' ', '\t', ':']).trim().to_owned());
    let name = rustix::system::uname();
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Environment {
        host: name.nodename().to_string_lossy().into_owned(),
        kernel: name.release().to_string_lossy().into_owned(),
        cpu: cpu.unwrap_or_default(),
        cpus: crate::platform::process::available_cpus().len(),
        memory_bytes: memory.unwrap_or(0) * 1024,
        platform: plan.platform.as_ref().map_or("url", |_| plan.platform_word()).to_owned(),
        replicas: 0,
        target: String::new(),
        protocol: plan.target.protocol.word().to_owned(),
        link_us: None,
        load_average: read("/proc/loadavg").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
    }
}

/// Every connection is a descriptor: as many as the system allows.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be raised, running out is counted as `client` errors.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Largest resident set of this process so far, in bytes.
pub(super) fn max_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    peak.unwrap_or(0) * 1024
}

/// Wall-clock time of the run's zero, RFC 3339, UTC.
pub(super) fn started_at(clock: &clock::Clock) -> String {
    jiff::Timestamp::from_nanosecond(clock.wall_origin())
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}
