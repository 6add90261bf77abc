//! The Prometheus text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats), read as far as it can be: a line
//! that is none is counted and told, the others count. What OpenMetrics has more (exemplars, `# EOF`) is passed over.

use std::collections::HashMap;

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until its process begins anew: also the buckets, sums and counts of histograms and summaries.
    Counter,
    /// Goes up and down: also the quantiles of summaries.
    Gauge,
    /// Nothing says what it is; shown as it is.
    Untyped,
}

impl Kind {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Untyped => "untyped",
        }
    }
}

/// One line of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// `name`, or `name{a="b",c="d"}` with labels as they stand.
    pub(super) series: String,
    pub(super) kind: Kind,
    /// NaN and infinities among them.
    pub(super) value: f64,
}

/// What a page has.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) samples: Vec<Sample>,
    /// Lines that could not be read, and the first of them.
    pub(super) bad: usize,
    pub(super) first_bad: Option<String>,
}

/// Longest line that is read.
const LINE_MAX: usize = 16 << 10;

/// Reads the samples whose series `wanted` takes.
pub(super) fn parse(text: &str, wanted: impl Fn(&str, &str) -> bool) -> Page {
    let mut page = Page::default();
    let mut types: HashMap<&str, &str> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) {
                types.insert(name, kind);
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        match sample(line) {
            Some((name, labels, value)) => {
                let series = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") };
                if wanted(name, &series) {
                    page.samples.push(Sample { kind: kind(name, labels, &types), series, value });
                }
            }
            None => {
                page.bad += 1;
                page.first_bad.get_or_insert_with(|| {
                    format!("line {}: {}", number + 1, line.chars().take(80).collect::<String>())
                });
            }
        }
    }
    page
}

/// Name, what stands between the braces, and the value.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    if line.len() > LINE_MAX {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => {
            let close = closing(inside)?;
            (inside[..close].trim().trim_end_matches(','), &inside[close + 1..])
        }
        None => ("", rest),
    };
    let mut words = rest.split(" # ").next()?.split_whitespace();
    let value = number(words.next()?)?;
    // A time of its own may follow, and nothing else.
    let at = words.next();
    if at.is_some_and(|at| at.parse::<f64>().is_err()) || words.next().is_some() {
        return None;
    }
    Some((name, labels, value))
}

/// Where the labels end: a `}` that stands in no quotes.
fn closing(inside: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (i, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(i),
            _ => {}
        }
    }
    None
}

/// As Go writes it: `NaN`, `+Inf`, `-Inf`, `1e-05`.
fn number(text: &str) -> Option<f64> {
    // Rust would take "infinity" and "nan" in any case; so does Go.
    text.parse().ok()
}

fn kind(name: &str, labels: &str, types: &HashMap<&str, &str>) -> Kind {
    if let Some(kind) = types.get(name) {
        return match *kind {
            "counter" => Kind::Counter,
            // The quantiles of a summary carry its own name.
            "gauge" | "summary" => Kind::Gauge,
            _ => Kind::Untyped,
        };
    }
    for (end, of) in [
        ("_bucket", &["histogram"][..]),
        ("_sum", &["histogram", "summary"]),
        ("_count", &["histogram", "summary"]),
        // OpenMetrics names the family without its ending.
        ("_total", &["counter"]),
    ] {
        let family = name.strip_suffix(end).and_then(|family| types.get(family));
        if family.is_some_and(|kind| of.contains(kind)) && (end != "_bucket" || labels.contains("le=")) {
            return Kind::Counter;
        }
    }
    Kind::Untyped
}

/// Does the text follow the pattern, `*` standing for any text and `?` for one character?
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            // The last star takes one more.
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<(String, Kind, f64)> {
        parse(text, |_, _| true).samples.into_iter().map(|s| (s.series, s.kind, s.value)).collect()
    }

    #[test]
    fn the_example_of_the_format() {
        let text = r#"
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\"}"} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
# TYPE queue gauge
queue NaN
"#;
        let page = parse(text, |_, _| true);
        assert_eq!((page.bad, page.samples.len()), (0, 13), "{page:?}");
        let found = all(text);
        let of = |series: &str| {
            let (_, kind, value) = found.iter().find(|(s, ..)| s == series).unwrap_or_else(|| panic!("{series}"));
            (*kind, *value)
        };
        assert_eq!(of("http_requests_total{method=\"post\",code=\"200\"}"), (Kind::Counter, 1027.0));
        assert_eq!(of("something_weird{problem=\"division by zero\"}"), (Kind::Untyped, f64::INFINITY));
        assert_eq!(of("http_request_duration_seconds_bucket{le=\"+Inf\"}"), (Kind::Counter, 144_320.0));
        assert_eq!(of("http_request_duration_seconds_sum"), (Kind::Counter, 53_423.0));
        assert_eq!(of("rpc_duration_seconds{quantile=\"0.01\"}"), (Kind::Gauge, 3102.0));
        assert_eq!(of("rpc_duration_seconds_count"), (Kind::Counter, 2693.0));
        assert_eq!(of("queue").0, Kind::Gauge);
        assert!(of("queue").1.is_nan());
    }

    #[test]
    fn open_metrics_are_understood() {
        let text = "# TYPE jobs counter\njobs_total 17 # {trace=\"x\"} 1\njobs_created 1.6e9\n# EOF\n";
        assert_eq!(all(text)[0], ("jobs_total".to_owned(), Kind::Counter, 17.0));
    }

    #[test]
    fn broken_lines_are_counted_and_the_others_count() {
        let text = "<html>\ngood 1\nbad{a=\"b\" 2\n9bad 1\nbad\nbad x\nbad 1 2 3\ngood2{} 3\n";
        let page = parse(text, |_, _| true);
        assert_eq!((page.bad, page.samples.len()), (6, 2), "{page:?}");
        assert_eq!(page.first_bad.as_deref(), Some("line 1: <html>"));
        let long = format!("x{{a=\"{}\"}} 1", "y".repeat(LINE_MAX));
        assert_eq!(parse(&long, |_, _| true).bad, 1);
    }

    #[test]
    fn patterns() {
        for (pattern, text, is_it) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("x{code=\"5*\"}", "x{code=\"503\"}", true),
        ] {
            assert_eq!(matches(pattern, text), is_it, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(text in "\\PC{0,300}", lines in prop::collection::vec("[a-z{}\"\\\\= 0-9#]{0,40}", 0..20)) {
            parse(&text, |_, _| true);
            parse(&lines.join("\n"), |_, _| true);
            matches(&text, &lines.join(""));
        }
    }
}
