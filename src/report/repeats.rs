//! Faults that repeat, in words: median, worst and range over their times.
//!
//! One kill is an anecdote. A time that was not seen to its end is not left out, and none that is unknown either: `statistics/censored.rs`
//! bounds what is made of them.

use super::format::{NOTHING, clean, maybe_count, time_s};
use super::model::{Bounds, FaultGroup, GroupMetric};

/// `4.20 s`, `≥ 4.20 s`, `4.20 s to 6.00 s`, `unknown`.
pub(super) fn shown(bounds: &Bounds, unit: &str) -> String {
    let value = |x: f64| if unit == "s" { time_s(x) } else { maybe_count(Some(x)) };
    match (bounds.low, bounds.high) {
        (Some(low), Some(high)) if low == high => value(low),
        (low, Some(high)) => format!("{} to {}", value(low.unwrap_or(0.0)), value(high)),
        (Some(low), None) if low > 0.0 => format!("≥ {}", value(low)),
        _ => "unknown".to_owned(),
    }
}

/// From the smallest to the largest.
fn range(metric: &GroupMetric) -> String {
    let (best, worst) = (shown(&metric.best, &metric.unit), shown(&metric.worst, &metric.unit));
    match best == worst {
        true if same(metric) => "none".to_owned(),
        true => NOTHING.to_owned(),
        false => format!("{best} – {worst}"),
    }
}

/// Every time was seen whole, and took as long as every other.
fn same(metric: &GroupMetric) -> bool {
    let exact = |b: &Bounds| b.low.filter(|_| b.low == b.high);
    exact(&metric.best).is_some_and(|best| exact(&metric.worst) == Some(best))
}

/// Metric, median, worst, range, and how much was seen of how many.
pub(super) fn cells(group: &FaultGroup, metric: &GroupMetric) -> [String; 7] {
    [
        format!("{} × {}", clean(&group.name), group.times),
        clean(&metric.metric),
        shown(&metric.median, &metric.unit),
        shown(&metric.worst, &metric.unit),
        range(metric),
        format!("{} of {}", metric.whole, group.times),
        not_whole(metric),
    ]
}

fn not_whole(metric: &GroupMetric) -> String {
    let cut_off = (metric.cut_off > 0).then(|| format!("{} cut off", metric.cut_off));
    let unknown = (metric.unknown > 0).then(|| format!("{} unknown", metric.unknown));
    let all: Vec<String> = cut_off.into_iter().chain(unknown).collect();
    if all.is_empty() { NOTHING.to_owned() } else { all.join(", ") }
}

/// `kill-one, 5 times: recovery_time median 4.20 s, worst 6.00 s; …`.
pub(super) fn sentence(group: &FaultGroup) -> String {
    let one = |m: &GroupMetric| {
        let open = if m.whole == group.times { String::new() } else { format!(" ({})", not_whole(m)) };
        let (middle, worst) = (shown(&m.median, &m.unit), shown(&m.worst, &m.unit));
        match (m.whole, m.cut_off) {
            (0, 0) => format!("{} unknown each time", clean(&m.metric)),
            _ if same(m) => format!("{} {middle} each time{open}", clean(&m.metric)),
            _ => format!("{} median {middle}, worst {worst}{open}", clean(&m.metric)),
        }
    };
    let metrics: Vec<String> = group.metrics.iter().map(one).collect();
    format!("{}, {} times: {}.", clean(&group.name), group.times, metrics.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::costs::of_metric;
    use crate::statistics::censored::Seen;

    fn group(seen: &[Seen]) -> FaultGroup {
        let metric = of_metric("recovery_time".into(), "s", seen).unwrap();
        FaultGroup { name: "kill".into(), kind: "pod-kill".into(), times: seen.len(), metrics: vec![metric] }
    }

    #[test]
    fn times_that_were_all_seen() {
        let all = group(&[Seen::Exact(4.0), Seen::Exact(5.0), Seen::Exact(6.0)]);
        assert_eq!(sentence(&all), "kill, 3 times: recovery_time median 5.00 s, worst 6.00 s.");
        let cells = cells(&all, &all.metrics[0]);
        assert_eq!(cells[2..], ["5.00 s", "6.00 s", "4.00 s – 6.00 s", "3 of 3", NOTHING]);
        let same = group(&[Seen::Exact(0.0); 5]);
        assert_eq!(sentence(&same), "kill, 5 times: recovery_time 0 s each time.");
        assert_eq!(super::cells(&same, &same.metrics[0])[4], "none");
    }

    #[test]
    fn what_was_not_seen_whole_is_no_number() {
        let cut = group(&[Seen::Exact(4.0), Seen::Exact(5.0), Seen::AtLeast(30.0)]);
        assert_eq!(sentence(&cut), "kill, 3 times: recovery_time median 5.00 s, worst ≥ 30.0 s (1 cut off).");
        let most = group(&[Seen::Exact(4.0), Seen::AtLeast(20.0), Seen::AtLeast(30.0)]);
        assert_eq!(sentence(&most), "kill, 3 times: recovery_time median ≥ 20.0 s, worst ≥ 30.0 s (2 cut off).");
        let open = group(&[Seen::Exact(4.0), Seen::Unknown, Seen::Exact(5.0)]);
        assert_eq!(
            cells(&open, &open.metrics[0])[2..6],
            ["4.00 s to 5.00 s", "≥ 5.00 s", "0 s to 4.00 s – ≥ 5.00 s", "2 of 3"]
        );
        assert_eq!(sentence(&group(&[Seen::Unknown; 3])), "kill, 3 times: recovery_time unknown each time.");
        assert!(of_metric("m".into(), "s", &[]).is_none());
    }
}
