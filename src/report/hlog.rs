//! `latency.hlog`: HdrHistogram's interval log, one line per interval and tag, readable by the Java, Python and Rust tools.
//!
//! Values are nanoseconds, maxima are printed in milliseconds. Each interval has an untagged total line, then
//! `phase:NAME.ok` and `phase:NAME.failed` where there is something to say, and for token streams `phase:NAME.ttft` and
//! `phase:NAME.itl` (they are no latencies of whole requests, so that they are not in the total). Shed requests have no latency and
//! are not in it.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use jiff::Timestamp;

use crate::hist::{DIGITS, HIGHEST_NS, Hist, LOWEST_NS};

/// What stands in the head of the log.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Version of the tool.
    pub tool_version: &'a str,
    /// Name of the scenario.
    pub scenario: &'a str,
    /// Id of the run.
    pub run: &'a str,
    /// Wall-clock time at offset zero, RFC 3339.
    pub started_at: &'a str,
}

/// One interval of one phase.
#[derive(Clone, Debug)]
pub struct Interval<'a> {
    /// First instant, seconds since the start of the run.
    pub start_s: f64,
    /// Length, seconds.
    pub len_s: f64,
    /// Name of the phase; names hold no comma, space or newline.
    pub phase: &'a str,
    /// Latency of good answers.
    pub ok: Hist,
    /// Latency of failed requests.
    pub failed: Hist,
    /// Time to first token.
    pub ttft: Hist,
    /// From one token to the next.
    pub itl: Hist,
}

/// Writes a whole log.
///
/// # Errors
/// `InvalidInput` when `started_at` is no RFC 3339 time or a phase name cannot be a tag; else what `out` says.
pub fn write<'a>(
    out: &mut impl Write,
    head: &Head<'_>,
    intervals: impl Iterator<Item = Interval<'a>>,
) -> io::Result<()> {
    let started = started(head.started_at)?;
    // The crate writes neither version nor legend nor human time, and its own head would come after the legend's
    // place; so the head is ours, and the lines are its own.
    let seconds = started.as_millisecond() as f64 / 1e3;
    writeln!(out, "#{}", banner(head))?;
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(
        out,
        "#[StartTime: {seconds:.3} (seconds since epoch), {}]",
        started.strftime("%a %b %d %H:%M:%S UTC %Y")
    )?;
    writeln!(out, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
    writeln!(out, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new().with_max_value_divisor(1e6).begin_log_with(out, &mut serializer)?;
    let mut scratch = fixed();
    for interval in intervals {
        one(&mut log, &mut scratch, &interval)?;
    }
    Ok(())
}

fn one<W: Write>(
    log: &mut IntervalLogWriter<'_, '_, W, V2DeflateSerializer>,
    scratch: &mut Histogram<u64>,
    interval: &Interval<'_>,
) -> io::Result<()> {
    let length = |s: f64| Duration::try_from_secs_f64(s).map_err(|e| invalid(format!("interval at {s} s: {e}")));
    let (start, len) = (length(interval.start_s)?, length(interval.len_s)?);
    let names = ["ok", "failed", "ttft", "itl"].map(|what| format!("phase:{}.{what}", interval.phase));
    let total: [(Option<&String>, &[&Hist]); 5] = [
        (None, &[&interval.ok, &interval.failed]),
        (Some(&names[0]), &[&interval.ok]),
        (Some(&names[1]), &[&interval.failed]),
        (Some(&names[2]), &[&interval.ttft]),
        (Some(&names[3]), &[&interval.itl]),
    ];
    for (name, parts) in total {
        if name.is_some() && parts.iter().all(|h| h.count() == 0) {
            continue;
        }
        let tag = match name {
            None => None,
            Some(name) => Some(Tag::new(name).ok_or_else(|| invalid(format!("phase name `{name}` cannot be a tag")))?),
        };
        scratch.reset();
        parts.iter().try_for_each(|h| scratch.add(h.inner())).map_err(|e| invalid(e.to_string()))?;
        log.write_histogram(&*scratch, start, len, tag).map_err(|e| match e {
            IntervalLogWriterError::IoError(e) => e,
            IntervalLogWriterError::SerializeError(e) => invalid(format!("histogram: {e}")),
        })?;
    }
    Ok(())
}

/// The good answers of a phase, as (ns, count) in ascending order, read back from a log; empty where the phase has none.
///
/// # Errors
/// What the file system says, and `InvalidData` for a log that cannot be read.
pub fn good_answers(log: &[u8], phase: &str) -> io::Result<Vec<(f64, u64)>> {
    let wanted = format!("phase:{phase}.ok");
    merged(log, |tag, _, _| tag == wanted)
}

/// The good answers due in a stretch of time, seconds since the start of the run: those of the intervals of which more than half lie in
/// it, since a log knows no finer time.
///
/// # Errors
/// As [`good_answers`].
pub fn good_answers_between(log: &[u8], from_s: f64, to_s: f64) -> io::Result<Vec<(f64, u64)>> {
    merged(log, |tag, start, length| {
        let inside = (start + length).min(to_s) - start.max(from_s);
        tag.starts_with("phase:") && tag.ends_with(".ok") && inside > length / 2.0
    })
}

/// The sum of the lines that are wanted by tag, start and length.
fn merged(log: &[u8], wanted: impl Fn(&str, f64, f64) -> bool) -> io::Result<Vec<(f64, u64)>> {
    let broken = |words: String| io::Error::new(io::ErrorKind::InvalidData, words);
    let mut all = fixed();
    let mut reader = Deserializer::new();
    for entry in IntervalLogIterator::new(log) {
        let LogEntry::Interval(interval) = entry.map_err(|e| broken(format!("{e:?}")))? else { continue };
        let (start, length) = (interval.start_timestamp().as_secs_f64(), interval.duration().as_secs_f64());
        if interval.tag().is_none_or(|tag| !wanted(tag.as_str(), start, length)) {
            continue;
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(interval.encoded_histogram())
            .map_err(|e| broken(e.to_string()))?;
        let part: Histogram<u64> = reader.deserialize(&mut &bytes[..]).map_err(|e| broken(e.to_string()))?;
        all.add(&part).map_err(|e| broken(e.to_string()))?;
    }
    Ok(all.iter_recorded().map(|v| (v.value_iterated_to() as f64, v.count_at_value())).collect())
}

/// The bounds that every line of the log has, so that readers may add any two: 1 µs to 1 h, three digits.
fn fixed() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).expect("constant bounds are valid")
}

fn started(text: &str) -> io::Result<Timestamp> {
    text.parse().map_err(|e| invalid(format!("start of the run `{text}`: {e}")))
}

fn banner(head: &Head<'_>) -> String {
    let clean = super::format::clean;
    format!("[resbench {} scenario={} run={}]", clean(head.tool_version), clean(head.scenario), clean(head.run))
}

fn invalid(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Tag → everything under it; untagged lines have the key "".
    fn read(log: &[u8]) -> BTreeMap<String, Histogram<u64>> {
        let mut merged: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
        for entry in IntervalLogIterator::new(log) {
            let LogEntry::Interval(line) = entry.expect("a line of the format") else { continue };
            let tag = line.tag().map(|t| t.as_str().to_owned()).unwrap_or_default();
            let bytes = base64::engine::general_purpose::STANDARD.decode(line.encoded_histogram()).unwrap();
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            merged.entry(tag).or_insert_with(fixed).add(&histogram).unwrap();
        }
        merged
    }

    fn hist(values: impl IntoIterator<Item = u64>) -> Hist {
        let mut hist = Hist::new();
        values.into_iter().for_each(|v| hist.record(v));
        hist
    }

    fn log(phase: &str, parts: &[(Hist, Hist)]) -> io::Result<Vec<u8>> {
        let head =
            Head { tool_version: "0.1.0", scenario: "pod-kill", run: "a\nb", started_at: "2026-11-22T07:17:49.123Z" };
        let intervals = parts.iter().enumerate();
        let intervals = intervals.map(|(n, (ok, failed))| Interval {
            start_s: n as f64,
            len_s: 1.0,
            phase,
            ok: ok.clone(),
            failed: failed.clone(),
            ttft: failed.clone(),
            itl: Hist::new(),
        });
        let mut out = vec![];
        write(&mut out, &head, intervals).map(|()| out)
    }

    #[test]
    fn the_head_is_that_of_the_java_writer() {
        let text = String::from_utf8(log("fault", &[]).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "#[resbench 0.1.0 scenario=pod-kill run=a b]");
        assert_eq!(lines[1], "#[Histogram log format version 1.3]");
        assert_eq!(lines[2], "#[StartTime: 1795331869.123 (seconds since epoch), Sun Nov 22 07:17:49 UTC 2026]");
        assert_eq!(lines[3], "#[BaseTime: 1795331869.123 (seconds since epoch)]");
        assert!(lines[4].starts_with("\"StartTimestamp\","));
        assert_eq!(lines[5], "#[MaxValueDivisor: 1000000.000]");
    }

    #[test]
    fn what_is_written_reads_back_and_totals_are_sums() {
        let parts = [
            (hist((1..=500).map(|n| n * 20_000)), hist([])),
            (hist((1..=400).map(|n| n * 30_000)), hist((1..=90).map(|_| 1_000_000_000))),
        ];
        let bytes = log("fault", &parts).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains("\nTag=phase:fault.ok,1.000,1.000,12.") && text.contains(",HISTFAAA"), "{text}");
        assert_eq!(text.matches("phase:fault.failed").count(), 1, "an empty one is left out");
        let read = read(&bytes);
        let counts: Vec<(&str, u64)> = read.iter().map(|(tag, h)| (tag.as_str(), h.len())).collect();
        assert_eq!(counts, [("", 990), ("phase:fault.failed", 90), ("phase:fault.ok", 900), ("phase:fault.ttft", 90)]);
        let mut whole = parts[0].0.clone();
        whole.merge(&parts[1].0);
        assert_eq!(read["phase:fault.ok"].value_at_quantile(0.99), whole.inner().value_at_quantile(0.99));
    }

    #[test]
    fn good_answers_of_a_time_are_those_of_its_seconds() {
        let parts: Vec<(Hist, Hist)> = (0..5).map(|n| (hist([(n + 1) * 1_000_000; 10]), hist([9_000_000]))).collect();
        let bytes = log("fault", &parts).unwrap();
        let counts = |from, to| {
            let found = good_answers_between(&bytes, from, to).unwrap();
            found.iter().map(|(ns, n)| ((ns / 1e6).round() as u64, *n)).collect::<Vec<_>>()
        };
        assert_eq!(counts(1.004, 3.3), [(2, 10), (3, 10)]);
        assert_eq!(counts(1.6, 3.6), [(3, 10), (4, 10)]);
        assert_eq!(counts(7.0, 9.0), []);
        assert_eq!(good_answers(&bytes, "fault").unwrap().len(), 5);
    }

    #[test]
    fn names_that_would_break_a_line_are_refused() {
        let error = log("two words", &[(hist([1_000]), hist([]))]).unwrap_err();
        assert!(error.to_string().contains("cannot be a tag"), "{error}");
    }
}
