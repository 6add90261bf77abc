//! The standard normal distribution.

use super::bisect;

/// The chance of a value above `z`, without loss of digits in the far tail.
///
/// Near the middle Marsaglia's series (Evaluating the Normal Distribution, J. Stat. Softw. 11(4), 2004); in the tails Laplace's
/// continued fraction (DLMF 7.9.2).
pub fn upper(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper(-z);
    }
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z > 3.0 {
        // From the inside out; 200 terms are exact to the last bit from 3 on.
        let fraction = (1..=200).rev().fold(z, |rest, k| z + f64::from(k) / rest);
        return density / fraction;
    }
    let mut term = z;
    let mut sum = z;
    let mut k = 1.0;
    while term > sum * 1e-17 {
        k += 2.0;
        term *= z * z / k;
        sum += term;
    }
    0.5 - density * sum
}

/// The chance of a value of at most `z`.
pub fn cdf(z: f64) -> f64 {
    upper(-z)
}

/// The value that a share `p` lies below. 0 and 1 give the infinities.
pub fn quantile(p: f64) -> f64 {
    match p {
        p if p <= 0.0 => f64::NEG_INFINITY,
        p if p >= 1.0 => f64::INFINITY,
        p if p > 0.5 => bisect(0.0, 10.0, |z| (1.0 - p) - upper(z)),
        p => bisect(-40.0, 0.0, |z| upper(-z) - p),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    /// The tables of every textbook; the far tail is Φ(−10) of Abramowitz & Stegun, table 26.2.
    #[test]
    fn tail_and_quantile_agree_with_the_tables() {
        near(upper(0.0), 0.5, 1e-16);
        near(cdf(1.0), 0.841_344_746_068_542_9, 1e-15);
        near(upper(1.959_963_984_540_054), 0.025, 1e-15);
        near(upper(10.0) / 7.619_853_024_160_527e-24, 1.0, 1e-13);
        near(quantile(0.975), 1.959_963_984_540_054, 1e-13);
        near(quantile(0.001), -3.090_232_306_167_813_5, 1e-13);
        assert_eq!((quantile(0.0), quantile(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn both_ways_of_the_tail_meet() {
        near(upper(3.0), upper(3.0 + 1e-12), 1e-13);
        near(upper(3.0), 0.001_349_898_031_630_094_5, 1e-15);
    }
}
