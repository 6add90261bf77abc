//! What a client of a proxy sees: looks through it before and during a fault, and what they prove.
//!
//! A look is one connection with one small request (`GET /`), read to its end. Nothing here asks the server's API: a
//! toxic that the server lists and no connection feels is no effect. Looks go on a thread of their own, so that a
//! black hole holds up nobody.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::clock;
use crate::fault::injector::{Proof, ProofLevel};
use crate::fault::stop::StopSignal;
use crate::plan::{Stream, Toxic, ToxicEffect};
use crate::units::show_measured;

/// What a look reads at most.
const MOST: u64 = 256 << 10;

/// Between two looks whether to stop.
const SLICE: Duration = Duration::from_millis(20);

/// For a connection to stand.
const CONNECT: Duration = Duration::from_secs(1);

/// A look waits at least this long for its end, and at most that.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// A delay below this drowns in the noise of a loaded machine.
const VISIBLE: Duration = Duration::from_millis(5);

/// Silence counts as a black hole from here on.
const SILENCE: Duration = Duration::from_millis(200);

/// One connection through the proxy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    /// Bytes of the request.
    sent: u64,
    /// Bytes of the answer.
    bytes: u64,
    /// It began as HTTP does.
    is_http: bool,
    /// From connecting to the last byte of an answer.
    answered: Option<Duration>,
    /// From connecting to the end.
    took: Duration,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// No connection at all.
    Unreachable,
    /// By the other side, as it should be.
    Closed,
    Reset,
    /// Nothing more came; our patience ended.
    Silent,
    /// Ended by us, because the fault is put back.
    Cut,
}

/// Whether a look asks for the connection to be closed, so that its end belongs to the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Connection {
    /// It does.
    Close,
    /// It does not: behind a black hole, an end without a byte would be the server's own, and no sign of the fault.
    Keep,
}

impl Connection {
    /// What suits looks at these toxics.
    pub(super) fn of(toxics: &[Toxic]) -> Connection {
        let hole = toxics.iter().any(|t| matches!(t.effect, ToxicEffect::Timeout { .. }));
        if hole { Connection::Keep } else { Connection::Close }
    }
}

/// Connects, asks, reads to the end.
pub(super) fn look(address: SocketAddr, connection: Connection, patience: Duration, stop: &StopSignal) -> Look {
    let begun = clock::monotonic_nanos();
    let since = || Duration::from_nanos(clock::monotonic_nanos() - begun);
    let request = request(address, connection);
    let mut look = Look {
        sent: request.len() as u64,
        bytes: 0,
        is_http: false,
        answered: None,
        took: Duration::ZERO,
        end: End::Unreachable,
    };
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT.min(patience)) {
        let ready = stream.set_read_timeout(Some(SLICE)).and_then(|()| stream.write_all(request.as_bytes()));
        look.end = match ready {
            Ok(()) => read(&mut stream, &mut look, patience, stop, &since),
            Err(e) => end_of(&e),
        };
    }
    look.took = since();
    look
}

fn request(address: SocketAddr, connection: Connection) -> String {
    let agent = concat!("resbench/", env!("CARGO_PKG_VERSION"));
    let close = if connection == Connection::Close { "connection: close\r\n" } else { "" };
    format!("GET / HTTP/1.1\r\nhost: {address}\r\nuser-agent: {agent}\r\naccept: */*\r\n{close}\r\n")
}

fn read(
    stream: &mut TcpStream,
    look: &mut Look,
    patience: Duration,
    stop: &StopSignal,
    since: &dyn Fn() -> Duration,
) -> End {
    let mut buffer = [0; 16 << 10];
    loop {
        let got = stream.read(&mut buffer);
        // What comes once the fault is being put back says nothing about the fault.
        if stop.stopped() {
            return End::Cut;
        }
        match got {
            Ok(0) => return End::Closed,
            Ok(n) => {
                look.is_http |= look.bytes == 0 && buffer[..n].starts_with(b"HTTP/");
                look.bytes += n as u64;
                look.answered = Some(since());
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(e) => return end_of(&e),
        }
        if since() >= patience || look.bytes >= MOST {
            return End::Silent;
        }
    }
}

fn end_of(e: &std::io::Error) -> End {
    match e.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => End::Reset,
        _ => End::Unreachable,
    }
}

/// What was seen before the fault, and what is expected of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Before(Vec<Look>);

impl Before {
    pub(super) fn add(&mut self, look: Look) {
        self.0.push(look);
    }

    /// Adds one that was answered.
    pub(super) fn add_good(&mut self, look: Look) {
        if look.end == End::Closed && look.answered.is_some() {
            self.0.push(look);
        }
    }

    /// Why looks can prove nothing here; none when they can.
    pub(super) fn is_blind(&self) -> Option<String> {
        let Some(last) = self.0.last() else { return Some("the proxy cannot be reached from here".to_owned()) };
        match last.end {
            End::Unreachable => Some("no connection to the proxy's address came about from here".to_owned()),
            End::Reset => Some("connections through the proxy were reset before the fault already".to_owned()),
            _ if last.bytes == 0 => Some("its upstream did not answer a `GET /` before the fault".to_owned()),
            // No more such requests to a server that speaks something else: some keep count of bad clients.
            _ if !last.is_http => Some("its upstream does not speak HTTP".to_owned()),
            _ => None,
        }
    }

    /// The longest that an answer took.
    fn answered(&self) -> Duration {
        self.0.iter().filter_map(|l| l.answered).max().unwrap_or_default()
    }

    /// The longest from the last byte to the end.
    fn closing(&self) -> Duration {
        self.0.iter().map(|l| l.took.saturating_sub(l.answered.unwrap_or_default())).max().unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|l| l.bytes).max().unwrap_or_default()
    }

    fn sent(&self) -> u64 {
        self.0.first().map_or(0, |l| l.sent)
    }

    /// By how much these toxics make an answer come late.
    fn late_by(&self, toxics: &[Toxic]) -> Duration {
        toxics.iter().map(|t| delay_of(t, self.sent(), self.bytes())).sum()
    }

    /// How long a look through these toxics waits.
    pub(super) fn patience(&self, toxics: &[Toxic]) -> Duration {
        let other = toxics.iter().map(|t| match t.effect {
            ToxicEffect::SlowClose { delay: ms } | ToxicEffect::ResetPeer { timeout: ms } => Duration::from_millis(ms),
            ToxicEffect::Timeout { timeout } => Duration::from_millis(timeout),
            _ => Duration::ZERO,
        });
        let expected = self.late_by(toxics) + other.sum::<Duration>();
        (PATIENCE.0 + expected * 2).min(PATIENCE.1)
    }
}

/// What a toxic adds to one look.
fn delay_of(toxic: &Toxic, sent: u64, bytes: u64) -> Duration {
    let passing = if toxic.stream == Stream::Upstream { sent } else { bytes };
    match toxic.effect {
        ToxicEffect::Latency { latency, .. } => Duration::from_millis(latency),
        // Thousands of bytes per second are bytes per millisecond.
        ToxicEffect::Bandwidth { rate } => Duration::from_millis(passing / rate.max(1)),
        ToxicEffect::Slicer { average_size, delay, .. } => {
            Duration::from_micros((passing / average_size.max(1)).saturating_sub(1).saturating_mul(delay))
        }
        _ => Duration::ZERO,
    }
}

/// What looks during a fault prove. `toxicity` is the share of connections that it hits.
pub(super) fn judge(toxics: &[Toxic], toxicity: f64, before: &Before, during: &[Look]) -> Proof {
    let unseen = |why: String| Proof { level: ProofLevel::Acknowledged, touched: 0, evidence: why };
    if let Some(why) = before.is_blind() {
        return unseen(format!("the server took it, but nothing was seen of it: {why}; write `proof` with a probe"));
    }
    let sign = match sign(toxics, before) {
        Ok(sign) => sign,
        Err(why) => return unseen(format!("the server took it, but {why}; write `proof` with a probe")),
    };
    // One that was cut short and had no time to show anything says nothing.
    let whole: Vec<&Look> = during.iter().filter(|l| l.end != End::Cut || (sign.shows)(l)).collect();
    let shown: Vec<&Look> = whole.iter().copied().filter(|l| (sign.shows)(l)).collect();
    let (n, m) = (shown.len(), whole.len());
    let took = shown.iter().map(|l| (sign.time)(l)).sum::<Duration>() / (n.max(1) as u32);
    let evidence = format!(
        "{n} of {m} new connections through the proxy {}{}; before, answers took at most {}",
        sign.words,
        if n == 0 { String::new() } else { format!(" ({} on average)", show_measured(took)) },
        show_measured(before.answered()),
    );
    // Half of what is expected: the draw is per connection, and the machine is busy.
    let enough = ((m as f64 * toxicity / 2.0).ceil() as usize).max(1);
    let level = if n >= enough { ProofLevel::Effect } else { ProofLevel::Acknowledged };
    Proof { level, touched: n as u64, evidence }
}

/// What a hit connection looks like.
struct Sign {
    words: String,
    shows: Box<dyn Fn(&Look) -> bool>,
    /// The time that belongs to the words.
    time: fn(&Look) -> Duration,
}

fn sign(toxics: &[Toxic], before: &Before) -> Result<Sign, String> {
    let Some(first) = toxics.first() else { return Err("there is no toxic".to_owned()) };
    let (answered, closing, bytes) = (before.answered(), before.closing(), before.bytes());
    let ended = |l: &Look| matches!(l.end, End::Closed | End::Reset);
    let sign = |words: &str, shows: Box<dyn Fn(&Look) -> bool>| {
        Ok(Sign { words: words.to_owned(), shows, time: |l| l.answered.unwrap_or(l.took) })
    };
    match first.effect {
        ToxicEffect::Latency { .. } | ToxicEffect::Bandwidth { .. } | ToxicEffect::Slicer { .. } => {
            let late = before.late_by(toxics);
            if late < VISIBLE {
                return Err(format!("it delays a `GET /` by no more than {}, too little to see", show_measured(late)));
            }
            sign("were answered late", Box::new(move |l| l.answered.is_some_and(|t| t >= answered + late / 2)))
        }
        ToxicEffect::SlowClose { .. } if first.stream == Stream::Upstream => {
            Err("a client does not see when its upstream is told of the end".to_owned())
        }
        ToxicEffect::SlowClose { delay } => {
            let late = closing + Duration::from_millis(delay) / 2;
            let closing = move |l: &Look| l.answered.is_some_and(|t| l.took - t >= late);
            let time = |l: &Look| l.took.saturating_sub(l.answered.unwrap_or_default());
            sign("stayed open after their answer", Box::new(closing)).map(|s| Sign { time, ..s })
        }
        ToxicEffect::Timeout { timeout } => {
            let (quiet, least) = ((answered * 4).max(SILENCE), Duration::from_millis(timeout));
            let silent = move |l: &Look| matches!(l.end, End::Silent | End::Cut) && l.took >= quiet;
            let closed = move |l: &Look| timeout > 0 && ended(l) && l.took >= least;
            sign("stood and got no byte", Box::new(move |l| l.bytes == 0 && (silent(l) || closed(l))))
        }
        ToxicEffect::ResetPeer { .. } => sign("were reset", Box::new(|l| l.end == End::Reset)),
        ToxicEffect::LimitData { bytes: limit } => {
            let passing = if first.stream == Stream::Upstream { before.sent() } else { bytes };
            if limit >= passing {
                return Err(format!("a `GET /` moves only {passing} bytes, so the limit of {limit} is not reached"));
            }
            sign("were closed before a whole answer", Box::new(move |l| ended(l) && l.bytes < bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn seen(bytes: u64, answered: Option<u64>, took: u64, end: End) -> Look {
        Look { sent: 100, bytes, is_http: bytes > 0, answered: answered.map(ms), took: ms(took), end }
    }

    fn good(took: u64) -> Look {
        seen(1000, Some(took), took, End::Closed)
    }

    fn before() -> Before {
        Before(vec![good(2), good(8)])
    }

    fn down(effect: ToxicEffect) -> Toxic {
        Toxic { effect, stream: Stream::Downstream }
    }

    #[test]
    fn each_toxic_has_its_sign_and_a_common_answer_is_none() {
        let silent = seen(0, None, 1000, End::Silent);
        let reset = seen(0, None, 3, End::Reset);
        let cut_off = seen(10, Some(3), 3, End::Closed);
        let late_end = seen(1000, Some(3), 300, End::Closed);
        for (effect, shows) in [
            (ToxicEffect::Latency { latency: 100, jitter: 10 }, good(95)),
            (ToxicEffect::Bandwidth { rate: 10 }, good(100)),
            (ToxicEffect::Slicer { average_size: 100, size_variation: 10, delay: 10_000 }, good(90)),
            (ToxicEffect::Timeout { timeout: 0 }, silent.clone()),
            (ToxicEffect::Timeout { timeout: 300 }, seen(0, None, 305, End::Closed)),
            (ToxicEffect::ResetPeer { timeout: 0 }, reset),
            (ToxicEffect::SlowClose { delay: 300 }, late_end),
            (ToxicEffect::LimitData { bytes: 10 }, cut_off),
        ] {
            let toxic = [down(effect)];
            let hit = judge(&toxic, 1.0, &before(), &[shows.clone(), shows.clone()]);
            assert!(hit.proven() && hit.evidence.starts_with("2 of 2 new connections"), "{effect:?}: {hit:?}");
            let missed = judge(&toxic, 1.0, &before(), &[good(5), good(6)]);
            assert_eq!((missed.level, missed.touched), (ProofLevel::Acknowledged, 0), "{effect:?}: {missed:?}");
            let few = [shows, good(5), good(5), good(5), good(5)];
            assert!(!judge(&toxic, 1.0, &before(), &few).proven(), "one of five is noise");
            assert!(judge(&toxic, 0.3, &before(), &few).proven(), "unless only some are to be hit");
        }
        assert!(!judge(&[down(ToxicEffect::Timeout { timeout: 0 })], 1.0, &before(), &[]).proven());
    }

    #[test]
    fn what_cannot_be_seen_is_said_so() {
        let told = |effect, before: &Before| judge(&[down(effect)], 1.0, before, &[good(5)]).evidence;
        let latency = |ms| ToxicEffect::Latency { latency: ms, jitter: 0 };
        assert!(told(latency(1), &before()).contains("too little to see"));
        assert!(told(ToxicEffect::Bandwidth { rate: 10_000 }, &before()).contains("too little to see"));
        assert!(told(ToxicEffect::LimitData { bytes: 5000 }, &before()).contains("is not reached"));
        let of = |look| Before(vec![look]);
        assert!(told(latency(100), &of(seen(0, None, 1000, End::Silent))).contains("did not answer"));
        assert!(told(latency(100), &of(seen(0, None, 1, End::Unreachable))).contains("no connection"));
        let other = Look { is_http: false, ..good(3) };
        assert!(told(latency(100), &of(other)).contains("does not speak HTTP"));
        assert!(told(latency(100), &Before::default()).contains("cannot be reached"));
    }

    #[test]
    fn both_streams_add_up_and_patience_is_bounded() {
        let both = [Stream::Upstream, Stream::Downstream]
            .map(|stream| Toxic { effect: ToxicEffect::Latency { latency: 100, jitter: 0 }, stream });
        assert!(!judge(&both, 1.0, &before(), &[good(90)]).proven());
        assert!(judge(&both, 1.0, &before(), &[good(110)]).proven());
        assert_eq!(before().patience(&both), ms(1400));
        assert_eq!(before().patience(&[down(ToxicEffect::Latency { latency: 3_600_000, jitter: 0 })]), PATIENCE.1);
    }

    #[test]
    fn a_look_sees_answers_silence_and_the_stop() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let n = stream.read(&mut [0; 1000]).unwrap();
            stream.write_all(b"HTTP/1.1 404 no\r\n\r\n").unwrap();
            drop(stream);
            (n as u64, listener)
        });
        let answered = look(address, Connection::Close, ms(20_000), &StopSignal::new());
        let (sent, listener) = answer.join().unwrap();
        assert_eq!((answered.sent, answered.bytes, answered.is_http), (sent, 19, true));
        assert_eq!((answered.end, answered.answered.is_some()), (End::Closed, true));

        let silent = look(address, Connection::Close, ms(60), &StopSignal::new());
        assert_eq!((silent.end, silent.bytes), (End::Silent, 0), "connected, because the listener's queue takes it");
        assert!(silent.took >= ms(60));
        let stop = StopSignal::new();
        stop.stop();
        assert_eq!(look(address, Connection::Close, ms(60_000), &stop).end, End::Cut);
        drop(listener);
        // A port of our own that nobody listens on: the listener's may be another test's by now.
        let held =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let nobody = SocketAddr::try_from(rustix::net::getsockname(&held).unwrap()).unwrap();
        assert_eq!(look(nobody, Connection::Close, ms(60), &StopSignal::new()).end, End::Unreachable);
    }
}
