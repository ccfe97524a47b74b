//! Text to a tree: YAML and JSON, and what neither is.

use serde_json::{Value, json};

use crate::openapi::read::{MAX_DEPTH, tree};

#[track_caller]
fn read(text: &str, expected: &Value) {
    assert_eq!(tree(text).unwrap_or_else(|why| panic!("{text}: {why}")), *expected, "{text}");
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let why = tree(text).expect_err(text).to_string();
    assert!(why.contains(expected), "{text}: {why}");
}

#[test]
fn scalars_are_those_of_the_core_schema() {
    read(
        "a: [1, -2, 0x1F, 0o17, 1.5, +3, 18446744073709551615, 1e3]",
        &json!({ "a": [1, -2, 31, 15, 1.5, 3, 18_446_744_073_709_551_615_u64, 1000.0] }),
    );
    read("[~, null, '', true, False]", &json!([null, null, "", true, false]));
    read(
        "a:\nb: yes\nc: 1.2.3\nd: 2026-01-01\ne: '1'\nf: !!str 2",
        &json!({
            "a": null, "b": "yes", "c": "1.2.3", "d": "2026-01-01", "e": "1", "f": "2",
        }),
    );
    read("200: { 2XX: a }", &json!({ "200": { "2XX": "a" } }));
}

#[test]
fn aliases_unfold() {
    read("a: &x { b: 1 }\nc: [*x, *x]", &json!({ "a": { "b": 1 }, "c": [{ "b": 1 }, { "b": 1 }] }));
}

#[test]
fn json_is_read_as_json() {
    read(r#"{"a": "\ud83d\ude00\/", "b": [1e2]}"#, &json!({ "a": "😀/", "b": [100.0] }));
    read("\u{feff}{\"a\":\t1}", &json!({ "a": 1 }));
    refused("{\"a\": 1,}", "line 1, column 9");
}

#[test]
fn what_is_neither_is_refused_with_its_place() {
    refused("", "empty");
    refused("a: [1", "line ");
    refused("a: 1\nb: : 2\n", "line 2");
    refused("a:\n\t- 1", "line 2");
    refused("a: 1\n---\nb: 1", "second document");
    refused("a: { b: 1 }\nc:\n  b: 1\n  b: 2", "line 4, column 3: /c: `b` is given twice");
    refused("a: &x 1\n<<: *x", "merging keys");
    refused("? [1]\n: 2", "a key must be text");
    refused("a: .nan", "not one that JSON has");
    refused("a: 1e999", "not one that JSON has");
}

#[test]
fn what_would_unfold_or_nest_without_end_is_refused() {
    let bomb: String = (0..30)
        .map(|level| match level {
            0 => "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
            _ => {
                let before = level - 1;
                let items = vec![format!("*a{before}"); 9].join(", ");
                format!("a{level}: &a{level} [{items}]\n")
            }
        })
        .collect();
    refused(&bomb, "more than 500000 values");
    let nested = |deep: usize| format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
    assert!(tree(&nested(MAX_DEPTH - 1)).is_ok());
    refused(&nested(MAX_DEPTH + 1), "values within values");
    refused(&format!("a: {}", nested(MAX_DEPTH + 1)), "values within values");
    refused(&format!("a: {}", "[".repeat(100_000)), "");
    refused(&format!("a:\n{}", "- ".repeat(50_000)), "");
    let chain: String =
        (1..200).map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1)).collect();
    refused(&format!("a0: &a0 [1]\n{chain}"), "values within values");
}
