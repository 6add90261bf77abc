//! Counters as what people read: growth per second. Pure.

/// Two readings further apart than this many times the usual have a gap between them.
pub const APART: f64 = 1.6;

/// Growth per second from each reading to the next, at the later one. A value below the one before is a counter that began anew at
/// zero: what it shows has grown since then. None across a gap, at the first reading, and where a value is no number.
pub fn rates(points: &[(f64, Option<f64>)], every_s: f64) -> Vec<(f64, Option<f64>)> {
    let one = |pair: &[(f64, Option<f64>)]| {
        let (before, now) = (pair[0], pair[1]);
        let seconds = now.0 - before.0;
        let grown = before.1.zip(now.1).map(|(old, new)| if new >= old { new - old } else { new });
        (now.0, grown.filter(|_| seconds > 0.0 && seconds <= APART * every_s).map(|g| g / seconds))
    };
    points.first().map(|p| (p.0, None)).into_iter().chain(points.windows(2).map(one)).collect()
}

/// How often a counter began anew.
pub fn resets(points: &[(f64, f64)]) -> u64 {
    points.windows(2).filter(|w| w[1].1 < w[0].1).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_resets_and_gaps() {
        let points =
            [(0.0, Some(5.0)), (1.0, Some(15.0)), (2.0, Some(15.0)), (3.0, Some(4.0)), (5.5, Some(9.0)), (6.5, None)];
        let wanted = [(0.0, None), (1.0, Some(10.0)), (2.0, Some(0.0)), (3.0, Some(4.0)), (5.5, None), (6.5, None)];
        assert_eq!(rates(&points, 1.0), wanted);
        assert_eq!(rates(&[], 1.0), []);
        assert_eq!(resets(&[(0.0, 5.0), (1.0, 15.0), (2.0, 3.0), (3.0, 4.0)]), 1);
    }
}
