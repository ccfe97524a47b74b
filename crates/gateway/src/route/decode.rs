//! Percent-escapes, undone for comparison only: what is forwarded keeps its escapes. Without
//! escapes nothing is copied.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A path segment, decoded. Safe to compare because segments were cut before.
pub(crate) fn segment(raw: &[u8]) -> Cow<'_, [u8]> {
    percent_decode(raw).into()
}

/// A part of a query, decoded as forms are: `+` is a space.
pub(super) fn form(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'+', raw).is_none() {
        return percent_decode(raw).into();
    }
    let spaced: Vec<u8> = raw.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// A whole path in which unreserved characters are plain (RFC 3986 §6.2.2.2), and only those: the
/// others would change where segments end.
pub(super) fn unreserved(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        let escaped = rest.get(..3).filter(|_| *first == b'%').map(|escape| segment(escape));
        match escaped.as_deref() {
            Some([byte]) if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => {
                out.push(*byte);
                rest = &rest[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}
