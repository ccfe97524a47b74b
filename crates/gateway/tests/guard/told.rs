//! What the service is told of the caller, what pages of other origins are told of the service, and the
//! headers for browsers.

use serde_json::{Value, json};

use crate::stage::{Stage, header, status};

fn telling() -> Value {
    json!({
        "identity": ["names"],
        "forward": {
            "headers": { "x-user": "subject", "x-scopes": "scopes", "x-tenant": "claims.tenant" },
            "jwt": { "header": "x-identity", "audience": "users" },
            "remove": ["authorization"],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_told_who_calls_by_nobody_but_the_gateway() {
    let stage = Stage::new(json!({ "routes": [
        { "match": { "path": "/guarded" }, "service": "a", "guard": telling() },
        { "match": { "path": "/open" }, "service": "a" },
    ] }))
    .await;
    let forged = "x-user: root\r\nX-User: root\r\nX_User: root\r\nx-uSer: root\r\nX.USER: root\r\n\
                  X_SCOPES: all\r\nx-identity: forged\r\nX-Added: root\r\nx_added: root\r\n";
    let known = stage.get("/guarded", &format!("Authorization: Bearer ann\r\n{forged}")).await;
    assert_eq!(status(&known), 200, "{known}");
    let seen = stage.seen().remove(0);
    let lower = seen.to_ascii_lowercase();
    assert!(
        !lower.contains("root") && !lower.contains("forged") && !lower.contains("bearer"),
        "{seen}"
    );
    assert_eq!(header(&seen, "x-user"), Some("ann"));
    assert_eq!(header(&seen, "x-scopes"), Some("read"));
    assert_eq!(header(&seen, "x-tenant"), Some("t1"));
    assert_eq!(header(&seen, "x-identity"), Some("ann.for.users"));
    stage.get("/open", forged).await;
    let seen = stage.seen().remove(0).to_ascii_lowercase();
    assert!(
        !seen.contains("root") && !seen.contains("forged"),
        "on routes without a guard too: {seen}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_trailers_nor_connection_tell_who_calls() {
    let stage = Stage::new(json!({ "routes": [{ "service": "a", "guard": telling() }] })).await;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close, x-user, x-identity\r\n\
                   Authorization: Bearer ann\r\nTransfer-Encoding: chunked\r\nTrailer: x-user, x-ok\r\n\r\n\
                   2\r\nhi\r\n0\r\nX-User: root\r\nX_User: root\r\nx-ok: 1\r\n\r\n";
    let answer = stage.ask(request).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let seen = stage.seen().remove(0);
    assert!(!seen.contains("root") && seen.contains("x-ok: 1"), "{seen}");
    assert_eq!(header(&seen, "x-user"), Some("ann"), "{seen}");
    assert_eq!(header(&seen, "x-identity"), Some("ann.for.users"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_conditions_see_is_what_the_service_gets() {
    let guard = json!({ "when": "request.headers['x-tenant'] == 't1'" });
    let stage = Stage::new(json!({ "routes": [{ "service": "a", "guard": guard }] })).await;
    assert_eq!(status(&stage.get("/x", "x-tenant: t1\r\n").await), 200);
    assert!(header(&stage.seen().remove(0), "x-tenant").is_some());
    // A field that `Connection` takes away is not there for the condition either.
    let request =
        "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, x-tenant\r\nx-tenant: t1\r\n\r\n";
    assert_eq!(status(&stage.ask(request).await), 403);
    // Nor is one of two values the whole.
    assert_eq!(status(&stage.get("/x", "x-tenant: t1\r\nx-tenant: t2\r\n").await), 403);
    assert!(stage.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_on_without_the_token_that_the_service_wants() {
    let stage = Stage::new(json!({ "routes": [{ "service": "a", "guard": telling() }] })).await;
    let answer = stage.get("/x", "Authorization: Bearer unsigned\r\n").await;
    assert_eq!(status(&answer), 503);
    assert!(stage.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_requests_are_answered_by_the_gateway() {
    let cors = json!({ "origins": ["https://shop.example"], "headers": ["authorization"] });
    let stage = Stage::new(json!({ "routes": [
        { "match": { "path": "/api", "methods": ["PUT"] }, "service": "a",
          "guard": { "identity": ["names"], "cors": cors } },
        { "match": { "path": "/{*rest}" }, "service": "a" },
    ] }))
    .await;
    let preflight = |origin: &str, method: &str| {
        format!(
            "OPTIONS /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
        )
    };
    let yes = stage.ask(&preflight("https://shop.example", "PUT")).await;
    assert_eq!(status(&yes), 204, "{yes}");
    assert_eq!(header(&yes, "access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(header(&yes, "access-control-allow-methods"), Some("PUT"));
    assert_eq!(header(&yes, "access-control-allow-headers"), Some("authorization"));
    let no = stage.ask(&preflight("https://evil.example", "PUT")).await;
    assert_eq!((status(&no), header(&no, "access-control-allow-origin")), (204, None));
    assert!(stage.seen().is_empty(), "the instance saw no preflight request");

    let put = |origin: &str, who: &str| {
        format!(
            "PUT /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\nOrigin: {origin}\r\n\
             Content-Length: 0\r\n{who}\r\n"
        )
    };
    let ann = "Authorization: Bearer ann\r\n";
    let page = stage.ask(&put("https://shop.example", ann)).await;
    assert_eq!(header(&page, "access-control-allow-origin"), Some("https://shop.example"));
    let other = stage.ask(&put("https://evil.example", ann)).await;
    assert_eq!(header(&other, "access-control-allow-origin"), None, "not what the service says");
    // A page may read why it was refused.
    let refused = stage.ask(&put("https://shop.example", "")).await;
    assert_eq!(status(&refused), 401);
    assert_eq!(header(&refused, "access-control-allow-origin"), Some("https://shop.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_has_the_headers_for_browsers() {
    let headers =
        json!({ "nosniff": true, "frame": "DENY", "csp": "default-src 'self'", "hsts": "1h" });
    let stage = Stage::new(json!({ "routes": [{
        "service": "a", "guard": { "headers": headers, "addresses": { "deny": ["10.0.0.0/8"] } },
    }], "gateway": { "threads": 1, "trusted_proxies": ["127.0.0.1"] } }))
    .await;
    for (from, expected) in [("192.0.2.1", 200), ("10.1.1.1", 403)] {
        let answer = stage.get("/x", &format!("X-Forwarded-For: {from}\r\n")).await;
        assert_eq!(status(&answer), expected);
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&answer, "x-frame-options"), Some("DENY"));
        assert_eq!(header(&answer, "content-security-policy"), Some("default-src 'self'"));
        assert_eq!(header(&answer, "strict-transport-security"), None, "over TLS only");
    }
}
