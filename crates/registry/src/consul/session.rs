//! `/v1/session/…`: what locks live by.

use std::time::Duration;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use super::ask::Ask;
use super::body::Body;
use super::duration::{self, GoDuration};
use super::reply::{self, Answer, Fault};
use crate::access::Kind;
use crate::state::session::{self, Behavior, Session, Ttl};
use crate::state::{self, CheckId, Command, MEMBERSHIP_CHECK, NodeName, SessionId, Stored, Topic};

/// How long keys stay unlocked after their session, when it does not say.
const DEFAULT_LOCK_DELAY: Duration = Duration::from_secs(15);

/// A lock delay given as a number below this is in seconds, otherwise in nanoseconds: clients write
/// both.
const LEAST_NANOS: Duration = Duration::from_nanos(1000);

const MIN_TTL: Duration = Duration::from_secs(10);
const MAX_TTL: Duration = Duration::from_secs(86_400);

/// The most checks of one session.
const MAX_CHECKS: usize = 64;

/// The body of `session/create`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SessionInput {
    name: String,
    node: String,
    lock_delay: Option<GoDuration>,
    behavior: String,
    #[serde(rename = "TTL")]
    ttl: String,
    checks: Option<Vec<String>>,
    node_checks: Option<Vec<String>>,
    service_checks: Vec<ServiceCheck>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ServiceCheck {
    #[serde(rename = "ID")]
    id: String,
}

impl SessionInput {
    fn session(self, own: &NodeName) -> Result<Session, Fault> {
        let node = if self.node.is_empty() { own.clone() } else { self.node.into() };
        let behavior = match self.behavior.as_str() {
            "" | "release" => Behavior::Release,
            "delete" => Behavior::Delete,
            other => return Err(Fault::internal(format!("Invalid Behavior setting '{other}'"))),
        };
        // Who names no checks means that of the node; who names none of them, none.
        let node_checks = match (self.checks, self.node_checks) {
            (None, None) => vec![MEMBERSHIP_CHECK.into()],
            (old, new) => {
                let all = old.into_iter().chain(new).flatten();
                all.map(CheckId::from).collect::<Vec<_>>()
            }
        };
        let service_checks: Vec<_> =
            self.service_checks.into_iter().map(|check| CheckId::from(check.id)).collect();
        if node_checks.len() + service_checks.len() > MAX_CHECKS {
            let text = format!("Too many NodeChecks and ServiceChecks: at most {MAX_CHECKS}");
            return Err(Fault::bad(text));
        }
        let delay = self.lock_delay.map_or(DEFAULT_LOCK_DELAY, |delay| delay.0);
        let in_seconds = delay < LEAST_NANOS;
        Ok(Session {
            id: uuid::Uuid::new_v4().to_string().into(),
            name: self.name,
            node,
            node_checks,
            service_checks,
            lock_delay: if in_seconds { delay.saturating_mul(1_000_000_000) } else { delay },
            behavior,
            ttl: ttl(self.ttl)?,
        })
    }
}

fn ttl(written: String) -> Result<Option<Ttl>, Fault> {
    if written.is_empty() {
        return Ok(None);
    }
    let time = duration::parse(&written).ok_or_else(|| {
        Fault::internal(format!("Session TTL '{written}' invalid: time: invalid duration"))
    })?;
    if time.is_zero() {
        return Ok(None);
    }
    if !(MIN_TTL..=MAX_TTL).contains(&time) {
        let nanos = time.as_nanos();
        let (min, max) = (duration::format(MIN_TTL), duration::format(MAX_TTL));
        let text = format!("Invalid Session TTL '{nanos}', must be between [{min}={max}]");
        return Err(Fault::internal(text));
    }
    Ok(Some(Ttl { time, written }))
}

/// A session, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    node: &'a str,
    /// In nanoseconds.
    lock_delay: u64,
    behavior: &'static str,
    #[serde(rename = "TTL")]
    ttl: &'a str,
    node_checks: Vec<&'a str>,
    service_checks: Option<Vec<Value>>,
    create_index: u64,
    modify_index: u64,
}

fn shown(stored: &Stored<Session>) -> SessionJson<'_> {
    let Stored { value: session, created, modified } = stored;
    let service_checks = session.service_checks.iter();
    let service_checks: Vec<_> =
        service_checks.map(|id| json!({ "ID": id.as_str(), "Namespace": "" })).collect();
    SessionJson {
        id: session.id.as_str(),
        name: &session.name,
        node: session.node.as_str(),
        lock_delay: u64::try_from(session.lock_delay.as_nanos()).unwrap_or(u64::MAX),
        behavior: match session.behavior {
            Behavior::Release => "release",
            Behavior::Delete => "delete",
        },
        ttl: session.ttl.as_ref().map_or("", |ttl| &ttl.written),
        node_checks: session.node_checks.iter().map(CheckId::as_str).collect(),
        service_checks: (!service_checks.is_empty()).then_some(service_checks),
        create_index: created.get(),
        modify_index: modified.get(),
    }
}

pub(crate) async fn create(State(app): State<App>, ask: Ask, body: Body) -> Answer {
    let input: SessionInput = body.json()?;
    let session = input.session(&app.own_name())?;
    ask.must_write(Kind::Session, session.node.as_str())?;
    let id = session.id.clone();
    app.command(Command::Session(session::Ask::Create(Box::new(session)))).await?;
    Ok(reply::json(&ask, &json!({ "ID": id.as_str() })))
}

pub(crate) async fn destroy(State(app): State<App>, Path(id): Path<String>, ask: Ask) -> Answer {
    let id = SessionId::from(id);
    may_write(&app, &ask, &id)?;
    app.command(Command::Session(session::Ask::Destroy(id))).await?;
    Ok(reply::json(&ask, &true))
}

pub(crate) async fn renew(State(app): State<App>, Path(id): Path<String>, ask: Ask) -> Answer {
    let id = SessionId::from(id);
    may_write(&app, &ask, &id)?;
    app.command(Command::Session(session::Ask::Renew(id.clone()))).await?;
    let topic = Topic::Session(id.clone());
    let (session, _) = app.read_topic(&topic, |state| state.session(&id).cloned()).await?;
    // It may have ended since.
    let session =
        session.ok_or_else(|| Fault::not_found(format!("Session id '{id}' not found")))?;
    Ok(reply::json(&ask, &[shown(&session)]))
}

/// Whether a session, if it is there, may be changed.
fn may_write(app: &App, ask: &Ask, id: &SessionId) -> Result<(), Fault> {
    let node = app.peek(|state| state.session(id).map(|session| session.value.node.clone()));
    node.map_or(Ok(()), |node| ask.must_write(Kind::Session, node.as_str()))
}

pub(crate) async fn info(State(app): State<App>, Path(id): Path<String>, ask: Ask) -> Answer {
    let id = SessionId::from(id);
    list_of(&app, &ask, Topic::Session(id.clone()), |state| {
        state.session(&id).cloned().into_iter().collect()
    })
    .await
}

pub(crate) async fn of_node(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    let name = NodeName::from(name);
    list_of(&app, &ask, Topic::SessionsOf(name.clone()), |state| {
        state.sessions_of(&name).cloned().collect()
    })
    .await
}

pub(crate) async fn list(State(app): State<App>, ask: Ask) -> Answer {
    list_of(&app, &ask, Topic::Sessions, |state| state.sessions().cloned().collect()).await
}

async fn list_of(
    app: &App,
    ask: &Ask,
    topic: Topic,
    gather: impl Fn(&state::State) -> Vec<std::sync::Arc<Stored<Session>>>,
) -> Answer {
    ask.wait(app, &topic).await?;
    let (mut sessions, index) = app.read_topic(&topic, gather).await?;
    sessions.retain(|session| ask.sees(Kind::Session, session.value.node.as_str()));
    let sessions: Vec<_> = sessions.iter().map(|session| shown(session)).collect();
    Ok(reply::indexed(ask, index, &sessions))
}

/// A path that lacks the session that it is about.
pub(crate) async fn missing_session() -> Fault {
    Fault::bad("Missing session")
}

/// A path that lacks the node that it is about.
pub(crate) async fn missing_node() -> Fault {
    Fault::bad("Missing node name")
}
