//! Other spellings of a path, a host or an address lead around no guard.

use serde_json::json;

use crate::stage::{Stage, status};

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_leads_around_its_guard() {
    let stage = Stage::new(json!({ "routes": [
        { "match": { "path": "/api/admin" }, "service": "a", "guard": { "identity": ["names"] } },
        { "match": { "path": "/api/admin/{*rest}" }, "service": "a", "guard": { "identity": ["names"] } },
        { "match": { "path": "/{*rest}" }, "service": "a" },
    ] }))
    .await;
    for path in [
        "/api/admin",
        "/api/admin/",
        "/api/admin?x",
        "/api/admin/users",
        "/api//admin",
        "//api/admin",
        "/api/Admin",
        "/API/ADMIN/users",
        "/api%2Fadmin",
        "/api%2fadmin",
        "/api%5cadmin",
        "/api%2F%2fadmin/users",
        "/%61pi/admin",
        "/api/%61dmin",
        "/api/%41dmin",
        "/api;x/admin",
        "/api;x=1/admin;y=2/users",
        "/api/admin;x",
        "/api/admin%3Bx",
        "/api/./admin",
        "/x/../api/admin",
        "/api/%2e/admin",
        "/x/%2e%2e/api/admin",
        "/x/..;/api/admin",
        "/api\\admin",
        "/api/admin%00",
        "/api/admin#x",
        "http://a/api/admin",
        "http://a/API/admin",
        "http://a//api/admin",
    ] {
        let answer = stage.get(path, "").await;
        assert!(matches!(status(&answer), 400 | 401), "{path}: {answer}");
        assert!(stage.seen().is_empty(), "{path} reached the instance");
        for method in ["POST", "HEAD", "OPTIONS", "PROPFIND"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            let answer = stage.ask(&request).await;
            assert!(matches!(status(&answer), 400 | 401), "{method} {path}: {answer}");
            assert!(stage.seen().is_empty(), "{method} {path} reached the instance");
        }
    }
    for path in ["/", "/Shop/Items", "/files/a%20b", "/api/administrators", "/api/", "/a;b/c"] {
        assert_eq!(status(&stage.get(path, "").await), 200, "{path} is nobody's");
    }
    let known = stage.get("/api/admin/Users/7", "Authorization: Bearer ann\r\n").await;
    assert_eq!(status(&known), 200, "capitals behind the guard are the service's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_tell_case_apart_stay_apart() {
    let stage = Stage::new(json!({ "routes": [
        { "match": { "path": "/items" }, "service": "a", "guard": { "identity": ["names"] } },
        { "match": { "path": "/Items" }, "service": "a" },
    ] }))
    .await;
    assert_eq!(status(&stage.get("/Items", "").await), 200);
    assert_eq!(status(&stage.get("/items", "").await), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_host_leads_around_its_guard() {
    let stage = Stage::new(json!({ "routes": [
        { "match": { "host": "admin.example" }, "service": "a", "guard": { "identity": ["names"] } },
        { "service": "a" },
    ] }))
    .await;
    for host in
        ["admin.example", "ADMIN.Example", "admin.example.", "admin.example:80", "Admin.Example.:1"]
    {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&stage.ask(&request).await), 401, "{host}");
        let absolute =
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&stage.ask(&absolute).await), 401, "{host}");
    }
    // What the two say must be one host, or the request is refused.
    let two = "GET http://a/ HTTP/1.1\r\nHost: admin.example\r\nConnection: close\r\n\r\n";
    let answer = stage.ask(two).await;
    let seen = stage.seen();
    assert!(seen.iter().all(|seen| !seen.contains("admin.example")), "{answer}\n{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_believed_from_trusted_proxies_only() {
    let guard = json!({ "addresses": { "allow": ["203.0.113.0/24"] } });
    let routes = json!([{ "service": "a", "guard": guard }]);
    let stage = Stage::new(json!({ "routes": routes.clone() })).await;
    for forged in [
        "X-Forwarded-For: 203.0.113.7\r\n",
        "Forwarded: for=203.0.113.7\r\n",
        "X-Real-IP: 203.0.113.7\r\n",
        "X-Client-IP: 203.0.113.7\r\n",
    ] {
        assert_eq!(status(&stage.get("/x", forged).await), 403, "{forged}");
    }
    let trusting = json!({ "threads": 1, "trusted_proxies": ["127.0.0.0/8"] });
    let stage = Stage::new(json!({ "routes": routes, "gateway": trusting })).await;
    assert_eq!(status(&stage.get("/x", "X-Forwarded-For: 203.0.113.7\r\n").await), 200);
    // The nearest address that is no proxy's counts, whatever a client wrote before it.
    let chain = "X-Forwarded-For: 203.0.113.7, 198.51.100.1\r\n";
    assert_eq!(status(&stage.get("/x", chain).await), 403);
}
