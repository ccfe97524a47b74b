//! What the registry says of itself: `/v1/agent/self` and its like, `/v1/status/…`, and what stands in
//! for Consul's network of nodes, of which there is one.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use super::App;
use super::ask::Ask;
use super::body::not_served;
use super::reply::{self, Answer, Fault};
use crate::access::Kind;
use crate::state::{Status, Topic};

/// The version of Consul whose interface this is like. Clients decide by it what they may send.
const CONSUL_VERSION: &str = "1.20.0";

/// The ports that Consul's own servers meet on, in one datacenter and between several. Nothing
/// listens there; clients want to see one.
const MEMBER_PORTS: [u16; 2] = [8301, 8302];

/// For those who ask whether anybody is there: Consul's agent says something here too.
pub(crate) async fn root() -> Response {
    reply::text(StatusCode::OK, "Posthouse: the Consul HTTP API is under /v1\n")
}

pub(crate) async fn agent(State(app): State<App>, ask: Ask) -> Answer {
    let node = app.own_node();
    let config = app.config();
    ask.must_read(Kind::Agent, &config.node)?;
    let leader = app.address.to_string();
    let about = json!({
        "Config": {
            "Datacenter": config.datacenter,
            "PrimaryDatacenter": config.datacenter,
            "NodeName": config.node,
            "NodeID": node.value.id,
            "Server": true,
            "Revision": concat!("posthouse-", env!("CARGO_PKG_VERSION")),
            "Version": CONSUL_VERSION,
        },
        "DebugConfig": { "ACLsEnabled": config.access().is_on(), "Datacenter": config.datacenter },
        "Coord": Value::Null,
        "Member": member(&app, false),
        "Stats": { "consul": { "leader": "true", "leader_addr": leader, "server": "true" } },
        "Meta": node.value.meta,
        "xDS": { "Port": -1, "Ports": { "Plaintext": -1, "TLS": -1 } },
    });
    Ok(reply::json(&ask, &about))
}

pub(crate) async fn members(State(app): State<App>, ask: Ask) -> Answer {
    let member = member(&app, ask.flag("wan"));
    let selection = ask.filter(|| json!(member))?;
    let members: Vec<_> = [member]
        .into_iter()
        .filter(|member| selection.selects(member) && ask.sees(Kind::Node, &app.config().node))
        .collect();
    Ok(reply::json(&ask, &members))
}

/// The registry as a member of the network of its datacenter, or of that between datacenters.
fn member(app: &App, between: bool) -> Value {
    let config = app.config();
    let [lan, wan] = MEMBER_PORTS;
    let (name, port) = match between {
        true => (format!("{}.{}", config.node, config.datacenter), wan),
        false => (config.node.clone(), lan),
    };
    json!({
        "Name": name,
        "Addr": app.own_node().value.address,
        "Port": port,
        "Tags": {
            "dc": config.datacenter,
            "role": "consul",
            "id": app.own_node().value.id,
            "build": CONSUL_VERSION,
            "port": "8300",
        },
        "Status": 1,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    })
}

pub(crate) async fn version(State(app): State<App>, ask: Ask) -> Answer {
    ask.must_read(Kind::Agent, &app.config().node)?;
    let version = json!({
        "SHA": concat!("posthouse-", env!("CARGO_PKG_VERSION")),
        "BuildDate": "1970-01-01T00:00:00Z",
        "HumanVersion": CONSUL_VERSION,
        "FIPS": "",
    });
    Ok(reply::json(&ask, &version))
}

/// The registry's figures: in Prometheus's form what `/metrics` of the house has of it, else the
/// few that can be told without.
pub(crate) async fn metrics(State(app): State<App>, ask: Ask) -> Answer {
    ask.must_read(Kind::Agent, &app.config().node)?;
    if ask.get("format") == Some("prometheus") {
        let mut registry = prometheus_client::registry::Registry::default();
        app.handle.register_metrics(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .map_err(|error| Fault::internal(error.to_string()))?;
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return Ok(([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response());
    }
    let (services, nodes, by_status, keys, sessions) = app.peek(|state| {
        let (services, nodes) = (state.services().count(), state.nodes().count());
        let instances = state.instances_by_status();
        (services, nodes, instances, state.kv().count(), state.sessions().count())
    });
    let mut gauges = vec![
        gauge("nodes", nodes, &json!({})),
        gauge("services", services, &json!({})),
        gauge("kv_entries", keys, &json!({})),
        gauge("sessions", sessions, &json!({})),
    ];
    let statuses = [Status::Passing, Status::Warning, Status::Critical];
    gauges.extend(statuses.into_iter().zip(by_status).map(|(status, count)| {
        gauge("service_instances", count, &json!({ "status": status.as_str() }))
    }));
    let metrics = json!({
        "Timestamp": httpdate::fmt_http_date(SystemTime::now()),
        "Gauges": gauges,
        "Points": [],
        "Counters": [],
        "Samples": [],
    });
    Ok(reply::json(&ask, &metrics))
}

fn gauge(name: &str, value: usize, labels: &Value) -> Value {
    json!({ "Name": format!("consul.state.{name}"), "Value": value, "Labels": labels })
}

/// Logs are not streamed here; but what could not be is told as Consul tells it.
pub(crate) async fn monitor(ask: Ask) -> Answer {
    match ask.get("loglevel") {
        None | Some("" | "trace" | "debug" | "info" | "warn" | "err" | "error") => {
            Ok(not_served("Posthouse does not stream its log: it goes to the standard error"))
        }
        Some(other) => Err(Fault::bad(format!("Unknown log level: {other}"))),
    }
}

/// Tokens come from the configuration, so they cannot be set. Clients know the answer of an agent
/// that has none.
pub(crate) async fn token(_: Ask) -> Fault {
    let text = "ACL support disabled: tokens are set in the configuration (registry.tokens)";
    Fault::new(StatusCode::UNAUTHORIZED, text)
}

pub(crate) async fn leader(State(app): State<App>, ask: Ask) -> Response {
    reply::json(&ask, &app.address.to_string())
}

pub(crate) async fn peers(State(app): State<App>, ask: Ask) -> Response {
    reply::json(&ask, &[app.address.to_string()])
}

/// How far nodes are from each other: nothing is known of that.
pub(crate) async fn no_coordinates(State(app): State<App>, ask: Ask) -> Answer {
    ask.wait(&app, &Topic::Nodes).await?;
    let ((), index) = app.read_topic(&Topic::Nodes, |_| ()).await?;
    Ok(reply::indexed(&ask, index, &[(); 0]))
}

pub(crate) async fn no_coordinate(State(app): State<App>, ask: Ask) -> Answer {
    let ((), index) = app.read_topic(&Topic::Nodes, |_| ()).await?;
    let mut response = StatusCode::NOT_FOUND.into_response();
    reply::describe(&mut response, &ask, index);
    Ok(response)
}
