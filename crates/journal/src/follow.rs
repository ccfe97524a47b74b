//! Following the log: from a place in it to its end, and then on as it grows.
//!
//! A [`Follower`] reads when it is asked and holds one page at most, so that one who is slow costs
//! nothing: what it has not asked for waits in the log, not in memory. At the end it is served from
//! the events that the engine has at hand; who falls behind those reads pages again until it has
//! caught up, and is told both.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::Error;
use crate::event::{Position, Recorded, Space, StreamName, Table, Version};
use crate::journal::{Direction, Head, Journal, Page, ReadAll, ReadStream, StreamState, Subject};

/// The pause after a read that failed because the journal was not available, and the longest one.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What to follow, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One stream.
    Stream {
        /// The stream; it need not be there yet.
        stream: StreamName,
        /// From where.
        from: Start<Version>,
    },
    /// Everything in one table.
    All {
        /// The table.
        table: Table,
        /// Only this space's streams; `None` for both.
        space: Option<Space>,
        /// From where.
        from: Start<Position>,
    },
}

/// From where to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<T> {
    /// From the first event that is there.
    Beginning,
    /// From the first one after this.
    After(T),
    /// Only what comes from now on.
    End,
}

/// How much a follower holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Events.
    pub events: usize,
    /// Bytes of data and metadata; one event may be more.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { events: 256, bytes: 1 << 20 }
    }
}

/// What a follower meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The next event.
    Event(Recorded),
    /// There was nothing more up to this position: what comes now is new.
    CaughtUp(Position),
    /// What came since is no longer at hand, because it was not asked for in time; it is read from
    /// the log, beginning after this position.
    FellBehind(Position),
}

/// One who follows the log.
#[derive(Debug)]
pub struct Follower {
    journal: Arc<dyn Journal>,
    head: watch::Receiver<Head>,
    window: Window,
    subject: Subject,
    /// For a stream: the version that is next. Those before it are passed over.
    next: Version,
    /// Everything up to here was read; unknown before a stream's first page.
    seen: Option<Position>,
    /// Where it is to begin has yet to be found out.
    at_end: bool,
    live: bool,
    /// Read and not yet asked for, in order.
    items: VecDeque<Item>,
    pause: Duration,
}

impl Follower {
    /// Follows `target`.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, target: Target, window: Window) -> Self {
        let head = journal.head();
        let now = head.borrow().position;
        let (subject, next, seen, at_end) = match target {
            Target::Stream { stream, from } => {
                let (next, seen) = match from {
                    Start::Beginning => (Version::FIRST, None),
                    Start::After(version) => (after(version), None),
                    Start::End => (Version::FIRST, Some(now)),
                };
                (Subject::Stream(stream), next, seen, matches!(from, Start::End))
            }
            Target::All { table, space, from } => {
                let seen = match from {
                    Start::Beginning => Position::START,
                    Start::After(position) => position,
                    Start::End => now,
                };
                (Subject::All { table, space }, Version::FIRST, Some(seen), false)
            }
        };
        Self {
            journal,
            head,
            window,
            subject,
            next,
            seen,
            at_end,
            live: false,
            items: VecDeque::new(),
            pause: PAUSE,
        }
    }

    /// What it meets next; waits for it. While the journal cannot be read, it tries again. Nothing is
    /// lost when this is dropped before it resolves.
    ///
    /// # Errors
    /// [`Error::Tombstone`] when the stream is closed for ever, [`Error::Closed`] when the journal
    /// is. It ends with them.
    pub async fn next(&mut self) -> Result<Item, Error> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            if self.live && !self.wait_for_growth().await? {
                continue;
            }
            match self.step().await {
                Ok(()) => self.pause = PAUSE,
                Err(Error::Unavailable(_)) => {
                    let pause = self.pause;
                    self.pause = (pause * 2).min(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the head is beyond what was seen. Whether it is.
    async fn wait_for_growth(&mut self) -> Result<bool, Error> {
        let head = self.head.borrow_and_update().position;
        if self.seen.is_some_and(|seen| head > seen) {
            return Ok(true);
        }
        self.head.changed().await.map_err(|_| Error::Closed)?;
        Ok(false)
    }

    /// Reads one page of what comes next.
    async fn step(&mut self) -> Result<(), Error> {
        if self.at_end {
            let Subject::Stream(stream) = &self.subject else { return Ok(()) };
            let state = self.journal.stream(stream).await?;
            self.next =
                state.and_then(|state: StreamState| state.last).map_or(Version::FIRST, after);
            self.at_end = false;
        }
        if let Some(seen) = self.seen
            && let Some(page) = self.recent(seen)
        {
            self.take(page);
            return Ok(());
        }
        let page = self.read().await?;
        if self.live && !page.end {
            self.live = false;
            self.items.push_back(Item::FellBehind(self.seen.unwrap_or_default()));
        }
        self.take(page);
        Ok(())
    }

    fn recent(&self, seen: Position) -> Option<Page> {
        let Window { events, bytes } = self.window;
        self.journal.recent(&self.subject, seen, events.max(1), bytes)
    }

    fn read(&self) -> impl Future<Output = Result<Page, Error>> + Send {
        let Window { events, bytes } = self.window;
        let (limit, direction) = (events.max(1), Direction::Forwards);
        match &self.subject {
            Subject::Stream(stream) => {
                let (stream, from) = (stream.clone(), Some(self.next));
                self.journal.read_stream(ReadStream { stream, from, direction, limit, bytes })
            }
            Subject::All { table, space } => {
                let (table, space) = (*table, *space);
                let from = self.seen.unwrap_or_default().next();
                self.journal.read_all(ReadAll { table, space, from, direction, limit, bytes })
            }
        }
    }

    /// Takes over a page that began where the follower was.
    fn take(&mut self, page: Page) {
        if let Some(last) = page.events.last() {
            // Of a stream that is read by versions, nothing else lies before this.
            self.seen = Some(last.position);
        }
        let stream = matches!(self.subject, Subject::Stream(_));
        for event in page.events {
            if !stream {
                self.items.push_back(Item::Event(event));
            } else if event.version >= self.next {
                self.next = after(event.version);
                self.items.push_back(Item::Event(event));
            }
        }
        if page.end {
            let seen = self.seen.unwrap_or_default().max(page.head);
            self.seen = Some(seen);
            if !self.live {
                self.live = true;
                self.items.push_back(Item::CaughtUp(seen));
            }
        }
    }
}

/// What follows a version. Nothing follows the last one that can be.
fn after(version: Version) -> Version {
    Version::new(version.get().saturating_add(1))
}
