//! Who waits for what. A change wakes the watchers of the topics that it touched and nobody else;
//! a topic that nobody watches costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::error::Error;
use crate::state::Topic;

/// Every waiting read, by topic.
#[derive(Debug)]
pub(crate) struct Watchers {
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    topics: HashMap<Topic, Waiting, foldhash::fast::RandomState>,
    watchers: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    notify: Arc<Notify>,
    watchers: usize,
}

/// One waiting read. It is forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    watchers: &'a Watchers,
    topic: Topic,
    notify: Arc<Notify>,
}

impl Watchers {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, table: Mutex::default() }
    }

    /// Begins to watch `topic`.
    ///
    /// # Errors
    /// When the limit of watchers is reached.
    pub(crate) fn watch(&self, topic: Topic) -> Result<Watch<'_>, Error> {
        let mut table = self.table();
        if table.watchers >= self.limit {
            return Err(Error::TooManyWatchers(self.limit));
        }
        table.watchers += 1;
        let waiting = table.topics.entry(topic.clone()).or_default();
        waiting.watchers += 1;
        let notify = Arc::clone(&waiting.notify);
        drop(table);
        Ok(Watch { watchers: self, topic, notify })
    }

    /// Wakes those who watch one of `topics`. Returns how many that were.
    pub(crate) fn wake<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) -> usize {
        let mut woken = 0;
        let table = self.table();
        for waiting in topics.into_iter().filter_map(|topic| table.topics.get(topic)) {
            waiting.notify.notify_waiters();
            woken += waiting.watchers;
        }
        woken
    }

    /// Wakes everybody. Returns how many that were.
    pub(crate) fn wake_all(&self) -> usize {
        let table = self.table();
        table.topics.values().for_each(|waiting| waiting.notify.notify_waiters());
        table.watchers
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.table().watchers
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch<'_> {
    /// Resolves at the next wake. To miss none, make this and `enable` it before looking at what is
    /// waited for.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut table = self.watchers.table();
        table.watchers -= 1;
        if let Some(waiting) = table.topics.get_mut(&self.topic) {
            waiting.watchers -= 1;
            if waiting.watchers == 0 {
                table.topics.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_watchers_of_a_touched_topic_are_woken() {
        let watchers = Watchers::new(3);
        let web = Topic::Service("web".into());
        let first = watchers.watch(web.clone()).expect("below the limit");
        let second = watchers.watch(web.clone()).expect("below the limit");
        let other = watchers.watch(Topic::Nodes).expect("below the limit");
        assert!(matches!(watchers.watch(Topic::Checks), Err(Error::TooManyWatchers(3))));
        let mut other_woken = std::pin::pin!(other.woken());
        other_woken.as_mut().enable();
        let mut woken = std::pin::pin!(first.woken());
        woken.as_mut().enable();
        assert_eq!(watchers.wake([&web, &Topic::Services]), 2);
        woken.await;
        assert!(!other_woken.as_mut().enable(), "a change to web is none to the nodes");
        drop(second);
        assert_eq!(watchers.wake([&web]), 1);
        assert_eq!(watchers.count(), 2);
    }
}
