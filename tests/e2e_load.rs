//! The load engine from outside: the real binary against servers that freeze, lie, drip, reset, hang up and refuse. What it
//! reports must be what arithmetic and the server's own books say.
//!
//! Bounds are wide enough for a busy machine, and none of them would hold under coordinated omission.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use resbench::clock::sleep;
use support::https::{authority, https, run_https};
use support::load::{all_are, at_url, bad, good, phase, say};
use support::server::{Freezer, GOOD, Server, Then, drip};
use support::{Ran, Room, alone, light, now, until};

// ---- A freeze ------------------------------------------------------------------------------------------------------

struct Freeze {
    rate: f64,
    length: u64,
    freeze_at: u64,
    freeze_for: u64,
    max_in_flight: usize,
}

/// A run against a server that freezes while a file is there; a `command` fault makes and removes it.
fn freeze(f: &Freeze) -> Ran {
    let room = Room::new();
    let server = Freezer::start(room.path("frozen"));
    let traffic = format!("timeout = \"20s\"\nmax_in_flight = {}", f.max_in_flight);
    let fault = format!(
        "[[fault]]\nname = \"freeze\"\nkind = \"command\"\nat = \"{}s\"\nfor = \"{}s\"\nrun = [\"touch\", \"frozen\"]\n\
         undo = [\"rm\", \"-f\", \"frozen\"]\nproof = \"trust\"\n[safety]\nabort_when = {{ good_ratio_below = 0.0, for = \"60s\" }}",
        f.freeze_at, f.freeze_for
    );
    // A latency bound that only arrivals which were never sent can break.
    let objective = "[[objective]]\nmetric = \"latency.p90\"\nmax = \"15s\"\n";
    let phases = objective.to_owned() + &phase("all", &format!("{}s", f.length), f.rate);
    let ran = room.run(&at_url(&server.url(), &traffic, &(phases + &fault)));
    println!(
        "freeze {} s of {} s at {}/s: p50 during {:.3} s, p90 {:.3} p95 {:.3} p99 {:.3} max {:.3} s, shed {}, lag p99 {:.1} ms",
        f.freeze_for,
        f.length,
        f.rate,
        ran.span("during:freeze").seconds("latency_us", "p50"),
        ran.phase("all").seconds("latency_us", "p90"),
        ran.phase("all").seconds("latency_us", "p95"),
        ran.phase("all").seconds("latency_us", "p99"),
        ran.phase("all").seconds("latency_us", "max"),
        ran.phase("all").n("shed"),
        ran.phase("all").seconds("lag_us", "p99") * 1e3,
    );
    ran
}

/// Must show 3, at full size.
#[test]
fn trap_01_a_freeze_of_5_s_at_1000_per_second_costs_what_arithmetic_says() {
    let _seat = alone();
    let ran = freeze(&Freeze { rate: 1000.0, length: 20, freeze_at: 7, freeze_for: 5, max_in_flight: 8000 });
    let all = ran.phase("all");
    assert_eq!((all.n("planned"), all.n("ok"), all.n("shed")), (20_000, 20_000, 0), "{ran}");
    // 5,000 of 20,000 are due inside the freeze and wait for what is left of it: 5 s, 4.999 s, … 0.
    let during = ran.span("during:freeze");
    let p50 = during.seconds("latency_us", "p50");
    assert!((2.2..3.2).contains(&p50), "about 2.5 s: {p50}\n{}", during.0);
    assert!((4_800..5_800).contains(&during.n("planned")), "{}", during.0);
    for (quantile, exact) in [("p90", 3.0), ("p95", 4.0), ("p99", 4.8)] {
        let seen = all.seconds("latency_us", quantile);
        assert!((exact - 0.25..exact + 1.0).contains(&seen), "{quantile} about {exact} s: {seen}");
    }
    assert!(all.seconds("latency_us", "max") >= 4.9, "{}", all.0);
    // Each was sent when it was due, not when an answer made room.
    assert!(all.seconds("lag_us", "p50") < 0.5, "{}", all.0);
}

#[test]
fn trap_05_without_room_the_rest_of_a_freeze_is_shed_and_counted() {
    let _seat = alone();
    let small = Freeze { rate: 500.0, length: 8, freeze_at: 3, freeze_for: 2, max_in_flight: 200 };
    let ran = freeze(&small);
    let all = ran.phase("all");
    assert_eq!(all.n("planned"), 4_000);
    assert_eq!(all.n("ok") + all.n("shed"), 4_000, "nothing else happened: {ran}");
    // A thousand are due in the freeze, two hundred find room.
    assert!((700..1_300).contains(&all.n("shed")), "{ran}");
    assert!(ran.span("during:freeze").n("shed") >= 600, "{ran}");
    // What was shed was not answered: it is infinite, and so is p90 of a phase that shed a fifth.
    assert!(all.seconds("latency_us", "p90").is_infinite(), "{}", all.0);
    assert!(all.0["error_rate"].as_f64().unwrap() > 0.17, "{}", all.0);
    ran.ends(1);

    let room = freeze(&Freeze { max_in_flight: 2_000, ..small });
    let all = room.phase("all");
    assert_eq!((all.n("ok"), all.n("shed")), (4_000, 0), "there was room: {room}");
    assert_eq!(room.json()["verdict"], "met", "{room}");
    let p50 = room.span("during:freeze").seconds("latency_us", "p50");
    assert!((0.8..1.6).contains(&p50), "about 1 s: {p50}");
    let p99 = all.seconds("latency_us", "p99");
    assert!((1.8..2.9).contains(&p99), "about 1.92 s: {p99}");
}

// ---- Connections ---------------------------------------------------------------------------------------------------

#[test]
fn trap_10_a_request_that_dies_with_its_connection_is_counted_once_and_never_sent_again() {
    // Every second request of a connection is read and answered with a close.
    let server = Server::start_over(
        |stream| Some(Box::new(Turns { stream, answers: 0 })),
        |pipe, n| if n == 0 { good(pipe) } else { say(pipe, GOOD) },
    );
    let room = Room::new();
    let _seat = light();
    let ran = room.run(&at_url(&server.url(), "timeout = \"2s\"", &phase("all", "2s", 50.0)));
    let all = ran.phase("all");
    let died = all.error("idle_closed") + all.error("closed") + all.error("reset");
    assert_eq!(all.n("ok") + died, 100, "{ran}");
    assert!(died >= 30, "about half of them: {ran}");
    // One look whether the target is there, and each arrival once.
    assert_eq!(server.seen(), 101, "{ran}");
}

/// A connection that is closed by its second answer, which is never sent.
struct Turns {
    stream: std::net::TcpStream,
    answers: usize,
}

impl std::io::Read for Turns {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Turns {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.answers += 1;
        if self.answers > 1 { Err(std::io::ErrorKind::BrokenPipe.into()) } else { self.stream.write(bytes) }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn connections_that_the_server_closes_when_idle_are_opened_again() {
    let server = Server::start_over(
        |stream| {
            stream.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
            Some(Box::new(stream))
        },
        |pipe, _| good(pipe),
    );
    let room = Room::new();
    let _seat = light();
    // Five connections in turn at 50/s: each comes up again after about the 100 ms that the server gives it.
    let ran = room.run(&at_url(&server.url(), "timeout = \"2s\"\nconnections = 5", &phase("all", "4s", 50.0)));
    let all = ran.phase("all");
    let died = all.error("idle_closed") + all.error("closed") + all.error("reset");
    println!(
        "idle close: ok {} idle_closed {} of 200, connections {}",
        all.n("ok"),
        died,
        server.connections.load(Ordering::Relaxed)
    );
    assert_eq!(all.n("ok") + died, 200, "{ran}");
    assert_eq!(all.n("shed"), 0);
    assert!(server.connections.load(Ordering::Relaxed) > 10, "it had to connect anew: {ran}");
    // Silent retries would make more requests than arrivals, or answers out of requests that the server never saw.
    let seen = server.seen() as u64 - 1;
    assert!(all.n("ok") <= seen && seen <= 200, "seen {seen}\n{ran}");
}

#[test]
fn a_port_that_closes_in_mid_run_is_refused() {
    let (ran, _) = bad("1s", |pipe, n| if n < 10 { good(pipe) } else { Then::CloseAll });
    let all = ran.phase("all");
    assert!(all.error("refused") >= 20, "{ran}");
    assert!(all.n("ok") >= 1 && all.n("ok") <= 10, "{ran}");
}

#[test]
fn trap_24_a_black_hole_times_out_and_makes_the_run_no_longer() {
    let (ran, _) = bad("500ms", |_, _| {
        sleep(Duration::from_millis(1500));
        Then::Close
    });
    all_are(&ran, &["timeout"]);
    assert!(ran.took < 1.5 + 0.5 + 20.0, "phases, one timeout, and what a busy machine takes: {ran}");
    let service = ran.phase("all").seconds("service_us", "p50");
    assert!(service >= 0.49, "a timeout takes its time: {service}");
}

#[test]
fn connections_that_nobody_accepts_time_out_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let url = format!("http://{}/invocations", listener.local_addr().unwrap());
    let room = Room::new();
    let _seat = light();
    let first = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = std::io::Read::read(&mut stream, &mut [0; 8192]);
        let _ = stream.write_all(GOOD);
        // The listener stays open, and accepts nobody any more.
        listener
    });
    let ran = room.run(&at_url(&url, "timeout = \"400ms\"", &phase("all", "1500ms", 40.0)));
    drop(first.join());
    all_are(&ran, &["connect_timeout", "timeout"]);
    assert!(ran.phase("all").error("connect_timeout") >= 30, "{ran}");
    assert!(ran.took < 30.0, "{ran}");
}

#[test]
fn a_dead_target_is_not_started_on() {
    let port = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let room = Room::new();
    let _seat = light();
    let ran = room.run(&at_url(&format!("http://127.0.0.1:{port}/x"), "timeout = \"1s\"", &phase("all", "30s", 10.0)));
    ran.ends(5);
    assert!(ran.reasons().contains("refused"), "{ran}");
    assert_eq!(ran.json()["ending"], "not_started");
    assert_eq!(ran.phase("all").n("planned"), 0);
    assert!(ran.took < 20.0, "it did not wait for the phases: {ran}");
    assert!(room.journals().is_empty());
}

// ---- Answers -------------------------------------------------------------------------------------------------------

#[test]
fn a_reset_in_the_middle_of_a_body() {
    let (ran, _) = bad("1s", |pipe, _| {
        say(pipe, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"predic");
        Then::Reset
    });
    all_are(&ran, &["reset", "closed"]);
}

#[test]
fn answers_twice() {
    let twice = [GOOD, GOOD].concat();
    let (ran, server) = bad("1s", move |pipe, _| say(pipe, &twice));
    assert_eq!(ran.phase("all").n("ok"), 60, "the first one counts: {ran}");
    assert!(server.connections.load(Ordering::Relaxed) > 50, "and the connection is not trusted again: {ran}");
}

#[test]
fn lies_about_its_length() {
    let (short, _) =
        bad("1s", |pipe, _| say(pipe, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"predictions\":[0]}"));
    all_are(&short, &["bad_answer"]);
    let (long, _) =
        bad("400ms", |pipe, _| say(pipe, b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"predictions\":[0]}"));
    all_are(&long, &["timeout"]);
    let (closes, _) = bad("1s", |pipe, _| {
        say(pipe, b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"predictions\":[0]}");
        Then::Close
    });
    all_are(&closes, &["closed"]);
}

#[test]
fn drips_a_byte_every_100_ms() {
    let (ran, _) = bad("500ms", |pipe, _| {
        drip(pipe, GOOD, Duration::from_millis(100));
        Then::Close
    });
    all_are(&ran, &["timeout"]);
}

#[test]
fn endless_heads_and_bodies_are_cut() {
    let (head, _) = bad("5s", |pipe, _| {
        let _ = pipe.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while pipe.write_all(&[b'x'; 8192]).is_ok() {}
        Then::Close
    });
    all_are(&head, &["too_large"]);
    let (promised, _) = bad("5s", |pipe, _| say(pipe, b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n{"));
    all_are(&promised, &["too_large"]);
    let (streamed, _) = bad("5s", |pipe, _| {
        let _ = pipe.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        (0..1 << 17).take_while(|_| pipe.write_all(&[b' '; 8192]).is_ok()).count();
        Then::Close
    });
    all_are(&streamed, &["too_large"]);
    let rss = streamed.json()["generator"]["max_rss_bytes"].as_u64().unwrap();
    assert!(rss < 256 << 20, "a gigabyte was not kept: {rss}");
    let (chunked, _) = bad("5s", |pipe, _| {
        let _ = pipe.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = [&b"3e8\r\n"[..], &[b' '; 1_000], b"\r\n"].concat();
        while pipe.write_all(&chunk).is_ok() {}
        Then::Close
    });
    all_are(&chunked, &["too_large"]);
    // A byte of body in four thousand of framing: the body alone would be let through for gigabytes.
    let (framing, _) = bad("5s", |pipe, _| {
        let _ = pipe.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = [&b"1;x="[..], &[b'x'; 4_000], b"\r\n \r\n"].concat();
        while pipe.write_all(&chunk).is_ok() {}
        Then::Close
    });
    all_are(&framing, &["too_large"]);
    for ran in [chunked, framing] {
        let rss = ran.json()["generator"]["max_rss_bytes"].as_u64().unwrap();
        assert!(rss < 256 << 20, "{rss}");
    }
}

#[test]
fn speaks_no_http() {
    let (later, _) = bad("1s", |pipe, _| say(pipe, b"SSH-2.0-OpenSSH_9.6\r\n"));
    all_are(&later, &["bad_answer"]);
    let server = Server::start(|pipe, _| say(pipe, b"220 smtp ready\r\n"));
    let room = Room::new();
    let ran = room.run(&at_url(&server.url(), "timeout = \"1s\"", &phase("all", "1s", 10.0)));
    ran.ends(5);
    assert!(ran.reasons().contains("protocol"), "{ran}");
}

#[test]
fn statuses_and_html() {
    let (five, _) = bad("1s", |pipe, _| say(pipe, b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"));
    all_are(&five, &["status_5xx"]);
    let (four, _) = bad("1s", |pipe, _| say(pipe, b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno"));
    all_are(&four, &["status_4xx"]);
    let (html, _) =
        bad("1s", |pipe, _| say(pipe, b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n<html>log in</html>   "));
    all_are(&html, &["bad_answer"]);
    let (moved, _) = bad("1s", |pipe, _| say(pipe, b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"));
    all_are(&moved, &["bad_answer"]);
    let (empty, _) = bad("1s", |pipe, _| say(pipe, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    all_are(&empty, &["bad_answer"]);
}

/// What a target answers is data, in every form of the report and on the terminal.
#[test]
fn what_a_target_says_is_escaped() {
    const EVIL: &str = "<script>alert(1)</script>\u{1b}[2J\u{1b}]0;owned\u{7}|`x`\u{202e}\"'&]]>";
    let evil = format!("HTTP/1.1 500 No\r\ncontent-length: {}\r\n\r\n{EVIL}", EVIL.len());
    let (ran, _) = bad("1s", move |pipe, _| say(pipe, evil.as_bytes()));
    all_are(&ran, &["status_5xx"]);
    let sample = ran.file("run.json");
    assert!(sample.contains("alert(1)"), "the sample is kept: {ran}");
    for file in ["report.html", "junit.xml", "summary.md"] {
        let text = ran.file(file);
        assert!(!text.contains("<script>alert"), "{file}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{file}");
    }
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}') && !text.contains('\u{202e}'), "{text:?}");
    }
    assert!(!sample.contains('\u{1b}'), "JSON escapes it");
    let again = Room::new().call(&["report", &ran.dir().display().to_string(), "--output", "markdown"]);
    assert!(!again.stdout.contains('\u{1b}') && !again.stdout.contains("<script>alert"), "{}", again.stdout);
}

// ---- https ---------------------------------------------------------------------------------------------------------

#[test]
fn tls_is_verified() {
    let ours = Arc::new(authority());
    let config = ours.server_config("127.0.0.1", false);
    let fine = https(move |_| config.clone());
    // The bound is there for what it makes of "late": a twentieth of it, which a busy machine keeps.
    let ran = run_https(&fine, Some(&ours), "[[objective]]\nmetric = \"latency.p50\"\nmax = \"10s\"");
    ran.ends(0);
    let all = ran.phase("all");
    assert!(all.n("ok") >= 55, "a close after an answer may cost one or two: {ran}");

    let unknown = run_https(&fine, None, "");
    unknown.ends(5);
    let config = ours.server_config("other.example", false);
    let wrong_host = run_https(&https(move |_| config.clone()), Some(&ours), "");
    wrong_host.ends(5);
    let config = ours.server_config("127.0.0.1", true);
    let expired = run_https(&https(move |_| config.clone()), Some(&ours), "");
    expired.ends(5);
    for ran in [unknown, wrong_host, expired] {
        assert!(ran.reasons().to_lowercase().contains("certificate"), "{ran}");
    }
}

#[test]
fn a_certificate_that_goes_bad_in_mid_run_is_counted() {
    let ours = authority();
    let (good, bad) = (ours.server_config("127.0.0.1", false), ours.server_config("127.0.0.1", true));
    let server = https(move |n| if n < 2 { good.clone() } else { bad.clone() });
    let ran = run_https(&server, Some(&ours), "");
    let all = ran.phase("all");
    assert!(all.error("tls") >= 50, "{ran}");
    assert_eq!(all.n("planned"), 60);
}

/// A service that says nothing evil until a probe asks it under load.
#[test]
fn what_a_probe_hears_is_cleaned_on_a_terminal_too() {
    let room = Room::new();
    let _seat = light();
    let server = Server::start(|pipe, n| {
        if n < 3 {
            good(pipe)
        } else {
            say(pipe, b"HTTP/1.1 500 No\r\ncontent-length: 12\r\n\r\n\x1b[2J\x07\x1b]0;x\x07")
        }
    });
    let probe = "[[probe]]\nname = \"p\"\nkind = \"prediction\"\nwhen = [\"during\", \"after\"]\nevery = \"200ms\"\n";
    let file = room.write("s.toml", &at_url(&server.url(), "", &(phase("all", "1500ms", 20.0) + probe)));
    let mut command = room.command(&["run", &file.display().to_string()]);
    // As on a terminal: nothing is stripped on the way out.
    command.env("CLICOLOR_FORCE", "1");
    let ran = room.spawn(command).wait();
    assert!(ran.stderr.contains("probe p fails"), "{ran}");
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("\u{1b}[2J") && !text.contains('\u{7}') && !text.contains("\u{1b}]"), "{text:?}");
    }
}

// ---- The generator itself ------------------------------------------------------------------------------------------

/// Must show 6.
#[test]
fn trap_23_a_generator_that_cannot_keep_up_is_never_met() {
    let _seat = alone();
    let room = Room::new();
    let server = Freezer::start(room.path("never"));
    let objective =
        "[[objective]]\nmetric = \"error_rate\"\nmax = 1.0\n[[objective]]\nmetric = \"latency.ok.p99\"\nmax = \"3s\"\n";
    let traffic = "timeout = \"4s\"\nmax_in_flight = 4096";
    let file = room.write("s.toml", &at_url(&server.url(), traffic, &(phase("all", "3s", 20_000.0) + objective)));
    let file = file.display().to_string();
    let cpu = resbench::platform::process::available_cpus()[0].to_string();
    let busy = || {
        let mut command = Command::new("taskset");
        // Should this test fail, its neighbours end by themselves.
        command
            .args(["-c", &cpu, "sh", "-c", "ulimit -t 60; while :; do :; done"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.spawn().expect("taskset (package util-linux) is installed")
    };
    let mut neighbours: Vec<_> = (0..6).map(|_| busy()).collect();
    // As root, load workers take a higher priority and nothing starves them: here they must not.
    let pinned = ["-c", &cpu, support::RESBENCH, "run", &file];
    let unprivileged = ["--bounding-set=-sys_nice", "taskset"];
    let running = if rustix::process::geteuid().is_root() {
        room.spawn(room.command_by("setpriv", &[&unprivileged[..], &pinned[..]].concat()))
    } else {
        room.spawn(room.command_by("taskset", &pinned))
    };
    let ran = running.wait();
    for neighbour in &mut neighbours {
        neighbour.kill().unwrap();
        neighbour.wait().unwrap();
    }
    let all = ran.phase("all");
    println!(
        "starved: lag p50 {:.3} s, max {:.3} s\n{}",
        all.seconds("lag_us", "p50"),
        all.seconds("lag_us", "max"),
        ran.reasons()
    );
    ran.ends(3);
    assert_eq!(ran.json()["verdict"], "inconclusive");
    assert_eq!(ran.json()["generator"]["kept_up"], false);
    assert!(ran.reasons().contains("generator fell behind"), "{ran}");
    assert_eq!(all.n("planned"), 60_000, "nothing planned was skipped: {ran}");
}

/// A pause of ours is no better than one of the server's: what was due meanwhile is late, is sent, and says so.
#[test]
fn trap_02_a_pause_of_the_generator_shows_in_latency_and_not_in_service_time() {
    let _seat = alone();
    let room = Room::new();
    let server = Server::start(|pipe, _| good(pipe));
    let running = room.start(&at_url(&server.url(), "timeout = \"5s\"", &phase("all", "5s", 200.0)));
    until("load runs", || (server.seen() > 200).then_some(()));
    running.signal(rustix::process::Signal::STOP);
    sleep(Duration::from_millis(1500));
    running.signal(rustix::process::Signal::CONT);
    let ran = running.wait();
    let all = ran.phase("all");
    assert_eq!((all.n("planned"), all.n("ok")), (1_000, 1_000), "{ran}");
    for of in ["latency_us", "lag_us"] {
        assert!(all.seconds(of, "max") >= 1.4 && all.seconds(of, "p90") >= 0.8, "{}", all.0);
    }
    assert!(all.seconds("service_us", "p90") < 0.5, "{}", all.0);
    assert_eq!(ran.json()["generator"]["kept_up"], false);
    assert!(ran.reasons().contains("generator fell behind"), "{ran}");
}

/// Must show 7.
#[test]
fn the_same_seed_gives_the_same_arrivals() {
    let room = Room::new();
    let _seat = light();
    let server = Server::start(|pipe, _| good(pipe));
    let text = at_url(&server.url(), "", &(phase("one", "1s", 80.0) + &phase("two", "1s", 40.0)))
        .replace("uniform", "poisson");
    let file = room.write("s.toml", &text).display().to_string();
    let arrivals = |more: &[&str]| {
        let ran = room.call(&[&["plan", &file, "--arrivals"], more].concat());
        ran.ends(0);
        ran.stdout
    };
    let first = arrivals(&[]);
    assert_eq!(first, arrivals(&[]));
    assert_ne!(first, arrivals(&["--seed", "8"]));
    let runs = [room.call(&["run", &file]), room.call(&["run", &file])];
    for name in ["one", "two"] {
        let rows = first.lines().filter(|l| l.ends_with(&format!(",{name}"))).count() as u64;
        assert_eq!(runs.each_ref().map(|r| r.phase(name).n("planned")), [rows, rows]);
    }
    let fault = "[[fault]]\nname = \"f\"\nkind = \"command\"\nat = \"one\"\nrun = [\"true\"]\nundo = \"none\"\nproof = \"trust\"\n";
    room.write("s.toml", &(text + fault));
    assert_eq!(first, arrivals(&[]), "adding a fault moves no arrival");
}

/// Must show 7: every file, to the byte.
#[test]
fn a_report_is_rendered_anew_to_the_byte() {
    let (ran, _) =
        bad(
            "1s",
            |pipe, n| if n % 5 == 0 { say(pipe, b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") } else { good(pipe) },
        );
    let files = || -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut folders = vec![ran.dir().to_owned()];
        let mut all = Vec::new();
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                if path.is_dir() { folders.push(path) } else { all.push((path.clone(), std::fs::read(path).unwrap())) }
            }
        }
        all.sort();
        all
    };
    let before = files();
    for wanted in [
        "run.json",
        "windows.csv",
        "phases.csv",
        "latency.hlog",
        "journal.jsonl",
        "junit.xml",
        "summary.md",
        "report.html",
    ] {
        assert!(before.iter().any(|(path, bytes)| path.ends_with(wanted) && !bytes.is_empty()), "{wanted}");
    }
    assert!(before.iter().any(|(path, _)| path.extension().is_some_and(|e| e == "png")));
    Room::new().call(&["report", &ran.dir().display().to_string()]).ends(0);
    let after = files();
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after, "{} changed", before.0.display());
    }
}

#[test]
fn reports_that_cannot_be_written_are_a_usage_error() {
    let room = Room::new();
    let server = Server::start(|pipe, _| good(pipe));
    let file = room.write("s.toml", &at_url(&server.url(), "", &phase("all", "1s", 10.0))).display().to_string();
    let taken = room.write("taken", "a file");
    let ran = room.call(&["run", &file, "--reports", &taken.display().to_string()]);
    ran.ends(2);
    assert!(ran.stderr.contains("--reports") && ran.stderr.contains("taken"), "{ran}");
    assert_eq!(server.seen(), 0, "nothing was sent");
    assert!(room.journals().is_empty());
}

/// The whole road: a run that is stopped while nothing answers ends at once, whatever the timeout is.
#[test]
fn ctrl_c_does_not_wait_for_answers() {
    let server = Server::start(|pipe, n| {
        if n > 0 {
            sleep(Duration::from_secs(20));
        }
        good(pipe)
    });
    let room = Room::new();
    let _seat = light();
    let running = room.start(&at_url(&server.url(), "timeout = \"60s\"", &phase("all", "60s", 10.0)));
    until("load has begun", || (server.seen() > 3).then_some(()));
    let stopped = now();
    running.signal(rustix::process::Signal::INT);
    let ran = running.wait();
    ran.ends(130);
    assert!(now() - stopped < 15.0, "{ran}");
    assert_eq!(ran.json()["ending"], "interrupted");
    let all = ran.phase("all");
    assert!(all.error("unfinished") > 0 && all.n("planned") < 600, "{ran}");
}
