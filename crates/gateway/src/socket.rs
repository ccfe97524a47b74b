//! Plain sockets with as little as can be around each system call.
//!
//! The calls are made directly: those of the C library are points at which a thread may be
//! cancelled, which costs two atomic operations each. What is read goes through one buffer per
//! thread, which stays in the processor's nearest cache, and connections keep only as much room as
//! their messages need.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

/// The most bytes that one [`poll_recv`] reads.
pub(crate) const MOST_RECEIVED: usize = 16 << 10;
/// Room that a connection's buffer is given when it has too little.
const ROOM: usize = 2 << 10;

thread_local! {
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST_RECEIVED].into());
}

/// Reads once what has come, up to [`MOST_RECEIVED`], and puts it behind what `into` holds. Returns
/// how much that was; 0 at the end.
pub(crate) fn poll_recv(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    into: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    RECEIVED.with_borrow_mut(|buffer| {
        if !has_budget_remaining() {
            ready!(socket.poll_read_ready(cx))?;
        }
        loop {
            let mut received = 0;
            let tried = socket.try_io(Interest::READABLE, || {
                (_, received) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
                // The kernel has no more: saying so now spares the call that would find it out.
                let is_drained = (1..buffer.len()).contains(&received);
                if is_drained { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match tried {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                Err(_) if received == 0 => {
                    ready!(socket.poll_read_ready(cx))?;
                    continue;
                }
                Err(_) => {}
                // There may be more at once: whoever goes on reading without a wait is held to the
                // budget of its task, so that others get their turn.
                Ok(()) => {
                    let _spent = socket.poll_read_ready(cx);
                }
            }
            if into.capacity() - into.len() < received {
                into.reserve(received.max(ROOM));
            }
            into.extend_from_slice(&buffer[..received]);
            return Poll::Ready(Ok(received));
        }
    })
}

/// Writes once. The kernel nearly always has room, so that is asked only when it had none.
pub(crate) fn poll_send(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        // A process of Rust ignores the signal for a connection that is gone.
        let sent = socket.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(socket, bytes, SendFlags::empty())?)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(socket.poll_write_ready(cx))?;
            }
            sent => return Poll::Ready(sent),
        }
    }
}

/// Whether an unused connection is open and has said nothing, as far as the runtime knows: while
/// nothing has happened on it, no system call is made.
pub(crate) fn is_quiet(socket: &TcpStream) -> bool {
    let looked = socket.try_read(&mut [0]);
    matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
