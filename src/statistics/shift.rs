//! The shift function: by how much each quantile differs between two sets of runs.
//!
//! Sources: Doksum & Sievers 1976; Rousselet, Pernet & Wilcox 2017. A quantile of a set is the mean of its runs' own quantiles, and
//! whole runs are drawn for the band (Davison & Hinkley 1997, section 3.8): the run is the unit of evidence.

use super::quantile::{Bucket, quantile};
use super::{normal, sorted, student};

/// The quantiles that are compared.
pub const QUANTILES: [f64; 21] = [
    0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99,
    0.999,
];
/// Resamples: the expanded ends lie near 0.4 % for seven runs, so that some eight of them stand outside.
const RESAMPLES: usize = 2_000;
/// Chance that the truth lies outside one side of the band, per quantile.
const RISK: f64 = 0.025;

/// One quantile of both sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Which: in (0, 1).
    pub q: f64,
    /// Of the first set, in the unit of the values.
    pub a: f64,
    /// Of the second.
    pub b: f64,
    /// Lower end of the 95 % band of b − a; none with fewer than two runs on a side, which tell nothing of other runs.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Shift {
    /// b − a.
    pub fn difference(self) -> f64 {
        self.b - self.a
    }
}

/// The shift function between two sets of runs, each run being buckets sorted by finite value. Runs without values are left out. With
/// `paired`, runs of the same place belong together and are drawn together. Empty when a side has no values.
///
/// The band is for each quantile by itself, not for all at once. It is the percentile interval, widened for few runs as Hesterberg (What
/// Teachers Should Know About the Bootstrap, 2015, section 5.3) does: plain, seven runs would give some 88 % instead of 95 %.
pub fn shift_function(
    a: &[Vec<Bucket>],
    b: &[Vec<Bucket>],
    paired: bool,
    below: &mut dyn FnMut(usize) -> usize,
) -> Vec<Shift> {
    let (mut of_a, mut of_b) = (of_runs(a), of_runs(b));
    if paired {
        let both = of_a.into_iter().zip(of_b).filter(|(a, b)| a.is_some() && b.is_some());
        (of_a, of_b) = both.unzip();
    }
    let (of_a, of_b): (Vec<Run>, Vec<Run>) =
        (of_a.into_iter().flatten().collect(), of_b.into_iter().flatten().collect());
    if of_a.is_empty() || of_b.is_empty() {
        return Vec::new();
    }
    let everything = |runs: &[Run]| (0..runs.len()).collect::<Vec<_>>();
    let (mean_a, mean_b) = (means(&of_a, &everything(&of_a)), means(&of_b, &everything(&of_b)));
    let bands = bands(&of_a, &of_b, paired, below);
    let shift = |(i, q): (usize, f64)| {
        let band = bands.as_ref().map(|bands| bands[i]);
        Shift { q, a: mean_a[i], b: mean_b[i], low: band.map(|b| b.0), high: band.map(|b| b.1) }
    };
    QUANTILES.into_iter().enumerate().map(shift).collect()
}

/// The quantiles of one run.
type Run = [f64; QUANTILES.len()];

fn of_runs(runs: &[Vec<Bucket>]) -> Vec<Option<Run>> {
    let of_run = |run: &Vec<Bucket>| {
        run.iter().any(|(_, count)| *count > 0).then(|| QUANTILES.map(|q| quantile(run, q).unwrap_or_default()))
    };
    runs.iter().map(of_run).collect()
}

/// The mean over the runs at these places.
fn means(runs: &[Run], places: &[usize]) -> Run {
    let mut sum = [0.0; QUANTILES.len()];
    for place in places {
        sum.iter_mut().zip(runs[*place]).for_each(|(sum, value)| *sum += value);
    }
    sum.map(|sum| sum / places.len() as f64)
}

fn bands(a: &[Run], b: &[Run], paired: bool, below: &mut dyn FnMut(usize) -> usize) -> Option<Vec<(f64, f64)>> {
    let fewest = a.len().min(b.len());
    if fewest < 2 {
        return None;
    }
    let mut differences: Vec<Vec<f64>> = vec![Vec::with_capacity(RESAMPLES); QUANTILES.len()];
    for _ in 0..RESAMPLES {
        let drawn_a: Vec<usize> = a.iter().map(|_| below(a.len())).collect();
        let drawn_b = if paired { drawn_a.clone() } else { b.iter().map(|_| below(b.len())).collect() };
        let (mean_a, mean_b) = (means(a, &drawn_a), means(b, &drawn_b));
        differences.iter_mut().enumerate().for_each(|(i, all)| all.push(mean_b[i] - mean_a[i]));
    }
    let outside = (RESAMPLES as f64 * expanded_risk(fewest)) as usize;
    let ends = |all: Vec<f64>| {
        let all = sorted(all);
        (all[outside], all[RESAMPLES - 1 - outside])
    };
    Some(differences.into_iter().map(ends).collect())
}

/// The share of resamples to leave out on each side so that the interval is as wide as Student's for `n` runs.
fn expanded_risk(n: usize) -> f64 {
    let n = n as f64;
    normal::cdf((n / (n - 1.0)).sqrt() * student::quantile(RISK, n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Chance, near};
    use super::*;

    /// A run of 400 values around `level`, with a factor of its own.
    fn run(level: f64, chance: &mut Chance) -> Vec<Bucket> {
        let own = level * (0.04 * chance.normal()).exp();
        sorted((0..400).map(|_| own * (0.3 * chance.normal()).exp())).into_iter().map(|v| (v, 1)).collect()
    }

    fn set(level: f64, runs: usize, seed: u64) -> Vec<Vec<Bucket>> {
        let mut chance = Chance(seed);
        (0..runs).map(|_| run(level, &mut chance)).collect()
    }

    #[test]
    fn a_set_against_itself_shows_nothing() {
        let a = set(10.0, 7, 1);
        let mut chance = Chance(9);
        let found = shift_function(&a, &a, true, &mut |n| chance.below(n));
        assert_eq!(found.len(), QUANTILES.len());
        assert!(found.iter().all(|s| s.difference() == 0.0 && s.low == Some(0.0) && s.high == Some(0.0)));
    }

    #[test]
    fn a_slower_set_is_seen_in_every_quantile() {
        let (a, b) = (set(10.0, 7, 1), set(14.0, 7, 2));
        let draw = |paired| {
            let mut chance = Chance(9);
            shift_function(&a, &b, paired, &mut |n| chance.below(n))
        };
        for paired in [true, false] {
            let found = draw(paired);
            assert_eq!(found, draw(paired));
            for shift in found.iter().filter(|s| s.q <= 0.95) {
                assert!(shift.low.unwrap() > 0.0 && shift.low.unwrap() <= shift.difference(), "{shift:?}");
                assert!(shift.high.unwrap() >= shift.difference(), "{shift:?}");
            }
        }
    }

    /// By scipy: norm.cdf(sqrt(n / (n - 1)) * t.ppf(0.025, n - 1)).
    #[test]
    fn few_runs_widen_the_band() {
        for (n, risk) in [(5, 0.000_954), (10, 0.008_551), (20, 0.015_881)] {
            near(expanded_risk(n), risk, 1e-6);
        }
        assert!(expanded_risk(3) < expanded_risk(7) && expanded_risk(7) < expanded_risk(1_000));
        near(expanded_risk(100_000), RISK, 1e-5);
    }

    #[test]
    fn without_runs_or_values() {
        let a = set(10.0, 3, 1);
        let mut below = |n: usize| n - 1;
        assert!(shift_function(&a, &[], true, &mut below).is_empty());
        assert!(shift_function(&[vec![]], &a, false, &mut below).is_empty());
        let alone = shift_function(&a[..1], &a, false, &mut below);
        assert!(alone.iter().all(|s| s.low.is_none() && s.high.is_none()));
        // A run without values takes its partner with it.
        let found = shift_function(&[a[0].clone(), vec![], a[2].clone()], &a, true, &mut below);
        assert!(found.iter().all(|s| s.difference() == 0.0));
    }
}
