//! The catalog's sections as they are written. The doc comments are the reference that users read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The sections that the catalog reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// APIs by name, with their versions. What stands here is read-only elsewhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apis: BTreeMap<String, RawApi>,
    /// Plans by name: consumers who have one have its limits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plans: BTreeMap<String, RawPlan>,
}

/// An API: versions that serve the same purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawApi {
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who is asked about it: a team, an address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// The host of its calls; every host if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the paths of its versions begin with, where a version does not say so itself. If left
    /// out, the path of the first server in a version's OpenAPI document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The version of calls that name none, where versions are told by header or media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What every version asks of who calls: a route's `guard`. An entry of a version's `guard` or
    /// of a route's own replaces the same entry here.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub guard: Map<String, Value>,
    /// Limits of every version: a route's `limits`. Those of a version and of a route are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Value>,
    /// Its versions by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, RawVersion>,
}

/// A version of an API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawVersion {
    /// Where in its life it is (default draft).
    #[serde(default)]
    pub state: RawState,
    /// Since when it is deprecated, until when it works, and what to use instead. Needed by the
    /// states deprecated and retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<RawEnding>,
    /// What is new or special about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who is asked about it, when it is not the API's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Which calls mean it; every call to the API if left out.
    #[serde(default, skip_serializing_if = "RawSelect::is_empty")]
    pub select: RawSelect,
    /// The service that answers its calls, where a route says nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Takes the path of the API or version off before a call is forwarded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strip: bool,
    /// Its routes in the form of the file's `routes`, with paths below its own. Beside an OpenAPI
    /// document, routes of the same path and methods replace those of the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Map<String, Value>>,
    /// What each of its routes has that does not say otherwise: `timeout`, `retries`, `rewrite`, …
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub defaults: Map<String, Value>,
    /// Its OpenAPI document (3.0 or 3.1, YAML or JSON) as text: `${file:users.yaml}`. Each
    /// operation becomes a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openapi: Option<String>,
    /// Its `.proto` file as text: `${file:users.proto}`. Each method becomes a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<String>,
    /// Compares requests with the OpenAPI document, and refuses those that differ with 400.
    #[serde(default, skip_serializing_if = "is_false")]
    pub validate: bool,
    /// What it asks of who calls: a route's `guard`. Its entries replace those of the API.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub guard: Map<String, Value>,
    /// Its limits: a route's `limits`, beside those of the API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Value>,
}

/// Where in its life a version is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawState {
    /// It is being written, and takes no calls.
    #[default]
    Draft,
    /// It is there to be used.
    Published,
    /// It works, and its answers say that it ends: `Deprecation` (RFC 9745), `Sunset` (RFC 8594).
    Deprecated,
    /// Its calls are answered with 410, which names its successor.
    Retired,
}

/// How a version comes to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawEnding {
    /// Since when it is deprecated: `2026-10-01`, or with a time `2026-10-01T12:00:00Z`.
    pub deprecated: String,
    /// When it is expected to stop; not before `deprecated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<String>,
    /// The version of the same API to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// The address of a page about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<String>,
}

/// Which calls mean a version. At most one of `path`, `header`, `media_type` and `host` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSelect {
    /// Those whose path begins so: `/api/v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Those with this value of this header: `{ x-version: "2" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<BTreeMap<String, String>>,
    /// Those whose `Accept` names this media type: `application/vnd.shop.users-v2+json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Those to this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// A plan: what consumers may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPlan {
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its limits, in the form of a route's `limits`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Value>,
}

impl RawSelect {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
