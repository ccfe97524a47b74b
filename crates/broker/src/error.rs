//! What can go wrong with the broker as a whole, as one type.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use posthouse_journal::driver::{self, RecoverError};

use crate::state::Refusal;

/// Why the broker could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address is used by another program.
    #[error("the broker's address {0} is already in use")]
    AddressInUse(SocketAddr),
    /// Its address cannot be listened on.
    #[error("the broker cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The files for TLS cannot be used.
    #[error("the broker's TLS cannot be set up: {0}")]
    Tls(String),
    /// What the journal holds cannot be brought back.
    #[error("the broker cannot be brought back: {0}")]
    Recover(#[from] RecoverError),
    /// The journal has not confirmed a change: it may be there or not.
    #[error("the broker can confirm nothing now: {0}")]
    Unconfirmed(posthouse_journal::Error),
    /// A command would need more room in the journal than there may be; nothing has changed.
    #[error("this would need {actual} bytes in the journal at once, and {limit} are the most")]
    TooLarge {
        /// What it would need.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// It was refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Publishers are blocked, for this reason.
    #[error("publishing is blocked now: {0}")]
    Blocked(Arc<str>),
    /// It was not answered in time: it may have been done or not.
    #[error("the broker does not answer now")]
    Unanswered,
    /// The engine in its place is not reached, does not let us in, or has broken off.
    #[error("the engine {0}")]
    Engine(String),
    /// It is shutting down.
    #[error("the broker is shutting down")]
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
