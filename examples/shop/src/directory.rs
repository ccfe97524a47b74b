//! The registry as a service sees it: two calls of Consul's HTTP API.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::call::Client;

/// How long to wait for a registry that is not up yet.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// One instance as it is registered.
pub(crate) struct Entry {
    pub(crate) service: &'static str,
    pub(crate) instance: String,
    pub(crate) address: SocketAddr,
    /// What the gateway is to speak to it.
    pub(crate) protocol: &'static str,
}

impl Entry {
    fn to_json(&self) -> Value {
        json!({
            "ID": self.instance,
            "Name": self.service,
            "Address": self.address.ip().to_string(),
            "Port": self.address.port(),
            "Tags": ["shop"],
            "Meta": { "protocol": self.protocol, "version": env!("CARGO_PKG_VERSION") },
            "Check": {
                "HTTP": format!("http://{}/healthz", self.address),
                "Interval": "1s",
                "Timeout": "1s",
                "DeregisterCriticalServiceAfter": "1m",
            },
        })
    }
}

/// The registry.
pub(crate) struct Directory {
    client: Client,
    registry: String,
}

impl Directory {
    pub(crate) fn new(client: Client, registry: String) -> Self {
        Self { client, registry }
    }

    /// Registers the entries. A registry that is still starting is waited for; one that says no
    /// is believed.
    pub(crate) async fn register(&self, entries: &[Entry]) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for entry in entries {
            let body = Bytes::from(entry.to_json().to_string());
            loop {
                match self.put("agent/service/register", body.clone()).await {
                    Err(Refusal::Unreachable(_)) if Instant::now() < deadline => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    other => break other.map_err(Refusal::into_error)?,
                }
            }
        }
        Ok(())
    }

    /// Takes the entries out: all of them are tried, the first failure is returned.
    pub(crate) async fn deregister(&self, entries: &[Entry]) -> anyhow::Result<()> {
        let mut result = Ok(());
        for entry in entries {
            let path = format!("agent/service/deregister/{}", entry.instance);
            let done = self.put(&path, Bytes::new()).await.map_err(Refusal::into_error);
            result = result.and(done);
        }
        result
    }

    async fn put(&self, path: &str, body: Bytes) -> Result<(), Refusal> {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("http://{}/v1/{path}", self.registry))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .with_context(|| format!("{} is no address of a registry", self.registry))
            .map_err(Refusal::Said)?;
        let (status, answer) = self.client.send(request).await.map_err(Refusal::Unreachable)?;
        if status.is_success() {
            return Ok(());
        }
        let answer = String::from_utf8_lossy(&answer);
        Err(Refusal::Said(anyhow::anyhow!("the registry answered {path} with {status}: {answer}")))
    }
}

/// Why a registration did not happen.
enum Refusal {
    Unreachable(anyhow::Error),
    Said(anyhow::Error),
}

impl Refusal {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Unreachable(error) => error.context("the registry cannot be reached"),
            Self::Said(error) => error,
        }
    }
}
