//! Probes of the team's own monitoring, from outside: a loopback server plays Prometheus and Alertmanager, with every odd answer that
//! they can give, and the real binary says what each of them means.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use resbench::clock::monotonic_nanos;
use serde_json::Value;
use support::server::{GOOD, Server, Then};
use support::{Ran, Room, light};

/// Answers a `GET` by its request, head and all; none: it says nothing until the client goes.
struct Monitor {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

impl Monitor {
    fn start(answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static) -> Monitor {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let monitor = Monitor { address: listener.local_addr().expect("an address"), over: Arc::default() };
        let (over, answer) = (monitor.over.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let answer = answer.clone();
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        monitor
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> Option<(u16, String)>) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    }
    match answer(&String::from_utf8_lossy(&request)) {
        Some((status, body)) => {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
        // Until the client has had enough.
        None => drop(stream.read(&mut buffer)),
    }
}

fn target() -> Server {
    Server::start(|pipe, _| if pipe.write_all(GOOD).is_ok() { Then::KeepOpen } else { Then::Close })
}

/// 1 s of baseline and 4 s with a fault that makes the file `broken` for `lasts`.
fn scenario(target: &Server, lasts: &str, rest: &str) -> String {
    format!(
        "name = \"e2e\"\n[target]\nprotocol = \"mlflow\"\nurl = \"{}\"\n[traffic]\nbody = \"{{}}\"\ntimeout = \"1s\"\n\
         [[phase]]\nname = \"baseline\"\nduration = \"1s\"\nrate = 20\n[[phase]]\nname = \"fault\"\nduration = \"4s\"\nrate = 20\n\
         [[fault]]\nname = \"break\"\nkind = \"command\"\nat = \"fault\"\nfor = \"{lasts}\"\nrun = [\"touch\", \"broken\"]\n\
         undo = [\"rm\", \"-f\", \"broken\"]\nproof = \"trust\"\n\
         [[objective]]\nmetric = \"latency.p50\"\nmax = \"10s\"\n{rest}",
        target.url()
    )
}

fn vector(values: &[&str]) -> String {
    let one = |(i, v): (usize, &&str)| format!(r#"{{"metric":{{"i":"{i}"}},"value":[1.5,"{v}"]}}"#);
    let all: Vec<String> = values.iter().enumerate().map(one).collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, all.join(","))
}

fn probe<'r>(ran: &'r Ran, name: &str) -> &'r Value {
    let all = ran.json()["probes"].as_array().expect("probes");
    all.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no probe {name}"))
}

#[test]
fn every_odd_answer_has_its_meaning_and_none_hides_another() {
    let _seat = light();
    let room = Room::new();
    let monitor = Monitor::start(|request| {
        let error = |kind: &str, text: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"{text}"}}"#);
        let asked = request.lines().next().unwrap_or_default();
        let asks = |name: &str| asked.contains(&format!("query={name}&"));
        match () {
            () if asks("empty") => Some((200, vector(&[]))),
            () if asks("nan") => Some((200, vector(&["NaN"]))),
            () if asks("several") => Some((200, vector(&["1", "2"]))),
            () if asks("busy") => Some((503, error("timeout", "query timed out in expression evaluation"))),
            () if asks("wrong") => {
                let token = request.lines().find(|l| l.starts_with("Authorization:")).unwrap_or("no token");
                Some((422, error("execution", &format!("many-to-many matching, {token}"))))
            }
            () if asks("html") => Some((200, "<html>log in</html>".to_owned())),
            () if asks("silent") => None,
            () => Some((200, vector(&["0.5"]))),
        }
    });
    let one = |name: &str, more: &str| {
        format!(
            "[[probe]]\nname = \"{name}\"\nkind = \"prometheus\"\nurl = \"{}\"\nquery = \"{name}\"\nexpect_below = 1\n\
             no_data = \"fail\"\ntimeout = \"500ms\"\nheaders = {{ Authorization = \"Bearer ${{TOKEN}}\" }}\n{more}\n",
            monitor.url()
        )
    };
    let names = ["empty", "nan", "several", "busy", "wrong", "html", "silent", "fine"];
    let probes: String = names.iter().map(|name| one(name, "")).collect();
    let target = target();
    let file = room.write("s.toml", &scenario(&target, "1s", &probes));
    let mut command = room.command(&["run", &file.display().to_string()]);
    command.env("TOKEN", "sesame-123");
    let ran = room.spawn(command).wait();
    ran.ends(5);
    let said = ran.reasons();
    for words in [
        "probe empty: no data: the query gave no values",
        "probe nan: NaN, which is not below 1",
        "probe several: 2 series, and nothing says how they become one answer ({i=\"0\"} 1, {i=\"1\"} 2)",
        "probe busy: status 503 (timeout): query timed out in expression evaluation",
        "probe wrong: status 422 (execution): many-to-many matching, Authorization: Bearer ***",
        "probe html: status 200, and no JSON: <html>log in</html>",
        "probe silent: http://127.0.0.1:",
        "no answer within 500ms",
    ] {
        assert!(said.contains(words), "`{words}` is missing in {said}");
    }
    assert!(!said.contains("probe fine"), "{said}");
    assert!(!format!("{ran}{}", ran.json()).contains("sesame"), "the token stays out of everything");

    // The same, where the author says what they mean.
    let fine = one("empty", "").replace("no_data = \"fail\"", "no_data = \"pass\"")
        + &one("several", "across = \"sum\"\nexpect_above = 2").replace("expect_below = 1", "expect_below = 4");
    let file = room.write("s.toml", &scenario(&target, "1s", &fine));
    let mut command = room.command(&["run", &file.display().to_string()]);
    command.env("TOKEN", "sesame-123");
    let ran = room.spawn(command).wait();
    ran.ends(0);
    assert_eq!(probe(&ran, "several")["results"][0]["detail"], "3 is above 2 and below 4, over 2 series");
}

#[test]
fn a_value_that_breaks_its_bound_during_the_fault_is_a_violated_promise() {
    let _seat = light();
    let room = Room::new();
    let broken = room.path("broken");
    let monitor = Monitor::start(move |_| Some((200, vector(&[if broken.exists() { "0.9" } else { "0.1" }]))));
    let probes = format!(
        "[[probe]]\nname = \"errors\"\nkind = \"prometheus\"\nurl = \"{}\"\nquery = \"errors\"\nexpect_below = 0.5\n\
         no_data = \"fail\"\nwhen = [\"before\", \"during\", \"after\"]\nevery = \"200ms\"\n\
         [[probe]]\nname = \"whole\"\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"! ls broken\"]\nwhen = [\"after\"]\n\
         [[probe]]\nname = \"queue\"\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"echo depth 3; exit 7\"]\nexpect_exit = [7]\n\
         output_contains = \"depth 3\"\nwhen = [\"before\", \"after\"]\n",
        monitor.url()
    );
    let ran = room.run(&scenario(&target(), "2s", &probes));
    ran.ends(1);
    let errors = probe(&ran, "errors");
    let failed = errors["failed"].as_u64().expect("a count");
    assert!(failed >= 2 && failed < errors["asked"].as_u64().expect("a count"), "{errors}");
    assert!(ran.reasons().contains("0.9 is not below 0.5"), "{ran}");
    let when =
        |p: &Value| p["results"].as_array().expect("results").iter().map(|r| r["when"].clone()).collect::<Vec<_>>();
    assert_eq!(when(probe(&ran, "queue")), ["before", "before_fault", "after"]);
    assert_eq!((probe(&ran, "whole")["failed"].as_u64(), probe(&ran, "queue")["failed"].as_u64()), (Some(0), Some(0)));
}

/// Fires `after` the file was made, pending until then; `always` is what it does besides.
fn alerts(broken: PathBuf, after: Duration, up: &'static str, always: &'static str) -> Monitor {
    let since = std::sync::Mutex::new(None::<(u64, String)>);
    Monitor::start(move |request| {
        if request.starts_with("GET /api/v1/rules?type=alert ") {
            return Some((200, r#"{"status":"success","data":{"groups":[]}}"#.to_owned()));
        }
        assert!(request.starts_with("GET /api/v1/alerts "), "{request}");
        let mut since = since.lock().expect("no thread dies");
        let (now, wall) = (monotonic_nanos(), jiff::Timestamp::now().to_string());
        *since = broken.exists().then(|| since.take().unwrap_or((now, wall)));
        let state = match &*since {
            Some((from, _)) if now - from >= after.as_nanos() as u64 => up,
            Some(_) => "pending",
            None => always,
        };
        let at = since.as_ref().map_or("2020-01-01T00:00:00Z".to_owned(), |(_, wall)| wall.clone());
        let alert = format!(
            r#"{{"activeAt":"{at}","annotations":{{}},"labels":{{"alertname":"Drift","service":"fraud"}},"state":"{state}","value":"1"}}"#
        );
        let all = if state == "inactive" { String::new() } else { alert };
        Some((200, format!(r#"{{"status":"success","data":{{"alerts":[{all}]}}}}"#)))
    })
}

fn expects(monitor: &Monitor, more: &str) -> String {
    format!(
        "[[probe]]\nname = \"alerted\"\nkind = \"alert\"\nurl = \"{}\"\nexpect_fired = \"Drift\"\nlabels = {{ service = \"fraud\" }}\n\
         every = \"100ms\"\n{more}\n",
        monitor.url()
    )
}

#[test]
fn time_to_the_alert_stands_in_every_report() {
    let _seat = light();
    let room = Room::new();
    let monitor = alerts(room.path("broken"), Duration::from_millis(600), "firing", "inactive");
    let ran = room.run(&scenario(&target(), "2s", &expects(&monitor, "fault = \"break\"\nwithin = \"30s\"")));
    ran.ends(0);
    let alert = &probe(&ran, "alerted")["alerts"][0];
    assert_eq!((alert["state"].as_str(), alert["fault"].as_str()), (Some("fired"), Some("break")), "{alert}");
    let n = |key: &str| alert[key].as_f64().unwrap_or_else(|| panic!("{key} of {alert}"));
    let applied = ran.fault("break")["applied_at_s"].as_f64().expect("it was applied");
    assert!((n("fired_at_s") - applied - n("time_to_alert_s")).abs() < 1e-6, "{alert}");
    assert!(n("time_to_alert_low_s") <= n("time_to_alert_s") && n("time_to_alert_s") >= 0.5, "{alert}");
    assert!(n("active_at_s") >= applied - 0.1 && n("active_at_s") < n("fired_at_s"), "{alert}");
    assert!(n("resolved_at_s") > n("fired_at_s"), "{alert}");
    assert!(ran.stdout.contains("alert: Drift fired after"), "{ran}");
    assert!(ran.stderr.contains("probe alerted: Drift is firing"), "{ran}");
    assert!(ran.file("summary.md").contains("Who was alerted"));
    let html = ran.file("report.html");
    assert!(html.contains("Who was alerted") && html.contains("time to alert"));
    assert!(ran.file("charts/timeline.svg").contains("alert fires"));
}

#[test]
fn an_alert_that_does_not_fire_is_a_violated_promise() {
    let _seat = light();
    let room = Room::new();
    for (up, more, state, words) in [
        ("pending", "", "pending", "Drift was pending and never fired"),
        ("inactive", "", "pending", "Drift was pending and never fired"),
        ("firing", "within = \"100ms\"", "late", "promised within 100ms"),
    ] {
        let monitor = alerts(room.path("broken"), Duration::from_millis(700), up, "inactive");
        let ran = room.run(&scenario(&target(), "2s", &expects(&monitor, more)));
        ran.ends(1);
        assert_eq!(probe(&ran, "alerted")["alerts"][0]["state"], state, "{ran}");
        assert!(ran.reasons().contains(words), "{ran}");
    }
    // No rule at all.
    let none = alerts(room.path("nothing"), Duration::ZERO, "firing", "inactive");
    let ran = room.run(&scenario(&target(), "1s", &expects(&none, "")));
    ran.ends(1);
    assert!(ran.reasons().contains("Drift did not fire: the server has no alerting rule of this name"), "{ran}");
}

#[test]
fn an_alert_that_was_firing_before_is_no_pass() {
    let _seat = light();
    let room = Room::new();
    let monitor = alerts(room.path("broken"), Duration::ZERO, "firing", "firing");
    let ran = room.run(&scenario(&target(), "1s", &expects(&monitor, "")));
    ran.ends(5);
    assert!(ran.reasons().contains("Drift is firing") && ran.reasons().contains("would prove nothing"), "{ran}");
    assert!(!room.path("broken").exists(), "nothing was broken");

    // It becomes pending before the fault: what fires then was on its way already.
    let file = room.path("brewing");
    std::fs::write(&file, "").expect("a file");
    let monitor = alerts(file, Duration::from_millis(2500), "firing", "inactive");
    let ran = room.run(&scenario(&target(), "1s", &expects(&monitor, "")));
    ran.ends(3);
    assert_eq!(probe(&ran, "alerted")["alerts"][0]["state"], "unknown", "{ran}");
}

#[test]
fn a_silence_is_told_apart_and_a_silent_server_is_no_pass() {
    let _seat = light();
    let room = Room::new();
    let broken = room.path("broken");
    let manager = Monitor::start(move |request| {
        assert!(request.contains("filter=alertname%3D%22Drift%22"), "{request}");
        let alert = r#"[{"labels":{"alertname":"Drift","service":"fraud"},"startsAt":"2030-01-01T00:00:00.000Z",
            "status":{"state":"suppressed","silencedBy":["4f5e"],"inhibitedBy":[]}}]"#;
        Some((200, if broken.exists() { alert.to_owned() } else { "[]".to_owned() }))
    });
    let ran = room.run(&scenario(&target(), "2s", &expects(&manager, "via = \"alertmanager\"")));
    ran.ends(1);
    assert_eq!(probe(&ran, "alerted")["alerts"][0]["state"], "silenced", "{ran}");
    assert!(ran.reasons().contains("silenced by 4f5e"), "{ran}");

    let broken = room.path("broken");
    let was = AtomicBool::new(false);
    let mute = Monitor::start(move |_| {
        let now = was.load(Ordering::Relaxed) || broken.exists();
        was.store(now, Ordering::Relaxed);
        if now { None } else { Some((200, r#"{"status":"success","data":{"alerts":[]}}"#.to_owned())) }
    });
    let target = target();
    let longer = scenario(&target, "1s", &expects(&mute, "timeout = \"200ms\"")).replace("\"4s\"", "\"7s\"");
    let ran = room.run(&longer);
    ran.ends(3);
    let alert = &probe(&ran, "alerted")["alerts"][0];
    assert_eq!(alert["state"], "unknown", "{ran}");
    assert!(
        alert["text"].as_str().is_some_and(|t| t.contains("nobody answered") && t.contains("no answer within 200ms"))
    );
}

#[test]
fn pages_of_metrics_are_drawn_with_their_gaps() {
    let _seat = light();
    let room = Room::new();
    let broken = room.path("broken");
    let began = monotonic_nanos();
    let page = Monitor::start(move |request| {
        assert!(
            request.starts_with("GET /metrics ") && request.contains("Authorization: Bearer sesame-123"),
            "{request}"
        );
        if broken.exists() {
            return Some((503, "busy".to_owned()));
        }
        let n = (monotonic_nanos() - began) / 1_000_000;
        let text = format!(
            "# TYPE answers counter\nanswers_total{{code=\"200\"}} {n}\nanswers_total{{code=\"500\"}} 0\n# TYPE queue gauge\nqueue 7\nother 1\n<oops\n"
        );
        Some((200, text))
    });
    let scrape = format!(
        "[[scrape]]\nname = \"own\"\nurl = \"{}/metrics\"\nheaders = {{ Authorization = \"Bearer ${{TOKEN}}\" }}\n\
         series = [\"answers_*\", \"queue\"]\nevery = \"200ms\"\n\
         [[scrape]]\nname = \"none\"\nurl = \"http://127.0.0.1:9/metrics\"\nseries = [\"*\"]\n",
        page.url()
    );
    let target = target();
    let file = room.write("s.toml", &scenario(&target, "1s", &scrape));
    let mut command = room.command(&["run", &file.display().to_string()]);
    command.env("TOKEN", "sesame-123");
    let ran = room.spawn(command).wait();
    ran.ends(0);
    assert!(!format!("{ran}{}", ran.json()).contains("sesame"), "the token stays out of everything");
    let [own, none] = ran.json()["scrapes"].as_array().expect("scrapes").as_slice() else { panic!("{ran}") };
    let n = |v: &Value, key: &str| v[key].as_u64().unwrap_or_else(|| panic!("{key} of {v}"));
    assert!(n(own, "failed") >= 1 && n(own, "failed") < n(own, "read"), "{own}");
    assert_eq!(own["gaps"][0]["why"], "status 503");
    assert!(own["notes"][0].as_str().is_some_and(|t| t.contains("line 7: <oops")), "{}", own["notes"]);
    let names: Vec<&str> =
        own["series"].as_array().expect("series").iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["answers_total{code=\"200\"}", "answers_total{code=\"500\"}", "queue"]);
    assert!(n(none, "failed") == n(none, "read") && n(none, "read") >= 4, "{none}");
    assert!(none["gaps"][0]["why"].as_str().is_some_and(|w| w.contains("refused")), "{none}");
    // Nothing was read while it was broken, and the growth per second is that of a clock in milliseconds.
    let fault = ran.fault("break");
    let (from, to) = (fault["applied_at_s"].as_f64().expect("on"), fault["reverted_at_s"].as_f64().expect("off"));
    let csv = ran.file("scrape.csv");
    let mut rates = 0;
    for row in csv.lines().skip(1).map(|l| l.split(',').collect::<Vec<_>>()) {
        let at: f64 = row[0].parse().expect("a time");
        assert!(at <= from + 0.2 || at >= to - 0.2, "{row:?}");
        if row[3].contains("code=\"\"200\"\"") && !row[6].is_empty() {
            let rate: f64 = row[6].parse().expect("a rate");
            assert!(rate > 100.0 && rate < 10_000.0, "{row:?}");
            rates += 1;
        }
    }
    assert!(rates >= 5, "{csv}");
    let svg = ran.file("charts/scrapes.svg");
    assert!(svg.contains("answers_total") && svg.contains("per second") && svg.contains("queue"));
    assert!(ran.file("report.html").contains("Pages of metrics"));
    assert!(ran.stdout.contains("readings failed"), "{ran}");
    // What is made anew from run.json is the same.
    let html = ran.file("report.html");
    room.call(&["report", &ran.dir().display().to_string()]).ends(0);
    assert_eq!(ran.file("report.html"), html);
}
