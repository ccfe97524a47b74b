//! The gateway's handle: starts the threads, puts configurations in force, and ends in good order.

use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use posthouse_base::task::Tasks;
use tokio::sync::mpsc;

use crate::cluster::view::ServiceView;
use crate::cluster::{Coarse, InstanceSpec};
use crate::config::Config;
use crate::config::model::{self, Listener, ServiceName};
use crate::directory::Directory;
use crate::error::Error;
use crate::guard::explain::{self, Explanation, Question};
use crate::limit::Book;
use crate::listener::Door;
use crate::resolve;
use crate::seams::Seams;
use crate::shared::{Shared, Snapshot};
use crate::tls::{Look, ServerTls};
use crate::upstream::UpstreamTls;
use crate::view::View;
use crate::worker::{self, JOBS, Job};

/// Time between two looks at the certificate files.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);
/// Time between two looks at whether the last connection has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// A running gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    tasks: Tasks,
    /// Towards instances: authorities' files are read again with each configuration.
    tls: Arc<UpstreamTls>,
    /// One change at a time; held longer than `state` ever is.
    turn: Mutex<()>,
    state: Arc<Mutex<State>>,
}

/// What changes with the configuration.
struct State {
    doors: Vec<Arc<Door>>,
    /// The listeners in the order of the configuration.
    listeners: Vec<Listener>,
    services: Arc<Services>,
    drain: Duration,
    /// Who follows host names, by service.
    followers: HashMap<ServiceName, Tasks>,
    /// What was in force before and may still be in use.
    retired: Vec<Arc<Snapshot>>,
    threads: Vec<JoinHandle<()>>,
}

type Services = BTreeMap<ServiceName, model::Service>;

/// Listeners that are bound but not yet accepted from.
type Opened = Vec<(Arc<Door>, TcpListener)>;

impl Gateway {
    /// Binds every listener and starts the threads. Call it within a tokio runtime: health checks
    /// and name resolution run there, in `tasks`.
    ///
    /// # Errors
    /// When an address cannot be listened on, a certificate cannot be used, or a thread cannot be
    /// started. Nothing is left running then.
    pub fn start(mut config: Config, seams: Seams, tasks: &Tasks) -> Result<Self, Error> {
        let opened = open(&config.listeners, &[])?;
        let directory = Directory::default();
        directory.configure(&Services::new(), &config.services);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..config.engine.threads).map(|_| mpsc::channel(JOBS)).unzip();
        let drain = config.engine.drain;
        let (listeners, services) = (take(&mut config.listeners), take(&mut config.services));
        let book = Book::new(config.engine.limit_keys, Arc::clone(&seams.quotas));
        let snapshot = Snapshot::new(config, &directory, &book, &*seams.identifier);
        let shared = Arc::new(Shared::new(snapshot, directory, book, seams, senders));
        let tls = Arc::new(UpstreamTls::default());
        let mut threads = Vec::new();
        for (number, jobs) in receivers.into_iter().enumerate() {
            let thread = worker::start(number, Arc::clone(&shared), jobs, Arc::clone(&tls));
            threads.push(thread.map_err(|error| {
                shared.aborting.cancel();
                Error::Thread(error)
            })?);
        }
        let tasks = tasks.child();
        let state = State {
            doors: Vec::new(),
            listeners,
            services: Arc::default(),
            drain,
            followers: HashMap::new(),
            retired: Vec::new(),
            threads,
        };
        let state = Arc::new(Mutex::new(state));
        let gateway = Self { shared, tasks, tls, turn: Mutex::default(), state };
        gateway.follow(services);
        gateway.accept_from(opened);
        gateway.watch_certificates();
        let shared = Arc::clone(&gateway.shared);
        gateway.tasks.spawn("check instances", async move { shared.checks.run().await });
        let shared = Arc::clone(&gateway.shared);
        gateway.tasks.spawn("keep quotas", async move { shared.book.keep().await });
        Ok(gateway)
    }

    /// Puts a configuration in force. Connections and calls go on; new calls see the new routes.
    /// Listeners that are new are bound first, those that are gone stop accepting and drain.
    ///
    /// This takes as long as the configuration is large, and only what has changed is touched. Call
    /// it within the runtime of [`Gateway::start`], from a thread that may take its time, and
    /// [`Gateway::tidy`] some time after.
    ///
    /// # Errors
    /// As [`Gateway::start`]; the old configuration then stays in force as a whole.
    pub fn apply(&self, mut config: Config) -> Result<(), Error> {
        let _turn = lock(&self.turn);
        let (doors, before) = {
            let state = lock(&self.state);
            (state.doors.clone(), Arc::clone(&state.services))
        };
        let opened = open(&config.listeners, &doors).inspect_err(|_| {
            self.shared.metrics.reloaded(false);
        })?;
        let (kept, gone): (Vec<_>, Vec<_>) =
            doors.into_iter().partition(|door| config.listeners.contains(&door.config));
        for tls in kept.iter().filter_map(|door| door.tls.as_ref()) {
            refresh(tls, Look::Always);
        }
        self.tls.forget();
        self.shared.connections.set_limit(config.engine.max_connections);
        self.shared.directory.configure(&before, &config.services);
        let drain = config.engine.drain;
        let (listeners, services) = (take(&mut config.listeners), take(&mut config.services));
        let identifier = &*self.shared.seams.identifier;
        let (directory, book) = (&self.shared.directory, &self.shared.book);
        let snapshot = Arc::new(Snapshot::new(config, directory, book, identifier));
        let retired = self.shared.snapshot.swap(snapshot);
        for door in gone {
            door.closing.cancel();
        }
        {
            let mut state = lock(&self.state);
            state.doors = kept;
            state.listeners = listeners;
            state.drain = drain;
            state.retired.push(retired);
        }
        self.follow(services);
        self.accept_from(opened);
        self.shared.metrics.reloaded(true);
        Ok(())
    }

    /// Counts a reload that found the configuration as it is.
    pub fn confirm(&self) {
        self.shared.metrics.reloaded(true);
    }

    /// Takes apart what was in force before and is no longer used by any call: for large tables that
    /// takes a while, so no call does it. Returns how many are still in use.
    pub fn tidy(&self) -> usize {
        let (unused, left) = {
            let mut state = lock(&self.state);
            let is_unused = |one: &mut Arc<Snapshot>| Arc::strong_count(one) == 1;
            let unused: Vec<_> = state.retired.extract_if(.., is_unused).collect();
            (unused, state.retired.len())
        };
        drop(unused);
        left
    }

    /// Takes over what the registry says of a service; no instances means that it is gone. A
    /// service whose instances the file gives stays as the file says.
    pub fn set_instances(&self, service: &str, instances: Vec<InstanceSpec>) {
        if let Some(service) = self.shared.directory.set_from_registry(service, instances) {
            self.shared.checks.look(service.name());
        }
    }

    /// The addresses really bound, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let state = lock(&self.state);
        let ordered = state
            .listeners
            .iter()
            .filter_map(|listener| state.doors.iter().find(|door| door.config == *listener));
        ordered.map(|door| door.address).collect()
    }

    /// What is going on, for people.
    #[must_use]
    pub fn view(&self) -> View {
        View::of(&self.shared)
    }

    /// What is going on with one service, if anybody has named it.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<ServiceView> {
        Some(self.shared.directory.get(name)?.view(Coarse::now()))
    }

    /// What the configuration in force says of a call: each rule of its guard, and the one that decides.
    /// Whoever proves identities is asked as for the call itself.
    pub async fn explain(&self, question: Question) -> Explanation {
        explain::answer(&self.shared, question).await
    }

    /// Puts the gateway's metrics into a registry.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.shared.metrics.register(registry, &self.shared.book.metrics);
    }

    /// Ends the gateway: listeners stop accepting, connections are told, calls under way may end
    /// within the configured time, and then the threads end. Returns how many connections were cut.
    pub async fn drain(&self) -> usize {
        let (deadline, threads) = {
            let mut state = lock(&self.state);
            for door in &state.doors {
                door.closing.cancel();
            }
            (state.drain, take(&mut state.threads))
        };
        self.shared.draining.cancel();
        let emptied = async {
            while self.shared.open_connections() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        let _in_time = tokio::time::timeout(deadline, emptied).await;
        let cut = self.shared.open_connections();
        self.shared.aborting.cancel();
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the gateway panicked");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!("the threads of the gateway could not be waited for: {error}");
        }
        self.tasks.stop();
        if let Err(error) = self.shared.book.flush().await {
            tracing::error!("what was used of quotas last could not be kept: {error}");
        }
        cut
    }

    /// Follows host names and health of these services from here on. What is the same as before
    /// goes on as it is: checks keep what they have counted, and do not all begin again at once.
    fn follow(&self, services: Services) {
        let services = Arc::new(services);
        let (before, mut followers) = {
            let mut state = lock(&self.state);
            let before = std::mem::replace(&mut state.services, Arc::clone(&services));
            (before, take(&mut state.followers))
        };
        let is_same = |name: &ServiceName| services.get(name) == before.get(name);
        followers.retain(|name, tasks| {
            let stays = is_same(name);
            if !stays {
                tasks.stop();
            }
            stays
        });
        for name in before.keys().filter(|name| !services.contains_key(*name)) {
            self.shared.checks.leave(name);
        }
        for (name, settings) in services.iter().filter(|(name, _)| !is_same(name)) {
            if let Some(tasks) = resolve::follow(&self.shared, settings, &self.tasks) {
                followers.insert(Arc::clone(name), tasks);
            }
            self.shared.checks.follow(&self.shared.directory.get_or_create(name), settings);
        }
        lock(&self.state).followers = followers;
    }

    /// Begins to accept from new listeners, spread over the threads.
    fn accept_from(&self, opened: Opened) {
        let mut state = lock(&self.state);
        for (door, socket) in opened {
            self.shared.give(state.doors.len(), Job::Accept(Arc::clone(&door), socket));
            state.doors.push(door);
        }
    }

    /// Loads certificates again when their files change.
    fn watch_certificates(&self) {
        let state = Arc::downgrade(&self.state);
        self.tasks.spawn("watch certificates", async move {
            loop {
                tokio::time::sleep(CERTIFICATE_LOOK).await;
                let Some(state) = state.upgrade() else { return };
                let doors = lock(&state).doors.clone();
                for tls in doors.iter().filter_map(|door| door.tls.as_ref()) {
                    refresh(tls, Look::IfChanged);
                }
            }
        });
    }
}

/// Loads a listener's certificates again; those that cannot be used leave the old ones in service.
fn refresh(tls: &ServerTls, look: Look) {
    match tls.refresh(look) {
        Ok(false) => {}
        Ok(true) => tracing::info!("certificates were loaded again"),
        Err(error) => tracing::error!("{error}; the certificates before it serve on"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds the listeners that are not open yet. Two with port 0 and otherwise the same are told apart
/// by nothing, so one that is open serves for one of them only.
fn open(wanted: &[Listener], open: &[Arc<Door>]) -> Result<Opened, Error> {
    wanted
        .iter()
        .filter(|listener| !open.iter().any(|door| door.config == **listener))
        .map(Door::open)
        .collect()
}
