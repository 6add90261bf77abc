//! `[safety]`: limits on the blast radius, held against every fault before anything is sent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Context;
use super::fault::Draft;
use super::platform::Known;
use crate::plan::{FaultPlan, FaultTarget, Lasts, Safety};
use crate::scenario::tree::Path;
use crate::scenario::{file, limits};
use crate::units::{Offset, Ratio, show_duration};

/// The limits; none when they are broken.
pub(super) fn compile(cx: &mut Context, platform: Option<&Known>, faults: &[Draft]) -> Option<Safety> {
    let at = Path::root().key("safety");
    let given = cx.root.get("safety").is_some();
    let s: file::Safety = if given { cx.section(&at)? } else { file::Safety { max_targets: None, abort_when: None } };
    let default = Safety::default();
    let (abort_below, abort_for) = match s.abort_when {
        None => (default.abort_below, default.abort_for),
        Some(abort) => {
            let at = at.key("abort_when");
            let below =
                Ratio::new(abort.good_ratio_below).map_err(|m| (m, "write a share, for example 0.5".to_owned()));
            let lasting = cx.above_zero(&at.key("for"), abort.lasting.0, limits::TOTAL);
            (cx.good(&at.key("good_ratio_below"), below)?, lasting?)
        }
    };
    let replicas = platform.map(|p| p.local().map_or(0, |l| usize::from(l.replicas)));
    // All but one: a service that must keep its promises while things break needs someone left to keep them.
    let max_targets = s.max_targets.unwrap_or(replicas.unwrap_or(usize::MAX).saturating_sub(1).max(1));
    if let Some(replicas) = replicas.filter(|_| !cx.report.is_broken(&at.key("max_targets"))) {
        check_each(cx, faults, replicas, max_targets, s.max_targets.is_some());
        check_together(cx, faults, replicas, max_targets);
    }
    Some(Safety { max_targets, abort_below, abort_for })
}

/// How many replicas a fault hits.
fn hits(fault: &FaultPlan, replicas: usize) -> usize {
    match fault.target {
        FaultTarget::Replicas(_) if fault.kind.one_by_one() => replicas.min(1),
        FaultTarget::Replicas(mode) => mode.count(replicas),
        FaultTarget::Replica(_) => 1,
        FaultTarget::Dependency(_) | FaultTarget::Outside => 0,
    }
}

fn check_each(cx: &mut Context, faults: &[Draft], replicas: usize, max_targets: usize, is_set: bool) {
    let mut seen = BTreeSet::new();
    for draft in faults {
        let Some(count) = draft.plan.as_ref().map(|p| hits(p, replicas)).filter(|c| *c > max_targets) else { continue };
        if !seen.insert(draft.index) {
            continue;
        }
        let at = Path::root().key("fault").index(draft.index);
        let why = if is_set { "[safety] max_targets" } else { "all but one, as [safety] max_targets is not set" };
        let mode =
            if cx.root.at(&at.key("mode")).is_some() { "" } else { " (its mode is `all` where none is written)" };
        let message =
            format!("it hits {count} replicas at the same time{mode}, but at most {max_targets} may be: {why}");
        let help = format!("write max_targets = {count} in [safety] to allow that, or mode = \"one\" here");
        cx.wrong(&at.key("mode"), message, help);
    }
}

/// Faults that are on at the same time may be too much together; which replicas they meet is known only when they
/// fire, so this is a warning.
fn check_together(cx: &mut Context, faults: &[Draft], replicas: usize, max_targets: usize) {
    let plans: Vec<&FaultPlan> =
        faults.iter().filter_map(|d| d.plan.as_ref()).filter(|p| hits(p, replicas) > 0).collect();
    for (i, fault) in plans.iter().enumerate() {
        let at = fault.at;
        let earlier = |(j, p): &(usize, &&FaultPlan)| *j != i && (p.at < at || (p.at == at && *j < i)) && end(p) > at;
        let others: Vec<&FaultPlan> = plans.iter().enumerate().filter(earlier).map(|(_, p)| *p).collect();
        let sum = hits(fault, replicas) + others.iter().map(|p| hits(p, replicas)).sum::<usize>();
        if !others.is_empty() && sum > max_targets {
            let names: Vec<&str> = others.iter().map(|p| p.name.as_str()).collect();
            let when = show_duration(at.as_duration());
            cx.warn(format!(
                "fault `{}` at {when} meets {} still on: {sum} replicas together, at most {max_targets} may be hit; it \
                 will be refused when it fires, or raise safety.max_targets",
                fault.name,
                names.join(", "),
            ));
        }
    }
}

/// When a fault's grip ends. A kill holds on for a moment: two at the same instant still meet.
fn end(fault: &FaultPlan) -> Offset {
    match fault.lasts {
        Some(Lasts::For(d)) => fault.at + d,
        Some(Lasts::UntilEnd) => Offset(u64::MAX),
        None => fault.at + Duration::from_secs(1),
    }
}
