//! Takes finished slots from the workers, packs them, and keeps them until the run has ended.
//!
//! A thread of its own: packing and disk never slow a sender. Up to 256 KiB stay in memory, the rest goes to a
//! file in the run's directory, so that memory stays flat however long the run is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::record::part::Part;
use crate::summary::pooled_quantiles;

/// Packed bytes that stay in memory.
const MEMORY_MAX: usize = 256 << 10;
/// Slots that the live view looks back on.
const LIVE_SLOTS: usize = 40;

/// Latency of the slots that were finished last, for the progress line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiveLatency {
    /// Median, ns; none when infinite or nothing is known.
    pub p50: Option<u64>,
    /// 99th percentile, likewise.
    pub p99: Option<u64>,
}

/// The receiving end.
pub struct Collector {
    sender: Sender<Part>,
    thread: JoinHandle<io::Result<Collected>>,
    recent: Arc<Mutex<Recent>>,
}

/// Good latencies and planned arrivals of the slots that were finished last.
type Recent = VecDeque<(Vec<(u16, u32)>, u64)>;

impl Collector {
    /// Starts it; what does not fit into memory goes to `spill`, a file that is made when first needed.
    pub fn start(spill: PathBuf) -> Collector {
        let (sender, receiver) = channel();
        let recent = Arc::new(Mutex::new(Recent::new()));
        let shown = recent.clone();
        let thread = std::thread::Builder::new()
            .name("collector".into())
            .spawn(move || collect(&receiver, &spill, &shown))
            .expect("a thread can be started");
        Collector { sender, thread, recent }
    }

    /// For a worker.
    pub fn sender(&self) -> Sender<Part> {
        self.sender.clone()
    }

    /// For the progress line; put together when asked for.
    pub fn live(&self) -> LiveLatency {
        let recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let lists: Vec<&[(u16, u32)]> = recent.iter().map(|(b, _)| b.as_slice()).collect();
        let planned = recent.iter().map(|(_, n)| n).sum();
        let [p50, p99] = pooled_quantiles(&lists, planned, [0.5, 0.99]);
        LiveLatency { p50, p99 }
    }

    /// Waits for the last slot; every other sender must be gone.
    ///
    /// # Errors
    /// When the spill file could not be written or read.
    pub fn finish(self) -> io::Result<Collected> {
        drop(self.sender);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn collect(receiver: &Receiver<Part>, spill: &Path, recent: &Mutex<Recent>) -> io::Result<Collected> {
    let mut store = Collected::default();
    let mut failure = None;
    for part in receiver {
        // What was altered says something of the fault, not of how the service does.
        if part.altered_by == 0 {
            let mut recent = recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            recent.push_back((part.latency_ok.buckets.clone(), part.planned));
            if recent.len() > LIVE_SLOTS {
                recent.pop_front();
            }
        }
        // A full disk must not end the load: keep draining, report afterwards.
        if failure.is_none() {
            failure = store.push(&part, spill).err();
        }
    }
    match failure {
        Some(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", spill.display()))),
        None => Ok(store),
    }
}

/// Every slot of a run, packed.
#[derive(Debug, Default)]
pub struct Collected {
    memory: Vec<u8>,
    /// (start, place, length): in memory when `place < memory.len()`, else at `place - memory.len()` of the file.
    index: Vec<(u64, u64, u32)>,
    file: Option<(BufWriter<File>, PathBuf)>,
    file_len: u64,
    scratch: Vec<u8>,
}

impl Collected {
    fn push(&mut self, part: &Part, spill: &Path) -> io::Result<()> {
        self.scratch.clear();
        part.encode(&mut self.scratch);
        let len = self.scratch.len();
        let place = if self.file.is_none() && self.memory.len() + len <= MEMORY_MAX {
            self.memory.extend_from_slice(&self.scratch);
            self.memory.len() - len
        } else {
            if self.file.is_none() {
                let file = File::options().read(true).write(true).create_new(true).open(spill)?;
                self.file = Some((BufWriter::new(file), spill.to_owned()));
            }
            let (file, _) = self.file.as_mut().expect("made above");
            file.write_all(&self.scratch)?;
            self.file_len += len as u64;
            self.memory.len() + (self.file_len as usize - len)
        };
        self.index.push((part.start.0, place as u64, len as u32));
        Ok(())
    }

    /// Calls `f` with every slot in the order of their starts.
    ///
    /// # Errors
    /// When the spill file cannot be read.
    pub fn for_each(&mut self, mut f: impl FnMut(Part)) -> io::Result<()> {
        self.index.sort_unstable();
        let mut bytes = Vec::new();
        for (_, place, len) in &self.index {
            let (place, len) = (*place as usize, *len as usize);
            if place < self.memory.len() {
                f(Part::decode(&self.memory[place..place + len]));
                continue;
            }
            let (file, _) = self.file.as_mut().expect("a place beyond memory is in the file");
            file.flush()?;
            bytes.resize(len, 0);
            file.get_mut().seek(SeekFrom::Start((place - self.memory.len()) as u64))?;
            file.get_mut().read_exact(&mut bytes)?;
            f(Part::decode(&bytes));
        }
        Ok(())
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        if let Some((_, path)) = self.file.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::part::Times;
    use crate::units::Offset;

    #[test]
    fn what_is_collected_comes_back_in_order_from_memory_and_disk() {
        let dir = tempfile::tempdir().unwrap();
        let spill = dir.path().join("slots.tmp");
        let collector = Collector::start(spill.clone());
        let sender = collector.sender();
        let wide: Vec<u16> = (0..20_000).collect();
        let times = Times::default().pack(&wide, &mut Vec::new());
        for start in (0..400u64).rev() {
            sender
                .send(Part {
                    start: Offset(start),
                    end: Offset(start),
                    latency_ok: times.clone(),
                    planned: start,
                    ..Part::default()
                })
                .unwrap();
        }
        drop(sender);
        let mut collected = collector.finish().unwrap();
        assert!(spill.exists(), "16 MB do not stay in memory");
        let mut next = 0;
        collected
            .for_each(|part| {
                assert_eq!((part.start.0, part.planned), (next, next));
                assert_eq!(part.latency_ok, times);
                next += 1;
            })
            .unwrap();
        assert_eq!(next, 400);
        drop(collected);
        assert!(!spill.exists());
    }

    #[test]
    fn trap_27_a_disk_that_takes_nothing_holds_no_sender_up_and_is_told_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        // A file that cannot be made fails as a full disk does: at the first write.
        let collector = Collector::start(dir.path().join("missing/slots.tmp"));
        let sender = collector.sender();
        let wide: Vec<u16> = (0..20_000).collect();
        let times = Times::default().pack(&wide, &mut Vec::new());
        for start in 0..400u64 {
            let (start, end) = (Offset(start), Offset(start));
            sender.send(Part { start, end, latency_ok: times.clone(), planned: 1, ..Part::default() }).unwrap();
        }
        drop(sender);
        let why = collector.finish().unwrap_err().to_string();
        assert!(why.contains("missing/slots.tmp"), "{why}");
    }
}
