//! The smallest HTTP client that readiness needs: one `GET`, its status, and the connection left usable.
//!
//! Apart from the load's client on purpose: a poll must not depend on what is being measured.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The connection can carry another request.
    pub(crate) reusable: bool,
}

/// How the end of a body is told.
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

/// Sends one `GET` and reads the whole answer. The host named is `localhost`, which servers with a list of allowed
/// hosts accept.
///
/// # Errors
/// When the connection breaks, or what comes back is not HTTP or larger than 1 MiB.
pub(crate) async fn get(stream: &mut TcpStream, path: &str, keep: bool, buffer: &mut Vec<u8>) -> io::Result<Answer> {
    let port = stream.peer_addr()?.port();
    let connection = if keep { "keep-alive" } else { "close" };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: resbench\r\nAccept: */*\r\nConnection: {connection}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    buffer.clear();
    let (status, body, framing, closes) = loop {
        if let Some(head) = parse(buffer)? {
            break head;
        }
        fill(stream, buffer).await?;
    };
    let closed = loop {
        let so_far = &buffer[body..];
        let whole = match framing {
            Framing::Length(n) => so_far.len() >= n,
            Framing::Chunked => so_far.ends_with(b"0\r\n\r\n"),
            Framing::Close => false,
        };
        if whole {
            break false;
        }
        match fill(stream, buffer).await {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && matches!(framing, Framing::Close) => break true,
            Err(e) => return Err(e),
        }
    };
    Ok(Answer { status, reusable: keep && !closes && !closed })
}

/// Connects and sends one `GET` on a connection of its own.
///
/// # Errors
/// As [`get`], and when nobody listens.
pub(crate) async fn get_once(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    get(&mut stream, path, false, &mut Vec::new()).await
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    if buffer.len() >= ANSWER_LIMIT {
        return Err(io::Error::other("the answer is larger than 1 MiB"));
    }
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Status, where the body begins, how it ends, and whether the server is going to close; none while incomplete.
fn parse(bytes: &[u8]) -> io::Result<Option<(u16, usize, Framing, bool)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let body = match head.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(io::Error::other(format!("not an HTTP answer: {e}"))),
    };
    let value = |name: &str| {
        let header = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        header.map(|h| String::from_utf8_lossy(h.value).to_ascii_lowercase())
    };
    let status = head.code.unwrap_or_default();
    let framing = match (value("transfer-encoding"), value("content-length").and_then(|n| n.trim().parse().ok())) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(n)) => Framing::Length(n),
        (None, None) if matches!(status, 204 | 304) => Framing::Length(0),
        (None, None) => Framing::Close,
    };
    let connection = value("connection").unwrap_or_default();
    let closes = connection.contains("close") || (head.version == Some(0) && !connection.contains("keep-alive"));
    Ok(Some((status, body, framing, closes)))
}
