//! HTTP/1 on the wire: the only place where its messages are framed, in both directions.
//!
//! Strict, because request smuggling is two parsers that disagree: what has more than one reading
//! is refused, before anything of it is forwarded. `httparse` finds the parts; what it tolerates
//! (bare line feeds, empty lines, white space) is checked again on the raw bytes. Pure: buffers in,
//! values out; no socket, clock or task. What holds:
//! - a message is understood whole or refused; nothing is repaired on the way through, except that
//!   white space around a value and a chunk's extensions are not forwarded;
//! - the framing that was understood is the framing that is forwarded: `Content-Length` is a plain
//!   decimal number, `Transfer-Encoding` is `chunked`, and never are there both;
//! - how the bytes were cut into reads changes nothing.
//!
//! In reading order: [`request`], [`response`] (heads), [`body`] (what follows them), [`encode`]
//! (what is written), [`downgrade`] (what HTTP/2 may bring to it), [`refusal`] (what is not let through). `section` holds the rules that
//! requests and responses share.

pub mod body;
pub mod downgrade;
pub mod encode;
pub mod refusal;
pub mod request;
pub mod response;
mod section;

pub use body::{BodyDecoder, Decoded};
pub use downgrade::check_downgrade;
pub(crate) use downgrade::read_fields;
pub use encode::{encode_chunk_head, encode_last_chunk};
pub use refusal::Refusal;
pub use request::{RequestHead, parse_request};
pub use response::{ResponseHead, parse_response};

pub use crate::http::target::Target;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The request target in bytes; beyond it 414.
    pub uri: usize,
    /// The head in bytes, from the start line to the empty line; beyond it 431. At most
    /// [`Limits::MAX_HEAD`].
    pub head: usize,
    /// Field lines; beyond it 431. At most [`Limits::MAX_FIELDS`].
    pub fields: usize,
}

impl Limits {
    /// The largest head that any configuration allows, in bytes.
    pub const MAX_HEAD: usize = 1 << 20;
    /// The most field lines that any configuration allows: their places stand on the stack.
    pub const MAX_FIELDS: usize = 256;

    pub(crate) const fn head(&self) -> usize {
        if self.head < Self::MAX_HEAD { self.head } else { Self::MAX_HEAD }
    }

    pub(crate) const fn fields(&self) -> usize {
        if self.fields < Self::MAX_FIELDS { self.fields } else { Self::MAX_FIELDS }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { uri: 8 << 10, head: 32 << 10, fields: 100 }
    }
}

/// How the end of a message's body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, and perhaps trailers.
    Chunked,
    /// Everything until the connection closes. Responses only.
    UntilClose,
}

/// A version of the protocol that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunks, no upgrade, one message a connection unless agreed otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}
