//! A view of a replica's volume through FUSE, so that its file calls can be slowed or failed.
//!
//! Owns the mount from making to unmounting, and the [`VolumeControl`] of it. Leaves alone which faults there are
//! and when (`fault/`), and where views are mounted (the platform, which tells its `Ledger` first).
//!
//! The original is never opened for writing: every write-like call is refused, and source files are opened read-only; where
//! replicas may write, each has a copy of the volume (`copy.rs`), and what they write goes there (`write.rs`). The
//! mount of an original is read-only as well, so that the kernel refuses writes (EROFS), but for a run in which a fault answers them:
//! there they come to us, and are answered with EROFS whenever no fault answers otherwise. Nothing is cached: names and attributes have a lifetime of zero and reads
//! are direct, so that a fault bites files which were opened, and read, before it began. Memory maps are the exception,
//! the kernel needs pages for them: those are dropped when a fault on reads begins, so that the next touch of a page is
//! a read again. What a view cannot do: symbolic links are answered as they are, so one that leads out of the volume
//! leads past the faults; a process killed while a call of its is held ends only when the call is let go, as with
//! a slow disk.

mod copy;
mod faults;
mod inodes;
mod mounts;
mod pattern;
mod view;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use fuser::{BackgroundSession, MountOption, SessionACL};

pub use copy::{MAX_COPIED, copy, copy_of, remove_copy, size_of};
pub use mounts::{available, dead_views, unmount_path};

use super::VolumeControl;
use view::{Caching, Shared, View};

/// Threads that answer calls. More than one, so that a slow disk underneath holds up as little as it would without us.
const THREADS: usize = 4;

/// How long `unmount` waits for those threads; with files still open they go on until the last one is closed.
const GOODBYE: Duration = Duration::from_millis(500);

/// What becomes of what a replica would write. Nothing is ever written to an original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// The kernel: the mount is read-only.
    RefusedByKernel,
    /// The view, so that a fault can answer them.
    RefusedByView,
    /// Nobody: the source is a copy that the replica may write to.
    ToCopy,
}

/// A mounted view. Dropping it unmounts.
pub struct VolumeView {
    path: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl VolumeView {
    /// Shows `source` at `mountpoint`, a folder that exists and holds no mount.
    ///
    /// # Errors
    /// When there is no FUSE here (see [`available`]), a path is not a folder, one lies within the other, something is
    /// mounted there already, or the kernel refuses.
    pub fn mount(source: &Path, mountpoint: &Path, writes: Writes) -> Result<VolumeView, String> {
        VolumeView::mount_with(source, mountpoint, Caching::Never, writes)
    }

    /// Where it is mounted, as the mount table writes it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The controls of this view. They stay valid after unmounting, when they keep the evidence and hit nothing.
    pub fn control(&self) -> Arc<dyn VolumeControl> {
        self.shared.clone()
    }

    /// Takes every fault off, lets held calls go and unmounts; lazily when files are open, which then stay readable
    /// until they are closed. Unmounted by somebody else already is success.
    ///
    /// # Errors
    /// When it is still mounted afterwards, and how a person unmounts it.
    pub fn unmount(mut self) -> Result<(), String> {
        self.put_away()
    }

    fn mount_with(source: &Path, mountpoint: &Path, caching: Caching, writes: Writes) -> Result<VolumeView, String> {
        available()?;
        let (source, path) = (folder(source)?, folder(mountpoint)?);
        if source.starts_with(&path) || path.starts_with(&source) {
            return Err(format!(
                "a view of {} cannot be mounted at {}: one lies within the other, so that calls would wait for themselves",
                source.display(),
                path.display()
            ));
        }
        if mounts::mounted_at(&path)?.is_some() {
            return Err(format!("{} holds a mount already: choose another folder, or unmount it", path.display()));
        }
        let what = format!("cannot mount a view of {} at {}", source.display(), path.display());
        let problem = |e: std::io::Error| format!("{what}: {e}");
        let shared = Arc::new(Shared::new(&source, caching, writes == Writes::ToCopy).map_err(problem)?);
        let session = fuser::spawn_mount(View::new(shared.clone()), &path, &options(writes)).map_err(problem)?;
        shared.start(session.notifier());
        let view = VolumeView { path, shared, session: Some(session) };
        let runner = view.shared.clone();
        thread::Builder::new().name("volume-delay".into()).spawn(move || runner.run()).map_err(problem)?;
        Ok(view)
    }

    fn put_away(&mut self) -> Result<(), String> {
        let Some(session) = self.session.take() else { return Ok(()) };
        self.shared.close();
        let gone = unmount_path(&self.path);
        // Moving the thread out drops the rest of the session, and with it our last handle on the device.
        let thread = session.guard;
        let ended = (0..GOODBYE.as_millis()).any(|_| thread.is_finished() || nap());
        if ended {
            // What the threads ended with does not matter any more: the mount table has been asked.
            let _ = thread.join();
        }
        gone
    }
}

impl Drop for VolumeView {
    fn drop(&mut self) {
        // Whoever wants to know calls `unmount`; the journal still names the mount.
        let _ = self.put_away();
    }
}

/// Waits a millisecond; false, so that it can stand in a chain of attempts.
fn nap() -> bool {
    crate::clock::sleep(Duration::from_millis(1));
    false
}

fn folder(path: &Path) -> Result<PathBuf, String> {
    match path.canonicalize() {
        Ok(full) if full.is_dir() => Ok(full),
        Ok(_) => Err(format!("{} is not a folder", path.display())),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

fn options(writes: Writes) -> fuser::Config {
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        if writes == Writes::RefusedByKernel { MountOption::RO } else { MountOption::RW },
        MountOption::NoAtime,
        // The kernel checks modes and owners, as it does on the source.
        MountOption::DefaultPermissions,
        MountOption::FSName(mounts::NAME.into()),
    ];
    // A replica may change its user; without root the kernel admits only our own.
    options.acl = if rustix::process::geteuid().is_root() { SessionACL::All } else { SessionACL::Owner };
    options.n_threads = Some(THREADS);
    options
}

/// A lock is never given up for a panic elsewhere: what these guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
