//! Where a request goes: path, query and authority, checked once and never read differently later.
//!
//! What is refused here is what two servers read in two ways: dot segments and their disguises,
//! NUL, backslashes, broken escapes, odd authorities. A route that guards `/admin` must see the
//! same path as the service behind it. Sources: RFC 3986 §3, RFC 9112 §3.2, RFC 9110 §4.2.

use std::net::Ipv6Addr;

use bytes::{Bytes, BytesMut};

use super::chars;
use super::head::Span;

/// The checked target of a request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Target {
    raw: Bytes,
    path: Span,
    /// With its question mark; empty when there is none.
    query: Span,
    authority: Span,
    host_len: usize,
}

/// Why a target is refused, as a stable label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

impl Target {
    /// A target from what HTTP/2 calls `:authority` and `:path`, under the rules of HTTP/1.
    /// `path` begins with `/`, or is `*`.
    ///
    /// # Errors
    /// With the label of the first rule that is broken.
    pub fn new(authority: &[u8], path: &[u8]) -> Result<Self, Invalid> {
        let mut raw = BytesMut::with_capacity(authority.len() + path.len());
        raw.extend_from_slice(authority);
        raw.extend_from_slice(path);
        let spans = Spans::new((0, authority.len()), (authority.len(), raw.len()), &raw)?;
        Ok(spans.over(raw.freeze()))
    }

    /// The path as sent, percent signs included; `*` for a request about the whole server.
    #[must_use]
    pub fn path(&self) -> &str {
        text(self.path.of(&self.raw))
    }

    /// What follows the question mark, as sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.of(&self.raw).split_first().map(|(_, query)| text(query))
    }

    /// Path and query as sent: the target of a forwarded request in origin form.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let both = self.path.range().start..self.query.range().end;
        text(self.raw.get(both).unwrap_or_default())
    }

    /// Host and port as sent; empty when an HTTP/1.0 request named no host.
    #[must_use]
    pub fn authority(&self) -> &str {
        text(self.authority.of(&self.raw))
    }

    /// [`Target::path`] as bytes.
    pub(crate) fn path_bytes(&self) -> &[u8] {
        self.path.of(&self.raw)
    }

    /// [`Target::authority`] as bytes.
    pub(crate) fn authority_bytes(&self) -> &[u8] {
        self.authority.of(&self.raw)
    }

    /// The host without its port, as sent: any case, IPv6 in brackets, a final dot kept.
    #[must_use]
    pub fn host(&self) -> &str {
        text(self.authority_bytes().get(..self.host_len).unwrap_or_default())
    }

    /// The port, when one was sent.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.authority().get(self.host_len..)?.strip_prefix(':')?.parse().ok()
    }
}

/// A target by its places in bytes that are still borrowed from a read buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    path: Span,
    query: Span,
    authority: Span,
    host_len: usize,
}

impl Spans {
    /// Checks the authority (empty is left to the caller) and the path with its query.
    pub(crate) fn new(
        authority: (usize, usize),
        target: (usize, usize),
        bytes: &[u8],
    ) -> Result<Self, Invalid> {
        let whole = bytes.get(target.0..target.1).unwrap_or_default();
        let path_len = memchr::memchr(b'?', whole).unwrap_or(whole.len());
        let (path, query) = whole.split_at(path_len);
        check_path(path)?;
        if !chars::is_query(query) || (path == b"*" && !query.is_empty()) {
            return Err(Invalid("target"));
        }
        let host_len = match bytes.get(authority.0..authority.1).unwrap_or_default() {
            [] => 0,
            authority => check_authority(authority)?,
        };
        let middle = target.0 + path_len;
        Ok(Self {
            path: Span::new(target.0, middle),
            query: Span::new(middle, target.1),
            authority: Span::new(authority.0, authority.1),
            host_len,
        })
    }

    /// The target, once the bytes are its own.
    pub(crate) fn over(self, raw: Bytes) -> Target {
        let Self { path, query, authority, host_len } = self;
        Target { raw, path, query, authority, host_len }
    }
}

/// Checks `host[:port]` and returns the length of the host. Userinfo is refused with everything
/// else that is no host (RFC 9110 §4.2.4).
fn check_authority(authority: &[u8]) -> Result<usize, Invalid> {
    const INVALID: Invalid = Invalid("host-invalid");
    // The longest name in DNS, and a final dot.
    const LONGEST: usize = 254;
    let host_len = if authority.first() == Some(&b'[') {
        let end = memchr::memchr(b']', authority).ok_or(INVALID)?;
        let _address: Ipv6Addr = text(&authority[1..end]).parse().map_err(|_| INVALID)?;
        end + 1
    } else {
        let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
        let host = &authority[..end];
        let dots_stand_apart =
            host.first() != Some(&b'.') && !host.windows(2).any(|pair| pair == b"..");
        if host.is_empty() || host.len() > LONGEST || !chars::is_host(host) || !dots_stand_apart {
            return Err(INVALID);
        }
        end
    };
    match &authority[host_len..] {
        [] => Ok(host_len),
        [b':', port @ ..] if is_port(port) => Ok(host_len),
        _ => Err(INVALID),
    }
}

fn is_port(digits: &[u8]) -> bool {
    let value = |port: u32, digit: &u8| port * 10 + u32::from(digit.wrapping_sub(b'0'));
    (1..=5).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0, value) <= u32::from(u16::MAX)
}

/// Checks a path that begins with `/`, or is `*`.
fn check_path(path: &[u8]) -> Result<(), Invalid> {
    match path {
        b"*" => return Ok(()),
        [b'/', ..] if chars::is_path(path) => {}
        _ => return Err(Invalid("target")),
    }
    // Dots only matter at the beginning of a segment, and most paths have neither mark.
    if memchr::memchr2(b'%', b'.', path).is_none() { Ok(()) } else { check_segments(path) }
}

/// Refuses dot segments as the most generous of servers would find them: escaped or not, ended by
/// `/`, by an escaped `/` or `\`, or by `;` (path parameters).
fn check_segments(path: &[u8]) -> Result<(), Invalid> {
    let mut rest = path;
    // How many dots, and nothing else, this segment has so far; 0 at its beginning.
    let mut dots = Some(0_u8);
    while let Some((byte, after)) = next_byte(rest)? {
        rest = after;
        match byte {
            0 => return Err(Invalid("nul-escape")),
            b'/' | b'\\' | b';' => {
                refuse_dots(dots)?;
                dots = (byte != b';').then_some(0);
            }
            b'.' => dots = dots.map(|dots| dots.saturating_add(1)),
            _ => dots = None,
        }
    }
    refuse_dots(dots)
}

const fn refuse_dots(dots: Option<u8>) -> Result<(), Invalid> {
    match dots {
        Some(1 | 2) => Err(Invalid("dot-segment")),
        _ => Ok(()),
    }
}

/// The first byte of a path, unescaped, and what follows it.
fn next_byte(path: &[u8]) -> Result<Option<(u8, &[u8])>, Invalid> {
    match path {
        [] => Ok(None),
        [b'%', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => Ok(Some((high << 4 | low, rest))),
            _ => Err(Invalid("escape")),
        },
        [b'%', ..] => Err(Invalid("escape")),
        [byte, rest @ ..] => Ok(Some((*byte, rest))),
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Checked bytes as text: every class of byte that a target may hold is ASCII.
fn text(ascii: &[u8]) -> &str {
    std::str::from_utf8(ascii).unwrap_or_default()
}
