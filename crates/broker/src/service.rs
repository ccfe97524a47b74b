//! Runs the rules, on the journal's driver, and carries what they tell to the connections.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_journal::driver::{self, Clock, Driver, Pending, Settings};
use posthouse_journal::{Journal, StreamName};
use tokio::sync::{Notify, Semaphore, mpsc};
use uuid::Uuid;

use crate::alarm;
use crate::config::Config;
use crate::engine::{Engine, EngineView};
use crate::error::Error;
use crate::hands::Carrier;
use crate::ids::{ChannelId, ChannelNumber, ConnectionId, ExchangeName, UserName, VhostName};
use crate::inside;
use crate::message::Table;
use crate::metrics::Metrics;
use crate::password;
use crate::state::{Act, Ask, Command, Open, Output, Permissions, Refusal, State, User};

/// The broker's stream in the journal.
const STREAM: &str = "messages";
/// The most bytes that the entry of one command may need: what acknowledging a million scattered
/// messages takes.
const LARGEST: usize = 15 << 20;
/// The most bytes that one command may write with the messages that it puts into queues.
const LARGEST_COMMAND: usize = 24 << 20;

/// The broker, as other parts of the house hold it. Clones are the same broker.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// What the writing task and all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// What is in the place of the rules for clients, and for the house as a client.
    pub(crate) engine: Option<Arc<Engine>>,
    pub(crate) metrics: Metrics,
    pub(crate) driver: driver::Handle<State>,
    pub(crate) tasks: Tasks,
    mailboxes: Mutex<Mailboxes>,
    next_connection: AtomicU64,
    pub(crate) loads: Semaphore,
    /// Told when subscriptions have changed.
    pub(crate) subscriptions: Notify,
}

/// Where each connection is told what it is told. What is in them is bounded by the rules: deliveries
/// by the connection's window, answers by what was asked.
pub(crate) type Mailboxes = BTreeMap<ConnectionId, mpsc::UnboundedSender<Output>>;

/// A client that wants in, once it is known who it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Entrance {
    /// The virtual host.
    pub vhost: VhostName,
    /// Who it is, as [`Handle::authenticate`] said.
    pub user: UserName,
    /// From where to where, or the name that it gave itself: for people.
    pub name: Arc<str>,
    /// Whether it understands `connection.blocked`.
    pub understands_blocked: bool,
    /// Whether it understands `consumer_cancel_notify`.
    pub understands_cancel: bool,
    /// What it says of itself: for people.
    pub client: Table,
}

/// What a connection asks by. Dropping it closes the connection.
#[derive(Debug)]
pub struct Asking {
    connection: ConnectionId,
    shared: Arc<Shared>,
    /// Commands whose outcome is not known yet.
    pending: VecDeque<Pending<Result<(), Refusal>>>,
    /// Something was not done, since the journal could not write.
    was_refused: bool,
    /// Deliveries that were written and are not reported, and their bytes.
    written: (u32, u64),
    is_closed: bool,
}

/// What a connection is told, in order.
#[derive(Debug)]
pub struct Told {
    connection: ConnectionId,
    mailbox: mpsc::UnboundedReceiver<Output>,
}

impl Handle {
    /// Brings back what the journal tells, or begins anew, and starts the rules, without an
    /// interface. Without a journal everything is forgotten when it ends.
    ///
    /// # Errors
    /// When what the journal has cannot be brought back, and when it cannot write.
    pub async fn start(
        config: Config,
        journal: Option<Arc<dyn Journal>>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let engine = config.engine.as_ref().map(Engine::new).transpose()?.map(Arc::new);
        let limits = config.state_limits(journal.is_some(), LARGEST_COMMAND);
        let settings = Settings {
            queue: config.limits.queue,
            event_bytes: LARGEST,
            // Weights are a little less than what is written.
            command_bytes: LARGEST_COMMAND + (4 << 20),
            ..Settings::new(StreamName::internal(STREAM))
        };
        let clock: Clock = Arc::new(Timestamp::now);
        let blank = move || State::blank(limits);
        let driver = Driver::open(settings, journal.clone(), blank, clock).await?;
        let shared = Arc::new(Shared {
            metrics: Metrics::default(),
            driver: driver.handle().clone(),
            tasks: tasks.child(),
            mailboxes: Mutex::default(),
            next_connection: AtomicU64::new(1),
            loads: Semaphore::new(config.limits.loads),
            subscriptions: Notify::new(),
            config,
            engine,
        });
        driver.run(Carrier::new(Arc::clone(&shared), journal.clone()), tasks);
        let handle = Self { shared };
        handle.set_up().await?;
        if let Some(journal) = journal {
            tasks.spawn("broker alarm", alarm::watch(handle.clone(), journal));
        }
        if handle.shared.engine.is_some() {
            tasks.spawn("broker engine", inside::watch_engine(handle.clone()));
        }
        Ok(handle)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The engine, if there is one.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.shared.engine.as_deref()
    }

    /// How the engine is, if there is one.
    #[must_use]
    pub fn engine_view(&self) -> Option<EngineView> {
        self.engine().map(Engine::view)
    }

    /// Who this is, by name and password, coming from `peer`; `None` when nobody is let in so. Takes
    /// as long for a name that nobody has.
    #[must_use]
    pub fn authenticate(&self, name: &str, password: &[u8], peer: IpAddr) -> Option<UserName> {
        let user = self.user(name);
        let hash = user.as_ref().map_or(password::NOBODY, |user| &*user.password_hash);
        let is_right = password::is_right(hash, password);
        let user = user.filter(|user| !user.password_hash.is_empty())?;
        (is_right && may_come_from(&user, peer)).then_some(user.name)
    }

    /// Who this is, by a name in a certificate that was verified, coming from `peer`; `None` when
    /// nobody is let in so.
    #[must_use]
    pub fn recognise(&self, name: &str, peer: IpAddr) -> Option<UserName> {
        let user = self.user(name)?;
        may_come_from(&user, peer).then_some(user.name)
    }

    /// A user as it is durable, or is about to be.
    fn user(&self, name: &str) -> Option<User> {
        self.shared.driver.peek(|state| state.user(name).cloned())
    }

    /// Lets a client in.
    ///
    /// # Errors
    /// [`Error::Refused`] with what closes the connection: no such virtual host, not permitted.
    pub async fn enter(&self, entrance: Entrance) -> Result<(Asking, Told), Error> {
        self.open(entrance, false).await
    }

    /// Lets in a client, or a part of the house, which is asked for no permission.
    pub(crate) async fn open(
        &self,
        entrance: Entrance,
        is_house: bool,
    ) -> Result<(Asking, Told), Error> {
        let shared = &self.shared;
        let connection = ConnectionId::new(shared.next_connection.fetch_add(1, Ordering::Relaxed));
        let (sender, mailbox) = mpsc::unbounded_channel();
        shared.mailboxes().insert(connection, sender);
        let Entrance { vhost, user, name, understands_blocked, understands_cancel, client } =
            entrance;
        let open = Open {
            connection,
            vhost,
            user,
            name,
            understands_blocked,
            understands_cancel,
            secret: Uuid::new_v4().as_u64_pair().0,
            client,
            is_house,
        };
        let opened = shared.driver.command(Command::Open(open)).await;
        let asking = Asking {
            connection,
            shared: Arc::clone(shared),
            pending: VecDeque::new(),
            was_refused: false,
            written: (0, 0),
            is_closed: false,
        };
        let opened = opened.map_err(Error::from).and_then(|opened| Ok(opened?));
        if let Err(error) = opened {
            shared.mailboxes().remove(&connection);
            // It may be open all the same: dropping what asks closes it.
            return Err(error);
        }
        Ok((asking, Told { connection, mailbox }))
    }

    /// Carries out an operator's wish.
    ///
    /// # Errors
    /// When it is refused, and when it is not known to be durable.
    pub async fn ask(&self, ask: Ask) -> Result<(), Error> {
        Ok(self.shared.driver.command(Command::Ask(ask)).await??)
    }

    /// What `gather` finds in the state, once that is durable; it may be asked again until then. It
    /// holds up all writing meanwhile: copy what is there, and show it afterwards.
    ///
    /// # Errors
    /// When what was found cannot be made durable now, and when the broker is shutting down.
    pub async fn look<T>(&self, gather: impl Fn(&State) -> T) -> Result<T, Error> {
        Ok(self.shared.driver.read(|state| (gather(state), state.mark())).await?)
    }

    /// Whether a user may publish to an exchange: one of the engine's, of which we do not know what is
    /// there, or one that is here.
    ///
    /// # Errors
    /// When not, and when that is not known now.
    pub(crate) async fn may_publish(
        &self,
        user: &UserName,
        vhost: &VhostName,
        exchange: &ExchangeName,
    ) -> Result<(), Error> {
        let of_engine = self.engine().is_some();
        let may = self.look(|state| match of_engine {
            true => state.may_write_to(user, vhost, exchange),
            false => state.may_publish_to(user, vhost, exchange),
        });
        Ok(may.await??)
    }

    /// Takes no more commands, carries out what was handed in, writes down the state and ends.
    pub async fn close(&self) {
        self.shared.driver.close().await;
    }

    /// Enters the broker's metrics.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        Metrics::register(&self.shared, registry);
        if let Some(engine) = self.engine() {
            engine.register(registry);
        }
    }

    /// Makes the virtual host and the users that the configuration names. Where it names none there is
    /// `guest`, who may only come from this machine; where it names others, that one goes.
    async fn set_up(&self) -> Result<(), Error> {
        let Config { vhost, users, .. } = &self.shared.config;
        let vhost = VhostName::from(&**vhost);
        self.ask(Ask::PutVhost(vhost.clone())).await?;
        let guest = self.user("guest").filter(|guest| guest.loopback_only);
        if users.is_empty() {
            let user = guest.unwrap_or_else(|| User {
                name: "guest".into(),
                password_hash: password::hash(b"guest").into(),
                tags: vec!["administrator".into()],
                loopback_only: true,
            });
            return self.put(user, vhost, Permissions::all()).await;
        }
        for raw in users {
            let known = self.user(&raw.name).map(|known| known.password_hash);
            let known = known.filter(|hash| password::is_right(hash, raw.password.as_bytes()));
            let user = User {
                name: UserName::from(&*raw.name),
                password_hash: known
                    .unwrap_or_else(|| password::hash(raw.password.as_bytes()).into()),
                tags: raw.tags.iter().map(|tag| Arc::from(&**tag)).collect(),
                loopback_only: false,
            };
            let permissions = Permissions {
                configure: Arc::from(&*raw.configure),
                write: Arc::from(&*raw.write),
                read: Arc::from(&*raw.read),
            };
            self.put(user, vhost.clone(), permissions).await?;
        }
        if guest.is_some() && users.iter().all(|user| user.name != "guest") {
            self.ask(Ask::DeleteUser("guest".into())).await?;
        }
        Ok(())
    }

    async fn put(
        &self,
        user: User,
        vhost: VhostName,
        permissions: Permissions,
    ) -> Result<(), Error> {
        let name = user.name.clone();
        if self.user(name.as_str()).as_ref() != Some(&user) {
            self.ask(Ask::PutUser(user)).await?;
        }
        let known = self.shared.driver.peek(|state| state.permissions(&name, &vhost).cloned());
        if known.as_ref() == Some(&permissions) {
            return Ok(());
        }
        self.ask(Ask::Permit { user: name, vhost, permissions: Some(permissions) }).await
    }
}

impl Shared {
    pub(crate) fn mailboxes(&self) -> MutexGuard<'_, Mailboxes> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl Asking {
    /// The connection's number.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Asks something on a channel; waits only while too much waits to be carried out. What comes of it
    /// is told ([`Told`]).
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn act(&mut self, channel: ChannelNumber, act: Act) -> Result<(), Error> {
        self.hand_in(Command::Channel(self.on(channel), act)).await
    }

    /// Opens a channel, as [`Asking::act`].
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn open_channel(&mut self, channel: ChannelNumber) -> Result<(), Error> {
        self.hand_in(Command::OpenChannel(self.on(channel))).await
    }

    /// Closes a channel, as [`Asking::act`].
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn close_channel(&mut self, channel: ChannelNumber) -> Result<(), Error> {
        let command = match self.was_all_done().await {
            true => Command::CloseChannel(self.on(channel)),
            false => self.give_up(),
        };
        self.hand_in(command).await
    }

    /// Reports what was written to the socket: deliveries, those of `basic.get` among them, and their
    /// weight. To be called about as often as the socket is written to; it tells the rules when it
    /// matters to them.
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn written(&mut self, deliveries: u32, bytes: u64) -> Result<(), Error> {
        let (count, all) = &mut self.written;
        *count = count.saturating_add(deliveries);
        *all = all.saturating_add(bytes);
        let limits = &self.shared.config.limits;
        let matters = usize::try_from(*count).unwrap_or(usize::MAX) > limits.outgoing / 4
            || *all > limits.outgoing_bytes.0 / 4;
        if !matters {
            return Ok(());
        }
        let (deliveries, bytes) = std::mem::take(&mut self.written);
        let command = Command::Written { connection: self.connection, deliveries, bytes };
        Ok(self.shared.driver.tell(command).await?)
    }

    /// Closes the connection, as [`Asking::act`].
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn close(mut self) -> Result<(), Error> {
        let command = match self.was_all_done().await {
            true => Command::Close(self.connection),
            false => self.give_up(),
        };
        self.is_closed = true;
        Ok(self.shared.driver.tell(command).await?)
    }

    /// Whether everything that was asked was done and is durable. To say that a channel or the
    /// connection is closed is to say so of its acknowledgements, which have no answer of their own.
    async fn was_all_done(&mut self) -> bool {
        while let Some(first) = self.pending.pop_front() {
            let outcome = first.await;
            self.was_refused |= outcome.is_err();
        }
        !self.was_refused
    }

    fn give_up(&self) -> Command {
        let reason = "what was asked before could not be written".into();
        Command::Ask(Ask::Disconnect { connection: self.connection, reason })
    }

    const fn on(&self, number: ChannelNumber) -> ChannelId {
        ChannelId { connection: self.connection, number }
    }

    async fn hand_in(&mut self, command: Command) -> Result<(), Error> {
        let pending = self.shared.driver.hand_in(command).await?;
        self.pending.push_back(pending);
        while let Some(first) = self.pending.front_mut()
            && let Some(outcome) = first.now_or_never()
        {
            self.pending.pop_front();
            match outcome {
                Ok(_) | Err(driver::Error::Closed) => {}
                // While the journal cannot write, nothing is done that must be kept; once it can, the
                // rules close the connection, so that the client begins anew.
                Err(driver::Error::Journal(_)) => self.was_refused = true,
                Err(error @ driver::Error::TooLarge { .. }) => {
                    let (connection, reason) = (self.connection, error.to_string().into());
                    let command = Command::Ask(Ask::Disconnect { connection, reason });
                    self.shared.driver.tell(command).await?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        let (shared, connection) = (Arc::clone(&self.shared), self.connection);
        let tasks = self.shared.tasks.clone();
        tasks.spawn("broker closing a connection", async move {
            let _over_anyway = shared.driver.tell(Command::Close(connection)).await;
        });
    }
}

impl Told {
    /// What a connection to an engine is told.
    pub(crate) const fn of_engine(mailbox: mpsc::UnboundedReceiver<Output>) -> Self {
        Self { connection: ConnectionId::new(0), mailbox }
    }

    /// The connection's number; 0 for one to an engine.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The next thing; `None` when the connection is over. May be dropped at any time.
    pub async fn next(&mut self) -> Option<Output> {
        self.mailbox.recv().await
    }

    /// Whether nothing more will be told.
    pub(crate) fn is_over(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// The next thing, if it is there already: so that many are written at once.
    pub fn try_next(&mut self) -> Option<Output> {
        self.mailbox.try_recv().ok()
    }
}

fn may_come_from(user: &User, peer: IpAddr) -> bool {
    !user.loopback_only || peer.to_canonical().is_loopback()
}
