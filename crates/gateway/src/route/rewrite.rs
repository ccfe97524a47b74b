//! What becomes of a call on its way: another path, host, headers, or a redirect.
//!
//! What a template caught is put in as it was sent, escapes included, so that a rewrite neither
//! adds nor takes away a level of escaping.

use std::borrow::Cow;

use super::decode;
use super::table::{Caught, Route};
use crate::config::model::{Action, HeaderEdits, PathRecipe, RecipePart, Redirect, Rewrite};
use crate::http::head::Fields;
use crate::http::target::Target;

impl<S> Route<S> {
    /// What is changed in forwarded calls; `None` when the route answers by itself.
    #[must_use]
    pub fn rewrite(&self) -> Option<&Rewrite> {
        match &self.config.action {
            Action::Forward { rewrite, .. } => Some(rewrite),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// Path and query as the service gets them. Nothing is copied when nothing changes.
    #[must_use]
    pub fn path_and_query<'t>(&self, caught: &Caught, target: &'t Target) -> Cow<'t, str> {
        let Some(rewrite) = self.rewrite() else { return Cow::Borrowed(target.path_and_query()) };
        if let Some(recipe) = &rewrite.path {
            return Cow::Owned(self.filled(recipe, caught, target));
        }
        let stripped = rewrite.strip_prefix.as_deref();
        match stripped.and_then(|prefix| strip_prefix(target.path(), prefix)) {
            None => Cow::Borrowed(target.path_and_query()),
            Some("") => Cow::Owned(with_query(String::from("/"), target)),
            Some(rest) => {
                // What is left of the path and the query stand side by side.
                let from = target.path().len() - rest.len();
                Cow::Borrowed(target.path_and_query().get(from..).unwrap_or_default())
            }
        }
    }

    /// Host and port as the service gets them.
    #[must_use]
    pub fn authority<'a>(&'a self, target: &'a Target) -> &'a str {
        let host = self.rewrite().and_then(|rewrite| rewrite.host.as_deref());
        host.unwrap_or_else(|| target.authority())
    }

    /// The `Location` of a redirect of a call that came by `scheme`.
    #[must_use]
    pub fn location(
        &self,
        redirect: &Redirect,
        caught: &Caught,
        target: &Target,
        scheme: &str,
    ) -> String {
        let path = match &redirect.path {
            Some(recipe) => self.filled(recipe, caught, target),
            None if target.path() == "*" => String::from("/"),
            None => target.path_and_query().to_owned(),
        };
        let scheme_after = redirect.scheme.unwrap_or(scheme);
        let authority = match &redirect.host {
            Some(host) => host,
            // The port belongs to the scheme that is left.
            None if scheme_after != scheme => target.host(),
            None => target.authority(),
        };
        if authority.is_empty() {
            // Two slashes at the beginning would name another host (RFC 3986 §4.2).
            return format!("/{}", path.trim_start_matches('/'));
        }
        format!("{scheme_after}://{authority}{path}")
    }

    /// One of the route's services, each as often as its weight says.
    pub fn choose(&self, rng: &mut fastrand::Rng) -> Option<&S> {
        if let [(only, _)] = &self.split[..] {
            return Some(only);
        }
        let mut left = rng.u64(0..self.total_weight.max(1));
        let mut chosen = self.split.iter().filter(|(_, weight)| {
            let hit = left < u64::from(*weight);
            left = left.saturating_sub(u64::from(*weight));
            hit
        });
        chosen.next().map(|(service, _)| service)
    }

    /// A recipe with what was caught, and the query of the call.
    fn filled(&self, recipe: &PathRecipe, caught: &Caught, target: &Target) -> String {
        let mut path = String::with_capacity(target.path_and_query().len());
        for part in &recipe.0 {
            path.push_str(match part {
                RecipePart::Text(text) => text,
                RecipePart::Caught(name) => self.caught(caught, name, target.path()),
            });
        }
        with_query(path, target)
    }
}

/// Carries out changes to a header section: remove, set, add.
pub fn edit(edits: &HeaderEdits, fields: &mut Fields) {
    for name in &edits.remove {
        fields.remove_named(name.as_str().as_bytes());
    }
    for (name, value) in &edits.set {
        fields.set(name.as_str().as_bytes(), value.as_bytes());
    }
    for (name, value) in &edits.add {
        fields.append(name.as_str().as_bytes(), value.as_bytes());
    }
}

/// What follows a prefix of whole segments, compared like literals of a template; empty or with a
/// slash at its beginning. `None` when the path does not begin so.
fn strip_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let mut rest = path;
    for wanted in prefix.split('/').skip(1) {
        let after = rest.strip_prefix('/')?;
        let end = memchr::memchr(b'/', after.as_bytes()).unwrap_or(after.len());
        let (segment, left) = after.split_at(end);
        if decode::segment(segment.as_bytes()) != decode::segment(wanted.as_bytes()) {
            return None;
        }
        rest = left;
    }
    Some(rest)
}

fn with_query(mut path: String, target: &Target) -> String {
    if let Some(query) = target.query() {
        path.push('?');
        path.push_str(query);
    }
    path
}
