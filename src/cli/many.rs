//! What the commands that make many runs share: `compare`, `gate` and `capacity`.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{ChangeArgs, Output, USAGE, out, run, signals};
use crate::fault::stop::StopSignal;
use crate::plan::Plan;
use crate::report::model::{Ending, ScenarioInfo};
use crate::run::make_dir;

#[derive(Args)]
pub(super) struct ManyArgs {
    /// The folder that results are kept in.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    pub(super) reports: PathBuf,
    /// Ask nothing.
    #[arg(long, short)]
    pub(super) yes: bool,
    /// No progress, only the result.
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// The form of the result.
    #[arg(long, value_enum, default_value = "human")]
    pub(super) output: Output,
}

/// Listens for Ctrl-C, and makes the folder: its id and path.
///
/// # Errors
/// An exit code, after saying why.
pub(super) fn begin(plan: &Plan, reports: &Path, stop: &StopSignal) -> Result<(String, PathBuf), u8> {
    signals::listen(stop.clone()).map_err(|e| {
        out::error(&format!("Ctrl-C cannot be listened for: {e}"));
        5u8
    })?;
    make_dir(plan, reports).map_err(|e| {
        out::error(&e.to_string());
        e.exit_code()
    })
}

/// The command that does it again.
pub(super) fn reproduce(command: &str, file: &Path, seed: u64, change: &ChangeArgs) -> String {
    let mut words = format!("resbench {command} {} --seed {seed}", run::quote(&file.display().to_string()));
    words.push_str(&run::shown_sets(&change.sets));
    words
}

/// What was run.
pub(super) fn scenario_info(plan: &Plan) -> ScenarioInfo {
    ScenarioInfo {
        name: plan.name.clone(),
        sha256: plan.source.sha256.clone(),
        path: plan.source.path.display().to_string(),
        lesson: plan.lesson.clone(),
    }
}

/// Values of `${VAR}` never reach a file.
pub(super) fn mask<'a>(secrets: &[String], texts: impl Iterator<Item = &'a mut String>) {
    for text in texts {
        secrets.iter().filter(|s| !s.is_empty()).for_each(|s| *text = text.replace(s.as_str(), "***"));
    }
}

/// A summary for people, and where the page is.
pub(super) fn for_people(summary: &str, dir: &Path) -> String {
    format!("{summary}report    {}\n", dir.join("report.html").display())
}

/// How a command of many runs ended.
pub(super) struct Outcome {
    pub(super) clean: bool,
    pub(super) ending: Ending,
    pub(super) exit_code: u8,
}

/// Says the result, and what went wrong where nothing was measured or something was left broken; gives the exit code.
pub(super) fn finish<'a>(
    saved: io::Result<()>,
    result: &str,
    whys: impl Iterator<Item = &'a String>,
    outcome: &Outcome,
) -> u8 {
    if let Err(e) = saved {
        out::error(&format!("the report could not be kept: {e}"));
        return if outcome.clean { USAGE } else { 4 };
    }
    out::result(result);
    if outcome.ending == Ending::NotStarted || !outcome.clean {
        whys.take(5).for_each(|why| out::error(why));
    }
    outcome.exit_code
}
