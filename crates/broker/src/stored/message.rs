//! A message in its queue's stream: its body is the event's data, everything else its metadata.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::Item;
use posthouse_journal::{Format, NewEvent};

use super::Unreadable;
use super::bytes::{Reader, Writer};
use crate::message::{Message, Properties};

/// What messages are called in the journal.
const KIND: &str = "message";
/// Counted up when older versions could not read them.
const FORMAT: u8 = 1;

/// A message as it is written; `kind` saves making that text anew.
pub(super) fn written(message: &Message, kind: &Arc<str>) -> Item {
    let Message { exchange, routing_key, properties, body, queued_at } = message;
    let mut writer = Writer::default();
    writer.byte(FORMAT);
    writer.number(queued_at.as_millis());
    writer.text(exchange);
    writer.text(routing_key);
    write_properties(&mut writer, properties);
    let (data, metadata) = (body.clone(), writer.finish());
    Item { kind: Arc::clone(kind), format: Format::Binary, data, metadata }
}

/// What messages are called.
pub(super) fn kind() -> Arc<str> {
    Arc::from(KIND)
}

/// A message, read back.
pub(crate) fn read(event: &NewEvent) -> Result<Message, Unreadable> {
    let mut reader = Reader::new(&event.metadata);
    if reader.byte()? != FORMAT {
        return Err(Unreadable("its format is not known to this version"));
    }
    Ok(Message {
        queued_at: Timestamp::from_millis(reader.number()?),
        exchange: reader.text()?.into(),
        routing_key: reader.text()?.into(),
        properties: read_properties(&mut reader)?,
        body: Bytes::clone(&event.data),
    })
}

/// Which of the properties are there, in a word of bits, then those.
fn write_properties(writer: &mut Writer, properties: &Properties) {
    let Properties { headers, delivery_mode, priority, timestamp, .. } = properties;
    let texts = texts(properties);
    let numbers =
        [headers.is_some(), delivery_mode.is_some(), priority.is_some(), timestamp.is_some()];
    let there = texts.iter().map(|text| text.is_some()).chain(numbers);
    let bits = there.enumerate().map(|(place, is_there)| u64::from(is_there) << place);
    writer.number(bits.sum());
    for text in texts.into_iter().flatten() {
        writer.text(text);
    }
    if let Some(headers) = headers {
        writer.table(headers);
    }
    for byte in [delivery_mode, priority].into_iter().flatten() {
        writer.byte(*byte);
    }
    if let Some(timestamp) = timestamp {
        writer.number(*timestamp);
    }
}

fn texts(properties: &Properties) -> [Option<&Arc<str>>; 10] {
    [
        properties.content_type.as_ref(),
        properties.content_encoding.as_ref(),
        properties.correlation_id.as_ref(),
        properties.reply_to.as_ref(),
        properties.expiration.as_ref(),
        properties.message_id.as_ref(),
        properties.kind.as_ref(),
        properties.user_id.as_ref(),
        properties.app_id.as_ref(),
        properties.cluster_id.as_ref(),
    ]
}

fn read_properties(reader: &mut Reader<'_>) -> Result<Properties, Unreadable> {
    let bits = reader.number()?;
    let has = |place: u32| bits >> place & 1 == 1;
    let mut text = |place| -> Result<Option<Arc<str>>, Unreadable> {
        if has(place) { Ok(Some(Arc::from(reader.text()?))) } else { Ok(None) }
    };
    let mut properties = Properties {
        content_type: text(0)?,
        content_encoding: text(1)?,
        correlation_id: text(2)?,
        reply_to: text(3)?,
        expiration: text(4)?,
        message_id: text(5)?,
        kind: text(6)?,
        user_id: text(7)?,
        app_id: text(8)?,
        cluster_id: text(9)?,
        ..Properties::default()
    };
    if has(10) {
        properties.headers = Some(reader.table()?);
    }
    if has(11) {
        properties.delivery_mode = Some(reader.byte()?);
    }
    if has(12) {
        properties.priority = Some(reader.byte()?);
    }
    if has(13) {
        properties.timestamp = Some(reader.number()?);
    }
    Ok(properties)
}
