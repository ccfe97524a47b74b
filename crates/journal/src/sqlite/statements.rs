//! The writer's statements, prepared once for each connection, and how values are stored.

use std::time::Duration;

use posthouse_base::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};
use uuid::Uuid;

use super::heads::{Head, Last};
use super::stage::{Part, Staged};
use crate::batch::{Checkpoint, StreamMetadata};
use crate::event::{Format, NewEvent, Position, Space, StreamName, Table, Version};

/// The statements of one connection.
#[derive(Debug)]
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    counter: Statement<'c>,
    head: Statement<'c>,
    insert_head: Statement<'c>,
    update_head: Statement<'c>,
    checkpoint: Statement<'c>,
    remove_at: Statement<'c>,
    tables: [OfTable<'c>; 2],
    /// Whether an event was deleted since the counter was saved.
    deleted: bool,
}

/// The statements that are the same for both tables.
#[derive(Debug)]
struct OfTable<'c> {
    insert: Statement<'c>,
    ids: Statement<'c>,
    last: Statement<'c>,
    version_from: Statement<'c>,
    remove_versions: Statement<'c>,
}

/// The stored end of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    pub(super) position: Position,
    pub(super) time: Timestamp,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let prepare = |sql| connection.prepare(sql);
        Ok(Self {
            connection,
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            counter: prepare("UPDATE journal SET position = ?1, time = ?2")?,
            head: prepare(HEAD)?,
            insert_head: prepare(
                "INSERT INTO streams (kind, last, last_position, floor, removed, max_count, \
                 max_age, truncate_before, tombstone, due, id, name, space) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?,
            update_head: prepare(
                "UPDATE streams SET kind = ?1, last = ?2, last_position = ?3, floor = ?4, \
                 removed = ?5, max_count = ?6, max_age = ?7, truncate_before = ?8, \
                 tombstone = ?9, due = ?10 WHERE id = ?11",
            )?,
            checkpoint: prepare(
                "INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            remove_at: prepare("DELETE FROM work WHERE position = ?1")?,
            tables: [
                OfTable::prepare(connection, Table::Facts)?,
                OfTable::prepare(connection, Table::Work)?,
            ],
            deleted: false,
        })
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    /// Durable once this returns.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.commit.execute([]).map(drop)
    }

    /// Saves the counter if an event was deleted, which could have been the one that it is known by.
    pub(super) fn save_counter(&mut self, counter: Counter) -> rusqlite::Result<()> {
        if !std::mem::take(&mut self.deleted) {
            return Ok(());
        }
        let Counter { position, time } = counter;
        self.counter.execute([signed(position.get()), signed(time.as_millis())]).map(drop)
    }

    pub(super) fn load_head(&mut self, name: &StreamName) -> rusqlite::Result<Option<Head>> {
        let by = params![name.as_str(), space(name.space())];
        let Some(mut head) = self.head.query_row(by, head).optional()? else { return Ok(None) };
        if let Some(table) = head.table {
            let found = self.of(table).last.query_row([head.id], last);
            head.reaches(found.optional()?);
        }
        Ok(Some(head))
    }

    pub(super) fn save_head(&mut self, name: &StreamName, head: &Head) -> rusqlite::Result<()> {
        let sql = if head.stored { &mut self.update_head } else { &mut self.insert_head };
        let Head { id, table, last, floor, removed, metadata, due, .. } = head;
        sql.raw_bind_parameter(1, table.map(kind))?;
        sql.raw_bind_parameter(2, last.map(|last| signed(last.version.get())))?;
        sql.raw_bind_parameter(3, last.map(|last| signed(last.position.get())))?;
        sql.raw_bind_parameter(4, signed(floor.get()))?;
        sql.raw_bind_parameter(5, signed(removed.get()))?;
        sql.raw_bind_parameter(6, metadata.max_count.map(signed))?;
        sql.raw_bind_parameter(7, metadata.max_age.map(millis))?;
        sql.raw_bind_parameter(8, metadata.truncate_before.map(|before| signed(before.get())))?;
        sql.raw_bind_parameter(9, metadata.tombstone)?;
        sql.raw_bind_parameter(10, due)?;
        sql.raw_bind_parameter(11, id)?;
        if !head.stored {
            sql.raw_bind_parameter(12, name.as_str())?;
            sql.raw_bind_parameter(13, space(name.space()))?;
        }
        sql.raw_execute().map(drop)
    }

    pub(super) fn insert(
        &mut self,
        table: Table,
        place: (Position, i64, Version),
        time: Timestamp,
        event: &NewEvent,
    ) -> rusqlite::Result<()> {
        let (position, stream, version) = place;
        let sql = &mut self.of(table).insert;
        sql.raw_bind_parameter(1, signed(position.get()))?;
        sql.raw_bind_parameter(2, stream)?;
        sql.raw_bind_parameter(3, signed(version.get()))?;
        sql.raw_bind_parameter(4, signed(time.as_millis()))?;
        sql.raw_bind_parameter(5, event.id.as_bytes().as_slice())?;
        sql.raw_bind_parameter(6, &*event.kind)?;
        sql.raw_bind_parameter(7, format(event.format))?;
        sql.raw_bind_parameter(8, &*event.metadata)?;
        sql.raw_bind_parameter(9, &*event.data)?;
        sql.raw_execute().map(drop)
    }

    /// The ids and positions of a stream's events from `from` on, up to `count`, as long as there is
    /// no gap.
    pub(super) fn ids(
        &mut self,
        table: Table,
        stream: i64,
        from: Version,
        count: usize,
    ) -> rusqlite::Result<Vec<(Uuid, (Version, Position))>> {
        let first = signed(from.get());
        let end = first.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        let mut rows = self.of(table).ids.query(params![stream, first, end])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(2)?;
            if number.checked_sub(first) != i64::try_from(found.len()).ok() {
                break;
            }
            found.push((uuid(row, 0)?, (version(row, 2)?, position(row, 1)?)));
        }
        Ok(found)
    }

    pub(super) fn remove_at(&mut self, position: Position) -> rusqlite::Result<usize> {
        self.deleted = true;
        self.remove_at.execute([signed(position.get())])
    }

    /// The first event of a stream from `from` on that is still there.
    pub(super) fn event_from(
        &mut self,
        table: Table,
        stream: i64,
        from: Version,
    ) -> rusqlite::Result<Option<(Version, Position)>> {
        self.of(table)
            .version_from
            .query_row([stream, signed(from.get())], |row| {
                Ok((version(row, 0)?, position(row, 1)?))
            })
            .optional()
    }

    /// Removes a stream's events from `from` on, up to and without `end`.
    pub(super) fn remove_versions(
        &mut self,
        table: Table,
        stream: i64,
        from: Version,
        end: Version,
    ) -> rusqlite::Result<usize> {
        self.deleted = true;
        let range = [stream, signed(from.get()), signed(end.get())];
        self.of(table).remove_versions.execute(range)
    }

    /// Saves a checkpoint; its data is in the parts of `staged`, if there are any.
    pub(super) fn save_checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        staged: Option<&Staged>,
    ) -> rusqlite::Result<()> {
        let Checkpoint { stream, version, format, data } = checkpoint;
        let version = version.map(|version| signed(version.get()));
        let (name, space) = (stream.as_str(), space(stream.space()));
        let generation = staged.map(|staged| staged.ticket.generation);
        let parts = staged.map_or(0, |staged| staged.parts);
        let values = params![name, space, version, format, &**data, generation, parts];
        self.checkpoint.execute(values).map(drop)
    }

    pub(super) fn save_part(&mut self, part: &Part) -> rusqlite::Result<()> {
        let Part { generation, number, data } = part;
        let sql = "INSERT INTO checkpoint_parts VALUES (?1, ?2, ?3)";
        let mut sql = self.connection.prepare_cached(sql)?;
        sql.execute(params![generation, number, &**data]).map(drop)
    }

    /// Whether all parts were written: an outage in between may have taken some.
    pub(super) fn has_parts(&mut self, staged: &Staged) -> rusqlite::Result<bool> {
        let sql = "SELECT count(*) FROM checkpoint_parts WHERE generation = ?1";
        let mut sql = self.connection.prepare_cached(sql)?;
        let found: i64 = sql.query_row([staged.ticket.generation], |row| row.get(0))?;
        Ok(found == staged.parts)
    }

    /// Deletes one part of a generation; how many that were.
    pub(super) fn remove_part(&mut self, generation: i64) -> rusqlite::Result<usize> {
        let sql = "DELETE FROM checkpoint_parts WHERE generation = ?1 AND part = \
                   (SELECT max(part) FROM checkpoint_parts WHERE generation = ?1)";
        self.connection.prepare_cached(sql)?.execute([generation])
    }

    /// Gives up to `pages` unused pages back to the file system.
    pub(super) fn shrink(&mut self, pages: u32) -> rusqlite::Result<usize> {
        let mut sql = self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = sql.query([])?;
        let mut given = 0;
        while rows.next()?.is_some() {
            given += 1;
        }
        Ok(given)
    }

    fn of(&mut self, table: Table) -> &mut OfTable<'c> {
        match table {
            Table::Facts => &mut self.tables[0],
            Table::Work => &mut self.tables[1],
        }
    }
}

impl<'c> OfTable<'c> {
    fn prepare(connection: &'c Connection, table: Table) -> rusqlite::Result<Self> {
        let table = name(table);
        let prepare = |sql: String| connection.prepare(&sql);
        Ok(Self {
            insert: prepare(format!(
                "INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            ))?,
            ids: prepare(format!(
                "SELECT id, position, version FROM {table} \
                 WHERE stream = ?1 AND version >= ?2 AND version < ?3 ORDER BY version"
            ))?,
            last: prepare(last_sql(table))?,
            version_from: prepare(format!(
                "SELECT version, position FROM {table} \
                 WHERE stream = ?1 AND version >= ?2 ORDER BY version LIMIT 1"
            ))?,
            remove_versions: prepare(format!(
                "DELETE FROM {table} WHERE stream = ?1 AND version >= ?2 AND version < ?3"
            ))?,
        })
    }
}

/// Reads version, position and id of a stream's last event that is there.
pub(super) fn last_sql(table: &str) -> String {
    format!(
        "SELECT version, position, id FROM {table} \
         WHERE stream = ?1 ORDER BY version DESC LIMIT 1"
    )
}

pub(super) fn last(row: &Row<'_>) -> rusqlite::Result<Last> {
    let id = Some(uuid(row, 2)?);
    Ok(Last { version: version(row, 0)?, position: position(row, 1)?, id })
}

/// Reads what [`head`] makes a [`Head`] of, by name and space. The end of a stream of facts is found
/// by its last event: see [`Head::reaches`].
pub(super) const HEAD: &str = "SELECT id, kind, last, last_position, floor, removed, due, \
     max_count, max_age, truncate_before, tombstone FROM streams WHERE name = ?1 AND space = ?2";

pub(super) fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let last = row.get::<_, Option<i64>>(2)?.map(|_| {
        Ok::<_, rusqlite::Error>(Last {
            version: version(row, 2)?,
            position: position(row, 3)?,
            id: None,
        })
    });
    Ok(Head {
        id: row.get(0)?,
        stored: true,
        unsaved: false,
        table: row.get::<_, Option<i64>>(1)?.map(table),
        last: last.transpose()?,
        floor: version(row, 4)?,
        removed: version(row, 5)?,
        due: row.get(6)?,
        metadata: metadata(row, 7)?,
    })
}

/// The four columns of metadata, from column `first` on.
pub(super) fn metadata(row: &Row<'_>, first: usize) -> rusqlite::Result<StreamMetadata> {
    let number = |column| row.get::<_, Option<i64>>(column).map(|number| number.map(unsigned));
    Ok(StreamMetadata {
        max_count: number(first)?,
        max_age: number(first + 1)?.map(Duration::from_millis),
        truncate_before: number(first + 2)?.map(Version::new),
        tombstone: row.get(first + 3)?,
    })
}

/// The name of the stream with that id.
pub(super) fn stream_name(id: i64, name: &str) -> StreamName {
    if id < 0 { StreamName::internal(name) } else { StreamName::public(name) }
}

pub(super) fn position(row: &Row<'_>, column: usize) -> rusqlite::Result<Position> {
    Ok(Position::new(unsigned(row.get(column)?)))
}

pub(super) fn version(row: &Row<'_>, column: usize) -> rusqlite::Result<Version> {
    Ok(Version::new(unsigned(row.get(column)?)))
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    Ok(Uuid::from_slice(row.get_ref(column)?.as_blob()?).unwrap_or_default())
}

/// SQLite's integers are signed. What is beyond them is never stored; it bounds reads.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) const fn name(table: Table) -> &'static str {
    match table {
        Table::Facts => "facts",
        Table::Work => "work",
    }
}

pub(super) const fn space(space: Space) -> i64 {
    match space {
        Space::Internal => 0,
        Space::Public => 1,
    }
}

const fn kind(table: Table) -> i64 {
    match table {
        Table::Facts => 0,
        Table::Work => 1,
    }
}

const fn table(kind: i64) -> Table {
    if kind == 0 { Table::Facts } else { Table::Work }
}

const fn format(format: Format) -> i64 {
    match format {
        Format::Json => 0,
        Format::Binary => 1,
    }
}

pub(super) const fn stored_format(format: i64) -> Format {
    if format == 0 { Format::Json } else { Format::Binary }
}

fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}
