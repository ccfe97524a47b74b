//! `/v1/health/…`: checks, and the instances that they let through.

use std::pin::{Pin, pin};

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use tokio::time::Sleep;

use super::App;
use super::ask::{Ask, timer};
use super::rendered::{Key, Written};
use super::reply::{self, Answer, Fault};
use super::wire;
use crate::state::{CheckView, Index, NodeName, ServiceName, State as Registry, Status, Topic};

/// The instances of a service, as an answer.
pub(crate) enum Found {
    /// Written for somebody else before, as it was at this index.
    Before(Index, Written),
    /// Written for this request.
    Now(Response),
}

pub(crate) async fn service(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    Ok(match find(&app, &name, &ask, pin!(timer())).await? {
        Found::Before(index, body) => reply::rendered_before(&ask, index, &body),
        Found::Now(answer) => answer,
    })
}

/// Finds the instances of a service, once there is news of it if the request waits for that.
pub(crate) async fn find(
    app: &App,
    name: &str,
    ask: &Ask,
    until: Pin<&mut Sleep>,
) -> Result<Found, Fault> {
    let datacenter = &app.config().datacenter;
    let key = Key::new(name, ask);
    let name = ServiceName::from(name);
    let topic = Topic::Service(name.clone());
    let selection = ask.filter(|| json!(wire::health(&wire::sample(), datacenter)))?;
    ask.wait_by(app, &topic, until).await?;
    let last = key.as_ref().and_then(|key| app.rendered.get(key));
    let gather = |state: &Registry| match &last {
        Some(last) if last.shows(&name, state, app.shared().revision()) => Err(last.body.clone()),
        _ => Ok(state.instances(&name).collect::<Vec<_>>()),
    };
    let (gathered, index) = app.read_topic(&topic, gather).await?;
    let mut views = match gathered {
        Ok(views) => views,
        Err(body) => return Ok(Found::Before(index, body)),
    };
    // Whoever asked while the change was being written waited for it with others, and one of them has
    // written the answer by now.
    if let Some(body) = key.as_ref().and_then(|key| app.rendered.of(key, &views)) {
        return Ok(Found::Before(index, body));
    }
    ask.put_near_first(app, &mut views, |view| &view.node.value.name);
    let only_passing = ask.flag("passing");
    let list: Vec<_> = views
        .iter()
        .filter(|view| !only_passing || view.status() == Status::Passing)
        .filter(|view| ask.wants(view))
        .map(|view| wire::health(view, datacenter))
        .filter(|health| selection.selects(health))
        .collect();
    let Some(key) = key.filter(|_| !ask.is_filtered()) else {
        return Ok(Found::Now(reply::indexed(ask, index, &list)));
    };
    let body = serde_json::to_vec(&list).map_err(|error| Fault::internal(error.to_string()))?;
    let body = Bytes::from(body);
    app.rendered.put(key, views, body.clone());
    Ok(Found::Now(reply::rendered(ask, index, body)))
}

/// The instances of a service that are in the service mesh, of which there is none.
pub(crate) async fn mesh(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    ask.filter(|| json!(wire::health(&wire::sample(), &app.config().datacenter)))?;
    none_of(&app, &ask, name).await
}

/// No instances of a service, as long as it is as it is.
pub(crate) async fn none_of(app: &App, ask: &Ask, name: String) -> Answer {
    let topic = Topic::Service(ServiceName::from(name));
    ask.wait(app, &topic).await?;
    let ((), index) = app.read_topic(&topic, |_| ()).await?;
    Ok(reply::indexed(ask, index, &[(); 0]))
}

pub(crate) async fn state(State(app): State<App>, Path(word): Path<String>, ask: Ask) -> Answer {
    let status = Status::parse(&word);
    let wanted = |view: &CheckView| word == "any" || Some(view.check.value.status) == status;
    list(&app, &ask, &Topic::Checks, |state| state.all_checks().filter(wanted).collect()).await
}

pub(crate) async fn node(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    let name = NodeName::from(name);
    let topic = Topic::Node(name.clone());
    list(&app, &ask, &topic, |state| state.checks_on(&name).collect()).await
}

pub(crate) async fn checks(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    let name = ServiceName::from(name);
    let topic = Topic::Service(name.clone());
    list(&app, &ask, &topic, |state| state.checks_of(&name).collect()).await
}

async fn list(
    app: &App,
    ask: &Ask,
    topic: &Topic,
    read: impl Fn(&Registry) -> Vec<CheckView>,
) -> Answer {
    let selection = ask.filter(|| json!(wire::check(&wire::sample_check())))?;
    ask.wait(app, topic).await?;
    let (mut views, index) = app.read_topic(topic, read).await?;
    ask.put_near_first(app, &mut views, |view| &view.node.value.name);
    let list: Vec<_> = views
        .iter()
        .filter(|view| ask.wants_node(&view.node.value) && ask.sees_check(view))
        .map(wire::check)
        .filter(|check| selection.selects(check))
        .collect();
    Ok(reply::indexed(ask, index, &list))
}
