//! Reports on disk: every file whole or not at all, and `run.json` back into the model.
//!
//! `run.json` is written first: whatever interrupts the rest, `resbench report` makes the other files from it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::model::{Report, SCHEMA};

/// Largest `run.json` that is read, bytes: far above an hour's run, far below what would hurt.
const LIMIT: u64 = 512 << 20;

/// Writes every rendered file into `dir`, which is made if it is not there. Each file appears under its name only when it is
/// whole.
///
/// # Errors
/// Names the file that could not be written.
pub fn save(dir: &Path, report: &Report) -> io::Result<()> {
    for (name, bytes) in super::render(report) {
        write_whole(&dir.join(name), &bytes)?;
    }
    Ok(())
}

/// Reads a saved run: `run` is its directory or its `run.json`.
///
/// # Errors
/// In words: the file is not there, is not JSON, has another schema, or lacks a key.
pub fn load(run: &Path) -> Result<Report, String> {
    let path = if run.is_dir() { run.join("run.json") } else { run.to_owned() };
    let shown = path.display();
    let size = fs::metadata(&path).map_err(|e| missing(&path, &e))?.len();
    if size > LIMIT {
        return Err(format!("{shown}: {size} bytes are too many for a report (at most {LIMIT})"));
    }
    let bytes = fs::read(&path).map_err(|e| missing(&path, &e))?;
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| {
        format!(
            "{shown}: not the run.json of a run ({e})\nhint: give the directory of a run, reports/<name>/<time>-<id>"
        )
    })?;
    if head.schema != SCHEMA {
        return Err(format!(
            "{shown}: has schema `{}`, this resbench reads `{SCHEMA}`\nhint: re-render it with the resbench that made it",
            super::format::short(&head.schema, 60)
        ));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("{shown}: not a whole report: {e}"))
}

/// The newest run in a folder that is no run itself but holds some, `reports/NAME`; none for any other folder. The names of runs begin
/// with their time, so the last by name is the newest.
pub fn newest(dir: &Path) -> Option<PathBuf> {
    if dir.join("run.json").exists() {
        return None;
    }
    let inside = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    inside.filter(|run| run.join("run.json").is_file()).max()
}

fn missing(path: &Path, error: &io::Error) -> String {
    let hint = "hint: give the directory of a run, reports/<name>/<time>-<id>";
    format!("{}: cannot be read: {error}\n{hint}", path.display())
}

/// What is looked at before anything else is believed.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// Writes beside the place, syncs, then renames.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(named)?;
    }
    let part = part_of(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| {
        // The half file is of no use; that it cannot be removed changes nothing about the error.
        let _ = fs::remove_file(&part);
        named(e)
    })
}

fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let gone = load(dir.path()).unwrap_err();
        assert!(gone.contains("run.json: cannot be read") && gone.contains("hint:"), "{gone}");
        let at = dir.path().join("run.json");
        for (text, words) in [
            ("hello", "not the run.json of a run"),
            ("{\"schema\": \"resbench.run/9\"}", "has schema `resbench.run/9`"),
            ("{\"schema\": \"resbench.run/1\"}", "missing field `id`"),
        ] {
            fs::write(&at, text).unwrap();
            let error = load(&at).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_newest_run_of_a_folder_is_found_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(dir.path()), None);
        for run in ["20261122T193010Z-ff", "20261123T000000Z-00", "20261123T090000Z-unfinished"] {
            fs::create_dir(dir.path().join(run)).unwrap();
        }
        for run in ["20261122T193010Z-ff", "20261123T000000Z-00"] {
            fs::write(dir.path().join(run).join("run.json"), "{}").unwrap();
        }
        let last = dir.path().join("20261123T000000Z-00");
        assert_eq!(newest(dir.path()), Some(last.clone()));
        assert_eq!(newest(&last), None, "a run is itself");
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_no_part() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_whole(&taken, b"x").unwrap_err().to_string().contains("taken"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
