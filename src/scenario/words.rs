//! Words of the language that are more than a list: which one was meant, metrics, error numbers, sizes.
//!
//! Pure. Leaves alone where words stand (`file.rs`) and what they lead to (`compile/`).

use crate::plan::Metric;
use crate::units::Quantile;

/// The candidate that a misspelt word most likely meant; none when nothing is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(word);
    let sorted = |text: &str| {
        let mut parts: Vec<&str> = text.split('-').collect();
        parts.sort_unstable();
        parts.join("-")
    };
    let distance = |candidate: &str| {
        let candidate = plain(candidate);
        // `kill-pod` is `pod-kill` with its words turned round, however far apart the letters are.
        let turned = usize::from(sorted(&candidate) == sorted(&wanted) && candidate != wanted);
        if turned == 1 { 1 } else { strsim::damerau_levenshtein(&candidate, &wanted) }
    };
    let limit = (wanted.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|c| (distance(c), c))
        .filter(|(d, _)| *d <= limit && *d < wanted.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Lower case, with `-` for every separator that people mix up.
fn plain(word: &str) -> String {
    word.trim().to_lowercase().replace(['_', ' ', '.'], "-")
}

/// A help line: the word that was meant, if any is near, and all that there are.
pub(super) fn did_you_mean(word: &str, candidates: &[&str], all: &str) -> String {
    let list = listed(candidates);
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {all}: {list}"),
        None => format!("{all}: {list}"),
    }
}

/// `a, b, c`, or `none`.
pub(super) fn listed(words: &[&str]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// The metrics, as a person lists them. `pNN` stands for every percentile from p50 to p99.99.
pub(super) const METRICS: [&str; 29] = [
    "latency.p50",
    "latency.p90",
    "latency.p95",
    "latency.p99",
    "latency.p99.9",
    "latency.max",
    "latency.ok.p50",
    "latency.ok.p95",
    "latency.ok.p99",
    "ttft.p50",
    "ttft.p99",
    "itl.p50",
    "itl.p99",
    "error_rate",
    "availability",
    "throughput",
    "good_ratio",
    "fallback_rate",
    "accuracy",
    "agreement",
    "freshness",
    "freshness.p50",
    "freshness.p99",
    "freshness.max",
    "shed_rate",
    "recovery_time",
    "detection_time",
    "longest_outage",
    "lost_requests",
];

/// Reads the word of a metric; none when there is no such metric.
pub(super) fn metric(word: &str) -> Option<Metric> {
    Some(match word {
        "latency.max" => Metric::LatencyMax,
        "error_rate" => Metric::ErrorRate,
        "availability" => Metric::Availability,
        "throughput" => Metric::Throughput,
        "good_ratio" => Metric::GoodRatio,
        "fallback_rate" => Metric::FallbackRate,
        "accuracy" => Metric::Accuracy,
        "agreement" => Metric::Agreement,
        "freshness" => Metric::Freshness(None),
        "freshness.max" => Metric::FreshnessMax,
        "shed_rate" => Metric::ShedRate,
        "recovery_time" => Metric::RecoveryTime,
        "detection_time" => Metric::DetectionTime,
        "longest_outage" => Metric::LongestOutage,
        "lost_requests" => Metric::LostRequests,
        _ => {
            let quantile = |family: &str| -> Option<Quantile> { word.strip_prefix(family)?.parse().ok() };
            let ok = quantile("latency.ok.").map(Metric::LatencyOk);
            let latency = || quantile("latency.").map(Metric::Latency);
            let stream = || quantile("ttft.").map(Metric::Ttft).or_else(|| quantile("itl.").map(Metric::Itl));
            let freshness = || quantile("freshness.").map(|q| Metric::Freshness(Some(q)));
            ok.or_else(latency).or_else(stream).or_else(freshness)?
        }
    })
}

/// The errors that a volume can answer with, by name. Numbers are those of Linux.
pub(super) const ERRNOS: [(&str, i32); 12] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("EAGAIN", 11),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("EMFILE", 24),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("ENAMETOOLONG", 36),
    ("ETIMEDOUT", 110),
    ("ESTALE", 116),
];

/// Bytes, from `"65536"`, `"64KiB"`, `"1MiB"`, `"1.5 MB"`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let scale: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    // The cast saturates, so a number too large for 64 bits meets the limit that is checked next.
    Some((number * scale as f64).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant() {
        for (typed, meant) in [
            ("pod-kil", Some("pod-kill")),
            ("kill-pod", Some("pod-kill")),
            ("PodKill", Some("pod-kill")),
            ("network_delay", Some("network-delay")),
            ("teapot", None),
        ] {
            assert_eq!(nearest(typed, ["pod-kill", "network-delay"]), meant, "{typed}");
        }
    }

    #[test]
    fn every_listed_metric_is_one_and_keeps_its_word() {
        for word in METRICS {
            assert_eq!(metric(word).unwrap_or_else(|| panic!("{word}")).word(), word);
        }
        for not_one in ["latency", "latency.p100", "latency.ok.max", "ttft.max", "itl.99", "latency.", ""] {
            assert_eq!(metric(not_one), None, "{not_one}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in
            [("1MiB", Some(1 << 20)), ("2 kB", Some(2000)), ("17", Some(17)), ("x", None), ("1Mb", None)]
        {
            assert_eq!(bytes(text), size, "{text}");
        }
    }
}
