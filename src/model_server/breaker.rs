//! A circuit breaker: after some failures in a row nobody tries for a while, then one tries first.
//!
//! Owns its three states and when they change; leaves alone what is tried. Closed: everybody may. Open: nobody, until its
//! time is over. Half-open: one at a time; its success closes, its failure opens again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock;

/// A breaker that several threads share.
pub(super) struct Breaker {
    /// Failures in a row that open it; 0: it never opens.
    failures: u32,
    open_for: u64,
    state: Mutex<State>,
    opened: AtomicU64,
    refused: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed { failed: u32 },
    Open { until: u64 },
    HalfOpen { trying: bool },
}

impl Breaker {
    /// One that opens for `open_for` after so many failures in a row; never, when that is 0.
    pub(super) fn new(failures: u32, open_for: Duration) -> Breaker {
        Breaker {
            failures,
            open_for: open_for.as_nanos() as u64,
            state: Mutex::new(State::Closed { failed: 0 }),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Tries it, unless the breaker is open; none: it was, and nothing was tried.
    pub(super) fn call<T, E>(&self, what: impl FnOnce() -> Result<T, E>) -> Option<Result<T, E>> {
        if self.failures == 0 {
            return Some(what());
        }
        if !self.admits(clock::monotonic_nanos()) {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        // Should it panic, the one try of a half-open breaker is over too.
        let mut trying = Trying { breaker: self, good: false };
        let result = what();
        trying.good = result.is_ok();
        drop(trying);
        Some(result)
    }

    fn admits(&self, now: u64) -> bool {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => true,
            State::Open { until } if now < until => false,
            State::Open { .. } | State::HalfOpen { trying: false } => {
                *state = State::HalfOpen { trying: true };
                true
            }
            State::HalfOpen { trying: true } => false,
        }
    }

    fn ended(&self, good: bool, now: u64) {
        let mut state = self.state();
        *state = match *state {
            // A straggler of before tells nothing of now.
            State::Open { until } => State::Open { until },
            _ if good => State::Closed { failed: 0 },
            State::Closed { failed } if failed + 1 < self.failures => State::Closed { failed: failed + 1 },
            State::Closed { .. } | State::HalfOpen { .. } => {
                self.opened.fetch_add(1, Relaxed);
                State::Open { until: now + self.open_for }
            }
        };
    }

    /// 0 closed, 1 half-open, 2 open.
    pub(super) fn position(&self) -> u8 {
        match *self.state() {
            State::Closed { .. } => 0,
            State::HalfOpen { .. } => 1,
            // Over its time it stays open until somebody comes to try.
            State::Open { .. } => 2,
        }
    }

    /// How often it opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Calls that were not tried because it was open.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call in its time.
struct Trying<'a> {
    breaker: &'a Breaker,
    good: bool,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.breaker.ended(self.good, clock::monotonic_nanos());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_by_one_success() {
        let breaker = Breaker::new(2, Duration::from_nanos(100));
        breaker.ended(false, 0);
        breaker.ended(true, 1);
        breaker.ended(false, 2);
        assert_eq!(breaker.position(), 0, "not in a row");
        breaker.ended(false, 10);
        assert_eq!((breaker.position(), breaker.opened()), (2, 1));
        assert!(!breaker.admits(109));
        breaker.ended(true, 109);
        assert_eq!(breaker.position(), 2, "one that began before says nothing");
        assert!(breaker.admits(110), "the first one tries");
        assert!(!breaker.admits(110), "and nobody beside it");
        breaker.ended(false, 120);
        assert!(!breaker.admits(219));
        assert!(breaker.admits(220));
        breaker.ended(true, 230);
        assert_eq!((breaker.position(), breaker.opened()), (0, 2));
        assert!(breaker.admits(231));
    }

    #[test]
    fn counts_what_it_refuses_and_may_be_switched_off() {
        let breaker = Breaker::new(1, Duration::from_secs(600));
        assert_eq!(breaker.call(|| Err::<(), _>("no")), Some(Err("no")));
        assert_eq!(breaker.call(|| -> Result<(), &str> { panic!("not tried") }), None);
        assert_eq!((breaker.refused(), breaker.opened()), (1, 1));
        let off = Breaker::new(0, Duration::from_secs(600));
        for _ in 0..10 {
            assert!(off.call(|| Err::<(), _>("no")).is_some());
        }
    }

    #[test]
    fn a_try_that_panics_is_a_failure() {
        let breaker = Breaker::new(1, Duration::ZERO);
        for _ in 0..2 {
            let hit = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                breaker.call(|| -> Result<(), &str> { panic!("hit") })
            }));
            assert!(hit.is_err());
        }
        assert_eq!(breaker.opened(), 2, "the half-open try was over as well");
    }
}
