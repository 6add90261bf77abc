//! The load engine: every planned arrival is sent when it is due, whatever the target does.
//!
//! One worker per core, share-nothing: each takes its stripe of the one global schedule, owns its
//! connections and its records. Owns when requests are sent; leaves alone what they are (`target/`), how they
//! travel (`client/`) and what is counted (`record/`).

pub mod dispatch;
mod pool;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::epoll;

use crate::client::resolve::Resolved;
use crate::client::tls::Tls;
use crate::client::{Endpoint, Requests};
use crate::clock::{self, Clock};
use crate::plan::{Phase, Plan, Url};
use crate::record::{Collected, Collector, Cuts, ErrorTrace, LiveLatency};
use crate::target::{Checker, RequestBodies};
use crate::units::Offset;

/// What every worker reads and none writes.
pub struct Job {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Whole requests.
    pub requests: Requests,
    /// Their bodies' labels and shapes.
    pub bodies: RequestBodies,
    /// Judges answers.
    pub checker: Checker,
    /// Where they go.
    pub resolved: Arc<Resolved>,
    /// What their connections have in common.
    pub endpoint: Endpoint,
    /// Lag above which an arrival is late, ns (DESIGN 5.8).
    pub late_limit_ns: u64,
    /// The last so many ns before an arrival are spent looking at the clock instead of sleeping. 0: never.
    pub spin_ns: u64,
}

/// Lag above which an arrival counts as late: max(1 ms, 5 % of the tightest bound on a latency or a time to first token).
pub fn late_limit(plan: &Plan) -> Duration {
    plan.tightest_bound_from_due().map_or(Duration::ZERO, |b| b / 20).max(Duration::from_millis(1))
}

/// What all threads of a run share while it runs.
#[derive(Debug, Default)]
pub struct Shared {
    /// Cuts of slots: faults applied and reverted.
    pub cuts: Arc<Cuts>,
    load_end: AtomicU64,
    stopped: AtomicBool,
    in_flight: AtomicU64,
    in_flight_max: AtomicU64,
    counters: Vec<Counters>,
    connections: AtomicU64,
    handshakes: AtomicU64,
    resumed: AtomicU64,
}

/// One worker's counters, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counters {
    planned: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    shed: AtomicU64,
}

/// Counts so far, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Arrivals that came due.
    pub planned: u64,
    /// Good answers.
    pub ok: u64,
    /// Failures.
    pub failed: u64,
    /// Shed.
    pub shed: u64,
    /// In flight now.
    pub in_flight: u64,
}

/// Connections over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Begun.
    pub opened: u64,
    /// TLS handshakes that came to their end.
    pub handshakes: u64,
    /// Of those, that took up an earlier session.
    pub resumed: u64,
}

impl Shared {
    /// For so many workers, load ending with the plan.
    pub fn new(plan: &Plan, workers: usize) -> Shared {
        let cuts = Arc::new(Cuts::default());
        // Slots begin where faults are planned: when a fault is seen to be on, requests due since then are told apart.
        plan.faults.iter().for_each(|f| cuts.add(f.at));
        Shared {
            cuts,
            load_end: AtomicU64::new(plan.end().0),
            counters: (0..workers).map(|_| Counters::default()).collect(),
            ..Shared::default()
        }
    }

    /// Load stops now: nothing more is sent, what is in flight counts as unfinished.
    pub fn stop_load(&self, now: Offset) {
        self.load_end.fetch_min(now.0, Ordering::AcqRel);
        self.stopped.store(true, Ordering::Release);
    }

    /// When load ends, or ended.
    pub fn load_end(&self) -> Offset {
        Offset(self.load_end.load(Ordering::Acquire))
    }

    /// Load was stopped before its end.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Most requests in flight at once.
    pub fn in_flight_max(&self) -> u64 {
        self.in_flight_max.load(Ordering::Relaxed)
    }

    /// What became of connections.
    pub fn connections(&self) -> Connections {
        Connections {
            opened: self.connections.load(Ordering::Relaxed),
            handshakes: self.handshakes.load(Ordering::Relaxed),
            resumed: self.resumed.load(Ordering::Relaxed),
        }
    }

    /// Counts so far.
    pub fn live(&self) -> Live {
        let sum = |f: fn(&Counters) -> &AtomicU64| self.counters.iter().map(|c| f(c).load(Ordering::Relaxed)).sum();
        Live {
            planned: sum(|c| &c.planned),
            ok: sum(|c| &c.ok),
            failed: sum(|c| &c.failed),
            shed: sum(|c| &c.shed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

/// A load that runs.
pub struct Engine {
    shared: Arc<Shared>,
    collector: Collector,
    threads: Vec<std::thread::JoinHandle<WorkerReport>>,
}

/// What a worker says at its end.
#[derive(Debug, Default)]
pub struct WorkerReport {
    /// By error class.
    pub errors: Vec<ErrorTrace>,
    /// CPU time of the worker's thread.
    pub cpu: Duration,
}

/// What a load leaves.
pub struct LoadResult {
    /// Every slot.
    pub collected: Collected,
    /// By error class, over all workers.
    pub errors: Vec<ErrorTrace>,
    /// CPU time of all workers.
    pub cpu: Duration,
}

impl Job {
    /// For this plan, sent to `url`. `tls` is for `https`.
    pub fn new(plan: Arc<Plan>, url: &Url, resolved: Arc<Resolved>, tls: Option<Tls>, spin: Duration) -> Job {
        let bodies = RequestBodies::encode(&plan);
        let (target, traffic) = (&plan.target, &plan.traffic);
        Job {
            requests: Requests::new(target, url, &bodies),
            bodies,
            checker: Checker::new(target),
            resolved,
            endpoint: Endpoint {
                tls,
                max_answer: traffic.max_answer,
                head_only: target.method == "HEAD",
                streams: traffic.streams,
                sources: traffic.source_addresses.clone(),
            },
            late_limit_ns: late_limit(&plan).as_nanos() as u64,
            spin_ns: spin.as_nanos() as u64,
            plan,
        }
    }
}

/// Can waits be timed to the nanosecond here?
///
/// # Errors
/// Why not, and what it takes: without `epoll_pwait2` a wait would be off by up to a millisecond, and so would be every number.
pub fn available() -> Result<(), String> {
    let tried = epoll::create(epoll::CreateFlags::CLOEXEC).and_then(|poller| {
        let mut events = Vec::with_capacity(1);
        epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), Some(&clock::timespec(0)))
    });
    tried.map(drop).map_err(|e| format!("the load engine needs epoll_pwait2, Linux 5.11 or later: {e}"))
}

impl Engine {
    /// Starts the workers, which wait for offset zero. `cpus` are the CPUs to keep to, in turn; empty for
    /// wherever the system puts them.
    pub fn start(job: Arc<Job>, shared: Arc<Shared>, clock: Clock, cpus: &[usize], spill: PathBuf) -> Engine {
        let collector = Collector::start(spill);
        let workers = shared.counters.len();
        let start = |index: usize| {
            let (job, shared, sender) = (job.clone(), shared.clone(), collector.sender());
            let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
            let run = move || worker::run(&job, &shared, clock, worker::Seat { index, workers, cpu }, sender);
            std::thread::Builder::new().name(format!("load-{index}")).spawn(run).expect("a thread can be started")
        };
        let threads = (0..workers).map(start).collect();
        Engine { shared, collector, threads }
    }

    /// Every worker has ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(std::thread::JoinHandle::is_finished)
    }

    /// For the progress line.
    pub fn live(&self) -> (Live, LiveLatency) {
        (self.shared.live(), self.collector.live())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When records could not be kept (disk full).
    pub fn finish(self) -> std::io::Result<LoadResult> {
        let mut errors: Vec<ErrorTrace> = Vec::new();
        let mut cpu = Duration::ZERO;
        for thread in self.threads {
            let panicked = |_| std::io::Error::other("a load worker panicked: a mistake of resbench itself");
            let report = thread.join().map_err(panicked)?;
            cpu += report.cpu;
            merge_traces(&mut errors, report.errors);
        }
        Ok(LoadResult { collected: self.collector.finish()?, errors, cpu })
    }
}

fn merge_traces(all: &mut Vec<ErrorTrace>, more: Vec<ErrorTrace>) {
    all.resize(all.len().max(more.len()), ErrorTrace::default());
    for (sum, one) in all.iter_mut().zip(more).filter(|(_, one)| one.count > 0) {
        if sum.count == 0 || one.first < sum.first {
            (sum.first, sum.sample) = (one.first, one.sample);
        }
        sum.count += one.count;
        sum.last = sum.last.max(one.last);
    }
}

/// The closed-loop phase at this instant, if it is one.
fn closed_phase(phases: &[Phase], at: u64) -> Option<&Phase> {
    let phase = phases.iter().find(|p| p.start.0 <= at && at < p.end().0)?;
    matches!(phase.load, crate::plan::Load::Closed { .. }).then_some(phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::ErrorClass;
    use crate::plan::Load;
    use crate::record::assemble::assemble;

    #[test]
    fn a_closed_loop_whose_requests_cannot_even_begin_ends_in_time() {
        let phase = Phase {
            name: "closed".into(),
            start: Offset::ZERO,
            duration: Duration::from_millis(300),
            load: Load::Closed { concurrency: 4, max_rate: None },
            measured: true,
        };
        let plan = Arc::new(crate::plan::tests_support::plan(vec![phase]));
        // No TCP connection leads to a broadcast address, which the system says at once.
        let url = Url { tls: false, host: "255.255.255.255".into(), port: 80, path: "/".into() };
        let resolved = Resolved::new(&url.host, url.port, None, Duration::from_secs(5)).unwrap();
        let job = Arc::new(Job::new(plan.clone(), &url, resolved, None, Duration::ZERO));
        let shared = Arc::new(Shared::new(&plan, 1));
        let clock = Clock::starting_in(Duration::ZERO);
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(job, shared, clock, &[], dir.path().join("slots.tmp"));
        while !engine.is_over() {
            assert!(clock.now() < Offset::from(Duration::from_secs(20)), "the load has not ended");
            clock::sleep(Duration::from_millis(10));
        }
        let mut load = engine.finish().unwrap();
        let stats = assemble(&plan, &mut load.collected, plan.end()).unwrap().phases.remove(0);
        assert!(stats.planned > 0);
        assert_eq!(stats.planned, stats.errors[ErrorClass::Refused as usize]);
        assert!(stats.planned <= 4 * 32 * 301, "users rest for a millisecond after a refusal: {}", stats.planned);
    }
}
