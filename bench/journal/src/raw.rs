//! SQLite alone: the same rows and the same index, one transaction for each batch, one connection,
//! nothing around it. What the journal is measured against.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::load::Maker;

const SCHEMA: &str = "
    CREATE TABLE facts (
        position INTEGER PRIMARY KEY,
        stream INTEGER NOT NULL,
        version INTEGER NOT NULL,
        time INTEGER NOT NULL,
        id BLOB NOT NULL,
        kind TEXT NOT NULL,
        format INTEGER NOT NULL,
        metadata BLOB NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX facts_by_stream ON facts (stream, version);";

/// Events per second, written to `streams` streams in turn.
pub(crate) fn appends(
    folder: &Path,
    time: Duration,
    batch: usize,
    streams: usize,
    size: usize,
) -> anyhow::Result<f64> {
    let connection = Connection::open(folder.join("raw.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(SCHEMA)?;
    let mut maker = Maker::new(size, 1);
    let mut insert =
        connection.prepare("INSERT INTO facts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    let mut versions = vec![0_i64; streams];
    let began = Instant::now();
    let mut position = 0_i64;
    while began.elapsed() < time {
        for (stream, version) in (0_i64..).zip(&mut versions) {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..batch {
                let event = maker.event();
                position += 1;
                insert.execute(params![
                    position,
                    stream,
                    *version,
                    1_700_000_000_000_i64,
                    event.id.as_bytes().as_slice(),
                    &*event.kind,
                    0,
                    &*event.metadata,
                    &*event.data
                ])?;
                *version += 1;
            }
            connection.execute_batch("COMMIT")?;
            if began.elapsed() >= time {
                break;
            }
        }
    }
    let rate = f64::from(u32::try_from(position)?) / began.elapsed().as_secs_f64();
    Ok(rate)
}
