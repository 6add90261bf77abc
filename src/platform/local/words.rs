//! Placeholders in commands and environments: `{address}` `{host}` `{port}` `{replica}` `{volume}`
//! `{dependency.NAME}`. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What placeholders stand for, for one child.
#[derive(Clone, Debug)]
pub(super) struct Words<'a> {
    /// `{address}`, `{host}`, `{port}`.
    pub(super) address: SocketAddr,
    /// `{replica}`; none for dependencies.
    pub(super) replica: Option<u16>,
    /// `{volume}`.
    pub(super) volume: Option<&'a str>,
    /// `{dependency.NAME}`: the address of its link.
    pub(super) dependencies: &'a BTreeMap<String, SocketAddr>,
}

impl Words<'_> {
    /// The text with every known placeholder replaced, in one pass: what is put in is not looked at again.
    /// Other braces (JSON, shell, format strings) are left as they are.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            rest = &rest[open..];
            let known = rest.find('}').and_then(|close| Some((self.meaning(&rest[1..close])?, close + 1)));
            let (put, taken) = known.unwrap_or_else(|| ("{".to_owned(), 1));
            out.push_str(&put);
            rest = &rest[taken..];
        }
        out + rest
    }

    fn meaning(&self, word: &str) -> Option<String> {
        match word {
            "address" => Some(self.address.to_string()),
            "host" => Some(self.address.ip().to_string()),
            "port" => Some(self.address.port().to_string()),
            "replica" => self.replica.map(|n| n.to_string()),
            "volume" => self.volume.map(str::to_owned),
            _ => self.dependencies.get(word.strip_prefix("dependency.")?).map(SocketAddr::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_what_it_knows_once_and_leaves_other_braces() {
        let dependencies = BTreeMap::from([("registry".to_owned(), "127.0.0.1:5000".parse().unwrap())]);
        let address = "127.9.8.7:10001".parse().unwrap();
        let words = Words { address, replica: Some(2), volume: Some("/m/{port}"), dependencies: &dependencies };
        for (text, filled) in [
            ("{address}", "127.9.8.7:10001"),
            ("--bind={host}:{port}/{replica}", "--bind=127.9.8.7:10001/2"),
            ("{volume}", "/m/{port}"),
            ("http://{dependency.registry}/x", "http://127.0.0.1:5000/x"),
            ("{dependency.other} {} {x", "{dependency.other} {} {x"),
            ("{\"a\": {replica}}", "{\"a\": 2}"),
            ("${HOME} {{port}}", "${HOME} {10001}"),
        ] {
            assert_eq!(words.fill(text), filled, "{text}");
        }
        let dependency = Words { replica: None, volume: None, ..words };
        assert_eq!(dependency.fill("{replica} {volume}"), "{replica} {volume}");
    }
}
