//! Runs the rules. One task owns all writing: it takes commands from a bounded queue, lets the
//! rules decide them under the write lock, carries out the effects, and answers. Readers share the
//! read lock for as long as it takes to gather what is stored, never across a wait.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::follow::{Endpoint, Follower, Followers};
use crate::metrics::Metrics;
use crate::runner::Runners;
use crate::state::{Command, Effect, Index, Node, Refusal, Reply, State, Topic};
use crate::watch::Watchers;

/// How many waiting commands are carried out before their effects are.
const BATCH: usize = 64;

/// The registry, as other parts of the house hold it. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Request>,
}

/// What the writing task and all readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watchers: Watchers,
    pub(crate) followers: Followers,
    state: RwLock<State>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    /// Absent when nobody waits for the answer.
    reply: Option<oneshot::Sender<Result<Reply, Refusal>>>,
}

impl Handle {
    /// Starts the rules, without an interface, on the current tokio runtime.
    #[must_use]
    pub fn start(config: Config, tasks: &Tasks) -> Self {
        let clock = Clock::start();
        let now = clock.now();
        // Seconds since 1970, with room for a thousand changes in each: a registry that forgot
        // everything when it was restarted goes on above the indexes that it gave before.
        let start = Index::new(now.as_millis());
        let state = State::new(own_node(&config), config.state_limits(), start, now);
        let (commands, queue) = mpsc::channel(config.limits.queue);
        let runners = Runners::new(tasks.child(), config.limits.probes);
        let shared = Arc::new(Shared {
            metrics: Arc::default(),
            watchers: Watchers::new(config.limits.watchers),
            followers: Followers::default(),
            state: RwLock::new(state),
            config,
        });
        let handle = Self { shared, commands };
        let service = Service { handle: handle.clone(), clock, runners };
        tasks.spawn("registry", service.run(queue));
        handle
    }

    /// Carries out a command, and waits until it is done and seen by readers.
    ///
    /// # Errors
    /// When it is refused, and when the registry is shutting down.
    pub async fn command(&self, command: Command) -> Result<Reply, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request { command, reply: Some(reply) };
        self.commands.send(request).await.map_err(|_closed| Error::Stopped)?;
        Ok(answer.await.map_err(|_dropped| Error::Stopped)??)
    }

    /// What `gather` finds, which it gives with the index that it goes by (that of a topic, or of
    /// everything). Resolves once that index is durable, so that nobody is ever told what a power cut
    /// could take back; `gather` may be asked again until then. It holds up all writing meanwhile:
    /// copy what is stored, and show it afterwards.
    ///
    /// # Errors
    /// When what was found cannot be made durable now, and when the registry is shutting down.
    pub(crate) async fn read<T>(
        &self,
        gather: impl Fn(&State) -> (T, Index),
    ) -> Result<(T, Index), Error> {
        Ok(gather(&self.state()))
    }

    /// Hands in a command whose answer does not matter.
    pub(crate) async fn tell(&self, command: Command) -> Result<(), Error> {
        let request = Request { command, reply: None };
        self.commands.send(request).await.map_err(|_closed| Error::Stopped)
    }

    /// Follows every service.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower::new(Arc::clone(&self.shared))
    }

    /// The names of all services, in order.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<str>> {
        self.state().services().map(|name| name.to_shared()).collect()
    }

    /// The instances of a service, ordered by node and id.
    #[must_use]
    pub fn instances(&self, service: &str) -> Vec<Endpoint> {
        let views: Vec<_> = self.state().instances(&service.into()).collect();
        views.iter().map(Endpoint::from).collect()
    }

    /// All nodes, by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.state().nodes().map(|node| node.value.clone()).collect()
    }

    /// Enters the registry's metrics.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        Metrics::register(&self.shared, registry);
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What `look` finds in the state as it is.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state())
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    /// The state, for reading. Not to be held across an await.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one that writes.
struct Service {
    handle: Handle,
    clock: Clock,
    runners: Runners,
}

impl Service {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let due = self.handle.state().next_deadline();
            let pause = due.map_or(Duration::MAX, |due| due.since(self.clock.now()));
            tokio::select! {
                received = queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                () = sleep(pause) => batch.push(Request { command: Command::Tick, reply: None }),
            }
            self.carry_out(&mut batch);
        }
    }

    fn carry_out(&mut self, batch: &mut Vec<Request>) {
        let shared = Arc::clone(&self.handle.shared);
        let now = self.clock.now();
        let mut effects = Vec::new();
        let mut replies = Vec::new();
        let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
        for Request { command, reply } in batch.drain(..) {
            let outcome = state.handle(command, now);
            let answer = outcome.map(|outcome| {
                outcome.events.iter().for_each(|event| shared.metrics.happened(event));
                effects.extend(outcome.effects);
                outcome.reply
            });
            replies.extend(reply.map(|reply| (reply, answer)));
        }
        drop(state);
        self.take_effect(effects);
        for (reply, answer) in replies {
            if let Err(refusal) = &answer {
                shared.metrics.refused(refusal);
            }
            // Whoever asked may have gone; what was asked is done all the same.
            let _gone = reply.send(answer);
        }
    }

    fn take_effect(&mut self, effects: Vec<Effect>) {
        let mut topics = Vec::new();
        for effect in effects {
            match effect {
                Effect::StartProbing { node, id, run, probe } => {
                    self.runners.start((node, id), run, probe, self.handle.clone());
                }
                Effect::StopProbing { node, id } => self.runners.stop(&(node, id)),
                Effect::Wake(topic) => topics.push(topic),
            }
        }
        // Several commands of one batch may have touched the same topic.
        topics.sort_unstable();
        topics.dedup();
        let shared = &self.handle.shared;
        shared.metrics.woke(shared.watchers.wake(&topics));
        for topic in &topics {
            if let Topic::Service(name) = topic {
                shared.followers.push(name);
            }
        }
    }
}

async fn sleep(pause: Duration) {
    match Instant::now().checked_add(pause) {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Wall-clock time that no adjustment of the system's clock disturbs: a jump forward must not make
/// every TTL check expire.
#[derive(Clone, Copy, Debug)]
struct Clock {
    began: Instant,
    at: Timestamp,
}

impl Clock {
    fn start() -> Self {
        Self { began: Instant::now(), at: Timestamp::now() }
    }

    fn now(&self) -> Timestamp {
        self.at.plus(self.began.elapsed())
    }
}

/// The registry's own node: where instances that register without naming a node are.
fn own_node(config: &Config) -> Node {
    let ip = config.address.ip();
    let address = if ip.is_unspecified() { "127.0.0.1".to_owned() } else { ip.to_string() };
    let family = if address.contains(':') { "ipv6" } else { "ipv4" };
    let tagged = ["lan".to_owned(), format!("lan_{family}"), "wan".into(), format!("wan_{family}")];
    Node {
        name: config.node.as_str().into(),
        id: uuid::Uuid::new_v4().to_string(),
        tagged_addresses: tagged.into_iter().map(|tag| (tag, address.clone())).collect(),
        meta: [("consul-network-segment".to_owned(), String::new())].into(),
        address,
    }
}
