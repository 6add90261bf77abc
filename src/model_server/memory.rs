//! The memory that requests work with, and its limit.
//!
//! Owns the account: what a request needs (its body, its numbers, and `--row-memory` for each row, which is really taken
//! and written to while it is worked on), the sum of all that are worked on, and what happens when the limit would be
//! passed: the answer 413 when the request alone is too large, 503 when it is too large beside the others, or the end of
//! the process by SIGKILL, as the kernel ends a process that is out of memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::request::Batch;

/// Bytes of a page: one write to each makes the memory real.
const PAGE: usize = 4096;

/// What happens when the limit would be passed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOom {
    /// The request is refused.
    #[default]
    Refuse,
    /// The process ends by SIGKILL.
    Exit,
}

/// The account of one server.
pub(super) struct Memory {
    /// In bytes; 0: no limit.
    limit: u64,
    per_row: u64,
    on_oom: OnOom,
    used: AtomicU64,
    highest: AtomicU64,
    refused: AtomicU64,
}

/// Memory that a request works with, for as long as this lives.
pub(super) struct Held<'a> {
    memory: &'a Memory,
    bytes: u64,
    rows: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoMemory {
    /// The request alone needs more than there is.
    TooLarge {
        /// What it needs, in bytes.
        needs: u64,
    },
    /// Beside the others it does.
    TooMany {
        /// What it needs, in bytes.
        needs: u64,
    },
}

impl Memory {
    /// With this limit on the sum (0 for none), and so much for each row.
    pub(super) fn new(limit: u64, per_row: u64, on_oom: OnOom) -> Memory {
        let zero = || AtomicU64::new(0);
        Memory { limit, per_row, on_oom, used: zero(), highest: zero(), refused: zero() }
    }

    /// Takes what this batch needs.
    ///
    /// # Errors
    /// When the limit would be passed.
    pub(super) fn hold(&self, body: usize, batch: &Batch) -> Result<Held<'_>, NoMemory> {
        let rows = self.per_row.saturating_mul(batch.rows as u64);
        let needs = rows.saturating_add((body + batch.bytes()) as u64);
        let used = self.used.fetch_add(needs, Relaxed).saturating_add(needs);
        if self.limit > 0 && used > self.limit {
            self.used.fetch_sub(needs, Relaxed);
            self.refused.fetch_add(1, Relaxed);
            if self.on_oom == OnOom::Exit {
                // As the kernel does it: no farewell, no destructor, no answer.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
            let alone = needs > self.limit;
            return Err(if alone { NoMemory::TooLarge { needs } } else { NoMemory::TooMany { needs } });
        }
        self.highest.fetch_max(used, Relaxed);
        let mut held = Held { memory: self, bytes: needs, rows: Vec::new() };
        held.rows = vec![0; usize::try_from(rows).unwrap_or(0)];
        // Zeroed memory is none until it is written to.
        held.rows.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        Ok(held)
    }

    /// The limit (0 for none), what is used, the most that was, and requests that were refused.
    pub(super) fn counts(&self) -> [u64; 4] {
        [self.limit, self.used.load(Relaxed), self.highest.load(Relaxed), self.refused.load(Relaxed)]
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Kept until here: the optimiser must not find it unused.
        std::hint::black_box(&self.rows);
        self.memory.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_server::request::Format;

    fn batch(rows: usize) -> Batch {
        let body = format!("{{\"inputs\": [{}]}}", vec!["[1]"; rows].join(","));
        Batch::parse(Format::Json, body.as_bytes(), &["x".to_owned()]).unwrap()
    }

    #[test]
    fn takes_and_gives_back() {
        let memory = Memory::new(10_000, 1000, OnOom::Refuse);
        let four = memory.hold(100, &batch(4)).unwrap();
        assert_eq!(memory.counts(), [10_000, 4132, 4132, 0]);
        let again = memory.hold(100, &batch(4)).unwrap();
        assert_eq!(memory.hold(100, &batch(4)).err(), Some(NoMemory::TooMany { needs: 4132 }));
        assert_eq!(memory.hold(0, &batch(10)).err(), Some(NoMemory::TooLarge { needs: 10_080 }));
        drop(four);
        assert_eq!(memory.counts(), [10_000, 4132, 8264, 2]);
        assert!(memory.hold(100, &batch(4)).is_ok());
        drop(again);
        assert_eq!(memory.counts()[1], 0);
        assert!(Memory::new(0, 1, OnOom::Refuse).hold(1 << 20, &batch(3)).is_ok(), "no limit");
    }
}
