//! `payload-…` faults: which features are altered, how, and what is the good end of an altered request.
//!
//! What such a fault can do depends on what is sent: features are columns of a dataset, encoded by the target's protocol; bodies that
//! are sent as they stand have none, and can only be made malformed.

use super::{Context, body, phase};
use crate::plan::{
    Alter, Bodies, Dataset, Datatype, Expect, FaultKind, Form, Garbage, Load, Payload, Phase, Plan, Protocol, Target,
    Traffic, Via,
};
use crate::scenario::file::{self, ExpectWord, FaultWord, GarbageWord};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{limits, words};
use crate::units::{Ratio, show_bytes};

/// Bodies of a cache-busting fault that says no number.
const DISTINCT: usize = 100_000;

/// What is sent, as far as it could be read.
pub(super) struct Sent<'a> {
    pub(super) target: Option<&'a Target>,
    pub(super) traffic: Option<&'a Traffic>,
}

/// The load does it, whatever the platform.
pub(super) fn via(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<Via> {
    if f.via.is_some() {
        let message = format!("`{}` is done by the load itself, wherever replicas live", f.kind.word());
        cx.clash(at, "via", message, "remove `via`");
        return None;
    }
    Some(Via::Load)
}

pub(super) fn compile(cx: &mut Context, at: &Path, f: &file::Fault, sent: &Sent) -> Option<FaultKind> {
    let share = share_of(cx, &at.key("share"), f.share);
    let expect_share = share_of(cx, &at.key("expect_share"), f.expect_share);
    let alter = alter(cx, at, f, sent)?;
    let expect = match f.expect {
        Some(ExpectWord::Rejected) => Expect::Rejected,
        Some(ExpectWord::Answered) => Expect::Answered,
        Some(ExpectWord::Either) => Expect::Either,
        None => expected(&alter),
    };
    let include = f.include.unwrap_or(matches!(alter, Alter::Drift { .. }));
    Some(FaultKind::Payload(Box::new(Payload { alter, share: share?, expect, expect_share: expect_share?, include })))
}

/// What a careful service does where the author says nothing: it refuses what cannot be right by its form, and answers what may be.
fn expected(alter: &Alter) -> Expect {
    match alter {
        Alter::Malformed | Alter::Drop { .. } => Expect::Rejected,
        Alter::Corrupt { garbage: Garbage::Text | Garbage::Null, .. } => Expect::Rejected,
        Alter::Corrupt { garbage: Garbage::Huge | Garbage::Noise, .. } => Expect::Answered,
        Alter::Drift { .. } | Alter::CacheBust { .. } => Expect::Answered,
        Alter::Oversize { .. } => Expect::Either,
    }
}

/// Above 0 and at most 1, as the schema has it; 1 where nothing is said.
fn share_of(cx: &mut Context, at: &Path, given: Option<f64>) -> Option<Ratio> {
    let share = Ratio::new(given.unwrap_or(1.0));
    cx.good(at, share.map_err(|m| (m, "write a share, for example 0.1".to_owned())))
}

fn alter(cx: &mut Context, at: &Path, f: &file::Fault, sent: &Sent) -> Option<Alter> {
    let (target, traffic) = (sent.target?, sent.traffic?);
    if f.kind == FaultWord::PayloadMalformed {
        return malformed(cx, at, traffic);
    }
    let word = f.kind.word();
    let Bodies::Dataset(table) = &traffic.bodies else {
        let message =
            format!("`{word}` alters features, which are columns of a dataset: bodies here are sent as they are");
        let help = "write dataset = \"data/….csv\" in [traffic]; `payload-malformed` needs only JSON";
        cx.wrong(&at.key("kind"), message, help);
        return None;
    };
    if target.protocol == Protocol::Openai {
        let message = format!("`{word}` alters features, and a chat has none");
        cx.wrong(&at.key("kind"), message, "write kind = \"payload-malformed\", which the protocol openai can have");
        return None;
    }
    Some(match f.kind {
        FaultWord::PayloadDrift => drift(cx, at, f, table)?,
        FaultWord::PayloadDrop => {
            let features = named(cx, at, f, table)?.unwrap_or_default();
            if features.len() == table.columns.len() {
                cx.wrong(&at.key("features"), "no feature would be left", "leave at least one of them in the body");
                return None;
            }
            Alter::Drop { features }
        }
        FaultWord::PayloadCorrupt => corrupt(cx, at, f, table, target)?,
        FaultWord::PayloadOversize => oversize(cx, at, f, target, traffic)?,
        FaultWord::PayloadCacheBust => {
            let fraction = |c: &usize| table.numeric[*c] && !table.whole_or_empty(*c);
            let fractions = || (0..table.columns.len()).filter(fraction).collect();
            let features: Vec<usize> = named(cx, at, f, table)?.unwrap_or_else(fractions);
            if features.is_empty() {
                let message = "no feature is a number with a fraction, which a little more would leave as it is";
                let help = "name the key with features = [\"…\"]: whole numbers and words get values that no row has";
                cx.clash(at, "", message, help);
                return None;
            }
            let key = if f.features.is_some() { "features" } else { "" };
            if let Some(c) = features.iter().copied().find(fraction)
                && let Some(datatype) = coarse(target)
            {
                let message = format!(
                    "`{}` is sent as {}, which the little that is added to a fraction would be lost in",
                    table.columns[c],
                    datatype.word()
                );
                let help =
                    "name whole numbers or words with features = [\"…\"], or write datatype = \"FP64\" in [target]";
                cx.clash(at, key, message, help);
                return None;
            }
            Alter::CacheBust { features, distinct: f.distinct.map_or(DISTINCT, |n| n as usize) }
        }
        _ => return None,
    })
}

/// The type of tensors in which a number that differs by a billionth of a standard deviation is the same number.
fn coarse(target: &Target) -> Option<Datatype> {
    let (datatype, binary) = (target.encoding.datatype?, target.encoding.form == Form::Binary);
    let coarse = datatype.is_whole() || (datatype == Datatype::Fp32 && binary);
    (target.protocol == Protocol::OpenInference && coarse).then_some(datatype)
}

/// What goes for batches of the traffic goes for this one.
fn oversize(cx: &mut Context, at: &Path, f: &file::Fault, target: &Target, traffic: &Traffic) -> Option<Alter> {
    let batch = f.batch?;
    if traffic.template.as_ref().is_some_and(|t| t.each.is_none()) {
        let help = "put {{#rows}} and {{/rows}} around what stands once for each row in the template";
        cx.wrong(&at.key("kind"), "the template has room for one row", help);
        return None;
    }
    if let Some((message, help)) = body::one_prediction(target, batch) {
        cx.wrong(&at.key("batch"), message, format!("{help} in [target.answer]"));
        return None;
    }
    Some(Alter::Oversize { batch: batch as usize })
}

fn malformed(cx: &mut Context, at: &Path, traffic: &Traffic) -> Option<Alter> {
    // Lines were read as JSON, and rows become it.
    if let Bodies::One(body) = &traffic.bodies
        && serde_json::from_str::<serde::de::IgnoredAny>(body).is_err()
    {
        let message = "the body is no JSON as it is, so breaking it would say nothing";
        cx.wrong(&at.key("kind"), message, "write a body of JSON in [traffic], or a dataset");
        return None;
    }
    Some(Alter::Malformed)
}

/// The columns of these names, ascending; the inner none where the author names none.
fn named(cx: &mut Context, at: &Path, f: &file::Fault, table: &Dataset) -> Option<Option<Vec<usize>>> {
    let Some(names) = &f.features else { return Some(None) };
    let at = at.key("features");
    let label = cx.root.at(&Path::root().key("traffic").key("label")).and_then(|n| n.text()).map(str::to_owned);
    let (mut features, mut sound) = (Vec::new(), true);
    for (i, name) in names.iter().enumerate() {
        match table.columns.iter().position(|c| c == name) {
            Some(column) if features.contains(&column) => {
                cx.wrong(&at.index(i), format!("`{name}` is named twice"), "name it once");
                sound = false;
            }
            Some(column) => features.push(column),
            None => {
                let (message, help) = if label.as_ref() == Some(name) {
                    (format!("`{name}` is the label, which is never sent"), "name a feature".to_owned())
                } else {
                    let names: Vec<&str> = table.columns.iter().map(String::as_str).collect();
                    let message = format!("the dataset has no feature `{}`", shortened(name));
                    (message, words::did_you_mean(name, &names, "features"))
                };
                cx.wrong(&at.index(i), message, help);
                sound = false;
            }
        }
    }
    features.sort_unstable();
    sound.then_some(Some(features))
}

fn drift(cx: &mut Context, at: &Path, f: &file::Fault, table: &Dataset) -> Option<Alter> {
    let shift = f.shift?;
    if shift == 0.0 || !shift.is_finite() {
        cx.wrong(&at.key("shift"), "shifts nothing", "write how many standard deviations, for example 2.0 or -1.5");
        return None;
    }
    let chosen = named(cx, at, f, table)?;
    let all: Vec<usize> = chosen.clone().unwrap_or_else(|| (0..table.columns.len()).collect());
    let (mut features, mut sound) = (Vec::new(), true);
    for column in all {
        match (drifts(table, column, shift), chosen.is_some()) {
            (Ok(()), _) => features.push(column),
            (Err(_), false) => {}
            (Err((message, help)), true) => {
                let place = f.features.iter().flatten().position(|n| *n == table.columns[column]).unwrap_or(0);
                cx.wrong(&at.key("features").index(place), message, help);
                sound = false;
            }
        }
    }
    if sound && features.is_empty() {
        let message = "the dataset has no numeric feature that this would shift";
        cx.clash(at, "", message, "use a dataset with numbers that differ from row to row, or a larger `shift`");
        return None;
    }
    sound.then_some(Alter::Drift { features, shift })
}

/// Would a drift change the values of this column?
fn drifts(table: &Dataset, column: usize, shift: f64) -> Result<(), (String, String)> {
    let (name, sd) = (&table.columns[column], table.deviation(column));
    if !table.numeric[column] {
        let message = format!("`{name}` is text in some row, and text cannot drift");
        return Err((message, "name features whose every cell is a number or empty".to_owned()));
    }
    if sd == 0.0 {
        let message = format!("`{name}` has no standard deviation to shift by: it is the same in every row");
        return Err((message, "name another feature".to_owned()));
    }
    if table.whole(column) && (shift * sd).abs() < 0.5 {
        let message =
            format!("{shift} standard deviations of `{name}` are {:.2}, and whole numbers stay whole", shift * sd);
        return Err((message, format!("write a shift of at least {:.2}, or name another feature", 0.5 / sd)));
    }
    Ok(())
}

fn corrupt(cx: &mut Context, at: &Path, f: &file::Fault, table: &Dataset, target: &Target) -> Option<Alter> {
    let garbage = match f.garbage.unwrap_or(GarbageWord::Text) {
        GarbageWord::Text => Garbage::Text,
        GarbageWord::Null => Garbage::Null,
        GarbageWord::Huge => Garbage::Huge,
        GarbageWord::Noise => Garbage::Noise,
    };
    let binary = target.protocol == Protocol::OpenInference && target.encoding.form == Form::Binary;
    let (word, key) = (garbage.word(), if f.garbage.is_some() { "as" } else { "" });
    let lost = match garbage {
        Garbage::Null => true,
        Garbage::Text => target.encoding.input.is_some(),
        Garbage::Huge | Garbage::Noise => false,
    };
    if binary && lost {
        let message =
            format!("a tensor in bytes has no room for `{word}`: what is sent would be a value like any other");
        cx.clash(at, key, message, "write as = \"huge\" or \"noise\", or form = \"json\" in [target]");
        return None;
    }
    let for_numbers = matches!(garbage, Garbage::Text | Garbage::Huge);
    let chosen = named(cx, at, f, table)?;
    let mut sound = true;
    for name in f.features.iter().flatten().filter(|_| for_numbers) {
        let column = table.columns.iter().position(|c| c == name);
        if column.is_some_and(|c| !table.numeric[c]) {
            let place = f.features.iter().flatten().position(|n| n == name).unwrap_or(0);
            let message = format!("`{name}` is text already, so `{}` would be nothing wrong in it", garbage.word());
            cx.wrong(&at.key("features").index(place), message, "write as = \"null\" or \"noise\", or name a number");
            sound = false;
        }
    }
    let all = || (0..table.columns.len()).filter(|c| !for_numbers || table.numeric[*c]).collect();
    let features: Vec<usize> = chosen.unwrap_or_else(all);
    if sound && features.is_empty() {
        let message = format!("the dataset has no numeric feature that could be `{}`", garbage.word());
        cx.clash(at, "", message, "write as = \"null\" or \"noise\"");
        return None;
    }
    sound.then_some(Alter::Corrupt { features, garbage })
}

/// Do the altered bodies fit into memory, and is any request altered? `places` are the faults' indices in the file.
pub(super) fn check_bodies(cx: &mut Context, plan: &Plan, places: &[usize]) {
    if plan.payloads().next().is_none() {
        return;
    }
    let closed = plan.phases.iter().any(|p| matches!(p.load, Load::Closed { .. }));
    let traffic = &plan.traffic;
    let (all, count) = body::size(&plan.target, &traffic.bodies, &traffic.batch, traffic.template.as_deref());
    let mut sum = 0u64;
    for (nth, (index, payload)) in plan.payloads().enumerate() {
        let (at, name) = (Path::root().key("fault").index(places[index]), &plan.faults[index].name);
        let expected = altered(plan, index, payload.share);
        if expected < 1.0 && !closed {
            cx.warn(format!(
                "fault {name}: about {expected:.4} requests fall to its share, so it may well not be proven"
            ));
        }
        let same = plan.payloads().take(nth).any(|(_, p)| p.alter == payload.alter);
        let bytes = match &payload.alter {
            Alter::CacheBust { distinct, .. } => {
                if expected > *distinct as f64 {
                    cx.warn(format!(
                        "fault {name}: about {expected:.0} requests share {distinct} bodies, so a cache may know the later ones; \
                         raise `distinct`"
                    ));
                }
                if let Some(most) = in_closed_loops(plan, index, payload.share).filter(|n| *n > *distinct as f64) {
                    let number = if most.is_finite() { format!("up to {most:.0}") } else { "any number of".to_owned() };
                    cx.warn(format!(
                        "fault {name}: {number} requests of a closed loop share {distinct} bodies, so a cache may know the later \
                         ones; raise `distinct`, or bound the loop with `max_rate`"
                    ));
                }
                let bodies = if closed { *distinct } else { (expected.ceil() as usize).min(*distinct) };
                (bodies as f64 * all / count) as u64
            }
            _ if same => 0,
            Alter::Oversize { batch } => {
                let body = (*batch as f64 * all / (count * traffic.batch.mean())) as u64;
                if body > limits::BODY_BYTES {
                    let message = format!("{batch} rows make a body of about {}", show_bytes(body));
                    let help = format!("write fewer: a body has at most {}", show_bytes(limits::BODY_BYTES));
                    cx.wrong(&at.key("batch"), message, help);
                    continue;
                }
                body.max(16 << 20)
            }
            _ => all as u64,
        };
        sum = sum.saturating_add(bytes);
        if sum > limits::TWIN_BYTES {
            let message = format!("altered bodies would take about {} of memory", show_bytes(sum));
            let help = format!(
                "use a dataset with fewer rows, or fewer faults: all of them are made before the load, and at most {} are kept",
                show_bytes(limits::TWIN_BYTES)
            );
            cx.wrong(&at, message, help);
            return;
        }
    }
}

/// Requests that a fault alters on average, as if the rate of a phase were the same throughout; those of closed loops left out.
fn altered(plan: &Plan, fault: usize, share: Ratio) -> f64 {
    let (from, until) = (plan.faults[fault].at, plan.faults[fault].ends(plan.end()).unwrap_or(plan.end()));
    let within = |p: &Phase| until.min(p.end()).since(from.max(p.start)).as_secs_f64() / p.duration.as_secs_f64();
    let inside = plan.phases.iter().filter(|p| p.start < until && from < p.end());
    share.get() * inside.map(|p| phase::planned(p) * within(p)).sum::<f64>()
}

/// Requests of closed loops that a fault may alter, at most: infinite where nothing bounds them; none where no such loop runs.
fn in_closed_loops(plan: &Plan, fault: usize, share: Ratio) -> Option<f64> {
    let (from, until) = (plan.faults[fault].at, plan.faults[fault].ends(plan.end()).unwrap_or(plan.end()));
    let inside = plan.phases.iter().filter(|p| p.start < until && from < p.end());
    let most = inside.filter_map(|p| match &p.load {
        Load::Closed { max_rate, .. } => {
            let seconds = until.min(p.end()).since(from.max(p.start)).as_secs_f64();
            Some(max_rate.map_or(f64::INFINITY, |rate| share.get() * rate.get() * seconds))
        }
        Load::Open(_) => None,
    });
    most.reduce(|sum, n| sum + n)
}
