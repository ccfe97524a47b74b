//! What can go wrong with the registry as a whole, as one type.

use std::io;
use std::net::SocketAddr;

use posthouse_journal::driver::{self, RecoverError};

use crate::state::Refusal;

/// Why the registry could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address is used by another program.
    #[error("the registry's address {0} is already in use")]
    AddressInUse(SocketAddr),
    /// Its address cannot be listened on.
    #[error("the registry cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// What the journal holds cannot be brought back.
    #[error("the registry cannot be brought back: {0}")]
    Recover(#[from] RecoverError),
    /// The journal has not confirmed a change, or what was read: it may be there or not.
    #[error("the registry can confirm nothing now: {0}")]
    Unconfirmed(posthouse_journal::Error),
    /// A command would need more room in the journal than an event may have; nothing has changed.
    #[error(
        "the registry would have to write {actual} bytes for this at once, and {limit} are the most"
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
    /// Too many blocking reads are waiting already.
    #[error("the registry's limit of {0} watchers is reached")]
    TooManyWatchers(usize),
    /// It is shutting down.
    #[error("the registry is shutting down")]
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
