//! Bytes on a socket, for what no proper client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer, or the end of the connection, may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The most that is read of one answer.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// A plain TCP connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// Read, but not yet asked for.
    rest: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side closed it in the orderly way.
    Closed,
    /// The other side reset it.
    Reset,
}

impl Raw {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await;
        let stream = stream.unwrap_or_else(|error| panic!("nobody listens on {address}: {error}"));
        stream.set_nodelay(true).expect("a TCP stream");
        Self { stream, rest: Vec::new() }
    }

    /// A connection that a scripted backend accepted.
    #[must_use]
    pub fn accepted(stream: TcpStream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Sends all of it. A connection that the other side has closed meanwhile is no error: the
    /// answer tells.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed_already = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Ends the sending direction.
    pub async fn finish(&mut self) {
        let _closed_already = self.stream.shutdown().await;
    }

    /// Reads up to and with `end`; what follows it is kept for the next read. Panics when the
    /// connection ends before.
    pub async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.rest.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let after = self.rest.split_off(at + end.len());
                return std::mem::replace(&mut self.rest, after);
            }
            if let Some(end) = self.read_more().await {
                let read = String::from_utf8_lossy(&self.rest);
                panic!("the connection was {end:?} after {read:?}");
            }
        }
    }

    /// Reads exactly `count` bytes.
    pub async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        while self.rest.len() < count {
            if let Some(end) = self.read_more().await {
                panic!("the connection was {end:?} after {} of {count} bytes", self.rest.len());
            }
        }
        let after = self.rest.split_off(count);
        std::mem::replace(&mut self.rest, after)
    }

    /// Reads the head of a message, with the empty line.
    pub async fn read_head(&mut self) -> String {
        String::from_utf8_lossy(&self.read_until(b"\r\n\r\n").await).into_owned()
    }

    /// Reads a response with a Content-Length (or none, which counts as empty): its head and body.
    pub async fn read_response(&mut self) -> (String, Vec<u8>) {
        let head = self.read_head().await;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
        });
        let length = length.unwrap_or(Ok(0)).expect("a length in decimal digits");
        let body = self.read_exact(length).await;
        (head, body)
    }

    /// Reads until the other side ends the connection: everything read, and how it ended.
    pub async fn read_to_end(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.read_more().await {
                return (std::mem::take(&mut self.rest), end);
            }
            assert!(self.rest.len() <= ANSWER_LIMIT, "the answer does not end");
        }
    }

    /// Whether the other side keeps the connection open and silent for `time`. For proving an
    /// absence only.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        let mut byte = [0];
        self.rest.is_empty()
            && tokio::time::timeout(time, self.stream.peek(&mut byte)).await.is_err()
    }

    async fn read_more(&mut self) -> Option<End> {
        let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.rest)).await;
        match read {
            Ok(Ok(0)) => Some(End::Closed),
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some(End::Reset),
            Err(_deadline) => {
                let read = String::from_utf8_lossy(&self.rest);
                panic!("nothing came for {DEADLINE:?} after {read:?}")
            }
        }
    }
}

/// Sends `bytes` over a new connection and reads until the other side closes it.
pub async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> (Vec<u8>, End) {
    let mut raw = Raw::open(address).await;
    raw.send(bytes).await;
    raw.read_to_end().await
}

/// The status code of a response's first line; `None` when there is no such line.
#[must_use]
pub fn status_of(response: &[u8]) -> Option<u16> {
    let line = response.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.trim().parse().ok()
}
