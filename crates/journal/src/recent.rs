//! The latest facts, kept in memory within a bound, so that those who follow the log do not each
//! read them from the disk. The same for every engine: its writer enters what is durable, in order.
//! Of work only the places are kept: it is read by those who wrote it, once, and would push out what
//! many read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use posthouse_base::time::Timestamp;

use crate::event::{NewEvent, Position, Recorded, Space, StreamName, Table, Version};
use crate::journal::{Page, Subject};

/// What an event takes up beside its data.
const OVERHEAD: usize = 256;

/// The latest events.
#[derive(Debug)]
pub(crate) struct Recent {
    inner: RwLock<Inner>,
    most_bytes: usize,
}

#[derive(Debug)]
struct Inner {
    /// Every position after `after` up to `head`, without a gap.
    events: VecDeque<Entry>,
    /// Of their streams, those that do not keep all their events.
    limits: HashMap<StreamName, Limits, RandomState>,
    after: Position,
    head: Position,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Without its data when it is work.
    event: Recorded,
    table: Table,
}

/// What may still be read of a stream that does not keep all its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Nothing below it.
    pub(crate) lowest: Version,
    /// Nothing older.
    pub(crate) max_age: Option<Duration>,
}

/// An event that has become durable.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) event: Recorded,
    pub(crate) table: Table,
}

impl Recent {
    /// Keeps nothing yet; the log ends at `head`.
    pub(crate) fn new(most_bytes: u64, head: Position) -> Self {
        let (events, limits) = (VecDeque::new(), HashMap::default());
        let inner = Inner { events, limits, after: head, head, bytes: 0 };
        let most_bytes = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        Self { inner: RwLock::new(inner), most_bytes }
    }

    /// Enters what one commit wrote, in order, and what streams keep from now on, of those that do
    /// not keep all; the last of each counts. Must be told before the head moves.
    pub(crate) fn enter(
        &self,
        fresh: Vec<Fresh>,
        limits: Vec<(StreamName, Limits)>,
        head: Position,
    ) {
        let fresh = if self.most_bytes == 0 { Vec::new() } else { owned(fresh) };
        let mut inner = self.write();
        for Fresh { event, table } in fresh {
            if event.position == inner.head.next() {
                inner.head = event.position;
                inner.bytes += size(&event.event);
                inner.events.push_back(Entry { event, table });
            }
        }
        inner.limits.extend(limits);
        if inner.head != head {
            inner.clear(head);
        }
        while inner.bytes > self.most_bytes {
            inner.forget_first();
        }
        inner.forget_limits();
    }

    /// Forgets everything; the log ends at `head`.
    pub(crate) fn reset(&self, head: Position) {
        self.write().clear(head);
    }

    /// What of `subject` came after `after`, as of `now`; `None` when that is not all at hand.
    pub(crate) fn after(
        &self,
        subject: &Subject,
        after: Position,
        (limit, bytes): (usize, usize),
        now: Timestamp,
    ) -> Option<Page> {
        let inner = self.read();
        let skip = after.get().checked_sub(inner.after.get())?;
        let mut events = Vec::new();
        let mut left = bytes;
        let mut end = true;
        for entry in inner.events.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            if !concerns(subject, entry) || !inner.keeps(&entry.event, now) {
                continue;
            }
            if entry.table == Table::Work {
                return None;
            }
            let size = entry.event.event.data.len() + entry.event.event.metadata.len();
            if events.len() >= limit || (!events.is_empty() && size > left) {
                end = false;
                break;
            }
            left = left.saturating_sub(size);
            events.push(entry.event.clone());
        }
        Some(Page { events, end, head: inner.head })
    }

    /// The bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.read().bytes
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn clear(&mut self, head: Position) {
        self.events.clear();
        self.limits.clear();
        (self.after, self.head, self.bytes) = (head, head, 0);
    }

    fn forget_first(&mut self) {
        let Some(first) = self.events.pop_front() else { return };
        self.after = first.event.position;
        self.bytes -= size(&first.event.event);
    }

    /// Whether the stream of `event` keeps it still.
    fn keeps(&self, event: &Recorded, now: Timestamp) -> bool {
        let Some(limits) = self.limits.get(&event.stream) else { return true };
        let too_old = limits.max_age.is_some_and(|most| now.since(event.time) > most);
        event.version >= limits.lowest && !too_old
    }

    /// Forgets the limits of streams of which nothing is kept here, once those are the most.
    fn forget_limits(&mut self) {
        if self.limits.len() > 2 * self.events.len() + 64 {
            let here: HashSet<_> = self.events.iter().map(|entry| &entry.event.stream).collect();
            self.limits.retain(|stream, _| here.contains(stream));
        }
    }
}

fn concerns(subject: &Subject, entry: &Entry) -> bool {
    match subject {
        Subject::Stream(stream) => entry.event.stream == *stream,
        Subject::All { table, space } => {
            entry.table == *table
                && space.is_none_or(|space: Space| space == entry.event.stream.space())
        }
    }
}

/// The events with their bytes in one piece of memory of their own: what they came in may be a
/// small part of a large buffer.
fn owned(mut fresh: Vec<Fresh>) -> Vec<Fresh> {
    for Fresh { event, table } in &mut fresh {
        if *table == Table::Work {
            (event.event.data, event.event.metadata) = (Bytes::new(), Bytes::new());
        }
    }
    let length = |event: &NewEvent| event.data.len() + event.metadata.len();
    let total = fresh.iter().map(|fresh| length(&fresh.event.event)).sum();
    let mut all = BytesMut::with_capacity(total);
    for Fresh { event, .. } in &fresh {
        all.extend_from_slice(&event.event.data);
        all.extend_from_slice(&event.event.metadata);
    }
    let mut all: Bytes = all.freeze();
    for Fresh { event, .. } in &mut fresh {
        event.event.data = all.split_to(event.event.data.len());
        event.event.metadata = all.split_to(event.event.metadata.len());
    }
    fresh
}

fn size(event: &NewEvent) -> usize {
    OVERHEAD + event.data.len() + event.metadata.len()
}
