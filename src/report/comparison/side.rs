//! Two saved runs side by side, for the terminal and for Markdown.

use std::fmt::Write as _;

use serde::Serialize;

use super::model::Value;
use super::text::value;
use crate::report::format::{NOTHING, short};
use crate::report::markdown::cell;

/// Two runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Side {
    /// `resbench.side/1`.
    pub schema: String,
    /// Id of the first run.
    pub a: String,
    /// Id of the second.
    pub b: String,
    /// What both have.
    pub rows: Vec<SideRow>,
    /// What this cannot say.
    pub mind: Vec<String>,
}

/// One metric of both.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SideRow {
    /// `latency.p99@baseline`.
    pub metric: String,
    /// `s`, `ratio` or `/s`.
    pub unit: String,
    /// Value of the first; null where it is infinite or missing.
    pub a: Option<f64>,
    /// Value of the second.
    pub b: Option<f64>,
    /// Within the first run, 95 %.
    pub a_interval: Option<(f64, f64)>,
    /// Within the second.
    pub b_interval: Option<(f64, f64)>,
    /// Of shares: Newcombe's interval of second − first.
    pub difference: Option<(f64, f64)>,
    /// Which of the two are infinite.
    pub infinite: [bool; 2],
}

impl SideRow {
    fn cells(&self) -> [String; 4] {
        let shown = |x: Option<f64>, infinite| value(Value { value: x, infinite }, &self.unit);
        let change = match (self.a, self.b) {
            (Some(a), Some(b)) if self.unit != "ratio" && a > 0.0 => {
                format!("{}{:.1} %", if b < a { "−" } else { "+" }, (b / a - 1.0).abs() * 100.0)
            }
            (Some(a), Some(b)) if self.unit == "ratio" => {
                format!("{}{:.2} points", if b < a { "−" } else { "+" }, (b - a).abs() * 100.0)
            }
            _ => NOTHING.to_owned(),
        };
        let finite = |x: f64| value(Value::of(x), &self.unit);
        let note = match (self.difference, self.a_interval.zip(self.b_interval)) {
            (Some((low, high)), _) => format!("difference {:.2} to {:.2} points", low * 100.0, high * 100.0),
            (None, Some((a, b))) => {
                format!("within the runs {} to {} / {} to {}", finite(a.0), finite(a.1), finite(b.0), finite(b.1))
            }
            _ => String::new(),
        };
        [shown(self.a, self.infinite[0]), shown(self.b, self.infinite[1]), change, note]
    }
}

/// For the terminal.
pub fn text(side: &Side, width: usize) -> String {
    let mut out = format!("advice: {} and {}\n\n", short(&side.a, 60), short(&side.b, 60));
    for row in &side.rows {
        let [a, b, change, note] = row.cells();
        let _ = writeln!(out, "  {:<34} {a:>12} → {b:>12}  {change:>14}  {note}", short(&row.metric, 34));
    }
    let _ = writeln!(out, "\nmind");
    for line in &side.mind {
        let _ = writeln!(out, "  {}", short(line, 3 * width.clamp(60, 200)));
    }
    out
}

/// For a pull request.
pub fn markdown(side: &Side) -> String {
    let mut out = String::from("| metric | first | second | change | |\n|---|---:|---:|---:|---|\n");
    for row in &side.rows {
        let [a, b, change, note] = row.cells();
        let _ = writeln!(out, "| {} | {a} | {b} | {change} | {note} |", cell(&row.metric));
    }
    out.push('\n');
    side.mind.iter().for_each(|line| {
        let _ = writeln!(out, "- {}", cell(line));
    });
    out
}
