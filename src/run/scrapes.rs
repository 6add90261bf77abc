//! Pages of metrics for the report: every value into `scrape.csv`, as many as a chart shows into the model.

use crate::platform::Usage;
use crate::probe::scrape::text::Kind;
use crate::probe::scrape::{ScrapeLog, Series};
use crate::report::model::{ScrapeGap, ScrapeReport, SeriesReport};
use crate::report::rates::{rates, resets};

/// Values of one series kept in the report; `scrape.csv` has them all.
const KEPT: usize = 600;

/// As the report has them.
pub(super) fn reports(logs: &[ScrapeLog]) -> Vec<ScrapeReport> {
    let one = |log: &ScrapeLog| {
        let most = log.series.iter().map(|s| s.points.len()).max().unwrap_or(0);
        let (each, every_s) = (most.div_ceil(KEPT).max(1), log.every.as_secs_f64());
        ScrapeReport {
            name: log.name.clone(),
            source: log.source.clone(),
            every_s,
            kept_every_s: every_s * each as f64,
            read: log.read,
            failed: log.failed,
            gaps: log.gaps.iter().map(|(at, why)| ScrapeGap { at_s: rounded(*at), why: why.clone() }).collect(),
            notes: notes(log, each),
            series: log.series.iter().map(|s| series(s, each)).collect(),
        }
    };
    logs.iter().map(one).collect()
}

/// What a platform measured of its replicas, as if it had been a page of theirs.
pub(super) fn of_usage(usage: Usage) -> ScrapeLog {
    let series = |s: crate::platform::UsageSeries| Series { name: s.name, kind: Kind::Gauge, points: s.points };
    ScrapeLog {
        name: "usage".to_owned(),
        every: usage.every,
        source: "metrics.k8s.io".to_owned(),
        series: usage.series.into_iter().map(series).collect(),
        read: usage.read,
        failed: usage.failed,
        gaps: usage.gaps,
        notes: usage.notes,
        ..ScrapeLog::default()
    }
}

fn notes(log: &ScrapeLog, each: usize) -> Vec<String> {
    let mut notes = log.notes.clone();
    if log.read > log.failed && log.series.is_empty() {
        notes.push("nothing that was asked for is there".to_owned());
    }
    if log.left_out > 0 {
        notes.push(format!("{} more series matched and were left out: ask for fewer", log.left_out));
    }
    if log.lost_points > 0 {
        notes.push(format!("{} values were too many and were not kept: read less often", log.lost_points));
    }
    if log.bad_lines.0 > 0 {
        notes.push(format!("lines of a page that could not be read: {}, first {}", log.bad_lines.0, log.bad_lines.1));
    }
    if each > 1 {
        notes.push(format!("one of {each} values is kept here, all of them in scrape.csv"));
    }
    notes
}

fn series(series: &Series, each: usize) -> SeriesReport {
    let kept = series.points.iter().step_by(each);
    SeriesReport {
        name: series.name.clone(),
        kind: series.kind.word().to_owned(),
        resets: if series.kind == Kind::Counter { resets(&series.points) } else { 0 },
        points: kept.map(|(at, value)| (rounded(*at), finite(*value))).collect(),
    }
}

/// To a millisecond, which is finer than a page is read.
fn rounded(at_s: f64) -> f64 {
    (at_s * 1e3).round() / 1e3
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// `scrape.csv`: a row for each value, counters with their growth per second. `mask` takes secrets out of what services said.
pub(super) fn csv(logs: &[ScrapeLog], mask: &dyn Fn(&str) -> String) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let mut row = |cells: [&str; 7]| table.write_record(cells).expect("every row has seven cells, and memory takes it");
    row(["at_s", "scrape", "source", "series", "kind", "value", "rate_per_s"]);
    for log in logs {
        for series in &log.series {
            let (source, name) = (mask(&log.source), mask(&series.name));
            let points: Vec<(f64, Option<f64>)> = series.points.iter().map(|(at, v)| (*at, finite(*v))).collect();
            let rates = if series.kind == Kind::Counter { rates(&points, log.every.as_secs_f64()) } else { Vec::new() };
            for (i, (at, value)) in series.points.iter().enumerate() {
                let rate = rates.get(i).and_then(|(_, r)| *r).map(|r| r.to_string()).unwrap_or_default();
                let (at, value) = (rounded(*at).to_string(), value.to_string());
                row([&at, &log.name, &source, &name, series.kind.word(), &value, &rate]);
            }
        }
    }
    table.into_inner().expect("flushing to memory cannot fail")
}
