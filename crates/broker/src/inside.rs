//! Clients that are parts of the house: the admin API, the HTTP door, push subscriptions. They ask as
//! AMQP's clients do, on one channel and without a socket, and may do everything in their virtual host.
//! With an engine they ask that one, over a connection for each session, and see no difference.
//!
//! What must hold: whoever asks is answered within [`PATIENCE`], even while the journal cannot write;
//! nothing is published while publishers are blocked; a session that was refused something is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::amqp::client::Line;
use crate::engine::Engine;
use crate::error::Error;
use crate::ids::{ChannelNumber, ConsumerTag, DeliveryTag, UserName, VhostName};
use crate::message::{Message, Table};
use crate::service::{Asking, Entrance, Handle, Told};
use crate::state::{Act, Answer, Code, Delivered, Output, Publish, Refusal, Scope};

/// How long an answer may take. It is nearly always there at once; it is not while nothing can be made
/// durable.
const PATIENCE: Duration = Duration::from_secs(20);

/// The only channel.
const CHANNEL: ChannelNumber = ChannelNumber::new(1);

/// Who such clients are to the others.
const USER: &str = "posthouse";

/// Between two attempts to be let in by an engine, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Asks an engine to let us in for as long as it does not, so that it is known, and told, that it does
/// not before anybody needs it, and when it does again.
pub(crate) async fn watch_engine(handle: Handle) {
    let mut pause = PAUSES.0;
    loop {
        let is_known = handle.engine_view().is_some_and(|view| view.reachable == Some(true));
        if !is_known {
            let vhost = handle.config().vhost();
            // What is wrong is noted where it is found.
            match handle.inside(vhost, "watch").await {
                Ok(session) => {
                    let _closed_or_lost = session.close().await;
                }
                Err(Error::Refused(refusal)) => {
                    tracing::warn!("the engine of messages has no place for Posthouse: {refusal}");
                }
                Err(_) => {}
            }
        }
        sleep(pause).await;
        pause = if is_known { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
    }
}

/// A client that is a part of the house. Dropping it gives back what it has not acknowledged.
#[derive(Debug)]
pub struct Session {
    asking: Way,
    told: Told,
    /// What came while an answer was waited for.
    early: VecDeque<Happened>,
    /// How many were published, once it is confirmed what was.
    published: Option<u64>,
    blocked: Option<Arc<str>>,
}

/// What a session asks by.
#[derive(Debug)]
enum Way {
    /// The rules of the house.
    Rules(Asking),
    /// An engine in their place.
    Engine(Line),
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is in every queue that is bound for it, durable if it is to be.
    Taken,
    /// No queue is bound for it: it is gone.
    Unroutable,
    /// A queue that is full has not taken it.
    Rejected,
}

/// What became of messages that were published together.
#[derive(Debug)]
pub(crate) struct PublishedAll {
    /// Whether each was taken on, as far as that is known.
    pub(crate) confirmed: Vec<Option<bool>>,
    /// Whether any came back since no queue is bound for it.
    pub(crate) returned: bool,
    /// Why the rest is not known.
    pub(crate) ended: Option<Error>,
}

/// What happens without being asked for just then.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// A message is delivered.
    Delivered(ConsumerTag, Delivered),
    /// A queue is gone, and this consumer with it.
    Cancelled(ConsumerTag),
}

/// What is told of what was asked.
enum Heard {
    Answer(Answer),
    Confirm { tag: u64, multiple: bool, ack: bool },
    Returned,
    Happened(Happened),
}

impl Handle {
    /// Lets a part of the house into a virtual host; `name` is for people.
    ///
    /// # Errors
    /// When there is no such virtual host, and when the broker does not answer.
    pub async fn inside(&self, vhost: &str, name: &str) -> Result<Session, Error> {
        self.let_inside(USER.into(), vhost, name, true).await
    }

    /// Lets in what speaks for a user, whose permissions count.
    pub(crate) async fn inside_as(
        &self,
        user: &UserName,
        vhost: &str,
        name: &str,
    ) -> Result<Session, Error> {
        self.let_inside(user.clone(), vhost, name, false).await
    }

    /// Lets a part of the house into a virtual host of the embedded broker, also when an engine is in
    /// its place.
    ///
    /// # Errors
    /// As [`Handle::inside`].
    pub async fn inside_embedded(&self, vhost: &str, name: &str) -> Result<Session, Error> {
        self.let_by_rules(USER.into(), vhost, name, true).await
    }

    /// Lets a part of the house into a virtual host of an engine.
    ///
    /// # Errors
    /// When the engine is not reached or does not let us in.
    pub(crate) async fn inside_engine(
        &self,
        engine: &Engine,
        vhost: &str,
        name: &str,
    ) -> Result<Session, Error> {
        let vhost = engine.vhost(vhost, self.config().vhost());
        let (line, told) = Line::open(engine, vhost, name, &self.shared.tasks).await?;
        Ok(Session::new(Way::Engine(line), told))
    }

    async fn let_inside(
        &self,
        user: UserName,
        vhost: &str,
        name: &str,
        is_house: bool,
    ) -> Result<Session, Error> {
        match self.engine() {
            Some(engine) => self.inside_engine(engine, vhost, name).await,
            None => self.let_by_rules(user, vhost, name, is_house).await,
        }
    }

    async fn let_by_rules(
        &self,
        user: UserName,
        vhost: &str,
        name: &str,
        is_house: bool,
    ) -> Result<Session, Error> {
        let entrance = Entrance {
            vhost: VhostName::from(vhost),
            user,
            name: name.into(),
            understands_blocked: true,
            understands_cancel: true,
            client: Table::new(),
        };
        let entering = timeout(PATIENCE, self.open(entrance, is_house)).await;
        let (asking, told) = entering.map_err(|_elapsed| Error::Unanswered)??;
        let mut asking = asking;
        asking.open_channel(CHANNEL).await?;
        let mut session = Session::new(Way::Rules(asking), told);
        session.answer().await?;
        Ok(session)
    }
}

impl Session {
    const fn new(asking: Way, told: Told) -> Self {
        Self { asking, told, early: VecDeque::new(), published: None, blocked: None }
    }

    /// Asks something that is answered.
    ///
    /// # Errors
    /// When it is refused: the session is over then. When it is not answered.
    pub async fn ask(&mut self, act: Act) -> Result<Answer, Error> {
        self.tell(act).await?;
        self.answer().await
    }

    /// Asks something that has no answer, or whose answer does not matter.
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn tell(&mut self, act: Act) -> Result<(), Error> {
        match &mut self.asking {
            Way::Rules(asking) => asking.act(CHANNEL, act).await,
            Way::Engine(line) => line.act(act).await,
        }
    }

    /// Publishes a message and waits until it is known, and durable, what has become of it.
    ///
    /// # Errors
    /// When it is refused: the session is over then. When publishers are blocked, and when it is not
    /// answered.
    pub async fn publish(&mut self, publish: Publish) -> Result<Published, Error> {
        self.look_up()?;
        if let Some(why) = &self.blocked {
            return Err(Error::Blocked(Arc::clone(why)));
        }
        if self.published.is_none() {
            self.ask(Act::SelectConfirm { no_wait: false }).await?;
        }
        let tag = self.published.unwrap_or_default() + 1;
        self.published = Some(tag);
        self.tell(Act::Publish(vec![Publish { mandatory: true, ..publish }])).await?;
        timeout(PATIENCE, self.confirmed(tag)).await.map_err(|_elapsed| Error::Unanswered)?
    }

    /// Publishes messages, and waits until it is known what has become of each.
    pub(crate) async fn publish_all(&mut self, all: Vec<Publish>) -> PublishedAll {
        let confirmed = vec![None; all.len()];
        let mut published = PublishedAll { confirmed, returned: false, ended: None };
        let outcome = timeout(PATIENCE, self.publish_each(all, &mut published)).await;
        published.ended = outcome.map_err(|_elapsed| Error::Unanswered).flatten().err();
        published
    }

    async fn publish_each(
        &mut self,
        all: Vec<Publish>,
        published: &mut PublishedAll,
    ) -> Result<(), Error> {
        if self.published.is_none() {
            self.ask(Act::SelectConfirm { no_wait: false }).await?;
        }
        let before = self.published.unwrap_or_default();
        self.published = Some(before + u64::try_from(all.len()).unwrap_or(u64::MAX));
        self.tell(Act::Publish(all)).await?;
        // The place of the first that is not known yet: confirms of several name the last.
        let place = |tag: u64| usize::try_from(tag - before).unwrap_or(usize::MAX);
        while published.confirmed.contains(&None) {
            match self.hear().await? {
                Heard::Returned => published.returned = true,
                Heard::Confirm { tag, multiple, ack } if tag > before => {
                    let end = place(tag).min(published.confirmed.len());
                    let begin = if multiple { 0 } else { end.saturating_sub(1) };
                    let known = published.confirmed[begin..end].iter_mut();
                    known.for_each(|one| *one = one.or(Some(ack)));
                }
                Heard::Happened(happened) => self.early.push_back(happened),
                Heard::Answer(_) | Heard::Confirm { .. } => {}
            }
        }
        Ok(())
    }

    /// Waits for the next thing that happens. May be dropped at any time.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn next(&mut self) -> Result<Happened, Error> {
        if let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        loop {
            if let Heard::Happened(happened) = self.hear().await? {
                return Ok(happened);
            }
        }
    }

    /// Notes that a delivery has been taken in, so that further ones may come. What is fetched counts.
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn took(&mut self, message: &Message) -> Result<(), Error> {
        let weight = u64::try_from(message.weight()).unwrap_or(u64::MAX);
        match &mut self.asking {
            Way::Rules(asking) => asking.written(1, weight).await,
            // It sends as many as were asked for, and no more.
            Way::Engine(_) => Ok(()),
        }
    }

    /// What has happened while an answer was waited for.
    pub fn happened(&mut self) -> Option<Happened> {
        self.early.pop_front()
    }

    /// Acknowledges all that was delivered, and ends; durable when this returns.
    ///
    /// # Errors
    /// When it is not known to be durable.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.tell(Act::Ack { tag: DeliveryTag::new(0), multiple: true }).await?;
        self.close().await
    }

    /// Ends; what was not acknowledged is in its queue again when this returns.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn close(self) -> Result<(), Error> {
        let Self { asking, mut told, .. } = self;
        let line = match asking {
            Way::Rules(asking) => {
                asking.close().await?;
                None
            }
            Way::Engine(line) => {
                line.close().await?;
                Some(line)
            }
        };
        let closed = async {
            while let Some(output) = told.next().await {
                match output {
                    Output::Answer(_, Answer::ConnectionClosed) => return Ok(()),
                    Output::CloseChannel(_, refusal) | Output::CloseConnection(refusal) => {
                        return Err(over(refusal));
                    }
                    _ => {}
                }
            }
            Err(line.as_ref().map_or(Error::Stopped, Line::over))
        };
        timeout(PATIENCE, closed).await.map_err(|_elapsed| Error::Unanswered)?
    }

    /// Waits for the answer to what was told, where several were.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub(crate) async fn answer(&mut self) -> Result<Answer, Error> {
        let answered = timeout(PATIENCE, async {
            loop {
                match self.hear().await? {
                    Heard::Answer(answer) => return Ok(answer),
                    Heard::Happened(happened) => self.early.push_back(happened),
                    Heard::Confirm { .. } | Heard::Returned => {}
                }
            }
        });
        answered.await.map_err(|_elapsed| Error::Unanswered)?
    }

    async fn confirmed(&mut self, wanted: u64) -> Result<Published, Error> {
        let mut returned = false;
        loop {
            match self.hear().await? {
                Heard::Returned => returned = true,
                Heard::Confirm { tag, ack, .. } if tag >= wanted => {
                    return Ok(match (ack, returned) {
                        (_, true) => Published::Unroutable,
                        (true, false) => Published::Taken,
                        (false, false) => Published::Rejected,
                    });
                }
                Heard::Happened(happened) => self.early.push_back(happened),
                Heard::Answer(_) | Heard::Confirm { .. } => {}
            }
        }
    }

    /// Whether it was not ended by the broker.
    pub(crate) fn is_open(&mut self) -> bool {
        self.look_up().is_ok() && !self.told.is_over()
    }

    /// Takes in what is there already: whether publishers are blocked.
    fn look_up(&mut self) -> Result<(), Error> {
        while let Some(output) = self.told.try_next() {
            if let Some(Heard::Happened(happened)) = self.heard(output)? {
                self.early.push_back(happened);
            }
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<Heard, Error> {
        loop {
            let Some(output) = self.told.next().await else {
                return Err(match &self.asking {
                    Way::Rules(_) => Error::Stopped,
                    Way::Engine(line) => line.over(),
                });
            };
            if let Some(heard) = self.heard(output)? {
                return Ok(heard);
            }
        }
    }

    fn heard(&mut self, output: Output) -> Result<Option<Heard>, Error> {
        Ok(Some(match output {
            Output::Answer(_, answer) => Heard::Answer(answer),
            Output::Deliver(_, tag, delivered) => {
                Heard::Happened(Happened::Delivered(tag, delivered))
            }
            Output::Cancelled(_, tag) => Heard::Happened(Happened::Cancelled(tag)),
            Output::Return(..) => Heard::Returned,
            Output::Confirm { tag, multiple, ack, .. } => {
                Heard::Confirm { tag: tag.get(), multiple, ack }
            }
            Output::CloseChannel(_, refusal) => return Err(Error::Refused(refusal)),
            Output::CloseConnection(refusal) => return Err(over(refusal)),
            Output::Blocked(why) => {
                self.blocked = Some(why);
                return Ok(None);
            }
            Output::Unblocked => {
                self.blocked = None;
                return Ok(None);
            }
        }))
    }
}

/// Why a connection is over: by an outage, or by what was asked.
fn over(refusal: Refusal) -> Error {
    match (refusal.code, refusal.scope()) {
        (Code::ConnectionForced, Scope::Connection) => Error::Unanswered,
        _ => Error::Refused(refusal),
    }
}

#[cfg(test)]
mod tests {
    use posthouse_base::task::Tasks;

    use super::*;
    use crate::Config;
    use crate::amqp::Server;
    use crate::config::Tls;
    use crate::engine::{EngineAddress, EngineConfig};
    use crate::management::Definitions;
    use crate::state::{Ask, BindQueue, Consume, DeclareExchange, DeclareQueue, Get};

    async fn broker(tasks: &Tasks) -> Handle {
        Handle::start(Config::default(), None, tasks).await.expect("it starts")
    }

    fn declare(queue: &str) -> Act {
        Act::DeclareQueue(DeclareQueue { queue: queue.into(), ..DeclareQueue::default() })
    }

    fn publish(key: &str) -> Publish {
        Publish { routing_key: key.into(), body: "hello".into(), ..Publish::default() }
    }

    #[tokio::test]
    async fn it_is_known_what_becomes_of_a_message() {
        let tasks = Tasks::new();
        let broker = broker(&tasks).await;
        let mut session = broker.inside("/", "test").await.expect("let in");
        assert_eq!(session.publish(publish("q")).await.expect("known"), Published::Unroutable);
        session.ask(declare("q")).await.expect("declared");
        assert_eq!(session.publish(publish("q")).await.expect("known"), Published::Taken);
        let get = || Act::Get(Get { queue: "q".into(), no_ack: false });
        for redelivered in [false, true] {
            let mut reader = broker.inside("/", "test").await.expect("let in");
            let Ok(Answer::Got { delivered, .. }) = reader.ask(get()).await else { panic!() };
            assert_eq!(delivered.redelivered, redelivered);
            reader.close().await.expect("given back");
        }
        let mut reader = broker.inside("/", "test").await.expect("let in");
        reader.ask(get()).await.expect("there");
        reader.finish().await.expect("acknowledged");
        assert_eq!(session.ask(get()).await.expect("an answer"), Answer::Empty);
        let refused = session.ask(Act::PurgeQueue { queue: "x".into(), no_wait: false }).await;
        assert!(matches!(refused, Err(Error::Refused(why)) if why.code == Code::NotFound));
        assert!(broker.inside("elsewhere", "test").await.is_err());
    }

    #[tokio::test]
    async fn nothing_is_published_while_publishers_are_blocked() {
        let tasks = Tasks::new();
        let broker = broker(&tasks).await;
        let mut session = broker.inside("/", "test").await.expect("let in");
        session.ask(declare("q")).await.expect("declared");
        let alarm = |why: Option<&str>| crate::state::Command::Alarm(why.map(Into::into));
        broker.shared.driver.command(alarm(Some("full"))).await.expect("told").expect("taken");
        assert!(matches!(session.publish(publish("q")).await, Err(Error::Blocked(_))));
        broker.shared.driver.command(alarm(None)).await.expect("told").expect("taken");
        assert_eq!(session.publish(publish("q")).await.expect("known"), Published::Taken);
    }

    #[tokio::test]
    async fn an_engine_is_asked_as_the_rules_are() {
        let tasks = Tasks::new();
        let there = Config { address: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let there = Handle::start(there, None, &tasks).await.expect("it starts");
        let server = Server::start(there, &tasks).await.expect("it listens");
        let with = |login: &str| {
            let address = EngineAddress::parse(&format!("amqp://{login}@{}", server.address()));
            let engine = EngineConfig::at(address.expect("an address"));
            Config { engine: Some(engine), ..Config::default() }
        };
        let house = Handle::start(with("guest:guest"), None, &tasks).await.expect("it starts");
        let mut session = house.inside("/", "test").await.expect("let in");
        assert_eq!(session.publish(publish("q")).await.expect("known"), Published::Unroutable);
        session.ask(declare("q")).await.expect("declared");
        assert_eq!(session.publish(publish("q")).await.expect("known"), Published::Taken);
        let all = session.publish_all(vec![publish("q"); 300]).await;
        assert!(all.confirmed == vec![Some(true); 300] && !all.returned && all.ended.is_none());
        let consume = Consume { queue: "q".into(), tag: "c".into(), ..Consume::default() };
        session.ask(Act::Consume(consume)).await.expect("consuming");
        let Ok(Happened::Delivered(tag, delivered)) = session.next().await else { panic!() };
        assert_eq!((tag.as_str(), &delivered.message.body[..]), ("c", &b"hello"[..]));
        session.close().await.expect("closed");
        let mut session = house.inside("/", "test").await.expect("let in");
        let purge = |queue: &str| Act::PurgeQueue { queue: queue.into(), no_wait: false };
        let purged = session.ask(purge("q")).await.expect("an answer");
        assert_eq!(purged, Answer::Purged { messages: 301 }, "what was delivered came back");
        let refused = session.ask(purge("x")).await;
        assert!(matches!(refused, Err(Error::Refused(why)) if why.code == Code::NotFound));
        let elsewhere = house.inside("elsewhere", "test").await;
        assert!(matches!(elsewhere, Err(Error::Refused(_))), "{elsewhere:?}");
        let stranger = Handle::start(with("guest:horse"), None, &tasks).await.expect("it starts");
        let Err(Error::Engine(why)) = stranger.inside("/", "test").await else { panic!() };
        assert!(why.contains("does not let `guest` in") && !why.contains("horse"), "{why}");
        let mut session = house.inside("/", "test").await.expect("let in");
        server.close(Duration::ZERO).await;
        let lost = session.next().await;
        assert!(matches!(lost, Err(Error::Engine(_) | Error::Unanswered)), "{lost:?}");
        assert!(session.next().await.is_err() && !session.is_open());
    }

    #[tokio::test]
    async fn an_engine_is_reached_over_tls_where_its_authority_is_known() {
        let (tasks, folder) = (Tasks::new(), tempfile::tempdir().expect("a folder"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).expect("a file");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        let any = ([127, 0, 0, 1], 0).into();
        let tls = Tls { address: any, cert: cert.clone(), key, clients: None };
        let there = Config { address: any, tls: Some(tls), ..Config::default() };
        let there = Handle::start(there, None, &tasks).await.expect("it starts");
        let server = Server::start(there, &tasks).await.expect("it listens");
        let port = server.tls_address().expect("an address").port();
        let address = EngineAddress::parse(&format!("amqps://localhost:{port}"));
        let address = address.expect("an address");
        for (ca, is_known) in [(Some(cert), true), (None, false)] {
            let engine = Some(EngineConfig { address: address.clone(), ca });
            let house = Config { engine, ..Config::default() };
            let house = Handle::start(house, None, &tasks).await.expect("it starts");
            match house.inside("/", "test").await {
                Ok(session) => assert!(is_known && session.close().await.is_ok()),
                Err(error) => assert!(!is_known && error.to_string().contains("not reached")),
            }
        }
    }

    #[tokio::test]
    async fn what_is_exported_can_be_imported_elsewhere() {
        let tasks = Tasks::new();
        let one = broker(&tasks).await;
        one.ask(Ask::PutVhost("shop".into())).await.expect("made");
        let mut session = one.inside("shop", "test").await.expect("let in");
        session.ask(declare("q")).await.expect("declared");
        let exchange = DeclareExchange {
            exchange: "x".into(),
            kind: "topic".into(),
            ..DeclareExchange::default()
        };
        session.ask(Act::DeclareExchange(exchange)).await.expect("declared");
        let bind = BindQueue {
            queue: "q".into(),
            exchange: "x".into(),
            routing_key: "a.#".into(),
            ..BindQueue::default()
        };
        session.ask(Act::BindQueue(bind)).await.expect("bound");
        let exported = |state: &crate::state::State| Definitions::of(state, None);
        let wanted = one.look(exported).await.expect("definitions");
        let text = serde_json::to_string(&wanted).expect("JSON");
        let read: Definitions = serde_json::from_str(&text).expect("definitions");
        let other = broker(&tasks).await;
        let imported = other.import(&read, "/").await.expect("imported");
        assert_eq!(imported.refused, []);
        assert_eq!(other.look(exported).await.expect("definitions"), wanted);
        let in_one = |state: &crate::state::State| Definitions::of(state, Some("/"));
        let nothing = other.look(in_one).await.expect("definitions");
        assert!(nothing.queues.is_empty() && nothing.users.is_empty());
    }
}
