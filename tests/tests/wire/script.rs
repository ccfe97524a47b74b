//! An instance that answers every request with the bytes that the test has put there, over
//! HTTP/1 or as frames of HTTP/2.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use posthouse_tests::eventually;
use posthouse_tests::wait::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::frames::{ACK, HEADERS, Link, PREFACE, SETTINGS, frame, setting};
use crate::recorder::find;

/// Frames of an answer, for a stream.
pub(crate) type Frames = fn(u32) -> Vec<u8>;

#[derive(Debug)]
struct Next {
    bytes: Vec<u8>,
    ends: bool,
    frames: Frames,
}

#[derive(Debug)]
struct Shared {
    next: Mutex<Next>,
    sent: AtomicUsize,
}

/// A running script; it ends with its connections when dropped.
#[derive(Debug)]
pub(crate) struct Script {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Script {
    pub(crate) async fn http1() -> Self {
        Self::start(false).await
    }

    pub(crate) async fn http2() -> Self {
        Self::start(true).await
    }

    async fn start(frames: bool) -> Self {
        let next = Next { bytes: Vec::new(), ends: false, frames: |_| Vec::new() };
        let shared = Arc::new(Shared { next: Mutex::new(next), sent: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answers = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&answers);
                if frames {
                    connections.spawn(serve_frames(stream, shared));
                } else {
                    connections.spawn(serve_bytes(stream, shared));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { shared, address, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every request gets these bytes; `ends` closes the connection behind them.
    pub(crate) fn answer_with(&self, bytes: &[u8], ends: bool) {
        let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        (next.bytes, next.ends) = (bytes.to_vec(), ends);
    }

    /// From now on every request gets these frames.
    pub(crate) fn answer_with_frames(&self, frames: Frames) {
        self.shared.next.lock().unwrap_or_else(PoisonError::into_inner).frames = frames;
    }

    /// How many answers have been sent to their ends.
    pub(crate) fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Waits until as many answers as this have been sent to their ends.
    pub(crate) async fn has_sent(&self, count: usize) {
        eventually("the answer to be sent", || async {
            let sent = self.sent();
            ensure(sent >= count, || format!("{sent} of {count}"))
        })
        .await;
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve_bytes(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut pending = Vec::new();
    loop {
        while find(&pending, b"\r\n\r\n").is_none() {
            if !matches!(stream.read_buf(&mut pending).await, Ok(1..)) {
                return;
            }
        }
        pending.clear();
        let (bytes, ends) = {
            let next = shared.next.lock().unwrap_or_else(PoisonError::into_inner);
            (next.bytes.clone(), next.ends)
        };
        let written = stream.write_all(&bytes).await;
        shared.sent.fetch_add(1, Ordering::Release);
        if ends || written.is_err() {
            return;
        }
    }
}

async fn serve_frames(stream: TcpStream, shared: Arc<Shared>) {
    let mut link = Link::over(stream);
    if link.exactly(PREFACE.len()).await.is_none() {
        return;
    }
    // Extended CONNECT is allowed (RFC 8441 §3).
    link.send(&frame(SETTINGS, 0, 0, &setting(8, 1))).await;
    while let Some(asked) = link.next().await {
        match asked.kind {
            SETTINGS if asked.flags & ACK == 0 => link.send(&frame(SETTINGS, ACK, 0, &[])).await,
            HEADERS => {
                let frames = shared.next.lock().unwrap_or_else(PoisonError::into_inner).frames;
                link.send(&frames(asked.stream)).await;
                shared.sent.fetch_add(1, Ordering::Release);
            }
            _ => {}
        }
    }
}
