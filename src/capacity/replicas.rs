//! How many replicas carry a peak, grown, while some of them are dead.
//!
//! Owns the formula and its table. Leaves alone how the two capacities were measured (`search.rs`). The formula, for peak L, growth g,
//! ceiling of utilisation u, losses f, capacity of a replica c, and c_f the same **measured while f are dead**:
//!
//! n = max(⌈L(1+g) / (c u)⌉, ⌈L(1+g) / c_f⌉ + f)
//!
//! The first term keeps every replica as idle as asked while all live; the second carries the peak after the loss. c_f is lower than c
//! because retries, cold caches and new connections come with a loss; who takes c for it has done arithmetic, not a measurement.

use super::above_zero;
use super::curve::Curve;

/// More than this is a typing error.
const MOST: f64 = 1e6;

/// What is asked, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    /// Requests per second to carry, above zero.
    pub peak: f64,
    /// Growth to expect: 0.2 is 20 % more; 0 or above.
    pub growth: f64,
    /// Replicas that may be dead meanwhile.
    pub survive: u32,
    /// How full a replica may be while all live: above 0, at most 1.
    pub utilisation: f64,
    /// Requests per second that one replica carries while all live.
    pub capacity: f64,
    /// The same while `survive` are dead, as measured. None: `capacity` stands in, and the answer is labelled arithmetic.
    pub capacity_after_loss: Option<f64>,
}

/// One number of replicas and what it means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// How many run before the loss.
    pub replicas: u32,
    /// Load over capacity while all live; above 1 is overload.
    pub before: f64,
    /// The same after the loss; none when nobody is left.
    pub after: Option<f64>,
    /// Not overloaded after the loss, nor fuller than asked before it.
    pub enough: bool,
}

/// How many, and why that many.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The least number that is enough; at least 1, and one more than are lost.
    pub replicas: u32,
    /// What the utilisation alone asks for.
    pub for_utilisation: u32,
    /// What the loss alone asks for: N + f.
    pub for_loss: u32,
    /// Requests per second that are carried: the peak, grown.
    pub demand: f64,
    /// Capacity after the loss was measured, not taken from before it.
    pub measured: bool,
    /// From one fewer than either term asks for to two more than both, fewest first.
    pub table: Vec<Row>,
}

/// The formula at work.
///
/// # Errors
/// Says which number is out of its range, or that more than a million replicas would be needed.
pub fn replicas(need: &Need) -> Result<Answer, String> {
    let demand = above_zero("peak", need.peak)? * (1.0 + not_negative("growth", need.growth)?);
    let utilisation = above_zero("utilisation", need.utilisation)?;
    if utilisation > 1.0 {
        return Err(format!("utilisation: must be at most 1, got {utilisation}"));
    }
    let capacity = above_zero("capacity of a replica", need.capacity)?;
    let after_loss = above_zero("capacity of a replica after a loss", need.capacity_after_loss.unwrap_or(capacity))?;
    let for_utilisation = whole(demand / (capacity * utilisation))?;
    let for_loss = whole(demand / after_loss + f64::from(need.survive))?;
    let replicas = for_utilisation.max(for_loss);
    let row = |n: u32| {
        let left = n.saturating_sub(need.survive);
        Row {
            replicas: n,
            before: demand / (f64::from(n) * capacity),
            after: (left > 0).then(|| demand / (f64::from(left) * after_loss)),
            enough: n >= replicas,
        }
    };
    let first = for_utilisation.min(for_loss).saturating_sub(1).max(1);
    // A table of ten is read; one of a thousand is not.
    let first = first.max(replicas.saturating_sub(7));
    let table = (first..=replicas + 2).map(row).collect();
    let measured = need.capacity_after_loss.is_some() || need.survive == 0;
    Ok(Answer { replicas, for_utilisation, for_loss, demand, measured, table })
}

impl Answer {
    /// The latency after the loss with this many replicas, seconds: that which one replica showed, measured under that loss, at the
    /// rate that now falls to each. None when nobody is left, or beyond what was measured.
    pub fn latency_after_loss(&self, replicas: u32, survive: u32, per_replica: &Curve) -> Option<f64> {
        let left = replicas.checked_sub(survive).filter(|left| *left > 0)?;
        per_replica.at(self.demand / f64::from(left))
    }
}

/// The next whole number, at least 1. What is whole but for rounding stays: 1200 / 200 is 6, never 7.
fn whole(value: f64) -> Result<u32, String> {
    let up = (value * (1.0 - 1e-9)).ceil().max(1.0);
    if up <= MOST { Ok(up as u32) } else { Err(format!("more than {MOST} replicas would be needed")) }
}

fn not_negative(what: &str, value: f64) -> Result<f64, String> {
    if value == 0.0 { Ok(0.0) } else { above_zero(what, value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need() -> Need {
        Need { peak: 1000.0, growth: 0.0, survive: 1, utilisation: 0.7, capacity: 180.0, capacity_after_loss: None }
    }

    fn after(answer: &Answer, n: u32) -> f64 {
        answer.table.iter().find(|row| row.replicas == n).unwrap().after.unwrap()
    }

    /// L = 1000, c = 180: with u = 0.7 eight, 79 % busy after one loss; bare N + 1 seven, 93 % busy after it.
    #[test]
    fn the_example_of_the_reference() {
        let answer = replicas(&need()).unwrap();
        assert_eq!((answer.replicas, answer.for_utilisation, answer.for_loss), (8, 8, 7));
        assert_eq!((100.0 * after(&answer, 8)).round(), 79.0);
        assert_eq!((100.0 * after(&answer, 7)).round(), 93.0);
        assert!(!answer.measured, "c stood in for c_f");
        let bare = replicas(&Need { utilisation: 1.0, ..need() }).unwrap();
        assert_eq!(bare.replicas, 7);
        assert_eq!(
            bare.table.iter().map(|r| (r.replicas, r.enough)).collect::<Vec<_>>(),
            [(5, false), (6, false), (7, true), (8, true), (9, true)]
        );
    }

    #[test]
    fn what_a_loss_costs_each_survivor_is_counted() {
        // A survivor carries 120 where it carried 180: 1200 / 120 = 10, and the dead one.
        let answer = replicas(&Need { growth: 0.2, capacity_after_loss: Some(120.0), ..need() }).unwrap();
        assert_eq!((answer.replicas, answer.for_utilisation, answer.for_loss), (11, 10, 11));
        assert_eq!(after(&answer, 11), 1.0);
        assert!(after(&answer, 10) > 1.0);
        assert!(answer.measured);
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let exact = Need { peak: 1000.0, growth: 0.2, capacity: 200.0, utilisation: 1.0, ..need() };
        assert_eq!(replicas(&exact).unwrap().for_utilisation, 6);
        assert_eq!(replicas(&exact).unwrap().replicas, 7);
    }

    #[test]
    fn the_least_that_survives_has_one_left() {
        let small = replicas(&Need { peak: 1.0, survive: 3, ..need() }).unwrap();
        assert_eq!(small.replicas, 4);
        let alone = small.table.iter().find(|r| r.replicas == 3);
        assert!(alone.is_none_or(|row| row.after.is_none() && !row.enough));
        let none_lost = replicas(&Need { peak: 1.0, survive: 0, ..need() }).unwrap();
        assert_eq!((none_lost.replicas, none_lost.measured), (1, true));
    }

    #[test]
    fn more_of_anything_bad_never_needs_fewer() {
        let base = replicas(&need()).unwrap().replicas;
        for worse in [
            Need { peak: 1400.0, ..need() },
            Need { growth: 0.5, ..need() },
            Need { survive: 4, ..need() },
            Need { utilisation: 0.5, ..need() },
            Need { capacity: 90.0, ..need() },
            Need { capacity_after_loss: Some(60.0), ..need() },
        ] {
            let answer = replicas(&worse).unwrap();
            assert!(answer.replicas > base, "{worse:?}");
            assert!(answer.table.len() <= 10 && answer.table.iter().any(|row| row.replicas == answer.replicas));
            assert!(answer.table.iter().all(|row| row.before.is_finite()));
        }
    }

    #[test]
    fn latency_after_a_loss_is_read_at_the_rate_that_falls_to_each() {
        let answer = replicas(&need()).unwrap();
        let curve = Curve::new(&[(100.0, 0.010), (200.0, 0.030)]).unwrap();
        let p99 = answer.latency_after_loss(8, 1, &curve).unwrap();
        assert!((p99 - (0.010 + 0.020 * (1000.0 / 7.0 - 100.0) / 100.0)).abs() < 1e-12, "{p99}");
        assert_eq!(answer.latency_after_loss(5, 1, &curve), None, "250 each: beyond what was measured");
        assert_eq!(answer.latency_after_loss(1, 1, &curve), None);
        assert_eq!(answer.latency_after_loss(0, 1, &curve), None);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let says = |need: Need| replicas(&need).unwrap_err();
        assert!(says(Need { peak: 0.0, ..need() }).starts_with("peak"));
        assert!(says(Need { growth: -0.1, ..need() }).starts_with("growth"));
        assert!(says(Need { growth: f64::NAN, ..need() }).starts_with("growth"));
        assert!(says(Need { utilisation: 1.1, ..need() }).starts_with("utilisation"));
        assert!(says(Need { capacity: 0.0, ..need() }).starts_with("capacity of a replica"));
        assert!(says(Need { capacity_after_loss: Some(f64::INFINITY), ..need() }).contains("after a loss"));
        assert!(says(Need { peak: 1e300, ..need() }).contains("more than"));
    }
}
