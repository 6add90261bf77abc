//! The seam between the engine and the wire: one connection, whatever it speaks.
//!
//! The owner waits for readiness, calls [`Conn::on_ready`], then [`Conn::next_event`] until there is none. Requests
//! on a connection are told apart by their slot, a small number: always 0 in HTTP/1.1, which carries one at a time.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use crate::client::http1::Http1;
use crate::client::http2::Http2;
use crate::client::{Endpoint, Failure, Limits, Requests};
use crate::outcome::ErrorClass;
use crate::target::Answer;

/// What readiness brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// TCP stands, the TLS handshake begins.
    Handshaking,
    /// The connection stands (TLS included).
    Connected,
    /// A whole answer is there: [`Conn::with_answer`], then [`Conn::release`].
    Answered(u32),
    /// This request has failed; the connection goes on.
    Dropped(u32, ErrorClass, String),
    /// The connection is of no more use. For the requests on it, this is their outcome.
    Failed(ErrorClass, String),
}

/// One connection.
pub struct Conn {
    wire: Wire,
}

enum Wire {
    Http1(Http1),
    Http2(Box<Http2>),
}

impl Conn {
    /// Begins to connect, from this address of our own when one is given.
    ///
    /// # Errors
    /// The class of the failure and the system's words.
    pub fn open(
        endpoint: &Endpoint,
        requests: &Requests,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<Conn, Failure> {
        let limits = Limits { max_answer: endpoint.max_answer, head_only: endpoint.head_only };
        let tls = endpoint.tls.as_ref();
        let wire = match requests {
            Requests::Http1(_) => Wire::Http1(Http1::open(address, source, tls, limits)?),
            Requests::Http2(all) => {
                let streams = endpoint.streams;
                Wire::Http2(Box::new(Http2::open(address, source, tls, limits, all.clone(), streams)?))
            }
        };
        Ok(Conn { wire })
    }

    /// For the poller.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.wire {
            Wire::Http1(c) => c.fd(),
            Wire::Http2(c) => c.fd(),
        }
    }

    /// How many more requests can be put on it now; a connection that does not stand yet keeps them until it does.
    pub fn room(&self) -> usize {
        match &self.wire {
            Wire::Http1(c) => usize::from(c.is_free()),
            Wire::Http2(c) => c.room(),
        }
    }

    /// Still on the way to being connected.
    pub fn is_connecting(&self) -> bool {
        match &self.wire {
            Wire::Http1(c) => !c.transport().is_ready(),
            Wire::Http2(c) => !c.transport().is_ready(),
        }
    }

    /// It carried a request before, and nothing of an answer to the current one has come: when it fails now, it may have been
    /// dead already when the request was put on it. Whether it was, the time since then tells; see `engine`.
    pub fn is_reused_and_silent(&self) -> bool {
        match &self.wire {
            Wire::Http1(c) => c.is_reused_and_silent(),
            // A peer that lets an HTTP/2 connection go says which requests it never looked at.
            Wire::Http2(_) => false,
        }
    }

    /// The TLS handshake took up an earlier session.
    pub fn is_resumed(&self) -> bool {
        match &self.wire {
            Wire::Http1(c) => c.transport().is_resumed(),
            Wire::Http2(c) => c.transport().is_resumed(),
        }
    }

    /// Bytes wait for the socket to take them.
    pub fn wants_write(&self) -> bool {
        match &self.wire {
            Wire::Http1(c) => c.transport().wants_write(),
            Wire::Http2(c) => c.transport().wants_write(),
        }
    }

    /// Puts a request on a connection with room; says its slot. Over HTTP/2 it waits for [`Conn::flush`], so that
    /// requests that are due together leave together.
    ///
    /// # Errors
    /// The outcome of the request when the connection is dead.
    ///
    /// # Panics
    /// When these are not the requests that the connection was opened for.
    pub fn send(&mut self, requests: &Requests, row: usize) -> Result<u32, Failure> {
        match (&mut self.wire, requests) {
            (Wire::Http1(c), Requests::Http1(rows)) => c.send(rows.get(row)).map(|()| 0),
            (Wire::Http2(c), Requests::Http2(_)) => Ok(c.send(row)),
            _ => panic!("a connection carries the requests that it was opened for"),
        }
    }

    /// Something waits for [`Conn::flush`].
    pub fn wants_flush(&self) -> bool {
        match &self.wire {
            Wire::Http1(_) => false,
            Wire::Http2(c) => c.wants_flush(),
        }
    }

    /// Sends what [`Conn::send`] has left waiting.
    ///
    /// # Errors
    /// Why the connection is dead.
    pub fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.wire {
            Wire::Http1(_) => Ok(()),
            Wire::Http2(c) => c.flush(),
        }
    }

    /// Goes on as far as the socket allows.
    pub fn on_ready(&mut self, hung_up: bool) -> Option<Event> {
        match &mut self.wire {
            Wire::Http1(c) => c.on_ready(hung_up),
            Wire::Http2(c) => c.on_ready(hung_up),
        }
    }

    /// What else that readiness brought.
    pub fn next_event(&mut self) -> Option<Event> {
        match &mut self.wire {
            Wire::Http1(c) => c.next_event(),
            Wire::Http2(c) => c.next_event(),
        }
    }

    /// Calls `f` with the answer that [`Event::Answered`] spoke of.
    pub fn with_answer<R>(&self, slot: u32, f: impl FnOnce(&Answer<'_>) -> R) -> R {
        match &self.wire {
            Wire::Http1(c) => c.with_answer(f),
            Wire::Http2(c) => c.with_answer(slot, f),
        }
    }

    /// The body of an answer as far as it has come, transfer coding removed. It only grows until the answer is whole.
    pub fn body_so_far(&self, slot: u32) -> &[u8] {
        match &self.wire {
            Wire::Http1(c) => c.body_so_far(),
            Wire::Http2(c) => c.body_so_far(slot),
        }
    }

    /// The answer was looked at. False when the connection can carry no further request.
    pub fn release(&mut self, slot: u32) -> bool {
        match &mut self.wire {
            Wire::Http1(c) => c.release(),
            Wire::Http2(c) => c.release(slot),
        }
    }

    /// Gives up on a request. False when that costs the connection.
    pub fn cancel(&mut self, slot: u32) -> bool {
        match &mut self.wire {
            Wire::Http1(_) => false,
            Wire::Http2(c) => {
                c.cancel(slot);
                true
            }
        }
    }
}
