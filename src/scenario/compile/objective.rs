//! `[[objective]]`: what the service promises, and where that is judged.

use std::time::Duration;

use super::fault::{self, Draft};
use super::{Context, phase, probe};
use crate::plan::{
    Bodies, FaultTarget, Lasts, Metric, Objective, Op, Phase, Protocol, SpanRef, Target, Traffic, Where,
};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{file, limits, words};
use crate::units::{PhaseId, parse_duration, show_duration};

/// What objectives are held against; none for parts that are broken.
pub(super) struct Facts<'a> {
    pub(super) target: Option<&'a Target>,
    pub(super) traffic: Option<&'a Traffic>,
    pub(super) phases: Option<&'a [Phase]>,
    pub(super) faults: &'a [Draft],
}

/// All objectives; none when one of them is broken.
pub(super) fn compile(cx: &mut Context, facts: &Facts) -> Option<Vec<Objective>> {
    let at = Path::root().key("objective");
    let all: Vec<Option<Vec<Objective>>> =
        (0..cx.count("objective")).map(|i| objective(cx, &at.index(i), facts)).collect();
    if all.is_empty() {
        cx.warn("there is no [[objective]]: nothing is judged, the run only measures");
    }
    let all: Vec<Objective> = all.into_iter().collect::<Option<Vec<_>>>()?.concat();
    warn_about_good_answers_only(cx, &all);
    warn_about_few_samples(cx, &all, facts);
    warn_about_no_baseline(cx, &all, facts);
    Some(all)
}

/// What the payload faults promise by themselves: that altered requests end as they should.
pub(super) fn expectations(cx: &Context, faults: &[Draft]) -> Vec<Objective> {
    let one = |(fault, draft): (usize, &Draft)| {
        let payload = draft.plan.as_ref()?.payload()?;
        let at = Path::root().key("fault").index(draft.index);
        Some(Objective {
            metric: Metric::AsExpected,
            op: Op::Min,
            bound: payload.expect_share.get(),
            spans: Vec::new(),
            fault: Some(fault),
            median_of: None,
            within: None,
            line: cx.report.line(&cx.root.place(&at)),
        })
    };
    faults.iter().enumerate().filter_map(one).collect()
}

/// One objective of the file; one for each time of a fault that repeats.
fn objective(cx: &mut Context, at: &Path, facts: &Facts) -> Option<Vec<Objective>> {
    let o: file::Objective = cx.section(at)?;
    let line = cx.report.line(&cx.root.place(at));
    match (&o.metric, &o.probe) {
        (Some(metric), None) => of_metric(cx, at, facts, &o, words::metric(&metric.0)?, line),
        (None, Some(name)) => of_probe(cx, at, &o, name, line).map(|o| vec![o]),
        (Some(_), Some(_)) => {
            cx.clash(at, "probe", "`metric` and `probe` exclude each other", "make two objectives of them");
            None
        }
        (None, None) => {
            cx.clash(
                at,
                "",
                "nothing says what is judged",
                "add metric = \"latency.p99\" with `max`, or probe = \"…\"",
            );
            None
        }
    }
}

/// A probe that must hold whenever it is asked.
fn of_probe(cx: &mut Context, at: &Path, o: &file::Objective, name: &str, line: usize) -> Option<Objective> {
    let keys = [
        ("max", o.max.is_some()),
        ("min", o.min.is_some()),
        ("spans", o.spans.is_some()),
        ("fault", o.fault.is_some()),
        ("within", o.within.is_some()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, set)| *set) {
        let help = "remove it: a probe holds or fails whenever it is asked";
        cx.wrong(&at.key(key), format!("`{key}` does not go with `probe`"), help);
    }
    probe::check_name(cx, &at.key("probe"), name)?;
    let metric = Metric::Probe(name.to_owned());
    let (spans, fault, median_of) = (Vec::new(), None, None);
    Some(Objective { metric, op: Op::Max, bound: 0.0, spans, fault, median_of, within: None, line })
}

fn of_metric(
    cx: &mut Context,
    at: &Path,
    facts: &Facts,
    o: &file::Objective,
    metric: Metric,
    line: usize,
) -> Option<Vec<Objective>> {
    let bound = bound(cx, at, o, &metric);
    let within = within(cx, at, o, &metric);
    let (spans, faults) = if metric.is_of_fault() {
        (Some(Vec::new()), of_fault(cx, at, o, &metric, facts))
    } else {
        if o.fault.is_some() {
            let help = format!("write spans = [\"during:{}\"]", o.fault.as_deref().unwrap_or_default());
            cx.wrong(&at.key("fault"), format!("`{}` is judged over spans, not for a fault", metric.word()), help);
        }
        (spans(cx, at, o, facts), Some(vec![(None, None)]))
    };
    check_needs(cx, at, &metric, facts);
    let (op, bound) = bound?;
    check_good_answers_bound(cx, at, &metric, op, bound, facts);
    let (spans, within) = (spans?, within?);
    let each = |(fault, median_of)| Objective {
        metric: metric.clone(),
        op,
        bound,
        spans: spans.clone(),
        fault,
        median_of,
        within,
        line,
    };
    Some(faults?.into_iter().map(each).collect())
}

/// `max` or `min` in the metric's unit.
fn bound(cx: &mut Context, at: &Path, o: &file::Objective, metric: &Metric) -> Option<(Op, f64)> {
    let (key, op, bound) = match (&o.max, &o.min) {
        (Some(bound), None) => ("max", Op::Max, bound),
        (None, Some(bound)) => ("min", Op::Min, bound),
        (Some(_), Some(_)) => {
            cx.clash(at, "min", "`max` and `min` exclude each other", "make two objectives of them");
            return None;
        }
        (None, None) => {
            let example = if metric.unit() == "s" { "max = \"100ms\"" } else { "max = 0.01" };
            cx.clash(
                at,
                "",
                format!("`{}` has no bound", metric.word()),
                format!("add `max` or `min`, for example {example}"),
            );
            return None;
        }
    };
    if (op == Op::Min) == better_when_small(metric) {
        let other = if op == Op::Min { "max" } else { "min" };
        cx.warn(format!("{at}: `{}` is bounded by `{key}`; a promise about it is usually a `{other}`", metric.word()));
    }
    cx.good(&at.key(key), in_unit(bound, metric)).map(|b| (op, b))
}

/// The metrics whose small values are the good ones.
fn better_when_small(metric: &Metric) -> bool {
    !matches!(
        metric,
        Metric::Availability | Metric::Throughput | Metric::GoodRatio | Metric::Accuracy | Metric::Agreement
    )
}

/// A bound in seconds, as a share, or as a number.
pub(super) fn in_unit(bound: &file::Bound, metric: &Metric) -> Result<f64, (String, String)> {
    let word = metric.word();
    match (metric.unit(), bound) {
        ("s", file::Bound::Text(text)) => {
            let help = "write a duration such as \"100ms\"";
            let duration = parse_duration(text).map_err(|m| {
                let (message, help) = m.rsplit_once(": ").unwrap_or((m.as_str(), help));
                (message.to_owned(), help.to_owned())
            })?;
            let is_latency = matches!(metric, Metric::Latency(_) | Metric::LatencyMax | Metric::LatencyOk(_));
            if (is_latency || metric.is_of_stream()) && duration > limits::LATENCY {
                let help = format!("write at most {}", show_duration(limits::LATENCY));
                return Err(("longer than latencies are recorded".to_owned(), help));
            }
            Ok(duration.as_secs_f64())
        }
        ("s", file::Bound::Number(n)) => {
            Err((format!("`{word}` is a time, got the number {n}"), format!("write \"{n}ms\" or \"{n}s\"")))
        }
        (_, file::Bound::Text(text)) => {
            let percent = text.trim().strip_suffix('%').and_then(|p| p.trim().parse::<f64>().ok());
            let help = match percent {
                Some(p) if p.is_finite() => format!("write the share {}", p / 100.0),
                _ => "write a number without quotes".to_owned(),
            };
            Err((format!("`{word}` is a number, got the text \"{}\"", shortened(text)), help))
        }
        ("ratio", file::Bound::Number(n)) if !(0.0..=1.0).contains(n) => {
            Err((format!("`{word}` is a share between 0 and 1, got {n}"), "1 % is 0.01, 99.9 % is 0.999".to_owned()))
        }
        (_, file::Bound::Number(n)) if *n < 0.0 || !n.is_finite() => {
            Err((format!("must be 0 or more, got {n}"), "write a number".to_owned()))
        }
        (_, file::Bound::Number(n)) => Ok(*n),
    }
}

/// `within`: the inner none is the default, the outer one a mistake.
fn within(cx: &mut Context, at: &Path, o: &file::Objective, metric: &Metric) -> Option<Option<Duration>> {
    match (metric, o.within) {
        (Metric::GoodRatio, None) => {
            cx.clash(
                at,
                "",
                "`good_ratio` needs `within`",
                "add within = \"100ms\": good means answered well in that time",
            );
            None
        }
        (Metric::GoodRatio | Metric::RecoveryTime, Some(d)) => {
            cx.above_zero(&at.key("within"), d.0, limits::LATENCY).map(Some)
        }
        (_, None) => Some(None),
        (_, Some(_)) => {
            let message = format!("`within` does not go with `{}`", metric.word());
            cx.wrong(&at.key("within"), message, "remove it; it goes with good_ratio and recovery_time");
            None
        }
    }
}

/// A fault, by index into `Plan::faults`, and where it stands for the median over its times: an index into `Plan::repeats`.
type Spoken = (Option<usize>, Option<usize>);

/// The faults that a fault's metric speaks of: one, or each time of one that repeats.
fn of_fault(cx: &mut Context, at: &Path, o: &file::Objective, metric: &Metric, facts: &Facts) -> Option<Vec<Spoken>> {
    let word = metric.word();
    if o.spans.is_some() {
        cx.wrong(&at.key("spans"), format!("`{word}` belongs to a fault, not to spans"), "write fault = \"…\" instead");
    }
    let Some(name) = &o.fault else {
        let names: Vec<&str> = facts.faults.iter().map(|f| f.name.as_str()).collect();
        let help = format!("add fault = \"…\"; faults: {}", words::listed(&names));
        cx.clash(at, "", format!("`{word}` belongs to a fault, and none is named"), help);
        return None;
    };
    let spoken = match repeat_named(cx, name, facts) {
        Some((repeat, times, true)) => vec![(Some(times.start), Some(repeat))],
        Some((_, times, false)) => times.map(|i| (Some(i), None)).collect(),
        None => vec![(Some(cx.good(&at.key("fault"), fault_named(name, facts))?), None)],
    };
    for index in spoken.iter().filter_map(|s| s.0) {
        fits(cx, at, metric, index, facts)?;
    }
    Some(spoken)
}

/// A fault that repeats by its name in the file, its times, and whether it is asked for as `NAME.median`.
fn repeat_named(cx: &Context, name: &str, facts: &Facts) -> Option<(usize, std::ops::Range<usize>, bool)> {
    let (base, median) = name.strip_suffix(".median").map_or((name, false), |base| (base, true));
    let all = fault::repeats(cx, facts.faults);
    all.into_iter().enumerate().find(|(_, r)| r.name == base).map(|(i, r)| (i, r.faults, median))
}

/// Can this fault have this metric?
fn fits(cx: &mut Context, at: &Path, metric: &Metric, index: usize, facts: &Facts) -> Option<()> {
    let name = &facts.faults[index].name;
    let plan = facts.faults[index].plan.as_ref()?;
    if *metric == Metric::DetectionTime
        && matches!(plan.target, FaultTarget::Dependency(_) | FaultTarget::Outside | FaultTarget::Requests)
    {
        let message = format!("`{name}` hits no replica, so none is ever taken out of rotation");
        cx.wrong(&at.key("metric"), message, "use longest_outage or recovery_time");
        return None;
    }
    if *metric == Metric::RecoveryTime && lasts_to_the_end(&facts.faults[index], facts) {
        let message = format!("`{name}` lasts to the end of the load, so nobody sees a recovery");
        cx.wrong(&at.key("fault"), message, "let a phase follow the fault, or use another metric");
        return None;
    }
    Some(())
}

fn lasts_to_the_end(fault: &Draft, facts: &Facts) -> bool {
    let (Some(plan), Some(end)) = (&fault.plan, facts.phases.and_then(|p| p.last()).map(Phase::end)) else {
        return false;
    };
    match plan.lasts {
        Some(Lasts::UntilEnd) => true,
        Some(Lasts::For(d)) => plan.at + d >= end,
        None => false,
    }
}

/// The phase that a fault begins in, where that is not measured: `during:` ends before an unmeasured phase, so it is empty then.
fn unmeasured<'a>(fault: &Draft, facts: &Facts<'a>) -> Option<&'a Phase> {
    let at = fault.plan.as_ref()?.at;
    facts.phases?.iter().find(|p| p.start <= at && at < p.end()).filter(|p| !p.measured)
}

pub(super) fn fault_named(name: &str, facts: &Facts) -> Result<usize, (String, String)> {
    let names: Vec<&str> = facts.faults.iter().map(|f| f.name.as_str()).collect();
    names.iter().position(|n| *n == name).ok_or_else(|| {
        let repeated = format!("{name}-1");
        let near = if names.contains(&repeated.as_str()) {
            format!("it repeats: write one of {repeated}, {name}-2, …")
        } else {
            words::did_you_mean(name, &names, "faults")
        };
        (format!("there is no fault `{}`", shortened(name)), near)
    })
}

/// Where it is judged: as written, else each measured phase.
fn spans(cx: &mut Context, at: &Path, o: &file::Objective, facts: &Facts) -> Option<Vec<SpanRef>> {
    let Some(written) = &o.spans else {
        let measured = facts.phases?.iter().enumerate().filter(|(_, p)| p.measured);
        return Some(measured.map(|(i, _)| SpanRef::Phase(PhaseId(i as u16))).collect());
    };
    let at = at.key("spans");
    let mut spans = Vec::new();
    for (i, text) in written.iter().enumerate() {
        let span = span(cx, text, facts);
        match cx.good(&at.index(i), span) {
            Some(Some(span)) if spans.contains(&Some(span.clone())) => {
                cx.wrong(&at.index(i), format!("`{text}` stands twice"), "remove one of them");
            }
            other => spans.push(other.flatten()),
        }
    }
    spans.into_iter().collect()
}

/// Where a metric is taken, from a word: a fault for what belongs to faults, else a span. The inner none is a part that is
/// broken elsewhere.
pub(super) fn place(
    cx: &Context,
    metric: &Metric,
    word: &str,
    facts: &Facts,
) -> Result<Option<Where>, (String, String)> {
    if metric.is_of_fault() {
        match repeat_named(cx, word, facts) {
            Some((repeat, ..)) => Ok(Some(Where::Median(repeat))),
            None => fault_named(word, facts).map(|index| Some(Where::Fault(index))),
        }
    } else {
        Ok(span(cx, word, facts)?.map(Where::Span))
    }
}

/// One span; the inner none is a part that is broken elsewhere.
fn span(cx: &Context, text: &str, facts: &Facts) -> Result<Option<SpanRef>, (String, String)> {
    if let Some(name) = text.strip_prefix("during:") {
        let index = fault_named(name, facts)?;
        return match unmeasured(&facts.faults[index], facts) {
            None => Ok(Some(SpanRef::During(index))),
            Some(phase) => {
                let message =
                    format!("`{name}` begins in phase `{}`, which is not measured, and so is `{text}`", phase.name);
                let help =
                    format!("remove `measure = false` from `{}`, or begin the fault in a measured phase", phase.name);
                Err((message, help))
            }
        };
    }
    if let Some(name) = text.strip_prefix("after:") {
        let index = fault_named(name, facts)?;
        if lasts_to_the_end(&facts.faults[index], facts) {
            let message = format!("`{name}` lasts to the end of the load, so there is nothing after it");
            return Err((message, format!("write \"during:{name}\", or let a phase follow the fault")));
        }
        return Ok(Some(SpanRef::After(index)));
    }
    let names = cx.names(&Path::root().key("phase"));
    if let Some(index) = names.iter().position(|n| n == text) {
        return match facts.phases.and_then(|p| p.get(index)) {
            Some(phase) if !phase.measured => {
                let help = "remove `measure = false` from the phase, or name another one";
                Err((format!("the phase `{text}` is not measured"), help.to_owned()))
            }
            Some(_) => Ok(Some(SpanRef::Phase(PhaseId(index as u16)))),
            None => Ok(None),
        };
    }
    let mut all = names;
    all.extend(facts.faults.iter().map(|f| format!("during:{}", f.name)));
    all.extend(facts.faults.iter().map(|f| format!("after:{}", f.name)));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Err((format!("there is no span `{}`", shortened(text)), words::did_you_mean(text, &all, "spans")))
}

/// What some metrics need from other tables.
fn check_needs(cx: &mut Context, at: &Path, metric: &Metric, facts: &Facts) {
    let at = at.key("metric");
    let is_chat = |t: &Target| t.protocol == Protocol::Openai;
    match metric {
        Metric::Ttft(_) | Metric::Itl(_) if !facts.target.is_none_or(is_chat) => {
            let message = format!("`{}` is about tokens, and the protocol is not openai", metric.word());
            cx.wrong(&at, message, "judge latency.pNN, or write protocol = \"openai\" in [target]");
        }
        Metric::Ttft(_) | Metric::Itl(_)
            if facts.target.is_some() && facts.traffic.is_some_and(|t| !t.token_streams) =>
        {
            let message = format!("`{}` is about streams, and no body asks for one", metric.word());
            cx.wrong(&at, message, "write \"stream\": true into the bodies, or judge latency.pNN");
        }
        Metric::Accuracy if facts.target.is_some_and(is_chat) => {
            let help = "judge error_rate, ttft.pNN or itl.pNN";
            cx.wrong(&at, "`accuracy` does not go with the protocol openai: it has no predictions", help);
        }
        Metric::Accuracy => {
            let has_labels = |t: &Traffic| matches!(&t.bodies, Bodies::Dataset(d) if d.labels.is_some());
            if facts.traffic.is_some_and(|t| !has_labels(t)) {
                let help = "add `dataset` and `label` to [traffic]";
                cx.wrong(&at, "`accuracy` needs labels to check predictions against", help);
            }
            let nowhere = |t: &Target| t.protocol == Protocol::Http && t.answer.prediction.is_none();
            if facts.target.is_some_and(nowhere) {
                let help = "add answer = { prediction = \"json:/predictions/0\" } to [target]";
                cx.wrong(&at, "`accuracy` needs to know where the prediction stands", help);
            }
        }
        Metric::Agreement if facts.target.is_some_and(is_chat) => {
            let help = "judge error_rate, ttft.pNN or itl.pNN";
            cx.wrong(&at, "`agreement` does not go with the protocol openai: it has no predictions", help);
        }
        Metric::Agreement => {
            let nowhere = |t: &Target| t.protocol == Protocol::Http && t.answer.prediction.is_none();
            if facts.target.is_some_and(nowhere) {
                let help = "add answer = { prediction = \"json:/predictions/0\" } to [target]";
                cx.wrong(&at, "`agreement` needs to know where the prediction stands", help);
            }
            warn_about_references(cx, facts);
        }
        Metric::Freshness(_) | Metric::FreshnessMax if facts.target.is_some_and(|t| t.answer.age.is_none()) => {
            let help = "add answer = { age = \"header:x-feature-age\" } (seconds) or { timestamp = \"json:/made_at\" } to [target]";
            cx.wrong(&at, "`freshness` needs to know where the age of features stands", help);
        }
        Metric::FallbackRate if facts.target.is_some_and(|t| t.answer.fallback.is_none()) => {
            let place = if facts.target.is_some_and(is_chat) { "header:x-fallback" } else { "json:/fallback" };
            let help = format!("add answer = {{ fallback = \"{place}\" }} to [target]");
            cx.wrong(&at, "`fallback_rate` needs to know where the fallback level stands", help);
        }
        _ => {}
    }
}

/// Rows get their reference before the first fault, or in the first measured phase where there is no fault.
fn warn_about_references(cx: &mut Context, facts: &Facts) {
    let (Some(phases), Some(traffic)) = (facts.phases, facts.traffic) else { return };
    let Bodies::Dataset(table) = &traffic.bodies else { return };
    let fault = facts.faults.iter().filter_map(|f| Some(f.plan.as_ref()?.at)).min();
    let first = phases.iter().find(|p| p.measured).map(Phase::end);
    let Some(until) = fault.or(first) else { return };
    let before = phases.iter().filter(|p| p.measured && p.start < until);
    let arrivals: f64 = before
        .map(|p| {
            let share = until.min(p.end()).since(p.start).as_secs_f64() / p.duration.as_secs_f64();
            phase::planned(p) * share
        })
        .sum();
    let (reached, rows) = (arrivals * traffic.batch.mean(), table.rows.len());
    if reached < rows as f64 && !cx.warnings.iter().any(|w| w.contains("`agreement`")) {
        cx.warn(format!(
            "`agreement`: about {} of {rows} rows are answered before the first fault; answers to the others are compared with nothing",
            reached.floor()
        ));
    }
}

/// A latency over good answers is below the timeout by itself: such a bound would promise nothing.
fn check_good_answers_bound(cx: &mut Context, at: &Path, metric: &Metric, op: Op, bound: f64, facts: &Facts) {
    let Some(timeout) = facts.traffic.map(|t| t.timeout) else { return };
    if matches!(metric, Metric::LatencyOk(_) | Metric::Itl(_)) && op == Op::Max && bound >= timeout.as_secs_f64() {
        let message = format!(
            "a good answer comes within the timeout of {} anyway, so this promises nothing",
            show_duration(timeout)
        );
        cx.wrong(&at.key("max"), message, "write a bound below the timeout, or judge latency.pNN over every arrival");
    }
}

fn warn_about_good_answers_only(cx: &mut Context, all: &[Objective]) {
    let counts_errors = all.iter().any(|o| matches!(o.metric, Metric::ErrorRate | Metric::Availability));
    let good_only = |o: &&Objective| matches!(o.metric, Metric::LatencyOk(_) | Metric::Itl(_));
    if let Some(o) = all.iter().find(good_only).filter(|_| !counts_errors) {
        cx.warn(format!(
            "`{}` looks at good answers only, and no objective bounds error_rate: a service that fails fast would pass",
            o.metric.word()
        ));
    }
}

/// Rule 9 of the design: with fewer samples a verdict is inconclusive unless the promise is broken beyond doubt.
fn warn_about_few_samples(cx: &mut Context, all: &[Objective], facts: &Facts) {
    let Some(phases) = facts.phases else { return };
    for o in all {
        let needed = match o.metric {
            Metric::Latency(q) | Metric::LatencyOk(q) | Metric::Ttft(q) => (0.05_f64.ln() / q.share().ln()).ceil(),
            Metric::ErrorRate if o.bound > 0.0 => (3.0 / o.bound).ceil(),
            Metric::Availability if o.bound < 1.0 => (3.0 / (1.0 - o.bound)).ceil(),
            _ => continue,
        };
        let measured =
            o.spans.iter().filter_map(|s| if let SpanRef::Phase(p) = s { phases.get(p.0 as usize) } else { None });
        for p in measured.filter(|p| matches!(p.load, crate::plan::Load::Open(_)) && phase::planned(p) < needed) {
            let planned = phase::planned(p).floor();
            cx.warn(format!(
                "`{}` in phase `{}` needs {needed} arrivals for a verdict, and about {planned} are planned",
                o.metric.word(),
                p.name
            ));
        }
    }
}

/// Recovery is measured against what was normal before.
fn warn_about_no_baseline(cx: &mut Context, all: &[Objective], facts: &Facts) {
    let Some(phases) = facts.phases else { return };
    let of_faults = all.iter().filter(|o| matches!(o.metric, Metric::RecoveryTime | Metric::LostRequests));
    for fault in of_faults.filter_map(|o| facts.faults.get(o.fault?)?.plan.as_ref()) {
        if !phases.iter().any(|p| p.measured && p.start < fault.at) {
            let name = &fault.name;
            cx.warn(format!(
                "nothing is measured before fault `{name}`, so its impact has no baseline to be held against"
            ));
        }
    }
}
