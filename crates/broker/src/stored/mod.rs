//! How the broker's events, its state and its messages are written down: bytes, in a form of their
//! own, converted by hand, so that the rules can change without changing what older versions wrote.
//!
//! One entry is one command: all its durable events or none. It names queues and numbers of messages
//! and holds none of them; those are in a stream for each lane. In reading order: `entry`,
//! `definition`, `message`, `checkpoint`, `bytes`, `rules` (what the journal's driver asks).

mod bytes;
mod checkpoint;
mod definition;
mod entry;
mod message;
mod rules;
#[cfg(test)]
mod tests;

pub(crate) use message::read as read_message;

/// Something was written that cannot be read: the file was damaged, or a later version wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(&'static str);
