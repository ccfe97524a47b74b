//! The `grants:` section: for which calls services may bring routes themselves.

use posthouse_base::config::{Path, Report};
use posthouse_gateway::config::model::HostPattern;

use super::raw;

/// What a service may bring routes for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) service: String,
    pub(crate) hosts: Vec<HostPattern>,
    /// Each as its segments.
    pub(crate) paths: Vec<Vec<String>>,
}

/// Checks the section, which stands at `path`.
pub(super) fn check(written: &[raw::Grant], path: &Path, report: &mut Report) -> Vec<Grant> {
    let grants = written.iter().enumerate();
    grants.map(|(at, grant)| check_one(grant, &path.index(at), report)).collect()
}

fn check_one(written: &raw::Grant, path: &Path, report: &mut Report) -> Grant {
    if written.service.is_empty() {
        report.error(&path.key("service"), "a grant is to a service");
    }
    for (key, list) in [("hosts", &written.hosts), ("paths", &written.paths)] {
        if list.is_empty() {
            let help = "write `hosts: [\"*\"]` or `paths: [/]` for all";
            report.error(&path.key(key), "a grant of nothing").help(help);
        }
    }
    let hosts = written.hosts.iter().enumerate().filter_map(|(at, host)| {
        let read = read_host(host);
        if read.is_none() {
            let message = format!("`{host}` is not a host");
            let help = "use a name, `*.` and a name, or `*`; without a port";
            report.error(&path.key("hosts").index(at), message).help(help);
        }
        read
    });
    let hosts = hosts.collect();
    let paths = written.paths.iter().enumerate().filter_map(|(at, prefix)| {
        let read = read_prefix(prefix);
        if read.is_none() {
            let message = format!("`{prefix}` is not the beginning of a path");
            let help = "write it like `/api/v1/users`; everything below it is granted too";
            report.error(&path.key("paths").index(at), message).help(help);
        }
        read
    });
    Grant { service: written.service.clone(), hosts, paths: paths.collect() }
}

fn read_host(written: &str) -> Option<HostPattern> {
    if written == "*" {
        return Some(HostPattern::Any);
    }
    let lower = written.to_ascii_lowercase();
    let (below, name) = match lower.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, lower.as_str()),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(fits) || name.starts_with('.') || name.ends_with('.') {
        return None;
    }
    Some(if below { HostPattern::Below(format!(".{name}")) } else { HostPattern::Exact(lower) })
}

fn read_prefix(written: &str) -> Option<Vec<String>> {
    let inside = written.strip_prefix('/')?;
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let segments: Vec<String> = inside.split('/').map(Into::into).collect();
    let fits = |segment: &String| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && !segment.contains(['{', '}', '*', '%', '?', '#', '~', ' '])
    };
    segments.iter().all(fits).then_some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_are_read_or_refused() {
        assert_eq!(read_host("*"), Some(HostPattern::Any));
        assert_eq!(read_host("*.Shop.example"), Some(HostPattern::Below(".shop.example".into())));
        assert_eq!(read_host("Shop.example"), Some(HostPattern::Exact("shop.example".into())));
        for wrong in ["", "*.", "a:80", ".a", "a.", "a b", "**"] {
            assert_eq!(read_host(wrong), None, "{wrong}");
        }
        let path = |written| read_prefix(written).map(|segments| segments.join("/"));
        assert_eq!(path("/").as_deref(), Some(""));
        assert_eq!(path("/api/v1/").as_deref(), Some("api/v1"));
        for wrong in ["", "api", "//a", "/a//b", "/a/../b", "/{id}", "/a%2Fb", "~ ^/a"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
}
