//! The bytes' way: a nonblocking TCP socket, perhaps TLS on it. Knows nothing of HTTP, waits for nothing, reads no clock.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt};

use crate::client::Failure;
use crate::client::tls::Tls;
use crate::outcome::ErrorClass;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Handshaking,
    Ready,
}

/// How far connecting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Standing {
    /// Not there yet.
    Waiting,
    /// TCP stands; the TLS handshake has begun just now.
    Handshaking,
    /// It can carry requests.
    Ready,
}

/// One connection's socket and, with TLS, its session.
pub(in crate::client) struct Transport {
    stream: TcpStream,
    tls: Option<Box<rustls::ClientConnection>>,
    state: State,
    /// What was handed over and is not in the socket (or in the TLS session) yet.
    unsent: Vec<u8>,
}

impl Transport {
    /// Begins to connect, from this address of our own when one is given.
    ///
    /// # Errors
    /// The class of the failure and the system's words.
    pub(in crate::client) fn open(
        address: SocketAddr,
        source: Option<IpAddr>,
        tls: Option<&Tls>,
    ) -> Result<Transport, Failure> {
        let stream = begin_connect(address, source).map_err(|e| (connect_class(&e), e.to_string()))?;
        let session = |t: &Tls| rustls::ClientConnection::new(t.config.clone(), t.name.clone());
        let tls = tls.map(session).transpose().map_err(|e| (ErrorClass::Tls, e.to_string()))?.map(Box::new);
        Ok(Transport { stream, tls, state: State::Connecting, unsent: Vec::new() })
    }

    /// For the poller.
    pub(in crate::client) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(in crate::client) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    pub(in crate::client) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The TLS handshake took up an earlier session.
    pub(in crate::client) fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|t| t.handshake_kind());
        kind == Some(rustls::HandshakeKind::Resumed)
    }

    /// What the peer chose by ALPN, after the handshake.
    pub(in crate::client) fn protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.alpn_protocol()
    }

    /// Bytes wait for the socket to take them.
    pub(in crate::client) fn wants_write(&self) -> bool {
        !self.unsent.is_empty() || self.tls.as_ref().is_some_and(|t| t.wants_write())
    }

    /// Everything handed over is in the socket or the TLS session.
    pub(in crate::client) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Gives up on what was not written.
    pub(in crate::client) fn forget_unsent(&mut self) {
        self.unsent.clear();
    }

    /// Goes on with connecting, as far as the socket allows.
    ///
    /// # Errors
    /// Why there will be no connection.
    pub(in crate::client) fn stand(&mut self, hung_up: bool) -> Result<Standing, Failure> {
        match self.state {
            State::Ready => Ok(Standing::Ready),
            State::Handshaking => self.handshake(),
            State::Connecting => {
                if !self.is_connected(hung_up)? {
                    return Ok(Standing::Waiting);
                }
                if self.tls.is_none() {
                    self.state = State::Ready;
                    return Ok(Standing::Ready);
                }
                self.state = State::Handshaking;
                // The peer has not spoken yet: after the first flight there is nothing to read but by chance.
                self.handshake().map(|s| if s == Standing::Waiting { Standing::Handshaking } else { s })
            }
        }
    }

    fn is_connected(&self, hung_up: bool) -> Result<bool, Failure> {
        match sockopt::socket_error(&self.stream) {
            Ok(Err(e)) => return Err((connect_class(&e.into()), io::Error::from(e).to_string())),
            Err(e) => return Err((ErrorClass::Client, io::Error::from(e).to_string())),
            Ok(Ok(())) => {}
        }
        if self.stream.peer_addr().is_err() {
            let failure = || (ErrorClass::Refused, "the connection was hung up".to_owned());
            return if hung_up { Err(failure()) } else { Ok(false) };
        }
        // A dead port of this machine's ephemeral range may connect to itself (TCP simultaneous open).
        if self.stream.local_addr().ok() == self.stream.peer_addr().ok() {
            return Err((ErrorClass::Refused, "nobody listens: the connection came back to itself".into()));
        }
        Ok(true)
    }

    fn handshake(&mut self) -> Result<Standing, Failure> {
        let tls = self.tls.as_mut().expect("only TLS shakes hands");
        let failed = |e: io::Error| (ErrorClass::Tls, format!("handshake: {e}"));
        loop {
            flush_tls(tls, &mut self.stream).map_err(failed)?;
            if !tls.is_handshaking() {
                self.state = State::Ready;
                return Ok(Standing::Ready);
            }
            match tls.read_tls(&mut self.stream) {
                Ok(0) => return Err((ErrorClass::Tls, "the peer closed during the handshake".into())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Standing::Waiting),
                Err(e) => return Err(failed(e)),
            }
            if let Err(e) = tls.process_new_packets() {
                // The alert tells the peer why; whether it arrives does not matter.
                let _ = flush_tls(tls, &mut self.stream);
                return Err((ErrorClass::Tls, e.to_string()));
            }
        }
    }

    /// Takes bytes to send: into the socket what fits, the rest is kept and follows by [`Transport::flush`]. Before the
    /// connection stands, everything is kept.
    ///
    /// # Errors
    /// When the connection is dead.
    pub(in crate::client) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_ready() || self.tls.is_some() || !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return if self.is_ready() { self.flush() } else { Ok(()) };
        }
        let n = write_some(&mut self.stream, bytes)?;
        self.unsent.extend_from_slice(&bytes[n..]);
        Ok(())
    }

    /// Sends on what was kept, as much of it as the socket takes.
    ///
    /// # Errors
    /// When the connection is dead.
    pub(in crate::client) fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            if !self.unsent.is_empty() {
                let n = write_some(&mut self.stream, &self.unsent)?;
                self.unsent.drain(..n);
            }
            return Ok(());
        };
        // TLS takes 64 KiB at a time: go on until the socket is full, or no readiness would ever come for the rest.
        while !self.unsent.is_empty() || tls.wants_write() {
            let taken = tls.writer().write(&self.unsent)?;
            self.unsent.drain(..taken);
            flush_tls(tls, &mut self.stream)?;
            if tls.wants_write() {
                break;
            }
        }
        Ok(())
    }

    /// Reads once; 0 means the peer closed.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, else why the connection is dead.
    pub(in crate::client) fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(room) };
        loop {
            match tls.reader().read(room) {
                Ok(n) => return Ok(n),
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

    /// The outcome of a request whose connection died with this error.
    pub(in crate::client) fn failure(&self, e: &io::Error) -> Failure {
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

fn begin_connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    if let Some(source) = source {
        bind(&fd, &SocketAddr::new(source, 0))?;
    }
    match connect(&fd, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(fd)),
        Err(e) => Err(e.into()),
    }
}

/// The class of a failed `socket`, `bind` or `connect`.
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
