//! How much a service carries: what to try next, what a trial shows, what follows from all of them. Pure.
//!
//! Owns the arithmetic of `resbench capacity`, one method per file. Leaves alone how a trial is run, and every clock, file
//! and request: what was seen comes in as numbers, what to do next goes out as a value. Nothing here draws chance by
//! itself either; who resamples is handed [`Below`].
//!
//! | file | question |
//! |---|---|
//! | [`search`] | which rate to try next, and when to stop |
//! | [`trial`] | did this trial pass; is its backlog growing |
//! | [`isotonic`] | where does a noisy series of passes and failures cross |
//! | [`curve`] | latency over rate, as measured |
//! | [`knee`] | where does latency start to climb |
//! | [`usl`] | what would more concurrency bring |
//! | [`replicas`] | how many to run, and what a loss costs |
//!
//! Every number that comes in is checked: no answer is NaN, and no input divides by zero.

pub mod curve;
pub mod isotonic;
pub mod knee;
pub mod replicas;
pub mod search;
pub mod trial;
pub mod usl;

/// Draws a number in `0..n`, each equally likely; `n` is above zero. `crate::rng::below` on a stream of the run's seed.
pub type Below<'a> = &'a mut dyn FnMut(usize) -> usize;

/// A 95 % interval, `low <= high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile; infinite where resamples had no bound.
    pub high: f64,
}

impl Interval {
    /// The middle 95 % of what resampling gave (percentile method; Efron & Tibshirani 1993, chapter 13).
    fn middle(mut values: Vec<f64>) -> Option<Interval> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[(share * last as f64).round() as usize];
        Some(Interval { low: at(0.025), high: at(0.975) })
    }
}

/// # Errors
/// Says what is wrong when the number is not finite and above zero.
fn above_zero(what: &str, value: f64) -> Result<f64, String> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(format!("{what}: must be a finite number above 0, got {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator that the tests of this folder share: splitmix64 (Steele, Lea & Flood 2014).
    pub(super) fn chance(mut state: u64) -> impl FnMut(usize) -> usize {
        move |n| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
        }
    }

    #[test]
    fn the_middle_of_nothing_is_nothing() {
        assert_eq!(Interval::middle(Vec::new()), None);
        assert_eq!(Interval::middle(vec![3.0]), Some(Interval { low: 3.0, high: 3.0 }));
        let many = (0..=1000).rev().map(f64::from).collect();
        assert_eq!(Interval::middle(many), Some(Interval { low: 25.0, high: 975.0 }));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(above_zero("rate", bad).unwrap_err().starts_with("rate: must be"), "{bad}");
        }
        assert_eq!(above_zero("rate", 0.5), Ok(0.5));
    }
}
