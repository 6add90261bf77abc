//! The renderers, seen from outside: same report, same bytes; nothing foreign becomes markup; sizes stay in bounds.
//!
//! Leaves the files of the sample run in the build directory (`tmp/report-sample`), where the browser test of
//! `tests/python/browser_report.py` opens them.

mod comparisons;
mod costs;
mod sample;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use resbench::hist::Hist;
use resbench::report::{self, hlog, model::*, store, text};
use serde_json::Value;

fn files(report: &Report) -> BTreeMap<String, Vec<u8>> {
    report::render(report).into_iter().collect()
}

fn text_of(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn sample_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-sample")
}

#[test]
fn a_saved_report_reads_back_and_renders_to_the_same_bytes() {
    let report = sample::pod_kill();
    let dir = sample_dir();
    store::save(&dir, &report).unwrap();
    let loaded = store::load(&dir).unwrap();
    assert!(loaded == report, "the model survives run.json");
    let again = files(&loaded);
    for (name, bytes) in &again {
        assert!(std::fs::read(dir.join(name)).unwrap() == *bytes, "{name} differs");
    }
    let charts = ["timeline", "compliance", "nines", "heatmap"];
    for name in charts.iter().flat_map(|c| [format!("charts/{c}.svg"), format!("charts/{c}.png")]) {
        assert!(again.contains_key(&name), "{name} is missing in {:?}", again.keys());
    }
    assert_eq!(again.len(), 6 + 2 * charts.len());
}

#[test]
fn the_words_of_the_sample() {
    let report = sample::pod_kill();
    let files = files(&report);
    insta::assert_snapshot!("text", text::summary(&report, 100, false));
    insta::assert_snapshot!("markdown", report::markdown(&report));
    insta::assert_snapshot!("junit", text_of(&files, "junit.xml"));
    insta::assert_snapshot!("phases", text_of(&files, "phases.csv"));
}

/// What faults cost, how they went over their times, and the interval of a value stand in every summary.
#[test]
fn prices_repeats_and_intervals_are_told_everywhere() {
    let report = sample::troubled();
    let files = files(&report);
    let (text, markdown, html) =
        (text::summary(&report, 200, false), report::markdown(&report), text_of(&files, "report.html"));
    for told in [&text, &markdown, &html] {
        let flat = told.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "of a 30-day budget (99 % answered well)",
            "median 4.20 s, worst ≥ 12.0 s (1 cut off)",
            "such faults would use it up",
            "page after 52 s",
            "within this run",
        ] {
            assert!(flat.contains(words), "{words} is missing in {flat}");
        }
    }
    for table in ["id=\"repeats\"", "id=\"budget\""] {
        assert!(html.contains(table), "{table}");
    }
}

#[test]
fn the_shipped_schema_accepts_the_sample_and_refuses_another() {
    let schema = report::schema();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/run.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&shipped, &text).unwrap();
    }
    let same = std::fs::read_to_string(&shipped).unwrap() == text;
    assert!(same, "the model and run.schema.json differ: if that is meant, run this test with UPDATE_SCHEMA=1");
    let valid = jsonschema::validator_for(&schema).unwrap();
    let mut json = serde_json::to_value(sample::pod_kill()).unwrap();
    assert!(valid.is_valid(&json), "{:?}", valid.iter_errors(&json).map(|e| e.to_string()).collect::<Vec<_>>());
    json["an_unknown_key"] = true.into();
    assert!(valid.is_valid(&json), "unknown keys may appear");
    json["verdict"] = "fine".into();
    assert!(!valid.is_valid(&json));
    json["verdict"] = "met".into();
    json["phases"][0].as_object_mut().unwrap().remove("planned");
    assert!(!valid.is_valid(&json));
}

/// Puts something hostile into every string of the model, keys of maps included.
fn poison(value: &mut Value, evil: &str) {
    match value {
        Value::String(text) => text.push_str(evil),
        Value::Array(items) => items.iter_mut().for_each(|i| poison(i, evil)),
        Value::Object(map) => map.values_mut().for_each(|v| poison(v, evil)),
        _ => {}
    }
}

/// The sample with every string hostile. Words that are enums or compared by value keep their beginning.
fn nasty(evil: &str) -> Report {
    let clean = sample::pod_kill();
    let mut json = serde_json::to_value(&clean).unwrap();
    poison(&mut json, evil);
    json["verdict"] = "violated".into();
    json["ending"] = "completed".into();
    for (n, o) in clean.objectives.iter().enumerate() {
        json["objectives"][n]["verdict"] = o.verdict.word().into();
    }
    for (n, f) in clean.findings.iter().enumerate() {
        json["findings"][n]["severity"] = f.severity.word().into();
    }
    for (n, s) in clean.playbook[0].steps.iter().enumerate() {
        json["playbook"][0]["steps"][n]["status"] = serde_json::to_value(s.status).unwrap();
    }
    let mut report: Report = serde_json::from_value(json).unwrap();
    report.started_at = clean.started_at;
    report.clean = false;
    report.residue = vec![evil.into()];
    let FaultGroup { name, metrics, .. } = costs::group();
    report.fault_groups = vec![FaultGroup { name: name + evil, metrics, kind: evil.into(), times: 5 }];
    report.phases[1].errors.insert(evil.into(), 3);
    report.phases[1].quality.versions.insert(evil.into(), 3);
    report.windows[1].due_errors.insert(evil.into(), 3);
    report.faults[0].errors.push(evil.into());
    report.generator.kept_up = false;
    report
}

const EVIL: &str = "</script></svg><script>alert(1)</script><img src=x onerror=alert(2)>]]>&\"'`|\n=cmd|' /C calc'!A0\r\n\
                    \x1b[2J\x1b]0;title\x07\u{9b}31m\u{202E}\u{0}\u{FFFE}[l](javascript:x)@team";

#[test]
fn nothing_foreign_becomes_markup() {
    let report = nasty(EVIL);
    let files = files(&report);
    for (name, bytes) in files.iter().filter(|(n, _)| !n.ends_with("png") && !n.ends_with("csv") && *n != "run.json") {
        let text = std::str::from_utf8(bytes).unwrap();
        for dangerous in ["<script>alert", "<img", "</svg><script", "]]>"] {
            assert!(!text.contains(dangerous), "{name} holds {dangerous}");
        }
        let control = text.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202A}'..='\u{202E}').contains(c));
        assert_eq!(control, None, "{name}");
    }
    let html = text_of(&files, "report.html");
    assert_eq!(html.matches("<script").count(), 2, "our own and its data");
    assert_eq!(html.matches("</script>").count(), 2);
    for attack in ["onerror=alert(2)>", "<a href=\"javascript"] {
        assert!(!html.contains(attack), "{attack}");
    }
}

#[test]
fn a_terminal_sees_no_control_characters_but_our_colours() {
    let plain = text::summary(&nasty(EVIL), 90, false);
    assert!(plain.chars().all(|c| !c.is_control() || c == '\n'), "{plain:?}");
    let colour = text::summary(&nasty(EVIL), 90, true);
    let codes: Vec<&str> = colour.split('\x1b').skip(1).map(|rest| &rest[..rest.find('m').unwrap()]).collect();
    assert!(codes.iter().all(|c| ["[0", "[1", "[2", "[1;31", "[1;32", "[1;33"].contains(c)), "{codes:?}");
}

#[test]
fn xml_is_well_formed_whatever_it_holds() {
    for (name, bytes) in files(&nasty(EVIL)).iter().filter(|(n, _)| n.ends_with(".svg") || n.ends_with(".xml")) {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut depth = 0;
        for tag in text.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("{name}: `{tag}` is not closed"));
            match tag {
                t if t.starts_with('/') => depth -= 1,
                t if t.starts_with('?') || t.ends_with('/') => {}
                _ => depth += 1,
            }
            assert!(depth >= 0, "{name}: too many ends at `{tag}`");
        }
        assert_eq!(depth, 0, "{name}");
        let bare = text.match_indices('&').find(|(at, _)| {
            let rest = &text[at + 1..];
            !["amp;", "lt;", "gt;", "quot;", "apos;", "#"].iter().any(|known| rest.starts_with(known))
        });
        assert_eq!(bare, None, "{name}");
    }
}

#[test]
fn cells_of_csv_start_no_formula_and_rows_keep_their_columns() {
    let evils = ["=1+1", "+1", "-1", "@x"];
    let mut report = sample::pod_kill();
    for (n, evil) in evils.iter().enumerate() {
        report.phases[n].name = evil.to_string();
        report.windows[n].phase = evil.to_string();
    }
    let of_formulas = files(&report);
    for (evil, name) in evils.iter().flat_map(|e| [(e, "phases.csv"), (e, "windows.csv")]) {
        assert!(text_of(&of_formulas, name).contains(&format!("'{evil}")), "{name}");
    }
    let report = nasty(EVIL);
    let files = files(&report);
    for (name, rows) in
        [("windows.csv", report.windows.len()), ("phases.csv", report.phases.len() + report.spans.len())]
    {
        // The reader refuses rows of unequal length.
        let mut reader = csv::Reader::from_reader(&files[name][..]);
        assert_eq!(reader.records().collect::<Result<Vec<_>, _>>().unwrap().len(), rows, "{name}");
    }
}

#[test]
fn a_run_that_measured_nothing_still_has_a_report() {
    let report = Report { schema: SCHEMA.into(), reasons: vec!["probe `predicts` failed".into()], ..Report::default() };
    let files = files(&report);
    assert!(text_of(&files, "report.html").contains("The run did not start: probe `predicts` failed."));
    assert!(text_of(&files, "summary.md").starts_with("❔ **inconclusive**"));
    assert!(text::summary(&report, 80, false).starts_with("? INCONCLUSIVE"));
    assert!(text_of(&files, "junit.xml").contains("not_started"));
    assert_eq!(files.len(), 6, "no charts without data");
}

#[test]
fn a_troubled_run_says_so_first() {
    let report = sample::troubled();
    store::save(&sample_dir().with_file_name("report-troubled"), &report).unwrap();
    let files = files(&report);
    let html = text_of(&files, "report.html");
    for words in ["Still broken", "NOT CLEAN", "NOT PROVEN", "safety stop", "never applied", "fell behind"] {
        assert!(html.contains(words), "{words}");
    }
    assert!(text_of(&files, "summary.md").lines().next().unwrap().contains("**NOT CLEAN**"));
    insta::assert_snapshot!("troubled", text::summary(&report, 80, false));
}

#[test]
fn an_hour_stays_small() {
    let report = sample::stretched(3_600.0 / 65.0 * 0.02);
    // A full hour of requests is slow to make in a test: its windows and its map are the last minute, repeated.
    let mut report = report;
    let minute = report.windows.clone();
    let length = report.plan.duration_s;
    let repeats = (3_600.0 / length).ceil() as usize;
    report.windows = (0..repeats)
        .flat_map(|n| {
            let shift = n as f64 * length;
            minute.iter().cloned().map(move |w| WindowReport { start_at_s: w.start_at_s + shift, ..w })
        })
        .collect();
    report.plan.duration_s = length * repeats as f64;
    let column = report.heatmap.columns.clone();
    report.heatmap.columns = column.iter().cycle().take(600).cloned().collect();
    report.heatmap.failed = vec![7; 600];
    report.heatmap.column_s = report.plan.duration_s / 600.0;
    assert!(report.windows.len() >= 3_600);
    store::save(&sample_dir().with_file_name("report-hour"), &report).unwrap();
    let files = files(&report);
    assert!(files["report.html"].len() < 3 << 20, "{} bytes", files["report.html"].len());
    assert!(files["summary.md"].len() <= 200 << 10);
}

#[test]
fn a_summary_of_a_thousand_objectives_fits_its_limit() {
    let mut report = nasty(&"|<@".repeat(200));
    let one = report.objectives[2].clone();
    report.objectives = vec![one; 1_000];
    report.error_samples = vec![report.error_samples[0].clone(); 1_000];
    report.faults = vec![report.faults[0].clone(); 300];
    let text = report::markdown(&report);
    assert!(text.len() <= 200 << 10, "{}", text.len());
    assert!(text.lines().next().unwrap().starts_with("❌ **violated**"));
}

/// Leaves a log and what it holds beside the sample, for `tests/python/read_hlog.py`.
#[test]
fn an_interval_log_for_the_python_reader() {
    let started_at = sample::pod_kill().started_at;
    let head = hlog::Head { tool_version: "0.1.0", scenario: "pod-kill", run: "sample", started_at: &started_at };
    let of = |from: u64, n: u64| {
        let mut hist = Hist::new();
        (0..n).for_each(|i| hist.record(from + i * i * 1_000));
        hist
    };
    let seconds: Vec<(&str, Hist, Hist)> = (0..20)
        .map(|s| {
            (if s < 10 { "baseline" } else { "fault" }, of(5_000_000, 400 + s), of(1_000_000_000, s.saturating_sub(9)))
        })
        .collect();
    let intervals = seconds.iter().enumerate().map(|(n, (phase, ok, failed))| hlog::Interval {
        start_s: n as f64,
        len_s: 1.0,
        phase,
        ok: ok.clone(),
        failed: failed.clone(),
        ttft: Hist::new(),
        itl: Hist::new(),
    });
    let mut log = vec![];
    hlog::write(&mut log, &head, intervals).unwrap();

    let mut expected: BTreeMap<String, Hist> = BTreeMap::new();
    for (phase, ok, failed) in &seconds {
        for (tag, hist) in [(format!("phase:{phase}.ok"), ok), (format!("phase:{phase}.failed"), failed)] {
            if hist.count() > 0 {
                expected.entry(tag).or_default().merge(hist);
            }
            expected.entry(String::new()).or_default().merge(hist);
        }
    }
    let expected: BTreeMap<&str, Value> = expected
        .iter()
        .map(|(tag, h)| {
            (tag.as_str(), serde_json::json!({"count": h.count(), "p50": h.quantile(0.5), "p99": h.quantile(0.99)}))
        })
        .collect();
    assert_eq!(expected.len(), 4);
    std::fs::create_dir_all(sample_dir()).unwrap();
    std::fs::write(sample_dir().join("latency.hlog"), log).unwrap();
    std::fs::write(sample_dir().join("latency.expected.json"), serde_json::to_vec(&expected).unwrap()).unwrap();
}
