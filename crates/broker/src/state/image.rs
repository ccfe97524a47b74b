//! What a checkpoint has of the state, taken quickly: names are shared, and lanes are ranges.

use super::State;
use super::death::Reason;
use super::event::Definition;
use super::exchange::PREDEFINED;
use super::lane::Lane;
use super::model::QueueSpec;
use super::refusal::Refusal;
use crate::ids::{LaneId, QueueId, QueueName, VhostName};
use crate::message::Table;

/// A state as a checkpoint has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// [`State::mark`]
    pub mark: u64,
    /// The number that the next durable queue gets.
    pub next_queue: u64,
    /// What makes everything that there is, in order.
    pub definitions: Vec<Definition>,
    /// Of each lane that ever had a message.
    pub lanes: Vec<LaneImage>,
    /// Queues with messages that may expire.
    pub expiring: Vec<QueueId>,
}

/// A lane as a checkpoint has it.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneImage {
    /// Which.
    pub lane: LaneId,
    /// The number that its next message gets.
    pub next: u64,
    /// Its messages: the first, and the one behind the last.
    pub kept: Vec<(u64, u64)>,
    /// The bytes of their bodies.
    pub kept_bytes: u64,
    /// What is below may have been delivered.
    pub reached: u64,
    /// Those that have died and are not buried.
    pub dying: Vec<(u64, Reason)>,
    /// How often they have come back.
    pub counts: Vec<(u64, u32)>,
}

impl State {
    /// What a checkpoint needs.
    pub(crate) fn image(&self) -> Image {
        let mut definitions = Vec::new();
        definitions.extend(self.vhosts.keys().cloned().map(Definition::VhostPut));
        definitions
            .extend(self.users.values().map(|known| Definition::UserPut(known.user.clone())));
        for known in self.users.values() {
            definitions.extend(known.allowed.iter().map(|(vhost, (permissions, _))| {
                let (user, vhost) = (known.user.name.clone(), vhost.clone());
                Definition::Permitted { user, vhost, permissions: Some(permissions.clone()) }
            }));
        }
        definitions.extend(self.subscriptions.values().cloned().map(Definition::SubscriptionPut));
        let exchanges = || self.vhosts.values().flat_map(|vhost| vhost.exchanges.values());
        let is_predefined = |name: &str| PREDEFINED.iter().any(|(known, _)| *known == name);
        let declared = exchanges()
            .map(|exchange| &exchange.spec)
            .filter(|spec| spec.durable && !is_predefined(spec.name.as_str()));
        definitions.extend(declared.cloned().map(Definition::ExchangeDeclared));
        let mut queues: Vec<_> =
            self.queues.values().filter(|queue| queue.spec.id.is_durable()).collect();
        queues.sort_unstable_by_key(|queue| queue.spec.id);
        definitions
            .extend(queues.iter().map(|queue| Definition::QueueDeclared(queue.spec.clone())));
        let bindings = exchanges().flat_map(|exchange| exchange.bindings());
        let bindings = bindings.filter(|binding| binding.durable);
        definitions.extend(bindings.cloned().map(Definition::Bound));
        let lanes = queues.iter().flat_map(|queue| {
            let id = |priority: &u8| LaneId { queue: queue.spec.id, priority: *priority };
            queue.lanes.iter().map(move |(priority, lane)| lane_image(id(priority), lane))
        });
        let expiring = queues.iter().filter(|queue| queue.expires).map(|queue| queue.spec.id);
        Image {
            mark: self.mark,
            next_queue: self.next_queue,
            definitions,
            lanes: lanes.filter(|lane| lane.next > 0).collect(),
            expiring: expiring.collect(),
        }
    }

    /// Turns a blank state into the one that the image was taken of.
    pub(crate) fn bring_back(&mut self, image: Image) {
        let Image { mark, next_queue, definitions, lanes, expiring } = image;
        for definition in &definitions {
            self.define(definition, &mut Vec::new());
        }
        for image in lanes {
            let Some(queue) = self.queues.get_mut(&image.lane.queue) else { continue };
            let lane = queue.lane_mut(image.lane.priority);
            lane.next = image.next;
            lane.kept = image.kept.into_iter().collect();
            lane.kept_bytes = image.kept_bytes;
            lane.reached = image.reached;
            lane.dying = image.dying.into_iter().collect();
            lane.counts = image.counts.into_iter().collect();
        }
        for id in expiring {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.expires = true;
            }
        }
        self.touched.clear();
        self.next_queue = self.next_queue.max(next_queue);
        self.mark = mark;
    }

    pub(crate) const fn set_mark(&mut self, mark: u64) {
        self.mark = mark;
    }
}

fn lane_image(id: LaneId, lane: &Lane) -> LaneImage {
    let mut counts: Vec<_> = lane.counts.iter().map(|(seq, count)| (*seq, *count)).collect();
    counts.sort_unstable();
    LaneImage {
        lane: id,
        next: lane.next,
        kept: lane.kept.ranges().collect(),
        kept_bytes: lane.kept_bytes,
        reached: lane.reached,
        dying: lane.dying.iter().map(|(seq, reason)| (*seq, *reason)).collect(),
        counts,
    }
}

impl QueueSpec {
    /// A durable queue as it was declared.
    pub(crate) fn durable(
        id: QueueId,
        vhost: VhostName,
        name: QueueName,
        auto_delete: bool,
        arguments: Table,
    ) -> Result<Self, Refusal> {
        let manner = super::argument::Manner { durable: true, exclusive: false, auto_delete };
        let checked = super::argument::check(&arguments, manner, &name, &vhost)?;
        Ok(Self { id, vhost, name, durable: true, owner: None, auto_delete, arguments, checked })
    }
}
