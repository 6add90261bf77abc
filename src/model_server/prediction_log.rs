//! The log of predictions that audits ask for: a line per answer, on the disk that may be full.
//!
//! Owns the file and what was lost. Leaves alone what a loss means for the request: the pool asks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// A file that answers are appended to.
#[derive(Debug)]
pub(super) struct PredictionLog {
    path: PathBuf,
    file: Mutex<Option<File>>,
    lost: AtomicU64,
    required: bool,
}

impl PredictionLog {
    /// Nothing is opened yet: a disk that is full, slow or gone is met by the first answer, as later ones meet it.
    pub(super) fn new(path: &Path, required: bool) -> PredictionLog {
        PredictionLog { path: path.to_owned(), file: Mutex::new(None), lost: AtomicU64::new(0), required }
    }

    /// Appends an answer and its line's end in one write. An error says why an answer must not be given.
    ///
    /// # Errors
    /// When the line could not be written and the log is required; else the loss is counted.
    pub(super) fn append(&self, answer: &[u8]) -> Result<(), String> {
        let written = self.write(answer);
        if let Err(e) = &written {
            self.lost.fetch_add(1, Relaxed);
            if self.required {
                return Err(format!("the prediction log {} cannot be written: {e}", self.path.display()));
            }
        }
        Ok(())
    }

    /// Lines that could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn write(&self, answer: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
        }
        let line = [answer, b"\n"].concat();
        let Some(open) = file.as_mut() else { return Ok(()) };
        let done = open.write_all(&line);
        if done.is_err() {
            *file = None; // Opened anew, should it have been taken away and put back.
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_losses_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("predictions.log");
        let log = PredictionLog::new(&path, true);
        log.append(b"{}").unwrap();
        log.append(b"[1]").unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), log.lost()), ("{}\n[1]\n", 0));

        let nowhere = dir.path().join("missing/predictions.log");
        let required = PredictionLog::new(&nowhere, true);
        assert!(required.append(b"{}").unwrap_err().contains("missing/predictions.log"));
        let wanted = PredictionLog::new(&nowhere, false);
        assert_eq!((wanted.append(b"{}"), wanted.lost(), required.lost()), (Ok(()), 1, 1));
        std::fs::create_dir(dir.path().join("missing")).unwrap();
        required.append(b"{}").unwrap();
        assert_eq!(std::fs::read_to_string(&nowhere).unwrap(), "{}\n");
    }
}
