//! Any bytes as a scenario file: a plan, or problems that can be shown; never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use resbench::scenario::{LoadOptions, load_text};

fuzz_target!(|text: &str| {
    // No variable of the fuzzer's own surroundings decides what is found.
    let options = LoadOptions { env: &|_| None, ..LoadOptions::default() };
    match load_text(text, Path::new("fuzz.toml"), &options) {
        Ok(plan) => assert!(!plan.phases.is_empty() && plan.end().0 > 0),
        Err(problems) => assert!(!problems.render(false, 100).is_empty()),
    }
});
