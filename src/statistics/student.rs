//! Student's t distribution, and his test of two samples (Student 1908).

use super::bisect;
use super::special::incomplete_beta;

/// The chance of a value further from 0 than `t`, either side, with `freedom` > 0 degrees (DLMF 8.17; Abramowitz & Stegun 26.5.27).
pub fn two_sided(t: f64, freedom: f64) -> f64 {
    incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// The chance of a value of at most `t`.
pub fn cdf(t: f64, freedom: f64) -> f64 {
    let tail = two_sided(t, freedom) / 2.0;
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// The value that a share `p` in (0, 1) lies below.
pub fn quantile(p: f64, freedom: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p, freedom);
    }
    let mut low = -1.0;
    while cdf(low, freedom) > p && low > -1e150 {
        low *= 2.0;
    }
    bisect(low, 0.0, |t| cdf(t, freedom) - p)
}

/// Two-sided p of equal means, equal variances assumed. 1 with fewer than three values or an empty side; without any spread it is 1 for
/// equal means, else 0.
pub fn equal_means(left: &[f64], right: &[f64]) -> f64 {
    let (n, m) = (left.len() as f64, right.len() as f64);
    if left.is_empty() || right.is_empty() || n + m < 3.0 {
        return 1.0;
    }
    let ((mean_left, squares_left), (mean_right, squares_right)) = (moments(left), moments(right));
    let variance = (squares_left + squares_right) / (n + m - 2.0) * (1.0 / n + 1.0 / m);
    match mean_left - mean_right {
        0.0 => 1.0,
        _ if variance == 0.0 => 0.0,
        difference => two_sided(difference / variance.sqrt(), n + m - 2.0),
    }
}

/// The mean of some values, and the sum of squares around it.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum())
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    /// Critical values of the usual table.
    #[test]
    fn quantiles_agree_with_the_table() {
        for (p, freedom, t) in [(0.975, 1.0, 12.706), (0.975, 6.0, 2.447), (0.995, 10.0, 3.169), (0.95, 30.0, 1.697)] {
            near(quantile(p, freedom), t, 5e-4);
            near(quantile(1.0 - p, freedom), -t, 5e-4);
        }
        near(cdf(0.0, 5.0), 0.5, 1e-15);
        // One degree is Cauchy's distribution.
        near(cdf(2.0, 1.0), 0.5 + 2.0f64.atan() / std::f64::consts::PI, 1e-14);
    }

    /// Student's own data (1908): sleep gained by two drugs, as two independent samples: t = −1.8608, p = 0.07919 (R's `t.test`).
    #[test]
    fn the_sleep_data() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        near(equal_means(&first, &second), 0.079_19, 5e-6);
    }

    #[test]
    fn without_spread_nothing_is_divided() {
        assert_eq!(equal_means(&[2.0, 2.0], &[2.0, 2.0]), 1.0);
        assert_eq!(equal_means(&[2.0, 2.0], &[3.0]), 0.0);
        assert_eq!(equal_means(&[2.0], &[3.0]), 1.0);
        assert_eq!(equal_means(&[], &[3.0, 4.0, 5.0]), 1.0);
    }
}
