//! `game-day` as a team meets it: the order, the stop at the first failure, what cannot start, Ctrl-C, and the files of the day.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use resbench::clock::sleep;
use serde_json::Value;
use support::alone;

/// A scenario of a second or two against one embedded server, with a kill of it in the middle where `fault` is given.
fn scenario(name: &str, fault: &str, bound: &str) -> String {
    format!(
        r#"# What {name} teaches.
name = "{name}"
[target]
protocol = "mlflow"
[platform.local]
replicas = 2
command = ["resbench", "model-server", "--listen", "{{address}}", "--service-time", "constant:2ms"]
ready = {{ path = "/ping", every = "200ms", timeout = "20s" }}
restart_delay = "100ms"
[traffic]
body = '{{"inputs": [[1]]}}'
timeout = "2s"
[[phase]]
name = "all"
duration = "3s"
rate = 30
[[objective]]
metric = "{bound}
[[objective]]
metric = "latency.p50"
max = "10s"
[safety]
abort_when = {{ good_ratio_below = 0.0, for = "1m" }}
{fault}"#
    )
}

const KILL: &str = "[[fault]]\nname = \"kill-one\"\nkind = \"pod-kill\"\nat = \"1s\"\n[[playbook]]\nfault = \"kill-one\"\nautomatic = \
                    [{ step = \"it comes back\", seen_by = { event = \"replica-back\" } }]\n";
/// Thirty requests a second are no million. A bound on latency would do as well, but it would also say what is late: a
/// millisecond, which a busy machine misses for one request of ninety, and then nothing is decided.
const IMPOSSIBLE: &str = "throughput\"\nmin = 1000000";
const EASY: &str = "error_rate\"\nmax = 0.9";

fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resbench"));
    command.current_dir(dir).args(words).env("XDG_STATE_HOME", dir.join("state")).stdin(Stdio::null());
    command
}

fn resbench(dir: &Path, words: &[&str]) -> Output {
    command(dir, words).output().expect("the binary runs")
}

fn told(out: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir.join("day")).expect("a folder");
    std::fs::write(dir.join("day").join(name), text).expect("a file");
}

fn kept(dir: &Path) -> PathBuf {
    let days = std::fs::read_dir(dir.join("reports/game-day")).expect("a day").flatten();
    days.map(|d| d.path()).max().expect("one day at least")
}

fn outcomes(day: &Value) -> Vec<(String, String)> {
    let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    day["scenarios"].as_array().unwrap().iter().map(|s| (word(&s["scenario"]["name"]), word(&s["outcome"]))).collect()
}

#[test]
fn a_day_goes_from_small_to_large_and_stops_at_the_first_that_fails() {
    let _seat = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let held = "[[fault]]\nname = \"freeze\"\nkind = \"pod-pause\"\nat = \"1s\"\nfor = \"1s\"\n";
    // By name the other way round: the order is the radius's.
    write(dir.path(), "c-quiet.toml", &scenario("quiet", "", EASY));
    write(dir.path(), "b-frozen.toml", &scenario("frozen", held, IMPOSSIBLE));
    write(dir.path(), "a-killed.toml", &scenario("killed", KILL, EASY));
    write(dir.path(), "notes.txt", "no scenario");
    let out = resbench(dir.path(), &["game-day", "day", "--output", "json"]);
    let day: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", told(&out)));
    assert_eq!((&day["schema"], &day["clean"]), (&"resbench.game-day/1".into(), &true.into()));
    let found = outcomes(&day);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["quiet", "frozen", "killed"], "{day:#}");
    // A machine that starves the generator leaves the first undecided, and the day ends there.
    if found[0].1 == "met" {
        assert_eq!(found[1].1, "violated", "{day:#}");
        assert_eq!((out.status.code(), day["exit_code"].as_u64()), (Some(1), Some(1)), "{}", told(&out));
        let action = &day["actions"][0];
        assert_eq!(action["scenario"], "frozen");
        assert!(action["text"].as_str().unwrap().starts_with("Bring throughput in all to"), "{action}");
    } else {
        assert_eq!((found[0].1.as_str(), out.status.code()), ("inconclusive", Some(3)), "{day:#}");
    }
    assert_eq!(found[2].1, "not_run", "{day:#}");
    let talk = String::from_utf8_lossy(&out.stderr);
    assert!(talk.contains("1 of 2 replicas × stops (1) × 1s = 0.5 s"), "{talk}");

    let schema: Value = serde_json::from_slice(&resbench(dir.path(), &["schema", "game-day"]).stdout).unwrap();
    let wrong: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&day).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let kept = kept(dir.path());
    for file in ["game-day.json", "report.html", "summary.md", "junit.xml"] {
        assert!(kept.join(file).metadata().is_ok_and(|m| m.len() > 0), "{file}");
    }
    let first = day["scenarios"][0]["dir"].as_str().unwrap();
    assert!(kept.join(first).join("run.json").is_file(), "{first}");
    let page = std::fs::read_to_string(kept.join("report.html")).unwrap();
    assert!(page.contains(&format!("href=\"{first}/report.html\"")), "the checklist leads to the runs");
    // The page is made from the file alone, byte for byte.
    let again = resbench(dir.path(), &["report", kept.to_str().unwrap()]);
    assert!(again.status.success() && told(&again).contains("GAME DAY"), "{}", told(&again));
    assert_eq!(std::fs::read_to_string(kept.join("report.html")).unwrap(), page);
}

#[test]
fn what_cannot_start_here_is_told_and_does_not_end_the_day() {
    let _seat = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let dead = scenario("dead", "", EASY).replace("\"resbench\", \"model-server\"", "\"false\", \"x\"");
    write(dir.path(), "dead.toml", &dead.replace("timeout = \"20s\"", "timeout = \"1s\""));
    write(dir.path(), "killed.toml", &scenario("killed", KILL, IMPOSSIBLE));
    write(dir.path(), "quiet.toml", &scenario("quiet", "", EASY));
    let out = resbench(dir.path(), &["game-day", "day", "--quiet", "--keep-going"]);
    let day: Value =
        serde_json::from_slice(&std::fs::read(kept(dir.path()).join("game-day.json")).unwrap()).expect("JSON");
    let found = outcomes(&day);
    assert_eq!(found[0], ("dead".into(), "not_started".into()), "{day:#}");
    assert_eq!((found[1].0.as_str(), found[2].0.as_str()), ("quiet", "killed"));
    assert_ne!(found[2].1, "not_run", "{day:#}");
    assert!([1, 3].contains(&out.status.code().unwrap()), "the failure counts more: {}", told(&out));
    assert!(told(&out).contains("could not start here"), "{}", told(&out));
    let actions = day["actions"].as_array().unwrap();
    assert!(
        actions.iter().any(|a| a["scenario"] == "dead" && a["text"].as_str().unwrap().contains("doctor")),
        "{day:#}"
    );
}

#[test]
fn nothing_is_run_when_a_scenario_is_not_valid() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "good.toml", &scenario("good", "", EASY));
    write(dir.path(), "bad.toml", "name = \"bad\"\n[target]\nprotocol = \"mlfow\"\n");
    write(dir.path(), "worse.toml", "name = 7\n");
    let out = resbench(dir.path(), &["game-day", "day"]);
    assert_eq!(out.status.code(), Some(2), "{}", told(&out));
    for said in ["bad.toml", "worse.toml", "2 of 3 scenarios are not valid"] {
        assert!(told(&out).contains(said), "{said}: {}", told(&out));
    }
    assert!(!dir.path().join("reports").exists());
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let out = resbench(dir.path(), &["game-day", "empty"]);
    assert!(out.status.code() == Some(2) && told(&out).contains("no *.toml"), "{}", told(&out));
    let far = scenario("far", "", EASY)
        .replace("protocol = \"mlflow\"", "protocol = \"mlflow\"\nurl = \"http://example.invalid/x\"");
    let far =
        far.split("[platform.local]").next().unwrap().to_owned() + "[traffic]" + far.split("[traffic]").nth(1).unwrap();
    write(dir.path(), "bad.toml", &far);
    std::fs::remove_file(dir.path().join("day/worse.toml")).unwrap();
    let out = resbench(dir.path(), &["game-day", "day"]);
    assert!(out.status.code() == Some(2) && told(&out).contains("--yes"), "{}", told(&out));
    assert!(!dir.path().join("reports").exists(), "consent comes before anything");
}

#[test]
fn a_dry_run_prints_the_order_and_touches_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.toml", &scenario("killed", KILL, EASY));
    write(dir.path(), "b.toml", &scenario("quiet", "", EASY));
    let out = resbench(dir.path(), &["game-day", "day/a.toml", "day/b.toml", "--dry-run"]);
    assert!(out.status.success(), "{}", told(&out));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is not in\n{text}"));
    assert!(at("  quiet ") < at("  killed "), "{text}");
    assert!(
        text.contains("1 of 2 replicas × stops (1) × 10s = 5.0 s") && text.contains("What killed teaches."),
        "{text}"
    );
    assert!(!dir.path().join("reports").exists() && !dir.path().join("state").exists());
}

/// A process that does not outlive its test.
struct Ended(Option<Child>);

impl Ended {
    fn get(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is there")
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }
}

#[test]
fn a_day_that_is_interrupted_leaves_a_whole_report() {
    let _seat = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let long = scenario("long", "", EASY).replace("duration = \"3s\"", "duration = \"5m\"");
    write(dir.path(), "long.toml", &long);
    write(dir.path(), "next.toml", &scenario("next", KILL, EASY));
    let child = command(dir.path(), &["game-day", "day", "--quiet"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut child = Ended(Some(child));
    support::until("the first run begins", || {
        let day = std::fs::read_dir(dir.path().join("reports/game-day")).ok()?.flatten().next()?.path();
        std::fs::read_dir(day.join("runs/long")).ok()?.flatten().next()
    });
    // Whether load is on by then or replicas are still starting: both are the middle of a day.
    sleep(Duration::from_secs(2));
    let pid = rustix::process::Pid::from_child(child.get());
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let code = support::until("the day ends", || child.get().try_wait().expect("its state"));
    let child = child.0.take().expect("it is there");
    let out = child.wait_with_output().expect("its words");
    assert_eq!(code.code(), Some(130), "{}", told(&out));
    let day: Value =
        serde_json::from_slice(&std::fs::read(kept(dir.path()).join("game-day.json")).unwrap()).expect("JSON");
    assert_eq!((&day["ending"], &day["clean"]), (&"interrupted".into(), &true.into()), "{day:#}");
    assert_eq!(outcomes(&day), [("long".into(), "interrupted".into()), ("next".into(), "not_run".into())]);
    let run = kept(dir.path()).join(day["scenarios"][0]["dir"].as_str().unwrap());
    assert!(run.join("report.html").is_file(), "its run has a report of its own");
}
