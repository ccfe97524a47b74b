//! Why a message is refused: a status, and a label that stays the same for metrics and logs.

use crate::http::target::Invalid;

/// A message that is not forwarded. The connection is closed after the answer, because where the
/// next message begins is no longer certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The status to answer with; 502 when the message was a response.
    pub status: u16,
    /// What was wrong, as a stable label in kebab case.
    pub reason: &'static str,
}

impl Refusal {
    /// 400: malformed or ambiguous.
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    /// 414: a longer target than the limit.
    pub(crate) const URI_TOO_LONG: Self = Self { status: 414, reason: "target-too-long" };
    /// 417: an expectation other than `100-continue` (RFC 9110 §10.1.1).
    pub(crate) const EXPECTATION: Self = Self { status: 417, reason: "expectation" };
    /// 431: a larger header section than the limit.
    pub(crate) const HEAD_TOO_LARGE: Self = Self { status: 431, reason: "head-too-large" };
    /// 431: more fields than the limit.
    pub(crate) const TOO_MANY_FIELDS: Self = Self { status: 431, reason: "too-many-fields" };
    /// 501: a method that is not forwarded.
    pub(crate) const METHOD: Self = Self { status: 501, reason: "method" };
    /// 501: a transfer coding other than `chunked` (RFC 9112 §6.1).
    pub(crate) const CODING: Self = Self { status: 501, reason: "transfer-coding" };
    /// 505: a version other than 1.0 and 1.1.
    pub(crate) const VERSION: Self = Self { status: 505, reason: "version" };

    /// The same about a response: the fault is the upstream's.
    pub(crate) const fn of_response(self) -> Self {
        Self { status: 502, ..self }
    }
}

impl From<Invalid> for Refusal {
    fn from(Invalid(reason): Invalid) -> Self {
        Self::bad(reason)
    }
}

/// Names the fault in a head that `httparse` could not read. Only the label depends on this: the
/// head is refused whatever is found here.
pub(crate) fn explain(head: &[u8], error: httparse::Error) -> Refusal {
    if error == httparse::Error::TooManyHeaders {
        return Refusal::TOO_MANY_FIELDS;
    }
    if let Err(refusal) = check_line_ends(head) {
        return refusal;
    }
    match error {
        httparse::Error::Version if claims_version(head) => Refusal::VERSION,
        httparse::Error::HeaderName => Refusal::bad(explain_name(head)),
        httparse::Error::HeaderValue => Refusal::bad("field-value"),
        httparse::Error::NewLine => Refusal::bad("line-end"),
        _ => Refusal::bad("start-line"),
    }
}

/// Refuses a line feed without its carriage return, anywhere in an unfinished head (RFC 9112 §2.2
/// lets a recipient accept it; no two agree on what else it ends).
pub(crate) fn check_line_ends(head: &[u8]) -> Result<(), Refusal> {
    let bare = |end: usize| end == 0 || head[end - 1] != b'\r';
    if memchr::memchr_iter(b'\n', head).any(bare) {
        return Err(Refusal::bad("bare-line-feed"));
    }
    Ok(())
}

/// Whether the third word of a request line, or the first of a status line, is an HTTP version.
fn claims_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let word = |index| line.split(|byte| *byte == b' ').nth(index).unwrap_or_default();
    let is_version = |word: &[u8]| {
        let number = word.strip_prefix(b"HTTP/").unwrap_or_default();
        !number.is_empty() && number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
    };
    is_version(word(0)) || is_version(word(2))
}

/// The first line that begins as no field may, told apart for whoever reads the log.
fn explain_name(head: &[u8]) -> &'static str {
    let mut lines = head.split(|byte| *byte == b'\n').skip(1);
    lines
        .find_map(|line| match line {
            [b' ' | b'\t', ..] => Some("line-folding"),
            _ => {
                let name = &line[..memchr::memchr(b':', line)?];
                match name {
                    [.., b' ' | b'\t'] => Some("space-before-colon"),
                    [] => Some("field-name"),
                    _ => None,
                }
            }
        })
        .unwrap_or("field-name")
}
