//! A client of AMQP, for what the house itself publishes to and takes from an engine: one channel on a
//! connection of its own, asked in the words of the rules and told in them, so that whoever uses a
//! session does not see which broker it is of.
//!
//! Our own and not the crate `lapin`: the codec is here already, with every method in both directions;
//! tables and properties go through it unchanged, where a second set of types would have to be
//! translated twice; and TLS, deadlines and tasks stay those of the house.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};

use super::content::{Bounds, Content};
use super::input::Input;
use super::order::{ask, told};
use super::output::Output as Out;
use super::wire::{Fault, Frame, Kind, Method, PROTOCOL_HEADER, methods};
use crate::engine::{Engine, Stream};
use crate::error::Error;
use crate::ids::{ChannelNumber, ConsumerTag, DeliveryTag};
use crate::message::{Message, Table, Value};
use crate::service::Told;
use crate::state::{self, Act, Answer, Code, Delivered, Output, Publish, Refusal};

/// The only channel.
const CHANNEL: u16 = 1;
const ONLY: ChannelNumber = ChannelNumber::new(CHANNEL);
/// How long the engine may take to let us in.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest frame that we take.
const FRAME: u32 = 128 << 10;
/// The most seconds without a sign of life.
const HEARTBEAT: u16 = 30;
/// Octets that wait to be sent, at which nothing more is asked.
const WAITING: usize = 1 << 20;
/// Orders that wait.
const ORDERS: usize = 64;
/// What a message may have; the engine has limits of its own, which are smaller.
const BOUNDS: Bounds = Bounds { body: 512 << 20, header: FRAME as usize };

/// What a session asks an engine by. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Line {
    orders: mpsc::Sender<Order>,
    ended: Arc<OnceLock<String>>,
}

#[derive(Debug)]
enum Order {
    Act(Act),
    Close,
}

impl Line {
    /// Logs in to a virtual host; `name` is for people.
    ///
    /// # Errors
    /// When the engine is not reached or does not let us in, and [`Error::Refused`] when it does not
    /// have the virtual host for us.
    pub(crate) async fn open(
        engine: &Engine,
        vhost: &str,
        name: &str,
        tasks: &Tasks,
    ) -> Result<(Self, Told), Error> {
        let opened = async {
            let stream = engine.dial().await.map_err(Error::Engine)?;
            let (reader, writer) = tokio::io::split(stream);
            let mut talk = Talk::new(reader, writer);
            let shaken = timeout(PATIENCE, talk.shake(engine, vhost, name)).await;
            let late = || {
                let (address, patience) = (engine.address(), PATIENCE.as_secs());
                Error::Engine(format!("at {address} did not answer within {patience} s"))
            };
            shaken.map_err(|_elapsed| late())??;
            Ok(talk)
        };
        let opened = opened.await;
        match &opened {
            // It is there, and has let us in as far as it goes.
            Ok(_) | Err(Error::Refused(_)) => engine.note(Ok(())),
            Err(Error::Engine(why)) => engine.note(Err(why)),
            Err(error) => engine.note(Err(&error.to_string())),
        }
        let talk = opened?;
        let (sender, mailbox) = mpsc::unbounded_channel();
        let (orders, asked) = mpsc::channel(ORDERS);
        let ended = Arc::new(OnceLock::new());
        let (why, address) = (Arc::clone(&ended), engine.address().to_string());
        tasks.spawn("broker line to the engine", async move {
            let reason = talk.run(asked, &sender).await.err();
            let reason = reason.unwrap_or_else(|| Lost("was closed".into()));
            tracing::debug!(engine = address, "a connection to the engine {reason}");
            // Before the mailbox closes, so that whoever sees that finds the reason.
            let _told_once = why.set(format!("at {address} is lost: the connection {reason}"));
            drop(sender);
        });
        Ok((Self { orders, ended }, Told::of_engine(mailbox)))
    }

    /// Asks something; what comes of it is told.
    ///
    /// # Errors
    /// When the connection is over.
    pub(crate) async fn act(&self, act: Act) -> Result<(), Error> {
        self.orders.send(Order::Act(act)).await.map_err(|_over| self.over())
    }

    /// Closes the connection; told with [`Answer::ConnectionClosed`].
    ///
    /// # Errors
    /// When the connection is over.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.orders.send(Order::Close).await.map_err(|_over| self.over())
    }

    /// Why the connection is over.
    pub(crate) fn over(&self) -> Error {
        Error::Engine(self.ended.get().cloned().unwrap_or_else(|| "is lost".into()))
    }
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lost(String);

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self(format!("broke off: {error}"))
    }
}

impl From<Fault> for Lost {
    fn from(fault: Fault) -> Self {
        Self(format!("brought what cannot be read: {fault}"))
    }
}

/// A message whose content is still to come.
#[derive(Debug)]
enum Coming {
    Deliver { tag: ConsumerTag, delivery: DeliveryTag, redelivered: bool },
    Got { delivery: DeliveryTag, redelivered: bool, remaining: u32 },
    Return,
}

/// A connection to an engine.
struct Talk {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    input: Input,
    output: Out,
    frame_max: u32,
    /// Seconds; 0 for none.
    heartbeat: u16,
    coming: Option<(Coming, Content)>,
}

impl Talk {
    fn new(reader: ReadHalf<Box<dyn Stream>>, writer: WriteHalf<Box<dyn Stream>>) -> Self {
        let (input, output) = (Input::new(FRAME), Out::default());
        Self { reader, writer, input, output, frame_max: FRAME, heartbeat: 0, coming: None }
    }

    /// From the protocol header to a channel that is open.
    async fn shake(&mut self, engine: &Engine, vhost: &str, name: &str) -> Result<(), Error> {
        let address = engine.address();
        let lost = |why: Lost| Error::Engine(format!("at {address} is lost: the connection {why}"));
        self.output.raw(&PROTOCOL_HEADER);
        self.expect(|method| matches!(method, Method::ConnectionStart(_)).then_some(()))
            .await
            .map_err(lost)?
            .map_err(|refusal| Error::Engine(format!("at {address} refuses: {refusal}")))?;
        let response = format!("\0{}\0{}", address.user, address.password);
        self.output.method(
            0,
            methods::ConnectionStartOk {
                client_properties: properties(name),
                mechanism: "PLAIN",
                response: response.as_bytes(),
                locale: "en_US",
            },
        );
        let turned_away = |why: &dyn std::fmt::Display| {
            let user = &address.user;
            Error::Engine(format!(
                "at {address} does not let `{user}` in ({why}): see user and password in \
                 `messages.engine`"
            ))
        };
        let tune = |method: &Method<'_>| match method {
            Method::ConnectionTune(tune) => Some(tune.clone()),
            _ => None,
        };
        // Some close the socket without a word when the password is wrong.
        let tune = self.expect(tune).await.map_err(|why| turned_away(&why))?;
        let tune = tune.map_err(|refusal| turned_away(&refusal))?;
        self.frame_max = if tune.frame_max == 0 { FRAME } else { tune.frame_max.min(FRAME) };
        self.heartbeat = tune.heartbeat.min(HEARTBEAT);
        let (frame_max, heartbeat) = (self.frame_max, self.heartbeat);
        self.output.method(0, methods::ConnectionTuneOk { channel_max: 1, frame_max, heartbeat });
        let open = methods::ConnectionOpen { virtual_host: vhost, ..Default::default() };
        self.output.method(0, open);
        let opened =
            |method: &Method<'_>| matches!(method, Method::ConnectionOpenOk(_)).then_some(());
        let opened = self.expect(opened).await.map_err(lost)?;
        opened.map_err(|refusal| {
            Error::Refused(Refusal { method: state::Method::ConnectionOpen, ..refusal })
        })?;
        self.output.method(CHANNEL, methods::ChannelOpen::default());
        let opened = |method: &Method<'_>| matches!(method, Method::ChannelOpenOk(_)).then_some(());
        self.expect(opened).await.map_err(lost)?.map_err(Error::Refused)
    }

    /// Writes what there is to say, and waits for the method that may come now, or for the refusal.
    async fn expect<T>(
        &mut self,
        take: impl Fn(&Method<'_>) -> Option<T>,
    ) -> Result<Result<T, Refusal>, Lost> {
        self.flush().await?;
        loop {
            let Some(frame) = self.input.next()? else {
                if self.input.fill(&mut self.reader).await? == 0 {
                    return Err(Lost("was closed".into()));
                }
                continue;
            };
            if frame.kind == Kind::Heartbeat {
                continue;
            }
            let method = Method::read(&frame.payload).map_err(|malformed| malformed.fault())?;
            if let Method::ConnectionClose(close) = &method {
                self.output.method(0, methods::ConnectionCloseOk {});
                self.flush().await?;
                return Ok(Err(refusal(close.reply_code, close.reply_text)));
            }
            return match take(&method) {
                Some(taken) => Ok(Ok(taken)),
                None => Err(Lost(format!("brought {} at the wrong time", method.name()))),
            };
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            self.output.write(&mut self.writer).await?;
        }
        Ok(())
    }

    /// Carries orders and what comes of them until the connection is over.
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        tell: &mpsc::UnboundedSender<Output>,
    ) -> Result<(), Lost> {
        let silence = Duration::from_secs(u64::from(self.heartbeat));
        let beat = if silence.is_zero() { Duration::from_secs(3600) } else { silence / 2 };
        let (mut beats, mut heard) = (interval(beat), Instant::now());
        loop {
            while let Some(frame) = self.input.next()? {
                if !self.frame(frame, tell)? {
                    return Ok(self.flush().await?);
                }
            }
            tokio::select! {
                filled = self.input.fill(&mut self.reader) => {
                    if filled? == 0 {
                        return Err(Lost("was closed by it".into()));
                    }
                    heard = Instant::now();
                }
                written = self.output.write(&mut self.writer), if !self.output.is_empty() => {
                    written?;
                }
                order = orders.recv(), if self.output.waiting() < WAITING => match order {
                    Some(Order::Act(act)) => ask(&mut self.output, CHANNEL, act, self.frame_max),
                    Some(Order::Close) => self.part(),
                    // Nobody wants to know any more.
                    None => {
                        self.part();
                        return Ok(timeout(PATIENCE, self.flush()).await.unwrap_or(Ok(()))?);
                    }
                },
                _beat = beats.tick(), if !silence.is_zero() => {
                    if heard.elapsed() > 2 * silence {
                        return Err(Lost("is silent".into()));
                    }
                    self.output.heartbeat();
                }
            }
        }
    }

    fn part(&mut self) {
        let close = methods::ConnectionClose { reply_code: 200, ..Default::default() };
        self.output.method(0, close);
    }

    /// Takes a frame in. Returns whether the connection goes on.
    fn frame(&mut self, frame: Frame, tell: &mpsc::UnboundedSender<Output>) -> Result<bool, Lost> {
        let (kind, payload) = (frame.kind, frame.payload);
        match kind {
            Kind::Heartbeat => return Ok(true),
            Kind::Method => {
                let method = Method::read(&payload).map_err(|malformed| malformed.fault())?;
                return Ok(self.method(&method, tell));
            }
            Kind::Header | Kind::Body => {}
        }
        let unexpected = || Lost("brought a content that belongs to nothing".into());
        let (_, content) = self.coming.as_mut().ok_or_else(unexpected)?;
        match kind {
            Kind::Header => content.header(&payload, BOUNDS)?,
            _ => content.body(payload)?,
        }
        if content.is_whole()
            && let Some((coming, content)) = self.coming.take()
        {
            let _nobody_listens = tell.send(whole(coming, content.into_publish()));
        }
        Ok(true)
    }

    /// Takes a method in. Returns whether the connection goes on.
    fn method(&mut self, method: &Method<'_>, tell: &mpsc::UnboundedSender<Output>) -> bool {
        let mut goes_on = true;
        let output = match method {
            Method::ConnectionClose(close) => {
                self.output.method(0, methods::ConnectionCloseOk {});
                goes_on = false;
                Some(Output::CloseConnection(refusal(close.reply_code, close.reply_text)))
            }
            Method::ConnectionCloseOk(_) => {
                goes_on = false;
                Some(Output::Answer(ONLY, Answer::ConnectionClosed))
            }
            Method::ChannelClose(close) => {
                self.output.method(CHANNEL, methods::ChannelCloseOk {});
                Some(Output::CloseChannel(ONLY, refusal(close.reply_code, close.reply_text)))
            }
            Method::ChannelFlow(flow) => {
                self.output.method(CHANNEL, methods::ChannelFlowOk { active: flow.active });
                None
            }
            Method::BasicDeliver(deliver) => {
                let coming = Coming::Deliver {
                    tag: deliver.consumer_tag.into(),
                    delivery: DeliveryTag::new(deliver.delivery_tag),
                    redelivered: deliver.redelivered,
                };
                self.begin(coming, deliver.exchange, deliver.routing_key)
            }
            Method::BasicGetOk(got) => {
                let coming = Coming::Got {
                    delivery: DeliveryTag::new(got.delivery_tag),
                    redelivered: got.redelivered,
                    remaining: got.message_count,
                };
                self.begin(coming, got.exchange, got.routing_key)
            }
            Method::BasicReturn(back) => {
                self.begin(Coming::Return, back.exchange, back.routing_key)
            }
            method => told(method, ONLY),
        };
        if let Some(output) = output {
            let _nobody_listens = tell.send(output);
        }
        goes_on
    }

    /// A content begins: properties and body come in the next frames.
    fn begin(&mut self, coming: Coming, exchange: &str, routing_key: &str) -> Option<Output> {
        let (exchange, routing_key) = (exchange.into(), routing_key.into());
        let publish = Publish { exchange, routing_key, ..Publish::default() };
        self.coming = Some((coming, Content::new(publish)));
        None
    }
}

/// What is told of a message that has come whole.
fn whole(coming: Coming, publish: Publish) -> Output {
    let Publish { exchange, routing_key, properties, body, .. } = publish;
    let queued_at = Timestamp::now();
    let message = Arc::new(Message { exchange, routing_key, properties, body, queued_at });
    match coming {
        Coming::Deliver { tag, delivery, redelivered } => {
            Output::Deliver(ONLY, tag, Delivered { tag: delivery, redelivered, message })
        }
        Coming::Got { delivery, redelivered, remaining } => {
            let delivered = Delivered { tag: delivery, redelivered, message };
            Output::Answer(ONLY, Answer::Got { delivered, remaining })
        }
        Coming::Return => Output::Return(ONLY, message),
    }
}

/// What the engine says of why it closes something.
fn refusal(number: u16, text: &str) -> Refusal {
    let code = Code::numbered(number).unwrap_or(Code::InternalError);
    let detail = text.strip_prefix(code.name()).and_then(|rest| rest.strip_prefix(" - "));
    Refusal::new(code, detail.unwrap_or(text))
}

/// What we say of ourselves. The engine goes by the capabilities.
fn properties(name: &str) -> Table {
    let capabilities = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
    ];
    let capabilities = capabilities.into_iter().map(|name| (name.into(), Value::Bool(true)));
    let mut properties = Table::new();
    properties.push("capabilities", Value::Table(capabilities.collect()));
    properties.push("product", Value::text("Posthouse"));
    properties.push("version", Value::text(env!("CARGO_PKG_VERSION")));
    properties.push("connection_name", Value::text(&format!("posthouse {name}")));
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_engine_closes_something_is_told_once() {
        let missing = refusal(404, "NOT_FOUND - no queue 'a' in vhost '/'");
        assert_eq!(missing.to_string(), "NOT_FOUND - no queue 'a' in vhost '/'");
        assert_eq!(refusal(320, "bye").code, Code::ConnectionForced);
        assert_eq!(refusal(999, "new").code, Code::InternalError);
    }
}
