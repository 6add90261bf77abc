//! The only file that reads a clock or sleeps.
//!
//! One monotonic origin serves load, faults, probes and platform events; wall time is noted once.
//! The origin may lie in the future: a run is armed first (`Clock::starting_in`) so that every
//! worker stands ready before offset zero.

use std::time::Duration;

use rustix::thread::{ClockId as SleepClock, clock_nanosleep_relative};
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use crate::units::Offset;

/// Monotonic nanoseconds since boot. Use [`Clock`] for anything on a run's axis.
pub fn monotonic_nanos() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// Wall-clock time as nanoseconds since the epoch. Read once per run, for the record.
pub fn wall_nanos() -> i128 {
    let t = clock_gettime(ClockId::Realtime);
    i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec)
}

/// The smallest step of the monotonic clock.
pub fn resolution() -> Duration {
    Duration::from_nanos(nanos(clock_getres(ClockId::Monotonic)))
}

/// CPU time of this process so far, all threads.
pub fn process_cpu() -> Duration {
    Duration::from_nanos(nanos(clock_gettime(ClockId::ProcessCPUTime)))
}

/// CPU time of the calling thread so far.
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(nanos(clock_gettime(ClockId::ThreadCPUTime)))
}

/// Sleeps at least this long, whatever signals arrive.
pub fn sleep(d: Duration) {
    let until = monotonic_nanos().saturating_add(d.as_nanos() as u64);
    loop {
        let now = monotonic_nanos();
        if now >= until {
            return;
        }
        // Whatever it returns (done, interrupted, refused), the clock decides.
        let _ = clock_nanosleep_relative(SleepClock::Monotonic, &timespec(until - now));
    }
}

/// Sleeps this long or until the thread is unparked, whichever is first.
pub fn park(d: Duration) {
    std::thread::park_timeout(d);
}

fn nanos(t: Timespec) -> u64 {
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// A span of nanoseconds in the kernel's form.
pub fn timespec(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 }
}

/// The time axis of one run. A small value; every thread holds a copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: u64,
    wall_origin: i128,
}

impl Clock {
    /// An axis whose zero lies this far ahead.
    pub fn starting_in(lead: Duration) -> Clock {
        let lead = lead.as_nanos() as u64;
        Clock { origin: monotonic_nanos() + lead, wall_origin: wall_nanos() + i128::from(lead) }
    }

    /// Now, as an offset; before the start it is zero.
    pub fn now(&self) -> Offset {
        Offset(monotonic_nanos().saturating_sub(self.origin))
    }

    /// Now in signed nanoseconds relative to the start: negative while the run is being armed.
    pub fn now_signed(&self) -> i64 {
        monotonic_nanos() as i64 - self.origin as i64
    }

    /// Nanoseconds from now until that offset; zero when it has passed.
    pub fn until(&self, at: Offset) -> Duration {
        Duration::from_nanos((self.origin + at.0).saturating_sub(monotonic_nanos()))
    }

    /// Sleeps until that offset.
    pub fn sleep_until(&self, at: Offset) {
        sleep(self.until(at));
    }

    /// The absolute monotonic time of that offset, in nanoseconds since boot.
    pub fn absolute(&self, at: Offset) -> u64 {
        self.origin + at.0
    }

    /// The offset of an absolute monotonic time.
    pub fn offset_of(&self, monotonic: u64) -> Offset {
        Offset(monotonic.saturating_sub(self.origin))
    }

    /// What the wall clock says by this axis, as nanoseconds since the epoch: a step of it in mid-run is not followed.
    pub fn wall_now(&self) -> i128 {
        self.wall_origin + i128::from(self.now_signed())
    }

    /// Wall-clock nanoseconds since the epoch at offset zero, as noted when the axis was made.
    pub fn wall_origin(&self) -> i128 {
        self.wall_origin
    }
}
