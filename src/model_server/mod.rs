//! The embedded target: a small model server that speaks the MLflow scoring protocol, Open Inference v2, TF Serving's REST, and
//! OpenAI's chat completions.
//!
//! Owns: its options, its life (listen, load the model, become ready, serve, stop) and its errors. It is a
//! target like any other, so it knows nothing of scenarios, faults or measurement, and it prints nothing. It
//! is honest work on purpose: the model is a real artifact, each request reads its account's stored features
//! from the volume, and a bounded pool of workers does it, so that faults on disk, CPU, memory and
//! dependencies bite as they do in production.
//!
//! - `http`: connections and routes · `pool`: queue and workers · `registry`: waiting for one · `model_registry`: being one
//! - `serving`: how a row becomes an answer, by `cache`, `memory`, `features` behind a `breaker`, and the `ladder` of fallbacks
//! - `reload`: the model that a registry names · `feature_role`: being a feature store
//! - `request`: body → rows · `answer`: rows → body · `model`: artifact and score · `store`: stored features
//! - `prediction_log`: a line per answer, for audits
//! - `open_inference`, `tf_serving`: the same predictions in other protocols
//! - `chat`: chat completions, streamed at a stated rate · `service_time`: its distribution · `metrics`: counters

mod answer;
mod breaker;
mod cache;
mod chat;
mod feature_role;
mod features;
mod http;
mod ladder;
mod memory;
mod metrics;
mod model;
mod model_registry;
mod open_inference;
mod pool;
mod prediction_log;
mod registry;
mod reload;
mod request;
#[cfg(test)]
mod service_tests;
mod service_time;
mod serving;
mod store;
#[cfg(test)]
mod tests;
mod tf_serving;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::units::{Seed, parse_duration};

pub use ladder::{Rule, Step};
pub use memory::OnOom;
pub use model_registry::{FirstAlias, Registered, RegistryOptions};
pub use registry::RegistryUrl;
pub use reload::{Followed, ReloadOptions};
pub use service_time::ServiceTime;
pub use serving::ServiceOptions;

use feature_role::FeatureServer;
use http::Site;
use model::Model;
use model_registry::Registry;
use pool::Pool;

/// What the model server is told on the command line.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Address to listen on, as host:port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// Folder with model.json and its stored features; without it a constant model answers 0
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,

    /// Requests worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub workers: usize,

    /// Requests that may wait for a worker; beyond it the answer is 503
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub queue: usize,

    /// Time a worker is held by each request besides its real work: none, constant:5ms, exp:5ms (mean),
    /// uniform:2ms-8ms, lognormal:5ms,0.5 (median, sigma)
    #[arg(long, value_name = "SPEC", default_value = "none")]
    pub service_time: ServiceTime,

    /// Seed of the service times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Time before the server says that it is ready
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub startup_delay: Duration,

    /// URL (http://host:port/path) that must answer 2xx before the server says that it is ready; with --registry-model
    /// the registry up to /api/2.0/mlflow
    #[arg(long, value_name = "URL")]
    pub registry: Option<RegistryUrl>,

    /// How long one try to reach the registry may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub registry_timeout: Duration,

    /// Tokens per second of each chat stream: token k leaves at start + first token + k/rate, to about a millisecond
    #[arg(long, value_name = "RATE", default_value = "100", value_parser = parse_token_rate)]
    pub tokens_per_second: f64,

    /// Time to the first token of a chat answer
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = parse_duration)]
    pub first_token: Duration,

    /// Tokens of a chat answer whose request names no limit
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub tokens: u32,

    /// File that each answer to a prediction is appended to, a line each
    #[arg(long, value_name = "FILE")]
    pub prediction_log: Option<PathBuf>,

    /// Answer 500 when the prediction log cannot be written, rather than without it
    #[arg(long, requires = "prediction_log")]
    pub prediction_log_required: bool,

    /// Largest request body, in bytes; beyond it the answer is 413
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = RangedU64ValueParser::<usize>::new().range(1..=(64 << 20)))]
    pub max_body: usize,

    /// The model that an alias of the registry names.
    #[command(flatten)]
    pub reload: ReloadOptions,

    /// Cache, feature store, fallbacks, memory.
    #[command(flatten)]
    pub service: ServiceOptions,

    /// Role feature-store: how often the features are computed anew
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub refresh_every: Duration,

    /// What to be: the model server, a model registry that speaks MLflow's REST, or a feature store
    #[arg(long, value_enum, default_value_t = Role::Model)]
    pub role: Role,

    /// What a registry has.
    #[command(flatten)]
    pub shelf: RegistryOptions,
}

/// What this process plays.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers predictions.
    Model,
    /// A dependency of model servers: versions, aliases and artifacts in MLflow's words, and 200 to every other GET.
    Registry,
    /// A dependency of model servers: the stored features of --model over HTTP, each with its age.
    FeatureStore,
}

/// Why the server could not start.
#[derive(Debug)]
pub enum ServerError {
    /// The address cannot be had.
    Listen {
        /// The address as it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The model cannot be read, or is not one.
    Model {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What a registry is to have cannot be had.
    Registry(String),
    /// A thread, the runtime or the signal handler cannot be had.
    System(io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Listen { address, source } => write!(
                f,
                "--listen {address}: {source}; choose a free host:port, or port 0 for any, or stop what listens there"
            ),
            ServerError::Model { path, problem } => write!(
                f,
                "{}: {problem}; --model takes a folder as scenarios/helpers/train_fraud.py writes it",
                path.display()
            ),
            ServerError::Registry(problem) => f.write_str(problem),
            ServerError::System(source) => {
                write!(f, "model-server: {source}; raise the limits on processes and open files (ulimit -u, ulimit -n)")
            }
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServerError::Listen { source, .. } | ServerError::System(source) => Some(source),
            ServerError::Model { .. } | ServerError::Registry(_) => None,
        }
    }
}

/// Serves until SIGTERM or SIGINT, then stops as [`serve`] does. `on_listening` gets the real address.
///
/// # Errors
/// See [`ServerError`]; all of them come before `on_listening` is called.
pub fn run(options: Options, on_listening: impl FnOnce(SocketAddr)) -> Result<(), ServerError> {
    raise_open_files_limit();
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(ServerError::System)?;
    let handle = signals.handle();
    let (stop, stopped) = watch::channel(false);
    let waiter = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                let _ = stop.send(true); // Nobody listens any more: the server has ended already.
            }
        })
        .map_err(ServerError::System)?;
    let result = serve(options, on_listening, stopped);
    handle.close();
    let _ = waiter.join();
    result
}

/// Serves until `stop` turns true or its sender is gone; then takes no new connection, finishes what is in
/// flight for at most one second, and returns. `on_listening` gets the real address.
///
/// # Errors
/// See [`ServerError`]; all of them come before `on_listening` is called.
pub fn serve(
    options: Options,
    on_listening: impl FnOnce(SocketAddr),
    stop: watch::Receiver<bool>,
) -> Result<(), ServerError> {
    // All of the IO is on this thread; blocking work (reads of the volume, service times) is on the pool's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::System)?;
    runtime.block_on(async {
        let refused = |source| ServerError::Listen { address: options.listen.clone(), source };
        let listener = TcpListener::bind(&options.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        match options.role {
            Role::Registry => {
                let registry = Registry::new(&options.shelf).map_err(ServerError::Registry)?;
                on_listening(address);
                http::accept(listener, Site::Registry(Arc::new(registry)), stop).await;
            }
            Role::FeatureStore => {
                let missing = || ServerError::Model {
                    path: PathBuf::new(),
                    problem: "--role feature-store needs --model".to_owned(),
                };
                let dir = options.model.as_deref().ok_or_else(missing)?;
                let server = FeatureServer::new(dir, options.refresh_every)?;
                on_listening(address);
                http::accept(listener, Site::Features(Arc::new(server)), stop).await;
            }
            Role::Model => {
                let model = options.model.as_deref().map_or_else(|| Ok(Model::constant()), Model::load)?;
                let pool = Pool::start(&options, model).map_err(ServerError::System)?;
                let state = Arc::new(http::State::new(pool, &options));
                on_listening(address);
                tokio::spawn(become_ready(Arc::clone(&state), options));
                http::accept(listener, Site::Model(state), stop).await;
            }
        }
        Ok(())
    })
}

async fn become_ready(state: Arc<http::State>, options: Options) {
    tokio::time::sleep(options.startup_delay).await;
    match (&options.registry, &options.reload.registry_model) {
        (Some(url), Some(followed)) => {
            let has_model = options.model.is_some();
            return reload::follow(state, url, options.registry_timeout, followed, &options.reload, has_model).await;
        }
        (Some(url), None) => {
            registry::wait_for(url, options.registry_timeout, |problem| state.still_waiting(problem)).await;
        }
        (None, _) => {}
    }
    state.set_ready();
}

fn parse_token_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "a number of tokens per second from 0.001 to 1000000".to_owned())
}

impl Options {
    fn stream_of_worker(&self, index: usize) -> crate::rng::Stream {
        crate::rng::stream(Seed(self.seed), &format!("service-time:{index}"))
    }
}

/// A connection is an open file, and shells often start with 1,024. Where the limit cannot be raised, the
/// server works with what it has.
fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
