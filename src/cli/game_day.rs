//! `resbench game-day PATH…`: the scenarios of a folder, from the smallest blast radius up, in one report.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::compare::{Transient, started_at};
use crate::cli::progress::Show;
use crate::cli::{ChangeArgs, Output, USAGE, check, load, out, run, signals};
use crate::clock;
use crate::fault::stop::StopSignal;
use crate::plan::Plan;
use crate::report::format::time_s;
use crate::report::gameday::model::{DayScenario, GameDay, Outcome, SCHEMA};
use crate::report::model::{Ending, VerdictWord};
use crate::report::{gameday, result_file};
use crate::run::game_day::{self, Day, Played, Watch, order};
use crate::run::{LoadOptions, Observer, make_dir_named};
use crate::units::show_duration;

#[derive(Args)]
pub(super) struct GameDayArgs {
    /// A folder, whose *.toml files are the scenarios (not those of its folders), or scenario files.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Root of every random choice in every scenario, instead of their own.
    #[arg(long)]
    seed: Option<u64>,
    /// Go on after a scenario that failed. Something left broken always ends the day.
    #[arg(long)]
    keep_going: bool,
    /// Print the order, with the reasons for it, and run nothing.
    #[arg(long)]
    dry_run: bool,
    /// The folder that reports are kept in.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
    /// Ask nothing.
    #[arg(long, short)]
    yes: bool,
    /// No progress, only the result.
    #[arg(long, short)]
    quiet: bool,
    /// The form of the result.
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

pub(super) fn game_day(args: &GameDayArgs) -> u8 {
    let plans = match plans(args) {
        Ok(plans) => plans,
        Err(code) => return code,
    };
    let sequence = listing(&plans);
    if args.dry_run {
        out::result(&sequence);
        return 0;
    }
    if !args.quiet {
        for plan in &plans {
            check::warnings(plan).iter().for_each(|w| out::talk(&format!("warning: {}: {w}\n", plan.name)));
        }
        out::talk(&sequence);
    }
    // Whoever has to say yes says it now, and not in the middle of the day.
    for plan in &plans {
        if let Err(code) = run::consent(plan, args.yes) {
            return code;
        }
    }
    let stop = StopSignal::new();
    if let Err(e) = signals::listen(stop.clone()) {
        out::error(&format!("Ctrl-C cannot be listened for: {e}"));
        return 5;
    }
    let (id, dir) = match make_dir_named("game-day", &args.reports) {
        Ok(made) => made,
        Err(e) => {
            out::error(&e.to_string());
            return e.exit_code();
        }
    };
    let began = clock::monotonic_nanos();
    let day = Day {
        dir: &dir,
        plans: &plans,
        reproduce: &run::reproduce,
        keep_going: args.keep_going,
        load: LoadOptions::default(),
        stop,
    };
    let played = game_day::play(&day, &Lines { quiet: args.quiet, of: plans.len() });
    let took = (clock::monotonic_nanos() - began) as f64 / 1e9;
    let result = conclude(args, &plans, id, took, played);
    if let Err(e) = result_file::save(&dir, &result) {
        out::error(&format!("the report could not be kept: {e}"));
        return if result.clean { USAGE } else { 4 };
    }
    out::result(&shown(&result, &dir, args.output));
    result.exit_code
}

/// Every scenario, valid, in the order of the day; or an exit code, after saying everything that is wrong with any of them.
fn plans(args: &GameDayArgs) -> Result<Vec<Plan>, u8> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in &args.paths {
        let found = if path.is_dir() { scenarios_in(path)? } else { vec![path.clone()] };
        files.extend(found.into_iter().filter(|f| !files.contains(f)).collect::<Vec<_>>());
    }
    let change = ChangeArgs { sets: Vec::new(), seed: args.seed };
    let all: Vec<Result<Plan, u8>> = files.iter().map(|file| load(file, &change)).collect();
    let bad = all.iter().filter(|p| p.is_err()).count();
    if bad > 0 {
        out::error(&format!("{bad} of {} scenarios are not valid, so nothing was run", files.len()));
        return Err(USAGE);
    }
    let mut all: Vec<Option<Plan>> = all.into_iter().map(Result::ok).collect();
    let whole: Vec<Plan> = all.iter().flatten().cloned().collect();
    Ok(order::order(&whole).into_iter().filter_map(|i| all[i].take()).collect())
}

fn scenarios_in(dir: &Path) -> Result<Vec<PathBuf>, u8> {
    let refuse = |why: String| {
        out::error(&why);
        USAGE
    };
    let entries = std::fs::read_dir(dir).map_err(|e| refuse(format!("{}: {e}", dir.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|f| f.is_file() && f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    if files.is_empty() {
        let why = "there is no *.toml file in it: name a folder of scenarios, or scenario files";
        return Err(refuse(format!("{}: {why}", dir.display())));
    }
    Ok(files)
}

/// The order, with the reasons for it.
fn listing(plans: &[Plan]) -> String {
    let mut text = String::from(
        "order of the day, the smallest blast radius first (share hit × severity × time, in seconds of the whole service)\n\n",
    );
    for (n, plan) in plans.iter().enumerate() {
        let radius = order::radius(plan);
        let length = show_duration(plan.end().as_duration());
        let _ = writeln!(
            text,
            "{:>3}  {:>9}  {:<24} {length:>7}  {}",
            n + 1,
            time_s(radius.seconds),
            plan.name,
            plan.source.path.display()
        );
        if !plan.lesson.is_empty() {
            let _ = writeln!(text, "                {}", plan.lesson);
        }
        radius.reasons.iter().for_each(|why| {
            let _ = writeln!(text, "                - {why}");
        });
    }
    let total: std::time::Duration = plans.iter().map(|p| p.end().as_duration()).sum();
    let _ = writeln!(text, "\n{} scenarios, {} of load\n", plans.len(), show_duration(total));
    out::safe(&text) + "\n"
}

fn conclude(args: &GameDayArgs, plans: &[Plan], id: String, took: f64, played: Played) -> GameDay {
    let exit_code = game_day::exit_code(&played);
    let name = match args.paths.as_slice() {
        [one] if one.is_dir() => {
            let whole = one.canonicalize().unwrap_or_else(|_| one.clone());
            whole.file_name().map_or("scenarios".to_owned(), |n| n.to_string_lossy().into_owned())
        }
        _ => "scenarios".to_owned(),
    };
    let mut reproduce = "resbench game-day".to_owned();
    args.paths.iter().for_each(|p| reproduce.push_str(&format!(" {}", run::quote(&p.display().to_string()))));
    if args.keep_going {
        reproduce.push_str(" --keep-going");
    }
    if let Some(seed) = args.seed {
        reproduce.push_str(&format!(" --seed {seed}"));
    }
    let nothing_ran = played.scenarios.iter().all(|s| matches!(s.outcome, Outcome::NotStarted | Outcome::NotRun));
    GameDay {
        schema: SCHEMA.into(),
        started_at: started_at(&id),
        id,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        duration_s: took,
        name,
        verdict: if exit_code == 0 {
            VerdictWord::Met
        } else if played.scenarios.iter().any(|s| s.outcome == Outcome::Violated) {
            VerdictWord::Violated
        } else {
            VerdictWord::Inconclusive
        },
        ending: match played.ending {
            Ending::Completed if nothing_ran => Ending::NotStarted,
            ending => ending,
        },
        clean: played.clean,
        exit_code,
        sentence: sentence(&played),
        reasons: played.why,
        keep_going: args.keep_going,
        scenarios: played.scenarios,
        actions: played.actions,
        reproduce,
        warnings: plans.iter().flat_map(|p| p.warnings.iter().map(|w| format!("{}: {w}", p.name))).collect(),
    }
}

/// The day in one sentence.
fn sentence(played: &Played) -> String {
    let count = |wanted: &[Outcome]| played.scenarios.iter().filter(|s| wanted.contains(&s.outcome)).count();
    let (all, met) = (played.scenarios.len(), count(&[Outcome::Met]));
    let mut text = format!("{met} of {all} scenarios kept every promise");
    let bad = [Outcome::Violated, Outcome::Inconclusive, Outcome::NotClean, Outcome::Interrupted];
    let failed: Vec<String> = played
        .scenarios
        .iter()
        .filter(|s| bad.contains(&s.outcome))
        .map(|s| format!("{} ({})", s.scenario.name, s.outcome.words()))
        .collect();
    if !failed.is_empty() {
        let _ = write!(text, "; not so {}", failed.join(", "));
    }
    for (outcome, words) in [(Outcome::NotStarted, "could not start here"), (Outcome::NotRun, "not run")] {
        let n = count(&[outcome]);
        if n > 0 {
            let _ = write!(text, "; {n} {words}");
        }
    }
    text + "."
}

/// A game day in the form asked for.
pub(super) fn shown(day: &GameDay, dir: &Path, output: Output) -> String {
    match output {
        Output::Human => format!(
            "{}report    {}\n",
            gameday::text(day, out::stdout_width(), out::stdout_has_color()),
            dir.join("report.html").display()
        ),
        Output::Markdown => gameday::markdown(day),
        Output::Json => result_file::json(day),
    }
}

/// A line for each scenario; the run's own bar while it goes.
struct Lines {
    quiet: bool,
    of: usize,
}

impl Watch for Lines {
    fn begins<'p>(&self, line: &DayScenario, plan: &'p Plan) -> Box<dyn Observer + 'p> {
        if !self.quiet {
            let length = show_duration(plan.end().as_duration());
            out::talk(&format!("{}/{}  {}  {length}\n", line.number, self.of, plan.name));
        }
        // A bar for a person; else the line at the end of each scenario is enough.
        Box::new(Transient::new(Show::new(plan, !out::stderr_is_terminal() || self.quiet)))
    }

    fn ended(&self, line: &DayScenario) {
        if !self.quiet {
            let text = format!(
                "{}/{}  {}  {}: {}",
                line.number,
                self.of,
                line.scenario.name,
                line.outcome.words(),
                line.sentence
            );
            out::talk(&format!("{}\n", out::safe(&text)));
        }
    }
}
