//! What makes a trial pass, and when it is over before its time.
//!
//! Owns the rule and the trend of the backlog. Leaves alone the objectives themselves (`objective.rs` of the crate judges them) and what a
//! verdict leads to (`search.rs`).
//!
//! An open-loop trial above capacity builds a backlog without bound, and a short one may end before its latency shows it. So a trial
//! passes only if its objectives are met **and** nearly all that was offered came back **and** no more requests are in flight at its
//! end than the wandering of a steady queue explains **and** the generator kept up.

/// Completed over offered, below which a trial did not carry its rate.
pub const COMPLETED_MIN: f64 = 0.98;
/// Standard deviations by which answers may lag behind arrivals by chance: one trial in 700 lags by more.
const CHANCE: f64 = 3.0;
/// The stretches whose growth is compared. Ten, so that Student's t has nine degrees of freedom.
const STRETCHES: usize = 10;
/// Student's t with 9 degrees of freedom at 0.995: the interval of a trend holds 99 %.
const T_995: f64 = 3.250;
/// The same at 0.9995. Whether to break off is asked many times in one trial.
const T_9995: f64 = 4.781;

/// One look at the requests in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Seconds since the start of the trial.
    pub at_s: f64,
    /// Requests sent and not answered. What a late generator has not sent yet is its own backlog, not the service's.
    pub in_flight: u64,
}

/// How fast the backlog grows, requests per second, with its 99 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The best guess.
    pub slope: f64,
    /// Above zero: it grows.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Requests in flight, mean over the looks.
    pub level: f64,
}

/// What the objectives said, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objectives {
    /// At least one broken.
    Violated,
    /// None broken, at least one without a verdict.
    Inconclusive,
    /// All met.
    Met,
}

/// A trial as it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Over the whole trial.
    pub objectives: Objectives,
    /// Arrivals due in the second half of the trial. Half, because in the first a slow service still fills up.
    pub offered: u64,
    /// Good answers that arrived in that same half, whenever they were due. Twice the latency must fit into the trial.
    pub completed: u64,
    /// [`trend`] over the looks of that half; none when there were too few.
    pub backlog: Option<Trend>,
    /// It was broken off because [`hopeless`] said so.
    pub broken_off: bool,
    /// A safety stop ended it.
    pub safety_stop: bool,
    /// The generator kept up: what was seen is the service, not us.
    pub kept_up: bool,
}

/// What a trial showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The rate is carried.
    Passed,
    /// It is not.
    Failed(Cause),
    /// The generator could not offer this rate, which says nothing of the service.
    GeneratorBound,
    /// Nothing was shown: too few samples, or nothing arrived.
    Inconclusive,
}

/// Why a rate is not carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// The run's safety stop.
    SafetyStop,
    /// An objective broke.
    Objective,
    /// Only this share of what was offered came back.
    Completed(f64),
    /// The backlog grew, by this many requests per second at least.
    Backlog(f64),
    /// Broken off: the backlog alone broke the objectives already, and grew.
    Hopeless,
}

/// The verdict. What stopped the trial comes first, then whether it can be believed, then what it showed.
pub fn judge(seen: &Seen) -> Verdict {
    judge_lost(seen, 0)
}

/// The same where it is known how many of `offered` got no good answer at all, not even a late one.
pub fn judge_lost(seen: &Seen, lost: u64) -> Verdict {
    let grows = seen.backlog.map(|trend| trend.low).filter(|low| *low > 0.0);
    let share = (seen.offered > 0).then(|| came_back(seen, lost) as f64 / seen.offered as f64);
    match (seen.objectives, share, grows) {
        _ if seen.safety_stop => Verdict::Failed(Cause::SafetyStop),
        // Before `kept_up`: the backlog counts only what was sent, so that it is the service's own.
        _ if seen.broken_off => Verdict::Failed(Cause::Hopeless),
        _ if !seen.kept_up => Verdict::GeneratorBound,
        (Objectives::Violated, ..) => Verdict::Failed(Cause::Objective),
        (_, None, _) => Verdict::Inconclusive,
        (_, Some(share), _) if share < COMPLETED_MIN => Verdict::Failed(Cause::Completed(share)),
        (_, _, Some(low)) => Verdict::Failed(Cause::Backlog(low)),
        (Objectives::Inconclusive, ..) => Verdict::Inconclusive,
        (Objectives::Met, ..) => Verdict::Passed,
    }
}

/// How many of those offered came back, chance left out.
///
/// Without errors, offered less completed is what is in flight at the end of the half less what was at its start. In a steady service with
/// Poisson arrivals both are Poisson around the mean in flight L (M/G/∞: Kleinrock, "Queueing Systems" I, 1975, section 3.4), and
/// what they share makes their difference only smaller: its standard deviation is at most √(2 L). A service that falls behind by less than
/// three of those is left to the trend. What is lost for good is no matter of chance, and counts whatever is in flight.
fn came_back(seen: &Seen, lost: u64) -> u64 {
    let chance = CHANCE * (2.0 * seen.backlog.map_or(0.0, |trend| trend.level)).sqrt();
    let behind = seen.offered.saturating_sub(seen.completed);
    let answered = seen.offered.saturating_sub(lost);
    if behind as f64 > chance { answered.min(seen.completed) } else { answered }
}

/// The trend of the backlog. None with fewer than eleven looks, or when time does not go forward by a microsecond at least.
///
/// Looks in a row are not independent, so that a line through them would be far too sure of itself. A queue near its capacity moves like
/// a random walk (Kingman 1962; Whitt, "Stochastic-Process Limits", 2002, chapter 5), whose *steps* are independent: the drift is the whole
/// way over the whole time, its error comes from how ten stretches of it differ. Below capacity the steps pull back and the
/// error is overestimated, which is the safe side.
pub fn trend(looks: &[Look]) -> Option<Trend> {
    drift(looks, T_995)
}

/// Whether a trial at `rate` need not go on: more is in flight than Little's law allows at a mean latency of `allowance_s` (the tightest
/// latency bound, or the timeout), and it grows still. Ask as often as you like, with all looks since the start.
pub fn hopeless(looks: &[Look], rate: f64, allowance_s: f64) -> bool {
    let allowed = rate * allowance_s;
    let over = looks.last().is_some_and(|look| look.in_flight as f64 > allowed);
    // The newer half, since the start of a trial always grows.
    over && drift(&looks[looks.len() / 2..], T_9995).is_some_and(|trend| trend.low > 0.0)
}

fn drift(looks: &[Look], t: f64) -> Option<Trend> {
    let last = looks.len().checked_sub(1).filter(|last| *last >= STRETCHES)?;
    let at = |i: usize| looks[i * last / STRETCHES];
    let steps: Vec<(f64, f64)> = (0..STRETCHES)
        .map(|i| (at(i + 1).at_s - at(i).at_s, at(i + 1).in_flight as f64 - at(i).in_flight as f64))
        .collect();
    if !steps.iter().all(|(time, _)| time.is_finite() && *time >= 1e-6) {
        return None;
    }
    let time: f64 = steps.iter().map(|s| s.0).sum();
    let slope = steps.iter().map(|s| s.1).sum::<f64>() / time;
    // The variance of a random walk grows with time, hence the division: stretches need not be equally long.
    let spread: f64 = steps.iter().map(|(dt, dx)| (dx - slope * dt).powi(2) / dt).sum();
    let error = (spread / (STRETCHES - 1) as f64 / time).sqrt();
    let level = looks.iter().map(|look| look.in_flight as f64).sum::<f64>() / looks.len() as f64;
    Some(Trend { slope, low: slope - t * error, high: slope + t * error, level })
}

#[cfg(test)]
mod tests {
    use super::super::tests::chance;
    use super::*;

    fn good() -> Seen {
        Seen {
            objectives: Objectives::Met,
            offered: 1000,
            completed: 995,
            backlog: Some(Trend { slope: 0.1, low: -2.0, high: 2.2, level: 4.0 }),
            broken_off: false,
            safety_stop: false,
            kept_up: true,
        }
    }

    #[test]
    fn each_condition_alone_fails_a_trial() {
        let grows = Some(Trend { slope: 5.0, low: 1.0, high: 9.0, level: 4.0 });
        let table = [
            (good(), Verdict::Passed),
            (Seen { completed: 980, ..good() }, Verdict::Passed),
            (Seen { backlog: None, ..good() }, Verdict::Passed),
            (Seen { completed: 979, ..good() }, Verdict::Failed(Cause::Completed(0.979))),
            (Seen { objectives: Objectives::Violated, ..good() }, Verdict::Failed(Cause::Objective)),
            (Seen { backlog: grows, ..good() }, Verdict::Failed(Cause::Backlog(1.0))),
            (Seen { broken_off: true, ..good() }, Verdict::Failed(Cause::Hopeless)),
            (Seen { safety_stop: true, ..good() }, Verdict::Failed(Cause::SafetyStop)),
            (Seen { kept_up: false, ..good() }, Verdict::GeneratorBound),
            (Seen { objectives: Objectives::Inconclusive, ..good() }, Verdict::Inconclusive),
            (Seen { offered: 0, completed: 0, ..good() }, Verdict::Inconclusive),
        ];
        for (seen, verdict) in table {
            assert_eq!(judge(&seen), verdict, "{seen:?}");
        }
    }

    /// 20/s of 1 s each: 20 in flight, so that 3 · √40 = 18.97 answers of 200 may lag behind by chance.
    #[test]
    fn a_slow_service_does_not_fail_by_chance() {
        let level = |level| Some(Trend { slope: 0.1, low: -2.0, high: 2.2, level });
        let slow = |completed| Seen { offered: 200, completed, backlog: level(20.0), ..good() };
        assert_eq!(judge(&slow(182)), Verdict::Passed, "91 %, within chance");
        assert_eq!(judge(&slow(181)), Verdict::Failed(Cause::Completed(0.905)), "beyond it");
        assert_eq!(judge(&slow(220)), Verdict::Passed, "more came than went");
        let quick = Seen { backlog: level(0.1), ..slow(195) };
        assert_eq!(judge(&quick), Verdict::Failed(Cause::Completed(0.975)), "a fast one has little to hide behind");
        // What is lost does not come later.
        assert_eq!(judge_lost(&slow(190), 4), Verdict::Passed);
        assert_eq!(judge_lost(&slow(190), 5), Verdict::Failed(Cause::Completed(0.975)));
        assert_eq!(judge_lost(&slow(200), 300), Verdict::Failed(Cause::Completed(0.0)));
    }

    /// Half a minute of requests of 1 s each: the two sides differ by chance alone, and beyond capacity by more.
    #[test]
    fn chance_is_as_large_as_the_formula_says() {
        let failed = |seed: u64, served: usize| {
            let mut draw = chance(seed);
            // Per tick of 10 ms a request comes with a chance of 20 in 100, and what came a second ago goes.
            let came: Vec<u64> = (0..3000).map(|_| u64::from(draw(100) < 20)).collect();
            let offered: u64 = came[1500..].iter().sum();
            let (mut completed, mut in_flight, mut late) = (0_u64, 0_u64, Vec::new());
            for (i, comes) in came.iter().enumerate() {
                in_flight += *comes;
                let goes = if i < 100 || draw(100) >= served { 0 } else { came[i - 100] };
                in_flight -= goes;
                if i >= 1500 {
                    completed += goes;
                    late.push(Look { at_s: i as f64 / 100.0, in_flight });
                }
            }
            let seen = Seen { offered, completed, backlog: trend(&late), ..good() };
            matches!(judge(&seen), Verdict::Failed(_))
        };
        let false_alarms = (0..500).filter(|seed| failed(*seed, 100)).count();
        assert!(false_alarms <= 15, "{false_alarms} of 500");
        let found = (0..100).filter(|seed| failed(*seed, 70)).count();
        assert!(found > 95, "{found} of 100");
    }

    #[test]
    fn the_stronger_reason_wins() {
        let slow_generator = Seen { kept_up: false, objectives: Objectives::Violated, ..good() };
        assert_eq!(judge(&slow_generator), Verdict::GeneratorBound, "a late generator makes latency look bad");
        assert_eq!(judge(&Seen { safety_stop: true, ..slow_generator }), Verdict::Failed(Cause::SafetyStop));
        let starved = Seen { objectives: Objectives::Inconclusive, completed: 10, ..good() };
        assert_eq!(
            judge(&starved),
            Verdict::Failed(Cause::Completed(0.01)),
            "so few came back that it needs no verdict"
        );
    }

    fn looks(in_flight: impl Fn(usize) -> u64, count: usize) -> Vec<Look> {
        (0..count).map(|i| Look { at_s: i as f64 * 0.1, in_flight: in_flight(i) }).collect()
    }

    #[test]
    fn a_steady_growth_is_its_slope() {
        let found = trend(&looks(|i| 3 * i as u64, 101)).unwrap();
        assert!((found.slope - 30.0).abs() < 1e-9 && (found.low - 30.0).abs() < 1e-6, "{found:?}");
        let flat = trend(&looks(|_| 7, 101)).unwrap();
        assert_eq!((flat.slope, flat.low, flat.high, flat.level), (0.0, 0.0, 0.0, 7.0));
        let falls = trend(&looks(|i| 500 - i as u64, 101)).unwrap();
        assert!(falls.high < 0.0);
    }

    /// By hand: nine steps of 1 and one of 11 in a second each; slope 2, variance (9 · 1 + 81) / 9 = 10, error √(10 / 10) = 1.
    #[test]
    fn the_interval_is_that_of_students_t() {
        let walk = |i: usize| Look { at_s: i as f64, in_flight: if i == 10 { 20 } else { i as u64 } };
        let found = trend(&(0..=10).map(walk).collect::<Vec<_>>()).unwrap();
        assert!((found.slope - 2.0).abs() < 1e-12 && (found.low - (2.0 - 3.25)).abs() < 1e-12, "{found:?}");
        assert!((found.high - (2.0 + 3.25)).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn too_few_looks_or_time_that_stands_still_is_no_trend() {
        assert_eq!(trend(&looks(|i| i as u64, 10)), None);
        assert_eq!(trend(&[]), None);
        let still = [Look { at_s: 1.0, in_flight: 5 }; 30];
        assert_eq!(trend(&still), None);
        assert!(!hopeless(&still, 1.0, 0.1));
        assert!(!hopeless(&[], 1.0, 0.1));
        let broken = [Look { at_s: f64::NAN, in_flight: 5 }; 30];
        assert_eq!(trend(&broken), None);
    }

    /// A random walk without drift is called growing in half a per cent of trials (one side of 99 %), and one with drift is found.
    #[test]
    fn wandering_is_not_growth() {
        let grows = |seed: u64, up: usize| {
            let mut draw = chance(seed);
            let mut level = 10_000_u64;
            let walk: Vec<_> = (0..200)
                .map(|i| {
                    for _ in 0..20 {
                        level = if draw(100) < up { level + 1 } else { level - 1 };
                    }
                    Look { at_s: f64::from(i) * 0.1, in_flight: level }
                })
                .collect();
            trend(&walk).unwrap().low > 0.0
        };
        let false_alarms = (0..2000).filter(|seed| grows(*seed, 50)).count();
        assert!((2..=22).contains(&false_alarms), "{false_alarms} of 2000, expected 10");
        let found = (0..200).filter(|seed| grows(*seed, 55)).count();
        assert!(found > 190, "{found} of 200");
    }

    #[test]
    fn a_trial_is_hopeless_when_its_backlog_is_too_large_and_grows() {
        // 1000 offered, 500 served per second: 250 ms' worth of backlog after half a second.
        let growing = looks(|i| 50 * i as u64, 40);
        assert!(!hopeless(&growing[..5], 1000.0, 0.25), "not yet");
        assert!(!hopeless(&growing[..20], 1000.0, 0.25), "ten looks are no trend");
        assert!(hopeless(&growing[..21], 1000.0, 0.25));
        assert!(!hopeless(&growing, 1000.0, 10.0), "a latency that is allowed");
        assert!(!hopeless(&looks(|_| 900, 40), 1000.0, 0.25), "full, and staying so: the objectives will say it");
        assert!(!hopeless(&looks(|i| 2000 - i as u64, 40), 1000.0, 0.25), "it drains");
    }
}
