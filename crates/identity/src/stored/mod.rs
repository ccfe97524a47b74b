//! How consumers and their changes are written down: JSON, in types of its own, converted by hand, so
//! that the rules can change without changing what older versions wrote.
//!
//! One record is one command: who, when, and all that happened. A field that is added later must have
//! a default; what changes meaning gets a new name.
//!
//! What must hold: what was written is read back as it was; of a key only the hash is written.

mod rules;
#[cfg(test)]
mod tests;
mod written;

use serde::{Deserialize, Serialize};

use crate::state::{Event, Image, Revision};
use written::{Change, Consumer, What};

/// What records are called in the journal.
pub(crate) const KIND: &str = "consumers.changed";

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

/// All that one command came to.
#[derive(Serialize, Deserialize)]
struct Record {
    by: String,
    at: u64,
    what: Vec<What>,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    mark: u64,
    consumers: Vec<Consumer>,
    #[serde(default)]
    history: Vec<Change>,
}

/// A command's events as they are written; `None` when there is none.
pub(crate) fn record(events: &[Event]) -> Option<Vec<u8>> {
    let Event { stamp, .. } = events.first()?;
    let record = Record {
        by: stamp.by.as_str().to_owned(),
        at: stamp.at.as_millis(),
        what: events.iter().map(|event| What::from(&event.what)).collect(),
    };
    // Such types can always be written.
    Some(serde_json::to_vec(&record).unwrap_or_default())
}

/// A command's events, read back.
pub(crate) fn events(record: &[u8]) -> Result<Vec<Event>, Unreadable> {
    let Record { by, at, what } = serde_json::from_slice(record)?;
    let stamp = written::stamp(&by, at);
    let read = |what: What| Ok(Event { stamp: stamp.clone(), what: what.read()? });
    what.into_iter().map(read).collect()
}

/// A state as it is written.
pub(crate) fn checkpoint(image: &Image) -> Vec<u8> {
    let written = Checkpoint {
        mark: image.mark.get(),
        consumers: image.consumers.iter().map(|consumer| consumer.as_ref().into()).collect(),
        history: image.history.iter().map(|change| change.as_ref().into()).collect(),
    };
    serde_json::to_vec(&written).unwrap_or_default()
}

/// A state, read back.
pub(crate) fn image(checkpoint: &[u8]) -> Result<Image, Unreadable> {
    let Checkpoint { mark, consumers, history } = serde_json::from_slice(checkpoint)?;
    let consumers = consumers.into_iter().map(|consumer| Ok(consumer.read()?.into()));
    let history = history.into_iter().map(|change| Ok(change.read()?.into()));
    Ok(Image {
        mark: Revision::new(mark),
        consumers: consumers.collect::<Result<_, Unreadable>>()?,
        history: history.collect::<Result<_, Unreadable>>()?,
    })
}
