//! Experiments of Chaos Mesh as people have them: what is accepted as it is, what it means, and what is refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use resbench::plan::*;
use resbench::scenario::{self, LoadOptions, Problems};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chaos-mesh/examples")
}

fn load(platform: &str, faults: &str) -> Result<Plan, Problems> {
    let text = format!(
        "name = \"x\"\n[target]\nprotocol = \"http\"\nurl = \"http://127.0.0.1:9/x\"\n{platform}\n[traffic]\nbody = \"{{}}\"\n\
         timeout = \"1s\"\n[[phase]]\nname = \"load\"\nduration = \"300s\"\nrate = 1\n[[probe]]\nname = \"up\"\n\
         kind = \"prediction\"\n{faults}"
    );
    scenario::load_text(&text, &examples().join("x.toml"), &LoadOptions::default())
}

const PODS: &str = "[platform.kubernetes]\nnamespace = \"ml-serving\"\ndeployment = \"model-server\"\n\
                    dependency = [{ name = \"registry\", selector = \"app=registry\" }]\n";

fn fault(keys: &str) -> String {
    format!("[[fault]]\nname = \"f\"\nat = \"10s\"\n{keys}\n")
}

fn experiment(plan: &Plan) -> &Experiment {
    let FaultKind::ChaosMesh(experiment) = &plan.faults[0].kind else { panic!("{:?}", plan.faults) };
    experiment
}

fn refused(platform: &str, keys: &str) -> String {
    load(platform, &fault(keys)).expect_err(keys).to_string()
}

#[test]
fn the_experiments_that_people_have_are_taken_as_they_are() {
    let lasts = |s: u64| Some(Lasts::For(Duration::from_secs(s)));
    for (file, chaos, expected) in [
        ("pod-kill.yaml", Chaos::Pod, None),
        ("registry-delay.yaml", Chaos::Network, lasts(120)),
        ("slow-volume.yaml", Chaos::Io, lasts(120)),
        ("pod-failure.json", Chaos::Pod, lasts(30)),
    ] {
        let plan = load(PODS, &fault(&format!("kind = \"chaos-mesh\"\nfile = \"{file}\""))).unwrap();
        assert_eq!((experiment(&plan).chaos, plan.faults[0].lasts), (chaos, expected), "{file}");
        assert!(!experiment(&plan).spec.contains_key("scheduler"));
        let told = plan.warnings.join("\n");
        assert_eq!(told.contains("`scheduler` is obsolete"), file == "pod-kill.yaml", "{told}");
        assert_eq!(told.contains("inconclusive"), chaos != Chaos::Pod, "{told}");
    }
    let spec = r#"action = "latency", mode = "one", volumePath = "/models", delay = "500ms", duration = "120s""#;
    let toml =
        format!("kind = \"chaos-mesh\"\nspec = {{ {spec}, selector = {{ labelSelectors = {{ app = \"m\" }} }} }}");
    assert_eq!(experiment(&load(PODS, &fault(&toml)).unwrap()).chaos, Chaos::Io);
    assert!(refused("", &toml).contains("nothing says in which namespace"));
}

#[test]
fn an_import_is_a_fault_that_means_the_same() {
    for file in ["pod-kill.yaml", "registry-delay.yaml", "pod-failure.json"] {
        let (text, notes) = scenario::import_chaos_mesh(&examples().join(file)).unwrap();
        assert_eq!(notes.len(), usize::from(file == "pod-kill.yaml"));
        let imported = load("", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let whole = load(PODS, &fault(&format!("kind = \"chaos-mesh\"\nfile = \"{file}\""))).unwrap();
        assert_eq!(experiment(&imported).spec, experiment(&whole).spec, "{text}");
    }
    let (text, _) = scenario::import_chaos_mesh(&examples().join("slow-volume.yaml")).unwrap();
    assert!(load("", &text).unwrap_err().to_string().contains("nothing says in which namespace"), "{text}");
    assert!(load(PODS, &text).is_ok());
}

#[test]
fn what_its_webhook_would_let_through_is_refused() {
    let spec = |rest: &str| format!("kind = \"chaos-mesh\"\nfor = \"10s\"\nspec = {{ {rest} }}");
    let kill = |selector: &str| spec(&format!("action = \"pod-failure\", mode = \"all\"{selector}"));
    let between = |direction: &str, target: &str| {
        spec(&format!(
            "action = \"delay\", mode = \"one\", direction = \"{direction}\", delay = {{ latency = \"1s\" }}, \
             selector = {{ pods = {{ a = [\"b\"] }} }}, target = {{ mode = \"all\", selector = {{ {target} }} }}"
        ))
    };
    assert!(load(PODS, &fault(&between("both", "namespaces = [\"a\"], labelSelectors = { app = \"db\" }"))).is_ok());
    for (keys, word) in [
        (kill(""), "an empty selector means every pod"),
        (kill(", selector = {}"), "an empty selector means every pod"),
        (kill(", selector = { labelSelectors = {} }"), "an empty selector means every pod"),
        (kill(", selector = { namespaces = [\"a\"] }"), "hits every pod of the namespace"),
        (kill(", selector = { namespaces = [\"kube-system\"], labelSelectors = { a = \"b\" } }"), "never touched"),
        (kill(", selector = { pods = { chaos-mesh = [\"a\"] } }"), "never touched"),
        (
            between("both", "namespaces = [\"kube-system\"], labelSelectors = { k8s-app = \"kube-dns\" }"),
            "never touched",
        ),
        (between("to", "pods = { kube-system = [\"dns\"] }"), "never touched"),
        (spec("action = \"pod-failure\", selector = { pods = { a = [\"b\"] } }"), "`mode` is missing"),
        (spec("action = \"pod-failure\", mode = \"fixed\", selector = { pods = { a = [\"b\"] } }"), "needs `value`"),
        (spec("action = \"latency\", mode = \"one\", selector = { pods = { a = [\"b\"] } }"), "of what kind it is"),
        (
            spec("action = \"delay\", direction = \"both\", mode = \"one\", selector = { pods = { a = [\"b\"] } }"),
            "needs a `target`",
        ),
        (spec("action = \"pod-kill\", mode = \"one\", selector = { pods = { a = [\"b\"] } }"), "happens once"),
        (
            spec("action = \"pod-failure\", duration = \"20s\", mode = \"one\", selector = { pods = { a = [\"b\"] } }"),
            "says how long",
        ),
        (
            spec(
                "action = \"pod-failure\", duration = \"PT20S\", mode = \"one\", selector = { pods = { a = [\"b\"] } }",
            ),
            "duration",
        ),
        ("kind = \"chaos-mesh\"".to_owned(), "needs an experiment"),
        ("kind = \"chaos-mesh\"\nfile = \"missing.yaml\"".to_owned(), "no such file"),
        ("kind = \"chaos-mesh\"\nfile = \"pod-kill.yaml\"\nchaos = \"IOChaos\"".to_owned(), "is a PodChaos"),
    ] {
        let told = refused(PODS, &keys);
        assert!(told.contains(word), "{keys}\n{told}");
    }
}

#[test]
fn files_that_are_no_experiment_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (text, word) in [
        ("", "is empty"),
        ("a: [1", "is not YAML"),
        ("- 1\n", "is not a manifest"),
        ("kind: Pod\nspec: {}\n", "is a Pod"),
        ("kind: PodChoas\nspec: {}\n", "did you mean `PodChaos`"),
        ("kind: Schedule\nspec: {}\n", "repeats on a clock of its own"),
        ("kind: PodChaos\n", "has no `spec`"),
        ("kind: PodChaos\nspec: {}\n---\nkind: PodChaos\nspec: {}\n", "holds 2 objects"),
    ] {
        let file = dir.path().join("x.yaml");
        std::fs::write(&file, text).unwrap();
        let told = scenario::import_chaos_mesh(&file).unwrap_err();
        assert!(told.contains(word), "{text}: {told}");
    }
}

#[test]
fn faults_of_ours_by_chaos_mesh() {
    let with_volume = format!("{PODS}volume = \"/models\"\ncontainer = \"server\"\n");
    let of = |platform: &str, keys: &str| {
        let plan = load(platform, &fault(keys)).unwrap_or_else(|e| panic!("{keys}: {e}"));
        let Via::ChaosMesh(more) = plan.faults[0].via.clone() else { panic!("{keys}: {:?}", plan.faults) };
        let told: Vec<&str> = plan.warnings.iter().map(String::as_str).filter(|w| w.starts_with("fault")).collect();
        (plan.faults[0].kind.clone(), more, told.join("\n"))
    };
    let (_, kill, told) = of(&with_volume, "kind = \"pod-kill\"\nvia = \"chaos-mesh\"");
    assert_eq!((kill.container, told.as_str()), (None, ""), "the whole pod, and proven by itself");
    let (_, kill, _) = of(PODS, "kind = \"pod-kill\"\nvia = \"chaos-mesh\"\ncontainer = \"server\"");
    assert_eq!(kill.container.as_deref(), Some("server"));
    let (kind, delay, told) = of(PODS, "kind = \"network-delay\"\nlatency = \"1s\"\nfor = \"5s\"");
    assert!(matches!(kind, FaultKind::NetworkDelay { direction: Direction::From, .. }), "what leaves the pods");
    assert!(delay.peer.is_none() && told.contains("inconclusive"), "{told}");
    let proven = "kind = \"network-delay\"\nlatency = \"1s\"\nfor = \"5s\"\nto = \"registry\"\nproof = \"trust\"";
    let (kind, delay, told) = of(PODS, proven);
    assert!(matches!(kind, FaultKind::NetworkDelay { direction: Direction::Both, .. }));
    assert_eq!((delay.peer.as_deref(), delay.proof, told.as_str()), (Some("registry"), Some(ProofRule::Trust), ""));
    let (_, io, _) = of(&with_volume, "kind = \"io-error\"\nerrno = \"EIO\"\nfor = \"5s\"");
    assert_eq!((io.volume.as_deref(), io.container.as_deref()), (Some("/models"), Some("server")));
    of(PODS, "kind = \"cpu-stress\"\nworkers = 2\nload = 50\nfor = \"5s\"");
    of(PODS, "kind = \"memory-stress\"\nsize = \"64MiB\"\nfor = \"5s\"");
    of(PODS, "kind = \"network-loss\"\npercent = 7\nfor = \"5s\"");
    of(PODS, "kind = \"network-partition\"\nfor = \"5s\"\ndirection = \"to\"");

    for (keys, word) in [
        ("kind = \"network-delay\"\nlatency = \"1s\"\nfor = \"5s\"\ndirection = \"both\"", "only what leaves the pods"),
        ("kind = \"network-delay\"\nlatency = \"1s\"\nfor = \"5s\"\nto = \"regstry\"", "did you mean `registry`"),
        ("kind = \"io-error\"\nerrno = 5\nfor = \"5s\"", "nothing says where pods have it"),
        ("kind = \"pod-kill\"\ncontainer = \"server\"", "`container` is for faults that Chaos Mesh does"),
        ("kind = \"network-partition\"\nfor = \"5s\"\nproof = { probe = \"nope\", becomes = \"failing\" }", "probe"),
    ] {
        let told = refused(PODS, keys);
        assert!(told.contains(word), "{keys}\n{told}");
    }
}
