//! One signal that ends a run early: Ctrl-C, SIGTERM, a safety stop. Whoever waits wakes at once.
//!
//! Owns the flag and the waiting; leaves alone who raises it and what is reported then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::units::Offset;

/// A handle; every clone speaks of the same signal.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    gate: Mutex<()>,
    wake: Condvar,
}

/// A condition variable wakes some 0.1 ms late on a quiet machine and later on a busy one; the last stretch is slept.
const FINE: Duration = Duration::from_millis(2);

impl StopSignal {
    /// Not stopped.
    pub fn new() -> StopSignal {
        StopSignal::default()
    }

    /// Stops; wakes everyone who waits. There is no way back.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        // Taken so that nobody is between its look at the flag and its sleep.
        let _gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.wake.notify_all();
    }

    /// Whether it was raised.
    pub fn stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Waits until that instant, to well below a millisecond, or until the stop. True when stopped.
    pub fn wait_until(&self, clock: &Clock, at: Offset) -> bool {
        let mut gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stopped() {
            let left = clock.until(at);
            if left <= FINE {
                drop(gate);
                clock.sleep_until(at);
                return self.stopped();
            }
            gate = self.0.wake.wait_timeout(gate, left - FINE).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_to_the_instant() {
        let clock = Clock::starting_in(Duration::ZERO);
        let at = clock.now() + Duration::from_millis(20);
        assert!(!StopSignal::new().wait_until(&clock, at));
        assert!(clock.now() >= at);
    }

    #[test]
    fn a_stop_wakes_the_one_who_waits() {
        let (clock, stop) = (Clock::starting_in(Duration::ZERO), StopSignal::new());
        std::thread::scope(|s| {
            let waiting = s.spawn(|| stop.wait_until(&clock, Offset::from_secs_f64(600.0)));
            crate::clock::sleep(Duration::from_millis(20));
            stop.stop();
            assert!(waiting.join().unwrap());
        });
        assert!(clock.now() < Offset::from_secs_f64(300.0));
        assert!(stop.wait_until(&clock, Offset::ZERO), "stays stopped");
    }
}
