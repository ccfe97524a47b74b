//! The `journal:` section of the configuration: as written ([`Raw`]), and as checked ([`Config`]).

use std::time::Duration;

use posthouse_base::config::{Path, Report, Severity, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sqlite::copy;

/// The engines that this version has.
const ENGINES: [&str; 1] = ["sqlite"];

/// The journal as written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Journal")]
pub struct Raw {
    /// What keeps the log: `sqlite`, a database in the data folder.
    pub engine: String,
    /// How much is written by one commit, which is one fsync.
    pub commit: RawCommit,
    /// How much the journal takes on.
    pub limits: RawLimits,
    /// How often streams that keep their events for a time only are gone through.
    pub scavenge_interval: Span,
    /// A copy that is kept up continuously, and from which any moment can be restored: off unless it
    /// is named.
    pub copy: Option<RawCopy>,
}

/// A copy that is kept up continuously.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JournalCopy")]
pub struct RawCopy {
    /// The folder, better on another disk or machine. Made when it is missing. No two Posthouses may
    /// have the same.
    pub folder: String,
    /// How far the copy may be behind.
    #[serde(default = "default_every")]
    pub every: Span,
    /// How far back moments can be restored.
    #[serde(default = "default_keep")]
    pub keep: Span,
}

fn default_every() -> Span {
    Span(Duration::from_secs(10))
}

fn default_keep() -> Span {
    Span(Duration::from_secs(24 * 3600))
}

/// How much is written by one commit. Whatever waits is written together, up to these bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "JournalCommit")]
pub struct RawCommit {
    /// Batches in one commit.
    pub batches: usize,
    /// Once a commit has so many bytes, no further batch joins it.
    pub bytes: Size,
    /// Once a commit is so old, no further batch joins it.
    pub time: Span,
}

/// How much the journal takes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "JournalLimits")]
pub struct RawLimits {
    /// An event's data and metadata; more is refused.
    pub event: Size,
    /// A batch; more is refused.
    pub batch: Size,
    /// A checkpoint; more is refused.
    pub checkpoint: Size,
    /// Batches that wait to be written; at this many, further ones wait outside.
    pub queue: usize,
    /// Bytes of the batches that wait to be written; at this many, further ones wait outside.
    pub queue_bytes: Size,
    /// Threads that read.
    pub readers: usize,
    /// Reads that wait for a thread; at this many, further ones wait outside.
    pub reads: usize,
    /// Streams whose end is kept in memory.
    pub streams: usize,
    /// Bytes of the latest events that are kept in memory for those who follow.
    pub recent: Size,
    /// The write-ahead log's size at which writers wait until it is emptied.
    pub wal: Size,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            engine: "sqlite".into(),
            commit: RawCommit::default(),
            limits: RawLimits::default(),
            scavenge_interval: Span(Duration::from_secs(30)),
            copy: None,
        }
    }
}

impl Default for RawCommit {
    fn default() -> Self {
        Self { batches: 1024, bytes: Size(4 << 20), time: Span(Duration::from_millis(10)) }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            event: Size(16 << 20),
            batch: Size(32 << 20),
            checkpoint: Size(256 << 20),
            queue: 4096,
            queue_bytes: Size(64 << 20),
            readers: 4,
            reads: 1024,
            streams: 100_000,
            recent: Size(16 << 20),
            wal: Size(128 << 20),
        }
    }
}

/// The checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) commit: RawCommit,
    pub(crate) limits: RawLimits,
    pub(crate) scavenge_interval: Duration,
    pub(crate) copy: Option<copy::Config>,
}

impl Config {
    /// Checks `raw`, which stands at `path`, and notes every mistake in `report`. `None` when there
    /// is a mistake for which it must be refused.
    #[must_use]
    pub fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let before = report.findings().len();
        check_engine(&raw.engine, &path.key("engine"), report);
        check_commit(&raw.commit, &path.key("commit"), report);
        check_limits(&raw.limits, &path.key("limits"), report);
        if raw.scavenge_interval.0 < Duration::from_millis(10) {
            report.error(&path.key("scavenge_interval"), "this time cannot be less than 10ms");
        }
        if let Some(copy) = &raw.copy {
            check_copy(copy, &path.key("copy"), report);
        }
        let mistaken =
            report.findings()[before..].iter().any(|finding| finding.severity == Severity::Error);
        (!mistaken).then(|| Self {
            commit: raw.commit.clone(),
            limits: raw.limits.clone(),
            scavenge_interval: raw.scavenge_interval.0,
            copy: raw.copy.as_ref().map(|copy| copy::Config {
                folder: copy.folder.clone().into(),
                every: copy.every.0,
                keep: copy.keep.0,
            }),
        })
    }

    /// The same with relative paths beginning at `folder`.
    #[must_use]
    pub fn relative_to(mut self, folder: &std::path::Path) -> Self {
        if let Some(copy) = &mut self.copy {
            copy.folder = folder.join(&copy.folder);
        }
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        let Raw { commit, limits, scavenge_interval, .. } = Raw::default();
        Self { commit, limits, scavenge_interval: scavenge_interval.0, copy: None }
    }
}

fn check_engine(engine: &str, path: &Path, report: &mut Report) {
    if ENGINES.contains(&engine) {
        return;
    }
    let scheme = engine.split_once("://").map(|(scheme, _)| scheme);
    if let Some(scheme) = scheme {
        // The rest of an address may hold a password.
        let message = format!("the engine `{scheme}` is not in this version of Posthouse");
        report.error(path, message).help("this version has `sqlite`");
    } else {
        let message = format!("there is no engine `{engine}`");
        report.error(path, message).suggest(engine, ENGINES);
    }
}

fn check_commit(commit: &RawCommit, path: &Path, report: &mut Report) {
    if commit.batches == 0 {
        report.error(&path.key("batches"), "a commit of 0 batches would write nothing");
    }
    if commit.bytes.0 == 0 {
        report.error(&path.key("bytes"), "a commit of 0 bytes would write nothing");
    }
}

fn check_limits(limits: &RawLimits, path: &Path, report: &mut Report) {
    let counts = [
        ("queue", limits.queue),
        ("readers", limits.readers),
        ("reads", limits.reads),
        ("streams", limits.streams),
    ];
    for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
        report.error(&path.key(key), "a limit of 0 would refuse everything");
    }
    if limits.event.0 < 1024 {
        report.error(&path.key("event"), "an event does not fit into less than 1KiB");
    }
    if limits.batch.0 < limits.event.0 {
        let message = format!("a batch must hold an event of {}", limits.event);
        report.error(&path.key("batch"), message).help("let it be `event` or more");
    }
    // SQLite holds no value of more than 1 GB.
    let largest = Size(900 << 20);
    for (key, size) in [("batch", limits.batch), ("checkpoint", limits.checkpoint)] {
        if size > largest {
            report.error(&path.key(key), format!("this cannot be more than {largest}"));
        }
    }
    if limits.queue_bytes.0 < limits.batch.0 {
        let message = format!("the queue must hold a batch of {}", limits.batch);
        report.error(&path.key("queue_bytes"), message).help("let it be `batch` or more");
    }
    if limits.wal.0 < 1 << 20 {
        report.error(&path.key("wal"), "this cannot be less than 1MiB");
    }
}

fn check_copy(copy: &RawCopy, path: &Path, report: &mut Report) {
    if copy.folder.is_empty() {
        report.error(&path.key("folder"), "this is no folder");
    }
    if copy.every.0 < Duration::from_millis(100) {
        report.error(&path.key("every"), "this time cannot be less than 100ms");
    }
    if copy.keep.0 < copy.every.0 {
        let message = format!("this time cannot be less than `every`, {}", copy.every);
        report.error(&path.key("keep"), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &Raw) -> (Option<Config>, Vec<String>) {
        let mut report = Report::new();
        let config = Config::check(raw, &Path::root().key("journal"), &mut report);
        let paths = report.findings().iter().map(|finding| finding.path.to_string());
        (config, paths.collect())
    }

    #[test]
    fn the_defaults_are_right_and_the_same_in_both_forms() {
        assert_eq!(check(&Raw::default()), (Some(Config::default()), vec![]));
    }

    #[test]
    fn every_mistake_is_found_at_once() {
        let mut raw = Raw { engine: "sqlight".into(), ..Raw::default() };
        raw.commit.batches = 0;
        raw.limits.readers = 0;
        raw.limits.batch = Size(1024);
        raw.limits.checkpoint = Size(2 << 30);
        raw.limits.queue_bytes = Size(0);
        let (config, paths) = check(&raw);
        assert_eq!(config, None);
        assert_eq!(
            paths,
            [
                "journal.engine",
                "journal.commit.batches",
                "journal.limits.readers",
                "journal.limits.batch",
                "journal.limits.checkpoint",
                "journal.limits.queue_bytes"
            ]
        );
    }

    #[test]
    fn an_engine_that_is_not_there_is_named_without_its_password() {
        let mut report = Report::new();
        let raw = Raw { engine: "postgres://me:secret@db/log".into(), ..Raw::default() };
        assert_eq!(Config::check(&raw, &Path::root(), &mut report), None);
        let finding = &report.findings()[0];
        assert_eq!(finding.message, "the engine `postgres` is not in this version of Posthouse");
    }
}
