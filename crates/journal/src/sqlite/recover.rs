//! Out of service and back. After a fault nothing in memory is believed: the file is opened anew,
//! what its write-ahead log holds is moved into the database and synced, and one more commit shows
//! that the disk takes writes and makes sure that nothing of the failed one can come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::queue::Taken;
use super::{Shared, fault, schema, writer};
use crate::error::{Error, Outage};

/// The pause before the first attempt, and the longest one. Each is twice the one before.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tries until the disk serves again; refuses whoever wants to write meanwhile. `None` when the
/// journal is closed first.
pub(super) fn recover(shared: &Arc<Shared>, outage: Outage) -> Option<Connection> {
    tracing::error!("the journal cannot write, and tries again until it can: {outage}");
    let began = Instant::now();
    let mut outage = outage;
    let mut pause = PAUSE;
    shared.metrics.out(&outage);
    loop {
        shared.out(&outage);
        if !refuse(shared, &outage, Instant::now() + pause) {
            return None;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        match reopen(shared) {
            Ok(connection) => {
                let seconds = began.elapsed().as_secs_f32();
                shared.gate.forget_fault();
                tracing::info!("the journal writes again after {seconds:.1} s");
                return Some(connection);
            }
            Err(again) if again == outage => {}
            Err(other) => {
                tracing::error!("the journal still cannot write: {other}");
                shared.metrics.out(&other);
                outage = other;
            }
        }
    }
}

/// Answers everybody who wants to write, until `until`. Whether the journal is still open.
fn refuse(shared: &Shared, outage: &Outage, until: Instant) -> bool {
    let mut orders = Vec::new();
    loop {
        match shared.writes.take(&mut orders, usize::MAX, u64::MAX, Some(until)) {
            Taken::Closed => return false,
            Taken::Nothing if Instant::now() >= until => return true,
            Taken::Nothing => {}
            Taken::Some => {
                orders.drain(..).for_each(|order| order.fail(outage));
            }
        }
    }
}

fn reopen(shared: &Shared) -> Result<Connection, Outage> {
    let connection = match schema::open_writer(&shared.path, &shared.options) {
        Ok(connection) => connection,
        Err(Error::Unavailable(outage)) => return Err(outage),
        Err(other) => return Err(Outage::Disk(other.to_string())),
    };
    let told = |error| fault::outage(&error);
    let _hold = shared.taps.before_recovery();
    empty_wal(&connection).map_err(told)?;
    connection.execute("UPDATE journal SET recoveries = recoveries + 1", []).map_err(told)?;
    let log = writer::load(&connection, 0).map_err(told)?;
    shared.back(log.counter.position);
    Ok(connection)
}

/// Moves all of the write-ahead log into the database, synced, and empties it.
pub(super) fn empty_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        let busy: bool = row.get(0)?;
        let failure = || rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        if busy { Err(rusqlite::Error::SqliteFailure(failure(), None)) } else { Ok(()) }
    })
}

/// Leaves a file that needs nothing else.
pub(super) fn close(connection: Connection) {
    if let Err(error) = empty_wal(&connection) {
        tracing::warn!("the journal's write-ahead log stays until the next start: {error}");
    }
    drop(connection);
}
