//! What is written: one batch, of which everything is done or nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use crate::event::{NewEvent, Position, StreamName, Table, Version};

/// Writes, removals and marks that are carried out together or not at all, in the order of its
/// fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What is appended.
    pub appends: Vec<Append>,
    /// What is done with and goes.
    pub removals: Vec<Removal>,
    /// How long streams keep their events from now on.
    pub metadata: Vec<(StreamName, StreamMetadata)>,
    /// Where a pillar may start from.
    pub checkpoint: Option<Checkpoint>,
}

/// Events for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The stream; it need not be there yet.
    pub stream: StreamName,
    /// The table that the stream is in.
    pub table: Table,
    /// What the writer believes of the stream.
    pub expected: Expected,
    /// The events, in order.
    pub events: Vec<NewEvent>,
}

/// What a writer believes of a stream before its events are in it.
///
/// A batch that is repeated succeeds without being done again, and answers as it did first. It is
/// recognised when the events of each of its streams, taken together, are where they would be, by
/// their ids, and can still be read. With `Any` and `Exists` that is at the end of the stream, so
/// that it is recognised while nothing else has been written to it in between. A batch of which only
/// a part was written is none that is repeated: its expectations decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Anything.
    Any,
    /// Nothing was ever written to it, or it was deleted softly: everything was cut off. Work that
    /// is done does not count as cut off.
    NoStream,
    /// Something is in it.
    Exists,
    /// This is the version of its last event.
    Exactly(Version),
}

/// Work that is done. Facts are never removed: positions of theirs are passed over, and a range in a
/// stream of theirs is refused. However much it is, none of it can be read afterwards. What is yet to
/// be written is not removed by it, but what its own batch appends may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// What is at these positions. Those at which there is nothing (any more) are passed over.
    At(Vec<Position>),
    /// What is at these positions in one stream.
    Range {
        /// The stream.
        stream: StreamName,
        /// First and last.
        positions: RangeInclusive<Position>,
    },
    /// What has these versions in one stream: known before the batch is written, to whoever alone
    /// writes to the stream.
    Versions {
        /// The stream.
        stream: StreamName,
        /// First and last.
        versions: RangeInclusive<Version>,
    },
}

/// How long a stream keeps its events. What is past it is no longer read from that moment, stays so
/// even if later metadata is more generous, and goes from the disk in the background. It replaces
/// the metadata before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamMetadata {
    /// No more events than this, the latest (`$maxCount`).
    pub max_count: Option<u64>,
    /// Not longer than this (`$maxAge`), to the second.
    pub max_age: Option<Duration>,
    /// Only from this version on (`$tb`). What is yet to be written is not cut off: beyond the end it
    /// means the end, which deletes the stream softly.
    pub truncate_before: Option<Version>,
    /// Nothing may be written to it any more, and nothing read. For ever: it takes no other metadata.
    pub tombstone: bool,
}

/// A pillar's state at a moment, so that it need not begin at the beginning. The last one by each
/// name is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The pillar's stream, by which it is found again.
    pub stream: StreamName,
    /// The version of the stream's last event that is in it; `None` when none is. A batch whose
    /// checkpoint is ahead of its stream is refused.
    pub version: Option<Version>,
    /// The format of `data`, counted by the pillar; it begins at the beginning when it knows it not.
    pub format: u32,
    /// The state.
    pub data: Bytes,
}
