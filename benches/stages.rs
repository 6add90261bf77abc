//! One stage of a request, so many times and nothing else: for `benches/stages.sh`, which counts instructions under callgrind.
//!
//! Instructions do not depend on what else the machine does, so a change can be judged where times cannot. Two runs of different
//! length tell what one request costs: start-up is in both. Owns the stages; leaves alone the counting, and takes no time.
//!
//! usage: stages STAGE REQUESTS · stages list

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use resbench::client::conn::{Conn, Event};
use resbench::client::http1::{AnswerReader, Progress};
use resbench::client::resolve::Resolved;
use resbench::client::{Endpoint, Requests};
use resbench::clock::{Clock, sleep};
use resbench::engine::dispatch::{Dispatch, Step};
use resbench::engine::{Engine, Job, Shared};
use resbench::plan::{Plan, Url};
use resbench::record::{Cuts, Sample, Shard};
use resbench::scenario::{LoadOptions, load_text};
use resbench::schedule::arrivals;
use resbench::target::{Checker, Facts, RequestBodies};
use resbench::units::Offset;
use rustix::event::{PollFd, PollFlags, poll};

/// Requests per second of every plan here: one a millisecond, with which the engine keeps up under callgrind too.
const RATE: u64 = 1000;
/// What nginx of `just bench-peers` answers: 64 bytes of JSON under a head of five lines.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 20:00:00 GMT\r\nContent-Type: application/json\r\n\
                      Content-Length: 64\r\nConnection: keep-alive\r\n\r\n\
                      {\"predictions\":[0.125],\"model\":\"fraud\",\"version\":\"2026-11-22-1\"}";

type Stage = fn(u64) -> u64;
/// In the order in which a request meets them.
const STAGES: [(&str, Stage); 6] = [
    ("schedule", schedule),
    ("dispatch", dispatch),
    ("exchange", exchange),
    ("answer", answer),
    ("record", record),
    ("engine", engine),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => STAGES.iter().for_each(|(name, _)| println!("{name}")),
        ["serve"] => serve(),
        [name, requests] => {
            let (_, stage) = STAGES.iter().find(|(known, _)| *known == name).expect("a stage of `stages list`");
            let requests = requests.parse().expect("a number of requests");
            assert_eq!(stage(requests), requests, "every request took its way through the stage");
        }
        // `cargo bench` runs every bench without arguments; this one has nothing to say then.
        _ => eprintln!("usage: stages STAGE REQUESTS, or stages list"),
    }
}

/// A plan of exactly so many arrivals.
fn plan(requests: u64) -> Plan {
    let text = format!(
        "name = \"stages\"\nseed = 42\n\
         [target]\nprotocol = \"http\"\nmethod = \"POST\"\nurl = \"http://127.0.0.1:1/invocations\"\n\
         [traffic]\nbody = '{{\"dataframe_split\":{{\"columns\":[\"amount\"],\"data\":[[14.05]]}}}}'\narrivals = \"uniform\"\n\
         [[phase]]\nname = \"load\"\nduration = \"{}ms\"\nrate = {RATE}\n",
        requests * 1000 / RATE
    );
    load_text(&text, Path::new("stages.toml"), &LoadOptions::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render(false, 100)))
}

/// Makes arrivals.
fn schedule(requests: u64) -> u64 {
    arrivals(&plan(requests)).fold(0, |made, arrival| made + u64::from(black_box(arrival).due.0 < u64::MAX))
}

/// Makes them and decides what to do, once before each is due and once when it is.
fn dispatch(requests: u64) -> u64 {
    let plan = plan(requests);
    let (mut dispatch, mut now, mut sent) = (Dispatch::new(arrivals(&plan), 2048), Offset(0), 0);
    loop {
        match black_box(dispatch.step(now, black_box(8))) {
            Step::Send(_) | Step::Shed(_) => sent += 1,
            Step::Wait(due) => now = due,
            Step::Done => return sent,
        }
    }
}

/// Sends a prebuilt request over a connection that stands and takes its answer, without judging it.
fn exchange(requests: u64) -> u64 {
    let server = Server::start();
    let plan = plan(RATE);
    let requests_of = Requests::new(&plan.target, &server.url(), &RequestBodies::encode(&plan));
    let endpoint = Endpoint { max_answer: 1 << 20, ..Endpoint::default() };
    let mut conn = Conn::open(&endpoint, &requests_of, server.address, None).expect("the server is there");
    let mut answered = 0;
    while answered < requests {
        if conn.room() > 0 {
            conn.send(&requests_of, 0).expect("a small request goes out at once");
        }
        let flags = if conn.is_connecting() { PollFlags::OUT } else { PollFlags::IN };
        poll(&mut [PollFd::from_borrowed_fd(conn.fd(), flags)], None).expect("poll");
        let mut event = conn.on_ready(false);
        while let Some(happened) = event {
            match happened {
                Event::Answered(slot) => {
                    conn.with_answer(slot, |answer| assert_eq!((answer.status, answer.body.len()), (200, 64)));
                    assert!(conn.release(slot), "the connection is kept");
                    answered += 1;
                }
                Event::Handshaking | Event::Connected => {}
                failed => panic!("{failed:?}"),
            }
            event = conn.next_event();
        }
    }
    answered
}

/// Reads an answer from memory and judges it.
fn answer(requests: u64) -> u64 {
    let plan = plan(RATE);
    let (checker, bodies) = (Checker::new(&plan.target), RequestBodies::encode(&plan));
    let (mut reader, mut good) = (AnswerReader::default(), 0);
    for _ in 0..requests {
        let wire = black_box(ANSWER.as_bytes());
        reader.reset();
        let Progress::Complete { used, .. } = reader.advance(wire, 1 << 20, false) else {
            panic!("the answer is whole")
        };
        good += u64::from(reader.with_answer(wire, used, |answer| checker.check(answer, &bodies, 0).is_ok()));
    }
    good
}

/// Records a good request from due to done, finished slots being taken away.
fn record(requests: u64) -> u64 {
    let plan = plan(requests);
    let (out, taken) = channel();
    let mut shard = Shard::new(&plan, Arc::new(Cuts::default()), 1_000_000, out);
    let mut ok = 0;
    for index in 0..requests {
        let due = index * (1_000_000_000 / RATE);
        // Latencies that differ, so that no histogram slot stays in a register.
        let done = due + 800_000 + index.wrapping_mul(2_654_435_761) % 4_000_000;
        let key = shard.planned(due);
        shard.sent(key, due, due + 40_000, 8);
        shard.done(key, &Sample { due, sent: due + 40_000, done, outcome: Ok(Facts::default()) });
        ok += taken.try_iter().map(|part| part.ok()).sum::<u64>();
    }
    shard.finish();
    ok + taken.try_iter().map(|part| part.ok()).sum::<u64>()
}

/// All of it: the engine sends to a server when requests are due, with everything that runs beside. Needs a valgrind that knows
/// `epoll_pwait2`; 3.19 does not.
fn engine(requests: u64) -> u64 {
    let server = Server::start();
    let (plan, url) = (Arc::new(plan(requests)), server.url());
    let resolved =
        Resolved::new(&url.host, url.port, None, Duration::from_secs(5)).expect("an address is its own name");
    let job = Job::new(plan.clone(), &url, resolved, None, Duration::ZERO);
    let shared = Arc::new(Shared::new(&plan, 1));
    let spill = std::env::temp_dir().join(format!("resbench-stages-{}.tmp", std::process::id()));
    let clock = Clock::starting_in(Duration::from_millis(50));
    let engine = Engine::start(Arc::new(job), shared.clone(), clock, &[], spill.clone());
    while !engine.is_over() {
        sleep(Duration::from_millis(100));
    }
    let load = engine.finish().expect("records are kept");
    // It may be gone already.
    let _ = std::fs::remove_file(spill);
    let live = shared.live();
    let failures: Vec<_> = load.errors.iter().filter(|trace| trace.count > 0).collect();
    assert_eq!(live.failed, 0, "every request was answered, but {failures:?}");
    live.ok
}

/// A server in a process of its own, whose instructions callgrind does not count.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let program = std::env::current_exe().expect("a program has a path");
        let (input, output) = (Stdio::piped(), Stdio::piped());
        let mut process =
            Command::new(program).arg("serve").stdin(input).stdout(output).spawn().expect("it runs once more");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it says its address");
        Server { process, address: line.trim().parse().expect("an address") }
    }

    fn url(&self) -> Url {
        Url { tls: false, host: self.address.ip().to_string(), port: self.address.port(), path: "/invocations".into() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It ends with its input; what it ends with does not matter.
        let _ = self.process.wait();
    }
}

/// Answers every request on every connection, until the input ends.
fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream));
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
}

/// One answer for each read that ends a body; requests here are small enough to come in one piece.
fn answer_all(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {
        if stream.write_all(ANSWER.as_bytes()).is_err() {
            return;
        }
    }
}
