//! `[[playbook]]`: what is to happen when a fault strikes, and whether this run could see it.

use super::objective::Facts;
use super::{Context, probe};
use crate::plan::{FaultTarget, Lasts, Playbook, Sign, Step, StepBy};
use crate::scenario::file::{Becomes, playbook as mirror};
use crate::scenario::tree::{Node, Path, shortened};
use crate::scenario::words;

/// Characters of a step.
const STEP_MAX: usize = 300;

/// All playbooks; none when one of them is broken.
pub(super) fn compile(cx: &mut Context, facts: &Facts) -> Option<Vec<Playbook>> {
    let at = Path::root().key("playbook");
    let mut taken: Vec<String> = Vec::new();
    let all: Vec<Option<Vec<Playbook>>> = (0..cx.count("playbook"))
        .map(|i| {
            let at = at.index(i);
            let p: mirror::Playbook = cx.section(&at)?;
            if taken.contains(&p.fault) {
                let message = format!("a playbook for `{}` stands above already", shortened(&p.fault));
                cx.wrong(&at.key("fault"), message, "make one of the two");
            }
            taken.push(p.fault.clone());
            one(cx, &at, p, facts)
        })
        .collect();
    Some(all.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

fn one(cx: &mut Context, at: &Path, p: mirror::Playbook, facts: &Facts) -> Option<Vec<Playbook>> {
    let faults = faults_named(cx, &p.fault, facts);
    let faults = cx.good(&at.key("fault"), faults);
    let lists = [(StepBy::Automatic, p.automatic), (StepBy::Manual, p.manual), (StepBy::Escalation, p.escalation)];
    if lists.iter().all(|(_, list)| list.is_none()) {
        let help = "add automatic = [\"…\"], manual = [\"…\"] or escalation = [\"…\"]";
        cx.clash(at, "", "a playbook without a step", help);
    }
    let mut steps = Vec::new();
    for (by, list) in lists {
        for (i, written) in list.into_iter().flatten().enumerate() {
            let at = at.key(by.word()).index(i);
            steps.push(step(cx, &at, by, written, faults.as_deref().unwrap_or_default(), facts));
        }
    }
    let steps: Vec<Step> = steps.into_iter().collect::<Option<_>>()?;
    Some(faults?.into_iter().map(|fault| Playbook { fault, steps: steps.clone() }).collect())
}

/// The fault of this name; each of its times, where it repeats.
fn faults_named(cx: &Context, name: &str, facts: &Facts) -> Result<Vec<usize>, (String, String)> {
    let written = cx.names(&Path::root().key("fault"));
    let of = |index: usize| (0..facts.faults.len()).filter(|i| facts.faults[*i].index == index).collect::<Vec<_>>();
    let found: Vec<usize> = written.iter().position(|n| n == name).map(of).unwrap_or_default();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<&str> = written.iter().map(String::as_str).collect();
    Err((format!("there is no fault `{}`", shortened(name)), words::did_you_mean(name, &names, "faults")))
}

fn step(
    cx: &mut Context,
    at: &Path,
    by: StepBy,
    written: mirror::Step,
    faults: &[usize],
    facts: &Facts,
) -> Option<Step> {
    let (text, place, seen_by) = match written {
        mirror::Step::Text(text) => (text, at.clone(), None),
        mirror::Step::Seen(s) => (s.step, at.key("step"), s.seen_by),
    };
    let text = text.trim().to_owned();
    if text.is_empty() || text.chars().count() > STEP_MAX {
        let what = if text.is_empty() { "nothing is said" } else { "too long for a step" };
        cx.wrong(&place, what, format!("write what is done, in at most {STEP_MAX} characters"));
        return None;
    }
    let seen_by = match seen_by {
        Some(seen) => Some(sign(cx, &at.key("seen_by"), seen, faults, facts)?),
        None => None,
    };
    Some(Step { by, text, seen_by })
}

fn sign(cx: &mut Context, at: &Path, seen: mirror::SeenBy, faults: &[usize], facts: &Facts) -> Option<Sign> {
    match (seen.event, seen.probe, seen.becomes) {
        (Some(event), None, None) => {
            let sign = event_sign(event);
            cx.good(&at.key("event"), can_be_seen(&sign, faults, facts))?;
            Some(sign)
        }
        (None, Some(name), Some(becomes)) => {
            probe::check_name(cx, &at.key("probe"), &name)?;
            is_asked(cx, &at.key("probe"), &name)?;
            Some(Sign::Probe { probe: name, becomes_failing: becomes == Becomes::Failing })
        }
        (None, Some(_), None) => {
            let help = "add becomes = \"passing\" or \"failing\"";
            cx.clash(at, "probe", "nothing says what the probe turns to", help);
            None
        }
        (None, None, _) => {
            cx.clash(at, "", "nothing says what shows it", "write event = \"recovered\", or probe and becomes");
            None
        }
        (Some(_), ..) => {
            cx.clash(at, "event", "an event stands alone", "remove `probe` and `becomes`, or remove `event`");
            None
        }
    }
}

fn event_sign(event: mirror::EventWord) -> Sign {
    match event {
        mirror::EventWord::OutOfRotation => Sign::OutOfRotation,
        mirror::EventWord::ReplicaBack => Sign::ReplicaBack,
        mirror::EventWord::Recovered => Sign::Recovered,
        mirror::EventWord::Fallback => Sign::Fallback,
    }
}

/// Could a run of this scenario see it happen?
fn can_be_seen(sign: &Sign, faults: &[usize], facts: &Facts) -> Result<(), (String, String)> {
    let plans = || faults.iter().filter_map(|i| facts.faults[*i].plan.as_ref());
    match sign {
        Sign::OutOfRotation | Sign::ReplicaBack => {
            let elsewhere = |t: &FaultTarget| {
                matches!(t, FaultTarget::Dependency(_) | FaultTarget::Outside | FaultTarget::Requests)
            };
            match plans().find(|f| elsewhere(&f.target)) {
                Some(f) => Err((
                    format!("`{}` hits no replica, so none goes or comes by it", f.name),
                    "write event = \"recovered\" or \"fallback\", or a probe".to_owned(),
                )),
                None => Ok(()),
            }
        }
        Sign::Recovered => match plans().find(|f| f.lasts == Some(Lasts::UntilEnd)) {
            Some(f) => Err((
                format!("`{}` lasts to the end of the load, so its recovery is never seen", f.name),
                "give it `for` instead of `until`, or let a probe show the step".to_owned(),
            )),
            None => Ok(()),
        },
        Sign::Fallback if facts.target.is_some_and(|t| t.answer.fallback.is_none()) => Err((
            "no answer is known to be a fallback".to_owned(),
            "add answer = { fallback = \"json:/fallback\" } to [target]".to_owned(),
        )),
        Sign::Fallback | Sign::Probe { .. } => Ok(()),
    }
}

/// A probe that is only asked before cannot show what comes after.
fn is_asked(cx: &mut Context, at: &Path, name: &str) -> Option<()> {
    let probes = Path::root().key("probe");
    let index = cx.names(&probes).iter().position(|n| n == name)?;
    // Alerts are looked at from before the fault to the end.
    if cx.root.at(&probes.index(index).key("kind")).and_then(Node::text) == Some("alert") {
        return Some(());
    }
    let when: Vec<String> = match cx.root.at(&probes.index(index).key("when")) {
        Some(list) => list.items().iter().filter_map(Node::text).map(str::to_owned).collect(),
        None => Vec::new(),
    };
    if when.iter().any(|w| w == "during" || w == "after") {
        return Some(());
    }
    let message = format!("`{}` is asked before the load only, and can show nothing of it", shortened(name));
    cx.wrong(at, message, "add \"during\" to its `when` (and `every`)");
    None
}
