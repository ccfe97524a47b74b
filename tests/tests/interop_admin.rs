//! The admin API against its own description, asked by `schemathesis`: every question in many forms,
//! right and wrong. No answer may be a fault of the server, and none may be of a status, a media type
//! or a shape that the description does not say.

use std::time::Duration;

use posthouse_tests::house::House;
use posthouse_tests::program::run_within;
use posthouse_tests::{client, python};

/// A house in which there is something of everything.
const CONFIG: &str = "
registry: { address: 127.0.0.1:0 }
messages: { address: 127.0.0.1:0 }
listeners: [ { address: 127.0.0.1:0 } ]
services:
  fixed: { instances: [ { address: 127.0.0.1:9 } ] }
routes:
  - match: { path: /a/{*rest} }
    service: fixed
";

const ADMIN: &str = "admins-have-this-one";
const VIEWER: &str = "viewers-have-this-one";

/// Thousands of questions, many of which are made durable before they are answered.
const PATIENCE: Duration = Duration::from_secs(540);

/// Every description is asked by the same seed: a test that fails, fails again.
const SEED: &str = "4";

/// Runs it to its end, which must be a good one.
async fn ask_everything(house: &House, token: Option<&str>, more: &[&str]) {
    let mut command = python::tool("schemathesis");
    command.current_dir(house.folder()).env("NO_COLOR", "1");
    // Its own settings and reports go nowhere else.
    command.env("HOME", house.folder());
    command.arg("run").arg(format!("http://{}/api/v1/openapi.json", house.admin()));
    command.args(["--checks", "all", "--seed", SEED, "--generation-deterministic"]);
    // Of what has the right shape something may be wrong all the same (a name that nothing has, an
    // expression, a document), and what is taken as text has no wrong shape.
    command.args(["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]);
    command.args(["--max-examples", "20", "--no-color"]);
    command.args(["--continue-on-failure", "--warnings", "off", "--request-timeout", "20"]);
    command.args(more);
    if let Some(token) = token {
        command.arg("--header").arg(format!("Authorization: Bearer {token}"));
    }
    let (status, said, errors) = run_within(command, PATIENCE).await;
    assert!(status.success(), "{status}\n{said}\n{errors}");
    // It must have asked something.
    assert!(said.contains(" passed"), "{said}");
    // The house has come through it.
    let listed = client::get(house.admin(), "localhost", "/healthz").await.expect("an answer");
    assert_eq!(listed.status(), 200);
}

#[tokio::test]
async fn without_tokens_every_answer_is_described() {
    let house = House::start(&format!("admin: {{ address: 127.0.0.1:0 }}\n{CONFIG}")).await;
    ask_everything(&house, None, &[]).await;
}

fn with_tokens() -> String {
    format!(
        "admin:
  address: 127.0.0.1:0
  tokens:
    - {{ name: ada, role: admin, token: {ADMIN} }}
    - {{ name: vera, role: viewer, token: {VIEWER} }}
{CONFIG}"
    )
}

#[tokio::test]
async fn with_a_token_every_answer_is_described() {
    let house = House::start(&with_tokens()).await;
    ask_everything(&house, Some(ADMIN), &[]).await;
}

#[tokio::test]
async fn with_a_token_of_a_lower_role_every_answer_is_described() {
    let house = House::start(&with_tokens()).await;
    ask_everything(&house, Some(VIEWER), &["--phases", "examples,coverage"]).await;
}
