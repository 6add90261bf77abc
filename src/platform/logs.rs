//! What children print: kept in the run's folder, within a limit.
//!
//! Each child writes into a pipe; one thread carries what comes to `NAME.log`. A file that is full becomes
//! `NAME.old.log` (the one before it goes), so that at most [`FILE_LIMIT`] × 2 stay of each child: the last part.
//! The last few lines are kept in memory too, for errors. A replica that prints faster than the disk takes it waits,
//! as it would on any pipe.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};

use super::process::pin_thread;

/// Largest size of one log file, in bytes.
pub const FILE_LIMIT: u64 = 1024 * 1024;
/// What is kept in memory of each log, in bytes.
const TAIL_LIMIT: usize = 16 * 1024;
/// Longest line in an error, in characters.
const LINE_LIMIT: usize = 240;

/// The logs of one platform, and the thread that writes them.
#[derive(Debug)]
pub struct Logs {
    dir: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    logs: Mutex<Vec<Arc<Log>>>,
    wake: OwnedFd,
    stop: AtomicBool,
}

impl Logs {
    /// Makes the folder and starts the thread, on these CPUs (none means all).
    ///
    /// # Errors
    /// When the folder cannot be made, or the system gives no thread.
    pub fn start(dir: &Path, cpus: &[usize]) -> Result<Logs, String> {
        fs::create_dir_all(dir).map_err(|e| format!("folder for logs {}: {e}", dir.display()))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| format!("eventfd: {e}"))?;
        let shared = Arc::new(Shared { logs: Mutex::default(), wake, stop: AtomicBool::new(false) });
        let (of_thread, cpus) = (shared.clone(), cpus.to_vec());
        let carry = move || {
            pin_thread(&cpus);
            of_thread.carry();
        };
        let thread = thread::Builder::new().name("logs".into()).spawn(carry);
        let thread = thread.map_err(|e| format!("thread for logs: {e}"))?;
        Ok(Logs { dir: dir.to_owned(), shared, thread: Some(thread) })
    }

    /// A log of this name: `NAME.log` in the folder.
    ///
    /// # Errors
    /// When the file or the pipe cannot be made.
    pub fn open(&self, name: &str) -> Result<Arc<Log>, String> {
        let path = self.dir.join(format!("{name}.log"));
        let file = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("pipe for {name}: {e}"))?;
        // Only our end: a child with a non-blocking stdout would lose what it prints.
        fcntl_setfl(&reader, OFlags::NONBLOCK).map_err(|e| format!("pipe for {name}: {e}"))?;
        let kept = Mutex::new(Kept { file, size: 0, tail: VecDeque::new() });
        let log = Arc::new(Log { path, reader, writer, kept });
        self.shared.logs().push(log.clone());
        self.shared.wake();
        Ok(log)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn logs(&self) -> MutexGuard<'_, Vec<Arc<Log>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn carry(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let logs = self.logs().clone();
            let mut fds: Vec<PollFd<'_>> = logs.iter().map(|l| PollFd::new(&l.reader, PollFlags::IN)).collect();
            fds.push(PollFd::new(&self.wake, PollFlags::IN));
            let _ = poll(&mut fds, None);
            let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
            let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            logs.iter().zip(came).filter(|(_, came)| *came).for_each(|(log, _)| log.drain());
        }
        self.logs().iter().for_each(|log| log.drain());
    }
}

/// The log of one child, over all its starts.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    reader: OwnedFd,
    writer: OwnedFd,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    file: File,
    size: u64,
    tail: VecDeque<u8>,
}

impl Log {
    /// The file that is written now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a child writes to.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn writer(&self) -> io::Result<OwnedFd> {
        self.writer.try_clone()
    }

    /// The last `n` lines so far, without terminal escapes, each cut to 240 characters.
    pub fn last_lines(&self, n: usize) -> Vec<String> {
        self.drain();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(plain).filter(|line| !line.trim().is_empty());
        let mut last: Vec<String> = lines.collect();
        last.drain(..last.len().saturating_sub(n));
        last
    }

    /// Takes what is in the pipe now, at most two pipes full, so that one that prints without end holds up nobody.
    fn drain(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0u8; 16 * 1024];
        for _ in 0..8 {
            match rustix::io::read(&self.reader, &mut buffer) {
                Ok(n) if n > 0 => kept.take(&buffer[..n], &self.path),
                _ => return,
            }
        }
    }
}

impl Kept {
    fn take(&mut self, bytes: &[u8], path: &Path) {
        if self.size + bytes.len() as u64 > FILE_LIMIT && fs::rename(path, path.with_extension("old.log")).is_ok() {
            if let Ok(file) = File::create(path) {
                self.file = file;
            }
            self.size = 0;
        }
        // A full disk must not stop a replica: then the file ends here, and the tail goes on.
        if self.size + (bytes.len() as u64) <= FILE_LIMIT && self.file.write_all(bytes).is_ok() {
            self.size += bytes.len() as u64;
        }
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(TAIL_LIMIT);
        self.tail.drain(..over);
    }
}

/// One line without terminal escapes and control characters, cut to 240 characters.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                // CSI: parameters, then one final byte from @ to ~ (ECMA-48, 5.4).
                Some('[') => {
                    chars.by_ref().find(|c| ('@'..='~').contains(c));
                }
                // OSC and its kin: up to BEL or ESC \.
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    chars.by_ref().find(|c| matches!(c, '\x07' | '\x1b' | '\u{9c}'));
                    chars.next_if_eq(&'\\');
                }
                _ => {}
            },
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    match out.char_indices().nth(LINE_LIMIT) {
        Some((cut, _)) => format!("{} …", &out[..cut]),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_plain_and_short() {
        assert_eq!(plain("\x1b[1;31mred\x1b[0m\tand \x1b]0;title\x07safe\x1b]8;;x\x1b\\!\r"), "red and safe!");
        assert_eq!(plain("\x1b"), "");
        assert_eq!(plain(&"ü".repeat(1000)).chars().count(), LINE_LIMIT + 2);
    }

    #[test]
    fn keeps_the_end_of_an_endless_log_in_bounded_files() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::start(dir.path(), &[]).unwrap();
        let log = logs.open("replica-0").unwrap();
        let mut writer = File::from(log.writer().unwrap());
        for n in 0..400_000u32 {
            writeln!(writer, "line {n}").unwrap();
        }
        // The pipe is bounded, so all but its last part has been carried; `last_lines` takes the rest.
        assert_eq!(log.last_lines(2), ["line 399998", "line 399999"]);
        drop(logs);
        let size = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(size("replica-0.log") <= FILE_LIMIT && size("replica-0.old.log") <= FILE_LIMIT);
        assert!(size("replica-0.log") + size("replica-0.old.log") > FILE_LIMIT);
        assert!(fs::read_to_string(dir.path().join("replica-0.log")).unwrap().ends_with("line 399999\n"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
