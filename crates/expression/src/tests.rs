//! What expressions say, what is refused when they are read, and that none goes on for long.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const ROOTS: [Root; 2] = [
    Root { name: "request", fields: &["method", "headers", "path"] },
    Root { name: "identity", fields: &[] },
];

fn compiled(source: &str) -> Program {
    Program::compile(source, &ROOTS, Limits::default())
        .unwrap_or_else(|mistake| panic!("{source}: {mistake}"))
}

fn mistake(source: &str) -> Mistake {
    Program::compile(source, &ROOTS, Limits::default()).expect_err(source)
}

fn request() -> Json {
    json!({ "method": "GET", "path": "/api", "headers": { "x-tenant": "acme" } })
}

fn identity() -> Json {
    json!({
        "subject": "ann", "scopes": ["read", "write"], "level": 3, "share": 0.5, "nobody": null,
        "claims": { "tenant": "acme", "teams": ["a", "b"], "admin": false },
    })
}

fn held(source: &str, identity: &Json) -> Result<bool, Failure> {
    let request = request();
    compiled(source).holds(&[Value::json(&request), Value::json(identity)])
}

#[track_caller]
fn check(source: &str, expected: bool) {
    assert_eq!(held(source, &identity()), Ok(expected), "{source}");
}

#[test]
fn expressions_say_what_the_language_says() {
    for holds in [
        "true",
        "identity.claims.tenant == request.headers['x-tenant']",
        "'read' in identity.scopes && identity.level >= 3",
        "identity.level > 2.5 && identity.level == 3u",
        "has(identity.claims.tenant) && !has(identity.claims.none)",
        "identity.scopes.exists(s, s.startsWith('re'))",
        "identity.scopes.all(s, size(s) > 3)",
        "identity.scopes.exists_one(s, s == 'read')",
        "identity.scopes.map(s, s + '!') == ['read!', 'write!']",
        "identity.scopes.map(s, s != 'read', s) == ['write']",
        "identity.scopes.filter(s, s.contains('it')).size() == 1",
        "identity.claims.exists(k, k == 'tenant')",
        "{'a': 1, 'b': [2]}.b[0] == 2 && 'a' in {'a': 1}",
        "identity.subject.matches('^a.n$')",
        "request.path.lowerAscii().endsWith('api') ? true : false",
        "7 / 2 == 3 && -7 % 3 == -1 && 1.5 * 2.0 == 3.0",
        "[1, 2] + [3] == [1, 2, 3] && 'a' + 'b' == 'ab'",
        "int('7') == 7 && string(7) == '7' && double(1) == 1.0 && uint(1) == 1u",
        "identity.nobody == null",
        "type(1) == 'int'",
        "'a,b'.split(',') == ['a', 'b']",
        "'10.1.2.3'.inNet('10.0.0.0/8') && !'11.1.2.3'.inNet('10.0.0.0/8')",
        "'::1'.inNet('::/0') && '1.2.3.4'.inNet('1.2.3.4') && !'1.2.3.4'.inNet('::/0')",
        "size('näh') == 3",
        "b'ab' == bytes('ab')",
    ] {
        check(holds, true);
    }
    for fails in ["identity.claims.admin", "1 == 'a'", "'x' in identity.claims", "1.0 < 0.5"] {
        check(fails, false);
    }
}

#[test]
fn what_one_side_decides_does_not_need_the_other() {
    check("true || identity.none == 1", true);
    check("identity.none == 1 || true", true);
    check("identity.none == 1 && false", false);
    check("identity.scopes.exists(s, s == 'read' || identity.none)", true);
    assert!(held("identity.none == 1 && true", &identity()).is_err());
    assert!(held("identity.none == 1 || false", &identity()).is_err());
}

#[test]
fn what_has_no_value_is_a_failure_and_never_true() {
    for (source, expected) in [
        ("identity.none == 1", "there is no `none`"),
        ("identity.scopes[7] == 'a'", "there is no `7`"),
        ("request.headers['x-none'] == 'a'", "there is no `x-none`"),
        ("1 + 'a' == 2", "`+` does not take int and string"),
        ("1 / 0 == 1", "a number is out of range"),
        ("9223372036854775807 + 1 > 0", "a number is out of range"),
        ("identity.subject", "a condition is true or false"),
        ("int('x') == 1", "it cannot be read as int"),
        ("identity.subject.inNet('10.0.0.0/8')", "it cannot be read as an address"),
        ("'1.1.1.1'.inNet('10.0.0.0/99')", "it cannot be read as a net"),
    ] {
        let failure = held(source, &identity()).expect_err(source);
        assert_eq!(failure.to_string(), expected, "{source}");
    }
}

#[test]
fn mistakes_are_found_before_and_say_where() {
    for (source, line, column, message) in [
        ("identity.a == user", 1, 15, "`user` is not known here: request, identity"),
        ("true &&\n  request.verb == 'GET'", 2, 10, "`request` has no `verb`"),
        ("frobnicate(1)", 1, 11, "there is no function `frobnicate` of 1 arguments"),
        ("identity.a.matches('(')", 1, 20, "regex parse error"),
        ("identity.a.matches(identity.b)", 1, 28, "the pattern of `matches` is written out"),
        ("1 +", 1, 4, ""),
        ("", 1, 1, ""),
    ] {
        let found = mistake(source);
        assert!(found.message.starts_with(message), "{source}: {found}");
        assert_eq!((found.line, found.column), (line, column), "{source}: {found}");
    }
}

#[test]
fn sources_are_bounded_in_length_and_depth() {
    assert!(mistake(&format!("{}true", " ".repeat(4096))).message.contains("at most 4096 bytes"));
    assert!(
        mistake(&format!("{}1{}", "(".repeat(2000), ")".repeat(2000))).message.contains("deeper")
    );
    assert!(mistake(&format!("{}1", "[".repeat(40))).message.contains("deeper"));
    assert!(mistake(&format!("{}true", "!".repeat(2000))).message.contains("deeper"));
    for (start, more) in [("identity", ".a"), ("1", "+1"), ("true", "?true:true"), ("1", " in 1")] {
        let found = mistake(&format!("{start}{}", more.repeat(400)));
        assert!(found.message.contains("deeper"), "{more}: {found}");
    }
    assert!(mistake(&format!("1{}", "+1".repeat(1500))).message.contains("1000 signs"));
    // Text may hold what would nest outside of it.
    compiled(&format!("'{}' == ''", "(".repeat(100)));
    compiled(r#""\"((((((((((((((((((((((((((((((((((((((((((((((((((((" == """#);
}

#[test]
fn loops_are_bounded_in_depth() {
    let nested = "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))";
    assert!(mistake(nested).message.contains("more than 3 loops"));
    compiled("[1].all(a, [1].all(b, [1].all(c, true))) && [1].all(d, true)");
}

#[test]
fn no_evaluation_goes_on_for_long_or_grows_without_end() {
    let many: Vec<u32> = (0..8000).collect();
    let long = "x".repeat(100_000);
    let input = json!({ "many": many, "long": long, "texts": vec!["yes"; 3000] });
    for source in [
        "identity.many.all(a, identity.many.all(b, identity.many.all(c, a + b + c >= 0)))",
        "size(identity.many.map(a, identity.many + identity.many)) > 0",
        "[identity.many.map(a, a)].all(d, d.all(a, d.all(b, a + b >= 0)))",
        "identity.many.map(a, identity.long + identity.long).size() > 0",
        "identity.many.all(a, a in identity.many)",
        "identity.many.all(a, identity.many == identity.many)",
        "identity.many.all(a, identity.long.contains('y') || true)",
        "identity.many.all(a, identity.long.matches('(x+x+)+y') || true)",
        "identity.texts.map(a, identity.texts.map(b, a + b)).size() > 0",
        // Nothing swallows the end of the steps.
        "identity.many.all(a, identity.many.all(b, a + b >= 0)) || true",
        "identity.many.exists(a, identity.many.all(b, a + b < 0))",
    ] {
        assert_eq!(held(source, &input), Err(Failure::TooManySteps), "{source}");
    }
    assert_eq!(
        held("identity.many.map(a, a + 1).size() < 8000", &input),
        Err(Failure::TooManySteps)
    );
    let fewer = json!({ "many": many[..1000] });
    assert_eq!(held("identity.many.map(a, a + 1).size() == 1000", &fewer), Ok(true));
}

proptest! {
    #[test]
    fn nothing_that_is_written_makes_it_panic(source in "[a-z0-9 .()\\[\\]{}'\"!?:+*/%<>=&|,-]{0,60}") {
        let _ = Program::compile(&source, &ROOTS, Limits::default());
    }

    #[test]
    fn what_is_made_of_real_pieces_ends(pieces in proptest::collection::vec(
        prop_oneof![
            Just("identity"), Just(".claims"), Just(".tenant"), Just(" == "), Just("'acme'"), Just(" && "),
            Just("!"), Just("has("), Just(")"), Just("["), Just("]"), Just("1"), Just(" + "),
            Just(".map(x, x)"), Just(".all(x, x in "), Just(" ? "), Just(" : "), Just(".size()"),
        ], 0..14)) {
        let source = pieces.concat();
        if let Ok(program) = Program::compile(&source, &ROOTS, Limits::default()) {
            let (request, identity) = (request(), identity());
            let _ = program.holds(&[Value::json(&request), Value::json(&identity)]);
        }
    }
}
