//! `limits` and `plans`: how fast, and how much.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::config::{Path, Size};

use super::Check;
use crate::config::model::{Amount, Every, Limit, LimitBy};
use crate::config::raw;

/// The longest name of a limit.
const LONGEST_NAME: usize = 64;
/// The most that a rate may give in a second: beyond it nanoseconds are too coarse.
const MOST_A_SECOND: u64 = 1_000_000;
/// The largest amount of anything.
const MOST: u64 = 1 << 50;
/// Limits of one route or plan.
const MOST_LIMITS: usize = 32;

impl Check<'_> {
    pub(super) fn plans(
        &mut self,
        written: &BTreeMap<String, raw::Plan>,
    ) -> BTreeMap<Arc<str>, Vec<Limit>> {
        let all = Path::root().key("plans");
        let mut plans = BTreeMap::new();
        for (name, plan) in written {
            let path = all.key(name);
            if !is_name(name) {
                self.bad_limit_name(&path, name, "a plan");
            }
            let (scope, prefix) = (format!("plan {name}"), format!("{name}-"));
            let limits = self.limits(&path.key("limits"), &plan.limits, &scope, &prefix);
            plans.insert(Arc::from(name.as_str()), limits);
        }
        plans
    }

    /// The limits of a route or plan. Those that have no name count apart from those of other scopes,
    /// and are called by `prefix` and what they count by.
    pub(super) fn limits(
        &mut self,
        path: &Path,
        written: &[raw::Limit],
        scope: &str,
        prefix: &str,
    ) -> Vec<Limit> {
        if written.len() > MOST_LIMITS {
            self.error(path, format!("there are more than {MOST_LIMITS} limits"));
        }
        let mut taken: HashMap<String, usize> = HashMap::new();
        let mut limits = Vec::with_capacity(written.len());
        for (index, raw) in written.iter().enumerate() {
            let path = path.index(index);
            let Some(amount) = self.amount(&path, raw) else { continue };
            let by = self.limit_by(&path.key("by"), &raw.by);
            let (what, by_text) = (kind(amount), normal(&raw.by));
            let (name, id) = match &raw.name {
                Some(name) => {
                    self.limit_name(&path, name, &by_text, amount);
                    (name.clone(), format!("name {name} {what}"))
                }
                None => {
                    let word = if by_text.starts_with("cel:") { "value" } else { &by_text };
                    let tail = if what == "rate" { String::new() } else { format!("-{what}") };
                    let mut name = format!("{prefix}{word}{tail}");
                    let number = taken.entry(name.clone()).or_default();
                    *number += 1;
                    if *number > 1 {
                        name = format!("{name}-{number}");
                    }
                    let id = format!("{scope} {what} {number} {by_text}");
                    (name, id)
                }
            };
            if limits.iter().any(|other: &Limit| *other.name == *name) {
                self.error(&path, format!("another limit here is called `{name}` too"));
            }
            limits.push(Limit { name: name.into(), id: id.into(), by, amount });
        }
        limits
    }

    /// Notes a limit's own name: it is the same limit wherever it has that name.
    fn limit_name(&mut self, path: &Path, name: &str, by: &str, amount: Amount) {
        if !is_name(name) {
            self.bad_limit_name(&path.key("name"), name, "a limit");
        }
        let written = format!("{by} {amount:?}");
        let first = self.named_limits.entry(name.to_owned());
        let (first, place) = first.or_insert_with(|| (written.clone(), path.clone())).clone();
        if first != written {
            let message = format!("`{name}` is another limit at {place}");
            let help = "limits of one name count together; give this one another name";
            self.error_with_help(&path.key("name"), message, help);
        }
    }

    fn bad_limit_name(&mut self, path: &Path, name: &str, what: &str) {
        self.error_with_help(
            path,
            format!("`{name}` is no name of {what}"),
            format!("names are letters, digits, `-`, `_` and `.`, at most {LONGEST_NAME} of them"),
        );
    }

    fn limit_by(&mut self, path: &Path, written: &str) -> LimitBy {
        match written.trim() {
            "consumer" => LimitBy::Consumer,
            "subject" => LimitBy::Subject,
            "key" => LimitBy::Key,
            "address" => LimitBy::Address,
            "route" => LimitBy::Route,
            "all" => LimitBy::All,
            other => {
                if let Some(written) = other.strip_prefix("cel:") {
                    let program = self.condition(path, written.trim());
                    return program.map_or(LimitBy::All, |one| LimitBy::Value(Arc::new(one)));
                }
                const KNOWN: [&str; 6] = ["consumer", "subject", "key", "address", "route", "all"];
                let message = format!("`{other}` is nothing that calls are counted by");
                let finding = self.report.error(path, message);
                finding.help(format!("write one of {}, or `cel: EXPRESSION`", KNOWN.join(", ")));
                finding.suggest(other, KNOWN);
                LimitBy::All
            }
        }
    }

    /// How many, of what: the one that is given.
    fn amount(&mut self, path: &Path, raw: &raw::Limit) -> Option<Amount> {
        let given = [
            ("rate", raw.rate.is_some()),
            ("concurrency", raw.concurrency.is_some()),
            ("bytes", raw.bytes.is_some()),
            ("quota", raw.quota.is_some()),
        ];
        let given: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let [one] = given[..] else {
            let (message, help) = match given[..] {
                [] => (
                    "the limit does not say how much".to_owned(),
                    "give it `rate`, `concurrency`, `bytes` or `quota`",
                ),
                _ => (
                    format!("the limit says several things: {}", given.join(", ")),
                    "make a limit of each",
                ),
            };
            self.error_with_help(path, message, help);
            return None;
        };
        for (name, is_given, with) in [
            ("burst", raw.burst.is_some(), "rate"),
            ("burst_bytes", raw.burst_bytes.is_some(), "bytes"),
        ] {
            if is_given && one != with {
                self.error(
                    &path.key(name),
                    format!("`{name}` belongs to `{with}`, not to `{one}`"),
                );
            }
        }
        if let Some(text) = &raw.rate {
            return self.calls(path, text, raw.burst);
        }
        if let Some(text) = &raw.bytes {
            return self.carried(path, text, raw.burst_bytes);
        }
        if let Some(text) = &raw.quota {
            return self.quota(&path.key("quota"), text);
        }
        let most = self.number(&path.key("concurrency"), raw.concurrency, 1, &(1..=1 << 24));
        Some(Amount::Concurrency(most))
    }

    fn calls(&mut self, path: &Path, text: &str, burst: Option<u32>) -> Option<Amount> {
        let at = path.key("rate");
        let split = text.split_once('/');
        let read = split.and_then(|(amount, unit)| Some((number(amount)?, period(unit)?)));
        let Some((amount, period)) = read else {
            let help = "write calls and a time: `100/s`, `5000/m`, `100000/h` or `1000000/d`";
            self.error_with_help(&at, format!("`{text}` is no rate"), help);
            return None;
        };
        let a_second = (amount / period.as_secs()).max(1);
        if amount == 0 || a_second > MOST_A_SECOND {
            let message = format!("a rate is between 1 a day and {MOST_A_SECOND} a second");
            self.error(&at, message);
            return None;
        }
        let written = burst.map(u64::from);
        let burst = self.number(&path.key("burst"), written, a_second, &(1..=1 << 30));
        Some(Amount::Calls { amount, period, burst })
    }

    fn carried(&mut self, path: &Path, text: &str, burst: Option<Size>) -> Option<Amount> {
        let split = text.split_once('/');
        let read =
            split.and_then(|(amount, unit)| Some((amount.parse::<Size>().ok()?.0, period(unit)?)));
        let Some((amount, period)) = read.filter(|(amount, _)| (1..=MOST).contains(amount)) else {
            let help = "write a size and a time: `1MiB/s`, `10GiB/d`";
            self.error_with_help(&path.key("bytes"), format!("`{text}` is no rate of bytes"), help);
            return None;
        };
        let a_second = (amount / period.as_secs()).max(1);
        let burst = burst.map_or(a_second, |size| size.0);
        if !(1..=MOST).contains(&burst) {
            self.error(&path.key("burst_bytes"), "at least a byte, and not that much");
            return None;
        }
        Some(Amount::Bytes { amount, period, burst })
    }

    fn quota(&mut self, path: &Path, text: &str) -> Option<Amount> {
        let read = text.split_once('/').and_then(|(amount, every)| {
            let every = match every.trim() {
                "day" => Every::Day,
                "month" => Every::Month,
                _ => return None,
            };
            Some((number(amount)?, every))
        });
        match read.filter(|(amount, _)| (1..=MOST).contains(amount)) {
            Some((amount, every)) => Some(Amount::Quota { amount, every }),
            None => {
                let help =
                    "write calls and `day` or `month`: `10000/day`; for others there is `rate`";
                self.error_with_help(path, format!("`{text}` is no quota"), help);
                None
            }
        }
    }
}

/// What a limit is of, in a word.
const fn kind(amount: Amount) -> &'static str {
    match amount {
        Amount::Calls { .. } => "rate",
        Amount::Bytes { .. } => "bytes",
        Amount::Concurrency(_) => "concurrency",
        Amount::Quota { every, .. } => every.name(),
    }
}

/// What is counted by, without what makes no difference.
fn normal(by: &str) -> String {
    match by.trim().strip_prefix("cel:") {
        Some(expression) => format!("cel: {}", expression.trim()),
        None => by.trim().to_owned(),
    }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn period(unit: &str) -> Option<Duration> {
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(plain)
}
