//! Puts things back: one step, or everything that a dead run left in its journal.
//!
//! Every step is idempotent: what is gone already is success. Owns how each step is done; leaves alone when (the
//! watchdog, `resbench revert`) and what a live fault does for itself (its injector).

use std::path::Path;
use std::time::Duration;

use super::chaos_mesh::object::Object;
use super::exec;
use super::hook::{self, Purpose, show_request};
use super::injector::Undo;
use super::journal::{Left, OpenJournal, Place};
use super::nft;
use super::registry::client::{self as registry, Back};
use super::toxiproxy::client::{self as toxiproxy, is_loopback};
use crate::clock;
use crate::plan::{Registry, Request};
use crate::platform::docker::{self, PutBack};
use crate::platform::kubernetes::cluster::{Cluster, IN_CLUSTER};
use crate::platform::process::{self, ProcessId, Signal};
use crate::platform::volume::{remove_copy, unmount_path};
use crate::scenario;

/// How a step came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoDone {
    /// Put back now (a mount: gone now, or before already).
    Done,
    /// There was nothing to put back (any more).
    GoneAlready,
}

/// How long the processes of a killed group may take to go.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Does one step of a journal that was written at `place`.
///
/// # Errors
/// What could not be put back, and how a person does it.
pub fn perform(undo: &Undo, place: Place) -> Result<UndoDone, String> {
    match undo {
        Undo::InProcess { .. } => Ok(UndoDone::GoneAlready),
        Undo::Command { run, dir, timeout_ms } => run_command(run, dir, Duration::from_millis(*timeout_ms)),
        Undo::Request { request, timeout_ms } => send_request(request, Duration::from_millis(*timeout_ms)),
        // A cluster is the same from everywhere.
        Undo::Deployment { restore } => {
            restore.perform().map(|done| if done { UndoDone::Done } else { UndoDone::GoneAlready })
        }
        Undo::Toxic { url, proxy, name, server } => remove_toxic(url, proxy, name, server.as_ref(), place),
        Undo::RegistryAlias { registry, was, set, forgets, timeout_ms } => {
            let timeout = Duration::from_millis(*timeout_ms);
            put_alias_back(registry, was.as_deref(), set.as_deref(), *forgets, timeout, place)
        }
        Undo::ChaosMesh { context, server, namespace, plural, name } => {
            let (namespace, plural, name) = (namespace.clone(), plural.clone(), name.clone());
            remove_chaos(&Object { namespace, plural, name }, context, server)
        }
        Undo::StartContainer { host, id, name } => container(host, place, &PutBack::Start { id, name }),
        Undo::UnpauseContainer { host, id, name } => container(host, place, &PutBack::Unpause { id, name }),
        Undo::Reconnect { attachment } => container(&attachment.host, place, &PutBack::Reconnect(attachment)),
        _ if place == Place::Elsewhere => {
            Err("it is bound to the machine of the run; start resbench revert there".to_owned())
        }
        // Files outlive a reboot, where processes, mounts and tables do not.
        Undo::RemoveFolder { path } => remove_folder(path),
        Undo::RemoveCopy { path } => {
            remove_copy(path).map(|was_there| if was_there { UndoDone::Done } else { UndoDone::GoneAlready })
        }
        Undo::Unmount { path } if place == Place::Rebooted => remove_folder(path),
        _ if place == Place::Rebooted => Ok(UndoDone::GoneAlready),
        Undo::EndProcess { process, what } => end(process, what),
        Undo::Resume { process } => resume(process),
        Undo::EndMarked { key, value } => end_marked(key, value),
        Undo::Unmount { path } => unmount_path(path).and_then(|()| remove_folder(path)).map(|_| UndoDone::Done),
        Undo::NftTable { name } => {
            nft::delete(name).map(|was_there| if was_there { UndoDone::Done } else { UndoDone::GoneAlready })
        }
    }
}

/// A container outlives a reboot, so only another machine than that of a socket is too far away.
fn container(host: &str, place: Place, step: &PutBack<'_>) -> Result<UndoDone, String> {
    if place == Place::Elsewhere && !docker::is_anywhere(host) {
        return Err(format!("{host} is bound to the machine of the run; start resbench revert there"));
    }
    docker::put_back(host, step).map(|now| if now { UndoDone::Done } else { UndoDone::GoneAlready })
}

/// What a walk through a dead run's journal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevertOutcome {
    /// What was put back, in words, in the order in which it was done.
    pub done: Vec<String>,
    /// What was not, each with the reason and the cure. Empty: the journal is finished and removed.
    pub left: Vec<String>,
}

/// Walks a dead run's journal backwards and puts back everything that it left. `ask` is shown each command before it
/// is run; what it declines stays. What is done is marked in the journal, so that a second walk goes on from there.
pub fn revert_journal(mut journal: OpenJournal, ask: &mut dyn FnMut(&str) -> bool) -> RevertOutcome {
    let mut outcome = RevertOutcome::default();
    for left in journal.left.clone().iter().rev() {
        revert_one(&mut journal, left, ask, &mut outcome);
    }
    for line in &journal.unreadable {
        let file = journal.path.display();
        outcome
            .left
            .push(format!("line {line} of {file} cannot be read: look whether it holds an undo, then remove the file"));
    }
    let clean = outcome.left.is_empty();
    if let Err(e) = journal.finish(clean) {
        outcome.left.push(e);
    }
    outcome
}

fn revert_one(journal: &mut OpenJournal, left: &Left, ask: &mut dyn FnMut(&str) -> bool, outcome: &mut RevertOutcome) {
    let mut all = true;
    for (step, undo) in &left.steps {
        match consented(undo, &left.what, ask).and_then(|()| perform(undo, journal.header.place())) {
            Ok(done) => {
                let how = describe(undo, done);
                journal.step_done(left, *step, &how);
                outcome.done.push(format!("{}: {how}", left.what));
            }
            Err(why) => {
                all = false;
                outcome.left.push(format!("{}: {} is left: {why}", left.what, describe_deed(undo)));
            }
        }
    }
    if all {
        journal.all_done(left);
    }
}

fn consented(undo: &Undo, what: &str, ask: &mut dyn FnMut(&str) -> bool) -> Result<(), String> {
    let question = match undo {
        Undo::Command { run, dir, .. } => format!("{what}: run `{}` in {}?", show_command(run), dir.display()),
        Undo::Request { request, .. } => format!("{what}: send `{}`?", show_request(request)),
        _ => return Ok(()),
    };
    if ask(&question) { Ok(()) } else { Err("declined; run it by hand, or start resbench revert again".to_owned()) }
}

fn describe_deed(undo: &Undo) -> String {
    match undo {
        Undo::EndProcess { process, what } => format!("ending {what} (pid {})", process.pid),
        Undo::Resume { process } => format!("resuming pid {}", process.pid),
        Undo::EndMarked { key, value } => format!("ending what runs with {key}={value}"),
        Undo::Unmount { path } => format!("unmounting {}", path.display()),
        Undo::RemoveFolder { path } => format!("removing the empty folder {}", path.display()),
        Undo::RemoveCopy { path } => format!("removing a replica's copy of the volume, {}", path.display()),
        Undo::NftTable { name } => format!("deleting the nftables table {name}"),
        Undo::Command { run, .. } => format!("`{}`", show_command(run)),
        Undo::Request { request, .. } => format!("`{}`", show_request(request)),
        Undo::Deployment { restore } => restore.to_string(),
        Undo::Toxic { url, proxy, name, .. } => format!("taking toxic {name} off proxy {proxy} of {url}"),
        Undo::RegistryAlias { registry, was, .. } => match was {
            Some(version) => format!("setting alias {registry} of {} back to version {version}", registry.url),
            None => format!("deleting alias {registry} of {}", registry.url),
        },
        Undo::ChaosMesh { namespace, plural, name, context, .. } => {
            format!("deleting {plural} {namespace}/{name} of context {context}")
        }
        Undo::StartContainer { host, name, .. } => format!("starting container {name} at {host}"),
        Undo::UnpauseContainer { host, name, .. } => format!("unpausing container {name} at {host}"),
        Undo::Reconnect { attachment: a } => {
            format!("putting container {} back on network {} at {}", a.name, a.network, a.host)
        }
        Undo::InProcess { what } => what.clone(),
    }
}

fn describe(undo: &Undo, done: UndoDone) -> String {
    let result = if done == UndoDone::Done { "done" } else { "was gone already" };
    format!("{}: {result}", describe_deed(undo))
}

/// A command as a person would type it.
pub(super) fn show_command(args: &[String]) -> String {
    let plain = |a: &str| !a.is_empty() && a.chars().all(|c| c.is_alphanumeric() || "-_./:=@%+,{}$".contains(c));
    let quoted = args.iter().map(|a| if plain(a) { a.clone() } else { format!("'{}'", a.replace('\'', r"'\''")) });
    quoted.collect::<Vec<_>>().join(" ")
}

fn end(process: &ProcessId, what: &str) -> Result<UndoDone, String> {
    if process.group().is_empty() {
        return Ok(UndoDone::GoneAlready);
    }
    process.end(END_TIMEOUT).map(|()| UndoDone::Done).map_err(|e| format!("{what}: {e}"))
}

fn end_marked(key: &str, value: &str) -> Result<UndoDone, String> {
    let until = clock::monotonic_nanos() + END_TIMEOUT.as_nanos() as u64;
    let mut done = UndoDone::GoneAlready;
    loop {
        let left = process::with_environment(key, value);
        if left.is_empty() {
            return Ok(done);
        }
        if clock::monotonic_nanos() >= until {
            let pids: Vec<String> = left.iter().map(|p| p.pid.to_string()).collect();
            return Err(format!("still running after SIGKILL: pid {0}; end by hand: kill -9 {0}", pids.join(" ")));
        }
        done = UndoDone::Done;
        for process in &left {
            process.signal(Signal::KILL);
        }
        clock::sleep(Duration::from_millis(5));
    }
}

/// Never with what is in it: that would not be ours.
fn remove_folder(path: &Path) -> Result<UndoDone, String> {
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(UndoDone::Done),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(UndoDone::GoneAlready),
        Err(e) => Err(format!("the folder {}: {e}; look what is in it and remove it by hand", path.display())),
    }
}

fn resume(process: &ProcessId) -> Result<UndoDone, String> {
    let stopped = process.state() == Some('T');
    let reached = process.signal_group(Signal::CONT);
    let reached = reached.map_err(|e| format!("{e}; by hand: kill -CONT -- -{}", process.pid))?;
    Ok(if reached && stopped { UndoDone::Done } else { UndoDone::GoneAlready })
}

fn run_command(run: &[String], dir: &Path, timeout: Duration) -> Result<UndoDone, String> {
    if dir.is_relative() {
        // Written by a version before 0.1.0 was done. From here it would mean another folder than the author did.
        let text = show_command(run);
        return Err(format!(
            "the journal does not say in which folder `{text}` belongs; run it by hand beside the scenario"
        ));
    }
    let expanded: Vec<String> = run.iter().map(|a| expand(a)).collect::<Result<_, _>>()?;
    let cure = |e| format!("{e}; by hand, in {}: {}", dir.display(), show_command(run));
    exec::run(&expanded, dir, timeout, exec::Watch::default()).map(|()| UndoDone::Done).map_err(cure)
}

fn send_request(request: &Request, timeout: Duration) -> Result<UndoDone, String> {
    let expanded = expand_request(request)?;
    let cure = |e| format!("{e}; by hand: {}", show_request(request));
    hook::send(&expanded, timeout, Purpose::PutBack).map(|()| UndoDone::Done).map_err(cure)
}

fn expand_request(request: &Request) -> Result<Request, String> {
    let header = |(name, value): (&String, &String)| Ok((name.clone(), expand(value)?));
    let headers = request.headers.iter().map(header).collect::<Result<_, String>>()?;
    Ok(Request { url: expand(&request.url)?, headers, body: expand(&request.body)?, ..request.clone() })
}

fn remove_toxic(
    url: &str,
    proxy: &str,
    name: &str,
    server: Option<&ProcessId>,
    place: Place,
) -> Result<UndoDone, String> {
    let (url, proxy) = (scenario::url(&expand(url)?)?, expand(proxy)?);
    if place == Place::Elsewhere && is_loopback(&url.host) {
        return Err("its server is on the machine of the run; start resbench revert there".to_owned());
    }
    let removed = toxiproxy::Server { url }.remove_from(&proxy, name, server)?;
    Ok(if removed == toxiproxy::Removed::Now { UndoDone::Done } else { UndoDone::GoneAlready })
}

/// A registry is the same from everywhere, unless it listens on the machine of the run only.
fn put_alias_back(
    written: &Registry,
    was: Option<&str>,
    set: Option<&str>,
    forgets: bool,
    timeout: Duration,
    place: Place,
) -> Result<UndoDone, String> {
    let by_hand = || registry::by_hand(written, was);
    let expanded = expand_registry(written)?;
    let server = registry::Server::new(&expanded, timeout)?;
    if server.is_here() && place == Place::Elsewhere {
        return Err("its registry is on the machine of the run; start resbench revert there".to_owned());
    }
    // The run may have died while the request that moves it was under way; nobody here knows how that came out.
    let back = server.put_back(was, set, forgets, registry::Outcome::Unknown, &mut false);
    match back.map_err(|e| format!("{e}; by hand: {}", by_hand()))? {
        Back::Now => Ok(UndoDone::Done),
        Back::Already | Back::ModelGone | Back::RegistryGone | Back::Moved(_) => Ok(UndoDone::GoneAlready),
    }
}

fn expand_registry(registry: &Registry) -> Result<Registry, String> {
    let header = |(name, value): (&String, &String)| Ok((name.clone(), expand(value)?));
    let headers = registry.headers.iter().map(header).collect::<Result<_, String>>()?;
    let (model, alias) = (expand(&registry.model)?, expand(&registry.alias)?);
    Ok(Registry { url: expand(&registry.url)?, headers, ca: registry.ca.clone(), model, alias })
}

/// By its name, which holds the run's id: nothing of anybody else is touched.
fn remove_chaos(object: &Object, context: &str, server: &str) -> Result<UndoDone, String> {
    let cluster = Cluster::connect(Some(context).filter(|c| *c != IN_CLUSTER))?;
    if cluster.server() != server {
        let now = cluster.server();
        return Err(format!(
            "context {context} means {now} here, but the run made it on {server}: correct the kubeconfig"
        ));
    }
    object.remove(&cluster)
}

/// `${VAR}`, `${VAR:-default}` and `$${` as the scenario language has them, from the environment of now.
fn expand(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, tail)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = tail;
            continue;
        }
        let (inner, after) = tail.split_once('}').ok_or_else(|| format!("`{text}` has a `${{` without its `}}`"))?;
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(n, d)| (n, Some(d)));
        // As in a shell, `:-` also stands in for a variable that is set but empty.
        let value = std::env::var(name).ok().filter(|v| default.is_none() || !v.is_empty());
        let value = value.or_else(|| default.map(str::to_owned));
        let missing = || format!("${{{name}}} is not set: export {name} and start resbench revert again");
        out.push_str(before);
        out.push_str(&value.ok_or_else(missing)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::injector::TargetRef;
    use crate::fault::journal::{Header, Journal};
    use crate::platform::Ledger;
    use crate::platform::process::{Spawn, spawn};
    use std::path::PathBuf;
    use std::process::Child;
    use tempfile::{TempDir, tempdir};

    fn child(script: &str) -> (Child, ProcessId) {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let output = std::fs::File::options().write(true).open("/dev/null").unwrap().into();
        spawn(&Spawn { argv: &argv, env: &Default::default(), dir: Path::new("/"), cpus: &[], output }).unwrap()
    }

    fn until(what: impl Fn() -> bool) {
        let give_up = clock::monotonic_nanos() + 20_000_000_000;
        while !what() {
            assert!(clock::monotonic_nanos() < give_up, "did not come true within 20 s");
            clock::sleep(Duration::from_millis(5));
        }
    }

    fn command(script: String) -> Undo {
        Undo::Command { run: vec!["sh".into(), "-c".into(), script], dir: "/".into(), timeout_ms: 20_000 }
    }

    fn journal(state: &TempDir, change: impl Fn(&mut Header)) -> Journal {
        let mut header = Header::new("r1", "test", vec![]);
        change(&mut header);
        Journal::begin(state.path(), header, &[]).unwrap()
    }

    fn die(journal: Journal) -> PathBuf {
        journal.path().to_owned()
    }

    /// A child that another test starts at this moment holds a copy of the lock until it becomes its program.
    fn take(path: &Path) -> OpenJournal {
        for _ in 0..500 {
            if let Ok(journal) = OpenJournal::take(path) {
                return journal;
            }
            clock::sleep(Duration::from_millis(10));
        }
        OpenJournal::take(path).unwrap()
    }

    fn revert(path: &Path) -> RevertOutcome {
        revert_journal(take(path), &mut |_| true)
    }

    #[test]
    fn ends_a_group_once() {
        let (mut leader, process) = child("sleep 1000 & sleep 1000");
        let undo = Undo::EndProcess { process: process.clone(), what: "sleeper".into() };
        until(|| process.group().len() >= 3);
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::Done));
        assert!(process.group().is_empty());
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::GoneAlready));
        leader.wait().unwrap();
    }

    #[test]
    fn another_boot_or_machine_is_left_alone() {
        let (mut leader, process) = child("sleep 1000");
        let undo = Undo::EndProcess { process: process.clone(), what: "sleeper".into() };
        assert_eq!(perform(&undo, Place::Rebooted), Ok(UndoDone::GoneAlready));
        assert!(perform(&undo, Place::Elsewhere).unwrap_err().contains("there"));
        let other = ProcessId { boot_id: "another".into(), ..process.clone() };
        let undo = Undo::EndProcess { process: other, what: "sleeper".into() };
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::GoneAlready));
        assert!(process.is_alive());
        process.end(Duration::from_secs(5)).unwrap();
        leader.wait().unwrap();
    }

    #[test]
    fn resumes_what_is_stopped() {
        let (mut leader, process) = child("exec sleep 1000");
        let undo = Undo::Resume { process: process.clone() };
        process.signal_group(Signal::STOP).unwrap();
        until(|| process.state() == Some('T'));
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::Done));
        until(|| process.state() != Some('T'));
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::GoneAlready));
        process.end(Duration::from_secs(5)).unwrap();
        leader.wait().unwrap();
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::GoneAlready));
    }

    #[test]
    fn what_left_its_group_is_found_by_its_mark() {
        let value = format!("test.{}", std::process::id());
        let run = "RESBENCH_TEST_MARK=$0 setsid sleep 1000 & wait";
        let mut shell = std::process::Command::new("sh").args(["-c", run, &value]).spawn().unwrap();
        let marked = || process::with_environment("RESBENCH_TEST_MARK", &value);
        until(|| !marked().is_empty());
        let undo = Undo::EndMarked { key: "RESBENCH_TEST_MARK".into(), value: value.clone() };
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::Done));
        assert!(marked().is_empty());
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::GoneAlready));
        shell.wait().unwrap();
    }

    #[test]
    fn only_an_empty_folder_is_removed() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("ours");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("theirs"), "").unwrap();
        let undo = Undo::RemoveFolder { path: path.clone() };
        assert!(perform(&undo, Place::Here).unwrap_err().contains("by hand"));
        std::fs::remove_file(path.join("theirs")).unwrap();
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::Done));
        assert_eq!(perform(&undo, Place::Here), Ok(UndoDone::GoneAlready));
    }

    #[test]
    fn a_folder_that_is_no_mount_is_unmounted_already() {
        let dir = tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("missing")] {
            assert_eq!(perform(&Undo::Unmount { path }, Place::Here), Ok(UndoDone::Done));
        }
    }

    #[test]
    fn variables_are_those_of_the_moment() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(expand("a ${PATH}:${RESBENCH_NO:-d} $x $${PATH}"), Ok(format!("a {path}:d $x ${{PATH}}")));
        assert!(expand("${RESBENCH_NO}").unwrap_err().contains("export RESBENCH_NO"));
        let request = |value: &str| {
            let text = format!(
                r#"{{"method":"PUT","url":"http://h","body":"","expect_status":[],"headers":{{"k":"{value}"}}}}"#
            );
            expand_request(&serde_json::from_str(&text).unwrap())
        };
        assert_eq!(request("Bearer ${PATH}").unwrap().headers["k"], format!("Bearer {path}"));
        assert!(request("${RESBENCH_NO}").is_err());
        assert!(expand("${PATH").is_err());
    }

    #[test]
    fn walks_backwards_and_removes_the_journal() {
        let (state, out) = (tempdir().unwrap(), tempdir().unwrap());
        let log = out.path().join("log");
        let (mut leader, process) = child("sleep 1000");
        let journal = journal(&state, |_| ());
        journal.process_started("replica 0", &process);
        let say = |word: &str| command(format!("kill -0 {} && echo {word} >>{}", process.pid, log.display()));
        journal.intent("first", &[say("a"), say("b")], &[TargetRef::Outside]).unwrap();
        journal.intent("second", &[say("c")], &[TargetRef::Outside]).unwrap();
        let path = die(journal);
        let outcome = revert(&path);
        assert!(outcome.left.is_empty(), "{outcome:?}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "c\na\nb\n", "newest first, each in its own order");
        assert!(outcome.done[3].starts_with("replica 0: ending"), "{outcome:?}");
        assert!(!process.is_alive() && !path.exists());
        leader.wait().unwrap();
    }

    #[test]
    fn what_fails_is_left_and_the_next_walk_goes_on_from_there() {
        let (state, out) = (tempdir().unwrap(), tempdir().unwrap());
        let (log, gate) = (out.path().join("log"), out.path().join("gate"));
        let journal = journal(&state, |_| ());
        let count = command(format!("echo once >>{}", log.display()));
        let fails = command(format!("echo no gate; test -e {}", gate.display()));
        journal.intent("half", &[count, fails], &[]).unwrap();
        let path = die(journal);
        let outcome = revert(&path);
        assert_eq!((outcome.done.len(), outcome.left.len()), (1, 1));
        assert!(outcome.left[0].contains("no gate") && outcome.left[0].contains("by hand"), "{outcome:?}");
        std::fs::write(&gate, "").unwrap();
        assert!(revert(&path).left.is_empty());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "once\n");
        assert!(!path.exists());
    }

    #[test]
    fn a_declined_command_is_left() {
        let (state, mut asked) = (tempdir().unwrap(), Vec::new());
        let journal = journal(&state, |_| ());
        let run = vec!["rm".into(), "${HOME}/it".into()];
        journal.intent("f", &[Undo::Command { run, dir: "/".into(), timeout_ms: 1 }], &[]).unwrap();
        let path = die(journal);
        let outcome = revert_journal(take(&path), &mut |question| {
            asked.push(question.to_owned());
            false
        });
        assert_eq!(asked, ["fault f: run `rm ${HOME}/it` in /?"]);
        assert!(outcome.left[0].contains("declined") && path.exists());
    }

    #[test]
    fn on_another_machine_only_what_is_not_bound_to_one() {
        let (state, out) = (tempdir().unwrap(), tempdir().unwrap());
        let file = out.path().join("done");
        let journal = journal(&state, |h| (h.host, h.boot_id) = ("elsewhere".into(), "another".into()));
        journal.mount_planned(Path::new("/mnt/view"));
        journal.intent("f", &[command(format!("touch {}", file.display()))], &[]).unwrap();
        let path = die(journal);
        let outcome = revert(&path);
        assert!(file.exists());
        assert!(outcome.left.len() == 1 && outcome.left[0].contains("/mnt/view"), "{outcome:?}");
        assert!(path.exists());
    }

    #[test]
    fn toxics_are_gone_with_their_server_and_not_with_the_way_to_it() {
        let toxic = |server: Option<ProcessId>| {
            let (url, proxy, name) = ("http://127.0.0.1:1".to_owned(), "p".to_owned(), "resbench-r-f".to_owned());
            Undo::Toxic { url, proxy, name, server }
        };
        let why = perform(&toxic(None), Place::Here).unwrap_err();
        assert!(why.contains("restore the way there"), "{why}");
        let dead = ProcessId { pid: i32::MAX, start_time: 1, ..ProcessId::current() };
        assert_eq!(perform(&toxic(Some(dead.clone())), Place::Here), Ok(UndoDone::GoneAlready));
        let line = serde_json::to_string(&toxic(None)).unwrap();
        assert_eq!(line, r#"{"step":"toxic","url":"http://127.0.0.1:1","proxy":"p","name":"resbench-r-f"}"#);
        assert_eq!(serde_json::from_str::<Undo>(&line).unwrap(), toxic(None), "as in journals from before");
        let line = serde_json::to_string(&toxic(Some(dead.clone()))).unwrap();
        assert_eq!(serde_json::from_str::<Undo>(&line).unwrap(), toxic(Some(dead)));
    }

    #[test]
    fn a_container_is_bound_to_its_socket_and_no_further() {
        let dir = tempdir().unwrap();
        let start =
            |host: &str| Undo::StartContainer { host: host.into(), id: "c1".into(), name: "shop-model-1".into() };
        let near = start(&format!("unix://{}/none.sock", dir.path().display()));
        let why = perform(&near, Place::Elsewhere).unwrap_err();
        assert!(why.contains("bound to the machine of the run"), "{why}");
        for place in [Place::Here, Place::Rebooted] {
            let why = perform(&near, place).unwrap_err();
            assert!(why.contains("there is no such socket") && why.contains(" start shop-model-1"), "{why}");
        }
        let line = serde_json::to_string(&near).unwrap();
        assert!(line.starts_with(r#"{"step":"start_container","host":"unix:///"#), "{line}");
        assert_eq!(serde_json::from_str::<Undo>(&line).unwrap(), near);
        assert!(docker::is_anywhere("tcp://engine.example:2376") && !docker::is_anywhere("tcp://127.0.0.1:2375"));
    }
}
