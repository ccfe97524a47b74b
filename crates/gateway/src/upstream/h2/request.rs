//! A request as the head of an HTTP/2 stream.

use ::h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use super::super::call::{BodyKind, Call};
use super::super::h1::content_length;
use crate::http::chars;
use crate::http::head::Known;

/// The head, and the body's length if it is known. An upgrade becomes an extended `CONNECT`
/// (RFC 8441).
pub(super) fn build(call: &Call<'_>) -> Result<(Request<()>, Option<u64>), &'static str> {
    const CONNECTION_SPECIFIC: [Known; 5] = [
        Known::TransferEncoding,
        Known::Connection,
        Known::Upgrade,
        Known::KeepAlive,
        Known::Http2Settings,
    ];
    if *call.method == Method::CONNECT {
        return Err("method");
    }
    if CONNECTION_SPECIFIC.iter().any(|name| call.fields.get(*name).is_some()) {
        return Err("connection-field");
    }
    let length = match (call.body, content_length(call.fields)?) {
        (BodyKind::None, None | Some(0)) => Some(0),
        (BodyKind::Length(length), None) => Some(length),
        (BodyKind::Length(length), Some(announced)) if length == announced => Some(length),
        (BodyKind::Unknown, None) => None,
        _ => return Err("content-length"),
    };
    let mut request = Request::new(());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = target(call)?;
    *request.headers_mut() = headers(call, length)?;
    if let Some(protocols) = call.upgrade {
        let first = chars::list(protocols).next().and_then(|name| std::str::from_utf8(name).ok());
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(first.ok_or("upgrade")?));
    }
    Ok((request, length))
}

fn target(call: &Call<'_>) -> Result<Uri, &'static str> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if call.scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(Authority::try_from(call.authority).map_err(|_| "host")?);
    let path = PathAndQuery::try_from(call.path_and_query).map_err(|_| "target")?;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| "target")
}

fn headers(call: &Call<'_>, length: Option<u64>) -> Result<HeaderMap, &'static str> {
    // The authority says the same as `Host`.
    let mut headers = call.fields.to_header_map(Known::Host).map_err(|_| "field")?;
    if call.upgrade.is_some() {
        // Neither has a meaning in an extended CONNECT (RFC 8441 §5).
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::SEC_WEBSOCKET_KEY);
    } else if let Some(length @ 1..) = length
        && call.fields.get(Known::ContentLength).is_none()
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if call.te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(headers)
}
