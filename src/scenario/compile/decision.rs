//! `[[variant]]`, `[gate]` and `[capacity]`: what `compare`, `gate` and `capacity` decide, and by what.
//!
//! Only their own sense is checked here. Whether the scenario is still valid with a variant's changes is asked by
//! those who run it, by reading the scenario once more with them.

use std::time::Duration;

use super::Context;
use super::objective::{self, Facts};
use crate::plan::{Capacity, Effect, FaultKind, Gate, GateMetric, Metric, Planning, Variant, Via};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{file, limits, words};
use crate::units::{Rate, Ratio};

/// Pairs before the first look.
const PAIRS: usize = 7;
/// Pairs before the last look.
const MAX_PAIRS: usize = 15;
/// The shortest trial: its second half is what counts, seen in windows of a second, and two seconds hold a whole one wherever they begin.
const SHORTEST_TRIAL: Duration = Duration::from_secs(4);

/// The two sides; nothing where the scenario has none.
pub(super) fn variants(cx: &mut Context) -> Option<Vec<Variant>> {
    let at = Path::root().key("variant");
    cx.unique(&at, "variant");
    let all = (0..cx.count("variant")).map(|i| variant(cx, &at.index(i)));
    let all: Vec<Variant> = all.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
    if let [a, b] = &all[..]
        && a.sets == b.sets
    {
        let help = "change something in the second, for example set = { \"platform.local.volume\" = \"models/v2\" }; \
                    `gate --calibrate` compares the first with itself";
        cx.wrong(&at.index(1), format!("`{}` and `{}` differ in nothing", a.name, b.name), help);
        return None;
    }
    Some(all)
}

fn variant(cx: &mut Context, at: &Path) -> Option<Variant> {
    let v: file::Variant = cx.section(at)?;
    let own = ["variant", "gate", "capacity", "name", "seed"];
    for path in v.set.keys() {
        let first = path.split('.').next().unwrap_or_default().trim();
        if own.contains(&first) {
            let message = format!("`{first}` cannot differ between variants");
            cx.wrong(&at.key("set").key(path), message, "change what receives the traffic: target, platform, traffic");
        }
    }
    // From the tree and not from `v`: there `${VAR}` is expanded, and its value must not get into a report.
    let entries = cx.root.at(&at.key("set")).map_or(&[][..], crate::scenario::tree::Node::entries);
    let sets = entries.iter().map(|e| format!("{}={}", e.key, e.node.to_raw_toml())).collect();
    Some(Variant { name: v.name.0, sets })
}

/// What comparisons decide by; the inner none where the scenario has no `[gate]`.
pub(super) fn gate(cx: &mut Context, facts: &Facts) -> Option<Option<Gate>> {
    let at = Path::root().key("gate");
    if cx.root.at(&at).is_none() {
        return Some(None);
    }
    let g: file::Gate = cx.section(&at)?;
    let pairs = g.pairs.unwrap_or(PAIRS);
    let max_pairs = g.max_pairs.unwrap_or(MAX_PAIRS.max(pairs));
    if max_pairs < pairs {
        let help = format!("write at least max_pairs = {pairs}");
        cx.clash(&at, "max_pairs", "fewer than `pairs`", help);
    }
    let metrics: Vec<Option<GateMetric>> = g
        .metrics
        .into_iter()
        .enumerate()
        .map(|(i, m)| gate_metric(cx, &at.key("metrics").index(i), m, facts))
        .collect();
    let metrics: Vec<GateMetric> = metrics.into_iter().collect::<Option<_>>()?;
    for (i, metric) in metrics.iter().enumerate() {
        if metrics[..i].iter().any(|m| m.text == metric.text) {
            let message = format!("`{}` stands above already", metric.text);
            cx.wrong(&at.key("metrics").index(i).key("metric"), message, "remove one of the two");
        }
    }
    Some(Some(Gate { metrics, pairs, max_pairs }))
}

fn gate_metric(cx: &mut Context, at: &Path, given: file::GateMetric, facts: &Facts) -> Option<GateMetric> {
    let (metric, place) = cx.good(&at.key("metric"), metric_and_place(&given.metric))?;
    let place = objective::place(cx, &metric, place, facts);
    let place = cx.good(&at.key("metric"), place);
    let min_effect = cx.good(&at.key("min_effect"), effect(&given.min_effect, &metric))?;
    Some(GateMetric { metric, place: place??, min_effect, text: given.metric })
}

/// Reads `latency.p99@baseline`.
fn metric_and_place(text: &str) -> Result<(Metric, &str), (String, String)> {
    let help = "write METRIC@SPAN or METRIC@FAULT, for example latency.p99@baseline or recovery_time@kill-one";
    let (word, place) = text.split_once('@').unwrap_or((text, ""));
    let metric = words::metric(word).ok_or_else(|| {
        (format!("there is no metric `{}`", shortened(word)), words::did_you_mean(word, &words::METRICS, "metrics"))
    })?;
    if metric == Metric::GoodRatio {
        return Err(("`good_ratio` has no `within` here".to_owned(), "decide by latency.pNN or error_rate".to_owned()));
    }
    if place.is_empty() {
        return Err((format!("`{}` does not say where it is taken", shortened(text)), help.to_owned()));
    }
    Ok((metric, place))
}

fn effect(given: &file::Bound, metric: &Metric) -> Result<Effect, (String, String)> {
    let effect = match given {
        file::Bound::Text(text) if text.trim_end().ends_with('%') => {
            if metric.unit() == "ratio" {
                let message = format!("`{}` is a share: a percentage of it is hard to read", metric.word());
                return Err((message, "write an absolute change, for example 0.002".to_owned()));
            }
            Effect::Relative(percent(text)?)
        }
        other => Effect::Absolute(objective::in_unit(other, metric)?),
    };
    let (Effect::Relative(size) | Effect::Absolute(size)) = effect;
    if size <= 0.0 {
        let help = "every two runs differ a little: write the change that matters, for example \"5%\"";
        return Err(("must be above 0".to_owned(), help.to_owned()));
    }
    Ok(effect)
}

/// Reads `"5%"` as a share, 0 to 10 (which is 1000 %).
fn percent(text: &str) -> Result<f64, (String, String)> {
    let number = text.trim().strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
    number
        .map(|n| n / 100.0)
        .filter(|share| (0.0..=10.0).contains(share))
        .ok_or_else(|| (format!("`{}` is not a percentage", shortened(text)), "write for example \"5%\"".to_owned()))
}

/// What is searched for; the inner none where the scenario has no `[capacity]`.
pub(super) fn capacity(cx: &mut Context, facts: &Facts) -> Option<Option<Capacity>> {
    let at = Path::root().key("capacity");
    if cx.root.at(&at).is_none() {
        return Some(None);
    }
    let c: file::Capacity = cx.section(&at)?;
    let from = cx.good(&at.key("from"), rate(c.from));
    let precision = c.precision.as_deref().map_or(Ok(0.05), percent).and_then(|share| {
        let cure = || ("too fine or too coarse".to_owned(), "write \"1%\" to \"50%\"".to_owned());
        Some(share).filter(|s| (0.01..=0.5).contains(s)).ok_or_else(cure)
    });
    let precision = cx.good(&at.key("precision"), precision);
    let trial = c.trial.map_or(Duration::from_secs(20), |d| d.0);
    let trial = cx.within(&at.key("trial"), trial, SHORTEST_TRIAL, limits::TOTAL);
    let confirm = c.confirm.map_or(Duration::from_secs(60), |d| d.0);
    let confirm = cx.within(&at.key("confirm"), confirm, SHORTEST_TRIAL, limits::TOTAL);
    let lose = match &c.lose {
        None => Some(None),
        Some(lose) => lose_named(cx, &at.key("lose").key("fault"), &lose.fault, facts).map(Some),
    };
    let planning = planning(cx, &at, &c);
    let (from, precision, trial, confirm) = (from?, precision?, trial?, confirm?);
    Some(Some(Capacity { from, precision, trial, confirm, lose: lose?, planning: planning? }))
}

/// The fault that is held in every trial. It must be one that can be held: what is killed by hand on a cluster is replaced at once.
fn lose_named(cx: &mut Context, at: &Path, name: &str, facts: &Facts) -> Option<usize> {
    let index = cx.good(at, objective::fault_named(name, facts))?;
    let fault = facts.faults[index].plan.as_ref()?;
    let on_cluster = cx.root.at(&Path::root().key("platform").key("kubernetes")).is_some();
    let (message, help) = match (&fault.kind, &fault.via) {
        (FaultKind::PodKill { .. }, Via::Platform) if on_cluster => (
            format!("`{name}` kills a pod, and its Deployment makes another one at once: the loss cannot be held"),
            "write via = \"chaos-mesh\": in trials the same pod is then held down as a pod-failure",
        ),
        (FaultKind::RollingRestart { .. }, _) => (
            format!("`{name}` brings every replica back: there is no loss to hold"),
            "name a pod-kill or a pod-failure",
        ),
        _ => return Some(index),
    };
    cx.wrong(at, message, help);
    None
}

/// Planning needs `peak`; the rest of it alone would be ignored.
fn planning(cx: &mut Context, at: &Path, c: &file::Capacity) -> Option<Option<Planning>> {
    let Some(peak) = c.peak else {
        let given = [("growth", c.growth.is_some()), ("survive", c.survive.is_some())];
        let given = given.into_iter().chain([("utilisation", c.utilisation.is_some())]).find(|(_, given)| *given);
        if let Some((key, _)) = given {
            cx.clash(at, key, format!("`{key}` needs `peak`"), "add the rate to carry, for example peak = 1000");
            return None;
        }
        return Some(None);
    };
    let peak = cx.good(&at.key("peak"), rate(peak));
    let growth = cx.good(&at.key("growth"), c.growth.as_deref().map_or(Ok(0.0), percent));
    let utilisation = Ratio::new(c.utilisation.unwrap_or(0.7)).map_err(|m| (m, "write a share, as 0.7".to_owned()));
    let utilisation = cx.good(&at.key("utilisation"), utilisation);
    let survive = c.survive.unwrap_or(1);
    Some(Some(Planning { peak: peak?, growth: growth?, survive, utilisation: utilisation? }))
}

fn rate(value: f64) -> Result<Rate, (String, String)> {
    Rate::per_second(value).map_err(|m| (m, "write requests per second, for example 100".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Quantile;

    /// However it lies on the windows of a second, its second half holds one that is whole.
    #[test]
    fn the_shortest_trial_can_be_decided() {
        assert!(SHORTEST_TRIAL / 2 >= Duration::from_secs(2));
    }

    #[test]
    fn metrics_with_their_place() {
        assert_eq!(metric_and_place("latency.p99@baseline"), Ok((Metric::Latency(Quantile::P99), "baseline")));
        assert_eq!(metric_and_place("error_rate@during:kill"), Ok((Metric::ErrorRate, "during:kill")));
        for (text, words) in [
            ("latency.p99", "does not say where"),
            ("latency.p99@", "does not say where"),
            ("latency.99@a", "there is no metric"),
            ("good_ratio@a", "no `within`"),
        ] {
            assert!(metric_and_place(text).unwrap_err().0.contains(words), "{text}");
        }
    }

    #[test]
    fn effects_are_shares_or_in_the_metrics_unit() {
        let text = |t: &str| file::Bound::Text(t.to_owned());
        let p99 = Metric::Latency(Quantile::P99);
        assert_eq!(effect(&text("5%"), &p99), Ok(Effect::Relative(0.05)));
        assert_eq!(effect(&text("500ms"), &Metric::RecoveryTime), Ok(Effect::Absolute(0.5)));
        assert_eq!(effect(&file::Bound::Number(0.002), &Metric::ErrorRate), Ok(Effect::Absolute(0.002)));
        assert!(effect(&text("5%"), &Metric::ErrorRate).unwrap_err().1.contains("0.002"));
        for wrong in [text("0%"), text("-5%"), text("x%"), text("0ms"), file::Bound::Number(5.0)] {
            assert!(effect(&wrong, &p99).is_err());
        }
    }
}
