//! What all threads of the engine share: the routes and services in force, counters, and the way
//! to hand a connection to a thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cluster::Service;
use crate::config::Config;
use crate::config::model::{self, Engine, Named};
use crate::connections::Connections;
use crate::directory::Directory;
use crate::guard::telling::Telling;
use crate::guard::{Guard, Identifier};
use crate::health::Checks;
use crate::limit::{Book, Limits};
use crate::metrics::Metrics;
use crate::route::RouteTable;
use crate::seams::Seams;
use crate::worker::{Accepted, Job};

/// The configuration in force: immutable, replaced as a whole.
pub(crate) struct Snapshot {
    /// Which calls go where.
    pub(crate) routes: RouteTable<Arc<Service>>,
    /// Who may take each of them, by its place.
    guards: Vec<Option<Arc<Guard>>>,
    /// Who may call where no route says so.
    pub(crate) guard: Option<Arc<Guard>>,
    /// The headers that tell a service who calls, if there are any.
    pub(crate) telling: Option<Arc<Telling>>,
    /// Whether there are several guards, so that one path may be the way around another.
    pub(crate) has_ways_around: bool,
    /// How services are called without a route.
    pub(crate) named: Named,
    /// How fast, and how much.
    pub(crate) limits: Limits,
    /// Limits, times and headers. What lasts longer than a call holds these alone, not the routes.
    pub(crate) engine: Arc<Engine>,
}

impl Snapshot {
    /// What calls need of a configuration, whose services `directory` knows.
    pub(crate) fn new(
        config: Config,
        directory: &Directory,
        book: &Book,
        identifier: &dyn Identifier,
    ) -> Self {
        let limits = book.limits(&config);
        let Config { routes, named, guard, engine, .. } = config;
        let of_route = |route: &model::Route| route.guard.clone().or_else(|| guard.clone());
        let guards: Vec<Option<Arc<Guard>>> = routes.iter().map(of_route).collect();
        let all = guards.iter().flatten().chain(&guard).map(|guard| &**guard);
        let telling = Telling::new(all, &identifier.adds());
        let place = |guard: &Option<Arc<Guard>>| guard.as_ref().map(Arc::as_ptr);
        let has_ways_around = guards.iter().any(|one| place(one) != place(&guards[0]));
        let routes = RouteTable::new(routes, &mut |name| directory.get_or_create(name));
        Self {
            routes,
            guards,
            guard,
            telling: (!telling.is_empty()).then(|| Arc::new(telling)),
            has_ways_around,
            named,
            limits,
            engine: Arc::new(engine),
        }
    }

    /// Who may take the route at this place of the table.
    pub(crate) fn guard_of(&self, index: usize) -> Option<&Guard> {
        self.guards.get(index)?.as_deref()
    }
}

/// What all threads of the engine share.
pub(crate) struct Shared {
    /// The configuration in force.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Services by name, from the file and from the registry.
    pub(crate) directory: Directory,
    /// Which instances are checked.
    pub(crate) checks: Checks,
    /// What limits have counted.
    pub(crate) book: Book,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// What others do for the gateway.
    pub(crate) seams: Seams,
    /// Cancelled when the gateway drains.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the time to drain is over: what is left is dropped.
    pub(crate) aborting: CancellationToken,
    /// How many connections clients may hold.
    pub(crate) connections: Connections,
    threads: Vec<Thread>,
}

/// One thread of the engine, seen from the others.
struct Thread {
    jobs: mpsc::Sender<Job>,
    open: Arc<AtomicUsize>,
}

/// One connection of a thread, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// State for threads that take their jobs from `jobs`.
    pub(crate) fn new(
        snapshot: Snapshot,
        directory: Directory,
        book: Book,
        seams: Seams,
        jobs: Vec<mpsc::Sender<Job>>,
    ) -> Self {
        let connections = Connections::new(snapshot.engine.max_connections);
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            directory,
            book,
            checks: Checks::default(),
            metrics: Metrics::default(),
            seams,
            draining: CancellationToken::new(),
            aborting: CancellationToken::new(),
            connections,
            threads: jobs.into_iter().map(|jobs| Thread { jobs, open: Arc::default() }).collect(),
        }
    }

    /// Connections that are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.threads.iter().map(|thread| thread.open.load(Ordering::Relaxed)).sum()
    }

    /// Hands a connection to the thread with the fewest.
    pub(crate) async fn assign(&self, accepted: Accepted) {
        let open = |thread: &&Thread| thread.open.load(Ordering::Relaxed);
        let Some(thread) = self.threads.iter().min_by_key(open) else { return };
        thread.open.fetch_add(1, Ordering::Relaxed);
        let counted = Open(Arc::clone(&thread.open));
        let peer: SocketAddr = accepted.peer;
        if thread.jobs.send(Job::Serve(accepted, counted)).await.is_err() {
            tracing::debug!(%peer, "a connection came after its thread had ended");
        }
    }

    /// Gives a job to the thread of this number, counted modulo the number of threads.
    pub(crate) fn give(&self, number: usize, job: Job) {
        let thread = &self.threads[number % self.threads.len()];
        if thread.jobs.try_send(job).is_err() {
            tracing::error!("a thread of the gateway takes no more jobs");
        }
    }
}
