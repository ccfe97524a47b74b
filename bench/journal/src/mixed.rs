//! Appends, reads and removals at the same time, for minutes: does the file stay within bounds, and
//! how long do they take?
//!
//! Facts go to streams that keep their latest events only; work is removed by the position, as it is
//! read, with some of it left for later; readers page through streams, and a few follow.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use posthouse_base::task::Tasks;
use posthouse_journal::follow::{Follower, Item, Start, Target, Window};
use posthouse_journal::sqlite::{FILE, Sqlite};
use posthouse_journal::{
    Batch, Direction, Journal as _, ReadStream, Removal, Space, StreamMetadata, StreamName, Table,
    Version,
};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::load;

/// Writers of facts, each to streams of its own in turn.
const WRITERS: u64 = 12;
const STREAMS: u64 = 50;
/// Events that a stream of facts keeps.
const KEPT: u64 = 1_000;
/// Queues: one task appends to each, one takes from it.
const QUEUES: u64 = 4;
const READERS: u64 = 2;
const FOLLOWERS: u64 = 4;
/// Events in a batch.
const BATCH: usize = 8;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) minutes: u64,
    pub(crate) rate: u64,
    pub(crate) size: usize,
    pub(crate) log_mib: Option<u64>,
}

/// One minute.
#[derive(Debug, Serialize)]
pub(crate) struct Minute {
    minute: u64,
    appended: u64,
    removed: u64,
    read: u64,
    followed: u64,
    file_mib: u64,
    log_mib: u64,
    append_p50_us: u64,
    append_p99_us: u64,
    append_max_us: u64,
    read_p99_us: u64,
}

/// What the tasks count.
#[derive(Debug)]
struct Counts {
    appended: AtomicU64,
    removed: AtomicU64,
    read: AtomicU64,
    followed: AtomicU64,
    appends: Mutex<Histogram<u64>>,
    reads: Mutex<Histogram<u64>>,
    /// The pause of each writer between its batches.
    pause: Duration,
    size: usize,
}

type Shared = (Arc<Sqlite>, Arc<Counts>);

pub(crate) async fn run(
    plan: &Plan,
    folder: &Path,
    mut show: impl FnMut(&Minute) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let journal = load::open(folder, plan.log_mib)?;
    let writers = u32::try_from(WRITERS + QUEUES)?;
    let pause = match plan.rate {
        0 => Duration::ZERO,
        rate => Duration::from_secs(1) * writers / u32::try_from(rate)?,
    };
    let counts = Arc::new(Counts {
        appended: AtomicU64::new(0),
        removed: AtomicU64::new(0),
        read: AtomicU64::new(0),
        followed: AtomicU64::new(0),
        appends: Mutex::new(Histogram::new(3)?),
        reads: Mutex::new(Histogram::new(3)?),
        pause,
        size: plan.size,
    });
    let tasks = Tasks::new();
    let (failed, mut failure) = mpsc::channel(1);
    let shared = || (Arc::clone(&journal), Arc::clone(&counts));
    for number in 0..WRITERS {
        start(&tasks, &failed, "writer", write(shared(), number));
    }
    for number in 0..QUEUES {
        start(&tasks, &failed, "publisher", publish(shared(), number));
        start(&tasks, &failed, "consumer", consume(shared(), number));
    }
    for number in 0..READERS {
        start(&tasks, &failed, "reader", read(shared(), number));
    }
    for _ in 0..FOLLOWERS {
        start(&tasks, &failed, "follower", follow(shared()));
    }
    for minute in 1..=plan.minutes {
        tokio::select! {
            Some(error) = failure.recv() => return Err(error),
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        show(&counts.minute(minute, folder)?)?;
    }
    tasks.finish(Duration::from_secs(10)).await;
    journal.close();
    Ok(())
}

/// Starts a task; the first one that fails ends the measurement.
fn start<F>(tasks: &Tasks, failed: &mpsc::Sender<anyhow::Error>, name: &'static str, work: F)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let failed = failed.clone();
    tasks.spawn(name, async move {
        if let Err(error) = work.await {
            let _another_failed_before = failed.try_send(error.context(name));
        }
    });
}

async fn write((journal, counts): Shared, writer: u64) -> anyhow::Result<()> {
    let mut maker = load::Maker::new(counts.size, writer);
    let names: Vec<_> =
        (0..STREAMS).map(|stream| StreamName::public(format!("order-{writer}-{stream}"))).collect();
    for name in &names {
        let limits = StreamMetadata { max_count: Some(KEPT), ..StreamMetadata::default() };
        let metadata = vec![(name.clone(), limits)];
        journal.append(Batch { metadata, ..Batch::default() }).await?;
    }
    for name in names.iter().cycle() {
        counts.append(&journal, maker.batch(name, Table::Facts, BATCH)).await?;
        tokio::time::sleep(counts.pause).await;
    }
    Ok(())
}

async fn publish((journal, counts): Shared, queue: u64) -> anyhow::Result<()> {
    let mut maker = load::Maker::new(counts.size, 1_000 + queue);
    let name = StreamName::internal(format!("queue/{queue}"));
    loop {
        counts.append(&journal, maker.batch(&name, Table::Work, BATCH)).await?;
        tokio::time::sleep(counts.pause).await;
    }
}

/// Takes work as it comes. Nine of ten batches are removed at once, the others in ranges later.
async fn consume((journal, counts): Shared, queue: u64) -> anyhow::Result<()> {
    let stream = StreamName::internal(format!("queue/{queue}"));
    let from = Start::Beginning;
    let target = Target::Stream { stream: stream.clone(), from };
    let mut follower = Follower::new(journal.clone(), target, Window::default());
    let (mut taken, mut first, mut rounds) = (Vec::new(), None, 0_u64);
    loop {
        let Item::Event(event) = follower.next().await? else { continue };
        first = first.or(Some(event.position));
        taken.push(event.position);
        if taken.len() < 32 {
            continue;
        }
        rounds += 1;
        let last = event.position;
        counts.removed.fetch_add(u64::try_from(taken.len())?, Ordering::Relaxed);
        let removal = match rounds % 10 {
            9 => {
                taken.clear();
                continue;
            }
            0 => {
                let positions = first.take().unwrap_or(last)..=last;
                Removal::Range { stream: stream.clone(), positions }
            }
            _ => Removal::At(std::mem::take(&mut taken)),
        };
        taken.clear();
        journal.append(Batch { removals: vec![removal], ..Batch::default() }).await?;
    }
}

/// Reads pages of the writers' streams, anywhere in what they keep.
async fn read((journal, counts): Shared, reader: u64) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::with_seed(reader);
    loop {
        let stream = (random.u64(0..WRITERS), random.u64(0..STREAMS));
        let stream = StreamName::public(format!("order-{}-{}", stream.0, stream.1));
        let asked = Instant::now();
        let last = journal.stream(&stream).await?.and_then(|state| state.last);
        let last = last.map_or(0, Version::get);
        let from = Some(Version::new(last.saturating_sub(random.u64(0..KEPT))));
        let (direction, bytes) = (Direction::Forwards, 1 << 20);
        let page =
            journal.read_stream(ReadStream { stream, from, direction, limit: 50, bytes }).await?;
        counts.read.fetch_add(u64::try_from(page.events.len())?, Ordering::Relaxed);
        let delay = u64::try_from(asked.elapsed().as_micros())?;
        counts.reads.lock().unwrap_or_else(PoisonError::into_inner).record(delay)?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn follow((journal, counts): Shared) -> anyhow::Result<()> {
    let (table, space) = (Table::Facts, Some(Space::Public));
    let target = Target::All { table, space, from: Start::End };
    let mut follower = Follower::new(journal, target, Window::default());
    loop {
        if let Item::Event(_) = follower.next().await? {
            counts.followed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Counts {
    async fn append(&self, journal: &Sqlite, batch: Batch) -> anyhow::Result<()> {
        let events = u64::try_from(batch.appends[0].events.len())?;
        let asked = Instant::now();
        journal.append(batch).await?;
        let delay = u64::try_from(asked.elapsed().as_micros())?;
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).record(delay)?;
        self.appended.fetch_add(events, Ordering::Relaxed);
        Ok(())
    }

    /// What was counted since the last call.
    fn minute(&self, minute: u64, folder: &Path) -> anyhow::Result<Minute> {
        let taken = |histogram: &Mutex<Histogram<u64>>| {
            let mut histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = histogram.clone();
            histogram.reset();
            taken
        };
        let (appends, reads) = (taken(&self.appends), taken(&self.reads));
        let mib =
            |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len() >> 20);
        Ok(Minute {
            minute,
            appended: self.appended.swap(0, Ordering::Relaxed),
            removed: self.removed.swap(0, Ordering::Relaxed),
            read: self.read.swap(0, Ordering::Relaxed),
            followed: self.followed.swap(0, Ordering::Relaxed),
            file_mib: mib(FILE),
            log_mib: mib(&format!("{FILE}-wal")),
            append_p50_us: appends.value_at_quantile(0.5),
            append_p99_us: appends.value_at_quantile(0.99),
            append_max_us: appends.max(),
            read_p99_us: reads.value_at_quantile(0.99),
        })
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "minute {:>3}: {:>8} appended, {:>8} removed, {:>8} read, {:>9} followed; file {:>5} \
             MiB, log {:>4} MiB; append p50 {} us, p99 {} us, max {} us; read p99 {} us",
            self.minute,
            self.appended,
            self.removed,
            self.read,
            self.followed,
            self.file_mib,
            self.log_mib,
            self.append_p50_us,
            self.append_p99_us,
            self.append_max_us,
            self.read_p99_us
        )
    }
}
