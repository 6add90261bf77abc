//! The MLflow scoring protocol, outwards: predictions and errors become JSON.
//!
//! Owns the JSON, and what an answer tells of itself besides (its fallback level, its version, how old its features are).
//! Leaves alone where predictions come from (`serving.rs`).

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use serde::{Serialize, Serializer};

/// A status, its JSON body, and what is told in headers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// None for an error.
    pub(super) notes: Option<Notes>,
}

/// What an answer tells of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Of the fallback ladder; 0: the real prediction.
    pub(super) level: u8,
    /// The version that answered.
    pub(super) version: Option<Arc<str>>,
    /// Whether the prediction cache had it; none without a cache.
    pub(super) cache: Option<bool>,
    /// How old its features are, where their keeper says it.
    pub(super) age: Option<Duration>,
}

#[derive(Serialize)]
struct Predictions<'a> {
    #[serde(serialize_with = "as_numbers")]
    predictions: &'a [bool],
    model_version: &'a str,
    /// The level of the fallback ladder: 0 for the real prediction, 2 when the mean account stood in for an unknown one.
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
        Answer { status, body: json(&Problem { error_code, message }), notes: None }
    }

    /// Predictions, with what is told of them.
    pub(super) fn predictions(predictions: &[bool], notes: Notes) -> Answer {
        let model_version = notes.version.as_deref().unwrap_or_default();
        let body = json(&Predictions { predictions, model_version, fallback: notes.level });
        Answer { status: StatusCode::OK, body, notes: Some(notes) }
    }
}

fn as_numbers<S: Serializer>(predictions: &&[bool], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(predictions.iter().map(|p| u8::from(*p)))
}

fn json(value: &impl Serialize) -> Bytes {
    // Numbers and strings into memory: there is nothing that could fail.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}
