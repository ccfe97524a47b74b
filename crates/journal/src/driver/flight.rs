//! What was decided and is not durable yet: batches on their way to the journal, in order, each with
//! what must be done and who must be answered once it is.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use crate::batch::Batch;
use crate::driver::handle::Answer;
use crate::driver::rules::{Done, Rules};
use crate::error::Error;
use crate::event::Version;
use crate::journal::{Journal, Receipt};

/// Commands that become durable together.
pub(super) struct Flight<R: Rules> {
    pub(super) done: Vec<Done<R>>,
    pub(super) answers: Vec<Answer<R>>,
    /// The mark once this has landed.
    pub(super) mark: u64,
    /// The stream's last event once this has landed.
    pub(super) version: Option<Version>,
    writing: Writing,
}

enum Writing {
    /// There is nothing (more) to write; it only waits for those before it.
    Nothing,
    /// The journal's queue is full.
    Handing(BoxFuture<'static, Result<Receipt, Error>>),
    Handed(Receipt),
    /// It was not taken, or not confirmed.
    Refused(Error),
}

impl<R: Rules> Flight<R> {
    pub(super) const fn new(mark: u64, version: Option<Version>) -> Self {
        Self { done: Vec::new(), answers: Vec::new(), mark, version, writing: Writing::Nothing }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.done.is_empty() && self.answers.is_empty()
    }

    /// Begins to hand `batch` to the journal.
    pub(super) fn write(&mut self, journal: Arc<dyn Journal>, batch: Batch) {
        self.writing = Writing::Handing(Box::pin(async move { journal.submit(batch).await }));
    }

    /// Ready once it is known whether this is durable.
    fn poll_landed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_handed(context);
        if let Writing::Handed(receipt) = &mut self.writing {
            match std::task::ready!(Pin::new(receipt).poll(context)) {
                Ok(_) => self.writing = Writing::Nothing,
                Err(error) => self.writing = Writing::Refused(error),
            }
        }
        match &self.writing {
            Writing::Nothing => Poll::Ready(Ok(())),
            Writing::Handing(_) | Writing::Handed(_) => Poll::Pending,
            Writing::Refused(error) => Poll::Ready(Err(error.clone())),
        }
    }

    fn poll_handed(&mut self, context: &mut Context<'_>) {
        if let Writing::Handing(handing) = &mut self.writing
            && let Poll::Ready(outcome) = handing.as_mut().poll(context)
        {
            self.writing = match outcome {
                Ok(receipt) => Writing::Handed(receipt),
                Err(error) => Writing::Refused(error),
            };
        }
    }
}

/// All flights, the first to land first.
pub(super) struct Flights<R: Rules>(VecDeque<Flight<R>>);

impl<R: Rules> Flights<R> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, flight: Flight<R>) {
        self.0.push_back(flight);
    }

    /// Whether the journal has taken all that there are, so that another may follow.
    pub(super) fn are_under_way(&self) -> bool {
        // Only the last one can be otherwise, because none follows it then.
        let last = self.0.back().map(|flight| &flight.writing);
        matches!(last, None | Some(Writing::Nothing | Writing::Handed(_)))
    }

    /// The next one that has landed, or what became of it instead: it and those behind it are left.
    /// Never resolves while there is none. May be dropped at any time.
    pub(super) async fn landed(&mut self) -> Result<Flight<R>, Error> {
        poll_fn(|context| {
            if let Some(last) = self.0.back_mut() {
                last.poll_handed(context);
            }
            let Some(first) = self.0.front_mut() else { return Poll::Pending };
            first.poll_landed(context)
        })
        .await?;
        // It was the first a moment ago.
        self.0.pop_front().ok_or(Error::Closed)
    }

    /// Gives up all of them, once none can land behind anybody's back any more.
    pub(super) async fn give_up(&mut self) -> Vec<Answer<R>> {
        let mut answers = Vec::new();
        while let Some(flight) = self.0.front_mut() {
            let _fails_or_is_seen_again = poll_fn(|context| flight.poll_landed(context)).await;
            // Taken off afterwards: this may be dropped while it waits.
            answers.extend(self.0.pop_front().into_iter().flat_map(|flight| flight.answers));
        }
        answers
    }
}
