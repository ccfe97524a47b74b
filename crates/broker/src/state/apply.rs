//! Makes events have happened.

use std::sync::Arc;

use super::effect::{Answer, Effect, Note, Output};
use super::event::{Definition, Event, Fact, Outcome, Placed, Removed};
use super::exchange::{Binding, Destination, Exchange, ExchangeSpec, PREDEFINED};
use super::lane::{Lane, Place, size_of};
use super::model::{KnownUser, Mode, Queue, QueueSpec, Settlement};
use super::{State, Timer};
use crate::ids::{ChannelId, ExchangeName, LaneId, QueueId, VhostName};
use crate::message::Message;

impl State {
    /// Makes the events of one command have happened. Returns what must be done about them.
    pub(crate) fn apply(&mut self, events: &[Event]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            self.happen(event, &mut effects);
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for queue in touched {
            self.dispatch(queue, &mut effects);
        }
        self.look_at_memory(&mut effects);
        if events.iter().any(Event::is_kept) {
            self.mark += 1;
        }
        effects
    }

    fn happen(&mut self, event: &Event, effects: &mut Vec<Effect>) {
        match event {
            Event::At(now) => self.now = self.now.max(*now),
            Event::Defined(definition) => self.define(definition, effects),
            Event::Placed(placed) => placed.iter().for_each(|placed| self.place(placed)),
            Event::Removed(removed) => self.remove(removed),
            Event::Died { lane, seqs, reason } => self.on_lane(*lane, |lane| {
                lane.dying.extend(seqs.iter().map(|seq| (*seq, *reason)));
            }),
            Event::Counted { lane, seqs } => self.on_lane(*lane, |lane| count(lane, seqs)),
            Event::Reached { lane, seq } => {
                self.pending.reached.remove(lane);
                self.on_lane(*lane, |lane| lane.reached = lane.reached.max(*seq));
            }
            Event::Dropped { lane, places } => self.drop_from_memory(*lane, places),
            Event::Published { channel, outcomes } => self.published(*channel, outcomes, effects),
            Event::Replied { to, message } => self.reply(*to, message, effects),
            Event::Settled { channel, settlement } => self.settle(*channel, settlement),
            Event::Consumed(consumer) => self.consume(consumer, effects),
            Event::Wanted { channel, queue, no_ack } => self.want(*channel, *queue, *no_ack),
            Event::Loaded(loaded) => self.loaded(loaded),
            Event::Missed { lane, seqs } => {
                let note = |seq: &u64| Effect::Note(Note::Missing { lane: *lane, seq: *seq });
                effects.extend(seqs.iter().map(note));
            }
            Event::Looked(queue) => self.looked(*queue),
            Event::Used(queue) => self.used(*queue),
            Event::Alarmed(why) => self.alarm.clone_from(why),
            event => self.happen_to_client(event, effects),
        }
    }

    /// What concerns a connection or a channel only.
    fn happen_to_client(&mut self, event: &Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Opened(open) => self.open(open, effects),
            Event::Closed(connection, refusal) => {
                self.close(*connection, refusal.as_ref(), effects)
            }
            Event::ChannelOpened(channel) => self.open_channel(*channel, effects),
            Event::ChannelClosed(channel, refusal) => {
                self.close_channel(*channel, refusal.as_ref(), effects);
            }
            Event::Answered(channel, answer) => answered(*channel, answer.clone(), effects),
            Event::Cancelled(channel, tag) => self.cancel(*channel, tag),
            Event::Written { connection, deliveries, bytes } => {
                self.written(*connection, *deliveries, *bytes);
            }
            Event::QosSet(channel, qos) => self.on_channel(*channel, |channel| {
                let place =
                    if qos.global { &mut channel.global_prefetch } else { &mut channel.prefetch };
                *place = qos.prefetch;
            }),
            Event::FlowSet(channel, active) => {
                self.on_channel(*channel, |channel| channel.active = *active);
            }
            Event::Named(channel, name) => {
                self.on_channel(*channel, |channel| channel.last_queue = Some(name.clone()));
            }
            Event::ConfirmSelected(channel) => self.on_channel(*channel, |channel| {
                if !matches!(channel.mode, Mode::Confirm(_)) {
                    channel.mode = Mode::Confirm(0);
                }
            }),
            Event::TxSelected(channel) => self.on_channel(*channel, |channel| {
                if !matches!(channel.mode, Mode::Tx(_)) {
                    channel.mode = Mode::Tx(super::model::Tx::default());
                }
            }),
            Event::HeldPublish(channel, publishes) => self.on_tx(*channel, |tx| {
                tx.bytes += publishes.iter().map(|publish| publish.body.len() + 128).sum::<usize>();
                tx.publishes.extend(publishes.iter().cloned());
            }),
            Event::HeldAck(channel, settlement) => self.on_tx(*channel, |tx| {
                tx.acks.push(settlement.clone());
            }),
            Event::TxEnded(channel) => self.on_tx(*channel, |tx| *tx = super::model::Tx::default()),
            // The others are not of a client.
            _ => {}
        }
        if let Event::QosSet(channel, _) | Event::FlowSet(channel, _) = event {
            self.unblock(*channel);
        }
    }

    pub(super) fn on_lane(&mut self, id: LaneId, change: impl FnOnce(&mut Lane)) {
        let Some(queue) = self.queues.get_mut(&id.queue) else { return };
        let lane = queue.lane_mut(id.priority);
        let before = lane.at_hand().1;
        change(lane);
        self.windows_bytes = self.windows_bytes + lane.at_hand().1 - before;
        self.touched.push(id.queue);
    }

    fn on_tx(&mut self, id: ChannelId, change: impl FnOnce(&mut super::model::Tx)) {
        self.on_channel(id, |channel| {
            if let Mode::Tx(tx) = &mut channel.mode {
                change(tx);
            }
        });
    }

    /// Makes a fact have happened again.
    pub(crate) fn recall(&mut self, fact: &Fact) {
        match fact {
            Fact::Defined(definition) => self.define(definition, &mut Vec::new()),
            Fact::Placed { lane, first, sizes, expire } => {
                let Some(queue) = self.queues.get_mut(&lane.queue) else { return };
                queue.expires |= expire;
                let lane = queue.lane_mut(lane.priority);
                for (seq, size) in (*first..).zip(sizes) {
                    lane.keep(seq, *size);
                }
            }
            Fact::Removed { lane, ranges, bytes } => {
                self.on_lane(*lane, |lane| lane.forget(ranges, *bytes, 0));
            }
            Fact::Died { lane, seqs, reason } => self.on_lane(*lane, |lane| {
                lane.dying.extend(seqs.iter().map(|seq| (*seq, *reason)));
            }),
            Fact::Counted { lane, seqs } => self.on_lane(*lane, |lane| count(lane, seqs)),
            Fact::Reached { lane, seq } => {
                self.on_lane(*lane, |lane| lane.reached = lane.reached.max(*seq));
            }
        }
        self.touched.clear();
    }

    pub(super) fn define(&mut self, definition: &Definition, effects: &mut Vec<Effect>) {
        match definition {
            Definition::VhostPut(name) => self.put_vhost(name),
            Definition::VhostDeleted(name) => {
                self.vhosts.remove(name);
                for user in self.users.values_mut() {
                    user.allowed.remove(name);
                }
            }
            Definition::UserPut(user) => {
                let allowed = self.users.remove(&user.name).map(|known| known.allowed);
                let known = KnownUser { user: user.clone(), allowed: allowed.unwrap_or_default() };
                self.users.insert(known.name().clone(), known);
            }
            Definition::UserDeleted(name) => {
                self.users.remove(name);
            }
            Definition::Permitted { user, vhost, permissions } => {
                self.permit(user, vhost, permissions.as_ref());
            }
            Definition::SubscriptionPut(subscription) => {
                let name = Arc::from(&*subscription.name);
                self.subscriptions.insert(name, Arc::clone(subscription));
            }
            Definition::SubscriptionDeleted(name) => {
                self.subscriptions.remove(name);
            }
            Definition::ExchangeDeclared(spec) => self.put_exchange(spec),
            Definition::ExchangeDeleted { vhost, exchange, .. } => {
                self.delete_exchange(vhost, exchange);
            }
            Definition::QueueDeclared(spec) => self.put_queue(spec),
            Definition::QueueDeleted { queue, .. } => self.delete_queue(*queue, effects),
            Definition::Bound(binding) => self.bind(binding),
            Definition::Unbound(binding) => self.unbind(binding),
        }
    }

    fn put_vhost(&mut self, name: &VhostName) {
        let vhost = self.vhosts.entry(name.clone()).or_default();
        for (exchange, kind) in PREDEFINED {
            let spec = Arc::new(ExchangeSpec::predefined(name, exchange, kind));
            vhost.exchanges.entry(spec.name.clone()).or_insert_with(|| Exchange::new(spec));
        }
    }

    fn put_exchange(&mut self, spec: &Arc<ExchangeSpec>) {
        if let Some(vhost) = self.vhosts.get_mut(&spec.vhost) {
            vhost.exchanges.insert(spec.name.clone(), Exchange::new(Arc::clone(spec)));
        }
    }

    fn delete_exchange(&mut self, vhost_name: &VhostName, name: &ExchangeName) {
        let Some(vhost) = self.vhosts.get_mut(vhost_name) else { return };
        self.pending.exchanges.remove(&(vhost_name.clone(), name.clone()));
        let Some(exchange) = vhost.exchanges.remove(name) else { return };
        for binding in exchange.bindings() {
            if let Some(sources) = vhost.sources.get_mut(&binding.destination) {
                sources.remove(name);
                if sources.is_empty() {
                    vhost.sources.remove(&binding.destination);
                }
            }
        }
        self.bindings -= exchange.bindings().len();
        self.unbind_all(vhost_name, &Destination::Exchange(name.clone()));
    }

    fn put_queue(&mut self, spec: &Arc<QueueSpec>) {
        let id = spec.id.get();
        if spec.id.is_durable() {
            self.next_queue = self.next_queue.max(id + 1);
        } else {
            self.next_volatile = self.next_volatile.max(id + 1);
        }
        let Some(vhost) = self.vhosts.get_mut(&spec.vhost) else { return };
        vhost.queues.insert(spec.name.clone(), spec.id);
        self.queues.insert(spec.id, Queue::new(Arc::clone(spec)));
        if let Some(connection) = spec.owner.and_then(|owner| self.connections.get_mut(&owner)) {
            connection.queues.insert(spec.id);
        }
        self.used(spec.id);
    }

    fn delete_queue(&mut self, id: QueueId, effects: &mut Vec<Effect>) {
        self.pending.queues.remove(&id);
        self.pending.over.remove(&id);
        let Some(queue) = self.queues.remove(&id) else { return };
        self.pending.spent.retain(|lane, _| lane.queue != id);
        self.pending.reached.retain(|lane| lane.queue != id);
        for due in queue
            .head_due
            .map(|due| (due, Timer::Head(id)))
            .into_iter()
            .chain(queue.unused_due.map(|due| (due, Timer::Unused(id))))
        {
            self.timers.remove(&due);
        }
        for lane in queue.lanes.values() {
            self.windows_bytes -= lane.at_hand().1;
            let weights = lane.memory_places().map(|(_, message)| message.weight());
            self.memory -= weights.sum::<usize>();
        }
        let spec = &queue.spec;
        if let Some(vhost) = self.vhosts.get_mut(&spec.vhost) {
            vhost.queues.remove(&spec.name);
        }
        if let Some(connection) = spec.owner.and_then(|owner| self.connections.get_mut(&owner)) {
            connection.queues.remove(&id);
        }
        for consumer in &queue.consumers {
            self.orphan(*consumer, effects);
        }
        for getter in queue.getters {
            answered(getter.channel, Answer::Empty, effects);
        }
        self.unbind_all(&spec.vhost, &Destination::Queue(id));
    }

    fn bind(&mut self, binding: &Arc<Binding>) {
        let Some(vhost) = self.vhosts.get_mut(&binding.vhost) else { return };
        let Some(exchange) = vhost.exchanges.get_mut(&binding.source) else { return };
        exchange.bind(Arc::clone(binding));
        self.bindings += 1;
        let sources = vhost.sources.entry(binding.destination.clone()).or_default();
        sources.insert(binding.source.clone());
    }

    fn unbind(&mut self, binding: &Binding) {
        let Some(vhost) = self.vhosts.get_mut(&binding.vhost) else { return };
        let Some(exchange) = vhost.exchanges.get_mut(&binding.source) else { return };
        if !exchange.unbind(binding) {
            return;
        }
        self.bindings -= 1;
        let leads_on =
            exchange.bindings().iter().any(|there| there.destination == binding.destination);
        let is_last = exchange.bindings().is_empty();
        if !leads_on && let Some(sources) = vhost.sources.get_mut(&binding.destination) {
            sources.remove(&binding.source);
            if sources.is_empty() {
                vhost.sources.remove(&binding.destination);
            }
        }
        if is_last && exchange.spec.auto_delete {
            let which = (binding.vhost.clone(), binding.source.clone());
            self.pending.exchanges.insert(which);
        }
    }

    /// Takes all bindings away that lead there.
    fn unbind_all(&mut self, vhost_name: &VhostName, destination: &Destination) {
        let Some(vhost) = self.vhosts.get(vhost_name) else { return };
        let sources = vhost.sources.get(destination).into_iter().flatten();
        let exchanges = sources.filter_map(|source| vhost.exchanges.get(source));
        let bindings = exchanges.flat_map(Exchange::bindings);
        let leading: Vec<Arc<Binding>> =
            bindings.filter(|binding| binding.destination == *destination).cloned().collect();
        leading.iter().for_each(|binding| self.unbind(binding));
    }

    fn place(&mut self, placed: &Placed) {
        let Placed { lane: id, seq, message, .. } = placed;
        let Some(queue) = self.queues.get_mut(&id.queue) else { return };
        queue.expires |= message.properties.expiration.is_some();
        let limits = &self.limits;
        let lane = queue.lane_mut(id.priority);
        match seq {
            Some(seq) => {
                let (count, bytes) = lane.at_hand();
                let has_room = count < limits.window
                    && bytes < limits.window_bytes
                    && self.windows_bytes < limits.windows_bytes;
                lane.keep(*seq, size_of(message));
                let message_at_hand = has_room.then(|| Arc::clone(message));
                lane.wait(*seq, size_of(message), message_at_hand);
                self.windows_bytes = self.windows_bytes + lane.at_hand().1 - bytes;
            }
            None => {
                lane.hold(Arc::clone(message));
                self.memory += message.weight();
            }
        }
        self.touched.push(id.queue);
    }

    fn remove(&mut self, removed: &Removed) {
        let Removed { lane, ranges, bytes, waiting_bytes, .. } = removed;
        if let Some((seqs, _)) = self.pending.spent.get_mut(lane) {
            seqs.retain(|seq| !ranges.iter().any(|(from, end)| (*from..*end).contains(seq)));
            if seqs.is_empty() {
                self.pending.spent.remove(lane);
            }
        }
        self.on_lane(*lane, |lane| lane.forget(ranges, *bytes, *waiting_bytes));
    }

    fn drop_from_memory(&mut self, id: LaneId, places: &[Place]) {
        let Some(queue) = self.queues.get_mut(&id.queue) else { return };
        let lane = queue.lane_mut(id.priority);
        for place in places {
            if let Some(message) = lane.take(*place) {
                self.memory -= message.weight();
            }
        }
        self.touched.push(id.queue);
    }

    fn published(&mut self, id: ChannelId, outcomes: &[Outcome], effects: &mut Vec<Effect>) {
        let first = match self.channel_mut(id).map(|channel| &mut channel.mode) {
            Some(Mode::Confirm(published)) => {
                let first = *published + 1;
                *published += u64::try_from(outcomes.len()).unwrap_or(u64::MAX);
                Some(first)
            }
            _ => None,
        };
        for outcome in outcomes {
            let Outcome::Unroutable { message, returned } = outcome else { continue };
            let Message { exchange, routing_key, .. } = &**message;
            let (exchange, routing_key) = (exchange.clone(), routing_key.clone());
            let note = Note::Unroutable { exchange, routing_key, returned: *returned };
            effects.push(Effect::Note(note));
            if *returned {
                let output = Output::Return(id.number, Arc::clone(message));
                effects.push(Effect::Tell(id.connection, output));
            }
        }
        let Some(first) = first else { return };
        // One confirm for each run of the same kind: all before it are confirmed already.
        let mut tag = first;
        for run in outcomes.chunk_by(|one, other| is_taken(one) == is_taken(other)) {
            let count = u64::try_from(run.len()).unwrap_or(u64::MAX);
            tag += count;
            let output = Output::Confirm {
                channel: id.number,
                tag: crate::ids::DeliveryTag::new(tag - 1),
                multiple: count > 1,
                ack: is_taken(&run[0]),
            };
            effects.push(Effect::Tell(id.connection, output));
        }
    }

    fn settle(&mut self, id: ChannelId, settlement: &Settlement) {
        for tag in &settlement.tags {
            let taken = self.channel_mut(id).and_then(|channel| channel.unacked.remove(tag));
            if let Some(unacked) = taken {
                self.settle_one(id, unacked, settlement.how);
            }
        }
        self.unblock(id);
    }
}

const fn is_taken(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Rejected)
}

fn count(lane: &mut Lane, seqs: &[u64]) {
    for seq in seqs {
        *lane.counts.entry(*seq).or_default() += 1;
    }
}

pub(super) fn answered(channel: ChannelId, answer: Answer, effects: &mut Vec<Effect>) {
    effects.push(Effect::Tell(channel.connection, Output::Answer(channel.number, answer)));
}
