//! `windows.csv` and `phases.csv`: one row per second and phase, and per phase or span.
//!
//! Columns of windows begin with `due_` or `done_` by which time they count. An infinite percentile is `inf`, a
//! missing one is empty. Columns of token streams stand last, and only where there are streams. Text that a spreadsheet would run as a formula is defused with a leading `'`.

use std::collections::BTreeSet;

use crate::outcome::ErrorClass;
use crate::report::model::{Percentiles, Report, SpanReport, WindowReport};

/// One row per second and phase.
pub(super) fn windows(report: &Report) -> Vec<u8> {
    let classes = classes(report.windows.iter().flat_map(|w| w.due_errors.keys()));
    let mut table = Table::new();
    let head = "start_at_s duration_s phase due_planned due_ok due_good due_failed due_shed due_p50_us due_p95_us \
                due_p99_us due_max_ok_us due_lag_p99_us done_ok done_failed in_flight_max replicas_ready";
    let streams = report.windows.iter().any(|w| w.streams.is_some());
    let tokens_head = if streams { &STREAM_WINDOW[..] } else { &[] };
    let errors_head = classes.iter().map(|c| format!("due_errors_{}", text(c)));
    table.row(head.split(' ').map(str::to_owned).chain(errors_head).chain(tokens_head.iter().map(|c| (*c).to_owned())));
    for w in &report.windows {
        let tokens = if streams { stream_window(w) } else { vec![] };
        table.row(window(w).into_iter().chain(errors(&classes, &w.due_errors)).chain(tokens));
    }
    table.finish()
}

/// One row per phase, then one per span.
pub(super) fn phases(report: &Report) -> Vec<u8> {
    let all = || report.phases.iter().chain(&report.spans);
    let classes = classes(all().flat_map(|s| s.errors.keys()));
    let mut table = Table::new();
    let head = "name start_at_s duration_s measured closed_loop planned sent ok shed altered offered_rps throughput_rps \
                error_rate kept_up accuracy fallback_rate";
    let errors_head = classes.iter().map(|c| format!("errors_{}", text(c)));
    let streams = all().any(|s| s.ttft_us.is_some());
    let tokens_head = times_head(if streams { &["ttft", "itl"] } else { &[] });
    let tokens_head = tokens_head.chain(STREAM_PHASE.iter().filter(|_| streams).map(|c| (*c).to_owned()));
    let latencies = times_head(&["latency", "latency_ok", "service", "connect", "lag"]);
    let said = all().any(|s| s.quality.agreement.is_some() || s.quality.freshness_s.is_some());
    let said_head = QUALITY_PHASE.iter().filter(|_| said).map(|c| (*c).to_owned());
    let head = head.split(' ').map(str::to_owned).chain(latencies).chain(errors_head);
    table.row(head.chain(tokens_head).chain(said_head));
    for span in all() {
        let mut more = if streams { stream_phase(span) } else { vec![] };
        more.extend(said.then(|| quality_phase(span)).into_iter().flatten());
        table.row(phase(span).into_iter().chain(errors(&classes, &span.errors)).chain(more));
    }
    table.finish()
}

fn times_head(names: &'static [&str]) -> impl Iterator<Item = String> {
    names.iter().flat_map(|t| PERCENTILES.iter().map(move |c| format!("{t}_{c}")))
}

const PERCENTILES: [&str; 9] =
    ["n", "p50_us", "p90_us", "p95_us", "p99_us", "p99_9_us", "max_us", "mean_us", "overflow"];
const STREAM_WINDOW: [&str; 5] =
    ["due_ttft_p50_us", "due_ttft_p99_us", "due_itl_p50_us", "due_itl_p99_us", "done_tokens"];
const QUALITY_PHASE: [&str; 4] = ["agreement", "freshness_p50_s", "freshness_p99_s", "freshness_max_s"];
const STREAM_PHASE: [&str; 2] = ["output_tokens", "output_tokens_per_s"];

fn stream_window(w: &WindowReport) -> Vec<String> {
    let s = w.streams.clone().unwrap_or_default();
    let endless = |us: Option<f64>| if w.due_planned > 0 { infinite(us) } else { maybe(us) };
    let [itl_p50, itl_p99] = [s.due_itl_p50_us, s.due_itl_p99_us].map(maybe);
    vec![endless(s.due_ttft_p50_us), endless(s.due_ttft_p99_us), itl_p50, itl_p99, s.done_tokens.to_string()]
}

fn quality_phase(s: &SpanReport) -> [String; 4] {
    let ages = s.quality.freshness_s.as_ref();
    let [p50, p99] = [ages.and_then(|f| f.p50.value), ages.and_then(|f| f.p99.value)];
    [s.quality.agreement, p50, p99, ages.and_then(|f| f.max)].map(maybe)
}

fn stream_phase(s: &SpanReport) -> Vec<String> {
    let (ttft, itl) = (s.ttft_us.clone().unwrap_or_default(), s.itl_us.clone().unwrap_or_default());
    let mut row = percentiles(&ttft, ttft.n > 0);
    row.extend(percentiles(&itl, false));
    row.push(s.output_tokens.unwrap_or(0).to_string());
    row.push(maybe(s.output_tokens_per_s));
    row
}

fn window(w: &WindowReport) -> Vec<String> {
    let endless = |us: Option<f64>| if w.due_planned > 0 { infinite(us) } else { maybe(us) };
    vec![
        number(w.start_at_s),
        number(w.duration_s),
        text(&w.phase),
        w.due_planned.to_string(),
        w.due_ok.to_string(),
        w.due_good.to_string(),
        w.due_failed.to_string(),
        w.due_shed.to_string(),
        endless(w.due_p50_us),
        endless(w.due_p95_us),
        endless(w.due_p99_us),
        maybe(w.due_max_ok_us),
        maybe(w.due_lag_p99_us),
        w.done_ok.to_string(),
        w.done_failed.to_string(),
        w.in_flight_max.to_string(),
        w.replicas_ready.map(|n| n.to_string()).unwrap_or_default(),
    ]
}

fn phase(s: &SpanReport) -> Vec<String> {
    let mut row = vec![
        text(&s.name),
        number(s.start_at_s),
        number(s.duration_s),
        s.measured.to_string(),
        s.closed_loop.to_string(),
        s.planned.to_string(),
        s.sent.to_string(),
        s.ok.to_string(),
        s.shed.to_string(),
        s.altered.to_string(),
        number(s.offered_rps),
        number(s.throughput_rps),
        maybe(s.error_rate),
        s.kept_up.to_string(),
        maybe(s.quality.accuracy),
        maybe(s.quality.fallback_rate),
    ];
    row.extend(percentiles(&s.latency_us, s.planned > 0));
    for finite in [&s.latency_ok_us, &s.service_us, &s.connect_us, &s.lag_us] {
        row.extend(percentiles(finite, false));
    }
    row
}

fn percentiles(p: &Percentiles, endless: bool) -> Vec<String> {
    let quantile = |us| if endless { infinite(us) } else { maybe(us) };
    vec![
        p.n.to_string(),
        quantile(p.p50),
        quantile(p.p90),
        quantile(p.p95),
        quantile(p.p99),
        quantile(p.p99_9),
        quantile(p.max),
        // The mean is of finite values only, so that it is missing rather than infinite.
        maybe(p.mean),
        p.overflow.to_string(),
    ]
}

/// Error classes as columns: the known ones in the order of reports, then whatever else occurred.
fn classes<'a>(seen: impl Iterator<Item = &'a String>) -> Vec<String> {
    let known: Vec<String> = ErrorClass::ALL.iter().map(|c| c.word().to_owned()).collect();
    let others: BTreeSet<&String> = seen.filter(|c| !known.contains(c)).collect();
    let others: Vec<String> = others.into_iter().cloned().collect();
    [known, others].concat()
}

fn errors<'a>(
    classes: &'a [String],
    counts: &'a std::collections::BTreeMap<String, u64>,
) -> impl Iterator<Item = String> + 'a {
    classes.iter().map(|c| counts.get(c).copied().unwrap_or(0).to_string())
}

fn number(x: f64) -> String {
    // Adding zero turns −0 into 0; the shortest digits that read back to the same value are Rust's own.
    format!("{}", x + 0.0)
}

fn maybe(x: Option<f64>) -> String {
    x.map(number).unwrap_or_default()
}

fn infinite(x: Option<f64>) -> String {
    x.map_or("inf".into(), number)
}

/// A text cell that no spreadsheet takes for a formula.
fn text(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{cell}") } else { cell.to_owned() }
}

/// The csv crate, writing to memory.
struct Table(csv::Writer<Vec<u8>>);

impl Table {
    fn new() -> Table {
        Table(csv::Writer::from_writer(vec![]))
    }

    fn row(&mut self, cells: impl Iterator<Item = String>) {
        self.0.write_record(cells).expect("every row has the columns of its head, and memory takes it");
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("flushing to memory cannot fail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_model() {
        let report = Report { windows: vec![WindowReport::default()], ..Report::default() };
        let bytes = windows(&report);
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let json = serde_json::to_value(WindowReport::default()).unwrap();
        for key in json.as_object().unwrap().keys().filter(|k| *k != "due_errors") {
            assert!(head.contains(key), "{key} is missing in {head:?}");
        }
        assert_eq!(reader.records().count(), 1);
    }

    #[test]
    fn infinite_and_missing_are_told_apart() {
        let w = |due_planned| WindowReport { due_planned, ..WindowReport::default() };
        assert_eq!(window(&w(1))[8], "inf");
        assert_eq!(window(&w(0))[8], "");
    }

    #[test]
    fn token_columns_stand_last_and_only_with_streams() {
        let with = |streams| WindowReport { due_planned: 1, streams, ..WindowReport::default() };
        let span = SpanReport { ttft_us: Some(Percentiles::default()), ..SpanReport::default() };
        let mut report = Report { windows: vec![with(None)], phases: vec![SpanReport::default()], ..Report::default() };
        let plain = [windows(&report), phases(&report)].map(|csv| String::from_utf8(csv).unwrap());
        assert!(plain.iter().all(|csv| !csv.contains("ttft") && !csv.contains("tokens")));
        report.windows.push(with(Some(crate::report::model::StreamWindow { done_tokens: 7, ..Default::default() })));
        report.phases.push(span);
        let [windows, phases] = [windows(&report), phases(&report)].map(|csv| String::from_utf8(csv).unwrap());
        assert!(windows.lines().next().unwrap().ends_with(
            ",due_errors_unfinished,due_ttft_p50_us,due_ttft_p99_us,due_itl_p50_us,due_itl_p99_us,done_tokens"
        ));
        assert!(windows.ends_with(",inf,inf,,,7\n"), "{windows}");
        assert!(
            phases.lines().next().unwrap().ends_with(",itl_overflow,output_tokens,output_tokens_per_s"),
            "{phases}"
        );
    }

    #[test]
    fn formulas_are_defused() {
        for evil in ["=1+1", "+1", "-1", "@a", "\t=1"] {
            assert_eq!(text(evil), format!("'{evil}"));
        }
        assert_eq!(text("baseline"), "baseline");
    }
}
