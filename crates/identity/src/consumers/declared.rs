//! The `consumers:` section of the configuration: as written ([`Raw`]), and as checked ([`Declared`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthouse_base::config::{Path, Report, Severity};
use posthouse_base::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate;
use crate::signature::{Algorithm, Key};
use crate::state::{Actor, ApiKey, Hash, KeyNumber, Name, PublicKey, Spec, Stamp};

/// The shortest API key and the shortest shared secret that are accepted, in bytes.
const MIN_SECRET: usize = 16;

/// Consumers, by name. Those that are declared here are changed here only.
pub type Raw = BTreeMap<String, RawConsumer>;

/// Somebody who calls: a customer, a team, another program. Whoever proves to be it by one of the
/// things named here is allowed what it is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Consumer")]
pub struct RawConsumer {
    /// Its plan, which says what limits hold for it.
    pub plan: Option<String>,
    /// What it is, for permissions: `buyer`, `partner`.
    pub roles: Vec<String>,
    /// Whatever you want to note: an owner, an address to write to.
    pub metadata: BTreeMap<String, String>,
    /// Its API keys.
    pub keys: Vec<RawKey>,
    /// Names in client certificates that are its own: a subject (`CN=till,O=Acme`), or a SPIFFE id
    /// (`spiffe://example.org/till`).
    pub certificates: Vec<String>,
    /// Keys with which it signs requests (RFC 9421).
    pub signature_keys: Vec<RawSignatureKey>,
}

/// An API key. It has a `secret` or a `sha256`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ConsumerKey")]
pub struct RawKey {
    /// What you call it.
    pub name: Option<String>,
    /// The key's SHA-256, as 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// In place of that the key itself; at least 16 characters. Better not written here but filled in:
    /// `${env:NAME}`.
    pub secret: Option<String>,
    /// From when on it is refused: `2027-01-01` or `2027-01-01T12:00:00Z`.
    pub expires: Option<String>,
}

/// A key with which requests are signed. It has a `public_key`, or a `secret` for `hmac-sha256`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ConsumerSignatureKey")]
pub struct RawSignatureKey {
    /// What a signature calls it (`keyid`). Two consumers cannot have the same.
    pub id: String,
    /// What it signs with. What a signature says of it must agree.
    pub algorithm: Option<Algorithm>,
    /// The public key as PEM; from a file it is `${file:keys/acme.pem}`.
    pub public_key: Option<String>,
    /// The shared secret in Base64, at least 16 bytes. Better not written here but filled in:
    /// `${env:NAME}`.
    pub secret: Option<String>,
}

/// What the file declares, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    pub(super) consumers: BTreeMap<Name, Arc<Consumer>>,
}

/// A consumer that the file declares.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Consumer {
    pub(super) name: Name,
    pub(super) spec: Arc<Spec>,
    pub(super) keys: Vec<ApiKey>,
    pub(super) signers: Vec<(Box<str>, Key)>,
}

/// What may be one consumer's only, with where it was first found.
type Owners = HashMap<String, Path>;

impl Declared {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`. `None` when there
    /// is a mistake for which it must be refused.
    #[must_use]
    pub fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let before = report.findings().len();
        let mut owners = Owners::new();
        let mut consumers = BTreeMap::new();
        for (name, raw) in raw {
            let path = path.key(name);
            let Some(known) = Name::new(name) else {
                report.error(&path, "a name is 1 to 128 letters, digits and `-_.~@:`");
                continue;
            };
            let consumer = Consumer::check(known.clone(), raw, &path, &mut owners, report);
            consumers.insert(known, Arc::new(consumer));
        }
        let mut found = report.findings()[before..].iter();
        let mistaken = found.any(|finding| finding.severity == Severity::Error);
        (!mistaken).then_some(Self { consumers })
    }

    /// The names of the plans that consumers are given, each with where.
    pub fn plans(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.consumers.values();
        all.filter_map(|consumer| Some((consumer.name.as_str(), consumer.spec.plan.as_deref()?)))
    }
}

impl Consumer {
    fn check(
        name: Name,
        raw: &RawConsumer,
        path: &Path,
        owners: &mut Owners,
        report: &mut Report,
    ) -> Self {
        let mut certificates = Vec::new();
        for (index, written) in raw.certificates.iter().enumerate() {
            let path = path.key("certificates").index(index);
            match certificate::name(written) {
                Ok(name) => {
                    let owned = Owned { key: format!("c {name}"), shown: "this certificate" };
                    own(owned, &path, owners, report);
                    certificates.push(name);
                }
                Err(why) => {
                    report.error(&path, why);
                }
            }
        }
        let mut keys = Vec::new();
        for (number, (index, raw)) in (1..).zip(raw.keys.iter().enumerate()) {
            let path = path.key("keys").index(index);
            keys.extend(check_key(raw, KeyNumber::new(number), &path, owners, report));
        }
        let (mut signature_keys, mut signers) = (Vec::new(), Vec::new());
        for (index, raw) in raw.signature_keys.iter().enumerate() {
            let path = path.key("signature_keys").index(index);
            let Some((shown, key)) = check_signer(raw, &path, owners, report) else { continue };
            signers.push((shown.id.clone(), key));
            signature_keys.push(shown);
        }
        let spec = Spec {
            plan: raw.plan.as_deref().map(Arc::from),
            roles: raw.roles.iter().map(|role| role.as_str().into()).collect(),
            metadata: raw.metadata.clone(),
            certificates,
            signature_keys,
        };
        Self { name, spec: Arc::new(spec), keys, signers }
    }
}

fn check_key(
    raw: &RawKey,
    number: KeyNumber,
    path: &Path,
    owners: &mut Owners,
    report: &mut Report,
) -> Option<ApiKey> {
    let hash = match (&raw.sha256, &raw.secret) {
        (Some(hex), None) => {
            let hash = Hash::from_hex(hex);
            if hash.is_none() {
                report.error(&path.key("sha256"), "a SHA-256 is 64 hexadecimal digits");
            }
            hash
        }
        (None, Some(secret)) if secret.len() < MIN_SECRET => {
            let message = format!("a key needs at least {MIN_SECRET} characters");
            report.error(&path.key("secret"), message);
            None
        }
        (None, Some(secret)) => Some(Hash::of(secret.as_bytes())),
        _ => {
            report.error(path, "a key has a `sha256` or a `secret`");
            None
        }
    };
    let expires = raw.expires.as_deref().map(|written| {
        let read = timestamp(written);
        if read.is_none() {
            let help = "write `2027-01-01` or `2027-01-01T12:00:00Z`";
            report.error(&path.key("expires"), format!("`{written}` is no date")).help(help);
        }
        read
    });
    let hash = hash?;
    own(Owned { key: hash.to_hex(), shown: "this key" }, path, owners, report);
    Some(ApiKey {
        number,
        name: raw.name.as_deref().map(Into::into),
        hash,
        issued: Stamp { by: Actor::new("file"), at: Timestamp::default() },
        expires: match expires {
            None => None,
            Some(read) => Some(read?),
        },
        replaced_by: None,
    })
}

fn check_signer(
    raw: &RawSignatureKey,
    path: &Path,
    owners: &mut Owners,
    report: &mut Report,
) -> Option<(PublicKey, Key)> {
    if raw.id.is_empty() {
        report.error(&path.key("id"), "a signing key needs the id that signatures call it by");
    } else {
        let owned = Owned { key: format!("s {}", raw.id), shown: "this signing key" };
        own(owned, &path.key("id"), owners, report);
    }
    let Some(algorithm) = raw.algorithm else {
        report.error(&path.key("algorithm"), "what does it sign with?").help(
            "write one of `ed25519`, `ecdsa-p256-sha256`, `ecdsa-p384-sha384`, `rsa-pss-sha512`, \
             `rsa-v1_5-sha256`, `hmac-sha256`",
        );
        return None;
    };
    let (shown, read) = match (algorithm, &raw.public_key, &raw.secret) {
        (Algorithm::HmacSha256, None, Some(secret)) => {
            let bytes = STANDARD.decode(secret.trim()).ok();
            let bytes = bytes.filter(|bytes| bytes.len() >= MIN_SECRET);
            let why = format!("a shared secret is Base64 of at least {MIN_SECRET} bytes");
            ("", bytes.map(|bytes| Key::shared(&bytes)).ok_or((path.key("secret"), why)))
        }
        (Algorithm::HmacSha256, ..) => {
            ("", Err((path.clone(), "`hmac-sha256` takes a `secret` and no `public_key`".into())))
        }
        (_, Some(pem), None) => {
            let key = Key::from_pem(algorithm, pem);
            (pem.as_str(), key.map_err(|why| (path.key("public_key"), why)))
        }
        _ => {
            let why = format!("`{}` takes a `public_key` and no `secret`", algorithm.name());
            ("", Err((path.clone(), why)))
        }
    };
    match read {
        Ok(key) => {
            let id = raw.id.as_str().into();
            Some((PublicKey { id, algorithm, pem: shown.into() }, key))
        }
        Err((path, why)) => {
            report.error(&path, why);
            None
        }
    }
}

/// Something of which there may be one.
struct Owned {
    key: String,
    shown: &'static str,
}

/// Notes where something stands of which there may be one.
fn own(Owned { key, shown }: Owned, path: &Path, owners: &mut Owners, report: &mut Report) {
    if let Some(first) = owners.get(&key) {
        report.error(path, format!("{shown} stands at `{first}` already"));
        return;
    }
    owners.insert(key, path.clone());
}

/// A point in time as people write it: a day in UTC, or a time of RFC 3339.
#[must_use]
pub fn timestamp(text: &str) -> Option<Timestamp> {
    use time::format_description::well_known::Rfc3339;
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let read = time::OffsetDateTime::parse(&whole, &Rfc3339).ok()?;
    let millis = read.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

impl std::fmt::Debug for RawKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RawSignatureKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawSignatureKey").field("id", &self.id).finish_non_exhaustive()
    }
}
