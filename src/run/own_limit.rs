//! What rate this machine can pace: the load engine against a target of its own, doubled until it falls behind, then
//! bisected.
//!
//! The target is the embedded server on a thread of this process, kept to the last CPU where there are several; the
//! load has the others, as on the local platform. It speaks of this machine at this moment: no network, no slow target.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use tokio::sync::watch;

use crate::client::resolve::Resolved;
use crate::clock::{self, Clock};
use crate::engine::{self, Engine, Job, Shared};
use crate::model_server;
use crate::platform::process::{available_cpus, pin_thread, split_cpus};
use crate::record::assemble::assemble;
use crate::scenario::{LoadOptions, load_text};

/// First rate tried, and the highest.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=512_000;
/// Halvings of the last step: the answer is good to a sixteenth.
const HALVINGS: u32 = 3;
/// A busy machine spoils a trial now and then; a rate counts as too high when this many in a row are spoiled.
const TRIES: u32 = 2;

/// One rate tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Requests per second.
    pub rate: u32,
    /// Sent in time and answered, by DESIGN's rule for a generator that kept up.
    pub carried: bool,
    /// It was the target that did not: answers failed or were shed, while requests were sent in time.
    pub target_gave_way: bool,
    /// Median lag.
    pub lag_p50: Duration,
    /// 99th percentile of the lag.
    pub lag_p99: Duration,
    /// CPU time of the load threads for each request.
    pub cpu_per_request: Duration,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct OwnLimit {
    /// The highest rate that was carried; none when not even the first was.
    pub best: Option<Trial>,
    /// The lowest that was not; none when all were.
    pub worst: Option<Trial>,
    /// Load threads.
    pub workers: usize,
}

/// Searches, telling of each trial. Takes about half a minute.
///
/// # Errors
/// When the target cannot start, or records cannot be kept in `dir`.
pub fn own_limit(dir: &Path, mut on_trial: impl FnMut(&Trial)) -> Result<OwnLimit, String> {
    engine::available()?;
    let (load_cpus, target_cpus) = split_cpus(&available_cpus());
    let target = Target::start(&target_cpus)?;
    let mut try_at = |rate: u32| -> Result<Trial, String> {
        let mut last = None;
        for _ in 0..TRIES {
            let trial = trial(rate, &target.url, &load_cpus, dir)?;
            on_trial(&trial);
            if trial.carried {
                return Ok(trial);
            }
            last = Some(trial);
        }
        last.ok_or_else(|| "nothing was tried".to_owned())
    };
    let (mut best, mut worst): (Option<Trial>, Option<Trial>) = (None, None);
    let mut rate = *RATES.start();
    while worst.is_none() && rate <= *RATES.end() {
        let trial = try_at(rate)?;
        if trial.carried {
            best = Some(trial)
        } else {
            worst = Some(trial)
        }
        rate *= 2;
    }
    for _ in 0..HALVINGS {
        let (Some(low), Some(high)) = (&best, &worst) else { break };
        let trial = try_at(u32::midpoint(low.rate, high.rate))?;
        if trial.carried { best = Some(trial) } else { worst = Some(trial) }
    }
    Ok(OwnLimit { best, worst, workers: load_cpus.len().max(1) })
}

fn trial(rate: u32, url: &str, cpus: &[usize], dir: &Path) -> Result<Trial, String> {
    let text = format!(
        "name = \"own-limit\"\n[target]\nprotocol = \"http\"\nurl = \"{url}\"\n[traffic]\nbody = '{{\"inputs\":[[1]]}}'\n\
         arrivals = \"uniform\"\ntimeout = \"1s\"\nmax_in_flight = 65536\n\
         [[phase]]\nname = \"warm-up\"\nduration = \"500ms\"\nrate = {rate}\nmeasure = false\n\
         [[phase]]\nname = \"trial\"\nduration = \"2s\"\nrate = {rate}\n"
    );
    let plan = load_text(&text, Path::new("own-limit"), &LoadOptions::default()).map_err(|p| p.render(false, 100))?;
    let plan = Arc::new(plan);
    let url = plan.target.url.clone().ok_or("the plan has a url")?;
    let resolved = Resolved::new(&url.host, url.port, None, plan.traffic.dns_refresh)?;
    let job = Arc::new(Job::new(plan.clone(), &url, resolved, None, Duration::ZERO));
    let shared = Arc::new(Shared::new(&plan, cpus.len().max(1)));
    let clock = Clock::starting_in(Duration::from_millis(100));
    let load = Engine::start(job, shared, clock, cpus, dir.join("slots.tmp"));
    while !load.is_over() {
        clock::sleep(Duration::from_millis(20));
    }
    let mut load = load.finish().map_err(|e| e.to_string())?;
    let cpu = load.cpu;
    let all = assemble(&plan, &mut load.collected, plan.end()).map_err(|e| e.to_string())?;
    let spans = &all.phases;
    let sent: u64 = spans.iter().map(|s| s.sent).sum();
    let measured = spans.last().ok_or("the plan has phases")?;
    let lag = |share: f64| Duration::from_nanos(measured.lag.quantile(share).unwrap_or(0));
    let answered = measured.ok == measured.planned;
    Ok(Trial {
        rate,
        carried: measured.kept_up() && answered,
        target_gave_way: measured.kept_up() && !answered,
        lag_p50: lag(0.5),
        lag_p99: lag(0.99),
        cpu_per_request: cpu / (sent.max(1) as u32),
    })
}

/// The embedded server on a thread.
struct Target {
    url: String,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Target {
    fn start(cpus: &[usize]) -> Result<Target, String> {
        let words = model_server::Options::augment_args(clap::Command::new("model-server").no_binary_name(true));
        let words = words.try_get_matches_from(["--listen", "127.0.0.1:0"]).map_err(|e| e.to_string())?;
        let options = model_server::Options::from_arg_matches(&words).map_err(|e| e.to_string())?;
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = std::sync::mpsc::channel();
        let cpus = cpus.to_vec();
        let serve = move || {
            pin_thread(&cpus);
            let failed = tell.clone();
            let on_listening = move |address| drop(tell.send(Ok(address)));
            if let Err(e) = model_server::serve(options, on_listening, stopped) {
                let _ = failed.send(Err(e.to_string()));
            }
        };
        let thread = std::thread::Builder::new().name("own-target".into()).spawn(serve).map_err(|e| e.to_string())?;
        let address: std::net::SocketAddr = told.recv().map_err(|e| e.to_string())??;
        Ok(Target { url: format!("http://{address}/invocations"), stop, thread: Some(thread) })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
