//! The renderers, seen from outside: same report, same bytes; nothing foreign becomes markup; sizes stay in bounds.
//!
//! Leaves the files of the sample run in the build directory (`tmp/report-sample`), where the browser test of
//! `tests/python/browser_report.py` opens them.

mod sample;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use resbench::report::{self, model::*, store, text};
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
