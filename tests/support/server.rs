//! Servers that misbehave on purpose, on loopback, one thread per connection (or one for all where there are thousands).

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resbench::clock::{monotonic_nanos, sleep};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// A good answer of the mlflow protocol.
pub const GOOD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 19\r\n\r\n{\"predictions\":[0]}";

/// What a handler wants done with the connection.
#[derive(PartialEq)]
pub enum Then {
    KeepOpen,
    Close,
    /// RST instead of FIN.
    Reset,
    /// The port is closed too: new connections are refused.
    CloseAll,
}

/// A server whose handler gets each whole request with its number, from 0, over all connections.
pub struct Server {
    pub address: SocketAddr,
    /// Whole requests that came.
    pub seen: Arc<AtomicUsize>,
    /// Connections that came.
    pub connections: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

/// Anything that bytes go through: plain or TLS.
pub trait Pipe: Read + Write {}
impl<T: Read + Write> Pipe for T {}

impl Server {
    pub fn start(handle: impl Fn(&mut dyn Pipe, usize) -> Then + Send + Sync + 'static) -> Server {
        Server::start_over(|stream| Some(Box::new(stream)), handle)
    }

    /// As `start`; the handler gets the body of the request, too.
    pub fn start_reading(handle: impl Fn(&mut dyn Pipe, usize, &[u8]) -> Then + Send + Sync + 'static) -> Server {
        Server::listen(|stream| Some(Box::new(stream)), handle)
    }

    /// `wrap` makes what is spoken through out of the raw connection.
    pub fn start_over(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Pipe>> + Send + Sync + 'static,
        handle: impl Fn(&mut dyn Pipe, usize) -> Then + Send + Sync + 'static,
    ) -> Server {
        Server::listen(wrap, move |pipe, n, _| handle(pipe, n))
    }

    fn listen(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Pipe>> + Send + Sync + 'static,
        handle: impl Fn(&mut dyn Pipe, usize, &[u8]) -> Then + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // The standard library's backlog of 128 would drop a burst of connections, and nobody asked for that.
        rustix::net::listen(&listener, 4096).expect("a longer backlog");
        let address = listener.local_addr().expect("an address");
        let server = Server { address, seen: Arc::default(), connections: Arc::default(), over: Arc::default() };
        let (seen, connections, over) = (server.seen.clone(), server.connections.clone(), server.over.clone());
        let (handle, wrap) = (Arc::new(handle), Arc::new(wrap));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let (seen, over, handle, wrap) = (seen.clone(), over.clone(), handle.clone(), wrap.clone());
                std::thread::spawn(move || {
                    let raw = stream.try_clone().expect("a second handle");
                    let Some(mut pipe) = wrap(stream) else { return };
                    let mut kept = Vec::new();
                    while !over.load(Ordering::Acquire)
                        && let Some(body) = read_request(&mut *pipe, &mut kept)
                    {
                        match handle(&mut *pipe, seen.fetch_add(1, Ordering::Relaxed), &body) {
                            Then::KeepOpen => {}
                            Then::Close => break,
                            Then::Reset => {
                                let linger = Some(Duration::ZERO);
                                rustix::net::sockopt::set_socket_linger(&raw, linger).expect("SO_LINGER");
                                return;
                            }
                            Then::CloseAll => {
                                over.store(true, Ordering::Release);
                                let _ = raw.shutdown(Shutdown::Both);
                                // Wakes the listener, which then closes.
                                let _ = TcpStream::connect(address);
                                return;
                            }
                        }
                    }
                    let _ = raw.shutdown(Shutdown::Both);
                });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/invocations", self.address)
    }

    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }
}

/// Reads one whole request and gives its body; none at the end of the connection.
fn read_request(from: &mut dyn Pipe, kept: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut buffer = [0; 8192];
    loop {
        if let Some(len) = whole_request(kept) {
            let request: Vec<u8> = kept.drain(..len).collect();
            let head = request.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
            return Some(request[head..].to_vec());
        }
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => kept.extend_from_slice(&buffer[..n]),
        }
    }
}

/// The length of the request that these bytes begin with, once it is whole.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

/// Answers every request at once, except while a file is there: then it accepts, reads, and holds all answers back until
/// the file is gone. One thread for any number of connections.
pub struct Freezer {
    pub address: SocketAddr,
    /// When each whole request had come, in nanoseconds of the monotonic clock.
    pub came: Arc<Mutex<Vec<u64>>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Freezer {
    pub fn start(while_there: PathBuf) -> Freezer {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit is allowed");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // As above: a freeze must not look like dropped connections.
        rustix::net::listen(&listener, 4096).expect("a longer backlog");
        listener.set_nonblocking(true).expect("nonblocking");
        let (address, over) = (listener.local_addr().expect("an address"), Arc::new(AtomicBool::new(false)));
        let (stop, came) = (over.clone(), Arc::default());
        let work = Loop::new(listener, while_there, Arc::clone(&came));
        let thread = Some(std::thread::spawn(move || work.turn(&stop)));
        Freezer { address, came, over, thread }
    }

    pub fn url(&self) -> String {
        format!("http://{}/invocations", self.address)
    }
}

struct Loop {
    poller: rustix::fd::OwnedFd,
    listener: TcpListener,
    lines: Vec<Option<(TcpStream, Vec<u8>)>>,
    held: VecDeque<usize>,
    file: PathBuf,
    came: Arc<Mutex<Vec<u64>>>,
}

const LISTENER: u64 = u64::MAX;

impl Loop {
    fn new(listener: TcpListener, file: PathBuf, came: Arc<Mutex<Vec<u64>>>) -> Loop {
        let poller = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
        epoll::add(&poller, &listener, EventData::new_u64(LISTENER), EventFlags::IN).expect("epoll");
        Loop { poller, listener, lines: Vec::new(), held: VecDeque::new(), file, came }
    }

    fn turn(mut self, stop: &AtomicBool) {
        let mut events = Vec::with_capacity(256);
        while !stop.load(Ordering::Acquire) {
            events.clear();
            let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            let _ = epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut events), Some(&wait));
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    line => self.read(line as usize),
                }
            }
            if !self.held.is_empty() && !self.file.exists() {
                while let Some(line) = self.held.pop_front() {
                    self.answer(line);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).expect("nonblocking");
            stream.set_nodelay(true).expect("nodelay");
            let line = self.lines.iter().position(Option::is_none).unwrap_or(self.lines.len());
            let data = EventData::new_u64(line as u64);
            epoll::add(&self.poller, stream.as_fd(), data, EventFlags::IN).expect("epoll");
            let entry = Some((stream, Vec::new()));
            if line == self.lines.len() { self.lines.push(entry) } else { self.lines[line] = entry }
        }
    }

    fn read(&mut self, line: usize) {
        let Some((stream, bytes)) = &mut self.lines[line] else { return };
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
            _ => return self.lines[line] = None,
        }
        if let Some(len) = whole_request(bytes) {
            bytes.drain(..len);
            self.came.lock().expect("only this thread and the test's").push(monotonic_nanos());
            if self.file.exists() { self.held.push_back(line) } else { self.answer(line) }
        }
    }

    fn answer(&mut self, line: usize) {
        if let Some((stream, _)) = &mut self.lines[line] {
            let _ = stream.write_all(GOOD);
        }
    }
}

/// Writes slowly, for ever or until the peer has enough.
pub fn drip(pipe: &mut dyn Pipe, bytes: &[u8], gap: Duration) {
    for byte in bytes {
        if pipe.write_all(&[*byte]).is_err() {
            return;
        }
        sleep(gap);
    }
}
