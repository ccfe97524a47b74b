//! What is known of a consumer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use posthouse_base::time::Timestamp;

use crate::signature::Algorithm;

/// A consumer's name: 1 to 128 letters, digits and `-_.~@:`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The most bytes of a name.
    const LONGEST: usize = 128;

    /// `text` as a name, if it can be one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@:".contains(&byte);
        let fine = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(fits);
        // Such names would be steps of a path in the admin API.
        (fine && !matches!(text, "." | "..")).then(|| Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who asked for a change: the name of an admin token, or what else let them in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(Arc<str>);

impl Actor {
    /// The actor of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// Counts changes to all consumers; that of a consumer is the one of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision of that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// SHA-256 of an API key. Keys are 256 random bits, so this gives nothing away; it is not shown all
/// the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// That of `secret`.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, secret);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            let hexadecimal = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| hexadecimal)?;
        }
        Some(Self(bytes))
    }

    /// As 64 hexadecimal digits, for what is written down.
    #[must_use]
    pub fn to_hex(self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            // Writing to a string does not fail.
            let _written = write!(text, "{byte:02x}");
        }
        text
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// An API key's number among those of its consumer. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyNumber(u64);

impl KeyNumber {
    /// That of a consumer's first key.
    pub const FIRST: Self = Self(1);

    /// The number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for KeyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What may be said of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Its plan.
    pub plan: Option<Arc<str>>,
    /// What it is, for permissions.
    pub roles: Vec<Box<str>>,
    /// Whatever its owners want to note.
    pub metadata: BTreeMap<String, String>,
    /// Names in client certificates that are its own: a subject, or a SPIFFE id.
    pub certificates: Vec<Box<str>>,
    /// Public keys with which it signs requests.
    pub signature_keys: Vec<PublicKey>,
}

/// A public key with which requests are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What a signature calls it (`keyid`).
    pub id: Box<str>,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The key, as PEM.
    pub pem: Box<str>,
}

/// A consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Its name.
    pub name: Name,
    /// What is said of it.
    pub spec: Arc<Spec>,
    /// Its keys, in the order in which they were issued.
    pub keys: Vec<ApiKey>,
    /// The number of its next key.
    pub next_key: KeyNumber,
    /// When it came.
    pub created: Stamp,
    /// When it, or one of its keys, last changed.
    pub changed: Stamp,
    /// Of its last change.
    pub revision: Revision,
}

/// An API key, of which the secret is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// Its number.
    pub number: KeyNumber,
    /// What its owners call it.
    pub name: Option<Box<str>>,
    /// By which it is recognised.
    pub hash: Hash,
    /// When it was issued.
    pub issued: Stamp,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
    /// The key that takes its place.
    pub replaced_by: Option<KeyNumber>,
}

impl ApiKey {
    /// Whether it is refused at the time `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A key to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What its owners call it.
    pub name: Option<Box<str>>,
    /// Of its secret.
    pub hash: Hash,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
}
