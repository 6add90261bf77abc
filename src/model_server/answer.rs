//! The MLflow scoring protocol, outwards: a body in, an answer out.
//!
//! Owns: the order of the work (parse, join the stored features, score) and the JSON of answers and errors.
//! Blocking, because the stored features are read from the volume; the pool calls it on its own threads.

use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Serialize;

use super::metrics::Metrics;
use super::model::Model;
use super::request::{Batch, Format};
use super::store::FeatureStore;

/// A status and its JSON body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

#[derive(Serialize)]
struct Predictions<'a> {
    predictions: &'a [u8],
    model_version: &'a str,
    /// 1 when an account was unknown and the mean account stood in for it.
    fallback: u8,
}

#[derive(Serialize)]
struct Problem<'a> {
    error_code: &'a str,
    message: &'a str,
}

impl Answer {
    /// An error as MLflow words it.
    pub(super) fn error(status: StatusCode, message: &str) -> Answer {
        let error_code = match status {
            StatusCode::NOT_FOUND => "ENDPOINT_NOT_FOUND",
            StatusCode::SERVICE_UNAVAILABLE => "TEMPORARILY_UNAVAILABLE",
            status if status.is_server_error() => "INTERNAL_ERROR",
            _ => "BAD_REQUEST",
        };
        json(status, &Problem { error_code, message })
    }

    /// Predicts each row of the body. `store` is there exactly when the model has one.
    pub(super) fn predict(
        model: &Model,
        mut store: Option<&mut FeatureStore>,
        metrics: &Metrics,
        format: Format,
        body: &[u8],
    ) -> Answer {
        let batch = match Batch::parse(format, body, &model.inputs) {
            Ok(batch) => batch,
            Err(problem) => return Answer::error(StatusCode::BAD_REQUEST, &problem),
        };
        let mut predictions = Vec::with_capacity(batch.rows);
        let mut fallback = false;
        for inputs in batch.iter() {
            let stored = match &mut store {
                None => None,
                Some(store) => {
                    let Some(key) = whole(inputs[0]) else {
                        let message = format!("column `{}` must be a whole number, got {}", model.inputs[0], inputs[0]);
                        return Answer::error(StatusCode::BAD_REQUEST, &message);
                    };
                    match store.fetch(key) {
                        Ok(stored) => {
                            fallback |= stored.is_none();
                            stored
                        }
                        Err(problem) => {
                            metrics.feature_read_failed();
                            return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &problem);
                        }
                    }
                }
            };
            predictions.push(u8::from(model.predict(inputs, stored)));
        }
        metrics.predicted(&predictions);
        let answer =
            Predictions { predictions: &predictions, model_version: &model.version, fallback: u8::from(fallback) };
        json(StatusCode::OK, &answer)
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // Numbers and strings into memory: there is nothing that could fail.
    Answer { status, body: Bytes::from(serde_json::to_vec(value).unwrap_or_default()) }
}

/// The key, where the number is one.
fn whole(x: f64) -> Option<u64> {
    (x >= 0.0 && x <= u64::MAX as f64 && x.fract() == 0.0).then_some(x as u64)
}
