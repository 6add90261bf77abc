//! What became of altered requests, for every renderer: its rows and its words.

use super::format::{NOTHING, clean, count, maybe_percent, maybe_us, percent, percent_bound};
use super::model::{AlteredReport, FaultReport, Report};

/// The heads of the table; those of numbers with a `#` before them.
pub(super) const HEAD: [&str; 9] =
    ["altered requests", "#planned", "#rejected", "#answered", "#failed", "#shed", "#p50", "#p99", "#accuracy"];

/// What has to be known to read it.
pub(super) const CAPTION: &str = "What became of the requests that a payload fault altered, beside those due in its time that nobody altered. \
     Rejected: a 4xx. Answered: well, by the protocol. Failed: neither, a 5xx or a hang for example. p50 and p99: done − due, \
     whatever the end was.";

/// One line of the table.
pub(super) struct Row {
    /// As many as [`HEAD`].
    pub(super) cells: [String; 9],
    /// Of what was altered, not of its twins.
    pub(super) altered: bool,
    /// It ended as it should.
    pub(super) good: bool,
}

/// Two lines for each payload fault: what it altered, and what it left.
pub(super) fn rows(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    for (fault, a) in with_altered(report) {
        let end = |us: &super::model::Percentiles| [maybe_us(us.p50), maybe_us(us.p99)];
        let [p50, p99] = end(&a.ended_us);
        let [planned, rejected, answered, failed, shed] =
            [a.planned, a.rejected, a.answered, a.failed, a.shed].map(count);
        let accuracy = maybe_percent(a.quality.accuracy);
        rows.push(Row {
            cells: [clean(&fault.name), planned, rejected, answered, failed, shed, p50, p99, accuracy],
            altered: true,
            good: is_good(a),
        });
        let t = &a.twins;
        let rejected = t.errors.get("status_4xx").copied().unwrap_or(0);
        let failed = t.errors.values().sum::<u64>() - rejected;
        let [planned, rejected, answered, failed, shed] = [t.planned, rejected, t.ok, failed, t.shed].map(count);
        let [p50, p99] = end(&t.ended_us);
        let accuracy = maybe_percent(t.quality.accuracy);
        let name = "  unaltered, meanwhile".to_owned();
        rows.push(Row {
            cells: [name, planned, rejected, answered, failed, shed, p50, p99, accuracy],
            altered: false,
            good: true,
        });
    }
    rows
}

fn with_altered(report: &Report) -> impl Iterator<Item = (&FaultReport, &AlteredReport)> {
    report.faults.iter().filter_map(|f| f.altered.as_ref().map(|a| (f, a)))
}

fn is_good(a: &AlteredReport) -> bool {
    a.judged > 0 && a.as_expected as f64 >= a.expect_share * a.judged as f64
}

/// `rejected was expected of all: 300 of 300 were; counted apart from every other number`.
pub(super) fn in_words(a: &AlteredReport) -> String {
    let whom = if a.expect_share >= 1.0 { "all".to_owned() } else { percent_bound(a.expect_share) };
    let expect = if a.expect == "either" { "rejected or answered".to_owned() } else { clean(&a.expect) };
    let share = if a.judged > 0 { percent(a.as_expected as f64 / a.judged as f64) } else { NOTHING.to_owned() };
    let apart = if a.include { "they count in every other number, too" } else { "they are in no other number" };
    format!(
        "altered: {}; {expect} was expected of {whom}: {} of {} were ({share}); {apart}",
        count(a.planned),
        count(a.as_expected),
        count(a.judged)
    )
}
