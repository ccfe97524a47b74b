//! What is going on, for people: plain values, taken at one moment.

use std::sync::Arc;

use crate::cluster::Coarse;
use crate::cluster::view::ServiceView;
use crate::config::model::{Action, HostPattern, PathPattern, Segment};
use crate::shared::Shared;

/// The gateway as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Services, sorted by name.
    pub services: Vec<ServiceView>,
    /// Routes, in the order of the file.
    pub routes: Vec<RouteView>,
    /// Connections from clients.
    pub connections: usize,
}

/// A route as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Its name.
    pub name: Arc<str>,
    /// Host condition as written; `*` for every host.
    pub host: String,
    /// Path condition as written; `*` for every path.
    pub path: String,
    /// Methods; all if empty.
    pub methods: Vec<String>,
    /// The services that share its calls, with their weights.
    pub services: Vec<(Arc<str>, u32)>,
    /// What it does instead of forwarding.
    pub answers: Option<&'static str>,
}

impl View {
    pub(crate) fn of(shared: &Shared) -> Self {
        let now = Coarse::now();
        let snapshot = shared.snapshot.load();
        let routes = snapshot.routes.routes().iter().map(|route| {
            let matching = &route.config.matching;
            let (services, answers) = match &route.config.action {
                Action::Forward { split, .. } => (split.clone(), None),
                Action::Redirect(_) => (Vec::new(), Some("redirect")),
                Action::Respond(_) => (Vec::new(), Some("respond")),
            };
            RouteView {
                name: Arc::clone(&route.config.name),
                host: host(&matching.host),
                path: path(&matching.path),
                methods: matching.methods.iter().map(ToString::to_string).collect(),
                services,
                answers,
            }
        });
        Self {
            services: shared.directory.all().iter().map(|service| service.view(now)).collect(),
            routes: routes.collect(),
            connections: shared.open_connections(),
        }
    }
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".into(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Below(suffix) => format!("*{suffix}"),
    }
}

fn path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Any => "*".into(),
        PathPattern::Regex(regex) => format!("~ {regex}"),
        PathPattern::Template(segments) => {
            let shown = segments.iter().map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Parameter(name) => format!("/{{{name}}}"),
                Segment::Rest(name) => format!("/{{*{name}}}"),
            });
            shown.collect()
        }
    }
}
