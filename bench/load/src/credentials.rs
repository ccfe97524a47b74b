//! What calls of the guard cases show, and what the proxies know of it: a token of one consumer signed
//! with ES256, and an API key for each of 100,000 consumers, in each proxy's own form.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder that gets `token.pem` (the public key); `token`, `key` and `keys` (header fields, one a
    /// line); `consumers.yaml` (for Posthouse), `keys.map` (HAProxy) and `keys-nginx.map`.
    folder: PathBuf,
    /// How many have a key.
    #[arg(long, default_value_t = 100_000)]
    consumers: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| {
        let path = options.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    let (token, public) = token()?;
    write("token", &format!("authorization: Bearer {token}\n"))?;
    write("token.pem", &public)?;
    let (mut keys, mut yaml) = (String::new(), String::new());
    let (mut haproxy, mut nginx) = (String::new(), String::new());
    for number in 0..options.consumers {
        let key = format!("bench-key-of-consumer-{number:08}");
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let mut hex = String::new();
        for byte in digest.as_ref() {
            write!(hex, "{byte:02x}")?;
        }
        writeln!(keys, "x-api-key: {key}")?;
        writeln!(yaml, "  consumer-{number}: {{ keys: [ {{ sha256: {hex:?} }} ] }}")?;
        writeln!(haproxy, "{key} consumer-{number}")?;
        writeln!(nginx, "{key} consumer-{number};")?;
    }
    let first = keys.lines().next().context("at least one consumer")?;
    write("key", &format!("{first}\n"))?;
    write("keys", &keys)?;
    write("consumers.yaml", &yaml)?;
    write("keys.map", &haproxy)?;
    write("keys-nginx.map", &nginx)
}

/// A token that is good for a day, and the key that verifies it.
fn token() -> anyhow::Result<(String, String)> {
    let random = SystemRandom::new();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = EcdsaKeyPair::from_pkcs8(kind, &pair.serialize_der(), &random)
        .map_err(|error| anyhow!("the key that was made cannot be used: {error}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = format!(
        r#"{{"iss":"https://bench.example","aud":"bench","sub":"consumer-0","iat":{now},"exp":{},"scope":"orders.read orders.write"}}"#,
        now + 86_400
    );
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(r#"{"alg":"ES256","typ":"JWT"}"#), encode(&claims));
    let signature =
        key.sign(&random, signed.as_bytes()).map_err(|_| anyhow!("nothing can be signed"))?;
    Ok((format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)), pair.public_key_pem()))
}
