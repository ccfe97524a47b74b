//! An instance that notes every byte it receives, and answers a request only when all of it has
//! come. The body of its answer is the request's target, so that an answer can be told from
//! another's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What has arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// All bytes, of all connections, as they came.
    pub(crate) bytes: Vec<u8>,
    /// The requests that were whole.
    pub(crate) whole: Vec<Vec<u8>>,
}

impl Received {
    /// The requests that were whole, for messages.
    pub(crate) fn text(&self) -> String {
        format!("{:?}", String::from_utf8_lossy(&self.bytes))
    }
}

/// A running recorder; it ends with its connections when dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let received = Arc::<Mutex<Received>>::default();
        let notes = Arc::clone(&received);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&notes)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, received, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far.
    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has arrived since the last time.
    pub(crate) fn take(&self) -> Received {
        std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, notes: Arc<Mutex<Received>>) {
    let mut pending = Vec::new();
    let mut some = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut some).await {
        pending.extend_from_slice(&some[..count]);
        let mut answers = Vec::new();
        {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.bytes.extend_from_slice(&some[..count]);
            while let Some(length) = whole_request(&pending) {
                let after = pending.split_off(length);
                let request = std::mem::replace(&mut pending, after);
                answers.extend(answer(&request));
                notes.whole.push(request);
            }
        }
        if stream.write_all(&answers).await.is_err() {
            break;
        }
    }
}

fn answer(request: &[u8]) -> Vec<u8> {
    let line = String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next().unwrap_or(&[]))
        .into_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", target.len());
    let body = if method == "HEAD" { "" } else { target };
    format!("{head}{body}").into_bytes()
}

/// The length of the whole request that these bytes begin with. A broken one never is.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.strip_prefix(':')).map(str::trim)
    };
    if field("transfer-encoding").is_some() {
        return Some(head + whole_chunks(&bytes[head..])?);
    }
    let length = field("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let whole = head.checked_add(length)?;
    (bytes.len() >= whole).then_some(whole)
}

/// The length of a whole chunked body, its trailers included.
pub(crate) fn whole_chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at += line + 2;
        if size == 0 {
            break;
        }
        at = at.checked_add(size)?;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        at += line + 2;
        if line == 0 {
            return Some(at);
        }
    }
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
