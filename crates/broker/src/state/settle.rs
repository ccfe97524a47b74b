//! Consuming, and what becomes of deliveries.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::command::{Consume, Get};
use super::death::Reason;
use super::decide::{Deciding, On, failed};
use super::effect::Answer;
use super::event::{Event, NewConsumer, Removed};
use super::model::{Channel, How, Mode, Queue, Settlement, Unacked};
use super::publish::REPLY_TO;
use super::ranges::ranges_of;
use super::refusal::{Code, Refusal};
use crate::ids::{ChannelId, ConsumerTag, DeliveryTag, LaneId};

impl<'a> Deciding<'a> {
    pub(super) fn consume(&mut self, on: On<'a>, consume: Consume) -> Result<(), Refusal> {
        let Consume { queue, tag, no_ack, exclusive, arguments, no_wait, random } = consume;
        let limit = self.state.limits.consumers;
        if on.channel.consumers.len() >= limit {
            let detail =
                format!("a channel has {limit} consumers at most (messages.limits.consumers)");
            return Err(Refusal::new(Code::ResourceError, detail));
        }
        let tag = if tag.is_empty() { random_tag(random) } else { tag };
        let is_reply = queue.as_str() == REPLY_TO;
        if on.channel.consumers.contains_key(&tag) {
            return Err(Refusal::new(
                Code::NotAllowed,
                format!("attempt to reuse consumer tag '{tag}'"),
            ));
        }
        if is_reply {
            if !no_ack {
                return Err(failed("reply consumer cannot acknowledge"));
            }
            if self.state.replies.contains_key(&on.id) {
                return Err(failed("reply consumer already set"));
            }
        }
        let found = if is_reply { None } else { Some(self.queue_to_read(on, &queue)?) };
        let priority = match arguments.get("x-priority") {
            None => 0,
            Some(value) => {
                let number = value.as_integer().and_then(|number| i32::try_from(number).ok());
                number.ok_or_else(|| {
                    failed("invalid arg 'x-priority' for the consumer: it is a number")
                })?
            }
        };
        if let Some(queue) = found {
            self.may_consume(on, queue, exclusive)?;
        }
        self.push(Event::Consumed(NewConsumer {
            channel: on.id,
            tag,
            queue: found.map(|queue| queue.spec.id),
            no_ack,
            exclusive,
            priority,
            answer: !no_wait,
        }));
        Ok(())
    }

    fn may_consume(&self, on: On<'_>, queue: &Queue, exclusive: bool) -> Result<(), Refusal> {
        let others = || queue.consumers.iter().filter_map(|id| self.state.consumers.get(id));
        let is_taken =
            others().any(|other| other.exclusive) || (exclusive && others().next().is_some());
        let (name, vhost) = (&queue.spec.name, &on.connection.open.vhost);
        if is_taken {
            let detail = format!("queue '{name}' in vhost '{vhost}' in exclusive use");
            return Err(Refusal::new(Code::AccessRefused, detail));
        }
        if exclusive && queue.spec.checked.single_active {
            let detail = format!("queue '{name}' in vhost '{vhost}' has a single active consumer");
            return Err(Refusal::new(Code::AccessRefused, detail));
        }
        Ok(())
    }

    pub(super) fn get(&mut self, on: On<'a>, get: &Get) -> Result<(), Refusal> {
        let queue = self.queue_to_read(on, &get.queue)?;
        let (channel, queue) = (on.id, queue.spec.id);
        self.push(Event::Wanted { channel, queue, no_ack: get.no_ack });
        Ok(())
    }

    pub(super) fn ack(
        &mut self,
        on: On<'a>,
        tag: DeliveryTag,
        multiple: bool,
    ) -> Result<(), Refusal> {
        self.settle_tags(on, tag, multiple, How::Acked)
    }

    /// Acknowledges them one after the other. Those before one that is unknown are not undone by it.
    pub(super) fn ack_each(
        &mut self,
        on: On<'a>,
        first: DeliveryTag,
        last: DeliveryTag,
    ) -> Result<(), Refusal> {
        let all = (first.get()..=last.get()).map(DeliveryTag::new);
        let known = all.take_while(|tag| on.channel.unacked.contains_key(tag) && !is_held(on, tag));
        let tags: Vec<DeliveryTag> = known.collect();
        let next = tags.last().map_or(first.get(), |tag| tag.get() + 1);
        let is_refused = next <= last.get();
        if is_refused && !matches!(on.channel.mode, Mode::Tx(_)) {
            self.settled.extend(tags.iter().map(|tag| (on.id, *tag)));
        }
        self.settle_all(on, Settlement { tags, how: How::Acked });
        if is_refused {
            return Err(failed(format!("unknown delivery tag {next}")));
        }
        Ok(())
    }

    pub(super) fn nack(
        &mut self,
        on: On<'a>,
        tag: DeliveryTag,
        multiple: bool,
        requeue: bool,
    ) -> Result<(), Refusal> {
        let how = if requeue { How::Requeued } else { How::Rejected };
        self.settle_tags(on, tag, multiple, how)
    }

    fn settle_tags(
        &mut self,
        on: On<'a>,
        tag: DeliveryTag,
        multiple: bool,
        how: How,
    ) -> Result<(), Refusal> {
        let unacked = &on.channel.unacked;
        let is_held = |tag: &DeliveryTag| is_held(on, tag);
        let all = multiple && tag.get() == 0;
        let is_known = all || (unacked.contains_key(&tag) && !is_held(&tag));
        let tags: Vec<DeliveryTag> = match multiple {
            false => vec![tag],
            true if all => unacked.keys().copied().filter(|tag| !is_held(tag)).collect(),
            true => {
                unacked.range(..=tag).map(|(tag, _)| *tag).filter(|tag| !is_held(tag)).collect()
            }
        };
        // With `multiple` the last one need not be there, but something must be that it means.
        let is_right = if multiple { all || !tags.is_empty() } else { is_known };
        if !is_right {
            return Err(failed(format!("unknown delivery tag {tag}")));
        }
        self.settle_all(on, Settlement { tags, how });
        Ok(())
    }

    /// Settles what is known, or holds it until the transaction is committed.
    fn settle_all(&mut self, on: On<'a>, settlement: Settlement) {
        if settlement.tags.is_empty() {
            return;
        }
        if matches!(on.channel.mode, Mode::Tx(_)) {
            self.push(Event::HeldAck(on.id, settlement));
        } else {
            self.settle(on, settlement);
        }
    }

    pub(super) fn settle(&mut self, on: On<'a>, settlement: Settlement) {
        let unacked = settlement.tags.iter().filter_map(|tag| on.channel.unacked.get(tag));
        match settlement.how {
            How::Acked => self.done_with(unacked),
            How::Requeued => self.come_back(unacked),
            How::Rejected => self.reject(unacked),
        }
        self.push(Event::Settled { channel: on.id, settlement });
    }

    /// Removes what is kept of deliveries.
    fn done_with(&mut self, unacked: impl Iterator<Item = &'a Unacked>) {
        for (lane, (seqs, bytes)) in by_lane(unacked) {
            self.remove(lane, seqs, bytes);
        }
    }

    fn remove(&mut self, lane: LaneId, seqs: Vec<u64>, bytes: u64) {
        let Some(queue) = self.state.queues.get(&lane.queue) else { return };
        let (stream, ranges) = (queue.next(lane.priority).0, ranges_of(seqs));
        self.push(Event::Removed(Removed { lane, stream, ranges, bytes, waiting_bytes: 0 }));
    }

    /// Counts that deliveries come back, where that is counted; what has come back too often dies.
    fn come_back(&mut self, unacked: impl Iterator<Item = &'a Unacked>) {
        let counted = unacked.filter(|unacked| {
            let queue = self.state.queues.get(&unacked.lane.queue);
            queue.is_some_and(|queue| queue.spec.checked.quorum)
        });
        let counted: Vec<&Unacked> = counted.collect();
        let (mut back, mut dead): (BTreeMap<LaneId, Vec<u64>>, Vec<&Unacked>) = Default::default();
        for unacked in counted {
            let LaneId { queue, priority } = unacked.lane;
            let Some(queue) = self.state.queues.get(&queue) else { continue };
            let Some(seq) = unacked.place.seq() else { continue };
            let lane = queue.lanes.get(&priority);
            let count = lane.and_then(|lane| lane.counts.get(&seq)).copied().unwrap_or(0);
            match queue.spec.checked.delivery_limit {
                Some(limit) if count >= limit => dead.push(unacked),
                _ => back.entry(unacked.lane).or_default().push(seq),
            }
        }
        for (lane, seqs) in back {
            self.push(Event::Counted { lane, seqs });
        }
        self.die(dead.into_iter(), Reason::DeliveryLimit);
    }

    fn reject(&mut self, unacked: impl Iterator<Item = &'a Unacked>) {
        self.die(unacked, Reason::Rejected);
    }

    /// Deliveries that are not done and do not come back: they are sent on, if there is somewhere, or
    /// go.
    fn die(&mut self, unacked: impl Iterator<Item = &'a Unacked>, reason: Reason) {
        let mut kept = Vec::new();
        for unacked in unacked {
            let queue = self.state.queues.get(&unacked.lane.queue);
            match (&unacked.message, queue) {
                (Some(message), Some(queue)) => self.bury(queue, message, reason),
                (Some(_), None) => {}
                (None, _) => kept.push(unacked),
            }
        }
        for (lane, (seqs, bytes)) in by_lane(kept.into_iter()) {
            let queue = self.state.queues.get(&lane.queue);
            if queue.is_some_and(|queue| queue.spec.checked.dead_letter.is_some()) {
                self.push(Event::Died { lane, seqs, reason });
            } else {
                self.remove(lane, seqs, bytes);
            }
        }
    }

    pub(super) fn recover(
        &mut self,
        on: On<'a>,
        requeue: bool,
        no_wait: bool,
    ) -> Result<(), Refusal> {
        if !requeue {
            return Err(Refusal::new(Code::NotImplemented, "requeue=false"));
        }
        let tags: Vec<DeliveryTag> = on.channel.unacked.keys().copied().collect();
        if !tags.is_empty() {
            self.settle(on, Settlement { tags, how: How::Requeued });
        }
        self.answer(on, Answer::Recovered, no_wait);
        Ok(())
    }

    /// What is kept of a channel's end: its deliveries come back.
    pub(super) fn leave(&mut self, id: ChannelId) {
        let state = self.state;
        let connection = state.connections.get(&id.connection);
        let channel: Option<&Channel> = connection.and_then(|found| found.channels.get(&id.number));
        if let Some(channel) = channel {
            let settled = std::mem::take(&mut self.settled);
            let left = channel.unacked.iter().filter(|(tag, _)| !settled.contains(&(id, **tag)));
            self.come_back(left.map(|(_, unacked)| unacked));
        }
    }
}

/// Whether a transaction settles it already.
fn is_held(on: On<'_>, tag: &DeliveryTag) -> bool {
    match &on.channel.mode {
        Mode::Tx(tx) => tx.acks.iter().any(|held| held.tags.contains(tag)),
        Mode::Plain | Mode::Confirm(_) => false,
    }
}

fn by_lane<'a>(unacked: impl Iterator<Item = &'a Unacked>) -> BTreeMap<LaneId, (Vec<u64>, u64)> {
    let mut lanes: BTreeMap<LaneId, (Vec<u64>, u64)> = BTreeMap::new();
    for unacked in unacked {
        if let Some(seq) = unacked.place.seq() {
            let (seqs, bytes) = lanes.entry(unacked.lane).or_default();
            seqs.push(seq);
            *bytes += unacked.size;
        }
    }
    lanes
}

fn random_tag(random: u128) -> ConsumerTag {
    format!("amq.ctag-{}", URL_SAFE_NO_PAD.encode(random.to_be_bytes())).into()
}
