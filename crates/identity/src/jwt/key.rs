//! Keys that verify: from a JWK set (RFC 7517) or from PEM.
//!
//! What must hold: a key serves the algorithms of its kind and, when it names one, that one only; a
//! set that comes over the network holds no shared secrets, since whoever can read it could sign.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac, signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Map, Value};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithm::{Algorithm, Kind};
use crate::json;

/// The most keys of a set that are kept.
const MAX_KEYS: usize = 256;

/// The most keys that one token is tried with.
const MAX_TRIED: usize = 4;

/// A key that verifies tokens.
pub(crate) struct Key {
    id: Option<Box<str>>,
    algorithm: Option<Algorithm>,
    material: Material,
    /// What it is, without its name: two sets hold the same key when these are the same.
    print: [u8; 32],
    /// It has left its set: what it verified before is verified no more.
    retired: AtomicBool,
}

#[derive(PartialEq, Eq)]
enum Material {
    Rsa { modulus: Box<[u8]>, exponent: Box<[u8]> },
    P256(Box<[u8]>),
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
    Secret(Box<[u8]>),
}

impl fmt::Debug for Key {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.material.kind();
        f.debug_struct("Key").field("id", &self.id).field("kind", &kind).finish_non_exhaustive()
    }
}

impl Material {
    const fn kind(&self) -> Kind {
        match self {
            Self::Rsa { .. } => Kind::Rsa,
            Self::P256(_) => Kind::P256,
            Self::P384(_) => Kind::P384,
            Self::Ed25519(_) => Kind::Ed25519,
            Self::Secret(_) => Kind::Secret,
        }
    }

    fn print(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        let parts: [&[u8]; 3] = match self {
            Self::Rsa { modulus, exponent } => [b"rsa", modulus, exponent],
            Self::P256(point) => [b"p256", point, &[]],
            Self::P384(point) => [b"p384", point, &[]],
            Self::Ed25519(point) => [b"ed25519", point, &[]],
            Self::Secret(secret) => [b"secret", secret, &[]],
        };
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut print = [0; 32];
        print.copy_from_slice(context.finish().as_ref());
        print
    }
}

impl Key {
    fn new(id: Option<&str>, algorithm: Option<Algorithm>, material: Material) -> Self {
        let print = material.print();
        Self { id: id.map(Into::into), algorithm, material, print, retired: AtomicBool::new(false) }
    }

    /// A shared secret.
    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self::new(None, None, Material::Secret(secret.into()))
    }

    /// Whether it may verify what is signed by `algorithm`.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        let long_enough = match &self.material {
            Material::Secret(secret) => secret.len() >= algorithm.shortest_secret(),
            _ => true,
        };
        self.material.kind() == algorithm.kind()
            && self.algorithm.is_none_or(|only| only == algorithm)
            && long_enough
    }

    /// Whether it has left its set.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Whether `signature` over `message` is this key's, by `algorithm`.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signed: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa { modulus, exponent } => algorithm.rsa().is_some_and(|parameters| {
                let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signed).is_ok()
            }),
            Material::P256(point) | Material::P384(point) | Material::Ed25519(point) => {
                algorithm.curve().is_some_and(|curve| {
                    let key = signature::UnparsedPublicKey::new(curve, point);
                    key.verify(message, signed).is_ok()
                })
            }
            Material::Secret(secret) => algorithm.hmac().is_some_and(|algorithm| {
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signed).is_ok()
            }),
        }
    }

    /// From one JWK. `None` for what is no key of ours: another use, curve or kind.
    fn from_jwk(jwk: &Map<String, Value>, secrets: bool) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|used| used != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops").and_then(Value::as_array)
            && !operations.iter().any(|operation| operation == "verify" || operation == "sign")
        {
            return None;
        }
        let bytes = |name: &str| {
            let value = text(name)?.trim_end_matches('=');
            URL_SAFE_NO_PAD.decode(value).ok()
        };
        let point = |size: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let sized = x.len() == size && y.len() == size;
            sized.then(|| [&[4][..], &x, &y].concat().into_boxed_slice())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa {
                modulus: without_zeros(&bytes("n")?),
                exponent: without_zeros(&bytes("e")?),
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?.into()),
            ("oct", _) if secrets => Material::Secret(bytes("k")?.into()),
            _ => return None,
        };
        // A name of an algorithm that we do not have makes a key that we do not have.
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        Some(Self::new(text("kid"), algorithm, material)).filter(Self::is_usable)
    }

    /// From a `SubjectPublicKeyInfo`.
    fn from_info(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let material = match info.parsed().ok()? {
            PublicKey::RSA(key) => Material::Rsa {
                modulus: without_zeros(key.modulus),
                exponent: without_zeros(key.exponent),
            },
            PublicKey::EC(point) if point.data().len() == 65 => Material::P256(point.data().into()),
            PublicKey::EC(point) if point.data().len() == 97 => Material::P384(point.data().into()),
            PublicKey::Unknown(point) if info.algorithm.algorithm.to_id_string() == ED25519 => {
                Material::Ed25519(point.into())
            }
            _ => return None,
        };
        Some(Self::new(None, None, material)).filter(Self::is_usable)
    }

    /// Whether it has the size of a key that is taken. Whether a point is on its curve is found
    /// at each use.
    fn is_usable(&self) -> bool {
        match &self.material {
            Material::Rsa { modulus, .. } => (256..=1024).contains(&modulus.len()),
            Material::P256(point) => point.len() == 65 && point.first() == Some(&4),
            Material::P384(point) => point.len() == 97 && point.first() == Some(&4),
            Material::Ed25519(point) => point.len() == 32,
            Material::Secret(secret) => secret.len() >= 32,
        }
    }
}

/// The object identifier of Ed25519 (RFC 8410).
const ED25519: &str = "1.3.101.112";

fn without_zeros(number: &[u8]) -> Box<[u8]> {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number[first..].into()
}

/// Keys that are used together: those of an issuer.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    all: Vec<Arc<Key>>,
}

/// Why a set cannot be read. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is neither a JWK set nor PEM")]
    Form,
    #[error("it has no key that could be used (RSA from 2048 bits, P-256, P-384, Ed25519)")]
    Empty,
}

impl Keys {
    /// Keys that are known already.
    pub(crate) fn of(keys: impl IntoIterator<Item = Key>) -> Self {
        Self { all: keys.into_iter().take(MAX_KEYS).map(Arc::new).collect() }
    }

    /// From a JWK set, or one JWK. Keys that are not ours to use are left out.
    ///
    /// # Errors
    /// When it is no such set, or has no key that could be used.
    pub(crate) fn from_jwks(text: &[u8], secrets: bool) -> Result<Self, Unreadable> {
        let document = json::object(text).ok_or(Unreadable::Form)?;
        let keys = match document.get("keys") {
            Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_object).collect(),
            Some(_) => return Err(Unreadable::Form),
            None => vec![&document],
        };
        let keys = Self::of(keys.into_iter().filter_map(|jwk| Key::from_jwk(jwk, secrets)));
        if keys.all.is_empty() { Err(Unreadable::Empty) } else { Ok(keys) }
    }

    /// From a file: a JWK set, or PEM with public keys and certificates.
    ///
    /// # Errors
    /// When it is neither, or has no key that could be used.
    pub(crate) fn from_file(text: &[u8]) -> Result<Self, Unreadable> {
        if text.trim_ascii_start().starts_with(b"{") {
            return Self::from_jwks(text, true);
        }
        let infos = SubjectPublicKeyInfoDer::pem_slice_iter(text);
        let mut keys: Vec<Key> =
            infos.filter_map(|info| Key::from_info(info.ok()?.as_ref())).collect();
        for certificate in CertificateDer::pem_slice_iter(text) {
            let certificate = certificate.map_err(|_| Unreadable::Form)?;
            let read = x509_parser::certificate::X509Certificate::from_der(&certificate);
            let (_, read) = read.map_err(|_| Unreadable::Form)?;
            keys.extend(Key::from_info(read.public_key().raw));
        }
        if keys.is_empty() {
            let is_pem = text.windows(11).any(|window| window == b"-----BEGIN ");
            return Err(if is_pem { Unreadable::Empty } else { Unreadable::Form });
        }
        Ok(Self::of(keys))
    }

    /// The keys that a token with this `kid` and algorithm may have been signed with: those of that
    /// name, or else those without one. A token without a name may be by any.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<Key>> {
        let fitting = || self.all.iter().filter(|key| key.fits(algorithm));
        let chosen = |wanted: &dyn Fn(&Key) -> bool| -> Vec<Arc<Key>> {
            fitting().filter(|key| wanted(key)).take(MAX_TRIED).map(Arc::clone).collect()
        };
        let Some(id) = id else { return chosen(&|_| true) };
        let named = chosen(&|key| key.id.as_deref() == Some(id));
        if named.is_empty() { chosen(&|key| key.id.is_none()) } else { named }
    }

    /// These keys in place of `before`: what stays is the same object, what goes is retired.
    pub(crate) fn succeed(mut self, before: &Self) -> Self {
        let same =
            |a: &Key, b: &Key| a.print == b.print && a.id == b.id && a.algorithm == b.algorithm;
        for key in &mut self.all {
            if let Some(held) = before.all.iter().find(|held| same(held, key)) {
                *key = Arc::clone(held);
            }
        }
        for held in &before.all {
            if !self.all.iter().any(|key| Arc::ptr_eq(key, held)) {
                held.retired.store(true, Ordering::Relaxed);
            }
        }
        self
    }

    /// Retires all of them.
    pub(crate) fn retire(&self) {
        for key in &self.all {
            key.retired.store(true, Ordering::Relaxed);
        }
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }
}
