//! What is stored: events, in streams, in one total order.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_base::time::Timestamp;
use uuid::Uuid;

/// A place in the order of everything that was ever written. Begins at 1 and is never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before everything.
    pub const START: Self = Self(0);
    /// After everything that can be.
    pub const END: Self = Self(i64::MAX.cast_unsigned());

    /// The position of that number; engines store it as a signed 64-bit integer.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An event's number in its stream. Begins at 0, without gaps, and is never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// That of a stream's first event.
    pub const FIRST: Self = Self(0);

    /// The version of that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Whose streams: names in one space never meet those in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The house's own. They never show where users read.
    Internal,
    /// Those that users write and read.
    Public,
}

/// The name of a stream, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName {
    space: Space,
    name: Arc<str>,
}

impl StreamName {
    /// A stream of the house's own, by pillar: `registry`, `queue/orders`, …
    #[must_use]
    pub fn internal(name: impl Into<Arc<str>>) -> Self {
        Self { space: Space::Internal, name: name.into() }
    }

    /// A stream of users.
    #[must_use]
    pub fn public(name: impl Into<Arc<str>>) -> Self {
        Self { space: Space::Public, name: name.into() }
    }

    /// Whose it is.
    #[must_use]
    pub const fn space(&self) -> Space {
        self.space
    }

    /// The name without its space.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?})", self.name, self.space)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What becomes of an event. A stream is of one kind for ever: that of its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// It stays, unless its stream is truncated.
    Facts,
    /// It goes when it is done.
    Work,
}

/// How an event's data is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As JSON.
    Json,
    /// As its type says.
    Binary,
}

/// An event to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Given by the writer, by which a repeated write is recognised.
    pub id: Uuid,
    /// What kind of thing happened.
    pub kind: Arc<str>,
    /// How `data` is to be read.
    pub format: Format,
    /// What happened.
    pub data: Bytes,
    /// What is said about it (trace, causation, headers).
    pub metadata: Bytes,
}

/// An event that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place among all.
    pub position: Position,
    /// Its stream.
    pub stream: StreamName,
    /// Its place in the stream.
    pub version: Version,
    /// When it was written. Never earlier than an event before it.
    pub time: Timestamp,
    /// The event.
    pub event: NewEvent,
}
