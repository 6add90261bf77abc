//! The plan: what a scenario means, valid by construction.
//!
//! `scenario/compile.rs` is the only maker of a [`Plan`]; nothing after it asks "is this set?" or
//! "is this in range?". Owns the types; leaves alone how they are written (`scenario/`) and what is
//! done with them.

mod body;
mod playbook;
mod probe;

pub use probe::{
    Across, AlertApi, AlertProbe, CommandProbe, KubernetesProbe, ProbeKind, ProbePlan, PrometheusProbe, QueryRange,
    Reduce, ScrapeFrom, ScrapePlan, Service, Workload,
};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use body::{AGE_MAX, AgePlace, Batch, Datatype, Encoding, Form, Piece, Template};

use crate::units::{Offset, PhaseId, Quantile, Rate, Ratio, Seed};

pub use playbook::{Playbook, Sign, Step, StepBy};
mod payload;
pub use payload::{Alter, Expect, Garbage, Payload};

/// One experiment, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's name, `[a-z0-9-]{1,64}`.
    pub name: String,
    /// What the scenario file's first comment line says, without `#`: its lesson. Empty when there is none.
    pub lesson: String,
    /// Where the plan came from.
    pub source: Source,
    /// Root of every random choice.
    pub seed: Seed,
    /// What receives predictions.
    pub target: Target,
    /// Where replicas live; none when only `url` is given.
    pub platform: Option<Platform>,
    /// What is sent, and how.
    pub traffic: Traffic,
    /// At least one, in order, without gaps; the first starts at zero.
    pub phases: Vec<Phase>,
    /// In the order of the file.
    pub faults: Vec<FaultPlan>,
    /// In the order of the file.
    pub probes: Vec<ProbePlan>,
    /// Pages of metrics that are read while load runs.
    pub scrapes: Vec<ScrapePlan>,
    /// In the order of the file.
    pub objectives: Vec<Objective>,
    /// What is to happen when a fault strikes, in the order of the file.
    pub playbooks: Vec<Playbook>,
    /// Faults that repeat, in the order of the file.
    pub repeats: Vec<Repeat>,
    /// What faults are priced in.
    pub budget: Budget,
    /// Limits on the blast radius, and when to stop.
    pub safety: Safety,
    /// What `compare` and `gate` hold against each other: none, or two, the first being the reference.
    pub variants: Vec<Variant>,
    /// What they decide by.
    pub gate: Option<Gate>,
    /// What `capacity` searches for.
    pub capacity: Option<Capacity>,
    /// What a careful reader should know before running: shown by `check`, `plan` and `run`.
    pub warnings: Vec<String>,
    /// Values that came from `${VAR}`: never shown, replaced by `***` in anything written.
    pub secrets: Vec<String>,
}

/// One of the two sides of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// What differs, as `--set` takes it, `${VAR}` unexpanded.
    pub sets: Vec<String>,
}

/// What a comparison decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// One to three.
    pub metrics: Vec<GateMetric>,
    /// Pairs of runs before the first look.
    pub pairs: usize,
    /// Pairs of runs before the second and last look; at least `pairs`.
    pub max_pairs: usize,
}

/// A metric that decides.
#[derive(Clone, Debug, PartialEq)]
pub struct GateMetric {
    /// As written: `latency.p99@baseline`.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// Where.
    pub place: Where,
    /// The smallest change that matters.
    pub min_effect: Effect,
}

/// Where a metric of a comparison is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// Over a span.
    Span(SpanRef),
    /// Of a fault, by index into `Plan::faults`.
    Fault(usize),
    /// The median over the times of a fault, by index into `Plan::repeats`.
    Median(usize),
}

/// A change of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// A share of the reference's value: 0.05 is 5 %.
    Relative(f64),
    /// In the metric's unit.
    Absolute(f64),
}

/// What a capacity search looks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// The first rate tried.
    pub from: Rate,
    /// How near the answer comes, as a share.
    pub precision: f64,
    /// Length of one trial.
    pub trial: Duration,
    /// Length of the confirming run.
    pub confirm: Duration,
    /// The fault that is held in a second search, by index into `Plan::faults`.
    pub lose: Option<usize>,
    /// What is planned for.
    pub planning: Option<Planning>,
}

/// How many replicas are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planning {
    /// The rate to carry.
    pub peak: Rate,
    /// How much it grows, as a share.
    pub growth: f64,
    /// Replicas whose loss is survived.
    pub survive: u16,
    /// How full a replica may be.
    pub utilisation: Ratio,
}

/// Where a plan came from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The path as the user typed it.
    pub path: PathBuf,
    /// The folder that relative paths of the file stand on.
    pub dir: PathBuf,
    /// SHA-256 of the file's bytes and of every `--set`, in hex.
    pub sha256: String,
    /// The `--set` assignments, in order, as typed (values from `${VAR}` unexpanded).
    pub sets: Vec<String>,
}

impl Plan {
    /// The text without the values of `${VAR}`: these are written nowhere, and a terminal is a CI job's log.
    pub fn mask(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|s| !s.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// When the last phase ends.
    pub fn end(&self) -> Offset {
        self.phases.last().map_or(Offset::ZERO, Phase::end)
    }

    /// The word for who does what the plan's platform does: this machine, where there is none.
    pub fn platform_word(&self) -> &'static str {
        match &self.platform {
            Some(Platform::Local(_)) | None => "local",
            Some(Platform::Kubernetes(_)) => "kubernetes",
            Some(Platform::Docker(_)) => "docker",
        }
    }

    /// The payload faults with their index into `faults`, in the order of the file.
    pub fn payloads(&self) -> impl Iterator<Item = (usize, &Payload)> {
        self.faults.iter().enumerate().filter_map(|(i, f)| f.payload().map(|p| (i, p)))
    }

    /// The phase that an instant belongs to; the last one for instants after the end.
    pub fn phase_at(&self, at: Offset) -> PhaseId {
        let after = self.phases.partition_point(|p| p.start <= at);
        PhaseId(after.saturating_sub(1) as u16)
    }

    /// The phase of this name.
    pub fn phase_named(&self, name: &str) -> Option<PhaseId> {
        self.phases.iter().position(|p| p.name == name).map(|i| PhaseId(i as u16))
    }

    /// The tightest bound on anything that counts from *due*: what a late generator would spoil.
    pub fn tightest_bound_from_due(&self) -> Option<Duration> {
        let first_tokens = self.objectives.iter().filter_map(|o| match o.metric {
            Metric::Ttft(_) => Some(Duration::from_secs_f64(o.bound)),
            _ => None,
        });
        first_tokens.chain(self.tightest_latency_bound()).min()
    }

    /// The tightest bound on a latency percentile, which is also the default `within` of recovery.
    pub fn tightest_latency_bound(&self) -> Option<Duration> {
        let bounds = self.objectives.iter().filter_map(|o| match o.metric {
            Metric::Latency(_) | Metric::LatencyMax | Metric::LatencyOk(_) => Some(Duration::from_secs_f64(o.bound)),
            _ => None,
        });
        bounds.min()
    }
}

/// The service under test, as traffic sees it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What a request body is and what an answer means.
    pub protocol: Protocol,
    /// The whole prediction URL; none when the platform gives the address.
    pub url: Option<Url>,
    /// Path and query of a prediction on the platform's address, where there is no `url`: `/invocations` for MLflow.
    pub path: String,
    /// Extra request headers, values expanded. A `Host` here wins over the URL's.
    pub headers: Vec<(String, String)>,
    /// A PEM file of extra certificate authorities.
    pub ca: Option<PathBuf>,
    /// HTTP/2: chosen by ALPN over TLS, spoken at once without it.
    pub http2: bool,
    /// Request method; `POST` unless the `http` protocol says otherwise.
    pub method: String,
    /// Statuses that are good answers; 200 unless the `http` protocol says otherwise.
    pub expect_status: Vec<u16>,
    /// Where an answer carries version, fallback level and prediction.
    pub answer: AnswerPaths,
    /// What is written around prompts; always there for rows of a dataset under the `openai` protocol.
    pub chat: Option<Chat>,
    /// How rows of a dataset are written, where the protocol knows several ways.
    pub encoding: Encoding,
}

/// What stands around a prompt in a chat request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// The model asked for.
    pub model: String,
    /// Tokens to answer with, at most; none leaves it to the server.
    pub max_tokens: Option<u32>,
}

/// The protocols that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MLflow scoring: `POST /invocations`.
    Mlflow,
    /// Anything over HTTP: bodies as they are, good is what `expect_status` says.
    Http,
    /// OpenAI's chat completions: `POST /v1/chat/completions`, answers streamed token by token.
    Openai,
    /// Open Inference v2 (KServe, Triton, MLServer): `POST /v2/models/NAME/infer`.
    OpenInference,
    /// TF Serving's REST: `POST /v1/models/NAME:predict`.
    TfServing,
}

impl Protocol {
    /// The word of the language.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Mlflow => "mlflow",
            Protocol::Http => "http",
            Protocol::Openai => "openai",
            Protocol::OpenInference => "open-inference",
            Protocol::TfServing => "tf-serving",
        }
    }

    /// Its answers are lists of predictions, whose place it knows by itself.
    pub fn has_predictions(self) -> bool {
        matches!(self, Protocol::Mlflow | Protocol::OpenInference | Protocol::TfServing)
    }

    /// Addresses name the model that is asked.
    pub fn names_models(self) -> bool {
        matches!(self, Protocol::OpenInference | Protocol::TfServing)
    }
}

/// The tolerance of answers that say none, as numpy's `isclose` has it: floats of one model on two machines differ by less, and
/// answers of two models by more. Two whole numbers (classes, keys of items) do not become one by it, however large they are.
pub const ROUNDING: f64 = 1e-5;

/// Where to look in an answer.
#[derive(Clone, Debug, Default)]
pub struct AnswerPaths {
    /// The model version that answered.
    pub version: Option<Place>,
    /// The fallback level, 0 or absent for a full answer.
    pub fallback: Option<Place>,
    /// The prediction to compare with the label and with the answer at baseline: one value, or a list with one for each row
    /// of the body; `*` in a pointer stands for every element.
    pub prediction: Option<Place>,
    /// How old the features behind it are.
    pub age: Option<AgePlace>,
    /// Two numbers whose difference is at most this share of the larger (and 1e-9) are the same answer.
    pub tolerance: f64,
}

/// A place in an answer: `header:x-model-version` or `json:/predictions/0` (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A response header, name in lower case.
    Header(String),
    /// A JSON pointer into the body.
    Json(String),
}

/// An absolute `http` or `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https`.
    pub tls: bool,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port, 80 or 443 when the URL names none.
    pub port: u16,
    /// Path and query, starting with `/`.
    pub path: String,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{}://{host}:{}{}", if self.tls { "https" } else { "http" }, self.port, self.path)
    }
}

/// Where replicas live. Further platforms become further variants.
#[derive(Clone, Debug)]
pub enum Platform {
    /// Child processes of this one.
    Local(LocalPlatform),
    /// Pods of a cluster.
    Kubernetes(KubernetesPlatform),
    /// Containers that are up already.
    Docker(DockerPlatform),
}

/// Replicas as pods of a cluster that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesPlatform {
    /// The kubeconfig's context; none: its current one.
    pub context: Option<String>,
    /// Where the pods live; never a protected one.
    pub namespace: String,
    /// Which pods.
    pub pods: Pods,
    /// Name and port of the Service that receives predictions; none where the target's `url` says where they go.
    pub service: Option<(String, u16)>,
    /// The container that serves the model; none: a pod's first.
    pub container: Option<String>,
    /// Where that container has its volume mounted: what IO faults act on.
    pub volume: Option<String>,
    /// What replicas call.
    pub dependencies: Vec<PodDependency>,
}

/// Which pods of a namespace are the replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pods {
    /// Those of this Deployment.
    Deployment(String),
    /// Those that carry these labels; never empty.
    Labelled(Labels),
}

/// Labels and their values; `a=b,c=d` as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

/// Pods that replicas call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDependency {
    /// Its name, as in a fault's `target`.
    pub name: String,
    /// Where its pods live; never a protected one.
    pub namespace: String,
    /// What they carry; never empty.
    pub labels: Labels,
}

/// Namespaces that nothing of ours ever touches: the cluster's own, and those of the fault tools.
pub const PROTECTED_NAMESPACES: [&str; 8] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "chaos-mesh",
    "chaos-testing",
    "chaos-daemon",
    "litmus",
    "toxiproxy",
];

/// Replicas as child processes behind a service link.
#[derive(Clone, Debug)]
pub struct LocalPlatform {
    /// How many, 1 to 64.
    pub replicas: u16,
    /// What is started, placeholders unexpanded; `resbench` as first word means this very program.
    pub command: Vec<String>,
    /// Added to the environment, placeholders unexpanded.
    pub env: BTreeMap<String, String>,
    /// The folder that IO faults act on, as an absolute path that exists.
    pub volume: Option<PathBuf>,
    /// Each replica has a copy of the volume that it may write to.
    pub writable: bool,
    /// When a replica counts as ready.
    pub ready: Ready,
    /// First restart delay; doubled per crash as Kubernetes does, up to 5 min, reset after 10 min up.
    pub restart_delay: Duration,
    /// What replicas call.
    pub dependencies: Vec<Dependency>,
}

/// Replicas as containers that are up already, behind a service link.
#[derive(Clone, Debug)]
pub struct DockerPlatform {
    /// The engine, as in `DOCKER_HOST`; none: what that says, or the socket of this machine.
    pub host: Option<String>,
    /// Which containers are the replicas.
    pub replicas: ContainerSelector,
    /// The port that they listen on, inside.
    pub port: u16,
    /// When a replica counts as ready; none: its own health check says so, or it runs and has none.
    pub ready: Option<Ready>,
    /// From being killed to being started again.
    pub restart_delay: Duration,
    /// What replicas call.
    pub dependencies: Vec<DockerDependency>,
}

/// Which containers are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSelector {
    /// Labels that a container must carry, all of them, as `key=value` or `key`.
    pub labels: Vec<String>,
    /// The same in words: "service `model` of project `shop`".
    pub what: String,
}

/// Containers that replicas call.
#[derive(Clone, Debug)]
pub struct DockerDependency {
    /// Its name, as in a fault's `target`.
    pub name: String,
    /// Which containers it is.
    pub containers: ContainerSelector,
}

/// Readiness by path.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Polled by `GET`; any 2xx is ready. None: a connection that is taken is enough.
    pub path: Option<String>,
    /// Between two polls.
    pub every: Duration,
    /// How long a first start may take.
    pub timeout: Duration,
}

/// Something that replicas call, behind a link of its own.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Its name, as in `{dependency.NAME}`.
    pub name: String,
    /// What is started.
    pub command: Vec<String>,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
    /// Run once when it is ready; empty for none. Must exit 0.
    pub init: Vec<String>,
    /// When it counts as ready.
    pub ready: Ready,
}

/// What is sent, and how.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Where request bodies come from.
    pub bodies: Bodies,
    /// How arrivals scatter around the planned rate.
    pub process: Process,
    /// From sent to done, connecting included.
    pub timeout: Duration,
    /// Over all workers; beyond it an arrival is shed.
    pub max_in_flight: usize,
    /// Kept open over all workers and used in turn, so that load spreads; more are opened when all are busy. None: opened as
    /// needed.
    pub connections: Option<usize>,
    /// A connection older than this is closed after its current answer.
    pub connection_max_age: Option<Duration>,
    /// A connection that has carried this many requests is closed after the last of them; 1: a new connection each.
    pub connection_max_requests: Option<u64>,
    /// Requests on one HTTP/2 connection at the same time, at most; 1 in HTTP/1.1.
    pub streams: usize,
    /// Which addresses of a name are used; none: IPv4 where there is one, else IPv6.
    pub address_family: Option<AddressFamily>,
    /// Our own addresses, taken in turn for new connections; empty for whichever the system picks.
    pub source_addresses: Vec<IpAddr>,
    /// Between two look-ups of the target's name while load runs.
    pub dns_refresh: Duration,
    /// Largest answer that is read, in bytes.
    pub max_answer: usize,
    /// Some bodies ask for a stream of tokens (protocol `openai` only).
    pub token_streams: bool,
    /// Rows of the dataset in a body.
    pub batch: Batch,
    /// What is written around them (protocol `http` only).
    pub template: Option<Arc<Template>>,
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

/// Where request bodies come from.
#[derive(Clone, Debug)]
pub enum Bodies {
    /// Rows of a table, encoded by the target's protocol, one after another and around again.
    Dataset(Arc<Dataset>),
    /// Ready bodies, one after another and around again.
    Lines(Arc<Vec<String>>),
    /// The same body each time (may be empty).
    One(String),
}

/// A table read from CSV: at least one column and one row, every row as wide as the header.
#[derive(Debug, Default)]
pub struct Dataset {
    /// Column names, the label left out.
    pub columns: Vec<String>,
    /// Cells as text, the label left out.
    pub rows: Vec<Vec<String>>,
    /// The label of each row, when a label column is named.
    pub labels: Option<Vec<String>>,
    /// Columns whose every cell is a number or empty (sent as JSON numbers and null).
    pub numeric: Vec<bool>,
}

impl Dataset {
    /// Every cell of this column is a whole number, written as one.
    pub fn whole(&self, column: usize) -> bool {
        self.numeric[column] && self.rows.iter().all(|r| r[column].trim().parse::<i64>().is_ok())
    }

    /// Standard deviation of a numeric column over its rows (n − 1 in the denominator); 0 for others, for one row, and where it
    /// cannot be told.
    pub fn deviation(&self, column: usize) -> f64 {
        // By Welford's recurrence (1962): the squares of large numbers that differ little would cancel out.
        let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for x in self.rows.iter().filter(|_| self.numeric[column]).filter_map(|r| r[column].trim().parse::<f64>().ok())
        {
            n += 1.0;
            let from_mean = x - mean;
            mean += from_mean / n;
            squares += from_mean * (x - mean);
        }
        let variance: f64 = if n > 1.0 { squares / (n - 1.0) } else { 0.0 };
        if variance.is_finite() { variance.sqrt() } else { 0.0 }
    }
}

/// How arrivals scatter around the planned rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Evenly spaced.
    Uniform,
    /// Exponential gaps: independent users.
    Poisson,
    /// Gamma gaps with this coefficient of variation (1 is Poisson, above 1 bursty), 0.01 to 100.
    Gamma {
        /// Standard deviation of a gap over its mean.
        cv: f64,
    },
}

/// One stretch of load.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// First instant.
    pub start: Offset,
    /// How long; above zero.
    pub duration: Duration,
    /// What is offered.
    pub load: Load,
    /// False for warm-up: in no denominator.
    pub measured: bool,
}

impl Phase {
    /// First instant after it.
    pub fn end(&self) -> Offset {
        self.start + self.duration
    }
}

/// What a phase offers.
#[derive(Clone, Debug)]
pub enum Load {
    /// Arrivals at planned times.
    Open(Shape),
    /// Closed loop: each of `concurrency` users sends when its last answer came. Reports say so.
    Closed {
        /// Users at the same time.
        concurrency: usize,
        /// A ceiling in requests per second.
        max_rate: Option<Rate>,
    },
}

/// The planned rate over a phase.
#[derive(Clone, Debug)]
pub enum Shape {
    /// The same throughout.
    Constant(Rate),
    /// Linear from one rate to another, requests per second, both ≥ 0 and not both 0.
    Ramp {
        /// At the start.
        from: f64,
        /// At the end.
        to: f64,
    },
    /// `steps` equal-length levels from the first rate to the last, both included.
    Steps {
        /// First level.
        from: f64,
        /// Last level.
        to: f64,
        /// How many levels, at least 2.
        steps: u32,
    },
    /// `mean + amplitude · sin(2π (t + start) / period)`, with `amplitude ≤ mean`.
    Wave {
        /// Mean rate.
        mean: Rate,
        /// Swing in requests per second.
        amplitude: f64,
        /// Length of one wave.
        period: Duration,
        /// Where in the wave the phase begins.
        start: Duration,
    },
    /// Replay of recorded arrival times (offsets from the phase's start, ascending, scaled already,
    /// those after the phase's end left out).
    Trace(Arc<Vec<u64>>),
}

/// One fault.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: FaultKind,
    /// What it hits.
    pub target: FaultTarget,
    /// When it is applied.
    pub at: Offset,
    /// How long it lasts from *applied*; none for one-shot faults.
    pub lasts: Option<Lasts>,
    /// May hit a replica that is under another fault.
    pub overlap: bool,
    /// Who does it.
    pub via: Via,
}

impl FaultPlan {
    /// When it ends by the plan, with the load at the latest; none for one-shot faults.
    pub fn ends(&self, load_end: Offset) -> Option<Offset> {
        self.lasts.map(|lasts| match lasts {
            Lasts::For(time) => (self.at + time).min(load_end),
            Lasts::UntilEnd => load_end,
        })
    }

    /// What it does to requests, where that is what it does.
    pub fn payload(&self) -> Option<&Payload> {
        if let FaultKind::Payload(payload) = &self.kind { Some(payload) } else { None }
    }

    /// The author's word on what makes it proven, where there is one.
    pub fn proof(&self) -> Option<&ProofRule> {
        match (&self.kind, &self.via) {
            (FaultKind::Command(hook), _) => Some(&hook.proof),
            (FaultKind::Http(hook), _) => Some(&hook.proof),
            (_, Via::Toxiproxy(toxiproxy)) => toxiproxy.proof.as_ref(),
            (FaultKind::ChaosMesh(experiment), _) => experiment.proof.as_ref(),
            (_, Via::ChaosMesh(mesh)) => mesh.proof.as_ref(),
            _ => None,
        }
    }
}

/// Who does a fault.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Via {
    /// The platform itself, or this program.
    #[default]
    Platform,
    /// Chaos Mesh.
    ChaosMesh(ChaosMesh),
    /// A Toxiproxy server.
    Toxiproxy(Toxiproxy),
    /// The load, by what it sends.
    Load,
}

/// What a fault by Chaos Mesh has beside its kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChaosMesh {
    /// The container that is hit, where the kind hits one; none: a pod's first. A `pod-kill` ends the container alone.
    pub container: Option<String>,
    /// Network kinds: only what passes between the target and this dependency.
    pub peer: Option<String>,
    /// Where the volume is mounted in the container; always there for IO kinds.
    pub volume: Option<String>,
    /// What makes it proven where pods do not show it.
    pub proof: Option<ProofRule>,
}

/// An experiment of Chaos Mesh, in its own words.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Its kind.
    pub chaos: Chaos,
    /// Where the object is made; none: where the replicas live.
    pub namespace: Option<String>,
    /// The `spec` of the object, as its author wrote it: it selects something, and never all of a namespace.
    pub spec: serde_json::Map<String, serde_json::Value>,
    /// What makes it proven where pods do not show it.
    pub proof: Option<ProofRule>,
}

/// The kinds of Chaos Mesh that select pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the custom resource of its name")]
pub enum Chaos {
    Pod,
    Network,
    Io,
    Stress,
    Http,
    Dns,
    Time,
    Kernel,
    Jvm,
    Block,
}

impl Chaos {
    /// All of them.
    pub const ALL: [Chaos; 10] = [
        Chaos::Pod,
        Chaos::Network,
        Chaos::Io,
        Chaos::Stress,
        Chaos::Http,
        Chaos::Dns,
        Chaos::Time,
        Chaos::Kernel,
        Chaos::Jvm,
        Chaos::Block,
    ];

    /// The `kind` of the object.
    pub fn word(self) -> &'static str {
        match self {
            Chaos::Pod => "PodChaos",
            Chaos::Network => "NetworkChaos",
            Chaos::Io => "IOChaos",
            Chaos::Stress => "StressChaos",
            Chaos::Http => "HTTPChaos",
            Chaos::Dns => "DNSChaos",
            Chaos::Time => "TimeChaos",
            Chaos::Kernel => "KernelChaos",
            Chaos::Jvm => "JVMChaos",
            Chaos::Block => "BlockChaos",
        }
    }

    /// What the API server calls its resource: plural and singular are the same.
    pub fn plural(self) -> String {
        self.word().to_lowercase()
    }

    /// It happens once and is over: the tool never speaks of recovery then.
    pub fn is_one_shot(self, action: &str) -> bool {
        self == Chaos::Pod && matches!(action, "pod-kill" | "container-kill")
    }
}

/// Where a toxic goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Toxiproxy {
    /// The server's API, without a path.
    pub url: Url,
    /// Name of the proxy.
    pub proxy: String,
    /// `url` as written, `${VAR}` unexpanded, for reports and journals.
    pub url_text: String,
    /// `proxy` as written.
    pub proxy_text: String,
    /// Share of connections that are hit, drawn once for each: above 0, at most 1.
    pub toxicity: Ratio,
    /// What makes it proven; none: looks of our own through the proxy.
    pub proof: Option<ProofRule>,
}

/// One toxic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toxic {
    /// What it does.
    pub effect: ToxicEffect,
    /// Which way.
    pub stream: Stream,
}

/// Which way bytes are hit by a toxic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Requests: from the client to the upstream.
    Upstream,
    /// Answers.
    Downstream,
}

/// What a toxic does: its type and attributes, in the units of Toxiproxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToxicEffect {
    /// Every chunk comes late.
    Latency {
        /// Milliseconds.
        latency: u64,
        /// Milliseconds, uniform around `latency`.
        jitter: u64,
    },
    /// Only so many bytes pass in a second.
    Bandwidth {
        /// Thousands of bytes per second, above zero.
        rate: u64,
    },
    /// Connections close late.
    SlowClose {
        /// Milliseconds.
        delay: u64,
    },
    /// A black hole.
    Timeout {
        /// Milliseconds until the connection is closed; 0: never.
        timeout: u64,
    },
    /// Connections are reset once something comes by.
    ResetPeer {
        /// Milliseconds from then on.
        timeout: u64,
    },
    /// Bytes come in small pieces.
    Slicer {
        /// Bytes of a piece, above zero.
        average_size: u64,
        /// More or fewer bytes, below `average_size`.
        size_variation: u64,
        /// Microseconds between two pieces.
        delay: u64,
    },
    /// A connection is closed after so many bytes.
    LimitData {
        /// How many.
        bytes: u64,
    },
}

impl Stream {
    /// Toxiproxy's word.
    pub fn word(self) -> &'static str {
        match self {
            Stream::Upstream => "upstream",
            Stream::Downstream => "downstream",
        }
    }
}

impl ToxicEffect {
    /// Toxiproxy's word for its type.
    pub fn word(&self) -> &'static str {
        match self {
            ToxicEffect::Latency { .. } => "latency",
            ToxicEffect::Bandwidth { .. } => "bandwidth",
            ToxicEffect::SlowClose { .. } => "slow_close",
            ToxicEffect::Timeout { .. } => "timeout",
            ToxicEffect::ResetPeer { .. } => "reset_peer",
            ToxicEffect::Slicer { .. } => "slicer",
            ToxicEffect::LimitData { .. } => "limit_data",
        }
    }

    /// Its attributes by Toxiproxy's names.
    pub fn attributes(&self) -> Vec<(&'static str, u64)> {
        match *self {
            ToxicEffect::Latency { latency, jitter } => vec![("latency", latency), ("jitter", jitter)],
            ToxicEffect::Bandwidth { rate } => vec![("rate", rate)],
            ToxicEffect::SlowClose { delay } => vec![("delay", delay)],
            ToxicEffect::Timeout { timeout } | ToxicEffect::ResetPeer { timeout } => vec![("timeout", timeout)],
            ToxicEffect::Slicer { average_size, size_variation, delay } => {
                vec![("average_size", average_size), ("size_variation", size_variation), ("delay", delay)]
            }
            ToxicEffect::LimitData { bytes } => vec![("bytes", bytes)],
        }
    }
}

impl std::fmt::Display for Toxic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.effect.word())?;
        let attributes = self.effect.attributes();
        attributes.iter().filter(|(_, n)| *n > 0).try_for_each(|(name, n)| write!(f, " {name}={n}"))?;
        write!(f, " {}", self.stream.word())
    }
}

impl Via {
    /// The word of the language; the platform's where it does the fault itself.
    pub fn word(&self, platform: &'static str) -> &'static str {
        match self {
            Via::Platform => platform,
            Via::ChaosMesh(_) => "chaos-mesh",
            Via::Toxiproxy(_) => "toxiproxy",
            Via::Load => "load",
        }
    }
}

/// How long a lasting fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// For this long from *applied*.
    For(Duration),
    /// Until load stops.
    UntilEnd,
}

/// What a fault does. One variant per kind of the language.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// A replica is killed; the platform starts another, or it again.
    PodKill {
        /// Between being told to end and being ended.
        grace: Option<Duration>,
        /// By which call, on Kubernetes.
        method: KillMethod,
    },
    /// One replica after another is ended and replaced.
    RollingRestart {
        /// Between SIGTERM and SIGKILL.
        grace: Duration,
        /// From one replacement being ready to the next SIGTERM.
        pause: Duration,
    },
    /// Down for the time.
    PodFailure,
    /// SIGSTOP, SIGCONT.
    PodPause,
    /// The link holds bytes back.
    NetworkDelay {
        /// Mean delay.
        latency: Duration,
        /// Uniform in latency ± jitter.
        jitter: Duration,
        /// Which way.
        direction: Direction,
    },
    /// The link passes only so many bytes in a second.
    NetworkBandwidth {
        /// Bytes per second, each way of each replica's (or the dependency's) link; above zero.
        rate: u64,
        /// Which way.
        direction: Direction,
    },
    /// The link swallows bytes: a black hole, never a refusal.
    NetworkPartition {
        /// Which way.
        direction: Direction,
    },
    /// The link resets connections, open ones at once and new ones as they come.
    NetworkReset,
    /// Packets to and from the targets' own ports are dropped by the kernel.
    NetworkLoss {
        /// Share of the packets, each way, drawn for each of them; above 0, at most 1.
        share: Ratio,
    },
    /// Processes beside each replica use up time of its CPUs.
    CpuStress {
        /// How many for each replica, 1 to 64.
        workers: u16,
        /// Share of one CPU that each of them uses, above 0, at most 1.
        load: Ratio,
    },
    /// A process beside each replica holds memory.
    MemoryStress {
        /// How much for each replica, in bytes; above zero.
        bytes: u64,
    },
    /// The FUSE view of the volume answers late.
    IoLatency {
        /// Added to each call hit.
        delay: Duration,
        /// Which calls.
        scope: IoScope,
    },
    /// The FUSE view of the volume answers with an error.
    IoError {
        /// The errno, for example 5 for EIO.
        errno: i32,
        /// Which calls.
        scope: IoScope,
    },
    /// The FUSE view of the volume has no room: what would write is answered with ENOSPC.
    DiskFull {
        /// Which files, and [`IoMethod::Write`].
        scope: IoScope,
    },
    /// The FUSE view of the volume shows files with flipped bytes.
    FileCorrupt {
        /// How many bytes of each file, 1 to 1000; all of them where a file has fewer.
        bytes: u32,
        /// Which files, and [`IoMethod::Read`].
        scope: IoScope,
    },
    /// A command of the author's, with its undo.
    Command(Hook<Vec<String>>),
    /// An experiment of Chaos Mesh, in its own words.
    ChaosMesh(Box<Experiment>),
    /// A request of the author's, with its undo.
    Http(Box<Hook<Request>>),
    /// One toxic of Toxiproxy, as its own language has it.
    Toxiproxy {
        /// Which.
        toxic: Toxic,
    },
    /// A share of the requests is sent with another body.
    Payload(Box<Payload>),
    /// An alias of a model registry points elsewhere.
    RegistryAlias(Box<RegistryAlias>),
}

/// An alias of a model registry, and where a fault points it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryAlias {
    /// Which, `${VAR}` expanded.
    pub registry: Registry,
    /// As written, `${VAR}` unexpanded, for reports and journals.
    pub registry_text: Registry,
    /// The version that it points at while the fault is on; none: the alias is not there.
    pub to: Option<u64>,
    /// The alias may be absent before: it is made, and deleted afterwards.
    pub create: bool,
    /// Limit on each request.
    pub timeout: Duration,
}

/// An alias in a model registry that speaks MLflow's REST.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Registry {
    /// The registry's URL up to `/api/2.0/mlflow`. In a scenario it may hold `{dependency.NAME}`: the dependency itself,
    /// behind its link.
    pub url: String,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A PEM file of extra certificate authorities, as a path that does not depend on the folder.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The registered model.
    pub model: String,
    /// The alias.
    pub alias: String,
}

impl Registry {
    /// The dependency that the URL names.
    pub fn dependency(&self) -> Option<&str> {
        dependency_of(&self.url)
    }

    /// The same at this address of its dependency.
    pub fn at(&self, address: std::net::SocketAddr) -> Registry {
        Registry { url: at_dependency(&self.url, address), ..self.clone() }
    }
}

/// The dependency that a URL of a fault names as `{dependency.NAME}`: the process itself, behind its link.
pub fn dependency_of(url: &str) -> Option<&str> {
    url.split_once("{dependency.")?.1.split_once('}').map(|(name, _)| name)
}

/// A URL with its dependency's address in it.
pub fn at_dependency(url: &str, address: std::net::SocketAddr) -> String {
    let word = dependency_of(url).map(|name| format!("{{dependency.{name}}}"));
    word.map_or_else(|| url.to_owned(), |word| url.replacen(&word, &address.to_string(), 1))
}

impl std::fmt::Display for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.model, self.alias)
    }
}

/// Two steps of the author's: program and arguments each, or a [`Request`] each.
#[derive(Clone, Debug)]
pub struct Hook<S> {
    /// What breaks something, `${VAR}` expanded.
    pub run: S,
    /// What puts it back, or none where the author wrote `undo = "none"`.
    pub undo: Option<S>,
    /// Limit on each of the two.
    pub timeout: Duration,
    /// What makes it proven.
    pub proof: ProofRule,
    /// `run` as written, `${VAR}` unexpanded, for reports and journals.
    pub run_text: S,
    /// `undo` as written.
    pub undo_text: Option<S>,
}

impl<S> Hook<S> {
    /// The same of another kind of step.
    pub fn map<T>(self, step: impl Fn(S) -> T) -> Hook<T> {
        Hook {
            run: step(self.run),
            undo: self.undo.map(&step),
            timeout: self.timeout,
            proof: self.proof,
            run_text: step(self.run_text),
            undo_text: self.undo_text.map(&step),
        }
    }
}

/// By which call a pod is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KillMethod {
    /// Delete it, by its UID. The only one where replicas are no pods.
    #[default]
    Delete,
    /// Evict it: a PodDisruptionBudget may refuse.
    Evict,
    /// Delete it without grace: the object is gone at once, its processes soon after.
    Force,
}

/// A request of a hook.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Request {
    /// Method.
    pub method: String,
    /// A whole URL, as text: in a journal it has its `${VAR}` unexpanded. In a scenario it may hold `{dependency.NAME}`.
    pub url: String,
    /// Further headers, values as text like `url`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A PEM file of extra certificate authorities, as a path that does not depend on the folder.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Body, empty for none; sent as JSON.
    pub body: String,
    /// Good statuses; empty for any 2xx (and 404 for an undo).
    pub expect_status: Vec<u16>,
}

impl FaultKind {
    /// The word of the language.
    pub fn word(&self) -> &'static str {
        match self {
            FaultKind::PodKill { .. } => "pod-kill",
            FaultKind::RollingRestart { .. } => "rolling-restart",
            FaultKind::PodFailure => "pod-failure",
            FaultKind::PodPause => "pod-pause",
            FaultKind::NetworkDelay { .. } => "network-delay",
            FaultKind::NetworkBandwidth { .. } => "network-bandwidth",
            FaultKind::NetworkPartition { .. } => "network-partition",
            FaultKind::NetworkReset => "network-reset",
            FaultKind::NetworkLoss { .. } => "network-loss",
            FaultKind::CpuStress { .. } => "cpu-stress",
            FaultKind::MemoryStress { .. } => "memory-stress",
            FaultKind::IoLatency { .. } => "io-latency",
            FaultKind::IoError { .. } => "io-error",
            FaultKind::DiskFull { .. } => "disk-full",
            FaultKind::FileCorrupt { .. } => "file-corrupt",
            FaultKind::Command(_) => "command",
            FaultKind::Http(_) => "http",
            FaultKind::Toxiproxy { .. } => "toxiproxy",
            FaultKind::ChaosMesh(_) => "chaos-mesh",
            FaultKind::Payload(payload) => payload.alter.word(),
            FaultKind::RegistryAlias(_) => "registry-alias",
        }
    }

    /// Hits its targets one after another: one at the same time.
    pub fn one_by_one(&self) -> bool {
        matches!(self, FaultKind::RollingRestart { .. })
    }

    /// Acts on the volume, so replicas must be started on its FUSE view.
    pub fn needs_volume_view(&self) -> bool {
        use FaultKind::{DiskFull, FileCorrupt, IoError, IoLatency};
        matches!(self, IoLatency { .. } | IoError { .. } | DiskFull { .. } | FileCorrupt { .. })
    }
}

/// Which way bytes are hit: `to` the target (requests), `from` it (answers), or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    To,
    /// Answers.
    From,
    /// Requests and answers.
    Both,
}

/// Which file calls are hit.
#[derive(Clone, Debug, PartialEq)]
pub struct IoScope {
    /// A path inside the volume, with `*` and `?` as wildcards; none for all files.
    pub path: Option<String>,
    /// Calls hit; never empty.
    pub methods: Vec<IoMethod>,
    /// Share of those calls, above 0, at most 1.
    pub share: Ratio,
}

/// A file call that the view can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the system call of its name")]
pub enum IoMethod {
    Open,
    Read,
    Getattr,
    Readdir,
    Lookup,
    /// Whatever needs room: writing and stretching files, creating them, making folders; on a volume that may not be written to also
    /// opening for writing.
    Write,
}

/// What a fault hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// Replicas, drawn from the seed when the fault fires, among the ready ones.
    Replicas(Mode),
    /// This replica.
    Replica(u16),
    /// The link in front of this dependency.
    Dependency(String),
    /// Whatever the command does.
    Outside,
    /// Requests of the load itself.
    Requests,
}

/// How many replicas, as in Chaos Mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One.
    One,
    /// Every one.
    All,
    /// This many.
    Fixed(u16),
    /// This percentage, 1 to 100, rounded down as Chaos Mesh does, at least one.
    FixedPercent(u8),
}

impl Mode {
    /// How many of `total` replicas are hit at most.
    pub fn count(self, total: usize) -> usize {
        match self {
            Mode::One => total.min(1),
            Mode::All => total,
            Mode::Fixed(n) => total.min(n as usize),
            Mode::FixedPercent(p) => (total * p as usize / 100).max(1).min(total),
        }
    }
}

/// What makes a `command` fault proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofRule {
    /// A probe turns failing (or passing) while the fault is on.
    Probe {
        /// Name of the probe.
        probe: String,
        /// True for `becomes = "failing"`.
        becomes_failing: bool,
    },
    /// The author vouches for it.
    Trust,
}

/// A fault with `every` and `times`: its single times are faults of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The name in the file; its times are `NAME-1`, `NAME-2`, …
    pub name: String,
    /// Its times: indices into `Plan::faults`, two at least.
    pub faults: std::ops::Range<usize>,
}

/// What the price of a fault is counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The time that promises are kept over.
    pub window: Duration,
    /// The share of requests that is to be good, above 0, at most 1; none: what objectives promise.
    pub target: Option<f64>,
    /// With a target of its own: good within this; none: answered well at all.
    pub within: Option<Duration>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { window: Duration::from_secs(30 * 86_400), target: None, within: None }
    }
}

/// One service-level objective.
#[derive(Clone, Debug)]
pub struct Objective {
    /// What is judged.
    pub metric: Metric,
    /// `max` or `min`.
    pub op: Op,
    /// The bound: seconds for times, shares for ratios, else a number. Zero for probes.
    pub bound: f64,
    /// Where it is judged; empty for fault metrics and probes.
    pub spans: Vec<SpanRef>,
    /// The fault it speaks of, for fault metrics: an index into `Plan::faults`.
    pub fault: Option<usize>,
    /// It speaks of the median over a fault's times, and `fault` is the first of them: an index into `Plan::repeats`.
    pub median_of: Option<usize>,
    /// Good within this; for `good_ratio` (always set) and recovery (none: default W).
    pub within: Option<Duration>,
    /// Line of the scenario file, from 1.
    pub line: usize,
}

/// `max = …` or `min = …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The value must be at most the bound.
    Max,
    /// The value must be at least the bound.
    Min,
}

/// A stretch of time that metrics are taken over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpanRef {
    /// A phase.
    Phase(PhaseId),
    /// `during:NAME`, by index into `Plan::faults`.
    During(usize),
    /// `after:NAME`.
    After(usize),
}

/// What an objective judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `latency.pNN`: over every planned arrival, failures infinite.
    Latency(Quantile),
    /// `latency.max`.
    LatencyMax,
    /// `latency.ok.pNN`: good answers only.
    LatencyOk(Quantile),
    /// `ttft.pNN`: due → first token, over every planned arrival, failures infinite.
    Ttft(Quantile),
    /// `itl.pNN`: from one token to the next, over every such gap in good answers.
    Itl(Quantile),
    /// 1 − ok/planned.
    ErrorRate,
    /// ok/planned.
    Availability,
    /// Good answers done per second.
    Throughput,
    /// Share of planned arrivals good within `within`.
    GoodRatio,
    /// Share of good answers that came from a fallback.
    FallbackRate,
    /// Share of labelled good answers whose prediction equals the label.
    Accuracy,
    /// Share of predictions that are the same as at baseline for the same row.
    Agreement,
    /// `freshness.pNN`: age of the features behind good answers; plain `freshness` (none) is the 99th percentile.
    Freshness(Option<Quantile>),
    /// `freshness.max`.
    FreshnessMax,
    /// shed/planned.
    ShedRate,
    /// Per fault: see DESIGN section 2, Recovery.
    RecoveryTime,
    /// Per fault: until the platform took the target out of rotation.
    DetectionTime,
    /// Per fault: longest row of slots without a good answer.
    LongestOutage,
    /// Per fault: good answers missing against the baseline.
    LostRequests,
    /// Per payload fault: share of its altered requests that ended as they should. Every such fault is judged by it.
    AsExpected,
    /// A probe that must hold whenever it is asked.
    Probe(String),
}

impl Metric {
    /// The word of the language, for example `latency.p99`.
    pub fn word(&self) -> String {
        match self {
            Metric::Latency(q) => format!("latency.{q}"),
            Metric::LatencyMax => "latency.max".into(),
            Metric::LatencyOk(q) => format!("latency.ok.{q}"),
            Metric::Ttft(q) => format!("ttft.{q}"),
            Metric::Itl(q) => format!("itl.{q}"),
            Metric::ErrorRate => "error_rate".into(),
            Metric::Availability => "availability".into(),
            Metric::Throughput => "throughput".into(),
            Metric::GoodRatio => "good_ratio".into(),
            Metric::FallbackRate => "fallback_rate".into(),
            Metric::Accuracy => "accuracy".into(),
            Metric::Agreement => "agreement".into(),
            Metric::Freshness(None) => "freshness".into(),
            Metric::Freshness(Some(q)) => format!("freshness.{q}"),
            Metric::FreshnessMax => "freshness.max".into(),
            Metric::ShedRate => "shed_rate".into(),
            Metric::RecoveryTime => "recovery_time".into(),
            Metric::DetectionTime => "detection_time".into(),
            Metric::LongestOutage => "longest_outage".into(),
            Metric::LostRequests => "lost_requests".into(),
            Metric::AsExpected => "as_expected".into(),
            Metric::Probe(name) => format!("probe:{name}"),
        }
    }

    /// Speaks of tokens, which only streams have.
    pub fn is_of_stream(&self) -> bool {
        matches!(self, Metric::Ttft(_) | Metric::Itl(_))
    }

    /// Belongs to a fault, not to a span.
    pub fn is_of_fault(&self) -> bool {
        use Metric::{AsExpected, DetectionTime, LongestOutage, LostRequests, RecoveryTime};
        matches!(self, RecoveryTime | DetectionTime | LongestOutage | LostRequests | AsExpected)
    }

    /// `s` for times, `ratio` for shares, `/s` for rates, `count` for numbers of things, `` for probes.
    pub fn unit(&self) -> &'static str {
        match self {
            Metric::Latency(_) | Metric::LatencyMax | Metric::LatencyOk(_) => "s",
            Metric::Ttft(_) | Metric::Itl(_) => "s",
            Metric::Freshness(_) | Metric::FreshnessMax => "s",
            Metric::RecoveryTime | Metric::DetectionTime | Metric::LongestOutage => "s",
            Metric::Throughput => "/s",
            Metric::LostRequests => "count",
            Metric::Probe(_) => "",
            _ => "ratio",
        }
    }
}

/// Limits on the blast radius, and when to stop.
#[derive(Clone, Debug)]
pub struct Safety {
    /// Replicas under a fault at the same time, at most; none: all but one, and one where there is only one.
    pub max_targets: Option<usize>,
    /// Percentage of the replicas under a fault at the same time, at most, 1 to 100.
    pub max_percent: Option<u8>,
    /// Replicas that are ready and under no fault, at least.
    pub min_ready: usize,
    /// The only namespaces that may be touched; none: those that the platform names.
    pub namespaces: Option<Vec<String>>,
    /// Stop when the share of good answers stays below this …
    pub abort_below: Ratio,
    /// … for this long.
    pub abort_for: Duration,
}

impl Default for Safety {
    fn default() -> Safety {
        Safety {
            max_targets: None,
            max_percent: None,
            min_ready: 0,
            namespaces: None,
            abort_below: Ratio::new(0.1).expect("0.1 is a share"),
            abort_for: Duration::from_secs(30),
        }
    }
}

impl Safety {
    /// How many of `replicas` may be under a fault at the same time, and which rule says so: the tightest.
    pub fn most(&self, replicas: usize) -> (usize, String) {
        // All but one: a service that must keep its promises while things break needs someone left to keep them.
        let spare = replicas.saturating_sub(1).max(1);
        let not_set = || (spare, "all but one, as [safety] max_targets is not set".to_owned());
        let by_count = self.max_targets.map_or_else(not_set, |n| (n, format!("[safety] max_targets = {n}")));
        let percent =
            self.max_percent.map(|p| (replicas * usize::from(p) / 100, format!("[safety] max_percent = {p}")));
        let left = (self.min_ready > 0)
            .then(|| (replicas.saturating_sub(self.min_ready), format!("[safety] min_ready = {}", self.min_ready)));
        [Some(by_count), percent, left].into_iter().flatten().min_by_key(|(most, _)| *most).unwrap_or_else(not_set)
    }
}

impl FaultPlan {
    /// How many of `replicas` it hits at the same time.
    pub fn hits(&self, replicas: usize) -> usize {
        match self.target {
            FaultTarget::Replicas(_) if self.kind.one_by_one() => replicas.min(1),
            FaultTarget::Replicas(mode) => mode.count(replicas),
            FaultTarget::Replica(_) => 1,
            FaultTarget::Dependency(_) | FaultTarget::Outside | FaultTarget::Requests => 0,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A plan of these phases and nothing else, for the tests of all modules.
    pub(crate) fn plan(phases: Vec<Phase>) -> Plan {
        Plan {
            name: "test".into(),
            lesson: String::new(),
            source: Source::default(),
            seed: Seed(42),
            target: target(Protocol::Http, AnswerPaths::default()),
            platform: None,
            traffic: Traffic {
                bodies: Bodies::One("{}".into()),
                process: Process::Uniform,
                timeout: Duration::from_secs(1),
                max_in_flight: 2048,
                connections: None,
                connection_max_age: None,
                connection_max_requests: None,
                streams: 1,
                address_family: None,
                source_addresses: Vec::new(),
                dns_refresh: Duration::from_secs(5),
                max_answer: 1 << 20,
                token_streams: false,
                batch: Batch::default(),
                template: None,
            },
            phases,
            faults: vec![],
            probes: vec![],
            scrapes: vec![],
            objectives: vec![],
            playbooks: vec![],
            repeats: Vec::new(),
            budget: Budget::default(),
            variants: Vec::new(),
            gate: None,
            capacity: None,
            safety: Safety { max_targets: Some(usize::MAX), ..Safety::default() },
            warnings: vec![],
            secrets: vec![],
        }
    }

    /// A target without a URL that answers 200 to `POST /`.
    pub(crate) fn target(protocol: Protocol, answer: AnswerPaths) -> Target {
        Target {
            protocol,
            url: None,
            path: "/".into(),
            headers: vec![],
            ca: None,
            http2: false,
            method: "POST".into(),
            expect_status: vec![200],
            answer,
            chat: None,
            encoding: Encoding::default(),
        }
    }
}
