//! Signed requests: `rfc9421` (the vectors of RFC 9421), `components` (what can be signed, and how it is
//! written), `attacks` (each tried and refused), and here what they share.

mod attacks;
mod components;
mod properties;
mod rfc9421;
mod vectors;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use ring::rand::SystemRandom;
use ring::{hmac, signature};
use serde_json::json;

use super::message::Found;
use super::settings::{Config, Structure, Structures};
use crate::consumers::{Consumers, Declared, Limits, Raw};
use crate::credential::{Credentials, Fields};

/// When the vectors were signed.
const SIGNED: u64 = 1_618_884_473;

/// A request, as a test writes it.
#[derive(Clone, Debug)]
struct Request {
    method: Method,
    scheme: &'static str,
    authority: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Request {
    /// From the text of a head. White space around values is the codec's to remove.
    fn read(head: &str) -> Self {
        let mut lines = head.lines();
        let mut words = lines.next().expect("a request line").split(' ');
        let method = words.next().expect("a method").parse().expect("a method");
        let target = words.next().expect("a target").to_owned();
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').expect("a field");
            (name.to_owned(), value.trim().to_owned())
        };
        let fields: Vec<_> = lines.map(pair).collect();
        let host = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = host.map(|(_, host)| host.clone()).unwrap_or_default();
        Self { method, scheme: "https", authority, target, fields }
    }

    /// `test-request` of the RFC with these fields more.
    fn with(fields: &str) -> Self {
        Self::read(&format!("{}\n{fields}", vectors::REQUEST))
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
        self
    }

    fn credentials(&self, now: Timestamp) -> Credentials<'_> {
        Credentials {
            method: &self.method,
            scheme: self.scheme,
            authority: self.authority.as_bytes(),
            path_and_query: self.target.as_bytes(),
            fields: self,
            client: SocketAddr::from(([127, 0, 0, 1], 1)),
            chain: &[],
            now,
        }
    }

    /// Signs this under `label`: `input` is what `Signature-Input` says.
    fn sign(self, label: &str, input: &str, signer: &Signer) -> Self {
        let unsigned = self
            .clone()
            .without("signature")
            .without("signature-input")
            .field("Signature-Input", &format!("{label}={input}"))
            .field("Signature", &format!("{label}=:AAAA:"));
        let Found::All(all) = Found::of(&unsigned.credentials(at(0))) else {
            panic!("`{input}` cannot be read")
        };
        let base = all[0].base(&unsigned.credentials(at(0)), &structures()).expect("a base");
        let signature = STANDARD.encode(signer.sign(&base));
        self.field("Signature-Input", &format!("{label}={input}"))
            .field("Signature", &format!("{label}=:{signature}:"))
    }
}

impl Fields for Request {
    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s [u8], &'s [u8])) {
        self.fields.iter().for_each(|(name, value)| see(name.as_bytes(), value.as_bytes()));
    }
}

/// Somebody who has a private key.
enum Signer {
    Ed25519(signature::Ed25519KeyPair),
    Ecdsa(Box<signature::EcdsaKeyPair>),
    Rsa(Box<signature::RsaKeyPair>, &'static dyn signature::RsaEncoding),
    Shared(hmac::Key),
}

impl Signer {
    /// Who has `test-key-ed25519`.
    fn acme() -> Self {
        let key = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(vectors::ED_PRIVATE));
        Self::Ed25519(key.expect("a key"))
    }

    /// Who has `test-key-rsa-pss`.
    fn rsa(encoding: &'static dyn signature::RsaEncoding) -> Self {
        // Within PKCS #8, which says that it is for PSS only.
        let key = signature::RsaKeyPair::from_der(&der(vectors::RSA_PSS_PRIVATE)[24..]);
        Self::Rsa(Box::new(key.expect("a key")), encoding)
    }

    /// Who has `test-shared-secret`.
    fn shared() -> Self {
        Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, &bytes(vectors::SHARED)))
    }

    fn sign(&self, base: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(key) => key.sign(base).as_ref().to_vec(),
            Self::Ecdsa(key) => key.sign(&random, base).expect("a signature").as_ref().to_vec(),
            Self::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, base, &mut signature).expect("a signature");
                signature
            }
            Self::Shared(key) => hmac::sign(key, base).as_ref().to_vec(),
        }
    }
}

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).expect("Base64")
}

fn der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM").1.contents
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn structures() -> Structures {
    Structures::with([("example-dict", Structure::Dictionary)])
}

/// Takes whatever is signed, within a minute.
fn lenient() -> Config {
    Config {
        required: Vec::new(),
        body: false,
        max_age: Duration::from_secs(60),
        leeway: Duration::from_secs(5),
        nonce: false,
        tag: None,
        structures: structures(),
    }
}

/// What the configuration takes unless it says otherwise.
fn strict() -> Config {
    let mut report = Report::new();
    let raw = super::Raw::default();
    Config::check(&raw, &Path::root(), &mut report).expect("the default is fine")
}

fn declared(raw: serde_json::Value) -> Declared {
    let raw: Raw = serde_json::from_value(raw).expect("of the form of the file");
    let mut report = Report::new();
    let declared = Declared::check(&raw, &Path::root(), &mut report);
    declared.unwrap_or_else(|| panic!("{:?}", report.findings()))
}

/// `acme`, who has the keys of the RFC, and `other`, who has one of its own.
async fn consumers() -> Consumers {
    let public = |id: &str, algorithm: &str, key: &str| json!({ "id": id, "algorithm": algorithm, "public_key": key });
    let other = signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let declared = declared(json!({
        "acme": { "plan": "gold", "roles": ["buyer"], "signature_keys": [
            public("test-key-rsa-pss", "rsa-pss-sha512", vectors::RSA_PSS_PUBLIC),
            public("test-key-rsa", "rsa-v1_5-sha256", vectors::RSA_PUBLIC),
            public("v1_5", "rsa-v1_5-sha256", vectors::RSA_PSS_PUBLIC),
            public("test-key-ecc-p256", "ecdsa-p256-sha256", vectors::ECC_PUBLIC),
            public("test-key-ed25519", "ed25519", vectors::ED_PUBLIC),
            { "id": "test-shared-secret", "algorithm": "hmac-sha256", "secret": vectors::SHARED },
        ] },
        "other": { "signature_keys": [public("other", "ed25519", &ed25519_pem(&other))] },
    }));
    Consumers::start(declared, None, Limits::default(), &Tasks::new()).await.expect("a start")
}

fn ed25519_pem(key: &signature::Ed25519KeyPair) -> String {
    use ring::signature::KeyPair as _;
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    let der = [&PREFIX[..], key.public_key().as_ref()].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}
