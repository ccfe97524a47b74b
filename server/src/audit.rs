//! The audit log: who changed what, and when. A stream of the journal to which entries are only
//! added; the oldest go when there are very many.
//!
//! An entry holds no secret: neither bodies nor queries of requests, only what the one who did it
//! says about it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use posthouse_journal::{
    Append, Batch, Direction, Expected, Format, Journal, NewEvent, ReadStream, Recorded,
    StreamMetadata, StreamName, Table, Version,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry as Metrics;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The stream in the journal.
const STREAM: &str = "audit";

/// The kind of its events.
const KIND: &str = "changed";

/// Entries that are kept.
const KEPT: u64 = 100_000;

/// How long writing an entry may hold up the answer to what it is about.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most that one reading returns.
pub(crate) const MAX_PAGE: usize = 1000;

/// The most bytes that one reading returns.
const MAX_BYTES: usize = 4 << 20;

/// Something that was done, or tried by somebody who may not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The name of the token, or what else it was: `loopback`, `file`, `signal`.
    pub(crate) who: String,
    /// Their role, if they came over the admin API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// Where they came from, if it was over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// What was asked: `POST /api/v1/reload`.
    pub(crate) action: String,
    /// The status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// What it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<String>,
}

/// An entry as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// Its number, from 0.
    pub(crate) number: u64,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) entry: Entry,
}

/// See the file's head. Clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    journal: Arc<dyn Journal>,
    written: Counter,
    lost: Counter,
}

impl Audit {
    /// Opens the log.
    ///
    /// # Errors
    /// When the journal cannot be read, or not be told how much to keep.
    pub(crate) async fn open(journal: Arc<dyn Journal>) -> anyhow::Result<Self> {
        let stream = StreamName::internal(STREAM);
        let wanted = StreamMetadata { max_count: Some(KEPT), ..StreamMetadata::default() };
        let known = journal.stream(&stream).await.context("the audit log cannot be opened")?;
        if known.is_none_or(|known| known.metadata != wanted) {
            let batch = Batch { metadata: vec![(stream, wanted)], ..Batch::default() };
            journal.append(batch).await.context("the audit log cannot be opened")?;
        }
        Ok(Self { journal, written: Counter::default(), lost: Counter::default() })
    }

    pub(crate) fn register_metrics(&self, metrics: &mut Metrics) {
        let metrics = metrics.sub_registry_with_prefix("posthouse_audit");
        let help = "Entries of the audit log that were written";
        metrics.register("entries", help, self.written.clone());
        let help = "Entries of the audit log that could not be written";
        metrics.register("entries_lost", help, self.lost.clone());
    }

    /// Writes an entry. What cannot be written is said in the log instead: what it is about has
    /// happened.
    pub(crate) async fn record(&self, entry: Entry) {
        let event = NewEvent {
            id: Uuid::new_v4(),
            kind: KIND.into(),
            format: Format::Json,
            data: serde_json::to_vec(&entry).map(Bytes::from).unwrap_or_default(),
            metadata: Bytes::new(),
        };
        let append = Append {
            stream: StreamName::internal(STREAM),
            table: Table::Facts,
            expected: Expected::Any,
            events: vec![event],
        };
        let batch = Batch { appends: vec![append], ..Batch::default() };
        let written = tokio::time::timeout(PATIENCE, self.journal.append(batch)).await;
        let error = match written {
            Ok(Ok(_)) => {
                self.written.inc();
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it takes too long".to_owned(),
        };
        self.lost.inc();
        tracing::error!(?entry, "an entry of the audit log is not known to be written: {error}");
    }

    /// The latest entries, or the latest before the one of number `before`: the latest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn latest(
        &self,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Vec<Written>, posthouse_journal::Error> {
        let from = match before {
            Some(0) => return Ok(Vec::new()),
            before => before.map(|number| Version::new(number - 1)),
        };
        let read = ReadStream {
            stream: StreamName::internal(STREAM),
            from,
            direction: Direction::Backwards,
            limit: limit.min(MAX_PAGE),
            bytes: MAX_BYTES,
        };
        let page = self.journal.read_stream(read).await?;
        Ok(page.events.iter().filter_map(read_entry).collect())
    }
}

/// An entry that a later version wrote may not be readable; it is not shown then.
fn read_entry(recorded: &Recorded) -> Option<Written> {
    let entry = serde_json::from_slice(&recorded.event.data).ok()?;
    let (number, at_ms) = (recorded.version.get(), recorded.time.as_millis());
    Some(Written { number, at_ms, entry })
}
