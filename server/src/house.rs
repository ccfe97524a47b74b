//! The house: what is started, in which order, what is told to whom, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use posthouse_base::task::Tasks;
use posthouse_journal::Journal;
use posthouse_journal::sqlite::{Options, Sqlite};
use posthouse_registry::{self as registry, Engine, Registry};
use posthouse_telemetry::lines::Counters;
use prometheus_client::registry::Registry as Metrics;

use crate::access::AccessLog;
use crate::admin;
use crate::audit::Audit;
use crate::caller::Caller;
use crate::calls::parts::Parts;
use crate::calls::{Calls, names, proposals};
use crate::cli::Part;
use crate::config::{Config, Source};
use crate::control::{Cause, Control};
use crate::data::{Addresses, DataFolder};
use crate::guard::Guard;
use crate::messages::Messages;
use crate::signals::{Asked, Signals};

/// How long the admin API and the registry may take to end what they have begun.
const CLOSING: Duration = Duration::from_secs(5);

/// How long the pillars may take to make durable what they have taken on, and to write down where
/// they stand.
const SAVING: Duration = Duration::from_secs(20);

/// By then the first configuration is in force and the first probes have been made.
const SETTLED: Duration = Duration::from_millis(300);

/// A running house.
pub(crate) struct House {
    control: Arc<Control>,
    registry: Option<Registry>,
    messages: Option<Messages>,
    admin: Option<admin::Server>,
    /// What everything lasting is written to.
    journal: Arc<Sqlite>,
    /// Everything that is no interface: the registry's rules, followers, the watch on the file.
    tasks: Tasks,
}

impl House {
    /// Starts the parts that are on, `only` these if any are named.
    ///
    /// # Errors
    /// When one cannot start: an address in use, a folder that cannot be written. What had started
    /// ends again.
    pub(crate) async fn start(
        mut config: Config,
        source: Source,
        only: &[Part],
    ) -> anyhow::Result<Self> {
        restrict(&mut config, only)?;
        let data = DataFolder::open(&config.data)?;
        let tasks = Tasks::new();
        let mut metrics = Metrics::default();
        posthouse_telemetry::process::register(&mut metrics);

        let journal = open_journal(&config).await?;
        journal.register_metrics(&mut metrics);
        let audit = Audit::open(Arc::clone(&journal) as Arc<dyn Journal>).await?;
        audit.register_metrics(&mut metrics);
        let registry = start_registry(&config, &journal, &mut metrics, &tasks).await?;
        let engine = follow_engine(&config, registry.as_ref(), &mut metrics, &tasks).await?;
        let names = registry.as_ref().map(Registry::handle);
        let names = names.or_else(|| engine.as_ref().map(Engine::handle)).cloned();

        let log = Arc::clone(&journal) as Arc<dyn Journal>;
        let messages = start_messages(&config, &log, &mut metrics, &tasks).await?;
        let guard = Arc::new(Guard::start(&config, &log, &tasks).await?);
        guard.register_metrics(&mut metrics);
        let (calls, parts) = start_calls(&config, &guard, &mut metrics, &tasks)?;
        if let (Some(names), Some(calls)) = (&names, &calls) {
            let follower = names.follow();
            tasks.spawn("registry to gateway", names::follow(Arc::clone(calls), follower));
        }

        let routes_by = names.clone();
        if let Some(messages) = &messages {
            messages.push(Caller::new(calls.clone(), names.clone()), &tasks);
        }
        let lasting = lasting_addresses(registry.as_ref(), messages.as_ref());
        let kept = (data, audit.clone(), guard);
        let control = Control::new(&config, source, only.to_vec(), kept, (calls, parts), lasting);
        let control = Arc::new(control);
        let admin = match &config.admin {
            None => None,
            Some(config) => {
                let state = admin::State::new(
                    Arc::clone(&control),
                    (names, engine),
                    messages.as_ref().map(|messages| messages.handle().clone()),
                    Arc::clone(&journal),
                    audit,
                    metrics,
                )?;
                Some(admin::Server::start(config.address, state, &tasks).await?)
            }
        };
        control.set_admin_address(admin.as_ref().map(admin::Server::address));
        tasks.spawn("configuration watch", Arc::clone(&control).watch());
        tasks.spawn("catalog to gateway", Arc::clone(&control).follow_catalog());
        if let (Some(names), Some(_)) = (routes_by, control.calls()) {
            let follow = proposals::follow(Arc::clone(&control), names);
            tasks.spawn("routes that services bring", follow);
        }
        tasks.spawn("program text", give_back_text());
        let house = Self { control, registry, messages, admin, journal, tasks };
        house.announce()?;
        Ok(house)
    }

    /// The addresses really listened on.
    pub(crate) fn addresses(&self) -> Addresses {
        self.control.addresses()
    }

    /// What the house runs by.
    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Serves until a signal says to end.
    pub(crate) async fn run(&self, signals: &mut Signals) {
        while let Asked::Reload = signals.next().await {
            self.control.reopen_files();
            self.control.reload(Cause::Signal).await;
        }
    }

    /// Ends in order: nobody is sent here any more, calls end, then what calls may need, then what
    /// watches over all; at last everything is written down.
    pub(crate) async fn stop(self) {
        self.control.begin_ending();
        tracing::info!("ending: accepting nothing more, waiting for what is under way");
        if let Some(calls) = self.control.calls() {
            calls.drain().await;
        }
        if let Some(registry) = &self.registry {
            registry.close(CLOSING).await;
        }
        if let Some(messages) = &self.messages {
            messages.close(CLOSING).await;
        }
        if let Some(admin) = self.admin {
            admin.stop(CLOSING).await;
        }
        if let Some(registry) = &self.registry
            && tokio::time::timeout(SAVING, registry.handle().close()).await.is_err()
        {
            tracing::warn!("the registry did not write down where it stands in time");
        }
        if let Some(messages) = &self.messages
            && tokio::time::timeout(SAVING, messages.save()).await.is_err()
        {
            tracing::warn!("the broker did not write down where it stands in time");
        }
        if tokio::time::timeout(SAVING, self.control.guard().close()).await.is_err() {
            tracing::warn!("consumers and APIs were not written down in time");
        }
        let left = self.tasks.finish(CLOSING).await;
        if left > 0 {
            tracing::warn!(tasks = left, "some tasks did not end in time");
        }
        // Everything that was confirmed is in it already.
        let closing = tokio::task::spawn_blocking(move || self.journal.close());
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::warn!("the journal did not close in time");
        }
        tracing::info!("ended");
    }

    /// Tells the addresses, to programs and to people.
    fn announce(&self) -> anyhow::Result<()> {
        let addresses = self.addresses();
        self.control.tell_addresses()?;
        for address in &addresses.listeners {
            tracing::info!("calls on {address}");
        }
        if let Some(address) = addresses.registry {
            tracing::info!("names (Consul API) on {address}");
        }
        if let Some(address) = addresses.dns {
            tracing::info!("names (DNS) on {address}");
        }
        if let Some(address) = addresses.messages {
            tracing::info!("messages (AMQP) on {address}");
        }
        if let Some(address) = addresses.messages_tls {
            tracing::info!("messages (AMQP over TLS) on {address}");
        }
        if let Some(address) = addresses.messages_http {
            tracing::info!("messages (HTTP) on {address}");
        }
        if let Some(address) = addresses.messages_management {
            tracing::info!("messages (RabbitMQ's management API) on {address}");
        }
        if let Some(address) = addresses.admin {
            tracing::info!("admin API and metrics on {address}");
        }
        Ok(())
    }
}

/// What only starting needed is not kept in memory.
async fn give_back_text() {
    tokio::time::sleep(SETTLED).await;
    match posthouse_resident::give_back_text() {
        Ok(bytes) => tracing::debug!(bytes, "gave back the program text that starting touched"),
        Err(error) => tracing::debug!("program text stays in memory: {error}"),
    }
}

/// What is listened on from the start to the end, the admin API apart.
fn lasting_addresses(registry: Option<&Registry>, messages: Option<&Messages>) -> Addresses {
    let mut lasting = Addresses {
        registry: registry.map(Registry::address),
        dns: registry.and_then(Registry::dns_address),
        ..Addresses::default()
    };
    if let Some(messages) = messages {
        messages.tell_addresses(&mut lasting);
    }
    lasting
}

/// Opens the journal in the data folder, which may take as long as it takes to mend what a crash has
/// left.
async fn open_journal(config: &Config) -> anyhow::Result<Arc<Sqlite>> {
    let (folder, config) = (config.data.clone(), config.journal.clone());
    let open = move || Sqlite::open(&folder, &config, Options::default());
    let journal = tokio::task::spawn_blocking(open).await.context("the journal was not opened")?;
    Ok(Arc::new(journal.context("the journal cannot be opened")?))
}

/// The registry, if it is on.
async fn start_registry(
    config: &Config,
    journal: &Arc<Sqlite>,
    metrics: &mut Metrics,
    tasks: &Tasks,
) -> anyhow::Result<Option<Registry>> {
    let Some(names) = config.registry.clone() else { return Ok(None) };
    let names = names.keeping_in(&config.data);
    // Names that come from an engine are that engine's to keep.
    let own = names.engine().is_none();
    let journal = own.then(|| Arc::clone(journal) as Arc<dyn Journal>);
    let registry = Registry::start(names, journal, tasks).await?;
    registry.register_metrics(metrics);
    Ok(Some(registry))
}

/// The broker, if it is on.
async fn start_messages(
    config: &Config,
    log: &Arc<dyn Journal>,
    metrics: &mut Metrics,
    tasks: &Tasks,
) -> anyhow::Result<Option<Messages>> {
    let Some(messages) = config.messages.clone() else { return Ok(None) };
    Ok(Some(Messages::start(messages, Arc::clone(log), metrics, tasks).await?))
}

/// The gateway, if it is on, and what it runs by.
fn start_calls(
    config: &Config,
    guard: &Guard,
    metrics: &mut Metrics,
    tasks: &Tasks,
) -> anyhow::Result<(Option<Arc<Calls>>, Parts)> {
    let lines = Counters::default();
    lines.register(metrics, "posthouse_access_log");
    let standing = guard.catalog.standing();
    let mut parts = Parts::new(config, standing.made(), standing.mark());
    parts.say_problems();
    let Some(config) = config.gateway.clone() else { return Ok((None, parts)) };
    let access = AccessLog::open(&config.engine.access_log, lines)?;
    let config = parts.with(config);
    let calls = Calls::start(config, access, guard, metrics, tasks)?;
    Ok((Some(Arc::new(calls)), parts))
}

/// Where names come from when they are not kept here: what the registry follows, or, where it does not
/// run, what a gateway by itself does.
async fn follow_engine(
    config: &Config,
    registry: Option<&Registry>,
    metrics: &mut Metrics,
    tasks: &Tasks,
) -> anyhow::Result<Option<Engine>> {
    if let Some(registry) = registry {
        return Ok(registry.engine().cloned());
    }
    let Some(names) = &config.names else { return Ok(None) };
    let engine = Engine::of(&names.clone().keeping_in(&config.data), tasks).await?;
    if let Some(engine) = &engine {
        engine.register_metrics(metrics);
    }
    Ok(engine)
}

/// Leaves on what is named, everything if nothing is.
pub(crate) fn restrict(config: &mut Config, only: &[Part]) -> anyhow::Result<()> {
    if only.is_empty() {
        return Ok(());
    }
    for part in only {
        let (on, section) = match part {
            Part::Gateway => (config.gateway.is_some(), "listeners"),
            Part::Registry => (config.registry.is_some(), "registry"),
            Part::Messages => (config.messages.is_some(), "messages"),
            Part::Admin => (config.admin.is_some(), "admin"),
        };
        let name = part.name();
        let missing =
            || format!("`--only {name}`, but the configuration has no `{section}` section");
        on.then_some(()).with_context(missing)?;
    }
    let wanted = |part| only.contains(&part);
    if wanted(Part::Gateway) && !wanted(Part::Registry) {
        // It listens on none of the registry's addresses, but it wants names.
        let from_elsewhere = |registry: &registry::Config| registry.engine().is_some();
        config.names = config.registry.clone().filter(from_elsewhere);
    }
    config.gateway = config.gateway.take().filter(|_| wanted(Part::Gateway));
    config.registry = config.registry.take().filter(|_| wanted(Part::Registry));
    config.messages = config.messages.take().filter(|_| wanted(Part::Messages));
    config.admin = config.admin.take().filter(|_| wanted(Part::Admin));
    Ok(())
}
