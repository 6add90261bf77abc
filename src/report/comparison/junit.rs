//! `junit.xml` of a comparison: a case for each gating metric, and one for the comparison itself.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use super::model::{AnswerWord, Comparison, Kind};
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
    // A calibration measures; it decides nothing.
    for m in c.metrics.iter().filter(|_| c.kind != Kind::Calibration) {
        let status = match m.answer {
            AnswerWord::Regressed => TestCaseStatus::non_success(NonSuccessKind::Failure),
            AnswerWord::Inconclusive => TestCaseStatus::skipped(),
            AnswerWord::Improved | AnswerWord::NoRegression => TestCaseStatus::success(),
        };
        add(&m.metric, status, m.answer.word(), &m.sentence);
    }
    let whole = match c.exit_code {
        0 | 1 | 3 => TestCaseStatus::success(),
        _ => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    add("comparison", whole, c.ending.word(), &c.reasons.join("; "));
    suite.set_time(Duration::try_from_secs_f64(c.duration_s).unwrap_or_default());
    suite.timestamp = c.started_at.parse().ok();
    let mut suites = Suites::new("resbench");
    suites.timestamp = suite.timestamp;
    suites.add_test_suite(suite);
    suites.to_string().expect("writing XML to memory cannot fail")
}
