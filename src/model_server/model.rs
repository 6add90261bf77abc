//! The model: its JSON artifact, what it needs as input, and the score.
//!
//! Owns: reading and checking `model.json`, and the arithmetic of logistic regression. Leaves alone: how
//! inputs arrive (`request.rs`) and where stored features are read (`store.rs`). A [`Model`] is valid by
//! construction, so that scoring cannot fail.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;

use super::ServerError;

/// A record is fetched with one read into a buffer of this size at most.
const LONGEST_RECORD: usize = 4096;

/// A model that can score.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: Arc<str>,
    /// The columns that a request must bring; the key of the store, where there is one, comes first.
    pub(super) inputs: Vec<String>,
    /// Where each account's stored features are.
    pub(super) store: Option<StoreLayout>,
    terms: Vec<Term>,
    bias: f64,
    threshold: f64,
}

/// The shape of a file of stored features: records of one width, sorted by key, without a gap.
#[derive(Clone, Debug)]
pub(super) struct StoreLayout {
    pub(super) path: PathBuf,
    /// The file itself, where it is on no disk: it came from a registry.
    pub(super) held: Option<Arc<File>>,
    pub(super) key: String,
    pub(super) columns: usize,
    pub(super) first_key: u64,
    pub(super) records: u64,
    pub(super) record_bytes: usize,
}

#[derive(Debug)]
struct Term {
    source: Source,
    transform: Transform,
    mean: f64,
    scale: f64,
    weight: f64,
}

/// Index of a column in the request's inputs, or in the stored record.
#[derive(Clone, Copy, Debug)]
enum Source {
    Request(usize),
    Stored(usize),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transform {
    None,
    Log1p,
    Night,
}

impl Model {
    /// The trivial model of load benches: needs nothing, answers 0.
    pub(super) fn constant() -> Model {
        Model {
            name: "constant".to_owned(),
            version: "0".into(),
            inputs: Vec::new(),
            store: None,
            terms: Vec::new(),
            bias: -1.0,
            threshold: 0.5,
        }
    }

    /// Reads the model of this folder and looks whether its stored features are there.
    pub(super) fn load(dir: &Path) -> Result<Model, ServerError> {
        let path = dir.join("model.json");
        let problem = |problem: String| ServerError::Model { path: path.clone(), problem };
        let text = std::fs::read(&path).map_err(|e| problem(e.to_string()))?;
        let model = Model::parse(&text, dir).map_err(problem)?;
        model.store.as_ref().map_or(Ok(()), StoreLayout::check)?;
        Ok(model)
    }

    /// A model from the text of its `model.json`; whether its stored features are in `dir` is not looked at.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &[u8], dir: &Path) -> Result<Model, String> {
        let file: ModelFile = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        file.compile(dir)
    }

    /// The same model with these stored features, held in memory.
    ///
    /// # Errors
    /// When they are not what `model.json` promises, or there is no memory.
    pub(super) fn with_store(mut self, features: &[u8]) -> Result<Model, String> {
        let Some(store) = &mut self.store else { return Ok(self) };
        let file = memfd_create("features", MemfdFlags::CLOEXEC).map(File::from).map_err(|e| e.to_string())?;
        (&file).write_all(features).map_err(|e| e.to_string())?;
        store.held = Some(Arc::new(file));
        store.check().map_err(|e| e.to_string())?;
        Ok(self)
    }

    /// Whether the probability of the positive class reaches the threshold. Without stored features, those of
    /// the mean account stand in: a standardised feature at its mean adds nothing.
    pub(super) fn predict(&self, inputs: &[f64], stored: Option<&[f64]>) -> bool {
        let logit = self.terms.iter().fold(self.bias, |sum, term| match (term.source, stored) {
            (Source::Request(i), _) => sum + term.contribution(inputs[i]),
            (Source::Stored(i), Some(stored)) => sum + term.contribution(stored[i]),
            (Source::Stored(_), None) => sum,
        });
        1.0 / (1.0 + (-logit).exp()) >= self.threshold
    }
}

impl Term {
    fn contribution(&self, value: f64) -> f64 {
        self.weight * (self.transform.apply(value) - self.mean) / self.scale
    }
}

impl Transform {
    fn apply(self, x: f64) -> f64 {
        match self {
            Transform::None => x,
            // Below zero there is no amount and no distance, and the logarithm would end at -1.
            Transform::Log1p => x.max(0.0).ln_1p(),
            Transform::Night => f64::from(u8::from(x < 6.0)),
        }
    }
}

impl StoreLayout {
    fn check(&self) -> Result<(), ServerError> {
        let problem = |problem: String| ServerError::Model { path: self.path.clone(), problem };
        let info = self.held.as_ref().map_or_else(|| std::fs::metadata(&self.path), |file| file.metadata());
        let length = info.map_err(|e| problem(e.to_string()))?.len();
        let needed = self.records.saturating_mul(self.record_bytes as u64);
        if length == needed {
            Ok(())
        } else {
            Err(problem(format!("has {length} bytes, model.json promises {needed} (records × record_bytes)")))
        }
    }
}

/// `model.json` as it is written. Keys for people (algorithm, recipe, quality) are not read.
#[derive(Deserialize)]
struct ModelFile {
    name: String,
    version: String,
    store: Option<StoreFile>,
    features: Vec<FeatureFile>,
    bias: f64,
    threshold: f64,
}

#[derive(Deserialize)]
struct StoreFile {
    file: String,
    key: String,
    columns: Vec<String>,
    first_key: u64,
    records: u64,
    record_bytes: usize,
}

#[derive(Deserialize)]
struct FeatureFile {
    name: String,
    from: From,
    transform: Transform,
    mean: f64,
    scale: f64,
    weight: f64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    Request,
    Store,
}

impl ModelFile {
    fn compile(self, dir: &Path) -> Result<Model, String> {
        let printable = |text: &str| !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic());
        if !printable(&self.name) || !printable(&self.version) {
            return Err("`name` and `version` must be 1 to 64 visible ASCII characters".to_owned());
        }
        let mut inputs: Vec<String> = self.store.iter().map(|s| s.key.clone()).collect();
        let columns = self.store.as_ref().map_or(&[][..], |s| &s.columns);
        let terms = self.features.iter().map(|f| f.compile(&mut inputs, columns)).collect::<Result<_, _>>()?;
        let store = self.store.map(|s| s.compile(dir)).transpose()?;
        Ok(Model {
            name: self.name,
            version: self.version.into(),
            inputs,
            store,
            terms,
            bias: self.bias,
            threshold: self.threshold,
        })
    }
}

impl FeatureFile {
    fn compile(&self, inputs: &mut Vec<String>, stored: &[String]) -> Result<Term, String> {
        let name = &self.name;
        if self.scale <= 0.0 {
            return Err(format!("feature `{name}`: `scale` must be above 0, got {}", self.scale));
        }
        let source = match self.from {
            From::Request => Source::Request(inputs.iter().position(|i| i == name).unwrap_or_else(|| {
                inputs.push(name.clone());
                inputs.len() - 1
            })),
            From::Store => stored
                .iter()
                .position(|c| c == name)
                .map(Source::Stored)
                .ok_or_else(|| format!("feature `{name}` is not among the columns of `store`"))?,
        };
        Ok(Term { source, transform: self.transform, mean: self.mean, scale: self.scale, weight: self.weight })
    }
}

impl StoreFile {
    fn compile(self, dir: &Path) -> Result<StoreLayout, String> {
        if self.columns.first() != Some(&self.key) {
            return Err(format!("`store.columns` must begin with the key `{}`", self.key));
        }
        if !(1..=LONGEST_RECORD).contains(&self.record_bytes) {
            return Err(format!("`store.record_bytes` must be 1 to {LONGEST_RECORD}, got {}", self.record_bytes));
        }
        Ok(StoreLayout {
            path: dir.join(self.file),
            held: None,
            key: self.key,
            columns: self.columns.len(),
            first_key: self.first_key,
            records: self.records,
            record_bytes: self.record_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"name": "m", "version": "1", "bias": 0.0, "threshold": 0.5,
        "store": {"file": "f", "key": "id", "columns": ["id", "age"], "first_key": 0, "records": 1, "record_bytes": 4},
        "features": [{"name": "x", "from": "request", "transform": "none", "mean": 1, "scale": 2, "weight": 3},
                     {"name": "age", "from": "store", "transform": "none", "mean": 5, "scale": 1, "weight": -1}]}"#;

    fn compile(text: &str) -> Result<Model, String> {
        serde_json::from_str::<ModelFile>(text).map_err(|e| e.to_string())?.compile(Path::new("."))
    }

    #[test]
    fn scores_by_hand() {
        let model = compile(GOOD).unwrap();
        assert_eq!(model.inputs, ["id", "x"]);
        // logit = 3 (x - 1) / 2 - (age - 5)
        assert!(model.predict(&[0.0, 1.0], Some(&[0.0, 5.0])), "logit 0 is a probability of exactly 0.5");
        assert!(!model.predict(&[0.0, 1.0], Some(&[0.0, 5.1])));
        assert!(model.predict(&[0.0, 1.1], Some(&[0.0, 5.1])));
        assert!(!model.predict(&[0.0, 0.9], None), "without stored features the mean account stands in");
    }

    #[test]
    fn transforms() {
        assert_eq!(Transform::Log1p.apply(0.0), 0.0);
        assert_eq!(Transform::Log1p.apply(-7.0), 0.0);
        assert!((Transform::Log1p.apply(1.0) - 2f64.ln()).abs() < 1e-15);
        assert_eq!((Transform::Night.apply(5.0), Transform::Night.apply(6.0)), (1.0, 0.0));
    }

    #[test]
    fn refuses_what_is_no_model() {
        let cases = [
            ("\"scale\": 2", "\"scale\": 0", "`scale` must be above 0"),
            ("\"name\": \"age\"", "\"name\": \"agee\"", "`agee` is not among the columns"),
            ("[\"id\", \"age\"]", "[\"age\", \"id\"]", "must begin with the key `id`"),
            ("\"record_bytes\": 4", "\"record_bytes\": 0", "`store.record_bytes` must be"),
            ("\"version\": \"1\"", "\"version\": \"1\\n\"", "visible ASCII"),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from), "{from}");
            let problem = compile(&GOOD.replace(from, to)).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
