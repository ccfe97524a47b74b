//! All providers, replaced together at a reload. A provider whose configuration did not change stays,
//! with its keys and what it remembers.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderName;
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::consumers::Consumers;
use crate::credential::{Credentials, Outcome, Refusal};
use crate::error::Error;
use crate::mint::{About, Minter};
use crate::provider::{self, Finding, Parts, Provider};
use crate::signature::{CAPACITY, Seen};

/// Running identity.
#[derive(Debug)]
pub struct Identities {
    handle: Handle,
}

impl Identities {
    /// Starts the providers of `config`, which know these consumers. Must be called on the runtime
    /// that is to fetch keys and ask others; what runs there ends when `tasks` stops.
    ///
    /// # Errors
    /// When what the configuration names cannot be used.
    pub fn start(config: &Config, consumers: &Consumers, tasks: &Tasks) -> Result<Self, Error> {
        let parts = Parts {
            directory: Arc::new(consumers.clone()),
            consumers: consumers.clone(),
            seen: Arc::new(Seen::new(CAPACITY, Timestamp::now())),
            metrics: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
            tasks: tasks.clone(),
        };
        let shared =
            Shared { parts, providers: ArcSwap::default(), minter: ArcSwapOption::empty() };
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
        self.handle.0.parts.metrics.register(&self.handle, registry);
    }
}

/// Says who calls. Clones share everything.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    parts: Parts,
    providers: ArcSwap<HashMap<Arc<str>, Running, foldhash::fast::RandomState>>,
    minter: ArcSwapOption<Minter>,
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
        let minter = self.0.minter.load_full();
        if minter.as_ref().is_none_or(|minter| *minter.config() != config.mint) {
            let minter = Minter::new(&config.mint, minter.as_deref())?;
            self.0.minter.store(Some(Arc::new(minter)));
        }
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

    /// `path_and_query` without the API keys that these providers look for in a query, however they
    /// are encoded; `None` when there are none. What a service is sent must have gone through this.
    #[must_use]
    pub fn without_keys(&self, path_and_query: &[u8], providers: &[Arc<str>]) -> Option<Vec<u8>> {
        let all = self.0.providers.load();
        let mut left = None;
        for running in providers.iter().filter_map(|name| all.get(name)) {
            if let provider::Config::ApiKey(config) = &running.config {
                let target = left.as_deref().unwrap_or(path_and_query);
                left = config.hide(target).or(left);
            }
        }
        left
    }

    /// The headers that identities may add to calls. Whoever sends calls on takes them out of every call
    /// from outside, or a caller could add them itself where no authoriser is asked.
    #[must_use]
    pub fn added_headers(&self) -> Vec<HeaderName> {
        let all = self.0.providers.load();
        let externals = all.values().filter_map(|running| match &running.config {
            provider::Config::External(config) => Some(config.added()),
            _ => None,
        });
        externals.flatten().cloned().collect()
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

    /// A short-lived signed token that tells the service `audience` about `about`, which `holder`
    /// holds unchanged for as long as it lives. `None` when nothing can be signed.
    #[must_use]
    pub fn mint<T: Any + Send + Sync>(
        &self,
        about: &About<'_>,
        holder: &Arc<T>,
        audience: &str,
        now: Timestamp,
    ) -> Option<Arc<[u8]>> {
        self.0.minter.load().as_ref()?.mint(about, holder, audience, now)
    }

    /// The keys by which services verify such tokens, as a JWK set.
    #[must_use]
    pub fn published_keys(&self) -> Option<Arc<str>> {
        Some(Arc::clone(self.0.minter.load().as_ref()?.published()))
    }

    /// How many bytes each provider holds of what it has verified. Weak, so that metrics keep no
    /// provider alive.
    pub(crate) fn remembered(&self) -> impl Fn() -> Vec<(Arc<str>, usize)> + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.0);
        move || {
            let Some(shared) = shared.upgrade() else { return Vec::new() };
            let all = shared.providers.load();
            let each = all.iter();
            each.map(|(name, running)| (Arc::clone(name), running.provider.remembered())).collect()
        }
    }
}
