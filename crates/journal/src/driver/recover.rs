//! From checkpoint and tail to a state.

use crate::driver::error::RecoverError;
use crate::driver::rules::{Rules, Unreadable};
use crate::event::{Recorded, StreamName, Version};
use crate::journal::{Direction, Journal, ReadStream};

/// Events read at a time, and their bytes.
const PAGE: (usize, usize) = (1024, 4 << 20);

/// A state as the journal holds it.
pub(super) struct Recovered<R> {
    pub(super) state: R,
    /// The stream's last event.
    pub(super) version: Option<Version>,
    /// How many events, and bytes of them, came after the checkpoint.
    pub(super) tail: (u64, u64),
}

/// Brings back the state that `stream` tells, beginning with `blank` ones.
pub(super) async fn recover<R: Rules>(
    journal: &dyn Journal,
    stream: &StreamName,
    blank: &(dyn Fn() -> R + Send + Sync),
) -> Result<Recovered<R>, RecoverError> {
    let checkpoint = journal.checkpoint(stream).await?;
    let mut recovered = Recovered { state: blank(), version: None, tail: (0, 0) };
    let mut unreadable = None;
    if let Some(checkpoint) = checkpoint {
        match recovered.state.restore(checkpoint.format, &checkpoint.data) {
            Ok(()) => recovered.version = checkpoint.version,
            Err(why) => {
                tracing::warn!(%stream, "a checkpoint cannot be read, reading all events: {why}");
                recovered.state = blank();
                unreadable = Some((why, checkpoint.version));
            }
        }
    }
    replay_tail(journal, stream, &mut recovered, unreadable.as_ref()).await?;
    match unreadable {
        // Less than the checkpoint knew is not all.
        Some((why, version)) if recovered.version < version => {
            Err(RecoverError::Checkpoint { stream: stream.clone(), why })
        }
        _ => Ok(recovered),
    }
}

async fn replay_tail<R: Rules>(
    journal: &dyn Journal,
    stream: &StreamName,
    recovered: &mut Recovered<R>,
    unreadable: Option<&(Unreadable, Option<Version>)>,
) -> Result<(), RecoverError> {
    loop {
        let next = recovered.version.map_or(Version::FIRST, Version::next);
        let read = ReadStream {
            stream: stream.clone(),
            from: Some(next),
            direction: Direction::Forwards,
            limit: PAGE.0,
            bytes: PAGE.1,
        };
        let page = journal.read_stream(read).await?;
        for recorded in &page.events {
            let next = recovered.version.map_or(Version::FIRST, Version::next);
            if recorded.version != next {
                let stream = stream.clone();
                return Err(match unreadable {
                    Some((why, _)) => RecoverError::Checkpoint { stream, why: why.clone() },
                    None => RecoverError::Gap { stream, version: next },
                });
            }
            replay(&mut recovered.state, recorded)?;
            recovered.version = Some(recorded.version);
            recovered.tail.0 += 1;
            recovered.tail.1 += u64::try_from(recorded.event.data.len()).unwrap_or(u64::MAX);
        }
        if page.end || page.events.is_empty() {
            return Ok(());
        }
        // Others may run between two pages.
        tokio::task::yield_now().await;
    }
}

fn replay<R: Rules>(state: &mut R, recorded: &Recorded) -> Result<(), RecoverError> {
    let mark = std::str::from_utf8(&recorded.event.metadata).ok();
    let mark = mark.and_then(|mark| mark.parse().ok());
    let mark = mark.ok_or_else(|| Unreadable::Damaged("its metadata is no mark".into()));
    mark.and_then(|mark| state.replay(recorded, mark)).map_err(|why| RecoverError::Event {
        stream: recorded.stream.clone(),
        version: recorded.version,
        why,
    })
}
