//! What the view answers: the calls of FUSE, passed through to the source.
//!
//! Owns open files and the kernel's numbers for them. Leaves alone which calls are held or failed (`faults.rs`).
//! Work and reply are apart: work may run later, in the thread of held calls, and may panic without taking the
//! reply with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, Notifier, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, SeekFrom, Stat};

use super::faults::Faults;
use super::inodes::{Identity, Inodes, RelPath};
use super::lock;
use super::write::{Change, Owner};
use crate::plan::IoMethod;
use crate::platform::{VolumeControl, VolumeEvidence, VolumeFault};

/// How long the kernel may believe names and attributes without asking: not at all.
const LIFETIME: Duration = Duration::ZERO;

/// Files and folders open through one view at the same time, at most.
const MAX_OPEN: usize = 16_384;

/// Largest read that the kernel is told to send, in bytes.
const MAX_READ: u32 = 1 << 20;

/// Reads ahead of memory maps that may wait at the same time: held ones must not block the others.
const MAX_BACKGROUND: u16 = 4096;

/// How long `add` waits for mapped pages to go; a page that is being read under another delay goes later.
const PAGES_GONE: Duration = Duration::from_millis(50);

/// Whether the kernel keeps what was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// Every read comes to us. Before Linux 6.6 this forbids shared memory maps, so there we fall back to the other.
    Never,
    /// Until a file is opened anew or a fault on reads begins.
    #[cfg_attr(not(test), expect(dead_code, reason = "asked for by tests only: what old kernels get"))]
    WhileOpen,
}

/// The state of one view.
pub(super) struct Shared {
    pub(super) root: OwnedFd,
    pub(super) inodes: Mutex<Inodes>,
    /// The source is a copy that may be written to.
    writable: bool,
    open: Mutex<OpenFiles>,
    faults: Faults,
    notifier: Mutex<Option<Notifier>>,
    direct: AtomicBool,
}

#[derive(Default)]
struct OpenFiles {
    last: u64,
    by_handle: HashMap<u64, Arc<OpenFile>>,
}

pub(super) struct OpenFile {
    number: u64,
    path: RelPath,
    file: File,
    /// A folder is read by seeking, so one at a time.
    turn: Mutex<()>,
}

impl OpenFile {
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Shared {
    pub(super) fn new(source: &Path, caching: Caching, writable: bool) -> io::Result<Shared> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(source, flags, Mode::empty())?;
        let identity = Identity::of(&rustix::fs::statat(&root, ".", AtFlags::empty())?);
        Ok(Shared {
            root,
            inodes: Mutex::new(Inodes::new(identity)),
            writable,
            open: Mutex::default(),
            faults: Faults::new(),
            notifier: Mutex::new(None),
            direct: AtomicBool::new(caching == Caching::Never),
        })
    }

    /// The view is mounted: the kernel can be told to drop pages.
    pub(super) fn start(&self, notifier: Notifier) {
        *lock(&self.notifier) = Some(notifier);
    }

    /// Serves held calls until `close`.
    pub(super) fn run(&self) {
        self.faults.run();
    }

    /// Ends every effect and gives up the device.
    pub(super) fn close(&self) {
        self.faults.close();
        *lock(&self.notifier) = None;
    }

    pub(super) fn stat(&self, path: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.root, at(path), AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
    }

    pub(super) fn lookup(&self, path: &RelPath) -> Result<FileAttr, Errno> {
        let stat = self.stat(path)?;
        let number = lock(&self.inodes).remember(path, Identity::of(&stat))?;
        Ok(attributes(number, &stat))
    }

    /// The attributes of the file that the kernel means: not of another one that has its path now.
    fn getattr(&self, number: u64) -> Result<FileAttr, Errno> {
        let (path, identity) = lock(&self.inodes).get(number)?;
        let found = match self.stat(&path) {
            Ok(stat) if Identity::of(&stat) == identity => Ok(stat),
            Ok(_) => Err(Errno::ESTALE),
            Err(e) => Err(e),
        };
        let stat = found.or_else(|gone| self.stat_open(number).ok_or(gone))?;
        Ok(attributes(number, &stat))
    }

    /// Of a file that vanished underneath while it is open.
    fn stat_open(&self, number: u64) -> Option<Stat> {
        let open = lock(&self.open).by_handle.values().find(|o| o.number == number).cloned()?;
        rustix::fs::fstat(&open.file).ok()
    }

    /// Opens for reading, and for nothing else unless `kind` says so, which only happens on a copy. Never waits (`NONBLOCK`), should a pipe have taken the file's place.
    fn open(&self, number: u64, kind: OFlags) -> Result<u64, Errno> {
        let (path, identity) = lock(&self.inodes).get(number)?;
        let flags = kind | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.root, at(&path), flags, Mode::empty()).map_err(errno)?;
        if Identity::of(&rustix::fs::fstat(&fd).map_err(errno)?) != identity {
            // The kernel looks the name up again and retries.
            return Err(Errno::ESTALE);
        }
        self.keep(number, path, fd.into())
    }

    /// The handle of a file that is open from now on.
    pub(super) fn keep(&self, number: u64, path: RelPath, file: File) -> Result<u64, Errno> {
        let mut open = lock(&self.open);
        if open.by_handle.len() >= MAX_OPEN {
            return Err(Errno::ENFILE);
        }
        open.last += 1;
        let handle = open.last;
        open.by_handle.insert(handle, Arc::new(OpenFile { number, path, file, turn: Mutex::default() }));
        Ok(handle)
    }

    fn opened(&self, handle: FileHandle) -> Option<Arc<OpenFile>> {
        lock(&self.open).by_handle.get(&handle.0).cloned()
    }

    /// Reads into [`BUFFER`] what is there, or what a fault makes of it.
    fn read(&self, open: &OpenFile, offset: u64, size: usize) -> Result<usize, Errno> {
        let n = read_whole(&open.file, offset, size)?;
        if self.faults.active() > 0 {
            let length = rustix::fs::fstat(&open.file).map_err(errno)?.st_size as u64;
            BUFFER.with_borrow_mut(|buffer| self.faults.corrupt(&open.path, offset, length, &mut buffer[..n]));
        }
        Ok(n)
    }

    fn close_file(&self, handle: FileHandle) {
        let closed = lock(&self.open).by_handle.remove(&handle.0);
        // The file is closed here, outside the lock.
        drop(closed);
    }

    /// Fills the reply with entries from `offset` on; offsets are the source's own.
    fn list(&self, open: &OpenFile, offset: u64, reply: &mut ReplyDirectory) -> Result<(), Errno> {
        let _turn = lock(&open.turn);
        rustix::fs::seek(&open.file, SeekFrom::Start(offset)).map_err(errno)?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&open.file, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(errno)?;
            let name = entry.file_name().to_bytes();
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => match self.stat(&join(&open.path, name)) {
                    Ok(stat) => rustix::fs::FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue, // It went while we were reading.
                },
                known => known,
            };
            if reply.add(INodeNo(entry.ino()), entry.next_entry_cookie(), kind_of(kind), OsStr::from_bytes(name)) {
                break;
            }
        }
        Ok(())
    }

    /// Makes the kernel forget pages of open files (only those can be mapped), so that a fault bites maps too. In a
    /// thread, because the kernel waits for pages that are being read, and those may be held by another fault.
    fn drop_pages(&self) {
        let Some(notifier) = lock(&self.notifier).clone() else { return };
        let mut numbers: Vec<u64> = lock(&self.open).by_handle.values().map(|o| o.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() {
            return;
        }
        let (done, wait) = mpsc::channel();
        let work = move || {
            for number in numbers {
                // Refused for what the kernel has forgotten by now, and has no pages of.
                let _ = notifier.inval_inode(INodeNo(number), 0, 0);
            }
            let _ = done.send(());
        };
        if thread::Builder::new().name("volume-pages".into()).spawn(work).is_ok() {
            let _ = wait.recv_timeout(PAGES_GONE);
        }
    }
}

impl VolumeControl for Shared {
    fn add(&self, fault: VolumeFault) -> u64 {
        let id = self.faults.add(&fault);
        if fault.scope.methods.contains(&IoMethod::Read) {
            self.drop_pages();
        }
        id
    }

    fn remove(&self, id: u64) -> bool {
        let corrupts = self.faults.corrupts(id);
        let removed = self.faults.remove(id);
        if corrupts {
            self.drop_pages();
        }
        removed
    }

    fn evidence(&self, id: u64) -> VolumeEvidence {
        self.faults.evidence(id)
    }

    fn active(&self) -> usize {
        self.faults.active()
    }
}

/// The face that the view shows to the kernel.
pub(super) struct View(Arc<Shared>);

impl View {
    pub(super) fn new(shared: Arc<Shared>) -> View {
        View(shared)
    }

    fn serve<R: Refuse, T>(
        &self,
        method: IoMethod,
        path: &[u8],
        reply: R,
        work: impl FnOnce(&Shared, &mut R) -> Result<T, Errno> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        let shared = self.0.clone();
        self.0.faults.serve(method, path, move |errno| match errno {
            Some(code) => reply.refuse(Errno::from_i32(code)),
            None => finish(reply, |reply| work(&shared, reply), answer),
        });
    }

    /// Something that would need room: refused in any case, with what a fault says or because nothing is ever written.
    fn refuse_write<R: Refuse>(&self, path: &[u8], reply: R) {
        self.0.faults.serve(IoMethod::Write, path, move |errno| {
            reply.refuse(errno.map_or(Errno::EROFS, Errno::from_i32));
        });
    }

    /// As `refuse_write`, for a name in a folder.
    fn refuse_new<R: Refuse>(&self, folder: INodeNo, name: &OsStr, reply: R) {
        let Some((folder, reply)) = self.path_of(folder, reply) else { return };
        self.refuse_write(&join(&folder, name.as_bytes()), reply);
    }

    fn remove_name(&self, folder: INodeNo, name: &OsStr, kind: AtFlags, reply: ReplyEmpty) {
        if !self.0.writable {
            return reply.error(Errno::EROFS);
        }
        // Needs no room, it makes some.
        finish(reply, |_| self.0.remove_name(folder.0, name.as_bytes(), kind), |reply, ()| reply.ok());
    }

    /// What no view does. Programs do without it on a volume that they may write to.
    fn beyond(&self) -> Errno {
        if self.0.writable { Errno::EOPNOTSUPP } else { Errno::EROFS }
    }

    fn caching(&self) -> FopenFlags {
        if self.0.direct.load(Relaxed) { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() }
    }

    /// The path of an open number, or the refusal that was sent.
    fn path_of<R: Refuse>(&self, number: INodeNo, reply: R) -> Option<(RelPath, R)> {
        let found = lock(&self.0.inodes).get(number.0);
        match found {
            Ok((path, _)) => Some((path, reply)),
            Err(e) => {
                reply.refuse(e);
                None
            }
        }
    }
}

/// A reply that can say no.
trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {$(
        impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        }
    )*};
}

refuse!(ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite);

/// Works and answers. A panic becomes EIO: it must cost one call, not the thread that answers all of them.
fn finish<R: Refuse, T>(mut reply: R, work: impl FnOnce(&mut R) -> Result<T, Errno>, answer: impl FnOnce(R, T)) {
    match catch_unwind(AssertUnwindSafe(|| work(&mut reply))) {
        Ok(Ok(value)) => answer(reply, value),
        Ok(Err(e)) => reply.refuse(e),
        Err(_) => reply.refuse(Errno::EIO),
    }
}

thread_local! {
    /// What is read on its way to the kernel: one per answering thread, at most [`MAX_READ`] bytes.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads into [`BUFFER`]; fewer bytes than asked for only at the end of the file.
fn read_whole(file: &File, offset: u64, size: usize) -> Result<usize, Errno> {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        let mut done = 0;
        while done < size {
            match file.read_at(&mut buffer[done..size], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    })
}

impl Filesystem for View {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each of these is refused only when it is beyond a limit of the kernel or of fuser; then the default stays.
        let _ = config.set_max_write(MAX_READ);
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_congestion_threshold(MAX_BACKGROUND);
        // A held lookup must not block others in its folder; pages of a file that changed underneath must go.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        let _ = config.add_capabilities(InitFlags::FUSE_AUTO_INVAL_DATA);
        if config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP).is_err() {
            self.0.direct.store(false, Relaxed);
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some((folder, reply)) = self.path_of(parent, reply) else { return };
        let path = join(&folder, name.as_bytes());
        let wanted = path.clone();
        let work = move |shared: &Shared, _: &mut ReplyEntry| shared.lookup(&wanted);
        self.serve(IoMethod::Lookup, &path, reply, work, |reply, attr| reply.entry(&LIFETIME, &attr, Generation(0)));
    }

    fn forget(&self, _req: &Request, number: INodeNo, lookups: u64) {
        lock(&self.0.inodes).forget(number.0, lookups);
    }

    fn getattr(&self, _req: &Request, number: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let Some((path, reply)) = self.path_of(number, reply) else { return };
        let work = move |shared: &Shared, _: &mut ReplyAttr| shared.getattr(number.0);
        self.serve(IoMethod::Getattr, &path, reply, work, |reply, attr| reply.attr(&LIFETIME, &attr));
    }

    fn readlink(&self, _req: &Request, number: INodeNo, reply: ReplyData) {
        let Some((path, reply)) = self.path_of(number, reply) else { return };
        let read = |_: &mut ReplyData| rustix::fs::readlinkat(&self.0.root, at(&path), Vec::new()).map_err(errno);
        finish(reply, read, |reply, text| reply.data(text.to_bytes()));
    }

    fn open(&self, _req: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let Some((path, reply)) = self.path_of(number, reply) else { return };
        let reads = flags.acc_mode() == OpenAccMode::O_RDONLY;
        if !reads && !self.0.writable {
            return self.refuse_write(&path, reply);
        }
        // A full disk opens files as ever: it is the writes that fail.
        let kind = match flags.acc_mode() {
            OpenAccMode::O_RDONLY => OFlags::RDONLY,
            OpenAccMode::O_WRONLY => OFlags::WRONLY,
            OpenAccMode::O_RDWR => OFlags::RDWR,
        };
        let kind = kind | (OFlags::from_bits_retain(flags.0 as u32) & OFlags::APPEND);
        let caching = self.caching();
        let work = move |shared: &Shared, _: &mut ReplyOpen| shared.open(number.0, kind);
        let answer = move |reply: ReplyOpen, handle| reply.opened(FileHandle(handle), caching);
        self.serve(IoMethod::Open, &path, reply, work, answer);
    }

    fn read(
        &self,
        _req: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(open) = self.0.opened(handle) else { return reply.error(Errno::EBADF) };
        let file = open.clone();
        let work = move |shared: &Shared, _: &mut ReplyData| shared.read(&file, offset, size as usize);
        let answer = |reply: ReplyData, n: usize| BUFFER.with_borrow(|buffer| reply.data(&buffer[..n]));
        self.serve(IoMethod::Read, &open.path, reply, work, answer);
    }

    fn release(
        &self,
        _req: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.close_file(handle);
        reply.ok();
    }

    fn opendir(&self, _req: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let open = |_: &mut ReplyOpen| self.0.open(number.0, OFlags::DIRECTORY);
        finish(reply, open, |reply, handle| reply.opened(FileHandle(handle), FopenFlags::empty()));
    }

    fn readdir(&self, _req: &Request, _number: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let Some(open) = self.0.opened(handle) else { return reply.error(Errno::EBADF) };
        let folder = open.clone();
        let work = move |shared: &Shared, reply: &mut ReplyDirectory| shared.list(&folder, offset, reply);
        self.serve(IoMethod::Readdir, &open.path, reply, work, |reply, ()| reply.ok());
    }

    fn releasedir(&self, _req: &Request, _number: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.0.close_file(handle);
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _number: INodeNo, reply: ReplyStatfs) {
        let ask = |_: &mut ReplyStatfs| rustix::fs::fstatvfs(&self.0.root).map_err(errno);
        finish(reply, ask, |reply, s| {
            let (size, name, fragment) = (s.f_bsize as u32, s.f_namemax as u32, s.f_frsize as u32);
            reply.statfs(s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, size, name, fragment);
        });
    }

    // From here on: everything that would change something. On a view of an original all of it is refused: on a read-only mount
    // the kernel does that itself; where a fault is to answer writes the mount is not, and what needs room comes to
    // `refuse_write`. On a view of a copy `write.rs` does it.

    fn setattr(
        &self,
        _req: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if !self.0.writable {
            return reply.error(Errno::EROFS);
        }
        let Some((path, reply)) = self.path_of(number, reply) else { return };
        let change = Change { mode, uid, gid, size, atime, mtime };
        let method = if change.grows(self.0.length(number.0)) { IoMethod::Write } else { IoMethod::Getattr };
        let work = move |shared: &Shared, _: &mut ReplyAttr| shared.change(number.0, &change);
        self.serve(method, &path, reply, work, |reply, attr| reply.attr(&LIFETIME, &attr));
    }

    fn mknod(&self, _: &Request, folder: INodeNo, name: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        self.refuse_new(folder, name, reply);
    }

    fn mkdir(&self, req: &Request, folder: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        if !self.0.writable {
            return self.refuse_new(folder, name, reply);
        }
        let Some((path, reply)) = self.path_of(folder, reply) else { return };
        let (name, mode, owner) = (name.as_bytes().to_vec(), mode & !umask, owner_of(req));
        let path = join(&path, &name);
        let work = move |shared: &Shared, _: &mut ReplyEntry| shared.make_folder(folder.0, &name, mode, owner);
        self.serve(IoMethod::Write, &path, reply, work, |reply, attr| reply.entry(&LIFETIME, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove_name(folder, name, AtFlags::empty(), reply);
    }

    fn rmdir(&self, _: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove_name(folder, name, AtFlags::REMOVEDIR, reply);
    }

    fn symlink(&self, _: &Request, folder: INodeNo, name: &OsStr, text: &Path, reply: ReplyEntry) {
        if !self.0.writable {
            return self.refuse_new(folder, name, reply);
        }
        let Some((path, reply)) = self.path_of(folder, reply) else { return };
        let (name, text) = (name.as_bytes().to_vec(), text.to_owned());
        let path = join(&path, &name);
        let work = move |shared: &Shared, _: &mut ReplyEntry| shared.make_link(folder.0, &name, &text);
        self.serve(IoMethod::Write, &path, reply, work, |reply, attr| reply.entry(&LIFETIME, &attr, Generation(0)));
    }

    fn rename(
        &self,
        _: &Request,
        folder: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !self.0.writable {
            return reply.error(Errno::EROFS);
        }
        // Needs no room: a full disk still lets a file be renamed.
        let moved = |_: &mut ReplyEmpty| self.0.rename((folder.0, name.as_bytes()), (to.0, new.as_bytes()), flags);
        finish(reply, moved, |reply, ()| reply.ok());
    }

    fn link(&self, _: &Request, _: INodeNo, folder: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.refuse_new(folder, name, reply);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Some(open) = self.0.opened(handle).filter(|_| self.0.writable) else { return reply.error(Errno::EROFS) };
        // Kept, because the call may be held.
        let (file, data) = (open.clone(), data.to_vec());
        let work = move |shared: &Shared, _: &mut ReplyWrite| shared.write(&file, offset, &data);
        self.serve(IoMethod::Write, &open.path, reply, work, |reply, n| reply.written(n));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Every write has reached the source by now.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let Some(open) = self.0.opened(handle) else { return reply.error(Errno::EBADF) };
        let synced = |_: &mut ReplyEmpty| {
            let file = open.file();
            if datasync { rustix::fs::fdatasync(file) } else { rustix::fs::fsync(file) }.map_err(errno)
        };
        finish(reply, synced, |reply, ()| reply.ok());
    }

    fn create(
        &self,
        req: &Request,
        folder: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        if !self.0.writable {
            return self.refuse_new(folder, name, reply);
        }
        let Some((path, reply)) = self.path_of(folder, reply) else { return };
        let (name, mode, owner) = (name.as_bytes().to_vec(), mode & !umask, owner_of(req));
        let path = join(&path, &name);
        let caching = self.caching();
        let work = move |shared: &Shared, _: &mut ReplyCreate| shared.create(folder.0, &name, mode, flags, owner);
        let answer = move |reply: ReplyCreate, (attr, handle)| {
            reply.created(&LIFETIME, &attr, Generation(0), FileHandle(handle), caching);
        };
        self.serve(IoMethod::Write, &path, reply, work, answer);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(self.beyond());
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(self.beyond());
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(self.beyond());
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The kernel copies by reading and writing instead, where faults find it.
        reply.error(if self.0.writable { Errno::ENOSYS } else { Errno::EROFS });
    }
}

/// A path as the `*at` calls want it.
pub(super) fn at(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

pub(super) fn join(folder: &[u8], name: &[u8]) -> RelPath {
    if folder.is_empty() { Arc::from(name) } else { Arc::from([folder, name].join(&b'/')) }
}

fn owner_of(request: &Request) -> Owner {
    Owner { uid: request.uid(), gid: request.gid() }
}

/// EMFILE is about our own process and would mislead the replica.
pub(super) fn errno(e: rustix::io::Errno) -> Errno {
    if e == rustix::io::Errno::MFILE { Errno::ENFILE } else { Errno::from_i32(e.raw_os_error()) }
}

pub(super) fn attributes(number: u64, stat: &Stat) -> FileAttr {
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    FileAttr {
        ino: INodeNo(number),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind_of(kind),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}

fn time(seconds: i64, nanos: u64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.and_then(|t| t.checked_add(Duration::from_nanos(nanos))).unwrap_or(UNIX_EPOCH)
}

fn kind_of(kind: rustix::fs::FileType) -> FileType {
    match kind {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        rustix::fs::FileType::RegularFile | rustix::fs::FileType::Unknown => FileType::RegularFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(mpsc::Sender<Option<i32>>);

    impl Refuse for Fake {
        fn refuse(self, errno: Errno) {
            let _ = self.0.send(Some(errno.code()));
        }
    }

    #[test]
    fn a_panic_costs_one_call() {
        let (tell, told) = mpsc::channel();
        finish(Fake(tell.clone()), |_| -> Result<(), Errno> { panic!("of the test") }, |_, ()| {});
        finish(Fake(tell), |_| Ok(()), |fake, ()| fake.0.send(None).unwrap());
        assert_eq!(told.iter().collect::<Vec<_>>(), [Some(Errno::EIO.code()), None]);
    }

    #[test]
    fn times_before_the_epoch_survive() {
        assert_eq!(time(-2, 500_000_000), UNIX_EPOCH - Duration::from_millis(1500));
        assert_eq!(time(3, 1), UNIX_EPOCH + Duration::new(3, 1));
    }
}
