//! A scenario as a tree of values that know where they came from.
//!
//! Owns: reading TOML with places, `--set`, and `${VAR}`. Leaves alone what the keys mean: whether a key exists is
//! asked of the schema (`walk.rs`), what it says is asked in `compile/`.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::problem::Report;
use super::words;

/// Where a piece of a scenario was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nowhere in particular: the file as a whole.
    Whole,
    /// These bytes of the file.
    File(Range<usize>),
    /// These bytes of the `--set` of this index.
    Set(usize, Range<usize>),
}

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The way from the root to a value, shown as `phase[1].rate`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

impl Path {
    /// The whole scenario.
    pub(super) fn root() -> Path {
        Path::default()
    }

    /// A key of the table at this path.
    pub(super) fn key(&self, key: &str) -> Path {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Path(steps)
    }

    /// An element of the array at this path.
    pub(super) fn index(&self, index: usize) -> Path {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Path(steps)
    }

    /// This path is `other` or lies below it.
    pub(super) fn starts_with(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            match step {
                Step::Index(i) => write!(f, "[{i}]")?,
                Step::Key(k) if is_bare(k) => write!(f, "{dot}{k}")?,
                Step::Key(k) => write!(f, "{dot}{k:?}")?,
            }
        }
        Ok(())
    }
}

/// May stand in TOML as a key without quotes.
fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value of TOML.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string, as written and with `${VAR}` expanded.
    Text {
        raw: String,
        text: String,
    },
    Integer(i64),
    /// A number that is no 64-bit integer; may be NaN or infinite.
    Float(f64),
    Bool(bool),
    /// Dates have no place in the language; kept to be named in an error.
    Date(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_origin: Origin,
    pub(super) node: Node,
}

impl Node {
    /// The value under a key, when this is a table that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// The keys of a table; nothing for any other value.
    pub(super) fn entries(&self) -> &[Entry] {
        if let Value::Table(entries) = &self.value { entries } else { &[] }
    }

    /// The elements of an array; nothing for any other value.
    pub(super) fn items(&self) -> &[Node] {
        if let Value::Array(items) = &self.value { items } else { &[] }
    }

    /// A string with `${VAR}` expanded.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text { text, .. } = &self.value { Some(text) } else { None }
    }

    /// The value at a path below this one.
    pub(super) fn at(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(self, |node, step| match step {
            Step::Key(k) => node.get(k),
            Step::Index(i) => node.items().get(*i),
        })
    }

    /// Where the value at a path was written; for a missing one, where the nearest table around it stands.
    pub(super) fn place(&self, path: &Path) -> Origin {
        let deepest = (0..=path.0.len()).rev().find_map(|n| self.at(&Path(path.0[..n].to_vec())));
        deepest.map_or(Origin::Whole, |n| n.origin.clone())
    }

    /// As written: an array's strings with `${VAR}` left alone.
    pub(super) fn raw_strings(&self) -> Vec<String> {
        let raw = |n: &Node| if let Value::Text { raw, .. } = &n.value { Some(raw.clone()) } else { None };
        self.items().iter().filter_map(raw).collect()
    }

    /// As written: a text with `${VAR}` left alone.
    pub(super) fn raw_text(&self) -> Option<&str> {
        if let Value::Text { raw, .. } = &self.value { Some(raw) } else { None }
    }

    /// What kind of value this is, in words: `the number 5`, `a table`.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Text { text, .. } => format!("the text \"{}\"", shortened(text)),
            Value::Integer(n) => format!("the number {n}"),
            Value::Float(x) => format!("the number {x}"),
            Value::Bool(b) => b.to_string(),
            Value::Date(d) => format!("the date {d}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    /// As a plain TOML value, which serde can read.
    pub(super) fn to_toml(&self) -> toml::Value {
        self.toml_with(|text, _| text.to_owned())
    }

    /// As written, with `${VAR}` left alone: a TOML value that `--set` takes.
    pub(super) fn to_raw_toml(&self) -> toml::Value {
        self.toml_with(|_, raw| raw.to_owned())
    }

    /// `choose` is given a text with `${VAR}` expanded, and as it was written.
    fn toml_with(&self, choose: fn(&str, &str) -> String) -> toml::Value {
        match &self.value {
            Value::Text { text, raw } => toml::Value::String(choose(text, raw)),
            Value::Date(text) => toml::Value::String(text.clone()),
            Value::Integer(n) => toml::Value::Integer(*n),
            Value::Float(x) => toml::Value::Float(*x),
            Value::Bool(b) => toml::Value::Boolean(*b),
            Value::Array(items) => toml::Value::Array(items.iter().map(|n| n.toml_with(choose)).collect()),
            Value::Table(entries) => {
                toml::Value::Table(entries.iter().map(|e| (e.key.clone(), e.node.toml_with(choose))).collect())
            }
        }
    }
}

/// At most sixty characters of a text, for a message.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads TOML. What is not TOML is reported, every place of it, and gives none.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(Origin::Whole, Origin::File);
        report.add(&Path::root(), &at, format!("not TOML: {}", error.message()), syntax_help(error.message()));
    }
    let span = table.span();
    errors.is_empty().then(|| node(DeValue::Table(table.into_inner()), span, &Origin::File))
}

/// What to write instead, for the mistakes that people make.
fn syntax_help(message: &str) -> &'static str {
    if message.contains("must be quoted") {
        "text and durations stand in quotes, for example kind = \"pod-kill\" or duration = \"20s\""
    } else if message.contains("duplicate key") {
        "remove one of the two; several phases, faults, probes or objectives are written as [[phase]] tables"
    } else {
        "one `key = value` a line, tables as [target], repeated tables as [[phase]]; see https://toml.io"
    }
}

/// A tree of ours from one of theirs.
fn node(value: DeValue<'_>, span: Range<usize>, origin: &dyn Fn(Range<usize>) -> Origin) -> Node {
    let value = match value {
        DeValue::String(s) => Value::Text { raw: s.clone().into_owned(), text: s.into_owned() },
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Value::Integer(n),
            // Beyond 64 bits: far out of every range, which is what the range check will say.
            Err(_) => Value::Float(n.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(x) => Value::Float(x.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(d) => Value::Date(d.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| {
                    let span = item.span();
                    node(item.into_inner(), span, origin)
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, item)| {
                    let (key_span, span) = (key.span(), item.span());
                    let key = key.into_inner().into_owned();
                    Entry { key, key_origin: origin(key_span), node: node(item.into_inner(), span, origin) }
                })
                .collect(),
        ),
    };
    Node { value, origin: origin(span) }
}

/// Puts `path = value` into the tree, as `--set` asks. Tables on the way are made when they are missing; elements of
/// arrays are named by index or by their `name`, and must be there.
pub(super) fn set(root: &mut Node, index: usize, assignment: &str, report: &mut Report) {
    let whole = Origin::Set(index, 0..assignment.len());
    let mut fail = |message: String, help: String| report.add(&Path::root(), &whole, message, help);
    let Some((path, value)) = assignment.split_once('=') else {
        return fail("a --set has no `=`".into(), "write PATH=VALUE, for example --set phase.baseline.rate=900".into());
    };
    let Some(keys) = keys_of(path) else {
        return fail(
            format!("`{}` is not a path", path.trim()),
            "write keys with dots between, for example target.url, phase.baseline.rate or objective.0.max".into(),
        );
    };
    match place_for(root, &keys, &whole, index, path.len()) {
        Ok(slot) => *slot = set_value(value, index, path.len() + 1),
        Err((message, help)) => fail(message, help),
    }
}

/// The keys of a dotted path; quotes protect dots. None when it is malformed.
fn keys_of(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = path.trim();
    loop {
        let (key, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            (&quoted[..end], &quoted[end + 1..])
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        };
        // Deeper than any scenario goes; bounds the recursion over the tree.
        if key.trim().is_empty() || keys.len() >= 16 {
            return None;
        }
        keys.push(key.trim().to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return after.trim().is_empty().then_some(keys),
        }
    }
}

/// What a `--set` says: a TOML value if it is one, else the bare text.
fn set_value(text: &str, index: usize, start: usize) -> Node {
    let at = |span: Range<usize>| Origin::Set(index, start + span.start..start + span.end);
    match DeValue::parse(text.trim()) {
        Ok(value) if !value.get_ref().is_datetime() => {
            node(value.into_inner(), text.len() - text.trim_start().len()..text.len(), &at)
        }
        _ => {
            let text = text.trim();
            Node { value: Value::Text { raw: text.into(), text: text.into() }, origin: at(0..text.len()) }
        }
    }
}

/// The node that a path names, made if its table lacks it; or what is wrong and what to write instead.
fn place_for<'a>(
    root: &'a mut Node,
    keys: &[String],
    whole: &Origin,
    index: usize,
    path_len: usize,
) -> Result<&'a mut Node, (String, String)> {
    let key_origin = Origin::Set(index, 0..path_len);
    let mut at = root;
    for (depth, key) in keys.iter().enumerate() {
        let so_far = keys[..depth].join(".");
        if !matches!(at.value, Value::Table(_) | Value::Array(_)) {
            let message = format!("`{so_far}` is {}, so it has no `{key}`", at.describe());
            return Err((message, format!("set it as a whole, for example --set '{so_far}={{ {key} = … }}'")));
        }
        at = match &mut at.value {
            Value::Table(entries) => match entries.iter().position(|e| e.key == *key) {
                Some(found) => &mut entries[found].node,
                None => {
                    let node = Node { value: Value::Table(Vec::new()), origin: whole.clone() };
                    entries.push(Entry { key: key.clone(), key_origin: key_origin.clone(), node });
                    let last = entries.len() - 1;
                    &mut entries[last].node
                }
            },
            Value::Array(items) => match element(items, key) {
                Ok(found) => &mut items[found],
                Err(help) => return Err((format!("`{so_far}` has no element `{key}`"), help)),
            },
            _ => unreachable!("only tables and arrays come this far"),
        };
    }
    Ok(at)
}

/// The element of an array by index or by name; or what there is.
fn element(items: &[Node], key: &str) -> Result<usize, String> {
    let names: Vec<&str> = items.iter().filter_map(|n| n.get("name").and_then(Node::text)).collect();
    let by_name = items.iter().position(|n| n.get("name").and_then(Node::text) == Some(key));
    let by_index = || key.parse().ok().filter(|i| *i < items.len());
    by_name.or_else(by_index).ok_or_else(|| {
        let count = items.len();
        let range = if count == 0 { "it is empty".into() } else { format!("or an index from 0 to {}", count - 1) };
        format!("{}; {range}", words::did_you_mean(key, &names, "names here"))
    })
}

/// Replaces `${VAR}` and `${VAR:-default}` in every string. What came from the environment becomes a secret.
pub(super) fn expand(node: &mut Node, path: &Path, env: &dyn Fn(&str) -> Option<String>, report: &mut Report) {
    let origin = node.origin.clone();
    match &mut node.value {
        Value::Text { raw, text } => match expanded(raw, env, &mut report.secrets) {
            Ok(done) => *text = done,
            Err((message, help)) => report.add(path, &origin, message, help),
        },
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                expand(item, &path.index(i), env, report);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                expand(&mut entry.node, &path.key(&entry.key), env, report);
            }
        }
        _ => {}
    }
}

/// One string with its variables replaced; `$${` stands for `${` itself.
fn expanded(
    raw: &str,
    env: &dyn Fn(&str) -> Option<String>,
    secrets: &mut Vec<String>,
) -> Result<String, (String, String)> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let help = "write ${NAME} or ${NAME:-default}; $${ stands for the characters ${ themselves";
        let end = rest[at..].find('}').ok_or_else(|| ("`${` without its `}`".to_owned(), help.to_owned()))? + at;
        let inside = &rest[at + 2..end];
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(n, d)| (n, Some(d)));
        if !is_variable(name) {
            return Err((format!("`${{{}}}` is not a variable", shortened(inside)), help.to_owned()));
        }
        // As in a shell, `:-` also stands in for a variable that is set but empty.
        match (env(name).filter(|v| !(v.is_empty() && default.is_some())), default) {
            (Some(value), _) => {
                out.push_str(&value);
                // Masking "on" or "1" would blot out half a report and hide nothing.
                if value.chars().count() >= 3 && !secrets.contains(&value) {
                    secrets.push(value);
                }
            }
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                let help = format!("export {name} before the run, or write ${{{name}:-default}}");
                return Err((format!("the environment variable {name} is not set"), help));
            }
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("hunter2".into()),
            "ON" => Some("1".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables() {
        for (raw, wanted) in [
            ("Bearer ${TOKEN}", Ok("Bearer hunter2")),
            ("${NO:-x y}${ON}", Ok("x y1")),
            ("${EMPTY:-d}|${EMPTY}|${NO:-}", Ok("d||")),
            ("a $${TOKEN} $b $$", Ok("a ${TOKEN} $b $$")),
            ("${NO}", Err("the environment variable NO is not set")),
            ("${TOKEN", Err("`${` without its `}`")),
            ("${1x}", Err("`${1x}` is not a variable")),
        ] {
            let mut secrets = Vec::new();
            let got = expanded(raw, &env, &mut secrets).map_err(|(m, _)| m);
            assert_eq!(got.as_deref().map_err(String::as_str), wanted, "{raw}");
            let has_token = raw.contains("${TOKEN}") && !raw.contains("$${");
            assert_eq!(secrets, if has_token { vec!["hunter2".to_owned()] } else { vec![] }, "{raw}");
        }
    }

    #[test]
    fn paths_of_sets() {
        let keys = |p: &str| keys_of(p).map(|k| k.join("|"));
        assert_eq!(keys("phase.baseline.rate").as_deref(), Some("phase|baseline|rate"));
        assert_eq!(keys(r#"target.headers."x.y""#).as_deref(), Some("target|headers|x.y"));
        for bad in ["", ".", "a.", "a..b", "\"a", "\"a\"b"] {
            assert_eq!(keys(bad), None, "{bad}");
        }
    }

    #[test]
    fn sets_reach_tables_and_elements() {
        let text = "[[phase]]\nname = 'a'\nrate = 1\n[[phase]]\nname = '0'\nrate = 2\n";
        let mut report = Report::new("x".into(), text, &[]);
        let mut root = parse(text, &mut report).unwrap();
        for (n, s) in ["phase.a.rate=9", "phase.1.rate=8", "safety.max_targets = 2", "x.y=5s"].iter().enumerate() {
            set(&mut root, n, s, &mut report);
        }
        assert!(report.is_empty());
        let shown = root.to_toml();
        assert_eq!(shown["phase"][0]["rate"].as_integer(), Some(9));
        assert_eq!(shown["phase"][1]["rate"].as_integer(), Some(8));
        assert_eq!(shown["safety"]["max_targets"].as_integer(), Some(2));
        assert_eq!(shown["x"]["y"].as_str(), Some("5s"));
        for bad in ["phase.b.rate=1", "phase.7.rate=1", "phase.a.rate.from=1", "nothing", "=1"] {
            let before = root.to_toml();
            let mut report = Report::new("x".into(), text, &[]);
            set(&mut root, 0, bad, &mut report);
            assert_eq!(report.into_problems().list().len(), 1, "{bad}");
            assert_eq!(root.to_toml(), before, "{bad}");
        }
    }
}
