//! What operators are shown of consumers and keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posthouse_base::time::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::state::{KeyNumber, Name, Revision, Spec, Stamp};

/// What keys begin with, so that people and scanners of source code know one when they see it.
const PREFIX: &str = "phk_";

/// A consumer, as operators are shown it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is said.
    pub origin: Origin,
    /// What is said of it. A shared secret is named and not shown.
    pub spec: Arc<Spec>,
    /// Its keys, in the order in which they were issued.
    pub keys: Vec<KeyView>,
    /// When it came; not known of the file's.
    pub created: Option<Stamp>,
    /// When it last changed; not known of the file's.
    pub changed: Option<Stamp>,
    /// Of its last change; the file's have none.
    pub revision: Option<Revision>,
}

/// Where a consumer is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, and changed only there.
    File,
    /// In the journal.
    Journal,
}

/// A key, as operators are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its number among those of the consumer.
    pub number: KeyNumber,
    /// Its name in limits and logs: `acme/1`.
    pub id: Arc<str>,
    /// What its owners call it.
    pub label: Option<Box<str>>,
    /// When it was issued; not known of the file's.
    pub issued: Option<Stamp>,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
    /// The key that takes its place.
    pub replaced_by: Option<KeyNumber>,
    /// When it was last shown, to the minute, since the house started.
    pub last_used: Option<Timestamp>,
}

/// Consumers as somebody has written all of them down.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What is said of each, by name.
    pub specs: BTreeMap<String, Spec>,
    /// Whether those that are not named are to be gone.
    pub prune: bool,
}

/// What a replacement came to, or would come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// What changes, by name.
    pub planned: Vec<Planned>,
    /// What was wanted otherwise of the file's consumers, and is as the file says.
    pub declared: Vec<Name>,
}

/// What becomes of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub name: Name,
    /// What is said of it; `None` when it is new.
    pub before: Option<Arc<Spec>>,
    /// What is said of it then; `None` when it goes.
    pub after: Option<Arc<Spec>>,
}

/// A key that was issued. This is the only time that its secret is seen.
#[derive(Debug)]
pub struct Issued {
    /// The key.
    pub key: KeyView,
    /// What callers show.
    pub secret: Secret,
}

/// The secret of a key. Does not show itself unless told to.
pub struct Secret(String);

impl Secret {
    /// 256 random bits; `None` when the system gives none.
    pub(super) fn generate() -> Option<Self> {
        let mut bytes = [0_u8; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The secret, to be given to whoever asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
