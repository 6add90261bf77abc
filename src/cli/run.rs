//! `resbench run FILE`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::progress::Show;
use crate::cli::{Output, ScenarioArgs, USAGE, check, load, out, plan, signals};
use crate::fault::stop::StopSignal;
use crate::plan::Plan;
use crate::report;
use crate::report::model::Ending;
use crate::run::{RunOptions, run as run_plan};

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// The folder that runs are kept in.
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

pub(super) fn run(args: &RunArgs) -> u8 {
    let plan = match load(&args.scenario.file, &args.scenario.change) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if !args.quiet {
        check::warnings(&plan).iter().for_each(|w| out::talk(&format!("warning: {w}\n")));
        out::talk(&format!("{}\n", plan::describe(&plan)));
    }
    if let Err(code) = consent(&plan, args.yes) {
        return code;
    }
    let stop = StopSignal::new();
    if let Err(e) = signals::listen(stop.clone()) {
        out::error(&format!("Ctrl-C cannot be listened for: {e}"));
        return 5;
    }
    let options = RunOptions { reports: args.reports.clone(), stop, reproduce: reproduce(&plan) };
    let show = Show::new(&plan, args.quiet);
    let finished = run_plan(&plan, &options, &show);
    show.end();
    match finished {
        Ok(done) => {
            let text = match args.output {
                Output::Human => format!(
                    "{}report    {}\n",
                    report::text::summary(&done.report, out::stdout_width(), out::stdout_has_color()),
                    done.dir.join("report.html").display()
                ),
                Output::Markdown => report::markdown(&done.report),
                Output::Json => std::fs::read_to_string(done.dir.join("run.json")).unwrap_or_default(),
            };
            out::result(&text);
            // The summary has room for a line of each; a replica's last words are the ones that help.
            if done.report.ending == Ending::NotStarted {
                done.report.reasons.iter().for_each(|why| out::error(why));
            }
            done.report.exit_code
        }
        Err(error) => {
            out::error(&error.to_string());
            error.exit_code()
        }
    }
}

/// Anything that is not on this machine needs a yes.
fn consent(plan: &Plan, yes: bool) -> Result<(), u8> {
    let Some(url) = plan.target.url.as_ref().filter(|u| !is_loopback(&u.host)) else { return Ok(()) };
    if yes {
        return Ok(());
    }
    if !out::stdin_is_terminal() {
        out::error(&format!("{} is not on this machine: say --yes to send it this traffic", url.host));
        return Err(USAGE);
    }
    if out::ask(&format!("{} is not on this machine.", url.host)) { Ok(()) } else { Err(USAGE) }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The command that does the same again.
fn reproduce(plan: &Plan) -> String {
    let mut command = format!("resbench run {} --seed {}", quote(&plan.source.path.display().to_string()), plan.seed.0);
    for set in &plan.source.sets {
        command.push_str(&format!(" --set {}", quote(set)));
    }
    command
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
