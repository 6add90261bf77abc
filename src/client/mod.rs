//! The wire: HTTP connections without a runtime.
//!
//! Total by design: whatever a peer does becomes an answer or an [`ErrorClass`], in
//! bounded memory, and never an `Err` that ends the run. Owns sockets, TLS and framing; leaves alone when requests
//! are sent (`engine/`) and what answers mean (`target/`).

pub mod blocking;
pub mod conn;
pub mod http1;
pub mod http2;
pub mod resolve;
pub mod tls;
mod transport;

use std::net::IpAddr;
use std::sync::Arc;

use crate::client::tls::Tls;
use crate::outcome::ErrorClass;
use crate::plan::{Target, Url};
use crate::target::{RequestBodies, Rows};

/// How a request failed, and what was seen.
pub type Failure = (ErrorClass, String);

/// What every connection to a target has in common.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// For `https`.
    pub tls: Option<Tls>,
    /// Largest answer that is read, in bytes.
    pub max_answer: usize,
    /// Answers have no body (to `HEAD`).
    pub head_only: bool,
    /// Requests at the same time on one HTTP/2 connection, at most.
    pub streams: usize,
    /// Our own addresses, used in turn; empty for whichever the system picks.
    pub sources: Vec<IpAddr>,
}

/// Bounds on one answer.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_answer: usize,
    head_only: bool,
}

/// Every request of a run, made before it, in the form that the wire wants.
pub enum Requests {
    /// Whole requests, head and body.
    Http1(Rows),
    /// Heads that shrink after the first on a connection, and bodies.
    Http2(Arc<http2::Requests>),
}

impl Requests {
    /// One for every body of the target, twins included.
    pub fn new(target: &Target, url: &Url, bodies: &RequestBodies) -> Requests {
        if target.http2 {
            return Requests::Http2(Arc::new(http2::Requests::new(target, url, bodies)));
        }
        Requests::Http1(http1_requests(target, url, bodies))
    }

    /// How many; at least one.
    pub fn len(&self) -> usize {
        match self {
            Requests::Http1(rows) => rows.len(),
            Requests::Http2(all) => all.len(),
        }
    }

    /// Never: a target has at least one body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn http1_requests(target: &Target, url: &Url, bodies: &RequestBodies) -> Rows {
    let head = head(target, url, &target.method, bodies.content_type);
    let mut all = Rows::default();
    for row in 0..bodies.all() {
        let body = bodies.get(row);
        let request = all.begin();
        request.extend_from_slice(head.as_bytes());
        // A request without a body says so only where a body would be expected.
        if !body.is_empty() || expects_body(&target.method) {
            request.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        if let Some((name, value)) = bodies.header(row) {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        all.end();
    }
    all
}

/// Servers wait for a body, or refuse, when a request of this method names no length.
fn expects_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

/// Request line and headers, without `content-length` and without the closing empty line.
fn head(target: &Target, url: &Url, method: &str, content_type: &str) -> String {
    let has = |name: &str| target.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut head = format!("{method} {} HTTP/1.1\r\n", url.path);
    if !has("host") {
        head.push_str(&format!("host: {}\r\n", authority(url)));
    }
    if !has("user-agent") {
        head.push_str(concat!("user-agent: resbench/", env!("CARGO_PKG_VERSION"), "\r\n"));
    }
    if !has("content-type") && method != "GET" && method != "HEAD" {
        head.push_str(&format!("content-type: {content_type}\r\n"));
    }
    if !has("accept") {
        head.push_str("accept: application/json\r\n");
    }
    for (name, value) in &target.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

/// `host[:port]`, the port left out where it is the scheme's own.
fn authority(url: &Url) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let default = if url.tls { 443 } else { 80 };
    if url.port == default { host } else { format!("{host}:{}", url.port) }
}
