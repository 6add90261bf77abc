//! Change points of a history: E-divisive with the changes of Hunter.
//!
//! Sources: Matteson & James, arXiv 1306.4933 (the divisive search by energy distance); Fleming et al., Hunter, arXiv 2301.03034 (Student's
//! test instead of permutations, windows, weak points first and then merging). Defaults are those of Apache Otava, which grew out of
//! Hunter. One difference: Student's test divides by n − 1 as it must; Otava divides by n and so claims a little more than its p says.

use super::student;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// Values looked at together; the next window begins half of one later. At least 2.
    pub window: usize,
    /// A change point is kept when its p lies below this. Weak ones, in the first pass, may have ten times as much.
    pub p: f64,
    /// … and when the mean changes by more than this share, seen from either side.
    pub min_magnitude: f64,
}

impl Default for Search {
    fn default() -> Search {
        Search { window: 50, p: 0.001, min_magnitude: 0.0 }
    }
}

/// Where the mean of a series changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value after the change: the change came between the value before it and this one.
    pub index: usize,
    /// Mean from the change point before (or the start) to this one.
    pub before: f64,
    /// Mean from here to the next (or the end).
    pub after: f64,
    /// Two-sided p of equal means.
    pub p: f64,
}

impl ChangePoint {
    /// after / before − 1; infinite from zero to anything else.
    pub fn relative(self) -> f64 {
        relative(self.before, self.after)
    }

    /// The larger of the changes seen forwards and backwards.
    fn magnitude(self) -> f64 {
        relative(self.before, self.after).abs().max(relative(self.after, self.before).abs())
    }
}

fn relative(from: f64, to: f64) -> f64 {
    match (from, to) {
        (from, to) if from == to => 0.0,
        (0.0, to) => f64::INFINITY.copysign(to),
        (from, to) => to / from - 1.0,
    }
}

/// The change points of a series of finite values, in order. About ten values are needed before any can be found; none of fewer than 3.
pub fn change_points(series: &[f64], search: Search) -> Vec<ChangePoint> {
    assert!(search.window >= 2, "a window of {} holds no change", search.window);
    assert!(series.iter().all(|v| v.is_finite()), "a history of finite values only");
    let loose = match search.p {
        p if p < 0.05 => 10.0 * p,
        p if p < 0.5 => 2.0 * p,
        p => p,
    };
    merge(series, weak(series, search.window, loose), search)
}

/// First pass: the change points of every window, sorted.
fn weak(series: &[f64], window: usize, p: f64) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let mut start = 0;
    while start < series.len() {
        let part = &series[start..(start + window).min(series.len())];
        let new: Vec<usize> = divide(part, p).into_iter().map(|i| i + start).collect();
        start = new.last().copied().unwrap_or(0).max(start + window / 2);
        found.extend(new);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Splits where parts differ most, until the best split left is not significant.
fn divide(series: &[f64], p: f64) -> Vec<usize> {
    let mut points: Vec<usize> = Vec::new();
    loop {
        let edges = edges(&points, series.len());
        let mut best: Option<(f64, usize, usize, usize)> = None;
        for part in edges.windows(2).filter(|part| part[1] - part[0] > 1) {
            let (q, index) = best_split(&series[part[0]..part[1]]);
            if best.is_none_or(|(highest, ..)| q > highest) {
                best = Some((q, part[0], part[0] + index, part[1]));
            }
        }
        match best {
            Some((_, from, at, to)) if student::equal_means(&series[from..at], &series[at..to]) <= p => {
                points.push(at);
                points.sort_unstable();
            }
            _ => return points,
        }
    }
}

/// The split (τ) with the highest energy distance between what stands before it and what stands between it and any later end (κ).
fn best_split(part: &[f64]) -> (f64, usize) {
    let mut best = (f64::NEG_INFINITY, 1);
    // Sum of distances within part[..tau].
    let mut within_left = 0.0;
    for tau in 1..part.len() {
        within_left += distances(part[tau - 1], &part[..tau - 1]);
        let (mut across, mut within_right) = (0.0, 0.0);
        for kappa in tau + 1..=part.len() {
            let new = part[kappa - 1];
            across += distances(new, &part[..tau]);
            within_right += distances(new, &part[tau..kappa - 1]);
            let (n, m) = (tau as f64, (kappa - tau) as f64);
            let mean_of_pairs = |sum: f64, n: f64| if n > 1.0 { sum * 2.0 / (n * (n - 1.0)) } else { 0.0 };
            let energy = 2.0 * across / (n * m) - mean_of_pairs(within_left, n) - mean_of_pairs(within_right, m);
            let q = n * m / (n + m) * energy;
            if q > best.0 {
                best = (q, tau);
            }
        }
    }
    best
}

fn distances(from: f64, to: &[f64]) -> f64 {
    to.iter().map(|v| (v - from).abs()).sum()
}

/// Second pass: drops the weakest point and looks at its neighbours again, until all that are left hold.
fn merge(series: &[f64], mut points: Vec<usize>, search: Search) -> Vec<ChangePoint> {
    loop {
        let edges = edges(&points, series.len());
        let all: Vec<ChangePoint> = edges.windows(3).map(|e| change_point(series, e[0], e[1], e[2])).collect();
        // Of equally weak ones the first.
        let by_p = all.iter().rev().max_by(|a, b| a.p.total_cmp(&b.p));
        let by_magnitude = all.iter().min_by(|a, b| a.magnitude().total_cmp(&b.magnitude()));
        let weakest =
            by_p.filter(|w| w.p >= search.p).or(by_magnitude.filter(|w| w.magnitude() <= search.min_magnitude));
        let Some(weakest) = weakest.map(|w| w.index) else { return all };
        points.retain(|index| *index != weakest);
    }
}

fn change_point(series: &[f64], from: usize, index: usize, to: usize) -> ChangePoint {
    let (left, right) = (&series[from..index], &series[index..to]);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    ChangePoint { index, before: mean(left), after: mean(right), p: student::equal_means(left, right) }
}

/// The points with start and end around them.
fn edges(points: &[usize], end: usize) -> Vec<usize> {
    std::iter::once(0).chain(points.iter().copied()).chain([end]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Chance, near};
    use super::*;

    /// Levels with 2 % of noise.
    fn series(levels: &[(f64, usize)], seed: u64) -> Vec<f64> {
        let mut chance = Chance(seed);
        let all = levels.iter().flat_map(|(level, times)| std::iter::repeat_n(*level, *times));
        all.map(|level| level * (1.0 + 0.02 * chance.normal())).collect()
    }

    fn indices(found: &[ChangePoint]) -> Vec<usize> {
        found.iter().map(|c| c.index).collect()
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let found = change_points(&series(&[(100.0, 20), (110.0, 15)], 3), Search::default());
        assert_eq!(indices(&found), [20]);
        assert!(found[0].p < 1e-6);
        near(found[0].relative(), 0.1, 0.02);
        let up_and_down = change_points(&series(&[(100.0, 60), (120.0, 50), (100.0, 40)], 5), Search::default());
        assert_eq!(indices(&up_and_down), [60, 110]);
    }

    #[test]
    fn noise_is_rarely_a_change() {
        let alarmed =
            (0..100).filter(|seed| !change_points(&series(&[(100.0, 60)], *seed), Search::default()).is_empty());
        // One in a thousand per test, and the best of many splits is tested.
        assert!(alarmed.count() <= 10);
    }

    #[test]
    fn small_changes_are_left_out() {
        let values = series(&[(100.0, 20), (105.0, 20)], 3);
        assert_eq!(change_points(&values, Search::default()).len(), 1);
        assert!(change_points(&values, Search { min_magnitude: 0.1, ..Search::default() }).is_empty());
    }

    #[test]
    fn short_or_even_series() {
        let flat = [7.0; 30];
        for values in [&[][..], &[1.0], &[1.0, 2.0], &flat] {
            assert!(change_points(values, Search::default()).is_empty(), "{values:?}");
        }
        let from_zero: Vec<f64> = [0.0; 10].into_iter().chain([1.0; 10]).collect();
        let found = change_points(&from_zero, Search { min_magnitude: 0.5, ..Search::default() });
        assert_eq!(indices(&found), [10]);
        assert_eq!(found[0].relative(), f64::INFINITY);
    }

    /// The statistic by its definition: for 0 0 | 3 3, 4/4 · (2 · 3 − 0 − 0).
    #[test]
    fn the_energy_of_a_split() {
        assert_eq!(best_split(&[0.0, 0.0, 3.0, 3.0]), (6.0, 2));
        assert_eq!(best_split(&[1.0, 5.0]), (4.0, 1));
    }
}
