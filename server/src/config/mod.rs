//! The configuration file: read, checked as a whole, every mistake found in one pass.
//!
//! In reading order: [`raw`] (the file as written), [`yaml`] (text to a tree with places), [`fill`]
//! (`${env:NAME}`), [`schema`] and [`structure`] (what is written wrongly), the pillars' own checks
//! (what is meant wrongly), [`guard`] (what one pillar says of another's), [`finding`] (how it is
//! shown). The way through all of it is [`check_text`].

pub(crate) mod admin;
mod fill;
mod finding;
pub(crate) mod grant;
mod guard;
mod node;
mod raw;
mod schema;
mod structure;
#[cfg(test)]
mod tests;
mod yaml;

use std::io;
use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};
use std::sync::LazyLock;

use posthouse_base::config::{Path, Report};
use posthouse_broker as broker;
use posthouse_catalog as catalog;
use posthouse_identity as identity;
use posthouse_identity::consumers;
use posthouse_journal::config as journal;
use posthouse_registry as registry;
use serde_json::Value as Json;

pub(crate) use admin::Admin;
pub(crate) use finding::{Findings, Located};
pub(crate) use schema::schema;

use crate::guard::made;
use grant::Grant;
use node::{Node, Position};
use raw::Raw;

/// What runs when no file is named.
pub(crate) const DEFAULTS: &str = "listeners: [ { address: 127.0.0.1:8080, names: true } ]\nadmin: {}\nregistry: {}\nmessages: { http: {} }\n";

/// The checked configuration. What is absent is off.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) admin: Option<Admin>,
    pub(crate) registry: Option<registry::Config>,
    pub(crate) messages: Option<broker::Config>,
    /// The engine that names come from where the registry itself does not run.
    pub(crate) names: Option<registry::Config>,
    pub(crate) journal: journal::Config,
    pub(crate) gateway: Option<posthouse_gateway::config::Config>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) identity: identity::Config,
    pub(crate) consumers: consumers::Declared,
    /// APIs and plans that the file declares.
    pub(crate) catalog: catalog::state::Specs,
    /// What routes that do not stand in the file are looked at by.
    pub(crate) context: made::Context,
}

/// A configuration and what was found about it.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Absent when there are errors.
    pub(crate) config: Option<Config>,
    pub(crate) findings: Findings,
    /// The files beside the text that were read for it; complete when there is a configuration.
    pub(crate) files: Vec<PathBuf>,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    /// A text that is part of the program, and the name to show for it.
    Text {
        name: &'static str,
        text: String,
    },
}

impl Source {
    /// The text as it is now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn text(&self) -> io::Result<String> {
        match self {
            Self::File(path) => std::fs::read_to_string(path),
            Self::Text { text, .. } => Ok(text.clone()),
        }
    }

    /// How long the text is in bytes, as far as is known.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(path) => path.metadata().map_or(0, |data| data.len()),
            Self::Text { text, .. } => text.len() as u64,
        }
    }

    /// As its user calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => (*name).to_owned(),
        }
    }

    /// Checks a text as if it were there.
    pub(crate) fn check(&self, text: &str) -> Checked {
        let folder = match self {
            Self::File(path) => path.parent().unwrap_or(FilePath::new("")),
            Self::Text { .. } => FilePath::new(""),
        };
        check_text(text, &self.name(), folder)
    }
}

/// Checks one route that stands by itself, and is not the file's, as it would be checked in the file.
/// Returns what the gateway is then to know: the route, and its service unless the file describes it.
///
/// # Errors
/// With the first thing that is wrong with it.
pub(crate) fn check_route(text: &str) -> Result<posthouse_gateway::config::Config, String> {
    let mut findings = Findings::new("route");
    let route = yaml::read(text, None, &mut findings).map(|tree| tree.to_json());
    let route = route.filter(|_| !findings.has_errors()).ok_or_else(|| said(&findings))?;
    check_part(&serde_json::json!({ "routes": [route] }))
}

/// Checks sections of the gateway's as they would be checked in the file. Nothing is filled in.
///
/// # Errors
/// With the first thing that is wrong with them.
pub(crate) fn check_part(part: &Json) -> Result<posthouse_gateway::config::Config, String> {
    let mut findings = Findings::new("part");
    let tree = yaml::read(&part.to_string(), None, &mut findings);
    let base = FilePath::new("");
    let config = tree.and_then(|tree| check_tree(tree, Whole::No, base, &mut findings));
    let config = config.filter(|_| !findings.has_errors()).and_then(|config| config.gateway);
    config.ok_or_else(|| said(&findings))
}

/// The first error.
fn said(findings: &Findings) -> String {
    let errors = findings.findings.iter();
    let mut errors = errors.filter(|one| one.severity == posthouse_base::config::Severity::Error);
    let one = errors.next().map(|one| match one.path.strip_prefix("routes[0]") {
        Some(place) => format!("{}: {}", place.trim_start_matches('.'), one.message),
        None => one.message.clone(),
    });
    one.unwrap_or_else(|| "it is no route".to_owned())
}

/// Reads a file, or a part of one, as it is written: references are filled in from `base`, and what
/// it means is for others to check.
///
/// # Errors
/// When it is no YAML, and when something cannot be filled in.
pub(crate) fn read_part(text: &str, name: &str, base: &FilePath) -> Result<Json, Findings> {
    let mut findings = Findings::new(name);
    let tree = yaml::read(text, Some(base), &mut findings).map(|tree| tree.to_json());
    match tree {
        Some(tree) if !findings.has_errors() => Ok(tree),
        _ => Err(findings),
    }
}

/// Checks a whole configuration. Relative paths start at `base`.
pub(crate) fn check_text(text: &str, name: &str, base: &FilePath) -> Checked {
    let mut findings = Findings::new(name);
    let tree = yaml::read(text, Some(base), &mut findings);
    let mut files: Vec<PathBuf> = tree
        .iter()
        .flat_map(Node::sources)
        .flat_map(|written| fill::files(written, base))
        .collect();
    let config = tree
        .and_then(|tree| check_tree(tree, Whole::Yes, base, &mut findings))
        .filter(|_| !findings.has_errors());
    if let Some(gateway) = config.as_ref().and_then(|config| config.gateway.as_ref()) {
        files.extend(gateway.files().map(FilePath::to_owned));
    }
    findings.sort();
    Checked { config, findings, files }
}

/// Whether what is checked is a whole file: in a part, names may be of what is elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

fn check_tree(
    mut tree: Node,
    whole: Whole,
    base: &FilePath,
    findings: &mut Findings,
) -> Option<Config> {
    let named: Vec<String> = match &tree.value {
        node::Value::Mapping(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
        _ => Vec::new(),
    };
    // Made once: it is the same for every text.
    static SCHEMA: LazyLock<Json> = LazyLock::new(schema);
    let faulty = structure::check(&mut tree, &SCHEMA, findings);
    let raw: Raw = match serde_json::from_value(tree.to_json()) {
        Ok(raw) => raw,
        Err(error) => {
            // The schema and the reader disagree; the user still gets an answer.
            findings.error(Position { line: 1, column: 1 }, "", error.to_string());
            return None;
        }
    };
    let mut report = Report::new();
    let written = |key| tree.get(key).map(Node::to_json);
    let written = Written { whole, guard: written("guard"), plans: written("plans") };
    let config = check_meaning(raw, written, &named, base, &mut report);
    let caused = |finding: &&posthouse_base::config::Finding| {
        let (_, path) = tree.locate(finding.path.as_str());
        !faulty.iter().any(|faulty| follows_from(&path, faulty.as_str()))
    };
    report.findings().iter().filter(caused).for_each(|finding| findings.adopt(finding, &tree));
    config
}

/// Whether a finding at `path` is likely to come from a mistake at `faulty`, which has been
/// reported and taken out: it is about that, something in it, or what directly holds it.
fn follows_from(path: &str, faulty: &str) -> bool {
    let within = path
        .strip_prefix(faulty)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let holder = faulty.rfind(['.', '[']).map_or("", |end| &faulty[..end]);
    within || (!holder.is_empty() && path == holder)
}

/// What was checked, and sections of it that are read by more than one.
struct Written {
    whole: Whole,
    guard: Option<Json>,
    plans: Option<Json>,
}

fn check_meaning(
    raw: Raw,
    written: Written,
    named: &[String],
    base: &FilePath,
    report: &mut Report,
) -> Option<Config> {
    let root = Path::root();
    let is_named = |key: &str| named.iter().any(|name| name == key);
    let admin = raw.admin.as_ref().map(|admin| admin::check(admin, &root.key("admin"), report));
    let registry = raw.registry.as_ref().map(|registry| {
        warn_open_registry(registry, &root.key("registry"), report);
        registry::Config::check(registry, &root.key("registry"), report)
    });
    let messages = raw.messages.as_ref().map(|messages| {
        let config = broker::Config::check(messages, &root.key("messages"), report);
        config.map(|config| config.relative_to(base))
    });
    let journal = journal::Config::check(&raw.journal, &root.key("journal"), report);
    let identity = identity::Config::check(&raw.identity, &root.key("identity"), report);
    let consumers = consumers::Declared::check(&raw.consumers, &root.key("consumers"), report);
    let catalog = guard::catalog(raw.apis, written.plans.as_ref(), report);
    let grants = grant::check(&raw.grants, &root.key("grants"), report);
    let calls = ["listeners", "services", "routes", "guard", "plans", "gateway"];
    let calls = calls.into_iter().any(is_named);
    let gateway = calls.then(|| posthouse_gateway::config::check(raw.gateway, base, report));
    let providers = identity.iter().flat_map(identity::Config::providers).cloned().collect();
    let context = made::Context { guard: written.guard.unwrap_or_default(), providers };
    let parts = (identity.as_ref(), consumers.as_ref(), gateway.as_ref());
    if written.whole == Whole::Yes {
        guard::check(&catalog, &context, parts, report);
    }
    if named.is_empty() {
        report
            .error(&root, "nothing is on: the file names no section")
            .help("name at least one, for example `registry: {}`");
    }
    // An absent section is off; one that is there but wrong is an error in the report.
    let admin = match admin {
        None => None,
        Some(admin) => Some(admin?),
    };
    let registry = match registry {
        None => None,
        Some(registry) => Some(registry?),
    };
    let messages = match messages {
        None => None,
        Some(messages) => Some(messages?),
    };
    Some(Config {
        data: base.join(raw.data),
        admin,
        registry,
        messages,
        names: None,
        journal: journal?.relative_to(base),
        gateway,
        grants,
        identity: identity?,
        consumers: consumers?,
        catalog,
        context,
    })
}

/// Consul's own clients need bring no token, so this is allowed; but it should be known.
fn warn_open_registry(raw: &registry::Raw, path: &Path, report: &mut Report) {
    let Ok(address) = raw.address.parse::<SocketAddr>() else { return };
    if !address.ip().is_loopback() && raw.tokens.is_none() {
        let message = format!(
            "whoever reaches {address} can register services, and so be called in their place"
        );
        let help = "give out `registry.tokens`, or let only your own services reach it";
        report.warning(&path.key("address"), message).help(help);
    }
}
