//! Consumers, keys and changes as they are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthouse_base::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Unreadable;
use crate::signature::Algorithm;
use crate::state::{self, Actor, Happened, Hash, KeyNumber, Name, Revision, Stamp};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Created { name: String, spec: Spec },
    Updated { name: String, spec: Spec },
    Deleted { name: String },
    KeyIssued { name: String, key: Key },
    KeyReplaced { name: String, key: u64, expires: u64, by: u64 },
    KeyRevoked { name: String, key: u64 },
    KeyForgotten { name: String, key: u64 },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Consumer {
    name: String,
    spec: Spec,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Key>,
    next_key: u64,
    created: At,
    changed: At,
    revision: u64,
}

/// Who and when.
#[derive(Serialize, Deserialize)]
struct At(String, u64);

#[derive(Serialize, Deserialize)]
pub(super) struct Change {
    revision: u64,
    stamp: At,
    what: Vec<What>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Spec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<Box<str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<Box<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signature_keys: Vec<PublicKey>,
}

#[derive(Serialize, Deserialize)]
struct PublicKey {
    id: Box<str>,
    algorithm: String,
    pem: Box<str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Key {
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    sha256: String,
    issued: At,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced_by: Option<u64>,
}

impl From<&Happened> for What {
    fn from(what: &Happened) -> Self {
        let text = |name: &Name| name.as_str().to_owned();
        match what {
            Happened::Created { name, spec } => {
                Self::Created { name: text(name), spec: spec.as_ref().into() }
            }
            Happened::Updated { name, spec } => {
                Self::Updated { name: text(name), spec: spec.as_ref().into() }
            }
            Happened::Deleted { name } => Self::Deleted { name: text(name) },
            Happened::KeyIssued { name, key } => {
                Self::KeyIssued { name: text(name), key: key.into() }
            }
            Happened::KeyReplaced { name, key, expires, by } => Self::KeyReplaced {
                name: text(name),
                key: key.get(),
                expires: expires.as_millis(),
                by: by.get(),
            },
            Happened::KeyRevoked { name, key } => {
                Self::KeyRevoked { name: text(name), key: key.get() }
            }
            Happened::KeyForgotten { name, key } => {
                Self::KeyForgotten { name: text(name), key: key.get() }
            }
        }
    }
}

impl What {
    pub(super) fn read(self) -> Result<Happened, Unreadable> {
        Ok(match self {
            Self::Created { name, spec } => {
                Happened::Created { name: read_name(&name)?, spec: spec.read()?.into() }
            }
            Self::Updated { name, spec } => {
                Happened::Updated { name: read_name(&name)?, spec: spec.read()?.into() }
            }
            Self::Deleted { name } => Happened::Deleted { name: read_name(&name)? },
            Self::KeyIssued { name, key } => {
                Happened::KeyIssued { name: read_name(&name)?, key: key.read()? }
            }
            Self::KeyReplaced { name, key, expires, by } => Happened::KeyReplaced {
                name: read_name(&name)?,
                key: KeyNumber::new(key),
                expires: Timestamp::from_millis(expires),
                by: KeyNumber::new(by),
            },
            Self::KeyRevoked { name, key } => {
                Happened::KeyRevoked { name: read_name(&name)?, key: KeyNumber::new(key) }
            }
            Self::KeyForgotten { name, key } => {
                Happened::KeyForgotten { name: read_name(&name)?, key: KeyNumber::new(key) }
            }
        })
    }
}

impl From<&state::Consumer> for Consumer {
    fn from(consumer: &state::Consumer) -> Self {
        Self {
            name: consumer.name.as_str().to_owned(),
            spec: consumer.spec.as_ref().into(),
            keys: consumer.keys.iter().map(Key::from).collect(),
            next_key: consumer.next_key.get(),
            created: (&consumer.created).into(),
            changed: (&consumer.changed).into(),
            revision: consumer.revision.get(),
        }
    }
}

impl Consumer {
    pub(super) fn read(self) -> Result<state::Consumer, Unreadable> {
        let keys = self.keys.into_iter().map(Key::read);
        Ok(state::Consumer {
            name: read_name(&self.name)?,
            spec: self.spec.read()?.into(),
            keys: keys.collect::<Result<_, Unreadable>>()?,
            next_key: KeyNumber::new(self.next_key),
            created: self.created.read(),
            changed: self.changed.read(),
            revision: Revision::new(self.revision),
        })
    }
}

impl From<&state::Change> for Change {
    fn from(change: &state::Change) -> Self {
        let what = change.what.iter().map(What::from).collect();
        Self { revision: change.revision.get(), stamp: (&change.stamp).into(), what }
    }
}

impl Change {
    pub(super) fn read(self) -> Result<state::Change, Unreadable> {
        let what = self.what.into_iter().map(What::read);
        Ok(state::Change {
            revision: Revision::new(self.revision),
            stamp: self.stamp.read(),
            what: what.collect::<Result<_, Unreadable>>()?,
        })
    }
}

impl From<&Stamp> for At {
    fn from(stamp: &Stamp) -> Self {
        Self(stamp.by.as_str().to_owned(), stamp.at.as_millis())
    }
}

impl At {
    fn read(self) -> Stamp {
        stamp(&self.0, self.1)
    }
}

impl From<&state::Spec> for Spec {
    fn from(spec: &state::Spec) -> Self {
        let keys = spec.signature_keys.iter().map(|key| PublicKey {
            id: key.id.clone(),
            algorithm: key.algorithm.name().to_owned(),
            pem: key.pem.clone(),
        });
        Self {
            plan: spec.plan.clone(),
            roles: spec.roles.clone(),
            metadata: spec.metadata.clone(),
            certificates: spec.certificates.clone(),
            signature_keys: keys.collect(),
        }
    }
}

impl Spec {
    fn read(self) -> Result<state::Spec, Unreadable> {
        let keys = self.signature_keys.into_iter().map(|PublicKey { id, algorithm, pem }| {
            let known = Algorithm::named(&algorithm)
                .ok_or_else(|| Unreadable(format!("there is no algorithm `{algorithm}`")))?;
            Ok(state::PublicKey { id, algorithm: known, pem })
        });
        Ok(state::Spec {
            plan: self.plan,
            roles: self.roles,
            metadata: self.metadata,
            certificates: self.certificates,
            signature_keys: keys.collect::<Result<_, Unreadable>>()?,
        })
    }
}

impl From<&state::ApiKey> for Key {
    fn from(key: &state::ApiKey) -> Self {
        Self {
            number: key.number.get(),
            name: key.name.clone(),
            sha256: key.hash.to_hex(),
            issued: (&key.issued).into(),
            expires: key.expires.map(Timestamp::as_millis),
            replaced_by: key.replaced_by.map(KeyNumber::get),
        }
    }
}

impl Key {
    fn read(self) -> Result<state::ApiKey, Unreadable> {
        let hash = Hash::from_hex(&self.sha256);
        Ok(state::ApiKey {
            number: KeyNumber::new(self.number),
            name: self.name,
            hash: hash.ok_or_else(|| Unreadable("the hash of a key is none".into()))?,
            issued: self.issued.read(),
            expires: self.expires.map(Timestamp::from_millis),
            replaced_by: self.replaced_by.map(KeyNumber::new),
        })
    }
}

pub(super) fn stamp(by: &str, at: u64) -> Stamp {
    Stamp { by: Actor::new(by), at: Timestamp::from_millis(at) }
}

fn read_name(text: &str) -> Result<Name, Unreadable> {
    Name::new(text).ok_or_else(|| Unreadable(format!("`{text}` is no name of a consumer")))
}
