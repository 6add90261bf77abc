//! The fallback ladder: what is answered when the real prediction cannot be had.
//!
//! Owns the order of its steps and the rules. Level 0 is the real prediction; 1 the answer that the row had before, however
//! old; 2 a simpler model (the same without stored features: the mean account stands in); 3 rules; 4 a fixed answer. Each
//! answer tells its level, so that nobody takes one for the other.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::cache::Cache;
use super::model::Model;
use super::request::Batch;

/// Levels, the real prediction included.
pub(super) const LEVELS: usize = 5;

/// A step of the ladder.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Level 1: the row's last answer from the prediction cache.
    Cached,
    /// Level 2: the model without stored features.
    Model,
    /// Level 3: the rules of `--rule`.
    Rules,
    /// Level 4: the answer of `--default-answer`.
    Default,
}

/// `COLUMN>NUMBER`: the positive class when the row's column is above the number (or below, with `<`).
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    column: String,
    above: bool,
    bound: f64,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        let wrong = || format!("`{text}`: write COLUMN>NUMBER or COLUMN<NUMBER, for example amount>500");
        let at = text.find(['>', '<']).ok_or_else(wrong)?;
        let (column, rest) = text.split_at(at);
        let bound = rest[1..].trim().parse().ok().filter(|b: &f64| b.is_finite()).ok_or_else(wrong)?;
        let column = column.trim().to_owned();
        if column.is_empty() { Err(wrong()) } else { Ok(Rule { column, above: rest.starts_with('>'), bound }) }
    }
}

/// The steps in their order, and what was answered by which.
pub(super) struct Ladder {
    steps: Vec<Step>,
    rules: Vec<Rule>,
    default: bool,
    answered: [AtomicU64; LEVELS],
}

impl Ladder {
    /// With these steps, tried in the order of their levels.
    pub(super) fn new(steps: &[Step], rules: &[Rule], default: bool) -> Ladder {
        let mut steps = steps.to_vec();
        steps.sort_by_key(|s| *s as u8);
        steps.dedup();
        Ladder { steps, rules: rules.to_vec(), default, answered: Default::default() }
    }

    /// The first step that has an answer for every row, with its level; none when no step has.
    pub(super) fn answer(&self, model: &Model, batch: &Batch, cache: &Cache) -> Option<(u8, Vec<bool>)> {
        self.steps.iter().find_map(|step| {
            let predictions = match step {
                Step::Cached => cache.stale(batch.iter())?,
                Step::Model => batch.iter().map(|row| model.predict(row, None)).collect(),
                Step::Rules => self.by_rules(model, batch)?,
                Step::Default => vec![self.default; batch.rows],
            };
            Some((*step as u8 + 1, predictions))
        })
    }

    /// None when no rule speaks of a column that requests bring.
    fn by_rules(&self, model: &Model, batch: &Batch) -> Option<Vec<bool>> {
        let place =
            |rule: &&Rule| model.inputs.iter().position(|c| *c == rule.column).map(|i| (i, rule.above, rule.bound));
        let rules: Vec<(usize, bool, f64)> = self.rules.iter().filter_map(|r| place(&r)).collect();
        if rules.is_empty() {
            return None;
        }
        let holds = |row: &[f64]| {
            rules.iter().any(|(i, above, bound)| if *above { row[*i] > *bound } else { row[*i] < *bound })
        };
        Some(batch.iter().map(holds).collect())
    }

    /// Counts an answer of this level.
    pub(super) fn count(&self, level: u8) {
        if let Some(count) = self.answered.get(usize::from(level)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Answers so far, by level.
    pub(super) fn counts(&self) -> [u64; LEVELS] {
        std::array::from_fn(|level| self.answered[level].load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    fn fraud() -> Model {
        Model::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/models/fraud-v1")).unwrap()
    }

    fn batch(model: &Model, amount: f64) -> Batch {
        let values = model.inputs.iter().map(|c| if c == "amount" { amount } else { 1.0 });
        let cells: Vec<String> = values.map(|v| v.to_string()).collect();
        let body = format!("{{\"inputs\": [[{}]]}}", cells.join(","));
        Batch::parse(super::super::request::Format::Json, body.as_bytes(), &model.inputs).unwrap()
    }

    #[test]
    fn the_first_step_that_has_an_answer_gives_it() {
        let (model, cache) = (fraud(), Cache::new(10, Duration::ZERO));
        let rules = ["amount>500".parse().unwrap()];
        let all = Ladder::new(&[Step::Default, Step::Rules, Step::Model, Step::Cached], &rules, true);
        let row = batch(&model, 600.0);
        assert_eq!(all.answer(&model, &row, &cache).unwrap().0, 2, "nothing is cached");
        cache.keep(row.iter(), &[true], &"1".into(), 0);
        assert_eq!(all.answer(&model, &row, &cache), Some((1, vec![true])));
        let some = Ladder::new(&[Step::Rules, Step::Default], &rules, false);
        assert_eq!(some.answer(&model, &row, &cache), Some((3, vec![true])));
        assert_eq!(some.answer(&model, &batch(&model, 500.0), &cache), Some((3, vec![false])));
        let of_nothing = ["nothing>1".parse().unwrap()];
        let last = Ladder::new(&[Step::Rules, Step::Default], &of_nothing, true);
        assert_eq!(
            last.answer(&model, &row, &cache),
            Some((4, vec![true])),
            "no rule speaks of a column that is there"
        );
        assert_eq!(Ladder::new(&[], &[], false).answer(&model, &row, &cache), None);
    }

    #[test]
    fn counts_by_level() {
        let ladder = Ladder::new(&[Step::Default], &[], false);
        [0, 4, 4].into_iter().for_each(|level| ladder.count(level));
        assert_eq!(ladder.counts(), [1, 0, 0, 0, 2]);
    }

    #[test]
    fn rules() {
        let rule = |text: &str| text.parse::<Rule>();
        assert_eq!(rule("amount > 500"), Ok(Rule { column: "amount".into(), above: true, bound: 500.0 }));
        assert_eq!(rule("hour<6").map(|r| r.above), Ok(false));
        for bad in ["amount", ">5", "amount>", "amount>NaN", "amount=5"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }
}
