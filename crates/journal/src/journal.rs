//! What an engine does. Pillars know this and nothing of the engine.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use crate::batch::{Batch, Checkpoint, StreamMetadata};
use crate::error::{Error, Outage};
use crate::event::{Position, Recorded, Space, StreamName, Table, Version};

/// A durable log. Engines: an embedded database, or a server that many nodes follow.
pub trait Journal: Send + Sync + fmt::Debug + 'static {
    /// Hands in a batch; waits only while the queue of batches is full. Batches that are handed in
    /// one after the other are written in that order, many to a commit. The receipt resolves once
    /// the batch is durable; dropping it changes nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Invalid`] and [`Error::Closed`]; everything else is told by
    /// the receipt.
    fn submit(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, Error>>;

    /// Writes a batch: durable when this resolves.
    ///
    /// # Errors
    /// When nothing was written, and when it is not known whether it was
    /// ([`Error::Unavailable`]).
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<Appended, Error>> {
        Box::pin(async move { self.submit(batch).await?.await })
    }

    /// Reads a part of one stream.
    ///
    /// # Errors
    /// [`Error::Tombstone`], [`Error::Unavailable`], [`Error::Closed`].
    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<Page, Error>>;

    /// Reads a part of everything in one table.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Closed`].
    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<Page, Error>>;

    /// What is known of a stream; `None` when it never was.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Closed`].
    fn stream(&self, name: &StreamName) -> BoxFuture<'_, Result<Option<StreamState>, Error>>;

    /// The last checkpoint of a pillar's stream.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Closed`].
    fn checkpoint(&self, stream: &StreamName) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>>;

    /// The room that is left; `None` when the engine cannot say.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Closed`].
    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The end of the log, as it moves.
    fn head(&self) -> watch::Receiver<Head>;

    /// What of `subject` came after `after`, if all of that is at hand in memory: a page as a read
    /// forwards from there would return. Lets many follow the end of the log without reading it
    /// from the engine; `None`, which an engine may always return, sends them there.
    fn recent(
        &self,
        subject: &Subject,
        after: Position,
        limit: usize,
        bytes: usize,
    ) -> Option<Page> {
        let _none_at_hand = (subject, after, limit, bytes);
        None
    }
}

/// A part of the log that one may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One stream.
    Stream(StreamName),
    /// Everything in one table.
    All {
        /// The table.
        table: Table,
        /// Only this space's streams; `None` for both.
        space: Option<Space>,
    },
}

/// The end of the log: everything up to `position` is durable and can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last position that was given and is durable.
    pub position: Position,
    /// Whether the journal can write.
    pub health: Health,
}

/// The room that is left for what will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free on the disk, less what the journal will take for what it has already: its
    /// log up to its bound, and the room into which what is in the log is moved.
    pub disk_bytes: u64,
    /// Bytes that the journal has taken on the disk and has nothing in: they are used again.
    pub spare_bytes: u64,
}

/// Whether the journal can write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Serving,
    /// It cannot now, and tries again.
    Out(Outage),
}

/// What a batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// For each append of the batch, in order, the version and position of its last event. Of an
    /// append without events: those of the stream's last one.
    pub streams: Vec<Option<(Version, Position)>>,
    /// Whether all of it had been written before.
    pub repeated: bool,
}

/// The coming outcome of a batch. Resolves to [`Error::Closed`] when the journal goes first.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Appended, Error>>);

impl Receipt {
    /// A receipt, and what the engine resolves it by.
    #[must_use]
    pub fn new() -> (oneshot::Sender<Result<Appended, Error>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Receipt {
    type Output = Result<Appended, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Pin::new(&mut self.0).poll(context);
        outcome.map(|outcome| outcome.unwrap_or(Err(Error::Closed)))
    }
}

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From earlier to later.
    Forwards,
    /// From later to earlier.
    Backwards,
}

/// A read of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadStream {
    /// The stream.
    pub stream: StreamName,
    /// The first version to return, whichever way; `None` begins at the end that is first.
    pub from: Option<Version>,
    /// Which way.
    pub direction: Direction,
    /// At most so many events.
    pub limit: usize,
    /// At most so many bytes of data and metadata, but always one event if there is one.
    pub bytes: usize,
}

/// A read of everything in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAll {
    /// The table.
    pub table: Table,
    /// Only this space's streams; `None` for both.
    pub space: Option<Space>,
    /// The first position to return, whichever way; need not be one at which something is.
    pub from: Position,
    /// Which way.
    pub direction: Direction,
    /// At most so many events.
    pub limit: usize,
    /// At most so many bytes of data and metadata, but always one event if there is one.
    pub bytes: usize,
}

/// A part of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events, in the direction of the read.
    pub events: Vec<Recorded>,
    /// Whether there is nothing more in that direction.
    pub end: bool,
    /// The head at the moment of the read: a forward read that came to its end has seen everything
    /// up to it.
    pub head: Position,
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Its table.
    pub table: Table,
    /// The version of its last event; `None` when nothing was written yet.
    pub last: Option<Version>,
    /// The earliest version that may still be read.
    pub first: Version,
    /// How long it keeps its events.
    pub metadata: StreamMetadata,
}
