//! `report.html`: one file that opens from disk, without network, readable without scripts and on paper.
//!
//! The words come from `story.rs`, the pictures from `charts/`; this file puts numbers into tables and the template
//! (`templates/`) around them. askama escapes everything that is not marked safe; safe are only our own style sheet, our
//! script, the SVG of `charts/` (which escapes its words itself) and JSON without `<`.

use askama::Template;
use serde_json::json;

use super::altered;
use super::charts::columns::{Column, end_s, join, width_s};
use super::charts::ink::{Ink, dark_rules};
use super::charts::{Chart, TITLE, escape, timeline};
use super::findings::{Finding, SHOWN, Severity};
use super::format::{
    NOTHING, QUALITY_HEAD, at_s, bytes, clean, count, latency_us, maybe_at_s, maybe_count, maybe_percent, maybe_s,
    maybe_us, objective_bound, objective_place, objective_value, percent, quality_cells, rate, said_something, short,
    span_name, stream_cells, targets, time_s, time_us, within_run,
};
use super::model::{
    AlertReport, FaultReport, GeneratorReport, ImpactReport, ObjectiveReport, ProbeReport, Report, SpanReport,
    VerdictWord,
};
use super::playbook::{StepReport, StepStatus};
use super::story::{recovered_in_force, tell};
use super::{budget, repeats};

/// What has to be known to read the numbers of a run.
const NOTE: &str = "Latency is done − due: it counts from when a request should have started. A failed or shed request is infinite. \
                    Percentiles come from merged histograms and are never averaged.";

/// Rows of a table; the rest is counted.
const ROWS: usize = 200;

#[derive(Template)]
#[template(path = "report.html", config = "src/report/askama.toml")]
struct Page {
    what: &'static str,
    note: &'static str,
    word: &'static str,
    verdict: String,
    icon: &'static str,
    name: String,
    lesson: String,
    meta: Vec<String>,
    headline: String,
    facts: Vec<(&'static str, Vec<String>)>,
    reproduce: String,
    tiles: Vec<Tile>,
    first: Vec<Table>,
    charts: Vec<Inline>,
    rest: Vec<Table>,
    version: String,
    css: &'static str,
    dark: String,
    js: &'static str,
    data: String,
}

/// One of the big numbers.
struct Tile {
    what: std::borrow::Cow<'static, str>,
    value: String,
    note: String,
}

/// A chart inside the page.
struct Inline {
    name: &'static str,
    title: &'static str,
    svg: String,
}

struct Row {
    class: &'static str,
    cells: Vec<String>,
}

struct Table {
    id: &'static str,
    title: &'static str,
    lead: String,
    caption: String,
    class: &'static str,
    /// Heading, and whether the column holds numbers.
    head: Vec<(&'static str, bool)>,
    rows: Vec<Row>,
    left_out: usize,
    /// Where the first cell of each row leads, for tables that lead anywhere.
    links: Vec<Option<String>>,
}

impl Table {
    /// `head`: names, those of numbers with a `#` before them.
    fn new(id: &'static str, title: &'static str, caption: impl Into<String>, head: &[&'static str]) -> Table {
        let head = head.iter().map(|h| h.strip_prefix('#').map_or((*h, false), |h| (h, true))).collect();
        let (lead, caption) = (String::new(), caption.into());
        Table { id, title, lead, caption, class: "", head, rows: vec![], left_out: 0, links: vec![] }
    }

    fn fill<T>(mut self, items: &[T], row: impl Fn(&T) -> Row) -> Table {
        self.rows = items.iter().take(ROWS).map(row).collect();
        self.left_out = items.len().saturating_sub(ROWS);
        self
    }

    /// Only to files beside this one: no scheme, no host, no way up or to the root.
    fn href(&self, row: &usize) -> Option<&str> {
        let inside = |path: &&str| !path.starts_with('/') && !path.contains([':', '\\']) && !path.contains("..");
        self.links.get(*row)?.as_deref().filter(inside)
    }

    fn right(&self, index: &usize) -> bool {
        self.head.get(*index).is_some_and(|(_, number)| *number)
    }
}

/// The page.
pub(super) fn html(report: &Report, charts: &[Chart]) -> String {
    let story = tell(report);
    let page = Page {
        what: "run",
        note: NOTE,
        word: report.verdict.word(),
        verdict: match report.verdict {
            VerdictWord::Met => "Met",
            VerdictWord::Violated => "Violated",
            VerdictWord::Inconclusive => "Inconclusive",
        }
        .to_owned(),
        icon: icon(report.verdict),
        name: clean(&report.scenario.name),
        lesson: short(&report.scenario.lesson, 300),
        meta: meta(report),
        headline: story.headline,
        facts: story.facts,
        reproduce: short(&report.reproduce, 500),
        tiles: tiles(report),
        first: [objectives(report), findings(report), playbook(report)]
            .into_iter()
            .filter(|t| !t.rows.is_empty())
            .collect(),
        charts: charts.iter().map(inline).collect(),
        rest: tables(report),
        version: clean(&report.tool_version),
        css: include_str!("templates/report.css"),
        dark: format!("@media screen and (prefers-color-scheme: dark){{{}}}", dark_rules()),
        js: include_str!("templates/report.js"),
        data: data(report, charts),
    };
    let mut page = page.render().expect("writing to a string cannot fail");
    page.push('\n');
    page
}

/// A page that is no run's: a comparison, a search.
pub(super) struct Plain {
    /// What it is a report of.
    pub(super) what: &'static str,
    pub(super) verdict: VerdictWord,
    /// The answer, in a word or two.
    pub(super) word: String,
    pub(super) name: String,
    pub(super) lesson: String,
    pub(super) meta: Vec<String>,
    pub(super) headline: String,
    pub(super) facts: Vec<(&'static str, Vec<String>)>,
    pub(super) reproduce: String,
    /// What, value, note.
    pub(super) tiles: Vec<[String; 3]>,
    pub(super) first: Vec<PlainTable>,
    pub(super) rest: Vec<PlainTable>,
    /// What has to be known to read the numbers.
    pub(super) note: &'static str,
    pub(super) version: String,
}

/// A table of such a page.
pub(super) struct PlainTable {
    id: &'static str,
    title: &'static str,
    caption: String,
    head: Vec<&'static str>,
    /// Class and cells.
    pub(super) rows: Vec<(&'static str, Vec<String>)>,
    class: &'static str,
    links: Vec<Option<String>>,
}

impl PlainTable {
    /// `head` as in [`Table::new`].
    pub(super) fn new(
        id: &'static str,
        title: &'static str,
        caption: impl Into<String>,
        head: &[&'static str],
        rows: Vec<(&'static str, Vec<String>)>,
    ) -> PlainTable {
        PlainTable { id, title, caption: caption.into(), head: head.to_vec(), rows, class: "", links: vec![] }
    }

    /// The first cell of each row leads to a file beside the page.
    pub(super) fn linked(self, links: Vec<Option<String>>) -> PlainTable {
        PlainTable { links, ..self }
    }

    /// Its cells are sentences.
    pub(super) fn of_words(self) -> PlainTable {
        PlainTable { class: "words", ..self }
    }

    fn table(self) -> Table {
        let mut table = Table::new(self.id, self.title, self.caption, &self.head);
        table.left_out = self.rows.len().saturating_sub(ROWS);
        (table.class, table.links) = (self.class, self.links);
        table.rows = self.rows.into_iter().take(ROWS).map(|(class, cells)| Row { class, cells }).collect();
        table
    }
}

/// The page of something that is no single run.
pub(super) fn plain_page(plain: Plain, charts: &[Chart]) -> String {
    let tile = |[what, value, note]: [String; 3]| Tile { what: what.into(), value, note };
    let page = Page {
        what: plain.what,
        note: plain.note,
        word: plain.verdict.word(),
        verdict: plain.word,
        icon: icon(plain.verdict),
        name: plain.name,
        lesson: plain.lesson,
        meta: plain.meta,
        headline: plain.headline,
        facts: plain.facts,
        reproduce: plain.reproduce,
        tiles: plain.tiles.into_iter().map(tile).collect(),
        first: plain.first.into_iter().map(PlainTable::table).collect(),
        charts: charts.iter().map(inline).collect(),
        rest: plain.rest.into_iter().map(PlainTable::table).collect(),
        version: plain.version,
        css: include_str!("templates/report.css"),
        dark: format!("@media screen and (prefers-color-scheme: dark){{{}}}", dark_rules()),
        js: "",
        data: "[]".to_owned(),
    };
    let mut page = page.render().expect("writing to a string cannot fail");
    page.push('\n');
    page
}

/// A chart as a file of its own: on white, with a font stack, whole without any style sheet.
pub(super) fn svg_file(chart: &Chart) -> String {
    let (width, height) = chart.picture.size();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif\" role=\"img\">\n\
         <title>{}</title>\n<desc>{}</desc>\n<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n{}{}</svg>\n",
        escape(chart.title),
        escape(&clean(&chart.description)),
        Ink::Paper.hex(),
        chart.picture.svg_title(),
        chart.picture.svg_body()
    )
}

fn inline(chart: &Chart) -> Inline {
    let (width, height) = chart.picture.size();
    let name = chart.name;
    let svg = format!(
        "<svg class=\"chart\" viewBox=\"0 {TITLE} {width} {}\" role=\"img\" aria-labelledby=\"t-{name} d-{name}\">\n\
         <title id=\"t-{name}\">{}</title>\n<desc id=\"d-{name}\">{}</desc>\n{}</svg>",
        height - TITLE,
        escape(chart.title),
        escape(&clean(&chart.description)),
        chart.picture.svg_body()
    );
    Inline { name, title: chart.title, svg }
}

/// A shape of its own for each verdict, beside the colour and the word.
fn icon(verdict: VerdictWord) -> &'static str {
    match verdict {
        VerdictWord::Met => {
            "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\"><circle cx=\"12\" cy=\"12\" r=\"10\"/>\
             <path d=\"M7 12.5l3.4 3.5L17 9\"/></svg>"
        }
        VerdictWord::Violated => {
            "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\"><path d=\"M8 2h8l6 6v8l-6 6H8l-6-6V8z\"/>\
             <path d=\"M8.5 8.5l7 7m0-7l-7 7\"/></svg>"
        }
        VerdictWord::Inconclusive => {
            "<svg viewBox=\"0 0 24 24\" aria-hidden=\"true\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\"><path d=\"M12 1.5L22.5 12 12 22.5 1.5 12z\"/>\
             <path d=\"M9.3 9.3a2.7 2.7 0 1 1 4 2.4c-.9.5-1.3 1-1.3 2\"/><path d=\"M12 16.6v.1\"/></svg>"
        }
    }
}

fn meta(report: &Report) -> Vec<String> {
    let clean_word = if report.clean { "clean" } else { "NOT CLEAN" };
    vec![
        clean(&report.started_at),
        format!("{} planned", time_s(report.plan.duration_s)),
        format!("{}, {clean_word}, exit code {}", report.ending.word().replace('_', " "), report.exit_code),
        format!("seed {}", report.seed),
        format!("run {}", short(&report.id, 60)),
    ]
}

fn tiles(report: &Report) -> Vec<Tile> {
    let measured: Vec<&SpanReport> = report.phases.iter().filter(|p| p.measured).collect();
    let planned: u64 = measured.iter().map(|p| p.planned).sum();
    if planned == 0 {
        return vec![];
    }
    let ok: u64 = measured.iter().map(|p| p.ok).sum();
    let mut tiles = vec![
        Tile {
            what: "Planned requests".into(),
            value: count(planned),
            note: format!("in {} measured phases", measured.len()),
        },
        Tile {
            what: "Answered well".into(),
            value: percent(ok as f64 / planned as f64),
            note: format!("{} were not", count(planned - ok)),
        },
    ];
    // An infinite percentile is the worst there is.
    let p99 = |p: &&SpanReport| p.latency_us.p99.unwrap_or(f64::INFINITY);
    if let Some(worst) = measured.iter().copied().filter(|p| p.planned > 0).max_by(|a, b| p99(a).total_cmp(&p99(b))) {
        let value = latency_us(worst.latency_us.p99, worst.planned);
        tiles.push(Tile { what: "Worst p99 latency".into(), value, note: format!("in {}", clean(&worst.name)) });
    }
    if let Some(tile) = recovery(report) {
        tiles.push(tile);
        let applied = || report.faults.iter().filter(|f| f.applied_at_s.is_some());
        let least = if applied().any(|f| f.impact.lost_requests.is_none()) { "≥ " } else { "" };
        let lost = once(applied(), |i| i.lost_requests);
        let lost = lost.map_or("unknown".to_owned(), |n| format!("{least}{}", maybe_count(Some(n))));
        let outage = report.faults.iter().filter_map(|f| f.impact.longest_outage_s).fold(0.0, f64::max);
        let cut = once(applied(), |i| i.cut_off.map(|n| n as f64)).unwrap_or_default() as u64;
        let cut = if cut > 0 { format!("and {} due before; ", count(cut)) } else { String::new() };
        let note = format!("{cut}longest outage {}", time_s(outage));
        tiles.push(Tile { what: "Good answers lost".into(), value: lost, note });
    }
    tiles
}

/// What these faults took, added up; none where it is known of none. Of those less than a second apart nobody can say whose a loss is, and
/// each has all of it: of them the most counts, once.
fn once<'a>(faults: impl Iterator<Item = &'a FaultReport>, of: impl Fn(&ImpactReport) -> Option<f64>) -> Option<f64> {
    // One that came within 5 ms of its plan is taken to have come then, as where its slots begin.
    let came =
        |f: &FaultReport| f.applied_at_s.map(|at| if at - f.planned_at_s <= 0.005 { f.planned_at_s } else { at });
    let mut known: Vec<(f64, f64)> = faults.filter_map(|f| came(f).zip(of(&f.impact))).collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut blows: Vec<(f64, f64)> = Vec::new();
    for (at, took) in known {
        match blows.last_mut() {
            // 4.3 − 3.3 is not quite a second in floating point.
            Some((last, most)) if at - *last < 1.0 - 1e-9 => (*last, *most) = (at, most.max(took)),
            _ => blows.push((at, took)),
        }
    }
    (!blows.is_empty()).then(|| blows.iter().map(|(_, most)| most).sum())
}

/// The slowest recovery of the faults that were applied; one that never came is the slowest, then one not known.
fn recovery(report: &Report) -> Option<Tile> {
    let weight = |i: &ImpactReport| match (i.state.as_str(), i.recovery_s) {
        ("none", _) => 0.0,
        ("recovered", Some(s)) => s,
        ("not_recovered", _) => f64::INFINITY,
        _ => f64::MAX,
    };
    let applied = report.faults.iter().filter(|f| f.applied_at_s.is_some());
    let slowest = applied.max_by(|a, b| weight(&a.impact).total_cmp(&weight(&b.impact)))?;
    let value = match slowest.impact.state.as_str() {
        "none" => "0 s".to_owned(),
        "recovered" => maybe_s(slowest.impact.recovery_s),
        "not_recovered" => "never".to_owned(),
        _ => "unknown".to_owned(),
    };
    let of = if report.faults.len() > 1 { "slowest, " } else { "" };
    Some(Tile { what: "Recovery time".into(), value, note: format!("{of}from {}", clean(&slowest.name)) })
}

fn objectives(report: &Report) -> Table {
    let caption = "Measured in this run against the bound, judged only with enough samples. Requests are not independent: \
                   the 95 % interval within this run (block bootstrap over its seconds) is a floor for what another run would show; “close” \
                   marks a bound inside it.";
    let head = ["verdict", "objective", "where", "#measured", "#within this run", "#promised", "#n", "#needed", "why"];
    Table::new("objectives", "Objectives", caption, &head).fill(&report.objectives, objective)
}

fn objective(o: &ObjectiveReport) -> Row {
    let (class, word) = match o.verdict {
        VerdictWord::Met => ("met", "✓ met"),
        VerdictWord::Violated => ("violated", "✗ violated"),
        VerdictWord::Inconclusive => ("inconclusive", "? inconclusive"),
    };
    let close = if o.close { " (close)" } else { "" };
    let cells = vec![
        format!("{word}{close}"),
        short(&o.metric, 80),
        objective_place(o),
        objective_value(o),
        within_run(o),
        objective_bound(o),
        count(o.n),
        count(o.needed),
        short(&o.reason, 300),
    ];
    Row { class, cells }
}

fn findings(report: &Report) -> Table {
    let caption = "Known patterns that the numbers of this run show, the most serious first. What to try is a hint, not a diagnosis.";
    let mut table = Table::new("findings", "Findings", caption, &["weight", "what happened", "seen by", "what to try"]);
    let row = |f: &Finding| {
        let class = match f.severity {
            Severity::Serious => "violated",
            Severity::Warning => "inconclusive",
            Severity::Note => "",
        };
        let evidence: Vec<String> = f.evidence.iter().take(4).map(|e| short(e, 300)).collect();
        let cells =
            vec![f.severity.word().to_owned(), short(&f.sentence, 400), evidence.join(" · "), short(&f.hint, 400)];
        Row { class, cells }
    };
    table.class = "words";
    table.rows = report.findings.iter().take(SHOWN).map(row).collect();
    table.left_out = report.findings.len().saturating_sub(SHOWN);
    table
}

fn playbook(report: &Report) -> Table {
    let caption = "What is to happen when a fault strikes, as the scenario says, and what this run saw of it, counted from when the fault was \
                   applied. What names no sign only a person can tick off.";
    let head = ["who", "step", "shown by", "seen", "#after", "what was seen"];
    let steps: Vec<(&str, &StepReport)> =
        report.playbook.iter().flat_map(|p| p.steps.iter().map(|s| (p.fault.as_str(), s))).collect();
    let several = report.playbook.len() > 1;
    let mut table = Table::new("playbook", "Playbook", caption, &head).fill(&steps, |(fault, s)| {
        let (class, sign) = match s.status {
            StepStatus::Seen => ("met", "✓ "),
            StepStatus::NotSeen => ("inconclusive", "✗ "),
            StepStatus::NotNeeded => ("", ""),
            StepStatus::NotObservable => ("quiet", "☐ "),
        };
        let of = if several { format!("{}: ", clean(fault)) } else { String::new() };
        let cells = vec![
            format!("{of}{}", short(&s.by, 20)),
            short(&s.step, 300),
            s.seen_by.as_ref().map_or(NOTHING.into(), |w| short(w, 120)),
            format!("{sign}{}", s.status.words()),
            maybe_s(s.after_s),
            if s.detail.is_empty() { NOTHING.into() } else { short(&s.detail, 300) },
        ];
        Row { class, cells }
    });
    if let Some(one) = report.playbook.first().filter(|_| !several) {
        table.lead = format!("For {}.", clean(&one.fault));
    }
    table
}

/// Everything below the charts.
fn tables(report: &Report) -> Vec<Table> {
    let mut tables = vec![];
    let mut keep = |table: Table| {
        if !table.rows.is_empty() {
            tables.push(table);
        }
    };
    keep(faults(report));
    keep(repeated(report));
    keep(prices(report));
    keep(altered_requests(report));
    keep(proofs(report));
    keep(phases(report));
    keep(streams(report));
    keep(times(report));
    keep(errors(report));
    keep(quality(report));
    keep(probes(report));
    keep(alerts(report));
    keep(scrapes(report));
    keep(events(report));
    keep(generator(report));
    keep(environment(report));
    keep(warnings(report));
    tables
}

fn faults(report: &Report) -> Table {
    let head = [
        "fault",
        "kind",
        "hit",
        "#planned",
        "#applied",
        "#reverted",
        "#hurt after",
        "#recovered after",
        "#outage",
        "#lost",
    ];
    let caption = "Hurt counts from applied, recovery from applied for one-shot faults and from reverted for lasting ones (“in force”: \
                   over before that). Lost: good answers missing against the baseline.";
    Table::new("faults", "Faults", caption, &head).fill(&report.faults, fault)
}

fn fault(f: &FaultReport) -> Row {
    let i = &f.impact;
    let recovered = match i.state.as_str() {
        "none" => "not hurt".to_owned(),
        "recovered" if recovered_in_force(f) => "in force".to_owned(),
        "recovered" => maybe_s(i.recovery_s),
        "not_recovered" => "never".to_owned(),
        _ => "unknown".to_owned(),
    };
    let cells = vec![
        clean(&f.name),
        format!("{} via {}", clean(&f.kind), clean(&f.via)),
        targets(&f.targets, 120),
        planned(f),
        maybe_at_s(f.applied_at_s),
        maybe_at_s(f.reverted_at_s),
        maybe_s(i.onset_s),
        recovered,
        maybe_s(i.longest_outage_s),
        maybe_count(i.lost_requests),
    ];
    Row { class: "", cells }
}

fn repeated(report: &Report) -> Table {
    let head = ["fault", "metric", "#median", "#worst", "#range", "#seen whole", "not seen whole"];
    let caption = "Over the times of a fault that repeats. A time that was cut off, by the next fault or the end, took at least as long \
                   as it was watched; an unknown one may be anything. Where that leaves a median open, what it lies between is shown.";
    let rows: Vec<[String; 7]> =
        report.fault_groups.iter().flat_map(|g| g.metrics.iter().map(|m| repeats::cells(g, m))).collect();
    Table::new("repeats", "Time and again", caption, &head)
        .fill(&rows, |cells| Row { class: "", cells: cells.to_vec() })
}

fn prices(report: &Report) -> Table {
    let head = [
        "fault",
        "promise",
        "#bad",
        "#more than usual",
        "#spent",
        "#such faults",
        "#14.4 ×",
        "#6 ×",
        "#1 ×",
        "why not",
    ];
    let caption = report.budgets.first().map_or(String::new(), |b| {
        format!(
            "What is bad from just before the fault until its impact was over, less the usual share, over what the promise leaves to be \
             lost. Such faults: how many use it all up. {}",
            budget::assumed(b)
        )
    });
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (index, head) in report.budgets.iter().enumerate() {
        let alerts = |all: &[super::model::BurnAlert]| -> Vec<String> {
            (0..3).map(|i| all.get(i).map_or(NOTHING.into(), budget::fires)).collect()
        };
        for f in &report.faults {
            let Some(price) = f.budget.get(index) else { continue };
            let told = price.from_at_s.is_some();
            let bad = if told { count(price.bad) } else { NOTHING.into() };
            let afford = price.affordable.map_or(NOTHING.into(), |n| maybe_count(Some(n.ceil())));
            let spent = budget::spent(price).unwrap_or(NOTHING.into());
            let numbers = [clean(&f.name), budget::promise(head), bad, maybe_count(price.excess), spent, afford];
            rows.push(numbers.into_iter().chain(alerts(&price.alerts)).chain([short(&price.reason, 200)]).collect());
        }
        if report.faults.len() > 1 && head.assumed_rps.is_some() {
            let spent = head.spent.map_or(NOTHING.into(), percent);
            let numbers =
                ["the whole run".into(), budget::promise(head), count(head.bad), NOTHING.into(), spent, NOTHING.into()];
            rows.push(numbers.into_iter().chain(alerts(&head.alerts)).chain([String::new()]).collect());
        }
    }
    Table::new("budget", "Error budget", caption, &head).fill(&rows, |cells| Row { class: "", cells: cells.clone() })
}

fn altered_requests(report: &Report) -> Table {
    let mut table = Table::new("altered", "Altered requests", altered::CAPTION, &altered::HEAD).fill(
        &altered::rows(report),
        |row| {
            let class = match (row.altered, row.good) {
                (false, _) => "quiet",
                (true, true) => "met",
                (true, false) => "violated",
            };
            Row { class, cells: row.cells.to_vec() }
        },
    );
    let said = report.faults.iter().filter_map(|f| f.altered.as_ref().map(|a| (f, a)));
    table.lead =
        said.map(|(f, a)| format!("{} {}.", clean(&f.name), altered::in_words(a))).collect::<Vec<_>>().join(" ");
    table
}

fn proofs(report: &Report) -> Table {
    let head = ["fault", "proof", "level", "#touched", "evidence", "mechanism", "trouble"];
    let caption = "Only the levels effect and trusted prove a fault; an unproven one makes the run inconclusive, because a pass \
                   without a fault says nothing.";
    Table::new("proofs", "Proof of the faults", caption, &head).fill(&report.faults, |f| {
        let (class, word) = if f.proof.proven { ("met", "✓ proven") } else { ("inconclusive", "? NOT PROVEN") };
        let trouble: Vec<String> = f.errors.iter().take(3).map(|e| short(e, 200)).collect();
        let cells = vec![
            clean(&f.name),
            word.to_owned(),
            short(&f.proof.level, 20),
            count(f.proof.touched),
            short(&f.proof.evidence, 300),
            short(&f.mechanism, 200),
            if trouble.is_empty() { NOTHING.into() } else { trouble.join(" · ") },
        ];
        Row { class, cells }
    })
}

fn planned(f: &FaultReport) -> String {
    match f.planned_end_at_s {
        Some(end) => format!("{} – {}", at_s(f.planned_at_s), at_s(end)),
        None => at_s(f.planned_at_s),
    }
}

fn spans(report: &Report) -> Vec<&SpanReport> {
    report.phases.iter().chain(&report.spans).collect()
}

fn span_row(s: &SpanReport, cells: Vec<String>) -> Row {
    let cells = std::iter::once(span_name(s)).chain(cells).collect();
    Row { class: if s.measured { "" } else { "quiet" }, cells }
}

fn phases(report: &Report) -> Table {
    let head = [
        "phase or span",
        "#offered",
        "#good",
        "#planned",
        "#failed",
        "#shed",
        "#errors",
        "#p50",
        "#p90",
        "#p95",
        "#p99",
        "#p99.9",
        "#max",
    ];
    let caption = "Latency is done − due over every planned request: failed and shed ones are infinite (∞).";
    let mut table = Table::new("phases", "Phases and spans", caption, &head).fill(&spans(report), |s| {
        let l = &s.latency_us;
        let latency = [l.p50, l.p90, l.p95, l.p99, l.p99_9, l.max].map(|us| latency_us(us, s.planned));
        let counts = [s.planned, s.errors.values().sum(), s.shed].map(count);
        let rates = [rate(s.offered_rps), rate(s.throughput_rps)];
        span_row(s, rates.into_iter().chain(counts).chain([maybe_percent(s.error_rate)]).chain(latency).collect())
    });
    if report.phases.iter().any(|p| p.closed_loop) {
        table.lead =
            "Closed loop: the next request waits for the last, so latency is not counted from a plan and hides what a \
                      stalled service would have made others wait."
                .into();
    }
    table
}

fn streams(report: &Report) -> Table {
    let head = ["phase or span", "#tokens", "#tokens/s", "#ttft: p50", "#p99", "#max", "#itl: p50", "#p99", "#max"];
    let caption = "Time to first token counts from due over every planned request: failed and shed ones are infinite (∞). Time \
                   between tokens is over every gap in good answers; tokens read at once have a gap of 0.";
    let with_streams: Vec<&SpanReport> = spans(report).into_iter().filter(|s| s.ttft_us.is_some()).collect();
    Table::new("streams", "Token streams", caption, &head)
        .fill(&with_streams, |s| span_row(s, stream_cells(s).into_iter().collect()))
}

fn times(report: &Report) -> Table {
    let head = [
        "phase or span",
        "#good: p50",
        "#p99",
        "#service: p50",
        "#p99",
        "#connect: n",
        "#p99",
        "#lag: p50",
        "#p99",
        "#max",
        "#altered",
    ];
    let caption = "Good answers only: latency (done − due) and service time (done − sent). Connecting, where a request waited \
                   for it. Lag (sent − due) is the generator’s own.";
    Table::new("times", "Where the time went", caption, &head).fill(&spans(report), |s| {
        let (ok, service, connect, lag) = (&s.latency_ok_us, &s.service_us, &s.connect_us, &s.lag_us);
        let cells = vec![
            maybe_us(ok.p50),
            maybe_us(ok.p99),
            maybe_us(service.p50),
            maybe_us(service.p99),
            count(connect.n),
            maybe_us(connect.p99),
            maybe_us(lag.p50),
            maybe_us(lag.p99),
            maybe_us(lag.max),
            count(s.altered),
        ];
        span_row(s, cells)
    })
}

fn errors(report: &Report) -> Table {
    let head = ["class", "meaning", "#count", "#first", "#last", "one of them"];
    let caption = "Warm-up included. Times are those of being due. The sample is what the target or the system said.";
    Table::new("errors", "Errors", caption, &head).fill(&report.error_samples, |e| {
        let cells = vec![
            clean(&e.class),
            clean(&e.meaning),
            count(e.count),
            at_s(e.first_at_s),
            at_s(e.last_at_s),
            short(&e.sample, 300),
        ];
        Row { class: "", cells }
    })
}

fn quality(report: &Report) -> Table {
    let said: Vec<&SpanReport> = spans(report).into_iter().filter(|s| said_something(s)).collect();
    let mut head = vec!["phase or span"];
    head.extend(QUALITY_HEAD);
    let caption = "Against labels; against the first good answer to the same row before the first fault; by fallback level and model version; age \
                   of features. Intervals are Wilson's, within this run: a floor.";
    Table::new("quality", "What the answers said", caption, &head)
        .fill(&said, |s| span_row(s, quality_cells(s).iter().map(|c| clean(c)).collect()))
}

fn probes(report: &Report) -> Table {
    let head = ["probe", "kind", "#asked", "#failed", "#first failure", "what it saw"];
    let caption =
        "The steady-state hypothesis. The last column is the first failure, or the last answer when none failed.";
    Table::new("probes", "Probes", caption, &head).fill(&report.probes, probe)
}

fn probe(p: &ProbeReport) -> Row {
    let failure = p.results.iter().find(|r| !r.ok);
    let shown = failure.or(p.results.last());
    let sign = if p.failed == 0 { "✓" } else { "✗" };
    let cells = vec![
        format!("{sign} {}", clean(&p.name)),
        clean(&p.kind),
        count(p.asked),
        count(p.failed),
        failure.map_or(NOTHING.into(), |r| at_s(r.at_s)),
        shown.map_or(NOTHING.into(), |r| format!("{}: {}", clean(&r.when), short(&r.detail, 300))),
    ];
    Row { class: if p.failed == 0 { "met" } else { "violated" }, cells }
}

fn alerts(report: &Report) -> Table {
    let head =
        ["alert", "after fault", "#fired at", "#time to alert", "#no sooner", "#active by its server", "in words"];
    let caption = "Looked at all the time: it fired after the last look that saw it quiet, and by the first that saw it firing. Pending, \
                   silenced and inhibited are not firing. The server's own time stands on our axis by our wall clock.";
    let all: Vec<&AlertReport> = report.probes.iter().flat_map(|p| &p.alerts).collect();
    Table::new("alerts", "Alerts", caption, &head).fill(&all, |a| {
        let (sign, class) = match a.state.as_str() {
            "fired" => ("✓", "met"),
            "unknown" => ("?", "inconclusive"),
            _ => ("✗", "violated"),
        };
        let cells = vec![
            format!("{sign} {} {}", clean(&a.alert), clean(&a.state).replace('_', " ")),
            clean(&a.fault),
            maybe_at_s(a.fired_at_s),
            maybe_s(a.time_to_alert_s),
            maybe_s(a.time_to_alert_low_s),
            maybe_at_s(a.active_at_s),
            short(&a.text, 300),
        ];
        Row { class, cells }
    })
}

fn scrapes(report: &Report) -> Table {
    let head = ["scrape", "page", "#every", "#read", "#failed", "#series", "first gap", "notes"];
    let caption = "Pages of metrics, read while load ran. A reading that failed is a gap in the chart, never a zero.";
    Table::new("scraped", "Pages of metrics", caption, &head).fill(&report.scrapes, |s| {
        let gap = s.gaps.first().map_or(NOTHING.into(), |g| format!("{}: {}", at_s(g.at_s), short(&g.why, 200)));
        let notes: Vec<String> = s.notes.iter().map(|n| short(n, 200)).collect();
        let cells = vec![
            clean(&s.name),
            short(&s.source, 100),
            time_s(s.every_s),
            count(s.read),
            count(s.failed),
            count(s.series.len() as u64),
            gap,
            notes.join("; "),
        ];
        Row { class: "", cells }
    })
}

fn events(report: &Report) -> Table {
    let head = ["at", "replica", "event", "in words"];
    Table::new("events", "Platform events", "On the clock of the load.", &head).fill(&report.platform_events, |e| {
        let replica = e.replica.map_or(NOTHING.into(), |r| r.to_string());
        let at = if e.at_s > 0.0 { at_s(e.at_s) } else { "before load".into() };
        Row { class: "", cells: vec![at, replica, clean(&e.kind).replace('_', " "), short(&e.text, 300)] }
    })
}

/// A table of names and values.
fn pairs(id: &'static str, title: &'static str, caption: &str, pairs: Vec<(&str, String)>) -> Table {
    let rows = pairs.into_iter().map(|(name, value)| Row { class: "", cells: vec![name.to_owned(), value] }).collect();
    Table { class: "pairs", rows, ..Table::new(id, title, caption, &[]) }
}

fn generator(report: &Report) -> Table {
    let g = &report.generator;
    let kept = if g.kept_up { "yes".to_owned() } else { format!("NO: {}", short(&g.note, 300)) };
    let lag = [g.lag_us.p50, g.lag_us.p99, g.lag_us.max].map(maybe_us);
    let mut rows = vec![
        ("kept up", kept),
        ("lag (sent − due)", format!("p50 {}, p99 {}, max {}", lag[0], lag[1], lag[2])),
        ("counts as late beyond", time_us(g.late_limit_us)),
        ("CPU time of the workers", format!("{}, {} workers", time_s(g.cpu_s), g.workers)),
        ("largest resident set", bytes(g.max_rss_bytes)),
        ("most in flight", format!("{} of {}", count(g.max_in_flight), count(report.plan.max_in_flight))),
        ("connections opened", connections(g)),
        ("arrivals", clean(&report.plan.arrivals)),
        ("timeout", time_us(report.plan.timeout_ms * 1e3)),
    ];
    if g.dns_look_ups > 0 {
        rows.push((
            "look-ups of the name",
            format!("{}, the slowest took {}", count(g.dns_look_ups), time_us(g.dns_slowest_us)),
        ));
    }
    let caption = "A generator that falls behind would pass for a slow service: it kept up when 99 % of requests were sent in time.";
    pairs("generator", "Load generator", caption, rows)
}

fn connections(g: &GeneratorReport) -> String {
    match g.tls_handshakes {
        0 => count(g.connections),
        n => format!("{}; {} TLS handshakes, {} of them resumed", count(g.connections), count(n), count(g.tls_resumed)),
    }
}

fn environment(report: &Report) -> Table {
    let e = &report.environment;
    let mut rows = vec![
        ("target", clean(&e.target)),
        ("protocol", clean(&e.protocol)),
        ("platform", format!("{}, {} replicas at the start", clean(&e.platform), e.replicas)),
        ("host", format!("{}, {}", clean(&e.host), clean(&e.kernel))),
        ("CPU", format!("{} × {}", e.cpus, clean(&e.cpu))),
        ("memory", bytes(e.memory_bytes)),
        ("load average at the start", format!("{:.2}", e.load_average)),
        ("scenario", format!("{} (SHA-256 {})", clean(&report.scenario.path), short(&report.scenario.sha256, 64))),
        ("resbench", clean(&report.tool_version)),
    ];
    if let Some(link) = &e.link_us {
        let added = format!("p50 {}, p99 {}", time_us(link.p50), time_us(link.p99));
        rows.insert(3, ("the link itself adds", added));
    }
    pairs("environment", "Environment", "Where it ran. Secrets are masked.", rows)
}

fn warnings(report: &Report) -> Table {
    let all: Vec<String> = report.reasons.iter().chain(&report.warnings).map(|w| short(w, 500)).collect();
    let kind = |n: usize| if n < report.reasons.len() { "reason" } else { "warning" };
    let rows = all.into_iter().enumerate().take(ROWS);
    let rows = rows.map(|(n, text)| Row { class: "", cells: vec![kind(n).to_owned(), text] }).collect();
    let caption = "Why the verdict is what it is, and what the plan was warned of.";
    Table { class: "pairs", rows, ..Table::new("warnings", "Reasons and warnings", caption, &[]) }
}

/// What the cross-hair shows: the columns of the time-line, in words.
fn data(report: &Report, charts: &[Chart]) -> String {
    let Some(chart) = charts.iter().find(|c| c.name == timeline::NAME) else { return "{\"rows\":[]}".into() };
    let step = width_s(report, timeline::COLUMNS);
    let rows: Vec<_> = join(report, step).iter().map(|c| json!([c.middle_s(), label(c), numbers(c)])).collect();
    let (width, height) = chart.picture.size();
    let (left, right) = timeline::EDGES;
    let names = [
        "offered",
        "good",
        "answered, too slow",
        "failed",
        "shed",
        "p50",
        "p99",
        "max",
        "lag p99",
        "in flight",
        "replicas ready",
    ];
    let data = json!({
        "left": left, "right": right, "top": timeline::top(report), "bottom": height - 42, "width": width,
        "height": height, "above": TITLE, "end": end_s(report), "step": step, "names": names, "rows": rows,
    });
    // Nothing inside may end the script element.
    data.to_string().replace('<', "\\u003c").replace('>', "\\u003e")
}

fn label(c: &Column) -> String {
    format!("{} – {} · {}", at_s(c.start_s), at_s(c.end_s), clean(&c.phase))
}

fn numbers(c: &Column) -> Vec<String> {
    let per_second = |n: u64| if n == 0 { String::new() } else { rate(c.rate(n)) };
    let worst = |range: Option<super::charts::columns::Range>, infinite| match range {
        _ if infinite => super::format::INFINITE.to_owned(),
        Some(range) if range.high > range.low => format!("{} – {}", time_us(range.low), time_us(range.high)),
        Some(range) => time_us(range.high),
        None => String::new(),
    };
    vec![
        rate(c.rate(c.planned)),
        rate(c.rate(c.good)),
        per_second(c.slow),
        per_second(c.failed),
        per_second(c.shed),
        worst(c.p50_us, c.p50_infinite),
        worst(c.p99_us, c.p99_infinite),
        worst(c.max_us, false),
        worst(c.lag_us, false),
        count(c.in_flight),
        c.replicas.map(|n| n.to_string()).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(at_s: Option<f64>, lost_requests: Option<f64>, cut_off: Option<u64>) -> FaultReport {
        let impact = ImpactReport { lost_requests, cut_off, ..ImpactReport::default() };
        FaultReport { planned_at_s: at_s.unwrap_or(9.0), applied_at_s: at_s, impact, ..FaultReport::default() }
    }

    /// The tile of what was lost: its value and its note.
    fn lost(faults: Vec<FaultReport>) -> (String, String) {
        let phase = SpanReport { measured: true, planned: 1000, ok: 700, ..SpanReport::default() };
        let report = Report { phases: vec![phase], faults, ..Report::default() };
        let tile = tiles(&report).into_iter().find(|t| t.what == "Good answers lost").expect("a fault was applied");
        (tile.value, tile.note)
    }

    #[test]
    fn what_was_lost_is_counted_once_and_is_no_more_than_is_known() {
        let value = |faults| lost(faults).0;
        assert_eq!(value(vec![fault(Some(3.3), Some(10.0), None), fault(Some(4.3), Some(20.0), None)]), "30");
        let together = vec![fault(Some(20.0), Some(300.0), Some(7)), fault(Some(20.5), Some(290.0), Some(9))];
        assert_eq!(lost(together), ("300".to_owned(), "and 9 due before; longest outage 0 s".to_owned()));
        let known = || fault(Some(20.0), Some(10.0), None);
        assert_eq!(value(vec![known(), fault(Some(40.0), None, None)]), "≥ 10");
        assert_eq!(value(vec![known(), fault(None, None, None)]), "10", "one that was never applied took nothing");
        assert_eq!(value(vec![fault(Some(40.0), None, None)]), "unknown");
        // Planned a second apart, the second 0.4 ms less late than the first.
        let planned =
            |at_s, late| FaultReport { applied_at_s: Some(at_s + late), ..fault(Some(at_s), Some(5.0), None) };
        assert_eq!(value(vec![planned(20.0, 0.000_5), planned(21.0, 0.000_1)]), "10");
    }
}
