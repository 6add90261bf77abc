//! The load engine's honesty: one test for each way in which load generators are known to lie to their users, named after its number
//! in the table of `src/engine/mod.rs`, as far as no pure test shows it; then what else a bad peer may do to a measurement.
//!
//! Some loads run inside this process, where their clock, their slots and their names can be looked at. Bounds are wide enough for
//! a busy machine, and each would be broken by the lie it is about.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resbench::client::resolve::Resolved;
use resbench::clock::{monotonic_nanos, sleep};
use resbench::outcome::ErrorClass;
use resbench::units::Offset;
use support::https::{authority, https, run_https, shake};
use support::load::{all_are, at, at_url, bad, good, phase, say, start_inside};
use support::server::{Freezer, GOOD, Server, Then};
use support::{Ran, Room, alone, light, now, until};

// ---- 4, 6: sending -------------------------------------------------------------------------------------------------

/// A generator that is stopped until the end has passed leaves a third of its arrivals unsent: each is counted, with its age.
#[test]
fn trap_04_what_was_never_sent_is_counted_with_its_age() {
    let _seat = alone();
    let room = Room::new();
    let server = Server::start(|pipe, _| good(pipe));
    let objective = "[[objective]]\nmetric = \"latency.p90\"\nmax = \"20s\"\n";
    let text = at_url(&server.url(), "timeout = \"500ms\"", &(phase("all", "3s", 100.0) + objective));
    let running = room.start(&text);
    until("load runs", || (server.seen() > 50).then_some(()));
    running.signal(rustix::process::Signal::STOP);
    sleep(Duration::from_millis(4500));
    running.signal(rustix::process::Signal::CONT);
    let ran = running.wait();
    let all = ran.phase("all");
    assert_eq!(all.n("planned"), 300, "{ran}");
    assert!(all.error("unfinished") >= 50, "{ran}");
    assert!(all.n("sent") < 300 && all.n("ok") < 260, "{ran}");
    // Where a tenth is missing, p90 is infinite, whatever the answered ones took; the age of the oldest stands among the failures.
    assert!(all.seconds("latency_us", "p90").is_infinite(), "{}", all.0);
    let hlog = ran.file("latency.hlog");
    assert!(hlog.lines().any(|l| l.contains("failed")), "ages of failures are kept: {}", &hlog[..hlog.len().min(600)]);
    assert_ne!(ran.code, 0, "{ran}");
}

/// Lag of a uniform load at this rate: the median of every 100 ms, and the median of all, in µs. Nothing may come early.
fn lags(rate: f64, seconds: u64) -> (f64, f64) {
    let room = Room::new();
    let server = Freezer::start(room.path("never"));
    let text = at_url(&server.url(), "connections = 8", &phase("all", &format!("{seconds}s"), rate));
    let load = start_inside(&text, 1, None);
    let origin = load.clock.absolute(Offset::ZERO);
    let left = load.finish();
    let n = (rate * seconds as f64) as usize;
    let mut came = server.came.lock().unwrap().clone();
    let stats = &left.all.phases[0];
    assert_eq!((stats.planned, stats.ok + stats.shed), (n as u64, n as u64), "{:?}", left.errors);
    assert_eq!(came.len() as u64, stats.ok);
    // Where all were sent; where the machine was too busy for that, the k-th that was sent is no earlier either.
    came.sort_unstable();
    // Even arrivals: the k-th request cannot be there before the k-th is due.
    for (k, at) in came.iter().enumerate() {
        let due = origin + (k as f64 * 1e9 / rate) as u64;
        assert!(*at >= due, "request {k} at {rate}/s came {} ns before it was due", due - at);
    }
    let median = |buckets: &[(u16, u32)]| {
        let n: u64 = buckets.iter().map(|(_, n)| u64::from(*n)).sum();
        let us = resbench::summary::pooled_quantiles(&[buckets], n, [0.5])[0].expect("there are some");
        us as f64 / 1e3
    };
    let slots = left.parts.iter().filter(|p| !p.lag.buckets.is_empty()).map(|p| median(&p.lag.buckets));
    let best = slots.fold(f64::INFINITY, f64::min);
    let p50 = left.all.phases[0].lag.quantile(0.5).unwrap() as f64 / 1e3;
    println!("{rate}/s: lag p50 {p50:.0} us, of the best 100 ms {best:.0} us");
    (best, p50)
}

/// Waits in whole milliseconds are off by half of one, in every slot. A busy machine is late too, but not all the time: what is
/// looked at is the best of it. At 20,000/s answers wake the sender anyway, whatever its timers are; there it has to be as punctual.
#[test]
fn trap_06_pacing_is_finer_than_a_millisecond_and_never_early() {
    let _seat = alone();
    let mut late = Vec::new();
    for (rate, seconds) in [(1_000.0, 3), (20_000.0, 2)] {
        if !(0..3).any(|_| lags(rate, seconds).0 < 300.0) {
            late.push(format!("{rate}/s: even the best 100 ms of three runs"));
        }
    }
    // A slot has one arrival here, and one in three would look punctual by chance: the median of all is not.
    if !(0..4).any(|_| lags(10.0, 4).1 < 300.0) {
        late.push("10/s: half of the arrivals".to_owned());
    }
    assert!(late.is_empty(), "300 us late: {late:?}");
}

// ---- 9, 11, 12, 13: connections ------------------------------------------------------------------------------------

/// Every request has a connection of its own here: what connecting costs is inside latency, and stands apart.
#[test]
fn trap_09_a_late_handshake_is_inside_latency_and_shown_apart() {
    let ours = authority();
    let config = ours.server_config("127.0.0.1", false);
    let server = Server::start_over(
        move |stream| {
            sleep(Duration::from_millis(200));
            shake(config.clone(), stream)
        },
        |pipe, _| good(pipe),
    );
    let ran = run_https(&server, Some(&ours), "connection_max_requests = 1");
    let all = ran.phase("all");
    assert_eq!((all.n("planned"), all.n("ok")), (60, 60), "{ran}");
    for of in ["latency_us", "service_us", "connect_us", "handshake_us"] {
        assert!(all.seconds(of, "p50") >= 0.2, "{of}: {}", all.0);
        assert_eq!(all.0[of]["n"], 60, "{of}: every request waited for a connection");
    }
    assert!(all.seconds("lag_us", "p50") < 0.2, "it was put on its way in time: {}", all.0);
}

#[test]
fn trap_09_a_server_that_accepts_late_is_slow_and_its_network_is_not() {
    let server = Server::start_over(
        |stream| {
            sleep(Duration::from_millis(200));
            Some(Box::new(stream))
        },
        |pipe, _| good(pipe),
    );
    let room = Room::new();
    let _seat = light();
    let traffic = "timeout = \"5s\"\nconnection_max_requests = 1";
    let ran = room.run(&at_url(&server.url(), traffic, &phase("all", "1500ms", 40.0)));
    let all = ran.phase("all");
    assert_eq!((all.n("planned"), all.n("ok")), (60, 60), "{ran}");
    assert!(all.seconds("latency_us", "p50") >= 0.2 && all.seconds("service_us", "p50") >= 0.2, "{}", all.0);
    // The kernel connects before anybody accepts.
    assert!(all.seconds("connect_us", "p50") < 0.15, "{}", all.0);
}

/// The second request of each connection is read and answered with a close.
fn dies_after(pause: Duration) -> Ran {
    let server = Server::start_over(
        move |mut stream| {
            for n in 0..2 {
                let mut bytes = Vec::new();
                let mut piece = [0; 4096];
                while !bytes.ends_with(b"}") {
                    match stream.read(&mut piece) {
                        Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
                        _ => return None,
                    }
                }
                if n == 0 {
                    stream.write_all(GOOD).ok()?;
                }
            }
            sleep(pause);
            None
        },
        |_, _| Then::Close,
    );
    let room = Room::new();
    let _seat = light();
    room.run(&at_url(&server.url(), "timeout = \"5s\"", &phase("all", "2s", 50.0)))
}

#[test]
fn trap_11_a_connection_that_died_while_idle_is_no_fault_of_the_service() {
    let raced = dies_after(Duration::ZERO);
    let all = raced.phase("all");
    assert!(all.error("idle_closed") >= 1, "{raced}");
    assert_eq!(all.error("status_5xx") + all.error("bad_answer") + all.error("timeout"), 0, "{raced}");
    assert_eq!(all.n("ok") + all.error("idle_closed") + all.error("closed") + all.error("reset"), 100, "{raced}");
    // One that works on the request for a while and dies of it is the service's.
    let died = dies_after(Duration::from_millis(300));
    let all = died.phase("all");
    assert!(all.error("closed") + all.error("reset") >= 20, "{died}");
    assert_eq!(all.error("idle_closed"), 0, "{died}");
}

fn addresses(servers: &[&Server]) -> Result<Vec<SocketAddr>, String> {
    Ok(servers.iter().map(|s| s.address).collect())
}

/// A name that moves from one server to another and then is gone, under a load that connects anew for each request.
#[test]
fn trap_12_a_name_that_moves_takes_its_traffic_along() {
    let _seat = light();
    let (a, b) = (Server::start(|pipe, _| good(pipe)), Server::start(|pipe, _| good(pipe)));
    let name = Arc::new(Mutex::new(addresses(&[&a])));
    let asked = name.clone();
    let resolved = Resolved::by(move || asked.lock().unwrap().clone(), Duration::from_millis(300)).unwrap();
    let looks = resolved.clone();
    let traffic = "connection_max_requests = 1\ntimeout = \"5s\"";
    let text = at_url("http://model.example/invocations", traffic, &phase("all", "6s", 50.0));
    let load = start_inside(&text, 1, Some(resolved));
    let shared = load.shared.clone();
    at(load.clock, 1500);
    *name.lock().unwrap() = addresses(&[&b]);
    until("B gets traffic", || (b.seen() > 20).then_some(()));
    let of_a = a.seen();
    assert!(of_a > 20, "{of_a}");
    *name.lock().unwrap() = Err("gone".into());
    until("nothing is sent to a name that is gone", || (shared.live().failed > 0).then_some(()));
    let of_b = b.seen();
    let left = load.finish();
    let stats = &left.all.phases[0];
    assert_eq!(a.seen(), of_a, "nobody went back to the old address");
    // What was on its way when the name went may still arrive.
    assert!(b.seen() <= of_b + 2, "{} {of_b}", b.seen());
    assert_eq!(stats.planned, 300);
    let dns = stats.errors[ErrorClass::Dns as usize];
    assert_eq!((stats.ok + dns, stats.ok), (300, (a.seen() + b.seen()) as u64), "{:?}", left.errors);
    assert!(dns >= 30, "{dns}");
    assert!(looks.look_ups().count >= 5, "{:?}", looks.look_ups());
}

#[test]
fn trap_13_connections_end_by_count_and_load_spreads_over_what_stands_behind_a_name() {
    let _seat = light();
    let (a, b) = (Server::start(|pipe, _| good(pipe)), Server::start(|pipe, _| good(pipe)));
    let both = addresses(&[&a, &b]);
    let resolved = Resolved::by(move || both.clone(), Duration::from_secs(60)).unwrap();
    let text = at_url("http://model.example/invocations", "connection_max_requests = 10", &phase("all", "2s", 100.0));
    let left = start_inside(&text, 1, Some(resolved)).finish();
    assert_eq!((left.all.phases[0].ok, a.seen() + b.seen()), (200, 200), "{:?}", left.errors);
    assert!(left.connections.opened >= 20, "{:?}", left.connections);
    let of = |s: &Server| s.connections.load(Ordering::Relaxed);
    assert!(of(&a).abs_diff(of(&b)) <= 1, "one after the other: {} {}", of(&a), of(&b));
    assert!(a.seen() >= 60 && b.seen() >= 60, "{} {}", a.seen(), b.seen());
}

#[test]
fn trap_13_connections_end_by_age() {
    let room = Room::new();
    let _seat = light();
    let connections = |traffic: &str| {
        let server = Server::start(|pipe, _| good(pipe));
        let ran = room.run(&at_url(&server.url(), traffic, &phase("all", "3s", 40.0)));
        assert_eq!(ran.phase("all").n("ok"), 120, "{ran}");
        server.connections.load(Ordering::Relaxed)
    };
    let (kept, aged) = (connections("connections = 1"), connections("connections = 1\nconnection_max_age = \"200ms\""));
    // Ages scatter by a quarter: at least twelve in three seconds, a few less where the machine is busy.
    assert!(aged >= 8 && aged > kept, "{aged} connections, {kept} without a limit");
}

// ---- 19, 21, 22, 26: time ------------------------------------------------------------------------------------------

#[test]
fn trap_19_a_bad_warm_up_costs_nothing_and_is_told() {
    let server = Server::start(|pipe, n| {
        let bad = (1..=80).contains(&n);
        if bad { say(pipe, b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n") } else { good(pipe) }
    });
    let room = Room::new();
    let _seat = light();
    let objectives =
        "[[objective]]\nmetric = \"error_rate\"\nmax = 0.05\n[[objective]]\nmetric = \"latency.p90\"\nmax = \"20s\"\n";
    let rest = phase("warm", "2s", 40.0) + "measure = false\n" + &phase("load", "2s", 40.0) + objectives;
    let ran = room.run(&at_url(&server.url(), "timeout = \"5s\"", &rest));
    ran.ends(0);
    assert_eq!((ran.phase("warm").n("planned"), ran.phase("warm").error("status_5xx")), (80, 80), "{ran}");
    assert_eq!((ran.phase("load").n("planned"), ran.phase("load").n("ok")), (80, 80), "{ran}");
    assert_eq!((&ran.phase("warm").0["measured"], &ran.phase("warm").0["duration_s"]), (&false.into(), &2.0.into()));
    assert!(ran.stdout.contains("warm (not measured)"), "{}", ran.stdout);
}

/// The real thing, where somebody allows it: the wall clock of this machine goes wrong for a second.
#[test]
fn trap_21_a_wall_clock_that_is_stepped_changes_nothing() {
    if std::env::var("RESBENCH_MAY_STEP_CLOCK").as_deref() != Ok("1") || !rustix::process::geteuid().is_root() {
        println!("SKIPPED: stepping this machine's wall clock: as root, with RESBENCH_MAY_STEP_CLOCK=1");
        return;
    }
    let _seat = alone();
    let room = Room::new();
    let server = Server::start(|pipe, _| good(pipe));
    let running = room.start(&at_url(&server.url(), "timeout = \"10s\"", &phase("all", "4s", 100.0)));
    until("load runs", || (server.seen() > 100).then_some(()));
    let (wall, began) = (resbench::clock::wall_nanos(), monotonic_nanos());
    let set = |nanos: i128| {
        let date = format!("@{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        let done = std::process::Command::new("date").args(["-s", &date]).stdout(std::process::Stdio::null()).status();
        assert!(done.expect("date").success(), "date -s {date}");
    };
    // Whatever happens in between, the clock comes back.
    struct Back<F: Fn()>(F);
    impl<F: Fn()> Drop for Back<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let back = Back(|| set(wall + i128::from(monotonic_nanos() - began)));
    set(wall + 5_000_000_000);
    sleep(Duration::from_secs(1));
    drop(back);
    let ran = running.wait();
    let all = ran.phase("all");
    assert_eq!((all.n("planned"), all.n("ok")), (400, 400), "{ran}");
    assert!(all.seconds("latency_us", "max") < 4.0 && all.seconds("lag_us", "max") < 4.0, "{}", all.0);
    assert!((3.0..40.0).contains(&ran.took), "{ran}");
}

/// A fault's instants against the load's own: the second in which answers stop is the one in which the fault was applied.
#[test]
fn trap_22_faults_and_load_have_one_time_axis() {
    let _seat = alone();
    let room = Room::new();
    let server = Freezer::start(room.path("frozen"));
    let fault = "[[fault]]\nname = \"freeze\"\nkind = \"command\"\nat = \"second+1500ms\"\nfor = \"1s\"\nrun = [\"touch\", \"frozen\"]\n\
                 undo = [\"rm\", \"-f\", \"frozen\"]\nproof = \"trust\"\n";
    let objective = "[[objective]]\nmetric = \"latency.p50\"\nmax = \"10s\"\n";
    let rest = phase("first", "1s", 100.0) + &phase("second", "4s", 100.0) + fault + objective;
    let started = now();
    let ran = room.run(&at_url(&server.url(), "timeout = \"10s\"", &rest));
    let ended = now();
    let fault = ran.fault("freeze");
    let instant = |key: &str| fault[key].as_f64().unwrap_or_else(|| panic!("{key} of {fault}"));
    let (planned, applied, reverted) = (instant("planned_at_s"), instant("applied_at_s"), instant("reverted_at_s"));
    assert_eq!(planned, 2.5);
    assert!(planned <= applied && applied + 1.0 <= reverted && reverted < 5.0, "{fault}");
    assert!(reverted < ended - started, "it is seconds of this run, whatever zone the machine is in");
    // What the load saw: nobody waited before the fault was asked for, somebody waited for most of its second, and it began inside.
    let windows = ran.json()["windows"].as_array().expect("windows").clone();
    let slow: Vec<f64> = windows
        .iter()
        .filter(|w| w["due_max_ok_us"].as_f64().is_some_and(|us| us > 0.7e6))
        .map(|w| w["start_at_s"].as_f64().unwrap())
        .collect();
    assert!(!slow.is_empty() && slow.iter().all(|s| *s + 1.0 > planned && *s <= reverted), "{slow:?} {fault}");
    let during = ran.span("during:freeze");
    let start = during.0["start_at_s"].as_f64().unwrap();
    // Where it was applied in time, its stretch begins when it was due.
    assert!((planned..=applied + 1e-6).contains(&start), "{planned} {start} {applied}");
    assert!(during.seconds("latency_us", "max") >= 0.7, "{}", during.0);
}

/// Requests in flight are counted at every millisecond by somebody who knows nothing of their latencies.
#[test]
fn trap_26_in_flight_is_rate_times_service_on_a_real_run() {
    let _seat = light();
    let server = Server::start(|pipe, _| {
        sleep(Duration::from_millis(100));
        good(pipe)
    });
    let text = at_url(&server.url(), "timeout = \"20s\"\narrivals = \"poisson\"", &phase("all", "4s", 150.0))
        .replace("arrivals = \"uniform\"\n", "");
    let load = start_inside(&text, 2, None);
    let (shared, clock) = (load.shared.clone(), load.clock);
    let (mut area, mut last) = (0.0, (0.0, 0.0));
    while !load.is_over() {
        let (at, in_flight) = (clock.now().as_secs_f64(), shared.live().in_flight as f64);
        area += (at - last.0) * (in_flight + last.1) / 2.0;
        last = (at, in_flight);
        sleep(Duration::from_millis(1));
    }
    let left = load.finish();
    let stats = &left.all.phases[0];
    assert_eq!(stats.ok, stats.planned, "{:?}", left.errors);
    let service = stats.service.sum() as f64 / 1e9;
    println!("in flight on average {:.2}, rate x service {:.2}", area / 4.0, service / 4.0);
    assert!(service >= 0.1 * stats.ok as f64);
    assert!((area / service - 1.0).abs() < 0.1, "{area} {service}");
}

// ---- 28: answers that look good ------------------------------------------------------------------------------------

#[test]
fn trap_28_a_200_that_is_none() {
    for body in
        ["{\"error\":\"out of memory\"}", "{\"error_code\":\"BAD_REQUEST\",\"message\":\"no\"}", "{\"predictions\":[0]"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (ran, _) = bad("2s", move |pipe, _| say(pipe, answer.as_bytes()));
        all_are(&ran, &["bad_answer"]);
    }
    // Good as far as it goes, and it ends before its end.
    let (cut, _) = bad("2s", |pipe, _| {
        say(pipe, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n13\r\n{\"predictions\":[0]}\r\n");
        Then::Close
    });
    all_are(&cut, &["closed"]);
    let (inside, _) = bad("2s", |pipe, _| {
        say(pipe, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n13\r\n{\"predic");
        Then::Close
    });
    all_are(&inside, &["closed"]);
}

// ---- Peers that speak something else -------------------------------------------------------------------------------

/// What the run says that it saw of a class.
fn sample(ran: &Ran, class: &str) -> String {
    let all = ran.json()["error_samples"].as_array().expect("samples").clone();
    let found = all.iter().find(|s| s["class"] == class).unwrap_or_else(|| panic!("no {class}: {ran}"));
    found["sample"].as_str().expect("a text").to_owned()
}

#[test]
fn http2_on_an_http1_port_and_the_other_way_round() {
    // SETTINGS, as a server that takes nothing but HTTP/2 begins.
    let (settings, _) = bad("2s", |pipe, _| say(pipe, b"\0\0\0\x04\0\0\0\0\0"));
    all_are(&settings, &["bad_answer"]);
    assert!(sample(&settings, "bad_answer").contains("not HTTP/1.1"), "{ran}", ran = settings);

    // One exchange by the book, so that the run starts; then a server that has never heard of HTTP/2.
    let count = AtomicUsize::new(0);
    let server = Server::start_over(
        move |mut stream| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            let mut seen = Vec::new();
            let mut piece = [0; 4096];
            // The preface, SETTINGS and a request; its body is JSON, and its end is the request's.
            while !seen.ends_with(b"}") {
                match stream.read(&mut piece) {
                    Ok(n) if n > 0 => seen.extend_from_slice(&piece[..n]),
                    _ => return None,
                }
            }
            if first {
                let body = b"{\"predictions\":[0]}";
                let mut answer = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88".to_vec();
                answer.extend_from_slice(&[0, 0, body.len() as u8, 0, 1, 0, 0, 0, 1]);
                answer.extend_from_slice(body);
                stream.write_all(&answer).ok()?;
                sleep(Duration::from_millis(100));
            } else {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").ok()?;
                sleep(Duration::from_millis(20));
            }
            None
        },
        |_, _| Then::Close,
    );
    let room = Room::new();
    let _seat = light();
    let text = at_url(&server.url(), "timeout = \"2s\"", &phase("all", "1500ms", 40.0))
        .replace("[traffic]", "http2 = true\n[traffic]");
    let ran = room.run(&text);
    all_are(&ran, &["bad_answer"]);
    assert!(sample(&ran, "bad_answer").contains("the peer speaks HTTP/1"), "{ran}");
}

#[test]
fn an_upgrade_that_nobody_asked_for() {
    let (ran, _) = bad("2s", |pipe, _| {
        say(pipe, b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x02hi")
    });
    all_are(&ran, &["bad_answer"]);
    assert!(sample(&ran, "bad_answer").contains("switched protocols"), "{ran}");
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection() {
    // It comes while the connection rests, far from the next request on it.
    let (ran, server) = bad("5s", |pipe, _| {
        say(pipe, GOOD);
        sleep(Duration::from_millis(5));
        say(pipe, GOOD)
    });
    let all = ran.phase("all");
    assert!(all.n("ok") >= 55, "a busy machine may bring request and answer together: {ran}");
    assert!(server.connections.load(Ordering::Relaxed) > 40, "the connection is not trusted again: {ran}");
}

#[test]
fn each_request_on_a_connection_that_does_not_come_about_has_its_own_timeout() {
    // The kernel takes connections for it, and nobody says a word on them: the TLS handshake hangs.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/invocations", silent.local_addr().unwrap());
    let _seat = light();
    let text = at_url(&url, "timeout = \"400ms\"", &phase("all", "1500ms", 40.0))
        .replace("[traffic]", "http2 = true\n[traffic]");
    let left = start_inside(&text, 1, None).finish();
    let failed = &left.all.phases[0].latency_failed;
    assert_eq!(failed.count(), 60, "{:?}", left.errors);
    assert!(left.errors[ErrorClass::ConnectTimeout as usize].count > 40, "{:?}", left.errors);
    let soonest = failed.quantile(0.001).unwrap();
    assert!(soonest >= 400_000_000, "many share a connection, and one of them failed after {soonest} ns");
}

#[test]
fn every_way_in_which_tls_fails_is_told() {
    let ours = Arc::new(authority());
    let fine = ours.server_config("127.0.0.1", false);
    for (config, telling) in [
        (ours.server_config("127.0.0.1", true), "expired"),
        (ours.server_config("other.example", false), "not valid for name"),
        (authority().server_config("127.0.0.1", false), "UnknownIssuer"),
    ] {
        let fine = fine.clone();
        let server = https(move |n| if n < 2 { fine.clone() } else { config.clone() });
        tls_fails(&run_https(&server, Some(&ours), ""), telling);
    }
    // A ServerHello of TLS 1.0; the alert of a server that knows nothing newer; an HTTP server on that port; nothing at all; a
    // record that never ends.
    let mut hello = b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01".to_vec();
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(b"\x00\x00\x2f\x00");
    for (bytes, telling) in [
        (hello, "ServerDoesNotSupportTls12Or13"),
        (b"\x15\x03\x01\x00\x02\x02\x46".to_vec(), "ProtocolVersion"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "corrupt"),
        (Vec::new(), "closed during the handshake"),
        ([&b"\x16\x03\x03\x40\x00\x02\xff\xff\xff"[..], &[0; 100_000]].concat(), ""),
    ] {
        let (fine, count) = (fine.clone(), AtomicUsize::new(0));
        let server = Server::start_over(
            move |mut stream| {
                if count.fetch_add(1, Ordering::Relaxed) < 2 {
                    return shake(fine.clone(), stream);
                }
                // Only a hello that was read can be followed by a close that is no reset.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&bytes);
                None
            },
            |pipe, _| {
                let _ = say(pipe, GOOD);
                Then::Close
            },
        );
        tls_fails(&run_https(&server, Some(&ours), ""), telling);
    }
}

#[track_caller]
fn tls_fails(ran: &Ran, telling: &str) {
    let all = ran.phase("all");
    assert_eq!(all.n("planned"), 60, "{ran}");
    assert!(all.error("tls") >= 50, "{ran}");
    let said = sample(ran, "tls");
    println!("{said}");
    assert!(said.to_lowercase().contains(&telling.to_lowercase()), "`{said}` does not say {telling}");
    let rss = ran.json()["generator"]["max_rss_bytes"].as_u64().unwrap();
    assert!(rss < 256 << 20, "{rss}");
}

// ---- [traffic] and the options of load -----------------------------------------------------------------------------

#[test]
fn source_addresses_are_used_in_turn() {
    let peers = Arc::new(Mutex::new(Vec::new()));
    let book = peers.clone();
    let server = Server::start_over(
        move |stream| {
            book.lock().unwrap().push(stream.peer_addr().ok()?.ip());
            Some(Box::new(stream))
        },
        |pipe, _| good(pipe),
    );
    let room = Room::new();
    let _seat = light();
    let traffic = "connection_max_requests = 1\ntimeout = \"5s\"\nsource_addresses = [\"127.0.0.2\", \"127.0.0.3\"]";
    let ran = room.run(&at_url(&server.url(), traffic, &phase("all", "1500ms", 40.0)));
    assert_eq!(ran.phase("all").n("ok"), 60, "{ran}");
    let from = |last: u8| peers.lock().unwrap().iter().filter(|ip| **ip == IpAddr::from([127, 0, 0, last])).count();
    let (two, three) = (from(2), from(3));
    assert!(two + three >= 60 && two.abs_diff(three) <= 2, "{two} from 127.0.0.2, {three} from 127.0.0.3");
}

#[test]
fn an_address_that_is_not_ours_is_our_own_fault() {
    let server = Server::start(|pipe, _| good(pipe));
    let room = Room::new();
    let _seat = light();
    // 192.0.2.0/24 is for documentation: nobody has it.
    let traffic = "source_addresses = [\"192.0.2.1\"]";
    let ran = room.run(&at_url(&server.url(), traffic, &phase("all", "1500ms", 40.0)));
    assert_eq!(ran.phase("all").error("client"), 60, "{ran}");
    assert_eq!(ran.json()["generator"]["kept_up"], false, "{ran}");
    assert_ne!(ran.json()["verdict"], "met", "{ran}");
}

#[test]
fn the_address_family_is_kept() {
    let room = Room::new();
    let _seat = light();
    let run = |url: &str, family: &str| {
        let traffic = format!("timeout = \"2s\"\naddress_family = \"{family}\"");
        room.run(&at_url(url, &traffic, &phase("all", "1s", 20.0)))
    };
    let server = Server::start(|pipe, _| good(pipe));
    let named = format!("http://localhost:{}/invocations", server.address.port());
    assert_eq!(run(&named, "ipv4").phase("all").n("ok"), 20);
    let seen = server.seen();
    // Where localhost is ::1 too, nobody listens there; where it is not, there is no such address.
    let ran = run(&named, "ipv6");
    assert_ne!(ran.code, 0, "{ran}");
    assert!(server.seen() <= seen + 1, "no load went to the address of the other family: {ran}");
    let ran = run(&server.url(), "ipv6");
    ran.ends(5);
    assert!(ran.reasons().contains("has no IPv6 address"), "{ran}");
    match TcpListener::bind("[::1]:0") {
        Err(e) => println!("SKIPPED: no IPv6 on this machine's loopback: {e}"),
        Ok(listener) => {
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || {
                for mut stream in listener.incoming().map_while(Result::ok) {
                    std::thread::spawn(move || {
                        let mut piece = [0; 4096];
                        while stream.read(&mut piece).is_ok_and(|n| n > 0) && stream.write_all(GOOD).is_ok() {}
                    });
                }
            });
            assert_eq!(run(&format!("http://[::1]:{port}/invocations"), "ipv6").phase("all").n("ok"), 20);
        }
    }
}

#[test]
fn names_are_looked_up_at_the_interval_that_the_scenario_says() {
    let server = Server::start(|pipe, _| good(pipe));
    let url = format!("http://localhost:{}/invocations", server.address.port());
    let room = Room::new();
    let _seat = light();
    let looks = |url: &str, every: &str| {
        let traffic = format!("timeout = \"5s\"\naddress_family = \"ipv4\"\ndns_refresh = \"{every}\"");
        let ran = room.run(&at_url(url, &traffic, &phase("all", "3s", 20.0)));
        assert_eq!(ran.phase("all").n("ok"), 60, "{ran}");
        find(ran.json(), "dns_look_ups").and_then(serde_json::Value::as_u64).expect("look-ups are counted")
    };
    let (often, seldom, never) = (looks(&url, "300ms"), looks(&url, "1h"), looks(&server.url(), "300ms"));
    // Ten in three seconds, half of that where the machine is busy.
    assert!(often >= 5 && seldom < often && never == 0, "{often} {seldom} {never}");
}

/// The first value under this key, however deep.
fn find<'v>(value: &'v serde_json::Value, key: &str) -> Option<&'v serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|v| find(v, key))),
        serde_json::Value::Array(list) => list.iter().find_map(|v| find(v, key)),
        _ => None,
    }
}

#[test]
fn streams_go_with_http2_only() {
    let room = Room::new();
    let text = at_url("http://127.0.0.1:9/x", "streams = 10", &phase("all", "1s", 10.0));
    let check = |text: &str| {
        let file = room.write("s.toml", text).display().to_string();
        room.call(&["check", &file])
    };
    let refused = check(&text);
    refused.ends(2);
    assert!(refused.stderr.contains("streams") && refused.stderr.contains("http2 = true"), "{refused}");
    check(&text.replace("[traffic]", "http2 = true\n[traffic]")).ends(0);
}

/// A server's own book of what came: the bodies, which follow the arrivals' numbers, and the counts of every second.
#[test]
fn any_number_of_workers_sends_the_same_arrivals() {
    let room = Room::new();
    let _seat = light();
    let sent_by = |workers: &str| {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let book = bodies.clone();
        let server = Server::start_over(
            move |stream| Some(Box::new(Book { stream, bodies: book.clone(), kept: Vec::new() })),
            |pipe, _| good(pipe),
        );
        let text = at_url(&server.url(), "timeout = \"10s\"", &(phase("one", "2s", 80.0) + &phase("two", "1s", 150.0)))
            .replace("\"uniform\"", "\"poisson\"");
        let file = room.write("s.toml", &text).display().to_string();
        let ran = room.call(&["run", &file, "--workers", workers]);
        let windows = ran.json()["windows"].as_array().unwrap().clone();
        let counts: Vec<_> = windows.iter().map(|w| (w["start_at_s"].clone(), w["due_planned"].clone())).collect();
        assert_eq!(ran.phase("one").n("ok") + ran.phase("one").n("shed"), ran.phase("one").n("planned"), "{ran}");
        let mut bodies = bodies.lock().unwrap().clone();
        bodies.sort_unstable();
        (counts, bodies)
    };
    let (one, three) = (sent_by("1"), sent_by("3"));
    assert!(one.0.len() >= 3 && one.1.len() > 200, "{} {}", one.0.len(), one.1.len());
    assert!(one.1.windows(2).any(|w| w[0] != w[1]), "bodies differ");
    assert!(one == three, "{:?} {:?}", one.0, three.0);
}

/// Writes down every body that comes.
struct Book {
    stream: std::net::TcpStream,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    kept: Vec<u8>,
}

impl Read for Book {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.kept.extend_from_slice(&buffer[..n]);
        Ok(n)
    }
}

impl Write for Book {
    // An answer goes out when a whole request has come in.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(head) = self.kept.windows(4).position(|w| w == b"\r\n\r\n") {
            self.bodies.lock().unwrap().push(self.kept.split_off(head + 4));
            self.kept.clear();
        }
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn options_of_load_that_make_no_sense_are_refused() {
    let room = Room::new();
    let file =
        room.write("s.toml", &at_url("http://127.0.0.1:9/x", "", &phase("all", "1s", 10.0))).display().to_string();
    for (option, value, says) in [
        ("--workers", "0", "1..=64"),
        ("--workers", "many", "invalid"),
        ("--spin", "2ms", "at most 1ms"),
        ("--spin", "soon", "soon"),
        ("--cpus", "4000", "CPU 4000 is not here"),
        ("--cpus", "a", "`a` is no CPU number"),
        ("--cpus", "", "no CPU"),
        ("--cpus", "3-1", "no CPU"),
    ] {
        let ran = room.call(&["run", &file, option, value]);
        ran.ends(2);
        assert!(ran.stderr.contains(says), "{option} {value}: {}", ran.stderr);
    }
}

#[test]
fn spin_and_cpus_are_taken() {
    let server = Server::start(|pipe, _| good(pipe));
    let room = Room::new();
    let _seat = alone();
    let file = room.write("s.toml", &at_url(&server.url(), "", &phase("all", "1s", 50.0))).display().to_string();
    let cpu = resbench::platform::process::available_cpus()[0].to_string();
    let ran = room.call(&["run", &file, "--spin", "200us", "--cpus", &cpu, "--workers", "2"]);
    assert_eq!(ran.phase("all").n("ok"), 50, "{ran}");
}
