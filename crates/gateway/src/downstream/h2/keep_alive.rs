//! Whether a client is still there. Whatever is read from it proves that; after a silence it is asked
//! by a `PING` (RFC 9113 §6.7), or told to go when it has nothing under way.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::timer::Timer;

/// How long a client may leave a `PING` unanswered.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a look at a client has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// It has said something since the last look.
    Heard,
    /// It has said nothing.
    Silent,
    /// It has not answered in time.
    Lost,
}

/// Looks at a client once a period. One that falls silent is noticed after one to two periods, which
/// saves a look at the clock at each read.
pub(super) struct KeepAlive {
    period: Duration,
    next_look: Instant,
    timer: Timer,
    pings: Option<PingPong>,
    heard: Rc<Cell<bool>>,
    /// An answer to a `PING` is due.
    is_asked: bool,
}

impl KeepAlive {
    /// `heard` is set by whoever reads from the client.
    pub(super) fn new(period: Duration, pings: Option<PingPong>, heard: Rc<Cell<bool>>) -> Self {
        let next_look = Instant::now() + period;
        Self { period, next_look, timer: Timer::default(), pings, heard, is_asked: false }
    }

    /// Ready once a period, or when the client has not answered.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Liveness> {
        if self.is_asked
            && let Some(pings) = &mut self.pings
            && pings.poll_pong(cx).is_ready()
        {
            self.watch();
        }
        ready!(self.timer.poll_until(cx, Some(self.next_look)));
        if self.is_asked {
            return Poll::Ready(Liveness::Lost);
        }
        self.watch();
        let heard = self.heard.replace(false);
        Poll::Ready(if heard { Liveness::Heard } else { Liveness::Silent })
    }

    /// Asks the client whether it is there.
    pub(super) fn ask(&mut self) {
        if let Some(pings) = &mut self.pings
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.is_asked = true;
            self.next_look = Instant::now() + PING_TIMEOUT;
        }
    }

    fn watch(&mut self) {
        self.is_asked = false;
        self.next_look = Instant::now() + self.period;
    }
}

/// A connection that notes that something was read from it.
pub(super) struct Heard<T> {
    io: T,
    heard: Rc<Cell<bool>>,
}

impl<T> Heard<T> {
    pub(super) const fn new(io: T, heard: Rc<Cell<bool>>) -> Self {
        Self { io, heard }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.heard.set(true);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use h2::server::{self, Connection};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    type Served = (Connection<Heard<DuplexStream>, Bytes>, KeepAlive);

    async fn serve(io: DuplexStream) -> Served {
        let heard = Rc::new(Cell::new(false));
        let heard_io = Heard::new(io, Rc::clone(&heard));
        let mut connection = server::handshake(heard_io).await.expect("a preface");
        let pings = connection.ping_pong();
        (connection, KeepAlive::new(PERIOD, pings, heard))
    }

    /// What the next look shows, while the connection is read.
    async fn look((connection, keep_alive): &mut Served) -> Liveness {
        poll_fn(|cx| {
            assert!(connection.poll_accept(cx).is_pending(), "nobody calls");
            keep_alive.poll(cx)
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_answer_is_lost() {
        let (mut client, io) = duplex(1 << 16);
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
        client.write_all(&preface).await.expect("room");
        let mut served = serve(io).await;
        let begun = Instant::now();
        assert_eq!(look(&mut served).await, Liveness::Heard, "it has said its preface");
        assert_eq!(look(&mut served).await, Liveness::Silent);
        served.1.ask();
        assert_eq!(look(&mut served).await, Liveness::Lost);
        assert!(begun.elapsed() >= 2 * PERIOD + PING_TIMEOUT);
        let mut read = Vec::new();
        client.read_buf(&mut read).await.expect("what was sent");
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        assert!(read.windows(9).any(|header| header == ping), "it was asked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_stays() {
        let (client, io) = duplex(1 << 16);
        let answering = async {
            let (_send, connection) = h2::client::handshake(client).await.expect("a preface");
            connection.await
        };
        let watching = async {
            let mut served = serve(io).await;
            assert_eq!(look(&mut served).await, Liveness::Heard);
            for _ in 0..3 {
                assert_eq!(look(&mut served).await, Liveness::Silent);
                served.1.ask();
                assert_eq!(look(&mut served).await, Liveness::Heard, "its answer");
            }
        };
        tokio::select! {
            ended = answering => panic!("the client has ended: {ended:?}"),
            () = watching => {}
        }
    }
}
