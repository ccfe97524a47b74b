//! The embedded engine: the cases that every engine must pass, and its own.

mod file;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use posthouse_base::config::{Path, Report, Size, Span};
use posthouse_base::time::Timestamp;
use tempfile::TempDir;

use super::{Clock, Options, Sqlite};
use crate::config::{Config, Raw};
use crate::conformance::{self, Engine};
use crate::journal::Journal;

/// A journal in a temporary folder, with a clock that is moved by hand.
struct Embedded {
    folder: TempDir,
    journal: Option<Arc<Sqlite>>,
    now: Arc<AtomicU64>,
    config: Config,
}

impl Embedded {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Raw)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Arc::new(AtomicU64::new(1_700_000_000_000));
        let mut raw = Raw::default();
        change(&mut raw);
        let mut report = Report::new();
        let config = Config::check(&raw, &Path::root(), &mut report);
        let config = config.unwrap_or_else(|| panic!("{report:?}"));
        let mut engine = Self { folder, journal: None, now, config };
        engine.open();
        engine
    }

    fn sqlite(&self) -> &Arc<Sqlite> {
        self.journal.as_ref().expect("it is open")
    }

    fn options(&self) -> Options {
        let now = Arc::clone(&self.now);
        let clock = Clock::new(move || Timestamp::from_millis(now.load(Ordering::Relaxed)));
        Options { clock, ..Options::default() }
    }

    fn open(&mut self) {
        let journal = Sqlite::open(self.folder.path(), &self.config, self.options());
        self.journal = Some(Arc::new(journal.expect("it opens")));
    }
}

impl Engine for Embedded {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::clone(self.sqlite()) as Arc<dyn Journal>
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

crate::conformance_tests!(Embedded::new());

/// With nothing kept in memory: everything is read from the database, and every stream's end too.
#[test]
fn random_histories_agree_with_the_model_without_memory() {
    conformance::model::random_histories(|| {
        Embedded::with(|raw| {
            raw.limits.recent = Size(0);
            raw.limits.streams = 1;
        })
    });
}

/// While the scavenger works all the time.
#[test]
fn random_histories_agree_with_the_model_while_scavenging() {
    conformance::model::random_histories(|| {
        Embedded::with(|raw| raw.scavenge_interval = Span(Duration::from_millis(10)))
    });
}
