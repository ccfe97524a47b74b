//! What can go wrong.

use std::path::PathBuf;

use crate::batch::Expected;
use crate::event::{StreamName, Version};

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The stream is not as the writer believes. Nothing was written.
    #[error("stream {stream} is at {}, not at {expected:?}", at(*actual))]
    WrongExpectedVersion {
        /// The stream.
        stream: StreamName,
        /// What was believed.
        expected: Expected,
        /// Its last event; `None` when nothing is in it.
        actual: Option<Version>,
    },
    /// The stream was closed for ever.
    #[error("stream {0} was closed by a tombstone")]
    Tombstone(StreamName),
    /// Facts for a stream of work, or the other way round.
    #[error("stream {0} holds the other kind of events")]
    WrongTable(StreamName),
    /// The request cannot be right, whatever the journal holds.
    #[error("{0}")]
    Invalid(String),
    /// More than one event or batch may be.
    #[error("{what} has {actual} bytes, more than the {limit} that `journal.limits` allows")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The journal cannot write or read now. A write is not confirmed: it is there whole or not at
    /// all once the journal is back, and may then be repeated.
    #[error("the journal is not available: {0}")]
    Unavailable(Outage),
    /// The house is shutting down.
    #[error("the journal is closed")]
    Closed,
    /// The database belongs to a later version of Posthouse.
    #[error("{} has schema {found}, and this version knows up to {known}: use the newer Posthouse", .path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The file's schema.
        found: u32,
        /// The latest that is known here.
        known: u32,
    },
    /// The database is damaged, or is none.
    #[error("{} is damaged: {detail}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
}

/// What keeps the journal from its work. It comes back by itself when this is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// No room is left.
    #[error("the disk is full")]
    Full,
    /// The files cannot be written.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk failed, or did not say that it has what was written.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The engine's server does not answer.
    #[error("the engine does not answer: {0}")]
    Engine(String),
}

fn at(version: Option<Version>) -> String {
    version.map_or_else(|| "no event".to_owned(), |version| format!("version {}", version.get()))
}
