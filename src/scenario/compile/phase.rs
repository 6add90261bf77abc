//! `[[phase]]`: the stretches of load on one time axis.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::plan::{Load, Phase, Shape, Traffic};
use crate::scenario::tree::Path;
use crate::scenario::{data, file, limits, words};
use crate::units::{Offset, Rate, show_duration};

/// All phases; none when one of them is broken, because then nobody knows when the later ones start.
pub(super) fn compile(cx: &mut Context, traffic: Option<&Traffic>) -> Option<Vec<Phase>> {
    let at = Path::root().key("phase");
    cx.unique(&at, "phase");
    let mut all = Some(Vec::new());
    let mut start = Duration::ZERO;
    for i in 0..cx.count("phase") {
        let one = phase(cx, &at.index(i), start);
        let one = cx.sound(&at.index(i), one);
        start += one.as_ref().map_or(Duration::ZERO, |p| p.duration);
        if let (Some(phases), Some(one)) = (&mut all, one) {
            phases.push(one);
        } else {
            all = None;
        }
    }
    let phases = all.filter(|p| !p.is_empty())?;
    check_whole(cx, &at, &phases)?;
    check_in_flight(cx, &at, &phases, traffic);
    Some(phases)
}

fn phase(cx: &mut Context, at: &Path, start: Duration) -> Option<Phase> {
    let p: file::Phase = cx.section(at)?;
    let duration = cx.above_zero(&at.key("duration"), p.duration.0, limits::TOTAL);
    let load = load(cx, at, &p, duration.unwrap_or(limits::TOTAL));
    Some(Phase {
        name: p.name.0,
        start: Offset::from(start),
        duration: duration?,
        load: load?,
        measured: p.measure.unwrap_or(true),
    })
}

fn load(cx: &mut Context, at: &Path, p: &file::Phase, duration: Duration) -> Option<Load> {
    if p.max_rate.is_some() && p.concurrency.is_none() {
        cx.clash(at, "max_rate", "`max_rate` is the ceiling of a closed loop", "use it with `concurrency`");
    }
    match (&p.rate, p.concurrency) {
        (Some(rate), None) => shape(cx, &at.key("rate"), rate, duration).map(Load::Open),
        (None, Some(concurrency)) => {
            let max_rate = p.max_rate.map(|r| cx.good(&at.key("max_rate"), requests(r)));
            Some(Load::Closed { concurrency, max_rate: max_rate.flatten() })
        }
        (Some(_), Some(_)) => {
            let help = "keep `rate` (planned arrivals), or `concurrency` (closed loop, ceiling as `max_rate`)";
            cx.clash(at, "concurrency", "`rate` and `concurrency` exclude each other", help);
            None
        }
        (None, None) => {
            cx.clash(at, "", "the phase offers no load", "add rate = 500, or concurrency = 64 for a closed loop");
            None
        }
    }
}

fn requests(per_second: f64) -> Result<Rate, (String, String)> {
    Rate::per_second(per_second).map_err(|m| (m, "write requests per second, for example 500".to_owned()))
}

fn shape(cx: &mut Context, at: &Path, rate: &file::Rate, duration: Duration) -> Option<Shape> {
    let s = match rate {
        file::Rate::Constant(rate) => return cx.good(at, requests(*rate)).map(Shape::Constant),
        file::Rate::Shape(shape) => shape,
    };
    let families: [&[(&str, bool)]; 3] = [
        &[("from", s.from.is_some()), ("to", s.to.is_some()), ("steps", s.steps.is_some())],
        &[
            ("mean", s.mean.is_some()),
            ("amplitude", s.amplitude.is_some()),
            ("period", s.period.is_some()),
            ("start", s.start.is_some()),
        ],
        &[("trace", s.trace.is_some()), ("scale", s.scale.is_some())],
    ];
    let used: Vec<usize> = (0..3).filter(|f| families[*f].iter().any(|(_, set)| *set)).collect();
    match used.as_slice() {
        [0] => ramp(cx, at, s),
        [1] => wave(cx, at, s),
        [2] => trace(cx, at, s, duration),
        [] => {
            let help = "write a number, { from, to }, { from, to, steps }, { mean, amplitude, period } or { trace }";
            cx.wrong(at, "the rate is empty", help);
            None
        }
        _ => {
            let set: Vec<&str> =
                families.iter().copied().flatten().filter(|(_, set)| *set).map(|(key, _)| *key).collect();
            let help = "keep the keys of one shape: from, to, steps · mean, amplitude, period, start · trace, scale";
            cx.wrong(at, format!("{} do not go together", words::listed(&set)), help);
            None
        }
    }
}

/// Notes which of the keys is missing.
fn needs(cx: &mut Context, at: &Path, keys: &[(&str, bool)], example: &str) -> Option<()> {
    let missing: Vec<&str> = keys.iter().filter(|(_, set)| !set).map(|(key, _)| *key).collect();
    if missing.is_empty() {
        return Some(());
    }
    cx.wrong(at, format!("the rate lacks {}", words::listed(&missing)), format!("write for example {example}"));
    None
}

fn ramp(cx: &mut Context, at: &Path, s: &file::RateShape) -> Option<Shape> {
    needs(cx, at, &[("from", s.from.is_some()), ("to", s.to.is_some())], "{ from = 100, to = 1000 }")?;
    let (from, to) = (s.from?, s.to?);
    if from == 0.0 && to == 0.0 {
        cx.wrong(at, "the rate is 0 throughout", "make `from` or `to` larger than 0");
        return None;
    }
    Some(match s.steps {
        Some(steps) => Shape::Steps { from, to, steps },
        None => Shape::Ramp { from, to },
    })
}

fn wave(cx: &mut Context, at: &Path, s: &file::RateShape) -> Option<Shape> {
    let keys = [("mean", s.mean.is_some()), ("amplitude", s.amplitude.is_some()), ("period", s.period.is_some())];
    needs(cx, at, &keys, "{ mean = 500, amplitude = 200, period = \"60s\" }")?;
    let mean = cx.good(&at.key("mean"), requests(s.mean?))?;
    let amplitude = s.amplitude?;
    if amplitude > mean.get() {
        let message =
            format!("the swing {amplitude} is larger than the mean {}: the rate would fall below 0", mean.get());
        cx.wrong(&at.key("amplitude"), message, format!("write at most {}", mean.get()));
        return None;
    }
    let period = cx.above_zero(&at.key("period"), s.period?.0, limits::TOTAL)?;
    let start = s.start.map_or(Duration::ZERO, |d| d.0);
    cx.within(&at.key("start"), start, Duration::ZERO, limits::TOTAL)?;
    Some(Shape::Wave { mean, amplitude, period, start })
}

fn trace(cx: &mut Context, at: &Path, s: &file::RateShape, duration: Duration) -> Option<Shape> {
    needs(cx, at, &[("trace", s.trace.is_some())], "{ trace = \"arrivals.csv\", scale = 1.0 }")?;
    let name = s.trace.as_deref()?;
    let end = duration.as_nanos() as u64;
    let read = data::trace(&cx.dir.join(name), name, s.scale.unwrap_or(1.0), end);
    let (times, beyond) = cx.good(&at.key("trace"), read)?;
    if beyond > 0 {
        cx.warn(format!("{at}: {beyond} arrivals of `{name}` lie after the phase's end and are left out"));
    }
    Some(Shape::Trace(Arc::new(times)))
}

fn check_whole(cx: &mut Context, at: &Path, phases: &[Phase]) -> Option<()> {
    let total: Duration = phases.iter().map(|p| p.duration).sum();
    if total > limits::TOTAL {
        let message = format!("the phases last {} together", show_duration(total));
        cx.wrong(at, message, format!("at most {} are allowed", show_duration(limits::TOTAL)));
        return None;
    }
    let arrivals: f64 = phases.iter().map(planned).sum();
    if arrivals > limits::ARRIVALS {
        let message = format!("{arrivals:.0} arrivals are planned");
        cx.wrong(at, message, format!("at most {:.0} are allowed: lower the rate or the duration", limits::ARRIVALS));
    }
    if !phases.iter().any(|p| p.measured) {
        cx.wrong(at, "no phase is measured", "remove `measure = false` from at least one phase");
    }
    for p in phases.iter().filter(|p| matches!(p.load, Load::Closed { .. })) {
        cx.warn(format!(
            "phase `{}` is a closed loop: a slow answer delays the requests behind it, so its latencies look better than \
             users would find them",
            p.name
        ));
    }
    Some(())
}

/// Arrivals of a phase on average; none are planned in a closed loop.
pub(super) fn planned(phase: &Phase) -> f64 {
    let seconds = phase.duration.as_secs_f64();
    match &phase.load {
        Load::Closed { .. } => 0.0,
        Load::Open(Shape::Constant(rate)) => rate.get() * seconds,
        // The mean of equally long levels from one rate to the other is the middle, as that of a ramp is.
        Load::Open(Shape::Ramp { from, to } | Shape::Steps { from, to, .. }) => (from + to) / 2.0 * seconds,
        Load::Open(Shape::Wave { mean, amplitude, period, start }) => {
            // ∫ sin(2π (t + s) / P) dt over [0, d] = P / 2π · (cos(2π s / P) − cos(2π (s + d) / P)).
            let turn = std::f64::consts::TAU / period.as_secs_f64();
            let swing = (turn * start.as_secs_f64()).cos() - (turn * (start.as_secs_f64() + seconds)).cos();
            mean.get() * seconds + amplitude * swing / turn
        }
        Load::Open(Shape::Trace(times)) => times.len() as f64,
    }
}

/// The highest planned rate of a phase.
fn peak(load: &Load) -> f64 {
    match load {
        Load::Closed { .. } => 0.0,
        Load::Open(Shape::Constant(rate)) => rate.get(),
        Load::Open(Shape::Ramp { from, to } | Shape::Steps { from, to, .. }) => from.max(*to),
        Load::Open(Shape::Wave { mean, amplitude, .. }) => mean.get() + amplitude,
        Load::Open(Shape::Trace(times)) => busiest_second(times) as f64,
    }
}

/// Most arrivals within any one second.
fn busiest_second(times: &[u64]) -> usize {
    let (mut first, mut most) = (0, 0);
    for (last, at) in times.iter().enumerate() {
        while at - times[first] >= 1_000_000_000 {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}

fn check_in_flight(cx: &mut Context, at: &Path, phases: &[Phase], traffic: Option<&Traffic>) {
    let Some(traffic) = traffic else { return };
    let (limit, timeout) = (traffic.max_in_flight, traffic.timeout);
    for (i, phase) in phases.iter().enumerate() {
        if let Load::Closed { concurrency, .. } = phase.load
            && concurrency > limit
        {
            let message = format!("{concurrency} users at the same time, but max_in_flight is {limit}");
            cx.wrong(&at.index(i).key("concurrency"), message, "raise max_in_flight in [traffic], or lower this");
        }
    }
    let peak = phases.iter().map(|p| peak(&p.load)).fold(0.0, f64::max);
    let most = (peak * timeout.as_secs_f64()).ceil();
    if (limit as f64) < most {
        cx.warn(format!(
            "traffic.max_in_flight = {limit} is below peak rate × timeout ({peak} × {} = {most}): a target that stops \
             answering will make arrivals be shed",
            show_duration(timeout)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasting(shape: Shape, seconds: u64) -> Phase {
        let duration = Duration::from_secs(seconds);
        Phase { name: "x".into(), start: Offset::ZERO, duration, load: Load::Open(shape), measured: true }
    }

    #[test]
    fn planned_arrivals_follow_the_shape() {
        let rate = |r| Rate::per_second(r).unwrap();
        let wave = |start| Shape::Wave {
            mean: rate(100.0),
            amplitude: 100.0,
            period: Duration::from_secs(40),
            start: Duration::from_secs(start),
        };
        for (shape, seconds, wanted) in [
            (Shape::Constant(rate(5.0)), 10, 50.0),
            (Shape::Ramp { from: 0.0, to: 10.0 }, 10, 50.0),
            (Shape::Steps { from: 10.0, to: 30.0, steps: 3 }, 10, 200.0),
            (wave(0), 40, 4000.0),
            // The upper half: 100 · 20 + 100 · 40 / π.
            (wave(0), 20, 2000.0 + 4000.0 / std::f64::consts::PI),
            (wave(20), 20, 2000.0 - 4000.0 / std::f64::consts::PI),
            (Shape::Trace(Arc::new(vec![1, 2, 3])), 1, 3.0),
        ] {
            let got = planned(&lasting(shape.clone(), seconds));
            assert!((got - wanted).abs() < 1e-6, "{shape:?}: {got} is not {wanted}");
        }
    }

    #[test]
    fn the_busiest_second_of_a_trace() {
        let s = 1_000_000_000;
        assert_eq!(busiest_second(&[0, s / 2, s - 1, s, s + s / 2, 9 * s]), 3);
        assert_eq!(busiest_second(&[7]), 1);
    }
}
