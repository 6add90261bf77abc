//! The shape of the code, kept by force: who may import whom, who reads time, who prints.
//!
//! These are the invariants of `src/lib.rs`. They are read from the sources as text, comments and tests aside: crude, quick, and
//! enough, since the code says `use crate::…` in one way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules from low to high: each may import those above it in this list and nothing else of ours. The second word is why it
/// stands where it does.
const ORDER: [(&str, &str); 28] = [
    ("units", "quantities: know nothing"),
    ("rng", "chance: a seed is a quantity"),
    ("clock", "time: an offset is a quantity"),
    ("hist", "histograms: numbers only"),
    ("statistics", "methods of comparison: numbers only"),
    ("outcome", "how a request ends: words only"),
    ("plan", "what is to happen: quantities, valid by construction"),
    ("scenario", "text → plan; nobody above it sees text"),
    ("schedule", "plan → arrivals; pure"),
    ("alteration", "which arrivals are altered, and when; knows no bodies"),
    ("target", "plan → bodies; answer → meaning"),
    ("client", "the wire, for what `target` encodes"),
    ("summary", "what was measured; pure"),
    ("bootstrap", "intervals of a summary; pure"),
    ("impact", "what a fault did to a summary; pure"),
    ("budget", "what a fault costs of a promise; pure"),
    ("objective", "verdicts on a summary; pure"),
    ("capacity", "which rate to try, what trials show; pure, knows nothing of ours"),
    ("record", "samples → summary"),
    ("engine", "arrivals → client → record"),
    ("platform", "where replicas live; knows no faults"),
    ("fault", "changes what `platform` gives it; knows no load"),
    ("probe", "asks by `client`, runs commands as faults do; knows no faults"),
    ("report", "facts of all the above → one model → files"),
    ("compare", "reports of many runs → which side is worse, what is carried; pure"),
    ("model_server", "a target like any other: nothing of ours but the lowest modules"),
    ("run", "the composition root: wires, decides nothing"),
    ("cli", "people: commands and words"),
];

/// Pairs that the order would allow and the design does not.
const APART: [(&str, &str, &str); 6] = [
    ("engine", "scenario", "load comes from a plan, never from text"),
    ("platform", "engine", "replicas must not know of the load"),
    ("fault", "engine", "faults must not know of the load"),
    ("fault", "record", "faults must not know of the results"),
    ("model_server", "plan", "the embedded target is a target like any other"),
    ("engine", "summary", "the schedule never looks at results"),
];

struct Source {
    path: PathBuf,
    /// Relative to `src`, with `/`.
    name: String,
    /// As it stands in the file.
    text: String,
    /// Without comments, and without what `#[cfg(test)]` stands before.
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap().trim_end_matches(".rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_in(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            files_in(&entry, found);
        } else {
            found.push(entry);
        }
    }
}

fn rust_files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_in(&root().join(dir), &mut found);
    found.retain(|p| p.extension().is_some_and(|e| e == "rs") && !p.starts_with(root().join("tests/fuzz/target")));
    found.sort();
    found
}

/// The sources of the program, whole modules of tests left out.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut all = Vec::new();
    for path in rust_files("src") {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if !is_test_module(&path) {
            all.push(Source { code: program_only(&text), path, name, text });
        }
    }
    assert!(all.len() > 50, "the sources were not found: {}", all.len());
    all
}

/// True for a file that its parent declares under `#[cfg(test)]`.
fn is_test_module(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let dir = path.parent().unwrap();
    [dir.join("mod.rs"), dir.with_extension("rs")].iter().filter(|p| *p != path).any(|parent| {
        std::fs::read_to_string(parent).is_ok_and(|text| {
            let mut lines = text.lines().map(str::trim).skip_while(|l| *l != "#[cfg(test)]");
            while let Some(line) = lines.next() {
                if line != "#[cfg(test)]" {
                    continue;
                }
                let declared = lines.by_ref().find(|l| !l.starts_with("#[")).unwrap_or_default();
                if declared.ends_with(&format!("mod {stem};")) {
                    return true;
                }
            }
            false
        })
    })
}

/// Drops comments and every item under `#[cfg(test)]` (by its indentation, which rustfmt keeps).
fn program_only(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line.split("//").next().unwrap());
            code.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        for item in lines.by_ref() {
            if item == close
                || item.trim_end().ends_with(';') && item.starts_with(indent) && !item[indent.len()..].starts_with(' ')
            {
                break;
            }
        }
    }
    code
}

/// The modules that a piece of code names after `crate::`, in a path or in a list.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(found.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut at_start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => at_start = true,
                        c if at_start && !c.is_whitespace() => {
                            found.insert(word(&list[i..]));
                            at_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// Every file in which one of `words` stands in code.
fn who_says(sources: &[Source], words: &[&str]) -> BTreeSet<String> {
    sources.iter().filter(|s| words.iter().any(|w| s.code.contains(w))).map(|s| s.name.clone()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn every_module_has_its_place() {
    let modules: BTreeSet<String> = sources().iter().map(|s| s.module().to_owned()).collect();
    let listed: BTreeSet<String> =
        ORDER.iter().map(|(m, _)| (*m).to_owned()).chain(["lib", "main"].map(str::to_owned)).collect();
    assert_eq!(modules, listed, "list the module in ORDER, where its imports allow it");
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (module, _) in ORDER {
        assert!(lib.contains(&format!("[`{module}`]")), "the map in src/lib.rs does not name {module}");
    }
}

#[test]
fn imports_go_downward_only() {
    let rank = |module: &str| ORDER.iter().position(|(m, _)| *m == module);
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module().to_owned();
        let Some(own) = rank(&module) else { continue };
        for import in imports(&source.code).iter().filter(|i| **i != module) {
            match rank(import) {
                Some(other) if other < own => {}
                Some(_) => wrong.push(format!("{}: {module} imports {import}, which stands above it", source.name)),
                None => wrong.push(format!("{}: crate::{import} is no module of ORDER", source.name)),
            }
            if let Some((.., why)) = APART.iter().find(|(a, b, _)| *a == module && b == import) {
                wrong.push(format!("{}: {module} imports {import}: {why}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A renderer that looked at the run itself could show what `resbench report` cannot rebuild.
#[test]
fn renderers_see_the_report_and_nothing_else() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| s.module() == "report" && !s.name.starts_with("report/build")) {
        // Words of error classes and the histogram's layout are formats, not results.
        let seen = imports(&source.code);
        wrong.extend(
            seen.iter()
                .filter(|i| !["report", "outcome", "hist"].contains(&i.as_str()))
                .map(|i| format!("{}: {i}", source.name)),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_clock_reads_time_or_sleeps() {
    let all = sources();
    assert_eq!(who_says(&all, &["clock_gettime", "clock_nanosleep"]), set(&["clock.rs"]));
    assert_eq!(
        who_says(&all, &["SystemTime::now", "thread::sleep", "Zoned::now", "Timestamp::now", "nanosleep("]),
        set(&[])
    );
    // Tokio's timers need tokio's own instants; they pace polls, the link and what the embedded target says, never the load.
    for source in all.iter().filter(|s| s.code.contains("Instant")) {
        let tokio = source.code.lines().any(|l| l.starts_with("use tokio::time::") && l.contains("Instant"));
        assert!(tokio && !source.code.contains("std::time::{Instant"), "{} reads time: use crate::clock", source.name);
        assert!(["platform", "model_server"].contains(&source.module()), "{} reads tokio's clock", source.name);
    }
}

/// Every trap that load generators are known to fall into stands in the table of `src/engine/mod.rs`, with tests that exist.
#[test]
fn every_trap_has_a_test() {
    let is_name =
        |word: &&str| word.starts_with("trap_") && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut tests = BTreeSet::new();
    for path in ["src", "tests"].into_iter().flat_map(rust_files) {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().map(str::trim);
        // A function that nobody calls by `#[test]` proves nothing.
        while lines.by_ref().any(|l| l == "#[test]") {
            let declared = lines.by_ref().find(|l| !l.starts_with("#[") && !l.starts_with("//")).unwrap_or_default();
            let name = declared.strip_prefix("fn ").and_then(|rest| rest.split('(').next()).unwrap_or_default();
            if is_name(&name) {
                assert!(tests.insert(name.to_owned()), "{name} stands twice: {}", path.display());
            }
        }
    }
    let engine = std::fs::read_to_string(root().join("src/engine/mod.rs")).unwrap();
    let mut listed = BTreeSet::new();
    let mut traps = Vec::new();
    for row in engine.lines().filter_map(|l| l.strip_prefix("//! | ")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let Ok(trap) = cells[0].parse::<u32>() else { continue };
        let names: Vec<&str> = cells[2].split('`').filter(is_name).collect();
        assert!(!names.is_empty(), "trap {trap} has no test");
        for name in names {
            assert!(name.starts_with(&format!("trap_{trap:02}_")), "trap {trap}: {name}");
            assert!(tests.contains(name), "trap {trap}: there is no test {name}");
            listed.insert(name.to_owned());
        }
        traps.push(trap);
    }
    assert_eq!(traps, (1..=28).collect::<Vec<_>>());
    assert_eq!(listed, tests, "a test that is named after a trap stands in its row");
}

/// The wall clock jumps: it may date a run, and nothing else. `clock.rs` notes it when an axis is made, `run/` once more for the
/// name of a run's folder.
#[test]
fn trap_21_nothing_that_measures_reads_the_wall_clock() {
    let all = sources();
    let mut readers = who_says(&all, &["wall_nanos"]);
    // The embedded target says when it answered, as its protocol wants; it measures nothing.
    readers.retain(|name| !name.starts_with("model_server/"));
    assert_eq!(readers, set(&["clock.rs", "run/mod.rs"]));
    let calls = |name: &str| all.iter().find(|s| s.name == name).unwrap().code.matches("wall_nanos()").count();
    // Its definition and the axis; the folder.
    assert_eq!((calls("clock.rs"), calls("run/mod.rs")), (2, 1));
    assert_eq!(who_says(&all, &["ClockId::Realtime", "CLOCK_REALTIME", "gettimeofday"]), set(&["clock.rs"]));
    let clocks = ["SystemTime::now", "UNIX_EPOCH.elapsed", "Timestamp::now", "Zoned::now", "jiff::civil", "libc::time"];
    assert_eq!(who_says(&all, &clocks), set(&[]));
    // What was noted at the start is only ever shown, and puts the times that others tell on our axis: of
    // alerts, and of when features were made.
    let shown = who_says(&all, &["wall_origin"]);
    let may = |name: &str| ["clock.rs", "probe/mod.rs", "engine/worker.rs"].contains(&name) || name.starts_with("run/");
    assert!(shown.iter().all(|name| may(name)), "{shown:?}");
}

#[test]
fn only_the_command_line_prints() {
    let prints = ["print!(", "println!(", "dbg!(", "io::stdout", "io::stderr", "anstream::"];
    let mut who = who_says(&sources(), &prints);
    who.retain(|name| !name.starts_with("cli/"));
    // Watchdog and burners are programs of their own: one line on stdout is the handshake with the run that started them.
    assert_eq!(who, set(&["fault/stress.rs", "fault/watchdog.rs"]));
}

#[test]
fn every_file_says_what_it_owns() {
    for path in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{}: open it with `//!`: what it owns, what it leaves alone", path.display());
    }
}

#[test]
fn nothing_waits_to_be_written() {
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), "unimplemented!(", "todo!("];
    for source in sources() {
        for word in unfinished {
            assert!(!source.text.contains(word), "{}: {word}", source.path.display());
        }
    }
}

/// A path of the machine that something was written on works on no other.
#[test]
fn no_path_of_one_machine() {
    let mut texts = rust_files("src");
    texts.extend(rust_files("tests"));
    files_in(&root().join("scenarios"), &mut texts);
    for name in ["README.md", "CHANGELOG.md", "Justfile", "Cargo.toml", ".ci/run", "tests/run.sh"] {
        texts.push(root().join(name));
    }
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    for path in texts {
        // What is not text names no path.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for home in homes {
            assert!(!text.contains(home), "{}: names {home}", path.display());
        }
    }
}

#[test]
fn the_readers_of_this_test_read() {
    let code = "use crate::plan::Plan;\nuse crate::{clock::{self, Clock}, rng, units::Offset as O};\nfn f() { crate::hist::g() }";
    assert_eq!(imports(code), set(&["clock", "hist", "plan", "rng", "units"]));
    let text =
        "a(); // crate::cli\n#[cfg(test)]\nmod tests {\n    crate::run();\n}\n#[cfg(test)]\nuse crate::x;\nb();\n";
    assert_eq!(program_only(text), "a(); \nb();\n");
}
