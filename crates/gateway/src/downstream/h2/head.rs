//! The head of a call as the phases know it, held to the rules of HTTP/1, and the head of its
//! response as HTTP/2 has it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use ::h2::ext::Protocol;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::http::head::{Fields, Known};
use crate::http1::{self, Framing, Refusal, Target, check_downgrade};
use crate::proxy::{self, Request};
use crate::upstream::BodyKind;

/// Brings a request into the form that the phases know. `ended` says that nothing follows its head.
pub(super) fn read(
    parts: request::Parts,
    ended: bool,
    most_fields: usize,
) -> Result<Request, Fault> {
    let refused = |reason| Fault::Refused(Refusal { status: 400, reason });
    let mut fields = http1::read_fields(parts.headers, most_fields).map_err(Fault::Refused)?;
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(refused("scheme"));
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = match authority.or_else(|| fields.get(Known::Host)) {
        Some(authority) => authority,
        None => return Err(refused("host-missing")),
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if path == "*" && parts.method != Method::OPTIONS {
        return Err(refused("target"));
    }
    let target = Target::new(authority, path.as_bytes())
        .map_err(|invalid| Fault::Refused(invalid.into()))?;
    let framing = check_downgrade(&target, &fields, ended).map_err(Fault::Refused)?;
    let mut method = parts.method;
    let upgrade = parts.extensions.get::<Protocol>();
    if let Some(protocol) = upgrade {
        if protocol.as_str() != "websocket" {
            return Err(Fault::Upgrade);
        }
        if matches!(framing, Framing::Length(1..)) {
            // A tunnel has no body (RFC 9110 §9.3.6).
            return Err(refused("content-length"));
        }
        // What RFC 8441 §5 leaves out of an extended CONNECT and HTTP/1 wants to see.
        method = Method::GET;
        fields.set_known(Known::Upgrade, b"websocket");
    } else if method == Method::CONNECT {
        return Err(Fault::Refused(Refusal { status: 501, reason: "method" }));
    }
    fields.set_known(Known::Host, target.authority().as_bytes());
    let grpc_timeout = fields.get(Known::GrpcTimeout).and_then(proxy::grpc_timeout);
    Ok(Request {
        grpc_timeout,
        method,
        target,
        fields,
        body: match framing {
            _ if upgrade.is_some() => BodyKind::None,
            Framing::None => BodyKind::None,
            Framing::Length(length) => BodyKind::Length(length),
            Framing::Chunked | Framing::UntilClose => BodyKind::Unknown,
        },
        protocol: "HTTP/2",
        upgrade: upgrade.is_some(),
        websocket_key: None,
    })
}

/// The head of a response. A response without `Date` gets one (RFC 9110 §6.6.1).
///
/// # Errors
/// When HTTP/2 cannot carry the fields.
pub(super) fn response(status: StatusCode, fields: &Fields) -> Result<Response<()>, http::Error> {
    let mut headers = fields.to_header_map(Known::Other)?;
    if fields.get(Known::Date).is_none() {
        headers.try_insert(header::DATE, date())?;
    }
    Ok(with(status, headers))
}

/// The head of an interim response.
///
/// # Errors
/// As [`response`].
pub(super) fn interim(status: StatusCode, fields: &Fields) -> Result<Response<()>, http::Error> {
    Ok(with(status, fields.to_header_map(Known::Other)?))
}

/// A head without fields.
pub(super) fn bare(status: StatusCode) -> Response<()> {
    with(status, HeaderMap::new())
}

fn with(status: StatusCode, headers: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The time as a field has it, written once a second.
fn date() -> HeaderValue {
    thread_local! {
        static WRITTEN: RefCell<Option<(Instant, HeaderValue)>> = const { RefCell::new(None) };
    }
    const SECOND: Duration = Duration::from_secs(1);
    WRITTEN.with_borrow_mut(|written| {
        let now = Instant::now();
        if let Some((at, value)) = written
            && now.duration_since(*at) < SECOND
        {
            return value.clone();
        }
        let text = httpdate::fmt_http_date(SystemTime::now());
        let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        *written = Some((now, value.clone()));
        value
    })
}
