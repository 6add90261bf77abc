//! Shares of independent events: k of n. Within one run events are seldom independent, so these intervals are a floor there.

use super::Interval;
use super::normal;
use super::special::beta_quantile;

/// k events among n. `k` is at most `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Events counted.
    pub k: u64,
    /// Chances there were.
    pub n: u64,
}

impl Share {
    /// k / n; 0 of none.
    pub fn value(self) -> f64 {
        if self.n == 0 { 0.0 } else { self.k as f64 / self.n as f64 }
    }
}

/// Wilson's score interval (Wilson 1927), each side at `risk`. From 0 to 1 without a single chance.
pub fn wilson(share: Share, risk: f64) -> Interval {
    assert!(share.k <= share.n, "{} of {}", share.k, share.n);
    if share.n == 0 {
        return Interval { low: 0.0, high: 1.0, level: 1.0 };
    }
    let (n, p, z) = (share.n as f64, share.value(), normal::quantile(1.0 - risk));
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // The ends that are exact by algebra are not left to rounding.
    Interval {
        low: if share.k == 0 { 0.0 } else { (centre - half) / scale },
        high: if share.k == share.n { 1.0 } else { (centre + half) / scale },
        level: 1.0 - 2.0 * risk,
    }
}

/// The difference b − a of two independent shares from their Wilson intervals (Newcombe 1998, method 10), each side at `risk`.
pub fn newcombe(a: Share, b: Share, risk: f64) -> Interval {
    let (of_a, of_b) = (wilson(a, risk), wilson(b, risk));
    let difference = b.value() - a.value();
    let down = (b.value() - of_b.low).hypot(of_a.high - a.value());
    let up = (of_b.high - b.value()).hypot(a.value() - of_a.low);
    Interval { low: (difference - down).max(-1.0), high: (difference + up).min(1.0), level: 1.0 - 2.0 * risk }
}

/// The exact interval (Clopper & Pearson 1934), each side at most `risk`: never too narrow, often too wide.
pub fn clopper_pearson(share: Share, risk: f64) -> Interval {
    assert!(share.k <= share.n, "{} of {}", share.k, share.n);
    let (k, rest) = (share.k as f64, (share.n - share.k) as f64);
    Interval {
        low: if share.k == 0 { 0.0 } else { beta_quantile(k, rest + 1.0, risk) },
        high: if share.k == share.n { 1.0 } else { beta_quantile(k + 1.0, rest, 1.0 - risk) },
        level: 1.0 - 2.0 * risk,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    fn of(k: u64, n: u64) -> Share {
        Share { k, n }
    }

    fn is(found: Interval, low: f64, high: f64) {
        near(found.low, low, 5.1e-5);
        near(found.high, high, 5.1e-5);
    }

    /// Newcombe 1998 (Stat. Med. 17, 857-872), table I.
    #[test]
    fn single_shares_as_published() {
        for (k, n, score, exact) in [
            (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
            (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
            (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
            (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
        ] {
            is(wilson(of(k, n), 0.025), score.0, score.1);
            is(clopper_pearson(of(k, n), 0.025), exact.0, exact.1);
        }
    }

    /// Newcombe 1998 (Stat. Med. 17, 873-890), table II, method 10.
    #[test]
    fn differences_as_published() {
        for (b, a, low, high) in [
            (of(56, 70), of(48, 80), 0.0524, 0.3339),
            (of(9, 10), of(3, 10), 0.1705, 0.8090),
            (of(6, 7), of(2, 7), 0.0582, 0.8062),
            (of(5, 56), of(0, 29), -0.0381, 0.1926),
            (of(0, 10), of(0, 20), -0.1611, 0.2775),
            (of(0, 10), of(0, 10), -0.2775, 0.2775),
            (of(10, 10), of(0, 20), 0.6791, 1.0),
            (of(10, 10), of(0, 10), 0.6075, 1.0),
        ] {
            is(newcombe(a, b, 0.025), low, high);
        }
    }

    #[test]
    fn of_nothing() {
        is(wilson(of(0, 0), 0.025), 0.0, 1.0);
        is(clopper_pearson(of(0, 0), 0.025), 0.0, 1.0);
        let found = newcombe(of(0, 0), of(3, 10), 0.025);
        assert!(found.low >= -1.0 && found.high <= 1.0 && found.low < found.high);
        assert_eq!(of(0, 0).value(), 0.0);
    }
}
