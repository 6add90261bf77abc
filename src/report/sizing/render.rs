//! A search for capacity for the terminal, as Markdown, as JUnit and as a page. The sentence comes first everywhere.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use super::model::{FoundWord, NeedReport, SearchReport, Sizing, TrialReport};
use crate::report::charts::Chart;
use crate::report::format::{
    NOTHING, clean, latency_us, maybe_percent, maybe_us, number, percent, rate, short, time_s,
};
use crate::report::html::{Plain, PlainTable, plain_page};
use crate::report::markdown::cell;
use crate::report::model::VerdictWord;

fn verdict(s: &Sizing) -> VerdictWord {
    match s.exit_code {
        0 => VerdictWord::Met,
        1 => VerdictWord::Violated,
        _ => VerdictWord::Inconclusive,
    }
}

fn trial_cells(t: &TrialReport) -> [String; 8] {
    [
        rate(t.rate_rps),
        if t.confirm { "confirm".into() } else { String::new() },
        t.verdict.replace('_', " "),
        rate(t.good_rps),
        maybe_percent(t.error_rate),
        latency_us(t.p50_us, 1),
        latency_us(t.p99_us, 1),
        number((t.in_flight_mean * 10.0).round() / 10.0),
    ]
}

fn need_cells(need: &NeedReport) -> Vec<[String; 5]> {
    let row = |r: &super::model::NeedRow| {
        [
            format!("{}{}", r.replicas, if r.replicas == need.replicas { "  ←" } else { "" }),
            percent(r.utilisation),
            r.utilisation_after_loss.map_or("nobody left".to_owned(), percent),
            maybe_us(r.p99_after_loss_us),
            if r.enough { "yes" } else { "no" }.to_owned(),
        ]
    };
    need.table.iter().map(row).collect()
}

fn name(search: &SearchReport) -> String {
    match &search.under {
        None => "all alive".to_owned(),
        Some(fault) if search.dead == 0 => format!("under {} (no replica counted as lost)", clean(fault)),
        Some(fault) => format!("under {} ({} dead)", clean(fault), search.dead),
    }
}

/// How what is carried after a loss is known.
fn how(s: &Sizing, need: &NeedReport) -> &'static str {
    match (need.measured, s.searches.iter().any(|x| x.under.is_some())) {
        (true, _) => "measured",
        (false, true) => "arithmetic, not measured under this loss",
        (false, false) => "arithmetic, not measured: give [capacity] lose",
    }
}

/// What a person reads after a search.
pub fn text(s: &Sizing, width: usize, color: bool) -> String {
    let (sign, code) = match verdict(s) {
        VerdictWord::Met => ("✓", "1;32"),
        VerdictWord::Violated => ("✗", "1;31"),
        VerdictWord::Inconclusive => ("?", "1;33"),
    };
    let head = format!("{sign} CAPACITY");
    let head = if color { format!("\x1b[{code}m{head}\x1b[0m") } else { head };
    let mut out =
        format!("{head}  {}\n  {}\n", short(&s.scenario.name, 80), short(&s.sentence, 4 * width.clamp(60, 200)));
    for search in &s.searches {
        let _ = writeln!(out, "\n{}: {}", name(search), short(&search.words, 2 * width.clamp(60, 200)));
        let _ = writeln!(out, "     offered           verdict           good   errors       p50       p99  in flight");
        for t in &search.trials {
            let [offered, confirm, verdict, good, errors, p50, p99, flight] = trial_cells(t);
            let _ = writeln!(
                out,
                "  {offered:>10}  {confirm:<7}  {verdict:<15} {good:>8} {errors:>8} {p50:>9} {p99:>9}  {flight:>9}  {}",
                short(&t.why, 60)
            );
        }
    }
    if let Some(need) = &s.need {
        let (demand, how) = (rate(need.demand_rps), how(s, need));
        let _ = writeln!(out, "\nreplicas for {demand} after {} lost ({how})", need.survive);
        let _ =
            writeln!(out, "  {:>9} {:>12} {:>12} {:>14}  enough", "replicas", "full", "after loss", "p99 after loss");
        for [n, before, after, p99, enough] in need_cells(need) {
            let _ = writeln!(out, "  {n:>9} {before:>12} {after:>12} {p99:>14}  {enough}");
        }
    }
    if let Some(usl) = &s.usl {
        let _ = writeln!(out, "\nscalability (USL): {}", usl.words);
    }
    for (title, lines) in [("why", &s.reasons), ("mind", &s.warnings)] {
        if !lines.is_empty() {
            let _ = writeln!(out, "\n{title}");
            lines.iter().take(12).for_each(|l| {
                let _ = writeln!(out, "  {}", short(l, 2 * width.clamp(60, 200)));
            });
        }
    }
    out.push('\n');
    out
}

/// `summary.md`.
pub fn markdown(s: &Sizing) -> String {
    let mut out = format!("**capacity**: {} – {}\n\n", cell(&s.scenario.name), cell(&s.sentence));
    if let Some(need) = &s.need {
        let _ = writeln!(out, "| replicas | full | after loss | p99 after loss | enough |\n|---:|---:|---:|---:|---|");
        need_cells(need).iter().for_each(|c| {
            let _ = writeln!(out, "| {} |", c.join(" | "));
        });
        out.push('\n');
    }
    for search in &s.searches {
        let _ = writeln!(out, "<details><summary>{}: {}</summary>\n", cell(&name(search)), cell(&search.words));
        let _ = writeln!(
            out,
            "| offered | | verdict | good | errors | p50 | p99 | in flight | |\n|---:|---|---|---:|---:|---:|---:|---:|---|"
        );
        for t in &search.trials {
            let _ = writeln!(out, "| {} | {} |", trial_cells(t).join(" | "), cell(&t.why));
        }
        let _ = writeln!(out, "\n</details>\n");
    }
    s.reasons.iter().chain(&s.warnings).for_each(|line| {
        let _ = writeln!(out, "- {}", cell(line));
    });
    out
}

/// `junit.xml`.
pub(super) fn junit(s: &Sizing) -> String {
    let mut suite = TestSuite::new(clean(&s.scenario.name));
    for search in &s.searches {
        let mut status = match search.found {
            FoundWord::Carried | FoundWord::AtLeast => TestCaseStatus::success(),
            FoundWord::Below => TestCaseStatus::non_success(NonSuccessKind::Failure),
            FoundWord::Undecided => TestCaseStatus::skipped(),
        };
        status.set_message(clean(&search.words));
        let mut case = TestCase::new(
            format!("capacity {}", search.under.clone().map_or("all alive".into(), |f| clean(&f))),
            status,
        );
        case.set_classname(clean(&s.scenario.name).replace('.', "_"));
        suite.add_test_case(case);
    }
    suite.set_time(Duration::try_from_secs_f64(s.duration_s).unwrap_or_default());
    let mut suites = Suites::new("resbench");
    suites.add_test_suite(suite);
    suites.to_string().expect("writing XML to memory cannot fail")
}

/// `report.html`.
pub(super) fn html(s: &Sizing, charts: &[Chart]) -> String {
    let verdict = verdict(s);
    let word = match verdict {
        VerdictWord::Met => "Found",
        VerdictWord::Violated => "Not carried",
        VerdictWord::Inconclusive => "Inconclusive",
    };
    let short_all = |lines: &[String]| lines.iter().take(12).map(|l| short(l, 500)).collect::<Vec<_>>();
    let mut facts: Vec<(&'static str, Vec<String>)> = vec![
        ("Searches", s.searches.iter().map(|x| format!("{}: {}", name(x), short(&x.words, 300))).collect()),
        ("Scalability", s.usl.iter().map(|u| u.words.clone()).collect()),
        ("Why", short_all(&s.reasons)),
        ("Mind", short_all(&s.warnings)),
    ];
    facts.retain(|(_, lines)| !lines.is_empty());
    let tiles = s.searches.iter().map(|x| {
        let value = x.carried_rps.map_or(NOTHING.to_owned(), rate);
        let per = x.per_replica_rps.map_or(String::new(), |r| format!("{} per replica", rate(r)));
        [name(x), value, per]
    });
    let need = s.need.iter().map(|n| {
        let how = if n.measured { "measured" } else { "arithmetic, not measured" };
        [format!("Replicas for {}", rate(n.demand_rps)), n.replicas.to_string(), how.to_owned()]
    });
    let table = s.need.iter().map(|n| {
        let rows = need_cells(n).into_iter().zip(&n.table).map(|(c, r)| (if r.enough { "" } else { "quiet" }, c.to_vec()));
        let head = ["replicas", "#full, all alive", "#full, after the loss", "#p99 after the loss", "enough"];
        let caption = "n = max(⌈demand / (c × utilisation)⌉, ⌈demand / c_f⌉ + survive): c per replica with all alive, c_f while some are dead.";
        PlainTable::new("need", "How many replicas", caption, &head, rows.collect())
    });
    let trials = s.searches.iter().flat_map(|x| {
        x.trials
            .iter()
            .map(|t| {
                let class = match t.verdict.as_str() {
                    "passed" => "met",
                    "failed" => "violated",
                    _ => "inconclusive",
                };
                let cells = std::iter::once(name(x)).chain(trial_cells(t)).chain([short(&t.why, 200), clean(&t.dir)]);
                (class, cells.collect::<Vec<_>>())
            })
            .collect::<Vec<_>>()
    });
    let head =
        ["search", "#offered", "kind", "verdict", "#good", "#errors", "#p50", "#p99", "#in flight", "why", "run"];
    let caption = "In order. A trial passes when its objectives are met, nearly all that was offered came back, no backlog grows, and the \
                   generator kept up.";
    let trials = PlainTable::new("trials", "Trials", caption, &head, trials.collect());
    plain_page(
        Plain {
            what: "capacity",
            verdict,
            word: word.to_owned(),
            name: clean(&s.scenario.name),
            lesson: short(&s.scenario.lesson, 300),
            meta: vec![
                format!("took {}", time_s(s.duration_s)),
                format!("{} replicas", s.replicas),
                format!("{}, exit code {}", s.ending.word().replace('_', " "), s.exit_code),
                format!("seed {}", s.seed),
                short(&s.id, 60),
            ],
            headline: short(&s.sentence, 600),
            facts,
            reproduce: short(&s.reproduce, 500),
            tiles: tiles.chain(need).collect(),
            first: table.collect(),
            rest: vec![trials],
            note: "Rates are offered, open loop: a service beyond its capacity gets the same load as one below it. The answer was confirmed by a \
                   longer trial; a rate little above it was not carried.",
            version: clean(&s.tool_version),
        },
        charts,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_no_replica_away_is_called_no_loss() {
        let under = |dead| SearchReport { under: Some("held".into()), dead, ..SearchReport::default() };
        assert_eq!(
            [under(0), under(1)].map(|s| name(&s)),
            ["under held (no replica counted as lost)", "under held (1 dead)"]
        );
        let sizing = |searches| Sizing { searches, need: Some(NeedReport::default()), ..Sizing::default() };
        let told = text(&sizing(vec![SearchReport::default(), under(0)]), 100, false);
        assert!(told.contains("not measured under this loss"), "{told}");
        assert!(text(&sizing(vec![SearchReport::default()]), 100, false).contains("give [capacity] lose"));
    }
}
