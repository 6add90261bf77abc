//! `resbench plan FILE`: what a run would do, to whom, and how it would be undone. Touches nothing.

use std::fmt::Write;

use clap::Args;

use crate::alteration;
use crate::cli::{ScenarioArgs, check, load, out};
use crate::fault;
use crate::fault::timeline::{What, timeline};
use crate::plan::{
    Alter, Bodies, Direction, DockerPlatform, FaultKind, FaultPlan, FaultTarget, Hook, KubernetesPlatform, Lasts, Load,
    Mode, Payload, Plan, Platform, ProbeKind, ScrapeFrom, Shape, Via, Workload,
};
use crate::platform::{docker, kubernetes};
use crate::schedule;
use crate::units::{Ratio, show_bytes, show_duration};

#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Print every arrival's due time as CSV instead (index, due_ns, phase).
    #[arg(long)]
    arrivals: bool,
    /// Print the custom resources that would be made instead, for `kubectl apply -f -`; the cluster is asked by dry runs.
    #[arg(long, conflicts_with = "arrivals")]
    manifests: bool,
}

pub(super) fn plan(args: &PlanArgs) -> u8 {
    let plan = match load(&args.scenario.file, &args.scenario.change) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if args.arrivals {
        return arrivals(&plan);
    }
    if args.manifests {
        return manifests(&plan);
    }
    for warning in check::warnings(&plan) {
        out::talk(&format!("warning: {warning}\n"));
    }
    out::result(&describe(&plan));
    match found(&plan) {
        Ok(found) => {
            out::result(&found);
            0
        }
        Err(why) => {
            out::error(&why);
            5
        }
    }
}

/// Who would be hit, as the platform says now; empty where the scenario says it all.
pub(super) fn found(plan: &Plan) -> Result<String, String> {
    match &plan.platform {
        Some(Platform::Kubernetes(pods)) => found_pods(plan, pods),
        Some(Platform::Docker(containers)) => found_containers(plan, containers),
        Some(Platform::Local(_)) | None => Ok(String::new()),
    }
}

fn found_containers(plan: &Plan, containers: &DockerPlatform) -> Result<String, String> {
    let found = docker::candidates(containers)?;
    let mut text = String::from("\n");
    let words = std::iter::once("candidates").chain(std::iter::repeat(""));
    words.zip(&found).for_each(|(word, line)| text.push_str(&format!("{word:<11}{}\n", out::safe(line))));
    limits(plan, found.len(), &mut text);
    Ok(text + "\n")
}

/// How many may be hit, and what would be refused for it.
fn limits(plan: &Plan, replicas: usize, text: &mut String) {
    let (most, rule) = plan.safety.most(replicas);
    let _ = writeln!(text, "{:<11}{replicas} found; at most {most} under a fault at the same time: {rule}", "limits");
    for fault in plan.faults.iter().filter(|f| f.hits(replicas) > most) {
        let hits = fault.hits(replicas);
        let _ = writeln!(text, "{:<11}fault {} would hit {hits}: a run will not start", "REFUSED", fault.name);
    }
}

fn found_pods(plan: &Plan, pods: &KubernetesPlatform) -> Result<String, String> {
    let survey = kubernetes::survey(pods)?;
    let mut text = format!("\ncluster   context {}, {}\n", survey.context, survey.server);
    for (word, lines) in [("candidates", &survey.pods), ("budgets", &survey.budgets), ("calls", &survey.dependencies)] {
        let words = std::iter::once(word).chain(std::iter::repeat(""));
        words.zip(lines).for_each(|(word, line)| text.push_str(&format!("{word:<11}{line}\n")));
    }
    if let Some(service) = &survey.service {
        let _ = writeln!(text, "{:<11}{service}", "service");
    }
    let (most, rule) = plan.safety.most(survey.replicas);
    let (ready, of) = (survey.ready, survey.replicas);
    let _ =
        writeln!(text, "{:<11}{ready} of {of} ready; at most {most} under a fault at the same time: {rule}", "limits");
    for fault in plan.faults.iter().filter(|f| f.hits(survey.replicas) > most) {
        let hits = fault.hits(survey.replicas);
        let _ = writeln!(text, "{:<11}fault {} would hit {hits}: a run will not start", "REFUSED", fault.name);
    }
    Ok(text + "\n")
}

/// Each a document of its own: JSON is YAML.
fn manifests(plan: &Plan) -> u8 {
    match fault::manifests(plan) {
        Ok(objects) => {
            objects.iter().for_each(|object| out::result(&format!("---\n{object:#}\n")));
            0
        }
        Err(why) => {
            out::error(&why);
            5
        }
    }
}

fn arrivals(plan: &Plan) -> u8 {
    let mut text = String::from("index,due_ns,phase\n");
    for arrival in schedule::arrivals(plan) {
        let _ = writeln!(text, "{},{},{}", arrival.index, arrival.due.0, plan.phases[arrival.phase.0 as usize].name);
        if text.len() > 1 << 16 {
            out::result(&text);
            text.clear();
        }
    }
    out::result(&text);
    0
}

/// The plan for people.
pub(super) fn describe(plan: &Plan) -> String {
    let mut text = format!("{}  (seed {})\n", plan.name, plan.seed.0);
    if !plan.lesson.is_empty() {
        let _ = writeln!(text, "{}", plan.lesson);
    }
    let _ = writeln!(text, "\ntarget    {}", target(plan));
    let _ = writeln!(
        text,
        "\nphases    {:<14} {:>9} {:>9}  {:<28} {:>10}",
        "name", "from", "length", "offered", "arrivals"
    );
    let counts = schedule::count(plan);
    for (phase, count) in plan.phases.iter().zip(&counts) {
        let measured = if phase.measured { "" } else { "  not measured" };
        let arrivals =
            if matches!(phase.load, Load::Closed { .. }) { "as answered".to_owned() } else { count.to_string() };
        let (from, length) = (show_duration(phase.start.as_duration()), show_duration(phase.duration));
        let _ = writeln!(
            text,
            "          {:<14} {from:>9} {length:>9}  {:<28} {arrivals:>10}{measured}",
            phase.name,
            offered(&phase.load)
        );
    }
    let total = show_duration(plan.end().as_duration());
    let _ =
        writeln!(text, "          {:<14} {:>9} {total:>9}  {:<28} {:>10}", "total", "", "", counts.iter().sum::<u64>());
    faults(plan, &mut text);
    objectives(plan, &mut text);
    probes(plan, &mut text);
    plan.mask(&text)
}

fn target(plan: &Plan) -> String {
    match (&plan.target.url, &plan.platform) {
        (Some(url), _) => url.to_string(),
        (None, Some(Platform::Local(p))) => {
            format!("{} local replicas of `{}` behind a link", p.replicas, p.command.join(" "))
        }
        (None, Some(Platform::Kubernetes(k))) => match &k.service {
            Some((name, port)) => format!("Service {}/{name}:{port}", k.namespace),
            None => "none".to_owned(),
        },
        (None, Some(Platform::Docker(p))) => {
            let host = docker::host_of(p);
            format!("the containers of {}, port {}, behind a link; Docker at {host}", p.replicas.what, p.port)
        }
        (None, None) => "none".to_owned(),
    }
}

fn offered(load: &Load) -> String {
    match load {
        Load::Open(Shape::Constant(rate)) => format!("{}/s", rate.get()),
        Load::Open(Shape::Ramp { from, to }) => format!("{from} → {to}/s"),
        Load::Open(Shape::Steps { from, to, steps }) => format!("{from} → {to}/s in {steps} steps"),
        Load::Open(Shape::Wave { mean, amplitude, period, .. }) => {
            format!("{} ± {amplitude}/s, wave of {}", mean.get(), show_duration(*period))
        }
        Load::Open(Shape::Trace(times)) => format!("trace of {}", times.len()),
        Load::Closed { concurrency, max_rate: None } => format!("closed loop, {concurrency} users"),
        Load::Closed { concurrency, max_rate: Some(rate) } => {
            format!("closed loop, {concurrency} users, ≤ {}/s", rate.get())
        }
    }
}

fn faults(plan: &Plan, text: &mut String) {
    if plan.faults.is_empty() {
        let _ = writeln!(text, "\nfaults    none");
        return;
    }
    let _ = writeln!(text, "\nfaults    {:>9}  {:<18} {:<18} hits", "at", "name", "kind");
    for moment in timeline(&plan.faults, plan.end()) {
        let fault = &plan.faults[moment.fault];
        let at = show_duration(moment.at.as_duration());
        let _ = match moment.what {
            What::Apply => {
                writeln!(text, "          {at:>9}  {:<18} {:<18} {}", fault.name, what(fault), hits(plan, fault))
            }
            What::Revert => writeln!(text, "          {at:>9}  {:<18} ends", fault.name),
        };
    }
    if let Some(replicas) = replicas(plan) {
        let (most, rule) = plan.safety.most(replicas);
        let s = if most == 1 { "" } else { "s" };
        let _ = writeln!(text, "          at most {most} replica{s} under a fault at the same time: {rule}");
    }
    let _ = writeln!(text, "\nundo      in the journal before each fault, walked backwards on every road out");
    for fault in &plan.faults {
        let _ = writeln!(text, "          {:<18} {}", fault.name, undo(plan, fault));
    }
}

fn what(fault: &FaultPlan) -> String {
    let way = |d: &Direction| match d {
        Direction::Both => "",
        Direction::To => " to",
        Direction::From => " from",
    };
    match &fault.kind {
        FaultKind::NetworkDelay { latency, jitter, direction } if jitter.is_zero() => {
            format!("delay {}{}", show_duration(*latency), way(direction))
        }
        FaultKind::NetworkDelay { latency, jitter, direction } => {
            format!("delay {}±{}{}", show_duration(*latency), show_duration(*jitter), way(direction))
        }
        FaultKind::NetworkBandwidth { rate, direction } => format!("bandwidth {rate} bytes/s{}", way(direction)),
        FaultKind::RollingRestart { pause, .. } if !pause.is_zero() => {
            format!("rolling-restart, {} between", show_duration(*pause))
        }
        FaultKind::NetworkLoss { share } => format!("network-loss {} %", percent(*share)),
        FaultKind::CpuStress { workers, load } => format!("cpu-stress {workers} × {} %", percent(*load)),
        FaultKind::MemoryStress { bytes } => format!("memory-stress {}", show_bytes(*bytes)),
        FaultKind::IoLatency { delay, .. } => format!("io-latency {}", show_duration(*delay)),
        FaultKind::IoError { errno, .. } => format!("io-error {errno}"),
        FaultKind::FileCorrupt { bytes, .. } => format!("file-corrupt {bytes}"),
        FaultKind::ChaosMesh(experiment) => experiment.chaos.word().to_owned(),
        FaultKind::Command(hook) => format!("command {}", hook.run_text.join(" ")),
        FaultKind::Http(hook) => format!("http {} {}", hook.run_text.method, hook.run_text.url),
        FaultKind::Toxiproxy { toxic } => toxic.to_string(),
        FaultKind::Payload(payload) => as_altered(payload),
        FaultKind::RegistryAlias(r) => match r.to {
            Some(version) => format!("{} to version {version}", r.registry_text),
            None => format!("{} to nothing", r.registry_text),
        },
        other => other.word().to_owned(),
    }
}

/// What a payload fault makes of a body.
fn as_altered(payload: &Payload) -> String {
    match &payload.alter {
        Alter::Drift { shift, .. } => format!("payload-drift {shift} sd"),
        Alter::Corrupt { garbage, .. } => format!("payload-corrupt {}", garbage.word()),
        Alter::Oversize { batch } => format!("payload-oversize {batch} rows"),
        Alter::Drop { .. } | Alter::Malformed | Alter::CacheBust { .. } => payload.alter.word().to_owned(),
    }
}

/// Which requests a payload fault hits, and what is expected of them.
fn altered(plan: &Plan, fault: &FaultPlan) -> String {
    let Some(payload) = fault.payload() else { return String::new() };
    let place = plan.payloads().position(|(i, _)| plan.faults[i].name == fault.name);
    let count = place.map_or(0, |nth| alteration::planned(plan)[nth].len());
    let features: Vec<&str> = match &plan.traffic.bodies {
        Bodies::Dataset(table) => {
            payload.alter.features().iter().filter_map(|f| table.columns.get(*f)).map(String::as_str).collect()
        }
        Bodies::Lines(_) | Bodies::One(_) => Vec::new(),
    };
    let of = if features.is_empty() { String::new() } else { format!("{} in ", features.join(", ")) };
    let all = payload.expect_share.get() >= 1.0;
    let whom = if all { "all".to_owned() } else { format!("{} %", percent(payload.expect_share)) };
    let expect = payload.expect.word();
    let apart = if payload.include { "in the metrics" } else { "counted apart" };
    let share = percent(payload.share);
    format!("{of}{count} requests ({share} % of those due, drawn from the seed), {whom} to be {expect}, {apart}")
}

/// 0.07 as `7`, without what floating point adds to it.
fn percent(share: Ratio) -> f64 {
    (share.get() * 1e8).round() / 1e6
}

fn hits(plan: &Plan, fault: &FaultPlan) -> String {
    let lasts = match fault.lasts {
        None if fault.kind.one_by_one() => "one after another".to_owned(),
        None => "once".to_owned(),
        Some(Lasts::For(d)) => format!("for {}", show_duration(d)),
        Some(Lasts::UntilEnd) => "until the end".to_owned(),
    };
    let whom = match &fault.target {
        FaultTarget::Replica(n) => format!("replica {n}"),
        FaultTarget::Replicas(mode) => match (mode, replicas(plan)) {
            (Mode::All, Some(n)) => format!("all {n} replicas"),
            (Mode::All, None) => "all replicas".to_owned(),
            (Mode::One, None) => "one replica, drawn from the seed among the ready ones".to_owned(),
            (Mode::Fixed(n), None) => format!("{n} replicas, drawn from the seed among the ready ones"),
            (Mode::FixedPercent(p), None) => format!("{p} % of the replicas, drawn from the seed among the ready ones"),
            (mode, Some(n)) => {
                format!("{} of {n} replicas, drawn from the seed among the ready ones", mode.count(n))
            }
        },
        FaultTarget::Dependency(name) if matches!(plan.platform, Some(Platform::Docker(_))) => {
            format!("the networks of {name}")
        }
        FaultTarget::Dependency(name) => format!("the link to {name}"),
        FaultTarget::Outside if matches!(fault.via, Via::Toxiproxy(_)) => through(&fault.via),
        FaultTarget::Outside if matches!(fault.kind, FaultKind::ChaosMesh(_)) => "what its selector says".to_owned(),
        FaultTarget::Outside if matches!(fault.kind, FaultKind::Http(_)) => "what the request does".to_owned(),
        FaultTarget::Requests => altered(plan, fault),
        FaultTarget::Outside => match &fault.kind {
            FaultKind::RegistryAlias(r) => format!("the alias at {}", r.registry_text.url),
            _ => "what the command does".to_owned(),
        },
    };
    format!("{whom}, {lasts}")
}

/// What a toxic hits.
fn through(via: &Via) -> String {
    let Via::Toxiproxy(t) = via else { return String::new() };
    let whom = match t.toxicity.get() {
        1.0 => "what passes".to_owned(),
        share => format!("{} % of the connections through", share * 100.0),
    };
    format!("{whom} proxy {} of {}", t.proxy_text, t.url_text)
}

/// How many there are, where the scenario says it.
fn replicas(plan: &Plan) -> Option<usize> {
    match &plan.platform {
        Some(Platform::Local(p)) => Some(usize::from(p.replicas)),
        Some(Platform::Kubernetes(_) | Platform::Docker(_)) => None,
        None => Some(0),
    }
}

fn undo(plan: &Plan, fault: &FaultPlan) -> String {
    if let Via::Toxiproxy(t) = &fault.via {
        return format!("our toxics are taken off proxy {} of {}, and nobody else's", t.proxy_text, t.url_text);
    }
    let by_tool = "its object is deleted, and Chaos Mesh puts back; it ends by itself as well";
    if matches!(fault.via, Via::ChaosMesh(_)) {
        return by_tool.to_owned();
    }
    let pods = matches!(plan.platform, Some(Platform::Kubernetes(_)));
    let on_docker = matches!(plan.platform, Some(Platform::Docker(_)));
    match &fault.kind {
        FaultKind::PodKill { .. } if pods => "none: the cluster puts another pod in its place".to_owned(),
        FaultKind::RollingRestart { .. } if pods => "none: the new pods stay".to_owned(),
        FaultKind::PodFailure if pods => "the Deployment is scaled back".to_owned(),
        FaultKind::PodKill { .. } | FaultKind::RollingRestart { .. } | FaultKind::PodFailure if on_docker => {
            "docker start".to_owned()
        }
        FaultKind::PodPause if on_docker => "docker unpause".to_owned(),
        FaultKind::NetworkPartition { .. } if on_docker && matches!(fault.target, FaultTarget::Dependency(_)) => {
            "docker network connect, with the same names and address".to_owned()
        }
        FaultKind::PodKill { .. } => "the supervisor restarts the replica".to_owned(),
        FaultKind::RollingRestart { .. } => "the supervisor starts each replica again".to_owned(),
        FaultKind::PodFailure => "the replica is started again".to_owned(),
        FaultKind::PodPause => "SIGCONT to its process group".to_owned(),
        FaultKind::NetworkDelay { .. }
        | FaultKind::NetworkBandwidth { .. }
        | FaultKind::NetworkPartition { .. }
        | FaultKind::NetworkReset => "the link's effect is taken off; it ends with resbench at the latest".to_owned(),
        FaultKind::NetworkLoss { .. } => "its nftables table is deleted".to_owned(),
        FaultKind::CpuStress { .. } | FaultKind::MemoryStress { .. } => {
            "its processes are ended; they end with resbench at the latest".to_owned()
        }
        FaultKind::IoLatency { .. }
        | FaultKind::IoError { .. }
        | FaultKind::DiskFull { .. }
        | FaultKind::FileCorrupt { .. } => "the view's effect is taken off, the view unmounted".to_owned(),
        FaultKind::ChaosMesh(_) => by_tool.to_owned(),
        FaultKind::Command(hook) => undo_of_hook(hook, |step| step.join(" ")),
        FaultKind::Http(hook) => undo_of_hook(hook, |step| format!("{} {}", step.method, step.url)),
        FaultKind::Toxiproxy { .. } => "the toxic is taken off".to_owned(),
        FaultKind::Payload(_) => "none: nothing but what is sent is changed".to_owned(),
        FaultKind::RegistryAlias(r) if r.create => {
            "the alias is set back to the version that it had, or deleted where it had none".to_owned()
        }
        FaultKind::RegistryAlias(_) => "the alias is set back to the version that it had".to_owned(),
    }
}

fn undo_of_hook<S>(hook: &Hook<S>, show: impl Fn(&S) -> String) -> String {
    let undo = hook.undo_text.as_ref().map(|step| format!("`{}`, at most {}", show(step), show_duration(hook.timeout)));
    undo.unwrap_or_else(|| "none, as the author wrote".to_owned())
}

/// What is asked beside the load: of whom, when, and what has to hold. Commands are named by their program, since arguments may hold secrets.
fn probes(plan: &Plan, text: &mut String) {
    for (n, probe) in plan.probes.iter().enumerate() {
        let head = if n == 0 { "\nprobes    " } else { "          " };
        let during = probe.during.map(|every| format!("every {} during", show_duration(every)));
        let moments = [probe.before.then(|| "before".to_owned()), during, probe.after.then(|| "after".to_owned())];
        let moments: Vec<String> = moments.into_iter().flatten().collect();
        let _ = writeln!(
            text,
            "{head}{} ({})  {}  {}",
            probe.name,
            probe.kind.word(),
            moments.join(", "),
            what_holds(&probe.kind)
        );
    }
    for (n, scrape) in plan.scrapes.iter().enumerate() {
        let head = if n == 0 { "\nscrapes   " } else { "          " };
        let page = match &scrape.from {
            ScrapeFrom::Path(path) => format!("{} of the target", path.split('?').next().unwrap_or_default()),
            ScrapeFrom::Page(page) => page.url.to_string().split('?').next().unwrap_or_default().to_owned(),
        };
        let every = show_duration(scrape.every);
        let _ = writeln!(text, "{head}{}  {page}  every {every}: {}", scrape.name, scrape.series.join(", "));
    }
}

fn what_holds(kind: &ProbeKind) -> String {
    match kind {
        ProbeKind::Http { url, path, method, expect_status, .. } => {
            let whom = url.as_ref().map_or_else(|| format!("{path} of the target"), |u| u.to_string());
            let statuses: Vec<String> = expect_status.iter().map(u16::to_string).collect();
            let expected =
                if statuses.is_empty() { String::new() } else { format!(" answers {}", statuses.join(" or ")) };
            format!("{method} {}{expected}", whom.split('?').next().unwrap_or_default())
        }
        ProbeKind::Prediction => "a row of the dataset is answered well".to_owned(),
        ProbeKind::Prometheus(p) => {
            let bounds = [("below", p.below), ("above", p.above)].into_iter();
            let bounds: Vec<String> = bounds.filter_map(|(word, b)| Some(format!("{word} {}", b?))).collect();
            format!("{} {} at {}", p.query, bounds.join(", "), p.server.url)
        }
        ProbeKind::Alert(a) => format!("{} fires after the fault, by {}", a.alert, a.server.url),
        ProbeKind::Kubernetes(k) => {
            let of = match &k.of {
                Workload::Deployment(name) => format!("Deployment {name}"),
                Workload::Labelled(labels) => labels.to_string(),
            };
            format!("at least {} ready of {of} in {}", k.ready, k.namespace)
        }
        ProbeKind::Command(c) => {
            let codes: Vec<String> = c.expect_exit.iter().map(i32::to_string).collect();
            format!("`{} …` exits {}", c.argv.first().map_or("", String::as_str), codes.join(" or "))
        }
    }
}

fn objectives(plan: &Plan, text: &mut String) {
    if plan.objectives.is_empty() {
        let _ = writeln!(text, "\nobjectives none: the run shows, and judges only whether its faults are proven");
        return;
    }
    let _ = writeln!(text, "\nobjectives");
    for objective in &plan.objectives {
        let bound = match objective.metric.unit() {
            "s" => show_duration(std::time::Duration::from_secs_f64(objective.bound)),
            _ => objective.bound.to_string(),
        };
        let places: Vec<String> = objective.spans.iter().map(|s| crate::report::build::span_name(plan, s)).collect();
        let of = match (objective.median_of, objective.fault) {
            (Some(i), _) => format!("of {}.median", plan.repeats[i].name),
            (None, Some(i)) => format!("of {}", plan.faults[i].name),
            (None, None) => places.join(", "),
        };
        let _ = match &objective.metric {
            crate::plan::Metric::Probe(_) => writeln!(text, "          {} holds", objective.metric.word()),
            metric => {
                let sign = if objective.op == crate::plan::Op::Max { "≤" } else { "≥" };
                writeln!(text, "          {} {sign} {bound}  {of}", metric.word())
            }
        };
    }
}
