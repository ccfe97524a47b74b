//! Keys with which requests are signed, and what they sign with (RFC 9421 §3.3). The algorithm belongs
//! to the key: what a message says of it can only agree or be refused.

use std::fmt;
use std::sync::Arc;

use ring::{hmac, signature};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::oid_registry as oid;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

/// The fewest bits of an RSA key.
const RSA_BITS: usize = 2048;

/// What a key signs with, under the names of RFC 9421.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SignatureAlgorithm")]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-512.
    #[serde(rename = "rsa-pss-sha512")]
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "rsa-v1_5-sha256")]
    RsaV15Sha256,
    /// HMAC with SHA-256: a secret that both sides have.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ecdsa-p384-sha384")]
    EcdsaP384Sha384,
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RsaPssSha512,
        Self::RsaV15Sha256,
        Self::HmacSha256,
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::Ed25519,
    ];

    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaPssSha512 => "rsa-pss-sha512",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
            Self::HmacSha256 => "hmac-sha256",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn verification(self) -> Option<&'static dyn signature::VerificationAlgorithm> {
        Some(match self {
            Self::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::RsaV15Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Ed25519 => &signature::ED25519,
            Self::HmacSha256 => return None,
        })
    }
}

/// A key that verifies.
#[derive(Clone)]
pub(crate) struct Key {
    algorithm: Algorithm,
    material: Arc<Material>,
}

enum Material {
    /// In the form that the algorithm takes: PKCS #1 for RSA, a point, 32 bytes.
    Public(Box<[u8]>),
    Shared(Box<(hmac::Key, ring::digest::Digest)>),
}

impl Key {
    /// A public key as PEM, which must be one that `algorithm` can use.
    pub(crate) fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, String> {
        if algorithm.verification().is_none() {
            return Err("a shared secret is no public key".into());
        }
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| {
            "this is no PEM: it begins with `-----BEGIN PUBLIC KEY-----`".to_owned()
        })?;
        let bytes = public_bytes(algorithm, &pem)?;
        Ok(Self { algorithm, material: Arc::new(Material::Public(bytes.into())) })
    }

    /// A secret that both sides have.
    pub(crate) fn shared(secret: &[u8]) -> Self {
        let fingerprint = ring::digest::digest(&ring::digest::SHA256, secret);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let material = Arc::new(Material::Shared(Box::new((key, fingerprint))));
        Self { algorithm: Algorithm::HmacSha256, material }
    }

    /// What it signs with.
    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's over `message`. Secrets are compared in constant time.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match (self.material.as_ref(), self.algorithm.verification()) {
            (Material::Shared(shared), _) => hmac::verify(&shared.0, message, signature).is_ok(),
            (Material::Public(bytes), Some(algorithm)) => {
                let key = signature::UnparsedPublicKey::new(algorithm, bytes);
                key.verify(message, signature).is_ok()
            }
            (Material::Public(_), None) => false,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let same = match (self.material.as_ref(), other.material.as_ref()) {
            (Material::Public(one), Material::Public(other)) => one == other,
            (Material::Shared(one), Material::Shared(other)) => one.1.as_ref() == other.1.as_ref(),
            _ => false,
        };
        self.algorithm == other.algorithm && same
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The bytes of a public key in the form that `algorithm` takes.
fn public_bytes(algorithm: Algorithm, pem: &Pem) -> Result<Vec<u8>, String> {
    let is_rsa = matches!(algorithm, Algorithm::RsaPssSha512 | Algorithm::RsaV15Sha256);
    let unfit = || format!("this is no key for `{}`", algorithm.name());
    match pem.label.as_str() {
        "PUBLIC KEY" => {}
        "RSA PUBLIC KEY" if is_rsa => {
            let (_, key) = RSAPublicKey::from_der(&pem.contents).map_err(|_| unfit())?;
            return checked_rsa(&key, &pem.contents);
        }
        label => return Err(format!("this is a `{label}`, not a `PUBLIC KEY`")),
    }
    let (_, info) = SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|_| unfit())?;
    let bytes = info.subject_public_key.data.as_ref();
    let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    let is_on = |wanted| curve.as_ref() == Some(&wanted);
    let is_ed25519 = info.algorithm.algorithm == oid::OID_SIG_ED25519;
    match (algorithm, info.parsed()) {
        (_, Ok(PublicKey::RSA(key))) if is_rsa => checked_rsa(&key, bytes),
        // A key that says of itself that it is for PSS only.
        (Algorithm::RsaPssSha512, _) if info.algorithm.algorithm == oid::OID_PKCS1_RSASSAPSS => {
            let (_, key) = RSAPublicKey::from_der(bytes).map_err(|_| unfit())?;
            checked_rsa(&key, bytes)
        }
        (Algorithm::EcdsaP256Sha256, Ok(PublicKey::EC(_))) if is_on(oid::OID_EC_P256) => {
            Ok(bytes.to_vec())
        }
        (Algorithm::EcdsaP384Sha384, Ok(PublicKey::EC(_))) if is_on(oid::OID_NIST_EC_P384) => {
            Ok(bytes.to_vec())
        }
        (Algorithm::Ed25519, _) if is_ed25519 && bytes.len() == 32 => Ok(bytes.to_vec()),
        _ => Err(unfit()),
    }
}

fn checked_rsa(key: &RSAPublicKey<'_>, bytes: &[u8]) -> Result<Vec<u8>, String> {
    // The modulus may begin with a byte that only says that it is positive.
    let leading = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = (key.modulus.len() - leading) * 8;
    if bits < RSA_BITS {
        return Err(format!("an RSA key of {bits} bits is too short: {RSA_BITS} are the least"));
    }
    Ok(bytes.to_vec())
}
