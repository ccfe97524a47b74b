//! Who may do what.

use posthouse_registry::{Level, RawDefault, RawRules, RawToken, RawTokens};
use serde_json::json;

use crate::client::{Answer, House, raw};

const WEB: &str = "web-web-web-web-web";
const ALL: &str = "all-all-all-all-all";

fn rules(list: &[(&str, &str, Level)]) -> RawRules {
    let mut rules = RawRules::default();
    for (kind, name, level) in list {
        let map = match *kind {
            "key" => &mut rules.key,
            "service" => &mut rules.service,
            "node" => &mut rules.node,
            "session" => &mut rules.session,
            "event" => &mut rules.event,
            _ => {
                rules.agent = Some(*level);
                continue;
            }
        };
        map.insert((*name).to_owned(), *level);
    }
    rules
}

async fn guarded() -> House {
    use Level::{Deny, Read, Write};
    let token = |name: &str, secret: &str, rules| RawToken {
        name: name.into(),
        secret: Some(secret.into()),
        rules,
        ..RawToken::default()
    };
    let web = rules(&[
        ("service", "web", Write),
        ("key", "web/", Write),
        ("key", "web/secret", Deny),
        ("node", "", Read),
        ("session", "posthouse", Write),
        ("event", "deploy", Write),
    ]);
    let kinds = ["key", "service", "node", "session", "event", "agent"];
    let all = rules(&kinds.map(|kind| (kind, "", Write)));
    let anonymous =
        rules(&[("service", "public", Read), ("node", "", Read), ("key", "open", Read)]);
    House::with(|raw| {
        raw.tokens = Some(RawTokens {
            default: RawDefault::Deny,
            anonymous,
            named: vec![token("web", WEB, web), token("all", ALL, all)],
        });
    })
    .await
}

async fn ask(house: &House, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: r\r\nconnection: close\r\nx-consul-token: {token}\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    raw(house.address(), text.as_bytes()).await
}

#[tokio::test]
async fn a_token_is_brought_in_three_ways() {
    let house = guarded().await;
    assert_eq!(house.put("/v1/kv/web/a", "1").await.status, 403);
    assert_eq!(house.put(&format!("/v1/kv/web/a?token={WEB}"), "1").await.body, "true");
    for header in [format!("X-Consul-Token: {WEB}"), format!("authorization: bearer {WEB}")] {
        let text = format!(
            "GET /v1/kv/web/a HTTP/1.1\r\nhost: r\r\nconnection: close\r\n{header}\r\n\r\n"
        );
        assert_eq!(raw(house.address(), text.as_bytes()).await.status, 200, "{header}");
    }
    let unknown = ask(&house, "GET", "/v1/kv/web/a", "nobody-has-this-token", "").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (403, "ACL not found"));
}

#[tokio::test]
async fn writing_is_refused_with_what_is_lacking() {
    let house = guarded().await;
    ask(&house, "PUT", "/v1/agent/service/register", ALL, r#"{"ID": "x", "Name": "db"}"#).await;
    let session = ask(&house, "PUT", "/v1/session/create", ALL, "{}").await.json()["ID"].clone();
    let session = session.as_str().expect("an id");
    for (method, path, body, lacking) in [
        ("PUT", "/v1/kv/other", "", "'key:write' on \"other\""),
        ("PUT", "/v1/kv/web/secret", "", "'key:write' on \"web/secret\""),
        ("GET", "/v1/kv/other", "", "'key:read' on \"other\""),
        ("DELETE", "/v1/kv/web/?recurse", "", "'key:write' on \"web/\""),
        ("PUT", "/v1/agent/service/register", r#"{"Name": "db"}"#, "'service:write' on \"db\""),
        (
            "PUT",
            "/v1/agent/service/register",
            r#"{"ID": "x", "Name": "web"}"#,
            "'service:write' on \"db\"",
        ),
        ("PUT", "/v1/agent/service/deregister/x", "", "'service:write' on \"db\""),
        ("PUT", "/v1/agent/service/maintenance/x?enable=true", "", "'service:write' on \"db\""),
        ("PUT", "/v1/agent/maintenance?enable=true", "", "'node:write' on \"posthouse-1\""),
        (
            "PUT",
            "/v1/agent/check/register",
            r#"{"Name": "c", "TTL": "1h"}"#,
            "'node:write' on \"posthouse-1\"",
        ),
        ("PUT", "/v1/agent/check/pass/serfHealth", "", "'node:write' on \"posthouse-1\""),
        ("GET", "/v1/agent/service/x", "", "'service:read' on \"db\""),
        ("GET", "/v1/agent/health/service/name/db", "", "'service:read' on \"db\""),
        ("GET", "/v1/agent/self", "", "'agent:read' on \"posthouse-1\""),
        (
            "PUT",
            "/v1/catalog/register",
            r#"{"Node": "n", "Address": "a"}"#,
            "'node:write' on \"n\"",
        ),
        (
            "PUT",
            "/v1/catalog/deregister",
            r#"{"Node": "posthouse-1"}"#,
            "'node:write' on \"posthouse-1\"",
        ),
        (
            "PUT",
            "/v1/catalog/deregister",
            r#"{"Node": "posthouse-1", "ServiceID": "x"}"#,
            "'service:write' on \"db\"",
        ),
        ("PUT", "/v1/session/create", r#"{"Node": "n"}"#, "'session:write' on \"n\""),
        ("PUT", "/v1/event/fire/other", "", "'event:write' on \"other\""),
    ] {
        let answer = ask(&house, method, path, WEB, body).await;
        let text = format!("Permission denied: token \"web\" lacks permission {lacking}");
        assert_eq!((answer.status, answer.body), (403, text), "{method} {path} {body}");
    }
    let anonymous = house.put(&format!("/v1/session/destroy/{session}"), "").await;
    let text = "Permission denied: anonymous token lacks permission 'session:write' on \"posthouse-1\". \
                The anonymous token is used implicitly when a request does not specify a token.";
    assert_eq!((anonymous.status, anonymous.body.as_str()), (403, text));
}

#[tokio::test]
async fn a_transaction_says_which_of_its_operations_are_denied() {
    let house = guarded().await;
    ask(&house, "PUT", "/v1/agent/service/register", ALL, r#"{"ID": "x", "Name": "db"}"#).await;
    let txn = json!([
        { "KV": { "Verb": "set", "Key": "web/a" } },
        { "KV": { "Verb": "set", "Key": "other" } },
        { "KV": { "Verb": "check-index", "Key": "other", "Index": 1 } },
        { "Node": { "Verb": "delete", "Node": { "Node": "n" } } },
        { "Service": { "Verb": "delete", "Node": "posthouse-1", "Service": { "ID": "x" } } },
        { "Check": { "Verb": "delete", "Check": { "Node": "posthouse-1", "CheckID": "c" } } },
    ]);
    let answer = ask(&house, "PUT", "/v1/txn", WEB, &txn.to_string()).await;
    assert_eq!(answer.status, 409);
    let errors: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let errors = errors["Errors"].as_array().expect("a list");
    let which: Vec<_> = errors.iter().map(|error| error["OpIndex"].as_u64()).collect();
    assert_eq!(which, [Some(1), Some(2), Some(3), Some(4), Some(5)]);
}

#[tokio::test]
async fn reading_leaves_out_what_may_not_be_read_and_says_so() {
    let house = guarded().await;
    for body in
        [r#"{"Name": "web"}"#, r#"{"Name": "public"}"#, r#"{"Name": "db", "Check": {"TTL": "1h"}}"#]
    {
        assert_eq!(ask(&house, "PUT", "/v1/agent/service/register", ALL, body).await.status, 200);
    }
    for key in ["web/a", "web/secret", "open", "closed"] {
        assert_eq!(ask(&house, "PUT", &format!("/v1/kv/{key}"), ALL, "1").await.body, "true");
    }
    ask(&house, "PUT", "/v1/event/fire/deploy", ALL, "").await;
    ask(&house, "PUT", "/v1/event/fire/other", ALL, "").await;
    ask(&house, "PUT", "/v1/session/create", ALL, "{}").await;
    let checks = json!(["serfHealth"]);
    for (path, pointer, expected, is_filtered) in [
        ("/v1/catalog/services", "", json!({ "web": [] }), true),
        ("/v1/health/service/web", "/0/Service/ID", json!("web"), false),
        ("/v1/health/service/db", "", json!([]), true),
        ("/v1/catalog/service/db", "", json!([]), true),
        ("/v1/health/checks/db", "", json!([]), true),
        ("/v1/health/node/posthouse-1", "/0/CheckID", checks[0].clone(), true),
        ("/v1/catalog/node/posthouse-1", "/Services/web/ID", json!("web"), true),
        ("/v1/agent/services", "/web/ID", json!("web"), true),
        ("/v1/agent/checks", "", json!({}), true),
        ("/v1/kv/?keys", "", json!(["web/a"]), true),
        ("/v1/kv/web/?recurse", "/0/Key", json!("web/a"), true),
        ("/v1/event/list", "/0/Name", json!("deploy"), true),
        ("/v1/session/list", "/0/Node", json!("posthouse-1"), false),
    ] {
        let answer = ask(&house, "GET", path, WEB, "").await;
        assert_eq!(answer.json().pointer(pointer), Some(&expected), "{path}");
        let header = answer.header("X-Consul-Results-Filtered-By-ACLs");
        assert_eq!(header == Some("true"), is_filtered, "{path}");
    }
    assert_eq!(house.json("/v1/catalog/services").await, json!({ "public": [] }));
    assert_eq!(house.get("/v1/kv/open?raw").await.body, "1");
    assert_eq!(house.json("/v1/session/list").await, json!([]));
    assert_eq!(house.json("/v1/agent/members").await.as_array().map(Vec::len), Some(1));
    let txn = json!([{ "KV": { "Verb": "get", "Key": "open" } }, { "KV": { "Verb": "get-tree", "Key": "" } }]);
    let answer = house.put("/v1/txn", &txn.to_string()).await.json();
    assert_eq!(answer["Results"].as_array().map(Vec::len), Some(2), "{answer}");
}

#[tokio::test]
async fn without_tokens_any_will_do() {
    let house = House::new().await;
    assert_eq!(ask(&house, "PUT", "/v1/kv/a", "whatever", "1").await.body, "true");
}
