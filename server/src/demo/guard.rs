//! Who may call, how fast, and by which version: an API with a version that ends and one that asks who
//! calls, a consumer with a key and a plan, and calls that are refused, each with what the caller is
//! told and why.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::client::{Answer, Client};
use super::say;

/// What the demonstration's configuration has for it. Of `users` the first version is as open as it
/// always was; the second wants a key.
pub(super) const SECTIONS: &str = r#"
identity:
  providers:
    keys: { api_key: { header: x-api-key } }
plans:
  starter:
    limits:
      - { name: starter, by: consumer, rate: 3/m, burst: 3 }
apis:
  users:
    owner: team-shop
    versions:
      v1:
        state: deprecated
        ending: { deprecated: "2026-10-01", sunset: "2027-06-30", successor: v2 }
        select: { path: /api/v1 }
        service: users
        routes: [ { match: { path: "/users/{*rest}" } } ]
      v2:
        state: published
        select: { path: /api/v2 }
        service: users
        routes: [ { match: { path: "/users/{*rest}" } } ]
        guard:
          identity: [keys]
          forward: { headers: { x-consumer: consumer }, remove: [x-api-key] }
"#;

/// The plan's limit.
const CALLS: usize = 3;

/// Tells that part of the story.
pub(super) async fn tell(gateway: SocketAddr, admin: SocketAddr) -> anyhow::Result<()> {
    say("\nThe API `users` has two versions: v1 is deprecated, v2 wants to know who calls.\n")?;
    let mut client = Client::connect(gateway).await?;
    let old = client.call(Method::GET, "/api/v1/users", "").await?;
    shown("GET /api/v1/users", &old, StatusCode::OK, &["deprecation", "sunset", "link"])?;
    say("      why: v1 works, and says when it stops and what takes its place\n")?;

    let nobody = client.call(Method::GET, "/api/v2/users", "").await?;
    refused("GET /api/v2/users", &nobody, StatusCode::UNAUTHORIZED, &["www-authenticate"])?;
    say("      why: the guard of v2 accepts the provider `keys`, and the call shows no key\n")?;

    say("\nA consumer with a plan and a key, over the admin API:\n")?;
    let key = issue_key(admin).await?;

    let fields = [("x-api-key", key.as_str())];
    let path = "/api/v2/users?limit=2";
    let what = format!("GET {path} with the key");
    let known = client.call_with(Method::GET, path, &fields, "").await?;
    shown(&what, &known, StatusCode::OK, &["ratelimit-policy", "ratelimit"])?;
    say("      why: the key is acme's, and acme's plan has calls left\n")?;
    for _ in 1..CALLS {
        let answer = client.call_with(Method::GET, path, &fields, "").await?;
        ensure!(answer.status.is_success(), "{path} was answered with {}", answer.status);
    }
    let limited = client.call_with(Method::GET, path, &fields, "").await?;
    let what = format!("{what}, for the {}th time", CALLS + 1);
    refused(&what, &limited, StatusCode::TOO_MANY_REQUESTS, &["retry-after", "ratelimit"])?;
    say("      why: acme's plan has 3 calls a minute, whichever key it shows\n")
}

/// Adds the consumer and has a key issued. Returns the key, which is told this once.
async fn issue_key(admin: SocketAddr) -> anyhow::Result<String> {
    let mut client = Client::connect(admin).await?;
    let consumer = "/api/v1/consumers/acme";
    let plan = r#"{"plan": "starter"}"#;
    let answer = client.call(Method::PUT, consumer, plan).await?;
    ensure!(answer.status.is_success(), "{consumer} was answered with {}", answer.status);
    say(&format!("  PUT {consumer} {plan} → {}\n", answer.status))?;
    let keys = format!("{consumer}/keys");
    let answer = client.call(Method::POST, &keys, r#"{"label": "demo"}"#).await?;
    let issued: Value = serde_json::from_slice(&answer.body).context("the admin API")?;
    let secret = issued["secret"].as_str().context("no key was issued")?;
    let begin = secret.get(..8).context("the key is very short")?;
    let id = issued["key"]["id"].as_str().context("the key has no id")?;
    say(&format!("  POST {keys} → {}, key {id}: {begin}… (kept as a digest)\n", answer.status))?;
    Ok(secret.to_owned())
}

fn shown(what: &str, answer: &Answer, status: StatusCode, fields: &[&str]) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == status, "{what} was answered with {}: {text}", answer.status);
    say(&format!(
        "  {what} → {status} from {}\n{}",
        answer.instance,
        lines(&answer.headers, fields)?
    ))?;
    say(&format!("      {}\n", text.trim()))
}

/// A refusal: what the caller is told by the gateway.
fn refused(what: &str, answer: &Answer, status: StatusCode, fields: &[&str]) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == status, "{what} was answered with {}: {text}", answer.status);
    let problem: Value = serde_json::from_slice(&answer.body).context("a refusal is a problem")?;
    say(&format!("  {what} → {status}\n{}", lines(&answer.headers, fields)?))?;
    for member in ["type", "detail"] {
        let value = problem[member].as_str().with_context(|| format!("{text} has no {member}"))?;
        say(&format!("      {value}\n"))?;
    }
    Ok(())
}

fn lines(headers: &HeaderMap, fields: &[&str]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for name in fields {
        let value = headers.get(*name).with_context(|| format!("the answer has no {name}"))?;
        lines += &format!("      {name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    Ok(lines)
}
