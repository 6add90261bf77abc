//! A game day: many scenarios, one after another, from the smallest blast radius up.
//!
//! Owns when the next one may begin and when the day is over. Leaves alone what a run is ([`super::run`]), the order (`order.rs`), what is
//! said of it (`report/gameday/`), and every word on a terminal.

pub mod order;

use std::path::Path;
use std::time::Duration;

use crate::clock;
use crate::fault::journal;
use crate::fault::stop::StopSignal;
use crate::plan::Plan;
use crate::report::gameday::model::{ActionItem, DayScenario, Outcome};
use crate::report::gameday::of_run;
use crate::report::model::{Ending, Report, ScenarioInfo};
use crate::run::{LoadOptions, Observer, RunOptions, run};

/// The rest between two scenarios: what one leaves behind (ports, CPUs) must not be the next one's.
const REST: Duration = Duration::from_secs(1);

/// What a day is made of.
pub struct Day<'a> {
    /// Its folder; runs are kept in `runs/` in it.
    pub dir: &'a Path,
    /// The scenarios, in order.
    pub plans: &'a [Plan],
    /// The command that reproduces a scenario alone.
    pub reproduce: &'a dyn Fn(&Plan) -> String,
    /// Go on after a scenario that failed.
    pub keep_going: bool,
    /// How the load engine uses the machine.
    pub load: LoadOptions,
    /// Raised by Ctrl-C or SIGTERM.
    pub stop: StopSignal,
}

/// Told of a day as it goes.
pub trait Watch {
    /// A scenario is about to begin; gives who is told of it.
    fn begins<'p>(&self, line: &DayScenario, plan: &'p Plan) -> Box<dyn Observer + 'p>;
    /// A scenario has ended.
    fn ended(&self, line: &DayScenario);
}

/// What a day brought.
#[derive(Debug, Default)]
pub struct Played {
    /// Every scenario, those that were not run too.
    pub scenarios: Vec<DayScenario>,
    /// What is to be done.
    pub actions: Vec<ActionItem>,
    /// How it ended.
    pub ending: Ending,
    /// Nothing was left broken.
    pub clean: bool,
    /// Why it ended before its last scenario, and what is still broken.
    pub why: Vec<String>,
}

/// Runs the scenarios until one fails (unless told to keep going), somebody stops it, or something was left broken.
pub fn play(day: &Day<'_>, watch: &dyn Watch) -> Played {
    let mut played = Played { ending: Ending::Completed, clean: true, ..Played::default() };
    let lines = day.plans.iter().enumerate().map(|(i, plan)| line(i + 1, plan));
    played.scenarios = lines.collect();
    for (i, plan) in day.plans.iter().enumerate() {
        if day.stop.stopped() {
            played.ending = Ending::Interrupted;
            break;
        }
        if i > 0 {
            clock::sleep(REST);
        }
        let (line, report) = one(day, watch, played.scenarios[i].clone(), plan);
        watch.ended(&line);
        let goes_on = judge(day, &line, report.as_ref(), &mut played);
        played.actions.extend(items(&line, report.as_ref()));
        played.scenarios[i] = line;
        if !goes_on {
            break;
        }
    }
    // Serious ones first; within the same weight in the order of the day.
    played.actions.sort_by_key(|a| a.severity);
    played
}

fn line(number: usize, plan: &Plan) -> DayScenario {
    DayScenario {
        number,
        scenario: ScenarioInfo {
            name: plan.name.clone(),
            sha256: plan.source.sha256.clone(),
            path: plan.source.path.display().to_string(),
            lesson: plan.lesson.clone(),
        },
        radius: order::radius(plan),
        planned_s: plan.end().as_secs_f64(),
        ..DayScenario::default()
    }
}

fn one(day: &Day<'_>, watch: &dyn Watch, line: DayScenario, plan: &Plan) -> (DayScenario, Option<Report>) {
    let options = RunOptions {
        reports: day.dir.join("runs"),
        load: day.load.clone(),
        stop: day.stop.clone(),
        reproduce: (day.reproduce)(plan),
    };
    let observer = watch.begins(&line, plan);
    match run(plan, &options, observer.as_ref()) {
        Ok(done) => {
            let dir = done.dir.strip_prefix(day.dir).unwrap_or(&done.dir).display().to_string();
            (of_run::told(line, &done.report, dir), Some(done.report))
        }
        Err(error) => {
            let code = error.exit_code();
            let secret = |text: String| {
                plan.secrets.iter().filter(|s| !s.is_empty()).fold(text, |t, s| t.replace(s.as_str(), "***"))
            };
            let line = DayScenario {
                outcome: Outcome::of(code),
                exit_code: Some(code),
                sentence: secret(error.to_string()),
                ..line
            };
            (line, None)
        }
    }
}

/// May the day go on after this scenario?
fn judge(day: &Day<'_>, line: &DayScenario, report: Option<&Report>, played: &mut Played) -> bool {
    let name = &line.scenario.name;
    let left = left_by(report);
    if line.outcome == Outcome::NotClean || !left.is_empty() {
        played.clean = false;
        played.why.push(format!("{name} left something broken, so that nothing more is run: resbench revert"));
        played.why.extend(report.map_or_else(|| vec![line.sentence.clone()], |r| r.residue.clone()));
        played.why.extend(left);
        return false;
    }
    match line.outcome {
        Outcome::Met => true,
        Outcome::Interrupted => {
            played.ending = Ending::Interrupted;
            false
        }
        // What is missing here says nothing about the service; a steady state that does not hold does.
        Outcome::NotStarted if !unsteady(report) => true,
        _ if day.keep_going => true,
        outcome => {
            let what = if outcome == Outcome::NotStarted { "the steady state did not hold" } else { outcome.words() };
            played.why.push(format!("stopped at {name}: {what}"));
            false
        }
    }
}

/// The service was not well before anything was broken: a probe failed, or so many answers did that the run stopped by itself.
pub(crate) fn unsteady(report: Option<&Report>) -> bool {
    report.is_some_and(|r| r.ending == Ending::SafetyStop || r.probes.iter().any(|p| p.failed > 0))
}

/// A journal of this run that is still open.
fn left_by(report: Option<&Report>) -> Vec<String> {
    let Some(report) = report else { return Vec::new() };
    let Ok(state) = journal::state_dir() else { return Vec::new() };
    let path = state.join(format!("{}.jsonl", report.id));
    if path.exists() { vec![format!("its journal is still there: {}", path.display())] } else { Vec::new() }
}

fn items(line: &DayScenario, report: Option<&Report>) -> Vec<ActionItem> {
    let mut all = report.map_or_else(Vec::new, of_run::actions);
    if line.outcome == Outcome::NotStarted {
        all.push(ActionItem {
            scenario: line.scenario.name.clone(),
            severity: crate::report::findings::Severity::Warning,
            text: if unsteady(report) {
                "Bring the service into its steady state, then run this again".to_owned()
            } else {
                "Make it possible to run this here (`resbench doctor` says what is missing), or run it where it is"
                    .to_owned()
            },
            because: line.sentence.clone(),
        });
    }
    all
}

/// DESIGN section 3, over a day: what was left broken first, then an interruption, then a scenario that was violated, then one that is
/// undecided, then one that could not start here.
pub fn exit_code(played: &Played) -> u8 {
    let failed = |wanted: &dyn Fn(Outcome) -> bool| {
        played.scenarios.iter().find(|s| wanted(s.outcome)).and_then(|s| s.exit_code)
    };
    match (played.clean, played.ending) {
        (false, _) => 4,
        (_, Ending::Interrupted) => 130,
        _ => failed(&|o| o == Outcome::Violated)
            .or_else(|| failed(&|o| o == Outcome::Inconclusive))
            .or_else(|| failed(&|o| o == Outcome::NotStarted))
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_day_s() {
        let day = |codes: &[u8]| {
            let scenarios = codes.iter().map(|c| DayScenario {
                outcome: Outcome::of(*c),
                exit_code: Some(*c),
                ..DayScenario::default()
            });
            Played { scenarios: scenarios.collect(), ending: Ending::Completed, clean: true, ..Played::default() }
        };
        for (codes, code) in
            [(&[0, 0][..], 0), (&[0, 5, 3, 1], 1), (&[0, 5, 3], 3), (&[0, 5, 1], 1), (&[5, 0], 5), (&[], 0)]
        {
            assert_eq!(exit_code(&day(codes)), code, "{codes:?}");
        }
        assert_eq!(exit_code(&Played { clean: false, ..day(&[1]) }), 4);
        assert_eq!(exit_code(&Played { ending: Ending::Interrupted, ..day(&[1, 130]) }), 130);
    }
}
