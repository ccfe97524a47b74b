//! API keys of consumers: a secret in a field, or where that is asked for in the query.

use std::borrow::Cow;
use std::sync::Arc;

use posthouse_base::config::{Path, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::consumers::Consumers;
use crate::credential::{Credentials, Outcome, Refusal, Single};
use crate::metrics::Metrics;
use crate::provider::{Finding, Parts};
use crate::state::Hash;

#[cfg(test)]
mod tests;

/// No key is longer, in bytes.
const LONGEST: usize = 512;

/// API keys of consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentityApiKey")]
pub struct Raw {
    /// The field that a key is in.
    pub header: String,
    /// A parameter of the query that a key may be in, too. It is better not to: what is in a URL is
    /// kept in histories and logs. It is taken out before the service sees the request.
    pub query: Option<String>,
}

impl Default for Raw {
    fn default() -> Self {
        Self { header: "x-api-key".into(), query: None }
    }
}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// In lower case.
    header: String,
    query: Option<String>,
}

impl Config {
    /// Checks `raw`, which stands at `path`.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let header = raw.header.to_ascii_lowercase();
        let is_field = http::HeaderName::from_bytes(header.as_bytes()).is_ok();
        if !is_field {
            let message = format!("`{}` is no name of a field", raw.header);
            report.error(&path.key("header"), message);
        }
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let query_fits =
            raw.query.as_ref().is_none_or(|name| !name.is_empty() && name.bytes().all(is_plain));
        if !query_fits {
            let message = "a parameter is named with letters, digits and `-_.`";
            report.error(&path.key("query"), message);
        }
        (is_field && query_fits).then(|| Self { header, query: raw.query.clone() })
    }

    /// `target` without keys in its query; `None` when there are none.
    pub(crate) fn hide(&self, target: &[u8]) -> Option<Vec<u8>> {
        without(target, self.query.as_deref()?)
    }
}

/// Recognises keys.
#[derive(Debug)]
pub(crate) struct Provider {
    name: Arc<str>,
    config: Config,
    consumers: Consumers,
    metrics: Arc<Metrics>,
}

impl Provider {
    pub(crate) fn new(name: &Arc<str>, config: &Config, parts: &Parts) -> Self {
        Self {
            name: Arc::clone(name),
            config: config.clone(),
            consumers: parts.consumers.clone(),
            metrics: Arc::clone(&parts.metrics),
        }
    }

    pub(crate) fn identify(&self, asked: &Credentials<'_>) -> Finding {
        let in_query = match &self.config.query {
            Some(name) => in_query(asked.path_and_query, name),
            None => Shown::None,
        };
        // Two keys could be meant for two readers.
        let secret = match (asked.single(&self.config.header), in_query) {
            (Single::Absent, Shown::None) => return Finding::Absent,
            (Single::One(secret), Shown::None) => Cow::Borrowed(secret),
            (Single::Absent, Shown::One(secret)) => secret,
            _ => return self.refuse("several"),
        };
        if secret.is_empty() || secret.len() > LONGEST {
            return self.refuse("unknown");
        }
        // Whether it is unknown, wrong or expired, the same was done, and the same is told.
        let shown = self.consumers.shown();
        match shown.key(&Hash::of(&secret), asked.now) {
            Some(key) => Finding::Decided(Outcome::Known(key.identity(&self.name))),
            None => self.refuse("unknown"),
        }
    }

    fn refuse(&self, why: &'static str) -> Finding {
        self.metrics.refused(&self.name, why);
        Finding::Decided(Outcome::Refused(Refusal::Invalid))
    }
}

/// What a query shows under a name.
enum Shown<'a> {
    None,
    One(Cow<'a, [u8]>),
    Several,
}

fn in_query<'a>(target: &'a [u8], wanted: &str) -> Shown<'a> {
    let Some(at) = target.iter().position(|byte| *byte == b'?') else { return Shown::None };
    let mut found = Shown::None;
    for pair in target[at + 1..].split(|byte| *byte == b'&') {
        let Some(value) = value_of(pair, wanted) else { continue };
        found = match found {
            Shown::None => Shown::One(value),
            Shown::One(_) | Shown::Several => return Shown::Several,
        };
    }
    found
}

/// The value of a pair of a query whose name, decoded, is `wanted`.
fn value_of<'a>(pair: &'a [u8], wanted: &str) -> Option<Cow<'a, [u8]>> {
    let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    let name: Cow<'_, [u8]> = percent_encoding::percent_decode(&pair[..at]).into();
    let value = pair.get(at + 1..).unwrap_or_default();
    (name == wanted.as_bytes()).then(|| percent_encoding::percent_decode(value).into())
}

/// `target` without the parameters that are named `parameter` in its query, however they are encoded;
/// `None` when there are none.
fn without(target: &[u8], parameter: &str) -> Option<Vec<u8>> {
    let at = target.iter().position(|byte| *byte == b'?')?;
    let (path, query) = (&target[..at], &target[at + 1..]);
    let pairs = || query.split(|byte| *byte == b'&');
    let kept: Vec<&[u8]> = pairs().filter(|pair| value_of(pair, parameter).is_none()).collect();
    if kept.len() == pairs().count() {
        return None;
    }
    let mut target = path.to_vec();
    for (number, pair) in kept.iter().enumerate() {
        target.push(if number == 0 { b'?' } else { b'&' });
        target.extend_from_slice(pair);
    }
    Some(target)
}
