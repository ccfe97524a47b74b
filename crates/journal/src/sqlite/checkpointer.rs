//! The write-ahead log is moved into the database beside the writer, so that no write has to do it.
//!
//! Most of it is moved while the writer goes on. A log that is written to all the time never gets
//! empty that way; so when it has grown to its bound the writer is asked to wait between two commits
//! for the rest, which is little by then, and the log begins anew.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rusqlite::{Connection, ErrorCode};

use super::{Shared, fault, schema};
use crate::error::Outage;

/// A page of the database, in bytes. The log has a header of 24 bytes with each.
pub(super) const PAGE: u64 = 4096;
/// The log is moved whenever it has grown by so many pages.
const STEP: u64 = 2048;
/// The writer is not made to wait for more pages than this, if it can be helped.
const REST: u64 = 256;
/// How often moving is tried beside the writer before it is made to wait.
const ROUNDS: usize = 4;

/// What the writer and the checkpointer say to each other.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// Pages in the log after the last commit.
    pages: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The writer is in a transaction.
    writing: bool,
    /// The writer is to wait.
    wanted: bool,
    /// The log has grown.
    grown: bool,
    /// The log was not moved, for this.
    fault: Option<Outage>,
    closed: bool,
}

/// The writer's stay in a transaction.
#[derive(Debug)]
pub(super) struct Inside<'g>(&'g Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.writing = false;
        if state.wanted {
            self.0.changed.notify_all();
        }
    }
}

impl Gate {
    /// The writer begins, once the checkpointer does not need it to wait.
    ///
    /// # Errors
    /// What kept the checkpointer from moving the log.
    pub(super) fn enter(&self) -> Result<Inside<'_>, Outage> {
        let mut state = self.lock();
        while state.wanted && !state.closed {
            state = self.wait(state);
        }
        if let Some(fault) = state.fault.take() {
            return Err(fault);
        }
        state.writing = true;
        Ok(Inside(self))
    }

    /// A commit left so many pages in the log; `before` are those that were moved last.
    pub(super) fn grown(&self, pages: u64) {
        let before = self.pages.swap(pages, Ordering::Relaxed);
        if before / STEP != pages / STEP {
            self.lock().grown = true;
            self.changed.notify_all();
        }
    }

    /// The log's size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.pages.load(Ordering::Relaxed) * (PAGE + 24)
    }

    /// What the checkpointer could not do is known, and no longer matters.
    pub(super) fn forget_fault(&self) {
        self.lock().fault = None;
    }

    /// The checkpointer ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until the log has grown. Whether the checkpointer is to go on.
    fn wait_for_growth(&self) -> bool {
        let mut state = self.lock();
        while !state.grown && !state.closed {
            state = self.wait(state);
        }
        state.grown = false;
        !state.closed
    }

    /// Runs `work` while the writer waits between two commits.
    fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        state.wanted = true;
        while state.writing {
            state = self.wait(state);
        }
        drop(state);
        let done = work();
        self.lock().wanted = false;
        self.changed.notify_all();
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves the log whenever it has grown, until the gate is closed.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut connection = None;
    while shared.gate.wait_for_growth() {
        if shared.is_out() {
            // The writer is about to open everything anew, and does it itself.
            connection = None;
            continue;
        }
        if let Err(error) = move_log(shared, &mut connection) {
            connection = None;
            let outage = fault::outage(&error);
            tracing::error!("the journal's write-ahead log was not moved: {outage}");
            shared.gate.lock().fault = Some(outage);
            shared.writes.wake();
        }
    }
}

fn move_log(shared: &Shared, connection: &mut Option<Connection>) -> rusqlite::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(schema::open_checkpointer(&shared.path, &shared.options)?),
    };
    let began = Instant::now();
    let bound = shared.config.limits.wal.0 / PAGE;
    shared.taps.wait_for_room();
    for _ in 0..ROUNDS {
        let _hold = shared.taps.before_checkpoint();
        let Some((pages, moved)) = checkpoint(connection, "PASSIVE")? else { break };
        if pages < bound || pages - moved < REST {
            break;
        }
    }
    if shared.gate.pages.load(Ordering::Relaxed) >= bound {
        shared.gate.alone(|| {
            let _hold = shared.taps.before_emptying();
            checkpoint(connection, "RESTART")
        })?;
    }
    shared.metrics.moved_log(began.elapsed());
    Ok(())
}

/// What the log of the database at `path` may still take on the disk until it begins anew, and the
/// database when all its `pages` have been moved there.
pub(super) fn promised(path: &Path, pages: u64, bound: u64) -> u64 {
    let length = |path: &Path| path.metadata().map_or(0, |about| about.len());
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = bound.saturating_sub(length(log.as_ref()));
    log + (pages * PAGE).saturating_sub(length(path))
}

/// The pages in the log and how many of them are in the database now; `None` when something was in
/// the way.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Option<(u64, u64)>> {
    let done = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let (busy, pages, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let pages = u64::try_from(pages).unwrap_or(0);
        Ok((!busy).then(|| (pages, u64::try_from(moved).unwrap_or(0).min(pages))))
    });
    match done {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(None),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_takes_its_bound_and_the_database_what_is_in_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let write = |path: &Path, pages: usize| {
            std::fs::write(path, [0; 4096].repeat(pages)).expect("a file");
        };
        let check = |database: usize, log: usize, expected: u64| {
            write(&path, database);
            write(&folder.path().join("journal-wal"), log);
            assert_eq!(promised(&path, 10, 5 * PAGE), expected * PAGE, "{database} {log}");
        };
        check(0, 0, 5 + 10);
        check(8, 1, 4 + 2);
        check(10, 5, 0);
        check(12, 7, 0);
    }
}
