//! Requests compared with documents: what fits, and what differs where.

use http::Method;

use super::{SHOP, validator};
use crate::openapi::Validator;
use crate::openapi::validate::Call;

/// `GET /animals?limit=1 x-tenant:a content-type:text/plain | body`
fn ask(validator: &Validator, prefix: &str, request: &str) -> Result<(), String> {
    let (head, body) = match request.split_once(" | ") {
        Some((head, body)) => (head, body),
        None => (request, ""),
    };
    let mut words = head.split_whitespace();
    let method: Method = words.next().expect("a method").parse().expect("a method");
    let target = words.next().expect("a target");
    let headers: Vec<(&str, String)> = words
        .map(|word| word.split_once(':').expect("a header"))
        .map(|(name, value)| (name, value.replace('_', " ")))
        .collect();
    let find = |name: &str, found: &mut dyn FnMut(&[u8])| {
        headers.iter().filter(|(is, _)| *is == name).for_each(|(_, value)| found(value.as_bytes()));
    };
    let call = Call::new(&method, target.as_bytes(), &find);
    let told = validator.check(prefix, &call, Some(body.as_bytes()));
    told.map_err(|violation| format!("{}: {}", violation.pointer, violation.message))
}

#[track_caller]
fn check(validator: &Validator, prefix: &str, table: &[(&str, &str)]) {
    for (request, expected) in table {
        match (ask(validator, prefix, request), *expected) {
            (Ok(()), "") => {}
            (Err(told), expected) if !expected.is_empty() => {
                assert!(told.starts_with(expected), "{request}: {told}");
            }
            (told, _) => panic!("{request}: {told:?}, not {expected:?}"),
        }
    }
}

#[test]
fn queries_are_compared_by_their_style() {
    check(
        &validator(SHOP),
        "/api",
        &[
            ("GET /api/animals x-tenant:a", ""),
            ("GET /api/animals?limit=100&other=x x-tenant:a", ""),
            ("GET /api/animals?limit=101 x-tenant:a", "/query/limit: "),
            ("GET /api/animals?limit=ten x-tenant:a", "/query/limit: "),
            ("GET /api/animals?limit= x-tenant:a", "/query/limit: "),
            ("GET /api/animals?limit=1.0 x-tenant:a", ""),
            ("GET /api/animals?limit=1.5 x-tenant:a", "/query/limit: "),
            ("GET /api/animals?l%69mit=0 x-tenant:a", "/query/limit: "),
            ("GET /api/animals?kind=cat,dog x-tenant:a", ""),
            ("GET /api/animals?kind=cat,cow x-tenant:a", "/query/kind/1: "),
            ("GET /api/animals?kind=cat,dog,fish,cat x-tenant:a", "/query/kind: "),
            ("GET /api/animals?kind=cat%2Cdog x-tenant:a", "/query/kind/0: "),
            ("GET /api/animals?tag=a&tag=b+c x-tenant:a", ""),
            ("GET /api/animals?tag=a&tag=b+c+d x-tenant:a", "/query/tag/1: "),
            ("GET /api/animals?weight[min]=1.5&weight[max]=2 x-tenant:a", ""),
            ("GET /api/animals?weight%5Bmin%5D=x x-tenant:a", "/query/weight/min: "),
            (
                "GET /api/animals?weight[mean]=1 x-tenant:a",
                "/query/weight/mean: there is no such field",
            ),
            ("GET /api/animals?around=%7B%22x%22:1,%22y%22:null%7D x-tenant:a", ""),
            (
                "GET /api/animals?around=%7B%22x%22:1%7D x-tenant:a",
                "/query/around/y: it is required",
            ),
            ("GET /api/animals?around=1+2 x-tenant:a", "/query/around: no JSON"),
        ],
    );
}

#[test]
fn headers_cookies_and_paths_are_compared() {
    check(
        &validator(SHOP),
        "/api",
        &[
            ("GET /api/animals", "/header/X-Tenant: it is required"),
            ("GET /api/animals x-tenant:A", "/header/X-Tenant: "),
            (
                "GET /api/animals x-tenant:a cookie:a=1;_session=00000000-0000-4000-8000-000000000000",
                "",
            ),
            ("GET /api/animals x-tenant:a cookie:session=1", "/cookie/session: "),
            ("GET /api/animals/7", ""),
            ("HEAD /api/animals/7", ""),
            ("HEAD /api/animals/0", "/path/id: "),
            ("GET /api/animals/seven", "/path/id: "),
            ("GET /api/animals/9223372036854775808", "/path/id: "),
            ("GET /api/animals/%37", ""),
            ("GET /api/animals/oldest?of=true", ""),
            ("GET /api/animals/oldest", "/query/of: it is required"),
            ("GET /api/animals/oldest?of=1", "/query/of: "),
            ("GET /api/photos/cat.png", ""),
            ("GET /api/photos/a.b.png", ""),
            ("GET /api/photos/cat.gif", "/path/kind: "),
            ("GET /api/photos/c.png", "/path/name: "),
        ],
    );
}

#[test]
fn bodies_are_compared_by_their_media_type() {
    let json = "content-type:application/json";
    let cases = [
        (r#"{"name":"a","kind":"cat"}"#, ""),
        (r#"{"name":"a","kind":"cat","id":1,"born":null,"weight":0.1,"legs":4}"#, ""),
        (r#"{"name":"a","kind":"cat","$ref":"x","example":{"x":1,"y":2}}"#, ""),
        (r#"{"kind":"cat"}"#, "/body/name: it is required"),
        (r#"{"name":"","kind":"cat"}"#, "/body/name: "),
        (r#"{"name":"a","kind":"cow"}"#, "/body/kind: "),
        (r#"{"name":"a","kind":"cat","a/b":1}"#, "/body/a~1b: there is no such field"),
        (r#"{"name":"a","kind":"cat","weight":0}"#, "/body/weight: "),
        (r#"{"name":"a","kind":"cat","legs":3000000000}"#, "/body/legs: "),
        (r#"{"name":"a","kind":"cat","born":"yesterday"}"#, "/body/born: "),
        (
            r#"{"name":"a","kind":"cat","parents":[{"name":"b","kind":"cow"}]}"#,
            "/body/parents/0/kind: ",
        ),
        (r#"{"name":"a","kind":"cat","example":{"x":1}}"#, "/body/example/y: it is required"),
        ("[1]", "/body: "),
        ("{", "/body: this is no JSON"),
        ("", "/body: a body is required"),
    ];
    let shop = validator(SHOP);
    for (body, expected) in cases {
        check(&shop, "/api", &[(&format!("POST /api/animals {json} | {body}"), expected)]);
    }
    check(
        &shop,
        "/api",
        &[
            ("POST /api/animals | {}", "/header/content-type: it is missing: "),
            (
                "POST /api/animals content-type:image/png | x",
                "/header/content-type: `image/png` is not taken",
            ),
            ("POST /api/animals content-type:text/csv | x", ""),
            ("POST /api/animals content-type:Application/JSON;_charset=utf-8 | {", "/body: "),
            ("POST /api/animals content-type:application/vnd.shop+json | {", "/body: "),
            ("PUT /api/animals/1", ""),
            ("PUT /api/animals/1 content-type:application/json | {}", "/body/"),
            ("PUT /api/animals/0 content-type:application/json | {}", "/path/id: "),
        ],
    );
}

#[test]
fn what_the_document_does_not_know_is_not_its_business() {
    check(
        &validator(SHOP),
        "/api",
        &[
            ("GET /animals", ""),
            ("GET /apianimals", ""),
            ("GET /api/animals/", ""),
            ("GET /api/plants", ""),
            ("DELETE /api/animals/0", ""),
            ("OPTIONS /api/animals", ""),
            ("GET /api/photos/png", ""),
        ],
    );
}

#[test]
fn a_message_tells_nothing_of_the_value() {
    let shop = validator(SHOP);
    let request =
        r#"POST /api/animals content-type:application/json | {"name":"a","kind":"s3cret"}"#;
    let told = ask(&shop, "/api", request).expect_err("no such kind");
    assert!(!told.contains("s3cret"), "{told}");
    let long = "x".repeat(100_000);
    let request = format!(r#"POST /api/animals content-type:application/json | {{"{long}":1}}"#);
    assert!(ask(&shop, "/api", &request).expect_err("no such field").len() < 1000);
}

#[test]
fn bodies_are_wanted_where_they_are_described() {
    let shop = validator(SHOP);
    let none = |_: &str, _: &mut dyn FnMut(&[u8])| {};
    for (method, target, wants) in [
        (Method::POST, "/animals", true),
        (Method::PUT, "/animals/1", true),
        (Method::GET, "/animals", false),
        (Method::POST, "/plants", false),
    ] {
        let call = Call::new(&method, target.as_bytes(), &none);
        assert_eq!(shop.wants_body("", &call), wants, "{method} {target}");
    }
}

const STYLES: &str = "
openapi: 3.1.0
info: { title: t, version: '1' }
paths:
  /simple/{l}/{o}/{e}:
    get:
      parameters:
        - { name: l, in: path, required: true, schema: { $ref: '#/components/schemas/L' } }
        - { name: o, in: path, required: true, schema: { $ref: '#/components/schemas/O' } }
        - { name: e, in: path, required: true, explode: true, schema: { $ref: '#/components/schemas/O' } }
  /label/{l}/{e}/{s}:
    get:
      parameters:
        - { name: l, in: path, style: label, required: true, schema: { $ref: '#/components/schemas/L' } }
        - { name: e, in: path, style: label, explode: true, required: true, schema: { $ref: '#/components/schemas/O' } }
        - { name: s, in: path, style: label, required: true, schema: { type: integer } }
  /matrix/{l}/{e}/{s}:
    get:
      parameters:
        - { name: l, in: path, style: matrix, required: true, schema: { $ref: '#/components/schemas/L' } }
        - { name: e, in: path, style: matrix, explode: true, required: true, schema: { $ref: '#/components/schemas/L' } }
        - { name: s, in: path, style: matrix, required: true, schema: { type: integer } }
  /query:
    get:
      parameters:
        - { name: p, in: query, style: pipeDelimited, explode: false, schema: { $ref: '#/components/schemas/L' } }
        - { name: s, in: query, style: spaceDelimited, explode: false, schema: { $ref: '#/components/schemas/L' } }
        - { name: o, in: query, explode: false, schema: { $ref: '#/components/schemas/O' } }
        - { name: f, in: query, schema: { $ref: '#/components/schemas/O' } }
        - { name: u, in: query, schema: { type: [ integer, 'null', boolean ] } }
        - { name: a, in: query, schema: { anyOf: [ { type: integer }, { type: string, enum: [ all ] } ] } }
        - { name: n, in: query, schema: { const: 5 } }
        - { name: h, in: header, schema: { $ref: '#/components/schemas/L' } }
components:
  schemas:
    L: { type: array, items: { type: integer } }
    O: { type: object, required: [ x ], properties: { x: { type: integer }, y: { type: boolean } } }
";

#[test]
fn every_style_is_taken_apart() {
    check(
        &validator(STYLES),
        "",
        &[
            ("GET /simple/1,2/x,1,y,true/x=1,y=false", ""),
            ("GET /simple/1,a/x,1/x=1", "/path/l/1: "),
            ("GET /simple/1/y,true/x=1", "/path/o/x: it is required"),
            ("GET /simple/1/x,1/x=b", "/path/e/x: "),
            ("GET /label/.1,2/.x=1.y=true/.3", ""),
            ("GET /label/1,2/.x=1/.3", "/path/l: it is not written in the style"),
            ("GET /label/.1/.x=1.y=2/.3", "/path/e/y: "),
            ("GET /matrix/;l=1,2/;e=1;e=2/;s=3", ""),
            ("GET /matrix/;l=1,2/;e=1;f=2/;s=3", "/path/e: it is not written"),
            ("GET /matrix/;l=1/;e=1/;s=x", "/path/s: "),
            ("GET /query?p=1|2&s=1%202&o=x,1,y,true&x=1", ""),
            ("GET /query?p=1%7Cb", "/query/p/1: "),
            ("GET /query?s=1+b", "/query/s/1: "),
            ("GET /query?o=y,true", "/query/o/x: it is required"),
            ("GET /query?x=1&y=maybe", "/query/f/y: "),
            ("GET /query?y=true", "/query/f/x: it is required"),
            ("GET /query?u=true", ""),
            ("GET /query?u=", ""),
            ("GET /query?u=x", "/query/u: "),
            ("GET /query?a=1", ""),
            ("GET /query?a=all", ""),
            ("GET /query?a=some", "/query/a: "),
            ("GET /query?n=5", ""),
            ("GET /query?n=6", "/query/n: "),
            ("GET /query h:1,2", ""),
            ("GET /query h:1 h:x", "/header/h/1: "),
        ],
    );
}

/// Each level of a value would be compared three times as often as the one above it.
#[test]
fn what_would_be_compared_too_often_is_refused() {
    let text = "
openapi: 3.1.0
info: { title: t, version: '1' }
paths:
  /a: { post: { requestBody: { content: { application/json: { schema: { $ref: '#/components/schemas/E' } } } } } }
  /b: { post: { requestBody: { content: { application/json: { schema: { $ref: '#/components/schemas/E' } } } } } }
components:
  schemas:
    E:
      oneOf:
        - { type: integer }
        - { type: object, required: [ not ], properties: { of: { $ref: '#/components/schemas/E' }, not: { const: 1 } } }
        - { type: object, required: [ not ], properties: { of: { $ref: '#/components/schemas/E' }, not: { const: 2 } } }
        - { type: object, properties: { of: { $ref: '#/components/schemas/E' }, not: { const: 3 } } }
";
    let nested = |levels: usize| {
        let body = format!("{}1{}", r#"{"not":3,"of":"#.repeat(levels), "}".repeat(levels));
        format!("POST /a content-type:application/json | {body}")
    };
    let expressions = validator(text);
    check(
        &expressions,
        "",
        &[
            (&nested(1), ""),
            (&nested(11), ""),
            (&nested(14), "/body: it is nested more than 13 levels deep"),
            (&nested(100), "/body: it is nested"),
            (&nested(1000), "/body: this is no JSON"),
        ],
    );
}

#[test]
fn too_many_parameters_are_refused() {
    let query = "a=1&".repeat(1001);
    check(&validator(STYLES), "", &[(&format!("GET /query?{query}"), "/query: more than 1000")]);
}
