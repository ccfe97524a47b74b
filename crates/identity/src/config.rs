//! The `identity:` section of the configuration: as written ([`Raw`]), and as checked ([`Config`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use posthouse_base::config::{Path, Report, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::provider;
use crate::{certificate, external, introspection, jwt, keys, mint, signature};

/// Who may call: ways to prove who one is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Identity")]
pub struct Raw {
    /// Ways to prove who one is, each under a name that routes refer to.
    pub providers: BTreeMap<String, RawProvider>,
    /// Tokens that tell services who calls.
    pub mint: mint::Raw,
}

/// One way to prove who one is: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentityProvider")]
pub struct RawProvider {
    /// Signed tokens of an issuer (JSON Web Tokens).
    pub jwt: Option<jwt::Raw>,
    /// Opaque tokens, about which the issuer is asked (RFC 7662).
    pub introspection: Option<introspection::Raw>,
    /// An HTTP service that is asked about each call.
    pub external: Option<external::Raw>,
    /// API keys of consumers.
    pub api_key: Option<keys::Raw>,
    /// Signed requests (HTTP Message Signatures, RFC 9421).
    pub signature: Option<signature::Raw>,
    /// Client certificates, which the listener verifies.
    pub certificate: Option<certificate::Raw>,
}

/// The checked configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub(crate) providers: BTreeMap<Arc<str>, provider::Config>,
    pub(crate) mint: mint::Config,
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`. `None` when there
    /// is a mistake for which it must be refused.
    #[must_use]
    pub fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let before = report.findings().len();
        let at = path.key("providers");
        let mut providers = BTreeMap::new();
        for (name, raw) in &raw.providers {
            if let Some(checked) = check_provider(raw, &at.key(name), report) {
                providers.insert(Arc::from(name.as_str()), checked);
            }
        }
        let mint = mint::Config::check(&raw.mint, &path.key("mint"), report);
        let mut found = report.findings()[before..].iter();
        let mistaken = found.any(|finding| finding.severity == Severity::Error);
        (!mistaken).then_some(Self { providers, mint })
    }

    /// The names of the providers.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.providers.keys()
    }
}

fn check_provider(raw: &RawProvider, path: &Path, report: &mut Report) -> Option<provider::Config> {
    let mut found = Vec::new();
    if let Some(raw) = &raw.jwt {
        found.push(jwt::Config::check(raw, &path.key("jwt"), report).map(provider::Config::Jwt));
    }
    if let Some(raw) = &raw.introspection {
        let checked = introspection::Config::check(raw, &path.key("introspection"), report);
        found.push(checked.map(provider::Config::Introspection));
    }
    if let Some(raw) = &raw.external {
        let checked = external::Config::check(raw, &path.key("external"), report);
        found.push(checked.map(provider::Config::External));
    }
    if let Some(raw) = &raw.api_key {
        let checked = keys::Config::check(raw, &path.key("api_key"), report);
        found.push(checked.map(provider::Config::ApiKey));
    }
    if let Some(raw) = &raw.signature {
        let checked = signature::Config::check(raw, &path.key("signature"), report);
        found.push(checked.map(provider::Config::Signature));
    }
    if let Some(raw) = &raw.certificate {
        let checked = certificate::Config::check(raw, &path.key("certificate"), report);
        found.push(checked.map(provider::Config::Certificate));
    }
    if found.len() != 1 {
        let message = "a provider is exactly one way to prove who one is";
        let help = "write one of `jwt`, `introspection`, `external`, `api_key`, `signature`, `certificate`";
        report.error(path, message).help(help);
        return None;
    }
    found.pop().flatten()
}
