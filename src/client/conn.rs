//! One connection, nonblocking: connect, perhaps TLS, then one request at a time.
//!
//! The owner waits for readiness and calls [`Conn::on_ready`]; this file neither waits nor reads a clock.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use crate::client::http1::{AnswerReader, Progress};
use crate::client::tls::Tls;
use crate::outcome::ErrorClass;
use crate::target::Answer;

/// First size of a receive buffer; it grows to the largest answer and shrinks back after it.
const BUFFER: usize = 4 << 10;

/// What readiness brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing to report yet.
    Pending,
    /// The connection stands (TLS included).
    Connected,
    /// A whole answer is there: [`Conn::with_answer`], then [`Conn::recycle`].
    Answered,
    /// The connection is of no more use. With a request on it, this is its outcome.
    Failed(ErrorClass, String),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Handshaking,
    Idle,
    Busy,
    Answered { used: usize, reusable: bool },
}

/// One connection.
pub struct Conn {
    stream: TcpStream,
    tls: Option<Box<rustls::ClientConnection>>,
    state: State,
    reader: AnswerReader,
    received: Vec<u8>,
    filled: usize,
    /// Bytes of the current request that were not written yet.
    unsent: Vec<u8>,
    used_before: bool,
    max_answer: usize,
    head_only: bool,
}

impl Conn {
    /// Begins to connect.
    ///
    /// # Errors
    /// The class of the failure and the system's words.
    pub fn open(
        address: SocketAddr,
        tls: Option<&Tls>,
        max_answer: usize,
        head_only: bool,
    ) -> Result<Conn, (ErrorClass, String)> {
        let stream = begin_connect(address).map_err(|e| (connect_class(&e), e.to_string()))?;
        let session = |t: &Tls| rustls::ClientConnection::new(t.config.clone(), t.name.clone());
        let tls = tls.map(session).transpose().map_err(|e| (ErrorClass::Tls, e.to_string()))?.map(Box::new);
        Ok(Conn {
            stream,
            tls,
            state: State::Connecting,
            reader: AnswerReader::default(),
            received: Vec::new(),
            filled: 0,
            unsent: Vec::new(),
            used_before: false,
            max_answer,
            head_only,
        })
    }

    /// For the poller.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Connected, and no request on it.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Still on the way to being connected.
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting | State::Handshaking)
    }

    /// It carried a request before, and nothing of an answer to the current one has come: when it fails now, it may have been
    /// dead already when the request was put on it. Whether it was, the time since then tells; see `engine`.
    pub fn is_reused_and_silent(&self) -> bool {
        self.used_before && self.filled == 0
    }

    /// Bytes wait for the socket to take them.
    pub fn wants_write(&self) -> bool {
        !self.unsent.is_empty() || self.tls.as_ref().is_some_and(|t| t.wants_write())
    }

    /// Puts a request on an idle connection, as much of it as the socket takes; the rest follows on readiness.
    ///
    /// # Errors
    /// The outcome of the request when the connection is dead.
    pub fn send(&mut self, request: &[u8]) -> Result<(), (ErrorClass, String)> {
        debug_assert!(self.is_idle(), "one request at a time");
        self.state = State::Busy;
        self.reader.reset();
        self.unsent.clear();
        let written = match &mut self.tls {
            None => write_some(&mut self.stream, request).map(|n| self.unsent.extend_from_slice(&request[n..])),
            // TLS takes 64 KiB at a time: go on until the socket is full, or no readiness would ever come for the rest.
            Some(_) => {
                self.unsent.extend_from_slice(request);
                self.write_rest()
            }
        };
        written.map_err(|e| self.failure(&e))
    }

    /// Goes on as far as the socket allows.
    pub fn on_ready(&mut self, hung_up: bool) -> Event {
        match self.state {
            State::Connecting => self.finish_connect(hung_up),
            State::Handshaking => self.handshake(),
            State::Idle => self.look_while_idle(),
            State::Busy => self.exchange(hung_up),
            State::Answered { .. } => Event::Pending,
        }
    }

    /// Calls `f` with the answer that `Event::Answered` spoke of.
    pub fn with_answer<R>(&self, f: impl FnOnce(&Answer<'_>) -> R) -> R {
        let State::Answered { used, .. } = self.state else { panic!("no answer was announced") };
        self.reader.with_answer(&self.received[..self.filled], used, f)
    }

    /// After an answer: true when the connection can carry another request, which it then awaits.
    pub fn recycle(&mut self) -> bool {
        let State::Answered { used, reusable } = self.state else { panic!("no answer was announced") };
        // Bytes beyond the answer were not asked for: whatever they are, the next answer could not be trusted.
        let reusable = reusable && used == self.filled && self.unsent.is_empty();
        self.filled = 0;
        if self.received.len() > 16 * BUFFER {
            self.received = Vec::new();
        }
        self.used_before = true;
        self.state = State::Idle;
        reusable
    }

    fn finish_connect(&mut self, hung_up: bool) -> Event {
        match sockopt::socket_error(&self.stream) {
            Ok(Err(e)) => return Event::Failed(connect_class(&e.into()), io::Error::from(e).to_string()),
            Err(e) => return Event::Failed(ErrorClass::Client, io::Error::from(e).to_string()),
            Ok(Ok(())) => {}
        }
        if self.stream.peer_addr().is_err() {
            return if hung_up {
                Event::Failed(ErrorClass::Refused, "the connection was hung up".into())
            } else {
                Event::Pending
            };
        }
        // A dead port of this machine's ephemeral range may connect to itself (TCP simultaneous open).
        if self.stream.local_addr().ok() == self.stream.peer_addr().ok() {
            return Event::Failed(ErrorClass::Refused, "nobody listens: the connection came back to itself".into());
        }
        if self.tls.is_none() {
            self.state = State::Idle;
            return Event::Connected;
        }
        self.state = State::Handshaking;
        self.handshake()
    }

    fn handshake(&mut self) -> Event {
        let tls = self.tls.as_mut().expect("only TLS shakes hands");
        loop {
            if let Err(e) = flush_tls(tls, &mut self.stream) {
                return Event::Failed(ErrorClass::Tls, format!("handshake: {e}"));
            }
            if !tls.is_handshaking() {
                self.state = State::Idle;
                return Event::Connected;
            }
            match tls.read_tls(&mut self.stream) {
                Ok(0) => return Event::Failed(ErrorClass::Tls, "the peer closed during the handshake".into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Event::Pending,
                Err(e) => return Event::Failed(ErrorClass::Tls, format!("handshake: {e}")),
            }
            if let Err(e) = tls.process_new_packets() {
                // The alert tells the peer why; whether it arrives does not matter.
                let _ = flush_tls(tls, &mut self.stream);
                return Event::Failed(ErrorClass::Tls, e.to_string());
            }
        }
    }

    /// Bytes or a close on an idle connection: it cannot be used again. TLS may deliver session tickets.
    fn look_while_idle(&mut self) -> Event {
        loop {
            match self.receive() {
                Ok(0) => return Event::Failed(ErrorClass::IdleClosed, "closed while idle".into()),
                Ok(_) if self.filled > 0 => {
                    return Event::Failed(ErrorClass::BadAnswer, "bytes that nobody asked for".into());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Event::Pending,
                Err(e) => return Event::Failed(ErrorClass::IdleClosed, e.to_string()),
            }
        }
    }

    fn exchange(&mut self, hung_up: bool) -> Event {
        // A peer may answer and close before it has read the whole request (413): its answer counts, not our failed write.
        let unwritable = self.write_rest().err();
        if unwritable.is_some() {
            self.unsent.clear();
        }
        loop {
            let room = self.received.len();
            let got = match (self.receive(), &unwritable) {
                (Ok(n), _) => n,
                (Err(e), None) if e.kind() == io::ErrorKind::WouldBlock => return Event::Pending,
                (Err(last), first) => {
                    let (class, why) = self.failure(first.as_ref().unwrap_or(&last));
                    return Event::Failed(class, why);
                }
            };
            let progress = if got == 0 {
                self.reader.closed(&self.received[..self.filled])
            } else {
                self.reader.advance(&self.received[..self.filled], self.max_answer, self.head_only)
            };
            match progress {
                Progress::Complete { used, reusable } => {
                    self.state =
                        State::Answered { used, reusable: reusable && got > 0 && !hung_up && unwritable.is_none() };
                    return Event::Answered;
                }
                Progress::Failed(class, why) => return Event::Failed(class, why.into()),
                // A short read has drained the socket: the next byte or close makes a new event. After a hang-up none would come.
                Progress::Partial if self.tls.is_none() && self.filled < room && !hung_up && unwritable.is_none() => {
                    return Event::Pending;
                }
                Progress::Partial => {}
            }
        }
    }

    fn write_rest(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while !self.unsent.is_empty() || tls.wants_write() {
                let taken = tls.writer().write(&self.unsent)?;
                self.unsent.drain(..taken);
                flush_tls(tls, &mut self.stream)?;
                if tls.wants_write() {
                    break;
                }
            }
            return Ok(());
        }
        if !self.unsent.is_empty() {
            let n = write_some(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..n);
        }
        Ok(())
    }

    /// Reads once into the buffer; 0 means the peer closed. With TLS, a positive number may leave the buffer as it was.
    fn receive(&mut self) -> io::Result<usize> {
        if self.filled == self.received.len() {
            let grown = (self.received.len() * 2).max(BUFFER);
            self.received.resize(grown, 0);
        }
        let room = &mut self.received[self.filled..];
        let Some(tls) = &mut self.tls else {
            let n = self.stream.read(room)?;
            self.filled += n;
            return Ok(n);
        };
        loop {
            match tls.reader().read(room) {
                Ok(n) => {
                    self.filled += n;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(e) => return Err(e),
            }
            if tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    fn failure(&self, e: &io::Error) -> (ErrorClass, String) {
        let class = match e.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                ErrorClass::Reset
            }
            io::ErrorKind::TimedOut => ErrorClass::Timeout,
            io::ErrorKind::Other | io::ErrorKind::InvalidData if self.tls.is_some() => ErrorClass::Tls,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorClass::Closed,
            _ => ErrorClass::Client,
        };
        (class, e.to_string())
    }
}

fn begin_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    match connect(&fd, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(fd)),
        Err(e) => Err(e.into()),
    }
}

/// The class of a failed `socket` or `connect`.
fn connect_class(e: &io::Error) -> ErrorClass {
    match e.kind() {
        io::ErrorKind::TimedOut => ErrorClass::ConnectTimeout,
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ErrorClass::Refused
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorClass::Reset,
        // No port (EADDRNOTAVAIL), no descriptor (EMFILE), no memory: our own side.
        _ => ErrorClass::Client,
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn flush_tls(tls: &mut rustls::ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use rustls::pki_types::{PrivateKeyDer, ServerName};

    use super::*;

    /// Answers one request, whose length it knows, over TLS.
    fn serve(listener: TcpListener, config: Arc<rustls::ServerConfig>, length: usize) {
        let (mut socket, _) = listener.accept().unwrap();
        let mut session = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        stream.read_exact(&mut vec![0; length]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    }

    /// Server and client that trust each other for `localhost`.
    fn configs() -> (Arc<rustls::ServerConfig>, Tls) {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = || Arc::new(rustls::crypto::ring::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        // A ticket would be an event, and events are what the request must not need.
        server.send_tls13_tickets = 0;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Tls { config: Arc::new(client), name: ServerName::try_from("localhost").unwrap() })
    }

    #[test]
    fn a_request_larger_than_a_tls_buffer_is_sent_to_its_end_by_edges_alone() {
        let (server, tls) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let request = vec![b'x'; 200_000];
        let server = std::thread::spawn(move || serve(listener, server, 200_000));
        let mut conn = Conn::open(address, Some(&tls), 1 << 20, false).unwrap();
        let poller = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&poller, conn.fd(), EventData::new_u64(0), edges).unwrap();
        let happens = |within_ms: u64| {
            let mut events = Vec::with_capacity(1);
            let limit = crate::clock::timespec(within_ms * 1_000_000);
            epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), Some(&limit)).unwrap() > 0
        };
        loop {
            assert!(happens(10_000), "nothing happens any more");
            match conn.on_ready(false) {
                Event::Pending => {}
                Event::Connected => {
                    // The request meets a connection that has come to rest.
                    while happens(50) {
                        assert_eq!(conn.on_ready(false), Event::Pending);
                    }
                    conn.send(&request).unwrap();
                }
                Event::Answered => break,
                failed => panic!("{failed:?}"),
            }
        }
        conn.with_answer(|answer| assert_eq!((answer.status, answer.body), (200, &b"ok"[..])));
        server.join().unwrap();
    }
}
