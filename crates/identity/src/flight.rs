//! One question at a time: whoever asks what is being asked already waits for that answer.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Who waits for an answer, by what was asked.
type Running<V> = HashMap<Box<[u8]>, watch::Receiver<Option<V>>>;

/// An answer to come; none when the question was given up.
pub(crate) type Answer<V> = Pin<Box<dyn Future<Output = Option<V>> + Send>>;

/// Questions on their way, by what they ask.
pub(crate) struct Flights<V> {
    running: Mutex<Running<V>>,
    limit: usize,
}

/// What a question is answered by. Dropped without an answer, nobody waits any more.
pub(crate) struct Landing<V> {
    flights: Arc<Flights<V>>,
    asked: Box<[u8]>,
    answer: watch::Sender<Option<V>>,
}

impl<V> fmt::Debug for Flights<V> {
    /// Without what is asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<V: Clone> Flights<V> {
    /// At most `limit` questions at the same time.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), limit })
    }

    /// Joins the question `asked`, or has `start` ask it. `None` when too many are on their way.
    pub(crate) fn join(
        self: &Arc<Self>,
        asked: &[u8],
        start: impl FnOnce(Landing<V>),
    ) -> Option<Answer<V>>
    where
        V: Send + Sync + 'static,
    {
        let mut running = self.lock();
        let mut receiver = if let Some(receiver) = running.get(asked) {
            receiver.clone()
        } else {
            if running.len() >= self.limit {
                return None;
            }
            let (answer, receiver) = watch::channel(None);
            running.insert(asked.into(), receiver.clone());
            drop(running);
            start(Landing { flights: Arc::clone(self), asked: asked.into(), answer });
            receiver
        };
        Some(Box::pin(async move {
            // An error is a question that was given up.
            let answer = receiver.wait_for(Option::is_some).await.ok()?;
            (*answer).clone()
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Running<V>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Landing<V> {
    /// Answers everybody who waits.
    pub(crate) fn answer(self, value: V) {
        self.answer.send_replace(Some(value));
    }
}

impl<V> Drop for Landing<V> {
    fn drop(&mut self) {
        let running = &self.flights.running;
        running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_who_ask_the_same_make_one_question() {
        let flights = Flights::new(1);
        let mut landing = None;
        let first = flights.join(b"a", |it| landing = Some(it)).expect("room");
        let second = flights.join(b"a", |_| panic!("asked twice")).expect("the same question");
        assert!(flights.join(b"b", |_| panic!("beyond the limit")).is_none());
        landing.expect("it was asked").answer(7);
        assert_eq!((first.await, second.await), (Some(7), Some(7)));
        let given_up = flights.join(b"b", drop).expect("room again");
        assert_eq!(given_up.await, None);
    }
}
