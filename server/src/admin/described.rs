//! The API's own description, as it is given to whoever asks, and the roles that questions ask for. Both
//! are read from the file that is shipped and documented, so that nothing of it needs to be made, or kept,
//! while the house runs; that the file says what the code does is seen to by a test (`description`).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use axum::http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::config::admin::Role;

/// The description as it is while tokens are asked for.
pub(super) const TEXT: &str = include_str!("../../../docs/admin-api.openapi.json");

/// Where it stands in the source tree, seen from this crate.
#[cfg(test)]
pub(super) const FILE: &str = "../docs/admin-api.openapi.json";

/// Which role each question asks for.
#[derive(Debug)]
pub(super) struct Described {
    /// By path as the router has it, then by method.
    roles: HashMap<String, HashMap<Method, Role>>,
}

/// What of a description matters here.
#[derive(Deserialize)]
struct Roles {
    paths: BTreeMap<String, BTreeMap<String, Operation>>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(rename = "x-posthouse-role")]
    role: String,
    #[serde(flatten)]
    _rest: IgnoredAny,
}

impl Described {
    /// Reads the roles of a description.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn read(description: &str) -> serde_json::Result<Self> {
        let role = |(method, operation): (String, Operation)| {
            let method = method.to_uppercase().parse::<Method>().ok()?;
            Some((method, Role::of_name(&operation.role).unwrap_or(Role::Admin)))
        };
        let paths = serde_json::from_str::<Roles>(description)?.paths.into_iter();
        let roles = paths.map(|(path, of)| (path, of.into_iter().filter_map(role).collect()));
        Ok(Self { roles: roles.collect() })
    }

    /// The role that a question asks for; `None` when there is no such question at that path. A path that
    /// is not described asks for the highest.
    pub(super) fn role(&self, method: &Method, path: &str) -> Option<Role> {
        // What answers GET answers HEAD.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match self.roles.get(path) {
            Some(questions) => questions.get(method).copied(),
            None => Some(Role::Admin),
        }
    }
}

/// The description as it is now: with tokens, or without.
///
/// # Errors
/// When what is shipped is no JSON.
pub(super) fn text(with_tokens: bool) -> serde_json::Result<Cow<'static, str>> {
    if with_tokens {
        return Ok(TEXT.into());
    }
    let mut description: Value = serde_json::from_str(TEXT)?;
    let paths = description["paths"].as_object_mut();
    let items = paths.into_iter().flat_map(|paths| paths.values_mut());
    for operation in items.filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        if let Some(operation) = operation.as_object_mut() {
            operation.shift_remove("security");
        }
    }
    Ok(description.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_says_who_may_ask_what() {
        let described = Described::read(TEXT).expect("a description");
        assert_eq!(described.role(&Method::GET, "/api/v1/routes"), Some(Role::Viewer));
        assert_eq!(described.role(&Method::HEAD, "/api/v1/routes"), Some(Role::Viewer));
        assert_eq!(described.role(&Method::POST, "/api/v1/reload"), Some(Role::Operator));
        assert_eq!(described.role(&Method::DELETE, "/api/v1/apis/{api}"), Some(Role::Admin));
        assert_eq!(described.role(&Method::PUT, "/api/v1/routes"), None);
        assert_eq!(described.role(&Method::GET, "/api/v1/nothing"), Some(Role::Admin));
    }

    #[test]
    fn without_tokens_none_is_asked_for() {
        for with_tokens in [true, false] {
            let text = text(with_tokens).expect("JSON");
            let description: Value = serde_json::from_str(&text).expect("JSON");
            let question = &description["paths"]["/api/v1/routes"]["get"];
            assert_eq!(question["security"].is_array(), with_tokens, "{question}");
            assert!(question["responses"]["403"].is_object(), "{question}");
        }
    }
}
