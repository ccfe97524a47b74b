//! Who waits for what. A change wakes the watchers of the topics that it touched and nobody else;
//! a topic that nobody watches costs nothing. When it wakes a crowd, all of it is told before anybody
//! is listened to again ([`Wave`]).

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::error::Error;
use crate::state::Topic;

/// Every waiting read, by topic.
#[derive(Debug)]
pub(crate) struct Watchers {
    limit: usize,
    table: Mutex<Table>,
    wave: Wave,
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
    /// How often they were woken, and how many have begun to wait since.
    wakes: u64,
    since: usize,
}

/// So many that were woken and are not answered yet are a crowd.
const CROWD: usize = 32;

/// Those who were woken and are not answered yet. Whoever has been told asks again at once, and would
/// be served before others are told at all: while they are a crowd, no connection is read from.
#[derive(Debug, Default)]
pub(crate) struct Wave {
    left: AtomicUsize,
    /// How many crowds there have been.
    number: AtomicU64,
    held: Mutex<Vec<Waker>>,
}

/// One waiting read. It is forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    watchers: &'a Watchers,
    topic: Topic,
    notify: Arc<Notify>,
    /// As of the topic when this began to wait.
    wakes: u64,
}

impl Watchers {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, table: Mutex::default(), wave: Wave::default() }
    }

    /// Those who were woken and are not answered yet.
    pub(crate) const fn wave(&self) -> &Wave {
        &self.wave
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
        waiting.since += 1;
        let (notify, wakes) = (Arc::clone(&waiting.notify), waiting.wakes);
        drop(table);
        Ok(Watch { watchers: self, topic, notify, wakes })
    }

    /// Wakes those who watch one of `topics`. Returns how many that were.
    pub(crate) fn wake<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) -> usize {
        let mut woken = 0;
        let mut table = self.table();
        for topic in topics {
            if let Some(waiting) = table.topics.get_mut(topic) {
                waiting.wake(&self.wave);
                woken += waiting.watchers;
            }
        }
        woken
    }

    /// Wakes everybody. Returns how many that were.
    pub(crate) fn wake_all(&self) -> usize {
        let mut table = self.table();
        table.topics.values_mut().for_each(|waiting| waiting.wake(&self.wave));
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

impl Waiting {
    fn wake(&mut self, wave: &Wave) {
        self.wakes += 1;
        // Before they are: they leave it as soon as they run.
        wave.grow(mem::take(&mut self.since));
        self.notify.notify_waiters();
    }
}

impl Wave {
    /// Whether whoever would read now is to wait; it is woken when it may. `waits_for` is the reader's
    /// own, so that it is entered once: it must be polled by one task only.
    pub(crate) fn holds(&self, waits_for: &mut Option<u64>, waker: &Waker) -> bool {
        if self.left.load(Ordering::Acquire) < CROWD {
            return false;
        }
        let mut held = self.held();
        // Whoever ends a crowd takes out those who are held after that is seen here.
        if self.left.load(Ordering::Acquire) < CROWD {
            return false;
        }
        let number = self.number.load(Ordering::Relaxed);
        if *waits_for != Some(number) {
            *waits_for = Some(number);
            held.push(waker.clone());
        }
        true
    }

    fn grow(&self, count: usize) {
        self.left.fetch_add(count, Ordering::AcqRel);
    }

    /// One of them is about to be answered.
    fn shrink(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) != CROWD {
            return;
        }
        let mut held = self.held();
        self.number.fetch_add(1, Ordering::Relaxed);
        let held = mem::take(&mut *held);
        held.into_iter().for_each(Waker::wake);
    }

    fn held(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch<'_> {
    /// It was woken for nothing, and goes on waiting.
    pub(crate) fn rest(&mut self) {
        let mut table = self.watchers.table();
        if let Some(waiting) = table.topics.get_mut(&self.topic)
            && waiting.wakes != self.wakes
        {
            self.wakes = waiting.wakes;
            waiting.since += 1;
            self.watchers.wave.shrink();
        }
    }

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
            if waiting.wakes == self.wakes {
                waiting.since -= 1;
            } else {
                self.watchers.wave.shrink();
            }
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

    struct Counted(AtomicUsize);

    impl std::task::Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn readers_wait_until_a_crowd_is_answered() {
        let watchers = Watchers::new(1000);
        let web = Topic::Service("web".into());
        let watch = || watchers.watch(web.clone()).expect("below the limit");
        let mut crowd: Vec<Watch<'_>> = std::iter::repeat_with(watch).take(CROWD + 2).collect();
        let reader = Arc::new(Counted(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&reader));
        let mut waits_for = None;
        let mut holds = || watchers.wave().holds(&mut waits_for, &waker);
        assert!(!holds(), "nobody was woken");
        watchers.wake([&web]);
        watchers.wake([&web]);
        assert!(holds() && holds());
        // One goes, one was woken for nothing.
        crowd.pop();
        crowd[0].rest();
        crowd[0].rest();
        assert!(holds());
        assert_eq!(reader.0.load(Ordering::Relaxed), 0);
        crowd.pop();
        assert_eq!(reader.0.load(Ordering::Relaxed), 1, "entered once, woken once");
        assert!(!holds());
        crowd.clear();
        assert_eq!(watchers.wave().left.load(Ordering::Relaxed), 0);
        watchers.wake_all();
        assert!(!holds());
    }
}
