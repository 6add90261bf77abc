//! What good answers said, counted: against labels, against the answers at baseline, by fallback level, version and age.

use std::collections::BTreeMap;

use crate::record::part::{Reader, Times, put};
use crate::summary::Quality;

/// Names kept; further ones are counted as `other`.
pub(super) const NAMES_MAX: usize = 32;
/// Characters kept of a name.
const NAME_CHARS_MAX: usize = 64;

/// Counts of one slot of one worker, or of one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Predictions whose row has a label.
    pub labelled: u64,
    /// Of those, right.
    pub correct: u64,
    /// Predictions whose row has an answer to be held against.
    pub compared: u64,
    /// Of those, the same.
    pub agreed: u64,
    /// Answers in which a fallback level was looked for.
    pub fallback_known: u64,
    /// Of those, from a fallback.
    pub fallback: u64,
    /// Ages of features, µs: beyond the unit as latencies, so that they reach to 1000 hours.
    pub ages: Times,
    /// Answers by model version.
    pub versions: BTreeMap<String, u64>,
    /// Answers by fallback level.
    pub levels: BTreeMap<String, u64>,
}

impl Said {
    /// Adds everything of the other.
    pub fn merge(&mut self, other: &Said) {
        self.labelled += other.labelled;
        self.correct += other.correct;
        self.compared += other.compared;
        self.agreed += other.agreed;
        self.fallback_known += other.fallback_known;
        self.fallback += other.fallback;
        self.ages.merge(&other.ages);
        merge_names(&mut self.versions, &other.versions);
        merge_names(&mut self.levels, &other.levels);
    }

    /// Adds everything to what a span says.
    pub(super) fn add_to(&self, quality: &mut Quality) {
        quality.labelled += self.labelled;
        quality.correct += self.correct;
        quality.compared += self.compared;
        quality.agreed += self.agreed;
        quality.fallback_known += self.fallback_known;
        quality.fallback += self.fallback;
        self.ages.add_to(&mut quality.ages);
        merge_names(&mut quality.versions, &self.versions);
        merge_names(&mut quality.levels, &self.levels);
    }

    fn counts(&mut self) -> [&mut u64; 6] {
        [
            &mut self.labelled,
            &mut self.correct,
            &mut self.compared,
            &mut self.agreed,
            &mut self.fallback_known,
            &mut self.fallback,
        ]
    }

    /// Appends the packed form.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.clone().counts().into_iter().for_each(|n| put(out, *n));
        self.ages.encode(out);
        for names in [&self.versions, &self.levels] {
            put(out, names.len() as u64);
            for (name, n) in names {
                put(out, name.len() as u64);
                out.extend_from_slice(name.as_bytes());
                put(out, *n);
            }
        }
    }

    /// Reads what [`Said::encode`] wrote.
    pub(super) fn decode(r: &mut Reader<'_>) -> Said {
        let mut said = Said::default();
        said.counts().into_iter().for_each(|n| *n = r.next());
        said.ages = r.times();
        for names in [&mut said.versions, &mut said.levels] {
            for _ in 0..r.next() {
                let name = r.text();
                names.insert(name, r.next());
            }
        }
        said
    }
}

/// Each worker keeps so many names of its own, so the sum is bounded again.
fn merge_names(all: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, n) in more {
        match all.get_mut(name) {
            Some(sum) => *sum += n,
            None => {
                let name = if all.len() < NAMES_MAX { name } else { "other" };
                *all.entry(name.to_owned()).or_default() += n;
            }
        }
    }
}

/// Names as numbers, so that counting one takes no allocation.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Vec<String>,
}

impl Names {
    /// The number of this name; [`NAMES_MAX`] for all that there is no room for.
    pub(super) fn of(&mut self, name: &str) -> usize {
        let name = name.char_indices().nth(NAME_CHARS_MAX).map_or(name, |(end, _)| &name[..end]);
        if let Some(index) = self.known.iter().position(|known| known == name) {
            return index;
        }
        if self.known.len() < NAMES_MAX {
            self.known.push(name.to_owned());
            return self.known.len() - 1;
        }
        NAMES_MAX
    }

    /// Moves counts by number into counts by name.
    pub(super) fn take(&self, counts: &mut Vec<u64>, into: &mut BTreeMap<String, u64>) {
        for (index, n) in counts.drain(..).enumerate().filter(|(_, n)| *n > 0) {
            let name = self.known.get(index).map_or("other", String::as_str);
            *into.entry(name.to_owned()).or_default() += n;
        }
    }
}

/// Counts one more of this number.
pub(super) fn count(counts: &mut Vec<u64>, index: usize) {
    if counts.len() <= index {
        counts.resize(index + 1, 0);
    }
    counts[index] += 1;
}
