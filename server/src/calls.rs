//! The gateway as the house holds it: with its access log, and told by the registry where the
//! instances are. The gateway knows no registry, and the registry no gateway; [`names`] is the wire
//! between them. Routes that services bring come by [`proposals`] and are taken by the rules of
//! [`granted`]; [`parts`] puts them, the file and the catalog together.

pub(crate) mod granted;
pub(crate) mod names;
pub(crate) mod parts;
pub(crate) mod proposals;

use std::net::SocketAddr;
use std::sync::Arc;

use posthouse_base::task::Tasks;
use posthouse_gateway::Gateway;
use posthouse_gateway::access::Recorder;
use posthouse_gateway::cluster::view::ServiceView;
use posthouse_gateway::config::Config;
use posthouse_gateway::guard::explain::{Explanation, Question};
use posthouse_gateway::view::View;
use prometheus_client::registry::Registry as Metrics;

use crate::access::AccessLog;
use crate::guard::Guard;

/// A running gateway.
pub(crate) struct Calls {
    gateway: Gateway,
    access: Arc<AccessLog>,
}

impl Calls {
    /// Starts it on the addresses of its configuration.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a certificate cannot be used.
    pub(crate) fn start(
        config: Config,
        access: AccessLog,
        guard: &Guard,
        metrics: &mut Metrics,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let access = Arc::new(access);
        let recorder = Arc::clone(&access) as Arc<dyn Recorder>;
        let gateway = Gateway::start(config, guard.seams(recorder), tasks)?;
        gateway.register_metrics(metrics);
        Ok(Self { gateway, access })
    }

    /// Puts a configuration in force, whole or not at all.
    ///
    /// # Errors
    /// As at the start; the old configuration then serves on.
    pub(crate) fn apply(&self, config: Config) -> anyhow::Result<()> {
        // What can fail comes first, so that nothing has changed when it does.
        let access_log = self.access.prepare(&config.engine.access_log)?;
        self.gateway.apply(config)?;
        self.access.install(access_log);
        Ok(())
    }

    /// Notes that a reload has found everything as it was.
    pub(crate) fn confirm(&self) {
        self.gateway.confirm();
    }

    /// Takes apart what is no longer in force and in use. Returns how much is still in use.
    pub(crate) fn tidy(&self) -> usize {
        self.gateway.tidy()
    }

    /// The addresses really listened on, in the order of the configuration.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.gateway.addresses()
    }

    /// What is going on.
    pub(crate) fn view(&self) -> View {
        self.gateway.view()
    }

    /// What is going on with one service, if anybody has named it.
    pub(crate) fn service(&self, name: &str) -> Option<ServiceView> {
        self.gateway.service(name)
    }

    /// What the gateway would say of a call.
    pub(crate) async fn explain(&self, question: Question) -> Explanation {
        self.gateway.explain(question).await
    }

    /// Opens the access log again, after it was moved away.
    pub(crate) fn reopen_access_log(&self) {
        self.access.reopen();
    }

    /// Accepts nothing more and lets calls end, for as long as the configuration allows.
    pub(crate) async fn drain(&self) {
        let cut = self.gateway.drain().await;
        if cut > 0 {
            tracing::warn!(connections = cut, "some connections did not end in time and were cut");
        }
    }
}
