//! Arrivals at unit rate: where on the area under the planned rate each request lies.
//!
//! Owns how arrivals scatter. Leaves alone the rate itself (`shape.rs`): an area of 1 is one
//! request, whatever the rate is at that moment (time-rescaling; Cox & Isham, Point Processes, 1980).

use rand_distr::{Distribution, Exp1, Gamma};

use crate::plan::Process;
use crate::rng::{Stream, unit};

/// Areas at which requests arrive, never decreasing, one per unit of area in the mean.
#[derive(Clone, Debug)]
pub(super) struct UnitArrivals {
    gaps: Gaps,
    next: f64,
    chance: Stream,
}

#[derive(Clone, Debug)]
enum Gaps {
    Even,
    Exponential,
    Gamma(Gamma<f64>),
}

impl UnitArrivals {
    pub(super) fn new(process: Process, mut chance: Stream) -> UnitArrivals {
        let (gaps, next) = match process {
            // The first one is due when the phase starts, so that n/rate seconds hold exactly n.
            Process::Uniform => (Gaps::Even, 0.0),
            Process::Poisson => (Gaps::Exponential, Exp1.sample(&mut chance)),
            Process::Gamma { cv } => {
                let (gaps, first) = gamma(cv, &mut chance);
                (Gaps::Gamma(gaps), first)
            }
        };
        UnitArrivals { gaps, next, chance }
    }

    pub(super) fn next_area(&mut self) -> f64 {
        let area = self.next;
        self.next += match &self.gaps {
            Gaps::Even => 1.0,
            Gaps::Exponential => Exp1.sample(&mut self.chance),
            Gaps::Gamma(gamma) => gamma.sample(&mut self.chance),
        };
        area
    }
}

/// Gaps of mean 1 with this coefficient of variation: shape 1/cv², scale cv²; and the wait until the first arrival.
///
/// A phase begins somewhere between two arrivals, more often inside a long gap than a short one: the
/// first wait is a uniform share of a length-biased gap, which for Gamma(k, θ) is Gamma(k + 1, θ)
/// (Cox, Renewal Theory, 1962, 5.4). Beginning right after an arrival instead would add (cv² − 1)/2 requests
/// to every phase.
fn gamma(cv: f64, chance: &mut Stream) -> (Gamma<f64>, f64) {
    let (shape, scale) = (1.0 / (cv * cv), cv * cv);
    let make = |shape| Gamma::new(shape, scale).expect("the plan keeps cv within 0.01 and 100");
    let first = make(shape + 1.0).sample(chance) * unit(chance);
    (make(shape), first)
}
