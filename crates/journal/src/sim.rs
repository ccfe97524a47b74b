//! A journal in memory that fails as disks and power do, all of it decided by a seed: for tests of
//! what stands on a journal.
//!
//! [`SimDisk`] is what outlives a crash; [`SimDisk::open`] starts a journal on it. Batches wait in a
//! queue and are written in groups after a while; a group may fail, or fail and yet be written, and
//! then the journal is out for a while. Receipts resolve late and in any order.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::BoxFuture;
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::batch::{Append, Batch, Checkpoint, Expected, Removal, StreamMetadata};
use crate::error::{Error, Outage};
use crate::event::{Position, Recorded, Space, StreamName, Table, Version};
use crate::journal::{
    Appended, Direction, Head, Health, Journal, Page, ReadAll, ReadStream, Receipt, StreamState,
};

/// Batches that wait; one more waits for its place.
const QUEUE: usize = 4;

/// How often what goes wrong. Shares are of 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The most time that a group of batches takes.
    pub delay: Duration,
    /// Groups that are not written, and are told so.
    pub fail: f64,
    /// Groups that are written, and are told that they may not be.
    pub uncertain: f64,
    /// The most time that the journal is out after a failure.
    pub outage: Duration,
    /// Reads that fail while it is out.
    pub unreadable: f64,
    /// Confirms what is not written yet, as a disk does that lies about its syncs.
    pub lies: bool,
}

/// What is durable. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    position: u64,
    streams: HashMap<StreamName, Stream>,
    checkpoints: HashMap<StreamName, Checkpoint>,
}

#[derive(Clone, Debug)]
struct Stream {
    table: Table,
    /// Everything that was ever written.
    events: Vec<Recorded>,
    removed: HashSet<Position>,
    metadata: StreamMetadata,
}

/// A journal on a [`SimDisk`].
pub struct SimJournal {
    disk: SimDisk,
    queue: mpsc::Sender<Waiting>,
    head: watch::Sender<Head>,
    luck: Mutex<Rng>,
    faults: Arc<Mutex<Faults>>,
    tasks: Tasks,
}

type Waiting = (Batch, oneshot::Sender<Result<Appended, Error>>);

impl SimDisk {
    /// Starts a journal, in which everything goes as `seed` says. It lasts until it crashes or
    /// `tasks` stops.
    #[must_use]
    pub fn open(&self, faults: Faults, seed: u64, tasks: &Tasks) -> Arc<SimJournal> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let position = Position::new(self.disk().position);
        let head = watch::Sender::new(Head { position, health: Health::Serving });
        let tasks = tasks.child();
        let luck = Mutex::new(Rng::with_seed(seed));
        let faults = Arc::new(Mutex::new(faults));
        let journal = SimJournal { disk: self.clone(), queue, head, luck, faults, tasks };
        let writer = Writer {
            disk: self.clone(),
            head: journal.head.clone(),
            luck: Rng::with_seed(seed ^ 0x5151_5151),
            faults: Arc::clone(&journal.faults),
            tasks: journal.tasks.clone(),
        };
        journal.tasks.spawn("simulated journal", writer.run(waiting));
        Arc::new(journal)
    }

    /// The event at `version` of a stream, truncated or not.
    #[must_use]
    pub fn event(&self, stream: &StreamName, version: Version) -> Option<Recorded> {
        let place = usize::try_from(version.get()).ok()?;
        self.disk().streams.get(stream)?.events.get(place).cloned()
    }

    /// Everything that was ever written to a stream, truncated or not.
    #[must_use]
    pub fn history(&self, stream: &StreamName) -> Vec<Recorded> {
        self.disk().streams.get(stream).map(|stream| stream.events.clone()).unwrap_or_default()
    }

    /// What may still be read of a stream.
    #[must_use]
    pub fn left(&self, stream: &StreamName) -> Vec<Recorded> {
        self.disk().streams.get(stream).map(Stream::left).unwrap_or_default()
    }

    /// Changes the format of a stream's checkpoint, as if another version had written it.
    pub fn reformat(&self, stream: &StreamName, format: u32) {
        if let Some(checkpoint) = self.disk().checkpoints.get_mut(stream) {
            checkpoint.format = format;
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.0)
    }
}

impl SimJournal {
    /// The power goes: what is not written yet never will be, and nobody is answered any more.
    pub fn crash(&self) {
        self.tasks.stop();
    }

    /// From now on other things go wrong.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.faults) = faults;
    }

    fn chance(&self, share: f64) -> bool {
        lock(&self.luck).f64() < share
    }

    /// Reads what is there, unless it cannot now.
    fn read<T>(&self, read: impl FnOnce(&Disk) -> Result<T, Error>) -> Result<T, Error> {
        if self.tasks.is_stopping() {
            return Err(Error::Closed);
        }
        let health = self.head.borrow().health.clone();
        match health {
            Health::Out(outage) if self.chance(lock(&self.faults).unreadable) => {
                Err(Error::Unavailable(outage))
            }
            _ => read(&self.disk.disk()),
        }
    }
}

impl Journal for SimJournal {
    fn submit(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, Error>> {
        let (sender, receipt) = Receipt::new();
        Box::pin(async move {
            if self.tasks.is_stopping() {
                return Err(Error::Closed);
            }
            self.queue.send((batch, sender)).await.map_err(|_closed| Error::Closed)?;
            Ok(receipt)
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<Page, Error>> {
        let page = self.read(|disk| {
            let events = disk.streams.get(&read.stream).map(Stream::left).unwrap_or_default();
            let is_asked = |event: &Recorded| match (read.direction, read.from) {
                (_, None) => true,
                (Direction::Forwards, Some(from)) => event.version >= from,
                (Direction::Backwards, Some(from)) => event.version <= from,
            };
            let events = events.into_iter().filter(is_asked).collect();
            Ok(page(events, read.direction, read.limit, disk))
        });
        Box::pin(std::future::ready(page))
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<Page, Error>> {
        let page = self.read(|disk| {
            let streams = disk.streams.iter().filter(|(name, stream)| {
                let in_space = read.space.is_none_or(|space: Space| name.space() == space);
                in_space && stream.table == read.table
            });
            let is_asked = |event: &Recorded| match read.direction {
                Direction::Forwards => event.position >= read.from,
                Direction::Backwards => event.position <= read.from,
            };
            let events = streams.flat_map(|(_, stream)| stream.left()).filter(is_asked).collect();
            Ok(page(events, read.direction, read.limit, disk))
        });
        Box::pin(std::future::ready(page))
    }

    fn stream(&self, name: &StreamName) -> BoxFuture<'_, Result<Option<StreamState>, Error>> {
        let state = self.read(|disk| {
            Ok(disk.streams.get(name).map(|stream| StreamState {
                table: stream.table,
                last: stream.last(),
                first: stream.left().first().map_or_else(|| stream.next(), |event| event.version),
                metadata: stream.metadata.clone(),
            }))
        });
        Box::pin(std::future::ready(state))
    }

    fn checkpoint(&self, stream: &StreamName) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        let checkpoint = self.read(|disk| Ok(disk.checkpoints.get(stream).cloned()));
        Box::pin(std::future::ready(checkpoint))
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }
}

impl fmt::Debug for SimJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimJournal").field("faults", &lock(&self.faults)).finish_non_exhaustive()
    }
}

/// Writes what waits.
struct Writer {
    disk: SimDisk,
    head: watch::Sender<Head>,
    luck: Rng,
    faults: Arc<Mutex<Faults>>,
    tasks: Tasks,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut group = Vec::new();
        while queue.recv_many(&mut group, self.luck.usize(1..=QUEUE)).await > 0 {
            let group = std::mem::take(&mut group);
            let faults = *lock(&self.faults);
            if faults.lies {
                self.lie(group, faults.delay).await;
                continue;
            }
            tokio::time::sleep(self.some(faults.delay)).await;
            let luck = self.luck.f64();
            if luck < faults.fail {
                self.fail(group, &mut queue, false).await;
            } else if luck < faults.fail + faults.uncertain {
                self.fail(group, &mut queue, true).await;
            } else {
                self.write(group);
            }
        }
    }

    fn write(&mut self, group: Vec<Waiting>) {
        for (batch, sender) in group {
            let outcome = self.disk.disk().write(&batch);
            self.answer(sender, outcome);
        }
        self.tell(Health::Serving);
    }

    /// Answers first, and may not come to writing.
    async fn lie(&mut self, group: Vec<Waiting>, delay: Duration) {
        for (batch, sender) in group {
            let outcome = self.disk.disk().clone_for_trial().write(&batch);
            let _gone = sender.send(outcome);
            tokio::time::sleep(self.some(delay)).await;
            let _told_already = self.disk.disk().write(&batch);
        }
    }

    /// Is out for a while. What `is_written` all the same is seen at once or when it is back.
    async fn fail(
        &mut self,
        group: Vec<Waiting>,
        queue: &mut mpsc::Receiver<Waiting>,
        is_written: bool,
    ) {
        let outage = Outage::Disk("simulated".into());
        let is_seen_at_once = self.luck.bool();
        self.tell(Health::Out(outage.clone()));
        let mut hidden = Vec::new();
        for (batch, sender) in group {
            if is_written && is_seen_at_once {
                let _not_told = self.disk.disk().write(&batch);
            } else if is_written {
                hidden.push(batch);
            }
            self.answer(sender, Err(Error::Unavailable(outage.clone())));
        }
        let most = lock(&self.faults).outage;
        let back = tokio::time::sleep(self.some(most));
        let mut back = std::pin::pin!(back);
        loop {
            tokio::select! {
                biased;
                waiting = queue.recv() => match waiting {
                    Some((_, sender)) => {
                        self.answer(sender, Err(Error::Unavailable(outage.clone())));
                    }
                    None => break,
                },
                () = &mut back => break,
            }
        }
        for batch in hidden {
            let _not_told = self.disk.disk().write(&batch);
        }
        self.tell(Health::Serving);
    }

    /// Answers at some time, so that later ones may be answered first.
    fn answer(
        &mut self,
        sender: oneshot::Sender<Result<Appended, Error>>,
        outcome: Result<Appended, Error>,
    ) {
        let most = lock(&self.faults).delay;
        let pause = self.some(most);
        self.tasks.spawn("simulated answer", async move {
            tokio::time::sleep(pause).await;
            let _gone = sender.send(outcome);
        });
    }

    fn tell(&self, health: Health) {
        let position = Position::new(self.disk.disk().position);
        self.head.send_replace(Head { position, health });
    }

    fn some(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.luck.f64())
    }
}

impl Disk {
    fn write(&mut self, batch: &Batch) -> Result<Appended, Error> {
        if let [append] = &batch.appends[..]
            && *batch == (Batch { appends: vec![append.clone()], ..Batch::default() })
        {
            // The common case fails before it changes anything.
            let (last, repeated) = self.append(append)?;
            return Ok(Appended { streams: vec![last], repeated });
        }
        let mut trial = self.clone_for_trial();
        let mut appended = Appended { streams: Vec::new(), repeated: !batch.appends.is_empty() };
        for append in &batch.appends {
            let (last, repeated) = trial.append(append)?;
            appended.streams.push(last);
            appended.repeated &= repeated;
        }
        for removal in &batch.removals {
            trial.remove(removal);
        }
        for (name, metadata) in &batch.metadata {
            if let Some(stream) = trial.streams.get_mut(name) {
                stream.metadata = metadata.clone();
            }
        }
        if let Some(checkpoint) = &batch.checkpoint {
            let last = trial.streams.get(&checkpoint.stream).and_then(Stream::last);
            if checkpoint.version > last {
                return Err(Error::Invalid("the checkpoint is ahead of its stream".into()));
            }
            trial.checkpoints.insert(checkpoint.stream.clone(), checkpoint.clone());
        }
        *self = trial;
        Ok(appended)
    }

    /// A batch is tried on a copy, so that it is done whole or not at all.
    fn clone_for_trial(&self) -> Self {
        let (streams, checkpoints) = (self.streams.clone(), self.checkpoints.clone());
        Self { position: self.position, streams, checkpoints }
    }

    /// Returns the append's last event, and whether it had been written before.
    fn append(&mut self, append: &Append) -> Result<(Option<(Version, Position)>, bool), Error> {
        let stream = self.streams.entry(append.stream.clone()).or_insert_with(|| Stream {
            table: append.table,
            events: Vec::new(),
            removed: HashSet::new(),
            metadata: StreamMetadata::default(),
        });
        if stream.table != append.table {
            return Err(Error::WrongTable(append.stream.clone()));
        }
        if stream.metadata.tombstone {
            return Err(Error::Tombstone(append.stream.clone()));
        }
        if !append.expected.holds(stream.last()) {
            return match stream.repeated(append) {
                Some(last) => Ok((Some(last), true)),
                None => Err(Error::WrongExpectedVersion {
                    stream: append.stream.clone(),
                    expected: append.expected,
                    actual: stream.last(),
                }),
            };
        }
        for event in &append.events {
            self.position += 1;
            stream.events.push(Recorded {
                position: Position::new(self.position),
                stream: append.stream.clone(),
                version: stream.next(),
                time: Timestamp::from_millis(self.position),
                event: event.clone(),
            });
        }
        Ok((stream.events.last().map(|event| (event.version, event.position)), false))
    }

    fn remove(&mut self, removal: &Removal) {
        match removal {
            Removal::At(positions) => {
                let work = self.streams.values_mut().filter(|s| s.table == Table::Work);
                work.for_each(|stream| stream.removed.extend(positions));
            }
            Removal::Range { stream, positions } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    let events = stream.events.iter().map(|event| event.position);
                    stream.removed.extend(events.filter(|at| positions.contains(at)));
                }
            }
            Removal::Versions { stream, versions } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    let events = stream.events.iter();
                    let gone = events.filter(|event| versions.contains(&event.version));
                    stream.removed.extend(gone.map(|event| event.position));
                }
            }
        }
    }
}

impl Stream {
    fn last(&self) -> Option<Version> {
        self.events.last().map(|event| event.version)
    }

    fn next(&self) -> Version {
        self.last().map_or(Version::FIRST, Version::next)
    }

    /// What may still be read.
    fn left(&self) -> Vec<Recorded> {
        let before = self.metadata.truncate_before.unwrap_or(Version::FIRST);
        let events = self.events.iter();
        let events = events
            .filter(|event| event.version >= before && !self.removed.contains(&event.position));
        let mut events: Vec<_> = events.cloned().collect();
        let most = self.metadata.max_count.and_then(|count| usize::try_from(count).ok());
        let surplus = most.map_or(0, |most| events.len().saturating_sub(most));
        events.drain(..surplus);
        events
    }

    /// The last event of a write that is there already.
    fn repeated(&self, append: &Append) -> Option<(Version, Position)> {
        let ids = append.events.iter().map(|event| event.id);
        let first = append.events.first()?.id;
        let start = self.events.iter().position(|event| event.event.id == first)?;
        let there = &self.events[start..];
        let are_there = there.len() >= append.events.len()
            && ids.zip(there).all(|(id, event)| event.event.id == id);
        let last = there.get(append.events.len().checked_sub(1)?)?;
        are_there.then_some((last.version, last.position))
    }
}

impl Expected {
    fn holds(self, last: Option<Version>) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => last.is_none(),
            Self::Exists => last.is_some(),
            Self::Exactly(version) => last == Some(version),
        }
    }
}

fn page(mut events: Vec<Recorded>, direction: Direction, limit: usize, disk: &Disk) -> Page {
    events.sort_by_key(|event| event.position);
    if direction == Direction::Backwards {
        events.reverse();
    }
    let end = events.len() <= limit;
    events.truncate(limit);
    Page { events, end, head: Position::new(disk.position) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
