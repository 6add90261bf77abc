//! The live journal of a run: what was started and what was broken, with the undo of each, on disk before the deed.
//!
//! One file of JSON lines per run in `$XDG_STATE_HOME/resbench`, readable by its owner only, locked while the run
//! lives. A run that ended well leaves a masked copy in its own folder and removes the live one; so a live journal
//! that nobody has locked is a run that died. Owns the file's form and its life; leaves alone how things are undone
//! (`undo.rs`) and who does it (the runner, the watchdog, `resbench revert`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::injector::{TargetRef, Undo};
use crate::platform::Ledger;
use crate::platform::process::ProcessId;
use crate::units::Offset;

/// The form of a journal; its first line names it.
pub const SCHEMA: &str = "resbench.journal/1";

/// A journal takes no further deeds beyond this many bytes; what ends them is always written, and is bounded by them.
/// A deed is some 300 bytes, so this is about fifty thousand restarts.
pub const MAX_BYTES: u64 = 16 << 20;

/// What a run says of itself in the first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// The run's id.
    pub run: String,
    /// The scenario's name.
    pub scenario: String,
    /// Name of the machine.
    pub host: String,
    /// The boot of it.
    pub boot_id: String,
    /// Who ran it.
    pub uid: u32,
    /// The resbench process.
    pub process: ProcessId,
    /// What the run works on: `local:/path/of/scenario.toml`, `url:host:port`, `docker:HOST/LABELS`.
    pub targets: Vec<String>,
    /// True in the masked copy that a report holds: nothing is ever undone from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
}

impl Header {
    /// Of a run of this process on this machine.
    pub fn new(run: &str, scenario: &str, targets: Vec<String>) -> Header {
        let process = ProcessId::current();
        Header {
            schema: SCHEMA.to_owned(),
            run: run.to_owned(),
            scenario: scenario.to_owned(),
            host: host_name(),
            boot_id: process.boot_id.clone(),
            uid: my_uid(),
            process,
            targets,
            copy: false,
        }
    }

    /// How near this journal's machine is.
    pub fn place(&self) -> Place {
        match (self.host == host_name(), self.boot_id == ProcessId::current().boot_id) {
            (_, true) => Place::Here,
            (true, false) => Place::Rebooted,
            (false, false) => Place::Elsewhere,
        }
    }

    /// Who holds a locked journal, and what to do about it.
    fn held_by(&self) -> &'static str {
        if self.place() == Place::Here && !self.process.is_alive() {
            "died, and is being put back by its watchdog or another resbench revert: wait for that to end"
        } else {
            "is still going: wait for it to end, or stop it with Ctrl-C"
        }
    }

    /// A target of both. Paths are the same target on the same machine only.
    fn shared_target(&self, other: &Header) -> Option<&String> {
        let is_path = |t: &str| t.starts_with("local:") || t.starts_with("docker:unix:");
        let same = |t: &&String| other.targets.contains(t) && (self.host == other.host || !is_path(t));
        self.targets.iter().find(same)
    }
}

/// Where a journal was written, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This boot of this machine.
    Here,
    /// This machine, before it was started anew: its processes and mounts are gone.
    Rebooted,
    /// Another machine.
    Elsewhere,
}

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Header(Header),
    /// Something was started, or is about to be.
    Started {
        /// Its number in this journal.
        id: u64,
        /// What it is, for people.
        what: String,
        /// How it is put away.
        undo: Undo,
    },
    /// It is gone.
    Ended {
        /// Its number.
        id: u64,
    },
    /// A fault is about to be applied. A later intent of the same fault takes the place of an earlier one.
    Intent {
        /// Name of the fault.
        fault: String,
        /// What puts the world back, in this order.
        undo: Vec<Undo>,
        /// What it hits.
        targets: Vec<TargetRef>,
    },
    /// It is in force.
    Applied {
        /// Name of the fault.
        fault: String,
        /// Since when.
        at: Offset,
    },
    /// One step of its undo was done by somebody else than the run.
    Undone {
        /// Name of the fault.
        fault: String,
        /// Which step, from 0.
        step: usize,
        /// In words.
        how: String,
    },
    /// Everything of it is put back.
    Reverted {
        /// Name of the fault.
        fault: String,
    },
    /// The run is over.
    Finished {
        /// Nothing is left.
        clean: bool,
    },
}

impl Record {
    fn is_deed(&self) -> bool {
        matches!(self, Record::Started { .. } | Record::Intent { .. })
    }
}

/// Why a journal could not be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginError {
    /// Another journal stands on the same target (exit code 4).
    InTheWay(String),
    /// The file could not be made.
    Failed(String),
}

impl std::fmt::Display for BeginError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BeginError::InTheWay(why) | BeginError::Failed(why) => f.write_str(why),
        }
    }
}

/// What went wrong at the end of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishError {
    /// It was ended; only the copy for the report could not be written. Nothing is left by that.
    NoCopy {
        /// Everything is put back, and the live one is removed.
        clean: bool,
        /// What stood in the way.
        why: String,
    },
    /// The live one is still there: it could not be removed, or its end not be written.
    Open(String),
}

/// The folder of live journals: `$XDG_STATE_HOME/resbench`, by default `~/.local/state/resbench`.
///
/// # Errors
/// When neither variable says where.
pub fn state_dir() -> Result<PathBuf, String> {
    // A relative path there is to be ignored (XDG base directory specification).
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("resbench"))
        .ok_or_else(|| "no place for the journal: set HOME or XDG_STATE_HOME to an absolute path".to_owned())
}

/// The journal of the run that is being made.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    secrets: Vec<String>,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    bytes: u64,
    next_id: u64,
    /// What is started and not ended, by number.
    running: BTreeMap<u64, (String, Undo)>,
    /// Faults with an intent and no revert.
    faults: Vec<String>,
    problem: Option<String>,
}

impl Journal {
    /// Begins the journal of a run in `dir`, locked. `secrets` never reach it in descriptions.
    ///
    /// # Errors
    /// When another run works or worked on one of the same targets and left its journal open, when that cannot be ruled out
    /// of a journal that cannot be read, or when the file cannot be made.
    pub fn begin(dir: &Path, header: Header, secrets: &[String]) -> Result<Journal, BeginError> {
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            BeginError::Failed(format!("the journal in {}: {what}: {e}", dir.display()))
        };
        make_dir(dir).map_err(|e| failed("the folder cannot be made", &with_cure(dir, &e)))?;
        let _one_at_a_time = lock_dir(dir).map_err(|e| failed("the folder cannot be locked", &with_cure(dir, &e)))?;
        let (seen, unread) = scan(dir).map_err(BeginError::Failed)?;
        for seen in seen {
            seen.stand_aside(&header)?;
        }
        for unread in unread {
            unread.stand_aside(&header)?;
        }
        let path = dir.join(format!("{}.jsonl", header.run));
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| failed(&path.display().to_string(), &e))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| failed("it cannot be locked", &e))?;
        let writer = Writer { file, bytes: 0, next_id: 1, running: BTreeMap::new(), faults: Vec::new(), problem: None };
        let mut secrets: Vec<String> = secrets.iter().filter(|s| !s.is_empty()).cloned().collect();
        // Longest first: one secret may begin another.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let journal = Journal { path, secrets, writer: Mutex::new(writer) };
        journal.writer().append(&Record::Header(header), true).map_err(BeginError::Failed)?;
        // The name itself must outlive a power cut too.
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed("it cannot be synced", &e))?;
        Ok(journal)
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what a fault will do and how it is undone; on disk when this returns.
    ///
    /// # Errors
    /// When it could not be written: the fault must not be applied then.
    pub fn intent(&self, fault: &str, undo: &[Undo], targets: &[TargetRef]) -> Result<(), String> {
        let record = Record::Intent { fault: fault.to_owned(), undo: undo.to_vec(), targets: targets.to_vec() };
        let mut writer = self.writer();
        writer.append(&record, true)?;
        if !writer.faults.iter().any(|f| f == fault) {
            writer.faults.push(fault.to_owned());
        }
        Ok(())
    }

    /// Writes that a fault is in force.
    pub fn applied(&self, fault: &str, at: Offset) {
        self.writer().note(&Record::Applied { fault: fault.to_owned(), at });
    }

    /// Writes that everything of a fault is put back.
    pub fn reverted(&self, fault: &str) {
        let mut writer = self.writer();
        writer.faults.retain(|f| f != fault);
        writer.note(&Record::Reverted { fault: fault.to_owned() });
    }

    /// The first thing that could not be written, if any: from there on the journal does not tell all.
    pub fn problem(&self) -> Option<String> {
        self.writer().problem.clone()
    }

    /// What is neither ended nor reverted now, in words.
    pub fn open_items(&self) -> Vec<String> {
        let writer = self.writer();
        let things = writer.running.values().map(|(what, _)| what.clone());
        things.chain(writer.faults.iter().map(|f| format!("fault {f}"))).collect()
    }

    /// Ends the journal: a masked copy goes to `copy_to` (a run's folder) as `journal.jsonl`; the live one is removed when
    /// the caller says `clean` and nothing in it is open, and stays for `resbench revert` otherwise. Returns whether clean.
    ///
    /// # Errors
    /// When the copy could not be written, or the live one neither ended nor removed.
    pub fn finish(&self, clean: bool, copy_to: Option<&Path>) -> Result<bool, FinishError> {
        let clean = clean && self.open_items().is_empty();
        let mut writer = self.writer();
        let written = writer.append(&Record::Finished { clean }, true);
        let copied = copy_to.map_or(Ok(()), |dir| self.copy(&dir.join("journal.jsonl")));
        // One that is gone needs no last line.
        let ended = if clean { remove(&self.path) } else { written };
        // From here on `resbench revert` may take it.
        let _ = flock(&writer.file, FlockOperation::Unlock);
        ended.map_err(FinishError::Open)?;
        copied.map(|()| clean).map_err(|why| FinishError::NoCopy { clean, why })
    }

    fn copy(&self, to: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(&self.path);
        let text = text.map_err(|e| format!("the journal {}: {e}", self.path.display()))?;
        let mut copy = String::with_capacity(text.len());
        for line in text.lines() {
            let Ok(mut value) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            if value["record"] == "header" {
                value["copy"] = true.into();
            }
            mask_value(&mut value, &self.secrets);
            copy.push_str(&value.to_string());
            copy.push('\n');
        }
        std::fs::write(to, copy).map_err(|e| format!("{}: {e}", to.display()))
    }

    fn start(&self, what: &str, undo: Undo) {
        let mut writer = self.writer();
        let id = writer.next_id;
        writer.next_id += 1;
        let what = mask(what, &self.secrets);
        let record = Record::Started { id, what: what.clone(), undo: undo.clone() };
        if let Err(e) = writer.append(&record, true) {
            writer.problem.get_or_insert(e);
        }
        writer.running.insert(id, (what, undo));
    }

    fn end(&self, is_it: impl Fn(&Undo) -> bool) {
        let mut writer = self.writer();
        let ids: Vec<u64> = writer.running.iter().filter(|(_, (_, undo))| is_it(undo)).map(|(id, _)| *id).collect();
        for id in ids {
            writer.running.remove(&id);
            writer.note(&Record::Ended { id });
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Journal {
    fn process_started(&self, what: &str, process: &ProcessId) {
        let undo = Undo::EndProcess { process: process.clone(), what: mask(what, &self.secrets) };
        self.start(what, undo);
    }

    fn process_ended(&self, process: &ProcessId) {
        self.end(|undo| matches!(undo, Undo::EndProcess { process: p, .. } if p == process));
    }

    fn mount_planned(&self, path: &Path) {
        self.start(&format!("mount {}", path.display()), Undo::Unmount { path: path.to_owned() });
    }

    fn mount_gone(&self, path: &Path) {
        self.end(|undo| matches!(undo, Undo::Unmount { path: p } if p == path));
    }

    fn trouble(&self) -> Option<String> {
        self.problem()
    }

    fn copy_planned(&self, path: &Path) {
        self.start(&format!("copy {}", path.display()), Undo::RemoveCopy { path: path.to_owned() });
    }

    fn copy_gone(&self, path: &Path) {
        self.end(|undo| matches!(undo, Undo::RemoveCopy { path: p } if p == path));
    }

    fn folder_planned(&self, path: &Path) {
        self.start(&format!("folder {}", path.display()), Undo::RemoveFolder { path: path.to_owned() });
    }

    fn folder_gone(&self, path: &Path) {
        self.end(|undo| matches!(undo, Undo::RemoveFolder { path: p } if p == path));
    }

    fn mark_planned(&self, key: &str, value: &str) {
        let undo = Undo::EndMarked { key: key.to_owned(), value: value.to_owned() };
        self.start("whatever replicas started", undo);
    }

    fn mark_gone(&self, key: &str, value: &str) {
        self.end(|undo| matches!(undo, Undo::EndMarked { key: k, value: v } if k == key && v == value));
    }
}

impl Writer {
    fn append(&mut self, record: &Record, sync: bool) -> Result<(), String> {
        let mut line = serde_json::to_string(record).map_err(|e| format!("the journal: {e}"))?;
        line.push('\n');
        if record.is_deed() && self.bytes + line.len() as u64 > MAX_BYTES {
            return Err(format!("the journal is full ({MAX_BYTES} bytes): nothing further is started or broken"));
        }
        let written =
            self.file.write_all(line.as_bytes()).and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        if let Err(e) = written {
            // Half a line must not swallow the next one.
            let _ = self.file.set_len(self.bytes);
            return Err(format!("the journal cannot be written: {e}"));
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// For what only saves work: an undo that is done twice does no harm.
    fn note(&mut self, record: &Record) {
        if let Err(e) = self.append(record, false) {
            self.problem.get_or_insert(e);
        }
    }
}

/// A dead run's journal, held locked while this value lives.
#[derive(Debug)]
pub struct OpenJournal {
    /// Where it stands.
    pub path: PathBuf,
    /// Which run.
    pub header: Header,
    /// What is left, in the order in which it was done.
    pub left: Vec<Left>,
    /// Lines that cannot be read, from 1: what stood there is not known.
    pub unreadable: Vec<usize>,
    /// The run ended by itself and told what is left (it was not clean).
    pub finished: bool,
    writer: Writer,
}

/// One thing of a dead run that was not put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// For people: "replica 1", "fault slow-disk".
    pub what: String,
    /// What puts it back: number and step, those done already left out.
    pub steps: Vec<(usize, Undo)>,
    mark: Mark,
}

#[derive(Clone, Debug, PartialEq)]
enum Mark {
    Thing(u64),
    Fault(String),
}

impl OpenJournal {
    /// Takes the journal of a dead run.
    ///
    /// # Errors
    /// When the run lives, the journal is finished, a report's copy, somebody else's or not readable.
    pub fn take(path: &Path) -> Result<OpenJournal, String> {
        let refuse = |why: &str| Err(format!("{}: {why}", path.display()));
        if !path.exists() {
            return refuse("no such journal; `resbench revert` without --journal finds every unfinished one");
        }
        match look(path, FlockOperation::NonBlockingLockExclusive).map_err(|unread| unread.to_string())? {
            Seen::Open(journal) => Ok(*journal),
            Seen::Live(header) => refuse(&format!("run {} {}", header.run, header.held_by())),
            Seen::Over => refuse("nothing is left to undo: it was finished, or its run died before it did anything"),
        }
    }

    /// As `take`, but waits until nobody holds it. None when there is nothing to do.
    ///
    /// # Errors
    /// As `take`.
    pub(super) fn wait_for(path: &Path) -> Result<Option<OpenJournal>, String> {
        if !path.exists() {
            return Ok(None);
        }
        match look(path, FlockOperation::LockExclusive).map_err(|unread| unread.to_string())? {
            Seen::Open(journal) => Ok(Some(*journal)),
            Seen::Live(_) | Seen::Over => Ok(None),
        }
    }

    /// Writes that one step is done.
    pub(super) fn step_done(&mut self, left: &Left, step: usize, how: &str) {
        if let Mark::Fault(fault) = &left.mark {
            self.writer.note(&Record::Undone { fault: fault.clone(), step, how: how.to_owned() });
        }
    }

    /// Writes that all of it is done.
    pub(super) fn all_done(&mut self, left: &Left) {
        self.writer.note(&match &left.mark {
            Mark::Thing(id) => Record::Ended { id: *id },
            Mark::Fault(fault) => Record::Reverted { fault: fault.clone() },
        });
    }

    /// Ends it; removed when clean.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn finish(mut self, clean: bool) -> Result<(), String> {
        self.writer.note(&Record::Finished { clean });
        if clean { remove(&self.path) } else { Ok(()) }
    }
}

/// What dead runs left in the folder of journals.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// Their journals, oldest first; each is locked while the caller holds it.
    pub journals: Vec<OpenJournal>,
    /// Files among them that nothing is undone from.
    pub unread: Vec<Unread>,
}

/// A file among the journals that nothing is undone from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where it stands.
    pub path: PathBuf,
    /// Why not, with the cure.
    pub why: String,
    /// What it says of its run, where that can be read. Believed in what rules it out, never in what to do.
    header: Option<Box<Header>>,
    /// It could not be found out whether somebody holds it.
    may_live: bool,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the journal {}: {}", self.path.display(), self.why)
    }
}

impl Unread {
    /// The run that it is named after.
    fn run(&self) -> Option<String> {
        self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
    }

    /// Its name holds the id of its run and nothing of what that worked on: without a header nothing is ruled out.
    fn stand_aside(&self, new: &Header) -> Result<(), BeginError> {
        let why = match &self.header {
            // Nothing is undone from a copy, so none stands for something broken.
            Some(theirs) if theirs.copy => return Ok(()),
            // Another form may name targets in another way, scenarios hardly.
            Some(theirs) if theirs.scenario != new.scenario && theirs.shared_target(new).is_none() => return Ok(()),
            Some(theirs) => format!("run {} of the same scenario or target may have left something broken", theirs.run),
            None => "it is not known what it is of, so it may be of this target".to_owned(),
        };
        Err(BeginError::InTheWay(format!("{why}: {self}")))
    }
}

/// What runs that died left in `dir`. Journals that hold nothing (their run died before it did anything, or just before
/// removing it) are removed.
///
/// # Errors
/// When the folder cannot be read.
pub fn unfinished(dir: &Path) -> Result<Unfinished, String> {
    let (seen, unread) = scan_locked(dir)?;
    let open = |seen| match seen {
        Seen::Open(journal) => Some(*journal),
        Seen::Live(_) | Seen::Over => None,
    };
    Ok(Unfinished { journals: seen.into_iter().filter_map(open).collect(), unread })
}

/// The runs in `dir` that live, or are being put back by somebody at this moment, or of which that cannot be found out.
///
/// # Errors
/// When the folder cannot be read.
pub fn live_runs(dir: &Path) -> Result<BTreeSet<String>, String> {
    let (seen, unread) = scan_locked(dir)?;
    let live = seen.into_iter().filter_map(|seen| match seen {
        Seen::Live(header) => Some(header.run),
        Seen::Open(_) | Seen::Over => None,
    });
    let unknown = unread.iter().filter(|unread| unread.may_live).filter_map(Unread::run);
    Ok(live.chain(unknown).collect())
}

enum Seen {
    Live(Box<Header>),
    Open(Box<OpenJournal>),
    Over,
}

impl Seen {
    fn stand_aside(&self, new: &Header) -> Result<(), BeginError> {
        let (theirs, state) = match self {
            Seen::Live(header) => (&**header, header.held_by().to_owned()),
            Seen::Open(j) => {
                let cure = format!("resbench revert --journal {}", j.path.display());
                (&j.header, format!("left something broken; put it back: {cure}"))
            }
            Seen::Over => return Ok(()),
        };
        let Some(target) = theirs.shared_target(new) else { return Ok(()) };
        Err(BeginError::InTheWay(format!("run {} on {target} {state}", theirs.run)))
    }
}

/// As `scan`, under the folder's lock. A folder that is not there holds nothing.
fn scan_locked(dir: &Path) -> Result<(Vec<Seen>, Vec<Unread>), String> {
    if !dir.try_exists().map_err(|e| format!("{}: {e}", dir.display()))? {
        return Ok((Vec::new(), Vec::new()));
    }
    let locked = lock_dir(dir);
    let _one_at_a_time = locked.map_err(|e| format!("{} cannot be locked: {}", dir.display(), with_cure(dir, &e)))?;
    scan(dir)
}

/// Every journal of the folder, and what cannot be read among them. The caller holds the folder's lock, so none is
/// being begun.
fn scan(dir: &Path) -> Result<(Vec<Seen>, Vec<Unread>), String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {}", dir.display(), with_cure(dir, &e)))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "jsonl"));
    let age = |p: &PathBuf| p.metadata().and_then(|m| m.modified()).ok();
    paths.sort_by_cached_key(|p| (age(p), p.clone()));
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    for path in &paths {
        match look(path, FlockOperation::NonBlockingLockExclusive) {
            Ok(seen) => all.push(seen),
            Err(one) => unread.push(one),
        }
    }
    Ok((all, unread))
}

/// What is left to a person where a file cannot be understood.
const BY_HAND: &str = "look at what it holds, undo it by hand, and remove it";

fn look(path: &Path, lock: FlockOperation) -> Result<Seen, Unread> {
    let unread = |why: String, header: Option<Header>, may_live: bool| Unread {
        path: path.to_owned(),
        why,
        header: header.map(Box::new),
        may_live,
    };
    let mut file = match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Seen::Over),
        // It may be readable all the same, and say what it is of.
        Err(e) => return Err(unread(closed(path, &e), header_of(path), true)),
    };
    let locked = match flock(&file, lock) {
        Ok(()) => true,
        Err(e) if e == Errno::WOULDBLOCK => false,
        Err(e) => return Err(unread(format!("it cannot be locked: {e}"), header_of(path), true)),
    };
    let mut bytes = Vec::new();
    // Endings may follow the last deed that was let in; they are shorter than their deeds.
    if let Err(e) = (&mut file).take(2 * MAX_BYTES).read_to_end(&mut bytes) {
        return Err(unread(format!("{e}; {BY_HAND}"), None, !locked));
    }
    let read = parse(&bytes);
    if let Some(header) = read.header.as_ref().filter(|header| !locked && !header.copy) {
        return Ok(Seen::Live(Box::new(header.clone())));
    }
    if let Err(why) = check_owner(&file, path) {
        return Err(unread(why, read.header, !locked));
    }
    // Nothing is open, and nothing that stood there may have been lost: it died before its first deed, or after its last undo.
    let is_empty = read.finished.is_none() && read.left.is_empty() && read.unreadable.is_empty();
    match read.header {
        Some(header) if header.copy => {
            let why = "a report's copy; nothing is undone from it: move it out of this folder";
            Err(unread(why.to_owned(), Some(header), false))
        }
        Some(header) if header.schema != SCHEMA => {
            let (form, file) = (&header.schema, path.display());
            let why = format!(
                "its form is {form}, not {SCHEMA}; by the resbench that wrote it: resbench revert --journal {file}"
            );
            Err(unread(why, Some(header), false))
        }
        // A header is synced before anything is done: without one nothing was.
        None if read.whole == 0 => remove_if(locked, path).map_err(|why| unread(why, None, false)),
        None => Err(unread(format!("its first line cannot be read; {BY_HAND}"), None, !locked)),
        Some(header) if is_empty || read.finished == Some(true) => {
            remove_if(true, path).map_err(|why| unread(why, Some(header), false))
        }
        Some(header) => {
            if let Err(e) = file.set_len(read.whole) {
                return Err(unread(format!("it cannot be written: {e}"), Some(header), false));
            }
            let writer = Writer {
                file,
                bytes: read.whole,
                next_id: 0,
                running: BTreeMap::new(),
                faults: Vec::new(),
                problem: None,
            };
            let (path, left, unreadable) = (path.to_owned(), read.left, read.unreadable);
            let finished = read.finished.is_some();
            Ok(Seen::Open(Box::new(OpenJournal { path, header, left, unreadable, finished, writer })))
        }
    }
}

fn remove_if(really: bool, path: &Path) -> Result<Seen, String> {
    if really {
        remove(path)?;
    }
    Ok(Seen::Over)
}

/// What a file that is not ours to write says of its run; none when it may not even be read.
fn header_of(path: &Path) -> Option<Header> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(2 * MAX_BYTES).read_to_end(&mut bytes).ok()?;
    parse(&bytes).header
}

/// What is undone comes from this file, commands too: nobody else may have written it.
fn check_owner(file: &File, path: &Path) -> Result<(), String> {
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if meta.uid() != my_uid() {
        return Err(of_another(meta.uid(), path));
    }
    if meta.mode() & 0o022 != 0 {
        let why = "others may write it, so its commands cannot be trusted; look at it, then";
        return Err(format!("{why} chmod 600 {0} and resbench revert --journal {0}", path.display()));
    }
    Ok(())
}

/// Why it cannot be opened, and the cure.
fn closed(path: &Path, e: &std::io::Error) -> String {
    match path.metadata() {
        Ok(meta) if meta.uid() != my_uid() => of_another(meta.uid(), path),
        Ok(meta) if !meta.is_file() => format!("{e}; it is no journal: move it out of this folder"),
        _ => format!("{e}; chmod 600 {0} and resbench revert --journal {0}", path.display()),
    }
}

/// Most often `sudo resbench` made it. What it holds may need the rights of its owner.
fn of_another(uid: u32, path: &Path) -> String {
    let (me, file) = (my_uid(), path.display());
    let owner = if uid == 0 { "sudo".to_owned() } else { format!("sudo -u '#{uid}'") };
    format!(
        "belongs to uid {uid}, not to {me}; undo it as its owner: {owner} resbench revert --journal {file}, or make it \
         yours: sudo chown {me} {file}"
    )
}

/// What the folder refused, with the cure where it is somebody else's.
fn with_cure(dir: &Path, e: &std::io::Error) -> String {
    let owner = dir.metadata().map(|meta| meta.uid()).ok().filter(|uid| *uid != my_uid());
    match owner.filter(|_| e.kind() == std::io::ErrorKind::PermissionDenied) {
        Some(uid) => {
            format!("{e}: it belongs to uid {uid}; make it yours: sudo chown -R {} {}", my_uid(), dir.display())
        }
        None => e.to_string(),
    }
}

fn my_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[derive(Default)]
struct Parsed {
    header: Option<Header>,
    left: Vec<Left>,
    unreadable: Vec<usize>,
    /// How it ended, when it did: clean or not.
    finished: Option<bool>,
    /// Bytes up to the end of the last whole line.
    whole: u64,
}

/// Reads as much as is there. A last line without its end was being written when the run died: nothing follows from it.
fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    parsed.whole = whole as u64;
    for (number, line) in bytes[..whole].split_inclusive(|b| *b == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(record) => parsed.take(record),
            Err(_) => parsed.unreadable.push(number + 1),
        }
    }
    parsed
}

impl Parsed {
    fn take(&mut self, record: Record) {
        match record {
            Record::Header(header) => self.header = Some(header),
            Record::Started { id, what, undo } => {
                self.left.push(Left { what, steps: vec![(0, undo)], mark: Mark::Thing(id) });
            }
            Record::Ended { id } => self.left.retain(|l| l.mark != Mark::Thing(id)),
            Record::Intent { fault, undo, .. } => {
                self.forget(&fault);
                let steps = undo.into_iter().enumerate().collect();
                self.left.push(Left { what: format!("fault {fault}"), steps, mark: Mark::Fault(fault) });
            }
            Record::Applied { .. } => {}
            Record::Undone { fault, step, .. } => {
                let mark = Mark::Fault(fault);
                self.left.iter_mut().filter(|l| l.mark == mark).for_each(|l| l.steps.retain(|(s, _)| *s != step));
            }
            Record::Reverted { fault } => self.forget(&fault),
            Record::Finished { clean } => self.finished = Some(clean),
        }
    }

    fn forget(&mut self, fault: &str) {
        self.left.retain(|l| !matches!(&l.mark, Mark::Fault(f) if f == fault));
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn make_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Held while a journal is begun or the folder is read, so that two new runs see one another.
fn lock_dir(dir: &Path) -> std::io::Result<File> {
    let open =
        |name: &str| OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(name));
    // Where `sudo resbench` made it, it is not ours. Runs of one user still see one another then, and nobody removes a
    // journal of somebody else's.
    let lock = open("lock").or_else(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => open(&format!("lock.{}", my_uid())),
        _ => Err(e),
    })?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{} cannot be removed: {e}", path.display())),
        _ => Ok(()),
    }
}

fn mask(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

fn mask_value(value: &mut serde_json::Value, secrets: &[String]) {
    match value {
        serde_json::Value::String(text) => *text = mask(text, secrets),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|v| mask_value(v, secrets)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|v| mask_value(v, secrets)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::{TempDir, tempdir};

    fn begin(dir: &TempDir, run: &str, target: &str) -> Result<Journal, BeginError> {
        Journal::begin(dir.path(), Header::new(run, "test", vec![target.to_owned()]), &["hunter2".to_owned()])
    }

    fn nobody() -> ProcessId {
        ProcessId { boot_id: ProcessId::current().boot_id, pid: i32::MAX, start_time: 1 }
    }

    /// A run that dies is one whose journal is closed without an end.
    fn die(journal: Journal) -> PathBuf {
        journal.path().to_owned()
    }

    /// A child that another test starts at this moment holds a copy of the lock until it becomes its program.
    fn in_time<T, E: std::fmt::Debug>(what: impl Fn() -> Result<T, E>) -> T {
        for _ in 0..500 {
            if let Ok(done) = what() {
                return done;
            }
            crate::clock::sleep(std::time::Duration::from_millis(10));
        }
        what().unwrap()
    }

    fn whats(journal: &OpenJournal) -> Vec<&str> {
        journal.left.iter().map(|l| l.what.as_str()).collect()
    }

    #[test]
    fn a_clean_end_leaves_a_masked_copy_and_nothing_else() {
        let (state, reports) = (tempdir().unwrap(), tempdir().unwrap());
        let journal = begin(&state, "r1", "local:/a").unwrap();
        journal.process_started("server --token hunter2", &nobody());
        let run = ["curl", "-H", "Bearer ${TOKEN}"].map(str::to_owned).to_vec();
        let undo = [Undo::Command { run, dir: "/".into(), timeout_ms: 10 }];
        journal.intent("slow", &undo, &[TargetRef::Outside]).unwrap();
        journal.applied("slow", Offset(5));
        assert_eq!(journal.open_items(), ["server --token ***", "fault slow"]);
        journal.reverted("slow");
        journal.process_ended(&nobody());
        assert_eq!(journal.finish(true, Some(reports.path())), Ok(true));
        assert!(!journal.path().exists());
        let copy = std::fs::read_to_string(reports.path().join("journal.jsonl")).unwrap();
        assert!(copy.contains("${TOKEN}") && !copy.contains("hunter2"), "{copy}");
        assert_eq!(copy.lines().count(), 7);
        let error = OpenJournal::take(&reports.path().join("journal.jsonl")).unwrap_err();
        assert!(error.contains("copy") || error.contains("others may write"), "{error}");
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        let parent = tempdir().unwrap();
        let dir = parent.path().join("state/resbench");
        let journal = Journal::begin(&dir, Header::new("r1", "test", vec![]), &[]).unwrap();
        assert_eq!(journal.path().metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o700);
        let path = die(journal);
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(OpenJournal::take(&path).unwrap_err().contains("others may write"));
    }

    #[test]
    fn one_that_is_not_there_is_not_a_finished_one() {
        let folder = tempdir().unwrap();
        let error = OpenJournal::take(&folder.path().join("no.jsonl")).unwrap_err();
        assert!(error.contains("no such journal"), "{error}");
    }

    #[test]
    fn a_live_run_stands_in_the_way_and_a_dead_one_too() {
        let state = tempdir().unwrap();
        let first = begin(&state, "r1", "local:/a").unwrap();
        let in_the_way = |r: Result<Journal, BeginError>| match r {
            Err(BeginError::InTheWay(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(in_the_way(begin(&state, "r2", "local:/a")).contains("run r1 on local:/a is still going"));
        assert!(OpenJournal::take(first.path()).unwrap_err().contains("still going"));
        assert!(unfinished(state.path()).unwrap().journals.is_empty());
        let other = begin(&state, "r3", "local:/b").unwrap();
        other.finish(true, None).unwrap();
        first.mount_planned(Path::new("/no/such/mount"));
        let path = die(first);
        let why = in_the_way(begin(&state, "r4", "local:/a"));
        assert!(why.contains("resbench revert --journal") && why.contains(path.to_str().unwrap()), "{why}");
        let left = unfinished(state.path()).unwrap().journals;
        assert_eq!(whats(&left[0]), ["mount /no/such/mount"]);
    }

    #[test]
    fn what_is_over_is_not_left() {
        let state = tempdir().unwrap();
        let journal = begin(&state, "r1", "local:/a").unwrap();
        let other = ProcessId { pid: 2, ..nobody() };
        journal.process_started("one", &nobody());
        journal.process_started("two", &other);
        journal.intent("a", &[], &[]).unwrap();
        journal.intent("b", &[], &[]).unwrap();
        // Chosen anew: the second intent takes the first one's place.
        journal.intent("b", &[Undo::Resume { process: other.clone() }], &[]).unwrap();
        journal.process_ended(&nobody());
        journal.reverted("a");
        let open = OpenJournal::take(&die(journal)).unwrap();
        assert_eq!(whats(&open), ["two", "fault b"]);
        assert_eq!(open.left[1].steps, [(0, Undo::Resume { process: other })]);
    }

    #[test]
    fn a_torn_last_line_is_no_line() {
        let state = tempdir().unwrap();
        let journal = begin(&state, "r1", "local:/a").unwrap();
        journal.process_started("one", &nobody());
        let path = die(journal);
        let whole = path.metadata().unwrap().len();
        let torn = br#"{"record":"ended","id":"#;
        OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
        let mut open = OpenJournal::take(&path).unwrap();
        assert_eq!((whats(&open), &open.unreadable), (vec!["one"], &vec![]));
        assert_eq!(path.metadata().unwrap().len(), whole, "cut off, so that the next line starts on its own");
        let left = open.left[0].clone();
        open.all_done(&left);
        drop(open);
        in_time(|| {
            unfinished(state.path())?;
            if path.exists() { Err("something is left of it".to_owned()) } else { Ok(()) }
        });
    }

    #[test]
    fn a_line_that_cannot_be_read_is_told() {
        let state = tempdir().unwrap();
        let journal = begin(&state, "r1", "local:/a").unwrap();
        let path = die(journal);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\0\0\0\n").unwrap();
        assert_eq!(OpenJournal::take(&path).unwrap().unreadable, [2]);
    }

    #[test]
    fn a_run_that_died_before_it_did_anything_leaves_nothing() {
        let state = tempdir().unwrap();
        let path = state.path().join("r0.jsonl");
        std::fs::write(&path, br#"{"record":"hea"#).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(unfinished(state.path()).unwrap().journals.is_empty());
        assert!(!path.exists());
    }

    #[test]
    fn a_run_that_died_before_its_first_deed_stands_in_nobody_s_way() {
        let state = tempdir().unwrap();
        let path = die(begin(&state, "r1", "local:/a").unwrap());
        in_time(|| begin(&state, "r2", "local:/a"));
        assert!(!path.exists());
        // What did something stays, also when a line that cannot be read may have held it.
        let journal = begin(&state, "r3", "local:/b").unwrap();
        let path = die(journal);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"?\n").unwrap();
        assert!(matches!(begin(&state, "r4", "local:/b"), Err(BeginError::InTheWay(_))));
        assert!(path.exists());
    }

    #[test]
    fn one_that_cannot_be_read_holds_up_no_other() {
        let state = tempdir().unwrap();
        let put = |name: &str, mode: u32, header: Header| {
            let path = state.path().join(format!("{name}.jsonl"));
            std::fs::write(&path, serde_json::to_string(&Record::Header(header)).unwrap() + "\n").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let theirs = Header::new("r0", "theirs", vec!["local:/b".to_owned()]);
        let loose = put("loose", 0o664, theirs.clone());
        let newer = put("newer", 0o600, Header { schema: "resbench.journal/2".to_owned(), ..theirs.clone() });
        put("copy", 0o600, Header { copy: true, ..theirs });
        let journal = in_time(|| begin(&state, "r1", "local:/a"));
        journal.mount_planned(Path::new("/no/such/mount"));
        die(journal);

        let found = in_time(|| {
            let found = unfinished(state.path())?;
            if found.journals.is_empty() { Err("still held".to_owned()) } else { Ok(found) }
        });
        assert_eq!(whats(&found.journals[0]), ["mount /no/such/mount"]);
        let why = |name: &str| {
            let is_it = |unread: &&Unread| unread.run().as_deref() == Some(name);
            found.unread.iter().find(is_it).map(|unread| unread.why.as_str()).unwrap_or_default()
        };
        let cure = format!("chmod 600 {0} and resbench revert --journal {0}", loose.display());
        assert!(why("loose").ends_with(&cure), "{found:?}");
        assert!(why("newer").contains("resbench.journal/2") && why("newer").contains("revert --journal"), "{found:?}");
        assert!(why("copy").contains("copy") && found.unread.len() == 3, "{found:?}");
        drop(found);
        // They were not held, so their runs are dead.
        in_time(|| {
            let live = live_runs(state.path())?;
            if live.is_empty() { Ok(()) } else { Err(format!("{live:?}")) }
        });

        begin(&state, "r2", "local:/c").unwrap();
        for _ in [&loose, &newer] {
            let Err(BeginError::InTheWay(why)) = begin(&state, "r3", "local:/b") else { panic!("it may be the same") };
            let named = if why.contains("loose") { &loose } else { &newer };
            assert!(why.contains(&format!("resbench revert --journal {}", named.display())), "{why}");
            std::fs::remove_file(named).unwrap();
        }
        in_time(|| begin(&state, "r4", "local:/b"));
    }

    #[test]
    fn one_of_somebody_else_names_its_cure_and_is_of_any_target() {
        let state = tempdir().unwrap();
        let path = state.path().join("r0.jsonl");
        std::fs::write(&path, "").unwrap();
        let is_root = my_uid() == 0;
        if is_root {
            std::os::unix::fs::chown(&path, Some(1), None).unwrap();
        } else {
            std::fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        }
        let found = unfinished(state.path()).unwrap();
        let why = &found.unread[0].why;
        assert!(why.contains(&format!("resbench revert --journal {}", path.display())), "{why}");
        assert!(!is_root || why.contains("sudo -u '#1'") && why.contains("sudo chown 0 "), "{why}");
        let Err(BeginError::InTheWay(told)) = begin(&state, "r1", "local:/a") else { panic!("it may be the same") };
        assert!(told.contains("not known what it is of") && told.contains(why.as_str()), "{told}");
        assert!(path.exists());
    }

    #[test]
    fn a_lock_of_somebody_else_s_holds_up_nobody() {
        let state = tempdir().unwrap();
        std::fs::write(state.path().join("lock"), "").unwrap();
        std::fs::set_permissions(state.path().join("lock"), Permissions::from_mode(0o000)).unwrap();
        let journal = begin(&state, "r1", "local:/a").unwrap();
        assert!(unfinished(state.path()).unwrap().journals.is_empty());
        assert_eq!(journal.finish(true, None), Ok(true));
    }

    #[test]
    fn a_copy_that_cannot_be_written_leaves_nothing_broken() {
        let state = tempdir().unwrap();
        let nowhere = state.path().join("no/such/folder");
        let journal = begin(&state, "r1", "local:/a").unwrap();
        let ended = journal.finish(true, Some(&nowhere));
        let told =
            |e: &FinishError| matches!(e, FinishError::NoCopy { clean: true, why } if why.contains("journal.jsonl"));
        assert!(ended.as_ref().is_err_and(told), "{ended:?}");
        assert!(!journal.path().exists());
        let journal = begin(&state, "r2", "local:/a").unwrap();
        journal.process_started("one", &nobody());
        let ended = journal.finish(true, Some(&nowhere));
        assert!(matches!(ended, Err(FinishError::NoCopy { clean: false, .. })), "{ended:?}");
        assert_eq!(whats(&OpenJournal::take(&die(journal)).unwrap()), ["one"]);
    }

    #[test]
    fn an_end_that_is_not_clean_stays() {
        let state = tempdir().unwrap();
        let journal = begin(&state, "r1", "local:/a").unwrap();
        journal.process_started("one", &nobody());
        assert_eq!(journal.finish(true, None), Ok(false), "something is still open");
        assert_eq!(whats(&OpenJournal::take(&die(journal)).unwrap()), ["one"]);
    }

    #[test]
    fn a_full_journal_takes_endings_only() {
        let state = tempdir().unwrap();
        let journal = begin(&state, "r1", "local:/a").unwrap();
        journal.process_started("one", &nobody());
        journal.writer().bytes = MAX_BYTES;
        assert!(journal.intent("slow", &[], &[]).unwrap_err().contains("full"));
        assert_eq!(journal.problem(), None);
        journal.process_started("two", &ProcessId { pid: 2, ..nobody() });
        assert!(journal.problem().unwrap().contains("full"));
        journal.process_ended(&nobody());
        assert!(OpenJournal::take(&die(journal)).unwrap_err().contains("nothing is left"));
    }

    #[test]
    fn places_are_told_apart() {
        let here = Header::new("r", "s", vec!["local:/a".into(), "url:h:80".into()]);
        let rebooted = Header { boot_id: "another".into(), ..here.clone() };
        let elsewhere = Header { host: "another".into(), ..rebooted.clone() };
        assert_eq!([&here, &rebooted, &elsewhere].map(Header::place), [Place::Here, Place::Rebooted, Place::Elsewhere]);
        assert_eq!(here.shared_target(&rebooted).unwrap(), "local:/a");
        assert_eq!(here.shared_target(&elsewhere).unwrap(), "url:h:80", "a path is another one on another machine");
    }
}
