//! What becomes of a call.

use crate::config::model::{Action, HeaderEdits, Redirect};
use crate::config::raw;
use crate::http::head::{Fields, Known};
use crate::http::target::Target;
use crate::route::rewrite::edit;
use crate::route::{Caught, Outcome, Route, RouteTable};

use super::{Line, Request, checked, table_of};

fn one(template: &str, change: impl FnOnce(&mut raw::Route)) -> RouteTable<String> {
    let mut raw = Line::parse(template).raw(template);
    change(&mut raw);
    let (routes, report) = checked(vec![raw]);
    assert!(!report.has_errors(), "{report:?}");
    table_of(routes)
}

/// Asks `what` of the route that this table finds for `authority` and `path`, query included.
fn ask<T>(
    table: &RouteTable<String>,
    authority: &str,
    path: &str,
    what: impl FnOnce(&Route<String>, &Caught, &Target) -> T,
) -> T {
    let target = Target::new(authority.as_bytes(), path.as_bytes()).unwrap();
    let mut request = Request::new(&Line::parse(target.path()));
    request.host = target.host().to_owned();
    match table.find(&request.lookup()) {
        Outcome::Found(found) => what(found.route, &found.caught, &target),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_path(template: &str, rewrite: raw::Rewrite, pairs: &[(&str, &str)]) {
    let table = one(template, |raw| raw.rewrite = rewrite);
    for (path, expected) in pairs {
        let forwarded = ask(&table, "a.example", path, |route, caught, target| {
            route.path_and_query(caught, target).into_owned()
        });
        assert_eq!(forwarded, *expected, "{path}");
    }
}

#[test]
fn a_prefix_is_stripped_by_whole_segments() {
    let strip = |prefix: &str| raw::Rewrite {
        strip_prefix: Some(prefix.to_owned()),
        ..raw::Rewrite::default()
    };
    let pairs = [
        ("/api/v1/users?x=1", "/users?x=1"),
        ("/api/v1", "/"),
        ("/api/v1?x=1", "/?x=1"),
        ("/api/v1/", "/"),
        ("/api/v1/?x=1", "/?x=1"),
        ("/%61pi/v1/a%2Fb", "/a%2Fb"),
        ("/api/v12/users", "/api/v12/users"),
        ("/api", "/api"),
    ];
    check_path("/{*all}", strip("/api/v1"), &pairs);
    check_path("/{*all}", strip("/api/v1/"), &pairs);
}

#[test]
fn a_path_is_put_together_from_what_was_caught_as_it_was_sent() {
    let path = |path: &str| raw::Rewrite { path: Some(path.to_owned()), ..raw::Rewrite::default() };
    check_path(
        "/users/{id}/{*rest}",
        path("/v2/{rest}/of-{id}"),
        &[
            ("/users/7/orders/1", "/v2/orders/1/of-7"),
            ("/users/a%2Fb/x%20y?q=%7B1%7D", "/v2/x%20y/of-a%2Fb?q=%7B1%7D"),
            ("/users/7", "/v2//of-7"),
        ],
    );
    check_path("/a/{*rest}", path("/b/{*rest}"), &[("/a/c?d", "/b/c?d"), ("/a", "/b/")]);
    check_path("~^/old", path("/new"), &[("/older?x", "/new?x")]);
}

#[test]
fn nothing_is_copied_when_nothing_changes() {
    let table = one("/a/{*rest}", |_| {});
    ask(&table, "a.example:81", "/a/b?c", |route, caught, target| {
        let forwarded = route.path_and_query(caught, target);
        assert!(matches!(forwarded, std::borrow::Cow::Borrowed("/a/b?c")));
        assert_eq!(route.authority(target), "a.example:81");
    });
    let table = one("/a/{*rest}", |raw| raw.rewrite.host = Some("inner:90".into()));
    ask(&table, "a.example", "/a", |route, _, target| {
        assert_eq!(route.authority(target), "inner:90");
    });
}

#[track_caller]
fn check_location(redirect: raw::Redirect, calls: &[(&str, &str, &str, &str)]) {
    let table = one("/a/{*rest}", |raw| {
        raw.service = None;
        raw.redirect = Some(redirect);
    });
    for (scheme, authority, path, expected) in calls {
        let location = ask(&table, authority, path, |route, caught, target| {
            let Action::Redirect(redirect) = &route.config.action else { panic!("no redirect") };
            let redirect: &Redirect = redirect;
            route.location(redirect, caught, target, scheme)
        });
        assert_eq!(location, *expected, "{scheme} {authority} {path}");
    }
}

#[test]
fn a_redirect_takes_over_what_it_does_not_say() {
    check_location(
        raw::Redirect { scheme: Some("https".into()), ..raw::Redirect::default() },
        &[
            ("http", "a.example:8080", "/a/b?c=d", "https://a.example/a/b?c=d"),
            ("https", "a.example:8443", "/a/b", "https://a.example:8443/a/b"),
        ],
    );
    check_location(
        raw::Redirect { host: Some("b.example:81".into()), ..raw::Redirect::default() },
        &[("http", "a.example", "/a/b", "http://b.example:81/a/b")],
    );
    check_location(
        raw::Redirect { path: Some("/{rest}".into()), ..raw::Redirect::default() },
        &[
            ("http", "a.example", "/a/b?c", "http://a.example/b?c"),
            ("http", "a.example", "/a//evil.example", "http://a.example//evil.example"),
            // Without a host to name, two slashes would name another one.
            ("http", "", "/a//evil.example", "/evil.example"),
        ],
    );
}

#[test]
fn calls_are_shared_by_weight() {
    let table = one("/", |raw| {
        raw.service = None;
        raw.split = [("a", 1), ("b", 0), ("c", 3)]
            .map(|(service, weight)| raw::Split { service: service.into(), weight })
            .into();
    });
    let mut rng = fastrand::Rng::with_seed(7);
    let mut taken = std::collections::BTreeMap::new();
    for _ in 0..40_000 {
        let service = table.routes()[0].choose(&mut rng).unwrap();
        *taken.entry(service.as_str()).or_insert(0_i32) += 1;
    }
    assert_eq!(taken.keys().copied().collect::<Vec<_>>(), ["a", "c"]);
    assert!((taken["a"] - 10_000).abs() < 500, "{taken:?}");
}

#[test]
fn headers_are_removed_set_and_added_in_this_order() {
    let mut fields = Fields::new();
    for (name, value) in [("X-A", "1"), ("x-b", "2"), ("x-B", "3"), ("Cookie", "c"), ("x-c", "4")] {
        fields.append(name.as_bytes(), value.as_bytes());
    }
    let mut edits = HeaderEdits::default();
    edits.remove.push("x-a".parse().unwrap());
    edits.remove.push("cookie".parse().unwrap());
    edits.set.push(("x-b".parse().unwrap(), "5".parse().unwrap()));
    edits.add.push(("x-a".parse().unwrap(), "6".parse().unwrap()));
    edits.add.push(("x-c".parse().unwrap(), "7".parse().unwrap()));
    edit(&edits, &mut fields);
    let mut written = Vec::new();
    fields.write_http1(&mut written);
    let written = String::from_utf8(written).unwrap();
    assert_eq!(written, "x-c: 4\r\nx-b: 5\r\nx-a: 6\r\nx-c: 7\r\n");
    assert_eq!(fields.get(Known::Cookie), None);
}
