//! A queue from tasks to threads, bounded by count and by bytes: who pushes waits for room without
//! holding a thread, who takes waits without spinning.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::error::Error;

/// The queue. Items leave in the order in which they were let in.
pub(super) struct Queue<T> {
    items: Mutex<Items<T>>,
    filled: Condvar,
    places: Semaphore,
    bytes: Semaphore,
    most_bytes: u32,
    patience: Duration,
}

struct Items<T> {
    /// With the bytes that each takes up; `None` for the engine's own, which take up nothing.
    waiting: VecDeque<(T, Option<u32>)>,
    /// Threads that wait for an item; nobody is woken when there is none.
    takers: usize,
    closed: bool,
    woken: bool,
}

/// What [`Queue::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Items were taken.
    Some,
    /// Nothing came in time, or the taker is to look around.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Queue<T> {
    pub(super) fn new(places: usize, bytes: u64) -> Self {
        let most_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            items: Mutex::new(Items {
                waiting: VecDeque::new(),
                takers: 0,
                closed: false,
                woken: false,
            }),
            filled: Condvar::new(),
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            bytes: Semaphore::new(usize::try_from(most_bytes).unwrap_or(Semaphore::MAX_PERMITS)),
            most_bytes,
            patience: Duration::ZERO,
        }
    }

    /// A taker that finds nothing looks again for so long before it sleeps.
    pub(super) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Lets `item` in, once there is room for it. One that is larger than the queue has it alone.
    pub(super) async fn push(&self, item: T, bytes: usize) -> Result<(), Error> {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most_bytes);
        let place = self.places.acquire().await.map_err(|_| Error::Closed)?;
        let room = self.bytes.acquire_many(cost).await.map_err(|_| Error::Closed)?;
        place.forget();
        room.forget();
        self.enter(item, Some(cost))
    }

    /// Lets `item` in although there may be no room: for the engine's own few requests.
    pub(super) fn push_own(&self, item: T) -> Result<(), Error> {
        self.enter(item, None)
    }

    /// Has the taker look around, though nothing came.
    pub(super) fn wake(&self) {
        self.lock().woken = true;
        self.filled.notify_all();
    }

    fn enter(&self, item: T, cost: Option<u32>) -> Result<(), Error> {
        let mut items = self.lock();
        if items.closed {
            return Err(Error::Closed);
        }
        items.waiting.push_back((item, cost));
        let wake = items.takers > 0;
        drop(items);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves up to `most` items into `into`, as long as those before are of less than `bytes`
    /// together. Waits for the first one until `until`; for ever when that is `None`.
    pub(super) fn take(
        &self,
        into: &mut Vec<T>,
        most: usize,
        bytes: u64,
        until: Option<Instant>,
    ) -> Taken {
        let mut items = self.linger(until);
        while items.waiting.is_empty() {
            if items.closed {
                return Taken::Closed;
            }
            if std::mem::take(&mut items.woken) {
                return Taken::Nothing;
            }
            let left = until
                .map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Taken::Nothing;
            }
            items.takers += 1;
            items = self.wait(items, left);
            items.takers -= 1;
        }
        let (mut count, mut places, mut sum) = (0, 0, 0_u64);
        while count < most && sum < bytes {
            let Some((item, cost)) = items.waiting.pop_front() else { break };
            into.push(item);
            count += 1;
            places += usize::from(cost.is_some());
            sum += u64::from(cost.unwrap_or(0));
        }
        drop(items);
        self.places.add_permits(places);
        self.bytes.add_permits(usize::try_from(sum).unwrap_or(0));
        Taken::Some
    }

    /// Lets nothing more in; what is in may still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.places.close();
        self.bytes.close();
        self.filled.notify_all();
    }

    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Looks a few times before the taker goes to sleep: to be woken takes longer than most writers
    /// take to come again with their next batch. Others that want the processor go first.
    fn linger(&self, until: Option<Instant>) -> MutexGuard<'_, Items<T>> {
        let mut items = self.lock();
        if self.patience.is_zero() || until.is_some() {
            return items;
        }
        let began = Instant::now();
        while items.waiting.is_empty() && !items.closed && began.elapsed() < self.patience {
            drop(items);
            std::thread::yield_now();
            items = self.lock();
        }
        items
    }

    fn lock(&self) -> MutexGuard<'_, Items<T>> {
        // Nothing under this lock can panic half-way.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        items: MutexGuard<'a, Items<T>>,
        most: Duration,
    ) -> MutexGuard<'a, Items<T>> {
        if most == Duration::MAX {
            return self.filled.wait(items).unwrap_or_else(PoisonError::into_inner);
        }
        self.filled.wait_timeout(items, most).unwrap_or_else(PoisonError::into_inner).0
    }
}
