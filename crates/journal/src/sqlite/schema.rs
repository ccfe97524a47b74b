//! The database: how it is opened, made, recognised and brought to the latest schema.
//!
//! `application_id` says that a file is ours, `user_version` which schema it has. Each step to the
//! next schema is one transaction. A file that is not ours, or from a later version, is left as it is.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{Options, fault};
use crate::error::Error;

/// `PHJL`, by which `file` and we know the database.
pub(super) const APPLICATION: i32 = 0x5048_4a4c;

/// What leads from each schema to the next; the first makes schema 1 out of nothing. Never changed
/// once released, only added to.
const STEPS: [&str; 1] = [include_str!("schema/1.sql")];

/// The last position and the latest time that were given.
pub(crate) const COUNTER: &str = "SELECT \
     max(position, coalesce((SELECT max(position) FROM facts), 0), \
         coalesce((SELECT max(position) FROM work), 0)), \
     max(time, coalesce((SELECT time FROM facts ORDER BY position DESC LIMIT 1), 0), \
         coalesce((SELECT time FROM work ORDER BY position DESC LIMIT 1), 0)) \
     FROM journal";

/// Pages that the writer keeps in memory: the inner pages of the indexes of a large file.
const WRITER_CACHE_KIB: i32 = 64 << 10;
/// Pages that each reader keeps in memory.
const READER_CACHE_KIB: i32 = 4 << 10;
/// How long a statement waits for a lock that another of our connections holds.
const LOCK_WAIT_MS: i32 = 10_000;
/// Statements kept ready by each connection.
const STATEMENTS: usize = 64;

/// The latest schema.
pub(super) fn latest() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

/// Opens the database for the writer; makes it if it is missing and brings it to the latest schema.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection, Error> {
    let told = |error: &rusqlite::Error| told(path, error);
    let mut connection = connect(path, options).map_err(|error| told(&error))?;
    identify(&connection, path)?;
    prepare(&connection, options).map_err(|error| told(&error))?;
    migrate(&mut connection, path, &STEPS)?;
    Ok(connection)
}

/// Opens the database once more, for reading only.
pub(super) fn open_reader(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection = connect(path, options)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Opens the database once more, for moving the write-ahead log into it.
pub(super) fn open_checkpointer(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection = connect(path, options)?;
    connection.pragma_update(None, "synchronous", options.synchronous.as_str())?;
    Ok(connection)
}

fn connect(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "busy_timeout", LOCK_WAIT_MS)?;
    // The checkpointer does it, so that no write has to.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// Refuses a file that is not ours before anything is written to it.
fn identify(connection: &Connection, path: &Path) -> Result<(), Error> {
    let told = |error: rusqlite::Error| told(path, &error);
    let application: i32 = pragma(connection, "application_id").map_err(told)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(told)?;
    let fresh = application == 0 && tables == 0;
    if application != APPLICATION && !fresh {
        let detail = "it is the database of another application".to_owned();
        return Err(Error::Corrupt { path: path.to_owned(), detail });
    }
    version(connection, path, latest()).map(drop)
}

/// The schema that the database has, if that is known here.
fn version(connection: &Connection, path: &Path, known: u32) -> Result<u32, Error> {
    let found = pragma(connection, "user_version").map_err(|error| told(path, &error))?;
    if found > known {
        return Err(Error::NewerSchema { path: path.to_owned(), found, known });
    }
    Ok(found)
}

fn prepare(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    // Only has an effect before the first table is made.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", options.synchronous.as_str())?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    Ok(())
}

pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[&str],
) -> Result<(), Error> {
    let told = |error: rusqlite::Error| told(path, &error);
    let found = version(connection, path, u32::try_from(steps.len()).unwrap_or(u32::MAX))?;
    for (version, sql) in (1..).zip(steps).skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        step(connection, version, sql).map_err(told)?;
        if found > 0 {
            tracing::info!("the journal was brought to schema {version}");
        }
    }
    Ok(())
}

/// Brings the database to schema `version`, all or nothing.
fn step(connection: &mut Connection, version: u32, sql: &str) -> rusqlite::Result<()> {
    let all = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    all.execute_batch(sql)?;
    all.pragma_update(None, "application_id", APPLICATION)?;
    all.pragma_update(None, "user_version", version)?;
    all.commit()
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn told(path: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::Corrupt { path: path.to_owned(), detail: error.to_string() }
        }
        _ => fault::unavailable(error),
    }
}
