//! Carries out what the rules tell: tells connections, and fetches messages from the journal.

use std::sync::Arc;
use std::time::Duration;

use posthouse_journal::driver::{Done, Hands};
use posthouse_journal::{Direction, Journal, Page, ReadStream, StreamName, Version};

use crate::ids::LaneId;
use crate::service::{Mailboxes, Shared};
use crate::state::{
    Answer, Code, Command, Definition, Effect, Event, Loaded, Note, Output, Purpose, Refusal,
    State, lane_stream,
};
use crate::stored::read_message;

/// Before what could not be read is asked for again.
const PAUSE: Duration = Duration::from_millis(250);

/// Carries out effects.
pub(crate) struct Carrier {
    shared: Arc<Shared>,
    journal: Option<Arc<dyn Journal>>,
}

/// Messages that are to be fetched.
struct Load {
    lane: LaneId,
    purpose: Purpose,
    from: u64,
    end: u64,
    count: usize,
    bytes: usize,
}

impl Carrier {
    pub(crate) const fn new(shared: Arc<Shared>, journal: Option<Arc<dyn Journal>>) -> Self {
        Self { shared, journal }
    }

    fn fetch(&self, load: Load) {
        let Some(journal) = self.journal.clone() else { return };
        let shared = Arc::clone(&self.shared);
        let tasks = self.shared.tasks.clone();
        tasks.spawn("broker load", async move {
            let loaded = {
                let Ok(_turn) = shared.loads.acquire().await else { return };
                load.read(journal.as_ref()).await
            };
            shared.metrics.loaded(loaded.messages.len());
            if loaded.end == load.from {
                tokio::time::sleep(PAUSE).await;
            }
            let _shutting_down = shared.driver.tell(Command::Loaded(loaded)).await;
        });
    }
}

impl Hands<State> for Carrier {
    fn carry_out(&mut self, done: Vec<Done<State>>) {
        let shared = Arc::clone(&self.shared);
        let mut mailboxes = shared.mailboxes();
        for Done { events, effects } in done {
            for event in &events {
                shared.metrics.happened(event);
                if let Event::Defined(
                    Definition::SubscriptionPut(_) | Definition::SubscriptionDeleted(_),
                ) = event
                {
                    shared.subscriptions.notify_one();
                }
            }
            for effect in effects {
                match effect {
                    Effect::Tell(connection, output) => {
                        shared.metrics.told(&output);
                        let is_last = matches!(
                            output,
                            Output::CloseConnection(_)
                                | Output::Answer(_, Answer::ConnectionClosed)
                        );
                        if let Some(mailbox) = mailboxes.get(&connection) {
                            let _gone = mailbox.send(output);
                        }
                        if is_last {
                            mailboxes.remove(&connection);
                        }
                    }
                    Effect::Load { lane, purpose, from, end, count, bytes } => {
                        self.fetch(Load { lane, purpose, from, end, count, bytes });
                    }
                    Effect::Note(note) => tell(&note),
                }
            }
        }
    }

    /// Nobody is connected to a state that was brought back: whoever was is to come again.
    fn take_over(&mut self, _: &State) {
        let mailboxes: Mailboxes = std::mem::take(&mut self.shared.mailboxes());
        let why = "the broker lost what was not durable, and begins anew";
        for mailbox in mailboxes.into_values() {
            let refusal = Refusal::new(Code::ConnectionForced, why);
            let _gone = mailbox.send(Output::CloseConnection(refusal));
        }
    }
}

impl Load {
    /// What the journal has of it. Nothing, and an end that is the beginning, when it cannot say.
    async fn read(&self, journal: &dyn Journal) -> Loaded {
        let Self { lane, purpose, from, count, bytes, .. } = self;
        let read = ReadStream {
            stream: self.stream(),
            from: Some(Version::new(*from)),
            direction: Direction::Forwards,
            limit: *count,
            bytes: *bytes,
        };
        match journal.read_stream(read).await.map(|page| self.messages(&page)) {
            Ok(Some(loaded)) => return loaded,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(stream = %self.stream(), "messages cannot be read: {error}");
            }
        }
        let (lane, purpose) = (*lane, *purpose);
        Loaded { lane, purpose, from: *from, end: *from, messages: Vec::new() }
    }

    fn messages(&self, page: &Page) -> Option<Loaded> {
        let mut messages = Vec::with_capacity(page.events.len());
        let mut looked = if page.end { self.end } else { self.from };
        for recorded in &page.events {
            let seq = recorded.version.get();
            looked = looked.max(seq + 1);
            if seq >= self.end {
                break;
            }
            match read_message(&recorded.event) {
                Ok(message) => messages.push((seq, Arc::new(message))),
                Err(why) => {
                    // Rather wait for who can read it than lose it.
                    tracing::error!(stream = %self.stream(), seq, "a message cannot be read: {why}");
                    return None;
                }
            }
        }
        let end = looked.min(self.end);
        let Self { lane, purpose, from, .. } = *self;
        Some(Loaded { lane, purpose, from, end, messages })
    }

    fn stream(&self) -> StreamName {
        lane_stream(self.lane)
    }
}

fn tell(note: &Note) {
    match note {
        Note::Unroutable { exchange, routing_key, returned } => {
            let what = if *returned { "returned to its publisher" } else { "dropped" };
            tracing::debug!(
                exchange = exchange.as_str(),
                routing_key = routing_key.as_str(),
                "a message was {what}: no queue is bound for it"
            );
        }
        Note::Missing { lane, seq } => {
            tracing::error!(queue = %lane.queue, seq, "the journal does not have a message of it");
        }
    }
}
