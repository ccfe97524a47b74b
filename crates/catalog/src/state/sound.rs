//! What must go together: an API and its versions.

use super::Limits;
use super::command::Refusal;
use super::model::{Api, Ending, Key, Lifecycle, Name, Select, Spec, Specs, Version};

/// Looks at an API and its versions as they would be.
///
/// # Errors
/// The first thing that does not go together.
pub fn check(specs: &Specs, api: &Name, limits: &Limits) -> Result<(), Refusal> {
    let key = Key::Api(api.clone());
    let versions = versions(specs, api);
    let Some(Spec::Api(spec)) = specs.get(&key).map(AsRef::as_ref) else {
        return if versions.is_empty() { Ok(()) } else { Err(Refusal::Unknown(key)) };
    };
    if versions.len() > limits.versions {
        return Err(Refusal::Full { what: "versions of an API", limit: limits.versions });
    }
    default(&key, spec, &versions)?;
    let find = |name: &Name| versions.iter().find(|(other, _)| *other == name);
    for (name, version) in &versions {
        let key = Key::Version(api.clone(), (*name).clone());
        if let Some(ending) = version.lifecycle.ending() {
            dates(&key, ending)?;
            if let Some(successor) = &ending.successor {
                let found = find(successor).map(|(_, version)| *version);
                succeeds(&key, name, successor, found)?;
            }
        }
        told_apart(&key, name, version, &versions)?;
    }
    for (name, _) in &versions {
        let successor = |name: &Name| find(name)?.1.lifecycle.ending()?.successor.as_ref();
        let mut at = successor(name);
        let mut steps = 0;
        while let Some(next) = at {
            steps += 1;
            if steps > versions.len() {
                let key = Key::Version(api.clone(), (*name).clone());
                return Err(unsound(key, "successor", "its successors lead in a circle"));
            }
            at = successor(next);
        }
    }
    Ok(())
}

type Versions<'a> = Vec<(&'a Name, &'a Version)>;

/// The versions of an API, by name.
#[must_use]
pub fn versions<'a>(specs: &'a Specs, api: &Name) -> Versions<'a> {
    let of_api = |key: &Key| matches!(key, Key::Version(of, _) if of == api);
    specs
        .range(Key::first_version(api)..)
        .take_while(|(key, _)| of_api(key))
        .filter_map(|(key, spec)| match key {
            Key::Version(_, name) => Some((name, spec.as_version()?)),
            Key::Api(_) | Key::Plan(_) => None,
        })
        .collect()
}

fn default(key: &Key, api: &Api, versions: &Versions<'_>) -> Result<(), Refusal> {
    let Some(default) = &api.default else { return Ok(()) };
    let wrong = |message: String| Err(unsound(key.clone(), "default", message));
    match versions.iter().find(|(name, _)| *name == default) {
        None => wrong(format!("there is no version `{default}`")),
        Some((_, version)) if matches!(version.lifecycle, Lifecycle::Draft) => {
            wrong(format!("`{default}` is a draft, which takes no calls"))
        }
        Some((_, version))
            if !matches!(version.select, Select::Header { .. } | Select::MediaType(_)) =>
        {
            wrong(format!(
                "`{default}` is told by its path or host: a call that names no version cannot mean it"
            ))
        }
        Some(_) => Ok(()),
    }
}

fn dates(key: &Key, ending: &Ending) -> Result<(), Refusal> {
    match ending.sunset {
        Some(sunset) if sunset < ending.deprecated => {
            Err(unsound(key.clone(), "sunset", "it lies before the deprecation"))
        }
        _ => Ok(()),
    }
}

fn succeeds(
    key: &Key,
    name: &Name,
    successor: &Name,
    found: Option<&Version>,
) -> Result<(), Refusal> {
    let wrong = |message: String| Err(unsound(key.clone(), "successor", message));
    match found {
        _ if name == successor => wrong("it cannot succeed itself".into()),
        None => wrong(format!("there is no version `{successor}`")),
        Some(version) if matches!(version.lifecycle, Lifecycle::Draft) => {
            wrong(format!("`{successor}` is a draft, which nobody can use"))
        }
        Some(_) => Ok(()),
    }
}

/// No two versions that are routed may be meant by the same calls.
fn told_apart(
    key: &Key,
    name: &Name,
    version: &Version,
    versions: &Versions<'_>,
) -> Result<(), Refusal> {
    let is_draft = |version: &Version| matches!(version.lifecycle, Lifecycle::Draft);
    let same = versions.iter().find(|(other, others)| {
        *other < name && !is_draft(others) && is_same(&others.select, &version.select)
    });
    match same.filter(|_| !is_draft(version)) {
        Some((other, _)) => {
            Err(unsound(key.clone(), "select", format!("`{other}` is meant by the same calls")))
        }
        None => Ok(()),
    }
}

fn is_same(one: &Select, other: &Select) -> bool {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    match (one, other) {
        (Select::Header { name, value }, Select::Header { name: of, value: is }) => {
            same(name, of) && value == is
        }
        (Select::MediaType(a), Select::MediaType(b)) | (Select::Host(a), Select::Host(b)) => {
            same(a, b)
        }
        (one, other) => one == other,
    }
}

fn unsound(key: Key, field: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::Unsound { key, field, message: message.into() }
}
