//! From what is written to entries that may stand in the catalog, with every mistake told at once.
//! What a route, a guard or a limit is, the gateway knows: it checks what is made of them.

use std::str::FromStr;
use std::sync::Arc;

use posthouse_base::config::{Path, Report};
use posthouse_base::time::Timestamp;

use super::raw::{Raw, RawApi, RawEnding, RawPlan, RawSelect, RawState, RawVersion};
use crate::contract::{Contract, Kind};
use crate::date;
use crate::state::{
    Api, Ending, Key, Lifecycle, Limits, Name, Plan, Refusal, Select, Spec, Specs, Version, sound,
};

/// The most routes that a version may write down itself.
const MOST_ROUTES: usize = 1000;
/// The most limits of an API, a version or a plan.
const MOST_LIMITS: usize = 32;
/// The longest description, in bytes.
const LONGEST_TEXT: usize = 16 << 10;

/// The entries that the sections `apis` and `plans` declare. With mistakes, what is told is of no
/// use.
#[must_use]
pub fn check(raw: &Raw, limits: &Limits, report: &mut Report) -> Specs {
    let mut specs = Specs::new();
    let (apis, plans) = (Path::root().key("apis"), Path::root().key("plans"));
    for (name, written) in &raw.apis {
        let path = apis.key(name);
        let Some(name) = parsed::<Name>(&path, name, report) else { continue };
        let before = report.findings().len();
        let spec = Spec::Api(api(written, &path, report));
        specs.insert(Key::Api(name.clone()), Arc::new(spec));
        for (number, written) in &written.versions {
            let path = path.key("versions").key(number);
            let Some(number) = parsed::<Name>(&path, number, report) else { continue };
            let spec = Spec::Version(Box::new(version(written, &path, report)));
            specs.insert(Key::Version(name.clone(), number), Arc::new(spec));
        }
        if report.findings().len() == before
            && let Err(refusal) = sound::check(&specs, &name, limits)
        {
            let place = place_of(&path, &refusal);
            report.error(&place, refusal.to_string());
        }
    }
    for (name, written) in &raw.plans {
        let path = plans.key(name);
        let spec = Spec::Plan(plan(written, &path, report));
        if let Some(name) = parsed::<Name>(&path, name, report) {
            specs.insert(Key::Plan(name), Arc::new(spec));
        }
    }
    for (what, count, limit) in
        [("APIs", raw.apis.len(), limits.apis), ("plans", raw.plans.len(), limits.plans)]
    {
        if count > limit {
            let section = if what == "APIs" { &apis } else { &plans };
            report.error(section, format!("{count} {what} are more than {limit}"));
        }
    }
    specs
}

/// Where in the file a refusal belongs.
fn place_of(api: &Path, refusal: &Refusal) -> Path {
    let Refusal::Unsound { key, field, .. } = refusal else { return api.clone() };
    match (key, *field) {
        (Key::Version(_, version), field) => {
            let path = api.key("versions").key(version.as_str());
            match field {
                "successor" | "sunset" => path.key("ending").key(field),
                field => path.key(field),
            }
        }
        (_, field) => api.key(field),
    }
}

/// An API without its versions.
#[must_use]
pub fn api(raw: &RawApi, path: &Path, report: &mut Report) -> Api {
    limits_fit(&path.key("limits"), raw.limits.len(), report);
    texts_fit(path, [("title", &raw.title), ("description", &raw.description)], report);
    if let Some(host) = &raw.host {
        is_host(&path.key("host"), host, report);
    }
    if let Some(prefix) = &raw.path {
        is_prefix(&path.key("path"), prefix, report);
    }
    let default = raw.default.as_ref();
    Api {
        title: raw.title.clone(),
        description: raw.description.clone(),
        owner: raw.owner.clone(),
        host: raw.host.clone(),
        path: raw.path.clone(),
        default: default.and_then(|name| parsed(&path.key("default"), name, report)),
        guard: raw.guard.clone(),
        limits: raw.limits.clone(),
    }
}

/// A version.
#[must_use]
pub fn version(raw: &RawVersion, path: &Path, report: &mut Report) -> Version {
    limits_fit(&path.key("limits"), raw.limits.len(), report);
    texts_fit(path, [("description", &raw.description)], report);
    if raw.routes.len() > MOST_ROUTES {
        let message = format!("{} routes are more than {MOST_ROUTES}", raw.routes.len());
        report.error(&path.key("routes"), message);
    }
    for key in ["match", "api", "name", "redirect", "respond", "split"] {
        if raw.defaults.contains_key(key) {
            let path = path.key("defaults").key(key);
            report.error(&path, format!("`{key}` is each route's own"));
        }
    }
    let contract = contract(raw, path, report);
    if raw.validate && contract.as_ref().is_none_or(|it| it.kind() != Kind::OpenApi) {
        report
            .error(&path.key("validate"), "there is no OpenAPI document to compare requests with")
            .help("give the version an `openapi`");
    }
    let makes_routes = contract.is_some() || !raw.routes.is_empty();
    if !makes_routes && !matches!(raw.state, RawState::Draft | RawState::Retired) {
        report
            .error(path, "the version has no routes")
            .help("give it `routes`, or a description with `openapi` or `proto`");
    }
    Version {
        lifecycle: lifecycle(raw.state, raw.ending.as_ref(), path, report),
        description: raw.description.clone(),
        owner: raw.owner.clone(),
        select: select(&raw.select, &path.key("select"), report),
        service: raw.service.clone(),
        strip: raw.strip,
        routes: raw.routes.clone(),
        defaults: raw.defaults.clone(),
        contract,
        validate: raw.validate,
        guard: raw.guard.clone(),
        limits: raw.limits.clone(),
    }
}

/// A plan.
#[must_use]
pub fn plan(raw: &RawPlan, path: &Path, report: &mut Report) -> Plan {
    limits_fit(&path.key("limits"), raw.limits.len(), report);
    texts_fit(path, [("title", &raw.title), ("description", &raw.description)], report);
    let RawPlan { title, description, limits } = raw.clone();
    Plan { title, description, limits }
}

/// A state with what it needs.
#[must_use]
pub fn lifecycle(
    state: RawState,
    ending: Option<&RawEnding>,
    path: &Path,
    report: &mut Report,
) -> Lifecycle {
    let checked = ending.map(|raw| self::ending(raw, &path.key("ending"), report));
    match (state, checked) {
        (RawState::Draft, None) => Lifecycle::Draft,
        (RawState::Published, None) => Lifecycle::Published,
        (RawState::Draft | RawState::Published, Some(_)) => {
            report
                .error(&path.key("ending"), "only a deprecated or retired version comes to an end")
                .help("write `state: deprecated`");
            Lifecycle::Draft
        }
        (RawState::Deprecated, Some(ending)) => Lifecycle::Deprecated(ending),
        (RawState::Retired, Some(ending)) => Lifecycle::Retired(ending),
        (RawState::Deprecated | RawState::Retired, None) => {
            report
                .error(path, "it is not said since when the version is deprecated")
                .help("write `ending: { deprecated: 2026-10-01 }`");
            Lifecycle::Deprecated(Ending::at(Timestamp::default()))
        }
    }
}

/// How a version ends.
#[must_use]
pub fn ending(raw: &RawEnding, path: &Path, report: &mut Report) -> Ending {
    let mut date = |key: &str, text: &str| {
        let read = date::read(text);
        if read.is_none() {
            report
                .error(&path.key(key), format!("`{text}` is no date"))
                .help("write `2026-10-01`, or `2026-10-01T12:00:00Z`");
        }
        read.unwrap_or_default()
    };
    let deprecated = date("deprecated", &raw.deprecated);
    let sunset = raw.sunset.as_ref().map(|text| date("sunset", text));
    if let Some(address) = &raw.documentation
        && !is_address(address)
    {
        report
            .error(&path.key("documentation"), format!("`{address}` is no address of a page"))
            .help("write `https://…`");
    }
    let successor = raw.successor.as_ref();
    Ending {
        deprecated,
        sunset,
        successor: successor.and_then(|name| parsed(&path.key("successor"), name, report)),
        documentation: raw.documentation.clone(),
    }
}

/// An address that may stand between `<` and `>` in a header.
fn is_address(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&byte);
    text.len() <= 2000
        && (text.starts_with("https://") || text.starts_with("http://"))
        && text.bytes().all(plain)
}

fn select(raw: &RawSelect, path: &Path, report: &mut Report) -> Select {
    let RawSelect { path: prefix, header, media_type, host } = raw;
    let given = [prefix.is_some(), header.is_some(), media_type.is_some(), host.is_some()];
    if given.iter().filter(|is| **is).count() > 1 {
        report
            .error(path, "a version is told in one way only")
            .help("keep one of `path`, `header`, `media_type` and `host`");
    }
    if let Some(prefix) = prefix {
        is_prefix(&path.key("path"), prefix, report);
        return Select::Path(prefix.clone());
    }
    if let Some(header) = header {
        let path = path.key("header");
        let mut fields = header.iter();
        let (Some((name, value)), None) = (fields.next(), fields.next()) else {
            report.error(&path, "name one header and its value").help("`{ x-version: \"2\" }`");
            return Select::All;
        };
        is_header(&path, name, value, report);
        return Select::Header { name: name.clone(), value: value.clone() };
    }
    if let Some(media_type) = media_type {
        if !is_media_type(media_type) {
            let message = format!("`{media_type}` is no media type");
            report
                .error(&path.key("media_type"), message)
                .help("write one like `application/vnd.shop.users-v2+json`, without parameters");
        }
        return Select::MediaType(media_type.clone());
    }
    if let Some(host) = host {
        is_host(&path.key("host"), host, report);
        return Select::Host(host.clone());
    }
    Select::All
}

fn is_header(path: &Path, name: &str, value: &str, report: &mut Report) {
    if http::HeaderName::from_str(name).is_err() {
        report.error(&path.key(name), format!("`{name}` is no name of a header"));
    }
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain(value) || value.starts_with('~') || value == "*" {
        report
            .error(&path.key(name), format!("`{value}` is no one value"))
            .help("a version is told by exactly this value, without spaces");
    }
}

/// `type/subtype`, both tokens, the first letter of which a regular expression can take as it is.
fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.len() <= 200 && text.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}

fn is_host(path: &Path, host: &str, report: &mut Report) {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(plain) || name.starts_with('.') {
        report
            .error(path, format!("`{host}` is no host"))
            .help("write `api.example`, or `*.api.example` for every name below it");
    }
}

/// A path that others begin with: whole segments, and no place-holders.
fn is_prefix(path: &Path, prefix: &str, report: &mut Report) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"{}?#\\\"<>^`|".contains(&byte);
    let help = if !prefix.starts_with('/') {
        "it begins with `/`"
    } else if prefix.len() > 1 && prefix.ends_with('/') || prefix.contains("//") {
        "it has whole segments: `/api/v2`, without a final `/`"
    } else if prefix.split('/').any(|segment| segment == "." || segment == "..") {
        "`.` and `..` are no segments"
    } else if prefix.len() > 500 || !prefix.bytes().all(plain) {
        "it is plain text without place-holders; what is not ASCII is escaped"
    } else {
        return;
    };
    report.error(path, format!("`{prefix}` cannot begin a path")).help(help);
}

fn contract(raw: &RawVersion, path: &Path, report: &mut Report) -> Option<Contract> {
    let (kind, key, text) = match (&raw.openapi, &raw.proto) {
        (Some(text), None) => (Kind::OpenApi, "openapi", text),
        (None, Some(text)) => (Kind::Proto, "proto", text),
        (None, None) => return None,
        (Some(_), Some(_)) => {
            report.error(&path.key("proto"), "a version has one description: `openapi` or `proto`");
            return None;
        }
    };
    let contract = Contract::new(kind, text);
    match contract.read() {
        Err(unreadable) => {
            for mistake in unreadable.mistakes() {
                report.error(&path.key(key), mistake.to_string());
            }
        }
        Ok(_) if raw.validate && kind == Kind::OpenApi => {
            if let Err(mistake) = contract.validator() {
                report.error(&path.key(key), mistake.to_string());
            }
        }
        Ok(_) => {}
    }
    Some(contract)
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(
    path: &Path,
    text: &str,
    report: &mut Report,
) -> Option<T> {
    let read = text.parse();
    read.map_err(|error: T::Err| report.error(path, error.to_string()).path.clone()).ok()
}

fn limits_fit(path: &Path, count: usize, report: &mut Report) {
    if count > MOST_LIMITS {
        report.error(path, format!("{count} limits are more than {MOST_LIMITS}"));
    }
}

fn texts_fit<const N: usize>(path: &Path, texts: [(&str, &String); N], report: &mut Report) {
    for (key, text) in texts {
        if text.len() > LONGEST_TEXT {
            report.error(&path.key(key), format!("it has more than {LONGEST_TEXT} bytes"));
        }
    }
}
