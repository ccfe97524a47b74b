//! Response heads. An upstream is trusted no more than a client: a response that has two readings
//! is answered with 502, because what follows it on the connection could be anyone's.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

use super::refusal::{check_line_ends, explain};
use super::section::{Facts, Keep, place, read_lines};
use super::{Framing, Limits, Refusal, Version};
use crate::http::chars;
use crate::http::head::{Fields, Span};
use crate::http::known::Known;

/// What a response says before its body.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status; 1xx is a head of its own, and another follows (but for 101).
    pub status: StatusCode,
    /// The version that the upstream speaks.
    pub version: Version,
    /// The header section as received, connection-specific fields included.
    pub fields: Fields,
    /// How the end of the body is known. [`Framing::None`] for 1xx, 204, 304 and for `HEAD`.
    pub framing: Framing,
    /// Whether the connection may carry another request once the body has ended.
    pub keep_alive: bool,
    reason: Span,
}

impl ResponseHead {
    /// The reason phrase as sent; often empty, and never more than decoration.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        self.reason.of(self.fields.raw())
    }
}

/// Takes one response head off the front of `buf`, or leaves `buf` as it is when the head is not
/// complete. `request_method` is that of the request it answers: `HEAD` has no body whatever the
/// fields say (RFC 9112 §6.3).
///
/// `Content-Length: 0` on 204 is wrong (RFC 9110 §8.6) but common and harmless: it is removed.
/// 101 must name what it switches to; whether that was asked for is the caller's to check.
///
/// # Errors
/// When the head is malformed, ambiguous or too large, as soon as that is certain. The status is
/// always 502, and the connection must not be read further.
pub fn parse_response(
    buf: &mut BytesMut,
    limits: &Limits,
    request_method: &Method,
) -> Result<Option<ResponseHead>, Refusal> {
    let mut fields = Fields::new();
    match parse(buf, limits, request_method, &mut fields) {
        Ok(None) => Ok(None),
        Ok(Some((parts, len))) => Ok(Some(parts.over(buf.split_to(len).freeze(), fields))),
        Err(refusal) => Err(refusal.of_response()),
    }
}

fn parse(
    bytes: &[u8],
    limits: &Limits,
    request_method: &Method,
    fields: &mut Fields,
) -> Result<Option<(Parts, usize)>, Refusal> {
    match bytes.first() {
        None => return Ok(None),
        Some(b'H') => {}
        Some(_) => return Err(Refusal::bad("start-line")),
    }
    let mut slots = [const { MaybeUninit::uninit() }; Limits::MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        bytes,
        &mut slots[..limits.fields()],
    );
    match status {
        Ok(httparse::Status::Complete(len)) if len <= limits.head() => {
            let parts = Parts::read(&bytes[..len], &parsed, request_method, fields)?;
            Ok(Some((parts, len)))
        }
        Ok(httparse::Status::Partial) if bytes.len() < limits.head() => {
            check_line_ends(bytes).map(|()| None)
        }
        Ok(_) => Err(Refusal::HEAD_TOO_LARGE),
        Err(error) => Err(explain(bytes, error)),
    }
}

/// A checked head whose bytes are still borrowed from the read buffer.
struct Parts {
    status: StatusCode,
    version: Version,
    reason: Span,
    framing: Framing,
    facts: Facts,
}

impl Parts {
    fn read(
        head: &[u8],
        parsed: &httparse::Response<'_, '_>,
        request_method: &Method,
        fields: &mut Fields,
    ) -> Result<Self, Refusal> {
        let line_end = match parsed.headers.first() {
            Some(header) => place(head, header.name.as_bytes()),
            None => head.len().saturating_sub(2),
        };
        let (version, reason) = check_status_line(head, line_end)?;
        let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
            .map_err(|_| Refusal::bad("status"))?;
        let mut facts = Facts::default();
        read_lines(head, line_end, parsed.headers, fields, |name, value, place| {
            facts.note(name, value, place).map(|()| Keep::Yes)
        })?;
        let declared = facts.framing(version)?;
        let framing = match status.as_u16() {
            101 if !facts.upgrade(version) => return Err(Refusal::bad("switching-protocols")),
            204 if declared == Some(Framing::Length(0)) => {
                fields.remove(Known::ContentLength);
                Framing::None
            }
            100..=199 | 204 if declared.is_some() => return Err(Refusal::bad("body-not-allowed")),
            100..=199 | 204 | 304 => Framing::None,
            _ if *request_method == Method::HEAD => Framing::None,
            _ => declared.unwrap_or(Framing::UntilClose),
        };
        Ok(Self { status, version, reason, framing, facts })
    }

    fn over(self, raw: Bytes, mut fields: Fields) -> ResponseHead {
        let Self { status, version, reason, framing, facts } = self;
        fields.settle(raw);
        ResponseHead {
            status,
            version,
            fields,
            framing,
            keep_alive: framing != Framing::UntilClose && facts.keep_alive(version),
            reason,
        }
    }
}

/// Checks the status line on its raw bytes (RFC 9112 §4): version, space, three digits, and then
/// nothing, or a space and a phrase. Returns the version and the place of the phrase.
fn check_status_line(head: &[u8], line_end: usize) -> Result<(Version, Span), Refusal> {
    const CODE_END: usize = b"HTTP/1.1 200".len();
    let text_end = line_end.saturating_sub(2);
    let version = match head.get(..9) {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return Err(Refusal::bad("start-line")),
    };
    if head.get(text_end..line_end) != Some(b"\r\n") {
        return Err(Refusal::bad("bare-line-feed"));
    }
    match head.get(CODE_END..text_end) {
        Some([]) => Ok((version, Span::default())),
        Some([b' ', phrase @ ..]) if chars::is_value(phrase) => {
            Ok((version, Span::new(CODE_END + 1, text_end)))
        }
        _ => Err(Refusal::bad("start-line")),
    }
}
