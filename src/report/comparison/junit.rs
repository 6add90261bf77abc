//! `junit.xml` of a comparison: a case for each gating metric, and one for the comparison itself.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use super::model::{AnswerWord, Comparison, Kind};
use super::text::beside_metrics;
use crate::report::format::clean;

/// The file.
pub(super) fn junit(c: &Comparison) -> String {
    let mut suite = TestSuite::new(clean(&c.scenario.name));
    let class = clean(&c.scenario.name).replace('.', "_");
    let mut add = |name: &str, mut status: TestCaseStatus, kind: &str, message: &str| {
        if !matches!(status, TestCaseStatus::Success { .. }) {
            let message = clean(message);
            let body = format!("{message}\nreproduce: {}", clean(&c.reproduce));
            status.set_message(message).set_type(kind).set_description(body);
        }
        let mut case = TestCase::new(clean(name), status);
        case.set_classname(class.clone());
        suite.add_test_case(case);
    };
    let status = |answer| match answer {
        AnswerWord::Regressed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        AnswerWord::Inconclusive => TestCaseStatus::skipped(),
        AnswerWord::Improved | AnswerWord::NoRegression => TestCaseStatus::success(),
    };
    // A calibration measures; it decides nothing.
    for m in c.metrics.iter().filter(|_| c.kind != Kind::Calibration) {
        add(&m.metric, status(m.answer), m.answer.word(), &m.sentence);
    }
    let (whole, kind) = match c.exit_code {
        // What no metric says, the whole has to.
        0 | 1 | 3 if beside_metrics(c).is_some() => (status(c.answer), c.answer.word()),
        0 | 1 | 3 => (TestCaseStatus::success(), c.ending.word()),
        _ => (TestCaseStatus::non_success(NonSuccessKind::Error), c.ending.word()),
    };
    add("comparison", whole, kind, &c.reasons.join("; "));
    suite.set_time(Duration::try_from_secs_f64(c.duration_s).unwrap_or_default());
    suite.timestamp = c.started_at.parse().ok();
    let mut suites = Suites::new("resbench");
    suites.timestamp = suite.timestamp;
    suites.add_test_suite(suite);
    suites.to_string().expect("writing XML to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::model::MetricReport;

    #[test]
    fn an_answer_that_no_metric_gives_is_one_of_the_whole() {
        let well = MetricReport { metric: "m".into(), answer: AnswerWord::NoRegression, ..MetricReport::default() };
        let with = |answer, exit_code| {
            let reasons = vec!["the safety stop ended 4 of 4 runs of b".into()];
            junit(&Comparison { answer, exit_code, reasons, metrics: vec![well.clone()], ..Comparison::default() })
        };
        let regressed = with(AnswerWord::Regressed, 1);
        assert!(regressed.contains("<failure") && regressed.contains("4 of 4 runs"), "{regressed}");
        assert!(with(AnswerWord::Inconclusive, 3).contains("<skipped"));
        let well = with(AnswerWord::NoRegression, 0);
        assert!(!well.contains("<failure") && !well.contains("<skipped"), "{well}");
    }
}
