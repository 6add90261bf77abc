//! The summary for the terminal: the verdict in one line, objectives, phases, faults with their proof.
//!
//! Colour is a help and never the only sign. Strings from outside are cleaned of everything that drives a terminal.

use std::fmt::Write as _;

use super::altered;
use super::findings::{SHOWN, Severity};
use super::format::{
    NOTHING, QUALITY_HEAD, at_s, clean, count, objective_bound, objective_place, objective_value, quality_cells,
    said_something, short, span_name, span_numbers, stream_cells, targets, within_run,
};
use super::model::{Ending, FaultReport, ObjectiveReport, Report, VerdictWord};
use super::playbook::{StepStatus, outcome};
use super::story::{self, headline};
use super::{budget, repeats};

/// Columns of [`QUALITY_HEAD`] that are shares; two of names follow.
const SHARES: usize = 3;
/// Rows of a table shown; the rest is in the report.
const ROWS: usize = 40;

/// What a person reads after a run. `width` in characters (at least 60 are used); `color` writes ANSI colours.
pub fn summary(report: &Report, width: usize, color: bool) -> String {
    let width = width.clamp(60, 200);
    let paint = Paint(color);
    let mut out = String::new();
    head(&mut out, report, width, paint);
    // Of a run that did not start there is nothing to tell but why.
    if report.ending == Ending::NotStarted {
        foot(&mut out, report, width);
        return out;
    }
    objectives(&mut out, report, width, paint);
    phases(&mut out, report, width, paint);
    streams(&mut out, report, width, paint);
    quality(&mut out, report, width, paint);
    faults(&mut out, report, width, paint);
    findings(&mut out, report, width, paint);
    playbook(&mut out, report, width, paint);
    altered_requests(&mut out, report, width, paint);
    foot(&mut out, report, width);
    out
}

#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn verdict(self, verdict: VerdictWord, text: &str) -> String {
        let code = match verdict {
            VerdictWord::Met => "1;32",
            VerdictWord::Violated => "1;31",
            VerdictWord::Inconclusive => "1;33",
        };
        self.with(code, text)
    }

    fn strong(self, text: &str) -> String {
        self.with("1", text)
    }
}

fn mark(verdict: VerdictWord) -> &'static str {
    match verdict {
        VerdictWord::Met => "✓",
        VerdictWord::Violated => "✗",
        VerdictWord::Inconclusive => "?",
    }
}

fn head(out: &mut String, report: &Report, width: usize, paint: Paint) {
    let word = report.verdict.word().to_uppercase();
    let verdict = paint.verdict(report.verdict, &format!("{} {word}", mark(report.verdict)));
    let _ = writeln!(out, "{verdict}  {}", paint.strong(&short(&report.scenario.name, 64)));
    wrapped(out, &headline(report), width, "  ");
    match report.ending {
        Ending::Completed | Ending::NotStarted => {}
        Ending::Interrupted => {
            wrapped(out, "The run was interrupted; what follows is what was measured until then.", width, "  ")
        }
        Ending::SafetyStop => {
            wrapped(out, "The safety stop ended the run; what follows is what was measured until then.", width, "  ")
        }
    }
    if !report.clean {
        let _ = writeln!(
            out,
            "\n{}",
            paint.with("1;31", "NOT CLEAN: something was left broken. Put it back with: resbench revert")
        );
        report.residue.iter().take(ROWS).for_each(|r| wrapped(out, &short(r, 400), width, "  "));
    }
}

fn objectives(out: &mut String, report: &Report, width: usize, paint: Paint) {
    if report.objectives.is_empty() {
        return;
    }
    let head = ["", "objective", "where", "measured", "within this run", "promised", "n"];
    let mut table = Table::new(&head, "lllrrrr");
    for o in report.objectives.iter().take(ROWS) {
        let row = [
            mark(o.verdict).to_owned(),
            short(&o.metric, 28),
            short(&objective_place(o), 34),
            objective_value(o),
            within_run(o),
            objective_bound(o),
            count(o.n),
        ];
        table.row(row, note(o), Some(o.verdict));
    }
    out.push('\n');
    table.write(out, width, paint);
    more(out, report.objectives.len());
}

/// The reason, where there is something to explain.
fn note(o: &ObjectiveReport) -> String {
    match (o.verdict, o.close) {
        (VerdictWord::Met, false) => String::new(),
        (VerdictWord::Met, true) => "close: the bound lies inside the within-run interval".into(),
        _ => short(&o.reason, 300),
    }
}

fn phases(out: &mut String, report: &Report, width: usize, paint: Paint) {
    if report.phases.is_empty() {
        return;
    }
    let mut table = Table::new(&["phase", "offered", "good", "errors", "p50", "p99", "max", "lag p99"], "lrrrrrrr");
    for s in report.phases.iter().take(ROWS) {
        let [offered, good, errors, p50, p99, max, lag] = span_numbers(s);
        table.row([span_name(s), offered, good, errors, p50, p99, max, lag], String::new(), None);
    }
    out.push('\n');
    table.write(out, width, paint);
    more(out, report.phases.len());
}

/// Only where answers are streams of tokens.
fn streams(out: &mut String, report: &Report, width: usize, paint: Paint) {
    let with_streams = || report.phases.iter().filter(|s| s.ttft_us.is_some());
    if with_streams().count() == 0 {
        return;
    }
    let head = ["token streams", "tokens", "per second", "ttft p50", "p99", "max", "itl p50", "p99", "max"];
    let mut table = Table::new(&head, "lrrrrrrrr");
    for s in with_streams().take(ROWS) {
        let [tokens, rate, times @ ..] = stream_cells(s);
        let [ttft_p50, ttft_p99, ttft_max, itl_p50, itl_p99, itl_max] = times;
        let name = short(&s.name, 40);
        table.row([name, tokens, rate, ttft_p50, ttft_p99, ttft_max, itl_p50, itl_p99, itl_max], String::new(), None);
    }
    out.push('\n');
    table.write(out, width, paint);
    more(out, with_streams().count());
}

/// Only what answers spoke of: a column that is empty throughout is left out, and one that says the same everywhere is said once. How
/// many answers a share was taken over stands in the report.
fn quality(out: &mut String, report: &Report, width: usize, paint: Paint) {
    let said: Vec<_> = report.phases.iter().chain(&report.spans).filter(|s| said_something(s)).collect();
    let cells: Vec<[String; 6]> = said.iter().map(|s| quality_cells(s)).collect();
    let column = |place: usize| cells.iter().map(move |row| row[place].as_str());
    let spoken: Vec<usize> = (0..QUALITY_HEAD.len()).filter(|place| column(*place).any(|c| c != NOTHING)).collect();
    let (same, varied): (Vec<usize>, Vec<usize>) = spoken
        .into_iter()
        .partition(|place| column(*place).all(|c| plain(*place, c) == plain(*place, &cells[0][*place])));
    if !varied.is_empty() {
        out.push('\n');
        let mut head = [""; 7];
        head[0] = "answers";
        varied.iter().enumerate().for_each(|(i, place)| head[i + 1] = QUALITY_HEAD[*place]);
        let mut table = Table::new(&head, "lllllll");
        for (span, row) in said.iter().zip(&cells).take(ROWS) {
            let mut line: [String; 7] = Default::default();
            line[0] = short(&span.name, 40);
            varied.iter().enumerate().for_each(|(i, place)| line[i + 1] = short(&compact(*place, &row[*place]), 60));
            table.row(line, String::new(), None);
        }
        table.write(out, width, paint);
        more(out, said.len());
    }
    if !same.is_empty() {
        out.push_str(if varied.is_empty() { "\n" } else { "" });
        let words: Vec<String> = same
            .iter()
            .map(|place| format!("{} {}", value_of(QUALITY_HEAD[*place]), short(plain(*place, &cells[0][*place]), 100)))
            .collect();
        wrapped(out, &format!("answers, the same in every span: {}", words.join("; ")), width, "  ");
    }
}

/// A share without its interval, a head without what it says of intervals.
fn value_of(cell: &str) -> &str {
    cell.split(" (").next().unwrap_or(cell)
}

/// What a column says of a span, without intervals and counts. Names of versions and levels are the service's, and stand as they are.
fn plain(place: usize, cell: &str) -> &str {
    if (SHARES..SHARES + 2).contains(&place) { cell } else { value_of(cell) }
}

/// A share and its interval, and no more.
fn compact(place: usize, cell: &str) -> String {
    match cell.split_once(", n ").filter(|_| place < SHARES) {
        Some((share, _)) if cell.ends_with(')') => format!("{})", share.trim_end_matches(" %").replace(" % …", " …")),
        _ => cell.to_owned(),
    }
}

fn faults(out: &mut String, report: &Report, width: usize, paint: Paint) {
    if report.faults.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.strong("faults"));
    for f in report.faults.iter().take(ROWS) {
        let (sign, verdict) =
            if f.proof.proven { ("✓ proven", VerdictWord::Met) } else { ("? NOT PROVEN", VerdictWord::Inconclusive) };
        let on = if f.targets.is_empty() { String::new() } else { format!(" on {}", targets(&f.targets, 60)) };
        let _ = writeln!(
            out,
            "  {} ({}){on}  {}",
            paint.strong(&short(&f.name, 64)),
            short(&f.kind, 32),
            paint.verdict(verdict, sign)
        );
        wrapped(out, &when(f), width, "    ");
        wrapped(out, &impact(f), width, "    ");
        wrapped(
            out,
            &format!("proof ({}): {}", short(&f.proof.level, 20), short(&f.proof.evidence, 300)),
            width,
            "    ",
        );
        let alerts = story::alerts(report).into_iter().filter(|a| a.fault == f.name);
        alerts.take(3).for_each(|a| wrapped(out, &format!("alert: {}", short(&a.text, 300)), width, "    "));
        for cost in budget::costs(report, f) {
            wrapped(out, &format!("budget: {cost}"), width, "    ");
        }
        f.altered.iter().for_each(|a| wrapped(out, &altered::in_words(a), width, "    "));
        f.errors.iter().take(3).for_each(|e| wrapped(out, &format!("trouble: {}", short(e, 300)), width, "    "));
    }
    more(out, report.faults.len());
    for group in report.fault_groups.iter().take(ROWS) {
        wrapped(out, &repeats::sentence(group), width, "  ");
    }
    budget::remarks(report).iter().for_each(|w| wrapped(out, w, width, "  "));
}

/// Only where a payload fault altered some.
fn altered_requests(out: &mut String, report: &Report, width: usize, paint: Paint) {
    let rows = altered::rows(report);
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new(&altered::HEAD.map(|h| h.trim_start_matches('#')), "lrrrrrrrr");
    for row in rows.iter().take(ROWS) {
        let verdict = if row.good { VerdictWord::Met } else { VerdictWord::Violated };
        table.row(row.cells.clone(), String::new(), Some(verdict));
    }
    out.push('\n');
    table.write(out, width, paint);
    more(out, rows.len());
}

fn when(f: &FaultReport) -> String {
    match (f.applied_at_s, f.reverted_at_s) {
        (None, _) => format!("planned at {}, never applied", at_s(f.planned_at_s)),
        (Some(a), None) => format!("applied at {}", at_s(a)),
        (Some(a), Some(r)) => format!("applied at {}, reverted at {}", at_s(a), at_s(r)),
    }
}

fn impact(f: &FaultReport) -> String {
    let bad = short(&story::how_bad(f), 400);
    match f.impact.state.as_str() {
        // What is not known is said once.
        "none" | "unknown" => bad,
        _ => format!("{}; {bad}", short(&story::back_when(f), 300)),
    }
}

/// What it looks like, and what to try; the most serious first.
fn findings(out: &mut String, report: &Report, width: usize, paint: Paint) {
    if report.findings.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.strong("findings"));
    for f in report.findings.iter().take(SHOWN) {
        let code = match f.severity {
            Severity::Serious => "1;31",
            Severity::Warning => "1;33",
            Severity::Note => "2",
        };
        let _ = writeln!(out, "  {}  {}", short(&f.id, 40), paint.with(code, f.severity.word()));
        wrapped(out, &short(&f.sentence, 400), width, "    ");
        f.evidence.iter().take(4).for_each(|e| wrapped(out, &format!("· {}", short(e, 300)), width, "      "));
        wrapped(out, &format!("try: {}", short(&f.hint, 400)), width, "    ");
    }
    if report.findings.len() > SHOWN {
        let _ = writeln!(out, "  … and {} more, in run.json", report.findings.len() - SHOWN);
    }
}

/// The steps for each fault, and which of them were seen.
fn playbook(out: &mut String, report: &Report, width: usize, paint: Paint) {
    for p in report.playbook.iter().filter(|p| !p.steps.is_empty()).take(ROWS) {
        let _ = writeln!(out, "\n{}", paint.strong(&format!("playbook for {}", short(&p.fault, 64))));
        for s in p.steps.iter().take(ROWS) {
            let (sign, code) = match s.status {
                StepStatus::Seen => ("✓", "1;32"),
                StepStatus::NotSeen => ("✗", "1;33"),
                StepStatus::NotNeeded | StepStatus::NotObservable => ("·", "2"),
            };
            let by = if s.by == "automatic" { String::new() } else { format!("{}: ", short(&s.by, 20)) };
            let line = format!("{sign} {by}{}", short(&s.step, 300));
            wrapped(out, &line, width, "  ");
            let why = if s.detail.is_empty() { String::new() } else { format!(": {}", short(&s.detail, 200)) };
            let _ =
                writeln!(out, "      {}", paint.with(code, &short(&format!("{}{why}", outcome(s)), width.max(80) - 6)));
        }
    }
}

fn foot(out: &mut String, report: &Report, width: usize) {
    out.push('\n');
    for w in report.warnings.iter().take(ROWS) {
        wrapped(out, &format!("warning: {}", short(w, 400)), width, "");
    }
    for s in report.scrapes.iter().filter(|s| s.failed > 0 || !s.notes.is_empty()).take(ROWS) {
        let gap =
            s.gaps.first().map_or(String::new(), |g| format!(", first at {}: {}", at_s(g.at_s), short(&g.why, 200)));
        let lost = if s.failed > 0 {
            format!("; {} of {} readings failed{gap}", count(s.failed), count(s.read))
        } else {
            String::new()
        };
        let notes: String = s.notes.iter().map(|n| format!("; {}", short(n, 200))).collect();
        wrapped(out, &format!("scrape {} of {}{lost}{notes}", short(&s.name, 64), short(&s.source, 100)), width, "");
    }
    if !report.reproduce.is_empty() {
        let _ = writeln!(out, "reproduce: {}", clean(&report.reproduce));
    }
}

fn more(out: &mut String, rows: usize) {
    if rows > ROWS {
        let _ = writeln!(out, "  … and {} more, in the report", rows - ROWS);
    }
}

/// Words in lines of at most `width`, each after `indent`.
pub(super) fn wrapped(out: &mut String, text: &str, width: usize, indent: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > width {
            let _ = writeln!(out, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(out, "{indent}{line}");
    }
}

/// Columns as wide as their widest cell; a note stands under its row.
struct Table<const N: usize> {
    head: [String; N],
    align: [u8; N],
    rows: Vec<([String; N], String, Option<VerdictWord>)>,
}

impl<const N: usize> Table<N> {
    /// `align` has an `l` or `r` per column.
    fn new(head: &[&str; N], align: &str) -> Table<N> {
        let mut sides = [b'l'; N];
        sides.iter_mut().zip(align.bytes()).for_each(|(side, a)| *side = a);
        Table { head: head.map(str::to_owned), align: sides, rows: vec![] }
    }

    fn row(&mut self, cells: [String; N], note: String, verdict: Option<VerdictWord>) {
        self.rows.push((cells, note, verdict));
    }

    fn write(&self, out: &mut String, width: usize, paint: Paint) {
        let cells = || std::iter::once(&self.head).chain(self.rows.iter().map(|(cells, ..)| cells));
        let widths: Vec<usize> = (0..N).map(|i| cells().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
        let _ = writeln!(out, "{}", paint.with("2", &self.line(&self.head, &widths)));
        for (row, note, verdict) in &self.rows {
            let line = self.line(row, &widths);
            let _ = match verdict {
                Some(VerdictWord::Met) | None => writeln!(out, "{line}"),
                Some(verdict) => writeln!(out, "{}", paint.verdict(*verdict, &line)),
            };
            wrapped(out, note, width, "      ");
        }
    }

    fn line(&self, cells: &[String; N], widths: &[usize]) -> String {
        let mut line = String::from(" ");
        for ((cell, width), align) in cells.iter().zip(widths).zip(self.align) {
            let pad = " ".repeat(width - cell.chars().count());
            let _ = if align == b'r' { write!(line, " {pad}{cell} ") } else { write!(line, " {cell}{pad} ") };
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_cut_to_what_varies_and_names_stand_whole() {
        assert_eq!(plain(0, "95 % (90 % … 97 %, n 30)"), "95 %");
        assert_eq!(compact(0, "95.38 % (92.39 % … 97.23 %, n 303)"), "95.38 % (92.39 … 97.23)");
        for cell in ["v1 (canary) 40 %", "v1, n (x)", "–"] {
            assert_eq!((plain(4, cell), compact(4, cell).as_str()), (cell, cell));
        }
    }

    #[test]
    fn lines_wrap_between_words() {
        let mut out = String::new();
        wrapped(&mut out, "one two three", 9, "  ");
        assert_eq!(out, "  one two\n  three\n");
    }

    #[test]
    fn without_colour_there_is_no_escape() {
        let report = Report { verdict: VerdictWord::Violated, ..Report::default() };
        assert!(!summary(&report, 80, false).contains('\x1b'));
        assert!(summary(&report, 80, true).contains("\x1b[1;31m✗ VIOLATED\x1b[0m"));
    }
}
