//! `resbench report RUN`: the files of a run, rendered anew from its run.json. Of a folder of runs, the newest.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Output, USAGE, out};
use crate::cli::{capacity, compare, game_day};
use crate::report::gameday::model::GameDay;
use crate::report::result_file::{self, ResultFile};
use crate::report::{self, comparison, sizing, store};

#[derive(Args)]
pub(super) struct ReportArgs {
    /// The run's folder (or the run.json in it); of a folder that holds runs, the newest.
    run: PathBuf,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

pub(super) fn report(args: &ReportArgs) -> u8 {
    let dir = if args.run.ends_with("run.json") {
        args.run.parent().unwrap_or(&args.run).to_owned()
    } else {
        match store::newest(&args.run) {
            Some(newest) => {
                out::talk(&format!("newest run: {}\n", out::safe(&newest.display().to_string())));
                newest
            }
            None => args.run.clone(),
        }
    };
    if let Some(file) = comparison::result_file(&dir) {
        return again(&file, &dir, |c| compare::shown(c, &dir, args.output));
    }
    if let Some(file) = sizing::result_file(&dir) {
        return again(&file, &dir, |s| capacity::shown(s, &dir, args.output));
    }
    if let Some(file) = result_file::find::<GameDay>(&dir) {
        return again(&file, &dir, |d| game_day::shown(d, &dir, args.output));
    }
    let report = match store::load(&dir) {
        Ok(report) => report,
        Err(why) => {
            out::error(&why);
            return USAGE;
        }
    };
    if let Err(e) = store::save(&dir, &report) {
        out::error(&format!("{}: {e}", dir.display()));
        return USAGE;
    }
    out::result(&match args.output {
        Output::Human => format!(
            "{}report    {}\n",
            report::text::summary(&report, out::stdout_width(), out::stdout_has_color()),
            dir.join("report.html").display()
        ),
        Output::Markdown => report::markdown(&report),
        Output::Json => std::fs::read_to_string(dir.join("run.json")).unwrap_or_default(),
    });
    0
}

/// The files of a result of many runs, made anew.
fn again<R: ResultFile>(file: &Path, dir: &Path, shown: impl Fn(&R) -> String) -> u8 {
    let saved = result_file::load::<R>(file).and_then(|r| match result_file::save(dir, &r) {
        Ok(()) => Ok(r),
        Err(e) => Err(format!("{}: {e}", dir.display())),
    });
    match saved {
        Ok(result) => {
            out::result(&shown(&result));
            0
        }
        Err(why) => {
            out::error(&why);
            USAGE
        }
    }
}
