//! One question to a server of the team's own, and the JSON that it answers with.

use std::time::Duration;

use serde_json::Value;

use crate::client::blocking;
use crate::plan::{AddressFamily, Service, Target, Url};

/// How a server is asked.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// The load's target: what is not said of the server is as there.
    pub(super) target: &'a Target,
    pub(super) timeout: Duration,
    pub(super) family: Option<AddressFamily>,
}

/// Status and body of a `GET`; `path` begins with `/` and is put behind the server's own prefix.
///
/// # Errors
/// When no answer came: the URL, without its query, and why.
pub(super) fn get(server: &Service, path: &str, asking: Asking<'_>) -> Result<(u16, Vec<u8>), String> {
    let url = Url { path: format!("{}{path}", server.url.path), ..server.url.clone() };
    let target = Target {
        headers: server.headers.clone(),
        ca: server.ca.clone(),
        // What the load speaks says nothing about other servers.
        http2: false,
        ..asking.target.clone()
    };
    let take = |answer: &crate::target::Answer<'_>| (answer.status, answer.body.to_vec());
    blocking::call(&target, &url, "GET", b"", asking.timeout, asking.family, take).map_err(|(class, why)| {
        let shown = Url { path: url.path.split('?').next().unwrap_or_default().to_owned(), ..url.clone() };
        format!("{shown}: {}: {why}", class.word())
    })
}

/// The answer as JSON.
///
/// # Errors
/// Status and beginning of what it is instead.
pub(super) fn json(status: u16, body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|_| {
        let text = String::from_utf8_lossy(body);
        let beginning: String = text.trim().chars().take(120).collect();
        let beginning = if beginning.is_empty() { "an empty answer".to_owned() } else { beginning };
        format!("status {status}, and no JSON: {beginning}")
    })
}

/// A text inside a query.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A text of the answer's, bounded.
pub(super) fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_whole() {
        assert_eq!(escaped("rate(x{a=\"ü\"}[1m]) > 0.5"), "rate%28x%7Ba%3D%22%C3%BC%22%7D%5B1m%5D%29%20%3E%200.5");
    }

    #[test]
    fn what_is_no_json_is_shown() {
        assert_eq!(json(503, b"<html>busy").unwrap_err(), "status 503, and no JSON: <html>busy");
        assert_eq!(json(200, b"").unwrap_err(), "status 200, and no JSON: an empty answer");
    }
}
