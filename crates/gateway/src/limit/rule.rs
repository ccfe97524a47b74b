//! The limits of a route or a plan as they are in force, and what they say to a call.
//!
//! They are asked in this order: calls under way, bytes, rates with the shortest wait first, quotas;
//! of a policy
//! a call that is refused has used up nothing that takes long to come back: of quotas nothing at all,
//! of rates only what is there again before the one that refused.

use std::hash::RandomState;
use std::sync::Arc;

use posthouse_base::time::Timestamp;
use smallvec::SmallVec;

use super::book::Book;
use super::calendar::{Every, Period};
use super::key::{Caller, Key};
use super::quota::{self, Counts};
use super::rate::{Rate, Verdict, seconds};
use super::share::{Held, Share};
use super::table::{Hashed, Places, Table};
use super::tell::{Standing, write_policy};
use crate::config::model::{Amount, Limit, LimitBy};

/// The limits of a route or a plan, in the order in which they are asked.
#[derive(Default)]
pub(crate) struct Policy {
    rules: Box<[Arc<Rule>]>,
    /// What `RateLimit-Policy` says of them.
    told: Box<[u8]>,
}

/// A limit in force.
pub(crate) struct Rule {
    /// Its name in headers and metrics.
    pub(super) name: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) by: LimitBy,
    pub(super) kind: Kind,
}

/// What there is a limit of, and where it is counted.
pub(super) enum Kind {
    Concurrency { most: u32, table: Arc<Table> },
    Bytes { rate: Rate, table: Arc<Table> },
    Rate { rate: Rate, table: Arc<Table> },
    Quota { most: u64, every: Every },
}

/// A call is refused.
pub(crate) struct Refused {
    /// By what kind of limit.
    pub(crate) why: Limited,
    /// The limit's name.
    pub(crate) limit: Arc<str>,
    /// What the client is told.
    pub(crate) share: Box<Share>,
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// Calls under way.
    Concurrency,
    /// Bytes.
    Bytes,
    /// Calls in a short time.
    Rate,
    /// Calls in a day or month.
    Quota,
}

impl Limited {
    /// The stable label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency-limited",
            Self::Bytes => "bytes-limited",
            Self::Rate => "rate-limited",
            Self::Quota => "quota-used-up",
        }
    }

    /// What the client is told.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Concurrency => "too many calls are under way; wait for one to end",
            Self::Bytes => "too much was carried lately; try again after the time in retry-after",
            Self::Rate => "calls come too fast; try again after the time in retry-after",
            Self::Quota => "the quota is used up; it begins anew after the time in retry-after",
        }
    }
}

/// When a call is asked about, by both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    /// Nanoseconds of the monotonic clock of limits.
    pub(crate) nanos: u64,
    /// The calendar's.
    pub(crate) time: Timestamp,
}

/// A quota that was counted, in case that another refuses.
type Counted<'a> = (&'a Rule, String, Period);

impl Policy {
    /// Limits as configured, whose counts are in `book`.
    pub(super) fn new(limits: &[Limit], book: &Book) -> Self {
        let mut rules: Vec<Arc<Rule>> =
            limits.iter().map(|limit| Arc::new(Rule::new(limit, book))).collect();
        let mut told = Vec::new();
        for rule in &rules {
            write_policy(&mut told, rule);
        }
        rules.sort_by_key(|rule| rule.rank());
        Self { rules: rules.into(), told: told.into() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The limits, in the order in which they are asked.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|rule| &**rule)
    }

    /// Whether the calendar's time is needed.
    pub(crate) fn has_quotas(&self) -> bool {
        self.rules.last().is_some_and(|rule| matches!(rule.kind, Kind::Quota { .. }))
    }
}

/// Asks the limits of all `policies` about a call.
pub(crate) fn admit(
    policies: &[&Policy],
    caller: &Caller<'_>,
    book: &Book,
    now: Now,
) -> Result<Box<Share>, Refused> {
    let mut share = Box::new(Share::default());
    for policy in policies {
        share.tell_policy(&policy.told);
    }
    let mut counted: SmallVec<[Counted<'_>; 2]> = SmallVec::new();
    for policy in policies {
        for rule in &policy.rules {
            if let Err((why, wait)) = rule.ask(caller, book, now, &mut share, &mut counted) {
                for (rule, key, period) in counted {
                    book.counts.give_back(&rule.id, &key, period);
                }
                share.refuse(Standing { name: &rule.name, left: 0, reset: wait });
                return Err(Refused { why, limit: Arc::clone(&rule.name), share });
            }
        }
    }
    Ok(share)
}

impl Rule {
    fn new(limit: &Limit, book: &Book) -> Self {
        let table = || book.table(&limit.id);
        let kind = match limit.amount {
            Amount::Concurrency(most) => Kind::Concurrency { most, table: table() },
            Amount::Bytes { amount, period, burst } => {
                Kind::Bytes { rate: Rate::new(amount, period, burst), table: table() }
            }
            Amount::Calls { amount, period, burst } => {
                Kind::Rate { rate: Rate::new(amount, period, burst), table: table() }
            }
            Amount::Quota { amount, every } => Kind::Quota { most: amount, every },
        };
        Self {
            name: Arc::clone(&limit.name),
            id: Arc::clone(&limit.id),
            by: limit.by.clone(),
            kind,
        }
    }

    /// Its place in the order of asking.
    fn rank(&self) -> (u8, u64) {
        match &self.kind {
            Kind::Concurrency { .. } => (0, 0),
            Kind::Bytes { .. } => (1, 0),
            Kind::Rate { rate, .. } => (2, rate.interval()),
            Kind::Quota { every: Every::Day, .. } => (3, 0),
            Kind::Quota { every: Every::Month, .. } => (3, 1),
        }
    }

    /// Asks about a call. An error has the seconds to wait.
    fn ask<'a>(
        self: &'a Arc<Self>,
        caller: &Caller<'_>,
        book: &Book,
        now: Now,
        share: &mut Share,
        counted: &mut SmallVec<[Counted<'a>; 2]>,
    ) -> Result<(), (Limited, u64)> {
        let key = Key::of(&self.by, caller);
        match &self.kind {
            Kind::Concurrency { most, table } => {
                let key = key.hashed(&book.hasher);
                if !enter(table, key, *most) {
                    return Err((Limited::Concurrency, 1));
                }
                share.held.push(Held { rule: Arc::clone(self), key });
            }
            Kind::Bytes { rate, table } => {
                let key = key.hashed(&book.hasher);
                let verdict = decide(table, key, now.nanos, |at, now| rate.any(at, now));
                if let Verdict::Refused { wait } = verdict {
                    return Err((Limited::Bytes, seconds(wait).max(1)));
                }
                share.metered.push((Arc::clone(self), key));
            }
            Kind::Rate { rate, table } => {
                let key = key.hashed(&book.hasher);
                match decide(table, key, now.nanos, |at, now| rate.one(at, now)) {
                    Verdict::Refused { wait } => return Err((Limited::Rate, seconds(wait).max(1))),
                    Verdict::Granted { left, full_in, .. } => {
                        let reset = seconds(full_in);
                        share.tell(Standing { name: &self.name, left, reset });
                    }
                }
            }
            Kind::Quota { most, every } => {
                let key = key.name();
                let until = |period: Period| period.end().since(now.time).as_secs() + 1;
                match book.counts.take(&self.id, &key, *every, *most, now.time) {
                    quota::Verdict::Refused { period } => {
                        return Err((Limited::Quota, until(period)));
                    }
                    quota::Verdict::Granted { left, period } => {
                        share.tell(Standing { name: &self.name, left, reset: until(period) });
                        counted.push((self, key, period));
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives back a place that a call had under way.
    pub(super) fn leave(&self, key: Hashed) {
        if let Kind::Concurrency { table, .. } = &self.kind {
            let leave = |count: u64, _| (count.checked_sub(1), ());
            // It has a place, since its number is not 0.
            let _left = table.change(key, 0, Places::Free, leave);
        }
    }

    /// Charges bytes that were carried.
    pub(super) fn charge(&self, key: Hashed, bytes: u64, nanos: u64) {
        if let Kind::Bytes { rate, table } = &self.kind {
            let charge = |at, now| (Some(rate.charged(at, now, bytes)), ());
            let _charged = table.change(key, nanos, Places::Any, charge);
        }
    }

    /// What `RateLimit-Policy` says of it: how many, in what unit, in how many seconds.
    pub(super) fn policy(&self) -> (u64, Option<&'static str>, Option<u64>) {
        match &self.kind {
            Kind::Concurrency { most, .. } => (u64::from(*most), Some("concurrent-requests"), None),
            Kind::Bytes { rate, .. } => {
                (rate.amount(), Some("content-bytes"), Some(rate.period_seconds()))
            }
            Kind::Rate { rate, .. } => (rate.amount(), None, Some(rate.period_seconds())),
            Kind::Quota { most, every: Every::Day } => (*most, None, Some(86_400)),
            // Months differ: a window that is one of them is none of the others.
            Kind::Quota { most, every: Every::Month } => (*most, None, None),
        }
    }
}

fn enter(table: &Table, key: Hashed, most: u32) -> bool {
    let enter = |count, _| {
        let fits = count < u64::from(most);
        (fits.then_some(count + 1), fits)
    };
    // Without a free place there are more keys with calls under way than there is memory for.
    table.change(key, 0, Places::Free, enter).unwrap_or(false)
}

fn decide(table: &Table, key: Hashed, nanos: u64, rule: impl Fn(u64, u64) -> Verdict) -> Verdict {
    let change = |at, now| {
        let verdict = rule(at, now);
        let next = match verdict {
            Verdict::Granted { next, .. } => (next != at).then_some(next),
            Verdict::Refused { .. } => None,
        };
        (next, verdict)
    };
    table.change(key, nanos, Places::Any, change).unwrap_or(Verdict::Refused { wait: 0 })
}

/// How keys are hashed: with a secret, so that nobody can choose keys that fall together.
pub(super) type KeyHasher = RandomState;

/// All counts of all quotas, for those that only count.
pub(super) type AllCounts = Counts;
