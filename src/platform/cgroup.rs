//! Control groups: which one a process is in, and how much memory its limits leave.
//!
//! Both forms are read: the one tree of version 2, and a tree per controller of version 1. Nothing is made or changed
//! here.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::ProcessId;

/// The folder of the control group that a process is in for this controller ("cpu", "memory"), when it is another one
/// than ours: a replica whose command put it there. None where both are in the same, or it cannot be told.
pub fn apart(process: &ProcessId, controller: &str) -> Option<PathBuf> {
    let theirs = Group::of(&process.pid.to_string(), controller)?;
    let ours = Group::of("self", controller)?;
    (theirs.dir != ours.dir).then_some(theirs.dir)
}

/// Bytes that may still be taken into memory beside a process, or beside us: what the machine has available, and what the
/// limits of its control group and of those around it leave. File cache that can be dropped counts as free.
///
/// # Errors
/// When the machine does not say.
pub fn memory_left(beside: Option<&ProcessId>) -> Result<u64, String> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|e| format!("/proc/meminfo: {e}"))?;
    let available = field(&text, "MemAvailable:").ok_or("/proc/meminfo does not say MemAvailable")?;
    let who = beside.map_or("self".to_owned(), |p| p.pid.to_string());
    let limits = Group::of(&who, "memory").map(|group| group.memory_left()).unwrap_or_default();
    Ok(limits.into_iter().fold(available.saturating_mul(1024), u64::min))
}

struct Group {
    dir: PathBuf,
    /// Where its tree begins.
    root: PathBuf,
}

impl Group {
    fn of(pid: &str, controller: &str) -> Option<Group> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        find(&groups, &mounts, controller)
    }

    /// What each limit on the way up leaves.
    fn memory_left(&self) -> Vec<u64> {
        let up = self.dir.ancestors().take_while(|dir| dir.starts_with(&self.root));
        up.filter_map(left_in).collect()
    }
}

fn left_in(dir: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    // Without a limit version 2 says "max", which is no number, and version 1 a very large one.
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let cache = field(&stat, "total_inactive_file").or_else(|| field(&stat, "inactive_file")).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

/// From `/proc/PID/cgroup` (`4:memory:/path`, or `0::/path`) and `/proc/self/mountinfo`; see cgroups(7).
fn find(groups: &str, mounts: &str, controller: &str) -> Option<Group> {
    let lines = || groups.lines().filter_map(|l| l.split_once(':')?.1.split_once(':'));
    let has = |list: &str| list.split(',').any(|c| c == controller);
    let own_tree = lines().find(|(controllers, _)| has(controllers));
    let (_, path) = own_tree.or_else(|| lines().find(|(controllers, _)| controllers.is_empty()))?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (kind, options) = (after.split(' ').next()?, after.split(' ').next_back()?);
        let is_it = if own_tree.is_some() { kind == "cgroup" && has(options) } else { kind == "cgroup2" };
        let mut fields = before.split(' ').skip(3);
        let (top, root) = (fields.next()?, PathBuf::from(fields.next()?));
        let below = Path::new(path).strip_prefix(top).ok().filter(|_| is_it)?;
        Some(Group { dir: root.join(below), root })
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 1 0:22 / /proc rw - proc proc rw
31 25 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw
35 25 0:31 /docker/ab /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup memory rw,memory
36 25 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct";

    #[test]
    fn the_folder_of_a_group_is_found_in_both_forms() {
        let v1 = "9:cpu,cpuacct:/x\n4:memory:/docker/ab/run\n0::/user";
        let dir = |groups: &str, controller: &str| find(groups, MOUNTS, controller).map(|g| g.dir);
        assert_eq!(dir(v1, "memory"), Some("/sys/fs/cgroup/memory/run".into()), "below what is mounted");
        assert_eq!(dir(v1, "cpu"), Some("/sys/fs/cgroup/cpu,cpuacct/x".into()));
        assert_eq!(dir("0::/user/a.scope", "memory"), Some("/sys/fs/cgroup/unified/user/a.scope".into()));
        assert_eq!(dir("4:memory:/elsewhere", "memory"), None, "not in what is mounted here");
        assert_eq!(dir("", "cpu"), None);
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (root, inner) = (dir.path().join("root"), dir.path().join("root/a"));
        fs::create_dir_all(&inner).unwrap();
        let write = |dir: &Path, files: &[(&str, &str)]| {
            files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
        };
        write(&inner, &[("memory.max", "max\n"), ("memory.current", "10\n")]);
        write(&root, &[("memory.max", "1000\n"), ("memory.current", "700\n"), ("memory.stat", "inactive_file 200\n")]);
        assert_eq!(Group { dir: inner, root: root.clone() }.memory_left(), [500]);
        let old = dir.path().join("root/old");
        fs::create_dir(&old).unwrap();
        write(&old, &[("memory.limit_in_bytes", "300"), ("memory.usage_in_bytes", "400")]);
        assert_eq!(Group { dir: old, root }.memory_left(), [0, 500]);
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let me = ProcessId::current();
        assert_eq!(apart(&me, "memory"), None, "nobody is apart from itself");
        assert!(memory_left(Some(&me)).unwrap() > 1 << 20);
        assert!(memory_left(None).unwrap() > 1 << 20);
    }
}
