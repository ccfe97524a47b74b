//! What was cut off its stream goes from the disk, in the background and in small slices.
//!
//! A thread of its own looks for it with a reading connection, and has the writer delete a slice at
//! a time between the batches of others; after each it rests for longer than that took. Pages that
//! get free are used again; when very many are, some are given back to the file system.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::heads::Head;
use super::read::earliest;
use super::statements::{self, name, unsigned, version};
use super::write::Chore;
use super::writer::Order;
use super::{Shared, schema};
use crate::event::{StreamName, Version};

/// Events that are deleted in one transaction.
const SLICE: i64 = 256;
/// Streams that are looked at in one read.
const STREAMS: i64 = 128;
/// The rest after a slice, as a multiple of the time it took, and the shortest one.
const REST: u32 = 3;
const SHORTEST_REST: Duration = Duration::from_millis(1);
/// Pages that are given back in one transaction.
const SHRINK: u32 = 64;
/// No page is given back while fewer than these are free, or less than this share of the file.
const SPARE_PAGES: i64 = 16 * 1024;
const SPARE_SHARE: i64 = 4;

/// By which the scavenger is told what to do.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    look: bool,
    closed: bool,
}

/// The journal ends, or is out: the round is given up, another one follows.
#[derive(Debug)]
struct GiveUp;

type Round<T> = Result<T, GiveUp>;

impl From<rusqlite::Error> for GiveUp {
    fn from(error: rusqlite::Error) -> Self {
        tracing::warn!("scavenging the journal has to wait: {error}");
        Self
    }
}

impl Bell {
    /// Something was cut off.
    pub(super) fn look(&self) {
        self.lock().look = true;
        self.rung.notify_all();
    }

    /// The scavenger ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.rung.notify_all();
    }

    /// Waits until there may be something to do, but no longer than until `until`. Whether to go on.
    fn wait(&self, until: Instant) -> bool {
        let (state, most) = (self.lock(), until.saturating_duration_since(Instant::now()));
        let waited =
            self.rung.wait_timeout_while(state, most, |state| !state.look && !state.closed);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.look = false;
        !state.closed
    }

    /// Rests. Whether to go on.
    fn rest(&self, time: Duration) -> bool {
        let state = self.lock();
        let waited = self.rung.wait_timeout_while(state, time, |state| !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scavenges until the bell is closed: at once what something was just cut off from, and from time
/// to time the streams that lose events as others come or as time goes by.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut connection = None;
    let mut next_full = Instant::now();
    loop {
        let full = Instant::now() >= next_full;
        if full {
            next_full = Instant::now() + shared.config.scavenge_interval;
        }
        if round(shared, &mut connection, full).is_err() {
            connection = None;
        }
        if !shared.scavenger.wait(next_full) {
            return;
        }
    }
}

fn round(shared: &Shared, connection: &mut Option<Connection>, full: bool) -> Round<()> {
    if shared.is_out() {
        return Err(GiveUp);
    }
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(schema::open_reader(&shared.path, &shared.options)?),
    };
    for which in ["due <> 0", "max_count IS NOT NULL OR max_age IS NOT NULL"] {
        let mut after = i64::MIN;
        loop {
            let streams = limited(connection, which, after)?;
            let Some((_, last)) = streams.last() else { break };
            after = last.id;
            for (stream, head) in &streams {
                scavenge(shared, connection, stream, head)?;
            }
        }
        if !full {
            break;
        }
    }
    discard(shared, connection)?;
    shrink(shared, connection)
}

/// Deletes the parts that no checkpoint names, one at a time.
fn discard(shared: &Shared, connection: &Connection) -> Round<()> {
    // Before the database is read: what is named until then is seen there.
    let open = shared.stage.open();
    let mut sql = connection.prepare_cached(
        "SELECT generation, count(*) FROM checkpoint_parts WHERE generation NOT IN \
         (SELECT generation FROM checkpoints WHERE generation IS NOT NULL) GROUP BY generation",
    )?;
    let unnamed = sql
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
    for (generation, parts) in unnamed {
        for _ in 0..if open.contains(generation) { 0 } else { parts } {
            ask(shared, Chore::Discard { generation })?;
        }
    }
    Ok(())
}

/// The next streams that may have something to be deleted.
fn limited(
    connection: &Connection,
    which: &str,
    after: i64,
) -> rusqlite::Result<Vec<(StreamName, Head)>> {
    let mut sql = connection.prepare_cached(&format!(
        "SELECT id, kind, last, last_position, floor, removed, due, max_count, max_age, \
         truncate_before, tombstone, name FROM streams \
         WHERE ({which}) AND id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    let mut rows = sql.query(params![after, STREAMS])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let head = statements::head(row)?;
        found.push((statements::stream_name(head.id, row.get_ref(11)?.as_str()?), head));
    }
    Ok(found)
}

fn scavenge(
    shared: &Shared,
    connection: &Connection,
    stream: &StreamName,
    head: &Head,
) -> Round<()> {
    let Some(table) = head.table else { return settle(shared, stream, head) };
    let earliest = earliest(&head.metadata, shared.options.clock.now());
    let lowest = head.lowest();
    let sql = format!(
        "SELECT version, time FROM {} WHERE stream = ?1 ORDER BY version LIMIT ?2",
        name(table)
    );
    loop {
        let mut sql = connection.prepare_cached(&sql)?;
        let slice = sql
            .query_map(params![head.id, SLICE], |row| Ok((version(row, 0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(Version, i64)>>>()?;
        let cut = |(version, time): &&(Version, i64)| *version < lowest || *time < earliest;
        let gone = slice.iter().take_while(cut).count();
        if let (Some((from, _)), Some((last, _))) =
            (slice.first(), gone.checked_sub(1).map(|last| slice[last]))
        {
            let (stream, from, end) = (head.id, *from, last.next());
            let events = ask(shared, Chore::Cut { table, stream, from, end })?;
            shared.metrics.scavenged(events);
        }
        if i64::try_from(gone) != Ok(SLICE) {
            return settle(shared, stream, head);
        }
    }
}

fn settle(shared: &Shared, stream: &StreamName, head: &Head) -> Round<()> {
    if head.due {
        ask(shared, Chore::Settle { stream: stream.clone(), end: head.lowest() })?;
    }
    Ok(())
}

fn shrink(shared: &Shared, connection: &Connection) -> Round<()> {
    loop {
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (free, all) = (number("freelist_count")?, number("page_count")?);
        shared.free_pages.store(unsigned(free), Ordering::Relaxed);
        if free < SPARE_PAGES || free < all / SPARE_SHARE {
            return Ok(());
        }
        if ask(shared, Chore::Shrink { pages: SHRINK })? == 0 {
            return Ok(());
        }
    }
}

/// Has the writer do something, and rests.
fn ask(shared: &Shared, chore: Chore) -> Round<usize> {
    let began = Instant::now();
    let (reply, outcome) = mpsc::channel();
    shared.writes.push_own(Order::Chore(chore, reply)).map_err(|_| GiveUp)?;
    let count = outcome.recv().map_err(|_| GiveUp)?.map_err(|_| GiveUp)?;
    let rest = (began.elapsed() * REST).max(SHORTEST_REST);
    if shared.scavenger.rest(rest) { Ok(count) } else { Err(GiveUp) }
}
