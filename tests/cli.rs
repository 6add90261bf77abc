//! The command line from outside, in the order of the manual: help, mistakes, looking before running, starting, the house.
//!
//! What runs do is in the `e2e` tests; here nothing is broken and no load is sent.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn resbench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resbench"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

fn run(args: &[&str]) -> Output {
    resbench(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The result of a command that must succeed and have nothing to say beside it.
fn result(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    assert_eq!(stderr(&output), "", "{args:?}");
    stdout(&output).to_owned()
}

/// What a command says that must fail with this code and give no result.
fn complaint(code: i32, args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", stdout(&output), stderr(&output));
    assert_eq!(stdout(&output), "", "{args:?}");
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    stderr(&output).to_owned()
}

const POD_KILL: &str = "scenarios/pod-kill.toml";

// ---------------------------------------------------------------- help

#[test]
fn what_did_not_get_out_is_no_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_resbench")).arg("schema").stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("stdout: No space left"), "{told}");
}

#[test]
fn help_is_the_manual() {
    insta::assert_snapshot!("help", result(&["--help"]));
    insta::assert_snapshot!("help_run", result(&["run", "--help"]));
    assert_eq!(result(&["--version"]), concat!("resbench ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn every_command_has_help_and_a_page_in_the_manual() {
    let pages = tempfile::tempdir().unwrap();
    result(&["man", "--dir", pages.path().to_str().unwrap()]);
    let overview = result(&["--help"]);
    for command in
        ["run", "check", "plan", "report", "revert", "doctor", "init", "schema", "model-server", "completions", "man"]
    {
        assert!(result(&[command, "--help"]).contains("Usage: resbench"), "{command}");
        assert!(overview.contains(&format!("\n  {command} ")), "{command}");
        let page = std::fs::read_to_string(pages.path().join(format!("resbench-{command}.1"))).unwrap();
        assert!(page.contains(".TH "), "{command}");
    }
    assert!(result(&["man"]).contains(".SH SYNOPSIS"));
    // What only `run` starts is in no manual.
    assert!(!overview.contains("watchdog"));
}

#[test]
fn completions_for_every_shell() {
    for (shell, mark) in [
        ("bash", "complete -F _resbench"),
        ("zsh", "#compdef resbench"),
        ("fish", "complete -c resbench"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        assert!(result(&["completions", shell]).contains(mark), "{shell}");
    }
}

// ---------------------------------------------------------------- mistakes

#[test]
fn wrong_usage_is_code_2() {
    assert!(complaint(2, &[]).contains("Usage: resbench"));
    assert!(complaint(2, &["runn"]).contains("unrecognized subcommand"));
    assert!(complaint(2, &["run"]).contains("<FILE>"));
    assert!(complaint(2, &["run", POD_KILL, "--seed", "minus-one"]).contains("--seed"));
    assert!(complaint(2, &["run", POD_KILL, "--output", "yaml"]).contains("possible values: human, json, markdown"));
    assert!(complaint(2, &["completions", "tcsh"]).contains("possible values"));
}

#[test]
fn a_scenario_that_is_not_valid_is_code_2_with_every_problem() {
    for command in ["check", "plan", "run"] {
        let said =
            complaint(2, &[command, POD_KILL, "--set", "phase.baseline.rate=0", "--set", "objective.0.metric=p99"]);
        assert!(said.contains("rate") && said.contains("latency.p99"), "{said}");
        assert!(complaint(2, &[command, "no-such-file.toml"]).contains("no-such-file.toml"));
        assert!(complaint(2, &[command, POD_KILL, "--set", "phase.basline.rate=900"]).contains("baseline"));
        assert!(complaint(2, &[command, POD_KILL, "--set", "phase.baseline.rate"]).contains("--set"));
    }
}

#[test]
fn another_machine_needs_a_yes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.toml");
    // A name that is kept for examples and never resolves.
    let text = "name = \"x\"\n[target]\nprotocol = \"http\"\nurl = \"http://nobody.invalid/\"\n[traffic]\nbody = \"{}\"\n\
                [[phase]]\nname = \"a\"\nduration = \"1s\"\nrate = 1\n";
    std::fs::write(&file, text).unwrap();
    let said = complaint(2, &["run", file.to_str().unwrap(), "--quiet"]);
    assert!(said.contains("nobody.invalid is not on this machine") && said.contains("--yes"), "{said}");
}

// ---------------------------------------------------------------- looking before running

#[test]
fn check_says_in_one_line_what_is_planned() {
    assert_eq!(result(&["check", POD_KILL]), "scenarios/pod-kill.toml: valid: 55s, 4 phases, 1 fault, 3 objectives\n");
}

#[test]
fn plan_tells_whom_it_would_ask_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret.toml");
    let text = "name = \"x\"\n[target]\nprotocol = \"http\"\nurl = \"http://127.0.0.1:1/${HUSH}\"\n[traffic]\nbody = \"{}\"\n\
                [[phase]]\nname = \"p\"\nduration = \"5s\"\nrate = 5\n\
                [[probe]]\nname = \"whole\"\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:2\"\nquery = 'up{t=\"${HUSH}\"}'\nexpect_above = 0\nno_data = \"fail\"\n\
                [[scrape]]\nname = \"page\"\npath = \"/metrics?token=${HUSH}\"\nseries = [\"up\"]\n";
    std::fs::write(&file, text).unwrap();
    let output = resbench(&["plan", file.to_str().unwrap()]).env("HUSH", "x7secret").output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    for said in [
        "whole (prometheus)  before",
        "up{t=\"***\"} above 0",
        "page  /metrics of the target",
        "http://127.0.0.1:1/***",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(!told.contains("x7secret"), "{told}");
}

#[test]
fn plan_shows_phases_arrivals_targets_blast_radius_and_undo() {
    insta::assert_snapshot!("plan", result(&["plan", POD_KILL]));
}

#[test]
fn arrivals_come_from_the_seed_alone() {
    let arrivals = |more: &[&str]| result(&[&["plan", "--arrivals", POD_KILL], more].concat());
    let first = arrivals(&[]);
    assert!(first.starts_with("index,due_ns,phase\n0,"));
    assert!(first.lines().count() > 20_000);
    assert_eq!(first, arrivals(&[]), "the same seed, the same arrivals");
    assert_eq!(first, arrivals(&["--seed", "42"]), "said twice");
    assert_eq!(
        first,
        arrivals(&["--set", "fault.0.at=fault+5s", "--set", "target.protocol=mlflow"]),
        "a fault moves none"
    );
    assert_ne!(first, arrivals(&["--seed", "43"]));
    assert_ne!(first, arrivals(&["--set", "phase.recovery.rate=501"]));
}

#[test]
fn schemas_are_json_schema() {
    for (args, word) in
        [(&["schema"][..], "phase"), (&["schema", "scenario"], "fault"), (&["schema", "run"], "verdict")]
    {
        let schema: serde_json::Value = serde_json::from_str(&result(args)).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "{args:?}");
        assert!(schema["properties"][word].is_object(), "{args:?} knows no {word}");
    }
}

#[test]
fn doctor_says_what_this_machine_can_do() {
    let state = tempfile::tempdir().unwrap();
    let output = resbench(&["doctor"]).env("XDG_STATE_HOME", state.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for line in stdout(&output).lines() {
        assert!(line.starts_with("ok ") || line.starts_with("missing "), "{line}");
    }
    assert!(stdout(&output).contains("FUSE") && stdout(&output).contains("open files"));
}

// ---------------------------------------------------------------- starting, ending

#[test]
fn init_writes_what_check_accepts_and_overwrites_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("my-bench");
    let said = result(&["init", dir.to_str().unwrap()]);
    let scenario = dir.join(POD_KILL);
    assert!(said.ends_with(&format!("next: resbench run {}\n", scenario.display())), "{said}");
    assert!(result(&["check", scenario.to_str().unwrap()]).contains("valid"));
    std::fs::write(&scenario, "mine").unwrap();
    assert!(complaint(2, &["init", dir.to_str().unwrap()]).contains("is there already"));
    assert_eq!(std::fs::read_to_string(&scenario).unwrap(), "mine");
}

#[test]
fn report_of_what_is_no_run_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(complaint(2, &["report", "no-such-run"]).contains("no-such-run"));
    assert!(complaint(2, &["report", dir.path().to_str().unwrap()]).contains("run.json"));
    std::fs::write(dir.path().join("run.json"), "{\"schema\": \"resbench.run/1\"}").unwrap();
    assert!(complaint(2, &["report", dir.path().to_str().unwrap()]).contains("run.json"));
}

#[test]
fn revert_of_nothing_says_so() {
    let state = tempfile::tempdir().unwrap();
    let output = resbench(&["revert"]).env("XDG_STATE_HOME", state.path()).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "nothing is left to put back\n"));
    assert!(complaint(2, &["revert", "--journal", "no-such-journal"]).contains("no-such-journal"));
}

#[test]
fn revert_does_what_it_can_and_names_the_rest() {
    use std::os::unix::fs::PermissionsExt;

    let room = tempfile::tempdir().unwrap();
    let (state, done) = (room.path().join("resbench"), room.path().join("done"));
    std::fs::create_dir(&state).unwrap();
    let put = |name: &str, form: u32, mode: u32| {
        // Of another machine, so that nothing is looked for on this one.
        let header = format!(
            r#"{{"record":"header","schema":"resbench.journal/{form}","run":"{name}","scenario":"{name}","host":"h","boot_id":"b","uid":0,"process":{{"boot_id":"b","pid":1,"start_time":1}},"targets":[]}}"#
        );
        let intent = format!(
            r#"{{"record":"intent","fault":"f","undo":[{{"step":"command","run":["touch","{}"],"dir":"/","timeout_ms":60000}}],"targets":[]}}"#,
            done.display()
        );
        let path = state.join(format!("{name}.jsonl"));
        std::fs::write(&path, format!("{header}\n{intent}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let (loose, good, newer) = (put("loose", 1, 0o664), put("good", 1, 0o600), put("newer", 2, 0o600));
    let revert = || resbench(&["revert", "--yes"]).env("XDG_STATE_HOME", room.path()).output().unwrap();
    let output = revert();
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(4), "{said}{}", stderr(&output));
    assert!(done.exists() && !good.exists() && loose.exists() && newer.exists(), "{said}");
    let cure = format!("chmod 600 {0} and resbench revert --journal {0}\n", loose.display());
    assert!(said.contains("LEFT: others may write it") && said.contains(&cure), "{said}");
    assert!(said.contains("LEFT: its form is resbench.journal/2"), "{said}");
    std::fs::remove_file(newer).unwrap();
    std::fs::set_permissions(&loose, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(revert().status.code(), Some(0));
    assert!(!loose.exists());
}

#[test]
fn a_server_that_was_named_and_not_looked_at_is_left() {
    let room = tempfile::tempdir().unwrap();
    let url = "http://127.0.0.1:1";
    let mut command = resbench(&["revert", "--all", "--toxiproxy", url]);
    command.env("XDG_STATE_HOME", room.path()).env("HOME", room.path());
    command.env("KUBECONFIG", room.path().join("none")).env_remove("KUBERNETES_SERVICE_HOST");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains(&format!("LEFT: not looked at: Toxiproxy {url}: ")), "{}", stdout(&output));
}

// ---------------------------------------------------------------- the README

#[test]
fn every_scenario_that_the_readme_shows_is_valid() {
    let readme = include_str!("../README.md");
    let shown: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(!shown.is_empty());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rows.csv"), "amount,is_fraud\n1.5,0\n").unwrap();
    for text in shown {
        let file = dir.path().join("scenario.toml");
        std::fs::write(&file, text).unwrap();
        let output = resbench(&["check", file.to_str().unwrap()]).env("TOKEN", "x").output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{text}");
    }
}

// ---------------------------------------------------------------- manners

#[test]
fn colour_only_where_it_is_wanted() {
    const ESCAPE: u8 = 0x1b;
    let bad = ["check", POD_KILL, "--set", "phase.baseline.rate=0"];
    let colours = |name: &str, value: &str| {
        let output = resbench(&bad).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        output.stderr.contains(&ESCAPE)
    };
    assert!(!colours("NO_COLOR", "1"));
    assert!(!colours("TERM", "dumb"));
    assert!(!colours("X", ""), "a pipe is no terminal");
    assert!(colours("CLICOLOR_FORCE", "1"));
    let output = resbench(&["--help"]).env("NO_COLOR", "1").output().unwrap();
    assert!(!output.stdout.contains(&ESCAPE));
}

#[test]
fn a_closed_pipe_is_quiet_success() {
    for args in [&["plan", "--arrivals", POD_KILL][..], &["schema"], &["--help"], &["man"]] {
        let mut child = resbench(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        // Reads one line and hangs up, as `head -1` does.
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn nothing_is_written_where_nothing_was_asked_for() {
    let here = tempfile::tempdir().unwrap();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join(POD_KILL);
    for command in ["check", "plan"] {
        let output = resbench(&[command, scenario.to_str().unwrap()])
            .current_dir(here.path())
            .env("XDG_STATE_HOME", here.path())
            .output()
            .unwrap();
        assert!(output.status.success());
    }
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}
