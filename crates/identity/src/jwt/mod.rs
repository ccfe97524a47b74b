//! Signed tokens: JSON Web Tokens (RFC 7519) in compact form, verified by the rules of RFC 8725.
//!
//! In reading order: [`token`] (taken apart), [`algorithm`], [`key`], `source` (where keys come from),
//! `config`, and the provider here.
//!
//! What must hold: only what the configuration says is believed. The algorithm is one of those
//! configured and fits the key's kind; the key is one of the provider's own; a token that was
//! remembered is forgotten with its key.

mod algorithm;
mod config;
mod key;
mod source;
mod token;

use std::sync::Arc;

use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;

pub use algorithm::Algorithm;
pub use config::Raw;
pub(crate) use config::{Config, bytes, check_header, check_readable, check_url};
pub(crate) use token::Flaw;

use crate::asking::Asker;
use crate::cache::Cache;
use crate::credential::{Credentials, Identity, Outcome, Refusal, Single};
use crate::provider::{Finding, Parts};
use key::{Key, Keys};
use source::{Hope, Place, Source};
use token::Token;

/// The longest answer of an issuer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Verifies the tokens of one issuer.
#[derive(Debug)]
pub(crate) struct Provider {
    inner: Arc<Inner>,
    /// Reads the keys; ends with the provider.
    keeper: Tasks,
}

struct Inner {
    name: Arc<str>,
    config: Config,
    source: Arc<Source>,
    cache: Cache<Verified>,
    parts: Parts,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is remembered of a token.
struct Verified {
    key: Arc<Key>,
    identity: Arc<Identity>,
    /// The consumers that it was made with.
    directory: u64,
    until: Timestamp,
}

/// Why a token is not verified yet.
enum Stuck {
    /// It does not hold.
    Flaw(Flaw),
    /// A key is not there.
    Key,
}

impl From<Flaw> for Stuck {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl Provider {
    pub(crate) fn new(name: &Arc<str>, config: &Config, parts: &Parts) -> Self {
        let keys = match (&config.secret, &config.place) {
            (Some(secret), _) => Keys::of([Key::secret(secret.reveal().as_bytes())]),
            // It could be read when the configuration was checked; if not now, then soon.
            (None, Place::File(file)) => {
                let text = std::fs::read(file).unwrap_or_default();
                Keys::from_file(&text).unwrap_or_default()
            }
            (None, _) => Keys::default(),
        };
        let asker = Asker::new(config.ca.as_deref(), config.timeout, MAX_ANSWER);
        let (place, plain) = (config.place.clone(), config.plain);
        let source = Source::new(name, place, config.pace, plain, asker, keys, &parts.metrics);
        let source = Arc::new(source);
        let keeper = parts.tasks.child();
        let _on_our_runtime = parts.runtime.enter();
        keeper.spawn("keys of an issuer", Arc::clone(&source).keep());
        let inner = Inner {
            name: Arc::clone(name),
            config: config.clone(),
            source,
            cache: Cache::new(config.cache),
            parts: parts.clone(),
        };
        Self { inner: Arc::new(inner), keeper }
    }

    pub(crate) fn identify(&self, asked: &Credentials<'_>) -> Finding {
        self.inner.identify(asked)
    }

    /// How many bytes its memory of tokens holds.
    pub(crate) fn remembered(&self) -> usize {
        self.inner.cache.bytes()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.keeper.stop();
    }
}

/// What a call shows under `header`, as a token for whoever bears it.
pub(crate) fn bearer<'a>(asked: &Credentials<'a>, header: &str) -> Single<'a> {
    let Single::One(value) = asked.single(header) else { return asked.single(header) };
    let word = match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ if header == "authorization" => return Single::Absent,
        _ => value,
    };
    Single::One(word)
}

impl Inner {
    fn identify(self: &Arc<Self>, asked: &Credentials<'_>) -> Finding {
        let text = match bearer(asked, &self.config.header) {
            Single::Absent => return Finding::Absent,
            Single::Several => return self.refuse(Flaw::Doubled),
            Single::One(text) => text,
        };
        if text.len() > self.config.max_token {
            return self.refuse(Flaw::TooLong);
        }
        if let Some(identity) = self.remembered(text, asked.now) {
            return Finding::Decided(Outcome::Known(identity));
        }
        if !token::has_shape(text) {
            return Finding::Foreign;
        }
        match self.verify(text, asked.now) {
            Ok(identity) => Finding::Decided(Outcome::Known(identity)),
            Err(Stuck::Flaw(Flaw::Issuer)) => {
                self.parts.metrics.refused(&self.name, Flaw::Issuer.as_str());
                Finding::Foreign
            }
            Err(Stuck::Flaw(flaw)) => self.refuse(flaw),
            Err(Stuck::Key) => self.wait(text.into(), asked.now),
        }
    }

    /// What is known of a token already. The path of nearly every call.
    fn remembered(&self, text: &[u8], now: Timestamp) -> Option<Arc<Identity>> {
        let current = self.parts.directory.version();
        let found = self.cache.find(text, now, |verified| {
            if verified.key.is_retired() {
                return None;
            }
            let identity = Arc::clone(&verified.identity);
            if verified.directory == current {
                return Some((identity, None));
            }
            Some((identity, Some((Arc::clone(&verified.key), verified.until))))
        });
        match found?? {
            (identity, None) => Some(identity),
            // Consumers have changed: the token holds, but it may stand for something else.
            (identity, Some((key, until))) => {
                self.remember(text, identity.claims.clone(), key, until, now).ok()
            }
        }
    }

    fn remember(
        &self,
        text: &[u8],
        claims: serde_json::Map<String, serde_json::Value>,
        key: Arc<Key>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Arc<Identity>, Flaw> {
        // Read before the consumer is: whatever changes in between makes this out of date.
        let directory = self.parts.directory.version();
        let mapping = &self.config.mapping;
        let identity = mapping.identity(&self.name, claims, &*self.parts.directory)?;
        let identity = Arc::new(identity);
        let verified = Verified { key, identity: Arc::clone(&identity), directory, until };
        // Claims take a few times what they took in writing.
        self.cache.put(text, verified, 3 * text.len() + 256, until, now);
        Ok(identity)
    }

    /// Verifies a token from the ground. What is cheap to find wrong is looked at first.
    fn verify(&self, text: &[u8], now: Timestamp) -> Result<Arc<Identity>, Stuck> {
        let token = Token::read(text)?;
        let config = &self.config;
        if token
            .claims
            .get("iss")
            .is_none_or(|issuer| issuer.as_str() != config.rules.issuer.as_deref())
        {
            return Err(Flaw::Issuer.into());
        }
        if !config.algorithms.contains(&token.algorithm) {
            return Err(Flaw::Algorithm.into());
        }
        if let Some(kind) = &token.kind
            && !config.types.iter().any(|taken| **taken == **kind)
        {
            return Err(Flaw::Type.into());
        }
        let until = config.rules.check(&token.claims, now)?;
        let keys = self.source.keys().find(token.key.as_deref(), token.algorithm);
        if keys.is_empty() {
            return Err(Stuck::Key);
        }
        let by = |key: &&Arc<Key>| key.verifies(token.algorithm, token.signed, &token.signature);
        let key = keys.iter().find(by).ok_or(Flaw::Signature)?;
        Ok(self.remember(text, token.claims, Arc::clone(key), until, now)?)
    }

    /// Waits for a key that may come, then verifies once more.
    fn wait(self: &Arc<Self>, text: Box<[u8]>, now: Timestamp) -> Finding {
        let inner = Arc::clone(self);
        Finding::Decided(Outcome::Later(Box::pin(async move {
            let refused = |flaw: Flaw| {
                inner.parts.metrics.refused(&inner.name, flaw.as_str());
                Outcome::Refused(Refusal::Invalid)
            };
            match inner.source.next_round().await {
                Ok(()) => match inner.verify(&text, now) {
                    Ok(identity) => Outcome::Known(identity),
                    Err(Stuck::Flaw(flaw)) => refused(flaw),
                    Err(Stuck::Key) => refused(Flaw::UnknownKey),
                },
                Err(Hope::None) => refused(Flaw::UnknownKey),
                Err(Hope::Unknown) => {
                    inner.parts.metrics.refused(&inner.name, "no_keys");
                    Outcome::Refused(Refusal::Unavailable)
                }
            }
        })))
    }

    fn refuse(&self, flaw: Flaw) -> Finding {
        self.parts.metrics.refused(&self.name, flaw.as_str());
        Finding::Decided(Outcome::Refused(Refusal::Invalid))
    }
}
