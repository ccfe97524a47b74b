//! One batch: whether it may be written, whether it was written before, and the writing.
//!
//! It is judged on the ends of its streams in memory before anything is written, so that a refusal
//! costs no savepoint: what can still fail then is the disk, and fails the whole commit.

use std::collections::HashMap;

use posthouse_base::time::Timestamp;
use uuid::Uuid;

use super::heads::{Head, Heads, Last};
use super::stage::Staged;
use super::statements::{Counter, Statements};
use crate::batch::{Append, Batch, Checkpoint, Expected, Removal, StreamMetadata};
use crate::error::{Error, Outage};
use crate::event::{Position, Recorded, StreamName, Table, Version};
use crate::journal::Appended;
use crate::recent::{Fresh, Limits};

/// A removal of more events than this from a stream's beginning only hides them; they go from the
/// disk in the background.
const REMOVED_AT_ONCE: u64 = 4096;

/// The log as the commit at hand has it.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) heads: Heads,
    pub(super) counter: Counter,
    /// Whether something was cut off that the scavenger is to look at now.
    pub(super) due: bool,
}

/// Where the events of one append go.
#[derive(Clone, Copy, Debug)]
struct Place {
    stream: i64,
    version: Version,
    position: Position,
    /// The stream's last event after it.
    end: Option<(Version, Position)>,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Written {
    /// The position before its first event.
    after: Position,
    time: Timestamp,
    /// What the streams keep after it, of those that do not keep all.
    pub(super) limits: Vec<(StreamName, Limits)>,
    pub(super) appended: Appended,
}

impl Written {
    /// The events of `batch`, of which this is what became.
    pub(super) fn events(&self, batch: Batch, into: &mut Vec<Fresh>) {
        if self.appended.repeated {
            return;
        }
        let mut position = self.after;
        for (append, end) in batch.appends.into_iter().zip(&self.appended.streams) {
            let count = u64::try_from(append.events.len()).unwrap_or(u64::MAX);
            let next = end.map_or(0, |(version, _)| version.get() + 1);
            let first = next.saturating_sub(count);
            for (version, event) in (first..).map(Version::new).zip(append.events) {
                position = position.next();
                let (stream, time) = (append.stream.clone(), self.time);
                let event = Recorded { position, stream, version, time, event };
                into.push(Fresh { event, table: append.table });
            }
        }
    }
}

/// What the scavenger has done by the writer.
#[derive(Debug)]
pub(super) enum Chore {
    /// Deletes a stream's events from `from` on, up to and without `end`.
    Cut { table: Table, stream: i64, from: Version, end: Version },
    /// All of a stream below `end` is deleted: it need not be looked at again.
    Settle { stream: StreamName, end: Version },
    /// Deletes a part of a checkpoint that none names.
    Discard { generation: i64 },
    /// Gives so many unused pages back to the file system.
    Shrink { pages: u32 },
}

type Outcome<T> = rusqlite::Result<Result<T, Error>>;
/// As in [`Appended::streams`].
type Ends = Vec<Option<(Version, Position)>>;

impl Log {
    /// Writes `batch`, or refuses it and leaves everything as it was. An `Err` of SQLite leaves
    /// this and the transaction in no certain state.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        staged: Option<&Staged>,
        now: Timestamp,
        sql: &mut Statements<'_>,
    ) -> Outcome<Written> {
        let before = self.counter;
        if let Some(streams) = self.repeated(&batch.appends, sql)? {
            let appended = Appended { streams, repeated: true };
            let (after, time) = (before.position, before.time);
            return Ok(Ok(Written { after, time, limits: Vec::new(), appended }));
        }
        if let Some(staged) = staged
            && !sql.has_parts(staged)?
        {
            let detail = "the journal was out while the checkpoint was written".to_owned();
            return Ok(Err(Error::Unavailable(Outage::Engine(detail))));
        }
        let places = match self.judge(batch, sql)? {
            Ok(places) => places,
            Err(refusal) => {
                self.heads.undo();
                self.counter = before;
                return Ok(Err(refusal));
            }
        };
        let time = before.time.max(now);
        self.counter.time = time;
        let mut streams = Vec::with_capacity(places.len());
        for (append, place) in batch.appends.iter().zip(&places) {
            let Place { stream, mut version, mut position, end } = *place;
            for event in &append.events {
                sql.insert(append.table, (position, stream, version), time, event)?;
                (version, position) = (version.next(), position.next());
            }
            streams.push(end);
        }
        for removal in &batch.removals {
            self.remove(removal, sql)?;
        }
        if let Some(checkpoint) = &batch.checkpoint {
            sql.save_checkpoint(checkpoint, staged)?;
            self.due |= staged.is_some();
        }
        let mut limits = Vec::new();
        let streams_of = batch.appends.iter().map(|append| &append.stream);
        for stream in streams_of.chain(batch.metadata.iter().map(|(stream, _)| stream)) {
            let kept = self.heads.get(stream, sql)?.limits();
            limits.extend(kept.map(|kept| (stream.clone(), kept)));
        }
        self.heads.keep();
        let appended = Appended { streams, repeated: false };
        Ok(Ok(Written { after: before.position, time, limits, appended }))
    }

    /// Does what the scavenger asked for; how many events or pages that was.
    pub(super) fn chore(
        &mut self,
        chore: &Chore,
        sql: &mut Statements<'_>,
    ) -> rusqlite::Result<usize> {
        match chore {
            Chore::Cut { table, stream, from, end } => {
                sql.remove_versions(*table, *stream, *from, *end)
            }
            Chore::Settle { stream, end } => {
                let settled = self.heads.get(stream, sql)?.lowest() <= *end;
                if settled {
                    self.heads.change(stream, |head| (head.due, head.unsaved) = (false, true));
                    self.heads.keep();
                }
                Ok(usize::from(settled))
            }
            Chore::Discard { generation } => sql.remove_part(*generation),
            Chore::Shrink { pages } => sql.shrink(*pages),
        }
    }

    /// Moves the streams' ends on in memory, as the batch will have them; refuses it where they are
    /// not as it believes.
    fn judge(&mut self, batch: &Batch, sql: &mut Statements<'_>) -> Outcome<Vec<Place>> {
        let mut places = Vec::with_capacity(batch.appends.len());
        for append in &batch.appends {
            let head = self.heads.get(&append.stream, sql)?;
            if let Err(refusal) = fits(append, head) {
                return Ok(Err(refusal));
            }
            let (stream, version) = (head.id, head.next());
            let position = self.counter.position.next();
            let end = head.last.map(Last::place);
            places.push(Place { stream, version, position, end });
            let Some(last) = append.events.last() else { continue };
            let count = u64::try_from(append.events.len()).unwrap_or(u64::MAX);
            self.counter.position = Position::new(self.counter.position.get() + count);
            let last = Last {
                version: Version::new(version.get() + count - 1),
                position: self.counter.position,
                id: Some(last.id),
            };
            self.heads.change(&append.stream, |head| {
                head.unsaved |= head.table.is_none();
                head.table = Some(append.table);
                head.last = Some(last);
            });
            if let Some(place) = places.last_mut() {
                place.end = Some(last.place());
            }
        }
        for removal in &batch.removals {
            if let Removal::Range { stream, .. } | Removal::Versions { stream, .. } = removal
                && self.heads.get(stream, sql)?.table == Some(Table::Facts)
            {
                return Ok(Err(Error::WrongTable(stream.clone())));
            }
        }
        for (stream, metadata) in &batch.metadata {
            if self.heads.get(stream, sql)?.metadata.tombstone {
                return Ok(Err(Error::Tombstone(stream.clone())));
            }
            self.heads.change(stream, |head| limit(head, metadata));
            self.due = true;
        }
        if let Some(checkpoint) = &batch.checkpoint {
            let last = self.heads.get(&checkpoint.stream, sql)?.last;
            if let Err(refusal) = follows(checkpoint, last) {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(places))
    }

    fn remove(&mut self, removal: &Removal, sql: &mut Statements<'_>) -> rusqlite::Result<()> {
        match removal {
            Removal::At(positions) => {
                for position in positions {
                    sql.remove_at(*position)?;
                }
            }
            Removal::Range { stream, positions } => {
                let head = self.heads.get(stream, sql)?.clone();
                let Some(last) = head.last else { return Ok(()) };
                let from = version_at(&head, last, *positions.start(), sql)?;
                let end = if *positions.end() < last.position {
                    version_at(&head, last, positions.end().next(), sql)?
                } else {
                    head.next()
                };
                self.remove_versions(stream, from, end, sql)?;
            }
            Removal::Versions { stream, versions } => {
                let next = self.heads.get(stream, sql)?.next();
                let end = if *versions.end() < next { versions.end().next() } else { next };
                self.remove_versions(stream, *versions.start(), end, sql)?;
            }
        }
        Ok(())
    }

    /// Removes a stream's work from `from` on, up to and without `end`.
    fn remove_versions(
        &mut self,
        stream: &StreamName,
        from: Version,
        end: Version,
        sql: &mut Statements<'_>,
    ) -> rusqlite::Result<()> {
        if from >= end {
            return Ok(());
        }
        let head = self.heads.get(stream, sql)?;
        let (id, lowest) = (head.id, head.lowest());
        if end.get() - from.get() > REMOVED_AT_ONCE {
            let first = sql.event_from(Table::Work, id, lowest)?;
            if first.is_none_or(|(first, _)| from <= first) {
                self.heads.change(stream, |head| {
                    head.removed = head.removed.max(end);
                    (head.due, head.unsaved) = (true, true);
                });
                self.due = true;
                return Ok(());
            }
        }
        sql.remove_versions(Table::Work, id, from, end).map(drop)
    }

    /// What the batch came to when it was written before; `None` when it was not. It was if the
    /// events of each of its streams, all of them, are where they would be, and may still be read.
    fn repeated(
        &mut self,
        appends: &[Append],
        sql: &mut Statements<'_>,
    ) -> rusqlite::Result<Option<Ends>> {
        let Some(first) = appends.iter().find(|append| !append.events.is_empty()) else {
            return Ok(None);
        };
        // Of the ids, nearly always the last one decides that this is no repetition.
        let stream = || appends.iter().filter(|append| append.stream == first.stream);
        let last_id = stream().rev().find_map(|append| append.events.last()).map(|event| event.id);
        if !may_repeat(first.expected, last_id, self.heads.get(&first.stream, sql)?) {
            return Ok(None);
        }
        let mut found = Vec::with_capacity(appends.len());
        let mut streams = HashMap::new();
        for append in appends {
            let mut last = self.heads.get(&append.stream, sql)?.last.map(Last::place);
            if !append.events.is_empty() && !streams.contains_key(&append.stream) {
                let all = appends.iter().filter(|other| other.stream == append.stream);
                let count = all.map(|append| append.events.len()).sum();
                streams.insert(&append.stream, self.written(append, count, sql)?.into_iter());
            }
            for event in &append.events {
                match streams.get_mut(&append.stream).and_then(Iterator::next) {
                    Some((id, place)) if id == event.id => last = Some(place),
                    _ => return Ok(None),
                }
            }
            found.push(last);
        }
        Ok(Some(found))
    }

    /// The `count` events where those of `append` would be, had it been written before.
    fn written(
        &mut self,
        append: &Append,
        count: usize,
        sql: &mut Statements<'_>,
    ) -> rusqlite::Result<Vec<(Uuid, (Version, Position))>> {
        let head = self.heads.get(&append.stream, sql)?;
        let (id, lowest, next) = (head.id, head.lowest(), head.next());
        if head.metadata.tombstone || head.table != Some(append.table) {
            return Ok(Vec::new());
        }
        let count_versions = u64::try_from(count).unwrap_or(u64::MAX);
        let start = match append.expected {
            Expected::Exactly(version) => version.get().checked_add(1),
            Expected::NoStream => Some(lowest.get()),
            Expected::Any | Expected::Exists => next.get().checked_sub(count_versions),
        };
        let Some(start) = start.map(Version::new).filter(|start| *start >= lowest) else {
            return Ok(Vec::new());
        };
        sql.ids(append.table, id, start, count)
    }
}

/// Whether the stream's end leaves it possible that an append is repeated.
fn may_repeat(expected: Expected, last_id: Option<Uuid>, head: &Head) -> bool {
    let Some(last) = head.last else { return false };
    match expected {
        Expected::Exactly(version) => version < last.version,
        Expected::NoStream => head.exists(),
        Expected::Any | Expected::Exists => last.id.is_none() || last.id == last_id,
    }
}

/// Whether the stream is as the append believes.
fn fits(append: &Append, head: &Head) -> Result<(), Error> {
    if head.metadata.tombstone {
        return Err(Error::Tombstone(append.stream.clone()));
    }
    if head.table.is_some_and(|table| table != append.table) {
        return Err(Error::WrongTable(append.stream.clone()));
    }
    let last = head.last.map(|last| last.version);
    let right = match append.expected {
        Expected::Any => true,
        Expected::NoStream => !head.exists(),
        Expected::Exists => head.exists(),
        Expected::Exactly(version) => last == Some(version),
    };
    if right {
        return Ok(());
    }
    let stream = append.stream.clone();
    Err(Error::WrongExpectedVersion { stream, expected: append.expected, actual: last })
}

/// Sets how long the stream keeps its events. What is yet to be written is never cut off.
fn limit(head: &mut Head, metadata: &StreamMetadata) {
    let next = head.next();
    let before = metadata.truncate_before.map(|before| before.min(next));
    // What was hidden before stays hidden: it may be gone from the disk already.
    head.floor = head.kept();
    (head.due, head.unsaved) = (true, true);
    head.metadata = StreamMetadata { truncate_before: before, ..metadata.clone() };
}

fn follows(checkpoint: &Checkpoint, last: Option<Last>) -> Result<(), Error> {
    let last = last.map(|last| last.version);
    if checkpoint.version <= last {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the checkpoint of {} is ahead of its stream",
        checkpoint.stream.as_str()
    )))
}

/// A version such that exactly the stream's events below it, of those that are there, are before
/// `position`. Found by search, since positions rise with versions.
fn version_at(
    head: &Head,
    last: Last,
    position: Position,
    sql: &mut Statements<'_>,
) -> rusqlite::Result<Version> {
    if position > last.position {
        return Ok(last.version.next());
    }
    // With growing steps from the beginning, where most work is removed, then by halving.
    let (mut low, mut high, mut step) = (head.lowest().get(), last.version.get() + 1, 0);
    while low < high {
        let middle = low + step.min((high - low) / 2);
        match sql.event_from(Table::Work, head.id, Version::new(middle))? {
            Some((found, at)) if at < position => {
                low = found.get() + 1;
                step = step.saturating_mul(2).saturating_add(1);
            }
            Some(_) | None => {
                high = middle;
                step = u64::MAX;
            }
        }
    }
    Ok(Version::new(low))
}
