//! The kinds of provider behind one face. An enum: the kinds are known, and a call should not pay
//! for finding out.

use std::sync::Arc;

use crate::consumers::Consumers;
use crate::credential::{Credentials, Outcome};
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::signature::Seen;
use crate::{certificate, external, introspection, jwt, keys, signature};

/// What a provider found in a call.
#[derive(Debug)]
pub(crate) enum Finding {
    /// No credential of its kind.
    Absent,
    /// A credential that looks like its kind, but is for another provider to judge. When no other
    /// does, the call is refused: what was shown and not understood is not nothing.
    Foreign,
    /// It decides.
    Decided(Outcome),
}

/// What all providers share.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) consumers: Consumers,
    pub(crate) seen: Arc<Seen>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where what takes time runs: never on a thread that carries calls.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) tasks: posthouse_base::task::Tasks,
}

/// One way to prove who one is, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Config {
    Jwt(jwt::Config),
    Introspection(introspection::Config),
    External(external::Config),
    ApiKey(keys::Config),
    Signature(signature::Config),
    Certificate(certificate::Config),
}

/// One way to prove who one is.
#[derive(Debug)]
pub(crate) enum Provider {
    Jwt(jwt::Provider),
    Introspection(introspection::Provider),
    External(external::Provider),
    ApiKey(keys::Provider),
    Signature(signature::Provider),
    Certificate(certificate::Provider),
}

impl Provider {
    pub(crate) fn new(name: &Arc<str>, config: &Config, parts: &Parts) -> Self {
        match config {
            Config::Jwt(config) => Self::Jwt(jwt::Provider::new(name, config, parts)),
            Config::Introspection(config) => {
                Self::Introspection(introspection::Provider::new(name, config, parts))
            }
            Config::External(config) => {
                Self::External(external::Provider::new(name, config, parts))
            }
            Config::ApiKey(config) => Self::ApiKey(keys::Provider::new(name, config, parts)),
            Config::Signature(config) => {
                Self::Signature(signature::Provider::new(name, config, parts))
            }
            Config::Certificate(config) => {
                Self::Certificate(certificate::Provider::new(name, config, parts))
            }
        }
    }

    pub(crate) fn identify(&self, asked: &Credentials<'_>) -> Finding {
        match self {
            Self::Jwt(provider) => provider.identify(asked),
            Self::Introspection(provider) => provider.identify(asked),
            Self::External(provider) => provider.identify(asked),
            Self::ApiKey(provider) => provider.identify(asked),
            Self::Signature(provider) => provider.identify(asked),
            Self::Certificate(provider) => provider.identify(asked),
        }
    }

    /// How many bytes it holds of what it has verified.
    pub(crate) fn remembered(&self) -> usize {
        match self {
            Self::Jwt(provider) => provider.remembered(),
            Self::Introspection(provider) => provider.remembered(),
            _ => 0,
        }
    }
}
