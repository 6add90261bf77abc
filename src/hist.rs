//! Latency histograms: fixed bounds, three significant digits, no allocation per value.
//!
//! Wraps the `hdrhistogram` crate with the bounds that every histogram of resbench shares, so that
//! merging is exact. Beside the buckets each keeps the true maximum and sum (buckets round), and counts
//! what lies above the range instead of clamping it.
//!
//! Also owns the bucket index ([`bucket_of`], [`bucket_top`]): a recorder keeps 16-bit indices and only
//! makes histograms of them afterwards.

use hdrhistogram::Histogram;

/// Lowest discernible value: 1 µs (buckets below 1.05 ms are 0.512 µs wide).
pub const LOWEST_NS: u64 = 1_000;
/// Highest trackable value: 1 h. Above it a value is counted as overflow.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits.
pub const DIGITS: u8 = 3;

// With these bounds HdrHistogram uses units of 2^9 ns and 2,048 sub-buckets; see its `bucket_index_of`.
const UNIT_SHIFT: u32 = 9;
const HALF_SHIFT: u32 = 10;
const SUB_MASK: u64 = ((1 << (HALF_SHIFT + 1)) - 1) << UNIT_SHIFT;

/// Index of the bucket that holds this value (values above the range share the last bucket).
pub fn bucket_of(value_ns: u64) -> u16 {
    let value = value_ns.min(HIGHEST_NS);
    let bucket = 64 - UNIT_SHIFT - HALF_SHIFT - 1 - (value | SUB_MASK).leading_zeros();
    let sub = (value >> (bucket + UNIT_SHIFT)) as u32;
    ((bucket << HALF_SHIFT) + sub) as u16
}

/// The highest value that shares this bucket, as HdrHistogram reports it: ns.
pub fn bucket_top(index: u16) -> u64 {
    let index = u32::from(index);
    let (bucket, sub) = if index < (2 << HALF_SHIFT) {
        (0, index)
    } else {
        ((index >> HALF_SHIFT) - 1, (index & ((1 << HALF_SHIFT) - 1)) + (1 << HALF_SHIFT))
    };
    ((u64::from(sub) + 1) << (bucket + UNIT_SHIFT)) - 1
}

/// A histogram of times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Hist {
    inner: Histogram<u64>,
    overflow: u64,
    max: u64,
    sum: u128,
}

impl Default for Hist {
    fn default() -> Hist {
        Hist::new()
    }
}

impl Hist {
    /// An empty one. Grows its table to the largest value recorded, at most to [`HIGHEST_NS`].
    pub fn new() -> Hist {
        let mut inner =
            Histogram::new_with_bounds(LOWEST_NS, 2 * LOWEST_NS, DIGITS).expect("constant bounds are valid");
        inner.auto(true);
        Hist { inner, overflow: 0, max: 0, sum: 0 }
    }

    /// Counts one value.
    pub fn record(&mut self, value_ns: u64) {
        self.record_bucket(bucket_of(value_ns), 1);
        self.note(u128::from(value_ns), value_ns, u64::from(value_ns > HIGHEST_NS));
    }

    /// Counts `count` values of one bucket, without touching sum, maximum and overflow; see [`Hist::note`].
    pub fn record_bucket(&mut self, index: u16, count: u64) {
        self.inner.record_n(bucket_top(index).min(HIGHEST_NS), count).expect("within range by construction");
    }

    /// Adds to the exact sum, maximum and overflow, for values counted by bucket.
    pub fn note(&mut self, sum_ns: u128, max_ns: u64, overflow: u64) {
        self.sum += sum_ns;
        self.max = self.max.max(max_ns);
        self.overflow += overflow;
    }

    /// Adds everything of the other.
    pub fn merge(&mut self, other: &Hist) {
        self.inner.add(&other.inner).expect("all histograms share their bounds");
        self.note(other.sum, other.max, other.overflow);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.inner.len()
    }

    /// Values above the range.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// The true maximum, ns; 0 when empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The exact sum, ns.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The exact mean, ns; none when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum as f64 / self.count() as f64)
    }

    /// Smallest recorded value such that at least `rank` values are at or below it (nearest rank, counted
    /// from 1), never above the true maximum; none when there are fewer values than that.
    pub fn value_at_rank(&self, rank: u64) -> Option<u64> {
        if rank == 0 || rank > self.count() {
            return None;
        }
        let mut seen = 0;
        for step in self.inner.iter_recorded() {
            seen += step.count_since_last_iteration();
            if seen >= rank {
                return Some(step.value_iterated_to().min(self.max.max(LOWEST_NS)));
            }
        }
        Some(self.max)
    }

    /// The quantile (nearest rank) of the recorded values; none when empty.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        self.value_at_rank(rank_of(share, self.count()))
    }

    /// How many values are at or below this one (to the bucket).
    pub fn count_at_or_below(&self, value_ns: u64) -> u64 {
        self.inner.count_between(0, value_ns.min(HIGHEST_NS))
    }

    /// Recorded buckets in ascending order, as (index, count).
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.inner.iter_recorded().map(|s| (bucket_of(s.value_iterated_to()), s.count_since_last_iteration()))
    }

    /// The wrapped histogram, for HdrHistogram's own formats.
    pub fn inner(&self) -> &Histogram<u64> {
        &self.inner
    }
}

/// Nearest rank of a quantile among `n` values, from 1; 0 when there are none.
pub fn rank_of(share: f64, n: u64) -> u64 {
    if n == 0 {
        return 0;
    }
    // The small subtraction keeps 0.99 × 100 = 99.000000000000014 from becoming rank 100.
    ((share * n as f64 - 1e-9).ceil() as u64).clamp(1, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_bucket_holds_one_hour() {
        assert!(bucket_top(bucket_of(HIGHEST_NS)) >= HIGHEST_NS);
        assert_eq!(bucket_of(u64::MAX), bucket_of(HIGHEST_NS));
    }

    #[test]
    fn trap_15_above_the_range_is_counted_not_clamped_silently() {
        let mut h = Hist::new();
        h.record(2 * HIGHEST_NS);
        assert_eq!((h.count(), h.overflow(), h.max()), (1, 1, 2 * HIGHEST_NS));
    }

    #[test]
    fn trap_16_quantiles_agree_with_sorted_samples() {
        let mut rng = crate::rng::stream(crate::units::Seed(7), "hist");
        let mut raw: Vec<u64> = (0..20_000).map(|_| (1e5 * (5.0 * crate::rng::unit(&mut rng)).exp()) as u64).collect();
        let mut h = Hist::new();
        raw.iter().for_each(|v| h.record(*v));
        raw.sort_unstable();
        for share in [0.5, 0.9, 0.99, 0.999] {
            let (truth, ours) = (raw[rank_of(share, 20_000) as usize - 1] as f64, h.quantile(share).unwrap() as f64);
            assert!((ours / truth - 1.0).abs() < 1e-3, "p{share}: {ours} for {truth}");
        }
        assert_eq!(h.max(), *raw.last().unwrap());
    }

    proptest! {
        #[test]
        fn our_index_is_hdr_histograms(v in 1u64..HIGHEST_NS) {
            let reference = Histogram::<u64>::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).unwrap();
            prop_assert_eq!(bucket_top(bucket_of(v)), reference.highest_equivalent(v));
            prop_assert!(bucket_of(v) <= bucket_of(v + 1));
        }

        #[test]
        fn trap_17_merging_is_free_of_order(mut a in prop::collection::vec(1u64..10_000_000_000, 1..80), b in prop::collection::vec(1u64..10_000_000_000, 1..80)) {
            let of = |values: &[u64]| { let mut h = Hist::new(); values.iter().for_each(|v| h.record(*v)); h };
            let (mut ab, mut ba) = (of(&a), of(&b));
            ab.merge(&of(&b));
            ba.merge(&of(&a));
            a.extend(&b);
            let all = of(&a);
            for share in [0.01, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(ab.quantile(share), ba.quantile(share));
                prop_assert_eq!(ab.quantile(share), all.quantile(share));
            }
            prop_assert_eq!((ab.sum(), ab.max()), (all.sum(), all.max()));
        }
    }
}
