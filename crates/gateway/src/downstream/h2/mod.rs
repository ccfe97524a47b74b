//! A client's HTTP/2 connection: framing and flow control are the `h2` library's, what a call may
//! contain is held to the same rules as over HTTP/1.
//!
//! In reading order: this file (the connection: its calls are accepted, its end is seen),
//! [`stations`] (where calls are served), [`call`] (one call), [`head`] (what it may be),
//! [`relay`] (its response's body), [`keep_alive`] (whether the client is still there).
//!
//! The connection reads and writes in a task of its own, each call in another. Tasks of a thread
//! run in the order in which they were woken: all calls that one read has brought are handled
//! before the connection to an instance writes, and all their answers before this one does, so
//! that many calls cost one write.

mod call;
mod head;
mod keep_alive;
mod relay;
mod stations;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::server::{Builder, Connection};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use self::keep_alive::{Heard, KeepAlive, Liveness};
use self::stations::{Job, Stations};
use super::Session;
use super::closing::Closing;
use super::io::{Io, Rewound};

/// Bytes of a response's body that are held for a client that reads slowly.
const SEND_BUFFER: usize = 256 << 10;
/// Window of a stream, and of the whole connection, for request bodies.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that a client may reset before they were accepted, that are remembered after we reset
/// them, and that we reset because of what they were; with more the connection ends
/// (CVE-2023-44487 and its kin).
const RESET_BEFORE_ACCEPTED: usize = 20;
const RESET_REMEMBERED: usize = 50;
const RESET_BY_US: usize = 1024;

/// Serves a connection to its end.
pub(crate) async fn serve(session: Session, early: BytesMut, io: Io) {
    let peer = session.peer;
    if let Err(error) = serve_on(session, Rewound::new(early.freeze(), io)).await {
        tracing::debug!(%peer, "an HTTP/2 connection ended: {error}");
    }
}

async fn serve_on<T>(session: Session, io: T) -> Result<(), ::h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let snapshot = session.worker.shared.snapshot.load_full();
    let engine = &snapshot.engine;
    let heard = Rc::new(Cell::new(false));
    let builder = builder(engine.max_streams, engine.limits.head);
    let handshake = builder.handshake::<_, Bytes>(Heard::new(io, Rc::clone(&heard)));
    let Ok(begun) = tokio::time::timeout(engine.header_timeout, handshake).await else {
        return Ok(());
    };
    let mut connection = begun?;
    let keep_alive = KeepAlive::new(engine.keep_alive, connection.ping_pong(), heard);
    drop(snapshot);
    let closing = Some(Closing::of(session.door.closing.clone()));
    let mut front = Front {
        connection,
        keep_alive,
        stations: Stations::default(),
        session: Rc::new(session),
        closing,
    };
    poll_fn(|cx| front.poll(cx)).await
}

fn builder(max_streams: u32, head: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(max_streams)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESET_BEFORE_ACCEPTED)
        .max_concurrent_reset_streams(RESET_REMEMBERED)
        .reset_stream_duration(Duration::from_secs(1))
        .max_local_error_reset_streams(Some(RESET_BY_US))
        .enable_connect_protocol();
    builder
}

/// A connection that is served.
struct Front<T> {
    connection: Connection<Heard<T>, Bytes>,
    keep_alive: KeepAlive,
    stations: Stations,
    session: Rc<Session>,
    /// `None` once the client was told to begin nothing more.
    closing: Option<Closing>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Front<T> {
    /// Reads, accepts calls and writes; ready at the connection's end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ::h2::Error>> {
        if self.closing.as_mut().is_some_and(|closing| closing.poll(cx).is_ready()) {
            self.close();
        }
        while let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
            let Some(accepted) = accepted else { return Poll::Ready(Ok(())) };
            let (request, respond) = accepted?;
            self.stations.serve(Job { session: Rc::clone(&self.session), request, respond });
        }
        loop {
            match std::task::ready!(self.keep_alive.poll(cx)) {
                Liveness::Lost => return Poll::Ready(Ok(())),
                Liveness::Silent if self.connection.has_streams() => self.keep_alive.ask(),
                Liveness::Silent if self.closing.is_none() => return Poll::Ready(Ok(())),
                // Nobody needs it. What the client may just have sent is served, or refused so
                // that it knows: then the connection ends by itself.
                Liveness::Silent => self.close(),
                Liveness::Heard => self.stations.shrink(),
            }
        }
    }

    /// Tells the client to begin nothing more (RFC 9113 §6.8).
    fn close(&mut self) {
        self.closing = None;
        self.connection.graceful_shutdown();
    }
}
