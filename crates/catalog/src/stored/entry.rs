//! An entry and its parts as they are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthouse_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Unreadable;
use crate::contract::{self, Contract};
use crate::state::{self, BadName, Cause, Origin, Revision};

/// `["users"]` an API, `["users", "v2"]` a version, `["", "gold"]` a plan.
#[derive(Serialize, Deserialize)]
pub(super) struct Key(Vec<String>);

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindOf {
    OpenApi,
    Proto,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Spec {
    Api(Api),
    Version(Box<Version>),
    Plan(Plan),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Api {
    #[serde(default, skip_serializing_if = "is_default")]
    title: String,
    #[serde(default, skip_serializing_if = "is_default")]
    description: String,
    #[serde(default, skip_serializing_if = "is_default")]
    owner: String,
    #[serde(default, skip_serializing_if = "is_default")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    default: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    guard: Map<String, Value>,
    #[serde(default, skip_serializing_if = "is_default")]
    limits: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Version {
    lifecycle: Lifecycle,
    #[serde(default, skip_serializing_if = "is_default")]
    description: String,
    #[serde(default, skip_serializing_if = "is_default")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    select: Select,
    #[serde(default, skip_serializing_if = "is_default")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    strip: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    routes: Vec<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "is_default")]
    defaults: Map<String, Value>,
    /// The digest of its description, whose text stands elsewhere in the record.
    #[serde(default, skip_serializing_if = "is_default")]
    contract: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    validate: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    guard: Map<String, Value>,
    #[serde(default, skip_serializing_if = "is_default")]
    limits: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    #[serde(default, skip_serializing_if = "is_default")]
    title: String,
    #[serde(default, skip_serializing_if = "is_default")]
    description: String,
    #[serde(default, skip_serializing_if = "is_default")]
    limits: Vec<Value>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Select {
    #[default]
    All,
    Path(String),
    Header(String, String),
    MediaType(String),
    Host(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lifecycle {
    Draft,
    Published,
    Deprecated(Ending),
    Retired(Ending),
}

/// Times in milliseconds.
#[derive(Serialize, Deserialize)]
pub(super) struct Ending {
    deprecated: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    sunset: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    successor: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    documentation: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Changed {
    revision: u64,
    who: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    note: Arc<str>,
    at: u64,
    cause: CauseOf,
    #[serde(default, skip_serializing_if = "is_default")]
    file: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<Spec>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CauseOf {
    Put,
    Moved,
    RolledBack(u64),
    Removed,
}

type Contracts = BTreeMap<String, Contract>;

/// Says where the text of a description is kept, if it is kept with this.
type Keep<'a> = &'a mut dyn FnMut(&Contract) -> Option<String>;

impl From<&state::Key> for Key {
    fn from(key: &state::Key) -> Self {
        Self(match key {
            state::Key::Api(api) => vec![api.to_string()],
            state::Key::Version(api, version) => vec![api.to_string(), version.to_string()],
            state::Key::Plan(plan) => vec![String::new(), plan.to_string()],
        })
    }
}

impl Key {
    pub(super) fn read(self) -> Result<state::Key, Unreadable> {
        let key = match self.0.as_slice() {
            [api] => state::Key::api(api),
            [empty, plan] if empty.is_empty() => state::Key::plan(plan),
            [api, version] => state::Key::version(api, version),
            parts => return Err(Unreadable(format!("{} names are no key", parts.len()))),
        };
        Ok(key?)
    }
}

impl From<BadName> for Unreadable {
    fn from(error: BadName) -> Self {
        Self(error.to_string())
    }
}

impl From<contract::Kind> for KindOf {
    fn from(kind: contract::Kind) -> Self {
        match kind {
            contract::Kind::OpenApi => Self::OpenApi,
            contract::Kind::Proto => Self::Proto,
        }
    }
}

impl KindOf {
    pub(super) const fn read(self) -> contract::Kind {
        match self {
            Self::OpenApi => contract::Kind::OpenApi,
            Self::Proto => contract::Kind::Proto,
        }
    }
}

impl Spec {
    pub(super) fn of(spec: &state::Spec, keep: Keep<'_>) -> Self {
        match spec {
            state::Spec::Api(api) => Self::Api(Api {
                title: api.title.clone(),
                description: api.description.clone(),
                owner: api.owner.clone(),
                host: api.host.clone(),
                path: api.path.clone(),
                default: api.default.as_ref().map(ToString::to_string),
                guard: api.guard.clone(),
                limits: api.limits.clone(),
            }),
            state::Spec::Version(version) => Self::Version(Box::new(Version::of(version, keep))),
            state::Spec::Plan(plan) => {
                let state::Plan { title, description, limits } = plan.clone();
                Self::Plan(Plan { title, description, limits })
            }
        }
    }

    pub(super) fn read(self, contracts: &Contracts) -> Result<state::Spec, Unreadable> {
        Ok(match self {
            Self::Api(api) => state::Spec::Api(state::Api {
                title: api.title,
                description: api.description,
                owner: api.owner,
                host: api.host,
                path: api.path,
                default: api.default.map(|name| name.parse()).transpose()?,
                guard: api.guard,
                limits: api.limits,
            }),
            Self::Version(version) => state::Spec::Version(Box::new(version.read(contracts)?)),
            Self::Plan(Plan { title, description, limits }) => {
                state::Spec::Plan(state::Plan { title, description, limits })
            }
        })
    }
}

impl Version {
    fn of(version: &state::Version, keep: Keep<'_>) -> Self {
        Self {
            lifecycle: (&version.lifecycle).into(),
            description: version.description.clone(),
            owner: version.owner.clone(),
            select: (&version.select).into(),
            service: version.service.clone(),
            strip: version.strip,
            routes: version.routes.clone(),
            defaults: version.defaults.clone(),
            contract: version.contract.as_ref().and_then(keep),
            validate: version.validate,
            guard: version.guard.clone(),
            limits: version.limits.clone(),
        }
    }

    fn read(self, contracts: &Contracts) -> Result<state::Version, Unreadable> {
        let find = |digest: String| {
            let missing = || Unreadable(format!("the description {digest} is not there"));
            contracts.get(&digest).cloned().ok_or_else(missing)
        };
        Ok(state::Version {
            lifecycle: self.lifecycle.read()?,
            description: self.description,
            owner: self.owner,
            select: self.select.read(),
            service: self.service,
            strip: self.strip,
            routes: self.routes,
            defaults: self.defaults,
            contract: self.contract.map(find).transpose()?,
            validate: self.validate,
            guard: self.guard,
            limits: self.limits,
        })
    }
}

impl From<&state::Select> for Select {
    fn from(select: &state::Select) -> Self {
        match select {
            state::Select::All => Self::All,
            state::Select::Path(path) => Self::Path(path.clone()),
            state::Select::Header { name, value } => Self::Header(name.clone(), value.clone()),
            state::Select::MediaType(media_type) => Self::MediaType(media_type.clone()),
            state::Select::Host(host) => Self::Host(host.clone()),
        }
    }
}

impl Select {
    fn read(self) -> state::Select {
        match self {
            Self::All => state::Select::All,
            Self::Path(path) => state::Select::Path(path),
            Self::Header(name, value) => state::Select::Header { name, value },
            Self::MediaType(media_type) => state::Select::MediaType(media_type),
            Self::Host(host) => state::Select::Host(host),
        }
    }
}

impl From<&state::Lifecycle> for Lifecycle {
    fn from(lifecycle: &state::Lifecycle) -> Self {
        match lifecycle {
            state::Lifecycle::Draft => Self::Draft,
            state::Lifecycle::Published => Self::Published,
            state::Lifecycle::Deprecated(ending) => Self::Deprecated(ending.into()),
            state::Lifecycle::Retired(ending) => Self::Retired(ending.into()),
        }
    }
}

impl Lifecycle {
    pub(super) fn read(self) -> Result<state::Lifecycle, Unreadable> {
        Ok(match self {
            Self::Draft => state::Lifecycle::Draft,
            Self::Published => state::Lifecycle::Published,
            Self::Deprecated(ending) => state::Lifecycle::Deprecated(ending.read()?),
            Self::Retired(ending) => state::Lifecycle::Retired(ending.read()?),
        })
    }
}

impl From<&state::Ending> for Ending {
    fn from(ending: &state::Ending) -> Self {
        Self {
            deprecated: ending.deprecated.as_millis(),
            sunset: ending.sunset.map(Timestamp::as_millis),
            successor: ending.successor.as_ref().map(ToString::to_string),
            documentation: ending.documentation.clone(),
        }
    }
}

impl Ending {
    fn read(self) -> Result<state::Ending, Unreadable> {
        Ok(state::Ending {
            deprecated: Timestamp::from_millis(self.deprecated),
            sunset: self.sunset.map(Timestamp::from_millis),
            successor: self.successor.map(|name| name.parse()).transpose()?,
            documentation: self.documentation,
        })
    }
}

impl Changed {
    pub(super) fn of(changed: &state::Changed, keep: Keep<'_>) -> Self {
        Self {
            revision: changed.revision.get(),
            who: Arc::clone(&changed.who),
            note: Arc::clone(&changed.note),
            at: changed.at.as_millis(),
            cause: match changed.cause {
                Cause::Put => CauseOf::Put,
                Cause::Moved => CauseOf::Moved,
                Cause::RolledBack(to) => CauseOf::RolledBack(to.get()),
                Cause::Removed => CauseOf::Removed,
            },
            file: changed.origin == Origin::File,
            spec: changed.spec.as_ref().map(|spec| Spec::of(spec, keep)),
        }
    }

    pub(super) fn read(self, contracts: &Contracts) -> Result<state::Changed, Unreadable> {
        let spec = self.spec.map(|spec| spec.read(contracts)).transpose()?;
        Ok(state::Changed {
            revision: Revision::new(self.revision),
            who: self.who,
            at: Timestamp::from_millis(self.at),
            note: self.note,
            cause: match self.cause {
                CauseOf::Put => Cause::Put,
                CauseOf::Moved => Cause::Moved,
                CauseOf::RolledBack(to) => Cause::RolledBack(Revision::new(to)),
                CauseOf::Removed => Cause::Removed,
            },
            origin: origin(self.file),
            spec: spec.map(Arc::new),
        })
    }
}

pub(super) const fn origin(file: bool) -> Origin {
    if file { Origin::File } else { Origin::Asked }
}

/// Fields at their default are not written.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
