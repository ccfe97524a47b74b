//! Sessions as they are written. When they run out is not: after a restart their whole time begins
//! anew.

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::state::session::{self, Image, Ttl};
use crate::state::{CheckId, Index, Stored};

type Text = Arc<str>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Created { session: Session, at: u64 },
    Ended { id: Text, cause: Ending, at: u64 },
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// With the index at which each came.
    sessions: Vec<(Session, u64)>,
    index: u64,
    /// The index of the last change to the sessions of each node that has any.
    nodes: Vec<(Text, u64)>,
}

/// Times in milliseconds.
#[derive(Serialize, Deserialize)]
pub(super) struct Session {
    id: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    name: String,
    node: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    node_checks: Vec<Text>,
    #[serde(default, skip_serializing_if = "is_default")]
    service_checks: Vec<Text>,
    lock_delay: u64,
    behavior: Behavior,
    /// The time, and how it was written.
    #[serde(default, skip_serializing_if = "is_default")]
    ttl: Option<(u64, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Behavior {
    Release,
    Delete,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    Destroyed,
    Expired,
    Unhealthy,
}

impl Event {
    /// `None` when the event is volatile: that a session was renewed.
    pub(super) fn of(event: &session::Event) -> Option<Self> {
        Some(match event {
            session::Event::Renewed { .. } => return None,
            session::Event::Created { session, at } => {
                Self::Created { session: session.into(), at: at.as_millis() }
            }
            session::Event::Ended { id, cause, at } => Self::Ended {
                id: id.to_shared(),
                cause: match cause {
                    session::Ending::Destroyed => Ending::Destroyed,
                    session::Ending::Expired => Ending::Expired,
                    session::Ending::Unhealthy => Ending::Unhealthy,
                },
                at: at.as_millis(),
            },
        })
    }

    pub(super) fn read(self) -> session::Event {
        match self {
            Self::Created { session, at } => {
                session::Event::Created { session: session.read(), at: Timestamp::from_millis(at) }
            }
            Self::Ended { id, cause, at } => session::Event::Ended {
                id: id.into(),
                cause: match cause {
                    Ending::Destroyed => session::Ending::Destroyed,
                    Ending::Expired => session::Ending::Expired,
                    Ending::Unhealthy => session::Ending::Unhealthy,
                },
                at: Timestamp::from_millis(at),
            },
        }
    }
}

impl From<&session::Session> for Session {
    fn from(session: &session::Session) -> Self {
        let texts = |ids: &[CheckId]| ids.iter().map(CheckId::to_shared).collect();
        Self {
            id: session.id.to_shared(),
            name: session.name.clone(),
            node: session.node.to_shared(),
            node_checks: texts(&session.node_checks),
            service_checks: texts(&session.service_checks),
            lock_delay: millis(session.lock_delay),
            behavior: match session.behavior {
                session::Behavior::Release => Behavior::Release,
                session::Behavior::Delete => Behavior::Delete,
            },
            ttl: session.ttl.as_ref().map(|ttl| (millis(ttl.time), ttl.written.clone())),
        }
    }
}

impl Session {
    fn read(self) -> session::Session {
        let ids = |texts: Vec<Text>| texts.into_iter().map(Into::into).collect();
        session::Session {
            id: self.id.into(),
            name: self.name,
            node: self.node.into(),
            node_checks: ids(self.node_checks),
            service_checks: ids(self.service_checks),
            lock_delay: Duration::from_millis(self.lock_delay),
            behavior: match self.behavior {
                Behavior::Release => session::Behavior::Release,
                Behavior::Delete => session::Behavior::Delete,
            },
            ttl: self.ttl.map(|(time, written)| Ttl { time: Duration::from_millis(time), written }),
        }
    }
}

impl From<&Image> for Checkpoint {
    fn from(image: &Image) -> Self {
        let sessions = image.sessions.iter();
        let nodes = image.nodes.iter();
        Self {
            sessions: sessions
                .map(|stored| ((&stored.value).into(), stored.created.get()))
                .collect(),
            index: image.index.get(),
            nodes: nodes.map(|(name, index)| (name.to_shared(), index.get())).collect(),
        }
    }
}

impl Checkpoint {
    pub(super) fn read(self) -> Image {
        let sessions = self.sessions.into_iter().map(|(session, created)| {
            let created = Index::new(created);
            Arc::new(Stored { value: session.read(), created, modified: created })
        });
        let nodes = self.nodes.into_iter();
        Image {
            sessions: sessions.collect(),
            index: Index::new(self.index),
            nodes: nodes.map(|(name, index)| (name.into(), Index::new(index))).collect(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
