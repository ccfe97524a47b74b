//! `guard`: who may call.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use posthouse_base::config::Path;
use posthouse_expression::{Limits, Program};

use super::Check;
use crate::config::model::Api;
use crate::config::raw::guard as raw;
use crate::guard::facts::ROOTS;
use crate::guard::settings::{Cors, Forward, Guard, Told};
use crate::http::known::Known;

/// The largest body that is taken in whole.
const LARGEST_BODY: usize = 64 << 20;
/// The challenge of a 401.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

impl Check<'_> {
    /// The guard of the file, which holds where a route has none of its own.
    pub(super) fn default_guard(&mut self, raw: &raw::Guard) -> Option<Arc<Guard>> {
        let path = Path::root().key("guard");
        if raw.open == Some(true) {
            self.error(&path.key("open"), "what nobody guards is open as it is");
        }
        let guard = self.checked(&path, raw);
        guard.does_something().then(|| Arc::new(guard))
    }

    /// The guard of a route, over that of the file. `None` where the route has none of its own.
    pub(super) fn guard(
        &mut self,
        path: &Path,
        own: Option<&raw::Guard>,
        defaults: &raw::Guard,
    ) -> Option<Arc<Guard>> {
        let own = own?;
        let merged = if own.open == Some(true) {
            self.open_demands_nothing(path, own);
            over(own, &without_demands(defaults))
        } else {
            over(own, defaults)
        };
        Some(Arc::new(self.checked(path, &merged)))
    }

    fn checked(&mut self, path: &Path, raw: &raw::Guard) -> Guard {
        let names = |list: &Option<Vec<String>>| -> Vec<Box<str>> {
            list.iter().flatten().map(|name| name.as_str().into()).collect()
        };
        let mut guard = Guard {
            providers: raw.identity.iter().flatten().map(|name| name.as_str().into()).collect(),
            optional: raw.optional.unwrap_or(false),
            scopes: names(&raw.scopes),
            roles: names(&raw.roles),
            consumers: names(&raw.consumers),
            when: raw.when.as_ref().and_then(|when| self.condition(&path.key("when"), when)),
            dry_run: raw.dry_run.unwrap_or(false),
            validate: raw.validate.unwrap_or(false),
            ..Guard::default()
        };
        if let Some(addresses) = &raw.addresses {
            let path = path.key("addresses");
            guard.allow = self.nets(&path.key("allow"), &addresses.allow);
            guard.deny = self.nets(&path.key("deny"), &addresses.deny);
        }
        guard.body = self.bytes(&path.key("body"), raw.body, 1 << 20, &(0..=LARGEST_BODY));
        guard.cors = raw.cors.as_ref().map(|cors| self.cors(&path.key("cors"), cors));
        if let Some(headers) = &raw.headers {
            self.security_headers(&path.key("headers"), headers, &mut guard);
        }
        if let Some(forward) = &raw.forward {
            guard.forward = self.forward(&path.key("forward"), forward);
        }
        guard.challenge = match &raw.challenge {
            None => Some(CHALLENGE),
            Some(text) => self.header_value(&path.key("challenge"), text),
        };
        let demands =
            !guard.scopes.is_empty() || !guard.roles.is_empty() || !guard.consumers.is_empty();
        if demands && guard.providers.is_empty() {
            self.error_with_help(
                path,
                "nobody is asked who they are, so nobody has scopes, roles or is a consumer",
                "name the providers that prove it: `identity: [NAME]`",
            );
        }
        let is_closed = raw.deny == Some(true) && raw.open != Some(true);
        guard.denied = is_closed
            && (guard.providers.is_empty() || guard.optional && !demands)
            && guard.when.is_none()
            && guard.allow.is_empty();
        guard
    }

    fn open_demands_nothing(&mut self, path: &Path, own: &raw::Guard) {
        let demands = [
            ("identity", own.identity.is_some() && own.optional != Some(true)),
            ("scopes", own.scopes.is_some()),
            ("roles", own.roles.is_some()),
            ("consumers", own.consumers.is_some()),
            ("when", own.when.is_some()),
            ("deny", own.deny == Some(true)),
        ];
        for (key, _) in demands.into_iter().filter(|(_, is)| *is) {
            self.error(&path.key(key), format!("`{key}` has no place beside `open: true`"));
        }
    }

    pub(super) fn condition(&mut self, path: &Path, written: &str) -> Option<Program> {
        match Program::compile(written, &ROOTS, Limits::default()) {
            Ok(program) => Some(program),
            Err(mistake) => {
                self.error(path, format!("the expression cannot be used: {mistake}"));
                None
            }
        }
    }

    fn nets(&mut self, path: &Path, written: &[String]) -> Vec<IpNet> {
        let mut nets = Vec::with_capacity(written.len());
        for (index, text) in written.iter().enumerate() {
            let alone = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            match text.parse::<IpNet>().ok().or_else(alone) {
                Some(net) => nets.push(net),
                None => self.error_with_help(
                    &path.index(index),
                    format!("`{text}` is neither an address nor a net"),
                    "write `10.0.0.0/8`, `2001:db8::/32` or a single address",
                ),
            }
        }
        nets
    }

    fn cors(&mut self, path: &Path, raw: &raw::Cors) -> Cors {
        let all = raw.origins.iter().any(|origin| origin == "*");
        if all && raw.credentials {
            self.error_with_help(
                &path.key("credentials"),
                "credentials are not sent to every origin",
                "name the origins that may send them",
            );
        }
        if raw.origins.is_empty() {
            self.error(&path.key("origins"), "no origin is allowed anything: name some, or `*`");
        }
        for (index, origin) in raw.origins.iter().enumerate() {
            let host = origin.split_once("://").map(|(_, host)| host);
            let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
            if origin != "*" && origin != "null" && !is_origin {
                self.error_with_help(
                    &path.key("origins").index(index),
                    format!("`{origin}` is no origin"),
                    "write `https://shop.example`, with a port if it is not the scheme's, and no path",
                );
            }
        }
        let methods = self.methods(&path.key("methods"), &raw.methods);
        let text: Vec<&str> = methods.iter().map(Method::as_str).collect();
        let max_age = raw.max_age.map_or(600, |span| span.0.as_secs());
        Cors {
            origins: (!all).then(|| {
                raw.origins.iter().map(|origin| origin.to_ascii_lowercase().into()).collect()
            }),
            methods_text: text.join(", ").into(),
            methods,
            headers: self.names(&path.key("headers"), &raw.headers),
            expose: self.names(&path.key("expose"), &raw.expose),
            credentials: raw.credentials,
            max_age: max_age.to_string().into(),
        }
    }

    /// Names of headers as one value.
    fn names(&mut self, path: &Path, written: &[String]) -> Option<HeaderValue> {
        let mut names = Vec::with_capacity(written.len());
        for (index, name) in written.iter().enumerate() {
            names.extend(self.header_name(&path.index(index), name));
        }
        let list: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        (!list.is_empty()).then(|| HeaderValue::from_str(&list.join(", ")).ok()).flatten()
    }

    fn security_headers(&mut self, path: &Path, raw: &raw::SecurityHeaders, guard: &mut Guard) {
        const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
        if let Some(time) = raw.hsts {
            let value = format!("max-age={}", time.0.as_secs());
            guard.hsts = HeaderValue::from_str(&value).ok();
        }
        if raw.nosniff {
            guard.headers.push((http::header::X_CONTENT_TYPE_OPTIONS, NOSNIFF));
        }
        if let Some(frame) = &raw.frame
            && !matches!(frame.as_str(), "DENY" | "SAMEORIGIN")
        {
            self.error(&path.key("frame"), format!("`{frame}` is not `DENY` or `SAMEORIGIN`"));
        }
        for (key, name, value) in [
            ("frame", http::header::X_FRAME_OPTIONS, &raw.frame),
            ("csp", http::header::CONTENT_SECURITY_POLICY, &raw.csp),
            ("referrer", http::header::REFERRER_POLICY, &raw.referrer),
            ("permissions", HeaderName::from_static("permissions-policy"), &raw.permissions),
        ] {
            let value = value.as_ref().and_then(|text| self.header_value(&path.key(key), text));
            guard.headers.extend(value.map(|value| (name, value)));
        }
    }

    fn forward(&mut self, path: &Path, raw: &raw::Forward) -> Forward {
        let mut forward = Forward::default();
        for (written, holds) in &raw.headers {
            let path = path.key("headers").key(written);
            let name = self.telling_header(&path, written);
            let told = match holds.as_str() {
                "subject" => Some(Told::Subject),
                "provider" => Some(Told::Provider),
                "consumer" => Some(Told::Consumer),
                "plan" => Some(Told::Plan),
                "scopes" => Some(Told::Scopes),
                "roles" => Some(Told::Roles),
                other => other.strip_prefix("claims.").map(|claim| Told::Claim(claim.into())),
            };
            if told.is_none() {
                self.error_with_help(
                    &path,
                    format!("nothing of a caller is called `{holds}`"),
                    "`subject`, `provider`, `consumer`, `plan`, `scopes`, `roles` or `claims.NAME`",
                );
            }
            forward.headers.extend(name.zip(told));
        }
        if let Some(jwt) = &raw.jwt {
            let path = path.key("jwt");
            let name = self.telling_header(&path.key("header"), &jwt.header);
            if jwt.audience.is_empty() {
                self.error(
                    &path.key("audience"),
                    "the audience is the service that checks the token",
                );
            }
            forward.jwt = name.map(|name| (name, jwt.audience.as_str().into()));
        }
        for (index, name) in raw.remove.iter().enumerate() {
            forward.remove.extend(self.editable_header(&path.key("remove").index(index), name));
        }
        forward
    }

    /// The name of a header that tells who calls. It is taken out of every call from outside, so it must
    /// mean nothing else; only `authorization` may, which is replaced where somebody is told of.
    fn telling_header(&mut self, path: &Path, written: &str) -> Option<HeaderName> {
        let name = self.editable_header(path, written)?;
        let known = Known::of(name.as_str().as_bytes());
        if !matches!(known, Known::Other | Known::Authorization) {
            self.error_with_help(
                path,
                format!("`{name}` means something else already"),
                "choose a name of its own, such as `x-user`",
            );
            return None;
        }
        Some(name)
    }

    /// The API and version that a route belongs to.
    pub(super) fn api(&mut self, path: &Path, written: Option<&str>) -> Option<Api> {
        let written = written?;
        let is_name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
        };
        match written.split_once('@').filter(|(name, version)| is_name(name) && is_name(version)) {
            Some((name, version)) => Some(Api { name: name.into(), version: version.into() }),
            None => {
                self.error_with_help(
                    &path.key("api"),
                    format!("`{written}` names no version of an API"),
                    "write `NAME@VERSION`, such as `users@v2`",
                );
                None
            }
        }
    }
}

/// A guard over the one that it takes what it leaves out from.
fn over(own: &raw::Guard, defaults: &raw::Guard) -> raw::Guard {
    macro_rules! merged {
        ($($field:ident),+) => {
            raw::Guard { $($field: own.$field.clone().or_else(|| defaults.$field.clone())),+ }
        };
    }
    merged!(
        identity, optional, scopes, roles, consumers, when, addresses, deny, open, dry_run, cors,
        headers, forward, validate, body, challenge
    )
}

/// The defaults of a route that everybody may call.
fn without_demands(defaults: &raw::Guard) -> raw::Guard {
    raw::Guard {
        identity: None,
        optional: None,
        scopes: None,
        roles: None,
        consumers: None,
        when: None,
        addresses: None,
        deny: None,
        ..defaults.clone()
    }
}
