//! `resbench revert`: puts back what a dead run left.
//!
//! By its journal where there is one; with `--all` also what carries this program's mark and no journal knows of.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{USAGE, out};
use crate::fault::journal::{self, OpenJournal, Place};
use crate::fault::marked::{self, Marked, Places};
use crate::fault::undo::{UndoDone, revert_journal};

#[derive(Args)]
pub(super) struct RevertArgs {
    /// This journal only, also one of another machine; else every unfinished one of this machine.
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    journal: Option<PathBuf>,
    /// Then whatever else carries resbench's mark: toxics, objects of Chaos Mesh, Deployments, dead views of volumes. Runs that
    /// live on other machines cannot be told from lost ones: be sure that there are none.
    #[arg(long)]
    all: bool,
    /// With --all: a Toxiproxy server to look at, beside those that journals name. Repeatable.
    #[arg(long, value_name = "URL", requires = "all")]
    toxiproxy: Vec<String>,
    /// With --all: the kubeconfig's context to look at, instead of its current one.
    #[arg(long, value_name = "NAME", requires = "all")]
    context: Option<String>,
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
    let mut places = Places { toxiproxies: args.toxiproxy.iter().cloned().collect(), context: args.context.clone() };
    journals.iter().for_each(|journal| places.add(journal));
    if journals.is_empty() && !args.all {
        out::result("nothing is left to put back\n");
        return 0;
    }
    let mut clean = true;
    for open in journals {
        clean &= one(open, args.yes);
    }
    if args.all {
        clean &= everything(&places, args.yes);
    }
    if clean { 0 } else { 4 }
}

fn agreed(question: &str, yes: bool) -> bool {
    yes || (out::stdin_is_terminal() && out::ask(question))
}

/// Puts one journal's deeds back; true when nothing is left of them.
fn one(open: OpenJournal, yes: bool) -> bool {
    out::result(&format!("{}\n", open.path.display()));
    let (host, place) = (open.header.host.clone(), open.header.place());
    let outcome = revert_journal(open, &mut |question| agreed(question, yes));
    outcome.done.iter().for_each(|done| out::result(&format!("  done: {}\n", out::safe(done))));
    outcome.left.iter().for_each(|left| out::result(&format!("  LEFT: {}\n", out::safe(left))));
    match (outcome.left.is_empty(), place) {
        (true, _) => out::result("  nothing is left\n"),
        (false, Place::Elsewhere) => {
            out::result(&format!("  what is left is on {}: start resbench revert there\n", out::safe(&host)));
        }
        (false, Place::Here | Place::Rebooted) => {}
    }
    outcome.left.is_empty()
}

/// Asks for everything that carries our mark; true when nothing is left of it.
fn everything(places: &Places, yes: bool) -> bool {
    // Looked at before the things are: a run that begins meanwhile makes only what is not found yet.
    let live = match journal::state_dir().and_then(|dir| journal::live_runs(&dir)) {
        Ok(live) => live,
        Err(why) => {
            out::error(&format!("which runs live is not known, so nothing is touched: {why}"));
            return false;
        }
    };
    let found = marked::find(places);
    out::result("by its mark\n");
    found.unseen.iter().for_each(|why| out::result(&format!("  not looked at: {}\n", out::safe(why))));
    if found.things.is_empty() {
        out::result("  nothing was found\n");
    }
    let mut clean = true;
    for thing in found.things {
        clean &= by_mark(thing, &live, yes);
    }
    clean
}

fn by_mark(thing: Marked, live: &BTreeSet<String>, yes: bool) -> bool {
    let what = out::safe(&thing.what);
    if thing.is_of(live) {
        out::result(&format!("  left alone: {what}: its run lives\n"));
        return true;
    }
    // Runs of other machines cannot be seen from here.
    if !agreed(&format!("{what}: no run of this machine that lives has made it. Put it away?"), yes) {
        out::result(&format!("  LEFT: {what}: not agreed to; say --yes\n"));
        return false;
    }
    match thing.remove() {
        Ok(UndoDone::Done) => out::result(&format!("  done: {what}\n")),
        Ok(UndoDone::GoneAlready) => out::result(&format!("  was gone already: {what}\n")),
        Err(why) => {
            out::result(&format!("  LEFT: {what}: {}\n", out::safe(&why)));
            return false;
        }
    }
    true
}
