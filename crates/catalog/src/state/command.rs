//! What may be asked of the catalog, and what comes of it.

use std::sync::Arc;

use posthouse_base::time::Timestamp;

use super::model::{Ending, Key, Lifecycle, Name, Origin, Revision, Spec, Specs};

/// Something asked of the catalog. All its changes happen, or none.
#[derive(Clone, Debug)]
pub enum Command {
    /// Changes that somebody wants.
    Apply(Apply),
    /// What the file declares: all of it, and nothing that is not in it.
    Declare {
        /// The file's entries.
        specs: Specs,
    },
    /// Time has passed.
    Tick,
}

/// Changes that belong together.
#[derive(Clone, Debug)]
pub struct Apply {
    /// Who wants them.
    pub who: Arc<str>,
    /// Why, in their words.
    pub note: Arc<str>,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The mark of the catalog that they were decided on; refused when it has changed since.
    pub expected: Option<Mark>,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Writes an entry down, new or anew.
    Put {
        /// Which.
        key: Key,
        /// What it is to be.
        spec: Arc<Spec>,
        /// The revision that is changed; refused when it is not the last. `Some(None)`: it is new.
        expected: Option<Option<Revision>>,
    },
    /// Takes a version to another part of its life.
    Move {
        /// The API.
        api: Name,
        /// Its version.
        version: Name,
        /// Where to.
        to: Lifecycle,
    },
    /// Makes an entry what it was.
    RollBack {
        /// Which.
        key: Key,
        /// When.
        to: Revision,
    },
    /// Removes an entry; an API must have no versions.
    Remove {
        /// Which.
        key: Key,
    },
}

impl Change {
    /// What it changes.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Put { key, .. } | Self::RollBack { key, .. } | Self::Remove { key } => {
                key.clone()
            }
            Self::Move { api, version, .. } => Key::Version(api.clone(), version.clone()),
        }
    }
}

/// How far the catalog has come; grows with every command that changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u64);

impl Mark {
    /// The mark of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Something that happened to an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// To which.
    pub key: Key,
    /// The revision that it made.
    pub revision: Revision,
    /// Who wanted it.
    pub who: Arc<str>,
    /// Why.
    pub note: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// Who decides over the entry since.
    pub origin: Origin,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It was written down.
    Put {
        /// What it is since.
        spec: Arc<Spec>,
        /// Its description is the one that it had.
        keeps_contract: bool,
    },
    /// The version went to this part of its life.
    Moved(Lifecycle),
    /// It was made what it had been in this revision.
    RolledBack(Revision),
    /// It was removed.
    Removed,
}

/// Something must be looked at anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The entry changed.
    Changed(Key),
}

/// What whoever asked is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The catalog's mark since.
    pub mark: Mark,
    /// What was changed, with the revision that it has since.
    pub changed: Vec<(Key, Revision)>,
}

/// Why a command is refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is the file's.
    #[error("the {0} is declared in the file: change it there")]
    Declared(Key),
    /// There is no such thing.
    #[error("there is no {0}")]
    Unknown(Key),
    /// The entry has no such revision, or it is too old to be kept.
    #[error("the {0} has no revision {1}")]
    UnknownRevision(Key, Revision),
    /// The revision is a removal: remove the entry instead.
    #[error("the {0} was removed in revision {1}: there is nothing to go back to")]
    WasRemoved(Key, Revision),
    /// Somebody else was quicker.
    #[error("the {key} has changed meanwhile: it is at revision {is}")]
    Changed {
        /// What has changed.
        key: Key,
        /// The revision that it has now, 0 when it is not there.
        is: u64,
    },
    /// Something has changed since it was looked at.
    #[error("the catalog has changed meanwhile: look again")]
    Behind,
    /// A version does not go from one part of its life to another like this.
    #[error("the {key} is {from} and cannot become {to}: {help}")]
    Step {
        /// The version.
        key: Key,
        /// Where it is.
        from: &'static str,
        /// Where it should go.
        to: &'static str,
        /// What to do instead.
        help: &'static str,
    },
    /// The version takes calls.
    #[error("the {0} takes calls: deprecate and retire it first")]
    InUse(Key),
    /// The API has versions.
    #[error("the {0} has versions: remove them first")]
    HasVersions(Key),
    /// What it would be does not go together.
    #[error("the {key}: {message}")]
    Unsound {
        /// What is wrong.
        key: Key,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// There is room for no more.
    #[error("there are {limit} {what} already, which is the limit")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

impl Ending {
    /// Deprecated at this time, and no more said.
    #[must_use]
    pub const fn at(deprecated: Timestamp) -> Self {
        Self { deprecated, sunset: None, successor: None, documentation: None }
    }
}
