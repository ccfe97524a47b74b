//! A copy of the journal that is kept up continuously, and from which any moment of the last hours
//! can be restored.
//!
//! In reading order: [`folder`] (the files), [`keep`] (keeping them up), [`writing`] (one series),
//! [`restore`] (the way back), [`instant`] (times as people write them).
//!
//! A copy is a series: an image of the whole database, and then every so many seconds a segment with
//! the pages that were changed meanwhile. The list of a series is what `sha256sum --check` reads. A
//! new series is begun with each start, once the segments outweigh the image, and when something was
//! missed; until it has its image the one before goes on. Series that are older than what is to be
//! kept go as a whole.

mod folder;
pub mod instant;
mod keep;
mod restore;
mod writing;

use std::path::PathBuf;
use std::time::Duration;

pub(super) use keep::Keeper;
pub use restore::{Point, points, restore};

/// How a copy is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where.
    pub folder: PathBuf,
    /// How far it may be behind.
    pub every: Duration,
    /// How far back it goes.
    pub keep: Duration,
}
