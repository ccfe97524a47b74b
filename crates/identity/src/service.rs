//! All providers, replaced together at a reload. A provider whose configuration did not change stays,
//! with its keys and what it remembers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use posthouse_base::task::Tasks;
use posthouse_journal::Journal;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::credential::{Credentials, Outcome, Refusal};
use crate::directory::NoConsumers;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::provider::{self, Finding, Parts, Provider};

/// Running identity.
#[derive(Debug)]
pub struct Identities {
    handle: Handle,
}

impl Identities {
    /// Starts the providers of `config`. Must be called on the runtime that is to fetch keys and ask
    /// others; what runs there ends when `tasks` stops.
    ///
    /// # Errors
    /// When what the configuration names cannot be used.
    #[expect(clippy::unused_async, reason = "what the journal has is brought back here")]
    pub async fn start(
        config: &Config,
        journal: Option<Arc<dyn Journal>>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        drop(journal);
        let parts = Parts {
            directory: Arc::new(NoConsumers),
            metrics: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
            tasks: tasks.clone(),
        };
        let shared = Shared { parts, providers: ArcSwap::default() };
        let handle = Handle(Arc::new(shared));
        handle.configure(config)?;
        Ok(Self { handle })
    }

    /// For whoever asks.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Enters the metrics of identity.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.handle.0.parts.metrics.register(registry);
    }
}

/// Says who calls. Clones share everything.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    parts: Parts,
    providers: ArcSwap<HashMap<Arc<str>, Running, foldhash::fast::RandomState>>,
}

#[derive(Clone)]
struct Running {
    config: provider::Config,
    provider: Arc<Provider>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers = self.0.providers.load();
        f.debug_struct("Handle").field("providers", &providers.keys()).finish_non_exhaustive()
    }
}

impl Handle {
    /// Puts another configuration in force. A provider that is configured as before is kept.
    ///
    /// # Errors
    /// When what the configuration names cannot be used; what was in force stays then.
    pub fn configure(&self, config: &Config) -> Result<(), Error> {
        let before = self.0.providers.load();
        let mut all = HashMap::default();
        for (name, config) in &config.providers {
            let kept = before.get(name).filter(|running| running.config == *config);
            let running = kept.cloned().unwrap_or_else(|| {
                let provider = Arc::new(Provider::new(name, config, &self.0.parts));
                Running { config: config.clone(), provider }
            });
            all.insert(Arc::clone(name), running);
        }
        self.0.providers.store(Arc::new(all));
        Ok(())
    }

    /// Asks these providers in order who calls: the first that finds a credential of its kind
    /// decides. A name that there is no provider of refuses: what cannot be asked cannot allow.
    #[must_use]
    pub fn identify(&self, asked: &Credentials<'_>, providers: &[Arc<str>]) -> Outcome {
        let all = self.0.providers.load();
        let mut shown = false;
        for name in providers {
            let Some(running) = all.get(name) else {
                return Outcome::Refused(Refusal::Unavailable);
            };
            match running.provider.identify(asked) {
                Finding::Absent => {}
                Finding::Foreign => shown = true,
                Finding::Decided(outcome) => return outcome,
            }
        }
        if shown { Outcome::Refused(Refusal::Invalid) } else { Outcome::Nobody }
    }
}
