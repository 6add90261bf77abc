//! The binary as a script calls it: words in, exit code and streams out.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::RESBENCH;

/// Runs it in a folder that also keeps its state, as if on no CI system and with nobody to answer.
pub fn resbench(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(RESBENCH);
    command.current_dir(dir).args(words).env("XDG_STATE_HOME", dir.join("state")).env_remove("GITHUB_ACTIONS");
    command.stdin(Stdio::null()).output().expect("the binary runs")
}

/// What it exited with.
#[track_caller]
pub fn code(out: &Output) -> i32 {
    out.status.code().expect("it ended by itself")
}

/// All that it said, on both streams.
pub fn told(out: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Its result, where that is JSON.
#[track_caller]
pub fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", told(out)))
}
