//! A request's head as it is written, and what is promised by it about the body.

use http::Method;

use super::super::call::{BodyKind, Call};
use crate::http::chars;
use crate::http::head::{Fields, Known};

/// What of the request's body is still to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Nothing.
    Done,
    /// The connection takes no more: what the instance has to say about it may still be read.
    Broken,
}

/// Fields that would frame the message or the connection a second time.
const FRAMING: u64 = Known::TransferEncoding.bit()
    | Known::Connection.bit()
    | Known::Upgrade.bit()
    | Known::KeepAlive.bit()
    | Known::Http2Settings.bit();

/// Writes the head. A request that came over HTTP/2 was checked by
/// [`check_downgrade`](crate::http1::check_downgrade); this holds whatever came before: a request
/// is written as one message with one reading, or not at all.
pub(super) fn encode(call: &Call<'_>, out: &mut Vec<u8>) -> Result<Upload, &'static str> {
    check(call)?;
    let announced = content_length(call.fields)?;
    out.extend_from_slice(call.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(call.path_and_query.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if call.fields.get(Known::Host).is_none() {
        put(out, b"Host: ", call.authority.as_bytes());
    }
    call.fields.write_http1(out);
    let upload = match (call.body, announced) {
        (BodyKind::None, None) => {
            // What a method usually has a body for is told that there is none (RFC 9110 §8.6).
            if matches!(*call.method, Method::POST | Method::PUT | Method::PATCH) {
                out.extend_from_slice(b"Content-Length: 0\r\n");
            }
            Upload::Done
        }
        (BodyKind::None, Some(0)) => Upload::Done,
        (BodyKind::Length(length), None) => {
            put(out, b"Content-Length: ", itoa::Buffer::new().format(length).as_bytes());
            Upload::of(length)
        }
        (BodyKind::Length(length), Some(announced)) if length == announced => Upload::of(length),
        (BodyKind::Unknown, None) => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            Upload::Chunked
        }
        _ => return Err("content-length"),
    };
    match (call.upgrade, call.te_trailers) {
        (Some(protocol), _) => {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            put(out, b"Upgrade: ", protocol);
        }
        (None, true) => out.extend_from_slice(b"Connection: te\r\nTE: trailers\r\n"),
        (None, false) => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(upload)
}

impl Upload {
    const fn of(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }
}

/// Whether every part may stand where it is written.
fn check(call: &Call<'_>) -> Result<(), &'static str> {
    let path = call.path_and_query.as_bytes();
    let in_form = path.first() == Some(&b'/') || path == b"*";
    if !in_form || !chars::is_visible(path) {
        return Err("target");
    }
    if *call.method == Method::CONNECT {
        return Err("method");
    }
    if !call.authority.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("host");
    }
    if !call.upgrade.is_none_or(|protocol| !protocol.is_empty() && chars::is_value(protocol)) {
        return Err("upgrade");
    }
    if call.fields.all(Known::Host).nth(1).is_some() {
        return Err("host-doubled");
    }
    if call.fields.has_any(FRAMING) {
        return Err("connection-field");
    }
    Ok(())
}

/// The length that the fields announce, if they do, once.
pub(in crate::upstream) fn content_length(fields: &Fields) -> Result<Option<u64>, &'static str> {
    let mut lengths = fields.all(Known::ContentLength);
    let Some(value) = lengths.next() else { return Ok(None) };
    let digits = value.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if digits && lengths.next().is_none() => Ok(Some(length)),
        _ => Err("content-length"),
    }
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
