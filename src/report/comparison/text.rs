//! A comparison for the terminal: the answer, a line for each metric, what was left out.

use std::fmt::Write as _;

use super::model::{AnswerWord, ChangeReport, Comparison, End, HistoryReport, Kind, MetricReport, Value};
use crate::report::format::{INFINITE, NOTHING, number, percent, rate, short, time_s};
use crate::report::text::wrapped;

/// The sign of an answer.
pub(super) fn sign(answer: AnswerWord) -> &'static str {
    match answer {
        AnswerWord::Regressed => "✗",
        AnswerWord::Improved => "▲",
        AnswerWord::NoRegression => "✓",
        AnswerWord::Inconclusive => "?",
    }
}

/// A value in its unit.
pub fn value(v: Value, unit: &str) -> String {
    match (v.infinite, v.value, unit) {
        (true, ..) => INFINITE.to_owned(),
        (_, None, _) => NOTHING.to_owned(),
        (_, Some(x), "s") => time_s(x),
        (_, Some(x), "ratio") => percent(x),
        (_, Some(x), "/s") => rate(x),
        (_, Some(x), _) => number(x),
    }
}

/// A change as a share of the reference, or in its unit.
pub(super) fn change(end: Option<End>, m: &MetricReport) -> String {
    let Some(end) = end else { return NOTHING.to_owned() };
    let x = end.get();
    let sign = if x < 0.0 { "−" } else { "+" };
    match (x.is_infinite(), m.relative, m.unit.as_str()) {
        (true, ..) => format!("{sign}{INFINITE}"),
        (_, true, _) => format!("{sign}{:.1} %", x.abs() * 100.0),
        (_, _, "s") => format!("{sign}{}", time_s(x.abs())),
        (_, _, "ratio") => format!("{sign}{:.2} points", x.abs() * 100.0),
        (_, _, "/s") => format!("{sign}{}", rate(x.abs())),
        _ => format!("{sign}{}", number(x.abs())),
    }
}

/// The change with its interval and level; pairs that bound nothing have none.
pub(super) fn interval(m: &MetricReport) -> String {
    let estimate = change(m.estimate, m);
    match m.level >= 1.0 {
        true => format!("{estimate} (no interval yet)"),
        false => {
            format!("{estimate} [{}, {}] at {:.0} %", change(m.low, m), change(m.high, m), (m.level * 100.0).round())
        }
    }
}

/// The middle of an arm's values.
pub(super) fn middle(values: &[Value]) -> Value {
    let mut known: Vec<f64> = values.iter().map(|v| v.get()).filter(|v| !v.is_nan()).collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len().saturating_sub(1) / 2).map_or(Value::default(), |v| Value::of(*v))
}

/// The means before and after a change point, in the unit of its metric.
pub(super) fn means(history: &HistoryReport, change: &ChangeReport) -> [String; 2] {
    let unit = history.series.iter().find(|s| s.metric == change.metric).map_or("", |s| s.unit.as_str());
    [change.before_mean, change.after_mean].map(|mean| value(Value::of(mean), unit))
}

/// What was done, in a line.
pub(super) fn what(c: &Comparison) -> String {
    let usable = c.pairs.iter().filter(|p| p.usable).count();
    let arm = |i: usize| c.arms.get(i).map_or("", |a| a.name.as_str());
    match c.kind {
        Kind::Pairs => format!("{} against {}, {usable} pairs of runs, interleaved", arm(1), arm(0)),
        Kind::Calibration => format!("{} against itself, {usable} pairs of runs: the noise of this machine", arm(0)),
        Kind::History => {
            let nights = c.history.as_ref().map_or(0, |h| h.nights);
            let runs = c.metrics.first().map_or(0, |m| m.b.len());
            let nights = counted(nights, "earlier night");
            format!("{} of tonight against {nights}: weak evidence", counted(runs, "run"))
        }
    }
}

/// `1 night`, `2 nights`.
pub(super) fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Why the answer is worse than what every metric says by itself: then it stands first among the reasons.
pub(super) fn beside_metrics(c: &Comparison) -> Option<&str> {
    let no_metric_says_so = c.metrics.iter().all(|m| m.answer != c.answer);
    let bad = matches!(c.answer, AnswerWord::Regressed | AnswerWord::Inconclusive);
    c.reasons.first().map(String::as_str).filter(|_| bad && no_metric_says_so && c.kind != Kind::Calibration)
}

/// The answer in a sentence.
pub fn headline(c: &Comparison) -> String {
    let of = |answer| c.metrics.iter().filter(|m| m.answer == answer).map(|m| m.metric.clone()).collect::<Vec<_>>();
    let (worse, open) = (of(AnswerWord::Regressed), of(AnswerWord::Inconclusive));
    if let Some(why) = c.reasons.first().filter(|_| !c.clean || c.metrics.iter().all(|m| m.n == 0)) {
        return short(why, 400);
    }
    if c.kind == Kind::Calibration {
        return "How far one variant strays from itself: a smaller `min_effect` cannot be told from noise here."
            .to_owned();
    }
    if let Some(why) = beside_metrics(c) {
        return format!("{}.", short(why, 400));
    }
    match c.answer {
        AnswerWord::Regressed => format!("Worse by more than what matters: {}.", worse.join(", ")),
        AnswerWord::Improved => "Nothing is worse, and something is better by more than what matters.".to_owned(),
        AnswerWord::NoRegression => "Not worse by more than what matters, in every gating metric.".to_owned(),
        AnswerWord::Inconclusive => format!("It cannot be said of {}.", open.join(", ")),
    }
}

/// What a person reads after a comparison.
pub fn summary(c: &Comparison, width: usize, color: bool) -> String {
    let width = width.clamp(60, 200);
    let paint = |text: &str| {
        let code = match c.answer {
            AnswerWord::Regressed => "1;31",
            AnswerWord::Inconclusive => "1;33",
            _ => "1;32",
        };
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let mut out = String::new();
    let word = if c.kind == Kind::Calibration { "CALIBRATED".to_owned() } else { c.answer.words().to_uppercase() };
    let _ = writeln!(out, "{}  {}", paint(&format!("{} {word}", sign(c.answer))), short(&c.scenario.name, 80));
    let _ = writeln!(out, "  {}", short(&headline(c), 2 * width));
    let _ = writeln!(out, "  {}\n", short(&what(c), width));
    for m in &c.metrics {
        let _ = writeln!(out, "{} {}", sign(m.answer), short(&m.metric, width - 4));
        let (a, b) = (value(middle(&m.a), &m.unit), value(middle(&m.b), &m.unit));
        let interval = interval(m);
        let matters = m
            .min_effect
            .map_or(String::new(), |e| format!(", {} matters", change(Some(End::of(e)), m).trim_start_matches('+')));
        let _ = writeln!(out, "    {a} → {b}: {interval}{matters}");
        let noise = m.noise_floor.map(|n| change(Some(End::of(n)), m).trim_start_matches('+').to_owned());
        if let Some(noise) = noise {
            let _ = writeln!(out, "    noise of this machine: {noise}");
        }
        if c.kind != Kind::Calibration {
            let _ = writeln!(out, "    {}: {}", m.answer.words(), short(&m.why, width - 6));
        }
    }
    let changed: Vec<&MetricReport> = c.advice.iter().filter(|m| m.answer != AnswerWord::Inconclusive).collect();
    if !changed.is_empty() {
        let _ = writeln!(out, "\nadvice, decides nothing");
        changed.iter().take(10).for_each(|m| {
            let _ = writeln!(out, "  {} ({})", short(&m.sentence, width), short(&m.why, 60));
        });
    }
    let unusable: Vec<String> = c
        .pairs
        .iter()
        .flat_map(|p| p.runs.iter().filter(|r| !r.why.is_empty()).map(move |r| (p.number, r)))
        .map(|(number, r)| format!("pair {number}, {}: {}", r.arm, r.why))
        .collect();
    lines(&mut out, "not used", &unusable, width);
    if let Some(history) = &c.history {
        let _ = writeln!(out, "\nhistory: {} counted", counted(history.nights, "night"));
        history.ignored.iter().take(10).for_each(|i| {
            let _ = writeln!(out, "  ignored {}: {}", short(&i.file, 60), short(&i.why, width));
        });
        history.changes.iter().take(10).for_each(|change| {
            let [before, after] = means(history, change);
            let _ = writeln!(
                out,
                "  {} changed between {} and {}: mean {before} → {after} (p = {:.2e})",
                change.metric,
                short(&change.after, 30),
                short(&change.at, 30),
                change.p
            );
        });
    }
    lines(&mut out, "why", &c.reasons, width);
    lines(&mut out, "mind", &c.warnings, width);
    out.push('\n');
    out
}

fn lines(out: &mut String, title: &str, all: &[String], width: usize) {
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    all.iter().take(10).for_each(|line| wrapped(out, &short(line, 600), width, "  "));
    if all.len() > 10 {
        let _ = writeln!(out, "  and {} more", all.len() - 10);
    }
}

/// Annotations of GitHub Actions, one line for each metric that is not well, and one for an answer that no metric gives.
pub fn github(c: &Comparison) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = |m: &MetricReport| m.metric.replace('%', "%25").replace(':', "%3A").replace(',', "%2C");
    let level = |answer| match answer {
        AnswerWord::Regressed => Some("error"),
        AnswerWord::Inconclusive => Some("warning"),
        AnswerWord::Improved | AnswerWord::NoRegression => None,
    };
    let mut out = String::new();
    for m in &c.metrics {
        let Some(level) = level(m.answer) else { continue };
        let _ = writeln!(out, "::{level} title=resbench {}::{}", title(m), escape(&short(&m.sentence, 600)));
    }
    if let (Some(why), Some(level)) = (beside_metrics(c), level(c.answer)) {
        let _ = writeln!(out, "::{level} title=resbench comparison::{}", escape(&short(why, 600)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::model::Series;
    use super::*;

    /// Every metric is well, and the whole is not.
    fn stopped(answer: AnswerWord) -> Comparison {
        let well = MetricReport {
            metric: "latency.p99@all".into(),
            answer: AnswerWord::NoRegression,
            n: 7,
            ..MetricReport::default()
        };
        let reasons = vec!["the safety stop ended 4 of 4 runs of b".into()];
        Comparison { answer, clean: true, metrics: vec![well], reasons, ..Comparison::default() }
    }

    #[test]
    fn an_answer_that_no_metric_gives_has_its_reason_as_headline() {
        for (answer, level) in [(AnswerWord::Regressed, "error"), (AnswerWord::Inconclusive, "warning")] {
            let found = stopped(answer);
            assert_eq!(headline(&found), "the safety stop ended 4 of 4 runs of b.");
            let line = format!("::{level} title=resbench comparison::the safety stop ended 4 of 4 runs of b\n");
            assert_eq!(github(&found), line);
            assert!(summary(&found, 100, false).contains("the safety stop"));
        }
        let mut found = stopped(AnswerWord::NoRegression);
        assert!(headline(&found).starts_with("Not worse"));
        assert_eq!(github(&found), "");
        // Where a metric says so too, it is named.
        (found.answer, found.metrics[0].answer) = (AnswerWord::Regressed, AnswerWord::Regressed);
        assert_eq!(headline(&found), "Worse by more than what matters: latency.p99@all.");
        assert!(!github(&found).contains("resbench comparison"));
    }

    #[test]
    fn means_of_change_points_are_in_their_unit() {
        let series = |metric: &str, unit: &str| Series { metric: metric.into(), unit: unit.into(), nights: vec![] };
        let change = |metric: &str, before_mean, after_mean| ChangeReport {
            metric: metric.into(),
            before_mean,
            after_mean,
            ..ChangeReport::default()
        };
        let history = HistoryReport {
            changes: vec![change("latency.p99@load", 4e-4, 5.2e-4), change("error_rate@load", 0.0004, 0.002)],
            series: vec![series("error_rate@load", "ratio"), series("latency.p99@load", "s")],
            ..HistoryReport::default()
        };
        let told = summary(&Comparison { history: Some(history), ..Comparison::default() }, 120, false);
        assert!(told.contains("mean 400 µs → 520 µs") && told.contains("mean 0.040 % → 0.20 %"), "{told}");
    }
}
