//! Statistics of decisions: from numbers to "regressed", with the evidence. Pure, and knows nothing of resbench.
//!
//! Owns one method per file, each with its source, and [`decision`], which joins them to one answer per metric. Leaves alone where
//! numbers come from, what a metric means and how an answer is shown. The within-run interval is `crate::bootstrap`'s.
//!
//! The unit of evidence is the run, never the request: requests of one run share its machine, its caches and its queue. What needs
//! chance takes a function that draws a number in `0..n`, so that the caller's seed decides.
//!
//! Nothing here divides by zero, and infinite values have a place: a quantile that failures push to infinity is worse than every number,
//! and two infinite values compare as nothing (see [`decision::Question::difference`]).

pub mod censored;
pub mod decision;
pub mod divisive;
pub mod multiple;
pub mod normal;
pub mod order;
pub mod quantile;
pub mod rank_sum;
pub mod share;
pub mod shift;
pub mod sign;
pub mod signed_rank;
pub mod special;
pub mod student;

/// From where to where a true value may lie. Ends may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end, itself possible.
    pub low: f64,
    /// Upper end, itself possible.
    pub high: f64,
    /// How often such an interval holds the truth, at least: 0 to 1. Discrete methods seldom attain the level asked for; 1 when the
    /// interval is the whole line.
    pub level: f64,
}

impl Interval {
    /// Nothing is known.
    pub const WHOLE: Interval = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY, level: 1.0 };
}

/// The middle of two values. Opposite infinities cancel to 0.
fn middle(a: f64, b: f64) -> f64 {
    if a.is_infinite() && b == -a { 0.0 } else { a / 2.0 + b / 2.0 }
}

/// The median of sorted values; none of none.
fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    (n > 0).then(|| middle(sorted[(n - 1) / 2], sorted[n / 2]))
}

/// Sorted upwards. NaN is a mistake of the caller's.
fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.into_iter().collect();
    assert!(all.iter().all(|v| !v.is_nan()), "statistics of NaN");
    all.sort_by(f64::total_cmp);
    all
}

/// Sizes of the groups of equal values among sorted ones, in order.
fn groups(sorted: &[f64]) -> Vec<usize> {
    sorted.chunk_by(|a, b| a == b).map(<[f64]>::len).collect()
}

/// The root of an increasing `f` between `low` and `high`, to the last bit that halving can tell.
fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod testing {
    //! What the tests of this folder share.

    /// Fails unless `got` is within `tolerance` of `want`, relative to `want` where that is above 1.
    pub(super) fn near(got: f64, want: f64, tolerance: f64) {
        let scale = want.abs().max(1.0);
        assert!(got == want || (got - want).abs() <= tolerance * scale, "{got}, expected {want}");
    }

    /// A small generator of chance (Knuth's MMIX constants; the high bits), so that this folder needs nothing of ours.
    pub(super) struct Chance(pub(super) u64);

    impl Chance {
        pub(super) fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (((self.0 >> 32) * n as u64) >> 32) as usize
        }

        pub(super) fn unit(&mut self) -> f64 {
            self.below(1 << 30) as f64 / (1u64 << 30) as f64
        }

        /// Standard normal, nearly: twelve uniforms.
        pub(super) fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
        }
    }
}
