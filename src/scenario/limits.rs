//! How much a scenario may ask for. Each limit is named in the error that it causes.
//!
//! Owns the numbers that no single key carries; ranges of single keys stand beside the key in `file.rs`, where the
//! schema shows them too.

use std::time::Duration;

/// Bytes of a scenario file. Far above any written by hand; a data file given by mistake is refused at once.
pub(super) const FILE_BYTES: u64 = 1 << 20;
/// Bytes of a dataset, of a file of bodies, and of a trace: they are held in memory.
pub(super) const DATA_BYTES: u64 = 100_000_000;
/// Bytes of all request bodies that are made of a dataset: they are made before the run and held in memory, twice (as bodies and as
/// whole requests), and once more where there are probes.
pub(super) const BODIES_BYTES: f64 = 512e6;
/// Rows of a dataset or a file of bodies.
pub(super) const DATA_ROWS: usize = 1_000_000;
/// Arrivals in a recorded trace: eight bytes each.
pub(super) const TRACE_ROWS: usize = 10_000_000;
/// From the first arrival to the end of the last phase.
pub(super) const TOTAL: Duration = Duration::from_secs(24 * 3600);
/// Planned arrivals over all phases.
pub(super) const ARRIVALS: f64 = 500e6;
/// Of a timeout or a latency bound: the top of the latency histograms.
pub(super) const LATENCY: Duration = Duration::from_secs(3600);
/// Bytes of one answer.
pub(super) const ANSWER_BYTES: u64 = 64 << 20;
/// Bytes of one altered body.
pub(super) const BODY_BYTES: u64 = 64 << 20;
/// Bytes of all altered bodies of a run: they are made before it, and held in memory.
pub(super) const TWIN_BYTES: u64 = 256 << 20;
/// Faults after `times` is written out.
pub(super) const FAULTS: usize = 500;
/// Problems shown: whoever has more than this has one problem that causes the rest.
pub(super) const PROBLEMS: usize = 200;
