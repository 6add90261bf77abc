//! A few values of which some were not seen whole: "longer than we looked", or nothing at all.
//!
//! Such values are not left out, since those that take longest are the ones most often cut off. Each is taken for the least and for the
//! most that it can be, and so is what is made of them: the bounds are exact (partial identification, Manski 2003), and assume nothing
//! about the shape of a distribution, which five values could not show.

/// A value of 0 or more, as far as it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// It is this.
    Exact(f64),
    /// It is this or more: watching ended.
    AtLeast(f64),
    /// It may be anything from 0 on.
    Unknown,
}

impl Seen {
    fn low(self) -> f64 {
        match self {
            Seen::Exact(value) | Seen::AtLeast(value) => value,
            Seen::Unknown => 0.0,
        }
    }

    fn high(self) -> f64 {
        if let Seen::Exact(value) = self { value } else { f64::INFINITY }
    }
}

/// The least and the most that a number can be; the most may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between {
    /// It is this or more.
    pub low: f64,
    /// It is this or less.
    pub high: f64,
}

impl Between {
    /// The number, where only one is left.
    pub fn exact(self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }
}

/// The middle one, or the mean of the two in the middle; none of nothing.
pub fn median(values: &[Seen]) -> Option<Between> {
    between(values, |sorted| {
        let n = sorted.len();
        (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
    })
}

/// The smallest; none of nothing.
pub fn smallest(values: &[Seen]) -> Option<Between> {
    between(values, |sorted| sorted[0])
}

/// The largest; none of nothing.
pub fn largest(values: &[Seen]) -> Option<Between> {
    between(values, |sorted| sorted[sorted.len() - 1])
}

/// What is made of sorted values, at least and at most; it never falls when one of them grows.
fn between(values: &[Seen], of: impl Fn(&[f64]) -> f64) -> Option<Between> {
    let sorted = |each: fn(Seen) -> f64| {
        let mut all: Vec<f64> = values.iter().map(|v| each(*v)).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    (!values.is_empty()).then(|| Between { low: of(&sorted(Seen::low)), high: of(&sorted(Seen::high)) })
}

#[cfg(test)]
mod tests {
    use super::Seen::{AtLeast, Exact, Unknown};
    use super::*;

    fn bounds(found: Option<Between>) -> (f64, f64) {
        found.map(|b| (b.low, b.high)).unwrap()
    }

    #[test]
    fn values_that_were_all_seen_are_exact() {
        let values = [Exact(4.0), Exact(1.0), Exact(3.0), Exact(2.0), Exact(9.0)];
        assert_eq!(median(&values).unwrap().exact(), Some(3.0));
        assert_eq!(median(&values[..4]).unwrap().exact(), Some(2.5));
        assert_eq!((bounds(smallest(&values)), bounds(largest(&values))), ((1.0, 1.0), (9.0, 9.0)));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn one_that_was_cut_off_leaves_the_middle_alone_where_it_lies_above_it() {
        let values = [Exact(1.0), Exact(2.0), Exact(3.0), Exact(4.0), AtLeast(5.0)];
        assert_eq!(median(&values).unwrap().exact(), Some(3.0));
        assert_eq!(bounds(largest(&values)), (5.0, f64::INFINITY));
        // Cut off early, it may lie on either side of the middle.
        let values = [Exact(1.0), Exact(2.0), Exact(3.0), Exact(4.0), AtLeast(0.5)];
        assert_eq!(bounds(median(&values)), (2.0, 3.0));
        assert_eq!(bounds(smallest(&values)), (0.5, 1.0));
    }

    #[test]
    fn most_cut_off_give_a_lower_end_only() {
        let values = [Exact(1.0), AtLeast(7.0), AtLeast(8.0)];
        assert_eq!(bounds(median(&values)), (7.0, f64::INFINITY));
        assert_eq!(bounds(median(&[AtLeast(7.0), Exact(1.0)])), (4.0, f64::INFINITY));
    }

    #[test]
    fn unknown_ones_may_be_anything() {
        let values = [Exact(1.0), Exact(2.0), Exact(3.0), Unknown, Exact(4.0)];
        assert_eq!(bounds(median(&values)), (2.0, 3.0));
        assert_eq!(bounds(smallest(&values)), (0.0, 1.0));
        assert_eq!(bounds(largest(&values)), (4.0, f64::INFINITY));
        assert_eq!(bounds(median(&[Unknown, Unknown])), (0.0, f64::INFINITY));
    }
}
