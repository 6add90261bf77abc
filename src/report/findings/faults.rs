//! Patterns of faults: was it there, was it noticed, what did the way back wait for.

use super::{Finding, Severity, finding};
use crate::report::course::{Course, Pool, pool};
use crate::report::format::{
    at_s, clean, count, latency_us, maybe_percent, number, percent, rate, short, time_s, time_us,
};
use crate::report::model::{Ending, FaultReport};

/// A detection that took this long or longer is worth a word, seconds.
const SLOW_DETECTION: f64 = 1.0;
/// A way out of rotation is missed only when a fault was there for this long, seconds.
const LONG_ENOUGH: f64 = 3.0;
/// The way back waited for readiness when it ended this much before or after it, seconds: a second is the finest that recovery is seen in.
const WITH_READY: (f64, f64) = (0.5, 2.0);
/// Fewer than this share of requests on connections that had died while idle is what any keep-alive brings.
const IDLE_SHARE: f64 = 0.001;

/// A fault without its proof: the likely cause is told by what it would have touched.
pub(super) fn not_proven(c: &Course<'_>) -> Vec<Finding> {
    let ended_early = matches!(c.report.ending, Ending::Interrupted | Ending::SafetyStop);
    let of = |f: &FaultReport| {
        let name = clean(&f.name);
        let Some(applied) = f.applied_at_s else {
            let why = f.errors.first().unwrap_or(&f.proof.evidence);
            let sentence = format!("{name} was never applied, so the run says nothing about it.");
            let evidence = vec![short(why, 300)];
            let hint = "Take away what stood in its way (`resbench plan FILE` shows who would be hit, `resbench doctor` what this machine \
                        can do), and run it again.";
            return finding("fault-not-proven", Severity::Serious, Some(&f.name), sentence, evidence, hint);
        };
        let until = f.reverted_at_s.map_or(String::new(), |t| format!(" to {}", at_s(t)));
        let sentence = format!("{name} was on, but nothing shows that it took effect: a pass would say nothing.");
        let evidence = vec![
            format!("on from {}{until}, things touched: {}", at_s(applied), count(f.proof.touched)),
            format!("proof {}: {}", short(&f.proof.level, 20), short(&f.proof.evidence, 250)),
        ];
        finding("fault-not-proven", Severity::Serious, Some(&f.name), sentence, evidence, likely_cause(f))
    };
    let unproven = c.report.faults.iter().filter(|f| !f.proof.proven);
    unproven.filter(|f| f.applied_at_s.is_some() || !ended_early).map(of).collect()
}

fn likely_cause(f: &FaultReport) -> &'static str {
    let starts = |what: &str| f.kind.starts_with(what);
    match f.dependency {
        _ if f.via == "toxiproxy"
            || f.proof.touched > 0
            || matches!(f.kind.as_str(), "command" | "http" | "chaos-mesh") =>
        {
            "Nothing that could be looked at changed: name what must change while it is on, proof = { probe = \"…\", becomes = \
             \"failing\" }, and see whether the tool that was asked really did it."
        }
        Some(_) if starts("network") => {
            "Most likely replicas did not call it in that time, because they ask it only when they start: let a restart (pod-kill) fall into \
             the time of the fault."
        }
        _ if starts("network") => {
            "Most likely no traffic passed there in that time: let it last longer, or look whether requests take this way."
        }
        _ if starts("io-") || f.kind == "disk-full" || f.kind == "file-corrupt" => {
            "Most likely the files were read before, and the model stands in memory: let a restart (pod-kill) fall into the time of the \
             fault, or look whether `path` and `methods` fit."
        }
        _ if starts("payload") => {
            "Most likely the share or the time was too small for a request to be altered: raise one of them."
        }
        _ => "See the evidence; `resbench doctor` says what this machine can do.",
    }
}

/// It hurt, and that had not ended when the next fault or the end came.
pub(super) fn not_recovered(c: &Course<'_>) -> Vec<Finding> {
    let of = |f: &FaultReport| {
        let i = &f.impact;
        let next = c.next_fault_s(f);
        let applied = f.applied_at_s.unwrap_or(next);
        let left = pool(c.windows((next - 5.0).max(applied), next));
        let still_there = f.planned_end_at_s.is_some() && f.reverted_at_s.is_none();
        let mut evidence = vec![short(&i.reason, 200)];
        if let Some(bad) = left.bad() {
            evidence.push(format!("in the last {} {} were late, failed or shed", time_s(left.seconds), percent(bad)));
        }
        if let Some(ready) = c.ready_at_s(f) {
            evidence.push(format!("what it hit was ready again at {}", at_s(ready)));
        }
        let hint = if still_there {
            "It lasted to the end: give the run time after it, so that the way back can be seen."
        } else if c.ready_at_s(f).is_some() {
            "The replicas are back and the requests are not well: look for clients that stay on the survivors (an age limit for connections \
             spreads them again), a queue that does not drain (a deadline for each request), cold caches."
        } else {
            "Look in the platform events for what did not come back, and let the run go on for longer after the fault."
        };
        let until = if next < c.end_s() { "the next fault came" } else { "the load ended" };
        let (from, what) = f.reverted_at_s.map_or((applied, "applied"), |at| (at, "reverted"));
        let sentence = format!(
            "The service was not back from {} when {until}, {} after it was {what}.",
            clean(&f.name),
            time_s((next - from).max(0.0))
        );
        finding("not-recovered", Severity::Serious, Some(&f.name), sentence, evidence, hint)
    };
    c.report.faults.iter().filter(|f| f.impact.state == "not_recovered").map(of).collect()
}

/// The survivors of a loss could not carry the load: requests came late or were shed, not only cut off.
pub(super) fn one_replica_too_few(c: &Course<'_>) -> Vec<Finding> {
    let all = c.report.environment.replicas as u64;
    let before = c.before();
    let (Some(base_bad), Some(base_p50)) = (before.bad(), before.p50_us) else { return vec![] };
    if all < 2 || base_bad > 0.01 {
        return vec![];
    }
    let takes_away =
        |f: &&FaultReport| matches!(f.kind.as_str(), "pod-kill" | "pod-failure" | "pod-pause" | "rolling-restart");
    let of = |f: &FaultReport| -> Option<Finding> {
        // The first second belongs to the cut connections; another fault's time to that fault.
        let from = c.out_at_s(f)? + 1.0;
        let until = c.ready_at_s(f).unwrap_or(f64::INFINITY).min(c.next_fault_s(f));
        let other = |at: f64| {
            let held =
                |g: &FaultReport| g.applied_at_s.is_some_and(|a| a <= at) && g.reverted_at_s.is_none_or(|r| r > at);
            c.report.faults.iter().any(|g| g.name != f.name && g.planned_end_at_s.is_some() && held(g))
        };
        let down = || {
            c.windows(from, until)
                .filter(|w| w.replicas_ready.is_some_and(|n| n > 0 && n < all) && !other(w.start_at_s + w.duration_s))
        };
        let (during, ready) = (pool(down()), down().filter_map(|w| w.replicas_ready).min()?);
        let bad = during.bad().filter(|bad| *bad >= 0.05 && during.planned >= 100)?;
        let crowded = during.slow + during.timeouts + during.shed;
        let same_rate = (0.8..=1.2).contains(&(during.offered() / before.offered()));
        let p50 = during.p50_us?;
        if !same_rate || crowded * 10 < (during.planned - during.good) * 6 || p50 < 1.5 * base_p50 {
            return None;
        }
        let what = if all - ready == 1 { "one replica".to_owned() } else { format!("{} replicas", all - ready) };
        let sentence = format!(
            "The service is {what} too small for this load: with {ready} of {all} ready, {} of the requests were late, failed or shed.",
            percent(bad)
        );
        let median = |us: f64| latency_us(Some(us).filter(|us| us.is_finite()), 1);
        let evidence = vec![
            format!(
                "{all} ready: {} offered, {} bad, median {}",
                rate(before.offered()),
                percent(base_bad),
                median(base_p50)
            ),
            format!(
                "{ready} ready, {} long, from {} after it was out of rotation: {} offered; of {} requests {} late, {} timed out, {} shed; \
                 median {}",
                time_s(during.seconds),
                time_s(1.0),
                rate(during.offered()),
                count(during.planned),
                count(during.slow),
                count(during.timeouts),
                count(during.shed),
                median(p50)
            ),
        ];
        let hint = "Add a replica, or shed earlier. `resbench capacity` with [capacity] lose = { fault = \"…\" } measures how many survive \
                    the loss.";
        Some(finding("one-replica-too-few", Severity::Serious, Some(&f.name), sentence, evidence, hint))
    };
    // One kill is as good as five for this.
    c.report.faults.iter().filter(takes_away).find_map(of).into_iter().collect()
}

/// What it hit, without process ids: `replica 1, replica 2`.
fn whom(f: &FaultReport) -> String {
    let bare: Vec<&str> = f.targets.iter().map(|t| t.split(" (").next().unwrap_or(t)).collect();
    short(&bare.join(", "), 80)
}

/// Requests of a stretch that failed.
fn lost(p: &Pool) -> u64 {
    p.failed + p.shed
}

/// It hurt, and that is known.
fn hurt(f: &FaultReport) -> bool {
    matches!(f.impact.state.as_str(), "recovered" | "not_recovered")
}

/// How many more of `planned` ended like this than by the share of before, given as a part and its whole. None where that is not known, or
/// chance may do as much: three standard errors of the number.
fn more_than_usual(n: u64, planned: u64, (part, whole): (u64, u64)) -> Option<f64> {
    let usual = (whole > 0).then(|| part as f64 / whole as f64 * planned as f64)?;
    let more = n as f64 - usual;
    (more > 3.0 * usual.sqrt()).then_some(more)
}

/// What the share of before makes of as many requests, in words.
fn usually(n: u64, more: f64) -> String {
    format!("{} would have by the share before the first fault", count((n as f64 - more).round() as u64))
}

/// A replica that answered nobody stayed in rotation.
pub(super) fn never_out_of_rotation(c: &Course<'_>) -> Vec<Finding> {
    let of = |f: &FaultReport| -> Option<Finding> {
        let (from, to) = (f.applied_at_s?, f.reverted_at_s.unwrap_or(c.end_s()));
        let dead = matches!(f.kind.as_str(), "pod-pause" | "pod-failure" | "network-partition");
        let in_force = pool(c.windows(from, to));
        let seen = dead && hurt(f) && f.proof.proven && !f.replicas.is_empty() && f.impact.detection_s.is_none();
        if !seen || to - from < LONG_ENOUGH || c.report.environment.replicas < 2 || lost(&in_force) < 10 {
            return None;
        }
        let sentence = format!(
            "Nobody took {} out of rotation while {} held it for {}.",
            whom(f),
            clean(&f.name),
            time_s(to - from)
        );
        let evidence = vec![
            format!("no readiness change of it between {} and {}", at_s(from), at_s(to)),
            format!("{} of {} requests failed or were shed meanwhile", count(lost(&in_force)), count(in_force.planned)),
        ];
        let hint = "Let readiness ask what a prediction needs, with a timeout of its own, and let clients or the balancer drop an endpoint \
                    after some failures in a row.";
        Some(finding("never-out-of-rotation", Severity::Serious, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}

/// The endpoint went out of rotation late, and more requests failed about that time than before.
pub(super) fn detection_slow(c: &Course<'_>) -> Vec<Finding> {
    let before = c.before();
    let of = |f: &FaultReport| -> Option<Finding> {
        let (applied, took) = (f.applied_at_s?, f.impact.detection_s.filter(|s| *s >= SLOW_DETECTION)?);
        // The window in which it began counts too: less than that cannot be told apart.
        let until = pool(c.windows(applied - 1.0, applied + took + 1.0));
        let more = more_than_usual(lost(&until), until.planned, (lost(&before), before.planned))?;
        if !hurt(f) || more < 10.0 {
            return None;
        }
        let sentence = format!(
            "It took {} until {} was out of rotation, and requests failed about that time.",
            time_s(took),
            whom(f)
        );
        let evidence = vec![
            format!("{} applied at {}, out of rotation at {}", clean(&f.name), at_s(applied), at_s(applied + took)),
            format!(
                "{} of {} requests due about that time failed or were shed, {}",
                count(lost(&until)),
                count(until.planned),
                usually(lost(&until), more)
            ),
        ];
        let hint = "Ask for readiness more often and give up on an answer sooner (`ready.every`; on Kubernetes periodSeconds × \
                    failureThreshold); a client that drops an endpoint after some failures in a row is quicker than any poll.";
        let severity = if c.broke_a_promise(f) { Severity::Serious } else { Severity::Warning };
        Some(finding("detection-slow", severity, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}

/// Requests timed out after something was out of rotation already, or failed on connections that had died while idle.
pub(super) fn stuck_on_dead_connections(c: &Course<'_>) -> Vec<Finding> {
    let before = c.before();
    let of = |f: &FaultReport| -> Option<Finding> {
        let out = c.out_at_s(f)?;
        let ends = f.reverted_at_s.or(c.ready_at_s(f)).unwrap_or(f64::INFINITY).min(c.next_fault_s(f));
        let after = pool(c.windows(out + 1.0, ends));
        // Where the survivors are slow too, it is their load.
        let others_well = after.p50_us.zip(before.p50_us).is_some_and(|(now, before)| now < 1.5 * before);
        let more = more_than_usual(after.timeouts, after.planned, (before.timeouts, before.planned))?;
        if !hurt(f) || more < 20.0 || !others_well {
            return None;
        }
        let sentence =
            format!("After {} was out of rotation requests still timed out, while the others were well.", whom(f));
        let evidence = vec![
            format!("out of rotation at {}; looked at from {} to {}", at_s(out), at_s(out + 1.0), at_s(ends)),
            format!(
                "{} of {} requests timed out, {}; the median stayed at {}",
                count(after.timeouts),
                count(after.planned),
                usually(after.timeouts, more),
                time_us(after.p50_us.unwrap_or_default())
            ),
        ];
        let hint = "Most likely clients stayed on their connections to it: limit the age of connections, use keep-alive probes or HTTP/2 \
                    pings, and close a connection on its first timeout.";
        Some(finding("stuck-on-dead-connections", Severity::Warning, Some(&f.name), sentence, evidence, hint))
    };
    let mut found: Vec<Finding> = c.report.faults.iter().filter_map(of).collect();
    found.extend(dead_while_idle(c));
    found
}

/// Connections had died while idle: without any fault, or more often since the first one.
fn dead_while_idle(c: &Course<'_>) -> Option<Finding> {
    let (before, all) = (c.before(), pool(c.windows(0.0, f64::INFINITY)));
    let told = |n: u64, planned: u64, more: f64, when: &str| {
        if more < 10.0 || more < IDLE_SHARE * planned as f64 {
            return None;
        }
        let sentence = format!("{} requests went out on connections that had died while they were idle.", count(n));
        let evidence = vec![format!(
            "idle_closed{when}: {} of {}, {}",
            count(n),
            count(planned),
            percent(n as f64 / planned as f64)
        )];
        let hint = "Let clients drop idle connections before the server does, and repeat a request once when its connection was closed \
                    before a byte came back.";
        Some(finding("stuck-on-dead-connections", Severity::Warning, None, sentence, evidence, hint))
    };
    let (idle, planned) = (before.idle_closed, before.planned);
    let when = if c.first_fault_s.is_finite() { " before the first fault" } else { "" };
    told(idle, planned, idle as f64, when).or_else(|| {
        let (since, due) = (all.idle_closed - idle, all.planned - planned);
        told(since, due, more_than_usual(since, due, (idle, planned))?, " since the first fault")
    })
}

/// Ready again, and the requests still ill: the load did not come back to it, or a queue had grown. Counted from when it was ready and,
/// where the fault lasts, over.
pub(super) fn slow_after_ready(c: &Course<'_>) -> Vec<Finding> {
    let of = |f: &FaultReport| -> Option<Finding> {
        let (ready, recovered) = (c.ready_at_s(f)?, f.impact.recovered_at_s?);
        let ended = f.reverted_at_s.unwrap_or(ready).max(ready);
        let late = recovered - ended;
        if late < 3.0 || f.impact.onset_at_s? > ready {
            return None;
        }
        let between = pool(c.windows(ended, recovered));
        let (over, from) = match f.reverted_at_s {
            Some(at) => (format!(" and {} over at {}", clean(&f.name), at_s(at)), "after both"),
            None => (String::new(), "later"),
        };
        let sentence = format!(
            "{} was ready again at {}{over}, but the requests were well only {} {from}.",
            whom(f),
            at_s(ready),
            time_s(late)
        );
        let evidence = vec![
            format!("counted from {}, recovered at {}", at_s(ended), at_s(recovered)),
            format!(
                "in between {} of {} were late, failed or shed",
                maybe_percent(between.bad()),
                count(between.planned)
            ),
        ];
        let hint = "Look for clients that keep their connections to the survivors (limit the age of connections), for a queue that drains \
                    slowly, and for a cold start.";
        Some(finding("slow-after-ready", Severity::Warning, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}

/// The way back ended when the replica was ready: readiness is what it waited for. It begins when a lasting fault is over.
pub(super) fn recovery_bound_by_readiness(c: &Course<'_>) -> Vec<Finding> {
    let of = |f: &FaultReport| -> Option<Finding> {
        let i = &f.impact;
        let (applied, ready, recovered) = (f.applied_at_s?, c.ready_at_s(f)?, i.recovered_at_s?);
        let with_ready = (ready - WITH_READY.0..=ready + WITH_READY.1).contains(&recovered);
        let from = f.reverted_at_s.unwrap_or(applied);
        if !with_ready || ready - from < 1.0 || i.onset_at_s? > ready - 0.5 || i.recovery_s? < 1.0 {
            return None;
        }
        let sentence = format!(
            "The way back from {} waited for {} to be ready again: {} of {}{}.",
            clean(&f.name),
            whom(f),
            time_s((ready - from).min(recovered - from)),
            time_s(recovered - from),
            if f.reverted_at_s.is_some() { " after it was reverted" } else { "" }
        );
        let out = c.out_at_s(f).map_or(String::new(), |s| format!(", out of rotation at {}", at_s(s)));
        let over = f.reverted_at_s.map_or(String::new(), |s| format!(", reverted at {}", at_s(s)));
        let evidence = vec![format!(
            "applied at {}{out}{over}, ready again at {}, recovered at {}",
            at_s(applied),
            at_s(ready),
            at_s(recovered)
        )];
        let hint = "Shorten what stands between start and ready (loading the model, asking the registry, the period of readiness), or run \
                    one replica more, so that nobody waits for it.";
        let severity = if c.broke_a_promise(f) { Severity::Warning } else { Severity::Note };
        Some(finding("recovery-bound-by-readiness", severity, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}

/// It was well while the replica was away, and slow when it was back: the replica was not warm.
pub(super) fn cold_start(c: &Course<'_>) -> Vec<Finding> {
    let Some(base) = c.baseline().and_then(|b| b.latency_us.p95) else { return vec![] };
    let of = |f: &FaultReport| -> Option<Finding> {
        let (applied, ready) = (f.applied_at_s?, c.ready_at_s(f)?);
        let worst = |from: f64, to: f64, most: usize| {
            let p95 =
                c.windows(from, to).filter(|w| w.due_planned >= 50).map(|w| w.due_p95_us.unwrap_or(f64::INFINITY));
            p95.take(most).reduce(f64::max)
        };
        let away = worst((ready - 3.0).max(applied + 1.0), ready, 3)?;
        let back = worst(ready, ready + 4.0, 3)?;
        let later = worst(ready + 4.0, ready + 14.0, 10)?;
        if away > 2.0 * base || back < 3.0 * base || later > 2.0 * base {
            return None;
        }
        let shown = |us: f64| latency_us(Some(us).filter(|us| us.is_finite()), 1);
        let sentence = format!(
            "{} answered slowly at first after it was back: p95 was {} in the seconds after it was ready, {} before.",
            whom(f),
            shown(back),
            shown(away)
        );
        let evidence = vec![
            format!("ready again at {}; p95 in the baseline {}", at_s(ready), time_us(base)),
            format!(
                "{} × the baseline after it was ready, later at most {}",
                number((back / base).min(9_999.0)),
                shown(later)
            ),
        ];
        let hint = "Warm up before saying ready: load the model, fill its caches, send some predictions of your own; or let the balancer \
                    begin with a small share.";
        Some(finding("cold-start", Severity::Warning, Some(&f.name), sentence, evidence, hint))
    };
    c.report.faults.iter().filter_map(of).collect()
}
