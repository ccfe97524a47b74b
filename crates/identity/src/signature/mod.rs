//! Signed requests (RFC 9421).

use std::sync::Arc;

use posthouse_base::config::{Path, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::Credentials;
use crate::provider::{Finding, Parts};

/// Signed requests (RFC 9421).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IdentitySignature")]
pub struct Raw {}

/// As checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {}

impl Config {
    /// Checks `raw`, which stands at `path`.
    pub(crate) fn check(_raw: &Raw, _path: &Path, _report: &mut Report) -> Option<Self> {
        Some(Self {})
    }
}

/// Recognises them.
#[derive(Debug)]
pub(crate) struct Provider {}

impl Provider {
    pub(crate) fn new(_name: &Arc<str>, _config: &Config, _parts: &Parts) -> Self {
        Self {}
    }

    pub(crate) fn identify(&self, _asked: &Credentials<'_>) -> Finding {
        Finding::Absent
    }
}
