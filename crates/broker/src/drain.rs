//! Moves what the embedded broker has to an engine, while both run: definitions, declared as clients
//! declare them, and queued messages, in order.
//!
//! A message is acknowledged here only once the engine has confirmed it there: whatever breaks off, it
//! is in one of the two, and may be in both. What the engine refuses is told and stays here; the rest
//! goes on. Every step is short, and begins anew where the last one ended, so that whoever drives them
//! can stop at any time and go on later.
//!
//! Messages go through the default exchange where they came through it. Others go through an exchange
//! `posthouse.drain.QUEUE` that leads to their queue alone: consumers look at routing keys, which are so
//! kept, and `CC` in a message would put it into other queues once more. It stays as long as the queue
//! does, since consumers (Celery's `retry`) publish to where a message came from.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::delay;
use crate::engine::{Engine, EngineAddress, EngineConfig};
use crate::error::Error;
use crate::ids::DeliveryTag;
use crate::inside::Session;
use crate::message::Message;
use crate::service::Handle;
use crate::state::{
    Act, Answer, BindExchange, BindQueue, BindingView, DeclareExchange, DeclareQueue, Delivered,
    ExchangeSpec, Get, Publish, QueueSpec, QueueView,
};

/// What sessions are called.
const NAME: &str = "drain";
/// Messages that are under way at the same time,
const BATCH: usize = 256;
/// and bytes of their bodies, after which there are no more.
const BATCH_BYTES: usize = 4 << 20;
/// How long one step goes on.
const STEP: Duration = Duration::from_secs(5);
/// Names up to this length fit behind [`WAY`].
const NAME_BYTES: usize = 200;
/// How exchanges begin through which messages are moved.
const WAY: &str = "posthouse.drain.";

/// The way from the embedded broker to an engine.
#[derive(Clone, Debug)]
pub struct Drain {
    handle: Handle,
    engine: Arc<Engine>,
}

/// What there is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The engine, without its password.
    pub target: String,
    /// Exchanges, but for those that are everywhere.
    pub exchanges: usize,
    /// Bindings.
    pub bindings: usize,
    /// Queues, by virtual host and name.
    pub queues: Vec<Planned>,
}

/// A queue that is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its virtual host.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Messages that wait.
    pub ready: u64,
    /// Deliveries that wait to be acknowledged.
    pub unacked: u64,
    /// What is to be known of it.
    pub warning: Option<&'static str>,
}

/// What declaring has come to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// How many are there now as they are here.
    pub taken: usize,
    /// What the engine has refused, and why.
    pub refused: Vec<(String, String)>,
    /// Where to go on, if that was not all.
    pub next: Option<String>,
}

/// What moving the messages of a queue has come to so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Messages that are there now.
    pub moved: usize,
    /// Messages that are still here, those that a consumer holds among them.
    pub left: u64,
    /// Why it does not go on, if it does not.
    pub refused: Option<String>,
}

/// One thing to be declared.
struct Step {
    /// Its place in the order: what others need comes first.
    key: String,
    vhost: String,
    act: Act,
}

impl Handle {
    /// The way to an engine: the one at `to`, or the configured one; `None` when there is neither.
    ///
    /// # Errors
    /// When the authorities of its certificate cannot be read.
    pub fn drain(&self, to: Option<EngineAddress>) -> Result<Option<Drain>, Error> {
        let engine = match (to, &self.shared.engine) {
            (Some(address), _) => Arc::new(Engine::elsewhere(&EngineConfig::at(address))?),
            (None, Some(engine)) => Arc::clone(engine),
            (None, None) => return Ok(None),
        };
        Ok(Some(Drain { handle: self.clone(), engine }))
    }
}

impl Drain {
    /// What there is to be moved, of one virtual host or of all. Logs in to the engine, and changes
    /// nothing.
    ///
    /// # Errors
    /// When the engine is not reached or does not let us in, and when the broker does not answer.
    pub async fn plan(&self, vhost: Option<&str>) -> Result<Plan, Error> {
        let (exchanges, queues, bindings) = self.definitions(vhost).await?;
        let meant = vhost.unwrap_or_else(|| self.handle.config().vhost());
        self.reach(meant).await?.close().await?;
        let queues = queues.into_iter().map(|QueueView { spec, figures }| Planned {
            vhost: spec.vhost.to_string(),
            name: spec.name.to_string(),
            ready: figures.ready,
            unacked: figures.unacked,
            warning: warning(&spec),
        });
        Ok(Plan {
            target: self.engine.address().to_string(),
            exchanges: exchanges.len(),
            bindings: bindings.len(),
            queues: queues.collect(),
        })
    }

    /// Declares what there is at the engine, from behind `after` on, for a few seconds. What is there
    /// in the same way already counts as taken.
    ///
    /// # Errors
    /// When the engine is not reached or does not let us in, and when the broker does not answer.
    pub async fn declare(
        &self,
        vhost: Option<&str>,
        after: Option<&str>,
    ) -> Result<Declared, Error> {
        let (exchanges, queues, bindings) = self.definitions(vhost).await?;
        let all = exchanges.iter().map(|spec| exchange_step(spec));
        let all = all.chain(queues.iter().map(|queue| queue_step(&queue.spec)));
        let mut steps: Vec<Step> = all.chain(bindings.iter().map(binding_step)).collect();
        steps.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        steps.retain(|step| after.is_none_or(|after| *step.key > *after));
        let (mut declared, end) = (Declared::default(), Instant::now() + STEP);
        let mut session: Option<(String, Session)> = None;
        let mut closed: Option<(String, String)> = None;
        for step in steps {
            if closed.as_ref().is_some_and(|(vhost, _)| *vhost == step.vhost) {
                continue;
            }
            if session.as_ref().is_none_or(|(vhost, _)| *vhost != step.vhost) {
                match self.reach(&step.vhost).await {
                    Ok(open) => session = Some((step.vhost.clone(), open)),
                    Err(Error::Refused(refusal)) => {
                        let item = format!("virtual host {}", step.vhost);
                        declared.refused.push((item, refusal.to_string()));
                        closed = Some((step.vhost, refusal.to_string()));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some((_, open)) = &mut session else { continue };
            match open.ask(step.act).await {
                Ok(_) => declared.taken += 1,
                Err(Error::Refused(refusal)) => {
                    let item = step.key.split_once(' ').map_or(&*step.key, |(_, item)| item);
                    declared.refused.push((item.to_owned(), refusal.to_string()));
                    // It is over with that.
                    session = None;
                }
                Err(error) => return Err(error),
            }
            if Instant::now() >= end {
                declared.next = Some(step.key);
                break;
            }
        }
        if let Some((_, session)) = session {
            session.close().await?;
        }
        Ok(declared)
    }

    /// Moves messages of a queue, in order, for a few seconds or until it is empty. The queue is
    /// declared at the engine first. `None` when there is no such queue here.
    ///
    /// # Errors
    /// When the engine is not reached or does not let us in, when it breaks off, and when the broker
    /// does not answer. What was not confirmed by the engine is in its queue again.
    pub async fn queue(&self, vhost: &str, queue: &str) -> Result<Option<Moved>, Error> {
        let view = self.handle.look(|state| state.queue(vhost, queue)).await?;
        let Some(QueueView { spec, .. }) = view else { return Ok(None) };
        let (moved, refused) = match spec.owner {
            Some(_) => {
                let why = "it goes with its connection, and is declared anew by its client";
                (0, Some(why.into()))
            }
            None => {
                let source = self.handle.inside_embedded(vhost, NAME).await?;
                let mut moving =
                    Moving { drain: self, spec: &spec, source, moved: 0, has_way: false };
                let done = moving.run().await;
                let Moving { source, moved, .. } = moving;
                // What was not acknowledged is given back, before it is told how many are left.
                source.close().await?;
                match done {
                    Ok(why) => (moved, why),
                    Err(Error::Refused(refusal)) => (moved, Some(refusal.to_string())),
                    Err(error) => return Err(error),
                }
            }
        };
        let left = self.handle.look(|state| {
            state.queue(vhost, queue).map_or(0, |view| view.figures.ready + view.figures.unacked)
        });
        Ok(Some(Moved { moved, left: left.await?, refused }))
    }

    /// Logs in to the engine, unless that is this broker itself: a drain would go in a circle.
    async fn reach(&self, vhost: &str) -> Result<Session, Error> {
        let name = format!("{NAME} {}", Uuid::new_v4().simple());
        let session = self.handle.inside_engine(&self.engine, vhost, &name).await?;
        let is_here = self
            .handle
            .look(|state| state.connections().any(|connection| connection.name.ends_with(&name)));
        if is_here.await? {
            let address = self.engine.address();
            return Err(Error::Engine(format!("at {address} is this broker itself")));
        }
        Ok(session)
    }

    async fn definitions(
        &self,
        vhost: Option<&str>,
    ) -> Result<(Vec<Arc<ExchangeSpec>>, Vec<QueueView>, Vec<BindingView>), Error> {
        let is_meant = |name: &str| vhost.is_none_or(|wanted| wanted == name);
        let gathered = self.handle.look(|state| {
            let exchanges = state.exchanges_of_all().filter(|spec| !spec.is_predefined()).cloned();
            (exchanges.collect::<Vec<_>>(), state.queues(), state.binding_views())
        });
        let (mut exchanges, mut queues, mut bindings) = gathered.await?;
        exchanges.retain(|spec| is_meant(spec.vhost.as_str()));
        queues.retain(|view| is_meant(view.spec.vhost.as_str()) && view.spec.owner.is_none());
        bindings.retain(|view| is_meant(view.vhost.as_str()) && !view.is_passing);
        Ok((exchanges, queues, bindings))
    }
}

/// The messages of one queue, as they are moved.
struct Moving<'a> {
    drain: &'a Drain,
    spec: &'a QueueSpec,
    source: Session,
    moved: usize,
    /// Whether the exchange is there that leads to the queue alone.
    has_way: bool,
}

impl Moving<'_> {
    /// Moves until the queue is empty or the step is over. Returns why it does not go on, if so.
    async fn run(&mut self) -> Result<Option<String>, Error> {
        let mut target = self.drain.reach(self.spec.vhost.as_str()).await?;
        target.ask(queue_step(self.spec).act).await?;
        let end = Instant::now() + STEP;
        while Instant::now() < end {
            let batch = take(&mut self.source, self.spec.name.as_str()).await?;
            if batch.is_empty() {
                break;
            }
            if let Some(why) = self.put(&mut target, &batch).await? {
                return Ok(Some(why));
            }
        }
        target.close().await?;
        Ok(None)
    }

    /// Publishes a batch, and acknowledges what of it was confirmed.
    async fn put(
        &mut self,
        target: &mut Session,
        batch: &[Delivered],
    ) -> Result<Option<String>, Error> {
        let (queue, now) = (self.spec.name.as_str(), Timestamp::now());
        let all: Vec<Publish> =
            batch.iter().map(|delivered| moved(&delivered.message, queue, now)).collect();
        if !self.has_way && all.iter().any(|publish| !publish.exchange.is_empty()) {
            for act in way_to(queue) {
                target.ask(act).await?;
            }
            self.has_way = true;
        }
        let published = target.publish_all(all).await;
        if published.returned {
            // Which of them came back is not said.
            return Ok(Some("somebody has removed it, or its binding, at the engine".into()));
        }
        let taken: Vec<DeliveryTag> = batch
            .iter()
            .zip(&published.confirmed)
            .filter(|(_, confirmed)| **confirmed == Some(true))
            .map(|(delivered, _)| delivered.tag)
            .collect();
        if taken.len() == batch.len()
            && let Some(last) = taken.last()
        {
            self.source.tell(Act::Ack { tag: *last, multiple: true }).await?;
        } else {
            for tag in &taken {
                self.source.tell(Act::Ack { tag: *tag, multiple: false }).await?;
            }
        }
        self.moved += taken.len();
        if let Some(error) = published.ended {
            return Err(error);
        }
        let rejected = published.confirmed.contains(&Some(false));
        Ok(rejected.then(|| "it is full there, and takes no more (`reject-publish`)".into()))
    }
}

/// Takes some messages from the head of a queue, without acknowledging them. One by one, so that it
/// needs no consumer, and ends when there are no more.
async fn take(source: &mut Session, queue: &str) -> Result<Vec<Delivered>, Error> {
    let (mut taken, mut bytes, mut largest) = (Vec::new(), 0, 0);
    let get = || Act::Get(Get { queue: queue.into(), no_ack: false });
    while taken.len() < BATCH && bytes < BATCH_BYTES {
        // The first shows how large they are.
        let room = if taken.is_empty() { 1 } else { (BATCH_BYTES - bytes) / largest.max(1) };
        let count = room.clamp(1, BATCH - taken.len());
        for _ in 0..count {
            source.tell(get()).await?;
        }
        let mut is_empty = false;
        for _ in 0..count {
            let Answer::Got { delivered, .. } = source.answer().await? else {
                is_empty = true;
                continue;
            };
            source.took(&delivered.message).await?;
            let size = delivered.message.body.len();
            (bytes, largest) = (bytes + size, largest.max(size));
            taken.push(delivered);
        }
        if is_empty {
            break;
        }
    }
    Ok(taken)
}

/// A message as it is published there.
fn moved(message: &Message, queue: &str, now: Timestamp) -> Publish {
    let mut properties = message.properties.clone();
    let waited = now.as_millis().saturating_sub(message.queued_at.as_millis());
    let own = properties.expiration.as_deref().and_then(|text| text.parse::<u64>().ok());
    // A delayed message is to come out in its time, not a whole term of its queue later.
    let most = own.into_iter().chain(delay::term_of(queue)).min();
    if let Some(most) = most {
        properties.expiration = Some(most.saturating_sub(waited).to_string().into());
    }
    let copies =
        |headers: &crate::message::Table| headers.get("CC").or(headers.get("BCC")).is_some();
    let is_plain = message.exchange.is_empty()
        && message.routing_key.as_str() == queue
        && !properties.headers.as_ref().is_some_and(copies);
    let exchange = if is_plain { String::new() } else { way(queue) };
    Publish {
        exchange: exchange.into(),
        routing_key: message.routing_key.clone(),
        mandatory: true,
        properties,
        body: message.body.clone(),
    }
}

/// The exchange that leads to a queue alone.
fn way(queue: &str) -> String {
    if queue.len() <= NAME_BYTES {
        return format!("{WAY}{queue}");
    }
    Sha256::digest(queue).iter().fold(WAY.to_owned(), |mut name, byte| {
        let _a_text_takes_it = write!(name, "{byte:02x}");
        name
    })
}

fn way_to(queue: &str) -> [Act; 2] {
    let exchange = way(queue);
    [
        Act::DeclareExchange(DeclareExchange {
            exchange: (&*exchange).into(),
            kind: "fanout".into(),
            durable: true,
            auto_delete: true,
            ..DeclareExchange::default()
        }),
        Act::BindQueue(BindQueue {
            queue: queue.into(),
            exchange: exchange.into(),
            ..BindQueue::default()
        }),
    ]
}

fn exchange_step(spec: &ExchangeSpec) -> Step {
    Step {
        key: format!("1 exchange {} in virtual host {}", spec.name, spec.vhost),
        vhost: spec.vhost.to_string(),
        act: Act::DeclareExchange(DeclareExchange {
            exchange: spec.name.clone(),
            kind: spec.kind.as_str().into(),
            durable: spec.durable,
            auto_delete: spec.auto_delete,
            internal: spec.internal,
            arguments: spec.arguments.clone(),
            ..DeclareExchange::default()
        }),
    }
}

fn queue_step(spec: &QueueSpec) -> Step {
    Step {
        key: format!("2 queue {} in virtual host {}", spec.name, spec.vhost),
        vhost: spec.vhost.to_string(),
        act: Act::DeclareQueue(DeclareQueue {
            queue: spec.name.clone(),
            durable: spec.durable,
            auto_delete: spec.auto_delete,
            arguments: spec.arguments.clone(),
            ..DeclareQueue::default()
        }),
    }
}

fn binding_step(view: &BindingView) -> Step {
    let BindingView { vhost, source, destination, to_queue, key, arguments, .. } = view;
    let act = if *to_queue {
        Act::BindQueue(BindQueue {
            queue: destination.as_str().into(),
            exchange: source.clone(),
            routing_key: key.clone(),
            arguments: arguments.clone(),
            no_wait: false,
        })
    } else {
        Act::BindExchange(BindExchange {
            destination: destination.as_str().into(),
            source: source.clone(),
            routing_key: key.clone(),
            arguments: arguments.clone(),
            no_wait: false,
        })
    };
    // Bindings may differ by their arguments alone.
    let arguments = if arguments.is_empty() { String::new() } else { format!(" ({arguments:?})") };
    Step {
        key: format!(
            "3 binding {source} -> {destination} by `{key}`{arguments} in virtual host {vhost}"
        ),
        vhost: vhost.to_string(),
        act,
    }
}

/// What is to be known before a queue is moved.
fn warning(spec: &QueueSpec) -> Option<&'static str> {
    if !spec.durable {
        return Some("neither durable nor exclusive: RabbitMQ 4.3 refuses it by default");
    }
    spec.auto_delete.then_some("goes with the last of its consumers")
}

#[cfg(test)]
mod tests {
    use posthouse_base::task::Tasks;

    use super::*;
    use crate::Config;
    use crate::amqp::Server;
    use crate::message::{Properties, Table, Value};

    fn message(exchange: &str, key: &str, properties: Properties) -> Message {
        let queued_at = Timestamp::from_millis(1000);
        let (exchange, routing_key) = (exchange.into(), key.into());
        Message { exchange, routing_key, properties, body: "x".into(), queued_at }
    }

    fn after(ms: u64, message: &Message, queue: &str) -> Publish {
        moved(message, queue, Timestamp::from_millis(1000 + ms))
    }

    #[test]
    fn what_came_by_the_name_of_its_queue_goes_so_and_the_rest_by_a_way_of_its_own() {
        let plain = after(0, &message("", "q", Properties::default()), "q");
        assert_eq!((plain.exchange.as_str(), plain.routing_key.as_str()), ("", "q"));
        for (exchange, key) in [("orders", "q"), ("", "dead"), ("orders", "order.placed")] {
            let other = after(0, &message(exchange, key, Properties::default()), "q");
            assert_eq!(other.exchange.as_str(), "posthouse.drain.q");
            assert_eq!(other.routing_key.as_str(), key);
        }
        let mut headers = Table::new();
        headers.push("CC", Value::Array(vec![Value::text("other")]));
        let copied = Properties { headers: Some(headers), ..Properties::default() };
        let copied = after(0, &message("", "q", copied), "q");
        assert_eq!(copied.exchange.as_str(), "posthouse.drain.q");
        assert!(way(&"é".repeat(120)).len() < 100);
    }

    #[tokio::test]
    async fn what_is_in_another_way_there_stays_and_the_rest_moves() {
        let tasks = Tasks::new();
        let there = Config { address: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let there = Handle::start(there, None, &tasks).await.expect("it starts");
        let server = Server::start(there.clone(), &tasks).await.expect("it listens");
        let here = Handle::start(Config::default(), None, &tasks).await.expect("it starts");
        let declare = |queue: &str, arguments: Table| {
            let queue = queue.into();
            Act::DeclareQueue(DeclareQueue { queue, arguments, ..DeclareQueue::default() })
        };
        let mut session = here.inside("/", "test").await.expect("let in");
        for queue in ["moves", "copy", "stays"] {
            session.ask(declare(queue, Table::new())).await.expect("declared");
        }
        let mut headers = Table::new();
        headers.push("CC", Value::Array(vec![Value::text("copy")]));
        let properties = Properties { headers: Some(headers), ..Properties::default() };
        let copied = Publish { routing_key: "moves".into(), properties, ..Publish::default() };
        let plain = Publish { routing_key: "stays".into(), ..Publish::default() };
        let sent = session.publish_all([vec![copied; 600], vec![plain; 3]].concat()).await;
        assert!(sent.ended.is_none() && !sent.returned, "{sent:?}");
        let mut other = Table::new();
        other.push("x-max-length", Value::I32(7));
        let mut target = there.inside("/", "test").await.expect("let in");
        target.ask(declare("stays", other)).await.expect("declared");

        assert!(here.drain(None).expect("no way to be wrong").is_none(), "there is no engine");
        let address = EngineAddress::parse(&format!("amqp://{}", server.address()));
        let drain = here.drain(Some(address.expect("an address"))).expect("a way there");
        let drain = drain.expect("a way there");
        let plan = drain.plan(None).await.expect("a plan");
        assert_eq!(plan.queues.iter().map(|queue| queue.ready).sum::<u64>(), 1203);
        assert!(plan.queues.iter().all(|queue| queue.warning.is_some()), "none is durable");
        let declared = drain.declare(None, None).await.expect("declared");
        assert_eq!((declared.taken, declared.refused.len(), declared.next), (2, 1, None));
        let moved = drain.queue("/", "moves").await.expect("moved");
        assert_eq!(moved, Some(Moved { moved: 600, left: 0, refused: None }));
        let stays = drain.queue("/", "stays").await.expect("told").expect("it is there");
        assert!((stays.moved, stays.left) == (0, 3) && stays.refused.is_some(), "{stays:?}");
        assert_eq!(drain.queue("/", "nowhere").await.expect("told"), None);
        let ready = there.look(|state| state.queue("/", "copy").map(|view| view.figures.ready));
        assert_eq!(ready.await.expect("a look"), Some(0), "`CC` puts nothing there once more");
        let ready = there.look(|state| state.queue("/", "moves").map(|view| view.figures.ready));
        assert_eq!(ready.await.expect("a look"), Some(600));
    }

    #[test]
    fn what_is_left_of_a_time_stays_left() {
        let expiring =
            |ms: &str| Properties { expiration: Some(ms.into()), ..Properties::default() };
        let left = |publish: Publish| publish.properties.expiration.map(|text| text.to_string());
        let message_of = |ms| message("", "q", expiring(ms));
        assert_eq!(left(after(200, &message_of("500"), "q")).as_deref(), Some("300"));
        assert_eq!(left(after(900, &message_of("500"), "q")).as_deref(), Some("0"));
        assert_eq!(left(after(200, &message("", "q", Properties::default()), "q")), None);
        let delayed = message("", "posthouse.delay.1024", Properties::default());
        let delayed = after(1000, &delayed, "posthouse.delay.1024");
        assert_eq!(left(delayed).as_deref(), Some("24"));
    }
}
