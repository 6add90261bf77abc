//! `junit.xml`: a case for each objective, each fault, and the run itself.
//!
//! A broken objective is a failure, an undecided one is skipped, and what makes the run itself worthless (an unproven
//! fault, a generator that fell behind, something left broken, a run that did not start) is an error. Names of cases hold no measured number:
//! CI keeps their history by name.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report as Suites, TestCase, TestCaseStatus, TestSuite, XmlString};

use super::format::{clean, objective_bound, objective_place, objective_value};
use super::model::{Ending, FaultReport, ObjectiveReport, Report, VerdictWord};

/// The file.
pub(super) fn junit(report: &Report) -> String {
    let mut suite = TestSuite::new(clean(&report.scenario.name));
    for (name, value) in properties(report) {
        suite.add_property(Property::new(name, clean(&value)));
    }
    suite.add_test_cases(report.objectives.iter().map(|o| objective(report, o)));
    suite.add_test_cases(report.faults.iter().map(|f| fault(report, f)));
    suite.add_test_case(ending(report));
    suite.add_test_case(generator(report));
    suite.add_test_case(cleanness(report));
    suite.set_system_out("[[ATTACHMENT|report.html]]");
    let time = seconds(report.plan.duration_s);
    suite.set_time(time);
    suite.timestamp = report.started_at.parse().ok();
    let mut suites = Suites::new("resbench");
    suites.set_time(time);
    suites.timestamp = suite.timestamp;
    suites.add_test_suite(suite);
    suites.to_string().expect("writing XML to memory cannot fail")
}

fn properties(report: &Report) -> Vec<(&'static str, String)> {
    vec![
        ("run_id", report.id.clone()),
        ("seed", report.seed.to_string()),
        ("verdict", report.verdict.word().into()),
        ("ending", report.ending.word().into()),
        ("exit_code", report.exit_code.to_string()),
        ("tool_version", report.tool_version.clone()),
        ("scenario_sha256", report.scenario.sha256.clone()),
        ("sut", report.environment.target.clone()),
    ]
}

/// `time` is wall time and never a latency: CI adds it up.
fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}

fn case(report: &Report, place: &str, name: &str, time_s: f64, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(clean(name), status);
    // GitLab shows the class name as the suite; a point would split it.
    case.set_classname(format!("{}.{}", clean(&report.scenario.name), clean(place).replace('.', "_")));
    case.set_time(seconds(time_s));
    case.extra.insert(XmlString::new("file"), XmlString::new(clean(&report.scenario.path)));
    case
}

/// The message stands in the attribute and again as the first line of the body, because some readers drop the
/// attribute; then how to see it again.
fn speak(report: &Report, mut status: TestCaseStatus, kind: &str, message: &str) -> TestCaseStatus {
    let message = clean(message);
    let body = format!("{message}\nreproduce: {}", clean(&report.reproduce));
    status.set_message(message).set_type(kind).set_description(body);
    status
}

fn objective(report: &Report, o: &ObjectiveReport) -> TestCase {
    let measured = match o.op.as_str() {
        "holds" => format!("{} did not hold", o.metric),
        _ => format!("{} was {}, promised {}, n = {}", o.metric, objective_value(o), objective_bound(o), o.n),
    };
    let message = if o.reason.is_empty() { measured } else { format!("{measured}: {}", o.reason) };
    let status = match o.verdict {
        VerdictWord::Met => TestCaseStatus::success(),
        VerdictWord::Violated => {
            speak(report, TestCaseStatus::non_success(NonSuccessKind::Failure), "objective", &message)
        }
        VerdictWord::Inconclusive => {
            speak(report, TestCaseStatus::skipped(), "inconclusive", &format!("inconclusive: {message}"))
        }
    };
    let bound = objective_bound(o).replace('≤', "<=").replace('≥', ">=");
    let span = o.span.as_ref().and_then(|name| report.phases.iter().chain(&report.spans).find(|s| s.name == *name));
    let time_s = span.map_or(0.0, |s| s.duration_s);
    let mut case = case(report, &objective_place(o), &format!("{} {bound}", o.metric), time_s, status);
    if o.line > 0 {
        case.extra.insert(XmlString::new("line"), XmlString::new(o.line.to_string()));
    }
    case
}

fn fault(report: &Report, f: &FaultReport) -> TestCase {
    let error = || TestCaseStatus::non_success(NonSuccessKind::Error);
    let status = match f.proof.proven {
        true => TestCaseStatus::success(),
        false => {
            let why = f.errors.first().unwrap_or(&f.proof.evidence);
            let message = format!("{} ({}) is not proven (level {}): {why}", f.name, f.kind, f.proof.level);
            speak(report, error(), "fault", &message)
        }
    };
    case(report, &f.name, "fault is proven", 0.0, status)
}

fn ending(report: &Report) -> TestCase {
    let why = report.reasons.first().map_or("no reason is recorded", String::as_str);
    let status = |kind| TestCaseStatus::non_success(kind);
    let status = match report.ending {
        Ending::Completed => TestCaseStatus::success(),
        Ending::SafetyStop => {
            speak(report, status(NonSuccessKind::Failure), "safety_stop", &format!("safety stop: {why}"))
        }
        Ending::Interrupted => {
            speak(report, status(NonSuccessKind::Error), "interrupted", &format!("interrupted: {why}"))
        }
        Ending::NotStarted => {
            speak(report, status(NonSuccessKind::Error), "not_started", &format!("not started: {why}"))
        }
    };
    case(report, "run", "runs to its end", 0.0, status)
}

/// Without objectives, or with none where it was late, nothing else says why the run is inconclusive.
fn generator(report: &Report) -> TestCase {
    let status = match report.generator.kept_up {
        true => TestCaseStatus::success(),
        false => {
            let why = format!("inconclusive: the generator fell behind: {}", report.generator.note);
            speak(report, TestCaseStatus::non_success(NonSuccessKind::Error), "inconclusive", &why)
        }
    };
    case(report, "run", "generator keeps up", 0.0, status)
}

fn cleanness(report: &Report) -> TestCase {
    let status = match report.clean {
        true => TestCaseStatus::success(),
        false => {
            let left = format!("left broken, put it back with `resbench revert`: {}", report.residue.join("; "));
            speak(report, TestCaseStatus::non_success(NonSuccessKind::Error), "not_clean", &left)
        }
    };
    case(report, "run", "leaves nothing broken", 0.0, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{GeneratorReport, ProofReport};

    #[test]
    fn kinds_of_trouble_are_told_apart_and_counted() {
        let objective =
            |verdict| ObjectiveReport { metric: "error_rate".into(), verdict, ..ObjectiveReport::default() };
        let report = Report {
            objectives: [VerdictWord::Met, VerdictWord::Violated, VerdictWord::Inconclusive].map(objective).to_vec(),
            faults: vec![FaultReport { proof: ProofReport::default(), ..FaultReport::default() }],
            ending: Ending::Completed,
            generator: GeneratorReport { kept_up: true, ..GeneratorReport::default() },
            clean: true,
            ..Report::default()
        };
        let xml = junit(&report);
        let head = "<testsuites name=\"resbench\" tests=\"7\" skipped=\"1\" failures=\"1\" errors=\"1\"";
        assert!(xml.contains(head), "{xml}");
    }

    #[test]
    fn a_run_is_not_green_whose_generator_fell_behind() {
        let generator = GeneratorReport {
            note: "load: 410 of 10011 requests were not sent in time".into(),
            ..GeneratorReport::default()
        };
        let report = Report { ending: Ending::Completed, clean: true, generator, ..Report::default() };
        let xml = junit(&report);
        assert!(xml.contains("tests=\"3\" skipped=\"0\" failures=\"0\" errors=\"1\""), "{xml}");
        assert!(xml.contains("inconclusive: the generator fell behind: load: 410 of 10011 requests"), "{xml}");
    }

    #[test]
    fn the_name_of_a_case_holds_no_measured_number() {
        let of = |value| {
            let o = ObjectiveReport {
                metric: "latency.p99".into(),
                op: "max".into(),
                unit: "s".into(),
                bound: 0.1,
                value: Some(value),
                ..ObjectiveReport::default()
            };
            objective(&Report::default(), &o).name
        };
        assert_eq!(of(0.02), of(0.09));
        assert_eq!(of(0.02).as_str(), "latency.p99 <= 100 ms");
    }
}
