//! Connections, channels and consumers, as they come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::State;
use super::apply::answered;
use super::command::{Open, Permissions};
use super::effect::{Answer, Effect, Output};
use super::event::NewConsumer;
use super::model::{Channel, Connection, Consumer, ConsumerId, How, Unacked};
use super::permission::Allowed;
use super::refusal::Refusal;
use crate::ids::{ChannelId, ConnectionId, ConsumerTag, UserName, VhostName};

impl State {
    pub(super) fn on_channel(&mut self, id: ChannelId, change: impl FnOnce(&mut Channel)) {
        if let Some(channel) = self.channel_mut(id) {
            change(channel);
        }
    }

    pub(super) fn channel_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.connections.get_mut(&id.connection)?.channels.get_mut(&id.number)
    }

    pub(super) fn permit(
        &mut self,
        name: &UserName,
        vhost: &VhostName,
        permissions: Option<&Permissions>,
    ) {
        let Some(user) = self.users.get_mut(name) else { return };
        let allowed = match permissions {
            // What cannot be read was refused before.
            Some(permissions) => Arc::new(Allowed::read(permissions).unwrap_or_default()),
            None => Arc::default(),
        };
        match permissions {
            Some(permissions) => {
                let both = (permissions.clone(), Arc::clone(&allowed));
                user.allowed.insert(vhost.clone(), both);
            }
            None => {
                user.allowed.remove(vhost);
            }
        }
        for connection in self.connections.values_mut() {
            if connection.open.is_of(name) && connection.open.vhost == *vhost {
                connection.allowed = Arc::clone(&allowed);
            }
        }
    }

    pub(super) fn open(&mut self, open: &Open, effects: &mut Vec<Effect>) {
        let user = self.users.get(&open.user);
        let allowed = user.and_then(|user| user.allowed.get(&open.vhost));
        let allowed = match open.is_house {
            true => Arc::new(Allowed::all()),
            false => allowed.map(|(_, allowed)| Arc::clone(allowed)).unwrap_or_default(),
        };
        let connection = Connection {
            open: open.clone(),
            allowed,
            channels: BTreeMap::new(),
            queues: std::collections::BTreeSet::new(),
            outgoing: (0, 0),
            blocked: Vec::new(),
        };
        self.connections.insert(open.connection, connection);
        if let Some(why) = &self.blocked {
            effects.push(Effect::Tell(open.connection, Output::Blocked(Arc::clone(why))));
        }
    }

    pub(super) fn close(
        &mut self,
        id: ConnectionId,
        refusal: Option<&Refusal>,
        effects: &mut Vec<Effect>,
    ) {
        self.pending.connections.remove(&id);
        let Some(connection) = self.connections.get(&id) else { return };
        let channels: Vec<ChannelId> = connection
            .channels
            .keys()
            .map(|number| ChannelId { connection: id, number: *number })
            .collect();
        let queues = connection.queues.clone();
        for channel in channels {
            self.leave_channel(channel);
        }
        self.pending.queues.extend(queues);
        self.connections.remove(&id);
        let output = match refusal {
            Some(refusal) => Output::CloseConnection(refusal.clone()),
            None => Output::Answer(crate::ids::ChannelNumber::new(0), Answer::ConnectionClosed),
        };
        effects.push(Effect::Tell(id, output));
    }

    pub(super) fn open_channel(&mut self, id: ChannelId, effects: &mut Vec<Effect>) {
        let Some(connection) = self.connections.get_mut(&id.connection) else { return };
        connection.channels.insert(id.number, Channel::default());
        answered(id, Answer::ChannelOpened, effects);
    }

    pub(super) fn close_channel(
        &mut self,
        id: ChannelId,
        refusal: Option<&Refusal>,
        effects: &mut Vec<Effect>,
    ) {
        self.leave_channel(id);
        match refusal {
            Some(refusal) => {
                let output = Output::CloseChannel(id.number, refusal.clone());
                effects.push(Effect::Tell(id.connection, output));
            }
            None => answered(id, Answer::ChannelClosed, effects),
        }
    }

    /// Ends a channel: its consumers go, and its deliveries go back.
    fn leave_channel(&mut self, id: ChannelId) {
        let Some(connection) = self.connections.get_mut(&id.connection) else { return };
        let Some(channel) = connection.channels.remove(&id.number) else { return };
        for consumer in channel.consumers.into_values() {
            self.forget_consumer(consumer);
        }
        for unacked in channel.unacked.into_values() {
            self.settle_one(id, unacked, How::Requeued);
        }
        for queue in channel.getting {
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.getters.retain(|getter| getter.channel != id);
            }
        }
    }

    pub(super) fn consume(&mut self, new: &NewConsumer, effects: &mut Vec<Effect>) {
        let NewConsumer { channel: id, tag, queue, no_ack, exclusive, priority, answer } = new;
        let consumer_id = self.next_consumer;
        let Some(channel) = self.channel_mut(*id) else { return };
        let prefetch = channel.prefetch;
        channel.consumers.insert(tag.clone(), consumer_id);
        self.next_consumer += 1;
        let consumer = Consumer {
            channel: *id,
            tag: tag.clone(),
            queue: *queue,
            no_ack: *no_ack,
            exclusive: *exclusive,
            priority: *priority,
            prefetch,
            unacked: 0,
            in_turn: false,
        };
        self.consumers.insert(consumer_id, consumer);
        if *answer {
            answered(*id, Answer::Consuming(tag.clone()), effects);
        }
        let Some(queue) = queue else {
            self.replies.insert(*id, consumer_id);
            return;
        };
        if let Some(found) = self.queues.get_mut(queue) {
            found.consumers.push(consumer_id);
            if found.spec.checked.single_active && found.active.is_none() {
                found.active = Some(consumer_id);
            }
        }
        self.used(*queue);
        self.give_turn(consumer_id);
    }

    pub(super) fn cancel(&mut self, id: ChannelId, tag: &ConsumerTag) {
        let consumer = self.channel_mut(id).and_then(|channel| channel.consumers.remove(tag));
        if let Some(consumer) = consumer {
            self.forget_consumer(consumer);
        }
    }

    /// A consumer is gone from its channel: its queue may hand over to the next one, or go too.
    fn forget_consumer(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.remove(&id) else { return };
        let Some(queue_id) = consumer.queue else {
            self.replies.remove(&consumer.channel);
            return;
        };
        let Some(queue) = self.queues.get_mut(&queue_id) else { return };
        queue.consumers.retain(|other| *other != id);
        queue.turns.retain(|_, turns| {
            turns.retain(|other| *other != id);
            !turns.is_empty()
        });
        if queue.consumers.is_empty() && queue.spec.auto_delete {
            self.pending.queues.insert(queue_id);
        }
        if queue.active == Some(id) {
            queue.active = None;
            let others = queue.consumers.iter().copied();
            let priority = |id: &ConsumerId| self.consumers.get(id).map(|other| other.priority);
            // The first of the highest priority.
            let next = others.rev().max_by_key(priority);
            if let Some(queue) = self.queues.get_mut(&queue_id) {
                queue.active = next;
            }
            if let Some(next) = next {
                self.give_turn(next);
            }
        }
        self.used(queue_id);
    }

    /// The queue of a consumer is gone.
    pub(super) fn orphan(&mut self, id: ConsumerId, effects: &mut Vec<Effect>) {
        let Some(consumer) = self.consumers.remove(&id) else { return };
        let Some(connection) = self.connections.get_mut(&consumer.channel.connection) else {
            return;
        };
        if let Some(channel) = connection.channels.get_mut(&consumer.channel.number) {
            channel.consumers.remove(&consumer.tag);
        }
        if connection.open.understands_cancel {
            let output = Output::Cancelled(consumer.channel.number, consumer.tag);
            effects.push(Effect::Tell(consumer.channel.connection, output));
        }
    }

    /// Gives a consumer its turn in its queue, if it may have one.
    pub(super) fn give_turn(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(queue_id) = consumer.queue else { return };
        let Some(queue) = self.queues.get_mut(&queue_id) else { return };
        if consumer.in_turn || (queue.spec.checked.single_active && queue.active != Some(id)) {
            return;
        }
        consumer.in_turn = true;
        queue.turns.entry(std::cmp::Reverse(consumer.priority)).or_default().push_back(id);
        self.touched.push(queue_id);
    }

    /// A channel has room again: those that waited for it have their turns.
    pub(super) fn unblock(&mut self, id: ChannelId) {
        let Some(channel) = self.channel_mut(id) else { return };
        for consumer in std::mem::take(&mut channel.blocked) {
            self.give_turn(consumer);
        }
    }

    pub(super) fn written(&mut self, id: ConnectionId, deliveries: u32, bytes: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (count, waiting) = &mut connection.outgoing;
        *count = count.saturating_sub(usize::try_from(deliveries).unwrap_or(usize::MAX));
        *waiting = waiting.saturating_sub(bytes);
        for consumer in std::mem::take(&mut connection.blocked) {
            self.give_turn(consumer);
        }
    }

    /// Ends one delivery. Messages that are kept are removed, or die, by events of their own.
    pub(super) fn settle_one(&mut self, channel: ChannelId, unacked: Unacked, how: How) {
        let Unacked { lane: id, place, consumer, size, message } = unacked;
        if let Some(consumer) = consumer {
            self.on_channel(channel, |channel| {
                channel.to_consumers = channel.to_consumers.saturating_sub(1);
            });
            if let Some(consumer) = self.consumers.get_mut(&consumer) {
                consumer.unacked = consumer.unacked.saturating_sub(1);
            }
        }
        let weight = message.as_ref().map_or(0, |message| message.weight());
        let Some(queue) = self.queues.get_mut(&id.queue) else {
            self.memory -= weight;
            return;
        };
        queue.unacked = queue.unacked.saturating_sub(1);
        if how != How::Requeued {
            self.memory -= weight;
            return;
        }
        let lane = queue.lane_mut(id.priority);
        // It may have died at the same time.
        let is_dying = place.seq().is_some_and(|seq| lane.dying.contains_key(&seq));
        let is_there = place.seq().is_none_or(|seq| lane.kept.contains(seq));
        if is_there && !is_dying {
            lane.put_back(place, size, message);
            self.touched.push(id.queue);
        }
    }
}
