//! Answers as Consul gives them: JSON with its headers, or one line of plain text.

use std::borrow::Cow;
use std::time::SystemTime;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, VARY,
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::ask::Ask;
use super::rendered::Written;
use crate::error::Error;
use crate::state::{Index, Refusal, session};

const X_INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const X_KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const X_LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const X_CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const X_FILTERED: HeaderName = HeaderName::from_static("x-consul-results-filtered-by-acls");
/// How many fields an answer has at most, those included that are put in last.
const HEADERS: usize = 12;

/// What a header section usually takes, in bytes.
const HEAD: usize = 512;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(crate) type Answer = Result<Response, Fault>;

/// Why a request is refused, in one line of plain text.
#[derive(Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    text: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn text(self) -> String {
        self.text.into_owned()
    }

    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn forbidden(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(crate) fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(crate) fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.status, [(CONTENT_TYPE, TEXT)], self.text).into_response()
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Refused(refusal) => match refusal {
                Refusal::UnknownNode(_)
                | Refusal::UnknownInstance(_)
                | Refusal::UnknownCheck(_)
                | Refusal::NoInstanceToCheck(_)
                | Refusal::NotTtl(_) => StatusCode::NOT_FOUND,
                Refusal::Own(_) => StatusCode::BAD_REQUEST,
                Refusal::Limit { .. } => StatusCode::TOO_MANY_REQUESTS,
                Refusal::Session(session::Refusal::Unknown(_)) => StatusCode::NOT_FOUND,
                // Consul has no better word for these, and clients know them by it.
                Refusal::Kv(_) | Refusal::Session(_) | Refusal::UserEvent(_) => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
                Refusal::Txn(_) => StatusCode::CONFLICT,
            },
            Error::TooManyWatchers(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            // As when Consul's servers have no leader: clients try again.
            Error::Unconfirmed(_)
            | Error::AddressInUse(_)
            | Error::Listen { .. }
            | Error::Recover(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Error::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// An empty answer: done.
pub(crate) fn done() -> Response {
    StatusCode::OK.into_response()
}

/// A line of plain text.
pub(crate) fn text(status: StatusCode, text: &'static str) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text).into_response()
}

/// `value` as JSON.
pub(crate) fn json(ask: &Ask, value: &impl Serialize) -> Response {
    let mut body = Vec::with_capacity(256);
    let written = if ask.flag("pretty") {
        let indent = PrettyFormatter::with_indent(b"    ");
        value.serialize(&mut Serializer::with_formatter(&mut body, indent)).map(|()| {
            body.push(b'\n');
        })
    } else {
        serde_json::to_writer(&mut body, value)
    };
    match written {
        Ok(()) => {
            let mut response = ([(CONTENT_TYPE, JSON)], Body::from(body)).into_response();
            if ask.is_filtered() {
                response.headers_mut().insert(X_FILTERED, HeaderValue::from_static("true"));
            }
            response
        }
        Err(error) => Fault::internal(error.to_string()).into_response(),
    }
}

/// `value` as JSON, as it was at `index`.
pub(crate) fn indexed(ask: &Ask, index: Index, value: &impl Serialize) -> Response {
    let mut response = json(ask, value);
    describe(&mut response, ask, index);
    response
}

/// JSON that was just written, as it was at `index`. Others may get the same compressed.
pub(crate) fn rendered(ask: &Ask, index: Index, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    // All that there will be: it need not grow for each of many.
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(VARY, ACCEPT_ENCODING);
    describe(&mut response, ask, index);
    response
}

/// JSON that was written before for somebody else, as it was at `index`: compressed if that is taken
/// (RFC 9110, 12.5.3), as Consul does; here only where it is done once for many.
pub(crate) fn rendered_before(ask: &Ask, index: Index, body: &Written) -> Response {
    let (body, is_gzipped) = taken(ask, body);
    let mut response = rendered(ask, index, body);
    if is_gzipped {
        response.headers_mut().insert(CONTENT_ENCODING, GZIP);
    }
    response
}

/// Says that `response` is as it was at `index`.
pub(crate) fn describe(response: &mut Response, ask: &Ask, index: Index) {
    let headers = response.headers_mut();
    headers.insert(X_INDEX, HeaderValue::from(index.get()));
    describe_consistency(headers, ask);
}

/// Says how far `headers`' answer can be relied on.
pub(crate) fn describe_consistency(headers: &mut HeaderMap, ask: &Ask) {
    for (name, value) in consistency(ask) {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn consistency(ask: &Ask) -> [(HeaderName, &'static str); 4] {
    let consistency = if ask.flag("stale") {
        "stale"
    } else if ask.flag("consistent") {
        "consistent"
    } else {
        "leader"
    };
    [
        (X_CONSISTENCY, consistency),
        // One node that answers from what it has is its own leader, and never behind.
        (X_KNOWN_LEADER, "true"),
        (X_LAST_CONTACT, "0"),
        (X_FILTERED, if ask.is_filtered() { "true" } else { "false" }),
    ]
}

/// What [`rendered_before`] is on the wire: its header section, and its body.
pub(crate) fn written_before(ask: &Ask, index: Index, body: &Written) -> (Vec<u8>, Bytes) {
    let (body, is_gzipped) = taken(ask, body);
    let mut head = begun(StatusCode::OK, body.len());
    let mut number = itoa::Buffer::new();
    put(&mut head, &CONTENT_TYPE, JSON.as_bytes());
    put(&mut head, &X_INDEX, number.format(index.get()).as_bytes());
    for (name, value) in consistency(ask) {
        put(&mut head, &name, value.as_bytes());
    }
    put(&mut head, &VARY, ACCEPT_ENCODING.as_bytes());
    if is_gzipped {
        put(&mut head, &CONTENT_ENCODING, GZIP.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    (head, body)
}

/// A body as whoever asks takes it, and whether that is compressed.
fn taken(ask: &Ask, body: &Written) -> (Bytes, bool) {
    let gzipped = if ask.takes_gzip() { body.gzipped() } else { None };
    let is_gzipped = gzipped.is_some();
    (gzipped.unwrap_or_else(|| body.plain()), is_gzipped)
}

/// Any other answer on the wire: its header section, and its body, which is in memory as all of them are.
pub(crate) async fn written(response: Response) -> Result<(Vec<u8>, Bytes), axum::Error> {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await?;
    let mut head = begun(parts.status, body.len());
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
        put(&mut head, name, value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    Ok((head, body))
}

/// A status line, and the fields that every answer has.
fn begun(status: StatusCode, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    let mut number = itoa::Buffer::new();
    put(&mut head, &CONTENT_LENGTH, number.format(length).as_bytes());
    put(&mut head, &DATE, httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    head
}

fn put(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
