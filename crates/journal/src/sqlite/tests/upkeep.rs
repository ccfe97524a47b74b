//! What goes on beside reading and writing: scavenging, emptying the write-ahead log, the memory of
//! the latest events, the limits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthouse_base::config::{Size, Span};
use prometheus_client::registry::Registry;
use rusqlite::Connection;
use uuid::Uuid;

use super::super::{Clock, FILE, Options, Sqlite};
use super::Embedded;
use crate::batch::{Append, Batch, Expected, Removal, StreamMetadata};
use crate::conformance::Engine as _;
use crate::error::Error;
use crate::event::{Format, NewEvent, Position, StreamName, Table, Version};
use crate::follow::{Follower, Item, Start, Target, Window};
use crate::journal::{Journal as _, Subject};

/// After this, what was to happen in the background has failed to.
const DEADLINE: Duration = Duration::from_secs(30);

fn events(count: usize, size: usize) -> Vec<NewEvent> {
    let event = |_| NewEvent {
        id: Uuid::new_v4(),
        kind: "kind".into(),
        format: Format::Binary,
        data: Bytes::from(vec![7; size]),
        metadata: Bytes::new(),
    };
    (0..count).map(event).collect()
}

fn batch(stream: &str, table: Table, count: usize, size: usize) -> Batch {
    let (stream, events) = (StreamName::public(stream), events(count, size));
    let append = Append { stream, table, expected: Expected::Any, events };
    Batch { appends: vec![append], ..Batch::default() }
}

fn limits(stream: &str, metadata: StreamMetadata) -> Batch {
    Batch { metadata: vec![(StreamName::public(stream), metadata)], ..Batch::default() }
}

async fn put(engine: &Embedded, batch: Batch) {
    engine.sqlite().append(batch).await.expect("it is written");
}

/// Waits until `sql` yields `wanted`.
async fn becomes(folder: &Path, sql: &str, wanted: i64) {
    let began = Instant::now();
    let connection = Connection::open(folder.join(FILE)).expect("a database");
    loop {
        let number: i64 = connection.query_row(sql, [], |row| row.get(0)).expect("a number");
        if number == wanted {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{sql} stays at {number}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn impatient() -> Embedded {
    Embedded::with(|raw| raw.scavenge_interval = Span(Duration::from_millis(20)))
}

#[tokio::test]
async fn what_was_cut_off_goes_from_the_disk() {
    let engine = impatient();
    let folder = engine.folder.path();
    for stream in ["count", "age", "before", "tombstone"] {
        put(&engine, batch(stream, Table::Facts, 1_000, 10)).await;
    }
    put(&engine, batch("stays", Table::Facts, 7, 10)).await;
    put(&engine, batch("queue", Table::Work, 6_000, 10)).await;
    let none = StreamMetadata::default;
    put(&engine, limits("count", StreamMetadata { max_count: Some(10), ..none() })).await;
    let before = Some(Version::new(980));
    put(&engine, limits("before", StreamMetadata { truncate_before: before, ..none() })).await;
    put(&engine, limits("tombstone", StreamMetadata { tombstone: true, ..none() })).await;
    let max_age = Some(Duration::from_secs(60));
    put(&engine, limits("age", StreamMetadata { max_age, ..none() })).await;
    let positions = Position::START..=Position::END;
    let removal = Removal::Range { stream: StreamName::public("queue"), positions };
    put(&engine, Batch { removals: vec![removal], ..Batch::default() }).await;
    becomes(folder, "SELECT count(*) FROM facts", 10 + 1_000 + 20 + 7).await;
    becomes(folder, "SELECT count(*) FROM work", 0).await;
    engine.advance(Duration::from_secs(100));
    becomes(folder, "SELECT count(*) FROM facts", 10 + 20 + 7).await;
    becomes(folder, "SELECT count(*) FROM streams WHERE due <> 0", 0).await;
    put(&engine, batch("count", Table::Facts, 5, 10)).await;
    becomes(folder, "SELECT min(version) FROM facts WHERE stream = 1", 995).await;
}

#[tokio::test]
async fn space_that_got_free_is_used_again_and_given_back() {
    let engine = impatient();
    let folder = engine.folder.path();
    for _ in 0..6 {
        put(&engine, batch("queue", Table::Work, 5_000, 4_000)).await;
    }
    let full = "PRAGMA page_count";
    let connection = Connection::open(folder.join(FILE)).expect("a database");
    let pages: i64 = connection.query_row(full, [], |row| row.get(0)).expect("a number");
    drop(connection);
    let positions = Position::START..=Position::END;
    let removal = Removal::Range { stream: StreamName::public("queue"), positions };
    put(&engine, Batch { removals: vec![removal], ..Batch::default() }).await;
    becomes(folder, "SELECT count(*) FROM work", 0).await;
    let began = Instant::now();
    let connection = Connection::open(folder.join(FILE)).expect("a database");
    loop {
        let now: i64 = connection.query_row(full, [], |row| row.get(0)).expect("a number");
        if now < pages * 2 / 3 {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "{pages} pages became {now}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_write_ahead_log_is_bounded() {
    let engine = Embedded::with(|raw| {
        raw.limits.wal = Size(16 << 20);
        raw.commit.bytes = Size(1 << 20);
    });
    let log = engine.folder.path().join(format!("{FILE}-wal"));
    for _ in 0..200 {
        put(&engine, batch("a", Table::Facts, 100, 10_000)).await;
    }
    let bytes = std::fs::metadata(&log).expect("a log").len();
    // Written: 200 MB. A commit or two may come before the checkpointer has looked.
    assert!(bytes < 40 << 20, "the log has {bytes} bytes");
}

#[tokio::test]
async fn a_follower_that_memory_does_not_reach_is_told() {
    let engine = Embedded::with(|raw| raw.limits.recent = Size(100_000));
    let (table, space, from) = (Table::Facts, None, Start::Beginning);
    let journal = Arc::clone(engine.sqlite()) as Arc<dyn crate::Journal>;
    let window = Window { events: 10, ..Window::default() };
    let mut follower = Follower::new(journal, Target::All { table, space, from }, window);
    assert_eq!(follower.next().await, Ok(Item::CaughtUp(Position::START)));
    put(&engine, batch("a", Table::Facts, 50, 1_000)).await;
    for _ in 0..50 {
        assert!(matches!(follower.next().await, Ok(Item::Event(_))));
    }
    put(&engine, batch("a", Table::Facts, 500, 1_000)).await;
    assert_eq!(follower.next().await, Ok(Item::FellBehind(Position::new(50))));
    for position in 51..=550 {
        match follower.next().await {
            Ok(Item::Event(event)) => assert_eq!(event.position, Position::new(position)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(follower.next().await, Ok(Item::CaughtUp(Position::new(550))));
}

#[tokio::test]
async fn memory_knows_what_streams_keep() {
    let engine = Embedded::new();
    let subject = Subject::All { table: Table::Facts, space: None };
    let at_hand = || {
        let page = engine.sqlite().recent(&subject, Position::START, 100, usize::MAX);
        let events = page.expect("all of it is at hand").events;
        events.iter().map(|event| event.position.get()).collect::<Vec<_>>()
    };
    let none = StreamMetadata::default;
    put(&engine, batch("count", Table::Facts, 5, 10)).await;
    put(&engine, limits("count", StreamMetadata { max_count: Some(2), ..none() })).await;
    assert_eq!(at_hand(), [4, 5]);
    put(&engine, batch("count", Table::Facts, 1, 10)).await;
    assert_eq!(at_hand(), [5, 6]);
    put(&engine, limits("count", none())).await;
    put(&engine, batch("count", Table::Facts, 1, 10)).await;
    assert_eq!(at_hand(), [5, 6, 7]);
    let max_age = Some(Duration::from_secs(60));
    put(&engine, limits("age", StreamMetadata { max_age, ..none() })).await;
    put(&engine, batch("age", Table::Facts, 1, 10)).await;
    engine.advance(Duration::from_secs(40));
    put(&engine, batch("age", Table::Facts, 1, 10)).await;
    assert_eq!(at_hand(), [5, 6, 7, 8, 9]);
    engine.advance(Duration::from_secs(40));
    assert_eq!(at_hand(), [5, 6, 7, 9]);
    put(&engine, limits("count", StreamMetadata { tombstone: true, ..none() })).await;
    assert_eq!(at_hand(), [9]);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let engine = Embedded::with(|raw| {
        raw.limits.event = Size(1_024);
        raw.limits.batch = Size(4_096);
        raw.limits.checkpoint = Size(10);
    });
    let refused = engine.sqlite().append(batch("a", Table::Facts, 1, 1_025)).await;
    let limit = 1_024;
    assert_eq!(refused, Err(Error::TooLarge { what: "the event", actual: 1_025, limit }));
    let refused = engine.sqlite().append(batch("a", Table::Facts, 5, 1_000)).await;
    assert!(matches!(refused, Err(Error::TooLarge { what: "the batch", .. })), "{refused:?}");
    put(&engine, batch("a", Table::Facts, 3, 1_000)).await;
    let checkpoint = crate::Checkpoint {
        stream: StreamName::public("a"),
        version: None,
        format: 1,
        data: Bytes::from_static(b"eleven byte"),
    };
    let large = Batch { checkpoint: Some(checkpoint), ..Batch::default() };
    let refused = engine.sqlite().append(large).await;
    assert!(matches!(refused, Err(Error::TooLarge { what: "the checkpoint", .. })), "{refused:?}");
}

#[tokio::test]
async fn a_large_checkpoint_is_kept_in_parts_and_leaves_none_behind() {
    let mut engine = impatient();
    let folder = engine.folder.path().to_owned();
    let parts = "SELECT count(*) FROM checkpoint_parts";
    let stream = StreamName::internal("pillar");
    let large = |mark: u8, expected| {
        let data = [vec![mark; 3 << 20], vec![0; 7]].concat();
        let checkpoint = crate::Checkpoint {
            stream: stream.clone(),
            version: None,
            format: 1,
            data: data.into(),
        };
        let append =
            Append { stream: stream.clone(), table: Table::Facts, expected, events: vec![] };
        Batch { appends: vec![append], checkpoint: Some(checkpoint), ..Batch::default() }
    };
    for mark in [1, 2] {
        put(&engine, large(mark, Expected::Any)).await;
        becomes(&folder, parts, 4).await;
        let found = engine.sqlite().checkpoint(&stream).await.expect("it is read");
        assert!(found == large(mark, Expected::Any).checkpoint, "it is another one");
    }
    assert!(engine.sqlite().append(large(3, Expected::Exists)).await.is_err());
    becomes(&folder, parts, 4).await;
    engine.restart().await;
    let found = engine.sqlite().checkpoint(&stream).await.expect("it is read");
    assert!(found == large(2, Expected::Any).checkpoint, "it is another one");
    put(&engine, large(4, Expected::Any)).await;
    let small = crate::Checkpoint {
        stream: stream.clone(),
        version: None,
        format: 1,
        data: Bytes::from_static(b"small"),
    };
    put(&engine, Batch { checkpoint: Some(small.clone()), ..Batch::default() }).await;
    becomes(&folder, parts, 0).await;
    assert_eq!(engine.sqlite().checkpoint(&stream).await, Ok(Some(small)));
}

#[tokio::test]
async fn a_full_queue_makes_writers_wait_and_loses_nothing() {
    let engine = Embedded::with(|raw| {
        raw.limits.queue = 2;
        raw.commit.batches = 1;
    });
    let mut writers = Vec::new();
    for _ in 0..50 {
        let journal = Arc::clone(engine.sqlite());
        let batch = batch("a", Table::Facts, 1, 10);
        writers.push(tokio::spawn(async move { journal.append(batch).await }));
    }
    for writer in writers {
        writer.await.expect("no panic").expect("it is written");
    }
    assert_eq!(engine.sqlite().head().borrow().position, Position::new(50));
}

#[tokio::test]
async fn a_closed_journal_says_so() {
    let engine = Embedded::new();
    put(&engine, batch("a", Table::Facts, 1, 10)).await;
    engine.sqlite().close();
    assert_eq!(engine.sqlite().append(batch("a", Table::Facts, 1, 10)).await, Err(Error::Closed));
    assert_eq!(engine.sqlite().stream(&StreamName::public("a")).await, Err(Error::Closed));
}

#[tokio::test]
async fn a_journal_whose_thread_panics_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&broken);
    let clock = Clock::new(move || {
        let in_writer = std::thread::current().name() == Some("journal-write");
        assert!(!(in_writer && seen.load(Ordering::Relaxed)), "on purpose");
        posthouse_base::time::Timestamp::from_millis(0)
    });
    let options = Options { clock, ..Options::default() };
    let config = crate::Config::default();
    let journal = Arc::new(Sqlite::open(folder.path(), &config, options).expect("it opens"));
    let mut head = journal.head();
    journal.append(batch("a", Table::Facts, 1, 10)).await.expect("it is written");
    broken.store(true, Ordering::Relaxed);
    let mut writers = Vec::new();
    for _ in 0..20 {
        let journal = Arc::clone(&journal);
        let batch = batch("a", Table::Facts, 1, 10);
        writers.push(tokio::spawn(async move { journal.append(batch).await }));
    }
    for writer in writers {
        assert_eq!(writer.await.expect("it comes back"), Err(Error::Closed));
    }
    while head.changed().await.is_ok() {}
    drop(journal);
    let config = crate::Config::default();
    let journal = Sqlite::open(folder.path(), &config, Options::default()).expect("it opens");
    assert_eq!(journal.head().borrow().position, Position::new(1));
}

#[tokio::test]
async fn the_journal_reports_what_it_did() {
    let engine = Embedded::new();
    let mut registry = Registry::default();
    engine.sqlite().register_metrics(&mut registry);
    let written = batch("a", Table::Facts, 3, 10);
    put(&engine, written.clone()).await;
    put(&engine, written).await;
    let mut wrong = batch("a", Table::Facts, 1, 10);
    wrong.appends[0].expected = Expected::NoStream;
    assert!(engine.sqlite().append(wrong).await.is_err());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    for line in [
        "posthouse_journal_commits_total 3",
        "posthouse_journal_events_total 3",
        "posthouse_journal_event_bytes_total 30",
        "posthouse_journal_repeated_total 1",
        "posthouse_journal_refused_total{reason=\"expected-version\"} 1",
        "posthouse_journal_position 3",
        "posthouse_journal_serving 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
}
