//! The whole file as it is written. The doc comments here and in the pillars' own raw types are the
//! reference that users read: `posthouse schema` and `docs/configuration.md` are made from them.

use std::collections::BTreeMap;

use posthouse_broker as broker;
use posthouse_catalog::config::RawApi;
use posthouse_identity as identity;
use posthouse_identity::consumers;
use posthouse_journal::config as journal;
use posthouse_registry as registry;
use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration of a Posthouse. The sections that a file names are on, the others off; without
/// a file the listeners, the registry, messages and the admin API are on with their defaults. In any
/// text `${env:NAME}` and `${file:PATH}` are filled in. Relative paths start at the file's folder.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(title = "Posthouse")]
pub(crate) struct Raw {
    /// The folder for what is kept: the journal, `addresses.json` with the addresses really listened
    /// on, and a lock, so that no two of them use it. Made when it is missing. Takes effect at the next start.
    #[serde(default = "default_data")]
    pub(crate) data: String,
    /// The admin API, metrics and health of the house.
    pub(crate) admin: Option<Admin>,
    /// Where services register, and are found, over the Consul HTTP API.
    pub(crate) registry: Option<registry::Raw>,
    /// Where services send and take messages, over AMQP 0-9-1. Takes effect at the next start.
    pub(crate) messages: Option<broker::Raw>,
    /// Which routes services may bring themselves, by tags and keys of the registry; none without it.
    #[serde(default)]
    pub(crate) grants: Vec<Grant>,
    /// Who may call: how those who call prove who they are.
    #[serde(default)]
    pub(crate) identity: identity::Raw,
    /// Who calls: customers, teams and other programs, by name. Those that stand here are read-only
    /// elsewhere.
    #[serde(default)]
    pub(crate) consumers: consumers::Raw,
    /// APIs by name, with their versions. What stands here is read-only elsewhere.
    #[serde(default)]
    pub(crate) apis: BTreeMap<String, RawApi>,
    /// What is kept, and how: the log in which everything lasting is written.
    #[serde(default)]
    pub(crate) journal: journal::Raw,
    /// What the gateway reads.
    #[serde(flatten)]
    pub(crate) gateway: posthouse_gateway::config::raw::Raw,
}

/// Where the house is looked at and told what to do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// The address of the admin API, `/metrics`, `/healthz` and `/readyz`; port 0 takes a free one.
    /// Beyond loopback a `token` or `tokens` are needed. Takes effect at the next start.
    pub(crate) address: String,
    /// What every request must bring as `Authorization: Bearer TOKEN`, `/healthz` and `/readyz`
    /// excepted; at least 16 characters. Better not written here but filled in: `${env:NAME}`. It may
    /// do everything, as one of `tokens` with the role `admin`.
    pub(crate) token: Option<String>,
    /// Tokens for several people and programs, each with a role. Where there are neither these nor
    /// `token`, whoever reaches the address from this machine may do everything.
    pub(crate) tokens: Vec<AdminToken>,
}

/// Who may ask the admin API, and for what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminToken {
    /// Who has it: the name by which the audit log calls them.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) role: Role,
    /// The token; at least 16 characters. Better filled in: `${env:NAME}`.
    pub(crate) token: Option<String>,
    /// Instead of the token its SHA-256 digest, in 64 hexadecimal digits, which is no secret as long
    /// as the token is a long random one: `printf %s TOKEN | sha256sum`.
    pub(crate) sha256: Option<String>,
}

/// What somebody may do over the admin API. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Look at everything that is no secret.
    Viewer,
    /// Change what is in force from day to day: reload, publish and retire versions of APIs, issue
    /// and revoke keys.
    Operator,
    /// Everything: delete, apply whole exports, roll back, take backups, read the audit log.
    Admin,
}

/// What a service may bring routes for. Where the file itself has a route for the same calls, the file
/// wins.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// The service.
    pub(crate) service: String,
    /// Hosts, as in the `match` of a route: `shop.example`, `*.shop.example`, or `*` for every host.
    pub(crate) hosts: Vec<String>,
    /// Paths: each with everything below it. `/` is all.
    pub(crate) paths: Vec<String>,
}

/// The folder for what is kept, when none is named.
fn default_data() -> String {
    "./posthouse-data".into()
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: "127.0.0.1:8400".into(), token: None, tokens: Vec::new() }
    }
}
