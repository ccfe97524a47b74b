//! The one durable log: every lasting fact in the house is an event in it, and nothing is confirmed
//! before it is on the disk.
//!
//! Streams of events in one total order. **Facts** stay; **work** goes when it is done; both are
//! written in one transaction. In reading order: [`event`] (what is stored), [`batch`] (what is
//! written, all or nothing), [`Journal`] (what an engine does), [`Error`].
//!
//! What must hold: an answer comes after the fsync; a position is never given twice, not even after
//! a removal; nobody sees a later position before an earlier one; a batch is there whole or not at
//! all; this is the only crate with SQL in it and the only one that syncs files.

pub mod batch;
pub mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod driver;
mod error;
pub mod event;
pub mod follow;
mod journal;
mod limits;
mod metrics;
mod recent;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod sqlite;

pub use batch::{Append, Batch, Checkpoint, Expected, Removal, StreamMetadata};
pub use config::Config;
pub use error::{Error, Outage};
pub use event::{Format, NewEvent, Position, Recorded, Space, StreamName, Table, Version};
pub use journal::{
    Appended, Direction, Head, Health, Journal, Page, ReadAll, ReadStream, Receipt, Room,
    StreamState, Subject,
};
