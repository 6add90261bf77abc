//! Altered requests from outside: the real binary against servers that take them well or badly, and against the embedded one. What
//! is counted must be what the server got, and what is judged must be what the fault expects.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use resbench::clock::sleep;
use serde_json::Value;
use support::load::{at_url, good, phase, say};
use support::server::{Pipe, Server, Then};
use support::{Ran, Room, light, shipped};

const REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 27\r\n\r\n{\"error_code\":\"BAD_REQUEST\"}";
const BROKEN: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\noops!";

/// The bound is there for what it makes of "late": a twentieth of it, which a busy machine keeps.
const LENIENT: &str =
    "[[objective]]\nmetric = \"latency.p50\"\nmax = \"20s\"\n[[objective]]\nmetric = \"error_rate\"\nmax = 0.02\n";

fn fault(name: &str, at: &str, lasts: &str, rest: &str) -> String {
    format!("[[fault]]\nname = \"{name}\"\nat = \"{at}\"\nfor = \"{lasts}\"\n{rest}\n")
}

/// Whoever answers what is no JSON like this, and everything else well; and how often it was asked to.
fn server(bad: impl Fn(&mut dyn Pipe) -> Then + Send + Sync + 'static) -> (Server, Arc<AtomicUsize>) {
    let seen: Arc<AtomicUsize> = Arc::default();
    let count = seen.clone();
    let server = Server::start_reading(move |pipe, _, body| {
        if serde_json::from_slice::<Value>(body).is_ok() {
            return good(pipe);
        }
        count.fetch_add(1, Ordering::Relaxed);
        bad(pipe)
    });
    (server, seen)
}

/// 300 requests, planned evenly over 3 s; those of the second in the middle are altered by the fault.
fn run(url: &str, kind: &str) -> Ran {
    let text =
        at_url(url, "timeout = \"700ms\"", &(phase("all", "3s", 100.0) + &fault("bad", "1s", "1s", kind) + LENIENT));
    let room = Room::new();
    let _seat = light();
    let mut ran = room.run(&text);
    ran.room = Some(room);
    ran
}

fn objective<'a>(ran: &'a Ran, metric: &str) -> &'a Value {
    let all = ran.json()["objectives"].as_array().expect("objectives");
    all.iter().find(|o| o["metric"] == metric).unwrap_or_else(|| panic!("no {metric}: {ran}"))
}

fn altered<'a>(ran: &'a Ran, fault: &str) -> &'a Value {
    let altered = &ran.fault(fault)["altered"];
    assert!(altered.is_object(), "{ran}");
    altered
}

#[test]
fn malformed_requests_are_counted_apart_and_a_4xx_is_their_good_answer() {
    let (server, seen) = server(|pipe| say(pipe, REFUSED));
    let ran = run(&server.url(), "kind = \"payload-malformed\"\nshare = 0.5");
    ran.ends(0);
    let a = altered(&ran, "bad");
    let n = a["planned"].as_u64().unwrap();
    // A hundred fair draws: beyond these bounds once in a hundred million, and the seed is fixed.
    assert!((22..=78).contains(&n), "{a}");
    assert_eq!(a["rejected"].as_u64(), Some(n), "{a}");
    assert_eq!(
        (&a["answered"], &a["failed"], &a["expect"], &a["include"]),
        (&0.into(), &0.into(), &"rejected".into(), &false.into())
    );
    assert_eq!(seen.load(Ordering::Relaxed) as u64, n, "each of them was sent, and no other was broken");
    assert_eq!(a["twins"]["planned"].as_u64(), Some(100 - n), "{a}");
    assert_eq!(a["twins"]["ok"].as_u64(), Some(100 - n), "{a}");
    assert!(a["samples"][0]["sample"].as_str().unwrap().contains("BAD_REQUEST"), "{a}");
    // Every phase and span speaks of what nobody altered.
    let (all, during) = (ran.phase("all"), ran.span("during:bad"));
    assert_eq!((all.n("planned"), all.n("altered"), all.n("altered_apart")), (300 - n, n, n), "{}", all.0);
    assert_eq!((during.n("planned"), during.n("altered"), during.n("ok")), (100 - n, n, 100 - n), "{}", during.0);
    assert_eq!(all.n("ok"), 300 - n, "{ran}");
    assert!((all.0["offered_rps"].as_f64().unwrap() - 100.0).abs() < 1e-9, "all of it was offered: {}", all.0);
    assert!(ran.json()["error_samples"].as_array().unwrap().is_empty(), "a rejection is no error of the service");
    let (judged, proof) = (objective(&ran, "as_expected"), &ran.fault("bad")["proof"]);
    assert_eq!(
        (&judged["verdict"], &judged["value"], judged["n"].as_u64()),
        (&"met".into(), &1.0.into(), Some(n)),
        "{judged}"
    );
    assert_eq!((&proof["level"], proof["touched"].as_u64()), (&"effect".into(), Some(n)), "{proof}");
    let (from, until) = (&ran.fault("bad")["applied_at_s"], &ran.fault("bad")["reverted_at_s"]);
    assert_eq!((from.as_f64(), until.as_f64()), (Some(1.0), Some(2.0)), "by the schedule, to the nanosecond");
    for (file, words) in [
        ("summary.md", "| altered requests | planned | rejected |"),
        ("report.html", "Altered requests"),
        ("junit.xml", "as_expected"),
        ("run.json", "\"ended_us\""),
    ] {
        assert!(ran.file(file).contains(words), "{words} is not in {file}");
    }
    assert!(ran.stdout.contains("altered requests") && ran.stdout.contains("unaltered, meanwhile"), "{}", ran.stdout);
    // The plan says how many there will be, before anything is sent.
    let file = ran.room.as_ref().unwrap().path("s.toml").display().to_string();
    let plan = ran.room.as_ref().unwrap().call(&["plan", &file]);
    assert!(plan.stdout.contains(&format!("{n} requests (50 % of those due")), "{}", plan.stdout);
}

/// What a server does with what is no JSON.
type Manners = Box<dyn Fn(&mut dyn Pipe) -> Then + Send + Sync>;

/// Must show 5: whatever else a server does with them breaks the promise.
#[test]
fn a_server_that_takes_malformed_requests_badly_violates() {
    let hang = |_: &mut dyn Pipe| {
        sleep(Duration::from_secs(2));
        Then::Close
    };
    let cases: [(&str, &str, Manners); 4] = [
        ("a 500", "status_5xx", Box::new(|pipe| say(pipe, BROKEN))),
        ("a 200", "", Box::new(|pipe| good(pipe))),
        ("a hang", "timeout", Box::new(hang)),
        ("a reset", "reset", Box::new(|_| Then::Reset)),
    ];
    for (what, class, bad) in cases {
        let (server, _) = server(bad);
        let ran = run(&server.url(), "kind = \"payload-malformed\"\nshare = 0.2");
        ran.ends(1);
        let judged = objective(&ran, "as_expected");
        assert_eq!((&judged["verdict"], &judged["value"]), (&"violated".into(), &0.0.into()), "{what}: {judged}");
        assert!(ran.reasons().contains("as_expected of bad"), "{what}: {}", ran.reasons());
        let a = altered(&ran, "bad");
        if class.is_empty() {
            assert_eq!(a["answered"], a["planned"], "{what}: {a}");
        } else {
            assert!(a["errors"][class].as_u64().is_some_and(|n| n > 0), "{what}: {a}");
            assert_eq!(a["failed"], a["judged"], "{what}: {a}");
        }
        assert_ne!(objective(&ran, "error_rate")["verdict"], "violated", "{what}: the others were served: {ran}");
    }
}

#[test]
fn so_many_may_end_otherwise() {
    let turn = AtomicUsize::new(0);
    let (server, _) = server(move |pipe| {
        let bytes = if turn.fetch_add(1, Ordering::Relaxed) % 10 == 9 { BROKEN } else { REFUSED };
        say(pipe, bytes)
    });
    let strict = run(&server.url(), "kind = \"payload-malformed\"");
    strict.ends(1);
    let value = objective(&strict, "as_expected")["value"].as_f64().unwrap();
    assert!((value - 0.9).abs() < 1e-9, "{value}");
    let lenient = run(&server.url(), "kind = \"payload-malformed\"\nexpect_share = 0.85");
    lenient.ends(0);
    // All that was due then was altered: the span itself has nothing to say.
    let during = lenient.span("during:bad");
    assert_eq!((during.n("planned"), during.n("altered_apart")), (0, 100), "{}", during.0);
    assert!(during.0["error_rate"].is_null());
}

#[test]
fn a_fault_that_alters_nothing_is_not_proven() {
    let (server, seen) = server(|pipe| say(pipe, REFUSED));
    let ran = run(&server.url(), "kind = \"payload-malformed\"\nshare = 0.000001");
    ran.ends(3);
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    assert!(ran.fault("bad")["proof"]["evidence"].as_str().unwrap().contains("none of the 100"), "{ran}");
    assert!(ran.json()["warnings"].to_string().contains("may well not be proven"), "{ran}");
}

/// The embedded server is a careful one: it refuses what it cannot read, answers the rest, and never breaks.
#[test]
fn the_embedded_server_takes_every_kind_as_it_should() {
    let (volume, dataset) = (shipped("scenarios/models/fraud-v1"), shipped("scenarios/data/fraud.csv"));
    let kinds = [
        ("drift", "kind = \"payload-drift\"\nfeatures = [\"amount\", \"distance_km\"]\nshift = 4.0\nshare = 0.5"),
        ("drop", "kind = \"payload-drop\"\nfeatures = [\"amount\"]\nshare = 0.5"),
        ("text", "kind = \"payload-corrupt\"\nfeatures = [\"amount\", \"hour\"]\nshare = 0.5"),
        ("null", "kind = \"payload-corrupt\"\nas = \"null\"\nfeatures = [\"hour\"]\nshare = 0.5"),
        ("huge", "kind = \"payload-corrupt\"\nas = \"huge\"\nfeatures = [\"amount\"]\nshare = 0.5"),
        ("malformed", "kind = \"payload-malformed\"\nshare = 0.5"),
        ("batch", "kind = \"payload-oversize\"\nbatch = 200\nexpect = \"answered\"\nshare = 0.5"),
        ("too-large", "kind = \"payload-oversize\"\nbatch = 60000\nshare = 0.1\nexpect = \"rejected\""),
        ("bust", "kind = \"payload-cache-bust\"\nfeatures = [\"account_id\", \"amount\"]\nshare = 0.5"),
    ];
    let faults: String = kinds
        .iter()
        .enumerate()
        .map(|(n, (name, kind))| fault(name, &format!("all+{}ms", 500 + 500 * n), "500ms", kind))
        .collect();
    let text = format!(
        "name = \"e2e\"\nseed = 7\n[target]\nprotocol = \"mlflow\"\nanswer = {{ fallback = \"json:/fallback\" }}\n\
         [platform.local]\nreplicas = 1\nvolume = \"{volume}\"\n\
         command = [\"resbench\", \"model-server\", \"--listen\", \"{{address}}\", \"--model\", \"{{volume}}\"]\n\
         [traffic]\ndataset = \"{dataset}\"\nlabel = \"is_fraud\"\narrivals = \"uniform\"\ntimeout = \"10s\"\n{}{faults}{LENIENT}",
        phase("all", "5500ms", 120.0)
    );
    let room = Room::new();
    let _seat = light();
    let ran = room.run(&text);
    ran.ends(0);
    for (name, _) in kinds {
        let a = altered(&ran, name);
        let planned = a["planned"].as_u64().unwrap();
        assert!(planned > 0 && a["as_expected"].as_u64() == Some(planned), "{name}: {a}");
        assert_eq!(a["failed"], 0, "{name}: {a}");
        assert_eq!(a["twins"]["ok"], a["twins"]["planned"], "{name}: {a}");
    }
    let refused = |name: &str| altered(&ran, name)["samples"][0]["sample"].as_str().unwrap().to_owned();
    for (name, words) in [
        ("drop", "Model is missing inputs [\\\"amount\\\"]"),
        ("text", "is not a number"),
        ("null", "column `hour` is not a number"),
        ("malformed", "Ensure that input is a valid JSON"),
        ("too-large", "status 413"),
    ] {
        assert!(refused(name).contains(words), "{name}: {}", refused(name));
    }
    // Labels stay those of the rows before they drifted; the twins are as good as ever.
    let drift = altered(&ran, "drift");
    let accuracy = |of: &Value| of["quality"]["accuracy"].as_f64().unwrap();
    assert!(accuracy(drift) < accuracy(&drift["twins"]) - 0.1, "{drift}");
    assert_eq!(ran.phase("all").n("altered") - ran.phase("all").n("altered_apart"), drift["planned"].as_u64().unwrap());
    // Keys that no row has: the store knows none of these accounts, and the mean account stands in.
    let bust = altered(&ran, "bust");
    assert_eq!((bust["quality"]["fallback_rate"].as_f64(), &bust["bodies"]), (Some(1.0), &bust["planned"]), "{bust}");
    assert_eq!(bust["twins"]["quality"]["fallback_rate"].as_f64(), Some(0.0), "{bust}");
}
