//! Names from an engine: another Posthouse, or Consul itself (`registry.engine`).
//!
//! The engine is followed by blocking reads, and what it says is brought into a registry of our own,
//! in memory, from which the gateway, DNS and the admin API are answered as ever. When the engine is
//! gone, that stays as it was last known; it is kept in a file, so that it outlives us too. Our own
//! address passes requests on to the engine, so that services keep theirs.
//!
//! In reading order: `address` (where it is), `client` (asking the engine), `answer` (what it says, into our own types),
//! `adopt` (bringing it in), `follow` (the tasks), `keep` (the file), `standing` (how it is, for
//! people and metrics), `pass` (passing requests on).

mod address;
mod adopt;
mod answer;
mod client;
mod follow;
mod keep;
mod pass;
mod standing;

use std::path::PathBuf;
use std::sync::Arc;

use posthouse_base::task::Tasks;

use self::adopt::Mirror;
use self::client::Client;
use self::follow::Following;
use self::keep::Kept;
use self::standing::Standing;
use crate::config::Config;
use crate::error::Error;
use crate::service::Handle;

pub use self::address::EngineAddress;
pub(crate) use self::pass::router;
pub use self::standing::EngineView;

/// The keys that parts of the house are configured by, and that are followed with the names.
pub(crate) const FOLLOWED_KEYS: &str = "posthouse/";

/// Names that come from an engine. They go on being followed until the tasks stop.
#[derive(Clone, Debug)]
pub struct Engine {
    handle: Handle,
    standing: Arc<Standing>,
    authority: Arc<str>,
}

/// What is followed of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The only service; all of them if none is named.
    pub service: Option<String>,
    /// The folder of keys that is followed as well, if any.
    pub keys: Option<String>,
    /// The file that keeps what was last known; nothing is kept without one.
    pub keep: Option<PathBuf>,
}

impl Engine {
    /// Begins to follow the engine that a configuration names, if it names one, with nothing but it:
    /// no address is listened on.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn of(config: &Config, tasks: &Tasks) -> Result<Option<Self>, Error> {
        match config.engine() {
            None => Ok(None),
            Some(engine) => {
                Self::start(config.clone(), engine, config.scope(), tasks).await.map(Some)
            }
        }
    }

    /// Begins to follow an engine, with what was last known to begin with. Does not wait for it.
    ///
    /// # Errors
    /// When it is shutting down already.
    pub async fn start(
        config: Config,
        engine: &EngineAddress,
        scope: Scope,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let mut config = config;
        // Not a name that the engine could have: on our own node there is nothing.
        config.node.push_str("-follows");
        let limits = config.limits.clone();
        let handle = Handle::start(config, None, tasks).await?;
        let standing = Arc::new(Standing::new(&engine.authority));
        let kept = Arc::new(Kept::new(scope.keep));
        let mirror = Mirror::new(handle.clone(), Arc::clone(&kept));
        if let Some(known) = kept.read().await {
            standing.remembers(known.at);
            for (service, entries) in known.services {
                mirror.adopt(&service, entries).await?;
            }
            if let Some(folder) = &scope.keys {
                mirror.adopt_keys(folder, known.keys).await?;
            }
        }
        let client = Client::new(engine);
        let following =
            Following::new(client, mirror, Arc::clone(&standing), limits.engine_watches);
        let following = Arc::new(following);
        if let Some(folder) = scope.keys {
            tasks.spawn("followed keys", Arc::clone(&following).keys(folder));
        }
        match scope.service {
            Some(service) => {
                tasks.spawn("followed service", following.one(service));
            }
            None => {
                tasks.spawn("followed engine", following.all(tasks.child()));
            }
        }
        tasks.spawn("followed names' file", kept.write_as_it_changes());
        Ok(Self { handle, standing, authority: engine.authority.as_str().into() })
    }

    /// The names, as far as they are known.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How the engine is.
    #[must_use]
    pub fn view(&self) -> EngineView {
        self.standing.view()
    }

    /// Enters the metrics of the names and of the engine.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.handle.register_metrics(registry);
        self.standing.register(registry);
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}
