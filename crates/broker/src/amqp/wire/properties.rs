//! The content header (§4.2.6.1): how long the body is, and the properties of a message, of which
//! only those are on the wire that are set.

use std::sync::Arc;

use bytes::BytesMut;

use super::frame::Kind;
use super::read::{Field, Malformed, Reader};
use super::write::{WriteField, Writer, frame};
use crate::message::{Properties, Table};

/// The class that has content.
const BASIC: u16 = 60;

/// Reads the payload of a header frame: the octets of the whole body, and the properties.
///
/// # Errors
/// When it is malformed, or of another class than basic.
pub fn read_header(payload: &[u8]) -> Result<(u64, Properties), Malformed> {
    let mut reader = Reader::new(payload);
    let class = u16::read(&mut reader)?;
    let weight = u16::read(&mut reader)?;
    let body_size = u64::read(&mut reader)?;
    if class != BASIC || weight != 0 {
        return Err(Malformed::Properties(class, weight));
    }
    let properties = read_properties(&mut reader)?;
    reader.end()?;
    Ok((body_size, properties))
}

/// Writes a content header as a frame.
pub fn write_header(out: &mut BytesMut, channel: u16, body_size: u64, properties: &Properties) {
    frame(out, Kind::Header, channel, |writer| {
        BASIC.write(writer);
        0_u16.write(writer);
        body_size.write(writer);
        write_properties(properties, writer);
    });
}

/// The properties in their order, with the bits that say that they are there.
macro_rules! properties {
    ($($bit:literal $field:ident: $type:ty),* $(,)?) => {
        fn read_properties(reader: &mut Reader<'_>) -> Result<Properties, Malformed> {
            let flags = u16::read(reader)?;
            let known = 0 $(| 1_u16 << $bit)*;
            if flags & !known != 0 {
                return Err(Malformed::Properties(BASIC, flags));
            }
            Ok(Properties {
                $($field: match flags >> $bit & 1 {
                    0 => None,
                    _ => Some(<$type>::read(reader)?),
                },)*
            })
        }

        fn write_properties(properties: &Properties, writer: &mut Writer<'_>) {
            let flags = 0_u16 $(| u16::from(properties.$field.is_some()) << $bit)*;
            flags.write(writer);
            $(if let Some(value) = &properties.$field {
                value.write(writer);
            })*
        }
    };
}

properties! {
    15 content_type: Arc<str>,
    14 content_encoding: Arc<str>,
    13 headers: Table,
    12 delivery_mode: u8,
    11 priority: u8,
    10 correlation_id: Arc<str>,
    9 reply_to: Arc<str>,
    8 expiration: Arc<str>,
    7 message_id: Arc<str>,
    6 timestamp: u64,
    5 kind: Arc<str>,
    4 user_id: Arc<str>,
    3 app_id: Arc<str>,
    2 cluster_id: Arc<str>,
}

impl Field<'_> for Arc<str> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.short_string().map(Self::from)
    }
}

impl WriteField for Arc<str> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.short_string(self);
    }
}
