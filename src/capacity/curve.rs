//! Latency over rate, as trials measured it.
//!
//! Owns the order of the points and what lies between two of them. Leaves alone what a bend in it means (`knee.rs`). A
//! latency that is infinite (more failures than the quantile allows) is no point of a curve; leave it out.

use super::above_zero;

/// Points of (rate, latency): rates above zero and rising, latencies above zero; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// From (requests per second, seconds) in any order. Trials at one rate become one point, their median.
    ///
    /// # Errors
    /// Says what is wrong when there is no point, or one that is not finite and above zero.
    pub fn new(points: &[(f64, f64)]) -> Result<Curve, String> {
        for (rate, latency) in points {
            above_zero("rate", *rate)?;
            above_zero("latency", *latency)?;
        }
        let mut sorted = points.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let points: Vec<_> = sorted.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, median(same))).collect();
        if points.is_empty() { Err("a curve needs a point".to_owned()) } else { Ok(Curve { points }) }
    }

    /// The points, rates rising.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The latency at this rate, seconds, on a straight line between its neighbours. None outside of what was measured.
    pub fn at(&self, rate: f64) -> Option<f64> {
        let above = self.points.partition_point(|(x, _)| *x < rate);
        let &(x1, y1) = self.points.get(above)?;
        if x1 == rate {
            return Some(y1);
        }
        let (x0, y0) = self.points[above.checked_sub(1)?];
        Some(y0 + (y1 - y0) * (rate - x0) / (x1 - x0))
    }

    /// The lowest rate at which the curve reaches this latency for good: no higher rate was below it.
    pub fn stays_above(&self, latency: f64) -> Option<f64> {
        let first = self.points.iter().rposition(|(_, y)| *y < latency).map_or(0, |i| i + 1);
        let &(x1, y1) = self.points.get(first)?;
        let Some((x0, y0)) = first.checked_sub(1).map(|i| self.points[i]) else { return Some(x1) };
        // y0 < latency <= y1, so that the line rises.
        Some(x0 + (x1 - x0) * (latency - y0) / (y1 - y0))
    }
}

/// Of points at one rate, sorted by latency; never empty.
fn median(same: &[(f64, f64)]) -> f64 {
    let (low, high) = (same[(same.len() - 1) / 2].1, same[same.len() / 2].1);
    low + (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sorted_and_those_of_one_rate_joined() {
        let curve = Curve::new(&[(30.0, 9.0), (10.0, 4.0), (10.0, 1.0), (10.0, 2.0), (30.0, 7.0)]).unwrap();
        assert_eq!(curve.points(), [(10.0, 2.0), (30.0, 8.0)]);
    }

    #[test]
    fn between_points_it_is_straight_and_beyond_them_unknown() {
        let curve = Curve::new(&[(10.0, 2.0), (30.0, 8.0)]).unwrap();
        assert_eq!((curve.at(10.0), curve.at(20.0), curve.at(30.0)), (Some(2.0), Some(5.0), Some(8.0)));
        assert_eq!((curve.at(9.9), curve.at(30.1), curve.at(f64::NAN)), (None, None, None));
    }

    #[test]
    fn a_level_is_reached_where_the_curve_stays_above_it() {
        let bumpy = Curve::new(&[(10.0, 2.0), (20.0, 6.0), (30.0, 4.0), (40.0, 8.0)]).unwrap();
        assert_eq!(bumpy.stays_above(5.0), Some(32.5));
        assert_eq!(bumpy.stays_above(1.0), Some(10.0));
        assert_eq!(bumpy.stays_above(9.0), None);
        assert_eq!(Curve::new(&[(10.0, 2.0)]).unwrap().stays_above(2.0), Some(10.0));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        assert!(Curve::new(&[]).is_err());
        for bad in [(0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
            assert!(Curve::new(&[(5.0, 5.0), bad]).is_err(), "{bad:?}");
        }
    }
}
