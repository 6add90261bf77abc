//! Recovery times, which may never have ended within the run (*censored*): sign test, median, log-rank test.
//!
//! A censored time is infinite here: worse than every time seen, because all were watched equally long. It is shown as "> 60 s",
//! never as 60 s.

use super::normal;
use super::special::coin_at_least;
use super::{Interval, median_of_sorted, sorted};

/// The chance of so many differences above `shift`, or more, when each lies above or below it with equal chance (Arbuthnot 1710).
/// Those equal to `shift` say nothing and are left out (Dixon & Mood 1946). 1 of none.
pub fn p_greater(differences: &[f64], shift: f64) -> f64 {
    let above = differences.iter().filter(|d| **d > shift).count();
    let below = differences.iter().filter(|d| **d < shift).count();
    coin_at_least(above, above + below)
}

/// The interval of the median difference: two order statistics (Thompson 1936), each side at most `risk`; the level is given as attained.
/// The whole line when there are too few.
pub fn interval(differences: &[f64], risk: f64) -> Interval {
    let (all, n) = (sorted(differences.iter().copied()), differences.len());
    // P(X ≤ cut) = P(X ≥ n − cut): the interval from the value after `cut` others to its mirror.
    let Some(cut) = (0..n.div_ceil(2)).take_while(|cut| coin_at_least(n - cut, n) <= risk * (1.0 + 1e-12)).last()
    else {
        return Interval::WHOLE;
    };
    Interval { low: all[cut], high: all[n - 1 - cut], level: 1.0 - 2.0 * coin_at_least(n - cut, n) }
}

/// The median of times, the censored being infinite; itself infinite when half of them or more never recovered. None of none.
pub fn median(times: &[f64]) -> Option<f64> {
    median_of_sorted(&sorted(times.iter().copied()))
}

/// A time until recovery, or until nobody watched any longer. Unlike above, each may have been watched for a time of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// Seconds, or any unit.
    pub time: f64,
    /// It ended with a recovery.
    pub recovered: bool,
}

/// What the log-rank test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogRank {
    /// Recoveries of the second group.
    pub observed: f64,
    /// Recoveries it would have if both groups were alike.
    pub expected: f64,
    /// One-sided p that the second group recovers more slowly.
    pub p_slower: f64,
    /// Two-sided p of any difference.
    pub p: f64,
}

/// The log-rank test of two groups (Mantel 1966; Peto & Peto 1972), for more than ten faults. None when nothing can be
/// compared: an empty group, or no recovery while both were watched.
pub fn log_rank(first: &[Watched], second: &[Watched]) -> Option<LogRank> {
    let recoveries = first.iter().chain(second).filter(|w| w.recovered).map(|w| w.time);
    let mut times = sorted(recoveries);
    times.dedup();
    let (mut observed, mut expected, mut variance) = (0.0, 0.0, 0.0);
    for time in times {
        let at_risk = |group: &[Watched]| group.iter().filter(|w| w.time >= time).count() as f64;
        let ended = |group: &[Watched]| group.iter().filter(|w| w.recovered && w.time == time).count() as f64;
        let (n, n2) = (at_risk(first) + at_risk(second), at_risk(second));
        let (d, d2) = (ended(first) + ended(second), ended(second));
        observed += d2;
        expected += d * n2 / n;
        if n > 1.0 {
            // Hypergeometric: d of n end, n2 of them being in the second group.
            variance += d * (n2 / n) * (1.0 - n2 / n) * (n - d) / (n - 1.0);
        }
    }
    let z = (variance > 0.0).then(|| (observed - expected) / variance.sqrt())?;
    Some(LogRank { observed, expected, p_slower: normal::cdf(z), p: 2.0 * normal::upper(z.abs()) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn signs_are_counted() {
        near(p_greater(&[1.0; 7], 0.0), 1.0 / 128.0, 1e-14);
        near(p_greater(&[1.0, 2.0, 3.0, INF, 1.0, -1.0, 0.0], 0.0), 7.0 / 64.0, 1e-14);
        assert_eq!((p_greater(&[], 0.0), p_greater(&[0.0; 5], 0.0)), (1.0, 1.0));
    }

    /// The usual table of order statistics at 95 %: n = 6 first and last; n = 10 second and ninth (97.9 %); n = 20 sixth and 15th (95.9 %).
    #[test]
    fn the_interval_of_a_median() {
        for (n, first, level) in [(6, 1, 0.968_75), (10, 2, 0.978_5), (20, 6, 0.958_6)] {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let found = interval(&values, 0.025);
            assert_eq!((found.low, found.high), (f64::from(first), f64::from(n + 1 - first)));
            near(found.level, level, 5e-5);
        }
        assert_eq!(interval(&[1.0; 5], 0.025), Interval::WHOLE);
        assert_eq!(interval(&[], 0.5), Interval::WHOLE);
    }

    #[test]
    fn a_median_may_be_censored() {
        assert_eq!(median(&[3.0, INF, 1.0]), Some(3.0));
        assert_eq!(median(&[3.0, INF]), Some(INF));
        assert_eq!(median(&[INF, INF]), Some(INF));
        assert_eq!(median(&[]), None);
    }

    /// Freireich et al. (1963), weeks of remission under placebo and 6-MP: expected 10.75 and 19.25, χ² = 16.79 (Collett, Modelling
    /// Survival Data; R's `survdiff`).
    #[test]
    fn the_leukaemia_trial() {
        let seen = |time: u8| Watched { time: f64::from(time), recovered: true };
        let still = |time: u8| Watched { time: f64::from(time), recovered: false };
        let placebo: Vec<_> =
            [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23].map(seen).into_iter().collect();
        let treated: Vec<_> = [6, 6, 6, 7, 10, 13, 16, 22, 23]
            .map(seen)
            .into_iter()
            .chain([6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35].map(still))
            .collect();
        let found = log_rank(&placebo, &treated).unwrap();
        assert_eq!(found.observed, 9.0);
        near(found.expected, 19.25, 5e-3 / 19.0);
        near(normal::quantile(found.p / 2.0).powi(2), 16.79, 5e-3 / 16.0);
        near(found.p_slower, found.p / 2.0, 1e-12);
        let other = log_rank(&treated, &placebo).unwrap();
        near(other.expected, 10.75, 5e-3 / 10.0);
        near(other.p_slower, 1.0 - found.p / 2.0, 1e-12);
    }

    #[test]
    fn nothing_to_compare() {
        let still = [Watched { time: 60.0, recovered: false }; 3];
        let seen = [Watched { time: 6.0, recovered: true }];
        assert_eq!(log_rank(&still, &still), None);
        assert_eq!(log_rank(&[], &seen), None);
        assert_eq!(log_rank(&[], &[]), None);
    }
}
