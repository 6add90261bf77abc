//! The history of a gate: one small file for each night, in `DIR/SCENARIO/`, and what a calibration measured.
//!
//! Owns the files. Leaves alone which nights count (`compare/history.rs`). Whatever cannot be read is told with its reason and left
//! where it is: a history is somebody's evidence.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::comparison::model::{Fingerprint, Ignored, Value};
use super::model::ScenarioInfo;
use super::store::write_whole;

/// The value of [`Night::schema`].
pub const NIGHT: &str = "resbench.night/1";
/// The value of [`Calibration::schema`].
pub const CALIBRATION: &str = "resbench.calibration/1";
/// Largest file that is read, bytes.
const LIMIT: u64 = 4 << 20;

/// One night: what its gate measured of the newest variant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Night {
    /// `resbench.night/1`.
    pub schema: String,
    /// Id of the gate.
    pub id: String,
    /// Wall-clock time of its beginning, RFC 3339, UTC.
    pub started_at: String,
    /// What was run.
    pub scenario: ScenarioInfo,
    /// Where.
    pub fingerprint: Fingerprint,
    /// The variant that these values are of.
    pub variant: String,
    /// All pairs were run and usable.
    pub valid: bool,
    /// Nothing regressed, no run broke an objective, and the safety stop ended none.
    pub passed: bool,
    /// By metric (`latency.p99@baseline`): the values of its runs.
    pub values: BTreeMap<String, Vec<Value>>,
}

impl Night {
    /// The middle of a metric's runs; NaN where it has none.
    pub fn value(&self, metric: &str) -> f64 {
        let runs = self.values.get(metric).map_or(&[][..], Vec::as_slice);
        middle(runs.iter().map(|v| v.get()))
    }
}

/// The middle of a night's runs, the lower of two; NaN where none is known.
pub fn middle(runs: impl Iterator<Item = f64>) -> f64 {
    let mut known: Vec<f64> = runs.filter(|v| !v.is_nan()).collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The noise that one variant showed against itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// `resbench.calibration/1`.
    pub schema: String,
    /// When, RFC 3339, UTC.
    pub started_at: String,
    /// What was run.
    pub scenario: ScenarioInfo,
    /// Where.
    pub fingerprint: Fingerprint,
    /// Pairs that were weighed.
    pub pairs: usize,
    /// What was run, without what judges it (`compare::noise::workload`); empty in files of earlier versions.
    #[serde(default)]
    pub workload: String,
    /// By metric: half the width of its interval, as `scales` says; null where the pairs bound nothing.
    pub noise_floor: BTreeMap<String, Option<f64>>,
    /// By metric: in what that is given; absent in files of earlier versions.
    #[serde(default)]
    pub scales: BTreeMap<String, NoiseScale>,
}

/// In what the noise of a metric is given: as its `min_effect` was when it was calibrated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoiseScale {
    /// A share of the reference (0.05 is 5 %); else in the unit.
    pub relative: bool,
    /// The metric's unit.
    pub unit: String,
}

/// What a history holds.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Nights that can be read, oldest first, with their file names.
    pub nights: Vec<(String, Night)>,
    /// Files that cannot.
    pub unread: Vec<Ignored>,
}

/// The folder of a scenario's nights.
pub fn folder(dir: &Path, scenario: &str) -> PathBuf {
    dir.join(scenario)
}

/// Reads every night of a scenario; an absent folder is an empty history.
///
/// # Errors
/// When the folder is there and cannot be listed.
pub fn load(dir: &Path, scenario: &str) -> Result<History, String> {
    let folder = folder(dir, scenario);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        Err(e) => return Err(format!("{}: {e}", folder.display())),
    };
    let mut history = History::default();
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("night-") || !name.ends_with(".json") {
            continue;
        }
        match read::<Night>(&path, NIGHT) {
            Ok(night) => history.nights.push((name, night)),
            Err(why) => history.unread.push(Ignored { file: name, why }),
        }
    }
    history.nights.sort_by(|a, b| a.1.started_at.cmp(&b.1.started_at));
    Ok(history)
}

/// The newest calibration for this scenario and machine; none where there is none that can be read.
pub fn calibration(dir: &Path, scenario: &str, fingerprint: &str) -> Option<Calibration> {
    let path = folder(dir, scenario).join(format!("calibration-{fingerprint}.json"));
    read::<Calibration>(&path, CALIBRATION).ok()
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path, schema: &str) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > LIMIT {
        return Err(format!("{size} bytes are too many for a night (at most {LIMIT})"));
    }
    let bytes = fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| format!("broken: {e}"))?;
    if head.schema != schema {
        return Err(format!("has schema `{}`, this resbench reads `{schema}`", super::format::short(&head.schema, 60)));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("not whole: {e}"))
}

/// Adds a night.
///
/// # Errors
/// Names the file that could not be written.
pub fn add(dir: &Path, night: &Night) -> io::Result<PathBuf> {
    let path = folder(dir, &night.scenario.name).join(format!("night-{}.json", night.id));
    write_whole(&path, &json(night))?;
    Ok(path)
}

/// Keeps a calibration, in the place of an earlier one of this machine.
///
/// # Errors
/// Names the file that could not be written.
pub fn keep(dir: &Path, calibration: &Calibration) -> io::Result<PathBuf> {
    let name = format!("calibration-{}.json", calibration.fingerprint.id);
    let path = folder(dir, &calibration.scenario.name).join(name);
    write_whole(&path, &json(calibration))?;
    Ok(path)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("the model has string keys only");
    bytes.push(b'\n');
    bytes
}

/// The nights as CSV, as Apache Otava imports them: a `time` column in RFC 3339, one column for each metric, empty where a
/// night says nothing finite.
pub fn otava_csv(nights: &[&Night]) -> String {
    let metrics: Vec<&String> =
        nights.iter().flat_map(|n| n.values.keys()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let mut out = String::from("time,run,fingerprint");
    metrics.iter().for_each(|m| out.push_str(&format!(",{}", column(m))));
    out.push('\n');
    for night in nights {
        let _ = write!(out, "{},{},{}", night.started_at, night.id, night.fingerprint.id);
        for metric in &metrics {
            let value = night.value(metric);
            out.push(',');
            if value.is_finite() {
                let _ = write!(out, "{value}");
            }
        }
        out.push('\n');
    }
    out
}

/// The configuration that lets Otava read that file: `otava analyze --config otava.yaml NAME`.
pub fn otava_yaml(scenario: &str, nights: &[&Night], worse_when_higher: impl Fn(&str) -> bool) -> String {
    let metrics: std::collections::BTreeSet<&String> = nights.iter().flat_map(|n| n.values.keys()).collect();
    let mut out = format!(
        "tests:\n  {scenario}:\n    type: csv\n    file: otava.csv\n    time_column: time\n    attributes: [run, fingerprint]\n    csv_options:\n      delimiter: ','\n    metrics:\n"
    );
    for metric in metrics {
        let direction = if worse_when_higher(metric) { -1 } else { 1 };
        let _ = writeln!(out, "      {0}:\n        column: {0}\n        direction: {direction}", column(metric));
    }
    out
}

/// A metric's name without what a CSV head, a YAML key and Otava's own names mind.
fn column(metric: &str) -> String {
    metric.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn night(id: &str, at: &str, value: f64) -> Night {
        Night {
            schema: NIGHT.into(),
            id: id.into(),
            started_at: at.into(),
            scenario: ScenarioInfo { name: "nightly".into(), ..ScenarioInfo::default() },
            valid: true,
            passed: true,
            values: [("latency.p99@all".to_owned(), vec![Value::of(value); 3])].into(),
            ..Night::default()
        }
    }

    #[test]
    fn nights_are_kept_and_read_in_order_and_the_broken_are_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path(), "nightly").unwrap().nights.is_empty());
        add(dir.path(), &night("b", "2026-01-02T00:00:00Z", 0.2)).unwrap();
        add(dir.path(), &night("a", "2026-01-03T00:00:00Z", 0.3)).unwrap();
        let folder = folder(dir.path(), "nightly");
        fs::write(folder.join("night-broken.json"), "{\"schema\": \"resbench.night/1\", \"id\":").unwrap();
        fs::write(folder.join("night-old.json"), "{\"schema\": \"resbench.night/0\"}").unwrap();
        fs::write(folder.join("notes.txt"), "not a night").unwrap();
        let history = load(dir.path(), "nightly").unwrap();
        let ids: Vec<&str> = history.nights.iter().map(|(_, n)| n.id.as_str()).collect();
        assert_eq!(ids, ["b", "a"]);
        let told: Vec<(&str, bool)> = history
            .unread
            .iter()
            .map(|i| (i.file.as_str(), i.why.contains("broken") || i.why.contains("resbench.night/0")))
            .collect();
        assert_eq!(told, [("night-broken.json", true), ("night-old.json", true)]);
    }

    #[test]
    fn a_calibration_says_in_what_it_is_given_and_an_earlier_one_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let scale = NoiseScale { relative: true, unit: "s".into() };
        let calibration = Calibration {
            schema: CALIBRATION.into(),
            scenario: ScenarioInfo { name: "nightly".into(), ..ScenarioInfo::default() },
            fingerprint: Fingerprint { id: "here".into(), parts: vec![] },
            workload: "w".into(),
            noise_floor: [("latency.p99@all".to_owned(), Some(0.03))].into(),
            scales: [("latency.p99@all".to_owned(), scale)].into(),
            ..Calibration::default()
        };
        let path = keep(dir.path(), &calibration).unwrap();
        let read = || super::calibration(dir.path(), "nightly", "here").unwrap();
        assert_eq!(read(), calibration);
        let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for key in ["workload", "scales"] {
            old.as_object_mut().unwrap().remove(key);
        }
        fs::write(&path, old.to_string()).unwrap();
        assert_eq!((read().workload.as_str(), read().scales.len()), ("", 0));
        assert_eq!(read().noise_floor, calibration.noise_floor);
    }

    #[test]
    fn a_table_for_otava() {
        let nights = [night("b", "2026-01-02T00:00:00Z", 0.25), night("a", "2026-01-03T00:00:00Z", f64::INFINITY)];
        let csv = otava_csv(&nights.iter().collect::<Vec<_>>());
        assert_eq!(
            csv,
            "time,run,fingerprint,latency_p99_all\n2026-01-02T00:00:00Z,b,,0.25\n2026-01-03T00:00:00Z,a,,\n"
        );
        let yaml = otava_yaml("nightly", &nights.iter().collect::<Vec<_>>(), |_| true);
        assert!(yaml.contains("column: latency_p99_all\n        direction: -1"), "{yaml}");
    }
}
