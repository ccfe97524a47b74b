//! Many short lines to a file or to standard output, written by a thread of its own. A caller never
//! waits: when the thread falls behind by more lines than the queue holds, lines are dropped and
//! counted.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::Error;

/// How many lines may wait to be written.
pub const QUEUE: usize = 8192;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Output,
    /// The end of this file, which is made when it is missing.
    File(PathBuf),
}

/// Counters of lines, which outlive any one writer.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    written: Counter,
    dropped: Counter,
}

impl Counters {
    /// Enters the counters in `registry`, their names beginning with `prefix`.
    pub fn register(&self, registry: &mut Registry, prefix: &str) {
        let registry = registry.sub_registry_with_prefix(prefix);
        registry.register("lines_written", "Lines written", self.written.clone());
        registry.register(
            "lines_dropped",
            "Lines dropped because they came faster than they could be written",
            self.dropped.clone(),
        );
    }

    /// How many lines have been written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// How many lines have been dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// Writes lines. Dropping it writes what is waiting and closes the file.
#[derive(Debug)]
pub struct LineWriter {
    /// Absent only while it is dropped.
    queue: Option<SyncSender<Box<[u8]>>>,
    thread: Option<JoinHandle<()>>,
    reopen: Arc<AtomicBool>,
    counters: Counters,
}

impl LineWriter {
    /// Opens the target and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(target: Target, counters: Counters) -> Result<Self, Error> {
        let (queue, lines) = sync_channel(QUEUE);
        let reopen = Arc::<AtomicBool>::default();
        let writer = Writer {
            out: target.open()?,
            target,
            reopen: Arc::clone(&reopen),
            counters: counters.clone(),
            failing: false,
        };
        let thread = thread::Builder::new()
            .name("lines".into())
            .spawn(move || writer.run(&lines))
            .map_err(Error::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), reopen, counters })
    }

    /// Hands in a line, without its line feed. Returns at once.
    pub fn write(&self, line: &[u8]) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(line.into()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.dropped.inc();
            }
        }
    }

    /// Opens the file again before the next line, after its old one was moved away.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ended = thread.join();
        }
    }
}

impl Target {
    fn open(&self) -> Result<Box<dyn Write + Send>, Error> {
        match self {
            Self::Output => Ok(Box::new(BufWriter::new(io::stdout()))),
            Self::File(path) => Ok(Box::new(BufWriter::new(append_to(path)?))),
        }
    }
}

fn append_to(path: &Path) -> Result<File, Error> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// The thread's side.
struct Writer {
    out: Box<dyn Write + Send>,
    target: Target,
    reopen: Arc<AtomicBool>,
    counters: Counters,
    /// Whether the last line could not be written: the trouble is logged once, not for each line.
    failing: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Box<[u8]>>) {
        while let Ok(first) = lines.recv() {
            if self.reopen.swap(false, Ordering::Relaxed) {
                self.open_again();
            }
            self.put(&first);
            // What has come meanwhile goes out with the same write.
            while let Ok(line) = lines.try_recv() {
                self.put(&line);
            }
            let flushed = self.out.flush();
            self.note(flushed);
        }
    }

    fn put(&mut self, line: &[u8]) {
        let done = self.out.write_all(line).and_then(|()| self.out.write_all(b"\n"));
        match &done {
            Ok(()) => self.counters.written.inc(),
            Err(_) => self.counters.dropped.inc(),
        };
        self.note(done);
    }

    fn note(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(target = ?self.target, "lines cannot be written: {error}");
            }
            Err(_) => {}
        }
    }

    fn open_again(&mut self) {
        match self.target.open() {
            Ok(out) => self.out = out,
            Err(error) => tracing::error!("going on with the old file: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_in_order_and_a_moved_file_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, old) = (folder.path().join("lines"), folder.path().join("lines.1"));
        let counters = Counters::default();
        let target = Target::File(path.clone());
        let writer = LineWriter::open(target.clone(), counters.clone()).expect("a writer");
        writer.write(b"one");
        writer.write(b"two");
        drop(writer);
        assert_eq!(std::fs::read_to_string(&path).expect("lines"), "one\ntwo\n");

        let writer = LineWriter::open(target, counters.clone()).expect("a writer");
        std::fs::rename(&path, &old).expect("a moved file");
        writer.reopen();
        writer.write(b"three");
        drop(writer);
        assert_eq!(std::fs::read_to_string(&path).expect("lines"), "three\n");
        assert_eq!(std::fs::read_to_string(&old).expect("lines"), "one\ntwo\n");
        assert_eq!((counters.written(), counters.dropped()), (3, 0));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_said_at_once() {
        let target = Target::File("/no/such/folder/lines".into());
        let error = LineWriter::open(target, Counters::default()).expect_err("no such folder");
        assert!(error.to_string().starts_with("/no/such/folder/lines cannot be opened"));
    }
}
