//! The prediction cache: rows that were answered before.
//!
//! Owns what is kept, how long and how much of it. A row is known by all of its numbers and by the version that answered
//! it, so a hit is never another row's answer. What is older than its time is no hit, and is kept until its place is
//! needed: when nothing better can be had, a fallback may take it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A cache that several threads share.
pub(super) struct Cache {
    size: usize,
    ttl: u64,
    rows: Mutex<Rows>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Default)]
struct Rows {
    known: HashMap<Box<[u64]>, Known>,
    /// In the order in which they came: the oldest goes first.
    order: VecDeque<Box<[u64]>>,
}

#[derive(Clone)]
struct Known {
    prediction: bool,
    version: std::sync::Arc<str>,
    at: u64,
}

impl Cache {
    /// For so many rows, each for so long; 0 rows: it never has any.
    pub(super) fn new(size: usize, ttl: Duration) -> Cache {
        let ttl = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        Cache { size, ttl, rows: Mutex::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// It may have something.
    pub(super) fn is_on(&self) -> bool {
        self.size > 0
    }

    /// The answers to all of these rows by this version, when each is known and fresh. Counts one hit or one miss.
    pub(super) fn fresh<'a>(
        &self,
        rows: impl Iterator<Item = &'a [f64]>,
        version: &str,
        now: u64,
    ) -> Option<Vec<bool>> {
        let found = self.all(rows, |known| &*known.version == version && now.saturating_sub(known.at) <= self.ttl);
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Relaxed);
        found
    }

    /// The answers to all of these rows, however old and by whichever version.
    pub(super) fn stale<'a>(&self, rows: impl Iterator<Item = &'a [f64]>) -> Option<Vec<bool>> {
        self.all(rows, |_| true)
    }

    fn all<'a>(&self, rows: impl Iterator<Item = &'a [f64]>, good: impl Fn(&Known) -> bool) -> Option<Vec<bool>> {
        let kept = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.map(|row| kept.known.get(&key(row)).filter(|k| good(k)).map(|k| k.prediction)).collect()
    }

    /// Keeps what was answered to these rows.
    pub(super) fn keep<'a>(
        &self,
        rows: impl Iterator<Item = &'a [f64]>,
        predictions: &[bool],
        version: &std::sync::Arc<str>,
        now: u64,
    ) {
        let mut kept = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, prediction) in rows.zip(predictions) {
            let key = key(row);
            let known = Known { prediction: *prediction, version: version.clone(), at: now };
            if kept.known.insert(key.clone(), known).is_none() {
                kept.order.push_back(key);
            }
            while kept.order.len() > self.size
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.known.remove(&oldest);
            }
        }
    }

    /// Rows that are kept, answers that came from here, and answers that did not.
    pub(super) fn counts(&self) -> (usize, u64, u64) {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).known.len();
        (rows, self.hits.load(Relaxed), self.misses.load(Relaxed))
    }
}

fn key(row: &[f64]) -> Box<[u64]> {
    row.iter().map(|x| x.to_bits()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const A: &[f64] = &[1.0, 2.0];
    const B: &[f64] = &[1.0, 3.0];
    const C: &[f64] = &[2.0, 3.0];

    #[test]
    fn knows_what_it_was_told_for_its_time_and_version() {
        let cache = Cache::new(10, Duration::from_nanos(100));
        let v1: Arc<str> = "1".into();
        cache.keep([A, B].into_iter(), &[true, false], &v1, 1000);
        assert_eq!(cache.fresh([B, A].into_iter(), "1", 1100), Some(vec![false, true]));
        assert_eq!(cache.fresh([A, C].into_iter(), "1", 1100), None, "each row must be known");
        assert_eq!(cache.fresh([A].into_iter(), "2", 1100), None, "by the version that would answer now");
        assert_eq!(cache.fresh([A].into_iter(), "1", 1101), None, "its time is over");
        assert_eq!(cache.stale([A].into_iter()), Some(vec![true]), "but it is still there for a fallback");
        assert_eq!(cache.counts(), (2, 1, 3));
    }

    #[test]
    fn the_oldest_makes_room() {
        let cache = Cache::new(2, Duration::from_secs(1));
        let v1: Arc<str> = "1".into();
        cache.keep([A, B, A, C].into_iter(), &[true; 4], &v1, 0);
        assert_eq!(cache.stale([A].into_iter()), None);
        assert_eq!(cache.stale([B, C].into_iter()), Some(vec![true, true]));
        assert_eq!(cache.counts().0, 2);
        assert!(!Cache::new(0, Duration::from_secs(1)).is_on());
    }
}
