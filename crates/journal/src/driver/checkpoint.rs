//! Writing down the state now and then, so that a start need not read everything.
//!
//! Taken from the state as it is, which may be ahead of what is durable; so it is written only once
//! everything in it has become durable in the same life of the state.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::runtime::{Handle as Runtime, RuntimeFlavor};

use crate::batch::{Batch, Checkpoint, StreamMetadata};
use crate::driver::rules::Snapshot;
use crate::error::Error;
use crate::event::{StreamName, Version};
use crate::journal::Journal;

/// The checkpoint that is being made, if one is.
pub(super) enum Saving {
    Idle,
    Encoding(Version, BoxFuture<'static, Result<(u32, Bytes), Error>>),
    /// Waits until its version is durable.
    Encoded(Version, u32, Bytes),
    Writing(BoxFuture<'static, Result<usize, Error>>),
}

impl Saving {
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Begins with what was taken from the state after the event `version`.
    pub(super) fn begin(&mut self, version: Version, snapshot: Snapshot) {
        *self = Self::Encoding(version, encode(snapshot));
    }

    /// Goes on once `durable` is durable. Resolves when one is written or has failed, with its size;
    /// never while there is nothing to do. May be dropped at any time.
    pub(super) async fn saved(
        &mut self,
        journal: Option<&Arc<dyn Journal>>,
        stream: &StreamName,
        durable: Option<Version>,
        keep: u64,
    ) -> Result<usize, Error> {
        loop {
            match self {
                Self::Encoding(version, encoding) => {
                    let (version, encoded) = (*version, encoding.await);
                    *self = Self::Idle;
                    let (format, data) = encoded?;
                    *self = Self::Encoded(version, format, data);
                }
                Self::Encoded(version, format, data) if durable >= Some(*version) => {
                    let Some(journal) = journal else { return std::future::pending().await };
                    let batch = batch(stream, *version, *format, data.clone(), keep);
                    let (size, journal) = (data.len(), Arc::clone(journal));
                    let writing = async move { journal.append(batch).await.map(|_| size) };
                    *self = Self::Writing(writing.boxed());
                }
                Self::Writing(writing) => {
                    let outcome = writing.await;
                    *self = Self::Idle;
                    return outcome;
                }
                Self::Idle | Self::Encoded(..) => return std::future::pending().await,
            }
        }
    }
}

/// The checkpoint, and that what comes before it is not needed any more, but for the last `keep`
/// events, which help people who look for what happened.
fn batch(stream: &StreamName, version: Version, format: u32, data: Bytes, keep: u64) -> Batch {
    let checkpoint = Checkpoint { stream: stream.clone(), version: Some(version), format, data };
    let first = Version::new(version.next().get().saturating_sub(keep));
    let metadata = StreamMetadata { truncate_before: Some(first), ..StreamMetadata::default() };
    Batch {
        metadata: vec![(stream.clone(), metadata)],
        checkpoint: Some(checkpoint),
        ..Batch::default()
    }
}

/// Off the runtime's threads if it has several; one that has one has nowhere better.
fn encode(snapshot: Snapshot) -> BoxFuture<'static, Result<(u32, Bytes), Error>> {
    if Runtime::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return async move { Ok(snapshot()) }.boxed();
    }
    let job = tokio::task::spawn_blocking(snapshot);
    let failed = |error| Error::Invalid(format!("the checkpoint could not be encoded: {error}"));
    async move { job.await.map_err(failed) }.boxed()
}
