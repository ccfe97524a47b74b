//! What the catalog knows: APIs, their versions, plans; and who made them so.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use posthouse_base::time::Timestamp;
use serde_json::{Map, Value};

use crate::contract::Contract;

/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 64;

/// The name of an API, of a version or of a plan: letters, digits and `-`, `_`, `.`, which it does
/// not begin with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = text.len() <= LONGEST_NAME
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(plain);
        if is_name { Ok(Self(text.into())) } else { Err(BadName(text.into())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name: it has 1 to {LONGEST_NAME} letters, digits, `-`, `_` or `.`, and begins with a letter or digit"
)]
pub struct BadName(pub String);

/// What has a history of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An API, without its versions.
    Api(Name),
    /// A version of an API: `users@v2`.
    Version(Name, Name),
    /// A plan.
    Plan(Name),
}

impl Key {
    /// An API's key.
    ///
    /// # Errors
    /// When it is no name.
    pub fn api(name: &str) -> Result<Self, BadName> {
        Ok(Self::Api(name.parse()?))
    }

    /// A version's key.
    ///
    /// # Errors
    /// When one of them is no name.
    pub fn version(api: &str, version: &str) -> Result<Self, BadName> {
        Ok(Self::Version(api.parse()?, version.parse()?))
    }

    /// A plan's key.
    ///
    /// # Errors
    /// When it is no name.
    pub fn plan(name: &str) -> Result<Self, BadName> {
        Ok(Self::Plan(name.parse()?))
    }

    /// Where an API's versions begin, in the order of keys.
    pub(super) fn first_version(api: &Name) -> Self {
        Self::Version(api.clone(), Name("".into()))
    }

    /// The API that it is, or is a version of.
    #[must_use]
    pub const fn api_name(&self) -> Option<&Name> {
        match self {
            Self::Api(api) | Self::Version(api, _) => Some(api),
            Self::Plan(_) => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(api) => write!(f, "API `{api}`"),
            Self::Version(api, version) => write!(f, "version `{api}@{version}`"),
            Self::Plan(plan) => write!(f, "plan `{plan}`"),
        }
    }
}

/// What an API, a version or a plan is said to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// An API.
    Api(Api),
    /// A version.
    Version(Box<Version>),
    /// A plan.
    Plan(Plan),
}

/// What all versions of an API have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    /// What people call it.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Who is asked about it: a team, an address.
    pub owner: String,
    /// Calls to this host only.
    pub host: Option<String>,
    /// What the paths of its versions begin with, where they say nothing else.
    pub path: Option<String>,
    /// The version of calls that name none, where versions are told by header or media type.
    pub default: Option<Name>,
    /// What every version asks of who calls, in the form of a route's `guard`.
    pub guard: Map<String, Value>,
    /// Limits of every version, in the form of a route's `limits`.
    pub limits: Vec<Value>,
}

/// A version of an API.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Version {
    /// Where in its life it is.
    pub lifecycle: Lifecycle,
    /// What is new or special about it.
    pub description: String,
    /// Who is asked about it, when it is not the API's owner.
    pub owner: Option<String>,
    /// Which calls mean it.
    pub select: Select,
    /// The service that answers its calls, where a route says nothing else.
    pub service: Option<String>,
    /// Takes the path of the API or version off before a call is forwarded.
    pub strip: bool,
    /// Its routes, in the form of the file's `routes`, with paths below its own.
    pub routes: Vec<Map<String, Value>>,
    /// What every route has that does not say otherwise, in the form of the file's `routes`.
    pub defaults: Map<String, Value>,
    /// Its description, from which come more routes.
    pub contract: Option<Contract>,
    /// Compares requests with the description.
    pub validate: bool,
    /// What it asks of who calls, beside and instead of what the API says.
    pub guard: Map<String, Value>,
    /// Its limits, beside those of the API.
    pub limits: Vec<Value>,
}

/// Consumers of a plan have its limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What people call it.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// In the form of a route's `limits`.
    pub limits: Vec<Value>,
}

/// Which calls mean a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// All calls for the API.
    #[default]
    All,
    /// Those whose path begins with this.
    Path(String),
    /// Those with this value of a header.
    Header {
        /// The header.
        name: String,
        /// Its value.
        value: String,
    },
    /// Those that accept this media type.
    MediaType(String),
    /// Those to this host.
    Host(String),
}

/// Where in its life a version is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lifecycle {
    /// It is being written, and takes no calls.
    #[default]
    Draft,
    /// It is there to be used.
    Published,
    /// It works, and should not be used for anything new.
    Deprecated(Ending),
    /// Its calls are told that it is gone.
    Retired(Ending),
}

/// How and why a version comes to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Since when it is deprecated; may lie ahead.
    pub deprecated: Timestamp,
    /// When it is expected to stop.
    pub sunset: Option<Timestamp>,
    /// The version of the same API to use instead.
    pub successor: Option<Name>,
    /// Where people read about it.
    pub documentation: Option<String>,
}

impl Lifecycle {
    /// Its word in files and answers.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
            Self::Deprecated(_) => "deprecated",
            Self::Retired(_) => "retired",
        }
    }

    /// How it ends, if it does.
    #[must_use]
    pub const fn ending(&self) -> Option<&Ending> {
        match self {
            Self::Draft | Self::Published => None,
            Self::Deprecated(ending) | Self::Retired(ending) => Some(ending),
        }
    }

    /// Whether calls reach a service.
    #[must_use]
    pub const fn takes_calls(&self) -> bool {
        matches!(self, Self::Published | Self::Deprecated(_))
    }

    /// Whether this may follow `before`, step by step.
    #[must_use]
    pub const fn may_follow(&self, before: &Self) -> bool {
        matches!(
            (before, self),
            (Self::Draft, Self::Draft | Self::Published)
                | (Self::Published, Self::Published | Self::Deprecated(_))
                | (Self::Deprecated(_), Self::Published | Self::Deprecated(_) | Self::Retired(_))
                | (Self::Retired(_), Self::Retired(_))
        )
    }
}

/// Who decides over an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file: it is changed there and nowhere else.
    File,
    /// Whoever may ask for it.
    Asked,
}

/// The number of a revision of an entry, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// The revision of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change of an entry: who made it what, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Its number.
    pub revision: Revision,
    /// Who.
    pub who: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// Why, in the words of who did it.
    pub note: Arc<str>,
    /// What was done.
    pub cause: Cause,
    /// Who decides over the entry since.
    pub origin: Origin,
    /// What it is since; nothing when it was removed.
    pub spec: Option<Arc<Spec>>,
}

/// What was done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was written down, new or anew.
    Put,
    /// It went to another part of its life.
    Moved,
    /// It was made what it had been in this revision.
    RolledBack(Revision),
    /// It was removed.
    Removed,
}

/// What entries there are and what they are, by key: a whole catalog, or the file's part.
pub type Specs = BTreeMap<Key, Arc<Spec>>;

impl Spec {
    /// The version, if it is one.
    #[must_use]
    pub fn as_version(&self) -> Option<&Version> {
        match self {
            Self::Version(version) => Some(version),
            Self::Api(_) | Self::Plan(_) => None,
        }
    }

    /// Whether it is what such a key stands for.
    #[must_use]
    pub const fn suits(&self, key: &Key) -> bool {
        matches!(
            (self, key),
            (Self::Api(_), Key::Api(_))
                | (Self::Version(_), Key::Version(..))
                | (Self::Plan(_), Key::Plan(_))
        )
    }
}
