//! `[safety]`: limits on the blast radius, held against every fault before anything is sent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Context;
use super::fault::Draft;
use super::platform::Known;
use crate::plan::{FaultPlan, Lasts, Safety};
use crate::scenario::tree::Path;
use crate::scenario::{file, limits};
use crate::units::{Offset, Ratio, show_duration};

/// The limits; none when they are broken.
pub(super) fn compile(cx: &mut Context, platform: Option<&Known>, faults: &[Draft]) -> Option<Safety> {
    let at = Path::root().key("safety");
    let given = cx.root.get("safety").is_some();
    let nothing =
        file::Safety { max_targets: None, max_percent: None, min_ready: None, namespaces: None, abort_when: None };
    let s: file::Safety = if given { cx.section(&at)? } else { nothing };
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
    let safety = Safety {
        max_targets: s.max_targets,
        max_percent: s.max_percent,
        min_ready: s.min_ready.unwrap_or(default.min_ready),
        namespaces: s.namespaces,
        abort_below,
        abort_for,
    };
    check_namespaces(cx, &at.key("namespaces"), &safety, platform);
    let counted = !["max_targets", "max_percent", "min_ready"].iter().any(|key| cx.report.is_broken(&at.key(key)));
    // How many pods there are is known when the cluster is asked.
    if let Some(replicas) = platform.and_then(Known::replicas).filter(|_| counted) {
        check_each(cx, faults, replicas, &safety);
        check_together(cx, faults, replicas, &safety);
    }
    Some(safety)
}

/// Nothing outside the list may be touched, so nothing outside it may be named.
fn check_namespaces(cx: &mut Context, at: &Path, safety: &Safety, platform: Option<&Known>) {
    let (Some(allowed), Some(platform)) = (&safety.namespaces, platform) else { return };
    let Known::Kubernetes(kubernetes) = platform else {
        cx.wrong(at, "only Kubernetes has namespaces", "remove it");
        return;
    };
    let own = Path::root().key("platform").key("kubernetes");
    let mut named = vec![(own.key("namespace"), &kubernetes.namespace)];
    let dependencies = kubernetes.dependencies.iter().enumerate();
    named.extend(dependencies.map(|(i, d)| (own.key("dependency").index(i), &d.namespace)));
    for (place, namespace) in named.into_iter().filter(|(_, n)| !allowed.contains(n)) {
        let message = format!("`{namespace}` is not among the namespaces that [safety] allows");
        cx.wrong(&place, message, format!("add it to [safety] namespaces, or write one of {}", allowed.join(", ")));
    }
}

fn check_each(cx: &mut Context, faults: &[Draft], replicas: usize, safety: &Safety) {
    let (most, why) = safety.most(replicas);
    let mut seen = BTreeSet::new();
    for draft in faults {
        let Some(count) = draft.plan.as_ref().map(|p| p.hits(replicas)).filter(|c| *c > most) else { continue };
        if !seen.insert(draft.index) {
            continue;
        }
        let at = Path::root().key("fault").index(draft.index);
        let mode =
            if cx.root.at(&at.key("mode")).is_some() { "" } else { " (its mode is `all` where none is written)" };
        let message = format!("it hits {count} replicas at the same time{mode}, but at most {most} may be: {why}");
        let help = if why.contains("max_targets") {
            format!("write max_targets = {count} in [safety] to allow that, or mode = \"one\" here")
        } else {
            "hit fewer, or loosen that limit".to_owned()
        };
        cx.wrong(&at.key("mode"), message, help);
    }
}

/// Faults that are on at the same time may be too much together; which replicas they meet is known only when they
/// fire, so this is a warning.
fn check_together(cx: &mut Context, faults: &[Draft], replicas: usize, safety: &Safety) {
    let (most, _) = safety.most(replicas);
    let plans: Vec<&FaultPlan> =
        faults.iter().filter_map(|d| d.plan.as_ref()).filter(|p| p.hits(replicas) > 0).collect();
    for (i, fault) in plans.iter().enumerate() {
        let at = fault.at;
        let earlier = |(j, p): &(usize, &&FaultPlan)| *j != i && (p.at < at || (p.at == at && *j < i)) && end(p) > at;
        let others: Vec<&FaultPlan> = plans.iter().enumerate().filter(earlier).map(|(_, p)| *p).collect();
        let sum = fault.hits(replicas) + others.iter().map(|p| p.hits(replicas)).sum::<usize>();
        if !others.is_empty() && sum > most {
            let names: Vec<&str> = others.iter().map(|p| p.name.as_str()).collect();
            let when = show_duration(at.as_duration());
            cx.warn(format!(
                "fault `{}` at {when} meets {} still on: {sum} replicas together, at most {most} may be hit; it \
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
