//! Request heads for HTTP/2, written before the run, and how a connection comes to say them in few octets.
//!
//! The first request of a connection has the peer keep the fields in its table; every later one names them by number.
//! Where the peer keeps too small a table, they are sent whole each time.

use super::hpack::{self, ENTRY_OVERHEAD, Literal, STATIC_COUNT, TABLE_DEFAULT};
use crate::client::{expects_body, head};
use crate::plan::{Target, Url};
use crate::target::{RequestBodies, Rows};

/// Whole requests, head and body, for every body of a target. Shared by all connections to it.
#[derive(Debug, Default)]
pub struct Requests {
    /// The fields, to be kept by the peer.
    first: Vec<u8>,
    /// The same, once it has kept them.
    again: Vec<u8>,
    /// The same for a peer that keeps none.
    whole: Vec<u8>,
    /// What they take of the peer's table.
    table: usize,
    /// `content-length` of every body, and a header that it alone has, as fields; empty where none is sent.
    lengths: Rows,
    bodies: Rows,
    pub(super) head_only: bool,
}

impl Requests {
    /// For every body of the target, as [`Requests`](crate::client::Requests) has them for HTTP/1.1.
    pub fn new(target: &Target, url: &Url, bodies: &RequestBodies) -> Requests {
        let rows = (0..bodies.all()).map(|row| (bodies.get(row), bodies.header(row)));
        Requests::with_headers(target, url, &target.method, bodies.content_type, rows)
    }

    /// For these bodies, by any method.
    pub fn with_bodies<'a>(
        target: &Target,
        url: &Url,
        method: &str,
        content_type: &str,
        bodies: impl IntoIterator<Item = &'a [u8]>,
    ) -> Requests {
        let bodies = bodies.into_iter().map(|body| (body, None));
        Requests::with_headers(target, url, method, content_type, bodies)
    }

    /// For these bodies, each with a header of its own or none.
    fn with_headers<'a>(
        target: &Target,
        url: &Url,
        method: &str,
        content_type: &str,
        bodies: impl IntoIterator<Item = (&'a [u8], Option<(&'static str, usize)>)>,
    ) -> Requests {
        let mut all = Requests { head_only: method == "HEAD", ..Requests::default() };
        all.put_fields(&fields(target, url, method, content_type));
        for (body, header) in bodies {
            let length = all.lengths.begin();
            if !body.is_empty() || expects_body(method) {
                // It differs from body to body: kept in the table, it would drive out what does not.
                hpack::put_literal(length, Literal::Once, "content-length", body.len().to_string().as_bytes());
            }
            if let Some((name, value)) = header {
                hpack::put_literal(length, Literal::Once, name, value.to_string().as_bytes());
            }
            all.lengths.end();
            all.bodies.begin().extend_from_slice(body);
            all.bodies.end();
        }
        all
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.bodies.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    #[inline]
    pub(super) fn body(&self, row: usize) -> &[u8] {
        self.bodies.get(row)
    }

    #[inline]
    pub(super) fn length(&self, row: usize) -> &[u8] {
        self.lengths.get(row)
    }

    fn put_fields(&mut self, fields: &[(String, String)]) {
        let mut kept = Vec::new();
        for (at, (name, value)) in fields.iter().enumerate() {
            let size = name.len() + value.len() + ENTRY_OVERHEAD;
            if let Some(index) = hpack::static_field(name, value) {
                for block in [&mut self.first, &mut self.whole] {
                    hpack::put_indexed(block, index);
                }
                continue;
            }
            let keep = self.table + size <= TABLE_DEFAULT;
            let how = if keep { Literal::Kept } else { Literal::Once };
            hpack::put_literal(&mut self.first, how, name, value.as_bytes());
            hpack::put_literal(&mut self.whole, Literal::Once, name, value.as_bytes());
            if keep {
                self.table += size;
                kept.push(at);
            }
        }
        // The last one kept has the first number. `again` names them in the order of the fields all the same, so that
        // pseudo-fields come first.
        for (at, (name, value)) in fields.iter().enumerate() {
            if let Some(index) = hpack::static_field(name, value) {
                hpack::put_indexed(&mut self.again, index);
            } else if let Some(place) = kept.iter().position(|k| *k == at) {
                hpack::put_indexed(&mut self.again, STATIC_COUNT + kept.len() - place);
            } else {
                hpack::put_literal(&mut self.again, Literal::Once, name, value.as_bytes());
            }
        }
    }
}

/// The fields of a request, pseudo-fields first, without `content-length`.
fn fields(target: &Target, url: &Url, method: &str, content_type: &str) -> Vec<(String, String)> {
    // One place says what a request carries: the head for HTTP/1.1, whose first line is the request line.
    let text = head(target, url, method, content_type);
    let lines = text.lines().skip(1).filter_map(|line| line.split_once(": "));
    let (mut authority, mut rest) = (String::new(), Vec::new());
    for (name, value) in lines {
        match name.to_ascii_lowercase().as_str() {
            "host" => value.clone_into(&mut authority),
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "http2-settings" => {}
            name => rest.push((name.to_owned(), value.to_owned())),
        }
    }
    let scheme = if url.tls { "https" } else { "http" };
    let mut all = vec![
        (":method".to_owned(), method.to_owned()),
        (":scheme".to_owned(), scheme.to_owned()),
        (":authority".to_owned(), authority),
        (":path".to_owned(), url.path.clone()),
    ];
    all.append(&mut rest);
    all
}

/// What one connection's peer has kept of our fields.
#[derive(Debug)]
pub(super) struct PeerTable {
    state: Kept,
    /// The size that the peer allows.
    limit: usize,
    /// To be said at the start of the next block (RFC 7541, section 4.2).
    update: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Nothing yet.
    Nothing,
    /// All that `Requests::first` told it to keep.
    Fields,
    /// It allows too little.
    Never,
}

impl PeerTable {
    pub(super) fn new() -> PeerTable {
        PeerTable { state: Kept::Nothing, limit: TABLE_DEFAULT, update: None }
    }

    /// The peer says how large a table it allows. More than before changes nothing: we have what we need.
    pub(super) fn allow(&mut self, size: u32, requests: &Requests) {
        let size = size as usize;
        if size >= self.limit || self.state == Kept::Never {
            return;
        }
        self.limit = size;
        self.update = Some(size);
        if size < requests.table {
            (self.state, self.update) = (Kept::Never, Some(0));
        }
    }

    /// The fields for the next request, and what must be said before them.
    #[inline]
    pub(super) fn next<'a>(&mut self, requests: &'a Requests) -> (Option<usize>, &'a [u8]) {
        let block = match self.state {
            Kept::Fields => &requests.again,
            Kept::Never => &requests.whole,
            Kept::Nothing => {
                self.state = Kept::Fields;
                &requests.first
            }
        };
        (self.update.take(), block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support;
    use crate::plan::{AnswerPaths, Protocol};

    fn url() -> Url {
        Url { tls: false, host: "www.example.com".into(), port: 80, path: "/".into() }
    }

    fn names(list: &[(String, String)]) -> Vec<&str> {
        list.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn host_becomes_authority_and_names_lower_case_without_those_of_connections() {
        let mut target = tests_support::target(Protocol::Http, AnswerPaths::default());
        target.headers = vec![
            ("Host".into(), "model.test".into()),
            ("Keep-Alive".into(), "5".into()),
            ("X-Token".into(), "a: b".into()),
        ];
        let list = fields(&target, &url(), "POST", "application/json");
        let pseudo = [":method", ":scheme", ":authority", ":path"];
        assert_eq!(names(&list)[..4], pseudo);
        assert_eq!(names(&list)[4..], ["user-agent", "content-type", "accept", "x-token"]);
        assert_eq!(list[2].1, "model.test");
        assert_eq!(list[7].1, "a: b");
    }

    /// Appendix C.3: the same two requests, in the same octets.
    #[test]
    fn fields_are_kept_by_the_first_request_and_named_by_the_second() {
        let of = |list: &[(&str, &str)]| {
            let mut requests = Requests::default();
            let list: Vec<_> = list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            requests.put_fields(&list);
            requests
        };
        let list = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        let requests = of(&list);
        assert_eq!(requests.first, b"\x82\x86\x84\x41\x0fwww.example.com");
        assert_eq!(requests.again, b"\x82\x86\x84\xbe");
        assert_eq!(requests.whole, b"\x82\x86\x84\x01\x0fwww.example.com");
        assert_eq!(requests.table, 57);

        // What does not fit stays outside, and shifts no number.
        let long = "x".repeat(TABLE_DEFAULT);
        let requests = of(&[("a", "b"), ("long", &long), ("c", "d")]);
        assert_eq!(requests.first[..5], *b"\x40\x01a\x01b");
        assert_eq!(requests.again[0], 0x80 | 63);
        assert_eq!(requests.again[1..7], *b"\x00\x04long");
        assert_eq!(requests.again.last(), Some(&(0x80 | 62)));
    }

    #[test]
    fn a_smaller_table_is_acknowledged_before_the_next_fields() {
        let target = tests_support::target(Protocol::Http, AnswerPaths::default());
        let requests = Requests::with_bodies(&target, &url(), "GET", "", [&b""[..]]);
        let size = requests.table as u32;
        assert!(size > 64);

        let mut roomy = PeerTable::new();
        roomy.allow(65_536, &requests);
        assert_eq!(roomy.next(&requests), (None, &requests.first[..]));
        roomy.allow(size, &requests);
        assert_eq!(roomy.next(&requests), (Some(size as usize), &requests.again[..]));
        assert_eq!(roomy.next(&requests), (None, &requests.again[..]));
        roomy.allow(size - 1, &requests);
        assert_eq!(roomy.next(&requests), (Some(0), &requests.whole[..]));
        roomy.allow(0, &requests);
        assert_eq!(roomy.next(&requests), (None, &requests.whole[..]));

        let mut none = PeerTable::new();
        none.allow(0, &requests);
        none.allow(4096, &requests);
        assert_eq!(none.next(&requests), (Some(0), &requests.whole[..]));
    }

    #[test]
    fn a_body_has_its_length_and_a_get_has_none() {
        let target = tests_support::target(Protocol::Http, AnswerPaths::default());
        let post = Requests::with_bodies(&target, &url(), "POST", "text/plain", [&b"hello"[..], b""]);
        assert_eq!((post.length(0), post.body(0)), (&b"\x0f\x0d\x015"[..], &b"hello"[..]));
        assert_eq!((post.length(1), post.body(1)), (&b"\x0f\x0d\x010"[..], &b""[..]));
        let get = Requests::with_bodies(&target, &url(), "GET", "", [&b""[..]]);
        assert_eq!((get.length(0), get.len(), get.head_only), (&b""[..], 1, false));
    }
}
