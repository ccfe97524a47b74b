//! The part about messages: orders announce what was placed, a mailer is called for it, dies before it
//! has answered, and what it had comes to the next one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::Client;
use super::say;
use super::shop::Shop;

/// Orders that are placed.
const ORDERS: u64 = 3;

/// Looks at what is to come, and the time between two of them.
const LOOKS: usize = 300;
const LOOK: Duration = Duration::from_millis(100);

/// Tells it.
pub(super) async fn tell(
    gateway: SocketAddr,
    admin: SocketAddr,
    shop: &mut Shop,
) -> anyhow::Result<()> {
    say("\nOrders announce `order.placed` by a message; a mailer is called for each one:\n")?;
    announce_to_mails(admin).await?;
    // It takes so long for a mail that it is still at it when it dies.
    shop.add("mailer", 1, &["--pause-ms", "60000"])?;
    let mut client = Client::connect(gateway).await?;
    for _ in 0..ORDERS {
        let order = r#"{"user_id": 1, "item": "tea"}"#;
        let answer = client.call(Method::POST, "/api/v1/orders", order).await?;
        ensure!(answer.status == StatusCode::CREATED, "the answer was {}", answer.status);
    }
    wait((gateway, "/api/v1/mails/under-way"), |mails| mails["count"] == json!(ORDERS)).await?;
    let queue = (admin, "/api/v1/messages/queues/mails");
    wait(queue, |queue| queue["unacknowledged"] == json!(ORDERS)).await?;
    say(&format!(
        "  {ORDERS} orders placed; mailer-1 has {ORDERS} messages and has acknowledged none\n"
    ))?;
    shop.kill("mailer-1").await?;
    say("  kill -9 mailer-1; mailer-2 starts …\n")?;
    shop.add("mailer", 2, &[])?;
    let empty =
        |queue: &Value| (&queue["ready"], &queue["unacknowledged"]) == (&json!(0), &json!(0));
    wait(queue, empty).await?;
    let mails = wait((gateway, "/api/v1/mails"), Value::is_array).await?;
    let mails = mails.as_array().context("a list of mails")?;
    let count = mails.len();
    ensure!(u64::try_from(count) == Ok(ORDERS), "{count} mails: {mails:?}");
    for mail in mails {
        let attempt = mail["attempt"].as_u64().context("an attempt")?;
        ensure!(attempt > 1 && mail["sent_by"] == "mailer-2", "{mail}");
    }
    say(&format!(
        "  mailer-2 was called again for each, and has sent {count} mails: none is lost\n"
    ))
}

/// Looks at something until it is as it should be.
async fn wait(
    (address, path): (SocketAddr, &str),
    is_so: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let mut last = String::new();
    for _ in 0..LOOKS {
        let mut client = Client::connect(address).await?;
        let answer = client.call(Method::GET, path, "").await?;
        last = String::from_utf8_lossy(&answer.body).into_owned();
        let found = serde_json::from_slice::<Value>(&answer.body).ok();
        if let Some(found) = found.filter(|found| answer.status.is_success() && is_so(found)) {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("{path} is not as it should be: {last}")
}

/// Leads what orders announce into the queue of the subscription.
async fn announce_to_mails(admin: SocketAddr) -> anyhow::Result<()> {
    let mut client = Client::connect(admin).await?;
    let path = "/api/v1/messages/exchanges/shop";
    let answer = client.call(Method::PUT, path, r#"{"type": "topic"}"#).await?;
    ensure!(answer.status.is_success(), "{path} was answered with {}", answer.status);
    let binding = r#"{"source": "shop", "destination": "mails", "routing_key": "order.*"}"#;
    for _ in 0..LOOKS {
        let path = "/api/v1/messages/bindings";
        let answer = client.call(Method::POST, path, binding).await?;
        match answer.status {
            StatusCode::NO_CONTENT => return Ok(()),
            // The subscription is about to declare it.
            StatusCode::NOT_FOUND => tokio::time::sleep(LOOK).await,
            status => bail!("{path} was answered with {status}"),
        }
    }
    bail!("the queue of the subscription is not there")
}
