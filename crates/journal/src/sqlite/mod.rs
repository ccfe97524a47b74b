//! The embedded engine: one SQLite database in the data folder, with a write-ahead log that is
//! synced at every commit.
//!
//! In reading order: [`schema`] (the file), [`writer`] (the one thread that writes, many batches to
//! a commit), [`write`] (one batch), [`heads`] (the ends of streams in memory), [`readers`] and
//! [`read`] (short reads), [`checkpointer`] (the write-ahead log is emptied beside the writer),
//! [`scavenge`] (what is past its time goes from the disk), [`recover`] (after a fault).
//!
//! What must hold: only the writer changes events; it answers after the commit; after a fault
//! nothing in memory is believed. Nobody else opens the file: to close any descriptor of it gives
//! up the locks that SQLite holds by the others.

mod fault;
mod heads;
mod queue;
mod read;
mod readers;
mod recover;
mod schema;
mod statements;
mod write;
mod writer;

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use futures_util::future::BoxFuture;
use posthouse_base::time::Timestamp;
use tokio::sync::watch;

use self::queue::Queue;
use self::read::Reader;
use self::readers::Read;
use self::writer::Order;
use crate::batch::{Batch, Checkpoint};
use crate::config::Config;
use crate::error::{Error, Outage};
use crate::event::{Position, StreamName};
use crate::journal::{Head, Health, Journal, Page, ReadAll, ReadStream, Receipt, StreamState};
use crate::limits;

/// The name of the database in the data folder.
pub const FILE: &str = "journal.db";

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
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads and the handle share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    config: Config,
    options: Options,
    writes: Queue<Order>,
    reads: Queue<Read>,
    head: watch::Sender<Head>,
    /// The system gives it up when the process ends, however it ends.
    _lock: File,
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
        let limits = &config.limits;
        let head = watch::Sender::new(Head { position: last, health: Health::Serving });
        let shared = Arc::new(Shared {
            writes: Queue::new(limits.queue, limits.queue_bytes.0),
            reads: Queue::new(limits.reads, 0),
            path,
            config: config.clone(),
            options,
            head,
            _lock: lock,
        });
        let journal = Self { shared, threads: Mutex::default() };
        journal.start(connection)?;
        Ok(journal)
    }

    fn start(&self, connection: rusqlite::Connection) -> Result<(), Error> {
        let shared = &self.shared;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name).spawn(work);
            thread.map(|thread| threads.push(thread)).map_err(|error| engine(&error))
        };
        for number in 0..shared.config.limits.readers {
            let connection = schema::open_reader(&shared.path, &shared.options)
                .map_err(|error| fault::unavailable(&error))?;
            let shared = Arc::clone(shared);
            let work = Box::new(move || readers::run(&shared, connection));
            spawn(format!("journal-read-{number}"), work)?;
        }
        let writer = Arc::clone(shared);
        spawn("journal-write".into(), Box::new(move || writer::run(&writer, connection)))
    }

    /// Writes what was handed in, and ends the journal's threads. Blocks until they ended.
    pub fn close(&self) {
        self.shared.writes.close();
        self.shared.reads.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
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
        self.head.send_if_modified(|head| {
            let moved = head.position != position;
            head.position = position;
            moved
        });
    }

    fn out(&self, outage: &Outage) {
        self.head.send_if_modified(|head| {
            let health = Health::Out(outage.clone());
            let changed = head.health != health;
            head.health = health;
            changed
        });
    }

    fn back(&self, position: Position) {
        self.head.send_replace(Head { position, health: Health::Serving });
    }
}

impl Journal for Sqlite {
    fn submit(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, Error>> {
        Box::pin(async move {
            let bytes = limits::check(&batch, &self.shared.config.limits)?;
            let (reply, receipt) = Receipt::new();
            self.shared.writes.push(Order { batch, reply }, bytes).await?;
            Ok(receipt)
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<Page, Error>> {
        self.read(move |reader, now| reader.stream(&read, now))
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<Page, Error>> {
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

    fn head(&self) -> watch::Receiver<Head> {
        self.shared.head.subscribe()
    }
}

impl Sqlite {
    fn read<T, F>(&self, read: F) -> BoxFuture<'_, Result<T, Error>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Reader, Timestamp) -> rusqlite::Result<Result<T, Error>> + Send + 'static,
    {
        let now = self.shared.options.clock.now();
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
