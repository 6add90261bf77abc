//! `resbench check FILE`: every problem at once, or what is planned in one line.

use crate::cli::{ScenarioArgs, load, out};
use crate::plan::Plan;
use crate::platform::volume;
use crate::units::show_duration;

pub(super) fn check(args: &ScenarioArgs) -> u8 {
    let plan = match load(&args.file, &args.change) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    for warning in warnings(&plan) {
        out::talk(&format!("warning: {warning}\n"));
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    out::result(&format!(
        "{}: valid: {}, {}, {}, {}\n",
        args.file.display(),
        show_duration(plan.end().as_duration()),
        count(plan.phases.len(), "phase"),
        count(plan.faults.len(), "fault"),
        count(plan.objectives.len(), "objective"),
    ));
    0
}

/// The plan's own warnings, and what this machine lacks for it.
pub(super) fn warnings(plan: &Plan) -> Vec<String> {
    let mut all = plan.warnings.clone();
    if plan.faults.iter().any(|f| f.kind.needs_volume_view())
        && let Err(why) = volume::available()
    {
        all.push(why);
    }
    all
}
