//! What can go wrong with the registry as a whole, as one type.

use std::io;
use std::net::SocketAddr;

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
