//! Many runs, one after another, for a comparison: interleaved pairs, looks, runs that have to be made again.
//!
//! Owns the order of runs, the rest between them, and when to stop. Leaves alone what a run is ([`super::run`]), which runs may be used and
//! what follows from them (`compare/`), and every word on a terminal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::compare::pairs::{self, Pair};
use crate::compare::{Asked, stops, usable};
use crate::fault::stop::StopSignal;
use crate::plan::Plan;
use crate::report::comparison::model::{PairReport, RunOf};
use crate::report::model::{Ending, Report};
use crate::rng;
use crate::run::{LoadOptions, Observer, RunOptions, run};
use crate::statistics::decision::{Answer, Decision, LOOK_RISK, another_look};
use crate::statistics::order::{First, orders};
use crate::units::Seed;

/// Pairs that may be made in the place of those of which a run could not be used. A run that the safety stop ended cannot be, and is
/// weighed all the same (`compare/stops.rs`).
const AGAIN: usize = 3;
/// The rest between two runs, at least and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// Over this long the CPUs are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The machine is at rest when its CPUs are no busier than before the first run, but for this share.
const REST_MARGIN: f64 = 0.10;

/// What a series is made of.
pub struct Series<'a> {
    /// The folder of the comparison; runs are kept in `runs/` in it.
    pub dir: &'a Path,
    /// Names of the arms, the reference first.
    pub arms: [&'a str; 2],
    /// The plan of an arm (0 or 1) under a seed.
    pub plan: &'a dyn Fn(usize, Seed) -> Result<Plan, String>,
    /// Root of the order and of every pair's seed.
    pub seed: Seed,
    /// Pairs before the first look, and before the last.
    pub looks: [usize; 2],
    /// What decides.
    pub asked: &'a [Asked],
    /// How the load engine uses the machine.
    pub load: LoadOptions,
    /// Raised by Ctrl-C or SIGTERM.
    pub stop: StopSignal,
    /// The command that reproduces the comparison.
    pub reproduce: &'a str,
}

/// Told of a series as it goes.
pub trait Watch {
    /// A run is about to begin; gives who is told of it.
    fn begins<'p>(&self, number: usize, arm: &str, plan: &'p Plan) -> Box<dyn Observer + 'p>;
    /// A run has ended.
    fn ended(&self, number: usize, run: &RunOf, report: Option<&Report>);
}

/// What a series brought.
#[derive(Debug, Default)]
pub struct Played {
    /// Every pair that was begun.
    pub pairs: Vec<PairReport>,
    /// The usable ones.
    pub usable: Vec<Pair>,
    /// Their runs' folders, in the same order.
    pub dirs: Vec<[PathBuf; 2]>,
    /// Usable runs of a series with one arm.
    pub singles: Vec<Report>,
    /// Usable pairs at each look.
    pub looks: Vec<usize>,
    /// How it ended.
    pub ending: Ending,
    /// What is still broken, in words; empty when nothing is.
    pub residue: Vec<String>,
    /// Why it ended early, if it did.
    pub why: Vec<String>,
}

/// Runs pairs until the looks are done, too many could not be used, somebody stops it, or something was left broken.
pub fn play(series: &Series<'_>, watch: &dyn Watch) -> Played {
    let mut played = Played { ending: Ending::Completed, ..Played::default() };
    let [first_look, last_look] = series.looks;
    let mut chance = rng::stream(series.seed, "order of pairs");
    let order = orders(last_look + AGAIN, |n| rng::below(&mut chance, n));
    let at_rest = busy();
    let mut again = 0;
    while played.usable.len() < last_look {
        let number = played.pairs.len() + 1;
        let Some(first) = order.get(number - 1) else { break };
        let turns = if *first == First::A { [0, 1] } else { [1, 0] };
        if !round(series, watch, number, &turns, at_rest, &mut played) {
            break;
        }
        if played.pairs.last().is_some_and(|p| !p.usable) {
            again += 1;
            if too_many(again, &mut played) {
                break;
            }
            continue;
        }
        let n = played.usable.len();
        if n == first_look || n == last_look {
            played.looks.push(n);
            let decided = pairs::decide(series.asked, &played.usable, series.arms, LOOK_RISK).1;
            if n == last_look || !open(&decided, &played.pairs, series.arms[1]) {
                break;
            }
        }
    }
    close(played)
}

/// May more pairs change the answer? A candidate that the safety stop ended is in doubt whatever its other runs say: more of them may show that
/// it is stopped more often.
fn open(decided: &[Decision], pairs: &[PairReport], candidate: &str) -> bool {
    let stopped = stops::of(pairs, candidate).k > 0;
    another_look(decided) || stopped && decided.iter().all(|d| d.answer != Answer::Regressed)
}

/// Runs the first arm alone, as often as the first look asks for pairs.
pub fn play_alone(series: &Series<'_>, watch: &dyn Watch) -> Played {
    let mut played = Played { ending: Ending::Completed, ..Played::default() };
    let at_rest = busy();
    let mut again = 0;
    while played.singles.len() < series.looks[0] {
        let number = played.pairs.len() + 1;
        if !round(series, watch, number, &[0], at_rest, &mut played) {
            break;
        }
        if played.pairs.last().is_some_and(|p| !p.usable) {
            again += 1;
            if too_many(again, &mut played) {
                break;
            }
        }
    }
    close(played)
}

fn too_many(again: usize, played: &mut Played) -> bool {
    if again > AGAIN {
        let last = played.pairs.iter().rev().flat_map(|p| &p.runs).find(|r| !r.why.is_empty());
        let last = last.map_or(String::new(), |r| format!(": {} in the last of them: {}", r.arm, r.why));
        played.why.push(format!("{again} rounds could not be used; at most {AGAIN} are run again{last}"));
    }
    again > AGAIN
}

/// Nothing at all ran: then nothing was started.
fn close(mut played: Played) -> Played {
    let nothing_ran = played.pairs.iter().all(|p| p.runs.iter().all(|r| r.exit_code == 5));
    if played.ending == Ending::Completed && played.usable.is_empty() && played.singles.is_empty() && nothing_ran {
        played.ending = Ending::NotStarted;
    }
    played
}

/// One pair, or one run of a series with one arm. False when the series has to end.
fn round(
    series: &Series<'_>,
    watch: &dyn Watch,
    number: usize,
    turns: &[usize],
    at_rest: Option<f64>,
    played: &mut Played,
) -> bool {
    // A seed of its own for each pair: what holds under one drawn sequence only is no answer.
    let seed = Seed(rng::below(&mut rng::stream(series.seed, &format!("pair:{number}")), 1 << 32) as u64);
    let mut report = PairReport { number, seed: seed.0, ..PairReport::default() };
    let mut runs: [Option<(Report, PathBuf)>; 2] = [None, None];
    let mut goes_on = true;
    for &arm in turns {
        if series.stop.stopped() {
            played.ending = Ending::Interrupted;
            goes_on = false;
            break;
        }
        let (run, kept) = one(series, watch, number, arm, seed);
        watch.ended(number, &run, kept.as_ref().map(|k| &k.0));
        let complete = other_run_counts(&run);
        goes_on = judge(&run, kept.as_ref().map(|k| &k.0), played);
        report.runs.push(run);
        runs[arm] = kept;
        if !goes_on || !complete {
            break;
        }
        rest(at_rest, &series.stop);
    }
    report.usable = report.runs.len() == turns.len() && report.runs.iter().all(|r| r.why.is_empty());
    match runs {
        [Some((a, dir_a)), Some((b, dir_b))] if report.usable => {
            played.usable.push((a, b));
            played.dirs.push([dir_a, dir_b]);
        }
        [Some((a, _)), None] if report.usable => played.singles.push(a),
        _ => {}
    }
    if !report.runs.is_empty() {
        played.pairs.push(report);
    }
    goes_on
}

/// Is there anything to learn from the other run of a pair after this one? From a run that failed to measure there is not. One that the
/// safety stop ended says how this arm does, and the other arm has to be asked the same.
fn other_run_counts(run: &RunOf) -> bool {
    run.why.is_empty() || run.ending == Some(Ending::SafetyStop)
}

fn one(
    series: &Series<'_>,
    watch: &dyn Watch,
    number: usize,
    arm: usize,
    seed: Seed,
) -> (RunOf, Option<(Report, PathBuf)>) {
    let name = series.arms[arm];
    let failed = |exit_code, why| (RunOf { arm: name.to_owned(), exit_code, why, ..RunOf::default() }, None);
    let plan = match (series.plan)(arm, seed) {
        Ok(plan) => plan,
        Err(why) => return failed(2, why),
    };
    let options = RunOptions {
        reports: series.dir.join("runs"),
        load: series.load.clone(),
        stop: series.stop.clone(),
        reproduce: series.reproduce.to_owned(),
    };
    let observer = watch.begins(number, name, &plan);
    match run(&plan, &options, observer.as_ref()) {
        Err(error) => failed(error.exit_code(), error.to_string()),
        Ok(done) => {
            let run = RunOf {
                arm: name.to_owned(),
                dir: done.dir.strip_prefix(series.dir).unwrap_or(&done.dir).display().to_string(),
                verdict: done.report.verdict.word().to_owned(),
                exit_code: done.report.exit_code,
                ending: Some(done.report.ending),
                why: usable(&done.report).err().unwrap_or_default(),
            };
            (run, Some((done.report, done.dir)))
        }
    }
}

/// May the series go on after this run?
fn judge(run: &RunOf, report: Option<&Report>, played: &mut Played) -> bool {
    match run.exit_code {
        4 => {
            played.residue.extend(report.map_or(vec![run.why.clone()], |r| r.residue.clone()));
            played.why.push(format!("{} left something broken, so that nothing more is run", run.arm));
            false
        }
        130 => {
            played.ending = Ending::Interrupted;
            false
        }
        // The scenario itself is at fault: it would be so again.
        2 => {
            played.why.push(run.why.clone());
            played.ending = Ending::NotStarted;
            false
        }
        _ => true,
    }
}

/// Waits until the machine is about as quiet as before the first run: what one run leaves behind must not be the next one's.
fn rest(at_rest: Option<f64>, stop: &StopSignal) {
    let began = clock::monotonic_nanos();
    let passed = || Duration::from_nanos(clock::monotonic_nanos() - began);
    loop {
        clock::sleep(LOOK);
        let quiet = match (at_rest, busy()) {
            (Some(before), Some(now)) => now <= before + REST_MARGIN,
            _ => true,
        };
        if stop.stopped() || passed() >= REST.1 || quiet && passed() >= REST.0 {
            return;
        }
    }
}

/// The share of CPU time that was used over [`LOOK`], 0 to 1; none where the kernel does not say.
fn busy() -> Option<f64> {
    let before = cpu_times()?;
    clock::sleep(LOOK);
    let after = cpu_times()?;
    let (total, idle) = (after.0.checked_sub(before.0)?, after.1.checked_sub(before.1)?);
    (total > 0).then(|| 1.0 - idle as f64 / total as f64)
}

/// All and idle ticks of `/proc/stat`.
fn cpu_times() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
    Some((ticks.iter().sum(), ticks.get(3)? + ticks.get(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Interval;
    use crate::statistics::decision::Why;

    fn run(arm: &str, ending: Ending, why: &str) -> RunOf {
        RunOf { arm: arm.into(), ending: Some(ending), why: why.into(), ..RunOf::default() }
    }

    fn decided(answer: Answer) -> [Decision; 1] {
        let (why, estimate, interval) = (Why::Decided, Some(0.0), Interval::WHOLE);
        [Decision { answer, why, estimate, interval, p: 1.0, p_adjusted: 1.0, n: 7, silent: 0 }]
    }

    #[test]
    fn the_other_arm_is_asked_after_a_safety_stop() {
        assert!(other_run_counts(&run("a", Ending::Completed, "")));
        assert!(other_run_counts(&run("a", Ending::SafetyStop, "the safety stop ended it")));
        assert!(!other_run_counts(&run("a", Ending::Completed, "the generator fell behind")));
        assert!(!other_run_counts(&RunOf { why: "no report".into(), ..RunOf::default() }));
    }

    #[test]
    fn a_candidate_that_was_stopped_keeps_a_series_open() {
        let pairs = |ending| [PairReport { runs: vec![run("b", ending, "")], ..PairReport::default() }];
        let (whole, stopped) = (pairs(Ending::Completed), pairs(Ending::SafetyStop));
        assert!(!open(&decided(Answer::NoRegression), &whole, "b"));
        assert!(open(&decided(Answer::Inconclusive), &whole, "b"));
        assert!(open(&decided(Answer::NoRegression), &stopped, "b"));
        assert!(!open(&decided(Answer::NoRegression), &stopped, "a"));
        assert!(!open(&decided(Answer::Regressed), &stopped, "b"));
    }
}
