//! Which of the routes that services bring are taken: those for calls that the file grants them, and
//! that the file has no route of its own for. Pure.
//!
//! The file wins: within what it grants, a route of its own is never passed over. Where both could
//! mean the same call, a service's route is taken only if the file's goes before by the rules of
//! routing.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthouse_gateway::config::Config;
use posthouse_gateway::config::model::{
    Action, HostPattern, Match, PathPattern, Route, Segment, Service, ServiceName,
};

use crate::config::check_route;
use crate::config::grant::Grant;

/// Routes that one service may have; more are refused.
const MAX_ROUTES: usize = 64;

/// The longest text of a route.
const MAX_TEXT: usize = 64 << 10;

/// Who brings a route, and under which name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) service: String,
    /// A key's last part, or a tag.
    pub(crate) name: String,
}

/// The routes that services bring, as they write them.
pub(crate) type Proposals = BTreeMap<Source, String>;

/// A route that is not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) source: Source,
    pub(crate) reason: String,
}

/// What services bring, looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admitted {
    pub(crate) routes: Vec<Route>,
    pub(crate) services: BTreeMap<ServiceName, Service>,
    pub(crate) refused: Vec<Refused>,
}

impl Admitted {
    /// What services bring, where the file grants nothing to anybody.
    pub(crate) fn nothing(proposals: &Proposals) -> Self {
        let refused = proposals
            .keys()
            .map(|source| Refused { source: source.clone(), reason: no_grant(&source.service) });
        Self { refused: refused.collect(), ..Self::default() }
    }

    /// Adds what was taken to a configuration of the file.
    pub(crate) fn add_to(&self, config: &mut Config) {
        config.routes.extend(self.routes.iter().cloned());
        for (name, service) in &self.services {
            config.services.entry(Arc::clone(name)).or_insert_with(|| service.clone());
        }
    }
}

/// Looks at what services bring, by what the file grants and has itself.
pub(crate) fn admit(proposals: &Proposals, grants: &[Grant], file: &Config) -> Admitted {
    let mut admitted = Admitted::default();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (source, text) in proposals {
        let count = counts.entry(source.service.as_str()).or_default();
        let taken = if *count < MAX_ROUTES {
            look(source, text, grants, file, &admitted.routes)
        } else {
            Err(format!("a service may have {MAX_ROUTES} routes"))
        };
        match taken {
            Ok((route, services)) => {
                *count += 1;
                admitted.routes.push(route);
                admitted.services.extend(services);
            }
            Err(reason) => admitted.refused.push(Refused { source: source.clone(), reason }),
        }
    }
    admitted
}

type Taken = (Route, BTreeMap<ServiceName, Service>);

fn look(
    source: &Source,
    text: &str,
    grants: &[Grant],
    file: &Config,
    others: &[Route],
) -> Result<Taken, String> {
    let is_own = |grant: &&Grant| grant.service.eq_ignore_ascii_case(&source.service);
    let grants: Vec<&Grant> = grants.iter().filter(is_own).collect();
    if grants.is_empty() {
        return Err(no_grant(&source.service));
    }
    if text.len() > MAX_TEXT {
        return Err(format!("it has more than {MAX_TEXT} bytes"));
    }
    let checked = check_route(text)?;
    let mut routes = checked.routes.into_iter();
    let (Some(mut route), None) = (routes.next(), routes.next()) else {
        return Err("it is not one route".into());
    };
    goes_to(&route, &source.service)?;
    if route.guard.is_some() {
        return Err("who may call is for the file to say, not for a service".into());
    }
    let segments = template(&route.matching)
        .ok_or("its path is no template: what it means cannot be told from outside")?;
    let covers = |grant: &&&Grant| {
        grant.hosts.iter().any(|host| is_within(&route.matching.host, host))
            && grant.paths.iter().any(|prefix| begins_with(segments, prefix))
    };
    let Some(grant) = grants.iter().find(covers) else {
        return Err("the file does not grant this host and path".into());
    };
    let own = file.routes.iter().filter(|own| {
        template(&own.matching)
            .is_some_and(|path| grant.paths.iter().any(|prefix| begins_with(path, prefix)))
    });
    if let Some(own) = own.into_iter().find(|own| stands_in_the_way(&own.matching, &route.matching))
    {
        return Err(format!("the file's own route `{}` is for these calls", own.name));
    }
    if let Some(other) = others.iter().find(|other| is_same(&other.matching, &route.matching)) {
        return Err(format!("`{}` is for the same calls", other.name));
    }
    route.name = format!("{}/{}", source.service, source.name).into();
    if let Some(own) = file.routes.iter().find(|own| own.name == route.name) {
        return Err(format!("the file has a route named `{}`", own.name));
    }
    Ok((route, checked.services))
}

fn no_grant(service: &str) -> String {
    format!("the file grants `{service}` no routes")
}

/// A service speaks for itself only.
fn goes_to(route: &Route, service: &str) -> Result<(), String> {
    match &route.action {
        Action::Forward { split, .. }
            if split.iter().all(|(name, _)| name.eq_ignore_ascii_case(service)) =>
        {
            Ok(())
        }
        Action::Forward { .. } => {
            Err(format!("a route that `{service}` brings leads to `{service}`"))
        }
        Action::Redirect(_) | Action::Respond(_) => {
            Err("a service's route forwards to it, and nothing else".into())
        }
    }
}

fn template(matching: &Match) -> Option<&[Segment]> {
    match &matching.path {
        PathPattern::Template(segments) => Some(segments),
        PathPattern::Any | PathPattern::Regex(_) => None,
    }
}

fn begins_with(segments: &[Segment], prefix: &[String]) -> bool {
    let literal = |(segment, text): (&Segment, &String)| matches!(segment, Segment::Literal(literal) if literal == text);
    segments.len() >= prefix.len() && segments.iter().zip(prefix).all(literal)
}

/// Whether every host that `inner` means, `outer` means too.
fn is_within(inner: &HostPattern, outer: &HostPattern) -> bool {
    match (inner, outer) {
        (_, HostPattern::Any) => true,
        (HostPattern::Exact(name), HostPattern::Exact(other)) => name == other,
        (HostPattern::Exact(name), HostPattern::Below(suffix))
        | (HostPattern::Below(name), HostPattern::Below(suffix)) => name.ends_with(suffix),
        (HostPattern::Any, _) | (HostPattern::Below(_), HostPattern::Exact(_)) => false,
    }
}

/// Whether the file's route and a service's mean some of the same calls, and the file's does not go
/// before for all of them.
fn stands_in_the_way(file: &Match, service: &Match) -> bool {
    let (Some(own), Some(other)) = (template(file), template(service)) else { return false };
    let hosts = is_within(&file.host, &service.host) || is_within(&service.host, &file.host);
    let methods = file.methods.is_empty()
        || service.methods.is_empty()
        || file.methods.iter().any(|method| service.methods.contains(method));
    let goes_before = if file.host == service.host {
        is_before(own, other)
    } else {
        is_within(&file.host, &service.host)
    };
    hosts && methods && meet(own, other) && !goes_before
}

/// Whether of two templates, which mean some of the same paths, the first goes before: by the first
/// segment in which they differ, as routing does it.
fn is_before(one: &[Segment], other: &[Segment]) -> bool {
    let rank = |segment: Option<&Segment>| match segment {
        None | Some(Segment::Literal(_)) => 0,
        Some(Segment::Parameter(_)) => 1,
        Some(Segment::Rest(_)) => 2,
    };
    let mut places = 0..one.len().max(other.len());
    let ranks = places.find_map(|at| {
        let ranks = (rank(one.get(at)), rank(other.get(at)));
        (ranks.0 != ranks.1).then_some(ranks)
    });
    ranks.is_some_and(|(one, other)| one < other)
}

/// Whether two templates mean some of the same paths.
fn meet(one: &[Segment], other: &[Segment]) -> bool {
    match (one, other) {
        ([Segment::Rest(_), ..], _) | (_, [Segment::Rest(_), ..]) | ([], []) => true,
        ([], _) | (_, []) => false,
        ([Segment::Literal(a), ..], [Segment::Literal(b), ..]) if a != b => false,
        ([_, one @ ..], [_, other @ ..]) => meet(one, other),
    }
}

/// Whether two services' routes would be for the same calls.
pub(crate) fn is_same(one: &Match, other: &Match) -> bool {
    let (Some(a), Some(b)) = (template(one), template(other)) else { return false };
    let same_host = one.host == other.host;
    let methods = one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|method| other.methods.contains(method));
    let conditions = one.headers.is_empty() == other.headers.is_empty()
        && one.query.is_empty() == other.query.is_empty();
    same_host && methods && conditions && meet(a, b) && !is_before(a, b) && !is_before(b, a)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::check_text;

    const FILE: &str = "
routes:
  - { name: all, match: { path: '/{*rest}' }, service: web }
  - { name: me, match: { host: shop.example, path: /users/me }, service: web }
  - { name: one, match: { host: shop.example, path: '/users/{id}/cart' }, service: web }
  - { name: old, match: { host: shop.example, path: '/users/old/{*rest}' }, respond: { status: 410 } }
grants:
  - { service: users, hosts: [ shop.example, '*.eu.shop.example' ], paths: [ /users ] }
  - { service: any, hosts: [ '*' ], paths: [ / ] }
";

    fn look(service: &str, text: &str) -> Result<Vec<String>, String> {
        let checked = check_text(FILE, "f", Path::new(""));
        let config = checked.config.unwrap_or_else(|| panic!("{:?}", checked.findings));
        let source = Source { service: service.into(), name: "r".into() };
        let file = config.gateway.expect("routes");
        let admitted = admit(&[(source, text.to_owned())].into(), &config.grants, &file);
        match admitted.refused.into_iter().next() {
            Some(refused) => Err(refused.reason),
            None => Ok(admitted.routes.iter().map(|route| route.name.to_string()).collect()),
        }
    }

    fn taken(service: &str, text: &str) {
        let name = format!("{service}/r");
        assert_eq!(look(service, text), Ok(vec![name]), "{text}");
    }

    fn refused(service: &str, text: &str, part: &str) {
        let reason = look(service, text).expect_err(text);
        assert!(reason.contains(part), "{text}: {reason}");
    }

    fn route(host: &str, path: &str) -> String {
        format!("{{ match: {{ host: '{host}', path: '{path}' }}, service: users, timeout: 5s }}")
    }

    #[test]
    fn what_the_file_grants_is_taken() {
        for (host, path) in [
            ("shop.example", "/users"),
            ("SHOP.example", "/users/list"),
            ("a.eu.shop.example", "/users/{*rest}"),
            ("*.eu.shop.example", "/users/new"),
            // The file's own are more specific wherever both hold, and go before.
            ("shop.example", "/users/{*rest}"),
            ("shop.example", "/users/{id}"),
            ("shop.example", "/users/{id}/{*rest}"),
        ] {
            taken("users", &route(host, path));
        }
        taken("Users", &route("shop.example", "/users/list"));
        taken(
            "users",
            r#"{ "match": { "host": "shop.example", "path": "/users/x" }, "service": "users" }"#,
        );
    }

    #[test]
    fn a_service_does_not_say_who_may_call() {
        let open = "{ match: { host: shop.example, path: /users }, service: users, guard: { open: true } }";
        refused("users", open, "who may call is for the file to say");
    }

    #[test]
    fn what_it_does_not_grant_is_refused() {
        refused("orders", &route("shop.example", "/users"), "grants `orders` no routes");
        for (host, path) in [
            ("other.example", "/users"),
            ("*.shop.example", "/users/x"),
            ("shop.example", "/usersx"),
            ("shop.example", "/{any}/list"),
            ("shop.example", "/{*rest}"),
            ("shop.example", "/"),
        ] {
            refused("users", &route(host, path), "does not grant");
        }
        refused("users", "{ match: { path: /users/x }, service: users }", "does not grant");
        refused("users", &route("shop.example", "~ ^/users/"), "no template");
        refused("users", "{ match: { host: shop.example }, service: users }", "no template");
    }

    #[test]
    fn the_file_wins() {
        for (path, own) in [
            ("/users/me", "me"),
            ("/users/7/cart", "one"),
            ("/users/{name}/cart", "one"),
            // These would go before the file's for `/users/me/cart` and `/users/old/cart`.
            ("/users/me/{what}", "one"),
            ("/users/old/{*rest}", "one"),
            ("/users/old/things", "old"),
            ("/users/old", "old"),
        ] {
            refused("users", &route("shop.example", path), &format!("own route `{own}`"));
        }
        // For every host, and so passed over by any route with a host.
        let text = "{ match: { host: other.example, path: /x }, service: any }";
        refused("any", text, "own route `all`");
    }

    #[test]
    fn a_service_speaks_for_itself_and_reads_nothing_here() {
        let at = "match: { host: shop.example, path: /users/x }";
        refused("users", &format!("{{ {at}, service: orders }}"), "leads to `users`");
        let split = "split: [ { service: users, weight: 1 }, { service: x, weight: 1 } ]";
        refused("users", &format!("{{ {at}, {split} }}"), "leads to `users`");
        refused("users", &format!("{{ {at}, respond: {{ status: 200 }} }}"), "forwards to it");
        refused("users", &format!("{{ {at}, service: '${{env:HOME}}' }}"), "for the file only");
        let hidden = "\"\\u0024{file:/dev/null}\"";
        refused("users", &format!("{{ {at}, service: {hidden} }}"), "for the file only");
        let shielded = "'$\u{f8d0}file:/dev/null\u{f8d1}'";
        refused("users", &format!("{{ {at}, service: {shielded} }}"), "for the file only");
        refused("users", &format!("{{ {at}, service: users, timout: 5s }}"), "timout");
        refused("users", "[", "no YAML");
        refused("users", "", "");
        refused("users", &"x".repeat(MAX_TEXT + 1), "more than");
    }

    #[test]
    fn of_two_for_the_same_calls_the_first_is_taken() {
        let config = check_text(FILE, "f", Path::new("")).config.expect("no mistakes");
        let file = config.gateway.expect("routes");
        let source = |name: &str| Source { service: "users".into(), name: name.into() };
        let mut proposals = Proposals::new();
        proposals.insert(source("a"), route("shop.example", "/users/{x}"));
        proposals.insert(source("b"), route("shop.example", "/users/{y}"));
        let admitted = admit(&proposals, &config.grants, &file);
        assert_eq!(admitted.routes.len(), 1);
        assert!(admitted.refused[0].reason.contains("`users/a` is for the same calls"));
        for n in 0..=MAX_ROUTES {
            proposals.insert(
                source(&format!("m{n:03}")),
                route("shop.example", &format!("/users/n{n}")),
            );
        }
        let admitted = admit(&proposals, &config.grants, &file);
        assert_eq!(admitted.routes.len(), MAX_ROUTES);
        assert!(admitted.refused.iter().any(|one| one.reason.contains("may have 64 routes")));
        let mut whole = file.clone();
        admitted.add_to(&mut whole);
        assert_eq!(whole.routes.len(), file.routes.len() + MAX_ROUTES);
        assert!(whole.services.contains_key("users"));
    }
}
