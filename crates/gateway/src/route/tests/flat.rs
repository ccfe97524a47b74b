//! A lookup costs the same among ten routes and among ten thousand.

use super::{Line, Outcome, Request, checked, table_of};

/// The steps of a lookup of the last of so many routes, and of one that is not there.
fn steps(count: usize, line: impl Fn(usize) -> String, request: &str) -> (usize, usize) {
    let raw = (0..count).map(|index| {
        let line = line(index);
        Line::parse(&line).raw(&line)
    });
    let (routes, report) = checked(raw.collect());
    assert!(!report.has_errors(), "{report:?}");
    let table = table_of(routes);
    let cost = |number: usize| {
        let request = Request::new(&Line::parse(&request.replace("N", &number.to_string())));
        let (outcome, steps) = table.find_counting(&request.lookup());
        (matches!(outcome, Outcome::Found(_)), steps)
    };
    let ((hit, steps_hit), (miss, steps_miss)) = (cost(count - 1), cost(count));
    assert!(hit, "{request} is not found among {count}");
    assert!(!miss, "{request} is found among {count} though it is not there");
    (steps_hit, steps_miss)
}

#[track_caller]
fn check(line: impl Fn(usize) -> String + Copy, request: &str) {
    let few = steps(10, line, request);
    assert!(few.0 > 0);
    for count in [100, 1_000, 10_000] {
        assert_eq!(steps(count, line, request), few, "{request} among {count}");
    }
}

#[test]
fn many_prefixes() {
    check(|index| format!("/service{index}/{{*rest}}"), "/serviceN/a/b/c");
}

#[test]
fn many_templates_below_one_prefix() {
    check(|index| format!("GET /api/v1/thing{index}/{{id}}/parts"), "GET /api/v1/thingN/7/parts");
}

#[test]
fn many_hosts() {
    check(|index| format!("shop{index}.example /api/{{*rest}}"), "shopN.example /api/x");
}

#[test]
fn many_suffixes() {
    check(|index| format!("*.shop{index}.example /"), "a.b.shopN.example /");
}
