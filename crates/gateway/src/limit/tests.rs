//! Limits as a configuration gives them, asked without a gateway.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use posthouse_base::config::Report;
use posthouse_base::time::Timestamp;
use serde_json::{Value, json};

use super::look::look;
use super::rule::{Limited, Now, admit};
use super::{Book, Caller, Limits, NoQuotaStore, Policy, Share};
use crate::config::Config;
use crate::guard::Identity;
use crate::http::head::Fields;

const SECOND: u64 = 1_000_000_000;

fn config(routes: &Value, plans: &Value) -> Config {
    let written = json!({
        "services": { "users": { "instances": [{ "address": "127.0.0.1:1" }] } },
        "routes": routes, "plans": plans,
    });
    let raw = serde_json::from_value(written).unwrap();
    let mut report = Report::new();
    let config = crate::config::check(raw, Path::new("/nowhere"), &mut report);
    assert!(!report.has_errors(), "{:?}", report.findings());
    config
}

/// One route with these limits.
fn route(limits: &Value) -> Value {
    json!([{ "name": "users", "service": "users", "limits": limits }])
}

/// Limits in force, and everything that they count in.
struct Asked {
    book: Book,
    limits: Limits,
}

impl Asked {
    fn new(routes: &Value, plans: &Value) -> Self {
        let book = Book::new(1000, Arc::new(NoQuotaStore));
        let limits = book.limits(&config(routes, plans));
        Self { book, limits }
    }

    fn ask(
        &self,
        identity: Option<&Identity>,
        address: &str,
        nanos: u64,
    ) -> Result<Box<Share>, Limited> {
        let address: IpAddr = address.parse().unwrap();
        let caller = Caller { identity, address, route: "users", value: &|_| None };
        let plan = identity.and_then(|known| known.plan.as_deref());
        let policies: Vec<&Policy> = self.limits.of(Some(0), plan).into_iter().flatten().collect();
        let now = Now { nanos, time: Timestamp::from_millis(nanos / 1_000_000) };
        admit(&policies, &caller, &self.book, now).map_err(|refused| {
            assert!(shown(&refused.share).contains("retry-after: "));
            refused.why
        })
    }

    /// How a call would stand: each limit with its key, what is left, and the wait.
    fn look(&self, identity: Option<&Identity>, nanos: u64) -> Vec<(String, u64, Option<u64>)> {
        let address = IpAddr::from([192, 0, 2, 1]);
        let caller = Caller { identity, address, route: "users", value: &|_| None };
        let plan = identity.and_then(|known| known.plan.as_deref());
        let policies: Vec<&Policy> = self.limits.of(Some(0), plan).into_iter().flatten().collect();
        let now = Now { nanos, time: Timestamp::from_millis(nanos / 1_000_000) };
        let left = look(&policies, &caller, &self.book, now).into_iter();
        left.map(|one| (format!("{} {}", one.kind, one.key), one.left, one.wait_seconds)).collect()
    }

    /// How many of 100 calls are granted.
    fn granted(&self, identity: Option<&Identity>, address: &str, nanos: u64) -> usize {
        (0..100).filter(|_| self.ask(identity, address, nanos).is_ok()).count()
    }
}

fn acme() -> Identity {
    Identity { consumer: Some("acme".into()), plan: Some("gold".into()), ..Identity::default() }
}

fn shown(share: &Share) -> String {
    let mut fields = Fields::new();
    share.show(&mut fields);
    let lines = fields.iter().map(|(_, name, value)| {
        format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_address_has_its_own_rate() {
    let limits = json!([{ "by": "address", "rate": "10/s", "burst": 5 }]);
    let asked = Asked::new(&route(&limits), &json!({}));
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 5);
    assert_eq!(asked.granted(None, "192.0.2.2", 1), 5);
    assert_eq!(asked.granted(None, "192.0.2.1", 1 + SECOND / 10), 1);
    assert_eq!(asked.granted(None, "2001:db8::1", 1), 5);
    assert_eq!(asked.granted(None, "2001:db8::2", 1), 0, "another address of the same network");
}

#[test]
fn who_shows_nothing_is_counted_by_address() {
    let limits = json!([{ "by": "consumer", "rate": "10/s", "burst": 5 }]);
    let asked = Asked::new(&route(&limits), &json!({ "gold": { "limits": [] } }));
    assert_eq!(asked.granted(Some(&acme()), "192.0.2.1", 1), 5);
    assert_eq!(asked.granted(Some(&acme()), "192.0.2.2", 1), 0);
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 5);
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 0);
}

#[test]
fn a_plan_holds_for_all_routes_beside_their_own_limits() {
    let routes = route(&json!([{ "by": "consumer", "rate": "50/s" }]));
    let plans = json!({ "gold": { "limits": [{ "by": "consumer", "quota": "7/day" }] } });
    let asked = Asked::new(&routes, &plans);
    assert_eq!(asked.granted(Some(&acme()), "192.0.2.1", 1), 7);
    let none = Identity { plan: Some("silver".into()), ..acme() };
    assert_eq!(asked.granted(Some(&none), "192.0.2.1", 1 + SECOND), 50, "of no plan that there is");
    assert_eq!(asked.granted(Some(&acme()), "192.0.2.1", 1 + 86_400 * SECOND), 7);
}

#[test]
fn calls_under_way_count_until_their_end() {
    let asked = Asked::new(&route(&json!([{ "by": "address", "concurrency": 2 }])), &json!({}));
    let one = asked.ask(None, "192.0.2.1", 1).ok();
    let two = asked.ask(None, "192.0.2.1", 1).ok();
    assert!(one.is_some() && two.is_some());
    assert_eq!(asked.ask(None, "192.0.2.1", 1).err(), Some(Limited::Concurrency));
    assert!(asked.ask(None, "192.0.2.2", 1).is_ok());
    drop(one);
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 100, "each ends before the next");
    drop(two);
}

#[test]
fn bytes_are_made_up_for_before_the_next_call() {
    let asked = Asked::new(&route(&json!([{ "by": "address", "bytes": "1MiB/s" }])), &json!({}));
    let mut share = asked.ask(None, "192.0.2.1", 1).ok().unwrap();
    assert!(!share.is_due(1000));
    assert!(share.is_due(1 << 20));
    share.charge(1 << 20, 1);
    share.charge(3 << 20, 1);
    share.charge(3 << 20, 1);
    assert_eq!(asked.ask(None, "192.0.2.1", 2 * SECOND).err(), Some(Limited::Bytes));
    assert!(asked.ask(None, "192.0.2.1", 2 * SECOND + 2).is_ok());
}

#[test]
fn what_another_limit_refuses_uses_up_no_quota() {
    let limits = json!([
        { "by": "address", "quota": "100/day" },
        { "by": "all", "rate": "1/s", "burst": 3 },
        { "by": "address", "quota": "40/month" },
    ]);
    let asked = Asked::new(&route(&limits), &json!({}));
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 3);
    // Of the day's hundred three are used, of the month's forty as well.
    let mut granted = 3;
    for second in 1..1000 {
        granted += asked.granted(None, "192.0.2.1", 1 + second * 10 * SECOND);
    }
    assert_eq!(granted, 40);
    let refused = asked.ask(None, "192.0.2.1", 1 + 10_000 * SECOND).err();
    assert_eq!(refused, Some(Limited::Quota));
    let tomorrow = 86_400 * SECOND;
    let other = (0..200).filter(|n| asked.ask(None, "192.0.2.9", tomorrow + n * SECOND).is_ok());
    assert_eq!(other.count(), 40, "the day's hundred were given back");
}

#[test]
fn clients_are_told_how_they_stand() {
    let limits = json!([
        { "by": "address", "rate": "100/s", "burst": 20 },
        { "name": "orders", "by": "address", "quota": "5/day" },
        { "by": "all", "concurrency": 8 },
        { "by": "all", "bytes": "1MiB/m" },
        { "by": "all", "quota": "10000/month" },
    ]);
    let asked = Asked::new(&route(&limits), &json!({}));
    let share = asked.ask(None, "192.0.2.1", 1).ok().unwrap();
    assert_eq!(
        shown(&share),
        "ratelimit-policy: \"address\";q=100;w=1, \"orders\";q=5;w=86400, \
         \"all-concurrency\";q=8;qu=\"concurrent-requests\", \
         \"all-bytes\";q=1048576;qu=\"content-bytes\";w=60, \"all-month\";q=10000\n\
         ratelimit: \"address\";r=19;t=1, \"orders\";r=4;t=86401, \"all-month\";r=9999;t=2678401"
    );
    for _ in 0..4 {
        assert!(asked.ask(None, "192.0.2.1", 1).is_ok());
    }
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let caller = Caller { identity: None, address, route: "users", value: &|_| None };
    let policies: Vec<&Policy> = asked.limits.of(Some(0), None).into_iter().flatten().collect();
    let now = Now { nanos: 1, time: Timestamp::from_millis(86_390_500) };
    let refused = admit(&policies, &caller, &asked.book, now).err().unwrap();
    let shown = shown(&refused.share);
    assert!(shown.ends_with("ratelimit: \"orders\";r=0;t=10\nretry-after: 10"), "{shown}");
}

/// 200 reloads, of which every second changes other routes, plans and rates: what was counted stays.
#[test]
fn reloads_change_nothing_of_what_was_counted() {
    let limits = json!([
        { "by": "consumer", "rate": "1/m", "burst": 30 },
        { "name": "shared", "by": "all", "rate": "1/h", "burst": 40 },
        { "by": "consumer", "quota": "50/month" },
        { "by": "address", "concurrency": 1 },
    ]);
    let plans = json!({ "gold": { "limits": [{ "by": "consumer", "quota": "35/day" }] } });
    let mut asked = Asked::new(&route(&limits), &plans);
    let held = asked.ask(Some(&acme()), "192.0.2.9", 1).ok();
    assert!(held.is_some());
    let mut granted = 1;
    for reload in 0..200 {
        let mut routes = route(&limits);
        if reload % 2 == 1 {
            let other = json!({
                "match": { "path": "/other" }, "service": "users",
                "limits": [{ "by": "address", "rate": format!("{}/s", 1 + reload) }],
            });
            routes.as_array_mut().unwrap().push(other);
        }
        asked.limits = asked.book.limits(&config(&routes, &plans));
        let nanos = 2 + reload * 1_000_000;
        granted += usize::from(asked.ask(Some(&acme()), "192.0.2.1", nanos).is_ok());
        assert!(asked.ask(Some(&acme()), "192.0.2.9", nanos).is_err(), "its one call is under way");
    }
    assert_eq!(granted, 30);
    drop(held);
    let free = Identity { consumer: Some("free".into()), plan: None, ..Identity::default() };
    assert!(asked.ask(Some(&free), "192.0.2.9", SECOND).is_ok());
    // The last ten of the forty that all have together, less the one that was just asked.
    assert_eq!(asked.granted(Some(&free), "192.0.2.9", SECOND), 9);
}

#[test]
fn a_limit_that_is_gone_is_forgotten() {
    let limits = json!([{ "by": "all", "rate": "1/h", "burst": 5 }]);
    let mut asked = Asked::new(&route(&limits), &json!({}));
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 5);
    asked.limits = asked.book.limits(&config(&route(&json!([])), &json!({})));
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 100);
    asked.limits = asked.book.limits(&config(&route(&limits), &json!({})));
    assert_eq!(asked.granted(None, "192.0.2.1", 1), 5);
}

/// Two rates, the short one first in the order of asking: what it refuses the long one keeps.
#[test]
fn the_rate_that_comes_back_first_is_asked_first() {
    let limits = json!([
        { "by": "all", "rate": "1/h", "burst": 50 },
        { "by": "address", "rate": "10/s", "burst": 1 },
    ]);
    let asked = Asked::new(&route(&limits), &json!({}));
    let mut granted = 0;
    for step in 0..60 {
        granted += asked.granted(None, "192.0.2.1", 1 + step * SECOND);
    }
    assert_eq!(granted, 50);
}

#[test]
fn looking_counts_nothing_and_tells_what_a_call_would_be_told() {
    let limits = json!([
        { "by": "address", "rate": "3/m", "burst": 3 },
        { "by": "consumer", "quota": "5/day" },
        { "by": "consumer", "concurrency": 1 },
    ]);
    let asked = Asked::new(&route(&limits), &json!({}));
    let acme = acme();
    let fresh = asked.look(Some(&acme), SECOND);
    for _ in 0..10 {
        assert_eq!(asked.look(Some(&acme), SECOND), fresh);
    }
    let told: Vec<(&str, u64)> = fresh.iter().map(|(key, left, _)| (key.as_str(), *left)).collect();
    let rate = ("rate address 192.0.2.1", 3);
    assert_eq!(told, [("concurrency consumer acme", 1), rate, ("quota consumer acme", 5)]);
    let share = asked.ask(Some(&acme), "192.0.2.1", SECOND).expect("granted");
    let held = asked.look(Some(&acme), SECOND);
    assert_eq!((held[0].1, held[0].2), (0, Some(1)), "{held:?}");
    assert_eq!((held[1].1, held[2].1), (2, 4), "{held:?}");
    drop(share);
    assert_eq!(asked.granted(Some(&acme), "192.0.2.1", SECOND), 2);
    let used = asked.look(Some(&acme), SECOND);
    assert_eq!((used[1].1, used[1].2), (0, Some(20)), "{used:?}");
    assert_eq!((used[2].1, used[2].2), (2, None), "{used:?}");
}
