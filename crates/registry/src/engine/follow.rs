//! The tasks that follow the engine: one for the list of services, and one for each service.
//!
//! Every read is a blocking one, and as many of them are under way as the limit allows, since the
//! engine has limits too (Consul gives one client 200 connections). Of more services each has its
//! turn, for a short while. An engine whose index goes back has another past than the one that is
//! known, and is read anew. While it does not answer, it is asked again after longer and longer
//! pauses, with chance in them, so that the many who lost it do not come back at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthouse_base::task::Tasks;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::{Notify, Semaphore};

use super::adopt::Mirror;
use super::answer::{Entry, KeySaid};
use super::client::{Answer, Client, Fault, segment};
use super::standing::Standing;

/// How long a blocking read waits when there is room for all of them.
const LONG_WAIT: Duration = Duration::from_secs(5 * 60);

/// How long one waits when others wait for their turn.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// The shortest time from one answer to the next question about the same: a service that changes all
/// the time is read so often, and no more.
const PACE: Duration = Duration::from_millis(10);

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// What every task needs.
#[derive(Debug)]
pub(super) struct Following {
    client: Client,
    mirror: Mirror,
    standing: Arc<Standing>,
    /// Blocking reads of services at the same time.
    turns: Semaphore,
    places: usize,
    /// Services that are followed.
    services: AtomicUsize,
    /// Tells who pauses that the engine is back.
    back: Notify,
}

/// Whether a task's reads say how the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    Yes,
    No,
}

/// A place that is read again and again.
#[derive(Debug)]
struct Reader {
    path: String,
    /// The index of the last answer; 0 to be answered at once.
    index: u64,
    failures: u32,
}

impl Following {
    pub(super) fn new(
        client: Client,
        mirror: Mirror,
        standing: Arc<Standing>,
        places: usize,
    ) -> Self {
        let (services, back) = (AtomicUsize::new(0), Notify::new());
        Self { client, mirror, standing, turns: Semaphore::new(places), places, services, back }
    }

    /// Follows every service for as long as `tasks` goes on.
    pub(super) async fn all(self: Arc<Self>, tasks: Tasks) {
        let mut reader = Reader::new("/v1/catalog/services".into());
        let mut followed: HashMap<String, Tasks> = HashMap::new();
        loop {
            let read = reader.read(&self.client, LONG_WAIT).await;
            self.standing.read(&read);
            let listed: BTreeMap<String, IgnoredAny> = match read {
                Ok(listed) => listed,
                Err(fault) => {
                    self.standing.failed(&fault);
                    self.pause(&reader).await;
                    continue;
                }
            };
            if self.standing.answered() {
                self.back.notify_waiters();
            }
            // Those that are known from before us as well, whom nobody follows.
            let known = self.mirror.services().into_iter().chain(followed.keys().cloned());
            let gone: BTreeSet<_> = known.filter(|name| !listed.contains_key(name)).collect();
            for name in gone {
                if let Some(own) = followed.remove(&name) {
                    own.stop();
                }
                if self.mirror.forget(&name).await.is_err() {
                    return;
                }
            }
            self.services.store(listed.len(), Ordering::Relaxed);
            for name in listed.into_keys() {
                followed.entry(name).or_insert_with_key(|name| {
                    let own = tasks.child();
                    let follow = Arc::clone(&self).service(name.clone(), Leads::No);
                    own.spawn("followed service", follow);
                    own
                });
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Follows the keys in a folder.
    pub(super) async fn keys(self: Arc<Self>, folder: String) {
        let mut reader = Reader::new(format!("/v1/kv/{folder}?recurse"));
        loop {
            let read = reader.read(&self.client, LONG_WAIT).await;
            self.standing.read(&read);
            let pairs: Vec<KeySaid> = match read {
                Ok(pairs) => pairs,
                Err(fault) => {
                    tracing::debug!("{folder} cannot be read from the engine: {fault}");
                    self.pause(&reader).await;
                    continue;
                }
            };
            if self.mirror.adopt_keys(&folder, KeySaid::to_pairs(pairs)).await.is_err() {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Follows one service only. What becomes of its reads is how the engine is.
    pub(super) async fn one(self: Arc<Self>, name: String) {
        self.services.store(1, Ordering::Relaxed);
        self.service(name, Leads::Yes).await;
    }

    /// Follows a service.
    async fn service(self: Arc<Self>, name: String, leads: Leads) {
        let mut reader = Reader::new(format!("/v1/health/service/{}", segment(&name)));
        loop {
            let entries = match self.turn(&mut reader).await {
                None => return,
                Some(Ok(entries)) => {
                    if leads == Leads::Yes {
                        self.standing.answered();
                    }
                    entries
                }
                Some(Err(fault)) => {
                    if leads == Leads::Yes {
                        self.standing.failed(&fault);
                    }
                    tracing::debug!("{name} cannot be read from the engine: {fault}");
                    self.pause(&reader).await;
                    continue;
                }
            };
            if self.mirror.adopt(&name, entries).await.is_err() {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Reads once, when it is this reader's turn.
    async fn turn(&self, reader: &mut Reader) -> Option<Result<Vec<Entry>, Fault>> {
        // The semaphore is never closed.
        let turn = self.turns.acquire().await.ok()?;
        let all_fit = self.services.load(Ordering::Relaxed) <= self.places;
        let wait = if all_fit { LONG_WAIT } else { SHORT_WAIT };
        let read = reader.read(&self.client, wait).await;
        drop(turn);
        self.standing.read(&read);
        Some(read)
    }

    /// Waits after a failure, until it is time or the engine is back.
    async fn pause(&self, reader: &Reader) {
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(reader.failures.saturating_sub(1).min(16));
        let pause = doubled.min(LAST_PAUSE).mul_f64(0.5 + fastrand::f64() / 2.0);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.back.notified() => {}
        }
    }
}

impl Reader {
    const fn new(path: String) -> Self {
        Self { path, index: 0, failures: 0 }
    }

    /// Reads what is there once it has changed since the last time, or at once after a failure:
    /// what has changed meanwhile is known to nobody.
    async fn read<T: DeserializeOwned>(
        &mut self,
        client: &Client,
        wait: Duration,
    ) -> Result<T, Fault> {
        match client.read(&self.path, self.index, wait).await {
            Ok(Answer { index, value }) => {
                self.index = if index < self.index { 0 } else { index };
                self.failures = 0;
                Ok(value)
            }
            Err(fault) => {
                self.index = 0;
                self.failures = self.failures.saturating_add(1);
                Err(fault)
            }
        }
    }
}
