//! The scenario language: from a TOML file to a [`Plan`], or to every problem in it at once.
//!
//! ```text
//! text → tree (places, --set, ${VAR}) → walk (shape, against the schema) → compile (sense) → Plan
//! ```
//!
//! What is allowed is said once, in `file.rs`; the JSON Schema comes from there, and so does what the reader checks. A
//! kind, protocol or platform that is not built is not in it.
//!
//! Owns reading the file, and those that it names. Leaves alone what a plan does, and how problems reach a person (`cli/`).

mod compile;
mod data;
mod file;
mod limits;
mod problem;
mod tree;
mod walk;
mod words;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

pub use problem::{Problem, Problems};

use crate::plan::{Plan, Source};
use problem::Report;
use tree::Origin;

/// What stands around a scenario file.
pub struct LoadOptions<'a> {
    /// `path=value` assignments, in order: the value is TOML, or bare text; elements of arrays by index or by name, as
    /// in `phase.baseline.rate=900`.
    pub sets: Vec<String>,
    /// Overrides the scenario's seed.
    pub seed: Option<u64>,
    /// Looks up a `${VAR}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Default for LoadOptions<'_> {
    /// No assignments, the scenario's own seed, the environment of this process.
    fn default() -> Self {
        LoadOptions { sets: Vec::new(), seed: None, env: &|name| std::env::var(name).ok() }
    }
}

/// Reads a scenario file and checks everything about it.
///
/// # Errors
/// Every problem that was found.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Plan, Problems> {
    match read(path) {
        Ok(bytes) => load_bytes(&bytes, path, options),
        Err((message, help)) => {
            let mut report = Report::new(path.display().to_string(), "", &options.sets);
            report.add(&tree::Path::root(), &Origin::Whole, message, help);
            Err(report.into_problems())
        }
    }
}

/// As [`load`], with the file's text given; `path` says how to call it and what relative paths stand on.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, path: &Path, options: &LoadOptions) -> Result<Plan, Problems> {
    load_bytes(text.as_bytes(), path, options)
}

/// The JSON Schema of the language, draft 2020-12.
pub fn schema() -> serde_json::Value {
    SCHEMA.clone()
}

static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(file::schema);

/// The file's bytes, at most the limit.
fn read(path: &Path) -> Result<Vec<u8>, (String, String)> {
    let cannot = |e: std::io::Error| {
        (
            format!("cannot read the scenario: {}", data::plain_error(&e)),
            "check the path; it names a TOML file".to_owned(),
        )
    };
    if std::fs::metadata(path).map_err(cannot)?.is_dir() {
        return Err(("this is a folder, not a scenario".to_owned(), "name a TOML file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(limits::FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

fn load_bytes(bytes: &[u8], path: &Path, options: &LoadOptions) -> Result<Plan, Problems> {
    let name = path.display().to_string();
    let too_large = bytes.len() as u64 > limits::FILE_BYTES;
    let text = if too_large { "".into() } else { String::from_utf8_lossy(bytes) };
    let mut report = Report::new(name, &text, &options.sets);
    let plan = if too_large {
        let help = "a scenario names its data (dataset = \"data/….csv\") instead of holding it";
        report.add(
            &tree::Path::root(),
            &Origin::Whole,
            "a scenario file has at most 1 MiB, and this one has more",
            help,
        );
        None
    } else if let Err(e) = std::str::from_utf8(bytes) {
        let at = e.valid_up_to();
        let message = format!("line {}: not UTF-8", data::line_of(bytes, at));
        report.add(&tree::Path::root(), &Origin::File(at..at + 1), message, "save the file as UTF-8");
        None
    } else {
        plan(&text, path, options, &mut report)
    };
    plan.filter(|_| report.is_empty()).ok_or_else(|| report.into_problems())
}

/// The steps of the module's picture.
fn plan(text: &str, path: &Path, options: &LoadOptions, report: &mut Report) -> Option<Plan> {
    let mut root = tree::parse(text, report)?;
    for (index, assignment) in options.sets.iter().enumerate() {
        tree::set(&mut root, index, assignment, report);
    }
    tree::expand(&mut root, &tree::Path::root(), options.env, report);
    walk::check(&root, &SCHEMA, report);
    report.shape_is_checked();
    // `x.toml` has an empty parent, which no system call takes for the current folder.
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let source = Source {
        path: path.to_path_buf(),
        // The watchdog, and a later `revert`, run its commands from a folder of their own.
        dir: std::path::absolute(&dir).unwrap_or_else(|_| dir.clone()),
        sha256: digest(text.as_bytes(), &options.sets),
        sets: options.sets.clone(),
    };
    let mut context = compile::Context { root: &root, dir: &dir, report, warnings: Vec::new() };
    compile::compile(&mut context, source, lesson(text), options.seed)
}

/// SHA-256 over the file and each assignment, in hex.
fn digest(file: &[u8], sets: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(file);
    for set in sets {
        // A zero byte cannot stand in TOML, so it keeps file and assignments apart.
        hash.update([0]);
        hash.update(set.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first comment line before anything else, without `#`. Lines for editors (`#:schema …`) do not count.
fn lesson(text: &str) -> String {
    let first = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with("#:")).unwrap_or_default();
    first.strip_prefix('#').unwrap_or_default().trim_start_matches('#').trim().to_owned()
}

/// Reads an absolute `http` or `https` URL.
///
/// # Errors
/// What is wrong with it.
pub fn url(text: &str) -> Result<crate::plan::Url, String> {
    compile::url(text).map_err(|(what, help)| format!("{what}: {help}"))
}

/// A `[[fault]]` for a manifest of Chaos Mesh, as TOML; and what its author should know.
///
/// # Errors
/// What is wrong with the file.
pub fn import_chaos_mesh(path: &Path) -> Result<(String, Vec<String>), String> {
    let made = compile::chaos_mesh::import(path, &path.display().to_string());
    made.map_err(|(what, help)| format!("{what}: {help}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesson_is_the_first_comment() {
        assert_eq!(lesson("#:schema x.json\n\n# Kill one.\nname = 'x'\n"), "Kill one.");
        assert_eq!(lesson("name = 'x' # no\n# late\n"), "");
        assert_eq!(lesson(""), "");
    }

    #[test]
    fn the_digest_speaks_of_file_and_sets() {
        let of = |sets: &[&str]| digest(b"a", &sets.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
        assert_ne!(of(&["b"]), of(&[]));
        assert_ne!(of(&["b", "c"]), of(&["bc"]));
    }
}
