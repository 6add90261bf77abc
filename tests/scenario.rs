//! The scenario language from outside: what is refused and how, what is accepted and what it means, and its schema.
//!
//! Each file in `fixtures/scenario/bad` is input and expectation in one: lines of `#set` and `#env` stand around it, and the
//! lines of `#>` at its end are every problem it must lead to. `BLESS=1 cargo test --test scenario` writes them anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use resbench::plan::*;
use resbench::scenario::{self, LoadOptions, Problems};
use resbench::units::Offset;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scenario")
}

/// Files of a folder that end in `.toml`, in order.
fn scenarios_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

/// Every scenario that is shipped, with the name that its place asks for: folder and file.
fn shipped() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let folders = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let mut files = scenarios_in(&root);
    folders.for_each(|folder| files.extend(scenarios_in(&folder)));
    let name = |f: &PathBuf| f.with_extension("").strip_prefix(&root).unwrap().to_str().unwrap().replace('/', "-");
    files.into_iter().map(|f| (f.clone(), name(&f))).collect()
}

/// Loads a text as if it stood in the folder of bad ones, without any environment.
fn load(text: &str, sets: &[&str]) -> Result<Plan, Problems> {
    let sets = sets.iter().map(|s| (*s).to_owned()).collect();
    let options = LoadOptions { sets, seed: None, env: &|_| None };
    scenario::load_text(text, &fixtures().join("bad/x.toml"), &options)
}

/// Every problem as two lines: place, key and message; help.
fn lines_of(problems: &Problems) -> Vec<String> {
    let line = |p: &scenario::Problem| {
        let place = p.set.as_ref().map_or_else(|| format!("{}:{}", p.line, p.column), |set| format!("--set {set}"));
        let path = if p.path.is_empty() { String::new() } else { format!("{}: ", p.path) };
        [format!("#> {place} {path}{}", p.message), format!("#>     {}", p.help)]
    };
    problems.list().iter().flat_map(line).collect()
}

#[test]
fn bad_scenarios_are_answered_with_every_problem_and_its_cure() {
    let bless = std::env::var_os("BLESS").is_some();
    let files = scenarios_in(&fixtures().join("bad"));
    assert!(files.len() > 40, "only {} fixtures", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (input, expected): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| !l.starts_with("#>"));
        let of = |word: &str| input.iter().filter_map(|l| l.strip_prefix(word)).map(str::to_owned).collect::<Vec<_>>();
        let env = of("#env ");
        let lookup = |name: &str| env.iter().find_map(|e| e.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        let options = LoadOptions { sets: of("#set "), seed: None, env: &lookup };
        let problems = scenario::load(&file, &options).expect_err(&file.display().to_string());
        let found = lines_of(&problems);
        if bless {
            let whole: Vec<String> = input.iter().map(|l| (*l).to_owned()).chain(found).collect();
            std::fs::write(&file, whole.join("\n") + "\n").unwrap();
        } else {
            assert_eq!(found, expected, "{}\n{}", file.display(), problems.render(false, 120));
        }
    }
}

#[test]
fn a_file_that_is_no_scenario_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let problems = scenario::load(&file, &LoadOptions::default()).unwrap_err();
        assert_eq!(problems.list().len(), 1, "{problems}");
        assert!(problems.render(true, 100).len() < 2_000, "{name}");
        problems.list()[0].clone()
    };
    assert!(refused("large.toml", &vec![b'#'; 10_000_000]).message.contains("at most 1 MiB"));
    let latin1 = refused("latin1.toml", b"# one\nname = \"caf\xe9\"\n");
    assert_eq!((latin1.line, latin1.column), (2, 12));
    assert!(latin1.message.contains("line 2: not UTF-8"), "{}", latin1.message);
    let deep = refused("deep.toml", format!("{}b = 1", "a.".repeat(400_000)).as_bytes());
    assert!(deep.message.contains("recursion"), "{}", deep.message);
    let missing = scenario::load(&dir.path().join("none.toml"), &LoadOptions::default()).unwrap_err();
    assert!(missing.list()[0].message.contains("no such file"), "{missing}");
    let folder = scenario::load(dir.path(), &LoadOptions::default()).unwrap_err();
    assert!(folder.list()[0].message.contains("a folder"), "{folder}");
}

#[test]
fn problems_are_shown_with_place_underline_and_help() {
    let problems = load("name = \"x\"\n[target]\nprotocol = \"mlfow\"\n", &["traffic.timeout=5"]).unwrap_err();
    let plain = problems.render(false, 100);
    for part in ["bad/x.toml:3:12]", "protocol = \"mlfow\"", "───", "help: did you mean `mlflow`?", "[--set:1:17]"]
    {
        assert!(plain.contains(part), "{part} is not in\n{plain}");
    }
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert!(problems.render(true, 100).contains('\u{1b}'));
    assert!(problems.to_string().contains("x.toml:3:12: target.protocol: unknown protocol `mlfow`\n  help: did"));
}

/// The smallest scenario with a URL, and what is put around it.
fn with_url(rest: &str) -> String {
    format!(
        "name = \"x\"\n[target]\nprotocol = \"http\"\nurl = \"http://127.0.0.1:9/x\"\n[traffic]\nbody = \"{{}}\"\n\
         timeout = \"1s\"\n{rest}"
    )
}

/// Three replicas with a dependency, 5 s of warm-up and two phases of 20 s.
fn with_platform(rest: &str) -> String {
    format!(
        r#"name = "x"
[target]
protocol = "mlflow"
[platform.local]
replicas = 3
command = ["server", "{{address}}", "{{volume}}", "{{dependency.db}}"]
volume = "../volume"
[[platform.local.dependency]]
name = "db"
command = ["db", "{{port}}"]
[traffic]
dataset = "../data/good.csv"
label = "is_fraud"
timeout = "1s"
[[phase]]
name = "warm-up"
duration = "5s"
rate = 200
measure = false
[[phase]]
name = "a"
duration = "20s"
rate = 500
[[phase]]
name = "b"
duration = "20s"
rate = 500
{rest}"#
    )
}

fn plan(text: &str) -> Plan {
    load(text, &[]).unwrap_or_else(|p| panic!("{}", p.render(false, 120)))
}

#[test]
fn a_whole_scenario_becomes_a_plan() {
    let plan = plan(&format!("# The lesson.\n{}", with_platform("")));
    assert_eq!((plan.name.as_str(), plan.lesson.as_str(), plan.seed.0), ("x", "The lesson.", 1));
    assert_eq!(plan.target.path, "/invocations");
    let Some(Platform::Local(local)) = &plan.platform else { panic!("no local platform") };
    assert_eq!((local.replicas, local.dependencies[0].name.as_str()), (3, "db"));
    assert_eq!((local.ready.path.as_deref(), local.dependencies[0].ready.path.as_deref()), (Some("/ping"), Some("/")));
    assert!(local.volume.as_ref().is_some_and(|v| v.is_absolute() && v.ends_with("volume")));
    assert_eq!(plan.traffic.max_in_flight, 2048);
    let Bodies::Dataset(data) = &plan.traffic.bodies else { panic!("no dataset") };
    assert_eq!(data.columns, ["amount", "hour", "city"]);
    assert_eq!(data.numeric, [true, true, false]);
    assert_eq!(data.rows[1], ["20", "0.5", "Bonn"], "numbers are made sendable as JSON");
    assert_eq!(data.labels.as_deref().unwrap(), ["0", "1", "0"]);
    assert_eq!(plan.phases.iter().map(|p| p.start.as_secs_f64()).collect::<Vec<_>>(), [0.0, 5.0, 25.0]);
    assert_eq!(plan.end(), Offset(45_000_000_000));
    assert_eq!(plan.safety.most(3).0, 2, "all but one, where nothing is written");
    assert_eq!(plan.source.sha256.len(), 64);
    assert!(plan.warnings.iter().any(|w| w.contains("no [[objective]]")), "{:?}", plan.warnings);
}

/// Dependencies may call those before them, and need not speak HTTP.
#[test]
fn dependencies_that_call_each_other() {
    let two = |first: &str, second: &str| {
        format!(
            "name = \"x\"\n[target]\nprotocol = \"mlflow\"\n[platform.local]\ncommand = [\"x\", \"{{dependency.b}}\"]\n\
             [[platform.local.dependency]]\nname = \"a\"\n{first}\n[[platform.local.dependency]]\nname = \"b\"\n{second}\n\
             [traffic]\nbody = \"{{}}\"\n[[phase]]\nname = \"p\"\nduration = \"5s\"\nrate = 5\n"
        )
    };
    let database = "command = [\"d\", \"{port}\"]\nready = { connect = true }";
    let calls = "command = [\"r\", \"{address}\", \"{dependency.a}\"]";
    let plan = plan(&two(database, calls));
    let Some(Platform::Local(local)) = &plan.platform else { panic!("no local platform") };
    assert_eq!(local.dependencies[0].ready.path, None, "a connection is enough");
    let wrong = |text: &str, said: &str| {
        let problems = load(text, &[]).expect_err("it is not valid").render(false, 200);
        assert!(problems.contains(said), "{said}: {problems}");
    };
    wrong(&two("command = [\"d\", \"{dependency.b}\"]", "command = [\"r\"]"), "unknown placeholder `{dependency.b}`");
    wrong(&two("command = [\"d\", \"{dependency.a}\"]", "command = [\"r\"]"), "unknown placeholder `{dependency.a}`");
    wrong(&two("command = [\"d\"]\nready = { connect = true, path = \"/x\" }", calls), "two different things");
}

#[test]
fn faults_land_where_they_are_written() {
    let with = |at: &str| with_platform(&format!("[[fault]]\nname = \"k\"\nkind = \"pod-kill\"\nat = \"{at}\"\n"));
    for (at, seconds) in
        [("b", 25.0), ("b+2s", 27.0), ("b + 1m", -1.0), ("27s", 27.0), ("1.5s", 1.5), ("warm-up+250ms", 0.25)]
    {
        match load(&with(at), &[]) {
            Ok(plan) => assert_eq!(plan.faults[0].at.as_secs_f64(), seconds, "{at}"),
            Err(problems) => assert_eq!(seconds, -1.0, "{at}: {problems}"),
        }
    }
    let repeated = plan(&(with("b") + "every = \"4s\"\ntimes = 3\n"));
    let names: Vec<_> = repeated.faults.iter().map(|f| (f.name.as_str(), f.at.as_secs_f64())).collect();
    assert_eq!(names, [("k-1", 25.0), ("k-2", 29.0), ("k-3", 33.0)]);
}

/// A fault that repeats is named whole, by one of its times, or by their median.
#[test]
fn objectives_speak_of_a_fault_that_repeats() {
    let fault =
        "[[fault]]\nname = \"kill\"\nkind = \"pod-kill\"\nat = \"1s\"\nreplica = 0\nevery = \"4s\"\ntimes = 3\n";
    let of = |name: &str| {
        let objective = format!("[[objective]]\nmetric = \"recovery_time\"\nfault = \"{name}\"\nmax = \"2s\"\n");
        let plan =
            load(&with_platform(&format!("{fault}{objective}")), &[]).map_err(|p| p.list()[0].message.clone())?;
        assert_eq!(plan.repeats, [Repeat { name: "kill".into(), faults: 0..3 }]);
        Ok(plan.objectives.iter().map(|o| (o.fault, o.median_of)).collect::<Vec<_>>())
    };
    assert_eq!(of("kill"), Ok(vec![(Some(0), None), (Some(1), None), (Some(2), None)]));
    assert_eq!(of("kill-2"), Ok(vec![(Some(1), None)]));
    assert_eq!(of("kill.median"), Ok(vec![(Some(0), Some(0))]));
    assert_eq!(of("kill-2.median"), Err("there is no fault `kill-2.median`".to_owned()));
}

#[test]
fn a_budget_is_thirty_days_of_what_objectives_promise_unless_it_says_so() {
    let phase = "[[phase]]\nname = \"a\"\nduration = \"5s\"\nrate = 5\n";
    assert_eq!(plan(&with_url(phase)).budget, Budget::default());
    let budget = "[budget]\nwindow = \"28d\"\ntarget = 0.999\nwithin = \"100ms\"\n";
    let own = plan(&with_url(&format!("{phase}{budget}"))).budget;
    let window = Duration::from_secs(28 * 86_400);
    assert_eq!(own, Budget { window, target: Some(0.999), within: Some(Duration::from_millis(100)) });
}

#[test]
fn a_playbook_becomes_steps_with_signs() {
    let text = with_platform(
        r#"[[fault]]
name = "k"
kind = "pod-kill"
at = "b"
every = "4s"
times = 2
[[probe]]
name = "alive"
kind = "http"
path = "/ping"
when = ["before", "during"]
[[playbook]]
fault = "k"
escalation = ["call them"]
automatic = [
  { step = "back", seen_by = { event = "replica-back" } },
  { step = "answers", seen_by = { probe = "alive", becomes = "passing" } },
  { step = "rests" },
]
"#,
    );
    let plan = plan(&text);
    assert_eq!(plan.playbooks.iter().map(|p| p.fault).collect::<Vec<_>>(), [0, 1], "once for each time");
    let of = |s: &Step| (s.by.word(), s.text.clone(), s.seen_by.as_ref().map(Sign::words));
    let steps: Vec<_> = plan.playbooks[1].steps.iter().map(of).collect();
    assert_eq!(
        steps,
        [
            ("automatic", "back".to_owned(), Some("replica-back".to_owned())),
            ("automatic", "answers".to_owned(), Some("probe alive becomes passing".to_owned())),
            ("automatic", "rests".to_owned(), None),
            ("escalation", "call them".to_owned(), None),
        ]
    );
}

#[test]
fn every_kind_of_fault_becomes_what_it_says() {
    let fault = |keys: &str| {
        let text = format!("[safety]\nmax_targets = 3\n[[fault]]\nname = \"f\"\nat = \"b+1s\"\n{keys}\n");
        let plan = plan(&with_platform(&text));
        (format!("{:?}", plan.faults[0].kind), format!("{:?}", plan.faults[0].target), plan.faults[0].lasts)
    };
    let lasts = |s| Some(Lasts::For(Duration::from_secs(s)));
    for (keys, kind, target, wanted) in [
        ("kind = 'pod-kill'\ngrace = '2s'", "PodKill { grace: Some(2s), method: Delete }", "Replicas(One)", None),
        ("kind = 'rolling-restart'\npause = '2s'", "RollingRestart { grace: 30s, pause: 2s }", "Replicas(All)", None),
        ("kind = 'pod-failure'\nfor = '3s'\nmode = 'all'", "PodFailure", "Replicas(All)", lasts(3)),
        ("kind = 'pod-pause'\nuntil = 'end'\nreplica = 2", "PodPause", "Replica(2)", Some(Lasts::UntilEnd)),
        (
            "kind = 'network-delay'\nfor = '3s'\nlatency = '1s'\njitter = '5ms'\ndirection = 'to'\ntarget = 'db'",
            "NetworkDelay { latency: 1s, jitter: 5ms, direction: To }",
            "Dependency(\"db\")",
            lasts(3),
        ),
        (
            "kind = 'network-partition'\nfor = '3s'\nmode = 'fixed'\nvalue = 2",
            "NetworkPartition { direction: Both }",
            "Replicas(Fixed(2))",
            lasts(3),
        ),
        (
            "kind = 'network-reset'\nfor = '3s'\nmode = 'fixed-percent'\nvalue = 50",
            "NetworkReset",
            "Replicas(FixedPercent(50))",
            lasts(3),
        ),
        (
            "kind = 'io-latency'\nfor = '3s'\ndelay = '50ms'",
            "IoLatency { delay: 50ms, scope: IoScope { path: None, methods: [Open, Read], share: Ratio(1.0) } }",
            "Replicas(All)",
            lasts(3),
        ),
        (
            "kind = 'io-error'\nfor = '3s'\nerrno = 'EIO'\npercent = 50\npath = '*.bin'\nmethods = ['read']\nmode = 'one'",
            "IoError { errno: 5, scope: IoScope { path: Some(\"*.bin\"), methods: [Read], share: Ratio(0.5) } }",
            "Replicas(One)",
            lasts(3),
        ),
        (
            "kind = 'network-bandwidth'\nfor = '3s'\nrate = '2KiB'\ndirection = 'from'",
            "NetworkBandwidth { rate: 2048, direction: From }",
            "Replicas(One)",
            lasts(3),
        ),
        (
            "kind = 'network-loss'\nfor = '3s'\npercent = 7\ntarget = 'db'",
            "NetworkLoss { share: Ratio(0.07) }",
            "Dependency(\"db\")",
            lasts(3),
        ),
        ("kind = 'cpu-stress'\nfor = '3s'", "CpuStress { workers: 1, load: Ratio(1.0) }", "Replicas(One)", lasts(3)),
        (
            "kind = 'cpu-stress'\nfor = '3s'\nworkers = 4\nload = 50\nmode = 'all'",
            "CpuStress { workers: 4, load: Ratio(0.5) }",
            "Replicas(All)",
            lasts(3),
        ),
        (
            "kind = 'memory-stress'\nfor = '3s'\nsize = '256MiB'\nreplica = 1",
            "MemoryStress { bytes: 268435456 }",
            "Replica(1)",
            lasts(3),
        ),
        (
            "kind = 'disk-full'\nfor = '3s'\npath = 'cache/*'",
            "DiskFull { scope: IoScope { path: Some(\"cache/*\"), methods: [Write], share: Ratio(1.0) } }",
            "Replicas(All)",
            lasts(3),
        ),
        (
            "kind = 'file-corrupt'\nfor = '3s'\nbytes = 7\nreplica = 1",
            "FileCorrupt { bytes: 7, scope: IoScope { path: None, methods: [Read], share: Ratio(1.0) } }",
            "Replica(1)",
            lasts(3),
        ),
        (
            "kind = 'http'\nrun = { method = 'POST', url = 'http://h/${V:-b}', headers = { X-Key = 'k ${V:-b}' }, expect_status = [202] }\nundo = 'none'\nproof = 'trust'",
            "Http(Hook { run: Request { method: \"POST\", url: \"http://h/b\", headers: {\"X-Key\": \"k b\"}, ca: None, body: \"\", expect_status: [202] }, \
             undo: None, timeout: 30s, proof: Trust, run_text: Request { method: \"POST\", url: \"http://h/${V:-b}\", \
             headers: {\"X-Key\": \"k ${V:-b}\"}, ca: None, body: \"\", expect_status: [202] }, undo_text: None })",
            "Outside",
            None,
        ),
        (
            "kind = 'command'\nrun = ['a', '${V:-b}']\nundo = 'none'\nproof = 'trust'",
            "Command(Hook { run: [\"a\", \"b\"], undo: None, timeout: 30s, proof: Trust, run_text: [\"a\", \"${V:-b}\"], undo_text: None })",
            "Outside",
            None,
        ),
        // Columns of the dataset: amount, hour and city, the last of which is text.
        (
            "kind = 'payload-drift'\nfor = '3s'\nshift = -1.5\nshare = 0.25",
            "Payload(Payload { alter: Drift { features: [0, 1], shift: -1.5 }, share: Ratio(0.25), expect: Answered, \
             expect_share: Ratio(1.0), include: true })",
            "Requests",
            lasts(3),
        ),
        (
            "kind = 'payload-drop'\nfor = '3s'\nfeatures = ['city', 'amount']\nexpect_share = 0.99\ninclude = true",
            "Payload(Payload { alter: Drop { features: [0, 2] }, share: Ratio(1.0), expect: Rejected, \
             expect_share: Ratio(0.99), include: true })",
            "Requests",
            lasts(3),
        ),
        (
            "kind = 'payload-corrupt'\nfor = '3s'",
            "Payload(Payload { alter: Corrupt { features: [0, 1], garbage: Text }, share: Ratio(1.0), expect: Rejected, \
             expect_share: Ratio(1.0), include: false })",
            "Requests",
            lasts(3),
        ),
        (
            "kind = 'payload-corrupt'\nuntil = 'end'\nas = 'noise'",
            "Payload(Payload { alter: Corrupt { features: [0, 1, 2], garbage: Noise }, share: Ratio(1.0), expect: Answered, \
             expect_share: Ratio(1.0), include: false })",
            "Requests",
            Some(Lasts::UntilEnd),
        ),
        (
            "kind = 'payload-malformed'\nfor = '3s'\nexpect = 'answered'",
            "Payload(Payload { alter: Malformed, share: Ratio(1.0), expect: Answered, expect_share: Ratio(1.0), include: false })",
            "Requests",
            lasts(3),
        ),
        (
            "kind = 'payload-oversize'\nfor = '3s'\nbatch = 500",
            "Payload(Payload { alter: Oversize { batch: 500 }, share: Ratio(1.0), expect: Either, expect_share: Ratio(1.0), \
             include: false })",
            "Requests",
            lasts(3),
        ),
        (
            "kind = 'payload-cache-bust'\nfor = '3s'\nfeatures = ['city']\ndistinct = 7",
            "Payload(Payload { alter: CacheBust { features: [2], distinct: 7 }, share: Ratio(1.0), expect: Answered, \
             expect_share: Ratio(1.0), include: false })",
            "Requests",
            lasts(3),
        ),
        (
            "kind = 'registry-alias'\nfor = '3s'\nurl = 'http://h:5000/'\nmodel = 'm'\nalias = '${V:-a}'\nto = 2\nheaders = { K = '${V:-b}' }",
            "RegistryAlias(RegistryAlias { registry: Registry { url: \"http://h:5000\", headers: {\"K\": \"b\"}, ca: None, model: \"m\", \
             alias: \"a\" }, registry_text: Registry { url: \"http://h:5000\", headers: {\"K\": \"${V:-b}\"}, ca: None, model: \"m\", \
             alias: \"${V:-a}\" }, to: Some(2), create: false, timeout: 30s })",
            "Outside",
            lasts(3),
        ),
        (
            "kind = 'registry-alias'\nfor = '3s'\nurl = 'http://{dependency.db}'\nmodel = 'm'\nalias = 'a'\nto = 'missing'\ntimeout = '2s'",
            "RegistryAlias(RegistryAlias { registry: Registry { url: \"http://{dependency.db}\", headers: {}, ca: None, model: \"m\", alias: \"a\" }, \
             registry_text: Registry { url: \"http://{dependency.db}\", headers: {}, ca: None, model: \"m\", alias: \"a\" }, \
             to: None, create: false, timeout: 2s })",
            "Outside",
            lasts(3),
        ),
    ] {
        assert_eq!(fault(keys), (kind.to_owned(), target.to_owned(), wanted), "{keys}");
    }
}

/// What a payload fault expects is an objective of the plan, at the line of the fault, for each repetition.
#[test]
fn payload_faults_judge_themselves_and_need_no_platform() {
    let bad = "[[phase]]\nname = \"a\"\nduration = \"20s\"\nrate = 100\n[[fault]]\nname = \"bad\"\nkind = \"payload-malformed\"\n\
               at = \"2s\"\nfor = \"1s\"\nevery = \"5s\"\ntimes = 3\nexpect_share = 0.95\n";
    let plan = plan(&with_url(bad));
    let judged: Vec<_> = plan.objectives.iter().map(|o| (o.metric.word(), o.op, o.bound, o.fault, o.line)).collect();
    assert_eq!(judged, (0..3).map(|n| ("as_expected".to_owned(), Op::Min, 0.95, Some(n), 12)).collect::<Vec<_>>());
    assert_eq!(plan.faults.iter().map(|f| f.via.word("local")).collect::<Vec<_>>(), ["load"; 3]);
    assert!(
        load(&with_url(&bad.replace("0.95", "0.95\nshare = 0.0001")), &[])
            .unwrap()
            .warnings
            .iter()
            .any(|w| { w.contains("fault bad-1: about 0.0100 requests fall to its share") })
    );
}

#[test]
fn probes_of_servers_become_what_they_say() {
    use resbench::plan::{Across, AlertApi, ProbeKind, QueryRange, Reduce, Workload};
    let text = with_platform(
        r#"
[[fault]]
name = "kill"
kind = "pod-kill"
at = "b"
every = "4s"
times = 2
[[probe]]
name = "query"
kind = "prometheus"
url = "https://prom/prefix/"
headers = { Authorization = "Bearer x" }
query = "sum(rate(errors[5m]))"
window = "30s"
reduce = "max"
across = "each"
expect_below = 1
no_data = "pass"
when = ["after"]
[[probe]]
name = "alert"
kind = "alert"
url = "http://127.0.0.1:9093"
via = "alertmanager"
expect_fired = "Down"
fault = "kill"
[[probe]]
name = "ready"
kind = "kubernetes"
namespace = "models"
selector = "app=registry"
expect_ready = 2
[[probe]]
name = "run"
kind = "command"
command = ["true"]
"#,
    );
    let plan = plan(&text);
    let [query, alert, ready, run] = plan.probes.as_slice() else { panic!("{:?}", plan.probes) };
    let ProbeKind::Prometheus(p) = &query.kind else { panic!("{query:?}") };
    assert_eq!((p.server.url.to_string().as_str(), p.server.headers.len()), ("https://prom:443/prefix", 1));
    let (window, step) = (Duration::from_secs(30), Duration::from_secs(2));
    assert_eq!(p.range, Some(QueryRange { window, step, reduce: Reduce::Max }));
    assert_eq!((p.across, p.below, p.above, p.no_data_passes), (Some(Across::Each), Some(1.0), None, true));
    assert!(plan.warnings.iter().any(|w| w.contains("looks back over 5m")), "{:?}", plan.warnings);
    let ProbeKind::Alert(a) = &alert.kind else { panic!("{alert:?}") };
    assert_eq!((a.api, a.faults.as_slice(), a.within), (AlertApi::Alertmanager, &[0, 1][..], None));
    assert!(alert.before && alert.after && alert.during == Some(Duration::from_secs(1)));
    let ProbeKind::Kubernetes(k) = &ready.kind else { panic!("{ready:?}") };
    assert!(matches!(&k.of, Workload::Labelled(l) if l.to_string() == "app=registry") && k.ready == 2);
    let ProbeKind::Command(c) = &run.kind else { panic!("{run:?}") };
    assert_eq!((c.expect_exit.as_slice(), run.timeout), (&[0][..], Duration::from_secs(2)));
}

#[test]
fn rates_of_every_shape() {
    let shape = |rate: &str| {
        let text = with_url(&format!("[[phase]]\nname = \"a\"\nduration = \"2s\"\n{rate}\n"));
        format!("{:?}", plan(&text).phases[0].load)
    };
    for (rate, wanted) in [
        ("rate = 5", "Open(Constant(Rate(5.0)))"),
        ("rate = { from = 0, to = 9.5 }", "Open(Ramp { from: 0.0, to: 9.5 })"),
        ("rate = { from = 1, to = 9, steps = 3 }", "Open(Steps { from: 1.0, to: 9.0, steps: 3 })"),
        (
            "rate = { mean = 5, amplitude = 5, period = \"1s\" }",
            "Open(Wave { mean: Rate(5.0), amplitude: 5.0, period: 1s, start: 0ns })",
        ),
        ("rate = { trace = \"../data/trace.csv\" }", "Open(Trace([0, 500000000, 500000000, 1900000000]))"),
        ("rate = { trace = \"../data/trace.csv\", scale = 2 }", "Open(Trace([0, 250000000, 250000000, 950000000]))"),
        ("concurrency = 4", "Closed { concurrency: 4, max_rate: None }"),
        ("concurrency = 4\nmax_rate = 9", "Closed { concurrency: 4, max_rate: Some(Rate(9.0)) }"),
    ] {
        assert_eq!(shape(rate), wanted, "{rate}");
    }
}

#[test]
fn objectives_find_their_spans_faults_and_units() {
    let plan = plan(&with_platform(
        r#"[[fault]]
name = "k"
kind = "pod-kill"
at = "b+1s"
[[probe]]
name = "p"
kind = "http"
path = "/ping"
when = ["during"]
[[objective]]
metric = "latency.p99.9"
max = "250ms"
[[objective]]
metric = "availability"
min = 0.99
spans = ["b", "during:k", "after:k"]
[[objective]]
metric = "recovery_time"
fault = "k"
max = "10s"
within = "80ms"
[[objective]]
probe = "p"
"#,
    ));
    let [latency, availability, recovery, probe] = plan.objectives.as_slice() else { panic!("{:?}", plan.objectives) };
    let phase = |n| SpanRef::Phase(resbench::units::PhaseId(n));
    assert_eq!((latency.bound, latency.op, latency.spans.as_slice()), (0.25, Op::Max, &[phase(1), phase(2)][..]));
    assert_eq!((availability.bound, availability.op), (0.99, Op::Min));
    assert_eq!(availability.spans, [phase(2), SpanRef::During(0), SpanRef::After(0)]);
    assert_eq!((recovery.fault, recovery.bound, recovery.within), (Some(0), 10.0, Some(Duration::from_millis(80))));
    assert!(recovery.spans.is_empty());
    assert_eq!(probe.metric, Metric::Probe("p".into()));
    assert_eq!(plan.probes[0].during, Some(Duration::from_secs(1)));
    assert!(!plan.probes[0].before && !plan.probes[0].after);
}

#[test]
fn decisions_say_what_differs_and_what_matters() {
    let text = with_url(
        r#"
        [[phase]]
        name = "baseline"
        duration = "60s"
        rate = 10
        [[fault]]
        name = "hook"
        kind = "command"
        at = "baseline+10s"
        run = ["true"]
        undo = "none"
        proof = "trust"
        [[objective]]
        metric = "error_rate"
        max = 0.1
        [[variant]]
        name = "v1"
        [[variant]]
        name = "v2"
        set = { "target.url" = "${V2:-http://127.0.0.1:2/}", "phase.baseline.rate" = { from = 1, to = 2 } }
        [gate]
        metrics = [
            { metric = "latency.p99@baseline", min_effect = "5%" },
            { metric = "error_rate@during:hook", min_effect = 0.002 },
            { metric = "recovery_time@hook", min_effect = "500ms" },
        ]
        [capacity]
        from = 100
        lose = { fault = "hook" }
        peak = 1000
        growth = "20%"
        "#,
    );
    let plan = plan(&text);
    let sets = &plan.variants[1].sets;
    assert!(plan.variants[0].sets.is_empty());
    assert!(sets.contains(&r#"target.url="${V2:-http://127.0.0.1:2/}""#.to_owned()), "unexpanded: {sets:?}");
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let second = load(&text, &sets).unwrap();
    assert_eq!(second.target.url.unwrap().port, 2);
    assert!(matches!(second.phases[0].load, Load::Open(Shape::Ramp { .. })), "a table is a value too");
    let gate = plan.gate.unwrap();
    let places: Vec<(&Where, Effect)> = gate.metrics.iter().map(|m| (&m.place, m.min_effect)).collect();
    let span = |span| Where::Span(span);
    assert_eq!(*places[0].0, span(SpanRef::Phase(resbench::units::PhaseId(0))));
    assert_eq!(places[0].1, Effect::Relative(0.05));
    assert_eq!((places[1].0, places[1].1), (&span(SpanRef::During(0)), Effect::Absolute(0.002)));
    assert_eq!((places[2].0, places[2].1), (&Where::Fault(0), Effect::Absolute(0.5)));
    assert_eq!((gate.pairs, gate.max_pairs), (7, 15));
    let capacity = plan.capacity.unwrap();
    let planning = capacity.planning.unwrap();
    assert_eq!((capacity.lose, capacity.precision, planning.survive), (Some(0), 0.05, 1));
    assert_eq!((planning.peak.get(), planning.growth), (1000.0, 0.2));
}

#[test]
fn sets_and_seed_override_the_file() {
    let text = with_platform("[[objective]]\nmetric = \"latency.p99\"\nmax = \"1s\"\n");
    let sets = [
        "phase.a.rate=900",
        "phase.2.duration=30s",
        "objective.0.max=\"50ms\"",
        "safety.max_targets=1",
        "traffic.cv=2",
        "traffic.arrivals=gamma",
    ];
    let options = LoadOptions { sets: sets.map(str::to_owned).to_vec(), seed: Some(u64::MAX), env: &|_| None };
    let plan = scenario::load_text(&text, &fixtures().join("bad/x.toml"), &options).unwrap();
    assert!(matches!(plan.phases[1].load, Load::Open(Shape::Constant(rate)) if rate.get() == 900.0));
    assert_eq!(plan.phases[2].duration, Duration::from_secs(30));
    assert_eq!(plan.objectives[0].bound, 0.05);
    assert_eq!(plan.safety.max_targets, Some(1));
    assert_eq!(plan.traffic.process, Process::Gamma { cv: 2.0 });
    assert_eq!(plan.seed.0, u64::MAX);
    assert_eq!(plan.source.sets, sets);
    assert_ne!(plan.source.sha256, load(&text, &[]).unwrap().source.sha256);
}

#[test]
fn values_from_the_environment_are_secrets_and_defaults_are_not() {
    let text = with_url("[[phase]]\nname = \"a\"\nduration = \"${LENGTH:-2s}\"\nrate = 5\n")
        .replace("[traffic]", "headers = { Authorization = \"Bearer ${TOKEN}\", X = \"${ON}\" }\n[traffic]");
    let env = |name: &str| match name {
        "TOKEN" => Some("hunter2".to_owned()),
        "ON" => Some("1".to_owned()),
        _ => None,
    };
    let options = LoadOptions { env: &env, ..LoadOptions::default() };
    let plan = scenario::load_text(&text, Path::new("x.toml"), &options).unwrap();
    assert_eq!(plan.target.headers[0], ("Authorization".to_owned(), "Bearer hunter2".to_owned()));
    assert_eq!(plan.secrets, ["hunter2"], "neither the default nor the short value");
    let text = with_url("[[phase]]\nname = \"a\"\nduration = \"2s\"\nrate = { trace = \"../data/${T}.csv\" }\n");
    let options = LoadOptions { env: &|_| Some("trace".into()), ..LoadOptions::default() };
    let plan = scenario::load_text(&text, &fixtures().join("bad/x.toml"), &options).unwrap();
    assert!(plan.warnings.iter().any(|w| w.contains("../data/***.csv")), "{:?}", plan.warnings);
}

#[test]
fn warnings_say_what_a_careful_reader_should_know() {
    let base = "[[phase]]\nname = \"a\"\nduration = \"2s\"\nrate = 50\n";
    for (rest, part) in [
        (format!("max_in_flight = 10\n{base}"), "below peak rate × timeout (50 × 1s = 50)"),
        (base.replace("rate", "concurrency"), "closed loop"),
        (format!("{base}[[objective]]\nmetric = \"latency.ok.p50\"\nmax = \"10ms\"\n"), "a service that fails fast"),
        (format!("{base}[[objective]]\nmetric = \"latency.p99\"\nmax = \"10ms\"\n"), "needs 299 arrivals"),
        (format!("{base}[[objective]]\nmetric = \"error_rate\"\nmin = 0.1\n"), "usually a `max`"),
        (base.replace("50", "{ trace = \"../data/trace.csv\" }"), "1 arrivals of"),
    ] {
        let warnings = plan(&with_url(&rest)).warnings;
        assert!(warnings.iter().any(|w| w.contains(part)), "{part} is not in {warnings:?}");
    }
    let kill = |name: &str| format!("[[fault]]\nname = \"{name}\"\nkind = \"pod-pause\"\nat = \"b\"\nfor = \"2s\"\n");
    let both = with_platform(&format!("{}{}[safety]\nmax_targets = 1\n", kill("x"), kill("y")));
    let warnings = plan(&both).warnings;
    assert_eq!(warnings.iter().filter(|w| w.contains("2 replicas together, at most 1")).count(), 1, "{warnings:?}");
}

/// Pods as replicas, 20 s of load, and what is put after it.
fn with_pods(platform: &str, rest: &str) -> String {
    format!(
        "name = \"x\"\n[target]\nprotocol = \"http\"\n[platform.kubernetes]\nnamespace = \"ml\"\n{platform}\n\
         [traffic]\nbody = \"{{}}\"\ntimeout = \"1s\"\n[[phase]]\nname = \"a\"\nduration = \"20s\"\nrate = 5\n{rest}"
    )
}

#[test]
fn pods_are_named_and_faults_go_to_who_can_do_them() {
    let platform = "selector = \"app=web, tier=a\"\nservice = \"web:8080\"\ncontext = \"lab\"\n\
                    [[platform.kubernetes.dependency]]\nname = \"registry\"\nselector = \"app=mlflow\"";
    let fault =
        |kind: &str, more: &str| format!("[[fault]]\nname = \"{kind}\"\nkind = \"{kind}\"\nat = \"1s\"\n{more}\n");
    let rest = [
        fault("pod-kill", "method = \"evict\"\ngrace = \"2s\""),
        fault("rolling-restart", ""),
        fault("pod-failure", "for = \"2s\"\nvia = \"kubernetes\""),
        fault("network-delay", "for = \"2s\"\nlatency = \"1s\"\ntarget = \"registry\""),
        "[safety]\nmax_percent = 34\nmin_ready = 2\nnamespaces = [\"ml\"]\n".to_owned(),
    ];
    let plan = plan(&with_pods(platform, &rest.concat()));
    let Some(Platform::Kubernetes(k)) = &plan.platform else { panic!("{:?}", plan.platform) };
    assert_eq!((k.namespace.as_str(), k.context.as_deref()), ("ml", Some("lab")));
    assert!(matches!(&k.pods, Pods::Labelled(labels) if labels.to_string() == "app=web,tier=a"), "{k:?}");
    assert_eq!((k.service.clone(), k.dependencies.len()), (Some(("web".to_owned(), 8080)), 1));
    assert_eq!(k.dependencies[0].namespace, "ml", "where the replicas live");
    let evict = FaultKind::PodKill { grace: Some(Duration::from_secs(2)), method: KillMethod::Evict };
    assert_eq!(format!("{:?}", plan.faults[0].kind), format!("{evict:?}"));
    let via: Vec<&str> = plan.faults.iter().map(|f| f.via.word(plan.platform_word())).collect();
    assert_eq!(via, ["kubernetes", "kubernetes", "kubernetes", "chaos-mesh"]);
    assert_eq!(plan.safety.most(6).0, 2, "a third of six; two must be left");
    assert_eq!(plan.safety.most(3).0, 1);
}

/// Capacity after a loss is only measured where the loss stays.
#[test]
fn only_a_loss_that_can_be_held_is_searched_under() {
    let of = |kind: &str| {
        let fault = format!("[[fault]]\nname = \"kill\"\nat = \"1s\"\nmode = \"one\"\n{kind}\n");
        let rest = format!("{fault}[capacity]\nfrom = 10\nlose = {{ fault = \"kill\" }}\n");
        load(&with_pods("deployment = \"model\"\nservice = \"model:8080\"", &rest), &[])
            .map(|plan| plan.capacity.and_then(|c| c.lose))
            .map_err(|p| p.list().iter().map(|p| format!("{}: {}; {}", p.path, p.message, p.help)).collect::<String>())
    };
    assert_eq!(of("kind = \"pod-kill\"\nvia = \"chaos-mesh\""), Ok(Some(0)));
    let told = of("kind = \"pod-kill\"").unwrap_err();
    assert!(
        told.starts_with("capacity.lose.fault: `kill` kills a pod") && told.contains("via = \"chaos-mesh\""),
        "{told}"
    );
    let told = of("kind = \"rolling-restart\"").unwrap_err();
    assert!(told.contains("no loss to hold"), "{told}");
}

#[test]
fn shipped_scenarios_load_without_a_warning_and_say_what_they_teach() {
    let files = shipped();
    assert!(files.len() >= 8, "{files:?}");
    for (file, name) in files {
        let plan = scenario::load(&file, &LoadOptions::default())
            .unwrap_or_else(|p| panic!("{}: {}", file.display(), p.render(false, 120)));
        assert_eq!(plan.warnings, Vec::<String>::new(), "{}", file.display());
        assert_eq!(plan.name, name);
        assert!(plan.lesson.len() > 30, "{}", file.display());
        assert!(plan.end().as_secs_f64() < 90.0);
    }
}

/// A scenario file as JSON, the way editors hold it against the schema.
fn as_json(text: &str) -> serde_json::Value {
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

#[test]
fn the_schema_agrees_with_the_reader() {
    let schema = scenario::schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (file, _) in shipped() {
        let errors: Vec<String> =
            validator.iter_errors(&as_json(&std::fs::read_to_string(&file).unwrap())).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
    let good = with_platform("[[fault]]\nname = \"k\"\nkind = \"pod-kill\"\nat = \"b\"\n");
    assert!(validator.is_valid(&as_json(&good)));
    for (from, to) in [
        ("mlflow", "mlfow"),
        ("name = \"x\"", "name = \"X y\""),
        ("rate = 200", "rate = -1"),
        ("rate = 200", "ratee = 200"),
        ("duration = \"5s\"", "duration = 5"),
        ("duration = \"5s\"", "duration = \"5\""),
        ("pod-kill", "pod-kil"),
        ("pod-kill", "io-error"),
        ("at = \"b\"", "at = \"b\"\nlatency = \"1s\""),
        ("[traffic]", "[trafic]"),
    ] {
        let broken = good.replacen(from, to, 1);
        assert_ne!(broken, good, "{from}");
        assert!(!validator.is_valid(&as_json(&broken)), "the schema lets {to} through");
        assert!(load(&broken, &[]).is_err(), "the reader lets {to} through");
    }
}

#[test]
fn containers_are_found_as_docker_compose_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("My.Shop");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("compose.yaml");
    let text = with_url("[[phase]]\nname = \"a\"\nduration = \"5s\"\nrate = 5\n")
        .replace("url = \"http://127.0.0.1:9/x\"\n", "");
    let labels = |yaml: &str, platform: &str| {
        std::fs::write(&file, yaml).unwrap();
        let platform = format!("[platform.docker]\nport = 8080\n{platform}\n");
        let at = |p: &str| folder.join(p);
        let options = LoadOptions { sets: Vec::new(), seed: None, env: &|_| None };
        let plan = scenario::load_text(&format!("{text}{platform}"), &at("x.toml"), &options)
            .unwrap_or_else(|p| panic!("{p}"));
        let Some(Platform::Docker(docker)) = plan.platform else { panic!("no docker platform") };
        assert!(docker.ready.is_none() && docker.host.is_none() && docker.port == 8080);
        docker.replicas.labels
    };
    let by_service = "compose = \"compose.yaml\"\nservice = \"model\"";
    let service = "com.docker.compose.service=model".to_owned();
    let project = |name: &str| format!("com.docker.compose.project={name}");
    assert_eq!(labels("services: {}\n", by_service), [project("myshop"), service.clone()]);
    assert_eq!(labels("name: other\nservices: {}\n", by_service), [project("other"), service.clone()]);
    assert_eq!(labels("", "label = \"tier=model\""), ["tier=model"]);
    assert_eq!(labels("", "label = \"tier=model\"\nservice = \"model\""), ["tier=model".to_owned(), service]);
}

/// A scenario with this target and traffic, no more.
fn with_target(target: &str, traffic: &str) -> Plan {
    let phase = "[[phase]]\nname = \"a\"\nduration = \"5s\"\nrate = 5\n";
    plan(&format!("name = \"x\"\n[target]\n{target}\n[traffic]\n{traffic}\n{phase}"))
}

#[test]
fn protocols_have_their_addresses_forms_and_tensors() {
    let csv = "dataset = \"../data/good.csv\"";
    let local = "[platform.local]\ncommand = [\"x\", \"{port}\"]\n[traffic]\ndataset = \"../data/good.csv\"\n";
    let on_platform = |target: &str| {
        let phase = "[[phase]]\nname = \"a\"\nduration = \"5s\"\nrate = 5\n";
        let plan = plan(&format!("name = \"x\"\n[target]\n{target}\n{local}{phase}"));
        let Some(Platform::Local(platform)) = plan.platform else { panic!("no local platform") };
        (plan.target.path, platform.ready.path.expect("a path is polled"))
    };
    assert_eq!(
        on_platform("protocol = \"open-inference\"\nmodel = \"fraud\"\nmodel_version = \"3\""),
        ("/v2/models/fraud/versions/3/infer".into(), "/v2/health/ready".into())
    );
    assert_eq!(
        on_platform("protocol = \"tf-serving\"\nmodel = \"fraud\""),
        ("/v1/models/fraud:predict".into(), "/v1/models/fraud".into())
    );
    let url = "url = \"http://127.0.0.1:9/x\"";
    let encoding = |target: &str| with_target(&format!("{target}\n{url}"), csv).target.encoding;
    assert_eq!(encoding("protocol = \"mlflow\"").form, Form::Split);
    assert_eq!(encoding("protocol = \"mlflow\"\nform = \"inputs\"").form, Form::Inputs);
    assert_eq!(encoding("protocol = \"tf-serving\"").form, Form::Instances);
    let tensors =
        encoding("protocol = \"open-inference\"\nform = \"binary\"\ninput = \"predict\"\ndatatype = \"FP32\"");
    let expected =
        Encoding { form: Form::Binary, input: Some("predict".into()), datatype: Some(Datatype::Fp32), signature: None };
    assert_eq!(tensors, expected);
    let answer = with_target(
        &format!(
            "protocol = \"http\"\n{url}\nanswer = {{ prediction = \"json:/p/*/y\", timestamp = \"header:Last-Modified\" }}"
        ),
        csv,
    );
    assert_eq!(answer.target.answer.age, Some(AgePlace::Timestamp(Place::Header("last-modified".into()))));
    assert_eq!(answer.target.answer.tolerance, 1e-5);
}

#[test]
fn rows_go_together_in_batches_and_templates() {
    let url = "protocol = \"http\"\nurl = \"http://127.0.0.1:9/x\"";
    let traffic =
        |more: &str| with_target(url, &format!("dataset = \"../data/gaps.csv\"\nlabel = \"is_fraud\"\n{more}")).traffic;
    assert!(traffic("").batch.is_single());
    assert_eq!(traffic("batch = 8").batch.sizes, [(8, 1.0)]);
    let mixed = traffic("batch = { sizes = [1, 8, 32], weights = [6, 3, 1] }").batch;
    assert_eq!(mixed.sizes, [(1, 0.6), (8, 0.3), (32, 0.1)]);
    assert!((mixed.mean() - 6.2).abs() < 1e-12);
    assert_eq!((mixed.bodies(10), mixed.bodies(620_000)), (1000, 100_000));
    let template =
        traffic("template = '[{{#rows}}{\"id\": \"tx-{{id}}\", \"n\": {{amount}}}{{/rows}}]'\nbatch = 2").template;
    let template = template.expect("a template");
    assert_eq!(template.each.as_ref().map(Vec::len), Some(5));
}

#[test]
fn gaps_in_a_dataset_are_told_and_have_a_meaning() {
    let plan = with_target(
        "protocol = \"mlflow\"\nurl = \"http://127.0.0.1:9/x\"",
        "dataset = \"../data/gaps.csv\"\nlabel = \"is_fraud\"",
    );
    let Bodies::Dataset(table) = &plan.traffic.bodies else { panic!("a dataset") };
    assert_eq!(table.numeric, [true, true, false], "a column of numbers with gaps is one of numbers");
    for part in [
        "`amount` has 1 cell without a number; they are sent as null",
        "1 of 3 rows have no `is_fraud`; their answers are in no accuracy",
    ] {
        assert!(plan.warnings.iter().any(|w| w.contains(part)), "{part}: {:?}", plan.warnings);
    }
}

/// A scenario that uses most of the language, as lines to be mutated.
fn rich() -> String {
    with_platform(
        r#"rate = { from = 1, to = 5 }
[[phase]]
name = "c"
duration = "5s"
concurrency = 3
[[fault]]
name = "d"
kind = "network-delay"
at = "b+1s"
for = "2s"
latency = "1s"
[[fault]]
name = "c"
kind = "command"
at = "b"
run = ["x", "${A:-b}"]
undo = ["y"]
proof = { probe = "p", becomes = "failing" }
[[probe]]
name = "p"
kind = "http"
path = "/"
[[objective]]
metric = "latency.p99"
max = "1s"
spans = ["a", "during:d"]
[budget]
window = "30d"
target = 0.99
[safety]
abort_when = { good_ratio_below = 0.1, for = "3s" }
"#,
    )
    .replacen("rate = 500\nrate = {", "rate = {", 1)
}

/// What a mutation puts in place of a value or a part of a line.
const SCRAPS: [&str; 24] = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e308",
    "9223372036854775807",
    "\"\"",
    "\"b+99999999h\"",
    "\"after:d\"",
    "[]",
    "{}",
    "[[1]]",
    "true",
    "\"${X}\"",
    "\"${\"",
    "\"\\u0000\"",
    "1979-05-27",
    "\"all\"",
    "\"end\"",
    "[\"a\", 1]",
    "{ from = 1, trace = \"x\" }",
    "\"99999999999999999999s\"",
    "\"ü\u{202e}\"",
    "\"../data/trace.csv\"",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}", set in "\\PC{0,40}") {
        let _ = load(&text, &[&set]).map_err(|p| p.render(true, 0));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load(&String::from_utf8_lossy(&bytes), &[]).map_err(|p| p.render(false, 80));
    }

    #[test]
    fn mutated_scenarios_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..5usize, any::<prop::sample::Index>()), 1..6),
        set in prop::sample::select(vec!["", "phase.a.rate=nan", "fault.d.for=end", "objective.0.spans=[]", "target=5", "a.b=c"]),
    ) {
        let mut lines: Vec<String> = rich().lines().map(str::to_owned).collect();
        for (line, how, scrap) in edits {
            let at = line.index(lines.len());
            let scrap = SCRAPS[scrap.index(SCRAPS.len())];
            match (how, lines[at].split_once(" = ")) {
                (0, _) if lines.len() > 1 => { lines.remove(at); }
                (1, _) => { let copy = lines[at].clone(); lines.insert(at, copy); }
                (2, Some((key, value))) => lines[at] = format!("{}x = {value}", &key[..key.len() - 1]),
                (3, _) => { let cut = lines[at].chars().count() / 2; lines[at] = lines[at].chars().take(cut).collect(); }
                (_, Some((key, _))) => lines[at] = format!("{key} = {scrap}"),
                _ => lines[at] = scrap.to_owned(),
            }
        }
        let sets: Vec<&str> = Some(set).filter(|s| !s.is_empty()).into_iter().collect();
        if let Err(problems) = load(&lines.join("\n"), &sets) {
            prop_assert!(!problems.list().is_empty());
            prop_assert!(problems.list().iter().all(|p| !p.message.is_empty() && !p.help.is_empty()), "{}", problems);
            problems.render(true, 60);
        }
    }
}

#[test]
fn the_scenario_that_is_mutated_is_a_good_one() {
    plan(&rich());
}
