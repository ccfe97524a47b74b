//! What is written: events that look like those of services, and batches of them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use posthouse_journal::sqlite::{Options, Sqlite};
use posthouse_journal::{Append, Batch, Config, Expected, Format, NewEvent, StreamName, Table};
use uuid::Uuid;

/// Opens a journal in a folder of its own.
pub(crate) fn open(folder: &Path) -> anyhow::Result<Arc<Sqlite>> {
    let journal = Sqlite::open(folder, &Config::default(), Options::default());
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
