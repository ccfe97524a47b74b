//! What follows from what happened: messages that are done, expired or too many, queues and exchanges
//! that go, and what is due.

use std::sync::Arc;

use super::death::Reason;
use super::decide::Deciding;
use super::event::{Event, Removed};
use super::lane::{Lane, Place, size_of};
use super::model::Queue;
use super::ranges::ranges_of;
use super::refusal::{Code, Refusal};
use super::{State, Timer};
use crate::ids::QueueId;
use crate::message::Message;

/// Messages that end at a time, of one queue.
const AT_ONCE: usize = 1000;

impl Deciding<'_> {
    pub(super) fn tick(&mut self) {
        let now = self.now;
        let due = self.state.timers.iter().take_while(|(due, _)| *due <= now);
        for (_, timer) in due {
            match timer {
                Timer::Head(id) => self.look(*id),
                Timer::Unused(id) => {
                    if let Some(queue) = self.state.queues.get(id) {
                        self.drop_queue(queue);
                    }
                }
            }
        }
    }

    /// Does what the last command has left.
    pub(super) fn follow_up(&mut self) {
        let pending = &self.state.pending;
        for (id, why) in &pending.connections {
            self.close(*id, Some(Refusal::new(Code::ConnectionForced, &**why)));
        }
        for (lane, (seqs, bytes)) in &pending.spent {
            let Some(queue) = self.state.queues.get(&lane.queue) else { continue };
            self.push(Event::Removed(Removed {
                lane: *lane,
                stream: queue.next(lane.priority).0,
                ranges: ranges_of(seqs.iter().copied()),
                bytes: *bytes,
                waiting_bytes: 0,
            }));
        }
        for id in &pending.reached {
            let lane = self.state.queues.get(&id.queue).and_then(|q| q.lanes.get(&id.priority));
            if let Some(lane) = lane {
                self.push(Event::Reached { lane: *id, seq: State::reached(lane) });
            }
        }
        for id in &pending.queues {
            if let Some(queue) = self.state.queues.get(id) {
                self.drop_queue(queue);
            }
        }
        for (vhost, name) in &pending.exchanges {
            let found = self.state.vhosts.get(vhost).and_then(|vhost| vhost.exchanges.get(name));
            if let Some(exchange) = found {
                self.drop_exchange(exchange);
            }
        }
        for id in pending.over.iter().filter(|id| !pending.queues.contains(id)) {
            self.look(*id);
        }
    }

    /// Ends what has expired at the head of a queue, and what is too much in it.
    fn look(&mut self, id: QueueId) {
        let state = self.state;
        if let Some(queue) = state.queues.get(&id) {
            let mut ended = 0;
            for (priority, lane) in &queue.lanes {
                let expired = self.expired(queue, lane);
                ended += expired.len();
                if !expired.is_empty() {
                    self.end_waiting(queue, *priority, &expired, Reason::Expired);
                }
            }
            if ended == 0 && queue.is_over() {
                self.cut(queue);
            }
        }
        self.push(Event::Looked(id));
    }

    fn expired(&self, queue: &Queue, lane: &Lane) -> Vec<(Place, Arc<Message>)> {
        let is_over = |message: &Message| queue.expiry(message).is_some_and(|due| due <= self.now);
        self.first_of(lane, is_over)
    }

    /// Messages from the head of a lane on, as long as they are at hand and `goes`.
    fn first_of(
        &self,
        lane: &Lane,
        mut goes: impl FnMut(&Message) -> bool,
    ) -> Vec<(Place, Arc<Message>)> {
        let (mut found, mut weight) = (Vec::new(), 0);
        let mut after = None;
        while let Some(head) = lane.head_after(after)
            && let Some(message) = head.message
            && found.len() < AT_ONCE
            && weight < self.state.limits.command / 4
            && goes(&message)
        {
            weight += message.weight();
            after = Some(head.place);
            found.push((head.place, message));
        }
        found
    }

    /// Ends the first messages of a queue that has too many.
    fn cut(&mut self, queue: &Queue) {
        let state = self.state;
        let Some(queue) = state.queues.get(&queue.spec.id) else { return };
        let checked = &queue.spec.checked;
        let (mut count, mut bytes) = (queue.count(), queue.bytes());
        for (priority, lane) in queue.lanes.iter().rev() {
            let cut = self.first_of(lane, |message| {
                let is_over = checked.max_length.is_some_and(|most| count > most)
                    || checked.max_length_bytes.is_some_and(|most| bytes > most);
                count = count.saturating_sub(u64::from(is_over));
                bytes = bytes.saturating_sub(if is_over { size_of(message) } else { 0 });
                is_over
            });
            let is_all = cut.len() as u64 == lane.count();
            if !cut.is_empty() {
                self.end_waiting(queue, *priority, &cut, Reason::MaxLen);
            }
            if !is_all {
                break;
            }
        }
    }
}
