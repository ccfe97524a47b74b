//! Runs the rules, on the journal's driver, and carries what they tell to the connections.

use std::net::IpAddr;
use std::sync::Arc;

use posthouse_base::task::Tasks;
use posthouse_journal::Journal;

use crate::config::Config;
use crate::error::Error;
use crate::ids::{ChannelNumber, ConnectionId, UserName, VhostName};
use crate::message::Table;
use crate::state::{Act, Ask, Output};

/// The broker, as other parts of the house hold it. Clones are the same broker.
#[derive(Clone, Debug)]
pub struct Handle {
    config: Arc<Config>,
}

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
}

/// What a connection is told, in order.
#[derive(Debug)]
pub struct Told {
    connection: ConnectionId,
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
        let _to_come = (journal, tasks);
        Ok(Self { config: Arc::new(config) })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who this is, by name and password, coming from `peer`; `None` when nobody is let in so. Takes
    /// as long for a name that nobody has.
    pub fn authenticate(&self, name: &str, password: &[u8], peer: IpAddr) -> Option<UserName> {
        let _to_come = (name, password, peer);
        None
    }

    /// Lets a client in.
    ///
    /// # Errors
    /// [`Error::Refused`] with what closes the connection: no such virtual host, not permitted.
    pub async fn enter(&self, entrance: Entrance) -> Result<(Asking, Told), Error> {
        let _to_come = entrance;
        Err(Error::Stopped)
    }

    /// Carries out an operator's wish.
    ///
    /// # Errors
    /// When it is refused, and when it is not known to be durable.
    pub async fn ask(&self, ask: Ask) -> Result<(), Error> {
        let _to_come = ask;
        Err(Error::Stopped)
    }

    /// Takes no more commands, carries out what was handed in, writes down the state and ends.
    pub async fn close(&self) {}
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
        let _to_come = (channel, act);
        Err(Error::Stopped)
    }

    /// Opens a channel, as [`Asking::act`].
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn open_channel(&mut self, channel: ChannelNumber) -> Result<(), Error> {
        let _to_come = channel;
        Err(Error::Stopped)
    }

    /// Closes a channel, as [`Asking::act`].
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn close_channel(&mut self, channel: ChannelNumber) -> Result<(), Error> {
        let _to_come = channel;
        Err(Error::Stopped)
    }

    /// Reports what was written to the socket: deliveries, those of `basic.get` among them, and their
    /// weight. To be called about as often as the socket is written to; it tells the rules when it
    /// matters to them.
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn written(&mut self, deliveries: u32, bytes: u64) -> Result<(), Error> {
        let _to_come = (deliveries, bytes);
        Err(Error::Stopped)
    }

    /// Closes the connection, as [`Asking::act`].
    ///
    /// # Errors
    /// When the broker is shutting down.
    pub async fn close(self) -> Result<(), Error> {
        Err(Error::Stopped)
    }
}

impl Told {
    /// The connection's number.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The next thing; `None` when the connection is over. May be dropped at any time.
    pub async fn next(&mut self) -> Option<Output> {
        None
    }

    /// The next thing, if it is there already: so that many are written at once.
    pub fn try_next(&mut self) -> Option<Output> {
        None
    }
}
