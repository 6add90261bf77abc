//! What an object of Chaos Mesh says about itself, and what of it may be believed.
//!
//! Pure: JSON in, answers out. The tool's conditions are not used: `AllRecovered` is true before the first injection as
//! well, and a pod-kill never reaches it. What counts are the records of each pod or container, and the phase that the
//! controller works towards.

use std::time::Duration;

use serde_json::Value;

use crate::units::parse_duration;

/// One look at an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// It happens once; the tool never speaks of its recovery.
    pub one_shot: bool,
    /// Somebody asked for its deletion.
    pub deleting: bool,
    /// The controller has taken it up: it put a finalizer on it, or wrote its phase.
    pub taken_up: bool,
    /// The controller works towards its end: it was deleted, paused, or its time is up.
    pub stopping: bool,
    /// What was selected.
    pub records: Vec<Record>,
    /// Wall time at which it ends by itself, in ns since 1970; none where that cannot be read.
    pub ends_at: Option<i128>,
}

/// One pod or container that was selected.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// `namespace/pod` or `namespace/pod/container`.
    pub id: String,
    /// Where it stands.
    pub phase: Phase,
    /// How often it was injected.
    pub injected: u64,
    /// How often it was put back.
    pub recovered: u64,
    /// What failed, in order: true when it was a recovery, and what was said.
    pub failures: Vec<(bool, String)>,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is injected.
    NotInjected,
    /// In force.
    Injected,
    /// On its way from one to the other.
    Between,
}

impl Record {
    /// `namespace/pod`.
    pub fn pod(&self) -> &str {
        let end = self.id.match_indices('/').nth(1).map_or(self.id.len(), |(at, _)| at);
        &self.id[..end]
    }
}

impl Status {
    /// Reads an object as the API server gives it.
    pub fn of(object: &Value, one_shot: bool) -> Status {
        let (meta, experiment) = (&object["metadata"], &object["status"]["experiment"]);
        let desired = experiment["desiredPhase"].as_str();
        let finalizers = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        Status {
            one_shot,
            deleting: meta["deletionTimestamp"].is_string(),
            taken_up: finalizers || desired.is_some(),
            stopping: desired == Some("Stop"),
            records: experiment["containerRecords"].as_array().into_iter().flatten().map(record).collect(),
            ends_at: ends_at(object),
        }
    }

    /// The controller has chosen whom it hits. One that finds nobody says so in an event and never tries again.
    pub fn selected(&self) -> bool {
        !self.records.is_empty()
    }

    /// In force on everything that was selected.
    pub fn injected(&self) -> bool {
        self.selected() && self.records.iter().all(|r| r.phase == Phase::Injected)
    }

    /// Over by itself at this wall time: what happens once has happened, what lasts has been put back in time.
    pub fn finished(&self, wall_ns: i128) -> bool {
        if self.one_shot {
            return self.injected();
        }
        self.stopping && self.nothing_injected() && self.ends_at.is_some_and(|end| wall_ns >= end)
    }

    /// Put back by the tool's own account. Nothing was injected before the controller worked towards the end, so a look
    /// before the first injection is none.
    pub fn recovered(&self) -> bool {
        let back = |r: &Record| r.recovered >= r.injected;
        !self.one_shot && self.stopping && self.nothing_injected() && self.records.iter().all(back)
    }

    /// Its recovery keeps failing, or it has been on its way out for longer than `patience`.
    pub fn stuck(&self, deleted_for: Duration, patience: Duration) -> bool {
        let fails = |r: &Record| r.failures.iter().filter(|(recovery, _)| *recovery).count() > 1;
        self.deleting && deleted_for >= patience || self.stopping && self.records.iter().any(fails)
    }

    /// Records in force.
    pub fn in_force(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|r| r.phase == Phase::Injected)
    }

    /// The last thing that failed for each record, in words.
    pub fn complaints(&self) -> Vec<String> {
        let last = |r: &Record| r.failures.last().map(|(_, said)| format!("{}: {said}", r.id));
        self.records.iter().filter_map(last).collect()
    }

    fn nothing_injected(&self) -> bool {
        self.records.iter().all(|r| r.phase == Phase::NotInjected)
    }
}

fn record(value: &Value) -> Record {
    let phase = match value["phase"].as_str() {
        Some("Injected") => Phase::Injected,
        Some("Not Injected") => Phase::NotInjected,
        _ => Phase::Between,
    };
    let failed = |e: &&Value| e["type"] == "Failed";
    let told = |e: &Value| (e["operation"] == "Recover", e["message"].as_str().unwrap_or_default().to_owned());
    Record {
        id: value["id"].as_str().unwrap_or_default().to_owned(),
        phase,
        injected: value["injectedCount"].as_u64().unwrap_or(0),
        recovered: value["recoveredCount"].as_u64().unwrap_or(0),
        failures: value["events"].as_array().into_iter().flatten().filter(failed).map(told).collect(),
    }
}

/// The tool counts from the object's creation, not from injection.
fn ends_at(object: &Value) -> Option<i128> {
    let created: jiff::Timestamp = object["metadata"]["creationTimestamp"].as_str()?.parse().ok()?;
    let lasts = parse_duration(object["spec"]["duration"].as_str()?).ok()?;
    Some(created.as_nanosecond() + lasts.as_nanos() as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    /// Plays a sequence of looks, as the tool writes them: an array of `{ is, one_shot, object }`, where `is` lists what must hold then.
    #[test]
    fn sequences_mean_what_they_should() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chaos-mesh/status");
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 6, "{files:?}");
        for file in files {
            let steps: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            for (n, step) in steps.as_array().unwrap().iter().enumerate() {
                let status = Status::of(&step["object"], step["one_shot"] == true);
                let wall: jiff::Timestamp = step["now"].as_str().unwrap_or("2026-11-22T23:00:05Z").parse().unwrap();
                let after = Duration::from_secs(step["deleted_for_s"].as_u64().unwrap_or(0));
                let holds = [
                    ("taken-up", status.taken_up),
                    ("selected", status.selected()),
                    ("injected", status.injected()),
                    ("finished", status.finished(wall.as_nanosecond())),
                    ("recovered", status.recovered()),
                    ("stuck", status.stuck(after, Duration::from_secs(30))),
                ];
                let found: Vec<&str> = holds.iter().filter(|(_, holds)| *holds).map(|(word, _)| *word).collect();
                assert_eq!(json!(found), step["is"], "{} step {n}: {}", file.display(), step["what"]);
            }
        }
    }

    #[test]
    fn a_record_is_of_a_pod_or_of_a_container() {
        let of = |id: &str| record(&json!({"id": id})).pod().to_owned();
        assert_eq!((of("n/p"), of("n/p/c")), ("n/p".to_owned(), "n/p".to_owned()));
        assert_eq!(record(&json!({"id": "n/p", "phase": "Injected/Wait"})).phase, Phase::Between);
    }

    #[test]
    fn complaints_are_the_last_word_of_each() {
        let failed =
            |operation: &str, message: &str| json!({"type": "Failed", "operation": operation, "message": message});
        let object = json!({"status": {"experiment": {"containerRecords": [
            {"id": "n/a", "events": [failed("Apply", "first"), failed("Recover", "then")]}, {"id": "n/b"},
        ]}}});
        assert_eq!(Status::of(&object, false).complaints(), ["n/a: then"]);
        assert_eq!(Status::of(&json!({}), false), Status::default(), "an object that nobody has looked at");
    }
}
