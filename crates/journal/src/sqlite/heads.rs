//! The ends of streams, kept in memory in bounded number, so that writing to a stream that was
//! written to lately reads nothing.
//!
//! They run ahead of the disk within one commit: what a batch changes is seen by the next batch of
//! the same commit. A batch that is refused half-way is undone; when the commit fails, all of them
//! are forgotten.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use hashlink::LruCache;
use uuid::Uuid;

use super::statements::Statements;
use crate::batch::StreamMetadata;
use crate::event::{Position, Space, StreamName, Table, Version};
use crate::recent::Limits;

/// What the writer knows of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Negative for an internal stream, positive for a public one.
    pub(super) id: i64,
    /// Whether the database has a row of it.
    pub(super) stored: bool,
    /// Whether something of the row has changed other than the end.
    pub(super) unsaved: bool,
    /// `None` before the first event.
    pub(super) table: Option<Table>,
    /// Its last event.
    pub(super) last: Option<Last>,
    /// Nothing below it is kept, whatever the metadata says now.
    pub(super) floor: Version,
    /// What is below it was removed, though the disk may have it still.
    pub(super) removed: Version,
    pub(super) metadata: StreamMetadata,
    /// Whether the scavenger is to look at it once, its metadata aside.
    pub(super) due: bool,
}

/// A stream's last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) version: Version,
    pub(super) position: Position,
    /// `None` while it has not been looked up.
    pub(super) id: Option<Uuid>,
}

impl Last {
    pub(super) fn place(self) -> (Version, Position) {
        (self.version, self.position)
    }
}

impl Head {
    pub(super) fn new(id: i64) -> Self {
        Self {
            id,
            stored: false,
            unsaved: false,
            table: None,
            last: None,
            floor: Version::FIRST,
            removed: Version::FIRST,
            due: false,
            metadata: StreamMetadata::default(),
        }
    }

    /// Takes its last event into account, which may be later than what its row knows.
    pub(super) fn reaches(&mut self, found: Option<Last>) {
        let version = self.last.map(|last| last.version);
        if let Some(found) = found.filter(|found| version.is_none_or(|last| found.version >= last))
        {
            self.last = Some(found);
        }
    }

    /// Whether its row has to be written after a commit that wrote to it. The end of a stream of
    /// facts that keeps them all is known by its last event.
    fn to_be_saved(&self) -> bool {
        let known_by_event =
            self.table == Some(Table::Facts) && self.metadata == StreamMetadata::default();
        !self.stored || self.unsaved || !known_by_event
    }

    /// The version that its next event gets.
    pub(super) fn next(&self) -> Version {
        self.last.map_or(Version::FIRST, |last| last.version.next())
    }

    /// The earliest version that is kept, age aside.
    pub(super) fn kept(&self) -> Version {
        kept(self.next(), self.floor, &self.metadata)
    }

    /// The earliest version that may be read, age aside.
    pub(super) fn lowest(&self) -> Version {
        self.kept().max(self.removed)
    }

    /// What of it may be read, for those who hold events of it; `None` when it keeps them all.
    pub(super) fn limits(&self) -> Option<Limits> {
        let all = self.metadata == StreamMetadata::default() && self.floor == Version::FIRST;
        let (lowest, max_age) = (self.kept(), self.metadata.max_age);
        (!all).then_some(Limits { lowest, max_age })
    }

    /// Whether it was written to and not deleted softly since. Work that was done leaves its stream
    /// there.
    pub(super) fn exists(&self) -> bool {
        self.kept() < self.next()
    }
}

/// The earliest version that is kept of a stream whose next event gets `next`, age aside.
pub(super) fn kept(next: Version, floor: Version, metadata: &StreamMetadata) -> Version {
    if metadata.tombstone {
        return next;
    }
    let by_count = metadata.max_count.map_or(0, |most| next.get().saturating_sub(most));
    let before = metadata.truncate_before.unwrap_or_default();
    floor.max(before).max(Version::new(by_count))
}

/// The ends of the streams that were used last.
#[derive(Debug)]
pub(super) struct Heads {
    cache: LruCache<StreamName, Head, RandomState>,
    most: usize,
    /// What each changed stream was before the batch at hand.
    undo: Vec<(StreamName, Head)>,
    /// The streams that this commit changes.
    changed: HashMap<StreamName, (), RandomState>,
    next_internal: i64,
    next_public: i64,
}

impl Heads {
    /// No stream is known yet; `lowest_id` and `highest_id` are those of the database.
    pub(super) fn new(most: usize, lowest_id: i64, highest_id: i64) -> Self {
        Self {
            cache: LruCache::with_hasher(usize::MAX, RandomState::default()),
            most,
            undo: Vec::new(),
            changed: HashMap::default(),
            next_internal: lowest_id.min(0) - 1,
            next_public: highest_id.max(0) + 1,
        }
    }

    /// The end of a stream; one that was never heard of is empty.
    pub(super) fn get(
        &mut self,
        name: &StreamName,
        sql: &mut Statements<'_>,
    ) -> rusqlite::Result<&Head> {
        if !self.cache.contains_key(name) {
            let head = match sql.load_head(name)? {
                Some(head) => head,
                None => Head::new(self.new_id(name.space())),
            };
            self.cache.insert(name.clone(), head);
        }
        Ok(self.cache.get(name).unwrap_or_else(|| unreachable!("it was entered above")))
    }

    /// Changes the end of a stream that was got before.
    pub(super) fn change(&mut self, name: &StreamName, change: impl FnOnce(&mut Head)) {
        if let Some(head) = self.cache.get_mut(name) {
            self.undo.push((name.clone(), head.clone()));
            change(head);
        }
    }

    /// The batch at hand is refused: nothing of it happened.
    pub(super) fn undo(&mut self) {
        for (name, before) in self.undo.drain(..).rev() {
            self.cache.insert(name, before);
        }
    }

    /// The batch at hand is written.
    pub(super) fn keep(&mut self) {
        self.changed.extend(self.undo.drain(..).map(|(name, _)| (name, ())));
    }

    /// Writes what this commit changes, each stream once.
    pub(super) fn save(&mut self, sql: &mut Statements<'_>) -> rusqlite::Result<()> {
        for (name, ()) in self.changed.drain() {
            if let Some(head) = self.cache.get_mut(&name).filter(|head| head.to_be_saved()) {
                sql.save_head(&name, head)?;
                (head.stored, head.unsaved) = (true, false);
            }
        }
        Ok(())
    }

    /// Forgets the streams that were not used for longest, down to the bound. Only between commits.
    pub(super) fn trim(&mut self) {
        while self.cache.len() > self.most {
            self.cache.remove_lru();
        }
    }

    fn new_id(&mut self, space: Space) -> i64 {
        match space {
            Space::Internal => {
                self.next_internal -= 1;
                self.next_internal + 1
            }
            Space::Public => {
                self.next_public += 1;
                self.next_public - 1
            }
        }
    }
}
