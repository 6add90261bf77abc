//! Open Inference v2 (KServe, Triton, MLServer) over the same model: a peer for what resbench sends in that protocol.
//!
//! A request is translated into one of MLflow's forms, goes the same way through the queue as any other, and its answer is translated
//! back; so whatever the server does with predictions, it does with these. Tensors stand in JSON, or as bytes behind it
//! (`Inference-Header-Content-Length`). One tensor of two dimensions holds rows; several tensors are columns.

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::http::{JSON, Reply, reply};
use super::model::Model;

/// The header that says how long the JSON before the bytes is.
pub(super) const HEADER: &str = "inference-header-content-length";

/// What a path of the protocol asks for; none for other paths, and for models that are not this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// A prediction.
    Infer,
    /// What the model takes and gives.
    Metadata,
    /// The server, or the model, is ready.
    Ready,
    /// The server is there.
    Live,
    /// About the server.
    Server,
}

/// Reads a path: `/v2`, `/v2/health/ready`, `/v2/models/NAME[/versions/V][/infer|/ready]`. Any name is this model's, as a server of one
/// model has it.
pub(super) fn path(path: &str) -> Option<Path> {
    let parts: Vec<&str> = path.strip_prefix("/v2")?.trim_end_matches('/').split('/').skip(1).collect();
    match parts[..] {
        [] => Some(Path::Server),
        ["health", "live"] => Some(Path::Live),
        ["health", "ready"] => Some(Path::Ready),
        ["models", _] | ["models", _, "versions", _] => Some(Path::Metadata),
        ["models", _, "ready"] | ["models", _, "versions", _, "ready"] => Some(Path::Ready),
        ["models", _, "infer"] | ["models", _, "versions", _, "infer"] => Some(Path::Infer),
        _ => None,
    }
}

/// What has to be known of a request to answer it.
#[derive(Debug)]
pub(super) struct Asked {
    id: Option<String>,
    binary: bool,
}

/// A request in MLflow's words.
///
/// # Errors
/// What is wrong with it, for its sender.
pub(super) fn inward(body: &[u8], header: Option<&str>) -> Result<(Bytes, Asked), String> {
    let length =
        match header {
            None => body.len(),
            Some(text) => text.parse().ok().filter(|n| *n <= body.len()).ok_or_else(|| {
                format!("{HEADER} must be a number up to the body's {} bytes, got `{text}`", body.len())
            })?,
        };
    let (text, mut bytes) = body.split_at(length);
    let request: Value = serde_json::from_slice(text).map_err(|e| format!("the request is not JSON: {e}"))?;
    let Some(inputs) = request["inputs"].as_array().filter(|i| !i.is_empty()) else {
        return Err("`inputs` must be a list of tensors".to_owned());
    };
    let mut columns = Map::new();
    let mut rows = None;
    for input in inputs {
        let tensor = Tensor::read(input, &mut bytes)?;
        if tensor.width > 1 || inputs.len() == 1 {
            rows = Some(tensor.rows());
        }
        columns.insert(tensor.name.to_owned(), Value::Array(tensor.data));
    }
    if !bytes.is_empty() {
        return Err(format!("{} bytes behind the last tensor", bytes.len()));
    }
    let mlflow = match rows {
        Some(_) if inputs.len() > 1 => return Err("a tensor of several columns goes alone".to_owned()),
        Some(rows) => json!({ "instances": rows }),
        None => json!({ "inputs": columns }),
    };
    let asked = Asked {
        id: request["id"].as_str().map(str::to_owned),
        binary: request["parameters"]["binary_data_output"] == true
            || request["outputs"][0]["parameters"]["binary_data"] == true,
    };
    Ok((Bytes::from(mlflow.to_string()), asked))
}

struct Tensor<'a> {
    name: &'a str,
    /// Values of a row.
    width: usize,
    data: Vec<Value>,
}

impl<'a> Tensor<'a> {
    fn read(input: &'a Value, bytes: &mut &[u8]) -> Result<Tensor<'a>, String> {
        let name = input["name"].as_str().ok_or("a tensor has no `name`")?;
        let shape: Option<Vec<u64>> = input["shape"].as_array().and_then(|s| s.iter().map(Value::as_u64).collect());
        let shape = shape.filter(|s| !s.is_empty() && s[0] > 0);
        let shape = shape.ok_or_else(|| format!("tensor `{name}`: `shape` must be a list of sizes"))?;
        let count = shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size)).unwrap_or(u64::MAX);
        let datatype = input["datatype"].as_str().unwrap_or_default();
        let data = match input["parameters"]["binary_data_size"].as_u64() {
            None => flat(&input["data"]),
            Some(size) => {
                let size = usize::try_from(size).ok().filter(|size| *size <= bytes.len());
                let size = size.ok_or_else(|| format!("tensor `{name}`: fewer bytes follow than its size says"))?;
                let (mine, rest) = bytes.split_at(size);
                *bytes = rest;
                values(datatype, mine).ok_or_else(|| format!("tensor `{name}`: its bytes are no {datatype}"))?
            }
        };
        if data.len() as u64 != count {
            return Err(format!("tensor `{name}`: {} values, and its shape has {count}", data.len()));
        }
        Ok(Tensor { name, width: (count / shape[0]) as usize, data })
    }

    fn rows(&self) -> Value {
        self.data.chunks(self.width.max(1)).map(|row| Value::Array(row.to_vec())).collect()
    }
}

/// Values of a tensor, which may be nested as its shape is.
fn flat(data: &Value) -> Vec<Value> {
    match data {
        Value::Array(list) => list.iter().flat_map(flat).collect(),
        Value::Null => vec![],
        value => vec![value.clone()],
    }
}

fn values(datatype: &str, bytes: &[u8]) -> Option<Vec<Value>> {
    fn all<const N: usize, T: Into<Value>>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Option<Vec<Value>> {
        let (whole, rest) = bytes.as_chunks::<N>();
        rest.is_empty().then(|| whole.iter().map(|b| read(*b).into()).collect())
    }
    match datatype {
        "BOOL" => all(bytes, |[b]: [u8; 1]| b != 0),
        "FP32" => all(bytes, |b| f64::from(f32::from_le_bytes(b))),
        "FP64" => all(bytes, f64::from_le_bytes),
        "INT32" => all(bytes, i32::from_le_bytes),
        "INT64" => all(bytes, i64::from_le_bytes),
        "BYTES" => texts(bytes),
        _ => None,
    }
}

fn texts(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        all.push(std::str::from_utf8(text).ok()?.into());
        bytes = rest;
    }
    Some(all)
}

/// MLflow's answer in the words of this protocol.
pub(super) fn outward(answer: &Answer, asked: &Asked, model: &Model) -> Reply {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(predictions) = said["predictions"].as_array().filter(|_| answer.status == StatusCode::OK) else {
        return error(answer.status, said["message"].as_str().unwrap_or("no prediction"));
    };
    let version = said["model_version"].as_str().unwrap_or(&model.version);
    let mut output = json!({ "name": "predict", "shape": [predictions.len(), 1], "datatype": "INT64" });
    let bytes: Vec<u8> = predictions.iter().flat_map(|p| p.as_i64().unwrap_or_default().to_le_bytes()).collect();
    if asked.binary {
        output["parameters"] = json!({ "binary_data_size": bytes.len() });
    } else {
        output["data"] = said["predictions"].clone();
    }
    let mut body = json!({ "model_name": model.name, "model_version": version, "outputs": [output] });
    // Whatever else the server says of its answer, such as the fallback level.
    let more: Map<String, Value> =
        said.as_object().into_iter().flatten().filter(|(key, _)| own(key)).map(owned).collect();
    body["parameters"] = Value::Object(more);
    if let Some(id) = &asked.id {
        body["id"] = id.as_str().into();
    }
    let json = body.to_string();
    if !asked.binary {
        return reply(StatusCode::OK, JSON, json);
    }
    let length = HeaderValue::from(json.len());
    let whole = [json.into_bytes(), bytes].concat();
    let mut binary = reply(StatusCode::OK, HeaderValue::from_static("application/octet-stream"), whole);
    binary.headers_mut().insert(HEADER, length);
    binary
}

fn own(key: &str) -> bool {
    !matches!(key, "predictions" | "model_version")
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// What went wrong, as this protocol says it.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    reply(status, JSON, json!({ "error": message }).to_string())
}

/// What the model takes and gives.
pub(super) fn metadata(model: &Model) -> String {
    let inputs: Vec<Value> =
        model.inputs.iter().map(|name| json!({ "name": name, "datatype": "FP64", "shape": [-1, 1] })).collect();
    json!({
        "name": model.name, "versions": [&*model.version], "platform": "resbench",
        "inputs": inputs, "outputs": [{ "name": "predict", "datatype": "INT64", "shape": [-1, 1] }],
    })
    .to_string()
}

/// About the server.
pub(super) fn server() -> String {
    json!({ "name": "resbench", "version": env!("CARGO_PKG_VERSION"), "extensions": ["binary_tensor_data"] })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(body: &Value) -> Result<Value, String> {
        inward(body.to_string().as_bytes(), None).map(|(body, _)| serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn paths_of_the_protocol() {
        for (text, expected) in [
            ("/v2/models/m/infer", Some(Path::Infer)),
            ("/v2/models/m/versions/3/infer", Some(Path::Infer)),
            ("/v2/models/m", Some(Path::Metadata)),
            ("/v2/models/m/ready", Some(Path::Ready)),
            ("/v2/health/ready", Some(Path::Ready)),
            ("/v2/health/live", Some(Path::Live)),
            ("/v2", Some(Path::Server)),
            ("/v2/models", None),
            ("/v1/models/m", None),
        ] {
            assert_eq!(path(text), expected, "{text}");
        }
    }

    #[test]
    fn tensors_become_rows_or_columns() {
        let one = json!({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [[1, 2], [3, 4.5]]}]});
        assert_eq!(translated(&one).unwrap(), json!({"instances": [[1, 2], [3, 4.5]]}));
        let columns = json!({"inputs": [
            {"name": "a", "shape": [2, 1], "datatype": "FP64", "data": [1, 2]},
            {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]},
        ]});
        assert_eq!(translated(&columns).unwrap(), json!({"inputs": {"a": [1, 2], "b": ["x", "y"]}}));
        for (body, why) in [
            (json!({}), "`inputs` must be a list"),
            (
                json!({"inputs": [{"name": "a", "shape": [2], "datatype": "FP64", "data": [1]}]}),
                "1 values, and its shape has 2",
            ),
            (json!({"inputs": [{"shape": [1], "data": [1]}]}), "no `name`"),
            (json!({"inputs": [{"name": "a", "shape": [], "data": [1]}]}), "`shape` must be"),
        ] {
            let problem = translated(&body).unwrap_err();
            assert!(problem.contains(why), "{body}: {problem}");
        }
    }

    #[test]
    fn tensors_as_bytes() {
        let json = json!({"id": "7", "parameters": {"binary_data_output": true}, "inputs": [
            {"name": "a", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            {"name": "b", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}},
        ]});
        let json = json.to_string();
        let numbers = [1.5f32.to_le_bytes(), 2f32.to_le_bytes()].concat();
        let body = [json.as_bytes(), &numbers, b"\x01\0\0\0x\0\0\0\0"].concat();
        let (mlflow, asked) = inward(&body, Some(&json.len().to_string())).unwrap();
        let mlflow: Value = serde_json::from_slice(&mlflow).unwrap();
        assert_eq!(mlflow, json!({"inputs": {"a": [1.5, 2.0], "b": ["x", ""]}}));
        assert!(asked.binary && asked.id.as_deref() == Some("7"));
        assert!(inward(&body, Some("99999")).unwrap_err().contains("inference-header-content-length must be"));
        assert!(inward(&body[..body.len() - 1], Some(&json.len().to_string())).unwrap_err().contains("fewer bytes"));
    }
}
