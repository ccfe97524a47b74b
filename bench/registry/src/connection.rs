//! One HTTP/1.1 connection with as little around it as can be: ten thousand of them wait in one
//! process, and their answers come at once.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Larger answers than this are none of the registry's.
const MAX_ANSWER: usize = 16 << 20;

/// An answer with ten instances is to come with one read.
const AT_ONCE: usize = 32 << 10;

thread_local! {
    /// What all connections read into: a thousand answers at once are not to cost a thousand pieces of
    /// memory.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; AT_ONCE].into());
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    read: Vec<u8>,
}

/// An answer; the body stays in the connection until the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `X-Consul-Index`.
    pub(crate) index: u64,
    pub(crate) bytes: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: address.to_string(), read: Vec::new() })
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn put(&mut self, path: &str, body: &str) -> anyhow::Result<Answer> {
        let answer = self.ask("PUT", path, body).await?;
        let text = String::from_utf8_lossy(&self.read);
        ensure!(answer.status == 200, "{path}: {}: {text}", answer.status);
        Ok(answer)
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        self.send(method, path, body).await?;
        self.receive().await
    }

    /// Sends a request without waiting for its answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> anyhow::Result<()> {
        let (host, length) = (&self.host, body.len());
        // As Go's client asks, and with it Consul's own.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// Receives one answer. Its body is left in `read`.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<Answer> {
        self.read.clear();
        let head = loop {
            if let Some(end) = memchr::memmem::find(&self.read, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.read[..head])?;
        let status = text.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status.with_context(|| format!("no status in {text:?}"))?;
        let (mut length, mut index) = (None, 0);
        for line in text.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>()?);
            } else if name.eq_ignore_ascii_case("x-consul-index") {
                index = value.trim().parse()?;
            }
        }
        let Some(length) = length.filter(|length| *length <= MAX_ANSWER) else {
            bail!("no sound length in {text:?}");
        };
        while self.read.len() < head + length {
            self.more().await?;
        }
        ensure!(self.read.len() == head + length, "something follows the answer");
        self.read.drain(..head);
        let answer = Answer { status, index, bytes: length };
        // A waiting connection needs no buffer.
        if self.read.capacity() > 16 << 10 {
            self.read.shrink_to(0);
        }
        Ok(answer)
    }

    /// Room is made only once there is something to read: ten thousand wait.
    async fn more(&mut self) -> anyhow::Result<()> {
        loop {
            self.stream.readable().await?;
            let read = ROOM.with_borrow_mut(|room| {
                let read = self.stream.try_read(room)?;
                self.read.extend_from_slice(&room[..read]);
                Ok::<usize, std::io::Error>(read)
            });
            match read {
                Ok(read) => {
                    ensure!(read > 0, "the connection was closed");
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
