//! What happened to every planned request, counted while it happens and put together afterwards.
//!
//! Each worker fills its own [`Shard`]: slots of at most 100 ms by *due*, holding 16-bit bucket indices, no
//! lock, no shared line. A slot whose requests have all ended goes through a channel (once per slot, never per
//! request) to the [`Collector`], which packs it and keeps it, beyond a few MiB on disk: memory does not grow with the number of
//! requests. After the run [`assemble`] merges slots into phases, spans, seconds: one source for every number.
//! Owns counting; leaves alone what the numbers mean (`summary.rs`).

pub mod assemble;
mod collector;
mod part;
mod said;
mod shard;

pub use collector::{Collected, Collector, LiveLatency};
pub use part::{Part, Times};
pub use said::Said;
pub use shard::{Edges, ErrorTrace, Sample, Shard, ShardReport, SlotKey};

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::units::Offset;

/// Length of a slot.
pub const SLOT_NS: u64 = 100_000_000;

/// Moments at which slots are cut beside the grid and the phase edges: a fault was applied or reverted.
/// Written by the fault runner, read by every worker once per loop turn.
#[derive(Debug, Default)]
pub struct Cuts {
    generation: AtomicUsize,
    list: Mutex<Vec<u64>>,
}

impl Cuts {
    /// Adds a moment.
    pub fn add(&self, at: Offset) {
        let mut list = self.list.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let place = list.partition_point(|c| *c < at.0);
        list.insert(place, at.0);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Changes with every `add`.
    pub fn generation(&self) -> usize {
        self.generation.load(Ordering::Acquire)
    }

    /// All of them, ascending.
    pub fn list(&self) -> Vec<u64> {
        self.list.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
