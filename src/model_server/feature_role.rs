//! Role `feature-store`: serves the stored features of a model over HTTP, each with its age.
//!
//! Owns a pipeline that computes the features anew at a fixed interval, which an admin path can stop: then it goes on to
//! answer as quickly as ever, with features that grow old. That is what a delayed pipeline looks like from outside.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::ServerError;
use super::model::Model;
use super::model_registry::Told;
use super::store::FeatureStore;
use crate::clock;

/// The features of one model, and their pipeline.
pub(super) struct FeatureServer {
    store: Mutex<FeatureStore>,
    every: u64,
    pipeline: Mutex<Pipeline>,
    answered: AtomicU64,
    unknown: AtomicU64,
    failed: AtomicU64,
}

/// When features were computed; in monotonic nanoseconds.
#[derive(Clone, Copy)]
struct Pipeline {
    /// It ran at this time, and at every interval since.
    started: u64,
    /// It has not run since this time.
    stopped: Option<u64>,
}

impl FeatureServer {
    /// Of the model in this folder, with a pipeline that runs so often.
    ///
    /// # Errors
    /// When there is no such model, or it has no stored features.
    pub(super) fn new(dir: &Path, every: Duration) -> Result<FeatureServer, ServerError> {
        let model = Model::load(dir)?;
        let problem = || ServerError::Model { path: dir.join("model.json"), problem: "it has no `store`".to_owned() };
        let store = Mutex::new(FeatureStore::new(model.store.ok_or_else(problem)?));
        let zero = || AtomicU64::new(0);
        let pipeline = Mutex::new(Pipeline { started: clock::monotonic_nanos(), stopped: None });
        let every = (every.as_nanos() as u64).max(1);
        Ok(FeatureServer { store, every, pipeline, answered: zero(), unknown: zero(), failed: zero() })
    }

    /// The answer to a request.
    pub(super) fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Told {
        let wrong = |message: &str| problem(StatusCode::BAD_REQUEST, message);
        match (method, path) {
            (&Method::GET, "/health" | "/ping" | "/") => told(StatusCode::OK, &json!({ "status": "ok" })),
            (&Method::GET, "/metrics") => {
                Told { status: StatusCode::OK, body: self.render().into_bytes(), json: false }
            }
            (&Method::GET, "/admin/pipeline") => self.state(),
            (&Method::DELETE, "/admin/pipeline") => self.run(true),
            (&Method::PUT | &Method::POST, "/admin/pipeline") => {
                match serde_json::from_slice::<Value>(body).ok().and_then(|v| v["stopped"].as_bool()) {
                    Some(stopped) => self.run(!stopped),
                    None => wrong("write {\"stopped\": true} or {\"stopped\": false}"),
                }
            }
            (&Method::GET, path) => match path.strip_prefix("/features/").map(str::parse::<u64>) {
                Some(Ok(key)) => self.features(key),
                Some(Err(_)) => wrong("a key is a whole number"),
                None => problem(StatusCode::NOT_FOUND, "paths here: /features/KEY, /health, /metrics, /admin/pipeline"),
            },
            _ => problem(StatusCode::METHOD_NOT_ALLOWED, "use GET here"),
        }
    }

    fn features(&self, key: u64) -> Told {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match store.fetch(key) {
            Ok(Some(values)) => {
                self.answered.fetch_add(1, Relaxed);
                let age = self.age(clock::monotonic_nanos()).as_secs_f64();
                told(StatusCode::OK, &json!({ "key": key, "values": values, "age_s": (age * 1e3).round() / 1e3 }))
            }
            Ok(None) => {
                self.unknown.fetch_add(1, Relaxed);
                problem(StatusCode::NOT_FOUND, &format!("no features of {key}"))
            }
            Err(why) => {
                self.failed.fetch_add(1, Relaxed);
                problem(StatusCode::INTERNAL_SERVER_ERROR, &why)
            }
        }
    }

    /// How long ago the pipeline ran last.
    fn age(&self, now: u64) -> Duration {
        let pipeline = *self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        let until = pipeline.stopped.unwrap_or(now);
        let last = pipeline.started + until.saturating_sub(pipeline.started) / self.every * self.every;
        Duration::from_nanos(now.saturating_sub(last))
    }

    fn run(&self, runs: bool) -> Told {
        let now = clock::monotonic_nanos();
        let mut pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        *pipeline = match (runs, pipeline.stopped) {
            // One that goes on again has all to do at once.
            (true, Some(_)) => Pipeline { started: now, stopped: None },
            (false, None) => Pipeline { stopped: Some(now), ..*pipeline },
            _ => *pipeline,
        };
        drop(pipeline);
        self.state()
    }

    fn state(&self) -> Told {
        let stopped = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner).stopped.is_some();
        told(StatusCode::OK, &json!({ "stopped": stopped, "age_s": self.age(clock::monotonic_nanos()).as_secs_f64() }))
    }

    fn render(&self) -> String {
        let age = self.age(clock::monotonic_nanos()).as_secs_f64();
        let counts = [(200, &self.answered), (404, &self.unknown), (500, &self.failed)];
        let lines =
            counts.map(|(code, n)| format!("feature_store_requests_total{{code=\"{code}\"}} {}\n", n.load(Relaxed)));
        format!(
            "# HELP feature_store_requests_total Lookups by status code.\n# TYPE feature_store_requests_total counter\n{}\
             # HELP feature_store_age_seconds Time since the features were computed.\n\
             # TYPE feature_store_age_seconds gauge\nfeature_store_age_seconds {age}\n",
            lines.concat()
        )
    }
}

fn told(status: StatusCode, value: &Value) -> Told {
    Told { status, body: value.to_string().into_bytes(), json: true }
}

fn problem(status: StatusCode, message: &str) -> Told {
    told(status, &json!({ "message": message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(every: Duration) -> FeatureServer {
        FeatureServer::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/models/fraud-v1"), every).unwrap()
    }

    fn get(server: &FeatureServer, path: &str) -> (u16, Value) {
        let told = server.answer(&Method::GET, path, b"");
        (told.status.as_u16(), serde_json::from_slice(&told.body).unwrap_or(Value::Null))
    }

    #[test]
    fn serves_what_is_stored() {
        let server = server(Duration::from_secs(1));
        let (status, told) = get(&server, "/features/10000");
        assert_eq!((status, &told["values"]), (200, &json!([10000.0, 724.0, 23.88, 0.0])));
        assert!(told["age_s"].as_f64().unwrap() < 1.0);
        assert_eq!(get(&server, "/features/1").0, 404);
        assert_eq!(get(&server, "/features/x").0, 400);
        assert_eq!(get(&server, "/else").0, 404);
        assert_eq!(server.answer(&Method::POST, "/features/1", b"").status, 405);
        let text = String::from_utf8(server.answer(&Method::GET, "/metrics", b"").body).unwrap();
        assert!(text.contains("feature_store_requests_total{code=\"200\"} 1\n"), "{text}");
    }

    #[test]
    fn a_pipeline_that_is_stopped_lets_features_grow_old() {
        let server = server(Duration::from_nanos(100));
        let start = server.pipeline.lock().unwrap().started;
        assert_eq!(server.age(start + 250), Duration::from_nanos(50));
        server.pipeline.lock().unwrap().stopped = Some(start + 250);
        assert_eq!(server.age(start + 1250), Duration::from_nanos(1050));
        assert_eq!(get(&server, "/admin/pipeline").1["stopped"], true);
        assert_eq!(server.answer(&Method::DELETE, "/admin/pipeline", b"").status, 200);
        assert_eq!(get(&server, "/admin/pipeline").1["stopped"], false);
        let stop = |body: &[u8]| server.answer(&Method::PUT, "/admin/pipeline", body).status.as_u16();
        assert_eq!((stop(b"{\"stopped\": true}"), stop(b"{}")), (200, 400));
        assert_eq!(get(&server, "/admin/pipeline").1["stopped"], true);
    }
}
