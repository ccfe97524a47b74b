//! Reads the elementary types (§4.2.5) from the payload of one frame, which is there whole. Nothing
//! is copied: strings are borrowed from the payload.

use super::fault::Fault;
use crate::state::Code;

/// What cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends in the middle of something.
    #[error("it ends too early")]
    Short,
    /// Something comes after its end.
    #[error("{0} octets too many")]
    Rest(usize),
    /// A short string that is not UTF-8.
    #[error("a short string is not UTF-8")]
    NotText,
    /// A table has a field of a type that is unknown.
    #[error("a table has a field of the unknown type {0:#04x}")]
    Type(u8),
    /// Tables in tables in tables.
    #[error("tables are nested more than {0} deep")]
    Nesting(usize),
    /// A table of too many fields.
    #[error("a table has more than {0} fields")]
    Fields(usize),
    /// No such class or method.
    #[error("class {0} has no method {1}")]
    Method(u16, u16),
    /// A content header of another class, or with unknown properties.
    #[error("a content header of class {0} with flags {1:#06x}")]
    Properties(u16, u16),
}

impl Malformed {
    /// As AMQP calls it. What is not known is 540 for classes and methods, as RabbitMQ has it.
    #[must_use]
    pub fn fault(self) -> Fault {
        let code = match self {
            Self::Method(..) => Code::NotImplemented,
            _ => Code::SyntaxError,
        };
        Fault::new(code, self.to_string())
    }
}

/// Reads one thing after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The octet that bits are taken from, and how many have been.
    bits: Option<(u8, u8)>,
}

impl<'a> Reader<'a> {
    /// Of a whole payload.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, bits: None }
    }

    /// The next `length` octets.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        self.bits = None;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bits = None;
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Bits that follow each other share octets, the first in the lowest place.
    pub(super) fn bit(&mut self) -> Result<bool, Malformed> {
        let (octet, taken) = match self.bits {
            Some((octet, taken)) if taken < 8 => (octet, taken),
            _ => (self.array::<1>()?[0], 0),
        };
        self.bits = Some((octet, taken + 1));
        Ok(octet >> taken & 1 == 1)
    }

    /// A string of up to 255 octets.
    ///
    /// # Errors
    /// When it is cut off, or not UTF-8.
    pub fn short_string(&mut self) -> Result<&'a str, Malformed> {
        let [length] = self.array()?;
        let octets = self.take(usize::from(length))?;
        std::str::from_utf8(octets).map_err(|_not_text| Malformed::NotText)
    }

    /// A string of octets.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn long_string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(length as usize)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub const fn end(&self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            rest => Err(Malformed::Rest(rest)),
        }
    }
}

/// A type that a method's field can have.
pub(super) trait Field<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed>;
}

impl Field<'_> for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.bit()
    }
}

impl Field<'_> for u8 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self::from_be_bytes(reader.array()?))
    }
}

impl Field<'_> for u16 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self::from_be_bytes(reader.array()?))
    }
}

impl Field<'_> for u32 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self::from_be_bytes(reader.array()?))
    }
}

impl Field<'_> for u64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self::from_be_bytes(reader.array()?))
    }
}

impl<'a> Field<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.short_string()
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.long_string()
    }
}
