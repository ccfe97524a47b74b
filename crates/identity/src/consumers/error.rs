//! Why consumers could not be changed or shown.

use posthouse_journal::driver;

use crate::state::{Name, Refusal};

/// Why consumers could not be changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules refuse it; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The file declares this consumer, so that it is changed there.
    #[error("the consumer `{0}` is declared by the configuration, and changed there")]
    Declared(Name),
    /// The journal has not confirmed a change, or what was read: it may be there or not.
    #[error("nothing can be confirmed now: {0}")]
    Unconfirmed(posthouse_journal::Error),
    /// More room would be needed in the journal than an event may have; nothing has changed.
    #[error("this would take {actual} bytes in the journal, and {limit} are the most")]
    TooLarge {
        /// What it would need.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a key")]
    NoRandomness,
    /// It is shutting down.
    #[error("consumers are shutting down")]
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
