//! The gateway's handle: starts the threads, puts configurations in force, and ends in good order.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use posthouse_base::task::Tasks;
use tokio::sync::mpsc;

use crate::access::Recorder;
use crate::cluster::InstanceSpec;
use crate::config::Config;
use crate::config::model::{self, Listener};
use crate::directory::Directory;
use crate::error::Error;
use crate::listener::Door;
use crate::route::RouteTable;
use crate::shared::{Shared, Snapshot};
use crate::upstream::UpstreamTls;
use crate::view::View;
use crate::worker::{self, JOBS, Job};
use crate::{health, resolve};

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
    state: Arc<Mutex<State>>,
}

/// What changes with the configuration.
struct State {
    doors: Vec<Arc<Door>>,
    config: Arc<Config>,
    /// Health checks and host names of the configuration in force.
    followers: Tasks,
    threads: Vec<JoinHandle<()>>,
}

/// Listeners that are bound but not yet accepted from.
type Opened = Vec<(Arc<Door>, TcpListener)>;

impl Gateway {
    /// Binds every listener and starts the threads. Call it within a tokio runtime: health checks
    /// and name resolution run there, in `tasks`.
    ///
    /// # Errors
    /// When an address cannot be listened on, a certificate cannot be used, or a thread cannot be
    /// started. Nothing is left running then.
    pub fn start(
        config: Config,
        recorder: Arc<dyn Recorder>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let opened = open(&config.listeners, &[])?;
        let directory = Directory::default();
        directory.configure(config.services.values());
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..config.engine.threads).map(|_| mpsc::channel(JOBS)).unzip();
        let snapshot = snapshot(&config, &directory);
        let shared = Arc::new(Shared::new(snapshot, directory, recorder, senders));
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
            config: Arc::new(config),
            followers: tasks.child(),
            threads,
        };
        let gateway = Self { shared, tasks, tls, state: Arc::new(Mutex::new(state)) };
        gateway.follow();
        gateway.accept_from(opened);
        gateway.watch_certificates();
        Ok(gateway)
    }

    /// Puts a configuration in force. Connections and calls go on; new calls see the new routes.
    /// Listeners that are new are bound first, those that are gone stop accepting and drain.
    ///
    /// # Errors
    /// As [`Gateway::start`]; the old configuration then stays in force as a whole.
    pub fn apply(&self, config: Config) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let opened = open(&config.listeners, &state.doors).inspect_err(|_| {
            self.shared.metrics.reloaded(false);
        })?;
        let (kept, gone): (Vec<_>, Vec<_>) =
            state.doors.drain(..).partition(|door| config.listeners.contains(&door.config));
        state.doors = kept;
        self.tls.forget();
        self.shared.directory.configure(config.services.values());
        self.shared.snapshot.store(Arc::new(snapshot(&config, &self.shared.directory)));
        for door in gone {
            door.closing.cancel();
        }
        // Checks that go on keep what they have counted, and do not all begin again at once.
        let same_services = state.config.services == config.services;
        state.config = Arc::new(config);
        if !same_services {
            state.followers.stop();
            state.followers = self.tasks.child();
        }
        drop(state);
        if !same_services {
            self.follow();
        }
        self.accept_from(opened);
        self.shared.metrics.reloaded(true);
        Ok(())
    }

    /// Takes over what the registry says of a service; no instances means that it is gone. A
    /// service whose instances the file gives stays as the file says.
    pub fn set_instances(&self, service: &str, instances: Vec<InstanceSpec>) {
        self.shared.directory.set_from_registry(service, instances);
    }

    /// The addresses really bound, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let state = lock(&self.state);
        let ordered = state
            .config
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

    /// Puts the gateway's metrics into a registry.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.shared.metrics.register(registry);
    }

    /// Ends the gateway: listeners stop accepting, connections are told, calls under way may end
    /// within the configured time, and then the threads end. Returns how many connections were cut.
    pub async fn drain(&self) -> usize {
        let (deadline, threads) = {
            let mut state = lock(&self.state);
            for door in &state.doors {
                door.closing.cancel();
            }
            (state.config.engine.drain, std::mem::take(&mut state.threads))
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
        cut
    }

    /// Starts what follows the configuration in force: host names and health checks.
    fn follow(&self) {
        let state = lock(&self.state);
        let services: Vec<model::Service> = state.config.services.values().cloned().collect();
        resolve::set_addresses(&self.shared, &services);
        resolve::follow(&self.shared, &services, &state.followers);
        health::follow(&self.shared, &services, &state.followers);
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
                    match tls.refresh() {
                        Ok(false) => {}
                        Ok(true) => tracing::info!("certificates were loaded again"),
                        Err(error) => {
                            tracing::error!("{error}; the certificates before it serve on");
                        }
                    }
                }
            }
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
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

fn snapshot(config: &Config, directory: &Directory) -> Snapshot {
    Snapshot {
        routes: RouteTable::new(config.routes.clone(), &mut |name| directory.get_or_create(name)),
        engine: config.engine.clone(),
        named: config.named.clone(),
    }
}
