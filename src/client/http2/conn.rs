//! A session on a socket: octets from one to the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{Event as Happened, Requests, Session};
use crate::client::conn::Event;
use crate::client::tls::Tls;
use crate::client::transport::{Standing, Transport};
use crate::client::{Failure, Limits};
use crate::outcome::ErrorClass;
use crate::target::Answer;

/// Octets read at a time: the largest frame that a peer may send us, and then some.
const BUFFER: usize = 32 << 10;
/// Octets handed to the socket at a time, so that what it does not take is not copied often.
const PIECE: usize = 64 << 10;

/// One connection.
pub(in crate::client) struct Http2 {
    transport: Transport,
    session: Session,
    received: Vec<u8>,
    /// It was told that the connection stands.
    stands: bool,
}

impl Http2 {
    pub(in crate::client) fn open(
        address: SocketAddr,
        source: Option<IpAddr>,
        tls: Option<&Tls>,
        limits: Limits,
        requests: Arc<Requests>,
        streams: usize,
    ) -> Result<Http2, Failure> {
        Ok(Http2 {
            transport: Transport::open(address, source, tls)?,
            session: Session::new(requests, limits.max_answer, streams),
            received: Vec::new(),
            stands: false,
        })
    }

    pub(in crate::client) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(in crate::client) fn fd(&self) -> BorrowedFd<'_> {
        self.transport.fd()
    }

    pub(in crate::client) fn room(&self) -> usize {
        self.session.room()
    }

    /// Octets wait for [`Http2::flush`].
    pub(in crate::client) fn wants_flush(&self) -> bool {
        self.transport.is_ready() && !self.session.outgoing().is_empty()
    }

    /// Queues a request; it leaves with the next [`Http2::flush`], together with others.
    pub(in crate::client) fn send(&mut self, row: usize) -> u32 {
        self.session.begin(row)
    }

    /// Moves what is queued into the socket, as much of it as it takes.
    pub(in crate::client) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.pump();
        flushed.map_err(|e| self.transport.failure(&e))
    }

    fn pump(&mut self) -> io::Result<()> {
        self.transport.flush()?;
        while self.transport.is_flushed() && !self.session.outgoing().is_empty() {
            let octets = self.session.outgoing();
            let piece = octets.len().min(PIECE);
            self.transport.send(&octets[..piece])?;
            self.session.sent(piece);
        }
        Ok(())
    }

    /// Goes on as far as the socket allows.
    pub(in crate::client) fn on_ready(&mut self, hung_up: bool) -> Option<Event> {
        if !self.stands {
            match self.transport.stand(hung_up) {
                Ok(Standing::Waiting) => return None,
                Ok(Standing::Handshaking) => return Some(Event::Handshaking),
                Ok(Standing::Ready) => {}
                Err((class, why)) => return Some(Event::Failed(class, why)),
            }
            if self.transport.is_tls() && self.transport.protocol() != Some(b"h2") {
                let why = "the peer does not offer HTTP/2 over TLS (ALPN h2): remove http2 = true".to_owned();
                return Some(Event::Failed(ErrorClass::Tls, why));
            }
            self.stands = true;
            self.exchange(hung_up);
            return Some(Event::Connected);
        }
        self.exchange(hung_up);
        self.next_event()
    }

    fn exchange(&mut self, hung_up: bool) {
        if self.received.is_empty() {
            self.received = vec![0; BUFFER];
        }
        // What a peer said before it went away counts, also when it does not listen any more.
        let unwritable = self.pump().err();
        let dead = loop {
            match self.transport.receive(&mut self.received) {
                Ok(0) => {
                    self.session.closed();
                    break None;
                }
                Ok(n) => {
                    self.session.receive(&self.received[..n]);
                    // A short read has drained the socket: the next octet or close makes a new event. After a hang-up none would.
                    if n < self.received.len() && !self.transport.is_tls() && !hung_up && unwritable.is_none() {
                        break None;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break unwritable,
                Err(e) => break Some(unwritable.unwrap_or(e)),
            }
        };
        if let Some(e) = dead.or_else(|| self.pump().err()) {
            let (class, why) = self.transport.failure(&e);
            self.session.abandon(class, why.into());
        }
    }

    /// What else happened.
    pub(in crate::client) fn next_event(&mut self) -> Option<Event> {
        Some(match self.session.next_event()? {
            Happened::Answered(slot) => Event::Answered(slot),
            Happened::StreamFailed(slot, class, why) => {
                self.session.release(slot);
                Event::Dropped(slot, class, why.into_owned())
            }
            Happened::Failed(class, why) => Event::Failed(class, why.into_owned()),
        })
    }

    pub(in crate::client) fn with_answer<R>(&self, slot: u32, f: impl FnOnce(&Answer<'_>) -> R) -> R {
        self.session.with_answer(slot, f)
    }

    pub(in crate::client) fn body_so_far(&self, slot: u32) -> &[u8] {
        self.session.body_so_far(slot)
    }

    /// Lets go of an answered request. False when the peer is leaving, or has.
    pub(in crate::client) fn release(&mut self, slot: u32) -> bool {
        self.session.release(slot);
        !self.session.is_leaving()
    }

    /// Gives up on a request that has waited long enough; the peer is told.
    pub(in crate::client) fn cancel(&mut self, slot: u32) {
        self.session.release(slot);
    }
}
