//! `routes`: which calls, and what is done with them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use posthouse_base::config::Path;

use super::{Check, overlap, value};
use crate::config::model::{
    Action, HeaderEdits, Named, PathPattern, Redirect, Respond, Retries, Rewrite, Route,
    ServiceName,
};
use crate::config::raw;

/// The total time of a call whose route gives none.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest name of a route, in bytes: it stands in every metric.
const LONGEST_NAME: usize = 200;
/// The largest part of a request body that may be kept for retries.
const LARGEST_BUFFER: usize = 16 << 20;
/// The most retries of one call.
const MOST_ATTEMPTS: u32 = 20;
/// The largest weight of a split.
const LARGEST_WEIGHT: u32 = 1_000_000;
/// The highest code that gRPC knows.
const LAST_GRPC_STATUS: u16 = 16;

/// The names of the routes so far.
#[derive(Default)]
struct Names {
    taken: HashSet<Arc<str>>,
    /// How often a name was made from the same match.
    made: HashMap<String, usize>,
}

impl Names {
    /// A name like `GET shop.example/users/{id}`, with a number if it is not the first.
    fn made(&mut self, matching: &raw::Match) -> Arc<str> {
        let mut name = matching.methods.join(",");
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(matching.host.as_deref().unwrap_or_default());
        name.push_str(matching.path.as_deref().unwrap_or("/{*}"));
        let name: String = name.chars().take(LONGEST_NAME).collect();
        let count = self.made.entry(name.clone()).or_default();
        loop {
            *count += 1;
            let numbered: Arc<str> =
                if *count == 1 { name.as_str().into() } else { format!("{name} #{count}").into() };
            if self.taken.insert(Arc::clone(&numbered)) {
                return numbered;
            }
        }
    }
}

impl Check<'_> {
    pub(super) fn routes(&mut self, written: &[raw::Route], defaults: &raw::Guard) -> Vec<Route> {
        let all = Path::root().key("routes");
        let mut names = Names::default();
        let mut routes = Vec::with_capacity(written.len());
        for (index, raw) in written.iter().enumerate() {
            let path = all.index(index);
            let name = self.route_name(&path, raw, &mut names);
            routes.push(self.route(&path, name, raw, defaults));
        }
        overlap::report(&routes, &all, self.report);
        routes
    }

    fn route(
        &mut self,
        path: &Path,
        name: Arc<str>,
        raw: &raw::Route,
        defaults: &raw::Guard,
    ) -> Route {
        let matching = self.matching(&path.key("match"), &raw.matching);
        let action = self.action(path, raw, &matching.path);
        let response_headers = &raw.response_headers;
        let limits = self.limits(&path.key("limits"), &raw.limits, &format!("route {name}"), "");
        Route {
            name,
            matching,
            action,
            response_headers: self.header_edits(&path.key("response_headers"), response_headers),
            timeout: Self::time_or_off(raw.timeout, TIMEOUT),
            timeout_streams: raw.timeout_streams,
            retries: self.retries(&path.key("retries"), &raw.retries),
            max_body: raw.max_body.map(|size| size.0),
            guard: self.guard(&path.key("guard"), raw.guard.as_ref(), defaults),
            api: self.api(path, raw.api.as_deref()),
            limits,
            priority: raw.priority,
        }
    }

    /// The name as written, or made from the match so that it differs from all others.
    fn route_name(&mut self, path: &Path, raw: &raw::Route, names: &mut Names) -> Arc<str> {
        let Some(name) = &raw.name else { return names.made(&raw.matching) };
        let path = path.key("name");
        let sound = !name.is_empty() && !name.chars().any(char::is_control);
        if !sound || name.len() > LONGEST_NAME {
            self.error(&path, format!("a name has 1 to {LONGEST_NAME} visible characters"));
        }
        if names.taken.contains(name.as_str()) {
            self.error(&path, format!("another route is called `{name}` too"));
        }
        let name: Arc<str> = name.as_str().into();
        names.taken.insert(Arc::clone(&name));
        name
    }

    fn action(&mut self, path: &Path, raw: &raw::Route, pattern: &PathPattern) -> Action {
        let given = [
            ("service", raw.service.is_some()),
            ("split", !raw.split.is_empty()),
            ("redirect", raw.redirect.is_some()),
            ("respond", raw.respond.is_some()),
        ];
        let given: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        match given[..] {
            [_] => {}
            [] => self.error_with_help(
                path,
                "the route does not say what is done with its calls",
                "give it `service`, `split`, `redirect` or `respond`",
            ),
            _ => self.error_with_help(
                path,
                format!("the route does several things at once: {}", given.join(", ")),
                "keep one of them, and make another route for the other",
            ),
        }
        let split = self.split(path, raw);
        let rewrite = self.rewrite(&path.key("rewrite"), &raw.rewrite, pattern);
        let redirect = raw.redirect.as_ref();
        let redirect = redirect.map(|raw| self.redirect(&path.key("redirect"), raw, pattern));
        let respond = raw.respond.as_ref().map(|raw| self.respond(&path.key("respond"), raw));
        let answered = redirect.map(Action::Redirect).or(respond.map(Action::Respond));
        let Some(action) = answered else { return Action::Forward { split, rewrite } };
        let edits = &rewrite.headers;
        let rewrites = rewrite.strip_prefix.is_some()
            || rewrite.path.is_some()
            || rewrite.host.is_some()
            || !(edits.remove.is_empty() && edits.set.is_empty() && edits.add.is_empty());
        if rewrites {
            self.report
                .warning(&path.key("rewrite"), "nothing is forwarded that could be rewritten");
        }
        action
    }

    fn split(&mut self, path: &Path, raw: &raw::Route) -> Vec<(ServiceName, u32)> {
        let mut split = Vec::with_capacity(raw.split.len().max(1));
        if let Some(service) = &raw.service {
            split.push((self.named_service(&path.key("service"), service, true), 1));
        }
        let path = path.key("split");
        for (index, share) in raw.split.iter().enumerate() {
            let path = path.index(index);
            let name = self.named_service(&path.key("service"), &share.service, true);
            if split.iter().any(|(known, _)| *known == name) {
                self.error(&path.key("service"), format!("`{name}` shares twice"));
            }
            let weight = path.key("weight");
            let weight = self.number(&weight, Some(share.weight), 0, &(0..=LARGEST_WEIGHT));
            split.push((name, weight));
        }
        if !raw.split.is_empty() && raw.split.iter().all(|share| share.weight == 0) {
            self.error(&path, "the weights are all 0, so no service takes calls");
        }
        split
    }

    fn rewrite(&mut self, path: &Path, raw: &raw::Rewrite, pattern: &PathPattern) -> Rewrite {
        if raw.strip_prefix.is_some() && raw.path.is_some() {
            self.error_with_help(
                &path.key("strip_prefix"),
                "`strip_prefix` has no effect beside `path`",
                "take one of them away",
            );
        }
        let prefix = raw.strip_prefix.as_ref();
        Rewrite {
            strip_prefix: prefix
                .and_then(|prefix| self.prefix(&path.key("strip_prefix"), prefix, pattern)),
            path: raw.path.as_ref().and_then(|text| self.recipe(&path.key("path"), text, pattern)),
            host: raw.host.as_ref().and_then(|host| self.authority(&path.key("host"), host)),
            headers: self.header_edits(&path.key("headers"), &raw.headers),
        }
    }

    fn authority(&mut self, path: &Path, written: &str) -> Option<String> {
        if value::is_authority(written) {
            return Some(written.to_owned());
        }
        self.error_with_help(
            path,
            format!("`{written}` is no host"),
            "write `HOST` or `HOST:PORT`, without a scheme",
        );
        None
    }

    fn header_edits(&mut self, path: &Path, raw: &raw::HeaderEdits) -> HeaderEdits {
        let mut edits = HeaderEdits::default();
        for (index, name) in raw.remove.iter().enumerate() {
            edits.remove.extend(self.editable_header(&path.key("remove").index(index), name));
        }
        for (key, written, checked) in
            [("set", &raw.set, &mut edits.set), ("add", &raw.add, &mut edits.add)]
        {
            let path = path.key(key);
            for (name, value) in written {
                let path = path.key(name);
                let name = self.editable_header(&path, name);
                checked.extend(name.zip(self.header_value(&path, value)));
            }
        }
        edits
    }

    fn redirect(&mut self, path: &Path, raw: &raw::Redirect, pattern: &PathPattern) -> Redirect {
        let status = match raw.status.unwrap_or(308) {
            301 => StatusCode::MOVED_PERMANENTLY,
            302 => StatusCode::FOUND,
            303 => StatusCode::SEE_OTHER,
            307 => StatusCode::TEMPORARY_REDIRECT,
            308 => StatusCode::PERMANENT_REDIRECT,
            other => {
                let message = format!("{other} is no redirect: 301, 302, 303, 307 or 308");
                self.error(&path.key("status"), message);
                StatusCode::PERMANENT_REDIRECT
            }
        };
        let scheme = match raw.scheme.as_deref() {
            None => None,
            Some("http") => Some("http"),
            Some("https") => Some("https"),
            Some(other) => {
                let message = format!("`{other}` is not `http` or `https`");
                self.error(&path.key("scheme"), message);
                None
            }
        };
        if raw.scheme.is_none() && raw.host.is_none() && raw.path.is_none() {
            self.error_with_help(
                path,
                "the redirect leads back to where it came from",
                "give `scheme`, `host` or `path`",
            );
        }
        let host = raw.host.as_ref().and_then(|host| self.authority(&path.key("host"), host));
        let recipe =
            raw.path.as_ref().and_then(|text| self.recipe(&path.key("path"), text, pattern));
        Redirect { status, scheme, host, path: recipe }
    }

    fn respond(&mut self, path: &Path, raw: &raw::Respond) -> Respond {
        const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
        let status = self.status(&path.key("status"), raw.status.unwrap_or(200), &(200..=599));
        let status = status.unwrap_or(StatusCode::OK);
        let bodiless =
            [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
        if bodiless.contains(&status) && !raw.body.is_empty() {
            self.error(&path.key("body"), format!("a response with status {status} has no body"));
        }
        let written = raw.content_type.as_ref();
        let content_type = written
            .and_then(|text| self.header_value(&path.key("content_type"), text))
            .unwrap_or(TEXT);
        Respond { status, body: raw.body.clone(), content_type }
    }

    /// How services are called without a route.
    pub(super) fn named(&mut self) -> Named {
        let retries = self.retries(&Path::root(), &raw::Retries::default());
        Named { timeout: Some(TIMEOUT), retries }
    }

    fn retries(&mut self, path: &Path, raw: &raw::Retries) -> Retries {
        let ms = Duration::from_millis;
        let statuses_path = path.key("statuses");
        let mut statuses = Vec::new();
        for (index, status) in raw.statuses.as_deref().unwrap_or(&[503]).iter().enumerate() {
            statuses.extend(self.status(&statuses_path.index(index), *status, &(400..=599)));
        }
        let grpc_path = path.key("grpc_statuses");
        let mut grpc_statuses = Vec::new();
        for (index, status) in raw.grpc_statuses.as_deref().unwrap_or(&[14]).iter().enumerate() {
            let bounds = 1..=LAST_GRPC_STATUS;
            grpc_statuses.push(self.number(&grpc_path.index(index), Some(*status), 14, &bounds));
        }
        let per_try = raw.per_try.map(|_| self.time(&path.key("per_try"), raw.per_try, ms(1000)));
        let backoff = raw.backoff.map_or(ms(25), |span| span.0);
        let max_backoff = raw.max_backoff.map_or(ms(250).max(backoff), |span| span.0);
        if max_backoff < backoff {
            self.error(&path.key("max_backoff"), "the longest pause is shorter than the first");
        }
        let (attempts, percent) = (path.key("attempts"), path.key("budget_percent"));
        let bounds = 0..=LARGEST_BUFFER;
        Retries {
            attempts: self.number(&attempts, raw.attempts, 2, &(0..=MOST_ATTEMPTS)),
            per_try,
            statuses,
            grpc_statuses,
            idempotent: raw.idempotent,
            budget_percent: self.number(&percent, raw.budget_percent, 20, &(0..=100)),
            budget_floor: raw.budget_floor.unwrap_or(10),
            backoff,
            max_backoff,
            buffer: self.bytes(&path.key("buffer"), raw.buffer, 64 << 10, &bounds),
        }
    }
}
