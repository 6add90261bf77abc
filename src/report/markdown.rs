//! `summary.md`: for pull requests and job summaries. First line the verdict, one table, a sparkline, the rest folded.
//!
//! At most 200 KiB: a job summary beyond its limit is thrown away whole, so long lists are cut with a word about it.

use std::fmt::Write as _;

use super::charts::columns::{Column, end_s, join};
use super::findings::SHOWN;
use super::format::{
    QUALITY_HEAD, at_s, count, objective_bound, objective_place, objective_value, quality_cells, said_something, short,
    span_name, span_numbers, time_s, time_us, within_run,
};
use super::model::{Ending, Report, SpanReport, VerdictWord};
use super::playbook::{StepStatus, outcome};
use super::story::{ALERTED, promise, tell};

/// The limit of the whole text, bytes.
pub(super) const LIMIT: usize = 200 * 1024;
/// Rows of a table; each row is bounded too, so that the sum stays far below the limit.
const ROWS: usize = 100;
/// Characters of a cell.
const CELL: usize = 200;
/// Characters of the sparkline.
const SPARKS: f64 = 60.0;

/// The summary as GitHub-flavoured Markdown.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    objectives(&mut out, report);
    sparkline(&mut out, report);
    faults(&mut out, report);
    findings(&mut out, report);
    playbook(&mut out, report);
    altered_requests(&mut out, report);
    folded(&mut out, "Phases", |out| phases(out, report));
    if report.phases.iter().any(|s| s.ttft_us.is_some()) {
        folded(&mut out, "Token streams", |out| streams(out, report));
    }
    if report.phases.iter().any(said_something) {
        folded(&mut out, "What the answers said", |out| quality(out, report));
    }
    if !report.error_samples.is_empty() {
        folded(&mut out, "Errors", |out| errors(out, report));
    }
    folded(&mut out, "Run", |out| facts(out, report));
    cut(out)
}

/// The sign of a verdict; the word always stands beside it.
pub(super) fn sign(verdict: VerdictWord) -> &'static str {
    match verdict {
        VerdictWord::Met => "✅",
        VerdictWord::Violated => "❌",
        VerdictWord::Inconclusive => "❔",
    }
}

fn head(out: &mut String, report: &Report) {
    let story = tell(report);
    let dirty = if report.clean { "" } else { " · **NOT CLEAN**" };
    let ending = match report.ending {
        Ending::Completed => String::new(),
        other => format!(" · {}", other.word().replace('_', " ")),
    };
    let _ = writeln!(
        out,
        "{} **{}** · {}{ending}{dirty}: {}\n",
        sign(report.verdict),
        report.verdict.word(),
        cell(&report.scenario.name),
        cell_of(&story.headline, 600)
    );
    if !report.clean {
        for line in report.residue.iter().take(ROWS) {
            let _ = writeln!(out, "- still broken: {}", cell(line));
        }
        let _ = writeln!(out, "\nPut it back with `resbench revert`.\n");
    }
}

fn objectives(out: &mut String, report: &Report) {
    if report.objectives.is_empty() {
        return;
    }
    let _ = writeln!(out, "| | objective | where | measured | within this run | promised | n | |");
    let _ = writeln!(out, "|---|---|---|---:|---:|---:|---:|---|");
    for o in report.objectives.iter().take(ROWS) {
        let close = if o.close { " (close)" } else { "" };
        let why = if o.verdict == VerdictWord::Met { String::new() } else { cell(&o.reason) };
        let _ = writeln!(
            out,
            "| {} {}{close} | {} | {} | {} | {} | {} | {} | {why} |",
            sign(o.verdict),
            o.verdict.word(),
            cell(&o.metric),
            cell(&objective_place(o)),
            objective_value(o),
            within_run(o),
            objective_bound(o),
            count(o.n),
        );
    }
    more(out, report.objectives.len());
}

fn more(out: &mut String, rows: usize) {
    if rows > ROWS {
        let _ = writeln!(out, "\n… and {} more, in run.json.", rows - ROWS);
    }
    out.push('\n');
}

/// Share of good requests over time, with faults and their recovery beneath.
fn sparkline(out: &mut String, report: &Report) {
    let width = (end_s(report) / SPARKS).ceil().max(1.0);
    let columns = join(report, width);
    if columns.is_empty() {
        return;
    }
    let (line, marks) = sparks(report, &columns, width);
    let _ = writeln!(out, "Share of good requests ({}), {} a sign:\n", cell(&promise(report)), time_s(width));
    let _ = writeln!(out, "```text\n{line}\n{marks}\n```\n");
    let _ = writeln!(
        out,
        "`█` all · `▇` 99 % · `▅` 90 % · `▃` 50 % · `▁` below 10 % · `!` fault applied · `=` in force · `^` recovered\n"
    );
}

fn sparks(report: &Report, columns: &[Column], width: f64) -> (String, String) {
    // Finer near the top, where promises are made.
    let steps = [(0.99, '▇'), (0.95, '▆'), (0.9, '▅'), (0.75, '▄'), (0.5, '▃'), (0.1, '▂')];
    let sign = |share: f64| steps.iter().find(|(least, _)| share >= *least).map_or('▁', |(_, sign)| *sign);
    let place = |s: f64| (s / width).max(0.0) as usize;
    let length = columns.last().map_or(0, |c| place(c.start_s) + 1);
    let mut line = vec![' '; length];
    for c in columns {
        if let Some(share) = c.good_share() {
            line[place(c.start_s)] = if c.good == c.planned { '█' } else { sign(share) };
        }
    }
    let mut marks = vec![' '; length];
    let mut set = |s: f64, sign| {
        if let Some(mark) = marks.get_mut(place(s)) {
            *mark = sign;
        }
    };
    for f in &report.faults {
        if let (Some(from), Some(to)) = (f.applied_at_s, f.reverted_at_s) {
            (place(from)..=place(to)).for_each(|n| set(n as f64 * width, '='));
        }
    }
    for f in &report.faults {
        f.impact.recovered_at_s.into_iter().for_each(|s| set(s, '^'));
        f.applied_at_s.into_iter().for_each(|s| set(s, '!'));
    }
    (line.into_iter().collect(), marks.into_iter().collect::<String>().trim_end().to_owned())
}

/// What is told of the faults.
const ASKED: [&str; 6] = ["What broke", "How bad", "Back when", ALERTED, "Time and again", "What it costs"];

fn faults(out: &mut String, report: &Report) {
    let story = tell(report);
    for (question, answers) in story.facts.iter().filter(|(q, _)| ASKED.contains(q)) {
        let _ = writeln!(out, "**{question}**\n");
        answers.iter().for_each(|a| {
            let _ = writeln!(out, "- {}", cell_of(a, 500));
        });
        out.push('\n');
    }
}

fn findings(out: &mut String, report: &Report) {
    if report.findings.is_empty() {
        return;
    }
    let _ = writeln!(out, "**Findings**\n");
    for f in report.findings.iter().take(SHOWN) {
        let evidence: Vec<String> = f.evidence.iter().take(4).map(|e| cell_of(e, 300)).collect();
        let (word, sentence, hint) = (f.severity.word(), cell_of(&f.sentence, 400), cell_of(&f.hint, 400));
        let _ = writeln!(out, "- **{word}**: {sentence} *Seen:* {}. *Try:* {hint}", evidence.join("; "));
    }
    if report.findings.len() > SHOWN {
        let _ = writeln!(out, "- … and {} more, in run.json.", report.findings.len() - SHOWN);
    }
    out.push('\n');
}

/// Only where a payload fault altered some.
fn altered_requests(out: &mut String, report: &Report) {
    let rows = super::altered::rows(report);
    if rows.is_empty() {
        return;
    }
    let head = super::altered::HEAD.map(|h| h.trim_start_matches('#'));
    let _ = writeln!(out, "| | {} |\n|---|---|{}", head.join(" | "), "---:|".repeat(head.len() - 1));
    for row in rows.iter().take(ROWS) {
        let sign = match (row.altered, row.good) {
            (false, _) => "",
            (true, true) => sign(VerdictWord::Met),
            (true, false) => sign(VerdictWord::Violated),
        };
        let cells: Vec<String> = row.cells.iter().map(|c| cell(c)).collect();
        let _ = writeln!(out, "| {sign} | {} |", cells.join(" | "));
    }
    more(out, rows.len());
    for a in report.faults.iter().filter_map(|f| f.altered.as_ref()) {
        let _ = writeln!(out, "- {}", cell_of(&super::altered::in_words(a), 300));
    }
    out.push('\n');
}

/// Steps as a list with boxes: what was seen is done.
fn playbook(out: &mut String, report: &Report) {
    for p in report.playbook.iter().filter(|p| !p.steps.is_empty()).take(ROWS) {
        let _ = writeln!(out, "**Playbook for {}**\n", cell(&p.fault));
        for s in p.steps.iter().take(ROWS) {
            let done = if s.status == StepStatus::Seen { "x" } else { " " };
            let why = if s.detail.is_empty() { String::new() } else { format!(" ({})", cell(&s.detail)) };
            let _ = writeln!(out, "- [{done}] {}: {} – {}{why}", cell(&s.by), cell_of(&s.step, 300), outcome(s));
        }
        out.push('\n');
    }
}

fn folded(out: &mut String, title: &str, body: impl Fn(&mut String)) {
    let _ = writeln!(out, "<details><summary>{title}</summary>\n");
    body(out);
    let _ = writeln!(out, "</details>\n");
}

fn phases(out: &mut String, report: &Report) {
    let _ = writeln!(out, "| phase or span | offered | good answers | errors | p50 | p99 | max | lag p99 | n |");
    let _ = writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let all: Vec<&SpanReport> = report.phases.iter().chain(&report.spans).collect();
    for s in all.iter().take(ROWS) {
        let numbers = span_numbers(s).join(" | ");
        let _ = writeln!(out, "| {} | {numbers} | {} |", cell(&span_name(s)), count(s.planned));
    }
    more(out, all.len());
}

fn streams(out: &mut String, report: &Report) {
    let _ = writeln!(
        out,
        "| phase or span | tokens | tokens/s | ttft p50 | p99 | max | itl p50 | p99 | max |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    let all: Vec<&SpanReport> = report.phases.iter().chain(&report.spans).filter(|s| s.ttft_us.is_some()).collect();
    for s in all.iter().take(ROWS) {
        let _ = writeln!(out, "| {} | {} |", cell(&s.name), super::format::stream_cells(s).join(" | "));
    }
    more(out, all.len());
}

fn quality(out: &mut String, report: &Report) {
    let _ = writeln!(out, "| phase or span | {} |\n|---|---|---|---|---|---|---|", QUALITY_HEAD.join(" | "));
    let all: Vec<&SpanReport> = report.phases.iter().chain(&report.spans).filter(|s| said_something(s)).collect();
    for s in all.iter().take(ROWS) {
        let cells: Vec<String> = quality_cells(s).iter().map(|c| cell(c)).collect();
        let _ = writeln!(out, "| {} | {} |", cell(&span_name(s)), cells.join(" | "));
    }
    more(out, all.len());
}

fn errors(out: &mut String, report: &Report) {
    let _ = writeln!(out, "| class | count | first | last | sample |\n|---|---:|---:|---:|---|");
    for e in report.error_samples.iter().take(ROWS) {
        let (first, last) = (at_s(e.first_at_s), at_s(e.last_at_s));
        let _ = writeln!(out, "| {} | {} | {first} | {last} | {} |", cell(&e.class), count(e.count), cell(&e.sample));
    }
    more(out, report.error_samples.len());
}

fn facts(out: &mut String, report: &Report) {
    let g = &report.generator;
    let kept = if g.kept_up { "kept up" } else { "fell behind" };
    let lag = g.lag_us.p99.map_or("–".into(), time_us);
    let _ = writeln!(out, "- reproduce: {}", cell(&report.reproduce));
    let _ = writeln!(out, "- run {}, started {}, seed {}", cell(&report.id), cell(&report.started_at), report.seed);
    let _ = writeln!(out, "- load generator {kept}, lag p99 {lag}, workers: {}", g.workers);
    let e = &report.environment;
    let _ = writeln!(out, "- {} on {}, {} × {}", cell(&e.platform), cell(&e.host), e.cpus, cell(&e.cpu));
    let _ = writeln!(out, "- resbench {}, exit code {}", cell(&report.tool_version), report.exit_code);
    for warning in report.warnings.iter().take(ROWS) {
        let _ = writeln!(out, "- warning: {}", cell(warning));
    }
    out.push('\n');
}

pub(super) fn cell(text: &str) -> String {
    cell_of(text, CELL)
}

/// Foreign words that neither leave their cell nor become markup: a backslash before every character that
/// Markdown reads, entities for HTML, and a space that breaks links and mentions.
fn cell_of(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in short(text, limit).trim().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A zero-width joiner after it keeps GitHub from notifying people named in an answer.
            '@' => out.push_str("@\u{200D}"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // Bare links are made clickable by GitHub; the dots of a scheme's colon are what it looks for.
    out.replace("://", ":\u{200D}//")
}

/// Never cuts inside a character; unfolds nothing, because what is cut stands at the end.
fn cut(mut text: String) -> String {
    const NOTE: &str = "\n\n… cut at 200 KiB; the rest is in run.json.\n";
    if text.len() > LIMIT {
        let mut end = LIMIT - NOTE.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(NOTE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_stay_in_their_cell() {
        let evil = "a|b\n<script>`x`[l](http://e)@team\x1b[2J";
        let escaped = cell(evil);
        assert!(!escaped.contains('\n') && !escaped.contains('<') && !escaped.contains('\x1b'), "{escaped}");
        assert!(escaped.contains("a\\|b") && escaped.contains("\\`x\\`"), "{escaped}");
        assert!(!escaped.contains("http://") && !escaped.contains("@team"), "{escaped}");
    }

    #[test]
    fn the_limit_holds_inside_wide_characters() {
        let text = cut("é".repeat(LIMIT));
        assert!(text.len() <= LIMIT && text.ends_with("run.json.\n"));
    }
}
