//! What an HTTP/2 request must satisfy before it is written as HTTP/1. A field that means nothing
//! there may frame or route the message here, so it is held to the rules of a received HTTP/1 head.

use http::HeaderMap;

use super::section::Facts;
use super::{Framing, Refusal, Target, Version};
use crate::http::chars;
use crate::http::head::{Fields, Known};

/// Reads the fields of a section that came over HTTP/2, of a request or a response. At most `most`
/// are let through; a cookie counts once, into however many fields it was split.
///
/// # Errors
/// When there are more, or when white space surrounds a value (RFC 9113 §8.2.1): it would vanish on
/// the way over HTTP/1, so that two readers saw two values. The status is a request's.
pub(crate) fn read_fields(map: HeaderMap, most: usize) -> Result<Fields, Refusal> {
    let is_padded = |value: &[u8]| chars::trim(value).len() != value.len();
    if map.values().any(|value| is_padded(value.as_bytes())) {
        return Err(Refusal::bad("field-value"));
    }
    let fields = Fields::from_header_map(map);
    if fields.len() > most { Err(Refusal::TOO_MANY_FIELDS) } else { Ok(fields) }
}

/// Checks the fields of an HTTP/2 request and returns the framing to forward it with.
/// `ends_with_head` says that no data and no trailers follow.
///
/// # Errors
/// When there are connection-specific fields (RFC 9113 §8.2.2), a `Host` that is not `:authority`
/// (§8.3.1), or a `Content-Length` that is malformed, doubled or contradicts the end of the stream.
pub fn check_downgrade(
    target: &Target,
    fields: &Fields,
    ends_with_head: bool,
) -> Result<Framing, Refusal> {
    const CONNECTION_SPECIFIC: [Known; 6] = [
        Known::Connection,
        Known::TransferEncoding,
        Known::Upgrade,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::Http2Settings,
    ];
    if CONNECTION_SPECIFIC.iter().any(|name| fields.get(*name).is_some()) {
        return Err(Refusal::bad("connection-field"));
    }
    let facts = Facts::of(fields)?;
    if facts.expect_continue == Some(false) {
        return Err(Refusal::EXPECTATION);
    }
    if let Some(host) = fields.get(Known::Host)
        && !host.eq_ignore_ascii_case(target.authority().as_bytes())
    {
        return Err(Refusal::bad("host-mismatch"));
    }
    match facts.framing(Version::Http11)? {
        Some(Framing::Length(length)) if ends_with_head && length > 0 => {
            Err(Refusal::bad("content-length"))
        }
        Some(framing) => Ok(framing),
        None if ends_with_head => Ok(Framing::None),
        None => Ok(Framing::Chunked),
    }
}
