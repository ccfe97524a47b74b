//! From what is written to what is used, finding every mistake on the way.
//!
//! Each part returns something usable even when it is wrong, so that the rest is checked as well;
//! the caller refuses the whole when the report has errors. Files (certificates, keys, authorities)
//! are loaded here, so that what passes the check can be served.
//!
//! In reading order: `listener`, `service`, `route`, `pattern` (hosts, paths and values as
//! conditions), `overlap` (routes that hide each other), `guard`, `limits`, `engine`, `file`, `value`.

mod engine;
mod file;
mod guard;
mod limits;
mod listener;
mod overlap;
mod pattern;
mod route;
mod service;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use service::from_registry;

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use posthouse_base::config::{Path, Report, nearest};

use super::model::{Config, Service, ServiceName};
use super::raw::{Protocol, Raw};

/// Checks the gateway's sections. File names in them are relative to `base_dir`. Every finding is
/// in the report, under its path in the file; with errors in it, the result must not be used.
#[must_use]
pub fn check(raw: Raw, base_dir: &FilePath, report: &mut Report) -> Config {
    let Raw { listeners, services, routes, guard, plans, gateway } = raw;
    let mut check = Check {
        base_dir,
        report,
        services: BTreeMap::new(),
        from_file: Vec::new(),
        named_limits: BTreeMap::new(),
    };
    check.services(services);
    let engine = check.engine(gateway);
    let listeners = check.listeners(listeners);
    let routes = check.routes(&routes, &guard);
    let default_guard = check.default_guard(&guard);
    let plans = check.plans(&plans);
    let named = check.named();
    Config {
        listeners,
        services: check.services,
        routes,
        named,
        guard: default_guard,
        defaults: guard,
        plans,
        engine,
    }
}

/// A check under way.
struct Check<'a> {
    base_dir: &'a FilePath,
    report: &'a mut Report,
    /// The services of the file, and those that were named elsewhere so far.
    services: BTreeMap<ServiceName, Service>,
    /// The names of those that the file describes.
    from_file: Vec<ServiceName>,
    /// Limits that have a name, with what they are written as, and where.
    named_limits: BTreeMap<String, (String, Path)>,
}

impl Check<'_> {
    fn error(&mut self, path: &Path, message: impl Into<String>) {
        self.report.error(path, message);
    }

    fn error_with_help(
        &mut self,
        path: &Path,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report.error(path, message).help(help);
    }

    /// A service that is named at `path` as one for `calls`, or else for connections. It need not
    /// be in the file, since services register; but a name that is nearly one of the file's is
    /// probably a slip.
    fn named_service(&mut self, path: &Path, written: &str, calls: bool) -> ServiceName {
        if let Some((name, service)) = self.services.get_key_value(written) {
            let name = Arc::clone(name);
            let fits = calls == (service.protocol != Protocol::Tcp);
            if !fits && calls {
                self.error_with_help(
                    path,
                    format!("service `{written}` has protocol `tcp` and takes no calls"),
                    "name it as the `service` of a listener of its own",
                );
            } else if !fits {
                self.error_with_help(
                    path,
                    format!("service `{written}` takes calls, not whole connections"),
                    "give it `protocol: tcp`, or take `service` away from the listener",
                );
            }
            return name;
        }
        let near = nearest(written, self.from_file.iter().map(|name| &**name)).map(str::to_owned);
        let name: ServiceName = written.into();
        if !value::is_service_name(written) {
            self.bad_service_name(path, written);
        } else if let Some(near) = near {
            self.report
                .warning(path, format!("service `{written}` is not in the file"))
                .help(format!("did you mean `{near}`? Otherwise it is awaited from the registry"));
        }
        let mut service = from_registry(Arc::clone(&name));
        if !calls {
            service.protocol = Protocol::Tcp;
        }
        self.services.insert(Arc::clone(&name), service);
        name
    }

    fn bad_service_name(&mut self, path: &Path, written: &str) {
        self.error_with_help(
            path,
            format!("`{written}` is no name of a service"),
            "names are letters, digits, `-`, `_` and `.`, at most 128 of them",
        );
    }
}
