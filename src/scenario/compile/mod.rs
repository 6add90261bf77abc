//! From a tree that fits the schema to a [`Plan`] that makes sense.
//!
//! One file per table of the scenario. Each reads its part without the keys that depart from the schema, notes everything
//! else that is wrong with it, and gives back what it could make; so one mistake hides no other. Where a key had to be
//! left out, nothing is said about how the others go together ([`Context::clash`]), and nobody builds on that table
//! ([`Context::sound`]): that would be noise. A plan comes out only when nothing at all is wrong.

mod body;
mod budget;
pub(super) mod chaos_mesh;
mod decision;
mod docker;
mod fault;
mod kubernetes;
mod objective;
mod payload;
mod phase;
mod platform;
mod playbook;
mod probe;
mod registry_alias;
mod safety;
mod scrape;
mod target;
mod toxiproxy;
mod traffic;
mod url;
mod via;

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::problem::{Report, masked};
use super::tree::{Node, Path};
use crate::plan::{Plan, Source};
use crate::units::Seed;

/// What compiling a part may look at, and where it notes what it finds.
pub(super) struct Context<'a, 'r> {
    /// The whole scenario.
    pub(super) root: &'a Node,
    /// The folder that relative paths stand on.
    pub(super) dir: &'a std::path::Path,
    /// Problems.
    pub(super) report: &'a mut Report<'r>,
    /// Warnings of the plan.
    pub(super) warnings: Vec<String>,
}

impl Context<'_, '_> {
    /// Reads the table at a path, as far as its keys fit the schema; none when what is left cannot be read.
    fn section<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        let mut value = self.root.at(path)?.to_toml();
        let is_broken = self.report.is_broken(path);
        if let Some(table) = value.as_table_mut() {
            table.retain(|key, _| !self.report.is_broken(&path.key(key)));
        }
        match value.try_into() {
            Ok(section) => Some(section),
            Err(_) if is_broken => None,
            Err(e) => {
                // The schema lets through what the types refuse: a gap between the two, but still the user's problem.
                self.wrong(path, e.to_string(), "see `resbench schema`");
                None
            }
        }
    }

    /// Notes a problem with the value at a path.
    fn wrong(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        let at = self.root.place(path);
        self.report.add(path, &at, message, help);
    }

    /// Notes that keys of the table at a path do not go together, or that one of them is missing. `key` is the one to look
    /// at, or nothing for the whole table. Not said of a table with keys that could not be read.
    fn clash(&mut self, table: &Path, key: &str, message: impl Into<String>, help: impl Into<String>) {
        if !self.report.is_broken(table) {
            self.wrong(&if key.is_empty() { table.clone() } else { table.key(key) }, message, help);
        }
    }

    /// What was made of the table at a path, if all of the table could be read.
    fn sound<T>(&self, table: &Path, made: Option<T>) -> Option<T> {
        made.filter(|_| !self.report.is_broken(table))
    }

    /// Notes a failure as a problem, and goes on without the value.
    fn good<T>(&mut self, path: &Path, result: Result<T, (String, String)>) -> Option<T> {
        result.map_err(|(message, help)| self.wrong(path, message, help)).ok()
    }

    /// Notes something that is worth knowing and stops nothing.
    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// How many elements a top-level array has.
    fn count(&self, key: &str) -> usize {
        self.root.get(key).map_or(0, |n| n.items().len())
    }

    /// The names in an array of tables, as far as they are written, in order.
    fn names(&self, path: &Path) -> Vec<String> {
        let items = self.root.at(path).map_or(&[][..], Node::items);
        items.iter().map(|n| n.get("name").and_then(Node::text).unwrap_or_default().to_owned()).collect()
    }

    /// Notes every name that was taken before.
    fn unique(&mut self, path: &Path, what: &str) {
        let names = self.names(path);
        for (i, name) in names.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
            if names[..i].contains(name) {
                let message = format!("a {what} called `{name}` stands above already");
                self.wrong(&path.index(i).key("name"), message, "give this one another name");
            }
        }
    }

    /// A duration between two bounds, both included.
    fn within(&mut self, path: &Path, value: Duration, low: Duration, high: Duration) -> Option<Duration> {
        use crate::units::show_duration as show;
        if (low..=high).contains(&value) {
            return Some(value);
        }
        let from = if low.is_zero() { String::new() } else { format!("from {} ", show(low)) };
        let help = format!("write a duration {from}up to {}", show(high));
        let side = if value < low { format!("at least {}", show(low)) } else { format!("at most {}", show(high)) };
        self.wrong(path, format!("must be {side}, got {}", show(value)), help);
        None
    }

    /// A duration above zero, at most `high`.
    fn above_zero(&mut self, path: &Path, value: Duration, high: Duration) -> Option<Duration> {
        if value.is_zero() {
            self.wrong(path, "must be above 0", "write a duration, for example \"10s\"");
            return None;
        }
        self.within(path, value, Duration::ZERO, high)
    }
}

/// Makes the plan; none when anything is wrong, now or before.
pub(super) fn compile(cx: &mut Context, source: Source, lesson: String, seed: Option<u64>) -> Option<Plan> {
    let root = Path::root();
    let target = target::compile(cx);
    let target = cx.sound(&root.key("target"), target);
    let platform = platform::compile(cx, target.as_ref());
    let platform = cx.sound(&root.key("platform"), platform);
    let traffic = traffic::compile(cx, target.as_ref());
    let traffic = cx.sound(&root.key("traffic"), traffic);
    let phases = phase::compile(cx, traffic.as_ref());
    let phases = cx.sound(&root.key("phase"), phases);
    let sent = payload::Sent { target: target.as_ref(), traffic: traffic.as_ref() };
    let faults = fault::compile(cx, phases.as_deref(), platform.as_ref(), &sent);
    let probes = probe::compile(cx, &faults, phases.as_deref());
    let scrapes = scrape::compile(cx);
    let safety = safety::compile(cx, platform.as_ref(), &faults);
    let facts = objective::Facts {
        target: target.as_ref(),
        traffic: traffic.as_ref(),
        phases: phases.as_deref(),
        faults: &faults,
    };
    let objectives = objective::compile(cx, &facts);
    let playbooks = playbook::compile(cx, &facts);
    let budget = budget::compile(cx);
    let expectations = objective::expectations(cx, &faults);
    let (variants, gate) = (decision::variants(cx), decision::gate(cx, &facts));
    let capacity = decision::capacity(cx, &facts);
    if !cx.report.is_empty() {
        return None;
    }
    let repeats = fault::repeats(cx, &faults);
    let places: Vec<usize> = faults.iter().map(|f| f.index).collect();
    let mut plan = Plan {
        name: cx.root.get("name")?.text()?.to_owned(),
        lesson,
        source,
        seed: Seed(seed.or_else(|| cx.section::<u64>(&root.key("seed"))).unwrap_or(1)),
        target: target?,
        platform: platform?.into_plan(),
        traffic: traffic?,
        phases: phases?,
        faults: faults.into_iter().map(|f| f.plan).collect::<Option<_>>()?,
        probes: probes?,
        scrapes: scrapes?,
        objectives: objectives?.into_iter().chain(expectations).collect(),
        playbooks: playbooks?,
        repeats,
        budget: budget?,
        safety: safety?,
        variants: variants?,
        gate: gate?,
        capacity: capacity?,
        warnings: Vec::new(),
        secrets: Vec::new(),
    };
    payload::check_bodies(cx, &plan, &places);
    if !cx.report.is_empty() {
        return None;
    }
    // Longest first: wherever they are masked one after another, a short one must not cut a longer one in two and leave its end.
    cx.report.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    plan.warnings = cx.warnings.drain(..).map(|w| masked(&w, &cx.report.secrets)).collect();
    plan.secrets = std::mem::take(&mut cx.report.secrets);
    Some(plan)
}

/// Reads an absolute URL; else what is wrong, and what to write.
pub(super) fn url(text: &str) -> Result<crate::plan::Url, (String, String)> {
    url::parse(text)
}
