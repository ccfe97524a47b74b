//! Reading: pages of one stream or of everything, in either direction, as one snapshot has them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use hashlink::LruCache;
use posthouse_base::time::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::heads::{Head, kept};
use super::schema;
use super::statements::{
    self, HEAD, last_sql, metadata, name, position, signed, stored_format, unsigned, uuid, version,
};
use crate::batch::{Checkpoint, StreamMetadata};
use crate::error::Error;
use crate::event::{NewEvent, Position, Recorded, Space, StreamName, Table, Version};
use crate::journal::{Direction, Page, ReadAll, ReadStream, StreamState};

/// Names of streams that a reader keeps, so that the events of one share it.
const NAMES: usize = 10_000;
/// Kinds of events that a reader keeps, for the same reason.
const KINDS: usize = 1_000;
/// Positions that one short read goes through while it looks for a space's events among others.
const STRETCH: u64 = 20_000;

/// A reader's connection and what it remembers.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    memory: Memory,
}

#[derive(Debug)]
struct Memory {
    names: LruCache<i64, StreamName, RandomState>,
    kinds: LruCache<String, Arc<str>, RandomState>,
}

/// A page as it fills.
#[derive(Debug)]
struct Filling {
    events: Vec<Recorded>,
    limit: usize,
    bytes: usize,
    /// Whether there is more than fits.
    more: bool,
}

type Outcome<T> = rusqlite::Result<Result<T, Error>>;

impl Reader {
    pub(super) fn new(connection: Connection) -> Self {
        let names = LruCache::with_hasher(NAMES, RandomState::default());
        let kinds = LruCache::with_hasher(KINDS, RandomState::default());
        Self { connection, memory: Memory { names, kinds } }
    }

    pub(super) fn stream(&mut self, read: &ReadStream, now: Timestamp) -> Outcome<Page> {
        let snapshot = self.connection.unchecked_transaction()?;
        let head_position = last_position(&snapshot)?;
        let empty = Page { events: Vec::new(), end: true, head: head_position };
        let Some(head) = head_of(&snapshot, &read.stream)? else { return Ok(Ok(empty)) };
        if head.metadata.tombstone {
            return Ok(Err(Error::Tombstone(read.stream.clone())));
        }
        let Some(table) = head.table else { return Ok(Ok(empty)) };
        let (from, order, compare) = match read.direction {
            Direction::Forwards => (read.from.unwrap_or_default().max(head.lowest()), "ASC", ">="),
            Direction::Backwards => (read.from.unwrap_or(Version::new(u64::MAX)), "DESC", "<="),
        };
        let mut sql = snapshot.prepare_cached(&format!(
            "SELECT position, version, time, id, kind, format, metadata, data FROM {} \
             WHERE stream = ?1 AND version {compare} ?2 AND version >= ?3 AND time >= ?4 \
             ORDER BY version {order}",
            name(table)
        ))?;
        let range = [
            head.id,
            signed(from.get()),
            signed(head.lowest().get()),
            earliest(&head.metadata, now),
        ];
        let mut filling = Filling::new(read.limit, read.bytes);
        let mut rows = sql.query(range)?;
        while let Some(row) = rows.next()? {
            if !filling.takes(row, 6)? {
                break;
            }
            let event = self.memory.event(row, 3)?;
            filling.events.push(Recorded {
                position: position(row, 0)?,
                stream: read.stream.clone(),
                version: version(row, 1)?,
                time: Timestamp::from_millis(unsigned(row.get(2)?)),
                event,
            });
        }
        let Filling { events, more, .. } = filling;
        Ok(Ok(Page { events, end: !more, head: head_position }))
    }

    pub(super) fn all(&mut self, read: &ReadAll, now: Timestamp) -> rusqlite::Result<Page> {
        let mut filling = Filling::new(read.limit, read.bytes);
        let head = last_position(&self.connection)?;
        let mut from = match read.direction {
            Direction::Forwards => read.from.max(Position::START.next()),
            Direction::Backwards => read.from.min(head),
        };
        let stretch = if read.space.is_some() { STRETCH } else { u64::MAX };
        // In stretches, each a snapshot of its own: what one of them does not show was not to be
        // shown at that moment, and nothing comes in before what was there.
        loop {
            let to = match read.direction {
                Direction::Forwards => Position::new(from.get().saturating_add(stretch)).min(head),
                Direction::Backwards => Position::new(from.get().saturating_sub(stretch)),
            };
            self.stretch(read, (from, to), now, &mut filling)?;
            let last = match read.direction {
                Direction::Forwards => to >= head,
                Direction::Backwards => to == Position::START,
            };
            if filling.more || last {
                break;
            }
            from = match read.direction {
                Direction::Forwards => to.next(),
                Direction::Backwards => Position::new(to.get() - 1),
            };
        }
        let Filling { events, more, .. } = filling;
        Ok(Page { events, end: !more, head })
    }

    /// Reads from the first to the second position, both of them included.
    fn stretch(
        &mut self,
        read: &ReadAll,
        (from, to): (Position, Position),
        now: Timestamp,
        filling: &mut Filling,
    ) -> rusqlite::Result<()> {
        let mut sql = all_statement(&self.connection, read)?;
        let mut rows = sql.query([signed(from.get()), signed(to.get())])?;
        while let Some(row) = rows.next()? {
            let place = version(row, 1)?;
            let time: i64 = row.get(2)?;
            let limits = metadata(row, 12)?;
            let next = Version::new(unsigned(row.get::<_, i64>(10)?) + 1);
            let hidden =
                place < kept(next, version(row, 11)?, &limits) || time < earliest(&limits, now);
            if hidden {
                continue;
            }
            if !filling.takes(row, 6)? {
                break;
            }
            let event = self.memory.event(row, 3)?;
            filling.events.push(Recorded {
                position: position(row, 0)?,
                stream: self.memory.name(row, 8, 9)?,
                version: place,
                time: Timestamp::from_millis(unsigned(time)),
                event,
            });
        }
        Ok(())
    }

    pub(super) fn state(
        &mut self,
        stream: &StreamName,
        now: Timestamp,
    ) -> rusqlite::Result<Option<StreamState>> {
        let snapshot = self.connection.unchecked_transaction()?;
        let Some(mut head) = head_of(&snapshot, stream)? else { return Ok(None) };
        let table = head.table.unwrap_or(Table::Facts);
        let mut last = snapshot.prepare_cached(&last_sql(name(table)))?;
        head.reaches(last.query_row([head.id], statements::last).optional()?);
        let sql = format!(
            "SELECT version FROM {} WHERE stream = ?1 AND version >= ?2 AND time >= ?3 \
             ORDER BY version LIMIT 1",
            name(table)
        );
        let range = [head.id, signed(head.lowest().get()), earliest(&head.metadata, now)];
        let first = if head.metadata.tombstone {
            None
        } else {
            snapshot.prepare_cached(&sql)?.query_row(range, |row| version(row, 0)).optional()?
        };
        Ok(Some(StreamState {
            table,
            last: head.last.map(|last| last.version),
            first: first.unwrap_or(head.next()),
            metadata: head.metadata,
        }))
    }

    /// Pages of the file that hold nothing.
    pub(super) fn spare_pages(&self) -> rusqlite::Result<u64> {
        self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0)).map(unsigned)
    }

    /// All pages, those among them that are only in the log so far.
    pub(super) fn pages(&self) -> rusqlite::Result<u64> {
        self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).map(unsigned)
    }

    pub(super) fn checkpoint(
        &mut self,
        stream: &StreamName,
    ) -> rusqlite::Result<Option<Checkpoint>> {
        let snapshot = self.connection.unchecked_transaction()?;
        let mut sql = snapshot.prepare_cached(
            "SELECT version, format, data, generation FROM checkpoints \
             WHERE name = ?1 AND space = ?2",
        )?;
        let by = params![stream.as_str(), statements::space(stream.space())];
        let mut rows = sql.query(by)?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let data = match row.get(3)? {
            None => Bytes::copy_from_slice(row.get_ref(2)?.as_blob()?),
            Some(generation) => parts(&snapshot, generation)?,
        };
        Ok(Some(Checkpoint {
            stream: stream.clone(),
            version: row.get::<_, Option<i64>>(0)?.map(unsigned).map(Version::new),
            format: row.get(1)?,
            data,
        }))
    }
}

/// The parts of a checkpoint, put together.
fn parts(snapshot: &Connection, generation: i64) -> rusqlite::Result<Bytes> {
    let mut sql = snapshot
        .prepare_cached("SELECT data FROM checkpoint_parts WHERE generation = ?1 ORDER BY part")?;
    let mut rows = sql.query([generation])?;
    let mut all = BytesMut::new();
    while let Some(row) = rows.next()? {
        all.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    Ok(all.freeze())
}

impl Memory {
    /// The event whose columns begin at `first`: id, kind, format, metadata, data.
    fn event(&mut self, row: &Row<'_>, first: usize) -> rusqlite::Result<NewEvent> {
        let kind = row.get_ref(first + 1)?.as_str()?;
        let kind = match self.kinds.get(kind) {
            Some(kind) => Arc::clone(kind),
            None => {
                let new: Arc<str> = kind.into();
                self.kinds.insert(kind.to_owned(), Arc::clone(&new));
                new
            }
        };
        Ok(NewEvent {
            id: uuid(row, first)?,
            kind,
            format: stored_format(row.get(first + 2)?),
            metadata: Bytes::copy_from_slice(row.get_ref(first + 3)?.as_blob()?),
            data: Bytes::copy_from_slice(row.get_ref(first + 4)?.as_blob()?),
        })
    }

    fn name(&mut self, row: &Row<'_>, id: usize, name: usize) -> rusqlite::Result<StreamName> {
        let id: i64 = row.get(id)?;
        if let Some(name) = self.names.get(&id) {
            return Ok(name.clone());
        }
        let name = statements::stream_name(id, row.get_ref(name)?.as_str()?);
        self.names.insert(id, name.clone());
        Ok(name)
    }
}

impl Filling {
    fn new(limit: usize, bytes: usize) -> Self {
        Self { events: Vec::new(), limit, bytes, more: false }
    }

    /// Whether the event whose metadata and data are at column `first` still fits.
    fn takes(&mut self, row: &Row<'_>, first: usize) -> rusqlite::Result<bool> {
        let size = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_blob()?.len());
        let size = size(first)? + size(first + 1)?;
        let fits = self.events.len() < self.limit && (self.events.is_empty() || size <= self.bytes);
        self.bytes = self.bytes.saturating_sub(size);
        self.more = !fits;
        Ok(fits)
    }
}

fn all_statement<'c>(
    connection: &'c Connection,
    read: &ReadAll,
) -> rusqlite::Result<CachedStatement<'c>> {
    let space = match read.space {
        None => "",
        Some(Space::Internal) => "AND e.stream < 0",
        Some(Space::Public) => "AND e.stream > 0",
    };
    let (range, order) = match read.direction {
        Direction::Forwards => ("e.position >= ?1 AND e.position <= ?2", "ASC"),
        Direction::Backwards => ("e.position <= ?1 AND e.position >= ?2", "DESC"),
    };
    connection.prepare_cached(&format!(
        "SELECT e.position, e.version, e.time, e.id, e.kind, e.format, e.metadata, e.data, \
         s.id, s.name, s.last, max(s.floor, s.removed), s.max_count, s.max_age, s.truncate_before, s.tombstone \
         FROM {} AS e CROSS JOIN streams AS s ON s.id = e.stream \
         WHERE {range} {space} ORDER BY e.position {order}",
        name(read.table)
    ))
}

fn last_position(connection: &Connection) -> rusqlite::Result<Position> {
    connection.prepare_cached(schema::COUNTER)?.query_row([], |row| position(row, 0))
}

/// What the stream's row says. Its end may be later if its metadata does not depend on that.
fn head_of(connection: &Connection, stream: &StreamName) -> rusqlite::Result<Option<Head>> {
    let by = params![stream.as_str(), statements::space(stream.space())];
    connection.prepare_cached(HEAD)?.query_row(by, statements::head).optional()
}

/// The time before which the stream's events are no longer read.
pub(super) fn earliest(metadata: &StreamMetadata, now: Timestamp) -> i64 {
    let age = metadata.max_age.map_or(Duration::MAX, |age| age);
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    signed(now.as_millis().saturating_sub(age))
}
