//! The scenario language from outside: what is refused and how, what is accepted and what it means, and its schema.
//!
//! Each file in `fixtures/scenario/bad` is input and expectation in one: lines of `#set` and `#env` stand around it, and the
//! lines of `#>` at its end are every problem it must lead to. `BLESS=1 cargo test --test scenario` writes them anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use resbench::plan::*;
use resbench::scenario::{self, LoadOptions, Problems};
use resbench::units::Offset;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scenario")
}

/// Files of a folder that end in `.toml`, in order.
fn scenarios_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

/// Loads a text as if it stood in the folder of bad ones, without any environment.
fn load(text: &str, sets: &[&str]) -> Result<Plan, Problems> {
    let sets = sets.iter().map(|s| (*s).to_owned()).collect();
    let options = LoadOptions { sets, seed: None, env: &|_| None };
    scenario::load_text(text, &fixtures().join("bad/x.toml"), &options)
}

/// Every problem as two lines: place, key and message; help.
fn lines_of(problems: &Problems) -> Vec<String> {
    let line = |p: &scenario::Problem| {
        let place = p.set.as_ref().map_or_else(|| format!("{}:{}", p.line, p.column), |set| format!("--set {set}"));
        let path = if p.path.is_empty() { String::new() } else { format!("{}: ", p.path) };
        [format!("#> {place} {path}{}", p.message), format!("#>     {}", p.help)]
    };
    problems.list().iter().flat_map(line).collect()
}

#[test]
fn bad_scenarios_are_answered_with_every_problem_and_its_cure() {
    let bless = std::env::var_os("BLESS").is_some();
    let files = scenarios_in(&fixtures().join("bad"));
    assert!(files.len() > 40, "only {} fixtures", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (input, expected): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| !l.starts_with("#>"));
        let of = |word: &str| input.iter().filter_map(|l| l.strip_prefix(word)).map(str::to_owned).collect::<Vec<_>>();
        let env = of("#env ");
        let lookup = |name: &str| env.iter().find_map(|e| e.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        let options = LoadOptions { sets: of("#set "), seed: None, env: &lookup };
        let problems = scenario::load(&file, &options).expect_err(&file.display().to_string());
        let found = lines_of(&problems);
        if bless {
            let whole: Vec<String> = input.iter().map(|l| (*l).to_owned()).chain(found).collect();
            std::fs::write(&file, whole.join("\n") + "\n").unwrap();
        } else {
            assert_eq!(found, expected, "{}\n{}", file.display(), problems.render(false, 120));
        }
    }
}
