//! Checks a tree against the schema of the language and reports every departure, in words for people.
//!
//! A validator of the few JSON Schema keywords that `file.rs` leads to, because general ones answer "is not valid
//! under any of the given schemas" where a person needs the nearest right word. Owns shape and range of single
//! values; leaves what they mean together to `compile/`.

use serde_json::Value as Json;

use super::file;
use super::problem::Report;
use super::tree::{Entry, Node, Path, Value, shortened};
use super::words;
use crate::units::parse_duration;

/// Reports everything in the tree that the schema does not allow.
pub(super) fn check(root: &Node, schema: &Json, report: &mut Report) {
    Walk { schema, report }.node(schema, root, &Path::root(), "");
}

struct Walk<'a, 'r> {
    schema: &'a Json,
    report: &'a mut Report<'r>,
}

impl<'a> Walk<'a, '_> {
    /// One value against its part of the schema. `key` is the key it stands under, for messages.
    fn node(&mut self, part: &'a Json, node: &Node, path: &Path, key: &str) {
        let (name, part) = self.resolve(part);
        match (name, &node.value) {
            ("Name", Value::Text { text, .. }) => self.name(text, node, path),
            ("Duration", Value::Text { text, .. }) => self.duration(text, node, path),
            ("Metric", Value::Text { text, .. }) => self.metric(text, node, path),
            ("Metric", _) => self.wrong_type("the name of a metric", node, path, key, part),
            _ => match self.words_of(part) {
                Some(words) => self.word(&words, node, path, key),
                None if part.get("anyOf").is_some() => self.choice(part, node, path, key),
                None => self.plain(name, part, node, path, key),
            },
        }
    }

    /// Follows references; the name of the last one, or nothing.
    fn resolve(&self, part: &'a Json) -> (&'a str, &'a Json) {
        let (mut name, mut part) = ("", part);
        while let Some(next) = part["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
            (name, part) = (next, &self.schema["$defs"][next]);
        }
        (name, part)
    }

    /// The words of an enum; none for any other schema.
    fn words_of(&self, part: &'a Json) -> Option<Vec<&'a str>> {
        if let Some(list) = part["enum"].as_array() {
            return list.iter().map(Json::as_str).collect();
        }
        part["oneOf"].as_array()?.iter().map(|side| side["const"].as_str()).collect()
    }

    fn word(&mut self, words: &[&str], node: &Node, path: &Path, key: &str) {
        match node.text() {
            Some(text) if words.contains(&text) => {}
            Some(text) => {
                let help = words::did_you_mean(text, words, "there are");
                self.report.add(path, &node.origin, format!("unknown {key} `{}`", shortened(text)), help);
            }
            None => {
                let message = format!("expected a word, got {}", node.describe());
                self.report.add(path, &node.origin, message, format!("write one of: {}", quoted(words)));
            }
        }
    }

    /// One of several: the side whose type fits is the one that was meant.
    fn choice(&mut self, part: &'a Json, node: &Node, path: &Path, key: &str) {
        let sides: Vec<&'a Json> = part["anyOf"].as_array().into_iter().flatten().collect();
        match sides.iter().find(|side| self.type_fits(side, node)) {
            Some(side) => self.node(side, node, path, key),
            None => {
                let wanted: Vec<String> = sides.iter().map(|side| self.expectation(side)).collect();
                self.wrong_type(&wanted.join(" or "), node, path, key, part);
            }
        }
    }

    fn type_fits(&self, part: &'a Json, node: &Node) -> bool {
        let (_, part) = self.resolve(part);
        if self.words_of(part).is_some() {
            return node.text().is_some();
        }
        match (part["type"].as_str(), &node.value) {
            (Some("string"), Value::Text { .. })
            | (Some("integer" | "number"), Value::Integer(_))
            | (Some("number"), Value::Float(_))
            | (Some("boolean"), Value::Bool(_))
            | (Some("array"), Value::Array(_))
            | (Some("object"), Value::Table(_)) => true,
            (Some("integer"), Value::Float(x)) => !x.is_finite() || x.abs() >= 9e18,
            _ => false,
        }
    }

    /// A value of one type.
    fn plain(&mut self, name: &'a str, part: &'a Json, node: &Node, path: &Path, key: &str) {
        if !self.type_fits(part, node) {
            let wanted = self.expectation_of(name, part);
            return self.wrong_type(&wanted, node, path, key, part);
        }
        match &node.value {
            Value::Integer(n) => self.range(part, *n as f64, node, path),
            Value::Float(x) => self.range(part, *x, node, path),
            Value::Array(items) => self.items(part, items, node, path, key),
            Value::Table(entries) => self.table(part, entries, node, path),
            _ => {}
        }
    }

    fn range(&mut self, part: &Json, x: f64, node: &Node, path: &Path) {
        let limit = |word: &str| part[word].as_f64();
        let (above, min, max) = (limit("exclusiveMinimum"), limit("minimum"), limit("maximum"));
        let wrong = if !x.is_finite() {
            Some("must be a finite number".to_owned())
        } else if let Some(low) = above.filter(|low| x <= *low) {
            Some(format!("must be above {low}"))
        } else if let Some(low) = min.filter(|low| x < *low) {
            Some(format!("must be at least {low}"))
        } else {
            max.filter(|high| x > *high).map(|high| format!("must be at most {high}"))
        };
        let Some(wrong) = wrong else { return };
        let low = above.map(|n| format!("above {n}")).or(min.map(|n| format!("from {n}")));
        let high = max.map(|n| format!("up to {n}"));
        let range = low.into_iter().chain(high).collect::<Vec<_>>().join(" ");
        let kind = if part["type"] == "integer" { "a whole number" } else { "a number" };
        self.report.add(path, &node.origin, format!("{wrong}, got {x}"), format!("write {kind} {range}").trim_end());
    }

    fn items(&mut self, part: &'a Json, items: &[Node], node: &Node, path: &Path, key: &str) {
        let count = items.len() as u64;
        if part["minItems"].as_u64().is_some_and(|min| count < min) {
            self.report.add(path, &node.origin, "the list is empty", "write at least one element");
        }
        if let Some(max) = part["maxItems"].as_u64().filter(|max| count > *max) {
            let message = format!("{count} are too many");
            self.report.add(path, &node.origin, message, format!("write at most {max}"));
            return;
        }
        for (i, item) in items.iter().enumerate() {
            self.node(&part["items"], item, &path.index(i), key);
        }
    }

    fn table(&mut self, part: &'a Json, entries: &[Entry], node: &Node, path: &Path) {
        let empty = serde_json::Map::new();
        let properties = part["properties"].as_object().unwrap_or(&empty);
        let clause = clause_for(part, node);
        let allowed = |key: &str| match clause.as_ref().and_then(|c| c["propertyNames"]["enum"].as_array()) {
            Some(keys) => keys.iter().any(|k| k == key),
            None => properties.contains_key(key),
        };
        let known: Vec<&str> = properties.keys().map(String::as_str).filter(|k| allowed(k)).collect();
        let mut meant = Vec::new();
        for entry in entries {
            let below = path.key(&entry.key);
            match part["properties"].get(&entry.key) {
                Some(inner) if allowed(&entry.key) => self.node(inner, &entry.node, &below, &entry.key),
                Some(_) => {
                    let kind = node.get("kind").and_then(Node::text).unwrap_or_default();
                    let message = format!("`{}` does not go with `{kind}`", entry.key);
                    let help = format!("remove it; keys of `{kind}`: {}", known.join(", "));
                    self.report.add(&below, &entry.key_origin, message, help);
                }
                None if part["additionalProperties"].is_object() => {
                    self.node(&part["additionalProperties"], &entry.node, &below, &entry.key);
                }
                // Any value: what it must be is said where it ends up.
                None if part["additionalProperties"] == true => {}
                None => {
                    meant.extend(words::nearest(&entry.key, known.iter().copied()));
                    self.unknown_key(entry, &below, path, &known);
                }
            }
        }
        let always = part["required"].as_array().into_iter().flatten();
        let for_kind = clause.as_ref().and_then(|c| c["required"].as_array()).into_iter().flatten();
        for key in always.chain(for_kind).filter_map(Json::as_str) {
            // A misspelt key that most likely is this one has been reported already.
            if node.get(key).is_none() && !meant.contains(&key) {
                let wanted = self.expectation(&part["properties"][key]);
                let help = format!("add `{key}`: {wanted}");
                self.report.add(&path.key(key), &node.origin, format!("`{key}` is missing"), help);
            }
        }
    }

    fn unknown_key(&mut self, entry: &Entry, below: &Path, table: &Path, known: &[&str]) {
        let key = entry.key.as_str();
        let mut help = words::did_you_mean(key, known, "keys here");
        if *table != Path::root()
            && words::nearest(key, known.iter().copied()).is_none()
            && let Some(home) = self.home_of(key)
        {
            help = format!("`{key}` belongs {home}; {help}");
        }
        self.report.add(below, &entry.key_origin, format!("unknown key `{}`", shortened(key)), help);
    }

    /// Where a key that stands in the wrong table belongs: TOML puts a top-level key that follows a `[table]` inside it.
    fn home_of(&self, key: &str) -> Option<String> {
        let top = self.schema["properties"].as_object()?;
        if top.contains_key(key) {
            return Some("at the top of the file, before the first [table]".to_owned());
        }
        top.iter().find_map(|(name, part)| {
            let (_, part) = self.resolve(part);
            part["properties"].get(key).map(|_| format!("in [{name}]"))
        })
    }

    fn wrong_type(&mut self, wanted: &str, node: &Node, path: &Path, key: &str, part: &Json) {
        let help = match &node.value {
            Value::Table(_) if part["items"].is_object() && part["items"]["type"] != "string" => {
                format!("write [[{key}]], with two brackets: there may be several")
            }
            Value::Array(items) if part["type"] == "object" && items.iter().all(|i| !i.entries().is_empty()) => {
                format!("write [{key}], with one bracket: there is only one")
            }
            Value::Text { text, .. } if wanted.contains("number") && text.parse::<f64>().is_ok() => {
                format!("write {key} = {text}, without quotes")
            }
            Value::Text { text, .. } if wanted == "true or false" && (text == "true" || text == "false") => {
                format!("write {key} = {text}, without quotes")
            }
            Value::Integer(n) if wanted.starts_with("a duration") => format!("write {key} = \"{n}s\" or \"{n}ms\""),
            Value::Float(x) if wanted == "a whole number" => format!("write {key} = {}", x.round()),
            _ => format!("write {wanted}"),
        };
        self.report.add(path, &node.origin, format!("expected {wanted}, got {}", node.describe()), help);
    }

    fn name(&mut self, text: &str, node: &Node, path: &Path) {
        if !file::Name::is_valid(text) {
            let message = format!("`{}` is not a name", shortened(text));
            let help = "write 1 to 64 small letters, digits and `-`, for example \"kill-one\"";
            self.report.add(path, &node.origin, message, help);
        }
    }

    fn duration(&mut self, text: &str, node: &Node, path: &Path) {
        if let Err(wrong) = parse_duration(text) {
            let default = "write a number with a unit, for example \"250ms\" or \"30s\"";
            let (message, help) = wrong.rsplit_once(": ").unwrap_or((wrong.as_str(), default));
            self.report.add(path, &node.origin, message, help);
        }
    }

    fn metric(&mut self, text: &str, node: &Node, path: &Path) {
        if words::metric(text).is_none() {
            let help = words::did_you_mean(text, &words::METRICS, "there are (any percentile from p50 to p99.99)");
            self.report.add(path, &node.origin, format!("unknown metric `{}`", shortened(text)), help);
        }
    }

    /// What a part of the schema wants, in words.
    fn expectation(&self, part: &'a Json) -> String {
        let (name, part) = self.resolve(part);
        self.expectation_of(name, part)
    }

    fn expectation_of(&self, name: &str, part: &'a Json) -> String {
        if let Some(words) = self.words_of(part) {
            return quoted(&words);
        }
        if let Some(sides) = part["anyOf"].as_array().filter(|_| name != "Metric") {
            return sides.iter().map(|s| self.expectation(s)).collect::<Vec<_>>().join(" or ");
        }
        match (name, part["type"].as_str()) {
            ("Duration", _) => "a duration such as \"20s\"",
            ("Name", _) => "a name such as \"kill-one\"",
            ("Metric", _) => "the name of a metric",
            (_, Some("integer")) => "a whole number",
            (_, Some("number")) => "a number",
            (_, Some("boolean")) => "true or false",
            (_, Some("array")) if part["items"]["type"] == "string" => "a list of texts such as [\"a\", \"b\"]",
            (_, Some("array")) if part["items"]["type"] == "integer" => "a list of whole numbers such as [200]",
            (_, Some("array")) => "a list",
            (_, Some("object")) => "a table",
            _ => "text in quotes",
        }
        .to_owned()
    }
}

/// What the schema says about the `kind` of this table, where it has kinds.
fn clause_for<'a>(part: &'a Json, node: &Node) -> Option<&'a Json> {
    let kind = node.get("kind").and_then(Node::text)?;
    let clauses = part["allOf"].as_array()?;
    clauses.iter().find(|c| c["if"]["properties"]["kind"]["const"] == kind).map(|c| &c["then"])
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}
