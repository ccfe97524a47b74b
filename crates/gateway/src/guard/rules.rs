//! The rules of a guard, each with its outcome. Pure: a call is judged by its facts, and `explain` tells
//! of the same rules what a call was judged by.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{Facts, condition};
use super::seam::Identity;
use super::settings::Guard;

/// A rule of a guard, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The client's address.
    Address,
    /// Routes that demand nothing are closed.
    Deny,
    /// Somebody must be known.
    Identity,
    /// Scopes.
    Scopes,
    /// Roles.
    Roles,
    /// Consumers.
    Consumers,
    /// The condition.
    When,
}

/// The rules that need to know who calls, in their order.
pub(crate) const PERMISSIONS: [Rule; 4] = [Rule::Scopes, Rule::Roles, Rule::Consumers, Rule::When];

impl Rule {
    /// The stable label for metrics, logs and people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Address => "addresses",
            Self::Deny => "deny",
            Self::Identity => "identity",
            Self::Scopes => "scopes",
            Self::Roles => "roles",
            Self::Consumers => "consumers",
            Self::When => "when",
        }
    }
}

/// Whether an address may call.
pub(crate) fn allows_address(guard: &Guard, client: IpAddr) -> bool {
    let client = client.to_canonical();
    let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client));
    !within(&guard.deny) && (guard.allow.is_empty() || within(&guard.allow))
}

/// Whether whoever calls may, by this one of [`PERMISSIONS`].
pub(crate) fn permits(guard: &Guard, rule: Rule, facts: &Facts<'_>) -> bool {
    let identity = facts.identity;
    let is_one_of = |wanted: &[Box<str>], held: &dyn Fn(&Identity, &str) -> bool| {
        wanted.is_empty()
            || identity.is_some_and(|identity| wanted.iter().any(|one| held(identity, one)))
    };
    match rule {
        Rule::Scopes => {
            guard.scopes.is_empty()
                || identity.is_some_and(|identity| {
                    guard.scopes.iter().all(|scope| identity.scopes.contains(scope))
                })
        }
        Rule::Roles => is_one_of(&guard.roles, &|identity, role| {
            identity.roles.iter().any(|held| **held == *role)
        }),
        Rule::Consumers => {
            is_one_of(&guard.consumers, &|identity, one| identity.consumer.as_deref() == Some(one))
        }
        Rule::When => guard.when.as_ref().is_none_or(|when| condition(when, facts) == Ok(true)),
        Rule::Address | Rule::Deny | Rule::Identity => true,
    }
}

/// The first of the [`PERMISSIONS`] that whoever calls does not have.
pub(crate) fn missing(guard: &Guard, facts: &Facts<'_>) -> Option<Rule> {
    PERMISSIONS.into_iter().find(|rule| !permits(guard, *rule, facts))
}
