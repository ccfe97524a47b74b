//! Writes frames into one buffer, many after each other, so that many small ones leave in one write.

use bytes::{BufMut as _, BytesMut};

use super::frame::{END, HEAD, Kind};
use super::method::Method;

/// The most octets of a short string.
const SHORT: usize = 255;

/// Writes the elementary types (§4.2.5).
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    /// How many bits the last octet holds; 0 when the next bit begins one.
    bits: u8,
}

impl<'a> Writer<'a> {
    /// Writes to the end of `out`.
    #[must_use]
    pub const fn new(out: &'a mut BytesMut) -> Self {
        Self { out, bits: 0 }
    }

    /// These octets as they are.
    pub fn octets(&mut self, octets: &[u8]) {
        self.bits = 0;
        self.out.put_slice(octets);
    }

    pub(super) fn tagged(&mut self, letter: u8, octets: &[u8]) {
        self.octets(&[letter]);
        self.octets(octets);
    }

    fn bit(&mut self, bit: bool) {
        if self.bits == 0 {
            self.out.put_u8(0);
        }
        if let Some(last) = self.out.last_mut() {
            *last |= u8::from(bit) << self.bits;
        }
        self.bits = (self.bits + 1) % 8;
    }

    /// What does not fit is cut off, at a character.
    pub(super) fn short_string(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(SHORT)];
        self.octets(&[u8::try_from(text.len()).unwrap_or(u8::MAX)]);
        self.octets(text.as_bytes());
    }

    pub(super) fn long_string(&mut self, octets: &[u8]) {
        self.sized(|writer| writer.octets(octets));
    }

    /// What `write` writes, with its size before it.
    pub(super) fn sized(&mut self, write: impl FnOnce(&mut Self)) {
        self.bits = 0;
        let at = self.out.len();
        self.out.put_u32(0);
        write(self);
        let size = u32::try_from(self.out.len() - at - 4).unwrap_or(u32::MAX);
        self.out[at..at + 4].copy_from_slice(&size.to_be_bytes());
        self.bits = 0;
    }
}

/// A type that a method's field can have.
pub(super) trait WriteField {
    fn write(&self, writer: &mut Writer<'_>);
}

impl WriteField for bool {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.bit(*self);
    }
}

impl WriteField for u8 {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&self.to_be_bytes());
    }
}

impl WriteField for u16 {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&self.to_be_bytes());
    }
}

impl WriteField for u32 {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&self.to_be_bytes());
    }
}

impl WriteField for u64 {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(&self.to_be_bytes());
    }
}

impl WriteField for &str {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.short_string(self);
    }
}

impl WriteField for &[u8] {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.long_string(self);
    }
}

/// A frame around what `write` writes.
pub(super) fn frame(
    out: &mut BytesMut,
    kind: Kind,
    channel: u16,
    write: impl FnOnce(&mut Writer<'_>),
) {
    out.put_u8(kind as u8);
    out.put_u16(channel);
    let mut writer = Writer::new(out);
    writer.sized(write);
    out.put_u8(END);
}

/// Writes a method as a frame.
pub fn write_method(out: &mut BytesMut, channel: u16, method: &Method<'_>) {
    frame(out, Kind::Method, channel, |writer| method.write(writer));
}

/// Writes what stands around a piece of a body: `body` is called between the two.
pub fn write_body(out: &mut BytesMut, channel: u16, length: u32, body: impl FnOnce(&mut BytesMut)) {
    out.reserve(HEAD);
    out.put_u8(Kind::Body as u8);
    out.put_u16(channel);
    out.put_u32(length);
    body(out);
    out.put_u8(END);
}

/// Writes a sign of life (§4.2.7).
pub fn write_heartbeat(out: &mut BytesMut) {
    frame(out, Kind::Heartbeat, 0, |_| {});
}
