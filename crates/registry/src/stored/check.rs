//! Checks as they are written.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use posthouse_base::time::Timestamp;
use posthouse_probe::{Grpc, Http, Target};
use serde::{Deserialize, Serialize};

use super::{Unreadable, is_default};
use crate::state::{self, CheckKind, Index, Thresholds};

type Text = Arc<str>;

#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Check {
    #[serde(flatten)]
    definition: Definition,
    status: Status,
    #[serde(default, skip_serializing_if = "is_default")]
    output: String,
    #[serde(default, skip_serializing_if = "is_default")]
    critical_since: Option<u64>,
    /// When it expires, of a TTL check that has not.
    #[serde(default, skip_serializing_if = "is_default")]
    expires: Option<u64>,
    run: u64,
}

/// Times in milliseconds.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Definition {
    id: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    notes: String,
    #[serde(default, skip_serializing_if = "is_default")]
    instance: Option<Text>,
    kind: Kind,
    #[serde(default, skip_serializing_if = "is_default")]
    deregister_after: Option<u64>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    External(String),
    Membership,
    Maintenance,
    Ttl(u64),
    Probe {
        target: Box<Probed>,
        interval: u64,
        timeout: u64,
        /// Successes before passing, failures before warning and before critical.
        #[serde(default, skip_serializing_if = "is_default")]
        thresholds: (u32, u32, u32),
    },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Probed {
    Http {
        tls: bool,
        authority: String,
        path: String,
        method: String,
        #[serde(default, skip_serializing_if = "is_default")]
        headers: Vec<(String, String)>,
        #[serde(default, skip_serializing_if = "is_default")]
        body: String,
        #[serde(default, skip_serializing_if = "is_default")]
        tls_skip_verify: bool,
        redirects: u8,
        healthy: (u16, u16),
        degraded: (u16, u16),
    },
    Tcp {
        address: String,
    },
    Grpc {
        authority: String,
        #[serde(default, skip_serializing_if = "is_default")]
        service: String,
        tls: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        tls_skip_verify: bool,
    },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Passing,
    Warning,
    Critical,
}

impl From<&state::Check> for Check {
    fn from(check: &state::Check) -> Self {
        Self {
            definition: (&check.definition).into(),
            status: check.status.into(),
            output: check.output.clone(),
            critical_since: check.critical_since.map(Timestamp::as_millis),
            expires: check.expires.map(Timestamp::as_millis),
            run: check.run.get(),
        }
    }
}

impl Check {
    pub(super) fn read(self) -> Result<state::Check, Unreadable> {
        Ok(state::Check {
            definition: self.definition.read()?,
            status: self.status.read(),
            output: self.output,
            critical_since: self.critical_since.map(Timestamp::from_millis),
            expires: self.expires.map(Timestamp::from_millis),
            run: Index::new(self.run),
        })
    }
}

impl From<&state::CheckDefinition> for Definition {
    fn from(definition: &state::CheckDefinition) -> Self {
        Self {
            id: definition.id.to_shared(),
            name: definition.name.clone(),
            notes: definition.notes.clone(),
            instance: definition.instance.as_ref().map(state::InstanceId::to_shared),
            kind: (&definition.kind).into(),
            deregister_after: definition.deregister_after.map(millis),
        }
    }
}

impl Definition {
    pub(super) fn read(self) -> Result<state::CheckDefinition, Unreadable> {
        Ok(state::CheckDefinition {
            id: self.id.into(),
            name: self.name,
            notes: self.notes,
            instance: self.instance.map(Into::into),
            kind: self.kind.read()?,
            deregister_after: self.deregister_after.map(Duration::from_millis),
        })
    }
}

impl From<&CheckKind> for Kind {
    fn from(kind: &CheckKind) -> Self {
        match kind {
            CheckKind::External(word) => Self::External(word.clone()),
            CheckKind::Membership => Self::Membership,
            CheckKind::Maintenance => Self::Maintenance,
            CheckKind::Ttl(ttl) => Self::Ttl(millis(*ttl)),
            CheckKind::Probe(probe) => Self::Probe {
                target: Box::new((&probe.target).into()),
                interval: millis(probe.interval),
                timeout: millis(probe.timeout),
                thresholds: (
                    probe.thresholds.success_before_passing,
                    probe.thresholds.failures_before_warning,
                    probe.thresholds.failures_before_critical,
                ),
            },
        }
    }
}

impl Kind {
    fn read(self) -> Result<CheckKind, Unreadable> {
        Ok(match self {
            Self::External(word) => CheckKind::External(word),
            Self::Membership => CheckKind::Membership,
            Self::Maintenance => CheckKind::Maintenance,
            Self::Ttl(ttl) => CheckKind::Ttl(Duration::from_millis(ttl)),
            Self::Probe { target, interval, timeout, thresholds } => {
                let (passing, warning, critical) = thresholds;
                CheckKind::Probe(Box::new(state::Probe {
                    target: target.read()?,
                    interval: Duration::from_millis(interval),
                    timeout: Duration::from_millis(timeout),
                    thresholds: Thresholds {
                        success_before_passing: passing,
                        failures_before_warning: warning,
                        failures_before_critical: critical,
                    },
                }))
            }
        })
    }
}

impl From<&Target> for Probed {
    fn from(target: &Target) -> Self {
        // Whatever came in as JSON is text.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match target {
            Target::Http(http) => {
                let headers = http.headers.iter();
                let headers =
                    headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
                Self::Http {
                    tls: http.tls,
                    authority: http.authority.to_string(),
                    path: http.path.clone(),
                    method: http.method.to_string(),
                    headers: headers.collect(),
                    body: text(&http.body),
                    tls_skip_verify: http.tls_skip_verify,
                    redirects: http.redirects,
                    healthy: (*http.healthy.start(), *http.healthy.end()),
                    degraded: (*http.degraded.start(), *http.degraded.end()),
                }
            }
            Target::Tcp { address } => Self::Tcp { address: address.clone() },
            Target::Grpc(grpc) => Self::Grpc {
                authority: grpc.authority.to_string(),
                service: grpc.service.clone(),
                tls: grpc.tls,
                tls_skip_verify: grpc.tls_skip_verify,
            },
        }
    }
}

impl Probed {
    fn read(self) -> Result<Target, Unreadable> {
        const fn statuses((first, last): (u16, u16)) -> RangeInclusive<u16> {
            first..=last
        }
        Ok(match self {
            Self::Http {
                tls,
                authority,
                path,
                method,
                headers,
                body,
                tls_skip_verify,
                redirects,
                healthy,
                degraded,
            } => {
                let pairs = headers.iter().map(|(name, value)| {
                    let value = HeaderValue::from_bytes(value.as_bytes());
                    Ok((name.parse::<HeaderName>().map_err(bad)?, value.map_err(bad)?))
                });
                Target::Http(Http {
                    tls,
                    authority: authority.parse().map_err(bad)?,
                    path,
                    method: method.parse::<Method>().map_err(bad)?,
                    headers: pairs.collect::<Result<HeaderMap, Unreadable>>()?,
                    body: body.into(),
                    tls_skip_verify,
                    redirects,
                    healthy: statuses(healthy),
                    degraded: statuses(degraded),
                })
            }
            Self::Tcp { address } => Target::Tcp { address },
            Self::Grpc { authority, service, tls, tls_skip_verify } => Target::Grpc(Grpc {
                authority: authority.parse().map_err(bad)?,
                service,
                tls,
                tls_skip_verify,
            }),
        })
    }
}

impl From<state::Status> for Status {
    fn from(status: state::Status) -> Self {
        match status {
            state::Status::Passing => Self::Passing,
            state::Status::Warning => Self::Warning,
            state::Status::Critical => Self::Critical,
        }
    }
}

impl Status {
    pub(super) const fn read(self) -> state::Status {
        match self {
            Self::Passing => state::Status::Passing,
            Self::Warning => state::Status::Warning,
            Self::Critical => state::Status::Critical,
        }
    }
}

fn bad(error: impl std::error::Error) -> Unreadable {
    Unreadable(error.to_string())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
