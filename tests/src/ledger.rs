//! What the writers of the journal's crash tests write, and what must be found of it afterwards.
//!
//! Each writer has a stream of facts and one of work. Its batch `n` appends to both, removes the work
//! of batch `n - 2`, and every fifth one saves a checkpoint. All of it follows from the writer's and
//! the batch's numbers, so that after any crash the facts tell what the rest has to be: a batch that
//! is there in part shows as surely as one that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use posthouse_journal::event::{Format, NewEvent};
use posthouse_journal::{
    Append, Batch, Checkpoint, Direction, Expected, Journal, Position, ReadAll, ReadStream,
    Recorded, Removal, StreamName, Table, Version,
};
use uuid::Uuid;

/// A batch's work is removed by the batch after the next.
const WORK_STAYS: u64 = 2;

/// Every so many batches bring a checkpoint.
const CHECKPOINT_EVERY: u64 = 5;

/// How much is read at once.
const PAGE: usize = 500;

/// One writer, between two batches.
#[derive(Clone, Debug)]
pub struct Writer {
    number: u64,
    /// The next batch.
    next: u64,
    facts: Option<Version>,
    work: Option<Version>,
    /// Where the work is that was not yet removed, by batch.
    places: BTreeMap<u64, Vec<(Position, Version)>>,
}

/// A batch as it was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The writer's number.
    pub writer: u64,
    /// The batch's.
    pub batch: u64,
    /// The position of its last fact.
    pub fact: Position,
    /// The position of its last work.
    pub work: Position,
}

/// Everything that was ever confirmed or seen of a journal, by which it is judged after a crash.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    confirmed: BTreeMap<u64, Confirmed>,
    /// No event that is written from now on may be at this position or before it.
    highest: Position,
    /// The facts that were seen, by which no position shows another one later.
    seen: BTreeMap<Position, (StreamName, Version)>,
}

impl Writer {
    /// Finds out where this writer stands.
    ///
    /// # Errors
    /// When what it wrote is not as it wrote it.
    pub async fn resume(journal: &dyn Journal, number: u64) -> Result<Self, String> {
        let mut writer = Self { number, next: 0, facts: None, work: None, places: BTreeMap::new() };
        for event in read_stream(journal, &writer.stream(Table::Facts)).await? {
            writer.take_fact(&event)?;
        }
        let state = journal.stream(&writer.stream(Table::Work)).await.map_err(|e| e.to_string())?;
        writer.work = state.and_then(|state| state.last);
        let mut work: BTreeMap<u64, Vec<Recorded>> = BTreeMap::new();
        for event in read_stream(journal, &writer.stream(Table::Work)).await? {
            work.entry(batch_of(&event)?).or_default().push(event);
        }
        for (batch, events) in &work {
            let found: Vec<&NewEvent> = events.iter().map(|event| &event.event).collect();
            let written = writer.events(Table::Work, *batch);
            if found != written.iter().collect::<Vec<_>>() {
                return Err(format!("writer {number}: the work of batch {batch} is there in part"));
            }
            let places = events.iter().map(|event| (event.position, event.version)).collect();
            writer.places.insert(*batch, places);
        }
        writer.check_work()?;
        writer.check_checkpoint(journal).await?;
        Ok(writer)
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The number of the batch that comes next.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The batch that comes next; the same however often it is asked for.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let append = |table, last: Option<Version>| Append {
            stream: self.stream(table),
            table,
            expected: last.map_or(Expected::NoStream, Expected::Exactly),
            events: self.events(table, self.next),
        };
        let appends = vec![append(Table::Facts, self.facts), append(Table::Work, self.work)];
        let done = self.next.checked_sub(WORK_STAYS).and_then(|batch| self.places.get(&batch));
        let stream = self.stream(Table::Work);
        let removals = done.map(|places| match (self.next % 3, &places[..]) {
            (0, [(first, _), .., (last, _)]) => {
                Removal::Range { stream, positions: *first..=*last }
            }
            (1, [(_, first), .., (_, last)]) => {
                Removal::Versions { stream, versions: *first..=*last }
            }
            _ => Removal::At(places.iter().map(|(position, _)| *position).collect()),
        });
        let checkpoint = self.next.is_multiple_of(CHECKPOINT_EVERY).then(|| Checkpoint {
            stream: self.stream(Table::Facts),
            version: self.facts,
            format: 1,
            data: Bytes::from(self.next.to_string()),
        });
        let removals = removals.into_iter().collect();
        Batch { appends, removals, checkpoint, ..Batch::default() }
    }

    /// Goes on to the next batch, once this one was confirmed.
    ///
    /// # Errors
    /// When the answer is none that this batch can have.
    pub fn confirmed(
        &mut self,
        streams: &[Option<(Version, Position)>],
    ) -> Result<Confirmed, String> {
        let [Some((facts, fact)), Some((work, last))] = *streams else {
            return Err(format!("writer {}: the answer is {streams:?}", self.number));
        };
        let count = self.events(Table::Work, self.next).len();
        let others = u64::try_from(count).map_err(|e| e.to_string())? - 1;
        let positions = (last.get() - others..=last.get()).map(Position::new);
        let versions = (work.get() - others..=work.get()).map(Version::new);
        let places = positions.zip(versions).collect();
        self.places.insert(self.next, places);
        self.places.retain(|batch, _| batch + WORK_STAYS > self.next);
        (self.facts, self.work) = (Some(facts), Some(work));
        let confirmed = Confirmed { writer: self.number, batch: self.next, fact, work: last };
        self.next += 1;
        Ok(confirmed)
    }

    fn stream(&self, table: Table) -> StreamName {
        match table {
            Table::Facts => StreamName::public(format!("facts-{}", self.number)),
            Table::Work => StreamName::internal(format!("work-{}", self.number)),
        }
    }

    fn events(&self, table: Table, batch: u64) -> Vec<NewEvent> {
        let which = if table == Table::Facts { "fact" } else { "work" };
        let seed =
            self.number.wrapping_mul(1_000_003) ^ batch ^ (u64::from(table == Table::Work) << 60);
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(1..4);
        let event = |index| {
            let head = format!("{batch} {index} {count} ");
            let mut data = head.into_bytes();
            data.resize(data.len() + random.usize(0..1500), b'.');
            NewEvent {
                id: Uuid::from_u64_pair(seed, index),
                kind: Arc::from(which),
                format: Format::Binary,
                data: data.into(),
                metadata: Bytes::new(),
            }
        };
        (0..).take(count).map(event).collect()
    }

    /// Takes the next fact of the stream: the one that this writer must have written there.
    fn take_fact(&mut self, event: &Recorded) -> Result<(), String> {
        let number = self.number;
        let expected = self.facts.map_or(Version::FIRST, Version::next);
        let wrong = |what: &str| format!("writer {number}: {what} at {event:?}");
        if event.version != expected {
            return Err(wrong(&format!("a gap before version {}", expected.get())));
        }
        let batch = batch_of(event)?;
        if batch != self.next {
            return Err(wrong(&format!("not batch {}", self.next)));
        }
        let index = event.event.data.split(|byte| *byte == b' ').nth(1).and_then(number_of);
        let events = self.events(Table::Facts, batch);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if index.and_then(|index| events.get(index)) != Some(&event.event) {
            return Err(wrong("another event"));
        }
        self.facts = Some(event.version);
        if index == Some(events.len() - 1) {
            self.next += 1;
        }
        Ok(())
    }

    /// The last batch is there whole, and the work is that of the last batches.
    fn check_work(&self) -> Result<(), String> {
        let there: Vec<u64> = self.places.keys().copied().collect();
        let due: Vec<u64> = (self.next.saturating_sub(WORK_STAYS)..self.next).collect();
        let number = self.number;
        if there != due {
            return Err(format!("writer {number}: facts say work of {due:?}, there is {there:?}"));
        }
        for (table, last) in [(Table::Facts, self.facts), (Table::Work, self.work)] {
            let written: usize = (0..self.next).map(|n| self.events(table, n).len()).sum();
            let due = u64::try_from(written).ok().and_then(|count| count.checked_sub(1));
            if last.map(Version::get) != due {
                return Err(format!("writer {number}: {table:?} are at {last:?}, not {due:?}"));
            }
        }
        Ok(())
    }

    async fn check_checkpoint(&self, journal: &dyn Journal) -> Result<(), String> {
        let found = journal.checkpoint(&self.stream(Table::Facts)).await;
        let found = found.map_err(|error| error.to_string())?;
        let found = found.and_then(|checkpoint| number_of(&checkpoint.data));
        let due = self.next.checked_sub(1).map(|last| last - last % CHECKPOINT_EVERY);
        if found != due {
            return Err(format!(
                "writer {}: the checkpoint is {found:?}, not {due:?}",
                self.number
            ));
        }
        Ok(())
    }
}

impl Ledger {
    /// Notes what was confirmed.
    pub fn note(&mut self, confirmed: Confirmed) {
        self.highest = self.highest.max(confirmed.work).max(confirmed.fact);
        self.confirmed.insert(confirmed.writer, confirmed);
    }

    /// How many batches were confirmed to all writers.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.confirmed.values().map(|confirmed| confirmed.batch + 1).sum()
    }

    /// Judges a journal after a crash: every confirmed batch is there and no batch in part,
    /// positions rise and show nothing else than before, and the next one is a new one.
    ///
    /// # Errors
    /// When it is not so.
    pub async fn check(&mut self, journal: &dyn Journal, writers: u64) -> Result<(), String> {
        for number in 0..writers {
            let writer = Writer::resume(journal, number).await?;
            let Some(confirmed) = self.confirmed.get(&number) else { continue };
            if writer.next <= confirmed.batch {
                return Err(format!("{confirmed:?} is lost, the next batch is {}", writer.next));
            }
        }
        let facts = read_all(journal, Table::Facts).await?;
        let work = read_all(journal, Table::Work).await?;
        check_order(facts.iter().chain(&work))?;
        let head = journal.head().borrow().position;
        if let Some(event) = facts.iter().chain(&work).find(|event| event.position > head) {
            return Err(format!("{event:?} is after the head {head:?}"));
        }
        if head < self.highest {
            return Err(format!("the head went back from {:?} to {head:?}", self.highest));
        }
        let now: BTreeMap<_, _> = facts
            .iter()
            .map(|event| (event.position, (event.stream.clone(), event.version)))
            .collect();
        for confirmed in self.confirmed.values() {
            let name = StreamName::public(format!("facts-{}", confirmed.writer));
            if now.get(&confirmed.fact).is_none_or(|(stream, _)| *stream != name) {
                return Err(format!("{confirmed:?} is at another position"));
            }
        }
        for (position, before) in &self.seen {
            if now.get(position) != Some(before) {
                let after = now.get(position);
                return Err(format!("{position:?} was {before:?} and is {after:?}"));
            }
        }
        self.seen = now;
        self.use_up_a_position(journal).await
    }

    /// Writes at the end and removes it again: its position must not come back.
    async fn use_up_a_position(&mut self, journal: &dyn Journal) -> Result<(), String> {
        let stream = StreamName::internal("top");
        let event = NewEvent {
            id: Uuid::new_v4(),
            kind: "top".into(),
            format: Format::Binary,
            data: Bytes::new(),
            metadata: Bytes::new(),
        };
        let append = Append {
            stream: stream.clone(),
            table: Table::Work,
            expected: Expected::Any,
            events: vec![event],
        };
        let batch = Batch { appends: vec![append], ..Batch::default() };
        let done = journal.append(batch).await.map_err(|error| error.to_string())?;
        let Some(Some((_, position))) = done.streams.first().copied() else {
            return Err(format!("no position: {done:?}"));
        };
        if position <= self.highest {
            return Err(format!("{position:?} was given again, after {:?}", self.highest));
        }
        self.highest = position;
        let removals = vec![Removal::At(vec![position])];
        let removed = journal.append(Batch { removals, ..Batch::default() }).await;
        removed.map_err(|error| error.to_string()).map(drop)
    }
}

/// Positions are in the order of time, and each is there once.
fn check_order<'a>(events: impl Iterator<Item = &'a Recorded>) -> Result<(), String> {
    let mut places = BTreeSet::new();
    for event in events {
        if !places.insert((event.position, event.time)) {
            return Err(format!("{:?} is there twice", event.position));
        }
    }
    let places: Vec<_> = places.into_iter().collect();
    match places.windows(2).find(|pair| pair[0].0 == pair[1].0 || pair[0].1 > pair[1].1) {
        Some(pair) => Err(format!("out of order: {pair:?}")),
        None => Ok(()),
    }
}

fn batch_of(event: &Recorded) -> Result<u64, String> {
    number_of(&event.event.data).ok_or_else(|| format!("no batch wrote {event:?}"))
}

/// The number that a text begins with.
fn number_of(text: impl AsRef<[u8]>) -> Option<u64> {
    let digits: Vec<u8> = text.as_ref().iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

async fn read_stream(journal: &dyn Journal, stream: &StreamName) -> Result<Vec<Recorded>, String> {
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let from = events.last().map(|event| event.version.next());
        let read = ReadStream {
            stream: stream.clone(),
            from,
            direction: Direction::Forwards,
            limit: PAGE,
            bytes: usize::MAX,
        };
        let page = journal.read_stream(read).await.map_err(|error| error.to_string())?;
        events.extend(page.events);
        if page.end {
            return Ok(events);
        }
    }
}

/// Everything in one table; the pages must follow each other without a step back.
///
/// # Errors
/// When the journal cannot be read, or not in order.
pub async fn read_all(journal: &dyn Journal, table: Table) -> Result<Vec<Recorded>, String> {
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let from = events.last().map_or(Position::START, |event| event.position).next();
        let read = ReadAll {
            table,
            space: None,
            from,
            direction: Direction::Forwards,
            limit: PAGE,
            bytes: usize::MAX,
        };
        let page = journal.read_all(read).await.map_err(|error| error.to_string())?;
        let mut last = Position::new(from.get() - 1);
        for event in &page.events {
            if event.position <= last {
                return Err(format!("{:?} comes after {last:?}", event.position));
            }
            last = event.position;
        }
        events.extend(page.events);
        if page.end {
            return Ok(events);
        }
    }
}
