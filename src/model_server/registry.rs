//! Waiting for a registry: what makes a restarted replica slow to come back when its registry is.
//!
//! Owns: one HTTP/1.1 GET, again and again. A whole client would be too much: it needs a status line, and the
//! answer read to its end so that a slow link delays it.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What is read of an answer at most.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Where the registry answers: `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryUrl {
    authority: String,
    path: String,
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
    let mut stream = TcpStream::connect(&url.authority).await?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.path, url.authority);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    status(&answer).ok_or_else(|| io::Error::other("what answers there does not speak HTTP"))
}

fn status(answer: &[u8]) -> Option<u16> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(answer) {
        Ok(httparse::Status::Complete(_)) => response.code,
        Ok(httparse::Status::Partial) | Err(_) => None,
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
    fn statuses() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nContent-"), None);
        assert_eq!(status(b"220 smtp.example\r\n"), None);
    }
}
