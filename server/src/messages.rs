//! Messages as the house holds them: the broker, and the addresses on which AMQP is spoken.

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::task::Tasks;
use posthouse_broker::amqp::Server;
use posthouse_broker::http::Server as Door;
use posthouse_broker::management::Server as Management;
use posthouse_broker::{Config, Handle, push};
use posthouse_journal::Journal;
use prometheus_client::registry::Registry as Metrics;

use crate::caller::Caller;
use crate::data::Addresses;

/// A broker that runs.
pub(crate) struct Messages {
    handle: Handle,
    server: Server,
    door: Option<Door>,
    management: Option<Management>,
}

impl Messages {
    /// Brings back what the journal tells, and listens.
    ///
    /// # Errors
    /// When it cannot be brought back, an address cannot be listened on, or certificates cannot be
    /// used.
    pub(crate) async fn start(
        config: Config,
        journal: Arc<dyn Journal>,
        metrics: &mut Metrics,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let handle = Handle::start(config, Some(journal), tasks).await?;
        handle.register_metrics(metrics);
        let server = Server::start(handle.clone(), tasks).await?;
        let door = Door::start(handle.clone(), tasks).await?;
        let management = Management::start(handle.clone(), tasks).await?;
        Ok(Self { handle, server, door, management })
    }

    /// The broker.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Has services called for the messages of their subscriptions.
    pub(crate) fn push(&self, caller: Caller, tasks: &Tasks) {
        let caller: Arc<dyn push::Caller> = Arc::new(caller);
        push::start(&self.handle, &caller, tasks);
    }

    /// Enters the addresses really listened on.
    pub(crate) fn tell_addresses(&self, addresses: &mut Addresses) {
        addresses.messages = Some(self.server.address());
        addresses.messages_tls = self.server.tls_address();
        addresses.messages_management = self.management.as_ref().map(Management::address);
        addresses.messages_http = self.door.as_ref().map(Door::address);
    }

    /// Closes clients' connections; the broker goes on until [`Messages::save`].
    pub(crate) async fn close(&self, deadline: Duration) {
        if let Some(door) = &self.door {
            door.close(deadline).await;
        }
        if let Some(management) = &self.management {
            management.close(deadline).await;
        }
        self.server.close(deadline).await;
    }

    /// Carries out what was handed in, writes down where it stands and ends.
    pub(crate) async fn save(&self) {
        self.handle.close().await;
    }
}
