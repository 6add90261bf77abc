//! Special functions that the distributions are made of.

use super::bisect;

/// ln Γ(x) for x > 0, to about 15 digits. Lanczos (1964), g = 7 with nine terms.
pub fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection: Γ(x) Γ(1 − x) = π / sin πx.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let base = x + 7.5;
    let sum = TERMS.iter().enumerate().skip(1).fold(TERMS[0], |sum, (i, term)| sum + term / (x + i as f64));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * base.ln() - base + sum.ln()
}

/// The regularised incomplete beta function I_x(a, b), for a, b > 0 and x in 0 ..= 1: the cumulative distribution of Beta(a, b).
///
/// Continued fraction of DLMF 8.17.22, evaluated by Lentz's method (Lentz 1976; Thompson & Barnett 1986), on the side of the
/// mean where it converges fast.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    assert!(a > 0.0 && b > 0.0, "the beta distribution has positive parameters: {a}, {b}");
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    if x < (a + 1.0) / (a + b + 2.0) {
        (front.exp() * beta_fraction(a, b, x) / a).min(1.0)
    } else {
        (1.0 - front.exp() * beta_fraction(b, a, 1.0 - x) / b).max(0.0)
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    // Terms needed grow with √max(a, b): this many are enough for samples of 10^9.
    const MOST: u32 = 100_000;
    let kept = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / kept(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..=MOST {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut last = 1.0;
        for term in [even, odd] {
            d = 1.0 / kept(1.0 + term * d);
            c = kept(1.0 + term / c);
            last = c * d;
            fraction *= last;
        }
        if (last - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The x at which I_x(a, b) is `p`.
pub fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    bisect(0.0, 1.0, |x| incomplete_beta(a, b, x) - p)
}

/// The chance of `k` or more heads among `n` throws of a fair coin.
pub fn coin_at_least(k: usize, n: usize) -> f64 {
    match k {
        0 => 1.0,
        k if k > n => 0.0,
        k => incomplete_beta(k as f64, (n - k) as f64 + 1.0, 0.5),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    #[test]
    fn gamma_is_the_factorial() {
        near(ln_gamma(1.0), 0.0, 1e-14);
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-14);
        near(ln_gamma(0.1), 2.252_712_651_734_206, 1e-13);
        let factorial: f64 = (1..=20u32).map(f64::from).product();
        near(ln_gamma(21.0), factorial.ln(), 1e-14);
    }

    /// `tests/python/check_statistics.py` compares more of it with scipy.
    #[test]
    fn beta_agrees_with_closed_forms_and_its_mirror() {
        near(incomplete_beta(1.0, 1.0, 0.3), 0.3, 1e-14);
        near(incomplete_beta(3.0, 1.0, 0.5), 0.125, 1e-14);
        // Arcsine law.
        near(incomplete_beta(0.5, 0.5, 0.25), 1.0 / 3.0, 1e-13);
        for (a, b, x) in [(2.0, 5.0, 0.1), (20.5, 3.25, 0.9), (1e5, 2e5, 0.334), (1e6, 3e3, 0.997)] {
            near(incomplete_beta(a, b, x) + incomplete_beta(b, a, 1.0 - x), 1.0, 1e-8);
        }
    }

    #[test]
    fn quantile_undoes_beta() {
        for p in [1e-6, 0.025, 0.5, 0.99] {
            near(incomplete_beta(4.0, 17.0, beta_quantile(4.0, 17.0, p)), p, 1e-13);
        }
    }

    #[test]
    fn coins_fall_as_counted() {
        near(coin_at_least(7, 7), 1.0 / 128.0, 1e-14);
        near(coin_at_least(6, 7), 8.0 / 128.0, 1e-14);
        assert_eq!((coin_at_least(0, 0), coin_at_least(1, 0)), (1.0, 0.0));
    }
}
