//! Values, tables and properties as JSON. JSON has fewer types than AMQP: a number without a fraction
//! becomes a 64-bit integer, and bytes that are no text are written in base64.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value as Json, json};

use crate::amqp::wire::write_header;
use crate::message::{Properties, Table, Value};

/// How deep tables and lists may be nested, as over AMQP.
const NESTING: usize = 32;
/// The most fields of one table or list, as over AMQP.
const FIELDS: usize = 8192;
/// What a short string holds, in bytes.
const SHORT: usize = 255;

/// Why something cannot be a part of a message or a declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct Unfit {
    /// What.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unfit {
    fn new(field: &str, why: impl Into<String>) -> Self {
        Self { field: field.to_owned(), why: why.into() }
    }
}

/// A name or key as AMQP carries it.
///
/// # Errors
/// When it is longer than a short string holds.
pub fn short<'a>(field: &str, text: &'a str) -> Result<&'a str, Unfit> {
    match text.len() <= SHORT {
        true => Ok(text),
        false => Err(Unfit::new(field, format!("has {} bytes, and 255 are the most", text.len()))),
    }
}

/// A value.
#[must_use]
pub fn value(value: &Value) -> Json {
    match value {
        Value::Bool(flag) => json!(flag),
        Value::I8(number) => json!(number),
        Value::U8(number) => json!(number),
        Value::I16(number) => json!(number),
        Value::U16(number) => json!(number),
        Value::I32(number) => json!(number),
        Value::U32(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::Decimal { scale, value } => {
            json!(f64::from(*value) / 10_f64.powi(i32::from(*scale)))
        }
        Value::Text(octets) | Value::Bytes(octets) => match std::str::from_utf8(octets) {
            Ok(text) => json!(text),
            Err(_) => json!(STANDARD.encode(octets)),
        },
        Value::Array(list) => Json::Array(list.iter().map(self::value).collect()),
        Value::Timestamp(seconds) => json!(seconds),
        Value::Table(inner) => table(inner),
        Value::Void => Json::Null,
    }
}

/// A table as an object.
#[must_use]
pub fn table(table: &Table) -> Json {
    Json::Object(table.iter().map(|(key, field)| (key.to_owned(), value(field))).collect())
}

/// An object as a table.
///
/// # Errors
/// When a key is too long, or it is nested too deeply.
pub fn table_from(field: &str, object: &Map<String, Json>) -> Result<Table, Unfit> {
    table_at(field, object, 0)
}

fn table_at(field: &str, object: &Map<String, Json>, depth: usize) -> Result<Table, Unfit> {
    bounded(field, object.len(), depth)?;
    let entry = |(key, inner): (&String, &Json)| {
        let name = Arc::from(short(field, key)?);
        Ok((name, value_at(&format!("{field}.{key}"), inner, depth)?))
    };
    object.iter().map(entry).collect()
}

fn value_at(field: &str, json: &Json, depth: usize) -> Result<Value, Unfit> {
    Ok(match json {
        Json::Null => Value::Void,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::I64(number),
            (None, Some(number)) => Value::F64(number),
            (None, None) => return Err(Unfit::new(field, "is too large a number")),
        },
        Json::String(text) => Value::text(text),
        Json::Array(list) => {
            bounded(field, list.len(), depth + 1)?;
            let items = list.iter().map(|item| value_at(field, item, depth + 1));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Json::Object(inner) => Value::Table(table_at(field, inner, depth + 1)?),
    })
}

fn bounded(field: &str, count: usize, depth: usize) -> Result<(), Unfit> {
    if depth > NESTING {
        return Err(Unfit::new(field, format!("is nested more than {NESTING} deep")));
    }
    if count > FIELDS {
        return Err(Unfit::new(field, format!("has more than {FIELDS} fields")));
    }
    Ok(())
}

/// Properties as an object; only what is set.
#[must_use]
pub fn properties(of: &Properties) -> Json {
    let mut object = Map::new();
    let texts = [
        ("content_type", &of.content_type),
        ("content_encoding", &of.content_encoding),
        ("correlation_id", &of.correlation_id),
        ("reply_to", &of.reply_to),
        ("expiration", &of.expiration),
        ("message_id", &of.message_id),
        ("type", &of.kind),
        ("user_id", &of.user_id),
        ("app_id", &of.app_id),
        ("cluster_id", &of.cluster_id),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            object.insert(key.into(), json!(&**text));
        }
    }
    if let Some(headers) = &of.headers {
        object.insert("headers".into(), table(headers));
    }
    let numbers = [
        ("delivery_mode", of.delivery_mode.map(u64::from)),
        ("priority", of.priority.map(u64::from)),
        ("timestamp", of.timestamp),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            object.insert(key.into(), json!(number));
        }
    }
    Json::Object(object)
}

/// An object as properties, which may take up `most` bytes.
///
/// # Errors
/// When a property is not known or cannot be so.
pub fn properties_from(object: &Map<String, Json>, most: u64) -> Result<Properties, Unfit> {
    let mut found = Properties::default();
    for (key, json) in object {
        let number = |most: u64| {
            let number = json.as_u64().filter(|number| *number <= most);
            number.ok_or_else(|| Unfit::new(key, format!("is a number from 0 to {most}")))
        };
        let byte = || Ok(u8::try_from(number(u8::MAX.into())?).unwrap_or(u8::MAX));
        match (&**key, json) {
            (_, Json::Null) => {}
            ("headers", Json::Object(headers)) => {
                found.headers = Some(table_from(key, headers)?);
            }
            ("headers", _) => return Err(Unfit::new(key, "is an object")),
            ("delivery_mode", _) => found.delivery_mode = Some(byte()?),
            ("priority", _) => found.priority = Some(byte()?),
            ("timestamp", _) => found.timestamp = Some(number(u64::MAX)?),
            (_, json) => {
                let place = match &**key {
                    "content_type" => &mut found.content_type,
                    "content_encoding" => &mut found.content_encoding,
                    "correlation_id" => &mut found.correlation_id,
                    "reply_to" => &mut found.reply_to,
                    "expiration" => &mut found.expiration,
                    "message_id" => &mut found.message_id,
                    "type" => &mut found.kind,
                    "user_id" => &mut found.user_id,
                    "app_id" => &mut found.app_id,
                    "cluster_id" => &mut found.cluster_id,
                    _ => return Err(Unfit::new(key, "is no property of a message")),
                };
                let text = json.as_str().ok_or_else(|| Unfit::new(key, "is a text"))?;
                *place = Some(short(key, text)?.into());
            }
        }
    }
    fits(&found, most)?;
    Ok(found)
}

/// Whether properties are small enough to be carried.
pub(crate) fn fits(properties: &Properties, most: u64) -> Result<(), Unfit> {
    let mut header = BytesMut::new();
    write_header(&mut header, 1, 0, properties);
    let size = u64::try_from(header.len()).unwrap_or(u64::MAX);
    match size <= most {
        true => Ok(()),
        false => {
            Err(Unfit::new("properties", format!("have {size} bytes, and {most} are the most")))
        }
    }
}

/// A body as text if it is that, and else in base64; and which of the two.
#[must_use]
pub fn payload(body: &Bytes) -> (String, &'static str) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), "string"),
        Err(_) => (STANDARD.encode(body), "base64"),
    }
}

/// A body that was written in one of the two ways.
///
/// # Errors
/// When there is no such way, or it is not base64.
pub fn body(payload: &str, encoding: &str) -> Result<Bytes, Unfit> {
    match encoding {
        "string" => Ok(Bytes::copy_from_slice(payload.as_bytes())),
        "base64" => match STANDARD.decode(payload) {
            Ok(octets) => Ok(octets.into()),
            Err(_) => Err(Unfit::new("payload", "is not base64")),
        },
        _ => Err(Unfit::new("payload_encoding", "is `string` or `base64`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &Json) -> Result<Properties, Unfit> {
        properties_from(json.as_object().expect("an object"), 1000)
    }

    #[test]
    fn properties_are_read_as_they_are_written() {
        let written = json!({
            "content_type": "text/plain", "delivery_mode": 2, "priority": 3, "type": "t",
            "timestamp": 7, "headers": { "a": 1, "b": [true, null, 1.5], "c": { "d": "e" } },
        });
        let found = read(&written).expect("properties");
        assert!(found.is_persistent());
        assert_eq!(properties(&found), written);
    }

    #[test]
    fn what_amqp_cannot_carry_is_named() {
        let long = "x".repeat(256);
        let mut deep = json!(1);
        for _ in 0..40 {
            deep = json!([deep]);
        }
        for (wrong, field) in [
            (json!({ "kind": "x" }), "kind"),
            (json!({ "priority": 256 }), "priority"),
            (json!({ "priority": "1" }), "priority"),
            (json!({ "message_id": &long }), "message_id"),
            (json!({ "message_id": 1 }), "message_id"),
            (json!({ "headers": { &long: 1 } }), "headers"),
            (json!({ "headers": { "deep": deep } }), "headers.deep"),
            (json!({ "headers": { "large": "x".repeat(2000) } }), "properties"),
        ] {
            assert_eq!(read(&wrong).expect_err("unfit").field, field, "{wrong}");
        }
    }

    #[test]
    fn bodies_that_are_no_text_are_base64() {
        for octets in [Bytes::from_static(b"text"), Bytes::from_static(b"\xFF\0")] {
            let (text, encoding) = payload(&octets);
            assert_eq!(body(&text, encoding), Ok(octets));
        }
        assert!(body("!", "base64").is_err() && body("", "hex").is_err());
    }
}
