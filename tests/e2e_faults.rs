//! Faults from outside: the real binary breaks real replicas, proves it, and puts everything back on every road out, its own
//! sudden death included.
//!
//! `RESBENCH_KILLS=10` kills each kind of fault ten times instead of once.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use resbench::clock::sleep;
use resbench::fault::nft;
use resbench::platform::process::with_environment;
use resbench::platform::volume;
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;
use support::server::{GOOD, Server, Then};
use support::{Ran, Room, Running, alone, light, now, shipped, until};

/// Replicas of the embedded server; `replicas` is more of that table.
fn platform(replicas: &str, command: &str) -> String {
    let (volume, dataset) = (shipped("scenarios/models/fraud-v1"), shipped("scenarios/data/fraud.csv"));
    format!(
        "name = \"e2e\"\nseed = 7\n[target]\nprotocol = \"mlflow\"\n[platform.local]\ncommand = {command}\n\
         volume = \"{volume}\"\nready = {{ path = \"/ping\", every = \"200ms\", timeout = \"60s\" }}\n\
         restart_delay = \"300ms\"\n{replicas}\n\
         [traffic]\ndataset = \"{dataset}\"\nlabel = \"is_fraud\"\narrivals = \"uniform\"\ntimeout = \"1s\"\n"
    )
}

const MODEL_SERVER: &str =
    r#"["resbench", "model-server", "--listen", "{address}", "--model", "{volume}", "--workers", "2"]"#;

fn phase(name: &str, duration: &str, rate: u32) -> String {
    format!("[[phase]]\nname = \"{name}\"\nduration = \"{duration}\"\nrate = {rate}\n")
}

/// A short run that must only be let through.
fn brief() -> String {
    platform("replicas = 1", MODEL_SERVER) + &phase("all", "300ms", 20) + LENIENT
}

/// The bound is there for what it makes of "late": a twentieth of it, which a busy machine keeps.
const LENIENT: &str = "[[objective]]\nmetric = \"latency.p50\"\nmax = \"10s\"\n";

/// Two replicas, two seconds of baseline, four with the fault, which comes at their first half second.
fn scenario(fault: &str) -> String {
    platform("replicas = 2", MODEL_SERVER)
        + &phase("baseline", "2s", 60)
        + &phase("fault", "4s", 60)
        + &format!("[[fault]]\nname = \"f\"\nat = \"fault+500ms\"\n{fault}\n")
        + "[[objective]]\nmetric = \"error_rate\"\nmax = 0.9\n"
        + LENIENT
}

/// A kind of fault as it stands in a scenario, lasting `lasting` where it lasts.
fn kinds(lasting: &str) -> Vec<(&'static str, String)> {
    let with = |kind: &str, more: &str| format!("kind = \"{kind}\"\nfor = \"{lasting}\"\n{more}");
    let command = "run = [\"touch\", \"broken\"]\nundo = [\"rm\", \"-f\", \"broken\"]\nproof = \"trust\"";
    // A replica without a connection at that moment would rightly be no proof.
    let all_replicas = "mode = \"all\"\n[safety]\nmax_targets = 2";
    let mut all = vec![
        ("pod-kill", "kind = \"pod-kill\"".to_owned()),
        ("rolling-restart", "kind = \"rolling-restart\"\npause = \"100ms\"".to_owned()),
        ("pod-failure", with("pod-failure", "")),
        ("pod-pause", with("pod-pause", "")),
        ("network-delay", with("network-delay", "mode = \"all\"\nlatency = \"100ms\"\n[safety]\nmax_targets = 2")),
        ("network-bandwidth", with("network-bandwidth", "mode = \"all\"\nrate = \"2KiB\"\n[safety]\nmax_targets = 2")),
        ("network-partition", with("network-partition", all_replicas)),
        ("network-reset", with("network-reset", all_replicas)),
        ("cpu-stress", with("cpu-stress", "workers = 2\nload = 10")),
        ("memory-stress", with("memory-stress", &format!("size = \"48MiB\"\n{all_replicas}"))),
        ("command", with("command", command)),
    ];
    match nft::available() {
        Ok(()) => all.push(("network-loss", with("network-loss", &format!("percent = 15\n{all_replicas}")))),
        Err(why) => println!("SKIPPED: network-loss: {why}"),
    }
    match volume::available() {
        Ok(()) => {
            let both = "methods = [\"read\", \"open\"]\n[safety]\nmax_targets = 2";
            all.push(("io-latency", with("io-latency", &format!("delay = \"50ms\"\n{both}"))));
            let all_replicas = "[safety]\nmax_targets = 2";
            all.push(("disk-full", with("disk-full", &format!("path = \"*.log\"\n{all_replicas}"))));
            let corrupt = format!("path = \"*.csv\"\nbytes = 1000\n{all_replicas}");
            all.push(("file-corrupt", with("file-corrupt", &corrupt)));
            all.push(("io-error", with("io-error", &format!("errno = \"EIO\"\n{both}"))));
        }
        Err(why) => println!("SKIPPED: io-latency, io-error, disk-full and file-corrupt: {why}"),
    }
    all
}

#[track_caller]
fn proven(ran: &Ran, level: &str) {
    let fault = ran.fault("f");
    assert_eq!(fault["proof"]["proven"], true, "{ran}");
    assert_eq!(fault["proof"]["level"], level, "{ran}");
    assert!(fault["applied_at_s"].as_f64().is_some_and(|at| at >= 2.5), "{ran}");
}

// ---- Each kind, to its end -----------------------------------------------------------------------------------------

/// The same replicas, writing to copies of the volume where this kind needs something to break.
fn adapted(name: &str, scenario: &str) -> String {
    if name != "disk-full" {
        return scenario.to_owned();
    }
    let log = "\"--workers\", \"2\", \"--prediction-log\", \"{volume}/predictions.log\"";
    scenario.replace("\"--workers\", \"2\"", log).replace("volume = \"", "writable = true\nvolume = \"")
}

fn each_kind(names: &[&str]) {
    let all = kinds("1500ms");
    for (name, fault) in all.iter().filter(|(name, _)| names.contains(name)) {
        let room = Room::new();
        let mut text = adapted(name, &scenario(fault));
        if *name == "rolling-restart" {
            // Time for both, on a busy machine too.
            text = text.replace("\"4s\"", "\"12s\"");
        }
        let ran = room.run(&text);
        println!("{name}: code {}, {:.1} s, {}", ran.code, ran.took, ran.fault("f")["proof"]["evidence"]);
        proven(&ran, if *name == "command" { "trusted" } else { "effect" });
        ran.ends(0);
        assert_eq!(ran.json()["clean"], true);
        if !["pod-kill", "rolling-restart"].contains(name) {
            let (on, off) = (&ran.fault("f")["applied_at_s"], &ran.fault("f")["reverted_at_s"]);
            let lasted = off.as_f64().unwrap() - on.as_f64().unwrap();
            assert!(lasted >= 1.5, "{name} was on for {lasted} s only: {ran}");
        }
        nothing_is_left(&room, &mark_of(&ran));
    }
}

#[test]
fn pods_fail_and_come_back() {
    let _seat = light();
    each_kind(&["pod-kill", "rolling-restart", "pod-failure", "pod-pause"]);
}

#[test]
fn the_network_fails_and_comes_back() {
    let _seat = light();
    each_kind(&["network-delay", "network-bandwidth", "network-partition", "network-reset", "network-loss"]);
}

#[test]
fn cpu_and_memory_are_used_up_and_given_back() {
    let _seat = light();
    each_kind(&["cpu-stress", "memory-stress"]);
}

#[test]
fn files_and_commands_fail_and_come_back() {
    let _seat = light();
    each_kind(&["io-latency", "io-error", "disk-full", "file-corrupt", "command"]);
}

// ---- A fault without effect ----------------------------------------------------------------------------------------

/// Must show 5.
#[test]
fn a_fault_that_cannot_take_effect_is_inconclusive() {
    let _seat = light();
    let mut cases = vec![
        // Nobody calls the dependency once the replicas are up.
        (
            "a dependency without traffic",
            scenario("kind = \"network-delay\"\nfor = \"1s\"\ntarget = \"registry\"\nlatency = \"100ms\"").replace(
                "[traffic]",
                "[[platform.local.dependency]]\nname = \"registry\"\n\
                 command = [\"resbench\", \"model-server\", \"--role\", \"registry\", \"--listen\", \"{address}\"]\n[traffic]",
            ),
        ),
        (
            "a rolling restart that the end of load cuts short",
            scenario("kind = \"rolling-restart\"\npause = \"1m\""),
        ),
        (
            "a limit that is not reached",
            scenario("kind = \"network-bandwidth\"\nfor = \"1s\"\nmode = \"all\"\nrate = \"64MiB\"\n[safety]\nmax_targets = 2"),
        ),
        (
            "a command whose probe does not change",
            scenario(
                "kind = \"command\"\nfor = \"1s\"\nrun = [\"true\"]\nundo = [\"true\"]\nproof = { probe = \"up\", becomes = \"failing\" }\n\
                 [[probe]]\nname = \"up\"\nkind = \"prediction\"\ntimeout = \"800ms\"",
            ),
        ),
    ];
    if volume::available().is_ok() {
        let no_file =
            "kind = \"io-latency\"\nfor = \"1s\"\ndelay = \"50ms\"\npath = \"no/such/*\"\n[safety]\nmax_targets = 2";
        cases.push(("a path that matches nothing", scenario(no_file)));
        let lasting = |kind: &str| format!("kind = \"{kind}\"\nfor = \"1s\"\n[safety]\nmax_targets = 2");
        cases.push(("a full disk that nobody writes to", scenario(&lasting("disk-full"))));
        let unread = lasting("file-corrupt").replace("for", "path = \"no/such/*\"\nfor");
        cases.push(("a corrupt file that nobody reads", scenario(&unread)));
    }
    for (what, text) in cases {
        let room = Room::new();
        let ran = room.run(&text);
        println!("{what}: code {}, {}", ran.code, ran.fault("f")["proof"]["evidence"]);
        ran.ends(3);
        assert_eq!(ran.json()["verdict"], "inconclusive", "{what}: {ran}");
        assert_eq!(ran.fault("f")["proof"]["proven"], false, "{what}: {ran}");
        assert!(ran.reasons().contains("fault f is not proven"), "{what}: {ran}");
        assert!(!ran.stdout.contains("MET"), "{what}: {ran}");
    }
}

/// A replica that gets no traffic: one connection at a time, which stays with whom it found first.
#[test]
fn a_delay_before_a_replica_without_traffic_is_not_proven() {
    let _seat = light();
    let room = Room::new();
    let text = |replica: u8| {
        scenario(&format!("kind = \"network-delay\"\nfor = \"1s\"\nreplica = {replica}\nlatency = \"20ms\""))
            .replace("timeout = \"1s\"\n[[phase]]", "timeout = \"1s\"\nconnections = 1\nmax_in_flight = 1\n[[phase]]")
            .replace("rate = 60", "rate = 10")
    };
    let both = [room.run(&text(0)), room.run(&text(1))];
    let codes: Vec<i32> = both.iter().map(|ran| ran.code).collect();
    for ran in &both {
        let proof = &ran.fault("f")["proof"];
        println!("delay on one replica, load on one connection: code {}, {}", ran.code, proof["evidence"]);
        // Proven exactly when bytes passed it; never a pass without.
        assert_eq!(proof["proven"] == true, proof["touched"].as_u64().unwrap() > 0, "{ran}");
        assert_eq!(ran.code == 0, proof["proven"] == true, "{ran}");
    }
    assert!(codes.contains(&3), "the same seed finds the same replica, so the other one had no traffic: {codes:?}");
}

/// What the machine cannot do is said before anything is sent.
#[test]
fn a_fault_that_cannot_work_here_is_refused_with_its_cure() {
    let _seat = light();
    let room = Room::new();
    let ran = room.run(&scenario("kind = \"memory-stress\"\nfor = \"1s\"\nsize = \"900TiB\""));
    ran.ends(2);
    let ran = room.run(&scenario("kind = \"memory-stress\"\nfor = \"1s\"\nsize = \"9000GiB\""));
    ran.ends(5);
    assert!(ran.reasons().contains("80 %") && ran.reasons().contains("write a size of at most"), "{ran}");
    nothing_is_left(&room, &mark_of(&ran));

    // Without the right to change the packet filter, which root may give up and others do not have.
    let file = room.write("s.toml", &scenario("kind = \"network-loss\"\nfor = \"1s\"\npercent = 10"));
    let file = file.display().to_string();
    let command = if rustix::process::geteuid().is_root() {
        let without = ["--bounding-set=-net_admin", "--inh-caps=-net_admin"];
        room.command_by("setpriv", &[&without[..], &[support::RESBENCH, "run", &file]].concat())
    } else {
        room.command(&["run", &file])
    };
    let ran = room.spawn(command).wait();
    ran.ends(5);
    assert!(ran.reasons().contains("nftables") && ran.reasons().contains("nothing else imitates it"), "{ran}");
    assert_eq!(ran.phase("baseline").n("planned"), 0);
    nothing_is_left(&room, &mark_of(&ran));
}

// ---- Several at once ------------------------------------------------------------------------------------------------

/// On the same replicas at the same time: each is applied, proven and put back by itself.
#[test]
fn faults_that_overlap_are_each_proven_and_undone() {
    let _seat = light();
    let room = Room::new();
    let mut faults = vec![
        ("burn", "cpu-stress", "load = 10".to_owned(), "500ms", "2500ms"),
        ("fill", "memory-stress", "size = \"32MiB\"".to_owned(), "800ms", "1s"),
        ("slow", "network-delay", "mode = \"all\"\nlatency = \"20ms\"".to_owned(), "600ms", "2s"),
    ];
    match nft::available() {
        Ok(()) => faults.push(("lose", "network-loss", "mode = \"all\"\npercent = 15".to_owned(), "700ms", "2s")),
        Err(why) => println!("SKIPPED: network-loss among others: {why}"),
    }
    let mut text = platform("replicas = 2", MODEL_SERVER) + &phase("baseline", "2s", 60) + &phase("fault", "5s", 60);
    for (name, kind, more, at, lasting) in &faults {
        let repeated = if *name == "fill" { "every = \"2s\"\ntimes = 2\n" } else { "" };
        text += &format!(
            "[[fault]]\nname = \"{name}\"\nkind = \"{kind}\"\nat = \"fault+{at}\"\nfor = \"{lasting}\"\noverlap = true\n{repeated}{more}\n"
        );
    }
    text += "[[objective]]\nmetric = \"error_rate\"\nmax = 0.9\n";
    let ran = room.run(&(text + LENIENT + "[safety]\nmax_targets = 2\n"));
    let all = ran.json()["faults"].as_array().unwrap();
    assert_eq!(all.len(), faults.len() + 1, "`fill` comes twice: {ran}");
    for fault in all {
        println!("{}: {}", fault["name"], fault["proof"]["evidence"]);
        assert_eq!((&fault["proof"]["proven"], &fault["proof"]["level"]), (&true.into(), &"effect".into()), "{ran}");
        assert!(fault["reverted_at_s"].as_f64() > fault["applied_at_s"].as_f64(), "{ran}");
    }
    let time = |name: &str, key: &str| ran.fault(name)[key].as_f64().unwrap();
    assert!(time("slow", "applied_at_s") < time("burn", "reverted_at_s"), "they were on at the same time: {ran}");
    assert!(time("burn", "applied_at_s") < time("slow", "reverted_at_s"), "{ran}");
    ran.ends(0);
    assert_eq!(ran.json()["clean"], true);
    let run = mark_of(&ran).split('.').next().unwrap().to_owned();
    for name in ["burn", "fill-1", "fill-2"] {
        assert!(with_environment("RESBENCH_STRESS", &format!("{run}.{name}")).is_empty(), "{name}");
    }
    nothing_is_left(&room, &mark_of(&ran));
}

// ---- Sudden death --------------------------------------------------------------------------------------------------

/// The `RESBENCH_PLATFORM` mark of a run, from its journal.
fn mark_in(journal: &str) -> String {
    let marks = journal.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let found = marks.filter_map(|l| Some(l["undo"]["value"].as_str()?.to_owned())).next();
    found.expect("the mark stands in the journal")
}

fn mark_of(ran: &Ran) -> String {
    mark_in(&ran.file("journal.jsonl"))
}

/// What a run with this mark still has on this machine.
fn left_of(room: &Room, mark: &str) -> Vec<String> {
    let run = mark.split('.').next().unwrap_or(mark);
    let processes = with_environment("RESBENCH_PLATFORM", mark);
    let mut left: Vec<String> = processes.iter().map(|p| format!("process {} ({:?})", p.pid, p.state())).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let runtime = room.path("runtime").display().to_string();
    left.extend(mounts.lines().filter(|l| l.contains(run) || l.contains(&runtime)).map(|l| format!("mount {l}")));
    left.extend(fs::read_dir(&runtime).unwrap().map(|e| format!("folder {}", e.unwrap().path().display())));
    left.extend(room.journals().iter().map(|j| format!("journal {}", j.display())));
    if room.path("broken").exists() {
        left.push("the command is not undone".to_owned());
    }
    left.extend(watchdogs(room).iter().map(|pid| format!("watchdog {pid}")));
    let burners = with_environment("RESBENCH_STRESS", &format!("{run}.f"));
    left.extend(burners.iter().map(|p| format!("burner {}", p.pid)));
    left.extend(tables().into_iter().filter(|t| t.contains(&run.replace('-', "_"))).map(|t| format!("table {t}")));
    left
}

/// Tables of the packet filter; none where it cannot be asked.
fn tables() -> Vec<String> {
    let listed = std::process::Command::new("nft").args(["list", "tables", "inet"]).output();
    let text = listed.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Watchdogs of runs in this room.
fn watchdogs(room: &Room) -> Vec<String> {
    let state = room.path("state").display().to_string();
    let of_room = |pid: &String| {
        let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args = String::from_utf8_lossy(&args).into_owned();
        args.contains("watchdog-internal") && args.contains(&state)
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok());
    pids.filter(|name| name.parse::<u32>().is_ok()).filter(of_room).collect()
}

#[track_caller]
fn nothing_is_left(room: &Room, mark: &str) {
    let left = left_of(room, mark);
    assert!(left.is_empty(), "{left:#?}");
}

/// The live journal, once this fault is in force.
fn applied(room: &Room, running: &mut Running) -> String {
    until("the fault is in force", || {
        assert!(!running.is_over(), "the run ended before its fault");
        let text = fs::read_to_string(room.journals().first()?).ok()?;
        text.contains("\"record\":\"applied\"").then_some(text)
    })
}

/// Kills resbench in the middle of this fault; returns the seconds until nothing was left.
fn kill_in(name: &str, fault: &str) -> f64 {
    let room = Room::new();
    // One child of a replica leaves its process group, as daemons do.
    let exe = support::RESBENCH;
    let command = format!(
        "[\"sh\", \"-c\", \"setsid sleep 1000 & exec {exe} model-server --listen {{address}} --model {{volume}} --workers 2\"]"
    );
    let mut text = scenario(fault).replace(MODEL_SERVER, &command);
    if name == "disk-full" {
        text = text.replace("volume = \"", "writable = true\nvolume = \"");
    }
    let mut running = room.start(&text);
    let journal = applied(&room, &mut running);
    let mark = mark_in(&journal);
    sleep(Duration::from_millis(100));
    let there = left_of(&room, &mark);
    assert!(there.iter().filter(|l| l.starts_with("process")).count() >= 2, "{name}: {there:?}");
    if ["io-latency", "io-error", "disk-full", "file-corrupt"].contains(&name) {
        assert_eq!(there.iter().filter(|l| l.starts_with("mount")).count(), 2, "{name}: {there:?}");
    }
    let (what, count) = match name {
        "cpu-stress" | "memory-stress" => ("burner", 2),
        "network-loss" => ("table", 1),
        _ => ("burner", 0),
    };
    assert_eq!(there.iter().filter(|l| l.starts_with(what)).count(), count, "{name}: {there:?}");
    if name == "pod-pause" {
        assert!(there.iter().any(|l| l.contains("'T'")), "{name}: {there:?}");
    }
    running.signal(Signal::KILL);
    let killed = now();
    let code = running.wait().code;
    assert_eq!(code, 128 + 9);
    until(&format!("nothing is left of {name}"), || {
        let left = left_of(&room, &mark);
        if now() - killed > 50.0 {
            panic!("{name} left {left:#?}");
        }
        left.is_empty().then_some(())
    });
    let took = now() - killed;
    // The same file again, with nothing but a moment of load in it.
    room.run(&brief()).ends(0);
    took
}

fn hook(server: &Server, lasting: &str) -> String {
    let url = format!("http://{}", server.address);
    format!(
        "kind = \"http\"\nfor = \"{lasting}\"\nrun = {{ method = \"POST\", url = \"{url}/break\", headers = {{ X-Key = \"k-${{RESBENCH_E2E:-1}}\" }}, body = \"{{}}\" }}\n\
         undo = {{ method = \"DELETE\", url = \"{url}/break\", headers = {{ X-Key = \"k-${{RESBENCH_E2E:-1}}\" }} }}\nproof = \"trust\""
    )
}

/// The undo is sent on every road out: its time, `kill -9`, and a `run` that was refused.
#[test]
fn a_hook_is_undone_on_every_road_out() {
    let _seat = light();
    let server = Server::start(|pipe, _| {
        let _ = pipe.write_all(GOOD);
        Then::KeepOpen
    });
    let room = Room::new();
    let ran = room.run(&scenario(&hook(&server, "1500ms")));
    proven(&ran, "trusted");
    ran.ends(0);
    assert_eq!(server.seen(), 2, "{ran}");
    assert!(ran.file("journal.jsonl").contains("k-${RESBENCH_E2E:-1}"), "variables of headers stay unexpanded");
    nothing_is_left(&room, &mark_of(&ran));
    println!("kill -9 in mid http: nothing left after {:.2} s", kill_in("http", &hook(&server, "3s")));
    assert_eq!(server.seen(), 4, "the watchdog sent the undo");

    let refusing = Server::start(|pipe, n| {
        let gone = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let _ = pipe.write_all(if n == 0 { b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" } else { gone });
        Then::KeepOpen
    });
    let ran = room.run(&scenario(&hook(&refusing, "1500ms")));
    ran.ends(3);
    assert!(ran.fault("f")["proof"]["evidence"].as_str().unwrap().contains("status 500"), "{ran}");
    assert_eq!((refusing.seen(), ran.json()["clean"] == true), (2, true), "what is not there is put back: {ran}");
}

fn kill_each(names: &[&str]) {
    let times = std::env::var("RESBENCH_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for (name, fault) in kinds("3s").iter().filter(|(name, _)| names.contains(name)) {
        let took: Vec<f64> = (0..times).map(|_| kill_in(name, fault)).collect();
        println!("kill -9 in mid {name}: nothing left after {took:.2?} s");
    }
}

/// Must show 4, in three parts so that they run side by side.
#[test]
fn kill_9_in_mid_pod_fault_leaves_nothing() {
    let _seat = light();
    kill_each(&["pod-kill", "rolling-restart", "pod-failure", "pod-pause"]);
}

#[test]
fn kill_9_in_mid_network_fault_leaves_nothing() {
    let _seat = light();
    kill_each(&["network-delay", "network-bandwidth", "network-partition", "network-reset", "network-loss"]);
}

#[test]
fn kill_9_in_mid_stress_leaves_nothing() {
    let _seat = light();
    kill_each(&["cpu-stress", "memory-stress"]);
}

#[test]
fn kill_9_in_mid_file_or_command_fault_leaves_nothing() {
    let _seat = light();
    kill_each(&["io-latency", "io-error", "disk-full", "file-corrupt", "command"]);
}

/// Death before anything is ready is no different.
#[test]
fn kill_9_while_replicas_start_leaves_nothing() {
    let _seat = light();
    let room = Room::new();
    let command = r#"["sh", "-c", "setsid sleep 1000 & exec sleep 1000"]"#;
    let mut running = room.start(&scenario("kind = \"pod-kill\"").replace(MODEL_SERVER, command));
    let journal = until("two replicas are started", || {
        assert!(!running.is_over());
        let text = fs::read_to_string(room.journals().first()?).ok()?;
        (text.matches("\"replica ").count() >= 2).then_some(text)
    });
    running.signal(Signal::KILL);
    running.wait();
    let mark = mark_in(&journal);
    until("nothing is left", || left_of(&room, &mark).is_empty().then_some(()));
}

/// A watchdog that somebody has ended is replaced before anything is broken.
#[test]
fn kill_9_after_the_first_watchdog_was_killed_leaves_nothing() {
    let _seat = light();
    let room = Room::new();
    let (_, fault) = kinds("3s").into_iter().find(|(name, _)| *name == "command").unwrap();
    let mut running = room.start(&scenario(&fault));
    // Once something was started it stands: before that the run would not begin without it.
    let first = until("a watchdog stands", || {
        assert!(!running.is_over());
        let begun = fs::read_to_string(room.journals().first()?).ok()?.contains("\"replica ");
        begun.then(|| watchdogs(&room).pop()).flatten()
    });
    let pid = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let mark = mark_in(&applied(&room, &mut running));
    running.signal(Signal::KILL);
    let ran = running.wait();
    assert!(ran.stderr.contains("another one stands"), "{ran}");
    until("nothing is left", || left_of(&room, &mark).is_empty().then_some(()));
}

/// The watchdog dies too: `revert` does it by hand, after a new run has refused to start.
#[test]
fn without_its_watchdog_revert_finishes_the_job() {
    let _seat = light();
    let room = Room::new();
    let (_, fault) = kinds("3s").into_iter().find(|(name, _)| *name == "command").unwrap();
    let mut running = room.start(&scenario(&fault));
    let mark = mark_in(&applied(&room, &mut running));
    for pid in watchdogs(&room) {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
    running.signal(Signal::KILL);
    running.wait();
    assert!(room.path("broken").exists());
    let refused = room.call(&["run", "s.toml"]);
    refused.ends(4);
    assert!(refused.stderr.contains("resbench revert --journal"), "{refused}");
    let declined = room.call(&["revert"]);
    declined.ends(4);
    assert!(declined.stdout.contains("declined"), "a command is never run unasked: {declined}");
    assert!(room.path("broken").exists());
    room.call(&["revert", "--yes"]).ends(0);
    nothing_is_left(&room, &mark);
    assert!(room.call(&["revert", "--yes"]).stdout.contains("nothing is left"));
    room.run(&brief()).ends(0);
}

// ---- Signals -------------------------------------------------------------------------------------------------------

fn interrupted_by(signal: Signal) {
    for (name, fault) in
        kinds("3s").into_iter().filter(|(name, _)| ["pod-pause", "command", "io-latency"].contains(name))
    {
        let room = Room::new();
        let mut running = room.start(&scenario(&fault));
        applied(&room, &mut running);
        running.signal(signal);
        let ran = running.wait();
        ran.ends(130);
        assert_eq!(ran.json()["ending"], "interrupted", "{name}: {ran}");
        assert_eq!(ran.json()["clean"], true, "{name}: {ran}");
        assert!(ran.fault("f")["reverted_at_s"].is_number(), "{name}: {ran}");
        whole_files(ran.dir());
        nothing_is_left(&room, &mark_of(&ran));
    }
}

fn whole_files(run: &Path) {
    let read = |name: &str| fs::read_to_string(run.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(read("report.html").trim_end().ends_with("</html>"));
    assert!(read("junit.xml").trim_end().ends_with("</testsuites>"));
    for name in ["windows.csv", "phases.csv", "summary.md", "latency.hlog", "journal.jsonl"] {
        assert!(read(name).ends_with('\n'), "{name}");
    }
    let names = |dir: PathBuf| {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let all = [names(run.to_owned()), names(run.join("charts"))].concat();
    assert!(!all.iter().any(|n| n.ends_with(".part") || n.ends_with(".tmp")), "{all:?}");
}

#[test]
fn ctrl_c_undoes_everything_and_writes_the_report() {
    let _seat = light();
    interrupted_by(Signal::INT);
}

#[test]
fn sigterm_does_the_same() {
    let _seat = light();
    interrupted_by(Signal::TERM);
}

#[test]
fn ctrl_c_while_replicas_start_ends_them() {
    let _seat = light();
    let room = Room::new();
    let command = r#"["sh", "-c", "setsid sleep 1000 & exec sleep 1000"]"#;
    let mut running = room.start(&scenario("kind = \"pod-kill\"").replace(MODEL_SERVER, command));
    until("replicas are started", || {
        assert!(!running.is_over());
        let text = fs::read_to_string(room.journals().first()?).ok()?;
        (text.matches("\"replica ").count() >= 2).then_some(())
    });
    running.signal(Signal::INT);
    let ran = running.wait();
    ran.ends(130);
    assert_eq!(ran.json()["ending"], "interrupted");
    nothing_is_left(&room, &mark_of(&ran));
}

#[test]
fn ctrl_c_twice_ends_at_once_and_the_watchdog_undoes() {
    let _seat = light();
    let room = Room::new();
    // Its undo takes longer than anybody waits.
    let fault = "kind = \"command\"\nfor = \"3s\"\nrun = [\"touch\", \"broken\"]\n\
                 undo = [\"sh\", \"-c\", \"sleep 2; rm -f broken\"]\nproof = \"trust\"";
    let mut running = room.start(&scenario(fault));
    let mark = mark_in(&applied(&room, &mut running));
    running.signal(Signal::INT);
    sleep(Duration::from_millis(400));
    assert!(!running.is_over());
    running.signal(Signal::INT);
    let twice = now();
    let ran = running.wait();
    assert_eq!(ran.code, 130, "{ran}");
    assert!(ran.report.is_none() && ran.stderr.contains("at once"), "{ran}");
    until("the watchdog has undone it", || left_of(&room, &mark).is_empty().then_some(()));
    println!("twice Ctrl-C: everything undone after {:.1} s", now() - twice);
}

// ---- An undo that fails --------------------------------------------------------------------------------------------

#[test]
fn an_undo_that_fails_is_said_and_stands_in_the_way() {
    let _seat = light();
    let room = Room::new();
    let fault = "kind = \"command\"\nfor = \"1s\"\nrun = [\"touch\", \"broken\"]\n\
                 undo = [\"sh\", \"-c\", \"test -e allowed && rm -f broken || { echo not allowed; exit 1; }\"]\nproof = \"trust\"";
    let ran = room.run(&scenario(fault));
    ran.ends(4);
    assert_eq!(ran.json()["clean"], false);
    assert!(ran.stdout.contains("resbench revert --journal") && ran.stdout.contains("not allowed"), "{ran}");
    assert_eq!(room.journals().len(), 1, "its journal stays");
    assert!(with_environment("RESBENCH_PLATFORM", &mark_of(&ran)).is_empty(), "everything else is put back");

    let refused = room.call(&["run", "s.toml"]);
    refused.ends(4);
    assert!(refused.report.is_none() && refused.stderr.contains("resbench revert --journal"), "{refused}");
    let still = room.call(&["revert", "--yes"]);
    still.ends(4);
    assert!(still.stdout.contains("not allowed") && still.stdout.contains("by hand"), "{still}");
    room.write("allowed", "");
    room.call(&["revert", "--yes"]).ends(0);
    nothing_is_left(&room, &mark_of(&ran));
    room.run(&brief()).ends(0);
}

// ---- Safety --------------------------------------------------------------------------------------------------------

#[test]
fn the_safety_stop_ends_a_run_whose_service_is_down() {
    let _seat = light();
    let room = Room::new();
    let stop = "[safety]\nmax_targets = 2\nabort_when = { good_ratio_below = 0.5, for = \"1s\" }";
    let text = scenario(&format!("kind = \"pod-failure\"\nmode = \"all\"\nfor = \"20s\"\n{stop}"))
        .replace("\"4s\"", "\"30s\"");
    let ran = room.run(&text);
    ran.ends(1);
    assert_eq!(ran.json()["ending"], "safety_stop");
    assert!(ran.reasons().contains("safety stop"), "{ran}");
    proven(&ran, "effect");
    assert!(ran.fault("f")["reverted_at_s"].as_f64().unwrap() < 20.0, "{ran}");
    nothing_is_left(&room, &mark_of(&ran));
}

#[test]
fn a_safety_stop_before_any_fault_breaks_nothing() {
    let _seat = light();
    let room = Room::new();
    let server = Server::start(|pipe, n| {
        let _ = pipe.write_all(if n < 2 { GOOD } else { b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" });
        Then::KeepOpen
    });
    let fault = "kind = \"command\"\nrun = [\"touch\", \"broken\"]\nundo = [\"rm\", \"-f\", \"broken\"]\nproof = \"trust\"\n\
                 [safety]\nabort_when = { good_ratio_below = 0.5, for = \"1s\" }";
    let text = scenario(fault).replace("\"2s\"", "\"20s\"");
    let (_, traffic) = text.split_once("[traffic]").unwrap();
    let text =
        format!("name = \"e2e\"\n[target]\nprotocol = \"mlflow\"\nurl = \"{}\"\n[traffic]{traffic}", server.url());
    let ran = room.run(&text);
    ran.ends(5);
    assert_eq!(ran.json()["ending"], "safety_stop");
    assert!(ran.fault("f")["applied_at_s"].is_null(), "{ran}");
    assert!(!room.path("broken").exists() && room.journals().is_empty());
}

#[test]
fn without_its_steady_state_nothing_is_broken() {
    let _seat = light();
    let room = Room::new();
    let fault = "kind = \"command\"\nrun = [\"touch\", \"was-broken\"]\nundo = \"none\"\nproof = \"trust\"\n\
                 [[probe]]\nname = \"page\"\nkind = \"http\"\npath = \"/no/such/page\"";
    let ran = room.run(&scenario(fault));
    ran.ends(5);
    assert_eq!(ran.json()["ending"], "not_started");
    assert!(ran.reasons().contains("steady state") && ran.reasons().contains("page"), "{ran}");
    assert!(ran.fault("f")["applied_at_s"].is_null());
    assert_eq!(ran.phase("baseline").n("planned"), 0);
    assert!(!room.path("was-broken").exists());
    nothing_is_left(&room, &mark_of(&ran));
}

/// It held at the start, and not any more when the first fault came near.
#[test]
fn a_steady_state_lost_under_load_breaks_nothing() {
    let _seat = light();
    let room = Room::new();
    room.write("page", "");
    let server = Server::start(move |pipe, n| {
        let _ = pipe.write_all(if n < 20 { GOOD } else { b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" });
        Then::KeepOpen
    });
    let fault = "kind = \"command\"\nrun = [\"touch\", \"was-broken\"]\nundo = \"none\"\nproof = \"trust\"\n\
                 [[probe]]\nname = \"predicts\"\nkind = \"prediction\"";
    let (_, traffic) = scenario(fault).split_once("[traffic]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let text =
        format!("name = \"e2e\"\n[target]\nprotocol = \"mlflow\"\nurl = \"{}\"\n[traffic]{traffic}", server.url());
    let ran = room.run(&text);
    ran.ends(5);
    assert!(ran.reasons().contains("before the first fault"), "{ran}");
    assert!(!room.path("was-broken").exists() && ran.fault("f")["applied_at_s"].is_null(), "{ran}");
}

// ---- A platform that does not come up ------------------------------------------------------------------------------

#[test]
fn a_platform_that_does_not_come_up_says_why() {
    let _seat = light();
    let cases = [
        (r#"["sh", "-c", "echo loading the model; echo no licence found >&2; exec sleep 100"]"#, "no licence found"),
        (r#"["sh", "-c", "echo out of memory; exit 3"]"#, "out of memory"),
        (r#"["no-such-model-server", "--port", "{port}"]"#, "`no-such-model-server` was not found in PATH"),
    ];
    for (command, said) in cases {
        let room = Room::new();
        let text = (platform("replicas = 2", command) + &phase("all", "1s", 10))
            .replace("timeout = \"60s\"", "timeout = \"2s\"");
        let ran = room.run(&text);
        ran.ends(5);
        // Both end; whichever was reaped first is named.
        assert!(ran.reasons().contains(said) && ran.reasons().contains("replica "), "{ran}");
        assert!(ran.stderr.contains(said), "on the terminal too: {ran}");
        nothing_is_left(&room, &mark_of(&ran));
    }
}

/// Two runs of one scenario at the same time would break each other's replicas.
#[test]
fn a_second_run_on_the_same_scenario_waits_its_turn() {
    let _seat = alone();
    let room = Room::new();
    let mut running = room.start(&scenario("kind = \"pod-kill\""));
    until("the first has begun", || {
        assert!(!running.is_over());
        (!room.journals().is_empty()).then_some(())
    });
    let second = room.call(&["run", "s.toml"]);
    second.ends(4);
    assert!(second.stderr.contains("still going"), "{second}");
    running.signal(Signal::INT);
    running.wait().ends(130);
}

// ---- What is left, and what is not ---------------------------------------------------------------------------------

/// A report without its copy of the journal leaves nothing broken.
#[test]
fn a_journal_that_cannot_be_copied_leaves_nothing() {
    let _seat = light();
    let room = Room::new();
    let fault = "kind = \"command\"\nfor = \"1s\"\nrun = [\"sh\", \"-c\", \"cd reports/*/* && mkdir journal.jsonl\"]\n\
                 undo = [\"true\"]\nproof = \"trust\"";
    let ran = room.run(&scenario(fault));
    ran.ends(0);
    assert!(ran.json()["clean"] == true && ran.stderr.contains("no copy of the journal"), "{ran}");
    assert!(room.journals().is_empty() && !ran.stdout.contains("resbench revert"), "{ran}");
}

/// The API of a Toxiproxy server, as far as runs ask it. Goes when it is dropped, as a forwarder in front of one does.
struct Api {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Api {
    fn start(port: u16) -> Api {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, stop) = (asked.clone(), over.clone());
        let serve = move || {
            while !stop.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((stream, _)) => told.lock().unwrap().push(answer_as_toxiproxy(stream)),
                    Err(_) => sleep(Duration::from_millis(5)),
                }
            }
        };
        Api { address, asked, over, thread: Some(std::thread::spawn(serve)) }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Gives the beginning of what was asked.
fn answer_as_toxiproxy(mut stream: TcpStream) -> String {
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer).unwrap_or(0);
    let asked = String::from_utf8_lossy(&buffer[..n]).into_owned();
    let (status, body) = match asked.split(' ').next() {
        Some("DELETE") => (204, ""),
        Some("POST") => (200, "{}"),
        _ if asked.starts_with("GET /version ") => (200, r#"{"version":"2.12.0"}"#),
        _ => (200, r#"{"name":"model","listen":"127.0.0.1:1","enabled":true,"toxics":[]}"#),
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    asked
}

/// Nobody listens any more: that is no proof that the server is gone, and its toxics with it.
#[test]
fn a_way_to_toxiproxy_that_dies_leaves_the_toxics_and_says_so() {
    let _seat = light();
    let (room, api) = (Room::new(), Api::start(0));
    let address = api.address;
    let fault = format!(
        "kind = \"network-delay\"\nlatency = \"50ms\"\ndirection = \"to\"\nfor = \"2s\"\nproof = \"trust\"\n\
         via = \"toxiproxy\"\ntoxiproxy = \"http://{address}\"\nproxy = \"model\""
    );
    let mut running = room.start(&scenario(&fault));
    applied(&room, &mut running);
    drop(api);
    let ran = running.wait();
    ran.ends(4);
    assert!(ran.json()["clean"] == false && ran.reasons().contains("restore the way there"), "{ran}");
    assert_eq!(room.journals().len(), 1, "its journal stays: {ran}");
    let still = room.call(&["revert", "--yes"]);
    still.ends(4);
    assert!(still.stdout.contains("LEFT") && still.stdout.contains("restore the way there"), "{still}");

    let api = Api::start(address.port());
    room.call(&["revert", "--yes"]).ends(0);
    let asked = api.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|a| a.starts_with("DELETE /proxies/model/toxics/resbench-")), "{asked:?}");
    nothing_is_left(&room, &mark_of(&ran));
}
