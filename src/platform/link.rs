//! The link: a TCP splice in front of replicas, or of a dependency, that does what a Kubernetes Service does.
//!
//! One thread per link. Each connection goes to one ready replica, drawn evenly, as kube-proxy's iptables rules do;
//! nothing is tried twice. A replica that cannot be connected to, or no ready replica at all, resets the client
//! (kube-proxy rejects; the link has accepted by then, so a reset is the nearest thing). Connections to a replica that
//! merely left the rotation stay. FIN is passed on as FIN, RST as RST.
//!
//! Effects ([`LinkFault`]) act on the bytes of open and of new connections. Owns what happens to bytes; leaves alone who
//! is ready (`local/`) and when effects come and go (`fault/`).
//!
//! Limits: [`HELD_LIMIT`] bytes are held per direction of a connection, then its sender has to wait, as behind a full
//! socket buffer; [`CONNECTION_LIMIT`] connections are open at once, then new ones wait in the listen queue. A delay does
//! not stretch the TCP handshake, which the kernel answers before the link sees it. Bytes that a delay holds when it
//! is taken off still leave at their time; those that wait for bandwidth leave at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::{LinkControl, LinkEffect, LinkEvidence, LinkFault, process};
use crate::clock::monotonic_nanos;
use crate::plan::Direction;
use crate::rng::{self, Stream};
use crate::units::Seed;

/// Bytes held per direction of a connection, about.
pub const HELD_LIMIT: usize = 256 * 1024;
/// Connections open at once.
pub const CONNECTION_LIMIT: usize = 32 * 1024;
/// Chunks held per direction of a connection: tiny chunks cost more than their bytes.
const CHUNK_LIMIT: usize = 4096;
/// Reads of one direction before other connections have their turn.
const READS_PER_TURN: usize = 8;
/// Bytes read at once.
const READ_SIZE: usize = 64 * 1024;
/// What a limit on bandwidth lets through at once after a pause, as time at its rate, in ns.
const BURST_NS: u64 = 10_000_000;
/// A limit on bandwidth passes pieces of about a packet at a time, however slow it is.
const PIECE: usize = 1460;

/// A running link; dropping it closes every connection and ends its thread.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Starts a link that listens on a port of 127.0.0.1, with nobody in rotation. `name` names its thread and its
    /// stream of chance; `cpus` (empty for all) are where the thread runs.
    ///
    /// # Errors
    /// When the system gives no socket or no thread.
    pub fn start(name: &str, seed: Seed, cpus: &[usize]) -> Result<Link, String> {
        let failed = |e: io::Error| format!("link {name}: {e}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4().map_err(failed)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(failed)?;
            // As long a queue as the system allows: a burst of new connections must not wait for SYNs sent again.
            socket.listen(65_535).map_err(failed)?
        };
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::new(rng::stream(seed, &format!("link:{name}"))));
        let (of_thread, cpus) = (shared.clone(), cpus.to_vec());
        let work = move || {
            process::pin_thread(&cpus);
            runtime.block_on(accept(listener, of_thread));
        };
        let thread = thread::Builder::new().name(format!("link {name}")).spawn(work).map_err(failed)?;
        Ok(Link { address, shared, thread: Some(thread) })
    }

    /// Where it listens, for the whole run.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its controls.
    pub fn control(&self) -> Arc<dyn LinkControl> {
        self.shared.clone()
    }

    /// Who is in rotation.
    pub fn rotation(&self) -> Rotation {
        Rotation(self.shared.clone())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.stopped.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The replicas that a link sends new connections to.
#[derive(Clone, Debug)]
pub struct Rotation(Arc<Shared>);

impl Rotation {
    /// Puts a replica into rotation.
    pub fn put(&self, replica: u16, address: SocketAddr) {
        let mut backends = lock(&self.0.backends);
        backends.retain(|b| b.replica != replica);
        backends.push(Backend { replica, address });
        // In order of number, so that the draw does not depend on who was ready first.
        backends.sort_by_key(|b| b.replica);
    }

    /// Takes it out; open connections stay.
    pub fn take(&self, replica: u16) {
        lock(&self.0.backends).retain(|b| b.replica != replica);
    }
}

#[derive(Clone, Copy, Debug)]
struct Backend {
    replica: u16,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    backends: Mutex<Vec<Backend>>,
    /// Counts changes of `faults`: connections look at it per chunk, and at the list only when it moved.
    version: AtomicU64,
    faults: Mutex<Faults>,
    /// Tasks of open connections, to be woken when an effect concerns idle ones.
    open: Mutex<BTreeMap<u64, Waker>>,
    random: Mutex<Stream>,
    stop: AtomicBool,
    stopped: Notify,
}

#[derive(Debug, Default)]
struct Faults {
    on: Vec<Active>,
    /// Counters of every effect there ever was, by id: as many as the plan has faults.
    counters: BTreeMap<u64, Arc<Counters>>,
}

#[derive(Clone, Debug)]
struct Active {
    id: u64,
    fault: LinkFault,
    counters: Arc<Counters>,
    /// For a limit on bandwidth, by replica and way (true is to the server): when its line is free again.
    lines: Arc<Mutex<BTreeMap<(u16, bool), u64>>>,
}

impl Active {
    /// Gives these bytes their turn on the line; returns how long they wait for it, in ns.
    fn line_up(&self, rate: u64, replica: u16, to: bool, bytes: usize, now: u64) -> u64 {
        let mut lines = lock(&self.lines);
        let free = lines.entry((replica, to)).or_insert(now);
        let takes = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
        *free = (*free).max(now).saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        // A wait beyond a day means the same as a day, and sums of it stay far from overflow.
        (*free - now).saturating_sub(BURST_NS).min(86_400_000_000_000)
    }
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    bytes: AtomicU64,
    chunks: AtomicU64,
    held_ns: AtomicU64,
    resets: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn new(random: Stream) -> Shared {
        Shared {
            backends: Mutex::default(),
            version: AtomicU64::new(0),
            faults: Mutex::default(),
            open: Mutex::default(),
            random: Mutex::new(random),
            stop: AtomicBool::new(false),
            stopped: Notify::new(),
        }
    }

    fn pick(&self) -> Option<Backend> {
        let backends = lock(&self.backends);
        (!backends.is_empty()).then(|| backends[rng::below(&mut lock(&self.random), backends.len())])
    }

    /// Uniform in latency ± jitter, in ns.
    fn draw(&self, latency: Duration, jitter: Duration) -> u64 {
        let (latency, jitter) = (latency.as_nanos() as u64, jitter.min(latency).as_nanos() as u64);
        if jitter == 0 {
            return latency;
        }
        latency - jitter + (rng::unit(&mut lock(&self.random)) * 2.0 * jitter as f64) as u64
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    fn wake_all(&self) {
        lock(&self.open).values().for_each(Waker::wake_by_ref);
    }
}

impl LinkControl for Shared {
    fn add(&self, fault: LinkFault) -> u64 {
        let resets = fault.effect == LinkEffect::Reset;
        let mut faults = lock(&self.faults);
        let id = faults.counters.len() as u64 + 1;
        let counters = Arc::new(Counters::default());
        faults.counters.insert(id, counters.clone());
        faults.on.push(Active { id, fault, counters, lines: Arc::default() });
        self.changed();
        drop(faults);
        if resets {
            self.wake_all();
        }
        id
    }

    fn remove(&self, id: u64) -> bool {
        let mut faults = lock(&self.faults);
        let before = faults.on.len();
        faults.on.retain(|a| a.id != id);
        let removed = faults.on.len() < before;
        self.changed();
        drop(faults);
        // Connections that a black hole held are idle and must be told that it ended.
        self.wake_all();
        removed
    }

    fn evidence(&self, id: u64) -> LinkEvidence {
        let Some(counters) = lock(&self.faults).counters.get(&id).cloned() else { return LinkEvidence::default() };
        LinkEvidence {
            connections: counters.connections.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            chunks: counters.chunks.load(Ordering::Relaxed),
            held_ns: counters.held_ns.load(Ordering::Relaxed),
            resets: counters.resets.load(Ordering::Relaxed),
        }
    }

    fn active(&self) -> usize {
        lock(&self.faults).on.len()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut stopped = pin!(shared.stopped.notified());
    let mut next_id = 0;
    while !shared.stop.load(Ordering::Acquire) {
        let full = lock(&shared.open).len() >= CONNECTION_LIMIT;
        let accepted = async { if full { Err(io::ErrorKind::QuotaExceeded.into()) } else { listener.accept().await } };
        tokio::select! {
            biased;
            () = &mut stopped => return,
            client = accepted => match client {
                Ok((client, _)) => {
                    next_id += 1;
                    lock(&shared.open).insert(next_id, Waker::noop().clone());
                    tokio::spawn(serve(client, next_id, shared.clone()));
                }
                // Out of descriptors, or of room: the listen queue holds the others until some are closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
        }
    }
}

/// Removes a connection from the list of open ones, however its task ends.
struct Opened<'a>(&'a Shared, u64);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        lock(&self.0.open).remove(&self.1);
    }
}

async fn serve(client: TcpStream, id: u64, shared: Arc<Shared>) {
    let _opened = Opened(&shared, id);
    let _ = client.set_nodelay(true);
    let Some(backend) = shared.pick() else { return reset(&client) };
    let mut connection = Connection::new(client, id, backend.replica, &shared);
    // A reset, or a black hole that the first packet already falls into: the replica never hears of it.
    if connection.refresh().is_ready() {
        return reset(&connection.client);
    }
    if connection.effects.any_hole() {
        std::future::poll_fn(|cx| connection.vanish(cx)).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(backend.address).await else { return reset(&connection.client) };
    let _ = server.set_nodelay(true);
    if let End::Reset = std::future::poll_fn(|cx| connection.carry(&mut server, cx)).await {
        reset(&connection.client);
        reset(&server);
    }
}

/// What is dropped after this is closed with RST.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// How a connection ends.
enum End {
    /// Both sides said all they had to say.
    Closed,
    /// One side, or an effect, broke it: the others see RST.
    Reset,
}

/// One client's connection, on its way to a replica.
struct Connection<'a> {
    client: TcpStream,
    /// Client to server, and server to client.
    to: Pipe,
    from: Pipe,
    effects: Effects,
    /// A side is gone and a black hole keeps the other from hearing of it.
    frozen: bool,
    timer: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
    id: u64,
    replica: u16,
    shared: &'a Shared,
}

/// One direction.
#[derive(Default)]
struct Pipe {
    held: VecDeque<Chunk>,
    held_bytes: usize,
    /// How the source ended, and when the sink may learn it.
    end: Option<(SourceEnd, u64)>,
    /// The end went into a black hole; nothing more comes.
    swallowed_end: bool,
    done: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum SourceEnd {
    Fin,
    Rst,
}

/// Bytes that wait.
struct Chunk {
    bytes: Vec<u8>,
    sent: usize,
    came_at: u64,
    leaves_at: u64,
    /// What holds it.
    waits: Vec<Wait>,
}

/// What one effect asks of a chunk.
struct Wait {
    id: u64,
    counters: Arc<Counters>,
    ns: u64,
    /// It waits for its turn on a line, which it need not when there is no line any more.
    for_line: bool,
}

/// The effects that concern one connection, as of one version of the list.
#[derive(Default)]
struct Effects {
    version: u64,
    to: OneWay,
    from: OneWay,
    /// Effects whose `connections` this connection has been counted in.
    counted: Vec<u64>,
    /// Black holes that have swallowed something of this connection.
    fell_into: Vec<(u64, Arc<Counters>)>,
}

#[derive(Default)]
struct OneWay {
    delays: Vec<(Active, Duration, Duration)>,
    limits: Vec<(Active, u64)>,
    holes: Vec<Active>,
}

impl OneWay {
    fn quiet(&self) -> bool {
        self.delays.is_empty() && self.limits.is_empty() && self.holes.is_empty()
    }

    /// Bytes of a chunk, at most.
    fn piece(&self) -> usize {
        let a_burst = |rate: u64| usize::try_from(rate / (1_000_000_000 / BURST_NS)).unwrap_or(READ_SIZE);
        self.limits.iter().map(|(_, rate)| a_burst(*rate).clamp(PIECE, READ_SIZE)).min().unwrap_or(READ_SIZE)
    }
}

impl Effects {
    fn any_hole(&self) -> bool {
        !self.to.holes.is_empty() || !self.from.holes.is_empty()
    }

    fn way(&self, to: bool) -> &OneWay {
        if to { &self.to } else { &self.from }
    }

    fn count(&mut self, to: bool) {
        let way = if to { &self.to } else { &self.from };
        for active in way.holes.iter().chain(way.delays.iter().map(|(active, ..)| active)) {
            count_once(&mut self.counted, active);
        }
    }

    /// Something of this size went into the holes of one direction.
    fn swallow(&mut self, to: bool, bytes: usize) {
        self.count(to);
        let way = if to { &self.to } else { &self.from };
        for hole in &way.holes {
            hole.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            hole.counters.chunks.fetch_add(u64::from(bytes > 0), Ordering::Relaxed);
            if !self.fell_into.iter().any(|(id, _)| *id == hole.id) {
                self.fell_into.push((hole.id, hole.counters.clone()));
            }
        }
    }
}

fn count_once(counted: &mut Vec<u64>, active: &Active) {
    if !counted.contains(&active.id) {
        counted.push(active.id);
        active.counters.connections.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// Read into by every connection of the link's thread in turn: an idle connection costs no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

impl<'a> Connection<'a> {
    fn new(client: TcpStream, id: u64, replica: u16, shared: &'a Shared) -> Connection<'a> {
        // One version behind whatever is on, so that the first `refresh` looks.
        let effects = Effects { version: u64::MAX, ..Effects::default() };
        Connection {
            client,
            to: Pipe::default(),
            from: Pipe::default(),
            effects,
            frozen: false,
            timer: None,
            waker: None,
            id,
            replica,
            shared,
        }
    }

    /// Leaves our waker where [`Shared::wake_all`] finds it. Before the version is looked at, so that no change is missed.
    fn register(&mut self, cx: &Context<'_>) {
        if self.waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            lock(&self.shared.open).insert(self.id, cx.waker().clone());
        }
    }

    /// Takes over effects that came and went. Ready when this connection has to be reset for it.
    fn refresh(&mut self) -> Poll<()> {
        if self.shared.version.load(Ordering::Acquire) == self.effects.version {
            return Poll::Pending;
        }
        let faults = lock(&self.shared.faults);
        self.effects.version = self.shared.version.load(Ordering::Acquire);
        (self.effects.to, self.effects.from) = (OneWay::default(), OneWay::default());
        let concerns = |a: &&Active| a.fault.replicas.as_ref().is_none_or(|r| r.contains(&self.replica));
        let mut broken = false;
        for active in faults.on.iter().filter(concerns) {
            let (to, from) = match active.fault.direction {
                Direction::To => (true, false),
                Direction::From => (false, true),
                Direction::Both => (true, true),
            };
            let ways = [(to, &mut self.effects.to), (from, &mut self.effects.from)];
            let ways = ways.into_iter().filter_map(|(hit, way)| hit.then_some(way));
            match active.fault.effect {
                LinkEffect::Delay { latency, jitter } => {
                    ways.for_each(|way| way.delays.push((active.clone(), latency, jitter)))
                }
                LinkEffect::Bandwidth { rate } => ways.for_each(|way| way.limits.push((active.clone(), rate))),
                LinkEffect::Blackhole => ways.for_each(|way| way.holes.push(active.clone())),
                // A reset ends both directions, whichever it came from.
                LinkEffect::Reset => {
                    count_once(&mut self.effects.counted, active);
                    active.counters.resets.fetch_add(1, Ordering::Relaxed);
                    broken = true;
                }
            }
        }
        for pipe in [&mut self.to, &mut self.from] {
            pipe.leave_lines(|id| faults.on.iter().any(|a| a.id == id));
        }
        let healed = self.effects.fell_into.iter().filter(|(id, _)| !faults.on.iter().any(|a| a.id == *id));
        for (_, counters) in healed {
            counters.resets.fetch_add(1, Ordering::Relaxed);
            broken = true;
        }
        if broken { Poll::Ready(()) } else { Poll::Pending }
    }

    /// A connection that was made into a black hole: the client's bytes go nowhere, and nobody answers. Ends when
    /// the client gives up, or with a reset when the hole is gone.
    fn vanish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.register(cx);
        if self.effects.fell_into.is_empty() {
            // The handshake itself went in, in both directions.
            self.effects.swallow(true, 0);
            self.effects.swallow(false, 0);
        }
        loop {
            if self.refresh().is_ready() {
                reset(&self.client);
                return Poll::Ready(());
            }
            let read = SCRATCH.with_borrow_mut(|scratch| poll_read(&mut self.client, cx, scratch));
            match ready!(read) {
                Ok(n) if n > 0 => self.effects.swallow(true, n),
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Carries bytes both ways until the connection ends.
    fn carry(&mut self, server: &mut TcpStream, cx: &mut Context<'_>) -> Poll<End> {
        self.register(cx);
        loop {
            if self.refresh().is_ready() {
                return Poll::Ready(End::Reset);
            }
            if self.frozen {
                return Poll::Pending;
            }
            let turn = SCRATCH.with_borrow_mut(|scratch| {
                self.turn(true, server, cx, scratch)?;
                self.turn(false, server, cx, scratch)
            });
            if turn.is_err() {
                return Poll::Ready(End::Reset);
            }
            if self.to.done && self.from.done {
                return Poll::Ready(End::Closed);
            }
            let Some(next) = [&self.to, &self.from].into_iter().filter_map(Pipe::waits_for).min() else {
                return Poll::Pending;
            };
            ready!(self.poll_timer(next, cx));
        }
    }

    /// One direction: sends what may leave and takes in what came, until neither goes on.
    fn turn(
        &mut self,
        to: bool,
        server: &mut TcpStream,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Broken> {
        for _ in 0..READS_PER_TURN {
            let (pipe, sink) = if to { (&mut self.to, &mut *server) } else { (&mut self.from, &mut self.client) };
            match pipe.send(sink, cx) {
                Ok(()) => {}
                Err(Broken::Sink) => return self.sink_gone(to),
                Err(Broken::Source) => return Err(Broken::Source),
            }
            if !pipe.has_room() {
                return Ok(());
            }
            let source = if to { &mut self.client } else { &mut *server };
            let Poll::Ready(read) = poll_read(source, cx, scratch) else { return Ok(()) };
            // These bytes may have come after an effect that was put on since the last look.
            if self.refresh().is_ready() {
                return Err(Broken::Source);
            }
            let sink = if to { &mut *server } else { &mut self.client };
            let idle = self.effects.way(to).quiet() && if to { &self.to } else { &self.from }.held.is_empty();
            let sent = match read {
                // The usual case: nothing is on and nothing waits. No copy, no allocation, no look at the clock.
                Ok(n) if n > 0 && idle => match Pin::new(sink).poll_write(cx, &scratch[..n]) {
                    Poll::Ready(Ok(sent)) if sent == n => continue,
                    Poll::Ready(Ok(sent)) => sent,
                    Poll::Ready(Err(_)) => return self.sink_gone(to),
                    Poll::Pending => 0,
                },
                _ => 0,
            };
            self.receive(to, read.map(|n| &scratch[sent..n]));
        }
        // One that sends without end lets the others have their turn.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Passes what was read into the effects of this direction.
    fn receive(&mut self, to: bool, read: io::Result<&[u8]>) {
        let quiet = self.effects.way(to).quiet();
        if !self.effects.way(to).holes.is_empty() {
            self.effects.swallow(to, read.as_ref().map_or(0, |bytes| bytes.len()));
            if read.as_ref().map_or(true, |bytes| bytes.is_empty()) {
                self.pipe(to).swallowed_end = true;
            }
            return;
        }
        // Reading the clock is only worth it when somebody is going to look at the times.
        let came_at = if quiet { 0 } else { monotonic_nanos() };
        if !quiet {
            self.effects.count(to);
        }
        match read {
            // What came before it stands in front of it, so it needs no turn of its own.
            Ok([]) => self.pipe(to).end = Some((SourceEnd::Fin, came_at + total(&self.delays(to)))),
            Err(_) => self.pipe(to).end = Some((SourceEnd::Rst, came_at + total(&self.delays(to)))),
            Ok(bytes) => {
                for bytes in bytes.chunks(self.effects.way(to).piece()) {
                    let mut waits = self.delays(to);
                    waits.extend(self.turns(to, bytes.len(), came_at));
                    let leaves_at = came_at + total(&waits);
                    let pipe = self.pipe(to);
                    pipe.held_bytes += bytes.len();
                    pipe.held.push_back(Chunk { bytes: bytes.to_vec(), sent: 0, came_at, leaves_at, waits });
                }
            }
        }
    }

    /// What the delays of one direction ask of a chunk.
    fn delays(&self, to: bool) -> Vec<Wait> {
        let draw = |(active, latency, jitter): &(Active, Duration, Duration)| Wait {
            id: active.id,
            counters: active.counters.clone(),
            ns: self.shared.draw(*latency, *jitter),
            for_line: false,
        };
        self.effects.way(to).delays.iter().map(draw).collect()
    }

    /// What its limits on bandwidth ask: nothing while they are not reached.
    fn turns(&mut self, to: bool, bytes: usize, now: u64) -> Vec<Wait> {
        let replica = self.replica;
        let way = if to { &self.effects.to } else { &self.effects.from };
        let mut turns = Vec::new();
        for (active, rate) in &way.limits {
            let ns = active.line_up(*rate, replica, to, bytes, now);
            if ns > 0 {
                count_once(&mut self.effects.counted, active);
                turns.push(Wait { id: active.id, counters: active.counters.clone(), ns, for_line: true });
            }
        }
        turns
    }

    fn pipe(&mut self, to: bool) -> &mut Pipe {
        if to { &mut self.to } else { &mut self.from }
    }

    /// The one who should get these bytes is gone. The other side hears of it, unless a black hole is in the way.
    fn sink_gone(&mut self, to: bool) -> Result<(), Broken> {
        if self.effects.way(!to).holes.is_empty() {
            return Err(Broken::Sink);
        }
        self.effects.swallow(!to, 0);
        self.frozen = true;
        Ok(())
    }

    /// Ready when this moment has come.
    fn poll_timer(&mut self, at: u64, cx: &mut Context<'_>) -> Poll<()> {
        let wait = Duration::from_nanos(at.saturating_sub(monotonic_nanos()));
        let deadline = Instant::now() + wait;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().reset(deadline);
        timer.as_mut().poll(cx)
    }
}

/// Why a direction cannot go on.
enum Broken {
    /// The sink does not take anything any more.
    Sink,
    /// The source was reset, or an effect resets the connection.
    Source,
}

impl Pipe {
    fn has_room(&self) -> bool {
        let open = self.end.is_none() && !self.swallowed_end;
        open && self.held_bytes < HELD_LIMIT && self.held.len() < CHUNK_LIMIT
    }

    /// Lets go what waits for a turn on a line that is gone.
    fn leave_lines(&mut self, is_on: impl Fn(u64) -> bool) {
        self.held.iter_mut().for_each(|chunk| chunk.leave_lines(&is_on));
    }

    /// Sends the chunks whose time has come, and then how the source ended.
    fn send(&mut self, sink: &mut TcpStream, cx: &mut Context<'_>) -> Result<(), Broken> {
        while let Some(chunk) = self.held.front_mut() {
            if !chunk.may_leave() {
                return Ok(());
            }
            match Pin::new(&mut *sink).poll_write(cx, &chunk.bytes[chunk.sent..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Broken::Sink),
                Poll::Ready(Ok(n)) => {
                    chunk.sent += n;
                    self.held_bytes -= n;
                    if chunk.sent == chunk.bytes.len() {
                        self.held.pop_front();
                    }
                }
            }
        }
        match self.end {
            Some((end, at)) if !self.done && at <= now_if(at) => {
                self.done = true;
                match end {
                    SourceEnd::Rst => Err(Broken::Source),
                    SourceEnd::Fin => {
                        // It fails when the sink is not connected any more: then the other direction tells.
                        let _ = Pin::new(sink).poll_shutdown(cx);
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// The time that the first thing in line waits for; none when it waits for a socket.
    fn waits_for(&self) -> Option<u64> {
        let at = match self.held.front() {
            Some(chunk) => chunk.leaves_at,
            None => self.end.filter(|_| !self.done)?.1,
        };
        (at > now_if(at)).then_some(at)
    }
}

impl Chunk {
    /// True from its time on. Notes, once, how long it was really held.
    fn may_leave(&mut self) -> bool {
        let now = now_if(self.leaves_at);
        if now < self.leaves_at {
            return false;
        }
        let asked = total(&self.waits);
        for wait in std::mem::take(&mut self.waits) {
            self.charge(&wait, asked, now);
        }
        true
    }

    /// Its turn on a line that is gone came at once; what else holds it still does.
    fn leave_lines(&mut self, is_on: impl Fn(u64) -> bool) {
        let gone = |wait: &Wait| wait.for_line && !is_on(wait.id);
        if !self.waits.iter().any(gone) {
            return;
        }
        let (now, asked) = (monotonic_nanos(), total(&self.waits));
        let (gone, still): (Vec<Wait>, Vec<Wait>) = std::mem::take(&mut self.waits).into_iter().partition(gone);
        gone.iter().for_each(|wait| self.charge(wait, asked, now));
        self.leaves_at -= total(&gone);
        self.waits = still;
    }

    /// Effects that hold it at the same time share what they did, by what each asked for.
    fn charge(&self, wait: &Wait, asked: u64, now: u64) {
        let held = now.saturating_sub(self.came_at);
        let share = (u128::from(held) * u128::from(wait.ns) / u128::from(asked.max(1))) as u64;
        wait.counters.held_ns.fetch_add(share, Ordering::Relaxed);
        wait.counters.bytes.fetch_add(self.bytes.len() as u64, Ordering::Relaxed);
        wait.counters.chunks.fetch_add(1, Ordering::Relaxed);
    }
}

fn total(waits: &[Wait]) -> u64 {
    waits.iter().map(|wait| wait.ns).sum()
}

/// The time now, or 0 when the moment asked about is "at once".
fn now_if(at: u64) -> u64 {
    if at == 0 { 0 } else { monotonic_nanos() }
}

fn poll_read(stream: &mut TcpStream, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

#[cfg(test)]
mod tests;
