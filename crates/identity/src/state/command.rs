//! What is asked, what happens, and what must be done because of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;

use super::model::{Actor, ApiKey, Consumer, KeyNumber, Name, NewKey, Revision, Spec, Stamp};

/// Something asked of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Somebody wants a change.
    Do(By),
    /// Time has passed.
    Tick,
}

/// Who wants which change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// What.
    pub ask: Ask,
}

/// A change that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A new consumer.
    Create {
        /// Its name.
        name: Name,
        /// What is said of it.
        spec: Arc<Spec>,
    },
    /// Something else to be said of one.
    Update {
        /// Its name.
        name: Name,
        /// What is said of it from now on.
        spec: Arc<Spec>,
        /// Refused unless this is its revision.
        expected: Option<Revision>,
    },
    /// A consumer to be gone, with its keys.
    Delete {
        /// Its name.
        name: Name,
        /// Refused unless this is its revision.
        expected: Option<Revision>,
    },
    /// One more key.
    Issue {
        /// Whose.
        name: Name,
        /// The key.
        key: NewKey,
    },
    /// A key in place of another, which goes on for a while.
    Rotate {
        /// Whose.
        name: Name,
        /// The old key.
        old: KeyNumber,
        /// How long the old one still counts.
        overlap: Duration,
        /// The new one.
        key: NewKey,
    },
    /// A key to count no more.
    Revoke {
        /// Whose.
        name: Name,
        /// Which.
        key: KeyNumber,
    },
    /// These consumers to be so, new or not, and those gone: all of it or nothing.
    Replace {
        /// What is said of each from now on. Keys stay.
        specs: BTreeMap<Name, Arc<Spec>>,
        /// Those that go, with their keys, if they are there.
        gone: Vec<Name>,
    },
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who did it, and when.
    pub stamp: Stamp,
    /// What.
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// A consumer came.
    Created {
        /// Its name.
        name: Name,
        /// What is said of it.
        spec: Arc<Spec>,
    },
    /// Something else is said of a consumer.
    Updated {
        /// Its name.
        name: Name,
        /// What is said of it.
        spec: Arc<Spec>,
    },
    /// A consumer went.
    Deleted {
        /// Its name.
        name: Name,
    },
    /// A key was issued.
    KeyIssued {
        /// Whose.
        name: Name,
        /// The key.
        key: ApiKey,
    },
    /// A key has another in its place.
    KeyReplaced {
        /// Whose.
        name: Name,
        /// Which.
        key: KeyNumber,
        /// From when on it is refused.
        expires: Timestamp,
        /// The other.
        by: KeyNumber,
    },
    /// A key counts no more.
    KeyRevoked {
        /// Whose.
        name: Name,
        /// Which.
        key: KeyNumber,
    },
    /// A key that had expired is no longer shown.
    KeyForgotten {
        /// Whose.
        name: Name,
        /// Which.
        key: KeyNumber,
    },
}

impl Happened {
    /// To which consumer.
    #[must_use]
    pub const fn name(&self) -> &Name {
        match self {
            Self::Created { name, .. }
            | Self::Updated { name, .. }
            | Self::Deleted { name }
            | Self::KeyIssued { name, .. }
            | Self::KeyReplaced { name, .. }
            | Self::KeyRevoked { name, .. }
            | Self::KeyForgotten { name, .. } => name,
        }
    }
}

/// A change, as it is shown later.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its revision.
    pub revision: Revision,
    /// Who made it, and when.
    pub stamp: Stamp,
    /// What happened, in order.
    pub what: Vec<Happened>,
}

/// Something that must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Whoever looks consumers up must find this one as it is now, or no longer.
    Show {
        /// Its name.
        name: Name,
        /// As it is now.
        consumer: Option<Arc<Consumer>>,
    },
}

/// What whoever asked is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It is done, or was so already.
    Done,
    /// A key was issued under this number.
    Issued(KeyNumber),
}

/// Why a change is not made. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such consumer.
    #[error("there is no consumer `{0}`")]
    NoConsumer(Name),
    /// There is such a consumer.
    #[error("there is a consumer `{0}` already")]
    Exists(Name),
    /// It has no such key.
    #[error("the consumer `{0}` has no key {1}")]
    NoKey(Name, KeyNumber),
    /// The key has expired, or another is taking its place.
    #[error("the key {1} of the consumer `{0}` has expired or been replaced already")]
    KeyEnds(Name, KeyNumber),
    /// It was changed meanwhile.
    #[error("the consumer `{name}` has been changed: its revision is {}", actual.get())]
    Changed {
        /// Its name.
        name: Name,
        /// The revision that it has.
        actual: Revision,
    },
    /// Something that may be one consumer's only is another's.
    #[error("{what} is `{owner}`'s already")]
    Taken {
        /// What, for people.
        what: String,
        /// Whose it is.
        owner: Name,
    },
    /// The key would be refused from the start.
    #[error("the key would have expired already")]
    ExpiresInPast,
    /// What is said cannot be so.
    #[error("`{field}`: {message}")]
    Invalid {
        /// Where.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A limit is reached.
    #[error("the limit of {limit} {what} is reached")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
