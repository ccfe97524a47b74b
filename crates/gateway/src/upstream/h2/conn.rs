//! HTTP/2 connections to one instance. Calls share the first that has room; when all are full
//! another is opened, one at a time, and whoever needs it waits for the same attempt.
//!
//! A connection is not used before the instance's settings are known: how many streams it allows,
//! and whether they may become other protocols, decides about the first call as well.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::sync::Notify;

use super::super::connect;
use super::super::error::{ConnectError, ConnectErrorKind};
use super::super::pools::Slot;
use super::super::stream::Stream;
use super::super::tls::Alpn;
use crate::cluster;
use crate::config::model::Service;

/// Streams at once on one connection, however many more the instance allows.
const MOST_STREAMS: usize = 1024;
/// What an instance may send ahead of whoever reads: per stream, and per connection, so that some
/// slow readers do not hold up the others.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes of one stream that wait to be written.
const SEND_BUFFER: usize = 128 << 10;

/// The connections of one thread to one instance.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Shelf {
    conns: RefCell<Vec<Rc<Conn>>>,
    attempt: RefCell<Option<Rc<Attempt>>>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    send: RefCell<SendRequest<Bytes>>,
    /// Calls on it.
    active: Cell<usize>,
    /// Calls that it has ever carried.
    calls: Cell<u64>,
    /// The tick at which its last call ended.
    rested: Cell<u32>,
    /// It takes no more calls.
    is_closing: Cell<bool>,
}

/// A connection that is being opened.
#[derive(Debug, Default)]
struct Attempt {
    outcome: RefCell<Option<Result<(), ConnectError>>>,
    done: Notify,
}

/// Room for one call on a connection.
#[derive(Debug)]
pub(in crate::upstream) struct Ticket {
    pub(super) conn: Rc<Conn>,
    slot: Rc<Slot>,
    is_reused: bool,
}

impl Shelf {
    /// Room on a connection that is open, if there is any.
    pub(in crate::upstream) fn take(slot: &Rc<Slot>) -> Option<Ticket> {
        let mut conns = slot.shelf.conns.borrow_mut();
        conns.retain(|conn| conn.is_open());
        let conn = conns.iter().find(|conn| conn.has_room())?;
        conn.active.set(conn.active.get() + 1);
        let is_reused = conn.calls.replace(conn.calls.get().saturating_add(1)) > 0;
        Some(Ticket { conn: Rc::clone(conn), slot: Rc::clone(slot), is_reused })
    }

    /// Waits for the connection that is being opened; opens one if there is none under way. `None`
    /// when no more are allowed.
    pub(in crate::upstream) async fn grow(
        slot: &Rc<Slot>,
        service: &Service,
    ) -> Option<Result<(), ConnectError>> {
        let under_way = slot.shelf.attempt.borrow().clone();
        let attempt = match under_way {
            Some(attempt) => attempt,
            None => {
                let counted = slot.endpoint.connection(service.circuit.connections)?;
                let attempt = Rc::new(Attempt::default());
                slot.shelf.attempt.replace(Some(Rc::clone(&attempt)));
                let work = open(Rc::clone(slot), Rc::clone(&attempt), service.connect_timeout);
                // A task of its own: who asked for it may give up, the others still wait.
                tokio::task::spawn_local(work(counted));
                attempt
            }
        };
        loop {
            let outcome = attempt.outcome.borrow().clone();
            match outcome {
                Some(outcome) => return Some(outcome),
                None => attempt.done.notified().await,
            }
        }
    }

    /// Closes what is unused for too long.
    pub(in crate::upstream) fn sweep(&self, is_kept: impl Fn(u32) -> bool) {
        self.conns
            .borrow_mut()
            .retain(|conn| conn.is_open() && (conn.active.get() > 0 || is_kept(conn.rested.get())));
    }

    /// Takes no more calls onto these connections; they close when their calls have ended.
    pub(in crate::upstream) fn clear(&self) {
        self.conns.borrow_mut().clear();
    }
}

impl Conn {
    /// What begins streams.
    pub(super) fn send(&self) -> SendRequest<Bytes> {
        self.send.borrow().clone()
    }

    pub(super) fn condemn(&self) {
        self.is_closing.set(true);
    }

    fn is_open(&self) -> bool {
        // The instance's GOAWAY, or an error, shows here.
        let mut cx = Context::from_waker(Waker::noop());
        !self.is_closing.get()
            && matches!(self.send.borrow_mut().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    fn has_room(&self) -> bool {
        self.active.get() < self.send.borrow().current_max_send_streams().min(MOST_STREAMS)
    }
}

impl Ticket {
    pub(in crate::upstream) const fn is_reused(&self) -> bool {
        self.is_reused
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let active = self.conn.active.get().saturating_sub(1);
        self.conn.active.set(active);
        if active == 0 {
            self.conn.rested.set(self.slot.tick());
        }
        self.slot.wake_one();
    }
}

/// Opens a connection, puts it on the shelf and drives it to its end.
fn open(
    slot: Rc<Slot>,
    attempt: Rc<Attempt>,
    limit: Duration,
) -> impl FnOnce(cluster::Connection) -> Pin<Box<dyn Future<Output = ()>>> {
    move |counted| {
        Box::pin(async move {
            let opened = connect::within(limit, slot.endpoint.address, shake_hands(&slot)).await;
            let (outcome, connection) = match opened {
                Ok((send, connection)) => (Ok(()), Some((send, connection))),
                Err(error) => (Err(error), None),
            };
            let driven = connection.map(|(send, connection)| {
                let conn = Rc::new(Conn {
                    send: RefCell::new(send),
                    active: Cell::new(0),
                    calls: Cell::new(0),
                    rested: Cell::new(slot.tick()),
                    is_closing: Cell::new(slot.is_retired()),
                });
                let weak = Rc::downgrade(&conn);
                slot.shelf.conns.borrow_mut().push(conn);
                (connection, weak)
            });
            slot.shelf.attempt.replace(None);
            attempt.outcome.replace(Some(outcome));
            attempt.done.notify_waiters();
            if let Some((connection, conn)) = driven {
                drop(attempt);
                drive(connection, conn, slot).await;
            }
            drop(counted);
        })
    }
}

async fn drive(connection: Connection<Stream, Bytes>, conn: Weak<Conn>, slot: Rc<Slot>) {
    if let Err(error) = connection.await {
        tracing::debug!(endpoint = %slot.endpoint.address, "an HTTP/2 connection failed: {error}");
    }
    if let Some(conn) = conn.upgrade() {
        conn.condemn();
    }
    slot.wake_one();
}

type Opened = (SendRequest<Bytes>, Connection<Stream, Bytes>);

/// Connects, exchanges prefaces, and waits for the instance's settings.
async fn shake_hands(slot: &Slot) -> Result<Opened, ConnectError> {
    let address = slot.endpoint.address;
    let fault = |error: h2::Error| {
        ConnectError::new(ConnectErrorKind::Protocol, address, format!("no HTTP/2: {error}"))
    };
    let settings = slot.tls_settings();
    let stream = connect::open(&slot.endpoint, settings.as_ref(), Alpn::H2, slot.tls()).await?;
    stream.watch();
    let head = u32::try_from(slot.limits().head()).unwrap_or(u32::MAX);
    let (send, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head)
        .max_send_buffer_size(SEND_BUFFER)
        // None before the instance has said how many: that is how its settings are noticed.
        .initial_max_send_streams(0)
        .handshake::<Stream, Bytes>(stream)
        .await
        .map_err(fault)?;
    std::future::poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(ConnectError::new(
            ConnectErrorKind::Protocol,
            address,
            "the connection was closed before HTTP/2 began",
        ))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(fault(error))),
        Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((send, connection))
}
