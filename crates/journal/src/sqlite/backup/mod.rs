//! A backup while the journal runs, and the way back.
//!
//! In reading order: [`wal`] (which pages transactions changed), [`tap`] (they are gathered before
//! the write-ahead log may forget them), [`image`] (the file), [`take`] (an image of the whole
//! database), [`restore`].
//!
//! An image is the database's file as it is read from front to back, page by page, while it changes,
//! and then every page that was changed since the reading began, as of one moment at its end. A page
//! that was read too early or half-way is among those. So nobody waits, nothing is held up, and no
//! room is needed beside the journal.

pub(crate) mod image;
mod restore;
pub(crate) mod take;
pub(crate) mod tap;
pub(crate) mod wal;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::PoisonError;

use posthouse_base::time::Timestamp;

pub use restore::{Restored, check, restore};
pub(crate) use restore::{Target, inspect};

use self::take::Live;
use super::Sqlite;
use crate::config::Config;
use crate::event::Position;
use crate::journal::Health;

/// How far something has come: bytes done, and bytes in all as far as is known.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// When it was begun.
    pub created: Timestamp,
    /// The journal's last position then; what came while it was taken may be in it too.
    pub position: Position,
    /// The bytes of its file.
    pub bytes: u64,
}

/// Why a backup could not be taken, or not be restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// The backup is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The backup belongs to a later version.
    #[error("it is from a later version of Posthouse")]
    Newer,
    /// Something is already where it would go.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The journal does not serve, or not fast enough.
    #[error("{0}")]
    Journal(String),
    /// There is nothing as old as was asked for.
    #[error("{0}")]
    NoSuchTime(String),
}

impl Error {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(crate) fn reading(error: io::Error) -> Self {
        Self::Io { what: "reading it".into(), error }
    }

    /// For `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}

impl Sqlite {
    /// About how large a backup would be.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let file = self.shared.file.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |about| about.len())
    }

    /// Writes a backup of the journal as it is at the end of this to `out`, while everything goes
    /// on. Blocks until it is written.
    ///
    /// # Errors
    /// When it cannot be read or written, or the journal fails meanwhile.
    pub fn backup<W: Write>(&self, out: W, progress: Progress<'_>) -> Result<(W, Summary), Error> {
        let shared = &self.shared;
        // Held until the end: to close the journal waits for it.
        let file = shared.file.read().unwrap_or_else(PoisonError::into_inner);
        let file = file.as_ref().ok_or_else(|| Error::Journal("the journal is closed".into()))?;
        let tap = shared.taps.open(tap_limit(&shared.config));
        let goes_on = || shared.head.borrow().health == Health::Serving;
        let live = Live { file, taps: &shared.taps, tap: &tap, goes_on: &goes_on };
        let position = shared.head.borrow().position;
        let (out, summary, _) = take::take(&live, position, out, progress)?;
        Ok((out, summary))
    }
}

/// The least that may be gathered for a backup or copy.
const LEAST: u64 = 64 << 20;

/// Gathered bytes at which a backup or copy is given up: whatever fits into the write-ahead log does
/// not end it.
pub(crate) fn tap_limit(config: &Config) -> usize {
    let limit = config.limits.wal.0.saturating_mul(2).max(LEAST);
    usize::try_from(limit).unwrap_or(usize::MAX)
}
