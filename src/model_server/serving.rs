//! What all workers share, and how one row becomes an answer: cache, memory, stored features behind a breaker, the model,
//! and the fallback ladder when one of them fails.
//!
//! Owns the options of these parts and their order; leaves alone each of them (`cache`, `memory`, `features`, `breaker`,
//! `ladder`, `reload`), how requests are read and answers are written (`request`, `answer`) and who works when (`pool`).

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use hyper::StatusCode;

use super::Options;
use super::answer::{Answer, Notes};
use super::breaker::Breaker;
use super::cache::Cache;
use super::features::{Features, Lookup, RemoteStore};
use super::ladder::{Ladder, Rule, Step};
use super::memory::{Memory, NoMemory, OnOom};
use super::metrics::{Metrics, counter, head};
use super::model::Model;
use super::registry::RegistryUrl;
use super::reload::Reloads;
use super::request::{Batch, Format};
use super::store::FeatureStore;
use crate::clock;
use crate::units::parse_duration;

/// What the server is told of its cache, its feature store, its fallbacks and its memory.
#[derive(clap::Args, Clone, Debug)]
pub struct ServiceOptions {
    /// Rows that the prediction cache keeps; 0: no cache
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(0..=10_000_000))]
    pub cache: usize,

    /// How long a row of the cache is good for
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub cache_ttl: Duration,

    /// URL (http://host:port) of a feature store that has the stored features, instead of the model's folder
    #[arg(long, value_name = "URL")]
    pub feature_store: Option<RegistryUrl>,

    /// Limit on each try of the feature store
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = parse_duration)]
    pub feature_timeout: Duration,

    /// Tries of the feature store after the first one
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10))]
    pub feature_retries: u32,

    /// Failed lookups in a row that open the circuit breaker around stored features; 0: no breaker
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub breaker_failures: u32,

    /// How long the breaker stays open before one lookup is tried
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub breaker_open: Duration,

    /// What is answered when stored features cannot be had, tried in the order of their levels; none: status 500
    #[arg(long, value_name = "STEP,…", value_enum, value_delimiter = ',')]
    pub fallback: Vec<Step>,

    /// A rule of the fallback `rules`, as COLUMN>NUMBER or COLUMN<NUMBER; may be given again and again
    #[arg(long, value_name = "RULE")]
    pub rule: Vec<Rule>,

    /// The answer of the fallback `default`
    #[arg(long, value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub default_answer: u8,

    /// Memory that all requests may work with at the same time, as bytes or 64MiB; 0: no limit
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_bytes)]
    pub memory_limit: u64,

    /// Memory that each row of a request takes while it is worked on, as bytes or 1MiB
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_bytes)]
    pub row_memory: u64,

    /// What happens when the limit would be passed: the request is refused (413, 503), or the process ends as if by the
    /// kernel (SIGKILL)
    #[arg(long, value_enum, default_value_t = OnOom::Refuse)]
    pub on_oom: OnOom,
}

/// What all workers share.
pub(super) struct Serving {
    pub(super) metrics: Metrics,
    pub(super) reloads: Reloads,
    cache: Cache,
    breaker: Breaker,
    ladder: Ladder,
    memory: Memory,
    lookup: Option<Lookup>,
    model: RwLock<Arc<Model>>,
}

/// What one worker works with: a model, and the features that go with it.
pub(super) struct Hands {
    model: Arc<Model>,
    features: Option<Features>,
}

/// Why there is no real prediction.
enum Failed {
    /// The request is at fault.
    Request(String),
    /// Stored features could not be had.
    Features(String),
    /// They were not asked for.
    BreakerOpen,
}

/// Real predictions.
struct Predicted {
    predictions: Vec<bool>,
    /// The mean account stood in for one that nobody knows.
    unknown: bool,
    age: Option<Duration>,
}

impl Serving {
    /// As the options say, with this model to begin with.
    pub(super) fn new(options: &Options, model: Model) -> Serving {
        let service = &options.service;
        let lookup = service.feature_store.clone().map(|url| Lookup {
            url,
            timeout: service.feature_timeout,
            retries: service.feature_retries,
            retried: Arc::default(),
        });
        Serving {
            metrics: Metrics::default(),
            reloads: Reloads::default(),
            cache: Cache::new(service.cache, service.cache_ttl),
            breaker: Breaker::new(service.breaker_failures, service.breaker_open),
            ladder: Ladder::new(&service.fallback, &service.rule, service.default_answer == 1),
            memory: Memory::new(service.memory_limit, service.row_memory, service.on_oom),
            lookup,
            model: RwLock::new(Arc::new(model)),
        }
    }

    /// The model that answers now.
    pub(super) fn model(&self) -> Arc<Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From the next request on this one answers.
    pub(super) fn set_model(&self, model: Model) {
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
    }

    /// A worker's hands, with the model of now.
    pub(super) fn hands(&self) -> Hands {
        let model = self.model();
        let features = model.store.clone().map(|layout| match &self.lookup {
            Some(lookup) => Features::Remote(RemoteStore::new(lookup.clone(), layout.columns)),
            None => Features::Volume(FeatureStore::new(layout)),
        });
        Hands { model, features }
    }

    /// Predicts each row of the body. `hold` is what a real prediction costs besides; an answer from the cache costs nothing.
    pub(super) fn predict(&self, hands: &mut Hands, hold: impl FnOnce(), format: Format, body: &[u8]) -> Answer {
        if !Arc::ptr_eq(&hands.model, &*self.model.read().unwrap_or_else(PoisonError::into_inner)) {
            *hands = self.hands();
        }
        let model = hands.model.clone();
        let notes = Notes { version: Some(model.version.clone()), ..Notes::default() };
        let batch = match Batch::parse(format, body, &model.inputs) {
            Ok(batch) => batch,
            Err(problem) => return Answer::error(StatusCode::BAD_REQUEST, &problem),
        };
        if self.cache.is_on()
            && let Some(known) = self.cache.fresh(batch.iter(), &model.version, clock::monotonic_nanos())
        {
            return self.answered(&known, Notes { cache: Some(true), ..notes });
        }
        let held = match self.memory.hold(body.len(), &batch) {
            Ok(held) => held,
            Err(problem) => return self.no_memory(&problem),
        };
        hold();
        let cache = self.cache.is_on().then_some(false);
        let answer = match self.real(&model, hands.features.as_mut(), &batch) {
            Ok(real) => {
                let level = if real.unknown { 2 } else { 0 };
                if self.cache.is_on() && level == 0 {
                    self.cache.keep(batch.iter(), &real.predictions, &model.version, clock::monotonic_nanos());
                }
                self.answered(&real.predictions, Notes { level, cache, age: real.age, ..notes })
            }
            Err(Failed::Request(problem)) => Answer::error(StatusCode::BAD_REQUEST, &problem),
            Err(failed) => match self.ladder.answer(&model, &batch, &self.cache) {
                Some((level, predictions)) => self.answered(&predictions, Notes { level, cache, ..notes }),
                None => match failed {
                    Failed::Features(problem) | Failed::Request(problem) => {
                        Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &problem)
                    }
                    Failed::BreakerOpen => {
                        let text = "the circuit breaker around the stored features is open; try again later";
                        Answer::error(StatusCode::SERVICE_UNAVAILABLE, text)
                    }
                },
            },
        };
        drop(held);
        answer
    }

    fn answered(&self, predictions: &[bool], notes: Notes) -> Answer {
        self.ladder.count(notes.level);
        self.metrics.predicted(predictions);
        Answer::predictions(predictions, notes)
    }

    fn real(&self, model: &Model, mut features: Option<&mut Features>, batch: &Batch) -> Result<Predicted, Failed> {
        let mut real = Predicted { predictions: Vec::with_capacity(batch.rows), unknown: false, age: None };
        for inputs in batch.iter() {
            let Some(features) = &mut features else {
                real.predictions.push(model.predict(inputs, None));
                continue;
            };
            let key = whole(inputs[0]).ok_or_else(|| {
                Failed::Request(format!("column `{}` must be a whole number, got {}", model.inputs[0], inputs[0]))
            })?;
            let stored = self.breaker.call(|| features.fetch(key)).ok_or(Failed::BreakerOpen)?.map_err(|problem| {
                self.metrics.feature_read_failed();
                Failed::Features(problem)
            })?;
            real.unknown |= stored.values.is_none();
            real.age = real.age.max(stored.age);
            real.predictions.push(model.predict(inputs, stored.values));
        }
        Ok(real)
    }

    fn no_memory(&self, problem: &NoMemory) -> Answer {
        let limit = self.memory.counts()[0];
        match problem {
            NoMemory::TooLarge { needs } => {
                let text = format!("out of memory: this request works with {needs} bytes, and the limit is {limit}");
                Answer::error(StatusCode::PAYLOAD_TOO_LARGE, &text)
            }
            NoMemory::TooMany { needs } => {
                let text =
                    format!("out of memory: {needs} bytes more would pass the limit of {limit}; try again later");
                Answer::error(StatusCode::SERVICE_UNAVAILABLE, &text)
            }
        }
    }

    /// Everything that is counted, in Prometheus' text format 0.0.4.
    pub(super) fn render(&self, queue_depth: usize) -> String {
        let mut text = self.metrics.render(&self.model(), queue_depth);
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        head(out, "answers_total", "counter", "Predictions by fallback level; 0 is the real one.")?;
        for (level, count) in self.ladder.counts().iter().enumerate() {
            writeln!(out, "model_server_answers_total{{fallback_level=\"{level}\"}} {count}")?;
        }
        if let Some(lookup) = &self.lookup {
            let help = "Tries of the feature store after the first one.";
            out.push_str(&counter("feature_retries_total", help, lookup.retried.load(Relaxed)));
        }
        let (rows, hits, misses) = self.cache.counts();
        head(out, "cache_requests_total", "counter", "Requests that the prediction cache was asked for.")?;
        writeln!(out, "model_server_cache_requests_total{{result=\"hit\"}} {hits}")?;
        writeln!(out, "model_server_cache_requests_total{{result=\"miss\"}} {misses}")?;
        head(out, "cache_rows", "gauge", "Rows in the prediction cache.")?;
        writeln!(out, "model_server_cache_rows {rows}")?;
        head(out, "breaker_state", "gauge", "Circuit breaker around stored features: 0 closed, 1 half-open, 2 open.")?;
        writeln!(out, "model_server_breaker_state {}", self.breaker.position())?;
        head(out, "breaker_opened_total", "counter", "How often the circuit breaker opened.")?;
        writeln!(out, "model_server_breaker_opened_total {}", self.breaker.opened())?;
        head(
            out,
            "breaker_refused_total",
            "counter",
            "Lookups that were not tried because the circuit breaker was open.",
        )?;
        writeln!(out, "model_server_breaker_refused_total {}", self.breaker.refused())?;
        let [limit, used, highest, refused] = self.memory.counts();
        head(out, "working_memory_bytes", "gauge", "Memory that requests work with.")?;
        writeln!(out, "model_server_working_memory_bytes {used}")?;
        head(out, "working_memory_highest_bytes", "gauge", "The most memory that requests worked with.")?;
        writeln!(out, "model_server_working_memory_highest_bytes {highest}")?;
        head(out, "working_memory_limit_bytes", "gauge", "Limit on the memory that requests work with; 0: none.")?;
        writeln!(out, "model_server_working_memory_limit_bytes {limit}")?;
        head(out, "out_of_memory_total", "counter", "Requests that would have passed the limit.")?;
        writeln!(out, "model_server_out_of_memory_total {refused}")?;
        self.reloads.write(out)
    }
}

/// The key, where the number is one.
fn whole(x: f64) -> Option<u64> {
    (x >= 0.0 && x <= u64::MAX as f64 && x.fract() == 0.0).then_some(x as u64)
}

/// `1000`, `64KiB`, `1MiB` or `2GiB`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (digits, shift) =
        units.iter().find_map(|(unit, shift)| text.strip_suffix(unit).map(|d| (d, *shift))).unwrap_or((text, 0));
    let number = digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    number.ok_or_else(|| format!("`{text}`: write bytes as a number, or 64KiB, 1MiB, 2GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert!(parse_bytes("64MB").is_err() && parse_bytes("-1").is_err() && parse_bytes("99999999999GiB").is_err());
    }
}
