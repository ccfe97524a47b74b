//! Pages are gathered from the write-ahead log before it may forget them.
//!
//! A log begins anew once all of it is in the database. So whoever moves it there (the checkpointer)
//! calls [`Taps::before_checkpoint`] first: every tap takes what it does not have yet, and a read
//! transaction that began before that keeps the checkpoint from going any further. While the log is
//! moved no tap is opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::wal::{self, Cursor, Generation};
use crate::sqlite::{Options, schema};

/// How long moving the log waits for taps that are full to be emptied.
const WAIT: Duration = Duration::from_millis(500);

/// All taps on one database.
#[derive(Debug)]
pub(crate) struct Taps {
    database: PathBuf,
    wal: PathBuf,
    options: Options,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taps: Vec<Weak<Tap>>,
    /// For the read transaction; opened when it is first needed.
    connection: Option<Connection>,
}

/// Holds a checkpoint to what was taken, and taps off. Dropped when the checkpoint is done.
#[derive(Debug)]
pub(crate) struct Hold<'t>(MutexGuard<'t, Inner>);

/// One that gathers.
#[derive(Debug)]
pub(crate) struct Tap {
    /// At more bytes than this it is given up.
    limit: usize,
    state: Mutex<State>,
    emptied: std::sync::Condvar,
}

#[derive(Debug, Default)]
struct State {
    cursor: Option<Cursor>,
    taken: Taken,
    bytes: usize,
    /// Why something is missing, if something is.
    gap: Option<&'static str>,
}

/// Pages that were changed, as of one moment.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) pages: BTreeMap<u32, Vec<u8>>,
    /// The database's size in pages; `None` when nothing was committed.
    pub(crate) size: Option<u32>,
}

impl Taps {
    pub(crate) fn new(database: &Path, options: &Options) -> Self {
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        Self {
            database: database.to_owned(),
            wal: wal.into(),
            options: options.clone(),
            inner: Mutex::default(),
        }
    }

    /// Opens a tap: it has everything from the front of the log on.
    pub(crate) fn open(&self, limit: usize) -> Arc<Tap> {
        let mut inner = self.lock();
        let tap =
            Arc::new(Tap { limit, state: Mutex::default(), emptied: std::sync::Condvar::new() });
        inner.taps.retain(|tap| tap.strong_count() > 0);
        inner.taps.push(Arc::downgrade(&tap));
        tap
    }

    /// Waits for a while until every tap has room for more.
    pub(crate) fn wait_for_room(&self) {
        let until = Instant::now() + WAIT;
        let taps: Vec<Arc<Tap>> = self.lock().taps.iter().filter_map(Weak::upgrade).collect();
        taps.iter().for_each(|tap| tap.wait_for_room(until));
    }

    /// Has every tap take what it does not have, and keeps the checkpoint from going further while
    /// the writer goes on.
    pub(crate) fn before_checkpoint(&self) -> Hold<'_> {
        let mut inner = self.begin();
        if inner.taps.is_empty() {
            inner.connection = None;
            return Hold(inner);
        }
        match inner.pin(&self.database, &self.options) {
            Ok(()) => inner.gather(&self.wal),
            Err(error) => {
                tracing::warn!("the journal's copies and backups must begin again: {error}");
                inner.connection = None;
                inner.give_up("the journal could not be read");
            }
        }
        Hold(inner)
    }

    /// Has every tap take what it does not have, while nobody writes.
    pub(crate) fn before_emptying(&self) -> Hold<'_> {
        let inner = self.begin();
        inner.gather(&self.wal);
        Hold(inner)
    }

    /// The log is emptied after a fault: nobody knows what was in it.
    pub(crate) fn before_recovery(&self) -> Hold<'_> {
        let mut inner = self.begin();
        inner.connection = None;
        inner.give_up("the journal had to be opened again after a fault");
        Hold(inner)
    }

    /// Has one tap take what it does not have.
    pub(crate) fn gather(&self, tap: &Tap) {
        // With this held no checkpoint begins, so that the log may begin anew but nothing is lost.
        let _inner = self.lock();
        tap.take_from(&self.wal);
    }

    /// The journal is closing. What still gathers ends.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.connection = None;
        inner.give_up("the journal is closed");
    }

    /// From here on no tap is opened until this is dropped: one that were would not know what a
    /// checkpoint that had begun before has already moved.
    fn begin(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        inner.taps.retain(|tap| tap.strong_count() > 0);
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Begins a read transaction.
    fn pin(&mut self, database: &Path, options: &Options) -> rusqlite::Result<()> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => schema::open_reader(database, options)?,
        };
        connection.execute_batch("BEGIN")?;
        connection.query_row("SELECT position FROM journal", [], |_| Ok(()))?;
        self.connection = Some(connection);
        Ok(())
    }

    fn gather(&self, wal: &Path) {
        self.taps.iter().filter_map(Weak::upgrade).for_each(|tap| tap.take_from(wal));
    }

    fn give_up(&self, why: &'static str) {
        for tap in self.taps.iter().filter_map(Weak::upgrade) {
            tap.lock().give_up(why);
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let open = self.0.connection.as_ref().filter(|connection| !connection.is_autocommit());
        if let Some(Err(_)) = open.map(|open| open.execute_batch("ROLLBACK")) {
            // The next one gets another connection.
            self.0.connection = None;
        }
    }
}

impl Tap {
    /// Takes out what was gathered.
    ///
    /// # Errors
    /// When something is missing: whatever is made of it must begin again.
    pub(crate) fn empty(&self) -> Result<Taken, &'static str> {
        let mut state = self.lock();
        if let Some(why) = state.gap {
            return Err(why);
        }
        state.bytes = 0;
        let taken = std::mem::take(&mut state.taken);
        drop(state);
        self.emptied.notify_all();
        Ok(taken)
    }

    /// How many bytes are gathered.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Waits for a while when there is much already.
    fn wait_for_room(&self, until: Instant) {
        let mut state = self.lock();
        while state.bytes > self.limit / 2 && state.gap.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn take_from(&self, wal: &Path) {
        let mut state = self.lock();
        if state.gap.is_some() {
            return;
        }
        if let Err(error) = state.take_from(wal) {
            tracing::warn!("{} cannot be read: {error}", wal.display());
            state.give_up("the write-ahead log could not be read");
        }
        if state.bytes > self.limit {
            state.give_up("the journal changes faster than it can be copied");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give_up(&mut self, why: &'static str) {
        *self = Self { gap: Some(why), ..Self::default() };
    }

    fn take_from(&mut self, path: &Path) -> io::Result<()> {
        let Some(wal) = wal::open(path)? else { return Ok(()) };
        // The log may begin anew while it is read. Then nothing was missed, since its end was taken
        // before the checkpoint; but what was read may be of both generations.
        loop {
            let Some(generation) = wal::generation(&wal)? else { return Ok(()) };
            let Some(from) = self.start(&generation, &wal)? else {
                self.give_up("the write-ahead log is not the one that it was");
                return Ok(());
            };
            let changes = from.changes(&wal)?;
            let mut pages = Vec::with_capacity(changes.pages.len());
            for (number, frame) in &changes.pages {
                pages.push((*number, from.page(&wal, *frame)?));
            }
            if wal::generation(&wal)? != Some(generation) {
                continue;
            }
            for (number, page) in pages {
                self.bytes += page.len();
                let before = self.taken.pages.insert(number, page);
                self.bytes -= before.map_or(0, |page| page.len());
            }
            self.taken.size = changes.size.or(self.taken.size);
            self.cursor = Some(changes.end);
            return Ok(());
        }
    }

    /// Where to go on; `None` when what lies between cannot be had any more.
    fn start(&self, generation: &Generation, wal: &File) -> io::Result<Option<Cursor>> {
        let Some(cursor) = self.cursor else { return Ok(Some(generation.front())) };
        if cursor.generation.is(generation) {
            return Ok(cursor.is_there(wal)?.then_some(cursor));
        }
        Ok(generation.follows(&cursor.generation).then(|| generation.front()))
    }
}
