//! What a command comes to, before it has happened.

use posthouse_base::time::Timestamp;

use super::State;
use super::command::{Act, Ask, Command, Loaded, Open, Purpose};
use super::effect::Answer;
use super::event::{Definition, Event, Placed};
use super::model::{Channel, Connection, Mode, Queue, Vhost};
use super::permission::Allowed;
use super::refusal::{Code, Method, Refusal, Scope};
use crate::ids::{ChannelId, ConnectionId, DeliveryTag, LaneId, QueueId, QueueName};

/// What a command comes to.
#[derive(Debug)]
pub struct Decided {
    /// What is to happen, in order; all of it or nothing.
    pub events: Vec<Event>,
    /// What whoever asked is told.
    pub reply: Result<(), Refusal>,
}

/// What has been decided so far of one command, and what later parts of it must know of that.
pub(super) struct Deciding<'a> {
    pub(super) state: &'a State,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Event>,
    /// Messages that are put into queues, and are not among the events yet.
    placed: Vec<Placed>,
    /// The numbers that lanes give next.
    next: Vec<(LaneId, u64)>,
    /// How many messages queues have more, and bytes of them.
    more: Vec<(QueueId, u64, u64)>,
    /// Bytes that go to the journal.
    pub(super) bytes: usize,
    /// What was settled before something was refused, so that it does not come back.
    pub(super) settled: Vec<(ChannelId, DeliveryTag)>,
}

/// A channel on which something is asked.
#[derive(Clone, Copy)]
pub(super) struct On<'a> {
    pub(super) id: ChannelId,
    pub(super) connection: &'a Connection,
    pub(super) channel: &'a Channel,
    pub(super) vhost: &'a Vhost,
}

impl State {
    /// What `command` comes to at the time `now`. What a channel asks for is refused by an event, which
    /// closes it.
    pub(crate) fn decide(&self, command: Command, now: Timestamp) -> Decided {
        let mut deciding = Deciding::new(self, now);
        let reply = deciding.decide(command);
        let mut events = deciding.finish();
        if !events.is_empty() {
            events.insert(0, Event::At(now));
        }
        Decided { events, reply }
    }
}

impl<'a> Deciding<'a> {
    fn new(state: &'a State, now: Timestamp) -> Self {
        let (events, placed, next, more) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { state, now, events, placed, next, more, bytes: 0, settled: Vec::new() }
    }

    fn finish(mut self) -> Vec<Event> {
        self.flush();
        self.events
    }

    /// Moves what was put into queues among the events.
    pub(super) fn flush(&mut self) {
        if !self.placed.is_empty() {
            self.events.push(Event::Placed(std::mem::take(&mut self.placed)));
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.flush();
        self.events.push(event);
    }

    pub(super) fn answer(&mut self, on: On<'_>, answer: Answer, no_wait: bool) {
        if !no_wait {
            self.push(Event::Answered(on.id, answer));
        }
    }

    pub(super) fn define(&mut self, definition: Definition) {
        self.push(Event::Defined(definition));
    }

    pub(super) fn put(&mut self, placed: Placed) {
        let size = super::lane::size_of(&placed.message);
        let queue = placed.lane.queue;
        match self.more.iter_mut().find(|(id, ..)| *id == queue) {
            Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + size),
            None => self.more.push((queue, 1, size)),
        }
        if placed.seq.is_some() {
            self.bytes += placed.message.weight();
        }
        self.placed.push(placed);
    }

    /// How many messages wait in a queue, and bytes of them, with those that this command adds.
    pub(super) fn filling(&self, queue: &Queue) -> (u64, u64) {
        let more = self.more.iter().find(|(id, ..)| *id == queue.spec.id);
        let (count, bytes) = more.map_or((0, 0), |(_, count, bytes)| (*count, *bytes));
        (queue.count() + count, queue.bytes() + bytes)
    }

    /// The number that the next message of a lane gets, which is given by this.
    pub(super) fn next_of(&mut self, lane: LaneId, known: u64) -> u64 {
        match self.next.iter_mut().find(|(id, _)| *id == lane) {
            Some((_, next)) => {
                *next += 1;
                *next - 1
            }
            None => {
                self.next.push((lane, known + 1));
                known
            }
        }
    }

    fn decide(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Open(open) => return self.open(open),
            Command::Close(id) => self.close(id, None),
            Command::OpenChannel(id) => {
                if let Some(connection) = self.state.connections.get(&id.connection)
                    && !connection.channels.contains_key(&id.number)
                {
                    self.push(Event::ChannelOpened(id));
                }
            }
            Command::CloseChannel(id) => {
                if self.on(id).is_some() {
                    self.leave(id);
                    self.push(Event::ChannelClosed(id, None));
                }
            }
            Command::Channel(id, act) => self.on_channel(id, act),
            Command::Written { connection, deliveries, bytes } => {
                if self.state.connections.contains_key(&connection) {
                    self.push(Event::Written { connection, deliveries, bytes });
                }
            }
            Command::Alarm(why) => {
                if why != self.state.alarm {
                    self.push(Event::Alarmed(why));
                }
            }
            Command::Loaded(loaded) => self.loaded(&loaded),
            Command::Ask(ask) => return self.ask(ask),
            Command::Tick => self.tick(),
            Command::FollowUp => self.follow_up(),
        }
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Refusal> {
        let refused =
            |code, detail: String| Err(Refusal { code, detail, method: Method::ConnectionOpen });
        let Open { vhost, user, connection, .. } = &open;
        if self.state.connections.contains_key(connection) {
            return refused(Code::InternalError, "this connection is open already".into());
        }
        if !self.state.vhosts.contains_key(vhost) {
            return refused(Code::NotAllowed, format!("vhost {vhost} not found"));
        }
        let known = self.state.users.get(user);
        if !open.is_house && !known.is_some_and(|known| known.allowed.contains_key(vhost)) {
            let detail = format!("access to vhost '{vhost}' refused for user '{user}'");
            return refused(Code::NotAllowed, detail);
        }
        self.push(Event::Opened(open));
        Ok(())
    }

    /// Closes a connection with everything on it.
    pub(super) fn close(&mut self, id: ConnectionId, refusal: Option<Refusal>) {
        let Some(connection) = self.state.connections.get(&id) else { return };
        for number in connection.channels.keys() {
            self.leave(ChannelId { connection: id, number: *number });
        }
        self.push(Event::Closed(id, refusal));
    }

    pub(super) fn on(&self, id: ChannelId) -> Option<On<'a>> {
        let connection = self.state.connections.get(&id.connection)?;
        let channel = connection.channels.get(&id.number)?;
        let vhost = self.state.vhosts.get(&connection.open.vhost)?;
        Some(On { id, connection, channel, vhost })
    }

    fn on_channel(&mut self, id: ChannelId, act: Act) {
        // It was closed by a refusal that the client does not know of yet.
        let Some(on) = self.on(id) else { return };
        let method = act.method();
        let Err(refusal) = self.act(on, act) else { return };
        let refusal = Refusal { method, ..refusal };
        match refusal.scope() {
            Scope::Channel => {
                self.leave(id);
                self.push(Event::ChannelClosed(id, Some(refusal)));
            }
            Scope::Connection => self.close(id.connection, Some(refusal)),
        }
    }

    fn act(&mut self, on: On<'a>, act: Act) -> Result<(), Refusal> {
        match act {
            Act::DeclareExchange(declare) => self.declare_exchange(on, &declare),
            Act::DeleteExchange(delete) => self.delete_exchange(on, &delete),
            Act::BindExchange(bind) => self.bind_exchange(on, bind),
            Act::UnbindExchange(unbind) => self.unbind_exchange(on, &unbind),
            Act::DeclareQueue(declare) => self.declare_queue(on, &declare),
            Act::BindQueue(bind) => self.bind_queue(on, bind),
            Act::UnbindQueue(unbind) => self.unbind_queue(on, &unbind),
            Act::PurgeQueue { queue, no_wait } => self.purge(on, &queue, no_wait),
            Act::DeleteQueue(delete) => self.delete_queue_asked(on, &delete),
            Act::Qos(qos) => {
                self.push(Event::QosSet(on.id, qos));
                self.answer(on, Answer::QosSet, false);
                Ok(())
            }
            Act::Flow { active } => {
                self.push(Event::FlowSet(on.id, active));
                self.answer(on, Answer::FlowSet { active }, false);
                Ok(())
            }
            Act::Consume(consume) => self.consume(on, consume),
            Act::Cancel { tag, no_wait } => {
                self.push(Event::Cancelled(on.id, tag.clone()));
                self.answer(on, Answer::Cancelled(tag), no_wait);
                Ok(())
            }
            Act::Publish(publishes) => self.publish(on, publishes),
            Act::Get(get) => self.get(on, &get),
            Act::Ack { tag, multiple } => self.ack(on, tag, multiple),
            Act::AckEach { first, last } => self.ack_each(on, first, last),
            Act::Nack { tag, multiple, requeue } => self.nack(on, tag, multiple, requeue),
            Act::Recover { requeue, no_wait } => self.recover(on, requeue, no_wait),
            Act::SelectConfirm { no_wait } => self.select_confirm(on, no_wait),
            Act::SelectTx => self.select_tx(on),
            Act::CommitTx => self.commit(on),
            Act::RollbackTx => self.roll_back(on),
        }
    }

    fn select_confirm(&mut self, on: On<'_>, no_wait: bool) -> Result<(), Refusal> {
        if matches!(on.channel.mode, Mode::Tx(_)) {
            return Err(failed("cannot switch from tx to confirm mode"));
        }
        self.push(Event::ConfirmSelected(on.id));
        self.answer(on, Answer::ConfirmSelected, no_wait);
        Ok(())
    }

    fn select_tx(&mut self, on: On<'_>) -> Result<(), Refusal> {
        if matches!(on.channel.mode, Mode::Confirm(_)) {
            return Err(failed("cannot switch from confirm to tx mode"));
        }
        self.push(Event::TxSelected(on.id));
        self.answer(on, Answer::TxSelected, false);
        Ok(())
    }

    fn commit(&mut self, on: On<'a>) -> Result<(), Refusal> {
        let Mode::Tx(tx) = &on.channel.mode else {
            return Err(failed("channel is not transactional"));
        };
        self.push(Event::TxEnded(on.id));
        self.publish_now(on, tx.publishes.clone())?;
        for settlement in &tx.acks {
            self.settle(on, settlement.clone());
        }
        self.answer(on, Answer::TxCommitted, false);
        Ok(())
    }

    fn roll_back(&mut self, on: On<'_>) -> Result<(), Refusal> {
        if !matches!(on.channel.mode, Mode::Tx(_)) {
            return Err(failed("channel is not transactional"));
        }
        self.push(Event::TxEnded(on.id));
        self.answer(on, Answer::TxRolledBack, false);
        Ok(())
    }

    fn loaded(&mut self, loaded: &Loaded) {
        let Loaded { lane: id, purpose, from, end, messages } = loaded;
        let Some(queue) = self.state.queues.get(&id.queue) else { return };
        let Some(lane) = queue.lanes.get(&id.priority) else { return };
        let is_found = |seq: &u64| messages.binary_search_by_key(seq, |(seq, _)| *seq).is_ok();
        let (asked, missing): (_, Vec<u64>) = match purpose {
            Purpose::Delivery => {
                let ready = lane.ready.within(*from, *end).flat_map(|(from, end)| from..end);
                (lane.loading, ready.filter(|seq| !is_found(seq)).collect())
            }
            Purpose::Burial => {
                let dying = lane.dying.range(*from..(*end).max(*from)).map(|(seq, _)| *seq);
                (lane.loading_dead, dying.filter(|seq| !is_found(seq)).collect())
            }
        };
        self.push(Event::Loaded(loaded.clone()));
        if asked.is_some_and(|(first, _)| first == *from) && !missing.is_empty() {
            self.lose(queue, id.priority, missing);
        }
        if *purpose == Purpose::Burial {
            self.bury_kept(queue, id.priority, messages);
        }
    }

    fn ask(&mut self, ask: Ask) -> Result<(), Refusal> {
        match ask {
            Ask::PutVhost(name) => {
                if !self.state.vhosts.contains_key(&name) {
                    let limit = self.state.limits.vhosts;
                    limited("vhosts", self.state.vhosts.len(), limit)?;
                    self.define(Definition::VhostPut(name));
                }
            }
            Ask::DeleteVhost(name) => self.delete_vhost(&name),
            Ask::PutUser(user) => {
                if !self.state.users.contains_key(&user.name) {
                    limited("users", self.state.users.len(), self.state.limits.users)?;
                }
                self.define(Definition::UserPut(user));
            }
            Ask::DeleteUser(name) => {
                let connections = self.state.connections.iter();
                let of_user = connections.filter(|(_, connection)| connection.open.is_of(&name));
                for (id, _) in of_user {
                    let detail = format!("user '{name}' is deleted");
                    self.close(*id, Some(Refusal::new(Code::ConnectionForced, detail)));
                }
                self.define(Definition::UserDeleted(name));
            }
            Ask::Permit { user, vhost, permissions } => {
                if let Some(permissions) = &permissions {
                    Allowed::read(permissions)?;
                }
                if !self.state.users.contains_key(&user) {
                    return Err(Refusal::new(Code::NotFound, format!("no user '{user}'")));
                }
                if !self.state.vhosts.contains_key(&vhost) {
                    return Err(Refusal::new(Code::NotFound, format!("no vhost '{vhost}'")));
                }
                self.define(Definition::Permitted { user, vhost, permissions });
            }
            Ask::PutSubscription(subscription) => {
                let known = &self.state.subscriptions;
                if !known.contains_key(&*subscription.name) {
                    let limit = self.state.limits.subscriptions;
                    limited("subscriptions", known.len(), limit)?;
                }
                if !self.state.vhosts.contains_key(&*subscription.vhost) {
                    let detail = format!("no vhost '{}'", subscription.vhost);
                    return Err(Refusal::new(Code::NotFound, detail));
                }
                self.define(Definition::SubscriptionPut(subscription));
            }
            Ask::DeleteSubscription(name) => {
                self.define(Definition::SubscriptionDeleted(name));
            }
            Ask::Disconnect { connection, reason } => {
                let refusal = Refusal::new(Code::ConnectionForced, &*reason);
                self.close(connection, Some(refusal));
            }
        }
        Ok(())
    }
}

/// `PRECONDITION_FAILED` with this text.
pub(super) fn failed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::PreconditionFailed, detail)
}

/// Refuses one more of what there are `count` of.
pub(super) fn limited(what: &str, count: usize, limit: usize) -> Result<(), Refusal> {
    if count < limit {
        return Ok(());
    }
    Err(failed(format!("the limit of {limit} {what} is reached (messages.limits.{what})")))
}

impl On<'_> {
    /// The queue of that name, which this connection may use; the empty name is the one that the
    /// channel named last.
    pub(super) fn queue_name(&self, name: &QueueName) -> Result<QueueName, Refusal> {
        if !name.is_empty() {
            return Ok(name.clone());
        }
        let last = self.channel.last_queue.clone();
        last.ok_or_else(|| Refusal::new(Code::NotFound, "no previously declared queue"))
    }
}
