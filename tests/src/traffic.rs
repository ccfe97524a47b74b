//! Publishers and consumers over AMQP, by a client that nobody here wrote (lapin), which go on until
//! the broker is killed, and again with the next one. What they are told and see goes into a
//! [`Tally`].
//!
//! Publishers use confirms or transactions, consumers close their channels or use transactions: it
//! is then that what they settled is durable. Which, how many at a time and when, is left to chance.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, Event, ExchangeKind,
    PublisherConfirm,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::tally::{COPIES, DEAD, JOBS, Letter, Tally};
use crate::wait::{ensure, eventually};

/// Where what is copied is published.
const NEWS: &str = "news";
/// All queues, the one where rejected messages go last.
const QUEUES: [&str; 4] = [COPIES[0], COPIES[1], JOBS, DEAD];
/// How many publish.
const PUBLISHERS: u32 = 4;
/// Who listens to which queue; two of them share one.
const CONSUMERS: [&str; 5] = [COPIES[0], COPIES[1], COPIES[1], JOBS, DEAD];
/// One in so many deliveries is given back.
const GIVEN_BACK: u32 = 16;
/// After so long without a message a consumer makes sure of what it has settled.
const IDLE: Duration = Duration::from_millis(200);
/// Before a client that was thrown out, and may be, comes again.
const PAUSE: Duration = Duration::from_millis(20);

/// Publishers and consumers.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    random: fastrand::Rng,
    publishers: Vec<Publisher>,
    clients: JoinSet<Option<Publisher>>,
    /// The broker is dead.
    dead: watch::Sender<bool>,
}

/// One that publishes, between two lives of the broker.
#[derive(Debug)]
struct Publisher {
    id: u32,
    next: u32,
}

/// What a client does.
enum Role {
    Publisher(Publisher),
    Consumer { queue: &'static str, number: usize },
}

#[derive(Debug, Default)]
struct Shared {
    tally: Mutex<Tally>,
    /// Clients may lose their connections.
    may_break: AtomicBool,
    /// The broker is about to be killed.
    over: AtomicBool,
}

/// What a client goes by.
#[derive(Clone)]
struct Life {
    shared: Arc<Shared>,
    address: SocketAddr,
    dead: watch::Receiver<bool>,
    random: fastrand::Rng,
}

impl Traffic {
    /// Nobody publishes or consumes yet.
    #[must_use]
    pub fn new(random: fastrand::Rng) -> Self {
        Self {
            shared: Arc::default(),
            random,
            publishers: (0..PUBLISHERS).map(|id| Publisher { id, next: 1 }).collect(),
            clients: JoinSet::new(),
            dead: watch::Sender::new(false),
        }
    }

    /// What was confirmed and seen so far.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.shared.tally()
    }

    /// From now on the broker may close connections: clients come again.
    pub fn may_break(&self) {
        self.shared.may_break.store(true, Ordering::Relaxed);
    }

    /// Declares what there is; to be called once for each new broker.
    pub async fn declare(&self, broker: SocketAddr) {
        let connection = connect(broker).await.expect("a connection");
        declare(&connection).await.expect("everything is declared");
        connection.close(200, "".into()).await.expect("the connection is closed");
    }

    /// Has everybody come to a broker.
    pub fn start(&mut self, broker: SocketAddr) {
        self.shared.over.store(false, Ordering::Relaxed);
        self.dead.send_replace(false);
        let publishers = std::mem::take(&mut self.publishers).into_iter().map(Role::Publisher);
        let consumers = CONSUMERS.into_iter().enumerate();
        let consumers = consumers.map(|(number, queue)| Role::Consumer { queue, number });
        for role in publishers.chain(consumers) {
            let life = self.life(broker);
            self.clients.spawn(life.go_on(role));
        }
    }

    fn life(&mut self, address: SocketAddr) -> Life {
        let (shared, dead) = (Arc::clone(&self.shared), self.dead.subscribe());
        Life { shared, address, dead, random: self.random.fork() }
    }

    /// Waits until so much more has happened.
    pub async fn progress(&self, more: u64) {
        let goal = self.tally().progress() + more;
        eventually("messages to be confirmed and seen", async || {
            let tally = self.tally();
            let now = tally.progress();
            ensure(now >= goal || tally.judge().is_err(), || format!("{now} of {goal}"))
        })
        .await;
    }

    /// The broker is killed next: connections may break.
    pub fn expect_end(&self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }

    /// The broker is dead: everybody ends.
    pub async fn over(&mut self) {
        self.dead.send_replace(true);
        while let Some(client) = self.clients.join_next().await {
            self.publishers.extend(client.expect("a client does not panic"));
        }
        self.tally().crash();
    }

    /// Takes everything out that there is, with nobody else there.
    ///
    /// # Errors
    /// When something that was confirmed is not among it, or something else is wrong.
    pub async fn drain(&self, broker: SocketAddr) -> Result<(), String> {
        let connection = connect(broker).await.expect("a connection");
        for queue in QUEUES {
            self.take_rest(&connection, queue).await.expect("the rest is taken");
        }
        connection.close(200, "".into()).await.expect("the connection is closed");
        let missing = self.tally().missing();
        if let Some(first) = missing.first() {
            return Err(format!("{} are lost, the first is {first:?}", missing.len()));
        }
        self.tally().judge()
    }

    /// Waits until everything is settled that is confirmed by now.
    pub async fn all_settled(&self) {
        let before = self.tally().open();
        eventually("what was confirmed to be settled", async || {
            let tally = self.tally();
            let open = tally.open();
            let mut left = before.intersection(&open);
            let first = left.next();
            ensure(first.is_none() || tally.judge().is_err(), || {
                format!("{} of {}, {first:?} among them, are not", left.count() + 1, before.len())
            })
        })
        .await;
    }

    /// Waits until somebody was blocked from publishing more often than `before`, and as often let go
    /// on again if that is awaited.
    pub async fn blocked(&self, before: u64, and_unblocked: bool) {
        eventually("publishers to be blocked and let go on", async || {
            let tally = self.tally();
            let (blocked, unblocked) = tally.blocks;
            let done = blocked > before && (!and_unblocked || unblocked == blocked);
            ensure(done || tally.judge().is_err(), || format!("{blocked}, {unblocked}"))
        })
        .await;
    }

    /// Takes what nobody had to see: it was not confirmed, or is there again.
    async fn take_rest(&self, connection: &Connection, queue: &str) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        let mut settled = Vec::new();
        while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await? {
            let Some(letter) = self.shared.see(queue, usize::MAX, &got.delivery) else { continue };
            if letter.is_rejected_in(queue) {
                got.delivery.nack(BasicNackOptions::default()).await?;
            } else {
                got.delivery.ack(BasicAckOptions::default()).await?;
            }
            settled.push(letter);
        }
        channel.close(200, "".into()).await?;
        self.tally().settle(queue, &settled);
        Ok(())
    }

    /// Fails unless all queues are empty.
    pub async fn nothing_is_left(&self, broker: SocketAddr) {
        let connection = connect(broker).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        for queue in QUEUES {
            let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await;
            let got = got.expect("an answer").map(|got| (got.redelivered, Letter::read(&got.data)));
            assert_eq!(got, None, "{queue:?} was empty, and that was durable");
        }
        connection.close(200, "".into()).await.expect("the connection is closed");
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, queue: &str, consumer: usize, delivery: &Delivery) -> Option<Letter> {
        let mut tally = self.tally();
        match Letter::read(&delivery.data) {
            Ok(letter) => {
                tally.see(queue, consumer, letter, delivery.redelivered);
                Some(letter)
            }
            Err(wrong) => {
                tally.blame(format!("in {queue:?}: {wrong}"));
                None
            }
        }
    }
}

impl Life {
    /// Runs a client until its broker is gone. Gives back who published.
    async fn go_on(mut self, mut role: Role) -> Option<Publisher> {
        let mut dead = self.dead.clone();
        loop {
            let work = async {
                match &mut role {
                    Role::Publisher(publisher) => publish(&mut self, publisher).await,
                    Role::Consumer { queue, number } => consume(&mut self, queue, *number).await,
                }
            };
            // Whether a client notices by itself is not the question here.
            let Err(error) = tokio::select! {
                outcome = work => outcome,
                _ = dead.wait_for(|dead| *dead) => break,
            };
            if self.shared.over.load(Ordering::Relaxed) {
                break;
            }
            if !self.shared.may_break.load(Ordering::Relaxed) {
                self.shared.tally().blame(format!("a client was thrown out: {error}"));
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        match role {
            Role::Publisher(publisher) => Some(publisher),
            Role::Consumer { .. } => None,
        }
    }

    /// Counts how often publishers are blocked on a connection, as long as that is there.
    fn listen(&self, connection: &Connection) {
        let (shared, mut events) = (Arc::clone(&self.shared), connection.events_listener());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(_) => shared.tally().blocks.0 += 1,
                    Event::ConnectionUnblocked => shared.tally().blocks.1 += 1,
                    Event::Error(_) => return,
                    _ => {}
                }
            }
        });
    }
}

async fn connect(address: SocketAddr) -> lapin::Result<Connection> {
    let uri = format!("amqp://guest:guest@{address}/%2f");
    Connection::connect(&uri, ConnectionProperties::default()).await
}

async fn declare(connection: &Connection) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let arguments = FieldTable::default;
    channel.exchange_declare(NEWS.into(), ExchangeKind::Fanout, durable, arguments()).await?;
    for queue in QUEUES {
        let mut about = arguments();
        if queue == JOBS {
            about.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
            about.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(DEAD.into()));
        }
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), about).await?;
        if COPIES.contains(&queue) {
            let options = QueueBindOptions::default();
            channel.queue_bind(queue.into(), NEWS.into(), "".into(), options, arguments()).await?;
        }
    }
    channel.close(200, "".into()).await
}

/// Publishes and waits to be told that the broker has it, again and again.
async fn publish(life: &mut Life, publisher: &mut Publisher) -> lapin::Result<Infallible> {
    let connection = connect(life.address).await?;
    life.listen(&connection);
    let channel = connection.create_channel().await?;
    let in_transactions = life.random.bool();
    if in_transactions {
        channel.tx_select().await?;
    } else {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
    }
    loop {
        let mut sent = Vec::new();
        for _ in 0..life.random.usize(1..64) {
            let letter = Letter { publisher: publisher.id, number: publisher.next };
            publisher.next += 1;
            sent.push((letter, send(&channel, letter).await?));
        }
        if in_transactions {
            channel.tx_commit().await?;
        }
        for (letter, confirm) in sent {
            let confirm = confirm.await?;
            let mut tally = life.shared.tally();
            match confirm.is_nack() {
                false => tally.confirm(letter),
                true => tally.blame(format!("{letter:?} was not taken on")),
            }
        }
    }
}

async fn send(channel: &Channel, letter: Letter) -> lapin::Result<PublisherConfirm> {
    const PERSISTENT: u8 = 2;
    let (exchange, key) = if letter.is_copied() { (NEWS, "") } else { ("", JOBS) };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let (options, body) = (BasicPublishOptions::default(), letter.body());
    channel.basic_publish(exchange.into(), key.into(), options, &body, properties).await
}

/// Consumes from one queue, on one channel after the other.
async fn consume(life: &mut Life, queue: &str, number: usize) -> lapin::Result<Infallible> {
    let connection = connect(life.address).await?;
    let mut settled = Vec::new();
    loop {
        let channel = connection.create_channel().await?;
        let in_transactions = life.random.bool();
        if in_transactions {
            channel.tx_select().await?;
        }
        let prefetch = life.random.u16(1..100);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
        let consuming = Consuming { queue, number, channel: &channel, in_transactions };
        consuming.work(life, consumer, &mut settled).await?;
        if in_transactions {
            channel.tx_commit().await?;
        }
        channel.close(200, "".into()).await?;
        life.shared.tally().settle(queue, &settled);
        settled.clear();
    }
}

/// A consumer on a channel.
struct Consuming<'a> {
    queue: &'a str,
    number: usize,
    channel: &'a Channel,
    in_transactions: bool,
}

impl Consuming<'_> {
    /// Takes some deliveries, and notes in `settled` what it is done with but for the broker's word.
    async fn work(
        &self,
        life: &mut Life,
        mut consumer: Consumer,
        settled: &mut Vec<Letter>,
    ) -> lapin::Result<()> {
        for _ in 0..life.random.u32(1..200) {
            let Ok(delivery) = tokio::time::timeout(IDLE, consumer.next()).await else {
                return Ok(());
            };
            let Some(delivery) = delivery.transpose()? else {
                life.shared.tally().blame(format!("a consumer of {:?} was ended", self.queue));
                return Ok(());
            };
            let Some(letter) = life.shared.see(self.queue, self.number, &delivery) else {
                continue;
            };
            if !delivery.redelivered && life.random.u32(..GIVEN_BACK) == 0 {
                let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                delivery.nack(options).await?;
                continue;
            }
            if letter.is_rejected_in(self.queue) {
                delivery.nack(BasicNackOptions::default()).await?;
            } else {
                delivery.ack(BasicAckOptions::default()).await?;
            }
            settled.push(letter);
            if self.in_transactions && life.random.u8(..8) == 0 {
                self.channel.tx_commit().await?;
                life.shared.tally().settle(self.queue, settled);
                settled.clear();
            }
        }
        Ok(())
    }
}
