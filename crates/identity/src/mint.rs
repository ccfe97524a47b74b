//! Short-lived tokens of our own, by which a service knows who calls without asking anybody: signed
//! here, verified with the key that the house publishes.
//!
//! A token is made once for an identity and an audience and used again until half of its life is
//! over, so that a service has time left, and a call does not pay for a signature.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posthouse_base::config::{Path, Report, Span};
use posthouse_base::time::Timestamp;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cache::Cache;
use crate::error::Error;

/// Memory for tokens that were made.
const MEMORY: usize = 16 << 20;

/// By what algorithm tokens are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "IdentityMintAlgorithm")]
pub enum Signing {
    /// ECDSA over P-256 with SHA-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// Tokens that tell services who calls (a route's `guard.forward.jwt`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentityMint")]
pub struct Raw {
    /// `iss` of the tokens.
    pub issuer: String,
    /// How they are signed.
    pub algorithm: Signing,
    /// File with the private key (PEM, PKCS #8). Without it a new key is made at every start.
    pub key: Option<PathBuf>,
    /// How long they live. A service gets one with at least half of it left.
    pub lifetime: Span,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            issuer: "posthouse".into(),
            algorithm: Signing::Es256,
            key: None,
            lifetime: Span(Duration::from_secs(60)),
        }
    }
}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    issuer: Box<str>,
    algorithm: Signing,
    key: Option<PathBuf>,
    lifetime: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let raw = Raw::default();
        let (issuer, lifetime) = (raw.issuer.as_str().into(), raw.lifetime.0);
        Self { issuer, algorithm: raw.algorithm, key: None, lifetime }
    }
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Self {
        let (shortest, longest) = (Duration::from_secs(2), Duration::from_secs(3600));
        if !(shortest..=longest).contains(&raw.lifetime.0) {
            report.error(&path.key("lifetime"), "tokens live from 2s to 1h");
        }
        if raw.issuer.is_empty() {
            report.error(&path.key("issuer"), "the issuer is empty");
        }
        let config = Self {
            issuer: raw.issuer.as_str().into(),
            algorithm: raw.algorithm,
            key: raw.key.clone(),
            lifetime: raw.lifetime.0,
        };
        if raw.key.is_some()
            && let Err(error) = Signer::new(&config)
        {
            report.error(&path.key("key"), error.to_string());
        }
        config
    }
}

/// Who calls, as a token tells it.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The provider that proved it.
    pub provider: &'a str,
    /// Who.
    pub subject: &'a str,
    /// The consumer.
    pub consumer: Option<&'a str>,
    /// The consumer's plan.
    pub plan: Option<&'a str>,
    /// What it was allowed to ask for.
    pub scopes: &'a [Box<str>],
    /// What it is.
    pub roles: &'a [Box<str>],
}

/// Signs tokens.
pub(crate) struct Minter {
    config: Config,
    signer: Signer,
    /// The public keys as a JWK set: this one, and the one before it.
    published: Arc<str>,
    made: Cache<Made>,
}

struct Made {
    token: Arc<[u8]>,
    /// The identity that it is about: while this is held, nothing else can be at its address.
    about: Weak<dyn Any + Send + Sync>,
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Minter {
    /// With the key of the configuration, or a new one. Services that still hold a token by the key of
    /// `before` can verify it.
    ///
    /// # Errors
    /// When the key cannot be read or made.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Result<Self, Error> {
        let signer = Signer::new(config)?;
        let mut keys = vec![signer.jwk.clone()];
        keys.extend(before.map(|before| before.signer.jwk.clone()));
        keys.dedup();
        let published = json!({ "keys": keys }).to_string().into();
        Ok(Self { config: config.clone(), signer, published, made: Cache::new(MEMORY) })
    }

    /// What it was made from.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// The public keys as a JWK set.
    pub(crate) const fn published(&self) -> &Arc<str> {
        &self.published
    }

    /// A token about `about`, which `holder` holds unchanged for as long as it lives.
    pub(crate) fn mint<T: Any + Send + Sync>(
        &self,
        about: &About<'_>,
        holder: &Arc<T>,
        audience: &str,
        now: Timestamp,
    ) -> Option<Arc<[u8]>> {
        let address = Arc::as_ptr(holder).addr().to_ne_bytes();
        let key = [&address[..], audience.as_bytes()].concat();
        let made = self.made.find(&key, now, |made| {
            (made.about.strong_count() > 0).then(|| Arc::clone(&made.token))
        });
        if let Some(token) = made.flatten() {
            return Some(token);
        }
        let token: Arc<[u8]> = self.signer.sign(&self.claims(about, audience, now))?.into();
        let about: Weak<dyn Any + Send + Sync> = Arc::downgrade(&(Arc::clone(holder) as Arc<_>));
        let until = now.plus(self.config.lifetime / 2);
        let made = Made { token: Arc::clone(&token), about };
        self.made.put(&key, made, token.len() + 128, until, now);
        Some(token)
    }

    fn claims(&self, about: &About<'_>, audience: &str, now: Timestamp) -> Map<String, Value> {
        let seconds = |at: Timestamp| Value::from(at.as_millis() / 1000);
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        say("iss", (*self.config.issuer).into());
        say("sub", about.subject.into());
        say("aud", audience.into());
        say("iat", seconds(now));
        say("exp", seconds(now.plus(self.config.lifetime)));
        say("provider", about.provider.into());
        if let Some(consumer) = about.consumer {
            say("consumer", consumer.into());
        }
        if let Some(plan) = about.plan {
            say("plan", plan.into());
        }
        say("scope", about.scopes.join(" ").into());
        say("roles", about.roles.iter().map(|role| Value::from(&**role)).collect());
        claims
    }
}

/// A private key, and what it is called.
struct Signer {
    pair: Pair,
    random: SystemRandom,
    /// The header of every token, in its written form.
    header: String,
    jwk: Value,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    fn new(config: &Config) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pair = match &config.key {
            Some(file) => {
                let text = std::fs::read(file);
                let text = text.map_err(|source| Error::File { path: file.clone(), source })?;
                let message = "it has no PKCS #8 private key for this algorithm in PEM".to_owned();
                let refused = Error::Content { path: file.clone(), message };
                match PrivatePkcs8KeyDer::from_pem_slice(&text) {
                    Ok(der) => {
                        pair(config.algorithm, der.secret_pkcs8_der(), &random).ok_or(refused)?
                    }
                    Err(_) => return Err(refused),
                }
            }
            None => generate(config.algorithm, &random).ok_or(Error::KeyMaking)?,
        };
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // Members in the order that the thumbprint is taken of (RFC 7638).
        let (algorithm, mut jwk) = match &pair {
            Pair::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point
                    .get(1..)
                    .and_then(|xy| xy.split_at_checked(32))
                    .ok_or(Error::KeyMaking)?;
                ("ES256", json!({"crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y)}))
            }
            Pair::EdDsa(pair) => {
                let x = encode(pair.public_key().as_ref());
                ("EdDSA", json!({"crv": "Ed25519", "kty": "OKP", "x": x}))
            }
        };
        let print = encode(digest::digest(&digest::SHA256, jwk.to_string().as_bytes()).as_ref());
        jwk["kid"] = print.as_str().into();
        jwk["alg"] = algorithm.into();
        jwk["use"] = "sig".into();
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": print}).to_string();
        Ok(Self { pair, random, header: encode(header.as_bytes()), jwk })
    }

    fn sign(&self, claims: &Map<String, Value>) -> Option<Vec<u8>> {
        let claims = serde_json::to_vec(claims).ok()?;
        let mut token = self.header.clone();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&self.random, token.as_bytes()).ok()?,
            Pair::EdDsa(pair) => pair.sign(token.as_bytes()),
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token.into_bytes())
    }
}

fn pair(algorithm: Signing, pkcs8: &[u8], random: &SystemRandom) -> Option<Pair> {
    match algorithm {
        Signing::Es256 => {
            let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
            EcdsaKeyPair::from_pkcs8(curve, pkcs8, random).ok().map(Pair::Es256)
        }
        // Files of most tools come without the public half, which is optional there.
        Signing::EdDsa => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok().map(Pair::EdDsa),
    }
}

fn generate(algorithm: Signing, random: &SystemRandom) -> Option<Pair> {
    let pkcs8 = match algorithm {
        Signing::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random),
        Signing::EdDsa => Ed25519KeyPair::generate_pkcs8(random),
    };
    pair(algorithm, pkcs8.ok()?.as_ref(), random)
}
