//! What both floors share: the request, when one is due, how an answer ends, and the numbers at the end.

use rustix::thread::set_current_timer_slack;
use rustix::time::{ClockId, clock_gettime};

const BODY: &str = r#"{"dataframe_split":{"columns":["amount","country"],"data":[[14.05,4900]]}}"#;
/// Latencies are counted by the microsecond up to here; longer ones share the last place.
const LATENCY_MAX_US: usize = 1_000_000;
/// Sends in a row before answers are looked at; of epoll, events taken per wait.
pub(crate) const BATCH: usize = 256;
/// Room for an answer.
pub(crate) const ANSWER_MAX: usize = 2048;

/// What the command line asked for.
pub(crate) struct Asked {
    pub(crate) address: String,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) length_ns: u64,
    /// Requests/s; none: a closed loop.
    pub(crate) rate: Option<f64>,
}

/// `closed|open ADDRESS:PORT PATH CONNECTIONS SECONDS [RATE]`, or nothing: `cargo bench` runs every bench without arguments.
pub(crate) fn asked() -> Option<Asked> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (address, path, connections, seconds, rate) = match words[..] {
        ["closed", address, path, connections, seconds] => (address, path, connections, seconds, None),
        ["open", address, path, connections, seconds, rate] => (address, path, connections, seconds, Some(rate)),
        _ => {
            eprintln!("usage: closed|open ADDRESS:PORT PATH CONNECTIONS SECONDS [RATE]");
            return None;
        }
    };
    // The kernel may delay a thread's timers by its slack, 50 µs by default.
    let _ = set_current_timer_slack(std::num::NonZero::new(1));
    Some(Asked {
        address: address.to_owned(),
        path: path.to_owned(),
        connections: number(connections) as usize,
        length_ns: (number(seconds) * 1e9) as u64,
        rate: rate.map(number),
    })
}

fn number(word: &str) -> f64 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Asked {
    pub(crate) fn request(&self) -> Vec<u8> {
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
            self.path,
            self.address,
            BODY.len()
        )
        .into_bytes()
    }

    /// Requests of an open loop at this rate.
    pub(crate) fn planned(&self, rate: f64) -> u64 {
        (self.length_ns as f64 * rate / 1e9) as u64
    }
}

/// How many answers took how long.
pub(crate) struct Latencies {
    by_us: Vec<u32>,
    pub(crate) answers: u64,
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        Latencies { by_us: vec![0; LATENCY_MAX_US + 1], answers: 0 }
    }

    /// An answer that is whole now; of a closed loop, due is when it was sent.
    pub(crate) fn count(&mut self, due: u64) {
        self.answers += 1;
        self.by_us[((now() - due) as usize / 1000).min(LATENCY_MAX_US)] += 1;
    }

    /// Time from due within which this share of the answers came.
    fn quantile_us(&self, share: f64) -> usize {
        let wanted = (self.answers as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = self.by_us.iter().position(|&count| {
            seen += u64::from(count);
            seen >= wanted
        });
        reached.unwrap_or(LATENCY_MAX_US)
    }

    /// Planned and taken nanoseconds, as JSON together with the rest.
    pub(crate) fn print(&self, planned: u64, took: u64) {
        println!(
            "{{\"requests\": {}, \"planned\": {planned}, \"rps\": {:.1}, \"p50_us\": {}, \"p99_us\": {}}}",
            self.answers,
            self.answers as f64 * 1e9 / took as f64,
            self.quantile_us(0.5),
            self.quantile_us(0.99)
        );
    }
}

/// The answer is whole, once its head and as many bytes after it as that says are there. Only a good one will do.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    assert!(bytes.starts_with(b"HTTP/1.1 200"), "an answer other than 200");
    // nginx writes it so; a client for other servers would have to look closer.
    const NAME: &[u8] = b"\r\nContent-Length: ";
    let at = bytes[..end].windows(NAME.len()).position(|window| window == NAME).expect("nginx's content-length");
    let digits = bytes[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    end + 4 + digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')) == bytes.len()
}
