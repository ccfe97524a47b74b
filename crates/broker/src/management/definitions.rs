//! What there is, in RabbitMQ's JSON: exported, and taken from what RabbitMQ has exported. Secrets are
//! not in it, but the salted hashes of passwords are, as in RabbitMQ's.
//!
//! An import says what it could not take, and takes the rest: what is there already in another way
//! stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::json::{short, table, table_from};
use crate::error::Error;
use crate::ids::{UserName, VhostName};
use crate::inside::Session;
use crate::service::Handle;
use crate::state::{
    Act, Ask, BindExchange, BindQueue, DeclareExchange, DeclareQueue, Permissions, State, User,
};

/// How passwords are hashed.
const HASHING: &str = "rabbit_password_hashing_sha256";

/// Everything that there is, or all of one virtual host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Definitions {
    /// Who exported it.
    pub product_name: String,
    /// Which version of it.
    pub product_version: String,
    /// The users; none in an export of one virtual host.
    pub users: Vec<UserItem>,
    /// The virtual hosts.
    pub vhosts: Vec<VhostItem>,
    /// What users may do.
    pub permissions: Vec<PermissionItem>,
    /// Queues, but for those that go with their connection.
    pub queues: Vec<QueueItem>,
    /// Exchanges, but for those that are everywhere.
    pub exchanges: Vec<ExchangeItem>,
    /// Bindings, but for those of the default exchange.
    pub bindings: Vec<BindingItem>,
    /// What else there is: policies, parameters and the like, which have no meaning here.
    #[serde(flatten)]
    pub others: Map<String, Json>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserItem {
    name: String,
    #[serde(default)]
    password_hash: String,
    #[serde(default = "hashing")]
    hashing_algorithm: String,
    #[serde(default)]
    tags: Tags,
}

fn hashing() -> String {
    HASHING.into()
}

/// Tags as a list, or as older versions have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Tags {
    List(Vec<String>),
    Text(String),
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// A virtual host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VhostItem {
    name: String,
}

/// What a user may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionItem {
    user: String,
    #[serde(default)]
    vhost: String,
    configure: String,
    write: String,
    read: String,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueItem {
    name: String,
    #[serde(default)]
    vhost: String,
    #[serde(default)]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    arguments: Fields,
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExchangeItem {
    name: String,
    #[serde(default)]
    vhost: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: Fields,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindingItem {
    source: String,
    #[serde(default)]
    vhost: String,
    destination: String,
    destination_type: String,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    arguments: Fields,
}

/// Arguments. RabbitMQ writes none of them as an empty list now and then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Fields {
    Some(Map<String, Json>),
    None(Vec<()>),
}

impl Default for Fields {
    fn default() -> Self {
        Self::Some(Map::new())
    }
}

impl Fields {
    fn of(of: &crate::message::Table) -> Self {
        match table(of) {
            Json::Object(map) => Self::Some(map),
            _ => Self::default(),
        }
    }

    fn table(&self) -> Result<crate::message::Table, String> {
        match self {
            Self::Some(map) => table_from("arguments", map).map_err(|unfit| unfit.to_string()),
            Self::None(_) => Ok(crate::message::Table::new()),
        }
    }
}

/// What an import has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// How many of each kind are there now.
    pub taken: BTreeMap<&'static str, usize>,
    /// What was not taken.
    pub refused: Vec<Mistake>,
    /// What has no meaning here, with how many there are.
    pub ignored: BTreeMap<String, usize>,
}

/// Something that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// What.
    pub item: String,
    /// Why.
    pub why: String,
}

impl Definitions {
    /// All that `state` has, or all of one virtual host.
    #[must_use]
    pub fn of(state: &State, vhost: Option<&str>) -> Self {
        let is_meant = |name: &VhostName| vhost.is_none_or(|wanted| name.as_str() == wanted);
        let users = state.users().filter(|_| vhost.is_none());
        let permissions = state.permissions_of_all().filter(|_| vhost.is_none());
        let queues = state.queues().into_iter().filter(|queue| queue.spec.owner.is_none());
        let exchanges = state.exchanges_of_all().filter(|exchange| !exchange.is_predefined());
        let bindings = state.binding_views().into_iter();
        Self {
            product_name: "Posthouse".into(),
            product_version: env!("CARGO_PKG_VERSION").into(),
            users: users.map(UserItem::of).collect(),
            vhosts: (state.vhosts().filter(|name| is_meant(name)))
                .map(|name| VhostItem { name: name.to_string() })
                .collect(),
            permissions: permissions
                .map(|(user, vhost, may)| PermissionItem {
                    user: user.to_string(),
                    vhost: vhost.to_string(),
                    configure: may.configure.to_string(),
                    write: may.write.to_string(),
                    read: may.read.to_string(),
                })
                .collect(),
            queues: queues
                .filter(|queue| is_meant(&queue.spec.vhost))
                .map(|queue| QueueItem {
                    name: queue.spec.name.to_string(),
                    vhost: queue.spec.vhost.to_string(),
                    durable: queue.spec.durable,
                    auto_delete: queue.spec.auto_delete,
                    arguments: Fields::of(&queue.spec.arguments),
                })
                .collect(),
            exchanges: exchanges
                .filter(|exchange| is_meant(&exchange.vhost))
                .map(|exchange| ExchangeItem {
                    name: exchange.name.to_string(),
                    vhost: exchange.vhost.to_string(),
                    kind: exchange.kind.as_str().into(),
                    durable: exchange.durable,
                    auto_delete: exchange.auto_delete,
                    internal: exchange.internal,
                    arguments: Fields::of(&exchange.arguments),
                })
                .collect(),
            bindings: bindings
                .filter(|binding| is_meant(&binding.vhost) && !binding.is_passing)
                .map(|binding| BindingItem {
                    source: binding.source.to_string(),
                    vhost: binding.vhost.to_string(),
                    destination: binding.destination,
                    destination_type: if binding.to_queue { "queue" } else { "exchange" }.into(),
                    routing_key: binding.key.to_string(),
                    arguments: Fields::of(&binding.arguments),
                })
                .collect(),
            others: Map::new(),
        }
    }
}

impl UserItem {
    fn of(user: &User) -> Self {
        Self {
            name: user.name.to_string(),
            password_hash: user.password_hash.to_string(),
            hashing_algorithm: hashing(),
            tags: Tags::List(user.tags.iter().map(ToString::to_string).collect()),
        }
    }

    fn user(&self) -> Result<User, String> {
        let Self { name, password_hash, hashing_algorithm, tags } = self;
        named(name)?;
        if hashing_algorithm != HASHING && !password_hash.is_empty() {
            return Err(format!(
                "its password is hashed by `{hashing_algorithm}`: set it anew by RabbitMQ's \
                 default, {HASHING}"
            ));
        }
        let tags: Vec<&str> = match tags {
            Tags::List(list) => list.iter().map(String::as_str).collect(),
            Tags::Text(text) => text.split(',').filter(|tag| !tag.is_empty()).collect(),
        };
        Ok(User {
            name: UserName::from(&**name),
            password_hash: Arc::from(&**password_hash),
            tags: tags.into_iter().map(Arc::from).collect(),
            // As RabbitMQ has it (`loopback_users`), by the name.
            loopback_only: name == "guest",
        })
    }
}

impl Handle {
    /// Takes definitions in, one after the other, with what says no virtual host in `vhost`. What is
    /// there in the same way already counts as taken.
    ///
    /// # Errors
    /// When it cannot go on: nothing can be made durable, or the broker is shutting down. What was
    /// taken in until then stays.
    pub async fn import(&self, wanted: &Definitions, vhost: &str) -> Result<Imported, Error> {
        let mut importing = Importing { handle: self, vhost, imported: Imported::default() };
        importing.people(wanted).await?;
        for exchange in &wanted.exchanges {
            let act = exchange.act();
            importing.act("exchanges", &exchange.vhost, &exchange.name, act).await?;
        }
        for queue in &wanted.queues {
            importing.act("queues", &queue.vhost, &queue.name, queue.act()).await?;
        }
        for binding in wanted.bindings.iter().filter(|binding| !binding.source.is_empty()) {
            let name = format!("{} -> {}", binding.source, binding.destination);
            importing.act("bindings", &binding.vhost, &name, binding.act()).await?;
        }
        let mut imported = importing.imported;
        for (key, value) in &wanted.others {
            let count = value.as_array().map_or(0, Vec::len);
            if count > 0 {
                imported.ignored.insert(key.clone(), count);
            }
        }
        Ok(imported)
    }
}

impl QueueItem {
    fn act(&self) -> Result<Act, String> {
        let Self { name, durable, auto_delete, arguments, .. } = self;
        Ok(Act::DeclareQueue(DeclareQueue {
            queue: named(name)?.into(),
            durable: *durable,
            auto_delete: *auto_delete,
            arguments: arguments.table()?,
            ..DeclareQueue::default()
        }))
    }
}

impl ExchangeItem {
    fn act(&self) -> Result<Act, String> {
        let Self { name, kind, durable, auto_delete, internal, arguments, .. } = self;
        Ok(Act::DeclareExchange(DeclareExchange {
            exchange: named(name)?.into(),
            kind: Arc::from(&**kind),
            durable: *durable,
            auto_delete: *auto_delete,
            internal: *internal,
            arguments: arguments.table()?,
            ..DeclareExchange::default()
        }))
    }
}

impl BindingItem {
    fn act(&self) -> Result<Act, String> {
        let (source, destination) = (named(&self.source)?, named(&self.destination)?);
        let key = short("routing_key", &self.routing_key).map_err(|unfit| unfit.to_string())?;
        let arguments = self.arguments.table()?;
        Ok(match &*self.destination_type {
            "queue" => Act::BindQueue(BindQueue {
                queue: destination.into(),
                exchange: source.into(),
                routing_key: key.into(),
                arguments,
                no_wait: false,
            }),
            "exchange" => Act::BindExchange(BindExchange {
                destination: destination.into(),
                source: source.into(),
                routing_key: key.into(),
                arguments,
                no_wait: false,
            }),
            other => {
                return Err(format!("`destination_type` is `queue` or `exchange`, not `{other}`"));
            }
        })
    }
}

/// A name that is there and not too long.
fn named(name: &str) -> Result<&str, String> {
    if name.is_empty() {
        return Err("it has no name".into());
    }
    short("name", name).map_err(|unfit| unfit.to_string())
}

/// An import that is under way.
struct Importing<'a> {
    handle: &'a Handle,
    /// What is meant where none is named.
    vhost: &'a str,
    imported: Imported,
}

impl Importing<'_> {
    async fn people(&mut self, wanted: &Definitions) -> Result<(), Error> {
        for VhostItem { name } in &wanted.vhosts {
            let ask = named(name).map(|name| Ask::PutVhost(name.into()));
            self.ask("vhosts", name, ask).await?;
        }
        for user in &wanted.users {
            self.ask("users", &user.name, user.user().map(Ask::PutUser)).await?;
        }
        for item in &wanted.permissions {
            let PermissionItem { user, configure, write, read, .. } = item;
            let permissions = Some(Permissions {
                configure: Arc::from(&**configure),
                write: Arc::from(&**write),
                read: Arc::from(&**read),
            });
            let vhost = self.or_default(&item.vhost).into();
            let ask = Ask::Permit { user: UserName::from(&**user), vhost, permissions };
            self.ask("permissions", user, Ok(ask)).await?;
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        kind: &'static str,
        name: &str,
        ask: Result<Ask, String>,
    ) -> Result<(), Error> {
        let asked = match ask {
            Ok(ask) => self.handle.ask(ask).await,
            Err(why) => {
                self.refuse(kind, name, why);
                return Ok(());
            }
        };
        self.note(kind, name, asked)
    }

    async fn act(
        &mut self,
        kind: &'static str,
        vhost: &str,
        name: &str,
        act: Result<Act, String>,
    ) -> Result<(), Error> {
        let act = match act {
            Ok(act) => act,
            Err(why) => {
                self.refuse(kind, name, why);
                return Ok(());
            }
        };
        // What was refused something is over: each has a session of its own.
        let entered = self.handle.inside(self.or_default(vhost), "definitions").await;
        let asked = match entered {
            Ok(mut session) => Session::ask(&mut session, act).await.map(drop),
            Err(error) => Err(error),
        };
        self.note(kind, name, asked)
    }

    fn or_default<'b>(&'b self, vhost: &'b str) -> &'b str {
        if vhost.is_empty() { self.vhost } else { vhost }
    }

    fn note(
        &mut self,
        kind: &'static str,
        name: &str,
        asked: Result<(), Error>,
    ) -> Result<(), Error> {
        match asked {
            Ok(()) => *self.imported.taken.entry(kind).or_default() += 1,
            Err(Error::Refused(refusal)) => self.refuse(kind, name, refusal.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn refuse(&mut self, kind: &str, name: &str, why: String) {
        self.imported.refused.push(Mistake { item: format!("{kind} {name}"), why });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_arguments_are_read_as_every_version_writes_them() {
        let read = |text: &str| serde_json::from_str::<Definitions>(text).expect("definitions");
        let old = read(
            r#"{ "rabbit_version": "3.8.0", "policies": [{}],
                 "users": [{ "name": "a", "password_hash": "x", "tags": "administrator,monitoring" }],
                 "queues": [{ "name": "q", "durable": true, "arguments": [] }] }"#,
        );
        let user = old.users[0].user().expect("a user");
        assert_eq!(user.tags, ["administrator", "monitoring"].map(Arc::from));
        assert!(old.queues[0].act().is_ok() && old.others.contains_key("policies"));
        let new = read(r#"{ "users": [{ "name": "a", "tags": ["management"] }] }"#);
        assert_eq!(new.users[0].user().expect("a user").tags, [Arc::from("management")]);
    }

    #[test]
    fn a_password_that_could_never_be_right_is_refused() {
        let text = r#"{ "name": "a", "password_hash": "x",
                        "hashing_algorithm": "rabbit_password_hashing_md5" }"#;
        let item: UserItem = serde_json::from_str(text).expect("a user");
        assert!(item.user().expect_err("refused").contains("md5"));
    }
}
