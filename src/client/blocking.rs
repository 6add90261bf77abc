//! One request at a time, waiting for it: probes, and the look at a target before the load.

use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::client::conn::{Conn, Event};
use crate::client::{Endpoint, Failure, Requests, expects_body, head, http2, resolve, tls};
use crate::clock;
use crate::outcome::ErrorClass;
use crate::plan::{AddressFamily, Target, Url};
use crate::target::{Answer, Rows};

/// Sends one request on a connection of its own and hands the answer to `f`.
///
/// # Errors
/// The class of the failure and what was seen.
pub fn call<R>(
    target: &Target,
    url: &Url,
    method: &str,
    body: &[u8],
    timeout: Duration,
    family: Option<AddressFamily>,
    f: impl FnOnce(&Answer<'_>) -> R,
) -> Result<R, Failure> {
    let deadline = clock::monotonic_nanos() + timeout.as_nanos() as u64;
    let session = url.tls.then(|| tls::client(&url.host, target.ca.as_deref(), target.http2)).transpose();
    let tls = session.map_err(|e| (ErrorClass::Tls, e))?;
    let address = resolve::first(&url.host, url.port, family, timeout).map_err(|e| (ErrorClass::Dns, e))?;
    let requests = request(target, url, method, body);
    let endpoint =
        Endpoint { tls, max_answer: 1 << 20, head_only: method == "HEAD", streams: 1, ..Endpoint::default() };
    let mut conn = Conn::open(&endpoint, &requests, address, None)?;
    conn.send(&requests, 0)?;
    loop {
        let left = deadline.saturating_sub(clock::monotonic_nanos());
        if left == 0 {
            let class = if conn.is_connecting() { ErrorClass::ConnectTimeout } else { ErrorClass::Timeout };
            return Err((class, format!("no answer within {}", crate::units::show_duration(timeout))));
        }
        let mut fds = [PollFd::from_borrowed_fd(conn.fd(), interest(&conn))];
        let waited = poll(&mut fds, Some(&clock::timespec(left)));
        let flags = fds[0].revents();
        if !matches!(waited, Ok(n) if n > 0) {
            continue;
        }
        let mut event = conn.on_ready(flags.intersects(PollFlags::HUP | PollFlags::RDHUP));
        while let Some(happened) = event {
            match happened {
                Event::Handshaking | Event::Connected => {}
                Event::Answered(slot) => return Ok(conn.with_answer(slot, f)),
                Event::Dropped(_, class, why) | Event::Failed(class, why) => return Err((class, why)),
            }
            event = conn.next_event();
        }
    }
}

/// The one request, in the form that the target's wire wants.
fn request(target: &Target, url: &Url, method: &str, body: &[u8]) -> Requests {
    let content_type = "application/json";
    if target.http2 {
        return Requests::Http2(Arc::new(http2::Requests::with_bodies(target, url, method, content_type, [body])));
    }
    let mut request = head(target, url, method, content_type).into_bytes();
    if !body.is_empty() || expects_body(method) {
        request.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"connection: close\r\n\r\n");
    request.extend_from_slice(body);
    Requests::Http1(Rows::one(&request))
}

/// Level-triggered polling must not ask for writability once everything is written, or it would spin.
fn interest(conn: &Conn) -> PollFlags {
    if conn.is_connecting() || conn.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
}
