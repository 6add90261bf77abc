//! Mounts of this machine: may we make one, is it there, put it away.
//!
//! Works on paths alone, so that a watchdog or `revert` in another process can put away what a dead run left.
//! The mount table (`/proc/self/mountinfo`) is the only witness: a dead mount answers nothing itself.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

/// The source that our mounts show in the mount table.
pub(super) const NAME: &str = "resbench";

/// Mounts of ours on top of each other at one path, at most.
const MAX_STACKED: usize = 8;

/// `CAP_SYS_ADMIN`, which mounting takes: bit 21 of the capability sets.
const SYS_ADMIN: u64 = 1 << 21;

/// Whether a view can be mounted here.
///
/// # Errors
/// Says what is missing and how to get it.
pub fn available() -> Result<(), String> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    opened.map_err(|e| match e.kind() {
        ErrorKind::NotFound => "there is no /dev/fuse: load it with `modprobe fuse`, or start the container with \
            `--device /dev/fuse --cap-add SYS_ADMIN`"
            .to_owned(),
        _ => format!(
            "/dev/fuse cannot be opened ({e}): run as root, or start the container with \
             `--device /dev/fuse --cap-add SYS_ADMIN`"
        ),
    })?;
    if may_mount() || fusermount().is_some() {
        return Ok(());
    }
    Err("mounting is not allowed: run as root, install fusermount3 (Debian package fuse3), or start the container \
         with `--device /dev/fuse --cap-add SYS_ADMIN`"
        .to_owned())
}

/// Unmounts a view at this path, whoever made it, alive or dead, even with files open on it. Not mounted is success.
///
/// # Errors
/// When something that is not ours is mounted there, or the view is still there afterwards.
pub fn unmount_path(path: &Path) -> Result<(), String> {
    let path = absolute(path)?;
    for _ in 0..MAX_STACKED {
        match mounted_at(&path)? {
            None => return Ok(()),
            Some(mount) if !mount.is_ours() => {
                return Err(format!(
                    "{} holds a mount that is not ours ({} from {}): left alone",
                    path.display(),
                    mount.kind,
                    mount.source
                ));
            }
            Some(_) => detach(&path)?,
        }
    }
    match mounted_at(&path)? {
        None => Ok(()),
        Some(_) => Err(still_there(&path, "more mounts on top of each other than expected")),
    }
}

/// Where views of ours are mounted whose process is gone: they answer nothing but ENOTCONN.
///
/// # Errors
/// When the mount table cannot be read.
pub fn dead_views() -> Result<Vec<PathBuf>, String> {
    let table = fs::read("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    let ours = table.split(|b| *b == b'\n').filter_map(read_line).filter(|(_, mount)| mount.is_ours());
    Ok(ours.map(|(path, _)| path).filter(|path| is_dead(path)).collect())
}

/// A view whose process is stopped answers nothing at all, so it is asked on a thread of its own, and lives.
fn is_dead(path: &Path) -> bool {
    let (said, answer) = std::sync::mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || said.send(fs::metadata(path).is_err_and(|e| e.kind() == ErrorKind::NotConnected)));
    answer.recv_timeout(Duration::from_secs(2)).unwrap_or(false)
}

/// What the mount table says about one mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    kind: String,
    source: String,
}

impl Mount {
    pub(super) fn is_ours(&self) -> bool {
        self.source == NAME && (self.kind == "fuse" || self.kind.starts_with("fuse."))
    }
}

/// The topmost mount at exactly this path.
pub(super) fn mounted_at(path: &Path) -> Result<Option<Mount>, String> {
    let table = fs::read("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    Ok(find(&table, path))
}

/// A mount at this path or below it.
pub(super) fn mounted_within(path: &Path) -> Result<Option<PathBuf>, String> {
    let table = fs::read("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    let path = absolute(path)?;
    let mut at = table.split(|b| *b == b'\n').filter_map(read_line).map(|(at, _)| at);
    Ok(at.find(|at| at.starts_with(&path)))
}

/// The last line wins: it is the mount on top.
fn find(table: &[u8], path: &Path) -> Option<Mount> {
    let mut lines = table.split(|b| *b == b'\n').filter_map(read_line);
    lines.rfind(|(at, _)| at == path).map(|(_, mount)| mount)
}

/// proc(5): `36 35 98:0 /root /mount/point options tags… - type source super-options`.
fn read_line(line: &[u8]) -> Option<(PathBuf, Mount)> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    let text = |at: usize| fields.get(at).map(|f| String::from_utf8_lossy(&unescape(f)).into_owned());
    let mount = Mount { kind: text(dash + 1)?, source: text(dash + 2)? };
    Some((PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))), mount))
}

/// The kernel writes space, tab, newline and backslash as `\040` and the like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(field.len()), 0);
    while at < field.len() {
        let code = field.get(at + 1..at + 4).and_then(|d| std::str::from_utf8(d).ok());
        match code.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) if field[at] == b'\\' => {
                out.push(byte);
                at += 4;
            }
            _ => {
                out.push(field[at]);
                at += 1;
            }
        }
    }
    out
}

/// As the mount table writes it, without touching the path itself: a dead mount answers ENOTCONN to everything.
fn absolute(path: &Path) -> Result<PathBuf, String> {
    let path = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => Ok(parent.join(name)),
        _ => Ok(path),
    }
}

/// Plainly first, because then it is gone when the call returns; lazily when files are open on it; through the
/// setuid helper when we are not root.
fn detach(path: &Path) -> Result<(), String> {
    let plain = unmount(path, UnmountFlags::NOFOLLOW);
    let result = match plain {
        Err(Errno::BUSY) => unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH),
        other => other,
    };
    match result {
        // EINVAL: it went away between the look at the table and the call.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) => detach_by_helper(path),
        Err(e) => Err(still_there(path, &e.to_string())),
    }
}

fn detach_by_helper(path: &Path) -> Result<(), String> {
    let helper =
        fusermount().ok_or_else(|| still_there(path, "not root, and there is no fusermount3 (package fuse3)"))?;
    let output = Command::new(helper).args(["-u", "-z", "--"]).arg(path).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(still_there(path, String::from_utf8_lossy(&output.stderr).trim())),
        Err(e) => Err(still_there(path, &e.to_string())),
    }
}

fn still_there(path: &Path, why: &str) -> String {
    let path = path.display();
    format!(
        "the view at {path} is still mounted ({why}); put it away with `fusermount3 -u -z {path}` or `umount -l {path}`"
    )
}

fn may_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|m| m & SYS_ADMIN != 0)
}

fn fusermount() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/bin".into(), "/usr/bin".into()]);
    folders.flat_map(|dir| [dir.join("fusermount3"), dir.join("fusermount")]).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_with_escapes_and_the_top_mount_wins() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/root rw\n\
            40 22 0:36 / /a\\040b\\134c rw,noatime shared:3 master:1 - tmpfs tmpfs rw\n\
            41 40 0:37 / /a\\040b\\134c ro - fuse resbench ro,user_id=0\n";
        let top = find(table, Path::new("/a b\\c")).unwrap();
        assert!(top.is_ours(), "{top:?}");
        assert!(!find(table, Path::new("/")).unwrap().is_ours());
        assert_eq!(find(table, Path::new("/a")), None);
    }

    #[test]
    fn what_is_not_mounted_is_success_and_what_is_not_ours_is_left() {
        let dir = tempfile::tempdir().unwrap();
        unmount_path(dir.path()).unwrap();
        unmount_path(&dir.path().join("no/such/folder")).unwrap();
        assert!(unmount_path(Path::new("/proc")).unwrap_err().contains("not ours"));
    }
}
