//! The embedded engine: one SQLite database in the data folder, with a write-ahead log that is
//! synced at every commit.
//!
//! In reading order: [`schema`] (the file), [`writer`] (the one thread that writes, many batches to
//! a commit), [`write`] (one batch), [`heads`] (the ends of streams in memory), [`readers`] and
//! [`read`] (short reads), [`checkpointer`] (the write-ahead log is emptied beside the writer),
//! [`scavenge`] (what is past its time goes from the disk), [`recover`] (after a fault), [`backup`]
//! and [`copy`] (kept elsewhere, and restored).
//!
//! What must hold: only the writer changes events; it answers after the commit; after a fault
//! nothing in memory is believed. Nobody else opens the file: to close any descriptor of it gives
//! up the locks that SQLite holds by the others.

pub mod backup;
mod checkpointer;
pub mod copy;
mod fault;
mod heads;
mod queue;
mod read;
mod readers;
mod recover;
mod scavenge;
mod schema;
mod stage;
mod statements;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use posthouse_base::time::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use self::backup::tap::Taps;
use self::checkpointer::Gate;
use self::copy::Keeper;
use self::queue::Queue;
use self::read::Reader;
use self::readers::Read;
use self::scavenge::Bell;
use self::stage::{PART, Stage, Staged};
use self::writer::{Order, Waiting};
use crate::batch::{Batch, Checkpoint};
use crate::config::Config;
use crate::error::{Error, Outage};
use crate::event::{Position, StreamName};
use crate::journal::{
    Direction, Head, Health, Journal, Page, ReadAll, ReadStream, Receipt, Room, StreamState,
    Subject,
};
use crate::limits;
use crate::metrics::{Census, Metrics, Source};
use crate::recent::Recent;

/// The name of the database in the data folder.
pub const FILE: &str = "journal.db";

/// How long the writer looks for the next batch before it sleeps.
const PATIENCE: Duration = Duration::from_micros(30);

/// What only tests and benchmarks set.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the SQLite VFS to go through, as it was registered; `None` for the system's.
    pub vfs: Option<String>,
    /// What `now` is.
    pub clock: Clock,
    /// Whether commits wait for the disk.
    pub synchronous: Synchronous,
}

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that shows what `now` returns.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Whether commits wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// They do. Whatever is confirmed survives a loss of power.
    #[default]
    Full,
    /// They do not. Exists so that a test of durability can be seen to fail.
    Off,
}

impl Synchronous {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Off => "OFF",
        }
    }
}

/// The embedded journal. Dropping it, or [`Sqlite::close`], writes what was handed in and ends its
/// threads.
#[derive(Debug)]
pub struct Sqlite {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
    keeper: Mutex<Option<Keeper>>,
}

/// The threads: those that work for themselves, which end first, and those that serve.
#[derive(Debug, Default)]
struct Threads {
    own: Vec<JoinHandle<()>>,
    serving: Vec<JoinHandle<()>>,
}

/// What the threads and the handle share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    config: Config,
    options: Options,
    writes: Queue<Order>,
    reads: Queue<Read>,
    /// Dropped when the journal is closed, by which those who wait for the head learn of it.
    publisher: Mutex<Option<watch::Sender<Head>>>,
    head: watch::Receiver<Head>,
    recent: Recent,
    gate: Gate,
    scavenger: Bell,
    stage: Stage,
    /// Pages of the file that hold nothing, when the scavenger looked last.
    free_pages: AtomicU64,
    metrics: Metrics,
    taps: Arc<Taps>,
    /// The database, for those who read it page by page. Closed after all connections, since that
    /// gives up their locks.
    file: RwLock<Option<Arc<File>>>,
    /// Given up when the journal is closed, and by the system when the process ends, however it does.
    lock: Mutex<Option<File>>,
}

impl Sqlite {
    /// Opens the journal in `folder`, which is made when it is missing. Blocks while it is read.
    ///
    /// # Errors
    /// [`Error::NewerSchema`], [`Error::Corrupt`], and [`Error::Unavailable`] when the disk does
    /// not let it be opened or another has it open.
    pub fn open(folder: &Path, config: &Config, options: Options) -> Result<Self, Error> {
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        let connection = schema::open_writer(&path, &options)?;
        let told = |error| fault::unavailable(&error);
        recover::empty_wal(&connection).map_err(told)?;
        let last = writer::load(&connection, 0).map_err(told)?.counter.position;
        let generation = writer::last_generation(&connection).map_err(told)?;
        let limits = &config.limits;
        let file = File::open(&path).map_err(|error| engine(&error))?;
        let (publisher, head) = watch::channel(Head { position: last, health: Health::Serving });
        let shared = Arc::new(Shared {
            writes: Queue::new(limits.queue, limits.queue_bytes.0).patient(PATIENCE),
            reads: Queue::new(limits.reads, 0),
            publisher: Mutex::new(Some(publisher)),
            head,
            recent: Recent::new(limits.recent.0, last),
            gate: Gate::default(),
            scavenger: Bell::default(),
            stage: Stage::new(generation),
            free_pages: AtomicU64::new(0),
            metrics: Metrics::default(),
            taps: Arc::new(Taps::new(&path, &options)),
            file: RwLock::new(Some(Arc::new(file))),
            path,
            config: config.clone(),
            options,
            lock: Mutex::new(Some(lock)),
        });
        let journal = Self { shared, threads: Mutex::default(), keeper: Mutex::default() };
        journal.start(connection)?;
        journal.start_copy()?;
        Ok(journal)
    }

    fn start(&self, connection: rusqlite::Connection) -> Result<(), Error> {
        let shared = &self.shared;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 0..shared.config.limits.readers {
            let connection = schema::open_reader(&shared.path, &shared.options)
                .map_err(|error| fault::unavailable(&error))?;
            let work = move |shared: &Arc<Shared>| readers::run(shared, connection);
            threads.serving.push(spawn(shared, format!("journal-read-{number}"), work)?);
        }
        let work = move |shared: &Arc<Shared>| writer::run(shared, connection);
        threads.serving.push(spawn(shared, "journal-write".into(), work)?);
        threads.own.push(spawn(shared, "journal-log".into(), checkpointer::run)?);
        threads.own.push(spawn(shared, "journal-scavenge".into(), scavenge::run)?);
        Ok(())
    }

    fn start_copy(&self) -> Result<(), Error> {
        let Some(config) = self.shared.config.copy.clone() else { return Ok(()) };
        let keeper = Keeper::start(config, &self.shared).map_err(|error| engine(&error))?;
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
        Ok(())
    }

    /// Enters what the journal reports in `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(&self.shared, registry);
    }

    /// Writes what was handed in, and ends the journal's threads. Blocks until they ended.
    pub fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.gate.close();
        self.shared.scavenger.close();
        threads.own.drain(..).for_each(join);
        self.shared.writes.close();
        self.shared.reads.close();
        threads.serving.drain(..).for_each(join);
        // After the writer, so that nothing is missing in the copy.
        drop(self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.taps.close();
        drop(self.shared.file.write().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.shared.publisher().take());
        drop(self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn spawn<F>(shared: &Arc<Shared>, name: String, work: F) -> Result<JoinHandle<()>, Error>
where
    F: FnOnce(&Arc<Shared>) + Send + 'static,
{
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name(name).spawn(move || {
        let _watch = Watch(&shared);
        work(&shared);
    });
    thread.map_err(|error| engine(&error))
}

/// Gives the journal up when its thread panics: whoever waits for it is told that it is closed.
struct Watch<'s>(&'s Shared);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let name = thread::current().name().unwrap_or_default().to_owned();
            tracing::error!("the journal is closed, because its thread {name} panicked");
            self.0.give_up();
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the journal panicked");
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Everything up to `position` is durable.
    fn publish(&self, position: Position) {
        self.tell(|head| head.position = position);
    }

    fn out(&self, outage: &Outage) {
        self.tell(|head| head.health = Health::Out(outage.clone()));
    }

    fn back(&self, position: Position) {
        self.recent.reset(position);
        self.tell(|head| *head = Head { position, health: Health::Serving });
    }

    fn tell(&self, change: impl FnOnce(&mut Head)) {
        let publisher = self.publisher();
        let Some(publisher) = publisher.as_ref() else { return };
        publisher.send_if_modified(|head| {
            let before = head.clone();
            change(head);
            *head != before
        });
    }

    fn publisher(&self) -> MutexGuard<'_, Option<watch::Sender<Head>>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers everybody who waits that the journal is closed.
    fn give_up(&self) {
        self.gate.close();
        self.scavenger.close();
        self.writes.close();
        self.reads.close();
        drop(self.publisher().take());
        let now = Some(Instant::now());
        self.writes.take(&mut Vec::new(), usize::MAX, u64::MAX, now);
        self.reads.take(&mut Vec::new(), usize::MAX, u64::MAX, now);
    }

    fn is_out(&self) -> bool {
        self.head.borrow().health != Health::Serving
    }
}

impl Census for Shared {
    fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
        let number = |number| u64::try_from(number).unwrap_or(u64::MAX);
        // Asked by name: nothing of the file is opened.
        let file = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let free = self.free_pages.load(Ordering::Relaxed) * checkpointer::PAGE;
        let head = self.head.borrow().clone();
        vec![
            ("position", "The last position that is durable", head.position.get()),
            ("serving", "1 while writes are taken", u64::from(head.health == Health::Serving)),
            ("queue", "Batches that wait to be written", number(self.writes.len())),
            ("reads_waiting", "Reads that wait for a thread", number(self.reads.len())),
            ("recent_bytes", "Latest events kept in memory, in bytes", number(self.recent.bytes())),
            ("file_bytes", "The size of the database", file),
            ("free_bytes", "What of the database is empty, as last seen", free),
            ("log_bytes", "The size of the write-ahead log", self.gate.bytes()),
        ]
    }
}

impl Journal for Sqlite {
    fn submit(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, Error>> {
        Box::pin(async move {
            let mut batch = batch;
            let checked = limits::check(&batch, &self.shared.config.limits);
            let all = checked.inspect_err(|error| self.shared.metrics.refused(error))?;
            let (reply, receipt) = Receipt::new();
            let since = Instant::now();
            let large = batch.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.data.len());
            let staged = self.stage(&mut batch).await?;
            let bytes = if staged.is_some() { all.saturating_sub(large) } else { all };
            let order = Order::Batch(Waiting { batch, reply, since, staged });
            self.shared.writes.push(order, bytes).await?;
            Ok(receipt)
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<Page, Error>> {
        self.read(move |reader, now| reader.stream(&read, now))
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<Page, Error>> {
        let subject = Subject::All { table: read.table, space: read.space };
        let before = Position::new(read.from.get().saturating_sub(1));
        if read.direction == Direction::Forwards
            && let Some(page) = self.recent(&subject, before, read.limit, read.bytes)
        {
            return Box::pin(std::future::ready(Ok(page)));
        }
        self.read(move |reader, now| reader.all(&read, now).map(Ok))
    }

    fn stream(&self, name: &StreamName) -> BoxFuture<'_, Result<Option<StreamState>, Error>> {
        let name = name.clone();
        self.read(move |reader, now| reader.state(&name, now).map(Ok))
    }

    fn checkpoint(&self, stream: &StreamName) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        let stream = stream.clone();
        self.read(move |reader, _| reader.checkpoint(&stream).map(Ok))
    }

    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, Error>> {
        let (path, log) = (self.shared.path.clone(), self.shared.config.limits.wal.0);
        self.read(move |reader, _| {
            let spare_bytes = reader.spare_pages()? * checkpointer::PAGE;
            let promised = checkpointer::promised(&path, reader.pages()?, log);
            // What cannot be asked is not known to be short.
            let disk = rustix::fs::statvfs(path.parent().unwrap_or(&path)).ok();
            let free = disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            let disk_bytes = free.map(|free| free.saturating_sub(promised));
            Ok(Ok(disk_bytes.map(|disk_bytes| Room { disk_bytes, spare_bytes })))
        })
    }

    fn head(&self) -> watch::Receiver<Head> {
        let mut head = self.shared.head.clone();
        head.mark_unchanged();
        head
    }

    fn recent(
        &self,
        subject: &Subject,
        after: Position,
        limit: usize,
        bytes: usize,
    ) -> Option<Page> {
        let now = self.shared.options.clock.now();
        let page = self.shared.recent.after(subject, after, (limit, bytes), now)?;
        self.shared.metrics.read(Source::Memory);
        Some(page)
    }
}

impl Sqlite {
    /// Hands in the data of a large checkpoint before its batch.
    async fn stage(&self, batch: &mut Batch) -> Result<Option<Staged>, Error> {
        let large = |checkpoint: &&mut Checkpoint| checkpoint.data.len() > PART;
        let Some(checkpoint) = batch.checkpoint.as_mut().filter(large) else { return Ok(None) };
        let ticket = self.shared.stage.begin();
        let mut parts = 0;
        for part in ticket.parts(std::mem::take(&mut checkpoint.data)) {
            let bytes = part.data.len();
            self.shared.writes.push(Order::Part(part), bytes).await?;
            parts += 1;
        }
        Ok(Some(Staged { ticket, parts }))
    }

    fn read<T, F>(&self, read: F) -> BoxFuture<'_, Result<T, Error>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Reader, Timestamp) -> rusqlite::Result<Result<T, Error>> + Send + 'static,
    {
        let now = self.shared.options.clock.now();
        self.shared.metrics.read(Source::Engine);
        Box::pin(readers::ask(&self.shared, move |reader| read(reader, now)))
    }
}

/// Two journals on one file would each believe that only they write.
fn lock(folder: &Path) -> Result<File, Error> {
    std::fs::create_dir_all(folder).map_err(|error| engine(&error))?;
    let path = folder.join("journal.lock");
    let file = File::options().create(true).append(true).open(path);
    let file = file.map_err(|error| engine(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let detail = format!("the journal in {} is open already", folder.display());
            Err(Error::Unavailable(Outage::Engine(detail)))
        }
        Err(TryLockError::Error(error)) => Err(engine(&error)),
    }
}

fn engine(error: &std::io::Error) -> Error {
    Error::Unavailable(Outage::Disk(error.to_string()))
}
