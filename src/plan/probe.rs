//! Steady-state probes: what is asked, of whom, and what is expected.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Labels, Url};

/// One steady-state probe.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub kind: ProbeKind,
    /// Limit on one asking.
    pub timeout: Duration,
    /// Asked at the start, and again just before the first fault.
    pub before: bool,
    /// Asked at this interval while load runs.
    pub during: Option<Duration>,
    /// Asked once load and faults have ended.
    pub after: bool,
}

/// What a probe asks.
#[derive(Clone, Debug)]
pub enum ProbeKind {
    /// An HTTP request to the target (or to `url`).
    Http {
        /// A whole URL; else `path` on the target's address.
        url: Option<Url>,
        /// Path when there is no `url`.
        path: String,
        /// Method.
        method: String,
        /// Good statuses.
        expect_status: Vec<u16>,
        /// The body must contain this.
        body_contains: Option<String>,
        /// Headers for `url`; the target's own headers go to the target only.
        headers: Vec<(String, String)>,
        /// A PEM file of extra certificate authorities for `url`.
        ca: Option<PathBuf>,
    },
    /// A row of the dataset, sent and checked by the target's protocol.
    Prediction,
    /// A query of Prometheus whose value is bounded.
    Prometheus(PrometheusProbe),
    /// An alert that has to fire once a fault is there.
    Alert(AlertProbe),
    /// Ready replicas of a workload in a cluster.
    Kubernetes(KubernetesProbe),
    /// A command whose end is expected.
    Command(CommandProbe),
}

impl ProbeKind {
    /// Its word in the language.
    pub fn word(&self) -> &'static str {
        match self {
            ProbeKind::Http { .. } => "http",
            ProbeKind::Prediction => "prediction",
            ProbeKind::Prometheus(_) => "prometheus",
            ProbeKind::Alert(_) => "alert",
            ProbeKind::Kubernetes(_) => "kubernetes",
            ProbeKind::Command(_) => "command",
        }
    }
}

/// A server of the team's own that is asked over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its address; the path is a prefix without a `/` at its end, often empty.
    pub url: Url,
    /// Request headers, values expanded.
    pub headers: Vec<(String, String)>,
    /// A PEM file of extra certificate authorities.
    pub ca: Option<PathBuf>,
}

/// A query and the bounds of its value.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusProbe {
    /// Who is asked.
    pub server: Service,
    /// In PromQL.
    pub query: String,
    /// Asked over a stretch of time; none for the value of now.
    pub range: Option<QueryRange>,
    /// How several series become one answer; none where several are a failure.
    pub across: Option<Across>,
    /// The value must be below this.
    pub below: Option<f64>,
    /// The value must be above this.
    pub above: Option<f64>,
    /// No data at all holds; else it fails.
    pub no_data_passes: bool,
}

/// A range query that ends now.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRange {
    /// How far back.
    pub window: Duration,
    /// Between two values.
    pub step: Duration,
    /// How the values of one series become one.
    pub reduce: Reduce,
}

/// How values over time become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The newest.
    Last,
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Their sum.
    Sum,
}

/// How several series become one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// One value of all.
    By(Reduce),
    /// Each has to keep the bounds.
    Each,
}

/// An alert that has to fire once a fault is there.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertProbe {
    /// Who is asked.
    pub server: Service,
    /// In whose words.
    pub api: AlertApi,
    /// The alert's name.
    pub alert: String,
    /// Labels that it must carry.
    pub labels: BTreeMap<String, String>,
    /// The faults that it must follow, each by itself, by their place in the plan.
    pub faults: Vec<usize>,
    /// At most this long after a fault was applied.
    pub within: Option<Duration>,
}

/// Who knows of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertApi {
    /// Prometheus: `/api/v1/alerts`. Knows pending from firing, and nothing of silences.
    Prometheus,
    /// Alertmanager: `/api/v2/alerts`. Knows silences and inhibitions, and nothing of pending.
    Alertmanager,
}

/// Ready replicas of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesProbe {
    /// The kubeconfig's context; none: its current one.
    pub context: Option<String>,
    /// Where it lives.
    pub namespace: String,
    /// What is counted.
    pub of: Workload,
    /// At least so many must be ready.
    pub ready: u32,
}

/// What is counted in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Workload {
    /// Ready replicas by a Deployment's own status.
    Deployment(String),
    /// Ready pods that carry these labels and are not about to go.
    Labelled(Labels),
}

/// A command whose end is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandProbe {
    /// Program and arguments, values expanded.
    pub argv: Vec<String>,
    /// Good exit codes.
    pub expect_exit: Vec<i32>,
    /// What it prints must contain this.
    pub output_contains: Option<String>,
}

/// A page of metrics that is read while load runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapePlan {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub from: ScrapeFrom,
    /// Which series are kept: names, or whole series with their labels, with `*` and `?`.
    pub series: Vec<String>,
    /// Between two readings.
    pub every: Duration,
    /// Limit on one reading.
    pub timeout: Duration,
}

/// Where a page of metrics is.
#[derive(Clone, Debug, PartialEq)]
pub enum ScrapeFrom {
    /// This path on every replica of a local platform; elsewhere on the target's address.
    Path(String),
    /// One page; the path is whole.
    Page(Service),
}
