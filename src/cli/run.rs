//! `resbench run FILE`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::progress::Show;
use crate::cli::{Output, ScenarioArgs, USAGE, check, load, out, plan, signals};
use crate::fault::stop::StopSignal;
use crate::plan::{FaultKind, FaultPlan, Plan, Platform, Via, dependency_of};
use crate::platform::docker;
use crate::platform::process::available_cpus;
use crate::report;
use crate::report::model::Ending;
use crate::run::{LoadOptions, RunOptions, run as run_plan};
use crate::scenario;
use crate::units::parse_duration;

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// The folder that runs are kept in.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
    /// Load threads. Default: one for each CPU that the load has for itself. The arrivals are the same for any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Load")]
    workers: Option<u16>,
    /// Spend the last stretch before an arrival looking at the clock instead of sleeping, at most 1ms: less lag for a
    /// CPU that is always busy.
    #[arg(long, value_name = "DURATION", value_parser = spin, help_heading = "Load")]
    spin: Option<Duration>,
    /// Pin load threads to these CPUs, in turn, for example 0,2-3.
    #[arg(long, value_name = "LIST", value_parser = cpus, help_heading = "Load")]
    cpus: Option<CpuList>,
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
        // Who would be hit is shown before anybody says yes to it. What stands in the way the run itself says, in the order
        // of its rules: a dead run's journal comes before what that run left of the cluster.
        if let Ok(found) = plan::found(&plan) {
            out::talk(&found);
        }
    }
    if let Err(code) = consent(&plan, args.yes) {
        return code;
    }
    let stop = StopSignal::new();
    if let Err(e) = signals::listen(stop.clone()) {
        out::error(&format!("Ctrl-C cannot be listened for: {e}"));
        return 5;
    }
    let load = LoadOptions {
        workers: args.workers.map(usize::from),
        spin: args.spin.unwrap_or_default(),
        cpus: args.cpus.clone().unwrap_or_default().0,
    };
    let options = RunOptions { reports: args.reports.clone(), load, stop, reproduce: reproduce(&plan) };
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

/// CPU numbers, ascending or not.
#[derive(Clone, Debug, Default)]
pub(super) struct CpuList(Vec<usize>);

pub(super) fn spin(text: &str) -> Result<Duration, String> {
    let spin = parse_duration(text)?;
    if spin > Duration::from_millis(1) { Err("at most 1ms".into()) } else { Ok(spin) }
}

/// `0,2-3`: CPUs that this process may run on.
pub(super) fn cpus(text: &str) -> Result<CpuList, String> {
    let number = |t: &str| t.trim().parse::<usize>().map_err(|_| format!("`{t}` is no CPU number; write 0,2-3"));
    let mut all = Vec::new();
    for piece in text.split(',') {
        let (from, to) = piece.split_once('-').unwrap_or((piece, piece));
        all.extend(number(from)?..=number(to)?.min(4096));
    }
    let here = available_cpus();
    match all.iter().find(|c| !here.contains(c)) {
        Some(missing) => Err(format!("CPU {missing} is not here; there are {here:?}")),
        None if all.is_empty() => Err("no CPU at all; write 0,2-3".into()),
        None => Ok(CpuList(all)),
    }
}

/// Anything that is not on this machine needs a yes: the target, whatever a hook speaks to, and a cluster. So do
/// containers: they were up before us.
pub(super) fn consent(plan: &Plan, yes: bool) -> Result<(), u8> {
    let away =
        hosts(plan).into_iter().find(|host| !is_loopback(host)).map(|host| format!("{host} is not on this machine"));
    let Some(what) = others(plan).or(away).filter(|_| !yes) else { return Ok(()) };
    if !out::stdin_is_terminal() {
        out::error(&format!("{what}: say --yes to send it this traffic and these faults"));
        return Err(USAGE);
    }
    if out::ask(&format!("{what}.")) { Ok(()) } else { Err(USAGE) }
}

/// What is shared with others, even on this machine: a cluster, and an engine's containers.
fn others(plan: &Plan) -> Option<String> {
    let by_mesh = || plan.faults.iter().find(|f| matches!(f.kind, FaultKind::ChaosMesh(_)));
    let pods = |f: &FaultPlan| format!("fault {} hits pods of a cluster, which are not this machine's", f.name);
    let Some(platform) = &plan.platform else { return by_mesh().map(pods) };
    match platform {
        Platform::Local(_) => by_mesh().map(pods),
        Platform::Docker(p) => {
            Some(format!("the containers of {} at {} are not resbench's own", p.replicas.what, docker::host_of(p)))
        }
        Platform::Kubernetes(k) => {
            let context = k.context.as_ref().map_or("the current context".to_owned(), |c| format!("context {c}"));
            Some(format!("namespace {} of {context} is a cluster's, not this machine's", k.namespace))
        }
    }
}

fn hosts(plan: &Plan) -> Vec<String> {
    let mut hosts: Vec<String> = plan.target.url.iter().map(|u| u.host.clone()).collect();
    for fault in &plan.faults {
        if let Via::Toxiproxy(toxiproxy) = &fault.via {
            hosts.push(toxiproxy.url.host.clone());
        }
        if let FaultKind::RegistryAlias(r) = &fault.kind
            && r.registry.dependency().is_none()
        {
            hosts.push(scenario::url(&r.registry.url).map_or_else(|_| r.registry.url.clone(), |u| u.host));
        }
        let FaultKind::Http(hook) = &fault.kind else { continue };
        for request in std::iter::once(&hook.run).chain(&hook.undo) {
            if dependency_of(&request.url).is_some() {
                continue;
            }
            // A URL that cannot be read was refused by `check`; its text is as good a name as any.
            hosts.push(scenario::url(&request.url).map_or_else(|_| request.url.clone(), |u| u.host));
        }
    }
    hosts
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The command that does the same again.
pub(super) fn reproduce(plan: &Plan) -> String {
    let mut command = format!("resbench run {} --seed {}", quote(&plan.source.path.display().to_string()), plan.seed.0);
    command.push_str(&shown_sets(&plan.source.sets));
    command
}

/// ` --set …` for each, as it goes into reports. What stands in headers may be a credential, and is not shown: who wants the
/// command whole writes `'${VAR}'`, which stays as it is.
pub(super) fn shown_sets(sets: &[String]) -> String {
    let shown = |set: &String| match set.split_once('=') {
        Some((path, value)) if set.contains("headers") && !value.contains("${") => format!("{path}=***"),
        _ => set.clone(),
    };
    sets.iter().map(|set| format!(" --set {}", quote(&shown(set)))).collect()
}

pub(super) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_in_no_command_that_reports_show() {
        let sets = ["target.headers.Authorization=Bearer x", "phase.0.rate=5", "target.headers.A=${TOKEN}"];
        let shown = shown_sets(&sets.map(str::to_owned));
        assert!(!shown.contains("Bearer") && shown.contains("target.headers.Authorization=***"), "{shown}");
        assert!(shown.contains(" --set phase.0.rate=5 ") && shown.contains("target.headers.A=${TOKEN}"), "{shown}");
    }
}
