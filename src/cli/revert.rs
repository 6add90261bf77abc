//! `resbench revert`: puts back what a dead run left.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{USAGE, out};
use crate::fault::journal::{self, OpenJournal};
use crate::fault::undo::revert_journal;

#[derive(Args)]
pub(super) struct RevertArgs {
    /// This journal only; else every unfinished one of this machine.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Ask nothing.
    #[arg(long, short)]
    yes: bool,
}

pub(super) fn revert(args: &RevertArgs) -> u8 {
    let journals = match &args.journal {
        Some(path) => OpenJournal::take(path).map(|j| vec![j]),
        None => journal::state_dir().and_then(|dir| journal::unfinished(&dir)),
    };
    let journals = match journals {
        Ok(journals) => journals,
        Err(why) => {
            out::error(&why);
            return USAGE;
        }
    };
    if journals.is_empty() {
        out::result("nothing is left to put back\n");
        return 0;
    }
    let mut broken = false;
    for open in journals {
        broken |= !one(open, args.yes);
    }
    if broken { 4 } else { 0 }
}

/// Puts one journal's deeds back; true when nothing is left of them.
fn one(open: OpenJournal, yes: bool) -> bool {
    out::result(&format!("{}\n", open.path.display()));
    let mut ask = |question: &str| yes || (out::stdin_is_terminal() && out::ask(question));
    let outcome = revert_journal(open, &mut ask);
    outcome.done.iter().for_each(|done| out::result(&format!("  done: {}\n", out::safe(done))));
    outcome.left.iter().for_each(|left| out::result(&format!("  LEFT: {}\n", out::safe(left))));
    if outcome.left.is_empty() {
        out::result("  nothing is left\n");
    }
    outcome.left.is_empty()
}
