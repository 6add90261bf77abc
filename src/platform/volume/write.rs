//! Writing through a view, passed on to a copy of the volume that is a replica's own.
//!
//! Only views of a copy get here ([`Writes::ToCopy`](super::Writes)): the original is never opened for writing. Owns what each call does
//! to the copy. Leaves alone which calls are held or failed (`faults.rs`) and the kernel's side (`view.rs`).

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fuser::{Errno, FileAttr, RenameFlags, TimeOrNow};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use super::inodes::Identity;
use super::lock;
use super::view::{OpenFile, Shared, at, attributes, errno, join};

/// What `setattr` is asked to change; none leaves it as it is.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Bytes that the file is cut or stretched to.
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
}

impl Change {
    /// Only a longer file needs room.
    pub(super) fn grows(&self, length: u64) -> bool {
        self.size.is_some_and(|size| size > length)
    }
}

/// Who asked: what is made belongs to them, as on a disk of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Shared {
    /// Bytes written, all of them, or why not.
    pub(super) fn write(&self, open: &OpenFile, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let mut done = 0;
        while done < data.len() {
            match open.file().write_at(&data[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if done > 0 => break, // What was written was written; the next call tells why.
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done as u32)
    }

    /// Makes a file and opens it.
    pub(super) fn create(
        &self,
        folder: u64,
        name: &[u8],
        mode: u32,
        flags: i32,
        owner: Owner,
    ) -> Result<(FileAttr, u64), Errno> {
        let path = self.new_path(folder, name)?;
        let asked = OFlags::from_bits_retain(flags as u32) & (OFlags::ACCMODE | OFlags::APPEND | OFlags::EXCL);
        let flags = asked | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.root, at(&path), flags, mode_of(mode)).map_err(errno)?;
        given(&fd, owner);
        let stat = rustix::fs::fstat(&fd).map_err(errno)?;
        let number = lock(&self.inodes).remember(&path, Identity::of(&stat))?;
        Ok((attributes(number, &stat), self.keep(number, path, fd.into())?))
    }

    /// Makes a folder.
    pub(super) fn make_folder(&self, folder: u64, name: &[u8], mode: u32, owner: Owner) -> Result<FileAttr, Errno> {
        let path = self.new_path(folder, name)?;
        rustix::fs::mkdirat(&self.root, at(&path), mode_of(mode)).map_err(errno)?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
            let _ = rustix::fs::chownat(&self.root, at(&path), uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        }
        self.lookup(&path)
    }

    /// Makes a symbolic link. An absolute one would lead past the view, and perhaps to an original.
    pub(super) fn make_link(&self, folder: u64, name: &[u8], text: &Path) -> Result<FileAttr, Errno> {
        if text.is_absolute() {
            return Err(Errno::EPERM);
        }
        let path = self.new_path(folder, name)?;
        rustix::fs::symlinkat(text, &self.root, at(&path)).map_err(errno)?;
        self.lookup(&path)
    }

    /// Takes a name away: of a folder with `REMOVEDIR`.
    pub(super) fn remove_name(&self, folder: u64, name: &[u8], kind: AtFlags) -> Result<(), Errno> {
        let path = self.new_path(folder, name)?;
        rustix::fs::unlinkat(&self.root, at(&path), kind).map_err(errno)
    }

    /// Gives a file another name, and what lies in a folder with it.
    pub(super) fn rename(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: RenameFlags) -> Result<(), Errno> {
        let (old, new) = (self.new_path(from.0, from.1)?, self.new_path(to.0, to.1)?);
        let exchange = flags.contains(RenameFlags::RENAME_EXCHANGE);
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        rustix::fs::renameat_with(&self.root, at(&old), &self.root, at(&new), flags).map_err(errno)?;
        lock(&self.inodes).renamed(&old, &new, exchange);
        Ok(())
    }

    /// Changes attributes of the file that the kernel means.
    pub(super) fn change(&self, number: u64, change: &Change) -> Result<FileAttr, Errno> {
        let (path, identity) = lock(&self.inodes).get(number)?;
        if Identity::of(&self.stat(&path)?) != identity {
            return Err(Errno::ESTALE);
        }
        if let Some(size) = change.size {
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.root, at(&path), flags, Mode::empty()).map_err(errno)?;
            rustix::fs::ftruncate(&file, size).map_err(errno)?;
        }
        if let Some(mode) = change.mode {
            rustix::fs::chmodat(&self.root, at(&path), mode_of(mode), AtFlags::empty()).map_err(errno)?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
            rustix::fs::chownat(&self.root, at(&path), uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let times = Timestamps { last_access: moment(change.atime), last_modification: moment(change.mtime) };
            rustix::fs::utimensat(&self.root, at(&path), &times, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
        }
        Ok(attributes(number, &self.stat(&path)?))
    }

    /// Bytes in the file now; nothing for what is not there.
    pub(super) fn length(&self, number: u64) -> u64 {
        let path = lock(&self.inodes).get(number).map(|(path, _)| path);
        path.and_then(|path| self.stat(&path)).map_or(0, |stat| stat.st_size as u64)
    }

    fn new_path(&self, folder: u64, name: &[u8]) -> Result<super::inodes::RelPath, Errno> {
        let (folder, _) = lock(&self.inodes).get(folder)?;
        Ok(join(&folder, name))
    }
}

/// As root, what was made goes to who asked for it; else it is ours and theirs alike.
fn given(fd: &rustix::fd::OwnedFd, owner: Owner) {
    if rustix::process::geteuid().is_root() {
        let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
    }
}

fn mode_of(mode: u32) -> Mode {
    Mode::from_bits_retain(mode & 0o7777)
}

fn moment(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW as _ },
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: since.as_secs() as _, tv_nsec: since.subsec_nanos() as _ }
        }
    }
}
