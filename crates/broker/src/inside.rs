//! Clients that are parts of the house: the admin API, the HTTP door, push subscriptions. They ask as
//! AMQP's clients do, on one channel and without a socket, and may do everything in their virtual host.
//!
//! What must hold: whoever asks is answered within [`PATIENCE`], even while the journal cannot write;
//! nothing is published while publishers are blocked; a session that was refused something is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

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

/// A client that is a part of the house. Dropping it gives back what it has not acknowledged.
#[derive(Debug)]
pub struct Session {
    asking: Asking,
    told: Told,
    /// What came while an answer was waited for.
    early: VecDeque<Happened>,
    /// How many were published, once it is confirmed what was.
    published: Option<u64>,
    blocked: Option<Arc<str>>,
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
    Confirm { tag: u64, ack: bool },
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

    async fn let_inside(
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
        let (early, published, blocked) = (VecDeque::new(), None, None);
        let mut session = Session { asking, told, early, published, blocked };
        session.asking.open_channel(CHANNEL).await?;
        session.answer().await?;
        Ok(session)
    }
}

impl Session {
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
        self.asking.act(CHANNEL, act).await
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
        self.asking.written(1, weight).await
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
        asking.close().await?;
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
            Err(Error::Stopped)
        };
        timeout(PATIENCE, closed).await.map_err(|_elapsed| Error::Unanswered)?
    }

    async fn answer(&mut self) -> Result<Answer, Error> {
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
                Heard::Confirm { tag, ack } if tag >= wanted => {
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
            let output = self.told.next().await.ok_or(Error::Stopped)?;
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
            Output::Confirm { tag, ack, .. } => Heard::Confirm { tag: tag.get(), ack },
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
    use crate::management::Definitions;
    use crate::state::{Ask, BindQueue, DeclareExchange, DeclareQueue, Get};

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
