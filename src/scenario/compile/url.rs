//! Takes an absolute URL apart. Small on purpose: what a prediction endpoint needs, and a clear no to the rest.

use std::net::Ipv6Addr;

use crate::plan::Url;

/// Reads `http://host[:port][/path][?query]`, or `https`.
pub(super) fn parse(text: &str) -> Result<Url, (String, String)> {
    let example = "write a whole URL, for example \"http://127.0.0.1:8080/invocations\"";
    let wrong = |what: &str| (what.to_owned(), example.to_owned());
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("the URL has no http:// or https://"))?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(wrong("only http and https are spoken")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        let help = "write headers = { Authorization = \"Bearer ${TOKEN}\" } instead";
        return Err(("user and password do not go into the URL".into(), help.into()));
    }
    let (host, port) = host_and_port(authority, tls).ok_or_else(|| wrong("the URL has no valid host and port"))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    check_path(&path)?;
    Ok(Url { tls, host, port, path })
}

/// A path and query as they go into a request line.
pub(super) fn check_path(path: &str) -> Result<(), (String, String)> {
    let help = "write a path such as \"/ping\"; other characters as %XX, no # part".to_owned();
    if !path.starts_with('/') {
        Err(("a path begins with `/`".to_owned(), help))
    } else if path.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
        Err(("the path has characters that a request line cannot carry".to_owned(), help))
    } else {
        Ok(())
    }
}

fn host_and_port(authority: &str, tls: bool) -> Option<(String, u16)> {
    let default = if tls { 443 } else { 80 };
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        (host, port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        (!host.is_empty() && host.len() <= 253 && host.bytes().all(named)).then_some((host, port))?
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().filter(|p| *p > 0)?,
        None if port.is_empty() => default,
        _ => return None,
    };
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, shown) in [
            ("http://a", "http://a:80/"),
            ("HTTPS://a.b-c:8443/x?y=1", "https://a.b-c:8443/x?y=1"),
            ("https://[::1]/x", "https://[::1]:443/x"),
            ("http://a?x=1", "http://a:80/?x=1"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http://a:0/",
            "http://a:99999/",
            "http://a:+1/",
            "http://u:p@a/",
            "http://a/b c",
            "http://a/#x",
            "http://[x]/",
            "http://a:b",
            "http://ä/",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
