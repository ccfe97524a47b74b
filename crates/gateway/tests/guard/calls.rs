//! Who passes, who does not, and what they are told.

use http::Method;
use posthouse_gateway::guard::explain::Question;
use posthouse_gateway::http::head::Fields;
use posthouse_gateway::http::target::Target;
use serde_json::json;

use crate::stage::{Stage, header, problem, status};

/// What differs between two answers to the same question for other reasons.
fn without_ids(answer: &str) -> String {
    let is_id = |line: &&str| !line.starts_with("x-request-id") && !line.starts_with("date");
    answer.lines().filter(is_id).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_and_a_wrong_credential_are_told_the_same() {
    let stage =
        Stage::new(json!({ "routes": [{ "service": "a", "guard": { "identity": ["names"] } }] }))
            .await;
    let nobody = stage.get("/x", "").await;
    let wrong = stage.get("/x", "Authorization: Bearer nobody-has-this\r\n").await;
    let other = stage.get("/x", "Authorization: Basic AAAA\r\n").await;
    assert_eq!(status(&nobody), 401);
    assert_eq!(header(&nobody, "www-authenticate"), Some("Bearer"));
    assert_eq!(problem(&nobody)["type"], "urn:posthouse:problem:unauthenticated");
    assert_eq!(without_ids(&nobody), without_ids(&wrong));
    assert_eq!(without_ids(&nobody), without_ids(&other));
    assert!(stage.seen().is_empty(), "nothing reached the instance");
    let ann = stage.get("/x", "Authorization: Bearer ann\r\n").await;
    assert_eq!((status(&ann), stage.seen().len()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_status_and_a_stable_type() {
    let stage = Stage::new(json!({ "routes": [{
        "service": "a",
        "guard": { "identity": ["names"], "scopes": ["read"], "challenge": "Bearer realm=\"shop\"" },
    }] }))
    .await;
    for (who, expected, kind) in [
        ("bad", 401, "unauthenticated"),
        ("down", 503, "identity-unavailable"),
        ("no", 403, "forbidden"),
        ("bob", 403, "forbidden"),
        ("later", 403, "forbidden"),
    ] {
        let answer = stage.get("/x", &format!("Authorization: Bearer {who}\r\n")).await;
        assert_eq!(status(&answer), expected, "{who}: {answer}");
        assert_eq!(problem(&answer)["type"], format!("urn:posthouse:problem:{kind}"), "{who}");
        let challenge = (expected == 401).then_some("Bearer realm=\"shop\"");
        assert_eq!(header(&answer, "www-authenticate"), challenge, "{who}");
    }
    let words = stage.get("/x", "Authorization: Bearer words\r\n").await;
    assert_eq!((status(&words), header(&words, "x-why")), (451, Some("law")));
    assert_eq!(header(&words, "content-length"), Some("15"));
    assert!(words.ends_with("so says the law"), "{words}");
    assert!(stage.seen().is_empty(), "nothing reached the instance");
    let page = stage.metrics();
    for line in [
        "guard_refusals_total{route=\"/{*}\",rule=\"identity\"} 4",
        "guard_refusals_total{route=\"/{*}\",rule=\"scopes\"} 2",
        "faults_total{reason=\"unauthenticated\"} 1",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_gateway_itself_are_guarded_too() {
    let stage = Stage::new(json!({
        "guard": { "identity": ["names"] },
        "routes": [
            { "match": { "path": "/r" }, "redirect": { "path": "/x" } },
            { "match": { "path": "/f" }, "respond": { "body": "secret" } },
            { "match": { "path": "/o" }, "respond": { "body": "open" }, "guard": { "open": true } },
        ],
    }))
    .await;
    assert_eq!(status(&stage.get("/r", "").await), 401);
    assert!(!stage.get("/f", "").await.contains("secret"));
    assert!(stage.get("/f", "Authorization: Bearer ann\r\n").await.ends_with("secret"));
    assert!(stage.get("/o", "").await.ends_with("open"));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_by_name_are_guarded_by_the_file() {
    let stage = Stage::new(json!({
        "listeners": [{ "address": "127.0.0.1:0", "names": true }],
        "guard": { "identity": ["names"] },
    }))
    .await;
    let by_name = |lines: &str| {
        format!("GET / HTTP/1.1\r\nHost: a.service.consul\r\nConnection: close\r\n{lines}\r\n")
    };
    assert_eq!(status(&stage.ask(&by_name("")).await), 401);
    assert!(stage.seen().is_empty());
    assert_eq!(status(&stage.ask(&by_name("Authorization: Bearer ann\r\n")).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_asked_only_what_says_so_is_open() {
    let stage = Stage::new(json!({
        "guard": { "deny": true },
        "routes": [
            { "match": { "path": "/forgotten" }, "service": "a" },
            { "match": { "path": "/open" }, "service": "a", "guard": { "open": true } },
            { "match": { "path": "/known" }, "service": "a", "guard": { "identity": ["names"] } },
        ],
    }))
    .await;
    assert_eq!(status(&stage.get("/forgotten", "Authorization: Bearer ann\r\n").await), 403);
    assert_eq!(status(&stage.get("/open", "").await), 200);
    assert_eq!(status(&stage.get("/known", "").await), 401);
    assert_eq!(status(&stage.get("/known", "Authorization: Bearer ann\r\n").await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_may_cover_the_body() {
    let stage = Stage::new(json!({ "routes": [{
        "service": "a", "guard": { "identity": ["names"], "body": "1KiB" },
    }] }))
    .await;
    let signed = "Authorization: Bearer signed\r\n";
    let good = stage.post("/x", signed, "hello world").await;
    assert_eq!(status(&good), 200, "{good}");
    assert!(stage.seen()[0].ends_with("\r\n\r\nhello world"), "the body goes on whole");
    assert_eq!(status(&stage.post("/x", signed, "hello w0rld").await), 401);
    assert_eq!(status(&stage.post("/x", signed, &"x".repeat(1025)).await), 413);
    let chunked = |body: &str| {
        format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{signed}\
             Transfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"
        )
    };
    let good = stage.ask(&chunked("5\r\nhello\r\n6\r\n world\r\n")).await;
    assert_eq!(status(&good), 200, "{good}");
    assert_eq!(stage.seen().len(), 1);
    let many = format!("200\r\n{}\r\n", "x".repeat(512)).repeat(3);
    assert_eq!(status(&stage.ask(&chunked(&many)).await), 413);
    assert!(stage.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_compared_with_what_its_api_says() {
    let stage = Stage::new(json!({ "routes": [{
        "service": "a", "api": "users@v2", "guard": { "validate": true },
    }] }))
    .await;
    let bad = stage.post("/x", "", "bad").await;
    assert_eq!(status(&bad), 400);
    let told = problem(&bad);
    assert_eq!(told["type"], "urn:posthouse:problem:not-as-described");
    assert_eq!((&told["field"], &told["detail"]), (&json!("/body"), &json!("it is bad")));
    assert_eq!(problem(&stage.get("/x?q=bad", "").await)["field"], "/query/q");
    assert!(stage.seen().is_empty());
    assert_eq!(status(&stage.post("/x", "", "good").await), 200);
    assert!(stage.seen()[0].ends_with("\r\n\r\ngood"));
    let page = stage.metrics();
    for line in [
        "api_calls_total{api=\"users\",version=\"v2\",status=\"2xx\"} 1",
        "api_calls_total{api=\"users\",version=\"v2\",status=\"4xx\"} 2",
        "api_call_duration_seconds_count{api=\"users\",version=\"v2\"} 3",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_refuses_nothing_and_counts() {
    let guard = json!({ "identity": ["names"], "scopes": ["read"], "dry_run": true });
    let stage =
        Stage::new(json!({ "routes": [{ "name": "r", "service": "a", "guard": guard }] })).await;
    for who in ["", "Authorization: Bearer bad\r\n", "Authorization: Bearer bob\r\n"] {
        let answer = stage.get("/x", who).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(header(&answer, "www-authenticate"), None);
    }
    assert_eq!(stage.seen().len(), 3);
    let page = stage.metrics();
    assert!(
        page.contains("guard_dry_run_refusals_total{route=\"r\",rule=\"identity\"} 2"),
        "{page}"
    );
    assert!(page.contains("guard_dry_run_refusals_total{route=\"r\",rule=\"scopes\"} 3"), "{page}");
    assert!(!page.contains("guard_refusals_total{"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_guards_what_comes_after_it() {
    let open = json!({ "routes": [{ "service": "a" }] });
    let stage = Stage::new(open.clone()).await;
    assert_eq!(status(&stage.get("/x", "").await), 200);
    stage.reload(&json!({ "routes": [{ "service": "a", "guard": { "identity": ["names"] } }] }));
    assert_eq!(status(&stage.get("/x", "").await), 401);
    stage.reload(&open);
    assert_eq!(status(&stage.get("/x", "").await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_that_decides_is_named() {
    let stage = Stage::new(json!({ "routes": [
        { "name": "users", "match": { "path": "/users" }, "service": "a", "api": "users@v2",
          "guard": { "identity": ["names"], "scopes": ["read"], "when": "request.query.t == 't1'" } },
        { "name": "rest", "service": "a" },
    ] }))
    .await;
    let question = |path: &str, who: &str| {
        let mut fields = Fields::new();
        if !who.is_empty() {
            fields.append(b"authorization", format!("Bearer {who}").as_bytes());
        }
        Question {
            method: Method::GET,
            scheme: "https",
            target: Target::new(b"shop.example", path.as_bytes()).unwrap(),
            fields,
            client: "10.0.0.1:1".parse().unwrap(),
            certificate: None,
        }
    };
    for (path, who, status, decides) in [
        ("/users?t=t1", "ann", None, None),
        ("/users?t=t1", "", Some(401), Some("identity")),
        ("/users?t=t1", "bad", Some(401), Some("identity")),
        ("/users?t=t1", "down", Some(503), Some("identity")),
        ("/users?t=t1", "later", Some(403), Some("scopes")),
        ("/users?t=t2", "ann", Some(403), Some("when")),
        ("/Users", "ann", Some(400), Some("path")),
        ("/elsewhere", "", None, None),
    ] {
        let told = stage.gateway.explain(question(path, who)).await;
        let rule = told.decides.map(|index| told.rulings[index].rule);
        assert_eq!((told.status, rule), (status, decides), "{path} {who}: {told:?}");
    }
    let told = stage.gateway.explain(question("/users?t=t1", "ann")).await;
    assert_eq!(told.api.as_deref(), Some("users@v2"));
    assert_eq!(told.rulings.len(), 3);
}
