//! What can go wrong with the catalog, as one type.

use posthouse_journal::driver::{self, RecoverError};

use crate::state::Refusal;

/// Why the catalog could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the journal holds cannot be brought back.
    #[error("the catalog cannot be brought back: {0}")]
    Recover(#[from] RecoverError),
    /// The journal has not confirmed a change: it may be there or not.
    #[error("the catalog can confirm nothing now: {0}")]
    Unconfirmed(posthouse_journal::Error),
    /// A command would need more room in the journal than an event may have; nothing has changed.
    #[error(
        "the catalog would have to write {actual} bytes for this at once, and {limit} are the most"
    )]
    TooLarge {
        /// What it would need.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// A command was refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is shutting down.
    #[error("the catalog is shutting down")]
    Stopped,
}

impl From<driver::Error> for Error {
    fn from(error: driver::Error) -> Self {
        match error {
            driver::Error::Journal(error) => Self::Unconfirmed(error),
            driver::Error::TooLarge { actual, limit } => Self::TooLarge { actual, limit },
            driver::Error::Closed => Self::Stopped,
        }
    }
}
