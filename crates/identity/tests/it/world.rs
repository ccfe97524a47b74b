//! A running identity, and calls to ask it about.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use posthouse_base::config::{Path, Report};
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_identity::consumers::{Consumers, Declared, Limits};
use posthouse_identity::{
    Config, Credentials, Handle, Identities, Identity, Outcome, Raw, Refusal,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

/// A running identity.
pub(crate) struct World {
    pub(crate) identities: Identities,
    pub(crate) consumers: Consumers,
    tasks: Tasks,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Seen {
    Known(Arc<Identity>),
    Nobody,
    Refused(Refusal),
}

impl Seen {
    pub(crate) fn known(self) -> Arc<Identity> {
        match self {
            Self::Known(identity) => identity,
            other => panic!("expected somebody: {other:?}"),
        }
    }

    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Invalid))
    }

    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Unavailable))
    }
}

/// The `identity:` section with these providers, checked.
pub(crate) fn check(identity: &Value) -> Result<Config, Vec<String>> {
    let raw: Raw =
        serde_json::from_value(identity.clone()).map_err(|error| vec![error.to_string()])?;
    let mut report = Report::new();
    let config = Config::check(&raw, &Path::root().key("identity"), &mut report);
    let findings = report.findings().iter();
    let said = findings.map(|finding| format!("{}: {}", finding.path, finding.message));
    config.ok_or_else(|| said.collect())
}

/// The one provider `p`, as a section.
pub(crate) fn section(kind: &str, settings: &Value) -> Value {
    json!({"providers": {"p": {kind: settings}}})
}

impl World {
    /// With these providers and consumers.
    pub(crate) async fn start(identity: &Value, consumers: &Value) -> Self {
        let tasks = Tasks::new();
        let raw = serde_json::from_value(consumers.clone()).expect("consumers");
        let mut report = Report::new();
        let declared = Declared::check(&raw, &Path::root().key("consumers"), &mut report);
        let declared = declared.unwrap_or_else(|| panic!("{:?}", report.findings()));
        let consumers = Consumers::start(declared, None, Limits::default(), &tasks);
        let consumers = consumers.await.expect("consumers");
        let config = check(identity).expect("a good configuration");
        let identities = Identities::start(&config, &consumers, &tasks).expect("it starts");
        Self { identities, consumers, tasks }
    }

    /// With one provider `p`.
    pub(crate) async fn of(kind: &str, settings: &Value) -> Self {
        Self::start(&section(kind, settings), &json!({})).await
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.identities.handle()
    }

    /// Asks `p` about a call with this bearer token.
    pub(crate) async fn bearer(&self, token: &str) -> Seen {
        self.fields(&[("authorization", &format!("Bearer {token}"))]).await
    }

    /// Asks `p` about a call with these fields.
    pub(crate) async fn fields(&self, fields: &[(&str, &str)]) -> Seen {
        self.ask(fields, &["p"], Timestamp::now()).await
    }

    pub(crate) async fn ask(
        &self,
        fields: &[(&str, &str)],
        providers: &[&str],
        now: Timestamp,
    ) -> Seen {
        let providers: Vec<Arc<str>> = providers.iter().map(|name| Arc::from(*name)).collect();
        let fields = fields.to_vec();
        let asked = Credentials {
            method: &Method::GET,
            scheme: "https",
            authority: b"shop.example",
            path_and_query: b"/users?id=1",
            fields: &fields,
            client: "10.1.2.3:4567".parse().expect("an address"),
            chain: &[],
            now,
        };
        let mut outcome = self.handle().identify(&asked, &providers);
        loop {
            outcome = match outcome {
                Outcome::Known(identity) => return Seen::Known(identity),
                Outcome::Nobody => return Seen::Nobody,
                Outcome::Refused(refusal) => return Seen::Refused(refusal),
                Outcome::Later(later) => later.await,
                Outcome::WithBody(_) => panic!("no body is needed here"),
            };
        }
    }

    /// The page of metrics.
    pub(crate) fn metrics(&self) -> String {
        let mut registry = Registry::default();
        self.identities.register_metrics(&mut registry);
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).expect("a page");
        page
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    Timestamp::now().as_millis() / 1000
}

/// Claims that hold for the provider of [`jwt`].
pub(crate) fn claims(issuer: &str) -> Value {
    json!({"iss": issuer, "aud": "shop", "sub": "alice", "exp": now() + 300, "scope": "users.read"})
}

/// Waits until `what` holds, for ten seconds at most.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
