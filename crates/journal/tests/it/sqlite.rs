//! The embedded engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use posthouse_base::time::Timestamp;
use posthouse_journal::conformance::Engine;
use posthouse_journal::sqlite::{Clock, Options, Sqlite};
use posthouse_journal::{Config, Journal, conformance_tests};
use tempfile::TempDir;

/// A journal in a temporary folder, with a clock that is moved by hand.
struct Embedded {
    folder: TempDir,
    journal: Option<Arc<Sqlite>>,
    now: Arc<AtomicU64>,
}

impl Embedded {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Arc::new(AtomicU64::new(1_700_000_000_000));
        let mut engine = Self { folder, journal: None, now };
        engine.open();
        engine
    }

    fn options(&self) -> Options {
        let now = Arc::clone(&self.now);
        let clock = Clock::new(move || Timestamp::from_millis(now.load(Ordering::Relaxed)));
        Options { clock, ..Options::default() }
    }

    fn open(&mut self) {
        let journal = Sqlite::open(self.folder.path(), &Config::default(), self.options());
        self.journal = Some(Arc::new(journal.expect("it opens")));
    }
}

impl Engine for Embedded {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::clone(self.journal.as_ref().expect("it is open")) as Arc<dyn Journal>
    }

    fn restart(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(journal) = self.journal.take() {
                journal.close();
                drop(journal);
            }
            self.open();
        })
    }

    fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).expect("a short time");
        self.now.fetch_add(by, Ordering::Relaxed);
    }
}

conformance_tests!(Embedded::new());
