//! Publishing for those who have no connection of their own: sessions that rest between two messages,
//! each of one user in one virtual host. A session publishes one message at a time, so that what is
//! refused to one hurts nobody else; many of them share one commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::ids::{UserName, VhostName};
use crate::inside::{Published, Session};
use crate::service::Handle;
use crate::state::Publish;

/// Sessions that rest, of one user in one virtual host.
const RESTING: usize = 64;
/// Users in virtual hosts that have any.
const KEYS: usize = 256;

/// Who publishes, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sender {
    /// The virtual host.
    pub(crate) vhost: VhostName,
    /// The user, whose permissions count; or else the house.
    pub(crate) user: Option<UserName>,
}

/// Sessions that rest.
#[derive(Clone, Debug)]
pub(crate) struct Posts {
    handle: Handle,
    resting: Arc<Mutex<BTreeMap<Sender, Vec<Session>>>>,
}

impl Posts {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, resting: Arc::default() }
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// As [`Session::publish`], and when the sender is not let in.
    pub(crate) async fn publish(
        &self,
        sender: &Sender,
        publish: Publish,
    ) -> Result<Published, Error> {
        let house;
        let sender = match &sender.user {
            // It is the house that an engine knows: whether the user may is for us to say.
            Some(user) if self.handle.engine().is_some() => {
                self.handle.may_publish(user, &sender.vhost, &publish.exchange).await?;
                house = Sender { vhost: sender.vhost.clone(), user: None };
                &house
            }
            _ => sender,
        };
        let mut session = match self.rested(sender) {
            Some(session) => session,
            None => self.open(sender).await?,
        };
        let published = session.publish(publish).await;
        if matches!(published, Ok(_) | Err(Error::Blocked(_))) {
            self.rest(sender, session);
        }
        published
    }

    async fn open(&self, sender: &Sender) -> Result<Session, Error> {
        const NAME: &str = "HTTP door";
        match &sender.user {
            Some(user) => self.handle.inside_as(user, sender.vhost.as_str(), NAME).await,
            None => self.handle.inside(sender.vhost.as_str(), NAME).await,
        }
    }

    /// A session that is still open.
    fn rested(&self, sender: &Sender) -> Option<Session> {
        loop {
            let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
            let mut session = resting.get_mut(sender)?.pop()?;
            drop(resting);
            if session.is_open() {
                return Some(session);
            }
        }
    }

    fn rest(&self, sender: &Sender, session: Session) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() >= KEYS && !resting.contains_key(sender) {
            resting.clear();
        }
        let sessions = resting.entry(sender.clone()).or_default();
        if sessions.len() < RESTING {
            sessions.push(session);
        }
    }
}
