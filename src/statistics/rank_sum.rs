//! Two sets of runs that were not made in pairs: Mann-Whitney test, Hodges-Lehmann shift, its interval.
//!
//! Sources: Mann & Whitney 1947; Hodges & Lehmann 1963; Hollander & Wolfe, Nonparametric Statistical Methods, section 4. A weak
//! fallback: without pairs, whatever differs between the times at which the sets were made is taken for a difference of the service.

use super::signed_rank::last_within;
use super::{Interval, groups, median_of_sorted, normal, sorted};

/// The exact distribution is counted up to so many pairs of values; beyond, the normal curve is as good.
const EXACT_PAIRS: usize = 2_500;

/// What the test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankSum {
    /// Pairs (a, b) in which b is the larger, ties as halves.
    pub u: f64,
    /// One-sided p that the second set is larger.
    pub p_greater: f64,
    /// Two-sided p.
    pub p: f64,
    /// Counted exactly; else by the normal curve with correction for ties and continuity.
    pub exact: bool,
}

/// Tests whether `b` is larger than `a`. Exact for small sets without ties. p is 1 when a set is empty or all values are equal.
pub fn test(a: &[f64], b: &[f64]) -> RankSum {
    let u = pairs(a, b)
        .map(|(a, b)| {
            if b > a {
                1.0
            } else if b == a {
                0.5
            } else {
                0.0
            }
        })
        .sum();
    let all = sorted(a.iter().chain(b).copied());
    let ties = groups(&all);
    let exact = ties.iter().all(|t| *t == 1) && a.len() * b.len() <= EXACT_PAIRS;
    let (upper, lower) =
        if exact { exact_tails(a.len(), b.len(), u as usize) } else { normal_tails(a.len(), b.len(), u, &ties) };
    RankSum { u, p_greater: upper, p: (2.0 * upper.min(lower)).min(1.0), exact }
}

/// The median of all differences b − a. Equal infinities differ by nothing; opposite ones average to 0. None when a set is empty.
pub fn shift(a: &[f64], b: &[f64]) -> Option<f64> {
    median_of_sorted(&sorted(pairs(a, b).map(|(a, b)| if a == b { 0.0 } else { b - a })))
}

/// The interval of the shift, each side at most `risk` (by the normal curve for large sets): two of the ordered differences. The whole line when
/// the sets are too small. The difference of two equal infinities is unknown: it widens the interval on both sides.
pub fn interval(a: &[f64], b: &[f64], risk: f64) -> Interval {
    let Some((cut, tail)) = cut(a.len(), b.len(), risk) else { return Interval::WHOLE };
    let known = sorted(pairs(a, b).filter(|(a, b)| a.is_finite() || a != b).map(|(a, b)| b - a));
    let unknown = a.len() * b.len() - known.len();
    let low = cut.checked_sub(unknown).map_or(f64::NEG_INFINITY, |i| known[i]);
    let high = cut.checked_sub(unknown).map_or(f64::INFINITY, |i| known[known.len() - 1 - i]);
    Interval { low, high, level: 1.0 - 2.0 * tail }
}

fn pairs<'a>(a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    a.iter().flat_map(move |x| b.iter().map(move |y| (*x, *y)))
}

/// How many differences lie outside on either side, and the chance of that.
fn cut(n: usize, m: usize, risk: f64) -> Option<(usize, f64)> {
    if n * m <= EXACT_PAIRS {
        return last_within(&chances(n, m), risk);
    }
    let (mean, sd) = ((n * m) as f64 / 2.0, ((n * m * (n + m + 1)) as f64 / 12.0).sqrt());
    let cut = (mean + normal::quantile(risk) * sd - 0.5).floor();
    (cut >= 0.0).then(|| (cut as usize, normal::cdf((cut + 0.5 - mean) / sd)))
}

fn exact_tails(n: usize, m: usize, u: usize) -> (f64, f64) {
    let chances = chances(n, m);
    (chances[u..].iter().sum::<f64>().clamp(0.0, 1.0), chances[..=u].iter().sum::<f64>().clamp(0.0, 1.0))
}

fn normal_tails(n: usize, m: usize, u: f64, ties: &[usize]) -> (f64, f64) {
    let total = (n + m) as f64;
    let tied: f64 = ties.iter().map(|t| (*t as f64).powi(3) - *t as f64).sum();
    let mean = (n * m) as f64 / 2.0;
    let variance = (n * m) as f64 / 12.0 * (total + 1.0 - tied / (total * (total - 1.0)).max(1.0));
    if variance <= 0.0 {
        return (1.0, 1.0);
    }
    let tail = |above: f64| normal::upper((above - 0.5) / variance.sqrt());
    (tail(u - mean), tail(mean - u))
}

/// Chance of each U for sets of `n` and `m` values without ties: 0 to n·m. The generating function is the Gaussian binomial
/// coefficient, built factor by factor.
fn chances(n: usize, m: usize) -> Vec<f64> {
    let mut chances = vec![0.0; n * m + 1];
    chances[0] = 1.0;
    for i in 1..=n {
        // Times (1 − x^(m+i)), from above; then divided by (1 − x^i), from below. Scaled so that the sum stays 1.
        for u in (m + i..=n * m).rev() {
            chances[u] -= chances[u - m - i];
        }
        for u in i..=n * m {
            chances[u] += chances[u - i];
        }
        let scale = i as f64 / (m + i) as f64;
        chances.iter_mut().for_each(|c| *c *= scale);
    }
    chances
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    /// Hollander & Wolfe, table 4.1: permeability of the human chorioamnion at term, and at 12 to 26 weeks. They give W = 30,
    /// one-sided p 0.127 and the estimate 0.305.
    const TERM: [f64; 10] = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    const EARLY: [f64; 5] = [1.15, 0.88, 0.90, 0.74, 1.21];

    #[test]
    fn the_textbook_example() {
        let found = test(&EARLY, &TERM);
        assert!(found.exact);
        assert_eq!(found.u, 35.0);
        near(found.p_greater, 0.127_205_6, 1e-6);
        near(found.p, 0.254_411_3, 1e-6);
        near(shift(&EARLY, &TERM).unwrap(), 0.305, 1e-12);
    }

    /// Critical values of the usual table, two-sided 0.05: 4 and 4 give 0, 5 and 5 give 2, 8 and 8 give 13, 10 and 20 give 55.
    #[test]
    fn critical_values() {
        for (n, m, critical) in [(4, 4, 0), (5, 5, 2), (7, 7, 8), (8, 8, 13), (10, 20, 55), (20, 20, 127)] {
            assert_eq!(cut(n, m, 0.025).unwrap().0, critical, "{n} and {m}");
        }
        assert_eq!(cut(3, 3, 0.025), None);
    }

    #[test]
    fn chances_are_chances() {
        for (n, m) in [(1, 1), (4, 9), (50, 50), (0, 3)] {
            let all = chances(n, m);
            near(all.iter().sum(), 1.0, 1e-9);
            assert!(all.iter().all(|c| *c > -1e-12), "{n} and {m}");
        }
    }

    #[test]
    fn the_normal_curve_continues_the_exact_one() {
        let (n, m) = (49, 51);
        let (exact, normal) = (exact_tails(n, m, 1_500), normal_tails(n, m, 1_500.0, &vec![1; n + m]));
        near(exact.0, normal.0, 2e-3);
        near(exact.1, normal.1, 2e-3);
    }

    #[test]
    fn without_difference_or_values() {
        assert_eq!(test(&[1.0; 4], &[1.0; 4]).p_greater, 1.0);
        assert_eq!((test(&[], &[1.0]).p, test(&[], &[]).p), (1.0, 1.0));
        assert_eq!((shift(&[], &[1.0]), interval(&[], &[1.0], 0.025)), (None, Interval::WHOLE));
        let inf = f64::INFINITY;
        let found = interval(&[1.0, 2.0, 3.0, inf], &[inf; 4], 0.025);
        assert_eq!((found.low, found.high), (-inf, inf));
        assert_eq!(shift(&[inf], &[inf]), Some(0.0));
    }
}
