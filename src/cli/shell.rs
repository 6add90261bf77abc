//! `resbench completions SHELL` and `resbench man`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::{USAGE, out};

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// For this shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// Write one page per command into this folder instead.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs, command: &mut Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "resbench", &mut script);
    out::result(&String::from_utf8_lossy(&script));
    0
}

pub(super) fn man(args: &ManArgs, command: &Command) -> u8 {
    if let Some(dir) = &args.dir {
        return match std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command.clone(), dir)) {
            Ok(()) => 0,
            Err(e) => {
                out::error(&format!("{}: {e}", dir.display()));
                USAGE
            }
        };
    }
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = clap_mangen::Man::new(command.clone()).render(&mut page);
    out::result(&String::from_utf8_lossy(&page));
    0
}
