//! What is written: events that look like those of services, and batches of them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use posthouse_base::config::{self, Report, Size};
use posthouse_journal::config::Raw;
use posthouse_journal::sqlite::{Options, Sqlite};
use posthouse_journal::{Append, Batch, Config, Expected, Format, NewEvent, StreamName, Table};
use uuid::Uuid;

/// Opens a journal in a folder of its own. Its write-ahead log is bounded to so many MiB.
pub(crate) fn open(folder: &Path, log_mib: Option<u64>) -> anyhow::Result<Arc<Sqlite>> {
    let mut raw = Raw::default();
    if let Some(mib) = log_mib {
        raw.limits.wal = Size(mib << 20);
    }
    let mut report = Report::new();
    let config = Config::check(&raw, &config::Path::root(), &mut report);
    let config = config.with_context(|| format!("{:?}", report.findings()))?;
    let journal = Sqlite::open(folder, &config, Options::default());
    Ok(Arc::new(journal.context("the journal does not open")?))
}

/// What makes events of one size.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    data: Bytes,
    kind: Arc<str>,
    random: fastrand::Rng,
}

impl Maker {
    pub(crate) fn new(size: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let data: Vec<u8> = (0..size).map(|_| random.alphanumeric() as u8).collect();
        Self { data: data.into(), kind: "OrderPlaced".into(), random }
    }

    pub(crate) fn event(&mut self) -> NewEvent {
        NewEvent {
            id: Uuid::from_u128(self.random.u128(..)),
            kind: Arc::clone(&self.kind),
            format: Format::Json,
            data: self.data.clone(),
            metadata: Bytes::new(),
        }
    }

    pub(crate) fn batch(&mut self, stream: &StreamName, table: Table, events: usize) -> Batch {
        let events = (0..events).map(|_| self.event()).collect();
        let append = Append { stream: stream.clone(), table, expected: Expected::Any, events };
        Batch { appends: vec![append], ..Batch::default() }
    }
}
