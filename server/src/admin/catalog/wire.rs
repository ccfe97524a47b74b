//! The shapes of what is told of APIs, by hand from the catalog's own types.

use posthouse_catalog::history::{self, Comparison};
use posthouse_catalog::plan::{Kind, Plan};
use posthouse_catalog::state::{Cause, Changed, Entry, Key, Origin, Spec};
use posthouse_catalog::{self as catalog, Standing};
use posthouse_journal::sqlite::copy::instant;
use serde::Serialize;
use serde_json::Value;
#[cfg(test)]
use utoipa::ToSchema;

/// The APIs.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Apis {
    /// By name.
    apis: Vec<ApiSummary>,
}

/// An API in short.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct ApiSummary {
    /// Its name.
    name: String,
    /// What people call it.
    title: String,
    /// Who is asked about it.
    owner: String,
    /// Where it is declared.
    origin: DeclaredIn,
    /// Its versions, by name.
    versions: Vec<VersionSummary>,
}

/// A version in short.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct VersionSummary {
    /// Its name.
    name: String,
    /// `draft`, `published`, `deprecated` or `retired`.
    state: String,
    /// When it is expected to stop (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    sunset: Option<String>,
    /// The version to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    successor: Option<String>,
    /// How many routes it has.
    routes: usize,
}

/// Where an entry is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum DeclaredIn {
    /// In the configuration file, and changed only there.
    File,
    /// Over the admin API.
    Api,
}

/// An entry of the catalog: an API, a version or a plan.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct CatalogEntry {
    /// `api`, `version` or `plan`.
    kind: String,
    /// `users`, `users@v2`.
    name: String,
    /// Where it is declared.
    origin: DeclaredIn,
    /// The number of its last change.
    revision: u64,
    /// Who changed it last.
    changed_by: String,
    /// When, in milliseconds since 1970.
    changed_at_ms: u64,
    /// What it is, in the form of the configuration file. In place of an OpenAPI document or a
    /// `.proto` file stands its digest.
    spec: Value,
    /// The versions of an API.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<String>>,
    /// The routes of a version, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<String>>,
}

/// The plans.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Plans {
    /// By name.
    pub(in crate::admin) plans: Vec<CatalogEntry>,
}

/// The history of an entry.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct History {
    /// The latest first.
    revisions: Vec<RevisionEntry>,
}

/// One change of an entry.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
struct RevisionEntry {
    /// Its number.
    revision: u64,
    /// Who.
    who: String,
    /// When, in milliseconds since 1970.
    at_ms: u64,
    /// Why, in their words.
    note: String,
    /// `put`, `moved`, `rolled back` or `removed`.
    cause: String,
    /// To which part of its life a version came, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

/// What changes have come to, or would come to.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Changes {
    /// Whether nothing was changed: it was only asked what would.
    pub(in crate::admin) dry_run: bool,
    /// By entry.
    pub(in crate::admin) changes: Vec<EntryChange>,
}

/// What becomes of an entry.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct EntryChange {
    /// Which: `version users@v2`.
    pub(in crate::admin) entry: String,
    /// `created`, `changed` or `removed`.
    pub(in crate::admin) kind: String,
    /// What differs.
    pub(in crate::admin) fields: Vec<FieldChange>,
    /// What differs between two OpenAPI documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::admin) contract: Vec<ContractChange>,
}

/// What differs between two revisions of an entry.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct Differences {
    /// Field by field.
    fields: Vec<FieldChange>,
    /// What differs between the two OpenAPI documents.
    contract: Vec<ContractChange>,
}

/// A field that differs.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct FieldChange {
    /// A JSON pointer into the entry.
    pub(in crate::admin) pointer: String,
    /// What it was; absent when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) before: Option<Value>,
    /// What it is; absent when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) after: Option<Value>,
}

/// Something that differs between two OpenAPI documents.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::admin) struct ContractChange {
    /// The rule that found it: `operation-removed`.
    rule: String,
    /// The operation: `GET /users/{id}`; empty for the whole document.
    operation: String,
    /// A JSON pointer into the document.
    pointer: String,
    /// What differs.
    message: String,
    /// Whether clients of the old one may fail with the new one.
    breaking: bool,
}

impl Apis {
    pub(in crate::admin) fn of(standing: &Standing) -> Self {
        let mut apis = Vec::new();
        for (key, spec) in standing.specs() {
            let (Key::Api(name), Spec::Api(api)) = (key, spec.as_ref()) else { continue };
            let of_api = standing.specs().iter().filter_map(|(key, spec)| match key {
                Key::Version(api, version) if api == name => {
                    Some(VersionSummary::of(standing, key, version, spec.as_version()?))
                }
                _ => None,
            });
            apis.push(ApiSummary {
                name: name.to_string(),
                title: api.title.clone(),
                owner: api.owner.clone(),
                origin: origin(standing, key),
                versions: of_api.collect(),
            });
        }
        Self { apis }
    }
}

impl VersionSummary {
    fn of(
        standing: &Standing,
        key: &Key,
        name: &catalog::Name,
        version: &catalog::state::Version,
    ) -> Self {
        let ending = version.lifecycle.ending();
        Self {
            name: name.to_string(),
            state: version.lifecycle.word().into(),
            sunset: ending.and_then(|ending| ending.sunset).map(instant::show),
            successor: ending.and_then(|ending| Some(ending.successor.as_ref()?.to_string())),
            routes: standing.made().routes.iter().filter(|route| route.key == *key).count(),
        }
    }
}

impl CatalogEntry {
    /// `None` when there is no such entry.
    pub(in crate::admin) fn of(standing: &Standing, key: &Key) -> Option<Self> {
        let last = standing.state().entry(key)?.last()?;
        let spec = last.spec.as_ref()?;
        let (kind, name, versions, routes) = match key {
            Key::Api(api) => {
                let versions = standing.specs().keys().filter_map(|key| match key {
                    Key::Version(of, version) if of == api => Some(version.to_string()),
                    _ => None,
                });
                ("api", api.to_string(), Some(versions.collect()), None)
            }
            Key::Version(api, version) => {
                let routes = standing.made().routes.iter().filter(|route| route.key == *key);
                let names = routes.filter_map(|route| route.route["name"].as_str());
                let names = names.map(ToOwned::to_owned).collect();
                ("version", format!("{api}@{version}"), None, Some(names))
            }
            Key::Plan(plan) => ("plan", plan.to_string(), None, None),
        };
        Some(Self {
            kind: kind.into(),
            name,
            origin: origin(standing, key),
            revision: last.revision.get(),
            changed_by: last.who.to_string(),
            changed_at_ms: last.at.as_millis(),
            spec: history::shown(spec),
            versions,
            routes,
        })
    }
}

impl From<&Entry> for History {
    fn from(entry: &Entry) -> Self {
        Self { revisions: entry.revisions().rev().map(RevisionEntry::from).collect() }
    }
}

impl From<&Changed> for RevisionEntry {
    fn from(changed: &Changed) -> Self {
        let cause = match changed.cause {
            Cause::Put => "put".to_owned(),
            Cause::Moved => "moved".to_owned(),
            Cause::RolledBack(to) => format!("rolled back to {to}"),
            Cause::Removed => "removed".to_owned(),
        };
        let version = changed.spec.as_ref().and_then(|spec| spec.as_version());
        Self {
            revision: changed.revision.get(),
            who: changed.who.to_string(),
            at_ms: changed.at.as_millis(),
            note: changed.note.to_string(),
            cause,
            state: version.map(|version| version.lifecycle.word().to_owned()),
        }
    }
}

impl Changes {
    pub(in crate::admin) fn of(plan: Plan, dry_run: bool) -> Self {
        let change = |planned: catalog::plan::Planned| EntryChange {
            entry: entry(&planned.key),
            kind: match planned.kind {
                Kind::Created => "created".into(),
                Kind::Changed => "changed".into(),
                Kind::Removed => "removed".into(),
            },
            fields: fields(planned.comparison.fields),
            contract: contract(planned.comparison.contract),
        };
        Self { dry_run, changes: plan.planned.into_iter().map(change).collect() }
    }

    /// In a line, for the audit log.
    pub(in crate::admin) fn in_a_line(&self) -> String {
        const SHOWN: usize = 10;
        let changes = self.changes.iter().take(SHOWN);
        let told: Vec<String> =
            changes.map(|change| format!("{} {}", change.entry, change.kind)).collect();
        match self.changes.len().saturating_sub(SHOWN) {
            0 if told.is_empty() => "nothing changed".into(),
            0 => told.join(", "),
            more => format!("{} and {more} more", told.join(", ")),
        }
    }
}

impl From<Comparison> for Differences {
    fn from(comparison: Comparison) -> Self {
        Self { fields: fields(comparison.fields), contract: contract(comparison.contract) }
    }
}

pub(in crate::admin) fn fields(fields: Vec<history::Difference>) -> Vec<FieldChange> {
    let field = |one: history::Difference| FieldChange {
        pointer: one.pointer,
        before: one.before,
        after: one.after,
    };
    fields.into_iter().map(field).collect()
}

fn contract(changes: Option<Vec<catalog::openapi::diff::Change>>) -> Vec<ContractChange> {
    let change = |one: catalog::openapi::diff::Change| ContractChange {
        rule: one.rule.into(),
        operation: one.operation,
        breaking: one.breaking,
        pointer: one.pointer,
        message: one.message,
    };
    changes.into_iter().flatten().map(change).collect()
}

/// A key in the words of these answers.
pub(in crate::admin) fn entry(key: &Key) -> String {
    match key {
        Key::Api(api) => format!("api {api}"),
        Key::Version(api, version) => format!("version {api}@{version}"),
        Key::Plan(plan) => format!("plan {plan}"),
    }
}

fn origin(standing: &Standing, key: &Key) -> DeclaredIn {
    let last = standing.state().entry(key).and_then(Entry::last);
    match last.map(|last| last.origin) {
        Some(Origin::File) => DeclaredIn::File,
        _ => DeclaredIn::Api,
    }
}
