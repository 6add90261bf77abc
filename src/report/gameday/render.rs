//! A game day for the terminal, as Markdown, as JUnit and as a page. The sentence comes first everywhere.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use super::model::{ActionItem, DayScenario, GameDay, Outcome};
use crate::report::findings::Severity;
use crate::report::format::{NOTHING, clean, count, short, time_s};
use crate::report::html::{Plain, PlainTable, plain_page};
use crate::report::markdown::cell;
use crate::report::model::VerdictWord;

/// Lines of a list for people; the rest is in `game-day.json`.
const LINES: usize = 30;

fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "✓",
        Outcome::Violated | Outcome::NotClean => "✗",
        Outcome::Inconclusive | Outcome::Interrupted => "?",
        Outcome::NotStarted => "○",
        Outcome::NotRun => "·",
    }
}

/// `2 of 2 proven`, or nothing to prove.
fn proven(s: &DayScenario) -> String {
    match (s.outcome, s.faults.len()) {
        (Outcome::NotRun, _) => NOTHING.to_owned(),
        (_, 0) => "no fault".to_owned(),
        (_, all) => format!("{} of {all}", s.faults.iter().filter(|f| f.proven).count()),
    }
}

fn kept(s: &DayScenario) -> String {
    match s.outcome {
        Outcome::NotRun => NOTHING.to_owned(),
        _ => format!("{} of {}", s.objectives[0], s.objectives[1]),
    }
}

fn because(a: &ActionItem) -> String {
    if a.because.is_empty() { String::new() } else { format!(" ({})", short(&a.because, 300)) }
}

/// What a person reads after a game day.
pub fn text(day: &GameDay, width: usize, color: bool) -> String {
    let width = width.clamp(60, 200);
    let (mark, code) = match day.verdict {
        VerdictWord::Met => ("✓", "1;32"),
        VerdictWord::Violated => ("✗", "1;31"),
        VerdictWord::Inconclusive => ("?", "1;33"),
    };
    let paint = |code: &str, text: &str| if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let head = paint(code, &format!("{mark} GAME DAY"));
    let mut out = format!("{head}  {}\n  {}\n\n", short(&day.name, 64), short(&day.sentence, 4 * width));
    let _ = writeln!(
        out,
        "  {:>2}    {:<24} {:>9}  {:<13} {:>9} {:>9}",
        "", "scenario", "radius", "outcome", "faults", "kept"
    );
    for s in &day.scenarios {
        let line = format!(
            "  {:>2}  {} {:<24} {:>9}  {:<13} {:>9} {:>9}",
            s.number,
            sign(s.outcome),
            short(&s.scenario.name, 24),
            time_s(s.radius.seconds),
            s.outcome.words(),
            proven(s),
            kept(s)
        );
        let _ = match s.outcome {
            Outcome::Violated | Outcome::NotClean => writeln!(out, "{}", paint("1;31", &line)),
            Outcome::Inconclusive | Outcome::NotStarted | Outcome::Interrupted => {
                writeln!(out, "{}", paint("1;33", &line))
            }
            Outcome::Met | Outcome::NotRun => writeln!(out, "{line}"),
        };
        if !matches!(s.outcome, Outcome::Met | Outcome::NotRun) {
            let _ = writeln!(out, "        {}", short(&s.sentence, 3 * width));
        }
    }
    if !day.actions.is_empty() {
        let _ = writeln!(out, "\naction items");
        for a in day.actions.iter().take(LINES) {
            let _ = writeln!(out, "  ☐ {}: {}{}", short(&a.scenario, 64), short(&a.text, 400), because(a));
        }
        if day.actions.len() > LINES {
            let _ = writeln!(out, "  … and {} more, in game-day.json", day.actions.len() - LINES);
        }
    }
    for (title, lines) in [("why", &day.reasons), ("mind", &day.warnings)] {
        if !lines.is_empty() {
            let _ = writeln!(out, "\n{title}");
            lines.iter().take(12).for_each(|l| {
                let _ = writeln!(out, "  {}", short(l, 3 * width));
            });
        }
    }
    out.push('\n');
    out
}

/// `summary.md`.
pub fn markdown(day: &GameDay) -> String {
    let mark = crate::report::markdown::sign(day.verdict);
    let mut out = format!("{mark} **game day**: {} – {}\n\n", cell(&day.name), cell(&day.sentence));
    let _ = writeln!(out, "| | scenario | blast radius | outcome | faults proven | objectives | what it teaches |");
    let _ = writeln!(out, "|---|---|---:|---|---:|---:|---|");
    for s in &day.scenarios {
        let done = if s.outcome == Outcome::Met { "☑" } else { "☐" };
        let _ = writeln!(
            out,
            "| {done} {} | {} | {} | {} {} | {} | {} | {} |",
            s.number,
            cell(&s.scenario.name),
            time_s(s.radius.seconds),
            sign(s.outcome),
            s.outcome.words(),
            proven(s),
            kept(s),
            cell(&s.scenario.lesson)
        );
    }
    out.push('\n');
    for s in day.scenarios.iter().filter(|s| !matches!(s.outcome, Outcome::Met | Outcome::NotRun)) {
        let _ = writeln!(out, "- {}: {}", cell(&s.scenario.name), cell(&s.sentence));
    }
    if !day.actions.is_empty() {
        let _ = writeln!(out, "\n**Action items**\n");
        for a in day.actions.iter().take(LINES) {
            let why = if a.because.is_empty() { String::new() } else { format!(" ({})", cell(&a.because)) };
            let _ = writeln!(out, "- [ ] {} ({}): {}{why}", cell(&a.scenario), a.severity.word(), cell(&a.text));
        }
        if day.actions.len() > LINES {
            let _ = writeln!(out, "- … and {} more, in game-day.json", day.actions.len() - LINES);
        }
    }
    let _ = writeln!(out);
    day.reasons.iter().chain(&day.warnings).take(LINES).for_each(|line| {
        let _ = writeln!(out, "- {}", cell(line));
    });
    let _ = writeln!(out, "\n`{}`", short(&day.reproduce, 300).replace('`', "'"));
    out
}

/// `junit.xml`: a case for each scenario. What was not run is skipped, and so is what could not be decided or started.
pub(super) fn junit(day: &GameDay) -> String {
    let mut suite = TestSuite::new(format!("game day {}", clean(&day.name)));
    for (name, value) in [("id", &day.id), ("tool_version", &day.tool_version)] {
        suite.add_property(Property::new(name, clean(value)));
    }
    for s in &day.scenarios {
        let error = || TestCaseStatus::non_success(NonSuccessKind::Error);
        let mut status = match s.outcome {
            Outcome::Met => TestCaseStatus::success(),
            Outcome::Violated => TestCaseStatus::non_success(NonSuccessKind::Failure),
            Outcome::NotClean | Outcome::Interrupted => error(),
            Outcome::Inconclusive | Outcome::NotStarted | Outcome::NotRun => TestCaseStatus::skipped(),
        };
        if s.outcome != Outcome::Met {
            status.set_message(clean(&format!("{}: {}", s.outcome.words(), s.sentence)));
        }
        let mut case = TestCase::new(clean(&s.scenario.name), status);
        case.set_classname(format!("game-day.{}", clean(&day.name).replace('.', "_")));
        case.set_time(Duration::try_from_secs_f64(s.planned_s).unwrap_or_default());
        suite.add_test_case(case);
    }
    suite.set_time(Duration::try_from_secs_f64(day.duration_s).unwrap_or_default());
    suite.timestamp = day.started_at.parse().ok();
    let mut suites = Suites::new("resbench");
    suites.add_test_suite(suite);
    suites.to_string().expect("writing XML to memory cannot fail")
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "met",
        Outcome::Violated | Outcome::NotClean => "violated",
        Outcome::Inconclusive | Outcome::NotStarted | Outcome::Interrupted => "inconclusive",
        Outcome::NotRun => "quiet",
    }
}

/// `report.html`.
pub(super) fn html(day: &GameDay) -> String {
    let word = match day.verdict {
        VerdictWord::Met => "Passed",
        VerdictWord::Violated => "A promise was broken",
        VerdictWord::Inconclusive => "Not decided",
    };
    let short_all = |lines: &[String]| lines.iter().take(12).map(|l| short(l, 500)).collect::<Vec<_>>();
    let mut facts: Vec<(&'static str, Vec<String>)> =
        vec![("Why", short_all(&day.reasons)), ("Mind", short_all(&day.warnings))];
    facts.retain(|(_, lines)| !lines.is_empty());
    let count_of = |wanted: Outcome| day.scenarios.iter().filter(|s| s.outcome == wanted).count();
    let ran = day.scenarios.iter().filter(|s| !matches!(s.outcome, Outcome::NotRun | Outcome::NotStarted)).count();
    let faults: usize = day.scenarios.iter().map(|s| s.faults.len()).sum();
    let shown: usize = day.scenarios.iter().map(|s| s.faults.iter().filter(|f| f.proven).count()).sum();
    let tile = |what: &str, value: String, note: String| [what.to_owned(), value, note];
    let tiles = vec![
        tile("Scenarios run", format!("{ran} of {}", day.scenarios.len()), format!("{} met", count_of(Outcome::Met))),
        tile("Faults proven", format!("{shown} of {faults}"), "of those that were run".to_owned()),
        tile("Action items", count(day.actions.len() as u64), "from broken promises and findings".to_owned()),
        tile("Took", time_s(day.duration_s), if day.clean { "clean" } else { "NOT CLEAN" }.to_owned()),
    ];
    plain_page(
        Plain {
            what: "game day",
            verdict: day.verdict,
            word: word.to_owned(),
            name: clean(&day.name),
            lesson: "The scenarios of a folder, from the smallest blast radius up.".to_owned(),
            meta: vec![
                clean(&day.started_at),
                format!("{}, exit code {}", day.ending.word().replace('_', " "), day.exit_code),
                if day.keep_going { "goes on after a failure" } else { "stops at the first failure" }.to_owned(),
                short(&day.id, 60),
            ],
            headline: short(&day.sentence, 600),
            facts,
            reproduce: short(&day.reproduce, 500),
            tiles,
            first: vec![checklist(day), actions(day)].into_iter().filter(|t| !t.rows.is_empty()).collect(),
            rest: vec![radii(day), findings(day)].into_iter().filter(|t| !t.rows.is_empty()).collect(),
            note: "Each scenario checks its own steady state before anything is broken, and puts everything back before the next begins. Its \
                   own report has every number.",
            version: clean(&day.tool_version),
        },
        &[],
    )
}

fn checklist(day: &GameDay) -> PlainTable {
    let row = |s: &DayScenario| {
        let cells = vec![
            format!("{} {}", sign(s.outcome), short(&s.scenario.name, 64)),
            s.outcome.words().to_owned(),
            proven(s),
            kept(s),
            short(&s.scenario.lesson, 300),
            if s.sentence.is_empty() { NOTHING.to_owned() } else { short(&s.sentence, 400) },
        ];
        (class(s.outcome), cells)
    };
    let head = ["scenario", "outcome", "#faults proven", "#objectives met", "what it teaches", "what happened"];
    let caption = "In the order of the day. A name leads to the report of its run.";
    let links = day.scenarios.iter().map(|s| (!s.dir.is_empty()).then(|| format!("{}/report.html", s.dir)));
    PlainTable::new("checklist", "Checklist", caption, &head, day.scenarios.iter().map(row).collect())
        .linked(links.collect())
}

fn actions(day: &GameDay) -> PlainTable {
    let row = |a: &ActionItem| {
        let class = match a.severity {
            Severity::Serious => "violated",
            Severity::Warning => "inconclusive",
            Severity::Note => "",
        };
        let cells = vec![
            format!("☐ {}", a.severity.word()),
            short(&a.text, 400),
            short(&a.scenario, 64),
            short(&a.because, 400),
        ];
        (class, cells)
    };
    let head = ["weight", "what to do", "scenario", "because"];
    let caption = "From broken promises, findings, and steps of playbooks that were not seen. Hints, not diagnoses.";
    PlainTable::new("actions", "Action items", caption, &head, day.actions.iter().map(row).collect()).of_words()
}

fn radii(day: &GameDay) -> PlainTable {
    let row = |s: &DayScenario| {
        let why = if s.radius.reasons.is_empty() {
            "breaks nothing".to_owned()
        } else {
            short(&s.radius.reasons.join(" · "), 600)
        };
        (
            "",
            vec![
                format!("{}", s.number),
                short(&s.scenario.name, 64),
                time_s(s.radius.seconds),
                time_s(s.planned_s),
                why,
            ],
        )
    };
    let head = ["no.", "scenario", "#blast radius", "#length", "how it was reckoned"];
    let caption = "Blast radius: seconds of the whole service that could be lost at worst: share hit × severity of the kind × time, over all \
                   faults. It orders the day and promises nothing.";
    PlainTable::new("radius", "Order of the day", caption, &head, day.scenarios.iter().map(row).collect())
}

fn findings(day: &GameDay) -> PlainTable {
    let rows = day.scenarios.iter().flat_map(|s| {
        s.findings.iter().map(|f| {
            let class = match f.severity {
                Severity::Serious => "violated",
                Severity::Warning => "inconclusive",
                Severity::Note => "",
            };
            let evidence: Vec<String> = f.evidence.iter().take(3).map(|e| short(e, 250)).collect();
            let cells = vec![
                f.severity.word().to_owned(),
                short(&s.scenario.name, 64),
                short(&f.sentence, 400),
                evidence.join(" · "),
            ];
            (class, cells)
        })
    });
    let head = ["weight", "scenario", "what happened", "seen by"];
    let caption = "Known patterns that the numbers of each run show.";
    PlainTable::new("findings", "Findings", caption, &head, rows.collect()).of_words()
}
