//! How long a journal with many events takes to open, and a pillar to have its checkpoint and what
//! came after it.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use posthouse_journal::{
    Batch, Checkpoint, Direction, Journal as _, ReadStream, StreamName, Table, Version,
};
use serde::Serialize;

use crate::load;

/// Events that come after the checkpoint.
const TAIL: u64 = 10_000;
/// Events in a batch while the journal is filled.
const BATCH: u64 = 1_000;
/// Bytes of the checkpoint.
const CHECKPOINT: usize = 8 << 20;

#[derive(Debug, Serialize)]
pub(crate) struct Results {
    events: u64,
    fill_seconds: f64,
    file_bytes: u64,
    open_ms: u128,
    checkpoint_ms: u128,
    tail_ms: u128,
}

pub(crate) async fn run(events: u64, size: usize, folder: &Path) -> anyhow::Result<Results> {
    let stream = StreamName::internal("pillar");
    let began = Instant::now();
    fill(events, size, folder, &stream).await?;
    let fill_seconds = began.elapsed().as_secs_f64();
    let file_bytes = std::fs::metadata(folder.join(posthouse_journal::sqlite::FILE))?.len();

    let began = Instant::now();
    let journal = load::open(folder, None)?;
    let open_ms = began.elapsed().as_millis();
    let checkpoint = journal.checkpoint(&stream).await?.context("there is a checkpoint")?;
    let checkpoint_ms = began.elapsed().as_millis() - open_ms;
    let mut next = checkpoint.version.map_or(Version::FIRST, Version::next);
    loop {
        let (direction, bytes) = (Direction::Forwards, 4 << 20);
        let (stream, from) = (stream.clone(), Some(next));
        let read = ReadStream { stream, from, direction, limit: 1_000, bytes };
        let page = journal.read_stream(read).await?;
        next = page.events.last().map_or(next, |event| event.version.next());
        if page.end {
            break;
        }
    }
    let tail_ms = began.elapsed().as_millis() - open_ms - checkpoint_ms;
    journal.close();
    Ok(Results { events, fill_seconds, file_bytes, open_ms, checkpoint_ms, tail_ms })
}

async fn fill(events: u64, size: usize, folder: &Path, stream: &StreamName) -> anyhow::Result<()> {
    let journal = load::open(folder, None)?;
    let mut maker = load::Maker::new(size, 1);
    let mut written = 0;
    let mut receipts = std::collections::VecDeque::new();
    while written < events {
        let count = BATCH.min(events - written);
        let checkpoint = written + count;
        let mut batch = maker.batch(stream, Table::Facts, usize::try_from(count)?);
        if written + TAIL < events && checkpoint + TAIL >= events {
            batch.checkpoint = Some(Checkpoint {
                stream: stream.clone(),
                version: Some(Version::new(checkpoint - 1)),
                format: 1,
                data: Bytes::from(vec![7; CHECKPOINT]),
            });
        }
        written = checkpoint;
        receipts.push_back(journal.submit(Batch { ..batch }).await?);
        if receipts.len() > 16
            && let Some(receipt) = receipts.pop_front()
        {
            receipt.await?;
        }
    }
    for receipt in receipts {
        receipt.await?;
    }
    journal.close();
    Ok(())
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, fill_seconds, file_bytes, open_ms, checkpoint_ms, tail_ms } = self;
        let mib = file_bytes >> 20;
        write!(
            f,
            "{events} events ({mib} MiB, filled in {fill_seconds:.0} s): opened in {open_ms} ms, \
             checkpoint read in {checkpoint_ms} ms, {TAIL} events after it in {tail_ms} ms"
        )
    }
}
