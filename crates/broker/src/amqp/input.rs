//! What a connection has received. An idle one holds no memory: reads go into a piece that the
//! connections of a thread share, from which each takes what it got; only a frame that came in part
//! has a buffer of its own, of its own size.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::wire::{Fault, Frame, PROTOCOL_HEADER, Splitter};

/// What a thread's connections read into.
const PIECE: usize = 64 << 10;
/// With less room than this a new piece is begun.
const ROOM: usize = 8 << 10;

thread_local! {
    static SHARED: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct Input {
    received: BytesMut,
    splitter: Splitter,
}

impl Input {
    /// Nothing yet; `frame_max` as long as nothing else is agreed.
    pub(super) fn new(frame_max: u32) -> Self {
        Self { received: BytesMut::new(), splitter: Splitter::new(frame_max) }
    }

    /// Goes by another size of frames from here on.
    pub(super) const fn agree(&mut self, frame_max: u32) {
        self.splitter = Splitter::new(frame_max);
    }

    /// Reads what there is. Returns how much it was; 0 at the end. May be dropped at any time.
    pub(super) async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.received.is_empty() {
            self.received = BytesMut::new();
            return poll_fn(|context| {
                SHARED.with_borrow_mut(|shared| {
                    if shared.capacity() < ROOM {
                        *shared = BytesMut::with_capacity(PIECE);
                    }
                    let read = pin!(io.read_buf(shared)).poll(context);
                    self.received = shared.split();
                    read
                })
            })
            .await;
        }
        let whole = self.splitter.wanted(&self.received).ok().flatten().unwrap_or(0);
        let missing = whole.saturating_sub(self.received.len());
        self.received.reserve(missing.max(ROOM));
        io.read_buf(&mut self.received).await
    }

    /// The next frame that is there whole.
    ///
    /// # Errors
    /// When what came is none.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Fault> {
        self.splitter.next(&mut self.received)
    }

    /// Passes over what was received.
    pub(super) fn forget(&mut self) {
        self.received = BytesMut::new();
    }

    /// The protocol header, once it is there: whether it is the right one.
    pub(super) fn protocol_header(&mut self) -> Option<bool> {
        let came = &self.received[..self.received.len().min(PROTOCOL_HEADER.len())];
        if came != &PROTOCOL_HEADER[..came.len()] {
            return Some(false);
        }
        if came.len() < PROTOCOL_HEADER.len() {
            return None;
        }
        let _the_header = self.received.split_to(PROTOCOL_HEADER.len());
        Some(true)
    }
}
