//! The mirror of the scenario file: every table, key and word of the language, once.
//!
//! The JSON Schema is generated from these types, and the reader (`walk.rs`) checks a file against that schema, so
//! what is allowed is said here and nowhere else. Doc comments become the schema's descriptions, which editors show.
//! Leaves alone what the values mean together: that is `compile/`.

pub(super) mod playbook;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::words;
use crate::plan::Chaos;
use crate::units::parse_duration;

/// A resbench scenario: one experiment. Send prediction traffic, break things at scripted times, judge the result.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "stands for the whole file in the schema; the tables are read one by one")]
pub(super) struct Scenario {
    /// The scenario's name; reports are kept under it.
    name: Name,
    /// Root of every random choice; the same seed gives the same arrivals and victims. Default 1.
    #[schemars(range(min = 0))]
    seed: Option<i64>,
    /// What receives predictions.
    target: Target,
    /// Where replicas live. Without it, only `target.url` is sent to.
    platform: Option<Platform>,
    /// What is sent, and how.
    traffic: Traffic,
    /// The stretches of load, one after another.
    #[schemars(length(min = 1, max = 100))]
    phase: Vec<Phase>,
    /// What is broken, and when.
    #[schemars(length(max = 100))]
    fault: Option<Vec<Fault>>,
    /// The steady state: must hold before any fault.
    #[schemars(length(max = 100))]
    probe: Option<Vec<Probe>>,
    /// Pages of metrics that are read while load runs, for the report.
    #[schemars(length(max = 10))]
    scrape: Option<Vec<Scrape>>,
    /// What the service promises.
    #[schemars(length(max = 1000))]
    objective: Option<Vec<Objective>>,
    /// What is to happen when a fault strikes; reports say which steps were seen.
    #[schemars(length(max = 100))]
    playbook: Option<Vec<playbook::Playbook>>,
    /// What the price of a fault is counted in. Without it: the objectives' own targets over 30 days.
    budget: Option<Budget>,
    /// Limits on the blast radius.
    safety: Option<Safety>,
    /// What `compare` and `gate` hold against each other; the first is the reference. A plain run ignores it.
    #[schemars(length(min = 2, max = 2))]
    variant: Option<Vec<Variant>>,
    /// What `compare` and `gate` decide by. A plain run ignores it.
    gate: Option<Gate>,
    /// What `capacity` searches for. A plain run ignores it.
    capacity: Option<Capacity>,
}

/// A name: small letters, digits and `-`, 1 to 64 of them.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Name(pub(super) String);

impl Name {
    /// Follows the pattern of names.
    pub(super) fn is_valid(text: &str) -> bool {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9-]{1,64}$" })
    }
}

/// A length of time as text: `"250ms"`, `"30s"`, `"1m30s"`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Duration(pub(super) std::time::Duration);

impl TryFrom<String> for Duration {
    type Error = String;
    fn try_from(text: String) -> Result<Duration, String> {
        parse_duration(&text).map(Duration)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*([0-9.]+\\s*(ns|us|µs|μs|ms|s|m|h|d)\\s*)+$" })
    }
}

/// The name of a metric.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct MetricName(pub(super) String);

impl JsonSchema for MetricName {
    fn schema_name() -> Cow<'static, str> {
        "Metric".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "enum": words::METRICS },
            { "type": "string", "pattern": "^(latency\\.(ok\\.)?|ttft\\.|itl\\.|freshness\\.)p[0-9.]+$" },
        ] })
    }
}

/// What receives predictions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// What a request body is and what an answer means.
    pub(super) protocol: Protocol,
    /// The whole prediction URL of a service that is there already. Without it the platform gives the address.
    pub(super) url: Option<String>,
    /// Path of a prediction on the platform's address (protocols http and openai). Default `/`, or `/v1/chat/completions`.
    pub(super) path: Option<String>,
    /// Extra request headers.
    pub(super) headers: Option<BTreeMap<String, String>>,
    /// A PEM file of extra certificate authorities, relative to the scenario file.
    pub(super) ca: Option<String>,
    /// Speak HTTP/2: chosen by ALPN over https, with prior knowledge over http. Default false: HTTP/1.1.
    pub(super) http2: Option<bool>,
    /// Request method (protocol http). Default POST.
    pub(super) method: Option<String>,
    /// Statuses that are good answers (protocol http). Default `[200]`.
    #[schemars(length(min = 1, max = 50), inner(range(min = 100, max = 599)))]
    pub(super) expect_status: Option<Vec<u16>>,
    /// Where an answer carries its version, fallback level and prediction.
    pub(super) answer: Option<Answer>,
    /// The model to ask (protocols openai, open-inference, tf-serving). For openai it is needed where a dataset is sent; for the
    /// other two it stands in the path, where no `url` gives it.
    #[schemars(length(min = 1, max = 200))]
    pub(super) model: Option<String>,
    /// The version of the model to ask (protocols open-inference, tf-serving). Default: the server's choice.
    #[schemars(length(min = 1, max = 64))]
    pub(super) model_version: Option<String>,
    /// How rows of a dataset are written. mlflow: dataframe_split (default), dataframe_records, instances, inputs. tf-serving:
    /// instances (rows, default), inputs (columns). open-inference: json (default), binary.
    pub(super) form: Option<FormWord>,
    /// open-inference, tf-serving: all columns of the dataset as one tensor of this name. Default: a tensor for each column, named
    /// by it.
    #[schemars(length(min = 1, max = 200))]
    pub(super) input: Option<String>,
    /// open-inference: the type of numbers. Default: INT64 for columns of whole numbers, else FP64.
    pub(super) datatype: Option<DatatypeWord>,
    /// tf-serving: the signature that is asked. Default: the server's own, serving_default.
    #[schemars(length(min = 1, max = 200))]
    pub(super) signature: Option<String>,
    /// Tokens that an answer may have (protocol openai, with a dataset). Default: the server's own limit.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_tokens: Option<u32>,
}

/// What a request body is and what an answer means.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protocol {
    /// MLflow scoring: POST /invocations.
    Mlflow,
    /// Anything over HTTP: bodies as they are; good is what `expect_status` says.
    Http,
    /// OpenAI chat completions, streamed: POST /v1/chat/completions; the dataset's column `prompt` is what is asked.
    Openai,
    /// Open Inference v2 over REST (KServe, Triton, MLServer): POST /v2/models/NAME/infer.
    OpenInference,
    /// TF Serving over REST: POST /v1/models/NAME:predict.
    TfServing,
}

/// How rows of a dataset are written.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FormWord {
    /// Names of columns, then rows (mlflow).
    DataframeSplit,
    /// An object for each row (mlflow).
    DataframeRecords,
    /// An object for each row (mlflow, tf-serving).
    Instances,
    /// A list for each column (mlflow, tf-serving).
    Inputs,
    /// Tensors in JSON (open-inference).
    Json,
    /// Tensors as bytes behind the JSON (open-inference).
    Binary,
}

/// Types of numbers in a tensor.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum DatatypeWord {
    /// 32-bit float.
    Fp32,
    /// 64-bit float.
    Fp64,
    /// 32-bit whole number.
    Int32,
    /// 64-bit whole number.
    Int64,
}

/// Places in an answer: `"header:x-model-version"`, or `"json:/predictions/0"` (a JSON pointer).
/// And what makes two answers the same.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The model version that answered.
    pub(super) version: Option<String>,
    /// The fallback level; 0 or absent for a full answer.
    pub(super) fallback: Option<String>,
    /// The prediction, compared with the label and with the answer at baseline: one value, or a list with one for each row of the
    /// body; `*` in a pointer stands for every element, as in "json:/results/*/score". With protocol http, an answer without a
    /// prediction there is a bad answer.
    pub(super) prediction: Option<String>,
    /// The age of the features behind it, in seconds.
    pub(super) age: Option<String>,
    /// The moment at which those were made, instead of `age`: Unix time, RFC 3339, or a date as HTTP headers have it.
    pub(super) timestamp: Option<String>,
    /// Two numbers that differ by at most this share are the same answer, for `agreement`. Default 0.00001, by which whole
    /// numbers (classes, keys) do not differ at all.
    #[schemars(range(min = 0, max = 1))]
    pub(super) tolerance: Option<f64>,
}

/// Where replicas live: exactly one of these.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "stands for its table in the schema; each platform is read by itself")]
struct Platform {
    /// Replicas as processes on this machine, behind a link that acts as a Kubernetes Service does.
    local: Option<Local>,
    /// Replicas as containers that are up already, behind such a link.
    docker: Option<Docker>,
    /// Replicas as pods of a cluster that is there already.
    kubernetes: Option<Kubernetes>,
}

/// Replicas as processes on this machine. Commands and `env` know `{address}`, `{host}`, `{port}`, `{replica}`,
/// `{volume}` and `{dependency.NAME}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Local {
    /// How many. Default 1.
    #[schemars(range(min = 1, max = 64))]
    pub(super) replicas: Option<u16>,
    /// Program and arguments of a replica; `resbench` as first word is this very program.
    #[schemars(length(min = 1, max = 256))]
    pub(super) command: Vec<String>,
    /// Added to a replica's environment.
    pub(super) env: Option<BTreeMap<String, String>>,
    /// The folder that IO faults act on, relative to the scenario file. The original is never opened for writing.
    pub(super) volume: Option<String>,
    /// Replicas may write to the volume: each gets a copy of its own, made before the run and gone after it, 4 GiB for all of them
    /// at most. A replica that is started anew finds what it wrote. Default false: writes fail with EROFS.
    pub(super) writable: Option<bool>,
    /// When a replica counts as ready.
    pub(super) ready: Option<Ready>,
    /// First restart delay, at least 10ms; doubled per crash up to 5m. Default 1s.
    pub(super) restart_delay: Option<Duration>,
    /// What replicas call, each behind a link of its own.
    #[schemars(length(max = 16))]
    pub(super) dependency: Option<Vec<Dependency>>,
}

/// Replicas as containers that are up already; a run starts none. They are found by `compose` and `service`, or by `label`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Docker {
    /// The compose file of the project, relative to the scenario file. The project is its `name:`, else its folder's name.
    pub(super) compose: Option<String>,
    /// A label of the replicas instead, as `"key=value"`.
    pub(super) label: Option<String>,
    /// The compose service whose containers are the replicas.
    pub(super) service: Option<String>,
    /// The port that replicas listen on, inside their containers.
    #[schemars(range(min = 1))]
    pub(super) port: u16,
    /// The Docker engine, as in DOCKER_HOST. Default: DOCKER_HOST, else the socket of this machine.
    pub(super) host: Option<String>,
    /// When a replica counts as ready. Default: when its own health check passes; when it runs, where it has none.
    pub(super) ready: Option<Ready>,
    /// From a replica being killed to being started again, at least 10ms. Default 1s.
    pub(super) restart_delay: Option<Duration>,
    /// What replicas call, for `network-partition`.
    #[schemars(length(max = 16))]
    pub(super) dependency: Option<Vec<DockerDependency>>,
}

/// Containers that replicas call: `service` of the compose project, or `label`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerDependency {
    /// Its name, as in a fault's `target`.
    pub(super) name: Name,
    /// The compose service.
    pub(super) service: Option<String>,
    /// A label instead, as `"key=value"`.
    pub(super) label: Option<String>,
}

/// When a process counts as ready.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ready {
    /// Polled by GET; any 2xx is ready. Default `/ping` for mlflow replicas, `/health` for openai
    /// replicas, `/v2/health/ready` for open-inference, `/v1/models/NAME` for tf-serving, `/` for http replicas and dependencies.
    pub(super) path: Option<String>,
    /// Ready is who takes a TCP connection: for what does not speak HTTP, as a database. Instead of `path`.
    pub(super) connect: Option<bool>,
    /// Between two polls, at least 10ms. Default 1s.
    pub(super) every: Option<Duration>,
    /// How long a first start may take. Default 20s.
    pub(super) timeout: Option<Duration>,
}

/// Something that replicas call, behind a link of its own. Its commands know `{address}`, `{host}` and `{port}`, and
/// `{dependency.NAME}` of those before it: then it is started once these are ready.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependency {
    /// Its name, as in `{dependency.NAME}` and in a fault's `target`.
    pub(super) name: Name,
    /// Program and arguments.
    #[schemars(length(min = 1, max = 256))]
    pub(super) command: Vec<String>,
    /// Added to its environment.
    pub(super) env: Option<BTreeMap<String, String>>,
    /// Run once when it is ready; must exit 0.
    #[schemars(length(min = 1, max = 256))]
    pub(super) init: Option<Vec<String>>,
    /// When it counts as ready.
    pub(super) ready: Option<Ready>,
}

/// Replicas as pods of a cluster that is there already. Exactly one of `deployment` and `selector`; and either
/// `service` or `target.url`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kubernetes {
    /// The namespace that the pods live in.
    pub(super) namespace: String,
    /// The Deployment whose pods are the replicas.
    pub(super) deployment: Option<String>,
    /// Labels of the pods, for example "app=model-server,tier=web": all of them must hold.
    pub(super) selector: Option<String>,
    /// The kubeconfig's context. Default: its current one.
    pub(super) context: Option<String>,
    /// The Service that receives predictions, as "name:port". Only from where its ClusterIP can be reached: inside the
    /// cluster. Elsewhere write `target.url`.
    pub(super) service: Option<String>,
    /// The pods' container that serves the model. Default: the first.
    pub(super) container: Option<String>,
    /// Where that container has its volume mounted, for example "/models": what IO faults act on.
    pub(super) volume: Option<String>,
    /// What replicas call, where faults are to hit it.
    #[schemars(length(max = 16))]
    pub(super) dependency: Option<Vec<KubernetesDependency>>,
}

/// Pods that replicas call.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesDependency {
    /// Its name, as in a fault's `target`.
    pub(super) name: Name,
    /// Labels of its pods, for example "app=mlflow".
    pub(super) selector: String,
    /// Where they live. Default: the replicas' namespace.
    pub(super) namespace: Option<String>,
}

/// What is sent, and how. Exactly one of `dataset`, `bodies` and `body`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Traffic {
    /// A CSV file with a header; rows become request bodies in the target's protocol (http: one JSON object each, or `template`;
    /// openai: a chat with the column `prompt`).
    pub(super) dataset: Option<String>,
    /// A JSON Lines file; lines are sent as they are.
    pub(super) bodies: Option<String>,
    /// One body, sent each time as it is.
    pub(super) body: Option<String>,
    /// The column of the dataset that predictions are checked against; it is not sent.
    pub(super) label: Option<String>,
    /// Rows of the dataset in each body: a number, or `{ sizes = [1, 8, 32], weights = [0.7, 0.2, 0.1] }`. Default 1.
    pub(super) batch: Option<BatchSpec>,
    /// The body as JSON with holes for columns of the dataset (protocol http): `{{column}}`, and `{{#rows}}…{{/rows}}` around what
    /// stands once for each row of a batch.
    #[schemars(length(min = 1, max = 1000000))]
    pub(super) template: Option<String>,
    /// A file with such a template instead, relative to the scenario file.
    pub(super) template_file: Option<String>,
    /// How arrivals scatter around the planned rate. Default poisson.
    pub(super) arrivals: Option<Arrivals>,
    /// Coefficient of variation of gamma arrivals: 1 is Poisson, above 1 bursty.
    #[schemars(range(min = 0.01, max = 100.0))]
    pub(super) cv: Option<f64>,
    /// From sent to done, connecting included; at most 1h. Default 5s.
    pub(super) timeout: Option<Duration>,
    /// Requests on their way at the same time; beyond it an arrival is shed, and counted. Default 2048.
    #[schemars(range(min = 1, max = 65536))]
    pub(super) max_in_flight: Option<usize>,
    /// Connections kept open and used in turn, so that load spreads; more are opened when all are busy. Default: opened as needed.
    #[schemars(range(min = 1, max = 65536))]
    pub(super) connections: Option<usize>,
    /// A connection older than this is closed after its answer. Default: kept.
    pub(super) connection_max_age: Option<Duration>,
    /// A connection is closed after this many requests, so that load spreads behind a balancer; 1: a new connection for
    /// each. Default: kept.
    #[schemars(range(min = 1, max = 1000000000))]
    pub(super) connection_max_requests: Option<u64>,
    /// Requests on one HTTP/2 connection at the same time, at most; the target may allow fewer. Default 100.
    #[schemars(range(min = 1, max = 65536))]
    pub(super) streams: Option<usize>,
    /// Which addresses of the target's name are used. Default: IPv4 where there is one, else IPv6.
    pub(super) address_family: Option<AddressFamily>,
    /// Addresses of this machine that connections come from, in turn. Default: whichever the system picks.
    #[schemars(length(min = 1, max = 256))]
    pub(super) source_addresses: Option<Vec<String>>,
    /// Between two look-ups of the target's name while load runs; a failed connection asks at once. Default 5s.
    pub(super) dns_refresh: Option<Duration>,
    /// Largest answer that is read, in bytes or as "64KiB", "1MiB"; at most 64MiB. Default 1MiB.
    pub(super) max_answer: Option<Bytes>,
}

/// Rows in a body.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum BatchSpec {
    /// The same in each.
    Rows(#[schemars(range(min = 1, max = 10_000))] u32),
    /// Drawn from the seed.
    Sizes(BatchSizes),
}

/// Sizes of batches, and how often each comes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchSizes {
    /// Rows in a body.
    #[schemars(length(min = 1, max = 32), inner(range(min = 1, max = 10_000)))]
    pub(super) sizes: Vec<u32>,
    /// How often each size comes, beside the others. Default: equally often.
    #[schemars(length(min = 1, max = 32), inner(range(min = 0)))]
    pub(super) weights: Option<Vec<f64>>,
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AddressFamily {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

/// How arrivals scatter around the planned rate.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Arrivals {
    /// Evenly spaced.
    Uniform,
    /// Exponential gaps: independent users.
    Poisson,
    /// Gamma gaps with the coefficient of variation `cv`.
    Gamma,
}

/// A number of bytes.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Bytes {
    /// As a number.
    Number(#[schemars(range(min = 1))] u64),
    /// With a unit, for example "1MiB".
    Text(String),
}

/// One stretch of load: `rate`, or `concurrency` for a closed loop.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Phase {
    /// Its name.
    pub(super) name: Name,
    /// How long.
    pub(super) duration: Duration,
    /// Requests per second that are planned, whatever the answers do.
    pub(super) rate: Option<Rate>,
    /// Closed loop: users that each send when their last answer came. For comparison with older tools.
    #[schemars(range(min = 1, max = 65536))]
    pub(super) concurrency: Option<usize>,
    /// Ceiling of a closed loop in requests per second.
    #[schemars(range(max = 10_000_000), extend("exclusiveMinimum" = 0))]
    pub(super) max_rate: Option<f64>,
    /// false for warm-up: in no denominator. Default true.
    pub(super) measure: Option<bool>,
}

/// Requests per second.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Rate {
    /// The same throughout.
    Constant(#[schemars(range(max = 10_000_000), extend("exclusiveMinimum" = 0))] f64),
    /// Changing over the phase.
    Shape(RateShape),
}

/// A changing rate: `{ from, to }` (exact ramp), `{ from, to, steps }`, `{ mean, amplitude, period, start }` (wave), or
/// `{ trace, scale }` (replay of recorded arrivals).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RateShape {
    /// Rate at the start of a ramp, or of its first step.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub(super) from: Option<f64>,
    /// Rate at the end of a ramp, or of its last step.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub(super) to: Option<f64>,
    /// Equal-length levels instead of a ramp.
    #[schemars(range(min = 2, max = 10_000))]
    pub(super) steps: Option<u32>,
    /// Mean rate of a wave.
    #[schemars(range(max = 10_000_000), extend("exclusiveMinimum" = 0))]
    pub(super) mean: Option<f64>,
    /// Swing of a wave in requests per second, at most `mean`.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub(super) amplitude: Option<f64>,
    /// Length of one wave.
    pub(super) period: Option<Duration>,
    /// Where in the wave the phase begins. Default 0s: at the mean, rising.
    pub(super) start: Option<Duration>,
    /// A CSV file; its first column holds arrival times in seconds from the phase's start, ascending.
    pub(super) trace: Option<String>,
    /// How many times faster the trace is played: 2 halves every time, and so doubles the rate. Default 1.
    #[schemars(range(max = 10_000), extend("exclusiveMinimum" = 0))]
    pub(super) scale: Option<f64>,
}

/// What is broken, and when.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = by_fault_kind)]
pub(super) struct Fault {
    /// Its name; `during:NAME` and `after:NAME` are spans.
    pub(super) name: Name,
    /// What it does.
    pub(super) kind: FaultWord,
    /// When: a phase's name, a phase and an offset ("fault+2s"), or an offset from the start ("27s").
    pub(super) at: String,
    /// Again and again: from one start to the next; needs `times`. The faults are called NAME-1, NAME-2, …
    pub(super) every: Option<Duration>,
    /// How often, with `every`.
    #[schemars(range(min = 2, max = 100))]
    pub(super) times: Option<u32>,
    /// Who does it, where there are several. Default: the platform itself where it can, else Chaos Mesh.
    pub(super) via: Option<ViaWord>,
    /// via toxiproxy: URL of the server's API, for example "http://127.0.0.1:8474".
    pub(super) toxiproxy: Option<String>,
    /// via toxiproxy: name of the proxy that the toxics are put on.
    #[schemars(length(min = 1, max = 128))]
    pub(super) proxy: Option<String>,
    /// via toxiproxy: share of the connections that are hit, drawn once for each. Default 1.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub(super) toxicity: Option<f64>,
    /// toxiproxy: the toxic, as Toxiproxy itself has it.
    pub(super) toxic: Option<Toxic>,
    /// How long it lasts, counted from the moment at which it is in force.
    #[serde(rename = "for")]
    pub(super) lasts: Option<Duration>,
    /// It lasts until the load ends.
    pub(super) until: Option<Until>,
    /// How many replicas are hit, drawn from the seed when it fires. Default one; all for IO faults and rolling-restart.
    pub(super) mode: Option<ModeWord>,
    /// The number of fixed, or the percentage of fixed-percent.
    #[schemars(range(min = 1, max = 100))]
    pub(super) value: Option<u16>,
    /// This very replica, counted from 0, instead of `mode`.
    pub(super) replica: Option<u16>,
    /// The dependency whose link is hit, instead of replicas.
    pub(super) target: Option<String>,
    /// May hit a replica that is under another fault. Default false.
    pub(super) overlap: Option<bool>,
    /// pod-kill, rolling-restart: SIGTERM first, and this long before SIGKILL. Default: SIGKILL at once (for a pod: its
    /// own grace), 30s for rolling-restart. A Deployment's rollout takes the pods' own.
    pub(super) grace: Option<Duration>,
    /// pod-kill on Kubernetes: by which call. Default delete.
    pub(super) method: Option<KillWord>,
    /// rolling-restart: from one replacement being ready to the next one's turn. Default 0s.
    pub(super) pause: Option<Duration>,
    /// network-delay: added to every chunk of bytes.
    pub(super) latency: Option<Duration>,
    /// network-delay: uniform scatter around `latency`, at most `latency`. Default 0s.
    pub(super) jitter: Option<Duration>,
    /// network-bandwidth: bytes per second that pass each way, as a number or as "64KiB", "1MiB".
    pub(super) rate: Option<Bytes>,
    /// network-delay, network-bandwidth, network-partition: which way bytes are hit. Default both.
    pub(super) direction: Option<DirectionWord>,
    /// io-latency: added to each file call.
    pub(super) delay: Option<Duration>,
    /// io-error: the error by name ("EIO") or number.
    pub(super) errno: Option<Errno>,
    /// io-latency, io-error, disk-full, file-corrupt: files inside the volume, with `*` and `?`. Default: all of them.
    pub(super) path: Option<String>,
    /// io-latency, io-error: file calls that are hit. Default open and read. `write` takes `writable`.
    #[schemars(length(min = 1, max = 6))]
    pub(super) methods: Option<Vec<MethodWord>>,
    /// network-loss: percentage of packets that are lost, each way. io-latency, io-error: percentage of the calls that
    /// are hit; default 100.
    #[schemars(range(max = 100), extend("exclusiveMinimum" = 0))]
    pub(super) percent: Option<f64>,
    /// cpu-stress: processes that use up CPU time beside each replica. Default 1.
    #[schemars(range(min = 1, max = 64))]
    pub(super) workers: Option<u16>,
    /// cpu-stress: percentage of one CPU that each of them uses. Default 100.
    #[schemars(range(max = 100), extend("exclusiveMinimum" = 0))]
    pub(super) load: Option<f64>,
    /// memory-stress: how much is held beside each replica, as a number of bytes or as "256MiB".
    pub(super) size: Option<Bytes>,
    /// file-corrupt: how many bytes of each file are flipped, at places drawn from the seed. Default 1.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) bytes: Option<u32>,
    /// command: program and arguments that break something. http: the request that does.
    pub(super) run: Option<Run>,
    /// command: program and arguments that put it back; http: the request that does; "none" where nothing needs to be.
    pub(super) undo: Option<Undo>,
    /// command, http: limit on `run` and on `undo`. registry-alias: limit on each request. Default 30s.
    pub(super) timeout: Option<Duration>,
    /// What makes it proven where nothing else can: a probe that changes, or "trust". Needed by command and http; without
    /// it chaos-mesh, and network and IO faults by Chaos Mesh, are proven only by pods that stop being ready, and those by
    /// Toxiproxy by looks of our own through the proxy.
    pub(super) proof: Option<Proof>,
    /// By Chaos Mesh: the container that is hit, where the kind hits one. A pod-kill ends that container alone.
    pub(super) container: Option<String>,
    /// Network kinds by Chaos Mesh: only what passes between the replicas and this dependency. registry-alias: the version
    /// that the alias points at, or "missing" for an alias that is not there.
    pub(super) to: Option<To>,
    /// registry-alias: the registry up to `/api/2.0/mlflow`, for example "http://127.0.0.1:5000" or
    /// "http://{dependency.registry}" (that process itself, behind its link).
    pub(super) url: Option<String>,
    /// registry-alias: the registered model.
    #[schemars(length(min = 1, max = 256))]
    pub(super) model: Option<String>,
    /// registry-alias: the alias.
    #[schemars(length(min = 1, max = 256))]
    pub(super) alias: Option<String>,
    /// registry-alias: the alias may be absent before; it is made then, and deleted afterwards. Default false.
    pub(super) create: Option<bool>,
    /// registry-alias: further headers, for example { Authorization = "Bearer ${TOKEN}" }.
    pub(super) headers: Option<BTreeMap<String, String>>,
    /// registry-alias: a PEM file of extra certificate authorities.
    pub(super) ca: Option<String>,
    /// chaos-mesh: the tool's own `spec`, key by key. Without a `duration` it gets that of `for`.
    pub(super) spec: Option<Free>,
    /// chaos-mesh: a manifest in YAML or JSON instead of `spec`, relative to the scenario file.
    pub(super) file: Option<String>,
    /// chaos-mesh: the kind of object, where `spec` does not tell it.
    pub(super) chaos: Option<ChaosWord>,
    /// payload kinds: the features that are altered. Default: every numeric one that differs from row to row for payload-drift; every
    /// numeric one for payload-corrupt with text or huge, else all; every number with a fraction for payload-cache-bust.
    #[schemars(length(min = 1, max = 1000))]
    pub(super) features: Option<Vec<String>>,
    /// payload-drift: by how many standard deviations of the feature over the dataset; may be negative. Whole numbers stay whole.
    pub(super) shift: Option<f64>,
    /// payload kinds: share of the requests due in its time that are altered, each drawn by itself from the seed. Default 1.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub(super) share: Option<f64>,
    /// payload-corrupt: what the values become. Default text.
    #[serde(rename = "as")]
    pub(super) garbage: Option<GarbageWord>,
    /// payload-oversize: rows in one body.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub(super) batch: Option<u32>,
    /// payload-cache-bust: bodies that are made beforehand, at most. Default 100000; as many as requests are planned, where that is less.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) distinct: Option<u32>,
    /// payload kinds: the good end of an altered request. Default: rejected for payload-malformed, payload-drop, and payload-corrupt
    /// with text or null; either for payload-oversize; answered for the others.
    pub(super) expect: Option<ExpectWord>,
    /// payload kinds: share of the altered requests that must end like that. Default 1.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub(super) expect_share: Option<f64>,
    /// payload kinds: altered requests count in the metrics of phases and spans, too. Default true for payload-drift, else false.
    pub(super) include: Option<bool>,
}

/// What a corrupted value becomes.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum GarbageWord {
    /// Words where numbers belong: another type.
    Text,
    /// null.
    Null,
    /// Numbers far beyond anything that the feature has ever been.
    Huge,
    /// Values of the right type, drawn from far around the feature's own.
    Noise,
}

/// The good end of an altered request.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ExpectWord {
    /// A 4xx. A 5xx, a hang, a reset or a 200 is none.
    Rejected,
    /// A good answer, by the protocol.
    Answered,
    /// One of the two.
    Either,
}

/// Where something goes: a name, or the number of a version.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum To {
    /// The number of a version.
    Version(#[schemars(range(min = 1))] u64),
    /// A name.
    Name(String),
}

impl To {
    /// The name, where it is one.
    pub(super) fn name(&self) -> Option<&str> {
        if let To::Name(name) = self { Some(name) } else { None }
    }
}

/// A table whose keys are somebody else's.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Free(pub(super) serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Free {
    fn schema_name() -> Cow<'static, str> {
        "Free".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": true })
    }
}

/// A kind of object of Chaos Mesh that selects pods.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[expect(clippy::enum_variant_names, reason = "each is the tool's own word, which serde and the schema take from here")]
pub(super) enum ChaosWord {
    /// Pods or containers end, or are kept down.
    PodChaos,
    /// Delay, loss, partition, bandwidth.
    NetworkChaos,
    /// Slow or failing files.
    IOChaos,
    /// Busy CPUs, full memory.
    StressChaos,
    /// Altered or refused HTTP.
    HTTPChaos,
    /// Wrong or missing names.
    DNSChaos,
    /// Wrong clocks.
    TimeChaos,
    /// Failing system calls.
    KernelChaos,
    /// Exceptions and delays inside a JVM.
    JVMChaos,
    /// Slow block devices.
    BlockChaos,
}

impl ChaosWord {
    /// What it stands for.
    pub(super) fn chaos(self) -> Chaos {
        match self {
            ChaosWord::PodChaos => Chaos::Pod,
            ChaosWord::NetworkChaos => Chaos::Network,
            ChaosWord::IOChaos => Chaos::Io,
            ChaosWord::StressChaos => Chaos::Stress,
            ChaosWord::HTTPChaos => Chaos::Http,
            ChaosWord::DNSChaos => Chaos::Dns,
            ChaosWord::TimeChaos => Chaos::Time,
            ChaosWord::KernelChaos => Chaos::Kernel,
            ChaosWord::JVMChaos => Chaos::Jvm,
            ChaosWord::BlockChaos => Chaos::Block,
        }
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FaultWord {
    /// SIGKILL to a replica; its supervisor restarts it.
    PodKill,
    /// One replica after another is ended and replaced.
    RollingRestart,
    /// A replica is down for the time.
    PodFailure,
    /// A replica is frozen (SIGSTOP) for the time.
    PodPause,
    /// The link in front of a replica or dependency holds bytes back.
    NetworkDelay,
    /// The link passes only so many bytes per second.
    NetworkBandwidth,
    /// The link swallows bytes: a black hole, never a refusal.
    NetworkPartition,
    /// The link resets connections.
    NetworkReset,
    /// The kernel drops packets to and from a replica or dependency (nftables; needs root).
    NetworkLoss,
    /// Processes use up time of the replica's CPUs.
    CpuStress,
    /// A process holds memory beside the replica.
    MemoryStress,
    /// File calls on the volume answer late.
    IoLatency,
    /// File calls on the volume fail.
    IoError,
    /// The volume has no room: opening for writing and creating fail with ENOSPC.
    DiskFull,
    /// Files of the volume are read with flipped bytes; the original is never touched.
    FileCorrupt,
    /// A command of yours, with its undo.
    Command,
    /// A request of yours, with its undo.
    Http,
    /// Any toxic of Toxiproxy.
    Toxiproxy,
    /// An experiment of Chaos Mesh, in its own words.
    ChaosMesh,
    /// Numeric features of requests are shifted by standard deviations.
    PayloadDrift,
    /// Features are missing from the body.
    PayloadDrop,
    /// Values of features are garbage, or of another type.
    PayloadCorrupt,
    /// The body is no JSON: cut short, or with a byte that does not belong there.
    PayloadMalformed,
    /// Many rows in one body: an out-of-memory try.
    PayloadOversize,
    /// Values that were never sent before, so that no cache of predictions helps.
    PayloadCacheBust,
    /// An alias of a model registry (MLflow's REST) points at another version, or at none.
    RegistryAlias,
}

/// Who does a fault.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ViaWord {
    /// The local platform itself.
    Local,
    /// Docker itself.
    Docker,
    /// Kubernetes itself.
    Kubernetes,
    /// Chaos Mesh.
    ChaosMesh,
    /// A Toxiproxy server.
    Toxiproxy,
}

/// By which call a pod is killed.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KillWord {
    /// Delete it, by its UID.
    Delete,
    /// Evict it: a PodDisruptionBudget may refuse, and is asked again for 10 s.
    Evict,
    /// Delete it without grace: the object is gone at once.
    Force,
}

impl FaultWord {
    /// Every kind, in the order of the schema.
    pub(super) const ALL: [FaultWord; 26] = [
        FaultWord::PodKill,
        FaultWord::RollingRestart,
        FaultWord::PodFailure,
        FaultWord::PodPause,
        FaultWord::NetworkDelay,
        FaultWord::NetworkBandwidth,
        FaultWord::NetworkPartition,
        FaultWord::NetworkReset,
        FaultWord::NetworkLoss,
        FaultWord::CpuStress,
        FaultWord::MemoryStress,
        FaultWord::IoLatency,
        FaultWord::IoError,
        FaultWord::DiskFull,
        FaultWord::FileCorrupt,
        FaultWord::Command,
        FaultWord::Http,
        FaultWord::Toxiproxy,
        FaultWord::ChaosMesh,
        FaultWord::PayloadDrift,
        FaultWord::PayloadDrop,
        FaultWord::PayloadCorrupt,
        FaultWord::PayloadMalformed,
        FaultWord::PayloadOversize,
        FaultWord::PayloadCacheBust,
        FaultWord::RegistryAlias,
    ];

    /// The word as written.
    pub(super) fn word(self) -> &'static str {
        match self {
            FaultWord::PodKill => "pod-kill",
            FaultWord::RollingRestart => "rolling-restart",
            FaultWord::PodFailure => "pod-failure",
            FaultWord::PodPause => "pod-pause",
            FaultWord::NetworkDelay => "network-delay",
            FaultWord::NetworkBandwidth => "network-bandwidth",
            FaultWord::NetworkPartition => "network-partition",
            FaultWord::NetworkReset => "network-reset",
            FaultWord::NetworkLoss => "network-loss",
            FaultWord::CpuStress => "cpu-stress",
            FaultWord::MemoryStress => "memory-stress",
            FaultWord::IoLatency => "io-latency",
            FaultWord::IoError => "io-error",
            FaultWord::DiskFull => "disk-full",
            FaultWord::FileCorrupt => "file-corrupt",
            FaultWord::Command => "command",
            FaultWord::Http => "http",
            FaultWord::Toxiproxy => "toxiproxy",
            FaultWord::ChaosMesh => "chaos-mesh",
            FaultWord::PayloadDrift => "payload-drift",
            FaultWord::PayloadDrop => "payload-drop",
            FaultWord::PayloadCorrupt => "payload-corrupt",
            FaultWord::PayloadMalformed => "payload-malformed",
            FaultWord::PayloadOversize => "payload-oversize",
            FaultWord::PayloadCacheBust => "payload-cache-bust",
            FaultWord::RegistryAlias => "registry-alias",
        }
    }

    /// Acts on the volume of replicas.
    pub(super) fn is_io(self) -> bool {
        use FaultWord::{DiskFull, FileCorrupt, IoError, IoLatency};
        matches!(self, IoLatency | IoError | DiskFull | FileCorrupt)
    }

    /// The load itself does it, by what it sends.
    pub(super) fn is_payload(self) -> bool {
        use FaultWord::{
            PayloadCacheBust, PayloadCorrupt, PayloadDrift, PayloadDrop, PayloadMalformed, PayloadOversize,
        };
        matches!(
            self,
            PayloadDrift | PayloadDrop | PayloadCorrupt | PayloadMalformed | PayloadOversize | PayloadCacheBust
        )
    }

    /// Acts on connections.
    pub(super) fn is_network(self) -> bool {
        use FaultWord::{NetworkBandwidth, NetworkDelay, NetworkPartition, NetworkReset};
        matches!(self, NetworkDelay | NetworkBandwidth | NetworkPartition | NetworkReset)
    }

    /// Keys that this kind must have, beside those of every fault.
    fn needs(self) -> &'static [&'static str] {
        match self {
            FaultWord::NetworkDelay => &["latency"],
            FaultWord::NetworkBandwidth => &["rate"],
            FaultWord::NetworkLoss => &["percent"],
            FaultWord::MemoryStress => &["size"],
            FaultWord::IoLatency => &["delay"],
            FaultWord::IoError => &["errno"],
            FaultWord::Command | FaultWord::Http => &["run", "undo", "proof"],
            FaultWord::Toxiproxy => &["toxiproxy", "proxy", "toxic"],
            FaultWord::PayloadDrift => &["shift"],
            FaultWord::PayloadDrop => &["features"],
            FaultWord::PayloadOversize => &["batch"],
            FaultWord::RegistryAlias => &["url", "model", "alias", "to"],
            _ => &[],
        }
    }

    /// Keys that this kind may have.
    fn may(self) -> &'static [&'static str] {
        match self {
            FaultWord::PodKill => &["mode", "value", "replica", "overlap", "grace", "method"],
            FaultWord::RollingRestart => &["mode", "value", "replica", "overlap", "grace", "pause"],
            FaultWord::PodFailure | FaultWord::PodPause => &["for", "until", "mode", "value", "replica", "overlap"],
            FaultWord::NetworkDelay => {
                &["for", "until", "mode", "value", "replica", "target", "overlap", "jitter", "direction"]
            }
            FaultWord::NetworkPartition | FaultWord::NetworkBandwidth => {
                &["for", "until", "mode", "value", "replica", "target", "overlap", "direction"]
            }
            FaultWord::NetworkReset | FaultWord::NetworkLoss => {
                &["for", "until", "mode", "value", "replica", "target", "overlap"]
            }
            FaultWord::CpuStress => &["for", "until", "mode", "value", "replica", "overlap", "workers", "load"],
            FaultWord::MemoryStress => &["for", "until", "mode", "value", "replica", "overlap"],
            FaultWord::IoLatency | FaultWord::IoError => {
                &["for", "until", "mode", "value", "replica", "overlap", "path", "methods", "percent"]
            }
            FaultWord::DiskFull => &["for", "until", "mode", "value", "replica", "overlap", "path"],
            FaultWord::FileCorrupt => &["for", "until", "mode", "value", "replica", "overlap", "path", "bytes"],
            FaultWord::Command | FaultWord::Http => &["for", "until", "timeout"],
            FaultWord::Toxiproxy => &["for", "until", "toxicity", "proof"],
            FaultWord::ChaosMesh => &["for", "until", "spec", "file", "chaos", "proof"],
            FaultWord::PayloadDrop | FaultWord::PayloadMalformed | FaultWord::PayloadOversize => {
                &["for", "until", "share", "expect", "expect_share", "include"]
            }
            FaultWord::PayloadDrift => &["for", "until", "share", "expect", "expect_share", "include", "features"],
            FaultWord::PayloadCorrupt => {
                &["for", "until", "share", "expect", "expect_share", "include", "features", "as"]
            }
            FaultWord::PayloadCacheBust => {
                &["for", "until", "share", "expect", "expect_share", "include", "features", "distinct"]
            }
            FaultWord::RegistryAlias => &["for", "until", "create", "headers", "ca", "timeout"],
        }
    }
}

impl FaultWord {
    /// Keys that this kind may have beside the others where Chaos Mesh does it.
    fn by_chaos_mesh(self) -> &'static [&'static str] {
        match self {
            FaultWord::PodKill => &["container"],
            FaultWord::NetworkDelay
            | FaultWord::NetworkPartition
            | FaultWord::NetworkBandwidth
            | FaultWord::NetworkLoss => &["to", "proof"],
            FaultWord::IoLatency | FaultWord::IoError | FaultWord::CpuStress | FaultWord::MemoryStress => {
                &["container", "proof"]
            }
            _ => &[],
        }
    }
}

/// Keys of a network fault that a Toxiproxy server does.
pub(super) const TOXIPROXY_KEYS: [&str; 4] = ["toxiproxy", "proxy", "toxicity", "proof"];

/// Says in the schema which keys go with which kind of fault.
fn by_fault_kind(schema: &mut Schema) {
    let common = ["name", "kind", "at", "every", "times", "via"];
    let clauses = FaultWord::ALL.map(|kind| {
        let via_toxiproxy = if kind.is_network() { &TOXIPROXY_KEYS[..] } else { &[] };
        clause(kind.word(), &common, kind.needs(), &[kind.may(), kind.by_chaos_mesh(), via_toxiproxy].concat())
    });
    schema.insert("allOf".to_owned(), clauses.to_vec().into());
}

/// `if kind is WORD then these keys`.
fn clause(word: &str, common: &[&str], needs: &[&str], may: &[&str]) -> serde_json::Value {
    let mut keys: Vec<&str> = Vec::new();
    for key in [common, needs, may].concat() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    serde_json::json!({
        "if": { "properties": { "kind": { "const": word } }, "required": ["kind"] },
        "then": { "required": needs, "propertyNames": { "enum": keys } },
    })
}

/// How long a fault lasts, where it is no duration.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Until {
    /// Until the load ends.
    End,
}

/// How many replicas, as in Chaos Mesh.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ModeWord {
    /// One of the ready ones.
    One,
    /// Every one.
    All,
    /// `value` of them.
    Fixed,
    /// `value` percent of them, rounded down, at least one.
    FixedPercent,
}

/// Which way bytes are hit.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DirectionWord {
    /// Requests: bytes to the target.
    To,
    /// Answers: bytes from the target.
    From,
    /// Requests and answers.
    Both,
}

/// A file call. `write` is writing, creating files and making folders; it takes `writable` in `[platform.local]`.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MethodWord {
    Open,
    Read,
    Getattr,
    Readdir,
    Lookup,
    Write,
}

/// An error that a file call answers with.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Errno {
    /// By number.
    Number(#[schemars(range(min = 1, max = 133))] i32),
    /// By name, for example "EIO".
    Name(String),
}

/// What a command or http fault does.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Run {
    /// Program and arguments.
    Command(#[schemars(length(min = 1, max = 256))] Vec<String>),
    /// A request.
    Request(Request),
}

/// A request that breaks something, or puts it back.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// Request method.
    pub(super) method: String,
    /// The whole URL. `{dependency.NAME}` in it is the address of that process itself, behind its link.
    pub(super) url: String,
    /// Further request headers; `${VAR}` in their values stays out of journals and reports.
    pub(super) headers: Option<BTreeMap<String, String>>,
    /// A PEM file of extra certificate authorities.
    pub(super) ca: Option<String>,
    /// Sent as JSON. Default: nothing.
    pub(super) body: Option<String>,
    /// Good statuses. Default: any 2xx; 404 too for an undo.
    #[schemars(length(min = 1, max = 64))]
    pub(super) expect_status: Option<Vec<u16>>,
}

/// How a command or http fault is put back.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Undo {
    /// Nothing needs to be put back.
    Nothing(NoneWord),
    /// Program and arguments.
    Command(#[schemars(length(min = 1, max = 256))] Vec<String>),
    /// A request.
    Request(Request),
}

/// The word "none".
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NoneWord {
    /// Nothing.
    None,
}

/// One toxic of Toxiproxy.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Toxic {
    /// What it does.
    #[serde(rename = "type")]
    pub(super) effect: ToxicWord,
    /// Which way. Default downstream.
    pub(super) stream: Option<StreamWord>,
    /// Its attributes, in Toxiproxy's units. Default: none, each of them 0 then.
    pub(super) attributes: Option<BTreeMap<String, u64>>,
}

/// What a toxic does.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToxicWord {
    /// Bytes come late: `latency` ± `jitter`, in ms.
    Latency,
    /// So many bytes pass in a second: `rate`, in KB/s.
    Bandwidth,
    /// Connections close late: `delay`, in ms.
    SlowClose,
    /// Nothing passes; the connection is closed after `timeout` ms, or never when that is 0.
    Timeout,
    /// Connections are reset `timeout` ms after the first byte.
    ResetPeer,
    /// Bytes come in pieces of `average_size` ± `size_variation` bytes, `delay` microseconds apart.
    Slicer,
    /// Connections are closed after `bytes` bytes.
    LimitData,
}

/// Which way bytes are hit by a toxic.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StreamWord {
    /// From the client to the upstream: requests.
    Upstream,
    /// From the upstream to the client: answers.
    Downstream,
}

/// What makes a command fault proven.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Proof {
    /// The author vouches for it.
    Trust(TrustWord),
    /// A probe changes its answer.
    Probe(ProofProbe),
}

/// The word "trust".
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TrustWord {
    /// The author vouches for it.
    Trust,
}

/// A probe whose answer changes while a fault is on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofProbe {
    /// Name of the probe.
    pub(super) probe: String,
    /// What it turns to.
    pub(super) becomes: Becomes,
}

/// What a probe turns to.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Becomes {
    /// It fails while the fault is on.
    Failing,
    /// It holds while the fault is on.
    Passing,
}

/// A question about the steady state. One that fails before any fault stops the run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = by_probe_kind)]
pub(super) struct Probe {
    /// Its name.
    pub(super) name: Name,
    /// What is asked.
    pub(super) kind: ProbeWord,
    /// Limit on one asking, at most 5m (kubernetes: 10s). Default 1s; kubernetes and command 2s.
    pub(super) timeout: Option<Duration>,
    /// When it is asked. Default `["before"]`; an alert is looked at before and during, and judged at the end.
    #[schemars(length(min = 1, max = 3))]
    pub(super) when: Option<Vec<When>>,
    /// Between two askings during the load, at least 100ms. Default 1s.
    pub(super) every: Option<Duration>,
    /// http: path on the target's address.
    pub(super) path: Option<String>,
    /// http: a whole URL instead of `path`. prometheus, alert: the address of the server, with its prefix if it has one.
    pub(super) url: Option<String>,
    /// Request headers for `url`; `${VAR}` in their values stays out of reports.
    pub(super) headers: Option<BTreeMap<String, String>>,
    /// A PEM file of extra certificate authorities for `url`.
    pub(super) ca: Option<String>,
    /// http: request method. Default GET.
    pub(super) method: Option<String>,
    /// http: good statuses. Default `[200]`.
    #[schemars(length(min = 1, max = 50), inner(range(min = 100, max = 599)))]
    pub(super) expect_status: Option<Vec<u16>>,
    /// http: the body must contain this text.
    pub(super) body_contains: Option<String>,
    /// prometheus: what is asked, in PromQL.
    #[schemars(length(min = 1, max = 6000))]
    pub(super) query: Option<String>,
    /// prometheus: ask over the stretch of this length that ends now, instead of for the value of now.
    pub(super) window: Option<Duration>,
    /// prometheus, with `window`: between two values. Default a fifteenth of it, at least 1s.
    pub(super) step: Option<Duration>,
    /// prometheus, with `window`: how the values of one series become one. Default last.
    pub(super) reduce: Option<ReduceWord>,
    /// prometheus: how several series become one answer; without it, several series fail.
    pub(super) across: Option<AcrossWord>,
    /// prometheus: the value must be below this.
    pub(super) expect_below: Option<f64>,
    /// prometheus: the value must be above this.
    pub(super) expect_above: Option<f64>,
    /// prometheus: what a query without any data means.
    pub(super) no_data: Option<NoDataWord>,
    /// alert: the name of the alert that must fire after a fault.
    #[schemars(length(min = 1, max = 200))]
    pub(super) expect_fired: Option<String>,
    /// alert: labels that it must carry.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// alert: who is asked. Default prometheus.
    pub(super) via: Option<AlertVia>,
    /// alert: the fault that it must follow. Default: every fault.
    pub(super) fault: Option<Name>,
    /// alert: at most this long after the fault was applied.
    pub(super) within: Option<Duration>,
    /// kubernetes: the Deployment whose ready replicas count.
    pub(super) deployment: Option<String>,
    /// kubernetes: labels of the pods that count, instead of `deployment`, for example `app=registry`.
    pub(super) selector: Option<String>,
    /// kubernetes: default that of the platform.
    pub(super) namespace: Option<String>,
    /// kubernetes: the kubeconfig's context; default that of the platform, else the current one.
    pub(super) context: Option<String>,
    /// kubernetes: at least so many must be ready.
    #[schemars(range(min = 1, max = 100_000))]
    pub(super) expect_ready: Option<u32>,
    /// command: program and arguments, run in the scenario's folder.
    #[schemars(length(min = 1, max = 100))]
    pub(super) command: Option<Vec<String>>,
    /// command: good exit codes. Default `[0]`.
    #[schemars(length(min = 1, max = 50), inner(range(min = 0, max = 255)))]
    pub(super) expect_exit: Option<Vec<i32>>,
    /// command: what it prints, stdout and stderr, must contain this text (the last 64 KiB are looked at).
    pub(super) output_contains: Option<String>,
}

/// What a probe asks.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProbeWord {
    /// An HTTP request.
    Http,
    /// A prediction of the target, sent and checked as traffic is.
    Prediction,
    /// A query of Prometheus, or of whatever speaks its API.
    Prometheus,
    /// An alert that has to fire after a fault.
    Alert,
    /// Ready replicas in a cluster.
    Kubernetes,
    /// A command and how it ends.
    Command,
}

/// How values over time become one.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ReduceWord {
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
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AcrossWord {
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Their sum.
    Sum,
    /// Each has to keep the bounds.
    Each,
}

/// What no data means.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NoDataWord {
    /// The probe fails.
    Fail,
    /// The probe holds.
    Pass,
}

/// Who knows of alerts.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AlertVia {
    /// Prometheus, `/api/v1/alerts`: tells pending from firing.
    Prometheus,
    /// Alertmanager, `/api/v2/alerts`: tells silenced and inhibited from firing.
    Alertmanager,
}

/// Says in the schema which keys go with which kind of probe.
fn by_probe_kind(schema: &mut Schema) {
    let common = ["name", "kind", "timeout", "when", "every"];
    let http = ["path", "url", "method", "expect_status", "body_contains", "headers", "ca"];
    let prometheus = ["headers", "ca", "window", "step", "reduce", "across", "expect_below", "expect_above"];
    let alert = ["headers", "ca", "labels", "via", "fault", "within"];
    let kubernetes = ["deployment", "selector", "namespace", "context"];
    let clauses = vec![
        clause("http", &common, &[], &http),
        clause("prediction", &common, &[], &[]),
        clause("prometheus", &common, &["url", "query", "no_data"], &prometheus),
        clause("alert", &["name", "kind", "timeout", "every"], &["url", "expect_fired"], &alert),
        clause("kubernetes", &common, &["expect_ready"], &kubernetes),
        clause("command", &common, &["command"], &["expect_exit", "output_contains"]),
    ];
    schema.insert("allOf".to_owned(), clauses.into());
}

/// When a probe is asked.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum When {
    /// At the start, and again just before the first fault.
    Before,
    /// While load runs.
    During,
    /// Once load and faults have ended.
    After,
}

/// A page of metrics in the Prometheus text format, read while load runs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scrape {
    /// Its name.
    pub(super) name: Name,
    /// Path on every replica of a local platform, elsewhere on the target's address. Default /metrics.
    pub(super) path: Option<String>,
    /// A whole URL instead of `path`.
    pub(super) url: Option<String>,
    /// Request headers for `url`; `${VAR}` in their values stays out of reports.
    pub(super) headers: Option<BTreeMap<String, String>>,
    /// A PEM file of extra certificate authorities for `url`.
    pub(super) ca: Option<String>,
    /// Which series are kept: names of metrics, or whole series with their labels; `*` and `?` stand for others. At most 50 of a page.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 500)))]
    pub(super) series: Vec<String>,
    /// Between two readings, at least 200ms. Default 1s.
    pub(super) every: Option<Duration>,
    /// Limit on one reading. Default `every`, at most 1s.
    pub(super) timeout: Option<Duration>,
}

/// One promise: `metric` with `max` or `min`, or `probe`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Objective {
    /// What is judged.
    pub(super) metric: Option<MetricName>,
    /// A probe that must hold whenever it is asked, instead of a metric.
    pub(super) probe: Option<String>,
    /// The value must be at most this: a duration for times, a number for everything else.
    pub(super) max: Option<Bound>,
    /// The value must be at least this.
    pub(super) min: Option<Bound>,
    /// Phases, `during:FAULT` or `after:FAULT`. Default: each measured phase, one by one.
    #[schemars(length(min = 1, max = 1000))]
    pub(super) spans: Option<Vec<String>>,
    /// The fault that recovery_time, detection_time, longest_outage and lost_requests speak of. The name of a fault that repeats
    /// means each of its times, NAME.median the middle of them.
    pub(super) fault: Option<String>,
    /// Good means answered well within this. Needed by good_ratio; recovery_time takes the tightest latency bound
    /// without it.
    pub(super) within: Option<Duration>,
}

/// A bound of an objective.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Bound {
    /// A share, a rate or a count.
    Number(f64),
    /// A duration, for example "100ms".
    Text(String),
}

/// The error budget: what a promise leaves to be spent. Faults are priced in it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Budget {
    /// The time that the promise is kept over. Default 30d.
    pub(super) window: Option<Duration>,
    /// The share of requests that is to be good, for example 0.999. Default: the tightest bound of the objectives on error_rate,
    /// availability and good_ratio, each by itself.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub(super) target: Option<f64>,
    /// With `target`: good means answered well within this. Default: answered well at all.
    pub(super) within: Option<Duration>,
}

/// Limits on the blast radius.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Safety {
    /// Replicas under a fault at the same time. Default: all but one (and one where there is only one).
    #[schemars(range(min = 1, max = 64))]
    pub(super) max_targets: Option<usize>,
    /// Percentage of the replicas under a fault at the same time. Default: no such limit.
    #[schemars(range(min = 1, max = 100))]
    pub(super) max_percent: Option<u8>,
    /// Replicas that are ready and under no fault, at least. Default: no such limit.
    #[schemars(range(max = 10000))]
    pub(super) min_ready: Option<usize>,
    /// Kubernetes: nothing outside these namespaces is touched. Default: those that the platform names.
    #[schemars(length(min = 1, max = 64))]
    pub(super) namespaces: Option<Vec<String>>,
    /// When to stop and put everything back. Default: below 0.1 for 30s.
    pub(super) abort_when: Option<AbortWhen>,
}

/// When to stop.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AbortWhen {
    /// The share of good answers stays below this.
    #[schemars(range(min = 0, max = 1))]
    pub(super) good_ratio_below: f64,
    /// For this long.
    #[serde(rename = "for")]
    pub(super) lasting: Duration,
}

/// One of the two sides of a comparison.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    /// Its name.
    pub(super) name: Name,
    /// What differs: paths as `--set` takes them, and their values. Default: nothing, the scenario as it stands.
    #[serde(default)]
    pub(super) set: BTreeMap<String, serde_json::Value>,
}

/// What a comparison decides by.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gate {
    /// One to three metrics that decide; everything else is advice.
    #[schemars(length(min = 1, max = 3))]
    pub(super) metrics: Vec<GateMetric>,
    /// Pairs of runs before the first look. Default 7.
    #[schemars(range(min = 5, max = 50))]
    pub(super) pairs: Option<usize>,
    /// Pairs of runs before the second and last look. Default 15, or `pairs` where that is more.
    #[schemars(range(min = 5, max = 50))]
    pub(super) max_pairs: Option<usize>,
}

/// A metric that decides.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GateMetric {
    /// A metric and where it is taken: `latency.p99@baseline`, `error_rate@during:kill-one`, `recovery_time@kill-one`.
    pub(super) metric: String,
    /// The smallest change that matters: a percentage ("5%"), or an absolute change: a number for shares, a duration
    /// for times.
    pub(super) min_effect: Bound,
}

/// What is searched for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Capacity {
    /// The first rate tried, requests per second; doubled until an objective breaks.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(super) from: f64,
    /// How near the answer comes, as a percentage. Default "5%".
    pub(super) precision: Option<String>,
    /// Length of one trial, at least 4s. Default 20s.
    pub(super) trial: Option<Duration>,
    /// Length of the run that confirms the answer. Default 60s.
    pub(super) confirm: Option<Duration>,
    /// Measure what is carried while this fault is held.
    pub(super) lose: Option<Lose>,
    /// Planning: the rate to carry, requests per second.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(super) peak: Option<f64>,
    /// Planning: how much `peak` grows, as a percentage. Default "0%".
    pub(super) growth: Option<String>,
    /// Planning: replicas whose loss is survived. Default 1.
    #[schemars(range(max = 64))]
    pub(super) survive: Option<u16>,
    /// Planning: how full a replica may be, as a share. Default 0.7.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub(super) utilisation: Option<f64>,
}

/// The fault under which capacity is measured.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lose {
    /// Its name.
    pub(super) fault: String,
}

/// The JSON Schema of the language (draft 2020-12), without the `null` of optional keys: TOML has none.
pub(super) fn schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Scenario>()
        .to_value();
    without_null(&mut schema);
    schema
}

/// Takes `null` out of types, and unwraps a choice that it leaves with one side.
fn without_null(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::Array(types)) = map.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(serde_json::Value::Array(sides)) = map.get_mut("anyOf") {
                sides.retain(|s| s["type"] != "null");
                if let [serde_json::Value::Object(only)] = sides.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    map.extend(only);
                }
            }
            map.values_mut().for_each(without_null);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
