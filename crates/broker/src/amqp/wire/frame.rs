//! Cuts what was received into frames (§4.2.3): type, channel, size, payload, end octet. Strict: a
//! size beyond what was agreed is refused before its payload is waited for, and what stands in the
//! place of the end octet must be one.

use bytes::{Buf as _, Bytes, BytesMut};

use super::fault::Fault;
use crate::state::Code;

/// What a client says first (§4.2.2), and what it is told when it said something else.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// What ends a frame.
pub(super) const END: u8 = 0xCE;
/// The bytes before a payload.
pub(super) const HEAD: usize = 7;
/// The bytes around a payload.
pub const AROUND: usize = HEAD + 1;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A method.
    Method = 1,
    /// The header of a content.
    Header = 2,
    /// A piece of a body.
    Body = 3,
    /// Nothing but a sign of life.
    Heartbeat = 8,
}

/// One frame. The payload shares its memory with what was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// The channel; 0 is the connection itself.
    pub channel: u16,
    /// What it carries, without head and end.
    pub payload: Bytes,
}

/// Cuts bytes into frames.
#[derive(Clone, Copy, Debug)]
pub struct Splitter {
    /// The most bytes of a whole frame, head and end included.
    frame_max: usize,
}

impl Splitter {
    /// With the largest frame that may come, its head and end included.
    #[must_use]
    pub const fn new(frame_max: u32) -> Self {
        Self { frame_max: frame_max as usize }
    }

    /// The next frame of `received`, which is taken out of it; `None` until it is there whole.
    ///
    /// # Errors
    /// When what comes can be no frame; nothing after it can be read either.
    pub fn next(&self, received: &mut BytesMut) -> Result<Option<Frame>, Fault> {
        let Some(whole) = self.wanted(received)? else { return Ok(None) };
        if received.len() < whole {
            return Ok(None);
        }
        let kind = kind(received[0])?;
        let channel = u16::from_be_bytes([received[1], received[2]]);
        let end = received[whole - 1];
        if end != END {
            let detail = format!("a frame ended with octet {end}, not with {END}");
            return Err(Fault::new(Code::FrameError, detail));
        }
        let mut payload = received.split_to(whole).freeze();
        payload.truncate(whole - 1);
        payload.advance(HEAD);
        Ok(Some(Frame { kind, channel, payload }))
    }

    /// How many bytes the frame has that `received` begins with, once its head is there.
    ///
    /// # Errors
    /// As [`Splitter::next`].
    pub fn wanted(&self, received: &[u8]) -> Result<Option<usize>, Fault> {
        if let Some(first) = received.first() {
            kind(*first)?;
        }
        let Some([_, _, _, a, b, c, d]) = received.first_chunk::<HEAD>() else { return Ok(None) };
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if size > self.frame_max.saturating_sub(AROUND) {
            let max = self.frame_max;
            let detail = format!("a frame of {} octets, {max} are the most", size + AROUND);
            return Err(Fault::new(Code::FrameError, detail));
        }
        Ok(Some(size + AROUND))
    }
}

fn kind(octet: u8) -> Result<Kind, Fault> {
    match octet {
        1 => Ok(Kind::Method),
        2 => Ok(Kind::Header),
        3 => Ok(Kind::Body),
        8 => Ok(Kind::Heartbeat),
        other => Err(Fault::new(Code::FrameError, format!("unknown frame type {other}"))),
    }
}
