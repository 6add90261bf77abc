//! Which container plays which replica, and what is known of each: the state that everybody looks at.
//!
//! Told what Docker shows ([`Seats::saw`]) and what polls say; keeps the rotation of the link and the events of the run
//! accordingly. Asks nobody anything itself, so that what it makes of what it is told can be tested without Docker.
//!
//! Life of a replica: *running* → (first good poll, or its own health check) *ready* → (killed by us) *leaving* →
//! *down* → started again by us when its time has come, unless it is held down. One that ends without us is Docker's to
//! start again, by its restart policy.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::super::link::Rotation;
use super::super::poll::Polled;
use super::super::{Instance, PlatformEvent, PlatformEventKind, ReplicaView};
use super::api::{Health, Seen};
use crate::clock::{Clock, monotonic_nanos};
use crate::plan::Ready;
use crate::units::Offset;

/// Events kept; further ones are counted.
const EVENT_LIMIT: usize = 10_000;

/// What is known of one replica.
#[derive(Debug, Default)]
pub(super) struct Seat {
    pub(super) id: String,
    pub(super) name: String,
    /// What Docker showed last; none when the container is gone.
    pub(super) seen: Option<Seen>,
    /// When that look began: an older one says nothing new.
    looked_at: u64,
    pub(super) address: Option<SocketAddr>,
    pub(super) ready: bool,
    pub(super) starts: u32,
    /// Taken down by us, and not started again yet.
    pub(super) down_by_us: bool,
    /// Frozen by us.
    pub(super) paused_by_us: bool,
    /// Told to end: out of rotation until it was started again.
    leaving: bool,
    /// When it is to be started again.
    due: Option<u64>,
    /// Why it is not ready.
    pub(super) last_poll: String,
}

impl Seat {
    pub(super) fn running(&self) -> bool {
        self.seen.as_ref().is_some_and(|s| s.running)
    }

    /// It was looked for and is not there.
    fn vacant(&self) -> bool {
        self.looked_at > 0 && self.seen.is_none()
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) seats: Vec<Seat>,
    events: Vec<(u64, Option<u16>, PlatformEventKind, String)>,
    events_lost: usize,
}

/// Every replica, by number.
pub(super) struct Seats {
    host: String,
    /// The container's port that predictions go to.
    port: u16,
    ready: Option<Ready>,
    rotation: Rotation,
    /// Told when a replica was started.
    started: Vec<Notify>,
    state: Mutex<State>,
    changed: Condvar,
    clock: Mutex<Clock>,
}

impl Seats {
    pub(super) fn new(
        host: &str,
        port: u16,
        ready: Option<Ready>,
        rotation: Rotation,
        clock: Clock,
        containers: Vec<(String, String)>,
    ) -> Seats {
        let started = containers.iter().map(|_| Notify::new()).collect();
        let seats = containers.into_iter().map(|(id, name)| Seat { id, name, ..Seat::default() }).collect();
        Seats {
            host: host.to_owned(),
            port,
            ready,
            rotation,
            started,
            state: Mutex::new(State { seats, ..State::default() }),
            changed: Condvar::new(),
            clock: Mutex::new(clock),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_clock(&self, clock: Clock) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    pub(super) fn offset(&self, at: u64) -> Offset {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).offset_of(at)
    }

    /// Which replica a container is.
    pub(super) fn of(&self, id: &str) -> Option<usize> {
        self.lock().seats.iter().position(|s| s.id == id)
    }

    /// Waits until `done` gives something, at most this long.
    pub(super) fn wait<T>(&self, limit: Duration, mut done: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let until = monotonic_nanos() + limit.as_nanos() as u64;
        let mut state = self.lock();
        loop {
            if let Some(found) = done(&state) {
                return Some(found);
            }
            let left = until.checked_sub(monotonic_nanos()).filter(|left| *left > 0)?;
            let waited = self.changed.wait_timeout(state, Duration::from_nanos(left));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The container that plays this replica now.
    pub(super) fn id(&self, index: usize) -> String {
        self.lock().seats[index].id.clone()
    }

    /// A replica's container was removed, and no other has taken its place.
    pub(super) fn vacant(&self) -> bool {
        self.lock().seats.iter().any(Seat::vacant)
    }

    /// Gives replicas whose container was removed to containers that play none yet: one of the same name first, since that is
    /// how Compose makes a container anew. Says which replicas have another container now.
    pub(super) fn adopt(&self, found: &[(String, String)]) -> Vec<usize> {
        let now = monotonic_nanos();
        let mut state = self.lock();
        let mut adopted = Vec::new();
        for by_name in [true, false] {
            for index in 0..state.seats.len() {
                let free = |id: &str| state.seats.iter().all(|s| s.id != id);
                let seat = &state.seats[index];
                // Compose makes the new one as HASH_NAME, and gives it the name once its predecessor is gone.
                let named = |name: &str| name == seat.name || name.ends_with(&format!("_{}", seat.name));
                let fits = |(id, name): &&(String, String)| free(id) && (!by_name || named(name));
                let Some((id, name)) = found.iter().find(fits).filter(|_| seat.vacant()) else { continue };
                // What was done to the old one is no debt to the new one.
                let starts = seat.starts;
                state.seats[index] = Seat { id: id.clone(), name: name.clone(), starts, ..Seat::default() };
                self.note(&mut state, now, index, PlatformEventKind::Note, "was made anew and plays this replica now");
                adopted.push(index);
            }
        }
        adopted
    }

    /// Takes in what a look at a container, begun at `began`, has shown.
    pub(super) fn saw(&self, index: usize, id: &str, began: u64, seen: Option<Seen>) {
        let now = monotonic_nanos();
        let mut state = self.lock();
        let seat = &mut state.seats[index];
        if began < seat.looked_at || id != seat.id {
            return;
        }
        seat.looked_at = began;
        // Compose gives a container its name only after its predecessor is gone.
        if let Some(named) = seen.as_ref().filter(|s| !s.name.is_empty()) {
            seat.name.clone_from(&named.name);
        }
        let before = std::mem::replace(&mut seat.seen, seen.clone());
        let was = before.as_ref().filter(|s| s.running);
        let is = seen.as_ref().filter(|s| s.running);
        let another = matches!((was, is), (Some(was), Some(is)) if was.started != is.started);
        let (ended, begun) = (was.is_some() && (is.is_none() || another), is.is_some() && (was.is_none() || another));
        let frozen = |s: Option<&Seen>| s.is_some_and(|s| s.paused);
        let (was_frozen, is_frozen) = (frozen(was), frozen(is));
        if ended {
            let how = match &seen {
                None => "was removed".to_owned(),
                Some(_) if another => "ended".to_owned(),
                Some(s) => format!("ended with status {}", s.exit_code),
            };
            self.leave_rotation(&mut state, index, now, &how);
            self.note(&mut state, now, index, PlatformEventKind::Exited, &how);
        }
        if let (true, Some(is)) = (begun, is) {
            let seat = &mut state.seats[index];
            seat.starts += 1;
            seat.leaving = false;
            seat.ready = false;
            seat.down_by_us = false;
            seat.due = None;
            seat.address = address(is, self.port, &self.host);
            self.note(&mut state, now, index, PlatformEventKind::Started, "is running");
            self.started[index].notify_one();
        } else if was_frozen != is_frozen {
            let how = if is_frozen { "is paused" } else { "goes on" };
            self.note(&mut state, now, index, PlatformEventKind::Note, how);
        }
        if let (None, Some(is)) = (&self.ready, is) {
            let health = by_health(is);
            self.judge(&mut state, index, now, health);
        }
        self.changed.notify_all();
    }

    /// It was told to end: with `leaves`, it leaves the rotation at once, as a terminating pod does.
    pub(super) fn told_to_end(&self, index: usize, leaves: bool) -> u64 {
        let now = monotonic_nanos();
        let mut state = self.lock();
        state.seats[index].leaving = true;
        state.seats[index].down_by_us = true;
        if leaves {
            self.leave_rotation(&mut state, index, now, "told to end");
        }
        now
    }

    /// It is not known to have ended: it may go into rotation again, and is started at the end should it be down.
    pub(super) fn not_leaving(&self, index: usize) {
        self.lock().seats[index].leaving = false;
    }

    /// It is to be started again after `delay`; none: not before [`Seats::due_now`].
    pub(super) fn due_after(&self, index: usize, delay: Option<Duration>) {
        let mut state = self.lock();
        // A restart may have been seen before this was said.
        if state.seats[index].down_by_us {
            state.seats[index].due = delay.map(|d| monotonic_nanos() + d.as_nanos() as u64);
        }
    }

    /// Containers whose time to be started has come; each is given once.
    pub(super) fn take_due(&self) -> Vec<(usize, String)> {
        let now = monotonic_nanos();
        let mut state = self.lock();
        let due = state.seats.iter_mut().enumerate().filter(|(_, s)| s.due.is_some_and(|at| at <= now));
        due.map(|(index, seat)| {
            seat.due = None;
            (index, seat.id.clone())
        })
        .collect()
    }

    /// A line that is no change of state.
    pub(super) fn remark(&self, index: usize, text: &str) {
        let mut state = self.lock();
        self.note(&mut state, monotonic_nanos(), index, PlatformEventKind::Note, text);
    }

    /// Ready or not, as Docker or a poll says.
    fn judge(&self, state: &mut State, index: usize, now: u64, verdict: Result<(), String>) {
        let seat = &mut state.seats[index];
        if seat.leaving {
            return;
        }
        match (verdict, seat.address) {
            (Ok(()), Some(address)) if !seat.ready => {
                seat.ready = true;
                self.rotation.put(index as u16, address);
                self.note(state, now, index, PlatformEventKind::Ready, "is ready");
            }
            (Ok(()), Some(_)) => {}
            (Ok(()), None) => seat.last_poll = "it has no address that can be reached from here".to_owned(),
            (Err(why), _) => {
                seat.last_poll.clone_from(&why);
                self.leave_rotation(state, index, now, &why);
            }
        }
    }

    fn leave_rotation(&self, state: &mut State, index: usize, at: u64, why: &str) {
        if !std::mem::take(&mut state.seats[index].ready) {
            return;
        }
        self.rotation.take(index as u16);
        self.note(state, at, index, PlatformEventKind::NotReady, &format!("left the rotation: {why}"));
    }

    fn note(&self, state: &mut State, at: u64, index: usize, kind: PlatformEventKind, text: &str) {
        if state.events.len() < EVENT_LIMIT {
            let text = format!("replica {index} (container {}) {text}", state.seats[index].name);
            state.events.push((at, Some(index as u16), kind, text));
        } else {
            state.events_lost += 1;
        }
    }

    /// All of them, by number.
    pub(super) fn list(&self) -> Vec<ReplicaView> {
        let state = self.lock();
        let view = |(index, seat): (usize, &Seat)| {
            let playing = seat.seen.as_ref().filter(|s| s.running);
            let instance = playing.map(|s| self.instance(s));
            ReplicaView { index: index as u16, instance, ready: seat.ready, starts: seat.starts }
        };
        state.seats.iter().enumerate().map(view).collect()
    }

    /// The run of a container that this shows.
    pub(super) fn instance(&self, seen: &Seen) -> Instance {
        let (host, id, name, started) = (self.host.clone(), seen.id.clone(), seen.name.clone(), seen.started.clone());
        Instance::Container { host, id, name, started }
    }

    /// Every event so far, in order.
    pub(super) fn events(&self) -> Vec<PlatformEvent> {
        let state = self.lock();
        let event = |(at, replica, kind, text): &(u64, Option<u16>, PlatformEventKind, String)| PlatformEvent {
            at: self.offset(*at),
            replica: *replica,
            kind: *kind,
            text: text.clone(),
        };
        let mut events: Vec<PlatformEvent> = state.events.iter().map(event).collect();
        if state.events_lost > 0 {
            let at = events.last().map_or(Offset::ZERO, |e| e.at);
            let text = format!("{} further events were not kept", state.events_lost);
            events.push(PlatformEvent { at, replica: None, kind: PlatformEventKind::Note, text });
        }
        events
    }
}

impl Polled for Seats {
    fn polls(&self) -> Vec<Option<Ready>> {
        self.started.iter().map(|_| self.ready.clone()).collect()
    }

    fn running(&self, unit: usize) -> Option<(u32, SocketAddr)> {
        let state = self.lock();
        let seat = &state.seats[unit];
        seat.address.filter(|_| seat.running()).map(|address| (seat.starts, address))
    }

    fn started(&self, unit: usize) -> &Notify {
        &self.started[unit]
    }

    fn polled(&self, unit: usize, starts: u32, result: Result<(), String>) {
        let now = monotonic_nanos();
        let mut state = self.lock();
        // The run that was asked may be over by now, and another one may stand in its place.
        if state.seats[unit].running() && state.seats[unit].starts == starts {
            self.judge(&mut state, unit, now, result);
            self.changed.notify_all();
        }
    }
}

/// Where a container is reached from here: by its own address where the engine is on this machine, else where its port
/// is published.
pub(super) fn address(seen: &Seen, port: u16, host: &str) -> Option<SocketAddr> {
    if super::api::is_here(host) {
        if seen.on_host {
            return Some(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let own = seen.addresses.iter().find_map(|(_, ip)| ip.parse().ok());
        if let Some(ip) = own {
            return Some(SocketAddr::new(ip, port));
        }
    }
    let (_, ip, outside) = seen.published.iter().find(|(inside, _, _)| *inside == port)?;
    let everywhere = ip.is_empty() || ip == "0.0.0.0" || ip == "::";
    let name = match (everywhere, super::api::is_here(host)) {
        (true, true) => "127.0.0.1",
        (true, false) => super::api::host_name(host),
        (false, _) => ip,
    };
    std::net::ToSocketAddrs::to_socket_addrs(&(name, *outside)).ok()?.next()
}

/// Ready, where nothing is polled: its own health check says so, or it runs and has none.
fn by_health(seen: &Seen) -> Result<(), String> {
    match seen.health {
        None | Some(Health::Healthy) => Ok(()),
        Some(Health::Starting) => Err("its health check has not passed yet".to_owned()),
        Some(Health::Unhealthy) => Err("its health check fails".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::PlatformEventKind::*;
    use super::*;
    use crate::plan::Ready;
    use crate::platform::link::Link;
    use crate::units::Seed;

    fn shown(started: &str, health: Option<Health>) -> Option<Seen> {
        Some(Seen {
            id: "c0".into(),
            name: "shop-model-1".into(),
            running: true,
            started: started.into(),
            health,
            addresses: vec![("shop".into(), "127.9.9.9".into())],
            ..Seen::default()
        })
    }

    fn down() -> Option<Seen> {
        shown("t1", None).map(|s| Seen { running: false, exit_code: 137, ..s })
    }

    fn seats(ready: Option<Ready>) -> (Seats, Link) {
        let link = Link::start("test", Seed(1), &[]).unwrap();
        let containers = vec![("c0".to_owned(), "shop-model-1".to_owned())];
        let clock = Clock::starting_in(Duration::ZERO);
        (Seats::new("unix:///none", 8080, ready, link.rotation(), clock, containers), link)
    }

    fn kinds(seats: &Seats) -> Vec<PlatformEventKind> {
        seats.events().iter().map(|e| e.kind).collect()
    }

    #[test]
    fn the_health_check_says_who_is_in_rotation() {
        let (seats, _link) = seats(None);
        seats.saw(0, "c0", 1, shown("t1", Some(Health::Starting)));
        assert!(!seats.list()[0].ready && seats.list()[0].starts == 1);
        seats.saw(0, "c0", 2, shown("t1", Some(Health::Healthy)));
        assert!(seats.list()[0].ready);
        seats.saw(0, "c0", 1, shown("t1", Some(Health::Starting)));
        assert!(seats.list()[0].ready, "a look that began earlier says nothing new");
        seats.saw(0, "c0", 3, shown("t1", Some(Health::Unhealthy)));
        assert_eq!(kinds(&seats), [Started, Ready, NotReady]);
        assert_eq!(seats.lock().seats[0].last_poll, "its health check fails");
    }

    #[test]
    fn one_that_was_killed_is_due_again_and_another_run_of_it() {
        let (seats, _link) = seats(None);
        seats.saw(0, "c0", 1, shown("t1", None));
        let before = seats.list()[0].instance.clone();
        seats.told_to_end(0, false);
        seats.saw(0, "c0", 2, down());
        assert_eq!(seats.list()[0].instance, None);
        seats.due_after(0, None);
        assert!(seats.take_due().is_empty(), "held down");
        seats.due_after(0, Some(Duration::ZERO));
        assert_eq!(seats.take_due(), [(0, "c0".to_owned())]);
        assert!(seats.take_due().is_empty(), "given once");
        seats.saw(0, "c0", 3, shown("t2", None));
        let view = &seats.list()[0];
        assert!(view.ready && view.starts == 2 && view.instance != before && !seats.lock().seats[0].down_by_us);
        assert_eq!(kinds(&seats), [Started, Ready, NotReady, Exited, Started, Ready]);
        assert!(seats.events()[3].text.contains("shop-model-1) ended with status 137"));
    }

    #[test]
    fn one_that_was_restarted_between_two_looks_has_ended_too() {
        let (seats, _link) = seats(None);
        seats.saw(0, "c0", 1, shown("t1", None));
        seats.saw(0, "c0", 2, shown("t2", None));
        assert_eq!(kinds(&seats), [Started, Ready, NotReady, Exited, Started, Ready]);
        seats.saw(0, "c0", 3, None);
        assert!(seats.events().last().unwrap().text.ends_with("was removed"));
    }

    #[test]
    fn one_that_was_made_anew_plays_the_same_replica() {
        let (seats, _link) = seats(None);
        let named = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        let anew = [named("c7", "shop-model-2"), named("c0", "shop-model-1"), named("c9", "4f1c_shop-model-1")];
        assert!(seats.adopt(&anew).is_empty(), "nobody has looked at it yet");
        seats.saw(0, "c0", 1, shown("t1", None));
        seats.told_to_end(0, false);
        assert!(!seats.vacant() && seats.adopt(&anew).is_empty(), "it is there");
        seats.saw(0, "c0", 2, None);
        assert!(seats.vacant());
        assert_eq!((seats.adopt(&anew), seats.of("c9"), seats.id(0)), (vec![0], Some(0), "c9".to_owned()));
        seats.saw(0, "c0", monotonic_nanos(), None);
        assert!(!seats.vacant(), "a late look at the old one says nothing of the new one");
        let another = shown("t5", None).map(|s| Seen { id: "c9".into(), ..s });
        seats.saw(0, "c9", monotonic_nanos(), another);
        let view = &seats.list()[0];
        assert!(view.ready && view.starts == 2 && !seats.lock().seats[0].down_by_us);
        assert_eq!(kinds(&seats), [Started, Ready, NotReady, Exited, Note, Started, Ready]);
        assert!(seats.take_due().is_empty(), "it is not ours to start");
    }

    #[test]
    fn polls_count_for_the_run_that_was_asked() {
        let ready =
            Ready { path: Some("/ping".into()), every: Duration::from_secs(1), timeout: Duration::from_secs(5) };
        let (seats, _link) = seats(Some(ready));
        seats.saw(0, "c0", 1, shown("t1", Some(Health::Healthy)));
        assert!(!seats.list()[0].ready, "polls alone count where they are written");
        assert_eq!(seats.running(0), Some((1, "127.9.9.9:8080".parse().unwrap())));
        seats.polled(0, 7, Ok(()));
        assert!(!seats.list()[0].ready);
        seats.polled(0, 1, Ok(()));
        assert!(seats.list()[0].ready);
        seats.told_to_end(0, true);
        seats.polled(0, 1, Ok(()));
        assert!(!seats.list()[0].ready, "one that is leaving does not come back");
        assert_eq!(kinds(&seats), [Started, Ready, NotReady]);
    }

    #[test]
    fn where_a_container_is_reached() {
        let here = shown("t", None).unwrap();
        let published = Seen { published: vec![(8080, "0.0.0.0".into(), 49153)], ..here.clone() };
        let at = |seen: &Seen, host: &str| address(seen, 8080, host).map(|a| a.to_string()).unwrap_or_default();
        assert_eq!(at(&published, "unix:///x"), "127.9.9.9:8080");
        assert_eq!(at(&published, "tcp://10.1.2.3:2375"), "10.1.2.3:49153");
        assert_eq!(at(&here, "tcp://10.1.2.3:2375"), "", "its own address means nothing elsewhere");
        let alone = Seen { addresses: Vec::new(), ..published.clone() };
        assert_eq!(at(&alone, "unix:///x"), "127.0.0.1:49153");
        assert_eq!(at(&Seen { on_host: true, ..alone }, "unix:///x"), "127.0.0.1:8080");
    }
}
