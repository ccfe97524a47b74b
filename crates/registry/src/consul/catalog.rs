//! `/v1/catalog/…`: every node and service, and the interface by which other programs than an agent
//! write them.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::App;
use super::ask::Ask;
use super::body::Body;
use super::input::{CatalogDeregistration, CatalogRegistration};
use super::reply::{self, Answer, Fault};
use super::{rights, wire};
use crate::access::Kind;
use crate::error::Error;
use crate::state::{
    Cause, Command, InstanceView, Node, NodeName, NodeRef, Refusal, Registration, ServiceName,
    State as Registry, Topic,
};

pub(crate) async fn datacenters(State(app): State<App>, ask: Ask) -> Response {
    reply::json(&ask, &[&app.config().datacenter])
}

pub(crate) async fn services(State(app): State<App>, ask: Ask) -> Answer {
    let datacenter = &app.config().datacenter;
    let selection = ask.filter(|| json!(wire::catalog_service(&wire::sample(), datacenter)))?;
    ask.wait(&app, &Topic::Services).await?;
    let wanted = |view: &InstanceView| {
        ask.wants_node(&view.node.value)
            && ask.sees_instance(view)
            && selection.selects(&wire::catalog_service(view, datacenter))
    };
    let gather = |state: &Registry| {
        let mut services: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for name in state.services() {
            for view in state.instances_bare(name).filter(wanted) {
                // Instances of one service may write its name with different case.
                let name = view.instance.value.service.to_shared();
                let tags = services.entry(name).or_default();
                tags.extend(view.instance.value.tags.iter().cloned());
            }
        }
        services
    };
    let (services, index) = app.read_topic(&Topic::Services, gather).await?;
    Ok(reply::indexed(&ask, index, &services))
}

pub(crate) async fn service(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    let datacenter = &app.config().datacenter;
    let selection = ask.filter(|| json!(wire::catalog_service(&wire::sample(), datacenter)))?;
    let name = ServiceName::from(name);
    let topic = Topic::Service(name.clone());
    ask.wait(&app, &topic).await?;
    let gather = |state: &Registry| state.instances_bare(&name).collect::<Vec<_>>();
    let (mut views, index) = app.read_topic(&topic, gather).await?;
    ask.put_near_first(&app, &mut views, |view| &view.node.value.name);
    let list: Vec<_> = views
        .iter()
        .filter(|view| ask.wants(view))
        .map(|view| wire::catalog_service(view, datacenter))
        .filter(|service| selection.selects(service))
        .collect();
    Ok(reply::indexed(&ask, index, &list))
}

/// The instances of a service that are in the service mesh, of which there is none.
pub(crate) async fn mesh(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    ask.filter(|| json!(wire::catalog_service(&wire::sample(), &app.config().datacenter)))?;
    super::health::none_of(&app, &ask, name).await
}

pub(crate) async fn nodes(State(app): State<App>, ask: Ask) -> Answer {
    let datacenter = &app.config().datacenter;
    let selection = ask.filter(|| json!(wire::node(&wire::sample().node, datacenter)))?;
    ask.wait(&app, &Topic::Nodes).await?;
    let gather = |state: &Registry| state.nodes().cloned().collect::<Vec<_>>();
    let (mut nodes, index) = app.read_topic(&Topic::Nodes, gather).await?;
    ask.put_near_first(&app, &mut nodes, |node| &node.value.name);
    let list: Vec<_> = nodes
        .iter()
        .filter(|node| ask.wants_node(&node.value))
        .filter(|node| ask.sees(Kind::Node, node.value.name.as_str()))
        .map(|node| wire::node(node, datacenter))
        .filter(|node| selection.selects(node))
        .collect();
    Ok(reply::indexed(&ask, index, &list))
}

/// A node with what runs on it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeWith<'a, S> {
    node: wire::NodeJson<'a>,
    services: S,
}

pub(crate) async fn node(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    node_with(&app, &name, &ask, |services| {
        services
            .into_iter()
            .map(|(id, service)| (id.to_owned(), service))
            .collect::<BTreeMap<_, _>>()
    })
    .await
}

pub(crate) async fn node_services(
    State(app): State<App>,
    Path(name): Path<String>,
    ask: Ask,
) -> Answer {
    node_with(&app, &name, &ask, |services| {
        services.into_iter().map(|(_, service)| service).collect::<Vec<_>>()
    })
    .await
}

/// A node and its services, in the form that `shaped` gives them; `null` when there is no such node.
async fn node_with<S: Serialize>(
    app: &App,
    name: &str,
    ask: &Ask,
    shaped: impl Fn(Vec<(&str, serde_json::Value)>) -> S,
) -> Answer {
    let selection = ask.filter(|| json!(wire::service(&wire::sample().instance)))?;
    let name = NodeName::from(name);
    let topic = Topic::Node(name.clone());
    ask.wait(app, &topic).await?;
    let (view, index) = app.read_topic(&topic, |state| state.node(&name)).await?;
    let view = view.filter(|_| ask.sees(Kind::Node, name.as_str()));
    let answer = view.as_ref().map(|view| {
        let services = view.instances.iter();
        let services =
            services.filter(|stored| ask.sees(Kind::Service, stored.value.service.as_str()));
        let services = services.map(|stored| (stored.value.id.as_str(), wire::service(stored)));
        let services = services.filter(|(_, service)| selection.selects(service));
        let services = services.filter_map(|(id, service)| {
            serde_json::to_value(service).ok().map(|service| (id, service))
        });
        NodeWith {
            node: wire::node(&view.node, &app.config().datacenter),
            services: shaped(services.collect()),
        }
    });
    Ok(reply::indexed(ask, index, &answer))
}

pub(crate) async fn register(State(app): State<App>, ask: Ask, body: Body) -> Answer {
    let mut input: CatalogRegistration = body.json()?;
    same_datacenter(&app, &input.datacenter)?;
    if input.node.is_empty() || (input.address.is_empty() && !input.skip_node_update) {
        return Err(Fault::bad("Must provide node and address"));
    }
    let name = NodeName::from(input.node.as_str());
    let (service, one, many) =
        (input.service.take(), input.check.take(), input.checks.split_off(0));
    let checks = one.into_iter().chain(many).map(super::input::CatalogCheck::check);
    let mut checks = checks.collect::<Result<Vec<_>, _>>()?;
    let known = app.peek(|state| state.node(&name).is_some());
    let node = if input.skip_node_update && known {
        NodeRef::Known(name.clone())
    } else {
        NodeRef::Set(Node {
            name: name.clone(),
            id: input.id,
            address: input.address,
            tagged_addresses: input.tagged_addresses,
            meta: input.node_meta,
        })
    };
    rights::to_set_node(&app, &ask, &node)?;
    for check in &checks {
        rights::to_register_check(&app, &ask, &name, check)?;
    }
    if let Some(mut service) = service {
        let service_name = std::mem::take(&mut service.service);
        if service_name.is_empty() {
            return Err(Fault::bad("Must provide service name with ID"));
        }
        let instance = service.instance(service_name)?;
        rights::to_register(&app, &ask, &name, &instance)?;
        let (own, other) = checks
            .into_iter()
            .partition(|check| check.definition.instance.as_ref() == Some(&instance.id));
        checks = other;
        let registration = Registration { node, instance, checks: own, replace_checks: false };
        app.command(Command::Register(Box::new(registration))).await?;
    } else if let NodeRef::Set(node) = node {
        app.command(Command::SetNode(node)).await?;
    }
    for check in checks {
        app.command(Command::RegisterCheck { node: name.clone(), check }).await?;
    }
    Ok(reply::json(&ask, &true))
}

pub(crate) async fn deregister(State(app): State<App>, ask: Ask, body: Body) -> Answer {
    let input: CatalogDeregistration = body.json()?;
    same_datacenter(&app, &input.datacenter)?;
    if input.node.is_empty() {
        return Err(Fault::bad("Must provide node"));
    }
    let node = NodeName::from(input.node);
    let command = if !input.service_id.is_empty() {
        let id = input.service_id.into();
        rights::to_write_instance(&app, &ask, &node, &id)?;
        Command::Deregister { node, id, cause: Cause::Asked }
    } else if !input.check_id.is_empty() {
        let id = input.check_id.into();
        rights::to_write_check(&app, &ask, &node, &id)?;
        Command::DeregisterCheck { node, id }
    } else {
        ask.must_write(Kind::Node, node.as_str())?;
        Command::RemoveNode(node)
    };
    match app.command(command).await {
        // What is not there need not be removed: the catalog says yes to that.
        Err(Error::Refused(
            Refusal::UnknownNode(_) | Refusal::UnknownInstance(_) | Refusal::UnknownCheck(_),
        ))
        | Ok(_) => Ok(reply::json(&ask, &true)),
        Err(error) => Err(error.into()),
    }
}

fn same_datacenter(app: &App, datacenter: &str) -> Result<(), Fault> {
    if datacenter.is_empty() || datacenter == app.config().datacenter {
        Ok(())
    } else {
        Err(Fault::internal("No path to datacenter"))
    }
}
