//! What is on a view now: which calls are hit, how long they are held, what that came to.
//!
//! Owns the faults of one view, their evidence, and the queue of held calls. Leaves alone what a call does
//! when it is let go (`view.rs`): here it is a closure. Held calls stand in one queue that one thread serves in
//! due order, so that a delayed call never blocks another one; a call does its work only when it is due, so that
//! a held read costs no memory for data.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;

use super::lock;
use super::pattern::Pattern;
use crate::clock::monotonic_nanos;
use crate::plan::IoMethod;
use crate::platform::{VolumeEffect, VolumeEvidence, VolumeFault};
use crate::rng::{self, Stream};
use crate::units::Seed;

/// Calls held at the same time, at most; further ones are answered at once, and not counted as hit. Every held
/// call is a blocked thread of a replica, so that this many mean something else is wrong.
const MAX_HELD: usize = 65_536;

/// The rest of a call: told the errno to answer with, or none to do its work.
type Job = Box<dyn FnOnce(Option<i32>) + Send>;

/// Every fault of one view.
pub(super) struct Faults {
    table: RwLock<Table>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Table {
    next: u64,
    active: Vec<Arc<Fault>>,
    /// Kept for their evidence. One entry per fault of the scenario, so it stays small.
    past: Vec<Arc<Fault>>,
    closed: bool,
}

struct Fault {
    id: u64,
    methods: Vec<IoMethod>,
    pattern: Option<Pattern>,
    share: f64,
    effect: VolumeEffect,
    chance: Mutex<Stream>,
    seen: AtomicU64,
    hit: AtomicU64,
    delayed_ns: AtomicU64,
    flipped: AtomicU64,
    seed: u64,
}

#[derive(Default)]
struct Queue {
    held: BinaryHeap<Reverse<Held>>,
    next: u64,
    closed: bool,
}

/// A call that waits, on behalf of at least one fault.
struct Held {
    due: u64,
    order: u64,
    since: u64,
    /// Nanoseconds of waiting that were charged to faults taken off meanwhile.
    charged: u64,
    parts: Vec<(Arc<Fault>, u64)>,
    errno: Option<i32>,
    job: Job,
}

impl Faults {
    pub(super) fn new() -> Faults {
        Faults { table: RwLock::default(), queue: Mutex::default(), wake: Condvar::new() }
    }

    /// Puts a fault on. After `close` it is known, but never hits anything.
    pub(super) fn add(&self, fault: &VolumeFault) -> u64 {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        table.next += 1;
        let id = table.next;
        let fault = Arc::new(Fault::new(id, fault));
        if table.closed {
            table.past.push(fault)
        } else {
            table.active.push(fault)
        }
        id
    }

    /// Takes a fault off and lets go what only it holds. Evidence is complete when this returns.
    pub(super) fn remove(&self, id: u64) -> bool {
        {
            let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
            let Some(at) = table.active.iter().position(|f| f.id == id) else { return false };
            let fault = table.active.swap_remove(at);
            table.past.push(fault);
        }
        self.let_go(|fault| fault.id == id);
        true
    }

    /// Takes every fault off, lets every call go, and ends the thread of `run`.
    pub(super) fn close(&self) {
        {
            let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
            table.closed = true;
            let off = std::mem::take(&mut table.active);
            table.past.extend(off);
        }
        self.let_go(|_| true);
        lock(&self.queue).closed = true;
        self.wake.notify_all();
    }

    /// What a fault did so far, whether it is on or off; zeros for an unknown one.
    pub(super) fn evidence(&self, id: u64) -> VolumeEvidence {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let fault = table.active.iter().chain(&table.past).find(|f| f.id == id);
        fault.map(|f| f.evidence()).unwrap_or_default()
    }

    /// Faults that are on.
    pub(super) fn active(&self) -> usize {
        self.table.read().unwrap_or_else(|e| e.into_inner()).active.len()
    }

    /// Does a call: at once, or when its delay is over; with an errno when a fault says so. Delays of several
    /// faults add; the errno of the fault that came first wins.
    pub(super) fn serve(&self, method: IoMethod, path: &[u8], job: impl FnOnce(Option<i32>) + Send + 'static) {
        // The table stays locked until the call is queued: `remove` either finds it there, or it never saw the fault.
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let (mut errno, mut parts) = (None, Vec::new());
        for fault in table.active.iter().filter(|f| f.hits(method, path)) {
            match fault.effect {
                VolumeEffect::Delay(delay) => parts.push((fault.clone(), delay.as_nanos() as u64)),
                VolumeEffect::Errno(code) => {
                    fault.hit.fetch_add(1, Relaxed);
                    errno = errno.or(Some(code));
                }
                // Done to what a read brings, by `corrupt`.
                VolumeEffect::Corrupt(_) => {}
            }
        }
        if parts.is_empty() || !self.has_room() {
            drop(table);
            return job(errno);
        }
        self.hold(parts, errno, Box::new(job));
    }

    /// Flips bytes of what was read at `offset` of a file of `length` bytes.
    pub(super) fn corrupt(&self, path: &[u8], offset: u64, length: u64, read: &mut [u8]) {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        for fault in table.active.iter().filter(|f| f.in_scope(IoMethod::Read, path)) {
            let VolumeEffect::Corrupt(bytes) = fault.effect else { continue };
            fault.seen.fetch_add(1, Relaxed);
            let end = offset + read.len() as u64;
            let mut flipped = 0;
            for place in places(fault.seed, path, bytes, length).into_iter().filter(|p| (offset..end).contains(p)) {
                read[(place - offset) as usize] ^= 0xff;
                flipped += 1;
            }
            fault.hit.fetch_add(u64::from(flipped > 0), Relaxed);
            fault.flipped.fetch_add(flipped, Relaxed);
        }
    }

    /// Whether this fault changes what reads bring: pages that were read meanwhile must not outlive it.
    pub(super) fn corrupts(&self, id: u64) -> bool {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.active.iter().any(|f| f.id == id && matches!(f.effect, VolumeEffect::Corrupt(_)))
    }

    /// Serves held calls in due order, until `close`. Runs in a thread of its own.
    pub(super) fn run(&self) {
        let mut queue = lock(&self.queue);
        loop {
            let now = monotonic_nanos();
            match queue.held.peek().map(|Reverse(first)| first.due) {
                None if queue.closed => return,
                None => queue = self.wake.wait(queue).unwrap_or_else(|e| e.into_inner()),
                Some(due) if due > now => {
                    let wait = Duration::from_nanos(due - now);
                    queue = self.wake.wait_timeout(queue, wait).unwrap_or_else(|e| e.into_inner()).0;
                }
                Some(_) => {
                    let first = queue.held.pop();
                    drop(queue);
                    if let Some(Reverse(held)) = first {
                        held.charge(now, |_| true);
                        // A panic drops the reply, which answers EIO by itself; the thread must live on for the others.
                        let _ = catch_unwind(AssertUnwindSafe(|| (held.job)(held.errno)));
                    }
                    queue = lock(&self.queue);
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        lock(&self.queue).held.len() < MAX_HELD
    }

    fn hold(&self, parts: Vec<(Arc<Fault>, u64)>, errno: Option<i32>, job: Job) {
        for (fault, _) in &parts {
            fault.hit.fetch_add(1, Relaxed);
        }
        let since = monotonic_nanos();
        let mut queue = lock(&self.queue);
        queue.next += 1;
        let order = queue.next;
        let mut held = Held { due: 0, order, since, charged: 0, parts, errno, job };
        held.set_due();
        queue.held.push(Reverse(held));
        self.wake.notify_all();
    }

    /// Frees held calls from these faults, charging them what they held back until now.
    fn let_go(&self, of: impl Fn(&Fault) -> bool) {
        let now = monotonic_nanos();
        let mut queue = lock(&self.queue);
        let held = std::mem::take(&mut queue.held).into_iter().map(|Reverse(mut held)| {
            held.charged += held.charge(now, &of);
            held.parts.retain(|(fault, _)| !of(fault));
            held.set_due();
            Reverse(held)
        });
        queue.held = held.collect();
        self.wake.notify_all();
    }
}

impl Fault {
    fn new(id: u64, fault: &VolumeFault) -> Fault {
        Fault {
            id,
            methods: fault.scope.methods.clone(),
            pattern: fault.scope.path.as_deref().map(Pattern::new),
            share: fault.scope.share.get(),
            effect: fault.effect,
            chance: Mutex::new(rng::stream(Seed(fault.seed), "volume")),
            seen: AtomicU64::new(0),
            hit: AtomicU64::new(0),
            delayed_ns: AtomicU64::new(0),
            flipped: AtomicU64::new(0),
            seed: fault.seed,
        }
    }

    fn in_scope(&self, method: IoMethod, path: &[u8]) -> bool {
        self.methods.contains(&method) && self.pattern.as_ref().is_none_or(|p| p.matches(path))
    }

    /// Looks at one call, counts it when it is in scope, and draws whether it is hit.
    fn hits(&self, method: IoMethod, path: &[u8]) -> bool {
        if matches!(self.effect, VolumeEffect::Corrupt(_)) || !self.in_scope(method, path) {
            return false;
        }
        self.seen.fetch_add(1, Relaxed);
        self.share >= 1.0 || rng::unit(&mut lock(&self.chance)) < self.share
    }

    fn evidence(&self) -> VolumeEvidence {
        VolumeEvidence {
            seen: self.seen.load(Relaxed),
            hit: self.hit.load(Relaxed),
            delayed_ns: self.delayed_ns.load(Relaxed),
            flipped: self.flipped.load(Relaxed),
        }
    }
}

/// Where a file is corrupted: distinct places, the same for the same seed, path and length.
fn places(seed: u64, path: &[u8], bytes: u32, length: u64) -> BTreeSet<u64> {
    let wanted = u64::from(bytes).min(length) as usize;
    if wanted as u64 == length {
        return (0..length).collect();
    }
    let mut random = rng::stream(Seed(seed), &format!("corrupt:{}", String::from_utf8_lossy(path)));
    let mut places = BTreeSet::new();
    while places.len() < wanted {
        places.insert(rng::below(&mut random, length as usize) as u64);
    }
    places
}

impl Held {
    fn set_due(&mut self) {
        self.due = self.parts.iter().fold(self.since, |due, (_, ns)| due.saturating_add(*ns));
    }

    /// Charges the waiting so far to its faults, each by its share of the delay still wanted; only those asked
    /// for. Returns what was charged.
    fn charge(&self, now: u64, of: impl Fn(&Fault) -> bool) -> u64 {
        let waited = now.saturating_sub(self.since).saturating_sub(self.charged);
        let wanted: u128 = self.parts.iter().map(|(_, ns)| u128::from(*ns)).sum();
        let mut charged = 0;
        for (fault, ns) in self.parts.iter().filter(|(f, _)| of(f)) {
            let part = (u128::from(waited) * u128::from(*ns)).checked_div(wanted).unwrap_or(0) as u64;
            fault.delayed_ns.fetch_add(part, Relaxed);
            charged += part;
        }
        charged
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.order == other.order
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::plan::IoScope;
    use crate::units::Ratio;

    fn fault(effect: VolumeEffect, share: f64) -> VolumeFault {
        let scope = IoScope { path: None, methods: vec![IoMethod::Read], share: Ratio::new(share).unwrap() };
        VolumeFault { scope, effect, seed: 7 }
    }

    fn running() -> Arc<Faults> {
        let faults = Arc::new(Faults::new());
        let runner = faults.clone();
        std::thread::spawn(move || runner.run());
        faults
    }

    fn call(faults: &Faults, name: &'static str) -> Receiver<(&'static str, Option<i32>)> {
        let (tell, told) = channel();
        faults.serve(IoMethod::Read, b"x", move |errno| {
            let _ = tell.send((name, errno));
        });
        told
    }

    #[test]
    fn calls_leave_in_due_order_and_both_faults_are_charged() {
        let faults = running();
        let long = faults.add(&fault(VolumeEffect::Delay(Duration::from_millis(60)), 1.0));
        let first = call(&faults, "first");
        let short = faults.add(&fault(VolumeEffect::Delay(Duration::from_millis(20)), 1.0));
        let second = call(&faults, "second");
        assert!(first.recv().is_ok());
        assert!(second.recv().is_ok());
        assert_eq!((faults.evidence(long).hit, faults.evidence(short).hit), (2, 1));
        assert!(faults.evidence(long).delayed_ns >= 120_000_000, "{:?}", faults.evidence(long));
        assert!(faults.evidence(short).delayed_ns >= 20_000_000, "{:?}", faults.evidence(short));
        faults.close();
    }

    #[test]
    fn removing_one_of_two_shortens_the_wait_and_charges_no_time_twice() {
        let faults = running();
        let hour = Duration::from_secs(3600);
        let (a, b) =
            (faults.add(&fault(VolumeEffect::Delay(hour), 1.0)), faults.add(&fault(VolumeEffect::Delay(hour), 1.0)));
        let begin = monotonic_nanos();
        let told = call(&faults, "held");
        crate::clock::sleep(Duration::from_millis(20));
        assert!(faults.remove(a));
        assert!(told.try_recv().is_err(), "the other fault still holds it");
        assert!(faults.remove(b) && !faults.remove(b));
        let (ea, eb) = (faults.evidence(a).delayed_ns, faults.evidence(b).delayed_ns);
        assert!(told.recv_timeout(Duration::from_secs(10)).is_ok());
        let elapsed = monotonic_nanos() - begin;
        assert!(ea >= 9_000_000 && eb >= 9_000_000 && ea + eb <= elapsed, "{ea} + {eb} of {elapsed}");
        faults.close();
    }

    #[test]
    fn an_errno_wins_after_the_delay_and_a_panicking_call_harms_nobody() {
        let faults = running();
        faults.add(&fault(VolumeEffect::Delay(Duration::from_millis(5)), 1.0));
        faults.add(&fault(VolumeEffect::Errno(5), 1.0));
        faults.serve(IoMethod::Read, b"x", |_| panic!("of the test"));
        assert_eq!(call(&faults, "after").recv().unwrap(), ("after", Some(5)));
        faults.close();
        assert_eq!(faults.active(), 0);
        assert_eq!(call(&faults, "closed").recv().unwrap(), ("closed", None));
    }

    #[test]
    fn corruption_stays_where_it_is_and_counts_what_it_flipped() {
        let faults = Faults::new();
        let id = faults.add(&fault(VolumeEffect::Corrupt(3), 1.0));
        let read = |offset: u64, size: usize| {
            let mut bytes = vec![0u8; size];
            faults.corrupt(b"x", offset, 1000, &mut bytes);
            bytes
        };
        let whole = read(0, 1000);
        assert_eq!(whole.iter().filter(|b| **b == 0xff).count(), 3);
        assert_eq!([read(0, 500), read(500, 500)].concat(), whole, "in parts it is the same");
        assert_eq!((faults.evidence(id).seen, faults.evidence(id).flipped), (3, 6));
        let mut other = vec![0u8; 1000];
        faults.corrupt(b"y", 0, 1000, &mut other);
        assert_ne!(other, whole, "each file has places of its own");
        assert_eq!(places(1, b"x", 9, 4), (0..4).collect());
        assert!(places(1, b"x", 9, 0).is_empty());
        assert!(faults.corrupts(id) && faults.remove(id) && !faults.corrupts(id));
        assert_eq!(read(0, 1000), vec![0; 1000]);
    }

    #[test]
    fn the_share_is_drawn_from_the_seed() {
        let hits = |seed| {
            let faults = Faults::new();
            let id = faults.add(&VolumeFault { seed, ..fault(VolumeEffect::Errno(5), 0.3) });
            let row: Vec<bool> = (0..1000).map(|_| call(&faults, "x").recv().unwrap().1.is_some()).collect();
            let evidence = faults.evidence(id);
            assert_eq!((evidence.seen, evidence.hit as usize), (1000, row.iter().filter(|h| **h).count()));
            row
        };
        assert_eq!(hits(1), hits(1));
        assert_ne!(hits(1), hits(2));
        let share = hits(1).iter().filter(|h| **h).count();
        assert!((240..360).contains(&share), "{share} of 1000");
    }
}
