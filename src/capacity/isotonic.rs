//! Isotonic regression: the best falling curve through noisy points, and where it crosses a level.
//!
//! Owns pool-adjacent-violators, the crossing, its interval. Leaves alone what a point stands for: a share of good answers, or
//! a pass (1) and a failure (0). Sources: Ayer, Brunk, Ewing, Reid & Silverman 1955 (the pooling, and that it is the
//! least-squares solution); Barlow, Bartholomew, Bremner & Brunk 1972.
//!
//! Why: more load never helps, but single trials say so now and then. A pass above a failure is a contradiction for a
//! bisection; here it is noise, weighed against all the other trials.

use super::{Below, Interval, above_zero};

/// Resamples of an interval.
const RESAMPLES: usize = 1000;

/// One noisy observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where: a rate, finite.
    pub x: f64,
    /// What was seen there: finite.
    pub y: f64,
    /// How much it counts: above zero, such as the length of its trial.
    pub weight: f64,
}

/// Where the fit crosses a level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    /// The best guess.
    pub at: f64,
    /// From resampling the points; within the range that was tried.
    pub interval: Interval,
}

/// The falling curve with the least weighted squares: one (x, y) per distinct x, x rising, y never rising.
///
/// # Errors
/// Says what is wrong with a point that is not finite, or without weight, or that their sum is too large for a number.
pub fn falling(points: &[Point]) -> Result<Vec<(f64, f64)>, String> {
    for point in points {
        above_zero("weight", point.weight)?;
        if !(point.x.is_finite() && point.y.is_finite()) {
            return Err(format!("a point must be finite, got ({}, {})", point.x, point.y));
        }
    }
    let total: f64 = points.iter().map(|p| 2.0 * p.x.abs() + p.weight * (1.0 + p.y.abs())).sum();
    if total.is_finite() { Ok(pooled(points.to_vec())) } else { Err("points: too large to be added up".to_owned()) }
}

/// Where the falling curve through these points falls below `level`: on a straight line between the last x whose fit holds
/// it and the next one. None when the fit lies on one side of it for every x. The interval comes from drawing the points anew,
/// with replacement; a resample that does not cross counts as its nearest end of the range.
///
/// # Errors
/// As [`falling`].
pub fn crossing(points: &[Point], level: f64, below: Below<'_>) -> Result<Option<Crossing>, String> {
    let fit = falling(points)?;
    let (Some(at), Some(&(first, _)), Some(&(last, _))) = (crosses(&fit, level), fit.first(), fit.last()) else {
        return Ok(None);
    };
    let resample = |_| {
        let drawn = pooled((0..points.len()).map(|_| points[below(points.len())]).collect());
        let holds = drawn.first().is_some_and(|(_, y)| *y >= level);
        crosses(&drawn, level).unwrap_or(if holds { last } else { first })
    };
    let interval = Interval::middle((0..RESAMPLES).map(resample).collect());
    Ok(interval.map(|interval| Crossing { at, interval }))
}

fn crosses(fit: &[(f64, f64)], level: f64) -> Option<f64> {
    let below = fit.partition_point(|(_, y)| *y >= level);
    let (x0, y0) = fit[below.checked_sub(1)?];
    let &(x1, y1) = fit.get(below)?;
    // y0 >= level > y1, so that the line falls.
    Some(x0 + (x1 - x0) * (y0 - level) / (y0 - y1))
}

fn pooled(mut points: Vec<Point>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    // Each block: (mean, weight, the x it covers). Points at one x are one block from the start.
    let mut blocks: Vec<(f64, f64, Vec<f64>)> = Vec::new();
    for same in points.chunk_by(|a, b| a.x == b.x) {
        let weight: f64 = same.iter().map(|p| p.weight).sum();
        let mean = same.iter().map(|p| p.y * p.weight).sum::<f64>() / weight;
        let mut block = (mean, weight, vec![same[0].x]);
        while let Some(before) = blocks.pop_if(|before| before.0 < block.0) {
            let weight = before.1 + block.1;
            let mean = (before.0 * before.1 + block.0 * block.1) / weight;
            block = (mean, weight, [before.2, block.2].concat());
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(y, _, xs)| xs.into_iter().map(move |x| (x, y))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::chance;
    use super::*;

    fn points(y: &[f64], weight: &[f64]) -> Vec<Point> {
        let make = |(i, (y, weight)): (usize, (&f64, &f64))| Point { x: i as f64, y: *y, weight: *weight };
        y.iter().zip(weight).enumerate().map(make).collect()
    }

    /// The expected fit is that of scipy 1.17, `optimize.isotonic_regression(y, weights=w, increasing=False)`.
    #[test]
    fn it_agrees_with_scipy() {
        let y = [1.0, 0.9, 0.95, 0.7, 0.8, 0.2, 0.3, 0.0];
        let fit = falling(&points(&y, &[1.0, 2.0, 1.0, 3.0, 1.0, 1.0, 1.0, 4.0])).unwrap();
        let scipy = [1.0, 0.91666667, 0.91666667, 0.725, 0.725, 0.25, 0.25, 0.0];
        for ((_, ours), theirs) in fit.iter().zip(scipy) {
            assert!((ours - theirs).abs() < 1e-8, "{fit:?}");
        }
        assert_eq!(fit.len(), scipy.len());
    }

    #[test]
    fn what_falls_already_is_left_alone_and_what_rises_becomes_its_mean() {
        let falls = falling(&points(&[1.0, 0.5, 0.25], &[1.0; 3])).unwrap();
        assert_eq!(falls, [(0.0, 1.0), (1.0, 0.5), (2.0, 0.25)]);
        let rises = falling(&points(&[0.0, 1.0, 2.0], &[1.0, 1.0, 2.0])).unwrap();
        assert_eq!(rises, [(0.0, 1.25), (1.0, 1.25), (2.0, 1.25)]);
    }

    #[test]
    fn points_at_one_place_are_one() {
        let twice = [(5.0, 1.0), (5.0, 0.0), (4.0, 1.0)].map(|(x, y)| Point { x, y, weight: 1.0 });
        assert_eq!(falling(&twice).unwrap(), [(4.0, 1.0), (5.0, 0.5)]);
    }

    #[test]
    fn a_clean_series_crosses_between_its_last_pass_and_first_failure() {
        let clean = points(&[1.0, 1.0, 1.0, 0.0, 0.0], &[1.0; 5]);
        let found = crossing(&clean, 0.5, &mut chance(1)).unwrap().unwrap();
        assert_eq!(found.at, 2.5);
        assert!(found.interval.low >= 0.0 && found.interval.low <= 2.5 && found.interval.high >= 2.5, "{found:?}");
        assert_eq!(crossing(&clean, 0.5, &mut chance(1)).unwrap(), Some(found), "the same seed, the same interval");
    }

    /// Logistic passes around 100: the fit finds the middle, and in 95 % of series the interval holds it.
    #[test]
    fn noisy_series_cross_near_the_truth() {
        let (mut held, mut error, series) = (0, 0.0, 200);
        for seed in 0..series {
            let mut draw = chance(seed);
            let noisy: Vec<_> = (0..60)
                .map(|i| {
                    let x = 70.0 + f64::from(i);
                    let pass = (draw(1_000_000) as f64) / 1e6 < 1.0 / (1.0 + ((x - 100.0) / 5.0).exp());
                    Point { x, y: f64::from(u8::from(pass)), weight: 1.0 }
                })
                .collect();
            let found = crossing(&noisy, 0.5, &mut draw).unwrap().unwrap();
            error += (found.at - 100.0).abs() / series as f64;
            held += u32::from(found.interval.low <= 100.0 && 100.0 <= found.interval.high);
        }
        assert!(error < 3.0, "mean distance {error}");
        assert!(held >= 180, "{held} of {series}");
    }

    #[test]
    fn no_crossing_is_none_and_no_point_is_no_error() {
        let same = |y: f64| points(&[y; 4], &[1.0; 4]);
        assert_eq!(crossing(&same(1.0), 0.5, &mut chance(1)), Ok(None));
        assert_eq!(crossing(&same(0.0), 0.5, &mut chance(1)), Ok(None));
        assert_eq!(crossing(&[], 0.5, &mut chance(1)), Ok(None));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for (x, y, weight) in [(f64::NAN, 1.0, 1.0), (1.0, f64::INFINITY, 1.0), (1.0, 1.0, 0.0), (1.0, 1.0, f64::NAN)] {
            assert!(falling(&[Point { x, y, weight }]).is_err());
        }
        assert!(falling(&[Point { x: 1.0, y: f64::MAX, weight: 2.0 }]).unwrap_err().contains("too large"));
    }
}
