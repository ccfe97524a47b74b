//! Each rule of a guard, its outcome for one call, and the one that decides. The rules are those by which
//! calls are judged; here the others are told as well.

use std::sync::Arc;

use super::facts::{Facts, condition};
use super::rules::{PERMISSIONS, Rule, allows_address, permits};
use super::seam::{Identity, Refusal};
use super::settings::Guard;

/// What a guard says of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The route that the call takes; `None` when it takes none.
    pub route: Option<Arc<str>>,
    /// The version of an API that it belongs to, `NAME@VERSION`.
    pub api: Option<String>,
    /// Who calls, if that is known.
    pub identity: Option<Arc<Identity>>,
    /// Every rule in the order in which they are asked.
    pub rulings: Vec<Ruling>,
    /// Which of them decides; `None` when the call passes.
    pub decides: Option<usize>,
    /// Whether refusals are only logged.
    pub dry_run: bool,
    /// The status that the client would see, when the call does not pass.
    pub status: Option<u16>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Its label.
    pub rule: &'static str,
    /// Whether it lets the call pass.
    pub passes: bool,
    /// Why.
    pub why: String,
}

/// What was found out about who calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Caller {
    /// This one.
    Known(Arc<Identity>),
    /// No credential was shown.
    Nobody,
    /// One that does not hold.
    Refused(Refusal),
    /// The credential covers a body, which an explanation does not have.
    NeedsBody,
}

/// Explains what a guard says of a call.
#[must_use]
pub fn explain(guard: &Guard, caller: &Caller, facts: &Facts<'_>) -> (Vec<Ruling>, Option<usize>) {
    let mut rulings = Vec::new();
    let mut say = |rule: Rule, passes: bool, why: String| {
        rulings.push(Ruling { rule: rule.label(), passes, why });
    };
    if !guard.allow.is_empty() || !guard.deny.is_empty() {
        let client = facts.asked.client.ip();
        let passes = allows_address(guard, client);
        let list = if passes { "may call" } else { "is denied, or not among those allowed" };
        say(Rule::Address, passes, format!("{client} {list}"));
    }
    if guard.denied {
        let why = "the route demands nothing of its callers and does not say that it is open";
        say(Rule::Deny, false, why.into());
    }
    if !guard.providers.is_empty() {
        let (passes, why) = known(guard, caller);
        say(Rule::Identity, passes, why);
    }
    for rule in PERMISSIONS {
        if let Some(why) = why(guard, rule, facts) {
            say(rule, permits(guard, rule, facts), why);
        }
    }
    let decides = rulings.iter().position(|ruling| !ruling.passes);
    (rulings, decides)
}

fn known(guard: &Guard, caller: &Caller) -> (bool, String) {
    let asked = guard.providers.join(", ");
    match caller {
        Caller::Known(identity) => {
            let consumer = identity.consumer.as_ref();
            let consumer = consumer.map_or(String::new(), |name| format!(", consumer `{name}`"));
            let (subject, provider) = (&identity.subject, &identity.provider);
            (true, format!("`{provider}` knows the caller as `{subject}`{consumer}"))
        }
        Caller::Nobody if guard.optional => (true, "nobody in particular may call".into()),
        Caller::Nobody => (false, format!("no credential for any of: {asked}")),
        Caller::Refused(Refusal::Invalid) => {
            (false, "the credential is wrong, unknown, expired or used again".into())
        }
        Caller::Refused(Refusal::Unavailable) => {
            (false, "it cannot be found out now whether the credential holds".into())
        }
        Caller::Refused(Refusal::Forbidden(_)) => (false, "an external authoriser refused".into()),
        Caller::NeedsBody => {
            (false, "the credential covers the body of the call, which is not given here".into())
        }
    }
}

/// What a permission wants and what there is; `None` when the guard does not ask.
fn why(guard: &Guard, rule: Rule, facts: &Facts<'_>) -> Option<String> {
    let list = |list: &[Box<str>]| if list.is_empty() { "none".into() } else { list.join(", ") };
    let held = |of: fn(&Identity) -> &[Box<str>]| {
        facts.identity.map_or("none".into(), |one| list(of(one)))
    };
    match rule {
        Rule::Scopes if !guard.scopes.is_empty() => {
            let held = held(|identity| &identity.scopes);
            Some(format!("wants all of: {}; the caller has: {held}", list(&guard.scopes)))
        }
        Rule::Roles if !guard.roles.is_empty() => {
            let held = held(|identity| &identity.roles);
            Some(format!("wants one of: {}; the caller has: {held}", list(&guard.roles)))
        }
        Rule::Consumers if !guard.consumers.is_empty() => {
            let consumer = facts.identity.and_then(|identity| identity.consumer.as_deref());
            let consumer = consumer.unwrap_or("none");
            Some(format!("wants one of: {}; the caller is: {consumer}", list(&guard.consumers)))
        }
        Rule::When => guard.when.as_ref().map(|when| match condition(when, facts) {
            Ok(holds) => format!("`{}` is {holds}", when.source()),
            Err(failure) => format!("`{}` has no value: {failure}", when.source()),
        }),
        _ => None,
    }
}
