//! `capacity` as a planner meets it: one short real search, its files and exit code; and what it refuses.

mod support;

use support::alone;
use support::command::{code, json, resbench, told};

/// Two workers, 40 ms for each request: 50/s, whatever the machine does besides.
const SCENARIO: &str = r#"# One replica.
name = "limit"
seed = 7
[target]
protocol = "mlflow"
[platform.local]
replicas = 1
command = ["resbench", "model-server", "--listen", "{address}", "--service-time", "constant:40ms", "--workers", "2"]
ready = { path = "/ping", every = "200ms", timeout = "20s" }
[traffic]
body = '{"inputs": [[1]]}'
timeout = "3s"
[[phase]]
name = "all"
duration = "1s"
rate = 20
[[objective]]
metric = "error_rate"
max = 0.2
[[objective]]
metric = "latency.p50"
max = "1s"
"#;

const CAPACITY: &str = "[capacity]\nfrom = 25\nprecision = \"50%\"\ntrial = \"4s\"\nconfirm = \"4s\"\npeak = 60\n";

#[test]
fn a_search_ends_with_an_answer_that_physics_allows() {
    let _seat = alone();
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("limit.toml"), SCENARIO.to_owned() + CAPACITY).expect("a file");
    let out = resbench(dir.path(), &["capacity", "limit.toml", "--quiet", "--output", "json"]);
    let found = json(&out);
    let code = code(&out);
    // A machine that starves the generator leaves it undecided; it never makes the service carry more than it can.
    assert!([0, 3].contains(&code), "{}", told(&out));
    assert_eq!((&found["schema"], &found["exit_code"]), (&"resbench.capacity/1".into(), &code.into()));
    let search = &found["searches"][0];
    if let Some(carried) = search["carried_rps"].as_f64() {
        assert!(carried < 100.0, "50/s is all that two workers can do: {search}");
        let need = &found["need"];
        assert_eq!((&need["measured"], need["survive"].as_u64()), (&false.into(), Some(1)));
        assert!(found["sentence"].as_str().unwrap().contains("by arithmetic, not measured"), "{found}");
    }
    let trials = search["trials"].as_array().unwrap();
    let hopeless = trials.iter().filter(|t| t["rate_rps"].as_f64().unwrap() >= 200.0);
    assert!(hopeless.clone().all(|t| t["verdict"] != "passed"), "{search}");
    let schema = json(&resbench(dir.path(), &["schema", "capacity"]));
    let wrong: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&found).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");

    let kept = std::fs::read_dir(dir.path().join("reports/limit")).unwrap().flatten().next().unwrap().path();
    for file in ["capacity.json", "report.html", "summary.md", "junit.xml", "charts/capacity.svg"] {
        assert!(kept.join(file).metadata().is_ok_and(|m| m.len() > 0), "{file}");
    }
    assert!(trials.iter().all(|t| kept.join(t["dir"].as_str().unwrap()).join("run.json").is_file()), "{search}");
    // The page is made from the file alone, byte for byte.
    let page = std::fs::read(kept.join("report.html")).unwrap();
    let again = resbench(dir.path(), &["report", kept.to_str().unwrap()]);
    assert!(again.status.success(), "{}", told(&again));
    assert_eq!(std::fs::read(kept.join("report.html")).unwrap(), page);
}

#[test]
fn what_cannot_be_searched_is_said_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("a file");
    write("none.toml", SCENARIO.to_owned());
    write("unpromised.toml", SCENARIO.split("[[objective]]").next().unwrap().to_owned() + CAPACITY);
    write("unknown.toml", SCENARIO.to_owned() + CAPACITY + "lose = { fault = \"nobody\" }\n");
    let dead = (SCENARIO.to_owned() + CAPACITY).replace("\"resbench\", \"model-server\"", "\"false\", \"x\"");
    write("dead.toml", dead.replace("timeout = \"20s\"", "timeout = \"1s\""));
    for (file, code, said) in [
        ("none.toml", 2, "[capacity]"),
        ("unpromised.toml", 2, "[[objective]]"),
        ("unknown.toml", 2, "nobody"),
        ("dead.toml", 5, "replica"),
    ] {
        let out = resbench(dir.path(), &["capacity", file, "--quiet"]);
        assert_eq!(out.status.code(), Some(code), "{file}: {}", told(&out));
        assert!(told(&out).contains(said), "{file}: {}", told(&out));
    }
}
