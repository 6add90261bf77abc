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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{Ending, ErrorSample, Percentiles, TwinsReport};

    fn report(expect: &str, expect_share: f64, rejected: u64, failed: u64) -> Report {
        let errors = [("status_4xx".to_owned(), rejected), ("status_5xx".to_owned(), failed)].into();
        let sample = ErrorSample { class: "status_5xx".into(), sample: "<b>oops</b>".into(), ..ErrorSample::default() };
        let altered = AlteredReport {
            expect: expect.into(),
            expect_share,
            planned: 1_010,
            sent: 1_000,
            shed: 10,
            judged: 1_000,
            as_expected: rejected,
            rejected,
            failed,
            errors,
            ended_us: Percentiles { p50: Some(1_500.0), p99: Some(20_000.0), ..Percentiles::default() },
            twins: TwinsReport { planned: 9_000, ok: 9_000, ..TwinsReport::default() },
            samples: vec![sample],
            ..AlteredReport::default()
        };
        let fault = FaultReport { name: "bad|<i>".into(), altered: Some(altered), ..FaultReport::default() };
        Report { ending: Ending::Completed, faults: vec![FaultReport::default(), fault], ..Report::default() }
    }

    #[test]
    fn what_was_altered_stands_above_its_twins() {
        let rows = rows(&report("rejected", 1.0, 998, 2));
        let cells: Vec<String> = rows.iter().map(|r| r.cells.join(" | ")).collect();
        assert_eq!(
            cells,
            [
                "bad|<i> | 1,010 | 998 | 0 | 2 | 10 | 1.50 ms | 20.0 ms | –",
                "  unaltered, meanwhile | 9,000 | 0 | 9,000 | 0 | 0 | – | – | –"
            ],
            "a fault of another kind has no line"
        );
        assert!(rows[0].altered && !rows[0].good, "two of a thousand are two too many");
        assert!(super::rows(&report("rejected", 0.99, 998, 2))[0].good, "unless so many are allowed");
    }

    #[test]
    fn words_name_what_was_expected_and_what_came() {
        let words = |expect: &str, share: f64| {
            let report = report(expect, share, 998, 2);
            in_words(report.faults[1].altered.as_ref().unwrap())
        };
        assert_eq!(
            words("rejected", 1.0),
            "altered: 1,010; rejected was expected of all: 998 of 1,000 were (99.80 %); they are in no other number"
        );
        assert!(
            words("either", 0.99).contains("rejected or answered was expected of 99 %"),
            "{}",
            words("either", 0.99)
        );
    }

    #[test]
    fn every_report_has_the_table_and_no_markup_of_others() {
        let report = report("rejected", 1.0, 998, 2);
        let markdown = crate::report::markdown(&report);
        assert!(markdown.contains("| ❌ | bad\\|&lt;i&gt; | 1,010 | 998 | 0 | 2 | 10 |"), "{markdown}");
        let text = crate::report::text::summary(&report, 100, false);
        assert!(text.contains("bad|<i>                   1,010       998"), "{text}");
        let html = crate::report::render(&report).into_iter().find(|(name, _)| name == "report.html").unwrap().1;
        let html = String::from_utf8(html).unwrap();
        assert!(html.contains("Altered requests") && html.contains("bad|&#60;i&#62;"), "the table, escaped");
        assert!(!html.contains("bad|<i>"));
        let none = Report::default();
        assert!(!crate::report::markdown(&none).contains("altered requests"));
    }
}
