//! Where messages go.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::argument::Overflow;
use super::command::Publish;
use super::death::{Reason, buried, is_cycle, routing_keys};
use super::decide::{Deciding, On, failed};
use super::event::{Event, Outcome, Placed, Removed};
use super::exchange::Destination;
use super::lane::{Place, size_of};
use super::model::{Mode, Queue, Vhost, carbon_copies};
use super::ranges::ranges_of;
use super::refusal::{Code, Refusal};
use crate::ids::{
    ChannelId, ChannelNumber, ConnectionId, ExchangeName, LaneId, QueueId, RoutingKey,
};
use crate::message::{Message, Table, Value};

/// What stands for whoever waits for replies.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Where a message goes.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) queues: Vec<QueueId>,
    /// The same, once they are many.
    seen: HashSet<QueueId, RandomState>,
}

impl Routes {
    fn add(&mut self, queue: QueueId) {
        const FEW: usize = 16;
        if self.queues.len() < FEW {
            if !self.queues.contains(&queue) {
                self.queues.push(queue);
            }
            return;
        }
        if self.seen.is_empty() {
            self.seen.extend(&self.queues);
        }
        if self.seen.insert(queue) {
            self.queues.push(queue);
        }
    }
}

impl<'a> Deciding<'a> {
    pub(super) fn publish(&mut self, on: On<'a>, publishes: Vec<Publish>) -> Result<(), Refusal> {
        let Mode::Tx(tx) = &on.channel.mode else { return self.publish_now(on, publishes) };
        let bytes: usize = publishes.iter().map(|publish| publish.body.len() + 128).sum();
        let limit = self.state.limits.transaction;
        if tx.bytes + bytes > limit {
            let detail =
                format!("a transaction holds {limit} bytes at most (messages.limits.transaction)");
            return Err(failed(detail));
        }
        for publish in &publishes {
            self.may_publish(on, publish)?;
        }
        self.push(Event::HeldPublish(on.id, publishes));
        Ok(())
    }

    /// Publishes them in order, up to the first that is refused.
    pub(super) fn publish_now(
        &mut self,
        on: On<'a>,
        publishes: Vec<Publish>,
    ) -> Result<(), Refusal> {
        let mut outcomes = Vec::with_capacity(publishes.len());
        let mut refused = Ok(());
        for publish in publishes {
            match self.publish_one(on, publish) {
                Ok(outcome) => outcomes.push(outcome),
                Err(refusal) => {
                    refused = Err(refusal);
                    break;
                }
            }
        }
        if !outcomes.is_empty() {
            self.push(Event::Published { channel: on.id, outcomes });
        }
        refused
    }

    fn may_publish(&self, on: On<'_>, publish: &Publish) -> Result<(), Refusal> {
        let vhost = &on.connection.open.vhost;
        let Publish { exchange: name, properties, body, .. } = publish;
        on.may_write_exchange(name)?;
        if !name.is_empty() {
            let exchange = on.vhost.exchanges.get(name).ok_or_else(|| on.no_exchange(name))?;
            if exchange.spec.internal {
                let detail =
                    format!("cannot publish to internal exchange '{name}' in vhost '{vhost}'");
                return Err(Refusal::new(Code::AccessRefused, detail));
            }
        }
        let limit = self.state.limits.message;
        if body.len() > limit {
            let size = body.len();
            let detail = format!("message size {size} is larger than configured max size {limit}");
            return Err(failed(detail));
        }
        if let Some(user) = properties.user_id.as_deref()
            && !on.connection.open.is_house
            && user != on.connection.open.user.as_str()
        {
            let own = &on.connection.open.user;
            let detail =
                format!("user_id property set to '{user}' but authenticated user was '{own}'");
            return Err(failed(detail));
        }
        if let Some(expiration) = properties.expiration.as_deref()
            && expiration.parse::<u32>().is_err()
        {
            return Err(failed(format!("invalid expiration '{expiration}'")));
        }
        for key in ["CC", "BCC"] {
            if let Some(value) = properties.headers.as_ref().and_then(|headers| headers.get(key))
                && !matches!(value, Value::Array(_))
            {
                return Err(failed(format!(
                    "unexpected type of the header '{key}': it is an array"
                )));
            }
        }
        Ok(())
    }

    fn publish_one(&mut self, on: On<'a>, publish: Publish) -> Result<Outcome, Refusal> {
        self.may_publish(on, &publish)?;
        let Publish { exchange, routing_key, mandatory, mut properties, body } = publish;
        if properties.reply_to.as_deref() == Some(REPLY_TO) {
            if !self.state.replies.contains_key(&on.id) {
                return Err(failed("fast reply consumer does not exist"));
            }
            properties.reply_to = Some(reply_name(on).into());
        }
        let headers = properties.headers.as_ref();
        let mut routes = Routes::default();
        self.route(on.vhost, &exchange, routing_key.as_str(), headers, &mut routes);
        for key in carbon_copies(headers) {
            let key = String::from_utf8_lossy(key);
            self.route(on.vhost, &exchange, &key, headers, &mut routes);
        }
        if let Some(headers) = &mut properties.headers {
            headers.remove("BCC");
        }
        let queued_at = self.now;
        let message = Arc::new(Message { exchange, routing_key, properties, body, queued_at });
        if message.exchange.is_empty()
            && let Some(to) = self.who_waits(&message.routing_key)
        {
            self.push(Event::Replied { to, message });
            return Ok(Outcome::Taken);
        }
        if routes.queues.is_empty() {
            return Ok(Outcome::Unroutable { message, returned: mandatory });
        }
        self.fits(&message, &routes.queues)?;
        let mut taken = true;
        for queue in &routes.queues {
            taken &= self.offer(*queue, &message);
        }
        Ok(if taken { Outcome::Taken } else { Outcome::Rejected })
    }

    /// Whether the journal takes as much at once. It counts what this command has already, too.
    fn fits(&self, message: &Message, queues: &[QueueId]) -> Result<(), Refusal> {
        let is_persistent = message.properties.is_persistent();
        let found = queues.iter().filter_map(|id| self.state.queues.get(id));
        let keeping = found.filter(|queue| self.keeps(queue, is_persistent)).count();
        let limit = self.state.limits.command;
        if self.bytes + message.weight().saturating_mul(keeping) <= limit {
            return Ok(());
        }
        let (size, count) = (message.body.len(), queues.len());
        let detail = format!(
            "a message of {size} bytes for {count} queues is more than the {limit} bytes that can \
             be written at once"
        );
        Err(failed(detail))
    }

    fn keeps(&self, queue: &Queue, is_persistent: bool) -> bool {
        self.state.limits.journal && queue.keeps(is_persistent)
    }

    /// Finds where a message goes from an exchange, on by others, each once.
    pub(super) fn route(
        &self,
        vhost: &Vhost,
        exchange: &ExchangeName,
        key: &str,
        headers: Option<&Table>,
        routes: &mut Routes,
    ) {
        if exchange.is_empty() {
            if let Some(queue) = vhost.queues.get(key) {
                routes.add(*queue);
            }
            return;
        }
        let mut open = vec![exchange];
        let mut seen: Vec<&ExchangeName> = vec![exchange];
        while let Some(name) = open.pop() {
            if name.is_empty() {
                if let Some(queue) = vhost.queues.get(key) {
                    routes.add(*queue);
                }
                continue;
            }
            let Some(exchange) = vhost.exchanges.get(name) else { continue };
            let mut leads_on = false;
            exchange.route(key, headers, |destination| {
                leads_on = true;
                match destination {
                    Destination::Queue(queue) => routes.add(*queue),
                    Destination::Exchange(name) if !seen.contains(&name) => {
                        seen.push(name);
                        open.push(name);
                    }
                    Destination::Exchange(_) => {}
                }
            });
            if !leads_on
                && let Some(alternate) = &exchange.alternate
                && !seen.contains(&alternate)
            {
                seen.push(alternate);
                open.push(alternate);
            }
        }
    }

    /// Puts a message into a queue, unless it is full and takes no more.
    fn offer(&mut self, id: QueueId, message: &Arc<Message>) -> bool {
        let state = self.state;
        let Some(queue) = state.queues.get(&id) else { return true };
        let checked = &queue.spec.checked;
        if checked.overflow != Overflow::DropHead && !self.has_room(queue, message) {
            if checked.overflow == Overflow::RejectPublishDlx {
                self.bury(queue, message, Reason::MaxLen);
            }
            return false;
        }
        let priority = queue.priority_of(message.properties.priority);
        let lane = LaneId { queue: id, priority };
        let (stream, next) = queue.next(priority);
        let keeps = self.keeps(queue, message.properties.is_persistent());
        let seq = keeps.then(|| self.next_of(lane, next));
        self.put(Placed { lane, seq, stream, message: Arc::clone(message) });
        true
    }

    fn has_room(&self, queue: &Queue, message: &Message) -> bool {
        let (count, bytes) = self.filling(queue);
        let checked = &queue.spec.checked;
        checked.max_length.is_none_or(|most| count < most)
            && checked.max_length_bytes.is_none_or(|most| bytes + size_of(message) <= most)
    }

    /// Sends a message on that has died in a queue, if there is somewhere.
    pub(super) fn bury(&mut self, queue: &'a Queue, message: &Message, reason: Reason) {
        let Some(dead_letter) = &queue.spec.checked.dead_letter else { return };
        let Some(vhost) = self.state.vhosts.get(&queue.spec.vhost) else { return };
        let mut message = buried(message, &queue.spec.name, dead_letter, reason, self.now);
        if let Some(headers) = &mut message.properties.headers {
            headers.remove("BCC");
        }
        let headers = message.properties.headers.as_ref();
        let mut routes = Routes::default();
        for key in routing_keys(&message) {
            let key = String::from_utf8_lossy(&key);
            self.route(vhost, &message.exchange, &key, headers, &mut routes);
        }
        let message = Arc::new(message);
        for id in routes.queues {
            let target = self.state.queues.get(&id);
            if target.is_some_and(|target| !is_cycle(&message, &target.spec.name)) {
                self.offer(id, &message);
            }
        }
    }

    /// Ends messages that wait in a lane, or that nobody has any more: they die, or just go.
    pub(super) fn end_waiting(
        &mut self,
        queue: &'a Queue,
        priority: u8,
        messages: &[(Place, Arc<Message>)],
        reason: Reason,
    ) {
        for (_, message) in messages {
            self.bury(queue, message, reason);
        }
        let lane = LaneId { queue: queue.spec.id, priority };
        let kept = messages.iter().filter_map(|(place, message)| Some((place.seq()?, message)));
        let (seqs, sizes): (Vec<u64>, Vec<u64>) =
            kept.map(|(seq, message)| (seq, size_of(message))).unzip();
        if !seqs.is_empty() {
            let bytes = sizes.iter().sum();
            let (stream, ranges) = (queue.next(priority).0, ranges_of(seqs));
            let removed = Removed { lane, stream, ranges, bytes, waiting_bytes: bytes };
            self.push(Event::Removed(removed));
        }
        let places = messages.iter().map(|(place, _)| *place);
        let places: Vec<Place> = places.filter(|place| place.seq().is_none()).collect();
        if !places.is_empty() {
            self.push(Event::Dropped { lane, places });
        }
    }

    /// Sends on what has died of messages that were fetched for that.
    pub(super) fn bury_kept(
        &mut self,
        queue: &'a Queue,
        priority: u8,
        messages: &[(u64, Arc<Message>)],
    ) {
        let Some(lane) = queue.lanes.get(&priority) else { return };
        let (mut seqs, mut bytes, mut waiting_bytes) = (Vec::new(), 0, 0);
        for (seq, message) in messages {
            let Some(reason) = lane.dying.get(seq) else { continue };
            // The rest is fetched again.
            if !seqs.is_empty() && self.bytes + message.weight() > self.state.limits.command / 2 {
                break;
            }
            self.bury(queue, message, *reason);
            bytes += size_of(message);
            waiting_bytes += if lane.dead_in_bytes.contains(*seq) { size_of(message) } else { 0 };
            seqs.push(*seq);
        }
        if !seqs.is_empty() {
            let lane = LaneId { queue: queue.spec.id, priority };
            let (stream, ranges) = (queue.next(priority).0, ranges_of(seqs));
            self.push(Event::Removed(Removed { lane, stream, ranges, bytes, waiting_bytes }));
        }
    }

    /// Messages that the journal should have, and has not.
    pub(super) fn lose(&mut self, queue: &Queue, priority: u8, missing: Vec<u64>) {
        let lane = LaneId { queue: queue.spec.id, priority };
        self.push(Event::Missed { lane, seqs: missing.clone() });
        let (stream, ranges) = (queue.next(priority).0, ranges_of(missing));
        self.push(Event::Removed(Removed { lane, stream, ranges, bytes: 0, waiting_bytes: 0 }));
    }

    /// Whoever waits for replies by that name.
    fn who_waits(&self, key: &RoutingKey) -> Option<super::model::ConsumerId> {
        let rest = key.as_str().strip_prefix(REPLY_TO)?.strip_prefix('.')?;
        let mut parts = rest.split('.');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (connection, channel, secret) = (number()?, number()?, number()?);
        let id = ChannelId {
            connection: ConnectionId::new(connection),
            number: ChannelNumber::new(u16::try_from(channel).ok()?),
        };
        let open = &self.state.connections.get(&id.connection)?.open;
        self.state.replies.get(&id).copied().filter(|_| open.secret == secret)
    }
}

/// The name that stands for a channel's consumer of replies.
pub(super) fn reply_name(on: On<'_>) -> String {
    let ChannelId { connection, number } = on.id;
    let secret = on.connection.open.secret;
    format!("{REPLY_TO}.{:x}.{:x}.{secret:x}", connection.get(), number.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_a_destination_once() {
        let mut routes = Routes::default();
        for round in 0..3 {
            for id in 0..40 {
                routes.add(QueueId::new(id));
            }
            assert_eq!(routes.queues.len(), 40, "round {round}");
        }
    }
}
