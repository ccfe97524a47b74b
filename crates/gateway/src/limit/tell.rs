//! What clients are told of their limits: `RateLimit-Policy` and `RateLimit`, structured fields of
//! draft-ietf-httpapi-ratelimit-headers-11 (2026-05), and `Retry-After` (RFC 9110 §10.2.3).
//!
//! Of a rate `q` and `w` are what the configuration says; `r` is how many would be granted at once now,
//! which the burst bounds, and `t` after how many seconds all of it is there again. Of a quota `t` is
//! the end of the day or month. Partition keys are not told: they would name a consumer or an
//! address to whoever reads the answer.

use std::io::Write as _;

use super::rule::Rule;

/// How a call stands with one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub(super) name: &'a str,
    pub(super) left: u64,
    /// Seconds.
    pub(super) reset: u64,
}

/// Adds a limit to the list of a `RateLimit-Policy`.
pub(super) fn write_policy(list: &mut Vec<u8>, rule: &Rule) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    let (quota, unit, window) = rule.policy();
    // Writing to memory does not fail. Names need no escapes: the configuration sees to it.
    let _written = write!(list, "\"{}\";q={quota}", rule.name);
    if let Some(unit) = unit {
        let _written = write!(list, ";qu=\"{unit}\"");
    }
    if let Some(window) = window {
        let _written = write!(list, ";w={window}");
    }
}

/// Adds how a call stands to the list of a `RateLimit`, which ends `list`.
pub(super) fn write_standing(list: &mut Vec<u8>, is_first: bool, standing: Standing<'_>) {
    let mut number = itoa::Buffer::new();
    list.extend_from_slice(if is_first { b"\"" } else { b", \"" });
    list.extend_from_slice(standing.name.as_bytes());
    list.extend_from_slice(b"\";r=");
    list.extend_from_slice(number.format(standing.left).as_bytes());
    list.extend_from_slice(b";t=");
    list.extend_from_slice(number.format(standing.reset).as_bytes());
}
