//! `limits`, `plans`, `priority` and `gateway.shedding`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{checked, expect};
use crate::config::model::{Amount, Every, LimitBy};

/// A route and a plan with the same limits.
fn with_limits(limits: &Value) -> Value {
    json!({
        "services": { "users": { "instances": [{ "address": "127.0.0.1:1" }] } },
        "routes": [{ "name": "users", "service": "users", "limits": limits }],
    })
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "it is written where it is asked about")]
fn check_amount(limit: Value, amount: Amount, name: &str) {
    let (config, report) = checked(with_limits(&json!([limit])), Path::new("/nowhere"));
    assert!(!report.has_errors(), "{:?}", report.findings());
    let limit = &config.routes[0].limits[0];
    assert_eq!((limit.amount, &*limit.name), (amount, name));
}

#[test]
fn amounts_are_read_as_people_write_them() {
    let second = Duration::from_secs(1);
    let calls = |amount, period, burst| Amount::Calls { amount, period, burst };
    check_amount(json!({ "by": "consumer", "rate": "100/s" }), calls(100, second, 100), "consumer");
    check_amount(
        json!({ "by": "address", "rate": "30/m", "burst": 7 }),
        calls(30, second * 60, 7),
        "address",
    );
    check_amount(json!({ "by": "key", "rate": "5000/h" }), calls(5000, second * 3600, 1), "key");
    let bytes = |amount, period, burst| Amount::Bytes { amount, period, burst };
    check_amount(
        json!({ "by": "all", "bytes": "1MiB/s", "burst_bytes": "4MiB" }),
        bytes(1 << 20, second, 4 << 20),
        "all-bytes",
    );
    check_amount(
        json!({ "by": "subject", "concurrency": 4 }),
        Amount::Concurrency(4),
        "subject-concurrency",
    );
    check_amount(
        json!({ "by": "consumer", "quota": "10000/day" }),
        Amount::Quota { amount: 10_000, every: Every::Day },
        "consumer-day",
    );
    check_amount(
        json!({ "name": "orders", "by": "route", "quota": "5/month" }),
        Amount::Quota { amount: 5, every: Every::Month },
        "orders",
    );
    check_amount(
        json!({ "by": "cel: request.headers['x-tenant']", "rate": "1/s" }),
        calls(1, second, 1),
        "value",
    );
}

#[test]
fn limits_are_told_apart_by_name_and_place() {
    let limits = json!([
        { "by": "address", "rate": "1/s" },
        { "by": "address", "rate": "30/m" },
        { "name": "shared", "by": "all", "rate": "1/s" },
    ]);
    let mut written = with_limits(&limits);
    written["plans"] = json!({ "gold": { "limits": limits } });
    let (config, report) = checked(written, Path::new("/nowhere"));
    assert!(!report.has_errors(), "{:?}", report.findings());
    let all: Vec<(&str, &str)> = config.routes[0]
        .limits
        .iter()
        .chain(&config.plans["gold"])
        .map(|limit| (&*limit.name, &*limit.id))
        .collect();
    assert_eq!(
        all,
        [
            ("address", "route users rate 1 address"),
            ("address-2", "route users rate 2 address"),
            ("shared", "name shared rate"),
            ("gold-address", "plan gold rate 1 address"),
            ("gold-address-2", "plan gold rate 2 address"),
            ("shared", "name shared rate"),
        ]
    );
    assert!(matches!(config.routes[0].limits[0].by, LimitBy::Address));
}

#[test]
fn mistakes_are_told_with_their_place() {
    expect(
        with_limits(&json!([
            { "by": "adress", "rate": "1/s" },
            { "by": "all", "rate": "fast" },
            { "by": "all", "rate": "0/s" },
            { "by": "all", "rate": "2000000/s" },
            { "by": "all", "bytes": "1MB/s" },
            { "by": "all", "quota": "5/week" },
            { "by": "all" },
            { "by": "all", "rate": "1/s", "quota": "1/day" },
            { "by": "all", "concurrency": 0 },
            { "by": "all", "quota": "1/day", "burst": 3 },
            { "by": "all", "rate": "1/s", "name": "a b" },
            { "by": "cel: request.nothing", "rate": "1/s" },
        ])),
        &[
            "error routes[0].limits[0].by: `adress` is nothing that calls are counted by \
             [did you mean `address`?]",
            "error routes[0].limits[1].rate: `fast` is no rate \
             [write calls and a time: `100/s`, `5000/m`, `100000/h` or `1000000/d`]",
            "error routes[0].limits[2].rate: a rate is between 1 a day and 1000000 a second",
            "error routes[0].limits[3].rate: a rate is between 1 a day and 1000000 a second",
            "error routes[0].limits[4].bytes: `1MB/s` is no rate of bytes \
             [write a size and a time: `1MiB/s`, `10GiB/d`]",
            "error routes[0].limits[5].quota: `5/week` is no quota \
             [write calls and `day` or `month`: `10000/day`; for others there is `rate`]",
            "error routes[0].limits[6]: the limit does not say how much \
             [give it `rate`, `concurrency`, `bytes` or `quota`]",
            "error routes[0].limits[7]: the limit says several things: rate, quota \
             [make a limit of each]",
            "error routes[0].limits[8].concurrency: 0 is not between 1 and 16777216",
            "error routes[0].limits[9].burst: `burst` belongs to `rate`, not to `quota`",
            "error routes[0].limits[10].name: `a b` is no name of a limit \
             [names are letters, digits, `-`, `_` and `.`, at most 64 of them]",
            "error routes[0].limits[11].by: the expression cannot be used: \
             line 1, column 8: \
             `request` has no `nothing`: method, scheme, host, path, query, headers, client, time",
        ],
    );
}

#[test]
fn limits_of_one_name_are_the_same_limit() {
    let mut written = with_limits(&json!([{ "name": "shop", "by": "all", "rate": "1/s" }]));
    written["plans"] = json!({
        "gold": { "limits": [{ "name": "shop", "by": "all", "rate": "2/s" }] },
        "tin can": { "limits": [] },
    });
    expect(
        written,
        &[
            "error plans.gold.limits[0].name: `shop` is another limit at routes[0].limits[0] \
             [limits of one name count together; give this one another name]",
            "error plans.tin can: `tin can` is no name of a plan \
             [names are letters, digits, `-`, `_` and `.`, at most 64 of them]",
        ],
    );
}

#[test]
fn shedding_is_off_unless_asked_for_and_its_numbers_are_checked() {
    let (config, _) = checked(json!({}), Path::new("/nowhere"));
    assert_eq!(config.engine.shedding, None);
    let (config, report) = checked(json!({ "gateway": { "shedding": {} } }), Path::new("/nowhere"));
    assert!(!report.has_errors());
    let shedding = config.engine.shedding.expect("it is on");
    assert_eq!((shedding.least, shedding.most), (16, 8192));
    expect(
        json!({ "gateway": {
            "shedding": { "tolerance": 0.5, "least": 20, "most": 10 }, "limits": { "keys": 1 },
        } }),
        &[
            "error gateway.shedding.most: no more may ever wait than may in any case",
            "error gateway.shedding.tolerance: 0.5 is not between 1.1 and 100",
            "error gateway.limits.keys: 1 is not between 1000 and 67108864",
        ],
    );
}
