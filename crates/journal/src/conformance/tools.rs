//! Short ways to say what the cases say often.

use std::ops::RangeInclusive;

use bytes::Bytes;
use uuid::Uuid;

use super::Engine;
use crate::batch::{Append, Batch, Expected, Removal, StreamMetadata};
use crate::error::Error;
use crate::event::{Format, NewEvent, Position, Recorded, Space, StreamName, Table, Version};
use crate::journal::{Appended, Direction, Page, ReadAll, ReadStream};

/// More than any case writes.
pub(super) const ALL: usize = 1 << 20;

/// An event that is told from others by `number`.
pub(super) fn event(number: u128) -> NewEvent {
    NewEvent {
        id: Uuid::from_u128(number),
        kind: format!("kind-{}", number % 3).into(),
        format: if number.is_multiple_of(2) { Format::Json } else { Format::Binary },
        data: Bytes::from(format!("{{\"number\":{number}}}")),
        metadata: if number.is_multiple_of(5) {
            Bytes::new()
        } else {
            Bytes::from_static(b"about")
        },
    }
}

pub(super) fn stream(name: &str) -> StreamName {
    StreamName::public(name)
}

pub(super) fn to(
    stream: &StreamName,
    table: Table,
    expected: Expected,
    numbers: impl IntoIterator<Item = u128>,
) -> Append {
    let events = numbers.into_iter().map(event).collect();
    Append { stream: stream.clone(), table, expected, events }
}

pub(super) fn facts(
    stream: &StreamName,
    expected: Expected,
    numbers: impl IntoIterator<Item = u128>,
) -> Batch {
    appends([to(stream, Table::Facts, expected, numbers)])
}

pub(super) fn work(
    stream: &StreamName,
    expected: Expected,
    numbers: impl IntoIterator<Item = u128>,
) -> Batch {
    appends([to(stream, Table::Work, expected, numbers)])
}

pub(super) fn appends(appends: impl IntoIterator<Item = Append>) -> Batch {
    Batch { appends: appends.into_iter().collect(), ..Batch::default() }
}

pub(super) fn removal_at(positions: impl IntoIterator<Item = u64>) -> Batch {
    let positions = positions.into_iter().map(Position::new).collect();
    Batch { removals: vec![Removal::At(positions)], ..Batch::default() }
}

pub(super) fn removal(stream: &StreamName, positions: RangeInclusive<u64>) -> Batch {
    let positions = Position::new(*positions.start())..=Position::new(*positions.end());
    let removal = Removal::Range { stream: stream.clone(), positions };
    Batch { removals: vec![removal], ..Batch::default() }
}

pub(super) fn removal_of(
    stream: &StreamName,
    versions: impl IntoIterator<Item = RangeInclusive<u64>>,
) -> Batch {
    let removal = |versions: RangeInclusive<u64>| Removal::Versions {
        stream: stream.clone(),
        versions: Version::new(*versions.start())..=Version::new(*versions.end()),
    };
    Batch { removals: versions.into_iter().map(removal).collect(), ..Batch::default() }
}

pub(super) fn metadata(stream: &StreamName, metadata: StreamMetadata) -> Batch {
    Batch { metadata: vec![(stream.clone(), metadata)], ..Batch::default() }
}

pub(super) fn exactly(version: u64) -> Expected {
    Expected::Exactly(Version::new(version))
}

/// The end of an append, as [`Appended`] tells it.
pub(super) fn end(version: u64, position: u64) -> Option<(Version, Position)> {
    Some((Version::new(version), Position::new(position)))
}

pub(super) fn new(ends: &[Option<(Version, Position)>]) -> Result<Appended, Error> {
    Ok(Appended { streams: ends.to_vec(), repeated: false })
}

pub(super) fn again(ends: &[Option<(Version, Position)>]) -> Result<Appended, Error> {
    Ok(Appended { streams: ends.to_vec(), repeated: true })
}

pub(super) async fn append<E: Engine>(engine: &E, batch: Batch) -> Result<Appended, Error> {
    engine.journal().append(batch).await
}

/// Writes what must not be refused.
pub(super) async fn put<E: Engine>(engine: &E, batch: Batch) -> Appended {
    append(engine, batch).await.expect("it is written")
}

pub(super) async fn page<E: Engine>(
    engine: &E,
    stream: &StreamName,
    from: Option<u64>,
    direction: Direction,
    limit: usize,
) -> Page {
    let from = from.map(Version::new);
    let read = ReadStream { stream: stream.clone(), from, direction, limit, bytes: ALL };
    engine.journal().read_stream(read).await.expect("it is read")
}

pub(super) async fn page_of_all<E: Engine>(
    engine: &E,
    table: Table,
    space: Option<Space>,
    from: u64,
    direction: Direction,
    limit: usize,
) -> Page {
    let from = Position::new(from);
    let read = ReadAll { table, space, from, direction, limit, bytes: ALL };
    engine.journal().read_all(read).await.expect("it is read")
}

/// The numbers of a stream's events.
pub(super) async fn numbers<E: Engine>(engine: &E, stream: &StreamName) -> Vec<u128> {
    of(&page(engine, stream, None, Direction::Forwards, ALL).await.events)
}

/// The numbers of a table's events.
pub(super) async fn all_numbers<E: Engine>(engine: &E, table: Table) -> Vec<u128> {
    of(&page_of_all(engine, table, None, 0, Direction::Forwards, ALL).await.events)
}

pub(super) fn of(events: &[Recorded]) -> Vec<u128> {
    events.iter().map(|event| event.event.id.as_u128()).collect()
}

pub(super) fn versions(events: &[Recorded]) -> Vec<u64> {
    events.iter().map(|event| event.version.get()).collect()
}

pub(super) fn positions(events: &[Recorded]) -> Vec<u64> {
    events.iter().map(|event| event.position.get()).collect()
}
