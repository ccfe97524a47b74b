//! What the catalog makes, as the gateway takes it: routes and plans in the form of the file, checked
//! as they would be in the file, one by one, so that what is wrong with one spoils no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthouse_catalog as catalog;
use posthouse_catalog::state::Key;
use posthouse_gateway::config::Config;
use posthouse_gateway::config::model::{Limit, Route, Service, ServiceName};
use serde_json::{Value, json};

use crate::calls::granted::is_same;
use crate::config::check_part;

/// What routes are looked at by, besides themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// The file's `guard`, as it is written: what a route's own leaves out.
    pub(crate) guard: Value,
    /// The providers that there are.
    pub(crate) providers: BTreeSet<Arc<str>>,
}

/// What the gateway is to know besides the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    pub(crate) routes: Vec<Route>,
    /// Those that routes name and the file does not describe.
    services: BTreeMap<ServiceName, Service>,
    plans: BTreeMap<Arc<str>, Vec<Limit>>,
    /// What cannot be taken.
    pub(crate) problems: Vec<Problem>,
}

/// Something that cannot be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: Key,
    /// A JSON pointer into the entry.
    pub(crate) place: String,
    pub(crate) message: String,
}

impl Made {
    /// Adds it to the gateway's configuration of the file. The file's routes come first.
    pub(crate) fn add_to(&self, config: &mut Config) {
        config.routes.extend(self.routes.iter().cloned());
        for (name, service) in &self.services {
            config.services.entry(Arc::clone(name)).or_insert_with(|| service.clone());
        }
        config.plans.extend(self.plans.iter().map(|(name, plan)| (Arc::clone(name), plan.clone())));
    }

    /// Takes out what the file has a route of its own for: the file wins, and it is said.
    pub(crate) fn without_those_of(mut self, file: &Config, made: &catalog::routes::Made) -> Self {
        let (problems, routes) = (&mut self.problems, &mut self.routes);
        routes.retain(|route| {
            let same = |own: &&Route| {
                own.matching.headers.is_empty() && is_same(&own.matching, &route.matching)
            };
            let Some(own) = file.routes.iter().find(same) else { return true };
            let named = |one: &&catalog::routes::MadeRoute| one.route["name"] == *route.name;
            if let Some(origin) = made.routes.iter().find(named) {
                problems.push(Problem {
                    key: origin.key.clone(),
                    place: origin.place.clone(),
                    message: format!("the file's own route `{}` is for these calls", own.name),
                });
            }
            false
        });
        self
    }
}

/// Checks what the catalog makes.
pub(crate) fn checked(made: &catalog::routes::Made, context: &Context) -> Made {
    let mut all = Made::default();
    for (key, why) in &made.problems {
        all.problems.push(Problem { key: key.clone(), place: String::new(), message: why.clone() });
    }
    for one in &made.routes {
        match route(&one.route, context) {
            Ok(config) => {
                all.routes.extend(config.routes);
                all.services.extend(config.services);
            }
            Err(message) => {
                let (key, place) = (one.key.clone(), one.place.clone());
                all.problems.push(Problem { key, place, message });
            }
        }
    }
    for (name, plan) in &made.plans {
        match (check_part(&json!({ "plans": { name: plan } })), Key::plan(name)) {
            (Ok(config), _) => all.plans.extend(config.plans),
            (Err(message), Ok(key)) => {
                all.problems.push(Problem { key, place: "/limits".into(), message });
            }
            (Err(message), Err(_)) => tracing::error!(plan = name, "a plan is no plan: {message}"),
        }
    }
    all
}

fn route(route: &Value, context: &Context) -> Result<Config, String> {
    let mut part = json!({ "routes": [route] });
    if context.guard.is_object() {
        part["guard"] = context.guard.clone();
    }
    let config = check_part(&part)?;
    let guards = config.routes.iter().filter_map(|route| route.guard.as_ref());
    let mut named = guards.flat_map(|guard| &guard.providers);
    match named.find(|name| !context.providers.contains(*name)) {
        Some(name) => Err(format!("guard.identity: `identity.providers` has no `{name}`")),
        None => Ok(config),
    }
}
