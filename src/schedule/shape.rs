//! Planned rates over a phase, and the inverse of their integral.
//!
//! Owns the arithmetic of shapes: Λ(t), the number of requests planned within the first t seconds of
//! a phase, and the instant at which it reaches a given area. Leaves alone how areas scatter (`process.rs`).

use std::f64::consts::{PI, TAU};
use std::time::Duration;

use crate::plan::{Load, Phase, Shape};

/// How many requests a phase plans in the mean: the integral of its rate. Zero for a closed loop.
pub fn expected(phase: &Phase) -> f64 {
    let seconds = phase.duration.as_secs_f64();
    match &phase.load {
        Load::Closed { .. } => 0.0,
        Load::Open(shape) => match shape {
            Shape::Constant(rate) => rate.get() * seconds,
            // The levels of a staircase lie evenly around the same mean as the ramp's.
            Shape::Ramp { from, to } | Shape::Steps { from, to, .. } => (from + to) / 2.0 * seconds,
            Shape::Wave { .. } => Wave::new(shape).expect("matched above").area(seconds),
            Shape::Trace(times) => times.partition_point(|t| u128::from(*t) < phase.duration.as_nanos()) as f64,
        },
    }
}

/// The highest rate of a shape in requests per second; of a trace, the most within one second.
pub fn peak_rate(shape: &Shape) -> f64 {
    match shape {
        Shape::Constant(rate) => rate.get(),
        Shape::Ramp { from, to } | Shape::Steps { from, to, .. } => from.max(*to),
        Shape::Wave { mean, amplitude, .. } => mean.get() + amplitude.abs(),
        Shape::Trace(times) => {
            let within_a_second = |(i, first): (usize, &u64)| {
                let after = times.partition_point(|t| *t < first.saturating_add(1_000_000_000));
                after - i
            };
            times.iter().enumerate().map(within_a_second).max().unwrap_or(0) as f64
        }
    }
}

/// Maps areas, asked for in ascending order, to instants.
#[derive(Clone, Debug)]
pub(super) enum Inverse {
    Constant { rate: f64 },
    Ramp(Ramp),
    Steps(Steps),
    Wave(Wave),
}

impl Inverse {
    /// # Panics
    /// For a trace, which has instants already.
    pub(super) fn new(shape: &Shape, duration: Duration) -> Inverse {
        let seconds = duration.as_secs_f64();
        match *shape {
            Shape::Constant(rate) => Inverse::Constant { rate: rate.get() },
            Shape::Ramp { from, to } => Inverse::Ramp(Ramp { from, to, seconds }),
            Shape::Steps { from, to, steps } => {
                Inverse::Steps(Steps { from, to, steps: f64::from(steps), length: seconds / f64::from(steps), at: 0.0 })
            }
            Shape::Wave { .. } => Inverse::Wave(Wave::new(shape).expect("matched just now")),
            Shape::Trace(_) => unreachable!("a trace is replayed, not made"),
        }
    }

    /// Nanoseconds from the start of the phase until the integral of the rate reaches `area`;
    /// infinite, or beyond the phase, for an area that the phase does not reach.
    pub(super) fn nanos_at(&mut self, area: f64) -> f64 {
        match self {
            // Multiplied first: for even gaps the product is exact, and so is every due time.
            Inverse::Constant { rate } => area * 1e9 / *rate,
            Inverse::Ramp(ramp) => ramp.seconds_at(area) * 1e9,
            Inverse::Steps(steps) => steps.seconds_at(area) * 1e9,
            Inverse::Wave(wave) => wave.seconds_at(area) * 1e9,
        }
    }
}

/// Rate `from + (to − from) t / seconds`.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    from: f64,
    to: f64,
    seconds: f64,
}

impl Ramp {
    /// Solves `from·t + slope/2·t² = area` in the form `t = 2 area / (from + √(from² + 2 slope area))`, in which
    /// nothing cancels while the ramp rises, also from 0 and when it is flat. A falling one is solved as a rising one
    /// from its end backwards.
    fn seconds_at(&self, area: f64) -> f64 {
        let whole = (self.from + self.to) / 2.0 * self.seconds;
        if area <= 0.0 {
            0.0
        } else if area >= whole {
            f64::INFINITY
        } else if self.to >= self.from {
            Ramp::rise(self.from, self.to, self.seconds, area)
        } else {
            (self.seconds - Ramp::rise(self.to, self.from, self.seconds, whole - area)).max(0.0)
        }
    }

    fn rise(low: f64, high: f64, seconds: f64, area: f64) -> f64 {
        let slope = (high - low) / seconds;
        2.0 * area / (low + (low * low + 2.0 * slope * area).sqrt())
    }
}

/// Equal-length levels, the first at `from`, the last at `to`. Counts are kept as `f64`: all are whole and small.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    from: f64,
    to: f64,
    steps: f64,
    length: f64,
    /// The level that the last area lay on.
    at: f64,
}

impl Steps {
    fn slope(&self) -> f64 {
        (self.to - self.from) / (self.steps - 1.0)
    }

    /// Area under the first `levels` levels.
    fn before(&self, levels: f64) -> f64 {
        self.length * levels * (self.from + self.slope() * (levels - 1.0) / 2.0)
    }

    fn seconds_at(&mut self, area: f64) -> f64 {
        // A level without rate has no area, so its end is passed at once.
        while area >= self.before(self.at + 1.0) {
            self.at += 1.0;
            if self.at >= self.steps {
                self.at = self.steps - 1.0;
                return f64::INFINITY;
            }
        }
        let rate = self.from + self.slope() * self.at;
        self.at * self.length + ((area - self.before(self.at)).max(0.0) / rate).min(self.length)
    }
}

/// Rate `mean + amplitude · sin(2π (t + start) / period)`.
#[derive(Clone, Debug)]
pub(super) struct Wave {
    mean: f64,
    amplitude: f64,
    period: f64,
    start: f64,
    /// The last instant found: the next one is not before it.
    last: f64,
}

impl Wave {
    /// None for another shape.
    fn new(shape: &Shape) -> Option<Wave> {
        let Shape::Wave { mean, amplitude, period, start } = *shape else { return None };
        let (period, start) = (period.as_secs_f64(), start.as_secs_f64());
        Some(Wave { mean: mean.get(), amplitude, period, start, last: 0.0 })
    }

    fn angle(&self, t: f64) -> f64 {
        TAU * (t + self.start) / self.period
    }

    /// Λ(t) = mean·t + amplitude·period/2π · (cos(2π start/period) − cos(2π (t + start)/period)).
    fn area(&self, t: f64) -> f64 {
        let swing = self.amplitude * self.period / TAU;
        self.mean * t + swing * (self.angle(0.0).cos() - self.angle(t).cos())
    }

    /// Newton's method, held inside a bracket: Λ lies within amplitude·period/π of mean·t. Where the rate is near
    /// zero and a step would leave the bracket, the bracket is halved instead.
    fn seconds_at(&mut self, area: f64) -> f64 {
        let reach = self.amplitude.abs() * self.period / PI / self.mean;
        let (mut low, mut high) = (self.last, (area / self.mean + reach).max(self.last));
        let swing = self.amplitude * self.period / TAU;
        let offset = swing * self.angle(0.0).cos();
        let mut t = self.last;
        // 64 halvings take any bracket below a nanosecond; Newton needs about three steps.
        for _ in 0..64 {
            let (sin, cos) = self.angle(t).sin_cos();
            let excess = self.mean * t + offset - swing * cos - area;
            if excess > 0.0 {
                high = t;
            } else {
                low = t;
            }
            let newton = t - excess / (self.mean + self.amplitude * sin);
            let next = if newton >= low && newton <= high { newton } else { low + (high - low) / 2.0 };
            let moved = (next - t).abs();
            t = next;
            if moved < 1e-10 {
                break;
            }
        }
        self.last = t;
        t
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::units::{Offset, Rate};

    const MINUTE: Duration = Duration::from_secs(60);

    fn wave(mean: f64, amplitude: f64, period_s: u64, start_s: u64) -> Shape {
        Shape::Wave {
            mean: Rate::per_second(mean).unwrap(),
            amplitude,
            period: Duration::from_secs(period_s),
            start: Duration::from_secs(start_s),
        }
    }

    fn phase(shape: Shape) -> Phase {
        let load = Load::Open(shape);
        Phase { name: "phase".into(), start: Offset::ZERO, duration: MINUTE, load, measured: true }
    }

    /// The rate by its definition in `plan.rs`, apart from the formulas under test.
    fn rate_at(shape: &Shape, t: f64) -> f64 {
        match *shape {
            Shape::Constant(rate) => rate.get(),
            Shape::Ramp { from, to } => from + (to - from) * t / 60.0,
            Shape::Steps { from, to, steps } => {
                let level = (t / 60.0 * f64::from(steps)).floor();
                from + (to - from) * level / f64::from(steps - 1)
            }
            Shape::Wave { mean, amplitude, period, start } => {
                mean.get() + amplitude * (TAU * (t + start.as_secs_f64()) / period.as_secs_f64()).sin()
            }
            Shape::Trace(_) => unreachable!(),
        }
    }

    fn shapes() -> Vec<Shape> {
        vec![
            Shape::Constant(Rate::per_second(137.0).unwrap()),
            Shape::Ramp { from: 0.0, to: 1000.0 },
            Shape::Ramp { from: 1000.0, to: 0.0 },
            Shape::Ramp { from: 500.0, to: 500.0 },
            Shape::Ramp { from: 500.0, to: 500.0 + 1e-9 },
            Shape::Ramp { from: 500.0 + 1e-9, to: 500.0 },
            Shape::Ramp { from: 100.0, to: 900.0 },
            Shape::Steps { from: 0.0, to: 900.0, steps: 4 },
            Shape::Steps { from: 900.0, to: 0.0, steps: 4 },
            Shape::Steps { from: 100.0, to: 200.0, steps: 2 },
            wave(500.0, 500.0, 60, 0),
            wave(500.0, 500.0, 7, 3),
            wave(100.0, 40.0, 600, 450),
            wave(100.0, 0.0, 10, 0),
        ]
    }

    #[test]
    fn the_inverse_finds_the_area_of_the_planned_rate() {
        for shape in shapes() {
            // Midpoint sums over 0.1 ms; no level of the staircases changes inside one of them.
            let step = 1e-4;
            let mut inverse = Inverse::new(&shape, MINUTE);
            let mut area = 0.0;
            let whole = expected(&phase(shape.clone()));
            for i in 0..600_000 {
                let t = f64::from(i) * step;
                if i % 997 == 0 && area < whole - 1e-3 && rate_at(&shape, t) > 5.0 {
                    let found = inverse.nanos_at(area) / 1e9;
                    assert!((found - t).abs() < 2e-6, "{shape:?}: area {area} at {t} s, found {found} s");
                }
                area += rate_at(&shape, t + step / 2.0) * step;
            }
            assert!((area - whole).abs() < 1e-3, "{shape:?}: {area} summed, {whole} expected");
        }
    }

    #[test]
    fn areas_beyond_the_phase_lie_after_it() {
        for shape in shapes() {
            let whole = expected(&phase(shape.clone()));
            assert!(Inverse::new(&shape, MINUTE).nanos_at(whole * (1.0 + 1e-6)) >= 60e9, "{shape:?}");
        }
    }

    #[test]
    fn a_ramp_to_nothing_is_exact_up_to_its_end() {
        // The last request of a ramp 1000 → 0 over 60 s: one area before the end, at √(2·60/1000) s before it.
        let found = Inverse::new(&Shape::Ramp { from: 1000.0, to: 0.0 }, MINUTE).nanos_at(29_999.0);
        assert!((found - (60.0 - 0.12f64.sqrt()) * 1e9).abs() < 0.1, "{found}");
    }

    #[test]
    fn peaks() {
        assert_eq!(peak_rate(&Shape::Ramp { from: 900.0, to: 10.0 }), 900.0);
        assert_eq!(peak_rate(&wave(500.0, 200.0, 60, 0)), 700.0);
        let trace = vec![0, 999_999_999, 1_000_000_000, 1_500_000_000, 5_000_000_000];
        assert_eq!(peak_rate(&Shape::Trace(Arc::new(trace))), 3.0);
        assert_eq!(peak_rate(&Shape::Trace(Arc::default())), 0.0);
    }
}
