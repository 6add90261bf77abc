//! Many p values at once.

/// Holm's adjusted p values (Holm 1979), in the order given: comparing each with a risk keeps the chance of *any* false claim below it.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut highest = 0.0f64;
    adjust(p, |rank, n| {
        highest = highest.max(p[rank.1] * (n - rank.0) as f64).min(1.0);
        highest
    })
}

/// Adjusted p values (q values) of Benjamini & Hochberg (1995), in the order given: comparing each with a rate keeps the expected *share* of
/// false claims below it. For advice, where a false claim costs little.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = adjust(p, |rank, n| (p[rank.1] * n as f64 / (rank.0 + 1) as f64).min(1.0));
    // Each is at most what any larger p gets.
    let mut lowest = 1.0f64;
    for index in ascending(p).into_iter().rev() {
        lowest = lowest.min(adjusted[index]);
        adjusted[index] = lowest;
    }
    adjusted
}

/// Calls `value` with (rank from 0, index) from the smallest p upwards.
fn adjust(p: &[f64], mut value: impl FnMut((usize, usize), usize) -> f64) -> Vec<f64> {
    let mut adjusted = vec![1.0; p.len()];
    for rank in ascending(p).into_iter().enumerate() {
        adjusted[rank.1] = value(rank, p.len());
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    order
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    #[test]
    fn holm_by_hand() {
        let got = holm(&[0.04, 0.01, 0.03]);
        for (got, want) in got.iter().zip([0.06, 0.03, 0.06]) {
            near(*got, want, 1e-15);
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    /// The 15 p values of Benjamini & Hochberg's own example: at 0.05 the first four are claimed, by Bonferroni three.
    #[test]
    fn the_paper_of_benjamini_and_hochberg() {
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
            0.7590, 1.0,
        ];
        let q = benjamini_hochberg(&p);
        assert_eq!(q.iter().filter(|q| **q <= 0.05).count(), 4);
        near(q[3], 0.0095 * 15.0 / 4.0, 1e-15);
        // The sixth and seventh: 0.0278 · 15/6 is above 0.0298 · 15/7, so both get the latter.
        near(q[5], 0.0298 * 15.0 / 7.0, 1e-15);
        assert_eq!(holm(&p).iter().filter(|p| **p <= 0.05).count(), 3);
        assert!(benjamini_hochberg(&[]).is_empty());
    }
}
