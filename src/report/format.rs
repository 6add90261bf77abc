//! How numbers and foreign words are written for people: one place, so that every file says the same.
//!
//! Owns units, digits and the cleaning of strings that came from outside. Leaves alone the escaping of a
//! particular format (HTML, XML, Markdown), which stands beside the writer of that format.

use std::collections::BTreeMap;

use crate::report::model::{ObjectiveReport, SpanReport};

/// What stands for a latency that never ended.
pub const INFINITE: &str = "∞";
/// What stands for "no value".
pub const NOTHING: &str = "–";

/// A time in µs with three digits: `850 µs`, `12.3 ms`, `1.23 s`, `2 min 5 s`.
pub fn time_us(us: f64) -> String {
    match us {
        us if us < 0.0 => format!("−{}", time_us(-us)),
        us if us < 999.5 => format!("{} µs", digits(us)),
        us if us < 999_500.0 => format!("{} ms", digits(us / 1e3)),
        us if us < 119_500_000.0 => format!("{} s", digits(us / 1e6)),
        us => {
            let seconds = (us / 1e6).round() as u64;
            match seconds % 60 {
                0 => format!("{} min", seconds / 60),
                rest => format!("{} min {rest} s", seconds / 60),
            }
        }
    }
}

/// A time in seconds, as [`time_us`].
pub fn time_s(s: f64) -> String {
    if s == 0.0 { "0 s".into() } else { time_us(s * 1e6) }
}

/// A percentile over every planned arrival: infinite where it is null, nothing where there was no arrival.
pub fn latency_us(us: Option<f64>, n: u64) -> String {
    match us {
        Some(us) => time_us(us),
        None if n > 0 => INFINITE.into(),
        None => NOTHING.into(),
    }
}

/// A time that may be missing.
pub fn maybe_us(us: Option<f64>) -> String {
    us.map_or(NOTHING.into(), time_us)
}

/// A number of things that may not be known.
pub fn maybe_count(n: Option<f64>) -> String {
    n.map_or(NOTHING.into(), |n| count(n.max(0.0).round() as u64))
}

/// Seconds that may be missing.
pub fn maybe_s(s: Option<f64>) -> String {
    s.map_or(NOTHING.into(), time_s)
}

/// An instant of the run: `27.3 s`.
pub fn at_s(s: f64) -> String {
    // Adding zero turns −0.0 into 0.0.
    format!("{:.1} s", (s * 10.0).round() / 10.0 + 0.0)
}

/// An instant that may never have come.
pub fn maybe_at_s(s: Option<f64>) -> String {
    s.map_or(NOTHING.into(), at_s)
}

/// What a phase or span says of token streams: output tokens, their rate, p50, p99 and maximum of the time to first token
/// and of the time between tokens.
pub fn stream_cells(span: &SpanReport) -> [String; 8] {
    let (ttft, itl) = (span.ttft_us.clone().unwrap_or_default(), span.itl_us.clone().unwrap_or_default());
    let [t50, t99, t_max] = [ttft.p50, ttft.p99, ttft.max].map(|us| latency_us(us, ttft.n));
    let [i50, i99, i_max] = [itl.p50, itl.p99, itl.max].map(maybe_us);
    let tokens = span.output_tokens.map_or(NOTHING.into(), count);
    [tokens, span.output_tokens_per_s.map_or(NOTHING.into(), rate), t50, t99, t_max, i50, i99, i_max]
}

/// Answers of a phase or span said something.
pub fn said_something(span: &SpanReport) -> bool {
    let q = &span.quality;
    !q.shares.is_empty()
        || !q.versions.is_empty()
        || q.freshness_s.is_some()
        || q.accuracy.is_some()
        || q.fallback_rate.is_some()
}

/// Heads of [`quality_cells`].
pub const QUALITY_HEAD: [&str; 6] = [
    "accuracy (95 %)",
    "same as at baseline (95 %)",
    "from a fallback (95 %)",
    "levels",
    "model versions",
    "feature age p50, p99, max",
];

/// What the answers of a phase or span said: shares with their intervals and what they were taken from, fallback levels, versions, age.
pub fn quality_cells(span: &SpanReport) -> [String; 6] {
    use super::model::MetricValue;
    let q = &span.quality;
    let share = |name: &str, plain: Option<f64>| match q.shares.get(name) {
        Some(MetricValue { value: Some(value), n, low: Some(low), high: Some(high) }) => {
            format!("{} ({} … {}, n {})", percent(*value), percent(*low), percent(*high), count(*n))
        }
        _ => maybe_percent(plain),
    };
    let names = |all: &BTreeMap<String, MetricValue>, but: &str| -> String {
        let shown = all.iter().filter(|(name, _)| *name != but);
        let parts: Vec<String> =
            shown.map(|(name, v)| format!("{} {}", short(name, 40), maybe_percent(v.value))).collect();
        if parts.is_empty() { NOTHING.to_owned() } else { parts.join(", ") }
    };
    let age = q.freshness_s.as_ref().map_or(NOTHING.to_owned(), |f| {
        format!("{}, {}, {} (n {})", maybe_s(f.p50.value), maybe_s(f.p99.value), maybe_s(f.max), count(f.n))
    });
    [
        share("accuracy", q.accuracy),
        share("agreement", q.agreement),
        share("fallback_rate", q.fallback_rate),
        names(&q.fallback_levels, "0"),
        names(&q.version_shares, ""),
        age,
    ]
}

/// A share as a percentage that never rounds to 0 or 100: `99.94 %`, `0.0031 %`, `99.9999940 %`.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    let distance = value.abs().min((100.0 - value).abs());
    let decimals = match distance {
        // One in a trillion is more than any run sends: this is rounding, of floating point.
        d if d < 1e-10 => 0,
        d if d >= 10.0 => 1,
        d if d >= 0.1 => 2,
        d if d >= 0.01 => 3,
        d if d >= 0.001 => 4,
        // Two digits of the distance. The binary tail of 1e-5 must not make it three.
        d => (1.0 - (d * (1.0 + 1e-9)).log10().floor()) as usize,
    };
    // Adding zero turns −0.0 into 0.0.
    let value = if decimals == 0 { value.round() + 0.0 } else { value };
    format!("{value:.decimals$} %")
}

/// A bound or target as a percentage, without digits it does not need: `1 %`, `99.5 %`.
pub fn percent_bound(share: f64) -> String {
    // Six decimals hide the binary tail of 1 − 0.01.
    format!("{} %", trimmed(format!("{:.6}", share * 100.0)))
}

/// A share that may be missing.
pub fn maybe_percent(share: Option<f64>) -> String {
    share.map_or(NOTHING.into(), percent)
}

/// A whole number with groups of three: `31,482`.
pub fn count(n: u64) -> String {
    let plain = n.to_string();
    let mut text = String::with_capacity(plain.len() + plain.len() / 3);
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: `498/s`, `12.5/s`.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", number(per_second))
}

/// A bare number with at least three digits.
pub fn number(x: f64) -> String {
    if x < 0.0 {
        format!("−{}", number(-x))
    } else if x >= 999.5 {
        count(x.round() as u64)
    } else {
        trimmed(digits(x))
    }
}

/// Bytes in binary units: `48.0 MiB`.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 999.5 {
            return format!("{} {unit}", digits(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", digits(value))
}

/// Three significant digits, for 0 ≤ x < 1000; exact zero stays `0`.
fn digits(x: f64) -> String {
    match x {
        0.0 => "0".into(),
        x if x < 0.095 => format!("{x:.3}"),
        x if x < 9.995 => format!("{x:.2}"),
        x if x < 99.95 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A value of an objective in its unit. `bound` drops digits that a person did not write.
fn in_unit(value: f64, unit: &str, bound: bool) -> String {
    match (unit, bound) {
        ("s", false) => time_s(value),
        // Bounds are short: 100 ms, 1.5 s. Trimming the number alone keeps the unit.
        ("s", true) => match time_s(value).split_once(' ') {
            Some((n, unit)) => format!("{} {unit}", trimmed(n.to_owned())),
            None => time_s(value),
        },
        ("ratio", false) => percent(value),
        ("ratio", true) => percent_bound(value),
        ("/s", _) => rate(value),
        _ => number(value),
    }
}

/// A time that a person chose, in ms, without digits it does not need: `50 ms`.
pub fn chosen_ms(ms: f64) -> String {
    in_unit(ms / 1e3, "s", true)
}

/// What a fault hit, in at most about `limit` characters: process ids go first, then whole names, never half a name.
pub fn targets(all: &[String], limit: usize) -> String {
    let whole = clean(&all.join(", "));
    if whole.chars().count() <= limit {
        return whole;
    }
    let bare: Vec<&str> = all.iter().map(|t| t.split(" (").next().unwrap_or(t)).collect();
    // `replica 0, replica 1` says the word once.
    let word =
        bare[0].split_once(' ').map(|(word, _)| word).filter(|w| bare.iter().all(|b| b.starts_with(&format!("{w} "))));
    let names: Vec<&str> = bare.iter().map(|b| word.map_or(*b, |w| &b[w.len() + 1..])).collect();
    let lead = match word {
        Some(word) if names.len() > 1 => format!("{}s ", clean(word)),
        Some(word) => format!("{} ", clean(word)),
        None => String::new(),
    };
    let fits = |n: &usize| lead.len() + names[..*n].iter().map(|n| n.chars().count() + 2).sum::<usize>() <= limit;
    let shown = (1..=names.len()).rev().find(fits).unwrap_or(1);
    let more = if shown < names.len() { format!(" and {} more", names.len() - shown) } else { String::new() };
    format!("{lead}{}{more}", short(&names[..shown].join(", "), limit))
}

/// The measured side of an objective.
pub fn objective_value(o: &ObjectiveReport) -> String {
    let endless = ["latency", "ttft", "itl"].iter().any(|m| o.metric.starts_with(m)) && o.n > 0;
    match o.value {
        Some(_) if o.op == "holds" => NOTHING.into(),
        Some(value) => in_unit(value, &o.unit, false),
        None if endless => INFINITE.into(),
        None if o.metric == "recovery_time" && o.verdict == super::model::VerdictWord::Violated => "never".into(),
        None => NOTHING.into(),
    }
}

/// Where the value would lie had this run gone on like this, 95 %: a floor for what another run would show.
pub fn within_run(o: &ObjectiveReport) -> String {
    // One point is no interval: resampling failures that did not occur says nothing about those that may.
    let Some(bounds) = o.within_run.filter(|b| b.low != b.high) else { return NOTHING.into() };
    let end = |value| objective_value(&ObjectiveReport { value, n: o.n.max(1), ..o.clone() });
    format!("{} to {}", end(bounds.low), end(bounds.high))
}

/// The promised side: `≤ 100 ms`, `≥ 99 %`, `holds`.
pub fn objective_bound(o: &ObjectiveReport) -> String {
    match o.op.as_str() {
        "max" => format!("≤ {}", in_unit(o.bound, &o.unit, true)),
        "min" => format!("≥ {}", in_unit(o.bound, &o.unit, true)),
        _ => "holds".into(),
    }
}

/// A phase or span by its name, with what has to be known of it.
pub fn span_name(s: &SpanReport) -> String {
    let note = match (s.measured, s.closed_loop) {
        (false, _) => " (not measured)",
        (true, true) => " (closed loop)",
        _ => "",
    };
    format!("{}{note}", short(&s.name, 80))
}

/// Its numbers in the summaries: offered, good, errors, p50, p99, max, lag p99.
pub fn span_numbers(s: &SpanReport) -> [String; 7] {
    let latency = |us| latency_us(us, s.planned);
    let l = &s.latency_us;
    [
        rate(s.offered_rps),
        rate(s.throughput_rps),
        maybe_percent(s.error_rate),
        latency(l.p50),
        latency(l.p99),
        latency(l.max),
        maybe_us(s.lag_us.p99),
    ]
}

/// Where an objective was judged: the fault and the span, whichever there are.
pub fn objective_place(o: &ObjectiveReport) -> String {
    match (&o.fault, &o.span) {
        (Some(fault), Some(span)) => format!("{}, {}", clean(fault), clean(span)),
        (Some(one), None) | (None, Some(one)) => clean(one),
        (None, None) => "run".into(),
    }
}

/// Without what could drive a terminal, break a line or turn the direction of text; each such character
/// becomes a space (`\u{FFFD}` for the invisible ones, so that tampering shows).
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{FFFD}',
            '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}' => '\u{FFFD}',
            c => c,
        })
        .collect()
}

/// As [`clean`], and at most `limit` characters.
pub fn short(text: &str, limit: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= limit {
        return text;
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_fitting_unit() {
        let table = [
            (0.0, "0 µs"),
            (0.512, "0.51 µs"),
            (850.0, "850 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (12_345.0, "12.3 ms"),
            (999_600.0, "1.00 s"),
            (1_234_567.0, "1.23 s"),
            (125e6, "2 min 5 s"),
            (3.6e9, "60 min"),
            (-500.0, "−500 µs"),
        ];
        for (us, text) in table {
            assert_eq!(time_us(us), text, "{us}");
        }
    }

    #[test]
    fn a_share_never_rounds_to_all_or_nothing() {
        let table = [
            (0.0, "0 %"),
            (1.0, "100 %"),
            (-1e-20, "0 %"),
            (1.0 - f64::EPSILON, "100 %"),
            (0.9994, "99.940 %"),
            (0.999_994, "99.99940 %"),
            // Three of fifty million.
            (1.0 - 6e-8, "99.9999940 %"),
            (0.5, "50.0 %"),
            (0.012, "1.20 %"),
            (0.000_031, "0.0031 %"),
            (0.000_01, "0.0010 %"),
            (0.000_003_1, "0.00031 %"),
            (1e-7, "0.000010 %"),
            (2.0, "200.0 %"),
        ];
        for (share, text) in table {
            assert_eq!(percent(share), text, "{share}");
        }
        assert_eq!(percent_bound(1.0 - 0.01), "99 %");
        assert_eq!(percent_bound(0.005), "0.5 %");
    }

    #[test]
    fn names_of_targets_are_never_cut_in_two() {
        let all: Vec<String> = (0..12).map(|n| format!("replica {n} (pid {})", 41_000 + n)).collect();
        assert_eq!(targets(&all[..2], 60), "replica 0 (pid 41000), replica 1 (pid 41001)");
        assert_eq!(targets(&all[..3], 60), "replicas 0, 1, 2");
        assert_eq!(targets(&all, 30), "replicas 0, 1, 2, 3, 4, 5, 6 and 5 more");
        let mixed = ["replica 1 (pid 4100000)".to_owned(), "dependency registry".to_owned()];
        assert_eq!(targets(&mixed, 30), "replica 1 and 1 more");
        assert_eq!(targets(&[], 30), "");
    }

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(number(0.3), "0.3");
        assert_eq!(bytes(48 << 20), "48.0 MiB");
    }

    #[test]
    fn nothing_that_drives_a_terminal_survives() {
        let cleaned = clean("a\x1b[31mb\u{202E}c\nd\u{9b}e");
        assert_eq!(cleaned, "a\u{FFFD}[31mb\u{FFFD}c d\u{FFFD}e");
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
