//! TF Serving's REST API over the same model: a peer for what resbench sends in that protocol.
//!
//! Rows (`instances`, answered by `predictions`) are what MLflow calls so too; columns (`inputs`) are answered by `outputs`. A named
//! tensor of several values is taken apart into the model's columns. Translated there and back, as in `open_inference.rs`.

use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::answer::Answer;
use super::http::{JSON, Reply, reply};
use super::model::Model;

/// What a path of the protocol asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// A prediction.
    Predict,
    /// The state of the model.
    Status,
}

/// Reads a path: `/v1/models/NAME[/versions/V][:predict]`. Any name is this model's.
pub(super) fn path(path: &str) -> Option<Path> {
    let (place, verb) = path.strip_prefix("/v1/models/")?.split_once(':').map_or_else(
        || (path.strip_prefix("/v1/models/").unwrap_or_default(), None),
        |(place, verb)| (place, Some(verb)),
    );
    let parts: Vec<&str> = place.split('/').collect();
    if !matches!(parts[..], [name] | [name, "versions", _] if !name.is_empty()) {
        return None;
    }
    match verb {
        None => Some(Path::Status),
        Some("predict") => Some(Path::Predict),
        Some(_) => None,
    }
}

/// A request in MLflow's words, and whether it came by columns.
///
/// # Errors
/// What is wrong with it, for its sender.
pub(super) fn inward(body: &[u8]) -> Result<(Bytes, bool), String> {
    let request: Value = serde_json::from_slice(body).map_err(|e| format!("JSON Parse error: {e}"))?;
    match (request.get("instances"), request.get("inputs")) {
        (Some(rows), None) => {
            let rows = rows.as_array().ok_or("`instances` must be a list")?;
            let rows: Vec<Value> = rows.iter().map(unnamed).collect();
            Ok((Bytes::from(json!({ "instances": rows }).to_string()), false))
        }
        (None, Some(inputs)) => {
            let one = inputs.as_object().filter(|columns| columns.len() == 1).and_then(|c| c.values().next());
            let rows = one.filter(|rows| rows.as_array().is_some_and(|rows| rows.iter().all(Value::is_array)));
            let mlflow = rows.map_or_else(|| json!({ "inputs": inputs }), |rows| json!({ "instances": rows }));
            Ok((Bytes::from(mlflow.to_string()), true))
        }
        _ => Err("exactly one of `instances` and `inputs` must be given".to_owned()),
    }
}

/// `{"tensor": [1, 2]}` as `[1, 2]`.
fn unnamed(row: &Value) -> Value {
    let only = row.as_object().filter(|named| named.len() == 1).and_then(|named| named.values().next());
    only.filter(|value| value.is_array()).unwrap_or(row).clone()
}

/// MLflow's answer in the words of this protocol.
pub(super) fn outward(answer: &Answer, by_columns: bool) -> Reply {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != StatusCode::OK {
        return error(answer.status, said["message"].as_str().unwrap_or("no prediction"));
    }
    let key = if by_columns { "outputs" } else { "predictions" };
    reply(StatusCode::OK, JSON, json!({ key: said["predictions"] }).to_string())
}

/// What went wrong, as this protocol says it.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    reply(status, JSON, json!({ "error": message }).to_string())
}

/// The state of a model that serves.
pub(super) fn status(model: &Model) -> String {
    let state = json!({ "version": &*model.version, "state": "AVAILABLE", "status": { "error_code": "OK", "error_message": "" } });
    json!({ "model_version_status": [state] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_protocol() {
        for (text, expected) in [
            ("/v1/models/m:predict", Some(Path::Predict)),
            ("/v1/models/m/versions/2:predict", Some(Path::Predict)),
            ("/v1/models/m", Some(Path::Status)),
            ("/v1/models/m/versions/2", Some(Path::Status)),
            ("/v1/models/m:classify", None),
            ("/v1/models/", None),
            ("/v1/models", None),
            ("/v2/models/m", None),
        ] {
            assert_eq!(path(text), expected, "{text}");
        }
    }

    #[test]
    fn rows_and_columns_become_those_of_mlflow() {
        for (body, mlflow, by_columns) in [
            (
                json!({"signature_name": "s", "instances": [{"a": 1, "b": 2}]}),
                json!({"instances": [{"a": 1, "b": 2}]}),
                false,
            ),
            (json!({"instances": [{"x": [1, 2]}, [3, 4]]}), json!({"instances": [[1, 2], [3, 4]]}), false),
            (json!({"inputs": {"a": [1, 2], "b": [3, 4]}}), json!({"inputs": {"a": [1, 2], "b": [3, 4]}}), true),
            (json!({"inputs": {"x": [[1, 2], [3, 4]]}}), json!({"instances": [[1, 2], [3, 4]]}), true),
            (json!({"inputs": [[1, 2]]}), json!({"inputs": [[1, 2]]}), true),
        ] {
            let (seen, columns) = inward(body.to_string().as_bytes()).unwrap();
            let seen: Value = serde_json::from_slice(&seen).unwrap();
            assert_eq!((seen, columns), (mlflow, by_columns), "{body}");
        }
        assert!(inward(b"{}").unwrap_err().contains("exactly one"));
        assert!(inward(b"x").unwrap_err().contains("JSON Parse error"));
    }
}
