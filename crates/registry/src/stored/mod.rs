//! How the registry's events and its state are written down: JSON, in types of its own, converted by
//! hand, so that the rules can change without changing what older versions wrote.
//!
//! One record is one command: all its durable events or none. Each topic has a file with the
//! written form of its events and of its part of a checkpoint; [`Event`] and [`Checkpoint`] put
//! them together. A field that is added later must have a default; what changes meaning gets a new
//! name.
//!
//! In reading order: here, `rules` (what the journal's driver asks), then a file for each topic.
//!
//! What must hold: what was written is read back as it was; which events are volatile is decided
//! here and nowhere else ([`record`]).

mod catalog;
mod check;
mod kv;
mod rules;
mod session;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize, Serializer};

use crate::state;

/// What records are called in the journal.
pub(crate) const KIND: &str = "registry.changed";

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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Catalog(catalog::Event),
    Kv(kv::Event),
    Session(session::Event),
}

#[derive(Deserialize)]
struct Checkpoint {
    catalog: catalog::Checkpoint,
    #[serde(default)]
    kv: kv::Checkpoint,
    #[serde(default)]
    sessions: session::Checkpoint,
}

/// The durable ones of a command's events as they are written; `None` when there is none.
pub(crate) fn record(events: &[state::Event]) -> Option<Vec<u8>> {
    let written: Vec<Event> = events.iter().filter_map(written).collect();
    // Such types can always be written.
    if written.is_empty() { None } else { Some(serde_json::to_vec(&written).unwrap_or_default()) }
}

/// A command's durable events, read back.
pub(crate) fn events(record: &[u8]) -> Result<Vec<state::Event>, Unreadable> {
    let written: Vec<Event> = serde_json::from_slice(record)?;
    written.into_iter().map(read).collect()
}

/// A state as it is written, in the form of [`Checkpoint`].
pub(crate) fn checkpoint(image: &state::Image) -> Vec<u8> {
    #[derive(Serialize)]
    struct Written<C, K> {
        catalog: C,
        kv: K,
        sessions: session::Checkpoint,
    }
    let written = Written {
        catalog: catalog::checkpoint(image),
        kv: kv::checkpoint(&image.kv),
        sessions: (&image.sessions).into(),
    };
    serde_json::to_vec(&written).unwrap_or_default()
}

/// A list whose elements are put into their written form one by one, as they are written: all of
/// them at once would take several times the memory of the state.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, F, W> Serialize for Each<'a, T, F>
where
    F: Fn(&'a T) -> W,
    W: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// A state, read back.
pub(crate) fn image(checkpoint: &[u8]) -> Result<state::Image, Unreadable> {
    let Checkpoint { catalog, kv, sessions } = serde_json::from_slice(checkpoint)?;
    Ok(state::Image { kv: kv.read()?, sessions: sessions.read(), ..catalog.read()? })
}

/// `None` for what is not worth keeping: after a restart nobody misses it.
fn written(event: &state::Event) -> Option<Event> {
    match event {
        state::Event::Kv(event) => Some(Event::Kv(event.into())),
        state::Event::Session(event) => session::Event::of(event).map(Event::Session),
        state::Event::UserEvent(_) => None,
        other => catalog::Event::of(other).map(Event::Catalog),
    }
}

fn read(event: Event) -> Result<state::Event, Unreadable> {
    match event {
        Event::Catalog(event) => event.read(),
        Event::Kv(event) => event.read().map(state::Event::Kv),
        Event::Session(event) => Ok(state::Event::Session(event.read())),
    }
}

/// Fields at their default are not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
