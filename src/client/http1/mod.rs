//! HTTP/1.1: one request at a time on a connection.
//!
//! Owns the order of things on it: connect, send, read, rest. The owner waits for readiness and calls
//! `on_ready`; this file neither waits nor reads a clock.

mod answer;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

pub use answer::{AnswerReader, HEAD_MAX, Progress};

use crate::client::conn::Event;
use crate::client::tls::Tls;
use crate::client::transport::{Standing, Transport};
use crate::client::{Failure, Limits};
use crate::outcome::ErrorClass;
use crate::target::Answer;

/// First size of a receive buffer; it grows to the largest answer and shrinks back after it.
const BUFFER: usize = 4 << 10;

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Not connected yet; a request may be loaded already.
    Connecting {
        loaded: bool,
    },
    /// Connected just now, with a request that waited for it.
    Connected,
    Idle,
    Busy,
    Answered {
        used: usize,
        reusable: bool,
    },
}

/// One connection.
pub(super) struct Http1 {
    transport: Transport,
    state: State,
    reader: AnswerReader,
    received: Vec<u8>,
    filled: usize,
    used_before: bool,
    limits: Limits,
}

impl Http1 {
    pub(super) fn open(
        address: SocketAddr,
        source: Option<IpAddr>,
        tls: Option<&Tls>,
        limits: Limits,
    ) -> Result<Http1, Failure> {
        Ok(Http1 {
            transport: Transport::open(address, source, tls)?,
            state: State::Connecting { loaded: false },
            reader: AnswerReader::default(),
            received: Vec::new(),
            filled: 0,
            used_before: false,
            limits,
        })
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.transport.fd()
    }

    /// No request is on it.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.state, State::Idle | State::Connecting { loaded: false })
    }

    /// It carried a request before, and nothing of an answer to the current one has come: when it fails now, it may have been
    /// dead already when the request was put on it. Whether it was, the time since then tells; see `engine`.
    pub(super) fn is_reused_and_silent(&self) -> bool {
        self.used_before && self.filled == 0
    }

    /// Puts a request on a free connection, as much of it as the socket takes; the rest follows on readiness.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        debug_assert!(self.is_free(), "one request at a time");
        self.state = if self.transport.is_ready() { State::Busy } else { State::Connecting { loaded: true } };
        self.reader.reset();
        self.transport.send(request).map_err(|e| self.transport.failure(&e))
    }

    /// Goes on as far as the socket allows.
    pub(super) fn on_ready(&mut self, hung_up: bool) -> Option<Event> {
        match self.state {
            State::Connecting { loaded } => match self.transport.stand(hung_up) {
                Ok(Standing::Waiting) => None,
                Ok(Standing::Handshaking) => Some(Event::Handshaking),
                Ok(Standing::Ready) => {
                    self.state = if loaded { State::Connected } else { State::Idle };
                    Some(Event::Connected)
                }
                Err((class, why)) => Some(Event::Failed(class, why)),
            },
            State::Connected => {
                self.state = State::Busy;
                self.exchange(hung_up)
            }
            State::Idle => self.look_while_idle(),
            State::Busy => self.exchange(hung_up),
            State::Answered { .. } => None,
        }
    }

    /// What else happened: a request that waited for the connection goes out.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        if self.state == State::Connected { self.on_ready(false) } else { None }
    }

    /// Calls `f` with the answer that `Event::Answered` spoke of.
    pub(super) fn with_answer<R>(&self, f: impl FnOnce(&Answer<'_>) -> R) -> R {
        let State::Answered { used, .. } = self.state else { panic!("no answer was announced") };
        self.reader.with_answer(&self.received[..self.filled], used, f)
    }

    /// The body of the current answer as far as it has come, without its chunks' lines.
    pub(super) fn body_so_far(&self) -> &[u8] {
        self.reader.body_so_far(&self.received[..self.filled])
    }

    /// After an answer: true when the connection can carry another request, which it then awaits.
    pub(super) fn release(&mut self) -> bool {
        let State::Answered { used, reusable } = self.state else { panic!("no answer was announced") };
        // Bytes beyond the answer were not asked for: whatever they are, the next answer could not be trusted.
        let reusable = reusable && used == self.filled && self.transport.is_flushed();
        self.filled = 0;
        if self.received.len() > 16 * BUFFER {
            self.received = Vec::new();
        }
        self.used_before = true;
        self.state = State::Idle;
        reusable
    }

    /// Bytes or a close on an idle connection: it cannot be used again. TLS may deliver session tickets.
    fn look_while_idle(&mut self) -> Option<Event> {
        match self.receive() {
            Ok(0) => Some(Event::Failed(ErrorClass::IdleClosed, "closed while idle".into())),
            Ok(_) => Some(Event::Failed(ErrorClass::BadAnswer, "bytes that nobody asked for".into())),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(e) => Some(Event::Failed(ErrorClass::IdleClosed, e.to_string())),
        }
    }

    fn exchange(&mut self, hung_up: bool) -> Option<Event> {
        // A peer may answer and close before it has read the whole request (413): its answer counts, not our failed write.
        let unwritable = self.transport.flush().err();
        if unwritable.is_some() {
            self.transport.forget_unsent();
        }
        loop {
            let room = self.received.len();
            let got = match (self.receive(), &unwritable) {
                (Ok(n), _) => n,
                (Err(e), None) if e.kind() == io::ErrorKind::WouldBlock => return None,
                (Err(last), first) => {
                    let (class, why) = self.transport.failure(first.as_ref().unwrap_or(&last));
                    return Some(Event::Failed(class, why));
                }
            };
            let progress = if got == 0 {
                self.reader.closed(&self.received[..self.filled])
            } else {
                self.reader.advance(&self.received[..self.filled], self.limits.max_answer, self.limits.head_only)
            };
            match progress {
                Progress::Complete { used, reusable } => {
                    self.state =
                        State::Answered { used, reusable: reusable && got > 0 && !hung_up && unwritable.is_none() };
                    return Some(Event::Answered(0));
                }
                Progress::Failed(class, why) => return Some(Event::Failed(class, why.into())),
                // A short read has drained the socket: the next byte or close makes a new event. After a hang-up none would come.
                Progress::Partial
                    if !self.transport.is_tls() && self.filled < room && !hung_up && unwritable.is_none() =>
                {
                    return None;
                }
                Progress::Partial => {}
            }
        }
    }

    /// Reads once into the buffer; 0 means the peer closed.
    fn receive(&mut self) -> io::Result<usize> {
        if self.filled == self.received.len() {
            let grown = (self.received.len() * 2).max(BUFFER);
            self.received.resize(grown, 0);
        }
        let n = self.transport.receive(&mut self.received[self.filled..])?;
        self.filled += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
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
        let mut conn =
            Http1::open(address, None, Some(&tls), Limits { max_answer: 1 << 20, head_only: false }).unwrap();
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
                None | Some(Event::Handshaking) => {}
                Some(Event::Connected) => {
                    // The request meets a connection that has come to rest.
                    while happens(50) {
                        assert_eq!(conn.on_ready(false), None);
                    }
                    conn.send(&request).unwrap();
                }
                Some(Event::Answered(_)) => break,
                failed => panic!("{failed:?}"),
            }
        }
        conn.with_answer(|answer| assert_eq!((answer.status, answer.body), (200, &b"ok"[..])));
        server.join().unwrap();
    }
}
