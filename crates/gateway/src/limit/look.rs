//! What limits would say to a call, without counting it: for whoever asks why a call is refused. Between
//! the answer and a call others may call, so this promises nothing.

use std::sync::Arc;

use super::book::Book;
use super::key::{Caller, Key};
use super::rate::{Verdict, seconds};
use super::rule::{Kind, Now, Policy, Rule};

/// How a call stands with one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The limit's name.
    pub limit: Arc<str>,
    /// What there is a limit of: `concurrency`, `bytes`, `rate` or `quota`.
    pub kind: &'static str,
    /// What the call is counted by: `consumer acme`, `address 192.0.2.1`. No secret.
    pub key: String,
    /// How many there may be: in so many seconds, if that is said.
    pub most: u64,
    /// See `most`.
    pub seconds: Option<u64>,
    /// How many there may be now.
    pub left: u64,
    /// Whether the call passes.
    pub passes: bool,
    /// After how many seconds a call passes again, when this one does not.
    pub wait_seconds: Option<u64>,
}

/// How a call stands with each limit of `policies`, in the order in which they are asked.
pub(crate) fn look(policies: &[&Policy], caller: &Caller<'_>, book: &Book, now: Now) -> Vec<Left> {
    let rules = policies.iter().flat_map(|policy| policy.rules());
    rules.map(|rule| one(rule, caller, book, now)).collect()
}

fn one(rule: &Rule, caller: &Caller<'_>, book: &Book, now: Now) -> Left {
    let key = Key::of(&rule.by, caller);
    let hashed = key.hashed(&book.hasher);
    let (kind, left, wait) = match &rule.kind {
        Kind::Concurrency { most, table } => {
            let left = u64::from(*most).saturating_sub(table.look(hashed));
            ("concurrency", left, (left == 0).then_some(1))
        }
        Kind::Bytes { rate, table } => {
            let (left, wait) = told(rate.any(table.look(hashed), now.nanos), 0);
            ("bytes", left, wait)
        }
        Kind::Rate { rate, table } => {
            // The verdict tells what is left after the call; here it is still to come.
            let (left, wait) = told(rate.one(table.look(hashed), now.nanos), 1);
            ("rate", left, wait)
        }
        Kind::Quota { most, every } => {
            let period = every.at(now.time);
            let left = most.saturating_sub(book.counts.used(&rule.id, &key.name(), period));
            let over = period.end().since(now.time).as_secs() + 1;
            ("quota", left, (left == 0).then_some(over))
        }
    };
    let (most, _, window) = rule.policy();
    Left {
        limit: Arc::clone(&rule.name),
        kind,
        key: key.name(),
        most,
        seconds: window,
        left,
        passes: wait.is_none(),
        wait_seconds: wait,
    }
}

/// How many are left with `this` one, and how long to wait if there are none.
fn told(verdict: Verdict, this: u64) -> (u64, Option<u64>) {
    match verdict {
        Verdict::Granted { left, .. } => (left + this, None),
        Verdict::Refused { wait } => (0, Some(seconds(wait).max(1))),
    }
}
