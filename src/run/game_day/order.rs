//! In which order the scenarios of a game day are run: the smallest blast radius first. Pure.
//!
//! The blast radius of a fault is the share of the service that it hits × how much of that stops working × how long, in seconds of the
//! whole service; that of a scenario is the sum over its faults. It is an order and no forecast: what is not known from the file counts
//! as all of it, so that the unknown comes late.

use std::time::Duration;

use crate::plan::{FaultPlan, FaultTarget, Lasts, Mode, Plan, Platform};
use crate::report::format::percent;
use crate::report::gameday::model::RadiusReport;
use crate::units::show_duration;

/// What a one-shot fault is reckoned with: about as long as a replica needs to come back.
const ONE_SHOT: Duration = Duration::from_secs(10);

/// How much of what is hit stops working, by kind: 1 is all of it. A kind that is not listed counts as all.
const SEVERITY: [(f64, &str, &[&str]); 3] = [
    (
        0.7,
        "fails",
        &[
            "io-error",
            "disk-full",
            "file-corrupt",
            "network-reset",
            "memory-stress",
            "registry-alias",
            "payload-oversize",
        ],
    ),
    (
        0.4,
        "slows",
        &["network-delay", "network-bandwidth", "network-loss", "io-latency", "cpu-stress", "payload-cache-bust"],
    ),
    (0.4, "alters", &["payload-drift", "payload-drop", "payload-corrupt", "payload-malformed"]),
];

/// The blast radius of a scenario, and how it was reckoned.
pub fn radius(plan: &Plan) -> RadiusReport {
    let each: Vec<(f64, String)> = plan.faults.iter().map(|f| of_fault(plan, f)).collect();
    RadiusReport {
        // A thousandth of a second orders nothing, and floating sums of the same faults in another order must not.
        seconds: (each.iter().map(|(s, _)| s).sum::<f64>() * 1e3).round() / 1e3,
        reasons: each.into_iter().map(|(_, why)| why).collect(),
    }
}

/// Indices of the plans in the order of the day: by radius, then by length, then by name.
pub fn order(plans: &[Plan]) -> Vec<usize> {
    let mut all: Vec<(f64, Duration, &str, usize)> =
        plans.iter().enumerate().map(|(i, p)| (radius(p).seconds, p.end().as_duration(), p.name.as_str(), i)).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(b.2)).then(a.3.cmp(&b.3)));
    all.into_iter().map(|(.., i)| i).collect()
}

fn of_fault(plan: &Plan, f: &FaultPlan) -> (f64, String) {
    let (share, whom) = share(plan, f);
    let word = f.kind.word();
    let listed = SEVERITY.iter().find(|(.., kinds)| kinds.contains(&word));
    let (severity, does) = listed.map_or((1.0, "stops"), |(severity, does, _)| (*severity, *does));
    let lasts = match f.lasts {
        Some(Lasts::For(time)) => time,
        Some(Lasts::UntilEnd) => plan.end().since(f.at),
        None => ONE_SHOT,
    };
    // One after another: each of them for that long.
    let turns = if f.kind.one_by_one() { one_by_one(plan, f) } else { 1.0 };
    let seconds = share * severity * lasts.as_secs_f64() * turns;
    let times = if turns > 1.0 { format!(" × {turns} turns") } else { String::new() };
    let words =
        format!("{} ({word}): {whom} × {does} ({severity}) × {}{times} = {seconds:.1} s", f.name, show_duration(lasts));
    (seconds, words)
}

/// The share of the service that a fault hits at the same time.
fn share(plan: &Plan, f: &FaultPlan) -> (f64, String) {
    if let Some(payload) = f.payload() {
        let share = payload.share.get();
        return (share, format!("{} of the requests", percent(share)));
    }
    match (&f.target, replicas(plan)) {
        (FaultTarget::Replica(_) | FaultTarget::Replicas(_), Some(n)) => {
            let hit = f.hits(n);
            (hit as f64 / n.max(1) as f64, format!("{hit} of {n} replicas"))
        }
        (FaultTarget::Replicas(Mode::FixedPercent(percent)), None) => {
            (f64::from(*percent) / 100.0, format!("{percent} % of the replicas"))
        }
        (FaultTarget::Replica(_) | FaultTarget::Replicas(_), None) => {
            (1.0, "some replicas, of how many is not in the file: counted as all".to_owned())
        }
        (FaultTarget::Dependency(name), _) => (1.0, format!("{name}, which every replica may call")),
        _ => (1.0, "not known from the file: counted as all".to_owned()),
    }
}

fn one_by_one(plan: &Plan, f: &FaultPlan) -> f64 {
    let Some(n) = replicas(plan) else { return 1.0 };
    match f.target {
        FaultTarget::Replicas(mode) => mode.count(n).max(1) as f64,
        _ => 1.0,
    }
}

/// How many there are, where the scenario says it.
fn replicas(plan: &Plan) -> Option<usize> {
    match &plan.platform {
        Some(Platform::Local(p)) => Some(usize::from(p.replicas)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{LoadOptions, load_text};
    use std::path::Path;

    fn plan(name: &str, replicas: u16, faults: &str) -> Plan {
        let text = format!(
            r#"name = "{name}"
[target]
protocol = "http"
path = "/x"
[platform.local]
replicas = {replicas}
command = ["server", "{{address}}", "{{dependency.db}}"]
[[platform.local.dependency]]
name = "db"
command = ["db", "{{port}}"]
[traffic]
body = "x"
[[phase]]
name = "all"
duration = "60s"
rate = 10
[safety]
max_targets = 64
{faults}"#
        );
        let options = LoadOptions { env: &|_| None, ..LoadOptions::default() };
        load_text(&text, Path::new("x.toml"), &options).unwrap_or_else(|p| panic!("{}", p.render(false, 120)))
    }

    fn fault(kind: &str, rest: &str) -> String {
        format!("[[fault]]\nname = \"f\"\nkind = \"{kind}\"\nat = \"10s\"\n{rest}\n")
    }

    #[test]
    fn the_radius_is_share_times_severity_times_time() {
        for (replicas, fault, seconds, says) in [
            (4, String::new(), 0.0, ""),
            (4, fault("pod-kill", ""), 2.5, "1 of 4 replicas × stops (1) × 10s = 2.5 s"),
            (4, fault("pod-pause", "for = \"20s\""), 5.0, "1 of 4 replicas"),
            (4, fault("cpu-stress", "for = \"20s\"\nmode = \"all\""), 8.0, "4 of 4 replicas × slows (0.4) × 20s"),
            (
                4,
                fault("network-delay", "until = \"end\"\nlatency = \"1s\"\ntarget = \"db\""),
                20.0,
                "db, which every replica",
            ),
            (2, fault("rolling-restart", ""), 10.0, "× 2 turns"),
        ] {
            let found = radius(&plan("x", replicas, &fault));
            assert_eq!(found.seconds, seconds, "{fault}: {found:?}");
            assert!(found.reasons.join(" ").contains(says), "{found:?}");
        }
    }

    #[test]
    fn the_smallest_comes_first_and_ties_are_settled_by_name() {
        let plans = [
            plan("all-down", 2, &fault("pod-failure", "for = \"30s\"\nmode = \"all\"")),
            plan("b-quiet", 2, ""),
            plan("one-down", 2, &fault("pod-kill", "")),
            plan("a-quiet", 2, ""),
        ];
        let names: Vec<&str> = order(&plans).into_iter().map(|i| plans[i].name.as_str()).collect();
        assert_eq!(names, ["a-quiet", "b-quiet", "one-down", "all-down"]);
    }
}
