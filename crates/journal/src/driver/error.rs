//! What can go wrong, for whoever asks and for whoever starts.

use crate::driver::rules::Unreadable;
use crate::event::{StreamName, Version};

/// Why a command was not carried out, or something was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The journal failed. A command is not confirmed: it is there whole or not at all once the
    /// journal is back.
    #[error(transparent)]
    Journal(crate::Error),
    /// The command is more than one event may hold. Nothing has changed.
    #[error("this would need {actual} bytes in the journal, and {limit} are the most")]
    TooLarge {
        /// What it would need.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The pillar is shutting down.
    #[error("it is shutting down")]
    Closed,
}

/// Why a state could not be brought back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] crate::Error),
    /// The checkpoint cannot be read, and what came before it is gone.
    #[error(
        "the checkpoint of {stream} cannot be read, and the events before it were removed: {why}"
    )]
    Checkpoint {
        /// The pillar's stream.
        stream: StreamName,
        /// What is wrong with the checkpoint.
        why: Unreadable,
    },
    /// An event cannot be read.
    #[error("event {} of {stream} cannot be read: {why}", .version.get())]
    Event {
        /// The pillar's stream.
        stream: StreamName,
        /// Which one.
        version: Version,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// Events are missing.
    #[error("{stream} has no event {}, though it has later ones", .version.get())]
    Gap {
        /// The pillar's stream.
        stream: StreamName,
        /// The first that is missing.
        version: Version,
    },
}
