//! Quantiles of one run's values, given as buckets.

use super::special::incomplete_beta;

/// From here on the plain quantile is used: the smooth one leans on the few highest values there.
const SMOOTH_UP_TO: f64 = 0.95;

/// A value and how often it was seen.
pub type Bucket = (f64, u64);

/// The quantile `q` of buckets sorted by value: Harrell and Davis's up to 0.95, the plain one beyond. None of no values.
pub fn quantile(buckets: &[Bucket], q: f64) -> Option<f64> {
    if q <= SMOOTH_UP_TO { harrell_davis(buckets, q) } else { nearest_rank(buckets, q) }
}

/// The smallest value that at least a share `q` of all do not exceed. None of no values.
pub fn nearest_rank(buckets: &[Bucket], q: f64) -> Option<f64> {
    let n = total(buckets);
    // Rounded a little down first: 0.95 · 20 must be 19, not the next above 19.000000000000004.
    let rank = ((q * n as f64) * (1.0 - 1e-12)).ceil().clamp(1.0, n.max(1) as f64) as u64;
    let mut seen = 0;
    buckets.iter().find_map(|(value, count)| {
        seen += count;
        (seen >= rank).then_some(*value)
    })
}

/// The quantile estimate of Harrell & Davis (1982), a mean of all values weighted by Beta((n+1)q, (n+1)(1−q)). Equal values share
/// a bucket, so weights are differences at the cumulative edges of buckets. `q` lies within 0 and 1, both excluded. None of no values.
pub fn harrell_davis(buckets: &[Bucket], q: f64) -> Option<f64> {
    assert!(q > 0.0 && q < 1.0, "no such quantile: {q}");
    let n = total(buckets) as f64;
    let (a, b) = ((n + 1.0) * q, (n + 1.0) * (1.0 - q));
    let cumulative = cumulative_beta(a, b);
    let (mut seen, mut below, mut sum) = (0, 0.0, 0.0);
    for (value, count) in buckets.iter().filter(|(_, count)| *count > 0) {
        seen += count;
        let up_to = cumulative(seen as f64 / n);
        if up_to > below {
            sum += value * (up_to - below);
        }
        below = up_to;
    }
    (seen > 0).then_some(sum)
}

/// I_x(a, b), without the work where it is 0 or 1 to more digits than a double has: 15 standard deviations off the mean.
fn cumulative_beta(a: f64, b: f64) -> impl Fn(f64) -> f64 {
    let mean = a / (a + b);
    let sd = (mean * (1.0 - mean) / (a + b + 1.0)).sqrt();
    // With small parameters the tails are long.
    let reach = if a.min(b) < 30.0 { 1.0 } else { 15.0 * sd };
    move |x| match x - mean {
        off if off > reach => 1.0,
        off if off < -reach => 0.0,
        _ => incomplete_beta(a, b, x),
    }
}

fn total(buckets: &[Bucket]) -> u64 {
    buckets.iter().map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    fn each(values: &[f64]) -> Vec<Bucket> {
        values.iter().map(|v| (*v, 1)).collect()
    }

    /// scipy 1.17: `mstats.hdquantiles([77, 87, 88, 114, 151, 210, 219, 246, 253, 262, 296, 299, 306, 376, 428, 515, 666, 1310, 2611])`
    /// (Wilcox's data, Introduction to Robust Estimation, 3.3.3; he gives 271.7 for the median).
    #[test]
    fn the_textbook_example() {
        let values = [
            77.0, 87.0, 88.0, 114.0, 151.0, 210.0, 219.0, 246.0, 253.0, 262.0, 296.0, 299.0, 306.0, 376.0, 428.0,
            515.0, 666.0, 1_310.0, 2_611.0,
        ];
        near(harrell_davis(&each(&values), 0.5).unwrap(), 271.721_203_8, 1e-7);
    }

    #[test]
    fn buckets_are_repeated_values() {
        let buckets = [(1.0, 3), (2.0, 0), (2.5, 4), (9.0, 2)];
        let apart = each(&[1.0, 1.0, 1.0, 2.5, 2.5, 2.5, 2.5, 9.0, 9.0]);
        for q in [0.05, 0.5, 0.9] {
            near(harrell_davis(&buckets, q).unwrap(), harrell_davis(&apart, q).unwrap(), 1e-12);
            assert_eq!(nearest_rank(&buckets, q), nearest_rank(&apart, q));
        }
    }

    #[test]
    fn nearest_ranks() {
        let values: Vec<Bucket> = (1..=20).map(|v| (f64::from(v), 1)).collect();
        for (q, want) in [(0.0, 1.0), (0.05, 1.0), (0.051, 2.0), (0.95, 19.0), (0.951, 20.0), (1.0, 20.0)] {
            assert_eq!(nearest_rank(&values, q), Some(want), "{q}");
        }
        assert_eq!((nearest_rank(&[], 0.5), nearest_rank(&[(1.0, 0)], 0.5)), (None, None));
        assert_eq!((harrell_davis(&[], 0.5), harrell_davis(&[(1.0, 0)], 0.5)), (None, None));
        assert_eq!(quantile(&values, 0.99), Some(20.0));
    }

    /// Leaving out the far weights changes nothing: even values give their quantile.
    #[test]
    fn large_counts() {
        let buckets: Vec<Bucket> = (0..1_000).map(|v| (f64::from(v), 1_000)).collect();
        near(harrell_davis(&buckets, 0.5).unwrap(), 499.5, 1e-6);
        near(harrell_davis(&buckets, 0.95).unwrap(), 949.5, 1e-4);
        near(harrell_davis(&[(7.0, 4_000_000_000)], 0.3).unwrap(), 7.0, 1e-9);
    }
}
