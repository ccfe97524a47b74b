//! Runs the rules, on the journal's driver: it owns all writing, and lets nobody see or feel what is
//! not durable yet. Here is what the rules and the driver need to know of each other, and the hands
//! that carry out effects.

use std::sync::Arc;

use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::{self, Clock, Done, Driver, Hands, Settings};
use posthouse_journal::{Journal, StreamName};
use tokio::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::follow::{Endpoint, Follower, Followers};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::runner::Runners;
use crate::state::{Command, Effect, Index, Node, Reply, State, Topic};
use crate::watch::Watchers;

/// The registry's stream in the journal.
const STREAM: &str = "registry";

/// Commands that are decided before anybody may read.
const COMMANDS: usize = 64;

/// The most bytes that one command may need in the journal: what removing a full node takes.
const LARGEST: usize = 15 << 20;

/// The registry, as other parts of the house hold it. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What the writing task and all readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watchers: Watchers,
    pub(crate) followers: Followers,
    driver: driver::Handle<State>,
}

impl Handle {
    /// Brings back what the journal tells, or begins anew, and starts the rules, without an
    /// interface, on the current tokio runtime. Without a journal everything is forgotten when it
    /// ends.
    ///
    /// # Errors
    /// When what the journal has cannot be brought back, and when it cannot write.
    pub async fn start(
        config: Config,
        journal: Option<Arc<dyn Journal>>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let settings = Settings {
            queue: config.limits.queue,
            commands: COMMANDS,
            event_bytes: LARGEST,
            ..Settings::new(StreamName::internal(STREAM))
        };
        let limits = config.state_limits();
        let clock = clock();
        let now = clock();
        let driver = Driver::open(settings, journal, move || State::blank(limits), clock).await?;
        let runners = Runners::new(tasks.child(), config.limits.probes);
        let own = own_node(&config);
        let shared = Arc::new(Shared {
            metrics: Arc::default(),
            watchers: Watchers::new(config.limits.watchers),
            followers: Followers::default(),
            driver: driver.handle().clone(),
            config,
        });
        let handle = Self { shared };
        driver.run(Carrier { handle: handle.clone(), runners }, tasks);
        // Milliseconds since 1970, with room for a change in each: a registry whose data was lost, or
        // put back from a copy, goes on above the indexes that it gave before.
        let start = Index::new(now.as_millis());
        handle.command(Command::Open { own, start }).await?;
        Ok(handle)
    }

    /// Carries out a command, and waits until it is durable and seen by readers.
    ///
    /// # Errors
    /// When it is refused, when it is not known to be durable, and when the registry is shutting
    /// down.
    pub async fn command(&self, command: Command) -> Result<Reply, Error> {
        let outcome = self.shared.driver.command(command).await?;
        Ok(outcome.inspect_err(|refusal| self.metrics().refused(refusal))?)
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
        self.shared.read(gather).await
    }

    /// Hands in a command whose answer does not matter.
    pub(crate) async fn tell(&self, command: Command) -> Result<(), Error> {
        Ok(self.shared.driver.tell(command).await?)
    }

    /// Follows every service.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower::new(Arc::clone(&self.shared))
    }

    /// Follows the keys that begin with `folder`, which ends with `/`.
    #[must_use]
    pub fn keys(&self, folder: &str) -> Keys {
        Keys::new(Arc::clone(&self.shared), folder)
    }

    /// The names of all services, in order.
    ///
    /// # Errors
    /// As [`Handle::instances`].
    pub async fn services(&self) -> Result<Vec<Arc<str>>, Error> {
        let names = |state: &State| state.services().map(|name| name.to_shared()).collect();
        let read = self.read(|state| (names(state), state.index_of(&Topic::Services))).await;
        Ok(read?.0)
    }

    /// The instances of a service, ordered by node and id.
    ///
    /// # Errors
    /// When there are changes that cannot be made durable now, and when the registry is shutting
    /// down.
    pub async fn instances(&self, service: &str) -> Result<Vec<Endpoint>, Error> {
        let name = service.into();
        let topic = Topic::Service(service.into());
        let views = |state: &State| state.instances(&name).collect::<Vec<_>>();
        let (views, _) = self.read(|state| (views(state), state.index_of(&topic))).await?;
        Ok(views.iter().map(Endpoint::from).collect())
    }

    /// All nodes, by name.
    ///
    /// # Errors
    /// As [`Handle::instances`].
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let nodes = |state: &State| state.nodes().map(|node| node.value.clone()).collect();
        let read = self.read(|state| (nodes(state), state.index_of(&Topic::Nodes))).await;
        Ok(read?.0)
    }

    /// Takes no more commands, carries out what was handed in, writes down the state and ends.
    pub async fn close(&self) {
        self.shared.driver.close().await;
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

    /// What `look` finds in the state as it is, which may yet be lost: not to be told to anybody.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.shared.driver.peek(look)
    }
}

impl Shared {
    /// [`Handle::read`].
    pub(crate) async fn read<T>(
        &self,
        gather: impl Fn(&State) -> (T, Index),
    ) -> Result<(T, Index), Error> {
        let gather = |state: &State| {
            let (found, index) = gather(state);
            ((found, index), index.get())
        };
        Ok(self.driver.read(gather).await?)
    }

    /// [`Handle::read`], but `None` where that would wait.
    pub(crate) fn try_read<T>(&self, gather: impl Fn(&State) -> (T, Index)) -> Option<T> {
        self.driver.try_read(|state| {
            let (found, index) = gather(state);
            (found, index.get())
        })
    }

    /// How often the state may have changed ([`driver::Handle::revision`]).
    pub(crate) fn revision(&self) -> u64 {
        self.driver.revision()
    }

    /// [`Handle::peek`].
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.driver.peek(look)
    }

    /// Figures about the writing.
    pub(crate) fn stats(&self) -> driver::Stats {
        self.driver.stats()
    }
}

/// Carries out effects.
struct Carrier {
    handle: Handle,
    runners: Runners,
}

impl Hands<State> for Carrier {
    fn carry_out(&mut self, done: Vec<Done<State>>) {
        let shared = Arc::clone(&self.handle.shared);
        let mut topics = Vec::new();
        for Done { events, effects } in done {
            events.iter().for_each(|event| shared.metrics.happened(event));
            for effect in effects {
                match effect {
                    Effect::StartProbing { node, id, run, probe } => {
                        self.runners.start((node, id), run, probe, self.handle.clone());
                    }
                    Effect::StopProbing { node, id } => self.runners.stop(&(node, id)),
                    Effect::Wake(topic) => topics.push(topic),
                }
            }
        }
        // Several commands of one batch may have touched the same topic.
        topics.sort_unstable();
        topics.dedup();
        shared.metrics.woke(shared.watchers.wake(&topics));
        for topic in &topics {
            if let Topic::Service(name) = topic {
                shared.followers.push(name);
            }
        }
    }

    /// Probes what is to be probed and nothing else. Whoever waits or follows looks at everything
    /// again: it cannot be told what they have seen of it.
    fn take_over(&mut self, state: &State) {
        self.runners.run_only(state.probed_checks(), &self.handle);
        let shared = &self.handle.shared;
        shared.metrics.woke(shared.watchers.wake_all());
        state.services().chain(state.services_gone()).for_each(|name| shared.followers.push(name));
    }
}

/// Wall-clock time that no adjustment of the system's clock disturbs: a jump forward must not make
/// every TTL check expire.
fn clock() -> Clock {
    let (began, at) = (Instant::now(), Timestamp::now());
    Arc::new(move || at.plus(began.elapsed()))
}

/// The registry's own node: where instances that register without naming a node are.
fn own_node(config: &Config) -> Node {
    let ip = config.address.ip();
    let address = if ip.is_unspecified() { "127.0.0.1".to_owned() } else { ip.to_string() };
    let family = if address.contains(':') { "ipv6" } else { "ipv4" };
    let tagged = ["lan".to_owned(), format!("lan_{family}"), "wan".into(), format!("wan_{family}")];
    Node {
        name: config.node.as_str().into(),
        // Only until it has one.
        id: uuid::Uuid::new_v4().to_string(),
        tagged_addresses: tagged.into_iter().map(|tag| (tag, address.clone())).collect(),
        meta: [("consul-network-segment".to_owned(), String::new())].into(),
        address,
    }
}
