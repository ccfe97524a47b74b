//! Handing messages to those who want them, and seeing that they are at hand.

use std::sync::Arc;

use super::apply::answered;
use super::command::{Loaded, Purpose};
use super::death::counted;
use super::effect::{Answer, Delivered, Effect, Output};
use super::lane::{Head, Lane, size_of};
use super::model::{ConsumerId, Getter, Unacked};
use super::{State, Timer};
use crate::ids::{ChannelId, DeliveryTag, LaneId, QueueId};
use crate::message::Message;

/// So far ahead it is noted what may have been delivered.
const AHEAD: u64 = 64;
/// Messages that died and are fetched at a time.
const DEAD: usize = 64;

/// Who gets the next message.
enum Taker {
    Getter(Getter),
    Consumer(ConsumerId),
}

impl State {
    /// Hands out what waits in a queue, as far as anybody has room for it.
    pub(super) fn dispatch(&mut self, id: QueueId, effects: &mut Vec<Effect>) {
        while let Some(queue) = self.queues.get_mut(&id) {
            if queue.getters.is_empty() && queue.turns.is_empty() {
                break;
            }
            let Some((priority, head)) = queue.head() else {
                for getter in std::mem::take(&mut queue.getters) {
                    self.on_channel(getter.channel, |channel| {
                        channel.getting.remove(&id);
                    });
                    answered(getter.channel, Answer::Empty, effects);
                }
                break;
            };
            let Some(message) = head.message.clone() else { break };
            if queue.expiry(&message).is_some_and(|expiry| expiry <= self.now) {
                break;
            }
            let lane = LaneId { queue: id, priority };
            let is_noted =
                head.place.seq().is_none_or(|seq| seq < queue.lane_mut(priority).reached);
            let taker = match queue.getters.pop_front() {
                Some(getter) => Taker::Getter(getter),
                None => match self.next_consumer(id) {
                    Some(consumer) => Taker::Consumer(consumer),
                    None => break,
                },
            };
            if !is_noted {
                // It would come again as if it were new, if it came out before the note was durable.
                self.put_first(id, taker);
                self.pending.reached.insert(lane);
                break;
            }
            match taker {
                Taker::Getter(getter) => self.hand_over(lane, &head, message, &getter, effects),
                Taker::Consumer(consumer) => self.deliver(lane, &head, message, consumer, effects),
            }
        }
        self.look_ahead(id, effects);
    }

    /// Whoever was about to get a message has the next turn.
    fn put_first(&mut self, id: QueueId, taker: Taker) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        match taker {
            Taker::Getter(getter) => queue.getters.push_front(getter),
            Taker::Consumer(consumer) => {
                let Some(priority) = self.consumers.get(&consumer).map(|known| known.priority)
                else {
                    return;
                };
                let turns = queue.turns.entry(std::cmp::Reverse(priority)).or_default();
                if turns.back() == Some(&consumer) {
                    turns.pop_back();
                    turns.push_front(consumer);
                }
            }
        }
    }

    /// The consumer whose turn it is, of those that have room. Has its next turn behind all others.
    fn next_consumer(&mut self, id: QueueId) -> Option<ConsumerId> {
        loop {
            let queue = self.queues.get_mut(&id)?;
            let mut turns = queue.turns.first_entry()?;
            let Some(consumer) = turns.get_mut().pop_front() else {
                turns.remove();
                continue;
            };
            if turns.get().is_empty() {
                turns.remove();
            }
            if self.has_room(consumer) {
                let priority = std::cmp::Reverse(self.consumers.get(&consumer)?.priority);
                let queue = self.queues.get_mut(&id)?;
                queue.turns.entry(priority).or_default().push_back(consumer);
                return Some(consumer);
            }
        }
    }

    /// Whether a consumer may have one more; or else it waits for that, out of turn.
    fn has_room(&mut self, id: ConsumerId) -> bool {
        let limits = &self.limits;
        let Some(consumer) = self.consumers.get_mut(&id) else { return false };
        consumer.in_turn = false;
        let Some(connection) = self.connections.get_mut(&consumer.channel.connection) else {
            return false;
        };
        let (count, bytes) = connection.outgoing;
        if count >= limits.outgoing || bytes >= limits.outgoing_bytes {
            connection.blocked.push(id);
            return false;
        }
        let Some(channel) = connection.channels.get_mut(&consumer.channel.number) else {
            return false;
        };
        let is_full = |most: u16, count: u32| most > 0 && count >= u32::from(most);
        let is_held = !consumer.no_ack
            && (is_full(consumer.prefetch, consumer.unacked)
                || is_full(channel.global_prefetch, channel.to_consumers)
                || channel.unacked.len() >= limits.unacknowledged);
        if is_held || !channel.active {
            channel.blocked.push(id);
            return false;
        }
        consumer.in_turn = true;
        true
    }

    fn deliver(
        &mut self,
        lane: LaneId,
        head: &Head,
        message: Arc<Message>,
        id: ConsumerId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let (channel, tag, no_ack) = (consumer.channel, consumer.tag.clone(), consumer.no_ack);
        if !no_ack {
            consumer.unacked += 1;
        }
        let consumer = (!no_ack).then_some(id);
        if let Some(delivered) = self.take(lane, head, message, channel, (no_ack, consumer)) {
            let output = Output::Deliver(channel.number, tag, delivered);
            effects.push(Effect::Tell(channel.connection, output));
        }
    }

    fn hand_over(
        &mut self,
        lane: LaneId,
        head: &Head,
        message: Arc<Message>,
        getter: &Getter,
        effects: &mut Vec<Effect>,
    ) {
        let Getter { channel, no_ack } = *getter;
        if let Some(delivered) = self.take(lane, head, message, channel, (no_ack, None)) {
            let remaining = self.queues.get(&lane.queue).map_or(0, |queue| queue.count());
            let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
            answered(channel, Answer::Got { delivered, remaining }, effects);
        }
    }

    /// Takes a message out of those that wait, and makes it a delivery on a channel.
    fn take(
        &mut self,
        id: LaneId,
        head: &Head,
        message: Arc<Message>,
        channel_id: ChannelId,
        (no_ack, consumer): (bool, Option<ConsumerId>),
    ) -> Option<Delivered> {
        let connection = self.connections.get_mut(&channel_id.connection)?;
        let channel = connection.channels.get_mut(&channel_id.number)?;
        connection.outgoing.0 += 1;
        connection.outgoing.1 += u64::try_from(message.weight()).unwrap_or(u64::MAX);
        let tag = DeliveryTag::new(channel.next_tag);
        channel.next_tag += 1;
        let size = size_of(&message);
        if !no_ack {
            let held = head.place.seq().is_none().then(|| Arc::clone(&message));
            let unacked = Unacked { lane: id, place: head.place, consumer, size, message: held };
            channel.unacked.insert(tag, unacked);
            channel.to_consumers += u32::from(consumer.is_some());
        }
        let queue = self.queues.get_mut(&id.queue)?;
        queue.unacked += u64::from(!no_ack);
        let is_quorum = queue.spec.checked.quorum;
        let lane = queue.lane_mut(id.priority);
        let before = lane.at_hand().1;
        lane.take(head.place);
        self.windows_bytes = self.windows_bytes + lane.at_hand().1 - before;
        let mut message = message;
        match head.place.seq() {
            Some(seq) => {
                if is_quorum {
                    message = counted(&message, lane.counts.get(&seq).copied().unwrap_or(0));
                }
                if no_ack {
                    let (seqs, bytes) = self.pending.spent.entry(id).or_default();
                    seqs.push(seq);
                    *bytes += size;
                }
            }
            None if no_ack => self.memory -= message.weight(),
            None => {}
        }
        Some(Delivered { tag, redelivered: head.redelivered, message })
    }

    /// A message goes straight to who waits for it.
    pub(super) fn reply(
        &mut self,
        id: ConsumerId,
        message: &Arc<Message>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let (channel_id, consumer_tag) = (consumer.channel, consumer.tag.clone());
        let Some(connection) = self.connections.get_mut(&channel_id.connection) else { return };
        connection.outgoing.0 += 1;
        connection.outgoing.1 += u64::try_from(message.weight()).unwrap_or(u64::MAX);
        let Some(channel) = connection.channels.get_mut(&channel_id.number) else { return };
        let tag = DeliveryTag::new(channel.next_tag);
        channel.next_tag += 1;
        let delivered = Delivered { tag, redelivered: false, message: Arc::clone(message) };
        let output = Output::Deliver(channel_id.number, consumer_tag, delivered);
        effects.push(Effect::Tell(channel_id.connection, output));
    }

    /// Where lanes note to have been delivered up to, for the follow-up.
    pub(super) fn reached(lane: &Lane) -> u64 {
        // Nothing that is yet to come, as long as nothing is behind what was delivered.
        let first = lane.ready.first().unwrap_or(lane.next);
        lane.next.min(first + AHEAD)
    }

    /// Sees that the first messages are at hand, that those go that are too many or too old, and when
    /// the next one is.
    fn look_ahead(&mut self, id: QueueId, effects: &mut Vec<Effect>) {
        let limits = self.limits;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let is_over = queue.is_over();
        let is_wanted = !queue.consumers.is_empty() || !queue.getters.is_empty();
        let wants = is_wanted || queue.expires || is_over;
        let mut windows = self.windows_bytes;
        for (priority, lane) in queue.lanes.iter_mut().rev() {
            let lane_id = LaneId { queue: id, priority: *priority };
            if wants && let Some((from, end)) = to_load(lane, limits.window) {
                let (count, bytes) = lane.at_hand();
                let room = limits.window_bytes.saturating_sub(bytes);
                let all = limits.windows_bytes.saturating_sub(windows);
                let (count, bytes) = (limits.window.saturating_sub(count), room.min(all));
                // The first is always fetched: what came back may lie before a full window.
                let is_first = lane.ready.first() == Some(from);
                if is_first || (count > 0 && bytes > 0) {
                    windows += bytes;
                    lane.loading = Some((from, end));
                    let count = count.max(1);
                    let (lane, purpose) = (lane_id, Purpose::Delivery);
                    effects.push(Effect::Load { lane, purpose, from, end, count, bytes });
                }
            }
            if lane.loading_dead.is_none()
                && let Some((from, end)) = first_run(lane)
            {
                lane.loading_dead = Some((from, end));
                let (count, bytes) = (DEAD, limits.window_bytes);
                let (lane, purpose) = (lane_id, Purpose::Burial);
                effects.push(Effect::Load { lane, purpose, from, end, count, bytes });
            }
        }
        let heads = queue.lanes.values().filter(|_| queue.expires).filter_map(Lane::head);
        let due = heads.filter_map(|head| queue.expiry(head.message.as_deref()?)).min();
        let has_head = queue.head().is_some_and(|(_, head)| head.message.is_some());
        if (is_over && has_head) || due.is_some_and(|due| due <= self.now) {
            self.pending.over.insert(id);
        }
        self.set_timer(Timer::Head(id), due.filter(|due| *due > self.now));
    }

    pub(super) fn set_timer(&mut self, timer: Timer, due: Option<posthouse_base::time::Timestamp>) {
        let (Timer::Head(id) | Timer::Unused(id)) = timer;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let place = match timer {
            Timer::Head(_) => &mut queue.head_due,
            Timer::Unused(_) => &mut queue.unused_due,
        };
        if *place == due {
            return;
        }
        if let Some(before) = std::mem::replace(place, due) {
            self.timers.remove(&(before, timer));
        }
        if let Some(due) = due {
            self.timers.insert((due, timer));
        }
    }

    /// A queue was used: the time in which it may be unused begins anew.
    pub(super) fn used(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get(&id) else { return };
        let expires = queue.spec.checked.expires.filter(|_| queue.consumers.is_empty());
        let due = expires.map(|expires| self.now.plus(expires));
        self.set_timer(Timer::Unused(id), due);
    }

    pub(super) fn looked(&mut self, id: QueueId) {
        self.pending.over.remove(&id);
        self.set_timer(Timer::Head(id), None);
        self.touched.push(id);
    }

    pub(super) fn want(&mut self, channel: ChannelId, queue: QueueId, no_ack: bool) {
        if let Some(found) = self.queues.get_mut(&queue) {
            found.getters.push_back(Getter { channel, no_ack });
            self.on_channel(channel, |channel| {
                channel.getting.insert(queue);
            });
        }
        self.used(queue);
        self.touched.push(queue);
    }

    pub(super) fn loaded(&mut self, loaded: &Loaded) {
        let Loaded { lane: id, purpose, from, messages, .. } = loaded;
        let limits = self.limits;
        let elsewhere = self.windows_bytes;
        self.on_lane(*id, |lane| {
            let elsewhere = elsewhere - lane.at_hand().1;
            let asked = match purpose {
                Purpose::Delivery => &mut lane.loading,
                Purpose::Burial => &mut lane.loading_dead,
            };
            if asked.take_if(|(first, _)| first == from).is_none() || *purpose == Purpose::Burial {
                return;
            }
            for (seq, message) in messages {
                let (count, bytes) = lane.at_hand();
                let has_room = count < limits.window
                    && bytes < limits.window_bytes
                    && elsewhere + bytes < limits.windows_bytes;
                let is_head = lane.ready.first() == Some(*seq);
                if lane.ready.contains(*seq) && !lane.is_at_hand(*seq) && (has_room || is_head) {
                    lane.put_at_hand(*seq, Arc::clone(message));
                }
            }
        });
    }

    /// Blocks publishers while too much is in memory, or the house has another reason.
    pub(super) fn look_at_memory(&mut self, effects: &mut Vec<Effect>) {
        let most = self.limits.memory;
        let was_full = self.is_full;
        self.is_full = self.memory > if was_full { most - most / 10 } else { most };
        let why = match (&self.alarm, self.is_full) {
            (Some(alarm), _) => Some(Arc::clone(alarm)),
            (None, true) => Some(Arc::from("low on memory")),
            (None, false) => None,
        };
        if why == self.blocked {
            return;
        }
        for connection in self.connections.keys() {
            let output = match &why {
                Some(why) => Output::Blocked(Arc::clone(why)),
                None => Output::Unblocked,
            };
            effects.push(Effect::Tell(*connection, output));
        }
        self.blocked = why;
    }
}

/// The first messages that wait and are not at hand, when they are to be.
fn to_load(lane: &Lane, window: usize) -> Option<(u64, u64)> {
    let (count, _) = lane.at_hand();
    let has_all = u64::try_from(count) == Ok(lane.ready.len());
    if lane.loading.is_some() || has_all {
        return None;
    }
    let first = lane.ready.first()?;
    let from = if !lane.is_at_hand(first) {
        first
    } else if count <= window / 4 {
        let mut seqs = lane.ready.ranges().flat_map(|(from, end)| from..end);
        seqs.find(|seq| !lane.is_at_hand(*seq))?
    } else {
        return None;
    };
    Some((from, lane.next_at_hand(from).unwrap_or(lane.next)))
}

/// The first of those that died that lie side by side.
fn first_run(lane: &Lane) -> Option<(u64, u64)> {
    let (first, _) = lane.dying.first_key_value()?;
    let run = lane.dying.keys().zip(*first..).take(DEAD).take_while(|(seq, next)| *seq == next);
    Some((*first, first + u64::try_from(run.count()).unwrap_or(1)))
}
