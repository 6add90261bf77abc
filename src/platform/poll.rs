//! Readiness: asks whatever plays a replica on its `ready` path, and measures the link by the same path.
//!
//! One thread for all polls, each a task of its own, so that a replica that does not answer holds up no other. Knows
//! nothing of processes or containers: who is there and what an answer changes is [`Polled`]'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::get::{get, get_once};
use super::process::pin_thread;
use crate::clock::monotonic_nanos;
use crate::plan::Ready;

/// Limit on one poll: the default `timeoutSeconds` of Kubernetes probes.
const POLL_LIMIT: Duration = Duration::from_secs(1);
/// Until a child was ready for the first time it is asked this often, if `every` is longer: nothing is measured yet.
const FIRST_EVERY: Duration = Duration::from_millis(100);
/// Requests each way that the link is measured with, and the time that all of it may take.
const SAMPLES: usize = 200;
const MEASURE_LIMIT: Duration = Duration::from_secs(1);

/// What is polled, unit by unit, numbered from 0.
pub(super) trait Polled: Send + Sync + 'static {
    /// How each unit is polled; none for one that is not.
    fn polls(&self) -> Vec<Option<Ready>>;

    /// Which start of a unit runs now, and where it listens; none while it is down.
    fn running(&self, unit: usize) -> Option<(u32, SocketAddr)>;

    /// Told when the unit was started.
    fn started(&self, unit: usize) -> &Notify;

    /// What a poll of this start of the unit said.
    fn polled(&self, unit: usize, starts: u32, result: Result<(), String>);
}

/// The polling thread; dropping it ends it.
#[derive(Debug)]
pub(super) struct Pollers {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Pollers {
    pub(super) fn start(polled: Arc<impl Polled>, cpus: &[usize]) -> Result<Pollers, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("readiness polls: {e}"))?;
        let stop = Arc::new(Notify::new());
        let (of_thread, cpus) = (stop.clone(), cpus.to_vec());
        let work = move || {
            pin_thread(&cpus);
            runtime.block_on(async {
                for (unit, ready) in polled.polls().into_iter().enumerate() {
                    if let Some(ready) = ready {
                        tokio::spawn(watch(polled.clone(), unit, ready));
                    }
                }
                of_thread.notified().await;
            })
        };
        let thread = thread::Builder::new().name("readiness".into()).spawn(work);
        Ok(Pollers { stop, thread: Some(thread.map_err(|e| format!("readiness polls: {e}"))?) })
    }
}

impl Drop for Pollers {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Polls one unit while it runs: at once when it was started, then every `every`.
async fn watch(it: Arc<impl Polled>, unit: usize, ready: Ready) {
    let mut was_ready = false;
    loop {
        let Some((starts, address)) = it.running(unit) else {
            it.started(unit).notified().await;
            continue;
        };
        let asked_at = Instant::now();
        let result = match &ready.path {
            Some(path) => ask(address, path).await,
            None => connect(address).await,
        };
        was_ready |= result.is_ok();
        it.polled(unit, starts, result);
        let every = if was_ready { ready.every } else { ready.every.min(FIRST_EVERY) };
        tokio::select! {
            () = sleep_until(asked_at + every) => {}
            () = it.started(unit).notified() => {}
        }
    }
}

async fn connect(address: SocketAddr) -> Result<(), String> {
    match timeout(POLL_LIMIT, TcpStream::connect(address)).await {
        Err(_) => Err(format!("connecting to {address}: no answer within 1s")),
        Ok(Err(e)) => Err(format!("connecting to {address}: {e}")),
        Ok(Ok(_)) => Ok(()),
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<(), String> {
    let asked = format!("GET http://{address}{path}");
    match timeout(POLL_LIMIT, get_once(address, path)).await {
        Err(_) => Err(format!("{asked}: no answer within 1s")),
        Ok(Err(e)) => Err(format!("{asked}: {e}")),
        Ok(Ok(answer)) if (200..300).contains(&answer.status) => Ok(()),
        Ok(Ok(answer)) => Err(format!("{asked}: status {}", answer.status)),
    }
}

/// What the link adds to a request, median and p99 in µs: `GET`s of the ready path through it and past it, in turn, on
/// warm connections where the server keeps them. None when they fail, or too few were done in a second.
pub(super) fn measure_link(direct: SocketAddr, link: SocketAddr, path: &str) -> Option<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let mut ways = [Way::to(direct), Way::to(link)];
        let deadline = Instant::now() + MEASURE_LIMIT;
        for n in 0..SAMPLES + SAMPLES / 10 {
            for way in &mut ways {
                let took = timeout(POLL_LIMIT, way.ask(path)).await.ok()??;
                // The first tenth warms caches and connections up.
                if n >= SAMPLES / 10 {
                    way.took_ns.push(took);
                }
            }
            if Instant::now() > deadline {
                break;
            }
        }
        let [mut direct, mut link] = ways.map(|way| way.took_ns);
        let enough = direct.len() >= 20;
        let mut added = |share| (at(&mut link, share) - at(&mut direct, share)).max(0.0) / 1000.0;
        enough.then(|| (added(0.5), added(0.99)))
    })
}

fn at(took_ns: &mut [u64], share: f64) -> f64 {
    took_ns.sort_unstable();
    took_ns[((took_ns.len() - 1) as f64 * share).round() as usize] as f64
}

/// One way to a replica, with the connection that is kept on it.
struct Way {
    address: SocketAddr,
    kept: Option<TcpStream>,
    buffer: Vec<u8>,
    took_ns: Vec<u64>,
}

impl Way {
    fn to(address: SocketAddr) -> Way {
        Way { address, kept: None, buffer: Vec::new(), took_ns: Vec::new() }
    }

    /// Time of one request, connecting included where the server does not keep connections.
    async fn ask(&mut self, path: &str) -> Option<u64> {
        let began = monotonic_nanos();
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.ok()?,
        };
        let _ = stream.set_nodelay(true);
        let answer = get(&mut stream, path, true, &mut self.buffer).await.ok()?;
        let took = monotonic_nanos() - began;
        self.kept = answer.reusable.then_some(stream);
        Some(took)
    }
}
