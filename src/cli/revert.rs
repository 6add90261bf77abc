//! `resbench revert`: puts back what a dead run left.
//!
//! By its journal where there is one; with `--all` also what carries this program's mark and no journal knows of.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{USAGE, out};
use crate::fault::journal::{self, OpenJournal, Place, Unfinished, Unread};
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

/// Something is left broken, or may be.
const NOT_CLEAN: u8 = 4;

pub(super) fn revert(args: &RevertArgs) -> u8 {
    let Unfinished { journals, unread } = match found(args) {
        Ok(found) => found,
        Err((code, why)) => {
            out::error(&why);
            return code;
        }
    };
    let mut places = Places { toxiproxies: args.toxiproxy.iter().cloned().collect(), context: args.context.clone() };
    journals.iter().for_each(|journal| places.add(journal));
    if journals.is_empty() && unread.is_empty() && !args.all {
        out::result("nothing is left to put back\n");
        return 0;
    }
    let mut clean = true;
    for open in journals {
        clean &= one(open, args.yes);
    }
    for file in &unread {
        clean &= not_read(file);
    }
    if args.all {
        clean &= everything(&places, args);
    }
    if clean { 0 } else { NOT_CLEAN }
}

/// The journal that was named, or all of this machine's; else why not, and the exit code.
fn found(args: &RevertArgs) -> Result<Unfinished, (u8, String)> {
    if let Some(path) = &args.journal {
        let open = OpenJournal::take(path).map_err(|why| (USAGE, why))?;
        return Ok(Unfinished { journals: vec![open], unread: Vec::new() });
    }
    let dir = journal::state_dir().map_err(|why| (USAGE, why))?;
    journal::unfinished(&dir).map_err(|why| (NOT_CLEAN, why))
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

/// Tells of a file that nothing is undone from. Always something left: nobody knows what it holds.
fn not_read(file: &Unread) -> bool {
    out::result(&format!("{}\n  LEFT: {}\n", file.path.display(), out::safe(&file.why)));
    false
}

/// Asks for everything that carries our mark; true when nothing is left of it, wherever somebody said to look.
fn everything(places: &Places, args: &RevertArgs) -> bool {
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
    let mut clean = true;
    for why in &found.unseen {
        if was_named(why, args) {
            out::result(&format!("  LEFT: not looked at: {}; see to it, then say this again\n", out::safe(why)));
            clean = false;
        } else {
            out::result(&format!("  not looked at: {}\n", out::safe(why)));
        }
    }
    if found.things.is_empty() {
        let elsewhere = if clean { "" } else { " elsewhere" };
        out::result(&format!("  nothing was found{elsewhere}\n"));
    }
    for thing in found.things {
        clean &= by_mark(thing, &live, args.yes);
    }
    clean
}

/// A place that was not looked at is one that a person named. What is tried without being named, as a cluster that may not
/// be there, need not be.
fn was_named(unseen: &str, args: &RevertArgs) -> bool {
    match unseen.strip_prefix("Toxiproxy ") {
        Some(rest) => args.toxiproxy.iter().any(|url| rest.starts_with(&format!("{url}: "))),
        None => args.context.is_some(),
    }
}

fn by_mark(thing: Marked, live: &BTreeSet<String>, yes: bool) -> bool {
    let what = out::safe(&thing.what);
    if thing.is_of(live) {
        out::result(&format!("  left alone: {what}: its run lives, as far as its journal tells\n"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_named_must_be_looked_at_and_what_is_only_tried_need_not() {
        let args = |toxiproxy: &[&str], context: Option<&str>| RevertArgs {
            journal: None,
            all: true,
            toxiproxy: toxiproxy.iter().map(|url| (*url).to_owned()).collect(),
            context: context.map(str::to_owned),
            yes: true,
        };
        let (server, cluster) = ("Toxiproxy http://127.0.0.1:1: refused", "Kubernetes: no kubeconfig");
        let named = args(&["http://127.0.0.1:1"], None);
        assert!(was_named(server, &named) && !was_named(cluster, &named));
        // A journal named it.
        assert!(!was_named(server, &args(&["http://127.0.0.1:12"], None)));
        let context = args(&[], Some("prod"));
        assert!(was_named(cluster, &context) && !was_named(server, &context));
    }
}
