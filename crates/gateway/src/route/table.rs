//! Routes, and the table that finds the one for a call.

use std::sync::Arc;

use http::Method;
use smallvec::SmallVec;

use super::condition::Conditions;
use super::host::Hosts;
use super::path::Walk;
use crate::config::model::{self, Action, PathPattern, Segment, ServiceName};
use crate::http::head::Fields;

/// A route with its services at hand. `S` is the handle of a service.
#[derive(Debug)]
pub struct Route<S> {
    /// Its place in the file, from 0, and in the table.
    pub index: usize,
    /// The route as configured.
    pub config: model::Route,
    /// The services that share its calls, with their weights; empty when it answers by itself.
    pub split: Vec<(S, u32)>,
    /// The names of what its template catches, in order.
    pub(super) names: Vec<String>,
    pub(super) total_weight: u64,
}

/// All routes. Immutable: a change of configuration makes another table.
#[derive(Debug)]
pub struct RouteTable<S> {
    routes: Vec<Arc<Route<S>>>,
    conditions: Vec<Conditions>,
    hosts: Hosts,
}

/// What is known of a call when its route is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The host without its port, in any case; empty if there is none.
    pub host: &'a str,
    /// The path as sent; `*` for a call about the whole server.
    pub path: &'a str,
    /// The query as sent, without its question mark.
    pub query: Option<&'a str>,
    /// The method: for a WebSocket over HTTP/2 (RFC 8441) GET, as over HTTP/1.
    pub method: &'a Method,
    /// The header section.
    pub fields: &'a Fields,
}

/// The result of a lookup.
#[derive(Debug)]
pub enum Outcome<'t, S> {
    /// This route.
    Found(Found<'t, S>),
    /// No route.
    NotFound,
    /// No route for the method, only for these, of which there is at least one.
    MethodNotAllowed {
        /// For the header `Allow`, each once.
        allow: Vec<Method>,
    },
}

/// A route and what its template caught.
#[derive(Debug)]
pub struct Found<'t, S> {
    /// The route.
    pub route: &'t Arc<Route<S>>,
    /// What was caught of the path.
    pub caught: Caught,
}

/// The parts of a path that a template caught, as places in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caught(SmallVec<[(usize, usize); 4]>);

/// The place of a route in its table.
pub(super) type RouteId = usize;

impl<S> RouteTable<S> {
    /// A table of these routes, which are in the order of the file. `lookup` is asked for the
    /// handle of each service that they name.
    pub fn new(routes: Vec<model::Route>, lookup: &mut dyn FnMut(&ServiceName) -> S) -> Self {
        let conditions: Vec<Conditions> =
            routes.iter().map(|route| Conditions::new(&route.matching)).collect();
        let mut hosts = Hosts::default();
        for (id, route) in routes.iter().enumerate() {
            hosts.entry(&route.matching.host).leaf(&route.matching.path).push(id);
        }
        for paths in hosts.groups() {
            // Stable: the order in the file decides last.
            paths.finish(|id| conditions[*id].rank());
        }
        let routes = routes.into_iter().enumerate();
        let routes = routes.map(|(index, route)| Arc::new(Route::new(index, route, lookup)));
        Self { routes: routes.collect(), conditions, hosts }
    }

    /// All routes in the order of the file.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route<S>>] {
        &self.routes
    }

    /// The route of a call; see [`crate::route`] for which one it is.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Outcome<'_, S> {
        self.find_counting(lookup).0
    }

    /// The route of a call, and what it cost to find it in steps that do not depend on the machine.
    pub(super) fn find_counting(&self, lookup: &Lookup<'_>) -> (Outcome<'_, S>, usize) {
        let mut wrong_method = false;
        let mut walk = Walk {
            path: lookup.path,
            accept: |id: RouteId| {
                let conditions = &self.conditions[id];
                let allowed = conditions.allow(lookup.method);
                wrong_method |= !allowed;
                allowed && conditions.hold(lookup)
            },
            caught: Caught::default(),
            steps: 0,
        };
        let found = self.hosts.find(lookup.host, |paths| walk.find(paths));
        let Walk { mut caught, steps, .. } = walk;
        let outcome = match found {
            Some(id) => {
                let route = &self.routes[id];
                caught.0.truncate(route.names.len());
                Outcome::Found(Found { route, caught })
            }
            None if wrong_method => self.allowed(lookup),
            None => Outcome::NotFound,
        };
        (outcome, steps)
    }

    /// The answer to a call for which no route was found, though some were refused by the method.
    fn allowed(&self, lookup: &Lookup<'_>) -> Outcome<'_, S> {
        let mut allow: Vec<Method> = Vec::new();
        let mut walk = Walk {
            path: lookup.path,
            accept: |id: RouteId| {
                let conditions = &self.conditions[id];
                if conditions.hold(lookup) {
                    for method in &conditions.methods {
                        if !allow.contains(method) {
                            allow.push(method.clone());
                        }
                    }
                }
                false
            },
            caught: Caught::default(),
            steps: 0,
        };
        let _none = self.hosts.find(lookup.host, |paths| walk.find(paths));
        if allow.is_empty() { Outcome::NotFound } else { Outcome::MethodNotAllowed { allow } }
    }
}

impl<S> Route<S> {
    fn new(index: usize, config: model::Route, lookup: &mut dyn FnMut(&ServiceName) -> S) -> Self {
        let split: Vec<(S, u32)> = match &config.action {
            Action::Forward { split, .. } => {
                split.iter().map(|(name, weight)| (lookup(name), *weight)).collect()
            }
            Action::Redirect(_) | Action::Respond(_) => Vec::new(),
        };
        let names = match &config.matching.path {
            PathPattern::Template(segments) => segments.iter().filter_map(caught_name).collect(),
            PathPattern::Any | PathPattern::Regex(_) => Vec::new(),
        };
        let total_weight = split.iter().map(|(_, weight)| u64::from(*weight)).sum();
        Self { index, config, split, names, total_weight }
    }

    /// What was caught under a name, as sent; nothing for a name that the template does not have.
    #[must_use]
    pub fn caught<'p>(&self, caught: &Caught, name: &str, path: &'p str) -> &'p str {
        let index = self.names.iter().position(|known| known == name);
        index.map_or("", |index| caught.get(index, path))
    }
}

fn caught_name(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Literal(_) => None,
        Segment::Parameter(name) | Segment::Rest(name) => Some(name.clone()),
    }
}

impl Caught {
    /// What was caught at this place of the template, counted from 0, in the path of the lookup.
    #[must_use]
    pub fn get<'p>(&self, index: usize, path: &'p str) -> &'p str {
        let (start, end) = self.0.get(index).copied().unwrap_or_default();
        path.get(start..end).unwrap_or_default()
    }

    /// How many parts were caught.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was caught.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, start: usize, end: usize) {
        self.0.push((start, end));
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
