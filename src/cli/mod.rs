//! The command line: one file per command; the only module that prints.
//!
//! Results go to stdout, talk to stderr. A closed pipe is quiet success. Exit codes are those of DESIGN section 3.

mod capacity;
mod check;
mod compare;
mod doctor;
mod game_day;
mod gate;
mod init;
mod many;
mod model_server;
mod out;
mod plan;
mod progress;
mod report;
mod revert;
mod run;
mod shell;
mod signals;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::fault::{stress, watchdog};
use crate::plan::Plan;
use crate::report::gameday::{self, model::GameDay};
use crate::report::result_file;
use crate::scenario::{self, LoadOptions};

/// Wrong usage, or a scenario that is not valid.
const USAGE: u8 = 2;

/// Open-loop prediction traffic at a model endpoint while scripted faults hit it: proves each fault, judges each objective.
#[derive(Parser)]
#[command(name = "resbench", version, about, propagate_version = true, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  resbench init my-bench                       a working scenario, its data and a model
  resbench check scenarios/pod-kill.toml       every problem at once
  resbench plan scenarios/pod-kill.toml        what would happen, to whom, and how it is undone
  resbench run scenarios/pod-kill.toml         do it; the report is in reports/
  resbench run scenarios/pod-kill.toml --set phase.baseline.rate=900 --seed 7
  resbench run scenarios/pod-kill.toml --output json | jq .verdict

Exit codes:
  0 every objective met · 1 an objective violated · 2 wrong usage or scenario · 3 inconclusive
  4 something was left broken · 5 not started · 130 interrupted";

#[derive(Subcommand)]
enum Command {
    /// Send traffic, break things, judge, report.
    Run(run::RunArgs),
    /// Validate a scenario and list every problem.
    Check(ScenarioArgs),
    /// Print what a run would do: phases, arrivals, faults and their targets, undo list.
    Plan(plan::PlanArgs),
    /// Run two variants of a scenario in interleaved pairs and say which is worse; or set two saved runs side by side.
    Compare(compare::CompareArgs),
    /// A comparison that a CI job goes by, with a history of nights.
    Gate(gate::GateArgs),
    /// Search for the highest rate that is carried, also while a fault is held, and say how many replicas follow from it.
    Capacity(capacity::CapacityArgs),
    /// Run the scenarios of a folder, from the smallest blast radius up, until one fails; one report with a checklist.
    GameDay(game_day::GameDayArgs),
    /// Render the files of a finished run anew.
    Report(report::ReportArgs),
    /// Put back what a dead run left.
    Revert(revert::RevertArgs),
    /// Say what this machine can do, and how to get what is missing.
    Doctor(doctor::DoctorArgs),
    /// Write a working scenario with its data and model, to start from.
    Init(init::InitArgs),
    /// Print the JSON Schema of the scenario language, or of a result file.
    Schema(SchemaArgs),
    /// The embedded target: a small model behind the MLflow scoring protocol.
    ModelServer(Box<crate::model_server::Options>),
    /// Print a completion script for a shell.
    Completions(shell::CompletionsArgs),
    /// Print the manual page (or write one per command).
    Man(shell::ManArgs),
    /// Puts back what this run leaves should it die. Started by `run`, not by people.
    #[command(name = "watchdog-internal", hide = true)]
    Watchdog {
        #[arg(long)]
        journal: PathBuf,
    },
    /// Uses up CPU time or memory beside a replica. Started by a fault, not by people.
    #[command(name = "stress-internal", hide = true)]
    Stress {
        /// Share of one CPU.
        #[arg(long, conflicts_with = "memory", required_unless_present = "memory")]
        cpu: Option<f64>,
        /// Bytes.
        #[arg(long)]
        memory: Option<u64>,
        /// Control groups to go into first.
        #[arg(long)]
        cgroup: Vec<PathBuf>,
    },
}

/// A scenario and how to change it.
#[derive(Args)]
struct ScenarioArgs {
    /// The scenario file.
    file: PathBuf,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Args)]
struct ChangeArgs {
    /// Change a value: `phase.baseline.rate=900`, `fault.kill-one.at=12s`, `objective.0.max=200ms`. Repeatable.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Root of every random choice, instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct SchemaArgs {
    /// The schema of what: the scenario language, or a result file.
    #[arg(value_enum, default_value = "scenario")]
    of: SchemaOf,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaOf {
    Scenario,
    Run,
    Compare,
    Gate,
    Capacity,
    GameDay,
}

/// The form of results on stdout.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
    Markdown,
}

/// Runs the program; gives its exit code. A success whose words got lost on the way to stdout is none.
pub fn main() -> u8 {
    let code = command();
    if code == 0 && !out::whole() { USAGE } else { code }
}

fn command() -> u8 {
    // The watchdog comes first: before any file is opened or thread started (see `fault::watchdog`).
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Help to a closed pipe is quiet success too.
            let _ = error.print();
            return code;
        }
    };
    match cli.command {
        Command::Watchdog { journal } => u8::from(watchdog::run(&journal).is_err()),
        Command::Stress { cpu, memory, cgroup } => {
            let task = cpu.map_or(stress::Task::Memory(memory.unwrap_or(0)), stress::Task::Cpu);
            // Ends by being killed; what it says goes to the run that started it.
            let Err(why) = stress::run(task, &cgroup);
            out::error(&why);
            1
        }
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Gate(args) => gate::gate(&args),
        Command::Capacity(args) => capacity::capacity(&args),
        Command::GameDay(args) => game_day::game_day(&args),
        Command::Report(args) => report::report(&args),
        Command::Revert(args) => revert::revert(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Init(args) => init::init(&args),
        Command::Schema(args) => {
            let schema = match args.of {
                SchemaOf::Scenario => scenario::schema(),
                SchemaOf::Run => crate::report::schema(),
                SchemaOf::Compare => crate::report::comparison::schema(false),
                SchemaOf::Capacity => crate::report::sizing::schema(),
                SchemaOf::GameDay => result_file::schema::<GameDay>(gameday::model::SCHEMA, "A game day of resbench"),
                SchemaOf::Gate => crate::report::comparison::schema(true),
            };
            out::result(&format!("{}\n", serde_json::to_string_pretty(&schema).unwrap_or_default()));
            0
        }
        Command::ModelServer(options) => model_server::model_server(*options),
        Command::Completions(args) => shell::completions(&args, &mut Cli::command()),
        Command::Man(args) => shell::man(&args, &Cli::command()),
    }
}

/// Reads a scenario, or prints all its problems and gives the exit code.
fn load(file: &std::path::Path, change: &ChangeArgs) -> Result<Plan, u8> {
    let options = LoadOptions { sets: change.sets.clone(), seed: change.seed, ..LoadOptions::default() };
    scenario::load(file, &options).map_err(|problems| {
        out::talk(&problems.render(out::stderr_has_color(), out::stderr_width()));
        USAGE
    })
}
