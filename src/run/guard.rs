//! Things that must happen on every road out, and the safety stop.

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::Live;
use crate::plan::Safety;
use crate::units::Offset;

/// Calls its function when it goes out of scope, by return or by panic.
pub(super) struct OnDrop<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Ends a run whose service is down for too long (`[safety] abort_when`).
///
/// The share of good answers among the requests that ended in the last second is held against the limit. Requests that wait
/// say nothing yet: those of a service that answers nothing end by their timeout. A second in which none ended changes nothing.
pub(super) struct SafetyWatch {
    below: f64,
    for_long: Duration,
    looks: VecDeque<(Offset, Live)>,
    bad_since: Option<Offset>,
}

const SECOND: Duration = Duration::from_secs(1);

impl SafetyWatch {
    pub(super) fn new(safety: &Safety) -> SafetyWatch {
        SafetyWatch {
            below: safety.abort_below.get(),
            for_long: safety.abort_for,
            looks: VecDeque::new(),
            bad_since: None,
        }
    }

    /// A reason to stop, if there is one.
    pub(super) fn look(&mut self, now: Offset, live: &Live) -> Option<String> {
        self.looks.push_back((now, *live));
        while self.looks.len() > 2 && now.since(self.looks[1].0) >= SECOND {
            self.looks.pop_front();
        }
        let (then, before) = self.looks.front()?;
        if now.since(*then) < SECOND {
            return None;
        }
        let good = live.ok - before.ok;
        let ended = good + (live.failed - before.failed) + (live.shed - before.shed);
        if ended == 0 {
            return None;
        }
        let ratio = good as f64 / ended as f64;
        if ratio >= self.below {
            self.bad_since = None;
            return None;
        }
        let since = *self.bad_since.get_or_insert(now);
        (now.since(since) >= self.for_long).then(|| {
            let shown = crate::units::show_duration(self.for_long);
            format!("safety stop: the share of good answers stayed below {} for {shown} (it is {ratio:.3})", self.below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Ratio;

    fn watch_of_five() -> SafetyWatch {
        SafetyWatch::new(&Safety {
            abort_below: Ratio::new(0.5).unwrap(),
            abort_for: Duration::from_secs(5),
            ..Safety::default()
        })
    }

    /// Feeds ten looks a second; `good` says how many of 100 arrivals a second are good.
    fn stops_after(good: impl Fn(u64) -> u64, seconds: u64) -> Option<u64> {
        let mut watch = watch_of_five();
        let mut live = Live::default();
        for tick in 0..seconds * 10 {
            live.planned += 10;
            let ok = good(tick / 10) / 10;
            live.ok += ok;
            live.failed += 10 - ok;
            if watch.look(Offset::from(Duration::from_millis(tick * 100)), &live).is_some() {
                return Some(tick / 10);
            }
        }
        None
    }

    #[test]
    fn it_stops_what_stays_bad_and_nothing_else() {
        assert_eq!(stops_after(|_| 60, 60), None);
        assert_eq!(stops_after(|s| if (10..14).contains(&s) { 0 } else { 100 }, 60), None, "four seconds are no five");
        let stopped = stops_after(|s| if s >= 10 { 0 } else { 100 }, 60).unwrap();
        assert!((14..=16).contains(&stopped), "{stopped}");
    }

    #[test]
    fn silence_stops_by_its_timeouts_and_waiting_is_no_crime() {
        let mut watch = watch_of_five();
        let mut live = Live::default();
        // Nothing is answered; from the third second on, requests time out.
        let stopped = (0..200u64).find(|tick| {
            live.planned += 10;
            live.failed += if *tick >= 30 { 10 } else { 0 };
            watch.look(Offset::from(Duration::from_millis(tick * 100)), &live).is_some()
        });
        assert!(stopped.is_some_and(|tick| tick >= 75), "{stopped:?}");
        let (mut slow, mut live) = (watch_of_five(), Live::default());
        assert!((0..200u64).all(|tick| {
            live.planned += 10;
            slow.look(Offset::from(Duration::from_millis(tick * 100)), &live).is_none()
        }));
    }
}
