//! Docker and Toxiproxy: do they answer, and in which version.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Check, Missing, Outcome};
use crate::fault::toxiproxy::client::Server;
use crate::scenario;

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer that is read.
const MOST: u64 = 64 << 10;

pub(super) fn checks(toxiproxy: Option<&str>) -> Vec<Check> {
    vec![Check::new("docker", docker()), Check::new("toxiproxy", self::toxiproxy(toxiproxy))]
}

fn docker() -> Outcome {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let Some(socket) = host.strip_prefix("unix://") else {
        return Ok(format!("DOCKER_HOST is {host}; it is asked when a scenario needs it"));
    };
    let cure = "apt-get install docker.io, and be root or in the group docker; or set DOCKER_HOST";
    let answer = ask(socket).map_err(|e| Missing::new(format!("{socket}: {e}"), cure))?;
    version(&answer).map(|v| format!("{v} at {socket}")).ok_or_else(|| {
        Missing::new(
            format!("{socket} does not answer as Docker does"),
            "look at what listens there, or set DOCKER_HOST",
        )
    })
}

/// One request as the oldest HTTP has it: the answer ends with the connection.
fn ask(socket: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /version HTTP/1.0\r\nhost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn version(answer: &str) -> Option<String> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let json: serde_json::Value = serde_json::from_str(body.trim()).ok()?;
    Some(format!("{} (API {})", json["Version"].as_str()?, json["ApiVersion"].as_str()?))
}

fn toxiproxy(url: Option<&str>) -> Outcome {
    let Some(text) = url else {
        return Err(Missing::new("no server was named", "start toxiproxy-server, and say --toxiproxy URL"));
    };
    let url = scenario::url(text).map_err(Missing::told)?;
    let cure = "go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0, and start it";
    let server = Server { url };
    let look = || Ok((server.version()?, server.proxies()?));
    let (version, proxies) = look().map_err(|why: String| Missing::new(why, cure))?;
    let names: Vec<&str> = proxies.keys().map(String::as_str).collect();
    let names = if names.is_empty() { "no proxy yet".to_owned() } else { format!("proxies: {}", names.join(", ")) };
    Ok(format!("{version} at {}; {names}", server.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_version_is_read_and_strangers_are_none() {
        let body = r#"{"Version":"28.1.0","ApiVersion":"1.49"}"#;
        assert_eq!(version(&format!("HTTP/1.0 200 OK\r\n\r\n{body}\n")).as_deref(), Some("28.1.0 (API 1.49)"));
        assert_eq!(version("HTTP/1.0 404 no\r\n\r\n{}"), None);
        assert_eq!(version("hello"), None);
    }

    #[test]
    fn a_toxiproxy_that_is_not_there_is_missing_with_its_cure() {
        let missing = toxiproxy(Some("http://127.0.0.1:1")).err().unwrap();
        assert!(missing.what.contains("127.0.0.1:1") && missing.cure.contains("go install"), "{}", missing.what);
        assert!(toxiproxy(None).err().unwrap().cure.contains("--toxiproxy URL"));
    }
}
