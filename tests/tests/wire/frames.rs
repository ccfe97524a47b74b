//! HTTP/2 by hand: frames as bytes, with every field literal and nothing checked, and a reader
//! that understands as much as the tests need.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::recorder::find;

/// What a client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// Fields of a header block.
pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

/// A frame with a true length.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload for a frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// One setting.
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A header block of literal fields without indexing, names included (RFC 7541 §6.2.2).
pub(crate) fn block(fields: Fields<'_>) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes())).collect()
}

/// One literal field.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        length_of(text.len(), &mut bytes);
        bytes.extend(text);
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length_of(mut length: usize, bytes: &mut Vec<u8>) {
    let small = |length: usize| u8::try_from(length).expect("it is below 128");
    if length < 127 {
        return bytes.push(small(length));
    }
    bytes.push(127);
    length -= 127;
    while length >= 128 {
        bytes.push(small(length % 128) | 128);
        length /= 128;
    }
    bytes.push(small(length));
}

/// A whole header block in one frame.
pub(crate) fn headers(flags: u8, stream: u32, fields: Fields<'_>) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

pub(crate) fn data(flags: u8, stream: u32, payload: &str) -> Vec<u8> {
    frame(DATA, flags, stream, payload.as_bytes())
}

/// What was read of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub(crate) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    /// The status of a response's HEADERS. Only the first on a connection is sure to be
    /// understood: those after it may point into the dynamic table.
    pub(crate) fn status(&self) -> Option<u16> {
        let mut bytes = (self.kind == HEADERS).then_some(&self.payload[..])?;
        // Changes of the dynamic table's size (RFC 7541 §6.3).
        while let [0x20..=0x3f, rest @ ..] = bytes {
            bytes = rest;
        }
        match bytes {
            // In the static table (RFC 7541, appendix A).
            [index @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500].get(usize::from(index - 0x88)).copied()
            }
            // The name from the static table, the value with Huffman or without.
            [0x08 | 0x18 | 0x48, length, value @ ..] => {
                let value = value.get(..usize::from(length & 0x7f))?;
                (100..1000).find(|status| match length & 0x80 {
                    0 => status.to_string().as_bytes() == value,
                    _ => huffman(*status) == value,
                })
            }
            _ => None,
        }
    }
}

/// Three digits in the code of RFC 7541, appendix B.
fn huffman(status: u16) -> Vec<u8> {
    let (mut bits, mut count) = (0_u32, 0);
    for digit in status.to_string().bytes().map(|byte| u32::from(byte - b'0')) {
        let (code, length) = if digit < 3 { (digit, 5) } else { (0x16 + digit, 6) };
        bits = (bits << length) | code;
        count += length;
    }
    let padding = (8 - count % 8) % 8;
    bits = (bits << padding) | ((1 << padding) - 1);
    let whole = usize::try_from((count + padding) / 8).expect("a few bytes");
    bits.to_be_bytes()[4 - whole..].to_vec()
}

/// One end of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Link {
    reader: Reader,
    writer: OwnedWriteHalf,
}

#[derive(Debug)]
pub(crate) struct Reader {
    stream: OwnedReadHalf,
    rest: Vec<u8>,
}

impl Link {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        Self::over(stream)
    }

    /// Opens a connection and says the preface with an empty SETTINGS.
    pub(crate) async fn begin(address: SocketAddr) -> Self {
        let mut link = Self::open(address).await;
        link.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        link
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP stream");
        let (stream, writer) = stream.into_split();
        Self { reader: Reader { stream, rest: Vec::new() }, writer }
    }

    /// Sends all of it, unless the other side has closed.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _closed_already = self.writer.write_all(bytes).await;
    }

    /// Reads exactly this much, or `None` at the end.
    pub(crate) async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        self.reader.exactly(count).await
    }

    /// The next frame, or `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.reader.next().await
    }

    /// The next frame of this kind on this stream, skipping all others.
    pub(crate) async fn until(&mut self, kind: u8, stream: u32) -> Frame {
        let search = async {
            while let Some(frame) = self.reader.next().await {
                if frame.kind == kind && frame.stream == stream {
                    return frame;
                }
                let ends = [RST_STREAM, GOAWAY].contains(&frame.kind);
                assert!(!ends, "waited for kind {kind} on {stream}, got {frame:?}");
            }
            panic!("waited for kind {kind} on stream {stream}, got the end");
        };
        let limit = posthouse_tests::wait::PATIENCE;
        tokio::time::timeout(limit, search).await.expect("a frame within the usual patience")
    }

    /// Sends `bytes` while it looks, frame by frame, for what `judge` takes for an outcome; `None`
    /// stands for the end of the connection.
    pub(crate) async fn exchange<T>(
        &mut self,
        bytes: &[u8],
        mut judge: impl FnMut(Option<&Frame>) -> Option<T>,
    ) -> T {
        let Self { reader, writer } = self;
        let reading = async {
            loop {
                let frame = reader.next().await;
                if let Some(outcome) = judge(frame.as_ref()) {
                    return outcome;
                }
                assert!(frame.is_some(), "the end of the connection is judged");
            }
        };
        let writing = async {
            let _closed_already = writer.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = reading => outcome,
            () = writing => unreachable!("it goes on for ever"),
        }
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Frame> {
        while self.rest.len() < 9 {
            self.more().await?;
        }
        let length = u32::from_be_bytes([0, self.rest[0], self.rest[1], self.rest[2]]);
        let length = usize::try_from(length).expect("three bytes");
        let (kind, flags) = (self.rest[3], self.rest[4]);
        let stream = u32::from_be_bytes(self.rest[5..9].try_into().expect("four bytes"));
        let bytes = self.exactly(9 + length).await?;
        Some(Frame { kind, flags, stream, payload: bytes[9..].to_vec() })
    }

    async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.rest.len() < count {
            self.more().await?;
        }
        let after = self.rest.split_off(count);
        Some(std::mem::replace(&mut self.rest, after))
    }

    async fn more(&mut self) -> Option<()> {
        matches!(self.stream.read_buf(&mut self.rest).await, Ok(1..)).then_some(())
    }
}

/// Whether a frame carries this text.
pub(crate) fn carries(frame: &Frame, text: &str) -> bool {
    find(&frame.payload, text.as_bytes()).is_some()
}

#[test]
fn statuses_are_read_in_each_spelling() {
    let frame =
        |payload: &[u8]| Frame { kind: HEADERS, flags: 0, stream: 1, payload: payload.to_vec() };
    assert_eq!(frame(&[0x8c]).status(), Some(400));
    assert_eq!(frame(&[0x3f, 0x88]).status(), Some(200));
    assert_eq!(frame(&[0x48, 3, b'4', b'3', b'1']).status(), Some(431));
    // RFC 7541, C.6.1: 302 with Huffman.
    assert_eq!(frame(&[0x48, 0x82, 0x64, 0x02]).status(), Some(302));
}
