//! `compare` and `gate` as a CI job meets them: real, short runs; exit codes, files, a history with what must be ignored.
//!
//! Nothing here hangs on how quick the machine is: arms differ tenfold or not at all, and what a busy machine may make of that
//! (inconclusive) is allowed where it may happen.

mod support;

use serde_json::Value;
use support::alone;
use support::command::{code, json, resbench, told};

const SCENARIO: &str = r#"# Two variants.
name = "two"
seed = 7
[target]
protocol = "mlflow"
[platform.local]
replicas = 1
command = ["resbench", "model-server", "--listen", "{address}", "--service-time", "constant:20ms", "--workers", "16"]
ready = { path = "/ping", every = "200ms", timeout = "20s" }
[traffic]
body = '{"inputs": [[1]]}'
timeout = "5s"
[[phase]]
name = "all"
duration = "1s"
rate = 60
[[objective]]
metric = "latency.p95"
max = "4s"
[gate]
metrics = [{ metric = "latency.p50@all", min_effect = "50%" }]
pairs = 6
max_pairs = 6
"#;

const VARIANTS: &str = r#"
[[variant]]
name = "v1"
set = { "platform.local.command.5" = "constant:20ms" }
[[variant]]
name = "v2"
set = { "platform.local.command.5" = "constant:200ms" }
"#;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("two.toml"), SCENARIO.to_owned() + VARIANTS).expect("a file");
    std::fs::write(dir.path().join("one.toml"), SCENARIO).expect("a file");
    dir
}

#[test]
fn a_variant_ten_times_slower_has_regressed_and_every_file_says_so() {
    let _seat = alone();
    let dir = folder();
    let out = resbench(dir.path(), &["compare", "two.toml", "--quiet", "--output", "json"]);
    let found = json(&out);
    assert_eq!((code(&out), &found["answer"]), (1, &"regressed".into()), "{}", told(&out));
    assert_eq!((&found["schema"], &found["clean"]), (&"resbench.compare/1".into(), &true.into()));
    let metric = &found["metrics"][0];
    assert_eq!(metric["metric"], "latency.p50@all");
    assert!(metric["estimate"].as_f64().unwrap() > 3.0, "{metric}");
    let schema = json(&resbench(dir.path(), &["schema", "compare"]));
    let wrong: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&found).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");

    let kept = std::fs::read_dir(dir.path().join("reports/two")).unwrap().flatten().next().unwrap().path();
    for file in ["compare.json", "report.html", "summary.md", "junit.xml", "charts/forest.svg", "charts/pairs.png"] {
        assert!(kept.join(file).metadata().is_ok_and(|m| m.len() > 0), "{file}");
    }
    // Both runs of a pair had the same arrivals, and each has a report of its own.
    for pair in found["pairs"].as_array().unwrap() {
        let planned: Vec<Value> = pair["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| {
                let text = std::fs::read(kept.join(run["dir"].as_str().unwrap()).join("run.json")).unwrap();
                let run: Value = serde_json::from_slice(&text).unwrap();
                serde_json::json!([run["seed"], run["phases"][0]["planned"]])
            })
            .collect();
        assert!(planned.windows(2).all(|w| w[0] == w[1]), "{pair}");
    }

    // Two of these runs side by side are advice.
    let run = |i: usize| kept.join(found["pairs"][0]["runs"][i]["dir"].as_str().unwrap()).display().to_string();
    let out = resbench(dir.path(), &["compare", &run(0), &run(1)]);
    assert_eq!(code(&out), 0, "{}", told(&out));
    assert!(told(&out).contains("one run of each"), "{}", told(&out));
}

#[test]
fn a_gate_keeps_its_history_and_ignores_what_does_not_belong() {
    let _seat = alone();
    let dir = folder();
    let path = |name: &str| dir.path().join("history/two").join(name);
    std::fs::create_dir_all(dir.path().join("history/two")).unwrap();
    std::fs::write(path("night-broken.json"), "{\"schema\": \"resbench.night/1\"").unwrap();
    std::fs::write(path("night-old.json"), "{\"schema\": \"resbench.night/0\"}").unwrap();

    // Alone, against an empty history: it cannot be said, and the night is kept.
    let words = ["gate", "one.toml", "--history", "history", "--quiet", "--output", "json", "--pairs", "2"];
    let out = resbench(dir.path(), &words);
    let first = json(&out);
    assert_eq!((code(&out), &first["answer"]), (3, &"inconclusive".into()), "{}", told(&out));
    assert_eq!(first["kind"], "history");
    let ignored: Vec<&str> =
        first["history"]["ignored"].as_array().unwrap().iter().filter_map(|i| i["file"].as_str()).collect();
    assert_eq!(ignored, ["night-broken.json", "night-old.json"]);

    // Other nights: of this machine, of another one, one that did not pass, and a partial one.
    let night = std::fs::read_dir(dir.path().join("history/two")).unwrap().flatten().map(|e| e.path());
    let night = night.filter(|p| p.to_string_lossy().contains("night-2")).max().expect("the night was kept");
    let night: Value = serde_json::from_slice(&std::fs::read(night).unwrap()).unwrap();
    let with = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut copy = night.clone();
        copy["id"] = name.into();
        copy["started_at"] = format!("2026-01-01T00:00:{:02}Z", name.len()).into();
        (copy["valid"], copy["passed"]) = (true.into(), true.into());
        change(&mut copy);
        std::fs::write(path(&format!("night-{name}.json")), copy.to_string()).unwrap();
    };
    for n in 1..=6 {
        with(&"g".repeat(n), &|_| {});
    }
    with("elsewhere", &|n| n["fingerprint"]["id"] = "000000000000".into());
    with("failed", &|n| n["passed"] = false.into());
    with("partial", &|n| n["valid"] = false.into());
    let words = ["gate", "one.toml", "--history", "history", "--quiet", "--output", "json", "--pairs", "4"];
    let out = resbench(dir.path(), &words);
    let found = json(&out);
    // The same service on the same machine: never worse. A busy machine may make it hard to say.
    assert!([0, 3].contains(&code(&out)), "{}", told(&out));
    let ignored = found["history"]["ignored"].to_string();
    for word in ["another machine", "did not pass", "not valid", "broken", "resbench.night/0"] {
        assert!(ignored.contains(word), "{word}: {ignored}");
    }
    assert!(found["metrics"][0]["sentence"].as_str().unwrap().contains("weak"), "{found}");

    // Ten times slower than all those nights.
    let slow = ["--set", "platform.local.command.5=constant:200ms"];
    let out = resbench(dir.path(), &[&words[..], &slow[..]].concat());
    let found = json(&out);
    // With other values it is another scenario: its nights do not count.
    assert_eq!((code(&out), &found["history"]["nights"]), (3, &0.into()), "{}", told(&out));
}

#[test]
fn noise_is_measured_and_a_smaller_effect_is_refused() {
    let _seat = alone();
    let dir = folder();
    let calibrate = ["gate", "two.toml", "--calibrate", "--history", "history", "--quiet", "--output", "json"];
    let out = resbench(dir.path(), &calibrate);
    let found = json(&out);
    assert!([0, 3].contains(&code(&out)), "{}", told(&out));
    assert_eq!(found["kind"], "calibration");
    let file = std::fs::read_dir(dir.path().join("history/two")).unwrap().flatten().next().expect("it was kept").path();
    assert!(file.file_name().unwrap().to_string_lossy().starts_with("calibration-"));
    // A noisy machine, written by hand: the gate's 50 % is below it.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    kept["noise_floor"]["latency.p50@all"] = 0.8.into();
    std::fs::write(&file, kept.to_string()).unwrap();
    let out = resbench(dir.path(), &["gate", "two.toml", "--history", "history", "--quiet"]);
    assert_eq!(code(&out), 2, "{}", told(&out));
    assert!(told(&out).contains("min_effect 50.0 % is below the noise of this machine, 80.0 %"), "{}", told(&out));
}

#[test]
fn what_cannot_be_compared_is_said_at_once() {
    let dir = folder();
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    write("ungated.toml", SCENARIO.split("[gate]").next().unwrap().to_owned() + VARIANTS);
    write("same.toml", SCENARIO.to_owned() + &VARIANTS.replace("constant:200ms", "constant:20ms"));
    write("misspelt.toml", (SCENARIO.to_owned() + VARIANTS).replace("latency.p50@all", "latency.p50@everything"));
    write("broken.toml", (SCENARIO.to_owned() + VARIANTS).replace("\"constant:200ms\"", "5"));
    for (words, said) in [
        (&["compare", "one.toml"][..], "two [[variant]] tables"),
        (&["compare", "ungated.toml"], "nothing says what decides"),
        (&["compare", "same.toml"], "differ in nothing"),
        (&["compare", "misspelt.toml"], "everything"),
        (&["compare", "broken.toml", "--yes"], "not valid as variant v2"),
        (&["gate", "one.toml"], "--history DIR"),
        (&["compare", "two.toml", "--pairs", "5", "--max-pairs", "3"], "below 5 pairs"),
        (&["compare", "one.toml", "two.toml"], "run.json"),
    ] {
        let out = resbench(dir.path(), words);
        assert_eq!(code(&out), 2, "{words:?}: {}", told(&out));
        assert!(told(&out).contains(said), "{words:?}: {}", told(&out));
    }
}

#[test]
fn runs_that_cannot_start_end_a_comparison_with_five() {
    let dir = folder();
    let text = (SCENARIO.to_owned() + VARIANTS).replace("\"resbench\", \"model-server\"", "\"false\", \"x\"");
    std::fs::write(dir.path().join("dead.toml"), text.replace("timeout = \"20s\"", "timeout = \"1s\"")).unwrap();
    let out = resbench(dir.path(), &["compare", "dead.toml", "--quiet", "--output", "json"]);
    let found = json(&out);
    assert_eq!((code(&out), &found["ending"]), (5, &"not_started".into()), "{}", told(&out));
    assert_eq!(found["answer"], "inconclusive");
    assert!(found["pairs"].as_array().unwrap().len() <= 4, "three pairs are run again at most: {found}");
}
