//! Paired differences: Hodges-Lehmann estimate, exact Wilcoxon signed-rank test, exact interval.
//!
//! Sources: Wilcoxon 1945 (the test); Hodges & Lehmann 1963 (the estimate); Tukey 1949 and Hollander & Wolfe, Nonparametric
//! Statistical Methods, section 3 (interval from Walsh averages); Pratt 1959 (zeros); Noether 1967 (the closed interval under ties).
//!
//! Differences may be infinite: an infinite one has the highest rank on its side. Time grows with n³, so this is for hundreds
//! of pairs, not thousands.

use super::{Interval, median_of_sorted, sorted};

/// The Hodges-Lehmann estimate of the shift: the median of the means of all pairs of differences (Walsh averages), each with itself
/// included. Where +∞ meets −∞ they cancel to 0. None of no differences.
pub fn hodges_lehmann(differences: &[f64]) -> Option<f64> {
    let walsh = Walsh::of(differences);
    let cancelled = std::iter::repeat_n(0.0, walsh.undefined);
    median_of_sorted(&sorted(walsh.defined.into_iter().chain(cancelled)))
}

/// The exact chance of a sum of positive ranks as high as this or higher, when differences lie symmetrically around `shift` or lower:
/// small when they lie above it. 1 when nothing differs from `shift`.
///
/// Ties share their mean rank, and the distribution is that of the shared ranks. Differences equal to `shift` take part in the
/// ranking and then leave (Pratt 1959), so that they weigh against a claim instead of vanishing.
pub fn p_greater(differences: &[f64], shift: f64) -> f64 {
    let mut moved: Vec<f64> = differences.iter().map(|d| d - shift).collect();
    assert!(moved.iter().all(|d| !d.is_nan()), "differences and their shift must be numbers");
    moved.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let mut ranks = Vec::with_capacity(moved.len());
    let mut positive = 0;
    for equal in moved.chunk_by(|a, b| a.abs() == b.abs()) {
        if equal[0] == 0.0 {
            continue;
        }
        // Ranks doubled: means of ranks become whole numbers. Before this group stand all that are closer to the shift.
        let before = moved.partition_point(|d| d.abs() < equal[0].abs());
        let rank = 2 * before + equal.len() + 1;
        ranks.extend(std::iter::repeat_n(rank, equal.len()));
        positive += rank * equal.iter().filter(|d| **d > 0.0).count();
    }
    chances_of_sums(&ranks)[positive..].iter().sum::<f64>().min(1.0)
}

/// The interval of all shifts that neither one-sided test at `risk` excludes: its level is at least 1 − 2 `risk`, and is given as attained.
/// The whole line when there are too few differences (see [`least`]).
///
/// Ends are Walsh averages, counted in from both sides. Under ties the closed interval keeps at least its level (Noether 1967). Where +∞
/// meets −∞ nothing is known: such an average stands below everything for the low end, above everything for the high one.
pub fn interval(differences: &[f64], risk: f64) -> Interval {
    let n = differences.len();
    let chances = chances_of_sums(&(1..=n).collect::<Vec<_>>());
    let Some((cut, tail)) = last_within(&chances, risk) else { return Interval::WHOLE };
    let walsh = Walsh::of(differences);
    let (defined, undefined) = (&walsh.defined, walsh.undefined);
    let low = cut.checked_sub(undefined).map_or(f64::NEG_INFINITY, |i| defined[i]);
    let high = cut.checked_sub(undefined).map_or(f64::INFINITY, |i| defined[defined.len() - 1 - i]);
    Interval { low, high, level: 1.0 - 2.0 * tail }
}

/// How many differences a one-sided claim at this risk needs at least: all of the same sign have the chance 2⁻ⁿ.
pub fn least(risk: f64) -> usize {
    (1..).find(|n| 0.5f64.powi(*n) <= risk).map_or(usize::MAX, |n| n as usize)
}

/// Chance of each sum when every rank is in it or not, by the toss of a fair coin.
fn chances_of_sums(ranks: &[usize]) -> Vec<f64> {
    let mut chances = vec![0.0; ranks.iter().sum::<usize>() + 1];
    chances[0] = 1.0;
    let mut reached = 0;
    for rank in ranks {
        reached += rank;
        for sum in (0..=reached).rev() {
            let with = sum.checked_sub(*rank).map_or(0.0, |rest| chances[rest]);
            chances[sum] = (chances[sum] + with) / 2.0;
        }
    }
    chances
}

/// The last index up to which the chances sum to no more than `risk`, with that sum.
pub(super) fn last_within(chances: &[f64], risk: f64) -> Option<(usize, f64)> {
    let sums = chances.iter().scan(0.0, |sum, chance| {
        *sum += chance;
        Some(*sum)
    });
    // Sums are exact to the last bits; a risk of exactly 1/128 must not be missed by one of them.
    sums.take_while(|sum| *sum <= risk * (1.0 + 1e-12)).enumerate().last()
}

/// The Walsh averages, sorted, and how many are undefined because +∞ meets −∞ in them.
struct Walsh {
    defined: Vec<f64>,
    undefined: usize,
}

impl Walsh {
    fn of(differences: &[f64]) -> Walsh {
        let pairs = differences.iter().enumerate().flat_map(|(i, a)| differences[i..].iter().map(move |b| (*a, *b)));
        let (apart, together): (Vec<_>, Vec<_>) = pairs.partition(|(a, b)| a.is_infinite() && *b == -a);
        Walsh { defined: sorted(together.into_iter().map(|(a, b)| a / 2.0 + b / 2.0)), undefined: apart.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    /// Hollander & Wolfe, table 3.1: depression scale factor before and after a tranquilizer. They give T⁺ = 5, one-sided p 0.020,
    /// the estimate −0.46, and [−0.786, −0.010] at 96.1 %.
    const DEPRESSION: [f64; 9] = [-0.952, 0.147, -1.022, -0.430, -0.620, -0.590, -0.490, 0.080, -0.010];

    #[test]
    fn the_textbook_example() {
        let opposite = DEPRESSION.map(|d| -d);
        near(p_greater(&opposite, 0.0), 10.0 / 512.0, 1e-12);
        near(hodges_lehmann(&DEPRESSION).unwrap(), -0.46, 1e-12);
        let found = interval(&DEPRESSION, 0.025);
        near(found.low, -0.786, 1e-12);
        near(found.high, -0.010, 1e-12);
        near(found.level, 1.0 - 2.0 * 10.0 / 512.0, 1e-12);
    }

    /// Critical values of the usual table (one-sided 0.025): the highest sum that is still significant.
    #[test]
    fn critical_values() {
        for (n, critical) in [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (15, 25), (20, 52), (25, 89)] {
            let chances = chances_of_sums(&(1..=n).collect::<Vec<_>>());
            assert_eq!(last_within(&chances, 0.025).unwrap().0, critical, "n = {n}");
        }
        let short = chances_of_sums(&[1, 2, 3, 4, 5]);
        assert!(last_within(&short, 0.025).is_none());
        assert_eq!([0.05, 0.025, 0.01, 0.5].map(least), [5, 6, 7, 1]);
    }

    /// Enumeration of all signs by another road: 2ⁿ cases with mean ranks.
    #[test]
    fn ties_and_zeros_agree_with_enumeration() {
        for values in
            [vec![1.0, 1.0, -2.0, 3.0, 0.0, 0.0, 2.0], vec![0.0, 0.0, 1.0], vec![-1.0, 1.0, 1.0, 1.0, f64::INFINITY]]
        {
            let rank = |v: f64| {
                let below = values.iter().filter(|w| w.abs() < v.abs()).count() as f64;
                below + (values.iter().filter(|w| w.abs() == v.abs()).count() as f64 + 1.0) / 2.0
            };
            let ranks: Vec<f64> = values.iter().filter(|v| **v != 0.0).map(|v| rank(*v)).collect();
            let sum: f64 = values.iter().filter(|v| **v > 0.0).map(|v| rank(*v)).sum();
            let cases = 1u32 << ranks.len();
            let as_high = (0..cases)
                .filter(|case| {
                    ranks.iter().enumerate().filter(|(i, _)| case >> i & 1 == 1).map(|(_, r)| r).sum::<f64>() >= sum
                })
                .count();
            near(p_greater(&values, 0.0), as_high as f64 / f64::from(cases), 1e-12);
        }
    }

    #[test]
    fn no_difference_says_nothing() {
        assert_eq!((p_greater(&[], 0.0), p_greater(&[0.0; 9], 0.0), p_greater(&[0.3; 9], 0.3)), (1.0, 1.0, 1.0));
        assert_eq!(hodges_lehmann(&[]), None);
        assert_eq!(interval(&[], 0.025), Interval::WHOLE);
        assert_eq!(interval(&[1.0; 5], 0.025), Interval::WHOLE);
        let equal = interval(&[0.2; 7], 0.025);
        assert_eq!((equal.low, equal.high), (0.2, 0.2));
        near(p_greater(&[0.2; 7], 0.0), 1.0 / 128.0, 1e-15);
    }

    #[test]
    fn infinite_differences_have_a_place() {
        let inf = f64::INFINITY;
        near(p_greater(&[inf, 1.0, 2.0, inf, 1.0, 3.0, 1.0], 0.5), 1.0 / 128.0, 1e-15);
        assert_eq!(hodges_lehmann(&[inf, inf, 1.0]), Some(inf));
        assert_eq!(hodges_lehmann(&[inf, -inf]), Some(0.0));
        // One infinite pair among seven moves the interval's upper end, not the lower one.
        let found = interval(&[0.1, 0.11, 0.12, 0.13, 0.14, 0.15, inf], 0.025);
        assert!(found.low > 0.1 && found.high == inf, "{found:?}");
        let torn = interval(&[inf, -inf, inf, -inf, 0.0, 0.0, 0.0], 0.025);
        assert_eq!((torn.low, torn.high), (-inf, inf));
    }

    /// The interval excludes a shift exactly where the test does.
    #[test]
    fn interval_and_test_agree() {
        for risk in [0.005, 0.025, 0.1] {
            let found = interval(&DEPRESSION, risk);
            assert!(p_greater(&DEPRESSION, found.low - 1e-9) <= risk);
            assert!(p_greater(&DEPRESSION, found.low + 1e-9) > risk);
        }
    }
}
