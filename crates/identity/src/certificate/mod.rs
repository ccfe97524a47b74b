//! Client certificates, which the listener verified: who it is by the subject, or by the SPIFFE id.
//!
//! In reading order: here (the provider), `name` (names in their one form).
//!
//! What must hold: two different names never look alike, whatever characters a certificate holds; a
//! certificate that has expired since its connection began lets nobody in.

mod name;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use posthouse_base::config::{Path, Report};
use posthouse_base::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

pub(crate) use name::name;

use crate::cache::Cache;
use crate::consumers::Consumers;
use crate::credential::{Credentials, Identity, Outcome, Refusal};
use crate::metrics::Metrics;
use crate::provider::{Finding, Parts};

/// What is remembered of certificates, in bytes: reading one takes longer than all the rest.
const REMEMBERED: usize = 4 << 20;

/// Client certificates. The listener must ask for them (`tls.client`), and verifies them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentityCertificate")]
pub struct Raw {
    /// What in a certificate says who it is.
    pub by: RawBy,
    /// Only SPIFFE ids of these trust domains count; without any, all do.
    pub trust_domains: Vec<String>,
    /// Whether somebody who is no consumer's is let in, too: the authority that signed vouches for
    /// its name, and the route says who may call.
    pub strangers: RawStrangers,
}

/// What in a certificate says who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CertificateName")]
pub enum RawBy {
    /// The subject, as `openssl x509 -subject -nameopt RFC2253` shows it: `CN=till,O=Acme`.
    #[default]
    Subject,
    /// The SPIFFE id: the only URI among the alternative names.
    Spiffe,
}

/// What becomes of a certificate that is no consumer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CertificateStrangers")]
pub enum RawStrangers {
    /// It proves its name.
    #[default]
    Allow,
    /// It is refused.
    Refuse,
}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    by: RawBy,
    trust_domains: Vec<Box<str>>,
    strangers: RawStrangers,
}

impl Config {
    /// Checks `raw`, which stands at `path`.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let mut fine = true;
        for (index, domain) in raw.trust_domains.iter().enumerate() {
            if !name::is_trust_domain(domain) {
                let message = format!("`{domain}` is no trust domain like `example.org`");
                report.error(&path.key("trust_domains").index(index), message);
                fine = false;
            }
        }
        if raw.by == RawBy::Subject && !raw.trust_domains.is_empty() {
            report.error(&path.key("trust_domains"), "subjects have no trust domain");
            fine = false;
        }
        fine.then(|| Self {
            by: raw.by,
            trust_domains: raw.trust_domains.iter().map(|domain| domain.as_str().into()).collect(),
            strangers: raw.strangers,
        })
    }
}

/// Recognises them.
#[derive(Debug)]
pub(crate) struct Provider {
    name: Arc<str>,
    config: Config,
    consumers: Consumers,
    metrics: Arc<Metrics>,
    /// Whom certificates proved, with the version of the consumers that it was so in.
    known: Cache<(u64, Arc<Identity>)>,
}

impl Provider {
    pub(crate) fn new(name: &Arc<str>, config: &Config, parts: &Parts) -> Self {
        Self {
            name: Arc::clone(name),
            config: config.clone(),
            consumers: parts.consumers.clone(),
            metrics: Arc::clone(&parts.metrics),
            known: Cache::new(REMEMBERED),
        }
    }

    pub(crate) fn identify(&self, asked: &Credentials<'_>) -> Finding {
        let Some(leaf) = asked.chain.first() else { return Finding::Absent };
        let shown = self.consumers.shown();
        let found = self.known.find(leaf, asked.now, |(version, identity)| {
            (*version == shown.version()).then(|| Arc::clone(identity))
        });
        if let Some(identity) = found.flatten() {
            return Finding::Decided(Outcome::Known(identity));
        }
        let (subject, until): (Arc<str>, _) = match self.config.name_of(leaf, asked.now) {
            Ok(Some((name, until))) => (name.into(), until),
            // Nothing of the kind that is asked for: perhaps another provider knows it.
            Ok(None) => return Finding::Foreign,
            Err(why) => return self.refuse(why),
        };
        let key = Some(Arc::clone(&subject));
        let identity = match shown.certificate(&subject) {
            Some(owner) => owner.identity(&self.name, subject, key),
            None if self.config.strangers == RawStrangers::Refuse => {
                return self.refuse("unknown");
            }
            None => {
                Identity { provider: Arc::clone(&self.name), subject, key, ..Identity::default() }
            }
        };
        let identity = Arc::new(identity);
        let known = (shown.version(), Arc::clone(&identity));
        self.known.put(leaf, known, std::mem::size_of::<Identity>(), until, asked.now);
        Finding::Decided(Outcome::Known(identity))
    }

    fn refuse(&self, why: &'static str) -> Finding {
        self.metrics.refused(&self.name, why);
        Finding::Decided(Outcome::Refused(Refusal::Invalid))
    }
}

impl Config {
    /// The name of the certificate `der`, and until when it holds; `None` when it has none of the kind.
    fn name_of(
        &self,
        der: &[u8],
        now: Timestamp,
    ) -> Result<Option<(Box<str>, Timestamp)>, &'static str> {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Err("unreadable");
        };
        // Verified when the connection began, which may be long ago.
        let ends = u64::try_from(certificate.validity().not_after.timestamp());
        // To the end of that second.
        let ends = ends.map_err(|_| "expired")?.saturating_add(1).saturating_mul(1000);
        if ends <= now.as_millis() {
            return Err("expired");
        }
        let name = match self.by {
            RawBy::Subject => name::of_subject(certificate.subject()).ok_or("unreadable")?,
            RawBy::Spiffe => self.spiffe_id(&certificate)?,
        };
        Ok(name.map(|name| (name, Timestamp::from_millis(ends))))
    }

    /// A certificate that names a workload has one URI, and signs no others (X.509-SVID §2, §4).
    fn spiffe_id(
        &self,
        certificate: &X509Certificate<'_>,
    ) -> Result<Option<Box<str>>, &'static str> {
        let names = certificate.subject_alternative_name().map_err(|_| "unreadable")?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uris: Vec<&str> = uris.collect();
        if !uris.iter().any(|uri| uri.starts_with(name::SPIFFE)) {
            return Ok(None);
        }
        let [uri] = uris[..] else { return Err("not_spiffe") };
        if certificate.is_ca() {
            return Err("not_spiffe");
        }
        let domain = name::trust_domain(uri).ok_or("not_spiffe")?;
        let is_trusted = self.trust_domains.is_empty()
            || self.trust_domains.iter().any(|trusted| trusted.as_ref() == domain);
        if is_trusted { Ok(Some(uri.into())) } else { Err("trust_domain") }
    }
}
