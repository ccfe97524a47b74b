//! A guard as it was checked. Made once from the configuration, shared by the calls.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use posthouse_expression::Program;

/// Who may call.
#[derive(Debug, Default)]
pub struct Guard {
    /// Providers in order; without any, nobody is asked who they are.
    pub providers: Vec<Arc<str>>,
    /// Whether nobody may pass as nobody.
    pub optional: bool,
    /// Scopes, all of them.
    pub scopes: Vec<Box<str>>,
    /// Roles, one of them.
    pub roles: Vec<Box<str>>,
    /// Consumers, one of them.
    pub consumers: Vec<Box<str>>,
    /// A condition.
    pub when: Option<Program>,
    /// Nets from which calls may come; everywhere if empty.
    pub allow: Vec<IpNet>,
    /// Nets from which none may come.
    pub deny: Vec<IpNet>,
    /// Nothing is demanded of the caller where something must be.
    pub denied: bool,
    /// Whether refusals are only logged and counted.
    pub dry_run: bool,
    /// What pages of other origins may do.
    pub cors: Option<Cors>,
    /// Headers of responses.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `Strict-Transport-Security`, over TLS.
    pub hsts: Option<HeaderValue>,
    /// What the service is told.
    pub forward: Forward,
    /// Whether calls are compared with the description of their API.
    pub validate: bool,
    /// The largest body that is taken in whole, in bytes.
    pub body: usize,
    /// What a caller without a credential is asked for.
    pub challenge: Option<HeaderValue>,
    /// When a refusal of a dry run was last logged, in seconds of the Unix epoch.
    pub(crate) logged: AtomicU64,
}

impl Guard {
    /// Whether anything is asked of the caller, so that somebody may be refused.
    #[must_use]
    pub fn demands(&self) -> bool {
        !self.providers.is_empty()
            || self.when.is_some()
            || !self.allow.is_empty()
            || !self.deny.is_empty()
            || self.denied
            || self.validate
    }

    /// Whether it does anything at all.
    pub(crate) fn does_something(&self) -> bool {
        self.demands()
            || self.cors.is_some()
            || !self.headers.is_empty()
            || self.hsts.is_some()
            || self.forward != Forward::default()
    }
}

/// What pages of other origins may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins in lower case; all if `None`.
    pub origins: Option<Vec<Box<str>>>,
    /// Methods; all that the route takes if empty.
    pub methods: Vec<Method>,
    /// `Access-Control-Allow-Methods`.
    pub methods_text: Box<str>,
    /// `Access-Control-Allow-Headers`.
    pub headers: Option<HeaderValue>,
    /// `Access-Control-Expose-Headers`.
    pub expose: Option<HeaderValue>,
    /// Whether credentials may be sent.
    pub credentials: bool,
    /// `Access-Control-Max-Age`.
    pub max_age: Box<str>,
}

/// What the service is told of the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// Headers and what they hold.
    pub headers: Vec<(HeaderName, Told)>,
    /// A signed JWT: its header and its audience.
    pub jwt: Option<(HeaderName, Box<str>)>,
    /// Headers that are taken out.
    pub remove: Vec<HeaderName>,
}

impl Forward {
    /// The names of the headers that tell who calls.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let jwt = self.jwt.iter().map(|(name, _)| name);
        self.headers.iter().map(|(name, _)| name).chain(jwt)
    }
}

/// What a header tells of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Who.
    Subject,
    /// By whom it was proved.
    Provider,
    /// The consumer.
    Consumer,
    /// Its plan.
    Plan,
    /// Its scopes, separated by spaces.
    Scopes,
    /// Its roles, separated by spaces.
    Roles,
    /// A claim that is a scalar or a list of scalars.
    Claim(Box<str>),
}
