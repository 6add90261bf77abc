//! `[traffic]`: what is sent, and how.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, body};
use crate::plan::{AddressFamily, Bodies, Process, Protocol, Target, Traffic};
use crate::scenario::tree::Path;
use crate::scenario::{data, file, limits, words};

/// Enough for a slow model, short enough that a dead one is noticed.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// What servers allow by default, as RFC 9113 section 6.5.2 recommends.
const DEFAULT_STREAMS: usize = 100;
const DEFAULT_DNS_REFRESH: Duration = Duration::from_secs(5);
const DEFAULT_IN_FLIGHT: usize = 2048;
const DEFAULT_ANSWER: u64 = 1 << 20;

/// What is sent; none when it is broken.
pub(super) fn compile(cx: &mut Context, target: Option<&Target>) -> Option<Traffic> {
    let at = Path::root().key("traffic");
    let t: file::Traffic = cx.section(&at)?;
    let timeout = t.timeout.map_or(DEFAULT_TIMEOUT, |d| d.0);
    cx.above_zero(&at.key("timeout"), timeout, limits::LATENCY);
    if let Some(age) = t.connection_max_age {
        cx.above_zero(&at.key("connection_max_age"), age.0, limits::TOTAL);
    }
    if let Some(every) = t.dns_refresh {
        cx.above_zero(&at.key("dns_refresh"), every.0, limits::TOTAL);
    }
    let http2 = target.is_some_and(|t| t.http2);
    if t.streams.is_some() && !http2 {
        let help = "add http2 = true to [target], or remove `streams`";
        cx.clash(&at, "streams", "HTTP/1.1 carries one request at a time on a connection", help);
    }
    let address_family = t.address_family.map(|f| match f {
        file::AddressFamily::Ipv4 => AddressFamily::Ipv4,
        file::AddressFamily::Ipv6 => AddressFamily::Ipv6,
    });
    let source_addresses = source_addresses(cx, &at.key("source_addresses"), &t, address_family);
    let process = process(cx, &at, &t);
    let max_answer = max_answer(cx, &at.key("max_answer"), t.max_answer.as_ref());
    let bodies = bodies(cx, &at, &t);
    let batch = body::batch(cx, &at, &t);
    let template = body::template(cx, &at, &t, target, bodies.as_ref());
    if let (Some(target), Some(bodies), Some(batch)) = (target, &bodies, &batch) {
        body::check(cx, &at, target, bodies, batch, template.as_ref().is_some_and(|t| t.each.is_none()));
        body::check_size(cx, &at, target, bodies, batch, template.as_ref());
    }
    if target.is_some_and(|t| t.method == "GET") && !matches!(&bodies, Some(Bodies::One(b)) if b.is_empty()) {
        cx.warn("target.method is GET, but traffic carries bodies; write body = \"\" to send none");
    }
    let chats = target.filter(|t| t.protocol == Protocol::Openai);
    if let (Some(target), Some(bodies)) = (chats, &bodies) {
        check_chats(cx, &at, target, &t, bodies);
    }
    let bodies = bodies?;
    Some(Traffic {
        token_streams: chats.is_some() && asks_for_streams(&bodies),
        bodies,
        process: process?,
        timeout,
        max_in_flight: t.max_in_flight.unwrap_or(DEFAULT_IN_FLIGHT),
        connections: t.connections,
        connection_max_age: t.connection_max_age.map(|d| d.0),
        connection_max_requests: t.connection_max_requests,
        streams: if http2 { t.streams.unwrap_or(DEFAULT_STREAMS) } else { 1 },
        address_family,
        source_addresses,
        dns_refresh: t.dns_refresh.map_or(DEFAULT_DNS_REFRESH, |d| d.0),
        max_answer: max_answer?,
        batch: batch?,
        template: template.map(Arc::new),
    })
}

/// Addresses of one family: a connection cannot go from one to the other.
fn source_addresses(cx: &mut Context, at: &Path, t: &file::Traffic, family: Option<AddressFamily>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for (i, text) in t.source_addresses.iter().flatten().enumerate() {
        let at = at.index(i);
        match text.parse::<IpAddr>() {
            Ok(address) if family.is_some_and(|f| (f == AddressFamily::Ipv4) != address.is_ipv4()) => {
                cx.wrong(&at, format!("`{text}` is not of the family in `address_family`"), "change one of the two");
            }
            Ok(address) => all.push(address),
            Err(_) => cx.wrong(&at, format!("`{text}` is not an IP address"), "write for example \"10.0.0.7\""),
        }
    }
    if all.iter().any(|a| a.is_ipv4() != all[0].is_ipv4()) {
        cx.wrong(at, "IPv4 and IPv6 addresses are mixed", "keep those of the target's family");
    }
    all
}

fn process(cx: &mut Context, at: &Path, t: &file::Traffic) -> Option<Process> {
    match (t.arrivals.unwrap_or(file::Arrivals::Poisson), t.cv) {
        (file::Arrivals::Uniform, None) => Some(Process::Uniform),
        (file::Arrivals::Poisson, None) => Some(Process::Poisson),
        (file::Arrivals::Gamma, Some(cv)) => Some(Process::Gamma { cv }),
        (file::Arrivals::Gamma, None) => {
            cx.clash(at, "arrivals", "gamma arrivals need `cv`", "add cv = 2.0 (above 1 is bursty)");
            None
        }
        (_, Some(_)) => {
            cx.clash(at, "cv", "`cv` goes with gamma arrivals only", "remove it, or write arrivals = \"gamma\"");
            None
        }
    }
}

fn max_answer(cx: &mut Context, at: &Path, given: Option<&file::Bytes>) -> Option<usize> {
    let bytes = match given {
        None => Some(DEFAULT_ANSWER),
        Some(file::Bytes::Number(n)) => Some(*n),
        Some(file::Bytes::Text(text)) => words::bytes(text),
    };
    match bytes {
        Some(n @ 1..=limits::ANSWER_BYTES) => Some(n as usize),
        Some(n) => {
            cx.wrong(at, format!("must be from 1 byte to 64 MiB, got {n} bytes"), "write for example \"1MiB\"");
            None
        }
        None => {
            cx.wrong(at, "not a size", "write bytes as a number, or \"64KiB\", \"1MiB\"");
            None
        }
    }
}

/// Exactly one source of bodies.
fn bodies(cx: &mut Context, at: &Path, t: &file::Traffic) -> Option<Bodies> {
    let given = [("dataset", t.dataset.is_some()), ("bodies", t.bodies.is_some()), ("body", t.body.is_some())];
    let given: Vec<&str> = given.into_iter().filter_map(|(key, is)| is.then_some(key)).collect();
    if t.label.is_some() && t.dataset.is_none() {
        cx.clash(at, "label", "`label` names a column of a dataset, and there is none", "add dataset = \"data/….csv\"");
    }
    match given.as_slice() {
        ["dataset"] => dataset(cx, &at.key("dataset"), &at.key("label"), t),
        ["bodies"] => {
            let name = t.bodies.as_deref()?;
            let lines = data::lines(&cx.dir.join(name), name);
            cx.good(&at.key("bodies"), lines).map(|l| Bodies::Lines(Arc::new(l)))
        }
        ["body"] => t.body.clone().map(Bodies::One),
        [] => {
            let help = "add dataset = \"data/….csv\", bodies = \"….jsonl\" or body = \"…\"";
            cx.clash(at, "", "there is nothing to send", help);
            None
        }
        [.., last] => {
            let message = format!("{} exclude each other", words::listed(&given));
            cx.clash(at, last, message, "keep exactly one of dataset, bodies and body");
            None
        }
    }
}

/// What the protocol openai needs of what is sent.
fn check_chats(cx: &mut Context, at: &Path, target: &Target, t: &file::Traffic, bodies: &Bodies) {
    if t.label.is_some() {
        let message = "the protocol openai has no prediction to hold against a label";
        cx.wrong(&at.key("label"), message, "remove `label`");
    }
    let root = Path::root().key("target");
    let Bodies::Dataset(table) = bodies else {
        if target.chat.is_some() {
            cx.warn("target.model and target.max_tokens do nothing: bodies are sent as they are");
        }
        return;
    };
    let name = t.dataset.as_deref().unwrap_or_default();
    if !table.columns.iter().any(|c| c == "prompt") {
        let names: Vec<&str> = table.columns.iter().map(String::as_str).collect();
        let help = format!("call the column to ask `prompt`; its columns: {}", words::listed(&names));
        cx.wrong(&at.key("dataset"), format!("`{name}` has no column `prompt`"), help);
    }
    if target.chat.is_none() {
        let help = "add model = \"…\" to [target]: the name that the server knows the model by";
        cx.clash(&root, "", "a dataset becomes chats, and no model is named", help);
    }
    let others: Vec<&str> = table.columns.iter().map(String::as_str).filter(|c| *c != "prompt").collect();
    if !others.is_empty() {
        cx.warn(format!("{name}: only `prompt` is sent, not {}", words::listed(&others)));
    }
}

/// Some body asks for a stream.
fn asks_for_streams(bodies: &Bodies) -> bool {
    #[derive(serde::Deserialize)]
    struct Body {
        stream: Option<serde_json::Value>,
    }
    let asks = |text: &String| {
        let body = serde_json::from_str::<Body>(text);
        body.is_ok_and(|b| b.stream == Some(serde_json::Value::Bool(true)))
    };
    match bodies {
        Bodies::Dataset(_) => true,
        Bodies::Lines(lines) => lines.iter().any(asks),
        Bodies::One(body) => asks(body),
    }
}

fn dataset(cx: &mut Context, at: &Path, label_at: &Path, t: &file::Traffic) -> Option<Bodies> {
    let name = t.dataset.as_deref()?;
    let read = data::dataset(&cx.dir.join(name), name, t.label.as_deref());
    // A missing label column is the label's mistake rather than the file's.
    let about_label = matches!(&read, Err((m, _)) if m.contains("has no column"));
    let (dataset, notes) = cx.good(if about_label { label_at } else { at }, read)?;
    notes.into_iter().for_each(|n| cx.warn(n));
    Some(Bodies::Dataset(Arc::new(dataset)))
}
