//! Telling whoever wants to know that an order was placed: a message to the exchange `shop`, as a
//! CloudEvent over HTTP. The orders know neither who listens nor AMQP.

use anyhow::ensure;
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::Full;
use serde::Serialize;

use crate::call::Client;

/// `guest` with the password `guest`, who may publish from this machine.
const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

/// The headers that make the message part of the caller's story.
const PASSED_ON: [&str; 2] = ["traceparent", "tracestate"];

/// Where orders are announced.
#[derive(Clone, Debug)]
pub(crate) struct Announcements {
    client: Client,
    /// `HOST:PORT`; without one nobody is told.
    messages: Option<String>,
}

impl Announcements {
    pub(crate) fn new(client: Client, messages: Option<String>) -> Self {
        Self { client, messages }
    }

    /// Says that an order was placed. When this returns well, that is durable.
    pub(super) async fn placed(
        &self,
        id: i64,
        order: &impl Serialize,
        caller: &HeaderMap,
    ) -> anyhow::Result<()> {
        let Some(messages) = &self.messages else { return Ok(()) };
        let path = "/api/v1/exchanges/shop/messages?key=order.placed";
        let mut request = Request::post(format!("http://{messages}{path}"))
            .header(header::AUTHORIZATION, GUEST)
            .header(header::CONTENT_TYPE, "application/json")
            .header("ce-specversion", "1.0")
            .header("ce-type", "order.placed")
            .header("ce-source", "/orders")
            .header("ce-id", format!("order-{id}"));
        for name in PASSED_ON {
            if let Some(value) = caller.get(name) {
                request = request.header(name, value);
            }
        }
        let request = request.body(Full::new(Bytes::from(serde_json::to_vec(order)?)))?;
        let (status, body) = self.client.send(request).await?;
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}
