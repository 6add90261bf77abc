//! `[target]`: what receives predictions.

use super::{Context, platform, url};
use crate::plan::{AgePlace, AnswerPaths, Chat, Datatype, Encoding, Form, Place, Protocol, ROUNDING, Target};
use crate::scenario::tree::Path;
use crate::scenario::{data, file, words};

/// The service as traffic sees it.
pub(super) fn compile(cx: &mut Context) -> Option<Target> {
    let at = Path::root().key("target");
    let has_platform = cx.root.get("platform").is_some();
    let gives_address = platform::gives_address(cx);
    let t: file::Target = cx.section(&at)?;
    let protocol = match t.protocol {
        file::Protocol::Mlflow => Protocol::Mlflow,
        file::Protocol::Http => Protocol::Http,
        file::Protocol::Openai => Protocol::Openai,
        file::Protocol::OpenInference => Protocol::OpenInference,
        file::Protocol::TfServing => Protocol::TfServing,
    };
    match (&t.url, gives_address) {
        (Some(_), true) if platform::place(cx) == Some(Path::root().key("platform").key("kubernetes")) => {
            let help = "keep one: `service` is only reached from inside the cluster, `url` from anywhere";
            cx.clash(&at, "url", "`url` and the platform's `service` exclude each other", help);
        }
        (Some(_), true) => {
            let help = "remove `url`: the platform gives the address; or remove [platform]";
            cx.clash(&at, "url", "`url` and [platform] exclude each other", help);
        }
        (None, false) if has_platform => {
            let help =
                "add url = \"http://…\"; or, from inside the cluster, service = \"name:port\" to [platform.kubernetes]";
            cx.clash(&at, "", "there is nothing to send to: neither `url` nor `service`", help);
        }
        (None, false) => {
            let help = "add url = \"http://…\" for a service that is there already, or [platform.local] to start one";
            cx.clash(&at, "", "there is nothing to send to", help);
        }
        _ => {}
    }
    let url = t.url.as_deref().and_then(|u| cx.good(&at.key("url"), url::parse(u)));
    only_for_some(cx, &at, &t, protocol);
    let path = match (&t.path, protocol) {
        (Some(path), _) => {
            cx.good(&at.key("path"), url::check_path(path));
            path.clone()
        }
        (None, Protocol::Mlflow) => "/invocations".to_owned(),
        (None, Protocol::Http) => "/".to_owned(),
        (None, Protocol::Openai) => "/v1/chat/completions".to_owned(),
        (None, Protocol::OpenInference | Protocol::TfServing) => model_path(cx, &at, &t, protocol),
    };
    if t.path.is_some() && t.url.is_some() {
        cx.clash(&at, "path", "`path` and `url` exclude each other", "write the whole path into `url`");
    }
    let encoding = encoding(cx, &at, &t, protocol);
    let method = t.method.unwrap_or_else(|| "POST".to_owned());
    cx.good(&at.key("method"), check_method(&method));
    let answer = answer(cx, &at.key("answer"), t.answer);
    if protocol == Protocol::Openai {
        only_headers(cx, &at.key("answer"), &answer);
    }
    if t.max_tokens.is_some() && t.model.is_none() {
        let help = "add model = \"…\"; both go into the chats that are made of a dataset";
        cx.clash(&at, "max_tokens", "`max_tokens` needs `model`", help);
    }
    Some(Target {
        protocol,
        headers: headers(cx, &at, t.headers.unwrap_or_default()),
        ca: t.ca.as_deref().and_then(|ca| certificates(cx, &at, ca, url.as_ref().is_some_and(|u| u.tls))),
        url,
        path,
        http2: t.http2.unwrap_or(false),
        method,
        expect_status: t.expect_status.unwrap_or_else(|| vec![200]),
        answer,
        chat: t.model.filter(|_| protocol == Protocol::Openai).map(|model| Chat { model, max_tokens: t.max_tokens }),
        encoding,
    })
}

/// Keys that a protocol settles by itself, or has no use for.
fn only_for_some(cx: &mut Context, at: &Path, t: &file::Target, protocol: Protocol) {
    let (http, openai) = (protocol == Protocol::Http, protocol == Protocol::Openai);
    let (names, tensors) = (protocol.names_models(), protocol == Protocol::OpenInference);
    let keys = [
        ("path", t.path.is_some(), http || openai, "http"),
        ("method", t.method.is_some(), http, "http"),
        ("expect_status", t.expect_status.is_some(), http, "http"),
        ("model", t.model.is_some(), openai || names, "openai"),
        ("model_version", t.model_version.is_some(), names, "open-inference"),
        ("input", t.input.is_some(), names, "open-inference"),
        ("datatype", t.datatype.is_some(), tensors, "open-inference"),
        ("signature", t.signature.is_some(), protocol == Protocol::TfServing, "tf-serving"),
        ("max_tokens", t.max_tokens.is_some(), openai, "openai"),
    ];
    for (key, _, _, whose) in keys.into_iter().filter(|(_, is_set, allowed, _)| *is_set && !allowed) {
        let message = match whose {
            "http" => format!("`{key}` is settled by the protocol {}", protocol.word()),
            _ => format!("`{key}` goes with the protocol {whose} only"),
        };
        cx.wrong(&at.key(key), message, format!("remove it, or write protocol = \"{whose}\""));
    }
}

/// The path that names the model, for protocols whose paths do.
fn model_path(cx: &mut Context, at: &Path, t: &file::Target, protocol: Protocol) -> String {
    for (key, text) in [("model", &t.model), ("model_version", &t.model_version)] {
        let plain = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if !text.as_ref().is_none_or(plain) {
            let help = "write letters, digits, `-`, `_` and `.`; or the whole address into `url`";
            cx.wrong(&at.key(key), "it stands in a path, where it has no room for such characters", help);
        }
    }
    if let (Some(_), key) = (&t.url, if t.model.is_some() { "model" } else { "model_version" }) {
        if t.model.is_some() || t.model_version.is_some() {
            cx.clash(at, key, format!("`{key}` and `url` exclude each other"), "write the whole path into `url`");
        }
        return "/".to_owned();
    }
    let Some(model) = &t.model else {
        let help = "add model = \"…\" to [target]: the name that the server knows the model by";
        cx.clash(at, "", format!("the address of {} names a model, and none is named", protocol.word()), help);
        return "/".to_owned();
    };
    let version = t.model_version.as_ref().map_or(String::new(), |v| format!("/versions/{v}"));
    match protocol {
        Protocol::TfServing => format!("/v1/models/{model}{version}:predict"),
        _ => format!("/v2/models/{model}{version}/infer"),
    }
}

/// How rows are written.
fn encoding(cx: &mut Context, at: &Path, t: &file::Target, protocol: Protocol) -> Encoding {
    let form = t.form.map(|form| match form {
        file::FormWord::DataframeSplit => Form::Split,
        file::FormWord::DataframeRecords => Form::Records,
        file::FormWord::Instances => Form::Instances,
        file::FormWord::Inputs => Form::Inputs,
        file::FormWord::Json => Form::Json,
        file::FormWord::Binary => Form::Binary,
    });
    let forms: &[Form] = match protocol {
        Protocol::Mlflow => &[Form::Split, Form::Records, Form::Instances, Form::Inputs],
        Protocol::TfServing => &[Form::Instances, Form::Inputs],
        Protocol::OpenInference => &[Form::Json, Form::Binary],
        Protocol::Http | Protocol::Openai => &[],
    };
    if let Some(form) = form.filter(|f| !forms.contains(f)) {
        let (word, names) = (protocol.word(), forms.iter().map(|f| f.word()).collect::<Vec<_>>());
        let help =
            if names.is_empty() { "remove it".to_owned() } else { format!("there are: {}", words::listed(&names)) };
        cx.wrong(&at.key("form"), format!("the protocol {word} has no form `{}`", form.word()), help);
    }
    let datatype = t.datatype.map(|datatype| match datatype {
        file::DatatypeWord::Fp32 => Datatype::Fp32,
        file::DatatypeWord::Fp64 => Datatype::Fp64,
        file::DatatypeWord::Int32 => Datatype::Int32,
        file::DatatypeWord::Int64 => Datatype::Int64,
    });
    Encoding {
        form: form.or(forms.first().copied()).unwrap_or_default(),
        input: t.input.clone(),
        datatype,
        signature: t.signature.clone(),
    }
}

/// A stream of events is no JSON document, and has no prediction that a label could be held against.
fn only_headers(cx: &mut Context, at: &Path, answer: &AnswerPaths) {
    let age = answer.age.as_ref().map(|age| match age {
        AgePlace::Age(place) | AgePlace::Timestamp(place) => place.clone(),
    });
    let of_age = if matches!(answer.age, Some(AgePlace::Age(_))) { "age" } else { "timestamp" };
    for (key, place) in [("version", &answer.version), ("fallback", &answer.fallback), (of_age, &age)] {
        if matches!(place, Some(Place::Json(_))) {
            let help = "write \"header:…\" for what a header of the answer says, or remove it";
            cx.wrong(&at.key(key), "a stream of tokens is not one JSON document to look into", help);
        }
    }
    if answer.prediction.is_some() {
        let message = "the protocol openai has no prediction to hold against a label";
        cx.wrong(&at.key("prediction"), message, "remove it; errors, ttft and itl are what is judged of streams");
    }
}

/// A method as it goes into a request line.
pub(super) fn check_method(method: &str) -> Result<(), (String, String)> {
    let good = (1..=20).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase());
    let wrong = || (format!("`{method}` is not a request method"), "write GET, POST or PUT in capitals".to_owned());
    good.then_some(()).ok_or_else(wrong)
}

/// Headers in the table `at`, checked.
pub(super) fn headers(
    cx: &mut Context,
    at: &Path,
    map: std::collections::BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let at = at.key("headers");
    for (name, value) in &map {
        let at = at.key(name);
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            cx.wrong(&at, "the header's name has characters that no header may have", "write letters, digits and `-`");
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            cx.wrong(&at, "the header's value has control characters or line ends", "remove them");
        }
        let ours = ["content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];
        if ours.contains(&name.to_ascii_lowercase().as_str()) {
            cx.wrong(&at, "this header is written by resbench itself", "remove it");
        }
    }
    let names: Vec<String> = map.keys().map(|n| n.to_ascii_lowercase()).collect();
    if let Some((name, _)) =
        map.iter().zip(&names).enumerate().find_map(|(i, (h, n))| names[..i].contains(n).then_some(h))
    {
        cx.wrong(&at.key(name), "this header stands twice", "keep one of them; case does not matter");
    }
    map.into_iter().collect()
}

/// The file of `ca` in the table `at`, looked into.
pub(super) fn certificates(cx: &mut Context, at: &Path, ca: &str, tls: bool) -> Option<std::path::PathBuf> {
    let path = cx.dir.join(ca);
    let text = cx.good(&at.key("ca"), data::read(&path, ca))?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        cx.wrong(&at.key("ca"), format!("`{ca}` holds no certificate"), "name a PEM file with BEGIN CERTIFICATE in it");
    }
    if !tls {
        cx.warn(format!("{} does nothing: it is not spoken over https there", at.key("ca")));
    }
    Some(path)
}

fn answer(cx: &mut Context, at: &Path, answer: Option<file::Answer>) -> AnswerPaths {
    let tolerance = answer.as_ref().and_then(|a| a.tolerance).unwrap_or(ROUNDING);
    let Some(answer) = answer else { return AnswerPaths { tolerance, ..AnswerPaths::default() } };
    if answer.age.is_some() && answer.timestamp.is_some() {
        cx.clash(at, "timestamp", "`age` and `timestamp` exclude each other", "keep the one that answers carry");
    }
    let mut read =
        |key: &str, text: Option<String>| cx.good(&at.key(key), text.map(|t| place(&t)).transpose()).flatten();
    let age = read("age", answer.age).map(AgePlace::Age);
    AnswerPaths {
        version: read("version", answer.version),
        fallback: read("fallback", answer.fallback),
        prediction: read("prediction", answer.prediction),
        age: age.or(read("timestamp", answer.timestamp).map(AgePlace::Timestamp)),
        tolerance,
    }
}

/// `header:NAME` or `json:/POINTER`.
fn place(text: &str) -> Result<Place, (String, String)> {
    let help = "write \"header:x-model-version\" or \"json:/predictions/0\"";
    match text.split_once(':') {
        Some(("header", name)) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(Place::Header(name.to_ascii_lowercase()))
        }
        Some(("json", pointer)) if pointer.is_empty() || pointer.starts_with('/') => {
            Ok(Place::Json(pointer.to_owned()))
        }
        Some(("header" | "json", _)) => Err((format!("`{text}` names no place in an answer"), help.to_owned())),
        other => {
            let word = other.map_or(text, |(word, _)| word);
            let near =
                words::nearest(word, ["header", "json"]).map(|n| format!("did you mean `{n}:`? ")).unwrap_or_default();
            Err((format!("`{text}` names no place in an answer"), format!("{near}{help}")))
        }
    }
}
