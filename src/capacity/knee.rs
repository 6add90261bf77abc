//! The knee: the rate from which latency climbs. Two independent ways to see it, and whether they agree.
//!
//! Owns Kneedle and the rule of twice the latency at 20 % load. Leaves alone the curve (`curve.rs`) and every objective: a knee says
//! where the service changes its manners, not what it may do.
//!
//! Sources: Satopaa, Albrecht, Irwin & Raghavan 2011, "Finding a 'Kneedle' in a Haystack" (the difference curve and its threshold, S = 1);
//! the second rule is a common one of capacity tests: reference load 20 %, limit 2 ×.

use super::curve::Curve;

/// Kneedle's sensitivity: 1 is what its authors found right for data at hand, all of it.
const SENSITIVITY: f64 = 1.0;
/// Where the latency of a quiet service is read, as a share of the highest rate of the curve.
const QUIET: f64 = 0.2;
/// How many times the quiet latency is a climb.
const CLIMB: f64 = 2.0;
/// Two knees that differ by more than this share are not one.
const AGREE: f64 = 0.15;

/// What the two ways found, requests per second. Show both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// By Kneedle; none when the curve has no clear bend or fewer than four points.
    pub kneedle: Option<f64>,
    /// Where latency stays above 2 × that at 20 % of the highest rate; none when no rate was that low, or it never climbs.
    pub doubled: Option<f64>,
}

impl Knee {
    /// The lower of the two, if both are there and differ by at most 15 % of the higher; none is "no sharp knee".
    pub fn sharp(&self) -> Option<f64> {
        let (low, high) = (self.kneedle?.min(self.doubled?), self.kneedle?.max(self.doubled?));
        (high - low <= AGREE * high).then_some(low)
    }
}

/// Both ways over one curve.
pub fn knee(curve: &Curve) -> Knee {
    let quiet = curve.points().last().and_then(|(highest, _)| curve.at(QUIET * highest));
    Knee { kneedle: kneedle(curve.points()), doubled: quiet.and_then(|latency| curve.stays_above(CLIMB * latency)) }
}

/// Kneedle for a curve that rises ever more steeply: both axes stretched to 0…1, the knee is a local maximum of x − y, that is
/// followed by a fall of more than S mean steps before x − y climbs anew.
fn kneedle(points: &[(f64, f64)]) -> Option<f64> {
    let (&(x0, _), &(x1, _)) = (points.first()?, points.last()?);
    let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.1).fold(0.0, f64::max);
    // With three points the one in the middle would always be it. A flat line has no bend.
    if points.len() < 4 || high <= low {
        return None;
    }
    let difference: Vec<f64> = points.iter().map(|(x, y)| (x - x0) / (x1 - x0) - (y - low) / (high - low)).collect();
    // The mean of the steps in x, which span 1.
    let fall = SENSITIVITY / (points.len() - 1) as f64;
    let mut candidate: Option<usize> = None;
    for i in 1..points.len() {
        let rises_to_here = difference[i] > difference[i - 1];
        let falls_from_here = difference.get(i + 1).is_none_or(|next| *next <= difference[i]);
        if let Some(top) = candidate.filter(|top| difference[i] < difference[*top] - fall) {
            return Some(points[top].0);
        }
        if rises_to_here && falls_from_here && difference[i] > 0.0 {
            candidate = Some(i);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(y: &[f64]) -> Curve {
        let points: Vec<_> = y.iter().enumerate().map(|(i, y)| (1.0 + i as f64, *y)).collect();
        Curve::new(&points).unwrap()
    }

    /// The example that implementations of Kneedle share: x = 0…9, knee at 7. Ours starts at 1.
    #[test]
    fn kneedle_finds_the_published_knee_of_a_convex_curve() {
        let y = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 40.0, 100.0];
        assert_eq!(knee(&curve(&y)).kneedle, Some(8.0));
        assert_eq!(knee(&curve(&y[..7])).kneedle, Some(5.0), "cut short: 4 of 0…6");
    }

    /// Figure 2 of the paper, y = −1/(x + 0.1) + 5 at ten places in 0…1, has its knee at 0.22. Turned by half a turn it is convex.
    #[test]
    fn kneedle_finds_the_knee_of_the_papers_second_figure() {
        let turned: Vec<_> = (0..10)
            .map(|i| {
                let x = f64::from(i) / 9.0;
                (2.0 - x, 10.0 - (5.0 - 1.0 / (x + 0.1)))
            })
            .collect();
        let found = knee(&Curve::new(&turned).unwrap()).kneedle.unwrap();
        assert!((found - (2.0 - 0.2222)).abs() < 0.001, "{found}");
    }

    #[test]
    fn a_line_or_a_plain_has_no_knee() {
        assert_eq!(knee(&curve(&[1.0, 2.0, 3.0, 4.0, 5.0])).kneedle, None);
        assert_eq!(knee(&curve(&[3.0; 6])), Knee { kneedle: None, doubled: None });
        assert_eq!(knee(&curve(&[1.0, 1.0, 9.0])).kneedle, None, "too few points");
        assert_eq!(knee(&curve(&[1.0])), Knee { kneedle: None, doubled: None });
    }

    /// M/M/1: the sojourn's p99 is ln 100 / (μ − λ), twice that at 0.2 μ where λ = 0.6 μ.
    #[test]
    fn the_second_rule_on_a_known_queue() {
        let points: Vec<_> = (1..=99).map(|i| (f64::from(i), 100f64.ln() / (100.0 - f64::from(i)))).collect();
        let found = knee(&Curve::new(&points).unwrap());
        // 20 % of the highest rate is 19.8: (100 − 19.8) / 2 before 100.
        assert!((found.doubled.unwrap() - 59.9).abs() < 0.1, "{found:?}");
        assert!(found.kneedle.unwrap() > 85.0, "{found:?}");
        assert_eq!(found.sharp(), None, "a soft knee is called none");
    }

    #[test]
    fn a_cliff_is_one_knee_for_both() {
        let found = knee(&curve(&[10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 11.0, 60.0, 200.0]));
        assert_eq!(found.kneedle, Some(8.0));
        assert!((found.doubled.unwrap() - 8.18).abs() < 0.01, "{found:?}");
        assert_eq!(found.sharp(), Some(8.0));
    }

    #[test]
    fn without_a_quiet_rate_there_is_nothing_to_double() {
        let loud = Curve::new(&[(50.0, 1.0), (60.0, 1.1), (70.0, 1.3), (80.0, 4.0), (90.0, 20.0)]).unwrap();
        assert_eq!(knee(&loud).doubled, None);
        assert_eq!(knee(&loud).sharp(), None);
    }
}
