//! What one request costs resbench itself, step by step: making its arrival, dispatching it, recording it, reading its answer.
//!
//! `cargo bench` runs all; `cargo bench -- schedule` one group. Times are per request (criterion shows the reciprocal as
//! `elem/s`). These are costs of code, measured with nothing else running; what a whole run reaches is shown by its report.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use resbench::client::http1::{AnswerReader, Progress};
use resbench::engine::dispatch::{Dispatch, Step};
use resbench::outcome::ErrorClass;
use resbench::plan::Plan;
use resbench::record::{Cuts, Part, Sample, Shard};
use resbench::scenario::{LoadOptions, load_text};
use resbench::schedule::{Arrival, arrivals};
use resbench::target::{Checker, Facts, RequestBodies};
use resbench::units::Offset;

/// Requests in one turn of a bench: ten seconds at 10,000/s.
const N: u64 = 100_000;

/// A plan of ten seconds against a service that is there already.
fn plan(arrivals: &str, rate: &str) -> Plan {
    let target = "protocol = \"mlflow\"\nurl = \"http://127.0.0.1:1/invocations\"";
    plan_of(target, &format!("body = '{{\"inputs\": [[0.5, 1.5]]}}'\n{arrivals}"), rate)
}

fn plan_of(target: &str, traffic: &str, rate: &str) -> Plan {
    let text = format!(
        "name = \"bench\"\nseed = 42\n[target]\n{target}\n[traffic]\n{traffic}\n\
         [[phase]]\nname = \"load\"\nduration = \"10s\"\nrate = {rate}\n"
    );
    load_text(&text, Path::new("bench.toml"), &LoadOptions::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render(false, 100)))
}

fn schedule(c: &mut Criterion) {
    let mut group = c.benchmark_group("schedule");
    for (process, words) in [
        ("uniform", "arrivals = \"uniform\""),
        ("poisson", "arrivals = \"poisson\""),
        ("gamma", "arrivals = \"gamma\"\ncv = 2.0"),
    ] {
        for (shape, rate) in [("constant", "10000"), ("ramp", "{ from = 1000, to = 19000 }")] {
            let plan = plan(words, rate);
            group.throughput(Throughput::Elements(arrivals(&plan).count() as u64));
            group.bench_function(format!("{process}/{shape}"), |b| {
                b.iter(|| arrivals(&plan).fold(0_u64, |sum, a| sum.wrapping_add(a.due.0)));
            });
        }
    }
    group.finish();
}

fn dispatch(c: &mut Criterion) {
    let all: Vec<Arrival> = arrivals(&plan("arrivals = \"uniform\"", "10000")).collect();
    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(all.len() as u64));
    // Asked once before each arrival (wait) and once when it is due (send): the quiet case.
    group.bench_function("on-time", |b| {
        b.iter(|| {
            let (mut dispatch, mut now, mut sent) = (Dispatch::new(all.iter().copied(), 2048), Offset(0), 0_u64);
            loop {
                match black_box(dispatch.step(now, black_box(8))) {
                    Step::Send(_) | Step::Shed(_) => sent += 1,
                    Step::Wait(due) => now = due,
                    Step::Done => return sent,
                }
            }
        });
    });
    // Everything overdue and no room: the worst case.
    group.bench_function("backlog-shed", |b| {
        b.iter(|| {
            let mut dispatch = Dispatch::new(all.iter().copied(), 2048);
            std::iter::from_fn(|| match black_box(dispatch.step(Offset(u64::MAX), black_box(2048))) {
                Step::Shed(arrival) => Some(arrival.index),
                _ => None,
            })
            .sum::<u64>()
        });
    });
    group.finish();
}

/// A shard whose finished slots somebody takes away, as the collector does.
fn shard(plan: &Plan) -> (Shard, Receiver<Part>) {
    let (out, taken) = channel();
    (Shard::new(plan, Arc::new(Cuts::default()), 1_000_000, out), taken)
}

fn record(c: &mut Criterion) {
    let plan = plan("arrivals = \"uniform\"", "10000");
    let due: Vec<u64> = arrivals(&plan).map(|a| a.due.0).collect();
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Elements(N));
    // Latencies that differ, so that no histogram slot stays in a register.
    let latency = |i: usize| 800_000 + (i as u64).wrapping_mul(2_654_435_761) % 4_000_000;
    group.bench_function("good", |b| {
        b.iter(|| {
            let (mut shard, taken) = shard(&plan);
            for (i, &due) in due.iter().enumerate() {
                let key = shard.planned(due);
                shard.sent(key, due, due + 40_000, 8);
                let outcome = Ok(Facts { labelled: 1, correct: 1, ..Facts::default() });
                shard.done(key, &Sample { due, sent: due + 40_000, done: due + latency(i), outcome });
            }
            (shard.finish(), taken.try_iter().map(|part| part.ok()).sum::<u64>())
        });
    });
    group.bench_function("failed", |b| {
        b.iter(|| {
            let (mut shard, taken) = shard(&plan);
            for (i, &due) in due.iter().enumerate() {
                let key = shard.planned(due);
                shard.sent(key, due, due + 40_000, 8);
                let outcome = Err((ErrorClass::Timeout, "no answer within 1 s"));
                shard.done(key, &Sample { due, sent: due + 40_000, done: due + latency(i), outcome });
            }
            (shard.finish(), taken.try_iter().count())
        });
    });
    group.finish();
}

/// An answer with a body of 100 bytes, as the wire carries it. `fields` begin the body, and a last one fills it.
fn wire(fields: &str, chunked: bool) -> Vec<u8> {
    let body = format!("{{{fields}, \"x\": \"{}\"}}", "f".repeat(100 - 11 - fields.len()));
    assert_eq!(body.len(), 100);
    let head = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\n";
    match chunked {
        false => format!("{head}content-length: 100\r\n\r\n{body}"),
        true => format!("{head}transfer-encoding: chunked\r\n\r\n64\r\n{body}\r\n0\r\n\r\n"),
    }
    .into_bytes()
}

/// What each protocol's answer says, and what is looked for in it.
const ANSWERS: [(&str, &str, &str); 6] = [
    ("mlflow", "protocol = \"mlflow\"", r#""predictions": [0.25]"#),
    (
        "mlflow-said",
        "protocol = \"mlflow\"\nanswer = { version = \"json:/version\", fallback = \"json:/fallback\" }",
        r#""predictions": [0.25], "version": "17", "fallback": 0"#,
    ),
    (
        "open-inference",
        "protocol = \"open-inference\"",
        r#""outputs":[{"name":"p","shape":[1],"datatype":"FP32","data":[0.25]}]"#,
    ),
    ("tf-serving", "protocol = \"tf-serving\"", r#""predictions": [[0.25]]"#),
    ("http-prediction", "protocol = \"http\"\nanswer = { prediction = \"json:/score\" }", r#""score": 0.25"#),
    ("http-status", "protocol = \"http\"", r#""score": 0.25"#),
];

/// Reading one answer off its connection and checking it: what stands in it, and how it compares with the first one to the same body.
fn answer(c: &mut Criterion) {
    let mut group = c.benchmark_group("answer");
    group.throughput(Throughput::Elements(1));
    for (name, target, fields) in ANSWERS {
        let target = format!("{target}\nurl = \"http://127.0.0.1:1/\"");
        let plan = plan_of(&target, "body = '{\"inputs\": [[0.5, 1.5]]}'", "1");
        let (checker, bodies) = (Checker::new(&plan.target), RequestBodies::encode(&plan));
        for (how, chunked) in [("length", false), ("chunked", true)] {
            if chunked && name != "mlflow" {
                continue;
            }
            let wire = wire(fields, chunked);
            let mut reader = AnswerReader::default();
            group.bench_function(format!("{name}-100-bytes/{how}"), |b| {
                b.iter(|| {
                    reader.reset();
                    let Progress::Complete { used, .. } = reader.advance(black_box(&wire), 1 << 20, false) else {
                        panic!("the answer is whole")
                    };
                    let good = reader.with_answer(&wire, used, |answer| checker.check(answer, &bodies, 0).is_ok());
                    assert!(good, "a good answer is called so");
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = hot_path;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = schedule, dispatch, record, answer
}
criterion_main!(hot_path);
