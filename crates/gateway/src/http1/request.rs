//! Request heads: the request line, the target in its four forms, and what the fields must say.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Method;

use super::refusal::{check_line_ends, explain};
use super::section::{Facts, Keep, place, read_lines};
use super::{Framing, Limits, Refusal, Target, Version};
use crate::http::chars;
use crate::http::head::Fields;
use crate::http::target;

/// The longest method that is looked at; the longest registered one has 17 bytes.
const LONGEST_METHOD: usize = 32;

/// What a request says before its body.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method. Never `CONNECT`.
    pub method: Method,
    /// Where it goes.
    pub target: Target,
    /// The version that the client speaks.
    pub version: Version,
    /// The header section as received, connection-specific fields included.
    pub fields: Fields,
    /// How the end of the body is known; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client expects to send another request on the connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before its body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Whether the client asks, validly, to speak another protocol. `h2c` is never one, and a
    /// request with a body asks for nothing (RFC 9110 §7.8 lets a server ignore the field).
    pub upgrade: bool,
}

/// Takes one request head off the front of `buf`, or leaves `buf` as it is when the head is not
/// complete. One empty line before it is skipped (RFC 9112 §2.2).
///
/// HTTP/1.0 may come without `Host`: its authority is empty then, and no rule for a host applies.
///
/// # Errors
/// When the head is malformed, ambiguous or too large, as soon as that is certain; the connection
/// must not be read further.
pub fn parse_request(buf: &mut BytesMut, limits: &Limits) -> Result<Option<RequestHead>, Refusal> {
    let skipped = match buf.first_chunk() {
        Some(b"\r\n") => 2,
        _ => 0,
    };
    let bytes = &buf[skipped..];
    match bytes.first() {
        Some(first) if chars::is_token_byte(*first) => {}
        None => return Ok(None),
        Some(b'\r') if skipped == 0 && bytes.len() == 1 => return Ok(None),
        Some(b'\n') => return Err(Refusal::bad("bare-line-feed")),
        Some(_) => return Err(Refusal::bad("start-line")),
    }
    let mut slots = [const { MaybeUninit::uninit() }; Limits::MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(bytes, &mut slots[..limits.fields()]);
    let len = match status {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            check_unfinished(bytes, &parsed, limits)?;
            return Ok(None);
        }
        Err(error) => return Err(explain(bytes, error)),
    };
    let mut fields = Fields::new();
    let parts = Parts::read(&bytes[..len], &parsed, limits, &mut fields)?;
    buf.advance(skipped);
    Ok(Some(parts.over(buf.split_to(len).freeze(), fields)))
}

/// Refuses an unfinished head that no further byte can save.
fn check_unfinished(
    bytes: &[u8],
    parsed: &httparse::Request<'_, '_>,
    limits: &Limits,
) -> Result<(), Refusal> {
    check_line_ends(bytes)?;
    // Without a method yet, all of the bytes are the beginning of one.
    if parsed.method.map_or(bytes.len(), str::len) > LONGEST_METHOD {
        return Err(Refusal::METHOD);
    }
    match (parsed.method, parsed.path) {
        (_, Some(target)) if target.len() > limits.uri => return Err(Refusal::URI_TOO_LONG),
        (Some(method), None) if bytes.len() - method.len() - 1 > limits.uri => {
            return Err(Refusal::URI_TOO_LONG);
        }
        _ => {}
    }
    if bytes.len() >= limits.head() { Err(Refusal::HEAD_TOO_LARGE) } else { Ok(()) }
}

/// A checked head whose bytes are still borrowed from the read buffer.
struct Parts {
    method: Method,
    version: Version,
    place: Place,
    framing: Framing,
    facts: Facts,
}

/// Where the target stands: in the head, or in bytes of its own when the head spells it otherwise.
enum Place {
    Head(target::Spans),
    Own(Target),
}

impl Parts {
    fn read(
        head: &[u8],
        parsed: &httparse::Request<'_, '_>,
        limits: &Limits,
        fields: &mut Fields,
    ) -> Result<Self, Refusal> {
        let method = parsed.method.unwrap_or_default();
        let target = parsed.path.unwrap_or_default();
        if target.len() > limits.uri {
            return Err(Refusal::URI_TOO_LONG);
        }
        if head.len() > limits.head() {
            return Err(Refusal::HEAD_TOO_LARGE);
        }
        let (version, target_end, line_end) = check_request_line(head, method, target)?;
        let method = check_method(method)?;
        let mut facts = Facts::default();
        read_lines(head, line_end, parsed.headers, fields, |name, value, place| {
            facts.note(name, value, place).map(|()| Keep::Yes)
        })?;
        if facts.expect_continue == Some(false) {
            return Err(Refusal::EXPECTATION);
        }
        let framing = facts.framing(version)?.unwrap_or(Framing::None);
        let target = (target_end - target.len(), target_end);
        let place = locate(head, &method, target, check_host(&facts, version)?)?;
        Ok(Self { method, version, place, framing, facts })
    }

    fn over(self, raw: Bytes, mut fields: Fields) -> RequestHead {
        let Self { method, version, place, framing, facts } = self;
        fields.settle(raw.clone());
        RequestHead {
            method,
            target: match place {
                Place::Head(spans) => spans.over(raw),
                Place::Own(target) => target,
            },
            version,
            fields,
            framing,
            keep_alive: facts.keep_alive(version),
            expect_continue: facts.expect_continue.is_some()
                && framing != Framing::None
                && version == Version::Http11,
            upgrade: framing == Framing::None && facts.upgrade(version),
        }
    }
}

/// Checks that the request line is three parts, two spaces and CR LF (RFC 9112 §3); returns the
/// version, the end of the target and the end of the line.
fn check_request_line(
    head: &[u8],
    method: &str,
    target: &str,
) -> Result<(Version, usize, usize), Refusal> {
    const REST: usize = b" HTTP/1.1\r\n".len();
    let target_start = place(head, target.as_bytes());
    let target_end = target_start.wrapping_add(target.len());
    let line_end = target_end.wrapping_add(REST);
    let version = match head.get(target_end..line_end) {
        Some(b" HTTP/1.1\r\n") => Version::Http11,
        Some(b" HTTP/1.0\r\n") => Version::Http10,
        _ => return Err(Refusal::bad("bare-line-feed")),
    };
    if target_start != method.len() + 1 {
        return Err(Refusal::bad("start-line"));
    }
    Ok((version, target_end, line_end))
}

/// `CONNECT` would make a forward proxy of the gateway; `PRI` only ever begins HTTP/2.
fn check_method(method: &str) -> Result<Method, Refusal> {
    if method == "PRI" {
        return Err(Refusal::VERSION);
    }
    match Method::from_bytes(method.as_bytes()) {
        Ok(known) if known != Method::CONNECT && method.len() <= LONGEST_METHOD => Ok(known),
        _ => Err(Refusal::METHOD),
    }
}

/// The place of the `Host` value: there must be one in HTTP/1.1 (RFC 9112 §3.2), and never an
/// empty one, because every target here has an authority.
fn check_host(facts: &Facts, version: Version) -> Result<Option<(usize, usize)>, Refusal> {
    match facts.host {
        None if version == Version::Http11 => Err(Refusal::bad("host-missing")),
        Some((start, end)) if start == end => Err(Refusal::bad("host-invalid")),
        host => Ok(host),
    }
}

/// Reads the target in origin, asterisk or absolute form (RFC 9112 §3.2).
fn locate(
    head: &[u8],
    method: &Method,
    (start, end): (usize, usize),
    host: Option<(usize, usize)>,
) -> Result<Place, Refusal> {
    let target = head.get(start..end).unwrap_or_default();
    match target {
        [b'/', ..] => {}
        b"*" if *method == Method::OPTIONS => {}
        _ => return locate_absolute(head, method, (start, end), host),
    }
    let spans = target::Spans::new(host.unwrap_or_default(), (start, end), head)?;
    Ok(Place::Head(spans))
}

/// Absolute form: its authority must be that of `Host` to the letter, but for case. RFC 9112 §3.2.2
/// would let the target win; whoever sends two different hosts wants them read differently.
fn locate_absolute(
    head: &[u8],
    method: &Method,
    (start, end): (usize, usize),
    host: Option<(usize, usize)>,
) -> Result<Place, Refusal> {
    let target = head.get(start..end).unwrap_or_default();
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme.as_bytes()))
    });
    let after_scheme = scheme.ok_or(Refusal::bad("target"))?.len();
    let rest = &target[after_scheme..];
    let authority_len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    if authority.is_empty() {
        return Err(Refusal::bad("host-invalid"));
    }
    if let Some((from, to)) = host
        && !head[from..to].eq_ignore_ascii_case(authority)
    {
        return Err(Refusal::bad("host-mismatch"));
    }
    let authority_start = start + after_scheme;
    let path_start = authority_start + authority_len;
    match path {
        [b'/', ..] => {
            let authority = (authority_start, path_start);
            Ok(Place::Head(target::Spans::new(authority, (path_start, end), head)?))
        }
        // §3.2.4: how OPTIONS about the whole server looks on its way through a proxy.
        [] if *method == Method::OPTIONS => Ok(Place::Own(Target::new(authority, b"*")?)),
        query => Ok(Place::Own(Target::new(authority, &[b"/", query].concat())?)),
    }
}
