//! Asking a registry: what makes a restarted replica slow to come back when its registry is.
//!
//! Owns: one HTTP/1.1 GET on a connection of its own, read to its end so that a slow link delays it, and waiting until one
//! is answered well. A whole client would be too much. What the answers mean stands in `reload.rs`.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What is read of an answer at most.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// What its status line and headers may take beside.
const LONGEST_HEAD: u64 = 16 * 1024;

/// Where the registry answers: `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryUrl {
    pub(super) authority: String,
    pub(super) path: String,
}

impl FromStr for RegistryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<RegistryUrl, String> {
        let problem = || format!("`{text}` is not a URL that is spoken here: write http://host:port/path");
        let rest = text.strip_prefix("http://").ok_or_else(problem)?;
        let split = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        let clean = text.chars().all(|c| c.is_ascii_graphic()) && !authority.contains('@');
        if host.is_empty() || port.parse::<u16>().is_err() || !clean {
            return Err(problem());
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(RegistryUrl { authority: format!("{host}:{port}"), path: path.to_owned() })
    }
}

/// Asks until the answer is 2xx. Each try may take `timeout`; `report` hears why it failed.
pub(super) async fn wait_for(url: &RegistryUrl, timeout: Duration, report: impl Fn(&str)) {
    loop {
        let problem = match tokio::time::timeout(timeout, ask(url)).await {
            Ok(Ok(200..=299)) => return,
            Ok(Ok(status)) => format!("status {status}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        report(&format!("waiting for the registry at {}: {problem}", url.authority));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(url: &RegistryUrl) -> io::Result<u16> {
    get(url, &url.path, LONGEST_ANSWER).await.map(|(status, _)| status)
}

/// Status and body of one GET. A body of more than `longest` bytes, or one that breaks off, is an error.
pub(super) async fn get(url: &RegistryUrl, path: &str, longest: u64) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(&url.authority).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.authority);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    stream.take(longest + LONGEST_HEAD).read_to_end(&mut answer).await?;
    read(&answer).map_err(io::Error::other)
}

fn read(answer: &[u8]) -> Result<(u16, Vec<u8>), &'static str> {
    const STRANGER: &str = "what answers there does not speak HTTP";
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else { return Err(STRANGER) };
    let header = |name: &str| {
        let found = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let body = &answer[head..];
    let body = match header("content-length").and_then(|v| v.trim().parse::<usize>().ok()) {
        Some(length) => body.get(..length).map(<[u8]>::to_vec),
        None if header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) => joined(body),
        None => Some(body.to_vec()),
    };
    Ok((response.code.ok_or(STRANGER)?, body.ok_or("its answer breaks off, or is too long")?))
}

/// The chunks of a body as one; none when the last one is missing.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else { return None };
        if size == 0 {
            return Some(body);
        }
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        body.extend_from_slice(rest.get(start..end)?);
        rest = rest.get(end + 2..)?;
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let read = |text: &str| text.parse::<RegistryUrl>().map(|u| (u.authority, u.path));
        let is = |authority: &str, path: &str| Ok((authority.to_owned(), path.to_owned()));
        assert_eq!(read("http://127.0.0.1:5000/health"), is("127.0.0.1:5000", "/health"));
        assert_eq!(read("http://registry"), is("registry:80", "/"));
        assert_eq!(read("http://[::1]:5000"), is("[::1]:5000", "/"));
        for bad in ["", "registry:5000", "https://registry", "http://", "http://:5000", "http://a:b", "http://a:1/ x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_read_to_their_end() {
        let told = |answer: &str| read(answer.as_bytes());
        assert_eq!(told("HTTP/1.1 204 No Content\r\n\r\n"), Ok((204, vec![])));
        assert_eq!(told("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc"), Ok((200, b"ab".to_vec())));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(told(chunked), Ok((200, b"abc".to_vec())));
        assert!(told(&chunked[..chunked.len() - 10]).is_err(), "the last chunk is missing");
        assert!(told("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc").unwrap_err().contains("breaks off"));
        assert!(told("HTTP/1.1 200 OK\r\nContent-").is_err());
        assert!(told("220 smtp.example\r\n").is_err());
    }
}
