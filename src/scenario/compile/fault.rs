//! `[[fault]]`: what is broken, when, and what it hits.

use std::time::Duration;

use super::payload::{self, Sent};
use super::platform::{self, Known};
use super::via::{Doer, Place, doer};
use super::{Context, chaos_mesh, registry_alias, toxiproxy};
use crate::plan::{
    ChaosMesh, Direction, Experiment, FaultKind, FaultPlan, FaultTarget, Hook, IoMethod, IoScope, KillMethod, Lasts,
    LocalPlatform, Mode, Phase, ProofRule, Repeat, Request, Via,
};
use crate::scenario::file::{self, FaultWord};
use crate::scenario::tree::{Path, Value, shortened};
use crate::scenario::{limits, words};
use crate::units::{Offset, Ratio, parse_duration, show_duration};

/// A limit on what a command may take.
pub(super) const LONGEST_COMMAND: Duration = Duration::from_secs(600);

/// What a rolling restart leaves a replica for its last requests, as Kubernetes does.
const ROLLING_GRACE: Duration = Duration::from_secs(30);

/// A fault of the plan, or the name of one that is broken, so that what speaks of it is not blamed.
pub(super) struct Draft {
    /// Its name; `NAME-1` … where it repeats.
    pub(super) name: String,
    /// Its index in the file.
    pub(super) index: usize,
    /// What it means.
    pub(super) plan: Option<FaultPlan>,
}

/// All faults, repeated ones written out, in the order of the file.
pub(super) fn compile(cx: &mut Context, phases: Option<&[Phase]>, platform: Option<&Known>, sent: &Sent) -> Vec<Draft> {
    let at = Path::root().key("fault");
    let names = cx.names(&at);
    let mut all = Vec::new();
    for (index, raw_name) in names.into_iter().enumerate() {
        match cx.section::<file::Fault>(&at.index(index)) {
            Some(fault) => all.extend(one(cx, &at.index(index), index, fault, phases, platform, sent)),
            None => all.push(Draft { name: raw_name, index, plan: None }),
        }
    }
    check_names(cx, &at, &all);
    if all.len() > limits::FAULTS {
        let message = format!("{} faults with every repetition", all.len());
        cx.wrong(&at, message, format!("at most {} are allowed", limits::FAULTS));
    }
    all
}

/// Those of the file that became several, with the name that the file gives them.
pub(super) fn repeats(cx: &Context, all: &[Draft]) -> Vec<Repeat> {
    let names = cx.names(&Path::root().key("fault"));
    let of = |(index, name): (usize, &String)| {
        let first = all.iter().position(|d| d.index == index)?;
        let times = all[first..].iter().take_while(|d| d.index == index).count();
        (times > 1).then(|| Repeat { name: name.clone(), faults: first..first + times })
    };
    names.iter().enumerate().filter_map(of).collect()
}

fn check_names(cx: &mut Context, at: &Path, all: &[Draft]) {
    for (i, draft) in all.iter().enumerate().filter(|(_, d)| !d.name.is_empty()) {
        if all[..i].iter().any(|other| other.name == draft.name && other.index != draft.index) {
            let message = format!("a fault called `{}` stands above already", draft.name);
            cx.wrong(&at.index(draft.index).key("name"), message, "give this one another name");
        }
    }
}

fn one(
    cx: &mut Context,
    at: &Path,
    index: usize,
    f: file::Fault,
    phases: Option<&[Phase]>,
    platform: Option<&Known>,
    sent: &Sent,
) -> Vec<Draft> {
    let via = match platform {
        _ if f.kind.is_payload() => payload::via(cx, at, &f),
        Some(platform) => via(cx, at, &f, platform),
        None => Some(Via::Platform),
    };
    let by_mesh = matches!(via, Some(Via::ChaosMesh(_)));
    let kind =
        kind(cx, at, &f, platform, sent).and_then(|k| if by_mesh { chaos_mesh::fits(cx, at, &f, k) } else { Some(k) });
    let target = target(cx, at, &f, platform);
    let lasts = lasts(cx, at, &f, kind.as_ref());
    let starts = starts(cx, at, &f, phases);
    if let (Some(lasts), Some(starts), Some(phases)) = (lasts, &starts, phases) {
        check_end(cx, at, &f, lasts, starts, phases);
    }
    check_volume(cx, at, f.kind, platform);
    let make = |at: Option<Offset>| {
        Some(FaultPlan {
            name: String::new(),
            kind: kind.clone()?,
            target: target.clone()?,
            at: at?,
            lasts: lasts?,
            overlap: f.overlap.unwrap_or(false),
            via: via.clone()?,
        })
    };
    let name = &f.name.0;
    let count = f.times.filter(|_| f.every.is_some()).unwrap_or(1) as usize;
    (0..count)
        .map(|n| {
            let name = if count == 1 { name.clone() } else { format!("{name}-{}", n + 1) };
            let plan = make(starts.as_ref().and_then(|s| s.get(n).copied()));
            let plan = cx.sound(at, plan);
            Draft { index, plan: plan.map(|p| FaultPlan { name: name.clone(), ..p }), name }
        })
        .collect()
}

/// When it starts, each time; none when that is unknown or wrong.
fn starts(cx: &mut Context, at: &Path, f: &file::Fault, phases: Option<&[Phase]>) -> Option<Vec<Offset>> {
    let (every, times) = repetition(cx, at, f)?;
    let Some(phases) = phases else {
        check_phase_word(cx, &at.key("at"), &f.at);
        return None;
    };
    let first = cx.good(&at.key("at"), instant(&f.at, phases))?;
    let end = phases.last()?.end();
    let starts: Vec<Offset> = (0..times).map(|n| first + every * n).collect();
    if let Some(late) = starts.iter().position(|s| *s >= end) {
        let (key, which) =
            if late == 0 { ("at", "it".to_owned()) } else { ("times", format!("start {} of {times}", late + 1)) };
        let when = show_duration(starts[late].as_duration());
        let message = format!("{which} falls at {when}, but the load ends at {}", show_duration(end.as_duration()));
        cx.wrong(&at.key(key), message, "move it before the end, or make a phase longer");
        return None;
    }
    Some(starts)
}

fn repetition(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<(Duration, u32)> {
    match (f.every, f.times) {
        (None, None) => Some((Duration::ZERO, 1)),
        (Some(every), Some(times)) => {
            let every = cx.above_zero(&at.key("every"), every.0, limits::TOTAL)?;
            if f.name.0.len() + times.to_string().len() + 1 > 64 {
                cx.wrong(&at.key("name"), "too long for a fault that repeats", "leave room for `-1`, `-2`, …");
            }
            if f.until.is_some() {
                cx.wrong(&at.key("until"), "a fault that lasts to the end cannot repeat", "write `for` instead");
            }
            if !f.overlap.unwrap_or(false) && f.lasts.is_some_and(|d| d.0 >= every) {
                cx.wrong(&at.key("every"), "it starts again before it has ended", "make `every` longer than `for`");
            }
            Some((every, times))
        }
        (Some(_), None) => {
            cx.clash(at, "every", "`every` needs `times`", "add times = 5");
            None
        }
        (None, Some(_)) => {
            cx.clash(at, "times", "`times` needs `every`", "add every = \"60s\"");
            None
        }
    }
}

/// Reads `phase`, `phase+2s` or `27s`.
fn instant(text: &str, phases: &[Phase]) -> Result<Offset, (String, String)> {
    let (name, offset) = text.split_once('+').map_or((text.trim(), None), |(n, o)| (n.trim(), Some(o.trim())));
    let help = "write a phase and an offset (\"fault+2s\"), a phase (\"fault\"), or an offset from the start (\"27s\")";
    match phases.iter().find(|p| p.name == name) {
        Some(phase) => {
            let offset = offset.map_or(Ok(Duration::ZERO), parse_duration).map_err(|m| split(&m, help))?;
            if offset >= phase.duration {
                let length = show_duration(phase.duration);
                let message =
                    format!("`{name}` lasts only {length}, so nothing of it is left after {}", show_duration(offset));
                return Err((message, format!("write an offset below {length}, or name a later phase")));
            }
            Ok(phase.start + offset)
        }
        None => match parse_duration(text) {
            Ok(offset) => Ok(Offset::from(offset)),
            Err(_) if name.starts_with(|c: char| c.is_ascii_digit()) && offset.is_none() => {
                Err(split(&parse_duration(text).err().unwrap_or_default(), help))
            }
            Err(_) => {
                let names: Vec<&str> = phases.iter().map(|p| p.name.as_str()).collect();
                let near = words::did_you_mean(name, &names, "phases");
                Err((format!("there is no phase `{}`", shortened(name)), format!("{near}; {help}")))
            }
        },
    }
}

/// A message of `parse_duration`, taken apart into what is wrong and what to write.
fn split(message: &str, help: &str) -> (String, String) {
    let (message, help) = message.rsplit_once(": ").unwrap_or((message, help));
    (message.to_owned(), help.to_owned())
}

/// The name in `at` can be checked even when lengths of phases cannot.
fn check_phase_word(cx: &mut Context, at: &Path, text: &str) {
    let name = text.split('+').next().unwrap_or_default().trim();
    let names = cx.names(&Path::root().key("phase"));
    if parse_duration(text).is_err() && !names.iter().any(|n| n == name) && !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = words::did_you_mean(name, &names, "phases");
        cx.wrong(at, format!("there is no phase `{}`", shortened(name)), help);
    }
}

/// How long it lasts: the inner none is a one-shot fault, the outer one a mistake.
fn lasts(cx: &mut Context, at: &Path, f: &file::Fault, kind: Option<&FaultKind>) -> Option<Option<Lasts>> {
    if f.kind == FaultWord::ChaosMesh {
        let Some(FaultKind::ChaosMesh(experiment)) = kind else { return None };
        return experiment_lasts(cx, at, f, experiment);
    }
    match (f.lasts, &f.until) {
        (Some(_), Some(_)) => {
            cx.clash(at, "until", "`for` and `until` exclude each other", "keep one of them");
            None
        }
        (Some(d), None) => cx.above_zero(&at.key("for"), d.0, limits::TOTAL).map(|d| Some(Lasts::For(d))),
        (None, Some(file::Until::End)) => Some(Some(Lasts::UntilEnd)),
        (None, None)
            if matches!(
                f.kind,
                FaultWord::PodKill | FaultWord::RollingRestart | FaultWord::Command | FaultWord::Http
            ) =>
        {
            Some(None)
        }
        (None, None) => {
            let message = format!("`{}` lasts, but nothing says how long", f.kind.word());
            cx.clash(at, "", message, "add for = \"10s\", or until = \"end\"");
            None
        }
    }
}

/// An experiment of Chaos Mesh may say itself how long it lasts.
fn experiment_lasts(cx: &mut Context, at: &Path, f: &file::Fault, e: &Experiment) -> Option<Option<Lasts>> {
    let (own, key) = (chaos_mesh::own_duration(e), if f.until.is_some() { "until" } else { "for" });
    let given = f.lasts.is_some() || f.until.is_some();
    if chaos_mesh::happens_once(e) {
        if given {
            let message = format!("a {} of this action happens once", e.chaos.word());
            cx.clash(at, key, message, format!("remove `{key}`"));
        }
        return (!given).then_some(None);
    }
    match (f.lasts, f.until.is_some(), own) {
        (Some(_), true, _) => {
            cx.clash(at, "until", "`for` and `until` exclude each other", "keep one of them");
            None
        }
        (Some(d), false, Some(own)) if d.0 == own => Some(Some(Lasts::For(own))),
        (_, _, Some(own)) if given => {
            let message = format!("the experiment itself says how long: {}", show_duration(own));
            cx.clash(at, key, message, format!("remove `{key}`, or the experiment's `duration`"));
            None
        }
        (Some(d), false, _) => cx.above_zero(&at.key("for"), d.0, limits::TOTAL).map(|d| Some(Lasts::For(d))),
        (None, true, _) => Some(Some(Lasts::UntilEnd)),
        (None, false, Some(own)) => cx.above_zero(&at.key("spec"), own, limits::TOTAL).map(|d| Some(Lasts::For(d))),
        (None, false, None) => {
            let help = "add for = \"60s\", or a `duration` to the experiment";
            cx.clash(at, "", "this experiment lasts, but nothing says how long", help);
            None
        }
    }
}

fn check_end(cx: &mut Context, at: &Path, f: &file::Fault, lasts: Option<Lasts>, starts: &[Offset], phases: &[Phase]) {
    let (Some(Lasts::For(length)), Some(end)) = (lasts, phases.last().map(Phase::end)) else { return };
    if let Some(start) = starts.iter().find(|s| **s + length > end) {
        let until = show_duration((*start + length).as_duration());
        let key = if f.times.is_some() && *start != starts[0] { "times" } else { "for" };
        let message = format!("it lasts until {until}, but the load ends at {}", show_duration(end.as_duration()));
        let help = format!(
            "at most {} fit; or make a phase longer, or write until = \"end\"",
            show_duration(end.since(*start))
        );
        cx.wrong(&at.key(key), message, help);
    }
}

/// Who does it; none when nobody can.
fn via(cx: &mut Context, at: &Path, f: &file::Fault, platform: &Known) -> Option<Via> {
    let key = if f.via.is_some() { "via" } else { "kind" };
    let doer = cx.good(&at.key(key), doer(f.kind, Place::of(platform), f.via))?;
    if doer != Doer::Toxiproxy {
        toxiproxy::check_absent(cx, at, f);
    }
    match doer {
        Doer::Platform if f.kind == FaultWord::ChaosMesh => {
            chaos_mesh::not_via(cx, at, f).map(|()| Via::ChaosMesh(ChaosMesh::default()))
        }
        Doer::Platform => chaos_mesh::not_via(cx, at, f).map(|()| Via::Platform),
        Doer::ChaosMesh => chaos_mesh::via(cx, at, f, platform).map(Via::ChaosMesh),
        Doer::Toxiproxy if f.kind.is_network() && f.via.is_none() && f.toxiproxy.is_none() => {
            let message =
                format!("`{}` needs a platform: without one there is nothing that it could act on", f.kind.word());
            let help = "add [platform.local], or write via = \"toxiproxy\" or kind = \"command\"";
            cx.wrong(&at.key(key), message, help);
            None
        }
        Doer::Toxiproxy => toxiproxy::compile(cx, at, f).map(Via::Toxiproxy),
    }
}

fn check_volume(cx: &mut Context, at: &Path, kind: FaultWord, platform: Option<&Known>) {
    let Some(local) = platform.and_then(Known::local).filter(|_| kind.is_io()) else { return };
    let in_text = |text: &String| text.contains("{volume}");
    // The value may be none because the folder is missing; that has been reported where it stands.
    if cx.root.at(&Path::root().key("platform").key("local").key("volume")).is_none() {
        let message = format!("`{}` acts on the volume, and there is none", kind.word());
        cx.wrong(
            &at.key("kind"),
            message,
            "add volume = \"models/…\" to [platform.local], and {volume} to its command",
        );
    } else if !local.command.iter().any(in_text) && !local.env.values().any(in_text) {
        let message = "no replica is told where the volume is, so this fault would touch nothing";
        cx.wrong(&at.key("kind"), message, "write {volume} in the command or env of [platform.local]");
    }
}

fn kind(cx: &mut Context, at: &Path, f: &file::Fault, platform: Option<&Known>, sent: &Sent) -> Option<FaultKind> {
    let direction = || match f.direction {
        Some(file::DirectionWord::To) => Direction::To,
        Some(file::DirectionWord::From) => Direction::From,
        Some(file::DirectionWord::Both) | None => Direction::Both,
    };
    Some(match f.kind {
        FaultWord::PodKill => {
            FaultKind::PodKill { grace: grace(cx, at, f)?, method: kill_method(cx, at, f, platform)? }
        }
        FaultWord::RollingRestart => {
            FaultKind::RollingRestart { grace: grace(cx, at, f)?.unwrap_or(ROLLING_GRACE), pause: pause(cx, at, f)? }
        }
        FaultWord::PodFailure => FaultKind::PodFailure,
        FaultWord::PodPause => FaultKind::PodPause,
        FaultWord::NetworkDelay => {
            let (latency, jitter) = delay(cx, at, f)?;
            FaultKind::NetworkDelay { latency, jitter, direction: direction() }
        }
        FaultWord::NetworkBandwidth => {
            let help = "write bytes per second as a number, or \"64KiB\", \"1MiB\" (which is Chaos Mesh's \"1mbps\", \
                        and Toxiproxy's 1024)";
            let rate = bytes(cx, &at.key("rate"), f.rate.as_ref()?, "a rate", help)?;
            FaultKind::NetworkBandwidth { rate, direction: direction() }
        }
        FaultWord::NetworkPartition => FaultKind::NetworkPartition { direction: direction() },
        FaultWord::NetworkReset => FaultKind::NetworkReset,
        FaultWord::NetworkLoss => FaultKind::NetworkLoss { share: percentage(cx, &at.key("percent"), f.percent?)? },
        FaultWord::CpuStress => FaultKind::CpuStress {
            workers: f.workers.unwrap_or(1),
            load: percentage(cx, &at.key("load"), f.load.unwrap_or(100.0))?,
        },
        FaultWord::MemoryStress => {
            let help = "write bytes as a number, or \"256MiB\", \"1GiB\"";
            FaultKind::MemoryStress { bytes: bytes(cx, &at.key("size"), f.size.as_ref()?, "a size", help)? }
        }
        FaultWord::IoLatency => {
            let delay = cx.above_zero(&at.key("delay"), f.delay?.0, limits::LATENCY);
            FaultKind::IoLatency { scope: scope(cx, at, f)?, delay: delay? }
        }
        FaultWord::IoError => {
            let errno = errno(cx, &at.key("errno"), f.errno.as_ref()?);
            FaultKind::IoError { scope: scope(cx, at, f)?, errno: errno? }
        }
        FaultWord::DiskFull => {
            let text = "the volume is a read-only view: a replica's writes to it fail before and after `disk-full` as \
                        well, only with EROFS; `writable = true` in [platform.local] gives each replica a copy";
            if !writable(cx) && !cx.warnings.iter().any(|w| w == text) {
                cx.warn(text);
            }
            FaultKind::DiskFull { scope: IoScope { methods: vec![IoMethod::Write], ..scope(cx, at, f)? } }
        }
        FaultWord::FileCorrupt => FaultKind::FileCorrupt {
            bytes: f.bytes.unwrap_or(1),
            scope: IoScope { methods: vec![IoMethod::Read], ..scope(cx, at, f)? },
        },
        FaultWord::Command => return command(cx, at, f),
        FaultWord::Http => return http(cx, at, f, platform),
        FaultWord::Toxiproxy => {
            FaultKind::Toxiproxy { toxic: toxiproxy::toxic(cx, &at.key("toxic"), f.toxic.as_ref()?)? }
        }
        FaultWord::ChaosMesh => return chaos_mesh::compile(cx, at, f),
        FaultWord::PayloadDrift
        | FaultWord::PayloadDrop
        | FaultWord::PayloadCorrupt
        | FaultWord::PayloadMalformed
        | FaultWord::PayloadOversize
        | FaultWord::PayloadCacheBust => return payload::compile(cx, at, f, sent),
        FaultWord::RegistryAlias => return registry_alias::compile(cx, at, f, platform),
    })
}

fn grace(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<Option<Duration>> {
    let Some(grace) = f.grace else { return Some(None) };
    cx.above_zero(&at.key("grace"), grace.0, LONGEST_COMMAND).map(Some)
}

/// By which call a pod is killed.
fn kill_method(cx: &mut Context, at: &Path, f: &file::Fault, platform: Option<&Known>) -> Option<KillMethod> {
    let Some(word) = f.method else { return Some(KillMethod::Delete) };
    if platform.is_some_and(|p| !matches!(p, Known::Kubernetes(_))) {
        cx.clash(at, "method", "`method` is for pods", "remove it: only [platform.kubernetes] has several ways");
        return None;
    }
    if f.via == Some(file::ViaWord::ChaosMesh) {
        cx.clash(at, "method", "`method` is what Kubernetes itself does, not Chaos Mesh", "remove it, or `via`");
        return None;
    }
    if word == file::KillWord::Force && f.grace.is_some() {
        cx.clash(at, "grace", "`method = \"force\"` leaves no grace", "remove `grace`, or write method = \"delete\"");
        return None;
    }
    Some(match word {
        file::KillWord::Delete => KillMethod::Delete,
        file::KillWord::Evict => KillMethod::Evict,
        file::KillWord::Force => KillMethod::Force,
    })
}

fn pause(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<Duration> {
    let pause = f.pause.map_or(Duration::ZERO, |d| d.0);
    if pause > LONGEST_COMMAND {
        let message = format!("a pause of {} is too long", show_duration(pause));
        cx.wrong(&at.key("pause"), message, format!("write at most {}", show_duration(LONGEST_COMMAND)));
        return None;
    }
    Some(pause)
}

fn delay(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<(Duration, Duration)> {
    let latency = cx.above_zero(&at.key("latency"), f.latency?.0, limits::LATENCY)?;
    let jitter = f.jitter.map_or(Duration::ZERO, |d| d.0);
    if jitter > latency {
        let message = format!("the jitter {} is larger than the latency", show_duration(jitter));
        cx.wrong(&at.key("jitter"), message, format!("write at most {}", show_duration(latency)));
        return None;
    }
    Some((latency, jitter))
}

/// A number of bytes above zero.
fn bytes(cx: &mut Context, at: &Path, given: &file::Bytes, what: &str, help: &str) -> Option<u64> {
    let bytes = match given {
        file::Bytes::Number(n) => Some(*n),
        file::Bytes::Text(text) => words::bytes(text),
    };
    if bytes.is_none_or(|n| n == 0) {
        cx.wrong(at, format!("not {what} above zero"), help);
        return None;
    }
    bytes
}

fn errno(cx: &mut Context, at: &Path, errno: &file::Errno) -> Option<i32> {
    let name = match errno {
        file::Errno::Number(n) => return Some(*n),
        file::Errno::Name(name) => name,
    };
    let found = words::ERRNOS.iter().find(|(known, _)| known == name).map(|(_, n)| *n);
    if found.is_none() {
        let names: Vec<&str> = words::ERRNOS.iter().map(|(n, _)| *n).collect();
        cx.wrong(at, format!("unknown errno `{}`", shortened(name)), words::did_you_mean(name, &names, "there are"));
    }
    found
}

fn scope(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<IoScope> {
    if let Some(path) = &f.path
        && (path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == ".."))
    {
        cx.wrong(&at.key("path"), "not a path inside the volume", "write for example \"model.bin\" or \"*.bin\"");
    }
    let mut methods: Vec<IoMethod> = f
        .methods
        .as_deref()
        .map_or_else(|| vec![IoMethod::Open, IoMethod::Read], |m| m.iter().map(|word| method(*word)).collect());
    methods.sort_unstable();
    methods.dedup();
    if methods.contains(&IoMethod::Write) && !writable(cx) {
        cx.wrong(
            &at.key("methods"),
            "`write` would hit nothing: replicas may not write to the volume",
            "add writable = true to [platform.local], or leave `write` out",
        );
    }
    let share = percentage(cx, &at.key("percent"), f.percent.unwrap_or(100.0))?;
    Some(IoScope { path: f.path.clone(), methods, share })
}

fn percentage(cx: &mut Context, at: &Path, percent: f64) -> Option<Ratio> {
    let share = Ratio::new(percent / 100.0);
    cx.good(at, share.map_err(|m| (m, "write a percentage up to 100".to_owned())))
}

/// Whether replicas have copies of the volume that they may write to.
fn writable(cx: &Context) -> bool {
    let at = Path::root().key("platform").key("local").key("writable");
    matches!(cx.root.at(&at).map(|node| &node.value), Some(Value::Bool(true)))
}

fn method(word: file::MethodWord) -> IoMethod {
    match word {
        file::MethodWord::Open => IoMethod::Open,
        file::MethodWord::Read => IoMethod::Read,
        file::MethodWord::Getattr => IoMethod::Getattr,
        file::MethodWord::Readdir => IoMethod::Readdir,
        file::MethodWord::Lookup => IoMethod::Lookup,
        file::MethodWord::Write => IoMethod::Write,
    }
}

fn command(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<FaultKind> {
    let timeout = f.timeout.map_or(Duration::from_secs(30), |d| d.0);
    cx.above_zero(&at.key("timeout"), timeout, LONGEST_COMMAND);
    let raw = |key: &str| cx.root.at(&at.key(key)).map(|n| n.raw_strings()).unwrap_or_default();
    let (run_text, undo_text) = (raw("run"), raw("undo"));
    let undo = match f.undo.as_ref()? {
        file::Undo::Nothing(file::NoneWord::None) => None,
        file::Undo::Command(command) => Some(command.clone()),
        file::Undo::Request(_) => {
            cx.wrong(&at.key("undo"), "a request does not go with `command`", "write kind = \"http\", or a command");
            return None;
        }
    };
    let file::Run::Command(run) = f.run.as_ref()? else {
        cx.wrong(&at.key("run"), "a request does not go with `command`", "write kind = \"http\", or a command");
        return None;
    };
    let run = run.clone();
    check_program(cx, &at.key("run"), &run);
    check_program(cx, &at.key("undo"), undo.as_deref().unwrap_or(&run));
    let undo_text = undo.as_ref().map(|_| undo_text);
    let proof = proof(cx, &at.key("proof"), f.proof.as_ref()?)?;
    Some(FaultKind::Command(Hook { run, undo, timeout, proof, run_text, undo_text }))
}

fn http(cx: &mut Context, at: &Path, f: &file::Fault, platform: Option<&Known>) -> Option<FaultKind> {
    let timeout = f.timeout.map_or(Duration::from_secs(30), |d| d.0);
    cx.above_zero(&at.key("timeout"), timeout, LONGEST_COMMAND);
    let help = "write { method = \"POST\", url = \"http://…\" }, or kind = \"command\"";
    // Both are looked at before either may end it: all problems at once.
    let run = match f.run.as_ref()? {
        file::Run::Request(r) => request(cx, &at.key("run"), r, platform),
        file::Run::Command(_) => {
            cx.wrong(&at.key("run"), "a command does not go with `http`", help);
            return None;
        }
    };
    let undo = match f.undo.as_ref()? {
        file::Undo::Nothing(file::NoneWord::None) => None,
        file::Undo::Request(r) => Some(request(cx, &at.key("undo"), r, platform)?),
        file::Undo::Command(_) => {
            cx.wrong(&at.key("undo"), "a command does not go with `http`", help);
            return None;
        }
    };
    let ((run, run_text), (undo, undo_text)) = (run?, undo.unzip());
    let proof = proof(cx, &at.key("proof"), f.proof.as_ref()?)?;
    Some(FaultKind::Http(Box::new(Hook { run, undo, timeout, proof, run_text, undo_text })))
}

/// The request, and the same as written.
fn request(cx: &mut Context, at: &Path, r: &file::Request, platform: Option<&Known>) -> Option<(Request, Request)> {
    cx.good(&at.key("method"), super::target::check_method(&r.method));
    let headers = super::target::headers(cx, at, r.headers.clone().unwrap_or_default());
    let filled = registry_alias::dependency_filled(cx, &at.key("url"), &r.url, platform);
    let url = filled.and_then(|url| cx.good(&at.key("url"), super::url::parse(&url)));
    let ca = r.ca.as_deref().map(|ca| super::target::certificates(cx, at, ca, url.as_ref().is_none_or(|u| u.tls)));
    url?;
    let headers_text =
        headers.iter().map(|(name, _)| (name.clone(), raw_at(cx, &at.key("headers").key(name)))).collect();
    let expanded = Request {
        method: r.method.clone(),
        url: r.url.clone(),
        headers: headers.into_iter().collect(),
        // Whoever sends the undo may stand in another folder.
        ca: ca.flatten().map(|path| std::path::absolute(&path).unwrap_or(path)),
        body: r.body.clone().unwrap_or_default(),
        expect_status: r.expect_status.clone().unwrap_or_default(),
    };
    let (url, body) = (raw_at(cx, &at.key("url")), raw_at(cx, &at.key("body")));
    let text = Request { url, headers: headers_text, body, ..expanded.clone() };
    Some((expanded, text))
}

/// A text as written, `${VAR}` unexpanded.
pub(super) fn raw_at(cx: &Context, at: &Path) -> String {
    cx.root.at(at).and_then(|n| n.raw_text()).unwrap_or_default().to_owned()
}

pub(super) fn check_program(cx: &mut Context, at: &Path, command: &[String]) {
    if command.first().is_some_and(|c| c.trim().is_empty()) {
        cx.wrong(&at.index(0), "the program has no name", "write the program first, then its arguments");
    }
    if command.iter().any(|c| c.contains('\0')) {
        cx.wrong(at, "a zero byte cannot go to a program", "remove it");
    }
}

pub(super) fn proof(cx: &mut Context, at: &Path, proof: &file::Proof) -> Option<ProofRule> {
    let rule = match proof {
        file::Proof::Trust(file::TrustWord::Trust) => return Some(ProofRule::Trust),
        file::Proof::Probe(rule) => rule,
    };
    super::probe::check_name(cx, &at.key("probe"), &rule.probe)?;
    Some(ProofRule::Probe { probe: rule.probe.clone(), becomes_failing: rule.becomes == file::Becomes::Failing })
}

/// What it hits; none when that is unknown or wrong.
fn target(cx: &mut Context, at: &Path, f: &file::Fault, platform: Option<&Known>) -> Option<FaultTarget> {
    if f.kind.is_payload() {
        return Some(FaultTarget::Requests);
    }
    let outside =
        [FaultWord::Command, FaultWord::Http, FaultWord::ChaosMesh, FaultWord::Toxiproxy, FaultWord::RegistryAlias];
    if outside.contains(&f.kind) || toxiproxy::is_meant(f) {
        return Some(FaultTarget::Outside);
    }
    if let Some(Known::Absent) = platform {
        return None;
    }
    let chosen = [("mode", f.mode.is_some()), ("replica", f.replica.is_some()), ("target", f.target.is_some())];
    let chosen: Vec<&str> = chosen.into_iter().filter_map(|(key, set)| set.then_some(key)).collect();
    if let [_, .., last] = chosen.as_slice() {
        let message = format!("{} exclude each other", words::listed(&chosen));
        cx.clash(at, last, message, "say once what is hit");
        return None;
    }
    if f.value.is_some() && !matches!(f.mode, Some(file::ModeWord::Fixed | file::ModeWord::FixedPercent)) {
        let help = "remove it, or write mode = \"fixed\" or \"fixed-percent\"";
        cx.clash(at, "value", "`value` goes with the modes fixed and fixed-percent", help);
        return None;
    }
    if let Some(Known::Docker(_)) = platform {
        on_docker(cx, at, f)?;
    }
    let local = platform.and_then(Known::local);
    match (&f.target, f.replica) {
        (Some(name), _) => dependency(cx, &at.key("target"), name),
        (None, Some(replica)) => one_replica(cx, &at.key("replica"), replica, local),
        (None, None) => mode(cx, at, f, local).map(FaultTarget::Replicas),
    }
}

/// What stands between containers and what they call is no link of ours.
fn on_docker(cx: &mut Context, at: &Path, f: &file::Fault) -> Option<()> {
    if f.target.is_none() || matches!(f.via, Some(file::ViaWord::Toxiproxy)) {
        return Some(());
    }
    let (key, why, help) = match f.kind {
        FaultWord::NetworkDelay | FaultWord::NetworkBandwidth | FaultWord::NetworkReset => (
            "target",
            "no link stands between the containers and what they call",
            "put a Toxiproxy there and write via = \"toxiproxy\"; or write network-partition, which takes it off its networks",
        ),
        FaultWord::NetworkPartition if f.direction.is_some() => {
            ("direction", "a dependency is taken off its networks, which cuts both ways", "remove `direction`")
        }
        _ => return Some(()),
    };
    let message = format!("`{}` cannot be done here on [platform.docker]: {why}", f.kind.word());
    cx.wrong(&at.key(key), message, help);
    None
}

fn dependency(cx: &mut Context, at: &Path, name: &str) -> Option<FaultTarget> {
    let names = platform::place(cx).map(|p| cx.names(&p.key("dependency"))).unwrap_or_default();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.contains(&name) {
        return Some(FaultTarget::Dependency(name.to_owned()));
    }
    cx.wrong(
        at,
        format!("there is no dependency `{}`", shortened(name)),
        words::did_you_mean(name, &names, "dependencies"),
    );
    None
}

fn one_replica(cx: &mut Context, at: &Path, replica: u16, local: Option<&LocalPlatform>) -> Option<FaultTarget> {
    match local.map(|l| l.replicas) {
        Some(replicas) if replica >= replicas => {
            let message = format!("there is no replica {replica}: the platform has {replicas}, counted from 0");
            cx.wrong(at, message, format!("write 0 to {}", replicas - 1));
            None
        }
        _ => Some(FaultTarget::Replica(replica)),
    }
}

fn mode(cx: &mut Context, at: &Path, f: &file::Fault, local: Option<&LocalPlatform>) -> Option<Mode> {
    // Each replica has a view of the volume of its own, but a volume is shared where it matters: a slow disk is slow
    // for all of them.
    let default =
        if f.kind.is_io() || f.kind == FaultWord::RollingRestart { file::ModeWord::All } else { file::ModeWord::One };
    let replicas = local.map_or(u16::MAX, |l| l.replicas);
    match (f.mode.unwrap_or(default), f.value) {
        (file::ModeWord::One, _) => Some(Mode::One),
        (file::ModeWord::All, _) => Some(Mode::All),
        (file::ModeWord::Fixed, Some(n)) if n > replicas => {
            cx.wrong(&at.key("value"), format!("there are only {replicas} replicas"), format!("write 1 to {replicas}"));
            None
        }
        (file::ModeWord::Fixed, Some(n)) => Some(Mode::Fixed(n)),
        (file::ModeWord::FixedPercent, Some(n)) => Some(Mode::FixedPercent(n as u8)),
        (file::ModeWord::Fixed | file::ModeWord::FixedPercent, None) => {
            cx.clash(at, "mode", "this mode needs `value`", "add value = 2 (a number, or a percentage)");
            None
        }
    }
}
