//! `/v1/event/…`: user events.

use std::pin::pin;
use std::sync::Arc;

use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::App;
use super::ask::{Ask, timer};
use super::body::Value;
use super::reply::{self, Answer, Fault};
use crate::access::Kind;
use crate::state::user_event::UserEvent;
use crate::state::{Command, Index, State as Registry, Topic};

/// The longest name and payload together, in bytes: what Consul's messages between nodes can carry.
const MAX_EVENT: usize = 512;

/// A user event, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EventJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    payload: Option<String>,
    node_filter: &'a str,
    service_filter: &'a str,
    tag_filter: &'a str,
    version: u8,
    #[serde(rename = "LTime")]
    number: u64,
}

fn shown(event: &UserEvent, number: u64) -> EventJson<'_> {
    EventJson {
        id: &event.id,
        name: &event.name,
        payload: (!event.payload.is_empty()).then(|| STANDARD.encode(&event.payload)),
        node_filter: &event.node,
        service_filter: &event.service,
        tag_filter: &event.tag,
        version: 1,
        number,
    }
}

pub(crate) async fn fire(
    State(app): State<App>,
    Path(name): Path<String>,
    ask: Ask,
    Value(payload): Value,
) -> Answer {
    ask.must_write(Kind::Event, &name)?;
    let filter = |of| ask.get(of).unwrap_or_default().to_owned();
    let event = UserEvent {
        id: uuid::Uuid::new_v4().to_string(),
        node: filter("node"),
        service: filter("service"),
        tag: filter("tag"),
        name,
        payload,
    };
    let filters = event.node.len() + event.service.len() + event.tag.len();
    if event.name.len() + event.payload.len() + filters > MAX_EVENT {
        let text = format!("user event exceeds configured limit of {MAX_EVENT} bytes");
        return Err(Fault::internal(text));
    }
    let answer = reply::json(&ask, &shown(&event, 0));
    app.command(Command::Fire(event)).await?;
    Ok(answer)
}

/// Unlike elsewhere, an index is that of the newest event, and a read waits while it is the same.
/// (What Consul documents as `node`, `service` and `tag` here it does not look at: those were
/// looked at when the event was fired.)
pub(crate) async fn list(State(app): State<App>, ask: Ask) -> Answer {
    let name = ask.get("name").unwrap_or_default();
    let named = |event: &UserEvent| name.is_empty() || event.name == name;
    let may = |event: &UserEvent| ask.grant().may_read(Kind::Event, &event.name);
    let newest = |state: &Registry| {
        let mut events = state.user_events().iter().rev().map(|(_, event)| event);
        let newest = events.find(|event| named(event) && may(event));
        newest.map_or(Index::new(1), |event| event.index())
    };
    if let Some(known) = ask.after() {
        ask.wait_until(&app, &Topic::UserEvents, |state| newest(state) != known, pin!(timer()))
            .await?;
    }
    // Not read as what is durable: events are not.
    let (events, index) = app.peek(|state| {
        let events = state.user_events().iter().filter(|(_, event)| named(event));
        let events = events.map(|(number, event)| (*number, Arc::clone(event)));
        (events.collect::<Vec<_>>(), newest(state))
    });
    let events = events.iter().filter(|(_, event)| ask.sees(Kind::Event, &event.name));
    let events: Vec<_> = events.map(|(number, event)| shown(event, *number)).collect();
    Ok(reply::indexed(&ask, index, &events))
}

/// A path that lacks the name of the event.
pub(crate) async fn missing_name() -> Fault {
    Fault::bad("Missing name")
}
