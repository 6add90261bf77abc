//! `report.html` of a comparison: the page of a run, with other tables and charts.

use super::model::{AnswerWord, Comparison, GATE, Kind, MetricReport, PairReport};
use super::text::{change, headline, means, middle, value, what};
use crate::report::charts::Chart;
use crate::report::format::{NOTHING, clean, short, time_s};
use crate::report::html::{Plain, PlainTable, plain_page};
use crate::report::model::VerdictWord;

/// The page.
pub(super) fn html(c: &Comparison, charts: &[Chart]) -> String {
    let verdict = match (c.kind, c.answer) {
        (Kind::Calibration, _) if c.exit_code == 0 => VerdictWord::Met,
        (_, AnswerWord::Regressed) => VerdictWord::Violated,
        (Kind::Calibration, _) | (_, AnswerWord::Inconclusive) => VerdictWord::Inconclusive,
        _ => VerdictWord::Met,
    };
    let word = match c.kind {
        Kind::Calibration => "Calibrated".to_owned(),
        _ => capital(c.answer.words()),
    };
    let mut tables = vec![metrics(c, "metrics", "Metrics that decide", &c.metrics)];
    let mut rest = vec![metrics(c, "advice", "Advice", &c.advice)];
    rest.extend([pairs(c), nights(c), ignored(c), changes(c), environment(c)]);
    tables.retain(|t| !t.rows.is_empty());
    rest.retain(|t| !t.rows.is_empty());
    plain_page(
        Plain {
            what: if c.schema == GATE { "gate" } else { "comparison" },
            verdict,
            word,
            name: clean(&c.scenario.name),
            lesson: short(&c.scenario.lesson, 300),
            meta: meta(c),
            headline: headline(c),
            facts: facts(c),
            reproduce: short(&c.reproduce, 500),
            tiles: tiles(c),
            first: tables,
            rest,
            note: "The unit of evidence is the run, never the request: requests of one run share its machine, its caches and its queue. \
                   Order within a pair is drawn from the seed; both runs of a pair have the same arrivals and fault times.",
            version: clean(&c.tool_version),
        },
        charts,
    )
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn meta(c: &Comparison) -> Vec<String> {
    let clean_word = if c.clean { "clean" } else { "NOT CLEAN" };
    vec![
        clean(&c.started_at),
        format!("took {}", time_s(c.duration_s)),
        format!("{}, {clean_word}, exit code {}", c.ending.word().replace('_', " "), c.exit_code),
        format!("seed {}", c.seed),
        short(&c.id, 60),
    ]
}

fn facts(c: &Comparison) -> Vec<(&'static str, Vec<String>)> {
    let sentences: Vec<String> = c.metrics.iter().map(|m| short(&m.sentence, 500)).collect();
    let arms = c.arms.iter().map(|a| match a.sets.as_slice() {
        [] => clean(&a.name),
        sets => short(&format!("{}: {}", a.name, sets.join(", ")), 300),
    });
    let looks = match c.looks.as_slice() {
        [] => "no look was made".to_owned(),
        looks => format!(
            "looked after {} pairs; one-sided risk {} each, Holm over {} metrics",
            looks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
            c.risk,
            c.metrics.len()
        ),
    };
    let mut facts = vec![("Compared", vec![what(c)]), ("Answer", sentences), ("Arms", arms.collect())];
    if c.kind != Kind::History {
        facts.push(("Looks", vec![looks]));
    }
    let short_all = |lines: &[String]| lines.iter().take(12).map(|l| short(l, 500)).collect::<Vec<_>>();
    facts.push(("Why", short_all(&c.reasons)));
    facts.push(("Mind", short_all(&c.warnings)));
    facts.retain(|(_, lines)| !lines.is_empty());
    facts
}

fn tiles(c: &Comparison) -> Vec<[String; 3]> {
    let tile = |m: &MetricReport| {
        let note = format!("{}, {} to {}", short(&m.metric, 40), change(m.low, m), change(m.high, m));
        [m.answer.words().to_owned(), change(m.estimate, m), note]
    };
    c.metrics.iter().filter(|_| c.kind != Kind::Calibration).take(3).map(tile).collect()
}

fn metrics(c: &Comparison, id: &'static str, title: &'static str, all: &[MetricReport]) -> PlainTable {
    let caption = match (id, c.kind) {
        ("advice", _) => {
            "Decides nothing. q: Benjamini and Hochberg's over all rows; of those called changed, 5 % are expected not to be."
        }
        (_, Kind::History) => {
            "Change: Hodges-Lehmann estimate of tonight's runs against the nights. Interval and p of what is worse or better are those of one night among the nights, which is all that tonight's runs are."
        }
        _ => {
            "Change: Hodges-Lehmann estimate (of what belongs to a fault: median) of the other arm against the reference, with its exact interval. p after Holm."
        }
    };
    let (a, b) = match c.kind {
        Kind::History => ("#earlier nights", "#tonight"),
        _ => ("#reference", "#other"),
    };
    let p = if id == "advice" { "#q" } else { "#p" };
    // What nobody measured takes no column: the reasons need the room.
    let noise = all.iter().any(|m| m.noise_floor.is_some());
    let mut head = vec!["metric", "answer", a, b, "#change", "#interval", "#matters", "#noise", p, "#n", "why"];
    head.retain(|h| noise || *h != "#noise");
    // The reasons of what decides stand in its sentences, at the top.
    head.retain(|h| id == "advice" || *h != "why");
    let bound = |x: Option<f64>, m: &MetricReport| {
        x.map_or(NOTHING.to_owned(), |x| change(Some(super::model::End::of(x)), m).trim_start_matches('+').to_owned())
    };
    let row = |m: &MetricReport| {
        let class = match m.answer {
            AnswerWord::Regressed => "violated",
            AnswerWord::Inconclusive if id == "advice" => "",
            AnswerWord::Inconclusive => "inconclusive",
            _ => "met",
        };
        let between =
            if m.level >= 1.0 { NOTHING.to_owned() } else { format!("{} to {}", change(m.low, m), change(m.high, m)) };
        let mut cells = vec![
            short(&m.metric, 80),
            m.answer.words().to_owned(),
            value(middle(&m.a), &m.unit),
            value(middle(&m.b), &m.unit),
            change(m.estimate, m),
            between,
            bound(m.min_effect, m),
        ];
        cells.extend(noise.then(|| bound(m.noise_floor, m)));
        cells.extend([chance(m.p_adjusted), m.n.to_string()]);
        cells.extend((id == "advice").then(|| short(&m.why, 300)));
        (class, cells)
    };
    PlainTable::new(id, title, caption, &head, all.iter().map(row).collect())
}

/// A p or q value: small ones are small, not 0.
fn chance(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

fn pairs(c: &Comparison) -> PlainTable {
    let head = ["#pair", "#seed", "used", "first", "second", "why not"];
    let row = |pair: &PairReport| {
        let run = |i: usize| {
            pair.runs
                .get(i)
                .map_or(NOTHING.to_owned(), |r| short(&format!("{} ({}): {}", r.arm, r.verdict, r.dir), 120))
        };
        let why: Vec<String> =
            pair.runs.iter().filter(|r| !r.why.is_empty()).map(|r| format!("{}: {}", r.arm, r.why)).collect();
        let used = if pair.usable { "yes" } else { "no" };
        let cells = vec![
            pair.number.to_string(),
            pair.seed.to_string(),
            used.to_owned(),
            run(0),
            run(1),
            short(&why.join("; "), 300),
        ];
        (if pair.usable { "" } else { "quiet" }, cells)
    };
    let caption = "Each run has a whole report of its own, in the folder named.";
    PlainTable::new("pairs-table", "Pairs", caption, &head, c.pairs.iter().map(row).collect())
}

fn nights(c: &Comparison) -> PlainTable {
    let series = c.history.iter().flat_map(|h| &h.series);
    let rows = series.flat_map(|s| {
        s.nights.iter().map(|n| ("", vec![clean(&s.metric), clean(&n.at), value(n.value, &s.unit)])).collect::<Vec<_>>()
    });
    let head = ["metric", "night", "#median of its runs"];
    PlainTable::new("nights", "Nights that count", "Oldest first; the last is this one.", &head, rows.collect())
}

fn ignored(c: &Comparison) -> PlainTable {
    let all = c.history.iter().flat_map(|h| &h.ignored);
    let rows = all.map(|i| ("quiet", vec![short(&i.file, 80), short(&i.why, 300)])).collect();
    PlainTable::new("ignored", "Ignored in the history", "Left where it is.", &["file", "why"], rows)
}

fn changes(c: &Comparison) -> PlainTable {
    let all = c.history.iter().flat_map(|h| h.changes.iter().map(move |x| (h, x)));
    let rows = all.map(|(history, x)| {
        let [before, after] = means(history, x);
        let cells =
            vec![short(&x.metric, 80), short(&x.after, 40), short(&x.at, 40), before, after, format!("{:.1e}", x.p)];
        ("", cells)
    });
    let head = ["metric", "after", "before", "#mean before", "#mean after", "#p"];
    let caption = "E-divisive over all nights that count: between these two nights the mean changed.";
    PlainTable::new("changes", "Change points", caption, &head, rows.collect())
}

fn environment(c: &Comparison) -> PlainTable {
    let rows = c.fingerprint.parts.iter().map(|part| {
        let (name, value) = part.split_once(": ").unwrap_or((part, ""));
        ("", vec![clean(name), short(value, 200)])
    });
    let caption = format!("Fingerprint {}: nights with another one are not compared.", clean(&c.fingerprint.id));
    PlainTable::new("environment", "Where it ran", caption, &["part", "value"], rows.collect())
}
