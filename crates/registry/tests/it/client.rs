//! A registry for one test, and the plainest client that can speak to it.

use std::net::SocketAddr;
use std::time::Duration;

use posthouse_base::config::{Path, Report, Span};
use posthouse_base::task::Tasks;
use posthouse_registry::{Config, Raw, Registry};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A registry on a free port.
pub(crate) struct House {
    pub(crate) registry: Registry,
    pub(crate) tasks: Tasks,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Raw)) -> Self {
        let mut raw = Raw { address: "127.0.0.1:0".into(), ..Raw::default() };
        raw.limits.check_interval = Span(Duration::from_millis(1));
        change(&mut raw);
        let mut report = Report::new();
        let config = Config::check(&raw, &Path::root(), &mut report);
        let config = config.unwrap_or_else(|| panic!("{:?}", report.findings()));
        let tasks = Tasks::new();
        let registry = Registry::start(config, None, &tasks).await.expect("a free port");
        Self { registry, tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.registry.address()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        request(self.address(), "GET", path, "").await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        request(self.address(), "PUT", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        request(self.address(), "DELETE", path, "").await
    }

    /// The JSON that a good GET answers.
    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).await.json()
    }

    /// Registers with a good body.
    pub(crate) async fn register(&self, body: &str) {
        let answer = self.put("/v1/agent/service/register", body).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{body}");
    }

    /// What the registry reports of itself.
    pub(crate) fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.registry.handle().register_metrics(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
        text
    }

    /// What it and its engine report.
    pub(crate) fn metrics_of_engine(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.registry.register_metrics(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
        text
    }

    /// Waits until as many reads block.
    pub(crate) async fn watchers(&self, count: usize) {
        let wanted = format!("posthouse_registry_watchers {count}\n");
        let blocked = async {
            while !self.metrics().contains(&wanted) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(DEADLINE, blocked).await.expect("the reads block");
    }

    /// Reads `path` until `holds`, or fails.
    pub(crate) async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let poll = async {
            loop {
                last = self.json(path).await;
                if holds(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, poll).await;
        assert!(reached.is_ok(), "{path} stayed {last:#}");
        last
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn index(&self) -> u64 {
        let index = self.header("X-Consul-Index").expect("an index").parse();
        index.expect("a number")
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(to: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(to, text.as_bytes()).await
}

/// Sends bytes, and reads an answer to the end.
pub(crate) async fn raw(to: SocketAddr, bytes: &[u8]) -> Answer {
    let answer = String::from_utf8(raw_bytes(to, bytes).await).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.into(), body: body.into() }
}

/// Sends bytes, and reads whatever is answered to the end.
pub(crate) async fn raw_bytes(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await.expect("the registry listens");
        // The registry may answer and close before it has read everything.
        let _early = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await;
        answer
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
}
