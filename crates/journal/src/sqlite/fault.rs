//! What SQLite's errors mean for the house.

use rusqlite::ErrorCode;

use crate::error::{Error, Outage};

/// What keeps the engine from its work.
pub(super) fn outage(error: &rusqlite::Error) -> Outage {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Outage::Full,
        Some(ErrorCode::ReadOnly) => Outage::ReadOnly,
        _ => Outage::Disk(error.to_string()),
    }
}

/// What a caller is told.
pub(super) fn unavailable(error: &rusqlite::Error) -> Error {
    Error::Unavailable(outage(error))
}
