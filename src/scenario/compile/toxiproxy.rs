//! `via = "toxiproxy"` and `kind = "toxiproxy"`: which server, which proxy, which toxic.
//!
//! Toxiproxy counts in whole milliseconds and in thousands of bytes: what does not fit is refused with the nearest, never
//! rounded in silence.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, fault, url};
use crate::plan::{Stream, Toxic, ToxicEffect, Toxiproxy};
use crate::scenario::file::{self, StreamWord, TOXIPROXY_KEYS, ToxicWord, ViaWord};
use crate::scenario::tree::Path;
use crate::scenario::{limits, words};
use crate::units::{Ratio, show_duration};

/// Largest size in bytes: what JSON carries in every language.
const MOST_BYTES: u64 = 1 << 53;

/// A Toxiproxy server is to do it.
pub(super) fn is_meant(f: &file::Fault) -> bool {
    f.via == Some(ViaWord::Toxiproxy)
}

/// Which server and proxy.
pub(super) fn compile(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<Toxiproxy> {
    for (key, set) in [
        ("mode", f.mode.is_some()),
        ("value", f.value.is_some()),
        ("replica", f.replica.is_some()),
        ("target", f.target.is_some()),
        ("overlap", f.overlap.is_some()),
    ] {
        if set {
            let message = format!("`{key}` does not go with Toxiproxy, which hits whatever passes `proxy`");
            cx.clash(at, key, message, "remove it");
        }
    }
    check_fits(cx, at, f);
    let toxicity = f.toxicity.unwrap_or(1.0);
    if toxicity < 1.0 {
        cx.warn(format!(
            "fault `{}`: toxicity = {toxicity} is drawn once for each connection, not for each request: with \
             connections that are kept, the same {} % of them are hit all the time",
            f.name.0,
            toxicity * 100.0
        ));
    }
    let proof = match &f.proof {
        Some(given) => Some(fault::proof(cx, &at.key("proof"), given)?),
        None => None,
    };
    let (server, proxy) = (server(cx, at, f.toxiproxy.as_ref()), proxy(cx, at, f.proxy.as_ref()));
    let raw = |key: &str| cx.root.at(&at.key(key)).and_then(|n| n.raw_text()).unwrap_or_default().to_owned();
    let (url_text, proxy_text) = (raw("toxiproxy"), raw("proxy"));
    let toxicity = Ratio::new(toxicity).ok()?;
    Some(Toxiproxy { url: server?, proxy: proxy?, url_text, proxy_text, toxicity, proof })
}

fn server(cx: &mut Context, at: &Path, text: Option<&String>) -> Option<crate::plan::Url> {
    let Some(text) = text else {
        let help = "add toxiproxy = \"http://127.0.0.1:8474\", the server's API";
        cx.clash(at, "", "`toxiproxy` is missing: via = \"toxiproxy\" needs a server", help);
        return None;
    };
    let at = at.key("toxiproxy");
    let server = cx.good(&at, url::parse(text))?;
    if server.path != "/" {
        let message = format!("the server's API has no path, and this is `{}`", server.path);
        cx.wrong(&at, message, "write only http://host:port");
        return None;
    }
    Some(server)
}

fn proxy(cx: &mut Context, at: &Path, name: Option<&String>) -> Option<String> {
    let Some(name) = name else {
        let help = "add proxy = \"registry\", its name on the server (`toxiproxy-cli list`)";
        cx.clash(at, "", "`proxy` is missing: via = \"toxiproxy\" needs one", help);
        return None;
    };
    if name.is_empty() || name.len() > 128 || name.contains('/') || name.chars().any(char::is_control) {
        cx.wrong(&at.key("proxy"), "not the name of a proxy", "write 1 to 128 characters without `/`");
        return None;
    }
    Some(name.clone())
}

/// Notes keys of Toxiproxy on a fault that somebody else does.
pub(super) fn check_absent(cx: &mut Context, at: &Path, f: &file::Fault) {
    if !f.kind.is_network() {
        return;
    }
    let set = [f.toxiproxy.is_some(), f.proxy.is_some(), f.toxicity.is_some()];
    for (key, _) in TOXIPROXY_KEYS.iter().zip(set).filter(|(_, set)| *set) {
        cx.clash(at, key, format!("`{key}` goes with via = \"toxiproxy\""), "add that, or remove this");
    }
}

/// Values of our own kinds that Toxiproxy has no unit for.
fn check_fits(cx: &mut Context, at: &Path, f: &file::Fault) {
    for (key, value) in [("latency", f.latency), ("jitter", f.jitter)] {
        let Some(value) = value.map(|d| d.0) else { continue };
        let whole = Duration::from_millis(value.as_millis() as u64);
        if value != whole {
            let nearest = if value < Duration::from_millis(1) { Duration::from_millis(1) } else { whole };
            let message = format!("Toxiproxy counts in milliseconds, and {} are no whole ones", show_duration(value));
            cx.wrong(&at.key(key), message, format!("the nearest is \"{}\"", show_duration(nearest)));
        }
    }
    let rate = match &f.rate {
        Some(file::Bytes::Number(n)) => Some(*n),
        Some(file::Bytes::Text(text)) => words::bytes(text),
        None => None,
    };
    if let Some(rate) = rate.filter(|n| n % 1000 != 0) {
        let nearest = ((rate + 500) / 1000).max(1);
        let message = format!("Toxiproxy counts in thousands of bytes per second, and {rate} are no whole ones");
        cx.wrong(&at.key("rate"), message, format!("the nearest is \"{nearest}kB\""));
    }
}

/// A toxic as Toxiproxy's own language has it.
pub(super) fn toxic(cx: &mut Context, at: &Path, t: &file::Toxic) -> Option<Toxic> {
    let empty = BTreeMap::new();
    let given = t.attributes.as_ref().unwrap_or(&empty);
    let stream = if t.stream == Some(StreamWord::Upstream) { Stream::Upstream } else { Stream::Downstream };
    let known = attributes(t.effect);
    let at = at.key("attributes");
    let mut good = true;
    for (name, value) in given {
        let Some((_, low, high)) = known.iter().find(|(known, _, _)| known == name) else {
            let names: Vec<&str> = known.iter().map(|(n, _, _)| *n).collect();
            let help = words::did_you_mean(name, &names, "attributes of this toxic");
            cx.wrong(&at.key(name), format!("unknown attribute `{name}`"), help);
            good = false;
            continue;
        };
        if !(*low..=*high).contains(value) {
            cx.wrong(&at.key(name), format!("{value} is out of range"), format!("write {low} to {high}"));
            good = false;
        }
    }
    // A misspelt one most likely is the one that is missing, and has been reported.
    let missing = known.iter().filter(|(name, low, _)| good && *low > 0 && !given.contains_key(*name));
    for (name, low, high) in missing.collect::<Vec<_>>() {
        cx.wrong(&at, format!("attribute `{name}` is missing"), format!("add {name} = {low} to {high}"));
        good = false;
    }
    let value = |name: &str| given.get(name).copied().unwrap_or(0);
    let effect = match t.effect {
        ToxicWord::Latency => ToxicEffect::Latency { latency: value("latency"), jitter: value("jitter") },
        ToxicWord::Bandwidth => ToxicEffect::Bandwidth { rate: value("rate") },
        ToxicWord::SlowClose => ToxicEffect::SlowClose { delay: value("delay") },
        ToxicWord::Timeout => ToxicEffect::Timeout { timeout: value("timeout") },
        ToxicWord::ResetPeer => ToxicEffect::ResetPeer { timeout: value("timeout") },
        ToxicWord::LimitData => ToxicEffect::LimitData { bytes: value("bytes") },
        ToxicWord::Slicer => {
            let (average_size, size_variation) = (value("average_size"), value("size_variation"));
            if good && size_variation >= average_size {
                let message = "the pieces would vary by their own size or more";
                cx.wrong(&at.key("size_variation"), message, format!("write less than {average_size}"));
                return None;
            }
            ToxicEffect::Slicer { average_size, size_variation, delay: value("delay") }
        }
    };
    good.then_some(Toxic { effect, stream })
}

/// Name, least and most of each attribute; one whose least is above zero must be there.
fn attributes(word: ToxicWord) -> &'static [(&'static str, u64, u64)] {
    const MS: u64 = limits::LATENCY.as_millis() as u64;
    match word {
        ToxicWord::Latency => &[("latency", 1, MS), ("jitter", 0, MS)],
        ToxicWord::Bandwidth => &[("rate", 1, MOST_BYTES / 1000)],
        ToxicWord::SlowClose => &[("delay", 1, MS)],
        ToxicWord::Timeout | ToxicWord::ResetPeer => &[("timeout", 0, MS)],
        ToxicWord::Slicer => {
            &[("average_size", 1, MOST_BYTES), ("size_variation", 0, MOST_BYTES), ("delay", 0, MS * 1000)]
        }
        ToxicWord::LimitData => &[("bytes", 0, MOST_BYTES)],
    }
}
