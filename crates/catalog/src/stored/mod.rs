//! How the catalog's events and its state are written down: JSON, in types of its own, converted by
//! hand, so that the rules can change without changing what older versions wrote.
//!
//! One record is one command: all its events or none. A description's text stands in a record only
//! when it is new, and once in a checkpoint however many revisions have it. A field that is added
//! later must have a default; what changes meaning gets a new name.
//!
//! What must hold: what was written is read back as it was.

mod entry;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::contract::Contract;
use crate::state::{self, Image, Mark};
use entry::{Changed, Key, KindOf, Spec};

/// What records are called in the journal.
pub(crate) const KIND: &str = "catalog.changed";

/// The format of checkpoints, counted up when older versions could not read them.
pub(crate) const FORMAT: u32 = 1;

/// Something was written that cannot be read: the file was damaged, or a later version wrote it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(String);

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Descriptions by the hexadecimal digest of their text.
type Texts = BTreeMap<String, Text>;

#[derive(Serialize, Deserialize)]
struct Text {
    kind: KindOf,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    texts: Texts,
    events: Vec<Event>,
}

#[derive(Serialize, Deserialize)]
struct Event {
    key: Key,
    revision: u64,
    who: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    note: Arc<str>,
    at: u64,
    #[serde(default, skip_serializing_if = "entry::is_default")]
    file: bool,
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Put(Box<Spec>),
    /// With the description that the entry had.
    PutKeeping(Box<Spec>),
    Moved(entry::Lifecycle),
    RolledBack(u64),
    Removed,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    mark: u64,
    texts: Texts,
    entries: Vec<(Key, Vec<Changed>)>,
}

/// The events of one command as they are written; `None` when there is none.
pub(crate) fn record(events: &[state::Event]) -> Option<Vec<u8>> {
    if events.is_empty() {
        return None;
    }
    let mut texts = Texts::new();
    let events = events.iter().map(|event| Event {
        key: (&event.key).into(),
        revision: event.revision.get(),
        who: Arc::clone(&event.who),
        note: Arc::clone(&event.note),
        at: event.at.as_millis(),
        file: event.origin == state::Origin::File,
        what: match &event.what {
            state::What::Put { spec, keeps_contract: true } => {
                What::PutKeeping(Box::new(Spec::of(spec, &mut |_kept| None)))
            }
            state::What::Put { spec, keeps_contract: false } => {
                What::Put(Box::new(Spec::of(spec, &mut |contract| {
                    Some(keep(&mut texts, contract))
                })))
            }
            state::What::Moved(to) => What::Moved(to.into()),
            state::What::RolledBack(to) => What::RolledBack(to.get()),
            state::What::Removed => What::Removed,
        },
    });
    let events = events.collect();
    // Such types can always be written.
    Some(serde_json::to_vec(&Record { texts, events }).unwrap_or_default())
}

/// A command's events, read back.
pub(crate) fn events(record: &[u8]) -> Result<Vec<state::Event>, Unreadable> {
    let Record { texts, events } = serde_json::from_slice(record)?;
    let contracts = contracts(texts);
    let events = events.into_iter().map(|event| {
        let put = |spec: Spec, keeps_contract| {
            let spec = Arc::new(spec.read(&contracts)?);
            Ok::<_, Unreadable>(state::What::Put { spec, keeps_contract })
        };
        Ok(state::Event {
            key: event.key.read()?,
            revision: state::Revision::new(event.revision),
            who: event.who,
            note: event.note,
            at: posthouse_base::time::Timestamp::from_millis(event.at),
            origin: entry::origin(event.file),
            what: match event.what {
                What::Put(spec) => put(*spec, false)?,
                What::PutKeeping(spec) => put(*spec, true)?,
                What::Moved(to) => state::What::Moved(to.read()?),
                What::RolledBack(to) => state::What::RolledBack(state::Revision::new(to)),
                What::Removed => state::What::Removed,
            },
        })
    });
    events.collect()
}

/// A state as it is written.
pub(crate) fn checkpoint(image: &Image) -> Vec<u8> {
    let mut texts = Texts::new();
    let entries = image.entries.iter().map(|(key, entry)| {
        let revisions = entry.revisions();
        let revisions = revisions
            .map(|changed| Changed::of(changed, &mut |contract| Some(keep(&mut texts, contract))));
        (key.into(), revisions.collect())
    });
    let entries = entries.collect();
    let written = Checkpoint { mark: image.mark.get(), texts, entries };
    serde_json::to_vec(&written).unwrap_or_default()
}

/// A state, read back.
pub(crate) fn image(checkpoint: &[u8]) -> Result<Image, Unreadable> {
    let Checkpoint { mark, texts, entries } = serde_json::from_slice(checkpoint)?;
    let contracts = contracts(texts);
    let entries = entries.into_iter().map(|(key, revisions)| {
        let revisions = revisions.into_iter().map(|changed| changed.read(&contracts));
        let entry = state::Entry::of(revisions.collect::<Result<_, Unreadable>>()?);
        Ok((key.read()?, Arc::new(entry)))
    });
    let entries = entries.collect::<Result<_, Unreadable>>()?;
    Ok(Image { mark: Mark::new(mark), entries })
}

fn keep(texts: &mut Texts, contract: &Contract) -> String {
    let digest = contract.digest().to_string();
    texts
        .entry(digest.clone())
        .or_insert_with(|| Text { kind: contract.kind().into(), text: contract.text().to_owned() });
    digest
}

/// One for all that have the same text.
fn contracts(texts: Texts) -> BTreeMap<String, Contract> {
    let texts = texts.into_iter();
    texts.map(|(digest, text)| (digest, Contract::new(text.kind.read(), &text.text))).collect()
}
