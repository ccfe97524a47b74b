//! The database file: what is opened, what is refused, and how it comes to the latest schema.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::super::{FILE, Options, Sqlite, schema};
use crate::config::Config;
use crate::error::{Error, Outage};

/// A database as version 1 of the schema leaves it: two streams, one of facts and one of work.
const SCHEMA_1: &str = include_str!("schema_1.sql");

fn open(folder: &Path) -> Result<Sqlite, Error> {
    Sqlite::open(folder, &Config::default(), Options::default())
}

/// Makes the database in `folder` by `sql`.
fn make(folder: &Path, sql: &str) {
    let connection = Connection::open(folder.join(FILE)).expect("a database");
    connection.execute_batch(sql).expect("right SQL");
}

fn number(folder: &Path, sql: &str) -> i64 {
    let connection = Connection::open(folder.join(FILE)).expect("a database");
    connection.query_row(sql, [], |row| row.get(0)).expect("a number")
}

#[test]
fn a_journal_is_opened_once_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path()).expect("it opens");
    match open(folder.path()) {
        Err(Error::Unavailable(Outage::Engine(why))) => assert!(why.contains("open already")),
        other => panic!("{other:?}"),
    }
    journal.close();
    open(folder.path()).expect("it opens again");
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()).expect("it opens"));
    make(folder.path(), "PRAGMA user_version = 999");
    let path = folder.path().join(FILE);
    let before = fs::read(&path).expect("a file");
    let refused = open(folder.path()).expect_err("it is newer");
    assert_eq!(
        refused,
        Error::NewerSchema { path: path.clone(), found: 999, known: schema::latest() }
    );
    assert!(refused.to_string().contains("use the newer Posthouse"), "{refused}");
    assert!(fs::read(&path).expect("a file") == before, "the file was changed");
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    for (what, make) in [
        (
            "other tables",
            Box::new(|folder: &Path| make(folder, "CREATE TABLE cats (name)"))
                as Box<dyn Fn(&Path)>,
        ),
        ("another application", Box::new(|folder| make(folder, "PRAGMA application_id = 7"))),
        (
            "no database",
            Box::new(|folder| {
                fs::write(folder.join(FILE), "Dear diary, ".repeat(1_000)).expect("a file");
            }),
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        make(folder.path());
        let path = folder.path().join(FILE);
        let before = fs::read(&path).expect("a file");
        let refused = open(folder.path());
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{what}: {refused:?}");
        assert!(fs::read(&path).expect("a file") == before, "{what}: the file was changed");
    }
}

#[test]
fn an_empty_file_becomes_a_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(FILE), "").expect("a file");
    drop(open(folder.path()).expect("it opens"));
    assert_eq!(number(folder.path(), "PRAGMA user_version"), i64::from(schema::latest()));
    assert_eq!(number(folder.path(), "PRAGMA application_id"), i64::from(schema::APPLICATION));
}

#[tokio::test]
async fn the_first_schema_is_brought_to_the_latest() {
    use crate::event::StreamName;
    use crate::journal::Journal as _;

    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), SCHEMA_1);
    let journal = open(folder.path()).expect("it opens");
    assert_eq!(journal.head().borrow().position.get(), 5);
    for (name, last, first) in [("orders", 2, 1), ("queue", 1, 1)] {
        let stream = journal.stream(&StreamName::public(name)).await.expect("it is read");
        let stream = stream.expect("it is there");
        assert_eq!(stream.last.map(crate::Version::get), Some(last), "{name}");
        assert_eq!(stream.first.get(), first, "{name}");
    }
    for (name, data) in [("pillar", "state"), ("large", "two")] {
        let found = journal.checkpoint(&StreamName::internal(name)).await.expect("it is read");
        assert_eq!(&*found.expect("it is there").data, data.as_bytes());
    }
    drop(journal);
    assert_eq!(number(folder.path(), "PRAGMA user_version"), i64::from(schema::latest()));
}

#[test]
fn each_step_to_a_later_schema_is_all_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE);
    make(folder.path(), SCHEMA_1);
    let mut connection = Connection::open(&path).expect("a database");
    let first = "this one is not run again";
    let second = "CREATE TABLE later (x); INSERT INTO later VALUES (1);";
    let broken = "CREATE TABLE last (x); INSERT INTO nowhere VALUES (1);";
    let failed = schema::migrate(&mut connection, &path, &[first, second, broken]);
    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(number(folder.path(), "PRAGMA user_version"), 2);
    assert_eq!(number(folder.path(), "SELECT count(*) FROM later"), 1);
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'last'";
    assert_eq!(number(folder.path(), tables), 0);
    let mended = "CREATE TABLE last (x)";
    schema::migrate(&mut connection, &path, &[first, second, mended]).expect("it is brought on");
    assert_eq!(number(folder.path(), "PRAGMA user_version"), 3);
}
