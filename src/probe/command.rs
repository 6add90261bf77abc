//! A command of the author's: how it ends, and what it prints.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use crate::fault::exec;
use crate::fault::stop::StopSignal;
use crate::plan::CommandProbe;

/// Runs it once. Its process group is ended when it is out of time.
pub(super) fn ask(probe: &CommandProbe, dir: &Path, timeout: Duration, stop: &StopSignal) -> Result<String, String> {
    let (status, output) = exec::observe(&probe.argv, dir, timeout, stop).map_err(|why| named(probe, &why))?;
    let said = last_words(&output);
    let ended = match status.code() {
        Some(code) => format!("exit code {code}"),
        None => format!("ended by signal {}", status.signal().unwrap_or_default()),
    };
    if !status.code().is_some_and(|code| probe.expect_exit.contains(&code)) {
        return Err(format!("{ended}{said}"));
    }
    match &probe.output_contains {
        Some(wanted) if !output.contains(wanted) => Err(format!("`{wanted}` is not in what it printed{said}")),
        _ => Ok(format!("{ended}{said}")),
    }
}

fn named(probe: &CommandProbe, why: &str) -> String {
    if why.contains(&probe.argv[0]) { why.to_owned() } else { format!("`{}` {why}", probe.argv[0]) }
}

/// The end of an output is where the reason stands.
fn last_words(output: &str) -> String {
    let line = output.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
    let line: String = line.trim().chars().take(160).collect();
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, expect_exit: &[i32], contains: Option<&str>, timeout_ms: u64) -> Result<String, String> {
        let probe = CommandProbe {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            expect_exit: expect_exit.to_vec(),
            output_contains: contains.map(str::to_owned),
        };
        ask(&probe, Path::new("/"), Duration::from_millis(timeout_ms), &StopSignal::new())
    }

    #[test]
    fn how_it_ends_and_what_it_prints() {
        assert_eq!(sh("echo fine", &[0], None, 20_000), Ok("exit code 0: fine".into()));
        assert_eq!(sh("exit 3", &[0], None, 20_000), Err("exit code 3".into()));
        assert_eq!(sh("exit 3", &[0, 3], None, 20_000), Ok("exit code 3".into()));
        assert_eq!(sh("kill -9 $$", &[0], None, 20_000), Err("ended by signal 9".into()));
        assert_eq!(sh("echo lag: 3 >&2", &[0], Some("lag: 3"), 20_000), Ok("exit code 0: lag: 3".into()));
        assert_eq!(
            sh("echo no; echo yes", &[0], Some("perhaps"), 20_000),
            Err("`perhaps` is not in what it printed: yes".into())
        );
    }

    #[test]
    fn out_of_time_fails_and_ends_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let why = sh(&format!("sleep 1000 & echo $! >{}; wait", file.display()), &[0], None, 400).unwrap_err();
        assert!(why.contains("did not end within 400ms"), "{why}");
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(!crate::platform::process::ProcessId::of(pid).is_some_and(|p| p.is_alive()), "the grandchild too");
    }

    #[test]
    fn a_program_that_is_not_there_fails() {
        let probe = CommandProbe { argv: vec!["/no/such".into()], expect_exit: vec![0], output_contains: None };
        let why = ask(&probe, Path::new("/"), Duration::from_secs(5), &StopSignal::new()).unwrap_err();
        assert!(why.contains("was not found"), "{why}");
    }
}
