//! A request as a message: its body as it is, its headers as properties. CloudEvents 1.0 come in
//! binary form (`ce-…` headers) or structured (`application/cloudevents+json`), and are checked for what
//! each must have.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use posthouse_base::trace::TraceContext;
use serde_json::Value as Json;

use super::names;
use crate::management::{Unfit, short};
use crate::message::{Properties, Table, Value};

/// What every event has (CloudEvents 1.0 §3.1).
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];
/// The media type of a structured event, without parameters.
const STRUCTURED: &str = "application/cloudevents+json";
/// That of several in one.
const BATCH: &str = "application/cloudevents-batch+json";

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Something in it.
    Field(Unfit),
    /// Its media type is not taken.
    Media(&'static str),
}

impl From<Unfit> for Wrong {
    fn from(unfit: Unfit) -> Self {
        Self::Field(unfit)
    }
}

/// What a request says of its message.
pub(super) fn properties(headers: &HeaderMap, body: &[u8]) -> Result<Properties, Wrong> {
    let mut found = Properties { delivery_mode: Some(2), ..Properties::default() };
    found.content_type = text(headers.get(CONTENT_TYPE), "content-type")?;
    found.content_encoding = text(headers.get(CONTENT_ENCODING), "content-encoding")?;
    for (name, place) in names::texts_mut(&mut found) {
        *place = text(headers.get(name), name)?;
    }
    found.priority = number(headers, names::PRIORITY, 0..=255)?;
    found.delivery_mode = number(headers, names::DELIVERY_MODE, 1..=2)?.or(Some(2));
    let mut table = Table::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(names::HEADER) else { continue };
        table.set(short(names::HEADER, key)?, Value::Text(value.as_bytes().to_vec().into()));
    }
    cloud_event(headers, body, &mut found, &mut table)?;
    trace(headers, &mut table);
    found.headers = Some(table);
    Ok(found)
}

/// The trace of a message is that of the request, or begins with it.
fn trace(headers: &HeaderMap, table: &mut Table) {
    let given = headers.get(names::TRACE_PARENT);
    let context = given.and_then(|value| TraceContext::parse(value.as_bytes()));
    if context.is_some()
        && let Some(state) = headers.get(names::TRACE_STATE)
    {
        table.set(names::TRACE_STATE, Value::Text(state.as_bytes().to_vec().into()));
    }
    let context = context.unwrap_or_else(|| TraceContext::begin(false));
    table.set(names::TRACE_PARENT, Value::text(&context.to_string()));
}

/// Takes over what a CloudEvent says of itself, if it is one.
fn cloud_event(
    headers: &HeaderMap,
    body: &[u8],
    properties: &mut Properties,
    table: &mut Table,
) -> Result<(), Wrong> {
    let media = properties.content_type.as_deref().unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case(BATCH) {
        return Err(Wrong::Media("a batch of events is several messages: send each by itself"));
    }
    let event: Vec<(String, String)> =
        if media.eq_ignore_ascii_case(STRUCTURED) { structured(body)? } else { binary(headers)? };
    if event.is_empty() {
        return Ok(());
    }
    for required in REQUIRED {
        let value = event.iter().find(|(name, _)| name == required).map(|(_, value)| &**value);
        let field = format!("{}{required}", names::CLOUD_EVENT_HEADER);
        let why = match value {
            None | Some("") => "is what every CloudEvent has",
            Some(version) if required == "specversion" && version != "1.0" => "is not `1.0`",
            Some(_) => continue,
        };
        return Err(Unfit { field, why: why.into() }.into());
    }
    for (name, value) in event {
        let place = match &*name {
            "id" => Some(&mut properties.message_id),
            "type" => Some(&mut properties.kind),
            _ => None,
        };
        if let Some(place) = place.filter(|place| place.is_none()) {
            *place = Some(short(&name, &value)?.into());
        }
        table.set(short(&name, &format!("{}{name}", names::CLOUD_EVENT))?, Value::text(&value));
    }
    Ok(())
}

/// The attributes that stand in headers, decoded.
fn binary(headers: &HeaderMap) -> Result<Vec<(String, String)>, Wrong> {
    let attributes = headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().strip_prefix(names::CLOUD_EVENT_HEADER)?.to_owned(), value))
    });
    let read = attributes.map(|(name, value)| {
        // Texts beyond ASCII are percent-encoded (HTTP binding §3.1.3.2).
        let decoded = percent_encoding::percent_decode(value.as_bytes()).decode_utf8();
        match decoded {
            Ok(text) => Ok((name, text.into_owned())),
            Err(_) => Err(Unfit { field: name, why: "is no text".into() }.into()),
        }
    });
    read.collect()
}

/// The attributes that stand in the body, but for the data.
fn structured(body: &[u8]) -> Result<Vec<(String, String)>, Wrong> {
    let wrong = |why: &str| Unfit { field: "body".into(), why: why.into() };
    let event: Json = serde_json::from_slice(body).map_err(|_| wrong("is no JSON"))?;
    let event = event.as_object().ok_or_else(|| wrong("is no CloudEvent"))?;
    let attributes = event.iter().filter(|(name, _)| !["data", "data_base64"].contains(&&***name));
    let read = attributes.map(|(name, value)| match value {
        Json::String(text) => Ok((name.clone(), text.clone())),
        Json::Number(_) | Json::Bool(_) => Ok((name.clone(), value.to_string())),
        _ => {
            Err(Unfit { field: name.clone(), why: "is a text, a number or a truth".into() }.into())
        }
    });
    let read: Vec<(String, String)> = read.collect::<Result<_, Wrong>>()?;
    if read.is_empty() {
        return Err(wrong("is no CloudEvent").into());
    }
    Ok(read)
}

fn text(value: Option<&HeaderValue>, field: &str) -> Result<Option<Arc<str>>, Unfit> {
    let Some(value) = value else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Unfit { field: field.into(), why: "is no text".into() })?;
    Ok(Some(short(field, text)?.into()))
}

fn number(
    headers: &HeaderMap,
    field: &str,
    bounds: std::ops::RangeInclusive<u8>,
) -> Result<Option<u8>, Unfit> {
    let Some(value) = headers.get(field) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let number = number.filter(|number| bounds.contains(number));
    let why = || format!("is a number from {} to {}", bounds.start(), bounds.end());
    number.map(Some).ok_or_else(|| Unfit { field: field.into(), why: why() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)], body: &str) -> Result<Properties, Wrong> {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), value.parse().expect("a value"))
        });
        properties(&headers.collect(), body.as_bytes())
    }

    fn header(properties: &Properties, key: &str) -> Option<String> {
        let headers = properties.headers.as_ref().expect("headers");
        headers.get(key).and_then(Value::as_text).map(Into::into)
    }

    #[test]
    fn headers_are_properties_and_a_trace_is_gone_on_with_or_begun() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let found = read(
            &[
                ("content-type", "text/plain"),
                ("amqp-message-id", "7"),
                ("amqp-priority", "3"),
                ("amqp-header-tenant", "acme"),
                ("traceparent", parent),
            ],
            "",
        );
        let found = found.expect("properties");
        assert_eq!(found.message_id.as_deref(), Some("7"));
        assert_eq!((found.priority, found.delivery_mode), (Some(3), Some(2)));
        assert_eq!(header(&found, "tenant").as_deref(), Some("acme"));
        assert_eq!(header(&found, "traceparent").as_deref(), Some(parent));
        for given in [&[][..], &[("traceparent", "nonsense")]] {
            let begun = header(&read(given, "").expect("properties"), "traceparent");
            let begun = begun.expect("a trace");
            assert!(TraceContext::parse(begun.as_bytes()).is_some(), "{begun}");
        }
        for wrong in [("amqp-priority", "256"), ("amqp-delivery-mode", "3")] {
            assert!(read(&[wrong], "").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn events_are_read_in_both_forms_and_must_be_whole() {
        let binary = [
            ("ce-id", "1"),
            ("ce-source", "/shop"),
            ("ce-specversion", "1.0"),
            ("ce-type", "order.placed"),
            ("ce-subject", "Euro%20%E2%82%AC"),
        ];
        let body = r#"{ "id": "1", "source": "/shop", "specversion": "1.0", "type": "order.placed",
                        "subject": "Euro €", "data": { "total": 3 } }"#;
        let media = [("content-type", "application/cloudevents+json; charset=utf-8")];
        for found in [read(&binary, "x"), read(&media, body)] {
            let found = found.expect("an event");
            assert_eq!(found.message_id.as_deref(), Some("1"));
            assert_eq!(found.kind.as_deref(), Some("order.placed"));
            assert_eq!(header(&found, "cloudEvents:subject").as_deref(), Some("Euro €"));
            assert_eq!(header(&found, "cloudEvents:data"), None);
        }
        assert!(
            matches!(read(&binary[1..], ""), Err(Wrong::Field(unfit)) if unfit.field == "ce-id")
        );
        let old = [binary[0], binary[1], ("ce-specversion", "0.3"), binary[3]];
        assert!(read(&old, "").is_err());
        for body in ["", "[]", "{}", r#"{ "id": {} }"#] {
            assert!(read(&media, body).is_err(), "{body}");
        }
        let batch = [("content-type", BATCH)];
        assert!(matches!(read(&batch, "[]"), Err(Wrong::Media(_))));
    }
}
