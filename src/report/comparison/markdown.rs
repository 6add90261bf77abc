//! `summary.md` of a comparison: first line the answer, one table, the rest folded.

use std::fmt::Write as _;

use super::model::{Comparison, Kind, MetricReport};
use super::text::{change, headline, middle, sign, value, what};
use crate::report::format::short;
use crate::report::markdown::cell;

/// Rows of a table; more is in the result file.
const ROWS: usize = 60;

/// The file.
pub fn markdown(c: &Comparison) -> String {
    let mut out = String::new();
    let word = if c.kind == Kind::Calibration { "calibrated" } else { c.answer.words() };
    let _ = writeln!(out, "**{} {word}**: {} – {}\n", sign(c.answer), cell(&c.scenario.name), cell(&headline(c)));
    let _ = writeln!(out, "{}.\n", cell(&what(c)));
    table(&mut out, "decides", &c.metrics);
    if !c.advice.is_empty() {
        let _ = writeln!(out, "<details><summary>Advice: what else was looked at</summary>\n");
        table(&mut out, "advice", &c.advice);
        let _ = writeln!(out, "</details>\n");
    }
    for reason in c.reasons.iter().chain(&c.warnings).take(ROWS) {
        let _ = writeln!(out, "- {}", cell(reason));
    }
    if let Some(history) = &c.history {
        let _ = writeln!(out, "\nHistory: {} nights count.", history.nights);
        for ignored in history.ignored.iter().take(ROWS) {
            let _ = writeln!(out, "- ignored `{}`: {}", cell(&ignored.file), cell(&ignored.why));
        }
        for change in history.changes.iter().take(ROWS) {
            let (metric, after, at) = (cell(&change.metric), cell(&change.after), cell(&change.at));
            let _ = writeln!(out, "- {metric} changed between {after} and {at} (p = {:.2e})", change.p);
        }
    }
    let _ = writeln!(out, "\n`{}`", short(&c.reproduce, 300).replace('`', "'"));
    out
}

fn table(out: &mut String, title: &str, metrics: &[MetricReport]) {
    if metrics.is_empty() {
        return;
    }
    let _ = writeln!(out, "| {title} | reference | other | change | interval | |");
    let _ = writeln!(out, "|---|---:|---:|---:|---:|---|");
    for m in metrics.iter().take(ROWS) {
        let _ = writeln!(
            out,
            "| {} {} | {} | {} | {} | {} … {} | {} |",
            sign(m.answer),
            cell(&m.metric),
            value(middle(&m.a), &m.unit),
            value(middle(&m.b), &m.unit),
            change(m.estimate, m),
            change(m.low, m),
            change(m.high, m),
            cell(&m.why)
        );
    }
    out.push('\n');
}
