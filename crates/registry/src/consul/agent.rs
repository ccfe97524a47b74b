//! `/v1/agent/…`: what is registered with this node. The registry is the agent of its own node.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use posthouse_probe::MAX_OUTPUT;
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use super::ask::{Ask, timer};
use super::body::Body;
use super::input::{CheckInput, CheckUpdate, ServiceInput};
use super::reply::{self, Answer, Fault};
use super::{rights, wire};
use crate::access::Kind;
use crate::runner::cut;
use crate::state::{
    Cause, CheckKind, CheckView, Command, InstanceView, NodeRef, Registration, ServiceName,
    State as Registry, Status, Topic,
};

const CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");

pub(crate) async fn register(State(app): State<App>, ask: Ask, body: Body) -> Answer {
    let mut input: ServiceInput = body.json()?;
    let name = std::mem::take(&mut input.name);
    if name.is_empty() {
        return Err(Fault::bad("Missing service name"));
    }
    let instance = input.instance(name)?;
    let checks = input.checks(&instance, app.min_check_interval())?;
    let node = app.own_name();
    rights::to_register(&app, &ask, &node, &instance)?;
    app.command(Command::Register(Box::new(Registration {
        node: NodeRef::Known(node),
        instance,
        checks,
        replace_checks: ask.flag("replace-existing-checks"),
    })))
    .await?;
    Ok(reply::done())
}

pub(crate) async fn deregister(State(app): State<App>, Path(id): Path<String>, ask: Ask) -> Answer {
    let (node, id) = (app.own_name(), id.into());
    rights::to_write_instance(&app, &ask, &node, &id)?;
    app.command(Command::Deregister { node, id, cause: Cause::Asked }).await?;
    Ok(reply::done())
}

pub(crate) async fn maintain_service(
    State(app): State<App>,
    Path(id): Path<String>,
    ask: Ask,
) -> Answer {
    let reason = maintenance(&ask, "This service was taken out of service; no reason was given.")?;
    let (node, id) = (app.own_name(), id.into());
    rights::to_write_instance(&app, &ask, &node, &id)?;
    app.command(Command::Maintain { node, instance: Some(id), reason }).await?;
    Ok(reply::done())
}

pub(crate) async fn maintain_node(State(app): State<App>, ask: Ask) -> Answer {
    let reason = maintenance(&ask, "This node was taken out of service; no reason was given.")?;
    let node = app.own_name();
    ask.must_write(Kind::Node, node.as_str())?;
    app.command(Command::Maintain { node, instance: None, reason }).await?;
    Ok(reply::done())
}

/// The reason to take something out of service, or `None` to take it back.
fn maintenance(ask: &Ask, default: &str) -> Result<Option<String>, Fault> {
    match ask.get("enable") {
        None | Some("") => Err(Fault::bad("Missing value for enable")),
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => {
            let reason = ask.get("reason").filter(|reason| !reason.is_empty());
            Ok(Some(cut(reason.unwrap_or(default).to_owned(), MAX_OUTPUT)))
        }
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(None),
        Some(other) => Err(Fault::bad(format!("Invalid value for enable: {other:?}"))),
    }
}

pub(crate) async fn services(State(app): State<App>, ask: Ask) -> Answer {
    let datacenter = &app.config().datacenter;
    let sample = || {
        let mut sample = json!(wire::agent_service(&wire::sample().instance.value, datacenter));
        sample["TaggedAddresses"] = json!({});
        sample
    };
    let selection = ask.filter(sample)?;
    let node = app.own_name();
    let topic = Topic::Node(node.clone());
    let (node, _) = app.read_topic(&topic, |state| state.node(&node)).await?;
    let instances = node.map(|node| node.instances).unwrap_or_default();
    let services: BTreeMap<_, _> = instances
        .iter()
        .filter(|stored| ask.sees(Kind::Service, stored.value.service.as_str()))
        .map(|stored| (stored.value.id.as_str(), wire::agent_service(&stored.value, datacenter)))
        .filter(|(_, service)| selection.selects(service))
        .collect();
    Ok(reply::json(&ask, &services))
}

/// One instance. `?hash=` waits until it is another than the one with that hash.
pub(crate) async fn service(State(app): State<App>, Path(id): Path<String>, ask: Ask) -> Answer {
    let (view, mut hash) = hashed(&app, &id).await?;
    ask.must_read(Kind::Service, view.instance.value.service.as_str())?;
    let known = ask.get("hash").filter(|hash| !hash.is_empty());
    let mut view = view;
    if let Some(known) = known
        && known == hash
    {
        let topic = Topic::Service(view.instance.value.service.clone());
        let moved = |state: &Registry| {
            let view = state.instance(state.own_node(), &id.as_str().into());
            view.is_none_or(|view| hash_of(&app, &view) != known)
        };
        ask.wait_until(&app, &topic, moved, pin!(timer())).await?;
        (view, hash) = hashed(&app, &id).await?;
        ask.must_read(Kind::Service, view.instance.value.service.as_str())?;
    }
    let mut service = agent_service_value(&app, &view);
    service["ContentHash"] = Value::from(hash.as_str());
    let mut response = reply::json(&ask, &service);
    if let Ok(hash) = HeaderValue::from_str(&hash) {
        response.headers_mut().insert(CONTENT_HASH, hash);
    }
    Ok(response)
}

fn agent_service_value(app: &App, view: &InstanceView) -> Value {
    let service = wire::agent_service(&view.instance.value, &app.config().datacenter);
    serde_json::to_value(service).unwrap_or(Value::Null)
}

async fn hashed(app: &App, id: &str) -> Result<(InstanceView, String), Fault> {
    let view = own_instance(app, id).await?;
    let view = view.ok_or_else(|| Fault::not_found(format!("unknown service ID: {id}")))?;
    let hash = hash_of(app, &view);
    Ok((view, hash))
}

/// Changes with anything that is shown of an instance, and is the same in every run of this version.
fn hash_of(app: &App, view: &InstanceView) -> String {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    hasher.write(agent_service_value(app, view).to_string().as_bytes());
    format!("{:016x}", hasher.finish())
}

/// The instance on the registry's own node, if it is there.
async fn own_instance(app: &App, id: &str) -> Result<Option<InstanceView>, Fault> {
    let node = app.own_name();
    let topic = Topic::Node(node.clone());
    let (view, _) = app.read_topic(&topic, |state| state.instance(&node, &id.into())).await?;
    Ok(view)
}

pub(crate) async fn checks(State(app): State<App>, ask: Ask) -> Answer {
    let selection = ask.filter(|| json!(wire::check(&wire::sample_check())))?;
    let node = app.own_name();
    let topic = Topic::Node(node.clone());
    let gather = |state: &Registry| state.checks_on(&node).collect::<Vec<_>>();
    let (views, _) = app.read_topic(&topic, gather).await?;
    // The agent shows what was registered with it, not what its membership adds in the catalog.
    let own = |view: &&CheckView| view.check.value.definition.kind != CheckKind::Membership;
    let checks: BTreeMap<_, _> = views
        .iter()
        .filter(own)
        .filter(|view| match &view.instance {
            Some(stored) => ask.sees(Kind::Service, stored.value.service.as_str()),
            None => ask.sees(Kind::Node, view.node.value.name.as_str()),
        })
        .map(|view| (view.check.value.definition.id.as_str(), wire::check(view)))
        .filter(|(_, check)| selection.selects(check))
        .collect();
    Ok(reply::json(&ask, &checks))
}

pub(crate) async fn register_check(State(app): State<App>, ask: Ask, body: Body) -> Answer {
    let mut input: CheckInput = body.json()?;
    if input.name.is_empty() {
        return Err(Fault::bad("Missing check name"));
    }
    let id = input.take_id().unwrap_or_else(|| input.name.clone());
    let instance = std::mem::take(&mut input.service_id);
    let instance = (!instance.is_empty()).then(|| instance.into());
    let check = input.check(id.into(), instance, app.min_check_interval())?;
    let node = app.own_name();
    rights::to_register_check(&app, &ask, &node, &check)?;
    app.command(Command::RegisterCheck { node, check }).await?;
    Ok(reply::done())
}

pub(crate) async fn deregister_check(
    State(app): State<App>,
    Path(id): Path<String>,
    ask: Ask,
) -> Answer {
    let (node, id) = (app.own_name(), id.into());
    rights::to_write_check(&app, &ask, &node, &id)?;
    app.command(Command::DeregisterCheck { node, id }).await?;
    Ok(reply::done())
}

pub(crate) async fn pass(app: State<App>, id: Path<String>, ask: Ask) -> Answer {
    report(app, id, &ask, Status::Passing).await
}

pub(crate) async fn warn(app: State<App>, id: Path<String>, ask: Ask) -> Answer {
    report(app, id, &ask, Status::Warning).await
}

pub(crate) async fn fail(app: State<App>, id: Path<String>, ask: Ask) -> Answer {
    report(app, id, &ask, Status::Critical).await
}

async fn report(
    State(app): State<App>,
    Path(id): Path<String>,
    ask: &Ask,
    status: Status,
) -> Answer {
    heartbeat(&app, ask, id, status, ask.get("note").unwrap_or_default().to_owned()).await
}

pub(crate) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    ask: Ask,
    body: Body,
) -> Answer {
    let CheckUpdate { status, output } = body.json()?;
    let status = Status::parse(&status)
        .ok_or_else(|| Fault::bad(format!("Invalid check status: {status:?}")))?;
    heartbeat(&app, &ask, id, status, output).await
}

async fn heartbeat(app: &App, ask: &Ask, id: String, status: Status, output: String) -> Answer {
    let (node, id, output) = (app.own_name(), id.into(), cut(output, MAX_OUTPUT));
    rights::to_write_check(app, ask, &node, &id)?;
    app.command(Command::Heartbeat { node, id, status, output }).await?;
    Ok(reply::done())
}

pub(crate) async fn health_by_id(
    State(app): State<App>,
    Path(id): Path<String>,
    ask: Ask,
) -> Answer {
    let view = own_instance(&app, &id).await?;
    let view = view.ok_or_else(|| Fault::not_found(format!("ServiceId {id} not found")))?;
    ask.must_read(Kind::Service, view.instance.value.service.as_str())?;
    let status = wire::aggregated_status(&view);
    Ok(health_answer(&ask, status, &wire::agent_health(&view, &app.config().datacenter)))
}

pub(crate) async fn health_by_name(
    State(app): State<App>,
    Path(name): Path<String>,
    ask: Ask,
) -> Answer {
    let own = app.own_name();
    ask.must_read(Kind::Service, &name)?;
    let service = ServiceName::from(name.as_str());
    let gather = |state: &Registry| state.instances(&service).collect::<Vec<_>>();
    let (mut views, _) = app.read_topic(&Topic::Service(service.clone()), gather).await?;
    views.retain(|view| view.node.value.name == own);
    let worst = views.iter().map(wire::aggregated_status).max_by_key(|status| severity(status));
    let worst = worst.ok_or_else(|| Fault::not_found(format!("ServiceName {name} Not Found")))?;
    let datacenter = &app.config().datacenter;
    let all: Vec<_> = views.iter().map(|view| wire::agent_health(view, datacenter)).collect();
    Ok(health_answer(&ask, worst, &all))
}

fn severity(status: &str) -> u8 {
    match status {
        "passing" => 0,
        "warning" => 1,
        "critical" => 2,
        _ => 3,
    }
}

/// An answer whose HTTP status tells the health too, for load balancers that look at nothing else.
fn health_answer(ask: &Ask, status: &'static str, body: &impl Serialize) -> Response {
    let code = match severity(status) {
        0 => StatusCode::OK,
        1 => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    if ask.get("format") == Some("text") {
        reply::text(code, status)
    } else {
        (code, reply::json(ask, body)).into_response()
    }
}
