//! Bodies as they are read: by length, in chunks (RFC 9112 §7.1), or until the connection closes.
//!
//! Data is handed out as slices of the read buffer. Chunk lines are read more strictly than the
//! grammar asks: no white space around a size, no sign, at most 16 digits, CR LF to the letter.
//! Extensions are held to their grammar, without obsolete text, and dropped (§7.1.1 tells a
//! recipient to ignore unknown ones; all are unknown here).

use bytes::{Buf as _, Bytes, BytesMut};

use super::refusal::{check_line_ends, explain};
use super::section::{Keep, read_lines};
use super::{Framing, Limits, Refusal};
use crate::http::chars;
use crate::http::head::Fields;
use crate::http::known::Known;

/// The longest extensions of one chunk, in bytes.
const LONGEST_EXTENSION: usize = 256;
/// The digits of the largest size.
const LONGEST_SIZE: usize = 16;
/// Bytes of framing beyond what the data excuses, before a body is refused as mostly padding.
const MOST_PADDING: usize = 16 << 10;
/// Trailer fields that are looked at, whatever the limit for header fields.
const MOST_TRAILERS: usize = 64;

/// Reads the body of one message.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    limits: Limits,
    /// Framing bytes not yet outweighed by data.
    padding: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    End,
    Refused(Refusal),
}

/// What came off the front of the buffer.
#[derive(Debug)]
pub enum Decoded {
    /// Some of the body; never empty.
    Data(Bytes),
    /// The trailer section, when any of it may be forwarded. [`Decoded::End`] follows.
    Trailers(Box<Fields>),
    /// Nothing until more bytes are read.
    NeedMore,
    /// The body has ended; what is left in the buffer is the next message's.
    End,
}

impl BodyDecoder {
    /// A decoder for one body, with the default limits on trailers.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self::with_limits(framing, Limits::default())
    }

    /// A decoder whose trailer section is held to the limits of a head.
    #[must_use]
    pub fn with_limits(framing: Framing, limits: Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, limits, padding: 0 }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Takes the next part of the body off the front of `buf`.
    ///
    /// # Errors
    /// When the framing is malformed; the connection must not be read further. The same refusal is
    /// returned from then on. Its status is a request's; a response whose head has been forwarded
    /// can only be cut short.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, Refusal> {
        self.step(buf).inspect_err(|refusal| self.state = State::Refused(*refusal))
    }

    /// Whether the body may end because the connection was closed.
    ///
    /// # Errors
    /// When more was promised than came (RFC 9112 §8): the message must not pass for a whole one.
    pub const fn on_eof(&self) -> Result<(), Refusal> {
        match self.state {
            State::End | State::UntilClose => Ok(()),
            State::Refused(refusal) => Err(refusal),
            _ => Err(Refusal::bad("truncated-body")),
        }
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Decoded, Refusal> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Refused(refusal) => return Err(refusal),
                State::UntilClose if buf.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose => return Ok(Decoded::Data(buf.split().freeze())),
                State::Length(left) => {
                    return Ok(take(buf, left).map_or(Decoded::NeedMore, |(data, left)| {
                        self.state = if left == 0 { State::End } else { State::Length(left) };
                        Decoded::Data(data)
                    }));
                }
                State::ChunkData(left) => {
                    return Ok(take(buf, left).map_or(Decoded::NeedMore, |(data, left)| {
                        self.padding = self.padding.saturating_sub(2 * data.len());
                        self.state =
                            if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                        Decoded::Data(data)
                    }));
                }
                State::ChunkLine => match read_chunk_line(buf)? {
                    None => return Ok(Decoded::NeedMore),
                    Some((size, len)) => {
                        buf.advance(len);
                        self.excuse(len)?;
                        self.state =
                            if size == 0 { State::Trailers } else { State::ChunkData(size) };
                    }
                },
                State::ChunkEnd => match skip_line_end(buf)? {
                    LineEnd::NeedMore => return Ok(Decoded::NeedMore),
                    LineEnd::Skipped => self.state = State::ChunkLine,
                    LineEnd::Absent => return Err(Refusal::bad("chunk-end")),
                },
                State::Trailers => match skip_line_end(buf)? {
                    LineEnd::NeedMore => return Ok(Decoded::NeedMore),
                    LineEnd::Skipped => self.state = State::End,
                    LineEnd::Absent => return self.read_trailers(buf),
                },
            }
        }
    }

    /// Counts the framing around a chunk against the data. A sender of tiny chunks is excused, one
    /// that makes a gateway read extensions without end is not.
    fn excuse(&mut self, line: usize) -> Result<(), Refusal> {
        const USUAL: usize = 16;
        self.padding = (self.padding + line).saturating_sub(USUAL);
        if self.padding > MOST_PADDING { Err(Refusal::bad("chunk-padding")) } else { Ok(()) }
    }

    fn read_trailers(&mut self, buf: &mut BytesMut) -> Result<Decoded, Refusal> {
        let mut slots = [httparse::EMPTY_HEADER; MOST_TRAILERS];
        let slots = &mut slots[..self.limits.fields().min(MOST_TRAILERS)];
        let mut fields = Fields::new();
        let len = match httparse::parse_headers(buf, slots) {
            Ok(httparse::Status::Complete((len, trailers))) if len <= self.limits.head() => {
                let keep = |name, _: &[u8], _| keep_trailer(name);
                read_lines(&buf[..len], 0, trailers, &mut fields, keep)?;
                len
            }
            Ok(httparse::Status::Partial) if buf.len() < self.limits.head() => {
                return check_line_ends(buf).map(|()| Decoded::NeedMore);
            }
            Ok(_) => return Err(Refusal::HEAD_TOO_LARGE),
            Err(error) => return Err(explain(buf, error)),
        };
        fields.settle(buf.split_to(len).freeze());
        self.state = State::End;
        if fields.is_empty() {
            return Ok(Decoded::End);
        }
        Ok(Decoded::Trailers(Box::new(fields)))
    }
}

/// What may stand in a trailer section (RFC 9110 §6.5.1). A field that frames or routes a message
/// is an attack there and refused. Any other that the gateway knows was meant for a header section,
/// where it was or was not checked, so it is dropped; what it does not know, it passes on.
const fn keep_trailer(name: Known) -> Result<Keep, Refusal> {
    match name {
        Known::Other | Known::GrpcStatus | Known::GrpcMessage | Known::Etag => Ok(Keep::Yes),
        Known::Host
        | Known::ContentLength
        | Known::Trailer
        | Known::Expect
        | Known::Connection
        | Known::TransferEncoding
        | Known::Te
        | Known::Upgrade
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::Http2Settings => Err(Refusal::bad("trailer-field")),
        _ => Ok(Keep::No),
    }
}

/// Takes up to `left` bytes; returns them and how many are then left. `None` for an empty buffer.
fn take(buf: &mut BytesMut, left: u64) -> Option<(Bytes, u64)> {
    if buf.is_empty() {
        return None;
    }
    let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
    let left = left.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX));
    Some((buf.split_to(len).freeze(), left))
}

/// Reads `size [;extensions] CR LF` at the front of `bytes`: the size and the length of the line,
/// or `None` while the line is not complete. A fault is found in the first bytes that show it.
fn read_chunk_line(bytes: &[u8]) -> Result<Option<(u64, usize)>, Refusal> {
    let mut size = 0_u64;
    let mut digits = 0;
    while let Some(digit) = bytes.get(digits).and_then(|byte| char::from(*byte).to_digit(16)) {
        if digits == LONGEST_SIZE {
            return Err(Refusal::bad("chunk-size"));
        }
        size = size << 4 | u64::from(digit);
        digits += 1;
    }
    let rest = &bytes[digits..];
    if (digits == 0 && !rest.is_empty()) || size > i64::MAX.unsigned_abs() {
        return Err(Refusal::bad("chunk-size"));
    }
    let extension = match rest.first() {
        None | Some(b'\r') => 0,
        Some(b';') => read_extensions(rest)?,
        Some(_) => return Err(Refusal::bad("chunk-size")),
    };
    if extension > LONGEST_EXTENSION {
        return Err(Refusal::bad("chunk-extension"));
    }
    match &rest[extension..] {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some((size, digits + extension + 2))),
        _ => Err(Refusal::bad("chunk-line")),
    }
}

/// Where in the extensions of a chunk a byte stands (RFC 9112 §7.1.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// Before a name, white space included.
    Begin,
    Name,
    /// In the white space after a name.
    Named,
    /// After the equals sign, white space included.
    Equals,
    Token,
    Quoted,
    /// After a backslash in quotes.
    Escaped,
    /// Right after the closing quotes.
    Closed,
    /// In the white space after a value.
    Valued,
}

impl Extension {
    /// Where the next byte stands, or `None` when it may not follow.
    const fn then(self, byte: u8) -> Option<Self> {
        let is_space = matches!(byte, b' ' | b'\t');
        Some(match (self, byte) {
            (Self::Quoted, b'"') => Self::Closed,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, _) => Self::Quoted,
            (Self::Equals, b'"') => Self::Quoted,
            (Self::Begin | Self::Equals, _) if is_space => self,
            (Self::Name | Self::Named, _) if is_space => Self::Named,
            (Self::Token | Self::Closed | Self::Valued, _) if is_space => Self::Valued,
            (Self::Name | Self::Named, b'=') => Self::Equals,
            (Self::Name | Self::Named | Self::Token | Self::Closed | Self::Valued, b';') => {
                Self::Begin
            }
            (Self::Begin | Self::Name, _) if chars::is_token_byte(byte) => Self::Name,
            (Self::Equals | Self::Token, _) if chars::is_token_byte(byte) => Self::Token,
            _ => return None,
        })
    }

    /// Whether the line may end here.
    const fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::Closed)
    }
}

/// The length of the extensions at the front of `bytes`, which is a semicolon; they end where a
/// byte that none may have stands.
fn read_extensions(bytes: &[u8]) -> Result<usize, Refusal> {
    let mut place = Extension::Begin;
    for (index, byte) in bytes.iter().enumerate().skip(1) {
        if !is_extension_byte(*byte) {
            let is_cut = *byte == b'\r' && !place.may_end();
            return if is_cut { Err(Refusal::bad("chunk-extension")) } else { Ok(index) };
        }
        place = place.then(*byte).ok_or(Refusal::bad("chunk-extension"))?;
    }
    Ok(bytes.len())
}

/// White space and visible ASCII.
const fn is_extension_byte(byte: u8) -> bool {
    chars::is_value_byte(byte) && byte.is_ascii()
}

enum LineEnd {
    Skipped,
    Absent,
    NeedMore,
}

/// Skips CR LF at the front of `buf`, if that is what stands there.
fn skip_line_end(buf: &mut BytesMut) -> Result<LineEnd, Refusal> {
    match &buf[..] {
        [] | [b'\r'] => Ok(LineEnd::NeedMore),
        [b'\r', b'\n', ..] => {
            buf.advance(2);
            Ok(LineEnd::Skipped)
        }
        [b'\r', ..] => Err(Refusal::bad("line-end")),
        [b'\n', ..] => Err(Refusal::bad("bare-line-feed")),
        _ => Ok(LineEnd::Absent),
    }
}
