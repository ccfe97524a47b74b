//! What a route asks of a call beside host and path.

use std::cmp::Reverse;

use http::{HeaderName, Method};

use super::Lookup;
use super::decode;
use crate::config::model::{self, ValuePattern};
use crate::http::head::{Fields, Known};

/// The conditions of one route.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) methods: Vec<Method>,
    headers: Vec<HeaderCondition>,
    query: Vec<(String, ValuePattern)>,
}

#[derive(Debug)]
struct HeaderCondition {
    known: Known,
    name: HeaderName,
    value: ValuePattern,
}

/// The rank among routes of the same host and path; less is taken first.
pub(super) type Rank = (bool, Reverse<usize>, Reverse<usize>);

impl Conditions {
    pub(super) fn new(matching: &model::Match) -> Self {
        let header = |(name, value): &(HeaderName, ValuePattern)| HeaderCondition {
            known: Known::of(name.as_str().as_bytes()),
            name: name.clone(),
            value: value.clone(),
        };
        Self {
            methods: matching.methods.clone(),
            headers: matching.headers.iter().map(header).collect(),
            query: matching.query.clone(),
        }
    }

    pub(super) fn rank(&self) -> Rank {
        (self.methods.is_empty(), Reverse(self.headers.len()), Reverse(self.query.len()))
    }

    /// Whether the method is one of the route's.
    pub(super) fn allow(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// Whether everything but the method holds.
    pub(super) fn hold(&self, lookup: &Lookup<'_>) -> bool {
        self.headers.iter().all(|condition| condition.holds(lookup.fields))
            && self.query.iter().all(|(name, value)| {
                let (pattern, wanted) = wanted(value);
                let found = parameters(lookup.query.unwrap_or_default().as_bytes());
                let mut found = found.filter(|(held, _)| *decode::form(held) == *name.as_bytes());
                found.any(|(_, given)| holds(pattern, &decode::form(given))) == wanted
            })
    }
}

impl HeaderCondition {
    fn holds(&self, fields: &Fields) -> bool {
        let (pattern, wanted) = wanted(&self.value);
        let found = if self.known == Known::Other {
            fields.iter().any(|(known, name, value)| {
                known == Known::Other
                    && name.eq_ignore_ascii_case(self.name.as_str().as_bytes())
                    && holds(pattern, value)
            })
        } else {
            fields.all(self.known).any(|value| holds(pattern, value))
        };
        found == wanted
    }
}

/// What is looked for among the values, and whether it is to be found.
fn wanted(pattern: &ValuePattern) -> (&ValuePattern, bool) {
    match pattern {
        ValuePattern::Not(pattern) => (pattern, false),
        pattern => (pattern, true),
    }
}

fn holds(pattern: &ValuePattern, value: &[u8]) -> bool {
    match pattern {
        ValuePattern::Present => true,
        ValuePattern::Exact(exact) => exact.as_bytes() == value,
        ValuePattern::Regex(regex) => regex.is_match(value),
        ValuePattern::Not(pattern) => !holds(pattern, value),
    }
}

/// Names and values of a query, as sent. A name without `=` has an empty value.
fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').filter(|part| !part.is_empty()).map(|part| {
        match memchr::memchr(b'=', part) {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &[][..]),
        }
    })
}
