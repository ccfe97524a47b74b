//! What one pillar says in another's words: the routes and plans that the file's APIs make, which the
//! gateway is to know; the providers that guards name; the plans that consumers have.

use std::collections::{BTreeMap, BTreeSet};

use posthouse_base::config::{Path, Report};
use posthouse_catalog as catalog;
use posthouse_catalog::config::RawApi;
use posthouse_catalog::state::{Key, Specs};
use posthouse_gateway::config::Config as Gateway;
use posthouse_identity as identity;
use posthouse_identity::consumers;
use serde_json::Value;

use crate::guard::made::{self, Context};

/// What the file declares of the catalog. What is wrong with plans as the gateway reads them, it says
/// itself.
pub(super) fn catalog(
    apis: BTreeMap<String, RawApi>,
    plans: Option<&Value>,
    report: &mut Report,
) -> Specs {
    let plans = plans.and_then(|plans| serde_json::from_value(plans.clone()).ok());
    let raw = catalog::Raw { apis, plans: plans.unwrap_or_default() };
    let mut own = Report::new();
    let specs = catalog::config::check::check(&raw, &catalog::Limits::default(), &mut own);
    report.merge(own);
    specs
}

/// What was checked so far.
pub(super) type Parts<'a> =
    (Option<&'a identity::Config>, Option<&'a consumers::Declared>, Option<&'a Gateway>);

/// Looks at what pillars say of each other.
pub(super) fn check(
    specs: &Specs,
    context: &Context,
    (identity, consumers, gateway): Parts<'_>,
    report: &mut Report,
) {
    // Plans the gateway has looked at where they stand.
    let plans = BTreeMap::new();
    let made = catalog::routes::Made { plans, ..catalog::routes::made(specs) };
    let checked = made::checked(&made, context);
    for problem in &checked.problems {
        report.error(&place(&problem.key, &problem.place), problem.message.clone());
    }
    if let Some(gateway) = gateway {
        let wrong = checked.problems.len();
        for problem in checked.without_those_of(gateway, &made).problems.into_iter().skip(wrong) {
            report.warning(&place(&problem.key, &problem.place), problem.message);
        }
    }
    if let (Some(identity), Some(gateway)) = (identity, gateway) {
        let known: BTreeSet<&str> = identity.providers().map(AsRef::as_ref).collect();
        let root = Path::root();
        let guards = gateway.routes.iter().enumerate().filter_map(|(index, route)| {
            Some((root.key("routes").index(index).key("guard"), route.guard.as_ref()?))
        });
        let default = gateway.guard.iter().map(|guard| (root.key("guard"), guard));
        for (path, guard) in default.chain(guards) {
            for name in guard.providers.iter().filter(|name| !known.contains(&***name)) {
                // A route that has its provider from the file's own guard would only repeat it.
                let is_inherited = path != root.key("guard")
                    && gateway.guard.as_ref().is_some_and(|all| all.providers.contains(name));
                if !is_inherited {
                    unknown_provider(&path.key("identity"), name, &known, report);
                }
            }
        }
    }
    for (consumer, plan) in consumers.into_iter().flat_map(consumers::Declared::plans) {
        if Key::plan(plan).is_ok_and(|key| !specs.contains_key(&key)) {
            let path = Path::root().key("consumers").key(consumer).key("plan");
            let message = format!("the file has no plan `{plan}`: without it there are no limits");
            report.warning(&path, message).help("add it to `plans`, or over the admin API");
        }
    }
}

fn unknown_provider(path: &Path, name: &str, known: &BTreeSet<&str>, report: &mut Report) {
    let finding = report.error(path, format!("`identity.providers` has no `{name}`"));
    finding.suggest(name, known.iter().copied());
}

/// Where in the file something of the catalog stands.
fn place(key: &Key, pointer: &str) -> Path {
    let root = Path::root();
    let entry = match key {
        Key::Api(api) => root.key("apis").key(api.as_str()),
        Key::Version(api, version) => {
            root.key("apis").key(api.as_str()).key("versions").key(version.as_str())
        }
        Key::Plan(plan) => root.key("plans").key(plan.as_str()),
    };
    let (pointer, _within_a_document) = pointer.split_once('#').unwrap_or((pointer, ""));
    pointer.split('/').filter(|step| !step.is_empty()).fold(entry, |path, step| {
        step.parse::<usize>().map_or_else(|_| path.key(step), |index| path.index(index))
    })
}
