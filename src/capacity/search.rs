//! The search for the highest rate that is carried, as a machine that says what to try next.
//!
//! Owns the order of trials, when to believe one, when to stop, and the answer. Leaves alone how a trial is run and judged
//! (`trial.rs`) and everything between trials, such as waiting until the backlog is gone.
//!
//! ```text
//! grow      double until a trial does not pass; if the first does not, twice, halve until one does
//! bisect    geometric middle of the highest passed and the lowest failed rate, until they are a quarter of the precision apart
//! doubt     the failure that bounds the answer is tried once more: one hiccup must not halve the answer
//! confirm   the answer for longer; if that fails, a step lower, then two, four, eight; what was stepped over is bisected by long trials
//! ```
//!
//! Grow, then bisect, is what MLPerf LoadGen (find-peak: bounds, then binary search), AIPerf and GuideLLM do. Doubt and
//! confirmation are there because near the limit short trials pass and fail by chance; `tests/prove_capacity.rs` shows by how much that
//! would miss.

use std::fmt;

use super::isotonic::{self, Crossing, Point};
use super::trial::{Cause, Verdict};
use super::{Below, above_zero};

/// How often a trial without a verdict is run again.
const REPEATS: u32 = 2;
/// How narrow the bracket of short trials gets, as a share of the precision. The rest is for what trials near the limit get
/// wrong.
const BRACKET: f64 = 0.25;
/// How narrow the bracket of confirmations gets, likewise. They take long.
const BRACKET_OF_CONFIRMS: f64 = 0.5;
/// How many confirming trials there are at most.
const CONFIRMS: usize = 8;
/// How many of them at most until one passes: the first, and one, two, four, eight steps below the one before.
const DOWN: usize = 5;

/// What to search, and how far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// First rate, requests per second.
    pub from: f64,
    /// How near the answer shall be, as a share: above 0, at most 1.
    pub precision: f64,
    /// Nothing below is tried.
    pub floor: f64,
    /// Nothing above is tried.
    pub ceiling: f64,
    /// Trials in all, repeats and confirmations included; at least 1.
    pub trials: usize,
}

impl Goal {
    /// From here, as far down as a thousandth of it, with 60 trials at most: enough for 24 doublings and a precision of
    /// 1 %.
    pub fn new(from: f64, precision: f64, ceiling: f64) -> Goal {
        Goal { from, precision, floor: from / 1024.0, ceiling, trials: 60 }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Run a trial at this rate.
    Trial {
        /// Requests per second.
        rate: f64,
    },
    /// Run a long one at this rate.
    Confirm {
        /// Requests per second.
        rate: f64,
    },
    /// That is all.
    Done(Answer),
}

/// A trial that was run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Requests per second.
    pub rate: f64,
    /// The long kind.
    pub confirm: bool,
    /// What it showed.
    pub verdict: Verdict,
}

/// The answer with all its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// In a word.
    pub found: Found,
    /// Every trial, in the order in which they were run.
    pub tried: Vec<Tried>,
}

/// How the search ended. Rates are requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// This rate is carried, confirmed by a long trial; a rate little above it is not.
    Carried {
        /// The highest that was confirmed.
        rate: f64,
        /// The lowest above it that failed.
        breaks_at: f64,
    },
    /// This rate is carried, confirmed, and its limit was not seen.
    AtLeast {
        /// The highest that was confirmed.
        rate: f64,
        /// Why nothing higher is known.
        bound: Bound,
    },
    /// Not even the lowest rate is carried.
    Below {
        /// The lowest that was tried.
        rate: f64,
    },
    /// The trials do not say.
    Undecided {
        /// The highest that passed a short trial.
        passed: Option<f64>,
        /// The lowest that did not pass.
        not_passed: Option<f64>,
        /// What stood in the way.
        why: Why,
    },
}

/// What hides the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The highest rate allowed is carried.
    Ceiling,
    /// The generator cannot offer more.
    Generator,
    /// Trials above gave no verdict.
    NoVerdict,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The generator could not offer even the lowest rate.
    Generator,
    /// A trial gave no verdict, three times.
    NoVerdict,
    /// Short trials passed, long ones did not.
    Unconfirmed,
    /// All the trials that were allowed are used up.
    OutOfTrials,
}

/// The machine. Ask [`next`](Search::next), do it, [`record`](Search::record) what it showed, until it is done.
#[derive(Clone, Debug)]
pub struct Search {
    goal: Goal,
    tried: Vec<Tried>,
    state: State,
    /// Trials without a verdict in a row.
    repeats: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Trial(f64),
    Confirm(f64),
    Done(Found),
}

/// The lowest rate that did not pass.
#[derive(Clone, Copy)]
struct Wall {
    rate: f64,
    verdict: Verdict,
    /// Not to be tried again: it was already, or it was a safety stop.
    sure: bool,
}

impl Search {
    /// # Errors
    /// Says which limit is wrong: all are finite and above zero, the first rate lies between floor and ceiling.
    pub fn new(goal: Goal) -> Result<Search, String> {
        let from = above_zero("from", goal.from)?;
        if above_zero("precision", goal.precision)? > 1.0 {
            return Err(format!("precision: must be at most 1, got {}", goal.precision));
        }
        if above_zero("floor", goal.floor)? > from || above_zero("ceiling", goal.ceiling)? < from {
            return Err(format!("from: must lie between {} and {}, got {from}", goal.floor, goal.ceiling));
        }
        if goal.trials == 0 {
            return Err("trials: must be at least 1".to_owned());
        }
        Ok(Search { goal, tried: Vec::new(), state: State::Trial(from), repeats: 0 })
    }

    /// What to do now; the same until a verdict is recorded.
    pub fn next(&self) -> Step {
        match self.state {
            State::Trial(rate) => Step::Trial { rate },
            State::Confirm(rate) => Step::Confirm { rate },
            State::Done(found) => Step::Done(Answer { found, tried: self.tried.clone() }),
        }
    }

    /// What the trial that [`next`](Search::next) asked for has shown. Nothing changes once the search is done.
    pub fn record(&mut self, verdict: Verdict) {
        let (rate, confirm) = match self.state {
            State::Trial(rate) => (rate, false),
            State::Confirm(rate) => (rate, true),
            State::Done(_) => return,
        };
        self.tried.push(Tried { rate, confirm, verdict });
        self.repeats = if verdict == Verdict::Inconclusive { self.repeats + 1 } else { 0 };
        let again = (1..=REPEATS).contains(&self.repeats);
        if !again {
            self.repeats = 0;
            self.state = if confirm { self.after_confirm(rate, verdict) } else { self.after_trial() };
        }
        if self.tried.len() >= self.goal.trials && !matches!(self.state, State::Done(_)) {
            let confirmed = self.confirmed().0;
            self.state = confirmed.map_or_else(|| self.undecided(Why::OutOfTrials), |rate| self.carried(rate));
        }
    }

    fn after_trial(&self) -> State {
        let Goal { from, floor, ceiling, precision, .. } = self.goal;
        let wall = self.wall();
        match (self.passed(), wall) {
            (Some(passed), None) if passed >= ceiling => State::Confirm(passed),
            (Some(passed), None) => State::Trial((2.0 * passed).min(ceiling)),
            (None, Some(wall)) if wall.verdict == Verdict::Inconclusive => self.undecided(Why::NoVerdict),
            (None, Some(wall)) if wall.rate == from && !wall.sure => State::Trial(from),
            (None, Some(wall)) if wall.rate <= floor => self.at_the_floor(wall.verdict, wall.rate),
            (None, Some(wall)) => State::Trial((wall.rate / 2.0).max(floor)),
            (Some(passed), Some(wall)) if wall.rate / passed > 1.0 + precision * BRACKET => {
                State::Trial(passed * (wall.rate / passed).sqrt())
            }
            (Some(_), Some(wall)) if !wall.sure => State::Trial(wall.rate),
            (Some(passed), Some(_)) => State::Confirm(passed),
            (None, None) => self.undecided(Why::NoVerdict),
        }
    }

    fn after_confirm(&self, rate: f64, verdict: Verdict) -> State {
        let Goal { floor, precision, .. } = self.goal;
        let (carried, breaks) = self.confirmed();
        match (carried, breaks) {
            (Some(carried), Some(breaks)) if breaks / carried > 1.0 + precision * BRACKET_OF_CONFIRMS => {
                let all = self.confirms().count();
                if all < CONFIRMS { State::Confirm(carried * (breaks / carried).sqrt()) } else { self.carried(carried) }
            }
            (Some(carried), _) => self.carried(carried),
            (None, _) if rate <= floor => self.at_the_floor(verdict, rate),
            (None, _) => match self.confirms().count() {
                DOWN.. => self.undecided(Why::Unconfirmed),
                failed => {
                    let step = (1.0 + precision * BRACKET).powi(1 << failed.saturating_sub(1));
                    State::Confirm((rate / step).max(floor))
                }
            },
        }
    }

    /// Confirmations that came to something; what gave no verdict and was repeated counts once.
    fn confirms(&self) -> impl Iterator<Item = Tried> {
        self.judged().into_iter().filter(|t| t.confirm)
    }

    /// The highest rate that was confirmed, and the lowest above it that was not.
    fn confirmed(&self) -> (Option<f64>, Option<f64>) {
        let passed = |t: &Tried| t.verdict == Verdict::Passed;
        let carried = self.confirms().filter(passed).map(|t| t.rate).last();
        let above = |t: &Tried| !passed(t) && carried.is_none_or(|carried| t.rate > carried);
        (carried, self.confirms().find(above).map(|t| t.rate))
    }

    fn carried(&self, rate: f64) -> State {
        let above = self.judged().into_iter().find(|t| t.rate > rate && t.verdict != Verdict::Passed);
        State::Done(match above.map(|t| (t.rate, t.verdict)) {
            None => Found::AtLeast { rate, bound: Bound::Ceiling },
            Some((_, Verdict::GeneratorBound)) => Found::AtLeast { rate, bound: Bound::Generator },
            Some((_, Verdict::Inconclusive)) => Found::AtLeast { rate, bound: Bound::NoVerdict },
            Some((breaks_at, _)) => Found::Carried { rate, breaks_at },
        })
    }

    fn at_the_floor(&self, verdict: Verdict, rate: f64) -> State {
        match verdict {
            Verdict::GeneratorBound => self.undecided(Why::Generator),
            Verdict::Inconclusive => self.undecided(Why::NoVerdict),
            _ => State::Done(Found::Below { rate }),
        }
    }

    fn undecided(&self, why: Why) -> State {
        let rates =
            |passed: bool| self.tried.iter().filter(move |t| (t.verdict == Verdict::Passed) == passed).map(|t| t.rate);
        let (passed, not_passed) = (rates(true).max_by(f64::total_cmp), rates(false).min_by(f64::total_cmp));
        State::Done(Found::Undecided { passed, not_passed, why })
    }

    /// The last trial at every rate, rates rising: what was tried again is judged anew.
    fn judged(&self) -> Vec<Tried> {
        let mut last = self.tried.clone();
        // The sort is stable, so that trials at one rate keep their order.
        last.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        last.chunk_by(|a, b| a.rate == b.rate).map(|same| same[same.len() - 1]).collect()
    }

    fn wall(&self) -> Option<Wall> {
        let Tried { rate, verdict, .. } = self.judged().into_iter().find(|t| t.verdict != Verdict::Passed)?;
        let failures = self
            .tried
            .iter()
            .filter(|t| t.rate == rate && !matches!(t.verdict, Verdict::Passed | Verdict::Inconclusive));
        let sure =
            matches!(verdict, Verdict::Inconclusive | Verdict::Failed(Cause::SafetyStop)) || failures.count() > 1;
        Some(Wall { rate, verdict, sure })
    }

    /// The highest rate that passed below the wall.
    fn passed(&self) -> Option<f64> {
        self.judged().into_iter().take_while(|t| t.verdict == Verdict::Passed).last().map(|t| t.rate)
    }
}

impl Answer {
    /// Trials contradict each other: one passed at a rate at which, or below which, another failed.
    pub fn noisy(&self) -> bool {
        let failed = |t: &&Tried| matches!(t.verdict, Verdict::Failed(_));
        let lowest = self.tried.iter().filter(failed).map(|t| t.rate).min_by(f64::total_cmp);
        lowest.is_some_and(|lowest| self.tried.iter().any(|t| t.verdict == Verdict::Passed && t.rate >= lowest))
    }

    /// Where passes turn into failures by isotonic regression over every trial that says either, with its interval; a confirming
    /// trial weighs `confirm` short ones (its length over theirs, above zero). None when there are no failures, or no passes.
    ///
    /// # Errors
    /// Says so when the weight is not finite and above zero.
    pub fn crossing(&self, confirm: f64, below: Below<'_>) -> Result<Option<Crossing>, String> {
        let confirm = above_zero("weight of a confirming trial", confirm)?;
        let point = |t: &Tried| {
            let y = match t.verdict {
                Verdict::Passed => 1.0,
                Verdict::Failed(_) => 0.0,
                Verdict::GeneratorBound | Verdict::Inconclusive => return None,
            };
            Some(Point { x: t.rate, y, weight: if t.confirm { confirm } else { 1.0 } })
        };
        let points: Vec<_> = self.tried.iter().filter_map(point).collect();
        isotonic::crossing(&points, 0.5, below)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Carried { rate, breaks_at } => write!(f, "carries {rate:.1}/s, breaks at {breaks_at:.1}/s"),
            Found::AtLeast { rate, bound } => write!(f, "carries at least {rate:.1}/s, {bound}"),
            Found::Below { rate } => write!(f, "carries less than {rate:.1}/s, the lowest rate that was tried"),
            Found::Undecided { passed, not_passed, why } => {
                write!(f, "undecided: {why}")?;
                passed.map_or(Ok(()), |rate| write!(f, "; {rate:.1}/s passed"))?;
                not_passed.map_or(Ok(()), |rate| write!(f, "; {rate:.1}/s did not"))
            }
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Ceiling => "the highest rate that was allowed",
            Bound::Generator => "generator-bound: the load engine could not offer more",
            Bound::NoVerdict => "trials above it gave no verdict",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Generator => "the load engine could not offer even the lowest rate",
            Why::NoVerdict => "trials gave no verdict, as with too few samples",
            Why::Unconfirmed => "short trials passed, longer ones did not",
            Why::OutOfTrials => "all allowed trials are used up",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::chance;
    use super::*;

    const FAILED: Verdict = Verdict::Failed(Cause::Objective);

    fn goal() -> Goal {
        Goal::new(100.0, 0.05, 1e6)
    }

    /// Runs a search against a service that answers like this; the argument is (rate, confirming, trials so far).
    fn run(goal: Goal, mut service: impl FnMut(f64, bool, usize) -> Verdict) -> Answer {
        let mut search = Search::new(goal).unwrap();
        for n in 0.. {
            let (rate, confirm) = match search.next() {
                Step::Trial { rate } => (rate, false),
                Step::Confirm { rate } => (rate, true),
                Step::Done(answer) => return answer,
            };
            assert!((goal.floor..=goal.ceiling).contains(&rate), "{rate}");
            assert!(n < goal.trials, "more trials than allowed");
            search.record(service(rate, confirm, n));
        }
        unreachable!("the loop ends by itself")
    }

    fn carries(limit: f64) -> impl FnMut(f64, bool, usize) -> Verdict {
        move |rate, _, _| if rate <= limit { Verdict::Passed } else { FAILED }
    }

    #[test]
    fn it_grows_bisects_doubts_and_confirms() {
        let answer = run(goal(), carries(450.0));
        let rates: Vec<_> = answer.tried.iter().map(|t| (t.rate.round(), t.confirm)).collect();
        let (trial, long) = (false, true);
        let expected = [100, 200, 400, 800, 566, 476, 436, 456, 446, 451, 451];
        assert_eq!(rates[..11], expected.map(|r| (f64::from(r), trial)), "the last one is the doubt");
        assert_eq!(rates[11..], [(446.0, long)]);
        let Found::Carried { rate, breaks_at } = answer.found else { panic!("{answer:?}") };
        assert!(rate <= 450.0 && 450.0 < breaks_at && breaks_at / rate <= 1.0125, "{answer:?}");
        assert!(!answer.noisy());
    }

    #[test]
    fn any_limit_is_found_within_a_quarter_of_the_precision() {
        for i in 0..200 {
            let limit = 0.2 * 1.08f64.powi(i);
            let answer = run(goal(), carries(limit));
            match answer.found {
                Found::Carried { rate, breaks_at } => {
                    assert!(rate <= limit && limit < breaks_at && breaks_at <= 1.01251 * rate, "{limit}: {answer:?}");
                }
                Found::AtLeast { rate, bound: Bound::Ceiling } => assert!(limit >= 1e6 && rate == 1e6),
                _ => panic!("{limit}: {answer:?}"),
            }
            assert!(answer.tried.len() < 30, "{} trials for {limit}", answer.tried.len());
        }
    }

    #[test]
    fn a_first_trial_that_fails_goes_down() {
        let answer = run(goal(), carries(11.0));
        assert_eq!(answer.tried[..5].iter().map(|t| t.rate).collect::<Vec<_>>(), [100.0, 100.0, 50.0, 25.0, 12.5]);
        assert!(matches!(answer.found, Found::Carried { rate, .. } if rate > 10.8 && rate <= 11.0));
        let nothing = run(goal(), |_, _, _| FAILED);
        assert_eq!(nothing.found, Found::Below { rate: 100.0 / 1024.0 });
        assert_eq!(nothing.tried.len(), 12, "the first one twice");
        assert_eq!(nothing.found.to_string(), "carries less than 0.1/s, the lowest rate that was tried");
    }

    #[test]
    fn a_last_trial_that_never_fails_is_at_least() {
        let answer = run(Goal { ceiling: 1000.0, ..goal() }, |_, _, _| Verdict::Passed);
        assert_eq!(answer.found, Found::AtLeast { rate: 1000.0, bound: Bound::Ceiling });
        assert!(answer.tried.last().unwrap().confirm);
    }

    #[test]
    fn a_server_faster_than_the_generator_is_at_least() {
        let slow = |rate: f64, _, _| if rate > 700.0 { Verdict::GeneratorBound } else { Verdict::Passed };
        let answer = run(goal(), slow);
        let Found::AtLeast { rate, bound: Bound::Generator } = answer.found else { panic!("{answer:?}") };
        assert!(rate > 680.0 && rate <= 700.0, "as much as it could offer: {rate}");
        assert!(answer.found.to_string().contains("generator-bound"), "{}", answer.found);
        let never = run(goal(), |_, _, _| Verdict::GeneratorBound);
        assert!(matches!(never.found, Found::Undecided { why: Why::Generator, passed: None, .. }), "{never:?}");
        // An overload that also slows the generator: the limit of the service is found below it.
        let both = |rate: f64, _, _| match rate {
            r if r > 500.0 => Verdict::GeneratorBound,
            r if r > 450.0 => FAILED,
            _ => Verdict::Passed,
        };
        assert!(matches!(run(goal(), both).found, Found::Carried { breaks_at, .. } if breaks_at <= 462.0));
    }

    #[test]
    fn one_hiccup_does_not_change_the_answer() {
        // The trial at 200, far below the limit, fails once.
        let hiccup = |rate: f64, _, n| if rate > 450.0 || n == 1 { FAILED } else { Verdict::Passed };
        let answer = run(goal(), hiccup);
        assert!(
            matches!(answer.found, Found::Carried { rate, breaks_at } if rate > 435.0 && breaks_at > 450.0),
            "{answer:?}"
        );
        assert!(answer.noisy());
        let crossing = answer.crossing(3.0, &mut chance(1)).unwrap().unwrap();
        assert!(crossing.at > 435.0 && crossing.at < 465.0, "{crossing:?}");
        assert!(crossing.interval.low <= crossing.at && crossing.at <= crossing.interval.high, "{crossing:?}");
    }

    #[test]
    fn a_confirmation_that_fails_steps_down() {
        let tires = |rate: f64, long, _| if rate > if long { 430.0 } else { 450.0 } { FAILED } else { Verdict::Passed };
        let answer = run(goal(), tires);
        let long: Vec<_> = answer.tried.iter().filter(|t| t.confirm).map(|t| t.rate.round()).collect();
        assert_eq!(long, [446.0, 440.0, 429.0, 435.0], "one step, two; back into what was stepped over");
        assert!(
            matches!(answer.found, Found::Carried { rate, breaks_at } if rate < 430.0 && breaks_at > 430.0 && breaks_at < 436.0)
        );
        assert!(answer.noisy(), "446 passed, and did not pass for long");
        let never = run(goal(), |rate, long, _| if long || rate > 450.0 { FAILED } else { Verdict::Passed });
        assert!(matches!(never.found, Found::Undecided { why: Why::Unconfirmed, .. }), "{never:?}");
        assert_eq!(never.tried.iter().filter(|t| t.confirm).count(), DOWN);
    }

    #[test]
    fn a_safety_stop_is_a_failure_that_is_not_repeated() {
        let stop = Verdict::Failed(Cause::SafetyStop);
        let answer = run(goal(), |rate, _, _| if rate > 450.0 { stop } else { Verdict::Passed });
        let highest = answer.tried.iter().filter(|t| t.verdict == stop).map(|t| t.rate).collect::<Vec<_>>();
        assert!(highest.windows(2).all(|two| two[1] < two[0]), "each stop is the last time at its rate: {highest:?}");
        assert!(matches!(answer.found, Found::Carried { rate, .. } if rate > 438.0));
    }

    #[test]
    fn what_gives_no_verdict_is_repeated_twice_and_no_more() {
        let none = run(goal(), |_, _, _| Verdict::Inconclusive);
        assert_eq!(none.tried.len(), 3);
        assert!(matches!(none.found, Found::Undecided { why: Why::NoVerdict, passed: None, .. }), "{none:?}");
        let late = run(goal(), |_, _, n| if n % 3 == 2 { Verdict::Passed } else { Verdict::Inconclusive });
        assert!(
            matches!(late.found, Found::Undecided { why: Why::OutOfTrials, .. }) || late.tried.len() < 60,
            "{late:?}"
        );
        let above = run(goal(), |rate, _, _| if rate > 450.0 { Verdict::Inconclusive } else { Verdict::Passed });
        let Found::AtLeast { rate, bound: Bound::NoVerdict } = above.found else { panic!("{above:?}") };
        assert!(rate > 438.0 && rate <= 450.0);
        // A verdict in the second attempt counts like any other.
        let once = run(goal(), |rate, _, n| match n {
            0 => Verdict::Inconclusive,
            _ if rate > 450.0 => FAILED,
            _ => Verdict::Passed,
        });
        assert!(matches!(once.found, Found::Carried { .. }));
    }

    #[test]
    fn any_service_at_all_ends_within_the_trials_allowed() {
        for seed in 0..2000 {
            let mut draw = chance(seed);
            let goal = Goal { trials: 1 + draw(60), floor: 1.0, ceiling: 1e4, ..goal() };
            let answer =
                run(goal, |_, _, _| [Verdict::Passed, FAILED, Verdict::Inconclusive, Verdict::GeneratorBound][draw(4)]);
            assert!(!answer.tried.is_empty() && answer.tried.len() <= goal.trials);
            let crossing = answer.crossing(3.0, &mut chance(seed)).unwrap();
            assert!(crossing.is_none_or(|c| c.at.is_finite() && c.interval.low <= c.interval.high));
            assert!(!answer.found.to_string().contains("NaN"));
        }
    }

    #[test]
    fn the_next_step_stands_until_a_verdict_and_the_end_is_the_end() {
        let mut search = Search::new(Goal { trials: 1, ..goal() }).unwrap();
        assert_eq!(search.next(), search.next());
        search.record(Verdict::Passed);
        let end = search.next();
        assert!(matches!(&end, Step::Done(Answer { found: Found::Undecided { why: Why::OutOfTrials, .. }, .. })));
        search.record(FAILED);
        assert_eq!(search.next(), end);
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let wrong = |goal: Goal| Search::new(goal).unwrap_err();
        assert!(wrong(Goal { from: 0.0, ..goal() }).starts_with("from"));
        assert!(wrong(Goal { from: f64::NAN, ..goal() }).starts_with("from"));
        assert!(wrong(Goal { precision: 0.0, ..goal() }).starts_with("precision"));
        assert!(wrong(Goal { precision: 1.5, ..goal() }).starts_with("precision"));
        assert!(wrong(Goal { floor: 101.0, ..goal() }).starts_with("from: must lie between"));
        assert!(wrong(Goal { ceiling: 99.0, ..goal() }).starts_with("from: must lie between"));
        assert!(wrong(Goal { trials: 0, ..goal() }).starts_with("trials"));
    }
}
