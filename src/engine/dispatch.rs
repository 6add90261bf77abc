//! The pure step machine: what to do with the next arrival, given the time. Reads no clock, sends nothing.
//!
//! It never looks at results: only the number in flight matters, and only against the plan's limit.

use crate::schedule::Arrival;
use crate::units::Offset;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this arrival: it is due, or overdue.
    Send(Arrival),
    /// It is due, but the in-flight limit is reached.
    Shed(Arrival),
    /// Nothing is due before this instant.
    Wait(Offset),
    /// No arrival is left.
    Done,
}

/// Walks a stripe of the schedule.
#[derive(Debug)]
pub struct Dispatch<I: Iterator<Item = Arrival>> {
    arrivals: I,
    next: Option<Arrival>,
    max_in_flight: u64,
}

impl<I: Iterator<Item = Arrival>> Dispatch<I> {
    /// Over these arrivals, due in ascending order.
    pub fn new(mut arrivals: I, max_in_flight: u64) -> Dispatch<I> {
        let next = arrivals.next();
        Dispatch { arrivals, next, max_in_flight }
    }

    /// The next thing to do at `now` with so many in flight. A late caller gets every overdue arrival, one a call,
    /// at once: nothing is skipped and no due time moves.
    pub fn step(&mut self, now: Offset, in_flight: u64) -> Step {
        match self.next {
            None => Step::Done,
            Some(arrival) if arrival.due > now => Step::Wait(arrival.due),
            Some(arrival) => {
                self.next = self.arrivals.next();
                debug_assert!(self.next.is_none_or(|n| n.due >= arrival.due), "due never decreases");
                if in_flight < self.max_in_flight { Step::Send(arrival) } else { Step::Shed(arrival) }
            }
        }
    }

    /// Arrivals due before `end` that were never stepped to: what a stop leaves unsent.
    pub fn leftover(&mut self, end: Offset) -> impl Iterator<Item = Arrival> + '_ {
        std::iter::from_fn(move || {
            let arrival = self.next.filter(|a| a.due < end)?;
            self.next = self.arrivals.next();
            Some(arrival)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::PhaseId;
    use proptest::prelude::*;

    fn every(gap: u64, n: u64) -> impl Iterator<Item = Arrival> {
        (0..n).map(move |index| Arrival { index, due: Offset(index * gap), phase: PhaseId(0) })
    }

    #[test]
    fn trap_03_a_stalled_caller_gets_the_whole_backlog_with_its_own_due_times() {
        let mut d = Dispatch::new(every(1_000_000, 10_000), u64::MAX);
        let mut sent = Vec::new();
        // The caller sleeps through the first five seconds.
        while let Step::Send(a) = d.step(Offset(5_000_000_000), 0) {
            sent.push(a.due.0);
        }
        assert_eq!(sent, (0..=5_000).map(|i| i * 1_000_000).collect::<Vec<_>>());
        assert_eq!(d.step(Offset(5_000_000_000), 0), Step::Wait(Offset(5_001_000_000)));
    }

    #[test]
    fn nothing_is_shed_with_room_and_everything_without() {
        let mut d = Dispatch::new(every(0, 4), 2);
        assert!(matches!(d.step(Offset(0), 1), Step::Send(_)));
        assert!(matches!(d.step(Offset(0), 2), Step::Shed(a) if a.index == 1));
        assert!(matches!(d.step(Offset(0), 0), Step::Send(a) if a.index == 2));
        assert_eq!(d.leftover(Offset(1)).count(), 1);
        assert_eq!(d.step(Offset(0), 0), Step::Done);
    }

    /// A million arrivals against a scripted server on a manual clock: latency is due → done, also through a freeze.
    #[test]
    fn trap_01_a_simulated_freeze_costs_what_arithmetic_says() {
        let (gap, n) = (1_000_000u64, 1_000_000u64);
        let freeze = 100_000_000_000u64..105_000_000_000;
        let mut d = Dispatch::new(every(gap, n), u64::MAX);
        let (mut now, mut hurt, mut total) = (0u64, 0u64, 0u64);
        loop {
            match d.step(Offset(now), 0) {
                Step::Send(a) => {
                    // The server answers at once, but not while it is frozen.
                    let done = if freeze.contains(&now) { freeze.end } else { now };
                    hurt += u64::from(done > a.due.0);
                    total += done - a.due.0;
                }
                Step::Wait(due) => now = due.0,
                Step::Shed(_) => unreachable!("there is room"),
                Step::Done => break,
            }
        }
        assert_eq!(hurt, 5_000);
        assert_eq!(total / hurt, 2_500_500_000);
    }

    /// A million arrivals against a server whose service times are scripted, on a manual clock: the requests in flight, summed over
    /// time, are the service times, summed over requests (Little's law), also where a limit sheds some.
    #[test]
    fn trap_26_in_flight_over_time_is_rate_times_service() {
        for limit in [u64::MAX, 4] {
            let (gap, n) = (1_000_000u64, 1_000_000u64);
            let mut chance = crate::rng::stream(crate::units::Seed(26), "service");
            let mut dispatch = Dispatch::new(every(gap, n), limit);
            let mut ends = std::collections::BinaryHeap::new();
            let (mut now, mut area, mut service, mut sent) = (0u64, 0u128, 0u128, 0u64);
            let mut step = Step::Wait(Offset(0));
            while step != Step::Done || !ends.is_empty() {
                let due = if let Step::Wait(at) = step { at.0 } else { u64::MAX };
                let done = ends.peek().map_or(u64::MAX, |std::cmp::Reverse(at)| *at);
                // Nothing changes between here and the next arrival or answer.
                let next = due.min(done);
                area += ends.len() as u128 * u128::from(next - now);
                now = next;
                while ends.peek() == Some(&std::cmp::Reverse(now)) {
                    ends.pop();
                }
                loop {
                    step = dispatch.step(Offset(now), ends.len() as u64);
                    match step {
                        Step::Send(_) => {
                            // Uniform from 0 to 8 ms: 4 in flight on average, sometimes more than the limit.
                            let took = (crate::rng::unit(&mut chance) * 8e6) as u64 + 1;
                            (service, sent) = (service + u128::from(took), sent + 1);
                            ends.push(std::cmp::Reverse(now + took));
                        }
                        Step::Shed(_) => {}
                        Step::Wait(_) | Step::Done => break,
                    }
                }
            }
            assert_eq!(area, service, "to the nanosecond");
            let mean_in_flight = area as f64 / now as f64;
            let rate_times_service = (sent as f64 / (n * gap) as f64) * (service as f64 / sent as f64);
            assert!((mean_in_flight / rate_times_service - 1.0).abs() < 1e-4, "{mean_in_flight} {rate_times_service}");
            assert_eq!(sent == n, limit == u64::MAX, "a limit of 4 sheds: {sent}");
        }
    }

    proptest! {
        #[test]
        fn every_arrival_gets_exactly_one_step(gaps in prop::collection::vec(0u64..5_000, 1..200), looks in prop::collection::vec(0u64..20_000, 1..200), limit in 0u64..3) {
            let mut due = 0;
            let all: Vec<Arrival> = gaps.iter().enumerate().map(|(i, g)| { due += g; Arrival { index: i as u64, due: Offset(due), phase: PhaseId(0) } }).collect();
            let mut d = Dispatch::new(all.clone().into_iter(), limit);
            let (mut now, mut seen) = (0, Vec::new());
            for (i, look) in looks.iter().enumerate() {
                now += look;
                while let Step::Send(a) | Step::Shed(a) = d.step(Offset(now), i as u64 % 4) {
                    prop_assert!(a.due.0 <= now, "never early");
                    seen.push(a);
                }
            }
            seen.extend(d.leftover(Offset(u64::MAX)));
            prop_assert_eq!(seen, all);
        }
    }
}
