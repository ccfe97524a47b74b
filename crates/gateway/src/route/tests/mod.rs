//! Tests of routing, on tables written as one line a route.
//!
//! A line holds, apart by spaces and in any order: methods (`GET,POST`), a path (`/a/{id}`, or
//! `~^/a`), a host, headers (`x:1`) and query parameters (`?q=1`). Requests are written alike.

mod find;
mod flat;
mod property;
mod rewrite;

use std::collections::BTreeMap;

use http::Method;
use posthouse_base::config::Report;

use super::{Lookup, Outcome, RouteTable};
use crate::config::{self, model, raw};
use crate::http::head::Fields;

/// The parts of a line.
#[derive(Clone, Debug, Default)]
struct Line {
    methods: Vec<String>,
    host: Option<String>,
    path: Option<String>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl Line {
    fn parse(text: &str) -> Self {
        let mut line = Self::default();
        for word in text.split_whitespace() {
            let pair = |text: &str, mark| {
                let (name, value) = text.split_once(mark).unwrap_or((text, ""));
                (name.to_owned(), value.to_owned())
            };
            if word.starts_with(['/', '~']) || word == "*" {
                line.path = Some(word.to_owned());
            } else if let Some(query) = word.strip_prefix('?') {
                line.query.push(pair(query, '='));
            } else if word.chars().all(|letter| letter.is_ascii_uppercase() || letter == ',') {
                line.methods = word.split(',').map(str::to_owned).collect();
            } else if word.contains(':') && !word.starts_with('[') {
                line.headers.push(pair(word, ':'));
            } else {
                line.host = Some(word.to_owned());
            }
        }
        line
    }

    fn raw(&self, name: &str) -> raw::Route {
        let map = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
        raw::Route {
            name: Some(if name.is_empty() { "any".into() } else { name.to_owned() }),
            service: Some("users".into()),
            matching: raw::Match {
                host: self.host.clone(),
                path: self.path.clone(),
                methods: self.methods.clone(),
                headers: map(&self.headers),
                query: map(&self.query),
            },
            ..raw::Route::default()
        }
    }
}

/// A request, kept for as long as lookups borrow it.
#[derive(Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    fields: Fields,
}

impl Request {
    fn new(line: &Line) -> Self {
        let mut fields = Fields::new();
        for (name, value) in &line.headers {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        let query: Vec<String> =
            line.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let method = line.methods.first().map_or("GET", String::as_str);
        Self {
            host: line.host.clone().unwrap_or_default(),
            path: line.path.clone().unwrap_or_else(|| "/".into()),
            query: (!query.is_empty()).then(|| query.join("&")),
            method: method.parse().unwrap(),
            fields,
        }
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            fields: &self.fields,
        }
    }
}

/// Routes as the configuration makes them, with what the check has to say.
fn checked(routes: Vec<raw::Route>) -> (Vec<model::Route>, Report) {
    let mut report = Report::new();
    let written = raw::Raw { routes, ..raw::Raw::default() };
    let config = config::check(written, std::path::Path::new("."), &mut report);
    (config.routes, report)
}

fn table_of(routes: Vec<model::Route>) -> RouteTable<String> {
    RouteTable::new(routes, &mut |name| name.to_string())
}

fn table(lines: &[&str]) -> RouteTable<String> {
    let raw = lines.iter().map(|line| Line::parse(line).raw(line)).collect();
    let (routes, report) = checked(raw);
    assert!(!report.has_errors(), "{report:?}");
    table_of(routes)
}

/// The line of the route that is found, followed by what it caught; or the status.
fn found(table: &RouteTable<String>, request: &str) -> String {
    let request = Request::new(&Line::parse(request));
    match table.find(&request.lookup()) {
        Outcome::NotFound => "404".into(),
        Outcome::MethodNotAllowed { allow } => {
            let allow: Vec<&str> = allow.iter().map(Method::as_str).collect();
            format!("405 {}", allow.join(","))
        }
        Outcome::Found(found) => {
            let mut shown = found.route.config.name.to_string();
            for name in &found.route.names {
                let value = found.route.caught(&found.caught, name, &request.path);
                shown.push_str(&format!(" {name}={value}"));
            }
            shown
        }
    }
}

/// Checks which line answers each request.
#[track_caller]
fn check(lines: &[&str], requests: &[(&str, &str)]) {
    let table = table(lines);
    for (request, expected) in requests {
        assert_eq!(found(&table, request), *expected, "{request} among {lines:?}");
    }
}
