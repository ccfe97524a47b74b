//! Limits as clients meet them: what they are told, what does not lead around them, what a reload and
//! a crash leave of what was counted.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use nix::sys::signal::Signal;
use posthouse_tests::backend::Backend;
use posthouse_tests::client::{self, Connection};
use posthouse_tests::raw::Raw;
use posthouse_tests::wait::ensure;
use posthouse_tests::{House, eventually};
use serde_json::Value;

/// A house with one route to a backend, and these lines of that route.
fn config(backend: &Backend, route: &str, gateway: &str) -> String {
    let address = backend.address();
    let mut config = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         gateway: {{ {gateway} }}\n\
         services: {{ users: {{ instances: [ {{ address: \"{address}\" }} ] }} }}\n\
         routes:\n  - name: users\n    match: {{ path: \"/users/{{*rest}}\" }}\n    service: users\n"
    );
    for line in route.lines() {
        writeln!(config, "    {}", line.trim()).expect("text");
    }
    config
}

async fn ask(house: &House, path: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get(path).header("host", "shop.example");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).expect("a request");
    client::send(house.gateway(), request).await.expect("an answer")
}

/// How many of so many calls are granted; the others must be told that there were too many.
async fn granted(house: &House, calls: usize, path: &str, fields: &[(&str, &str)]) -> usize {
    let mut granted = 0;
    for _ in 0..calls {
        match ask(house, path, fields).await.status() {
            StatusCode::OK => granted += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    granted
}

fn field<'a>(answer: &'a Response<Bytes>, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_limited_call_is_told_why_and_when_to_come_again() {
    let backend = Backend::named("users").await;
    let limits = "limits: [ { by: address, rate: 2/h, burst: 2 }, { by: all, quota: 1000/day } ]";
    let house = House::start(&config(&backend, limits, "")).await;
    let first = ask(&house, "/users/1", &[]).await;
    assert_eq!(first.status(), StatusCode::OK);
    let policy = "\"address\";q=2;w=3600, \"all-day\";q=1000;w=86400";
    assert_eq!(field(&first, "ratelimit-policy"), policy);
    assert!(
        field(&first, "ratelimit").starts_with("\"address\";r=1;t=1800, \"all-day\";r=999;t="),
        "{first:?}"
    );
    assert_eq!(ask(&house, "/users/1", &[]).await.status(), StatusCode::OK);
    let refused = ask(&house, "/users/1", &[]).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "content-type"), "application/problem+json");
    let wait: u64 = field(&refused, "retry-after").parse().expect("seconds");
    assert!((1790..=1800).contains(&wait), "{wait}");
    assert_eq!(field(&refused, "ratelimit"), format!("\"address\";r=0;t={wait}"));
    let problem: Value = serde_json::from_slice(refused.body()).expect("a problem");
    assert_eq!(problem["type"], "urn:posthouse:problem:rate-limited");
    assert_eq!(problem["status"], 429);
    let grpc = ask(&house, "/users/1", &[("content-type", "application/grpc")]).await;
    assert_eq!(grpc.status(), StatusCode::OK);
    assert_eq!(field(&grpc, "grpc-status"), "8", "RESOURCE_EXHAUSTED");
    assert_eq!(backend.requests(), 2);
    let page = client::get(house.admin(), "127.0.0.1", "/metrics").await.expect("metrics");
    let page = String::from_utf8_lossy(page.body()).into_owned();
    let line = "posthouse_gateway_limited_calls_total{limit=\"address\",reason=\"rate-limited\"} 2";
    assert!(page.contains(line), "{page}");
}

/// What a client says of its address is not believed, in whatever words; nor is it another route
/// when the path is written in another way.
#[tokio::test]
async fn forged_addresses_and_other_spellings_lead_around_no_limit() {
    let backend = Backend::named("users").await;
    let limits = "limits: [ { by: address, rate: 1/h, burst: 30 } ]";
    let house = House::start(&config(&backend, limits, "")).await;
    let mut passed = 0;
    for number in 0..20 {
        let address = format!("198.51.100.{number}");
        let forwarded = format!("for={address}");
        for (path, name, value) in [
            ("/users/1", "x-forwarded-for", &*address),
            ("/users/%31", "X-Real-IP", &*address),
            ("/%75sers/1", "Forwarded", &*forwarded),
        ] {
            passed += granted(&house, 1, path, &[(name, value)]).await;
        }
    }
    assert_eq!(passed, 30);
}

/// Behind a proxy that is trusted each client has its own limit, and what clients write before that
/// proxy's own word counts for nothing.
#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let backend = Backend::named("users").await;
    let limits = "limits: [ { by: address, rate: 1/h, burst: 3 } ]";
    let house = House::start(&config(&backend, limits, "trusted_proxies: [127.0.0.1]")).await;
    for (forwarded, expected) in [
        ("203.0.113.1", 3),
        ("203.0.113.2", 3),
        ("192.0.2.77, 203.0.113.1", 0),
        ("2001:db8:0:1::1", 3),
        ("2001:db8:0:1::2", 0),
        ("2001:db8:0:2::1", 3),
    ] {
        let fields = [("x-forwarded-for", forwarded)];
        assert_eq!(granted(&house, 5, "/users/1", &fields).await, expected, "{forwarded}");
    }
}

/// A stream counts as under way until its last byte, or until its client is found to be gone.
#[tokio::test]
async fn a_stream_has_its_place_until_it_ends() {
    // Connections whose number is below this one come to their end.
    let (release, released) = tokio::sync::watch::channel(0);
    let backend = Backend::raw(move |number, mut stream| {
        let mut released = released.clone();
        async move {
            stream.read_head().await;
            let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n";
            stream.send(begin).await;
            let _sender_lives = released.wait_for(|below| number < *below).await.is_ok();
            stream.send("3\r\nend\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let limits = "limits: [ { by: address, concurrency: 2 } ]";
    let house = House::start(&config(&backend, limits, "")).await;
    let begin = || async {
        let mut client = Raw::open(house.gateway()).await;
        client.send("GET /users/1 HTTP/1.1\r\nhost: shop.example\r\n\r\n").await;
        let head = client.read_head().await;
        ensure(head.contains("200 OK"), || head).map(|()| client)
    };
    let refused = || async {
        let refused = ask(&house, "/users/1", &[]).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let problem: Value = serde_json::from_slice(refused.body()).expect("a problem");
        assert_eq!(problem["type"], "urn:posthouse:problem:concurrency-limited");
    };
    let gone = begin().await.expect("a stream");
    let mut streams = vec![begin().await.expect("a stream")];
    refused().await;
    drop(gone);
    release.send_replace(1);
    streams.push(eventually("the place of the client that went", begin).await);
    refused().await;
    release.send_replace(usize::MAX);
    eventually("all places", || async {
        let status = ask(&house, "/users/1", &[]).await.status();
        ensure(status == StatusCode::OK, || status.to_string())
    })
    .await;
}

/// Of reloads that change other things nothing is felt: not what was used of a rate or a quota.
#[tokio::test]
async fn reloads_leave_what_was_counted() {
    let backend = Backend::named("users").await;
    let limits = "limits: [ { by: address, rate: 1/h, burst: 12 }, { by: all, quota: 9/month } ]";
    let write = |version: usize| {
        let other = format!(
            "  - match: {{ path: \"/other/{version}\" }}\n    service: users\n    \
             limits: [ {{ by: address, rate: {}/s }} ]\n",
            version + 1
        );
        config(&backend, limits, "") + &other
    };
    let house = House::start(&write(0)).await;
    let mut client = Connection::open(house.gateway()).await.expect("a connection");
    let mut granted = 0;
    for version in 1..=20 {
        let said = "the configuration is in force";
        let before = house.log().matches(said).count();
        house.write_config(&write(version));
        eventually("the reload", || async {
            ensure(house.log().matches(said).count() > before, || house.log())
        })
        .await;
        let request = client::request(http::Method::GET, "shop.example", "/users/1", "");
        let answer = client.send(request).await.expect("an answer");
        granted += usize::from(answer.status() == StatusCode::OK);
    }
    assert_eq!(granted, 9);
}

/// Killed without warning: of a quota no more is forgotten than was granted in the last second.
#[tokio::test]
async fn a_quota_survives_a_kill_to_within_a_second() {
    let backend = Backend::named("users").await;
    let limits = "limits: [ { by: address, quota: 200/month } ]";
    let mut house = House::start(&config(&backend, limits, "")).await;
    let mut lost = 0;
    let mut passed = 0;
    for _ in 0..3 {
        passed += granted(&house, 40, "/users/1", &[]).await;
        // What is granted from here on may be lost, what was before is not: the store is told each
        // second, and has been once more when it says so.
        let told = || kept(&house);
        let mut before = None;
        eventually("the store to be told", || {
            let now = told();
            let done = before.is_some_and(|before| before != now) || now >= passed as u64 - lost;
            before = before.or(Some(now));
            async move { ensure(done, || format!("{now} of {passed}")) }
        })
        .await;
        let more = granted(&house, 5, "/users/1", &[]).await;
        passed += more;
        lost += more as u64;
        house.signal(Signal::SIGKILL);
        eventually("the end", || {
            let ended = house.program().ended().is_some();
            async move { ensure(ended, || "it runs".into()) }
        })
        .await;
        house = house.restart().await;
    }
    passed += granted(&house, 300, "/users/1", &[]).await;
    assert!((200..=200 + lost).contains(&(passed as u64)), "{passed}, of which {lost} may be lost");
    // And stopped in good order nothing is lost at all.
    house = house.restart().await;
    assert_eq!(granted(&house, 20, "/users/1", &[]).await, 0);
}

/// What the journal has of the quota's total: the last that is written in the clear in its files.
fn kept(house: &House) -> u64 {
    let folder = house.folder().join("data");
    let mut last = 0;
    for file in std::fs::read_dir(folder).expect("the data folder").flatten() {
        let Ok(bytes) = std::fs::read(file.path()) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for part in text.split("\"address 127.0.0.1\":").skip(1) {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            last = last.max(digits.parse().unwrap_or(0));
        }
    }
    last
}
