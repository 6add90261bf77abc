//! When requests are due: shapes × arrival processes → one sequence of arrivals.
//!
//! Owns the sequence: it is made from the plan and its seed alone, before anything is sent, and
//! never looks at results. Leaves alone pacing (`engine/`) and what is sent (`target/`).
//!
//! The way of one phase: `process.rs` makes arrivals at unit rate (area 0, 1, 2 … for uniform), and
//! `shape.rs` maps each area through the inverse of the planned rate's integral, so that ramps and
//! waves have no steps and no drift. Every phase draws from a stream of its own,
//! `arrivals:<index of the phase>`: changing one phase moves no other phase's arrivals against its start.

mod process;
mod shape;

use std::sync::Arc;

use crate::plan::{Load, Phase, Plan, Process, Shape};
use crate::rng;
use crate::units::{Offset, PhaseId, Seed};

use process::UnitArrivals;
use shape::Inverse;
pub use shape::{expected, peak_rate};

/// One planned request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its place in the whole run, from 0, without gaps over all workers.
    pub index: u64,
    /// When it should start.
    pub due: Offset,
    /// The phase it belongs to: `phase.start <= due < phase.end()`.
    pub phase: PhaseId,
}

/// Every arrival of the plan, in order of due. Phases with a closed loop have none.
pub fn arrivals(plan: &Plan) -> Arrivals {
    Arrivals::striped(plan, 0, 1)
}

/// How many arrivals each phase has, exactly. Walks the whole sequence (some 10 ns an arrival);
/// [`expected`] gives the mean at once.
pub fn count(plan: &Plan) -> Vec<u64> {
    let mut counts = vec![0; plan.phases.len()];
    arrivals(plan).for_each(|a| counts[usize::from(a.phase.0)] += 1);
    counts
}

/// The sequence, or every `workers`-th arrival of it. Borrows nothing, so that a worker can own it.
#[derive(Clone, Debug)]
pub struct Arrivals {
    seed: Seed,
    process: Process,
    phases: Vec<Phase>,
    /// Index of the first phase not begun yet.
    next_phase: usize,
    current: Option<PhaseArrivals>,
    next_index: u64,
    worker: u64,
    workers: u64,
}

impl Arrivals {
    /// The arrivals with `index % workers == worker`. All stripes together are the whole sequence,
    /// whatever the number of workers: each walks all of it and leaves out what is not its own.
    ///
    /// # Panics
    /// When `worker` is not below `workers`.
    pub fn striped(plan: &Plan, worker: usize, workers: usize) -> Arrivals {
        assert!(worker < workers, "worker {worker} of {workers}");
        Arrivals {
            seed: plan.seed,
            process: plan.traffic.process,
            phases: plan.phases.clone(),
            next_phase: 0,
            current: None,
            next_index: 0,
            worker: worker as u64,
            workers: workers as u64,
        }
    }

    /// The next arrival of the whole sequence.
    fn next_of_all(&mut self) -> Option<Arrival> {
        loop {
            if let Some(current) = &mut self.current
                && let Some(due) = current.next_due()
            {
                let index = self.next_index;
                self.next_index += 1;
                return Some(Arrival { index, due: Offset(due), phase: current.phase });
            }
            let phase = self.phases.get(self.next_phase)?;
            self.current = PhaseArrivals::new(phase, self.next_phase, self.process, self.seed);
            self.next_phase += 1;
        }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let arrival = self.next_of_all()?;
            if self.workers == 1 || arrival.index % self.workers == self.worker {
                return Some(arrival);
            }
        }
    }
}

/// The arrivals of one phase.
#[derive(Clone, Debug)]
struct PhaseArrivals {
    phase: PhaseId,
    start: u64,
    duration: u64,
    /// The last one handed out, from the phase's start: due never decreases.
    last: u64,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Made { unit: UnitArrivals, inverse: Inverse },
    Replayed { times: Arc<Vec<u64>>, next: usize },
}

impl PhaseArrivals {
    /// None for a closed loop.
    fn new(phase: &Phase, index: usize, process: Process, seed: Seed) -> Option<PhaseArrivals> {
        let source = match &phase.load {
            Load::Closed { .. } => return None,
            Load::Open(Shape::Trace(times)) => Source::Replayed { times: Arc::clone(times), next: 0 },
            Load::Open(shape) => Source::Made {
                unit: UnitArrivals::new(process, rng::stream(seed, &format!("arrivals:{index}"))),
                inverse: Inverse::new(shape, phase.duration),
            },
        };
        let duration = phase.duration.as_nanos() as u64;
        Some(PhaseArrivals { phase: PhaseId(index as u16), start: phase.start.0, duration, last: 0, source })
    }

    /// The next due time, from the start of the run; none when the phase has no more.
    fn next_due(&mut self) -> Option<u64> {
        let since_start = match &mut self.source {
            // The cast saturates, so an area that is never reached lies after every phase.
            Source::Made { unit, inverse } => (inverse.nanos_at(unit.next_area()) + 0.5) as u64,
            Source::Replayed { times, next } => {
                let time = *times.get(*next)?;
                *next += 1;
                time
            }
        };
        // Rounding may turn two neighbours around by a nanosecond.
        self.last = self.last.max(since_start);
        (self.last < self.duration).then(|| self.start + self.last)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::tests_support;
    use crate::units::Rate;

    fn plan(seed: u64, process: Process, loads: &[(f64, Load)]) -> Plan {
        let mut start = Offset::ZERO;
        let mut phases = Vec::new();
        for (i, (seconds, load)) in loads.iter().enumerate() {
            let duration = Duration::from_secs_f64(*seconds);
            phases.push(Phase { name: format!("phase-{i}"), start, duration, load: load.clone(), measured: true });
            start = start + duration;
        }
        let mut plan = tests_support::plan(phases);
        (plan.seed, plan.traffic.process) = (Seed(seed), process);
        plan
    }

    fn constant(rate: f64) -> Load {
        Load::Open(Shape::Constant(Rate::per_second(rate).unwrap()))
    }

    fn dues(plan: &Plan) -> Vec<u64> {
        arrivals(plan).map(|a| a.due.0).collect()
    }

    fn gaps(plan: &Plan) -> Vec<f64> {
        let dues = dues(plan);
        dues.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect()
    }

    fn mean_and_variance(xs: &[f64]) -> (f64, f64) {
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        (mean, xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (xs.len() - 1) as f64)
    }

    fn lag_one_autocorrelation(xs: &[f64]) -> f64 {
        let (mean, variance) = mean_and_variance(xs);
        let products: f64 = xs.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
        products / (xs.len() - 1) as f64 / variance
    }

    /// Variance over mean of the counts in slots of this length.
    fn dispersion(dues: &[u64], slot_ns: u64, slots: usize) -> f64 {
        let mut counts = vec![0.0; slots];
        dues.iter().for_each(|d| counts[(d / slot_ns) as usize] += 1.0);
        let (mean, variance) = mean_and_variance(&counts);
        variance / mean
    }

    #[test]
    fn uniform_arrivals_are_exact_and_start_with_the_phase() {
        let p = plan(1, Process::Uniform, &[(0.01, constant(1000.0)), (2.0, constant(3.0))]);
        let milliseconds = (0..10).map(|k| k * 1_000_000);
        let thirds = [0, 333_333_333, 666_666_667, 1_000_000_000, 1_333_333_333, 1_666_666_667].map(|t| t + 10_000_000);
        assert_eq!(dues(&p), milliseconds.chain(thirds).collect::<Vec<u64>>());
        assert_eq!(count(&p), [10, 6]);
        assert_eq!(arrivals(&p).last().unwrap(), Arrival { index: 15, due: Offset(1_676_666_667), phase: PhaseId(1) });
    }

    #[test]
    fn a_trace_passes_through_and_a_closed_loop_has_no_arrivals() {
        let times = Arc::new(vec![0, 5, 5, 400, 2_000_000_000]);
        let closed = Load::Closed { concurrency: 4, max_rate: None };
        let p = plan(1, Process::Poisson, &[(1.0, closed), (1.0, Load::Open(Shape::Trace(times)))]);
        assert_eq!(dues(&p), [0, 5, 5, 400].map(|t| t + 1_000_000_000), "one lies after the end of its phase");
        assert_eq!(count(&p), [0, 4]);
    }

    #[test]
    fn trap_08_poisson_gaps_are_exponential_and_independent() {
        let p = plan(42, Process::Poisson, &[(100.0, constant(500.0))]);
        let mut gaps = gaps(&p);
        let n = gaps.len() as f64;
        assert!(lag_one_autocorrelation(&gaps).abs() < 2.6 / n.sqrt(), "gaps depend on one another");
        gaps.sort_by(f64::total_cmp);
        // Kolmogorov-Smirnov: largest distance between the two distribution functions; 1.63/√n is the 1 % bound.
        let distance = gaps.iter().enumerate().map(|(i, gap)| {
            let below = 1.0 - (-gap * 500.0).exp();
            (below - i as f64 / n).abs().max((below - (i + 1) as f64 / n).abs())
        });
        let distance = distance.fold(0.0, f64::max);
        assert!(distance < 1.63 / n.sqrt(), "distance {distance}");
    }

    #[test]
    fn trap_08_poisson_counts_scatter_as_much_as_their_mean() {
        let p = plan(7, Process::Poisson, &[(100.0, constant(500.0))]);
        for slot_ms in [10, 100] {
            let slots = 100_000 / slot_ms;
            let index = dispersion(&dues(&p), slot_ms as u64 * 1_000_000, slots);
            assert!((index - 1.0).abs() < 3.0 * (2.0 / slots as f64).sqrt(), "{slot_ms} ms: {index}");
        }
    }

    #[test]
    fn trap_08_stripes_of_a_poisson_sequence_are_not_correlated() {
        // Every second gap sum of a Poisson process is Erlang(2): coefficient of variation 1/√2, independent.
        let p = plan(9, Process::Poisson, &[(100.0, constant(500.0))]);
        for worker in 0..2 {
            let dues: Vec<f64> = Arrivals::striped(&p, worker, 2).map(|a| a.due.as_secs_f64()).collect();
            let gaps: Vec<f64> = dues.windows(2).map(|w| w[1] - w[0]).collect();
            let (mean, variance) = mean_and_variance(&gaps);
            assert!((variance.sqrt() / mean - 0.5f64.sqrt()).abs() < 0.02);
            assert!(lag_one_autocorrelation(&gaps).abs() < 2.6 / (gaps.len() as f64).sqrt());
        }
    }

    /// Each due time comes from the phase's start, not from the one before: after ten minutes none has drifted by a nanosecond
    /// more than rounding, and the count is exact.
    #[test]
    fn trap_07_ten_minutes_do_not_drift() {
        for rate in [0.7, 3.0, 333.3, 1000.0, 7_777.0] {
            let p = plan(1, Process::Uniform, &[(600.0, constant(rate))]);
            let mut n = 0u64;
            for a in arrivals(&p) {
                let exact = a.index as f64 * 1e9 / rate;
                assert!((a.due.0 as f64 - exact).abs() <= 1.0, "{rate}/s: arrival {} is due at {}", a.index, a.due.0);
                n += 1;
            }
            assert_eq!(n, (600.0 * rate).ceil() as u64, "{rate}/s");
        }
        let thousand = Rate::per_second(1000.0).unwrap();
        let (period, start) = (Duration::from_secs(7), Duration::ZERO);
        let shapes = [
            Shape::Ramp { from: 10.0, to: 2000.0 },
            Shape::Steps { from: 100.0, to: 1900.0, steps: 10 },
            Shape::Wave { mean: thousand, amplitude: 900.0, period, start },
        ];
        for shape in shapes {
            let p = plan(2, Process::Uniform, &[(600.0, Load::Open(shape.clone()))]);
            let (planned, counted) = (expected(&p.phases[0]), count(&p)[0] as f64);
            assert!((counted - planned).abs() <= 1.0, "{shape:?}: {counted} for {planned}");
            assert!((planned / 600_000.0 - 1.0).abs() < 0.01, "the integral of {shape:?} is known: {planned}");
            // By chance the count scatters by its root, 0.13 % here; four of those are the bound.
            let p = plan(2, Process::Poisson, &[(600.0, Load::Open(shape.clone()))]);
            let counted = count(&p)[0] as f64;
            assert!((counted - planned).abs() < 4.0 * planned.sqrt(), "{shape:?}: {counted} for {planned}");
        }
        let p = plan(3, Process::Poisson, &[(600.0, constant(5_000.0))]);
        let counted = count(&p)[0] as f64;
        assert!((counted / 3e6 - 1.0).abs() < 0.001, "{counted} for 3,000,000");
    }

    #[test]
    fn gamma_gaps_have_the_asked_scatter_and_the_planned_rate() {
        for (cv, near) in [(0.3, 0.01), (1.0, 0.03), (3.0, 0.15)] {
            let p = plan(5, Process::Gamma { cv }, &[(100.0, constant(1000.0))]);
            let gaps = gaps(&p);
            let (mean, variance) = mean_and_variance(&gaps);
            assert!((variance.sqrt() / mean - cv).abs() < near, "cv {cv}: measured {}", variance.sqrt() / mean);
            let sd_of_count = cv * 100_000f64.sqrt();
            assert!((gaps.len() as f64 - 100_000.0).abs() < 4.0 * sd_of_count, "cv {cv}: {} arrivals", gaps.len());
        }
    }

    #[test]
    fn bursty_phases_carry_no_surplus() {
        // A sequence that began with a full gap right after an arrival would hold (cv² − 1)/2 ≈ 50 more than planned.
        let phases: Vec<_> = (0..400).map(|_| (1.0, constant(500.0))).collect();
        let total: u64 = count(&plan(3, Process::Gamma { cv: 10.0 }, &phases)).iter().sum();
        let per_phase = total as f64 / 400.0;
        assert!((per_phase - 500.0).abs() < 25.0, "{per_phase} arrivals a phase");
    }

    #[test]
    fn changing_one_phase_moves_no_other() {
        let of = |middle: Load, phase: u16| -> Vec<u64> {
            let p = plan(11, Process::Poisson, &[(1.0, constant(100.0)), (1.0, middle), (1.0, constant(100.0))]);
            arrivals(&p).filter(|a| a.phase == PhaseId(phase)).map(|a| a.due.0).collect()
        };
        let ramp = Load::Open(Shape::Ramp { from: 10.0, to: 900.0 });
        assert_eq!(of(constant(100.0), 0), of(ramp.clone(), 0));
        assert_eq!(of(constant(100.0), 2), of(ramp.clone(), 2));
        assert_ne!(of(constant(100.0), 1), of(ramp, 1));
        // Two equal phases do not repeat each other.
        let first = of(constant(100.0), 0);
        assert!(of(constant(100.0), 2).iter().zip(&first).any(|(b, a)| b - a != 2_000_000_000));
    }

    fn any_shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            (0.1..3000.0).prop_map(|r| Shape::Constant(Rate::per_second(r).unwrap())),
            (0.0..2000.0, 0.1..2000.0, any::<bool>()).prop_map(|(a, b, swap)| {
                if swap { Shape::Ramp { from: b, to: a } } else { Shape::Ramp { from: a, to: b } }
            }),
            (0.0..2000.0, 0.1..2000.0, 2..20u32).prop_map(|(from, to, steps)| Shape::Steps { from, to, steps }),
            (1.0..2000.0, 0.0..=1.0, 0.01..5.0, 0.0..5.0).prop_map(|(mean, share, period, start)| Shape::Wave {
                mean: Rate::per_second(mean).unwrap(),
                amplitude: mean * share,
                period: Duration::from_secs_f64(period),
                start: Duration::from_secs_f64(start),
            }),
            proptest::collection::vec(0..3_000_000_000u64, 0..50).prop_map(|mut times| {
                times.sort_unstable();
                Shape::Trace(Arc::new(times))
            }),
        ]
    }

    fn any_process() -> impl Strategy<Value = Process> {
        prop_oneof![
            Just(Process::Uniform),
            Just(Process::Poisson),
            (0.01..20.0).prop_map(|cv| Process::Gamma { cv }),
            Just(Process::Gamma { cv: 100.0 }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn laws(
            seed in any::<u64>(),
            process in any_process(),
            shapes in proptest::collection::vec((0.001..2.0, any_shape()), 1..4),
            workers in 1..5usize,
        ) {
            let loads: Vec<(f64, Load)> = shapes.into_iter().map(|(d, s)| (d, Load::Open(s))).collect();
            let p = plan(seed, process, &loads);
            let all: Vec<Arrival> = arrivals(&p).collect();
            prop_assert_eq!(&all, &arrivals(&p).collect::<Vec<_>>(), "the same seed gives the same arrivals");
            for (i, a) in all.iter().enumerate() {
                prop_assert_eq!(a.index, i as u64);
                let phase = &p.phases[usize::from(a.phase.0)];
                prop_assert!(phase.start <= a.due && a.due < phase.end(), "{:?} outside its phase", a);
            }
            prop_assert!(all.is_sorted_by_key(|a| (a.due, a.phase)));

            let mut union = Vec::new();
            for worker in 0..workers {
                let stripe: Vec<Arrival> = Arrivals::striped(&p, worker, workers).collect();
                prop_assert!(stripe.iter().all(|a| a.index % workers as u64 == worker as u64));
                union.extend(stripe);
            }
            union.sort_by_key(|a| a.index);
            prop_assert_eq!(&union, &all, "the stripes are the whole");
            prop_assert_eq!(count(&p).iter().sum::<u64>(), all.len() as u64);
        }

        #[test]
        fn uniform_arrivals_follow_the_integral(seconds in 0.1..5.0, shape in any_shape()) {
            let p = plan(0, Process::Uniform, &[(seconds, Load::Open(shape))]);
            let planned = expected(&p.phases[0]);
            prop_assert!((count(&p)[0] as f64 - planned).abs() <= 1.0 + 1e-6 * planned);
        }
    }
}
