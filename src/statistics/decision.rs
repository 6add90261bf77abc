//! From pairs of runs to an answer per metric: regressed, improved, no regression shown, or inconclusive.
//!
//! Owns the practical floor, the risk of a look, Holm over the gating metrics and the meaning of zero, infinite and missing values. Leaves
//! alone which pairs are usable at all (a run that failed, a generator that fell behind): those are made again before anybody asks here.
//!
//! A pair that lacks the value that could be the worse one is not left out in silence: those that were seen whole are the good ones
//! (survivors), and speak for themselves only. A regression may be shown by them; that there is none, or that it got better, may not.
//!
//! Two looks at most, after `pairs` and after `max_pairs`, each one-sided at [`LOOK_RISK`]: by Bonferroni's inequality a metric that
//! did not change is called regressed in at most 5 % of comparisons, and by Holm's method the same holds for all gating metrics together.
//! That *nothing* regressed needs every metric to say so by itself, which needs no adjustment (intersection-union, Berger 1982).

use super::{Interval, multiple, sign, signed_rank};

/// One-sided risk of each of the two looks.
pub const LOOK_RISK: f64 = 0.025;

/// In which unit a change is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// B / A, for values above zero such as latencies: a change of 0.1 is 10 % more.
    Ratio,
    /// B − A, for shares and for recovery times: a change is in the metric's unit.
    Difference,
}

/// Which way is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worse {
    /// Latencies, error rates, recovery times.
    Higher,
    /// Throughput, availability.
    Lower,
}

/// How pairs are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Wilcoxon's signed ranks with the Hodges-Lehmann estimate.
    SignedRank,
    /// Signs with the median: for what may be censored, such as recovery times.
    Sign,
}

/// When a change counts as a regression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is shown to be larger than the floor: the interval lies wholly beyond it.
    Strict,
    /// It is shown to be there, and its estimate is larger than the floor.
    Lenient,
}

/// What is asked of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Unit of the change.
    pub scale: Scale,
    /// Which way is worse.
    pub worse: Worse,
    /// The smallest change that matters, in the unit of the change: 0 or more; 0.05 of [`Scale::Ratio`] is 5 %.
    pub floor: f64,
    /// How pairs are weighed.
    pub test: Test,
}

impl Question {
    /// How B differs from A on the scale on which pairs are weighed: ln(B / A), or B − A. None when the pair says nothing.
    ///
    /// Infinite means worse than any number (a quantile that failures reach, a recovery that never came): against a finite value the difference is
    /// infinite, and two infinite values say nothing. Under [`Scale::Ratio`] zero against zero is no difference, against
    /// more it is an infinite one. A value that is missing (NaN), or below zero under a ratio, says nothing: so a metric of good answers
    /// must be given as infinite, not as missing, when there was no good answer.
    pub fn difference(&self, a: f64, b: f64) -> Option<f64> {
        let says_nothing = a.is_nan() || b.is_nan() || a.is_infinite() && b.is_infinite();
        match self.scale {
            _ if says_nothing => None,
            Scale::Difference => Some(b - a),
            Scale::Ratio if a < 0.0 || b < 0.0 => None,
            Scale::Ratio if a == b => Some(0.0),
            // By logarithms: their difference neither overflows nor divides.
            Scale::Ratio => Some(b.ln() - a.ln()),
        }
    }

    /// A pair that says nothing and may hide the worst: B is missing while A is known and not itself the worst; or B is the worst, and A is
    /// missing.
    fn hides(&self, a: f64, b: f64) -> bool {
        let missing = |v: f64| v.is_nan() || self.scale == Scale::Ratio && v < 0.0;
        let worst = |v: f64| v.is_infinite() && self.worse == Worse::Higher;
        match (missing(a), missing(b)) {
            (false, true) => !worst(a),
            (true, false) => worst(b),
            _ => false,
        }
    }

    /// A difference as the change that people read.
    fn change(&self, difference: f64) -> f64 {
        match self.scale {
            Scale::Ratio => difference.exp_m1(),
            Scale::Difference => difference,
        }
    }

    /// Turns differences so that up is worse, and back.
    fn turned(&self, difference: f64) -> f64 {
        match self.worse {
            Worse::Higher => difference,
            Worse::Lower => -difference,
        }
    }

    /// The floor, turned: 5 % more is ln 1.05, 5 % less is −ln 0.95.
    fn floor(&self, worse: Worse) -> f64 {
        match (self.scale, worse) {
            (Scale::Difference, _) => self.floor,
            (Scale::Ratio, Worse::Higher) => self.floor.ln_1p(),
            (Scale::Ratio, Worse::Lower) => -(-self.floor.min(1.0)).ln_1p(),
        }
    }

    /// The floors of worse and of better on the scale on which pairs are weighed, both 0 or above: under a ratio, 5 % more and 5 % less are
    /// not equally far from none.
    pub fn floors(&self) -> (f64, f64) {
        (self.floor(self.worse), self.floor(self.better()))
    }

    fn better(&self) -> Worse {
        if self.worse == Worse::Higher { Worse::Lower } else { Worse::Higher }
    }
}

/// The answer for one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Worse by more than the floor.
    Regressed,
    /// Better by more than the floor.
    Improved,
    /// Not worse by more than the floor.
    NoRegression,
    /// Neither can be said.
    Inconclusive,
}

/// Why an answer is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The pairs decide.
    Decided,
    /// No pair says anything.
    NoPairs,
    /// Fewer pairs than any claim needs.
    TooFewPairs {
        /// So many are needed at least.
        least: usize,
    },
    /// The interval holds the floor.
    Wide,
    /// Alone it would be a regression; among all gating metrics the evidence is too thin.
    Adjusted,
    /// What is known would decide, but some values are missing that may be the worst.
    Missing {
        /// So many.
        values: usize,
    },
    /// The interval lies beyond the floor, but by themselves earlier values lie as far out.
    Usual {
        /// So many do.
        within: usize,
        /// Of so many.
        of: usize,
    },
}

/// Everything that is known of one metric after a look. Changes are B against A, in the unit of [`Scale`]; they may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// Why.
    pub why: Why,
    /// Hodges-Lehmann estimate, or median, of the change. None without pairs.
    pub estimate: Option<f64>,
    /// The interval of the change, with its attained two-sided level.
    pub interval: Interval,
    /// One-sided p of the claim that the rule makes: worse by more than the floor (strict), worse at all (lenient).
    pub p: f64,
    /// The same after Holm.
    pub p_adjusted: f64,
    /// Pairs that were weighed.
    pub n: usize,
    /// Pairs that say nothing and were left out.
    pub silent: usize,
}

/// Decides all gating metrics at one look. Each has its question and its pairs (A, B), in any order. `risk` is one-sided, as
/// [`LOOK_RISK`].
pub fn decide(metrics: &[(Question, &[(f64, f64)])], rule: Rule, risk: f64) -> Vec<Decision> {
    let weighed: Vec<Weighed> =
        metrics.iter().map(|(question, pairs)| Weighed::of(*question, pairs, rule, risk)).collect();
    let adjusted = multiple::holm(&weighed.iter().map(|w| w.p).collect::<Vec<_>>());
    weighed.iter().zip(adjusted).map(|(weighed, p)| weighed.decision(p, rule, risk)).collect()
}

/// True when more pairs could still change the outcome: nothing regressed, and something is inconclusive.
pub fn another_look(decisions: &[Decision]) -> bool {
    let any = |answer| decisions.iter().any(|d| d.answer == answer);
    any(Answer::Inconclusive) && !any(Answer::Regressed)
}

/// The noise floor that pairs of A against A show: half the width of their interval, in the unit of the floor. A smaller floor cannot be
/// told from noise. None when the pairs bound nothing.
pub fn noise_floor(question: Question, pairs: &[(f64, f64)], risk: f64) -> Option<f64> {
    let weighed = Weighed::of(question, pairs, Rule::Strict, risk);
    let half = (weighed.interval.high - weighed.interval.low) / 2.0;
    half.is_finite().then(|| question.change(half))
}

/// One metric before it is compared with the others. Differences are turned: up is worse.
struct Weighed {
    question: Question,
    estimate: Option<f64>,
    interval: Interval,
    p: f64,
    n: usize,
    silent: usize,
    /// Of those, the ones that may hide the worst.
    hidden: usize,
}

impl Weighed {
    fn of(question: Question, pairs: &[(f64, f64)], rule: Rule, risk: f64) -> Weighed {
        assert!(question.floor >= 0.0, "a floor below zero: {}", question.floor);
        let said = pairs.iter().filter_map(|(a, b)| question.difference(*a, *b));
        let turned: Vec<f64> = said.map(|d| question.turned(d)).collect();
        let claim = match rule {
            Rule::Strict => question.floor(question.worse),
            Rule::Lenient => 0.0,
        };
        let (estimate, interval, p) = match question.test {
            Test::SignedRank => (
                signed_rank::hodges_lehmann(&turned),
                signed_rank::interval(&turned, risk),
                signed_rank::p_greater(&turned, claim),
            ),
            Test::Sign => (sign::median(&turned), sign::interval(&turned, risk), sign::p_greater(&turned, claim)),
        };
        let hidden = pairs.iter().filter(|(a, b)| question.hides(*a, *b)).count();
        Weighed { question, estimate, interval, p, n: turned.len(), silent: pairs.len() - turned.len(), hidden }
    }

    fn decision(&self, p_adjusted: f64, rule: Rule, risk: f64) -> Decision {
        let (answer, why) = self.answer(p_adjusted, rule, risk);
        let shown = |turned: f64| self.question.change(self.question.turned(turned));
        let (low, high) = (shown(self.interval.low), shown(self.interval.high));
        let interval = Interval { low: low.min(high), high: low.max(high), ..self.interval };
        let estimate = self.estimate.map(shown);
        Decision { answer, why, estimate, interval, p: self.p, p_adjusted, n: self.n, silent: self.silent }
    }

    fn answer(&self, p_adjusted: f64, rule: Rule, risk: f64) -> (Answer, Why) {
        let Some(estimate) = self.estimate else { return (Answer::Inconclusive, Why::NoPairs) };
        let floor = self.question.floor(self.question.worse);
        let beyond = match rule {
            Rule::Strict => self.interval.low > floor,
            Rule::Lenient => estimate > floor && self.p <= risk,
        };
        match self.interval {
            _ if beyond && p_adjusted <= risk => (Answer::Regressed, Why::Decided),
            _ if beyond => (Answer::Inconclusive, Why::Adjusted),
            Interval { high, .. } if high < floor && self.hidden > 0 => {
                (Answer::Inconclusive, Why::Missing { values: self.hidden })
            }
            Interval { high, .. } if high < -self.question.floor(self.question.better()) => {
                (Answer::Improved, Why::Decided)
            }
            Interval { high, .. } if high < floor => (Answer::NoRegression, Why::Decided),
            _ if self.n < signed_rank::least(risk) => {
                (Answer::Inconclusive, Why::TooFewPairs { least: signed_rank::least(risk) })
            }
            _ => (Answer::Inconclusive, Why::Wide),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::near;
    use super::*;

    const INF: f64 = f64::INFINITY;
    const LATENCY: Question =
        Question { scale: Scale::Ratio, worse: Worse::Higher, floor: 0.05, test: Test::SignedRank };
    const ERRORS: Question = Question { scale: Scale::Difference, floor: 0.002, ..LATENCY };
    const RECOVERY: Question = Question { scale: Scale::Difference, floor: 0.5, test: Test::Sign, ..LATENCY };

    fn one(question: Question, pairs: &[(f64, f64)]) -> Decision {
        decide(&[(question, pairs)], Rule::Strict, LOOK_RISK)[0]
    }

    /// A of 100 with B at these factors.
    fn times(factors: &[f64]) -> Vec<(f64, f64)> {
        factors.iter().map(|f| (100.0, 100.0 * f)).collect()
    }

    fn reasons(question: Question, pairs: &[(f64, f64)]) -> (Answer, Why) {
        let found = one(question, pairs);
        (found.answer, found.why)
    }

    #[test]
    fn a_clear_regression() {
        let found = one(LATENCY, &times(&[1.10, 1.12, 1.11, 1.13, 1.09, 1.12, 1.14]));
        assert_eq!((found.answer, found.why, found.n, found.silent), (Answer::Regressed, Why::Decided, 7, 0));
        near(found.p, 1.0 / 128.0, 1e-14);
        near(found.estimate.unwrap(), 0.115, 3e-3);
        assert!(found.interval.low > 0.09 && found.interval.high < 0.14, "{:?}", found.interval);
        near(found.interval.level, 1.0 - 2.0 * 3.0 / 128.0, 1e-14);
    }

    #[test]
    fn the_four_answers() {
        assert_eq!(
            reasons(LATENCY, &times(&[1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0])),
            (Answer::NoRegression, Why::Decided)
        );
        assert_eq!(
            reasons(LATENCY, &times(&[0.9, 0.91, 0.89, 0.9, 0.92, 0.88, 0.9])),
            (Answer::Improved, Why::Decided)
        );
        assert_eq!(reasons(LATENCY, &times(&[1.2, 0.9, 1.1, 1.0, 1.3, 0.8, 1.05])), (Answer::Inconclusive, Why::Wide));
        // There, but no larger than what matters.
        assert_eq!(reasons(LATENCY, &times(&[1.03; 7])), (Answer::NoRegression, Why::Decided));
    }

    #[test]
    fn lower_can_be_worse() {
        let rate = Question { worse: Worse::Lower, ..LATENCY };
        let found = one(rate, &times(&[0.9, 0.91, 0.89, 0.9, 0.92, 0.88, 0.9]));
        assert_eq!(found.answer, Answer::Regressed);
        near(found.estimate.unwrap(), -0.1, 2e-3);
        assert!(found.interval.low < found.interval.high && found.interval.high < -0.05);
        assert_eq!(one(rate, &times(&[1.2; 7])).answer, Answer::Improved);
        // The floor is 5 % of A, either way: 4.9 % less is within it, though 1/0.951 is 5.15 % more.
        assert_eq!(one(rate, &times(&[0.951; 7])).answer, Answer::NoRegression);
        assert_eq!(one(rate, &times(&[0.949; 7])).answer, Answer::Regressed);
    }

    #[test]
    fn a_lenient_rule_needs_the_change_not_the_floor() {
        let pairs = times(&[1.04, 1.12, 1.06, 1.03, 1.09, 1.10, 1.07]);
        let lenient = decide(&[(LATENCY, &pairs)], Rule::Lenient, LOOK_RISK)[0];
        assert_eq!((one(LATENCY, &pairs).answer, lenient.answer), (Answer::Inconclusive, Answer::Regressed));
    }

    #[test]
    fn holm_guards_the_gating_metrics_together() {
        // Six of seven beyond the floor, the other just below: p = 2/128, enough alone but not among three.
        let thin = times(&[1.2, 1.21, 1.22, 1.23, 1.24, 1.25, 1.049]);
        let quiet = times(&[1.0; 7]);
        assert_eq!(one(LATENCY, &thin).answer, Answer::Regressed);
        let all = decide(&[(LATENCY, &thin), (LATENCY, &quiet), (LATENCY, &quiet)], Rule::Strict, LOOK_RISK);
        assert_eq!((all[0].answer, all[0].why), (Answer::Inconclusive, Why::Adjusted));
        near(all[0].p_adjusted, 6.0 / 128.0, 1e-14);
        assert_eq!(all[1].answer, Answer::NoRegression);
        assert!(another_look(&all));
        // Seven of seven is enough among three.
        let clear = times(&[1.2; 7]);
        let all = decide(&[(LATENCY, &clear), (LATENCY, &quiet), (LATENCY, &quiet)], Rule::Strict, LOOK_RISK);
        assert_eq!(all[0].answer, Answer::Regressed);
        assert!(!another_look(&all));
    }

    #[test]
    fn nothing_to_go_by() {
        assert_eq!(reasons(LATENCY, &[]), (Answer::Inconclusive, Why::NoPairs));
        assert_eq!(reasons(LATENCY, &[(INF, INF); 7]), (Answer::Inconclusive, Why::NoPairs));
        assert_eq!(reasons(LATENCY, &[(f64::NAN, 1.0), (1.0, -1.0)]), (Answer::Inconclusive, Why::NoPairs));
        assert_eq!(reasons(RECOVERY, &[]), (Answer::Inconclusive, Why::NoPairs));
        assert_eq!(reasons(LATENCY, &times(&[2.0; 5])), (Answer::Inconclusive, Why::TooFewPairs { least: 6 }));
        assert!(decide(&[], Rule::Strict, LOOK_RISK).is_empty());
        assert!(!another_look(&[]));
    }

    #[test]
    fn zero_and_infinite_values() {
        assert_eq!(LATENCY.difference(0.0, 0.0), Some(0.0));
        assert_eq!((LATENCY.difference(0.0, 1.0), LATENCY.difference(1.0, 0.0)), (Some(INF), Some(-INF)));
        assert_eq!((LATENCY.difference(1.0, INF), LATENCY.difference(INF, 1.0)), (Some(INF), Some(-INF)));
        assert_eq!((LATENCY.difference(0.0, INF), LATENCY.difference(INF, INF)), (Some(INF), None));
        assert_eq!((ERRORS.difference(INF, 1.0), ERRORS.difference(0.0, 0.0)), (Some(-INF), Some(0.0)));

        // Every p99 of B is infinite: regressed, by an infinite amount.
        let found = one(LATENCY, &[(100.0, INF); 7]);
        assert_eq!((found.answer, found.estimate), (Answer::Regressed, Some(INF)));
        assert_eq!((found.interval.low, found.interval.high), (INF, INF));
        // The other way it is 100 % less.
        let found = one(LATENCY, &[(INF, 100.0); 7]);
        assert_eq!((found.answer, found.estimate), (Answer::Improved, Some(-1.0)));
        assert_eq!(one(ERRORS, &[(0.0, 0.0); 7]).answer, Answer::NoRegression);
        assert_eq!(one(ERRORS, &[(0.0, 0.01); 7]).answer, Answer::Regressed);
        assert_eq!(one(LATENCY, &[(0.0, 0.0); 7]).answer, Answer::NoRegression);
        // One pair says nothing, six still decide.
        let mut pairs = vec![(100.0, 120.0); 6];
        pairs.push((INF, INF));
        let found = one(LATENCY, &pairs);
        assert_eq!((found.answer, found.n, found.silent), (Answer::Regressed, 6, 1));
    }

    /// A floor of all or more cannot be undercut, and no floor at all is one.
    #[test]
    fn extreme_floors() {
        let huge = Question { floor: 3.0, ..LATENCY };
        assert_eq!(one(huge, &times(&[0.0; 7])).answer, Answer::NoRegression);
        assert_eq!(one(huge, &times(&[4.1; 7])).answer, Answer::Regressed);
        let none = Question { floor: 0.0, ..LATENCY };
        assert_eq!(one(none, &times(&[1.0; 7])).answer, Answer::Inconclusive);
        assert_eq!(one(none, &times(&[1.0001; 7])).answer, Answer::Regressed);
    }

    #[test]
    fn recoveries_may_be_censored() {
        let never = [(2.0, INF), (3.0, INF), (2.5, 9.0), (2.0, INF), (2.0, 8.0), (3.0, INF), (INF, INF)];
        let found = one(RECOVERY, &never);
        assert_eq!((found.answer, found.n, found.silent), (Answer::Regressed, 6, 1));
        assert_eq!((found.estimate, found.interval.high), (Some(INF), INF));
        near(found.interval.low, 6.0, 1e-12);
        near(found.p, 1.0 / 64.0, 1e-14);
        assert_eq!(one(RECOVERY, &[(2.0, 2.2); 7]).answer, Answer::NoRegression);
    }

    /// A sees its fault within a second in every pair, B in nine of fifteen and never in the others: the nine alone would show no difference.
    #[test]
    fn those_that_were_seen_whole_do_not_decide_alone() {
        let detected = |n: usize, other: f64| [vec![(1.0, 1.0); 15 - n], vec![(1.0, other); n]].concat();
        let never = one(RECOVERY, &detected(6, INF));
        assert_eq!((never.answer, never.n, never.silent), (Answer::Inconclusive, 15, 0));
        assert_eq!(one(RECOVERY, &detected(15, INF)).answer, Answer::Regressed);
        let unknown = one(RECOVERY, &detected(6, f64::NAN));
        assert_eq!((unknown.answer, unknown.why), (Answer::Inconclusive, Why::Missing { values: 6 }));
        assert_eq!((unknown.n, unknown.silent), (9, 6));
        // Nor is it better because its bad ones are missing.
        let better = [vec![(100.0, 50.0); 9], vec![(100.0, f64::NAN)]].concat();
        assert_eq!(reasons(LATENCY, &better), (Answer::Inconclusive, Why::Missing { values: 1 }));
        // What is known may still be worse.
        let worse = [vec![(100.0, 150.0); 9], vec![(100.0, f64::NAN)]].concat();
        assert_eq!(one(LATENCY, &worse).answer, Answer::Regressed);
        // Nothing is hidden where A is missing, where both are, or where A is the worst already.
        for pair in [(f64::NAN, 1.0), (f64::NAN, f64::NAN), (INF, f64::NAN), (INF, INF)] {
            let pairs = [vec![(1.0, 1.0); 9], vec![pair]].concat();
            assert_eq!(one(RECOVERY, &pairs).answer, Answer::NoRegression, "{pair:?}");
        }
        let hidden = [vec![(1.0, 1.0); 9], vec![(f64::NAN, INF)]].concat();
        assert_eq!(reasons(RECOVERY, &hidden), (Answer::Inconclusive, Why::Missing { values: 1 }));
    }

    #[test]
    fn noise_has_a_floor() {
        let noise = times(&[1.02, 0.98, 1.01, 0.99, 1.0, 1.03, 0.97]);
        let floor = noise_floor(LATENCY, &noise, LOOK_RISK).unwrap();
        assert!((0.01..0.03).contains(&floor), "{floor}");
        assert_eq!(noise_floor(LATENCY, &noise[..5], LOOK_RISK), None);
        assert_eq!(noise_floor(LATENCY, &[(1.0, 1.0); 7], LOOK_RISK), Some(0.0));
    }
}
