//! Keys as they are written. Values are written in Base64, because JSON has no bytes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use posthouse_base::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Each, Unreadable, is_default};
use crate::state::kv::{self, Image};
use crate::state::{Index, Key, Stored};

type Text = Arc<str>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Set(Entry),
    Deleted { key: Text },
    TreeDeleted { prefix: Text },
}

#[derive(Default, Deserialize)]
pub(super) struct Checkpoint {
    /// With when each came and when it last changed.
    entries: Vec<(Entry, u64, u64)>,
    tombstones: Vec<(Text, u64)>,
    floor: u64,
    /// Until when, in milliseconds, a key cannot be locked.
    delays: Vec<(Text, u64)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    key: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    value: String,
    #[serde(default, skip_serializing_if = "is_default")]
    flags: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    session: Option<Text>,
    #[serde(default, skip_serializing_if = "is_default")]
    locks: u64,
}

impl From<&kv::Event> for Event {
    fn from(event: &kv::Event) -> Self {
        match event {
            kv::Event::Set(entry) => Self::Set(entry.into()),
            kv::Event::Deleted(key) => Self::Deleted { key: key.to_shared() },
            kv::Event::TreeDeleted(prefix) => Self::TreeDeleted { prefix: prefix.to_shared() },
        }
    }
}

impl Event {
    pub(super) fn read(self) -> Result<kv::Event, Unreadable> {
        Ok(match self {
            Self::Set(entry) => kv::Event::Set(entry.read()?),
            Self::Deleted { key } => kv::Event::Deleted(key.into()),
            Self::TreeDeleted { prefix } => kv::Event::TreeDeleted(prefix.into()),
        })
    }
}

impl From<&kv::Entry> for Entry {
    fn from(entry: &kv::Entry) -> Self {
        Self {
            key: entry.key.to_shared(),
            value: STANDARD_NO_PAD.encode(&entry.value),
            flags: entry.flags,
            session: entry.session.as_ref().map(|session| session.to_shared()),
            locks: entry.locks,
        }
    }
}

impl Entry {
    fn read(self) -> Result<kv::Entry, Unreadable> {
        let value = STANDARD_NO_PAD.decode(&self.value);
        let value = value
            .map_err(|error| Unreadable(format!("the value of the key `{}`: {error}", self.key)))?;
        Ok(kv::Entry {
            key: self.key.into(),
            value: value.into(),
            flags: self.flags,
            session: self.session.map(Into::into),
            locks: self.locks,
        })
    }
}

/// In the form of [`Checkpoint`], written piece by piece.
pub(super) fn checkpoint(image: &Image) -> impl Serialize {
    #[derive(Serialize)]
    struct Written<E, T, D> {
        entries: E,
        tombstones: T,
        floor: u64,
        delays: D,
    }
    let entry = |stored: &Arc<Stored<kv::Entry>>| {
        (Entry::from(&stored.value), stored.created.get(), stored.modified.get())
    };
    let tombstone = |(key, index): &(Key, Index)| (key.to_shared(), index.get());
    let delay = |(key, until): &(Key, Timestamp)| (key.to_shared(), until.as_millis());
    Written {
        entries: Each(&image.entries, entry),
        tombstones: Each(&image.tombstones, tombstone),
        floor: image.floor.get(),
        delays: Each(&image.delays, delay),
    }
}

impl Checkpoint {
    pub(super) fn read(self) -> Result<Image, Unreadable> {
        let entries = self.entries.into_iter().map(|(entry, created, modified)| {
            let (created, modified) = (Index::new(created), Index::new(modified));
            Ok(Arc::new(Stored { value: entry.read()?, created, modified }))
        });
        let tombstones = self.tombstones.into_iter();
        let delays = self.delays.into_iter();
        Ok(Image {
            entries: entries.collect::<Result<_, Unreadable>>()?,
            tombstones: tombstones.map(|(key, index)| (key.into(), Index::new(index))).collect(),
            floor: Index::new(self.floor),
            delays: delays
                .map(|(key, until)| (key.into(), Timestamp::from_millis(until)))
                .collect(),
        })
    }
}
