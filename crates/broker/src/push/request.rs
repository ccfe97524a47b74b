//! A message as a call: its body as it is, its properties as headers. What came as a CloudEvent in
//! binary form goes out as one, and the call is a part of the message's trace.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use posthouse_base::trace::TraceContext;

use crate::config::Subscription;
use crate::http::names;
use crate::message::{Message, Value};

/// The call for a message.
pub(super) fn request(
    subscription: &Subscription,
    message: &Message,
    redelivered: bool,
    attempt: u32,
) -> Request<Bytes> {
    let mut request = Request::new(message.body.clone());
    *request.method_mut() = Method::POST;
    // It was checked to be one.
    *request.uri_mut() = subscription.path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    let properties = &message.properties;
    for (name, of) in
        [(CONTENT_TYPE, &properties.content_type), (CONTENT_ENCODING, &properties.content_encoding)]
    {
        if let Some(value) = of.as_deref().and_then(carried) {
            headers.insert(name, value);
        }
    }
    for (name, of) in names::texts(properties) {
        if let Some(value) = of.as_deref().and_then(carried) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let more = [
        (names::QUEUE, subscription.queue.to_string()),
        (names::EXCHANGE, message.exchange.to_string()),
        (names::ROUTING_KEY, message.routing_key.to_string()),
        (names::REDELIVERED, redelivered.to_string()),
        (names::ATTEMPT, attempt.to_string()),
    ];
    for (name, text) in more {
        if let Some(value) = carried(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    add_headers(headers, message);
    request
}

fn add_headers(headers: &mut HeaderMap, message: &Message) {
    let table = message.properties.headers.as_ref();
    let mut trace = None;
    for (key, value) in table.into_iter().flat_map(|table| table.iter()) {
        let name = match key.strip_prefix(names::CLOUD_EVENT) {
            Some(attribute) => format!("{}{attribute}", names::CLOUD_EVENT_HEADER),
            None if key == names::TRACE_PARENT => {
                trace = value.as_text().and_then(|text| TraceContext::parse(text.as_bytes()));
                continue;
            }
            None if key == names::TRACE_STATE => key.to_owned(),
            None => format!("{}{key}", names::HEADER),
        };
        let text = match value {
            Value::Text(octets) => HeaderValue::from_bytes(octets).ok(),
            Value::Bool(flag) => carried(&flag.to_string()),
            value => value.as_integer().map(HeaderValue::from),
        };
        // What HTTP cannot carry is left out: the message is delivered all the same.
        if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), text) {
            headers.insert(name, value);
        }
    }
    if let Some(trace) = trace {
        let value = HeaderValue::from_bytes(&trace.child().to_traceparent());
        if let Ok(value) = value {
            headers.insert(HeaderName::from_static(names::TRACE_PARENT), value);
        }
    }
}

fn carried(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthouse_base::time::Timestamp;

    use super::*;
    use crate::config::Backoff;
    use crate::message::{Properties, Table};

    #[test]
    fn a_cloud_event_goes_out_as_it_came_and_goes_on_with_its_trace() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = Table::new();
        headers.push("cloudEvents:type", Value::text("order.placed"));
        headers.push("traceparent", Value::text(parent));
        headers.push("tries", Value::I64(3));
        headers.push("bad name", Value::text("left out"));
        headers.push("list", Value::Array(Vec::new()));
        let properties = Properties {
            headers: Some(headers),
            content_type: Some("application/json".into()),
            message_id: Some("7".into()),
            ..Properties::default()
        };
        let message = Message {
            exchange: "orders".into(),
            routing_key: "placed".into(),
            properties,
            body: "{}".into(),
            queued_at: Timestamp::default(),
        };
        let second = Duration::from_secs(1);
        let subscription = Subscription {
            name: "mails".into(),
            vhost: "/".into(),
            queue: "mails".into(),
            service: "mailer".into(),
            path: "/messages".into(),
            concurrency: 1,
            timeout: second,
            attempts: 1,
            backoff: Backoff { first: second, most: second },
        };
        let request = request(&subscription, &message, false, 2);
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/messages"));
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("ce-type"), Some("order.placed"));
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("amqp-message-id"), Some("7"));
        assert_eq!(header("amqp-header-tries"), Some("3"));
        assert_eq!(header("amqp-attempt"), Some("2"));
        let trace = header("traceparent").expect("a trace");
        assert!(trace[..36] == parent[..36] && trace != parent, "{trace}");
        assert!(request.headers().keys().all(|name| !name.as_str().contains("list")));
    }
}
