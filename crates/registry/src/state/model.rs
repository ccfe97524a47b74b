//! What the registry knows: nodes, the instances of services on them, and their checks.
//!
//! These are the pillar's own types. They carry no wire format: the interfaces convert by hand.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::time::Timestamp;
use posthouse_probe::Target;

/// A name that was given by a client: cheap to clone, kept as it was written.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as shared text.
            #[must_use]
            pub fn to_shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Names that are compared as they are written.
macro_rules! exact_names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        name!($(#[$doc])* $name);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.cmp(&other.0)
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

/// Names that are the same whatever the case of their (ASCII) letters, as Consul's catalog and DNS
/// have it.
macro_rules! caseless_names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        name!($(#[$doc])* $name);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                lower(&self.0).cmp(lower(&other.0))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                lower(&self.0).for_each(|byte| state.write_u8(byte));
                state.write_u8(0xff);
            }
        }
    )+};
}

exact_names!(
    /// The id of an instance, unique on its node.
    InstanceId,
    /// The id of a check, unique on its node.
    CheckId,
    /// A key, or what keys begin with.
    Key,
    /// The id of a session.
    SessionId,
);

caseless_names!(
    /// The name of a node: a machine that instances run on.
    NodeName,
    /// The name of a service: what callers ask for.
    ServiceName,
);

fn lower(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().map(|byte| byte.to_ascii_lowercase())
}

/// A point in the registry's history. Every command that changes anything takes the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(u64);

impl Index {
    /// An index; 0 becomes 1, because clients take 0 for "no index".
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(if value == 0 { 1 } else { value })
    }

    /// The index as a number, greater than 0.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new(0)
    }
}

/// How well something is. Ordered from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It may be sent work.
    Passing,
    /// It may be sent work, less of it.
    Warning,
    /// It must not be sent work.
    #[default]
    Critical,
}

impl Status {
    /// The word for it, as Consul spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "passing" => Some(Self::Passing),
            "warning" => Some(Self::Warning),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

/// A machine that instances run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its unique id (a UUID), or empty.
    pub id: String,
    /// The address of instances that name none of their own.
    pub address: String,
    /// Its other addresses (`lan`, `wan`, …).
    pub tagged_addresses: BTreeMap<String, String>,
    /// What clients say about it.
    pub meta: BTreeMap<String, String>,
}

/// How much work an instance wants, relative to the others of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// While it passes; at least 1.
    pub passing: u32,
    /// While it warns.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// An address with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// The host name or IP address.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// One running copy of a service, as it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id, unique on its node.
    pub id: InstanceId,
    /// The service that it is an instance of.
    pub service: ServiceName,
    /// Words to select it by.
    pub tags: Vec<String>,
    /// Its host name or IP address; empty for that of its node.
    pub address: String,
    /// Its port; 0 when it has none.
    pub port: u16,
    /// What its owner says about it.
    pub meta: BTreeMap<String, String>,
    /// How much work it wants.
    pub weights: Weights,
    /// Its other addresses (`lan_ipv4`, `wan`, …).
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Whether others may change its tags (kept and shown; nothing here acts on it).
    pub enable_tag_override: bool,
}

/// A check as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckDefinition {
    /// Its id, unique on its node.
    pub id: CheckId,
    /// Its name for people.
    pub name: String,
    /// A remark for people.
    pub notes: String,
    /// The instance that it is about; `None` for the whole node.
    pub instance: Option<InstanceId>,
    /// Where its status comes from.
    pub kind: CheckKind,
    /// How long it may be critical before its instance is deregistered; `None` for ever.
    pub deregister_after: Option<Duration>,
}

/// Where a check's status comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Whoever wrote it to the catalog; the word is the type that they gave.
    External(String),
    /// The registry itself: the node is part of it.
    Membership,
    /// An operator, who took the instance or node out of service.
    Maintenance,
    /// The instance, which must report within this time again and again.
    Ttl(Duration),
    /// The registry, which probes the instance.
    Probe(Box<Probe>),
}

/// What is probed, how often, and how many results it takes to believe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What is probed.
    pub target: Target,
    /// From the end of one probe to the start of the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many results in a row it takes.
    pub thresholds: Thresholds,
}

/// How many results in a row it takes to change a status; 0 and 1 both mean the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes before the check passes (or warns, when the probe's answer was a warning).
    pub success_before_passing: u32,
    /// Failures before the check warns.
    pub failures_before_warning: u32,
    /// Failures before the check is critical.
    pub failures_before_critical: u32,
}

/// A check and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was asked for.
    pub definition: CheckDefinition,
    /// How the thing is that it checks.
    pub status: Status,
    /// What the last result said.
    pub output: String,
    /// Since when it has been critical, while it is.
    pub critical_since: Option<Timestamp>,
    /// When its status becomes critical unless the instance reports, for TTL checks.
    pub expires: Option<Timestamp>,
    /// Which registration this is of: results of an earlier one's probes are not believed.
    pub run: Index,
}

/// Something stored, with the points in history at which it came and last changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<T> {
    /// The thing.
    pub value: T,
    /// When it came.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}
