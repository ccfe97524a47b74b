//! Who may pass, how fast, by which version: identity, consumers and the catalog as the house holds
//! them, and the wires between them and the gateway, which knows none of them.
//!
//! In reading order: here (starting, reloading), [`identify`] and [`inspect`] (what the gateway asks),
//! [`made`] (what the catalog has the gateway do), [`quotas`] (what was used of them, kept).

mod identify;
mod inspect;
pub(crate) mod made;
mod quotas;

use std::sync::Arc;

use anyhow::Context as _;
use posthouse_base::task::Tasks;
use posthouse_catalog as catalog;
use posthouse_gateway::Seams;
use posthouse_gateway::access::Recorder;
use posthouse_identity::Identities;
use posthouse_identity::consumers::{self, Consumers};
use posthouse_journal::Journal;
use prometheus_client::registry::Registry as Metrics;

use crate::config::Config;
use quotas::Quotas;
/// See the file's head.
pub(crate) struct Guard {
    pub(crate) catalog: catalog::Handle,
    pub(crate) consumers: Consumers,
    identities: Identities,
    quotas: Quotas,
}

impl Guard {
    /// Brings back what the journal has, and takes over what the file declares.
    ///
    /// # Errors
    /// When either cannot be used.
    pub(crate) async fn start(
        config: &Config,
        journal: &Arc<dyn Journal>,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let limits = catalog::Limits::default();
        let catalog = catalog::Handle::start(limits, Some(Arc::clone(journal)), tasks).await?;
        let declared = catalog.declare(config.catalog.clone()).await;
        declared.context("what the file says of APIs and plans cannot be taken")?;
        let consumers = Consumers::start(
            config.consumers.clone(),
            Some(Arc::clone(journal)),
            consumers::Limits::default(),
            tasks,
        );
        let consumers = consumers.await.context("consumers cannot be brought back")?;
        let identities = Identities::start(&config.identity, &consumers, tasks)?;
        let quotas = Quotas::open(Some(Arc::clone(journal)), tasks).await;
        let quotas = quotas.context("what was used of quotas cannot be brought back")?;
        Ok(Self { catalog, consumers, identities, quotas })
    }

    /// The keys by which services verify the tokens that tell them who calls, as a JWK set; `None`
    /// when none are made.
    pub(crate) fn published_keys(&self) -> Option<Arc<str>> {
        self.identities.handle().published_keys()
    }

    pub(crate) fn register_metrics(&self, metrics: &mut Metrics) {
        self.identities.register_metrics(metrics);
        self.consumers.register_metrics(metrics);
        self.catalog.register_metrics(metrics);
    }

    /// What the gateway is to ask.
    pub(crate) fn seams(&self, recorder: Arc<dyn Recorder>) -> Seams {
        Seams {
            identifier: Arc::new(identify::Gatekeeper(self.identities.handle().clone())),
            inspector: Arc::new(inspect::Comparer(self.catalog.clone())),
            quotas: Arc::new(self.quotas.clone()),
            recorder,
        }
    }

    /// Takes over what the file declares of providers and consumers.
    ///
    /// # Errors
    /// When providers cannot be used so; what was in force stays then.
    pub(crate) fn configure(&self, config: &Config) -> anyhow::Result<()> {
        self.identities.handle().configure(&config.identity)?;
        self.consumers.declare(config.consumers.clone());
        Ok(())
    }

    /// Takes no more changes, and writes down where things stand.
    pub(crate) async fn close(&self) {
        tokio::join!(self.catalog.close(), self.consumers.close(), self.quotas.close());
    }
}
