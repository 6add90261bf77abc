//! `[[probe]]`: the steady state.

use std::time::Duration;

use super::fault::{Draft, check_program};
use super::{Context, kubernetes, target, url};
use crate::plan::{
    Across, AlertApi, AlertProbe, CommandProbe, KubernetesProbe, Phase, ProbeKind, ProbePlan, PrometheusProbe,
    QueryRange, Reduce, Service, Workload,
};
use crate::scenario::file::{self, ProbeWord};
use crate::scenario::tree::{Path, shortened};
use crate::scenario::words;
use crate::units::show_duration;

/// What a probe may refer to.
struct Known<'a> {
    faults: &'a [Draft],
    phases: Option<&'a [Phase]>,
}

/// All probes; none when one of them is broken.
pub(super) fn compile(cx: &mut Context, faults: &[Draft], phases: Option<&[Phase]>) -> Option<Vec<ProbePlan>> {
    let at = Path::root().key("probe");
    cx.unique(&at, "probe");
    let known = Known { faults, phases };
    // Every probe is read before any of them may end the list: all problems at once.
    let all: Vec<Option<ProbePlan>> = (0..cx.count("probe")).map(|i| probe(cx, &at.index(i), &known)).collect();
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

fn probe(cx: &mut Context, at: &Path, known: &Known<'_>) -> Option<ProbePlan> {
    let p: file::Probe = cx.section(at)?;
    let (usual, longest) = match p.kind {
        ProbeWord::Kubernetes => (Duration::from_secs(2), Duration::from_secs(10)),
        ProbeWord::Command => (Duration::from_secs(2), Duration::from_secs(300)),
        _ => (Duration::from_secs(1), Duration::from_secs(300)),
    };
    let timeout = p.timeout.map_or(usual, |d| d.0);
    cx.above_zero(&at.key("timeout"), timeout, longest);
    // An alert that fires before the fault proves nothing, and one that fires later is only seen by looking all the time.
    let always = || vec![file::When::Before, file::When::During, file::When::After];
    let usual = if p.kind == ProbeWord::Alert { always() } else { vec![file::When::Before] };
    let when = p.when.clone().unwrap_or(usual);
    let during = when.contains(&file::When::During);
    let every = p.every.map_or(Duration::from_secs(1), |d| d.0);
    cx.within(&at.key("every"), every, Duration::from_millis(100), Duration::from_secs(3600));
    if p.every.is_some() && !during {
        cx.clash(at, "every", "`every` is for probes during the load", "add \"during\" to `when`, or remove it");
    }
    Some(ProbePlan {
        name: p.name.0.clone(),
        kind: kind(cx, at, &p, known)?,
        timeout,
        before: when.contains(&file::When::Before),
        during: during.then_some(every),
        after: when.contains(&file::When::After),
    })
}

fn kind(cx: &mut Context, at: &Path, p: &file::Probe, known: &Known<'_>) -> Option<ProbeKind> {
    match p.kind {
        ProbeWord::Prediction => Some(ProbeKind::Prediction),
        ProbeWord::Http => http(cx, at, p),
        ProbeWord::Prometheus => prometheus(cx, at, p, known).map(ProbeKind::Prometheus),
        ProbeWord::Alert => alert(cx, at, p, known).map(ProbeKind::Alert),
        ProbeWord::Kubernetes => cluster(cx, at, p).map(ProbeKind::Kubernetes),
        ProbeWord::Command => command(cx, at, p).map(ProbeKind::Command),
    }
}

fn http(cx: &mut Context, at: &Path, p: &file::Probe) -> Option<ProbeKind> {
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
    for key in [("headers", p.headers.is_some()), ("ca", p.ca.is_some())].into_iter().filter(|(_, set)| *set) {
        if url.is_none() {
            let help = "remove it: a path on the target's address is asked as predictions are; or write `url`";
            cx.clash(at, key.0, format!("`{}` goes with `url`", key.0), help);
        }
    }
    let method = p.method.clone().unwrap_or_else(|| "GET".to_owned());
    cx.good(&at.key("method"), target::check_method(&method));
    let tls = url.as_ref().is_some_and(|u| u.tls);
    Some(ProbeKind::Http {
        path: url.as_ref().map_or_else(|| p.path.clone().unwrap_or_default(), |u| u.path.clone()),
        headers: target::headers(cx, at, p.headers.clone().unwrap_or_default()),
        ca: p.ca.as_deref().filter(|_| url.is_some()).and_then(|ca| target::certificates(cx, at, ca, tls)),
        url,
        method,
        expect_status: p.expect_status.clone().unwrap_or_else(|| vec![200]),
        body_contains: p.body_contains.clone(),
    })
}

/// A server that is asked by an API of its own: `url` is where that API begins.
fn server(cx: &mut Context, at: &Path, p: &file::Probe, api: &str) -> Option<Service> {
    let mut url = cx.good(&at.key("url"), url::parse(p.url.as_deref()?))?;
    if url.path.contains('?') || url.path.contains("/api/v") {
        let help = format!("write the address alone, for example \"http://127.0.0.1:9090\"; {api} is added to it");
        cx.wrong(&at.key("url"), "this is more than the server's address", help);
        return None;
    }
    url.path.truncate(url.path.trim_end_matches('/').len());
    Some(Service {
        headers: target::headers(cx, at, p.headers.clone().unwrap_or_default()),
        ca: p.ca.as_deref().and_then(|ca| target::certificates(cx, at, ca, url.tls)),
        url,
    })
}

fn prometheus(cx: &mut Context, at: &Path, p: &file::Probe, known: &Known<'_>) -> Option<PrometheusProbe> {
    let server = server(cx, at, p, "/api/v1/query");
    if p.expect_below.is_none() && p.expect_above.is_none() {
        cx.clash(at, "", "nothing is expected of the value", "add expect_below = 0.01, or expect_above = …");
    }
    for (key, bound) in [("expect_below", p.expect_below), ("expect_above", p.expect_above)] {
        if bound.is_some_and(|b| !b.is_finite()) {
            cx.wrong(&at.key(key), "a bound must be a finite number", "write a number");
        }
    }
    if let (Some(below), Some(above)) = (p.expect_below, p.expect_above)
        && above >= below
    {
        let help = "write the smaller number into `expect_above`";
        cx.clash(at, "expect_above", "no number is above the one and below the other", help);
    }
    let range = match p.window {
        Some(window) => Some(range(cx, at, p, window.0)?),
        None => {
            for key in [("step", p.step.is_some()), ("reduce", p.reduce.is_some())].into_iter().filter(|(_, set)| *set)
            {
                let help = "add window = \"30s\"; for several series write `across`";
                cx.clash(at, key.0, format!("`{}` is for values over time", key.0), help);
            }
            None
        }
    };
    let query = p.query.clone()?;
    if query.trim().is_empty() {
        cx.wrong(&at.key("query"), "the query is empty", "write what is asked, in PromQL");
    }
    warn_of_long_ranges(cx, at, p, &query, known);
    Some(PrometheusProbe {
        server: server?,
        query,
        range,
        across: p.across.map(|across| match across {
            file::AcrossWord::Avg => Across::By(Reduce::Avg),
            file::AcrossWord::Min => Across::By(Reduce::Min),
            file::AcrossWord::Max => Across::By(Reduce::Max),
            file::AcrossWord::Sum => Across::By(Reduce::Sum),
            file::AcrossWord::Each => Across::Each,
        }),
        below: p.expect_below,
        above: p.expect_above,
        no_data_passes: p.no_data? == file::NoDataWord::Pass,
    })
}

/// Prometheus refuses more than 11,000 values a series.
const VALUES_MAX: u128 = 11_000;

fn range(cx: &mut Context, at: &Path, p: &file::Probe, window: Duration) -> Option<QueryRange> {
    let second = Duration::from_secs(1);
    let window = cx.within(&at.key("window"), window, second, Duration::from_secs(24 * 3600))?;
    let step = p.step.map_or((window / 15).max(second), |d| d.0);
    let step = cx.within(&at.key("step"), step, Duration::from_millis(100), window)?;
    if window.as_nanos() / step.as_nanos() >= VALUES_MAX {
        let help = "write a longer `step`: a server answers with 11,000 values at most";
        cx.clash(at, "step", "these are too many values", help);
    }
    let reduce = match p.reduce.unwrap_or(file::ReduceWord::Last) {
        file::ReduceWord::Last => Reduce::Last,
        file::ReduceWord::Avg => Reduce::Avg,
        file::ReduceWord::Min => Reduce::Min,
        file::ReduceWord::Max => Reduce::Max,
        file::ReduceWord::Sum => Reduce::Sum,
    };
    Some(QueryRange { window, step, reduce })
}

/// `rate(x[5m])` in a phase of 20 s speaks of the phases before it as well.
fn warn_of_long_ranges(cx: &mut Context, at: &Path, p: &file::Probe, query: &str, known: &Known<'_>) {
    let later = p.when.as_ref().is_some_and(|w| w.iter().any(|w| *w != file::When::Before));
    let shortest = known.phases.and_then(|all| all.iter().filter(|p| p.measured).map(|p| p.duration).min());
    let (true, Some(shortest)) = (later, shortest) else { return };
    let ranges = query.split('[').skip(1).filter_map(|rest| rest.split([']', ':']).next());
    let longest = ranges.filter_map(|text| crate::units::parse_duration(text.trim()).ok()).max();
    if let Some(longest) = longest.filter(|l| *l > shortest) {
        cx.warn(format!(
            "{}: looks back over {}, but the shortest measured phase lasts {}: its value speaks of earlier phases too",
            at.key("query"),
            show_duration(longest),
            show_duration(shortest)
        ));
    }
}

fn alert(cx: &mut Context, at: &Path, p: &file::Probe, known: &Known<'_>) -> Option<AlertProbe> {
    let (api, path) = match p.via.unwrap_or(file::AlertVia::Prometheus) {
        file::AlertVia::Prometheus => (AlertApi::Prometheus, "/api/v1/alerts"),
        file::AlertVia::Alertmanager => (AlertApi::Alertmanager, "/api/v2/alerts"),
    };
    let server = server(cx, at, p, path);
    let faults = follows(cx, at, p, known);
    let within = match p.within {
        Some(within) => Some(cx.above_zero(&at.key("within"), within.0, Duration::from_secs(24 * 3600))?),
        None => None,
    };
    let labels = p.labels.clone().unwrap_or_default();
    if labels.contains_key("alertname") {
        let help = "remove it: `expect_fired` is the alert's name";
        cx.wrong(&at.key("labels").key("alertname"), "the alert's name stands above", help);
    }
    Some(AlertProbe { server: server?, api, alert: p.expect_fired.clone()?, labels, faults: faults?, within })
}

/// The faults that an alert must follow.
fn follows(cx: &mut Context, at: &Path, p: &file::Probe, known: &Known<'_>) -> Option<Vec<usize>> {
    let names: Vec<&str> = known.faults.iter().map(|f| f.name.as_str()).collect();
    if names.is_empty() {
        cx.clash(at, "", "there is no fault that the alert could follow", "add a [[fault]]");
        return None;
    }
    let Some(name) = &p.fault else { return Some((0..names.len()).collect()) };
    let name = name.0.as_str();
    // The name of a fault that repeats stands for every one of them.
    let is_it = |n: &str| {
        n == name
            || n.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|k| !k.is_empty() && k.bytes().all(|b| b.is_ascii_digit()))
    };
    let exact: Vec<usize> = (0..names.len()).filter(|i| names[*i] == name).collect();
    let all = if exact.is_empty() { (0..names.len()).filter(|i| is_it(names[*i])).collect() } else { exact };
    if all.is_empty() {
        let help = words::did_you_mean(name, &names, "faults");
        cx.wrong(&at.key("fault"), format!("there is no fault `{}`", shortened(name)), help);
        return None;
    }
    Some(all)
}

fn cluster(cx: &mut Context, at: &Path, p: &file::Probe) -> Option<KubernetesProbe> {
    let of = match (&p.deployment, &p.selector) {
        (Some(name), None) => cx
            .good(&at.key("deployment"), kubernetes::dns_name(name, "a Deployment"))
            .map(|()| Workload::Deployment(name.clone())),
        (None, Some(text)) => cx.good(&at.key("selector"), kubernetes::labels(text)).map(Workload::Labelled),
        (Some(_), Some(_)) => {
            cx.clash(at, "selector", "`deployment` and `selector` exclude each other", "keep one of them");
            None
        }
        (None, None) => {
            let help = "add deployment = \"model-server\", or selector = \"app=model-server\"";
            cx.clash(at, "", "nothing says what is counted", help);
            None
        }
    };
    let place = Path::root().key("platform").key("kubernetes");
    let of_platform = |key: &str| cx.root.at(&place.key(key)).and_then(|n| n.text()).map(str::to_owned);
    let context = p.context.clone().or_else(|| of_platform("context")).filter(|c| !c.is_empty());
    let Some(namespace) = p.namespace.clone().or_else(|| of_platform("namespace")) else {
        let help = "add namespace = \"models\": there is no [platform.kubernetes] that names one";
        cx.clash(at, "", "nothing says which namespace", help);
        return None;
    };
    cx.good(&at.key("namespace"), kubernetes::dns_name(&namespace, "a namespace"));
    Some(KubernetesProbe { context, namespace, of: of?, ready: p.expect_ready? })
}

fn command(cx: &mut Context, at: &Path, p: &file::Probe) -> Option<CommandProbe> {
    let argv = p.command.clone()?;
    check_program(cx, &at.key("command"), &argv);
    Some(CommandProbe {
        argv,
        expect_exit: p.expect_exit.clone().unwrap_or_else(|| vec![0]),
        output_contains: p.output_contains.clone(),
    })
}
