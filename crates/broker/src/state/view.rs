//! What others may see of the state.

use std::sync::Arc;

use posthouse_journal::StreamName;

use super::State;
use super::command::{Permissions, User};
use super::exchange::{Binding, ExchangeSpec};
use super::lane::Lane;
use super::model::QueueSpec;
use crate::ids::{ConnectionId, LaneId, QueueName, UserName, VhostName};

/// Figures of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFigures {
    /// Its virtual host.
    pub vhost: VhostName,
    /// Its name.
    pub name: QueueName,
    /// Messages that wait.
    pub ready: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Deliveries that wait to be acknowledged.
    pub unacked: u64,
    /// Its consumers.
    pub consumers: u64,
}

/// A queue as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// How it was declared.
    pub spec: Arc<QueueSpec>,
    /// How it stands.
    pub figures: QueueFigures,
}

/// A connection as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionView {
    /// Its number.
    pub id: ConnectionId,
    /// Its virtual host.
    pub vhost: VhostName,
    /// Who it is.
    pub user: UserName,
    /// From where to where, or the name that it gave itself.
    pub name: Arc<str>,
    /// Its channels.
    pub channels: usize,
}

/// The stream that a lane is in.
#[must_use]
pub(crate) fn lane_stream(lane: LaneId) -> StreamName {
    Lane::new(lane).stream
}

impl State {
    /// A user, by name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|known| &known.user)
    }

    /// What a user may do in a virtual host.
    pub(crate) fn permissions(&self, user: &UserName, vhost: &VhostName) -> Option<&Permissions> {
        self.users.get(user)?.allowed.get(vhost).map(|(permissions, _)| permissions)
    }

    /// All users.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values().map(|known| &known.user)
    }

    /// All virtual hosts, by name.
    pub fn vhosts(&self) -> impl Iterator<Item = &VhostName> {
        self.vhosts.keys()
    }

    /// All queues, by virtual host and name.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        let view = |queue: &super::model::Queue| QueueView {
            spec: Arc::clone(&queue.spec),
            figures: QueueFigures {
                vhost: queue.spec.vhost.clone(),
                name: queue.spec.name.clone(),
                ready: queue.count(),
                bytes: queue.bytes(),
                unacked: queue.unacked,
                consumers: u64::try_from(queue.consumers.len()).unwrap_or(u64::MAX),
            },
        };
        let mut queues: Vec<QueueView> = self.queues.values().map(view).collect();
        queues.sort_unstable_by(|one, other| {
            let name = |view: &QueueView| (view.spec.vhost.clone(), view.spec.name.clone());
            name(one).cmp(&name(other))
        });
        queues
    }

    /// All exchanges but for the default ones, by virtual host and name.
    pub fn exchanges_of_all(&self) -> impl Iterator<Item = &Arc<ExchangeSpec>> {
        let all = self.vhosts.values().flat_map(|vhost| vhost.exchanges.values());
        all.map(|exchange| &exchange.spec)
    }

    /// All bindings, by virtual host and source.
    pub fn bindings_of_all(&self) -> impl Iterator<Item = &Arc<Binding>> {
        let all = self.vhosts.values().flat_map(|vhost| vhost.exchanges.values());
        all.flat_map(|exchange| exchange.bindings())
    }

    /// All connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionView> {
        self.connections.iter().map(|(id, connection)| ConnectionView {
            id: *id,
            vhost: connection.open.vhost.clone(),
            user: connection.open.user.clone(),
            name: Arc::clone(&connection.open.name),
            channels: connection.channels.len(),
        })
    }

    /// Figures of the first queues by name.
    pub(crate) fn queue_figures(&self, most: usize) -> Vec<QueueFigures> {
        let mut queues = self.queues();
        queues.truncate(most);
        queues.into_iter().map(|view| view.figures).collect()
    }

    /// Figures of everything: names, what they mean, and the values.
    pub(crate) fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let channels = self.connections.values().map(|connection| connection.channels.len());
        vec![
            ("connections", "Connections", number(self.connections.len())),
            ("channels", "Channels", number(channels.sum())),
            ("consumers", "Consumers", number(self.consumers.len())),
            ("queues", "Queues", number(self.queues.len())),
            ("exchanges", "Exchanges", number(self.exchanges())),
            ("bindings", "Bindings", number(self.bindings)),
            ("memory_bytes", "Messages that are not in the journal", number(self.memory)),
            ("window_bytes", "Messages of the journal at hand", number(self.windows_bytes)),
            ("blocked", "Whether publishers are blocked", u64::from(self.blocked.is_some())),
        ]
    }
}
