//! What a provider of signed requests is configured with: as written ([`Raw`]) and as checked.

use std::collections::BTreeMap;
use std::time::Duration;

use posthouse_base::config::{Path, Report, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::component::{Component, Form};

/// The longest time that a signature may count; what was seen is remembered for as long.
const LONGEST_AGE: Duration = Duration::from_secs(3600);

/// Signed requests: HTTP Message Signatures (RFC 9421) by the `signature_keys` of consumers. A
/// signature must say when it was made (`created`) and by which key (`keyid`), and counts once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentitySignature")]
pub struct Raw {
    /// What a signature must cover, in any order, besides what it covers anyway: names of fields, and
    /// `@method`, `@target-uri`, `@authority`, `@scheme`, `@request-target`, `@path`, `@query`,
    /// `"@query-param";name="…"`. With `content-digest` the body is covered, too: it is compared with
    /// its digest (RFC 9530), and only a request without a body may go without one.
    pub components: Vec<String>,
    /// How old a signature may be; at most an hour.
    pub max_age: Span,
    /// By how much the clocks of callers may be ahead.
    pub leeway: Span,
    /// Whether a signature must bring a `nonce`. One that brings none is recognised by all that it
    /// signs: of two requests that are the same within a second the second is refused.
    pub nonce: RawNonce,
    /// Only signatures with this `tag` count. With it, others are left to whom they are meant for.
    pub tag: Option<String>,
    /// Fields of your own that are structured (RFC 9651), so that they can be signed with `sf` or
    /// `key`. The registered ones are known.
    pub structured: BTreeMap<String, Structure>,
}

/// Whether a signature must bring a `nonce`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "SignatureNonce")]
pub enum RawNonce {
    /// It may.
    #[default]
    Optional,
    /// It must.
    Required,
}

/// What a structured field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "StructuredField")]
pub enum Structure {
    /// An item.
    Item,
    /// A list.
    List,
    /// A dictionary.
    Dictionary,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            components: ["@method", "@target-uri", "content-digest"].map(Into::into).into(),
            max_age: Span(Duration::from_secs(300)),
            leeway: Span(Duration::from_secs(5)),
            nonce: RawNonce::Optional,
            tag: None,
            structured: BTreeMap::new(),
        }
    }
}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(super) required: Vec<Component>,
    /// Whether the body must be covered, by way of its digest.
    pub(super) body: bool,
    pub(super) max_age: Duration,
    pub(super) leeway: Duration,
    pub(super) nonce: bool,
    pub(super) tag: Option<String>,
    pub(super) structures: Structures,
}

/// Which fields are structured, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Structures(BTreeMap<String, Structure>);

/// Registered structured fields that a request may have, and what they are.
const REGISTERED: [(&str, Structure); 17] = [
    ("accept-signature", Structure::Dictionary),
    ("cache-status", Structure::List),
    ("capsule-protocol", Structure::Item),
    ("cdn-cache-control", Structure::Dictionary),
    ("client-cert", Structure::Item),
    ("client-cert-chain", Structure::List),
    ("content-digest", Structure::Dictionary),
    ("priority", Structure::Dictionary),
    ("proxy-status", Structure::List),
    ("repr-digest", Structure::Dictionary),
    ("sec-purpose", Structure::List),
    ("signature", Structure::Dictionary),
    ("signature-input", Structure::Dictionary),
    ("upload-complete", Structure::Item),
    ("upload-offset", Structure::Item),
    ("want-content-digest", Structure::Dictionary),
    ("want-repr-digest", Structure::Dictionary),
];

impl Structures {
    #[cfg(test)]
    pub(super) fn with<const N: usize>(fields: [(&str, Structure); N]) -> Self {
        Self(fields.map(|(name, what)| (name.to_owned(), what)).into())
    }

    pub(super) fn of(&self, name: &str) -> Option<Structure> {
        let registered = REGISTERED.iter().find(|(known, _)| *known == name);
        registered.map(|(_, structure)| *structure).or_else(|| self.0.get(name).copied())
    }
}

impl Config {
    /// Checks `raw`, which stands at `path`.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let mut mistakes = Vec::new();
        let mut refuse = |path: Path, message: String, help: &'static str| {
            mistakes.push((path, message, help));
        };
        let (mut required, mut body) = (Vec::new(), false);
        for (index, written) in raw.components.iter().enumerate() {
            match Component::from_config(written) {
                // Which form it has is the caller's choice.
                Some(Component::Field { name, form: Form::Plain }) if name == "content-digest" => {
                    body = true;
                }
                Some(component) => required.push(component),
                None => refuse(
                    path.key("components").index(index),
                    format!("`{written}` is nothing that can be signed of a request"),
                    "write the name of a field, `@method`, `@target-uri`, `@authority`, `@path`, …",
                ),
            }
        }
        if raw.components.iter().all(|written| written.eq_ignore_ascii_case("content-digest")) {
            refuse(
                path.key("components"),
                "a signature that covers nothing of the request fits any request".into(),
                "require at least `@method` and `@target-uri`",
            );
        }
        if raw.max_age.0 > LONGEST_AGE || raw.max_age.0.is_zero() {
            let message = format!("`{}` is not between a second and an hour", raw.max_age);
            refuse(path.key("max_age"), message, "minutes are enough for clocks and networks");
        }
        if raw.leeway.0 > raw.max_age.0 {
            let message = "the leeway is longer than the time that a signature counts".to_owned();
            refuse(path.key("leeway"), message, "clocks that are set differ by less than a second");
        }
        let fine = mistakes.is_empty();
        for (path, message, help) in mistakes {
            report.error(&path, message).help(help);
        }
        let structured = raw.structured.iter();
        let structured = structured.map(|(name, what)| (name.to_ascii_lowercase(), *what));
        fine.then(|| Self {
            required,
            body,
            max_age: raw.max_age.0,
            leeway: raw.leeway.0,
            nonce: raw.nonce == RawNonce::Required,
            tag: raw.tag.clone(),
            structures: Structures(structured.collect()),
        })
    }
}
