//! The Universal Scalability Law: what more concurrency would bring, and from where it takes away.
//!
//! X(N) = λ N / (1 + α (N − 1) + β N (N − 1)), with λ what one request at a time gets done per second, α the share that queues for
//! something, β the price of keeping copies in step. Above N* = √((1 − α) / β) more load yields less. Sources: Gunther 1993 and
//! "Guerrilla Capacity Planning" 2007; the fit by Levenberg 1944 and Marquardt 1963, kept where α, β ≥ 0.
//!
//! Owns the fit, its intervals and how far it may be trusted. Leaves alone where N comes from: it is Little's law, N = X R, with the
//! **measured** mean of requests in flight, not a number of threads.

use super::{Below, Interval, above_zero};

/// Fewer loads than this say nothing about three unknowns.
const FEWEST: usize = 6;
/// How far beyond the largest load the law may be asked.
const REACH: f64 = 2.0;
/// Resamples of the intervals.
const RESAMPLES: usize = 500;
/// Steps of one fit; it settles after about ten.
const STEPS: usize = 200;

/// One load as measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Mean requests in flight, above zero.
    pub concurrency: f64,
    /// Answers per second, above zero.
    pub throughput: f64,
}

/// The three numbers of the law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    /// λ, per second, above zero.
    pub lambda: f64,
    /// α, contention, 0 or above.
    pub alpha: f64,
    /// β, coherency, 0 or above.
    pub beta: f64,
}

impl Law {
    /// X(N). Zero where the law has no meaning: N not above zero, or (far below 1) a denominator that is not.
    pub fn throughput(&self, n: f64) -> f64 {
        let below = self.denominator(n);
        if n > 0.0 && below > 0.0 { self.lambda * n / below } else { 0.0 }
    }

    /// N*, at least 1; infinite without coherency.
    pub fn peak(&self) -> f64 {
        if self.beta > 0.0 { ((1.0 - self.alpha).max(0.0) / self.beta).sqrt().max(1.0) } else { f64::INFINITY }
    }

    fn denominator(&self, n: f64) -> f64 {
        1.0 + self.alpha * (n - 1.0) + self.beta * n * (n - 1.0)
    }
}

/// The law that fits best, and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Least squares of X.
    pub law: Law,
    /// Interval of λ.
    pub lambda: Interval,
    /// Interval of α.
    pub alpha: Interval,
    /// Interval of β.
    pub beta: Interval,
    /// N* with its interval. None: β's interval holds 0, say "no retrograde region seen".
    pub peak: Option<Peak>,
    /// The largest concurrency that was measured.
    pub largest: f64,
}

/// Where more load starts to yield less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// N*.
    pub at: f64,
    /// From resampling; `high` is infinite when too many resamples had no peak.
    pub interval: Interval,
    /// N* lies farther out than twice the largest load: a guess, not to be planned with.
    pub beyond: bool,
}

impl Fit {
    /// X(N) up to twice the largest load that was measured; none beyond, where nobody knows.
    pub fn throughput(&self, n: f64) -> Option<f64> {
        (n > 0.0 && n <= REACH * self.largest).then(|| self.law.throughput(n))
    }
}

/// Fits the law. The intervals are a wild bootstrap (Wu 1986; signs as in Davidson & Flachaire 2008): each load keeps its own distance
/// from the law and draws its sign anew. That asks for no equal noise at small and large loads, and loses no load, as drawing whole points
/// would.
///
/// # Errors
/// Says what is wrong with a load, or that there are fewer than six different ones.
pub fn fit(loads: &[Load], below: Below<'_>) -> Result<Fit, String> {
    let mut different = Vec::new();
    for load in loads {
        different.push(plausible("concurrency", load.concurrency)?);
        plausible("throughput", load.throughput)?;
    }
    different.sort_by(f64::total_cmp);
    different.dedup();
    if different.len() < FEWEST {
        return Err(format!("{FEWEST} different loads are needed, got {}", different.len()));
    }
    let law = best(loads);
    let [lambda, alpha, beta, peak] = intervals(&law, loads, below);
    let largest = different[different.len() - 1];
    let at = law.peak();
    let peak = (beta.low > 0.0 && at.is_finite()).then_some(Peak { at, interval: peak, beyond: at > REACH * largest });
    Ok(Fit { law, lambda, alpha, beta, peak, largest })
}

/// Far from where squares overflow or vanish.
fn plausible(what: &str, value: f64) -> Result<f64, String> {
    match above_zero(what, value)? {
        1e-30..=1e30 => Ok(value),
        _ => Err(format!("{what}: must be between 1e-30 and 1e30, got {value:e}")),
    }
}

/// Intervals of λ, α, β, N*.
fn intervals(law: &Law, loads: &[Load], below: Below<'_>) -> [Interval; 4] {
    let off = residuals(law, loads);
    let mut seen: [Vec<f64>; 4] = Default::default();
    for _ in 0..RESAMPLES {
        let redrawn: Vec<_> = loads
            .iter()
            .zip(&off)
            .map(|(load, off)| {
                let expected = law.throughput(load.concurrency);
                let sign = if below(2) == 0 { 1.0 } else { -1.0 };
                // A throughput is above zero, whatever was drawn.
                Load { throughput: (expected + sign * off).max(0.01 * expected), ..*load }
            })
            .collect();
        let again = best(&redrawn);
        for (list, value) in seen.iter_mut().zip([again.lambda, again.alpha, again.beta, again.peak()]) {
            list.push(value);
        }
    }
    // There are resamples, so that the default is never taken.
    seen.map(|list| Interval::middle(list).unwrap_or(Interval { low: 0.0, high: f64::INFINITY }))
}

/// How far each load is off the law, divided by the share of it that the fit could not take for itself (1 − leverage; HC3 of MacKinnon
/// & White 1985): a load at the end pulls the law towards itself and looks better than it is.
fn residuals(law: &Law, loads: &[Load]) -> Vec<f64> {
    let unit = [law.lambda, 1.0, 1.0];
    let (matrix, _) = normal_equations(law, loads, &unit);
    let free: Vec<usize> =
        [law.lambda, law.alpha, law.beta].iter().enumerate().filter(|v| *v.1 > 0.0).map(|v| v.0).collect();
    let of_load = |load: &Load| {
        let row = slopes(law, load.concurrency, &unit);
        let leverage: f64 = free.iter().zip(solve(&matrix, &row, &free, 0.0)).map(|(i, v)| row[*i] * v).sum();
        (load.throughput - law.throughput(load.concurrency)) / (1.0 - leverage).clamp(0.1, 1.0)
    };
    loads.iter().map(of_load).collect()
}

/// Levenberg-Marquardt from the best place of a coarse grid.
fn best(loads: &[Load]) -> Law {
    let largest = loads.iter().map(|l| l.concurrency).fold(0.0, f64::max);
    // A unit in which α and β matter alike: at 1 each doubles the denominator at the largest load.
    let unit = [1.0, 1.0 / largest, 1.0 / (largest * largest)];
    let mut law = start(loads, &unit);
    let mut error = squares(&law, loads);
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        let next = step(&law, loads, &unit, damping);
        let after = squares(&next, loads);
        if after < error {
            let settled = error - after <= 1e-15 * error;
            (law, error, damping) = (next, after, (damping * 0.2).max(1e-12));
            if settled {
                break;
            }
        } else if damping > 1e12 {
            break;
        } else {
            damping *= 5.0;
        }
    }
    // What changes no throughput by a millionth is none.
    let snap = |value: f64, unit: f64| if value < 1e-6 * unit { 0.0 } else { value };
    Law { alpha: snap(law.alpha, unit[1]), beta: snap(law.beta, unit[2]), ..law }
}

/// For given α and β the best λ is a ratio of sums, so that only two numbers are searched.
fn start(loads: &[Load], unit: &[f64; 3]) -> Law {
    let grid = [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
    let mut found = (f64::INFINITY, Law { lambda: 1.0, alpha: 0.0, beta: 0.0 });
    for (a, b) in grid.iter().flat_map(|a| grid.iter().map(move |b| (a, b))) {
        let shape = Law { lambda: 1.0, alpha: a * unit[1], beta: b * unit[2] };
        let (mut product, mut square) = (0.0, 0.0);
        for load in loads {
            let y = shape.throughput(load.concurrency);
            product += y * load.throughput;
            square += y * y;
        }
        if square > 0.0 && product > 0.0 {
            let law = Law { lambda: product / square, ..shape };
            let error = squares(&law, loads);
            if error < found.0 {
                found = (error, law);
            }
        }
    }
    found.1
}

/// One damped step, in units that are alike. A number that stands at 0 and would go below stays there, and the others are solved
/// for without it.
fn step(law: &Law, loads: &[Load], unit: &[f64; 3], damping: f64) -> Law {
    let unit = [law.lambda, unit[1], unit[2]];
    let now = [law.lambda, law.alpha, law.beta];
    let (matrix, slope) = normal_equations(law, loads, &unit);
    let free: Vec<usize> = (0..3).filter(|i| now[*i] > 0.0 || slope[*i] > 0.0).collect();
    let mut next = now;
    for (i, moved) in free.iter().zip(solve(&matrix, &slope, &free, damping)) {
        next[*i] = (now[*i] + moved * unit[*i]).max(0.0);
    }
    Law { lambda: if next[0] > 0.0 { next[0] } else { now[0] / 2.0 }, alpha: next[1], beta: next[2] }
}

/// JᵀJ and Jᵀr.
fn normal_equations(law: &Law, loads: &[Load], unit: &[f64; 3]) -> ([[f64; 3]; 3], [f64; 3]) {
    let (mut matrix, mut slope) = ([[0.0; 3]; 3], [0.0; 3]);
    for load in loads {
        let row = slopes(law, load.concurrency, unit);
        for i in 0..3 {
            slope[i] += row[i] * (load.throughput - law.throughput(load.concurrency));
            for j in 0..3 {
                matrix[i][j] += row[i] * row[j];
            }
        }
    }
    (matrix, slope)
}

/// What X(N) gains when λ, α, β grow by one unit each; nothing where the law has no meaning.
fn slopes(law: &Law, n: f64, unit: &[f64; 3]) -> [f64; 3] {
    let (x, below) = (law.throughput(n), law.denominator(n));
    if x == 0.0 {
        return [0.0; 3];
    }
    [x / law.lambda * unit[0], -x * (n - 1.0) / below * unit[1], -x * n * (n - 1.0) / below * unit[2]]
}

/// Gaussian elimination over the free unknowns, the diagonal raised by the damping. A pivot of nothing moves nothing.
fn solve(matrix: &[[f64; 3]; 3], slope: &[f64; 3], free: &[usize], damping: f64) -> Vec<f64> {
    let size = free.len();
    let mut rows: Vec<Vec<f64>> = free
        .iter()
        .map(|i| {
            let mut row: Vec<f64> =
                free.iter().map(|j| matrix[*i][*j] * if i == j { 1.0 + damping } else { 1.0 }).collect();
            row.push(slope[*i]);
            row
        })
        .collect();
    for k in 0..size {
        let (done, rest) = rows.split_at_mut(k + 1);
        let pivot = &done[k];
        if pivot[k] <= 0.0 {
            return vec![0.0; size];
        }
        // The matrix is symmetric and positive definite, so that no rows need to change places.
        for row in rest {
            let share = row[k] / pivot[k];
            row.iter_mut().zip(pivot).skip(k).for_each(|(value, above)| *value -= share * above);
        }
    }
    let mut found = vec![0.0; size];
    for k in (0..size).rev() {
        let known: f64 = (k + 1..size).map(|j| rows[k][j] * found[j]).sum();
        found[k] = (rows[k][size] - known) / rows[k][k];
    }
    found
}

fn squares(law: &Law, loads: &[Load]) -> f64 {
    loads.iter().map(|l| (l.throughput - law.throughput(l.concurrency)).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::chance;
    use super::*;

    fn loads(points: &[(f64, f64)]) -> Vec<Load> {
        points.iter().map(|&(concurrency, throughput)| Load { concurrency, throughput }).collect()
    }

    fn close(ours: f64, theirs: f64, share: f64) -> bool {
        (ours - theirs).abs() <= share * theirs.abs()
    }

    /// Cisco's benchmark in Schwartz, "Practical Scalability Analysis with the Universal Scalability Law" (2015), with the book's
    /// coefficients.
    #[test]
    fn the_published_fit_of_ciscos_benchmark() {
        let throughput = [
            955.16, 1878.91, 2688.01, 3548.68, 4315.54, 5130.43, 5931.37, 6531.08, 7219.8, 7867.61, 8278.71, 8646.7,
            9047.84, 9426.55, 9645.37, 9897.24, 10097.6, 10240.5, 10532.39, 10798.52, 11151.43, 11518.63, 11806.0,
            12089.37, 12075.41, 12177.29, 12211.41, 12158.93, 12155.27, 12118.04, 12140.4, 12074.39,
        ];
        let points: Vec<_> = throughput.iter().enumerate().map(|(i, x)| (i as f64 + 1.0, *x)).collect();
        let fit = fit(&loads(&points), &mut chance(1)).unwrap();
        assert!(close(fit.law.lambda, 995.6486, 1e-5), "{fit:?}");
        assert!(close(fit.law.alpha, 0.02671591, 1e-5), "{fit:?}");
        assert!(close(fit.law.beta, 7.690945e-4, 1e-5), "{fit:?}");
        let peak = fit.peak.unwrap();
        assert!(close(peak.at, 35.57, 1e-3) && !peak.beyond, "{fit:?}");
        assert!(peak.interval.low > 31.0 && peak.interval.high < 43.0, "{fit:?}");
        assert!(close(fit.throughput(64.0).unwrap(), fit.law.throughput(64.0), 0.0));
        assert_eq!(fit.throughput(64.1), None, "twice as far and no farther");
    }

    /// SPEC SDM91 on a Sun SPARCcenter 2000 (Gunther); scipy 1.17 `least_squares` with bounds gives these to six digits.
    #[test]
    fn it_agrees_with_scipy_far_beyond_the_peak() {
        let points = [
            (1.0, 64.9),
            (18.0, 995.9),
            (36.0, 1652.4),
            (72.0, 1853.2),
            (108.0, 1828.9),
            (144.0, 1775.0),
            (216.0, 1702.2),
        ];
        let fit = fit(&loads(&points), &mut chance(1)).unwrap();
        assert!(close(fit.law.lambda, 89.9951833, 1e-5), "{fit:?}");
        assert!(close(fit.law.alpha, 0.0277284140, 1e-5), "{fit:?}");
        assert!(close(fit.law.beta, 1.04365772e-4, 1e-5), "{fit:?}");
        assert!(close(fit.peak.unwrap().at, 96.5194307, 1e-5), "{fit:?}");
    }

    /// Contention only: λ = 100, α = 0.05, and a last throughput 5 % above. scipy puts β on its bound, and so do we.
    #[test]
    fn a_coherency_below_zero_is_held_at_zero() {
        let n = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let noise = [0.98, 1.01, 0.99, 1.0, 1.0, 1.05];
        let points: Vec<_> = n.iter().zip(noise).map(|(n, e)| (*n, e * 100.0 * n / (1.0 + 0.05 * (n - 1.0)))).collect();
        let fit = fit(&loads(&points), &mut chance(1)).unwrap();
        assert!(close(fit.law.lambda, 95.7422431, 1e-5), "{fit:?}");
        assert!(close(fit.law.alpha, 0.0431251039, 1e-5), "{fit:?}");
        assert_eq!((fit.law.beta, fit.beta.low, fit.peak), (0.0, 0.0, None));
        assert_eq!(fit.law.peak(), f64::INFINITY);
    }

    #[test]
    fn a_service_that_scales_is_a_line() {
        let points: Vec<_> = (1..=8).map(|n| (f64::from(n), 50.0 * f64::from(n))).collect();
        let fit = fit(&loads(&points), &mut chance(1)).unwrap();
        assert!(close(fit.law.lambda, 50.0, 1e-9) && fit.law.alpha == 0.0 && fit.law.beta == 0.0, "{fit:?}");
        assert!(fit.peak.is_none());
    }

    /// 3 % of noise on eight loads: both intervals hold the truth about as often as they say.
    #[test]
    fn intervals_hold_the_truth() {
        let truth = Law { lambda: 120.0, alpha: 0.04, beta: 0.001 };
        let (mut alpha, mut peak, rounds) = (0, 0, 100);
        for seed in 0..rounds {
            let mut draw = chance(seed);
            // The sum of twelve uniform numbers is nearly normal, with standard deviation 1.
            let mut normal = || (0..12).map(|_| draw(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0;
            let points: Vec<_> = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 48.0, 64.0]
                .map(|n| (n, truth.throughput(n) * (1.0 + 0.03 * normal())))
                .to_vec();
            let fit = fit(&loads(&points), &mut chance(seed + 1000)).unwrap();
            alpha += u32::from(fit.alpha.low <= truth.alpha && truth.alpha <= fit.alpha.high);
            peak +=
                u32::from(fit.peak.is_some_and(|p| p.interval.low <= truth.peak() && truth.peak() <= p.interval.high));
        }
        assert!(alpha >= 85 && peak >= 85, "{alpha} and {peak} of {rounds}");
    }

    /// Little's law gives less than one request in flight on a quiet service.
    #[test]
    fn less_than_one_in_flight_is_a_load_too() {
        let law = Law { lambda: 100.0, alpha: 0.1, beta: 0.002 };
        let points: Vec<_> = [0.1, 0.5, 1.0, 4.0, 12.0, 30.0, 60.0].map(|n| (n, law.throughput(n))).to_vec();
        let fit = fit(&loads(&points), &mut chance(1)).unwrap();
        assert!(close(fit.law.lambda, 100.0, 1e-6) && close(fit.law.beta, 0.002, 1e-5), "{fit:?}");
    }

    #[test]
    fn numbers_of_any_size_give_numbers() {
        for scale in [1e-9, 1.0, 1e12] {
            for shape in [[1.0; 7], [7.0, 1.0, 6.0, 2.0, 5.0, 3.0, 4.0], [1.0, 1e3, 1e-3, 1e6, 1.0, 1e-6, 1.0]] {
                let points: Vec<_> = shape.iter().enumerate().map(|(i, x)| (i as f64 + 0.01, scale * x)).collect();
                let fit = fit(&loads(&points), &mut chance(1)).unwrap();
                let all = [fit.law.lambda, fit.law.alpha, fit.law.beta, fit.alpha.high, fit.beta.high, fit.lambda.low];
                assert!(all.iter().all(|v| v.is_finite() && *v >= 0.0), "{fit:?}");
                assert!(fit.peak.is_none_or(|p| p.at >= 1.0 && !p.interval.high.is_nan()), "{fit:?}");
            }
        }
    }

    #[test]
    fn too_few_or_broken_loads_are_refused() {
        let five = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0), (5.0, 5.0), (5.0, 5.1)];
        assert_eq!(fit(&loads(&five), &mut chance(1)).unwrap_err(), "6 different loads are needed, got 5");
        for bad in [(0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (1.0, f64::INFINITY), (1.0, 1e200), (1e-200, 1.0)] {
            assert!(fit(&loads(&[bad; 7]), &mut chance(1)).is_err());
        }
    }
}
