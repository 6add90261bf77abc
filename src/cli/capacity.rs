//! `resbench capacity FILE`: the highest rate that is carried, the same while a fault is held, and how many replicas follow from it.

use clap::Args;

use crate::cli::many::{self, ManyArgs, Outcome};
use crate::cli::{Output, ScenarioArgs, USAGE, check, load, out, run};
use crate::clock;
use crate::compare::sizing as build;
use crate::fault::stop::StopSignal;
use crate::plan::Plan;
use crate::report::model::Ending;
use crate::report::sizing::model::{FoundWord, SCHEMA, SearchReport, Sizing, TrialReport};
use crate::report::{format, sizing};
use crate::rng;
use crate::run::trials::{self, Halt, Trials};

#[derive(Args)]
pub(super) struct CapacityArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    many: ManyArgs,
}

pub(super) fn capacity(args: &CapacityArgs) -> u8 {
    let plan = match load(&args.scenario.file, &args.scenario.change) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let Some(capacity) = plan.capacity.clone() else {
        out::error(&format!(
            "{}: nothing says what to search: write [capacity] with from = 100",
            args.scenario.file.display()
        ));
        return USAGE;
    };
    if let Err(why) = trials::searchable(&plan) {
        out::error(&format!("{}: {why}", args.scenario.file.display()));
        return USAGE;
    }
    let left_out = trials::left_out(&plan);
    if !args.many.quiet {
        check::warnings(&plan).iter().chain(&left_out).for_each(|w| out::talk(&format!("warning: {w}\n")));
    }
    if let Err(code) = run::consent(&plan, args.many.yes) {
        return code;
    }
    let stop = StopSignal::new();
    let (id, dir) = match many::begin(&plan, &args.many.reports, &stop) {
        Ok(made) => made,
        Err(code) => return code,
    };
    let reproduce = many::reproduce("capacity", &args.scenario.file, plan.seed.0, &args.scenario.change);
    let began = clock::monotonic_nanos();
    let mut all = Sizing {
        schema: SCHEMA.into(),
        id,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: many::scenario_info(&plan),
        seed: plan.seed.0,
        ending: Ending::Completed,
        clean: true,
        reproduce,
        warnings: plan.warnings.iter().cloned().chain(left_out).collect(),
        ..Sizing::default()
    };
    for lose in std::iter::once(None).chain(capacity.lose.map(Some)) {
        let trials = Trials {
            plan: &plan,
            capacity: &capacity,
            lose,
            dir: &dir,
            stop: stop.clone(),
            reproduce: &all.reproduce.clone(),
        };
        let fault = lose.map(|i| plan.faults[i].name.as_str());
        let tell = |t: &TrialReport| {
            if !args.many.quiet {
                out::talk(&out::safe(&line(t, fault)));
                out::talk("\n");
            }
        };
        match trials::search(&trials, &tell) {
            Ok(found) => keep(&plan, &mut all, lose, found),
            Err(why) => {
                out::error(&why);
                return USAGE;
            }
        }
        if all.ending != Ending::Completed || !all.clean || all.searches.iter().all(|s| s.carried_rps.is_none()) {
            break;
        }
    }
    all.duration_s = (clock::monotonic_nanos() - began) as f64 / 1e9;
    conclude(&plan, &mut all);
    finish(args, &dir, &all)
}

fn line(t: &TrialReport, fault: Option<&str>) -> String {
    let under = fault.map_or(String::new(), |f| format!("under {f}  "));
    let kind = if t.confirm { "confirm" } else { "trial" };
    let p99 = format::latency_us(t.p99_us, 1);
    format!("{under}{kind:<8} {:>10}  {:<15} p99 {p99:>9}  {}", format::rate(t.rate_rps), t.verdict, t.why)
}

/// Adds a search to what is known.
fn keep(plan: &Plan, all: &mut Sizing, lose: Option<usize>, found: trials::Searched) {
    match found.halt {
        Some(Halt::Interrupted) => all.ending = Ending::Interrupted,
        Some(Halt::NotStarted(why)) => {
            all.ending = Ending::NotStarted;
            all.reasons.push(why);
        }
        Some(Halt::NotClean(left)) => {
            all.clean = false;
            all.reasons.extend(left);
        }
        None => {}
    }
    all.replicas = all.replicas.max(found.replicas);
    let under = lose.map(|i| (plan.faults[i].name.as_str(), build::dead(&plan.faults[i], all.replicas)));
    let mut chance = rng::stream(plan.seed, "capacity");
    let mut below = |n: usize| rng::below(&mut chance, n);
    let weight = plan.capacity.as_ref().map_or(1.0, |c| c.confirm.as_secs_f64() / c.trial.as_secs_f64());
    let report = match &found.answer {
        Some(answer) => build::search(answer, found.trials, under, all.replicas, weight, &mut below),
        None => SearchReport {
            under: under.map(|(name, _)| name.to_owned()),
            dead: under.map_or(0, |(_, dead)| dead),
            words: "not finished".to_owned(),
            trials: found.trials,
            ..SearchReport::default()
        },
    };
    all.searches.push(report);
}

/// What follows from the searches, and the exit code.
fn conclude(plan: &Plan, all: &mut Sizing) {
    let mut chance = rng::stream(plan.seed, "scalability");
    all.usl = all.searches.first().and_then(|s| build::scalability(&s.trials, &mut |n| rng::below(&mut chance, n)));
    let planning = plan.capacity.as_ref().and_then(|c| c.planning);
    if let Some(planning) = planning {
        match build::need(&planning, &all.searches) {
            Ok(need) => all.need = need,
            Err(why) => all.reasons.push(why),
        }
        all.reasons.extend(build::no_need(&all.searches).filter(|_| all.ending == Ending::Completed && all.clean));
        all.warnings.extend(build::other_loss(&planning, &all.searches));
    }
    all.sentence = build::sentence(&all.searches, all.need.as_ref(), all.replicas);
    let any = |found| all.searches.iter().any(|s| s.found == found);
    all.exit_code = match (all.clean, all.ending) {
        (false, _) => 4,
        (_, Ending::Interrupted) => 130,
        (_, Ending::NotStarted) => 5,
        _ if any(FoundWord::Below) => 1,
        _ if any(FoundWord::Undecided) => 3,
        _ => 0,
    };
    many::mask(&plan.secrets, all.reasons.iter_mut().chain(&mut all.warnings));
}

fn finish(args: &CapacityArgs, dir: &std::path::Path, all: &Sizing) -> u8 {
    many::finish(
        sizing::save(dir, all),
        &shown(all, dir, args.many.output),
        all.reasons.iter(),
        &Outcome { clean: all.clean, ending: all.ending, exit_code: all.exit_code },
    )
}

/// A search in the form asked for.
pub(super) fn shown(all: &Sizing, dir: &std::path::Path, output: Output) -> String {
    match output {
        Output::Human => many::for_people(&sizing::text(all, out::stdout_width(), out::stdout_has_color()), dir),
        Output::Markdown => sizing::markdown(all),
        Output::Json => sizing::json(all),
    }
}
