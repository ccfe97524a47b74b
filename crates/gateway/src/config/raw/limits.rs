//! `limits`, `plans`, `priority` and `gateway.shedding`: how fast, how much, and what goes first.

use posthouse_base::config::Size;
use schemars::JsonSchema;
use serde::Deserialize;

/// What consumers of a plan may do. It holds for all their calls, whatever the route, beside the limits
/// of the routes themselves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How fast and how much.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

/// How fast, or how much. Exactly one of `rate`, `concurrency`, `bytes` and `quota` is given. A call
/// beyond it is refused with 429 (gRPC: RESOURCE_EXHAUSTED) and told when to come again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name in headers and metrics; made from `by` if left out. Limits of the same name count
    /// together, in whatever routes and plans they stand, and must then be the same.
    pub name: Option<String>,
    /// What is counted apart: `consumer`, `subject` (who an identity provider says it is), `key` (the
    /// credential), `address` (of IPv6 the first 64 bits), `route`, `all` (everything together), or
    /// `cel: EXPRESSION`, the expression's value. Calls that have none of it are counted by their
    /// address.
    pub by: String,
    /// Calls in a second, minute, hour or day: `100/s`, `5000/m`. Evenly over that time, but for
    /// `burst`.
    pub rate: Option<String>,
    /// For `rate`: how many calls may come at once (default: as many as the rate gives in a second, at
    /// least one).
    pub burst: Option<u32>,
    /// Calls under way at once, until the end of their responses; streams and WebSockets count as
    /// long as they last.
    pub concurrency: Option<u32>,
    /// Bytes of bodies, of requests and responses together, in a second, minute, hour or day:
    /// `1MiB/s`. They are charged as they pass, and calls under way are not held up: new ones are
    /// refused until what was carried too much is made up for.
    pub bytes: Option<String>,
    /// For `bytes`: how much may be carried at once (default: as much as `bytes` gives in a second).
    pub burst_bytes: Option<Size>,
    /// Calls in a day or a month of the calendar in UTC: `10000/day`, `1000000/month`. Only calls that
    /// no limit refuses count. Kept over restarts.
    pub quota: Option<String>,
}

/// What goes first when a service is overloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Refused first.
    Low,
    /// Refused when that is not enough.
    #[default]
    Normal,
    /// Refused last.
    High,
}

impl Priority {
    /// Its name, as the file has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// When calls are refused with 503 because their service answers more slowly than it does when nobody
/// waits: as many as needed, those of `priority: low` first.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shedding {
    /// How many times as long as usual answers may take before calls are refused (default 2).
    pub tolerance: Option<f64>,
    /// Calls that may wait for an answer of a service in any case (default 16).
    pub least: Option<u32>,
    /// Calls that may ever wait for an answer of a service (default 8192).
    pub most: Option<u32>,
}
