//! `[[probe]]`: the steady state.

use std::time::Duration;

use super::{Context, target, url};
use crate::plan::{ProbeKind, ProbePlan};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::{file, words};

/// All probes; none when one of them is broken.
pub(super) fn compile(cx: &mut Context) -> Option<Vec<ProbePlan>> {
    let at = Path::root().key("probe");
    cx.unique(&at, "probe");
    // Every probe is read before any of them may end the list: all problems at once.
    let all: Vec<Option<ProbePlan>> = (0..cx.count("probe")).map(|i| probe(cx, &at.index(i))).collect();
    all.into_iter().collect()
}

/// Notes a name that no probe has.
pub(super) fn check_name(cx: &mut Context, at: &Path, name: &str) -> Option<()> {
    let names = cx.names(&Path::root().key("probe"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.contains(&name) {
        return Some(());
    }
    cx.wrong(at, format!("there is no probe `{}`", shortened(name)), words::did_you_mean(name, &names, "probes"));
    None
}

fn probe(cx: &mut Context, at: &Path) -> Option<ProbePlan> {
    let p: file::Probe = cx.section(at)?;
    let timeout = p.timeout.map_or(Duration::from_secs(1), |d| d.0);
    cx.above_zero(&at.key("timeout"), timeout, Duration::from_secs(300));
    let when = p.when.clone().unwrap_or_else(|| vec![file::When::Before]);
    let during = when.contains(&file::When::During);
    let every = p.every.map_or(Duration::from_secs(1), |d| d.0);
    cx.within(&at.key("every"), every, Duration::from_millis(100), Duration::from_secs(3600));
    if p.every.is_some() && !during {
        cx.clash(at, "every", "`every` is for probes during the load", "add \"during\" to `when`, or remove it");
    }
    Some(ProbePlan {
        name: p.name.0.clone(),
        kind: kind(cx, at, &p)?,
        timeout,
        before: when.contains(&file::When::Before),
        during: during.then_some(every),
        after: when.contains(&file::When::After),
    })
}

fn kind(cx: &mut Context, at: &Path, p: &file::Probe) -> Option<ProbeKind> {
    if p.kind == file::ProbeWord::Prediction {
        return Some(ProbeKind::Prediction);
    }
    let url = match (&p.path, &p.url) {
        (Some(path), None) => {
            cx.good(&at.key("path"), url::check_path(path));
            None
        }
        (None, Some(text)) => Some(cx.good(&at.key("url"), url::parse(text))?),
        (Some(_), Some(_)) => {
            cx.clash(at, "path", "`path` and `url` exclude each other", "keep one of them");
            return None;
        }
        (None, None) => {
            let help = "add path = \"/ping\" (on the target's address), or url = \"http://…\"";
            cx.clash(at, "", "nothing says what is asked", help);
            return None;
        }
    };
    let method = p.method.clone().unwrap_or_else(|| "GET".to_owned());
    cx.good(&at.key("method"), target::check_method(&method));
    Some(ProbeKind::Http {
        path: url.as_ref().map_or_else(|| p.path.clone().unwrap_or_default(), |u| u.path.clone()),
        url,
        method,
        expect_status: p.expect_status.clone().unwrap_or_else(|| vec![200]),
        body_contains: p.body_contains.clone(),
    })
}
