//! What a batch may hold, checked before it is taken on; the same for every engine.

use crate::batch::{Append, Batch, Removal};
use crate::config::RawLimits;
use crate::error::Error;
use crate::event::{NewEvent, StreamName};

/// The longest name of a stream, and of an event's kind, in bytes.
pub(crate) const LONGEST_NAME: usize = 4096;

/// What an event takes up beside its data: ids, names, places in indexes.
const OVERHEAD: usize = 64;
/// What one position of a removal takes up.
const POSITION: usize = 8;

/// The bytes that a batch takes up.
///
/// # Errors
/// [`Error::TooLarge`] and [`Error::Invalid`].
pub(crate) fn check(batch: &Batch, limits: &RawLimits) -> Result<usize, Error> {
    let mut size = 0_usize;
    for Append { stream, events, .. } in &batch.appends {
        name(stream)?;
        for event in events {
            size = size.saturating_add(self::event(event, limits)?);
        }
        size = size.saturating_add(OVERHEAD);
    }
    for removal in &batch.removals {
        size = size.saturating_add(match removal {
            Removal::At(positions) => positions.len().saturating_mul(POSITION),
            Removal::Range { .. } | Removal::Versions { .. } => OVERHEAD,
        });
    }
    for (stream, _) in &batch.metadata {
        name(stream)?;
        size = size.saturating_add(OVERHEAD);
    }
    within("the batch", size, limits.batch.0)?;
    if let Some(checkpoint) = &batch.checkpoint {
        name(&checkpoint.stream)?;
        within("the checkpoint", checkpoint.data.len(), limits.checkpoint.0)?;
        size = size.saturating_add(checkpoint.data.len());
    }
    Ok(size)
}

fn event(event: &NewEvent, limits: &RawLimits) -> Result<usize, Error> {
    if event.kind.len() > LONGEST_NAME {
        return Err(Error::Invalid(format!("an event's kind is longer than {LONGEST_NAME} bytes")));
    }
    let size = event.data.len().saturating_add(event.metadata.len());
    within("the event", size, limits.event.0)?;
    Ok(size.saturating_add(OVERHEAD + event.kind.len()))
}

fn name(stream: &StreamName) -> Result<(), Error> {
    let length = stream.as_str().len();
    if length == 0 || length > LONGEST_NAME {
        let problem = format!("a stream's name has 1 to {LONGEST_NAME} bytes, not {length}");
        return Err(Error::Invalid(problem));
    }
    Ok(())
}

fn within(what: &'static str, actual: usize, limit: u64) -> Result<(), Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if actual > limit { Err(Error::TooLarge { what, actual, limit }) } else { Ok(()) }
}
