//! How others ask a pillar and read its state.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::error::Error;
use crate::driver::rules::Rules;

/// A pillar's state and the way to change it. Clones are the same.
pub struct Handle<R: Rules> {
    shared: Arc<Shared<R>>,
    commands: mpsc::Sender<Request<R>>,
}

/// What the writing task and all readers share.
pub(super) struct Shared<R> {
    held: RwLock<Held<R>>,
    /// Everything up to this mark is durable. While the state is held, what is durable up to here is
    /// what the state says it is; it grows whenever something becomes durable.
    durable: AtomicU64,
    /// Counts how often the state may have changed.
    revision: AtomicU64,
    progress: watch::Sender<Progress>,
    closing: watch::Sender<bool>,
    pub(super) counters: Counters,
}

pub(super) struct Held<R> {
    pub(super) state: R,
    /// Counts how often the state was brought back.
    life: u64,
}

/// What readers wait for.
#[derive(Clone, Debug)]
struct Progress {
    life: u64,
    durable: u64,
    /// Why what is not durable cannot be read. Some of the state was lost, and it could not be
    /// brought back; or it is over.
    trouble: Option<Error>,
}

pub(super) struct Request<R: Rules> {
    pub(super) command: R::Command,
    /// Absent when nobody waits for the answer.
    pub(super) reply: Option<Reply<R>>,
}

pub(super) type Reply<R> = oneshot::Sender<Result<<R as Rules>::Reply, Error>>;

/// Who waits, and what to tell them.
pub(super) struct Answer<R: Rules> {
    pub(super) to: Reply<R>,
    pub(super) told: Result<R::Reply, Error>,
}

impl<R: Rules> Answer<R> {
    /// Whoever asked may have gone; what was asked is done all the same.
    pub(super) fn give(self) {
        let _gone = self.to.send(self.told);
    }

    pub(super) fn give_instead(self, error: Error) {
        let _gone = self.to.send(Err(error));
    }
}

/// Figures about a driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commands that wait to be decided.
    pub queued: u64,
    /// Batches that were decided and are not durable yet.
    pub in_flight: u64,
    /// Events written.
    pub events: u64,
    /// Batches that the journal did not confirm.
    pub failed: u64,
    /// How often the state was brought back because something decided had been lost.
    pub rebuilt: u64,
    /// Commands refused because the journal could not write.
    pub refused: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that could not be written.
    pub checkpoints_failed: u64,
    /// The size of the last checkpoint.
    pub checkpoint_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) in_flight: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) rebuilt: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) checkpoints_failed: AtomicU64,
    pub(super) checkpoint_bytes: AtomicU64,
}

impl<R: Rules> Handle<R> {
    pub(super) const fn new(shared: Arc<Shared<R>>, commands: mpsc::Sender<Request<R>>) -> Self {
        Self { shared, commands }
    }

    /// Carries out a command. When this resolves, what it came to is durable, its effects are under
    /// way and readers see it.
    ///
    /// # Errors
    /// When it is not known to be durable, and when the pillar is shutting down.
    pub async fn command(&self, command: R::Command) -> Result<R::Reply, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request { command, reply: Some(reply) };
        self.commands.send(request).await.map_err(|_closed| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Hands in a command, and waits only for its place in the queue. Commands that are handed in one
    /// after the other are carried out in that order. Dropping what is returned changes nothing.
    ///
    /// # Errors
    /// When the pillar is shutting down.
    pub async fn hand_in(&self, command: R::Command) -> Result<Pending<R::Reply>, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request { command, reply: Some(reply) };
        self.commands.send(request).await.map_err(|_closed| Error::Closed)?;
        Ok(Pending(answer))
    }

    /// Hands in a command whose answer does not matter.
    ///
    /// # Errors
    /// When the pillar is shutting down.
    pub async fn tell(&self, command: R::Command) -> Result<(), Error> {
        let request = Request { command, reply: None };
        self.commands.send(request).await.map_err(|_closed| Error::Closed)
    }

    /// What `gather` finds, which it gives with the mark that it goes by: [`Rules::mark`], or that of
    /// the part which it looked at. Resolves once that mark is durable, so that nobody is ever told
    /// what could be lost; `gather` may be asked again until then. It holds up writing meanwhile.
    ///
    /// # Errors
    /// When what was found was lost or may be, and the journal cannot say; and when the pillar has
    /// shut down before it was durable.
    pub async fn read<T>(&self, gather: impl Fn(&R) -> (T, u64)) -> Result<T, Error> {
        loop {
            let (found, mark, life) = match self.gather(&gather) {
                Gathered::Durable(found) => return Ok(found),
                Gathered::Early(found, mark, life) => (found, mark, life),
            };
            let mut progress = self.shared.progress.subscribe();
            let settled = progress.wait_for(|progress| {
                progress.life != life || progress.durable >= mark || progress.trouble.is_some()
            });
            let progress = settled.await.map_err(|_closed| Error::Closed)?.clone();
            if progress.life != life {
                continue;
            }
            return match progress.trouble {
                Some(error) if progress.durable < mark => Err(error),
                _ => Ok(found),
            };
        }
    }

    /// Like [`Handle::read`], but `None` where that would wait.
    pub fn try_read<T>(&self, gather: impl Fn(&R) -> (T, u64)) -> Option<T> {
        match self.gather(&gather) {
            Gathered::Durable(found) => Some(found),
            Gathered::Early(..) => None,
        }
    }

    /// What `look` finds in the state as it is, which may yet be lost. For figures, and for questions
    /// whose answer is asked again before anybody is told.
    pub fn peek<T>(&self, look: impl FnOnce(&R) -> T) -> T {
        look(&self.shared.state().state)
    }

    /// How often the state may have changed. Asked while it is looked at (in `gather` or `look`), equal
    /// numbers tell that it is the very same.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Relaxed)
    }

    /// Takes no more commands, carries out what was handed in, writes a checkpoint and ends.
    pub async fn close(&self) {
        self.shared.closing.send_replace(true);
        let mut progress = self.shared.progress.subscribe();
        let _it_holds_the_sender_itself =
            progress.wait_for(|progress| matches!(progress.trouble, Some(Error::Closed))).await;
    }

    /// Figures, as they are now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let queued = self.commands.max_capacity() - self.commands.capacity();
        Stats {
            queued: u64::try_from(queued).unwrap_or(u64::MAX),
            in_flight: get(&counters.in_flight),
            events: get(&counters.events),
            failed: get(&counters.failed),
            rebuilt: get(&counters.rebuilt),
            refused: get(&counters.refused),
            checkpoints: get(&counters.checkpoints),
            checkpoints_failed: get(&counters.checkpoints_failed),
            checkpoint_bytes: get(&counters.checkpoint_bytes),
        }
    }

    fn gather<T>(&self, gather: impl Fn(&R) -> (T, u64)) -> Gathered<T> {
        let held = self.shared.state();
        let (found, mark) = gather(&held.state);
        // Looked at while the state is held: a state that is brought back raises it, too.
        if self.shared.durable.load(Ordering::Acquire) >= mark {
            Gathered::Durable(found)
        } else {
            Gathered::Early(found, mark, held.life)
        }
    }
}

/// The coming answer to a command that was handed in. Resolves as [`Handle::command`] does.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, Error>>);

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

enum Gathered<T> {
    Durable(T),
    /// With the mark that is not durable yet, and the life in which it was seen.
    Early(T, u64, u64),
}

impl<R: Rules> Shared<R> {
    /// Shares a state that is durable as it is.
    pub(super) fn new(state: R) -> Self {
        let durable = state.mark();
        Self {
            held: RwLock::new(Held { state, life: 0 }),
            durable: AtomicU64::new(durable),
            revision: AtomicU64::new(0),
            progress: watch::Sender::new(Progress { life: 0, durable, trouble: None }),
            closing: watch::Sender::new(false),
            counters: Counters::default(),
        }
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, Held<R>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, Held<R>> {
        let held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        // Seen by whoever holds the state after this, since they take the same lock.
        self.revision.fetch_add(1, Ordering::Relaxed);
        held
    }

    /// Everything up to `mark` is durable.
    pub(super) fn landed(&self, mark: u64) {
        if self.durable.fetch_max(mark, Ordering::AcqRel) < mark {
            self.progress.send_modify(|progress| progress.durable = mark);
        }
    }

    /// Puts a state that was brought back in place of one of which something was lost.
    pub(super) fn replace(&self, state: R) {
        let durable = state.mark();
        let mut held = self.state_mut();
        let lost = std::mem::replace(&mut held.state, state);
        held.life += 1;
        let life = held.life;
        self.durable.store(durable, Ordering::Release);
        self.progress.send_replace(Progress { life, durable, trouble: None });
        drop(held);
        // It may be large.
        drop(lost);
    }

    /// What is not durable cannot be read, for now or for ever.
    pub(super) fn trouble(&self, error: Error) {
        self.progress.send_modify(|progress| progress.trouble = Some(error));
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

impl<R: Rules> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), commands: self.commands.clone() }
    }
}

impl<R: Rules> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
