//! The load engine: every planned arrival is sent when it is due, whatever the target does.
//!
//! One worker per core, share-nothing: each takes its stripe of the one global schedule, owns its
//! connections and its records. Owns when requests are sent; leaves alone what they are (`target/`), how they
//! travel (`client/`) and what is counted (`record/`).
//!
//! # Traps
//!
//! The ways in which load generators are known to lie, and the tests that this one does not. `tests/architecture.rs` checks that
//! each of them exists.
//!
//! | | trap | tests |
//! |---|---|---|
//! | 1 | A pool of workers bounds the arrivals | `trap_01_a_freeze_of_5_s_at_1000_per_second_costs_what_arithmetic_says`, `trap_01_a_simulated_freeze_costs_what_arithmetic_says` |
//! | 2 | Latency starts when our own thread wakes | `trap_02_a_pause_of_the_generator_shows_in_latency_and_not_in_service_time` |
//! | 3 | The schedule forgives a stall | `trap_03_a_stalled_caller_gets_the_whole_backlog_with_its_own_due_times` |
//! | 4 | What was never sent is forgotten | `trap_04_what_was_never_sent_is_counted_with_its_age` |
//! | 5 | Shed arrivals are missing from percentiles | `trap_05_without_room_the_rest_of_a_freeze_is_shed_and_counted` |
//! | 6 | Timers of a millisecond, or early ones | `trap_06_pacing_is_finer_than_a_millisecond_and_never_early` |
//! | 7 | Relative sleeps drift | `trap_07_ten_minutes_do_not_drift` |
//! | 8 | Poisson in name only | `trap_08_poisson_gaps_are_exponential_and_independent`, `trap_08_poisson_counts_scatter_as_much_as_their_mean`, `trap_08_stripes_of_a_poisson_sequence_are_not_correlated` |
//! | 9 | Connecting is left out of latency, or hidden in it | `trap_09_a_late_handshake_is_inside_latency_and_shown_apart`, `trap_09_a_server_that_accepts_late_is_slow_and_its_network_is_not` |
//! | 10 | Silent retries | `trap_10_a_request_that_dies_with_its_connection_is_counted_once_and_never_sent_again` |
//! | 11 | A connection that died while idle is blamed on the service | `trap_11_a_connection_that_died_while_idle_is_no_fault_of_the_service` |
//! | 12 | A name is looked up once | `trap_12_a_name_that_moves_takes_its_traffic_along`, `trap_12_a_failed_connection_has_the_name_looked_up_at_once`, `trap_12_a_name_is_looked_up_at_an_interval` |
//! | 13 | A connection stays with one replica for ever | `trap_13_connections_end_by_count_and_load_spreads_over_what_stands_behind_a_name`, `trap_13_connections_end_by_age` |
//! | 14 | Ports or descriptors run out in mid-run | `trap_14_a_load_without_ports_or_descriptors_is_refused_before_it_begins` |
//! | 15 | Values beyond the histogram are clamped | `trap_15_above_the_range_is_counted_not_clamped_silently`, `trap_15_answers_that_took_hours_are_counted_and_the_longest_is_shown_as_it_was` |
//! | 16 | Coarse buckets | `trap_16_quantiles_agree_with_sorted_samples` |
//! | 17 | Percentiles are averaged over workers | `trap_17_percentiles_of_unequal_workers_are_those_of_all_requests_together`, `trap_17_merging_is_free_of_order` |
//! | 18 | Fast failures improve a percentile | `trap_18_fast_failures_do_not_improve_a_percentile` |
//! | 19 | Warm-up is counted | `trap_19_the_warm_up_is_in_no_denominator`, `trap_19_a_bad_warm_up_costs_nothing_and_is_told` |
//! | 20 | A request has no one phase | `trap_20_a_request_belongs_to_the_phase_it_was_due_in_and_both_views_have_the_same_sum` |
//! | 21 | The wall clock measures | `trap_21_nothing_that_measures_reads_the_wall_clock`, `trap_21_a_wall_clock_that_is_stepped_changes_nothing` |
//! | 22 | Faults and load have two clocks | `trap_22_faults_and_load_have_one_time_axis` |
//! | 23 | A starved client blames the server | `trap_23_a_generator_that_cannot_keep_up_is_never_met` |
//! | 24 | A dead server makes the run longer | `trap_24_a_black_hole_times_out_and_makes_the_run_no_longer` |
//! | 25 | No samples pass | `trap_25_zero_samples_never_pass` |
//! | 26 | Little's law does not hold | `trap_26_in_flight_over_time_is_rate_times_service`, `trap_26_in_flight_is_rate_times_service_on_a_real_run` |
//! | 27 | Whoever takes the results slows the senders | `trap_27_results_that_nobody_takes_hold_no_sender_up`, `trap_27_a_disk_that_takes_nothing_holds_no_sender_up_and_is_told_at_the_end` |
//! | 28 | A 200 that is none, a stream without its end | `trap_28_a_200_that_is_none`, `trap_28_a_stream_without_its_end_is_a_failure` |

pub mod dispatch;
mod pool;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::epoll;

use crate::alteration::Alterations;
use crate::client::resolve::Resolved;
use crate::client::tls::Tls;
use crate::client::{Endpoint, Requests};
use crate::clock::{self, Clock};
use crate::plan::{Phase, Plan, Url};
use crate::record::{Collected, Collector, Cuts, ErrorTrace, LiveLatency};
use crate::target::{Agreement, Checker, RequestBodies};
use crate::units::Offset;

/// What every worker reads and none writes.
pub struct Job {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Whole requests, altered ones behind the others.
    pub requests: Requests,
    /// Their bodies' labels and shapes.
    pub bodies: RequestBodies,
    /// Which of them payload faults alter.
    pub alterations: Arc<Alterations>,
    /// Judges answers.
    pub checker: Checker,
    /// What each row was answered first.
    pub agreement: Agreement,
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
        // What the load itself does ends by the schedule, too.
        let ends = plan.payloads().filter_map(|(i, _)| plan.faults[i].ends(plan.end()));
        ends.for_each(|at| cuts.add(at));
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
    job: Arc<Job>,
    shared: Arc<Shared>,
    collector: Collector,
    threads: Vec<std::thread::JoinHandle<WorkerReport>>,
}

/// What a worker says at its end.
#[derive(Debug, Default)]
pub struct WorkerReport {
    /// By error class.
    pub errors: Vec<ErrorTrace>,
    /// Of what each payload fault altered, likewise.
    pub altered: Vec<Vec<ErrorTrace>>,
    /// CPU time of the worker's thread.
    pub cpu: Duration,
}

/// What a load leaves.
pub struct LoadResult {
    /// Every slot.
    pub collected: Collected,
    /// By error class, over all workers.
    pub errors: Vec<ErrorTrace>,
    /// Of what each payload fault altered, likewise.
    pub altered: Vec<Vec<ErrorTrace>>,
    /// Distinct bodies of each payload fault.
    pub bodies: Vec<usize>,
    /// CPU time of all workers.
    pub cpu: Duration,
}

impl Job {
    /// For this plan, sent to `url`. `tls` is for `https`.
    pub fn new(plan: Arc<Plan>, url: &Url, resolved: Arc<Resolved>, tls: Option<Tls>, spin: Duration) -> Job {
        let alterations = Arc::new(Alterations::of(&plan));
        let bodies = RequestBodies::with_twins(&plan, &alterations);
        let (target, traffic) = (&plan.target, &plan.traffic);
        let checker = Checker::new(target);
        let comparable = if checker.reads_predictions() { bodies.comparable() } else { 0 };
        Job {
            requests: Requests::new(target, url, &bodies),
            bodies,
            alterations,
            checker,
            agreement: Agreement::new(&plan, comparable),
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
        Engine { job, shared, collector, threads }
    }

    /// Every worker has ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(std::thread::JoinHandle::is_finished)
    }

    /// For the progress line.
    pub fn live(&self) -> Live {
        self.shared.live()
    }

    /// Latency of the last slots, put together when asked for.
    pub fn latency(&self) -> LiveLatency {
        self.collector.live()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When records could not be kept (disk full).
    pub fn finish(self) -> std::io::Result<LoadResult> {
        let mut errors: Vec<ErrorTrace> = Vec::new();
        let places = self.job.alterations.list().len();
        let mut altered: Vec<Vec<ErrorTrace>> = vec![Vec::new(); places];
        let mut cpu = Duration::ZERO;
        for thread in self.threads {
            let panicked = |_| std::io::Error::other("a load worker panicked: a mistake of resbench itself");
            let report = thread.join().map_err(panicked)?;
            cpu += report.cpu;
            merge_traces(&mut errors, report.errors);
            altered.iter_mut().zip(report.altered).for_each(|(sum, one)| merge_traces(sum, one));
        }
        let bodies = (0..places).map(|nth| self.job.bodies.twins(nth)).collect();
        Ok(LoadResult { collected: self.collector.finish()?, errors, altered, bodies, cpu })
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
