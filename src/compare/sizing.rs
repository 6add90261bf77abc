//! From searches and their trials to the model. Pure.

use crate::capacity::curve::Curve;
use crate::capacity::knee::knee;
use crate::capacity::replicas::{Need, replicas};
use crate::capacity::search::{Answer, Bound, Found};
use crate::capacity::trial::{Cause, Verdict};
use crate::capacity::usl::{self, Load};
use crate::plan::{FaultKind, FaultPlan, Planning, Via};
use crate::report::format::{percent, rate};
use crate::report::sizing::model::{FoundWord, NeedReport, NeedRow, SearchReport, TrialReport, UslReport};

/// The word and the reason of a verdict.
pub fn verdict_words(verdict: Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Passed => ("passed", String::new()),
        Verdict::GeneratorBound => {
            ("generator_bound", "the generator fell behind: this says nothing of the service".into())
        }
        Verdict::Inconclusive => ("inconclusive", "too few samples for a verdict".into()),
        Verdict::Failed(cause) => (
            "failed",
            match cause {
                Cause::SafetyStop => "the safety stop".to_owned(),
                Cause::Objective => "an objective is broken".to_owned(),
                Cause::Completed(share) => format!("only {} of what was offered came back", percent(share)),
                Cause::Backlog(low) => format!("the backlog grows by {} at least", rate(low)),
                Cause::Hopeless => "broken off: the backlog grows without bound".to_owned(),
            },
        ),
    }
}

/// How many of `replicas` a fault takes away for as long as it is held: all that it hits, where none of them can be reached or answers. One
/// that slows replicas down or spoils what they say takes none; what a fault hits that no platform of ours knows of is not counted.
pub fn dead(fault: &FaultPlan, replicas: usize) -> usize {
    // Cut off from one peer alone, a replica is still there for its callers.
    let from_all = !matches!(&fault.via, Via::ChaosMesh(mesh) if mesh.peer.is_some());
    let gone = match &fault.kind {
        FaultKind::PodKill { .. } | FaultKind::PodFailure | FaultKind::PodPause => true,
        FaultKind::NetworkPartition { .. } | FaultKind::NetworkReset => from_all,
        FaultKind::NetworkLoss { share } => from_all && share.get() >= 1.0,
        _ => false,
    };
    if gone { fault.hits(replicas) } else { 0 }
}

/// One search. `under` is the fault that was held and how many of `replicas` it held down; `confirm` the weight of a confirming trial.
pub fn search(
    answer: &Answer,
    trials: Vec<TrialReport>,
    under: Option<(&str, usize)>,
    replicas: usize,
    confirm: f64,
    below: &mut dyn FnMut(usize) -> usize,
) -> SearchReport {
    let (found, carried, breaks) = match answer.found {
        Found::Carried { rate, breaks_at } => (FoundWord::Carried, Some(rate), Some(breaks_at)),
        Found::AtLeast { rate, bound: Bound::Ceiling } => (FoundWord::AtLeast, Some(rate), None),
        // What stopped this one is not the service: planned with, it would buy replicas for the limit of the load engine.
        Found::AtLeast { bound: Bound::Generator | Bound::NoVerdict, .. } => (FoundWord::Undecided, None, None),
        Found::Below { rate } => (FoundWord::Below, None, Some(rate)),
        Found::Undecided { .. } => (FoundWord::Undecided, None, None),
    };
    let dead = under.map_or(0, |(_, dead)| dead);
    let alive = replicas.saturating_sub(dead).max(1);
    let crossing = answer.crossing(confirm, below).ok().flatten();
    SearchReport {
        under: under.map(|(fault, _)| fault.to_owned()),
        dead,
        found,
        words: answer.found.to_string(),
        carried_rps: carried,
        breaks_at_rps: breaks,
        per_replica_rps: carried.map(|rate| rate / alive as f64),
        noisy: answer.noisy(),
        crossing_rps: crossing.map(|c| [c.interval.low, c.at, c.interval.high]),
        knee_rps: curve(&trials).and_then(|c| knee(&c).sharp()),
        trials,
    }
}

/// p99 over rate; trials without a finite one are no points of it.
fn curve(trials: &[TrialReport]) -> Option<Curve> {
    let points: Vec<(f64, f64)> = trials.iter().filter_map(|t| t.p99_us.map(|us| (t.rate_rps, us / 1e6))).collect();
    Curve::new(&points).ok()
}

/// How many replicas; none where no capacity of one is known.
///
/// # Errors
/// Says which number makes no sense.
pub fn need(planning: &Planning, searches: &[SearchReport]) -> Result<Option<NeedReport>, String> {
    let Some(capacity) = searches.first().and_then(|s| s.per_replica_rps) else { return Ok(None) };
    let survive = u32::from(planning.survive);
    // Only what was measured under the very loss that is to be survived counts as measured, and a fault that takes no replica away is none.
    let under = searches.iter().find(|s| s.under.is_some() && s.dead > 0 && s.dead == usize::from(planning.survive));
    let after = under.and_then(|s| s.per_replica_rps);
    let asked = Need {
        peak: planning.peak.get(),
        growth: planning.growth,
        survive,
        utilisation: planning.utilisation.get(),
        capacity,
        capacity_after_loss: after,
    };
    let answer = replicas(&asked)?;
    // Latency by what falls to each of those that are left.
    let per_replica = under.filter(|_| after.is_some()).and_then(|s| {
        let ratio = s.carried_rps.unwrap_or(0.0) / s.per_replica_rps.unwrap_or(1.0);
        let points: Vec<(f64, f64)> =
            s.trials.iter().filter_map(|t| t.p99_us.map(|us| (t.rate_rps / ratio, us / 1e6))).collect();
        Curve::new(&points).ok()
    });
    let row = |r: &crate::capacity::replicas::Row| NeedRow {
        replicas: r.replicas,
        utilisation: r.before,
        utilisation_after_loss: r.after,
        p99_after_loss_us: per_replica
            .as_ref()
            .and_then(|c| answer.latency_after_loss(r.replicas, survive, c))
            .map(|s| s * 1e6),
        enough: r.enough,
    };
    Ok(Some(NeedReport {
        peak_rps: asked.peak,
        growth: asked.growth,
        survive,
        utilisation: asked.utilisation,
        demand_rps: answer.demand,
        capacity_rps: capacity,
        capacity_after_loss_rps: after,
        replicas: answer.replicas,
        for_utilisation: answer.for_utilisation,
        for_loss: answer.for_loss,
        measured: answer.measured,
        table: answer.table.iter().map(row).collect(),
    }))
}

/// Why no number of replicas follows, where trials were run and do not say what is carried.
pub fn no_need(searches: &[SearchReport]) -> Option<String> {
    let first = searches.first().filter(|s| s.found == FoundWord::Undecided && !s.trials.is_empty())?;
    Some(format!("how many replicas to run is not said, since the limit of the service was not seen: {}", first.words))
}

/// Says so where what was held is not the loss that is to be survived.
pub fn other_loss(planning: &Planning, searches: &[SearchReport]) -> Option<String> {
    let held = searches.iter().find(|s| s.under.is_some()).filter(|s| s.dead != usize::from(planning.survive))?;
    let survive = planning.survive;
    Some(match held.dead {
        0 => format!(
            "{} counts as the loss of no replica: what is carried after {survive} are lost was not measured",
            held.under.as_deref().unwrap_or_default()
        ),
        dead => format!(
            "{survive} replicas are to be lost, {dead} were held down: their capacity after the loss was not measured"
        ),
    })
}

/// Throughput at the highest concurrency against the best one, below which it was seen to fall.
const SEEN_FALLING: f64 = 0.95;

/// The scalability law through the trials; none with fewer than six different loads.
pub fn scalability(trials: &[TrialReport], below: &mut dyn FnMut(usize) -> usize) -> Option<UslReport> {
    let loads: Vec<Load> = trials
        .iter()
        .filter(|t| t.in_flight_mean > 0.0 && t.good_rps > 0.0)
        .map(|t| Load { concurrency: t.in_flight_mean, throughput: t.good_rps })
        .collect();
    let fit = usl::fit(&loads, below).ok()?;
    // The law bends where queues are merely full. That more yields less is said only where it was seen.
    let best = loads.iter().map(|l| l.throughput).fold(0.0, f64::max);
    let last = loads.iter().max_by(|a, b| a.concurrency.total_cmp(&b.concurrency)).map_or(best, |l| l.throughput);
    let words = match fit.peak.filter(|_| last < SEEN_FALLING * best) {
        None => "no retrograde region seen: more concurrency does not make it slower within what was tried".to_owned(),
        Some(peak) => format!(
            "more than {:.0} requests at the same time ({:.0} to {:.0}) yield less{}",
            peak.at,
            peak.interval.low,
            peak.interval.high,
            if peak.beyond { "; far beyond what was tried, a guess" } else { "" }
        ),
    };
    // An endless upper end has no place in JSON.
    let finite = |x: f64| if x.is_finite() { x } else { f64::MAX };
    Some(UslReport {
        lambda: [fit.lambda.low, fit.law.lambda, finite(fit.lambda.high)],
        alpha: [fit.alpha.low, fit.law.alpha, finite(fit.alpha.high)],
        beta: [fit.beta.low, fit.law.beta, finite(fit.beta.high)],
        words,
    })
}

/// The answer in one sentence.
pub fn sentence(searches: &[SearchReport], need: Option<&NeedReport>, replicas: usize) -> String {
    let Some(first) = searches.first().filter(|s| !s.trials.is_empty()) else {
        return "Nothing was measured.".to_owned();
    };
    let (many, carry, do_not) = match replicas {
        1 => ("one replica".to_owned(), "carries", "does not"),
        n => (format!("{n} replicas"), "carry", "do not"),
    };
    let mut words = match (first.found, first.carried_rps, first.breaks_at_rps) {
        (FoundWord::Carried, Some(carried), _) => {
            let per = first.per_replica_rps.unwrap_or(carried);
            format!("{} {carry} {}, {} each", capital(&many), rate(carried), rate(per))
        }
        (FoundWord::AtLeast, Some(carried), _) => {
            // What bounds it stands behind the number in the words of the search.
            let bound = first.words.split_once(", ").map_or(first.words.as_str(), |(_, bound)| bound);
            format!("{} {carry} at least {}: {bound}", capital(&many), rate(carried))
        }
        (FoundWord::Below, _, Some(lowest)) => {
            format!("{} {do_not} carry even {}, the lowest rate that was tried", capital(&many), rate(lowest))
        }
        _ => {
            let why = first.words.strip_prefix("carries ").unwrap_or(&first.words);
            format!("What {many} {carry} cannot be said: {why}")
        }
    };
    if let Some(under) = searches.get(1) {
        let fault = under.under.clone().unwrap_or_default();
        words.push_str(&match (under.carried_rps, under.dead) {
            (Some(carried), 0) => format!("; while {fault} is held, no replica counted as lost, {}", rate(carried)),
            (Some(carried), dead) => format!("; while {dead} of them is held down by {fault}, {}", rate(carried)),
            (None, _) => format!("; while {fault} is held: {}", under.words),
        });
    }
    if let Some(need) = need {
        let how = if need.measured { "" } else { " (by arithmetic, not measured)" };
        words.push_str(&format!(
            ". For {} after a loss of {} run {} replicas{how}",
            rate(need.demand_rps),
            need.survive,
            need.replicas
        ));
    }
    words + "."
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capacity::search::{Tried, Why};
    use crate::plan::{ChaosMesh, Direction, FaultTarget, Mode};
    use crate::units::{Offset, Rate, Ratio};

    fn found(carried: f64, dead: usize) -> SearchReport {
        found_under(carried, (dead > 0).then_some(("lose-one", dead)))
    }

    fn found_under(carried: f64, under: Option<(&str, usize)>) -> SearchReport {
        let tried = |rate, passed| Tried {
            rate,
            confirm: false,
            verdict: if passed { Verdict::Passed } else { Verdict::Failed(Cause::Objective) },
        };
        let answer = Answer {
            found: Found::Carried { rate: carried, breaks_at: carried * 1.05 },
            tried: vec![tried(carried, true), tried(carried * 1.05, false)],
        };
        let trials = vec![TrialReport { rate_rps: carried, p99_us: Some(1e5), ..TrialReport::default() }];
        search(&answer, trials, under, 3, 2.0, &mut |_| 0)
    }

    fn planning() -> Planning {
        Planning {
            peak: Rate::per_second(1000.0).unwrap(),
            growth: 0.2,
            survive: 1,
            utilisation: Ratio::new(0.7).unwrap(),
        }
    }

    #[test]
    fn replicas_from_what_was_measured_under_the_loss() {
        let searches = [found(600.0, 0), found(360.0, 1)];
        assert_eq!((searches[0].per_replica_rps, searches[1].per_replica_rps), (Some(200.0), Some(180.0)));
        let need = need(&planning(), &searches).unwrap().unwrap();
        // max(⌈1200 / 140⌉, ⌈1200 / 180⌉ + 1) = max(9, 8)
        assert_eq!((need.replicas, need.for_utilisation, need.for_loss, need.measured), (9, 9, 8, true));
        let words = sentence(&searches, Some(&need), 3);
        assert!(words.starts_with("3 replicas carry 600/s, 200/s each"), "{words}");
        assert!(words.ends_with("For 1,200/s after a loss of 1 run 9 replicas."), "{words}");
    }

    #[test]
    fn without_the_loss_it_is_arithmetic_and_says_so() {
        let need = need(&planning(), &[found(600.0, 0)]).unwrap().unwrap();
        assert!(!need.measured && need.capacity_after_loss_rps.is_none());
        assert!(sentence(&[found(600.0, 0)], Some(&need), 3).contains("by arithmetic"));
        // Two dead were measured, one is to be survived: that is not the same loss.
        assert!(!super::need(&planning(), &[found(600.0, 0), found(300.0, 2)]).unwrap().unwrap().measured);
    }

    fn fault(kind: FaultKind, via: Via) -> FaultPlan {
        FaultPlan {
            name: "held".into(),
            kind,
            target: FaultTarget::Replicas(Mode::One),
            at: Offset::ZERO,
            lasts: None,
            overlap: false,
            via,
        }
    }

    fn delay() -> FaultKind {
        let latency = Duration::from_millis(50);
        FaultKind::NetworkDelay { latency, jitter: Duration::ZERO, direction: Direction::Both }
    }

    #[test]
    fn dead_is_who_cannot_be_reached_or_does_not_answer() {
        let loss = |share| FaultKind::NetworkLoss { share: Ratio::new(share).unwrap() };
        let partition = || FaultKind::NetworkPartition { direction: Direction::Both };
        let stress = FaultKind::CpuStress { workers: 1, load: Ratio::new(1.0).unwrap() };
        for (kind, expected) in [
            (FaultKind::PodFailure, 1),
            (FaultKind::PodPause, 1),
            (partition(), 1),
            (FaultKind::NetworkReset, 1),
            (loss(1.0), 1),
            (loss(0.3), 0),
            (delay(), 0),
            (stress, 0),
            (FaultKind::MemoryStress { bytes: 1 }, 0),
        ] {
            let held = fault(kind, Via::Platform);
            assert_eq!(dead(&held, 3), expected, "{:?}", held.kind);
        }
        let mesh = ChaosMesh { peer: Some("features".into()), ..ChaosMesh::default() };
        assert_eq!(dead(&fault(partition(), Via::ChaosMesh(mesh)), 3), 0, "from one peer alone");
    }

    #[test]
    fn a_fault_that_takes_no_replica_away_measures_no_loss() {
        let slow = fault(delay(), Via::Platform);
        let searches = [found(600.0, 0), found_under(240.0, Some(("slow", dead(&slow, 3))))];
        assert_eq!((searches[1].dead, searches[1].per_replica_rps), (0, Some(80.0)), "all three carry it");
        let need = need(&planning(), &searches).unwrap().unwrap();
        assert!(!need.measured && need.capacity_after_loss_rps.is_none());
        let words = sentence(&searches, Some(&need), 3);
        assert!(words.contains("; while slow is held, no replica counted as lost, 240/s."), "{words}");
        assert!(words.contains("by arithmetic"), "{words}");
        assert!(other_loss(&planning(), &searches).unwrap().starts_with("slow counts as the loss of no replica"));
        // Where none is to be survived, a slow one is not the answer to that.
        let none = Planning { survive: 0, ..planning() };
        assert_eq!(super::need(&none, &searches).unwrap().unwrap().capacity_after_loss_rps, None);
        assert_eq!(other_loss(&none, &searches), None);
        assert!(other_loss(&planning(), &[found(600.0, 0), found(300.0, 2)]).unwrap().contains("2 were held down"));
        assert_eq!(other_loss(&planning(), &[found(600.0, 0), found(300.0, 1)]), None);
    }

    #[test]
    fn the_limit_of_the_load_engine_buys_no_replicas() {
        let bounded = |bound| {
            let answer = Answer { found: Found::AtLeast { rate: 680.0, bound }, tried: vec![] };
            search(&answer, vec![TrialReport::default()], None, 1, 2.0, &mut |_| 0)
        };
        for bound in [Bound::Generator, Bound::NoVerdict] {
            let found = [bounded(bound)];
            assert_eq!((found[0].found, found[0].carried_rps), (FoundWord::Undecided, None));
            assert_eq!(need(&planning(), &found), Ok(None));
            assert!(no_need(&found).unwrap().contains("carries at least 680.0/s"));
            let words = sentence(&found, None, 1);
            assert!(words.starts_with("What one replica carries cannot be said: at least 680.0/s, "), "{words}");
        }
        let ceiling = [bounded(Bound::Ceiling)];
        assert_eq!((ceiling[0].found, ceiling[0].carried_rps), (FoundWord::AtLeast, Some(680.0)));
        assert!(need(&planning(), &ceiling).unwrap().is_some());
        assert_eq!(no_need(&ceiling), None);
    }

    #[test]
    fn nothing_found_is_no_number() {
        let answer =
            Answer { found: Found::Undecided { passed: None, not_passed: None, why: Why::NoVerdict }, tried: vec![] };
        let none = search(&answer, vec![], None, 3, 2.0, &mut |_| 0);
        assert_eq!((none.carried_rps, none.per_replica_rps, none.crossing_rps), (None, None, None));
        assert_eq!(need(&planning(), std::slice::from_ref(&none)), Ok(None));
        assert_eq!(sentence(std::slice::from_ref(&none), None, 3), "Nothing was measured.");
        let tried = SearchReport { trials: vec![TrialReport::default()], ..none };
        assert!(sentence(std::slice::from_ref(&tried), None, 1).starts_with("What one replica carries cannot be said"));
        assert!(scalability(&[], &mut |_| 0).is_none());
        assert_eq!(sentence(&[], None, 1), "Nothing was measured.");
    }
}
