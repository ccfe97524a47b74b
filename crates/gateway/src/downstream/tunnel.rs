//! Bytes both ways, after a connection stopped being HTTP (RFC 9110 §7.8) or never was.

use std::future::{Future as _, poll_fn};
use std::hash::BuildHasher as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Session;
use crate::proxy::Relay;
use crate::timer::Timer;

/// Bytes that one direction may hold.
const BUFFER: usize = 16 << 10;

/// What a tunnel carried, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// From the client.
    pub(crate) received: u64,
    /// To the client.
    pub(crate) sent: u64,
}

/// Carries bytes between a client and the instance that agreed to change protocols, and then closes
/// the call's ledger.
pub(crate) async fn carry<C>(session: &Session, client: C, mut relay: Box<Relay>)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let Some(upstream) = relay.take_tunnel() else { return };
    let carried = copy(session, client, upstream, relay.idle_timeout()).await;
    relay.note_carried(carried.received, carried.sent);
    relay.finish(None);
}

/// Carries bytes both ways until both sides have ended, one of them breaks, or nothing moved for
/// `idle`.
pub(crate) async fn copy<C, U>(
    session: &Session,
    mut client: C,
    mut upstream: U,
    idle: Duration,
) -> Carried
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let aborting = session.worker.shared.aborting.cancelled();
    tokio::pin!(aborting);
    let mut up = Direction::default();
    let mut down = Direction::default();
    let mut timer = Timer::default();
    let mut since = Instant::now();
    poll_fn(|cx| {
        if aborting.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let before = up.moved + down.moved;
        let up_done = up.poll(cx, &mut client, &mut upstream);
        let down_done = down.poll(cx, &mut upstream, &mut client);
        match (up_done, down_done) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
            _ => {}
        }
        if up.moved + down.moved > before {
            since = Instant::now();
        }
        timer.poll_until(cx, Some(since + idle))
    })
    .await;
    Carried { received: up.moved, sent: down.moved }
}

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    buffer: Vec<u8>,
    written: usize,
    moved: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The reader has ended: what is left is written, and the writer told.
    Ending,
    Ended,
}

impl Direction {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.written < self.buffer.len() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.written..]))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += n;
                self.moved += n as u64;
            }
            match self.state {
                State::Open => {}
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            self.buffer.resize(BUFFER, 0);
            let mut read = ReadBuf::new(&mut self.buffer);
            let polled = Pin::new(&mut *from).poll_read(cx, &mut read);
            let filled = read.filled().len();
            self.written = 0;
            self.buffer.truncate(filled);
            match polled {
                Poll::Ready(Ok(())) if filled == 0 => self.state = State::Ending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }
}

/// A hash of a client's address, the same on every node and after every restart.
pub(crate) fn hash_address(address: IpAddr) -> u64 {
    foldhash::quality::FixedState::default().hash_one(address)
}
