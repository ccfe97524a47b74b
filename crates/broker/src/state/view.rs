//! What others may see of the state.

use std::sync::Arc;

use posthouse_journal::StreamName;

use super::State;
use super::command::{Permissions, User};
use super::exchange::{Binding, Destination, ExchangeSpec};
use super::lane::Lane;
use super::model::{ConsumerId, Queue, QueueSpec};
use super::refusal::{Code, Refusal};
use crate::config::Subscription;
use crate::ids::{
    ChannelId, ConnectionId, ConsumerTag, ExchangeName, LaneId, QueueName, RoutingKey, UserName,
    VhostName,
};
use crate::message::Table;

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

/// A binding as operators see it: with the name of where it leads.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingView {
    /// Where.
    pub vhost: VhostName,
    /// The exchange that messages come from.
    pub source: ExchangeName,
    /// Where they go.
    pub destination: String,
    /// Whether that is a queue, or else an exchange.
    pub to_queue: bool,
    /// By which key, or pattern.
    pub key: RoutingKey,
    /// By which headers.
    pub arguments: Table,
    /// Whether it goes with a connection.
    pub is_passing: bool,
}

/// A consumer as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerView {
    /// Its channel.
    pub channel: ChannelId,
    /// Its tag.
    pub tag: ConsumerTag,
    /// Its virtual host.
    pub vhost: VhostName,
    /// Its queue; `None` for one that waits for direct replies.
    pub queue: Option<QueueName>,
    /// Whether a delivery is done when it is made.
    pub no_ack: bool,
    /// Whether nobody else may consume.
    pub exclusive: bool,
    /// Its priority.
    pub priority: i32,
    /// Deliveries that it may have unacknowledged; 0 for any number.
    pub prefetch: u16,
    /// Deliveries that it has unacknowledged.
    pub unacked: u32,
    /// Whether it gets messages: of a queue with a single active consumer only one does.
    pub is_active: bool,
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
    /// Its consumers.
    pub consumers: usize,
    /// Deliveries that it has unacknowledged.
    pub unacked: usize,
    /// What the client says of itself.
    pub client: Table,
    /// Whether it is a part of the house itself.
    pub is_house: bool,
}

/// The stream that a lane is in.
#[must_use]
pub(crate) fn lane_stream(lane: LaneId) -> StreamName {
    Lane::new(lane).stream
}

fn queue_view(queue: &Queue) -> QueueView {
    QueueView {
        spec: Arc::clone(&queue.spec),
        figures: QueueFigures {
            vhost: queue.spec.vhost.clone(),
            name: queue.spec.name.clone(),
            ready: queue.count(),
            bytes: queue.bytes(),
            unacked: queue.unacked,
            consumers: u64::try_from(queue.consumers.len()).unwrap_or(u64::MAX),
        },
    }
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

    /// Whether a user may publish to an exchange, which is there.
    ///
    /// # Errors
    /// When not, in the words in which clients of AMQP are told.
    pub fn may_publish_to(
        &self,
        user: &UserName,
        vhost: &VhostName,
        exchange: &ExchangeName,
    ) -> Result<(), Refusal> {
        self.may_write_to(user, vhost, exchange)?;
        let there = self.vhosts.get(vhost).map(|vhost| vhost.exchanges.contains_key(exchange));
        if exchange.is_empty() || there == Some(true) {
            return Ok(());
        }
        let detail = format!("no exchange '{exchange}' in vhost '{vhost}'");
        Err(Refusal::new(Code::NotFound, detail))
    }

    /// Whether a user may publish to an exchange, wherever that is.
    ///
    /// # Errors
    /// As [`State::may_publish_to`].
    pub fn may_write_to(
        &self,
        user: &UserName,
        vhost: &VhostName,
        exchange: &ExchangeName,
    ) -> Result<(), Refusal> {
        let allowed = self.users.get(user).and_then(|known| known.allowed.get(vhost));
        if !allowed.is_some_and(|(_, allowed)| allowed.write.contain(exchange.as_str())) {
            let detail = format!(
                "write access to exchange '{exchange}' in vhost '{vhost}' refused for user '{user}'"
            );
            return Err(Refusal::new(Code::AccessRefused, detail));
        }
        Ok(())
    }

    /// All users.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values().map(|known| &known.user)
    }

    /// All virtual hosts, by name.
    pub fn vhosts(&self) -> impl Iterator<Item = &VhostName> {
        self.vhosts.keys()
    }

    /// A queue, by virtual host and name.
    #[must_use]
    pub fn queue(&self, vhost: &str, name: &str) -> Option<QueueView> {
        let id = self.vhosts.get(vhost)?.queues.get(name)?;
        self.queues.get(id).map(queue_view)
    }

    /// All queues, by virtual host and name.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        let mut queues: Vec<QueueView> = self.queues.values().map(queue_view).collect();
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
            consumers: connection.channels.values().map(|channel| channel.consumers.len()).sum(),
            unacked: connection.channels.values().map(|channel| channel.unacked.len()).sum(),
            client: connection.open.client.clone(),
            is_house: connection.open.is_house,
        })
    }

    /// All consumers, in the order in which they began.
    #[must_use]
    pub fn consumers(&self) -> Vec<ConsumerView> {
        let mut ids: Vec<_> = self.consumers.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.consumer_view(id)).collect()
    }

    fn consumer_view(&self, id: ConsumerId) -> Option<ConsumerView> {
        let consumer = self.consumers.get(&id)?;
        let connection = self.connections.get(&consumer.channel.connection)?;
        let queue = consumer.queue.and_then(|queue| self.queues.get(&queue));
        let waits = |queue: &Queue| queue.spec.checked.single_active && queue.active != Some(id);
        Some(ConsumerView {
            channel: consumer.channel,
            tag: consumer.tag.clone(),
            vhost: connection.open.vhost.clone(),
            queue: queue.map(|queue| queue.spec.name.clone()),
            no_ack: consumer.no_ack,
            exclusive: consumer.exclusive,
            priority: consumer.priority,
            prefetch: consumer.prefetch,
            unacked: consumer.unacked,
            is_active: !queue.is_some_and(waits),
        })
    }

    /// All bindings but for those of the default exchanges.
    #[must_use]
    pub fn binding_views(&self) -> Vec<BindingView> {
        let view = |binding: &Arc<Binding>| {
            let (destination, to_queue, is_passing) = match &binding.destination {
                Destination::Exchange(name) => (name.to_string(), false, false),
                Destination::Queue(id) => {
                    let spec = &self.queues.get(id)?.spec;
                    (spec.name.to_string(), true, spec.owner.is_some())
                }
            };
            Some(BindingView {
                vhost: binding.vhost.clone(),
                source: binding.source.clone(),
                destination,
                to_queue,
                key: binding.key.clone(),
                arguments: binding.arguments.clone(),
                is_passing,
            })
        };
        self.bindings_of_all().filter_map(view).collect()
    }

    /// What all users may do.
    pub fn permissions_of_all(
        &self,
    ) -> impl Iterator<Item = (&UserName, &VhostName, &Permissions)> {
        self.users.values().flat_map(|known| {
            let all = known.allowed.iter();
            all.map(|(vhost, (permissions, _))| (&known.user.name, vhost, permissions))
        })
    }

    /// Subscriptions that are not declared in the file, by name.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }

    /// Why publishers are blocked, if they are.
    #[must_use]
    pub const fn blocked(&self) -> Option<&Arc<str>> {
        self.blocked.as_ref()
    }

    /// Figures of the first queues by name.
    pub(crate) fn queue_figures(&self, most: usize) -> Vec<QueueFigures> {
        let mut queues = self.queues();
        queues.truncate(most);
        queues.into_iter().map(|view| view.figures).collect()
    }

    /// Figures of everything: names, what they mean, and the values.
    #[must_use]
    pub fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
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
